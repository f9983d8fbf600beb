import type { End, Identity } from './identity/identity.ts'
import { limits } from './limits.ts'
import { definitionOf, type MetricName } from './metrics/catalogue.ts'
import { cleanLabelValue } from './metrics/label-text.ts'
import type { SeriesValue } from './metrics/snapshot.ts'
import { addValues } from './series.ts'
import type { EdgeEnds } from './sources/source.ts'

/** What the connections between two workloads are called on /metrics: one row for each of the two who may have seen them. */
export interface EdgeRow {
  readonly id: number
  readonly client: End
  readonly server: End
  readonly reporter: 'client' | 'server'
  /** As a row of one subject has them. */
  readonly isHost: false
  readonly seenFromBirth: true
  readonly departedAtMs: undefined
  readonly replaced: false
}

type Labels = Readonly<Record<string, string | undefined>>
interface Sum {
  readonly name: MetricName
  readonly labels: Labels
  value: SeriesValue
}
interface Entry {
  readonly row: EdgeRow
  readonly sums: Map<string, Sum>
  usedAtMs: number
}

/** Sums by workload that outlive the pods they are of. */
export interface Edges {
  /** The row of two ends, which is kept for a while from now. Undefined: nobody knows the namespace of one of them. */
  find(ends: EdgeEnds, nowMs: number): EdgeRow | undefined
  /** Adds what has come since the sweep before to the row's sum. */
  add(row: EdgeRow, name: MetricName, labels: Labels, value: SeriesValue): void
  /** Hands out all sums of all rows, and lets go of rows that were not used for long. */
  each(nowMs: number, onSum: (row: EdgeRow, sum: Sum) => void): void
}

/** An address that nobody knows. */
const external: End = { namespace: '', workload: 'external' }
/** Both ends of the row of those beyond the limit. */
const other: End = { namespace: '', workload: 'other' }

export function createEdges(identity: Pick<Identity, 'endOf'>): Edges {
  const entries = new Map<string, Entry>()
  const entryOf = new Map<EdgeRow, Entry>()
  let nextId = 0

  function admit(client: End, server: End, reporter: EdgeEnds['reporter']): Entry {
    const key = [client.namespace, client.workload, server.namespace, server.workload, reporter].join('\u0001')
    const known = entries.get(key)
    if (known !== undefined) return known
    if (entries.size >= limits.edges && client !== other) return admit(other, other, reporter)
    const fate = { isHost: false, seenFromBirth: true, departedAtMs: undefined, replaced: false } as const
    const row: EdgeRow = { id: nextId++, client, server, reporter, ...fate }
    const entry: Entry = { row, sums: new Map(), usedAtMs: 0 }
    entries.set(key, entry)
    entryOf.set(row, entry)
    return entry
  }

  function name(subject: EdgeEnds['client']): End | undefined {
    const end = identity.endOf(subject) ?? (subject.address === undefined ? undefined : external)
    return end && { namespace: cleanLabelValue(end.namespace), workload: cleanLabelValue(end.workload) }
  }

  return {
    find(ends, nowMs) {
      const client = name(ends.client)
      const server = name(ends.server)
      if (client === undefined || server === undefined) return undefined
      const entry = admit(client, server, ends.reporter)
      entry.usedAtMs = nowMs
      return entry.row
    },
    add(row, metric, labels, value) {
      const sums = entryOf.get(row)?.sums
      const key = [metric, ...Object.values(labels)].join('\u0001')
      const sum = sums?.get(key)
      if (sum === undefined) sums?.set(key, { name: metric, labels, value })
      else sum.value = addValues(sum.value, value, definitionOf(metric))
    },
    each(nowMs, onSum) {
      for (const [key, { row, sums, usedAtMs }] of entries) {
        if (nowMs - usedAtMs > limits.edgeIdleMs) {
          entries.delete(key)
          entryOf.delete(row)
        } else for (const sum of sums.values()) onSum(row, sum)
      }
    },
  }
}
