import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { catalogue, type MetricName } from '../../agent/metrics/catalogue.ts'
import { createTopology, requireRoot, type Topology } from '../truth/topology.ts'
import { type Agent, startAgent } from './agent.ts'

const root = path.resolve(import.meta.dirname, '../..')
const findProgram = (name: string): string | undefined =>
  [path.join(root, '.cache/prometheus/usr/bin', name), `/usr/bin/${name}`, `/usr/local/bin/${name}`].find((file) =>
    fs.existsSync(file),
  )
const prometheus = findProgram('prometheus')
const promtool = findProgram('promtool')

const isThere = prometheus !== undefined && promtool !== undefined
if (!isThere && process.env.CI === 'true') throw new Error('no prometheus and promtool: make test unpacks them')
if (!isThere) console.warn('SKIPPED, no prometheus and promtool (make test unpacks them): a real Prometheus')

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
const scrapeSeconds = 2

requireRoot('a real Prometheus, two of them at different phases', () => {
  if (!isThere) return void it.skip('no prometheus and promtool: make test unpacks them')
  let topology: Topology
  let agent: Agent
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-prometheus-'))
  const servers: ChildProcess[] = []
  const ports = [9491, 9492] as const

  const ask = (port: number, query: string): unknown =>
    JSON.parse(
      execFileSync(
        'ip',
        [
          'netns',
          'exec',
          topology.a.name,
          process.execPath,
          '-e',
          `fetch(${JSON.stringify(`http://127.0.0.1:${port}${query}`)}).then((answer) => answer.text()).then(console.log)`,
        ],
        {
          encoding: 'utf8',
        },
      ),
    )
  const query = (
    port: number,
    expression: string,
  ): { metric: Record<string, string>; value?: [number, string]; values?: [number, string][] }[] =>
    (ask(port, `/api/v1/query?query=${encodeURIComponent(expression)}`) as { data: { result: [] } }).data.result
  /** The values of the one series, in the order they were scraped. */
  const samples = (port: number, selector: string): number[] =>
    query(port, `${selector}[5m]`)[0]?.values?.map(([, value]) => Number(value)) ?? []
  const scrapes = (count: number): Promise<void> => sleep(count * scrapeSeconds * 1000 + 500)

  beforeAll(async () => {
    topology = await createTopology('nvd')
    agent = await startAgent(topology.a.name)
    const configuration = path.join(folder, 'prometheus.yml')
    fs.writeFileSync(
      configuration,
      `global: { scrape_interval: ${scrapeSeconds}s, scrape_timeout: ${scrapeSeconds}s }
scrape_configs:
  - { job_name: netvitals, honor_labels: true, static_configs: [{ targets: ["127.0.0.1:10477"] }] }
`,
    )
    for (const port of ports) {
      servers.push(
        spawn(
          'ip',
          [
            'netns',
            'exec',
            topology.a.name,
            prometheus ?? '',
            `--config.file=${configuration}`,
            `--storage.tsdb.path=${path.join(folder, String(port))}`,
            `--web.listen-address=127.0.0.1:${port}`,
            '--log.level=error',
          ],
          {
            stdio: 'ignore',
          },
        ),
      )
      await sleep(700)
    }
    await vi.waitFor(() => ports.forEach((port) => expect(query(port, 'up{job="netvitals"} == 1')).toHaveLength(1)), {
      timeout: 20_000,
      interval: 500,
    })
    await scrapes(3) // so that they know their interval
  }, 60_000)

  afterAll(async () => {
    for (const server of servers) server.kill('SIGKILL')
    await agent?.stop()
    await topology?.dispose()
    fs.rmSync(folder, { recursive: true, force: true })
  })

  it('scrapes without an error', () => {
    for (const port of ports) {
      const { data } = ask(port, '/api/v1/targets') as { data: { activeTargets: { health: string; lastError: string }[] } }
      expect(data.activeTargets).toMatchObject([{ health: 'up', lastError: '' }])
    }
  })

  it('knows the type of every metric', () => {
    const { data } = ask(ports[0], '/api/v1/metadata') as { data: Record<string, { type: string; help: string }[]> }
    const own = Object.entries(data).filter(([name]) => name.startsWith('netvitals_'))
    expect(own.length).toBeGreaterThan(80)
    for (const [name, [meta]] of own) {
      const entry = catalogue[(name in catalogue ? name : `${name}_total`) as MetricName]
      expect([name, meta?.type]).toEqual([name, entry.type])
    }
  })

  it('is content with all of it: promtool check metrics', () => {
    const result = execFileSync(promtool ?? '', ['check', 'metrics'], {
      input: agent.get('/metrics'),
      encoding: 'utf8',
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    expect(result).toBe('')
  })

  it('sees a burst of drops from 0, exactly, although all of it happened between two scrapes', async () => {
    topology.exec(topology.a, 'iptables', '-A', 'OUTPUT', '-p', 'udp', '--dport', '9', '-j', 'DROP')
    await topology.run(topology.a, 'udp-send', { address: '127.0.0.1', port: 9, count: 100 })
    await scrapes(5)
    for (const port of ports) {
      const seen = samples(port, 'netvitals_dropped_packets_total{reason="netfilter_drop",direction="out",pod=""}')
      expect(seen[0]).toBe(0)
      expect(seen.at(-1)).toBe(100)
      expect(new Set(seen)).toEqual(new Set([0, 100]))
      expect(
        Number(
          query(port, 'increase(netvitals_dropped_packets_total{reason="netfilter_drop",direction="out",pod=""}[1m])')[0]
            ?.value?.[1],
        ),
      ).toBeGreaterThan(0)
    }
    expect(agent.get('/metrics')).toMatch(
      /^netvitals_dropped_packets_total\{namespace="",pod="",reason="netfilter_drop".*\} 100$/m,
    )
  }, 30_000)

  it('sees no increase that did not happen when the agent restarts', async () => {
    await agent.stop()
    agent = await startAgent(topology.a.name)
    await scrapes(4)
    for (const port of ports) {
      const selector = 'netvitals_tcp_sent_segments_total{pod=""}' // the scrapes themselves send segments
      const seen = samples(port, selector)
      expect(seen.length).toBeGreaterThan(5)
      expect(seen).toEqual([...seen].sort((x, y) => x - y))
      expect(seen[0]).toBeGreaterThan(0)
      expect(query(port, `resets(${selector}[5m])`)[0]?.value?.[1]).toBe('0')
    }
  }, 30_000)

  it('keeps a namespace that is gone with its last values, and ends it when a new one has its name', async () => {
    const name = 'nvd-departs'
    const selector = `netvitals_udp_no_port_total{pod="${name}"}`
    const send = (count: number): void => {
      execFileSync('ip', ['-n', name, 'link', 'set', 'lo', 'up'])
      execFileSync('ip', [
        'netns',
        'exec',
        name,
        process.execPath,
        '-e',
        `const s = require('node:dgram').createSocket('udp4'); let n = 0; const next = () => n++ < ${count} ? s.send('x', 9, '127.0.0.1', () => setTimeout(next, 1)) : s.close(); s.on('error', () => {}); next()`,
      ])
    }
    execFileSync('ip', ['netns', 'add', name])
    try {
      await scrapes(2)
      send(20)
      await scrapes(4)
      for (const port of ports) expect([samples(port, selector)[0], samples(port, selector).at(-1)]).toEqual([0, 20])
      execFileSync('ip', ['netns', 'del', name])
      await scrapes(4)
      for (const port of ports) expect(Number(query(port, selector)[0]?.value?.[1])).toBe(20)
      execFileSync('ip', ['netns', 'add', name])
      send(3)
      await scrapes(4)
      for (const port of ports) expect(Number(query(port, selector)[0]?.value?.[1])).toBe(3)
    } finally {
      execFileSync('sh', ['-c', `ip netns del ${name} 2>/dev/null || true`])
    }
  }, 60_000)
})
