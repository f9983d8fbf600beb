import type { History } from '../history.ts'
import type { MetricName } from '../metrics/catalogue.ts'
import { parseLabels } from '../metrics/label-text.ts'
import type { Snapshot } from '../metrics/snapshot.ts'

/** One series as the page needs it. */
export interface Reading {
  readonly labels: Readonly<Record<string, string>>
  /** What people call the row: `host`, `shop/frontend`, or the name of a network namespace. */
  readonly row: string
  readonly value: number
  /** How much a counter grew in the time of `grownSeconds`; undefined: not known yet. */
  readonly grown: number | undefined
  /** The same a second. */
  readonly perSecond: number | undefined
  /** Of a histogram or summary: of the values that came in that time. Undefined if there were none. */
  readonly mean: number | undefined
}

/** The time the page looks back. */
export const grownSeconds = 300

/** The series of a metric in the newest snapshot. */
export function createReader(snapshot: Snapshot, history: Pick<History, 'increase'>): (name: MetricName) => readonly Reading[] {
  const families = new Map(snapshot.families.map((family) => [family.name, family.series]))

  return (name) =>
    (families.get(name) ?? []).map((series) => {
      const labels = parseLabels(series.labels)
      const { amount, seconds = 0, sum = 0 } = history.increase(series, grownSeconds) ?? {}
      return {
        labels,
        row: nameRow(labels),
        value: typeof series.value === 'number' ? series.value : Number.NaN,
        grown: amount,
        perSecond: amount === undefined || seconds === 0 ? undefined : amount / seconds,
        mean: amount === undefined || amount === 0 ? undefined : sum / amount,
      }
    })
}

/** What people call it. */
export function nameRow({ namespace, pod }: Readonly<Record<string, string>>): string {
  if (!namespace && !pod) return 'host'
  return namespace === '@netns' ? `netns ${pod}` : `${namespace}/${pod}`
}

const ofRow = ({ row }: Reading): string => row

/** The values of what belongs together, added. */
export function sumValues(
  readings: readonly Reading[],
  keyOf: (reading: Reading) => string = ofRow,
): ReadonlyMap<string, number> {
  const sums = new Map<string, number>()
  for (const reading of readings) sums.set(keyOf(reading), (sums.get(keyOf(reading)) ?? 0) + reading.value)
  return sums
}

/** How much a metric grew in a row. A row without series has not grown; undefined as long as nothing is known of any row. */
export function sumGrowth(readings: readonly Reading[]): (row: string) => number | undefined {
  const known = readings.filter(({ grown }) => grown !== undefined)
  const sums = sumValues(known.map((reading) => ({ ...reading, value: reading.grown ?? 0 })))
  return (row) => sums.get(row) ?? (known.length > 0 ? 0 : undefined)
}
