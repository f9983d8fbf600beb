import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { tracedDirections, tracedProtocols, tracedRoles } from '../../agent/host/traced-maps.ts'
import { createTracer, type Tracer } from '../../agent/host/tracer.ts'
import { formatAddress, parseAddress } from '../../parsers/address.ts'
import { stormSize } from './events.ts'
import { createTopology, type Namespace, requireTraced, slowness, type Topology } from './topology.ts'

interface Drops {
  [reasonProtocolDirection: string]: { packets: number; bytes: number }
}

const families = [
  { family: 'IPv4', address: 'ipv4', iptables: 'iptables', udpHeaders: 28, tcpSyn: 60 },
  { family: 'IPv6', address: 'ipv6', iptables: 'ip6tables', udpHeaders: 48, tcpSyn: 80 },
] as const

/** The namespace's drops as 'reason protocol direction', without the multicast that IPv6 sends by itself. */
function readDrops(tracer: Tracer, inode: number, cookie?: number): Drops {
  const drops: Drops = {}
  tracer.read('dropped_packets_total', (key, [packets, bytes]) => {
    if (key.getUint32(0, true) !== inode || (cookie !== undefined && key.getUint32(4, true) !== cookie)) return
    const reason = tracer.reasonName(key.getUint32(8, true))
    const protocol = tracedProtocols[key.getUint8(12)]!
    const direction = tracedDirections[key.getUint8(13)]!
    expect(key.getUint16(14, true)).toBe(0)
    if (reason === 'not_specified' && protocol !== 'udp' && protocol !== 'tcp') return
    const of = `${reason} ${protocol} ${direction}`
    drops[of] = { packets: packets! + (drops[of]?.packets ?? 0), bytes: bytes! + (drops[of]?.bytes ?? 0) }
  })
  return drops
}

/** What `cause` added, once nothing more is added. */
async function dropsDuring(tracer: Tracer, namespace: Namespace, cause: () => Promise<unknown>): Promise<Drops> {
  const before = readDrops(tracer, namespace.inode)
  await cause()
  let after = readDrops(tracer, namespace.inode)
  for (let text = ''; text !== JSON.stringify(after); after = readDrops(tracer, namespace.inode)) {
    text = JSON.stringify(after)
    await sleep(Math.max(50, 30 * slowness))
  }
  const added: Drops = {}
  for (const [of, { packets, bytes }] of Object.entries(after)) {
    const difference = { packets: packets - (before[of]?.packets ?? 0), bytes: bytes - (before[of]?.bytes ?? 0) }
    if (difference.packets !== 0) added[of] = difference
  }
  return added
}

const total = (drops: Drops) => Object.values(drops).reduce((sum, { packets }) => sum + packets, 0)

