import { createHttpExchanges, type HttpConnection, type HttpCounts } from '../../parsers/http-exchange.ts'
import { type HttpMethod, type HttpUnreadable, httpMethods } from '../../parsers/http-message.ts'
import { limits } from '../limits.ts'
import { httpStatuses } from '../metrics/labels.ts'
import { durationPlace } from './durations.ts'
import { httpPlaces } from './places.ts'
import { passageMs } from './sighting.ts'
import type { TcpConnection, TcpHandlers } from './tcp-streams.ts'

/** A request with its answer, or without. */
export interface HttpTransaction {
  readonly startMs: number
  /** undefined: unanswered. */
  readonly durationMs: number | undefined
  /** Of this machine: who asked, or else who was asked. */
  readonly subject: number
  readonly isClient: boolean
  readonly connection: TcpConnection
  readonly method: HttpMethod
  /** Without what follows a `?`; printable. */
  readonly path: string
  readonly host: string
  readonly status: number | undefined
}

export interface HttpOptions {
  /** Whose address it is, 4 or 16 bytes. undefined: nobody's of this machine. */
  subjectOf(address: Uint8Array): number | undefined
  isHost(subject: number): boolean
  /** Once of each request. */
  onTransaction?(transaction: HttpTransaction): void
}

export interface HttpRequests {
  /** `clientSequence` is of the client's SYN; undefined: nothing was seen of it. `isAsked`: it was seen, not only the answer to it. */
  open(connection: TcpConnection, clientSequence: number | undefined, isAsked: boolean, timeMs: number): TcpHandlers
  /** Gives up waiting; to be called a few times a second. */
  expire(nowMs: number): void
  /** By subject, as httpPlaces tells. */
  readonly counts: ReadonlyMap<number, Float64Array>
  forget(subject: number): void
  /** Connections of this machine, each once wherever it is seen. */
  readonly unreadable: Readonly<Record<HttpUnreadable, number>>
  /** Of what is read: a connection that is seen before and after its addresses are translated may be read at both. */
  readonly parsed: HttpCounts
}

/** One connection of the client, which may be seen as several: before and after its addresses are translated. */
interface Shared {
  readonly client: string
  readonly clientIsHost: boolean
  readonly openedMs: number
  /** Flows of it that are open. */
  flows: number
  /** Of its client it is the first flow that tells, of a server the last that it is asked by: the nearest, which misses nothing. */
  hasClient: boolean
  readonly servers: Map<number, Flow>
  isUnreadable: boolean
}

interface Flow {
  readonly connection: TcpConnection
  readonly client: number | undefined
  server: number | undefined
  readonly shared: Shared
  readonly key: string
}

/**
 * Each request with its answer once for who asked and once for who was asked, wherever it is seen.
 *
 * Address translation changes who a connection seems to be between, but not its sequence numbers: flows whose clients began
 * with the same one are one connection, if the client's address and port are the same too, or if one of them is the host's,
 * which puts its own in for a pod (masquerading).
 */
