import { randomUUID } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { alertGroups } from '../../helm/rules/index.ts'
import { createScene, type Scene } from '../boards/scene.ts'
import { requireRoot } from '../truth/topology.ts'

/** Seconds; half an hour unless told. */
const seconds = Number(process.env.CALM_SECONDS || 1800)
const turnMs = 5000
/** A pod that comes and goes lives so long. */
const visitMs = 40_000
const visitEveryMs = 20_000
/** Between the end of one agent and the start of the next: a crash, and a rollout of the chart. */
const pausesMs = [1000, 30_000]

const project = path.resolve(import.meta.dirname, '../..')
const rules = path.join(project, 'helm/netvitals/rules')

const alerts = alertGroups.reduce((sum, group) => sum + group.alerts.length, 0)

/** What is healthy raises no alert: the rules as they are shipped, over half an hour of all kinds of load. */
requireRoot('calm', () => {
  let scene: Scene
  beforeAll(async () => {
    const ruleFiles = fs.readdirSync(rules).map((file) => path.join(rules, file))
    scene = await createScene({ name: 'nvs-calm', network: 88, port: 9498, ruleFiles })
  }, 60_000)
  afterAll(() => scene?.dispose())

  it(`no alert fires in ${seconds} s of healthy mixed load, restarts and pods that come and go`, {
    timeout: (seconds + 120) * 1000,
    retry: 0,
  }, async () => {
    const startedAtMs = performance.now()
    const isOver = (): boolean => performance.now() - startedAtMs > seconds * 1000
    const done = { requests: 0, queries: 0, connections: 0, bytes: 0, pods: 0, restarts: 0 }
    const { topology, host, pods, node, traffic, prometheus } = scene
    const [frontend, backend] = pods
    const every = async (ms: number, act: (turn: number) => Promise<unknown>): Promise<void> => {
      for (let turn = 0; !isOver(); turn++) {
        const beganAtMs = performance.now()
        await act(turn)
        await sleep(Math.max(0, ms - (performance.now() - beganAtMs)))
      }
    }
    const to = backend.ipv4
    await traffic.hold(backend, 'dns-traffic.mjs', 'serve', { addresses: [to] })
    await traffic.hold(backend, 'http-traffic.mjs', 'serve', { addresses: [to], ports: [8080] })
    const serve = await topology.hold(backend, 'tcp-serve', { address: to, port: 5001 })

    const visitors = new Map<string, object>()
    async function visit(): Promise<void> {
      const uid = randomUUID()
      const name = `job-${++done.pods}`
      visitors.set(uid, { uid, namespace: 'shop', name, workload: 'job', workload_type: 'job' })
      scene.nameAlso([...visitors.values()])
      const pod = await node.runAlone({ uid, namespace: 'shop', name }, 0)
      await sleep(visitMs)
      await pod.stop()
      visitors.delete(uid)
      scene.nameAlso([...visitors.values()])
    }
    const visits: Promise<void>[] = []

    await Promise.all([
      every(turnMs, async () => {
        const requests = [
          { method: 'GET', path: '/', count: 200 },
          { method: 'GET', path: '/status/404', count: 4 },
          { method: 'POST', path: '/status/201', count: 20, body: 500 },
        ]
        await traffic.run(frontend, 'http-traffic.mjs', 'ask', { host: to, port: 8080, requests, connections: 2 })
        done.requests += 448
      }),
      every(turnMs, async () => {
        const questions = ['A', 'AAAA'].flatMap((type) => [
          { name: 'nxdomain.api.shop.svc.cluster.local', type, count: 4 }, // as search lists make them
          { name: 'noerror2.shop.test', type, count: 20 },
        ])
        for (const client of [frontend, host]) {
          await traffic.run(client, 'dns-traffic.mjs', 'ask', { server: to, questions })
          done.queries += 48
        }
      }),
      every(turnMs, async () => {
        const count = 300
        const served = serve.act('serve', { count, bytes: 20_000 })
        await topology.run(frontend, 'tcp-exchange', { address: to, port: 5001, count, bytes: 2000 })
        await served
        done.connections += count
      }),
      every(2 * turnMs, async (turn) => {
        const port = 6000 + (turn % 100)
        const sink = await topology.hold(backend, 'tcp-sink', { address: to, port })
        const read = sink.act('read')
        await topology.run(host, 'tcp-bulk', { address: to, port, bytes: 20_000_000 })
        done.bytes += Number((await read).received)
        await sink.stop()
      }),
      every(visitEveryMs, async () => void visits.push(visit())),
      (async () => {
        for (const pauseMs of pausesMs) {
          await sleep((seconds * 1000) / (pausesMs.length + 1))
          await scene.stopAgent()
          await sleep(pauseMs)
          await scene.startAgent()
          done.restarts++
        }
      })(),
    ])
    await Promise.all(visits)
    const namesOf = (state: string): string[] =>
      prometheus
        .query(`count by (alertname, pod, namespace) (max_over_time(ALERTS{alertstate="${state}"}[${seconds + 120}s]))`)
        .map(({ metric }) => [metric.alertname, metric.namespace, metric.pod].filter(Boolean).join(' '))
        .sort()
    const [fired, pending] = [namesOf('firing'), namesOf('pending')]
    const { data } = prometheus.ask('/api/v1/rules') as { data: { groups: { rules: { health: string }[] }[] } }
    const rulesRead = data.groups.flatMap((group) => group.rules)
    expect(rulesRead).toHaveLength(alerts)
    expect(rulesRead.filter(({ health }) => health !== 'ok')).toEqual([])
    write({ fired, pending, done })
    expect(fired).toEqual([])
  })

  function write({ fired, pending, done }: { fired: string[]; pending: string[]; done: Record<string, number> }): void {
    const list = (names: readonly string[]): string =>
      names.length === 0 ? 'none' : names.map((name) => `\`${name}\``).join(', ')
    const count = (n: number): string => n.toLocaleString('en')
    const { requests = 0, queries = 0, connections = 0, bytes = 0, pods = 0, restarts = 0 } = done
    const text = `# A calm half hour

What is healthy raises no alert. \`make soak\` plays it, with the rules as they are shipped, a real Prometheus and the real
agent on a node with pods, and writes this page.

| | |
|---|---|
| Last | ${new Date().toISOString().slice(0, 10)}, Linux ${os.release()}, ${os.cpus().length} CPUs |
| Time | ${count(seconds)} s |
| Load | ${count(requests)} requests of HTTP, ${count(queries)} of DNS (a sixth of them what search lists try in vain), ${count(connections)} short connections, ${count(Math.round(bytes / 1e6))} MB in long ones |
| Pods that came and went | ${count(pods)} |
| Agents that ended and began again | ${restarts}, one after ${pausesMs[1]! / 1000} s, as in a rollout of the chart |
| Alerts | ${alerts} |
| Fired | ${list(fired)} |
| Pending for a while | ${list(pending)} |
`
    fs.writeFileSync(path.join(project, 'docs/calm.md'), text)
  }
})
