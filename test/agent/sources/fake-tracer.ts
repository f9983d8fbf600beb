import type { MapName } from '../../../agent/host/traced-maps.ts'
import type { Tracer } from '../../../agent/host/tracer.ts'

/** An entry of a map: whose, what follows in the key, and what was counted. */
export interface Entry {
  readonly inode: number
  /** As the inode, unless told; 0 as on kernels without. */
  readonly cookie?: number
  readonly label?: number
  /** What follows the label. */
  readonly words?: readonly number[]
  readonly values: readonly number[]
}

export interface FakeTracer {
  readonly tracer: Partial<Tracer>
  /** May be changed between two collects. */
  readonly entries: { [M in MapName]?: readonly Entry[] }
  /** Maps or `tasks`, and why not. */
  readonly missing: Partial<Record<MapName | 'tasks', string>>
  readonly caveats: { [M in MapName]?: readonly string[] }
  /** Inodes of the keys that were taken. */
  readonly taken: number[]
}

export function createFakeTracer(): FakeTracer {
  const fake: Omit<FakeTracer, 'tracer'> = { entries: {}, missing: {}, caveats: {}, taken: [] }
  const tracer: Partial<Tracer> = {
    missing: (what) => fake.missing[what],
    caveats: (map) => fake.caveats[map] ?? [],
    reasonName: (reason) => ['no_socket', 'netfilter_drop', 'brand_new'][reason] ?? `reason_${reason}`,
    resetReasonName: (reason) => ['not_specified', 'no_socket'][reason] ?? `reason_${reason}`,
    read(map, onEntry) {
      const entries = map === 'live_connections' ? [] : (fake.entries[map] ?? [])
      for (const { inode, cookie = inode, label, words = [], values } of entries) {
        const bytes = Uint32Array.of(inode, cookie, ...(label === undefined ? [] : [label]), ...words)
        onEntry(new DataView(bytes.buffer), Float64Array.from(values))
      }
    },
    take: (_, key) => void fake.taken.push(new DataView(key.buffer, key.byteOffset).getUint32(0, true)),
    lost: (of = []) => ({ mapFull: 3 * of.length, recursion: 4 }),
  }
  return { ...fake, tracer }
}
