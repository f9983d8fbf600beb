import { thresholds } from '../../agent/metrics/thresholds.ts'
import {
  above,
  and,
  countRate,
  divide,
  function_,
  highest,
  increase,
  labelJoin,
  labelReplace,
  max,
  multiply,
  or,
  type Query,
  rate,
  shownWindow,
  stepWindow,
  sum,
  sumRate,
  topk,
  value,
} from '../promql.ts'
import type { Board, Table, Target, Unit } from './board.ts'
import { type EndLabel, type EndOf, ends, nameEnd, type Side, type With } from './names.ts'
import { harmfulCategories, inEdges } from './variables.ts'

const shown = 20

type Reported<L extends string> = With<EndLabel | 'reporter', L>

/** What both ends have seen of one edge, once: as the one that has seen more of it tells. */
const once = <L extends string>(of: Reported<L>): Query<EndLabel> =>
  max(sum<L | EndLabel | 'reporter', EndLabel | 'reporter'>(of, ...ends, 'reporter'), ...ends)
/** What each of the two ends alone has seen, added. */
const bothEnds = <L extends string, B extends L = never>(of: Reported<L>, ...by: readonly B[]): Query<EndLabel | B> =>
  sum<L | EndLabel, EndLabel | B>(of, ...ends, ...by)

const nameEnds = <L extends string>(of: Query<L | EndLabel>): Query<L | EndLabel | Side> =>
  nameEnd('server', nameEnd('client', of, 'client'), 'server')

// A server has seen only the connects that came about.
const byClients = { ...inEdges, reporter: 'client' } as const
const failing = { ...byClients, outcome: { noneOf: ['connected'] } } as const
const timingOut = { ...byClients, outcome: 'timed_out' } as const
const harmful = { ...inEdges, category: harmfulCategories } as const

const sentIn = (window: string) => once(rate('netvitals_edge_sent_bytes_total', inEdges, window))
const receivedIn = (window: string) => once(rate('netvitals_edge_received_bytes_total', inEdges, window))
/** An edge on which nobody answers has bytes of one way only. */
function volumeIn(window: string): Query<EndLabel> {
  const way = (of: Query<EndLabel>, name: string) => labelReplace<EndLabel, 'way'>(of, 'way', name, 'server_workload', '.*')
  return sum(or(way(sentIn(window), 'sent'), way(receivedIn(window), 'received')), ...ends)
}

const volume = volumeIn(stepWindow)
const connects = rate('netvitals_edge_connects_total', byClients)
const failed = rate('netvitals_edge_connects_total', failing)
const timedOut = bothEnds(rate('netvitals_edge_connects_total', timingOut))
// Each end sends again what was lost on the way from it, and drops what the other does not.
const again = rate('netvitals_edge_retransmitted_segments_total', inEdges)
const resets = once(rate('netvitals_edge_resets_total', inEdges))
const drops = rate('netvitals_edge_dropped_packets_total', harmful)
const connectionsOpen = once(value('netvitals_edge_connections', inEdges))
const slowest = max(value('netvitals_edge_rtt_max_seconds', inEdges), ...ends)

const byServer = (of: Query<EndLabel>) => sum(of, 'server_namespace', 'server_workload')

/** The largest by name; of zeros none, for which of them would be chance. */
const worstServers = (of: Query<EndOf<'server'>>): Target => ({
  query: nameEnd('server', topk(shown, above(of, 0)), 'server'),
  legend: '{{server}}',
})
const worstEdges = <L extends string = never>(of: Query<EndLabel | L>, more = ''): Target => ({
  query: nameEnds(topk(shown, above(of, 0))),
  legend: `{{client}} → {{server}}${more}`,
})

/** In all the time shown. */
const inAll = {
  failed: bothEnds(increase('netvitals_edge_connects_total', failing, shownWindow)),
  connects: bothEnds(increase('netvitals_edge_connects_total', byClients, shownWindow)),
  timedOut: bothEnds(increase('netvitals_edge_connects_total', timingOut, shownWindow)),
  resets: once(increase('netvitals_edge_resets_total', inEdges, shownWindow)),
  again: bothEnds(increase('netvitals_edge_retransmitted_segments_total', inEdges, shownWindow)),
  drops: bothEnds(increase('netvitals_edge_dropped_packets_total', harmful, shownWindow)),
} as const
const worstBy = (of: Query<EndLabel>) => topk(shown / 4, above(of, 0))
const inTrouble = [inAll.failed, inAll.resets, inAll.again, inAll.drops].map(worstBy).reduce((all, one) => or(all, one))
const busiest = topk(shown, above(volumeIn(shownWindow), 0))

