import { thresholds } from '../../agent/metrics/thresholds.ts'
import {
  above,
  count,
  function_,
  increase,
  like,
  type Match,
  max,
  min,
  multiply,
  or,
  type Query,
  rate,
  shownWindow,
  sum,
  topk,
  value,
  withWorkload,
} from '../promql.ts'
import { edgeHeadings, edgeLegend, ofEitherEnd } from './between-workloads.ts'
import type { Board, Graph, Panel, Row, Stat } from './board.ts'
import { podGraph, podHeatMap } from './by-pod.ts'
import { ends } from './names.ts'
import { harmfulCategories, here, inPods, inWorkloads } from './variables.ts'

const packets = 'netvitals_dropped_packets_total'
const onEdges = 'netvitals_edge_dropped_packets_total'
const none = 'No packet of a pod was dropped'
const levels = thresholds.dropsPerSecond

const dropped = (match: Match<typeof packets> = {}) =>
  withWorkload(rate(packets, { ...inPods, category: harmfulCategories, ...match }), inWorkloads)
const droppedWhileShown = (match: Match<typeof packets> = {}) =>
  withWorkload(increase(packets, { ...inPods, category: harmfulCategories, ...match }, shownWindow), inWorkloads)
const whole = <L extends string>(of: Query<L>): Query<L> => above(function_('round', of), 0)

const pods = max(value('netvitals_pod_info', { ...inWorkloads, pod: like('$pod'), host_network: 'false' }), 'namespace', 'pod')
/** With those that drop nothing: a series is born with its first drop. */
const ofEachPod = (direction: 'in' | 'out') => or(sum(dropped({ direction }), 'namespace', 'pod'), multiply(pods, 0))

const words = { in: 'incoming', out: 'outgoing' } as const
const titled = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}`

const extreme = (which: 'max' | 'min', direction: 'in' | 'out'): Stat => ({
  kind: 'stat',
  title: `${titled(which)} ${words[direction]} drops of a pod`,
  description:
    which === 'max'
      ? `The pod that drops the most ${words[direction]} packets a second. High beside a minimum of 0 means that one pod is ill and not the network: the heat map below says which.`
      : `The pod that drops the fewest ${words[direction]} packets a second; 0 as long as one pod drops none. Above 0 every pod drops: look for what all have in common, such as a policy, a node or a full table.`,
  unit: 'pps',
  empty: 'No pods',
  levels,
  targets: [{ query: (which === 'max' ? max : min)(ofEachPod(direction)), legend: titled(words[direction]) }],
})

const byReason = (direction: 'in' | 'out'): Graph => ({
  kind: 'graph',
  title: `${titled(words[direction])} drops by reason`,
  description: `Packets a second that were dropped on their way ${direction === 'in' ? 'to the pods' : 'from the pods'}, by the kernel's own reason. The reason that stands out names the place in the kernel; \`netvitals observe --type drop --reason netfilter_drop\` shows single packets of it, with both ends.`,
  unit: 'pps',
  empty: none,
  isStacked: true,
  targets: [{ query: topk(20, sum(dropped({ direction }), 'reason')), legend: '{{reason}}' }],
})

const heatMap = (direction: 'in' | 'out') =>
  podHeatMap({
    title: `Heat map of ${words[direction]} drops, top pods`,
    description: `The ten pods with the most ${words[direction]} drops at each time; the darker, the more. A dark row is one ill pod; a dark column is something that befell all at once: compare it with what was rolled out then. \`netvitals observe --type drop --pod …\` shows the packets.`,
    unit: 'pps',
    empty: none,
    of: above(sum(dropped({ direction }), 'namespace', 'pod'), 0),
  })
const byPod = (direction: 'in' | 'out') =>
  podGraph({
    title: `${titled(words[direction])} drops by pod`,
    description: `Packets a second dropped on their way ${direction === 'in' ? 'to each pod' : 'from each pod'}, laid on each other. One broad band is one pod's own trouble, many even bands are a common cause. Choose the pod above, then look at the reasons.`,
    unit: 'pps',
    empty: none,
    isStacked: true,
    of: sum(dropped({ direction }), 'namespace', 'pod'),
  })

