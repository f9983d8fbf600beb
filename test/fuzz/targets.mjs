// What is fed damaged bytes. A new parser is one entry more:
//   name             the parser's file
//   seeds            inputs that are whole, as Uint8Arrays; the better they cover the format, the more is found
//   readsPerByteMax  how often a byte may be read by index, on average: a parser whose work is not linear goes over it
//   cost             of an input, in those of others: so many times fewer are tried; 1 if it is not said
//   run              reads bytes[from] up to bytes[to - 1], and nothing around them. Returns a word for how that ended, such
//                    as `taken` or the fault, the fewer the better; throws where something is not as promised.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { isIP } from 'node:net'
import path from 'node:path'
import { createAnalysis, describeDns, describeHttp } from '../../dist/agent/capture/analysis.js'
import { countPlaces } from '../../dist/agent/capture/places.js'
import { createTcpStreams } from '../../dist/agent/capture/tcp-streams.js'
import { dnsFaults, readDnsAddresses, readDnsMessage } from '../../dist/parsers/dns-message.js'
import { createDnsFramer } from '../../dist/parsers/dns-stream.js'
import {
  createHttpRequestReader,
  createHttpResponseReader,
  endHttp,
  httpFaults,
  httpMethods,
  httpUnreadables,
  skipHttp,
  takeHttp,
} from '../../dist/parsers/http-message.js'
import { createPacketHeaders, packetFaults, readPacketHeaders, readQuotedHeaders } from '../../dist/parsers/packet-headers.js'
import { createPcapReader, encodePcapHeader, encodePcapPacket } from '../../dist/parsers/pcap-file.js'
import { ParseError } from '../../dist/parsers/text.js'

const readFixture = (name) => fs.readFileSync(path.join(import.meta.dirname, '../fixtures', name), 'latin1').trimEnd()
const readHex = (hex) => Uint8Array.from(Buffer.from(hex, 'hex'))

const dnsMessages = readFixture('dns/messages.txt')
  .split('\n')
  .flatMap((line) => line.split(' | ').slice(1).map(readHex))
const withLength = (message) => Uint8Array.of(message.length >> 8, message.length & 0xff, ...message)

const addressesMax = 8
const nameCharactersMax = 1003

function runDnsMessage(bytes, from, to) {
  const isCut = to > from && (bytes[to - 1] & 1) === 1
  const message = readDnsMessage(bytes, from, to, to - from + (isCut ? 1 : 0))
  const addresses = to - from < 12 ? [] : readDnsAddresses(bytes, from, to, addressesMax)
  assert.ok(addresses.length <= addressesMax && addresses.every((address) => isIP(address) !== 0))
  if (typeof message === 'string') {
    assert.ok(dnsFaults.includes(message))
    assert.ok(isCut ? message !== 'early_end' && message !== 'short_header' : message !== 'cut_header')
    return message
  }
  const { name, queryType, queryClass, addressCount, answerCount, rcode, opcode, id, isTruncated } = message
  assert.equal(message.isCut, isCut)
  assert.ok(rcode >= 0 && rcode <= 0xfff && opcode >= 0 && opcode <= 0xf && id >= 0 && id <= 0xffff)
  assert.equal(name === undefined, queryType === undefined)
  assert.equal(name === undefined, queryClass === undefined)
  if (name !== undefined) assert.ok(name.length <= nameCharactersMax && /^(?:[!-@[\]-~]|\\\d{3})*$/.test(name))
  if (addressCount === undefined) assert.ok(isCut || isTruncated)
  else assert.equal(addresses.length, Math.min(addressCount, addressesMax))
  assert.ok(addressCount === undefined || addressCount <= answerCount)
  return addressCount === undefined ? 'taken in part' : 'taken'
}

/** The messages of the stream at once, and again in pieces; and what is found where some of the pieces are skipped. */
function runDnsStream(bytes, from, to) {
  const follow = () => {
    const found = []
    const framer = createDnsFramer((message, messageFrom, messageTo, sentLength) => {
      assert.ok(messageFrom >= 0 && messageFrom <= messageTo && messageTo <= message.length)
      assert.ok(messageTo - messageFrom <= sentLength && sentLength <= 0xffff)
      found.push(messageTo - messageFrom)
    })
    return { framer, found }
  }
  const whole = follow()
  const pieces = follow()
  const gaps = follow()
  whole.framer.take(bytes, from, to)
  for (let at = from; at < to; ) {
    const end = Math.min(to, at + 1 + (bytes[at] & 0x3f))
    pieces.framer.take(bytes, at, end)
    if (bytes[at] >> 4 === 0xf) gaps.framer.skip(end - at)
    else gaps.framer.take(bytes, at, end)
    assert.ok(pieces.framer.keptBytes <= Math.max(64, 2 * (to - from)))
    at = end
  }
  assert.equal(pieces.found.join(), whole.found.join())
  assert.equal(pieces.framer.isInStep, true)
  assert.ok(whole.found.reduce((sum, length) => sum + length + 2, 0) <= to - from)
  return gaps.framer.isInStep ? 'in step' : 'out of step'
}

