// Causes faults in the network namespace it is started in, exactly as many as it is told. A process of its own, because
// a namespace belongs to a process; plain JavaScript, so that it starts at once.
//
//   node faults.mjs <verb> '<json arguments>'
//
// A verb that does something prints its result as a line of JSON. A verb that holds something prints {"ready": …}, then
// answers each line {"action": …, "arguments": …} on standard input with a line, and lets go at its end.
//
// Where the start of a process takes seconds one does many verbs, each in its namespace, without arguments: each line
// {"id": …, "namespace": …, "verb": …, "arguments": …} on standard input is answered with a line as above, or {"error": …};
// so are lines {"id": …, "action": …, "arguments": …} to what is held, which is let go by {"id": …, "verb": "stop"}.
import { closeSync, openSync } from 'node:fs'
import { cpus } from 'node:os'
import { createInterface } from 'node:readline'
import koffi from 'koffi'
import { describeErrno, loadLibc } from '../../dist/agent/host/libc.js'
import { createDoor } from '../../dist/agent/host/setns.js'
import {
  IP_TTL,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPPROTO_RAW,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPV6_UNICAST_HOPS,
  loadSockets,
  POLLIN,
  POLLOUT,
  SO_NETNS_COOKIE,
  SO_RCVBUF,
  SO_REUSEADDR,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_RAW,
  SOCK_STREAM,
  SOL_SOCKET,
  TCP_SYNCNT,
  UDP_SEGMENT,
} from '../../dist/agent/host/sockets.js'

/**
 * `udp-send`: datagrams at full speed. `ports`: to so many ports in turn. `cpu`: only there. `segmentBytes`: cut up by
 * the kernel. `ttl`: hops. `unfragmented`: must not be fragmented, whatever is known of the path. `atOnce`: so many a
 * call; one refused within a call is tried again by the next, so where refusals are counted it is 1. `from`: the address
 * and port it is bound to. `timed`: the result says how long the sending took.
 */
function udpSend(options) {
  const { address, port, count, ports = 1, bytes = 32, cpu, segmentBytes, ttl, atOnce = count, from, timed = false } = options
  if (cpu !== undefined) pinTo(cpu)
  const socket = openSocket(address, SOCK_DGRAM)
  if (from) check('bind', libc.bind(socket, ...sizedAddress(from.address, from.port)))
  if (segmentBytes) setOption(socket, IPPROTO_UDP, UDP_SEGMENT, segmentBytes)
  if (ttl) setOption(socket, ...(address.includes(':') ? [IPPROTO_IPV6, IPV6_UNICAST_HOPS] : [IPPROTO_IP, IP_TTL]), ttl)
  if (options.unfragmented) setOption(socket, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)
  const batch = ports > 1 ? ports : Math.min(count, 64)
  const messages = datagrams(batch, (index) => socketAddress(address, port + (index % ports)), bytes)
  const errors = {}
  let sent = 0
  const startedNs = process.hrtime.bigint()
  for (let done = 0; done < count; ) {
    const at = done % batch
    const result = libc.sendmmsg(socket, messages.subarray(at * mmsghdrBytes), Math.min(batch - at, count - done, atOnce), 0)
    if (result > 0) sent += result
    else tally(errors, lastError())
    done += result > 0 ? result : 1
  }
  return { sent, errors, ...(timed && { elapsedNs: Number(process.hrtime.bigint() - startedNs) }) }
}

/** `udp-listen`: sockets that nobody reads, until `read`, which takes all that is there and returns how many. */
function udpListen({ address, port, receiveBufferBytes }) {
  const socket = openSocket(address, SOCK_DGRAM)
  if (receiveBufferBytes) setOption(socket, SOL_SOCKET, SO_RCVBUF, receiveBufferBytes)
  check('bind', libc.bind(socket, ...sizedAddress(address, port)))
  const buffer = Buffer.alloc(65536)
  const read = () => {
    let datagrams = 0
    while (libc.recv(socket, buffer, buffer.length, MSG_DONTWAIT) >= 0) datagrams++
    return { datagrams }
  }
  return { ready: {}, actions: { read } }
}