const overview: Row = {
  title: 'Overview',
  panels: [
    {
      kind: 'stat',
      title: 'Dropped packets',
      description:
        'Packets a second that the kernel dropped on their way to and from the pods; clean-up that harms nobody is left out. The graphs beside it say of what kind and whose they are.',
      unit: 'pps',
      empty: none,
      targets: [{ query: sum(dropped()), legend: 'Dropped' }],
    },
    {
      kind: 'stat',
      title: 'Pods that drop',
      description:
        'Pods of which at least one packet is being dropped. One pod points to itself; all at once point to a policy, a node or the network between.',
      unit: 'short',
      empty: 'None',
      targets: [{ query: count(above(sum(dropped(), 'namespace', 'pod'), 0)), legend: 'Pods' }],
    },
    extreme('max', 'in'),
    extreme('min', 'in'),
    extreme('max', 'out'),
    extreme('min', 'out'),
    {
      kind: 'graph',
      title: 'Dropped packets by category',
      description:
        'Packets a second by the kind of their reason, which says where to look: netfilter is rules and policies, no_socket a port that nobody listens on, socket_buffer an application that does not read, neighbour and routing the way there. What the reasons are is in the row below.',
      unit: 'pps',
      empty: none,
      isStacked: true,
      targets: [{ query: sum(dropped(), 'category'), legend: '{{category}}' }],
    },
    {
      kind: 'graph',
      title: 'Dropped packets by workload',
      description:
        'Packets a second of the workloads that drop the most, both directions. One that stands out is where to look first: choose it above, or open Pod Flows (Workload) for what else it suffers.',
      unit: 'pps',
      empty: none,
      isStacked: true,
      targets: [{ query: topk(20, sum(dropped(), 'namespace', 'workload')), legend: '{{namespace}}/{{workload}}' }],
    },
  ],
}

const why: Row = {
  title: 'Why',
  panels: [
    byReason('in'),
    byReason('out'),
    {
      kind: 'graph',
      title: 'Dropped packets by direction',
      description:
        'Packets a second on their way to the pods (in), from them (out), and through pods that forward. Drops of one direction only point to the side that sends it; `netvitals show edges` says who talks to whom.',
      unit: 'pps',
      empty: none,
      width: 8,
      isStacked: true,
      targets: [{ query: sum(dropped(), 'direction'), legend: '{{direction}}' }],
    },
    {
      kind: 'graph',
      title: 'Dropped packets by protocol',
      description:
        'Packets a second by transport protocol. UDP that drops is lost to its application and is often DNS: see DNS (Workload). TCP sends again: see its retransmissions on TCP health.',
      unit: 'pps',
      empty: none,
      width: 8,
      isStacked: true,
      targets: [{ query: sum(dropped(), 'protocol'), legend: '{{protocol}}' }],
    },
    {
      kind: 'graph',
      title: 'Dropped bytes by category',
      description:
        'Bytes a second of the dropped packets, by the kind of their reason. Many bytes in few packets are data, few bytes in many packets are connection attempts and acknowledgements. Compare with the packets by category above.',
      unit: 'Bps',
      empty: none,
      width: 8,
      isStacked: true,
      targets: [
        {
          query: sum(
            withWorkload(rate('netvitals_dropped_bytes_total', { ...inPods, category: harmfulCategories }), inWorkloads),
            'category',
          ),
          legend: '{{category}}',
        },
      ],
    },
    {
      kind: 'table',
      title: 'Dropped packets by category and reason',
      description:
        'Packets dropped in the time shown, by the kind of their reason and the reason itself, the most first. The first line is where to begin: `netvitals observe --type drop --reason netfilter_drop` shows single packets of it.',
      empty: none,
      labels: { category: 'Category', reason: 'Reason' },
      columns: [
        { heading: 'All', unit: 'short', query: whole(sum(droppedWhileShown(), 'category', 'reason')) },
        ...(['in', 'out', 'forward'] as const).map((direction) => ({
          heading: { in: 'Incoming', out: 'Outgoing', forward: 'Forwarded' }[direction],
          unit: 'short' as const,
          query: whole(sum(droppedWhileShown({ direction }), 'category', 'reason')),
        })),
      ],
      sortBy: 'All',
    },
  ],
}

