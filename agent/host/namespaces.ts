import fs from 'node:fs'
import path from 'node:path'
import { limits } from '../limits.ts'
import { Unreadable } from './errors.ts'
import type { LoadedLibc } from './libc.ts'
import type { PodOfNamespace } from './pods.ts'
import { createDoor } from './setns.ts'

const minted: unique symbol = Symbol('minted')

/**
 * A network namespace, minted only here: one object for as long as the namespace lives. Inodes are used again at once:
 * the cookie tells twins apart. Without privileges the inode is unreadable and the process is all we have.
 */
export interface NetworkNamespace {
  /** A process seen inside; it may have ended. */
  readonly pid?: number
  readonly inode?: number
  /** The kernel's net_cookie, which is never used again (Linux 5.14). Keys of the tracer have its low 32 bits. */
  readonly cookie?: number
  /** Its file in /run/netns. */
  readonly name?: string
  readonly [minted]: true
}

/** A process and where it is, as the tracer sees it. */
export interface Task {
  readonly pid: number
  readonly inode: number
  /** In full or its low 32 bits; 0: this kernel has none. */
  readonly cookie: number
}

export interface DepartedNamespace {
  readonly netns: NetworkNamespace
  /** By performance.now(). */
  readonly departedAtMs: number
}

export interface Namespaces {
  /** The agent's own. */
  readonly host: NetworkNamespace
  /** Looks at /run/netns for what came and went. */
  refresh(): void
  /** Named namespaces and those of pods and containers, without the host's. */
  list(): readonly NetworkNamespace[]
  /** Whose it is; undefined: no pod's and no container's. */
  ownerOf(netns: NetworkNamespace): PodOfNamespace | undefined
  /** How many found no place in the list at the last refresh. */
  unlisted(): number
  /** Those that went within the departure time. */
  departed(): readonly DepartedNamespace[]
  /** The namespace of a tracer's key, present or departed, with a name or without. */
  find(inode: number, cookie32: number): NetworkNamespace | undefined
  /** One of which only the tracer's key is known, so that its values can be counted as nobody's. The same object until the next refresh. */
  stranger(inode: number, cookie32: number): NetworkNamespace
  /**
   * Learns processes and cookies from a list of all tasks, for where neither /proc nor setns would tell; and which namespaces
   * are those of pods and containers.
   */
  adoptTasks(tasks: Iterable<Task>, pods?: readonly PodOfNamespace[]): void
  /** A process that is inside now. */
  processOf(netns: NetworkNamespace): number | undefined
  /** Why it can be read neither through a process nor from inside, in words; undefined: it can. */
  whyUnreadable(netns: NetworkNamespace): string | undefined
  /**
   * Runs `fn` inside the namespace, on this thread. What it opens belongs to the namespace wherever it is used later;
   * keep nothing open, because an open socket or file keeps a deleted namespace and its devices alive. `fn` must not wait.
   *
   * Throws Unreadable if the namespace is gone or cannot be entered.
   */
  enter<T>(netns: NetworkNamespace, fn: Synchronous<T>): T
}

type Synchronous<T> = (() => T) & (T extends PromiseLike<unknown> ? never : unknown)

interface Known {
  readonly netns: { -readonly [K in keyof NetworkNamespace]: NetworkNamespace[K] }
  /** Of its file in /run/netns, a character a byte: a name need not be UTF-8, and its text may then stand for several. */
  readonly nameBytes?: string
  /**
   * When the kernel made what the file in /run/netns stands for. It differs between twins, because an inode is free again
   * only some time after its namespace; but it changes too when a namespace was without a name for a while.
   */
  madeAtMs?: number | undefined
  whyNotEntered?: string | undefined
  owner?: PodOfNamespace | undefined
  /** Of a file in /proc that all processes of a namespace share, for where ns/net cannot be read. */
  procInode?: number | undefined
  departedAtMs?: number
}

const folder = '/run/netns'
const toFile = (nameBytes: string): Buffer => Buffer.from(path.join(folder, nameBytes), 'latin1')
const toText = (nameBytes: string): string => Buffer.from(nameBytes, 'latin1').toString('utf8')
/** What container runtimes call the namespaces of pods, whose own names are found in other ways: containerd, CRI-O. */
const runtimeName = /^cni-|^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const nsfsMagic = 0x6e736673

