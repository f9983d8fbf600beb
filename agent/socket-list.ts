import { formatAddress } from '../parsers/address.ts'
import type { SocketRow } from '../parsers/socket-row.ts'
import { type EventEnd, nameOf } from './events.ts'
import type { Host } from './host/host.ts'
import type { NetworkNamespace } from './host/namespaces.ts'
import { readTcpSockets } from './host/read-tcp-sockets.ts'
import { createSocketOwners, type FoundOwners, type SocketOwner } from './host/socket-owners.ts'
import { isTurnOver, nextTurn } from './host/turn.ts'
import type { Identity } from './identity/identity.ts'
import { limits } from './limits.ts'
import { cleanLabelValue } from './metrics/label-text.ts'
import { tcpStateByNumber, type tcpStates } from './metrics/labels.ts'
import { createSocketFilter, type SocketFilters, type UnownedSocket } from './socket-filter.ts'
import { createSocketGroups, type SocketGroup, sortSockets } from './socket-groups.ts'

export type TcpState = (typeof tcpStates)[number]

/** Who has a socket open. The texts are the process's own, cleaned. */
export interface SocketProcess {
  readonly pid: number
  readonly command: string
  readonly commandLine: string
  readonly containerId?: string
  /** Of systemd. */
  readonly unit?: string
  /** Younger processes that have it open too. */
  readonly others?: number
}

/** A TCP socket, as people see it. What is not known is left out. */
export interface ListedSocket {
  readonly state: TcpState
  /** Undefined: a listener. `in`: to a port that somebody listens on in the same network namespace. */
  readonly direction?: 'in' | 'out'
  readonly local: EventEnd
  readonly peer?: EventEnd
  /** Bytes the application has not read; of a listener connections it has not accepted. */
  readonly receiveQueue: number
  /** Bytes the peer has not acknowledged; of a listener the most connections that may wait. */
  readonly sendQueue?: number
  /** Since data was last sent or received; since the connection began if there was none. */
  readonly sentAgoSeconds?: number
  readonly receivedAgoSeconds?: number
  /** Undefined: nobody has it open any more, or nobody can be seen to. */
  readonly process?: SocketProcess
}

export interface SocketQuestion {
  readonly filters: SocketFilters
  /** One by one instead of in groups. */
  readonly each: boolean
  /** So many of either. */
  readonly top: number
}

/** Answered at /api/v1/sockets; a field may be added within a version, never changed. */
export interface SocketAnswer {
  readonly schemaVersion: 1
  readonly node: string
  /** Sockets that fit the filters. */
  readonly sockets: number
  /** Those with the most sockets first; undefined: they were asked for one by one. */
  readonly groups?: readonly SocketGroup[]
  /** Those with the most in their queues first, then those that were idle longest. */
  readonly each?: readonly ListedSocket[]
  readonly notShown: { readonly groups?: number; readonly sockets: number }
  /** What was not looked at, or cannot be seen, in sentences. */
  readonly notes: readonly string[]
}

export interface SocketList {
  ask(question: SocketQuestion, signal: AbortSignal): Promise<SocketAnswer>
}