export function createHttpRequests({ subjectOf, isHost, onTransaction }: HttpOptions): HttpRequests {
  const counts = new Map<number, Float64Array>()
  /** By what the client began with, and who it is. */
  const connections = new Map<string, Shared>()
  /** By what the client began with, and whether it is the host: the last of them. Many may begin the same way, in a flood. */
  const latest = new Map<string, Shared>()
  const open = new Map<HttpConnection<Flow>, Flow>()
  const unreadable: Record<HttpUnreadable, number> = { tls: 0, h2: 0, upgraded: 0, other: 0 }
  const exchanges = createHttpExchanges<Flow>({
    onExchange: (flow, { status, durationMs, ...request }) => tell(flow, { ...request, status, durationMs }),
    onUnanswered: (flow, request) => tell(flow, { ...request, status: undefined, durationMs: undefined }),
    onUnreadable({ shared }, what) {
      if (!shared.isUnreadable) unreadable[what]++
      shared.isUnreadable = true
    },
  })

  type Told = Pick<HttpTransaction, 'startMs' | 'durationMs' | 'method' | 'path' | 'host' | 'status'>
  function tell({ connection, client, server, shared }: Flow, told: Told): void {
    if (client !== undefined) count(client, 0, told)
    if (server !== undefined) count(server, 1, told)
    const subject = client ?? (shared.hasClient ? undefined : server)
    if (subject !== undefined) onTransaction?.({ ...told, subject, isClient: client !== undefined, connection })
  }

  function count(subject: number, direction: number, { method, status, durationMs }: Told): void {
    let values = counts.get(subject)
    if (values === undefined) counts.set(subject, (values = new Float64Array(httpPlaces.size)))
    const block = direction * httpPlaces.direction
    const add = (place: number, amount = 1): void => {
      values[block + place] = values[block + place]! + amount
    }
    if (status === undefined || durationMs === undefined) {
      add(httpPlaces.unanswered)
      return
    }
    add(httpPlaces.answered + methodPlaces.get(method)! * httpStatuses.length + statusPlace(status))
    add(httpPlaces.durations + durationPlace(durationMs))
    add(httpPlaces.microseconds, Math.round(durationMs * 1000))
  }

  function findShared(connection: TcpConnection, key: string, client: number | undefined, timeMs: number): Shared {
    const of = `${latin1(connection.clientAddress)}${connection.clientPort}`
    const clientIsHost = client !== undefined && isHost(client)
    const passing = latest.get(`${key} ${!clientIsHost}`)
    const found = connections.get(`${key} ${of}`) ?? (passing && timeMs - passing.openedMs < passageMs ? passing : undefined)
    if (found !== undefined) {
      found.flows++
      return found
    }
    const shared: Shared = {
      client: of,
      clientIsHost,
      openedMs: timeMs,
      flows: 1,
      hasClient: false,
      servers: new Map<number, Flow>(),
      isUnreadable: false,
    }
    connections.set(`${key} ${of}`, shared)
    latest.set(`${key} ${clientIsHost}`, shared)
    return shared
  }

  function close({ key, shared }: Flow): void {
    if (--shared.flows > 0) return
    connections.delete(`${key} ${shared.client}`)
    if (latest.get(`${key} ${shared.clientIsHost}`) === shared) latest.delete(`${key} ${shared.clientIsHost}`)
  }

  return {
    counts,
    unreadable,
    parsed: exchanges.counts,
    open(connection, clientSequence, isAsked, timeMs) {
      const [client, server] = [subjectOf(connection.clientAddress), subjectOf(connection.serverAddress)]
      if (client === undefined && server === undefined) return ignored
      const key =
        clientSequence === undefined ? `${latin1(connection.clientAddress)}${connection.clientPort}` : `${clientSequence}`
      const shared = findShared(connection, key, client, timeMs)
      const isClient = client !== undefined && !shared.hasClient
      const flow: Flow = { connection, client: isClient ? client : undefined, server, shared, key }
      if (isClient) shared.hasClient = true
      // A bridge that filters shows packets between two translations too, but not all of them, or only the answers.
      const before = server === undefined ? undefined : shared.servers.get(server)
      if (before !== undefined && !isAsked) flow.server = undefined
      else if (server !== undefined) {
        if (before !== undefined) before.server = undefined
        shared.servers.set(server, flow)
      }
      const tells = (): boolean => flow.client !== undefined || flow.server !== undefined
      if (!tells()) return { onBytes: () => {}, onGap: () => {}, onEnd: () => close(flow) }
      const http = exchanges.open(flow, { isMidstream: clientSequence === undefined })
      open.set(http, flow)
      return {
        onBytes: (side, bytes, from, to, atMs) => void (tells() && exchanges.take(http, side, bytes, from, to, atMs)),
        onGap: (side, gap, atMs) => void (tells() && exchanges.skip(http, side, gap, atMs)),
        onEnd(atMs) {
          exchanges.end(http, atMs)
          open.delete(http)
          close(flow)
        },
      }
    },
    expire(nowMs) {
      for (const http of open.keys()) exchanges.expire(http, nowMs - limits.httpAnswerMs)
    },
    forget: (subject) => void counts.delete(subject),
  }
}

/** Without an answer, with one that is an error, or slow. */
export function isHttpFailure({ status, durationMs }: HttpTransaction): boolean {
  return status === undefined || status >= 400 || (durationMs ?? 0) > limits.httpSlowMs
}

const ignored: TcpHandlers = { onBytes: () => {}, onGap: () => {}, onEnd: () => {} }
const latin1 = (bytes: Uint8Array): string => String.fromCharCode(...bytes)

const methodPlaces = new Map(httpMethods.map((method, place) => [method, place]))
const placesOfStatuses = new Map(httpStatuses.map((status, place) => [status as string, place]))
const otherStatus = httpStatuses.indexOf('other')
const statusPlace = (status: number): number => placesOfStatuses.get(String(status)) ?? otherStatus
