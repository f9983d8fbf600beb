import { type PortRange, parseNumbers, parsePortRanges } from '../../parsers/proc-sys.ts'
import type { SocketRow } from '../../parsers/socket-row.ts'
import { NotFound, Unreadable } from '../host/errors.ts'
import type { Host } from '../host/host.ts'
import type { NetworkNamespace } from '../host/namespaces.ts'
import { limits } from '../limits.ts'
import { type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import { tcpStateByNumber, tcpStates } from '../metrics/labels.ts'
import { createDestinations, type Destinations } from './destinations.ts'
import type { Sink, Source } from './source.ts'

type Metric = MetricsOf<'netlink-sockets'>
type State = (typeof tcpStates)[number]

/** include/net/tcp_states.h. */
const established = 1
const closeWait = 8
const listen = 10

/** What one namespace's sockets add up to. */
interface Tally {
  readonly states: number[]
  receiveQueueBytes: number
  sendQueueBytes: number
  rttMaxUs: number | undefined
  /** Undefined where the way of reading does not tell the limit. */
  fullestListener: number | undefined
  readonly listeners: Map<number, { length: number; limit: number | undefined }>
  readonly destinations: Destinations
}

/** Of one namespace. */
interface Reading {
  readonly tally: Tally
  readonly ephemeral: { readonly range: PortRange; readonly ports: number } | undefined
  readonly byNetlink: boolean
}

const createTally = (): Tally => ({
  states: Array(tcpStateByNumber.length).fill(0),
  receiveQueueBytes: 0,
  sendQueueBytes: 0,
  rttMaxUs: undefined,
  fullestListener: undefined,
  listeners: new Map(),
  destinations: createDestinations(),
})

function countListener(tally: Tally, { localPort, receiveQueue: length, sendQueue: limit }: SocketRow): void {
  const port = tally.listeners.get(localPort)
  tally.listeners.set(localPort, {
    length: (port?.length ?? 0) + length,
    limit: limit === undefined ? undefined : (port?.limit ?? 0) + limit,
  })
  if (limit !== undefined) tally.fullestListener = Math.max(tally.fullestListener ?? 0, length / Math.max(limit, 1))
}

function count(tally: Tally, socket: SocketRow, ephemeral: PortRange | undefined): void {
  const { state, localPort, rttUs } = socket
  if (tally.states[state] !== undefined) tally.states[state]++
  if (state === listen) {
    countListener(tally, socket)
    return
  }
  if (ephemeral !== undefined && localPort >= ephemeral.from && localPort <= ephemeral.to) tally.destinations.count(socket)
  if (state === established) {
    tally.receiveQueueBytes += socket.receiveQueue
    tally.sendQueueBytes += socket.sendQueue ?? 0
  }
  if ((state === established || state === closeWait) && rttUs !== undefined && rttUs > (tally.rttMaxUs ?? -1))
    tally.rttMaxUs = rttUs
}

/** TCP sockets of every namespace: sock_diag, or /proc/net/tcp and tcp6 where netlink cannot be had. */
export function createNetlinkSockets(host: Host): Source<Metric> {
  /** Ports once shown keep their row until they close, so that a queue does not jump between its port and `other`. */
  const admittedPorts = new WeakMap<NetworkNamespace, Set<number>>()
  let destinationsLost = 0

  /** The range connect() draws from, and how many ports of it are free for that. */
  function readEphemeral(netns: NetworkNamespace): { range: PortRange; ports: number } | undefined {
    try {
      const [from, to] = parseNumbers(
        host.files.readSys(netns, 'net/ipv4/ip_local_port_range'),
        '/proc/sys/net/ipv4/ip_local_port_range',
      )
      if (to === undefined) return undefined
      const reserved = parsePortRanges(
        host.files.readSys(netns, 'net/ipv4/ip_local_reserved_ports'),
        '/proc/sys/net/ipv4/ip_local_reserved_ports',
      )
      const taken = reserved.reduce((sum, range) => sum + Math.max(0, Math.min(to, range.to) - Math.max(from, range.from) + 1), 0)
      return { range: { from, to }, ports: to - from + 1 - taken }
    } catch (error) {
      if (error instanceof NotFound || error instanceof Unreadable) return undefined
      throw error
    }
  }

  function admitPorts(netns: NetworkNamespace, open: Iterable<number>): Set<number> {
    const ports = new Set(open)
    const admitted = admittedPorts.get(netns) ?? new Set()
    for (const port of admitted) if (!ports.has(port)) admitted.delete(port)
    for (const port of [...ports].sort((a, b) => a - b)) if (admitted.size < limits.listenPorts) admitted.add(port)
    admittedPorts.set(netns, admitted)
    return admitted
  }

  function emitListeners(sink: Sink<Metric>, netns: NetworkNamespace, { listeners }: Tally): void {
    const admitted = admitPorts(netns, listeners.keys())
    for (const [number, { length, limit }] of listeners) {
      const port = admitted.has(number) ? String(number) : 'other'
      sink.emit('netvitals_tcp_listen_queue_length', { of: { netns }, labels: { port }, value: length })
      if (limit !== undefined) sink.emit('netvitals_tcp_listen_queue_limit', { of: { netns }, labels: { port }, value: limit })
    }
  }

  function emitStates(sink: Sink<Metric>, netns: NetworkNamespace, { states }: Tally): void {
    const byName = new Map<State, number>(tcpStates.map((state) => [state, 0]))
    states.forEach((number, i) => {
      const state = tcpStateByNumber[i]
      if (state !== undefined) byName.set(state, (byName.get(state) ?? 0) + number)
    })
    for (const [state, value] of byName) sink.emit('netvitals_tcp_sockets', { of: { netns }, labels: { state }, value })
  }

  function emit(sink: Sink<Metric>, netns: NetworkNamespace, { tally, ephemeral, byNetlink }: Reading): void {
    const isHost = netns === host.namespaces.host
    const of = { netns }
    emitStates(sink, netns, tally)
    emitListeners(sink, netns, tally)
    sink.emit('netvitals_tcp_receive_queue_bytes', { of, labels: {}, value: tally.receiveQueueBytes })
    sink.emit('netvitals_tcp_send_queue_bytes', { of, labels: {}, value: tally.sendQueueBytes })
    if (byNetlink) {
      sink.emit('netvitals_tcp_listen_queue_fullest_ratio', { of, labels: {}, value: tally.fullestListener ?? 0 })
      sink.emit('netvitals_tcp_rtt_max_seconds', { of, labels: {}, value: (tally.rttMaxUs ?? 0) / 1e6 })
    } else if (isHost) {
      for (const metric of [
        'netvitals_tcp_listen_queue_limit',
        'netvitals_tcp_listen_queue_fullest_ratio',
        'netvitals_tcp_rtt_max_seconds',
      ] as const) {
        sink.absent(metric, '/proc/net/tcp does not tell it; sock_diag would, through koffi')
      }
    }
    if (ephemeral !== undefined) {
      sink.emit('netvitals_tcp_ephemeral_ports_in_use', { of, labels: {}, value: tally.destinations.busiest })
      sink.emit('netvitals_tcp_ephemeral_ports', { of, labels: {}, value: ephemeral.ports })
    } else if (isHost) {
      for (const metric of ['netvitals_tcp_ephemeral_ports_in_use', 'netvitals_tcp_ephemeral_ports'] as const)
        sink.absent(metric, 'no /proc/sys/net/ipv4/ip_local_port_range')
    }
    destinationsLost += tally.destinations.lost
  }

  return {
    name: 'netlink-sockets',
    writes: metricsOf('netlink-sockets'),
    needs: [{ library: 'koffi' }, { capability: 'CAP_SYS_ADMIN' }],
    async collect(sink, signal) {
      const { host: hostNetns } = host.namespaces
      let tally = createTally()
      let ephemeral: { range: PortRange; ports: number } | undefined
      let failure: { readonly error: unknown } | undefined
      await host.tcpSockets.walk(
        {
          begin(netns) {
            tally = createTally()
            ephemeral = readEphemeral(netns)
          },
          socket: (row) => count(tally, row, ephemeral?.range),
          end: (netns, byNetlink) => emit(sink, netns, { tally, ephemeral, byNetlink }),
          failed(netns, error) {
            if (netns === hostNetns) failure = { error }
            else sink.skip({ netns }, error instanceof Error ? error : String(error))
          },
        },
        signal,
      )
      if (failure !== undefined) throw failure.error
      sink.lost('destinations_full', destinationsLost)
    },
  }
}
