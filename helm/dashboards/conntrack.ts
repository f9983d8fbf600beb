import { thresholds } from '../../agent/metrics/thresholds.ts'
import {
  above,
  below,
  bottomk,
  type Counter,
  divide,
  function_,
  growth,
  highest,
  like,
  max,
  min,
  multiply,
  type Query,
  rate,
  subtract,
  sum,
  topk,
  value,
  withWorkload,
} from '../promql.ts'
import type { Board, Graph, Row, Target } from './board.ts'
import { nameNodes } from './names.ts'
import { byNode, mostOnNodes } from './nodes.ts'
import { hostTable } from './ratios.ts'
import { here, inNamespaces } from './variables.ts'

/** The tables of the pods' own network namespaces. */
const podTables = { ...inNamespaces, pod: like('.+') } as const
type Tables = typeof hostTable | typeof podTables

const hour = 3600
const day = 24 * hour

const podLegend = '{{namespace}}/{{pod}}'

const entries = (tables: Tables) => value('netvitals_conntrack_entries', tables)
const limit = (tables: Tables) => above(value('netvitals_conntrack_entries_limit', tables), 0)
const ratio = (tables: Tables) => divide(entries(tables), limit(tables))
/** As if each table went on growing as it did in the last hour; nothing of those that do not grow, or need longer than a day. */
const secondsUntilFull = (tables: Tables) =>
  below(
    divide(
      function_('clamp_min', subtract(limit(tables), entries(tables)), 0),
      above(growth('netvitals_conntrack_entries', tables, '1h'), 0),
    ),
    day,
  )
const soonIsBad = { ...thresholds.conntrackForecastSeconds, isLowBad: true } as const

type ConntrackCounter = Counter & `netvitals_conntrack_${string}`
const total = (metric: ConntrackCounter, tables: Tables): Query<never> => sum(rate(metric, tables))
const noCounters = 'No table counts, or counters are not read here; `netvitals check` says why'

const overview: Row = {
  title: 'Overview',
  panels: [
    {
      kind: 'stat',
      title: 'Fullest table',
      description:
        'Entries of the host whose connection tracking table is fullest, of its limit. At 1 new connections are dropped without a word to anybody. Raise net.netfilter.nf_conntrack_max, or find below who fills it.',
      unit: 'percentunit',
      empty: 'No node tracks connections',
      levels: thresholds.conntrackRatio,
      targets: [{ query: max(ratio(hostTable)), legend: 'fullest' }],
    },
    {
      kind: 'stat',
      title: 'Full in',
      description:
        "Time until the first host's table is full, if it grows on as in the last hour. Hours are worth a look, minutes a hand: find below who fills it, or raise net.netfilter.nf_conntrack_max.",
      unit: 's',
      empty: 'None within a day',
      levels: soonIsBad,
      targets: [{ query: min(secondsUntilFull(hostTable)), legend: 'first' }],
    },
    {
      kind: 'stat',
      title: 'Entries',
      description:
        'Connections that all hosts together track at the moment. Twice what it is at other times of the same load: something opens connections and does not reuse them; the row of who fills the tables says what.',
      unit: 'short',
      empty: 'No node tracks connections',
      targets: [{ query: sum(entries(hostTable)), legend: 'entries' }],
    },
    {
      kind: 'stat',
      title: 'Dropped packets',
      description:
        'Packets a second that hosts dropped because they could not be tracked: the table is full, memory is short, or NAT has no port left. Above 0 connections fail now. `netvitals observe -t drop --category netfilter` shows whose.',
      unit: 'pps',
      empty: 'Counters are not read here',
      levels: thresholds.conntrackDropsPerSecond,
      targets: [{ query: total('netvitals_conntrack_drop_total', hostTable), legend: 'dropped' }],
    },
    {
      kind: 'stat',
      title: 'Failed inserts',
      description:
        'Entries a second that hosts could not insert because one like them was there. Each loses a packet, most often the second of two DNS queries sent at once from one socket. A DNS cache on the node helps, or the option single-request-reopen of resolv.conf.',
      unit: 'cps',
      empty: 'Counters are not read here',
      levels: thresholds.conntrackInsertFailuresPerSecond,
      targets: [{ query: total('netvitals_conntrack_insert_failed_total', hostTable), legend: 'failed' }],
    },
    {
      kind: 'stat',
      title: 'Thrown out early',
      description:
        'Entries a second that hosts threw out to make room in a full table. Their connections may break later, when the next packet comes. Above 0: the table is full, whatever the ratio of this moment says.',
      unit: 'cps',
      empty: 'Counters are not read here',
      levels: thresholds.conntrackDropsPerSecond,
      targets: [{ query: total('netvitals_conntrack_early_drop_total', hostTable), legend: 'thrown out' }],
    },
    {
      kind: 'graph',
      title: 'Conntrack table by node',
      description:
        "Entries of each host's table, of its limit, on the 20 nodes where it is fullest. A line that climbs for hours is a leak or a timeout that is too long; one that jumps is a scan or a batch job. The next rows say when it is full and who fills it.",
      unit: 'percentunit',
      empty: 'No node tracks connections',
      max: 1,
      levels: thresholds.conntrackRatio,
      targets: mostOnNodes(max(ratio(hostTable), ...byNode)),
    },
    {
      kind: 'graph',
      title: 'Who fills the tables',
      description:
        "Entries of the hosts' tables by the pod that calls, or else is called, of the 18 with the most; what is the host's own, and what is between addresses nobody knows, beside them. The one on top is where to look: `netvitals show sockets --pod NAMESPACE/POD` says what it is connected to.",
      unit: 'short',
      empty: 'Entries are not read here; `netvitals check` says why',
      targets: whoFills(),
    },
  ],
}
function whoFills(): Target[] {
  return [
    {
      query: topk(18, sum(value('netvitals_conntrack_host_entries', podTables), 'namespace', 'pod')),
      legend: podLegend,
    },
    { query: sum(value('netvitals_conntrack_host_entries', hostTable)), legend: 'the hosts themselves' },
    { query: sum(value('netvitals_conntrack_host_entries_unattributed', here)), legend: 'nobody known' },
  ]
}

