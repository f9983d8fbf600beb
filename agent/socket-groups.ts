import type { EventEnd } from './events.ts'
import type { ListedSocket, SocketProcess, TcpState } from './socket-list.ts'

/** Sockets of one process, or of none, in the same state and network namespace, to the same port if it is a listener's. */
export interface SocketGroup {
  readonly state: TcpState
  readonly direction?: 'in' | 'out'
  /** The port, where all have the same; whose they are. */
  readonly local: Omit<EventEnd, 'address'>
  readonly process?: SocketProcess
  readonly sockets: number
  readonly receiveQueue: number
  readonly sendQueue?: number
  /** Seconds without data either way. */
  readonly idle?: { readonly least: number; readonly most: number }
  /** The peers with most of the sockets. Of those that called the port is their own and left out. */
  readonly peers: readonly SocketPeer[]
  /** How many there are. */
  readonly peerCount: number
}

export interface SocketPeer extends EventEnd {
  readonly sockets: number
}

/** Peers that are told one by one. */
const peersShown = 3

export const idleSecondsOf = ({ sentAgoSeconds, receivedAgoSeconds }: ListedSocket): number | undefined =>
  sentAgoSeconds === undefined || receivedAgoSeconds === undefined ? undefined : Math.min(sentAgoSeconds, receivedAgoSeconds)

/** The largest first. */
export function groupSockets(sockets: readonly ListedSocket[]): SocketGroup[] {
  const members = new Map<string, ListedSocket[]>()
  for (const socket of sockets) {
    const { state, direction, local, process } = socket
    const key = JSON.stringify([local.namespace, local.pod, state, process?.pid, direction, portOf(socket)])
    const group = members.get(key)
    if (group === undefined) members.set(key, [socket])
    else group.push(socket)
  }
  const queued = ({ receiveQueue, sendQueue = 0 }: SocketGroup): number => receiveQueue + sendQueue
  return [...members.values()].map(sumUp).sort((a, b) => b.sockets - a.sockets || queued(b) - queued(a))
}

/** Those with the most in their queues first, then those that were idle longest; listeners last. */
export function sortSockets(sockets: readonly ListedSocket[]): ListedSocket[] {
  const queued = ({ state, receiveQueue, sendQueue = 0 }: ListedSocket): number =>
    state === 'listen' ? -1 : receiveQueue + sendQueue
  return [...sockets].sort((a, b) => queued(b) - queued(a) || (idleSecondsOf(b) ?? -1) - (idleSecondsOf(a) ?? -1))
}

/** The port that says what the connection is for, if it is the local one. */
const portOf = ({ direction, local }: ListedSocket): number | undefined => (direction === 'out' ? undefined : local.port)

function sumUp(members: readonly ListedSocket[]): SocketGroup {
  const first = members[0]!
  const { state, direction, process } = first
  const { address: _, port: __, ...name } = first.local
  const port = portOf(first)
  const idle = members.flatMap((socket) => idleSecondsOf(socket) ?? [])
  const peers = countPeers(members)
  const sum = (read: (socket: ListedSocket) => number | undefined): number =>
    members.reduce((total, socket) => total + (read(socket) ?? 0), 0)
  return {
    state,
    ...(direction && { direction }),
    local: { ...name, ...(port !== undefined && { port }) },
    ...(process && { process }),
    sockets: members.length,
    receiveQueue: sum(({ receiveQueue }) => receiveQueue),
    ...(first.sendQueue !== undefined && { sendQueue: sum(({ sendQueue }) => sendQueue) }),
    ...(idle.length > 0 && { idle: { least: least(idle), most: -least(idle.map((seconds) => -seconds)) } }),
    peers: peers.slice(0, peersShown),
    peerCount: peers.length,
  }
}

const least = (numbers: readonly number[]): number => numbers.reduce((a, b) => Math.min(a, b))

/** Those with the most sockets first. */
function countPeers(sockets: readonly ListedSocket[]): SocketPeer[] {
  const peers = new Map<string, { end: EventEnd; sockets: number }>()
  for (const { peer, direction } of sockets) {
    if (peer === undefined) continue
    const { port, ...caller } = peer
    const end = direction === 'in' ? caller : { ...caller, port }
    const key = `${peer.address} ${direction === 'in' ? '' : port}`
    const counted = peers.get(key)
    if (counted === undefined) peers.set(key, { end: end as EventEnd, sockets: 1 })
    else counted.sockets++
  }
  return [...peers.values()].sort((a, b) => b.sockets - a.sockets).map(({ end, sockets }) => ({ ...end, sockets }))
}
