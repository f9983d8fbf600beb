import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { MetricName } from '../../agent/metrics/catalogue.ts'
import { parseLabels } from '../../agent/metrics/label-text.ts'
import { startWiring, type Wiring } from '../wiring.ts'
import { expectNothingLost, readStack } from './events.ts'
import { createTopology, type Holder, type Namespace, requireTraced, slowness, type Topology } from './topology.ts'

type Reporter = 'client' | 'server'
const reporters = ['client', 'server'] as const
const short = (metric: string): string => metric.slice('netvitals_edge_'.length)

/** What one of the two has seen of connections from a to b: by metric, and by outcome. */
function readEdge(wiring: Wiring, [client, server]: readonly [Namespace, Namespace], reporter: Reporter): Record<string, number> {
  const values: Record<string, number> = {}
  for (const metric of metrics) {
    for (const { labels: text, value } of wiring.series(metric, { reporter })) {
      const { client_workload, server_workload, outcome } = parseLabels(text)
      if (client_workload !== client.name || server_workload !== server.name) continue
      const name = outcome === undefined ? short(metric) : `${short(metric)} ${outcome}`
      values[name] = typeof value === 'number' ? value : 'count' in value ? value.count : Number.NaN
    }
  }
  return values
}
const metrics: readonly MetricName[] = [
  'netvitals_edge_sent_bytes_total',
  'netvitals_edge_received_bytes_total',
  'netvitals_edge_connects_total',
  'netvitals_edge_retransmitted_segments_total',
  'netvitals_edge_resets_total',
  'netvitals_edge_rtt_seconds',
  'netvitals_edge_connections',
]

requireTraced('edge_connects_total', 'edges', () => {
  let topology: Topology
  let wiring: Wiring
  beforeEach(async () => {
    topology = await createTopology('nve-edges', { network: 83 })
    wiring = await startWiring()
    await wiring.sweep()
  })
  afterEach(async () => {
    if (wiring) await expectNothingLost(wiring)
    await wiring?.stop()
    await topology?.dispose()
  })

  /** Of connections from a to b; it may take a while until they are so, and then they stay. */
  async function expectEdge(expected: Record<string, number>, by: readonly Reporter[] = reporters): Promise<void> {
    const { a, b } = topology
    for (const reporter of by) {
      const read = async (): Promise<Record<string, number>> => {
        await wiring.sweep()
        return readEdge(wiring, [a, b], reporter)
      }
      await expect.poll(read, { timeout: 6000 * slowness, interval: 100 }).toMatchObject(expected)
      await sleep(100)
      expect(await read()).toMatchObject(expected)
    }
  }

  describe.each(['ipv4', 'ipv6'] as const)('%s', (family) => {
    async function connect(count: number): Promise<{ client: Holder; server: Holder }> {
      const { a, b } = topology
      const server = await topology.hold(b, 'tcp-listen', { address: b[family], port: 5001 })
      const client = await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count })
      await server.act('accept', { count })
      return { client, server }
    }

    it('payload in both directions, while the connections live and when they are closed', async () => {
      const { client, server } = await connect(10)
      await expectEdge({ 'connects_total connected': 10, connections: 10 })
      await client.act('send', { bytes: 1000 })
      await server.act('send', { bytes: 300 })
      await expectEdge({ sent_bytes_total: 10_000, received_bytes_total: 3000, connections: 10 })
      await client.act('read')
      await server.act('read')
      await client.act('send', { bytes: 24 })
      await server.act('read')
      await client.act('close')
      await expectEdge({ sent_bytes_total: 10_240, received_bytes_total: 3000, connections: 0 })
      await server.act('close')
      const closed = { sent_bytes_total: 10_240, received_bytes_total: 3000, rtt_seconds: 10, connections: 0 }
      await expectEdge({ ...closed, 'connects_total connected': 10 })
      for (const reporter of reporters) expect(readEdge(wiring, [topology.a, topology.b], reporter)).not.toHaveProperty('resets_total')
    })
  })
})
