import { thresholds } from '../../agent/metrics/thresholds.ts'
import { above, type Counter, divide, increase, like, max, min, rate, shownWindow, sum, topk, value } from '../promql.ts'
import type { Board, Graph, Row, Target } from './board.ts'
import { conntrackRatio, neighbourRatio, portsRatio, retransmittedRatio, tcpMemoryRatio } from './ratios.ts'
import { failingSources, zeroWhereRead } from './sources.ts'
import { harmfulCategories, here, onWire } from './variables.ts'

const harmful = { ...here, category: harmfulCategories } as const
const ofHost = { ...here, namespace: '', pod: '' } as const
const ofPods = { ...here, pod: like('.+') } as const

const orphansRatio = divide(sum(value('netvitals_tcp_orphans', here)), above(sum(value('netvitals_tcp_orphans_limit', here)), 0))
const timeWaitRatio = divide(
  sum(value('netvitals_tcp_sockets', { ...ofHost, state: 'time_wait' })),
  above(sum(value('netvitals_tcp_time_wait_sockets_limit', here)), 0),
)

/** A line for each counter, over the host and its pods. */
const lines = (...counters: readonly (readonly [metric: Counter, legend: string])[]): Target[] =>
  counters.map(([metric, legend]) => ({ query: sum(rate(metric, here)), legend }))
/** A line for each device, those with the most. */
const byDevice = (metric: Counter & `netvitals_${'device' | 'qdisc'}_${string}`): Target[] => [
  { query: topk(20, sum(rate(metric, here), 'device')), legend: '{{device}}' },
]
const podLegend = '{{namespace}}/{{pod}}'

