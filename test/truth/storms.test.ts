import { execFileSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { startWiring, type Wiring } from '../wiring.ts'
import { expectEvents, expectNothingLost, expectSum, readEvents, readStack, stormSize } from './events.ts'
import { leftOut } from './left-out.ts'
import { createTopology, requireRoot, slowness, type Topology } from './topology.ts'

const connects = 'netvitals_tcp_connects_total'
const duration = 'netvitals_tcp_connect_duration_seconds'
const rtt = 'netvitals_tcp_rtt_seconds'
const sentResets = 'netvitals_tcp_sent_resets_by_reason_total'
const receivedResets = 'netvitals_tcp_received_resets_total'

requireRoot('storms at full rate', () => {
  let topology: Topology
  let wiring: Wiring
  beforeEach(async () => {
    topology = await createTopology('nvg-storms')
    wiring = await startWiring()
    await wiring.sweep()
  })
  afterEach(async () => {
    await wiring?.stop()
    await topology?.dispose()
  })
  const families = [
    { family: 'IPv4', address: '127.0.0.1' },
    { family: 'IPv6', address: '::1' },
  ] as const

  /** Sweeps while it lasts, so that what is counted is read all the time. */
  async function sweepDuring<Result>(storm: Promise<Result>): Promise<Result> {
    let isOver = false
    const over = storm.finally(() => {
      isOver = true
    })
    while (!isOver) await Promise.race([over.catch(() => undefined), wiring.sweep()])
    return over
  }

  /** The same on two CPUs at once, each in its namespace. */
  async function stormBoth(options: { address: string; end: string; count: number }): Promise<void> {
    const both = [topology.a, topology.b].map((namespace, cpu) =>
      topology.run(namespace, 'tcp-storm', { port: 5001, cpu, ...options }),
    )
    await sweepDuring(Promise.all(both))
  }

  /** Each connect has its duration, but those whose beginning the kernel's table refused to note: they are counted, and nothing else is lost. */
  async function expectDurations(count: number): Promise<void> {
    const read = async () => {
      await wiring.sweep()
      const { mapFull: refused } = wiring.host.tracer.lost(['tcp_connect_duration_seconds'])
      const told = [topology.a, topology.b].map((namespace) => readEvents(wiring, namespace, duration)[''] ?? 0)
      const { mapFull, recursion } = wiring.host.tracer.lost()
      return { connects: told.reduce((sum, one) => sum + one, refused), lostBesides: mapFull - refused, recursion }
    }
    const expected = { connects: 2 * count, lostBesides: 0, recursion: 0 }
    try {
      await expect.poll(read, { timeout: 6000 * slowness, interval: 50 }).toEqual(expected)
      await sleep(100)
      expect(await read()).toEqual(expected)
    } catch (error) {
      const { connects, lostBesides } = await read()
      const why = connects < expected.connects && lostBesides === 0 ? `; ${leftOut}` : ''
      throw new Error(`${(error as Error).message}${why}`, { cause: error })
    }
  }

  it.each(families)(
    '$family: connections refused',
    async ({ address }) => {
      const count = stormSize(50_000)
      await stormBoth({ address, end: 'refused', count })
      for (const namespace of [topology.a, topology.b]) {
        await expectEvents(wiring, namespace, connects, { refused: count })
        await expectEvents(wiring, namespace, sentResets, { no_socket: count })
        await expectEvents(wiring, namespace, receivedResets, { syn_sent: count })
        expect(readStack(topology, namespace)('Tcp.OutRsts')).toBe(count)
      }
      await expectNothingLost(wiring)
    },
    120_000 * slowness,
  )

  it.each(families)(
    '$family: connections reset',
    async ({ address }) => {
      const count = stormSize(25_000)
      await stormBoth({ address, end: 'reset', count })
      for (const namespace of [topology.a, topology.b]) {
        await expectEvents(wiring, namespace, connects, { connected: count })
        await expectEvents(wiring, namespace, sentResets, { tcp_state: count })
        await expectEvents(wiring, namespace, receivedResets, { established: count })
        await expectEvents(wiring, namespace, rtt, { '': 2 * count })
      }
      await expectDurations(count)
    },
    120_000 * slowness,
  )

  it.each(families)(
    '$family: connections closed',
    async ({ address }) => {
      const count = stormSize(10_000)
      await stormBoth({ address, end: 'close', count })
      for (const namespace of [topology.a, topology.b]) {
        await expectEvents(wiring, namespace, connects, { connected: count })
        await expectEvents(wiring, namespace, rtt, { '': 2 * count })
        await expectEvents(wiring, namespace, receivedResets, {})
        const stack = readStack(topology, namespace)
        expect([stack('Tcp.ActiveOpens'), stack('Tcp.PassiveOpens')]).toEqual([count, count])
      }
      await expectDurations(count)
    },
    120_000 * slowness,
  )

  it(
    'retransmissions: a thousand connections whose peer has gone deaf',
    async () => {
      const { a, b } = topology
      const count = stormSize(1000)
      const server = await topology.hold(b, 'tcp-listen', { address: b.ipv4, port: 5001 })
      const client = await topology.hold(a, 'tcp-connect', { address: b.ipv4, port: 5001, count })
      expect(await server.act('accept', { count, timeoutMs: 5000 * slowness })).toEqual({ accepted: count })
      topology.exec(b, 'iptables', '-w', '-A', 'INPUT', '-p', 'tcp', '-j', 'DROP')
      await client.act('send', { bytes: 3000 }) // three segments each
      await expect
        .poll(() => readStack(topology, a)('Tcp.RetransSegs'), { timeout: 20_000 * slowness })
        .toBeGreaterThan(2 * count)
      topology.exec(b, 'iptables', '-w', '-F', 'INPUT')
      let segments = -1
      await expect
        .poll(
          async () => {
            await wiring.sweep()
            segments = readStack(topology, a)('Tcp.RetransSegs')
            return wiring.value('netvitals_tcp_send_queue_bytes', { pod: a.name }) // until all is acknowledged
          },
          { timeout: 60_000 * slowness, interval: 700 },
        )
        .toBe(0)
      await wiring.sweep() // what the kernel counts by events is read at the beginning of a sweep, before the queues
      expectSum(wiring, a, 'netvitals_tcp_retransmitted_segments_by_kind_total', segments)
      await expectNothingLost(wiring)
    },
    60_000 * slowness,
  )

  it(
    'namespaces of one name come and go during a storm: each has its own, and the storm its sum',
    async () => {
      const { a } = topology
      const name = 'nvg-storms-brief'
      const count = stormSize(100_000)
      const rounds = slowness > 1 ? 4 : 12
      const inodes: number[] = []
      const storm = topology.run(a, 'tcp-storm', { address: '127.0.0.1', port: 5001, end: 'refused', count, cpu: 0 })
      try {
        for (let round = 1; round <= rounds; round++) {
          execFileSync('ip', ['netns', 'add', name])
          const brief = { name, ipv4: '127.0.0.1', ipv6: '::1', inode: 0 }
          inodes.push(Number(topology.exec(brief, 'stat', '-Lc', '%i', '/proc/self/ns/net')))
          topology.exec(brief, 'ip', 'link', 'set', 'lo', 'up')
          await wiring.sweep()
          const ownCount = 10 * round
          await topology.run(brief, 'tcp-storm', { address: '127.0.0.1', port: 5001, end: 'refused', count: ownCount })
          // Some are read while it lives, the others when it has gone.
          if (round % 2 === 0) await expectEvents(wiring, brief, connects, { refused: ownCount })
          execFileSync('ip', ['netns', 'del', name])
          await expectEvents(wiring, brief, connects, { refused: ownCount })
          await expectEvents(wiring, brief, receivedResets, { syn_sent: ownCount })
        }
      } finally {
        execFileSync('sh', ['-c', `ip netns del ${name} 2>/dev/null || true`])
        await storm
      }
      await expectEvents(wiring, a, connects, { refused: count })
      await expectEvents(wiring, a, receivedResets, { syn_sent: count })
      expect(new Set(inodes).size).toBeLessThan(rounds) // else this kernel did not use an inode again, and nothing is shown
      await expectNothingLost(wiring)
    },
    120_000 * slowness,
  )
})