/** The low 32 bits of a cookie, as the tracer's keys have them. */
export const toCookie32 = (cookie: number): number => cookie >>> 0

export function createNamespaces({ root, libc }: { readonly root: string; readonly libc: LoadedLibc }): Namespaces {
  const isLive = path.resolve(root) === '/'
  const door = createDoor(libc)
  const host = isLive ? mint(undefined, statInode('/proc/thread-self/ns/net'), door.readCookie()) : mint()

  let named: Known[] = []
  let nameless: Known[] = []
  let departed: Known[] = []
  let listed: readonly NetworkNamespace[] = []
  /** Of the first three. */
  const byInode = new Map<number | undefined, Known[]>()
  const strangers = new Map<string, NetworkNamespace>()
  let unlisted = 0

  function refresh(): void {
    unlisted = 0
    strangers.clear()
    const next: Known[] = []
    const seen = new Set([host.inode])
    for (const name of isLive ? listNames() : []) {
      const candidate = inspect(name)
      if (candidate === undefined || seen.has(candidate.netns.inode)) continue // not a namespace, or a second name of one
      if (next.length === limits.namespaces) {
        unlisted++
        continue
      }
      seen.add(candidate.netns.inode)
      next.push(recognise(candidate))
    }
    update(next, nameless)
  }

  /** Known names first: they keep their place when there are too many, and when their namespace gets a second name. */
  function* listNames(): Generator<string> {
    const known = new Set(named.map(({ nameBytes }) => nameBytes ?? ''))
    yield* known
    let directory: fs.Dir
    try {
      directory = fs.opendirSync(folder, { encoding: 'latin1' })
    } catch {
      return // no named namespaces yet, or none for our eyes
    }
    try {
      for (let entry = directory.readSync(); entry !== null; entry = directory.readSync()) {
        if (!runtimeName.test(entry.name) && !known.has(entry.name)) yield entry.name
      }
    } finally {
      directory.closeSync()
    }
  }

  /** What a name stands for now; undefined: no network namespace. */
  function inspect(nameBytes: string): Known | undefined {
    const file = toFile(nameBytes)
    let fd: number | undefined
    try {
      if (fs.statfsSync(file).type !== nsfsMagic) return undefined // before it is opened: it could be anything
      fd = openNamespace(file)
      const { ino, ctimeMs } = fs.fstatSync(fd)
      const same = byInode.get(ino)?.find((known) => known.nameBytes === nameBytes && known.madeAtMs === ctimeMs)
      if (same?.netns.cookie !== undefined && same.whyNotEntered === undefined) return same // no need to go inside
      const known: Known = { netns: mint(toText(nameBytes), ino), nameBytes, madeAtMs: ctimeMs }
      return learnCookie(known, fd) ? known : undefined
    } catch (error) {
      if (hasCode(error)) return undefined // went away meanwhile
      throw error
    } finally {
      if (fd !== undefined) fs.closeSync(fd)
    }
  }

  /** False: it is a namespace of another kind. */
  function learnCookie(known: Known, fd: number): boolean {
    try {
      setCookie(known, door.visit(describe(known.netns), fd, door.readCookie))
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error
      if (error.code === 'EINVAL') return false
      known.whyNotEntered = error.message
    }
    return true
  }

  /** The same namespace as one known, or one that had gone, or a new one. */
  function recognise(candidate: Known): Known {
    const { inode, cookie } = candidate.netns
    const known = byInode.get(inode)?.find(({ netns, nameBytes, madeAtMs }) => {
      if (nameBytes !== candidate.nameBytes) return false
      return netns.cookie === undefined || cookie === undefined
        ? madeAtMs === candidate.madeAtMs
        : toCookie32(netns.cookie) === toCookie32(cookie)
    })
    if (known === undefined) return candidate
    known.madeAtMs = candidate.madeAtMs
    known.whyNotEntered = candidate.whyNotEntered
    setCookie(known, cookie)
    return known
  }

  function adoptTasks(tasks: Iterable<Task>, pods: readonly PodOfNamespace[] = []): void {
    const next = new Set<Known>()
    for (const known of named) known.owner = undefined
    for (const pod of pods) if (pod.podUid !== undefined || pod.containerIds.length > 0) adoptPod(pod, next)
    for (const task of chooseTasks(tasks)) {
      const known: Known = findFitting(task, ({ netns }) => netns.name === undefined) ?? { netns: mint(undefined, task.inode) }
      if (known.owner !== undefined && (next.has(known) || known.netns.name !== undefined)) continue // by its pod's process
      adopt(known, task)
      if (known.netns.name === undefined) admit(known, undefined, next)
    }
    update(named, [...next])
  }

  function admit(known: Known, owner: PodOfNamespace | undefined, next: Set<Known>): void {
    known.owner = owner
    if (next.size < limits.namespaces) next.add(known)
  }

  /** One task of each namespace that is no pod's and not the host's: if it can be the one that was chosen before. */
  function chooseTasks(tasks: Iterable<Task>): Iterable<Task> {
    const chosen = new Map<string, Task>()
    const chosenBefore = new Set([...named, ...nameless].map(({ netns }) => netns.pid))
    for (const task of tasks) {
      const key = `${task.inode} ${toCookie32(task.cookie)}`
      if (task.inode === host.inode) continue
      if (chosen.has(key) ? chosenBefore.has(task.pid) : chosen.size < 2 * limits.namespaces) chosen.set(key, task)
    }
    return chosen.values()
  }

  /** One with a name that is there still, or one that `isMeant`. */
  function findFitting({ inode, cookie }: Omit<Task, 'pid'>, isMeant: (known: Known) => boolean): Known | undefined {
    const fitting = byInode.get(inode)?.filter(({ netns }) => hasCookie(netns, toCookie32(cookie))) ?? []
    return (
      fitting.find(({ netns, departedAtMs }) => netns.name !== undefined && departedAtMs === undefined) ?? fitting.find(isMeant)
    )
  }

  function adoptPod(pod: PodOfNamespace, next: Set<Known>): void {
    const { netns, pid } = pod
    const { inode, cookie } = netns
    const procInode = inode === undefined ? statInode(`/proc/${pid}/net/dev`) : undefined
    if (inode === undefined && procInode === undefined) return // it ended just now
    // Without a cookie another pod may have the inode by now.
    const isSame = (known: Known): boolean =>
      known.netns.name === undefined &&
      (inode === undefined ? known.procInode === procInode : true) &&
      (cookie !== 0 || (known.owner !== undefined && isOfSameOwner(known.owner, pod)))
    const found = inode === undefined ? byInode.get(undefined)?.find(isSame) : findFitting({ inode, cookie }, isSame)
    const known: Known = found ?? { netns: mint(undefined, inode) }
    adopt(known, { pid, cookie })
    if (known.netns.name === undefined) admit(known, pod, next)
    else known.owner = pod
  }

  function adopt(known: Known, { pid, cookie }: Omit<Task, 'inode'>): void {
    if (known.netns.cookie === undefined && cookie !== 0) setCookie(known, cookie)
    if (known.netns.pid === pid) return
    known.netns.pid = pid
    known.procInode = statInode(`/proc/${pid}/net/dev`)
  }

  function update(nextNamed: Known[], nextNameless: Known[]): void {
    const nowMs = performance.now()
    const present = new Set([...nextNamed, ...nextNameless])
    for (const known of present) delete known.departedAtMs
    for (const known of [...named, ...nameless]) if (!present.has(known)) departed.push(known)
    departed = departed.filter((known) => !present.has(known) && nowMs - (known.departedAtMs ??= nowMs) <= limits.departureMs)
    departed = departed.slice(-limits.namespaces)
    named = nextNamed
    nameless = nextNameless
    listed = [...named, ...nameless.filter(({ owner }) => owner !== undefined)].map(({ netns }) => netns)
    byInode.clear()
    // Without cookies the first is taken: of the departed the one that went last.
    for (const known of [...present, ...departed.toReversed()]) {
      const twins = byInode.get(known.netns.inode)
      if (twins === undefined) byInode.set(known.netns.inode, [known])
      else twins.push(known)
    }
  }

  function find(inode: number, cookie32: number): NetworkNamespace | undefined {
    if (inode === host.inode && hasCookie(host, cookie32)) return host
    const fitting = byInode.get(inode)?.filter(({ netns }) => hasCookie(netns, cookie32)) ?? []
    const sure = fitting.find(({ netns }) => netns.cookie !== undefined)
    return (sure ?? fitting[0])?.netns
  }

  function lookUp(netns: NetworkNamespace): Known | undefined {
    return byInode.get(netns.inode)?.find((known) => known.netns === netns)
  }

  function processOf(netns: NetworkNamespace): number | undefined {
    const { pid, inode } = netns
    if (pid === undefined) return undefined
    try {
      return fs.statSync(`/proc/${pid}/ns/net`).ino === inode ? pid : undefined
    } catch (error) {
      const procInode = hasCode(error, 'EACCES', 'EPERM') ? lookUp(netns)?.procInode : undefined
      return procInode !== undefined && statInode(`/proc/${pid}/net/dev`) === procInode ? pid : undefined
    }
  }

  function whyUnreadable(netns: NetworkNamespace): string | undefined {
    if (netns === host || processOf(netns) !== undefined) return undefined
    const known = lookUp(netns)
    if (known === undefined || known.departedAtMs !== undefined) return `${describe(netns)}: is gone`
    return netns.name === undefined ? `${describe(netns)}: its process has ended` : known.whyNotEntered
  }

  function enter<T>(netns: NetworkNamespace, fn: () => T): T {
    if (netns === host) return fn()
    const fd = openKnown(netns)
    try {
      return door.visit(describe(netns), fd, fn)
    } finally {
      fs.closeSync(fd)
    }
  }

  function openKnown(netns: NetworkNamespace): number {
    const what = describe(netns)
    const nameBytes = lookUp(netns)?.nameBytes
    const pid = nameBytes === undefined ? processOf(netns) : undefined
    if (nameBytes === undefined && pid === undefined)
      throw new Unreadable(what, netns.name === undefined ? 'its process has ended' : 'is gone')
    let fd: number
    try {
      fd = openNamespace(nameBytes === undefined ? `/proc/${pid}/ns/net` : toFile(nameBytes))
    } catch (error) {
      if (hasCode(error, 'EACCES', 'EPERM')) throw new Unreadable(what, 'opening it needs CAP_SYS_PTRACE', 'EACCES')
      if (hasCode(error)) throw new Unreadable(what, 'is gone')
      throw error
    }
    // The name, and the inode with it, may be a new namespace's by now.
    const { ino, ctimeMs } = fs.fstatSync(fd)
    if (ino === netns.inode && (netns.name === undefined || ctimeMs === lookUp(netns)?.madeAtMs)) return fd
    fs.closeSync(fd)
    throw new Unreadable(what, 'is gone')
  }

  return {
    host,
    refresh,
    list: () => listed,
    ownerOf: (netns) => lookUp(netns)?.owner,
    unlisted: () => unlisted,
    departed() {
      update(named, nameless)
      return departed.map(({ netns, departedAtMs = 0 }) => ({ netns, departedAtMs }))
    },
    find,
    stranger(inode, cookie32) {
      const key = `${inode} ${cookie32}`
      const stranger = strangers.get(key) ?? mint(undefined, inode, cookie32)
      strangers.set(key, stranger)
      return stranger
    },
    adoptTasks,
    processOf,
    whyUnreadable,
    enter,
  }
}

