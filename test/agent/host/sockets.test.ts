import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { loadKoffi } from '../../../agent/host/koffi.ts'
import { loadLibc } from '../../../agent/host/libc.ts'
import {
  createSockets,
  IPPROTO_TCP,
  loadSockets,
  POLLIN,
  POLLOUT,
  SO_NETNS_COOKIE,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
  SocketError,
  type Sockets,
  TCP_NODELAY,
} from '../../../agent/host/sockets.ts'

let sockets: Sockets
beforeAll(async () => {
  const loaded = await loadSockets()
  if (loaded.sockets === undefined) throw new Error(loaded.missing)
  sockets = loaded.sockets
})
const opened = new Set<number>()
const keep = (fd: number): number => {
  opened.add(fd)
  return fd
}
afterEach(() => {
  for (const fd of opened) sockets.close(fd)
  opened.clear()
})

/** A port nobody else has, and its socket. */
function bindAnywhere(address: string, type: number): { fd: number; port: number } {
  const fd = keep(sockets.open(address, type))
  for (let port = 20_000; ; port++) {
    try {
      sockets.bind(fd, address, port)
      return { fd, port }
    } catch (error) {
      if ((error as SocketError).code !== 'EADDRINUSE') throw error
    }
  }
}

const families = [
  { family: 'IPv4', address: '127.0.0.1' },
  { family: 'IPv6', address: '::1' },
] as const

describe.each(families)('$family', ({ address }) => {
  it('sends datagrams, reads them, and refuses them by a filter', () => {
    const { fd: receiver, port } = bindAnywhere(address, SOCK_DGRAM)
    const sender = keep(sockets.open(address, SOCK_DGRAM))
    const batch = sockets.datagrams(5, () => sockets.encode(address, port), 32)
    expect(sockets.sendDatagrams(sender, batch, 2, 3)).toBe(3)
    expect(sockets.sendTo(sender, new Uint8Array(7), address, port)).toBeUndefined()
    expect(sockets.waitFor(receiver, POLLIN, 1000)).toBe(true)
    expect([1, 2, 3, 4, 5].map(() => sockets.receive(receiver))).toEqual([32, 32, 32, 7, undefined])
    sockets.refuseAll(receiver, true)
    sockets.sendDatagrams(sender, batch, 0, 5)
    expect(sockets.waitFor(receiver, POLLIN, 50)).toBe(false)
    sockets.refuseAll(receiver, false)
    sockets.sendDatagrams(sender, batch, 0, 1)
    expect(sockets.waitFor(receiver, POLLIN, 1000)).toBe(true)
    expect([1, 2].map(() => sockets.receive(receiver))).toEqual([32, undefined])
  })

  it('connects, accepts, and resets', () => {
    const { fd: listener, port } = bindAnywhere(address, SOCK_STREAM)
    sockets.listen(listener, 1)
    expect(sockets.accept(listener)).toBeUndefined()
    const client = keep(sockets.open(address, SOCK_STREAM | SOCK_NONBLOCK))
    expect(sockets.connect(client, address, port)).toBeUndefined()
    expect(sockets.waitFor(client, POLLOUT, 1000)).toBe(true)
    expect(sockets.error(client)).toBeUndefined()
    const server = sockets.accept(listener)!
    sockets.setOption(client, IPPROTO_TCP, TCP_NODELAY, 1)
    expect(sockets.getOption(client, IPPROTO_TCP, TCP_NODELAY, 4)?.getInt32(0, true)).not.toBe(0)
    expect(sockets.send(client, new Uint8Array(3))).toBe(3)
    expect(sockets.waitFor(server, POLLIN, 1000)).toBe(true)
    expect(sockets.receive(server)).toBe(3)
    sockets.shutdown(client)
    expect(sockets.waitFor(server, POLLIN, 1000)).toBe(true)
    expect(sockets.receive(server)).toBe(0)
    sockets.reset(server)
    expect(sockets.waitFor(client, POLLIN, 1000)).toBe(true)
    expect(sockets.error(client)).toBe('ECONNRESET')
  })

  it('says why a connection failed', () => {
    const { port } = bindAnywhere(address, SOCK_STREAM) // nobody listens
    const client = keep(sockets.open(address, SOCK_STREAM | SOCK_NONBLOCK))
    sockets.connect(client, address, port)
    expect(sockets.waitFor(client, POLLOUT, 1000)).toBe(true)
    expect(sockets.error(client)).toBe('ECONNREFUSED')
  })

  it('has a connection whose errno another call has set', async () => {
    const [{ koffi }, { libc }] = await Promise.all([loadKoffi(), loadLibc()])
    const spoilt = createSockets(koffi!, { ...libc!, connect: (...call) => (libc!.connect(...call) < 0 ? -12 : -11) })
    const { fd: listener, port } = bindAnywhere(address, SOCK_STREAM)
    sockets.listen(listener, 1)
    const connect = (): unknown => spoilt.connect(keep(sockets.open(address, SOCK_STREAM | SOCK_NONBLOCK)), address, port)
    expect(connect()).toBeUndefined()
    sockets.close(listener)
    opened.delete(listener)
    expect(connect()).toBe('ENOMEM')
  })

  it('throws what it did not expect', () => {
    const { port } = bindAnywhere(address, SOCK_DGRAM)
    const second = keep(sockets.open(address, SOCK_DGRAM))
    expect(() => sockets.bind(second, address, port)).toThrow(SocketError)
    expect(() => sockets.bind(second, address, port)).toThrow('bind: EADDRINUSE: address already in use')
    expect(() => sockets.encode(`${address}.x`, 1)).toThrow(`${address}.x is no address`)
  })
})

it('knows the option or does not', () => {
  const fd = keep(sockets.open('127.0.0.1', SOCK_DGRAM))
  expect(sockets.getOption(fd, SOL_SOCKET, SO_NETNS_COOKIE, 8)?.byteLength).toBe(8)
  expect(sockets.getOption(fd, SOL_SOCKET, 9999, 8)).toBeUndefined()
  expect(sockets.sendTo(fd, new Uint8Array(70_000), '127.0.0.1', 9)).toBe('EMSGSIZE')
})
