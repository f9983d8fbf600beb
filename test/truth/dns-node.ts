import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
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
} from './topology.ts'

const traffic = fileURLToPath(new URL('dns-traffic.mjs', import.meta.url))

/**
 * A node with pods, as network namespaces: what the machine itself must not have, bridges and rules, is in `nvd-node`.
 *
 *     nvd-a, nvd-dns ── cni0, a bridge ┐
 *     nvd-b ── cali-b, a route to it   ├ nvd-node ── uplink ── cni-nvd-world, which the agent takes for no pod
 */
export const namespaces = { node: 'nvd-node', a: 'nvd-a', b: 'nvd-b', dns: 'nvd-dns', world: 'cni-nvd-world' } as const
export type Place = keyof typeof namespaces

export const addresses = {
  ipv4: { node: '10.93.0.1', a: '10.93.0.2', b: '10.93.9.2', dns: '10.93.0.53', world: '198.51.100.53' },
  ipv6: { node: 'fd93::1', a: 'fd93::2', b: 'fd93:9::2', dns: 'fd93::53', world: 'fd94::53' },
} as const
/** A second one of nvd-dns. */
export const realServer = '10.93.0.54'
/** Of the node, as a node-local cache of Kubernetes has it. */
export const localCache = '169.254.25.10'
/** Addresses that lead to nvd-dns: as kube-proxy does it, and so that the server sees the node as its client. */
export const services = {
  ipv4: { translated: '10.96.93.10', masqueraded: '10.96.93.11' },
  ipv6: { translated: 'fd96:93::10', masqueraded: 'fd96:93::11' },
} as const

export interface DnsNode {
  exec(place: Place, ...command: readonly string[]): string
  /** Does a verb of dns-traffic.mjs. */
  run(place: Place, verb: 'ask' | 'stream' | 'send', args: object): Promise<Record<string, number>>
  serve(place: Place, served: readonly string[]): Promise<Holder>
  /** Starts a program that ends with the node. */
  start(place: Place, command: readonly string[]): ChildProcess
  /** What programs in the namespace find as /etc/resolv.conf. */
  configureResolver(place: Place, lines: readonly string[]): void
  /** Removes nvd-a and makes it again with the same addresses. */
  replaceA(): Promise<void>
  dispose(): Promise<void>
}

const mark = '0x4000'

export async function createDnsNode(): Promise<DnsNode> {
  const running = new Set<ChildProcess>()
  await dispose()
  try {
    for (const place of ['node', 'dns', 'b', 'world'] as const) add(place)
    await buildNode()
    joinBridge('dns')
    inNamespace('dns', 'address', 'add', `${realServer}/24`, 'dev', 'eth0')
    joinByRoute()
    joinWorld()
    addServices()
    await addA()
    for (const place of ['node', 'dns', 'b', 'world'] as const) await linksUp(named(place))
  } catch (error) {
    await dispose()
    throw error
  }

  async function addA(): Promise<void> {
    add('a')
    joinBridge('a')
    await linksUp(named('a'))
  }

  function spawnTraffic(place: Place, verb: string, args: object): FaultProcess {
    const child = start(place, [process.execPath, traffic, verb, JSON.stringify(args)], 'pipe')
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
    removeNamespaces('nvd')
    removeNamespaces('cni-nvd')
    for (const name of Object.values(namespaces)) rmSync(`/etc/netns/${name}`, { recursive: true, force: true })
  }

  return {
    exec: (place, ...command) => execIn(named(place), ...command),
    run: (place, verb, args) => runFault(spawnTraffic(place, verb, args)),
    serve: (place, served) => holdFault(spawnTraffic(place, 'serve', { addresses: served })),
    start: (place, command) => start(place, command),
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

const named = (place: Place): { readonly name: string } => ({ name: namespaces[place] })
const inNamespace = (place: Place, ...command: readonly string[]): string => ip('-n', namespaces[place], ...command)

function add(place: Place): void {
  addNamespace(namespaces[place], [addresses.ipv4[place], addresses.ipv6[place]])
}

async function buildNode(): Promise<void> {
  const settings = ['net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1']
  execIn(named('node'), 'sysctl', '-qw', ...settings, 'net.bridge.bridge-nf-call-iptables=1')
  inNamespace('node', 'link', 'add', 'cni0', 'type', 'bridge')
  inNamespace('node', 'address', 'add', `${addresses.ipv4.node}/24`, 'dev', 'cni0')
  inNamespace('node', 'address', 'add', `${addresses.ipv6.node}/64`, 'dev', 'cni0', 'nodad')
  inNamespace('node', 'link', 'set', 'cni0', 'up')
  inNamespace('node', 'address', 'add', `${localCache}/32`, 'dev', 'lo')
}

/** A bridge without a hardware address of its own takes the lowest of its ports: nvd-a's, so what comes from there is seen twice as the node's. */
const hardwareAddresses = { a: '02:00:00:00:00:0a', dns: '02:00:00:00:00:d5' } as const

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
    ['node', 'uplink', '198.51.100.1/24', 'fd94::1/64'],
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
    const { translated, masqueraded } = services[family]
    const to = family === 'ipv4' ? `${addresses.ipv4.dns}:53` : `[${addresses.ipv6.dns}]:53`
    addRule('PREROUTING', '-d', masqueraded, '-j', 'MARK', '--set-mark', mark)
    for (const protocol of ['udp', 'tcp']) {
      for (const service of [translated, masqueraded]) {
        for (const chain of ['PREROUTING', 'OUTPUT'])
          addRule(chain, '-d', service, '-p', protocol, '--dport', '53', '-j', 'DNAT', '--to-destination', to)
      }
    }
    addRule('POSTROUTING', '-m', 'mark', '--mark', mark, '-j', 'MASQUERADE')
  }
}
