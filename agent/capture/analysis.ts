import { formatAddress } from '../../parsers/address.ts'
import { dnsRcodeName, dnsTypeName, readDnsMessage } from '../../parsers/dns-message.ts'
import { createDnsFramer } from '../../parsers/dns-stream.ts'
import {
  createPacketHeaders,
  protocolIcmp,
  protocolTcp,
  protocolUdp,
  readPacketHeaders,
  readQuotedHeaders,
} from '../../parsers/packet-headers.ts'
import { limits } from '../limits.ts'
import { createDnsTransactions, type DnsTransaction } from './dns-transactions.ts'
import { createFragmentationNeeded } from './fragmentation.ts'
import type { CaptureSettings, CaptureTotals, CountKind, DnsReport } from './report.ts'
import { createSightings, type Sighting } from './sighting.ts'
import { createTcpStreams, type TcpConnection, type TcpHandlers } from './tcp-streams.ts'

/** What packets tell, whoever captured them. */
export interface Analysis {
  /** A packet of `wireLength` bytes, of which the first are in `bytes` from `from` on, valid during the call only. */
  take(bytes: Buffer, from: number, capturedLength: number, wireLength: number, linkType: number, timeMs: number): void
  /** Gives up waiting; to be called a few times a second with what time it is for the packets. */
  expire(nowMs: number): void
  /** From now on the addresses, latin1 of their bytes, are the subject's. */
  own(subject: number, isHost: boolean, addresses: readonly string[]): void
  disown(addresses: readonly string[]): void
  /** What was counted of it is not kept any longer. */
  forget(subject: number): void
  /** By subject, in as many places as countPlaces tells. */
  readonly counts: Readonly<Record<CountKind, ReadonlyMap<number, Float64Array>>>
  totals(): Omit<CaptureTotals, 'ringDrops' | 'interfaceDrops'>
}