const fill: Row = {
  title: 'How full',
  panels: [
    {
      kind: 'table',
      title: 'Tables of the nodes',
      description:
        "Each host's table now: how full it is, what it grew by in the last hour, and when it is full if it grows on like that. Many entries for each bucket make every look-up slow: raise nf_conntrack_buckets with the limit. A click on a node opens its board.",
      empty: 'No node tracks connections',
      labels: { cluster: 'Cluster', node: 'Node', instance: 'Address' },
      opens: { label: 'node', uid: 'netvitals-node' },
      sortBy: 'Full',
      columns: [
        { heading: 'Entries', unit: 'short', query: sum(entries(hostTable), ...byNode) },
        { heading: 'Limit', unit: 'short', query: sum(limit(hostTable), ...byNode) },
        {
          heading: 'Full',
          unit: 'percentunit',
          levels: thresholds.conntrackRatio,
          query: max(ratio(hostTable), ...byNode),
        },
        {
          heading: 'Most in the time shown',
          unit: 'percentunit',
          levels: thresholds.conntrackRatio,
          query: max(divide(highest('netvitals_conntrack_entries', hostTable), limit(hostTable)), ...byNode),
        },
        {
          heading: 'Growth in an hour',
          unit: 'short',
          query: multiply(sum(growth('netvitals_conntrack_entries', hostTable, '1h'), ...byNode), hour),
        },
        { heading: 'Full in', unit: 's', levels: soonIsBad, query: min(secondsUntilFull(hostTable), ...byNode) },
        {
          heading: 'Entries for each bucket',
          unit: 'short',
          query: divide(sum(entries(hostTable), ...byNode), above(sum(value('netvitals_conntrack_buckets', here), ...byNode), 0)),
        },
      ],
    },
    {
      kind: 'graph',
      title: 'Entries by node',
      description:
        "Entries of each host's table, of the 20 with the most. Compare with the traffic of the node: entries that stay while traffic falls wait for a timeout, such as five days for established connections that nobody closed.",
      unit: 'short',
      empty: 'No node tracks connections',
      targets: mostOnNodes(sum(entries(hostTable), ...byNode)),
    },
    {
      kind: 'graph',
      title: 'Time until full',
      description:
        'If each table grows on as in the last hour; only of those that would be full within a day. A line that falls steadily will reach 0: act before it does. One that comes and goes is the day and its loads.',
      unit: 's',
      empty: 'No table will be full within a day',
      levels: soonIsBad,
      targets: [{ query: nameNodes(bottomk(20, min(secondsUntilFull(hostTable), ...byNode))), legend: '{{whose}}' }],
    },
  ],
}

