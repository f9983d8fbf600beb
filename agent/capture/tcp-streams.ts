import type { PacketHeaders } from '../../parsers/packet-headers.ts'
import { protocolTcp } from '../../parsers/packet-headers.ts'
import { limits } from '../limits.ts'

/** Who sent it. The client is who sent the first SYN, or else who talks to a served port. */
export type Side = 'client' | 'server'

/** `closed`: both sides sent all they had. `reused`: the same ports came with another connection. */
export type TcpEnd = 'closed' | 'reset' | 'reused' | 'idle' | 'evicted'

export interface TcpConnection {
  readonly family: 4 | 6
  /** 4 or 16 bytes. */
  readonly clientAddress: Uint8Array
  readonly serverAddress: Uint8Array
  readonly clientPort: number
  readonly serverPort: number
  /** False: it was there before, or no SYN was seen. */
  readonly isSeenFromStart: boolean
}

/** What a connection is told, each side in order. Together, bytes and gaps are what the side sent, once. */
export interface TcpHandlers {
  /** Valid only during the call. `timeMs`: when the receiver had it, holes before it filled. */
  onBytes(side: Side, bytes: Uint8Array, from: number, to: number, timeMs: number): void
  /** So many bytes are not known: a packet was cut off in the capture, or not captured. */
  onGap(side: Side, count: number, timeMs: number): void
  /** The last call. */
  onEnd(timeMs: number, end: TcpEnd): void
}

export interface TcpStreamCounts {
  /** All that were opened, and those of them that were not seen from their start. */
  connections: number
  midstream: number
  /** Those that had to make room before their end. */
  evicted: number
  /** Holes given up because the receiver had what was missing or nothing filled them, and their bytes. */
  gaps: number
  gapBytes: number
  /** Sent, but cut off by the snap length of the capture. */
  cutBytes: number
  /** Segments with nothing new: retransmitted, or seen on several devices. */
  duplicates: number
  /** Segments that waited for others. */
  reordered: number
  /** Segments of no connection that could be told: no side has a served port. */
  strays: number
}

export interface TcpStreams {
  /** One packet, in the order of capture; others than TCP are passed over. */
  take(bytes: Uint8Array, headers: PacketHeaders, timeMs: number): void
  /** Ends what is idle, gives up holes that nothing fills. */
  expire(nowMs: number): void
  readonly counts: Readonly<TcpStreamCounts>
  /** Connections that have not ended. */
  readonly size: number
  /** Bytes that wait for others before them. */
  readonly heldBytes: number
}

export interface TcpStreamOptions {
  /** Tells who is the server of a connection whose SYN was not seen. */
  isServerPort(port: number): boolean
  onOpen(connection: TcpConnection, timeMs: number): TcpHandlers
  readonly connectionsMax?: number
  /** Of one direction, and of all. */
  readonly outOfOrderBytesMax?: number
  readonly outOfOrderBytesTotalMax?: number
  readonly idleMs?: number
  readonly holeMs?: number
  readonly lingerMs?: number
}

const fin = 1
const syn = 2
const rst = 4
const ack = 16

/** The largest window TCP can have (RFC 7323): what is further back than this is no old segment. */
const windowBytesMax = 1 << 30
/** A RST this far from where its sender is belongs to another connection of the same ports. */
const resetDistanceMax = 1 << 24
/** When more than this share of all connections are only being opened, one of those makes room. */
const openingShare = 0.25
/** What a held segment takes beside its bytes. */
const segmentBytes = 256

/** A segment that waits for what is before it. */
interface Segment {
  readonly sequence: number
  /** A copy of what was captured. */
  readonly bytes: Uint8Array
  readonly length: number
  readonly timeMs: number
}

/** One direction. Sequence numbers are kept as signed 32-bit integers, which need no object of their own. */
interface Flow {
  readonly side: Side
  /** The first byte not handed out; of use only when known. */
  next: number
  isKnown: boolean
  /** That of the SYN, when it was seen. */
  initialSequence: number
  hasInitialSequence: boolean
  /** Behind the last byte. */
  finAt: number
  hasFin: boolean
  /** By sequence number. */
  held: Segment[]
  heldBytes: number
  /** When the newest of what was handed out was there: nothing after it can have been read before. */
  deliveredMs: number
}

