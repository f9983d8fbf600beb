import { counter, type Scene, type Series, type Stretch, scaled, scraped, throughout, toScene } from './story.ts'

const asker = (namespace: string, node: string) => ({ ...scraped(node), namespace, pod: `web-on-${node}` })
const onBoth = (of: (node: string) => readonly Series[]): readonly Series[] => ['node-1', 'node-2'].flatMap(of)

/** Ten answers a second to pods on two nodes, one of them that a name is not there, and a share of errors. */
const answers = (namespace: string, ...stretches: readonly Stretch[]): readonly Series[] =>
  onBoth((node) => {
    const of = asker(namespace, node)
    const name = 'netvitals_dns_responses_total'
    return [
      counter(name, { ...of, rcode: 'NOERROR' }, ...scaled(stretches, (ratio) => 4.5 - 5 * ratio)),
      counter(name, { ...of, rcode: 'NXDOMAIN' }, throughout(stretches, 0.5)),
      counter(name, { ...of, rcode: 'SERVFAIL' }, ...scaled(stretches, (ratio) => 2.5 * ratio)),
      counter(name, { ...of, rcode: 'REFUSED' }, ...scaled(stretches, (ratio) => 2.5 * ratio)),
    ]
  })
/** Ten queries a second, of which a share has no answer. */
const queries = (of: Readonly<Record<string, string>>, ...stretches: readonly Stretch[]): readonly Series[] => [
  counter('netvitals_dns_queries_total', { ...of, qtype: 'A' }, throughout(stretches, 5)),
  counter('netvitals_dns_queries_total', { ...of, qtype: 'AAAA' }, throughout(stretches, 5)),
  counter('netvitals_dns_unanswered_total', of, ...scaled(stretches, (ratio) => 10 * ratio)),
]
const seldom = (perSecond: number): readonly Series[] => [
  counter('netvitals_dns_queries_total', { ...asker('seldom', 'node-1'), qtype: 'A' }, [100, perSecond]),
  counter('netvitals_dns_unanswered_total', asker('seldom', 'node-1'), [100, perSecond]),
]

/** The bucket in which half a second is. */
const [lower, upper] = [0.262144, 1.048576]
/** Ten answers a second, of which one in twenty takes longer than the level: as many are in the bucket as that takes. */
const durations = (namespace: string, ...stretches: readonly Stretch[]): readonly Series[] =>
  onBoth((node) => {
    const of = asker(namespace, node)
    const slowShare = (seconds: number): number => 0.05 / (1 - (seconds - lower) / (upper - lower))
    const bucket = (le: string, ...levels: readonly Stretch[]): Series =>
      counter('netvitals_dns_duration_seconds_bucket', { ...of, le }, ...levels)
    return [
      bucket('0.065536', throughout(stretches, 1)),
      bucket(String(lower), ...scaled(stretches, (seconds) => 5 * (1 - slowShare(seconds)))),
      bucket(String(upper), throughout(stretches, 5)),
      bucket('+Inf', throughout(stretches, 5)),
      counter('netvitals_dns_duration_seconds_count', of, throughout(stretches, 5)),
    ]
  })

const ofNamespace = { cluster: 'main', job: 'netvitals', namespace: 'fault' }

export const dnsScenes: readonly Scene[] = [
  toScene({
    alert: 'NetvitalsDnsErrors',
    series: answers,
    normal: 0,
    below: 0.045,
    fault: 0.055,
    burst: [4, 0.5],
    lag: 5,
    pending: 10,
    also: [counter('netvitals_dns_responses_total', { ...asker('seldom', 'node-1'), rcode: 'SERVFAIL' }, [100, 0.4])],
    labels: ofNamespace,
    description:
      '5.5% of the DNS answers to the pods of fault are errors other than NXDOMAIN. `netvitals observe --dns --not --rcode NOERROR,NXDOMAIN` on a node shows names and servers.',
  }),
  toScene({
    alert: 'NetvitalsDnsUnanswered',
    series: (namespace, ...stretches) => onBoth((node) => queries(asker(namespace, node), ...stretches)),
    normal: 0,
    below: 0.009,
    fault: 0.011,
    burst: [4, 0.5],
    lag: 5,
    pending: 10,
    also: seldom(0.9),
    labels: ofNamespace,
    description:
      '1.1% of the DNS queries of the pods of fault have no answer after five seconds. `netvitals observe --rcode unanswered` on a node shows names and servers.',
  }),
  // The hosts' own queries.
  toScene({
    alert: 'NetvitalsDnsUnanswered',
    series: (subject, ...stretches) => queries({ ...scraped('node-1'), job: subject, namespace: '', pod: '' }, ...stretches),
    normal: 0,
    below: 0.009,
    fault: 0.011,
    burst: [4, 0.5],
    lag: 5,
    pending: 10,
    labels: { cluster: 'main', job: 'fault' },
    description:
      '1.1% of the DNS queries of the hosts have no answer after five seconds. `netvitals observe --rcode unanswered` on a node shows names and servers.',
  }),
  toScene({
    alert: 'NetvitalsDnsNotAnswering',
    series: (node, ...stretches) => ['shop', 'data'].flatMap((namespace) => queries(asker(namespace, node), ...stretches)),
    normal: 0,
    below: 0.045,
    fault: 0.055,
    burst: [1, 1],
    lag: 5,
    pending: 5,
    also: seldom(0.9),
    labels: scraped('fault'),
    description:
      'On fault 5.5% of all DNS queries have no answer after five seconds: whatever looks up a name there waits, or fails. `netvitals observe --rcode unanswered` on the node shows which server.',
  }),
  toScene({
    alert: 'NetvitalsDnsSlow',
    series: durations,
    normal: 0.3,
    below: 0.45,
    fault: 0.55,
    burst: [4, 1],
    lag: 5,
    pending: 10,
    also: [
      counter('netvitals_dns_duration_seconds_bucket', { ...asker('seldom', 'node-1'), le: '1.048576' }, [100, 0]),
      counter('netvitals_dns_duration_seconds_bucket', { ...asker('seldom', 'node-1'), le: '4.194304' }, [100, 0.9]),
      counter('netvitals_dns_duration_seconds_bucket', { ...asker('seldom', 'node-1'), le: '+Inf' }, [100, 0.9]),
      counter('netvitals_dns_duration_seconds_count', asker('seldom', 'node-1'), [100, 0.9]),
    ],
    labels: ofNamespace,
    description:
      'One in twenty DNS queries of the pods of fault takes longer than 550ms. `netvitals observe --dns` on a node shows names, servers and times.',
  }),
]