const overview: Row = {
  title: 'Overview',
  panels: [
    {
      kind: 'stat',
      title: 'Received',
      description:
        'Bytes a second that the devices of the node that reach the world have received. Compare it with the speed of the link: from some 90 % of it on, packets are dropped on the way in. The row of devices says which.',
      unit: 'Bps',
      empty: 'No device has counted anything',
      targets: [{ query: sum(rate('netvitals_device_received_bytes_total', onWire)), legend: 'received' }],
    },
    {
      kind: 'stat',
      title: 'Sent',
      description:
        'Bytes a second that the devices of the node that reach the world have sent. Compare it with the speed of the link: from some 90 % of it on, queues fill. The row of devices says which, that of pods who sends.',
      unit: 'Bps',
      empty: 'No device has counted anything',
      targets: [{ query: sum(rate('netvitals_device_transmitted_bytes_total', onWire)), legend: 'sent' }],
    },
    {
      kind: 'stat',
      title: 'Dropped packets',
      description:
        'Packets a second that the kernel dropped on the host and in its pods, for whatever reason but clean-up that harms nobody. The graph below has the categories; `netvitals observe -t drop` shows single packets.',
      unit: 'pps',
      empty: 'Drops are not read here; `netvitals check` says why',
      targets: [
        {
          query: zeroWhereRead(sum(rate('netvitals_dropped_packets_total', harmful)), 'netvitals_dropped_packets_total'),
          legend: 'dropped',
        },
      ],
    },
    {
      kind: 'stat',
      title: 'Retransmission ratio',
      description:
        'TCP segments that the host and its pods sent again, of those sent. High: packets are lost or late on the way. `netvitals show edges` says between whom, TCP health what made TCP send again.',
      unit: 'percentunit',
      empty: 'No TCP segment was sent',
      levels: thresholds.retransmittedRatio,
      targets: [{ query: retransmittedRatio(), legend: 'sent again' }],
    },
    {
      kind: 'stat',
      title: 'Conntrack table',
      description:
        "Entries of the host's connection tracking table, of its limit. At 1 new connections are dropped without a word. Conntrack says when it will be full and who fills it.",
      unit: 'percentunit',
      empty: 'The host tracks no connections',
      levels: thresholds.conntrackRatio,
      targets: [{ query: max(conntrackRatio), legend: 'full' }],
    },
    {
      kind: 'stat',
      title: 'Ports in use',
      description:
        'Ephemeral ports in use towards one destination, of those there are, of the host or the pod where it is worst. At 1 connects fail with EADDRNOTAVAIL. `netvitals show sockets --state time-wait` says who talks to whom.',
      unit: 'percentunit',
      empty: 'No socket was listed',
      levels: thresholds.ephemeralPortsRatio,
      targets: [{ query: max(portsRatio), legend: 'worst' }],
    },
    {
      kind: 'stat',
      title: 'Fullest accept queue',
      description:
        'Connections that wait to be accepted at the fullest listener, of its limit. From 1 on the kernel refuses more, and clients time out. `netvitals show sockets --state listen` says which process it is.',
      unit: 'percentunit',
      empty: 'Queues are not read here; `netvitals check` says why',
      levels: thresholds.listenQueueRatio,
      targets: [{ query: max(value('netvitals_tcp_listen_queue_fullest_ratio', here)), legend: 'fullest' }],
    },
    {
      kind: 'stat',
      title: 'Fullest neighbour table',
      description:
        'Entries of the ARP or the neighbour discovery table, of its limit. When it is full, packets to new neighbours are dropped: raise net.ipv4.neigh.default.gc_thresh3, and gc_thresh2 with it; for IPv6 those of net.ipv6.',
      unit: 'percentunit',
      empty: 'No neighbour table was read',
      levels: thresholds.neighbourRatio,
      targets: [{ query: max(neighbourRatio), legend: 'fullest' }],
    },
    {
      kind: 'stat',
      title: 'TCP memory',
      description:
        'Memory of all TCP sockets, of what net.ipv4.tcp_mem allows. Near 1 the kernel shrinks windows and drops segments. `netvitals show sockets` says whose queues are long.',
      unit: 'percentunit',
      empty: 'TCP memory was not read',
      levels: thresholds.tcpMemoryRatio,
      targets: [{ query: max(tcpMemoryRatio), legend: 'used' }],
    },
    {
      kind: 'stat',
      title: 'Orphaned sockets',
      description:
        'TCP sockets that no process holds any more, of net.ipv4.tcp_max_orphans. Many: applications close while the other end does not read or does not answer; at the limit the kernel resets them. `netvitals show sockets --state fin-wait1,last-ack` says towards whom.',
      unit: 'percentunit',
      empty: 'Orphans were not read',
      levels: thresholds.orphansRatio,
      targets: [{ query: orphansRatio, legend: 'orphans' }],
    },
    {
      kind: 'stat',
      title: 'Host and pods',
      description:
        'Network namespaces with a name: the host, its pods and named namespaces. Pods that have the network of the host are in its row. Fewer than there are pods: names are missing, and `netvitals check` says why.',
      unit: 'none',
      empty: 'No agent is scraped',
      targets: [{ query: sum(value('netvitals_subjects', here)), legend: 'namespaces' }],
    },
    {
      kind: 'stat',
      title: 'Failing sources',
      description:
        'Sources of numbers that could not be read in the last sweep. While one fails, its panels keep silent or stand still. The last row says which, `netvitals check` why.',
      unit: 'none',
      empty: 'No agent is scraped',
      levels: { warning: 1 },
      targets: [{ query: failingSources(), legend: 'sources' }],
    },
    {
      kind: 'graph',
      title: 'Dropped packets by category',
      description:
        'Packets a second that the kernel dropped on the host and in its pods, by the kind of their reason; clean-up that harms nobody is left out. What stands out says where to look: netfilter at rules and policies, socket_buffer at slow applications, neighbour and routing at the network. The row of drops has reasons.',
      unit: 'pps',
      empty: 'No packet was dropped, or drops are not read here',
      isStacked: true,
      targets: [{ query: sum(rate('netvitals_dropped_packets_total', harmful), 'category'), legend: '{{category}}' }],
    },
    {
      kind: 'graph',
      title: 'Traffic of the node',
      description:
        'Bytes a second through the devices that reach the world; what bridges, bonds and tunnels carry is counted once. A sudden fall is as bad as a rise: compare with drops and retransmissions of the same minutes.',
      unit: 'Bps',
      empty: 'No device has counted anything',
      targets: [
        { query: sum(rate('netvitals_device_received_bytes_total', onWire)), legend: 'received' },
        { query: sum(rate('netvitals_device_transmitted_bytes_total', onWire)), legend: 'sent' },
      ],
    },
  ],
}

