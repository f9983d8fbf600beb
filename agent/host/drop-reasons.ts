import type { KernelBtf } from './kernel-btf.ts'

/** The high half of a reason is its subsystem: 0 the core, then whoever registered. */
const coreReasons = 0x1_0000
/** In the enums, but no reasons. */
const bounds = /^__|(_MAX|_SUBSYS_MASK)$/

/**
 * Names of the kernel's drop reasons by their numbers, both of which change from kernel to kernel, without prefix, in
 * lower case. From enum skb_drop_reason (include/net/dropreason-core.h) and the enums of the subsystems that have one in
 * BTF. Empty before 5.17.
 */
export function readDropReasons(btf: KernelBtf): Map<number, string> {
  const reasons = new Map<number, string>()
  const openvswitch = btf.openModule('openvswitch')
  const subsystems = [...btf.readEnum('qdisc_drop_reason'), ...(openvswitch ?? btf).readEnum('ovs_drop_reason')]
  openvswitch?.close()
  for (const [value, name] of [...btf.readEnum('skb_drop_reason'), ...subsystems.filter(([value]) => value >= coreReasons)]) {
    if (!bounds.test(name)) reasons.set(value, name.replace(/^SKB_(DROP_REASON_)?/, '').toLowerCase())
  }
  return reasons
}

/** For a reason without a name: of a subsystem that keeps its names to itself, or of a module loaded since. */
export function numberedReason(reason: number): string {
  return reason < coreReasons ? `reason_${reason}` : `subsys_${reason >>> 16}:${reason & 0xffff}`
}
