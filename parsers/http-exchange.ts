import {
  createHttpRequestReader,
  createHttpResponseReader,
  endHttp,
  type HttpFault,
  type HttpMethod,
  type HttpReader,
  type HttpReaderOptions,
  type HttpRequestHead,
  type HttpResponseHead,
  type HttpUnreadable,
  httpFaults,
  httpUnreadables,
  isHttpLost,
  skipHttp,
  takeHttp,
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
  /** Times that framing was lost, as onLost tells, and times that a head was found after that. */
  losses: number
  foundHeads: number
  readonly faults: Record<HttpFault, number>
  /** Connections. */
  readonly unreadable: Record<HttpUnreadable, number>
}

/** `of` is what the caller has given to the connection. */
export interface HttpExchangeHandlers<C> {
  onExchange(of: C, exchange: HttpExchange): void
  /** The connection has ended, or the caller has waited long enough. */
  onUnanswered(of: C, request: HttpRequest): void
  /** Once at most: nothing more comes of the connection. */
  onUnreadable?(of: C, what: HttpUnreadable): void
}

/**
 * The requests and answers of connections, by their order.
 *
 * While nothing is missing every pair is right, of clients that send requests ahead (pipelining) too. After something is
 * missing, in either direction, pairs are made on the assumption that the client waits for each answer, as all but a few do:
 * of those every pair is right whatever is missing. Of a connection whose client is seen to send ahead, before or after,
 * what comes is not paired any more but counted. A wrong pair is left possible where a client sends ahead for the first time
 * in the very bytes that are missing, where a body has a head at the start of a segment after a loss, and where the caller
 * delivers a response before its request.
 */
export interface HttpExchanges<C> {
  readonly counts: HttpCounts
  open(of: C, options?: HttpReaderOptions): HttpConnection<C>
  /** As takeHttp: one segment a call, a request before its response. */
  take(connection: HttpConnection<C>, side: HttpSide, bytes: Uint8Array, from: number, to: number, timeMs: number): void
  /** As skipHttp. */
  skip(connection: HttpConnection<C>, side: HttpSide, count: number, timeMs: number): void
  /** The connection has ended, in both directions. */
  end(connection: HttpConnection<C>, timeMs: number): void
  /** Tells those as unanswered that began before `beforeMs`. */
  expire(connection: HttpConnection<C>, beforeMs: number): void
}

/** Requests that wait for their answers. */
const pendingMax = 64

interface Pending extends HttpRequest {
  /** It was told as unanswered, but its place is kept: its answer may still come. */
  isTold: boolean
}

/** Its fields are this file's own. */
export interface HttpConnection<C> {
  readonly client: HttpReader
  readonly server: HttpReader
  readonly pairing: Pairing<C>
}

interface Pairing<C> {
  readonly of: C
  readonly pending: Pending[]
  hasLoss: boolean
  /** More than one request was seen waiting. */
  isPipelined: boolean
  /** Who belongs to whom cannot be told from here on. */
  isHopeless: boolean
  isUnreadable: boolean
}

