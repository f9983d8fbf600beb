import { readNetworkU16, readNetworkU32 } from './netlink.ts'

/**
 * Where things are in a packet, as offsets into the bytes it was read from; one object is used for one packet after the
 * other. What a protocol does not have is 0. Checksums are not looked at: a network card may have yet to write them.
 */
export interface PacketHeaders {
  /** As in packet(7): 0 to this machine, 3 to another, 4 sent by it … Undefined: this kind of link does not tell. */
  packetType: number | undefined
  family: 4 | 6
  /** Of 4 bytes with IPv4, 16 with IPv6. */
  sourceAt: number
  destinationAt: number
  /** With IPv6 the hop limit. */
  ttl: number
  /** IPv4's, which routers and address translation leave as it is. IPv6 has none. */
  identification: number
  /** As in the IP header, or in the last of IPv6's extension headers: 6 TCP, 17 UDP, 1 ICMP, 58 ICMPv6 … */
  protocol: number
  /** The first part of a datagram; the other parts are the fault `fragment`. */
  isFragment: boolean
  sourcePort: number
  destinationPort: number
  /** What TCP, UDP, ICMP (behind 8 bytes) or an unknown protocol carries, as far as it was captured. */
  payloadAt: number
  payloadEnd: number
  /** As it was sent, by the lengths in the headers: more than was captured when that was cut. Of a first fragment of UDP, the whole datagram's. */
  payloadLength: number
  tcpSequence: number
  tcpAcknowledgement: number
  /** 1 FIN, 2 SYN, 4 RST, 8 PSH, 16 ACK … */
  tcpFlags: number
  icmpType: number
  icmpCode: number
  /** Of ICMP fragmentation needed and ICMPv6 packet too big. Undefined: all others, and routers that do not tell. */
  nextHopMtu: number | undefined
}

/** Why a packet was not read. `fragment`: a part of a datagram other than the first; its addresses and protocol are read. */
export type PacketFault = (typeof packetFaults)[number]
export const packetFaults = [
  'unknown link',
  'not IP',
  'fragment',
  'cut',
  'bad version',
  'bad length',
  'too many headers',
  'no quote',
] as const

export const protocolTcp = 6
export const protocolUdp = 17
export const protocolIcmp = 1
export const protocolIcmpv6 = 58

/** LINKTYPE_ values of pcap files (https://www.tcpdump.org/linktypes.html), and DLT_RAW as Linux and OpenBSD number it. */
export const linkNull = 0
export const linkEthernet = 1
export const linkRaw = 101
export const linkLoop = 108
export const linkLinuxSll = 113
export const linkIpv4 = 228
export const linkIpv6 = 229
export const linkLinuxSll2 = 276
const linkRawLinux = 12
const linkRawOpenBsd = 14

/** RFC 8200 recommends each once; senders of more than these are not worth following. */
const extensionHeadersMax = 8
const vlanTagsMax = 2
const ipv4HeaderBytes = 20
const ipv6HeaderBytes = 40
const tcpHeaderBytes = 20

/** IANA's protocol numbers of what may stand between IPv6 and the upper layer. */
const hopByHopHeader = 0
const routingHeader = 43
const fragmentHeader = 44
const authenticationHeader = 51
const destinationHeader = 60

export function createPacketHeaders(): PacketHeaders {
  return {
    packetType: undefined,
    family: 4,
    sourceAt: 0,
    destinationAt: 0,
    ttl: 0,
    identification: 0,
    protocol: 0,
    isFragment: false,
    sourcePort: 0,
    destinationPort: 0,
    payloadAt: 0,
    payloadEnd: 0,
    payloadLength: 0,
    tcpSequence: 0,
    tcpAcknowledgement: 0,
    tcpFlags: 0,
    icmpType: 0,
    icmpCode: 0,
    nextHopMtu: undefined,
  }
}

/**
 * Reads the headers of the packet at `from`, of which `capturedLength` bytes are there and `wireLength` were sent. Undefined:
 * read. Otherwise why not; what is in `headers` then is of no use but with `fragment`. Makes no objects.
 */
