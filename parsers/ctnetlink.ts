import {
  askAll,
  askOne,
  buildAttribute,
  buildNested,
  concatenate,
  eachAttribute,
  expectBytes,
  type NetlinkRequest,
  netlinkNetfilter,
  readNetworkU16,
  readNetworkU32,
} from './netlink.ts'
import type { ConntrackCounter, ConntrackCounters } from './proc-net-stat-nf-conntrack.ts'
import { ParseError } from './text.ts'

const where = 'ctnetlink'
/** struct nfgenmsg: family, version, and for GET_STATS_CPU the CPU, big-endian like everything of nfnetlink. */
const headerBytes = 4
const subsystem = 1 << 8
const getEntry = 1
const getStatsCpu = 4
const getStats = 5

/** A namespace's connection tracking table. Undefined: this kernel does not say. */
export interface ConntrackStats {
  readonly entries: number | undefined
  /** The setting nf_conntrack_max (Linux 4.18 and later). */
  readonly maximum: number | undefined
}

export type { ConntrackCounters } from './proc-net-stat-nf-conntrack.ts'

/** One CPU's share of a namespace's counters. */
export interface ConntrackCpuStats extends ConntrackCounters {
  readonly cpu: number
}

/** One direction of a tracked connection. */
export interface ConntrackTuple {
  /** Offsets of addresses in the received bytes: 4 of them with IPv4, 16 with IPv6, in network order. */
  sourceAt: number
  destinationAt: number
  /** 0 of protocols without ports. */
  sourcePort: number
  destinationPort: number
}

/** A tracked connection as a reader hands it out: a view the reader reuses, valid only during the callback. */
export interface ConntrackEntry {
  family: 4 | 6
  /** As in the IP header: 6 TCP, 17 UDP … */
  protocol: number
  addresses: Uint8Array
  /** Of the first packet, before its addresses were translated. */
  readonly original: ConntrackTuple
  /** What an answer has when it comes in: its source is who was really reached. */
  readonly reply: ConntrackTuple
  /** enum tcp_conntrack (include/uapi/linux/netfilter/nf_conntrack_tcp.h): 1 SYN_SENT … 9 SYN_SENT2. Undefined of other protocols. */
  tcpState: number | undefined
}

/** enum ctattr_type, and what is nested in its attributes. */
const attributes = {
  original: 1,
  reply: 2,
  protocolInfo: 4,
  ip: { nested: 1, source4: 1, destination4: 2, source6: 3, destination6: 4 },
  transport: { nested: 2, protocol: 1, sourcePort: 2, destinationPort: 3 },
  tcp: { nested: 1, state: 1 },
} as const
const ipv4 = 2
const ipv6 = 10
const tcp = 6

/** By enum ctattr_stats_global. */
const statNames = new Map<number, keyof ConntrackStats>([
  [1, 'entries'],
  [2, 'maximum'],
])

/** By enum ctattr_stats_cpu. Left out: what newer kernels no longer count (searched, new, ignore, delete, delete_list). */
const counterNames = new Map<number, ConntrackCounter>([
  [2, 'found'],
  [4, 'invalid'],
  [8, 'insert'],
  [9, 'insert_failed'],
  [10, 'drop'],
  [11, 'early_drop'],
  [12, 'error'],
  [13, 'search_restart'],
  [14, 'clash_resolve'],
  [15, 'chaintoolong'],
])

/** IPCTNL_MSG_CT_GET_STATS: needs CAP_NET_ADMIN, and loads the module nf_conntrack_netlink if it is not there. */
export function conntrackStatsRequest(): NetlinkRequest {
  return askOne('conntrack-stats', netlinkNetfilter, subsystem | getStats, new Uint8Array(headerBytes))
}

/** IPCTNL_MSG_CT_GET_STATS_CPU: as above. */
export function conntrackStatsCpuRequest(): NetlinkRequest {
  return askAll('conntrack-stats-cpu', netlinkNetfilter, subsystem | getStatsCpu, new Uint8Array(headerBytes))
}

