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

export interface SocketGroups {
  add(socket: ListedSocket): void
  /** The largest first. */
  list(): SocketGroup[]
}

interface Sum {
  readonly first: ListedSocket
  sockets: number
  receiveQueue: number
  sendQueue: number
  leastIdle: number
  mostIdle: number
  readonly peers: Map<string, CountedPeer>
}

interface CountedPeer {
  readonly end: EventEnd
  sockets: number
}

export function createSocketGroups(): SocketGroups {
  const sums = new Map<string, Sum>()

  function sumOf(socket: ListedSocket): Sum {
    const { state, direction = '', local, process } = socket
    const key = [state, direction, portOf(socket), process?.pid, local.namespace, local.pod].join('\0')
    const known = sums.get(key)
    if (known !== undefined) return known
    const idle = { leastIdle: Number.POSITIVE_INFINITY, mostIdle: Number.NEGATIVE_INFINITY }
    const sum = { first: socket, sockets: 0, receiveQueue: 0, sendQueue: 0, ...idle, peers: new Map() }
    sums.set(key, sum)
    return sum
  }

  return {
    add(socket) {
      const sum = sumOf(socket)
      const idle = idleSecondsOf(socket)
      sum.sockets++
      sum.receiveQueue += socket.receiveQueue
      sum.sendQueue += socket.sendQueue ?? 0
      if (idle !== undefined) {
        sum.leastIdle = Math.min(sum.leastIdle, idle)
        sum.mostIdle = Math.max(sum.mostIdle, idle)
      }
      countPeer(sum.peers, socket)
    },
    list() {
      const queued = ({ receiveQueue, sendQueue = 0 }: SocketGroup): number => receiveQueue + sendQueue
      return [...sums.values()].map(toGroup).sort((a, b) => b.sockets - a.sockets || queued(b) - queued(a))
    },
  }
}

/** Those with the most in their queues first, then those that were idle longest; listeners last. */
export function sortSockets(sockets: readonly ListedSocket[]): ListedSocket[] {
  const queued = ({ state, receiveQueue, sendQueue = 0 }: ListedSocket): number =>
    state === 'listen' ? -1 : receiveQueue + sendQueue
  return [...sockets].sort((a, b) => queued(b) - queued(a) || (idleSecondsOf(b) ?? -1) - (idleSecondsOf(a) ?? -1))
}

/** The port that says what the connection is for, if it is the local one. */
const portOf = ({ direction, local }: ListedSocket): number | undefined => (direction === 'out' ? undefined : local.port)

function toGroup({ first, sockets, receiveQueue, sendQueue, leastIdle, mostIdle, peers }: Sum): SocketGroup {
  const { state, direction, process } = first
  const { address: _, port: __, ...name } = first.local
  const port = portOf(first)
  return {
    state,
    ...(direction && { direction }),
    local: { ...name, ...(port !== undefined && { port }) },
    ...(process && { process }),
    sockets,
    receiveQueue,
    ...(first.sendQueue !== undefined && { sendQueue }),
    ...(leastIdle <= mostIdle && { idle: { least: leastIdle, most: mostIdle } }),
    peers: findBusiest(peers.values()).map(({ end, sockets }) => ({ ...end, sockets })),
    peerCount: peers.size,
  }
}

/** Of one that called the port is any. */
function countPeer(peers: Map<string, CountedPeer>, { peer, direction }: ListedSocket): void {
  if (peer === undefined) return
  const key = direction === 'in' ? String(peer.address) : `${peer.address} ${peer.port}`
  const counted = peers.get(key)
  if (counted !== undefined) {
    counted.sockets++
    return
  }
  const { port: _, ...caller } = peer
  peers.set(key, { end: direction === 'in' ? caller : peer, sockets: 1 })
}

/** Those with the most sockets first, without sorting thousands of others. */
function findBusiest(peers: Iterable<CountedPeer>): readonly CountedPeer[] {
  const busiest: CountedPeer[] = []
  for (const peer of peers) {
    const least = busiest[peersShown - 1]
    if (least !== undefined && peer.sockets <= least.sockets) continue
    busiest.push(peer)
    busiest.sort((a, b) => b.sockets - a.sockets)
    busiest.splice(peersShown)
  }
  return busiest
}
