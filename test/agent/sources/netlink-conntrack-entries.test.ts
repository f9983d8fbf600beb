import { expect, it } from 'vitest'
import { NetlinkError } from '../../../agent/host/netlink.ts'
import { limits } from '../../../agent/limits.ts'
import { createNetlinkConntrackEntries } from '../../../agent/sources/netlink-conntrack-entries.ts'
import { type Collected, collectFrom, valuesOf } from '../../source-contract.ts'
import { attribute, createFakeHost, type FakeHost, message, netnsOf, networkU32 } from './fake-host.ts'

const pod = netnsOf('pod')
const server = netnsOf('server')
const [podAddress, serverAddress, hostAddress, elsewhere] = ['10.0.0.1', '10.0.0.2', '192.0.2.1', '203.0.113.1']

const bytesOf = (address: string): Uint8Array => Uint8Array.from(address.split('.').map(Number))
function tuple(type: number, source: string, destination: string, protocol: number): Uint8Array {
  const ip = Buffer.concat([attribute(1, bytesOf(source)), attribute(2, bytesOf(destination))])
  return attribute(type, Buffer.concat([attribute(1, ip), attribute(2, attribute(1, Uint8Array.of(protocol)))]))
}
/** From `source` to `destination`, where `real` answers. */
const entry = (source: string, destination: string, real = destination, protocol = 17, ...more: Uint8Array[]): Uint8Array =>
  message(Uint8Array.of(2, 0, 0, 0), tuple(1, source, destination, protocol), tuple(2, real, source, protocol), ...more)
const tcpState = (state: number): Uint8Array => attribute(4, attribute(1, attribute(1, Uint8Array.of(state))))

function createHost(): FakeHost {
  const fake = createFakeHost([pod, server])
  fake.files['/proc/sys/net/netfilter/nf_conntrack_max'] = '65536\n'
  const owners = new Map([
    [podAddress, pod],
    [serverAddress, server],
    [hostAddress, fake.host.namespaces.host],
  ])
  Object.assign(fake.host.addresses, { find: (address: string) => owners.get(address) })
  return fake
}
function answer(fake: FakeHost, entries: readonly Uint8Array[], total = entries.length): void {
  fake.answers['conntrack-stats'] = [message(new Uint8Array(4), attribute(1, networkU32(total)))]
  fake.answers['conntrack-entries'] = entries
}

/** Entries by the name of the namespace; the host has none. */
function entriesOf({ emitted }: Collected): Record<string, number> {
  const mine = emitted.filter(({ metric }) => metric === 'netvitals_conntrack_host_entries')
  return Object.fromEntries(mine.map(({ of, value }) => [of === 'node' ? of : (of.netns?.name ?? 'host'), Number(value)]))
}
const unattributed = (collected: Collected): unknown => valuesOf(collected, 'netvitals_conntrack_host_entries_unattributed')['']

it('counts an entry for the pod that asked, else the pod that answers, else the host, else nobody', async () => {
  const fake = createHost()
  answer(fake, [
    entry(podAddress, '10.96.0.1', serverAddress),
    entry(podAddress, elsewhere),
    entry(elsewhere, '10.96.0.1', serverAddress),
    entry(hostAddress, serverAddress),
    entry(hostAddress, elsewhere),
    entry(elsewhere, hostAddress),
    entry('127.0.0.1', '127.0.0.1'),
    entry(elsewhere, '203.0.113.2'),
  ])
  const collected = await collectFrom(createNetlinkConntrackEntries(fake.host))
  expect(entriesOf(collected)).toEqual({ pod: 2, server: 2, host: 3 })
  expect(unattributed(collected)).toBe(1)
  expect(collected.unresolved).toEqual([])
  expect(collected.caveats).toEqual([])
})

it('counts by protocol and state, and what is unknown of them as none or other', async () => {
  const fake = createHost()
  const tcp = (state: number): Uint8Array => entry(podAddress, elsewhere, elsewhere, 6, tcpState(state))
  answer(fake, [
    tcp(1),
    tcp(3),
    tcp(3),
    tcp(9),
    tcp(77),
    entry(podAddress, elsewhere, elsewhere, 58),
    entry(podAddress, elsewhere, elsewhere, 132),
  ])
  const values = valuesOf(
    await collectFrom(createNetlinkConntrackEntries(fake.host)),
    'netvitals_conntrack_host_entries_by_state',
  )
  expect(Object.fromEntries(Object.entries(values).filter(([, value]) => value !== 0))).toEqual({
    'protocol=tcp,state=syn_sent': 1,
    'protocol=tcp,state=established': 2,
    'protocol=tcp,state=syn_sent2': 1,
    'protocol=tcp,state=none': 1,
    'protocol=icmp,state=none': 1,
    'protocol=other,state=none': 1,
  })
  expect(Object.keys(values)).toHaveLength(13)
})

it('estimates a table that is too large from its beginning: the sums are the whole table, and it says so', async () => {
  const fake = createHost()
  const third = [entry(podAddress, elsewhere), entry(elsewhere, serverAddress), entry(elsewhere, elsewhere)]
  answer(fake, Array(100).fill(third).flat(), 1000)
  const collected = await collectFrom(createNetlinkConntrackEntries(fake.host, { entriesMax: 30 }))
  const counted = entriesOf(collected)
  expect(counted).toEqual({ pod: 333, server: 334, host: 0 })
  expect(unattributed(collected)).toBe(1000 - 667)
  const states = Object.values(valuesOf(collected, 'netvitals_conntrack_host_entries_by_state'))
  expect(states.reduce<number>((sum, value) => sum + Number(value), 0)).toBe(1000)
  expect(collected.caveats).toEqual(["sampled: 30 of 1000 entries of the host's conntrack table were read"])
})

it('holds what it read while reading again would take too large a share of the time, and says so', async () => {
  const fake = createHost()
  let nowMs = 0
  let usedMs = 0
  const source = createNetlinkConntrackEntries(fake.host, { now: () => nowMs, cpuMs: () => usedMs })
  Object.assign(fake.host.addresses, { refresh: async () => void (usedMs += 100) })
  answer(fake, [entry(podAddress, elsewhere)])
  const first = await collectFrom(source)
  expect(first.caveats).toEqual(["reading the host's conntrack table takes 100 ms of CPU, so it is read every 5 s"])
  answer(fake, [])
  nowMs = 100 / limits.conntrackTimeShare - 1
  expect(entriesOf(await collectFrom(source))).toEqual({ pod: 1, host: 0 })
  nowMs++
  // One that had entries has 0, not nothing.
  expect(entriesOf(await collectFrom(source))).toEqual({ pod: 0, host: 0 })
})

it('asks nobody while connection tracking is not loaded, and is absent without the privilege', async () => {
  const fake = createHost()
  answer(fake, [])
  fake.answers['conntrack-stats'] = new NetlinkError('conntrack-stats', 'EPERM', 'operation not permitted')
  const { absent, error } = await collectFrom(createNetlinkConntrackEntries(fake.host))
  expect(error).toBeUndefined()
  expect([...new Set(absent.values())]).toEqual(['needs CAP_NET_ADMIN'])
  expect(absent.size).toBe(3)
  delete fake.files['/proc/sys/net/netfilter/nf_conntrack_max']
  fake.answers['conntrack-stats'] = new Error('was asked')
  expect(String((await collectFrom(createNetlinkConntrackEntries(fake.host))).error)).toContain('is not loaded')
})
