// Times as people write them, and the intervals that Grafana derives from a range, a panel's width and the scrapes' interval.

const unitsMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 }
/** What Prometheus answers at most of a series. */
const mostPoints = 11_000
/** Up to the first, the second: steps that people read easily. */
const roundedMs = [
  [10, 1],
  [15, 10],
  [35, 20],
  [75, 50],
  [150, 100],
  [350, 200],
  [750, 500],
  [1500, 1000],
  [3500, 2000],
  [7500, 5000],
  [12_500, 10_000],
  [17_500, 15_000],
  [25_000, 20_000],
  [45_000, 30_000],
  [90_000, 60_000],
  [210_000, 120_000],
  [450_000, 300_000],
  [750_000, 600_000],
  [1_050_000, 900_000],
  [1_500_000, 1_200_000],
  [2_700_000, 1_800_000],
  [5_400_000, 3_600_000],
  [9_000_000, 7_200_000],
  [16_200_000, 10_800_000],
  [32_400_000, 21_600_000],
  [86_400_000, 43_200_000],
  [604_800_000, 86_400_000],
  [1_814_400_000, 604_800_000],
  [Number.POSITIVE_INFINITY, 2_592_000_000],
]
const round = (ms) => roundedMs.find(([limit]) => ms <= limit)[1]

/** `90s`, `1h30m`; undefined for what is none. */
export function parseDuration(text) {
  if (!/^(\d+(ms|[smhdw]))+$/.test(text)) return undefined
  return [...text.matchAll(/(\d+)(ms|[smhdw])/g)].reduce((sum, [, count, unit]) => sum + Number(count) * unitsMs[unit], 0)
}

/** `now`, `-15m`, `now-15m`, or a date; undefined for what is none. */
export function parseTime(text, nowMs) {
  if (text === 'now') return nowMs
  const [, ago] = /^(?:now)?-(.+)$/.exec(text) ?? []
  if (ago !== undefined) {
    const duration = parseDuration(ago)
    return duration === undefined ? undefined : nowMs - duration
  }
  const ms = /^\d{4}-/.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(ms) ? undefined : ms
}

/** The step between points, and how far back the rate at each of them looks. */
export function intervalsOf({ rangeMs, points, scrapeMs }) {
  const stepMs = Math.max(scrapeMs, round(rangeMs / points), round(rangeMs / mostPoints))
  return { rangeMs, stepMs, rateMs: Math.max(stepMs + scrapeMs, 4 * scrapeMs) }
}

/** As PromQL writes it. */
export function durationText(ms) {
  return ms % 1000 === 0 ? `${ms / 1000}s` : `${Math.round(ms)}ms`
}
