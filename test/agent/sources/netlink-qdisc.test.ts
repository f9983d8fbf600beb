import { expect, it } from 'vitest'
import { createNetlinkQdisc } from '../../../agent/sources/netlink-qdisc.ts'
import { collectFrom, valuesOf } from '../../source-contract.ts'
import { attribute, createFakeHost, type FakeHost, message, u32 } from './fake-host.ts'

const root = 0xffffffff
const drops = 'netvitals_qdisc_drops_total'
/** struct ifinfomsg: the index is the second number. */
const link = (index: number, name: string): Uint8Array => message(u32(0, index, 0, 0), attribute(3, name))

interface Qdisc {
  readonly index: number
  readonly parent?: number
  readonly handle?: number
  readonly kind?: string
  readonly dropped: number
}
/** struct tcmsg, TCA_KIND, and TCA_STATS2 with struct gnet_stats_queue. */
const qdisc = ({ index, parent = root, handle = 0x10000, kind = 'fq_codel', dropped }: Qdisc): Uint8Array =>
  message(u32(0, index, handle, parent, 0), attribute(1, kind), attribute(7, attribute(3, u32(2, 300, dropped, 0, 0))))

function fakeWith(...qdiscs: readonly Qdisc[]): FakeHost {
  const fake = createFakeHost()
  fake.answers.links = [link(1, 'lo'), link(2, 'eth0'), link(3, 'eth1')]
  fake.answers.qdiscs = qdiscs.map(qdisc)
  return fake
}

it('shows the roots of devices that have a queue', async () => {
  const { host } = fakeWith(
    { index: 1, kind: 'noqueue', dropped: 0 },
    { index: 2, kind: 'mq', handle: 0, dropped: 7 },
    { index: 2, parent: 1, dropped: 4 },
    { index: 2, parent: 2, dropped: 3 },
    { index: 3, kind: 'ingress', parent: 0xfffffff1, dropped: 9 },
  )
  const collected = await collectFrom(createNetlinkQdisc(host))
  expect(valuesOf(collected, drops)).toEqual({ 'device=eth0': 7 })
  expect(valuesOf(collected, 'netvitals_qdisc_backlog_bytes')).toEqual({ 'device=eth0': 300 })
})

it('carries drops on over 32 bits, and begins anew with a new qdisc', async () => {
  const fake = fakeWith({ index: 2, dropped: 2 ** 32 - 1 })
  const source = createNetlinkQdisc(fake.host)
  const now = async (one: Qdisc): Promise<unknown> => {
    fake.answers.qdiscs = [qdisc(one)]
    return valuesOf(await collectFrom(source), drops)
  }
  expect(await now({ index: 2, dropped: 2 ** 32 - 1 })).toEqual({ 'device=eth0': 2 ** 32 - 1 })
  expect(await now({ index: 2, dropped: 1 })).toEqual({ 'device=eth0': 2 ** 32 + 1 })
  expect(await now({ index: 2, handle: 0x20000, dropped: 5 })).toEqual({ 'device=eth0': 5 })
})

it('leaves out the queue of a device that is gone by now', async () => {
  const { emitted, error } = await collectFrom(createNetlinkQdisc(fakeWith({ index: 77, dropped: 1 }).host))
  expect(error).toBeUndefined()
  expect(emitted).toEqual([])
})

it('is absent without netlink', async () => {
  const { absent } = await collectFrom(createNetlinkQdisc(createFakeHost().host))
  expect(absent.get(drops)).toBe('only rtnetlink tells it, through koffi')
})