const drops: Row = {
  title: 'Drops',
  panels: [
    {
      kind: 'graph',
      title: 'Dropped packets by reason',
      description:
        'Packets a second that the kernel dropped, by its own reason, the 20 with the most. One that rises alone tells where to look: the reference says what its category means. `netvitals observe -t drop --reason NAME` shows the packets.',
      unit: 'pps',
      empty: 'No packet was dropped, or drops are not read here',
      targets: [{ query: topk(20, sum(rate('netvitals_dropped_packets_total', harmful), 'reason')), legend: '{{reason}}' }],
    },
    {
      kind: 'graph',
      title: 'Dropped packets by direction and category',
      description:
        'The same by the way the packets went, relative to the host or pod that dropped them, the 20 with the most. in: for somebody here; out: sent from here; forward: the host passed them on, where rules and routes of the host decide.',
      unit: 'pps',
      empty: 'No packet was dropped, or drops are not read here',
      targets: [
        {
          query: topk(20, sum(rate('netvitals_dropped_packets_total', harmful), 'direction', 'category')),
          legend: '{{direction}}: {{category}}',
        },
      ],
    },
    {
      kind: 'graph',
      title: 'Pods that drop most',
      description:
        'Packets a second that were dropped in the network namespace of each pod, or on the host on the way to or from it, of the 19 pods with the most, and on the host for itself. `netvitals observe -t drop --pod NAMESPACE/POD` shows what they are; Drops has them by workload.',
      unit: 'pps',
      empty: 'No packet was dropped, or drops are not read here',
      targets: [
        {
          query: topk(19, sum(rate('netvitals_dropped_packets_total', { ...harmful, pod: like('.+') }), 'namespace', 'pod')),
          legend: podLegend,
        },
        {
          query: sum(rate('netvitals_dropped_packets_total', { ...harmful, namespace: '', pod: '' })),
          legend: 'the host itself',
        },
      ],
    },
    {
      kind: 'graph',
      title: 'Dropped bytes by category',
      description:
        'Bytes a second of the dropped packets, by the kind of their reason. Many bytes in few packets are payload that gets lost; few bytes in many are SYNs, scans or answers to nobody.',
      unit: 'Bps',
      empty: 'No packet was dropped, or drops are not read here',
      isStacked: true,
      targets: [{ query: sum(rate('netvitals_dropped_bytes_total', harmful), 'category'), legend: '{{category}}' }],
    },
  ],
}

const pods: Row = {
  title: 'Pods on the node',
  panels: [
    byPod(
      'Pods that send most',
      'Bytes a second that each pod has sent, of the 20 with the most; pods with the network of the host are not among them. One that fills the link starves the others. Pod Flows shows it beside its siblings, `netvitals show edges` whom it talks to.',
      'Bps',
      'netvitals_transmitted_bytes_total',
      'No pod has a row yet',
    ),
    byPod(
      'Pods that receive most',
      'Bytes a second that each pod has received, of the 20 with the most. One far above its siblings gets more than its share: look at Pod Flows (Workload), and with `netvitals show edges` at who sends it.',
      'Bps',
      'netvitals_received_bytes_total',
      'No pod has a row yet',
    ),
    byPod(
      'Pods that send again most',
      'TCP segments a second that each pod sent again, of the 20 with the most. High for one: its peers or the way to them; high for all: the node. `netvitals observe -t retransmit --pod NAMESPACE/POD` shows towards whom.',
      'pps',
      'netvitals_tcp_retransmitted_segments_total',
      'No pod has a row yet',
    ),
    {
      kind: 'graph',
      title: 'Pods with the most sockets',
      description:
        'TCP sockets of each pod in any state, of the 20 with the most. One that only grows leaks them. `netvitals show sockets --pod NAMESPACE/POD` says in which state and in which process.',
      unit: 'short',
      empty: 'No pod has a row yet',
      targets: [{ query: topk(20, sum(value('netvitals_tcp_sockets', ofPods), 'namespace', 'pod')), legend: podLegend }],
    },
  ],
}
function byPod(
  title: string,
  description: string,
  unit: Graph['unit'],
  metric: 'netvitals_transmitted_bytes_total' | 'netvitals_received_bytes_total' | 'netvitals_tcp_retransmitted_segments_total',
  empty: string,
): Graph {
  return {
    kind: 'graph',
    title,
    description,
    unit,
    empty,
    targets: [{ query: topk(20, sum(rate(metric, ofPods), 'namespace', 'pod')), legend: podLegend }],
  }
}