const failedShare = divide(inAll.failed, above(inAll.connects, 0))
const redShare = thresholds.failedConnectRatio.warning

/** Columns of the edges that another query chooses. */
function columns(which: Query<EndLabel>): Table['columns'] {
  const column = (heading: string, unit: Unit, of: Query<EndLabel>) => ({
    heading,
    unit,
    query: sum(nameEnds<never>(and(of, which)), 'client', 'server'),
  })
  const counted = (heading: string, of: Query<EndLabel>) => column(heading, 'short', function_('round', of))
  // Each end has measured its own: the longer of the two means.
  const meanRoundTrip = max(
    divide(
      bothEnds(sumRate('netvitals_edge_rtt_seconds', inEdges, shownWindow), 'reporter'),
      above(bothEnds(countRate('netvitals_edge_rtt_seconds', inEdges, shownWindow), 'reporter'), 0),
    ),
    ...ends,
  )
  return [
    counted('Failed connects', inAll.failed),
    {
      ...column('Of all connects', 'percentunit', failedShare),
      levels: thresholds.failedConnectRatio,
    },
    counted('Timed out', inAll.timedOut),
    counted('Resets', inAll.resets),
    counted('Retransmitted', inAll.again),
    counted('Dropped', inAll.drops),
    { ...column('Mean RTT', 's', meanRoundTrip), levels: thresholds.roundTripSeconds },
    {
      ...column('Max RTT', 's', max(highest('netvitals_edge_rtt_max_seconds', inEdges), ...ends)),
      levels: thresholds.roundTripSeconds,
    },
    column('Connections', 'short', connectionsOpen),
    column('Sent', 'Bps', sentIn(shownWindow)),
    column('Received', 'Bps', receivedIn(shownWindow)),
  ]
}

/** An arrow for each of the busiest, and a red one for each of those whose connects fail. */
function arrows(): Query<'id' | 'source' | 'target' | 'color'> {
  const failing = topk(shown, above(failedShare, redShare))
  const red = or(and(volumeIn(shownWindow), failing), multiply(failing, 0))
  const painted = labelReplace<EndLabel, 'color'>(red, 'color', 'red', 'server_workload', '.*')
  const all = or(painted, busiest, ...ends)
  const named = nameEnd('server', nameEnd('client', all, 'source'), 'target')
  return sum(labelJoin(named, 'id', ' → ', 'source', 'target'), 'id', 'source', 'target', 'color')
}

