import fs from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatAddress } from '../../parsers/address.ts'
import type { PacketHeaders } from '../../parsers/packet-headers.ts'
import {
  createPacketHeaders,
  linkLinuxSll2,
  packetFaults,
  readPacketHeaders,
  readQuotedHeaders,
} from '../../parsers/packet-headers.ts'
import { createPcapReader } from '../../parsers/pcap-file.ts'
import { type IpFields, icmp, ipv4, ipv6, type LinkName, links, tcp, u16, u32, udp } from './built-packets.ts'

const four = { source: [10, 0, 0, 1], destination: [10, 0, 0, 2] }
const six = { source: [0x20, 1, ...Array(13).fill(0), 1], destination: [0xfd, ...Array(14).fill(0), 2] }

function read(packet: readonly number[], linkType = 101, capturedLength = packet.length, wireLength = packet.length) {
  const bytes = Uint8Array.from(packet)
  const headers = createPacketHeaders()
  const fault = readPacketHeaders(bytes, 0, capturedLength, wireLength, linkType, headers)
  return { fault, headers, bytes }
}
const faultOf = (...packet: Parameters<typeof read>) => read(...packet).fault

/** The addresses as text and the payload's captured bytes, instead of places. */
function told({ fault, headers, bytes }: ReturnType<typeof read>) {
  const { sourceAt, destinationAt, payloadAt, payloadEnd, ...others } = headers
  const length = headers.family === 4 ? 4 : 16
  return {
    fault,
    ...others,
    source: formatAddress(bytes.slice(sourceAt, sourceAt + length)),
    destination: formatAddress(bytes.slice(destinationAt, destinationAt + length)),
    payload: [...bytes.slice(payloadAt, payloadEnd)],
  }
}

describe('a packet', () => {
  const byte = fc.nat(255)
  const port = fc.nat(0xffff)
  const number = fc.integer({ min: 0, max: 0xffff_ffff })
  const payload = fc.array(byte, { maxLength: 40 })
  const words = fc.array(fc.tuple(byte, byte, byte, byte), { maxLength: 10 }).map((all) => all.flat())
  const addresses = (length: number) => fc.tuple(fc.array(byte, { minLength: length, maxLength: length }), port)
  const transport = fc.oneof(
    fc.record({ protocol: fc.constant(6), options: words, sequence: number, acknowledgement: number, flags: byte }),
    fc.record({ protocol: fc.constant(17) }),
    fc.record({ protocol: fc.constant(132) }),
  )
  const extension = fc.oneof(
    fc.tuple(fc.constantFrom(0, 43, 60), fc.nat(2)).map(([type, units]): [number, number[]] => {
      return [type, [0, units, ...Array(6 + units * 8).fill(1)]]
    }),
    fc.nat(3).map((units): [number, number[]] => [51, [0, units, ...Array((units + 2) * 4 - 2).fill(2)]]),
    fc.constant<[number, number[]]>([44, [0, 0, 0, 0, 9, 9, 9, 9]]),
  )
  const network = fc.oneof(
    fc.record({ version: fc.constant(4), ends: fc.tuple(addresses(4), addresses(4)), options: words }),
    fc.record({
      version: fc.constant(6),
      ends: fc.tuple(addresses(16), addresses(16)),
      extensions: fc.array(extension, { maxLength: 8 }),
    }),
  )

  it('is read as it was built, on every kind of link, with padding behind it and cut off in its payload', () => {
    const link = fc.constantFrom(...(Object.keys(links) as LinkName[]))
    fc.assert(
      fc.property(link, network, transport, payload, byte, fc.boolean(), fc.nat(20), fc.nat(20), fc.nat(20), (...all) => {
        const [name, ip, upper, sent, ttl, outgoing, padding, cut, before] = all
        const [[source, sourcePort], [destination, destinationPort]] = ip.ends
        const ports = { sourcePort, destinationPort }
        const isTcp = 'sequence' in upper
        const segment = isTcp
          ? tcp({ ...ports, ...upper }, sent, upper.options)
          : upper.protocol === 17
            ? udp(sourcePort, destinationPort, sent)
            : sent
        const identification = (padding << 8) | before
        const fields: IpFields = { source, destination, protocol: upper.protocol, ttl, identification }
        const packet =
          'options' in ip ? ipv4(fields, segment, ip) : ipv6(fields, segment, 'extensions' in ip ? ip.extensions : [])
        const whole = links[name].wrap(packet, outgoing)
        const wire = [...whole, ...Array(padding).fill(0xee)]
        const captured = wire.slice(0, whole.length - Math.min(cut, sent.length))
        const bytes = Uint8Array.from([...Array(before).fill(0x45), ...captured, 0x45, 0x45])
        const headers = createPacketHeaders()
        const fault = readPacketHeaders(bytes, before, captured.length, wire.length, links[name].linkType, headers)
        expect(told({ fault, headers, bytes })).toEqual({
          fault: undefined,
          packetType: links[name].tellsOutgoing ? (outgoing ? 4 : 0) : undefined,
          family: ip.version,
          source: formatAddress(Uint8Array.from(source)),
          destination: formatAddress(Uint8Array.from(destination)),
          ttl,
          identification: ip.version === 4 ? identification : 0,
          protocol: upper.protocol,
          isFragment: false,
          sourcePort: upper.protocol === 132 ? 0 : sourcePort,
          destinationPort: upper.protocol === 132 ? 0 : destinationPort,
          payload: sent.slice(0, sent.length - Math.min(cut, sent.length)),
          payloadLength: sent.length,
          tcpSequence: isTcp ? upper.sequence : 0,
          tcpAcknowledgement: isTcp ? upper.acknowledgement : 0,
          tcpFlags: isTcp ? upper.flags : 0,
          icmpType: 0,
          icmpCode: 0,
          nextHopMtu: undefined,
        })
      }),
      { numRuns: 1000 },
    )
  })
  it('leaves nothing behind in the headers of the next one', () => {
    const headers = createPacketHeaders()
    const packets: [number[], number][] = [
      [links.sll.wrap(ipv4({ ...four, protocol: 6 }, tcp({ sourcePort: 1, destinationPort: 2, sequence: 3 }, [9])), true), 113],
      [ipv4({ ...four, protocol: 1 }, icmp(3, 4, [0, 0, ...u16(1400)], [])), 101],
      [ipv4({ ...four, protocol: 17 }, udp(5, 6, []), { fragment: 0x2000 }), 101],
      [ipv6({ ...six, protocol: 132 }, []), 101],
    ]
    for (const [packet, linkType] of packets) {
      readPacketHeaders(Uint8Array.from(packet), 0, packet.length, packet.length, linkType, headers)
      expect(headers).toEqual(read(packet, linkType).headers)
    }
  })
})