interface Connection extends TcpConnection {
  handlers: TcpHandlers
  readonly client: Flow
  readonly server: Flow
  isEnded: boolean
  seenMs: number
  readonly bucket: number
  nextInBucket: Connection | undefined
  queue: Queue
  /** In the queue. */
  older: Connection | undefined
  newer: Connection | undefined
}

/** The oldest first. */
interface Queue {
  oldest: Connection | undefined
  newest: Connection | undefined
  size: number
}

const noSegments: Segment[] = []
const noHandlers: TcpHandlers = { onBytes: () => undefined, onGap: () => undefined, onEnd: () => undefined }

/**
 * Puts the two directions of TCP connections together from captured packets, for analysis: what was lost is not waited for
 * longer than its receiver did. Nothing is made per packet that is in order. A connection that has ended is remembered for a
 * while, so that copies of its last packets open no new one.
 */
export function createTcpStreams(settings: TcpStreamOptions): TcpStreams {
  const {
    isServerPort,
    onOpen,
    connectionsMax = limits.captureConnections,
    outOfOrderBytesMax = limits.captureOutOfOrderBytes,
    outOfOrderBytesTotalMax = limits.captureOutOfOrderBytesTotal,
    idleMs = limits.captureIdleMs,
    holeMs = limits.captureHoleMs,
    lingerMs = limits.captureLingerMs,
  } = settings
  const buckets = new Array<Connection | undefined>(2 ** Math.ceil(Math.log2(2 * connectionsMax))).fill(undefined)
  /** Who sends the packets must not know which of them share a bucket. */
  const seed = Math.floor(Math.random() * 2 ** 32)
  /** Nothing but SYNs seen: a flood of them must not drive out the others. */
  const opening = createQueue()
  const live = createQueue()
  const ended = createQueue()
  /** Connections with segments that wait, the longest waiting first. */
  const holders = new Set<Connection>()
  let heldBytesTotal = 0
  const counts: TcpStreamCounts = {
    connections: 0,
    midstream: 0,
    evicted: 0,
    gaps: 0,
    gapBytes: 0,
    cutBytes: 0,
    duplicates: 0,
    reordered: 0,
    strays: 0,
  }

  /** The same for both directions. */
  function bucketOf(bytes: Uint8Array, headers: PacketHeaders): number {
    const length = addressLength(headers.family)
    const source = hashEndpoint(bytes, headers.sourceAt, length, headers.sourcePort, seed)
    const destination = hashEndpoint(bytes, headers.destinationAt, length, headers.destinationPort, seed)
    const sum = Math.imul((source + destination) ^ seed, 0x85ebca6b)
    return (sum ^ (sum >>> 15)) & (buckets.length - 1)
  }

  function open(bytes: Uint8Array, headers: PacketHeaders, timeMs: number, bucket: number, isFromClient: boolean): Connection {
    const source = copyBytes(bytes, headers.sourceAt, headers.sourceAt + addressLength(headers.family))
    const destination = copyBytes(bytes, headers.destinationAt, headers.destinationAt + addressLength(headers.family))
    makeRoom(timeMs)
    const connection: Connection = {
      family: headers.family,
      clientAddress: isFromClient ? source : destination,
      serverAddress: isFromClient ? destination : source,
      clientPort: isFromClient ? headers.sourcePort : headers.destinationPort,
      serverPort: isFromClient ? headers.destinationPort : headers.sourcePort,
      isSeenFromStart: (headers.tcpFlags & syn) !== 0,
      handlers: noHandlers,
      client: createFlow('client'),
      server: createFlow('server'),
      isEnded: false,
      seenMs: timeMs,
      bucket,
      nextInBucket: buckets[bucket],
      queue: opening,
      older: undefined,
      newer: undefined,
    }
    buckets[bucket] = connection
    append(opening, connection)
    counts.connections++
    if (!connection.isSeenFromStart) counts.midstream++
    connection.handlers = onOpen(connection, timeMs)
    return connection
  }

  function makeRoom(timeMs: number): void {
    if (opening.size + live.size + ended.size < connectionsMax) return
    if (ended.oldest === undefined) {
      const isOpeningFirst = live.oldest === undefined || opening.size > connectionsMax * openingShare
      const silent = isOpeningFirst ? opening.oldest : live.oldest
      if (silent === undefined) return
      counts.evicted++
      end(silent, timeMs, 'evicted')
    }
    if (ended.oldest !== undefined) forget(ended.oldest)
  }

  /** What waits is handed out first. */
  function end(connection: Connection, timeMs: number, how: TcpEnd): void {
    giveUpHoles(connection, connection.client, timeMs)
    giveUpHoles(connection, connection.server, timeMs)
    const { handlers } = connection
    connection.handlers = noHandlers
    connection.isEnded = true
    connection.seenMs = timeMs
    moveTo(ended, connection)
    handlers.onEnd(timeMs, how)
  }

  function forget(connection: Connection): void {
    remove(connection)
    let before = buckets[connection.bucket]
    if (before === connection) {
      buckets[connection.bucket] = connection.nextInBucket
      return
    }
    while (before !== undefined && before.nextInBucket !== connection) before = before.nextInBucket
    if (before !== undefined) before.nextInBucket = connection.nextInBucket
  }

  function replace(connection: Connection, timeMs: number): void {
    if (!connection.isEnded) end(connection, timeMs, 'reused')
    forget(connection)
  }

  /** The connection a packet with SYN belongs to: the one that is known, when it is its SYN once more, or a new one. */
  function openWithSyn(
    bytes: Uint8Array,
    headers: PacketHeaders,
    timeMs: number,
    bucket: number,
    known: Connection | undefined,
  ): Connection {
    const isFromClient = (headers.tcpFlags & ack) === 0
    const sequence = headers.tcpSequence | 0
    const clientSequence = (headers.tcpAcknowledgement - 1) | 0
    let connection = known
    if (connection !== undefined) {
      const flow = isFrom(connection, bytes, headers) ? connection.client : connection.server
      const isAgain = hasInitialSequence(flow, sequence)
      const isAnswer = !isFromClient && flow === connection.server && hasInitialSequence(connection.client, clientSequence)
      if (!isAgain && !isAnswer) {
        replace(connection, timeMs)
        connection = undefined
      }
    }
    connection ??= open(bytes, headers, timeMs, bucket, isFromClient)
    if (isFromClient) start(connection.client, sequence)
    else {
      start(connection.client, clientSequence)
      // A server that keeps no list of those who knock (SYN cookies) may answer once more with another number.
      if (isAtStart(connection.server) && !hasInitialSequence(connection.server, sequence)) restart(connection.server)
      start(connection.server, sequence)
    }
    return connection
  }

  /** The side's SYN has this number. */
  function start(flow: Flow, sequence: number): void {
    if (flow.hasInitialSequence) return
    flow.hasInitialSequence = true
    flow.initialSequence = sequence
    learn(flow, sequence + 1)
  }

  function restart(flow: Flow): void {
    flow.hasInitialSequence = false
    flow.isKnown = false
  }

  /** A side whose place is not known yet is there. */
  function learn(flow: Flow, next: number): void {
    if (flow.isKnown) return
    flow.isKnown = true
    flow.next = next | 0
  }

  function openMidstream(bytes: Uint8Array, headers: PacketHeaders, timeMs: number, bucket: number): Connection | undefined {
    if (headers.payloadLength === 0 || (headers.tcpFlags & rst) !== 0) return undefined
    const isToServed = isServerPort(headers.destinationPort)
    const isFromServed = isServerPort(headers.sourcePort)
    if (!isToServed && !isFromServed) {
      counts.strays++
      return undefined
    }
    // Where both are served the lower one is more likely to be the server's.
    const isFromClient = isToServed && (!isFromServed || headers.destinationPort <= headers.sourcePort)
    return open(bytes, headers, timeMs, bucket, isFromClient)
  }

  function take(bytes: Uint8Array, headers: PacketHeaders, timeMs: number): void {
    if (headers.protocol !== protocolTcp) return
    const flags = headers.tcpFlags
    const bucket = bucketOf(bytes, headers)
    let connection = buckets[bucket]
    while (connection !== undefined && !isOf(connection, bytes, headers)) connection = connection.nextInBucket
    if ((flags & (syn | rst)) === syn) connection = openWithSyn(bytes, headers, timeMs, bucket, connection)
    else connection ??= openMidstream(bytes, headers, timeMs, bucket)
    if (connection === undefined || connection.isEnded) return
    connection.seenMs = timeMs
    const queue = (flags & syn) === 0 ? live : connection.queue
    if (connection !== queue.newest) moveTo(queue, connection)

    const isFromClient = isFrom(connection, bytes, headers)
    const flow = isFromClient ? connection.client : connection.server
    const other = isFromClient ? connection.server : connection.client
    if ((flags & rst) !== 0) {
      if (!flow.isKnown || Math.abs((headers.tcpSequence - flow.next) | 0) <= resetDistanceMax) end(connection, timeMs, 'reset')
      return
    }
    if ((flags & ack) !== 0) acknowledge(connection, other, headers.tcpAcknowledgement | 0, timeMs)
    const sequence = (flags & syn) === 0 ? headers.tcpSequence | 0 : (headers.tcpSequence + 1) | 0
    if (headers.payloadLength > 0) takeSegment(connection, flow, sequence, bytes, headers, timeMs)
    if ((flags & fin) !== 0 && !flow.hasFin) {
      const finAt = (sequence + headers.payloadLength) | 0
      learn(flow, finAt)
      flow.hasFin = distance(flow, finAt) >= 0
      flow.finAt = finAt
    }
    if (hasFinished(flow) && hasFinished(other)) end(connection, timeMs, 'closed')
  }

  /** The other side says that it has everything before `next`: a hole there will not be filled any more. */
  function acknowledge(connection: Connection, flow: Flow, next: number, timeMs: number): void {
    if (!flow.isKnown) {
      learn(flow, next)
      return
    }
    const upTo = flow.hasFin && ((next - flow.finAt) | 0) > 0 ? flow.finAt : next
    const missing = (upTo - flow.next) | 0
    if (missing <= 0 || missing > windowBytesMax) return
    // One byte may as well be a FIN that was not captured: more will tell.
    if (missing === 1 && flow.held.length === 0 && !flow.hasFin) return
    giveUpHole(connection, flow, upTo, timeMs)
  }

  function takeSegment(
    connection: Connection,
    flow: Flow,
    sequence: number,
    bytes: Uint8Array,
    headers: PacketHeaders,
    timeMs: number,
  ): void {
    learn(flow, sequence)
    const { payloadAt, payloadEnd, payloadLength } = headers
    const ahead = distance(flow, sequence)
    if (ahead <= 0) {
      if (ahead + payloadLength <= 0) counts.duplicates++
      else {
        deliver(connection, flow, bytes, payloadAt - ahead, payloadEnd, ahead + payloadLength, timeMs)
        drain(connection, flow)
      }
      return
    }
    const index = placeFor(flow, sequence, payloadLength)
    if (index === -1) {
      counts.duplicates++
      return
    }
    counts.reordered++
    const size = payloadEnd - payloadAt + segmentBytes
    if (!hasSpaceFor(connection, flow, size, timeMs)) {
      giveUpUntil(connection, flow, sequence, size, timeMs)
      if (distance(flow, sequence) <= 0) {
        takeSegment(connection, flow, sequence, bytes, headers, timeMs)
        return
      }
    }
    const segment = { sequence, bytes: copyBytes(bytes, payloadAt, payloadEnd), length: payloadLength, timeMs }
    if (flow.held === noSegments) flow.held = []
    flow.held.splice(placeFor(flow, sequence, payloadLength), 0, segment)
    flow.heldBytes += size
    heldBytesTotal += size
    holders.add(connection)
  }

  /** `length` bytes were sent, from the first not handed out on; those from `from` to `to` were captured. */
  function deliver(
    { handlers }: Connection,
    flow: Flow,
    bytes: Uint8Array,
    from: number,
    to: number,
    length: number,
    timeMs: number,
  ): void {
    flow.next = (flow.next + length) | 0
    if (timeMs > flow.deliveredMs) flow.deliveredMs = timeMs
    const captured = Math.max(to - from, 0)
    if (captured > 0) handlers.onBytes(flow.side, bytes, from, to, flow.deliveredMs)
    if (captured === length) return
    counts.cutBytes += length - captured
    handlers.onGap(flow.side, length - captured, flow.deliveredMs)
  }

  /** Hands out what no longer waits. */
  function drain(connection: Connection, flow: Flow): void {
    while (flow.held.length > 0) {
      const segment = flow.held[0]!
      const ahead = distance(flow, segment.sequence)
      if (ahead > 0) return
      flow.held.shift()
      const size = segment.bytes.length + segmentBytes
      flow.heldBytes -= size
      heldBytesTotal -= size
      if (connection.client.held.length + connection.server.held.length === 0) holders.delete(connection)
      const { bytes, length, timeMs } = segment
      if (ahead + length > 0) deliver(connection, flow, bytes, -ahead, bytes.length, ahead + length, timeMs)
    }
  }

  /** All that is missing before `upTo` is a gap. */
  function giveUpHole(connection: Connection, flow: Flow, upTo: number, timeMs: number): void {
    while (distance(flow, upTo) > 0) {
      const first = flow.held[0]
      const until = first !== undefined && distance(flow, first.sequence) < distance(flow, upTo) ? first.sequence : upTo
      const missing = distance(flow, until)
      flow.next = until
      counts.gaps++
      counts.gapBytes += missing
      flow.deliveredMs = Math.max(flow.deliveredMs, first?.timeMs ?? timeMs)
      connection.handlers.onGap(flow.side, missing, flow.deliveredMs)
      drain(connection, flow)
    }
  }

  function giveUpHoles(connection: Connection, flow: Flow, timeMs: number): void {
    while (flow.held.length > 0) giveUpHole(connection, flow, flow.held[0]!.sequence, timeMs)
  }

  /** Gives up hole after hole until there is room for a segment, or nothing is missing before it. */
  function giveUpUntil(connection: Connection, flow: Flow, sequence: number, size: number, timeMs: number): void {
    while (distance(flow, sequence) > 0 && !hasSpaceFor(connection, flow, size, timeMs)) {
      const first = flow.held[0]
      const isBefore = first !== undefined && distance(flow, first.sequence) < distance(flow, sequence)
      giveUpHole(connection, flow, isBefore ? first.sequence : sequence, timeMs)
    }
  }

  /** Whether so much more may wait. Where all connections together hold too much, those that wait longest give way. */
  function hasSpaceFor(connection: Connection, flow: Flow, size: number, timeMs: number): boolean {
    if (flow.heldBytes + size > outOfOrderBytesMax) return false
    for (const holder of holders) {
      if (heldBytesTotal + size <= outOfOrderBytesTotalMax) return true
      if (holder === connection) return false
      giveUpHoles(holder, holder.client, timeMs)
      giveUpHoles(holder, holder.server, timeMs)
    }
    return heldBytesTotal + size <= outOfOrderBytesTotalMax
  }

  function expire(nowMs: number): void {
    for (const holder of holders) {
      if (isStale(holder.client, nowMs)) giveUpHoles(holder, holder.client, nowMs)
      if (isStale(holder.server, nowMs)) giveUpHoles(holder, holder.server, nowMs)
    }
    for (const queue of [opening, live])
      while (queue.oldest !== undefined && nowMs - queue.oldest.seenMs > idleMs) end(queue.oldest, nowMs, 'idle')
    while (ended.oldest !== undefined && nowMs - ended.oldest.seenMs > lingerMs) forget(ended.oldest)
  }

  function isStale(flow: Flow, nowMs: number): boolean {
    return flow.held.some((segment) => nowMs - segment.timeMs > holeMs)
  }

  return {
    take,
    expire,
    counts,
    get size() {
      return opening.size + live.size
    },
    get heldBytes() {
      return heldBytesTotal
    },
  }
}

