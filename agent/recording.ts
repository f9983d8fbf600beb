import type { EventMessage } from './events.ts'
import { limits } from './limits.ts'
import {
  definitionOf,
  histogramBoundsSeconds,
  type MetricDefinition,
  type MetricName,
  metricNames,
  rowLabels,
} from './metrics/catalogue.ts'
import { cleanLabelValue, formatLabels, parseLabels } from './metrics/label-text.ts'
import type { Family, Series, SeriesValue, Snapshot } from './metrics/snapshot.ts'
import { defineUserMetric, type UserMap, userMetricTypes } from './metrics/user-metrics.ts'
import { addValues } from './series.ts'

/** Of what `record` writes; a field may be added within a version, never changed. */
export const recordingSchemaVersion = 1

/** The lines of a recording, an object each: what it is, then sweeps and events as they come. */
export type RecordingLine =
  | {
      readonly type: 'recording'
      readonly schemaVersion: number
      readonly version: string
      readonly node: string
      readonly time: string
    }
  /** What follows up to the next sweep was read then. */
  | { readonly type: 'sweep'; readonly time: string }
  /** Series whose values have changed since the sweep before, by their labels as on /metrics; then those that are gone. */
  | {
      readonly type: 'family'
      readonly name: string
      readonly series: readonly (readonly [labels: string, value: SeriesValue])[]
      readonly gone?: readonly string[]
      /** Of a metric of the user, which no catalogue has. */
      readonly declared?: UserMap
    }
  | { readonly type: 'event'; readonly event: EventMessage }

/** Turns snapshots into lines: all of the first, of each later one what has changed. */
export function createRecorder(): (snapshot: Pick<Snapshot, 'families'>, time: string) => readonly RecordingLine[] {
  const before = new Map<string, Map<string, string>>()
  return ({ families }, time) => {
    const lines: RecordingLine[] = [{ type: 'sweep', time }]
    const names = new Set(families.map(({ name }) => name))
    for (const [name, series] of before) {
      if (names.has(name)) continue
      before.delete(name)
      for (const gone of cut([...series.keys()])) lines.push({ type: 'family', name, series: [], gone })
    }
    for (const { name, definition, series } of families) {
      const declared = isCatalogued(name) ? {} : { declared: declarationOf(definition) }
      const old = before.get(name) ?? new Map<string, string>()
      const now = new Map(series.map(({ labels, value }) => [labels, JSON.stringify(value)]))
      before.set(name, now)
      const changed = series.filter(({ labels }) => old.get(labels) !== now.get(labels))
      const gone = [...old.keys()].filter((labels) => !now.has(labels))
      for (const part of cut(gone)) lines.push({ type: 'family', name, series: [], gone: part, ...declared })
      for (const part of cut(changed))
        lines.push({ type: 'family', name, series: part.map(({ labels, value }) => [labels, value]), ...declared })
    }
    return lines
  }
}

/** So that no line is too long to be read. */
function cut<T>(all: readonly T[]): readonly (readonly T[])[] {
  const parts = Math.ceil(all.length / limits.recordingSeries)
  return Array.from({ length: parts }, (_, i) => all.slice(i * limits.recordingSeries, (i + 1) * limits.recordingSeries))
}

export interface RecordingReader {
  /** @throws Error in words if the line is none of a recording */
  push(line: string): void
  /** As of the last sweep. */
  families(): readonly Family[]
  readonly sweeps: number
  readonly events: number
  /** Series that found no place. */
  readonly dropped: number
}

/** Puts a recording together again. Keeps the last value of each series and nothing else. */
export function createRecordingReader(): RecordingReader {
  const values = new Map<string, { readonly definition: MetricDefinition; readonly series: Map<string, SeriesValue> }>()
  let sweeps = 0
  let events = 0
  let count = 0
  let dropped = 0

  function readFamily({ name, series, gone = [], declared }: Extract<RecordingLine, { type: 'family' }>): void {
    const family = values.get(name) ?? { definition: findDefinition(name, declared), series: new Map<string, SeriesValue>() }
    const { definition, series: ofFamily } = family
    const wrong = series.find(([labels, value]) => !isSeries(definition, labels, value))
    if (wrong !== undefined) throw new Error(`no series of ${name}: ${JSON.stringify(wrong).slice(0, 100)}`)
    values.set(name, family)
    for (const labels of gone) if (ofFamily.delete(labels)) count--
    for (const [labels, value] of series) {
      if (!ofFamily.has(labels)) {
        if (count >= limits.series) {
          dropped++
          continue
        }
        count++
      }
      ofFamily.set(labels, isWithoutSum(value) ? { ...value, sum: Number.NaN } : value)
    }
  }

  return {
    push(text) {
      const line = parse(text)
      if (line.type === 'recording') {
        if (line.schemaVersion !== recordingSchemaVersion) throw new Error(`a recording of version ${line.schemaVersion}`)
        // The next recording: an agent counts from its own start.
        values.clear()
        count = 0
      } else if (line.type === 'sweep') sweeps++
      else if (line.type === 'event') events++
      else if (line.type === 'family') readFamily(line)
      else throw new Error('no line of a recording')
    },
    families: () =>
      [...values]
        .filter(([, { series }]) => series.size > 0)
        .map(([name, { definition, series }]) => ({ name, definition, series: toSeries(series) })),
    get sweeps() {
      return sweeps
    },
    get events() {
      return events
    },
    get dropped() {
      return dropped
    },
  }
}

