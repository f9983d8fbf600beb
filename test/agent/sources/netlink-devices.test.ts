import { expect, it } from 'vitest'
import { createNetlinkDevices } from '../../../agent/sources/netlink-devices.ts'
import { type Collected, collectFrom, valuesOf } from '../../source-contract.ts'
import { attribute, createFakeHost, type FakeHost, message, netnsOf, u32 } from './fake-host.ts'

const received = 'netvitals_device_received_bytes_total'
/** struct rtnl_link_stats64 up to rx_missed_errors. */
function stats64(values: Readonly<Record<number, number>>): Uint8Array {
  const bytes = Buffer.alloc(16 * 8)
  for (const [field, value] of Object.entries(values)) bytes.writeBigUInt64LE(BigInt(value), Number(field) * 8)
  return bytes
}
const [rxBytes, rxDropped, rxMissedErrors] = [2, 6, 15]

interface Device {
  readonly name: string
  readonly bytes: number
  readonly isPodsEnd?: boolean
}
function device({ name, bytes, isPodsEnd = false }: Device, index: number): Uint8Array {
  const virtual = isPodsEnd ? [attribute(18, attribute(1, 'veth')), attribute(37, u32(0))] : []
  return message(u32(0, index, 0, 0), attribute(3, name), attribute(23, stats64({ [rxBytes]: bytes })), ...virtual)
}
const routes = (...devices: readonly string[]): string =>
  [
    'Iface Destination Gateway Flags RefCnt Use Metric Mask',
    ...devices.map((name) => `${name} 00000000 0101A8C0 0003 0 0 0 00000000`),
  ]
    .map((line) => `${line}\n`)
    .join('')

function fakeWith(...devices: readonly Device[]): FakeHost {
  const fake = createFakeHost()
  fake.answers.links = devices.map(device)
  fake.files['/proc/net/route'] = routes('eth0')
  return fake
}
const bytesOf = (collected: Collected): unknown => valuesOf(collected, received)

it('leaves the host’s ends of pods out, of the namespace’s sum too, which has not lo either', async () => {
  const { host } = fakeWith(
    { name: 'lo', bytes: 1 },
    { name: 'eth0', bytes: 20 },
    { name: 'eth1', bytes: 300 },
    { name: 'whatever', bytes: 4000, isPodsEnd: true },
  )
  const collected = await collectFrom(createNetlinkDevices(host))
  expect(bytesOf(collected)).toEqual({ 'device=lo': 1, 'device=eth0': 20, 'device=eth1': 300 })
  expect(valuesOf(collected, 'netvitals_received_bytes_total')).toEqual({ '': 320 })
})

it('keeps a veth through which the host itself reaches the world', async () => {
  const { host } = fakeWith({ name: 'eth0', bytes: 20, isPodsEnd: true }, { name: 'veth1', bytes: 4000, isPodsEnd: true })
  expect(bytesOf(await collectFrom(createNetlinkDevices(host)))).toEqual({ 'device=eth0': 20 })
})

it('knows the way out over IPv6 alone', async () => {
  const fake = fakeWith({ name: 'eth0', bytes: 20, isPodsEnd: true }, { name: 'veth1', bytes: 4000, isPodsEnd: true })
  fake.files['/proc/net/route'] = ''
  const zero = '0'.repeat(32)
  fake.files['/proc/net/ipv6_route'] = [`${zero} 00 ${zero} 00 ${zero} 00000400 00000001 00000000 00000003     eth0`, ''].join(
    '\n',
  )
  const collected = await collectFrom(createNetlinkDevices(fake.host))
  expect(collected.error).toBeUndefined()
  expect(bytesOf(collected)).toEqual({ 'device=eth0': 20 })
})

it('adds what the device had no room for to the drops', async () => {
  const fake = fakeWith()
  fake.answers.links = [
    message(u32(0, 1, 0, 0), attribute(3, 'eth0'), attribute(23, stats64({ [rxDropped]: 5, [rxMissedErrors]: 7 }))),
  ]
  const collected = await collectFrom(createNetlinkDevices(fake.host))
  expect(valuesOf(collected, 'netvitals_device_receive_drops_total')).toEqual({ 'device=eth0': 12 })
})

it('reads /proc/net/dev without netlink, and of the other namespaces', async () => {
  const other = netnsOf('other')
  const fake = createFakeHost([other])
  const dev = (...rows: readonly string[]): string =>
    [
      'Inter-|   Receive                                                |  Transmit',
      ' face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed',
      ...rows.map((row) => `${row} 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0`),
      '',
    ].join('\n')
  fake.files['/proc/net/dev'] = dev('lo: 1', 'eth0: 20', 'cali0123: 300')
  fake.files['/proc/net/route'] = routes('eth0')
  fake.files['other /proc/net/dev'] = dev('lo: 1', 'eth0: 4000', 'veth7: 50000')
  const collected = await collectFrom(createNetlinkDevices(fake.host))
  expect(collected.skipped).toEqual([])
  expect(bytesOf(collected)).toEqual({ 'device=lo': 1, 'device=eth0': 20 })
  const ofOther = collected.emitted.filter(({ of }) => of !== 'node' && of.netns === other)
  expect(ofOther.find(({ metric }) => metric === 'netvitals_received_bytes_total')?.value).toBe(54000)
})

it('does not take the pods’ ends for its own while the default route is away', async () => {
  const fake = fakeWith({ name: 'eth0', bytes: 20 }, { name: 'veth1', bytes: 4000, isPodsEnd: true })
  const source = createNetlinkDevices(fake.host)
  const total = async (): Promise<unknown> => valuesOf(await collectFrom(source), 'netvitals_received_bytes_total')
  expect(await total()).toEqual({ '': 20 })
  fake.files['/proc/net/route'] = routes()
  expect(await total()).toEqual({ '': 20 }) // a jump up now would be a fall, and a false reset, when the route is back
})
