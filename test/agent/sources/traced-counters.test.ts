import { beforeEach, describe, expect, it } from 'vitest'
import type { Host } from '../../../agent/host/host.ts'
import type { NetworkNamespace } from '../../../agent/host/namespaces.ts'
import { limits } from '../../../agent/limits.ts'
import { createTracedCounters } from '../../../agent/sources/traced-counters.ts'
import { type Collected, collectFrom } from '../../source-contract.ts'
import { createFakeHost, netnsOf } from './fake-host.ts'
import { createFakeTracer, type FakeTracer } from './fake-tracer.ts'

type Metric = 'netvitals_tcp_retransmit_failures_total' | 'netvitals_icmp_sent_fragmentation_needed_total'

const stranger = netnsOf()
let fake: FakeTracer
let host: Host
let owners: Map<number, NetworkNamespace>
let nowMs: number
let collect: () => Promise<Collected>
beforeEach(() => {
  fake = createFakeTracer()
  ;({ host } = createFakeHost([], fake.tracer))
  owners = new Map([[1, host.namespaces.host]])
  Object.assign(host.namespaces, { find: (inode: number) => owners.get(inode), stranger: () => stranger })
  nowMs = 0
  const counters = createTracedCounters<Metric>(host, () => nowMs)
  collect = () =>
    collectFrom({
      name: 'trace-test',
      writes: ['netvitals_tcp_retransmit_failures_total', 'netvitals_icmp_sent_fragmentation_needed_total'],
      needs: [],
      collect: (sink, signal) =>
        counters.collect(sink, signal, [
          {
            map: 'tcp_retransmit_failures_total',
            zero: (netns) => sink.emit('netvitals_tcp_retransmit_failures_total', { of: { netns }, labels: {}, value: 0 }),
            emit: (netns, _key, [value = 0]) =>
              sink.emit('netvitals_tcp_retransmit_failures_total', { of: { netns }, labels: {}, value }),
          },
          {
            map: 'icmp_sent_fragmentation_needed_total',
            metrics: ['netvitals_icmp_sent_fragmentation_needed_total'],
            emit: (netns, _key, [value = 0]) =>
              sink.emit('netvitals_icmp_sent_fragmentation_needed_total', { of: { netns }, labels: {}, value }),
          },
        ]),
    })
})

/** Values of the first map, whose they are beside them. */
const failures = ({ emitted }: Collected): [unknown, unknown][] =>
  emitted
    .filter(({ metric }) => metric === 'netvitals_tcp_retransmit_failures_total')
    .map(({ of, value }) => [of !== 'node' && of.netns, value])

it('gives each its own, the host a zero, and tells what was lost of these maps', async () => {
  const other = netnsOf('other')
  owners.set(2, other)
  fake.entries.tcp_retransmit_failures_total = [
    { inode: 1, values: [5] },
    { inode: 2, values: [6] },
  ]
  const collected = await collect()
  expect(failures(collected)).toEqual([
    [host.namespaces.host, 0],
    [host.namespaces.host, 5],
    [other, 6],
  ])
  expect([...collected.lost]).toEqual([
    ['map_full', 6],
    ['recursion', 4],
  ])
})

it('is absent map by map, with the tracer’s reason, and says what numbers do not tell', async () => {
  fake.missing.icmp_sent_fragmentation_needed_total = 'old kernel'
  Object.assign(fake.caveats, { tcp_retransmit_failures_total: ['twins'], icmp_sent_fragmentation_needed_total: ['unseen'] })
  const { absent, caveats, emitted } = await collect()
  expect([...absent]).toEqual([['netvitals_icmp_sent_fragmentation_needed_total', 'old kernel']])
  expect(caveats).toEqual(['twins'])
  expect(new Set(emitted.map(({ metric }) => metric))).toEqual(new Set(['netvitals_tcp_retransmit_failures_total']))
})

it('never gives a stranger’s events, or nobody’s, to somebody else', async () => {
  fake.entries.tcp_retransmit_failures_total = [
    { inode: 77, values: [1] },
    { inode: 0, values: [2] },
  ]
  expect(failures(await collect()).slice(1)).toEqual([
    [stranger, 1],
    [stranger, 2],
  ])
})

describe('keys of namespaces that are gone', () => {
  beforeEach(() => {
    fake.entries.tcp_retransmit_failures_total = [1, 77].map((inode) => ({ inode, values: [1] }))
  })

  it('are taken when they were strangers for long, and only those', async () => {
    await collect()
    nowMs = limits.departureMs
    fake.entries.tcp_retransmit_failures_total = [1, 77, 78, 0].map((inode) => ({ inode, values: [1] }))
    await collect()
    expect(fake.taken).toEqual([])
    nowMs += 1
    await collect()
    expect(fake.taken).toEqual([77])
  })

  it('are taken at once when they were known: they departed longer ago than their series are kept', async () => {
    owners.set(77, netnsOf('departing'))
    await collect()
    owners.delete(77)
    await collect()
    expect(fake.taken).toEqual([77])
  })

  it('are not taken while they are known again', async () => {
    await collect()
    nowMs = limits.departureMs
    owners.set(77, netnsOf('late'))
    await collect()
    nowMs = 3 * limits.departureMs
    await collect()
    expect(fake.taken).toEqual([])
  })

  it('are not taken while nobody can know who is gone', async () => {
    fake.missing.tasks = 'kernel has no task iterator'
    await collect()
    nowMs = 2 * limits.departureMs
    await collect()
    expect(fake.taken).toEqual([])
  })
})

describe('on a kernel without cookies', () => {
  const count = (value: number): void => {
    fake.entries.tcp_retransmit_failures_total = [{ inode: 2, cookie: 0, values: [value] }]
  }

  it('one that gets the inode of another begins with what came since the other was last seen', async () => {
    const [first, second] = [netnsOf('first'), netnsOf('second')]
    owners.set(2, first)
    count(10)
    expect(failures(await collect()).at(-1)).toEqual([first, 10])
    count(15)
    expect(failures(await collect()).at(-1)).toEqual([first, 15])
    owners.set(2, second)
    count(17)
    expect(failures(await collect()).at(-1)).toEqual([second, 2])
    count(20)
    expect(failures(await collect()).at(-1)).toEqual([second, 5])
  })
})