export const edgesBoard: Board = {
  uid: 'netvitals-edges',
  title: 'Edges',
  description:
    'Who talks to whom, and whether it is the network: volume, round-trip times, connect timeouts and retransmissions side by side, by server and by edge.',
  variables: ['cluster', 'job', 'node', 'server_namespace', 'server_workload', 'client_namespace', 'client_workload'],
  rows: [
    {
      title: 'Is it the network?',
      panels: [
        {
          kind: 'stat',
          title: 'Volume',
          description:
            'Payload of all TCP connections, both ways, each byte once. A fall means that less is asked for or that less gets through: the four graphs below say which.',
          unit: 'Bps',
          empty: 'No traffic',
          targets: [{ query: sum(volume), legend: 'volume' }],
        },
        {
          kind: 'stat',
          title: 'Max round-trip time',
          description:
            'Smoothed round-trip time of the slowest connection that lives. High means a long way or a full queue on it. The graphs below say to which server and on which edge.',
          unit: 's',
          empty: 'No live connection',
          levels: thresholds.roundTripSeconds,
          targets: [{ query: max(slowest), legend: 'max' }],
        },
        {
          kind: 'stat',
          title: 'Connect timeouts',
          description:
            'Connects a second to which nothing came back. Any that stay mean a server, node or policy that swallows packets: look below for the server, then at the board Drops.',
          unit: 'cps',
          empty: 'No connect timed out',
          targets: [{ query: sum(timedOut), legend: 'timed out' }],
        },
        {
          kind: 'stat',
          title: 'Failed connects',
          description:
            'Share of connects that did not come about. High means that clients do not reach servers; Failed connects by outcome says how, the table at the end who.',
          unit: 'percentunit',
          empty: 'No connect',
          levels: thresholds.failedConnectRatio,
          // 0 once it is quiet, not what it was before.
          targets: [{ query: or(divide(sum(failed), above(sum(connects), 0)), multiply(sum(connects), 0)), legend: 'failed' }],
        },
        {
          kind: 'stat',
          title: 'Retransmissions',
          description:
            'Segments a second that either end sent again. High means loss, or answers that come late. Compare the edges below: one alone has a bad way, all of a node a bad node.',
          unit: 'pps',
          empty: 'Nothing was sent again',
          targets: [{ query: sum(again), legend: 'sent again' }],
        },
        {
          kind: 'stat',
          title: 'Dropped packets',
          description:
            'Packets a second between workloads that the nodes of either end dropped; clean-up that harms nobody is left out. Any that stay say that the node itself is the reason: see Dropped packets by category.',
          unit: 'pps',
          empty: 'No packet was dropped',
          targets: [{ query: sum(drops), legend: 'dropped' }],
        },
        {
          kind: 'graph',
          title: 'Volume by server',
          description:
            'Payload of the connections to each server, both ways. One that falls while those beside it go on has lost its clients or its answers. If the three graphs beside it are quiet, nobody asks: it is not the network.',
          unit: 'Bps',
          empty: 'No traffic',
          width: 6,
          height: 10,
          targets: [worstServers(byServer(volume))],
        },
        {
          kind: 'graph',
          title: 'Max round-trip time by server',
          description:
            'Slowest live connection to each server. A rise at one server alone is its node or its way; at all of them the network, or the node of their clients. See the same by edge below.',
          unit: 's',
          empty: 'No live connection',
          width: 6,
          height: 10,
          levels: thresholds.roundTripSeconds,
          targets: [worstServers(max(slowest, 'server_namespace', 'server_workload'))],
        },
        {
          kind: 'graph',
          title: 'Connect timeouts by server',
          description:
            'Connects to each server to which nothing came back, as its clients saw them. The server or its node is gone, or a policy drops: `netvitals observe -t connect --outcome timed_out` shows single ones.',
          unit: 'cps',
          empty: 'No connect timed out',
          width: 6,
          height: 10,
          targets: [worstServers(byServer(timedOut))],
        },
        {
          kind: 'graph',
          title: 'Retransmissions by server',
          description:
            'Segments sent again on connections to each server, by either end. Loss towards one server alone is its node or its way. The board TCP health has it as a share of what is sent.',
          unit: 'pps',
          empty: 'Nothing was sent again',
          width: 6,
          height: 10,
          targets: [worstServers(byServer(bothEnds(again)))],
        },
      ],
    },
    {
      title: 'The same by edge',
      panels: [
        {
          kind: 'graph',
          title: 'Volume by edge',
          description:
            'Payload between each client and server, both ways. The edge that falls first is where to look; those beside it, from the same client or to the same server, say which of the two ends it is.',
          unit: 'Bps',
          empty: 'No traffic',
          width: 6,
          height: 10,
          targets: [worstEdges(volume)],
        },
        {
          kind: 'graph',
          title: 'Max round-trip time by edge',
          description:
            'Slowest live connection between each client and server. High on all edges of one server: its node or way. High on all edges of one client: the node or way of that.',
          unit: 's',
          empty: 'No live connection',
          width: 6,
          height: 10,
          levels: thresholds.roundTripSeconds,
          targets: [worstEdges(slowest)],
        },
        {
          kind: 'graph',
          title: 'Connect timeouts by edge',
          description:
            'Connects to which nothing came back, by who called whom. If one client alone fails, a policy or route between the two is the likely reason; if all do, the server is.',
          unit: 'cps',
          empty: 'No connect timed out',
          width: 6,
          height: 10,
          targets: [worstEdges(timedOut)],
        },
        {
          kind: 'graph',
          title: 'Retransmissions by edge and side',
          description:
            'Segments sent again, by who sent them: by the client means loss on the way to the server, by the server loss on the way back. Sides without an agent are not seen. `netvitals observe -t retransmit` has the addresses.',
          unit: 'pps',
          empty: 'Nothing was sent again',
          width: 6,
          height: 10,
          targets: [worstEdges(bothEnds(again, 'reporter'), ', by the {{reporter}}')],
        },
      ],
    },
    {
      title: 'What else goes wrong',
      panels: [
        {
          kind: 'graph',
          title: 'Failed connects by outcome',
          description:
            'How connects failed, as clients saw it. Refused: nobody listens on that port. Timed out: nothing came back. Unreachable: a router or node said no. Abandoned: the client gave up waiting. No port: the client has used up its ports.',
          unit: 'cps',
          empty: 'No connect failed',
          width: 8,
          isStacked: true,
          targets: [{ query: above(sum(failed, 'outcome'), 0), legend: '{{outcome}}' }],
        },
        {
          kind: 'graph',
          title: 'Failed connects by edge and outcome',
          description:
            'Who fails to reach whom, and how. A server that all clients fail to reach is down; one that a single client fails to reach is cut off from it, as by a policy.',
          unit: 'cps',
          empty: 'No connect failed',
          width: 8,
          targets: [worstEdges(bothEnds(failed, 'outcome'), ' {{outcome}}')],
        },
        {
          kind: 'graph',
          title: 'Resets by edge',
          description:
            'Connections that a reset ended, whoever sent it; refused connects are not among them. Many mean that an end gives up, is restarted, or that something between cuts connections. `netvitals observe -t reset` says who and why.',
          unit: 'cps',
          empty: 'No connection was reset',
          width: 8,
          levels: thresholds.resetsPerSecond,
          targets: [worstEdges(resets)],
        },
        {
          kind: 'graph',
          title: 'Dropped packets by category',
          description:
            'Packets between workloads that the nodes of either end dropped, by what kind of reason it was; clean-up that harms nobody is left out. netfilter: a rule or policy. no_socket: nobody listens. socket_buffer: the application does not read. The board Drops has the reasons themselves.',
          unit: 'pps',
          empty: 'No packet was dropped',
          width: 8,
          isStacked: true,
          targets: [{ query: above(sum(drops, 'category'), 0), legend: '{{category}}' }],
        },
        {
          kind: 'graph',
          title: 'Dropped packets by edge',
          description:
            'Between whom packets are dropped, in either direction, and of what category. `netvitals observe -t drop --pod NAMESPACE/POD` shows single ones with ports and reason. Drops towards addresses that nobody knows are on the board Drops only.',
          unit: 'pps',
          empty: 'No packet was dropped',
          width: 8,
          levels: thresholds.dropsPerSecond,
          targets: [worstEdges(bothEnds(drops, 'category'), ' {{category}}')],
        },
        {
          kind: 'graph',
          title: 'Connections open by edge',
          description:
            'Established connections between each client and server. A steady rise is a leak or a server that has become slow; a sudden fall a restart or a cut. `netvitals show sockets` has the processes.',
          unit: 'short',
          empty: 'No connection',
          width: 8,
          targets: [worstEdges(connectionsOpen)],
        },
      ],
    },
    {
      title: 'Edge by edge',
      panels: [
        {
          kind: 'table',
          title: 'Edges that hurt',
          description:
            'The edges with the most failed connects, resets, segments sent again and dropped packets in all the time shown, five of each; failed connects first. Retransmissions and drops are of both ends together, round-trip times of the end that has the longer; connections are of now. `netvitals show edges` has the same of one node.',
          empty: 'Nothing failed and nothing was lost',
          labels: { client: 'Client', server: 'Server' },
          columns: columns(inTrouble),
          sortBy: ['Failed connects', 'Resets', 'Dropped', 'Retransmitted'],
        },
        {
          kind: 'table',
          title: 'Busiest edges',
          description:
            'The edges with the most traffic in all the time shown. An edge that one misses here has no traffic at all, or is among those that hurt. Narrow the board by server or client to see others.',
          empty: 'No traffic',
          labels: { client: 'Client', server: 'Server' },
          columns: columns(busiest),
          sortBy: 'Received',
        },
      ],
    },
    {
      title: 'Who talks to whom',
      panels: [
        {
          kind: 'nodegraph',
          title: 'Node graph of edges',
          description: `The busiest edges, with their bytes a second in all the time shown, and in red those of whose connects more than ${100 * redShare} % failed. A red arrow into a workload that others still reach is a policy or route; if all its arrows are red it is down.`,
          unit: 'Bps',
          empty: 'No traffic',
          query: arrows(),
        },
      ],
    },
  ],
}
