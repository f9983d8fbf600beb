// How many packets are read, and put together to TCP streams, in a second of CPU: of the two directions of HTTP-like
// exchanges, as a capture hands them out. Median of the rounds, and what is left on the heap per packet. Needs no privileges.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { createTcpStreams } from '../../dist/agent/capture/tcp-streams.js'
import { createPacketHeaders, linkEthernet, linkLinuxSll, readPacketHeaders } from '../../dist/parsers/packet-headers.js'
import { median, printRow } from './process.mjs'

const rounds = 15
const warmUpRounds = 3
const connections = 5000
const exchanges = 20 // of each; request, response of two segments, an acknowledgement
const [fin, syn, ack] = [1, 2, 16]

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc')

for (const [name, link] of Object.entries({
  'IPv4 on LINUX_SLL': { family: 4, linkType: linkLinuxSll },
  'IPv6 on Ethernet': { family: 6, linkType: linkEthernet },
})) {
  const packets = makePackets(link)
  const headers = createPacketHeaders()
  measure(`headers, ${name}`, packets, () => ({
    take: (bytes) => readPacketHeaders(bytes, 0, bytes.length, bytes.length, link.linkType, headers),
  }))
  measure(`headers and TCP streams, ${name}`, packets, () => {
    const total = { bytes: 0, ended: 0 }
    const handlers = {
      onBytes: (_, __, from, to) => (total.bytes += to - from),
      onGap: () => undefined,
      onEnd: () => total.ended++,
    }
    const streams = createTcpStreams({ isServerPort: (port) => port === 80, onOpen: () => handlers })
    return {
      take(bytes, i) {
        readPacketHeaders(bytes, 0, bytes.length, bytes.length, link.linkType, headers)
        streams.take(bytes, headers, i)
      },
      check() {
        const { counts } = streams
        const isRight = counts.connections === connections && total.ended === connections && counts.gaps + counts.duplicates === 0
        if (!isRight) throw new Error(`not all is right: ${JSON.stringify({ ...counts, ...total })}`)
      },
    }
  })
}
measureMemory()

function measure(name, packets, create) {
  const rates = []
  const left = []
  for (let round = 0; round < warmUpRounds + rounds; round++) {
    const { take, check } = create()
    collectGarbage()
    const heapBefore = process.memoryUsage().heapUsed
    const cpuBefore = process.cpuUsage()
    for (let i = 0; i < packets.length; i++) take(packets[i], i)
    const { user, system } = process.cpuUsage(cpuBefore)
    if (round >= warmUpRounds) {
      rates.push(packets.length / (user + system))
      left.push((process.memoryUsage().heapUsed - heapBefore) / packets.length)
    }
    check?.()
  }
  printRow(
    name,
    `${median(rates).toFixed(1)} million packets a second of CPU (${Math.min(...rates).toFixed(1)} to ${Math.max(...rates).toFixed(1)}), ${median(left).toFixed(0)} bytes of heap a packet`,
  )
}

/** What connections that stay open take. */
function measureMemory() {
  const open = 16_000
  const handlers = { onBytes: () => undefined, onGap: () => undefined, onEnd: () => undefined }
  const headers = createPacketHeaders()
  const streams = createTcpStreams({ isServerPort: () => true, onOpen: () => handlers })
  collectGarbage()
  const { heapUsed, external } = process.memoryUsage()
  for (let i = 0; i < open; i++) {
    const bytes = packet({ family: 4, linkType: linkLinuxSll }, true, i, {
      sequence: 1,
      acknowledgement: 2,
      flags: ack,
      payload: 10,
    })
    readPacketHeaders(bytes, 0, bytes.length, bytes.length, linkLinuxSll, headers)
    streams.take(bytes, headers, i)
  }
  collectGarbage()
  const after = process.memoryUsage()
  printRow(
    `${streams.size} open connections, IPv4`,
    `${((after.heapUsed - heapUsed + after.external - external) / open).toFixed(0)} bytes each`,
  )
}

/** The connections side by side, 500 at a time. */
function makePackets(link) {
  const all = []
  for (let group = 0; group < connections; group += 500) {
    const states = Array.from({ length: 500 }, (_, i) => ({ index: group + i, client: 4_294_960_000 + i, server: 1000 }))
    const each = (isClient, flags, payload) => {
      for (const state of states) {
        const [own, other] = isClient ? ['client', 'server'] : ['server', 'client']
        all.push(packet(link, isClient, state.index, { sequence: state[own], acknowledgement: state[other], flags, payload }))
        state[own] = (state[own] + payload + (flags & (syn | fin) ? 1 : 0)) >>> 0
      }
    }
    each(true, syn, 0)
    each(false, syn | ack, 0)
    for (let i = 0; i < exchanges; i++) {
      each(true, ack, 300)
      each(false, ack, 1448)
      each(false, ack, 500)
      each(true, ack, 0)
    }
    each(true, ack | fin, 0)
    each(false, ack | fin, 0)
    each(true, ack, 0)
  }
  return all
}

/** Checksums and what is not read are 0. */
function packet({ family, linkType }, isFromClient, index, { sequence, acknowledgement, flags, payload }) {
  const linkBytes = linkType === linkEthernet ? 14 : 16
  const ipBytes = family === 4 ? 20 : 40
  const tcpAt = linkBytes + ipBytes
  const bytes = Buffer.alloc(tcpAt + 20 + payload)
  bytes.writeUInt16BE(family === 4 ? 0x0800 : 0x86dd, linkBytes - 2)
  bytes[linkBytes] = family === 4 ? 0x45 : 0x60
  bytes.writeUInt16BE(family === 4 ? ipBytes + 20 + payload : 20 + payload, linkBytes + (family === 4 ? 2 : 4))
  bytes[linkBytes + (family === 4 ? 9 : 6)] = 6
  const length = family === 4 ? 4 : 16
  const sourceAt = linkBytes + (family === 4 ? 12 : 8)
  const [client, server] = isFromClient ? [sourceAt, sourceAt + length] : [sourceAt + length, sourceAt]
  bytes.writeUInt32BE(0x0a000000 + (index >> 6), client + length - 4)
  bytes.writeUInt32BE(0x0a010001, server + length - 4)
  bytes.writeUInt16BE(isFromClient ? 32_768 + index : 80, tcpAt)
  bytes.writeUInt16BE(isFromClient ? 80 : 32_768 + index, tcpAt + 2)
  bytes.writeUInt32BE(sequence, tcpAt + 4)
  bytes.writeUInt32BE(acknowledgement, tcpAt + 8)
  bytes[tcpAt + 12] = 0x50
  bytes[tcpAt + 13] = flags
  return bytes
}