function createFlow(side: Side): Flow {
  return {
    side,
    next: 0,
    isKnown: false,
    initialSequence: 0,
    hasInitialSequence: false,
    finAt: 0,
    hasFin: false,
    held: noSegments,
    heldBytes: 0,
    deliveredMs: 0,
  }
}

/** How far `sequence` is ahead of what was handed out; 0 or less: that far back, at most by the largest window. */
function distance(flow: Flow, sequence: number): number {
  const ahead = (sequence - flow.next) >>> 0
  return ahead > 2 ** 32 - windowBytesMax ? ahead - 2 ** 32 : ahead
}

/** Where a segment belongs among those that wait; -1: one of them holds all of it. */
function placeFor(flow: Flow, sequence: number, length: number): number {
  const from = distance(flow, sequence)
  let place = flow.held.length
  while (place > 0 && distance(flow, flow.held[place - 1]!.sequence) > from) place--
  for (let at = place - 1; at >= 0; at--) {
    const before = flow.held[at]!
    if (distance(flow, before.sequence) + before.length >= from + length) return -1
  }
  return place
}

function hasInitialSequence(flow: Flow, sequence: number): boolean {
  return flow.hasInitialSequence && flow.initialSequence === sequence
}

/** Its SYN was seen, and nothing else of it. */
function isAtStart(flow: Flow): boolean {
  return flow.hasInitialSequence && flow.next === ((flow.initialSequence + 1) | 0) && flow.held.length === 0
}

