import type { Catalogue } from '../../agent/metrics/catalogue.ts'
import { thresholds } from '../../agent/metrics/thresholds.ts'
import {
  above,
  add,
  avg,
  type Counter,
  divide,
  type Gauge,
  type Match,
  max,
  min,
  type Query,
  rate,
  shownWindow,
  stepWindow,
  sum,
  topk,
  value,
  withWorkload,
} from '../promql.ts'
import type { Board, Graph, Row, Table } from './board.ts'
import { podGraph, podHeatMap } from './by-pod.ts'
import { sentAgain } from './ratios.ts'
import { harmfulCategories, inNamespaces, inWorkloads } from './variables.ts'

/** Of a pod, without labels of its own. */
type Plain<M extends keyof Catalogue> = {
  [N in M]: Catalogue[N] extends { readonly scope: 'pod'; readonly labels: readonly [] } ? N : never
}[M]
const counted = (metric: Plain<Counter>, window = stepWindow) => withWorkload(rate(metric, inNamespaces, window), inWorkloads)
const now = (metric: Plain<Gauge>) => withWorkload(value(metric, inNamespaces), inWorkloads)

const failed = { noneOf: ['connected'] } as const
const connects = (match: Match<'netvitals_tcp_connects_total'> = {}, window = stepWindow) =>
  withWorkload(rate('netvitals_tcp_connects_total', { ...inNamespaces, ...match }, window), inWorkloads)
const dropped = (match: Match<'netvitals_dropped_packets_total'> = {}, window = stepWindow) =>
  withWorkload(
    rate('netvitals_dropped_packets_total', { ...inNamespaces, category: harmfulCategories, ...match }, window),
    inWorkloads,
  )
const resetsReceived = (window = stepWindow) =>
  withWorkload(rate('netvitals_tcp_received_resets_total', inNamespaces, window), inWorkloads)
const sockets = (state: NonNullable<Match<'netvitals_tcp_sockets'>['state']>) =>
  withWorkload(value('netvitals_tcp_sockets', { ...inNamespaces, state }), inWorkloads)

const ofWorkload = ['namespace', 'workload_type', 'workload'] as const
const ofPod = [...ofWorkload, 'pod'] as const
type OfPod = Query<(typeof ofPod)[number]>

const received = sum(counted('netvitals_received_bytes_total'), ...ofPod)
const sent = sum(counted('netvitals_transmitted_bytes_total'), ...ofPod)
const traffic = add(received, sent)
/** The busiest pod, of their mean: 1 if they share alike. */
const imbalance = (of: OfPod) => divide(max(of, ...ofWorkload), above(avg(of, ...ofWorkload), 0))

const overview: Row = {
  title: 'Overview',
  panels: [
    {
      kind: 'stat',
      title: 'Imbalance of traffic',
      description:
        'Traffic of the busiest pod, of the mean of its siblings: 1 if all have the same, as many as there are pods if one has all. High means that the work is not shared, as with few long connections, a session affinity or a pod that is not ready: the graphs below say which pod. With several workloads chosen it is that of the worst. For three minutes after pods were replaced, those that have gone count as idle.',
      unit: 'none',
      empty: 'No traffic',
      levels: thresholds.imbalanceRatio,
      targets: [{ query: max(imbalance(traffic)), legend: 'Imbalance' }],
    },
    {
      kind: 'stat',
      title: 'Busiest pod',
      description:
        'Bytes a second, in and out, of the pod that has the most. Beside the quietest it says what the imbalance is about. The table below has them all.',
      unit: 'Bps',
      empty: 'No pods',
      targets: [{ query: max(traffic), legend: 'Busiest' }],
    },
    {
      kind: 'stat',
      title: 'Quietest pod',
      description:
        'Bytes a second, in and out, of the pod that has the least. At nearly nothing it gets no requests: look whether it is ready and has its place in the Service, then `netvitals show sockets --pod …`.',
      unit: 'Bps',
      empty: 'No pods',
      targets: [{ query: min(traffic), legend: 'Quietest' }],
    },
    {
      kind: 'stat',
      title: 'Fullest accept queue',
      description:
        'Connections that wait to be accepted at the fullest listener, of its limit. High means that a process is too slow or too busy to take its connections; full, new ones are refused. The row on queues says which pod.',
      unit: 'percentunit',
      empty: 'Not known',
      levels: thresholds.listenQueueRatio,
      targets: [{ query: max(now('netvitals_tcp_listen_queue_fullest_ratio')), legend: 'Fullest' }],
    },
    {
      kind: 'stat',
      title: 'Retransmissions',
      description:
        'TCP segments that the pods sent again, of those they sent. High means loss on the way, or peers that are too slow; below it stands by pod, on TCP health with its causes.',
      unit: 'percentunit',
      empty: 'No TCP',
      levels: thresholds.retransmittedRatio,
      targets: [
        {
          query: sentAgain(
            sum(counted('netvitals_tcp_retransmitted_segments_total')),
            sum(counted('netvitals_tcp_sent_segments_total')),
          ),
          legend: 'Sent again',
        },
      ],
    },
    {
      kind: 'stat',
      title: 'Failed connects',
      description:
        'TCP connects of the pods that did not come about, of all that ended. High means that what they depend on cannot be reached: `netvitals show edges --workload …` says what, the row on connects how they fail.',
      unit: 'percentunit',
      empty: 'None',
      levels: thresholds.failedConnectRatio,
      targets: [{ query: divide(sum(connects({ outcome: failed })), above(sum(connects()), 0)), legend: 'Failed' }],
    },
    podGraph({
      title: 'Incoming traffic by pod',
      description:
        'Bytes a second that each pod receives, of the 20 with the most, laid on each other. Bands of one breadth are pods that share alike; a broad one is on fire, a thin one idle. `netvitals show edges --workload …` says who sends it.',
      unit: 'Bps',
      empty: 'No pods',
      isStacked: true,
      of: sum(received, 'namespace', 'pod'),
    }),
    podGraph({
      title: 'Outgoing traffic by pod',
      description:
        'Bytes a second that each pod sends, of the 20 with the most, laid on each other. A pod that receives as much as the others and sends less does not get its work done: look at its queues and connects.',
      unit: 'Bps',
      empty: 'No pods',
      isStacked: true,
      of: sum(sent, 'namespace', 'pod'),
    }),
  ],
}

