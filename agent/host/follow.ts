import fs from 'node:fs'
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { limits } from '../limits.ts'
import { describeErrno } from './libc.ts'
import { createLineIntake, createNotices, type LineSource, type LineSourceOptions, type LineSourceStatus, pour } from './lines.ts'
import { isTurnOver, nextTurn } from './turn.ts'

export interface FollowOptions extends LineSourceOptions {
  /** A file, which need not be there yet, or a FIFO; `-`: standard input. */
  readonly file: string
  /** Where to begin in a file that is there at the start. One that comes later is read whole. */
  readonly from?: 'start' | 'end'
}

/**
 * Takes the lines that another process writes.
 *
 * A file is followed by its name: when another takes its place the rest of the old one is read first, and a file that was
 * made shorter is read from its start. (One that was made shorter and then longer than before, within one look, shows no
 * difference.) Of a FIFO each time from its first writer to when it has none is one start.
 */
export function followFile(options: FollowOptions): LineSource {
  return options.file === '-' ? followInput(options) : followPath(options)
}

/** What the two ways of following have in common: starts and ends. */
function createSession({ file, onLine, onStart, onEnd, log }: FollowOptions) {
  const intake = createLineIntake(onLine)
  const notice = createNotices(log, { file })
  let begun = false
  let starts = 0
  let lastEnd: string | undefined
  return {
    intake,
    isBegun: () => begun,
    begin(): void {
      if (begun) return
      begun = true
      starts++
      notice('started')
      onStart?.()
    },
    /** Also where nothing had begun: why it cannot. */
    end(why: string): void {
      if (!begun && why === lastEnd) return
      notice(begun ? 'ended' : 'waiting', why)
      lastEnd = why
      if (!begun) return
      begun = false
      intake.end()
      onEnd?.()
    },
    status(isWanted: boolean, nextStartAtMs: number | undefined): LineSourceStatus {
      const state = !isWanted ? 'stopped' : begun ? 'running' : 'waiting'
      return { state, starts, lastEnd, ...intake.counts(), nextStartAtMs: state === 'waiting' ? nextStartAtMs : undefined }
    },
  }
}

type Session = ReturnType<typeof createSession>

function followInput(options: FollowOptions): LineSource {
  const session = createSession(options)
  let leave: (() => void) | undefined

  function finish(why: string): void {
    if (leave === undefined) return
    leave()
    leave = undefined
    session.end(why)
  }

  return {
    start() {
      if (leave !== undefined) return
      const input = process.stdin
      const onEnd = (): void => finish('end of input')
      const onError = (error: unknown): void => finish(describeError(error))
      const leaveData = pour(input, session.intake.push)
      input.once('end', onEnd).once('close', onEnd).once('error', onError)
      leave = () => {
        leaveData()
        input.off('end', onEnd).off('close', onEnd).off('error', onError)
      }
      session.begin()
      if (input.readableEnded || input.destroyed) onEnd()
    },
    status: () => session.status(leave !== undefined, undefined),
    async stop() {
      finish('stopped')
    },
  }
}

/** What is open, under whatever name it has now. */
interface Opened {
  readonly device: bigint
  readonly inode: bigint
  /** Takes what is there; true: there is more. */
  read(): Promise<boolean>
  /** Bytes so far. */
  bytes(): number
  /** It has no name left. */
  isRemoved(): Promise<boolean>
  close(): Promise<void>
}

