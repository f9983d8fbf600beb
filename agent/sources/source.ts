import type { NetworkNamespace } from '../host/namespaces.ts'
import type { Catalogue, MetricName } from '../metrics/catalogue.ts'
import type { LabelName, LabelValue, LossKind } from '../metrics/labels.ts'

/** What a value is about, in the kernel's own terms. Sources never see Kubernetes. */
export type Subject =
  | { readonly netns: NetworkNamespace; readonly address?: never; readonly hostDevice?: never }
  | { readonly address: string; readonly netns?: never; readonly hostDevice?: never }
  /** A device of the host that identity may know as a pod's end. */
  | { readonly hostDevice: string; readonly netns?: never; readonly address?: never }

/** Buckets are not cumulative; `counts` has one more than the bounds, for what is above the last. */
export interface HistogramValue {
  readonly counts: readonly number[]
  readonly sum: number
}
export interface SummaryValue {
  readonly sum: number
  readonly count: number
}

interface Scopes {
  node: 'node'
  pod: Subject
  edge: { readonly client: Subject; readonly server: Subject; readonly reporter: 'client' | 'server' }
}
interface Values {
  counter: number
  gauge: number
  histogram: HistogramValue
  summary: SummaryValue
}

type Own<M extends MetricName> = Catalogue[M]['labels'][number]
/** A metric may close a label's free text further, in its own `only` list. */
type ValueOf<M extends MetricName, L extends LabelName> = Catalogue[M] extends {
  readonly only: { readonly [K in L]: readonly (infer V extends string)[] }
}
  ? V
  : LabelValue<L>
type Labels<M extends MetricName> = { readonly [L in Own<M>]: ValueOf<M, L> } & {
  readonly [L in Exclude<LabelName, Own<M>>]?: never
}
interface One<M extends MetricName> {
  readonly of: Scopes[Catalogue[M]['scope']]
  readonly labels: Labels<M>
  readonly value: Values[Catalogue[M]['type']]
}
/** What every name of a union accepts; boxed so that unions inside a field survive. */
type Every<M extends MetricName, F extends keyof One<M>> = (
  M extends MetricName
    ? (x: { box: One<M>[F] }) => void
    : never
) extends (x: infer X extends { box: unknown }) => void
  ? X['box']
  : never

/** One absolute value: counters are totals, never deltas. Several of one series in one sweep are added (or the largest taken, as the catalogue says). */
export interface Sample<M extends MetricName> {
  readonly of: Every<M, 'of'>
  readonly labels: Every<M, 'labels'>
  readonly value: Every<M, 'value'>
}

export interface Sink<M extends MetricName> {
  emit<K extends M>(metric: K, sample: Sample<K>): void
  /** This kernel or configuration cannot give it: no zeros, `check` says so. */
  absent(metric: M, reason: string): void
  /** One subject could not be read this time: counted, what was emitted for it is discarded, the others intact, its last values held. */
  skip(of: Subject, reason: string | Error): void
  /** What the numbers of this source do not tell on this kernel, in a sentence; `check` says it. */
  caveat(text: string): void
  /** What a stage could not keep, as a total since the agent's start. */
  lost(kind: LossKind, total: number): void
}

export type Need =
  | { readonly file: string }
  | { readonly tracepoint: string }
  | { readonly capability: string }
  | { readonly library: string }
  | { readonly kernel: string }

/** Joins one reader with one parser. `collect` either emits every current value once, or throws: then the source failed this sweep and nothing it emitted is kept. */
export interface Source<M extends MetricName = MetricName> {
  /** File name = config key = `source` label. */
  readonly name: string
  /** The only metrics it may emit. */
  readonly writes: readonly M[]
  /** What it reads best with; printed by `netvitals check`, listed in docs/reference.md. */
  readonly needs: readonly Need[]
  /** Takes long-lived things, such as a tracer. */
  start?(signal: AbortSignal): Promise<void>
  collect(sink: Sink<M>, signal: AbortSignal): Promise<void>
  stop?(): Promise<void>
}