const filling: Row = {
  title: "Who fills the hosts' tables",
  panels: [
    {
      kind: 'graph',
      title: 'Entries by namespace',
      description:
        "Entries of the hosts' tables by the namespace of the pod that calls, or else is called, of the 20 with the most. A namespace that grows alone: something in it opens connections without reusing them.",
      unit: 'short',
      empty: 'No pod has an entry, or entries are not read here',
      targets: [
        {
          query: topk(20, sum(value('netvitals_conntrack_host_entries', podTables), 'namespace')),
          legend: '{{namespace}}',
        },
      ],
    },
    {
      kind: 'graph',
      title: 'Entries by workload',
      description:
        "Entries of the hosts' tables by workload, of the 20 with the most. Far more than it has connections: short ones, or DNS queries, whose entries wait for their timeout. `netvitals show edges` says whom it talks to.",
      unit: 'short',
      empty: 'No workload has an entry, or its name is not known',
      targets: [
        {
          query: topk(
            20,
            sum(withWorkload(value('netvitals_conntrack_host_entries', podTables), inNamespaces), 'namespace', 'workload'),
          ),
          legend: '{{namespace}}/{{workload}}',
        },
      ],
    },
    {
      kind: 'graph',
      title: 'TCP entries by state',
      description:
        "TCP entries of the hosts' tables by what connection tracking takes the connection for. Many syn_sent: nobody answers, or a scan; many established for few sockets: ends that vanished without a word; time_wait and close: short connections. The timeouts are net.netfilter.nf_conntrack_tcp_timeout_*.",
      unit: 'short',
      empty: 'Entries are not read here; `netvitals check` says why',
      isStacked: true,
      targets: [
        {
          query: sum(value('netvitals_conntrack_host_entries_by_state', { ...here, protocol: 'tcp' }), 'state'),
          legend: '{{state}}',
        },
      ],
    },
    {
      kind: 'graph',
      title: 'Entries by protocol',
      description:
        "Entries of the hosts' tables by protocol. Many of udp are DNS queries most often, each of which stays for 30 seconds or more: a DNS cache on the node, or NOTRACK for it, takes them away.",
      unit: 'short',
      empty: 'Entries are not read here; `netvitals check` says why',
      isStacked: true,
      targets: [{ query: sum(value('netvitals_conntrack_host_entries_by_state', here), 'protocol'), legend: '{{protocol}}' }],
    },
  ],
}

const trouble: Row = {
  title: "What goes wrong in the hosts' tables",
  panels: [
    counterByNode(
      'Dropped packets (drop)',
      'Packets a second that could not be tracked, of the 20 nodes with the most: the table is full, memory is short, or NAT has no port left. Each is a connection that fails or waits. Look at how full the table is, then at the ports that masquerading may use.',
      'pps',
      'netvitals_conntrack_drop_total',
    ),
    counterByNode(
      'Failed inserts (insert_failed)',
      'Entries a second that could not be inserted because one like them was there, of the 20 nodes with the most: two packets of one flow at once, or a clash of NAT ports. DNS queries for A and AAAA from one socket are the usual case; clients then wait five seconds.',
      'cps',
      'netvitals_conntrack_insert_failed_total',
    ),
    counterByNode(
      'Thrown out early (early_drop)',
      'Entries a second thrown out to make room in a full table, of the 20 nodes with the most. Above 0: the table is full. Raise net.netfilter.nf_conntrack_max, or find who fills it.',
      'cps',
      'netvitals_conntrack_early_drop_total',
    ),
    counterByNode(
      'Invalid packets (invalid)',
      'Packets a second that belong to no connection the table knows, of the 20 nodes with the most. Rules often drop them: connections that hang after a failover, asymmetric routes, or windows that do not fit. `netvitals observe -t drop --category netfilter` shows those dropped.',
      'pps',
      'netvitals_conntrack_invalid_total',
    ),
    {
      kind: 'graph',
      title: 'Clashes, restarts and long chains',
      description:
        'Clashes that were resolved without loss, look-ups begun again because the table changed, entries refused because their chain was too long, and bad packets such as ICMP errors. The first two grow with load; chains that are too long are an attack on the hash, or far too few buckets.',
      unit: 'cps',
      empty: noCounters,
      targets: [
        { query: total('netvitals_conntrack_clash_resolve_total', hostTable), legend: 'clash_resolve' },
        { query: total('netvitals_conntrack_search_restart_total', hostTable), legend: 'search_restart' },
        { query: total('netvitals_conntrack_chaintoolong_total', hostTable), legend: 'chaintoolong' },
        { query: total('netvitals_conntrack_error_total', hostTable), legend: 'error' },
      ],
    },
    {
      kind: 'graph',
      title: 'Look-ups and inserts (found, insert)',
      description:
        'Look-ups a second that found an entry, and entries inserted. Kernels of today count neither for every packet, only where they have to look again: read them as signs of change, not as a load.',
      unit: 'cps',
      empty: noCounters,
      targets: [
        { query: total('netvitals_conntrack_found_total', hostTable), legend: 'found' },
        { query: total('netvitals_conntrack_insert_total', hostTable), legend: 'insert' },
      ],
    },
  ],
}
function counterByNode(title: string, description: string, unit: Graph['unit'], metric: ConntrackCounter): Graph {
  return {
    kind: 'graph',
    title,
    description,
    unit,
    empty: noCounters,
    targets: mostOnNodes(sum(rate(metric, hostTable), ...byNode)),
  }
}

