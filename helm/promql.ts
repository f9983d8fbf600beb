import type { Catalogue, MetricName, rowLabels } from '../agent/metrics/catalogue.ts'
import type { LabelName, LabelValue } from '../agent/metrics/labels.ts'

// PromQL on the catalogue's types: a metric or a label that is not there, or the rate of a gauge, does not compile.

/** What the scrape adds to every series. */
export type TargetLabel = 'job' | 'instance' | 'node' | 'cluster'
/** What identifies one agent. */
const target = ['job', 'instance'] as const

type OfType<T extends string> = { [M in MetricName]: Catalogue[M]['type'] extends T ? M : never }[MetricName]
export type Counter = OfType<'counter'>
export type Gauge = OfType<'gauge'>
export type Histogram = OfType<'histogram'>
export type Summary = OfType<'summary'>
export type LabelOf<M extends MetricName> =
  | Catalogue[M]['labels'][number]
  | (typeof rowLabels)[Catalogue[M]['scope']][number]
  | TargetLabel
type AnyLabel = LabelName | TargetLabel
type ValueOf<L> = L extends LabelName ? LabelValue<L> : string

/** Of a label: `=` a value, or one of these. */
export type Matcher<V extends string = string> =
  | V
  | { readonly anyOf: readonly V[] }
  | { readonly noneOf: readonly V[] }
  | Pattern
interface Pattern {
  readonly pattern: string
  readonly isNegative: boolean
}
/** Matches by a regular expression, which a variable of a dashboard is. */
export const like = (pattern: string): Pattern => ({ pattern, isNegative: false })
export const unlike = (pattern: string): Pattern => ({ pattern, isNegative: true })

/** Of a metric's series those whose labels match; of several matchers of one label, all have to. */
export type Match<M extends MetricName> = {
  readonly [L in LabelOf<M>]?: Matcher<ValueOf<L>> | readonly Matcher<ValueOf<L>>[]
} & {
  readonly [L in Exclude<AnyLabel, LabelOf<M>>]?: never
}

/** An expression whose result has these labels. */
export interface Query<L extends string = string> {
  readonly text: string
  /** Binds weaker than a function's argument or a selector. */
  readonly isBinary?: boolean
  /** Exists for the compiler alone. */
  readonly labels?: L
}

/** In a dashboard: as long as the distance of its points asks for, and at least four scrapes. */
export const stepWindow = '$__rate_interval'
/** In a dashboard: all that it shows. */
export const shownWindow = '$__range'

const quote = (text: string): string => JSON.stringify(text)
function matcherText(label: string, matcher: Matcher): string {
  if (typeof matcher === 'string') return `${label}=${quote(matcher)}`
  if ('pattern' in matcher) return `${label}${matcher.isNegative ? '!~' : '=~'}${quote(matcher.pattern)}`
  if ('anyOf' in matcher) return `${label}=~${quote(matcher.anyOf.join('|'))}`
  return `${label}!~${quote(matcher.noneOf.join('|'))}`
}
function selector(metric: MetricName | 'up', match: object, suffix = ''): string {
  const matchers = Object.entries(match as Record<string, Matcher | readonly Matcher[]>).flatMap(([label, those]) =>
    [those].flat().map((one) => matcherText(label, one)),
  )
  return `${metric}${suffix}${matchers.length === 0 ? '' : `{${matchers.join(', ')}}`}`
}
const query = <L extends string>(text: string): Query<L> => ({ text })
const binary = <L extends string>(text: string): Query<L> => ({ text, isBinary: true })
const nested = ({ text, isBinary }: Query): string => (isBinary ? `(${text})` : text)

/** As it was so long ago. */
const offset = (ago: string | undefined): string => (ago === undefined ? '' : ` offset ${ago}`)

/** Of a gauge, as it is, or was so long ago. */
export const value = <M extends Gauge>(metric: M, match: Match<M>, ago?: string): Query<LabelOf<M>> =>
  query(`${selector(metric, match)}${offset(ago)}`)
/** Of a gauge, its largest value in the time, which ended so long ago. */
export const highest = <M extends Gauge>(
  metric: M,
  match: Match<M>,
  window: string = shownWindow,
  ago?: string,
): Query<LabelOf<M>> => query(`max_over_time(${selector(metric, match)}[${window}]${offset(ago)})`)
export const lowest = <M extends Gauge>(
  metric: M,
  match: Match<M>,
  window: string = shownWindow,
  ago?: string,
): Query<LabelOf<M>> => query(`min_over_time(${selector(metric, match)}[${window}]${offset(ago)})`)
/** Of a gauge, what it grows by per second: the slope of the line that fits its values best. */
export const growth = <M extends Gauge>(metric: M, match: Match<M>, window: string): Query<LabelOf<M>> =>
  query(`deriv(${selector(metric, match)}[${window}])`)
/** Of a counter, per second, in the time that ended so long ago. */
export const rate = <M extends Counter>(
  metric: M,
  match: Match<M>,
  window: string = stepWindow,
  ago?: string,
): Query<LabelOf<M>> => query(`rate(${selector(metric, match)}[${window}]${offset(ago)})`)
/** Of a counter, in the whole time. */
export const increase = <M extends Counter>(metric: M, match: Match<M>, window: string = stepWindow): Query<LabelOf<M>> =>
  query(`increase(${selector(metric, match)}[${window}])`)
