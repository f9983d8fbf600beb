import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { startWiring, type Wiring } from '../wiring.ts'
import { createTopology, requireRoot, type Topology } from './topology.ts'

const maximumFile = '/proc/sys/net/netfilter/nf_conntrack_max'

requireRoot('connection tracking', () => {
  let topology: Topology
  let wiring: Wiring
  let maximum: string
  beforeEach(async () => {
    execFileSync('sh', ['-c', 'modprobe nf_conntrack 2>/dev/null || true'])
    maximum = fs.readFileSync(maximumFile, 'utf8')
    topology = await createTopology('nve-conntrack')
    for (const namespace of [topology.a, topology.b]) {
      for (const iptables of ['iptables', 'ip6tables'])
        topology.exec(namespace, iptables, '-A', 'INPUT', '-m', 'conntrack', '--ctstate', 'NEW,ESTABLISHED', '-j', 'ACCEPT')
    }
    wiring = await startWiring({ tracer: false })
    await wiring.sweep()
  })
  afterEach(async () => {
    fs.writeFileSync(maximumFile, maximum) // the one setting of all namespaces
    await wiring?.stop()
    await topology?.dispose()
  })

  it.each(['ipv4', 'ipv6'] as const)('%s: entries and their limit', async (family) => {
    const { a, b } = topology
    expect(wiring.value('netvitals_conntrack_entries', { pod: b.name })).toBeUndefined()
    await topology.run(a, 'udp-send', { address: b[family], port: 9000, ports: 60, count: 60 })
    // With IPv6 the two have asked for each other's link address too; neighbour discovery is not tracked.
    await wiring.sweep()
    expect(wiring.value('netvitals_conntrack_entries', { pod: b.name })).toBe(60)
    expect(wiring.value('netvitals_conntrack_entries_limit', { pod: b.name })).toBe(Number(maximum))
    expect(wiring.value('netvitals_conntrack_entries', { pod: b.name })).toBe(Number(topology.exec(b, 'conntrack', '-C')))
  })

  it('a full table: drops and early drops are what the kernel counts, the entries stay at the limit', async () => {
    const { b } = topology
    fs.writeFileSync(maximumFile, '200')
    const { errors } = await topology.run<{ errors: Record<string, number> }>(b, 'udp-send', {
      address: '127.0.0.1',
      port: 9000,
      ports: 500,
      count: 500,
      atOnce: 1,
    })
    fs.writeFileSync(maximumFile, maximum)
    await wiring.sweep()
    const kernel = topology.exec(b, 'conntrack', '-S')
    const sum = (word: string): number =>
      [...kernel.matchAll(new RegExp(`\\b${word}=(\\d+)`, 'g'))].reduce((total, [, number]) => total + Number(number), 0)
    const value = (word: 'drop' | 'early_drop') => wiring.value(`netvitals_conntrack_${word}_total`, { pod: b.name }) ?? 0
    expect(value('drop')).toBeGreaterThan(0)
    expect(value('drop')).toBe(errors.EPERM) // what the sender was told
    expect(value('drop')).toBe(sum('drop'))
    expect(value('early_drop')).toBe(sum('early_drop'))
    const entries = wiring.value('netvitals_conntrack_entries', { pod: b.name })
    expect(entries).toBe(Number(topology.exec(b, 'conntrack', '-C')))
    expect(entries).toBeLessThanOrEqual(201)
  })

  it('invalid packets', async () => {
    const { a, b } = topology
    topology.exec(b, 'sysctl', '-qw', 'net.netfilter.nf_conntrack_tcp_loose=0')
    topology.exec(b, 'iptables', '-I', 'INPUT', '-m', 'conntrack', '--ctstate', 'INVALID', '-j', 'DROP') // else the RST that answers is invalid too
    await topology.run(a, 'raw-send', { address: b.ipv4, hex: acknowledgement(a.ipv4, b.ipv4), count: 25 })
    await wiring.sweep()
    expect(wiring.value('netvitals_conntrack_invalid_total', { pod: b.name })).toBe(25)
  })
})

/** An IPv4 packet with a TCP segment out of nowhere: ACK, to port 5001, with a right checksum. */
function acknowledgement(from: string, to: string): string {
  const addresses = Buffer.from([...from.split('.'), ...to.split('.')].map(Number))
  const tcp = Buffer.alloc(20)
  tcp.writeUInt16BE(40_000, 0)
  tcp.writeUInt16BE(5001, 2)
  tcp.writeUInt32BE(1, 4)
  tcp.writeUInt32BE(1, 8)
  tcp.writeUInt16BE(0x5010, 12)
  tcp.writeUInt16BE(1000, 14)
  const pseudo = Buffer.concat([addresses, Buffer.from([0, 6, 0, tcp.length]), tcp])
  let sum = 0
  for (let at = 0; at < pseudo.length; at += 2) sum += pseudo.readUInt16BE(at)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  tcp.writeUInt16BE(~sum & 0xffff, 16)
  const ip = Buffer.from([0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, ...addresses])
  return Buffer.concat([ip, tcp]).toString('hex')
}
