import { expect, it } from 'vitest'
import { ofEitherEnd } from '../../helm/dashboards/between-workloads.ts'
import { ends } from '../../helm/dashboards/names.ts'
import { rate, sum } from '../../helm/promql.ts'

it('takes an edge whichever of its ends is chosen', () => {
  const drops = 'netvitals_edge_dropped_packets_total'
  const { text } = ofEitherEnd(['namespace', 'workload'], (match) => sum(rate(drops, match, '5m'), ...ends))
  const half = (end: string): string =>
    `sum by (${ends.join(', ')}) (rate(${drops}{cluster=~"$cluster", job=~"$job", node=~"$node", ${end}_namespace=~"$namespace", ${end}_workload=~"$workload"}[5m]))`
  expect(text).toBe(`${half('client')}\nor ${half('server')}`)
})