const devices: Row = {
  title: 'Devices',
  panels: [
    deviceGraph(
      'Bytes received by device',
      'Bytes a second that each device has received, of the 20 with the most; the ends of pods are left out. What a bridge or tunnel carries is seen on the device below it again. Near the speed of the link packets get lost.',
      'Bps',
      'netvitals_device_received_bytes_total',
    ),
    deviceGraph(
      'Bytes sent by device',
      'Bytes a second that each device has sent, of the 20 with the most; the ends of pods are left out. Near the speed of the link its queueing discipline fills: look at its backlog and drops below.',
      'Bps',
      'netvitals_device_transmitted_bytes_total',
    ),
    deviceGraph(
      'Packets received by device',
      'Packets a second that each device has received, of the 20 with the most. Many small packets cost CPU long before they fill a link: look at softnet below.',
      'pps',
      'netvitals_device_received_packets_total',
    ),
    deviceGraph(
      'Packets sent by device',
      'Packets a second that each device has sent, of the 20 with the most. Many small ones: applications that write little at a time, or acknowledgements of what is received.',
      'pps',
      'netvitals_device_transmitted_packets_total',
    ),
    deviceGraph(
      'Device drops, receiving',
      'Received packets that the driver or the stack dropped, by device; most of them are among the dropped packets too. High: the ring is too small or CPUs are too slow to empty it. Look at `ethtool -S` and `ethtool -g` of the device.',
      'pps',
      'netvitals_device_receive_drops_total',
    ),
    deviceGraph(
      'Device drops, sending',
      'Packets to send that the driver or the stack dropped, by device; most of them are among the dropped packets too. High: the queue of the device is full, or it is down or has no carrier.',
      'pps',
      'netvitals_device_transmit_drops_total',
    ),
    deviceGraph(
      'Device errors, receiving',
      'Bad packets that each device has received. Above 0: a cable, an optic, a port of the switch, or a duplex that does not match. Look at `ethtool -S` of the device.',
      'pps',
      'netvitals_device_receive_errors_total',
    ),
    deviceGraph(
      'Device errors, sending',
      'Packets that each device could not send. Above 0: no carrier, a driver in trouble, or a tunnel without a way to its other end. Look at `ip -s link` and the log of the kernel.',
      'pps',
      'netvitals_device_transmit_errors_total',
    ),
  ],
}
function deviceGraph(
  title: string,
  description: string,
  unit: Graph['unit'],
  metric: Counter & `netvitals_device_${string}`,
): Graph {
  return { kind: 'graph', title, description, unit, empty: 'No device has counted anything', targets: byDevice(metric) }
}

const queues: Row = {
  title: 'Softnet and queueing disciplines',
  panels: [
    {
      kind: 'graph',
      title: 'Softnet drops',
      description:
        'Packets a second dropped because the backlog queue of a CPU was full. Above 0: CPUs do not keep up with what comes in. Raise net.core.netdev_max_backlog, and spread the load: more queues, RPS, fewer small packets.',
      unit: 'pps',
      empty: 'Softnet was not read',
      levels: thresholds.softnetDropsPerSecond,
      targets: lines(['netvitals_softnet_drops_total', 'dropped']),
    },
    {
      kind: 'graph',
      title: 'Softnet time squeezes',
      description:
        'How often a second a CPU stopped taking packets with some still waiting, because its budget was used up. Some are normal under load; many, with drops beside them, ask for more net.core.netdev_budget and net.core.netdev_budget_usecs.',
      unit: 'cps',
      empty: 'Softnet was not read',
      targets: lines(['netvitals_softnet_time_squeezes_total', 'squeezed']),
    },
    {
      kind: 'graph',
      title: 'Qdisc drops by device',
      description:
        "Packets a second dropped by each device's queueing discipline; they are among the dropped packets too, as qdisc_drop. High: more is sent than the device takes, or a limit of its shaper is reached. `tc -s qdisc` shows which class.",
      unit: 'pps',
      empty: 'No queueing discipline was read',
      targets: byDevice('netvitals_qdisc_drops_total'),
    },
    {
      kind: 'graph',
      title: 'Qdisc backlog by device',
      description:
        "Bytes that wait in each device's queueing discipline, of the 20 with the most. High for long: the device is too slow for what is sent, and every packet waits behind it; round-trip times rise with it.",
      unit: 'bytes',
      empty: 'No queueing discipline was read',
      targets: [{ query: topk(20, sum(value('netvitals_qdisc_backlog_bytes', here), 'device')), legend: '{{device}}' }],
    },
  ],
}

