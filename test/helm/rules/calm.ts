import { counter, gauge, type Series, type Stretch, scraped } from './story.ts'

// Three nodes on which nothing is wrong, though a lot happens: no alert may fire.

const minutes = 200
/** The agent of the first node is started again. */
const gap = { from: 120, minutes: 2 }
const built = { version: '0.1.0', runtime: 'v20.20.2' }

const always = (level: number): Stretch => [minutes, level]
const untilRestart = (level: number): readonly Stretch[] => [
  [gap.from, level],
  [gap.minutes, 'none'],
  [minutes - gap.from - gap.minutes, level],
]
/** Counts in the kernel: goes on behind the gap where it is by then. */
const fromKernel = (series: Series): Series => ({
  ...series,
  values: series.values.map((value, minute) => (minute > gap.from && minute <= gap.from + gap.minutes ? undefined : value)),
})

const node = scraped('node-1')
/** A pod that is there all the time, one that goes, and one that comes, under the name of one that was there before. */
const pods: readonly { readonly name: string; readonly lives: (level: number) => readonly Stretch[] }[] = [
  { name: 'cart', lives: untilRestart },
  {
    name: 'leaving',
    lives: (level) => [
      [80, level],
      [minutes - 80, 'none'],
    ],
  },
  {
    name: 'web-0',
    lives: (level) => [
      [100, level],
      [3, 'none'],
      [minutes - 103, level],
    ],
  },
  {
    name: 'coming',
    lives: (level) => [
      [150, 'none'],
      [minutes - 150, level],
    ],
  },
]

const ofPod = pods.flatMap(({ name, lives }): readonly Series[] => {
  const of = { ...node, namespace: 'shop', pod: name }
  const dropped = (reason: string, category: string, perSecond: number): Series =>
    counter('netvitals_dropped_packets_total', { ...of, reason, category, protocol: 'tcp', direction: 'in' }, ...lives(perSecond))
  return [
    gauge('netvitals_tcp_sockets', { ...of, state: 'close_wait' }, ...lives(12)),
    gauge('netvitals_tcp_sockets', { ...of, state: 'syn_recv' }, ...lives(8)),
    gauge('netvitals_tcp_sockets', { ...of, state: 'syn_sent' }, ...lives(8)),
    gauge('netvitals_tcp_sockets', { ...of, state: 'time_wait' }, ...lives(4000)),
    gauge('netvitals_tcp_sockets', { ...of, state: 'fin_wait2' }, ...lives(60)),
    gauge('netvitals_tcp_sockets', { ...of, state: 'established' }, ...lives(20_000)),
    gauge('netvitals_tcp_ephemeral_ports_in_use', of, ...lives(4000)),
    gauge('netvitals_tcp_ephemeral_ports', of, ...lives(28_232)),
    gauge('netvitals_tcp_listen_queue_fullest_ratio', of, ...lives(0.1)),
    counter('netvitals_tcp_listen_overflows_total', of, ...lives(0)),
    counter('netvitals_tcp_connects_total', { ...of, outcome: 'connected' }, ...lives(200)),
    counter('netvitals_tcp_connects_total', { ...of, outcome: 'no_port' }, ...lives(0)),
    counter('netvitals_tcp_sent_segments_total', of, ...lives(5000)),
    counter('netvitals_tcp_retransmitted_segments_total', of, ...lives(10)),
    counter('netvitals_tcp_established_resets_total', of, ...lives(3)),
    counter('netvitals_tcp_memory_pressures_total', of, ...lives(0)),
    counter('netvitals_conntrack_drop_total', of, ...lives(0.01)),
    counter('netvitals_conntrack_insert_failed_total', of, ...lives(0.01)),
    gauge('netvitals_conntrack_entries', of, ...lives(30_000)),
    gauge('netvitals_conntrack_entries_limit', of, ...lives(262_144)),
    dropped('netfilter_drop', 'netfilter', 3),
    dropped('socket_rcvbuff', 'socket_buffer', 0.5),
    dropped('ip_innoroutes', 'routing', 0.5),
    dropped('neigh_failed', 'neighbour', 0.5),
    dropped('qdisc_drop', 'queue', 2),
    dropped('nomem', 'memory', 0),
    dropped('pkt_too_big', 'mtu', 0.01),
    dropped('queue_purge', 'normal', 500),
    counter('netvitals_icmp_sent_fragmentation_needed_total', of, ...lives(0.01)),
    counter('netvitals_icmp_received_fragmentation_needed_total', of, ...lives(0.01)),
    counter('netvitals_icmp_received_packet_too_big_total', of, ...lives(0.01)),
    counter('netvitals_dns_queries_total', { ...of, qtype: 'A' }, ...lives(20)),
    counter('netvitals_dns_responses_total', { ...of, rcode: 'NOERROR' }, ...lives(10)),
    counter('netvitals_dns_responses_total', { ...of, rcode: 'NXDOMAIN' }, ...lives(9.95)),
    counter('netvitals_dns_responses_total', { ...of, rcode: 'SERVFAIL' }, ...lives(0.04)),
    counter('netvitals_dns_unanswered_total', of, ...lives(0.01)),
    counter('netvitals_dns_duration_seconds_bucket', { ...of, le: '0.004096' }, ...lives(19.8)),
    counter('netvitals_dns_duration_seconds_bucket', { ...of, le: '1.048576' }, ...lives(19.98)),
    counter('netvitals_dns_duration_seconds_bucket', { ...of, le: '+Inf' }, ...lives(19.99)),
    counter('netvitals_dns_duration_seconds_count', of, ...lives(19.99)),
    counter(
      'netvitals_edge_connects_total',
      {
        ...node,
        client_namespace: 'shop',
        client_workload: name,
        server_namespace: '',
        server_workload: 'external',
        reporter: 'client',
        outcome: 'connected',
      },
      ...lives(50),
    ),
    counter(
      'netvitals_edge_connects_total',
      {
        ...node,
        client_namespace: 'shop',
        client_workload: name,
        server_namespace: '',
        server_workload: 'external',
        reporter: 'client',
        outcome: 'timed_out',
      },
      ...lives(0.1),
    ),
  ]
})

