import { thresholds } from '../../agent/metrics/thresholds.ts'
import { above, count, divide, like, type Match, max, min, multiply, or, type Query, rate, sum, topk, value } from '../promql.ts'
import { edgeLegend, ofEitherEnd } from './between-workloads.ts'
import type { Board, Graph, Row, Stat, Unit } from './board.ts'
import { podGraph, podHeatMap } from './by-pod.ts'
import { ends } from './names.ts'
import { sentAgain } from './ratios.ts'
import { harmfulCategories, inNamespaces } from './variables.ts'

/** Of pods and named network namespaces, not of the host. */
const ofPods = { ...inNamespaces, pod: like('.+') } as const
const failed = { noneOf: ['connected'] } as const

const received = rate('netvitals_received_bytes_total', ofPods)
const sent = rate('netvitals_transmitted_bytes_total', ofPods)
const drops = 'netvitals_dropped_packets_total'
const dropped = (match: Match<typeof drops> = {}) => rate(drops, { ...ofPods, category: harmfulCategories, ...match })
const connects = (match: Match<'netvitals_tcp_connects_total'> = {}) =>
  rate('netvitals_tcp_connects_total', { ...ofPods, ...match })
const retransmitted = rate('netvitals_tcp_retransmitted_segments_total', ofPods)
const segments = rate('netvitals_tcp_sent_segments_total', ofPods)
const resetsSent = rate('netvitals_tcp_sent_resets_total', ofPods)
const resetsReceived = rate('netvitals_tcp_received_resets_total', ofPods)

type Direction = 'in' | 'out'
const words = {
  in: { word: 'incoming', title: 'Incoming', way: 'to' },
  out: { word: 'outgoing', title: 'Outgoing', way: 'from' },
} as const
const traffic = (direction: Direction) => sum(direction === 'in' ? received : sent, 'namespace', 'pod')
/** With those that drop nothing: a series is born with its first drop. */
const dropsOfEachPod = (direction: Direction) =>
  or(sum(dropped({ direction }), 'namespace', 'pod'), multiply(traffic(direction), 0))

const topNamespaces = (
  of: Query<'namespace'>,
  panel: Pick<Graph, 'title' | 'description' | 'unit' | 'empty'> & Partial<Graph>,
): Graph => ({ ...panel, kind: 'graph', isStacked: true, targets: [{ query: topk(10, of), legend: '{{namespace}}' }] })

const overview: Row = {
  title: 'Overview',
  panels: [
    {
      kind: 'stat',
      title: 'Incoming traffic',
      description:
        'Bytes a second that the pods receive by their network devices. A fall while nobody deployed means that requests do not arrive any more: look at failed connects and drops beside it.',
      unit: 'Bps',
      empty: 'No pods',
      targets: [{ query: sum(received), legend: 'Incoming' }],
    },
    {
      kind: 'stat',
      title: 'Outgoing traffic',
      description:
        'Bytes a second that the pods send by their network devices. Far more than usual is a job, a backup or a loop: the graphs below say which namespace, and `netvitals show edges` to whom.',
      unit: 'Bps',
      empty: 'No pods',
      targets: [{ query: sum(sent), legend: 'Outgoing' }],
    },
    {
      kind: 'stat',
      title: 'Dropped packets',
      description:
        'Packets a second that were dropped on their way to and from the pods; clean-up that harms nobody is left out. The namespace with the most is below, the reasons are on Drops.',
      unit: 'pps',
      empty: 'None',
      targets: [{ query: sum(dropped()), legend: 'Dropped' }],
    },
    {
      kind: 'stat',
      title: 'Failed connects',
      description:
        'TCP connects of the pods that did not come about, of all that ended. High means that somebody cannot reach somebody: the row below says who and whom, and `netvitals observe --type connect` shows single ones.',
      unit: 'percentunit',
      empty: 'None',
      levels: thresholds.failedConnectRatio,
      targets: [{ query: divide(sum(connects({ outcome: failed })), above(sum(connects()), 0)), legend: 'Failed' }],
    },
    {
      kind: 'stat',
      title: 'Retransmissions',
      description:
        'TCP segments that the pods sent again, of those they sent. High means that packets are lost on the way, or that the other end is too slow: the pods with the most are below, the causes are on TCP health.',
      unit: 'percentunit',
      empty: 'No TCP',
      levels: thresholds.retransmittedRatio,
      targets: [{ query: sentAgain(sum(retransmitted), sum(segments)), legend: 'Sent again' }],
    },
    {
      kind: 'stat',
      title: 'Resets',
      description:
        'TCP resets a second that the pods sent, and that ended connections of theirs. Many are services that nobody listens for, or that crash or close early: the heat maps below say whose.',
      unit: 'cps',
      empty: 'None',
      targets: [
        { query: sum(resetsSent), legend: 'Sent' },
        { query: sum(resetsReceived), legend: 'Received' },
      ],
    },
    topNamespaces(sum(received, 'namespace'), {
      title: 'Top namespaces by incoming traffic',
      description:
        'Bytes a second that the pods of each namespace receive, of the ten with the most. A band that breaks off shows since when requests do not arrive. Choose the namespace above to see its pods.',
      unit: 'Bps',
      empty: 'No pods',
    }),
    topNamespaces(sum(sent, 'namespace'), {
      title: 'Top namespaces by outgoing traffic',
      description:
        'Bytes a second that the pods of each namespace send, of the ten with the most. A band that grows beyond the others takes their bandwidth; choose the namespace above, then look at the heat map of its pods.',
      unit: 'Bps',
      empty: 'No pods',
    }),
    topNamespaces(sum(dropped(), 'namespace'), {
      title: 'Top namespaces by dropped packets',
      description:
        'Packets a second dropped on their way to and from the pods of each namespace, of the ten with the most. The one that stands out is where to look: choose it above, and open Drops for the reasons.',
      unit: 'pps',
      empty: 'No packet of a pod was dropped',
    }),
    topNamespaces(sum(connects({ outcome: failed }), 'namespace'), {
      title: 'Top namespaces by failed connects',
      description:
        'TCP connects a second that did not come about, by the namespace of the pods that called, of the ten with the most. Whom they called is in the next row.',
      unit: 'cps',
      empty: 'No connect failed',
    }),
  ],
}

