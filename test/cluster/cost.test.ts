import { execFile } from 'node:child_process'
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  agentNamespace,
  agentPids,
  agentPod,
  ask,
  createPods,
  createWorkload,
  faultsContainer,
  installAgent,
  kubectl,
  type Pod,
  readMetrics,
  remove,
  removeAgent,
  runningPod,
  tiers,
} from './cluster.ts'

const namespace = 'nvh-cost'
const pods = 60
const socketsOfPod = 20
/** So long is measured in calm, and so long in the storm. The README's figures are of 60. */
const seconds = Number(process.env.COST_SECONDS ?? 30)
const scrapeSeconds = 15
const [closedPort, silentPort, webPort] = [7000, 53, 8080]

/** Listens, connects to itself, and waits. */
const crowdProgram = `
  const server = net.createServer(() => {}).listen(5000, () => {
    for (let i = 0; i < ${socketsOfPod / 2}; i++) net.connect(5000)
  })`

const webProgram = `http.createServer((_, answer) => answer.end('ok')).listen(${webPort})`

/** DNS queries, each of another name, to where nobody answers, for so many seconds. */
const queriesProgram = `
  const [address, seconds] = process.argv.slice(1)
  const socket = dgram.createSocket('udp4').bind(0, () => {
    const until = Date.now() + seconds * 1000
    let sent = 0
    const burst = () => {
      if (Date.now() > until) return socket.close()
      for (let i = 0; i < 64; i++, sent++) {
        const label = Buffer.from('n' + String(sent).padStart(9, '0'))
        const head = Buffer.from([sent >> 8, sent, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, label.length])
        socket.send(Buffer.concat([head, label, Buffer.from([4, ...Buffer.from('test'), 0, 0, 1, 0, 1])]), ${silentPort}, address)
      }
      setImmediate(burst)
    }
    burst()
  })`

/** Requests of HTTP by eight connections, for so many seconds. */
const requestsProgram = `
  const [address, seconds] = process.argv.slice(1)
  const until = Date.now() + seconds * 1000
  const agent = new http.Agent({ keepAlive: true, maxSockets: 8 })
  const ask = () => {
    if (Date.now() > until) return agent.destroy()
    http.get({ host: address, port: ${webPort}, agent }, (answer) => answer.resume().on('end', ask)).on('error', ask)
  }
  for (let i = 0; i < 8; i++) ask()`

/** Of the agent's container, by its control groups (version 1). */
interface Usage {
  readonly cpuSeconds: number
  /** What the kubelet holds against the limit: all but pages of files that were not used of late. */
  readonly workingSetMiB: number
  /** Without pages of files. */
  readonly rssMiB: number
}

function readUsage(pid: number): Usage {
  const groups = fs.readFileSync(`/proc/${pid}/cgroup`, 'utf8')
  const read = (controller: string, file: string): string => {
    const [, group] = new RegExp(`^\\d+:(?:[^:]*,)?${controller}(?:,[^:]*)?:(.*)$`, 'm').exec(groups) ?? []
    return fs.readFileSync(`/sys/fs/cgroup/${controller}${group}/${file}`, 'utf8')
  }
  const memory = read('memory', 'memory.stat')
  const bytesOf = (name: string): number => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(memory)?.[1])
  const used = Number(read('memory', 'memory.usage_in_bytes'))
  return {
    cpuSeconds: Number(read('cpuacct', 'cpuacct.usage')) / 1e9,
    workingSetMiB: (used - bytesOf('total_inactive_file')) / 2 ** 20,
    rssMiB: bytesOf('total_rss') / 2 ** 20,
  }
}

/** Scrapes like Prometheus for a while. Returns the CPU's thousandths it took, and the most memory it held. */
async function measure(pid: number): Promise<Readonly<Record<'cpu' | 'workingSet' | 'rss', number>>> {
  const usages = [readUsage(pid)]
  for (let second = 1; second <= seconds; second++) {
    if (second % scrapeSeconds === 1) await ask('/metrics')
    await sleep(1000)
    usages.push(readUsage(pid))
  }
  const most = (of: (usage: Usage) => number): number => Math.ceil(Math.max(...usages.map(of)))
  return {
    cpu: Math.round(((usages.at(-1)!.cpuSeconds - usages[0]!.cpuSeconds) / seconds) * 1000),
    workingSet: most(({ workingSetMiB }) => workingSetMiB),
    rss: most(({ rssMiB }) => rssMiB),
  }
}

