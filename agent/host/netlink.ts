import fs from 'node:fs'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { eachMessage, type NetlinkRequest } from '../../parsers/netlink.ts'
import { createSocketReader, tcpSocketsByFamilyRequests, tcpSocketsRequest } from '../../parsers/sock-diag.ts'
import type { SocketRow } from '../../parsers/socket-row.ts'
import { limits } from '../limits.ts'
import { Unreadable } from './errors.ts'
import { describeErrno, type Libc, type LoadedLibc } from './libc.ts'
import type { Namespaces, NetworkNamespace } from './namespaces.ts'
import { isTurnOver, nextTurn } from './turn.ts'

/** The kernel refused a question, or did not answer it to the end. */
export class NetlinkError extends Error {
  /** The errno's name: EPERM. */
  readonly code: string

  constructor(request: string, code: string, words: string) {
    super(`netlink ${request}: ${code}: ${words}`)
    this.name = 'NetlinkError'
    this.code = code
  }
}

/** Nothing can be asked here. */
export class NetlinkUnavailable extends Error {
  constructor(request: string, reason: string) {
    super(`netlink ${request}: ${reason}`)
    this.name = 'NetlinkUnavailable'
  }
}

/** What a kernel says that does not know the question, or was built without the part that answers it. */
const unknownQuestion: readonly string[] = ['EINVAL', 'ENOENT', 'EOPNOTSUPP', 'EPROTONOSUPPORT', 'EAFNOSUPPORT']

function isUnknownQuestion(error: unknown): boolean {
  return error instanceof NetlinkError && unknownQuestion.includes(error.code)
}

/** True if another way of reading may help: netlink is not there, does not know the question, or the namespace cannot be entered. A lack of privilege to ask (EPERM) is not among it. */
export function isNetlinkUnavailable(error: unknown): boolean {
  return error instanceof NetlinkUnavailable || error instanceof Unreadable || isUnknownQuestion(error)
}

/** True if nothing can be asked, or nothing is answered for lack of a privilege. */
export function isNetlinkRefused(error: unknown): error is Error {
  const isDenied = error instanceof NetlinkError && (error.code === 'EPERM' || error.code === 'EACCES')
  return isDenied || isNetlinkUnavailable(error)
}

export interface AnswerHandlers {
  /** The answer begins anew: what was handed out is void. */
  restart(): void
  /** A message's payload is bytes[from] up to bytes[to - 1], valid during the call. */
  message(bytes: Uint8Array, from: number, to: number): void
  /** True: what is left of the answer is not needed. */
  isEnough?(): boolean
}

/** Errors are NetlinkError, NetlinkUnavailable, Unreadable, what the handlers throw (ParseError), and the signal's reason. */
export interface Netlink {
  /** Asks and hands out the whole answer. */
  dump(netns: NetworkNamespace, request: NetlinkRequest, handlers: AnswerHandlers, signal: AbortSignal): Promise<void>
  /** Asks what has one answer. */
  get<T>(
    netns: NetworkNamespace,
    request: NetlinkRequest,
    read: (bytes: Uint8Array, from: number, to: number) => T,
    signal: AbortSignal,
  ): Promise<T>
  /** Asks for one thing after another, over one socket; a question is taken from `requests` when the one before it is answered. */
  find(
    netns: NetworkNamespace,
    requests: Iterable<NetlinkRequest>,
    /** Not called: there is no such thing. */
    message: (bytes: Uint8Array, from: number, to: number) => void,
    signal: AbortSignal,
  ): Promise<void>
  /** All TCP sockets of the namespace, in one row that is used again. */
  dumpSockets(
    netns: NetworkNamespace,
    handlers: { restart(): void; socket(row: SocketRow): void },
    signal: AbortSignal,
  ): Promise<void>
  /** The bytes of the whole answer, errors included, for a recorded tree. */
  record(netns: NetworkNamespace, request: NetlinkRequest, signal: AbortSignal): Promise<Uint8Array>
}

