import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { loadLibc } from '../../agent/host/libc.ts'
import { createTranslations } from '../../agent/host/translations.ts'
import type { MetricName } from '../../agent/metrics/catalogue.ts'
import { parseLabels } from '../../agent/metrics/label-text.ts'
import { startWiring, type Wiring } from '../wiring.ts'
import { expectCounts, expectNothingLost, readStack, stormSize } from './events.ts'
import { createTopology, type Holder, type Namespace, requireTraced, slowness, type Topology } from './topology.ts'

type Reporter = 'client' | 'server'
const reporters = ['client', 'server'] as const
const short = (metric: string): string => metric.slice('netvitals_edge_'.length)

/** What one of the two has seen of connections from a to b: by metric, and by outcome. */
function readEdge(wiring: Wiring, [client, server]: readonly [Namespace, Namespace], reporter: Reporter): Record<string, number> {
  const values: Record<string, number> = {}
  for (const metric of metrics) {
    for (const { labels: text, value } of wiring.series(metric, { reporter })) {
      const { client_workload, server_workload, outcome } = parseLabels(text)
      if (client_workload !== client.name || server_workload !== server.name) continue
      const name = outcome === undefined ? short(metric) : `${short(metric)} ${outcome}`
      values[name] = typeof value === 'number' ? value : 'count' in value ? value.count : Number.NaN
    }
  }
  return values
}
const pick = (values: Record<string, number>, keys: readonly string[]): Record<string, number> =>
  Object.fromEntries(Object.entries(values).filter(([key]) => keys.includes(key)))
const metrics: readonly MetricName[] = [
  'netvitals_edge_sent_bytes_total',
  'netvitals_edge_received_bytes_total',
  'netvitals_edge_connects_total',
  'netvitals_edge_retransmitted_segments_total',
  'netvitals_edge_resets_total',
  'netvitals_edge_rtt_seconds',
  'netvitals_edge_connections',
]

