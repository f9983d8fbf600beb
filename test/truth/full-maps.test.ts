import { expect, it, vi } from 'vitest'
import { limits } from '../../agent/limits.ts'
import { startWiring, type Wiring } from '../wiring.ts'
import { expectEvents } from './events.ts'
import { createTopology, requireTraced, requireTracer } from './topology.ts'

/** The machine's own connects may be refused a place too. */
async function readLost(wiring: Wiring): Promise<number> {
  const families = await wiring.self.families()
  const lost = families.find(({ name }) => name === 'netvitals_lost_events_total')?.series ?? []
  return Number(lost.find(({ labels }) => labels === 'kind="map_full"')?.value)
}

requireTracer('a full map', () => {
  it('of connects under way costs their durations, not their outcomes, and is told', async () => {
    vi.spyOn(limits as { tracerConnects: number }, 'tracerConnects', 'get').mockReturnValue(4)
    const topology = await createTopology('nvg-full')
    const wiring = await startWiring()
    vi.restoreAllMocks()
    try {
      const { a, b } = topology
      await topology.hold(b, 'tcp-listen', { address: b.ipv4, port: 5001 })
      topology.exec(b, 'iptables', '-w', '-A', 'INPUT', '-p', 'tcp', '--dport', '5002', '-j', 'DROP')
      const waiting = await topology.hold(a, 'tcp-connect', { address: b.ipv4, port: 5002, count: 4, wait: false })
      await wiring.sweep()
      expect(await readLost(wiring)).toBeGreaterThanOrEqual(0)
      await topology.hold(a, 'tcp-connect', { address: b.ipv4, port: 5001, count: 30 })
      await expectEvents(wiring, a, 'netvitals_tcp_connects_total', { connected: 30 })
      await expectEvents(wiring, a, 'netvitals_tcp_connect_duration_seconds', {})
      expect(await readLost(wiring)).toBeGreaterThanOrEqual(30)
      await waiting.act('close')
      await topology.hold(a, 'tcp-connect', { address: b.ipv4, port: 5001, count: 7 })
      await expectEvents(wiring, a, 'netvitals_tcp_connects_total', { connected: 37, abandoned: 4 })
      await expectEvents(wiring, a, 'netvitals_tcp_connect_duration_seconds', { '': 7 })
    } finally {
      await wiring.stop()
      await topology.dispose()
    }
  })

  it('of connections that live costs bytes of edges, never too many, and is told', async () => {
    vi.spyOn(limits as { tracerConnections: number }, 'tracerConnections', 'get').mockReturnValue(8)
    const topology = await createTopology('nvg-full', { network: 85 })
    const wiring = await startWiring()
    vi.restoreAllMocks()
    try {
      const { a, b } = topology
      const server = await topology.hold(b, 'tcp-listen', { address: b.ipv4, port: 5001 })
      const client = await topology.hold(a, 'tcp-connect', { address: b.ipv4, port: 5001, count: 30 })
      await server.act('accept', { count: 30 })
      await client.act('send', { bytes: 10 })
      await server.act('read')
      await client.act('close')
      await server.act('close')
      await wiring.sweep()
      const labels = { client_workload: a.name, server_workload: b.name }
      for (const reporter of ['client', 'server'])
        expect(wiring.value('netvitals_edge_connects_total', { ...labels, reporter })).toBe(30)
      expect(wiring.value('netvitals_edge_sent_bytes_total', { ...labels, reporter: 'client' }) ?? 0).toBeLessThanOrEqual(80)
      expect(await readLost(wiring)).toBeGreaterThanOrEqual(2 * 30 - 8)
    } finally {
      await wiring.stop()
      await topology.dispose()
    }
  })

  it('of namespaces refuses the new ones, counts what it refuses, and goes on for those it has', async () => {
    const topology = await createTopology('nvg-full')
    vi.spyOn(limits as { tracerNamespaces: number }, 'tracerNamespaces', 'get').mockReturnValue(1)
    const wiring = await startWiring()
    vi.restoreAllMocks()
    try {
      const { a, b } = topology
      const storm = (namespace: typeof a, count: number) =>
        topology.run(namespace, 'tcp-storm', { address: '127.0.0.1', port: 5001, end: 'reset', count })
      await storm(a, 5)
      await storm(b, 40)
      await storm(a, 6)
      await wiring.sweep()
      const holder = [a, b].find(({ name }) => wiring.series('netvitals_tcp_rtt_seconds', { pod: name }).length > 0)
      const counts = { [a.name]: 11, [b.name]: 40 }
      if (holder !== undefined)
        await expectEvents(wiring, holder, 'netvitals_tcp_rtt_seconds', { '': 2 * (counts[holder.name] ?? 0) })
      // Either a was first, or some other of the machine's namespaces; b and what else came has no place: 40 durations, 80 round-trip times.
      expect(await readLost(wiring)).toBeGreaterThanOrEqual(3 * 40)
      for (const namespace of [a, b])
        await expectEvents(wiring, namespace, 'netvitals_tcp_connects_total', { connected: counts[namespace.name]! })
    } finally {
      await wiring.stop()
      await topology.dispose()
    }
  })
})

requireTraced('edge_dropped_packets_total', 'a full map of drops', () => {
  it('by edge costs those of new edges, not the sum of all, and is told', async () => {
    vi.spyOn(limits as { tracerKeys: number }, 'tracerKeys', 'get').mockReturnValue(64)
    const topology = await createTopology('nvg-full', { network: 85 })
    const wiring = await startWiring()
    vi.restoreAllMocks()
    try {
      const { a, b } = topology
      topology.exec(a, 'iptables', '-w', '-A', 'OUTPUT', '-p', 'udp', '-j', 'DROP')
      await topology.run(a, 'udp-send', { address: b.ipv4, port: 7001, count: 10 })
      const header = Buffer.from('450000000001000040110000', 'hex')
      const from = [10, 85, 0, 1]
      const others = Array.from({ length: 200 }, (_, i) =>
        Buffer.from([...header, ...from, 10, 85, 1, i, 0, 80, 0, 80, 0, 8, 0, 0]),
      )
      const hex = others.map((packet) => packet.toString('hex'))
      await topology.run(a, 'raw-send', { address: b.ipv4, hex })
      await topology.run(a, 'udp-send', { address: b.ipv4, port: 7001, count: 20 })
      await wiring.sweep()
      expect(wiring.value('netvitals_dropped_packets_total', { pod: a.name, category: 'netfilter' })).toBe(230)
      expect(wiring.value('netvitals_edge_dropped_packets_total', { client_workload: a.name, server_workload: b.name })).toBe(30)
      expect(await readLost(wiring)).toBeGreaterThanOrEqual(200 - 64)
    } finally {
      await wiring.stop()
      await topology.dispose()
    }
  })
})