const readPackets = (name) => fs.readFileSync(path.join(import.meta.dirname, '../fixtures/packets', name))

/** What is handed out before the end, or before the fault that is returned. */
function eachPacket(chunks, onPacket) {
  const reader = createPcapReader({ onPacket })
  try {
    for (const chunk of chunks) reader.push(chunk)
    reader.end()
    return undefined
  } catch (error) {
    if (!(error instanceof ParseError)) throw error
    return error
  }
}

const recordedPackets = ['ethernet.pcap', 'any-sll.pcap', 'any-sll2.pcap'].flatMap((name) => {
  const packets = []
  eachPacket([readPackets(name)], (bytes, from, length) => packets.push(Uint8Array.from(bytes.subarray(from, from + length))))
  return packets
})
const linkTypes = [1, 113, 276, 0, 108, 101]

/** As a packet of each kind of link, cut off or not. */
function runPacketHeaders(bytes, from, to) {
  const headers = createPacketHeaders()
  const quoted = createPacketHeaders()
  const wireLength = to - from + (to > from ? bytes[to - 1] * 8 : 0)
  const outcomes = linkTypes.map((linkType) => {
    const fault = readPacketHeaders(bytes, from, to - from, wireLength, linkType, headers)
    if (fault !== undefined) {
      assert.ok(packetFaults.includes(fault))
      return fault
    }
    const { sourceAt, destinationAt, payloadAt, payloadEnd, payloadLength, family } = headers
    const addressBytes = family === 4 ? 4 : 16
    assert.ok(sourceAt > from && destinationAt === sourceAt + addressBytes && destinationAt + addressBytes <= payloadAt)
    assert.ok(payloadAt <= payloadEnd && payloadEnd <= to && payloadEnd - payloadAt <= payloadLength)
    // A first fragment tells how much its datagram carries.
    assert.ok(payloadLength <= (headers.isFragment ? 0xffff : wireLength))
    assert.ok(headers.sourcePort <= 0xffff && headers.destinationPort <= 0xffff && headers.tcpSequence <= 0xffff_ffff)
    const quoteFault = readQuotedHeaders(bytes, headers, quoted)
    assert.ok(quoteFault === undefined || packetFaults.includes(quoteFault))
    if (quoteFault === undefined) assert.ok(quoted.sourceAt > payloadAt && quoted.payloadEnd <= payloadEnd)
    return quoteFault === undefined ? 'taken, with a quote' : 'taken'
  })
  return outcomes.find((outcome) => outcome.startsWith('taken')) ?? outcomes[0]
}

/** At once and in pieces. */
function runPcapFile(bytes, from, to) {
  const follow = (chunks) => {
    const packets = []
    const fault = eachPacket(chunks, (_, __, captured, wire, timeMs, linkType) => {
      assert.ok(
        captured <= wire && captured <= to - from && linkType <= 0xffff && (timeMs === undefined || Number.isFinite(timeMs)),
      )
      packets.push(`${captured} of ${wire} at ${timeMs}`)
    })
    if (fault !== undefined) assert.ok(fault.column >= 1 && fault.column <= to - from + 1)
    return { packets: packets.join(), fault: fault?.message }
  }
  const chunks = []
  for (let at = from; at < to; at = chunks.at(-1).end) {
    const end = Math.min(to, at + 1 + (bytes[at] & 0x3f))
    chunks.push({ bytes: bytes.subarray(at, end), end })
  }
  const whole = follow([bytes.subarray(from, to)])
  const pieces = follow(chunks.map((chunk) => chunk.bytes))
  assert.ok(pieces.packets === whole.packets && pieces.fault === whole.fault)
  return whole.fault === undefined ? 'taken' : whole.packets !== '' ? 'taken in part' : 'refused'
}

/** The packets of a file, with room for few. */
function runTcpStreams(bytes, from, to) {
  const told = { opened: 0, ended: 0 }
  const streams = createTcpStreams({
    isServerPort: (port) => port === 8080,
    connectionsMax: 4,
    outOfOrderBytesMax: 1500,
    outOfOrderBytesTotalMax: 2500,
    onOpen() {
      told.opened++
      let isEnded = false
      return {
        onBytes: (_, payload, payloadFrom, payloadTo) =>
          assert.ok(!isEnded && payloadFrom >= 0 && payloadFrom < payloadTo && payloadTo <= payload.length),
        onGap: (_, count) => assert.ok(!isEnded && count > 0 && count <= 0xffff_ffff),
        onEnd() {
          assert.ok(!isEnded)
          isEnded = true
          told.ended++
        },
      }
    },
  })
  const headers = createPacketHeaders()
  eachPacket([bytes.subarray(from, to)], (packet, at, captured, wire, timeMs, linkType) => {
    if (readPacketHeaders(packet, at, captured, wire, linkType, headers) === undefined) streams.take(packet, headers, timeMs ?? 0)
    assert.ok(streams.size <= 4 && streams.heldBytes <= 2500)
  })
  const { gaps, connections } = streams.counts
  streams.expire(Number.POSITIVE_INFINITY)
  assert.deepEqual([streams.size, streams.heldBytes, told.opened, told.ended], [0, 0, connections, connections])
  return connections === 0 ? 'no connection' : gaps > 0 ? 'with gaps' : 'whole'
}

