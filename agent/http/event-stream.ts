import { Readable } from 'node:stream'
import { type EventMessage, type Events, eventSchemaVersion, type NotShown } from '../events.ts'
import { limits } from '../limits.ts'

/** The first line of a stream. */
export interface EventStreamHeader {
  readonly schemaVersion: number
  /** Whose events these are. */
  readonly node: string
  /** So many of the next lines tell of what was before the question. */
  readonly recent: number
  /** What went well is told too. */
  readonly routine: boolean
}

export interface EventStreamRequest {
  /** The newest so many of what is kept. */
  readonly last: number
  /** Goes on with what happens until the reader goes or the agent stops. */
  readonly follow: boolean
  /** What went well too. */
  readonly routine: boolean
}

export interface EventStreams {
  /** Lines of JSON: the header, then messages. Undefined: there are too many readers. */
  open(request: EventStreamRequest): Readable | undefined
  /** Events that readers did not take in time, summed over all since the start. */
  lost(): number
  /** Every reader is given what waits for it, and then the end. */
  stop(): void
}

/** A queue for each reader. What does not fit is counted, and the reader is told where it would have stood. */
export function createEventStreams(events: Pick<Events, 'recent' | 'subscribe'>, node: string): EventStreams {
  const ends = new Set<() => void>()
  let lost = 0

  function open({ last, follow, routine }: EventStreamRequest): Readable | undefined {
    if (ends.size >= limits.eventReaders) return undefined
    const isWanted = (message: EventMessage): boolean => routine || !message.routine
    const queue: EventMessage[] = last === 0 ? [] : events.recent().filter(isWanted).slice(-last)
    const header: EventStreamHeader = { schemaVersion: eventSchemaVersion, node, recent: queue.length, routine }
    /** What did not fit since the queue was full: it comes after all of the queue. */
    const missed = new Map<string, NotShown>()
    let isAsked = false
    let isEnding = !follow

    function add(message: EventMessage): void {
      if (!isWanted(message)) return
      if (queue.length >= limits.eventsQueued) miss(message)
      else {
        admitMissed()
        queue.push(message)
      }
      give()
    }

    function miss(message: EventMessage): void {
      const [of, more] = message.type === 'not_shown' ? [message.of, message.count] : (['slow_reader', 1] as const)
      if (of === 'slow_reader') lost += more
      const isRoutine = of !== 'slow_reader' && message.routine === true
      const key = `${of} ${isRoutine}`
      const count = (missed.get(key)?.count ?? 0) + more
      missed.set(key, { time: message.time, type: 'not_shown', of, count, ...(isRoutine && { routine: true }) })
    }

    function admitMissed(): void {
      queue.push(...missed.values())
      missed.clear()
    }

    /** As much as the reader takes now. */
    function give(): void {
      while (isAsked) {
        if (queue.length === 0) admitMissed()
        const some = queue.splice(0, limits.eventsPerWrite)
        if (some.length > 0) isAsked = stream.push(some.map(toLine).join(''))
        else {
          if (isEnding) isAsked = stream.push(null)
          return
        }
      }
    }

    function end(): void {
      isEnding = true
      unsubscribe()
      give()
    }

    const unsubscribe = follow ? events.subscribe(add) : () => undefined
    const stream = new Readable({
      read() {
        isAsked = true
        give()
      },
      destroy(error, done) {
        unsubscribe()
        ends.delete(end)
        done(error)
      },
    })
    stream.push(toLine(header))
    ends.add(end)
    return stream
  }

  return {
    open,
    lost: () => lost,
    stop() {
      for (const end of ends) end()
    },
  }
}

const toLine = (value: EventStreamHeader | EventMessage): string => `${JSON.stringify(value)}\n`