/** `onDns` hears of each transaction of a subject. */
export function createAnalysis({ dnsPorts }: CaptureSettings, onDns?: (transaction: DnsTransaction) => void): Analysis {
  const owners = new Map<string, number>()
  let host: number | undefined
  const isDnsPort = new Uint8Array(1 << 16)
  for (const port of dnsPorts) isDnsPort[port] = 1
  const headers = createPacketHeaders()
  const subjectOf = (address: string): number | undefined => owners.get(address) ?? (isLoopback(address) ? host : undefined)
  const dns = createDnsTransactions({
    subjectOf,
    isHost: (subject) => subject === host,
    ...(onDns !== undefined && { onTransaction: onDns }),
  })
  const streams = createTcpStreams({ isServerPort: (port) => isDnsPort[port] === 1, onOpen: followDns })
  const fragmentation = createFragmentationNeeded(limits.captureSightings)
  const quoted = createPacketHeaders()
  const malformed = createSightings(limits.captureSightings)
  const unreadable: CaptureTotals['unreadable'] = {}
  let packets = 0
  let cut = 0
  let dnsMalformed = 0

  /** Of the packet that is being read. */
  const sightingOf = (isTcp: boolean, bytes: Buffer, timeMs: number): Sighting => {
    const length = headers.family === 4 ? 4 : 16
    return {
      isTcp,
      source: bytes.toString('latin1', headers.sourceAt, headers.sourceAt + length),
      sourcePort: headers.sourcePort,
      destination: bytes.toString('latin1', headers.destinationAt, headers.destinationAt + length),
      destinationPort: headers.destinationPort,
      point: { packetType: headers.packetType, ttl: headers.ttl },
      timeMs,
    }
  }

  function takeDns(bytes: Uint8Array, from: number, to: number, sentLength: number, sighting: Sighting): void {
    const message = readDnsMessage(bytes, from, to, sentLength)
    if (typeof message === 'string') {
      const { source, sourcePort, destination, destinationPort, point, timeMs } = sighting
      const content = `${source}${destination}${String.fromCharCode(sourcePort, destinationPort, sentLength)}${idAt(bytes, from, to)}`
      if (message === 'cut_header') cut++
      else if (malformed.isNew(content, point, timeMs)) dnsMalformed++
      return
    }
    if (message.isCut && message.name === undefined) cut++
    else dns.take(message, sighting)
  }

  function takeIcmp(bytes: Buffer, timeMs: number): void {
    if (headers.icmpType !== 3 || headers.icmpCode !== 4) return
    const { destination, point } = sightingOf(false, bytes, timeMs)
    const subject = subjectOf(destination)
    if (subject === undefined || readQuotedHeaders(bytes, headers, quoted) !== undefined) return
    const { destinationAt, destinationPort, protocol, tcpSequence } = quoted
    const to = bytes.toString('latin1', destinationAt, destinationAt + 4)
    const identification = bytes.toString('latin1', headers.payloadAt + 4, headers.payloadAt + 6)
    const quote = `${to}${identification}${destinationPort} ${protocol} ${tcpSequence} ${headers.nextHopMtu}`
    fragmentation.take(subject, subject === host, quote, point, timeMs)
  }

  function followDns(connection: TcpConnection): TcpHandlers {
    const toSighting = (isFromClient: boolean, timeMs: number): Sighting => {
      const client = latin1Of(connection.clientAddress)
      const server = latin1Of(connection.serverAddress)
      return {
        isTcp: true,
        source: isFromClient ? client : server,
        sourcePort: isFromClient ? connection.clientPort : connection.serverPort,
        destination: isFromClient ? server : client,
        destinationPort: isFromClient ? connection.serverPort : connection.clientPort,
        point: { packetType: headers.packetType, ttl: headers.ttl },
        timeMs,
      }
    }
    let timeMs = 0
    const [client, server] = [true, false].map((isFromClient) =>
      createDnsFramer((bytes, from, to, sentLength) => takeDns(bytes, from, to, sentLength, toSighting(isFromClient, timeMs))),
    )
    return {
      onBytes(side, bytes, from, to, atMs) {
        timeMs = atMs
        ;(side === 'client' ? client : server)!.take(bytes, from, to)
      },
      onGap: (side, count) => (side === 'client' ? client : server)!.skip(count),
      onEnd: () => {},
    }
  }

  return {
    counts: { dns: dns.counts, fragmentationNeeded: fragmentation.counts },
    take(bytes, from, capturedLength, wireLength, linkType, timeMs) {
      packets++
      const fault = readPacketHeaders(bytes, from, capturedLength, wireLength, linkType, headers)
      if (fault !== undefined) {
        if (fault === 'cut') cut++
        else if (fault !== 'fragment') unreadable[fault] = (unreadable[fault] ?? 0) + 1
        return
      }
      if (headers.protocol === protocolIcmp) {
        takeIcmp(bytes, timeMs)
        return
      }
      const isDns = isDnsPort[headers.sourcePort] === 1 || isDnsPort[headers.destinationPort] === 1
      if (!isDns) return
      if (headers.protocol === protocolTcp) streams.take(bytes, headers, timeMs)
      else if (headers.protocol === protocolUdp)
        takeDns(bytes, headers.payloadAt, headers.payloadEnd, headers.payloadLength, sightingOf(false, bytes, timeMs))
    },
    expire(nowMs) {
      dns.expire(nowMs)
      streams.expire(nowMs)
      fragmentation.expire(nowMs)
    },
    own(subject, isHost, addresses) {
      if (isHost) host = subject
      for (const address of addresses) if (owners.size < limits.captureAddresses) owners.set(address, subject)
    },
    disown(addresses) {
      for (const address of addresses) owners.delete(address)
    },
    forget(subject) {
      dns.forget(subject)
      fragmentation.forget(subject)
    },
    totals: () => ({
      packets,
      cut,
      unreadable: { ...unreadable },
      dnsMalformed,
      dnsUnmatched: dns.unmatched,
      dnsNotFollowed: dns.notFollowed,
    }),
  }
}

/** As text, for people. */
export function describeDns(transaction: DnsTransaction): Omit<DnsReport, 'type'> {
  const { answer, startMs, durationMs, isTcp, client, clientPort, server, serverPort, id, name, queryType, subject } = transaction
  const end = (address: string, port: number) => ({ address: formatAddress(Buffer.from(address, 'latin1')), port })
  return {
    subject,
    timeMs: startMs + (durationMs ?? 0),
    family: client.length === 4 ? 'ipv4' : 'ipv6',
    protocol: isTcp ? 'tcp' : 'udp',
    client: end(client, clientPort),
    server: end(server, serverPort),
    id,
    name,
    queryType: dnsTypeName(queryType)?.toUpperCase() ?? `TYPE${queryType}`,
    ...(answer !== undefined && {
      responseCode: dnsRcodeName(answer.rcode)?.toUpperCase() ?? `RCODE${answer.rcode}`,
      addressCount: answer.addressCount,
    }),
    ...(durationMs !== undefined && { durationMs }),
  }
}

const latin1Of = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1')

/** Of a message too short to have been read. */
function idAt(bytes: Uint8Array, from: number, to: number): string {
  return from + 2 <= to ? String.fromCharCode((bytes[from]! << 8) | bytes[from + 1]!) : ''
}

/** 127.0.0.0/8 or ::1 */
function isLoopback(address: string): boolean {
  return address.length === 4 ? address.charCodeAt(0) === 127 : address === loopback
}
const loopback = `${'\0'.repeat(15)}\u0001`
