import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import type { Agent } from '../e2e/agent.ts'
import {
  addNamespace,
  execIn,
  FaultProcess,
  type Holder,
  holdFault,
  ip,
  linksUp,
  removeNamespaces,
  runFault,
  slowness,
} from './topology.ts'

/**
 * A node with pods, as network namespaces: what the machine itself must not have, bridges and rules, is in `<name>-node`.
 *
 *     <name>-a, <name>-server ── cni0, a bridge ┐
 *     <name>-b ── cali-b, a route to it         ├ <name>-node ── uplink ── cni-<name>-world, which the agent takes for no pod
 */
export type Place = 'node' | 'a' | 'b' | 'server' | 'world'

/** Of a node of which no other test has the number: an agent looks into all network namespaces with a name. */
export function createAddresses(network: number) {
  const [ipv4, ipv6] = [`10.${network}`, `fd${network}`]
  return {
    ipv4: {
      node: `${ipv4}.0.1`,
      a: `${ipv4}.0.2`,
      b: `${ipv4}.9.2`,
      server: `${ipv4}.0.53`,
      /** Another one of the server's. */
      secondServer: `${ipv4}.0.54`,
      world: `198.18.${network}.53`,
      /** Of the node, as a node-local cache of Kubernetes has it. */
      localCache: `169.254.${network}.10`,
      /** Leads to the server, as kube-proxy does it. */
      translated: `10.96.${network}.10`,
      /** The same so that the server sees the node as its client. */
      masqueraded: `10.96.${network}.11`,
    },
    ipv6: {
      node: `${ipv6}::1`,
      a: `${ipv6}::2`,
      b: `${ipv6}:9::2`,
      server: `${ipv6}::53`,
      world: `fd94:${network}::53`,
      translated: `fd96:${network}::10`,
      masqueraded: `fd96:${network}::11`,
    },
  } as const
}
export type Addresses = ReturnType<typeof createAddresses>

export interface CaptureNode {
  /** As in `ip netns`. */
  readonly namespaces: Readonly<Record<Place, string>>
  exec(place: Place, ...command: readonly string[]): string
  /** Does a verb of the traffic program. */
  run(place: Place, verb: string, args: object): Promise<Record<string, number>>
  /** Starts a verb that holds something and waits until it does. */
  hold(place: Place, verb: string, args: object): Promise<Holder>
  /** Starts a program that ends with the node. */
  start(place: Place, command: readonly string[], stdio?: 'pipe' | 'ignore'): ChildProcess
  /** What programs in the namespace find as /etc/resolv.conf. */
  configureResolver(place: Place, lines: readonly string[]): void
  /** Removes the pod `a` and makes it again with the same addresses. */
  replaceA(): Promise<void>
  dispose(): Promise<void>
}

export interface CaptureNodeOptions {
  /** Begins the namespaces' names and is used by one test file only. */
  readonly name: string
  readonly addresses: Addresses
  /** The program beside this file that plays servers and clients. */
  readonly traffic: string
  /** What the Services lead from and to. */
  readonly service: { readonly protocols: readonly ('udp' | 'tcp')[]; readonly port: number; readonly targetPort: number }
}

const mark = '0x4000'