/**
 * `tcp-listen`: a listener that accepts nothing by itself. Actions: `accept` waits for so many; `send`, `shutdown`,
 * `close` and `reset` do that to all accepted; `close-listener`.
 */
function tcpListen({ address, port, backlog = 4096 }) {
  const listener = openSocket(address, SOCK_STREAM)
  setOption(listener, SOL_SOCKET, SO_REUSEADDR, 1)
  check('bind', libc.bind(listener, ...sizedAddress(address, port)))
  check('listen', libc.listen(listener, backlog))
  const sockets = []
  const accept = ({ count, timeoutMs = 5000 }) => {
    const deadline = Date.now() + timeoutMs
    while (sockets.length < count && waitFor(listener, POLLIN, deadline - Date.now())) {
      sockets.push(check('accept', libc.accept4(listener, null, null, SOCK_NONBLOCK)))
    }
    return { accepted: sockets.length }
  }
  const closeListener = () => libc.close(listener)
  return { ready: {}, listener, actions: { accept, ...connectionActions(sockets), 'close-listener': closeListener } }
}

/**
 * `tcp-connect`: `count` connections, each waited for unless `wait` is false. Ready tells what became of them:
 * {"connected": 3} or {"ECONNREFUSED": 3}. `from`: the address and port they are bound to. `synRetries`: of the SYN.
 * Actions: `outcomes` asks again, `send`, `shutdown`, `close`, `reset` do that to all.
 */
function tcpConnect({ address, port, count, wait = true, timeoutMs = 5000, from, synRetries }) {
  const sockets = []
  const refusedAtOnce = {}
  for (let i = 0; i < count; i++) {
    const socket = openSocket(address, SOCK_STREAM | SOCK_NONBLOCK)
    if (synRetries) setOption(socket, IPPROTO_TCP, TCP_SYNCNT, synRetries)
    if (from) {
      for (const option of [SO_REUSEADDR, SO_REUSEPORT]) setOption(socket, SOL_SOCKET, option, 1)
      check('bind', libc.bind(socket, ...sizedAddress(from.address, from.port)))
    }
    const error = product.connect(socket, address, port)
    if (error !== undefined) {
      tally(refusedAtOnce, error)
      libc.close(socket)
      continue
    }
    if (wait) waitFor(socket, POLLOUT, timeoutMs)
    sockets.push(socket)
  }
  const outcomes = () => {
    const outcomes = { ...refusedAtOnce }
    for (const socket of sockets) tally(outcomes, waitFor(socket, POLLOUT, 0) ? (socketError(socket) ?? 'connected') : 'waiting')
    return outcomes
  }
  return { ready: outcomes(), actions: { outcomes, ...connectionActions(sockets) } }
}

function connectionActions(sockets) {
  const each = (act) => () => {
    for (const socket of sockets) act(socket)
    return { sockets: sockets.length }
  }
  const closeAll = () => {
    for (const socket of sockets) libc.close(socket)
    return { sockets: sockets.splice(0).length }
  }
  return {
    send: ({ bytes = 1 } = {}) => {
      let sent = 0
      const data = Buffer.alloc(bytes, 'x')
      for (const socket of sockets) sent += Math.max(0, Number(libc.send(socket, data, bytes, MSG_DONTWAIT | MSG_NOSIGNAL)))
      return { sent }
    },
    /** Takes all that is there. */
    read: () => {
      let received = 0
      const buffer = Buffer.alloc(65536)
      for (const socket of sockets) {
        for (let got = 1; got > 0; received += Math.max(0, got))
          got = Number(libc.recv(socket, buffer, buffer.length, MSG_DONTWAIT))
      }
      return { received }
    },
    /** Sends a FIN, keeps the socket. */
    shutdown: each((socket) => libc.shutdown(socket, SHUT_WR)),
    close: closeAll,
    /** Closes with a RST. */
    reset: () => {
      for (const socket of sockets) libc.setsockopt(socket, SOL_SOCKET, SO_LINGER, Buffer.from(Int32Array.of(1, 0).buffer), 8)
      return closeAll()
    },
  }
}

