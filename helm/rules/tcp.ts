import type { connectOutcomes } from '../../agent/metrics/labels.ts'
import { thresholds } from '../../agent/metrics/thresholds.ts'
import { above, add, and, increase, rate, sum, sumWithout, value } from '../promql.ts'
import { type AlertGroup, node, owner, ratio, suddenly, window } from './rule.ts'

/** Whoever sends less can lose a few segments of them without having a problem. */
const sentSegmentsFloor = 20
/** Nine in five minutes. */
const failedConnectsFloor = 0.03

const ofEdge = ['cluster', 'job', 'client_namespace', 'client_workload', 'server_namespace', 'server_workload'] as const
type Outcome = (typeof connectOutcomes)[number]
/** Only the client has seen those that failed; its pods are on many nodes. */
const connectsOf = (...outcomes: readonly Outcome[]) =>
  sum(
    rate(
      'netvitals_edge_connects_total',
      { reporter: 'client', ...(outcomes.length === 0 ? {} : { outcome: { anyOf: outcomes } }) },
      window,
    ),
    ...ofEdge,
  )
const failedRatio = (threshold: number, ...outcomes: readonly Outcome[]) =>
  and(above(ratio(connectsOf(...outcomes), connectsOf()), threshold), above(connectsOf(...outcomes), failedConnectsFloor))

const end = (side: 'client' | 'server'): string =>
  `{{ with $labels.${side}_namespace }}{{ . }}/{{ end }}{{ $labels.${side}_workload }}`

const memoryRatio = ratio(value('netvitals_tcp_memory_bytes', {}), value('netvitals_tcp_memory_limit_bytes', {}))

/** The kernel's number of those sent leaves these out. */
const sentAgain = rate('netvitals_tcp_retransmitted_segments_total', {}, window)

export const tcpAlerts: AlertGroup = {
  topic: 'tcp',
  alerts: [
    {
      name: 'NetvitalsRetransmissions',
      summary: 'Many TCP segments are sent again',
      description: `On ${node} ${owner} sends {{ $value | humanizePercentage }} of its TCP segments again: packets are lost on the way to its peers, or back. \`netvitals show edges\` on the node shows towards whom.`,
      severity: 'warning',
      for: '15m',
      threshold: thresholds.retransmittedRatio.warning,
      query: above(
        ratio(sentAgain, add(rate('netvitals_tcp_sent_segments_total', {}, window), sentAgain), sentSegmentsFloor),
        thresholds.retransmittedRatio.warning,
      ),
    },
    {
      name: 'NetvitalsResets',
      summary: 'Far more connections are cut off than an hour before',
      description: `On ${node} {{ $value | humanize }} established TCP connections a second of ${owner} end by a reset, over ${thresholds.suddenTimes.warning} times as many as an hour before. \`netvitals observe --type reset\` on the node shows who resets whom.`,
      severity: 'warning',
      for: '10m',
      threshold: thresholds.resetsPerSecond.warning,
      query: suddenly(
        (ago) => rate('netvitals_tcp_established_resets_total', {}, window, ago),
        thresholds.resetsPerSecond.warning,
        thresholds.suddenTimes.warning,
      ),
    },
    {
      name: 'NetvitalsConnectsUnanswered',
      summary: 'Connects get no answer',
      description: `{{ $value | humanizePercentage }} of the TCP connects from ${end('client')} to ${end('server')} get no answer: they time out, are given up by the client, or find nobody at the address. \`netvitals observe --type connect\` on a node of the client shows each.`,
      severity: 'warning',
      for: '10m',
      threshold: thresholds.failedConnectRatio.warning,
      query: failedRatio(thresholds.failedConnectRatio.warning, 'timed_out', 'abandoned', 'unreachable'),
    },
    {
      name: 'NetvitalsConnectsRefused',
      summary: 'Connects are refused',
      description: `{{ $value | humanizePercentage }} of the TCP connects from ${end('client')} to ${end('server')} are refused: nothing listens on the port, or a rule rejects them. \`netvitals observe --outcome refused\` on a node of the client shows each.`,
      severity: 'warning',
      for: '10m',
      threshold: thresholds.failedConnectRatio.warning,
      query: failedRatio(thresholds.failedConnectRatio.warning, 'refused'),
    },
    {
      name: 'NetvitalsTcpMemoryNearLimit',
      summary: 'TCP has nearly all the memory it may have',
      description: `On ${node} all TCP sockets together hold {{ $value | humanizePercentage }} of the memory they may have (net.ipv4.tcp_mem). The kernel shrinks their buffers already. \`netvitals show sockets --each\` on the node shows whose queues are full.`,
      severity: 'warning',
      for: '5m',
      threshold: thresholds.tcpMemoryRatio.warning,
      query: above(memoryRatio, thresholds.tcpMemoryRatio.warning),
    },
    {
      name: 'NetvitalsTcpMemoryFull',
      summary: 'TCP has no memory left',
      description: `On ${node} all TCP sockets together hold {{ $value | humanizePercentage }} of the memory they may have (net.ipv4.tcp_mem): segments are dropped and connections closed. \`netvitals show sockets --each\` on the node shows whose queues are full.`,
      severity: 'critical',
      for: '2m',
      threshold: thresholds.tcpMemoryRatio.fault,
      query: above(memoryRatio, thresholds.tcpMemoryRatio.fault),
    },
    {
      name: 'NetvitalsTcpMemoryPressure',
      summary: 'TCP runs short of memory again and again',
      description: `On ${node} TCP ran short of memory {{ $value | humanize }} times in a quarter of an hour, and shrank the buffers of all connections each time. The board TCP health shows how much it holds.`,
      severity: 'warning',
      for: '15m',
      threshold: thresholds.tcpMemoryPressures.warning,
      query: above(
        sumWithout(increase('netvitals_tcp_memory_pressures_total', {}, '15m'), 'namespace', 'pod'),
        thresholds.tcpMemoryPressures.warning,
      ),
    },
  ],
}
