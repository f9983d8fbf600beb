import http from 'node:http'
import net from 'node:net'
import {
  createHttpRequestReader,
  createHttpResponseReader,
  type HttpMethod,
  type HttpReader,
  takeHttp,
} from '../../parsers/http-message.ts'

export const toBytes = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0))

/** What a reader told, each as one line, in order. */
export interface Told {
  readonly reader: HttpReader
  readonly lines: string[]
}

export function readRequests(options = {}): Told {
  const lines: string[] = []
  const reader = createHttpRequestReader(
    {
      onHead: (_, { method, path, host, minorVersion, isWhole, isFound }) =>
        lines.push(`${isFound ? 'found ' : ''}${method} ${path} ${host} 1.${minorVersion}${isWhole ? '' : ' broken'}`),
      ...otherHandlers(lines),
    },
    undefined,
    options,
  )
  return { reader, lines }
}

/** `methods`: of the requests that are answered, in order; GET beyond them. */
export function readResponses(methods: readonly (HttpMethod | undefined)[] = [], options = {}): Told {
  const lines: string[] = []
  let next = 0
  const reader = createHttpResponseReader(
    {
      onHead: (_, { status, minorVersion, isWhole, isFound }) => {
        lines.push(`${isFound ? 'found ' : ''}${status} 1.${minorVersion}${isWhole ? '' : ' broken'}`)
        if (status < 200 && status !== 101) return undefined
        return next < methods.length ? methods[next++] : 'GET'
      },
      ...otherHandlers(lines),
    },
    undefined,
    options,
  )
  return { reader, lines }
}

function otherHandlers(lines: string[]) {
  return {
    onEnd: (_: undefined, bodyBytes: number) => lines.push(`end ${bodyBytes}`),
    onFault: (_: undefined, fault: string) => lines.push(`fault ${fault}`),
    onLost: () => lines.push('lost'),
    onUnreadable: (_: undefined, what: string) => lines.push(`unreadable ${what}`),
  }
}

/** Feeds a stream in segments, each within foreign bytes, and returns what was told. */
export function feed(told: Told, segments: readonly Uint8Array[]): readonly string[] {
  segments.forEach((segment, timeMs) => {
    const surrounded = new Uint8Array(segment.length + 16).fill(0x0a)
    surrounded.set(segment, 8)
    takeHttp(told.reader, surrounded, 8, 8 + segment.length, timeMs)
  })
  return told.lines
}

export function split(bytes: Uint8Array, ...at: readonly number[]): Uint8Array[] {
  const places = [0, ...at, bytes.length]
  return places.slice(1).map((to, i) => bytes.slice(places[i], to))
}

export const splitEverywhere = (bytes: Uint8Array): Uint8Array[] =>
  split(bytes, ...Array.from({ length: bytes.length - 1 }, (_, i) => i + 1))

export interface Segment {
  readonly side: 'client' | 'server'
  readonly bytes: Uint8Array
}

/** What goes over the connections between a client and a server of Node, as a relay in between sees it. */
export async function record(
  serve: http.RequestListener,
  talk: (port: number) => Promise<unknown>,
  prepare: (server: http.Server) => unknown = () => undefined,
): Promise<Segment[][]> {
  const server = http.createServer(serve)
  prepare(server)
  const serverPort = await listen(server)
  const connections: Segment[][] = []
  const sockets: net.Socket[] = []
  const relay = net.createServer((client) => {
    const segments: Segment[] = []
    connections.push(segments)
    const upstream = net.connect(serverPort, '127.0.0.1')
    sockets.push(client, upstream)
    const pass = (side: Segment['side'], from: net.Socket, to: net.Socket): void => {
      from.on('data', (bytes) => {
        segments.push({ side, bytes: Uint8Array.from(bytes as Uint8Array) })
        to.write(bytes)
      })
      from.on('end', () => to.end())
      from.on('error', () => to.destroy())
    }
    pass('client', client, upstream)
    pass('server', upstream, client)
  })
  const relayPort = await listen(relay)
  try {
    await talk(relayPort)
  } finally {
    for (const socket of sockets) socket.destroy()
    relay.close()
    server.closeAllConnections()
    server.close()
  }
  return connections
}

export async function listen(server: net.Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as net.AddressInfo).port
}

/** A request by Node's client, and all of its answer. */
export function ask(options: http.RequestOptions, body?: string | readonly string[]): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = http.request({ host: '127.0.0.1', ...options }, (response) => {
      response.resume()
      response.on('end', () => resolve(response))
      response.on('error', reject)
    })
    request.on('error', reject)
    if (Array.isArray(body)) for (const part of body) request.write(part)
    request.end(typeof body === 'string' ? body : undefined)
  })
}

/** Writes bytes as they are, and with `isEnd` no more; resolves with all that comes until `isDone` or the end. */
export function send(port: number, text: string, isEnd: boolean, isDone: (received: string) => boolean): Promise<string> {
  return new Promise((resolve, reject) => {
    let received = ''
    const socket = net.connect(port, '127.0.0.1', () => (isEnd ? socket.end(toBytes(text)) : socket.write(toBytes(text))))
    const finish = (): void => {
      socket.destroy()
      resolve(received)
    }
    socket.on('data', (bytes) => {
      received += bytes.toString('latin1')
      if (isDone(received)) finish()
    })
    socket.on('close', finish)
    socket.on('error', reject)
  })
}