/**
 * `tcp-storm`: connections within the namespace, one after the other at full speed. To a listener of its own each is
 * accepted and ended by both, `end` 'close' (server first, so that the client needs no TIME_WAIT) or 'reset' (by the client);
 * with `end` 'refused' there is no listener. `cpu`: only there.
 */
function tcpStorm({ address, port, count, end, cpu }) {
  if (cpu !== undefined) pinTo(cpu)
  const to = sizedAddress(address, port)
  const errors = {}
  if (end === 'refused') {
    for (let i = 0; i < count; i++) {
      const socket = openSocket(address, SOCK_STREAM)
      tally(errors, libc.connect(socket, ...to) < 0 ? lastError() : 'connected')
      libc.close(socket)
    }
    return errors
  }
  const { actions, listener } = tcpListen({ address, port })
  for (let i = 0; i < count; i++) {
    const socket = openSocket(address, SOCK_STREAM)
    if (libc.connect(socket, ...to) < 0) throw new Error(`connection ${i}: ${lastError()}`)
    const accepted = check('accept', libc.accept4(listener, null, null, 0))
    if (end === 'reset') {
      libc.setsockopt(socket, SOL_SOCKET, SO_LINGER, Buffer.from(Int32Array.of(1, 0).buffer), 8)
      libc.close(socket)
      waitFor(accepted, POLLIN, 5000) // on a busy CPU the reset comes later
      libc.close(accepted)
    } else for (const one of [accepted, socket]) libc.close(one)
  }
  actions['close-listener']()
  return { connected: count }
}

/** `tcp-bulk`: one connection within whose `bytes` go to a `tcp-sink`; done when the peer has closed. */
function tcpBulk({ address, port, bytes }) {
  const socket = openSocket(address, SOCK_STREAM)
  if (libc.connect(socket, ...sizedAddress(address, port)) < 0) throw new Error(`connect: ${lastError()}`)
  const data = Buffer.alloc(65536, 'x')
  let sent = 0
  while (sent < bytes) sent += Number(check('send', libc.send(socket, data, Math.min(data.length, bytes - sent), MSG_NOSIGNAL)))
  libc.shutdown(socket, SHUT_WR)
  while (libc.recv(socket, data, data.length, 0) > 0);
  return { sent }
}

/** `tcp-sink`: a listener that reads one connection to its end with the action `read`. */
function tcpSink({ address, port }) {
  const { listener } = tcpListen({ address, port })
  const read = () => {
    const socket = check('accept', libc.accept4(listener, null, null, 0))
    const buffer = Buffer.alloc(65536)
    let received = 0
    for (let got = 1; got > 0; received += got) got = Number(check('recv', libc.recv(socket, buffer, buffer.length, 0)))
    libc.close(socket)
    return { received }
  }
  return { ready: {}, actions: { read } }
}

/**
 * `tcp-serve`: a listener; the action `serve` takes so many connections, one after the other: it reads each to its end, then
 * answers with so many bytes and closes.
 */
function tcpServe({ address, port }) {
  const { listener } = tcpListen({ address, port })
  const buffer = Buffer.alloc(65536)
  const serve = ({ count, bytes }) => {
    let received = 0
    for (let i = 0; i < count; i++) {
      const socket = check('accept', libc.accept4(listener, null, null, 0))
      received += readToEnd(socket, buffer)
      libc.send(socket, buffer, bytes, MSG_NOSIGNAL) // in vain, if it was reset
      libc.close(socket)
    }
    return { received }
  }
  return { ready: {}, actions: { serve } }
}

/**
 * `tcp-exchange`: connections to a `tcp-serve`, one after the other: sends 1, 2 … `bytes` bytes in turn and its FIN, reads
 * the answer, and closes; every `resetEvery`th resets instead of the FIN.
 */
