import fs from 'node:fs'
import { Unreadable } from './errors.ts'
import { createFiles } from './files.ts'
import type { Host } from './host.ts'
import { describeErrno, type Libc, loadLibc } from './libc.ts'
import { type Namespaces, type NetworkNamespace, toCookie32 } from './namespaces.ts'
import { createNetlink } from './netlink.ts'
import { createDoor, type Door } from './setns.ts'
import { createTcpSockets } from './tcp-sockets.ts'
import { createTranslations } from './translations.ts'

/**
 * A network namespace without a name and without a process: it is there as long as this process holds it, or a socket of
 * it, open. Its device lo is up.
 */
export interface ThrowAwayNamespace {
  readonly inode: number
  /** undefined: this kernel does not tell (before Linux 5.14). */
  readonly cookie: number | undefined
  /** Runs `fn` inside, on this thread. What it opens belongs to the namespace wherever it is used later. `fn` must not wait. */
  inside<T>(fn: () => T): T
  close(): void
}

const CLONE_NEWNET = 0x40000000
const AF_INET = 2
const SOCK_DGRAM_CLOEXEC = 0o2000002
const SIOCSIFFLAGS = 0x8914
const IFF_UP = 1
const what = 'a new network namespace'

/** One for all: it keeps the thread's own namespace open. */
let door: Door | undefined

/** @throws Unreadable */
export async function createThrowAwayNamespace(): Promise<ThrowAwayNamespace> {
  const loaded = await loadLibc()
  const { libc } = loaded
  if (libc === undefined) throw new Unreadable(what, loaded.missing)
  const ourDoor = (door ??= createDoor(loaded))
  const fd = make(libc, ourDoor)
  const inside = <T>(fn: () => T): T => ourDoor.visit(what, fd, fn)
  try {
    const cookie = inside(() => {
      bringLoopbackUp(libc)
      return ourDoor.readCookie()
    })
    return { inode: fs.fstatSync(fd).ino, cookie, inside, close: () => fs.closeSync(fd) }
  } catch (error) {
    fs.closeSync(fd)
    throw error
  }
}

/** The door brings the thread home from wherever it went during a visit, even one that began at home. */
function make(libc: Libc, { visit }: Door): number {
  const home = fs.openSync('/proc/thread-self/ns/net', fs.constants.O_RDONLY)
  try {
    return visit('the own network namespace', home, () => {
      const result = libc.unshare(CLONE_NEWNET)
      if (result < 0) throw refused('making one', 'CAP_SYS_ADMIN', result)
      return fs.openSync('/proc/thread-self/ns/net', fs.constants.O_RDONLY)
    })
  } finally {
    fs.closeSync(home)
  }
}

function bringLoopbackUp(libc: Libc): void {
  const fd = libc.socket(AF_INET, SOCK_DGRAM_CLOEXEC, 0)
  if (fd < 0) throw refused('its device lo', 'a kernel with IPv4', fd)
  try {
    const request = new Uint8Array(40) // struct ifreq: a name, flags
    request.set(Buffer.from('lo'))
    request[16] = IFF_UP
    const result = libc.ioctl(fd, SIOCSIFFLAGS, request)
    if (result < 0) throw refused('bringing its device lo up', 'CAP_NET_ADMIN', result)
  } finally {
    fs.closeSync(fd)
  }
}

function refused(doing: string, need: string, result: number): Unreadable {
  const { code, words } = describeErrno(-result)
  return new Unreadable(what, code === 'EPERM' ? `${doing} needs ${need}` : `${doing}: ${code}: ${words}`, code)
}

/** The host as it would be if these were its named namespaces, and how each is called there. */
export async function addToHost(
  host: Host,
  added: readonly ThrowAwayNamespace[],
): Promise<{ readonly host: Host; readonly netnsOf: ReadonlyMap<ThrowAwayNamespace, NetworkNamespace> }> {
  const libc = await loadLibc()
  const { namespaces: real } = host
  const cookie32Of = ({ cookie }: ThrowAwayNamespace): number => (cookie === undefined ? 0 : toCookie32(cookie))
  const netnsOf = new Map(added.map((one) => [one, real.stranger(one.inode, cookie32Of(one))]))
  const addedOf = new Map([...netnsOf].map(([one, netns]) => [netns, one]))
  const namespaces: Namespaces = {
    ...real,
    list: () => [...netnsOf.values()],
    find(inode, cookie32) {
      const one = added.find((each) => each.inode === inode && [0, cookie32].includes(cookie32Of(each)))
      return one === undefined ? real.find(inode, cookie32) : netnsOf.get(one)
    },
    processOf: (netns) => (addedOf.has(netns) ? undefined : real.processOf(netns)),
    whyUnreadable: (netns) => (addedOf.has(netns) ? undefined : real.whyUnreadable(netns)),
    enter<T>(netns: NetworkNamespace, fn: () => T): T {
      const one = addedOf.get(netns)
      return one === undefined ? real.enter(netns, fn as Parameters<typeof real.enter<T>>[1]) : one.inside(fn)
    },
  }
  const parts = { root: '/', namespaces, libc }
  const [files, netlink] = [createFiles(parts), createNetlink(parts)]
  const tcpSockets = createTcpSockets(namespaces, netlink, files)
  const translations = createTranslations({ namespaces, netlink, files, libc })
  return { host: { ...host, namespaces, files, netlink, tcpSockets, translations }, netnsOf }
}
