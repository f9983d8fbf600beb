import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createFiles } from '../../../agent/host/files.ts'
import { loadLibc } from '../../../agent/host/libc.ts'
import { createNamespaces } from '../../../agent/host/namespaces.ts'
import { createPods, type Pods } from '../../../agent/host/pods.ts'
import { createTracer, type TracedTask } from '../../../agent/host/tracer.ts'
import { limits } from '../../../agent/limits.ts'
import { requireRoot } from '../../truth/topology.ts'
import { build } from './built.ts'

const hostInode = 4026531840
const uidOf = (number: number): string => `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`
const idOf = (number: number): string => number.toString(16).padStart(64, '0')
const cgroupOf = (pod: number, container: number) => `0::/kubepods/burstable/pod${uidOf(pod)}/${idOf(container)}\n`
const [podA, podB, podC] = [1, 2, 3]

interface FakeProcess {
  readonly pid: number
  readonly netns: number
  readonly cgroup: string
  readonly name?: string
  readonly startedAt?: number
  readonly state?: string
  readonly flags?: number
  readonly cookie?: number
}

let root: string
let running: Map<number, FakeProcess>
let reads: string[]
let pods: Pods

function create(): Pods {
  const namespaces = createNamespaces({ root, libc: { missing: 'not here' } })
  const files = createFiles({ root, namespaces })
  const read = (file: string): string => {
    reads.push(file)
    return files.read(file)
  }
  return createPods({ root, files: { read }, host: { inode: hostInode } })
}

function start(...processes: FakeProcess[]): void {
  for (const process of processes) {
    const { pid, netns, cgroup, name = 'app', startedAt = 100 + pid, state = 'S', flags = 0 } = process
    const folder = path.join(root, 'proc', String(pid))
    fs.rmSync(folder, { recursive: true, force: true })
    fs.mkdirSync(path.join(folder, 'ns'), { recursive: true })
    fs.writeFileSync(path.join(folder, 'cgroup'), cgroup)
    const after = [state, 1, pid, pid, 0, -1, flags, ...Array.from({ length: 12 }, () => 0), startedAt, 0, 0].join(' ')
    fs.writeFileSync(path.join(folder, 'stat'), `${pid} (${name}) ${after}\n`)
    fs.symlinkSync(`net:[${netns}]`, path.join(folder, 'ns/net'))
    running.set(pid, process)
  }
}
function end(...pids: number[]): void {
  for (const pid of pids) {
    running.delete(pid)
    fs.rmSync(path.join(root, 'proc', String(pid)), { recursive: true })
  }
}
const listTasks = (): TracedTask[] =>
  [...running.values()]
    .map(({ pid, netns, cookie = 5000 + netns }) => ({ pid, inode: netns, cookie }))
    .sort((one, other) => one.pid - other.pid)
function refresh(): void {
  reads = []
  pods.refresh(listTasks())
}
/** What is listed, in short. */
const owners = (): Record<number, number | undefined> =>
  Object.fromEntries(pods.list().map(({ netns, podUid }) => [netns.inode, podUid && Number(podUid.slice(-12))]))

beforeEach(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-pods-'))
  fs.mkdirSync(path.join(root, 'proc'))
  running = new Map()
  pods = create()
  start({ pid: 1, netns: hostInode, cgroup: '0::/init.scope\n', name: 'systemd' })
})
afterEach(() => fs.rmSync(root, { recursive: true, force: true }))

