import fs from 'node:fs'
import type http from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'

const fixtures = new URL('../../fixtures/tls/', import.meta.url)
export const certificate = (name: string): string => fs.readFileSync(new URL(name, fixtures), 'utf8')

export interface Pod {
  metadata: { uid: string; namespace: string; name: string; resourceVersion?: string; [more: string]: unknown }
  spec: { nodeName: string; [more: string]: unknown }
  status: { [more: string]: unknown }
}

export const node = 'node-1'

export const podOf = (number: number, more: { metadata?: object; spec?: object; status?: object } = {}): Pod => ({
  metadata: { uid: `uid-${number}`, namespace: 'shop', name: `web-${number}`, ...more.metadata },
  spec: { nodeName: node, ...more.spec },
  status: { phase: 'Running', podIPs: [{ ip: `10.0.${number >> 8}.${number & 255}` }], ...more.status },
})

export type Handler = (request: http.IncomingMessage, response: http.ServerResponse, url: URL) => void

export interface ApiServer {
  readonly port: number
  readonly pods: Map<string, Pod>
  /** What was asked, with the token. */
  readonly requests: { readonly method: string; readonly url: URL; readonly authorization: string }[]
  /** Each answers one request instead of the server, in turn. */
  readonly faults: Handler[]
  /** The same, of requests to watch. */
  readonly watchFaults: Handler[]
  /** Authorization headers that are good. */
  readonly tokens: Set<string>
  readonly watchers: Set<http.ServerResponse>
  /** Changes what is listed, and tells the watchers, later ones too. */
  change(type: 'ADDED' | 'MODIFIED' | 'DELETED', pod: Pod): void
  /** Tells the watchers without any change. */
  send(event: unknown): void
  /** Cuts what is open, and no one listens until it is resumed on the same port. */
  pause(): Promise<void>
  resume(): Promise<void>
  close(): Promise<void>
}

/** Behaves as an API server does with the pods of one node, or as a kubelet, over TLS. */
export async function startApiServer({ pageSize = 500, kubelet = false } = {}): Promise<ApiServer> {
  const pods = new Map<string, Pod>()
  const requests: ApiServer['requests'] = []
  const faults: Handler[] = []
  const watchFaults: Handler[] = []
  const tokens = new Set(['Bearer secret'])
  const history: { readonly version: number; readonly line: string }[] = []
  const watchers = new Set<http.ServerResponse>()
  const sockets = new Set<Duplex>()
  let version = 100
  let server: https.Server
  let port = 0

  function answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    const url = new URL(request.url ?? '', 'https://api')
    requests.push({ method: request.method ?? '', url, authorization: request.headers.authorization ?? '' })
    const isWatch = url.searchParams.get('watch') === 'true'
    const fault = faults.shift() ?? (isWatch ? watchFaults.shift() : undefined)
    if (fault !== undefined) fault(request, response, url)
    else if (!tokens.has(request.headers.authorization ?? '')) sendStatus(response, 401, 'Unauthorized')
    else if (kubelet) sendJson(response, url.pathname === '/pods' ? 200 : 404, page(0))
    else if (url.pathname !== '/api/v1/pods' || url.searchParams.get('fieldSelector') !== `spec.nodeName=${node}`)
      sendStatus(response, 400, 'unexpected question')
    else if (isWatch) openWatch(response, Number(url.searchParams.get('resourceVersion')))
    else sendJson(response, 200, page(Number(url.searchParams.get('continue') ?? 0)))
  }

  function openWatch(response: http.ServerResponse, from: number): void {
    response.writeHead(200, { 'content-type': 'application/json' })
    response.flushHeaders()
    for (const event of history) if (event.version > from) response.write(event.line)
    watchers.add(response)
    response.once('close', () => watchers.delete(response))
  }

  function page(from: number): object {
    const items = [...pods.values()].slice(from, from + pageSize)
    const next = from + pageSize < pods.size ? String(from + pageSize) : ''
    return { kind: 'PodList', apiVersion: 'v1', metadata: { resourceVersion: String(version), continue: next }, items }
  }

  function send(event: unknown): void {
    for (const watcher of watchers) watcher.write(`${JSON.stringify(event)}\n`)
  }

  async function listen(): Promise<void> {
    server = https.createServer({ key: certificate('server.key'), cert: certificate('server.crt') }, answer)
    server.on('connection', (socket) => {
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
    })
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
    port = (server.address() as AddressInfo).port
  }

  async function pause(): Promise<void> {
    const closed = new Promise((resolve) => server.close(resolve))
    for (const socket of sockets) socket.destroy()
    await closed
  }

  await listen()
  return {
    get port() {
      return port
    },
    pods,
    requests,
    faults,
    watchFaults,
    tokens,
    watchers,
    send,
    change(type, pod) {
      version++
      const object = { ...pod, metadata: { ...pod.metadata, resourceVersion: String(version) } }
      if (type === 'DELETED') pods.delete(pod.metadata.uid)
      else pods.set(pod.metadata.uid, object)
      history.push({ version, line: `${JSON.stringify({ type, object })}\n` })
      send({ type, object })
    },
    pause,
    resume: listen,
    close: pause,
  }
}

export function sendJson(
  response: http.ServerResponse,
  status: number,
  body: object,
  headers: http.OutgoingHttpHeaders = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers })
  response.end(JSON.stringify(body))
}

export const statusOf = (code: number, message: string): object => ({ kind: 'Status', status: 'Failure', message, code })

export function sendStatus(
  response: http.ServerResponse,
  code: number,
  message: string,
  headers: http.OutgoingHttpHeaders = {},
): void {
  sendJson(response, code, statusOf(code, message), headers)
}