function followPath(options: FollowOptions): LineSource {
  const { file, from = 'end' } = options
  const session = createSession(options)
  let controller: AbortController | undefined
  let following = Promise.resolve()
  let nextPollAtMs: number | undefined

  async function follow(signal: AbortSignal): Promise<void> {
    let place = from
    let current: Opened | undefined
    /** What has taken its place. */
    let next: Opened | undefined
    let seenBytes = 0
    /** Since when it is without its name. */
    let namelessAtMs: number | undefined

    /** True: there is more to read at once. */
    async function poll(): Promise<boolean> {
      if (current === undefined) {
        const looked = await open(file, place, session, signal)
        current = looked.opened
        if (looked.why !== undefined) session.end(looked.why)
        if (looked.isForbidden !== true) place = 'start' // what comes from now on is new
        if (current === undefined) return false
        seenBytes = 0
        namelessAtMs = undefined
      }
      if (await current.read()) return true
      const isSilent = current.bytes() === seenBytes
      seenBytes = current.bytes()
      if (next === undefined) {
        const stat = await look(file)
        if (stat?.dev === current.device && stat.ino === current.inode) {
          namelessAtMs = undefined
          return false
        }
        namelessAtMs ??= performance.now()
        if (stat === undefined) {
          // Its writer may go on; but what was removed takes room on the disk for as long as it is open.
          if (!isSilent) namelessAtMs = performance.now()
          else if (performance.now() - namelessAtMs > limits.followRotationMs && (await current.isRemoved())) {
            await leave('the file was removed')
          }
          return false
        }
        next = (await open(file, 'start', session, signal)).opened
        if (next !== undefined) namelessAtMs = performance.now()
        return false
      }
      if (isSilent || performance.now() - (namelessAtMs ?? 0) > limits.followRotationMs) {
        await leave('another file took its place')
        takeNext()
        return true
      }
      return false
    }

    function takeNext(): void {
      current = next
      next = undefined
      seenBytes = 0
      namelessAtMs = undefined
    }

    async function leave(why: string): Promise<void> {
      const left = current
      current = undefined
      await left?.close()
      session.end(why)
    }

    while (!signal.aborted) {
      let isMore = false
      try {
        isMore = await poll()
      } catch (error) {
        if (signal.aborted) break
        if (!hasErrno(error)) throw error
        await leave(`${file}: ${describeError(error)}`)
        place = 'end' // rather than the same lines twice
        takeNext()
      }
      if (isMore) continue
      nextPollAtMs = performance.now() + limits.followPollMs
      await sleep(limits.followPollMs, undefined, { signal }).catch(() => {})
    }
    await next?.close()
    await leave('stopped')
  }

  return {
    start() {
      if (controller !== undefined) return
      controller = new AbortController()
      const { signal } = controller
      following = following.then(() => follow(signal))
    },
    status: () => session.status(controller !== undefined, nextPollAtMs),
    async stop() {
      controller?.abort()
      controller = undefined
      await following
    },
  }
}

interface Looked {
  readonly opened?: Opened
  /** Why it is not open. */
  readonly why?: string
  /** It may well be there. */
  readonly isForbidden?: boolean
}

const openFile = promisify(fs.open)
const closeFile = promisify(fs.close)
const statOpen = promisify(fs.fstat)
const readFile = promisify(fs.read)
const { O_RDONLY, O_NONBLOCK, O_NOCTTY, S_IFMT, S_IFREG, S_IFIFO, S_IFDIR, S_IFSOCK } = fs.constants

/** Its files look like any other, but have no size and no end: proc, sysfs, debugfs, tracefs. */
const kernelMagics: readonly number[] = [0x9fa0, 0x62656572, 0x64626720, 0x74726163]

/** Never waits for a writer, and opens nothing but files and FIFOs: opening a device can already do something. */
async function open(file: string, place: 'start' | 'end', session: Session, signal: AbortSignal): Promise<Looked> {
  let fd: number | undefined
  try {
    const stat = await fs.promises.stat(file, { bigint: true })
    const kind = Number(stat.mode) & S_IFMT
    if (kind !== S_IFREG && kind !== S_IFIFO) {
      return { why: `${file}: is a ${kind === S_IFDIR ? 'directory' : kind === S_IFSOCK ? 'socket' : 'device'}` }
    }
    if (kind === S_IFREG && kernelMagics.includes((await fs.promises.statfs(file)).type)) {
      return { why: `${file}: is made by the kernel as it is read, and cannot be followed` }
    }
    fd = await openFile(file, O_RDONLY | O_NONBLOCK | O_NOCTTY)
    const { dev: device, ino: inode, size } = await statOpen(fd, { bigint: true })
    if (device !== stat.dev || inode !== stat.ino) {
      await closeFile(fd)
      return { why: `${file}: changes all the time` }
    }
    if (kind === S_IFIFO) return { opened: openFifo(fd, { device, inode }, session) }
    return { opened: openRegular(fd, { device, inode }, place === 'end' ? Number(size) : 0, session, signal) }
  } catch (error) {
    if (fd !== undefined) await closeFile(fd)
    if (!hasErrno(error)) throw error
    return { why: `${file}: ${describeError(error)}`, isForbidden: error.code === 'EACCES' || error.code === 'EPERM' }
  }
}

type Identity = Pick<Opened, 'device' | 'inode'>

