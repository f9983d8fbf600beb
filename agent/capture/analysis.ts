import { formatAddress } from '../../parsers/address.ts'
import { dnsRcodeName, dnsTypeName, readDnsMessage } from '../../parsers/dns-message.ts'
import { createDnsFramer, type DnsFramer } from '../../parsers/dns-stream.ts'
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
import { createHttpRequests, type HttpTransaction } from './http-requests.ts'
import type { CountKind } from './places.ts'
import type { CapturePorts, CaptureTotals, DnsReport, HttpReport } from './report.ts'
import { createSightings, type Point, type Sighting } from './sighting.ts'
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
  /** Whatever the address, it is this subject's, the host: of packets of which nobody knows whose they are. */
  ownAll(subject: number): void
  /** What was counted of it is not kept any longer. */
  forget(subject: number): void
  /** By subject, in as many places as countPlaces tells. */
  readonly counts: Readonly<Record<CountKind, ReadonlyMap<number, Float64Array>>>
  totals(): Omit<CaptureTotals, 'ringDrops' | 'interfaceDrops'>
}

export interface AnalysisListeners {
  /** Of each transaction of a subject. */
  onDns?(transaction: DnsTransaction): void
  onHttp?(transaction: HttpTransaction): void
}

export function createAnalysis({ dnsPorts, httpPorts }: CapturePorts, { onDns, onHttp }: AnalysisListeners = {}): Analysis {
  const owners = new Map<string, number>()
  let host: number | undefined
  let everybody: number | undefined
  const services = new Uint8Array(1 << 16)
  for (const port of httpPorts) services[port] = httpService
  for (const port of dnsPorts) services[port] = dnsService
  const headers = createPacketHeaders()
  const subjectOf = (address: string): number | undefined =>
    everybody ?? owners.get(address) ?? (isLoopback(address) ? host : undefined)
  const dns = createDnsTransactions({
    subjectOf,
    isHost: (subject) => subject === host,
    ...(onDns !== undefined && { onTransaction: onDns }),
  })
  const http = createHttpRequests({
    subjectOf: (address) => subjectOf(latin1Of(address)),
    isHost: (subject) => subject === host,
    ...(onHttp !== undefined && { onTransaction: onHttp }),
  })
  const streams = createTcpStreams({
    isServerPort: (port) => services[port] !== 0,
    onOpen: (connection, timeMs) =>
      services[connection.serverPort] === httpService
        ? http.open(connection, clientSequenceOf(connection), (headers.tcpFlags & ack) === 0, timeMs)
        : followDns(connection),
  })
  /** Of a connection that the packet that is being read has opened. */
  const clientSequenceOf = ({ isSeenFromStart }: TcpConnection): number | undefined => {
    if (!isSeenFromStart) return undefined
    return (headers.tcpFlags & ack) === 0 ? headers.tcpSequence : (headers.tcpAcknowledgement - 1) >>> 0
  }
  const fragmentation = createFragmentationNeeded(limits.captureSightings)
  const quoted = createPacketHeaders()
  const malformed = createSightings(limits.captureSightings)
  const unreadable: CaptureTotals['unreadable'] = {}
  let packets = 0
  let cut = 0
  let dnsMalformed = 0

  /** Of the packet that is being read. */
  const pointOf = (): Point => ({
    packetType: headers.packetType,
    ttl: headers.ttl,
    identification: headers.identification,
  })
  const sightingOf = (bytes: Buffer, timeMs: number): Sighting => {
    const length = headers.family === 4 ? 4 : 16
    return {
      isTcp: false,
      source: bytes.toString('latin1', headers.sourceAt, headers.sourceAt + length),
      sourcePort: headers.sourcePort,
      destination: bytes.toString('latin1', headers.destinationAt, headers.destinationAt + length),
      destinationPort: headers.destinationPort,
      point: pointOf(),
      timeMs,
    }
  }

  function takeDns(bytes: Uint8Array, from: number, to: number, sentLength: number, sighting: Sighting): void {
    const message = readDnsMessage(bytes, from, to, sentLength)
    if (typeof message === 'string') {
      const { source, sourcePort, destination, destinationPort, point, timeMs } = sighting
      const ends = point.identification === 0 ? `${source}${destination}` : '' // these may be translated on the way
      const words = String.fromCharCode(point.identification || sourcePort, destinationPort, sentLength)
      const content = `${ends}${words}${idAt(bytes, from, to)}`
      if (message === 'cut_header') cut++
      else if (malformed.isNew(content, point, timeMs)) dnsMalformed++
      return
    }
    if (message.isCut && message.name === undefined) cut++
    else dns.take(message, sighting)
  }

  function takeIcmp(bytes: Buffer, timeMs: number): void {
    if (headers.icmpType !== 3 || headers.icmpCode !== 4) return
    const { destination, point } = sightingOf(bytes, timeMs)
    const subject = subjectOf(destination)
    if (subject === undefined || readQuotedHeaders(bytes, headers, quoted) !== undefined) return
    const { destinationAt, destinationPort, protocol, tcpSequence } = quoted
    const to = bytes.toString('latin1', destinationAt, destinationAt + 4)
    const identification = bytes.toString('latin1', headers.payloadAt + 4, headers.payloadAt + 6)
    const quote = `${to}${identification}${destinationPort} ${protocol} ${tcpSequence} ${headers.nextHopMtu}`
    fragmentation.take(subject, subject === host, quote, point, timeMs)
  }

  function followDns(connection: TcpConnection): TcpHandlers {
    const { clientPort, serverPort } = connection
    const [client, server] = [latin1Of(connection.clientAddress), latin1Of(connection.serverAddress)]
    const ways = {
      client: { source: client, sourcePort: clientPort, destination: server, destinationPort: serverPort },
      server: { source: server, sourcePort: serverPort, destination: client, destinationPort: clientPort },
    } as const
    let timeMs = 0
    const follow = (way: (typeof ways)['client' | 'server']): DnsFramer =>
      createDnsFramer((bytes, from, to, sentLength) =>
        takeDns(bytes, from, to, sentLength, { isTcp: true, ...way, point: pointOf(), timeMs }),
      )
    const framers = { client: follow(ways.client), server: follow(ways.server) }
    return {
      onBytes(side, bytes, from, to, atMs) {
        timeMs = atMs
        framers[side].take(bytes, from, to)
      },
      onGap: (side, count) => framers[side].skip(count),
      onEnd: () => {},
    }
  }

  return {
    counts: { dns: dns.counts, http: http.counts, fragmentationNeeded: fragmentation.counts },
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
      const service = services[headers.destinationPort]! | services[headers.sourcePort]!
      if (service === 0) return
      if (headers.protocol === protocolTcp) streams.take(bytes, headers, timeMs)
      else if (headers.protocol === protocolUdp && (service & dnsService) !== 0)
        takeDns(bytes, headers.payloadAt, headers.payloadEnd, headers.payloadLength, sightingOf(bytes, timeMs))
    },
    expire(nowMs) {
      dns.expire(nowMs)
      streams.expire(nowMs)
      http.expire(nowMs)
      fragmentation.expire(nowMs)
    },
    own(subject, isHost, addresses) {
      if (isHost) host = subject
      for (const address of addresses) if (owners.size < limits.captureAddresses) owners.set(address, subject)
    },
    disown(addresses) {
      for (const address of addresses) owners.delete(address)
    },
    ownAll(subject) {
      host = subject
      everybody = subject
    },
    forget(subject) {
      dns.forget(subject)
      http.forget(subject)
      fragmentation.forget(subject)
    },
    totals: () => ({
      packets,
      cut,
      unreadable: { ...unreadable },
      dnsMalformed,
      dnsUnmatched: dns.unmatched,
      dnsNotFollowed: dns.notFollowed,
      httpUnreadable: { ...http.unreadable },
      httpLosses: http.parsed.losses,
      httpUnpaired: http.parsed.unpairedRequests + http.parsed.unpairedResponses,
      tcpEvicted: streams.counts.evicted,
    }),
  }
}

