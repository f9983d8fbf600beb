import { afterEach, beforeEach, expect, it } from 'vitest'
import { createAddresses } from '../../agent/host/addresses.ts'
import { createFiles } from '../../agent/host/files.ts'
import type { Host } from '../../agent/host/host.ts'
import { loadLibc } from '../../agent/host/libc.ts'
import { createNamespaces } from '../../agent/host/namespaces.ts'
import { createNetlink } from '../../agent/host/netlink.ts'
import { createNetlinkConntrackEntries } from '../../agent/sources/netlink-conntrack-entries.ts'
import { type Collected, collectFrom, valuesOf } from '../source-contract.ts'
import { createTopology, requireRoot, type Topology } from './topology.ts'

const service = '10.96.0.10'

requireRoot("entries of the host's connection tracking table", () => {
  let topology: Topology
  let router: NonNullable<Topology['router']>
  let host: Host
  beforeEach(async () => {
    topology = await createTopology('nvc-entries', { router: true })
    router = topology.router!
    const tracked = ['-m', 'conntrack', '--ctstate', 'NEW,ESTABLISHED', '-j', 'ACCEPT']
    for (const chain of ['INPUT', 'OUTPUT', 'FORWARD']) topology.exec(router, 'iptables', '-A', chain, ...tracked)
    const libc = await loadLibc()
    const own = createNamespaces({ root: '/', libc })
    own.refresh()
    // The router is what a node is to its pods.
    const namespaces = { ...own, host: own.list().find(({ name }) => name === router.name)! }
    const netlink = createNetlink({ root: '/', namespaces: own, libc })
    const addresses = createAddresses(namespaces, netlink)
    host = { namespaces, netlink, addresses, files: createFiles({ root: '/', namespaces: own }) } as Partial<Host> as Host
  })
  afterEach(() => topology?.dispose())

  function entriesOf({ emitted }: Collected): Record<string, number> {
    const mine = emitted.filter(({ metric }) => metric === 'netvitals_conntrack_host_entries')
    return Object.fromEntries(mine.map(({ of, value }) => [of === 'node' ? of : (of.netns?.name ?? ''), Number(value)]))
  }
  const unattributed = (collected: Collected): number =>
    Number(valuesOf(collected, 'netvitals_conntrack_host_entries_unattributed')[''])
  const sum = (values: Record<string, unknown>): number =>
    Object.values(values).reduce<number>((all, one) => all + Number(one), 0)
  const countByTool = (): number => Number(topology.exec(router, 'conntrack', '-C'))

  function insert(count: number, source: string, destination: string): void {
    const tuple = ['-s', source, '-d', destination, '-p', 'udp', '--dport', '53', '-t', '600']
    for (let i = 0; i < count; i++) topology.exec(router, 'conntrack', '-I', ...tuple, '--sport', String(20_000 + i))
  }

  it('are counted for the pods, the host and nobody, and add up to the table', async () => {
    const { a, b } = topology
    topology.exec(
      router,
      ...['iptables', '-t', 'nat', '-A', 'PREROUTING', '-d', service, '-p', 'tcp', '--dport', '80'],
      ...['-j', 'DNAT', '--to-destination', `${b.ipv4}:8001`],
    )
    await topology.hold(b, 'tcp-listen', { address: b.ipv4, port: 8001, backlog: 40 })
    await topology.hold(a, 'tcp-connect', { address: service, port: 80, count: 40 })
    await topology.run(a, 'udp-send', { address: b.ipv4, port: 9000, ports: 60, count: 60 })
    await topology.run(b, 'udp-send', { address: a.ipv4, port: 9000, ports: 25, count: 25 })
    insert(7, router.ipv4, '203.0.113.1')
    insert(5, '203.0.113.1', b.ipv4)
    insert(3, '203.0.113.1', '203.0.113.2')
    const collected = await collectFrom(createNetlinkConntrackEntries(host))
    expect(collected.error).toBeUndefined()
    expect(entriesOf(collected)).toEqual({ [a.name]: 100, [b.name]: 30, [router.name]: 7 })
    expect(unattributed(collected)).toBe(3)
    expect(countByTool()).toBe(140)
    const states = valuesOf(collected, 'netvitals_conntrack_host_entries_by_state')
    expect(states).toMatchObject({ 'protocol=tcp,state=established': 40, 'protocol=udp,state=none': 100 })
    expect(sum(states)).toBe(140)
    expect(collected.caveats.join()).not.toContain('sampled')
  })

  it('of a large table are estimated from its beginning, which is a random sample', async () => {
    const { a, b } = topology
    // One after the other: if the beginning of the table were what came first or last, one of the two would be missing.
    for (let port = 10_000; port < 50_000; port += 10_000)
      await topology.run(a, 'udp-send', { address: b.ipv4, port, ports: 3000, count: 3000 })
    for (let port = 10_000; port < 30_000; port += 10_000)
      await topology.run(b, 'udp-send', { address: a.ipv4, port, ports: 2000, count: 2000 })
    const total = countByTool()
    expect(total).toBe(16_000)
    const collected = await collectFrom(createNetlinkConntrackEntries(host, { entriesMax: 4000 }))
    const counted = entriesOf(collected)
    expect(sum(counted) + unattributed(collected)).toBe(total)
    const [, read] = /^sampled: (\d+) of 16000 /.exec(collected.caveats.join())!
    expect(Number(read)).toBeGreaterThanOrEqual(4000)
    expect(Number(read)).toBeLessThan(4400)
    // Three quarters, give or take six standard deviations of a sample of 4000.
    const deviation = Math.sqrt((0.75 * 0.25) / 4000)
    expect(Math.abs(counted[a.name]! / total - 0.75)).toBeLessThan(6 * deviation)
    expect(Math.abs(counted[b.name]! / total - 0.25)).toBeLessThan(6 * deviation)
  })
})