export function readPacketHeaders(
  bytes: Uint8Array,
  from: number,
  capturedLength: number,
  wireLength: number,
  linkType: number,
  headers: PacketHeaders,
): PacketFault | undefined {
  const end = Math.min(from + capturedLength, bytes.length)
  const wireEnd = from + wireLength
  headers.packetType = undefined
  switch (linkType) {
    case linkEthernet:
      if (end - from < 14) return 'cut'
      return readEtherType(bytes, readNetworkU16(bytes, from + 12), from + 14, end, wireEnd, headers)
    case linkLinuxSll:
      if (end - from < 16) return 'cut'
      headers.packetType = readNetworkU16(bytes, from)
      return readEtherType(bytes, readNetworkU16(bytes, from + 14), from + 16, end, wireEnd, headers)
    case linkLinuxSll2:
      if (end - from < 20) return 'cut'
      headers.packetType = bytes[from + 10]!
      return readEtherType(bytes, readNetworkU16(bytes, from), from + 20, end, wireEnd, headers)
    case linkNull:
    case linkLoop:
      // The address family; 4 bytes in the order of whichever machine wrote them.
      if (end - from < 4) return 'cut'
      return isIpFamily(readNetworkU32(bytes, from)) ? readIp(bytes, from + 4, end, wireEnd, 0, headers) : 'not IP'
    case linkRaw:
    case linkRawLinux:
    case linkRawOpenBsd:
      return readIp(bytes, from, end, wireEnd, 0, headers)
    case linkIpv4:
      return readIp(bytes, from, end, wireEnd, 4, headers)
    case linkIpv6:
      return readIp(bytes, from, end, wireEnd, 6, headers)
    default:
      return 'unknown link'
  }
}

/**
 * Of a packet whose ICMP error was read into `headers`: the headers of the packet that caused it, as far as they are quoted:
 * addresses, protocol, and the ports and TCP's sequence number when they are there. `no quote`: it is no error.
 */
export function readQuotedHeaders(bytes: Uint8Array, headers: PacketHeaders, quoted: PacketHeaders): PacketFault | undefined {
  if (!isIcmpError(headers)) return 'no quote'
  const at = headers.payloadAt
  const end = headers.payloadEnd
  quoted.packetType = undefined
  const upperAt = readNetworkHeader(bytes, at, end, headers.family, quoted)
  if (typeof upperAt !== 'number') return upperAt
  clearTransport(quoted)
  quoted.payloadAt = quoted.payloadEnd = Math.min(upperAt, end)
  if (quoted.protocol !== protocolTcp && quoted.protocol !== protocolUdp) return undefined
  if (end - upperAt < 4) return 'cut'
  readPorts(bytes, upperAt, quoted)
  if (quoted.protocol === protocolTcp && end - upperAt >= 8) quoted.tcpSequence = readNetworkU32(bytes, upperAt + 4)
  return undefined
}

/** Linux's families and those of the BSDs (AF_INET6 is 24, 28 or 30 there). */
function isIpFamily(value: number): boolean {
  const family = value > 0xffff ? value >>> 24 : value
  return family === 2 || family === 10 || family === 24 || family === 28 || family === 30
}

/** What an EtherType says is at `at`; it may be that of a VLAN tag (802.1Q, 802.1ad, and 0x9100 from before it). */
function readEtherType(
  bytes: Uint8Array,
  firstType: number,
  firstAt: number,
  end: number,
  wireEnd: number,
  headers: PacketHeaders,
): PacketFault | undefined {
  let etherType = firstType
  let at = firstAt
  for (let tags = 0; etherType === 0x8100 || etherType === 0x88a8 || etherType === 0x9100; tags++) {
    if (tags === vlanTagsMax) return 'too many headers'
    if (end - at < 4) return 'cut'
    etherType = readNetworkU16(bytes, at + 2)
    at += 4
  }
  if (etherType === 0x0800) return readIp(bytes, at, end, wireEnd, 4, headers)
  if (etherType === 0x86dd) return readIp(bytes, at, end, wireEnd, 6, headers)
  return 'not IP'
}

