// How fast HTTP is read from segments of a capture, beside the parser of Node's own server (llhttp, of which each head makes
// strings of all its fields), and what a connection takes of memory. In turn, median and extremes. Needs no privileges.
import v8 from 'node:v8'
import vm from 'node:vm'
import { createHttpExchanges } from '../../dist/parsers/http-exchange.js'
import { createHttpRequestReader, createHttpResponseReader, takeHttp } from '../../dist/parsers/http-message.js'
import { median, printRow } from './process.mjs'

const rounds = 7
const roundMs = 300
const segmentBytes = 1448

const small = Buffer.from('GET /healthz HTTP/1.1\r\nHost: 10.0.0.1:8080\r\nUser-Agent: kube-probe/1.34\r\nAccept: */*\r\n\r\n')
const usual = Buffer.from(
  'GET /api/v1/orders/184467?expand=items HTTP/1.1\r\nHost: orders.shop.svc.cluster.local\r\nConnection: keep-alive\r\n' +
    'User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36\r\n' +
    'Accept: application/json, text/plain, */*\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\n' +
    `Cookie: session=${'0123456789abcdef'.repeat(8)}\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n`,
)
const answer = Buffer.from(
  'HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nCache-Control: no-store\r\nContent-Length: 512\r\n' +
    `Date: Fri, 27 Nov 2026 00:00:00 GMT\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n${'x'.repeat(512)}`,
)
const length = 1e12
const body = Buffer.alloc(segmentBytes, 'x')
const chunk = Buffer.from(`560\r\n${'x'.repeat(0x560)}\r\n`)

let heads = 0
const handlers = { onHead: () => void heads++, onFault: fail, onLost: fail, onUnreadable: fail }
function fail(_, reason) {
  throw new Error(`not read as it was meant: ${reason}`)
}

const NodeParser = (() => {
  try {
    process.removeAllListeners('warning') // that the binding is deprecated
    return process.binding('http_parser').HTTPParser
  } catch {
    return undefined
  }
})()

function createNodeParser(type) {
  const parser = new NodeParser()
  parser.initialize(type, {})
  parser[NodeParser.kOnHeadersComplete] = () => void heads++
  parser[NodeParser.kOnBody] = () => undefined
  return (segment) => {
    const result = parser.execute(segment)
    if (result instanceof Error) throw result
  }
}

const request = (segment) => {
  const reader = createHttpRequestReader(handlers)
  return () => takeHttp(reader, segment, 0, segment.length, 0)
}
const response = (segment, head) => {
  const answered = () => {
    heads++
    return 'GET'
  }
  const reader = createHttpResponseReader({ ...handlers, onHead: answered })
  if (head !== undefined) takeHttp(reader, head, 0, head.length, 0)
  return () => takeHttp(reader, segment, 0, segment.length, 0)
}
const ofNode = (type, segment, head) => {
  const execute = createNodeParser(type)
  if (head !== undefined) execute(head)
  return () => execute(segment)
}
const lengthHead = Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`)
const chunkedHead = Buffer.from('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')

/** By what is read: how each reads one segment more of it. */
const races = [
  { what: `requests of ${small.length} bytes`, segment: small, ours: request(small), node: [1, small] },
  { what: `requests of ${usual.length} bytes`, segment: usual, ours: request(usual), node: [1, usual] },
  { what: `responses of ${answer.length} bytes, 512 of them body`, segment: answer, ours: response(answer), node: [2, answer] },
  { what: `exchanges of the two, paired`, segment: Buffer.concat([usual, answer]), ours: exchange() },
  { what: 'segments of 1448 bytes where framing is lost', segment: body, ours: lostSegments(body) },
  {
    what: 'body of known length, in segments of 1448 bytes',
    segment: body,
    ours: response(body, lengthHead),
    node: [2, body, lengthHead],
  },
  { what: 'body in chunks of 1376 bytes', segment: chunk, ours: response(chunk, chunkedHead), node: [2, chunk, chunkedHead] },
]

function lostSegments(segment) {
  const reader = createHttpRequestReader(handlers, undefined, { isMidstream: true })
  return () => takeHttp(reader, segment, 0, segment.length, 0)
}

function exchange() {
  const exchanges = createHttpExchanges({ onExchange: () => void heads++, onUnanswered: fail })
  const connection = exchanges.open()
  return () => {
    exchanges.take(connection, 'client', usual, 0, usual.length, 0)
    exchanges.take(connection, 'server', answer, 0, answer.length, 1)
  }
}

/** How often a second of CPU time. */
function measure(read) {
  let count = 0
  const startedAt = process.cpuUsage()
  for (;;) {
    for (let i = 0; i < 1000; i++) read()
    count += 1000
    const { user, system } = process.cpuUsage(startedAt)
    if (user + system > roundMs * 1000) return (count * 1e6) / (user + system)
  }
}

for (const { what, segment, ours, node } of races) {
  const readers = { netvitals: ours, ...(node !== undefined && NodeParser !== undefined && { Node: ofNode(...node) }) }
  const rates = Object.fromEntries(Object.keys(readers).map((name) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const [name, read] of Object.entries(readers)) rates[name].push(measure(read))
  }
  for (const [name, all] of Object.entries(rates)) {
    const thousands = (rate) => (rate / 1000).toFixed(0)
    printRow(
      `${what}, ${name === 'Node' ? `the parser of Node ${process.version}` : name}`,
      `${thousands(median(all))} thousand a second (${thousands(Math.min(...all))} to ${thousands(Math.max(...all))}), ${((median(all) * segment.length) / 1e6).toFixed(0)} MB/s`,
    )
  }
}
if (NodeParser === undefined) printRow('the parser of Node', 'not within reach of this version')

v8.setFlagsFromString('--expose-gc')
const collectGarbage = vm.runInNewContext('gc')
const exchanges = createHttpExchanges({ onExchange: () => undefined, onUnanswered: fail })
const readUsage = () => {
  collectGarbage()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}
const hold = (take) => {
  const before = readUsage()
  const held = Array.from({ length: 20_000 }, () => {
    const connection = exchanges.open()
    take(connection)
    return connection
  })
  return `${((readUsage() - before) / held.length).toFixed(0)} bytes`
}
const half = usual.subarray(0, 460)
const states = {
  'that is new': () => undefined,
  'with a request that waits': (connection) => exchanges.take(connection, 'client', usual, 0, usual.length, 0),
  'in the middle of an answer': (connection) => {
    exchanges.take(connection, 'client', usual, 0, usual.length, 0)
    exchanges.take(connection, 'server', answer, 0, answer.length - 100, 0)
  },
  'with a head cut in a line of 140 bytes': (connection) => exchanges.take(connection, 'client', half, 0, half.length, 0),
}
for (const [name, take] of Object.entries(states)) printRow(`memory of a connection ${name}`, hold(take))
