import type { MetricDefinition } from './catalogue.ts'
import type { LabelName } from './labels.ts'

export const userMetricTypes = ['counter', 'gauge', 'histogram', 'summary'] as const

/** What the user declares of a map of a bpftrace script. */
export interface UserMap {
  readonly type: (typeof userMetricTypes)[number]
  readonly help: string
  /** For the columns of the map's key, in their order. */
  readonly labels: readonly string[]
  /** Series; what is beyond is added to one whose labels are all `other`. */
  readonly limit: number
  /** Upper bounds of a histogram, inclusive. */
  readonly bounds?: readonly number[] | undefined
}

/** hist() has buckets of powers of two: the bounds are every second of them, up to 2^32 - 1. */
export const histBounds: readonly number[] = Array.from({ length: 16 }, (_, i) => 4 ** (i + 1) - 1)

/** Metrics that are declared and not in the catalogue: netvitals_user_<map>, of a counter with _total. Their labels are the user's own. */
export function userMetricName(map: string, type: UserMap['type']): string {
  return `netvitals_user_${map}${type === 'counter' && !map.endsWith('_total') ? '_total' : ''}`
}

export const userMetricSource = 'bpftrace-scripts'

export function defineUserMetric({ type, help, labels, limit, bounds }: UserMap, file: string): MetricDefinition {
  return {
    type,
    scope: 'node',
    birth: 'subject',
    source: userMetricSource,
    labels: labels as readonly LabelName[],
    help,
    origin: file,
    seriesMax: limit + 1,
    ...(type === 'histogram' && { bounds: bounds ?? histBounds }),
  }
}
