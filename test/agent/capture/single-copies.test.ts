import fs from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { createSingleCopies } from '../../../agent/capture/single-copies.ts'
import { createPcapReader } from '../../../parsers/pcap-file.ts'
import { ipv4, ipv6, links, tcp, u16, udp } from '../../parsers/built-packets.ts'

const [pod, service, server] = [[10, 0, 0, 7], [10, 96, 0, 10], [10, 0, 0, 53]] as const // biome-ignore format: one line

function start() {
  const copies = createSingleCopies()
  let timeMs = 1_700_000_000_000
  return {
    pass: (ms: number) => void (timeMs += ms),
    see(packet: readonly number[], { outgoing = false, linkType = links.sll.linkType, wrap = links.sll.wrap } = {}): boolean {
      timeMs += 0.01
      const bytes = Buffer.from(wrap([...packet], outgoing))
      return copies.admits(bytes, bytes.length, bytes.length, linkType, timeMs)
    },
  }
}
/** With an identification, as Linux gives each packet another. */
function numbered(packet: readonly number[], identification: number): number[] {
  return [...packet.slice(0, 4), ...u16(identification), ...packet.slice(6)]
}
const query = (destination: readonly number[], { ttl = 64, identification = 5, port = 40_000 } = {}): number[] =>
  numbered(ipv4({ source: pod, destination, protocol: 17, ttl }, udp(port, 53, [1, 2, 3])), identification)

it('the same packet at a veth, a bridge and where it leaves with a lower hop limit is one', () => {
  const { see } = start()
  expect([see(query(server)), see(query(server)), see(query(server, { ttl: 63 }), { outgoing: true })]).toEqual([
    true,
    false,
    false,
  ])
})

it('with another address in it it is another: both sides of a translation are kept', () => {
  const { see } = start()
  expect([see(query(service)), see(query(server, { ttl: 63 }), { outgoing: true })]).toEqual([true, true])
})

it('another packet of the same content is kept, by its number', () => {
  const { see } = start()
  for (const identification of [1, 2, 3]) {
    expect(see(query(server, { identification }))).toBe(true)
    expect(see(query(server, { identification, ttl: 63 }), { outgoing: true })).toBe(false)
  }
})

it('IPv6 has no numbers: the same where the first was seen, and not at once, is another', () => {
  const { see, pass } = start()
  const ends = { source: [...Array(15).fill(0), 1], destination: [...Array(15).fill(0), 2], protocol: 6 }
  const segment = ipv6(ends, tcp({ sourcePort: 1, destinationPort: 2, sequence: 9 }, [7]))
  expect([see(segment), see(ipv6({ ...ends, ttl: 63 }, segment.slice(40)), { outgoing: true })]).toEqual([true, false])
  pass(100)
  expect([see(segment), see(ipv6({ ...ends, ttl: 63 }, segment.slice(40)), { outgoing: true })]).toEqual([true, false])
})

it('fragments, what is no IP, and what cannot be read', () => {
  const { see } = start()
  const fragment = (offset: number) => ipv4({ source: pod, destination: server, protocol: 17 }, [1, 2, 3], { fragment: offset })
  expect([see(fragment(0x2001)), see(fragment(0x2001), { outgoing: true }), see(fragment(2))]).toEqual([true, false, true])
  const arp = (last: number) => {
    const bytes = links.sll.wrap(ipv4({ source: pod, destination: server, protocol: 0 }, Array(8).fill(last)), false)
    bytes[15] = 6
    return () => bytes
  }
  expect([see([], { wrap: arp(1) }), see([], { wrap: arp(1) }), see([], { wrap: arp(2) })]).toEqual([true, false, true])
  expect([see([0x45, 1]), see([0x45, 2])]).toEqual([true, true])
})

it('of what a node with a bridge, a translated Service and masquerading saw, nothing is lost and nothing there twice', () => {
  const copies = createSingleCopies()
  const seen = new Map<string, number>()
  const kept = new Map<string, number>()
  const reader = createPcapReader({
    onPacket(bytes, from, capturedLength, wireLength, timeMs, linkType) {
      const packet = Buffer.from(bytes.subarray(from, from + capturedLength))
      // Identification, addresses, and all behind the header of IPv4.
      const what = packet.toString('latin1', 20, 22) + packet.toString('latin1', 28)
      seen.set(what, (seen.get(what) ?? 0) + 1)
      if (copies.admits(packet, capturedLength, wireLength, linkType, timeMs!)) kept.set(what, (kept.get(what) ?? 0) + 1)
    },
  })
  reader.push(fs.readFileSync(path.resolve(import.meta.dirname, '../../fixtures/dns/node-sll.pcap')))
  expect([...kept.keys()]).toEqual([...seen.keys()])
  expect(new Set(kept.values())).toEqual(new Set([1]))
  expect([...seen.values()].reduce((sum, count) => sum + count, 0)).toBe(153)
  expect(kept.size).toBeLessThan(153)
})
