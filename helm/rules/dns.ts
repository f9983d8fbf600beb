import { thresholds } from '../../agent/metrics/thresholds.ts'
import { above, and, buckets, countRate, quantile, rate, sum } from '../promql.ts'
import { type AlertGroup, node, ofAgent, ratio, window } from './rule.ts'

/** Of a namespace over all nodes: who asks is in the board, and one fault is one alert. */
const ofNamespace = ['cluster', 'job', 'namespace'] as const
/** Of less a second a few failures are a large share. */
const answersFloor = 0.5
const queriesFloor = 1

const responses = sum(rate('netvitals_dns_responses_total', {}, window), ...ofNamespace)
/** A name that is not there is an answer. */
const errors = sum(rate('netvitals_dns_responses_total', { rcode: { noneOf: ['NOERROR', 'NXDOMAIN'] } }, window), ...ofNamespace)
const unanswered = rate('netvitals_dns_unanswered_total', {}, window)
const queries = rate('netvitals_dns_queries_total', {}, window)
const durations = buckets('netvitals_dns_duration_seconds', {}, window)

const askers = '{{ with $labels.namespace }}the pods of {{ . }}{{ else }}the hosts{{ end }}'

export const dnsAlerts: AlertGroup = {
  topic: 'dns',
  alerts: [
    {
      name: 'NetvitalsDnsErrors',
      summary: 'DNS answers with errors',
      description: `{{ $value | humanizePercentage }} of the DNS answers to ${askers} are errors other than NXDOMAIN. \`netvitals observe --dns --not --rcode NOERROR,NXDOMAIN\` on a node shows names and servers.`,
      severity: 'warning',
      for: '10m',
      threshold: thresholds.dnsErrorRatio.warning,
      query: above(ratio(errors, responses, answersFloor), thresholds.dnsErrorRatio.warning),
    },
    {
      name: 'NetvitalsDnsUnanswered',
      summary: 'DNS queries get no answer',
      description: `{{ $value | humanizePercentage }} of the DNS queries of ${askers} have no answer after five seconds. \`netvitals observe --rcode unanswered\` on a node shows names and servers.`,
      severity: 'warning',
      for: '10m',
      threshold: thresholds.dnsUnansweredRatio.warning,
      query: above(
        ratio(sum(unanswered, ...ofNamespace), sum(queries, ...ofNamespace), queriesFloor),
        thresholds.dnsUnansweredRatio.warning,
      ),
    },
    {
      name: 'NetvitalsDnsNotAnswering',
      summary: 'DNS does not answer on a node',
      description: `On ${node} {{ $value | humanizePercentage }} of all DNS queries have no answer after five seconds: whatever looks up a name there waits, or fails. \`netvitals observe --rcode unanswered\` on the node shows which server.`,
      severity: 'critical',
      for: '5m',
      threshold: thresholds.dnsUnansweredRatio.fault,
      query: above(
        ratio(sum(unanswered, ...ofAgent), sum(queries, ...ofAgent), queriesFloor),
        thresholds.dnsUnansweredRatio.fault,
      ),
    },
    {
      name: 'NetvitalsDnsSlow',
      summary: 'DNS answers slowly',
      description: `One in twenty DNS queries of ${askers} takes longer than {{ $value | humanizeDuration }}. \`netvitals observe --dns\` on a node shows names, servers and times.`,
      severity: 'warning',
      for: '10m',
      threshold: thresholds.dnsSeconds.warning,
      query: and(
        above(quantile(0.95, sum(durations, 'le', ...ofNamespace)), thresholds.dnsSeconds.warning),
        above(sum(countRate('netvitals_dns_duration_seconds', {}, window), ...ofNamespace), queriesFloor),
      ),
    },
  ],
}
