import fs from 'node:fs'
import { beforeEach, expect, it } from 'vitest'
import { createAddresses } from '../../../agent/host/addresses.ts'
import { Unreadable } from '../../../agent/host/errors.ts'
import { loadLibc } from '../../../agent/host/libc.ts'
import { createNamespaces, type Namespaces, type NetworkNamespace } from '../../../agent/host/namespaces.ts'
import { createNetlink, type Netlink } from '../../../agent/host/netlink.ts'
import { limits } from '../../../agent/limits.ts'
import { createTopology, requireRoot } from '../../truth/topology.ts'
import { netnsOf } from '../sources/fake-host.ts'

const [host, shop, bank] = [netnsOf(), netnsOf('shop'), netnsOf('bank')]
const { signal } = new AbortController()

/** What each namespace answers: addresses, or why it does not. */
let answers: Map<NetworkNamespace, readonly string[] | Error>
let listed: NetworkNamespace[]
let nowMs: number
let dumps: number
beforeEach(() => {
  answers = new Map<NetworkNamespace, string[]>([
    [host, ['127.0.0.1', '192.0.2.1']],
    [shop, ['127.0.0.1', '10.0.0.1', '2001:db8::1']],
    [bank, ['127.0.0.1', '10.0.0.2']],
  ])
  listed = [shop, bank]
  nowMs = 0
  dumps = 0
})

/** struct ifaddrmsg and IFA_ADDRESS. */
function messageOf(address: string): Uint8Array {
  const isIpv6 = address.includes(':')
  const bytes = isIpv6 ? [0x20, 1, 0xd, 0xb8, ...Array(11).fill(0), Number(address.at(-1))] : address.split('.').map(Number)
  return Uint8Array.of(...Array(8).fill(0), 4 + bytes.length, 0, 1, 0, ...bytes)
}

function create() {
  const namespaces = { host, list: () => listed, refresh: () => undefined } as unknown as Namespaces
  const netlink = {
    async dump(netns: NetworkNamespace, _request, { restart, message }, abort) {
      dumps++
      abort.throwIfAborted()
      const answer = answers.get(netns) ?? []
      if (answer instanceof Error) throw answer
      const messages = answer.map(messageOf)
      for (const bytes of messages.slice(0, 1)) message(bytes, 0, bytes.length)
      restart() // the table changed meanwhile
      for (const bytes of messages) message(bytes, 0, bytes.length)
    },
  } as Pick<Netlink, 'dump'> as Netlink
  return createAddresses(namespaces, netlink, () => nowMs)
}

it('knows whose an address is, and nobody before it has looked', async () => {
  const addresses = create()
  expect(addresses.find('10.0.0.1')).toBeUndefined()
  await addresses.refresh(signal)
  expect(['192.0.2.1', '10.0.0.1', '2001:db8::1', '10.0.0.2'].map(addresses.find)).toEqual([host, shop, shop, bank])
  expect(['10.0.0.3', undefined, ''].map(addresses.find)).toEqual([undefined, undefined, undefined])
})

it('gives what several have to nobody, and what one has twice to that one', async () => {
  answers.set(shop, ['10.0.0.1', '10.0.0.1', '10.0.0.9'])
  answers.set(bank, ['10.0.0.9'])
  answers.set(host, ['10.0.0.9', '127.0.0.1'])
  const addresses = create()
  await addresses.refresh(signal)
  expect(['10.0.0.1', '10.0.0.9', '127.0.0.1'].map(addresses.find)).toEqual([shop, undefined, host])
})

it('looks at most once a second, and once for all who ask at once', async () => {
  const addresses = create()
  await Promise.all([addresses.refresh(signal), addresses.refresh(signal)])
  expect(dumps).toBe(3)
  answers.set(bank, ['10.0.0.5'])
  nowMs = limits.addressesAgeMs - 1
  await addresses.refresh(signal)
  expect([dumps, addresses.find('10.0.0.5')]).toEqual([3, undefined])
  nowMs = limits.addressesAgeMs
  await addresses.refresh(signal)
  expect([dumps, addresses.find('10.0.0.5'), addresses.find('10.0.0.2')]).toEqual([6, bank, undefined])
})

it('leaves out a namespace that cannot be read, and one that is gone', async () => {
  answers.set(shop, new Unreadable('shop', 'is gone'))
  const addresses = create()
  await addresses.refresh(signal)
  expect(['10.0.0.1', '10.0.0.2', '192.0.2.1'].map(addresses.find)).toEqual([undefined, bank, host])
  listed = []
  nowMs += limits.addressesAgeMs
  await addresses.refresh(signal)
  expect(['10.0.0.2', '127.0.0.1'].map(addresses.find)).toEqual([undefined, host])
})

it('keeps what it knew if it is told to stop half way, and looks again', async () => {
  const addresses = create()
  await addresses.refresh(signal)
  nowMs += limits.addressesAgeMs
  const reason = new Error('told to stop')
  await expect(addresses.refresh(AbortSignal.abort(reason))).rejects.toBe(reason)
  expect(addresses.find('10.0.0.1')).toBe(shop)
  dumps = 0
  await addresses.refresh(signal)
  expect(dumps).toBe(3)
})

it('takes no more of a namespace than the limit', async () => {
  const many = Array.from({ length: limits.addressesPerNamespace + 1 }, (_, i) => `10.1.${i >> 8}.${i & 255}`)
  answers.set(shop, many)
  const addresses = create()
  await addresses.refresh(signal)
  expect(many.filter((address) => addresses.find(address) === undefined)).toEqual(many.slice(-1))
})

requireRoot('addresses of real namespaces', () => {
  it('are found, also of one that came after the last look for namespaces', async () => {
    const libc = await loadLibc()
    const namespaces = createNamespaces({ root: '/', libc })
    namespaces.refresh()
    const addresses = createAddresses(namespaces, createNetlink({ root: '/', namespaces, libc }), () => nowMs)
    await addresses.refresh(signal)
    const topology = await createTopology('nvt-addresses')
    try {
      const { a, b } = topology
      // Of its own, because other tests have the usual ones in theirs.
      topology.exec(a, 'ip', 'address', 'add', '198.18.77.1/32', 'dev', 'lo')
      topology.exec(a, 'ip', 'address', 'add', '198.18.77.1/32', 'dev', 'eth0')
      topology.exec(b, 'ip', 'address', 'add', '2001:db8:77::b/128', 'dev', 'lo')
      nowMs += limits.addressesAgeMs
      await addresses.refresh(signal)
      const before = fs.readdirSync('/proc/self/fd').length
      expect(addresses.find('198.18.77.1')?.name).toBe(a.name)
      expect(addresses.find('2001:db8:77::b')?.name).toBe(b.name)
      expect(addresses.find('127.0.0.1')).toBeUndefined()
      nowMs += limits.addressesAgeMs
      await addresses.refresh(signal)
      expect(fs.readdirSync('/proc/self/fd')).toHaveLength(before)
    } finally {
      await topology.dispose()
    }
  })
})

it('looks again at once when a namespace has come', async () => {
  const addresses = create()
  listed = [shop]
  await addresses.refresh(signal)
  expect(addresses.find('10.0.0.2')).toBeUndefined()
  listed = [shop, bank]
  await addresses.refresh(signal)
  expect(addresses.find('10.0.0.2')).toBe(bank)
  const before = dumps
  await addresses.refresh(signal)
  expect(dumps).toBe(before)
})
