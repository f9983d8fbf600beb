import { categoryOfDropReason } from '../../../agent/metrics/drop-category.ts'
import { counter, gauge, pod, type Scene, type Series, type Stretch, scaled, scraped, toScene } from './story.ts'

/** Dropped packets a second: half of them each way, for two reasons. */
const drops =
  (...reasons: readonly [string, string]) =>
  (subject: string, ...stretches: readonly Stretch[]): readonly Series[] =>
    reasons.map((reason, index) =>
      counter(
        'netvitals_dropped_packets_total',
        {
          ...pod(subject),
          reason,
          category: categoryOfDropReason(reason),
          protocol: index === 0 ? 'tcp' : 'udp',
          direction: index === 0 ? 'in' : 'out',
        },
        ...scaled(stretches, (perSecond) => perSecond / 2),
      ),
    )
/** What is no fault, or another. */
const others: readonly Series[] = drops('queue_purge', 'tcp_csum')('others', [200, 1000])

const reasonless =
  (name: 'sent_fragmentation_needed' | 'received_fragmentation_needed' | 'received_packet_too_big') =>
  (subject: string, ...stretches: readonly Stretch[]): readonly Series[] => [
    counter(`netvitals_icmp_${name}_total`, pod(subject), ...stretches),
  ]
const tooLarge = [
  { sign: 'fragmentation_needed_sent', series: reasonless('sent_fragmentation_needed') },
  { sign: 'fragmentation_needed_received', series: reasonless('received_fragmentation_needed') },
  { sign: 'packet_too_big_received', series: reasonless('received_packet_too_big') },
  { sign: 'packet_too_big_dropped', series: drops('pkt_too_big', 'pkt_too_big') },
]

export const dropScenes: readonly Scene[] = [
  toScene({
    alert: 'NetvitalsNetfilterDropsBegan',
    series: drops('netfilter_drop', 'tc_ingress'),
    from: 70,
    // A counter that has counted nothing has no series.
    normal: 'none',
    below: 9,
    fault: 11,
    burst: [4, 30],
    lag: 5,
    pending: 10,
    also: [
      gauge('netvitals_node_info', scraped('node-1'), [200, 1]),
      ...others,
      ...drops('queue_purge', 'tcp_csum')('sudden', [70, 'none'], [130, 1000]),
      ...drops('netfilter_drop', 'xdp')('steady', [200, 50]),
      ...drops('netfilter_drop', 'xdp')('more', [70, 20], [130, 50]),
      gauge('netvitals_node_info', scraped('node-2'), [61, 'none'], [60, 1]),
      ...drops('netfilter_drop', 'xdp')('unknown', [61, 'none'], [60, 50]).map((one) => ({
        ...one,
        labels: { ...one.labels, ...scraped('node-2') },
      })),
    ],
    labels: pod('fault'),
    description:
      'On node-1 11 packets a second of shop/fault are dropped by netfilter rules, over 3 times as many as an hour before: a firewall or network policy has changed, or somebody does what it forbids. `netvitals observe --category netfilter` on the node shows who and where to.',
  }),
  toScene({
    alert: 'NetvitalsSocketBufferDrops',
    series: drops('socket_rcvbuff', 'socket_backlog'),
    normal: 0,
    below: 9,
    fault: 11,
    burst: [4, 30],
    lag: 5,
    pending: 10,
    also: others,
    labels: pod('fault'),
    description:
      'On node-1 11 packets a second for shop/fault are dropped because the receiving socket has no room: the application does not keep up, or its buffer is too small. `netvitals observe --category socket_buffer` on the node shows the port.',
  }),
  toScene({
    alert: 'NetvitalsUnreachableDrops',
    series: drops('ip_outnoroutes', 'neigh_failed'),
    normal: 0,
    below: 9,
    fault: 11,
    burst: [4, 30],
    lag: 5,
    pending: 10,
    also: others,
    labels: pod('fault'),
    description:
      'On node-1 11 packets a second of shop/fault are dropped because there is no route for them or no neighbour answers. `netvitals observe --category routing,neighbour` on the node shows where they should go.',
  }),
  toScene({
    alert: 'NetvitalsQueueDrops',
    series: drops('qdisc_drop', 'cpu_backlog'),
    normal: 0,
    below: 9,
    fault: 11,
    burst: [4, 30],
    lag: 5,
    pending: 10,
    also: others,
    labels: pod('fault'),
    description:
      'On node-1 11 packets a second of shop/fault are dropped because a queue of the machine is full: of a device, or of a CPU. The board Node shows which.',
  }),
  toScene({
    alert: 'NetvitalsMemoryDrops',
    series: drops('nomem', 'proto_mem'),
    normal: 0,
    below: 0.9,
    fault: 1.1,
    burst: [4, 3],
    lag: 5,
    pending: 10,
    also: others,
    labels: pod('fault'),
    description:
      'On node-1 1.1 packets a second of shop/fault are dropped because the kernel has no memory for them. Look at the memory of the node, and at how much TCP and UDP may have.',
  }),
  ...tooLarge.map(({ sign, series }) =>
    toScene({
      alert: 'NetvitalsPathMtu',
      series,
      normal: 0,
      below: 0.9,
      fault: 1.1,
      burst: [4, 20],
      lag: 5,
      pending: 15,
      also: drops('frag_reasm_timeout', 'ovs_drop_frag_l2_too_long')('others', [100, 50]),
      labels: { ...pod('fault'), sign },
      description: `On node-1 1.1 packets a second of shop/fault are too large for a link on their way (${sign}), and it does not stop: the senders do not learn. Small requests work, large ones hang.`,
    }),
  ),
]
