import { describe, it } from 'vitest'
import { byRow, nameEnd, nameNodes, nameRows } from '../../helm/dashboards/names.ts'
import { sum, value } from '../../helm/promql.ts'
import { checkQueries, prometheusMissing } from './promtool.ts'

describe.skipIf(prometheusMissing)('names in legends', () => {
  const sockets = (labels: string) => `netvitals_tcp_sockets{job="netvitals", state="close_wait"${labels}}`
  const given = {
    [sockets(', instance="10.0.0.1:10477", node="node-1", namespace="shop", pod="cart-0"')]: '1x10',
    [sockets(', instance="10.0.0.1:10477", node="node-1", namespace="@netns", pod="blue"')]: '2x10',
    [sockets(', instance="10.0.0.1:10477", node="node-1", namespace="", pod=""')]: '3x10',
    [sockets(', instance="plain:10477", namespace="", pod=""')]: '4x10',
    [sockets(', instance="plain:10477", namespace="@netns", pod="blue"')]: '5x10',
    'netvitals_tcp_memory_bytes{instance="10.0.0.1:10477", node="node-1"}': '6x10',
    'netvitals_tcp_memory_bytes{instance="plain:10477"}': '7x10',
  }

  it('call pods by namespace and name, hosts by their node or address', () => {
    const named = sum(nameRows(byRow(value('netvitals_tcp_sockets', {}))), 'whose', 'instance')
    checkQueries(given, {
      [named.text]: [
        ['{whose="shop/cart-0", instance="10.0.0.1:10477"}', 1],
        ['{whose="@netns/blue", instance="10.0.0.1:10477"}', 2],
        ['{whose="node-1 (host)", instance="10.0.0.1:10477"}', 3],
        ['{whose="plain:10477 (host)", instance="plain:10477"}', 4],
        ['{whose="@netns/blue", instance="plain:10477"}', 5],
      ],
    })
  })

  it('call agents by node or address', () => {
    checkQueries(given, {
      [sum(nameNodes(value('netvitals_tcp_memory_bytes', {})), 'whose').text]: [
        ['{whose="node-1"}', 6],
        ['{whose="plain:10477"}', 7],
      ],
    })
  })

  it('call ends by namespace and workload, and the host and what is outside by one word', () => {
    const edge = (client: string, server: string) => `netvitals_edge_connections{reporter="client", ${client}, ${server}}`
    const ends = nameEnd('server', nameEnd('client', value('netvitals_edge_connections', {}), 'source'), 'target')
    checkQueries(
      {
        [edge('client_namespace="", client_workload="host"', 'server_namespace="shop", server_workload="cart"')]: '1x10',
        [edge('client_namespace="shop", client_workload="cart"', 'server_namespace="", server_workload="external"')]: '2x10',
      },
      {
        [sum(ends, 'source', 'target').text]: [
          ['{source="host", target="shop/cart"}', 1],
          ['{source="shop/cart", target="external"}', 2],
        ],
      },
    )
  })
})