const sockets: Row = {
  title: 'Sockets and TCP memory',
  panels: [
    {
      kind: 'graph',
      title: 'TCP sockets by state',
      description:
        'TCP sockets of the host and its pods. Many in close_wait: applications do not close; in syn_sent: peers do not answer; in syn_recv: handshakes are not finished; in time_wait: many short connections. `netvitals show sockets` says whose they are.',
      unit: 'short',
      empty: 'No socket was listed',
      isStacked: true,
      targets: [{ query: sum(value('netvitals_tcp_sockets', here), 'state'), legend: '{{state}}' }],
    },
    {
      kind: 'graph',
      title: 'TCP limits: memory, orphans, TIME_WAIT',
      description:
        'How full is what all TCP sockets of the machine share: memory, sockets that no process holds, and TIME_WAIT of the host. At 1 the kernel drops segments, resets orphans, or forgets TIME_WAIT too early. The limits are net.ipv4.tcp_mem, tcp_max_orphans and tcp_max_tw_buckets.',
      unit: 'percentunit',
      empty: 'TCP memory was not read',
      levels: thresholds.tcpMemoryRatio,
      targets: [
        { query: max(tcpMemoryRatio), legend: 'memory' },
        { query: orphansRatio, legend: 'orphans' },
        { query: timeWaitRatio, legend: 'TIME_WAIT of the host' },
      ],
    },
    {
      kind: 'graph',
      title: 'TCP memory and queues',
      description:
        'Memory of all TCP sockets, and the bytes in the queues of established ones: received that applications have not read, sent that peers have not acknowledged. The first of these high: applications are slow; the second: peers or the network.',
      unit: 'bytes',
      empty: 'TCP memory was not read',
      targets: [
        { query: sum(value('netvitals_tcp_memory_bytes', here)), legend: 'memory' },
        { query: sum(value('netvitals_tcp_receive_queue_bytes', here)), legend: 'received, not read' },
        { query: sum(value('netvitals_tcp_send_queue_bytes', here)), legend: 'sent, not acknowledged' },
      ],
    },
    {
      kind: 'graph',
      title: 'Orphaned sockets of the limit',
      description:
        'TCP sockets that no process holds any more, and sockets of every kind in use. Orphans that grow: applications close while peers are silent. Sockets that only grow are leaked: `netvitals show sockets` says by whom.',
      unit: 'short',
      empty: 'Sockets were not counted',
      targets: [
        { query: sum(value('netvitals_tcp_orphans', here)), legend: 'orphans' },
        { query: sum(value('netvitals_sockets_used', here)), legend: 'sockets in use' },
      ],
    },
    {
      kind: 'graph',
      title: 'Accept queue overflows',
      description:
        'Connection requests that listeners refused because the accept queue was full, and those dropped for any reason. Each is a client that waits and tries again. `netvitals show sockets --state listen` says whose queue is full.',
      unit: 'cps',
      empty: 'No counter of TCP was read',
      targets: lines(
        ['netvitals_tcp_listen_overflows_total', 'accept queue full'],
        ['netvitals_tcp_listen_drops_total', 'dropped for any reason'],
      ),
    },
    {
      kind: 'graph',
      title: 'TCP under pressure',
      description:
        'What the kernel does when memory, queues or windows of TCP are at their end: pressure entered, segments pruned or dropped, TIME_WAIT forgotten, SYN cookies sent. Above 0: look at the memory above, and for applications that do not read.',
      unit: 'cps',
      empty: 'None of it has happened',
      targets: lines(
        ['netvitals_tcp_memory_pressures_total', 'memory pressure entered'],
        ['netvitals_tcp_pruned_segments_total', 'pruned, receive buffer full'],
        ['netvitals_tcp_receive_queue_drops_total', 'dropped, receive queue full'],
        ['netvitals_tcp_backlog_drops_total', 'dropped, socket backlog full'],
        ['netvitals_tcp_out_of_order_drops_total', 'dropped, out of order'],
        ['netvitals_tcp_zero_window_entered_total', 'zero window entered'],
        ['netvitals_tcp_time_wait_overflows_total', 'TIME_WAIT forgotten'],
        ['netvitals_tcp_syn_cookies_sent_total', 'SYN cookies sent'],
      ),
    },
  ],
}

