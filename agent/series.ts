import type { EdgeRow } from './edges.ts'
import type { Row } from './identity/identity.ts'
import { limits } from './limits.ts'
import {
  countSeriesMax,
  definitionOf,
  type MetricDefinition,
  type MetricName,
  metricNames,
  rowLabels,
} from './metrics/catalogue.ts'
import { cleanLabelValue, formatLabels } from './metrics/label-text.ts'
import type { Family, Outcome, Series, SeriesValue } from './metrics/snapshot.ts'

/** Of one subject, or of an edge. */
export type SeriesRow = Row | EdgeRow

interface LiveSeries extends Series {
  readonly key: string
  readonly row: SeriesRow | undefined
  value: SeriesValue
  pending: SeriesValue | undefined
  shown: boolean
  slot: number | undefined
}

interface LiveFamily {
  readonly name: string
  readonly definition: MetricDefinition
  readonly byKey: Map<string, LiveSeries>
  /** The most series one subject may have. */
  readonly perSubjectMax: number
  readonly perSubject: Map<SeriesRow | undefined, number>
  shown: LiveSeries[]
  changed: boolean
}

/** What a source's last sweep was like, for the birth rule and for the fate of series it did not emit. */
export interface SourceState {
  outcome: Outcome
  /** Rows it emitted values for. */
  readonly rows: Set<SeriesRow | undefined>
  /** Rows it could not read. */
  readonly skipped: Set<SeriesRow>
}

/** All series that live, from sweep to sweep: their birth, their values, their end. */
export interface SeriesStore {
  /** Takes a value of this sweep; nothing is visible before `commit`. */
  add(
    name: MetricName,
    row: SeriesRow | undefined,
    labels: Readonly<Record<string, string | undefined>>,
    value: SeriesValue,
  ): void
  /** Makes the sweep visible at once. `states` tells how each source fared. */
  commit(nowMs: number, states: ReadonlyMap<string, SourceState>): readonly Family[]
  /** Series shown. */
  count(): number
  /** Values left out because a limit was reached, since start. */
  dropped(): number
}

/** Gives and takes back places in the history. */
export interface Slots {
  take(): number
  free(slot: number): void
}

/** Of one series, told twice. */
export function addValues(a: SeriesValue, b: SeriesValue, definition: MetricDefinition): SeriesValue {
  if (typeof a === 'number' || typeof b === 'number') {
    const [x, y] = [Number(a), Number(b)]
    return definition.combine === 'max' ? Math.max(x, y) : x + y
  }
  if ('counts' in a && 'counts' in b) return { counts: a.counts.map((n, i) => n + (b.counts[i] ?? 0)), sum: a.sum + b.sum }
  if ('count' in a && 'count' in b) return { count: a.count + b.count, sum: a.sum + b.sum }
  return b
}

function valuesOfRow(row: SeriesRow | undefined): readonly string[] {
  if (row === undefined) return []
  if (!('reporter' in row)) return [row.namespace, row.pod]
  const { client, server, reporter } = row
  return [client.namespace, client.workload, server.namespace, server.workload, reporter]
}

const bySeriesLabels = (a: Series, b: Series): number => (a.labels < b.labels ? -1 : a.labels > b.labels ? 1 : 0)