describe('lengths', () => {
  const segment = tcp({ sourcePort: 1, destinationPort: 80 }, [1, 2, 3])

  it('takes all that was sent for the payload when the length is 0: it was too large for the field', () => {
    const large = { protocol: 6, length: 0 }
    for (const packet of [ipv4({ ...four, ...large }, segment), ipv6({ ...six, ...large }, segment)]) {
      const { fault, headers } = read(packet, 101, packet.length, packet.length + 100_000)
      expect([fault, headers.payloadLength, headers.payloadEnd - headers.payloadAt]).toEqual([undefined, 100_003, 3])
    }
  })
  it('reads a BIG TCP packet with the option that tells its length (RFC 2675)', () => {
    const jumbo = [0, 0, 0xc2, 4, ...u32(100_000)]
    const packet = ipv6({ ...six, protocol: 6, length: 0 }, segment, [[0, jumbo]])
    expect(read(packet, 101, packet.length, 40 + 100_000).headers.payloadLength).toBe(100_000 - 8 - 20)
  })
  it('has no payload where there is no next header, whatever pads the frame', () => {
    const { fault, headers } = read([...ipv6({ ...six, protocol: 59 }, []), 1, 2, 3])
    expect([fault, headers.protocol, headers.payloadLength, headers.payloadEnd - headers.payloadAt]).toEqual([
      undefined,
      59,
      0,
      0,
    ])
  })
  it('takes the length of UDP where it is less than that of IP, and all of a jumbogram', () => {
    expect(told(read(ipv4({ ...four, protocol: 17 }, udp(1, 53, [7, 8, 9], 10))))).toMatchObject({
      payload: [7, 8],
      payloadLength: 2,
    })
    expect(read(ipv6({ ...six, protocol: 17 }, udp(1, 53, [7, 8, 9], 0))).headers.payloadLength).toBe(3)
  })
  const ip4 = { ...four, protocol: 6 }
  it.each([
    ['an IPv4 header shorter than itself', [0x44, ...ipv4(ip4, segment).slice(1)], 'bad length'],
    ['IPv4 longer than what was sent', ipv4({ ...ip4, length: 44 }, segment), 'bad length'],
    ['IPv6 longer than what was sent', ipv6({ ...six, protocol: 6, length: 24 }, segment), 'bad length'],
    ['IPv4 shorter than its header', ipv4({ ...ip4, length: 19 }, segment), 'bad length'],
    ['no room for TCP', ipv4({ ...ip4, length: 39 }, segment), 'bad length'],
    ['a TCP header shorter than itself', ipv4(ip4, [...segment.slice(0, 12), 0x40, ...segment.slice(13)]), 'bad length'],
    ['a TCP header longer than the segment', ipv4(ip4, [...segment.slice(0, 12), 0x60, ...segment.slice(13)]), 'bad length'],
    ['UDP shorter than its header', ipv4({ ...four, protocol: 17 }, udp(1, 2, [3], 7)), 'bad length'],
    ['UDP longer than the packet', ipv4({ ...four, protocol: 17 }, udp(1, 2, [3], 10)), 'bad length'],
    ['no room for UDP', ipv4({ ...four, protocol: 17 }, [0, 1, 0, 2, 0, 8, 0]), 'bad length'],
    ['no room for ICMP', ipv4({ ...four, protocol: 1 }, [8, 0, 0, 0, 0, 0, 0]), 'bad length'],
    [
      'an extension header longer than the packet',
      ipv6({ ...six, protocol: 6 }, [], [[0, [0, 1, ...Array(6).fill(0)]]]),
      'bad length',
    ],
  ])('refuses %s', (_, packet, fault) => expect(faultOf(packet)).toBe(fault))
})