/** How many times a histogram or summary has counted, per second. */
export const countRate = <M extends Histogram | Summary>(
  metric: M,
  match: Match<M>,
  window: string = stepWindow,
): Query<LabelOf<M>> => query(`rate(${selector(metric, match, '_count')}[${window}])`)
/** What a histogram or summary has counted, added up, per second. */
export const sumRate = <M extends Histogram | Summary>(
  metric: M,
  match: Match<M>,
  window: string = stepWindow,
): Query<LabelOf<M>> => query(`rate(${selector(metric, match, '_sum')}[${window}])`)
/** How many fell into each bucket. */
export const buckets = <M extends Histogram>(metric: M, match: Match<M>, window: string = stepWindow): Query<LabelOf<M> | 'le'> =>
  query(`increase(${selector(metric, match, '_bucket')}[${window}])`)
export const quantile = <L extends string>(share: number, of: Query<L | 'le'>): Query<Exclude<L, 'le'>> =>
  query(`histogram_quantile(${share}, ${of.text})`)

type Aggregation = 'sum' | 'max' | 'min' | 'avg' | 'count'
const aggregate =
  (name: Aggregation) =>
  <L extends string, B extends L = never>(of: Query<L>, ...by: readonly B[]): Query<B> =>
    query(by.length === 0 ? `${name}(${of.text})` : `${name} by (${by.join(', ')}) (${of.text})`)
export const sum = aggregate('sum')
export const max = aggregate('max')
export const min = aggregate('min')
export const avg = aggregate('avg')
export const count = aggregate('count')
/** Over these labels; all others stay, also those that only the scrape knows. */
export const sumWithout = <L extends string, W extends L>(of: Query<L>, ...without: readonly W[]): Query<Exclude<L, W>> =>
  query(`sum without (${without.join(', ')}) (${of.text})`)
export const topk = <L extends string>(most: number, of: Query<L>): Query<L> => query(`topk(${most}, ${of.text})`)
export const bottomk = <L extends string>(fewest: number, of: Query<L>): Query<L> => query(`bottomk(${fewest}, ${of.text})`)

/** Between series of equal labels, `on` some of them if told. */
const operate =
  (operator: string) =>
  <L extends string, R extends L>(left: Query<L>, right: Query<R> | number, ...on: readonly R[]): Query<L> => {
    const matching = on.length === 0 ? '' : ` on (${on.join(', ')})`
    return binary(`${nested(left)}\n${operator}${matching} ${typeof right === 'number' ? right : nested(right)}`)
  }
export const divide = operate('/')
export const multiply = operate('*')
export const add = operate('+')
export const subtract = operate('-')
export const above = operate('>')
export const below = operate('<')
export const equals = operate('==')
export const and = operate('and')
export const or = operate('or')
export const unless = operate('unless')

/** 0 where there is none of it, but is something of the other. */
export const orZero = <L extends string, R extends L>(of: Query<L>, other: Query<R>): Query<L> => or(of, multiply(other, 0))
/** A part of a whole: 0 if there is nothing of it, and nothing if there is no whole. */
export const share = <L extends string, R extends L>(part: Query<L>, whole: Query<R>): Query<L> =>
  divide(orZero(part, whole), above(whole, 0))

/** Many series of the left beside one of the right; the result has the left's labels. */
export const divideByOne = <L extends string, R extends L>(left: Query<L>, right: Query<R>, ...on: readonly R[]): Query<L> =>
  binary(`${nested(left)}\n/ on (${on.join(', ')}) group_left () ${nested(right)}`)

type PodLabel = (typeof target)[number] | 'namespace' | 'pod'
/** With the workload that each pod belongs to; without what is no pod's. */
export const withWorkload = <L extends string>(
  of: Query<L> & (PodLabel extends L ? unknown : never),
  match: Match<'netvitals_pod_info'>,
): Query<L | 'workload' | 'workload_type'> =>
  binary(
    `${nested(of)}\n* on (${[...target, 'namespace', 'pod'].join(', ')}) group_left (workload, workload_type) ${selector('netvitals_pod_info', match)}`,
  )

/** A label made of others. */
export const labelJoin = <L extends string, N extends string>(
  of: Query<L>,
  name: N,
  separator: string,
  ...from: readonly L[]
): Query<L | N> => query(`label_join(${of.text}, ${[name, separator, ...from].map(quote).join(', ')})`)

/** With a label made of another's value where that fits the pattern, which may be empty; else as it was. */
export const labelReplace = <L extends string, N extends string>(
  of: Query<L>,
  name: N,
  replacement: string,
  from: NoInfer<L>,
  pattern: string,
): Query<L | N> => query(`label_replace(${of.text}, ${[name, replacement, from, pattern].map(quote).join(', ')})`)

/** With one more label, so that series of several metrics can stand side by side. */
export const labelled = <L extends string, N extends string>(of: Query<L>, name: N, text: string): Query<L | N> =>
  query(`label_replace(${of.text}, ${[name, text, '', ''].map(quote).join(', ')})`)

/** Whether Prometheus could scrape a target, by what it was told of it. */
export const isUp = (match: { readonly [L in TargetLabel]?: Matcher }): Query<TargetLabel> => query(selector('up', match))
/** 1 where there is no such series at all. */
export const absent = (of: Query): Query<never> => query(`absent(${of.text})`)

export const function_ = <L extends string>(
  name: 'clamp_min' | 'round' | 'abs',
  of: Query<L>,
  ...rest: readonly number[]
): Query<L> => query(`${name}(${[of.text, ...rest].join(', ')})`)
