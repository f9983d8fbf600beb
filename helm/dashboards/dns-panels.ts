import { thresholds } from '../../agent/metrics/thresholds.ts'
import {
  above,
  and,
  buckets,
  function_,
  increase,
  type LabelOf,
  like,
  or,
  orZero,
  type Query,
  quantile,
  rate,
  share,
  shownWindow,
  stepWindow,
  subtract,
  sum,
  topk,
  withWorkload,
} from '../promql.ts'
import type { Panel, Table, Target } from './board.ts'
import { here, inPods, inWorkloads } from './variables.ts'

// What both boards of DNS show: of all that is on the nodes, or of the pods of workloads.

type Identity = 'job' | 'instance' | 'namespace' | 'pod'
/** Of a query what the board is about. */
type Narrow = <L extends string>(of: Query<L | Identity>) => Query<L | Identity>
const toWorkloads: Narrow = (of) => withWorkload(of as Query<Identity>, inWorkloads) as typeof of

const podsHere = { ...here, pod: like('.+') } as const
const hostsHere = { ...here, pod: '' } as const

const growth = (grow: typeof rate, window: string, match: typeof here | typeof inPods | typeof hostsHere, narrow: Narrow) => ({
  requests: narrow(grow('netvitals_dns_queries_total', match, window)),
  responses: narrow(grow('netvitals_dns_responses_total', match, window)),
  good: narrow(grow('netvitals_dns_responses_total', { ...match, rcode: 'NOERROR' }, window)),
  failed: narrow(grow('netvitals_dns_responses_total', { ...match, rcode: { noneOf: ['NOERROR'] } }, window)),
  unknownNames: narrow(grow('netvitals_dns_responses_total', { ...match, rcode: 'NXDOMAIN' }, window)),
  // That a name is not there is an answer like others.
  errors: narrow(grow('netvitals_dns_responses_total', { ...match, rcode: { noneOf: ['NOERROR', 'NXDOMAIN'] } }, window)),
  missing: narrow(grow('netvitals_dns_unanswered_total', match, window)),
  searchFailures: narrow(grow('netvitals_dns_search_failures_total', match, window)),
  truncated: narrow(grow('netvitals_dns_truncated_total', match, window)),
  addresses: narrow(grow('netvitals_dns_response_addresses_total', match, window)),
  served: narrow(grow('netvitals_dns_served_total', match, window)),
  servedFailed: narrow(grow('netvitals_dns_served_total', { ...match, rcode: { noneOf: ['NOERROR'] } }, window)),
  durations: narrow(buckets('netvitals_dns_duration_seconds', match, window)),
})
type Growth = ReturnType<typeof growth>
type Label = LabelOf<'netvitals_dns_queries_total' | 'netvitals_dns_responses_total'>

/** Of the nodes of a cluster all that is on them, or of pods those of the workloads that were chosen. */
export type DnsScope = 'cluster' | 'workload'

const asIs: Narrow = (of) => of
const ofScope = {
  cluster: {
    all: growth(rate, stepWindow, here, asIs),
    pods: growth(rate, stepWindow, podsHere, asIs),
    hosts: growth(rate, stepWindow, hostsHere, asIs),
    podsInTimeShown: growth(increase, shownWindow, podsHere, asIs),
  },
  workload: {
    all: growth(rate, stepWindow, inPods, toWorkloads),
    pods: growth(rate, stepWindow, inPods, toWorkloads),
    hosts: undefined,
    podsInTimeShown: growth(increase, shownWindow, inPods, toWorkloads),
  },
} as const

/** Nothing where nothing was asked. */
const percentile = <B extends Label = never>(part: number, { durations }: Growth, ...by: readonly B[]): Query<B> =>
  above(quantile(part, sum<Label | 'le', B | 'le'>(durations, 'le', ...by)), 0) as Query<B>

/** The pods with the most of something, and the hosts if they are among those looked at. */
function most(scope: DnsScope, pick: (of: Growth) => Query<Label>): readonly Target[] {
  const { pods, hosts } = ofScope[scope]
  const legend = '{{namespace}}/{{pod}}'
  if (hosts === undefined) return [{ query: topk(20, above(sum(pick(pods), 'namespace', 'pod'), 0)), legend }]
  return [
    { query: topk(15, above(sum(pick(pods), 'namespace', 'pod'), 0)), legend },
    { query: topk(5, above(sum(pick(hosts), 'node'), 0)), legend: 'host {{node}}' },
  ]
}

const notCaptured = 'No packet of DNS was captured: it takes the tier capture of the chart, or CAP_NET_RAW'
const nothing = {
  cluster: { number: 'Not captured', asked: notCaptured },
  workload: { number: 'Nothing asked', asked: 'These pods asked for no name, or no packet is captured: see DNS (Cluster)' },
} as const

