import { describe, expect, it } from 'vitest'
import { targetsOf } from '../../helm/dashboards/board.ts'
import { edgesBoard } from '../../helm/dashboards/edges.ts'
import { checkQueries, prometheusMissing } from './promtool.ts'

/** The query of a panel over all there is, of ten minutes. */
function queryOf(title: string, column = 0): string {
  const panels = edgesBoard.rows.flatMap((row) => row.panels).filter((panel) => panel.title === title)
  const text = panels.flatMap(targetsOf)[column]?.query.text ?? ''
  expect(text).not.toBe('')
  return edgesBoard.variables
    .toSorted((a, b) => b.length - a.length)
    .reduce((all, name) => all.replaceAll(`$${name}`, '.*'), text)
    .replaceAll('$__rate_interval', '10m')
    .replaceAll('$__range', '10m')
}
const edge = (metric: string, reporter: string, node: string, more = '') =>
  `netvitals_edge_${metric}{job="netvitals", node="${node}", client_namespace="shop", client_workload="web", server_namespace="shop", server_workload="cart", reporter="${reporter}"${more}}`
const named =
  'client="shop/web", client_namespace="shop", client_workload="web", server="shop/cart", server_namespace="shop", server_workload="cart"'

describe.skipIf(prometheusMissing)('the board Edges', () => {
  it('counts once what both ends tell, and both of what each alone can see', () => {
    checkQueries(
      {
        // Two clients' nodes, and the server's, which misses nothing of theirs.
        [edge('sent_bytes_total', 'client', 'node-1')]: '0+600x10',
        [edge('sent_bytes_total', 'client', 'node-2')]: '0+600x10',
        [edge('sent_bytes_total', 'server', 'node-3')]: '0+1200x10',
        [edge('received_bytes_total', 'server', 'node-3')]: '0+60x10',
        [edge('resets_total', 'client', 'node-1')]: '0+60x10',
        [edge('resets_total', 'server', 'node-3')]: '0+60x10',
        [edge('retransmitted_segments_total', 'client', 'node-1')]: '0+60x10',
        [edge('retransmitted_segments_total', 'server', 'node-3')]: '0+120x10',
      },
      {
        [queryOf('Volume by edge')]: [[`{${named}}`, 21]],
        [queryOf('Resets by edge')]: [[`{${named}}`, 1]],
        [queryOf('Retransmissions')]: [['{}', 3]],
        [queryOf('Retransmissions by edge and side')]: [
          [`{${named}, reporter="server"}`, 2],
          [`{${named}, reporter="client"}`, 1],
        ],
      },
    )
  })

  it('has the mean round-trip time of the end that measures the longer', () => {
    const table = edgesBoard.rows.flatMap((row) => row.panels).find(({ title }) => title === 'Busiest edges')
    const headings = table?.kind === 'table' ? table.columns.map(({ heading }) => heading) : []
    checkQueries(
      {
        [edge('sent_bytes_total', 'client', 'node-1')]: '0+60x10',
        [edge('rtt_seconds_sum', 'client', 'node-1')]: '0+1x10',
        [edge('rtt_seconds_count', 'client', 'node-1')]: '0+4x10',
        [edge('rtt_seconds_sum', 'server', 'node-3')]: '0+1x10',
        [edge('rtt_seconds_count', 'server', 'node-3')]: '0+8x10',
      },
      { [queryOf('Busiest edges', headings.indexOf('Mean RTT'))]: [['{client="shop/web", server="shop/cart"}', 0.25]] },
    )
  })

  it('shows an edge on which nothing but failed connects goes on', () => {
    checkQueries(
      { [edge('connects_total', 'client', 'node-1', ', outcome="timed_out"')]: '0+60x10' },
      {
        [queryOf('Failed connects')]: [['{}', 1]],
        [queryOf('Edges that hurt')]: [['{client="shop/web", server="shop/cart"}', 600]],
        [queryOf('Node graph of edges')]: [
          ['{color="red", id="shop/web → shop/cart", source="shop/web", target="shop/cart"}', 0],
        ],
      },
    )
  })

  it('leaves out edges on which all is well', () => {
    checkQueries(
      { [edge('connects_total', 'client', 'node-1', ', outcome="connected"')]: '0+60x10' },
      { [queryOf('Failed connects')]: [['{}', 0]], [queryOf('Edges that hurt')]: [], [queryOf('Connect timeouts by edge')]: [] },
    )
  })
})