const httpRequests = [
  'GET /cart?token=secret HTTP/1.1\r\nHost: shop\r\n\r\nHEAD http://user@shop:80/a HTTP/1.0\n\nGET / HTTP/1.1\r\n\r\n',
  'POST / HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhelloOPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n',
  'PUT /x HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5;a="b"\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\nX: 1\r\n\r\nGET / HTTP/1.1\r\n\r\n',
  'GET /ws HTTP/1.1\r\nHost: [::1]\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  'CONNECT shop:443 HTTP/1.1\r\nHost: shop:443\r\n\r\n\x16\x03\x01\x02\x00\x01',
  'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
]
const httpResponses = [
  'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 304 X\r\nContent-Length: 9\r\n\r\nHTTP/1.1 204\r\n\r\n',
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3\r\nabc\r\n0\r\nX: 1\r\n\r\nHTTP/1.0 503 no\r\n\r\nto the end',
  'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x05hello',
]
const latin1 = (text) => Uint8Array.from(Buffer.from(text, 'latin1'))

const textMax = 256
/** Of a line and a head. */
const headBytesMax = 16 * 1024
const isPrintable = (text) => text.length <= textMax && /^[!-~]*$/.test(text)

/** One direction: at once; in pieces, which tell the same until framing is lost; and where some of the pieces are missing. */
function runHttpReader(create, bytes, from, to) {
  const follow = (options) => {
    const told = []
    let isLost = false
    const tell = (what) => void (isLost || told.push(what))
    const reader = create(
      {
        onHead(_, head) {
          if (create === createHttpRequestReader) {
            assert.ok(httpMethods.includes(head.method) && isPrintable(head.path) && isPrintable(head.host))
            assert.ok(!head.path.includes('?'))
          } else assert.ok(head.status >= 100 && head.status <= 599)
          tell(`${head.method} ${head.path} ${head.host} ${head.status} ${head.isWhole}`)
          return httpMethods[told.length % 3]
        },
        onEnd: (_, bodyBytes) => {
          assert.ok(bodyBytes >= 0 && bodyBytes <= to - from)
          tell(bodyBytes)
        },
        onFault: (_, fault) => {
          assert.ok(httpFaults.includes(fault))
          tell(fault)
        },
        onLost() {
          tell('lost')
          isLost = true
        },
        onUnreadable: (_, what) => {
          assert.ok(httpUnreadables.includes(what))
          tell(what)
        },
      },
      undefined,
      options,
    )
    return { reader, told }
  }
  const [whole, pieces, gaps] = [follow(), follow(), follow({ isMidstream: to > from && (bytes[to - 1] & 1) === 1 })]
  takeHttp(whole.reader, bytes, from, to, 0)
  for (let at = from; at < to; ) {
    const end = Math.min(to, at + 1 + (bytes[at] & 0x3f))
    takeHttp(pieces.reader, bytes, at, end, at)
    if (bytes[at] >> 4 === 6) skipHttp(gaps.reader, end - at, at)
    else takeHttp(gaps.reader, bytes, at, end, at)
    assert.ok(pieces.reader.partialBytes <= headBytesMax && gaps.reader.partialBytes <= headBytesMax)
    at = end
  }
  assert.equal(pieces.told.join(), whole.told.join())
  for (const { reader } of [whole, pieces, gaps]) endHttp(reader, 1)
  return whole.told.includes('lost') ? 'lost' : (httpUnreadables.find((what) => whole.told.includes(what)) ?? 'taken')
}

/** As both directions. */
function runHttpMessage(bytes, from, to) {
  const asRequests = runHttpReader(createHttpRequestReader, bytes, from, to)
  const asResponses = runHttpReader(createHttpResponseReader, bytes, from, to)
  return asRequests === 'other' ? `response ${asResponses}` : `request ${asRequests}`
}

