import { describe, expect, it } from 'vitest'
import { createHistory } from '../../agent/history.ts'
import { limits } from '../../agent/limits.ts'
import { catalogue } from '../../agent/metrics/catalogue.ts'
import type { Series, Snapshot } from '../../agent/metrics/snapshot.ts'

const name = 'netvitals_tcp_sent_segments_total'
const makeSeries = (slot: number, value: number, bornAtMs = 0): Series => ({
  labels: '',
  value,
  bornAtMs,
  bornFromZero: false,
  slot,
})
const snapshot = (takenAtMs: number, series: Series[]): Snapshot => ({
  takenAtMs,
  durationMs: 1,
  sources: [],
  families: [{ name, definition: catalogue[name], series }],
})

describe('history', () => {
  it('keeps at least 15 minutes', () => {
    const history = createHistory()
    const slot = history.take()
    for (let i = 0; i < 200; i++) history.remember(snapshot(i * 15_000, [makeSeries(slot, i)]))
    const kept = history.values(makeSeries(slot, 0))
    expect((kept.at(-1)?.atMs ?? 0) - (kept[0]?.atMs ?? 0)).toBeGreaterThanOrEqual(15 * 60_000)
  })

  it('takes at most 8 MB for 20,000 series', () => {
    expect(limits.historyFrames * 20_000 * 8).toBeLessThanOrEqual(8e6)
    const history = createHistory()
    const many = Array.from({ length: 20_000 }, () => makeSeries(history.take(), 1))
    const before = process.memoryUsage().arrayBuffers
    for (let i = 0; i < 60; i++) history.remember(snapshot(i * limits.historyFrameMs, many))
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThanOrEqual(8e6)
  })

  it('tells how much a counter grew, a reset counting from 0', () => {
    const history = createHistory()
    const slot = history.take()
    const values = [100, 110, 130, 5, 25]
    values.forEach((value, i) => history.remember(snapshot(i * 20_000, [makeSeries(slot, value)])))
    expect(history.increase(makeSeries(slot, 25), 300)).toEqual({ amount: 10 + 20 + 5 + 20, seconds: 80 })
    expect(history.increase(makeSeries(slot, 25), 20)).toEqual({ amount: 20, seconds: 20 })
    expect(history.increase(makeSeries(slot, 25), 10)).toBeUndefined()
  })

  it('tells of a histogram how many values came, and their sum', () => {
    const history = createHistory()
    const slot = history.take()
    const histogram = (count: number, sum: number, bornFromZero = false): Series => ({
      ...makeSeries(slot, 0, bornFromZero ? 20_000 : 0),
      value: { counts: [count - 1, 1], sum },
      bornFromZero,
    })
    const steps = [
      [5, 0.5],
      [8, 2],
      [2, 0.25], // its source began anew
    ] as const
    steps.forEach(([count, sum], i) => history.remember(snapshot(i * 20_000, [histogram(count, sum)])))
    expect(history.increase(histogram(2, 0.25), 300)).toEqual({ amount: 3 + 2, sum: 1.5 + 0.25, seconds: 40 })
    expect(history.values(histogram(2, 0.25))).toEqual([
      { atMs: 0, value: 5 },
      { atMs: 20_000, value: 8 },
      { atMs: 40_000, value: 2 },
    ])
    expect(history.increase(histogram(8, 2, true), 300)?.sum).toBe(2 + 0.25)
    history.free(slot)
    history.take()
    history.remember(snapshot(60_000, [histogram(7, 3)]))
    expect(history.increase(histogram(7, 3), 300)).toBeUndefined()
  })

  it('counts a series born from zero from its first value on', () => {
    const history = createHistory()
    const slot = history.take()
    history.remember(snapshot(0, []))
    history.remember(snapshot(20_000, [{ ...makeSeries(slot, 7, 20_000), bornFromZero: true }]))
    expect(history.increase({ ...makeSeries(slot, 7, 20_000), bornFromZero: true }, 300)).toEqual({ amount: 7, seconds: 20 })
    expect(history.increase(makeSeries(slot, 7, 20_000), 300)).toBeUndefined()
  })

  it('counts what it was born with although its birth was in no frame, up to the newest sweep', () => {
    const history = createHistory()
    const slot = history.take()
    const series = (value: number): Series => ({ ...makeSeries(slot, value, 5000), bornFromZero: true })
    history.remember(snapshot(0, []))
    history.remember(snapshot(5000, [series(7)]))
    expect(history.increase(series(7), 300)).toEqual({ amount: 7, seconds: 5 })
    history.remember(snapshot(20_000, [series(9)]))
    history.remember(snapshot(25_000, [series(10)]))
    expect(history.increase(series(10), 300)).toEqual({ amount: 10, seconds: 25 })
  })

  it('gives the next owner of a place no past', () => {
    const history = createHistory()
    const slot = history.take()
    history.remember(snapshot(0, [makeSeries(slot, 1000)]))
    history.free(slot)
    const again = history.take()
    expect(again).toBe(slot)
    history.remember(snapshot(20_000, [makeSeries(again, 3, 20_000)]))
    expect(history.increase(makeSeries(again, 3, 20_000), 300)).toBeUndefined()
  })
})