const ofPods: Row = {
  title: "Pods' own tables",
  isCollapsed: true,
  panels: [
    {
      kind: 'graph',
      title: 'Entries by pod',
      description:
        "Entries of the table in each pod's own network namespace, of the 20 with the most. Only pods with rules of their own track anything there, such as those of a service mesh; it is read in the tier full.",
      unit: 'short',
      empty: 'No pod tracks connections itself, or its table is not read here',
      targets: [{ query: topk(20, sum(entries(podTables), 'namespace', 'pod')), legend: podLegend }],
    },
    {
      kind: 'graph',
      title: 'Fill by pod',
      description:
        "Entries of each pod's own table, of the limit, which is one setting for all namespaces; of the 20 that are fullest. At 1 the pod's new connections are dropped in its own namespace, while the host's table may be empty.",
      unit: 'percentunit',
      empty: 'No pod tracks connections itself, or its table is not read here',
      max: 1,
      levels: thresholds.conntrackRatio,
      targets: [{ query: topk(20, max(ratio(podTables), 'namespace', 'pod')), legend: podLegend }],
    },
    {
      kind: 'graph',
      title: 'Drops and failed inserts by pod',
      description:
        "Packets a second that a pod's own table dropped, and entries it could not insert, of the 10 pods with the most of each. Above 0: the rules inside the pod cost it connections; `netvitals observe -t drop --pod NAMESPACE/POD` shows which.",
      unit: 'cps',
      empty: 'No pod lost anything in its own table, or it is not read here',
      targets: [
        {
          query: topk(10, sum(rate('netvitals_conntrack_drop_total', podTables), 'namespace', 'pod')),
          legend: `${podLegend}: drop`,
        },
        {
          query: topk(10, sum(rate('netvitals_conntrack_insert_failed_total', podTables), 'namespace', 'pod')),
          legend: `${podLegend}: insert_failed`,
        },
      ],
    },
    {
      kind: 'graph',
      title: 'Invalid packets by pod',
      description:
        "Packets a second that belong to no connection a pod's own table knows, of the 20 with the most. Sidecars drop them or answer with a reset: connections that were there before the rules, or came another way.",
      unit: 'pps',
      empty: 'No pod tracks connections itself, or its table is not read here',
      targets: [
        {
          query: topk(20, sum(rate('netvitals_conntrack_invalid_total', podTables), 'namespace', 'pod')),
          legend: podLegend,
        },
      ],
    },
  ],
}

export const conntrackBoard: Board = {
  uid: 'netvitals-conntrack',
  title: 'Conntrack',
  description: 'How full connection tracking is, when it will be full, who fills it, and what it costs.',
  variables: ['cluster', 'job', 'node', 'namespace'],
  rows: [overview, fill, filling, trouble, ofPods],
}
