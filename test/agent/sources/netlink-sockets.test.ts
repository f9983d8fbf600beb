import { expect, it } from 'vitest'
import { limits } from '../../../agent/limits.ts'
import { createNetlinkSockets } from '../../../agent/sources/netlink-sockets.ts'
import type { SocketRow } from '../../../parsers/socket-row.ts'
import { collectFrom, valuesOf } from '../../source-contract.ts'
import { createFakeHost, type FakeHost, netnsOf } from './fake-host.ts'

const [established, synRecv, timeWait, close, closeWait, listen, newSynRecv] = [1, 3, 6, 7, 8, 10, 12]
const nobody: SocketRow = {
  family: 4,
  state: established,
  localPort: 0,
  remotePort: 0,
  addresses: new Uint8Array(32),
  localAt: 0,
  remoteAt: 16,
  receiveQueue: 0,
  sendQueue: 0,
  rttUs: undefined,
  sentAgoMs: undefined,
  receivedAgoMs: undefined,
  traffic: undefined,
  inode: 0,
  uid: 0,
}
interface Handlers {
  restart(): void
  socket(row: SocketRow): void
}
/** The host's sockets by netlink. `interrupted`: what an answer that was begun anew had handed out. */
function fakeWith(sockets: readonly Partial<SocketRow>[], interrupted: readonly Partial<SocketRow>[] = []): FakeHost {
  const fake = createFakeHost()
  const dumpSockets = async (_: unknown, { restart, socket }: Handlers): Promise<void> => {
    for (const one of interrupted) socket({ ...nobody, ...one })
    if (interrupted.length > 0) restart()
    for (const one of sockets) socket({ ...nobody, ...one })
  }
  Object.assign(fake.host.netlink, { dumpSockets })
  fake.files['/proc/sys/net/ipv4/ip_local_port_range'] = '32768\t60999\n'
  fake.files['/proc/sys/net/ipv4/ip_local_reserved_ports'] = '\n'
  return fake
}
const listenOn = (...ports: readonly number[]): Partial<SocketRow>[] =>
  ports.map((localPort) => ({ state: listen, localPort, receiveQueue: 1, sendQueue: 8 }))
const range = (from: number, count: number): number[] => Array.from({ length: count }, (_, i) => from + i)

it('counts by state; a request not yet accepted is a SYN_RECV, a closed socket is nothing', async () => {
  const states = [established, established, synRecv, newSynRecv, timeWait, close, closeWait, 13]
  const collected = await collectFrom(createNetlinkSockets(fakeWith(states.map((state) => ({ state }))).host))
  expect(valuesOf(collected, 'netvitals_tcp_sockets')).toMatchObject({
    'state=established': 2,
    'state=syn_recv': 2,
    'state=time_wait': 1,
    'state=close_wait': 1,
    'state=listen': 0,
  })
  expect(Object.keys(valuesOf(collected, 'netvitals_tcp_sockets'))).toHaveLength(10)
})

it('adds the listeners of a port, and knows the fullest of all', async () => {
  const { host } = fakeWith([
    { state: listen, localPort: 80, receiveQueue: 1, sendQueue: 4 },
    { state: listen, localPort: 80, family: 6, receiveQueue: 3, sendQueue: 4 },
    { state: listen, localPort: 81, receiveQueue: 1, sendQueue: 100 },
  ])
  const collected = await collectFrom(createNetlinkSockets(host))
  expect(valuesOf(collected, 'netvitals_tcp_listen_queue_length')).toEqual({ 'port=80': 4, 'port=81': 1 })
  expect(valuesOf(collected, 'netvitals_tcp_listen_queue_limit')).toEqual({ 'port=80': 8, 'port=81': 100 })
  expect(valuesOf(collected, 'netvitals_tcp_listen_queue_fullest_ratio')).toEqual({ '': 0.75 })
})

it('adds the queues of established sockets only, and takes the slowest live connection', async () => {
  const { host } = fakeWith([
    { receiveQueue: 10, sendQueue: 1, rttUs: 2000 },
    { receiveQueue: 5, sendQueue: 2, rttUs: 30_000 },
    { state: closeWait, receiveQueue: 1000, sendQueue: 1000, rttUs: 40_000 },
    { state: timeWait, rttUs: 900_000 },
  ])
  const collected = await collectFrom(createNetlinkSockets(host))
  expect(valuesOf(collected, 'netvitals_tcp_receive_queue_bytes')).toEqual({ '': 15 })
  expect(valuesOf(collected, 'netvitals_tcp_send_queue_bytes')).toEqual({ '': 3 })
  expect(valuesOf(collected, 'netvitals_tcp_rtt_max_seconds')).toEqual({ '': 0.04 })
})