const AF_NETLINK = 16
const SOCK_RAW_CLOEXEC = 0o2000003
const SOL_NETLINK = 270
const NETLINK_EXT_ACK = 11
const MSG_DONTWAIT_TRUNC = 0x40 | 0x20
const ENOENT = 2
const EINTR = 4
const EAGAIN = 11
const ENOMEM = 12
const lostAnswerCheckMs = 10

interface NetlinkParts {
  readonly root: string
  readonly namespaces: Namespaces
  readonly libc: LoadedLibc
}

export function createNetlink({ root, namespaces, libc: loaded }: NetlinkParts): Netlink {
  const isLive = path.resolve(root) === '/'
  const buffer = new Uint8Array(limits.netlinkReceiveBytes)

  /** Sends the question and hands what is received to `take` until that returns true: the answer is complete. */
  async function exchange(
    netns: NetworkNamespace,
    request: NetlinkRequest,
    take: (bytes: Uint8Array, length: number) => boolean,
    signal: AbortSignal,
  ): Promise<void> {
    signal.throwIfAborted()
    if (!isLive) {
      takeRecording(request, take)
      return
    }
    await connected(netns, request, (libc, fd) => converse(libc, fd, request, take, signal))
  }

  async function connected(
    netns: NetworkNamespace,
    request: NetlinkRequest,
    talk: (libc: Libc, fd: number) => Promise<void>,
  ): Promise<void> {
    const { libc, missing } = loaded
    if (libc === undefined) throw new NetlinkUnavailable(request.name, missing)
    const fd = namespaces.enter(netns, () => open(libc, request))
    try {
      await talk(libc, fd)
    } finally {
      fs.closeSync(fd)
    }
  }

  async function converse(
    libc: Libc,
    fd: number,
    request: NetlinkRequest,
    take: (bytes: Uint8Array, length: number) => boolean,
    signal: AbortSignal,
  ): Promise<void> {
    const sent = libc.send(fd, request.bytes)
    if (sent < 0) throw fail(request, -sent)
    let heardAtMs = performance.now()
    for (;;) {
      if (isTurnOver()) await nextTurn(signal)
      const length = libc.receive(fd, buffer, MSG_DONTWAIT_TRUNC)
      if (length > buffer.length) throw new NetlinkError(request.name, 'EMSGSIZE', `${length} bytes in one piece`)
      if (length >= 0) {
        if (take(buffer, length)) return
        heardAtMs = performance.now()
      } else if (length === -EAGAIN || length === -ENOMEM /* see Libc */) {
        // The kernel makes each piece while it is asked for: there is nothing to wait for but a fault.
        if (performance.now() - heardAtMs > limits.netlinkAnswerMs) throw new NetlinkError(request.name, 'ETIMEDOUT', 'no answer')
        await setTimeout(lostAnswerCheckMs)
        signal.throwIfAborted()
      } else if (length !== -EINTR) throw fail(request, -length)
    }
  }

  function takeRecording(request: NetlinkRequest, take: (bytes: Uint8Array, length: number) => boolean): void {
    const file = path.join(root, 'netlink', `${request.name}.bin`)
    const size = fs.statSync(file, { throwIfNoEntry: false })?.size
    if (size === undefined) throw new NetlinkUnavailable(request.name, 'no answer was recorded')
    if (size > limits.netlinkRecordingBytes) throw new NetlinkUnavailable(request.name, `${file} is too large`)
    if (!take(fs.readFileSync(file), size)) throw new NetlinkError(request.name, 'ENODATA', `${file} ends before the answer does`)
  }

  /** As if the requests were one. */
  async function dumpAll(
    netns: NetworkNamespace,
    requests: readonly NetlinkRequest[],
    { restart, message, isEnough = () => false }: AnswerHandlers,
    signal: AbortSignal,
  ): Promise<void> {
    for (let attempt = 0; attempt <= limits.netlinkRetries; attempt++) {
      if (attempt > 0) restart()
      let interrupted = false
      for (const request of requests) {
        await exchange(
          netns,
          request,
          (bytes, length) => {
            const state = eachMessage(request.name, bytes, length, message)
            if (state.errno !== 0) throw fail(request, state.errno, state.text)
            interrupted ||= state.interrupted
            return state.done || interrupted || isEnough()
          },
          signal,
        )
        if (interrupted) break
      }
      if (!interrupted) return
    }
    const names = requests.map(({ name }) => name).join(', ')
    throw new NetlinkError(names, 'EAGAIN', `changed while being read, ${limits.netlinkRetries + 1} times`)
  }

  return {
    dump: (netns, request, handlers, signal) => dumpAll(netns, [request], handlers, signal),

    async get<T>(
      netns: NetworkNamespace,
      request: NetlinkRequest,
      read: (bytes: Uint8Array, from: number, to: number) => T,
      signal: AbortSignal,
    ) {
      const answers: T[] = []
      const handlers: AnswerHandlers = {
        restart: () => void answers.splice(0),
        message: (bytes, from, to) => void answers.push(read(bytes, from, to)),
      }
      await dumpAll(netns, [request], handlers, signal)
      if (answers.length !== 1) throw new NetlinkError(request.name, 'EPROTO', `${answers.length} answers instead of one`)
      return answers[0]!
    },

    async find(netns, requests, message, signal) {
      signal.throwIfAborted()
      const questions = requests[Symbol.iterator]()
      const first = questions.next()
      if (first.done) return
      if (!isLive) throw new NetlinkUnavailable(first.value.name, 'no answer was recorded')
      await connected(netns, first.value, async (libc, fd) => {
        for (let next: IteratorResult<NetlinkRequest> = first; !next.done; next = questions.next()) {
          const request = next.value
          const take = (bytes: Uint8Array, length: number): boolean => {
            const state = eachMessage(request.name, bytes, length, message)
            if (state.errno !== 0 && state.errno !== ENOENT) throw fail(request, state.errno, state.text)
            return state.done
          }
          await converse(libc, fd, request, take, signal)
        }
      })
    },

    async dumpSockets(netns, { restart, socket }, signal) {
      const handlers: AnswerHandlers = { restart, message: createSocketReader(socket) }
      try {
        await dumpAll(netns, [tcpSocketsRequest()], handlers, signal)
      } catch (error) {
        if (!isUnknownQuestion(error)) throw error
        restart()
        await dumpAll(netns, tcpSocketsByFamilyRequests(), handlers, signal)
      }
    },

    async record(netns, request, signal) {
      const pieces: Uint8Array[] = []
      await exchange(
        netns,
        request,
        (bytes, length) => {
          pieces.push(bytes.slice(0, length))
          return eachMessage(request.name, bytes, length, () => undefined).done
        },
        signal,
      )
      return Buffer.concat(pieces)
    },
  }
}

function open(libc: Libc, request: NetlinkRequest): number {
  const fd = libc.socket(AF_NETLINK, SOCK_RAW_CLOEXEC, request.protocol)
  if (fd < 0) throw unavailable(request, -fd)
  const kernel = new Uint8Array(12) // struct sockaddr_nl
  kernel[0] = AF_NETLINK
  // Connected: nobody else in the namespace can slip an answer in.
  const connected = libc.connect(fd, kernel)
  if (connected < 0) {
    fs.closeSync(fd)
    throw unavailable(request, -connected)
  }
  const yes = new Uint8Array(4)
  yes[0] = 1
  libc.setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, yes) // its words only help: without them the errno has to do
  return fd
}

function unavailable(request: NetlinkRequest, errno: number): NetlinkUnavailable {
  const { code, words } = describeErrno(errno)
  return new NetlinkUnavailable(request.name, `no socket: ${code}: ${words}`)
}

function fail(request: NetlinkRequest, errno: number, text?: string): NetlinkError {
  const { code, words } = describeErrno(errno)
  return new NetlinkError(request.name, code, text === undefined ? words : `${words} (${text})`)
}
