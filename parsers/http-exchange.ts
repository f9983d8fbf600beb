import {
  createHttpRequestReader,
  createHttpResponseReader,
  type HttpFault,
  type HttpMethod,
  type HttpReader,
  type HttpReaderOptions,
  type HttpRequestHead,
  type HttpResponseHead,
  type HttpUnreadable,
  httpFaults,
  httpUnreadables,
} from './http-message.ts'

export type HttpSide = 'client' | 'server'

export interface HttpRequest {
  readonly method: HttpMethod
  /** As HttpRequestHead has them. */
  readonly path: string
  readonly host: string
  readonly startMs: number
}

/** A request and its answer. */
export interface HttpExchange extends HttpRequest {
  /** 101, or 200 to 599. */
  readonly status: number
  /** From the first byte of the request to the first byte of the answer. */
  readonly durationMs: number
}

/** Of all connections together: each request is one exchange, unanswered, unpaired or still waiting. */
export interface HttpCounts {
  requests: number
  /** Without interim ones. */
  responses: number
  interimResponses: number
  exchanges: number
  unanswered: number
  /** Requests and responses of which it cannot be told who belongs to whom, because something is missing. */
  unpairedRequests: number
  unpairedResponses: number
  /** Answers to what had been told as unanswered. */
  lateResponses: number
  /** Times that framing was lost, by a fault or because bytes are missing, and times that a head was found after that. */
  losses: number
  foundHeads: number
  readonly faults: Record<HttpFault, number>
  /** Connections. */
  readonly unreadable: Record<HttpUnreadable, number>
}

export function createHttpCounts(): HttpCounts {
  return {
    requests: 0,
    responses: 0,
    interimResponses: 0,
    exchanges: 0,
    unanswered: 0,
    unpairedRequests: 0,
    unpairedResponses: 0,
    lateResponses: 0,
    losses: 0,
    foundHeads: 0,
    faults: zeros(httpFaults),
    unreadable: zeros(httpUnreadables),
  }
}

function zeros<K extends string>(names: readonly K[]): Record<K, number> {
  return Object.fromEntries(names.map((name) => [name, 0])) as Record<K, number>
}

export interface HttpExchangeHandlers {
  onExchange(exchange: HttpExchange): void
  /** The connection has ended, or the caller has waited long enough. */
  onUnanswered(request: HttpRequest): void
}

/**
 * The requests and answers of one connection, by their order.
 *
 * While nothing is missing every pair is right, of clients that send requests ahead (pipelining) too. After something is
 * missing, in either direction, pairs are made on the assumption that the client waits for each answer, as all but a few do:
 * of those every pair is right whatever is missing. Of a connection whose client is seen to send ahead, before or after,
 * nothing is paired any more: it is counted as unpaired. A wrong pair is left possible where a client sends ahead for the
 * first time in the very bytes that are missing, where a body has a head at the start of a segment after a loss, and where
 * the caller delivers a response before its request.
 */
export interface HttpExchanges {
  /** As HttpReader: one segment a call, a request before its response. */
  take(side: HttpSide, bytes: Uint8Array, from: number, to: number, timeMs: number): void
  skip(side: HttpSide, count: number, timeMs: number): void
  /** The connection has ended, in both directions. */
  end(timeMs: number): void
  /** Tells those as unanswered that began before `beforeMs`. */
  expire(beforeMs: number): void
}

/** Requests that wait for their answers. */
const pendingMax = 64

interface Pending extends HttpRequest {
  /** It was told as unanswered, but its place is kept: its answer may still come. */
  isTold: boolean
}

interface Connection {
  readonly counts: HttpCounts
  readonly handlers: HttpExchangeHandlers
  readonly pending: Pending[]
  hasLoss: boolean
  /** More than one request was seen waiting. */
  isPipelined: boolean
  /** Who belongs to whom cannot be told from here on. */
  isHopeless: boolean
}

