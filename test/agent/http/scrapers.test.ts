import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createScraper, createScrapers, isScraper } from '../../../agent/http/scrapers.ts'
import { limits } from '../../../agent/limits.ts'
import type { Series } from '../../../agent/metrics/snapshot.ts'

const bornAt = (seconds: number): Series => ({
  labels: '',
  value: 7,
  bornAtMs: seconds * 1000,
  bornFromZero: true,
  slot: undefined,
})

/** What a scraper sees of a series, answer by answer: `0`, or `=` for its true value, or nothing before its birth. */
function watch(zeroWindow: number | 'auto', seconds: readonly number[], bornAtSeconds: number): string {
  const scraper = createScraper(zeroWindow)
  return seconds
    .map((second) => {
      const isZero = scraper.answer(second * 1000)(bornAt(bornAtSeconds))
      if (second < bornAtSeconds) return ''
      return isZero ? '0' : '='
    })
    .join('')
}

const every = (interval: number, count: number, start = 0): number[] =>
  Array.from({ length: count }, (_, i) => start + i * interval)

describe('a scraper', () => {
  it('sees 0 first, and again within its own interval and a tenth, then the value', () => {
    expect(watch('auto', [100, 115, 130, 145, 160, 175], 122)).toBe('00==')
  })

  it('sees a series born in the very sweep of an answer as 0 in that answer', () => {
    expect(watch('auto', [100, 115, 130, 145, 160], 130)).toBe('00=')
  })

  it('at its first answer sees as 0 what was born shortly before, and older series truly', () => {
    expect(watch('auto', [100, 115, 130, 145], 100)).toBe('00==')
    expect(watch('auto', [100, 115, 130, 145], 36)).toBe('00==')
    expect(watch('auto', [100, 115, 130, 145], 35)).toBe('====')
    expect(watch('auto', [100, 115, 130, 145], -500)).toBe('====')
  })

  it('has a window of 65 s until its interval is known', () => {
    expect(limits.zeroMs).toBe(65_000)
    expect(watch('auto', [100, 160, 220, 280], 90)).toBe('00==') // known with the second answer: 66 s
    expect(watch('auto', [100, 166, 232], 90)).toBe('0==') // 65 s are over when the interval becomes known
  })

  it('sees 0 again after a missed scrape only while its window is open', () => {
    // born at 131, shown first at 145; the scrape at 160 is missed
    expect(watch('auto', [100, 115, 130, 145, 175, 190], 131)).toBe('0==')
    // the scrapes at 130 and 145 are missed: its longest interval is then 45 s
    expect(watch('auto', [100, 115, 160, 175, 190, 205, 220], 131)).toBe('0000=')
  })

  it('never falls back to 0 when its interval grows', () => {
    expect(watch('auto', [...every(1, 10), 70, 130, 190], 5)).toBe('00======') // at 5, 6: 0; a gap of 61 s later
  })

  it('lets an open window shrink when its interval becomes known', () => {
    expect(watch('auto', every(5, 6, 100), 100)).toBe('00====')
  })

  it('follows a change of its interval', () => {
    expect(watch('auto', [...every(15, 4), 105, 165, 225, 285], 100)).toBe('00==')
    const slowThenFast = [...every(60, 3), ...every(5, limits.scrapesRemembered + 4, 125)]
    expect(watch('auto', slowThenFast, slowThenFast.at(-3)!)).toBe('00=') // the 60 s are no longer recent
  })

  it('obeys configured seconds, however often it scrapes', () => {
    expect(watch(30, every(15, 8), 20)).toBe('000===') // first at 30, until 60
    expect(watch(10, every(15, 5), 20)).toBe('0==')
    expect(watch(40, every(1, 60), 10)).toBe(`${'0'.repeat(41)}${'='.repeat(9)}`)
  })

  it('sees true values if the window is 0', () => {
    expect(watch(0, every(15, 4), 20)).toBe('==')
    expect(watch(0, every(15, 4), 0)).toBe('====')
  })

  it('keeps its view when the same snapshot is asked for again', () => {
    expect(watch('auto', [100, 100, 115, 115, 130, 130], 107)).toBe('0000')
    expect(watch('auto', [100, 100, 115, 115, 130, 130, 145, 145], 107)).toBe('0000==')
  })

  it('needs bounded memory: with too many open windows the oldest end early', () => {
    const scraper = createScraper(1e6)
    for (let second = 0; second <= limits.zeroWindows; second++) scraper.answer(second * 1000)
    const isZero = scraper.answer((limits.zeroWindows + 1) * 1000)
    expect(isZero(bornAt(1))).toBe(false)
    expect(isZero(bornAt(3))).toBe(true)
  })

  it('for any rhythm: 0 in the first answer that has the series, and never 0 again after the value', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 120_000 }), { minLength: 2, maxLength: 60 }),
        fc.nat(3_000_000),
        fc.oneof(fc.constant('auto' as const), fc.integer({ min: 1, max: 300 })),
        (steps, birthMs, zeroWindow) => {
          const scraper = createScraper(zeroWindow)
          let nowMs = 0
          let seen = ''
          for (const step of steps) {
            nowMs += step
            const isZero = scraper.answer(nowMs)({ ...bornAt(0), bornAtMs: birthMs })
            if (nowMs >= birthMs) seen += isZero ? '0' : '='
          }
          expect(seen).toMatch(/^0*=*$/)
          if (birthMs > steps[0]! && seen !== '') expect(seen[0]).toBe('0')
        },
      ),
    )
  })
})

describe('scrapers', () => {
  it('are told apart by their connection, each at its own phase', () => {
    const scraperOf = createScrapers('auto')
    const [one, other] = [{}, {}]
    const series = bornAt(131)
    for (const second of [100, 115, 130]) scraperOf(one).answer(second * 1000)
    for (const second of [78, 108]) scraperOf(other).answer(second * 1000)
    expect(scraperOf(other).answer(138_000)(series)).toBe(true)
    expect(scraperOf(one).answer(145_000)(series)).toBe(true)
    expect(scraperOf(one).answer(160_000)(series)).toBe(true)
    expect(scraperOf(other).answer(168_000)(series)).toBe(true)
    expect(scraperOf(one).answer(175_000)(series)).toBe(false)
    expect(scraperOf(other).answer(198_000)(series)).toBe(false)
  })

  it('begin anew on a new connection', () => {
    const scraperOf = createScrapers('auto')
    const old = {}
    for (const second of [0, 15, 30, 45]) scraperOf(old).answer(second * 1000)
    const isZero = scraperOf({}).answer(200_000)
    expect(isZero(bornAt(20))).toBe(false)
    expect(isZero(bornAt(190))).toBe(true)
  })

  it('are known by the header Prometheus sends', () => {
    expect(isScraper({ 'x-prometheus-scrape-timeout-seconds': '10' })).toBe(true)
    expect(isScraper({ 'user-agent': 'curl/8' })).toBe(false)
  })
})
