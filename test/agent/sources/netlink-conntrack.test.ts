import { expect, it } from 'vitest'
import { NotFound } from '../../../agent/host/errors.ts'
import { NetlinkError } from '../../../agent/host/netlink.ts'
import { createNetlinkConntrack } from '../../../agent/sources/netlink-conntrack.ts'
import { collectFrom, valuesOf } from '../../source-contract.ts'
import { attribute, createFakeHost, type FakeHost, message, netnsOf, networkU32 } from './fake-host.ts'

const other = netnsOf('other')
const nfgenmsg = new Uint8Array(4)
const [entries, found, drop] = [1, 2, 10]
const refused = (name: string): Error => new NetlinkError(name, 'EPERM', 'operation not permitted')
const stat = (count: string, ...rows: string[]): string =>
  ['entries found drop clashres', ...rows.map((row) => `${count} ${row}`)].map((line) => `${line}\n`).join('')

function load(fake: FakeHost): void {
  fake.files['/proc/sys/net/netfilter/nf_conntrack_max'] = '65536\n'
  fake.files['/proc/sys/net/netfilter/nf_conntrack_buckets'] = '16384\n'
}
function answer(fake: FakeHost, count: number, ...drops: readonly number[]): void {
  fake.answers['conntrack-stats'] = [message(nfgenmsg, attribute(entries, networkU32(count)))]
  fake.answers['conntrack-stats-cpu'] = drops.map((value) =>
    message(nfgenmsg, attribute(found, networkU32(1)), attribute(drop, networkU32(value))),
  )
}
function refuse(fake: FakeHost): void {
  for (const name of ['conntrack-stats', 'conntrack-stats-cpu']) fake.answers[name] = refused(name)
}

it('asks nobody while connection tracking is not loaded: the question would load it', async () => {
  const fake = createFakeHost()
  fake.answers['conntrack-stats'] = new Error('was asked')
  const { error, emitted } = await collectFrom(createNetlinkConntrack(fake.host))
  expect(error).toBeInstanceOf(NotFound)
  expect(String(error)).toContain('connection tracking is not loaded')
  expect(emitted).toEqual([])
})

it('adds the CPUs’ counters as netlink tells them, over wraps of one', async () => {
  const fake = createFakeHost()
  load(fake)
  const source = createNetlinkConntrack(fake.host)
  answer(fake, 12, 2 ** 32 - 1, 5)
  expect(valuesOf(await collectFrom(source), 'netvitals_conntrack_drop_total')).toEqual({ '': 2 ** 32 + 4 })
  answer(fake, 13, 1, 6)
  const collected = await collectFrom(source)
  expect(valuesOf(collected, 'netvitals_conntrack_drop_total')).toEqual({ '': 2 ** 32 + 7 })
  expect(valuesOf(collected, 'netvitals_conntrack_entries')).toEqual({ '': 13 })
  expect(valuesOf(collected, 'netvitals_conntrack_entries_limit')).toEqual({ '': 65536 })
  expect(valuesOf(collected, 'netvitals_conntrack_buckets')).toEqual({ '': 16384 })
  expect(collected.absent.get('netvitals_conntrack_clash_resolve_total')).toBe('this kernel does not count it')
})

it('reads /proc without CAP_NET_ADMIN', async () => {
  const fake = createFakeHost()
  load(fake)
  refuse(fake)
  fake.files['/proc/net/stat/nf_conntrack'] = stat('0000000c', '00000001 00000002 00000000', '00000003 00000004 00000005')
  const collected = await collectFrom(createNetlinkConntrack(fake.host))
  expect(valuesOf(collected, 'netvitals_conntrack_entries')).toEqual({ '': 12 })
  expect(valuesOf(collected, 'netvitals_conntrack_drop_total')).toEqual({ '': 6 })
  expect(valuesOf(collected, 'netvitals_conntrack_clash_resolve_total')).toEqual({ '': 5 })
})

it('knows the number of entries where /proc does not tell more, and says what would', async () => {
  const fake = createFakeHost()
  load(fake)
  refuse(fake)
  fake.files['/proc/sys/net/netfilter/nf_conntrack_count'] = '7\n'
  const { error, ...collected } = await collectFrom(createNetlinkConntrack(fake.host))
  expect(error).toBeUndefined()
  expect(valuesOf({ error, ...collected }, 'netvitals_conntrack_entries')).toEqual({ '': 7 })
  expect(collected.absent.get('netvitals_conntrack_drop_total')).toBe(
    'needs CAP_NET_ADMIN, or a kernel with /proc/net/stat/nf_conntrack',
  )
})

it('goes from netlink to /proc and back without a step', async () => {
  const fake = createFakeHost()
  load(fake)
  const source = createNetlinkConntrack(fake.host)
  const drops = async (): Promise<unknown> => valuesOf(await collectFrom(source), 'netvitals_conntrack_drop_total')
  answer(fake, 1, 5, 5)
  expect(await drops()).toEqual({ '': 10 })
  refuse(fake)
  fake.files['/proc/net/stat/nf_conntrack'] = stat('00000001', '00000000 00000006 00000000', '00000000 00000005 00000000')
  expect(await drops()).toEqual({ '': 11 })
  answer(fake, 1, 6, 6)
  expect(await drops()).toEqual({ '': 12 })
})

it('fails on any other refusal than a lack of privilege', async () => {
  const fake = createFakeHost()
  load(fake)
  answer(fake, 1, 1)
  fake.answers['conntrack-stats-cpu'] = new NetlinkError('conntrack-stats-cpu', 'ENOMEM', 'no memory')
  const { error } = await collectFrom(createNetlinkConntrack(fake.host))
  expect(String(error)).toContain('ENOMEM')
})

it('gives a namespace no series before it has tracked anything, and keeps them from then on', async () => {
  const fake = createFakeHost([other])
  load(fake)
  refuse(fake)
  const source = createNetlinkConntrack(fake.host)
  const ofOther = async (): Promise<unknown[]> =>
    (await collectFrom(source)).emitted.filter(({ of }) => of !== 'node' && of.netns === other).map(({ metric }) => metric)
  const file = 'other /proc/net/stat/nf_conntrack'
  fake.files['/proc/net/stat/nf_conntrack'] = stat('00000000', '00000000 00000000 00000000')
  fake.files[file] = stat('00000000', '00000000 00000000 00000000')
  expect(await ofOther()).toEqual([])
  fake.files[file] = stat('00000001', '00000000 00000000 00000000')
  expect(await ofOther()).toContain('netvitals_conntrack_entries')
  fake.files[file] = stat('00000000', '00000000 00000000 00000000')
  expect(await ofOther()).toContain('netvitals_conntrack_entries')
})
