import fs from 'node:fs'
import path from 'node:path'
import { parseProcPidCgroup } from '../../parsers/proc-pid-cgroup.ts'
import { parseProcPidStat } from '../../parsers/proc-pid-stat.ts'
import { ParseError } from '../../parsers/text.ts'
import { limits } from '../limits.ts'
import { NotFound, Unreadable } from './errors.ts'
import type { Files } from './files.ts'
import type { TracedTask } from './tracer.ts'

/** A network namespace with processes in it, and whose it is. */
export interface PodOfNamespace {
  /** Without privileges the inode is unreadable. The cookie is 0 where only /proc was read, or on an old kernel. */
  readonly netns: { readonly inode: number | undefined; readonly cookie: number }
  /** Undefined: no pod's. */
  readonly podUid: string | undefined
  /** Of the pod's processes that were looked at; without a pod the container's, as of Docker alone. */
  readonly containerIds: readonly string[]
  /** A process inside: the owner's longest-lived, so that /proc/<pid>/net can be read by it. */
  readonly pid: number
}

/**
 * Finds the pods of network namespaces by the control groups of the processes inside. The host's own namespace is nobody's.
 *
 * Any process may enter a namespace that is not its own, or make new ones, so each pod or container has one home, for as
 * long as it has processes there: where its oldest process is, which is that of its sandbox, `pause`, if there is one. A
 * namespace is the pod's that has its home there; of several, that with a sandbox, else with the most processes. A pod with
 * the host's network has its home at the host.
 */
export interface Pods {
  /** Takes the processes of the tracer, or without it looks for them in /proc. */
  refresh(tasks?: readonly TracedTask[]): void
  /** All but the nested. */
  list(): readonly PodOfNamespace[]
  /** Namespaces that processes made or entered whose home is another. */
  nested(): number
  /** Namespaces that found no place within the limits, or no time yet. */
  unlisted(): number
}

/** A process that was looked at. */
interface Member {
  /** Of the pod, or of the container if there is none. Undefined: neither's. */
  readonly owner: string | undefined
  readonly podUid: string | undefined
  readonly containerId: string | undefined
  /** In ticks since the machine started. */
  readonly startedAt: number
  readonly isPause: boolean
  readonly looks: number
}

/** A network namespace. */
interface Group {
  readonly inode: number | undefined
  readonly cookie: number
  pids: readonly number[]
  /** By pid. */
  readonly members: Map<number, Member>
  /** Nothing is left to look at. */
  isSettled: boolean
  isNested: boolean
}

/** What an owner has in one namespace. */
interface Claim {
  readonly group: Group
  readonly owner: string
  readonly pids: number[]
  isPause: boolean
  oldest: number
  oldestPid: number
}

export interface PodsOptions {
  readonly root: string
  readonly files: Pick<Files, 'read'>
  /** The host's namespace. */
  readonly host: { readonly inode?: number }
}

