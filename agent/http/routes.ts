import type http from 'node:http'
import os from 'node:os'
import { promisify } from 'node:util'
import zlib from 'node:zlib'
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify'
import type { CheckReport, Node } from '../check.ts'
import { type GivenFilter, readFilters } from '../config.ts'
import { ConfigError } from '../config-file.ts'
import { createEdgeGraph, readEdges } from '../edge-graph.ts'
import type { Events } from '../events.ts'
import type { History } from '../history.ts'
import { limits } from '../limits.ts'
import type { Log } from '../log.ts'
import { contentTypes, negotiateFormat, renderExposition } from '../metrics/render.ts'
import type { Self } from '../metrics/self.ts'
import type { Snapshot } from '../metrics/snapshot.ts'
import type { SocketList, SocketQuestion } from '../socket-list.ts'
import type { Sweep } from '../sweep.ts'
import { acceptsGzip } from './encoding.ts'
import { createEventStreams, type EventStreamRequest } from './event-stream.ts'
import { renderPage } from './page.ts'
import { createScrapers, isScraper, type ZeroWindow } from './scrapers.ts'
import type { Security } from './security.ts'
import { isSchemaKnown, schemaHeader } from './socket.ts'

export interface HttpParts {
  readonly sweep: Pick<Sweep, 'take' | 'latest'>
  readonly history: Pick<History, 'increase'>
  readonly events: Pick<Events, 'recent' | 'subscribe'>
  readonly sockets: SocketList
  readonly self: Pick<Self, 'add' | 'families'>
  readonly node: Pick<Node, 'name'>
  readonly report: (snapshot: Snapshot) => CheckReport
  readonly zeroWindow: ZeroWindow
  readonly log: Log
  /** Monotonic, in milliseconds; the clock of the sweep. */
  readonly now: () => number
}

/** What stands between a client and the routes; the local socket has none. */
export type Guard = Pick<Security, 'judge' | 'knowsClients' | 'challenges' | 'admits' | 'headers'>
export type CreateServer = (options: http.ServerOptions, listener: http.RequestListener) => http.Server

export interface Routes {
  readonly app: FastifyInstance
  /** From now on not ready, and every answer is the last on its connection. Those that would go on end. */
  stop(): void
  /** Single events that were told to nobody, because their reader was slow. */
  lostEvents(): number
}

const serverOptions: http.ServerOptions = {
  maxHeaderSize: limits.requestHeaderBytes,
  headersTimeout: limits.requestMs,
  requestTimeout: limits.requestMs,
  connectionsCheckingInterval: 1000,
  keepAliveTimeout: limits.keepAliveMs,
}

const gzip = promisify(zlib.gzip)
const otherVersion = 'this agent is of another version; use the netvitals of the same one'
/** No route takes or gives what a JSON schema would describe: fastify's compilers for them, 5 MB, are not loaded. */
const noCompiler = (): never => {
  throw new Error('no route has a schema')
}
const noSchemas = { compilersFactory: { buildValidator: noCompiler, buildSerializer: noCompiler } }
/** For the kubelet, which has no password. */
const open = new Set(['/healthz', '/readyz'])
/** For other machines, whoever asks. What else there is goes to those on this one, and to those who have shown who they are. */
const forAnybody = new Set(['/metrics', ...open])
const notForAnybody =
  'from other machines only /metrics, /healthz and /readyz are answered, unless --web.config.file asks for a password, a token or a client certificate'