requireTraced('edge_connects_total', 'edges', () => {
  let topology: Topology
  let wiring: Wiring
  beforeEach(async () => {
    topology = await createTopology('nve-edges', { network: 83 })
    wiring = await startWiring()
    await wiring.sweep()
  })
  afterEach(async () => {
    if (wiring) await expectNothingLost(wiring)
    await wiring?.stop()
    await topology?.dispose()
  })

  /** Of connections from a to b; it may take a while until they are so, and then they stay. */
  async function expectEdge(expected: Record<string, number>, by: readonly Reporter[] = reporters): Promise<void> {
    const { a, b } = topology
    const keys = Object.keys(expected)
    for (const reporter of by) {
      const read = (): Record<string, number> => pick(readEdge(wiring, [a, b], reporter), keys)
      await expectCounts(wiring, read, expected)
    }
  }

  describe.each([
    { family: 'ipv4', iptables: 'iptables' },
    { family: 'ipv6', iptables: 'ip6tables' },
  ] as const)('$family', ({ family, iptables }) => {
    async function connect(count: number): Promise<{ client: Holder; server: Holder }> {
      const { a, b } = topology
      const server = await topology.hold(b, 'tcp-listen', { address: b[family], port: 5001 })
      const client = await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count })
      await server.act('accept', { count })
      return { client, server }
    }

    it('payload in both directions, while the connections live and when they are closed', async () => {
      const { client, server } = await connect(10)
      await expectEdge({ 'connects_total connected': 10, connections: 10 })
      await client.act('send', { bytes: 1000 })
      await server.act('send', { bytes: 300 })
      await expectEdge({ sent_bytes_total: 10_000, received_bytes_total: 3000, connections: 10 })
      await client.act('read')
      await server.act('read')
      await client.act('send', { bytes: 24 })
      await server.act('read')
      await client.act('close')
      await expectEdge({ sent_bytes_total: 10_240, received_bytes_total: 3000 })
      await server.act('close')
      const closed = { sent_bytes_total: 10_240, received_bytes_total: 3000, rtt_seconds: 10 }
      await expectEdge({ ...closed, 'connects_total connected': 10 })
      for (const reporter of reporters)
        expect(readEdge(wiring, [topology.a, topology.b], reporter)).not.toHaveProperty('resets_total')
    })

    it('connections that came and went between two sweeps', async () => {
      const { a, b } = topology
      const server = await topology.hold(b, 'tcp-serve', { address: b[family], port: 5001 })
      const served = server.act('serve', { count: 100, bytes: 70 })
      await topology.run(a, 'tcp-exchange', { address: b[family], port: 5001, count: 100, bytes: 100 })
      await served
      await expectEdge({
        sent_bytes_total: 5050,
        received_bytes_total: 7000,
        'connects_total connected': 100,
        rtt_seconds: 100,
      })
    })

    it('half closed: a FIN is no payload, whoever sends it first, and whoever waits for the other', async () => {
      const { client, server } = await connect(5)
      await client.act('send', { bytes: 10 })
      await client.act('shutdown') // FIN_WAIT2 here, CLOSE_WAIT there
      await server.act('send', { bytes: 20 })
      await expectEdge({ sent_bytes_total: 50, received_bytes_total: 100 })
      await server.act('read')
      await client.act('read')
      await server.act('shutdown')
      await expectEdge({ sent_bytes_total: 50, received_bytes_total: 100 })
      await client.act('close')
      await server.act('close')
      await expectEdge({ sent_bytes_total: 50, received_bytes_total: 100, rtt_seconds: 5 })
    })

    it('closed by one side, and the other never: FIN_WAIT2 runs out', async () => {
      const { a } = topology
      topology.exec(a, 'sysctl', '-qw', 'net.ipv4.tcp_fin_timeout=1')
      const { client, server } = await connect(5)
      await client.act('send', { bytes: 10 })
      await server.act('read')
      await client.act('close')
      await expectEdge({ sent_bytes_total: 50, rtt_seconds: 5 }, ['client'])
      await expectEdge({ sent_bytes_total: 50 }, ['server'])
      await server.act('send', { bytes: 20 }) // nobody is there
      await server.act('close')
      const [atClient, atServer] = reporters.map((reporter) => readEdge(wiring, [topology.a, topology.b], reporter))
      expect(atClient).not.toHaveProperty('received_bytes_total')
      expect(atServer).not.toHaveProperty('received_bytes_total')
      await expectEdge({ received_bytes_total: 100, rtt_seconds: 5 }, ['server'])
    })

    it('resets, whoever sends them', async () => {
      const first = await connect(4)
      await first.client.act('send', { bytes: 11 })
      await first.server.act('read')
      await first.client.act('reset')
      await expectEdge({ resets_total: 4, sent_bytes_total: 44, rtt_seconds: 4 })
      await first.server.act('close')
      await first.server.stop()
      await first.client.stop()
      const second = await connect(3)
      await second.client.act('send', { bytes: 5 })
      await second.server.act('close') // with data unread
      await expectEdge({ resets_total: 7, sent_bytes_total: 59, rtt_seconds: 7, 'connects_total connected': 7 })
      await second.client.act('close')
      await expectEdge({ resets_total: 7, sent_bytes_total: 59, rtt_seconds: 7 })
    })

    it('connects that fail', async () => {
      const { a, b } = topology
      await topology.hold(a, 'tcp-connect', { address: b[family], port: 5009, count: 6 })
      await expectEdge({ 'connects_total refused': 6 }, ['client'])
      topology.exec(b, iptables, '-A', 'INPUT', '-p', 'tcp', '--dport', '5008', '-j', 'DROP')
      await topology.hold(a, 'tcp-connect', { address: b[family], port: 5008, count: 2, synRetries: 1, timeoutMs: 10_000 })
      const segments = { retransmitted_segments_total: readStack(topology, a)('Tcp.RetransSegs') }
      await expectEdge({ 'connects_total refused': 6, 'connects_total timed_out': 2, ...segments }, ['client'])
      expect(readEdge(wiring, [a, b], 'server')).toEqual({})
    })

    it('segments sent again are no payload sent again', async () => {
      const { a, b } = topology
      const bytes = Math.ceil(8_000_000 / slowness)
      const sink = await topology.hold(b, 'tcp-sink', { address: b[family], port: 5001 })
      topology.exec(a, 'ip', 'link', 'set', 'eth0', 'gso_max_segs', '4')
      const everyTwentieth = ['-m', 'statistic', '--mode', 'nth', '--packet', '19', '--every', '20']
      topology.exec(b, iptables, '-A', 'INPUT', '-p', 'tcp', ...everyTwentieth, '-j', 'DROP')
      const read = sink.act('read')
      await topology.run(a, 'tcp-bulk', { address: b[family], port: 5001, bytes })
      expect(await read).toEqual({ received: bytes })
      const segments = readStack(topology, a)('Tcp.RetransSegs')
      expect(segments).toBeGreaterThan(0)
      await expectEdge({ sent_bytes_total: bytes, retransmitted_segments_total: segments }, ['client'])
      await expectEdge({ sent_bytes_total: bytes }, ['server'])
    })

    it('a firewall on the way out: what was tried and did not leave is no payload', async () => {
      const { a } = topology
      const { client, server } = await connect(2)
      const rule = ['OUTPUT', '-p', 'tcp', '--dport', '5001', '-j', 'DROP']
      topology.exec(a, iptables, '-A', ...rule)
      await client.act('send', { bytes: 100 })
      await sleep(2000)
      topology.exec(a, iptables, '-D', ...rule)
      await expectEdge({ sent_bytes_total: 200 })
      await server.act('read')
      await client.act('close')
      await server.act('close')
      await expectEdge({ sent_bytes_total: 200, rtt_seconds: 2 })
    })

    it('never too much, and in the end exactly, whenever it is looked while connections come and go', async () => {
      const { a, b } = topology
      const count = stormSize(15_000)
      const server = await topology.hold(b, 'tcp-serve', { address: b[family], port: 5001 })
      const stays = await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count: 0 })
      const served = server.act('serve', { count, bytes: 500 })
      let isOver = false
      const exchange = topology
        .run<{ sent: number; received: number; resets: number }>(a, 'tcp-exchange', {
          address: b[family],
          port: 5001,
          count,
          bytes: 1000,
          resetEvery: 7,
        })
        .finally(() => (isOver = true))
      const readings: Record<Reporter, Record<string, number>[]> = { client: [], server: [] }
      while (!isOver) {
        await wiring.sweep()
        for (const reporter of reporters) readings[reporter].push(readEdge(wiring, [a, b], reporter))
        await sleep(5)
      }
      const { sent, received, resets } = await exchange
      await served
      await stays.stop()
      const truth = {
        sent_bytes_total: sent,
        received_bytes_total: received,
        'connects_total connected': count,
        resets_total: resets,
        rtt_seconds: count,
      }
      await expectEdge(truth, ['client'])
      await expectEdge(truth, ['server'])
      for (const reporter of reporters) {
        for (const [name, total] of Object.entries(truth)) {
          const seen = readings[reporter].map((reading) => reading[name] ?? 0)
          expect(seen, `${name} of the ${reporter}`).toEqual(seen.toSorted((x, y) => x - y))
          expect(seen.at(-1) ?? 0, `${name} of the ${reporter}`).toBeLessThanOrEqual(total)
        }
      }
      expect(readings.client.length).toBeGreaterThan(0) // on a slow machine a sweep takes as long as all of them
    })
  })

  describe.each([
    { family: 'ipv4', iptables: 'iptables', service: '10.96.0.83' },
    { family: 'ipv6', iptables: 'ip6tables', service: 'fd96::83' },
  ] as const)('through the address of a Service, $family', ({ family, iptables, service }) => {
    let routed: Topology
    let router: Namespace
    beforeEach(async () => {
      routed = await createTopology('nve-service', { router: true, network: 84 })
      router = routed.router!
      const { namespaces, netlink, files } = wiring.host
      namespaces.refresh()
      // The router is what a node is to its pods.
      const seenFromRouter = { ...namespaces, host: namespaces.list().find(({ name }) => name === router.name)! }
      const libc = await loadLibc()
      Object.assign(wiring.host, { translations: createTranslations({ namespaces: seenFromRouter, netlink, files, libc }) })
      // As kube-proxy does it: every second connection to the first of two servers.
      const match = ['-t', 'nat', '-A', 'PREROUTING', '-d', service, '-p', 'tcp', '--dport', '80']
      const everySecond = ['-m', 'statistic', '--mode', 'nth', '--every', '2', '--packet', '0']
      const to = (server: Namespace): string => (family === 'ipv4' ? `${server.ipv4}:8001` : `[${server.ipv6}]:8001`)
      routed.exec(router, iptables, ...match, ...everySecond, '-j', 'DNAT', '--to-destination', to(routed.b))
      routed.exec(router, iptables, ...match, '-j', 'DNAT', '--to-destination', to(router))
    })
    afterEach(() => routed?.dispose())

    it('each connection is of the server that answers, also of those that came and went between two sweeps', async () => {
      const { a, b } = routed
      const servers = [b, router]
      const holders: Holder[] = []
      for (const server of servers) holders.push(await routed.hold(server, 'tcp-serve', { address: server[family], port: 8001 }))
      const serve = (count: number) => Promise.all(holders.map((holder) => holder.act('serve', { count, bytes: 50 })))
      const exchange = (count: number, bytes: number) =>
        routed.run(a, 'tcp-exchange', { address: service, port: 80, count, bytes })
      // One after the other, held open: from then on the address is known to be translated.
      const open = await routed.hold(a, 'tcp-connect', { address: service, port: 80, count: 2 })
      await wiring.sweep()
      const before = servers.map((server) => readEdge(wiring, [a, server], 'client')['connects_total connected'] ?? 0)
      expect(before[0]! + before[1]!).toBe(2)
      await open.act('close')
      const served = serve(21)
      await exchange(40, 100)
      await served
      await sleep(100)
      await wiring.sweep()
      const answers = servers.map((server) => readEdge(wiring, [a, server], 'client'))
      expect(answers.map((edge, i) => (edge['connects_total connected'] ?? 0) - before[i]!)).toEqual([20, 20])
      expect(answers.reduce((sum, edge) => sum + edge.sent_bytes_total!, 0)).toBe((40 * 41) / 2)
      servers.forEach((server, i) => {
        const reported = readEdge(wiring, [a, server], 'server')
        expect(reported).toMatchObject({ 'connects_total connected': 21 })
        expect(answers[i]!.sent_bytes_total).toBe(reported.sent_bytes_total)
        expect(answers[i]!.received_bytes_total).toBe(20 * 50)
      })
    })

    it('who calls through an address that the node calls by too is told apart from the node', async () => {
      const { a, b } = routed
      routed.exec(router, iptables, '-t', 'nat', '-A', 'POSTROUTING', '-p', 'tcp', '--dport', '8001', '-j', 'MASQUERADE')
      const server = await routed.hold(b, 'tcp-listen', { address: b[family], port: 8001 })
      const connect = async (from: Namespace, count: number): Promise<void> => {
        await routed.hold(from, 'tcp-connect', { address: b[family], port: 8001, count })
        await server.act('accept', { count })
      }
      await connect(a, 1) // from now on the router's address is known to be translated
      await wiring.sweep()
      await connect(a, 8)
      await connect(router, 13)
      const readServer = async (): Promise<(number | undefined)[]> => {
        await wiring.sweep()
        return [a, router].map((client) => readEdge(wiring, [client, b], 'server')['connects_total connected'])
      }
      await expect.poll(readServer, { timeout: 6000 * slowness }).toEqual([8, 14])
    })

    it('of a Service that is known beforehand the first connections too', async () => {
      const { a, b } = routed
      const servers = [b, router]
      wiring.host.edgeAddresses.setServices([service])
      const holders: Holder[] = []
      for (const server of servers) holders.push(await routed.hold(server, 'tcp-serve', { address: server[family], port: 8001 }))
      const served = Promise.all(holders.map((holder) => holder.act('serve', { count: 15, bytes: 50 })))
      await routed.run(a, 'tcp-exchange', { address: service, port: 80, count: 30, bytes: 100 })
      await served
      await sleep(100)
      await wiring.sweep()
      for (const server of servers) {
        const [asked, answered] = [readEdge(wiring, [a, server], 'client'), readEdge(wiring, [a, server], 'server')]
        expect(asked).toMatchObject({ 'connects_total connected': 15, received_bytes_total: 15 * 50 })
        expect(answered).toMatchObject({ 'connects_total connected': 15, sent_bytes_total: asked.sent_bytes_total })
      }
    })
  })

  it('IPv4 by sockets of IPv6 is IPv4', async () => {
    const { a, b } = topology
    const server = await topology.hold(b, 'tcp-listen', { address: '::', port: 5001 })
    const client = await topology.hold(a, 'tcp-connect', { address: `::ffff:${b.ipv4}`, port: 5001, count: 3 })
    await server.act('accept', { count: 3 })
    await client.act('send', { bytes: 100 })
    await expectEdge({ sent_bytes_total: 300, connections: 3 })
    await server.act('read')
    await client.act('close')
    await server.act('close')
    await expectEdge({ sent_bytes_total: 300, rtt_seconds: 3 })
  })

  it.each([
    { address: '198.51.100.1', other: '198.51.100.2', bits: 30, family: [] },
    { address: '2001:db8:83::1', other: '2001:db8:83::2', bits: 64, family: ['nodad'] },
  ])('public addresses of this machine are told apart: $address', async ({ address, other, bits, family }) => {
    const { a, b } = topology
    topology.exec(a, 'ip', 'addr', 'add', `${other}/${bits}`, 'dev', 'eth0', ...family)
    topology.exec(b, 'ip', 'addr', 'add', `${address}/${bits}`, 'dev', 'eth0', ...family)
    await sleep(1100) // addresses are looked for once a second
    await wiring.sweep()
    const server = await topology.hold(b, 'tcp-listen', { address, port: 5001 })
    const client = await topology.hold(a, 'tcp-connect', { address, port: 5001, count: 3 })
    await server.act('accept', { count: 3 })
    await client.act('send', { bytes: 100 })
    await expectEdge({ 'connects_total connected': 3, sent_bytes_total: 300, connections: 3 })
    await server.act('read')
    await client.act('close')
    await server.act('close')
    await expectEdge({ 'connects_total connected': 3, sent_bytes_total: 300, rtt_seconds: 3 })
  })

  it('within a namespace: what goes over loopback is no edge', async () => {
    const { a } = topology
    await topology.run(a, 'tcp-storm', { address: '127.0.0.1', port: 5001, count: 10, end: 'close' })
    await topology.run(a, 'tcp-storm', { address: a.ipv4, port: 5001, count: 10, end: 'close' })
    for (const reporter of reporters) {
      await wiring.sweep()
      expect(readEdge(wiring, [a, a], reporter)).toMatchObject({ 'connects_total connected': 10, rtt_seconds: 10 })
    }
  })

  it('connections that were there before the agent: what comes from now on', async () => {
    const { a, b } = topology
    const server = await topology.hold(b, 'tcp-listen', { address: b.ipv4, port: 5001 })
    const client = await topology.hold(a, 'tcp-connect', { address: b.ipv4, port: 5001, count: 4 })
    await server.act('accept', { count: 4 })
    await client.act('send', { bytes: 1000 })
    await wiring.stop()
    wiring = await startWiring()
    await wiring.sweep()
    await expectEdge({ connections: 4 })
    for (const reporter of reporters) expect(readEdge(wiring, [a, b], reporter)).toEqual({ connections: 4 })
    await client.act('send', { bytes: 7 })
    await server.act('send', { bytes: 3 })
    await expectEdge({ connections: 4, sent_bytes_total: 28, received_bytes_total: 12 })
    await client.act('read')
    await server.act('read')
    await server.act('close')
    await client.act('close')
    await expectEdge({ sent_bytes_total: 28, received_bytes_total: 12, rtt_seconds: 4 })
    for (const reporter of reporters) expect(readEdge(wiring, [a, b], reporter)).not.toHaveProperty('connects_total connected')
  })
})

