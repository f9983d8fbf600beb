import type { MetricDefinition } from './catalogue.ts'

/** Buckets of one histogram value are not cumulative; the last is what is above the highest bound. */
export type SeriesValue =
  | number
  | { readonly counts: readonly number[]; readonly sum: number }
  | { readonly sum: number; readonly count: number }

export interface Series {
  /** As exposed, without braces: `namespace="",pod="",state="listen"`. */
  readonly labels: string
  readonly value: SeriesValue
  /** Monotonic time of the sweep that first had it. */
  readonly bornAtMs: number
  /** True if its value is known to have been 0 just before: a scraper is then shown 0 first, so that it sees the increase. */
  readonly bornFromZero: boolean
  /** Place of its values in the history, if it is kept there. */
  readonly slot: number | undefined
}

export interface Family {
  readonly name: string
  readonly definition: MetricDefinition
  /** Sorted by labels. */
  readonly series: readonly Series[]
}

export type Outcome = 'ok' | 'absent' | 'failed'

export interface SourceReport {
  readonly name: string
  readonly outcome: Outcome
  /** Why it is absent or failed. */
  readonly reason: string | undefined
  readonly durationMs: number
  /** Metrics this host cannot give, and why. */
  readonly absent: ReadonlyMap<string, string>
  /** What its numbers do not tell on this host. */
  readonly caveats: readonly string[]
  /** Subjects that could not be read this time, and why. */
  readonly skipped: ReadonlyMap<string, string>
}

/** The result of one sweep. Its families are shared with the next one: read them without awaiting. */
export interface Snapshot {
  /** Monotonic. */
  readonly takenAtMs: number
  readonly durationMs: number
  readonly families: readonly Family[]
  readonly sources: readonly SourceReport[]
}
