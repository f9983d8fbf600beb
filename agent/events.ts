import type { Identity } from './identity/identity.ts'
import { limits } from './limits.ts'
import type { EventType } from './metrics/labels.ts'
import type { EventEndReport, EventReport, Subject } from './sources/source.ts'

/** Of what `observe -o json` and /api/v1/events print; a field may be added within a version, never changed. */
export const eventSchemaVersion = 1

/** One end of a connection or packet. What is not known is left out. */
export interface EventEnd {
  /** Kubernetes namespace, or `@netns`; with `pod` both empty for the host itself. */
  readonly namespace?: string
  readonly pod?: string
  /** What the pod belongs to; without a pod the Service, or the network, that has the address. */
  readonly workload?: string
  readonly address?: string
  readonly port?: number
}

/** A single event, as people see it. The kernel's words are in lower case. */
export interface NetworkEvent extends Omit<EventReport, 'of' | 'source' | 'destination' | 'timeMs'> {
  /** 2026-11-26T18:20:01.123456Z, by this machine's clock. */
  readonly time: string
  readonly source: EventEnd
  readonly destination: EventEnd
  /** It went well: to be seen by who asks for it. */
  readonly routine?: true
}

/** Events there were, but that are not shown: more came than the limit lets through, or than one reader took in time. */
export interface NotShown {
  readonly time: string
  readonly type: 'not_shown'
  readonly of: EventType | 'slow_reader'
  /** Exactly. In packets for drops, segments for retransmissions; events for a slow reader. */
  readonly count: number
  /** All of them went well. */
  readonly routine?: true
}
export type EventMessage = NetworkEvent | NotShown

export interface Events {
  /** Names both ends, keeps the event and tells everybody who listens. */
  event(report: EventReport): void
  notShown(of: EventType, count: number, timeMs: number, isRoutine?: boolean): void
  /** The newest by their time, oldest first: at most limits.eventsKept, and limits.routineEventsKept of what went well. */
  recent(): readonly EventMessage[]
  /** Until the returned function is called. */
  subscribe(listener: (message: EventMessage) => void): () => void
}

/** The bounded stream of single events, for `observe`. What went well never takes the place of what did not. */
export function createEvents(identity: EndNames, now = () => performance.now()): Events {
  const kept = createKeep(limits.eventsKept)
  const routine = createKeep(limits.routineEventsKept)
  const listeners = new Set<(message: EventMessage) => void>()

  function publish(message: EventMessage): void {
    ;(message.routine ? routine : kept).add(message)
    for (const listener of listeners) listener(message)
  }

  return {
    event({ of, timeMs, source, destination, ...rest }) {
      publish({
        time: formatTime(timeMs),
        ...rest,
        source: nameEnd(source, of, identity, now),
        destination: nameEnd(destination, of, identity, now),
        ...(isAnsweredWell(rest) && { routine: true }),
      })
    },
    notShown(of, count, timeMs, isRoutine = false) {
      publish({ time: formatTime(timeMs), type: 'not_shown', of, count, ...(isRoutine && { routine: true }) })
    },
    recent: () => [...kept.newest(), ...routine.newest()].sort(byTime),
    subscribe(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
  }
}

/** An unanswered query is told seconds after it was sent. */
const byTime = (a: EventMessage, b: EventMessage): number => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0)

/** The newest `most`. */
function createKeep(most: number): { add(message: EventMessage): void; newest(): readonly EventMessage[] } {
  const kept: EventMessage[] = []
  return {
    add(message) {
      kept.push(message)
      if (kept.length > 2 * most) kept.splice(0, kept.length - most)
    },
    newest: () => kept.slice(-most),
  }
}

/** Without an error, and not slowly. */
function isAnsweredWell({ dns, http }: Pick<EventReport, 'dns' | 'http'>): boolean {
  if (dns !== undefined) return dns.responseCode === 'NOERROR' && (dns.durationMs ?? 0) <= limits.dnsSlowMs
  return http?.status !== undefined && http.status < 400 && (http.durationMs ?? 0) <= limits.httpSlowMs
}

type EndNames = Pick<Identity, 'resolve' | 'endOf' | 'lookForUnknown'>

/** What people call it, as far as it is known. */
export function nameOf(
  subject: Subject,
  names: Pick<Identity, 'resolve' | 'endOf'>,
): Pick<EventEnd, 'namespace' | 'pod' | 'workload'> {
  const row = names.resolve(subject)
  const { namespace, pod, workload } = row ? { ...row, workload: row.workload?.name } : (names.endOf(subject) ?? {})
  return {
    ...(namespace !== undefined && { namespace }),
    ...(pod !== undefined && { pod }),
    ...(workload !== undefined && { workload }),
  }
}

function nameEnd({ isSubject, address, port }: EventEndReport, of: Subject, names: EndNames, now: () => number): EventEnd {
  const subject: Subject | undefined = isSubject ? of : address === undefined ? undefined : { address }
  const row = subject && names.resolve(subject)
  if (row === undefined && isSubject) names.lookForUnknown(now())
  return {
    ...(subject && nameOf(subject, names)),
    ...(address !== undefined && { address }),
    ...(port !== undefined && { port }),
  }
}

/** To the microsecond. */
function formatTime(timeMs: number): string {
  const whole = Math.floor(timeMs)
  const microseconds = Math.floor((timeMs - whole) * 1000)
  return `${new Date(whole).toISOString().slice(0, -1)}${String(microseconds).padStart(3, '0')}Z`
}
