import { spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Agent, startAgent } from '../e2e/agent.ts'
import { type Prometheus, startPrometheus } from '../e2e/prometheus-server.ts'
import { createNode } from '../truth/pods.ts'
import { createTopology, FaultProcess, type Holder, holdFault, type Namespace, runFault } from '../truth/topology.ts'

const frontend = {
  uid: '11111111-1111-4111-8111-111111111111',
  namespace: 'shop',
  name: 'frontend-6d4cf56db6-x7k2p',
  workload: 'frontend',
  workload_type: 'deployment',
}
const backend = {
  uid: '22222222-2222-4222-8222-222222222222',
  namespace: 'shop',
  name: 'backend-0',
  workload: 'backend',
  workload_type: 'statefulset',
}

const ofBackend = `namespace="shop",pod="${backend.name}"`
/** What this machine cannot be made to count: its devices have no errors, and the node's own limits are not for a test to reach. */
export const recorded: SceneOptions['recorded'] = {
  counters: [
    'netvitals_dropped_packets_unattributed_total{reason="not_specified"}',
    ...['receive_drops', 'transmit_drops', 'receive_errors', 'transmit_errors'].map(
      (what) => `netvitals_device_${what}_total{device="eth0"}`,
    ),
    ...[
      'time_wait_overflows',
      'spurious_rtos',
      'memory_pressures',
      'challenge_acks',
      'retransmit_failures',
      'checksum_errors',
    ].map((what) => `netvitals_tcp_${what}_total{${ofBackend}}`),
    'netvitals_captured_packets_cut_total',
    'netvitals_captured_packets_unreadable_total',
  ],
  gauges: {
    netvitals_tcp_memory_bytes: 1e6,
    netvitals_tcp_memory_limit_bytes: 1e8,
    netvitals_tcp_orphans: 10,
    netvitals_tcp_orphans_limit: 1000,
  },
}

/** A node with two pods, frontend and backend, watched by the agent and a Prometheus, on which everything goes wrong. */
export interface Scene {
  readonly agent: Agent
  readonly prometheus: Prometheus
  readonly prometheusUrl: string
  /** The node's network namespace. */
  readonly host: Namespace
  /** Causes every fault that dashboards show and alerts tell of. */
  misbehave(): Promise<void>
  /** Faults that could not be caused, in words. */
  readonly failures: readonly string[]
  dispose(): Promise<void>
}

export interface SceneOptions {
  /** Begins the network namespaces' names and is used by one test file only. */
  readonly name: string
  readonly network: number
  /** Of Prometheus. */
  readonly port: number
  /** What this machine cannot be made to count, as an exporter would show it: counters grow by one each second. */
  readonly recorded: { readonly counters: readonly string[]; readonly gauges: Readonly<Record<string, number>> }
  readonly ruleFiles?: readonly string[]
}

const recordedPort = 10_478

export async function createScene({ name, network, port, recorded, ruleFiles = [] }: SceneOptions): Promise<Scene> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-scene-'))
  const podsFile = path.join(folder, 'pods.yaml')
  fs.writeFileSync(podsFile, JSON.stringify({ pods: [frontend, backend] }))
  const ending: (() => unknown)[] = [() => fs.rmSync(folder, { recursive: true, force: true })]
  const dispose = async (): Promise<void> => {
    for (const end of ending.splice(0).reverse()) await end()
  }
  try {
    const node = createNode(name)
    ending.push(() => node.dispose())
    const topology = await createTopology(`cni-${name}`, { router: true, network })
    ending.push(() => topology.dispose())
    const { a, b } = topology
    const host = topology.router!
    for (const [namespace, { uid, namespace: of, name: pod }] of [
      [a, frontend],
      [b, backend],
    ] as const)
      await node.run(namespace, { uid, namespace: of, name: pod })
    const agent = await startAgent(host.name, [
      '--identity.pods=file',
      `--identity.pods-file=${podsFile}`,
      '--capture.http-ports=8080',
    ])
    ending.push(() => agent.stop())
    const recording = startRecording(host, recorded)
    ending.push(() => recording.kill('SIGKILL'))
    const prometheus = startPrometheus(port, ['127.0.0.1:10477', `127.0.0.1:${recordedPort}`], {
      namespace: host.name,
      labels: { node: 'node-1', cluster: 'test' },
      ruleFiles,
    })
    ending.push(() => prometheus.stop())
    const traffic = createTraffic(ending)
    const failures: string[] = []
    return {
      failures,
      agent,
      prometheus,
      prometheusUrl: `http://127.0.0.1:${port}`,
      host,
      misbehave: () => misbehave(topology, host, traffic, failures),
      dispose,
    }
  } catch (error) {
    await dispose()
    throw error
  }
}