function openRegular(fd: number, identity: Identity, from: number, session: Session, signal: AbortSignal): Opened {
  const buffer = Buffer.allocUnsafeSlow(limits.followReadBytes)
  let offset = from
  let bytes = 0

  async function begin(): Promise<void> {
    session.begin()
    if (from === 0) return
    const { bytesRead } = await readFile(fd, buffer, 0, 1, from - 1)
    if (bytesRead === 1 && buffer[0] !== newline) session.intake.skip()
  }

  return {
    ...identity,
    async read() {
      if (!session.isBegun()) await begin()
      if (Number((await statOpen(fd, { bigint: true })).size) < offset) {
        session.end('the file was made shorter')
        session.begin()
        offset = 0
      }
      for (let rest: number = limits.followPollBytes; rest > 0; ) {
        if (isTurnOver()) await nextTurn(signal)
        const { bytesRead } = await readFile(fd, buffer, 0, buffer.length, offset)
        signal.throwIfAborted()
        if (bytesRead === 0) return false
        offset += bytesRead
        bytes += bytesRead
        rest -= bytesRead
        session.intake.push(buffer.subarray(0, bytesRead))
      }
      return true
    },
    bytes: () => bytes,
    isRemoved: () => isRemoved(fd),
    close: () => closeFile(fd),
  }
}

/**
 * The event loop reads it, through a file description of its own for each time it has writers. `fd` stays open, so that
 * writers find a reader and what they wrote is kept in between.
 */
function openFifo(fd: number, identity: Identity, session: Session): Opened {
  const buffer = Buffer.allocUnsafeSlow(limits.followReadBytes)
  let socket: net.Socket | undefined
  let isClosed = false
  let bytes = 0

  function take(chunk: Buffer): void {
    session.begin()
    bytes += chunk.length
    session.intake.push(chunk)
  }

  function connect(): net.Socket {
    const reader = new net.Socket({
      fd: fs.openSync(`/proc/self/fd/${fd}`, O_RDONLY | O_NONBLOCK),
      readable: true,
      writable: false,
    })
    let why = noWriter
    socket = reader
    pour(reader, take)
    reader.once('error', (error) => {
      why = describeError(error)
    })
    reader.once('close', () => {
      socket = undefined
      if (isClosed) return
      session.end(why)
      try {
        connect()
      } catch {
        // the next look at it says why
      }
    })
    return reader
  }

  /**
   * Its writer shows in that there is nothing to read but no end either. The event loop is not told of one that is silent,
   * nor of the end of one that had gone before the loop's own file description was there.
   */
  function lookForWriter(reader: net.Socket): void {
    // What is read now would come before what the loop has, or count as of a writer that has just gone.
    if (reader.isPaused() || reader.readableLength > 0 || reader.readableEnded) return
    try {
      const length = fs.readSync(fd, buffer, 0, buffer.length, null)
      if (length > 0) take(buffer.subarray(0, length))
      else if (session.isBegun()) reader.destroy()
      else session.end(noWriter)
    } catch (error) {
      if (!hasErrno(error) || error.code !== 'EAGAIN') throw error
      session.begin()
    }
  }

  return {
    ...identity,
    async read() {
      lookForWriter(socket ?? connect())
      return false
    },
    bytes: () => bytes,
    isRemoved: () => isRemoved(fd),
    async close() {
      isClosed = true
      if (socket !== undefined) {
        const closed = new Promise((resolve) => socket?.once('close', resolve))
        socket.destroy()
        await closed
      }
      await closeFile(fd)
    },
  }
}

const newline = 0x0a
const noWriter = 'it has no writer'

async function isRemoved(fd: number): Promise<boolean> {
  return (await statOpen(fd, { bigint: true })).nlink === 0n
}

/** Undefined: nothing has this name. */
async function look(file: string): Promise<fs.BigIntStats | undefined> {
  try {
    return await fs.promises.stat(file, { bigint: true })
  } catch (error) {
    if (!hasErrno(error)) throw error
    return undefined
  }
}

function hasErrno(error: unknown): error is NodeJS.ErrnoException & { readonly errno: number } {
  return error instanceof Error && 'errno' in error && typeof error.errno === 'number'
}

function describeError(error: unknown): string {
  if (!hasErrno(error)) return String(error)
  if (error.code === 'ENOENT') return 'no such file'
  const { code, words } = describeErrno(-error.errno)
  return `${code}: ${words}`
}