/** All it sent has been handed out. */
function hasFinished(flow: Flow): boolean {
  return flow.hasFin && flow.next === flow.finAt
}

function createQueue(): Queue {
  return { oldest: undefined, newest: undefined, size: 0 }
}

function moveTo(queue: Queue, connection: Connection): void {
  remove(connection)
  append(queue, connection)
}

function append(queue: Queue, connection: Connection): void {
  connection.queue = queue
  connection.older = queue.newest
  connection.newer = undefined
  if (queue.newest === undefined) queue.oldest = connection
  else queue.newest.newer = connection
  queue.newest = connection
  queue.size++
}

function remove(connection: Connection): void {
  const { queue, older, newer } = connection
  if (older === undefined) queue.oldest = newer
  else older.newer = newer
  if (newer === undefined) queue.newest = older
  else newer.older = older
  queue.size--
}

function addressLength(family: 4 | 6): number {
  return family === 4 ? 4 : 16
}

/** Whether the client sent it, of a packet of this connection. */
function isFrom({ clientAddress, clientPort, serverPort }: Connection, bytes: Uint8Array, headers: PacketHeaders): boolean {
  return clientPort === headers.sourcePort && (clientPort !== serverPort || isSame(clientAddress, bytes, headers.sourceAt))
}

function isOf(connection: Connection, bytes: Uint8Array, headers: PacketHeaders): boolean {
  if (connection.family !== headers.family) return false
  const { clientPort, serverPort, clientAddress, serverAddress } = connection
  const { sourcePort, destinationPort, sourceAt, destinationAt } = headers
  if (clientPort === sourcePort && serverPort === destinationPort)
    if (isSame(clientAddress, bytes, sourceAt) && isSame(serverAddress, bytes, destinationAt)) return true
  if (clientPort !== destinationPort || serverPort !== sourcePort) return false
  return isSame(clientAddress, bytes, destinationAt) && isSame(serverAddress, bytes, sourceAt)
}

function isSame(address: Uint8Array, bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < address.length; i++) if (address[i] !== bytes[at + i]) return false
  return true
}

function hashEndpoint(bytes: Uint8Array, at: number, length: number, port: number, seed: number): number {
  let hash = seed ^ port
  for (let i = at; i < at + length; i += 4) {
    const word = (bytes[i]! << 24) | (bytes[i + 1]! << 16) | (bytes[i + 2]! << 8) | bytes[i + 3]!
    hash = Math.imul(hash ^ word, 0x9e3779b1)
    hash ^= hash >>> 15
  }
  return hash
}

/** Not slice: a Buffer's gives no copy. */
function copyBytes(bytes: Uint8Array, from: number, to: number): Uint8Array {
  const copy = new Uint8Array(to - from)
  copy.set(bytes.subarray(from, to))
  return copy
}
