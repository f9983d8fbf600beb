import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { pino } from 'pino'
import { afterEach, expect, it } from 'vitest'
import { createHost } from '../../../agent/host/host.ts'
import { toCookie32 } from '../../../agent/host/namespaces.ts'
import { loadSockets, POLLIN, SOCK_DGRAM } from '../../../agent/host/sockets.ts'
import { addToHost, createThrowAwayNamespace, type ThrowAwayNamespace } from '../../../agent/host/throw-away-namespace.ts'
import { requireRoot } from '../../truth/topology.ts'

const statOwn = (): number => fs.statSync('/proc/thread-self/ns/net').ino
const openFiles = (): number => fs.readdirSync('/proc/self/fd').length
/** Every network namespace that a process or an open file of a process holds. */
const listInodes = (): string[] => execFileSync('lsns', ['-t', 'net', '-n', '-o', 'NS'], { encoding: 'utf8' }).trim().split(/\s+/)

requireRoot('a throw-away network namespace', () => {
  const made: ThrowAwayNamespace[] = []
  const make = async (): Promise<ThrowAwayNamespace> => {
    const namespace = await createThrowAwayNamespace()
    made.push(namespace)
    return namespace
  }
  afterEach(() => {
    for (const namespace of made.splice(0)) namespace.close()
  })

  it('is another one, with its loopback device up, and leaves this thread where it was', async () => {
    const own = statOwn()
    const [one, other] = [await make(), await make()]
    expect(statOwn()).toBe(own)
    expect(new Set([own, one.inode, other.inode]).size).toBe(3)
    expect(one.cookie).not.toBe(other.cookie)
    expect(one.inside(statOwn)).toBe(one.inode)
    expect(one.inside(() => fs.readFileSync('/proc/thread-self/net/dev', 'utf8')).match(/^ *\w+:/gm)).toEqual(['    lo:'])
    expect(() =>
      one.inside(() => {
        throw new Error('oh')
      }),
    ).toThrow('oh')
    expect(statOwn()).toBe(own)
  })

  it('has the sockets that were made inside, wherever they are used', async () => {
    const { sockets } = await loadSockets()
    const namespace = await make()
    const [receiver, sender, stranger] = [
      namespace.inside(() => sockets!.open('127.0.0.1', SOCK_DGRAM)),
      namespace.inside(() => sockets!.open('127.0.0.1', SOCK_DGRAM)),
      sockets!.open('127.0.0.1', SOCK_DGRAM),
    ]
    try {
      sockets!.bind(receiver, '127.0.0.1', 7000)
      sockets!.sendTo(stranger, new Uint8Array(1), '127.0.0.1', 7000)
      expect(sockets!.waitFor(receiver, POLLIN, 50)).toBe(false)
      sockets!.sendTo(sender, new Uint8Array(1), '127.0.0.1', 7000)
      expect(sockets!.waitFor(receiver, POLLIN, 1000)).toBe(true)
    } finally {
      for (const fd of [receiver, sender, stranger]) sockets!.close(fd)
    }
  })

  it('is gone when it is closed', async () => {
    await make() // what is opened once and for all is open
    const [files, before] = [openFiles(), listInodes()]
    const namespace = await createThrowAwayNamespace()
    expect(openFiles()).toBe(files + 1)
    namespace.close()
    expect(openFiles()).toBe(files)
    expect(listInodes()).toEqual(before)
  })

  it('is read as a named one', async () => {
    const real = await createHost({ root: '/', tracer: false, log: pino({ level: 'silent' }) })
    const namespace = await make()
    const { host, netnsOf } = await addToHost(real, [namespace])
    const netns = netnsOf.get(namespace)!
    const cookie32 = toCookie32(namespace.cookie!)
    expect(host.namespaces.list()).toEqual([netns])
    expect(host.namespaces.find(namespace.inode, cookie32)).toBe(netns)
    expect(host.namespaces.find(namespace.inode, cookie32 + 1)).toBeUndefined()
    expect(host.namespaces.find(host.namespaces.host.inode!, toCookie32(host.namespaces.host.cookie!))).toBe(host.namespaces.host)
    expect(host.namespaces.processOf(netns)).toBeUndefined()
    expect(host.namespaces.whyUnreadable(netns)).toBeUndefined()
    expect(host.files.readNet(netns, 'dev').match(/^ *\w+:/gm)).toEqual(['    lo:'])
    const states: string[] = []
    await host.netlink.dumpSockets(
      netns,
      { restart: () => undefined, socket: () => void states.push('socket') },
      AbortSignal.timeout(5000),
    )
    expect(states).toEqual([])
  })
})