/** IPCTNL_MSG_CT_GET: the whole table, both families. Needs and does what the others do. */
export function conntrackEntriesRequest(): NetlinkRequest {
  return askAll('conntrack-entries', netlinkNetfilter, subsystem | getEntry, new Uint8Array(headerBytes))
}

/** Of one entry, all but the addresses and ports; where those stand follows from what is before them. */
function buildEntryQuestion(family: number, addressBytes: number, sourceType: number): Uint8Array {
  const { ip, transport } = attributes
  const address = new Uint8Array(addressBytes)
  const port = new Uint8Array(2)
  const addresses = [buildAttribute(sourceType, address), buildAttribute(sourceType + 1, address)]
  const ports = [buildAttribute(transport.sourcePort, port), buildAttribute(transport.destinationPort, port)]
  const protocol = buildAttribute(transport.protocol, Uint8Array.of(tcp))
  const tuple = [buildNested(ip.nested, ...addresses), buildNested(transport.nested, protocol, ...ports)]
  const payload = concatenate(Uint8Array.of(family, 0, 0, 0), buildNested(attributes.original, ...tuple))
  return askOne('conntrack-entry', netlinkNetfilter, subsystem | getEntry, payload).bytes
}
const ipv4Question = buildEntryQuestion(ipv4, 4, attributes.ip.source4)
const ipv6Question = buildEntryQuestion(ipv6, 16, attributes.ip.source6)
/** After struct nlmsghdr, struct nfgenmsg and the headers of three attributes. */
const questionSourceAt = 32

/**
 * The same for the one entry in which a TCP segment with these addresses (4 or 16 bytes) belongs, in either direction; the
 * kernel looks in its hash table, in the default zone. ENOENT: there is none.
 */
export function conntrackEntryRequest(
  source: Uint8Array,
  destination: Uint8Array,
  sourcePort: number,
  destinationPort: number,
): NetlinkRequest {
  const bytes = (source.length === 4 ? ipv4Question : ipv6Question).slice()
  const destinationAt = questionSourceAt + source.length + 4
  const sourcePortAt = destinationAt + source.length + 16
  bytes.set(source, questionSourceAt)
  bytes.set(destination, destinationAt)
  writeNetworkU16(bytes, sourcePortAt, sourcePort)
  writeNetworkU16(bytes, sourcePortAt + 8, destinationPort)
  return { name: 'conntrack-entry', protocol: netlinkNetfilter, bytes }
}

/**
 * Reads the messages that answer the two (ctnetlink_fill_info). `onEntry` gets one entry, used again for the next; its
 * addresses lie in the received bytes. Errors are ParseErrors.
 */