/** Two connections of one client with one server, as raw IPv4 packets in a file: `texts` in turn, the client's first. */
function conversation(texts) {
  const parts = [encodePcapHeader(101, 1600, 'microseconds')]
  const [client, server] = [
    [10, 0, 0, 7, 0x9c],
    [10, 96, 0, 10, 0],
  ]
  const next = [1000, 5000]
  const add = (side, flags, text) => {
    const [source, destination] = side === 0 ? [client, server] : [server, client]
    const payload = Buffer.from(text, 'latin1')
    const packet = Buffer.alloc(40 + payload.length)
    packet.set([0x45, 0, 0, packet.length & 0xff, 0, 1, 0x40, 0, 64, 6])
    packet.writeUInt16BE(packet.length, 2)
    packet.set([...source.slice(0, 4), ...destination.slice(0, 4)], 12)
    packet.set([source[4], 80, destination[4], 80], 20)
    packet.writeUInt32BE(next[side], 24)
    packet.writeUInt32BE(next[1 - side], 28)
    packet.set([0x50, flags, 0xff, 0xff], 32)
    packet.set(payload, 40)
    next[side] += payload.length + (flags & 3 ? 1 : 0)
    parts.push(encodePcapPacket(packet, 0, packet.length, packet.length, parts.length, 'microseconds'))
  }
  add(0, 2, '')
  add(1, 18, '')
  texts.forEach((text, i) => add(i % 2, 24, text))
  add(0, 17, '')
  add(1, 17, '')
  return Uint8Array.from(Buffer.concat(parts))
}

const subjects = 3

/** The packets of a file, with all that they tell. */
function runAnalysis(bytes, from, to) {
  let told = 0
  const check = ({ subject, durationMs, timeMs, name, path, host }) => {
    told++
    assert.ok(subject >= 1 && subject <= subjects && Number.isFinite(timeMs) && !(durationMs < 0))
    if (path !== undefined) assert.ok(isPrintable(path) && isPrintable(host) && !path.includes('?'))
    else assert.ok(name.length <= nameCharactersMax)
  }
  const analysis = createAnalysis(
    { device: 'any', dnsPorts: [53], httpPorts: [80, 8080] },
    { onDns: (transaction) => check(describeDns(transaction)), onHttp: (transaction) => check(describeHttp(transaction)) },
  )
  analysis.own(1, true, ['\x7f\0\0\x01'])
  analysis.own(2, false, ['\x0a\0\0\x07'])
  analysis.own(3, false, ['\x0a\x60\0\x0a'])
  let packets = 0
  eachPacket([bytes.subarray(from, to)], (packet, at, captured, wire, timeMs = 0, linkType = 0) => {
    packets++
    analysis.take(Buffer.from(packet), at, captured, wire, linkType, timeMs)
    if (packets % 4 === 0) analysis.expire(timeMs)
  })
  analysis.expire(Number.MAX_SAFE_INTEGER)
  for (const [kind, counts] of Object.entries(analysis.counts)) {
    assert.ok(counts.size <= subjects)
    for (const values of counts.values()) {
      assert.equal(values.length, countPlaces[kind])
      assert.ok(values.every((value) => Number.isInteger(value) && value >= 0))
    }
  }
  assert.equal(analysis.totals().packets, packets)
  return told > 0 ? 'told' : 'nothing told'
}

export const targets = [
  { name: 'dns-message', seeds: dnsMessages, readsPerByteMax: 8, run: runDnsMessage },
  {
    name: 'dns-stream',
    seeds: [readHex(readFixture('dns/tcp-answers.txt')), ...dnsMessages.map(withLength)],
    readsPerByteMax: 10,
    run: runDnsStream,
  },
  { name: 'packet-headers', seeds: recordedPackets, readsPerByteMax: 40, run: runPacketHeaders },
  {
    name: 'pcap-file',
    seeds: ['ethernet.pcap', 'any-sll2.pcap', 'merged.pcapng'].map((name) => Uint8Array.from(readPackets(name).subarray(0, 500))),
    readsPerByteMax: 10,
    run: runPcapFile,
  },
  {
    name: 'tcp-streams',
    seeds: ['ethernet.pcap', 'any-sll.pcap', 'merged.pcapng'].map((name) => Uint8Array.from(readPackets(name).subarray(0, 2500))),
    readsPerByteMax: 40,
    run: runTcpStreams,
  },
  {
    name: 'http-message',
    seeds: [...httpRequests, ...httpResponses].map(latin1),
    readsPerByteMax: 60,
    run: runHttpMessage,
  },
  {
    name: 'analysis',
    seeds: [
      conversation([httpRequests[0], httpResponses[0]]),
      conversation([httpRequests[1], httpResponses[1]]),
      conversation([httpRequests[3], httpResponses[2], 'x', 'y']),
      ...['ethernet.pcap', 'any-sll.pcap', 'merged.pcapng'].map((name) => Uint8Array.from(readPackets(name).subarray(0, 2500))),
    ],
    readsPerByteMax: 40,
    cost: 20,
    run: runAnalysis,
  },
]
