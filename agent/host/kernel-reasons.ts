import type { KernelBtf } from './kernel-btf.ts'

/** The high half of a drop reason is its subsystem: 0 the core, then whoever registered. */
const coreReasons = 0x1_0000
/** In the enums, but no reasons. */
const bounds = /^__|(_MAX|_SUBSYS_MASK)$/

type Names = Map<number, string>

/**
 * Names of the kernel's drop reasons by their numbers, both of which change from kernel to kernel, without prefix, in
 * lower case. From enum skb_drop_reason (include/net/dropreason-core.h) and the enums of the subsystems that have one in
 * BTF. Empty before 5.17.
 */
export function readDropReasons(btf: KernelBtf): Names {
  const openvswitch = btf.openModule('openvswitch')
  const subsystems = [...btf.readEnum('qdisc_drop_reason'), ...(openvswitch ?? btf).readEnum('ovs_drop_reason')]
  openvswitch?.close()
  const all = [...btf.readEnum('skb_drop_reason'), ...subsystems.filter(([value]) => value >= coreReasons)]
  return toNames(all, /^SKB_(DROP_REASON_)?/)
}

/** The same of the reasons of a reset sent: enum sk_rst_reason (include/net/rstreason.h). Empty before 6.10. */
export function readResetReasons(btf: KernelBtf): Names {
  return toNames([...btf.readEnum('sk_rst_reason')], /^SK_RST_REASON_/)
}

function toNames(values: readonly (readonly [value: number, name: string])[], prefix: RegExp): Names {
  const named = values.filter(([, name]) => !bounds.test(name))
  return new Map(named.map(([value, name]) => [value, name.replace(prefix, '').toLowerCase()]))
}

/** For a reason without a name: of a subsystem that keeps its names to itself, or of a module loaded since. */
export function numberedReason(reason: number): string {
  return reason < coreReasons ? `reason_${reason}` : `subsys_${reason >>> 16}:${reason & 0xffff}`
}