const endOf = (address: Uint8Array, port: number) => ({ address: formatAddress(address), port })

/** The clock of the kernel tells no more; the rest is noise of the arithmetic. */
const roundDuration = (durationMs: number): number => Math.round(durationMs * 1000) / 1000

/** As text, for people. */
export function describeHttp(transaction: HttpTransaction): Omit<HttpReport, 'type'> {
  const { connection, startMs, durationMs, subject, isClient, method, path, host, status } = transaction
  return {
    subject,
    isClient,
    timeMs: startMs + (durationMs ?? 0),
    family: connection.family === 4 ? 'ipv4' : 'ipv6',
    client: endOf(connection.clientAddress, connection.clientPort),
    server: endOf(connection.serverAddress, connection.serverPort),
    method,
    path,
    host,
    ...(status !== undefined && { status }),
    ...(durationMs !== undefined && { durationMs: roundDuration(durationMs) }),
  }
}

export function describeDns(transaction: DnsTransaction): Omit<DnsReport, 'type'> {
  const { answer, startMs, durationMs, isTcp, client, clientPort, server, serverPort, id, name, queryType, subject } = transaction
  return {
    subject,
    timeMs: startMs + (durationMs ?? 0),
    family: client.length === 4 ? 'ipv4' : 'ipv6',
    protocol: isTcp ? 'tcp' : 'udp',
    client: endOf(Buffer.from(client, 'latin1'), clientPort),
    server: endOf(Buffer.from(server, 'latin1'), serverPort),
    id,
    name,
    queryType: dnsTypeName(queryType)?.toUpperCase() ?? `TYPE${queryType}`,
    ...(answer !== undefined && {
      responseCode: dnsRcodeName(answer.rcode)?.toUpperCase() ?? `RCODE${answer.rcode}`,
      addressCount: answer.addressCount,
    }),
    ...(durationMs !== undefined && { durationMs: roundDuration(durationMs) }),
  }
}

const ack = 16
const dnsService = 1
const httpService = 2

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