const places = ['namespace', 'workload', 'node', 'pod'] as const
const eachPod: Table = {
  kind: 'table',
  title: 'Each pod: traffic, resets, retransmissions, queues, drops',
  description:
    'A row for each pod: what is counted as its mean over the time shown, connections and queues as they are at its end. A pod that differs from its siblings in one column is ill in that way; those of one node that differ share its trouble. `netvitals show sockets --pod …` on that node says what it is about.',
  empty: 'No pods',
  height: 10,
  labels: { namespace: 'Namespace', workload: 'Workload', node: 'Node', pod: 'Pod' },
  columns: [
    { heading: 'Incoming', unit: 'Bps', query: sum(counted('netvitals_received_bytes_total', shownWindow), ...places) },
    { heading: 'Outgoing', unit: 'Bps', query: sum(counted('netvitals_transmitted_bytes_total', shownWindow), ...places) },
    { heading: 'Established', unit: 'short', query: sum(sockets('established'), ...places) },
    {
      heading: 'CLOSE_WAIT',
      unit: 'short',
      query: sum(sockets('close_wait'), ...places),
      levels: thresholds.closeWaitSockets,
    },
    { heading: 'Connects', unit: 'cps', query: sum(connects({}, shownWindow), ...places) },
    {
      heading: 'Failed connects',
      unit: 'percentunit',
      query: divide(
        sum(connects({ outcome: failed }, shownWindow), ...places),
        above(sum(connects({}, shownWindow), ...places), 0),
      ),
      levels: thresholds.failedConnectRatio,
    },
    {
      heading: 'Resets sent',
      unit: 'cps',
      query: sum(counted('netvitals_tcp_sent_resets_total', shownWindow), ...places),
      levels: thresholds.resetsPerSecond,
    },
    {
      heading: 'Resets received',
      unit: 'cps',
      query: sum(resetsReceived(shownWindow), ...places),
      levels: thresholds.resetsPerSecond,
    },
    {
      heading: 'Sent again',
      unit: 'percentunit',
      query: sentAgain(
        sum(counted('netvitals_tcp_retransmitted_segments_total', shownWindow), ...places),
        sum(counted('netvitals_tcp_sent_segments_total', shownWindow), ...places),
      ),
      levels: thresholds.retransmittedRatio,
    },
    {
      heading: 'Accept queue',
      unit: 'percentunit',
      query: max(now('netvitals_tcp_listen_queue_fullest_ratio'), ...places),
      levels: thresholds.listenQueueRatio,
    },
    { heading: 'Not read', unit: 'bytes', query: sum(now('netvitals_tcp_receive_queue_bytes'), ...places) },
    { heading: 'Not acknowledged', unit: 'bytes', query: sum(now('netvitals_tcp_send_queue_bytes'), ...places) },
    {
      heading: 'Drops',
      unit: 'pps',
      query: sum(dropped({}, shownWindow), ...places),
      levels: thresholds.dropsPerSecond,
    },
  ],
  sortBy: 'Incoming',
}

