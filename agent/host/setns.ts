import fs from 'node:fs'
import { Unreadable } from './errors.ts'
import { describeErrno, type LoadedLibc } from './libc.ts'

const CLONE_NEWNET = 0x40000000
const AF_UNIX = 1
const SOCK_DGRAM_CLOEXEC = 0o2000002
const SOL_SOCKET = 1
const SO_NETNS_COOKIE = 71

export interface Door {
  /**
   * Runs `fn` inside the network namespace that `fd` is open on; it must not wait. Throws Unreadable, which calls the
   * namespace `what`, if it cannot be entered.
   */
  visit<T>(what: string, fd: number, fn: () => T): T
  /** The cookie of the namespace this thread is in; undefined: this kernel does not tell (before Linux 5.14). */
  readCookie(): number | undefined
}

/**
 * The kernel moves a single thread. The agent moves its main one, there and back within one call, so that nothing else
 * runs inside.
 */
export function createDoor({ libc, missing }: LoadedLibc): Door {
  let ownFd: number | undefined
  let isAway = false

  function openOwn(): number {
    // A thread starts where the one that starts it is: libuv's pool has to be there before the first visit.
    fs.stat('/', () => undefined)
    return fs.openSync('/proc/thread-self/ns/net', fs.constants.O_RDONLY)
  }

  return {
    visit(what, fd, fn) {
      if (libc === undefined) throw new Unreadable(what, missing)
      if (isAway) throw new Error('a visit within a visit would come back to the wrong namespace')
      ownFd ??= openOwn()
      const result = libc.setns(fd, CLONE_NEWNET)
      if (result < 0) throw new Unreadable(what, explain(-result), describeErrno(-result).code)
      isAway = true
      try {
        return fn()
      } finally {
        // A thread that cannot come back would take all that it reads from now on for the host's.
        if (libc.setns(ownFd, CLONE_NEWNET) < 0) process.abort()
        isAway = false
      }
    },

    readCookie() {
      const fd = libc?.socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0) ?? -1
      if (libc === undefined || fd < 0) return undefined
      const value = new Uint8Array(8)
      const length = libc.getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, value)
      fs.closeSync(fd)
      if (length !== value.length) return undefined
      const cookie = new DataView(value.buffer).getBigUint64(0, true)
      return Number(cookie <= Number.MAX_SAFE_INTEGER ? cookie : BigInt.asUintN(32, cookie))
    },
  }
}

function explain(errno: number): string {
  const { code, words } = describeErrno(errno)
  return code === 'EPERM' ? 'entering it needs CAP_SYS_ADMIN' : `cannot be entered: ${code}: ${words}`
}