describe('of the tasks of the tracer', () => {
  it('finds pods, their containers and a process to read by', () => {
    start(
      { pid: 10, netns: 101, cgroup: cgroupOf(podA, 1), name: 'pause' },
      { pid: 11, netns: 101, cgroup: cgroupOf(podA, 2) },
      { pid: 12, netns: 101, cgroup: cgroupOf(podA, 2) },
      { pid: 20, netns: 102, cgroup: cgroupOf(podB, 3) },
    )
    refresh()
    expect(pods.list()).toEqual([
      { netns: { inode: 101, cookie: 5101 }, podUid: uidOf(podA), containerIds: [idOf(1), idOf(2)], pid: 10 },
      { netns: { inode: 102, cookie: 5102 }, podUid: uidOf(podB), containerIds: [idOf(3)], pid: 20 },
    ])
    expect([pods.nested(), pods.unlisted()]).toEqual([0, 0])
  })
  it('lists namespaces of no pod, with the container if there is one', () => {
    start(
      { pid: 10, netns: 101, cgroup: `0::/system.slice/docker-${idOf(1)}.scope\n` },
      { pid: 20, netns: 102, cgroup: '0::/system.slice/nginx.service\n' },
      { pid: 30, netns: 103, cgroup: 'garbage' },
      { pid: 40, netns: 104, cgroup: `0::/docker/${idOf(2)}\n` },
      { pid: 41, netns: 104, cgroup: `0::/docker/${idOf(3)}\n` }, // docker run --network container:…
    )
    refresh()
    expect(pods.list().map(({ podUid, containerIds, pid }) => [podUid, containerIds, pid])).toEqual([
      [undefined, [idOf(1)], 10],
      [undefined, [], 20],
      [undefined, [], 30],
      [undefined, [idOf(2)], 40],
    ])
  })
  it('is not misled by who entered a namespace', () => {
    start(
      { pid: 5, netns: 101, cgroup: '0::/user.slice/session-1.scope\n' }, // nsenter
      { pid: 6, netns: 101, cgroup: `0::/kubepods/besteffort/pod${uidOf(podC)}/crio-conmon-${idOf(9)}\n` },
      ...[30, 31, 32].map((pid) => ({ pid, netns: 101, cgroup: cgroupOf(podB, 3) })), // more than its own
      { pid: 40, netns: 101, cgroup: cgroupOf(podA, 1), name: 'pause' },
      { pid: 25, netns: 102, cgroup: cgroupOf(podB, 2), name: 'pause' },
    )
    refresh()
    expect(owners()).toEqual({ 101: podA, 102: podB })
    expect(pods.list()[0]!.pid).toBe(40)
    expect(pods.nested()).toBe(0)
  })
  it('gives a namespace of several to the pod whose sandbox it is, else to the one with the most processes', () => {
    start(
      { pid: 10, netns: 101, cgroup: cgroupOf(podB, 1) },
      { pid: 11, netns: 101, cgroup: cgroupOf(podB, 1) },
      { pid: 12, netns: 101, cgroup: cgroupOf(podA, 2), name: 'pause' },
      { pid: 20, netns: 102, cgroup: cgroupOf(podC, 3) },
      { pid: 21, netns: 102, cgroup: cgroupOf(4, 4) },
      { pid: 22, netns: 102, cgroup: cgroupOf(4, 4) },
    )
    refresh()
    expect(owners()).toEqual({ 101: podA, 102: 4 })
  })
  it('does not take a pod with the network of the host for the owner of another namespace', () => {
    start(
      { pid: 10, netns: hostInode, cgroup: cgroupOf(podB, 1), name: 'pause' },
      { pid: 11, netns: hostInode, cgroup: cgroupOf(podB, 2) },
      { pid: 20, netns: 101, cgroup: cgroupOf(podA, 3) }, // of a runtime without sandbox processes
      { pid: 21, netns: 101, cgroup: cgroupOf(podB, 2) },
      { pid: 22, netns: 101, cgroup: cgroupOf(podB, 2) },
      { pid: 30, netns: 102, cgroup: cgroupOf(podB, 2) },
    )
    refresh()
    expect(owners()).toEqual({ 101: podA })
    expect(pods.nested()).toBe(1)
    // Its container starts anew: nothing of it that was at the host is left.
    end(10, 11)
    start({ pid: 40, netns: hostInode, cgroup: cgroupOf(podB, 4), startedAt: 50 })
    refresh()
    expect(owners()).toEqual({ 101: podA })
    expect(pods.nested()).toBe(1)
  })
  it('counts the namespaces a pod makes for itself, and keeps its home', () => {
    start(
      { pid: 10, netns: 101, cgroup: cgroupOf(podA, 1), name: 'pause', startedAt: 900 },
      { pid: 4, netns: 103, cgroup: cgroupOf(podA, 2), name: 'pause', startedAt: 901 }, // pids began anew
      { pid: 3, netns: 102, cgroup: cgroupOf(podA, 2), startedAt: 905 },
    )
    refresh()
    expect(owners()).toEqual({ 101: podA })
    expect(pods.nested()).toBe(2)
    end(10)
    start({ pid: 50, netns: 101, cgroup: cgroupOf(podA, 4), startedAt: 2000 })
    refresh()
    expect(owners()).toEqual({ 101: podA })
    end(50)
    refresh()
    expect(Object.values(owners())).toEqual([podA])
    expect(pods.nested()).toBe(1)
  })
  it('finds the oldest process where the lowest pids are the youngest', () => {
    const young = Array.from({ length: limits.podVoters }, (_, at) => at + 100)
    start(
      ...young.map((pid) => ({ pid, netns: 101, cgroup: cgroupOf(podA, 2), startedAt: 5000 + pid })),
      { pid: 900, netns: 101, cgroup: cgroupOf(podA, 1), startedAt: 1000 },
      { pid: 800, netns: 102, cgroup: cgroupOf(podA, 2), startedAt: 1500 },
    )
    refresh()
    expect(owners()).toEqual({ 101: podA })
  })
  it('skips zombies and kernel threads', () => {
    start(
      { pid: 10, netns: 101, cgroup: cgroupOf(podB, 1), state: 'Z' },
      { pid: 11, netns: 101, cgroup: cgroupOf(podB, 1), flags: 0x0020_8040 },
      { pid: 12, netns: 101, cgroup: cgroupOf(podA, 2), name: 'a) Z 1 (b' },
    )
    refresh()
    expect(owners()).toEqual({ 101: podA })
    expect(pods.list()[0]!.pid).toBe(12)
  })
  it('reads nothing again until processes change, and then what is new', () => {
    start(
      { pid: 10, netns: 101, cgroup: cgroupOf(podA, 1), name: 'pause' },
      { pid: 20, netns: 102, cgroup: cgroupOf(podB, 2), name: 'pause' },
    )
    refresh()
    expect(reads.filter((file) => file.endsWith('cgroup'))).toEqual(['/proc/10/cgroup', '/proc/20/cgroup'])
    refresh()
    expect(reads).toEqual([])
    start({ pid: 21, netns: 102, cgroup: cgroupOf(podB, 3) })
    refresh()
    expect(reads).toEqual(['/proc/20/stat', '/proc/21/cgroup', '/proc/21/stat'])
    expect(pods.list()[1]!.containerIds).toEqual([idOf(2), idOf(3)])
    end(10)
    refresh()
    expect(reads).toEqual([])
    expect(owners()).toEqual({ 102: podB })
  })
  it('looks again at a process that its runtime may still move, but not for ever', () => {
    start({ pid: 10, netns: 101, cgroup: '0::/system.slice/containerd.service\n' })
    refresh()
    expect(owners()).toEqual({ 101: undefined })
    start({ pid: 10, netns: 101, cgroup: cgroupOf(podA, 1) })
    refresh()
    expect(owners()).toEqual({ 101: podA })
    start({ pid: 20, netns: 102, cgroup: '0::/\n' })
    for (let look = 0; look < limits.podLooks; look++) refresh()
    refresh()
    expect(reads).toEqual([])
  })
  it('does not mistake a namespace or a process for the one whose number it has', () => {
    start({ pid: 10, netns: 101, cgroup: cgroupOf(podA, 1), cookie: 1 })
    refresh()
    start({ pid: 10, netns: 101, cgroup: cgroupOf(podB, 2), cookie: 2 })
    refresh()
    expect(owners()).toEqual({ 101: podB })
    start(
      { pid: 10, netns: 101, cgroup: cgroupOf(podC, 3), cookie: 2, startedAt: 999 },
      { pid: 11, netns: 101, cgroup: '0::/\n', cookie: 2 },
    )
    refresh()
    expect(owners()).toEqual({ 101: podC })
  })
  it('does not where one namespace follows another while the tasks are listed', () => {
    start(
      { pid: 10, netns: 101, cgroup: cgroupOf(podA, 1), cookie: 1 },
      { pid: 11, netns: 101, cgroup: cgroupOf(podB, 2), cookie: 2 },
    )
    refresh()
    expect(pods.list()).toMatchObject([{ netns: { inode: 101, cookie: 2 }, podUid: uidOf(podB), pid: 11 }])
  })
  it('does not without cookies either', () => {
    start({ pid: 10, netns: 101, cgroup: cgroupOf(podA, 1), cookie: 0 })
    refresh()
    start({ pid: 10, netns: 101, cgroup: cgroupOf(podB, 2), cookie: 0, startedAt: 999 })
    refresh()
    expect(owners()).toEqual({ 101: podB })
  })
  it('bears processes that end while it looks', () => {
    start({ pid: 10, netns: 101, cgroup: cgroupOf(podA, 1) })
    pods.refresh([...listTasks(), { pid: 11, inode: 101, cookie: 5101 }, { pid: 12, inode: 102, cookie: 5102 }])
    expect(owners()).toEqual({ 101: podA, 102: undefined })
  })
  it('finds the home of a pod among more processes of the host than it reads at once', () => {
    const pids = Array.from({ length: 2 * limits.podReads }, (_, at) => at + 100)
    start(
      { pid: 10, netns: 101, cgroup: cgroupOf(podB, 1) },
      { pid: 9999, netns: hostInode, cgroup: cgroupOf(podB, 2), startedAt: 1 },
    )
    const read = (file: string): string =>
      /\/(10|9999)\//.test(file) ? fs.readFileSync(path.join(root, file), 'utf8') : '0::/init.scope\n'
    pods = createPods({ root, files: { read }, host: { inode: hostInode } })
    const ofHost = pids.map((pid) => ({ pid, inode: hostInode, cookie: 1 }))
    const last = [
      { pid: 9999, inode: hostInode, cookie: 1 },
      { pid: 10, inode: 101, cookie: 2 },
    ]
    expect(limits.podHostProcesses).toBeGreaterThanOrEqual(pids.length)
    for (let round = 0; round < 2; round++) {
      pods.refresh([...ofHost.slice(0, -1), ...last])
      expect(owners()).toEqual({ 101: undefined })
    }
    pods.refresh([...ofHost.slice(0, -1), ...last])
    expect(owners()).toEqual({})
    expect(pods.nested()).toBe(1)
  })
  it('keeps the host out', () => {
    start({ pid: 10, netns: hostInode, cgroup: cgroupOf(podA, 1), name: 'pause' })
    refresh()
    expect(pods.list()).toEqual([])
    expect(reads).toEqual([])
  })
  it('is not crowded out by one pod', () => {
    const task = (pid: number, inode: number): TracedTask => ({ pid, inode, cookie: inode })
    start(
      { pid: 10, netns: 101, cgroup: cgroupOf(podA, 1), name: 'pause' },
      { pid: 11, netns: 101, cgroup: cgroupOf(podA, 1), startedAt: 500 },
      { pid: 20, netns: 102, cgroup: cgroupOf(podB, 2), name: 'pause' },
    )
    // All of them by the text of one process.
    const text = (file: string): string => fs.readFileSync(path.join(root, file.replace(/\/\d{4,}\//, '/11/')), 'utf8')
    let count = 0
    const read = (file: string): string => {
      count++
      return text(file)
    }
    pods = createPods({ root, files: { read }, host: { inode: hostInode } })
    const many = Array.from({ length: limits.podNamespaces + 500 }, (_, at) => task(1000 + at, 1000 + at))
    const all = [task(10, 101), ...many, task(99, 102)]
    for (let round = 0; round < 20; round++) {
      count = 0
      const startMs = performance.now()
      pods.refresh(round === 0 ? all.slice(0, -1) : all.map((one) => (one.pid === 99 ? task(20, 102) : one)))
      expect(count).toBeLessThanOrEqual(2 * (limits.podReads + 1))
      expect(performance.now() - startMs).toBeLessThan(5000)
    }
    expect(owners()).toEqual({ 101: podA, 102: podB })
    expect(pods.nested() + pods.unlisted()).toBe(limits.podNamespaces + 500)
  })
  it('reads a bounded number of processes of one namespace', () => {
    const pids = Array.from({ length: 1000 }, (_, at) => at + 100)
    const read = (file: string): string => {
      reads.push(file)
      return file.endsWith('cgroup') ? '0::/\n' : ''
    }
    pods = createPods({ root, files: { read }, host: { inode: hostInode } })
    for (let round = 0; round < 10; round++) pods.refresh(pids.map((pid) => ({ pid, inode: 101, cookie: 1 })))
    expect(reads.length).toBe(limits.podMembers * limits.podLooks)
  })
})

describe('of /proc', () => {
  const scan = (): void => pods.refresh()
  it('finds the same without the tracer', () => {
    start(
      { pid: 10, netns: 101, cgroup: cgroupOf(podA, 1), name: 'pause' },
      { pid: 11, netns: 102, cgroup: cgroupOf(podA, 1) },
      { pid: 20, netns: 103, cgroup: cgroupOf(podB, 2) },
      { pid: 21, netns: hostInode, cgroup: cgroupOf(podB, 2), startedAt: 3 },
    )
    fs.mkdirSync(path.join(root, 'proc/tty'))
    scan()
    expect(pods.list()).toEqual([{ netns: { inode: 101, cookie: 0 }, podUid: uidOf(podA), containerIds: [idOf(1)], pid: 10 }])
    expect(pods.nested()).toBe(2)
  })
  it('has nothing where there is no /proc', () => {
    fs.rmSync(path.join(root, 'proc'), { recursive: true })
    scan()
    expect(pods.list()).toEqual([])
  })
})

/** Where control groups can be made with mkdir: of version 2, or of one hierarchy of version 1. */
function findHierarchy(): string | undefined {
  return ['/sys/fs/cgroup/unified', '/sys/fs/cgroup', '/sys/fs/cgroup/memory'].find((folder) => {
    const probe = path.join(folder, `netvitals-${process.pid}`)
    if (!fs.existsSync(path.join(folder, 'cgroup.procs'))) return false
    try {
      fs.mkdirSync(probe)
      fs.rmdirSync(probe)
      return true
    } catch {
      return false
    }
  })
}

requireRoot('processes in control groups and namespaces of this machine', () => {
  it('are found by the tracer and in /proc', async (context) => {
    const hierarchy = findHierarchy()
    if (hierarchy === undefined) {
      if (process.env.CI === 'true') throw new Error('control groups cannot be made here')
      return context.skip('control groups cannot be made here')
    }
    const made: string[] = []
    const children: ChildProcess[] = []
    const makeGroup = (podUid: string, containerId: string): string => {
      let folder = hierarchy
      for (const part of ['kubepods', 'burstable', `pod${podUid}`, containerId]) {
        folder = path.join(folder, part)
        if (fs.existsSync(folder)) continue
        fs.mkdirSync(folder)
        made.push(folder)
      }
      return path.join(folder, 'cgroup.procs')
    }
    /** A shell that waits: in a control group, then in a namespace, under a name. */
    const hold = async (procs: string | undefined, enter: string[], name = 'app'): Promise<number> => {
      const script = `${procs === undefined ? '' : `echo $$ > ${procs};`} exec ${enter.join(' ')} sh -c 'echo ${name} > /proc/$$/comm; echo $$; read _'`
      const child = spawn('sh', ['-c', script], { stdio: ['pipe', 'pipe', 'inherit'] })
      children.push(child)
      return new Promise((resolve, reject) => {
        child.once('exit', (code) => reject(new Error(`ended with ${code}`)))
        child.stdout!.once('data', (data: Buffer) => resolve(Number(data.toString())))
      })
    }
    const inodeOf = (pid: number): number => fs.statSync(`/proc/${pid}/ns/net`).ino
    const libc = await loadLibc()
    const namespaces = createNamespaces({ root: '/', libc })
    const files = createFiles({ root: '/', namespaces })
    const tracer = createTracer()
    const built = build('agent/host/pods.ts')
    try {
      const [uid, hostUid] = [randomUUID(), randomUUID()]
      const ids = Array.from({ length: 4 }, () => randomBytes(32).toString('hex'))
      const app = makeGroup(uid, ids[1]!)
      const ofHost = makeGroup(hostUid, ids[2]!)
      const pause = await hold(makeGroup(uid, ids[0]!), ['unshare', '-n'], 'pause')
      const inside = ['nsenter', `--net=/proc/${pause}/ns/net`]
      await hold(app, inside)
      await hold(undefined, inside)
      await hold(ofHost, inside)
      await hold(ofHost, ['env'])
      const nested = [await hold(app, ['unshare', '-n'], 'pause'), await hold(ofHost, ['unshare', '-n'])]
      await tracer.start()

      const expectFound = (pods: Pods, cookie: unknown): void => {
        const mine = pods.list().filter(({ podUid }) => podUid === uid || podUid === hostUid)
        const netns = { inode: inodeOf(pause), cookie }
        expect(mine).toEqual([{ netns, podUid: uid, containerIds: [ids[0], ids[1]], pid: pause }])
        const inodes = pods.list().map(({ netns }) => netns.inode)
        for (const pid of nested) expect(inodes).not.toContain(inodeOf(pid))
        expect(pods.nested()).toBeGreaterThanOrEqual(2)
      }
      const fromProc = createPods({ root: '/', files, host: namespaces.host })
      fromProc.refresh()
      expectFound(fromProc, 0)
      if (tracer.missing('tasks') === undefined) {
        const fromTracer = createPods({ root: '/', files, host: namespaces.host })
        fromTracer.refresh(tracer.tasks())
        expectFound(fromTracer, expect.any(Number))
        const before = fromTracer.list()
        fromTracer.refresh(tracer.tasks())
        expect(fromTracer.list().filter(({ podUid }) => podUid === uid)).toEqual(before.filter(({ podUid }) => podUid === uid))
      }
      // The inodes cannot be read without capabilities; whose they are can.
      const code = `import fs from 'node:fs'
        import { createPods } from '${built.module}'
        import { NotFound } from '${built.module.replace('pods.js', 'errors.js')}'
        const read = (file) => {
          try {
            return fs.readFileSync(file, 'utf8')
          } catch {
            throw new NotFound(file)
          }
        }
        const pods = createPods({ root: '/', files: { read }, host: { inode: fs.statSync('/proc/self/ns/net').ino } })
        pods.refresh()
        console.log(JSON.stringify({ list: pods.list(), nested: pods.nested() }))`
      const node = [process.execPath, '--input-type=module', '-e', code]
      const found = JSON.parse(execFileSync('setpriv', ['--bounding-set=-all', ...node], { encoding: 'utf8' }))
      expect(found.list.filter(({ podUid }: { podUid?: string }) => podUid === uid || podUid === hostUid)).toEqual([
        { netns: { cookie: 0 }, podUid: uid, containerIds: [ids[0], ids[1]], pid: pause },
      ])
      expect(found.nested).toBeGreaterThanOrEqual(2)
    } finally {
      built.remove()
      await tracer.stop()
      for (const child of children) {
        const ended = new Promise((resolve) => child.once('close', resolve))
        if (child.exitCode === null && child.signalCode === null) {
          child.kill('SIGKILL')
          await ended
        }
      }
      for (const folder of made.reverse()) {
        try {
          fs.rmdirSync(folder)
        } catch {
          // somebody else uses it by now
        }
      }
    }
  })
})