describe('what was captured', () => {
  const packets = {
    tcp: ipv4({ ...four, protocol: 6 }, tcp({ sourcePort: 1, destinationPort: 2 }, []), { options: [1, 1, 1, 1] }),
    other: ipv6({ ...six, protocol: 132 }, [], [[60, [0, 1, ...Array(14).fill(0)]]]),
    udp: ipv6({ ...six, protocol: 17 }, udp(1, 2, []), [[60, [0, 1, ...Array(14).fill(0)]]]),
    icmp: ipv4({ ...four, protocol: 1 }, icmp(8, 0, [0, 0, 0, 0], [])),
  }
  const everyWay = Object.entries(packets).flatMap(([name, packet]) =>
    (Object.keys(links) as LinkName[]).map((link) => [name, link, packet] as const),
  )
  it.each(everyWay)('is too little of %s on %s at every byte of its headers', (_, link, packet) => {
    const whole = links[link].wrap(packet, false)
    const { linkType } = links[link]
    for (let length = 0; length < whole.length; length++) expect(faultOf(whole, linkType, length)).toBe('cut')
    expect(faultOf(whole, linkType)).toBeUndefined()
  })
  it('may end within the options of TCP: then nothing of the payload is there', () => {
    const packet = ipv4(
      { ...four, protocol: 6 },
      tcp({ sourcePort: 1, destinationPort: 2, acknowledgement: 9 }, [7, 8], [1, 1, 1, 1]),
    )
    const { fault, headers } = read(packet, 101, 42, packet.length)
    expect(fault).toBeUndefined()
    expect(headers).toMatchObject({ tcpAcknowledgement: 9, payloadAt: 42, payloadEnd: 42, payloadLength: 2 })
  })
  it('is never more than the bytes there are', () => {
    expect(faultOf(packets.tcp.slice(0, 30), 101, 1000, 1000)).toBe('cut')
  })
})

