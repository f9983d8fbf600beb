import { formatAddress } from '../../parsers/address.ts'
import { readU32 } from '../../parsers/netlink.ts'
import type { SocketRow } from '../../parsers/socket-row.ts'

// The keys of the tracer's maps of connections, as words in the machine's order: inode and low half of the cookie of the
// namespace; local address; remote address; both ports, in network order; in those of edges the role.

export const connectionWords = 11
export const edgeWords = 12
const localAt = 2
const remoteAt = 6
const portsAt = 10
const roleAt = 11

/** What IPv4 addresses have in front as IPv6 has them: ::ffff:0:0. */
const mappedWord = 0xffff0000

const swap = (port: number): number => (port >> 8) | ((port & 0xff) << 8)

/** Writes a socket's addresses and ports; the namespace is there. */
export function writeConnection(key: Uint32Array, row: SocketRow): void {
  writeAddress(key, localAt, row.addresses, row.localAt, row.family)
  writeAddress(key, remoteAt, row.addresses, row.remoteAt, row.family)
  key[portsAt] = swap(row.localPort) + swap(row.remotePort) * 0x10000
}

function writeAddress(key: Uint32Array, at: number, bytes: Uint8Array, from: number, family: 4 | 6): void {
  if (family === 6) {
    for (let word = 0; word < 4; word++) key[at + word] = readU32(bytes, from + word * 4)
    return
  }
  key[at] = 0
  key[at + 1] = 0
  key[at + 2] = mappedWord
  key[at + 3] = readU32(bytes, from)
}

/** The edge of a connection: of all that it is, what its peer tells apart. */
export function writeEdge(edge: Uint32Array, connection: Uint32Array, role: number, peer: 'external' | 'known' | 'single'): void {
  for (let word = 0; word < connectionWords; word++) {
    const isNamespace = word < localAt
    const isRemote = word >= remoteAt && word < portsAt
    const isTold = isNamespace || peer === 'single' || (peer === 'known' && isRemote)
    edge[word] = isTold ? connection[word]! : 0
  }
  edge[roleAt] = role
}

/** 127/8 and ::1: it never leaves the namespace. */
export function isLoopback(key: Uint32Array): boolean {
  if (key[remoteAt] !== 0 || key[remoteAt + 1] !== 0) return false
  if (key[remoteAt + 2] === mappedWord) return (key[remoteAt + 3]! & 0xff) === 127
  return key[remoteAt + 2] === 0 && key[remoteAt + 3] === 0x01000000
}

/** Of a key of dropped packets: namespace; reason; role; local address; remote address. */
export const dropWords = 12
const dropReasonAt = 2
const dropRoleAt = 3
const dropLocalAt = 4
const dropRemoteAt = 8

/** One end of a connection. */
export interface ConnectionEnd {
  readonly address: string
  readonly port: number
}

/** Of a key of edges or of connections. Of a connection that is not kept apart the local end is :: and 0, and so is the remote port. */
export function readKey(key: Uint32Array): { local: ConnectionEnd; remote: ConnectionEnd; isSingle: boolean } {
  const end = (at: number, port: number): ConnectionEnd => ({ address: readAddress(key, at), port: swap(port) })
  const ports = key[portsAt]!
  return {
    local: end(localAt, ports & 0xffff),
    remote: end(remoteAt, ports >>> 16),
    isSingle: ports !== 0,
  }
}

export const readRole = (edge: Uint32Array): number => edge[roleAt]!

/** Reason and role as numbers. */
export function readDropKey(key: Uint32Array): { reason: number; role: number; local: string; remote: string } {
  return {
    reason: key[dropReasonAt]!,
    role: key[dropRoleAt]!,
    local: readAddress(key, dropLocalAt),
    remote: readAddress(key, dropRemoteAt),
  }
}

function readAddress(key: Uint32Array, at: number): string {
  return formatAddress(new Uint8Array(key.buffer, key.byteOffset + at * 4, 16))
}
