import type { SocketRow, SocketTraffic } from '../../parsers/socket-row.ts'
import type { NetworkNamespace } from '../host/namespaces.ts'
import { tracedEdgeValues, tracedPeers, tracedRoles } from '../host/traced-maps.ts'
import { limits } from '../limits.ts'
import {
  type ConnectionEnd,
  connectionWords,
  edgeWords,
  isLoopback,
  readKey,
  readRole,
  writeConnection,
  writeEdge,
} from './edge-keys.ts'
import { createKeyTable } from './key-table.ts'

/** include/net/tcp_states.h. */
const established = 1
const synSent = 2
const synRecv = 3
const finWait2 = 5
const closeWait = 8
const lastAck = 9
const listen = 10
const closing = 11

const { sentBytes, receivedBytes, retransmittedSegments, size } = tracedEdgeValues
/** What a connection that lives has too. */
const carried = [sentBytes, receivedBytes, retransmittedSegments] as const
/** Of a record that the kernel's map has not; never written to. */
const nothing = new Float64Array(size)

/** Of one record, in one sweep. */
export interface LiveConnections {
  connections: number
  rttMaxUs: number
  sent: number
  received: number
  retransmitted: number
}

/** What one end has seen of its connections to another, or, where they are kept apart, of one. */
export interface EdgeRecord {
  readonly netns: NetworkNamespace
  readonly role: 'client' | 'server'
  /** `::` and 0: any but those of the known networks. */
  readonly local: ConnectionEnd
  readonly remote: ConnectionEnd
  readonly isSingle: boolean
  /** One of the connections; none of those that ended without having been seen alive, where they are not kept apart. */
  sample: { readonly local: ConnectionEnd; readonly remote: ConnectionEnd } | undefined
  /** As in the kernel's map. */
  readonly key: Uint32Array
  /** What ended, as tracedEdgeValues has it: the kernel's counters. */
  ended: Float64Array
  /** What has been handed on of what ended and of what lives. */
  readonly counted: number[]
  /** Of those that live, in the newest sweep. */
  live: LiveConnections | undefined
  isInKernel: boolean
  changedAtMs: number
}

export interface EdgeRecords {
  /** What the kernel has counted follows, and the connections that live. */
  beginSweep(): void
  /** An entry of the kernel's map of edges. */
  ended(netns: NetworkNamespace, key: DataView, values: Float64Array): void
  /** An entry of the kernel's map of connections. */
  connection(key: DataView, values: Float64Array): void
  /** The sockets of a namespace follow, or do so anew. */
  begin(netns: NetworkNamespace): void
  socket(row: SocketRow): void
  end(): void
  all(): readonly EdgeRecord[]
  /** What is new since it was handed on, as tracedEdgeValues has it, in an array that is used again. Undefined: nothing. */
  growth(record: EdgeRecord): Float64Array | undefined
  /** It was handed on. */
  count(record: EdgeRecord, growth: Float64Array, nowMs: number): void
  /** The kernel has it no longer. */
  taken(record: EdgeRecord): void
  /** Lets go of those that neither the kernel has nor a connection that lives. */
  endSweep(): void
  /** How many found no place, since start. */
  readonly refused: number
}

export interface EdgeRecordsOptions {
  /** Whether the kernel counts edges: else all that is known is what lives. */
  readonly isTraced: () => boolean
  /** Whether this kernel tells twins among namespaces apart, as far as that is known: else the first key that has a cookie tells. */
  readonly hasCookies: boolean
  /** A connection that came into being since they were handed out; its role and peer as the kernel's map has it. */
  readonly findConnection: (key: Uint8Array) => Float64Array | undefined
}