export function createHttpExchanges(
  counts: HttpCounts,
  handlers: HttpExchangeHandlers,
  options: HttpReaderOptions = {},
): HttpExchanges {
  const connection: Connection = {
    counts,
    handlers,
    pending: [],
    hasLoss: options.isMidstream === true,
    isPipelined: false,
    isHopeless: false,
  }
  const onFault = (fault: HttpFault): void => {
    counts.faults[fault]++
  }
  const onUnreadable = (what: HttpUnreadable): void => {
    counts.unreadable[what]++
    client.ignore()
    server.ignore()
    dropPending(connection)
  }
  const client: HttpReader = createHttpRequestReader(
    { onHead: (head) => addRequest(connection, head), onFault, onUnreadable, onLost: () => loseRequests(connection) },
    options,
  )
  const server: HttpReader = createHttpResponseReader(
    { onHead: (head) => addResponse(connection, head), onFault, onUnreadable, onLost: () => loseResponses(connection) },
    options,
  )
  // The answer to what is pending may be in bytes whose framing is lost, and what is seen next be that to a later request.
  const dropHidden = (): void => {
    if (server.isLost()) dropPending(connection)
  }
  return {
    take: (side, bytes, from, to, timeMs) => {
      if (side === 'client') client.take(bytes, from, to, timeMs)
      else {
        server.take(bytes, from, to, timeMs)
        dropHidden()
      }
    },
    skip: (side, count, timeMs) => {
      if (side === 'client') client.skip(count, timeMs)
      else {
        server.skip(count, timeMs)
        dropHidden()
      }
    },
    end: (timeMs) => {
      client.end(timeMs)
      server.end(timeMs)
      expire(connection, Number.POSITIVE_INFINITY)
      connection.pending.length = 0
    },
    expire: (beforeMs) => expire(connection, beforeMs),
  }
}

function addRequest(connection: Connection, head: HttpRequestHead): void {
  const { counts, pending } = connection
  counts.requests++
  if (head.isFound) counts.foundHeads++
  if (pending.length > 0 && !connection.isHopeless) {
    connection.isPipelined = true
    if (connection.hasLoss) giveUp(connection)
  }
  if (pending.length === pendingMax) connection.isHopeless = true
  if (connection.isHopeless) counts.unpairedRequests++
  else pending.push({ method: head.method, path: head.path, host: head.host, startMs: head.timeMs, isTold: false })
}

/** The method that is answered. */
function addResponse(connection: Connection, head: HttpResponseHead): HttpMethod | undefined {
  const { counts, pending, handlers } = connection
  if (head.isFound) counts.foundHeads++
  if (head.status < 200 && head.status !== 101) {
    counts.interimResponses++
    return undefined
  }
  counts.responses++
  const request = pending.shift()
  if (request === undefined) {
    // Its request is missing, or comes later: then that must not be paired with the next response.
    connection.hasLoss = true
    counts.unpairedResponses++
    return undefined
  }
  const { method, path, host, startMs, isTold } = request
  if (isTold) counts.lateResponses++
  else {
    counts.exchanges++
    const durationMs = Math.max(0, head.timeMs - startMs)
    handlers.onExchange({ method, path, host, startMs, status: head.status, durationMs })
  }
  return method
}

function loseRequests(connection: Connection): void {
  connection.counts.losses++
  connection.hasLoss = true
  // What is pending was sent before, and is answered in its order all the same.
  if (connection.isPipelined) connection.isHopeless = true
}

function loseResponses(connection: Connection): void {
  connection.counts.losses++
  connection.hasLoss = true
  if (connection.isPipelined) giveUp(connection)
  else dropPending(connection)
}

function giveUp(connection: Connection): void {
  connection.isHopeless = true
  dropPending(connection)
}

function dropPending(connection: Connection): void {
  for (const { isTold } of connection.pending) if (!isTold) connection.counts.unpairedRequests++
  connection.pending.length = 0
}

function expire(connection: Connection, beforeMs: number): void {
  for (const request of connection.pending) {
    if (request.isTold || request.startMs >= beforeMs) continue
    request.isTold = true
    connection.counts.unanswered++
    connection.handlers.onUnanswered(request)
  }
}
