import type { MetricName } from '../../../agent/metrics/catalogue.ts'
import type { Alert } from '../../../helm/rules/rule.ts'

/** So many minutes at a level: the value of a gauge, what a counter counts per second, or no series. */
export type Stretch = readonly [minutes: number, level: number | 'none']

export interface Series {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  /** Minute by minute, from 0. */
  readonly values: readonly (number | undefined)[]
}
type Labels = Readonly<Record<string, string>>
type Name = MetricName | `${MetricName}_${'bucket' | 'count'}` | 'up'

/** A minute t belongs to a stretch if start < t <= start + minutes; minute 0 belongs to the first. */
export function gauge(name: Name, labels: Labels, ...stretches: readonly Stretch[]): Series {
  const values = stretches.flatMap(([minutes, level]) =>
    Array<number | undefined>(minutes).fill(level === 'none' ? undefined : level),
  )
  return { name, labels, values: [values[0], ...values] }
}

/** What comes back after it was gone begins at 0, as after a start of the agent. */
export function counter(name: Name, labels: Labels, ...stretches: readonly Stretch[]): Series {
  let total = 0
  const values: (number | undefined)[] = [stretches[0]?.[1] === 'none' ? undefined : 0]
  for (const [minutes, level] of stretches)
    for (let minute = 0; minute < minutes; minute++) {
      total = level === 'none' ? 0 : total + level * 60
      values.push(level === 'none' ? undefined : total)
    }
  return { name, labels, values }
}

/** What the scrape of one agent adds. */
export const scraped = (node: string): Labels => ({ cluster: 'main', job: 'netvitals', instance: `${node}:10477`, node })
/** What a metric of a pod has besides. */
export const pod = (name: string, namespace = 'shop'): Labels => ({ ...scraped('node-1'), namespace, pod: name })

/**
 * What an alert is about, told of three subjects: `fault` is above the threshold for long and fires, `below` is just
 * below it, `burst` is far above it, but not for long.
 */
export interface Story {
  readonly alert: Alert['name']
  readonly series: (subject: string, ...stretches: readonly Stretch[]) => readonly Series[]
  readonly normal: number | 'none'
  readonly below: number
  readonly fault: number
  readonly burst: Stretch
  /** When the fault begins. */
  readonly from?: number
  /** Minutes after which it shows: those of the window of a rate. */
  readonly lag: number
  /** Minutes that it has to last. */
  readonly pending: number
  /** Minutes that it takes to be over, beyond those of the window. */
  readonly keeps?: number
  /** What there is besides, and must not fire. */
  readonly also?: readonly Series[]
  /** Of the alert, besides its name and severity. */
  readonly labels: Labels
  readonly description: string
}

/** Who an alert fires for in these minutes, and nobody else. */
export interface Scene {
  readonly alert: Alert['name']
  readonly series: readonly Series[]
  readonly checks: readonly { readonly minute: number; readonly fires: readonly { labels: Labels; description: string }[] }[]
}

const afterwards = 15

/** A story with the minutes at which something is to be the case. */
export function toScene(story: Story): Scene {
  const { alert, series, normal, below, fault, burst, from = 10, lag, pending, keeps = 0, also = [], labels, description } = story
  const lasts = lag + pending + 5
  const isOver = from + lasts + lag + keeps + 2
  const end = isOver + afterwards
  const fires = [{ labels, description }]
  return {
    alert,
    series: [
      ...series('fault', [from, normal], [lasts, fault], [end - from - lasts, normal]),
      ...series('below', [from, normal], [end - from, below]),
      ...series('burst', [from, normal], burst, [end - from - burst[0], normal]),
      ...also,
    ],
    checks: [
      { minute: from, fires: [] },
      // Versions of Prometheus differ by a minute in what a window has in it.
      { minute: from + lag + pending - (lag > 0 ? 2 : 0), fires: [] },
      { minute: from + lag + pending + 1, fires },
      { minute: from + lasts, fires },
      { minute: isOver, fires: [] },
      { minute: end, fires: [] },
    ],
  }
}

/** Something else that is so all the time. */
export const throughout = (stretches: readonly Stretch[], level: number): Stretch => [
  stretches.reduce((sum, [minutes]) => sum + minutes, 0),
  level,
]
/** The same, as something is at each level. */
export const scaled = (stretches: readonly Stretch[], of: (level: number) => number): readonly Stretch[] =>
  stretches.map(([minutes, level]) => [minutes, level === 'none' ? level : of(level)])
