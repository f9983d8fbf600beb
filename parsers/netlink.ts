import { ParseError } from './text.ts'

/**
 * What is asked of the kernel in one message. Numbers are in the byte order of the machine, here little-endian.
 * The answer is a list of messages that ends with NLMSG_DONE or NLMSG_ERROR, for a single question too (NLM_F_ACK).
 */
export interface NetlinkRequest {
  /** What it is called in errors, and in a recorded tree: netlink/<name>.bin. */
  readonly name: string
  /** include/uapi/linux/netlink.h: NETLINK_ROUTE and so on. */
  readonly protocol: number
  readonly bytes: Uint8Array
}

/** What one received buffer says about the answer as a whole. */
export interface AnswerState {
  /** The answer is complete, or refused. */
  readonly done: boolean
  /** The table changed while it was dumped: entries may be missing or be there twice. */
  readonly interrupted: boolean
  /** 0: no error. */
  readonly errno: number
  /** The kernel's own words about the error (extended ack). */
  readonly text: string | undefined
}

export const netlinkRoute = 0
export const netlinkSockDiag = 4
export const netlinkNetfilter = 12

const headerBytes = 16
const flagRequest = 0x1
const flagAck = 0x4
const flagDump = 0x300
// On answers the same bits mean other things.
const flagInterrupted = 0x10
const flagCapped = 0x100
const flagAckAttributes = 0x200

const noop = 1
const error = 2
const done = 3
const overrun = 4

const attributeHeaderBytes = 4
/** The two highest bits are flags: nested, and network byte order. */
const attributeTypeMask = 0x3fff
const attributeNested = 0x8000
const errorAttributeText = 1

/** A question with one answer. */
export function askOne(name: string, protocol: number, type: number, payload: Uint8Array): NetlinkRequest {
  return { name, protocol, bytes: buildMessage(type, flagRequest | flagAck, payload) }
}

/** A question whose answer is a whole table. */
export function askAll(name: string, protocol: number, type: number, payload: Uint8Array): NetlinkRequest {
  return { name, protocol, bytes: buildMessage(type, flagRequest | flagDump, payload) }
}

function buildMessage(type: number, flags: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(headerBytes + payload.length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, bytes.length, true)
  view.setUint16(4, type, true)
  view.setUint16(6, flags, true)
  view.setUint32(8, 1, true) // the sequence number; a socket asks one question
  bytes.set(payload, headerBytes)
  return bytes
}

/** struct nlattr and its value, padded. */
export function buildAttribute(type: number, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(align(attributeHeaderBytes + value.length))
  const view = new DataView(bytes.buffer)
  view.setUint16(0, attributeHeaderBytes + value.length, true)
  view.setUint16(2, type, true)
  bytes.set(value, attributeHeaderBytes)
  return bytes
}

export function buildNested(type: number, ...attributes: readonly Uint8Array[]): Uint8Array {
  return buildAttribute(attributeNested | type, concatenate(...attributes))
}

export function concatenate(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

/**
 * Walks the messages in the first `length` bytes of a received buffer (include/uapi/linux/netlink.h, struct nlmsghdr).
 * `visit` gets each message's payload as bytes[from] up to bytes[to - 1], valid during the call.
 *
 * Throws a ParseError for bytes that are no messages; its column is the offset plus 1.
 */
export function eachMessage(
  where: string,
  bytes: Uint8Array,
  length: number,
  visit: (bytes: Uint8Array, from: number, to: number) => void,
): AnswerState {
  let interrupted = false
  for (let at = 0; at < length; ) {
    expectBytes(where, at, length, headerBytes, 'a netlink message')
    const size = readU32(bytes, at)
    if (size < headerBytes || size > length - at) {
      throw malformed(where, at, `the length of a netlink message, ${headerBytes} to ${length - at}`, size)
    }
    const type = readU16(bytes, at + 4)
    const flags = readU16(bytes, at + 6)
    const from = at + headerBytes
    const to = at + size
    if ((flags & flagInterrupted) !== 0 || type === overrun) interrupted = true
    if (type === done || type === error) {
      const errno = to - from < 4 ? 0 : Math.max(0, 0 - (readU32(bytes, from) | 0)) // sent as its negative
      return { done: true, interrupted, errno, text: readErrorText(where, bytes, from, to, type, flags) }
    }
    if (type !== noop && type !== overrun) visit(bytes, from, to)
    at += align(size)
  }
  return { done: false, interrupted, errno: 0, text: undefined }
}

/** Behind the error number of NLMSG_ERROR stands the message that was asked, or its header; then, as in NLMSG_DONE, attributes. */
function readErrorText(
  where: string,
  bytes: Uint8Array,
  from: number,
  to: number,
  type: number,
  flags: number,
): string | undefined {
  if ((flags & flagAckAttributes) === 0) return undefined
  let at = from + 4
  if (type === error) {
    expectBytes(where, at, to, headerBytes, 'the header of the message that was asked')
    at += (flags & flagCapped) !== 0 ? headerBytes : align(readU32(bytes, at))
  }
  let text: string | undefined
  eachAttribute(where, bytes, at, to, (attribute, valueFrom, valueTo) => {
    if (attribute === errorAttributeText) text = readText(bytes, valueFrom, valueTo)
  })
  return text
}

/**
 * Walks attributes (struct nlattr): `visit` gets each one's type without its flags, and its value as bytes[from] up to
 * bytes[to - 1]. Throws a ParseError for one that runs out of `to`.
 */
export function eachAttribute(
  where: string,
  bytes: Uint8Array,
  from: number,
  to: number,
  visit: (type: number, from: number, to: number) => void,
): void {
  for (let at = from; at < to; ) {
    expectBytes(where, at, to, attributeHeaderBytes, 'a netlink attribute')
    const size = readU16(bytes, at)
    if (size < attributeHeaderBytes || size > to - at) {
      throw malformed(where, at, `the length of a netlink attribute, ${attributeHeaderBytes} to ${to - at}`, size)
    }
    visit(readU16(bytes, at + 2) & attributeTypeMask, at + attributeHeaderBytes, at + size)
    at += align(size)
  }
}

/** Throws a ParseError unless `length` bytes are there between `from` and `to`. */
export function expectBytes(where: string, from: number, to: number, length: number, what: string): void {
  if (to - from < length) throw malformed(where, from, `${what} of ${length} bytes`, to - from)
}

function malformed(where: string, offset: number, expected: string, got: number): ParseError {
  return new ParseError(where, 1, offset + 1, expected, String(got))
}

const align = (size: number): number => (size + 3) & ~3

// Plain reads: the caller has made sure that the bytes are there.

export function readU16(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8)
}

export function readU32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
}

/** A value beyond 2^53 becomes the nearest float, silently: so do all numbers on /metrics. */
export function readU64(bytes: Uint8Array, at: number): number {
  return readU32(bytes, at) + readU32(bytes, at + 4) * 2 ** 32
}

export function readNetworkU16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!
}

export function readNetworkU32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
}

const decoder = new TextDecoder()

/** A string up to its NUL, or to the end. */
export function readText(bytes: Uint8Array, from: number, to: number): string {
  const nul = bytes.indexOf(0, from)
  return decoder.decode(bytes.subarray(from, nul === -1 || nul > to ? to : nul))
}