requireTraced('dropped_packets_total', 'the tracer counts exactly the packets dropped', () => {
  const tracer = createTracer()
  const count = 100

  beforeAll(async () => {
    await tracer.start()
    expect(tracer.missing('dropped_packets_total')).toBeUndefined()
  })
  afterAll(async () => {
    if (!tracer.missing('dropped_packets_total')) expect(tracer.lost()).toEqual({ mapFull: 0, recursion: 0 })
    await tracer.stop()
  })

  describe('between two namespaces', () => {
    let net: Topology
    beforeAll(async () => {
      net = await createTopology('nvc-drops')
    })
    afterAll(() => net?.dispose())
    afterEach(() => {
      for (const namespace of [net.a, net.b]) {
        for (const { iptables } of families) {
          net.exec(namespace, iptables, '-w', '-F')
          net.exec(namespace, iptables, '-w', '-t', 'raw', '-F')
        }
      }
    })

    describe.each(families)('$family', ({ address, iptables, udpHeaders, tcpSyn }) => {
      const sendFrom = (from: Namespace, to: Namespace, options: object = {}) =>
        net.run(from, 'udp-send', { address: to[address], port: 9000, count, ...options })

      test.each([
        ['filter', 'INPUT'],
        ['raw', 'PREROUTING'],
      ])('netfilter, %s %s: in', async (table, chain) => {
        net.exec(net.b, iptables, '-w', '-t', table, '-A', chain, '-p', 'udp', '-j', 'DROP')
        expect(await dropsDuring(tracer, net.b, () => sendFrom(net.a, net.b))).toEqual({
          'netfilter_drop udp in': { packets: count, bytes: count * (udpHeaders + 32) },
        })
      })

      test('netfilter, OUTPUT: out', async () => {
        net.exec(net.a, iptables, '-w', '-A', 'OUTPUT', '-p', 'udp', '-j', 'DROP')
        const drops = await dropsDuring(tracer, net.a, async () =>
          expect(await sendFrom(net.a, net.b)).toEqual({ sent: 0, errors: { EPERM: count } }),
        )
        expect(drops).toEqual({ 'netfilter_drop udp out': { packets: count, bytes: count * (udpHeaders + 32) } })
      })

      test('netfilter on the loopback device: out, then in', async () => {
        net.exec(net.a, iptables, '-w', '-A', 'OUTPUT', '-p', 'udp', '--dport', '9001', '-j', 'DROP')
        net.exec(net.a, iptables, '-w', '-A', 'INPUT', '-p', 'udp', '--dport', '9002', '-j', 'DROP')
        const drops = await dropsDuring(tracer, net.a, async () => {
          await sendFrom(net.a, net.a, { port: 9001 })
          await sendFrom(net.a, net.a, { port: 9002, count: 2 * count })
        })
        expect(drops).toEqual({
          'netfilter_drop udp out': { packets: count, bytes: count * (udpHeaders + 32) },
          'netfilter_drop udp in': { packets: 2 * count, bytes: 2 * count * (udpHeaders + 32) },
        })
      })

      test('a UDP port that nobody listens on', async () => {
        const drops = await dropsDuring(tracer, net.b, () => sendFrom(net.a, net.b, { port: 9999 }))
        expect(drops).toEqual({ 'no_socket udp in': { packets: count, bytes: count * (udpHeaders + 32) } })
      })

      test('a TCP port that nobody listens on', async () => {
        const drops = await dropsDuring(tracer, net.b, async () => {
          const client = await net.hold(net.a, 'tcp-connect', { address: net.b[address], port: 9999, count })
          expect(client.ready).toEqual({ ECONNREFUSED: count })
          await client.stop()
        })
        expect(drops).toEqual({ 'no_socket tcp in': { packets: count, bytes: count * tcpSyn } })
      })

      test("at the entrance, where it still bears its sender's socket: in, and not the sender", async () => {
        const hook = `chain netdev entrance first { type filter hook ingress device eth0 priority 0; policy accept; }`
        net.exec(net.b, 'nft', `add table netdev entrance; add ${hook}; add rule netdev entrance first meta l4proto udp drop`)
        const drops = await dropsDuring(tracer, net.b, async () => {
          expect(await dropsDuring(tracer, net.a, () => sendFrom(net.a, net.b))).toEqual({})
        })
        net.exec(net.b, 'nft', 'delete', 'table', 'netdev', 'entrance')
        expect(drops).toEqual({ 'netfilter_drop udp in': { packets: count, bytes: count * (udpHeaders + 32) } })
      })

      test('a full receive buffer of a UDP socket', async () => {
        const listener = await net.hold(net.b, 'udp-listen', { address: net.b[address], port: 9000, receiveBufferBytes: 4096 })
        let kept = 0
        const drops = await dropsDuring(tracer, net.b, async () => {
          await sendFrom(net.a, net.b, { bytes: 500 })
          kept = (await listener.act('read')).datagrams!
        })
        await listener.stop()
        expect(kept).toBeGreaterThan(0)
        expect(drops).toEqual({
          'socket_rcvbuff udp in': { packets: count - kept, bytes: (count - kept) * (udpHeaders + 500) },
        })
      })

      test('a packet not yet segmented counts its segments', async () => {
        net.exec(net.a, iptables, '-w', '-A', 'OUTPUT', '-p', 'udp', '-j', 'DROP')
        const drops = await dropsDuring(tracer, net.a, () => sendFrom(net.a, net.b, { bytes: 10_000, segmentBytes: 1000 }))
        expect(drops).toEqual({ 'netfilter_drop udp out': { packets: 10 * count, bytes: count * (udpHeaders + 10_000) } })
      })
    })

    test('a million at full speed, on two CPUs at once, while the map is read: none lost', async () => {
      net.exec(net.a, 'iptables', '-w', '-t', 'raw', '-A', 'PREROUTING', '-p', 'udp', '-j', 'DROP')
      const each = stormSize(500_000)
      let reads = 0
      let highest = 0
      const drops = await dropsDuring(tracer, net.a, async () => {
        const flood = { address: '127.0.0.1', port: 20_000, ports: 1000, count: each }
        let flooding = true
        const done = Promise.all([0, 1].map((cpu) => net.run(net.a, 'udp-send', { ...flood, cpu }))).finally(() => {
          flooding = false
        })
        for (; flooding; reads++) {
          const now = total(readDrops(tracer, net.a.inode))
          expect(now).toBeGreaterThanOrEqual(highest)
          highest = now
          await sleep(0)
        }
        for (const result of await done) expect(result).toEqual({ sent: each, errors: {} })
      })
      expect(drops).toEqual({ 'netfilter_drop udp in': { packets: 2 * each, bytes: 2 * each * 60 } })
      expect(reads).toBeGreaterThan(stormSize(100))
    })
  })

  describe('in a router', () => {
    let net: Topology
    let router: Namespace
    beforeAll(async () => {
      net = await createTopology('nvc-route', { router: true })
      router = net.router!
    })
    afterAll(() => net?.dispose())
    afterEach(() => {
      for (const { iptables } of families) net.exec(router, iptables, '-w', '-F')
    })

    describe.each(families)('$family', ({ address, iptables, udpHeaders }) => {
      const expected = { packets: count, bytes: count * (udpHeaders + 32) }
      const sendTo = (to: string, options: object = {}) =>
        net.run(net.a, 'udp-send', { address: to, port: 9000, count, ...options })

      test('netfilter, FORWARD: forward', async () => {
        net.exec(router, iptables, '-w', '-A', 'FORWARD', '-p', 'udp', '-j', 'DROP')
        const drops = await dropsDuring(tracer, router, () => sendTo(net.b[address]))
        expect(drops).toEqual({ 'netfilter_drop udp forward': expected })
      })

      test('netfilter, INPUT: in, although it routes', async () => {
        net.exec(router, iptables, '-w', '-A', 'INPUT', '-p', 'udp', '-j', 'DROP')
        const drops = await dropsDuring(tracer, router, () => sendTo(router[address]))
        expect(drops).toEqual({ 'netfilter_drop udp in': expected })
      })

      test('time to live over: forward', async () => {
        const drops = await dropsDuring(tracer, router, () => sendTo(net.b[address], { ttl: 1 }))
        expect(drops).toEqual({ 'ip_inhdr udp forward': expected })
      })

      test('no route: forward', async () => {
        net.exec(router, 'ip', address === 'ipv4' ? '-4' : '-6', 'route', 'flush', 'default')
        const to = address === 'ipv4' ? '10.99.0.1' : 'fd99::1'
        const drops = await dropsDuring(tracer, router, () => sendTo(to))
        expect(drops).toEqual({ 'ip_innoroutes udp forward': expected })
      })

      test('a full queue of the device to leave by: forward, and not the sender', async () => {
        net.exec(router, 'tc', 'qdisc', 'add', 'dev', 'eth1', 'root', 'tbf', 'rate', '8kbit', 'burst', '1600', 'limit', '1600')
        const drops = await dropsDuring(tracer, router, async () => {
          expect(await dropsDuring(tracer, net.a, () => sendTo(net.b[address]))).toEqual({})
        })
        const dropped = Number(/dropped (\d+)/.exec(net.exec(router, 'tc', '-s', 'qdisc', 'show', 'dev', 'eth1'))![1])
        net.exec(router, 'tc', 'qdisc', 'del', 'dev', 'eth1', 'root')
        expect(dropped).toBeGreaterThan(0)
        expect(drops).toEqual({ 'qdisc_drop udp forward': { packets: dropped, bytes: dropped * (udpHeaders + 32) } })
      })

      test('a neighbour that does not answer: forward', async () => {
        const neighbours = `net.${address}.neigh.eth1`
        net.exec(router, 'sysctl', '-qw', `${neighbours}.mcast_solicit=1`, `${neighbours}.retrans_time_ms=200`)
        const drops = await dropsDuring(tracer, router, async () => {
          await sendTo(address === 'ipv4' ? '10.77.2.77' : 'fd77:2::77', { count: 3 })
          await sleep(500 * slowness)
        })
        const reason = address === 'ipv4' ? 'neigh_failed' : 'not_specified'
        expect(drops).toEqual({ [`${reason} udp forward`]: { packets: 3, bytes: 3 * (udpHeaders + 32) } })
      })
    })
  })

  test('a packet on its way through a bridge: forward', async () => {
    const net = await createTopology('nvc-bridge', { router: true })
    try {
      const bridge = net.router!
      for (const device of ['eth0', 'eth1']) net.exec(bridge, 'ip', 'address', 'flush', 'dev', device)
      // A bridge that snoops joins a group of its own, and says so into the queue that is full.
      net.exec(bridge, 'ip', 'link', 'add', 'br0', 'type', 'bridge', 'mcast_snooping', '0')
      for (const device of ['eth0', 'eth1']) net.exec(bridge, 'ip', 'link', 'set', device, 'master', 'br0')
      net.exec(bridge, 'ip', 'link', 'set', 'br0', 'up')
      net.exec(net.a, 'ip', 'route', 'add', '10.77.2.0/24', 'dev', 'eth0')
      net.exec(net.b, 'ip', 'route', 'add', '10.77.1.0/24', 'dev', 'eth0')
      await net.run(net.a, 'udp-send', { address: net.b.ipv4, port: 9000, count: 1 })
      net.exec(bridge, 'tc', 'qdisc', 'add', 'dev', 'eth1', 'root', 'tbf', 'rate', '8kbit', 'burst', '1600', 'limit', '1600')
      const drops = await dropsDuring(tracer, bridge, async () => {
        const ofSender = await dropsDuring(tracer, net.a, () =>
          net.run(net.a, 'udp-send', { address: net.b.ipv4, port: 9000, count }),
        )
        expect(ofSender).toEqual({})
      })
      const dropped = Number(/dropped (\d+)/.exec(net.exec(bridge, 'tc', '-s', 'qdisc', 'show', 'dev', 'eth1'))![1])
      expect(dropped).toBeGreaterThan(0)
      // The neighbours' own multicast reports come by here too, and may be among what the queue drops.
      const byQueue = Object.entries(drops).filter(([of]) => of.startsWith('qdisc_drop '))
      expect(byQueue.reduce((sum, [, { packets }]) => sum + packets, 0)).toBe(dropped)
      const udp = Object.fromEntries(Object.entries(drops).filter(([of]) => of.includes(' udp ')))
      const { packets = 0 } = udp['qdisc_drop udp forward'] ?? {}
      expect(packets).toBeGreaterThan(count / 4)
      expect(udp).toEqual({ 'qdisc_drop udp forward': { packets, bytes: packets * 60 } })
    } finally {
      await net.dispose()
    }
  })

  test('a namespace with the inode of one that is gone has counts of its own', async () => {
    const seen: { inode: number; cookie: number; sent: number }[] = []
    for (const sent of [100, 200, 300]) {
      const net = await createTopology('nvc-again')
      try {
        const { cookie } = await net.run<{ cookie: number }>(net.a, 'namespace')
        await net.run(net.a, 'udp-send', { address: '127.0.0.1', port: 9999, count: sent })
        seen.push({ inode: net.a.inode, cookie: cookie % 2 ** 32, sent })
      } finally {
        await net.dispose()
      }
    }
    expect(new Set(seen.map(({ inode }) => inode)).size).toBeLessThan(seen.length)
    for (const { inode, cookie, sent } of seen) {
      expect(readDrops(tracer, inode, cookie)['no_socket udp in']).toEqual({ packets: sent, bytes: sent * 60 })
    }
  })
})

