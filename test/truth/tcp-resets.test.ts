import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { startWiring, type Wiring } from '../wiring.ts'
import { expectEvents, expectNothingLost, readStack } from './events.ts'
import { createTopology, type Holder, requireTracer, type Topology } from './topology.ts'

const sent = 'netvitals_tcp_sent_resets_by_reason_total'
const received = 'netvitals_tcp_received_resets_total'

requireTracer('TCP resets', () => {
  let topology: Topology
  let wiring: Wiring
  beforeEach(async () => {
    topology = await createTopology('nvg-resets')
    wiring = await startWiring()
    await wiring.sweep()
  })
  afterEach(async () => {
    if (wiring) await expectNothingLost(wiring)
    await wiring?.stop()
    await topology?.dispose()
  })

  describe.each([
    { family: 'ipv4', iptables: 'iptables' },
    { family: 'ipv6', iptables: 'ip6tables' },
  ] as const)('$family', ({ family, iptables }) => {
    /** `count` connections from a to b, accepted. */
    async function connect(count: number): Promise<{ client: Holder; server: Holder }> {
      const { a, b } = topology
      const server = await topology.hold(b, 'tcp-listen', { address: b[family], port: 5001 })
      const client = await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count })
      expect(await server.act('accept', { count })).toEqual({ accepted: count })
      return { client, server }
    }
    /** What /proc has counted is what the tracer told by reason. */
    async function expectSent(reasons: Record<string, number>): Promise<void> {
      await expectEvents(wiring, topology.b, sent, reasons)
      const total = Object.values(reasons).reduce((a, b) => a + b, 0)
      expect(readStack(topology, topology.b)('Tcp.OutRsts')).toBe(total)
      expect(wiring.value('netvitals_tcp_sent_resets_total', { pod: topology.b.name })).toBe(total)
    }

    it('a closed port: sent for no_socket, received in syn_sent', async () => {
      const { a, b } = topology
      const client = await topology.hold(a, 'tcp-connect', { address: b[family], port: 5999, count: 37 })
      expect(client.ready).toEqual({ ECONNREFUSED: 37 })
      await expectSent({ no_socket: 37 })
      await expectEvents(wiring, a, received, { syn_sent: 37 })
      await expectEvents(wiring, a, sent, {})
      await expectEvents(wiring, b, received, {})
    })

    it('SO_LINGER 0: received in established', async () => {
      const { server } = await connect(15)
      await server.act('reset')
      await expectSent({ tcp_state: 15 })
      await expectEvents(wiring, topology.a, received, { established: 15 })
    })

    it('closed with unread bytes: tcp_abort_on_close', async () => {
      const { client, server } = await connect(12)
      await client.act('send', { bytes: 10 })
      await server.act('close')
      await expectSent({ tcp_abort_on_close: 12 })
      await expectEvents(wiring, topology.a, received, { established: 12 })
    })

    it('bytes for one that has closed: the reader is gone, the peer is in close_wait', async () => {
      const { client, server } = await connect(11)
      await server.act('close')
      await expectStates('close_wait', topology.a.name, 11)
      await expectStates('fin_wait2', topology.b.name, 11) // the FIN's acknowledgement may be delayed
      await client.act('send', { bytes: 10 })
      await expectEvents(wiring, topology.a, received, { close_wait: 11 })
      await expectSent({ tcp_timewait_socket: 11 })
    })

    it('received in fin_wait2, close_wait', async () => {
      const { client, server } = await connect(9)
      await server.act('shutdown')
      await expectStates('fin_wait2', topology.b.name, 9)
      await client.act('reset')
      await expectEvents(wiring, topology.b, received, { fin_wait2: 9 })

      const other = await topology.hold(topology.a, 'tcp-connect', { address: topology.b[family], port: 5001, count: 8 })
      await server.act('accept', { count: 9 + 8 })
      await other.act('shutdown')
      await expectStates('close_wait', topology.b.name, 8)
      await other.act('reset')
      await expectEvents(wiring, topology.b, received, { fin_wait2: 9, close_wait: 8 })
    })

    it('received in fin_wait1, closing, last_ack', async () => {
      const { a, b } = topology
      const block = (to: 'A' | 'D') => topology.exec(a, iptables, '-w', `-${to}`, 'INPUT', '-p', 'tcp', '-j', 'DROP')
      const first = await connect(7)
      block('A') // a hears nothing of b any more
      await first.server.act('shutdown')
      await expectStates('fin_wait1', b.name, 7)
      await first.client.act('reset')
      await expectEvents(wiring, b, received, { fin_wait1: 7 })

      block('D')
      await first.server.act('close')
      const second = await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count: 6 })
      await first.server.act('accept', { count: 6 })
      block('A')
      await first.server.act('shutdown')
      await second.act('shutdown')
      await expectStates('closing', b.name, 6)
      await second.act('reset')
      await expectEvents(wiring, b, received, { fin_wait1: 7, closing: 6 })

      block('D')
      await first.server.act('close')
      const third = await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count: 5 })
      await first.server.act('accept', { count: 5 })
      await third.act('shutdown')
      await expectStates('close_wait', b.name, 5)
      block('A')
      await first.server.act('close')
      await expectStates('last_ack', b.name, 5)
      await third.act('reset')
      await expectEvents(wiring, b, received, { fin_wait1: 7, closing: 6, last_ack: 5 })
    })

    it('both ends have called: received in syn_recv, and the connect is reset', async () => {
      const { a, b } = topology
      topology.exec(b, iptables, '-w', '-A', 'INPUT', '-p', 'tcp', '--syn', '-j', 'DROP') // a's call is not heard
      await topology.hold(a, 'tcp-connect', {
        address: b[family],
        port: 5002,
        count: 1,
        wait: false,
        from: { address: a[family], port: 5001 },
      })
      // b's SYN meets a's: a answers and waits for b's acknowledgement, which never comes; but the reset does.
      topology.exec(a, iptables, '-w', '-A', 'INPUT', '-p', 'tcp', '--tcp-flags', 'SYN,RST,ACK', 'ACK', '-j', 'DROP')
      const caller = await topology.hold(b, 'tcp-connect', {
        address: a[family],
        port: 5001,
        count: 1,
        from: { address: b[family], port: 5002 },
      })
      expect(caller.ready).toEqual({ connected: 1 })
      await expectStates('syn_recv', a.name, 1)
      await caller.act('reset')
      await expectEvents(wiring, a, received, { syn_recv: 1 })
      await expectEvents(wiring, a, 'netvitals_tcp_connects_total', { reset: 1 })
      await expectEvents(wiring, b, 'netvitals_tcp_connects_total', { connected: 1 })
    })
  })

  async function expectStates(state: string, pod: string, count: number): Promise<void> {
    await expect
      .poll(async () => {
        await wiring.sweep()
        return wiring.value('netvitals_tcp_sockets', { pod, state })
      })
      .toBe(count)
  }
})