export function createHttpExchanges<C>(handlers: HttpExchangeHandlers<C>): HttpExchanges<C> {
  const counts = createCounts()

  function addRequest(pairing: Pairing<C>, head: HttpRequestHead): void {
    const { pending } = pairing
    counts.requests++
    if (head.isFound) counts.foundHeads++
    if (pending.length > 0 && !pairing.isHopeless) {
      pairing.isPipelined = true
      if (pairing.hasLoss) giveUp(pairing)
    }
    if (pending.length === pendingMax) pairing.isHopeless = true
    if (pairing.isHopeless) counts.unpairedRequests++
    else pending.push({ method: head.method, path: head.path, host: head.host, startMs: head.timeMs, isTold: false })
  }

  /** The method that is answered. */
  function addResponse(pairing: Pairing<C>, head: HttpResponseHead): HttpMethod | undefined {
    const { pending } = pairing
    if (head.isFound) counts.foundHeads++
    if (head.status < 200 && head.status !== 101) {
      counts.interimResponses++
      return undefined
    }
    counts.responses++
    const request = pending.shift()
    if (request === undefined) {
      // Its request is missing, or comes later: then that must not be paired with the next response.
      pairing.hasLoss = true
      counts.unpairedResponses++
      return undefined
    }
    const { method, path, host, startMs, isTold } = request
    if (isTold) counts.lateResponses++
    else {
      counts.exchanges++
      const durationMs = Math.max(0, head.timeMs - startMs)
      handlers.onExchange(pairing.of, { method, path, host, startMs, status: head.status, durationMs })
    }
    return method
  }

  function loseRequests(pairing: Pairing<C>): void {
    counts.losses++
    pairing.hasLoss = true
    // What is pending was sent before, and is answered in its order all the same.
    if (pairing.isPipelined) pairing.isHopeless = true
  }

  function loseResponses(pairing: Pairing<C>): void {
    counts.losses++
    pairing.hasLoss = true
    if (pairing.isPipelined) giveUp(pairing)
    else dropPending(pairing)
  }

  function giveUp(pairing: Pairing<C>): void {
    pairing.isHopeless = true
    dropPending(pairing)
  }

  function dropPending(pairing: Pairing<C>): void {
    for (const { isTold } of pairing.pending) if (!isTold) counts.unpairedRequests++
    pairing.pending.length = 0
  }

  function expirePending(pairing: Pairing<C>, beforeMs: number): void {
    for (const request of pairing.pending) {
      if (request.isTold || request.startMs >= beforeMs) continue
      request.isTold = true
      counts.unanswered++
      handlers.onUnanswered(pairing.of, request)
    }
  }

  const eitherHandlers = {
    onFault: (_: Pairing<C>, fault: HttpFault): void => {
      counts.faults[fault]++
    },
    onUnreadable: (pairing: Pairing<C>, what: HttpUnreadable): void => {
      counts.unreadable[what]++
      pairing.isUnreadable = true
      dropPending(pairing)
      handlers.onUnreadable?.(pairing.of, what)
    },
  }
  const requestHandlers = { ...eitherHandlers, onHead: addRequest, onLost: loseRequests }
  const responseHandlers = { ...eitherHandlers, onHead: addResponse, onLost: loseResponses }

  /** The answer to what is pending may be in bytes whose framing is lost, and what is seen next be that to a later request. */
  const dropHidden = ({ server, pairing }: HttpConnection<C>): void => {
    if (isHttpLost(server)) dropPending(pairing)
  }
  return {
    counts,
    open: (of, options = {}) => {
      const hasLoss = options.isMidstream === true
      const pairing = { of, pending: [], hasLoss, isPipelined: false, isHopeless: false, isUnreadable: false }
      return {
        client: createHttpRequestReader(requestHandlers, pairing, options),
        server: createHttpResponseReader(responseHandlers, pairing, options),
        pairing,
      }
    },
    take: (connection, side, bytes, from, to, timeMs) => {
      if (connection.pairing.isUnreadable) return
      if (side === 'client') takeHttp(connection.client, bytes, from, to, timeMs)
      else {
        takeHttp(connection.server, bytes, from, to, timeMs)
        dropHidden(connection)
      }
    },
    skip: (connection, side, count, timeMs) => {
      if (connection.pairing.isUnreadable) return
      if (side === 'client') skipHttp(connection.client, count, timeMs)
      else {
        skipHttp(connection.server, count, timeMs)
        dropHidden(connection)
      }
    },
    end: ({ client, server, pairing }, timeMs) => {
      if (pairing.isUnreadable) return
      endHttp(client, timeMs)
      endHttp(server, timeMs)
      expirePending(pairing, Number.POSITIVE_INFINITY)
      pairing.pending.length = 0
    },
    expire: ({ pairing }, beforeMs) => expirePending(pairing, beforeMs),
  }
}

function createCounts(): HttpCounts {
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
