import { thresholds } from '../../agent/metrics/thresholds.ts'
import {
  above,
  add,
  type Counter,
  count,
  divide,
  highest,
  max,
  min,
  type Query,
  rate,
  share,
  shownWindow,
  stepWindow,
  sum,
  topk,
  value,
} from '../promql.ts'
import type { Board, Graph, Row, Table, Target } from './board.ts'
import { byNode, mostOnNodes, type OfNode } from './nodes.ts'
import {
  conntrackRatio,
  dnsErrorRatio,
  failedConnectRatio,
  hostTable,
  neighbourRatio,
  portsRatio,
  retransmittedRatio,
  tcpMemoryRatio,
} from './ratios.ts'
import { failingSources, zeroWhereRead } from './sources.ts'
import { harmfulCategories, here, onWire } from './variables.ts'

const harmful = { ...here, category: harmfulCategories } as const
const failed = { ...here, outcome: { noneOf: ['connected'] } } as const

const dropsByNode = (window?: string): Query<OfNode> =>
  zeroWhereRead(
    sum(rate('netvitals_dropped_packets_total', harmful, window), ...byNode),
    'netvitals_dropped_packets_total',
    ...byNode,
  )
const overview: Row = {
  title: 'Overview',
  panels: [
    {
      kind: 'stat',
      title: 'Nodes scraped',
      description:
        'Nodes whose agent is scraped. Fewer than there are: an agent is down or Prometheus does not reach it; look at the pods of the agent and at the targets of Prometheus.',
      unit: 'none',
      empty: 'No agent is scraped',
      targets: [{ query: count(value('netvitals_node_info', here)), legend: 'nodes' }],
    },
    {
      kind: 'stat',
      title: 'Failing sources',
      description:
        'Sources of numbers that could not be read in the last sweep, over all nodes. While one fails, its panels keep silent or stand still. The table of nodes says where, the Node board which, and `netvitals check` on that node why.',
      unit: 'none',
      empty: 'No agent is scraped',
      levels: { warning: 1 },
      targets: [{ query: failingSources(), legend: 'sources' }],
    },
    {
      kind: 'stat',
      title: 'Dropped packets',
      description:
        'Packets a second that the kernels dropped, for whatever reason but clean-up that harms nobody. High for this cluster: the rows below say which category and which node; then open Drops for the pods, or `netvitals observe -t drop` on the node.',
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
        'TCP segments sent again, of those sent. High: packets are lost or late between hosts. TCP health says which pods, and `netvitals show edges` between whom.',
      unit: 'percentunit',
      empty: 'No TCP segment was sent',
      levels: thresholds.retransmittedRatio,
      targets: [{ query: retransmittedRatio(), legend: 'sent again' }],
    },
    {
      kind: 'stat',
      title: 'Failed connects',
      description:
        'TCP connects that were refused, timed out or failed otherwise, of those that ended. High: something is down or cannot be reached. TCP health says how they failed, and `netvitals show edges` whose they are.',
      unit: 'percentunit',
      empty: 'No connect ended, or connects are not read here',
      levels: thresholds.failedConnectRatio,
      targets: [{ query: failedConnectRatio(), legend: 'failed' }],
    },
    {
      kind: 'stat',
      title: 'DNS error ratio',
      description:
        'Answers to DNS queries with an error, of all answers; names that do not exist are none. High: the resolver or what it asks is broken. Open DNS (Cluster), or `netvitals observe --rcode SERVFAIL` on a node.',
      unit: 'percentunit',
      empty: 'No DNS answer was seen, or DNS is not read here',
      levels: thresholds.dnsErrorRatio,
      targets: [{ query: dnsErrorRatio(), legend: 'errors' }],
    },
    {
      kind: 'stat',
      title: 'Fullest conntrack table',
      description:
        'Entries of the connection tracking table of the node where it is fullest, of its limit. At 1 new connections are dropped without a word. Conntrack says which node, when it will be full, and who fills it.',
      unit: 'percentunit',
      empty: 'No node tracks connections',
      levels: thresholds.conntrackRatio,
      targets: [{ query: max(conntrackRatio), legend: 'fullest' }],
    },
    {
      kind: 'stat',
      title: 'Ports in use',
      description:
        'Ephemeral ports in use towards one destination, of those there are, where it is worst. At 1 connects fail with EADDRNOTAVAIL. The table of nodes says where; `netvitals show sockets --state time-wait` on that node shows who talks to whom.',
      unit: 'percentunit',
      empty: 'No socket was listed',
      levels: thresholds.ephemeralPortsRatio,
      targets: [{ query: max(portsRatio), legend: 'worst' }],
    },
    {
      kind: 'stat',
      title: 'Fullest accept queue',
      description:
        'Connections that wait to be accepted at the fullest listener, of its limit. From 1 on clients time out. The application does not accept fast enough, or its backlog is small: TCP health says which pod, `netvitals show sockets --state listen` which process.',
      unit: 'percentunit',
      empty: 'Queues are not read here; `netvitals check` says why',
      levels: thresholds.listenQueueRatio,
      targets: [{ query: max(value('netvitals_tcp_listen_queue_fullest_ratio', here)), legend: 'fullest' }],
    },
    {
      kind: 'stat',
      title: 'Fullest neighbour table',
      description:
        'Entries of the ARP or neighbour discovery table, of its limit, on the node where it is fullest. When it is full, packets to new neighbours are dropped: raise net.ipv4.neigh.default.gc_thresh3, and gc_thresh2 with it; for IPv6 those of net.ipv6.',
      unit: 'percentunit',
      empty: 'No neighbour table was read',
      levels: thresholds.neighbourRatio,
      targets: [{ query: max(neighbourRatio), legend: 'fullest' }],
    },
    {
      kind: 'stat',
      title: 'TCP memory',
      description:
        'Memory of all TCP sockets of a node, of what net.ipv4.tcp_mem allows, where it is highest. Near 1 the kernel shrinks windows and drops segments. The Node board shows what holds it; `netvitals show sockets` shows whose queues are long.',
      unit: 'percentunit',
      empty: 'TCP memory was not read',
      levels: thresholds.tcpMemoryRatio,
      targets: [{ query: max(tcpMemoryRatio), legend: 'highest' }],
    },
    {
      kind: 'stat',
      title: 'Unanswered DNS queries',
      description:
        'DNS queries without an answer after five seconds, of all queries. High: the resolver does not answer, or packets to or from it are dropped. Open DNS (Cluster), or `netvitals observe --rcode unanswered` on a node.',
      unit: 'percentunit',
      empty: 'No DNS query was seen, or DNS is not read here',
      levels: thresholds.dnsUnansweredRatio,
      targets: [
        {
          query: share(sum(rate('netvitals_dns_unanswered_total', here)), sum(rate('netvitals_dns_queries_total', here))),
          legend: 'unanswered',
        },
      ],
    },
    {
      kind: 'graph',
      title: 'Dropped packets by category',
      description:
        'Packets a second that the kernels dropped, by the kind of their reason; clean-up that harms nobody is left out. What stands out says where to look: netfilter at rules and policies, no_socket at ports nobody listens on, socket_buffer at slow applications, routing and neighbour at the network. Drops has reasons and pods.',
      unit: 'pps',
      empty: 'No packet was dropped, or drops are not read here',
      isStacked: true,
      targets: [{ query: sum(rate('netvitals_dropped_packets_total', harmful), 'category'), legend: '{{category}}' }],
    },
    {
      kind: 'graph',
      title: 'Traffic of all nodes',
      description:
        'Bytes a second through the devices of the nodes that reach the world; what bridges, bonds and tunnels carry is counted once. A fall that nobody planned is as bad as a rise: look at drops and failed connects of the same minutes.',
      unit: 'Bps',
      empty: 'No device has counted anything',
      targets: [
        { query: sum(rate('netvitals_device_received_bytes_total', onWire)), legend: 'received' },
        { query: sum(rate('netvitals_device_transmitted_bytes_total', onWire)), legend: 'sent' },
      ],
    },
  ],
}