async function readTotals(): Promise<Readonly<Record<'drops' | 'connects' | 'queries' | 'requests' | 'series', number>>> {
  const lines = await readMetrics()
  const sum = (metric: string): number =>
    lines.filter((line) => line.metric === metric).reduce((total, { value }) => total + value, 0)
  return {
    drops: sum('dropped_packets_total'),
    connects: sum('tcp_connects_total'),
    queries: sum('dns_queries_total'),
    requests: sum('http_requests_total'),
    series: lines.length,
  }
}

describe(`the agent's CPU and memory, ${pods} pods of ${socketsOfPod} sockets on the node`, () => {
  let client: Pod
  let server: Pod
  let web: Pod
  const table: string[] = []

  beforeAll(async () => {
    ;({ client, server } = await createPods(namespace, { client: 'Pod', server: 'Pod' }))
    const running = (program: string) => ({ containers: [{ ...faultsContainer, command: ['node', '-e', program] }] })
    createWorkload(namespace, 'Pod', 'web', running(webProgram))
    createWorkload(namespace, 'Deployment', 'crowd', running(crowdProgram))
    kubectl('-n', namespace, 'scale', 'deployment/crowd', `--replicas=${pods}`)
    kubectl('-n', namespace, 'rollout', 'status', 'deployment/crowd', '--timeout=300s')
    web = await runningPod(namespace, 'web')
  }, 400_000)
  afterAll(() => {
    const head =
      'tier     series   CPU (m)  MiB: working set  rss   storm: CPU (m)  working set  rss   drops/s  connects/s  queries/s  requests/s'
    console.log([head, ...table].join('\n'))
    remove('namespace', namespace)
    removeAgent()
  })

  async function storm(): Promise<void> {
    const endsMs = Date.now() + seconds * 1000
    const untilTheEnd = async (act: () => Promise<unknown>): Promise<void> => {
      while (Date.now() < endsMs) await act()
    }
    const run = (program: string, { ip }: Pod): Promise<unknown> => {
      const node = ['node', '-e', program, ip, String(seconds)]
      return promisify(execFile)(process.env.CLUSTER!, ['kubectl', '-n', namespace, 'exec', client.name, '--', ...node])
    }
    await Promise.all([
      untilTheEnd(() => client.run('udp-send', { address: server.ip, port: closedPort, count: 100_000 })),
      untilTheEnd(() => client.run('tcp-storm', { address: server.ip, port: closedPort, count: 3000, end: 'refused' })),
      run(queriesProgram, server),
      run(requestsProgram, web),
    ])
  }

  const timeout = 2 * seconds * 1000 + 120_000
  it.each(tiers.map(({ name }) => name))('%s: within its limit, and never started again', { timeout }, async (tier) => {
    installAgent({ tier, 'capture.httpPorts': [webPort] })
    const [pid] = agentPids()
    const silent = await server.hold('udp-listen', { address: server.ip, port: silentPort })
    await sleep(10_000) // it has read all names, and V8 has settled
    const calm = await measure(pid!)
    const before = await readTotals()
    const [busy] = await Promise.all([measure(pid!), storm()])
    const after = await readTotals()
    await silent.stop()
    const perSecond = (what: 'drops' | 'connects' | 'queries' | 'requests'): string =>
      Math.round((after[what] - before[what]) / seconds).toLocaleString('en')
    const row = [tier, after.series, calm.cpu, calm.workingSet, calm.rss, busy.cpu, busy.workingSet, busy.rss]
    table.push([...row, ...(['drops', 'connects', 'queries', 'requests'] as const).map(perSecond)].join('\t'))
    expect(agentPod().restarts).toBe('0')
    const limits = kubectl('-n', agentNamespace, 'get', 'daemonset/netvitals', '-o', 'jsonpath={..limits.memory}')
    expect(busy.workingSet).toBeLessThan(Number.parseInt(limits, 10))
  })
})
