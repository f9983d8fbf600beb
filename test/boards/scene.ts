import { spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { type Agent, startAgent } from '../e2e/agent.ts'
import { type Prometheus, startPrometheus } from '../e2e/prometheus-server.ts'
import { createNode, type Node } from '../truth/pods.ts'
import {
  createTopology,
  FaultProcess,
  type Holder,
  holdFault,
  type Namespace,
  runFault,
  type Topology,
} from '../truth/topology.ts'

export const frontend = {
  uid: '11111111-1111-4111-8111-111111111111',
  namespace: 'shop',
  name: 'frontend-6d4cf56db6-x7k2p',
  workload: 'frontend',
  workload_type: 'deployment',
}
export const backend = {
  uid: '22222222-2222-4222-8222-222222222222',
  namespace: 'shop',
  name: 'backend-0',
  workload: 'backend',
  workload_type: 'statefulset',
}

/** A node with two pods, frontend and backend, watched by the agent and a Prometheus. */
export interface Scene {
  readonly topology: Topology
  /** The network namespace of the node. */
  readonly host: Namespace
  /** The pods' network namespaces. */
  readonly pods: readonly [frontend: Namespace, backend: Namespace]
  readonly node: Node
  readonly traffic: Traffic
  readonly prometheus: Prometheus
  readonly prometheusUrl: string
  /** What the agent is told of pods. */
  nameAlso(pods: readonly object[]): void
  stopAgent(): Promise<void>
  startAgent(): Promise<void>
  dispose(): Promise<void>
}

export interface SceneOptions {
  /** Begins the network namespaces' names and is used by one test file only. */
  readonly name: string
  readonly network: number
  /** Of Prometheus. */
  readonly port: number
  readonly ruleFiles?: readonly string[]
  /** Ports of the node's loopback that Prometheus scrapes beside the agent's. */
  readonly otherPorts?: readonly number[]
}

const agentPort = 10_477
/** Of the agent's own series. */
export const agentInstance = `127.0.0.1:${agentPort}`

export async function createScene({ name, network, port, ruleFiles = [], otherPorts = [] }: SceneOptions): Promise<Scene> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-scene-'))
  const podsFile = path.join(folder, 'pods.yaml')
  const nameAlso = (pods: readonly object[]): void =>
    fs.writeFileSync(podsFile, JSON.stringify({ pods: [frontend, backend, ...pods] }))
  nameAlso([])
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
    const places = [
      [a, frontend],
      [b, backend],
    ] as const
    for (const [place, { uid, namespace, name: pod }] of places) await node.run(place, { uid, namespace, name: pod })
    const flags = ['--identity.pods=file', `--identity.pods-file=${podsFile}`, '--capture.http-ports=8080']
    let agent: Agent | undefined = await startAgent(host.name, flags)
    const stopAgent = async (): Promise<void> => {
      await agent?.stop()
      agent = undefined
    }
    ending.push(stopAgent)
    const targets = [agentPort, ...otherPorts].map((one) => `127.0.0.1:${one}`)
    const labels = { node: 'node-1', cluster: 'test' }
    const prometheus = startPrometheus(port, targets, { namespace: host.name, labels, ruleFiles })
    ending.push(() => prometheus.stop())
    return {
      topology,
      host,
      pods: [a, b],
      node,
      traffic: createTraffic(ending),
      prometheus,
      prometheusUrl: `http://127.0.0.1:${port}`,
      nameAlso,
      stopAgent,
      async startAgent() {
        agent = await startAgent(host.name, flags)
      },
      dispose,
    }
  } catch (error) {
    await dispose()
    throw error
  }
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
