import { expect, it } from 'vitest'
import {
  above,
  absent,
  and,
  buckets,
  divide,
  equals,
  growth,
  highest,
  increase,
  isUp,
  labelJoin,
  labelled,
  labelReplace,
  like,
  lowest,
  quantile,
  rate,
  share,
  sum,
  sumWithout,
  topk,
  unlike,
  value,
  withWorkload,
} from '../../helm/promql.ts'

const drops = 'netvitals_dropped_packets_total'
const sockets = 'netvitals_tcp_sockets'

it('writes matchers, ranges and aggregations', () => {
  const match = {
    node: like('$node'),
    category: { noneOf: ['normal'] },
    direction: { anyOf: ['in', 'out'] },
    reason: 'x"y',
  } as const
  expect(rate(drops, match).text).toBe(
    `rate(${drops}{node=~"$node", category!~"normal", direction=~"in|out", reason="x\\"y"}[$__rate_interval])`,
  )
  expect(value(sockets, { pod: [like('$pod'), ''] }).text).toBe(`${sockets}{pod=~"$pod", pod=""}`)
  expect(sum(increase(drops, {}, '5m')).text).toBe(`sum(increase(${drops}[5m]))`)
  expect(topk(20, sum(value(sockets, {}), 'namespace', 'pod')).text).toBe(`topk(20, sum by (namespace, pod) (${sockets}))`)
  expect(quantile(0.95, sum(buckets('netvitals_dns_duration_seconds', {}), 'le', 'pod')).text).toBe(
    'histogram_quantile(0.95, sum by (le, pod) (increase(netvitals_dns_duration_seconds_bucket[$__rate_interval])))',
  )
  expect(value(sockets, { namespace: unlike('@.+') }).text).toBe(`${sockets}{namespace!~"@.+"}`)
  expect(highest(sockets, {}).text).toBe(`max_over_time(${sockets}[$__range])`)
  expect(growth(sockets, { pod: 'shop' }, '1h').text).toBe(`deriv(${sockets}{pod="shop"}[1h])`)
})

it('makes labels of labels', () => {
  const joined = labelJoin(value(sockets, {}), 'whose', '/', 'namespace', 'pod')
  expect(joined.text).toBe(`label_join(${sockets}, "whose", "/", "namespace", "pod")`)
  expect(labelReplace(joined, 'whose', '$1', 'whose', '([^/]+)/\\d').text).toBe(
    `label_replace(${joined.text}, "whose", "$1", "whose", "([^/]+)/\\\\d")`,
  )
})

it('puts what binds weaker in parentheses', () => {
  const ratio = divide(value('netvitals_conntrack_entries', {}), value('netvitals_conntrack_entries_limit', {}))
  expect(ratio.text).toBe('netvitals_conntrack_entries\n/ netvitals_conntrack_entries_limit')
  expect(and(above(ratio, 0.8), ratio, 'node').text).toBe(`((${ratio.text})\n> 0.8)\nand on (node) (${ratio.text})`)
})

it('divides a part by its whole', () => {
  const [part, whole] = [sum(rate(drops, { category: 'mtu' })), sum(rate(drops, {}))]
  expect(share(part, whole).text).toBe(`(${part.text}\nor (${whole.text}\n* 0))\n/ (${whole.text}\n> 0)`)
})

it('looks back, leaves labels out, adds some, and asks what is not there', () => {
  expect(rate(drops, {}, '5m', '1h').text).toBe(`rate(${drops}[5m] offset 1h)`)
  expect(value(sockets, { state: 'listen' }, '1h').text).toBe(`${sockets}{state="listen"} offset 1h`)
  expect(lowest(sockets, {}, '30m').text).toBe(`min_over_time(${sockets}[30m])`)
  expect(highest(sockets, {}, '30m', '90m').text).toBe(`max_over_time(${sockets}[30m] offset 90m)`)
  expect(sumWithout(rate(drops, {}, '5m'), 'reason', 'protocol').text).toBe(`sum without (reason, protocol) (rate(${drops}[5m]))`)
  expect(labelled(value(sockets, {}), 'device', 'none').text).toBe(`label_replace(${sockets}, "device", "none", "", "")`)
  expect(equals(isUp({ job: like('.*x.*') }), 0).text).toBe('up{job=~".*x.*"}\n== 0')
  expect(absent(value(sockets, {})).text).toBe(`absent(${sockets})`)
})

it('gives pods their workload', () => {
  expect(withWorkload(value(sockets, { state: 'close_wait' }), { workload: like('$workload') }).text).toBe(
    `${sockets}{state="close_wait"}\n* on (job, instance, namespace, pod) group_left (workload, workload_type) netvitals_pod_info{workload=~"$workload"}`,
  )
})

it('lets nothing through that the catalogue has not', () => {
  // Compiled, not run: each line below is an error, or else the lint says so.
  const byDevice = { device: 'eth0' }
  const attempts = [
    // @ts-expect-error there is no such metric
    () => value('netvitals_nonsense', {}),
    // @ts-expect-error a gauge has no rate
    () => rate(sockets, {}),
    // @ts-expect-error a counter has no highest value
    () => highest(drops, {}),
    // @ts-expect-error a counter's growth is its rate
    () => growth(drops, {}, '1h'),
    // @ts-expect-error a counter is nothing by itself
    () => value(drops, {}),
    // @ts-expect-error there is no such label
    () => rate(drops, { nonsense: 'x' }),
    // @ts-expect-error another metric's label, whole or in a part
    () => rate(drops, { ...byDevice }),
    // @ts-expect-error the label's values are a closed list
    () => value(sockets, { state: { anyOf: ['close_wait', 'nonsense'] } }),
    // @ts-expect-error the same of several matchers
    () => value(sockets, { state: [like('.+'), 'nonsense'] }),
    // @ts-expect-error a sum by a label that is not there
    () => sum(value(sockets, {}), 'device'),
    // @ts-expect-error a label made of one that is not there
    () => labelReplace(value(sockets, {}), 'whose', '$1', 'device', '(.*)'),
    // @ts-expect-error the largest of a counter
    () => highest(drops, {}),
    // @ts-expect-error leaving a label out that is not there
    () => sumWithout(rate(drops, {}), 'device'),
    // @ts-expect-error without what identifies a pod it has no workload
    () => withWorkload(sum(value(sockets, {}), 'namespace'), {}),
    // @ts-expect-error the right side has a label that the left has not
    () => divide(sum(value(sockets, {}), 'pod'), sum(value(sockets, {}), 'state')),
    // @ts-expect-error the same of a share
    () => share(sum(value(sockets, {}), 'pod'), sum(value(sockets, {}), 'state')),
    // @ts-expect-error a label is made of one that is not there
    () => labelReplace(sum(value(sockets, {}), 'pod'), 'family', 'ipv4', 'device', 'eth0'),
  ]
  expect(attempts.length).toBeGreaterThan(0)
})