requireTraced('edge_dropped_packets_total', 'dropped packets by edge', () => {
  let topology: Topology
  let wiring: Wiring
  beforeEach(async () => {
    topology = await createTopology('nve-edgedrops', { router: true, network: 86 })
    wiring = await startWiring()
    await wiring.sweep()
  })
  afterEach(async () => {
    if (wiring) await expectNothingLost(wiring)
    await wiring?.stop()
    await topology?.dispose()
  })

  /** All that is of one of the three, but for what harms nobody: "a → b server netfilter". */
  async function readDrops(): Promise<Record<string, number>> {
    await wiring.sweep()
    const { a, b, router } = topology
    const names = new Map([a, b, router!].map(({ name }, i) => [name, ['a', 'b', 'router'][i]!]))
    const drops: Record<string, number> = {}
    for (const { labels: text, value } of wiring.series('netvitals_edge_dropped_packets_total')) {
      const { client_workload = '', server_workload = '', reporter, category } = parseLabels(text)
      if (category === 'normal' || !(names.has(client_workload) || names.has(server_workload))) continue
      const [client, server] = [client_workload, server_workload].map((workload) => names.get(workload) ?? workload)
      drops[`${client} → ${server} ${reporter} ${category}`] = Number(value)
    }
    return drops
  }
  const droppedIn = ({ name }: Namespace, category = 'netfilter'): number =>
    wiring.value('netvitals_dropped_packets_total', { pod: name, category }) ?? 0
  /** Packets that the only rule of the chain has met. */
  function metBy(namespace: Namespace, iptables: string, chain: string): number {
    const [, , rule = ''] = topology.exec(namespace, iptables, '-w', '-nvxL', chain).split('\n')
    return Number(rule.trim().split(/\s+/)[0])
  }
  /** Asked again where a segment was sent again between the two readings. */
  async function expectDrops(expected: () => Record<string, number>): Promise<void> {
    await vi.waitFor(async () => expect(await readDrops()).toEqual(expected()), { timeout: 6000 * slowness, interval: 100 })
  }

  describe.each([
    { family: 'ipv4', iptables: 'iptables', nobody: '10.86.9.9', elsewhere: '203.0.113.9', group: '224.0.0.251' },
    { family: 'ipv6', iptables: 'ip6tables', nobody: 'fd86:9::9', elsewhere: '2001:db8::9', group: 'ff05::fb' },
  ] as const)('$family', ({ family, iptables, nobody, elsewhere, group }) => {
    const drop = (namespace: Namespace, chain: string, ...match: string[]): string =>
      topology.exec(namespace, iptables, '-w', '-A', chain, ...match, '-j', 'DROP')
    const send = (from: Namespace, address: string, port: number, count: number, options: object = {}) =>
      topology.run(from, 'udp-send', { address, port, count, ...options })

    it('UDP, on the way out and in: the reporter is whose namespace dropped it, an answer is of the same edge', async () => {
      const { a, b } = topology
      drop(a, 'OUTPUT', '-p', 'udp', '--dport', '7001')
      drop(b, 'INPUT', '-p', 'udp', '--dport', '7002')
      drop(b, 'OUTPUT', '-p', 'udp', '--sport', '7003')
      drop(a, 'INPUT', '-p', 'udp', '--sport', '7004')
      await send(a, b[family], 7001, 100)
      await send(a, b[family], 7002, 200)
      await send(b, a[family], 45_000, 30, { from: { address: b[family], port: 7003 } })
      await send(b, a[family], 45_000, 40, { from: { address: b[family], port: 7004 } })
      expect(await readDrops()).toEqual({ 'a → b client netfilter': 140, 'a → b server netfilter': 230 })
      expect([droppedIn(a), droppedIn(b)]).toEqual([140, 230])
      await send(a, b[family], 7002, 5)
      expect(await readDrops()).toEqual({ 'a → b client netfilter': 140, 'a → b server netfilter': 235 })
    })

    it('by the category of the reason', async () => {
      const { a, b } = topology
      topology.exec(b, 'sysctl', '-qw', 'net.ipv4.icmp_ratelimit=0', 'net.ipv6.icmp.ratelimit=0')
      await send(a, b[family], 7999, 250)
      await topology.hold(a, 'tcp-connect', { address: b[family], port: 7998, count: 40 })
      expect(await readDrops()).toEqual({ 'a → b server no_socket': 290 })
      expect(droppedIn(b, 'no_socket')).toBe(290)
    })

    it('SYNs and what answers them, whatever the ports are', async () => {
      const { a, b } = topology
      const from = { address: a[family], port: 30_001 }
      drop(b, 'INPUT', '-p', 'tcp', '--dport', '60001')
      await topology.hold(a, 'tcp-connect', {
        address: b[family],
        port: 60_001,
        count: 1,
        from,
        synRetries: 2,
        timeoutMs: 10_000,
      })
      const sent = 1 + readStack(topology, a)('Tcp.RetransSegs')
      expect(sent).toBeGreaterThan(2)
      expect(await readDrops()).toEqual({ 'a → b server netfilter': sent })
      topology.exec(b, iptables, '-w', '-F')
      drop(b, 'OUTPUT', '-p', 'tcp', '--sport', '60002')
      await topology.hold(b, 'tcp-listen', { address: b[family], port: 60_002 })
      const caller = { address: b[family], port: 60_002, count: 1, from, synRetries: 1, timeoutMs: 10_000 }
      await topology.hold(a, 'tcp-connect', caller)
      await expectDrops(() => ({ 'a → b server netfilter': sent + metBy(b, iptables, 'OUTPUT') }))
      expect(droppedIn(b)).toBeGreaterThan(sent)
    })

    it('a connection is remembered: its server may have the larger port', async () => {
      const { a, b } = topology
      const server = await topology.hold(b, 'tcp-listen', { address: b[family], port: 60_001 })
      const from = { address: a[family], port: 30_001 }
      const client = await topology.hold(a, 'tcp-connect', { address: b[family], port: 60_001, count: 1, from })
      await server.act('accept', { count: 1 })
      drop(b, 'OUTPUT', '-p', 'tcp')
      await server.act('send', { bytes: 100 })
      await sleep(1000)
      topology.exec(b, iptables, '-w', '-D', 'OUTPUT', '-p', 'tcp', '-j', 'DROP')
      await client.act('read')
      const ofServer = (await readDrops())['a → b server netfilter'] ?? 0
      expect(ofServer).toBeGreaterThan(1)
      drop(a, 'OUTPUT', '-p', 'tcp')
      await client.act('send', { bytes: 100 })
      await sleep(1000)
      const ofClient = (): number => metBy(a, iptables, 'OUTPUT')
      await expectDrops(() => ({ 'a → b client netfilter': ofClient(), 'a → b server netfilter': ofServer }))
      expect(ofClient()).toBeGreaterThan(1)
      expect(droppedIn(b)).toBe(ofServer)
    })

    it('a connection that was there before the agent: by the ports', async () => {
      const { a, b } = topology
      const server = await topology.hold(b, 'tcp-listen', { address: b[family], port: 5001 })
      await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count: 1 })
      await server.act('accept', { count: 1 })
      await wiring.stop()
      wiring = await startWiring()
      await wiring.sweep()
      drop(a, 'INPUT', '-p', 'tcp')
      await server.act('send', { bytes: 100 })
      await sleep(1000)
      await expectDrops(() => ({ 'a → b client netfilter': metBy(a, iptables, 'INPUT') }))
      expect(droppedIn(a)).toBeGreaterThan(1)
    })

    it('who is neither end has dropped for no edge', async () => {
      const { a, b, router } = topology
      drop(router!, 'FORWARD', '-p', 'udp', '--dport', '7001')
      topology.exec(router!, iptables, '-w', '-t', 'raw', '-A', 'PREROUTING', '-p', 'udp', '--dport', '7002', '-j', 'DROP')
      await send(a, b[family], 7001, 100)
      await send(a, b[family], 7002, 200)
      await send(a, router![family], 7002, 50)
      expect(await readDrops()).toEqual({ 'a → router server netfilter': 50 })
      expect(droppedIn(router!)).toBe(350)
    })

    it('what is from or to nobody known is of no edge, and stays in the sum of all', async () => {
      const { a } = topology
      drop(a, 'OUTPUT', '-p', 'udp')
      const ofLoopback = family === 'ipv4' ? '127.0.0.1' : '::1'
      for (const address of [nobody, elsewhere, group, ofLoopback]) await send(a, address, 7001, 10)
      expect(await readDrops()).toEqual({})
      expect(droppedIn(a)).toBe(40)
    })
  })

  describe('a packet that says nothing of a connection', () => {
    const tcp = 6
    const udp = 17
    const icmp = 1
    const [syn, ack, rst] = [0x02, 0x10, 0x04]
    const laterFragment = 185
    const hex = (bytes: readonly number[]): string => Buffer.from(bytes).toString('hex')
    const word = (value: number): readonly number[] => [value >> 8, value & 0xff]
    const addressBytes = (address: string): readonly number[] => address.split('.').map(Number)

    interface Packet {
      readonly protocol: number
      readonly ports?: readonly [from: number, to: number]
      readonly flags?: number
      readonly fragment?: number
      readonly words?: number
    }
    function packetOf(
      { protocol, ports = [0, 0], flags = 0, fragment = 0, words = 5 }: Packet,
      from: string,
      to: string,
    ): string {
      const options = Array<number>((words - 5) * 4).fill(1)
      const rest = [0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]
      const header = [
        0x40 + words,
        0,
        0,
        0,
        0,
        1,
        ...word(fragment),
        64,
        protocol,
        0,
        0,
        ...addressBytes(from),
        ...addressBytes(to),
      ]
      return hex([...header, ...options, ...ports.flatMap(word), ...rest])
    }

    it.each<[string, Packet, string]>([
      ['to the smaller port', { protocol: tcp, ports: [20_000, 5001], flags: ack }, 'a → b client'],
      ['from the smaller port', { protocol: tcp, ports: [5001, 20_000], flags: ack }, 'b → a server'],
      ['from the smaller port, a reset', { protocol: tcp, ports: [5001, 40_000], flags: rst }, 'b → a server'],
      ['between ports of clients, up', { protocol: tcp, ports: [40_000, 50_051], flags: ack }, 'a → b client'],
      ['between ports of clients, down', { protocol: tcp, ports: [50_051, 40_000], flags: ack }, 'a → b client'],
      ['a SYN from the smaller port', { protocol: tcp, ports: [80, 40_000], flags: syn }, 'a → b client'],
      ['a SYN that answers, from the larger', { protocol: tcp, ports: [40_000, 80], flags: syn | ack }, 'b → a server'],
      ['behind options', { protocol: udp, ports: [53, 40_000], words: 7 }, 'b → a server'],
      ['equal ports', { protocol: udp, ports: [123, 123] }, 'a → b client'],
      ['a later fragment', { protocol: udp, ports: [53, 40_000], fragment: laterFragment }, 'a → b client'],
      ['a protocol without ports', { protocol: 132, ports: [53, 40_000] }, 'a → b client'],
    ])('%s', async (_, packet, edge) => {
      const { a, b } = topology
      topology.exec(a, 'iptables', '-w', '-A', 'OUTPUT', '-d', b.ipv4, '-j', 'DROP')
      await topology.run(a, 'raw-send', { address: b.ipv4, hex: packetOf(packet, a.ipv4, b.ipv4), count: 11 })
      expect(await readDrops()).toEqual({ [`${edge} netfilter`]: 11 })
    })

    it('ICMP, or a source that the namespace has not, is of no edge', async () => {
      const { a, b } = topology
      topology.exec(a, 'iptables', '-w', '-A', 'OUTPUT', '-d', b.ipv4, '-j', 'DROP')
      const ping = packetOf({ protocol: icmp, ports: [0x800, 0] }, a.ipv4, b.ipv4)
      const spoofed = packetOf({ protocol: udp, ports: [1, 2] }, '10.86.9.9', b.ipv4)
      await topology.run(a, 'raw-send', { address: b.ipv4, hex: [ping, spoofed], count: 11 })
      expect(await readDrops()).toEqual({})
      expect(droppedIn(a)).toBe(22)
    })
  })

  it('towards a Service, before it is known who answers: of who answered last', async () => {
    const { a, b, router } = topology
    const service = '10.96.0.86'
    const { namespaces, netlink, files } = wiring.host
    const seenFromRouter = { ...namespaces, host: namespaces.list().find(({ name }) => name === router!.name)! }
    const libc = await loadLibc()
    Object.assign(wiring.host, { translations: createTranslations({ namespaces: seenFromRouter, netlink, files, libc }) })
    const match = ['-t', 'nat', '-A', 'PREROUTING', '-d', service, '-p', 'tcp', '--dport', '80']
    topology.exec(router!, 'iptables', '-w', ...match, '-j', 'DNAT', '--to-destination', `${b.ipv4}:8001`)
    const server = await topology.hold(b, 'tcp-listen', { address: b.ipv4, port: 8001 })
    const client = await topology.hold(a, 'tcp-connect', { address: service, port: 80, count: 1 })
    await server.act('accept', { count: 1 })
    await wiring.sweep()
    topology.exec(a, 'iptables', '-w', '-A', 'OUTPUT', '-p', 'tcp', '--dport', '80', '-j', 'DROP')
    await client.act('send', { bytes: 100 })
    await sleep(1000)
    await expectDrops(() => ({ 'a → b client netfilter': metBy(a, 'iptables', 'OUTPUT') }))
    expect(droppedIn(a)).toBeGreaterThan(1)
  })

  it(
    'none is lost at full rate, while it is read',
    async () => {
      const { a, b } = topology
      const count = stormSize(300_000)
      for (const namespace of [a, b])
        topology.exec(namespace, 'iptables', '-w', '-t', 'raw', '-A', 'PREROUTING', '-p', 'udp', '--dport', '7005', '-j', 'DROP')
      // Each to itself: no queue on the way could drop anything before.
      const storms = [a, b].map((namespace, cpu) => send(namespace, count, cpu))
      let isOver = false
      const all = Promise.all(storms).finally(() => (isOver = true))
      while (!isOver) await wiring.sweep()
      expect((await all).map(({ sent }) => sent)).toEqual([count, count])
      expect(await readDrops()).toEqual({ 'a → a server netfilter': count, 'b → b server netfilter': count })
    },
    60_000 * slowness,
  )
  const send = (to: Namespace, count: number, cpu: number) =>
    topology.run<{ sent: number }>(to, 'udp-send', { address: to.ipv4, port: 7005, count, cpu })
})
