import { beforeEach, expect, it } from 'vitest'
import { NotFound } from '../../../agent/host/errors.ts'
import type { Files } from '../../../agent/host/files.ts'
import { type LoadedLibc, loadLibc } from '../../../agent/host/libc.ts'
import type { Namespaces } from '../../../agent/host/namespaces.ts'
import { type Netlink, NetlinkError } from '../../../agent/host/netlink.ts'
import { createTranslations } from '../../../agent/host/translations.ts'
import type { NetlinkRequest } from '../../../parsers/netlink.ts'
import { netnsOf } from '../sources/fake-host.ts'

const { signal } = new AbortController()
const connection = { local: { address: '10.0.0.1', port: 40_000 }, remote: { address: '10.96.0.10', port: 80 } }

let asked: NetlinkRequest[]
let failure: Error | undefined
let isLoaded: boolean
beforeEach(() => {
  asked = []
  failure = undefined
  isLoaded = true
})

/** A kernel that knows no entry, or refuses. */
async function create(libc?: LoadedLibc) {
  const netlink = {
    async find(_netns, requests, _message, _signal) {
      for (const request of requests) {
        asked.push(request)
        if (failure !== undefined) throw failure
      }
    },
  } as Pick<Netlink, 'find'> as Netlink
  const files = {
    read(path: string) {
      if (!isLoaded) throw new NotFound(path)
      return '0\n'
    },
  } as Files
  const namespaces = { host: netnsOf() } as Namespaces
  return createTranslations({ namespaces, netlink, files, libc: libc ?? (await loadLibc()) })
}

it('says what it needs, and that it has it again', async () => {
  const translations = await create()
  expect(translations.missing()).toBeUndefined()
  failure = new NetlinkError('conntrack-entry', 'EPERM', 'operation not permitted')
  expect(await translations.find([connection, connection], signal)).toEqual([undefined, undefined])
  expect(translations.missing()).toBe('needs CAP_NET_ADMIN')
  failure = undefined
  await translations.find([connection], signal)
  expect(translations.missing()).toBeUndefined()
})

it('says that it lacks the library', async () => {
  const translations = await create({ missing: 'koffi is not installed' })
  expect(await translations.find([connection], signal)).toEqual([undefined])
  expect(translations.missing()).toBe('netlink conntrack-entry: koffi is not installed')
})

it('asks nobody while connection tracking is not loaded: the question would load it', async () => {
  isLoaded = false
  const translations = await create()
  expect(await translations.find([connection], signal)).toEqual([undefined])
  expect([asked, translations.missing()]).toEqual([[], 'connection tracking is not loaded'])
})

it('hands on what a kernel that misbehaves does', async () => {
  const translations = await create()
  failure = new NetlinkError('conntrack-entry', 'ENOMEM', 'no memory')
  await expect(translations.find([connection], signal)).rejects.toThrow('ENOMEM')
})

it('does not ask for loopback addresses, which every namespace has, nor for what is none', async () => {
  const translations = await create()
  const from = (address: string, to = '10.96.0.10') => ({
    local: { address, port: 40_000 },
    remote: { address: to, port: 80 },
  })
  const unasked = [from('127.3.2.1'), from('::1', 'fd96::10'), from('::ffff:127.0.0.1'), from('10.0.0.1', '::1'), from('')]
  await translations.find(unasked, signal)
  expect(asked).toEqual([])
  await translations.find([from('10.0.0.1'), from('::ffff:10.0.0.1', '::ffff:10.96.0.10')], signal)
  expect(asked).toHaveLength(2)
  expect(asked[1]).toEqual(asked[0])
})
