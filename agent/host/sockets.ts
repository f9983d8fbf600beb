import fs from 'node:fs'
import { type Koffi, loadKoffi } from './koffi.ts'
import { describeErrno, type Libc, loadLibc } from './libc.ts'

export const SOCK_STREAM = 1
export const SOCK_DGRAM = 2
export const SOCK_RAW = 3
export const SOCK_NONBLOCK = 0o4000
export const SOL_SOCKET = 1
export const SO_REUSEADDR = 2
export const SO_RCVBUF = 8
export const SO_NETNS_COOKIE = 71
export const IPPROTO_IP = 0
export const IPPROTO_TCP = 6
export const IPPROTO_UDP = 17
export const IPPROTO_IPV6 = 41
export const IPPROTO_RAW = 255
export const IP_TTL = 2
export const IPV6_UNICAST_HOPS = 16
export const TCP_NODELAY = 1
export const TCP_INFO = 11
export const TCP_SYNCNT = 7
export const TCP_USER_TIMEOUT = 18
export const UDP_SEGMENT = 103
export const POLLIN = 1
export const POLLOUT = 4
const AF_INET = 2
const AF_INET6 = 10
const SOCK_CLOEXEC = 0o2000000
const SO_ERROR = 4
const SO_LINGER = 13
const SO_ATTACH_FILTER = 26
const SO_DETACH_FILTER = 27
const MSG_DONTWAIT = 0x40
const MSG_NOSIGNAL = 0x4000
const SHUT_WR = 1
const EINPROGRESS = 115
/** include/net/tcp_states.h, first byte of struct tcp_info. */
const TCP_CLOSE = 7
const mmsghdrBytes = 64
const receiveBytes = 65_536

/** A call that the kernel refused. */
export class SocketError extends Error {
  /** The errno's name: EADDRINUSE. */
  readonly code: string

  constructor(call: string, errno: number) {
    const { code, words } = describeErrno(errno)
    super(`${call}: ${code}: ${words}`)
    this.name = 'SocketError'
    this.code = code
  }
}

/** Datagrams to send with as few calls as can be. They point at each other: the C library reads them where they are. */
export interface Datagrams {
  /** An array of struct mmsghdr. */
  readonly messages: Uint8Array
  readonly keep: readonly Uint8Array[]
}

/**
 * Sockets as the kernel has them: Node's own accept, read and close when they like. What is refused unexpectedly throws
 * SocketError; what may be refused returns the errno's name, as ECONNREFUSED.
 */
export interface Sockets {
  /** struct sockaddr_in or sockaddr_in6. */
  encode(address: string, port: number): Uint8Array
  /** Of IPv4 or IPv6, as the address is. `type` is SOCK_STREAM or another, and SOCK_NONBLOCK. */
  open(address: string, type: number, protocol?: number): number
  bind(fd: number, address: string, port: number): void
  listen(fd: number, backlog: number): void
  /** Not blocking; undefined: nobody waits. */
  accept(fd: number): number | undefined
  /** undefined: connected, or on its way. */
  connect(fd: number, address: string, port: number): string | undefined
  /** The bytes that were taken. */
  send(fd: number, bytes: Uint8Array): number
  sendTo(fd: number, bytes: Uint8Array, address: string, port: number): string | undefined
  /** `count` datagrams of so many bytes each; the nth goes to the encoded addressOf(n). */
  datagrams(count: number, addressOf: (index: number) => Uint8Array, bytes: number): Datagrams
  /** Sends `count` of them from the nth on: as many as were sent before one was refused, or why the first was. */
  sendDatagrams(fd: number, datagrams: Datagrams, from: number, count: number): number | string
  /** Bytes of what came first, which is read and thrown away; undefined: there is nothing. */
  receive(fd: number): number | undefined
  setOption(fd: number, level: number, option: number, value: number): void
  /** undefined: this kernel does not know the option. */
  getOption(fd: number, level: number, option: number, sizeBytes: number): DataView | undefined
  /** Lets nothing in, from now on; off: everything again. */
  refuseAll(fd: number, isOn: boolean): void
  /** Why the connection failed; undefined: it did not. */
  error(fd: number): string | undefined
  /** Whether one of the events, POLLIN or POLLOUT, came within the time. */
  waitFor(fd: number, events: number, timeoutMs: number): boolean
  /** Sends a FIN, keeps the socket. */
  shutdown(fd: number): void
  close(fd: number): void
  /** Closes with a RST. */
  reset(fd: number): void
}

export type LoadedSockets =
  | { readonly sockets: Sockets; readonly missing?: never }
  | { readonly missing: string; readonly sockets?: never }

/** Never throws. */
export async function loadSockets(): Promise<LoadedSockets> {
  const [{ koffi }, { libc, missing = '' }] = await Promise.all([loadKoffi(), loadLibc()])
  return koffi === undefined || libc === undefined ? { missing } : { sockets: createSockets(koffi, libc) }
}