const tables: Row = {
  title: 'Connection tracking and neighbour tables',
  panels: [
    {
      kind: 'graph',
      title: 'Conntrack entries',
      description:
        "Entries of the host's connection tracking table and how many it may hold. When they meet, new connections are dropped. Conntrack says when that will be and which pods fill it.",
      unit: 'short',
      empty: 'The host tracks no connections',
      targets: [
        { query: sum(value('netvitals_conntrack_entries', ofHost)), legend: 'entries' },
        { query: sum(value('netvitals_conntrack_entries_limit', ofHost)), legend: 'limit' },
      ],
    },
    {
      kind: 'graph',
      title: 'Conntrack drops and failed inserts',
      description:
        'Packets a second that were dropped because the host could not track them, entries that clashed, and entries thrown out early to make room. Any of them is a connection in trouble. Conntrack has the other counters.',
      unit: 'cps',
      empty: 'The host tracks no connections, or its counters are not read here',
      targets: [
        { query: sum(rate('netvitals_conntrack_drop_total', ofHost)), legend: 'dropped' },
        { query: sum(rate('netvitals_conntrack_insert_failed_total', ofHost)), legend: 'insert failed' },
        { query: sum(rate('netvitals_conntrack_early_drop_total', ofHost)), legend: 'thrown out early' },
      ],
    },
    {
      kind: 'graph',
      title: 'Neighbour table fill',
      description:
        'Entries of the ARP (ipv4) and neighbour discovery (ipv6) tables, of their limits. When one is full, packets to new neighbours are dropped: raise gc_thresh3 and gc_thresh2 of net.ipv4.neigh.default or net.ipv6.neigh.default.',
      unit: 'percentunit',
      empty: 'No neighbour table was read',
      max: 1,
      levels: thresholds.neighbourRatio,
      targets: [{ query: max(neighbourRatio, 'family'), legend: '{{family}}' }],
    },
    {
      kind: 'graph',
      title: 'Neighbours that do not answer',
      description:
        'Addresses a second that nobody answered for, and entries refused because a table was full. The first high: somebody calls addresses that are not there, or a neighbour is gone. `ip neigh` lists those that failed.',
      unit: 'cps',
      empty: 'No neighbour table was read',
      targets: [
        {
          query: sum(rate('netvitals_neighbour_resolution_failures_total', here), 'family'),
          legend: '{{family}}: no answer',
        },
        { query: sum(rate('netvitals_neighbour_table_full_total', here), 'family'), legend: '{{family}}: table full' },
      ],
    },
  ],
}

const protocols: Row = {
  title: 'UDP, IP and ICMP',
  panels: [
    {
      kind: 'graph',
      title: 'UDP errors',
      description:
        'Datagrams a second that did not reach an application. Receive buffer: the application reads too slowly or its buffer is small; no port: nobody listens, as when a server is down; send buffer: more is sent than leaves. `netvitals observe -t drop --protocol udp` shows which.',
      unit: 'pps',
      empty: 'No counter of UDP was read',
      targets: lines(
        ['netvitals_udp_receive_buffer_errors_total', 'receive buffer full'],
        ['netvitals_udp_send_buffer_errors_total', 'send buffer or device queue full'],
        ['netvitals_udp_no_port_total', 'no port'],
        ['netvitals_udp_checksum_errors_total', 'bad checksum'],
        ['netvitals_udp_receive_errors_total', 'not delivered, all but no port'],
      ),
    },
    {
      kind: 'graph',
      title: 'UDP datagrams',
      description:
        'Datagrams a second that were delivered to applications and that were sent, by the host and its pods. Compare it with the errors beside it; much of it is DNS on most nodes.',
      unit: 'pps',
      empty: 'No counter of UDP was read',
      targets: lines(['netvitals_udp_received_datagrams_total', 'received'], ['netvitals_udp_sent_datagrams_total', 'sent']),
    },
    {
      kind: 'graph',
      title: 'IP errors and discards',
      description:
        'Packets a second that the IP layer of the host or a pod could not take, send or put together. no route: a network is unreachable from here; bad header: hop limits that ran out, as in a loop; discards: memory. The reasons of drops say more.',
      unit: 'pps',
      empty: 'No counter of IP was read',
      targets: lines(
        ['netvitals_ip_no_routes_total', 'no route'],
        ['netvitals_ip_receive_discards_total', 'received, discarded'],
        ['netvitals_ip_transmit_discards_total', 'to send, discarded'],
        ['netvitals_ip_receive_header_errors_total', 'bad header or hop limit'],
        ['netvitals_ip_receive_address_errors_total', 'bad address'],
        ['netvitals_ip_reassembly_failures_total', 'fragments not put together'],
      ),
    },
    {
      kind: 'graph',
      title: 'Path MTU: fragmentation needed, packet too big',
      description:
        'Packets a second that were too large for a link, and the ICMP messages about them, sent and received. Some while a path is learnt is normal; if it goes on, somebody ignores the messages and large requests hang. Compare the MTU of devices and tunnels; `netvitals observe -t drop --category mtu` shows the packets.',
      unit: 'pps',
      empty: 'No packet was too large',
      targets: [
        ...lines(
          ['netvitals_icmp_sent_fragmentation_needed_total', 'fragmentation needed sent'],
          ['netvitals_icmp_received_fragmentation_needed_total', 'fragmentation needed received'],
          ['netvitals_icmp_received_packet_too_big_total', 'ICMPv6 packet too big received'],
          ['netvitals_ip_fragmentation_failures_total', 'could not be fragmented'],
        ),
        { query: sum(rate('netvitals_dropped_packets_total', { ...here, category: 'mtu' })), legend: 'dropped, category mtu' },
      ],
    },
    {
      kind: 'graph',
      title: 'ICMP unreachable',
      description:
        'ICMP destination unreachable messages a second. Sent: somebody calls what is not here, or a rule rejects; received: what the host or its pods call is not there. `netvitals observe -t drop` and `-t connect` show which.',
      unit: 'pps',
      empty: 'No counter of ICMP was read',
      targets: lines(
        ['netvitals_icmp_sent_unreachable_total', 'sent'],
        ['netvitals_icmp_received_unreachable_total', 'received'],
      ),
    },
    {
      kind: 'graph',
      title: 'Forwarded packets',
      description:
        'Packets a second that the host passed on, most of them to and from its pods; and those dropped on the way. Nothing at all on a node with pods: forwarding is off, or pods are connected in another way.',
      unit: 'pps',
      empty: 'Nothing was forwarded',
      targets: [
        ...lines(['netvitals_ip_forwarded_total', 'forwarded']),
        { query: sum(rate('netvitals_dropped_packets_total', { ...harmful, direction: 'forward' })), legend: 'dropped' },
      ],
    },
  ],
}

