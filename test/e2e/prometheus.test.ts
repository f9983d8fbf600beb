import { execFileSync } from 'node:child_process'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { catalogue, type MetricName } from '../../agent/metrics/catalogue.ts'
import { createTopology, requireRoot, type Topology } from '../truth/topology.ts'
import { type Agent, startAgent } from './agent.ts'
import { type Prometheus, prometheusMissing, promtool, scrapes, startPrometheus } from './prometheus-server.ts'

requireRoot('a real Prometheus, two of them at different phases', () => {
  if (prometheusMissing !== undefined) return void it.skip(prometheusMissing)
  let topology: Topology
  let agent: Agent
  const servers: Prometheus[] = []

  beforeAll(async () => {
    topology = await createTopology('nvd-prometheus')
    agent = await startAgent(topology.a.name)
    for (const port of [9491, 9492]) {
      servers.push(startPrometheus(port, '127.0.0.1:10477', { namespace: topology.a.name }))
      await new Promise((resolve) => setTimeout(resolve, 700))
    }
    await vi.waitFor(
      () => {
        for (const { query } of servers) expect(query('up{job="netvitals"} == 1')).toHaveLength(1)
      },
      { timeout: 20_000, interval: 500 },
    )
    await scrapes(3) // so that their interval is known
  }, 60_000)

  afterAll(async () => {
    for (const server of servers) await server.stop()
    await agent?.stop()
    await topology?.dispose()
  })

  it('scrapes without an error', () => {
    for (const { ask } of servers) {
      const { data } = ask('/api/v1/targets') as { data: { activeTargets: { health: string; lastError: string }[] } }
      expect(data.activeTargets).toMatchObject([{ health: 'up', lastError: '' }])
    }
  })

  it('knows the type of every metric', () => {
    const { data } = servers[0]!.ask('/api/v1/metadata') as { data: Record<string, { type: string }[]> }
    const own = Object.entries(data).filter(([name]) => name.startsWith('netvitals_'))
    expect(own.length).toBeGreaterThan(80)
    for (const [name, [meta]] of own) {
      const entry = catalogue[(name in catalogue ? name : `${name}_total`) as MetricName]
      expect([name, meta?.type]).toEqual([name, entry.type])
    }
  })

  it('is content with all of it: promtool check metrics', () => {
    const input = agent.get('/metrics')
    expect(execFileSync(promtool ?? '', ['check', 'metrics'], { input, encoding: 'utf8' })).toBe('')
  })

  it('sees a burst of drops from 0, exactly, although all of it happened between two scrapes', async () => {
    topology.exec(topology.a, 'iptables', '-A', 'OUTPUT', '-p', 'udp', '--dport', '9', '-j', 'DROP')
    await topology.run(topology.a, 'udp-send', { address: '127.0.0.1', port: 9, count: 100 })
    await scrapes(5)
    const selector = 'netvitals_dropped_packets_total{reason="netfilter_drop",direction="out",pod=""}'
    for (const { samples, query } of servers) {
      const seen = samples(selector)
      expect([seen[0], seen.at(-1)]).toEqual([0, 100])
      expect(new Set(seen)).toEqual(new Set([0, 100]))
      expect(Number(query(`increase(${selector}[1m])`)[0]?.value?.[1])).toBeGreaterThan(0)
    }
    expect(agent.get('/metrics')).toMatch(
      /^netvitals_dropped_packets_total\{namespace="",pod="",reason="netfilter_drop".*\} 100$/m,
    )
  }, 30_000)

  it('sees no increase that did not happen when the agent restarts', async () => {
    await agent.stop()
    agent = await startAgent(topology.a.name)
    await scrapes(4)
    const selector = 'netvitals_tcp_sent_segments_total{pod=""}' // the scrapes themselves send segments
    for (const { samples, query } of servers) {
      const seen = samples(selector)
      expect(seen.length).toBeGreaterThan(5)
      expect(seen).toEqual([...seen].sort((x, y) => x - y))
      expect(seen[0]).toBeGreaterThan(0)
      expect(query(`resets(${selector}[5m])`)[0]?.value?.[1]).toBe('0')
    }
  }, 30_000)

  it('keeps a namespace that is gone with its last values, and ends it when a new one has its name', async () => {
    const departing = { name: 'nvd-prometheus-departs', ipv4: '127.0.0.1', ipv6: '::1', inode: 0 }
    const selector = `netvitals_udp_no_port_total{pod="${departing.name}"}`
    const ip = (...command: string[]): void => void execFileSync('ip', command)
    const send = async (count: number): Promise<void> => {
      ip('-n', departing.name, 'link', 'set', 'lo', 'up')
      await topology.run(departing, 'udp-send', { address: '127.0.0.1', port: 9, count })
    }
    const newest = ({ query }: Prometheus): number => Number(query(selector)[0]?.value?.[1])
    ip('netns', 'add', departing.name)
    await scrapes(2)
    await send(20)
    await scrapes(4)
    for (const { samples } of servers) expect([samples(selector)[0], samples(selector).at(-1)]).toEqual([0, 20])
    ip('netns', 'del', departing.name)
    await scrapes(4)
    expect(servers.map(newest)).toEqual([20, 20])
    ip('netns', 'add', departing.name)
    await send(3)
    await scrapes(4)
    expect(servers.map(newest)).toEqual([3, 3])
  }, 60_000)
})