export function createEdgeRecords({ isTraced, findConnection, ...options }: EdgeRecordsOptions): EdgeRecords {
  const connections = createKeyTable(connectionWords)
  /** Role + 2^32 × peer, by the connection's number. */
  let natures: number[] = []
  const table = createKeyTable(edgeWords)
  let records: EdgeRecord[] = []
  const listeners = new WeakMap<NetworkNamespace, Set<number>>()
  /** Of the namespace at hand. */
  let netns: NetworkNamespace | undefined
  let ports = new Set<number>()
  let touched: EdgeRecord[] = []
  const growth = new Float64Array(size)
  let { hasCookies } = options
  let knowsNatures = false
  let isLate = false
  let refused = 0

  /** Of the key in the table, new or not; undefined: there is no place. */
  function admit(owner: NetworkNamespace): EdgeRecord | undefined {
    const number = table.find()
    if (number !== -1) {
      const known = records[number]!
      if (known.netns === owner) return known
      return (records[number] = createRecord(owner)) // on a kernel without cookies, another of the same inode
    }
    if (records.length >= limits.edgeRecords) {
      refused++
      return undefined
    }
    const record = createRecord(owner)
    records[table.add()] = record
    return record
  }

  function createRecord(owner: NetworkNamespace): EdgeRecord {
    const key = table.key.slice()
    const ends = readKey(key)
    return {
      netns: owner,
      role: toRole(readRole(key)) ?? guessRole(listeners.get(owner) ?? ports, ends.local.port, ends.remote.port),
      ...ends,
      sample: ends.isSingle ? ends : undefined,
      key,
      ended: nothing,
      counted: Array(size).fill(0),
      live: undefined,
      isInKernel: false,
      changedAtMs: 0,
    }
  }

  /** Role and peer of the connection in the table. */
  function findNature(): number {
    const number = connections.find()
    if (number !== -1) return natures[number]!
    writeEdge(table.key, connections.key, 0, 'single')
    if (table.find() !== -1) return unseen
    const [, nature = unseen] = findConnection(new Uint8Array(connections.key.buffer)) ?? []
    return nature
  }

  function guessNature(row: SocketRow): number {
    const role = guessRole(ports, row.localPort, row.remotePort)
    return tracedRoles.indexOf(role) + tracedPeers.indexOf('known') * 2 ** 32
  }

  return {
    beginSweep() {
      knowsNatures = isTraced()
      connections.clear()
      natures = []
      for (const record of records) {
        record.live = undefined
        record.isInKernel = false
      }
    },

    ended(owner, key, values) {
      for (let word = 0; word < edgeWords; word++) table.key[word] = key.getUint32(word * 4, true)
      if (table.key[1] !== 0) hasCookies = true
      const isNew = table.find() === -1
      const record = admit(owner)
      if (record === undefined) return
      record.ended = values.slice()
      record.isInKernel = true
      // Of one whose beginning was not seen nobody knows what was before the agent: only what comes from now on counts.
      if (isNew && isUnseen(record)) for (const i of carried) record.counted[i] = values[i]!
    },

    connection(key, [, nature = 0]) {
      for (let word = 0; word < connectionWords; word++) connections.key[word] = key.getUint32(word * 4, true)
      if (connections.key[1] !== 0) hasCookies = true
      natures[connections.add()] = nature
    },

    begin(owner) {
      for (const record of touched) record.live = undefined
      touched = []
      netns = owner
      ports = new Set()
      // Where the kernel tells twins apart, and it is not known yet which of them this is, its connections have to wait.
      isLate = knowsNatures && hasCookies && owner.cookie === undefined
      connections.key[0] = owner.inode ?? 0
      connections.key[1] = hasCookies ? (owner.cookie ?? 0) % 0x1_0000_0000 : 0
    },

    socket(row) {
      const { state, traffic, rttUs } = row
      if (state === listen) ports.add(row.localPort)
      if (traffic === undefined || isLate || state === listen || state === synSent || state === synRecv) return
      writeConnection(connections.key, row)
      if (isLoopback(connections.key)) return
      const nature = knowsNatures ? findNature() : guessNature(row)
      const role = nature % 2 ** 32
      writeEdge(table.key, connections.key, role, tracedPeers[Math.floor(nature / 2 ** 32)] ?? 'single')
      const isNew = table.find() === -1
      const record = admit(netns!)
      if (record === undefined) return
      if (isNew && isUnseen(record)) {
        record.counted[sentBytes] = sentOf(traffic, state, role, 0)
        record.counted[receivedBytes] = receivedOf(traffic, state, 0)
        record.counted[retransmittedSegments] = traffic.retransmittedSegments
      }
      touched.push(record)
      record.sample ??= readKey(connections.key)
      record.live ??= { connections: 0, rttMaxUs: 0, sent: 0, received: 0, retransmitted: 0 }
      const { live } = record
      const heldBack = traffic.silentMs < limits.edgeQuietMs ? 1 : 0
      live.sent += sentOf(traffic, state, role, heldBack)
      live.received += receivedOf(traffic, state, heldBack)
      live.retransmitted += traffic.retransmittedSegments
      if (state === established) live.connections++
      if ((state === established || state === closeWait) && rttUs !== undefined) live.rttMaxUs = Math.max(live.rttMaxUs, rttUs)
    },

    end() {
      listeners.set(netns!, ports)
      touched = []
    },

    all: () => records,

    growth({ ended, live, counted }) {
      growth.set(ended)
      if (live !== undefined) {
        growth[sentBytes]! += live.sent
        growth[receivedBytes]! += live.received
        growth[retransmittedSegments]! += live.retransmitted
      }
      let hasGrown = false
      for (let i = 0; i < size; i++) {
        // What was seen alive and ended since the kernel's map was read is in neither: it comes with the next sweep.
        const value = Math.max(0, growth[i]! - counted[i]!)
        growth[i] = value
        hasGrown ||= value > 0
      }
      return hasGrown ? growth : undefined
    },

    count(record, growth, nowMs) {
      for (let i = 0; i < size; i++) record.counted[i]! += growth[i]!
      record.changedAtMs = nowMs
    },

    taken(record) {
      for (let i = 0; i < size; i++) record.counted[i] = Math.max(0, record.counted[i]! - record.ended[i]!)
      record.ended = nothing
      record.isInKernel = false
    },

    endSweep() {
      const kept = records.filter(({ isInKernel, live }) => isInKernel || live !== undefined)
      if (kept.length === records.length) return
      records = kept
      table.clear()
      for (const { key } of records) {
        table.key.set(key)
        table.add()
      }
    },

    get refused() {
      return refused
    },
  }
}

