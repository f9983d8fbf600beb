import { setTimeout as sleep } from 'node:timers/promises'
import { POLLOUT, SO_REUSEADDR, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET, type Sockets } from '../host/sockets.ts'
import type { ThrowAwayNamespace } from '../host/throw-away-namespace.ts'

/** An address of the loopback device, and how many faults are caused with it. */
export interface End {
  readonly address: string
  readonly share: number
  /** Of an IP header, without options. */
  readonly headerBytes: number
}

/** Connections, both ends of each. */
export interface Connections {
  readonly clients: readonly number[]
  readonly servers: readonly number[]
}

/** Where a fault is caused: a network namespace in which nothing else happens. All its sockets are closed with it. */
export interface Stage {
  readonly sockets: Sockets
  readonly ends: readonly End[]
  /** What the kernel counted there by now, of /proc/net/snmp or netstat: `Tcp.RetransSegs`. */
  readonly kernel: (field: string) => number
  open(address: string, type: number): number
  close(fd: number): void
  /** Closes with a RST. */
  reset(fd: number): void
  listen(address: string, backlog?: number): number
  /** A socket that is on its way to the port. */
  connect(address: string, port: number, prepare?: (fd: number) => void): number
  /** `count` connections with a new listener. */
  connections(address: string, count: number): Promise<Connections>
  /** Waits until all of them are connected or have failed, and says how many ended so: 'connected' or ECONNREFUSED. */
  outcomes(fds: readonly number[], wanted: string): Promise<number>
  /** Waits for something; throws if it has not come in time. */
  until(what: string, isTrue: () => boolean): Promise<void>
  /** Softirqs have had time to deliver what was sent. */
  delivered(): Promise<void>
}

export const listenPort = 7000
const checkMs = 10
const patienceMs = 5000
const deliveryMs = 200

interface StageParts {
  readonly sockets: Sockets
  readonly namespace: ThrowAwayNamespace
  readonly ends: readonly End[]
  readonly kernel: (field: string) => number
}

export function createStage({ sockets, namespace, ends, kernel }: StageParts): Stage & { closeAll(): void } {
  const opened = new Set<number>()
  const keep = (fd: number): number => {
    opened.add(fd)
    return fd
  }
  const stage: Stage = {
    sockets,
    ends,
    kernel,
    open: (address, type) => keep(namespace.inside(() => sockets.open(address, type | SOCK_NONBLOCK))),
    close(fd) {
      if (opened.delete(fd)) sockets.close(fd)
    },
    reset(fd) {
      if (opened.delete(fd)) sockets.reset(fd)
    },
    listen(address, backlog = 128) {
      const listener = stage.open(address, SOCK_STREAM)
      sockets.setOption(listener, SOL_SOCKET, SO_REUSEADDR, 1)
      sockets.bind(listener, address, listenPort)
      sockets.listen(listener, backlog)
      return listener
    },
    connect(address, port, prepare) {
      const client = stage.open(address, SOCK_STREAM)
      prepare?.(client)
      const error = sockets.connect(client, address, port)
      if (error !== undefined) throw new Error(`connect to ${address}: ${error}`)
      return client
    },
    async connections(address, count) {
      const listener = stage.listen(address)
      const clients = Array.from({ length: count }, () => stage.connect(address, listenPort))
      const servers: number[] = []
      await stage.until(`${count} connections`, () => {
        for (let fd = sockets.accept(listener); fd !== undefined; fd = sockets.accept(listener)) servers.push(keep(fd))
        return servers.length === count
      })
      return { clients, servers }
    },
    async outcomes(fds, wanted) {
      await stage.until(`${fds.length} connects`, () => fds.every((fd) => sockets.waitFor(fd, POLLOUT, 0)))
      return fds.filter((fd) => (sockets.error(fd) ?? 'connected') === wanted).length
    },
    async until(what, isTrue) {
      const giveUpAtMs = performance.now() + patienceMs
      while (!isTrue()) {
        if (performance.now() > giveUpAtMs) throw new Error(`waited in vain for ${what}`)
        await sleep(checkMs)
      }
    },
    delivered: () => sleep(deliveryMs),
  }
  return {
    ...stage,
    closeAll() {
      for (const fd of opened) sockets.close(fd)
      opened.clear()
    },
  }
}