/** What identity will do on a Kubernetes node: the router stands for the host, a and b for two of its pods. */
requireTraced('dropped_packets_total', 'drops in the host’s namespace are counted for whom the packet was from or to', () => {
  let net: Topology
  let tracer: Tracer
  beforeAll(async () => {
    net = await createTopology('nvc-owners', { router: true })
  })
  beforeEach(async () => {
    const cookieOf = async (namespace: Namespace): Promise<number> =>
      (await net.run<{ cookie?: number }>(namespace, 'namespace')).cookie ?? 0
    const router = net.router!
    tracer = createTracer({ host: { inode: router.inode, cookie: await cookieOf(router) } })
    await tracer.start()
    for (const pod of [net.a, net.b]) {
      const owner = { inode: pod.inode, cookie: await cookieOf(pod) }
      for (const address of [pod.ipv4, pod.ipv6]) tracer.setOwner(parseAddress(address), owner)
    }
  })
  afterEach(async () => {
    expect(tracer.lost()).toEqual({ mapFull: 0, recursion: 0 })
    await tracer.stop()
    for (const { iptables } of families) {
      for (const table of ['raw', 'filter']) net.exec(net.router!, iptables, '-w', '-t', table, '-F')
    }
  })
  afterAll(() => net?.dispose())

  const count = 100

  describe.each(families)('$family', ({ address, iptables, udpHeaders }) => {
    const expected = { packets: count, bytes: count * (udpHeaders + 32) }
    const send = (from: Namespace, to: string) => net.run(from, 'udp-send', { address: to, port: 9000, count })
    const drop = (table: string, chain: string) =>
      net.exec(net.router!, iptables, '-w', '-t', table, '-A', chain, '-p', 'udp', '-j', 'DROP')
    /** What the three have after it. */
    async function expectDrops(cause: () => Promise<unknown>, drops: { a?: Drops; b?: Drops; router?: Drops }): Promise<void> {
      const found: Record<string, Drops> = {}
      let caused: Promise<unknown> | undefined
      await Promise.all(
        [net.a, net.b, net.router!].map(async (namespace, i) => {
          found[['a', 'b', 'router'][i]!] = await dropsDuring(tracer, namespace, () => (caused ??= cause()))
        }),
      )
      expect(found).toEqual({ a: {}, b: {}, router: {}, ...drops })
    }

    test('both ends are pods and the way is known: the receiver’s, in', async () => {
      drop('filter', 'FORWARD')
      await expectDrops(() => send(net.a, net.b[address]), { b: { 'netfilter_drop udp in': expected } })
    })

    test('both ends are pods, before the way is known: the sender’s, out', async () => {
      drop('raw', 'PREROUTING')
      await expectDrops(() => send(net.a, net.b[address]), { a: { 'netfilter_drop udp out': expected } })
    })

    test('a pod to elsewhere: the sender’s, out', async () => {
      drop('filter', 'FORWARD')
      net.exec(net.router!, 'ip', address === 'ipv4' ? '-4' : '-6', 'route', 'replace', 'default', 'dev', 'eth1')
      const to = address === 'ipv4' ? '10.99.0.1' : 'fd99::1'
      await expectDrops(() => send(net.a, to), { a: { 'netfilter_drop udp out': expected } })
    })

    test('the host to a pod: the receiver’s, in', async () => {
      drop('filter', 'OUTPUT')
      await expectDrops(() => send(net.router!, net.b[address]), { b: { 'netfilter_drop udp in': expected } })
    })

    test('a pod to the host: the sender’s, out', async () => {
      drop('filter', 'INPUT')
      await expectDrops(() => send(net.a, net.router![address]), { a: { 'netfilter_drop udp out': expected } })
    })

    test('neither end is a pod: the host’s', async () => {
      drop('filter', 'OUTPUT')
      const own = address === 'ipv4' ? '127.0.0.1' : '::1'
      await expectDrops(() => send(net.router!, own), { router: { 'netfilter_drop udp out': expected } })
    })

    test('an address that is nobody’s any more', async () => {
      tracer.setOwner(parseAddress(net.b[address]), undefined)
      drop('filter', 'OUTPUT')
      await expectDrops(() => send(net.router!, net.b[address]), { router: { 'netfilter_drop udp out': expected } })
    })

    test.each([
      { of: 'pods, the way is known', table: 'filter', chain: 'FORWARD', from: 'a', to: 'b', edge: 'b as server, of a' },
      { of: 'pods, before', table: 'raw', chain: 'PREROUTING', from: 'a', to: 'b', edge: 'a as client, of b' },
      { of: 'the host and a pod', table: 'filter', chain: 'OUTPUT', from: 'router', to: 'b', edge: 'b as server, of router' },
      { of: 'a pod and the host', table: 'filter', chain: 'INPUT', from: 'a', to: 'router', edge: 'a as client, of router' },
    ] as const)('on the edge of $of', async ({ table, chain, from, to, edge }) => {
      drop(table, chain)
      const namespaces = { a: net.a, b: net.b, router: net.router! }
      await send(namespaces[from], namespaces[to][address])
      const nameOf = (isIt: (namespace: Namespace) => boolean): string | undefined =>
        Object.entries(namespaces).find(([, namespace]) => isIt(namespace))?.[0]
      const farSide = address === 'ipv4' ? '10.77.2.254' : 'fd77:2::fe'
      const edges: Record<string, number> = {}
      tracer.read('edge_dropped_packets_total', (key, [packets = 0]) => {
        const who = nameOf(({ inode }) => inode === key.getUint32(0, true))
        if (who === undefined || tracer.reasonName(key.getUint32(8, true)) !== 'netfilter_drop') return
        const [local, remote] = [16, 32].map((at) => {
          const text = formatAddress(new Uint8Array(key.buffer, key.byteOffset + at, 16))
          return text === farSide ? 'router' : nameOf((namespace) => namespace[address] === text)
        })
        expect(local).toBe(who)
        edges[`${who} as ${tracedRoles[key.getUint32(12, true)]}, of ${remote}`] = packets
      })
      expect(edges).toEqual({ [edge]: count })
    })

    test('a drop in a pod’s own namespace is its own, whatever the addresses are', async () => {
      net.exec(net.b, iptables, '-w', '-A', 'INPUT', '-p', 'udp', '-j', 'DROP')
      await expectDrops(() => send(net.a, net.b[address]), { b: { 'netfilter_drop udp in': expected } })
      net.exec(net.b, iptables, '-w', '-F')
    })
  })
})