const cannotReach: Row = {
  title: 'Who cannot reach whom',
  panels: [
    {
      kind: 'graph',
      title: 'Failed connects between workloads',
      description:
        'TCP connects a second that did not come about, by client and server, from or to the namespaces chosen. timed_out and abandoned are what a network policy looks like that drops, refused is one that rejects, or a port that nobody listens on. `netvitals observe --type connect --pod …` shows single ones; Edges has the rest of the two.',
      unit: 'cps',
      empty: 'No connect failed between workloads',
      height: 9,
      isStacked: true,
      targets: [
        {
          query: topk(
            20,
            ofEitherEnd(['namespace'], (narrowing) =>
              // Only the client sees a connect fail.
              sum(
                rate('netvitals_edge_connects_total', { ...narrowing, reporter: 'client', outcome: failed }),
                ...ends,
                'outcome',
              ),
            ),
          ),
          legend: `${edgeLegend}: {{outcome}}`,
        },
      ],
    },
    {
      kind: 'graph',
      title: 'Dropped packets between workloads',
      description:
        'Packets a second dropped between a client and a server, in both directions, by the kind of the reason. netfilter is a rule or a network policy: it says which pair the policy keeps apart. `netvitals observe --type drop --pod …` shows the packets, Drops the reasons.',
      unit: 'pps',
      empty: 'No packet was dropped between two workloads',
      height: 9,
      isStacked: true,
      targets: [
        {
          query: topk(
            20,
            ofEitherEnd(['namespace'], (narrowing) =>
              // Each packet is dropped on one side.
              sum(
                rate('netvitals_edge_dropped_packets_total', { ...narrowing, category: harmfulCategories }),
                ...ends,
                'category',
              ),
            ),
          ),
          legend: `${edgeLegend}: {{category}}`,
        },
      ],
    },
  ],
}

const snapshotOf = (
  what: 'traffic' | 'drops',
  of: (direction: Direction) => Query,
  unit: Unit,
  ifLeast: string,
  then: string,
  levels?: NonNullable<Stat['levels']>,
): readonly Stat[] =>
  (['in', 'out'] as const).flatMap((direction): Stat[] => {
    const { word, title } = words[direction]
    const extreme = { kind: 'stat', unit, empty: 'No pods', ...(levels && { levels }) } as const
    return [
      {
        kind: 'stat',
        title: `Pods with ${word} ${what}`,
        description: `How many pods have any ${word} ${what}. Compare it with how many there should be: ${then}`,
        unit: 'short',
        empty: 'None',
        targets: [{ query: count(above(of(direction), 0)), legend: 'Pods' }],
      },
      {
        ...extreme,
        title: `Max ${word} ${what}`,
        description: `${title} ${what} of the pod that has the most. Far from the minimum means that the pods do not share alike: ${then}`,
        targets: [{ query: max(of(direction)), legend: 'Max' }],
      },
      {
        ...extreme,
        title: `Min ${word} ${what}`,
        description: `${title} ${what} of the pod that has the least. ${ifLeast}: ${then}`,
        targets: [{ query: min(of(direction)), legend: 'Min' }],
      },
    ]
  })