const agent: Row = {
  title: 'The agent',
  isCollapsed: true,
  panels: [
    {
      kind: 'table',
      title: 'Sources',
      description:
        'Where the numbers come from, and how each source fared in the last sweep. Not available: this kernel, configuration or tier cannot give it; not read: it failed, and its numbers are missing. `netvitals check` says why, and what would be gained.',
      empty: 'No agent is scraped',
      labels: { source: 'Source' },
      sortBy: 'Seconds',
      columns: [
        {
          heading: 'Available',
          unit: 'none',
          levels: { warning: 1, isLowBad: true },
          query: min(value('netvitals_source_available', here), 'source'),
        },
        {
          heading: 'Read',
          unit: 'none',
          levels: { fault: 1, isLowBad: true },
          query: min(value('netvitals_source_success', here), 'source'),
        },
        { heading: 'Seconds', unit: 's', query: max(value('netvitals_source_duration_seconds', here), 'source') },
        {
          heading: 'Not understood',
          unit: 'short',
          levels: { warning: 1 },
          query: sum(increase('netvitals_parse_errors_total', here, shownWindow), 'source'),
        },
        {
          heading: 'Namespaces skipped',
          unit: 'short',
          levels: { warning: 1 },
          query: sum(value('netvitals_subjects_skipped', here), 'source'),
        },
      ],
    },
    {
      kind: 'graph',
      title: 'Time of a sweep',
      description:
        'How long the agent takes to read everything once, and each of its sources. Beyond the timeout of the scrape, 10 s unless it was changed, Prometheus gets nothing. Many sockets or pods make it longer; `--sources.off` leaves the slowest out.',
      unit: 's',
      empty: 'No agent is scraped',
      levels: thresholds.sweepSeconds,
      targets: [
        { query: max(value('netvitals_sweep_duration_seconds', here)), legend: 'sweep' },
        { query: topk(19, max(value('netvitals_source_duration_seconds', here), 'source')), legend: '{{source}}' },
      ],
    },
    {
      kind: 'graph',
      title: 'Lost events',
      description:
        'Events a second that could not be counted, by what lost them. Above 0 the counts of drops, connects or DNS queries are too low by as many: the reference says what each kind means, `netvitals check` what helps.',
      unit: 'cps',
      empty: 'Nothing is read that could be lost',
      levels: thresholds.lostEventsPerSecond,
      targets: [{ query: sum(rate('netvitals_lost_events_total', here), 'kind'), legend: '{{kind}}' }],
    },
    {
      kind: 'graph',
      title: 'CPU of the agent',
      description:
        'CPU time of the agent and of the processes it has started, of one CPU. It grows with sockets, pods and captured packets; a jump without any of these is worth a look at the sweep beside it.',
      unit: 'percentunit',
      empty: 'No agent is scraped',
      targets: [
        { query: sum(rate('process_cpu_seconds_total', here)), legend: 'agent' },
        { query: sum(rate('netvitals_child_cpu_seconds_total', here), 'child'), legend: '{{child}}' },
      ],
    },
    {
      kind: 'graph',
      title: 'Memory of the agent',
      description:
        'Resident memory of the agent and of the processes it has started. It follows the number of series and of connections; if it only grows, that is a fault of netvitals, and worth a report.',
      unit: 'bytes',
      empty: 'No agent is scraped',
      targets: [
        { query: sum(value('process_resident_memory_bytes', here)), legend: 'agent' },
        { query: sum(value('netvitals_child_resident_memory_bytes', here), 'child'), legend: '{{child}}' },
      ],
    },
    {
      kind: 'graph',
      title: 'Series and values left out',
      description:
        'Series that the agent shows, and values a second that it left out because a limit of series was reached. Above 0 some pods or ports are missing: fewer pods, or a source left out, brings them back.',
      unit: 'short',
      empty: 'No agent is scraped',
      targets: [
        { query: sum(value('netvitals_series', here)), legend: 'series' },
        { query: sum(rate('netvitals_series_dropped_total', here)), legend: 'left out a second' },
      ],
    },
    {
      kind: 'graph',
      title: 'Network namespaces',
      description:
        'Network namespaces that have a name, those that belong to nobody known, and those that processes of pods made for themselves. What happens in the last two is not shown. Unknown for long: names do not come, and `netvitals check` says what is missing.',
      unit: 'none',
      empty: 'No agent is scraped',
      targets: [
        { query: sum(value('netvitals_subjects', here)), legend: 'with a name' },
        { query: sum(value('netvitals_subjects_unresolved', here)), legend: 'of nobody known' },
        { query: sum(value('netvitals_subjects_nested', here)), legend: 'made by pods' },
      ],
    },
    {
      kind: 'graph',
      title: 'Age of names',
      description:
        'Seconds since the API server, or wherever names come from, last said anything of this node’s pods and of peers elsewhere. Minutes: it cannot be reached or refuses; what is new has no name until it answers. `netvitals check` prints the missing right.',
      unit: 's',
      empty: 'Nobody is asked for names',
      targets: [{ query: max(value('netvitals_names_last_success_age_seconds', here), 'provider'), legend: '{{provider}}' }],
    },
    {
      kind: 'graph',
      title: 'Captured packets',
      description:
        'Packets a second that the capture of DNS, HTTP and ICMP looked at, and those that were cut or unreadable. What it lost is among the lost events. Many of them cost CPU: narrow the ports.',
      unit: 'pps',
      empty: 'No packets are captured',
      targets: lines(
        ['netvitals_captured_packets_total', 'looked at'],
        ['netvitals_captured_packets_cut_total', 'cut'],
        ['netvitals_captured_packets_unreadable_total', 'unreadable'],
      ),
    },
    {
      kind: 'graph',
      title: 'Single events not shown',
      description:
        'Single events a second for `netvitals observe`, and those beyond what the kernel gives out in a second. They are counted in the metrics all the same; what is not shown is only not there to be looked at one by one.',
      unit: 'cps',
      empty: 'There are no single events here',
      targets: [
        { query: sum(rate('netvitals_events_shown_total', here)), legend: 'shown' },
        { query: sum(rate('netvitals_events_not_shown_total', here), 'kind'), legend: 'not shown: {{kind}}' },
      ],
    },
    {
      kind: 'graph',
      title: 'Requests to the agent',
      description:
        'HTTP requests a second that the agent answered, by status. 401 is a wrong token or password, 500 a fault of netvitals; more than your Prometheus asks is somebody else.',
      unit: 'reqps',
      empty: 'No agent is scraped',
      targets: [{ query: topk(20, sum(rate('netvitals_web_requests_total', here), 'code')), legend: '{{code}}' }],
    },
  ],
}

export const nodeBoard: Board = {
  uid: 'netvitals-node',
  title: 'Node',
  description: 'One node in depth: its devices, queues, drops, sockets, tables and pods, and the agent on it.',
  variables: ['cluster', 'job', 'node'],
  isOfOneNode: true,
  rows: [overview, drops, pods, devices, queues, sockets, tables, protocols, agent],
}
