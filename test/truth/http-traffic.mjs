// HTTP servers and clients in the network namespace they are started in: Node's own, and sockets that send what they are
// told. A process of its own, because a namespace belongs to a process.
//
//   node http-traffic.mjs <verb> '<json arguments>'
//
// A verb prints its result as a line of JSON; `serve` prints {"ready": …} and serves, `hold` keeps a connection, until
// their standard input ends.
import http from 'node:http'
import http2 from 'node:http2'
import net from 'node:net'
import readline from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import tls from 'node:tls'

const verbs = { serve, ask, hold, send, speakTls, speakHttp2, speakWebSocket }

/**
 * The path says how it is answered: `/status/503`; `/after/300`: that many milliseconds later; `/bytes/1000`: with so long
 * a body; `/chunks/1000`: the same in chunks, with trailers; `/never`: the connection is closed; anything else with 200.
 * TLS and HTTP/2 are understood on the same port, by their first bytes. `certificate` and `key` in PEM.
 */
async function serve({ addresses, ports, certificate, key }) {
  const server = http.createServer(answer)
  server.keepAliveTimeout = 0
  server.on('upgrade', (_, socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
    socket.on('data', (bytes) => socket.write(bytes)).on('end', () => socket.end())
  })
  server.on('connect', (_, socket) => {
    socket.write('HTTP/1.1 200 Connected\r\n\r\n')
    socket.on('data', (bytes) => socket.write(bytes)).on('end', () => socket.end())
  })
  const secure = certificate && tls.createServer({ cert: certificate, key }, (socket) => server.emit('connection', socket))
  const plain2 = http2.createServer((request, response) => request.resume().on('end', () => response.end('h2')))
  secure?.on('tlsClientError', () => {})
  for (const address of addresses)
    for (const port of ports) {
      const listener = net.createServer({ noDelay: true }, (socket) => {
        socket.on('error', () => {})
        socket.once('readable', () => {
          const first = socket.read()
          if (first === null) return socket.end()
          socket.unshift(first)
          const isHttp2 = first.toString('latin1', 0, 4) === 'PRI '
          ;(first[0] === 0x16 ? secure : isHttp2 ? plain2 : server).emit('connection', socket)
        })
      })
      await new Promise((resolve) => listener.listen(port, address, resolve))
    }
  print({ ready: {} })
  process.stdin.on('end', () => process.exit()).resume()
}

async function answer(request, response) {
  const [, order, number] = request.url.split('?', 1)[0].split('/')
  if (order === 'never') return request.socket.destroy()
  for await (const _ of request);
  if (order === 'after') await sleep(Number(number))
  if (order === 'status') response.statusCode = Number(number)
  const isChunked = order === 'chunks' && request.method !== 'HEAD' && request.httpVersion !== '1.0'
  if (isChunked) response.setHeader('Trailer', 'X-Sum')
  else if (order === 'bytes') response.setHeader('Content-Length', number)
  else if (order !== 'chunks' && request.method !== 'HEAD' && ![204, 304].includes(response.statusCode))
    response.setHeader('Content-Length', 3)
  if (order === 'bytes' || order === 'chunks') {
    for (let left = Number(number); left > 0 && request.method !== 'HEAD'; left -= filler.length) {
      if (!response.write(filler.subarray(0, left))) await new Promise((resolve) => response.once('drain', resolve))
    }
    if (isChunked) response.addTrailers({ 'X-Sum': '1' })
    response.end()
  } else response.end(response.hasHeader('Content-Length') && request.method !== 'HEAD' ? 'ok\n' : undefined)
}
const filler = Buffer.alloc(1 << 16, 'HTTP/1.1 200 OK\r\n\r\n')

/**
 * Each request of `requests`, `count` times, one after another over each of `connections`; `close`: over a connection each.
 * `body`: of so many bytes; `chunked`: without its length; `expect`: the body is sent when the server says so. Says how
 * often each status came, and `none`.
 */