/** A panel for each question, in the order in which one asks. */
export function dnsPanels(scope: DnsScope) {
  const { all, pods, hosts, podsInTimeShown } = ofScope[scope]
  const { number, asked } = nothing[scope]
  // What failed only because of the search list is asked again, and answered.
  const reallyUnknownNames = function_(
    'clamp_min',
    subtract(sum(all.unknownNames), orZero(sum(all.searchFailures), sum(all.unknownNames))),
    0,
  )
  const shares = {
    missing: share(sum(all.missing), sum(all.requests)),
    errors: share(sum(all.errors), sum(all.responses)),
    unknownNames: share(reallyUnknownNames, sum(all.responses)),
    searchFailures: share(sum(all.searchFailures), sum(all.requests)),
  }

  return {
    requestsNow: {
      kind: 'stat',
      title: 'DNS requests',
      description: `DNS queries a second, each once however many devices it crosses. ${scope === 'cluster' ? 'A query that a DNS server forwards is one of its own as well. ' : ''}Far more than usual: something asks for the same names over and over; see who, below, and what, with \`netvitals observe --dns -f\`.`,
      unit: 'reqps',
      empty: number,
      targets: [{ query: sum(all.requests), legend: 'requests' }],
    },
    missingNow: {
      kind: 'stat',
      title: 'DNS missing responses',
      description:
        'Queries without a response after five seconds, of all queries. Each of them makes somebody wait: `netvitals observe --rcode unanswered` shows who asked whom. Then see whether packets are lost on the way (Drops, Conntrack) or the server does not answer.',
      unit: 'percentunit',
      empty: number,
      levels: thresholds.dnsUnansweredRatio,
      targets: [{ query: shares.missing, legend: 'missing' }],
    },
    errorsNow: {
      kind: 'stat',
      title: 'DNS errors (SERVFAIL, REFUSED …)',
      description:
        'Responses with an error, of all responses; NXDOMAIN is none of them. SERVFAIL is mostly a server that gets no answer from the one that it asks itself, REFUSED one that does not answer this client. `netvitals observe --rcode SERVFAIL,REFUSED` shows for which names.',
      unit: 'percentunit',
      empty: number,
      levels: thresholds.dnsErrorRatio,
      targets: [{ query: shares.errors, legend: 'errors' }],
    },
    unknownNamesNow: {
      kind: 'stat',
      title: 'NXDOMAIN',
      description:
        'Responses that a name is not there, of all responses; those that only the search list is to blame for are left out. More than usual: a name is misspelt, a Service is gone, or a zone is broken. `netvitals observe --rcode NXDOMAIN` shows the names.',
      unit: 'percentunit',
      empty: number,
      targets: [{ query: shares.unknownNames, legend: 'NXDOMAIN' }],
    },
    latencyNow: {
      kind: 'stat',
      title: 'DNS latency p95',
      description:
        'Nineteen of twenty responses came in this time or less. High: servers are overloaded, or wait for others; the rows below tell for whom. What was never answered has no time: look at missing responses too.',
      unit: 's',
      empty: 'No response',
      levels: thresholds.dnsSeconds,
      targets: [{ query: percentile(0.95, all), legend: 'p95' }],
    },
    searchFailuresNow: {
      kind: 'stat',
      title: 'Search-list failures (ndots)',
      description:
        "Queries that failed only because a suffix of the pod's search list was appended, of all queries. High: names with fewer dots than `ndots` in resolv.conf are tried with each suffix first. Write them with a dot at their end, or lower `ndots` in the pod's dnsConfig.",
      unit: 'percentunit',
      empty: number,
      levels: thresholds.dnsSearchFailureRatio,
      targets: [{ query: shares.searchFailures, legend: 'search list' }],
    },
    requests: {
      kind: 'graph',
      title: 'DNS requests and responses',
      description:
        'Queries and responses a second, and queries that stayed without a response for five seconds. Requests and responses lie on each other while all is well; where they part, responses are missing. `netvitals observe --rcode unanswered -f` shows them as they happen.',
      unit: 'reqps',
      empty: asked,
      targets: [
        { query: sum(all.requests), legend: 'requests' },
        { query: sum(all.responses), legend: 'responses' },
        { query: orZero(sum(all.missing), sum(all.requests)), legend: 'missing responses' },
      ],
      colours: { 'missing responses': 'red' },
    },
    failures: {
      kind: 'graph',
      title: 'DNS errors by type (NXDOMAIN, SERVFAIL …)',
      description:
        'Responses a second by their code, those without an error left out, and queries without any response. SERVFAIL and REFUSED: ask the servers why. NXDOMAIN that rises alone: search lists, see below, or a name that is gone; `netvitals observe --rcode NXDOMAIN,SERVFAIL` shows the names.',
      unit: 'reqps',
      empty: 'No request failed',
      targets: [
        { query: above(sum(all.failed, 'rcode'), 0), legend: '{{rcode}}' },
        { query: above(sum(all.missing), 0), legend: 'missing response' },
      ],
      colours: { 'missing response': 'red' },
    },
    shares: {
      kind: 'graph',
      title: 'DNS failure ratio',
      description:
        'Of all queries those without a response and those that only the search list made fail; of all responses those with an error and those that a name is not there. A step upwards dates the fault. Compare with what was rolled out then, and with the latency beside it.',
      unit: 'percentunit',
      max: 1,
      empty: asked,
      targets: [
        { query: shares.missing, legend: 'missing responses' },
        { query: shares.errors, legend: 'errors' },
        { query: shares.unknownNames, legend: 'NXDOMAIN' },
        { query: shares.searchFailures, legend: 'search-list failures' },
      ],
      colours: { 'missing responses': 'red', errors: 'orange' },
    },
    latency: {
      kind: 'graph',
      title: 'DNS latency percentiles',
      description:
        'From query to response: half, 95 % and 99 % of the responses came in this time or less, estimated within buckets that grow by four. p50 high: the servers are slow for all; only p99 high: some names or some servers are. `netvitals observe --dns` shows single queries with their server and time.',
      unit: 's',
      empty: 'No response',
      levels: thresholds.dnsSeconds,
      targets: [
        { query: percentile(0.5, all), legend: 'p50' },
        { query: percentile(0.95, all), legend: 'p95' },
        { query: percentile(0.99, all), legend: 'p99' },
      ],
    },
    latencyBuckets: {
      kind: 'heatmap',
      rows: 'buckets',
      title: 'DNS latency heat map',
      description:
        'How many responses took how long: a row is a span of time, a dark cell many responses. Two dark bands are two kinds of answers, such as those from a cache and those from outside. A band that rises is a server that slows down.',
      unit: 's',
      empty: 'No response',
      target: { query: sum(all.durations, 'le'), legend: '{{le}}' },
    },
    slowest: {
      kind: 'graph',
      title: 'Top pods by DNS latency p95',
      description:
        'For whom it takes longest: 95 % of the responses to this pod came in this time or less. One pod alone: its node, its names or its own servers; all pods: the servers. `netvitals observe --dns --pod NAMESPACE/POD` shows its queries.',
      unit: 's',
      empty: 'No response',
      levels: thresholds.dnsSeconds,
      targets:
        hosts === undefined
          ? [{ query: topk(20, percentile(0.95, pods, 'namespace', 'pod')), legend: '{{namespace}}/{{pod}}' }]
          : [
              { query: topk(15, percentile(0.95, pods, 'namespace', 'pod')), legend: '{{namespace}}/{{pod}}' },
              { query: topk(5, percentile(0.95, hosts, 'node')), legend: 'host {{node}}' },
            ],
    },
    podsWithErrors: {
      kind: 'graph',
      title: 'Top pods with DNS errors',
      description:
        'Who gets responses with an error, NXDOMAIN left out. One pod alone asks for something that nobody can resolve; many at once have one server in common. `netvitals observe --rcode SERVFAIL,REFUSED --pod NAMESPACE/POD` shows the names and the server.',
      unit: 'reqps',
      empty: 'No pod got an error',
      targets: most(scope, ({ errors }) => errors),
    },
    podsWithMissing: {
      kind: 'graph',
      title: 'Top pods with missing DNS responses',
      description:
        'Whose queries stay without a response for five seconds. Pods of one node: packets are lost there, see Drops and Conntrack, where A and AAAA sent at once may collide (insert failed). Pods everywhere: the server does not answer, see which servers do.',
      unit: 'reqps',
      empty: 'Every request was answered',
      targets: most(scope, ({ missing }) => missing),
    },
    podsWithSearchFailures: {
      kind: 'graph',
      title: 'Top pods with search-list failures (ndots)',
      description:
        "Queries a second that failed only because a suffix of the search list was appended. Each name costs such a pod several queries instead of one, twice that with AAAA. Write names with a dot at their end, or lower `ndots` in the pod's dnsConfig.",
      unit: 'reqps',
      empty: 'No name was tried with a suffix in vain',
      targets: most(scope, ({ searchFailures }) => searchFailures),
    },
    byType: {
      kind: 'graph',
      title: 'DNS requests by type (A, AAAA …)',
      description:
        'What is asked for. A and AAAA lie together where programs ask for both; AAAA without use of IPv6 are queries for nothing. Many PTR or TXT come from programs that look up addresses or keys: `netvitals observe --qtype PTR` shows whose.',
      unit: 'reqps',
      isStacked: true,
      empty: asked,
      targets: [{ query: above(sum(all.requests, 'qtype'), 0), legend: '{{qtype}}' }],
    },
    addresses: {
      kind: 'graph',
      title: 'Addresses returned (A, AAAA records)',
      description:
        'Addresses a second in all responses, beside the responses without an error. Fewer addresses than responses: names are there and have no address of that type, as with AAAA where there is no IPv6, or Services without endpoints. `netvitals observe --rcode NOERROR` shows how many each response had.',
      unit: 'short',
      empty: asked,
      targets: [
        { query: sum(all.addresses), legend: 'addresses' },
        { query: sum(all.good), legend: 'responses without an error' },
      ],
    },
    truncated: {
      kind: 'graph',
      title: 'Truncated DNS responses (TCP fallback)',
      description:
        'Responses that did not fit a datagram: the query is asked again by TCP, which takes longer, and fails where a policy lets only UDP through. High: names with very many addresses, or large TXT records. A larger EDNS buffer helps, or fewer records.',
      unit: 'reqps',
      empty: 'No response was truncated',
      targets: most(scope, ({ truncated }) => truncated),
    },
    served: {
      kind: 'graph',
      title: 'Responses served by code',
      description:
        'Responses that the DNS servers among these pods and nodes gave, to anybody. Errors here are their own or of those they ask; errors that clients get and nobody here serves come from servers outside. Servers without an agent on their node are not seen.',
      unit: 'reqps',
      isStacked: true,
      empty: 'None of them answers DNS',
      targets: [{ query: above(sum(all.served, 'rcode'), 0), legend: '{{rcode}}' }],
    },
    servers: {
      kind: 'graph',
      title: 'DNS servers by responses',
      description:
        'Who answers, and how much. Servers of one Service should have like shares: one far above the others has clients that stay with it, one that falls to nothing is down or cut off. `netvitals observe --dns --to-pod NAMESPACE/POD` shows what it is asked.',
      unit: 'reqps',
      empty: 'None of them answers DNS',
      targets: most(scope, ({ served }) => served),
    },
    failingServers: {
      kind: 'graph',
      title: 'DNS servers by errors and NXDOMAIN',
      description:
        'Who answers with what, responses without an error left out. SERVFAIL from one server alone: look at its log; from all: the servers that they ask themselves. Much NXDOMAIN is most often the search lists of clients.',
      unit: 'reqps',
      empty: 'No server answered with an error',
      targets: [
        {
          query: topk(hosts === undefined ? 20 : 15, above(sum(pods.servedFailed, 'namespace', 'pod', 'rcode'), 0)),
          legend: '{{namespace}}/{{pod}} {{rcode}}',
        },
        ...(hosts === undefined
          ? []
          : [{ query: topk(5, above(sum(hosts.servedFailed, 'node', 'rcode'), 0)), legend: 'host {{node}} {{rcode}}' }]),
      ],
    },
    podTable: {
      kind: 'table',
      ...(scope === 'cluster'
        ? { title: 'Pods with DNS errors or missing responses', empty: 'No pod had an error or a missing response' }
        : { title: 'DNS by pod', empty: asked }),
      description: `In the whole time shown: the ${scope === 'cluster' ? 'twenty pods with the most errors and missing responses' : 'twenty pods that asked most'}. Missing and errors are what makes programs fail or wait; NXDOMAIN beside as many search-list failures harms nobody. Read a row with \`netvitals observe --dns --pod NAMESPACE/POD\`.`,
      labels: { namespace: 'Namespace', pod: 'Pod' },
      sortBy: scope === 'cluster' ? 'Missing' : 'Requests',
      columns: podColumns(scope, podsInTimeShown),
    },
  } as const satisfies Record<string, Panel>
}

function podColumns(scope: DnsScope, growthOfPods: Growth): Table['columns'] {
  const { requests, missing, errors, unknownNames, searchFailures } = growthOfPods
  const byPod = (of: Query<Label>) => sum(of, 'namespace', 'pod')
  const rows = topk(20, scope === 'cluster' ? above(byPod(or<Label, Label>(errors, missing)), 0) : byPod(requests))
  const total = (of: Query<Label>) => function_('round', and(byPod(of), rows))
  return [
    { heading: 'Requests', unit: 'short', query: total(requests) },
    { heading: 'Missing', unit: 'short', query: total(missing), levels: { fault: 1 } },
    { heading: 'Errors', unit: 'short', query: total(errors), levels: { fault: 1 } },
    { heading: 'NXDOMAIN', unit: 'short', query: total(unknownNames) },
    { heading: 'Search-list failures', unit: 'short', query: total(searchFailures) },
    {
      heading: 'Latency p95',
      unit: 's',
      query: and(percentile(0.95, growthOfPods, 'namespace', 'pod'), rows),
      levels: thresholds.dnsSeconds,
    },
  ]
}