const whose: Row = {
  title: 'Whose',
  panels: [
    heatMap('in'),
    heatMap('out'),
    byPod('in'),
    byPod('out'),
    {
      kind: 'table',
      title: 'Dropped packets by pod and reason',
      description:
        'Packets dropped in the time shown, of the 20 pairs of a pod and a reason that have the most. The first line is where to begin: `netvitals observe --type drop --pod …` on its node shows who sent what to whom.',
      empty: none,
      labels: { namespace: 'Namespace', workload: 'Workload', pod: 'Pod', direction: 'Direction', reason: 'Reason' },
      columns: [
        {
          heading: 'Packets',
          unit: 'short',
          query: topk(20, whole(sum(droppedWhileShown(), 'namespace', 'workload', 'pod', 'direction', 'reason'))),
        },
      ],
      sortBy: 'Packets',
    },
  ],
}

/** Packets that die between two workloads, each once: in the namespace of one of them, or on the host in its name. */
const between = (match: Match<typeof onEdges> = {}): Query<(typeof ends)[number]> =>
  ofEitherEnd(['namespace', 'workload'], (narrowing) =>
    sum(rate(onEdges, { ...narrowing, category: harmfulCategories, ...match }), ...ends),
  )
const betweenWhileShown = (match: Match<typeof onEdges> = {}): Query<(typeof ends)[number]> =>
  ofEitherEnd(['namespace', 'workload'], (narrowing) =>
    sum(increase(onEdges, { ...narrowing, category: harmfulCategories, ...match }, shownWindow), ...ends),
  )

const netfilter: Row = {
  title: 'Netfilter: rules and network policies',
  panels: [
    {
      kind: 'graph',
      title: 'Packets dropped by netfilter, by reason',
      description:
        'Packets a second that rules refuse: iptables, nftables, BPF and tc programs, and with most networks network policies; a full connection tracking table and NAT without a free port drop here too. A step up at a time when a policy changed says which change it was. If nobody changed a rule, open Conntrack.',
      unit: 'pps',
      empty: 'Netfilter dropped no packet',
      width: 8,
      isStacked: true,
      targets: [
        {
          query: topk(20, sum(dropped({ category: 'netfilter' }), 'direction', 'reason')),
          legend: '{{direction}} {{reason}}',
        },
      ],
    },
    podGraph({
      title: 'Packets dropped by netfilter, by pod',
      description:
        'Packets a second that rules refuse, of the pods that have the most. A pod that should not be refused has a policy too many, or one too few that allows: `netvitals observe --type drop --category netfilter --pod …` shows from whom and to which port.',
      unit: 'pps',
      empty: 'Netfilter dropped no packet',
      width: 8,
      isStacked: true,
      of: sum(dropped({ category: 'netfilter' }), 'namespace', 'pod'),
    }),
    {
      kind: 'graph',
      title: 'Packets dropped by netfilter, between workloads',
      description:
        'Packets a second that rules refuse between two workloads that have names; the client comes first. It is the pair that a policy keeps apart. Pod and workload type above do not narrow it.',
      unit: 'pps',
      empty: 'Netfilter dropped no packet between two workloads',
      width: 8,
      isStacked: true,
      targets: [{ query: topk(20, between({ category: 'netfilter' })), legend: edgeLegend }],
    },
  ],
}

const betweenWorkloads: Row = {
  title: 'Between two workloads',
  panels: [
    {
      kind: 'graph',
      title: 'Dropped packets between workloads',
      description:
        'Packets a second dropped between two workloads that have names, in both directions, ICMP left out; the client comes first. Each packet is dropped once, on the side of one of the two, so both sides are added. Open Edges, or `netvitals show edges`, for what the same two lose otherwise.',
      unit: 'pps',
      empty: 'No packet was dropped between two workloads',
      height: 9,
      isStacked: true,
      targets: [{ query: topk(20, between()), legend: edgeLegend }],
    },
    {
      kind: 'table',
      title: 'Dropped packets between workloads, by side',
      description:
        "Packets dropped in the time shown, by the side whose network namespace dropped them, the 20 pairs with the most of each. On the server's side it is the server's rules, sockets and queues that refuse, on the client's side its own. `netvitals observe --type drop --pod …` shows them one by one.",
      empty: 'No packet was dropped between two workloads',
      width: 12,
      labels: edgeHeadings,
      columns: [
        { heading: "Client's side", unit: 'short', query: topk(20, whole(betweenWhileShown({ reporter: 'client' }))) },
        { heading: "Server's side", unit: 'short', query: topk(20, whole(betweenWhileShown({ reporter: 'server' }))) },
      ],
      sortBy: "Server's side",
    },
  ],
}