it('forgets what an interrupted answer had told', async () => {
  const { host } = fakeWith([{ receiveQueue: 1 }], [{ receiveQueue: 500 }, ...listenOn(99)])
  const collected = await collectFrom(createNetlinkSockets(host))
  expect(valuesOf(collected, 'netvitals_tcp_receive_queue_bytes')).toEqual({ '': 1 })
  expect(valuesOf(collected, 'netvitals_tcp_listen_queue_length')).toEqual({})
})

it('has rows for so many ports, the lowest at first, each until it closes', async () => {
  const sockets: Partial<SocketRow>[] = listenOn(...range(1000, limits.listenPorts + 5))
  const source = createNetlinkSockets(fakeWith(sockets).host)
  const rows = async (): Promise<Record<string, unknown>> =>
    valuesOf(await collectFrom(source), 'netvitals_tcp_listen_queue_length')
  const first = await collectFrom(source)
  const lengths = first.emitted.filter(({ metric }) => metric === 'netvitals_tcp_listen_queue_length')
  expect(lengths.filter(({ labels }) => labels.port === 'other')).toHaveLength(5)
  expect(await rows()).toHaveProperty(['port=1000'])
  sockets.push(...listenOn(1)) // lower, but later
  expect(await rows()).not.toHaveProperty(['port=1'])
  sockets.shift() // 1000 closes
  const after = await rows()
  expect(after).not.toHaveProperty(['port=1000'])
  expect(after).toHaveProperty(['port=1'])
  expect(after).toHaveProperty(['port=1001'])
})

it('counts ephemeral ports towards the busiest destination, less the reserved ones', async () => {
  const connection = (localPort: number, remotePort: number, state = established): Partial<SocketRow> => ({
    localPort,
    remotePort,
    state,
  })
  const fake = fakeWith([
    connection(40_000, 443),
    connection(40_001, 443, timeWait),
    connection(40_002, 443),
    connection(40_003, 80),
    connection(8080, 443), // not of the range: a server's side
  ])
  fake.files['/proc/sys/net/ipv4/ip_local_reserved_ports'] = '8080,32768-32777,60998-65535\n'
  const collected = await collectFrom(createNetlinkSockets(fake.host))
  expect(valuesOf(collected, 'netvitals_tcp_ephemeral_ports_in_use')).toEqual({ '': 3 })
  expect(valuesOf(collected, 'netvitals_tcp_ephemeral_ports')).toEqual({ '': 28_232 - 10 - 2 })
})

it('does not walk the tables of a namespace that has no sockets', async () => {
  const other = netnsOf('other')
  const fake = fakeWith([])
  Object.assign(fake.host.namespaces, { list: () => [other] })
  const asked: unknown[] = []
  Object.assign(fake.host.netlink, { dumpSockets: async (netns: unknown) => void asked.push(netns) })
  const source = createNetlinkSockets(fake.host)
  fake.files['other /proc/net/sockstat'] = 'sockets: used 0\nTCP: inuse 0 orphan 0 tw 0 alloc 9 mem 0\n'
  fake.files['other /proc/net/sockstat6'] = 'TCP6: inuse 0\n'
  expect((await collectFrom(source)).skipped).toEqual([])
  expect(asked).toEqual([fake.host.namespaces.host])
  for (const [file, text] of [
    ['sockstat', 'TCP: inuse 1 orphan 0 tw 0 alloc 9 mem 0\n'],
    ['sockstat', 'TCP: inuse 0 orphan 0 tw 1 alloc 9 mem 0\n'],
    ['sockstat6', 'TCP6: inuse 1\n'],
  ] as const) {
    asked.length = 0
    fake.files['other /proc/net/sockstat'] = 'TCP: inuse 0 orphan 0 tw 0 alloc 9 mem 0\n'
    fake.files['other /proc/net/sockstat6'] = 'TCP6: inuse 0\n'
    fake.files[`other /proc/net/${file}`] = text
    await collectFrom(source)
    expect(asked).toContain(other)
  }
})
