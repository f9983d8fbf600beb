import { pino } from 'pino'
import { createEvents, type Events } from '../agent/events.ts'
import { createHistory, type History } from '../agent/history.ts'
import { createHost, type Host } from '../agent/host/host.ts'
import type { ToolSettings, ToolSignal } from '../agent/host/tools.ts'
import { createIdentity, type PeerNames, type PodNames } from '../agent/identity/identity.ts'
import { limits } from '../agent/limits.ts'
import type { MetricName } from '../agent/metrics/catalogue.ts'
import { createSelf, type Self } from '../agent/metrics/self.ts'
import type { Series, Snapshot } from '../agent/metrics/snapshot.ts'
import { createSeriesStore } from '../agent/series.ts'
import { createSources, mapsReadBy, sourcesOfTools } from '../agent/sources/index.ts'
import type { Source } from '../agent/sources/source.ts'
import { createSweep, type Sweep } from '../agent/sweep.ts'

/** The agent without its HTTP: every call of `sweep` is a new one, and values can be asked for. */
export interface Wiring {
  readonly host: Host
  readonly self: Self
  readonly history: History
  readonly events: Events
  readonly sweeper: Sweep
  readonly now: () => number
  sweep(): Promise<Snapshot>
  /** So much time passes. */
  pass(ms: number): void
  /** The sum of a metric's series that bear these labels, in the newest sweep; undefined if there is none. */
  value(metric: MetricName, labels?: Readonly<Record<string, string>>): number | undefined
  series(metric: MetricName, labels?: Readonly<Record<string, string>>): readonly Series[]
  stop(): Promise<void>
}

interface WiringOptions {
  readonly root?: string
  readonly tracer?: boolean
  /** Trace tools of the user instead of the tracer. */
  readonly tools?: ToolSettings
  /** Names of pods. */
  readonly pods?: PodNames
  /** Names of addresses elsewhere. */
  readonly peers?: PeerNames
  /** Puts something around a source. */
  readonly wrap?: (source: Source) => Source
}

export async function startWiring({
  root = '/',
  tracer = true,
  tools = {},
  pods,
  peers,
  wrap = (source) => source,
}: WiringOptions = {}): Promise<Wiring> {
  const log = pino({ level: 'silent' })
  const untraced = mapsReadBy((Object.keys(tools) as ToolSignal[]).map((signal) => sourcesOfTools[signal]))
  const host = await createHost({ root, tracer, events: tracer, untraced, tools, log })
  let nowMs = 0
  const now = (): number => nowMs + performance.now()
  const history = createHistory()
  const self = createSelf()
  const identity = createIdentity({ host, pods, peers })
  const events = createEvents(identity)
  const sources = createSources(host).map(wrap) // before the start, because tools run only if a source wants to hear them
  await host.start()
  const stopped = new AbortController()
  for (const source of sources) await source.start?.(stopped.signal, events)
  const sweeper = createSweep({
    sources,
    identity,
    store: createSeriesStore(history),
    history,
    self,
    log,
    now,
  })
  let newest: Snapshot | undefined
  const matching = (metric: MetricName, labels: Readonly<Record<string, string>>): readonly Series[] =>
    newest?.families
      .find(({ name }) => name === metric)
      ?.series.filter((one) =>
        Object.entries(labels).every(([label, text]) => `,${one.labels}`.includes(`,${label}="${text}"`)),
      ) ?? []
  return {
    host,
    self,
    history,
    events,
    sweeper,
    now,
    pass: (ms) => void (nowMs += ms),
    async sweep() {
      nowMs += limits.sweepAgeMs
      newest = await sweeper.take()
      return newest
    },
    series: (metric, labels = {}) => matching(metric, labels),
    value(metric, labels = {}) {
      const found = matching(metric, labels)
      return found.length === 0 ? undefined : found.reduce((sum, { value }) => sum + Number(value), 0)
    },
    async stop() {
      stopped.abort()
      await sweeper.stop()
      for (const source of sources) await source.stop?.()
      await host.stop()
    },
  }
}
