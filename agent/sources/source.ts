import type { ParseError } from '../../parsers/text.ts'
import type { NetworkNamespace } from '../host/namespaces.ts'
import type { Catalogue, MetricName } from '../metrics/catalogue.ts'
import type { EventType, LabelName, LabelValue, LossKind } from '../metrics/labels.ts'

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

/** The two ends of connections, and which of them has seen them. */
export interface EdgeEnds {
  readonly client: Subject
  readonly server: Subject
  readonly reporter: 'client' | 'server'
}
interface Scopes {
  node: 'node'
  pod: Subject
  edge: EdgeEnds
}
interface Values {
  counter: number
  gauge: number
  histogram: HistogramValue
  summary: SummaryValue
}

/** Metrics whose rows sum what several subjects have done, and keep it when those are gone. */
type Summed = {
  [M in MetricName]: Catalogue[M] extends { readonly scope: 'edge'; readonly type: 'counter' | 'summary' } ? M : never
}[MetricName]

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
  /**
   * Of an edge: what has come since it was last told, for the row to add. False: nobody knows one of the two; it is to be
   * told again. What was added stays so, even if the source fails afterwards.
   */
  add<K extends M & Summed>(metric: K, sample: Sample<K>): boolean
  /** This kernel or configuration cannot give it: no zeros, `check` says so. */
  absent(metric: M, reason: string): void
  /** One subject could not be read this time: counted, what was emitted for it is discarded, the others intact, its last values held. */
  skip(of: Subject, reason: string | Error): void
  /** Would something emitted of it find a row now? */
  knows(of: Subject): boolean
  /** Is the address one of the subject's? */
  owns(of: Subject, address: string): boolean
  /** Has it a name as one end of an edge? Else it would be `external`. */
  names(of: Subject): boolean
  /** Something was told of one that nobody knows: it is counted as such. */
  unresolved(of: Subject): void
  /** So many lines more that could not be read, and the last of them; the others were. */
  unreadable(lines: number, last: ParseError): void
  /** What the numbers of this source do not tell on this kernel, in a sentence; `check` says it. */
  caveat(text: string): void
  /** What a stage could not keep, as a total since the agent's start. */
  lost(kind: LossKind, total: number): void
}

/** One end as the kernel tells it. */
export interface EventEndReport {
  /** It is the one the event is about; the other end may be anywhere. */
  readonly isSubject: boolean
  /** 10.0.0.1 or 2001:db8::1 */
  readonly address: string | undefined
  /** Undefined for protocols without ports. */
  readonly port: number | undefined
}

/** A single event in the kernel's own terms. Of a drop `source` and `destination` are the packet's; otherwise the source is who sent the reset, the segment or the SYN. */
export interface EventReport {
  readonly type: EventType
  /** Whose namespace. */
  readonly of: Subject
  /** Wall clock, milliseconds with a fraction. */
  readonly timeMs: number
  readonly source: EventEndReport
  readonly destination: EventEndReport
  readonly family: 'ipv4' | 'ipv6' | 'other'
  readonly protocol: 'tcp' | 'udp' | 'icmp' | 'other'
  /** Of a drop, relative to its namespace. */
  readonly direction?: 'in' | 'out' | 'forward'
  /** Of a drop and of a sent reset: the kernel's name for why. */
  readonly reason?: string
  /** Of a drop: what kind the reason is. */
  readonly category?: string
  /** Of a drop without a reason: where in the kernel, such as `tcp_v4_rcv+0x9c7`. */
  readonly function?: string
  /** Of a dropped TCP packet: SYN, ACK … */
  readonly flags?: readonly string[]
  /** Of the socket, of the other types: the TCP state, in lower case. */
  readonly state?: string
  /** Of a retransmission: what made TCP send again. */
  readonly kind?: string
  /** Of a connect: how it failed. */
  readonly outcome?: string
  /** Of a drop, where more than one: packets of a GSO packet. Of a retransmission: segments. */
  readonly packets?: number
  /** Of a drop: from the network header on. */
  readonly bytes?: number
  /** Of a DNS query, whose source is who asked. */
  readonly dns?: DnsEvent
  /** Of an HTTP request, the same. */
  readonly http?: HttpEvent
}

export interface DnsEvent {
  /** Of the message. */
  readonly id: number
  /** In lower case without the last dot, printable; the root is ''. */
  readonly name: string
  /** As IANA names it: AAAA; TYPE65400. */
  readonly queryType: string
  /** NXDOMAIN; RCODE99. Undefined: unanswered. */
  readonly responseCode?: string
  /** From the query to its answer. */
  readonly durationMs?: number
  /** A and AAAA records in the answer. */
  readonly addressCount?: number
}

export interface HttpEvent {
  /** `other` is none of RFC 9110. */
  readonly method: string
  /** Without what follows a `?`; printable, at most 256 characters. */
  readonly path: string
  /** The same; empty: not told. */
  readonly host: string
  /** Undefined: unanswered. */
  readonly status?: number
  /** From the first byte of the request to the first byte of its answer. */
  readonly durationMs?: number
}

/** The way out for what is not a number. */
export interface Out {
  event(report: EventReport): void
  /** So many more events of the type there were, and are not shown; or, told apart, so many that went well. */
  notShown(of: EventType, count: number, timeMs: number, isRoutine?: boolean): void
}

export type Need =
  | { readonly file: string }
  | { readonly tracepoint: string }
  | { readonly capability: string }
  | { readonly library: string }
  | { readonly program: string }
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
  start?(signal: AbortSignal, out: Out): Promise<void>
  collect(sink: Sink<M>, signal: AbortSignal): Promise<void>
  stop?(): Promise<void>
}