/** `version` 0: whichever it is. */
function readIp(
  bytes: Uint8Array,
  at: number,
  end: number,
  wireEnd: number,
  version: 0 | 4 | 6,
  headers: PacketHeaders,
): PacketFault | undefined {
  const upperAt = readNetworkHeader(bytes, at, end, version, headers)
  if (typeof upperAt !== 'number') return upperAt
  const ipEnd = headers.family === 4 ? findIpv4End(bytes, at, wireEnd) : findIpv6End(bytes, at, wireEnd)
  if (ipEnd > wireEnd || upperAt > ipEnd) return 'bad length'
  return readTransport(bytes, upperAt, Math.min(end, ipEnd), ipEnd, headers)
}

/** A length of 0: it was too large for the field, before segmentation offload cut the packet up (BIG TCP). Then all that was sent counts. */
function findIpv4End(bytes: Uint8Array, at: number, wireEnd: number): number {
  const length = readNetworkU16(bytes, at + 2)
  return length === 0 ? wireEnd : at + length
}

/** Here 0 may as well mean that nothing follows the header. */
function findIpv6End(bytes: Uint8Array, at: number, wireEnd: number): number {
  const from = at + ipv6HeaderBytes
  const length = readNetworkU16(bytes, at + 4)
  return length === 0 && wireEnd - from > 0xffff ? wireEnd : from + length
}

/** Where the header of the upper layer is: behind IPv4's options or IPv6's extension headers. */
function readNetworkHeader(
  bytes: Uint8Array,
  at: number,
  end: number,
  version: 0 | 4 | 6,
  headers: PacketHeaders,
): number | PacketFault {
  if (at >= end) return 'cut'
  const found = bytes[at]! >> 4
  if ((found !== 4 && found !== 6) || (version !== 0 && found !== version)) return 'bad version'
  headers.family = found
  headers.isFragment = false
  return found === 4 ? readIpv4(bytes, at, end, headers) : readIpv6(bytes, at, end, headers)
}

/** RFC 791. */
function readIpv4(bytes: Uint8Array, at: number, end: number, headers: PacketHeaders): number | PacketFault {
  const headerBytes = (bytes[at]! & 0xf) * 4
  if (headerBytes < ipv4HeaderBytes) return 'bad length'
  if (end - at < headerBytes) return 'cut'
  headers.identification = readNetworkU16(bytes, at + 4)
  headers.ttl = bytes[at + 8]!
  headers.protocol = bytes[at + 9]!
  headers.sourceAt = at + 12
  headers.destinationAt = at + 16
  return readFragment(readNetworkU16(bytes, at + 6) & 0x3fff, 0x2000, headers) ?? at + headerBytes
}

/** RFC 8200; the authentication header is of RFC 4302. */
function readIpv6(bytes: Uint8Array, from: number, end: number, headers: PacketHeaders): number | PacketFault {
  if (end - from < ipv6HeaderBytes) return 'cut'
  headers.identification = 0
  headers.ttl = bytes[from + 7]!
  headers.sourceAt = from + 8
  headers.destinationAt = from + 24
  headers.protocol = bytes[from + 6]!
  let at = from + ipv6HeaderBytes
  for (let count = 0; isExtensionHeader(headers.protocol); count++) {
    if (count === extensionHeadersMax) return 'too many headers'
    if (end - at < 8) return 'cut'
    const here = headers.protocol
    headers.protocol = bytes[at]!
    if (here === fragmentHeader) {
      const fault = readFragment(readNetworkU16(bytes, at + 2) & 0xfff9, 1, headers)
      if (fault !== undefined) return fault
      at += 8
    } else at += here === authenticationHeader ? (bytes[at + 1]! + 2) * 4 : (bytes[at + 1]! + 1) * 8
  }
  return at
}

/** The field that holds the offset of a fragment and the bit that more of them follow. */
function readFragment(field: number, moreBit: number, headers: PacketHeaders): PacketFault | undefined {
  headers.isFragment = field !== 0
  return (field & ~moreBit) === 0 ? undefined : 'fragment'
}

function isExtensionHeader(protocol: number): boolean {
  return (
    protocol === hopByHopHeader ||
    protocol === routingHeader ||
    protocol === fragmentHeader ||
    protocol === destinationHeader ||
    protocol === authenticationHeader
  )
}

