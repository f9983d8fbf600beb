import { expect, it } from 'vitest'
import type { Host } from '../../../agent/host/host.ts'
import { limits } from '../../../agent/limits.ts'
import type { Sink } from '../../../agent/sources/source.ts'
import { createTraceDrops } from '../../../agent/sources/trace-drops.ts'

const makeKey = (inode: number, cookie: number): DataView => {
  const key = new DataView(new ArrayBuffer(16))
  key.setUint32(0, inode, true)
  key.setUint32(4, cookie, true)
  return key
}

/** A tracer with these keys; the namespaces in `known` are somebody's. */
function build(keys: DataView[], known: ReadonlySet<number>, knowsProcesses = true) {
  const taken: number[] = []
  const tracer = {
    missing: (program: string) => (program === 'tasks' && !knowsProcesses ? 'switched off' : undefined),
    read: (_map: string, onEntry: (key: DataView, values: Float64Array) => void) =>
      keys.forEach((key) => onEntry(key, Float64Array.of(3, 300))),
    take: (_map: string, key: Uint8Array) => void taken.push(new DataView(key.buffer).getUint32(0, true)),
    reasonName: () => 'no_socket',
    lost: () => ({ mapFull: 0, recursion: 0 }),
  }
  const namespaces = {
    find: (inode: number) => (known.has(inode) ? { inode } : undefined),
    stranger: (inode: number) => ({ inode }),
  }
  let nowMs = 0
  const source = createTraceDrops({ tracer, namespaces } as unknown as Host, () => nowMs)
  const emitted: string[] = []
  const sink = {
    emit: (metric: string) => void emitted.push(metric),
    lost: () => undefined,
    absent: () => undefined,
  } as unknown as Sink<never>
  const collectAt = async (atMs: number): Promise<void> => {
    nowMs = atMs
    await source.collect(sink as Parameters<typeof source.collect>[0], new AbortController().signal)
  }
  return { taken, emitted, collectAt }
}

it('takes the keys of a namespace that nobody has seen for the departure time, and no other', async () => {
  const { taken, collectAt } = build([makeKey(4_026_532_001, 1), makeKey(4_026_532_002, 2)], new Set([4_026_532_002]))
  await collectAt(0)
  await collectAt(limits.departureMs)
  expect(taken).toEqual([])
  await collectAt(limits.departureMs + 1)
  expect(taken).toEqual([4_026_532_001])
})

it('forgets how long it was a stranger when somebody knows it again', async () => {
  const known = new Set<number>()
  const { taken, collectAt } = build([makeKey(4_026_532_001, 1)], known)
  await collectAt(0)
  known.add(4_026_532_001)
  await collectAt(limits.departureMs)
  known.clear()
  await collectAt(limits.departureMs + 1)
  await collectAt(2 * limits.departureMs)
  expect(taken).toEqual([])
})

it('takes nothing where processes are not known: a live namespace could look dead', async () => {
  const { taken, collectAt } = build([makeKey(4_026_532_001, 1)], new Set(), false)
  await collectAt(0)
  await collectAt(10 * limits.departureMs)
  expect(taken).toEqual([])
})

it('counts what has no namespace apart', async () => {
  const { emitted, collectAt } = build([makeKey(0, 0)], new Set())
  await collectAt(0)
  expect(emitted).toEqual(['netvitals_dropped_packets_unattributed_total'])
})
