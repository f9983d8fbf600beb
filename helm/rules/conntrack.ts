import { thresholds } from '../../agent/metrics/thresholds.ts'
import { above, and, below, divide, growth, rate, subtract, value } from '../promql.ts'
import { type AlertGroup, node, owner, ratio, window } from './rule.ts'

const entries = value('netvitals_conntrack_entries', {})
const limit = value('netvitals_conntrack_entries_limit', {})
/** 0 is no limit, of which there is no share. */
const fill = ratio(entries, limit)
/** By what the table has grown in an hour; one that shrinks is never full. */
const secondsLeft = divide(subtract(limit, entries), above(growth('netvitals_conntrack_entries', {}, '1h'), 0))
/** An emptier table grows every morning. */
const forecastFrom = 0.5
/** What was a burst, and is over, still tilts the line through an hour. */
const isGrowing = above(growth('netvitals_conntrack_entries', {}, '15m'), 0)

export const conntrackAlerts: AlertGroup = {
  topic: 'conntrack',
  alerts: [
    {
      name: 'NetvitalsConntrackNearlyFull',
      summary: 'Connection tracking table is nearly full',
      description: `On ${node} ${owner} uses {{ $value | humanizePercentage }} of its connection tracking table. When it is full, packets of new connections are dropped. The board Conntrack shows which pods fill it.`,
      severity: 'warning',
      for: '5m',
      threshold: thresholds.conntrackRatio.warning,
      query: above(fill, thresholds.conntrackRatio.warning),
    },
    {
      name: 'NetvitalsConntrackFull',
      summary: 'Connection tracking table is full',
      description: `On ${node} ${owner} uses {{ $value | humanizePercentage }} of its connection tracking table: new connections are dropped, or will be in a moment. Raise net.netfilter.nf_conntrack_max now, then look in the board Conntrack for who fills it.`,
      severity: 'critical',
      for: '2m',
      threshold: thresholds.conntrackRatio.fault,
      query: above(fill, thresholds.conntrackRatio.fault),
    },
    {
      name: 'NetvitalsConntrackFillingUp',
      summary: 'Connection tracking table will be full in a few hours',
      description: `On ${node} the connection tracking table of ${owner} is over half full, and by its growth in the last hour full in {{ $value | humanizeDuration }}. The board Conntrack shows which pods fill it.`,
      severity: 'warning',
      for: '15m',
      threshold: thresholds.conntrackForecastSeconds.warning,
      query: and(
        and(below(secondsLeft, thresholds.conntrackForecastSeconds.warning), above(fill, forecastFrom)),
        and(isGrowing, value('netvitals_conntrack_entries', {}, '1h')),
      ),
    },
    {
      name: 'NetvitalsConntrackDropping',
      summary: 'Connection tracking drops packets',
      description: `On ${node} connection tracking of ${owner} drops {{ $value | humanize }} packets a second: its table is full, it has no memory, or NAT finds no free port. Whoever they belong to sees connects that time out.`,
      severity: 'critical',
      for: '5m',
      threshold: thresholds.conntrackDropsPerSecond.fault,
      query: above(rate('netvitals_conntrack_drop_total', {}, window), thresholds.conntrackDropsPerSecond.fault),
    },
    {
      name: 'NetvitalsConntrackInsertFailures',
      summary: 'Connection tracking cannot insert entries',
      description: `On ${node} connection tracking of ${owner} fails to insert {{ $value | humanize }} entries a second, and drops the packet of each: two packets of one connection raced, or NAT gave two connections the same port. A DNS query that is lost so takes five seconds longer.`,
      severity: 'warning',
      for: '15m',
      threshold: thresholds.conntrackInsertFailuresPerSecond.warning,
      query: above(
        rate('netvitals_conntrack_insert_failed_total', {}, window),
        thresholds.conntrackInsertFailuresPerSecond.warning,
      ),
    },
  ],
}