const hostGraph = (panel: Pick<Graph, 'title' | 'description' | 'empty' | 'targets'>): Graph => ({
  kind: 'graph',
  unit: 'pps',
  width: 8,
  ...panel,
})
const ofNoPod: Row = {
  title: 'Of no pod: unattributed, the host, named network namespaces',
  panels: [
    hostGraph({
      title: 'Unattributed drops by reason',
      description:
        'Packets a second of which the kernel does not tell in whose network namespace they were dropped; they are in no other panel, and clean-up that harms nobody is among them. Many of a harmful reason mean that the numbers above are too low. Namespace, workload and pod do not narrow it.',
      empty: 'Every dropped packet could be told whose it was',
      targets: [
        {
          query: topk(20, sum(rate('netvitals_dropped_packets_unattributed_total', here), 'reason')),
          legend: '{{reason}}',
        },
      ],
    }),
    hostGraph({
      title: "Dropped packets of the host's own, by reason",
      description:
        'Packets a second that nodes drop and that are from or to no pod: their own services, pods with the network of the host, and what is broadcast. Many mean trouble of the node: open Node, or `netvitals observe --type drop --pod host` there.',
      empty: 'The hosts dropped no packet of their own',
      targets: [
        {
          query: topk(20, sum(rate(packets, { ...here, namespace: '', pod: '', category: harmfulCategories }), 'reason')),
          legend: '{{reason}}',
        },
      ],
    }),
    hostGraph({
      title: 'Dropped packets of named network namespaces',
      description:
        'Packets a second of network namespaces that are no pod and have a name, as `ip netns` gives them. They have no workload, so the panels above do not show them. `netvitals observe --type drop --namespace @netns` shows the packets.',
      empty: 'No named network namespace dropped a packet',
      targets: [
        {
          query: topk(20, sum(rate(packets, { ...here, namespace: '@netns', category: harmfulCategories }), 'pod', 'reason')),
          legend: '{{pod}}: {{reason}}',
        },
      ],
    }),
  ],
}

const cleanUp: readonly Panel[] = [
  {
    kind: 'graph',
    title: 'Clean-up by reason',
    description:
      'Packets a second that the kernel threw away in its ordinary work: what closed sockets still held, what came twice, what was for others. They harm nobody and are in no panel above. Much of it can still tell of something: tcp_old_data of needless retransmissions, socket_close of applications that close before they have read.',
    unit: 'pps',
    empty: 'Nothing was cleaned up',
    isStacked: true,
    targets: [{ query: topk(20, sum(dropped({ category: 'normal' }), 'reason')), legend: '{{reason}}' }],
  },
  podGraph({
    title: 'Clean-up by pod',
    description:
      'The same by pod, of those that have the most. A pod with far more than its siblings does something else than they do: `netvitals show sockets --pod …` shows its connections.',
    unit: 'pps',
    empty: 'Nothing was cleaned up',
    isStacked: true,
    of: sum(dropped({ category: 'normal' }), 'namespace', 'pod'),
  }),
]

export const dropsBoard: Board = {
  uid: 'netvitals-drops',
  title: 'Drops',
  description: 'Which pods drop packets, in which direction, towards whom, and why.',
  variables: ['cluster', 'job', 'node', 'namespace', 'workload_type', 'workload', 'pod'],
  rows: [
    overview,
    why,
    whose,
    netfilter,
    betweenWorkloads,
    { ...ofNoPod, isCollapsed: true },
    { title: 'Clean-up that harms nobody', panels: cleanUp, isCollapsed: true },
  ],
}