export function createRoutes(parts: HttpParts, createServer: CreateServer, guard?: Guard): Routes {
  const { sweep, history, self, log, now } = parts
  const eventStreams = createEventStreams(parts.events, parts.node.name)
  const scraperOf = createScrapers(parts.zeroWindow)
  let stopping = false
  let expositions = 0
  let socketQuestions = 0

  const app = fastify({
    schemaController: noSchemas,
    bodyLimit: limits.requestBodyBytes,
    serverFactory: (handler) => {
      const server = createServer(serverOptions, handler)
      server.maxConnections = limits.connections
      server.timeout = limits.stalledMs
      return server
    },
  })

  app.addHook('onRequest', async (request, reply) => {
    const { method, url, headers } = request
    const path = url.split('?', 1)[0] ?? ''
    if (method !== 'GET' && method !== 'HEAD') {
      reply.header('Connection', 'close') // whatever it sends along is not read
      const isKnown = app.hasRoute({ method: 'GET', url: path })
      return isKnown ? sendText(reply.header('Allow', 'GET, HEAD'), 405, 'only GET and HEAD') : sendText(reply, 404, 'not found')
    }
    if (guard === undefined || open.has(path)) return
    if (!guard.admits()) return sendText(reply, 429, 'too many requests: rate_limit')
    const verdict = await guard.judge(headers.authorization)
    if (verdict === 'busy') return sendText(reply.header('Retry-After', '1'), 503, 'too many passwords to check at once')
    if (verdict === 'refused') {
      reply.header('WWW-Authenticate', [...guard.challenges()])
      return sendText(reply, 401, 'unauthorized')
    }
    if (!forAnybody.has(path) && !guard.knowsClients() && !isLoopback(request.raw.socket.remoteAddress))
      return sendText(reply, 403, notForAnybody)
  })

  app.addHook('onSend', async (_request, reply) => {
    if (!reply.hasHeader('Cache-Control')) reply.header('Cache-Control', 'no-store')
    reply.header('X-Content-Type-Options', 'nosniff')
    for (const [name, value] of Object.entries(guard?.headers() ?? {})) reply.header(name, value)
    if (stopping) reply.header('Connection', 'close')
  })

  app.addHook('onResponse', async (_request, reply) => {
    self.add('netvitals_web_requests_total', { code: String(reply.statusCode) }, 1)
  })

  app.setNotFoundHandler((_request, reply) => sendText(reply, 404, 'not found'))
  app.setErrorHandler((error, request, reply) => {
    const status = (error as { statusCode?: number }).statusCode ?? 500
    if (status < 500) return sendText(reply, status, 'bad request')
    log.error({ path: request.url, reason: (error as Error).message }, 'request failed')
    return sendText(reply, 500, 'the agent failed to answer; its log says why')
  })

  app.get('/healthz', (_request, reply) => sendText(reply, 200, 'ok'))

  app.get('/readyz', (_request, reply) => {
    const reason = findUnreadiness()
    return reason === undefined ? sendText(reply, 200, 'ready') : sendText(reply, 503, reason)
  })

  function findUnreadiness(): string | undefined {
    if (stopping) return 'the agent stops'
    const newest = sweep.latest()
    if (newest === undefined) return 'no sweep has finished yet'
    const ageMs = now() - newest.takenAtMs
    return ageMs <= limits.readyIntervals * limits.sweepIntervalMs
      ? undefined
      : `the newest sweep is ${Math.round(ageMs / 1000)} s old`
  }

  app.get('/metrics', async (request, reply) => {
    if (expositions >= limits.metricsInFlight)
      return sendText(reply.header('Retry-After', '1'), 503, 'too many requests for metrics at once')
    expositions++
    reply.raw.once('close', () => {
      expositions--
    })
    const taken = await sweep.take()
    const own = await self.families() // the sweep has written them
    const snapshot = sweep.latest() ?? taken // its values may have moved on while we waited
    const format = negotiateFormat(request.headers.accept)
    const showsZeros = request.method === 'GET' && isScraper(request.headers)
    const isShownAsZero = showsZeros ? scraperOf(request.raw.socket).answer(snapshot.takenAtMs) : undefined
    const text = renderExposition([...snapshot.families, ...own], format, isShownAsZero)
    reply.header('Content-Type', contentTypes[format]).header('Vary', 'Accept, Accept-Encoding')
    if (!acceptsGzip(request.headers['accept-encoding'])) return reply.send(text)
    return reply.header('Content-Encoding', 'gzip').send(await gzip(text, { level: limits.gzipLevel }))
  })

  app.get('/api/v1/check', async (request, reply) => {
    if (!isSchemaKnown(request.headers[schemaHeader])) return sendText(reply, 400, otherVersion)
    return parts.report(await sweep.take())
  })

  /** Workloads only, no addresses: to everybody who may see /metrics. */
  app.get('/api/v1/edges', async (request, reply) => {
    if (!isSchemaKnown(request.headers[schemaHeader])) return sendText(reply, 400, otherVersion)
    return createEdgeGraph(readEdges(await sweep.take(), history), parts.node.name)
  })

  /** Addresses and ports of every peer are for who owns the node: only its local socket gives them. */
  if (guard === undefined) app.get('/api/v1/events', (request, reply) => answerEvents(request, reply))

  function answerEvents(request: FastifyRequest, reply: FastifyReply): FastifyReply {
    if (!isSchemaKnown(request.headers[schemaHeader])) return sendText(reply, 400, otherVersion)
    const wanted = readEventRequest(request.query as Query)
    if (wanted === undefined) return sendText(reply, 400, 'last takes a number, follow and routine 0 or 1')
    reply.type('application/x-ndjson')
    if (request.method === 'HEAD') return reply.send()
    const stream = eventStreams.open(wanted)
    if (stream === undefined)
      return sendText(reply.header('Retry-After', '1'), 503, `${limits.eventReaders} readers of events are there already`)
    request.raw.socket.setTimeout(0) // may be quiet for hours, as the network may; a reader that stops reading has its own bound
    return reply.send(stream)
  }

  if (guard === undefined) app.get('/api/v1/sockets', (request, reply) => answerSockets(request, reply))

  async function answerSockets(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    if (!isSchemaKnown(request.headers[schemaHeader])) return sendText(reply, 400, otherVersion)
    const question = readSocketQuestion(request.query as Query)
    if (typeof question === 'string') return sendText(reply, 400, question)
    if (socketQuestions >= limits.socketQuestions)
      return sendText(reply.header('Retry-After', '1'), 503, 'too many questions about sockets at once')
    socketQuestions++
    const gone = new AbortController()
    reply.raw.once('close', () => {
      socketQuestions--
      gone.abort()
    })
    await sweep.take() // knows the namespaces there are by now
    return reply.send(await parts.sockets.ask(question, gone.signal))
  }

  app.get('/', async (_request, reply) => {
    const snapshot = await sweep.take()
    const [uptimeSeconds, watchedSeconds] = [os.uptime(), process.uptime()]
    const page = renderPage({ report: parts.report(snapshot), snapshot, history, uptimeSeconds, watchedSeconds })
    for (const [name, value] of Object.entries(page.headers)) reply.header(name, value)
    return reply.send(page.html)
  })

  return {
    app,
    stop() {
      stopping = true
      eventStreams.stop()
    },
    lostEvents: () => eventStreams.lost(),
  }
}