/** `declared` are metrics of the user, which no catalogue has. */
export function createSeriesStore(slots: Slots, declared: ReadonlyMap<string, MetricDefinition> = new Map()): SeriesStore {
  const families = new Map<string, LiveFamily>()
  const known = metricNames.map((name) => [name, definitionOf(name)] as const)
  for (const [name, definition] of [...known, ...declared]) {
    if (definition.source === 'agent') continue
    const perSubjectMax = countSeriesMax(definition)
    families.set(name, { name, definition, byKey: new Map(), perSubjectMax, perSubject: new Map(), shown: [], changed: false })
  }
  let stored = 0
  let shown = 0
  let dropped = 0
  /** Series that came into being in this sweep. */
  let born: { family: LiveFamily; series: LiveSeries }[] = []
  /** How each source fared in the sweep before. */
  let before: ReadonlyMap<string, SourceState> = new Map()

  /** The birth rule: is 0 known to have been the value until now? */
  function wasZero(source: string, row: SeriesRow | undefined): boolean {
    if (!source.startsWith('proc-') && !source.startsWith('netlink-')) return true // counts from the agent's own start
    const last = before.get(source)
    if (last?.outcome !== 'ok') return false
    if (row === undefined || last.rows.has(row)) return true // of the node the whole source is the listing
    return row.seenFromBirth && ![...before.values()].some((state) => state.rows.has(row) || state.skipped.has(row))
  }

  function remove(family: LiveFamily, series: LiveSeries): void {
    family.byKey.delete(series.key)
    const left = (family.perSubject.get(series.row) ?? 1) - 1
    if (left > 0) family.perSubject.set(series.row, left)
    else family.perSubject.delete(series.row)
    if (series.slot !== undefined) slots.free(series.slot)
    stored--
  }

  /** Is what its source emitted for it to be kept? */
  function wasRead({ row }: LiveSeries, state: SourceState | undefined): boolean {
    return state?.outcome === 'ok' && !(row !== undefined && state.skipped.has(row))
  }

  function isKept(series: LiveSeries, state: SourceState | undefined, nowMs: number): 'shown' | 'hidden' | 'over' {
    const { row } = series
    if (row?.replaced) return 'over'
    if (row?.departedAtMs !== undefined) return nowMs - row.departedAtMs < limits.departureMs ? 'shown' : 'over'
    if (state === undefined || state.outcome !== 'ok') return 'hidden' // it comes back when the source does
    if (row !== undefined && state.skipped.has(row)) return 'shown'
    return series.pending === undefined ? 'over' : 'shown'
  }

  return {
    add(name, row, labels, value) {
      const family = families.get(name)
      if (family === undefined) throw new Error(`${name} is written by the agent itself`)
      const { definition } = family
      let key = row === undefined ? '' : String(row.id)
      for (const label of definition.labels) key += `\u0001${labels[label]}`
      let series = family.byKey.get(key)
      if (series === undefined) {
        if (definition.birth === 'first' && value === 0 && row !== undefined && !row.isHost) return
        const values = definition.labels.map((label) => cleanLabelValue(labels[label] ?? ''))
        const cleanKey = `${row === undefined ? '' : row.id}${values.map((text) => `\u0001${text}`).join('')}`
        if (cleanKey !== key) {
          key = cleanKey // names that look alike when cleaned share a series
          series = family.byKey.get(key)
        }
        if (series === undefined) {
          const ofSubject = family.perSubject.get(row) ?? 0
          if (stored >= limits.series || ofSubject >= family.perSubjectMax) {
            dropped++
            return
          }
          const text = formatLabels([...rowLabels[definition.scope], ...definition.labels], [...valuesOfRow(row), ...values])
          series = {
            key,
            row,
            labels: text,
            value: 0,
            pending: undefined,
            bornAtMs: 0,
            bornFromZero: false,
            shown: false,
            slot: undefined,
          }
          family.byKey.set(key, series)
          family.perSubject.set(row, ofSubject + 1)
          stored++
          born.push({ family, series })
        }
      }
      series.pending = series.pending === undefined ? value : addValues(series.pending, value, definition)
    },

    commit(nowMs, states) {
      for (const { family, series } of born) {
        const state = states.get(family.definition.source)
        if (!wasRead(series, state)) {
          remove(family, series) // its source failed after it had emitted this
          continue
        }
        Object.assign(series, { bornAtMs: nowMs, bornFromZero: wasZero(family.definition.source, series.row) })
        if (family.definition.history) series.slot = slots.take()
      }
      born = []
      shown = 0
      for (const family of families.values()) {
        const state = states.get(family.definition.source)
        for (const series of family.byKey.values()) {
          const fate = isKept(series, state, nowMs)
          const isShown = fate === 'shown'
          if (isShown && wasRead(series, state)) series.value = series.pending ?? series.value
          series.pending = undefined
          if (isShown !== series.shown) {
            series.shown = isShown
            family.changed = true
          }
          if (fate === 'over') remove(family, series)
          if (isShown) shown++
        }
        if (family.changed) {
          family.shown = [...family.byKey.values()].filter((series) => series.shown).sort(bySeriesLabels)
          family.changed = false
        }
      }
      before = states
      return [...families.values()]
        .filter((family) => family.shown.length > 0)
        .map(({ name, definition, shown: series }) => ({ name, definition, series }))
    },

    count: () => shown,
    dropped: () => dropped,
  }
}
