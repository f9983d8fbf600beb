import { thresholds } from '../../agent/metrics/thresholds.ts'
import { above, absent, and, equals, highest, isUp, like, max, or, rate, value } from '../promql.ts'
import { type AlertGroup, node, window } from './rule.ts'

/** What the scrape job is called is its owner's; an agent of any other name is known for so long after its last answer. */
const known = max(highest('netvitals_build_info', {}, '3h'), 'cluster', 'job', 'instance')
const down = or(equals(isUp({ job: like('.*netvitals.*') }), 0), and(equals(isUp({}), 0), known, 'cluster', 'job', 'instance'))

export const agentAlerts: AlertGroup = {
  topic: 'agent',
  alerts: [
    {
      name: 'NetvitalsAgentDown',
      summary: 'An agent does not answer',
      description: `The netvitals agent at {{ $labels.instance }} (job {{ $labels.job }}) cannot be scraped: no other alert of ${node} can fire.`,
      severity: 'warning',
      for: '10m',
      query: down,
    },
    {
      name: 'NetvitalsAgentsAbsent',
      summary: 'There are no metrics of netvitals at all',
      description:
        'Prometheus has no metrics of any netvitals agent: they are not scraped, or all of them are down. No other alert of netvitals can fire.',
      severity: 'critical',
      for: '15m',
      query: absent(value('netvitals_build_info', {})),
    },
    {
      name: 'NetvitalsSourceFailing',
      summary: 'A source of the agent fails',
      description: `On ${node} the source {{ $labels.source }} of the agent fails in every sweep: its metrics are missing. \`netvitals check\` on the node says why.`,
      severity: 'warning',
      for: '10m',
      query: equals(value('netvitals_source_success', {}), 0),
    },
    {
      name: 'NetvitalsEventsLost',
      summary: 'The agent cannot count everything',
      description: `On ${node} the agent loses {{ $value | humanize }} events a second ({{ $labels.kind }}): what they belong to is counted too low.`,
      severity: 'warning',
      for: '15m',
      threshold: thresholds.lostEventsPerSecond.warning,
      // A reader of single events that is slow misses some, and no metric does.
      query: above(
        rate('netvitals_lost_events_total', { kind: { noneOf: ['slow_client'] } }, window),
        thresholds.lostEventsPerSecond.warning,
      ),
    },
    {
      name: 'NetvitalsSeriesDropped',
      summary: 'The agent leaves series out',
      description: `On ${node} the agent leaves {{ $value | humanize }} values a second out, because a limit of series is reached: there are pods, ports or edges that no metric shows.`,
      severity: 'warning',
      for: '15m',
      threshold: 0,
      query: above(rate('netvitals_series_dropped_total', {}, window), 0),
    },
    {
      name: 'NetvitalsNamesNotComing',
      summary: 'The agent gets no names of pods',
      description: `On ${node} the agent gets no names ({{ $labels.provider }}): what it knows stays, but new pods have no metrics. \`netvitals check\` on the node says why.`,
      severity: 'warning',
      for: '10m',
      query: equals(value('netvitals_names_up', {}), 0),
    },
  ],
}
