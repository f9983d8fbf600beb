import { expect, it } from 'vitest'
import type { NetworkNamespace } from '../../../agent/host/namespaces.ts'
import type { MapName, ProgramName, Tracer } from '../../../agent/host/tracer.ts'
import { limits } from '../../../agent/limits.ts'
import { createTraceDrops } from '../../../agent/sources/trace-drops.ts'
import { collectFrom, valuesOf } from '../../source-contract.ts'
import { createFakeHost, netnsOf } from './fake-host.ts'

interface Entry {
  readonly inode: number
  readonly reason?: number
  readonly protocol?: number
  readonly direction?: number
  readonly packets?: number
}
const known = netnsOf('known')
const stranger = netnsOf()

/** A tracer that holds these entries. */
function sourceWith(entries: Entry[], missing: Partial<Record<ProgramName, string>> = {}, now?: () => number) {
  const taken: number[] = []
  const tracer: Partial<Tracer> = {
    missing: (program) => missing[program],
    reasonName: (reason) => ['no_socket', 'netfilter_drop', 'brand_new'][reason] ?? 'unknown',
    read(_: MapName, onEntry) {
      for (const { inode, reason = 0, protocol = 2, direction = 0, packets = 1 } of entries) {
        const key = new DataView(new ArrayBuffer(16))
        key.setUint32(0, inode, true)
        key.setUint32(4, inode, true)
        key.setUint32(8, reason, true)
        key.setUint8(12, protocol)
        key.setUint8(13, direction)
        onEntry(key, Float64Array.of(packets, packets * 100))
      }
    },
    take: (_: MapName, key) => void taken.push(new DataView(key.buffer, key.byteOffset).getUint32(0, true)),
    lost: () => ({ mapFull: 3, recursion: 4 }),
  }
  const { host } = createFakeHost([known], tracer)
  const find = (inode: number): NetworkNamespace | undefined =>
    inode === 1 ? host.namespaces.host : inode === 2 ? known : undefined
  Object.assign(host.namespaces, { find, stranger: () => stranger })
  return { source: createTraceDrops(host, now), taken, host }
}

it('tells whose packets, why and where, and what could not be counted', async () => {
  const { source, host } = sourceWith([
    { inode: 1, reason: 0, direction: 0, packets: 5 },
    { inode: 2, reason: 1, protocol: 1, direction: 2, packets: 6 },
    { inode: 2, reason: 2, protocol: 0, direction: 1, packets: 7 },
  ])
  const { emitted, lost } = await collectFrom(source)
  const packets = emitted.filter(({ metric }) => metric === 'netvitals_dropped_packets_total')
  expect(packets.map(({ of, labels, value }) => [of === 'node' ? of : of.netns, labels, value])).toEqual([
    [host.namespaces.host, { reason: 'no_socket', category: 'no_socket', protocol: 'udp', direction: 'in' }, 5],
    [known, { reason: 'netfilter_drop', category: 'netfilter', protocol: 'tcp', direction: 'forward' }, 6],
    [known, { reason: 'brand_new', category: 'other', protocol: 'other', direction: 'out' }, 7],
  ])
  expect([...lost]).toEqual([
    ['map_full', 3],
    ['recursion', 4],
  ])
})

it('counts what the kernel does not attribute apart', async () => {
  const collected = await collectFrom(sourceWith([{ inode: 0, reason: 1, packets: 9 }]).source)
  expect(valuesOf(collected, 'netvitals_dropped_packets_unattributed_total')).toEqual({ 'reason=netfilter_drop': 9 })
  expect(collected.emitted).toHaveLength(1)
})

it('never gives a stranger’s packets to somebody else', async () => {
  const { emitted } = await collectFrom(sourceWith([{ inode: 77 }]).source)
  expect(emitted.map(({ of }) => of !== 'node' && of.netns)).toEqual([stranger, stranger])
})

it('takes the keys of strangers that are long gone, and only those', async () => {
  let nowMs = 0
  const entries: Entry[] = [{ inode: 1 }, { inode: 77 }]
  const { source, taken } = sourceWith(entries, {}, () => nowMs)
  await collectFrom(source)
  nowMs = limits.departureMs
  entries.push({ inode: 78 })
  await collectFrom(source)
  expect(taken).toEqual([])
  nowMs += 1
  await collectFrom(source)
  expect(taken).toEqual([77])
})

it('forgets how long one was a stranger when somebody knows it again', async () => {
  let nowMs = 0
  const { source, taken, host } = sourceWith([{ inode: 77 }], {}, () => nowMs)
  const collectAt = async (atMs: number, owner: NetworkNamespace | undefined): Promise<void> => {
    nowMs = atMs
    Object.assign(host.namespaces, { find: () => owner })
    await collectFrom(source)
  }
  await collectAt(0, undefined)
  await collectAt(limits.departureMs, known)
  await collectAt(limits.departureMs + 1, undefined)
  await collectAt(2 * limits.departureMs, undefined)
  expect(taken).toEqual([])
})

it('takes nothing while it cannot know who is gone', async () => {
  let nowMs = 0
  const { source, taken } = sourceWith([{ inode: 77 }], { tasks: 'kernel has no task iterator' }, () => nowMs)
  await collectFrom(source)
  nowMs = 2 * limits.departureMs
  await collectFrom(source)
  expect(taken).toEqual([])
})

it('is absent with the tracer’s reason', async () => {
  const { absent, emitted } = await collectFrom(sourceWith([{ inode: 1 }], { dropped_packets: 'needs CAP_BPF' }).source)
  expect(emitted).toEqual([])
  expect(new Set(absent.values())).toEqual(new Set(['needs CAP_BPF']))
})