const fleet: Table = {
  kind: 'table',
  title: 'Nodes',
  description:
    'A row for each node: means over the time shown of what is counted, and of what fills up the worst of that time. Coloured is what is near its limit or broken. A click on a node opens its board; where a source fails, `netvitals check` on that node says why.',
  empty: 'No agent is scraped',
  height: 11,
  labels: { cluster: 'Cluster', node: 'Node', instance: 'Address' },
  opens: { label: 'node', uid: 'netvitals-node' },
  sortBy: 'Dropped',
  columns: [
    {
      heading: 'Received',
      unit: 'Bps',
      query: sum(rate('netvitals_device_received_bytes_total', onWire, shownWindow), ...byNode),
    },
    {
      heading: 'Sent',
      unit: 'Bps',
      query: sum(rate('netvitals_device_transmitted_bytes_total', onWire, shownWindow), ...byNode),
    },
    { heading: 'Dropped', unit: 'pps', query: dropsByNode(shownWindow) },
    {
      heading: 'Sent again',
      unit: 'percentunit',
      levels: thresholds.retransmittedRatio,
      query: retransmittedRatio(shownWindow, ...byNode),
    },
    {
      heading: 'Failed connects',
      unit: 'percentunit',
      levels: thresholds.failedConnectRatio,
      query: failedConnectRatio(shownWindow, ...byNode),
    },
    {
      heading: 'DNS errors',
      unit: 'percentunit',
      levels: thresholds.dnsErrorRatio,
      query: dnsErrorRatio(shownWindow, ...byNode),
    },
    {
      heading: 'Conntrack',
      unit: 'percentunit',
      levels: thresholds.conntrackRatio,
      query: max(
        divide(highest('netvitals_conntrack_entries', hostTable), value('netvitals_conntrack_entries_limit', hostTable)),
        ...byNode,
      ),
    },
    {
      heading: 'Ports',
      unit: 'percentunit',
      levels: thresholds.ephemeralPortsRatio,
      query: max(
        divide(highest('netvitals_tcp_ephemeral_ports_in_use', here), above(value('netvitals_tcp_ephemeral_ports', here), 0)),
        ...byNode,
      ),
    },
    {
      heading: 'Accept queue',
      unit: 'percentunit',
      levels: thresholds.listenQueueRatio,
      query: max(highest('netvitals_tcp_listen_queue_fullest_ratio', here), ...byNode),
    },
    { heading: 'Failing', unit: 'none', levels: { warning: 1 }, query: failingSources(...byNode) },
    { heading: 'Agent', label: 'version', query: max(value('netvitals_build_info', here), ...byNode, 'version') },
  ],
}

