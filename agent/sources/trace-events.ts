import type { Host } from '../host/host.ts'
import { type TracedEvent, type TracedEventType, tracedEventTypes } from '../host/traced-events.ts'
import { limits } from '../limits.ts'
import { type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import { categoryOfDropReason } from '../metrics/drop-category.ts'
import { connectOutcomes, retransmitKinds, tcpStateByNumber } from '../metrics/labels.ts'
import type { EventReport, Out, Source } from './source.ts'
import { tracerNeeds } from './traced-counters.ts'

type Metric = MetricsOf<'trace-events'>

const TCP_CLOSE = 7
const stateName = (state: number): string | undefined => (state === TCP_CLOSE ? 'close' : tcpStateByNumber[state])
const reportMs = 1000
/** What is granted each time. */
const share = (limits.eventsPerSecond * limits.eventsIntervalMs) / 1000

/** Single drops, resets, retransmissions and failed connects: as many as the kernel is granted, and the exact number of the others. */
export function createTraceEvents(host: Host, now: () => number = () => performance.now()): Source<Metric> {
  const { tracer, namespaces, symbols } = host
  const shown = new Map<TracedEventType, number>(tracedEventTypes.map((type) => [type, 0]))
  /** Not shown, as far as it was told. */
  const told = new Map<TracedEventType, number>(tracedEventTypes.map((type) => [type, 0]))
  let toldAtMs = 0
  let out: Out | undefined
  let draining: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined
  let offsetMs = 0

  /** Wall clock of the kernel's time; steady, so that events stay in their order, until somebody sets the clock. */
  function toWallMs(monotonicMs: number): number {
    const offset = Date.now() - Number(process.hrtime.bigint()) / 1e6
    if (Math.abs(offset - offsetMs) > 2) offsetMs = offset
    return monotonicMs + offsetMs
  }

  function toReport(event: TracedEvent, functionName: string | undefined): EventReport {
    const { type, family, protocol, source, destination, packets, reason, state } = event
    const netns = namespaces.find(event.inode, event.cookie32) ?? namespaces.stranger(event.inode, event.cookie32)
    const isSourceSubject = type === 'drop' ? event.direction === 'out' : type !== 'reset_received'
    const isForwarded = type === 'drop' && event.direction === 'forward'
    const base = {
      type,
      of: { netns },
      timeMs: toWallMs(event.monotonicMs),
      source: { ...source, isSubject: isSourceSubject },
      destination: { ...destination, isSubject: !isSourceSubject && !isForwarded },
      family,
      protocol,
    }
    const stateOf = stateName(state)
    switch (type) {
      case 'drop': {
        const name = tracer.reasonName(reason)
        return {
          ...base,
          direction: event.direction,
          reason: name,
          category: categoryOfDropReason(name),
          ...(functionName !== undefined && { function: functionName }),
          ...(event.flags.length > 0 && { flags: event.flags }),
          ...(packets > 1 && { packets }),
          bytes: event.bytes,
        }
      }
      case 'reset_sent':
        return { ...base, reason: tracer.resetReasonName(reason), ...(stateOf !== undefined && { state: stateOf }) }
      case 'reset_received':
        return { ...base, ...(stateOf !== undefined && { state: stateOf }) }
      case 'retransmit':
        return {
          ...base,
          kind: retransmitKinds[reason] ?? 'fast',
          ...(stateOf !== undefined && { state: stateOf }),
          ...(packets > 1 && { packets }),
        }
      case 'connect':
        return { ...base, outcome: connectOutcomes[reason] ?? 'other' }
    }
  }

  const isUnspecified = ({ type, reason }: TracedEvent): boolean =>
    type === 'drop' && tracer.reasonName(reason) === 'not_specified'

  async function drain(): Promise<void> {
    const { events } = tracer
    if (events === undefined || out === undefined) return
    const taken = events.take()
    events.grant(share, limits.eventsPerSecond)
    for (const { type, packets } of taken) shown.set(type, shown.get(type)! + packets)
    const locations = taken.filter(isUnspecified).map(({ location }) => location)
    const functions = locations.length > 0 ? await symbols.find(locations) : undefined
    for (const event of taken) out.event(toReport(event, isUnspecified(event) ? functions?.get(event.location) : undefined))
    if (now() - toldAtMs < reportMs) return
    toldAtMs = now()
    for (const type of tracedEventTypes) {
      const total = events.notShown(type)
      const before = told.get(type)!
      if (total > before) out.notShown(type, total - before, Date.now())
      told.set(type, total)
    }
  }

  /** One at a time: events stay in their order. */
  function drainAlone(): Promise<void> {
    draining ??= drain().finally(() => {
      draining = undefined
    })
    return draining
  }

  return {
    name: 'trace-events',
    writes: metricsOf('trace-events'),
    needs: [...tracerNeeds, { file: '/proc/kallsyms' }],
    async start(signal, to) {
      out = to
      if (tracer.events === undefined) return
      timer = setInterval(() => drainAlone().catch(() => undefined), limits.eventsIntervalMs) // `collect` tells why
      timer.unref()
      signal.addEventListener('abort', () => clearInterval(timer), { once: true })
      await drainAlone()
      tracer.events.grant(limits.eventsPerSecond, limits.eventsPerSecond)
    },
    async collect(sink) {
      await drainAlone()
      const reasons = tracedEventTypes.map((type) => [type, tracer.missingEvents(type)] as const)
      const missing = reasons.filter(([, reason]) => reason !== undefined)
      if (tracer.events === undefined || missing.length === tracedEventTypes.length) {
        const reason = [...new Set(missing.map(([, why]) => why))].join('; ') || 'not started'
        for (const metric of metricsOf('trace-events')) sink.absent(metric, reason)
        return
      }
      for (const [type, reason] of missing) sink.caveat(`no single events of type ${type}: ${reason}`)
      if (symbols.missing !== undefined) sink.caveat(`drops without a reason are shown without the function: ${symbols.missing}`)
      for (const [kind, reason] of reasons) {
        if (reason !== undefined) continue
        sink.emit('netvitals_events_shown_total', { of: 'node', labels: { kind }, value: shown.get(kind)! })
        sink.emit('netvitals_events_not_shown_total', { of: 'node', labels: { kind }, value: tracer.events.notShown(kind) })
      }
    },
    async stop() {
      clearInterval(timer)
      await draining?.catch(() => undefined)
    },
  }
}
