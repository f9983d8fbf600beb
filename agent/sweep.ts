import { ParseError } from '../parsers/text.ts'
import { createEdges, type EdgeRow } from './edges.ts'
import type { History } from './history.ts'
import { NotFound } from './host/errors.ts'
import type { Identity, Row } from './identity/identity.ts'
import { limits } from './limits.ts'
import type { Log } from './log.ts'
import type { MetricName } from './metrics/catalogue.ts'
import { cleanLabelValue } from './metrics/label-text.ts'
import { type LossKind, lossKinds } from './metrics/labels.ts'
import type { Self } from './metrics/self.ts'
import type { Outcome, SeriesValue, Snapshot, SourceReport } from './metrics/snapshot.ts'
import type { SeriesRow, SeriesStore, SourceState } from './series.ts'
import type { EdgeEnds, Sink, Source, Subject } from './sources/source.ts'

/** Asks all sources at once, names the subjects, adds, bounds, times, and hands over a snapshot. */
export interface Sweep {
  /** A snapshot younger than a second: the newest, the one being taken, or a new one. Concurrent callers share it. */
  take(): Promise<Snapshot>
  latest(): Snapshot | undefined
  /** Sweeps by itself while nobody asks. */
  start(): void
  stop(): Promise<void>
}

export interface SweepParts {
  readonly sources: readonly Source[]
  readonly identity: Identity
  readonly store: SeriesStore
  readonly history: History
  readonly self: Self
  /** Single events that readers were too slow for, as a total. */
  readonly lostByReaders?: () => number
  readonly log: Log
  /** Monotonic clock in milliseconds. */
  readonly now?: () => number
}

interface AnySample {
  readonly of: unknown
  readonly labels: object
  readonly value: SeriesValue
}

/** What one source's `collect` did in this sweep. */
interface Collection extends SourceState {
  readonly source: Source
  reason: string | undefined
  parseErrors: number
  durationMs: number
  readonly absent: Map<string, string>
  readonly skippedReasons: Map<string, string>
  readonly caveats: Set<string>
  readonly unresolved: Set<unknown>
  readonly lost: Map<LossKind, number>
}

const describe = (error: unknown): string => cleanLabelValue(error instanceof Error ? error.message : String(error))
const describeSubject = (of: Subject): string =>
  cleanLabelValue(of.netns?.name ?? of.address ?? of.hostDevice ?? `pid ${of.netns?.pid ?? '?'}`)

