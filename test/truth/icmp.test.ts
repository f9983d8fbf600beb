import { expect, it } from 'vitest'
import { startWiring } from '../wiring.ts'
import { expectEvents, readStack } from './events.ts'
import { createTopology, requireRoot } from './topology.ts'

requireRoot('ICMP', () => {
  it('fragmentation needed: sent by the router, once for each packet that did not fit', async () => {
    const topology = await createTopology('nvg-icmp', { router: true })
    const wiring = await startWiring()
    try {
      const { a, b } = topology
      const router = topology.router!
      topology.exec(router, 'sysctl', '-qw', 'net.ipv4.icmp_ratelimit=0')
      topology.exec(router, 'ip', 'link', 'set', 'eth1', 'mtu', '1300')
      await wiring.sweep()
      const send = (bytes: number, count: number) =>
        topology.run(a, 'udp-send', { address: b.ipv4, port: 9000, bytes, count, unfragmented: true })
      await send(1400, 100)
      await send(1200, 7) // these fit; b answers that nobody listens
      await expectEvents(wiring, router, 'netvitals_icmp_sent_fragmentation_needed_total', { '': 100 })
      expect(readStack(topology, router)('Icmp.OutDestUnreachs')).toBe(100)
      for (const other of [a, b]) await expectEvents(wiring, other, 'netvitals_icmp_sent_fragmentation_needed_total', {})
    } finally {
      await wiring.stop()
      await topology.dispose()
    }
  })
})
