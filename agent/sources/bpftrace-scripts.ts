import type { BpftraceValue } from '../../parsers/bpftrace-json.ts'
import { splitKey } from '../../parsers/bpftrace-json.ts'
import type { Host } from '../host/host.ts'
import type { MetricName } from '../metrics/catalogue.ts'
import { histBounds, type UserMap, userMetricName, userMetricSource } from '../metrics/user-metrics.ts'
import type { HistogramValue, Sink, Source, SummaryValue } from './source.ts'

type Value = number | HistogramValue | SummaryValue
/** The user's metrics are in no catalogue: what the compiler checks of others is checked here, as it runs. */
interface UserSink extends Omit<Sink<MetricName>, 'emit'> {
  emit(metric: string, sample: { of: 'node'; labels: Readonly<Record<string, string>>; value: Value }): void
}

export interface UserScript {
  readonly file: string
  readonly maps: Readonly<Record<string, UserMap>>
}

interface MapState {
  readonly metric: string
  readonly map: UserMap
  readonly bounds: readonly number[]
  /** By key; the one beyond the limit under `other`. */
  readonly values: Map<string, { readonly labels: Readonly<Record<string, string>>; value: Value }>
  beyond: number
  problem: string | undefined
}

const otherKey = '\u0001other'

/** The maps of the user's own bpftrace scripts, as they are declared. */
export function createBpftraceScripts({ scripts: host }: Host, scripts: readonly UserScript[]): Source<MetricName> {
  const states = scripts.map(
    ({ maps }) =>
      new Map(
        Object.entries(maps).map(([name, map]): [string, MapState] => [
          name,
          {
            metric: userMetricName(name, map.type),
            map,
            bounds: map.bounds ?? histBounds,
            values: new Map(),
            beyond: 0,
            problem: undefined,
          },
        ]),
      ),
  )
  let unreadableTold = 0

  host.onMap((script, name, entries) => {
    const state = states[script]?.get(name)
    if (state === undefined) return
    const isGauge = state.map.type === 'gauge'
    if (isGauge) state.values.clear()
    for (const [key, value] of entries) {
      const columns = splitKey(key, state.map.labels.length)
      if (columns === undefined) {
        state.problem = `its keys have ${key === '' ? 'no column' : `${key.split(',').length} columns or less`}, and ${state.map.labels.length} labels are declared`
        continue
      }
      const given = toValue(value, state)
      if (given === undefined) continue
      take(state, key, columns, given)
    }
  })

  function take(state: MapState, key: string, columns: readonly string[], value: Value): void {
    const { labels, limit, type } = state.map
    const known = state.values.get(key)
    const fits = known !== undefined || state.values.size - (state.values.has(otherKey) ? 1 : 0) < limit
    if (!fits) {
      state.beyond++
      if (type === 'gauge') return // last values cannot be added
    }
    const place = fits ? key : otherKey
    const before = state.values.get(place)
    if (before !== undefined) before.value = add(before.value, value)
    else {
      const texts = fits ? columns : labels.map(() => 'other')
      state.values.set(place, { labels: Object.fromEntries(labels.map((label, i) => [label, texts[i] ?? ''])), value })
    }
  }

  return {
    name: userMetricSource,
    writes: states.flatMap((maps) => [...maps.values()].map(({ metric }) => metric as MetricName)),
    needs: [{ program: 'bpftrace' }, { capability: 'CAP_BPF' }, { capability: 'CAP_PERFMON' }, { file: '/sys/kernel/tracing' }],
    async collect(sink) {
      const userSink = sink as unknown as UserSink
      const { state, lastEnd } = host.status()
      for (const [i, maps] of states.entries()) {
        const problem = host.problem(i)
        for (const { metric } of maps.values()) if (problem !== undefined) sink.absent(metric as MetricName, problem)
      }
      const isAllBroken = states.every((_, i) => host.problem(i) !== undefined)
      if (isAllBroken) return
      if (host.lastReadingAtMs() === undefined && state !== 'running' && lastEnd !== undefined)
        throw new Error(`bpftrace: ${lastEnd}`)
      for (const maps of states) {
        for (const { metric, values, map, beyond, problem } of maps.values()) {
          for (const { labels, value } of values.values()) userSink.emit(metric, { of: 'node', labels, value })
          if (problem !== undefined) sink.caveat(`${metric}: ${problem}`)
          if (beyond > 0)
            sink.caveat(
              `${metric}: ${beyond} values of keys beyond the limit of ${map.limit} ${map.type === 'gauge' ? 'were left out' : 'are in the series other'}`,
            )
        }
      }
      tellOfTheProcess(sink)
    },
  }

  function tellOfTheProcess(sink: Sink<MetricName>): void {
    const { count, lastEnd } = host.gaps()
    if (count > 0)
      sink.caveat(
        `bpftrace ended ${count} times by itself (${lastEnd}): what was counted since its last reading, and until it ran again, is unknown`,
      )
    for (const map of host.full())
      sink.caveat(`@${map} was full in an interval: keys it had no place for are not counted, and nobody knows how many`)
    const { lines, last } = host.unreadable()
    if (last !== undefined) sink.unreadable(lines - unreadableTold, last)
    unreadableTold = lines
    const { events, recursion } = host.lost()
    sink.lost('tool', events)
    sink.lost('recursion', recursion)
    sink.lost('long_line', host.status().longLines)
  }
}

function toValue(value: BpftraceValue, state: MapState): Value | undefined {
  const { type } = state.map
  const isNumber = typeof value === 'number'
  if (isNumber && (type === 'counter' || type === 'gauge')) {
    if (type === 'gauge' || value >= 0) return value
    state.problem = `a counter that goes back: ${value}`
    return undefined
  }
  if (!isNumber && 'buckets' in value && type === 'histogram') return toHistogram(value.buckets, state)
  if (!isNumber && 'total' in value && type === 'summary') return { sum: value.total, count: value.count }
  const is = isNumber ? 'a number' : 'buckets' in value ? 'a histogram' : 'statistics'
  state.problem = `it is declared as a ${type}, but the map holds ${is}`
  return undefined
}

/** bpftrace tells no sum of its histograms. */
function toHistogram(buckets: Extract<BpftraceValue, { buckets: unknown }>['buckets'], state: MapState): Value | undefined {
  const { bounds } = state
  const counts = Array<number>(bounds.length + 1).fill(0)
  for (const { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY, count } of buckets) {
    if (count === 0) continue
    const at = bounds.findIndex((bound) => max <= bound)
    const place = at === -1 ? bounds.length : at
    const below = bounds[place - 1]
    if (below !== undefined && min <= below) {
      state.problem = `its bucket from ${min} to ${max} lies on both sides of the declared bound ${below}`
      return undefined
    }
    counts[place]! += count
  }
  return { counts, sum: Number.NaN }
}

function add(one: Value, other: Value): Value {
  if (typeof one === 'number' || typeof other === 'number') return Number(one) + Number(other)
  if ('counts' in one && 'counts' in other)
    return { counts: one.counts.map((n, i) => n + (other.counts[i] ?? 0)), sum: Number.NaN }
  if ('count' in one && 'count' in other) return { count: one.count + other.count, sum: one.sum + other.sum }
  return one
}
