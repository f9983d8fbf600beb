import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import fs from 'node:fs'
import { afterEach, describe, expect, it } from 'vitest'
import { Unreadable } from '../../../agent/host/errors.ts'
import { type Libc, type LoadedLibc, loadLibc } from '../../../agent/host/libc.ts'
import { createNamespaces, type Namespaces, type NetworkNamespace, toCookie32 } from '../../../agent/host/namespaces.ts'
import { requireRoot } from '../../truth/topology.ts'

const missing: LoadedLibc = { missing: 'koffi is not installed: npm install koffi' }
const ip = (...parameters: string[]): string =>
  execFileSync('ip', parameters, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
const ownInode = fs.statSync('/proc/self/ns/net').ino

function findNamed(namespaces: Namespaces, name: string): NetworkNamespace | undefined {
  return namespaces.list().find((netns) => netns.name === name)
}

describe('of a recorded tree', () => {
  const namespaces = createNamespaces({ root: '/nowhere', libc: missing })
  it('has the host only, without an inode', () => {
    namespaces.refresh()
    expect(namespaces.list()).toEqual([])
    expect(namespaces.host.inode).toBeUndefined()
    expect(namespaces.whyUnreadable(namespaces.host)).toBeUndefined()
    expect(namespaces.enter(namespaces.host, () => 1)).toBe(1)
  })
})

describe('without koffi', () => {
  const namespaces = createNamespaces({ root: '/', libc: missing })
  it('knows the host', () => {
    expect(namespaces.host.inode).toBe(ownInode)
    expect(namespaces.find(ownInode, 12345)).toBe(namespaces.host)
    expect(namespaces.find(ownInode + 1e6, 12345)).toBeUndefined()
  })
})

it('has the low 32 bits of a cookie', () => {
  expect(toCookie32(5)).toBe(5)
  expect(toCookie32(2 ** 40 + 2 ** 31 + 7)).toBe(2 ** 31 + 7)
})

describe('tasks', () => {
  const create = () => createNamespaces({ root: '/', libc: missing })
  const task = (pid: number, inode: number, cookie: number) => ({ pid, inode, cookie })

  it('finds nameless namespaces by inode and cookie, as one object each', () => {
    const namespaces = create()
    const tasks = [task(10, 1, 100), task(11, 1, 100), task(12, 1, 101), task(13, 2, 2 ** 33 + 5)]
    namespaces.adoptTasks(tasks)
    const first = namespaces.find(1, 100)
    expect(first).toMatchObject({ pid: 10, inode: 1, cookie: 100 })
    expect(namespaces.find(1, 101)).toMatchObject({ pid: 12 })
    expect(namespaces.find(2, 5)).toMatchObject({ pid: 13, cookie: 2 ** 33 + 5 })
    expect(namespaces.find(1, 102)).toBeUndefined()
    expect(namespaces.list()).toEqual([])
    namespaces.adoptTasks(tasks.slice(1))
    expect(namespaces.find(1, 100)).toBe(first)
    expect(first?.pid).toBe(11)
    namespaces.adoptTasks(tasks)
    expect(first?.pid).toBe(11)
  })
  it('remembers those whose last process has ended', () => {
    const namespaces = create()
    const gone = 5_000_000 // beyond what a kernel gives as a pid: no process of this machine has it
    namespaces.adoptTasks([task(gone, 1, 100)])
    const netns = namespaces.find(1, 100)!
    namespaces.adoptTasks([])
    expect(namespaces.find(1, 100)).toBe(netns)
    expect(namespaces.departed()).toEqual([{ netns, departedAtMs: expect.any(Number) }])
    expect(namespaces.whyUnreadable(netns)).toContain('is gone')
    namespaces.adoptTasks([task(gone, 1, 101)])
    expect(namespaces.find(1, 101)).not.toBe(netns)
    expect(namespaces.find(1, 100)).toBe(netns)
  })
  it('does not take the host for another', () => {
    const namespaces = create()
    namespaces.adoptTasks([task(1, ownInode, 3)])
    expect(namespaces.find(ownInode, 3)).toBe(namespaces.host)
  })
  it('stays bounded', () => {
    const namespaces = create()
    for (let round = 0; round < 3; round++) {
      namespaces.adoptTasks(Array.from({ length: 5000 }, (_, i) => task(i + 2, round * 5000 + i + 1, i + 1)))
    }
    expect(namespaces.departed().length).toBe(1024)
    namespaces.adoptTasks([])
    expect(namespaces.departed().length).toBe(1024)
  })
})

requireRoot('named namespaces', () => {
  const children: ChildProcess[] = []
  const undo: (() => void)[] = []
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL')
    for (const step of undo.splice(0).reverse()) step()
  })
  const add = (name: string): void => {
    ip('netns', 'add', name)
    undo.push(() => fs.existsSync(`/run/netns/${name}`) && ip('netns', 'del', name))
  }
  /** A process inside; its pid. */
  const hold = async (name: string): Promise<number> => {
    const child = spawn('ip', ['netns', 'exec', name, 'sleep', '60'])
    children.push(child)
    const inode = fs.statSync(`/run/netns/${name}`).ino
    await expect.poll(() => fs.statSync(`/proc/${child.pid}/ns/net`).ino).toBe(inode)
    return child.pid!
  }

  it('is one object for as long as it lives', async () => {
    const namespaces = createNamespaces({ root: '/', libc: await loadLibc() })
    add('nvb-one')
    namespaces.refresh()
    const netns = findNamed(namespaces, 'nvb-one')!
    expect(netns).toMatchObject({ name: 'nvb-one', inode: fs.statSync('/run/netns/nvb-one').ino, cookie: expect.any(Number) })
    expect(netns.cookie).not.toBe(namespaces.host.cookie)
    namespaces.refresh()
    expect(findNamed(namespaces, 'nvb-one')).toBe(netns)
    expect(namespaces.find(netns.inode!, toCookie32(netns.cookie!))).toBe(netns)
    expect(namespaces.whyUnreadable(netns)).toBeUndefined()
    expect(namespaces.list()).not.toContain(namespaces.host)
  })

  it.each([
    ['by its cookie', true],
    ['without koffi, by the time its file was made', false],
  ])('is another object when it was deleted and added again, known %s', async (_, withLibc) => {
    const namespaces = createNamespaces({ root: '/', libc: withLibc ? await loadLibc() : missing })
    add('nvb-twin')
    namespaces.refresh()
    const old = findNamed(namespaces, 'nvb-twin')!
    ip('netns', 'del', 'nvb-twin')
    await new Promise((resolve) => setTimeout(resolve, 20)) // file times have the grain of a tick
    ip('netns', 'add', 'nvb-twin')
    if (withLibc) expect(() => namespaces.enter(old, () => 0)).toThrow(/nvb-twin: is gone/)
    namespaces.refresh()
    const twin = findNamed(namespaces, 'nvb-twin')!
    expect(twin).not.toBe(old)
    expect(namespaces.departed().map(({ netns }) => netns)).toContain(old)
    expect(namespaces.whyUnreadable(old)).toContain('is gone')
    if (!withLibc) return
    expect(namespaces.find(old.inode!, toCookie32(old.cookie!))).toBe(old)
    expect(namespaces.find(twin.inode!, toCookie32(twin.cookie!))).toBe(twin)
  })

  it('is the same object when its file went away for a while', async () => {
    const namespaces = createNamespaces({ root: '/', libc: await loadLibc() })
    add('nvb-back')
    const pid = await hold('nvb-back')
    namespaces.refresh()
    const netns = findNamed(namespaces, 'nvb-back')
    ip('netns', 'del', 'nvb-back')
    namespaces.refresh()
    expect(findNamed(namespaces, 'nvb-back')).toBeUndefined()
    ip('netns', 'attach', 'nvb-back', String(pid))
    namespaces.refresh()
    expect(findNamed(namespaces, 'nvb-back')).toBe(netns)
    expect(namespaces.departed().map((one) => one.netns)).not.toContain(netns)
  })

  it('tolerates whatever else lies there', async () => {
    const namespaces = createNamespaces({ root: '/', libc: await loadLibc() })
    add('nvb-good')
    add('cni-nvb-runtime')
    const put = (
      name: string,
      make: (file: string) => void,
      remove: (file: string) => void = (file) => fs.rmSync(file),
    ): void => {
      const file = `/run/netns/${name}`
      make(file)
      undo.push(() => remove(file))
    }
    put('nvb-plain', (file) => fs.writeFileSync(file, ''))
    put(
      'nvb-folder',
      (file) => fs.mkdirSync(file),
      (file) => fs.rmdirSync(file),
    )
    put('nvb-dangling', (file) => fs.symlinkSync('/nowhere', file))
    put('nvb-fifo', (file) => execFileSync('mkfifo', [file]))
    put('nvb-host', (file) => fs.symlinkSync('/proc/self/ns/net', file))
    put('nvb-other-name', (file) => fs.symlinkSync('/run/netns/nvb-good', file))
    put('nvb-mount-namespace', (file) => fs.symlinkSync('/proc/self/ns/mnt', file))
    put('nvb-line\nfeed', (file) => fs.writeFileSync(file, ''))
    execFileSync('bash', ['-c', "touch $'/run/netns/nvb-\\xff'"])
    undo.push(() => execFileSync('bash', ['-c', "rm $'/run/netns/nvb-\\xff'"]))
    namespaces.refresh()
    const names = namespaces
      .list()
      .map(({ name }) => name)
      .filter((name) => name?.includes('nvb-'))
    expect(names).toHaveLength(1)
    expect(['nvb-good', 'nvb-other-name']).toContain(names[0])
    expect(namespaces.unlisted()).toBe(0)
  })

  it('comes and goes back with every thread', async () => {
    const namespaces = createNamespaces({ root: '/', libc: await loadLibc() })
    add('nvb-visit')
    namespaces.refresh()
    const netns = findNamed(namespaces, 'nvb-visit')!
    const threads = (): Set<number> =>
      new Set(fs.readdirSync('/proc/self/task').map((id) => fs.statSync(`/proc/self/task/${id}/ns/net`).ino))
    const inside = namespaces.enter(netns, () => ({
      inode: fs.statSync('/proc/thread-self/ns/net').ino,
      devices: fs.readFileSync('/proc/thread-self/net/dev', 'utf8').split('\n').length - 3,
    }))
    expect(inside).toEqual({ inode: netns.inode, devices: 1 })
    expect(threads()).toEqual(new Set([ownInode]))
    expect(() =>
      namespaces.enter(netns, (): number => {
        throw new Error('inside')
      }),
    ).toThrow('inside')
    expect(() => namespaces.enter(netns, () => namespaces.enter(netns, () => 0))).toThrow('a visit within a visit')
    await Promise.all(Array.from({ length: 20 }, () => fs.promises.stat('/')))
    expect(threads()).toEqual(new Set([ownInode]))
    // @ts-expect-error what waits would go on outside
    const refused = () => namespaces.enter(netns, async () => 0)
    expect(refused).toBeTypeOf('function')
  })

  it('keeps nothing of a namespace open', async () => {
    const namespaces = createNamespaces({ root: '/', libc: await loadLibc() })
    add('nvb-gone')
    ip('link', 'add', 'nvb-gone0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', 'nvb-gone')
    namespaces.refresh()
    namespaces.enter(findNamed(namespaces, 'nvb-gone')!, () => fs.readFileSync('/proc/thread-self/net/dev'))
    ip('netns', 'del', 'nvb-gone')
    await expect.poll(() => fs.existsSync('/sys/class/net/nvb-gone0'), { timeout: 10_000 }).toBe(false)
  })

  it('says which capability is missing', async () => {
    const { libc } = (await loadLibc()) as { libc: Libc }
    const refusing = createNamespaces({ root: '/', libc: { libc: { ...libc, setns: () => -1 } } })
    add('nvb-closed')
    refusing.refresh()
    const netns = findNamed(refusing, 'nvb-closed')!
    expect(netns.cookie).toBeUndefined()
    expect(refusing.whyUnreadable(netns)).toBe('network namespace nvb-closed: entering it needs CAP_SYS_ADMIN')
    expect(() => refusing.enter(netns, () => 0)).toThrow(Unreadable)
    const without = createNamespaces({ root: '/', libc: missing })
    without.refresh()
    expect(without.whyUnreadable(findNamed(without, 'nvb-closed')!)).toContain('npm install koffi')
  })

  it('learns the process and the cookie from tasks', async () => {
    const { cookie } = await (async () => {
      const namespaces = createNamespaces({ root: '/', libc: await loadLibc() })
      add('nvb-tasks')
      namespaces.refresh()
      return findNamed(namespaces, 'nvb-tasks')!
    })()
    const pid = await hold('nvb-tasks')
    const namespaces = createNamespaces({ root: '/', libc: missing })
    namespaces.refresh()
    const netns = findNamed(namespaces, 'nvb-tasks')!
    expect(namespaces.whyUnreadable(netns)).toContain('koffi')
    namespaces.adoptTasks([{ pid, inode: netns.inode!, cookie: cookie! }])
    expect(netns).toMatchObject({ pid, cookie })
    expect(namespaces.find(netns.inode!, toCookie32(cookie!))).toBe(netns)
    expect(namespaces.find(netns.inode!, toCookie32(cookie! + 1))).toBeUndefined()
    expect(namespaces.processOf(netns)).toBe(pid)
    expect(namespaces.whyUnreadable(netns)).toBeUndefined()
    namespaces.refresh()
    expect(findNamed(namespaces, 'nvb-tasks')).toBe(netns)
    children.splice(0).forEach((child) => child.kill('SIGKILL'))
    await expect.poll(() => namespaces.processOf(netns)).toBeUndefined()
    expect(namespaces.whyUnreadable(netns)).toContain('koffi')
  })

  it('has the agent itself as host when it runs in a named namespace', async () => {
    const loaded = await loadLibc()
    add('nvb-agent')
    const file = fs.openSync('/run/netns/nvb-agent', 'r')
    const own = fs.openSync('/proc/self/ns/net', 'r')
    try {
      expect(loaded.libc?.setns(file, 0x40000000)).toBe(0)
      const namespaces = createNamespaces({ root: '/', libc: loaded })
      namespaces.refresh()
      expect(namespaces.host.inode).toBe(fs.fstatSync(file).ino)
      expect(findNamed(namespaces, 'nvb-agent')).toBeUndefined()
    } finally {
      expect(loaded.libc?.setns(own, 0x40000000)).toBe(0)
      fs.closeSync(file)
      fs.closeSync(own)
    }
  })
})