export async function createCaptureNode({ name, addresses, traffic, service }: CaptureNodeOptions): Promise<CaptureNode> {
  const program = fileURLToPath(new URL(traffic, import.meta.url))
  const namespaces = {
    node: `${name}-node`,
    a: `${name}-a`,
    b: `${name}-b`,
    server: `${name}-server`,
    world: `cni-${name}-world`,
  }
  const running = new Set<ChildProcess>()
  await dispose()
  try {
    for (const place of ['node', 'server', 'b', 'world'] as const) add(place)
    buildNode()
    joinBridge('server')
    inNamespace('server', 'address', 'add', `${addresses.ipv4.secondServer}/24`, 'dev', 'eth0')
    joinByRoute()
    joinWorld()
    addServices()
    await addA()
    for (const place of ['node', 'server', 'b', 'world'] as const) await linksUp(named(place))
  } catch (error) {
    await dispose()
    throw error
  }

  function named(place: Place): { readonly name: string } {
    return { name: namespaces[place] }
  }
  function inNamespace(place: Place, ...command: readonly string[]): string {
    return ip('-n', namespaces[place], ...command)
  }
  function add(place: Place): void {
    addNamespace(namespaces[place], [addresses.ipv4[place], addresses.ipv6[place]])
  }

  async function addA(): Promise<void> {
    add('a')
    joinBridge('a')
    await linksUp(named('a'))
  }

  function spawnTraffic(place: Place, verb: string, args: object): FaultProcess {
    const child = start(place, [process.execPath, program, verb, JSON.stringify(args)], 'pipe')
    return new FaultProcess(child, `${verb} in ${namespaces[place]}`)
  }

  function start(place: Place, command: readonly string[], stdio: 'pipe' | 'ignore' = 'ignore'): ChildProcess {
    const child = spawn('ip', ['netns', 'exec', namespaces[place], ...command], { stdio })
    running.add(child)
    child.once('close', () => running.delete(child))
    return child
  }

  async function dispose(): Promise<void> {
    const ends = [...running].map((child) => new Promise((resolve) => child.once('close', resolve)))
    for (const child of running) child.kill('SIGKILL')
    await Promise.all(ends)
    removeNamespaces(name)
    removeNamespaces(`cni-${name}`)
    for (const each of Object.values(namespaces)) rmSync(`/etc/netns/${each}`, { recursive: true, force: true })
  }

  function buildNode(): void {
    const settings = ['net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1']
    execIn(named('node'), 'sysctl', '-qw', ...settings, 'net.bridge.bridge-nf-call-iptables=1')
    inNamespace('node', 'link', 'add', 'cni0', 'type', 'bridge')
    inNamespace('node', 'address', 'add', `${addresses.ipv4.node}/24`, 'dev', 'cni0')
    inNamespace('node', 'address', 'add', `${addresses.ipv6.node}/64`, 'dev', 'cni0', 'nodad')
    inNamespace('node', 'link', 'set', 'cni0', 'up')
    inNamespace('node', 'address', 'add', `${addresses.ipv4.localCache}/32`, 'dev', 'lo')
  }

  function joinBridge(place: keyof typeof hardwareAddresses): void {
    const device = `veth-${place}`
    const peer = ['name', device, 'address', hardwareAddresses[place], 'netns', namespaces.node]
    ip('link', 'add', 'eth0', 'netns', namespaces[place], 'type', 'veth', 'peer', ...peer)
    inNamespace('node', 'link', 'set', device, 'master', 'cni0', 'up')
    inNamespace('node', 'link', 'set', device, 'type', 'bridge_slave', 'hairpin', 'on')
    for (const [family, prefix] of [
      ['ipv4', 24],
      ['ipv6', 64],
    ] as const) {
      inNamespace(place, 'address', 'add', `${addresses[family][place]}/${prefix}`, 'dev', 'eth0', 'nodad')
      inNamespace(place, 'link', 'set', 'eth0', 'up')
      inNamespace(place, 'route', 'add', 'default', 'via', addresses[family].node)
    }
  }

  /** As Calico does it. */
  function joinByRoute(): void {
    ip('link', 'add', 'eth0', 'netns', namespaces.b, 'type', 'veth', 'peer', 'name', 'cali-b', 'netns', namespaces.node)
    execIn(named('node'), 'sysctl', '-qw', 'net.ipv4.conf.cali-b.proxy_arp=1')
    inNamespace('node', 'address', 'add', 'fe80::1/64', 'dev', 'cali-b', 'nodad')
    inNamespace('node', 'link', 'set', 'cali-b', 'up')
    inNamespace('node', 'route', 'add', `${addresses.ipv4.b}/32`, 'dev', 'cali-b')
    inNamespace('node', 'route', 'add', `${addresses.ipv6.b}/128`, 'dev', 'cali-b')
    inNamespace('b', 'address', 'add', `${addresses.ipv4.b}/32`, 'dev', 'eth0')
    inNamespace('b', 'address', 'add', `${addresses.ipv6.b}/128`, 'dev', 'eth0', 'nodad')
    inNamespace('b', 'link', 'set', 'eth0', 'up')
    inNamespace('b', 'route', 'add', '169.254.1.1', 'dev', 'eth0', 'scope', 'link')
    inNamespace('b', 'route', 'add', 'default', 'via', '169.254.1.1', 'dev', 'eth0')
    inNamespace('b', 'route', 'add', 'default', 'via', 'fe80::1', 'dev', 'eth0')
  }

  /** It has no way to the pods: what they send it leaves the node with the node's address. */
  function joinWorld(): void {
    ip('link', 'add', 'eth0', 'netns', namespaces.world, 'type', 'veth', 'peer', 'name', 'uplink', 'netns', namespaces.node)
    for (const [place, device, ...own] of [
      ['node', 'uplink', `${addresses.ipv4.world.replace(/53$/, '1')}/24`, `${addresses.ipv6.world.replace(/53$/, '1')}/64`],
      ['world', 'eth0', `${addresses.ipv4.world}/24`, `${addresses.ipv6.world}/64`],
    ] as const) {
      for (const address of own) inNamespace(place, 'address', 'add', address, 'dev', device, 'nodad')
      inNamespace(place, 'link', 'set', device, 'up')
    }
    inNamespace('node', 'route', 'add', 'default', 'via', addresses.ipv4.world)
    inNamespace('node', 'route', 'add', 'default', 'via', addresses.ipv6.world)
    const toWorld = ['-t', 'nat', '-A', 'POSTROUTING', '-o', 'uplink', '-j', 'MASQUERADE']
    execIn(named('node'), 'iptables', '-w', ...toWorld, '--random-fully')
    execIn(named('node'), 'ip6tables', '-w', ...toWorld)
  }

  function addServices(): void {
    for (const [family, iptables] of [
      ['ipv4', 'iptables'],
      ['ipv6', 'ip6tables'],
    ] as const) {
      const addRule = (chain: string, ...rule: readonly string[]): string =>
        execIn(named('node'), iptables, '-w', '-t', 'nat', '-A', chain, ...rule)
      const { translated, masqueraded } = addresses[family]
      const to =
        family === 'ipv4' ? `${addresses.ipv4.server}:${service.targetPort}` : `[${addresses.ipv6.server}]:${service.targetPort}`
      addRule('PREROUTING', '-d', masqueraded, '-j', 'MARK', '--set-mark', mark)
      for (const protocol of service.protocols) {
        for (const address of [translated, masqueraded]) {
          for (const chain of ['PREROUTING', 'OUTPUT'])
            addRule(chain, '-d', address, '-p', protocol, '--dport', `${service.port}`, '-j', 'DNAT', '--to-destination', to)
        }
      }
      addRule('POSTROUTING', '-m', 'mark', '--mark', mark, '-j', 'MASQUERADE')
    }
  }

  return {
    namespaces,
    exec: (place, ...command) => execIn(named(place), ...command),
    run: (place, verb, args) => runFault(spawnTraffic(place, verb, args)),
    hold: (place, verb, args) => holdFault(spawnTraffic(place, verb, args)),
    start,
    configureResolver(place, lines) {
      mkdirSync(`/etc/netns/${namespaces[place]}`, { recursive: true })
      writeFileSync(`/etc/netns/${namespaces[place]}/resolv.conf`, `${lines.join('\n')}\n`)
    },
    async replaceA() {
      ip('netns', 'del', namespaces.a)
      await addA()
    },
    dispose,
  }
}