/** The TCP sockets of every network namespace with a name, and who has them open. */
export function createSocketList(host: Host, identity: Pick<Identity, 'resolve' | 'endOf'>, node: string): SocketList {
  const owners = createSocketOwners(host.files)

  function toSocket(row: SocketRow, state: TcpState, name: EventEnd): UnownedSocket {
    const { localPort, remotePort, receiveQueue, sendQueue, sentAgoMs, receivedAgoMs } = row
    const address = addressOf(row, row.remoteAt)
    return {
      state,
      local: { ...name, address: addressOf(row, row.localAt), port: localPort },
      ...(state !== 'listen' && { peer: { ...nameOf({ address }, identity), address, port: remotePort } }),
      receiveQueue,
      ...(sendQueue !== undefined && { sendQueue }),
      ...(sentAgoMs !== undefined && { sentAgoSeconds: sentAgoMs / 1000 }),
      ...(receivedAgoMs !== undefined && { receivedAgoSeconds: receivedAgoMs / 1000 }),
    }
  }

  async function readSockets(
    netns: NetworkNamespace,
    name: EventEnd,
    admits: (socket: UnownedSocket) => boolean,
    most: number,
    signal: AbortSignal,
  ): Promise<{ readonly found: readonly Found[]; readonly notRead: number }> {
    let found: Found[] = []
    let notRead = 0
    const listening = new Set<number | undefined>()
    const handlers = {
      restart() {
        found = []
        notRead = 0
      },
      socket(row: SocketRow) {
        const state = tcpStateByNumber[row.state]
        if (state === undefined) return
        if (state === 'listen') listening.add(row.localPort)
        const socket = toSocket(row, state, name)
        if (!admits(socket)) return
        if (found.length < most) found.push({ socket, inode: row.inode, listening })
        else notRead++
      },
    }
    await readTcpSockets(host, netns, handlers, signal)
    return { found, notRead }
  }

  return {
    async ask({ filters, each, top }, signal) {
      const filter = createSocketFilter(filters)
      const found: Found[] = []
      const inodes = new Set<number>()
      const unreadable: string[] = []
      let notRead = 0
      for (const netns of [host.namespaces.host, ...host.namespaces.list()]) {
        const name = nameOf({ netns }, identity)
        if (!filter.admitsEnd(name)) continue
        try {
          const inThis = await readSockets(netns, name, filter.admits, limits.socketsRead - found.length, signal)
          if (inThis.found.length > 0) inodes.add(netns.inode ?? Number.NaN)
          for (const one of inThis.found) found.push(one)
          notRead += inThis.notRead
        } catch (error) {
          signal.throwIfAborted()
          unreadable.push(error instanceof Error ? error.message : String(error))
        }
      }
      const held = new Set(found.flatMap(({ inode }) => (inode === 0 ? [] : [inode])))
      const known = await owners.find(held, inodes, signal)
      const oneByOne: ListedSocket[] = []
      const groups = createSocketGroups()
      let sockets = 0
      for (const one of found) {
        if (isTurnOver()) await nextTurn(signal)
        const owner = known.owners.get(one.inode)
        const process = owner && describe(owner)
        if (!filter.admitsProcess(process)) continue
        const socket = toListed(one, process)
        sockets++
        if (each) oneByOne.push(socket)
        else groups.add(socket)
      }
      const notes = [...noteUnread(unreadable, notRead), ...noteUnowned(held.size - known.owners.size, known)]
      const shown = Math.min(top, limits.socketsShown)
      return {
        schemaVersion: 1,
        node,
        sockets,
        ...(each ? chooseEach(oneByOne, shown) : chooseGroups(groups.list(), shown)),
        notes,
      }
    },
  }
}

interface Found {
  readonly socket: UnownedSocket
  /** 0: the kernel has it alone. */
  readonly inode: number
  /** Ports of its namespace that something listens on. */
  readonly listening: ReadonlySet<number | undefined>
}

function toListed({ socket, listening }: Found, process: SocketProcess | undefined): ListedSocket {
  const direction = listening.has(socket.local.port) ? 'in' : 'out'
  return { ...socket, ...(socket.state !== 'listen' && { direction }), ...(process && { process }) }
}

/** sock_diag and /proc give an IPv4 socket's address in the first four bytes. */
function addressOf({ family, addresses }: SocketRow, at: number): string {
  return formatAddress(addresses.subarray(at, at + (family === 6 ? 16 : 4)))
}

function describe({ pid, command, commandLine, containerId, unit, others }: SocketOwner): SocketProcess {
  return {
    pid,
    command: cleanLabelValue(command),
    commandLine: cleanLabelValue(commandLine),
    ...(containerId !== undefined && { containerId: cleanLabelValue(containerId) }),
    ...(unit !== undefined && { unit: cleanLabelValue(unit) }),
    ...(others > 0 && { others }),
  }
}

function chooseEach(sockets: readonly ListedSocket[], most: number): Pick<SocketAnswer, 'each' | 'notShown'> {
  const each = sortSockets(sockets).slice(0, most)
  return { each, notShown: { sockets: sockets.length - each.length } }
}

function chooseGroups(all: readonly SocketGroup[], most: number): Pick<SocketAnswer, 'groups' | 'notShown'> {
  const rest = all.slice(most)
  return {
    groups: all.slice(0, most),
    notShown: { groups: rest.length, sockets: rest.reduce((sum, group) => sum + group.sockets, 0) },
  }
}

function noteUnread(unreadable: readonly string[], notRead: number): string[] {
  const notes: string[] = []
  const [first] = unreadable
  if (first !== undefined) notes.push(`${count(unreadable.length, 'network namespace')} not looked into: ${first}`)
  if (notRead > 0) notes.push(`${count(notRead, 'more socket')} not looked at, beyond ${count(limits.socketsRead, 'other')}`)
  return notes
}

function noteUnowned(unowned: number, { refused, isCutOff }: FoundOwners): string[] {
  const notes: string[] = []
  if (unowned > 0 && refused > 0)
    notes.push(
      `no process is shown for ${count(unowned, 'socket')}: the files of ${count(refused, 'process')} cannot be seen without CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH`,
    )
  if (isCutOff) notes.push(`only ${count(limits.socketOwnerFiles, 'open file')} of processes were looked at`)
  return notes
}

function count(number: number, what: string): string {
  const plural = what.endsWith('s') ? `${what}es` : `${what}s`
  return `${number.toLocaleString('en')} ${number === 1 ? what : plural}`
}