describe('links', () => {
  const packet = ipv4({ ...four, protocol: 17 }, udp(1, 2, []))
  it.each([
    ['a kind of link it does not know', 105, packet, 'unknown link'],
    ['ARP', 1, [...Array(12).fill(0), 0x08, 0x06, ...Array(28).fill(0)], 'not IP'],
    ['802.3 with a length', 1, [...Array(12).fill(0), 0, 28, ...Array(28).fill(0)], 'not IP'],
    ['another address family', 0, [7, 0, 0, 0, ...packet], 'not IP'],
    ['IPv6 that is called IPv4', 1, [...Array(12).fill(0), 8, 0, ...ipv6({ ...six, protocol: 59 }, [])], 'bad version'],
    ['version 5', 101, [0x55, ...packet.slice(1)], 'bad version'],
    ['IPv4 on a link of IPv6', 229, packet, 'bad version'],
    [
      'a third tag',
      1,
      [...Array(12).fill(0), ...[0x88a8, 0x8100, 0x8100].flatMap((tag) => [...u16(tag), 0, 1]), 8, 0, ...packet],
      'too many headers',
    ],
  ])('refuses %s', (_, linkType, bytes, fault) => expect(faultOf(bytes, linkType)).toBe(fault))
  it.each([
    [228, packet],
    [14, packet],
    [229, ipv6({ ...six, protocol: 17 }, udp(1, 2, []))],
    [0, [0, 0, 0, 2, ...packet]],
    [0, [10, 0, 0, 0, ...ipv6({ ...six, protocol: 17 }, udp(1, 2, []))]],
  ])('reads link type %d', (linkType, bytes) =>
    expect(read(bytes, linkType)).toMatchObject({ fault: undefined, headers: { destinationPort: 2 } }),
  )
  it('reads a tag behind the header of LINUX_SLL2', () => {
    const bytes = [0x81, 0, ...links.sll2.wrap(packet, true).slice(2, 20), 0, 7, 8, 0, ...packet]
    expect(read(bytes, 276)).toMatchObject({ fault: undefined, headers: { destinationPort: 2, packetType: 4 } })
  })
})

describe('fragments', () => {
  const datagram = udp(1000, 53, [1, 2, 3, 4, 5, 6, 7, 8], 100)
  const fragmentHeader = (field: number): [number, number[]] => [44, [0, 0, ...u16(field), 0, 0, 0, 1]]

  it.each([
    ['IPv4', ipv4({ ...four, protocol: 17 }, datagram, { fragment: 0x2000 })],
    ['IPv6', ipv6({ ...six, protocol: 17 }, datagram, [fragmentHeader(1)])],
  ])('reads the first of %s, and tells how much the datagram carries', (_, packet) => {
    expect(told(read(packet))).toMatchObject({
      fault: undefined,
      isFragment: true,
      destinationPort: 53,
      payload: [1, 2, 3, 4, 5, 6, 7, 8],
      payloadLength: 92,
    })
  })
  it.each([
    ['in the middle', 4, ipv4({ ...four, protocol: 17 }, datagram, { fragment: 0x2001 })],
    ['at the end', 4, ipv4({ ...four, protocol: 17 }, datagram, { fragment: 0x0001 })],
    ['in the middle', 6, ipv6({ ...six, protocol: 17 }, datagram, [fragmentHeader(9)])],
    ['at the end', 6, ipv6({ ...six, protocol: 17 }, datagram, [fragmentHeader(8)])],
  ])('has addresses and protocol of one %s of IPv%d', (_, family, packet) => {
    expect(told(read(packet))).toMatchObject({
      fault: 'fragment',
      isFragment: true,
      family,
      protocol: 17,
      destination: family === 4 ? '10.0.0.2' : 'fd00::2',
    })
  })
  it('takes "do not fragment", and a fragment header of a whole datagram, for none', () => {
    const whole = udp(1000, 53, [1])
    expect(read(ipv4({ ...four, protocol: 17 }, whole, { fragment: 0x4000 })).headers.isFragment).toBe(false)
    expect(read(ipv6({ ...six, protocol: 17 }, whole, [fragmentHeader(0)])).headers.isFragment).toBe(false)
  })
  it('follows eight extension headers and no more', () => {
    const options = [60, [0, 0, 0, 0, 0, 0, 0, 0]] as const
    expect(faultOf(ipv6({ ...six, protocol: 17 }, udp(1, 2, []), Array(8).fill(options)))).toBeUndefined()
    expect(faultOf(ipv6({ ...six, protocol: 17 }, udp(1, 2, []), Array(9).fill(options)))).toBe('too many headers')
  })
})