export function createSweep(parts: SweepParts): Sweep {
  const { sources, identity, store, history, self, log } = parts
  const now = parts.now ?? (() => performance.now())
  const edges = createEdges(identity)
  const busy = new Set<Source>()
  const lastLogged = new Map<string, { text: string; atMs: number }>()
  let newest: Snapshot | undefined
  let running: Promise<Snapshot> | undefined
  let timer: NodeJS.Timeout | undefined
  const stopped = new AbortController()

  /** The sink of one source for one sweep. After `close` a source that goes on too long writes nothing more. */
  function createSink(collection: Collection): { sink: Sink<MetricName>; close: () => void } {
    const { source } = collection
    const writes = new Set<string>(source.writes)
    let open = true
    function demand(name: MetricName): void {
      if (!writes.has(name)) throw new Error(`${source.name} emitted ${name}, which it does not declare`)
    }
    function emit(name: MetricName, sample: AnySample): void {
      if (!open) return
      demand(name)
      const of = sample.of as 'node' | Subject | EdgeEnds
      let row: SeriesRow | undefined
      if (of !== 'node') {
        row = 'reporter' in of ? findEdge(of) : identity.resolve(of)
        if (row === undefined) {
          if (!('reporter' in of)) collection.unresolved.add(of.netns ?? of.address ?? of.hostDevice)
          return
        }
      }
      collection.rows.add(row)
      store.add(name, row, sample.labels as Record<string, string>, sample.value)
    }
    function add(name: MetricName, { of, labels, value }: AnySample): boolean {
      if (!open) return false
      demand(name)
      const row = findEdge(of as EdgeEnds)
      if (row !== undefined) edges.add(row, name, labels as Record<string, string>, value)
      return row !== undefined
    }
    function findEdge(ends: EdgeEnds): EdgeRow | undefined {
      const row = edges.find(ends, now())
      if (row === undefined) collection.unresolved.add(ends[ends.reporter].netns)
      return row
    }
    return {
      sink: {
        emit: emit as Sink<MetricName>['emit'],
        add: add as Sink<MetricName>['add'],
        absent: (metric, reason) => void (open && collection.absent.set(metric, reason)),
        skip: (of, reason) => {
          if (!open) return
          if (reason instanceof ParseError) collection.parseErrors++
          const row = identity.resolve(of)
          if (row !== undefined) collection.skipped.add(row)
          if (collection.skippedReasons.size < limits.skippedReasons)
            collection.skippedReasons.set(describeSubject(of), describe(reason))
        },
        knows: (of) => identity.resolve(of) !== undefined,
        owns: (of, address) => {
          const row = identity.resolve(of)
          return row !== undefined && row === identity.resolve({ address })
        },
        names: (of) => identity.endOf(of) !== undefined,
        unresolved: ({ netns, address, hostDevice }) => void (open && collection.unresolved.add(netns ?? address ?? hostDevice)),
        unreadable: (lines, last) => {
          if (!open) return
          collection.parseErrors += lines
          collection.caveats.add(`lines that could not be read, the last: ${describe(last)}`)
        },
        caveat: (text) => void (open && collection.caveats.add(text)),
        lost: (kind, total) => void (open && collection.lost.set(kind, total)),
      },
      close: () => {
        open = false
      },
    }
  }

  async function collect(source: Source): Promise<Collection> {
    const startedAtMs = now()
    const collection: Collection = {
      source,
      outcome: 'ok',
      reason: undefined,
      parseErrors: 0,
      durationMs: 0,
      rows: new Set(),
      skipped: new Set(),
      absent: new Map(),
      skippedReasons: new Map(),
      caveats: new Set(),
      unresolved: new Set(),
      lost: new Map(),
    }
    const { sink, close } = createSink(collection)
    const deadline = AbortSignal.any([AbortSignal.timeout(limits.sourceDeadlineMs), stopped.signal])
    try {
      if (busy.has(source)) throw new Error('still busy with the sweep before')
      busy.add(source)
      const work = source.collect(sink, deadline).finally(() => busy.delete(source))
      await Promise.race([work, rejectWhenAborted(deadline)])
      if (source.writes.every((metric) => collection.absent.has(metric))) {
        collection.outcome = 'absent'
        collection.reason = [...new Set(collection.absent.values())].join('; ')
      }
    } catch (error) {
      collection.outcome = error instanceof NotFound ? 'absent' : 'failed'
      collection.reason = describe(error)
      if (error instanceof NotFound) for (const metric of source.writes) collection.absent.set(metric, collection.reason)
      if (error instanceof ParseError) collection.parseErrors++
    }
    close()
    collection.durationMs = now() - startedAtMs
    return collection
  }

  /** One place for the log line of an outcome: absence once, failure at a limited rate, recovery once. */
  function logOutcome({ source, outcome, reason }: Collection): void {
    const text = `${outcome} ${reason ?? ''}`
    const last = lastLogged.get(source.name)
    const repeats = last?.text === text && (outcome !== 'failed' || now() - last.atMs < limits.failureLogMs)
    if (repeats || (last === undefined && outcome === 'ok')) return
    lastLogged.set(source.name, { text, atMs: now() })
    if (outcome === 'failed') log.error({ source: source.name, reason }, 'source failed')
    else if (outcome === 'absent') log.info({ source: source.name, reason, needs: source.needs }, 'source absent')
    else log.info({ source: source.name }, 'source works again')
  }

  function writeSelf(collections: readonly Collection[], durationMs: number): void {
    self.clear('netvitals_subjects_skipped')
    const unresolved = new Set<unknown>()
    const lost = new Map<LossKind, number>(lossKinds.map((kind) => [kind, 0]))
    for (const {
      source,
      outcome,
      parseErrors,
      skipped,
      durationMs: sourceMs,
      unresolved: ofSource,
      lost: lostHere,
    } of collections) {
      const labels = { source: source.name }
      self.set('netvitals_source_success', labels, outcome === 'failed' ? 0 : 1)
      self.set('netvitals_source_available', labels, outcome === 'absent' ? 0 : 1)
      self.set('netvitals_source_duration_seconds', labels, sourceMs / 1000)
      self.set('netvitals_subjects_skipped', labels, skipped.size)
      self.add('netvitals_parse_errors_total', labels, parseErrors)
      for (const subject of ofSource) unresolved.add(subject)
      for (const [kind, total] of lostHere) lost.set(kind, (lost.get(kind) ?? 0) + total)
    }
    lost.set('slow_client', parts.lostByReaders?.() ?? 0)
    for (const [kind, total] of lost) self.set('netvitals_lost_events_total', { kind }, total)
    self.set('netvitals_sweep_duration_seconds', {}, durationMs / 1000)
    self.set('netvitals_subjects', {}, identity.rows().filter((row) => row.departedAtMs === undefined).length)
    self.set('netvitals_subjects_unresolved', {}, unresolved.size + identity.unlisted())
    self.set('netvitals_subjects_nested', {}, identity.nested())
    self.set('netvitals_series', {}, store.count())
    self.set('netvitals_series_dropped_total', {}, store.dropped())
  }

  function writeNames(): void {
    self.clear('netvitals_pod_info')
    const tell = (namespace: string, pod: string, workload: Row['workload'], host_network: 'true' | 'false'): void => {
      const { name = '', type = '' } = workload ?? {}
      self.set('netvitals_pod_info', { namespace, pod, workload: name, workload_type: type, host_network }, 1)
    }
    for (const { namespace, pod, workload, isPod } of identity.rows()) if (isPod) tell(namespace, pod, workload, 'false')
    for (const { namespace, name, workload } of identity.hostPods()) tell(namespace, name, workload, 'true')
    for (const [provider, { listedOnce, lastError, lastSuccessAtMs, restarts, leftOut }] of identity.providers()) {
      self.set('netvitals_names_up', { provider }, listedOnce && lastError === undefined ? 1 : 0)
      if (lastSuccessAtMs !== undefined)
        self.set('netvitals_names_last_success_age_seconds', { provider }, (performance.now() - lastSuccessAtMs) / 1000)
      self.set('netvitals_names_restarts_total', { provider }, restarts)
      const invalid = Object.values(leftOut).reduce((sum, count) => sum + count, 0)
      self.set('netvitals_names_invalid_total', { provider }, invalid)
    }
  }

  async function sweepOnce(): Promise<Snapshot> {
    const startedAtMs = now()
    try {
      await identity.refresh(startedAtMs)
    } catch (error) {
      log.error({ reason: describe(error) }, 'cannot look for subjects; those known before are measured')
    }
    const collections = await Promise.all(sources.map(collect))
    const takenAtMs = now()
    edges.each(takenAtMs, (row, { name, labels, value }) => store.add(name, row, labels, value))
    const families = store.commit(takenAtMs, new Map(collections.map((collection) => [collection.source.name, collection])))
    const durationMs = takenAtMs - startedAtMs
    writeSelf(collections, durationMs)
    writeNames()
    collections.forEach(logOutcome)
    newest = { takenAtMs, durationMs, families, sources: collections.map(toReport) }
    history.remember(newest)
    return newest
  }

  const sweep: Sweep = {
    take() {
      if (running !== undefined) return running
      if (newest !== undefined && now() - newest.takenAtMs < limits.sweepAgeMs) return Promise.resolve(newest)
      running = sweepOnce().finally(() => {
        running = undefined
      })
      return running
    },
    latest: () => newest,
    start() {
      timer = setInterval(() => {
        if (newest === undefined || now() - newest.takenAtMs >= limits.sweepIntervalMs) {
          sweep.take().catch((error: unknown) => log.error({ reason: describe(error) }, 'sweep failed'))
        }
      }, 1000)
      timer.unref()
    },
    async stop() {
      clearInterval(timer)
      stopped.abort(new Error('the agent stops'))
      await running?.catch(() => undefined)
    },
  }
  return sweep
}

function toReport({ source, outcome, reason, durationMs, absent, skippedReasons, caveats }: Collection): SourceReport {
  return {
    name: source.name,
    outcome: outcome satisfies Outcome,
    reason,
    durationMs,
    absent,
    caveats: [...caveats],
    skipped: skippedReasons,
  }
}

function rejectWhenAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const fail = (): void =>
      reject(
        signal.reason instanceof Error && signal.reason.name === 'TimeoutError'
          ? new Error(`took longer than ${limits.sourceDeadlineMs} ms`)
          : signal.reason,
      )
    if (signal.aborted) fail()
    else signal.addEventListener('abort', fail, { once: true })
  })
}
