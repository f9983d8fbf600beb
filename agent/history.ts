import { limits } from './limits.ts'
import type { Series, Snapshot } from './metrics/snapshot.ts'
import type { Slots } from './series.ts'

/** The last 15 minutes of the metrics the catalogue marks with `history`, one frame every 20 s, so that findings and the page see rates. */
export interface History extends Slots {
  remember(snapshot: Snapshot): void
  /**
   * How much a counter grew over about the last `seconds`, or since the series or the history began; undefined while nothing is
   * known but its value. Of histograms and summaries `amount` is how many values came, and `sum` what they add up to.
   */
  increase(
    series: Series,
    seconds: number,
  ): { readonly amount: number; readonly seconds: number; readonly sum?: number } | undefined
  /** Values, oldest first; NaN where the series was not there. */
  values(series: Series): { readonly atMs: number; readonly value: number }[]
}

interface Frame {
  atMs: number
  values: Float64Array
  /** Of histograms and summaries, by slot. */
  sums: Map<number, number>
}

interface Point {
  readonly atMs: number
  readonly value: number
  readonly sum: number
}

const plainValue = (series: Series): number =>
  typeof series.value === 'number'
    ? series.value
    : 'count' in series.value
      ? series.value.count
      : series.value.counts.reduce((a, b) => a + b, 0)

const sumOf = ({ value }: Series): number => (typeof value === 'number' ? 0 : value.sum)

export function createHistory(): History {
  const frames: Frame[] = []
  const freeSlots: number[] = []
  let nextSlot = 0
  let newestAtMs = 0

  function points(series: Series): Point[] {
    const { slot } = series
    if (slot === undefined) return []
    const past = frames.map(({ atMs, values, sums }) => ({
      atMs,
      value: atMs < series.bornAtMs ? Number.NaN : (values[slot] ?? Number.NaN),
      sum: sums.get(slot) ?? 0,
    }))
    const newest = { atMs: newestAtMs, value: plainValue(series), sum: sumOf(series) }
    return past.at(-1)?.atMs === newestAtMs ? past : [...past, newest]
  }

  /** Without what is not known, but with the 0 a series was born from. */
  function knownPoints(series: Series): Point[] {
    const all = points(series)
    const known = all.filter(({ value }) => !Number.isNaN(value))
    const oldest = all[0]
    if (!series.bornFromZero || oldest === undefined || series.bornAtMs < oldest.atMs) return known
    return [{ atMs: all[all.length - known.length - 1]?.atMs ?? series.bornAtMs, value: 0, sum: 0 }, ...known]
  }

  return {
    take: () => freeSlots.pop() ?? nextSlot++,
    free: (slot) => {
      for (const { values, sums } of frames) {
        values[slot] = Number.NaN // its next owner must not inherit a past
        sums.delete(slot)
      }
      freeSlots.push(slot)
    },
    remember(snapshot) {
      newestAtMs = snapshot.takenAtMs
      const last = frames.at(-1)
      if (last !== undefined && snapshot.takenAtMs - last.atMs < limits.historyFrameMs) return
      const oldest = frames.length === limits.historyFrames ? frames.shift() : undefined
      const reusable = oldest !== undefined && oldest.values.length >= nextSlot && oldest.values.length <= nextSlot * 2
      const values = reusable ? oldest.values : new Float64Array(nextSlot)
      const frame: Frame = { atMs: snapshot.takenAtMs, values, sums: new Map() }
      frame.values.fill(Number.NaN)
      for (const family of snapshot.families) {
        if (!family.definition.history) continue
        for (const series of family.series) {
          if (series.slot === undefined) continue
          frame.values[series.slot] = plainValue(series)
          if (typeof series.value !== 'number') frame.sums.set(series.slot, series.value.sum)
        }
      }
      frames.push(frame)
    },
    values: (series) => points(series).map(({ atMs, value }) => ({ atMs, value })),
    increase(series, seconds) {
      const known = knownPoints(series)
      const last = known.at(-1)
      const first = last && known.find(({ atMs }) => last.atMs - atMs <= seconds * 1000)
      if (last === undefined || first === undefined || first === last) return undefined
      let [amount, sum] = [0, 0]
      let previous = first
      for (const point of known) {
        if (point.atMs <= first.atMs) continue
        const isReset = point.value < previous.value
        amount += isReset ? point.value : point.value - previous.value // a reset counts from 0, as in PromQL
        sum += isReset ? point.sum : point.sum - previous.sum
        previous = point
      }
      return { amount, seconds: (last.atMs - first.atMs) / 1000, ...(typeof series.value !== 'number' && { sum }) }
    },
  }
}