type Query = Readonly<Record<string, string | readonly string[]>>

/** `last=20&follow=1`; undefined if it is something else. */
function readEventRequest({ last = '', follow = '0', routine = '0' }: Query): EventStreamRequest | undefined {
  if (!/^\d{0,9}$/.test(String(last)) || ![follow, routine].every((given) => /^[01]$/.test(String(given)))) return undefined
  return { last: last === '' ? Number.POSITIVE_INFINITY : Number(last), follow: follow === '1', routine: routine === '1' }
}

/** `state=close_wait&not-port=22&each=1&top=20`: the filters of `show sockets`; a text instead is what is wrong. */
function readSocketQuestion({ each = '0', top = '', ...filters }: Query): SocketQuestion | string {
  if (!/^[01]$/.test(String(each)) || !/^\d{0,9}$/.test(String(top))) return 'top takes a number, each 0 or 1'
  const given = Object.entries(filters).flatMap(([name, texts]) =>
    [texts].flat().map((text): GivenFilter => ({ flag: name.replace(/^not-/, ''), text, isNot: name.startsWith('not-') })),
  )
  try {
    const most = top === '' ? Number.POSITIVE_INFINITY : Number(top)
    return { filters: readFilters('show sockets', given), each: each === '1', top: most }
  } catch (error) {
    if (error instanceof ConfigError) return error.message
    throw error
  }
}

function isLoopback(address = ''): boolean {
  return address === '::1' || /^(::ffff:)?127\./.test(address)
}

function sendText(reply: FastifyReply, status: number, text: string): FastifyReply {
  return reply.code(status).type('text/plain; charset=utf-8').send(`${text}\n`)
}
