import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { startAgent } from '../e2e/agent.ts'
import { startWiring } from '../wiring.ts'
import { expectEvents, readStack } from './events.ts'
import { createTopology, requireTracer, slowness } from './topology.ts'

requireTracer('ICMP', () => {
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

  it('fragmentation needed: received by who sent what did not fit, read from packets', async () => {
    const topology = await createTopology('nvg-icmp', { router: true })
    const { a, b, router } = topology
    const agent = await startAgent(router!.name, []) // the router is its host
    try {
      topology.exec(router!, 'sysctl', '-qw', 'net.ipv4.icmp_ratelimit=0')
      topology.exec(router!, 'ip', 'link', 'set', 'eth1', 'mtu', '1300')
      const send = (bytes: number, count: number) =>
        topology.run(a, 'udp-send', { address: b.ipv4, port: 9000, bytes, count, unfragmented: true })
      const read = (): string[] =>
        agent
          .get('/metrics')
          .split('\n')
          .filter((line) => line.startsWith('netvitals_icmp_received_fragmentation_needed_total') && !line.endsWith(' 0'))
      await expect.poll(() => agent.get('/metrics'), { timeout: 5000 * slowness }).toContain(`pod="${a.name}"`)
      await send(1400, 100)
      await send(1200, 7)
      const expected = [`netvitals_icmp_received_fragmentation_needed_total{namespace="@netns",pod="${a.name}"} 100`]
      await expect.poll(read, { timeout: 5000 * slowness, interval: 200 }).toEqual(expected)
      await sleep(500)
      expect(read()).toEqual(expected)
      expect(readStack(topology, a)('Icmp.InDestUnreachs')).toBeGreaterThanOrEqual(100)
    } finally {
      await agent.stop()
      await topology.dispose()
    }
  })
})