/** A bridge without a hardware address of its own takes the lowest of its ports: that of `a`, so what comes from there is seen twice as the node's. */
const hardwareAddresses = { a: '02:00:00:00:00:0a', server: '02:00:00:00:00:d5' } as const

/** What is not 0, as `a out GET 200`, `lost capture_ring`. */
export type Counts = Readonly<Record<string, number>>

export interface Readings {
  /** The totals now. */
  read(): Counts
  /** What has come since the last call of those below. */
  readNew(): Counts
  /** Exactly this, and nothing else, has come: what is counted too late, or twice, is too much the next time. */
  expectNew(...expected: readonly Counts[]): Promise<void>
  /** The same as readNew. */
  skip(): Counts
}

/** `keyOf`: what a series of the agent is called in the tests; undefined: it is none of theirs. Those of one name are added. */
export function createReadings(
  agent: Agent,
  keyOf: (metric: string, labels: Readonly<Record<string, string>>) => string | undefined,
): Readings {
  let before: Counts = {}

  function read(): Counts {
    const counts: Record<string, number> = {}
    for (const line of agent.get('/metrics').split('\n')) {
      const [, metric = '', labels = '', value] = /^netvitals_(\w+?)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
      const key = keyOf(metric, Object.fromEntries([...labels.matchAll(/(\w+)="(.*?)"/g)].map(([, name, text]) => [name, text])))
      if (key !== undefined && Number(value) !== 0) counts[key] = (counts[key] ?? 0) + Number(value)
    }
    return counts
  }

  function readNew(): Counts {
    const now = read()
    const names = [...new Set([...Object.keys(before), ...Object.keys(now)])]
    const more = names.map((name) => [name, (now[name] ?? 0) - (before[name] ?? 0)] as const)
    return Object.fromEntries(more.filter(([, count]) => count !== 0))
  }

  return {
    read,
    readNew,
    async expectNew(...expected) {
      const all: Record<string, number> = {}
      for (const [name, count] of expected.flatMap((counts) => Object.entries(counts))) all[name] = (all[name] ?? 0) + count
      try {
        await expect.poll(readNew, { timeout: 4000 * slowness, interval: 100 }).toEqual(all)
      } finally {
        before = read()
      }
    },
    skip() {
      const counts = readNew()
      before = read()
      return counts
    },
  }
}

/** The agent's process that captures. */
export function findCapture({ pid }: Agent): number {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')
  return Number(children.find((child) => readFileSync(`/proc/${child}/cmdline`, 'utf8').includes('capture-process')))
}