const traffic: Row = {
  title: 'Traffic',
  panels: [
    {
      kind: 'stat',
      title: 'Bytes: most and least per node',
      description:
        'Bytes a second through the devices of the busiest and of the idlest node. Far apart in a cluster of equals: pods or load balancers are uneven. The graphs below say which node it is.',
      unit: 'Bps',
      empty: 'No device has counted anything',
      width: 8,
      targets: mostAndLeast(
        sum(rate('netvitals_device_received_bytes_total', onWire), ...byNode),
        sum(rate('netvitals_device_transmitted_bytes_total', onWire), ...byNode),
      ),
    },
    {
      kind: 'stat',
      title: 'Packets: most and least per node',
      description:
        'Packets a second through the devices of the busiest and of the idlest node. A node with many packets for its bytes sends small ones, which cost more CPU each. The graphs below say which node it is.',
      unit: 'pps',
      empty: 'No device has counted anything',
      width: 8,
      targets: mostAndLeast(
        sum(rate('netvitals_device_received_packets_total', onWire), ...byNode),
        sum(rate('netvitals_device_transmitted_packets_total', onWire), ...byNode),
      ),
    },
    {
      kind: 'stat',
      title: 'Drops: most and least per node',
      description:
        'Packets a second dropped on the node with the most and on that with the fewest. One that is far above the rest has a trouble of its own; all alike point at something they share. The graphs below say which node it is.',
      unit: 'pps',
      empty: 'Drops are not read here; `netvitals check` says why',
      width: 8,
      targets: [
        { query: max(dropsByNode()), legend: 'most' },
        { query: min(dropsByNode()), legend: 'least' },
      ],
    },
    trafficByNode('Bytes', 'received', 'netvitals_device_received_bytes_total'),
    trafficByNode('Bytes', 'sent', 'netvitals_device_transmitted_bytes_total'),
    trafficByNode('Packets', 'received', 'netvitals_device_received_packets_total'),
    trafficByNode('Packets', 'sent', 'netvitals_device_transmitted_packets_total'),
  ],
}
function mostAndLeast(received: Query, sent: Query): Target[] {
  return [
    { query: max(received), legend: 'most received' },
    { query: min(received), legend: 'least received' },
    { query: max(sent), legend: 'most sent' },
    { query: min(sent), legend: 'least sent' },
  ]
}
function trafficByNode(
  what: 'Bytes' | 'Packets',
  way: 'received' | 'sent',
  metric: Counter & `netvitals_device_${string}`,
): Graph {
  return {
    kind: 'graph',
    title: `${what} ${way} by node`,
    description: `${what} a second that the nodes' devices have ${way}, of the 20 busiest nodes. One far above the others is a hot spot, one that falls to nothing is cut off. The Node board shows which device and which pods.`,
    unit: what === 'Bytes' ? 'Bps' : 'pps',
    empty: 'No device has counted anything',
    targets: mostOnNodes(sum(rate(metric, onWire), ...byNode)),
  }
}