/** The nature of a connection whose beginning was not seen. */
const unseen = tracedRoles.indexOf('unknown') + tracedPeers.indexOf('single') * 2 ** 32

function isUnseen({ key }: EdgeRecord): boolean {
  return toRole(readRole(key)) === undefined
}

function toRole(role: number): EdgeRecord['role'] | undefined {
  const name = tracedRoles[role]
  return name === 'unknown' ? undefined : name
}

/** Of a connection whose beginning was not seen: who listens is the server, else who has the smaller port. */
function guessRole(listeners: ReadonlySet<number>, localPort: number, remotePort: number): EdgeRecord['role'] {
  return listeners.has(localPort) || localPort < remotePort ? 'server' : 'client'
}

// What a connection that lives has carried, without the SYN and the FINs that TCP counts as bytes. The state is told a moment
// earlier than the bytes: the last byte, which may be a FIN, is held back where the peer has just said something.

function sentOf({ bytesAcknowledged }: SocketTraffic, state: number, role: number, heldBack: 0 | 1): number {
  const syn = tracedRoles[role] === 'client' ? 1 : 0
  const fin = state === finWait2 ? 1 : heldBack
  return Math.max(0, bytesAcknowledged - syn - fin)
}

function receivedOf({ bytesReceived }: SocketTraffic, state: number, heldBack: 0 | 1): number {
  const fin = state === closeWait || state === lastAck || state === closing ? 1 : heldBack
  return Math.max(0, bytesReceived - fin)
}
