import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { HistogramValue, SummaryValue } from '../../agent/sources/source.ts'
import { startWiring, type Wiring } from '../wiring.ts'
import { expectEvents, expectNothingLost, readStack } from './events.ts'
import { createTopology, type Namespace, requireTracer, type Topology } from './topology.ts'

const connects = 'netvitals_tcp_connects_total'
const duration = 'netvitals_tcp_connect_duration_seconds'
const rtt = 'netvitals_tcp_rtt_seconds'

requireTracer('TCP connects', () => {
  let topology: Topology
  let wiring: Wiring
  beforeEach(async () => {
    topology = await createTopology('nvg-connects')
    wiring = await startWiring()
    await wiring.sweep()
  })
  afterEach(async () => {
    if (wiring) await expectNothingLost(wiring)
    await wiring?.stop()
    await topology?.dispose()
  })

  const readValue = <Value>(metric: typeof duration | typeof rtt, { name }: Namespace): Value | undefined =>
    wiring.series(metric, { pod: name })[0]?.value as Value | undefined

  describe.each([
    { family: 'ipv4', iptables: 'iptables', ip: '-4', nobody: '10.77.0.77' },
    { family: 'ipv6', iptables: 'ip6tables', ip: '-6', nobody: 'fd77::77' },
  ] as const)('$family', ({ family, iptables, ip, nobody }) => {
    it('connected: each with its duration, and its round-trip time at both ends when it is over', async () => {
      const { a, b } = topology
      const server = await topology.hold(b, 'tcp-listen', { address: b[family], port: 5001 })
      const startedAtMs = performance.now()
      const client = await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count: 40 })
      const elapsedSeconds = (performance.now() - startedAtMs) / 1000
      await server.act('accept', { count: 40 })
      await expectEvents(wiring, a, connects, { connected: 40 })
      await expectEvents(wiring, b, connects, {}) // who accepts has not connected
      await expectEvents(wiring, a, duration, { '': 40 })
      const { sum } = readValue<HistogramValue>(duration, a)!
      expect(sum).toBeGreaterThan(0)
      expect(sum).toBeLessThan(elapsedSeconds)
      expect(readStack(topology, a)('Tcp.ActiveOpens')).toBe(40)

      await expectEvents(wiring, a, rtt, {}) // not while they live
      await client.act('close')
      await server.act('close')
      const lifetimeSeconds = (performance.now() - startedAtMs) / 1000
      for (const namespace of [a, b]) {
        await expectEvents(wiring, namespace, rtt, { '': 40 })
        const { sum: seconds } = readValue<SummaryValue>(rtt, namespace)!
        expect(seconds).toBeGreaterThan(0)
        expect(seconds / 40).toBeLessThan(lifetimeSeconds)
      }
    })

    it('connected in the second attempt: a duration of a second', async () => {
      const { a, b } = topology
      const block = (to: 'A' | 'D') => topology.exec(b, iptables, '-w', `-${to}`, 'INPUT', '-p', 'tcp', '-j', 'DROP')
      await topology.hold(b, 'tcp-listen', { address: b[family], port: 5001 })
      block('A')
      const client = await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count: 10, wait: false })
      expect(client.ready).toEqual({ waiting: 10 })
      block('D')
      await expectEvents(wiring, a, connects, { connected: 10 })
      const { counts, sum } = readValue<HistogramValue>(duration, a)!
      expect(counts.slice(0, 7).reduce((x, y) => x + y, 0)).toBe(0) // 2^18 µs: a quarter of a second
      expect(counts.reduce((x, y) => x + y, 0)).toBe(10)
      expect(sum).toBeGreaterThan(9.9)
    })

    it('refused by a closed port, by an ICMP port unreachable', async () => {
      const { a, b } = topology
      await topology.hold(a, 'tcp-connect', { address: b[family], port: 5999, count: 30 })
      await expectEvents(wiring, a, connects, { refused: 30 })
      const reject = family === 'ipv4' ? 'icmp-port-unreachable' : 'icmp6-port-unreachable'
      topology.exec(b, 'sysctl', '-qw', 'net.ipv4.icmp_ratelimit=0', 'net.ipv6.icmp.ratelimit=0')
      topology.exec(b, iptables, '-w', '-A', 'INPUT', '-p', 'tcp', '-j', 'REJECT', '--reject-with', reject)
      const client = await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count: 3 })
      expect(client.ready).toEqual({ ECONNREFUSED: 3 })
      await expectEvents(wiring, a, connects, { refused: 33 })
    })

    it('timed out: nobody answers', async () => {
      const { a, b } = topology
      topology.exec(a, 'sysctl', '-qew', 'net.ipv4.tcp_syn_linear_timeouts=0')
      topology.exec(b, iptables, '-w', '-A', 'INPUT', '-p', 'tcp', '-j', 'DROP')
      const client = await topology.hold(a, 'tcp-connect', {
        address: b[family],
        port: 5001,
        count: 25,
        wait: false,
        synRetries: 1,
      })
      await expectEvents(wiring, a, connects, { timed_out: 25 })
      expect(await client.act('outcomes')).toEqual({ ETIMEDOUT: 25 })
    })

    it('unreachable: a neighbour that does not answer, and prohibited', async () => {
      const { a, b } = topology
      const neighbours = `net.${family}.neigh.eth0`
      topology.exec(a, 'sysctl', '-qw', `${neighbours}.mcast_solicit=1`, `${neighbours}.retrans_time_ms=200`)
      const client = await topology.hold(a, 'tcp-connect', { address: nobody, port: 5001, count: 4 })
      expect(client.ready).toEqual({ EHOSTUNREACH: 4 })
      await expectEvents(wiring, a, connects, { unreachable: 4 })

      const reject = family === 'ipv4' ? 'icmp-admin-prohibited' : 'icmp6-adm-prohibited'
      topology.exec(b, 'sysctl', '-qw', 'net.ipv4.icmp_ratelimit=0', 'net.ipv6.icmp.ratelimit=0')
      topology.exec(b, iptables, '-w', '-A', 'INPUT', '-p', 'tcp', '-j', 'REJECT', '--reject-with', reject)
      const prohibited = await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count: 3 })
      expect(prohibited.ready).toEqual({ [family === 'ipv4' ? 'EHOSTUNREACH' : 'EACCES']: 3 })
      await expectEvents(wiring, a, connects, { unreachable: 7 })
    })

    it('no route at all fails before it is a connect, and is none', async () => {
      const { a, b } = topology
      topology.exec(a, 'ip', ip, 'route', 'add', 'unreachable', family === 'ipv4' ? '10.99.0.0/16' : 'fd99::/16')
      const client = await topology.hold(a, 'tcp-connect', {
        address: family === 'ipv4' ? '10.99.0.1' : 'fd99::1',
        port: 5001,
        count: 6,
      })
      expect(client.ready).toEqual({ EHOSTUNREACH: 6 })
      await topology.hold(a, 'tcp-connect', { address: b[family], port: 5999, count: 1 })
      await expectEvents(wiring, a, connects, { refused: 1 })
    })

    it('no port left, and a bound port in use towards that peer', async () => {
      const { a, b } = topology
      topology.exec(a, 'sysctl', '-qw', 'net.ipv4.ip_local_port_range=40000 40009')
      await topology.hold(b, 'tcp-listen', { address: b[family], port: 5001 })
      const client = await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count: 19 })
      expect(client.ready).toEqual({ connected: 10, EADDRNOTAVAIL: 9 })
      await expectEvents(wiring, a, connects, { connected: 10, no_port: 9 })

      const bound = { address: b[family], port: 5001, from: { address: a[family], port: 7000 } }
      const twice = await topology.hold(a, 'tcp-connect', { ...bound, count: 3 })
      expect(twice.ready).toEqual({ connected: 1, EADDRNOTAVAIL: 2 })
      await expectEvents(wiring, a, connects, { connected: 11, no_port: 11 })
    })

    it('abandoned: the application did not wait', async () => {
      const { a, b } = topology
      topology.exec(b, iptables, '-w', '-A', 'INPUT', '-p', 'tcp', '-j', 'DROP')
      const client = await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count: 16, wait: false })
      await client.act('close')
      await expectEvents(wiring, a, connects, { abandoned: 16 })
    })

    it('both ends have called: both are connected', async () => {
      const { a, b } = topology
      topology.exec(b, iptables, '-w', '-A', 'INPUT', '-p', 'tcp', '--syn', '-j', 'DROP') // a's call is not heard
      const [first, second] = [
        { address: b[family], port: 5002, from: { address: a[family], port: 5001 }, count: 1 },
        { address: a[family], port: 5001, from: { address: b[family], port: 5002 }, count: 1 },
      ]
      await topology.hold(a, 'tcp-connect', { ...first, wait: false })
      await topology.hold(b, 'tcp-connect', second)
      for (const namespace of [a, b]) {
        await expectEvents(wiring, namespace, connects, { connected: 1 })
        await expectEvents(wiring, namespace, duration, { '': 1 })
      }
    })
  })

  it('a connect begun before the agent has an outcome, but no duration', async () => {
    const { a, b } = topology
    const block = (to: 'A' | 'D') => topology.exec(b, 'iptables', '-w', `-${to}`, 'INPUT', '-p', 'tcp', '-j', 'DROP')
    await topology.hold(b, 'tcp-listen', { address: b.ipv4, port: 5001 })
    block('A')
    await topology.hold(a, 'tcp-connect', { address: b.ipv4, port: 5001, count: 5, wait: false })
    await wiring.stop()
    wiring = await startWiring()
    block('D')
    await expectEvents(wiring, a, connects, { connected: 5 })
    await expectEvents(wiring, a, duration, {})
  })
})