function mint(name?: string, inode?: number, cookie?: number): NetworkNamespace {
  return {
    ...(name !== undefined && { name }),
    ...(inode !== undefined && { inode }),
    ...(cookie !== undefined && { cookie }),
    [minted]: true,
  }
}

/** 0: the key comes from a kernel without cookies. */
function hasCookie({ cookie }: NetworkNamespace, cookie32: number): boolean {
  return cookie32 === 0 || cookie === undefined || toCookie32(cookie) === cookie32
}

function setCookie({ netns }: Known, cookie: number | undefined): void {
  if (cookie !== undefined) netns.cookie = cookie
}

/** Of pods; or of containers without. */
function isOfSameOwner(one: PodOfNamespace, other: PodOfNamespace): boolean {
  return (
    one.podUid === other.podUid && (one.podUid !== undefined || one.containerIds.some((id) => other.containerIds.includes(id)))
  )
}

function describe({ name, pid }: NetworkNamespace): string {
  return name === undefined ? `the network namespace of process ${pid}` : `network namespace ${name}`
}

function openNamespace(file: string | Buffer): number {
  return fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK)
}

function statInode(file: string): number | undefined {
  try {
    return fs.statSync(file).ino
  } catch {
    return undefined
  }
}

/** An error of a system call: of these, or any. */
function hasCode(error: unknown, ...codes: string[]): boolean {
  if (!(error instanceof Error) || !('code' in error) || !('syscall' in error)) return false
  return codes.length === 0 || codes.includes(String(error.code))
}
