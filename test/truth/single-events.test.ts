import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { EventEnd, EventMessage, NetworkEvent } from '../../agent/events.ts'
import { limits } from '../../agent/limits.ts'
import type { EventType } from '../../agent/metrics/labels.ts'
import { startWiring, type Wiring } from '../wiring.ts'
import { stormSize } from './events.ts'
import { createTopology, type Namespace, requireTraced, slowness, type Topology } from './topology.ts'

const counters = {
  drop: ['netvitals_dropped_packets_total', 'netvitals_dropped_packets_unattributed_total'],
  reset_sent: ['netvitals_tcp_sent_resets_by_reason_total'],
  reset_received: ['netvitals_tcp_received_resets_total'],
  retransmit: ['netvitals_tcp_retransmitted_segments_by_kind_total'],
} as const

requireTraced('tcp_sent_resets_by_reason_total', 'single events', () => {
  let topology: Topology
  let wiring: Wiring
  beforeEach(async () => {
    topology = await createTopology('nvg-events')
    wiring = await startWiring()
    await wiring.sweep()
  })
  afterEach(async () => {
    await wiring?.stop()
    await topology?.dispose()
  })

  const isEvent = (message: EventMessage): message is NetworkEvent => message.type !== 'not_shown'
  /** The end it is about; the other is named too, if it is known. */
  const subjectOf = ({ type, direction, source, destination }: NetworkEvent): EventEnd =>
    type === 'reset_received' || (type === 'drop' && direction === 'in') ? destination : source
  /** Events of a type whose subject is the namespace, without their times. */
  const eventsOf = (type: EventType, { name }: Namespace): Omit<NetworkEvent, 'time'>[] =>
    wiring.events
      .recent()
      .filter(isEvent)
      .filter((event) => event.type === type && subjectOf(event).pod === name)
      .filter(({ protocol }) => protocol !== 'other') // what IPv6 says when a device comes up
      .map(({ time, ...event }) => {
        expect(Math.abs(Date.parse(time) - Date.now())).toBeLessThan(60_000 * slowness)
        return event
      })
  const expectEvents = async (type: EventType, namespace: Namespace, expected: readonly object[]): Promise<void> => {
    await expect
      .poll(async () => {
        await wiring.sweep()
        return eventsOf(type, namespace)
      })
      .toEqual(expected)
  }
  const named = ({ name }: Namespace) => ({ namespace: '@netns', pod: name })
  const port = expect.any(Number) as number

  describe.each([
    { family: 'ipv4', iptables: 'iptables' },
    { family: 'ipv6', iptables: 'ip6tables' },
  ] as const)('$family', ({ family, iptables }) => {
    it('a drop on the way in and on the way out', async () => {
      const { a, b } = topology
      topology.exec(b, iptables, '-A', 'INPUT', '-p', 'udp', '--dport', '7001', '-j', 'DROP')
      topology.exec(a, iptables, '-A', 'OUTPUT', '-p', 'udp', '--dport', '7002', '-j', 'DROP')
      await topology.run(a, 'udp-send', { address: b[family], port: 7001, count: 2, bytes: 72 })
      await topology.run(a, 'udp-send', { address: b[family], port: 7002, count: 3, bytes: 72 })
      const what = { type: 'drop', family, protocol: 'udp', reason: 'netfilter_drop', category: 'netfilter' }
      const bytes = 72 + (family === 'ipv4' ? 28 : 48)
      const to = (to: number) => ({ ...named(b), address: b[family], port: to })
      const from = { ...named(a), address: a[family], port }
      const incoming = { ...what, direction: 'in', bytes, source: from, destination: to(7001) }
      const outgoing = { ...what, direction: 'out', bytes, source: from, destination: to(7002) }
      await expectEvents('drop', b, Array(2).fill(incoming))
      await expectEvents('drop', a, Array(3).fill(outgoing))
    })

    it('a refused connect: the drop of its SYN, the reset sent and received, the failure', async () => {
      const { a, b } = topology
      await topology.hold(a, 'tcp-connect', { address: b[family], port: 5999, count: 1 })
      const what = { family, protocol: 'tcp' }
      const [client, server] = [
        { ...named(a), address: a[family], port },
        { ...named(b), address: b[family], port: 5999 },
      ]
      const bytes = family === 'ipv4' ? 60 : 80
      const drop = { reason: 'no_socket', category: 'no_socket', direction: 'in', flags: ['SYN'], bytes }
      await expectEvents('drop', b, [{ ...what, type: 'drop', ...drop, source: client, destination: server }])
      await expectEvents('reset_sent', b, [
        { ...what, type: 'reset_sent', reason: 'no_socket', source: server, destination: client },
      ])
      await expectEvents('reset_received', a, [
        { ...what, type: 'reset_received', state: 'syn_sent', source: server, destination: client },
      ])
      await expectEvents('connect', a, [{ ...what, type: 'connect', outcome: 'refused', source: client, destination: server }])
      const ports = wiring.events
        .recent()
        .filter(isEvent)
        .map(({ source, destination }) => [source.port, destination.port])
        .filter((pair) => pair.includes(5999)) // the machine may do other things too
      expect(new Set(ports.map((pair) => Math.max(...pair.map(Number)))).size).toBe(1)
    })

    it('a reset of an established connection: sent and received with its state', async () => {
      const { a, b } = topology
      const server = await topology.hold(b, 'tcp-listen', { address: b[family], port: 5001 })
      await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count: 1 })
      await server.act('accept', { count: 1 })
      await server.act('reset')
      const what = { family, protocol: 'tcp' }
      const [client, listener] = [
        { ...named(a), address: a[family], port },
        { ...named(b), address: b[family], port: 5001 },
      ]
      await expectEvents('reset_sent', b, [
        {
          ...what,
          type: 'reset_sent',
          reason: 'tcp_state',
          state: 'close',
          source: listener,
          destination: client,
        },
      ])
      await expectEvents('reset_received', a, [
        { ...what, type: 'reset_received', state: 'established', source: listener, destination: client },
      ])
    })

    it('a lost SYN-ACK: SYN and SYN-ACK again, and where the kernel drops the second SYN, for which it has no reason', async () => {
      const { a, b } = topology
      topology.exec(a, iptables, '-A', 'INPUT', '-p', 'tcp', '--tcp-flags', 'SYN,ACK', 'SYN,ACK', '-j', 'DROP')
      await topology.hold(b, 'tcp-listen', { address: b[family], port: 5003 })
      const connecting = await topology.hold(a, 'tcp-connect', { address: b[family], port: 5003, count: 1, wait: false })
      await expect.poll(() => eventsOf('retransmit', a).length, { timeout: 4000 * slowness }).toBeGreaterThan(0)
      await connecting.act('close')
      const what = { type: 'retransmit', family, protocol: 'tcp' }
      const [client, server] = [
        { ...named(a), address: a[family], port },
        { ...named(b), address: b[family], port: 5003 },
      ]
      // Where the machine is slow the SYN may have gone more than once.
      const syns = eventsOf('retransmit', a)
      const syn = { ...what, kind: 'syn', state: 'syn_sent', source: client, destination: server }
      expect(syns).toEqual(syns.map(() => syn))
      expect(eventsOf('retransmit', b)).toContainEqual({
        ...what,
        kind: 'synack',
        state: 'syn_recv',
        source: server,
        destination: client,
      })
      await expectEvents('connect', a, [{ ...what, type: 'connect', outcome: 'abandoned', source: client, destination: server }])
      const unspecified = eventsOf('drop', b).filter(({ reason }) => reason === 'not_specified')
      expect(unspecified.length).toBeGreaterThan(0)
      for (const { flags, function: name } of unspecified)
        expect([flags, name]).toEqual([['SYN'], expect.stringMatching(family === 'ipv4' ? /^tcp_v4_rcv\+0x/ : /^tcp_v6_rcv\+0x/)])
    })
  })

  it('in a storm: those shown and the number not shown are all there were', async () => {
    const { a, b } = topology
    for (const namespace of [a, b])
      topology.exec(namespace, 'iptables', '-t', 'raw', '-A', 'PREROUTING', '-p', 'udp', '--dport', '7005', '-j', 'DROP')
    const count = stormSize(200_000)
    const told = { shown: 0, notShown: 0 }
    const stop = wiring.events.subscribe((message) => {
      if (message.type === 'drop') told.shown += message.packets ?? 1
      if (message.type === 'not_shown' && message.of === 'drop') told.notShown += message.count
    })
    const started = performance.now()
    await Promise.all([
      topology.run(a, 'udp-send', { address: b.ipv4, port: 7005, count, cpu: 0 }),
      topology.run(b, 'udp-send', { address: a.ipv4, port: 7005, count, cpu: 1 }),
      topology.hold(a, 'tcp-connect', { address: b.ipv4, port: 5999, count: 1000 }),
    ])
    const seconds = (performance.now() - started) / 1000
    await expect
      .poll(
        async () => {
          await wiring.sweep()
          return Object.entries(counters).map(([kind, metrics]) => {
            const counted = metrics.reduce((sum, metric) => sum + (wiring.value(metric) ?? 0), 0)
            const shown = wiring.value('netvitals_events_shown_total', { kind }) ?? Number.NaN
            const notShown = wiring.value('netvitals_events_not_shown_total', { kind }) ?? Number.NaN
            return [kind, shown + notShown - counted]
          })
        },
        { timeout: 6000 * slowness },
      )
      .toEqual(Object.keys(counters).map((kind) => [kind, 0]))
    expect(wiring.value('netvitals_events_not_shown_total', { kind: 'drop' })).toBeGreaterThan(count)
    expect(wiring.value('netvitals_events_shown_total', { kind: 'drop' })).toBeLessThan(limits.eventsPerSecond * (seconds + 3))
    await expect.poll(() => told.shown + told.notShown, { timeout: 3000 * slowness }).toBeGreaterThanOrEqual(2 * count + 1000)
    stop()
  })
})
