import { rate, sum, topk } from '../promql.ts'
import type { Board } from './board.ts'
import { inPods } from './variables.ts'

const harmful = { ...inPods, category: { noneOf: ['normal'] } } as const

export const dropsBoard: Board = {
  uid: 'netvitals-drops',
  title: 'Drops',
  description: 'Which pods drop packets, in which direction, and why.',
  variables: ['cluster', 'job', 'node', 'namespace', 'workload_type', 'workload', 'pod'],
  rows: [
    {
      title: 'Overview',
      panels: [
        {
          kind: 'graph',
          title: 'Dropped packets by reason',
          description:
            'Packets a second that the kernel dropped, by its own reason; clean-up that harms nobody is left out. One reason that stands out tells where to look: the reference says what each category means, and `netvitals observe -t drop` shows single packets.',
          unit: 'pps',
          empty: 'No packet was dropped',
          targets: [{ query: topk(20, sum(rate('netvitals_dropped_packets_total', harmful), 'reason')), legend: '{{reason}}' }],
        },
      ],
    },
  ],
}
