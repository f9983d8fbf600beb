import { rate, sum } from '../promql.ts'
import type { Graph } from './board.ts'
import { here } from './variables.ts'

const losses = {
  capture_ring: '`capture_ring` waited in the kernel for too long',
  capture_interface: '`capture_interface` a device had no room',
  dns_full: '`dns_full` too many queries waited for their responses',
  tcp_full: '`tcp_full` too many TCP connections were open',
} as const
export type CaptureLoss = keyof typeof losses

export const captureLosses = Object.keys(losses) as CaptureLoss[]

/** Where numbers that come from packets are too low. */
export const lostByCapture = (...kinds: readonly CaptureLoss[]): Graph => ({
  kind: 'graph',
  title: 'Packets lost by the capture',
  description: `What came a second and could not be looked at: ${kinds.map((kind) => losses[kind]).join(', ')}. While it is above 0 the numbers of this board are too low, and what seems unanswered may have been answered. The agent needs more CPU, or fewer ports.`,
  unit: 'pps',
  empty: 'No packet is captured: it takes the tier capture of the chart, or CAP_NET_RAW',
  targets: [
    {
      query: sum(rate('netvitals_lost_events_total', { ...here, kind: { anyOf: kinds } }), 'kind'),
      legend: '{{kind}}',
    },
  ],
})
