import { spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { type Agent, startAgent } from '../e2e/agent.ts'
import { type Prometheus, startPrometheus } from '../e2e/prometheus-server.ts'
import { createNode } from '../truth/pods.ts'
import {
  addNamespace,
  createTopology,
  FaultProcess,
  type Holder,
  holdFault,
  type Namespace,
  removeNamespaces,
  runFault,
} from '../truth/topology.ts'
import { misbehave } from './misbehave.ts'

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
const dropped = (reason: string, category: string, direction: string, row = 'namespace="",pod=""'): string =>
  `netvitals_dropped_packets_total{${row},reason="${reason}",category="${category}",protocol="udp",direction="${direction}"}`
/** What this machine cannot be made to count: its devices have no errors, and the node's own limits are not for a test to reach. */
const recorded = {
  /** Which grow by 20 each second. */
  counters: [
    'netvitals_dropped_packets_unattributed_total{reason="not_specified"}',
    dropped('netfilter_drop', 'netfilter', 'forward'),
    dropped('netfilter_drop', 'netfilter', 'forward', ofBackend),
    dropped('nomem', 'memory', 'in'),
    ...['received_packets', 'transmitted_packets', 'receive_drops', 'transmit_drops', 'receive_errors', 'transmit_errors'].map(
      (what) => `netvitals_device_${what}_total{device="eth9"}`,
    ),
    ...[
      'time_wait_overflows',
      'spurious_rtos',
      'memory_pressures',
      'challenge_acks',
      'retransmit_failures',
      'checksum_errors',
    ].map((what) => `netvitals_tcp_${what}_total{${ofBackend}}`),
    ...['receive_queue_drops', 'zero_window_wanted'].map((what) => `netvitals_tcp_${what}_total{${ofBackend}}`),
    ...['drop', 'insert_failed'].map((what) => `netvitals_conntrack_${what}_total{${ofBackend}}`),
    ...['cut', 'unreadable'].map((what) => `netvitals_captured_packets_${what}_total`),
    ...['capture_ring', 'map_full'].map((kind) => `netvitals_lost_events_total{kind="${kind}"}`),
    'netvitals_softnet_drops_total',
    'netvitals_neighbour_table_full_total{family="ipv4"}',
    'netvitals_series_dropped_total',
    'netvitals_child_cpu_seconds_total{child="drops"}',
  ],
  gauges: {
    netvitals_tcp_memory_bytes: 99e6,
    netvitals_tcp_memory_limit_bytes: 100e6,
    netvitals_tcp_orphans: 10,
    netvitals_tcp_orphans_limit: 1000,
    'netvitals_neighbour_entries{family="ipv4"}': 900,
    'netvitals_neighbour_entries_limit{family="ipv4"}': 1000,
    'netvitals_child_resident_memory_bytes{child="drops"}': 50e6,
    'netvitals_source_success{source="trace-drops"}': 0,
    'netvitals_names_up{provider="pods"}': 0,
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
  readonly ruleFiles?: readonly string[]
}

const [agentPort, recordedPort] = [10_477, 10_478]
/** Of the agent's own series. */
export const agentInstance = `127.0.0.1:${agentPort}`

export async function createScene({ name, network, port, ruleFiles = [] }: SceneOptions): Promise<Scene> {
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
    removeNamespaces(name)
    ending.push(() => removeNamespaces(name))
    /** Nobody's but its own. */
    const lonely = addNamespace(`${name}-lonely`, ['127.0.0.1', '::1'])
    const places = [
      [a, frontend],
      [b, backend],
    ] as const
    for (const [place, { uid, namespace, name: pod }] of places) await node.run(place, { uid, namespace, name: pod })
    const agent = await startAgent(host.name, [
      '--identity.pods=file',
      `--identity.pods-file=${podsFile}`,
      '--capture.http-ports=8080',
    ])
    ending.push(() => agent.stop())
    const recording = startRecording(host)
    ending.push(() => recording.kill('SIGKILL'))
    const prometheus = startPrometheus(port, [agentInstance, `127.0.0.1:${recordedPort}`], {
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
      misbehave: () => misbehave(topology, { host, lonely }, traffic, failures),
      dispose,
    }
  } catch (error) {
    await dispose()
    throw error
  }
}

/** An exporter of what is recorded. */
function startRecording({ name }: Namespace) {
  const { counters, gauges } = recorded
  const info = `netvitals_pod_info{namespace="shop",pod="${backend.name}",workload="backend",workload_type="statefulset",host_network="false"}`
  const program = `const since = Date.now(); require('node:http').createServer((_, response) => {
    const seconds = Math.round((Date.now() - since) / 1000)
    const counters = ${JSON.stringify(counters)}.map((series) => [series, 20 * seconds])
    const all = [...counters, ...Object.entries(${JSON.stringify({ ...gauges, [info]: 1 })})]
    response.setHeader('Content-Type', 'text/plain; version=0.0.4; charset=utf-8')
    response.end(all.map(([series, value]) => series + ' ' + value + '\\n').join(''))
  }).listen(${recordedPort}, '127.0.0.1')`
  return spawn('ip', ['netns', 'exec', name, process.execPath, '-e', program], { stdio: 'ignore' })
}

/** Programs of test/truth. */
export interface Traffic {
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
