import fs from 'node:fs'
import path from 'node:path'
import { limits } from '../limits.ts'
import { NotFound, Unreadable } from './errors.ts'
import { describeErrno } from './libc.ts'
import type { Namespaces, NetworkNamespace } from './namespaces.ts'
import { isTurnOver, nextTurn } from './turn.ts'

/** The only reader of the kernel's files. Errors are NotFound or Unreadable. */
export interface Files {
  /** A whole file: `/proc/…` or `/sys/…` of the machine, or of the recorded tree. */
  read(path: string): string
  /** The names of what is in a folder, in no order. More than so many are refused. */
  list(path: string, max: number): string[]
  /** A whole file of /proc/net as the namespace sees it: `snmp`. */
  readNet(netns: NetworkNamespace, file: string): string
  /** A whole file of /proc/sys as the namespace sees it: `net/ipv4/ip_local_port_range`. */
  readSys(netns: NetworkNamespace, file: string): string
  /** A large file of /proc/net in pieces, cut anywhere and valid during the call. Gives the event loop back in between. */
  stream(netns: NetworkNamespace, file: string, onChunk: (chunk: Uint8Array) => void, signal: AbortSignal): Promise<void>
}

export function createFiles({ root, namespaces }: { readonly root: string; readonly namespaces: Namespaces }): Files {
  const isLive = path.resolve(root) === '/'
  const buffer = Buffer.allocUnsafeSlow(limits.fileBytes + 1)
  const inTree = (file: string): string => (isLive ? file : path.join(root, file))

  function open(file: string): number {
    return attempt(file, () => fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK))
  }

  function readWhole(file: string, fd = open(file)): string {
    try {
      for (let length = 0; ; ) {
        if (length === buffer.length) throw new Unreadable(file, `larger than ${limits.fileBytes} bytes`)
        const more = attempt(file, () =>
          fs.readSync(fd, buffer, length, Math.min(limits.readBytes, buffer.length - length), null),
        )
        if (more === 0) return buffer.toString('utf8', 0, length)
        length += more
      }
    } finally {
      fs.closeSync(fd)
    }
  }

  /** Of /proc/net as a process of the namespace, or the agent inside it, sees it. What is open stays with the namespace. */
  function openNet(netns: NetworkNamespace, file: string): number {
    if (netns === namespaces.host) return open(isLive ? `/proc/self/net/${file}` : inTree(`/proc/net/${file}`))
    const pid = namespaces.processOf(netns)
    if (pid !== undefined) {
      try {
        return open(`/proc/${pid}/net/${file}`)
      } catch (error) {
        if (namespaces.processOf(netns) === pid) throw error // else the process ended just now
      }
    }
    return namespaces.enter(netns, () => open(`/proc/thread-self/net/${file}`))
  }

  return {
    read: (file) => readWhole(inTree(file)),
    list(folder, max) {
      const opened = attempt(folder, () => fs.opendirSync(inTree(folder)))
      try {
        const names: string[] = []
        for (;;) {
          const entry = attempt(folder, () => opened.readSync())
          if (entry === null) return names
          if (names.length === max) throw new Unreadable(folder, `more than ${max} entries`)
          names.push(entry.name)
        }
      } finally {
        opened.closeSync()
      }
    },
    readNet: (netns, file) => readWhole(`/proc/net/${file}`, openNet(netns, file)),
    // Through whatever process's root one goes, /proc/sys shows the namespace of the reader.
    readSys: (netns, file) => namespaces.enter(netns, () => readWhole(inTree(`/proc/sys/${file}`))),

    async stream(netns, file, onChunk, signal) {
      const fd = openNet(netns, file)
      try {
        const chunk = Buffer.allocUnsafeSlow(limits.streamBytes)
        for (;;) {
          if (isTurnOver()) await nextTurn(signal)
          const length = attempt(file, () => fs.readSync(fd, chunk, 0, chunk.length, null))
          if (length === 0) return
          onChunk(chunk.subarray(0, length))
        }
      } finally {
        fs.closeSync(fd)
      }
    },
  }
}

function attempt<T>(file: string, call: () => T): T {
  try {
    return call()
  } catch (error) {
    const errno = error instanceof Error && 'errno' in error ? Number(error.errno) : Number.NaN
    if (Number.isNaN(errno)) throw error
    const { code, words } = describeErrno(-errno)
    if (code === 'ENOENT' || code === 'ENOTDIR') throw new NotFound(file)
    throw new Unreadable(file, `${code}: ${words}`, code)
  }
}
