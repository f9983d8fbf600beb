import type { Host } from '../host/host.ts'
import type { NetworkNamespace } from '../host/namespaces.ts'
import type { MapName } from '../host/traced-maps.ts'
import { isTurnOver, nextTurn } from '../host/turn.ts'
import { limits } from '../limits.ts'
import type { MetricName } from '../metrics/catalogue.ts'
import type { Need, Sink } from './source.ts'

/** What every program of the tracer needs. */
export const tracerNeeds: readonly Need[] = [
  { library: 'libbpf.so.1' },
  { file: '/sys/kernel/btf/vmlinux' },
  { capability: 'CAP_BPF' },
  { capability: 'CAP_PERFMON' },
]

/** What becomes of one map's entries. */
export interface TracedReader<M extends MetricName> {
  readonly map: MapName
  /** Absent, all of them, where the kernel does not give the map. Without: the one that is called as the map. */
  readonly metrics?: readonly M[]
  /** The host's row shows 0 of what has not happened yet; called for it before its entries. */
  zero?(netns: NetworkNamespace): void
  /** Called for each entry. `key` begins after the namespace; the arguments are valid during the call only. */
  emit(netns: NetworkNamespace, key: DataView, values: Float64Array, wholeKey: DataView): void
  /** Called for entries whose namespace the kernel could not tell; without, they are nobody's. */
  emitUnattributed?(key: DataView, values: Float64Array): void
}

export interface TracedCounters<M extends MetricName> {
  /** Emits all entries, tells what is absent and what was lost, and takes out what is long gone. */
  collect(sink: Sink<M>, signal: AbortSignal, readers: readonly TracedReader<M>[]): Promise<void>
  /** Takes an entry out that no program will touch any more, and returns its last values; undefined: there is none. */
  take(map: MapName, key: Uint8Array): Float64Array | undefined
}

/** Of an entry on a kernel without cookies: who had the inode, and what had been counted before. */
interface Tenant {
  readonly netns: NetworkNamespace
  readonly before: Float64Array
  last: Float64Array
}

const keyStart = 8

/** What the sources of the tracer share: whose each entry of a map is, and which are nobody's any more. */
export function createTracedCounters<M extends MetricName>(
  host: Host,
  now: () => number = () => performance.now(),
): TracedCounters<M> {
  const { tracer, namespaces } = host
  /** Namespaces that had a process or a name. */
  let known = new Set<string>()
  /** Namespaces of keys that never had either, and since when. */
  let strangers = new Map<string, number>()
  const tenants = new Map<string, Tenant>()

  /** Without cookies twins have one key. What was counted when the new one is first seen is the old one's. */
  function sinceTenancy(id: string, netns: NetworkNamespace, values: Float64Array): Float64Array {
    let tenant = tenants.get(id)
    if (tenant?.netns !== netns) tenant = { netns, before: tenant?.last ?? new Float64Array(values.length), last: values }
    tenant.last = values.slice()
    tenants.set(id, tenant)
    const { before } = tenant
    return values.map((value, i) => value - (before[i] ?? 0))
  }

  /** The last value and the removal are one call. */
  function take(map: MapName, key: Uint8Array): Float64Array | undefined {
    tenants.delete(`${map} ${toText(new DataView(key.buffer))}`)
    return tracer.take(map, key)
  }

  return {
    take,
    async collect(sink, signal, readers) {
      const knowsProcesses = tracer.missing('tasks') === undefined
      const owners = new Map<string, NetworkNamespace | undefined>()
      const knownNow = new Set<string>()
      const strangersNow = new Map<string, number>()

      /** Nobody's for so long that no program can touch its keys any more. */
      function isOver(id: string): boolean {
        if (!knowsProcesses) return false
        if (known.has(id)) return true // it was known, and departed longer ago than its series are kept
        const since = strangers.get(id) ?? now()
        strangersNow.set(id, since)
        return now() - since > limits.departureMs
      }

      for (const { map, metrics = [`netvitals_${map}` as M], zero, emit, emitUnattributed } of readers) {
        const reason = tracer.missing(map)
        if (reason !== undefined) {
          for (const metric of metrics) sink.absent(metric, reason)
          continue
        }
        if (isTurnOver()) await nextTurn(signal) // a full map takes some milliseconds
        zero?.(namespaces.host)
        const over: Uint8Array[] = []
        tracer.read(map, (key, values) => {
          const inode = key.getUint32(0, true)
          const cookie32 = key.getUint32(4, true)
          const rest = new DataView(key.buffer, key.byteOffset + keyStart, key.byteLength - keyStart)
          if (inode === 0 && emitUnattributed !== undefined) return emitUnattributed(rest, values)
          const id = `${inode} ${cookie32}`
          if (!owners.has(id)) owners.set(id, inode === 0 ? undefined : namespaces.find(inode, cookie32))
          const owner = owners.get(id)
          if (owner !== undefined) {
            knownNow.add(id)
            if (cookie32 !== 0) return emit(owner, rest, values, key)
            return emit(owner, rest, sinceTenancy(`${map} ${toText(key)}`, owner, values), key)
          }
          emit(namespaces.stranger(inode, cookie32), rest, values, key)
          if (inode !== 0 && isOver(id))
            over.push(new Uint8Array(key.buffer.slice(key.byteOffset, key.byteOffset + key.byteLength)))
        })
        for (const key of over) take(map, key)
        for (const caveat of tracer.caveats(map)) sink.caveat(caveat)
      }
      known = knownNow
      strangers = strangersNow
      const { mapFull, recursion } = tracer.lost(readers.map(({ map }) => map))
      sink.lost('map_full', mapFull)
      sink.lost('recursion', recursion)
    },
  }
}

function toText(key: DataView): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1')
}