const imbalanceRow: Row = {
  title: 'Imbalance',
  panels: [
    {
      kind: 'graph',
      title: 'Imbalance by workload: busiest pod of the mean',
      description:
        'Traffic of the busiest pod of each workload, of the mean of its pods; 1 if all have the same. It shows since when the work is not shared: compare with rollouts and with nodes that went. A workload of one pod is always at 1.',
      unit: 'none',
      empty: 'No traffic',
      levels: thresholds.imbalanceRatio,
      targets: [{ query: topk(20, imbalance(traffic)), legend: '{{namespace}}/{{workload}}' }],
    },
    {
      kind: 'graph',
      title: 'Imbalance by what is shared',
      description:
        'The same of bytes and packets by direction, connections taken and connections that live, of the worst workload that is chosen. Connections that are shared alike with traffic that is not are few heavy clients; connections that are not are a balancer that keeps clients where they are: `netvitals show sockets --each` shows them.',
      unit: 'none',
      empty: 'No traffic',
      levels: thresholds.imbalanceRatio,
      targets: [
        { query: max(imbalance(received)), legend: 'Bytes received' },
        { query: max(imbalance(sent)), legend: 'Bytes sent' },
        { query: max(imbalance(sum(counted('netvitals_received_packets_total'), ...ofPod))), legend: 'Packets received' },
        { query: max(imbalance(sum(counted('netvitals_transmitted_packets_total'), ...ofPod))), legend: 'Packets sent' },
        { query: max(imbalance(sum(counted('netvitals_tcp_passive_opens_total'), ...ofPod))), legend: 'Connections taken' },
        { query: max(imbalance(sum(sockets('established'), ...ofPod))), legend: 'Connections established' },
      ],
    },
  ],
}

const trafficRow: Row = {
  title: 'Traffic and packets',
  panels: [
    podHeatMap({
      title: 'Heat map of incoming traffic, top pods',
      description:
        'The ten pods that receive the most at each time; the darker, the more. One dark row is the pod that is on fire, a dark column a burst for all. `netvitals show edges --workload …` says who sends.',
      unit: 'Bps',
      empty: 'No pods',
      of: sum(received, 'namespace', 'pod'),
    }),
    podHeatMap({
      title: 'Heat map of outgoing traffic, top pods',
      description:
        'The ten pods that send the most at each time; the darker, the more. A row that pales while its incoming traffic stays is a pod that does not answer any more.',
      unit: 'Bps',
      empty: 'No pods',
      of: sum(sent, 'namespace', 'pod'),
    }),
    podGraph({
      title: 'Packets received by pod',
      description:
        'Packets a second that each pod receives, of the 20 with the most. Many packets with few bytes are connection attempts, acknowledgements or small requests: see connects and resets.',
      unit: 'pps',
      empty: 'No pods',
      isStacked: true,
      of: sum(counted('netvitals_received_packets_total'), 'namespace', 'pod'),
    }),
    podGraph({
      title: 'Packets sent by pod',
      description:
        'Packets a second that each pod sends, of the 20 with the most. Far above its siblings it sends again, or answers what nobody should ask: see retransmissions and resets.',
      unit: 'pps',
      empty: 'No pods',
      isStacked: true,
      of: sum(counted('netvitals_transmitted_packets_total'), 'namespace', 'pod'),
    }),
  ],
}