const snapshot: Row = {
  title: 'Pods: how many, the most, the least',
  panels: [
    ...snapshotOf(
      'traffic',
      traffic,
      'Bps',
      'At 0 a pod is idle, or cut off',
      'the heat maps below say which pods, Pod Flows (Workload) has siblings side by side.',
    ),
    ...snapshotOf(
      'drops',
      dropsOfEachPod,
      'pps',
      'Above 0 every pod is hit',
      'the heat maps of drops below say which pods, Drops says why.',
      thresholds.dropsPerSecond,
    ),
  ],
}

const trafficRow: Row = {
  title: 'Traffic by pod',
  panels: [
    ...(['in', 'out'] as const).map((direction) =>
      podHeatMap({
        title: `Heat map of ${words[direction].word} traffic, top pods`,
        description: `The ten pods with the most ${words[direction].word} traffic at each time; the darker, the more. A row that turns pale is a pod that is not reached any more or has gone; one that alone is dark has the work of all: see Pod Flows (Workload).`,
        unit: 'Bps',
        empty: 'No pods',
        of: traffic(direction),
      }),
    ),
    ...(['in', 'out'] as const).map((direction) =>
      podGraph({
        title: `${words[direction].title} traffic by pod`,
        description: `Bytes a second ${words[direction].way} each pod, of the 20 with the most, laid on each other. What one band takes the others do not have; \`netvitals show edges --namespace …\` says who is at the other end.`,
        unit: 'Bps',
        empty: 'No pods',
        isStacked: true,
        of: traffic(direction),
      }),
    ),
  ],
}

const dropsRow: Row = {
  title: 'Drops by pod',
  panels: [
    ...(['in', 'out'] as const).map((direction) =>
      podHeatMap({
        title: `Heat map of ${words[direction].word} drops, top pods`,
        description: `The ten pods with the most ${words[direction].word} drops at each time; the darker, the more. It shows since when, and whether one pod or all: compare with when the policy changed. Drops has the reasons, \`netvitals observe --type drop --pod …\` the packets.`,
        unit: 'pps',
        empty: 'No packet of a pod was dropped',
        of: above(sum(dropped({ direction }), 'namespace', 'pod'), 0),
      }),
    ),
    ...(['in', 'out'] as const).map(
      (direction): Graph => ({
        kind: 'graph',
        title: `${words[direction].title} drops by reason`,
        description: `Packets a second dropped on their way ${words[direction].way} the pods, by the kernel's own reason. netfilter_drop is a rule or a policy, no_socket a port that nobody listens on. Open Drops for whose they are.`,
        unit: 'pps',
        empty: 'No packet of a pod was dropped',
        isStacked: true,
        targets: [{ query: topk(20, sum(dropped({ direction }), 'reason')), legend: '{{reason}}' }],
      }),
    ),
  ],
}

const connectsRow: Row = {
  title: 'Connects',
  panels: [
    {
      kind: 'graph',
      title: 'Connects by outcome',
      description:
        'TCP connects a second that the pods began, by how they ended. timed_out, abandoned and unreachable mean that nothing answers, refused that nobody listens or a rule rejects, no_port that the caller has no ports left: see Conntrack and `netvitals show sockets --pod …`.',
      unit: 'cps',
      empty: 'No pod connected',
      isStacked: true,
      targets: [{ query: sum(connects(), 'outcome'), legend: '{{outcome}}' }],
    },
    podGraph({
      title: 'Failed connects by pod',
      description:
        'TCP connects a second that did not come about, of the pods that began the most of them. One pod alone has a trouble of its own, such as its DNS or its node; all alike have one server in common, which the row on who cannot reach whom names.',
      unit: 'cps',
      empty: 'No connect failed',
      isStacked: true,
      of: sum(connects({ outcome: failed }), 'namespace', 'pod'),
    }),
  ],
}

