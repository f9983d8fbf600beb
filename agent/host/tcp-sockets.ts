import { setImmediate } from 'node:timers/promises'
import { parseProcNetSockstat } from '../../parsers/proc-net-sockstat.ts'
import type { SocketRow } from '../../parsers/socket-row.ts'
import { NotFound } from './errors.ts'
import type { Files } from './files.ts'
import type { Namespaces, NetworkNamespace } from './namespaces.ts'
import type { Netlink } from './netlink.ts'
import { readTcpSockets } from './read-tcp-sockets.ts'
import { isTurnOver, nextTurn } from './turn.ts'

/** What is done with the sockets of one namespace after another. */
export interface SocketVisitor {
  /** Before the first namespace. What it throws ends the walk for this visitor. */
  start?(): Promise<void>
  /** The namespace's sockets follow; or follow anew, and those of before are void. */
  begin(netns: NetworkNamespace): void
  /** A row that is used again. */
  socket(row: SocketRow): void
  /** That were all of the namespace. `byNetlink`: else they came from /proc, which tells less. */
  end(netns: NetworkNamespace, byNetlink: boolean): void
  /** They could not be read, or the visitor has thrown. */
  failed(netns: NetworkNamespace, error: unknown): void
}

/** The TCP sockets of this machine. */
export interface TcpSockets {
  /**
   * Goes through the namespaces, the host's first: sock_diag, or /proc/net/tcp and tcp6 where netlink cannot be had. Those who
   * ask in one turn of the event loop share a walk, for the kernel's table is as large as the machine's. Throws what `start`
   * throws, and the reason of the signal, which is the first visitor's.
   */
  walk(visitor: SocketVisitor, signal: AbortSignal): Promise<void>
}

export function createTcpSockets(namespaces: Namespaces, netlink: Netlink, files: Files): TcpSockets {
  let next: { readonly visitors: Visit[]; readonly done: Promise<void> } | undefined

  /** Walking the kernel's socket table costs a millisecond even for a namespace without sockets; asking for its size does not. */
  function hasSockets(netns: NetworkNamespace): boolean {
    for (const [file, keys] of [
      ['sockstat', ['TCP.inuse', 'TCP.tw']],
      ['sockstat6', ['TCP6.inuse']],
    ] as const) {
      try {
        const table = parseProcNetSockstat(files.readNet(netns, file), `/proc/net/${file}`)
        if (keys.some((key) => (table.get(key) ?? 0) > 0)) return true
      } catch (error) {
        if (!(error instanceof NotFound)) throw error
      }
    }
    return false
  }

  /** True: by netlink. */
  async function read(netns: NetworkNamespace, visits: readonly Visit[], signal: AbortSignal): Promise<boolean> {
    const restart = (): void => tell(visits, netns, (visitor) => visitor.begin(netns))
    const socket = (row: SocketRow): void => tell(visits, netns, (visitor) => visitor.socket(row))
    restart()
    if (netns !== namespaces.host && !hasSockets(netns)) return true
    return (await readTcpSockets({ netlink, files }, netns, { restart, socket }, signal)) === 'netlink'
  }

  async function walkOnce(all: readonly Visit[], signal: AbortSignal): Promise<void> {
    await Promise.all(all.map(start))
    const visits = all.filter(({ failure }) => failure === undefined)
    if (visits.length === 0) return
    for (const netns of [namespaces.host, ...namespaces.list()]) {
      if (isTurnOver()) await nextTurn(signal)
      for (const visit of visits) visit.isOut = false
      try {
        const byNetlink = await read(netns, visits, signal)
        tell(visits, netns, (visitor) => visitor.end(netns, byNetlink))
      } catch (error) {
        signal.throwIfAborted()
        for (const { visitor, isOut } of visits) if (!isOut) visitor.failed(netns, error)
      }
    }
  }

  return {
    async walk(visitor, signal) {
      if (next === undefined) {
        const visitors: Visit[] = []
        const done = setImmediate().then(() => {
          next = undefined
          return walkOnce(visitors, signal)
        })
        next = { visitors, done }
      }
      const visit: Visit = { visitor, isOut: false, failure: undefined }
      next.visitors.push(visit)
      await next.done
      if (visit.failure !== undefined) throw visit.failure.error
    },
  }
}

interface Visit {
  readonly visitor: SocketVisitor
  /** Of the namespace at hand. */
  isOut: boolean
  /** To start. */
  failure: { readonly error: unknown } | undefined
}

async function start(visit: Visit): Promise<void> {
  try {
    await visit.visitor.start?.()
  } catch (error) {
    visit.failure = { error }
  }
}

/** One visitor's fault is not the others'. */
function tell(visits: readonly Visit[], netns: NetworkNamespace, what: (visitor: SocketVisitor) => void): void {
  for (const visit of visits) {
    if (visit.isOut) continue
    try {
      what(visit.visitor)
    } catch (error) {
      visit.isOut = true
      visit.visitor.failed(netns, error)
    }
  }
}