const resetsRow: Row = {
  title: 'Resets (RST)',
  panels: [
    podHeatMap({
      title: 'Heat map of resets sent (RST), top pods',
      description:
        'The ten pods that send the most TCP resets; the darker, the more. One of several siblings crashes, was restarted or does not listen; all of them close early or refuse by design. The reasons are below.',
      unit: 'cps',
      empty: 'No pod sent a reset',
      of: above(sum(counted('netvitals_tcp_sent_resets_total'), 'namespace', 'pod'), 0),
    }),
    podHeatMap({
      title: 'Heat map of resets received (RST), top pods',
      description:
        'The ten pods of which the most connections are ended by a reset of the other end; the darker, the more. `netvitals observe --type reset --pod …` shows by whom.',
      unit: 'cps',
      empty: 'No pod received a reset',
      of: above(sum(resetsReceived(), 'namespace', 'pod'), 0),
    }),
    {
      kind: 'graph',
      title: 'Resets sent by reason',
      description:
        "TCP resets a second that the pods send, by the kernel's own reason. no_socket: nobody listens on the port; tcp_abort_on_close and tcp_abort_on_data: the application closed before it had read; tcp_keepalive_timeout: the other end was silent. `netvitals observe --type reset_sent --pod …` shows to whom.",
      unit: 'cps',
      empty: 'No pod sent a reset',
      isStacked: true,
      targets: [
        {
          query: topk(
            20,
            sum(withWorkload(rate('netvitals_tcp_sent_resets_by_reason_total', inNamespaces), inWorkloads), 'reason'),
          ),
          legend: '{{reason}}',
        },
      ],
    },
    {
      kind: 'graph',
      title: 'Resets received by TCP state',
      description:
        'Resets a second that ended connections of the pods, by the state these were in. syn_sent: a connect was refused; established: the other end crashed, gave up or a device between cut it off. `netvitals observe --type reset_received --pod …` shows by whom.',
      unit: 'cps',
      empty: 'No pod received a reset',
      isStacked: true,
      targets: [{ query: sum(resetsReceived(), 'state'), legend: '{{state}}' }],
    },
  ],
}

const retransmissionsRow: Row = {
  title: 'Retransmissions',
  panels: [
    podGraph({
      title: 'Retransmission ratio by pod',
      description:
        'TCP segments sent again, of those sent, of the pods with the highest share. Pods of one node that stand out point to that node, all of them to what they talk to. TCP health has the causes.',
      unit: 'percentunit',
      empty: 'No TCP',
      levels: thresholds.retransmittedRatio,
      of: sentAgain(
        sum(counted('netvitals_tcp_retransmitted_segments_total'), 'namespace', 'pod'),
        sum(counted('netvitals_tcp_sent_segments_total'), 'namespace', 'pod'),
      ),
    }),
    {
      kind: 'graph',
      title: 'Retransmissions by kind',
      description:
        'TCP segments sent again a second, by what made TCP do so. syn: nobody answers the connects; synack: clients do not hear the answer; timeout: the way was cut; fast and probe: single packets are lost. `netvitals observe --type retransmit --pod …` shows to whom.',
      unit: 'pps',
      empty: 'No segment was sent again',
      isStacked: true,
      targets: [
        {
          query: sum(withWorkload(rate('netvitals_tcp_retransmitted_segments_by_kind_total', inNamespaces), inWorkloads), 'kind'),
          legend: '{{kind}}',
        },
      ],
    },
  ],
}

const queuesRow: Row = {
  title: 'Accept queue, receive and send queues',
  panels: [
    podGraph({
      title: 'Accept queue of the fullest listener, by pod',
      description:
        'Connections that wait to be accepted, of the limit, at the fullest listener of each pod. Over 1 the queue is full and new connections are refused. One pod alone is too slow or has too much of the work; all of them need more pods or a longer backlog. `netvitals show sockets --state listen --pod …` names the process.',
      unit: 'percentunit',
      empty: 'Not known',
      levels: thresholds.listenQueueRatio,
      of: max(now('netvitals_tcp_listen_queue_fullest_ratio'), 'namespace', 'pod'),
    }),
    {
      kind: 'graph',
      title: 'Connections refused at the accept queue, by pod',
      description:
        'Connections a second that a listener dropped because its accept queue was full (overflows), or for any reason (all). Each is a client that waits a second or more. It begins where the graph beside it reaches 1.',
      unit: 'cps',
      empty: 'No listener dropped a connection',
      targets: [
        {
          query: topk(10, above(sum(counted('netvitals_tcp_listen_overflows_total'), 'namespace', 'pod'), 0)),
          legend: '{{namespace}}/{{pod}} overflows',
        },
        {
          query: topk(10, above(sum(counted('netvitals_tcp_listen_drops_total'), 'namespace', 'pod'), 0)),
          legend: '{{namespace}}/{{pod}} all',
        },
      ],
    },
    podGraph({
      title: 'Receive queue: bytes that nobody has read, by pod',
      description:
        'Bytes received that the application has not read yet, over its established connections. A pod that piles up is too busy, stuck or stopped, though the network brings it all. `netvitals show sockets --pod …` names the process.',
      unit: 'bytes',
      empty: 'No pods',
      isStacked: true,
      of: sum(now('netvitals_tcp_receive_queue_bytes'), 'namespace', 'pod'),
    }),
    podGraph({
      title: 'Send queue: bytes not acknowledged, by pod',
      description:
        'Bytes sent that the other ends have not acknowledged, over established connections. High means that the way is slow or cut, or that those who receive do not read. With retransmissions it is the way, without them the reader: `netvitals show sockets --pod …` names the peers.',
      unit: 'bytes',
      empty: 'No pods',
      isStacked: true,
      of: sum(now('netvitals_tcp_send_queue_bytes'), 'namespace', 'pod'),
    }),
  ],
}