const resetsRow: Row = {
  title: 'Resets',
  panels: [
    podHeatMap({
      title: 'Heat map of resets sent (RST), top pods',
      description:
        'The ten pods that send the most TCP resets; the darker, the more. A server that sends them has no listener on the port, closes before it has read, or was restarted; TCP health has the reasons, `netvitals observe --type reset --pod …` single ones.',
      unit: 'cps',
      empty: 'No pod sent a reset',
      of: above(sum(resetsSent, 'namespace', 'pod'), 0),
    }),
    podHeatMap({
      title: 'Heat map of resets received (RST), top pods',
      description:
        'The ten pods of which the most connections are ended by a reset of the other end. A client that gets many talks to a server that is gone or refuses; `netvitals show edges --namespace …` names it.',
      unit: 'cps',
      empty: 'No pod received a reset',
      of: above(sum(resetsReceived, 'namespace', 'pod'), 0),
    }),
  ],
}

const retransmissionsRow: Row = {
  title: 'Retransmissions',
  panels: [
    podGraph({
      title: 'Retransmission ratio by pod',
      description:
        'TCP segments sent again, of those sent, of the pods with the highest share. One pod alone points to its node or device, all that talk to one server point to that server. TCP health shows whether it was timeouts or fast ones.',
      unit: 'percentunit',
      empty: 'No TCP',
      levels: thresholds.retransmittedRatio,
      of: sentAgain(sum(retransmitted, 'namespace', 'pod'), sum(segments, 'namespace', 'pod')),
    }),
    {
      kind: 'graph',
      title: 'Retransmissions by kind',
      description:
        'TCP segments sent again a second, by what made TCP do so. syn and synack: nobody answers a connect, as behind a policy that drops. timeout: the way was cut; fast and probe: single packets are lost. `netvitals observe --type retransmit --pod …` shows to whom.',
      unit: 'pps',
      empty: 'No segment was sent again',
      isStacked: true,
      targets: [
        {
          query: sum(rate('netvitals_tcp_retransmitted_segments_by_kind_total', ofPods), 'kind'),
          legend: '{{kind}}',
        },
      ],
    },
  ],
}

const socketsOf = (state: 'close_wait' | 'syn_sent' | 'syn_recv') =>
  above(sum(value('netvitals_tcp_sockets', { ...ofPods, state }), 'namespace', 'pod'), 0)
const statesRow: Row = {
  title: 'TCP states',
  panels: [
    {
      kind: 'graph',
      title: 'Connections by TCP state',
      description:
        'TCP sockets of the pods by state, listeners left out. syn_sent that grows is calls that nobody answers, syn_recv clients that do not finish their handshake, close_wait applications that do not close. `netvitals show sockets --namespace …` says which process.',
      unit: 'short',
      empty: 'No connections',
      isStacked: true,
      targets: [
        {
          query: sum(value('netvitals_tcp_sockets', { ...ofPods, state: { noneOf: ['listen'] } }), 'state'),
          legend: '{{state}}',
        },
      ],
    },
    podGraph({
      title: 'SYN_SENT by pod: calls without an answer',
      description:
        'Connects that wait for an answer, of the pods with the most. Many mean that a server, or a policy before it, says nothing. `netvitals show sockets --state syn-sent --pod …` names the server.',
      unit: 'short',
      empty: 'Nobody waits for an answer',
      levels: thresholds.synSentSockets,
      of: socketsOf('syn_sent'),
    }),
    podGraph({
      title: 'SYN_RECV by pod: handshakes not finished',
      description:
        'Handshakes that clients have begun and not finished, of the pods with the most. Many mean that answers do not get back, that the accept queue is full, or a flood. See the accept queue on Pod Flows (Workload).',
      unit: 'short',
      empty: 'No handshake waits',
      levels: thresholds.synRecvSockets,
      of: socketsOf('syn_recv'),
    }),
    podGraph({
      title: 'CLOSE_WAIT by pod: sockets not closed',
      description:
        'Connections that the other end has closed and the application has not, of the pods with the most. A number that only grows is a leak. `netvitals show sockets --state close-wait --pod …` names the process and its port.',
      unit: 'short',
      empty: 'No socket waits to be closed',
      levels: thresholds.closeWaitSockets,
      of: socketsOf('close_wait'),
    }),
  ],
}

export const podFlowsNamespaceBoard: Board = {
  uid: 'netvitals-pod-flows-namespace',
  title: 'Pod Flows (Namespace)',
  description: 'Which namespaces and pods have the traffic, who cannot reach whom, and what their connections suffer.',
  variables: ['cluster', 'job', 'node', 'namespace'],
  rows: [overview, cannotReach, snapshot, trafficRow, dropsRow, connectsRow, resetsRow, retransmissionsRow, statesRow],
}
