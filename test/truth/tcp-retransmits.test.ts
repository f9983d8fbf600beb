import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { startWiring, type Wiring } from '../wiring.ts'
import { expectEvents, expectNothingLost, expectSum, readEvents, readStack } from './events.ts'
import { isBefore } from './expected-absences.ts'
import { createTopology, type Holder, type Namespace, requireTracer, slowness, type Topology } from './topology.ts'

const byKind = 'netvitals_tcp_retransmitted_segments_by_kind_total'
const failures = 'netvitals_tcp_retransmit_failures_total'

requireTracer('TCP retransmissions', () => {
  let topology: Topology
  let wiring: Wiring
  beforeEach(async () => {
    topology = await createTopology('nvg-retransmits')
    wiring = await startWiring()
    await wiring.sweep()
  })
  afterEach(async () => {
    if (wiring) await expectNothingLost(wiring)
    await wiring?.stop()
    await topology?.dispose()
  })

  /**
   * Kinds, once the kernel's own count of all of them has come to rest because everything is acknowledged (or will never
   * be); they add up to it.
   */
  async function readKinds(
    namespace: Namespace,
    { readRefusedBelow = (): number => 0, unacknowledged = false } = {},
  ): Promise<Record<string, number>> {
    let segments = -1
    await expect
      .poll(
        async () => {
          const before = segments
          await wiring.sweep()
          segments = readStack(topology, namespace)('Tcp.RetransSegs')
          const isOver = unacknowledged || !wiring.value('netvitals_tcp_send_queue_bytes', { pod: namespace.name })
          return isOver && before === segments
        },
        { timeout: 20_000 * slowness, interval: 300 },
      )
      .toBe(true)
    const kinds = readEvents(wiring, namespace, byKind)
    expectSum(wiring, namespace, byKind, segments - readRefusedBelow())
    return kinds
  }

  describe.each([
    { family: 'ipv4', iptables: 'iptables' },
    { family: 'ipv6', iptables: 'ip6tables' },
  ] as const)('$family', ({ family, iptables }) => {
    const rule = (namespace: Namespace, to: 'A' | 'D', chain: string, ...rest: string[]) =>
      topology.exec(namespace, iptables, '-w', `-${to}`, chain, '-p', 'tcp', ...rest, '-j', 'DROP')

    async function connect(count: number): Promise<{ client: Holder; server: Holder }> {
      const { a, b } = topology
      const server = await topology.hold(b, 'tcp-listen', { address: b[family], port: 5001 })
      const client = await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count })
      expect(await server.act('accept', { count })).toEqual({ accepted: count })
      return { client, server }
    }

    it('syn: no answer to the first, nor to the second', async () => {
      const { a, b } = topology
      withoutLinearTimeouts(a)
      rule(b, 'A', 'INPUT')
      await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count: 20, wait: false, synRetries: 1 })
      await expectEvents(wiring, a, byKind, { syn: 20 })
      expect(readStack(topology, a)('TcpExt.TCPSynRetrans')).toBe(20)
      await expectEvents(wiring, a, 'netvitals_tcp_connects_total', { timed_out: 20 })
      expect(await readKinds(a)).toEqual({ syn: 20 })
    })

    it('synack: the answer to a SYN is lost', async () => {
      const { a, b } = topology
      withoutLinearTimeouts(a)
      topology.exec(b, 'sysctl', '-qw', 'net.ipv4.tcp_synack_retries=1')
      await topology.hold(b, 'tcp-listen', { address: b[family], port: 5001 })
      rule(a, 'A', 'INPUT')
      // The SYN that is sent again asks for an answer too.
      await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count: 10, wait: false, synRetries: 1 })
      await expectEvents(wiring, a, 'netvitals_tcp_connects_total', { timed_out: 10 })
      const { synack = 0, ...others } = await readKinds(b)
      expect(others).toEqual({})
      expect(synack).toBeGreaterThanOrEqual(10)
      expect(readStack(topology, b)('TcpExt.TCPSynRetrans')).toBe(synack)
    })

    it('timeout, probe: nothing arrives for a while', async () => {
      const { a, b } = topology
      const { client } = await connect(10)
      rule(b, 'A', 'INPUT')
      await client.act('send', { bytes: 100 })
      await sleep(1000 * Math.min(slowness, 3))
      rule(b, 'D', 'INPUT')
      const kinds = await readKinds(a)
      const stack = readStack(topology, a)
      // A tail loss probe sends the last segment again if nothing new can be sent.
      expect(kinds.probe ?? 0).toBe(stack('TcpExt.TCPLossProbes'))
      expect(kinds.timeout ?? 0).toBe(stack('TcpExt.TCPTimeouts') + stack('TcpExt.TCPSlowStartRetrans'))
      expect(Object.keys(kinds).sort()).toEqual(['probe', 'timeout'])
    })

    it('fast: one segment in a row is lost, and those after it say so', async () => {
      const { a, b } = topology
      topology.exec(a, 'ip', 'link', 'set', 'eth0', 'gso_max_segs', '1')
      // A SYN, an ACK, and then the first segment of data.
      rule(b, 'A', 'INPUT', '-m', 'connbytes', '--connbytes', '3:3', '--connbytes-dir', 'original', '--connbytes-mode', 'packets')
      const { client } = await connect(25)
      expect(await client.act('send', { bytes: 7000 })).toEqual({ sent: 25 * 7000 })
      expect(await readKinds(a)).toEqual({ fast: 25 })
      expect(readStack(topology, a)('TcpExt.TCPFastRetrans')).toBe(25)
    })

    it('bulk with losses: as many segments of each kind as the kernel says', async () => {
      const { a, b } = topology
      const bytes = Math.ceil(8_000_000 / slowness)
      const sink = await topology.hold(b, 'tcp-sink', { address: b[family], port: 5001 })
      topology.exec(a, 'ip', 'link', 'set', 'eth0', 'gso_max_segs', '4') // else the few packets of a slow machine are none lost
      rule(b, 'A', 'INPUT', '-m', 'statistic', '--mode', 'nth', '--packet', '19', '--every', '20')
      const [sent, read] = await Promise.all([
        topology.run<{ sent: number }>(a, 'tcp-bulk', { address: b[family], port: 5001, bytes }),
        sink.act('read'),
      ])
      expect([sent.sent, read.received]).toEqual([bytes, bytes])
      const { fast = 0, timeout = 0, probe = 0, ...others } = await readKinds(a)
      const stack = readStack(topology, a)
      expect(others).toEqual({})
      expect(fast).toBe(stack('TcpExt.TCPFastRetrans'))
      expect(fast).toBeGreaterThan(0)
      expect(timeout).toBeGreaterThanOrEqual(stack('TcpExt.TCPSlowStartRetrans'))
      expect(probe).toBeLessThanOrEqual(stack('TcpExt.TCPLossProbes')) // a probe may be a new segment
    })

    it('what the machine itself drops on the way out is retransmitted and counted, where the kernel tells', async () => {
      const { a, b } = topology
      const { client } = await connect(10)
      rule(b, 'A', 'INPUT')
      await client.act('send', { bytes: 100 })
      rule(a, 'A', 'OUTPUT')
      const readRefused = () => readStack(topology, a)('TcpExt.TCPRetransFail')
      await expect.poll(readRefused, { timeout: 5000 * slowness }).toBeGreaterThanOrEqual(10)
      rule(a, 'D', 'OUTPUT')
      rule(b, 'D', 'INPUT')
      await readKinds(a, isBefore('6.17') ? { readRefusedBelow: readRefused } : {})
      expect(readRefused()).toBeGreaterThanOrEqual(10)
      await expectEvents(wiring, a, failures, {})
    })

    it('failures: there is no way to the peer any more, and each timeout is one', async () => {
      const { a, b } = topology
      topology.exec(a, 'sysctl', '-qw', 'net.ipv4.tcp_early_retrans=0') // no probes: the timer alone
      const { client } = await connect(10)
      rule(b, 'A', 'INPUT')
      await client.act('send', { bytes: 100 })
      topology.exec(a, 'ip', family === 'ipv4' ? '-4' : '-6', 'route', 'add', 'unreachable', b[family], 'metric', '1')
      if (isBefore('6.17')) return expectEvents(wiring, a, failures, {})
      await expect
        .poll(
          async () => {
            const stack = readStack(topology, a)
            await wiring.sweep()
            const failed = wiring.value(failures, { pod: a.name }) ?? 0
            const again = readStack(topology, a)
            const isAtRest = stack('TcpExt.TCPTimeouts') === again('TcpExt.TCPTimeouts')
            return isAtRest && failed >= 10 && failed + stack('Tcp.RetransSegs') === stack('TcpExt.TCPTimeouts')
          },
          { timeout: 8000 * slowness, interval: 20 },
        )
        .toBe(true)
      await readKinds(a, { unacknowledged: true })
    })
  })

  /** Else a SYN is sent four times more, without the time being doubled (since Linux 6.5). */
  function withoutLinearTimeouts(namespace: Namespace): void {
    topology.exec(namespace, 'sysctl', '-qew', 'net.ipv4.tcp_syn_linear_timeouts=0')
  }
})