async function ask({ host, port = 80, requests, connections = 1, close = false }) {
  const statuses = {}
  const one = async () => {
    const agent = new http.Agent({ keepAlive: !close, maxSockets: 1 })
    for (const request of requests)
      for (let i = 0; i < (request.count ?? 1); i++) {
        const status = await askOne({ host, port, agent, ...request }).catch(() => 'none')
        statuses[status] = (statuses[status] ?? 0) + 1
      }
    agent.destroy()
  }
  await Promise.all(Array.from({ length: connections }, one))
  print(statuses)
}

function askOne({ host, port, agent, method = 'GET', path = '/', body, chunked = false, expect = false, headers = {} }) {
  return new Promise((resolve, reject) => {
    const length = body === undefined || chunked ? {} : { 'Content-Length': body }
    const more = expect ? { Expect: '100-continue' } : {}
    const request = http.request({ host, port, agent, method, path, headers: { ...headers, ...length, ...more } })
    request.on('error', reject)
    request.on('response', (response) => {
      response
        .resume()
        .on('end', () => resolve(response.statusCode))
        .on('error', reject)
    })
    request.on('connect', (response, socket) => {
      socket.end('not HTTP')
      socket.resume().on('end', () => resolve(response.statusCode))
    })
    const sendBody = () => {
      for (let left = body ?? 0; left > 0; left -= filler.length) request.write(filler.subarray(0, left))
      request.end()
    }
    if (expect) {
      request.on('continue', sendBody)
      request.flushHeaders()
    } else sendBody()
  })
}

/** One connection, over which GETs of a path are sent, `count` of them, whenever asked; says how many answers came. */
async function hold({ host, port = 80 }) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  print({ ready: { status: await askOne({ host, port, agent }) } })
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { path, count } = JSON.parse(line).arguments
    let answers = 0
    for (let i = 0; i < count; i++) if ((await askOne({ host, port, agent, path })) === 200) answers++
    print({ answers })
  }
  process.exit()
}

/** Over one connection each text of `pieces`, in a segment of its own; `everyMs` apart. Says how many answers came, once there are so many or the server has ended. */
async function send({ host, port = 80, pieces, everyMs = 2, answers: awaited }) {
  const socket = net.connect({ host, port, noDelay: true })
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
  let text = ''
  const count = () => text.split('HTTP/1.1 ').length - 1
  const done = new Promise((resolve) => {
    socket.on('error', resolve).on('close', resolve)
    socket.on('data', (bytes) => {
      text += bytes.toString('latin1')
      if (count() >= awaited && text.endsWith('ok\n')) resolve()
    })
  })
  for (const piece of pieces) {
    socket.write(piece, 'latin1')
    await sleep(everyMs)
  }
  await done
  socket.end()
  print({ answers: count() })
}

async function speakTls({ host, port = 80, count = 1 }) {
  for (let i = 0; i < count; i++)
    await new Promise((resolve, reject) => {
      const socket = tls.connect({ host, port, rejectUnauthorized: false }, () =>
        socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'),
      )
      socket.resume().on('error', reject).on('close', resolve)
    })
  print({ connections: count })
}

async function speakHttp2({ host, port = 80, count = 1 }) {
  const address = host.includes(':') ? `[${host}]` : host
  for (let i = 0; i < count; i++) {
    const session = http2.connect(`http://${address}:${port}`)
    await new Promise((resolve, reject) => {
      session.on('error', reject)
      session.request({ ':path': '/' }).resume().on('end', resolve).on('error', reject)
    })
    await new Promise((resolve) => session.close(resolve))
  }
  print({ connections: count })
}

/** Goes over to WebSocket and has bytes sent back, which look like HTTP. */
async function speakWebSocket({ host, port = 80, count = 1 }) {
  for (let i = 0; i < count; i++)
    await new Promise((resolve, reject) => {
      const request = http.get({ host, port, headers: { Connection: 'Upgrade', Upgrade: 'websocket' } })
      request.on('error', reject)
      request.on('upgrade', (_, socket) => {
        socket.once('data', () => socket.end())
        socket.on('close', resolve)
        socket.write('GET /within HTTP/1.1\r\nHost: x\r\n\r\n')
      })
    })
  print({ connections: count })
}

function print(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`)
}

const [verb, argumentsText = '{}'] = process.argv.slice(2)
await verbs[verb](JSON.parse(argumentsText))
