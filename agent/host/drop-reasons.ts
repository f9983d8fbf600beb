import type { KernelBtf } from './kernel-btf.ts'

/** The high half of a reason is its subsystem: 0 the core's, then whoever registered. */
const coreReasons = 0x1_0000
/** Not reasons, but the ends of the list. */
const bounds = new Set(['max', 'subsys_mask'])

/**
 * Names of the kernel's drop reasons by their numbers, which change from kernel to kernel: enum skb_drop_reason in
 * include/net/dropreason-core.h, and those of Open vSwitch (net/openvswitch/drop.h). Empty before 5.17.
 */
export function readDropReasons(btf: KernelBtf): Map<number, string> {
  const reasons = new Map<number, string>()
  for (const [value, name] of btf.readEnum('skb_drop_reason')) {
    const reason = name.replace(/^SKB_(DROP_REASON_)?/, '').toLowerCase()
    if (!bounds.has(reason)) reasons.set(value, reason)
  }
  const module = btf.openModule('openvswitch')
  for (const [value, name] of (module ?? btf).readEnum('ovs_drop_reason')) {
    if (value >= coreReasons && !name.startsWith('__')) reasons.set(value, name.toLowerCase())
  }
  module?.close()
  return reasons
}

/** A reason without a name: of a subsystem that keeps its names to itself, or of a module loaded since. */
export function numberedReason(reason: number): string {
  return reason < coreReasons ? `reason_${reason}` : `subsys_${reason >>> 16}:${reason & 0xffff}`
}
