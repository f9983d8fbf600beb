import { afterEach, beforeEach, expect, it } from 'vitest'
import { startWiring, type Wiring } from '../wiring.ts'
import { createTopology, requireRoot, type Topology } from './topology.ts'

requireRoot('TCP queues and ports', () => {
  let topology: Topology
  let wiring: Wiring
  beforeEach(async () => {
    topology = await createTopology('nve-queues')
    wiring = await startWiring({ tracer: false })
    await wiring.sweep()
  })
  afterEach(async () => {
    await wiring?.stop()
    await topology?.dispose()
  })

  it.each(['ipv4', 'ipv6'] as const)('%s: length, limit and overflow of a listen queue', async (family) => {
    const { a, b } = topology
    const of = { pod: b.name, port: '5001' }
    const server = await topology.hold(b, 'tcp-listen', { address: b[family], port: 5001, backlog: 4 })
    await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count: 5 }) // the queue takes one more than its limit
    await expect
      .poll(async () => {
        await wiring.sweep()
        return wiring.value('netvitals_tcp_listen_queue_length', of)
      })
      .toBe(5)
    expect(wiring.value('netvitals_tcp_listen_queue_limit', of)).toBe(4)
    expect(wiring.value('netvitals_tcp_listen_queue_fullest_ratio', { pod: b.name })).toBe(5 / 4)
    expect(wiring.value('netvitals_tcp_listen_overflows_total', { pod: b.name })).toBe(0)

    // Three SYNs more, each refused once; no client sends its SYN again within the second.
    await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count: 3, wait: false })
    await wiring.sweep()
    expect(wiring.value('netvitals_tcp_listen_overflows_total', { pod: b.name })).toBe(3)
    expect(wiring.value('netvitals_tcp_listen_drops_total', { pod: b.name })).toBe(3)
    await server.act('accept', { count: 5 })
    await wiring.sweep()
    expect(wiring.value('netvitals_tcp_listen_queue_length', of)).toBe(0)
    await server.act('close-listener')
    await wiring.sweep()
    expect(wiring.value('netvitals_tcp_listen_queue_length', of)).toBeUndefined()
  })

  it.each(['ipv4', 'ipv6'] as const)('%s: bytes not read, bytes not acknowledged', async (family) => {
    const { a, b } = topology
    const server = await topology.hold(b, 'tcp-listen', { address: b[family], port: 5001 })
    const client = await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count: 3 })
    await server.act('accept', { count: 3 })
    await client.act('send', { bytes: 1000 })
    await expect
      .poll(async () => {
        await wiring.sweep()
        return wiring.value('netvitals_tcp_receive_queue_bytes', { pod: b.name })
      })
      .toBe(3000)
    expect(wiring.value('netvitals_tcp_send_queue_bytes', { pod: a.name })).toBe(0)
    topology.exec(b, family === 'ipv4' ? 'iptables' : 'ip6tables', '-A', 'INPUT', '-p', 'tcp', '-j', 'DROP')
    await client.act('send', { bytes: 500 })
    await wiring.sweep()
    expect(wiring.value('netvitals_tcp_send_queue_bytes', { pod: a.name })).toBe(1500)
    expect(wiring.value('netvitals_tcp_rtt_max_seconds', { pod: a.name })).toBeGreaterThan(0)
  })

  it.each(['ipv4', 'ipv6'] as const)(
    '%s: ephemeral ports in use towards the busiest destination, TIME_WAIT included',
    async (family) => {
      const { a, b } = topology
      topology.exec(
        a,
        'sysctl',
        '-qw',
        'net.ipv4.ip_local_port_range=40000 40099',
        'net.ipv4.ip_local_reserved_ports=39990-40009,40050',
      )
      const servers = [
        await topology.hold(b, 'tcp-listen', { address: b[family], port: 5001 }),
        await topology.hold(b, 'tcp-listen', { address: b[family], port: 5002 }),
      ]
      const gone = await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count: 12 })
      await servers[0]?.act('accept', { count: 12 })
      await gone.act('close')
      await servers[0]?.act('close') // the client closed first, so that it keeps the TIME_WAIT
      const timeWait = async () => {
        await wiring.sweep()
        return wiring.value('netvitals_tcp_sockets', { pod: a.name, state: 'time_wait' })
      }
      await expect.poll(timeWait).toBe(12)
      await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count: 20 })
      await topology.hold(a, 'tcp-connect', { address: b[family], port: 5002, count: 25 })
      await expect.poll(timeWait).toBe(12)
      expect(wiring.value('netvitals_tcp_ephemeral_ports_in_use', { pod: a.name })).toBe(32)
      expect(wiring.value('netvitals_tcp_ephemeral_ports', { pod: a.name })).toBe(100 - 11)
      expect(wiring.value('netvitals_tcp_ephemeral_ports_in_use', { pod: b.name })).toBe(0)
    },
  )

  it.each(['ipv4', 'ipv6'] as const)('%s: connections opened, refused and reset; segments', async (family) => {
    const { a, b } = topology
    const before = await wiring.sweep().then(() => wiring.value('netvitals_tcp_sent_segments_total', { pod: a.name }) ?? 0)
    await topology.hold(a, 'tcp-connect', { address: b[family], port: 5999, count: 30 })
    const server = await topology.hold(b, 'tcp-listen', { address: b[family], port: 5001 })
    await topology.hold(a, 'tcp-connect', { address: b[family], port: 5001, count: 11 })
    await server.act('accept', { count: 11 })
    await server.act('reset')
    await expect
      .poll(async () => {
        await wiring.sweep()
        return wiring.value('netvitals_tcp_established_resets_total', { pod: a.name })
      })
      .toBe(11)
    expect(wiring.value('netvitals_tcp_active_opens_total', { pod: a.name })).toBe(41)
    expect(wiring.value('netvitals_tcp_passive_opens_total', { pod: b.name })).toBe(11)
    expect(wiring.value('netvitals_tcp_attempt_fails_total', { pod: a.name })).toBe(30)
    expect(wiring.value('netvitals_tcp_sent_resets_total', { pod: b.name })).toBe(41)
    expect((wiring.value('netvitals_tcp_sent_segments_total', { pod: a.name }) ?? 0) - before).toBe(30 + 2 * 11) // SYN; SYN and ACK
    expect(wiring.value('netvitals_tcp_retransmitted_segments_total', { pod: a.name })).toBe(0)
  })
})