function tcpExchange({ address, port, count, bytes, resetEvery = Infinity }) {
  const to = sizedAddress(address, port)
  const buffer = Buffer.alloc(65536)
  const result = { sent: 0, received: 0, resets: 0 }
  for (let i = 0; i < count; i++) {
    const socket = openSocket(address, SOCK_STREAM)
    if (libc.connect(socket, ...to) < 0) throw new Error(`connection ${i}: ${lastError()}`)
    result.sent += Number(check('send', libc.send(socket, buffer, (i % bytes) + 1, MSG_NOSIGNAL)))
    if ((i + 1) % resetEvery === 0) {
      libc.setsockopt(socket, SOL_SOCKET, SO_LINGER, Buffer.from(Int32Array.of(1, 0).buffer), 8)
      result.resets++
    } else {
      libc.shutdown(socket, SHUT_WR)
      result.received += readToEnd(socket, buffer)
    }
    libc.close(socket)
  }
  return result
}

/** How many bytes there were, up to a FIN or a reset. */
function readToEnd(socket, buffer) {
  let received = 0
  for (let got = 1; got > 0; received += Math.max(0, got)) got = Number(libc.recv(socket, buffer, buffer.length, 0))
  return received
}

/**
 * `raw-send`: whole IP packets, `hex` from the IP header on, each `count` times. The kernel fills in IPv4's checksum.
 * `firstPort`: each time from another port, this one and those after it.
 */
function rawSend({ address, hex, count = 1, firstPort }) {
  const socket = openSocket(address, SOCK_RAW, IPPROTO_RAW)
  const errors = {}
  let sent = 0
  for (const packet of [hex].flat().map((text) => Buffer.from(text, 'hex'))) {
    for (let i = 0; i < count; i++) {
      if (firstPort !== undefined) packet.writeUInt16BE(firstPort + i, 20)
      if (libc.sendto(socket, packet, packet.length, 0, ...sizedAddress(address, 0)) >= 0) sent++
      else tally(errors, lastError())
    }
  }
  return { sent, errors }
}

/** `namespace`: who this namespace is to the kernel. The cookie is there from Linux 5.14 on. */
function namespace() {
  const socket = openSocket('127.0.0.1', SOCK_DGRAM)
  const cookie = Buffer.alloc(8)
  const result = libc.getsockopt(socket, SOL_SOCKET, SO_NETNS_COOKIE, cookie, Uint32Array.of(8))
  return result < 0 ? {} : { cookie: Number(cookie.readBigUInt64LE()) }
}

const verbs = {
  'udp-send': udpSend,
  'udp-listen': udpListen,
  'tcp-listen': tcpListen,
  'tcp-connect': tcpConnect,
  'tcp-storm': tcpStorm,
  'tcp-bulk': tcpBulk,
  'tcp-sink': tcpSink,
  'tcp-serve': tcpServe,
  'tcp-exchange': tcpExchange,
  'raw-send': rawSend,
  namespace,
}

// What the verbs are made of: the sockets of the product itself, so that there is one copy. Straight libc calls: Node
// accepts connections, reads and closes when it likes.

const SO_LINGER = 13
const SO_REUSEPORT = 15
const IP_MTU_DISCOVER = 10
const IP_PMTUDISC_PROBE = 3
const MSG_DONTWAIT = 0x40
const MSG_NOSIGNAL = 0x4000
const SHUT_WR = 1
const mmsghdrBytes = 64

const loaded = await Promise.all([loadLibc(), loadSockets()])
const [{ libc: calls }, { sockets: product }] = loaded
if (!calls || !product) throw new Error(loaded[0].missing ?? loaded[1].missing)
const setAffinity = koffi.load(null).func('int sched_setaffinity(int, size_t, const void *)')

