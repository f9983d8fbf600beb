import fs from 'node:fs'
import { parseProcPidCgroup } from '../../parsers/proc-pid-cgroup.ts'
import { type ProcessStat, parseProcPidStat } from '../../parsers/proc-pid-stat.ts'
import { ParseError } from '../../parsers/text.ts'
import { limits } from '../limits.ts'
import { NotFound, Unreadable } from './errors.ts'
import type { Files } from './files.ts'
import { isTurnOver, nextTurn } from './turn.ts'

/** The process that has a socket open. Its texts are its own to choose: anything. */
export interface SocketOwner {
  readonly pid: number
  /** What it calls itself: 15 bytes at most. */
  readonly command: string
  /** Its arguments with blanks between them, the beginning only; empty where it cannot be read. */
  readonly commandLine: string
  readonly containerId: string | undefined
  /** Of systemd; undefined within containers. */
  readonly unit: string | undefined
  /** Processes that began later and have the same socket, as after fork. */
  readonly others: number
}

export interface FoundOwners {
  /** By the socket's inode. */
  readonly owners: ReadonlyMap<number, SocketOwner>
  /** Processes whose files cannot be seen: that needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH. */
  readonly refused: number
  /** There were more files than the limit lets be looked at. */
  readonly isCutOff: boolean
}

export interface SocketOwners {
  /**
   * Finds who has these sockets open, of all processes by /proc/<pid>/fd: those in the namespaces first, then, until every
   * socket has an owner, the others, because a socket may have been made elsewhere or handed on.
   */
  find(sockets: ReadonlySet<number>, netnsInodes: ReadonlySet<number>, signal: AbortSignal): Promise<FoundOwners>
}

export function createSocketOwners(files: Pick<Files, 'read'>): SocketOwners {
  return {
    async find(sockets, netnsInodes, signal) {
      const pidsOf = new Map<number, Set<number>>()
      let refused = 0
      let filesLeft: number = limits.socketOwnerFiles

      async function lookInto(pid: number): Promise<void> {
        let directory: fs.Dir | undefined
        try {
          directory = fs.opendirSync(`/proc/${pid}/fd`)
          for (let entry = directory.readSync(); entry !== null && filesLeft-- > 0; entry = directory.readSync()) {
            if (isTurnOver()) await nextTurn(signal)
            const inode = readSocketInode(`/proc/${pid}/fd/${entry.name}`)
            if (inode === undefined || !sockets.has(inode)) continue
            const pids = pidsOf.get(inode)
            if (pids === undefined) pidsOf.set(inode, new Set([pid]))
            else pids.add(pid)
          }
        } catch (error) {
          signal.throwIfAborted()
          if (isRefused(error))
            refused++ // else it ended just now
          else if (!isOfSystem(error)) throw error
        } finally {
          directory?.closeSync()
        }
      }

      const inside: number[] = []
      const outside: number[] = []
      for (const pid of listProcesses()) {
        if (isTurnOver()) await nextTurn(signal)
        ;(netnsInodes.has(readNetnsInode(pid)) ? inside : outside).push(pid)
      }
      for (const pid of inside) await lookInto(pid)
      for (const pid of outside) {
        if (pidsOf.size === sockets.size) break
        await lookInto(pid)
      }

      const processes = new Map<number, Process | undefined>()
      const owners = new Map<number, SocketOwner>()
      for (const [inode, pids] of pidsOf) {
        if (isTurnOver()) await nextTurn(signal)
        for (const pid of pids) if (!processes.has(pid)) processes.set(pid, readProcess(files, pid))
        const oldest = [...pids].flatMap((pid) => processes.get(pid) ?? []).sort(byAge)[0]
        if (oldest !== undefined) owners.set(inode, { ...oldest.owner, others: pids.size - 1 })
      }
      return { owners, refused, isCutOff: filesLeft < 0 }
    },
  }
}

interface Process {
  readonly startedAtTicks: number
  readonly owner: Omit<SocketOwner, 'others'>
}

const byAge = (one: Process, other: Process): number =>
  one.startedAtTicks - other.startedAtTicks || one.owner.pid - other.owner.pid

function* listProcesses(): Generator<number> {
  const directory = fs.opendirSync('/proc')
  try {
    let left: number = limits.socketOwnerProcesses
    for (let entry = directory.readSync(); entry !== null && left > 0; entry = directory.readSync()) {
      if (!/^\d+$/.test(entry.name)) continue
      left--
      yield Number(entry.name)
    }
  } finally {
    directory.closeSync()
  }
}

/** NaN: it is gone, or not for our eyes. */
function readNetnsInode(pid: number): number {
  try {
    return fs.statSync(`/proc/${pid}/ns/net`).ino
  } catch {
    return Number.NaN
  }
}

/** Of a link to `socket:[12345]`; undefined: it is no socket. */
function readSocketInode(file: string): number | undefined {
  try {
    const inode = /^socket:\[(\d+)\]$/.exec(fs.readlinkSync(file))?.[1]
    return inode === undefined ? undefined : Number(inode)
  } catch (error) {
    if (isOfSystem(error) && !isRefused(error)) return undefined // closed meanwhile
    throw error
  }
}

/** Undefined: it has ended. */
function readProcess(files: Pick<Files, 'read'>, pid: number): Process | undefined {
  const stat = attempt(() => parseProcPidStat(files.read(`/proc/${pid}/stat`), `/proc/${pid}/stat`))
  return stat && { startedAtTicks: stat.startedAtTicks, owner: describeProcess(files, pid, stat) }
}

function describeProcess(files: Pick<Files, 'read'>, pid: number, { name }: ProcessStat): Process['owner'] {
  const group = attempt(() => parseProcPidCgroup(files.read(`/proc/${pid}/cgroup`), `/proc/${pid}/cgroup`))
  return { pid, command: name, commandLine: readCommandLine(pid), containerId: group?.containerId, unit: group?.unit }
}

/** The beginning of /proc/<pid>/cmdline: the whole may have megabytes. */
function readCommandLine(pid: number): string {
  let fd: number | undefined
  try {
    fd = fs.openSync(`/proc/${pid}/cmdline`, 'r')
    const buffer = Buffer.alloc(limits.commandLineBytes)
    const length = fs.readSync(fd, buffer, 0, buffer.length, 0)
    return buffer.toString('utf8', 0, length).replace(/\0+$/, '').replaceAll('\0', ' ')
  } catch (error) {
    if (isOfSystem(error)) return ''
    throw error
  } finally {
    if (fd !== undefined) fs.closeSync(fd)
  }
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (error instanceof NotFound || error instanceof Unreadable || error instanceof ParseError) return undefined
    throw error
  }
}

function isOfSystem(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'code' in error && 'syscall' in error
}

function isRefused(error: unknown): boolean {
  return isOfSystem(error) && (error.code === 'EACCES' || error.code === 'EPERM')
}