export function createConntrackReader(
  onEntry: (entry: ConntrackEntry) => void,
): (bytes: Uint8Array, from: number, to: number) => void {
  const original: ConntrackTuple = { sourceAt: 0, destinationAt: 0, sourcePort: 0, destinationPort: 0 }
  const reply: ConntrackTuple = { ...original }
  const entry: ConntrackEntry = { family: 4, protocol: 0, addresses: new Uint8Array(), original, reply, tcpState: undefined }
  let message = entry.addresses
  let tuple = original

  function readIp(type: number, from: number, to: number): void {
    const { ip } = attributes
    if (type < ip.source4 || type > ip.destination6) return
    expectBytes(where, from, to, entry.family === 4 ? 4 : 16, 'an address')
    if (type === ip.source4 || type === ip.source6) tuple.sourceAt = from
    else tuple.destinationAt = from
  }

  function readTransport(type: number, from: number, to: number): void {
    const { transport } = attributes
    if (type === transport.protocol) {
      expectBytes(where, from, to, 1, 'a protocol')
      entry.protocol = message[from]!
    } else if (type === transport.sourcePort || type === transport.destinationPort) {
      expectBytes(where, from, to, 2, 'a port')
      const port = readNetworkU16(message, from)
      if (type === transport.sourcePort) tuple.sourcePort = port
      else tuple.destinationPort = port
    }
  }

  function readTuplePart(type: number, from: number, to: number): void {
    if (type === attributes.ip.nested) eachAttribute(where, message, from, to, readIp)
    else if (type === attributes.transport.nested) eachAttribute(where, message, from, to, readTransport)
  }

  function readTuple(into: ConntrackTuple, from: number, to: number): void {
    tuple = into
    tuple.sourceAt = tuple.destinationAt = tuple.sourcePort = tuple.destinationPort = 0
    eachAttribute(where, message, from, to, readTuplePart)
    // Offset 0 is before any attribute.
    if (tuple.sourceAt === 0 || tuple.destinationAt === 0) throw missing('the addresses of a tuple', from)
  }

  function readTcp(type: number, from: number, to: number): void {
    if (type !== attributes.tcp.state) return
    expectBytes(where, from, to, 1, 'a TCP state')
    entry.tcpState = message[from]!
  }

  function readProtocolInfo(type: number, from: number, to: number): void {
    if (type === attributes.tcp.nested) eachAttribute(where, message, from, to, readTcp)
  }

  function readAttribute(type: number, from: number, to: number): void {
    if (type === attributes.original) readTuple(original, from, to)
    else if (type === attributes.reply) readTuple(reply, from, to)
    else if (type === attributes.protocolInfo) eachAttribute(where, message, from, to, readProtocolInfo)
  }

  return (bytes, from, to) => {
    expectBytes(where, from, to, headerBytes, 'struct nfgenmsg')
    message = entry.addresses = bytes
    entry.family = bytes[from] === ipv6 ? 6 : 4
    entry.tcpState = undefined
    original.sourceAt = reply.sourceAt = 0
    eachAttribute(where, bytes, from + headerBytes, to, readAttribute)
    if (original.sourceAt === 0 || reply.sourceAt === 0) throw missing('both tuples', from)
    onEntry(entry)
  }
}

/** Of a message that answers conntrackStatsRequest (net/netfilter/nf_conntrack_netlink.c, ctnetlink_stat_ct_fill_info). */
export function readConntrackStats(bytes: Uint8Array, from: number, to: number): ConntrackStats {
  const stats: { -readonly [K in keyof ConntrackStats]: ConntrackStats[K] } = { entries: undefined, maximum: undefined }
  expectBytes(where, from, to, headerBytes, 'struct nfgenmsg')
  eachAttribute(where, bytes, from + headerBytes, to, (type, valueFrom, valueTo) => {
    const name = statNames.get(type)
    if (name === undefined) return
    expectBytes(where, valueFrom, valueTo, 4, `the number of ${name}`)
    stats[name] = readNetworkU32(bytes, valueFrom)
  })
  return stats
}

/** Of a message that answers conntrackStatsCpuRequest (ctnetlink_ct_stat_cpu_fill_info). */
export function readConntrackStatsCpu(bytes: Uint8Array, from: number, to: number): ConntrackCpuStats {
  expectBytes(where, from, to, headerBytes, 'struct nfgenmsg')
  const counters: { -readonly [K in keyof ConntrackCpuStats]: ConntrackCpuStats[K] } = {
    cpu: readNetworkU16(bytes, from + 2),
    found: undefined,
    invalid: undefined,
    insert: undefined,
    insert_failed: undefined,
    drop: undefined,
    early_drop: undefined,
    error: undefined,
    search_restart: undefined,
    clash_resolve: undefined,
    chaintoolong: undefined,
  }
  eachAttribute(where, bytes, from + headerBytes, to, (type, valueFrom, valueTo) => {
    const name = counterNames.get(type)
    if (name === undefined) return
    expectBytes(where, valueFrom, valueTo, 4, `the counter ${name}`)
    counters[name] = readNetworkU32(bytes, valueFrom)
  })
  return counters
}

function writeNetworkU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8
  bytes[at + 1] = value
}

function missing(expected: string, at: number): ParseError {
  return new ParseError(where, 1, at + 1, expected, '')
}