/** What the verb at work has open. */
let opened = new Set()
let lastErrno = 0
/** As in C: a negative result and lastErrno. What gives the length of the bytes beside them is of no use here. */
const libc = Object.fromEntries(
  Object.entries({
    socket: calls.socket,
    bind: (socket, address) => calls.bind(socket, address),
    listen: calls.listen,
    accept4: (socket, _address, _length, flags) => noted(calls.accept(socket, flags)),
    connect: (socket, address) => calls.connect(socket, address),
    shutdown: calls.shutdown,
    setsockopt: (socket, level, option, value) => calls.setsockopt(socket, level, option, value),
    getsockopt: (socket, level, option, value) => calls.getsockopt(socket, level, option, value),
    send: (socket, bytes, length, flags) => calls.send(socket, bytes.subarray(0, length), flags),
    sendto: (socket, bytes, _length, _flags, address) => calls.sendTo(socket, bytes, address),
    recv: (socket, buffer, _length, flags) => calls.receive(socket, buffer, flags),
    sendmmsg: (socket, messages, count) => calls.sendMessages(socket, messages, count),
    close: (socket) => {
      opened.delete(socket)
      return product.close(socket)
    },
  }).map(([name, call]) => [
    name,
    (...parameters) => {
      const result = call(...parameters)
      if (result < 0) lastErrno = -result
      return result
    },
  ]),
)

function noted(socket) {
  if (socket >= 0) opened.add(socket)
  return socket
}

function lastError() {
  return describeErrno(lastErrno).code
}

function check(what, result) {
  if (result < 0) throw new Error(`${what}: ${lastError()}`)
  return result
}

const openSocket = (address, type, protocol) => noted(product.open(address, type, protocol))
const setOption = product.setOption
const socketError = product.error
const socketAddress = product.encode
const waitFor = product.waitFor

function sizedAddress(address, port) {
  const bytes = socketAddress(address, port)
  return [bytes, bytes.length]
}

/** An array of struct mmsghdr. */
function datagrams(count, addressOf, payloadBytes) {
  const { messages, keep } = product.datagrams(count, addressOf, payloadBytes)
  messages.keep = keep
  return messages
}

function pinTo(...cpus) {
  const mask = Buffer.alloc(128)
  for (const cpu of cpus) mask[cpu >> 3] |= 1 << (cpu & 7)
  if (setAffinity(0, mask.length, mask) < 0) throw new Error(`sched_setaffinity: errno ${koffi.errno()}`)
}

function tally(counts, key) {
  counts[key] = (counts[key] ?? 0) + 1
}

function print(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`)
}

function doVerb(verb, parameters) {
  if (!Object.hasOwn(verbs, verb)) throw new Error(`no verb ${verb}; there are ${Object.keys(verbs).join(', ')}`)
  return verbs[verb](parameters)
}

async function doMany() {
  const door = createDoor(loaded[0])
  const held = new Map()
  const stop = () => {
    for (const socket of [...opened]) libc.close(socket)
    pinTo(...cpus().keys())
    return {}
  }
  const start = ({ id, namespace, verb, arguments: parameters }) => {
    const fd = openSync(`/run/netns/${namespace}`)
    try {
      const result = door.visit(namespace, fd, () => doVerb(verb, parameters))
      if (!result.actions) return result
      held.set(id, { actions: result.actions, opened })
      return { ready: result.ready }
    } finally {
      closeSync(fd)
      if (!held.has(id)) stop()
    }
  }
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line)
    const holder = held.get(request.id)
    opened = holder?.opened ?? new Set()
    try {
      if (request.action) print(holder.actions[request.action](request.arguments) ?? {})
      else print(request.verb === 'stop' ? stop() : start(request))
    } catch (error) {
      print({ error: String(error) })
    }
    if (request.verb === 'stop') held.delete(request.id)
  }
  process.exit()
}

const [verb, argumentsText = '{}'] = process.argv.slice(2)
if (verb === undefined) await doMany()
const result = doVerb(verb, JSON.parse(argumentsText))
if (result.actions) {
  print({ ready: result.ready })
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line)
    print(result.actions[request.action](request.arguments) ?? {})
  }
  process.exit()
} else print(result)
