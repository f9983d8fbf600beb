import { limits } from '../limits.ts'
import type { Series } from '../metrics/snapshot.ts'

/** For how long a new series is shown as 0: seconds, 0 for never, or as long as the scraper's own interval asks for. */
export type ZeroWindow = number | 'auto'

/**
 * The birth rule's view of one scraper. Prometheus takes the first value of a series as its start, so what led to that value
 * is lost to `increase()` unless the scraper sees 0 first, in one answer that it surely stored.
 */
export interface Scraper {
  /** To be called once per answer, with the monotonic time of its snapshot: says which series this answer shows as 0. */
  answer(takenAtMs: number): (series: Series) => boolean
}

/** An answer whose new series may still be shown as 0: those born after the answer before it. */
interface Answer {
  readonly atMs: number
  readonly bornAfterMs: number
  zeroUntilMs: number
}

const showTrueValues = (): boolean => false

export function createScraper(zeroWindow: ZeroWindow): Scraper {
  const intervalsMs: number[] = []
  let previousMs: number | undefined
  let answers: Answer[] = []

  function windowMs(): number {
    if (zeroWindow !== 'auto') return zeroWindow * 1000
    return intervalsMs.length === 0 ? limits.zeroMs : Math.max(...intervalsMs) * 1.1
  }

  function remember(atMs: number): void {
    if (atMs === previousMs) return // the same snapshot again
    if (previousMs !== undefined) {
      intervalsMs.push(atMs - previousMs)
      if (intervalsMs.length > limits.scrapesRemembered) intervalsMs.shift()
    }
    // What this scraper saw before its first answer here is not known: what is older than a usual interval, it may have seen.
    const bornAfterMs = previousMs ?? atMs - limits.zeroMs
    const window = windowMs()
    // A window only ever shrinks. If it grew, a series already shown with its value would fall back to 0: a false reset.
    for (const answer of answers) answer.zeroUntilMs = Math.min(answer.zeroUntilMs, answer.atMs + window)
    answers.push({ atMs, bornAfterMs, zeroUntilMs: atMs + window })
    answers = answers.filter(({ zeroUntilMs }) => zeroUntilMs >= atMs).slice(-limits.zeroWindows)
    previousMs = atMs
  }

  return {
    answer(takenAtMs) {
      if (zeroWindow === 0) return showTrueValues
      remember(takenAtMs)
      const open = answers
      return ({ bornAtMs }) => open.some((answer) => answer.bornAfterMs < bornAtMs && bornAtMs <= answer.atMs)
    },
  }
}

/** Scrapers by their connection: they come and go with it. */
export function createScrapers(zeroWindow: ZeroWindow): (connection: object) => Scraper {
  const scrapers = new WeakMap<object, Scraper>()
  return (connection) => {
    const known = scrapers.get(connection)
    if (known !== undefined) return known
    const scraper = createScraper(zeroWindow)
    scrapers.set(connection, scraper)
    return scraper
  }
}

/** Prometheus and its kin say how long they wait; people and their tools do not, and are shown true values. */
export function isScraper(headers: Readonly<Record<string, unknown>>): boolean {
  return headers['x-prometheus-scrape-timeout-seconds'] !== undefined
}