describe('ICMP errors', () => {
  const segment = tcp({ sourcePort: 40_000, destinationPort: 443, sequence: 0xdead_beef }, [1, 2, 3])
  const sent4 = ipv4({ source: [10, 0, 0, 2], destination: [10, 0, 0, 9], protocol: 6, length: 1500 }, segment)
  const sent6 = ipv6({ source: six.destination, destination: six.source, protocol: 6, length: 1400 }, segment)
  function quote(packet: readonly number[]) {
    const { fault, headers, bytes } = read(packet)
    const quoted = createPacketHeaders()
    return { fault, headers, quoted, quoteFault: readQuotedHeaders(bytes, headers, quoted), bytes }
  }
  const router4 = (payload: readonly number[]) => ipv4({ ...four, protocol: 1 }, payload)
  const router6 = (payload: readonly number[]) => ipv6({ ...six, protocol: 58 }, payload)

  it('reads fragmentation needed with the next hop and whose packet it was', () => {
    const { fault, headers, quoted, quoteFault, bytes } = quote(router4(icmp(3, 4, [0, 0, ...u16(1400)], sent4.slice(0, 28))))
    expect([fault, quoteFault, headers.icmpType, headers.icmpCode, headers.nextHopMtu]).toEqual([
      undefined,
      undefined,
      3,
      4,
      1400,
    ])
    expect(told({ fault: quoteFault, headers: quoted, bytes })).toMatchObject({
      source: '10.0.0.2',
      destination: '10.0.0.9',
      protocol: 6,
      sourcePort: 40_000,
      destinationPort: 443,
      tcpSequence: 0xdead_beef,
      payloadLength: 0,
    })
  })
  it('reads packet too big', () => {
    const { headers, quoted, quoteFault, bytes } = quote(router6(icmp(2, 0, u32(1280), sent6)))
    expect([quoteFault, headers.nextHopMtu]).toEqual([undefined, 1280])
    expect(told({ fault: quoteFault, headers: quoted, bytes })).toMatchObject({
      source: 'fd00::2',
      destination: '2001::1',
      sourcePort: 40_000,
    })
  })
  it('does not know the next hop from a router that does not tell it, nor from other errors', () => {
    expect(read(router4(icmp(3, 4, [0, 0, 0, 0], sent4))).headers.nextHopMtu).toBeUndefined()
    expect(read(router4(icmp(3, 1, [0, 0, 5, 0], sent4))).headers.nextHopMtu).toBeUndefined()
    expect(read(router6(icmp(1, 4, u32(1280), sent6))).headers.nextHopMtu).toBeUndefined()
  })
  it('has the ports where only they are quoted', () => {
    const { quoted, quoteFault } = quote(router4(icmp(11, 0, [0, 0, 0, 0], sent4.slice(0, 24))))
    expect([quoteFault, quoted.destinationPort, quoted.tcpSequence]).toEqual([undefined, 443, 0])
  })
  it.each([
    ['an echo', router4(icmp(8, 0, [0, 0, 0, 0], sent4)), 'no quote'],
    ['an echo of IPv6', router6(icmp(128, 0, [0, 0, 0, 0], sent6)), 'no quote'],
    ['UDP', ipv4({ ...four, protocol: 17 }, udp(1, 2, sent4)), 'no quote'],
    ['a quote without ports', router4(icmp(3, 4, [0, 0, 5, 0], sent4.slice(0, 23))), 'cut'],
    ['a quote without a header', router4(icmp(3, 4, [0, 0, 5, 0], sent4.slice(0, 19))), 'cut'],
    ['no quote at all', router6(icmp(2, 0, u32(1280), [])), 'cut'],
    ['a quote of the other version', router6(icmp(2, 0, u32(1280), sent4)), 'bad version'],
    ['a later fragment', router4(icmp(11, 1, [0, 0, 0, 0], ipv4({ ...four, protocol: 17 }, [1], { fragment: 9 }))), 'fragment'],
  ])('finds no ports in %s', (_, packet, fault) => expect(quote(packet).quoteFault).toBe(fault))
})

