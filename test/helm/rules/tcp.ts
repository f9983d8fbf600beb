import type { LabelValue } from '../../../agent/metrics/labels.ts'
import { counter, gauge, pod, type Scene, type Series, type Stretch, scaled, scraped, throughout, toScene } from './story.ts'

const edge = (client: string, node: string, reporter: 'client' | 'server', outcome: LabelValue<'outcome'>) => ({
  ...scraped(node),
  client_namespace: 'shop',
  client_workload: client,
  server_namespace: 'data',
  server_workload: 'db',
  reporter,
  outcome,
})
/** Ten connects a second from pods on two nodes, of which a share fails. */
const connects =
  (...outcomes: readonly LabelValue<'outcome'>[]) =>
  (client: string, ...stretches: readonly Stretch[]): readonly Series[] => [
    ...['node-1', 'node-2'].flatMap((node) => [
      counter(
        'netvitals_edge_connects_total',
        edge(client, node, 'client', 'connected'),
        ...scaled(stretches, (ratio) => 5 * (1 - ratio)),
      ),
      ...outcomes.map((outcome) =>
        counter(
          'netvitals_edge_connects_total',
          edge(client, node, 'client', outcome),
          ...scaled(stretches, (ratio) => (5 * ratio) / outcomes.length),
        ),
      ),
    ]),
    // The server has seen those that came about only: with them no share would be large.
    counter('netvitals_edge_connects_total', edge(client, 'node-3', 'server', 'connected'), throughout(stretches, 1000)),
  ]
/** All of its connects fail; but it has seven in five minutes. */
const seldom = (outcome: LabelValue<'outcome'>): Series =>
  counter('netvitals_edge_connects_total', edge('seldom', 'node-1', 'client', outcome), [100, 0.024])
const ofEdge = {
  cluster: 'main',
  job: 'netvitals',
  client_namespace: 'shop',
  client_workload: 'fault',
  server_namespace: 'data',
  server_workload: 'db',
}

const memory = (node: string, ...stretches: readonly Stretch[]) => [
  gauge('netvitals_tcp_memory_bytes', scraped(node), ...stretches),
  gauge('netvitals_tcp_memory_limit_bytes', scraped(node), throughout(stretches, 1e6)),
]

export const tcpScenes: readonly Scene[] = [
  toScene({
    alert: 'NetvitalsRetransmissions',
    series: (subject, ...stretches) => [
      counter('netvitals_tcp_retransmitted_segments_total', pod(subject), ...scaled(stretches, (ratio) => ratio * 100)),
      counter('netvitals_tcp_sent_segments_total', pod(subject), ...scaled(stretches, (ratio) => (1 - ratio) * 100)),
    ],
    normal: 0.001,
    below: 0.018,
    fault: 0.022,
    burst: [4, 0.5],
    lag: 5,
    pending: 15,
    also: [
      // One of three.
      counter('netvitals_tcp_retransmitted_segments_total', pod('quiet'), [100, 5]),
      counter('netvitals_tcp_sent_segments_total', pod('quiet'), [100, 15]),
      counter('netvitals_tcp_retransmitted_segments_total', pod('silent'), [100, 0]),
      counter('netvitals_tcp_sent_segments_total', pod('silent'), [100, 0]),
    ],
    labels: pod('fault'),
    description:
      'On node-1 shop/fault sends 2.2% of its TCP segments again: packets are lost on the way to its peers, or back. `netvitals show edges` on the node shows towards whom.',
  }),
  toScene({
    alert: 'NetvitalsResets',
    series: (subject, ...stretches) => [counter('netvitals_tcp_established_resets_total', pod(subject), ...stretches)],
    from: 70,
    normal: 1,
    below: 9,
    fault: 11,
    burst: [4, 30],
    lag: 5,
    pending: 10,
    also: [
      gauge('netvitals_node_info', scraped('node-1'), [200, 1]),
      // Many, but no more than an hour before; and not three times as many.
      counter('netvitals_tcp_established_resets_total', pod('steady'), [200, 50]),
      counter('netvitals_tcp_established_resets_total', pod('more'), [70, 20], [130, 50]),
      // The agent was not there an hour before: nobody knows what was usual.
      gauge('netvitals_node_info', scraped('node-2'), [61, 'none'], [60, 1]),
      counter('netvitals_tcp_established_resets_total', { ...pod('unknown'), ...scraped('node-2') }, [61, 'none'], [60, 50]),
    ],
    labels: pod('fault'),
    description:
      'On node-1 11 established TCP connections a second of shop/fault end by a reset, over 3 times as many as an hour before. `netvitals observe --type reset` on the node shows who resets whom.',
  }),
  toScene({
    alert: 'NetvitalsConnectsUnanswered',
    series: connects('timed_out', 'abandoned', 'unreachable'),
    normal: 0,
    below: 0.045,
    fault: 0.055,
    burst: [4, 0.5],
    lag: 5,
    pending: 10,
    also: [seldom('timed_out'), ...connects('refused')('refused', [100, 0.5])],
    labels: ofEdge,
    description:
      '5.5% of the TCP connects from shop/fault to data/db get no answer: they time out, are given up by the client, or find nobody at the address. `netvitals observe --type connect` on a node of the client shows each.',
  }),
  toScene({
    alert: 'NetvitalsConnectsRefused',
    series: connects('refused'),
    normal: 0,
    below: 0.045,
    fault: 0.055,
    burst: [4, 0.5],
    lag: 5,
    pending: 10,
    also: [seldom('refused'), ...connects('timed_out')('timed-out', [100, 0.5])],
    labels: ofEdge,
    description:
      '5.5% of the TCP connects from shop/fault to data/db are refused: nothing listens on the port, or a rule rejects them. `netvitals observe --outcome refused` on a node of the client shows each.',
  }),
  toScene({
    alert: 'NetvitalsTcpMemoryNearLimit',
    series: memory,
    normal: 1e5,
    below: 7.2e5,
    fault: 8.8e5,
    burst: [4, 9.9e5],
    lag: 0,
    pending: 5,
    labels: scraped('fault'),
    description:
      'On fault all TCP sockets together hold 88% of the memory they may have (net.ipv4.tcp_mem). The kernel shrinks their buffers already. `netvitals show sockets --each` on the node shows whose queues are full.',
  }),
  toScene({
    alert: 'NetvitalsTcpMemoryFull',
    series: memory,
    normal: 1e5,
    below: 8.6e5,
    fault: 1.04e6,
    burst: [1, 1.04e6],
    lag: 0,
    pending: 2,
    labels: scraped('fault'),
    description:
      'On fault all TCP sockets together hold 104% of the memory they may have (net.ipv4.tcp_mem): segments are dropped and connections closed. `netvitals show sockets --each` on the node shows whose queues are full.',
  }),
  toScene({
    alert: 'NetvitalsTcpMemoryPressure',
    // Times in a quarter of an hour, counted in two namespaces.
    series: (node, ...stretches) =>
      ['cart', 'catalogue'].map((name) =>
        counter(
          'netvitals_tcp_memory_pressures_total',
          { ...scraped(node), namespace: 'shop', pod: name },
          ...scaled(stretches, (times) => times / 2 / 900),
        ),
      ),
    normal: 0,
    below: 2.7,
    fault: 3.3,
    burst: [1, 150],
    lag: 15,
    pending: 15,
    labels: scraped('fault'),
    description:
      'On fault TCP ran short of memory 3.3 times in a quarter of an hour, and shrank the buffers of all connections each time. The board TCP health shows how much it holds.',
  }),
]