const eth0 = { ...node, device: 'eth0' }
const ofNode: readonly Series[] = [
  counter('netvitals_device_received_packets_total', eth0, always(20_000)),
  counter('netvitals_device_transmitted_packets_total', eth0, always(20_000)),
  counter('netvitals_device_receive_drops_total', eth0, always(2)),
  counter('netvitals_device_transmit_drops_total', eth0, always(0)),
  counter('netvitals_device_receive_errors_total', eth0, always(2)),
  counter('netvitals_device_transmit_errors_total', eth0, always(0)),
  counter('netvitals_qdisc_drops_total', eth0, always(20)),
  counter('netvitals_softnet_drops_total', node, always(0.05)),
  gauge('netvitals_neighbour_entries', { ...node, family: 'ipv4' }, always(300)),
  gauge('netvitals_neighbour_entries_limit', { ...node, family: 'ipv4' }, always(1024)),
  counter('netvitals_neighbour_table_full_total', { ...node, family: 'ipv4' }, always(0)),
  gauge('netvitals_tcp_memory_bytes', node, always(2e8)),
  gauge('netvitals_tcp_memory_limit_bytes', node, always(1e9)),
  gauge('netvitals_build_info', { ...node, ...built }, always(1)),
  gauge('netvitals_node_info', { ...node, kernel: '6.18.44', machine: 'x86_64', os: 'Debian', cgroup: 'v2' }, always(1)),
  gauge('netvitals_source_success', { ...node, source: 'proc-snmp' }, always(1)),
  gauge('netvitals_names_up', { ...node, provider: 'pods' }, always(1)),
].map(fromKernel)
const ofAgent: readonly Series[] = [
  gauge('up', node, [gap.from, 1], [gap.minutes, 0], [minutes - gap.from - gap.minutes, 1]),
  counter('netvitals_lost_events_total', { ...node, kind: 'map_full' }, ...untilRestart(0)),
  counter('netvitals_lost_events_total', { ...node, kind: 'slow_client' }, ...untilRestart(5)),
  counter('netvitals_series_dropped_total', node, ...untilRestart(0)),
]

/** Of a node where everything is 0: what is divided, and what by. */
const idle = [...ofPod, ...ofNode, ...ofAgent]
  .filter(({ name }) => !['up', 'netvitals_source_success', 'netvitals_names_up'].includes(name))
  .map(({ name, labels }) => gauge(name as 'up', { ...labels, ...scraped('node-2') }, always(0)))
/** Of an old kernel, without a privilege: the metrics of most alerts are not there. */
const bare = [
  gauge('up', scraped('node-3'), always(1)),
  gauge('netvitals_build_info', { ...scraped('node-3'), ...built }, always(1)),
  gauge('netvitals_source_success', { ...scraped('node-3'), source: 'trace-drops' }, always(1)),
  gauge('netvitals_source_available', { ...scraped('node-3'), source: 'trace-drops' }, always(0)),
]

export const calm: readonly Series[] = [...ofPod, ...ofNode, ...ofAgent, ...idle, ...bare]
/** When it is looked at: none has to last as short as two minutes without showing. */
export const calmMinutes = Array.from({ length: minutes / 2 }, (_, at) => 2 * (at + 1))
