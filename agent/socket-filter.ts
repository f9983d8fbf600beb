import type { Choice, Filters } from './config.ts'
import type { EndPattern, Network, PortRange, ProcessPattern } from './config-values.ts'
import type { EventEnd } from './events.ts'
import { hasPort, isLetThrough, isNamed, isWithin } from './filter.ts'
import type { ListedSocket } from './socket-list.ts'

/** What is known of a socket before anybody has looked for its process. */
export type UnownedSocket = Omit<ListedSocket, 'process'>

export interface SocketFilter {
  /** Of all sockets at this end, the network namespace's. */
  admitsEnd(end: EventEnd): boolean
  /** Of a socket, whoever has it. */
  admits(socket: UnownedSocket): boolean
  admitsProcess(process: ListedSocket['process']): boolean
}

export type SocketFilters = Pick<Filters, 'sockets.pod' | 'sockets.namespace' | 'state' | 'ip' | 'port' | 'peer' | 'process'>

export function createSocketFilter(filters: SocketFilters): SocketFilter {
  const isOfOne = (choice: Choice<EndPattern>, end: EventEnd): boolean => isLetThrough(choice, (pattern) => isNamed(pattern, end))
  const { process: processes } = filters
  return {
    admitsEnd: (end) => isOfOne(filters['sockets.pod'], end) && isOfOne(filters['sockets.namespace'], end),
    admits({ state, local, peer = {} }) {
      return (
        isLetThrough(filters.state, (wanted) => wanted === state) &&
        isLetThrough(filters.ip, (network: Network) => isWithin(network, local) || isWithin(network, peer)) &&
        isLetThrough(filters.port, (range: PortRange) => hasPort(range, local) || hasPort(range, peer)) &&
        isLetThrough(filters.peer, (network: Network) => isWithin(network, peer))
      )
    },
    admitsProcess: (process) =>
      isLetThrough(processes, (pattern: ProcessPattern) =>
        typeof pattern === 'number' ? process?.pid === pattern : process !== undefined && pattern.test(process.command),
      ),
  }
}