it('reads whatever bytes there are within their bounds, or has a reason from the list', () => {
  const start = fc.constantFrom(
    [],
    ...Object.values(links).flatMap(({ wrap }) => [wrap([0x45], true).slice(0, -1), wrap([0x60], true)]),
  )
  const linkType = fc.constantFrom(0, 1, 12, 101, 108, 113, 228, 229, 276, 5)
  const headers: PacketHeaders = createPacketHeaders()
  const quoted = createPacketHeaders()
  fc.assert(
    fc.property(
      start,
      fc.uint8Array({ maxLength: 120 }),
      linkType,
      fc.nat(200),
      fc.nat(200),
      (head, tail, link, captured, wire) => {
        const bytes = Uint8Array.from([...head, ...tail])
        const fault = readPacketHeaders(bytes, 0, captured, wire, link, headers)
        if (fault !== undefined) {
          expect(packetFaults).toContain(fault)
          return
        }
        const { payloadAt, payloadEnd, payloadLength, destinationAt } = headers
        expect(payloadAt).toBeGreaterThan(destinationAt)
        expect(payloadEnd).toBeGreaterThanOrEqual(payloadAt)
        expect(payloadEnd).toBeLessThanOrEqual(Math.min(bytes.length, captured, wire))
        expect(payloadLength).toBeGreaterThanOrEqual(payloadEnd - payloadAt)
        const quoteFault = readQuotedHeaders(bytes, headers, quoted)
        if (quoteFault !== undefined) expect(packetFaults).toContain(quoteFault)
        else expect(quoted.payloadAt).toBeLessThanOrEqual(payloadEnd)
      },
    ),
    { numRuns: 5000 },
  )
})

describe('recorded packets', () => {
  const folder = path.resolve(import.meta.dirname, '../fixtures/packets')
  const flagNames = ['F', 'S', 'R', 'P', '.']

  /** How tcpdump begins a line. */
  function toLine(bytes: Uint8Array, headers: PacketHeaders): string {
    const { family, sourceAt, destinationAt, sourcePort, destinationPort, isFragment } = headers
    const address = (at: number) => formatAddress(bytes.slice(at, at + (family === 4 ? 4 : 16)))
    const [source, destination] = [address(sourceAt), address(destinationAt)]
    if (destinationPort === 0) return `${family === 4 ? 'IP' : 'IP6'} ${source} > ${destination}: `
    if (isFragment && family === 6) return `IP6 ${source} > ${destination}: frag (0|1448) ${sourcePort} > ${destinationPort}: `
    return `${family === 4 ? 'IP' : 'IP6'} ${source}.${sourcePort} > ${destination}.${destinationPort}: `
  }

  it.each(fs.readdirSync(folder).filter((name) => name.endsWith('.pcap')))(
    'are read in %s as tcpdump has printed them',
    (name) => {
      const lines = fs
        .readFileSync(path.join(folder, name.replace('.pcap', '.txt')), 'utf8')
        .trimEnd()
        .split('\n')
      const headers = createPacketHeaders()
      let number = 0
      let compared = 0
      const reader = createPcapReader({
        onPacket(bytes, from, capturedLength, wireLength, _, linkType) {
          const line = lines[number++]!
          const fault = readPacketHeaders(bytes, from, capturedLength, wireLength, linkType, headers)
          if (fault !== undefined) {
            expect([line, fault]).toEqual([expect.stringMatching(fault === 'fragment' ? /: (ip-proto-17|frag )/ : /ARP/), fault])
            return
          }
          compared++
          expect(line).toContain(toLine(bytes, headers))
          if (linkType === linkLinuxSll2) expect(headers.packetType === 4).toBe(/^\S+\s+Out /.test(line))
          const { protocol, tcpFlags, payloadLength } = headers
          if (protocol === 6) {
            const [, flags, sequence] = /Flags \[([^\]]+)\](?:, seq (\d+))?/.exec(line)!
            expect([...flags!].filter((one) => flagNames.includes(one)).sort()).toEqual(
              flagNames.filter((_, bit) => tcpFlags & (1 << bit)).sort(),
            )
            if (sequence !== undefined) expect(headers.tcpSequence).toBe(Number(sequence))
            if (tcpFlags & 16) expect(headers.tcpAcknowledgement).toBe(Number(/ack (\d+)/.exec(line)![1]))
            // Where its options are cut off tcpdump does not say; those are answers without a payload.
            expect(payloadLength).toBe(Number(line.includes('[|tcp]') ? 0 : /length (\d+)/.exec(line)![1]))
          } else if (protocol === 17) expect(line).toContain(`length ${payloadLength}`)
          else if (protocol === 1 || protocol === 58) {
            const mtu = /mtu (\d+)/.exec(line)?.[1]
            expect(headers.nextHopMtu).toBe(mtu === undefined ? undefined : Number(mtu))
          }
        },
      })
      reader.push(fs.readFileSync(path.join(folder, name)))
      reader.end()
      expect(number).toBe(lines.length)
      expect(compared).toBeGreaterThan(number / 2)
    },
  )
})