function toSeries(values: ReadonlyMap<string, SeriesValue>): readonly Series[] {
  return [...values]
    .map(([labels, value]) => ({ labels, value, bornAtMs: 0, bornFromZero: false, slot: undefined }))
    .sort((a, b) => (a.labels < b.labels ? -1 : 1))
}

/** What several have counted, together: a family and a series of it stand once in an exposition. */
export function mergeFamilies(...all: readonly (readonly Family[])[]): readonly Family[] {
  const merged = new Map<string, Family>()
  for (const family of all.flat()) {
    const { name, definition, series } = family
    const before = merged.get(name)
    if (before === undefined) {
      merged.set(name, family)
      continue
    }
    const values = new Map(before.series.map(({ labels, value }) => [labels, value]))
    for (const { labels, value } of series) {
      const other = values.get(labels)
      values.set(labels, other === undefined ? value : addValues(other, value, definition))
    }
    merged.set(name, { name, definition, series: toSeries(values) })
  }
  return [...merged.values()]
}

/** A recording may have been edited: nothing of it gets into the exposition that could not have been there. */
function isSeries(definition: MetricDefinition, labels: unknown, value: unknown): value is SeriesValue {
  const { type, scope, labels: own, bounds } = definition
  const names = [...rowLabels[scope], ...own]
  if (typeof labels !== 'string' || labels !== cleanLabels(names, labels)) return false
  if (type === 'gauge') return Number.isFinite(value)
  if (type === 'counter') return isCount(value)
  if (typeof value !== 'object' || value === null || !('sum' in value)) return false
  if (!isCount(value.sum) && !(bounds !== undefined && value.sum === null)) return false
  if (type === 'summary') return 'count' in value && isCount(value.count)
  const { counts } = value as { counts?: unknown }
  return Array.isArray(counts) && counts.length === (bounds ?? histogramBoundsSeconds).length + 1 && counts.every(isCount)
}

const isCatalogued = (name: string): name is MetricName => metricNames.includes(name as MetricName)

/** JSON has no NaN, which the sum of a histogram of bpftrace is. */
const isWithoutSum = (value: SeriesValue): value is Extract<SeriesValue, { counts: unknown }> =>
  typeof value === 'object' && value.sum === null

function declarationOf({ type, help, labels, seriesMax = 1, bounds }: MetricDefinition): UserMap {
  return { type, help, labels, limit: seriesMax - 1, ...(bounds && { bounds }) }
}

function findDefinition(name: string, declared: UserMap | undefined): MetricDefinition {
  if (isCatalogued(name)) return definitionOf(name)
  if (!/^netvitals_user_[a-z0-9_]{1,128}$/.test(name) || !isDeclaration(declared))
    throw new Error(`no metric of this version: ${JSON.stringify(name)}`)
  return defineUserMetric(declared, 'a recording')
}

function isDeclaration(declared: unknown): declared is UserMap {
  if (typeof declared !== 'object' || declared === null) return false
  const { type, help, labels, limit, bounds } = declared as { readonly [K in keyof UserMap]?: unknown }
  const isType = userMetricTypes.some((one) => one === type)
  const areLabels = Array.isArray(labels) && labels.every((label) => /^[a-z_][a-z0-9_]{0,63}$/.test(label))
  const areBounds = bounds === undefined || (Array.isArray(bounds) && bounds.every(Number.isFinite))
  return isType && typeof help === 'string' && help.length <= 1000 && areLabels && isCount(limit) && areBounds
}

/** As the agent would have written them. */
function cleanLabels(names: readonly string[], text: string): string {
  const values = parseLabels(text)
  return formatLabels(
    names,
    names.map((name) => cleanLabelValue(values[name] ?? '')),
  )
}

/** JSON knows neither NaN nor infinity, but 1e999 is read as that. */
const isCount = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value) && value >= 0

function parse(text: string): RecordingLine {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new Error('no JSON')
  }
  if (typeof value !== 'object' || value === null || !('type' in value)) throw new Error('no line of a recording')
  const { name, series, gone } = value as { name?: unknown; series?: unknown; gone?: unknown }
  const isFamily = typeof name === 'string' && Array.isArray(series) && (gone === undefined || Array.isArray(gone))
  if (value.type === 'family' && !(isFamily && series.every(Array.isArray))) throw new Error('no line of a recording')
  return value as RecordingLine
}
