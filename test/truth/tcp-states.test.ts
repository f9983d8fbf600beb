import { afterEach, beforeEach, expect, it } from 'vitest'
import { tcpStates } from '../../agent/metrics/labels.ts'
import { startWiring, type Wiring } from '../wiring.ts'
import { createTopology, requireRoot, slowness, type Topology } from './topology.ts'

type States = Partial<Record<(typeof tcpStates)[number], number>>

requireRoot('TCP sockets by state', () => {
  let topology: Topology
  let wiring: Wiring
  beforeEach(async () => {
    topology = await createTopology('nve-states')
    wiring = await startWiring({ tracer: false })
  })
  afterEach(async () => {
    await wiring?.stop()
    await topology?.dispose()
  })

  async function readStates(pod: string): Promise<States> {
    await wiring.sweep()
    const states: States = {}
    for (const state of tcpStates) {
      const value = wiring.value('netvitals_tcp_sockets', { pod, state })
      if (value !== undefined && value !== 0) states[state] = value
    }
    return states
  }
  /** Until it is so, or for 3 s: the last segments of a handshake are still on their way when connect returns. */
  const expectStates = (pod: string, states: States): Promise<void> =>
    expect.poll(() => readStates(pod), { timeout: 3000 * slowness, interval: 50 }).toEqual(states)

  it.each(['ipv4', 'ipv6'] as const)('%s: listen, established, close_wait, fin_wait2, last_ack, time_wait', async (family) => {
    const { a, b } = topology
    expect(await readStates(a.name)).toEqual({})
    const server = await topology.hold(b, 'tcp-listen', { address: b[family], port: 5001 })
    await expectStates(b.name, { listen: 1 })
    const client = await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count: 7 })
    await server.act('accept', { count: 7 })
    await expectStates(a.name, { established: 7 })
    await expectStates(b.name, { listen: 1, established: 7 })

    await client.act('shutdown')
    await expectStates(a.name, { fin_wait2: 7 })
    await expectStates(b.name, { listen: 1, close_wait: 7 })

    // The client's acknowledgement of the server's FIN never arrives.
    topology.exec(b, family === 'ipv4' ? 'iptables' : 'ip6tables', '-A', 'INPUT', '-p', 'tcp', '-j', 'DROP')
    await server.act('close')
    await expectStates(b.name, { listen: 1, last_ack: 7 })
    await expectStates(a.name, { time_wait: 7 })
  })

  it.each(['ipv4', 'ipv6'] as const)('%s: syn_sent, syn_recv', async (family) => {
    const { a, b } = topology
    const iptables = family === 'ipv4' ? 'iptables' : 'ip6tables'
    await topology.hold(b, 'tcp-listen', { address: b[family], port: 5001 })
    topology.exec(a, iptables, '-A', 'INPUT', '-p', 'tcp', '--tcp-flags', 'SYN,ACK', 'SYN,ACK', '-j', 'DROP')
    await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count: 9, wait: false })
    await expectStates(a.name, { syn_sent: 9 })
    await expectStates(b.name, { listen: 1, syn_recv: 9 })
  })

  it.each(['ipv4', 'ipv6'] as const)('%s: fin_wait1, closing', async (family) => {
    const { a, b } = topology
    const iptables = family === 'ipv4' ? 'iptables' : 'ip6tables'
    const server = await topology.hold(b, 'tcp-listen', { address: b[family], port: 5001 })
    const client = await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count: 5 })
    await server.act('accept', { count: 5 })
    await expectStates(b.name, { listen: 1, established: 5 })

    // Both sides close and neither sees the other's FIN.
    for (const namespace of [a, b]) topology.exec(namespace, iptables, '-A', 'INPUT', '-p', 'tcp', '-j', 'DROP')
    await client.act('shutdown')
    await server.act('shutdown')
    await expectStates(a.name, { fin_wait1: 5 })
    await expectStates(b.name, { listen: 1, fin_wait1: 5 })
    // Now a sees b's FIN, sent again, but none of b's acknowledgements of its own.
    topology.exec(a, iptables, '-I', 'INPUT', '-p', 'tcp', '--tcp-flags', 'FIN', 'FIN', '-j', 'ACCEPT')
    await expectStates(a.name, { closing: 5 })
  })
})
