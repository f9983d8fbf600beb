// What is fed damaged bytes. A new parser is one entry more:
//   name             the parser's file
//   seeds            inputs that are whole, as Uint8Arrays; the better they cover the format, the more is found
//   readsPerByteMax  how often a byte may be read by index, on average: a parser whose work is not linear goes over it
//   run              reads bytes[from] up to bytes[to - 1], and nothing around them. Returns a word for how that ended, such
//                    as `taken` or the fault, the fewer the better; throws where something is not as promised.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { isIP } from 'node:net'
import path from 'node:path'
import { createTcpStreams } from '../../dist/agent/capture/tcp-streams.js'
import { dnsFaults, readDnsAddresses, readDnsMessage } from '../../dist/parsers/dns-message.js'
import { createDnsFramer } from '../../dist/parsers/dns-stream.js'
import { createPacketHeaders, packetFaults, readPacketHeaders, readQuotedHeaders } from '../../dist/parsers/packet-headers.js'
import { createPcapReader } from '../../dist/parsers/pcap-file.js'
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
]