function startRecording({ name }: Namespace, { counters, gauges }: SceneOptions['recorded']) {
  const info = `netvitals_pod_info{namespace="shop",pod="${backend.name}",workload="backend",workload_type="statefulset",host_network="false"}`
  const program = `const since = Date.now(); require('node:http').createServer((_, response) => {
    const seconds = Math.round((Date.now() - since) / 1000)
    const counters = ${JSON.stringify(counters)}.map((series) => [series, seconds])
    const all = [...counters, ...Object.entries(${JSON.stringify({ ...gauges, [info]: 1 })})]
    response.setHeader('Content-Type', 'text/plain; version=0.0.4; charset=utf-8')
    response.end(all.map(([series, value]) => series + ' ' + value + '\\n').join(''))
  }).listen(${recordedPort}, '127.0.0.1')`
  return spawn('ip', ['netns', 'exec', name, process.execPath, '-e', program], { stdio: 'ignore' })
}

interface Traffic {
  run(namespace: Namespace, program: string, verb: string, args: object): Promise<unknown>
  hold(namespace: Namespace, program: string, verb: string, args: object): Promise<Holder>
}

function createTraffic(ending: (() => unknown)[]): Traffic {
  const start = ({ name }: Namespace, program: string, verb: string, args: object): FaultProcess => {
    const file = path.resolve(import.meta.dirname, '../truth', program)
    const command = ['netns', 'exec', name, process.execPath, file, verb, JSON.stringify(args)]
    const started = new FaultProcess(spawn('ip', command, { stdio: 'pipe' }), `${verb} in ${name}`)
    ending.push(() => started.stop())
    return started
  }
  return {
    run: (...args) => runFault(start(...args)),
    hold: (...args) => holdFault(start(...args)),
  }
}

type Topology = Awaited<ReturnType<typeof createTopology>>

