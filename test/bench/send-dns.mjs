// DNS queries over loopback, each with its answer, at a rate: send-dns.mjs QUERIES_PER_SECOND SECONDS. Nobody reads them.
// Prints how many were sent and how long it took.
import { loadSockets, SOCK_DGRAM } from '../../dist/agent/host/sockets.js'
import { sleep } from './process.mjs'

const [perSecond, seconds] = process.argv.slice(2).map(Number)
const address = '127.0.0.1'
const [clientPort, serverPort] = [40_000, 53]
const names = 1000
const tickMs = 2

const { sockets } = await loadSockets()
const name = [6, ...Buffer.from('n00000'), 5, ...Buffer.from('bench'), 4, ...Buffer.from('test'), 0]
const digitsAt = 12 + 2
const record = [0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]
const ends = {
  query: openEnd(clientPort, serverPort, [0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...name, 0, 1, 0, 1]),
  answer: openEnd(serverPort, clientPort, [0, 0, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, ...name, 0, 1, 0, 1, ...record]),
}

const startedAt = performance.now()
let sent = 0
for (let elapsedMs = 0; elapsedMs < seconds * 1000; elapsedMs = performance.now() - startedAt) {
  for (const due = (elapsedMs / 1000) * perSecond; sent < due; sent++) {
    send(ends.query)
    send(ends.answer)
  }
  await sleep(tickMs)
}
console.log(JSON.stringify({ queries: sent, seconds: (performance.now() - startedAt) / 1000 }))

function openEnd(port, toPort, message) {
  const socket = sockets.open(address, SOCK_DGRAM)
  sockets.bind(socket, address, port)
  sockets.refuseAll(socket, true)
  const datagrams = sockets.datagrams(1, () => sockets.encode(address, toPort), message.length)
  datagrams.keep[0].set(message)
  return { socket, datagrams, payload: datagrams.keep[0] }
}

function send({ socket, datagrams, payload }) {
  payload[0] = sent >> 8
  payload[1] = sent
  for (let left = sent % names, at = digitsAt + 4; at >= digitsAt; at--, left = Math.floor(left / 10))
    payload[at] = 48 + (left % 10)
  const result = sockets.sendDatagrams(socket, datagrams, 0, 1)
  if (result !== 1) throw new Error(`a datagram was not sent: ${result}`)
}