/** `end` is that of what was captured, `ipEnd` that of what was sent. */
function readTransport(
  bytes: Uint8Array,
  at: number,
  end: number,
  ipEnd: number,
  headers: PacketHeaders,
): PacketFault | undefined {
  clearTransport(headers)
  let headerBytes = 0
  switch (headers.protocol) {
    case protocolTcp: {
      if (ipEnd - at < tcpHeaderBytes) return 'bad length'
      if (end - at < tcpHeaderBytes) return 'cut'
      headerBytes = (bytes[at + 12]! >> 4) * 4
      if (headerBytes < tcpHeaderBytes || headerBytes > ipEnd - at) return 'bad length'
      readPorts(bytes, at, headers)
      headers.tcpSequence = readNetworkU32(bytes, at + 4)
      headers.tcpAcknowledgement = readNetworkU32(bytes, at + 8)
      headers.tcpFlags = bytes[at + 13]!
      break
    }
    case protocolUdp: {
      headerBytes = 8
      if (ipEnd - at < headerBytes) return 'bad length'
      if (end - at < headerBytes) return 'cut'
      // 0: a jumbogram (RFC 2675).
      const length = readNetworkU16(bytes, at + 4) || ipEnd - at
      if (length < headerBytes || (length > ipEnd - at && !headers.isFragment)) return 'bad length'
      readPorts(bytes, at, headers)
      return readPayload(at + headerBytes, end, at + length, headers)
    }
    case protocolIcmp:
    case protocolIcmpv6: {
      headerBytes = 8
      if (ipEnd - at < headerBytes) return 'bad length'
      if (end - at < headerBytes) return 'cut'
      headers.icmpType = bytes[at]!
      headers.icmpCode = bytes[at + 1]!
      headers.nextHopMtu = readNextHopMtu(bytes, at, headers)
      break
    }
    default:
      if (at > end) return 'cut'
  }
  return readPayload(at + headerBytes, end, ipEnd, headers)
}

/** Between `at` and `wireEnd`, captured up to `end`, which may be before it: of TCP the options can be cut off too. */
function readPayload(at: number, end: number, wireEnd: number, headers: PacketHeaders): undefined {
  headers.payloadAt = Math.min(at, end)
  headers.payloadEnd = Math.min(end, wireEnd)
  headers.payloadLength = wireEnd - at
}

function readPorts(bytes: Uint8Array, at: number, headers: PacketHeaders): void {
  headers.sourcePort = readNetworkU16(bytes, at)
  headers.destinationPort = readNetworkU16(bytes, at + 2)
}

function clearTransport(headers: PacketHeaders): void {
  headers.sourcePort = headers.destinationPort = 0
  headers.payloadAt = headers.payloadEnd = headers.payloadLength = 0
  headers.tcpSequence = headers.tcpAcknowledgement = headers.tcpFlags = 0
  headers.icmpType = headers.icmpCode = 0
  headers.nextHopMtu = undefined
}

/** RFC 1191, where 0 comes from routers older than it; RFC 4443 section 3.2. */
function readNextHopMtu(bytes: Uint8Array, at: number, headers: PacketHeaders): number | undefined {
  if (isFragmentationNeeded(headers)) return readNetworkU16(bytes, at + 6) || undefined
  return isPacketTooBig(headers) ? readNetworkU32(bytes, at + 4) : undefined
}

/** A router asks IPv4's sender for smaller packets. */
export function isFragmentationNeeded({ protocol, icmpType, icmpCode }: PacketHeaders): boolean {
  return protocol === protocolIcmp && icmpType === 3 && icmpCode === 4
}

/** The same of IPv6. */
export function isPacketTooBig({ protocol, icmpType }: PacketHeaders): boolean {
  return protocol === protocolIcmpv6 && icmpType === 2
}

/** RFC 792: unreachable, source quench, redirect, time exceeded, parameter problem; RFC 4443: those below 128. */
function isIcmpError({ protocol, icmpType }: PacketHeaders): boolean {
  if (protocol === protocolIcmpv6) return icmpType >= 1 && icmpType <= 4
  const isError = icmpType === 3 || icmpType === 4 || icmpType === 5 || icmpType === 11 || icmpType === 12
  return protocol === protocolIcmp && isError
}