async function misbehave(
  { a, b, exec, hold, run }: Topology,
  host: Namespace,
  traffic: Traffic,
  failures: string[],
): Promise<void> {
  const to = b.ipv4
  const firewall = (namespace: Namespace, ...rule: string[]): string => exec(namespace, 'iptables', '-w', ...rule)
  const drop = (namespace: Namespace, chain: string, ...match: string[]): string =>
    firewall(namespace, '-A', chain, ...match, '-j', 'DROP')
  const send = (from: Namespace, address: string, port: number, count: number, options: object = {}): Promise<unknown> =>
    run(from, 'udp-send', { address, port, count, ...options })
  const connect = (port: number, count: number, options: object = {}): Promise<Holder> =>
    hold(a, 'tcp-connect', { address: to, port, count, ...options })
  const listen = (port: number, options: object = {}): Promise<Holder> => hold(b, 'tcp-listen', { address: to, port, ...options })

  async function trackConnections(): Promise<void> {
    for (const namespace of [host, b])
      firewall(namespace, '-A', namespace === host ? 'FORWARD' : 'INPUT', '-m', 'conntrack', '--ctstate', 'INVALID', '-j', 'DROP')
    exec(host, 'sysctl', '-qw', 'net.netfilter.nf_conntrack_tcp_loose=0')
    await send(a, to, 9000, 100, { ports: 100 })
  }

  async function dropPackets(): Promise<void> {
    drop(host, 'FORWARD', '-p', 'udp', '--dport', '7001')
    drop(b, 'INPUT', '-p', 'udp', '--dport', '7002')
    drop(a, 'OUTPUT', '-p', 'udp', '--dport', '7003')
    drop(host, 'INPUT', '-p', 'udp', '--dport', '7004')
    for (const port of [7001, 7002, 7003]) await send(a, to, port, 200)
    await send(a, host.ipv4, 7004, 50)
    await send(a, to, 7009, 100) // nobody listens
    const reader = await hold(b, 'udp-listen', { address: to, port: 7010, receiveBufferBytes: 2000 })
    await send(a, to, 7010, 200)
    await reader.stop()
    await send(a, to, 7009, 10, { ttl: 1 })
    exec(host, 'ip', 'route', 'add', 'blackhole', '198.51.100.0/24')
    await send(a, '198.51.100.1', 7001, 20)
    await send(host, '198.51.100.1', 7001, 20)
    exec(host, 'ip', 'link', 'add', 'uplink', 'type', 'veth', 'peer', 'name', 'far')
    exec(host, 'ip', 'address', 'add', '192.0.2.1/24', 'dev', 'uplink')
    for (const end of ['uplink', 'far']) exec(host, 'ip', 'link', 'set', end, 'up')
    exec(host, 'ip', 'neighbour', 'add', '192.0.2.2', 'lladdr', '02:00:00:00:00:02', 'dev', 'uplink')
    exec(host, 'tc', 'qdisc', 'add', 'dev', 'uplink', 'root', 'tbf', 'rate', '100kbit', 'burst', '3000', 'limit', '5000')
    await send(host, '192.0.2.2', 9, 200, { bytes: 100 })
    await send(host, `${host.ipv4.slice(0, host.ipv4.lastIndexOf('.'))}.99`, 9, 3) // no such neighbour
  }

  async function failConnects(): Promise<void> {
    await connect(5009, 20) // refused
    drop(b, 'INPUT', '-p', 'tcp', '--dport', '5008')
    const unanswered = await connect(5008, 5, { wait: false, synRetries: 1 })
    await connect(5008, 250, { wait: false, synRetries: 6 }) // SYN_SENT for a minute
    const given = await connect(5008, 5, { wait: false })
    await given.act('close') // abandoned
    drop(a, 'INPUT', '-p', 'tcp', '--sport', '5015')
    await listen(5015)
    await connect(5015, 600, { wait: false, synRetries: 6 }) // SYN_RECV there
    await sleep(4000)
    await unanswered.stop()
  }

  async function leak(): Promise<void> {
    const server = await listen(5016)
    const client = await connect(5016, 600)
    await server.act('accept', { count: 600 })
    await client.act('shutdown') // FIN_WAIT2 here, CLOSE_WAIT there
    const serve = await hold(b, 'tcp-serve', { address: to, port: 5017 })
    const served = serve.act('serve', { count: 500, bytes: 1000 })
    await run(a, 'tcp-exchange', { address: to, port: 5017, count: 500, bytes: 1000, resetEvery: 50 })
    await served
    const resetting = await listen(5018)
    await connect(5018, 30)
    await resetting.act('accept', { count: 30 })
    await resetting.act('reset')
    const unread = await listen(5019)
    const writer = await connect(5019, 10)
    await unread.act('accept', { count: 10 })
    await writer.act('send', { bytes: 500 })
    await unread.act('close') // with bytes unread
  }

  async function loseSegments(): Promise<void> {
    exec(a, 'ip', 'link', 'set', 'eth0', 'gso_max_segs', '4')
    drop(b, 'INPUT', '-p', 'tcp', '--dport', '5010', '-m', 'statistic', '--mode', 'nth', '--packet', '19', '--every', '20')
    const sink = await hold(b, 'tcp-sink', { address: to, port: 5010 })
    const read = sink.act('read')
    await run(a, 'tcp-bulk', { address: to, port: 5010, bytes: 8_000_000 })
    await read
    const server = await listen(5011)
    const client = await connect(5011, 10)
    await server.act('accept', { count: 10 })
    const silence = ['INPUT', '-p', 'tcp', '--dport', '5011']
    drop(b, ...(silence as [string, ...string[]]))
    await client.act('send', { bytes: 100 })
    await sleep(1500)
    firewall(b, '-D', ...silence, '-j', 'DROP')
  }

  async function fillQueues(): Promise<void> {
    await listen(5013, { backlog: 4 })
    await connect(5013, 5)
    await connect(5013, 3, { wait: false, synRetries: 6 })
    const slow = await listen(5012)
    const fast = await connect(5012, 3)
    await slow.act('accept', { count: 3 })
    for (let i = 0; i < 20; i++) {
      await fast.act('send', { bytes: 1_000_000 }) // until the window is zero
      await sleep(100)
    }
    exec(b, 'sysctl', '-qw', 'net.ipv4.tcp_syncookies=2')
    const server = await listen(5014)
    await connect(5014, 5)
    await server.act('accept', { count: 5 })
    exec(b, 'sysctl', '-qw', 'net.ipv4.tcp_syncookies=1')
  }

  /** Of the pods each other, and of the node and a pod. */
  const pairs = [
    [a, b],
    [host, b],
    [a, host],
  ] as const

  const askNames = (): Promise<unknown> =>
    Promise.all([b, host].map((server) => traffic.hold(server, 'dns-traffic.mjs', 'serve', { addresses: [server.ipv4] }))).then(
      () => Promise.all(pairs.map(([client, server]) => askNamesOf(client, server.ipv4))),
    )
  async function askNamesOf(client: Namespace, server: string): Promise<void> {
    const ask = (...names: string[]): Promise<unknown> =>
      traffic.run(client, 'dns-traffic.mjs', 'ask', {
        server,
        questions: names.flatMap((one) => ['A', 'AAAA'].map((type) => ({ name: one, type, count: 10 }))),
        waitMs: 500,
      })
    await ask('noerror2.shop.test', 'nxdomain.shop.test', 'servfail.shop.test', 'refused.shop.test', 'silent.shop.test')
    await ask('truncated2.shop.test', 'late100.shop.test')
    await ask('nxdomain.api.shop.svc.cluster.local')
    await ask('nxdomain.api') // what the search list was for
  }

  const askPages = (): Promise<unknown> =>
    Promise.all(
      [b, host].map((server) => traffic.hold(server, 'http-traffic.mjs', 'serve', { addresses: [server.ipv4], ports: [8080] })),
    ).then(() => Promise.all(pairs.map(([client, server]) => askPagesOf(client, server.ipv4))))
  async function askPagesOf(client: Namespace, server: string): Promise<void> {
    const get = (address: string, count: number): object => ({ method: 'GET', path: address, count })
    const requests = [
      get('/', 100),
      get('/status/404', 20),
      get('/status/503', 30),
      get('/after/50', 5),
      { method: 'POST', path: '/status/201', count: 10, body: 100 },
    ]
    await traffic.run(client, 'http-traffic.mjs', 'ask', { host: server, port: 8080, requests })
    await traffic.run(client, 'http-traffic.mjs', 'ask', { host: server, port: 8080, requests: [get('/never', 5)], close: true })
    await traffic.run(client, 'http-traffic.mjs', 'speakHttp2', { host: server, port: 8080 }).catch(() => undefined)
  }

  async function exhaustPorts(): Promise<void> {
    await listen(5020)
    exec(a, 'sysctl', '-qw', 'net.ipv4.ip_local_port_range=61000 61009')
    await connect(5020, 20)
  }

  async function shrinkPath(): Promise<void> {
    exec(host, 'sysctl', '-qw', 'net.ipv4.icmp_ratelimit=0')
    exec(host, 'ip', 'link', 'set', 'eth1', 'mtu', '1300')
    await send(a, to, 9000, 50, { bytes: 1400, unfragmented: true })
  }

  const attempt = (act: () => Promise<unknown>): Promise<unknown> =>
    act().catch((error: Error) => failures.push(`${act.name}: ${error.message}`))
  await attempt(trackConnections)
  await Promise.all([dropPackets, failConnects, loseSegments, fillQueues, askNames, askPages].map(attempt))
  for (const act of [leak, exhaustPorts, shrinkPath]) await attempt(act)
}
