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

/** Anything else than pods. */
export interface OtherObject {
  readonly metadata: Pod['metadata']
  readonly [more: string]: unknown
}

export interface ApiServer {
  readonly port: number
  readonly pods: Map<string, Pod | OtherObject>
  /** What else there is, by path. */
  readonly collections: Map<string, Map<string, Pod | OtherObject>>
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
  change(type: 'ADDED' | 'MODIFIED' | 'DELETED', object: Pod | OtherObject, path?: string): void
  /** Tells the watchers without any change. */
  send(event: unknown): void
  /** Cuts what is open, and no one listens until it is resumed on the same port. */
  pause(): Promise<void>
  resume(): Promise<void>
  close(): Promise<void>
}

const podsPath = '/api/v1/pods'
const kinds = new Map([
  [podsPath, 'PodList'],
  ['/api/v1/services', 'ServiceList'],
  ['/apis/discovery.k8s.io/v1/endpointslices', 'EndpointSliceList'],
])

/** Behaves as an API server does with the pods of one node or of all, with Services and EndpointSlices, or as a kubelet, over TLS. */
export async function startApiServer({ pageSize = 500, kubelet = false, ofAllNodes = false } = {}): Promise<ApiServer> {
  const collections = new Map([...kinds.keys()].map((path) => [path, new Map<string, Pod | OtherObject>()]))
  const pods = collections.get(podsPath)!
  const requests: ApiServer['requests'] = []
  const faults: Handler[] = []
  const watchFaults: Handler[] = []
  const tokens = new Set(['Bearer secret'])
  const history: { readonly version: number; readonly path: string; readonly line: string }[] = []
  const pathOf = new WeakMap<http.ServerResponse, string>()
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
    else if (kubelet) sendJson(response, url.pathname === '/pods' ? 200 : 404, page(podsPath, 0))
    else if (!kinds.has(url.pathname) || url.searchParams.get('fieldSelector') !== selectorOf(url.pathname))
      sendStatus(response, 400, 'unexpected question')
    else if (isWatch) openWatch(response, url.pathname, Number(url.searchParams.get('resourceVersion')))
    else sendJson(response, 200, page(url.pathname, Number(url.searchParams.get('continue') ?? 0)))
  }

  const selectorOf = (path: string): string | null => (path === podsPath && !ofAllNodes ? `spec.nodeName=${node}` : null)

  function openWatch(response: http.ServerResponse, path: string, from: number): void {
    response.writeHead(200, { 'content-type': 'application/json' })
    response.flushHeaders()
    pathOf.set(response, path)
    for (const event of history) if (event.version > from && event.path === path) response.write(event.line)
    watchers.add(response)
    response.once('close', () => watchers.delete(response))
  }

  function page(path: string, from: number): object {
    const objects = collections.get(path)!
    const items = [...objects.values()].slice(from, from + pageSize)
    const next = from + pageSize < objects.size ? String(from + pageSize) : ''
    return { kind: kinds.get(path), apiVersion: 'v1', metadata: { resourceVersion: String(version), continue: next }, items }
  }

  function send(event: unknown, path?: string): void {
    for (const watcher of watchers)
      if (path === undefined || pathOf.get(watcher) === path) watcher.write(`${JSON.stringify(event)}\n`)
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
    collections,
    requests,
    faults,
    watchFaults,
    tokens,
    watchers,
    send,
    change(type, given, path = podsPath) {
      version++
      const object = { ...given, metadata: { ...given.metadata, resourceVersion: String(version) } }
      const objects = collections.get(path)!
      if (type === 'DELETED') objects.delete(given.metadata.uid)
      else objects.set(given.metadata.uid, object)
      history.push({ version, path, line: `${JSON.stringify({ type, object })}\n` })
      send({ type, object }, path)
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
