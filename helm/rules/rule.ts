import { above, and, below, divide, max, multiply, type Query, unless, value } from '../promql.ts'

export type Severity =
  /** Somebody is harmed now, and somebody can do something: wakes people. */
  | 'critical'
  /** Harms somebody soon, or a few already: is looked at today. */
  | 'warning'
  /** Good to know when one looks for something else. */
  | 'info'

type Duration = `${number}${'s' | 'm' | 'h'}`

/** An alert as data; prometheus.ts makes a rule of it. */
export interface Alert {
  readonly name: `Netvitals${string}`
  /** The same for every one of them. */
  readonly summary: string
  /** Who, where, how much, and what to do first; in the language of Prometheus' templates. */
  readonly description: string
  readonly severity: Severity
  readonly for: Duration
  /** For what comes in bursts: they are one alert. */
  readonly keepFiringFor?: Duration
  /** What the value is compared with, by `>` or `<`: once in the query, so that the chart can put another in its place. */
  readonly threshold?: number
  readonly query: Query
}

export interface AlertGroup {
  /** Its file's name. */
  readonly topic: string
  readonly alerts: readonly Alert[]
}

/** What rates are of. */
export const window = '5m'

/** Of one agent. */
export const ofAgent = ['cluster', 'job', 'instance', 'node'] as const

/** In descriptions: the pod or named network namespace, or the host. */
export const owner = '{{ if $labels.pod }}{{ $labels.namespace }}/{{ $labels.pod }}{{ else }}the host{{ end }}'
/** In descriptions: the node by its name, if the scrape knows it. */
export const node = '{{ or $labels.node $labels.instance }}'

/** What part of a whole; of less than the floor, and of nothing, it is nothing. */
export const ratio = <L extends string, R extends L>(part: Query<L>, whole: Query<R>, floor = 0): Query<L> =>
  divide(part, above(whole, floor))

/**
 * What is above the threshold, and so many times what it was an hour before. What was not there then was 0, if the agent
 * was: else everything would have begun suddenly when the agent was installed.
 */
export const suddenly = <L extends string>(
  of: (ago?: string) => Query<L | 'cluster' | 'job' | 'instance'>,
  threshold: number,
  times: number,
): Query<L | 'cluster' | 'job' | 'instance'> =>
  and(
    unless(above(of(), threshold), below(of(), multiply(of('1h'), times))),
    max(value('netvitals_node_info', {}, '1h'), 'cluster', 'job', 'instance'),
    'cluster',
    'job',
    'instance',
  )
