import { thresholds } from '../../agent/metrics/thresholds.ts'
import { above, highest, lowest, rate, subtract, value } from '../promql.ts'
import { type AlertGroup, node, owner, ratio, window } from './rule.ts'

const closeWait = { state: 'close_wait' } as const
/** The fewest of this half hour, less the most of the one an hour before: those that came and have not gone. */
const closeWaitGrowth = subtract(
  lowest('netvitals_tcp_sockets', closeWait, '30m'),
  highest('netvitals_tcp_sockets', closeWait, '30m', '90m'),
)

export const socketAlerts: AlertGroup = {
  topic: 'sockets',
  alerts: [
    {
      name: 'NetvitalsCloseWait',
      summary: 'Sockets pile up in CLOSE_WAIT',
      description: `On ${node} ${owner} has {{ $value }} TCP sockets in CLOSE_WAIT: the other end has closed, the application has not. \`netvitals show sockets --state close-wait\` on the node names the process.`,
      severity: 'warning',
      for: '15m',
      threshold: thresholds.closeWaitSockets.warning,
      query: above(value('netvitals_tcp_sockets', closeWait), thresholds.closeWaitSockets.warning),
    },
    {
      name: 'NetvitalsCloseWaitGrowing',
      summary: 'Sockets in CLOSE_WAIT become more and more',
      description: `On ${node} ${owner} has {{ $value | humanize }} TCP sockets in CLOSE_WAIT more than an hour before, and none of them goes: the application leaks connections. \`netvitals show sockets --state close-wait\` on the node names the process.`,
      severity: 'warning',
      for: '15m',
      threshold: thresholds.closeWaitGrowth.warning,
      query: above(closeWaitGrowth, thresholds.closeWaitGrowth.warning),
    },
    {
      name: 'NetvitalsSynRecvFlood',
      summary: 'Many handshakes are half done',
      description: `On ${node} ${owner} has {{ $value }} TCP sockets in SYN_RECV: the last step of their handshake does not come. It is a SYN flood, or the answers do not reach the clients. \`netvitals show sockets --state syn-recv\` on the node shows who calls.`,
      severity: 'warning',
      for: '5m',
      threshold: thresholds.synRecvSockets.warning,
      query: above(value('netvitals_tcp_sockets', { state: 'syn_recv' }), thresholds.synRecvSockets.warning),
    },
    {
      name: 'NetvitalsSynSentStuck',
      summary: 'Many connects wait for an answer',
      description: `On ${node} ${owner} has {{ $value }} TCP sockets in SYN_SENT: whom it calls does not answer. \`netvitals show sockets --state syn-sent\` on the node shows whom.`,
      severity: 'warning',
      for: '5m',
      threshold: thresholds.synSentSockets.warning,
      query: above(value('netvitals_tcp_sockets', { state: 'syn_sent' }), thresholds.synSentSockets.warning),
    },
    {
      name: 'NetvitalsTimeWait',
      summary: 'Many sockets are in TIME_WAIT',
      description: `On ${node} ${owner} has {{ $value }} TCP sockets in TIME_WAIT: it opens and closes connections very often. That costs ports, and latency of each connect; keeping connections open avoids it.`,
      severity: 'info',
      for: '15m',
      threshold: thresholds.timeWaitSockets.warning,
      query: above(value('netvitals_tcp_sockets', { state: 'time_wait' }), thresholds.timeWaitSockets.warning),
    },
    {
      name: 'NetvitalsFinWait2',
      summary: 'Sockets pile up in FIN_WAIT2',
      description: `On ${node} ${owner} has {{ $value }} TCP sockets in FIN_WAIT2: it has closed, the other ends have not. \`netvitals show sockets --state fin-wait2\` on the node shows who they are; they leak connections.`,
      severity: 'warning',
      for: '15m',
      threshold: thresholds.finWait2Sockets.warning,
      query: above(value('netvitals_tcp_sockets', { state: 'fin_wait2' }), thresholds.finWait2Sockets.warning),
    },
    {
      name: 'NetvitalsEphemeralPortsNearlyExhausted',
      summary: 'Ephemeral ports towards one destination run out',
      description: `On ${node} ${owner} uses {{ $value | humanizePercentage }} of its ephemeral ports towards one destination. When there are no more, connects to it fail at once. \`netvitals show sockets\` on the node shows where they lead.`,
      severity: 'warning',
      for: '5m',
      threshold: thresholds.ephemeralPortsRatio.warning,
      query: above(
        ratio(value('netvitals_tcp_ephemeral_ports_in_use', {}), value('netvitals_tcp_ephemeral_ports', {})),
        thresholds.ephemeralPortsRatio.warning,
      ),
    },
    {
      name: 'NetvitalsConnectsWithoutPort',
      summary: 'Connects fail because no local port is free',
      description: `On ${node} {{ $value | humanize }} connects a second of ${owner} find no free local port and fail at once (EADDRNOTAVAIL). \`netvitals observe --outcome no_port\` on the node shows where to.`,
      severity: 'critical',
      for: '5m',
      threshold: thresholds.portlessConnectsPerSecond.fault,
      query: above(
        rate('netvitals_tcp_connects_total', { outcome: 'no_port' }, window),
        thresholds.portlessConnectsPerSecond.fault,
      ),
    },
    {
      name: 'NetvitalsAcceptQueueOverflow',
      summary: 'Connections are dropped because an accept queue is full',
      description: `On ${node} a listener of ${owner} drops {{ $value | humanize }} connections a second, because too many wait to be accepted. Their clients try again after a second or more. \`netvitals show sockets --state listen\` on the node shows which port.`,
      severity: 'warning',
      for: '10m',
      keepFiringFor: '10m',
      threshold: thresholds.listenOverflowsPerSecond.warning,
      query: above(rate('netvitals_tcp_listen_overflows_total', {}, window), thresholds.listenOverflowsPerSecond.warning),
    },
    {
      name: 'NetvitalsAcceptQueueNearlyFull',
      summary: 'Accept queue of a listener is nearly full',
      description: `On ${node} the accept queue of a listener of ${owner} is {{ $value | humanizePercentage }} full: the application takes new connections too slowly. \`netvitals show sockets --state listen\` on the node shows which port.`,
      severity: 'warning',
      for: '5m',
      threshold: thresholds.listenQueueRatio.warning,
      query: above(value('netvitals_tcp_listen_queue_fullest_ratio', {}), thresholds.listenQueueRatio.warning),
    },
  ],
}
