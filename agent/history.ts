import { limits } from './limits.ts'
import type { Series, Snapshot } from './metrics/snapshot.ts'
import type { Slots } from './series.ts'

/** The last 15 minutes of the metrics the catalogue marks with `history`, one frame every 20 s, so that findings and the page see rates. */
export interface History extends Slots {
  remember(snapshot: Snapshot): void
  /** How much a counter grew over about the last `seconds`, or since the series or the history began; undefined while nothing is known but its value. */
  increase(series: Series, seconds: number): { readonly amount: number; readonly seconds: number } | undefined
  /** Values, oldest first; NaN where the series was not there. */
  values(series: Series): { readonly atMs: number; readonly value: number }[]
}

interface Frame {
  atMs: number
  values: Float64Array
}

const plainValue = (series: Series): number =>
  typeof series.value === 'number'
    ? series.value
    : 'count' in series.value
      ? series.value.count
      : series.value.counts.reduce((a, b) => a + b, 0)

export function createHistory(): History {
  const frames: Frame[] = []
  const freeSlots: number[] = []
  let nextSlot = 0
  let newestAtMs = 0

  function values(series: Series): { atMs: number; value: number }[] {
    const { slot } = series
    if (slot === undefined) return []
    const past = frames.map(({ atMs, values }) => ({
      atMs,
      value: atMs < series.bornAtMs ? Number.NaN : (values[slot] ?? Number.NaN),
    }))
    return past.at(-1)?.atMs === newestAtMs ? past : [...past, { atMs: newestAtMs, value: plainValue(series) }]
  }

  /** As `values`, without what is not known, but with the 0 a series was born from. */
  function knownValues(series: Series): { atMs: number; value: number }[] {
    const all = values(series)
    const known = all.filter(({ value }) => !Number.isNaN(value))
    const oldest = all[0]
    if (!series.bornFromZero || oldest === undefined || series.bornAtMs < oldest.atMs) return known
    return [{ atMs: all[all.length - known.length - 1]?.atMs ?? series.bornAtMs, value: 0 }, ...known]
  }

  return {
    take: () => freeSlots.pop() ?? nextSlot++,
    free: (slot) => {
      for (const frame of frames) frame.values[slot] = Number.NaN // its next owner must not inherit a past
      freeSlots.push(slot)
    },
    remember(snapshot) {
      newestAtMs = snapshot.takenAtMs
      const last = frames.at(-1)
      if (last !== undefined && snapshot.takenAtMs - last.atMs < limits.historyFrameMs) return
      const oldest = frames.length === limits.historyFrames ? frames.shift() : undefined
      const reusable = oldest !== undefined && oldest.values.length >= nextSlot && oldest.values.length <= nextSlot * 2
      const frame: Frame = { atMs: snapshot.takenAtMs, values: reusable ? oldest.values : new Float64Array(nextSlot) }
      frame.values.fill(Number.NaN)
      for (const family of snapshot.families) {
        if (!family.definition.history) continue
        for (const series of family.series) if (series.slot !== undefined) frame.values[series.slot] = plainValue(series)
      }
      frames.push(frame)
    },
    values,
    increase(series, seconds) {
      const known = knownValues(series)
      const last = known.at(-1)
      const first = last && known.find(({ atMs }) => last.atMs - atMs <= seconds * 1000)
      if (last === undefined || first === undefined || first === last) return undefined
      let amount = 0
      let previous = first.value
      for (const { atMs, value } of known) {
        if (atMs <= first.atMs) continue
        amount += value < previous ? value : value - previous // a reset counts from 0, as in PromQL
        previous = value
      }
      return { amount, seconds: (last.atMs - first.atMs) / 1000 }
    },
  }
}
