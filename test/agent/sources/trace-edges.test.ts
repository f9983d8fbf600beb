import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Host } from '../../../agent/host/host.ts'
import { limits } from '../../../agent/limits.ts'
import type { MetricName } from '../../../agent/metrics/catalogue.ts'
import type { EdgeEnds, Sink, Subject } from '../../../agent/sources/source.ts'
import { createTraceEdges } from '../../../agent/sources/trace-edges.ts'
import { createFakeHost, netnsOf } from './fake-host.ts'
import { createFakeTracer, type Entry, type FakeTracer } from './fake-tracer.ts'

const pod = netnsOf('pod')
const [client, server] = [1, 2]
const [noSocket, netfilterDrop] = [0, 1]
let fake: FakeTracer
let host: Host
let nowMs: number
let collect: () => Promise<string[]>
/** Without a name; not the pod's own; namespaces that nobody knows yet. */
let nameless: Set<string>
let foreign: Set<string>
let isKnown: boolean

beforeEach(() => {
  fake = createFakeTracer()
  ;({ host } = createFakeHost([pod], fake.tracer))
  Object.assign(host.namespaces, { find: () => pod })
  nowMs = 0
  nameless = new Set()
  foreign = new Set()
  isKnown = true
  const source = createTraceEdges(host, () => nowMs)
  collect = async () => {
    const told: string[] = []
    const sink: Partial<Sink<MetricName>> = {
      add(_, sample) {
        const { client, server, reporter } = sample.of as EdgeEnds
        const name = ({ address, netns }: Subject): string => address ?? netns?.name ?? ''
        told.push([name(client), name(server), reporter, ...Object.values(sample.labels as object), sample.value].join(' '))
        return true
      },
      emit: () => undefined,
      absent: () => undefined,
      skip: () => undefined,
      lost: () => undefined,
      caveat: () => undefined,
      unresolved: () => void told.push('unresolved'),
      knows: () => isKnown,
      owns: (_, address) => !foreign.has(address),
      names: ({ address = '' }) => !nameless.has(address),
    }
    await source.collect(sink as Sink<MetricName>, new AbortController().signal)
    return told
  }
})
afterEach(() => vi.restoreAllMocks())

/** Packets dropped between 10.0.0.1, the pod, and 10.0.0.`other`. */
function entryOf(packets: number, { other = 2, role = client, reason = netfilterDrop } = {}): Entry {
  const addressOf = (last: number): number[] => [0, 0, 0xffff0000, 0x0000000a + last * 0x1000000]
  return { inode: 3, label: reason, words: [role, ...addressOf(1), ...addressOf(other)], values: [packets] }
}
const dropped = (...entries: Entry[]): void => void (fake.entries.edge_dropped_packets_total = entries)

describe('dropped packets', () => {
  it('are told as they grow, by category', async () => {
    dropped(entryOf(5), entryOf(3, { role: server, reason: noSocket }))
    expect(await collect()).toEqual(['pod 10.0.0.2 client netfilter 5', '10.0.0.2 pod server no_socket 3'])
    expect(await collect()).toEqual([])
    dropped(entryOf(7), entryOf(3, { role: server, reason: noSocket }))
    expect(await collect()).toEqual(['pod 10.0.0.2 client netfilter 2'])
  })

  it('of a namespace without a name wait for it', async () => {
    dropped(entryOf(5))
    isKnown = false
    expect(await collect()).toEqual(['unresolved'])
    isKnown = true
    expect(await collect()).toEqual(['pod 10.0.0.2 client netfilter 5'])
  })

  it('whose other end has no name, or whose own address is another’s, are of no edge, and do not wait', async () => {
    dropped(entryOf(5), entryOf(4, { other: 9 }))
    nameless.add('10.0.0.9')
    expect(await collect()).toEqual(['pod 10.0.0.2 client netfilter 5'])
    nameless.clear()
    dropped(entryOf(6), entryOf(5, { other: 9 }))
    foreign.add('10.0.0.1')
    expect(await collect()).toEqual([])
    foreign.clear()
    dropped(entryOf(6), entryOf(7, { other: 9 }))
    expect(await collect()).toEqual(['pod 10.0.0.9 client netfilter 2'])
  })

  it('are taken out when nothing came for long and there is little room, with what came last', async () => {
    vi.spyOn(limits as { tracerKeys: number }, 'tracerKeys', 'get').mockReturnValue(4)
    const taken: number[] = []
    Object.assign(host.tracer, {
      take(_: string, key: Uint8Array) {
        taken.push(key[47]!)
        return Float64Array.of(12)
      },
    })
    dropped(entryOf(10), entryOf(10, { other: 3 }), entryOf(10, { other: 4 }))
    await collect()
    nowMs = limits.edgeRecordIdleMs + 1
    dropped(entryOf(11), entryOf(10, { other: 3 }), entryOf(11, { other: 4 }))
    expect((await collect()).sort()).toEqual([
      'pod 10.0.0.2 client netfilter 1',
      'pod 10.0.0.3 client netfilter 2',
      'pod 10.0.0.4 client netfilter 1',
    ])
    expect(taken).toEqual([3])
    dropped(entryOf(11), entryOf(1, { other: 3 }), entryOf(11, { other: 4 }))
    expect(await collect()).toEqual(['pod 10.0.0.3 client netfilter 1'])
  })

  it('stay while there is room', async () => {
    dropped(entryOf(10))
    await collect()
    nowMs = limits.edgeRecordIdleMs + 1
    expect(await collect()).toEqual([])
    expect(fake.taken).toEqual([])
  })
})