export function createSockets(koffi: Koffi, libc: Libc): Sockets {
  const received = new Uint8Array(receiveBytes)
  const familyOf = (address: string): number => (address.includes(':') ? AF_INET6 : AF_INET)

  function encode(address: string, port: number): Uint8Array {
    const family = familyOf(address)
    const bytes = new Uint8Array(family === AF_INET6 ? 28 : 16)
    const view = new DataView(bytes.buffer)
    view.setUint16(0, family, true)
    view.setUint16(2, port)
    if (libc.parseAddress(family, address, bytes.subarray(family === AF_INET6 ? 8 : 4)) !== 1)
      throw new Error(`${address} is no address`)
    return bytes
  }

  function isClosed(fd: number): boolean {
    return (sockets.getOption(fd, IPPROTO_TCP, TCP_INFO, 1)?.getUint8(0) ?? TCP_CLOSE) === TCP_CLOSE
  }

  const sockets: Sockets = {
    encode,
    open: (address, type, protocol = 0) => check('socket', libc.socket(familyOf(address), type | SOCK_CLOEXEC, protocol)),
    bind: (fd, address, port) => void check('bind', libc.bind(fd, encode(address, port))),
    listen: (fd, backlog) => void check('listen', libc.listen(fd, backlog)),
    accept: (fd) => (sockets.waitFor(fd, POLLIN, 0) ? check('accept', libc.accept(fd, SOCK_NONBLOCK | SOCK_CLOEXEC)) : undefined),
    connect(fd, address, port) {
      const result = libc.connect(fd, encode(address, port))
      return result === -EINPROGRESS || !isClosed(fd) ? undefined : errorOf(result) // whatever errno says: see Libc
    },
    send: (fd, bytes) => Math.max(0, libc.send(fd, bytes, MSG_DONTWAIT | MSG_NOSIGNAL)),
    sendTo: (fd, bytes, address, port) => errorOf(libc.sendTo(fd, bytes, encode(address, port))),

    datagrams(count, addressOf, bytes) {
      const payload = new Uint8Array(bytes).fill(0x78)
      const iovec = new Uint8Array(16)
      const messages = new Uint8Array(count * mmsghdrBytes)
      const keep: Uint8Array[] = [payload, iovec]
      const [pointers, view] = [new DataView(iovec.buffer), new DataView(messages.buffer)]
      pointers.setBigUint64(0, koffi.address(payload), true)
      pointers.setBigUint64(8, BigInt(bytes), true)
      for (let index = 0; index < count; index++) {
        const to = addressOf(index)
        keep.push(to)
        const at = index * mmsghdrBytes
        view.setBigUint64(at, koffi.address(to), true)
        view.setUint32(at + 8, to.length, true)
        view.setBigUint64(at + 16, koffi.address(iovec), true)
        view.setBigUint64(at + 24, 1n, true)
      }
      return { messages, keep }
    },

    sendDatagrams(fd, { messages }, from, count) {
      const sent = libc.sendMessages(fd, messages.subarray(from * mmsghdrBytes), count)
      return errorOf(sent) ?? sent
    },

    receive(fd) {
      const length = libc.receive(fd, received, MSG_DONTWAIT)
      return length < 0 ? undefined : length
    },

    setOption: (fd, level, option, value) => void check('setsockopt', libc.setsockopt(fd, level, option, int(value))),

    getOption(fd, level, option, sizeBytes) {
      const value = new Uint8Array(sizeBytes)
      const length = libc.getsockopt(fd, level, option, value)
      return length < 0 ? undefined : new DataView(value.buffer, 0, length)
    },

    refuseAll(fd, isOn) {
      if (!isOn) return void check('setsockopt', libc.setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, int(0)))
      const program = Uint8Array.of(0x06, 0, 0, 0, 0, 0, 0, 0) // struct sock_filter: return 0, the bytes to keep
      const description = new Uint8Array(16) // struct sock_fprog: its length and where it is
      description[0] = 1
      new DataView(description.buffer).setBigUint64(8, koffi.address(program), true)
      check('setsockopt', libc.setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, description))
    },

    error(fd) {
      const errno = sockets.getOption(fd, SOL_SOCKET, SO_ERROR, 4)?.getInt32(0, true) ?? 0
      return errorOf(-errno)
    },

    waitFor(fd, events, timeoutMs) {
      const poll = new Uint8Array(8) // struct pollfd
      const view = new DataView(poll.buffer)
      view.setInt32(0, fd, true)
      view.setInt16(4, events, true)
      return libc.poll(poll, Math.max(0, timeoutMs)) > 0
    },

    shutdown: (fd) => void check('shutdown', libc.shutdown(fd, SHUT_WR)),

    close: (fd) => fs.closeSync(fd),

    reset(fd) {
      check('setsockopt', libc.setsockopt(fd, SOL_SOCKET, SO_LINGER, new Uint8Array(Int32Array.of(1, 0).buffer)))
      sockets.close(fd)
    },
  }
  return sockets
}

const int = (value: number): Uint8Array => new Uint8Array(Int32Array.of(value).buffer)

function errorOf(result: number): string | undefined {
  return result < 0 ? describeErrno(-result).code : undefined
}

function check(call: string, result: number): number {
  if (result < 0) throw new SocketError(call, -result)
  return result
}