const drops: Row = {
  title: 'Drops',
  panels: [
    {
      kind: 'graph',
      title: 'Dropped packets by reason',
      description:
        "Packets a second that the kernels dropped, by the kernel's own reason, the 20 with the most. One that rises alone tells where to look: the reference says what its category means. Drops shows the pods, and `netvitals observe -t drop` single packets.",
      unit: 'pps',
      empty: 'No packet was dropped, or drops are not read here',
      targets: [{ query: topk(20, sum(rate('netvitals_dropped_packets_total', harmful), 'reason')), legend: '{{reason}}' }],
    },
    {
      kind: 'graph',
      title: 'Dropped packets by node',
      description:
        'Packets a second dropped on each node, of the 20 with the most. One node alone: its rules, its devices or a pod on it; all at once: something they share. The Node board goes on from there.',
      unit: 'pps',
      empty: 'Drops are not read here; `netvitals check` says why',
      targets: mostOnNodes(dropsByNode()),
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
    {
      kind: 'graph',
      title: 'Dropped bytes by node',
      description:
        'Bytes a second of the packets dropped on each node, of the 20 with the most. High on one node: open the Node board and see which pods on it drop most.',
      unit: 'Bps',
      empty: 'No packet was dropped, or drops are not read here',
      targets: mostOnNodes(sum(rate('netvitals_dropped_bytes_total', harmful), ...byNode)),
    },
    {
      kind: 'graph',
      title: 'Dropped by devices, queues and CPUs',
      description:
        'What drivers, queueing disciplines and the backlogs of CPUs count themselves; most of it is among the dropped packets too, so the two are not to be added. High: links, rings or CPUs are at their limit. The Node board says which device.',
      unit: 'pps',
      empty: 'No device has counted anything',
      targets: [
        { query: sum(rate('netvitals_device_receive_drops_total', here)), legend: 'devices, receiving' },
        { query: sum(rate('netvitals_device_transmit_drops_total', here)), legend: 'devices, sending' },
        { query: sum(rate('netvitals_qdisc_drops_total', here)), legend: 'queueing disciplines' },
        { query: sum(rate('netvitals_softnet_drops_total', here)), legend: 'backlogs of CPUs' },
      ],
    },
    {
      kind: 'graph',
      title: 'Device drops and errors by node',
      description:
        'Packets that the devices of each node dropped or found broken, of the 20 nodes with the most; a bond counts again what its devices count. High on one node: a cable, a port of the switch or a ring that is too small; `ethtool -S` on that node has what the driver says.',
      unit: 'pps',
      empty: 'No device has counted anything',
      targets: mostOnNodes(
        add(
          add(deviceRate('netvitals_device_receive_drops_total'), deviceRate('netvitals_device_transmit_drops_total')),
          add(deviceRate('netvitals_device_receive_errors_total'), deviceRate('netvitals_device_transmit_errors_total')),
        ),
      ),
    },
  ],
}
function deviceRate(metric: Counter & `netvitals_device_${string}`): Query<OfNode> {
  return sum(rate(metric, here), ...byNode)
}

const tcp: Row = {
  title: 'TCP',
  panels: [
    {
      kind: 'graph',
      title: 'TCP sockets by state',
      description:
        'TCP sockets of all hosts and pods. Many in close_wait: applications do not close; in syn_sent: peers do not answer; in syn_recv: handshakes are not finished; in time_wait: many short connections. TCP health says whose, `netvitals show sockets` which process.',
      unit: 'short',
      empty: 'No socket was listed',
      isStacked: true,
      targets: [{ query: sum(value('netvitals_tcp_sockets', here), 'state'), legend: '{{state}}' }],
    },
    {
      kind: 'graph',
      title: 'Retransmission ratio by node',
      description:
        'TCP segments sent again, of those sent, on the 20 nodes where it is highest. One node alone: its link or its CPUs; all alike: the network between them. TCP health shows the pods and what made TCP send again.',
      unit: 'percentunit',
      empty: 'No TCP segment was sent',
      levels: thresholds.retransmittedRatio,
      targets: mostOnNodes(retransmittedRatio(stepWindow, ...byNode)),
    },
    {
      kind: 'graph',
      title: 'Failed connects by outcome',
      description:
        'TCP connects a second that did not come about. refused: nobody listens; timed_out: nobody answers, or something drops; unreachable: no way there; no_port: ports are exhausted. `netvitals show edges` says between whom.',
      unit: 'cps',
      empty: 'Connects are not read here; `netvitals check` says why',
      isStacked: true,
      targets: [{ query: sum(rate('netvitals_tcp_connects_total', failed), 'outcome'), legend: '{{outcome}}' }],
    },
    {
      kind: 'graph',
      title: 'Resets sent by node',
      description:
        'TCP segments with RST that each node and its pods sent, of the 20 with the most. High: ports without listener, applications that close with data unread, or proxies that cut off. TCP health has the reasons and the pods.',
      unit: 'pps',
      empty: 'No counter of TCP was read',
      targets: mostOnNodes(sum(rate('netvitals_tcp_sent_resets_total', here), ...byNode)),
    },
  ],
}

const limits: Row = {
  title: 'What fills up',
  panels: [
    {
      kind: 'graph',
      title: 'Conntrack table by node',
      description:
        "Entries of each host's connection tracking table, of its limit, on the 20 nodes where it is fullest. At 1 new connections are dropped. Conntrack says when it will be full and which pods fill it.",
      unit: 'percentunit',
      empty: 'No node tracks connections',
      max: 1,
      levels: thresholds.conntrackRatio,
      targets: mostOnNodes(max(conntrackRatio, ...byNode)),
    },
    {
      kind: 'graph',
      title: 'Ports in use by node',
      description:
        'Ephemeral ports in use towards the busiest destination, of those there are, of the host or pod where it is worst on each node. At 1 connects fail with EADDRNOTAVAIL: reuse connections, or widen net.ipv4.ip_local_port_range. `netvitals show sockets --state time-wait` says who talks to whom.',
      unit: 'percentunit',
      empty: 'No socket was listed',
      max: 1,
      levels: thresholds.ephemeralPortsRatio,
      targets: mostOnNodes(max(portsRatio, ...byNode)),
    },
    {
      kind: 'graph',
      title: 'Fullest accept queue by node',
      description:
        'Connections that wait to be accepted at the fullest listener of each node, of its limit. From 1 on the kernel refuses more: the application is too slow, or its backlog too small. `netvitals show sockets --state listen` on that node says whose it is.',
      unit: 'percentunit',
      empty: 'Queues are not read here; `netvitals check` says why',
      levels: thresholds.listenQueueRatio,
      targets: mostOnNodes(max(value('netvitals_tcp_listen_queue_fullest_ratio', here), ...byNode)),
    },
    {
      kind: 'graph',
      title: 'Accept queue overflows by node',
      description:
        'Connections a second that were refused because an accept queue was full, of the 20 nodes with the most. Each is a client that waits and tries again. TCP health says which pods.',
      unit: 'cps',
      empty: 'No counter of TCP was read',
      targets: mostOnNodes(sum(rate('netvitals_tcp_listen_overflows_total', here), ...byNode)),
    },
  ],
}

const dns: Row = {
  title: 'DNS',
  panels: [
    {
      kind: 'graph',
      title: 'DNS errors by code',
      description:
        'Answers to DNS queries with an error, and queries without an answer. SERVFAIL and REFUSED are the resolver or what it asks; NXDOMAIN in numbers is a wrong name, or a search list. DNS (Cluster) goes on, and `netvitals observe --dns` shows single queries.',
      unit: 'cps',
      empty: 'DNS is not read here; `netvitals check` says why',
      targets: [
        {
          query: sum(rate('netvitals_dns_responses_total', { ...here, rcode: { noneOf: ['NOERROR'] } }), 'rcode'),
          legend: '{{rcode}}',
        },
        { query: sum(rate('netvitals_dns_unanswered_total', here)), legend: 'unanswered' },
      ],
    },
    {
      kind: 'graph',
      title: 'DNS error ratio by node',
      description:
        'Answers with an error, of all answers, on the 20 nodes where it is highest; names that do not exist are no error. One node alone: its way to the resolver or its cache; all alike: the resolver.',
      unit: 'percentunit',
      empty: 'No DNS answer was seen, or DNS is not read here',
      levels: thresholds.dnsErrorRatio,
      targets: mostOnNodes(dnsErrorRatio(stepWindow, ...byNode)),
    },
  ],
}

const agents: Row = {
  title: 'The agents',
  isCollapsed: true,
  panels: [
    {
      kind: 'graph',
      title: 'Failing sources by node',
      description:
        'Sources that could not be read in the last sweep, on the 20 nodes with the most. Their numbers are missing meanwhile. `netvitals check` on the node says why.',
      unit: 'none',
      empty: 'No agent is scraped',
      targets: mostOnNodes(failingSources(...byNode)),
    },
    {
      kind: 'graph',
      title: 'Lost events by node',
      description:
        'Events a second that an agent could not count, on the 20 nodes with the most. Above 0 the counts of drops, connects or DNS queries of that node are too low by as many. The Node board says which kind.',
      unit: 'cps',
      empty: 'No agent has anything that could be lost',
      levels: thresholds.lostEventsPerSecond,
      targets: mostOnNodes(sum(rate('netvitals_lost_events_total', here), ...byNode)),
    },
    {
      kind: 'graph',
      title: 'Agents by version',
      description:
        'Agents of each version of netvitals. Two versions for longer than a rollout takes: it is stuck on some nodes; the table of nodes says on which.',
      unit: 'none',
      empty: 'No agent is scraped',
      isStacked: true,
      targets: [{ query: topk(20, count(value('netvitals_build_info', here), 'version')), legend: '{{version}}' }],
    },
    {
      kind: 'graph',
      title: 'Namespaces without a name by node',
      description:
        'Network namespaces that belong to no pod that is known, on the 20 nodes with the most; what happens in them is not shown. Above 0 for long: the names of pods do not come, and `netvitals check` says what is missing.',
      unit: 'none',
      empty: 'No agent is scraped',
      targets: mostOnNodes(max(value('netvitals_subjects_unresolved', here), ...byNode)),
    },
  ],
}

export const clustersBoard: Board = {
  uid: 'netvitals-clusters',
  title: 'Clusters',
  description: "Is the cluster's network healthy, and if it is not, on which node.",
  variables: ['cluster', 'job', 'node'],
  rows: [overview, { title: 'Nodes', panels: [fleet] }, traffic, drops, tcp, limits, dns, agents],
}