export function createPods({ root, files, host }: PodsOptions): Pods {
  const inTree = (file: string): string => path.join(root, file)
  let groups = new Map<number, Group>()
  /** The host's; its processes are only looked at when a pod's home is in doubt. */
  const hostGroup = newGroup(host.inode, 0)
  let homes = new Map<string, Group>()
  let entries: PodOfNamespace[] = []
  let nested = 0
  let unlisted = 0
  /** Files that may still be read now. */
  let budget = 0
  /** There were too many to read to be sure of every pod's home. */
  let isUnsure = false

  function refresh(tasks?: readonly TracedTask[]): void {
    budget = limits.podReads
    const { hostKey, seen } = tasks === undefined ? scan() : { hostKey: host.inode, seen: groupTasks(tasks) }
    const { untracked, hasChanged } = update(seen, hostKey)
    const unsettled = [...groups.values()].filter(({ isSettled }) => !isSettled)
    if (!hasChanged && unsettled.length === 0 && !isUnsure) return
    for (const group of unsettled) look(group, 1)
    for (const group of unsettled) look(group, limits.podVoters)
    decide()
    unlisted += untracked
  }

  function update(seen: ReadonlyMap<number, Seen>, hostKey: number | undefined): { untracked: number; hasChanged: boolean } {
    const next = new Map<number, Group>()
    let untracked = 0
    let hasChanged = false
    const admit = (key: number, { inode, cookie, pids }: Seen): void => {
      const known = key === hostKey ? hostGroup : groups.get(key)
      const isHost = key === hostKey
      const group = known !== undefined && (isHost || known.cookie === cookie) ? known : newGroup(inode, cookie)
      if (!isHost) {
        if (next.size === limits.podNamespaces) {
          untracked++
          return
        }
        next.set(key, group)
      }
      if (isSame(group.pids, pids)) {
        // Without a cookie all this may be another's by now, though hardly.
        if (cookie !== 0 || isHost || group.members.size === 0 || recheck(group, 1)) return
        group.members.clear()
      }
      group.pids = pids
      group.isSettled = false
      hasChanged = true
      const present = new Set(pids)
      for (const pid of group.members.keys()) if (!present.has(pid)) group.members.delete(pid)
      if (!isHost) recheck(group, limits.podRechecks)
    }
    // Known pods first, then what is new: neither is kept out by the namespaces that a pod makes for itself.
    for (const [key, { isNested }] of groups) if (!isNested && seen.has(key)) admit(key, seen.get(key)!)
    for (const [key, now] of seen) if (!groups.has(key)) admit(key, now)
    for (const [key, { isNested }] of groups) if (isNested && seen.has(key)) admit(key, seen.get(key)!)
    if (untracked > 0) hasChanged = true
    for (const [key, group] of groups) if (next.get(key) !== group) hasChanged = true
    groups = next
    return { untracked, hasChanged }
  }

  /** Whether so many members, in turn, are still the processes they were; those that are not are forgotten. */
  function recheck(group: Group, most: number): boolean {
    const { members } = group
    const voters = [...members].filter(([, { owner }]) => owner !== undefined)
    let isSound = true
    for (const [pid, member] of voters.slice(0, most)) {
      if (budget <= 0) break
      const stat = readStat(pid)
      members.delete(pid)
      if (stat?.startedAt !== member.startedAt) isSound = false
      else members.set(pid, { ...member, isPause: stat.name === 'pause' }) // at the end now
    }
    return isSound
  }

  /** Looks at processes until so many are known whose they are. False: there were too many to read. */
  function look(group: Group, voters: number, members: number = limits.podMembers): boolean {
    // A runtime puts a process into its group before it enters a namespace, but nobody promises that: it is looked at again.
    const looks = group === hostGroup ? 1 : limits.podLooks
    let have = 0
    for (const { owner } of group.members.values()) if (owner !== undefined) have++
    let isDone = true
    for (const pid of group.pids) {
      if (have >= voters) break
      const known = group.members.get(pid)
      if (known === undefined ? group.members.size >= members : known.owner !== undefined || known.looks >= looks) continue
      if (budget <= 0) {
        group.isSettled = false
        return false
      }
      const member = inspect(pid, (known?.looks ?? 0) + 1)
      group.members.set(pid, member)
      if (member.owner !== undefined) have++
      else if (member.looks < looks) isDone = false
    }
    group.isSettled = isDone && voters >= limits.podVoters
    return true
  }

  function inspect(pid: number, looks: number): Member {
    const nobody: Member = { owner: undefined, podUid: undefined, containerId: undefined, startedAt: 0, isPause: false, looks }
    const text = read(`/proc/${pid}/cgroup`)
    if (text === undefined) return nobody
    let cgroup: ReturnType<typeof parseProcPidCgroup>
    try {
      cgroup = parseProcPidCgroup(text, `/proc/${pid}/cgroup`)
    } catch (error) {
      if (error instanceof ParseError) return nobody
      throw error
    }
    // Of a pod but of no container: a helper of the runtime.
    if (cgroup?.containerId === undefined) return nobody
    const stat = readStat(pid)
    if (stat === undefined) return nobody
    const { podUid, containerId } = cgroup
    const owner = podUid === undefined ? `container ${containerId}` : `pod ${podUid}`
    return { owner, podUid, containerId, startedAt: stat.startedAt, isPause: stat.name === 'pause', looks }
  }

  /** /proc/<pid>/stat; undefined: there is no such process, or a zombie or kernel thread. */
  function readStat(pid: number): { name: string; startedAt: number } | undefined {
    const file = `/proc/${pid}/stat`
    const text = read(file)
    if (text === undefined) return undefined
    const { name, state, flags, startedAtTicks } = parseProcPidStat(text, file)
    return 'ZX'.includes(state) || flags & kernelThread ? undefined : { name, startedAt: startedAtTicks }
  }

  function read(file: string): string | undefined {
    budget--
    try {
      return files.read(file)
    } catch (error) {
      if (error instanceof NotFound || error instanceof Unreadable) return undefined
      throw error
    }
  }

  function decide(): void {
    let claims = collectClaims()
    const doubtful = [...claims].filter(
      ([owner, own]) => findHome(owner, own) === undefined && (own.length > 1 || !own[0]!.isPause),
    )
    const unsure = new Set<string>()
    if (doubtful.length > 0) {
      budget = limits.podReads
      // It may have the host's network. And the lowest pids are not the oldest processes once the numbers began anew.
      const isHostKnown = look(hostGroup, Number.POSITIVE_INFINITY, limits.podHostProcesses)
      for (const [owner, own] of doubtful) {
        const isKnown = own.length === 1 || own.every(({ group }) => look(group, Number.POSITIVE_INFINITY))
        if (!isHostKnown || !isKnown) unsure.add(owner)
      }
      claims = collectClaims()
    }
    isUnsure = unsure.size > 0
    const homesBefore = homes
    homes = new Map()
    const ofGroup = new Map<Group, Claim[]>()
    for (const [owner, own] of claims) {
      if (unsure.has(owner)) continue // rather nobody's for now than another's
      homes.set(owner, (findHome(owner, own, homesBefore) ?? own.reduce(prefer)).group)
      for (const claim of own) {
        const all = ofGroup.get(claim.group)
        if (all === undefined) ofGroup.set(claim.group, [claim])
        else all.push(claim)
      }
    }
    publish(ofGroup)
  }

  /** Where it was before. */
  function findHome(owner: string, own: readonly Claim[], before = homes): Claim | undefined {
    const home = before.get(owner)
    return own.find(({ group }) => group === home)
  }

  /** By owner. */
  function collectClaims(): Map<string, Claim[]> {
    const claims = new Map<string, Claim[]>()
    const collect = (group: Group): void => {
      for (const [pid, { owner, startedAt, isPause }] of group.members) {
        if (owner === undefined) continue
        let own = claims.get(owner)
        if (own === undefined) {
          if (group === hostGroup) continue // all its processes are there
          own = []
          claims.set(owner, own)
        }
        const claim = own.find((one) => one.group === group)
        if (claim === undefined) own.push({ group, owner, pids: [pid], isPause, oldest: startedAt, oldestPid: pid })
        else add(claim, pid, startedAt, isPause)
      }
    }
    for (const group of groups.values()) collect(group)
    collect(hostGroup)
    return claims
  }

  function publish(ofGroup: ReadonlyMap<Group, readonly Claim[]>): void {
    entries = []
    nested = 0
    unlisted = 0
    for (const group of groups.values()) {
      const all = ofGroup.get(group) ?? []
      const atHome = all.filter(({ owner }) => homes.get(owner) === group)
      group.isNested = all.length > 0 && atHome.length === 0
      if (group.isNested) nested++
      else if (group.members.size === 0 || entries.length === limits.namespaces) unlisted++
      else entries.push(describe(group, atHome.length > 0 ? atHome.reduce(preferMany) : undefined))
    }
  }

  /** Processes by namespace from /proc. */
  function scan(): { hostKey: number | undefined; seen: Map<number, Seen> } {
    const seen = new Map<number, Seen>()
    const hidden: number[] = []
    const put = (key: number, inode: number | undefined, pid: number): void => {
      const now = seen.get(key)
      if (now === undefined) seen.set(key, { inode, cookie: 0, pids: [pid] })
      else now.pids.push(pid)
    }
    for (const pid of listPids()) {
      const inode = readInode(pid)
      if (inode === 'hidden') hidden.push(pid)
      else if (inode !== 'gone') put(inode, inode, pid)
    }
    let hostKey = host.inode
    if (hidden.length > 0) {
      // All processes of a namespace share the files of /proc/<pid>/net, which need no right but to be seen.
      const hostNet = readNetKey('self')
      hostKey ??= hostNet
      const keys = new Map<number | undefined, number>()
      for (const [key, { pids }] of seen) keys.set(readNetKey(pids[0]!), key)
      if (hostKey !== undefined) keys.set(hostNet, hostKey)
      for (const pid of hidden) {
        const net = readNetKey(pid)
        if (net !== undefined) put(keys.get(net) ?? net, undefined, pid)
      }
    }
    return { hostKey, seen }
  }

  function listPids(): number[] {
    const pids: number[] = []
    let directory: fs.Dir
    try {
      directory = fs.opendirSync(inTree('/proc'))
    } catch {
      return pids
    }
    try {
      for (let entry = directory.readSync(); entry !== null; entry = directory.readSync()) {
        if (/^[1-9]\d*$/.test(entry.name) && pids.push(Number(entry.name)) === limits.podProcesses) break
      }
    } finally {
      directory.closeSync()
    }
    return pids.sort((one, other) => one - other)
  }

  function readInode(pid: number): number | 'hidden' | 'gone' {
    try {
      const inode = /^net:\[(\d+)\]$/.exec(fs.readlinkSync(inTree(`/proc/${pid}/ns/net`)))?.[1]
      return inode === undefined ? 'gone' : Number(inode)
    } catch (error) {
      return ['EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '') ? 'hidden' : 'gone'
    }
  }

  function readNetKey(pid: number | 'self'): number | undefined {
    try {
      return -fs.statSync(inTree(`/proc/${pid}/net/dev`)).ino
    } catch {
      return undefined
    }
  }

  return { refresh, list: () => entries, nested: () => nested, unlisted: () => unlisted }
}

/** A namespace with its processes, as listed now. */
interface Seen {
  readonly inode: number | undefined
  readonly cookie: number
  readonly pids: number[]
}

/** PF_KTHREAD of include/linux/sched.h. */
const kernelThread = 0x0020_0000

function groupTasks(tasks: readonly TracedTask[]): Map<number, Seen> {
  const seen = new Map<number, Seen>()
  for (const { pid, inode, cookie } of tasks) {
    const now = seen.get(inode)
    // Another cookie: the first of the two namespaces ended while the tasks were being listed.
    if (now === undefined || now.cookie !== cookie) seen.set(inode, { inode, cookie, pids: [pid] })
    else now.pids.push(pid)
  }
  return seen
}

function newGroup(inode: number | undefined, cookie: number): Group {
  return { inode, cookie, pids: [], members: new Map(), isSettled: false, isNested: false }
}

function isSame(one: readonly number[], other: readonly number[]): boolean {
  return one.length === other.length && one.every((pid, at) => pid === other[at])
}

function add(claim: Claim, pid: number, startedAt: number, isPause: boolean): void {
  claim.pids.push(pid)
  claim.isPause ||= isPause
  if (startedAt >= claim.oldest) return
  claim.oldest = startedAt
  claim.oldestPid = pid
}

/** Where the owner is at home. */
function prefer(one: Claim, other: Claim): Claim {
  if (one.oldest === other.oldest) return other.isPause ? other : one
  return other.oldest < one.oldest ? other : one
}

/** Whose the namespace is, of several at home there. */
function preferMany(one: Claim, other: Claim): Claim {
  if (one.isPause !== other.isPause) return one.isPause ? one : other
  if (one.pids.length !== other.pids.length) return one.pids.length > other.pids.length ? one : other
  return prefer(one, other)
}

function describe({ inode, cookie, pids, members }: Group, claim: Claim | undefined): PodOfNamespace {
  const netns = { inode, cookie }
  if (claim === undefined) return { netns, podUid: undefined, containerIds: [], pid: pids[0]! }
  const own = claim.pids.map((pid) => members.get(pid)!).sort((one, other) => one.startedAt - other.startedAt)
  const containerIds = [...new Set(own.map(({ containerId }) => containerId!))]
  return { netns, podUid: own[0]!.podUid, containerIds, pid: claim.oldestPid }
}