const connectsRow: Row = {
  title: 'Connects',
  panels: [
    {
      kind: 'graph',
      title: 'Connects by outcome',
      description:
        'TCP connects a second that the pods began, by how they ended. refused: nobody listens, or a rule rejects; timed_out, abandoned, unreachable: nothing answers; no_port: the pod has no local ports left. `netvitals show edges --workload …` says towards whom.',
      unit: 'cps',
      empty: 'No pod connected',
      isStacked: true,
      targets: [{ query: sum(connects(), 'outcome'), legend: '{{outcome}}' }],
    },
    podGraph({
      title: 'Failed connects by pod',
      description:
        'TCP connects a second that did not come about, of the pods with the most. One pod alone has a trouble of its own or of its node; all alike have one server in common. `netvitals observe --type connect --pod …` shows single ones.',
      unit: 'cps',
      empty: 'No connect failed',
      isStacked: true,
      of: sum(connects({ outcome: failed }), 'namespace', 'pod'),
    }),
  ],
}

const dropsByReason = (direction: 'in' | 'out'): Graph => ({
  kind: 'graph',
  title: direction === 'in' ? 'Incoming drops by reason' : 'Outgoing drops by reason',
  description: `Packets a second dropped on their way ${direction === 'in' ? 'to' : 'from'} the pods, by the kernel's own reason; clean-up that harms nobody is left out. Drops has them by pod and by pair of workloads, \`netvitals observe --type drop --pod …\` one by one.`,
  unit: 'pps',
  empty: 'No packet was dropped',
  isStacked: true,
  targets: [{ query: topk(20, sum(dropped({ direction }), 'reason')), legend: '{{reason}}' }],
})

const socketsByPod = (
  state: 'established' | 'close_wait' | 'syn_recv',
  panel: Pick<Graph, 'title' | 'description' | 'empty'> & Partial<Graph>,
) =>
  podGraph({
    unit: 'short',
    ...panel,
    of: above(sum(sockets(state), 'namespace', 'pod'), 0),
  })
const statesRow: Row = {
  title: 'TCP states',
  panels: [
    {
      kind: 'graph',
      title: 'Connections by TCP state',
      description:
        'TCP sockets of the pods by state, listeners left out. time_wait is ordinary; close_wait that grows is an application that does not close, syn_sent calls that nobody answers, fin_wait2 peers that do not close. Below it stands by pod.',
      unit: 'short',
      empty: 'No connections',
      isStacked: true,
      targets: [{ query: sum(sockets({ noneOf: ['listen'] }), 'state'), legend: '{{state}}' }],
    },
    socketsByPod('established', {
      title: 'Established connections by pod',
      description:
        'Live TCP connections of each pod, of the 20 with the most, laid on each other. Pods that have far more than their siblings keep old clients: connections are not shared anew before they end.',
      empty: 'No connections',
      isStacked: true,
    }),
    socketsByPod('syn_recv', {
      title: 'SYN_RECV by pod: handshakes not finished',
      description:
        'Handshakes that clients have begun and not finished, of the pods with the most. Many mean that answers do not get back, a full accept queue, or a flood: see the queues above.',
      empty: 'No handshake waits',
      levels: thresholds.synRecvSockets,
    }),
    socketsByPod('close_wait', {
      title: 'CLOSE_WAIT by pod: sockets not closed',
      description:
        'Connections that the other end has closed and the application has not, of the pods with the most. A number that only grows is a leak. `netvitals show sockets --state close-wait --pod …` names process and port.',
      empty: 'No socket waits to be closed',
      levels: thresholds.closeWaitSockets,
    }),
  ],
}

export const podFlowsWorkloadBoard: Board = {
  uid: 'netvitals-pod-flows-workload',
  title: 'Pod Flows (Workload)',
  description: 'Whether the pods of a workload share its work, and what each of them suffers.',
  variables: ['cluster', 'job', 'node', 'namespace', 'workload_type', 'workload'],
  rows: [
    overview,
    { title: 'Each pod', panels: [eachPod] },
    imbalanceRow,
    trafficRow,
    queuesRow,
    resetsRow,
    retransmissionsRow,
    connectsRow,
    { title: 'Drops', panels: [dropsByReason('in'), dropsByReason('out')] },
    statesRow,
  ],
}
