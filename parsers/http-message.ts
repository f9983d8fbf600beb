import { hexDigit } from './text.ts'

export const httpMethods = ['GET', 'POST', 'HEAD', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'CONNECT', 'TRACE', 'other'] as const
export type HttpMethod = (typeof httpMethods)[number]

/** `ended_early`: the connection ended within a message. */
export const httpFaults = [
  'start_line',
  'field_line',
  'head_too_long',
  'content_length',
  'transfer_encoding',
  'chunk',
  'ended_early',
] as const
export type HttpFault = (typeof httpFaults)[number]

/** `h2`: HTTP/2, from the start or after an upgrade; `upgraded`: WebSocket and the like, and what CONNECT has opened. */
export const httpUnreadables = ['tls', 'h2', 'upgraded', 'other'] as const
export type HttpUnreadable = (typeof httpUnreadables)[number]

/** Valid while it is told. */
interface HttpHead {
  /** When its first byte came. */
  readonly timeMs: number
  /** Of HTTP/1.x. */
  readonly minorVersion: 0 | 1
  /** False where bytes of it are missing or wrong, behind the first line: fields may be missing too. */
  readonly isWhole: boolean
  /** The first one after framing was lost. */
  readonly isFound: boolean
}

export interface HttpRequestHead extends HttpHead {
  readonly method: HttpMethod
  /** Printable; without the query unless that was asked for; `*` of OPTIONS, empty of CONNECT. */
  readonly path: string
  /** From the target if it is there, else from the field; printable; empty: not told. */
  readonly host: string
}

export interface HttpResponseHead extends HttpHead {
  /** 100 to 599; 1xx but 101 are not yet the answer. */
  readonly status: number
}

/** One for all connections; `of` is what the caller has given to the reader. */
interface HttpHandlers<C> {
  /** All of a message has come; bytes of chunks without what frames them. */
  onEnd?(of: C, bodyBytes: number, timeMs: number): void
  onFault(of: C, fault: HttpFault, timeMs: number): void
  /** Framing is lost: by a fault, because bytes are missing, or because what seemed to be the next head was none. */
  onLost(of: C, timeMs: number): void
  /** Once at most: this is no HTTP/1, or no longer, and is not looked at again. */
  onUnreadable(of: C, what: HttpUnreadable, timeMs: number): void
}

export interface HttpRequestHandlers<C> extends HttpHandlers<C> {
  onHead(of: C, head: HttpRequestHead): void
}

export interface HttpResponseHandlers<C> extends HttpHandlers<C> {
  /** The method that it answers, because a body depends on that; undefined: not known, which loses the framing if there may be one. */
  onHead(of: C, head: HttpResponseHead): HttpMethod | undefined
}

export interface HttpReaderOptions {
  /** The beginning of the connection was not seen. */
  readonly isMidstream?: boolean
  /** Paths keep what begins with `?`, which is often secret. */
  readonly keepsQuery?: boolean
}

/** A whole head; also all trailers of a body, and all extensions of a chunk. */
const headBytesMax = 16 * 1024
const methodBytesMax = 32
/** Of a path or host, the rest is left out. */
const textBytesMax = 256
/** Beyond these a length would not be exact. */
const lengthDigitsMax = 15
const chunkDigitsMax = 12

/** What the next byte is part of. */
const inStartLine = 0
const inFields = 1
const inBody = 2
const inBodyToEnd = 3
const inChunkSize = 4
const inChunkExtension = 5
const inChunkSizeEnd = 6
const inChunk = 7
const inChunkEnd = 8
const inTrailers = 9
const lost = 10
const ignored = 11

/** What is known of the length of a body. */
const noCoding = 0
const chunkedLast = 1
const otherLast = 2
const noLength = -1

/**
 * HTTP/1.0 and 1.1 (RFC 9112) as somebody sees it who listens to one direction of a connection: heads are read, bodies
 * passed over by arithmetic. Nothing is kept but the head that is being read, and of that only the line that is not yet
 * all there.
 *
 * Where two recipients could see the end of a message at different places (RFC 9112, section 11.2), it is a fault and not
 * a guess. A single LF ends a line of a head as CRLF does (section 2.2), but no line of a chunked body.
 *
 * Where framing is lost, by a fault or because bytes are missing, the reader looks for the next head, at the starts of
 * segments alone: a body may hold anything, heads too, but a sender with nothing queued puts the next head at the start of a
 * segment. A body that has a head there all the same is taken for one.
 *
 * One for each direction of a connection. Its fields are this file's own.
 */
export interface HttpReader extends HttpRequestHead, HttpResponseHead {
  readonly requests: HttpRequestHandlers<unknown> | undefined
  readonly responses: HttpResponseHandlers<unknown> | undefined
  readonly all: HttpHandlers<unknown>
  readonly of: unknown
  readonly keepsQuery: boolean
  phase: number
  /** A head has been read, or the beginning was not seen: what is wrong is a fault, and not another protocol. */
  isHttp: boolean
  /** The method, the path and the host, or the status: the first line is right. */
  isStarted: boolean
  timeMs: number
  minorVersion: 0 | 1
  isWhole: boolean
  isFound: boolean
  method: HttpMethod
  path: string
  host: string
  status: number
  /** Of the head, the trailers or the extension so far. */
  headBytes: number
  /** The beginning of a line whose end has not come. */
  partial: Uint8Array
  partialBytes: number
  contentLength: number
  coding: number
  /** What a request asks to go over to, or a response goes over to. */
  upgrade: 'h2' | 'upgraded' | undefined
  /** A request asked for another protocol: what follows may be that. */
  isSwitching: boolean
  /** Of the body or the chunk. */
  remaining: number
  bodyBytes: number
  chunkDigits: number
}

const nothing = new Uint8Array(0)

export function createHttpRequestReader<C>(handlers: HttpRequestHandlers<C>, of: C, options: HttpReaderOptions = {}): HttpReader {
  return createReader(handlers, undefined, handlers, of, options)
}

export function createHttpResponseReader<C>(
  handlers: HttpResponseHandlers<C>,
  of: C,
  options: HttpReaderOptions = {},
): HttpReader {
  return createReader(undefined, handlers, handlers, of, options)
}

function createReader<C>(
  requests: HttpRequestHandlers<C> | undefined,
  responses: HttpResponseHandlers<C> | undefined,
  all: HttpHandlers<C>,
  of: C,
  { isMidstream = false, keepsQuery = false }: HttpReaderOptions,
): HttpReader {
  return {
    requests,
    responses,
    all,
    of,
    keepsQuery,
    phase: isMidstream ? lost : inStartLine,
    isHttp: false,
    isStarted: false,
    timeMs: 0,
    minorVersion: 1,
    isWhole: true,
    isFound: false,
    method: 'other',
    path: '',
    host: '',
    status: 0,
    headBytes: 0,
    partial: nothing,
    partialBytes: 0,
    contentLength: noLength,
    coding: noCoding,
    upgrade: undefined,
    isSwitching: false,
    remaining: 0,
    bodyBytes: 0,
    chunkDigits: 0,
  }
}

/** Takes bytes in order, one segment (what the capture saw as one packet) a call: bytes[from] up to bytes[to - 1]. */
export function takeHttp(reader: HttpReader, bytes: Uint8Array, from: number, to: number, timeMs: number): void {
  if (reader.phase === ignored || from >= to) return
  const wasFinding = isFinding(reader)
  if (reader.phase === lost) find(reader, bytes, from, to, timeMs)
  takeFrom(reader, bytes, from, to, timeMs)
  // What an earlier segment began was no head: this one may begin with one.
  if (wasFinding && reader.phase === lost && reader.isFound && find(reader, bytes, from, to, timeMs)) {
    takeFrom(reader, bytes, from, to, timeMs)
  }
}

/** Between what was lost and the next head: what goes by may be messages that nobody sees. */
export function isHttpLost(reader: HttpReader): boolean {
  return reader.phase === lost
}

function takeFrom(reader: HttpReader, bytes: Uint8Array, from: number, to: number, timeMs: number): void {
  for (let at = from; at < to; ) {
    switch (reader.phase) {
      case inStartLine:
      case inFields:
      case inTrailers:
        at = takeLine(reader, bytes, at, to, timeMs)
        break
      case inBody:
      case inChunk: {
        const count = Math.min(reader.remaining, to - at)
        at += count
        passBody(reader, count, timeMs)
        break
      }
      case inBodyToEnd:
        reader.bodyBytes += to - at
        return
      case inChunkSize:
      case inChunkExtension:
      case inChunkSizeEnd:
      case inChunkEnd:
        takeChunkByte(reader, bytes[at++]!, timeMs)
        break
      default:
        return
    }
  }
}

/** So many bytes are missing here. Within a body whose end is known by its length nothing is lost. */
export function skipHttp(reader: HttpReader, count: number, timeMs: number): void {
  if (count <= 0) return
  switch (reader.phase) {
    case lost:
    case ignored:
      return
    case inBodyToEnd:
      reader.bodyBytes += count
      return
    case inBody:
    case inChunk:
      if (count <= reader.remaining) passBody(reader, count, timeMs)
      else lose(reader, timeMs)
      return
    case inFields:
      breakHead(reader, timeMs)
      return
    default:
      lose(reader, timeMs)
  }
}

/** FIN or RST: ends a body that lasts to the end of the connection. */
export function endHttp(reader: HttpReader, timeMs: number): void {
  const { phase } = reader
  const isBetween = phase === inStartLine && reader.partialBytes === 0
  if (phase === inBodyToEnd) reader.all.onEnd?.(reader.of, reader.bodyBytes, timeMs)
  else if (phase < lost && !isBetween && !reader.isFound) reader.all.onFault(reader.of, 'ended_early', timeMs)
  leave(reader, ignored)
}

/** Whether the segment that begins at `from` begins as a head does; then the head is read. */
function find(reader: HttpReader, bytes: Uint8Array, from: number, to: number, timeMs: number): boolean {
  if (!reader.isHttp && isTlsRecord(bytes, from, to)) {
    leaveUnread(reader, 'tls', timeMs)
    return false
  }
  if (!(reader.requests === undefined ? beginsStatusLine : beginsKnownMethod)(bytes, from, to)) return false
  reader.isFound = true
  awaitHead(reader)
  return true
}

function awaitHead(reader: HttpReader): void {
  leave(reader, inStartLine)
  reader.isStarted = false
  reader.isWhole = true
  reader.headBytes = 0
  reader.contentLength = noLength
  reader.coding = noCoding
  reader.upgrade = undefined
  reader.bodyBytes = 0
}

function leave(reader: HttpReader, phase: number): void {
  reader.phase = phase
  reader.partial = nothing
  reader.partialBytes = 0
}

function leaveUnread(reader: HttpReader, what: HttpUnreadable, timeMs: number): void {
  leave(reader, ignored)
  reader.all.onUnreadable(reader.of, what, timeMs)
}

function lose(reader: HttpReader, timeMs: number): void {
  leave(reader, lost)
  reader.all.onLost(reader.of, timeMs)
}

/** Reading what may be a head, or may be a body's. */
function isFinding(reader: HttpReader): boolean {
  return reader.isFound && (reader.phase === inStartLine || reader.phase === inFields)
}

/** Framing ends here. What looked like a head at the start of a segment and is none was a body's: that is no fault. */
function refuse(reader: HttpReader, fault: HttpFault, timeMs: number): void {
  if (isFinding(reader) || (reader.isSwitching && reader.phase === inStartLine)) lose(reader, timeMs)
  else if (!reader.isHttp && !reader.isStarted) leaveUnread(reader, 'other', timeMs)
  else {
    reader.all.onFault(reader.of, fault, timeMs)
    if (reader.phase === inFields) breakHead(reader, timeMs)
    else lose(reader, timeMs)
  }
}

/** Tells the head of which the first line is right. */
function breakHead(reader: HttpReader, timeMs: number): void {
  tellHead(reader, false)
  if (reader.status === 101) leaveUnread(reader, reader.upgrade ?? 'upgraded', timeMs)
  else lose(reader, timeMs)
}

// Lines

const lineFeed = 0x0a
const carriageReturn = 0x0d
const tab = 0x09
const space = 0x20
const comma = 0x2c
const slash = 0x2f
const zero = 0x30
const colon = 0x3a
const semicolon = 0x3b
const question = 0x3f
const hash = 0x23
const at = 0x40

const plain = 0
const lineEnd = 1
const control = 2
const firstColon = 3
const byteKinds = new Uint8Array(256)
for (let code = 0; code < space; code++) byteKinds[code] = control
byteKinds[0x7f] = control
byteKinds[tab] = plain
byteKinds[lineFeed] = lineEnd
byteKinds[colon] = firstColon

/** RFC 9110, section 5.6.2: a token's characters. */
const isToken = new Uint8Array(256)
for (const character of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
  isToken[character.charCodeAt(0)] = 1
}

/** The line that was looked at last: bytes[from] up to bytes[to - 1], without its end. */
const line = { to: 0, colonAt: -1, isClean: true }

/** Where the line's LF stands, or -1. */
function scanLine(bytes: Uint8Array, from: number, to: number): number {
  let colonAt = -1
  let isClean = true
  for (let i = from; i < to; i++) {
    const kind = byteKinds[bytes[i]!]!
    if (kind === plain) continue
    if (kind === firstColon) {
      if (colonAt === -1) colonAt = i
    } else if (kind === lineEnd) {
      line.to = i > from && bytes[i - 1] === carriageReturn ? i - 1 : i
      line.colonAt = colonAt
      line.isClean = isClean
      return i
    } else if (bytes[i] !== carriageReturn || i + 1 === to || bytes[i + 1] !== lineFeed) isClean = false
  }
  return -1
}

/** Takes what is there of a line; returns where it stopped. */
function takeLine(reader: HttpReader, bytes: Uint8Array, from: number, to: number, timeMs: number): number {
  let begin = from
  if (reader.phase === inStartLine && reader.partialBytes === 0) {
    // Empty lines before a message are ignored (RFC 9112, section 2.2).
    while (begin < to && (bytes[begin] === carriageReturn || bytes[begin] === lineFeed)) begin++
    if (begin === to) return to
    reader.timeMs = timeMs
  }
  if (reader.partialBytes > 0) return takeRestOfLine(reader, bytes, begin, to, timeMs)
  const feedAt = scanLine(bytes, begin, to)
  if (feedAt !== -1 && feedAt + 1 - begin + reader.headBytes <= headBytesMax) {
    reader.headBytes += feedAt + 1 - begin
    endLine(reader, bytes, begin, timeMs)
    return feedAt + 1
  }
  return keepPartial(reader, bytes, begin, feedAt === -1 ? to : feedAt + 1, timeMs)
}

function takeRestOfLine(reader: HttpReader, bytes: Uint8Array, from: number, to: number, timeMs: number): number {
  const feedAt = indexOf(bytes, lineFeed, from, to)
  const stop = Math.min(feedAt + 1, to)
  keepPartial(reader, bytes, from, stop, timeMs)
  const { partial, partialBytes } = reader
  if (feedAt === to || partialBytes === 0) return stop
  scanLine(partial, 0, partialBytes)
  reader.partial = nothing
  reader.partialBytes = 0
  reader.headBytes += partialBytes
  endLine(reader, partial, 0, timeMs)
  return stop
}

/** Keeps what is there of a line, if that is not too long and may become a first line. Returns `to`. */
function keepPartial(reader: HttpReader, bytes: Uint8Array, from: number, to: number, timeMs: number): number {
  const length = reader.partialBytes + to - from
  if (reader.headBytes + length > headBytesMax) {
    refuse(reader, reader.phase === inTrailers ? 'chunk' : 'head_too_long', timeMs)
    return to
  }
  if (length > reader.partial.length) {
    const grown = new Uint8Array(Math.min(headBytesMax, Math.max(64, length + (length >> 1))))
    grown.set(reader.partial.subarray(0, reader.partialBytes))
    reader.partial = grown
  }
  for (let i = from; i < to; i++) reader.partial[reader.partialBytes + i - from] = bytes[i]!
  reader.partialBytes = length
  if (reader.phase === inStartLine) checkBeginning(reader, reader.partial, 0, length, timeMs)
  return to
}

/** What can be no first line is refused without waiting for its end, which other protocols may not have. */
function checkBeginning(reader: HttpReader, bytes: Uint8Array, from: number, to: number, timeMs: number): boolean {
  if (reader.requests === undefined ? beginsStatusLine(bytes, from, to) : beginsMethod(bytes, from, to)) return true
  // 0x15: an alert; 0x16: a handshake. The second byte tells, and may not have come.
  const isTlsType = bytes[from] === 0x15 || bytes[from] === 0x16
  if (!reader.isHttp && isTlsType && (to - from < 2 || bytes[from + 1] === 3)) {
    if (to - from >= 2) leaveUnread(reader, 'tls', timeMs)
  } else {
    refuse(reader, 'start_line', timeMs)
  }
  return false
}

function endLine(reader: HttpReader, bytes: Uint8Array, from: number, timeMs: number): void {
  if (reader.phase === inStartLine) {
    if (checkBeginning(reader, bytes, from, line.to, timeMs)) endStartLine(reader, bytes, from, timeMs)
  } else if (line.to === from) {
    if (reader.phase === inFields) endHead(reader, timeMs)
    else endMessage(reader, timeMs)
  } else if (reader.phase === inTrailers) {
    if (!isField(bytes, from) || framesMessage(bytes, from)) refuse(reader, 'chunk', timeMs)
  } else if (!isField(bytes, from)) {
    refuse(reader, 'field_line', timeMs)
  } else {
    const fault = readField(reader, bytes, from)
    if (fault !== undefined) refuse(reader, fault, timeMs)
  }
}

/** Without a blank before the colon, and not continued from the line before (obs-fold): some read those in other ways. */
function isField(bytes: Uint8Array, from: number): boolean {
  if (!line.isClean || line.colonAt <= from) return false
  for (let i = from; i < line.colonAt; i++) if (isToken[bytes[i]!] === 0) return false
  return true
}

/** Some take it from a trailer too, where it must not be (RFC 9110, section 6.5.1). */
function framesMessage(bytes: Uint8Array, from: number): boolean {
  return isName(bytes, from, line.colonAt, 'content-length') || isName(bytes, from, line.colonAt, 'transfer-encoding')
}

// First lines

/** "GET " and so on, as far as it is there. */
function beginsMethod(bytes: Uint8Array, from: number, to: number): boolean {
  const stop = Math.min(to, from + methodBytesMax + 1)
  for (let i = from; i < stop; i++) {
    if (isToken[bytes[i]!] === 0) return bytes[i] === space && i > from
  }
  return to - from <= methodBytesMax
}

const knownBeginnings = httpMethods.filter((method) => method !== 'other').map((method) => `${method} `)

function beginsKnownMethod(bytes: Uint8Array, from: number, to: number): boolean {
  return knownBeginnings.some((beginning) => begins(bytes, from, to, beginning))
}

const statusLineBegin = 'HTTP/1.'

function beginsStatusLine(bytes: Uint8Array, from: number, to: number): boolean {
  return begins(bytes, from, to, statusLineBegin)
}

/** Whether it is `text`, as far as it is there. */
function begins(bytes: Uint8Array, from: number, to: number, text: string): boolean {
  const length = Math.min(text.length, to - from)
  for (let i = 0; i < length; i++) if (bytes[from + i] !== text.charCodeAt(i)) return false
  return true
}

/** RFC 8446, section 5.1: type, version and length of a record. */
function isTlsRecord(bytes: Uint8Array, from: number, to: number): boolean {
  if (to - from < 5) return false
  const [type, major, minor, lengthHigh] = [bytes[from]!, bytes[from + 1]!, bytes[from + 2]!, bytes[from + 3]!]
  return type >= 0x14 && type <= 0x17 && major === 3 && minor <= 4 && lengthHigh <= 0x48
}

function endStartLine(reader: HttpReader, bytes: Uint8Array, from: number, timeMs: number): void {
  const { to, isClean } = line
  if (reader.requests !== undefined && !reader.isHttp && isText(bytes, from, to, 'PRI * HTTP/2.0')) {
    leaveUnread(reader, 'h2', timeMs)
  } else if (isClean && (reader.requests === undefined ? readStatusLine : readRequestLine)(reader, bytes, from, to)) {
    reader.isStarted = true
    reader.phase = inFields
  } else {
    refuse(reader, 'start_line', timeMs)
  }
}

/** `GET /path?query HTTP/1.1` */
function readRequestLine(reader: HttpReader, bytes: Uint8Array, from: number, to: number): boolean {
  const methodTo = indexOf(bytes, space, from, to)
  const targetTo = to - versionBytes - 1
  if (targetTo <= methodTo + 1 || bytes[targetTo] !== space) return false
  if (!readVersion(reader, bytes, targetTo + 1)) return false
  for (let i = methodTo + 1; i < targetTo; i++) if (bytes[i]! <= space) return false
  reader.method = httpMethods.find((method) => isText(bytes, from, methodTo, method)) ?? 'other'
  // The end of a body and a head in the next segment: "C" and "GET /".
  if (reader.isFound && reader.method === 'other') return false
  return readTarget(reader, bytes, methodTo + 1, targetTo)
}

/** `HTTP/1.1 200 OK`; the blank after the status is sometimes missing. */
function readStatusLine(reader: HttpReader, bytes: Uint8Array, from: number, to: number): boolean {
  const statusAt = from + versionBytes + 1
  if (to < statusAt + 3 || bytes[statusAt - 1] !== space || !readVersion(reader, bytes, from)) return false
  if (to > statusAt + 3 && bytes[statusAt + 3] !== space) return false
  let status = 0
  for (let i = statusAt; i < statusAt + 3; i++) {
    const digit = bytes[i]! - zero
    if (digit < 0 || digit > 9) return false
    status = status * 10 + digit
  }
  reader.status = status
  return status >= 100 && status <= 599
}

const versionBytes = 'HTTP/1.1'.length

function readVersion(reader: HttpReader, bytes: Uint8Array, from: number): boolean {
  const minor = bytes[from + versionBytes - 1]! - zero
  if (minor !== 0 && minor !== 1) return false
  reader.minorVersion = minor
  return begins(bytes, from, from + versionBytes, statusLineBegin)
}

/** RFC 9112, section 3.2: /path, http://host/path, host:port of CONNECT, or *. */
function readTarget(reader: HttpReader, bytes: Uint8Array, from: number, to: number): boolean {
  reader.path = ''
  reader.host = ''
  if (reader.method === 'CONNECT') {
    readHost(reader, bytes, from, to)
    return true
  }
  let pathAt = from
  if (bytes[from] !== slash && !isText(bytes, from, to, '*')) {
    const schemeTo = indexOf(bytes, colon, from, to)
    if (schemeTo + 3 > to || !begins(bytes, schemeTo, to, '://')) return false
    pathAt = readHost(reader, bytes, schemeTo + 3, to)
  }
  let pathTo = pathAt
  while (pathTo < to && (reader.keepsQuery || bytes[pathTo] !== question) && bytes[pathTo] !== hash) pathTo++
  reader.path = readPrintable(bytes, pathAt, pathTo)
  return true
}

/** Returns where it ends. */
function readHost(reader: HttpReader, bytes: Uint8Array, from: number, to: number): number {
  let hostAt = from
  let end = from
  for (; end < to && !isAuthorityEnd(bytes[end]!); end++) {
    if (bytes[end] === at) hostAt = end + 1 // what stands before it is a name and a password
  }
  reader.host = readPrintable(bytes, hostAt, end)
  return end
}

function isAuthorityEnd(byte: number): boolean {
  return byte === slash || byte === question || byte === hash
}

// Fields

/** One that frames the message or is told; all others are passed over. */
function readField(reader: HttpReader, bytes: Uint8Array, from: number): HttpFault | undefined {
  const { colonAt } = line
  switch (colonAt - from) {
    case 'host'.length:
      if (reader.host === '' && reader.requests !== undefined && isName(bytes, from, colonAt, 'host')) {
        const [valueFrom, valueTo] = trim(bytes, colonAt + 1, line.to)
        readHost(reader, bytes, valueFrom, valueTo)
      }
      return undefined
    case 'upgrade'.length:
      if (isName(bytes, from, colonAt, 'upgrade')) {
        const [valueFrom, valueTo] = trim(bytes, colonAt + 1, line.to)
        reader.upgrade = isName(bytes, valueFrom, valueTo, 'h2c') ? 'h2' : 'upgraded'
      }
      return undefined
    case 'content-length'.length:
      return isName(bytes, from, colonAt, 'content-length') ? readLength(reader, bytes) : undefined
    case 'transfer-encoding'.length:
      return isName(bytes, from, colonAt, 'transfer-encoding') ? readCodings(reader, bytes) : undefined
    default:
      return undefined
  }
}

function readLength(reader: HttpReader, bytes: Uint8Array): HttpFault | undefined {
  const [from, to] = trim(bytes, line.colonAt + 1, line.to)
  if (reader.contentLength !== noLength || from === to || to - from > lengthDigitsMax) return 'content_length'
  let length = 0
  for (let i = from; i < to; i++) {
    const digit = bytes[i]! - zero
    if (digit < 0 || digit > 9) return 'content_length'
    length = length * 10 + digit
  }
  reader.contentLength = length
  return undefined
}

/** `gzip, chunked`; fields of the same name are one list. Nothing may follow `chunked`, and not all take a tab for a blank here. */
function readCodings(reader: HttpReader, bytes: Uint8Array): HttpFault | undefined {
  if (indexOf(bytes, tab, line.colonAt + 1, line.to) < line.to) return 'transfer_encoding'
  for (let from = line.colonAt + 1; from <= line.to; ) {
    const to = indexOf(bytes, comma, from, line.to)
    const [codingFrom, codingTo] = trim(bytes, from, to)
    if (codingFrom === codingTo || reader.coding === chunkedLast) return 'transfer_encoding'
    for (let i = codingFrom; i < codingTo; i++) if (isToken[bytes[i]!] === 0) return 'transfer_encoding'
    reader.coding = isName(bytes, codingFrom, codingTo, 'chunked') ? chunkedLast : otherLast
    from = to + 1
  }
  return undefined
}

function trim(bytes: Uint8Array, from: number, to: number): readonly [from: number, to: number] {
  while (from < to && isBlank(bytes[from]!)) from++
  while (to > from && isBlank(bytes[to - 1]!)) to--
  return [from, to]
}

/** Where the byte stands first, or `to`. The built-in one would look beyond `to`. */
function indexOf(bytes: Uint8Array, byte: number, from: number, to: number): number {
  let i = from
  while (i < to && bytes[i] !== byte) i++
  return i
}

function isBlank(byte: number): boolean {
  return byte === space || byte === tab
}

function isText(bytes: Uint8Array, from: number, to: number, text: string): boolean {
  return to - from === text.length && begins(bytes, from, to, text)
}

/** Whether it is `name`, which is in lower case, in any case. */
function isName(bytes: Uint8Array, from: number, to: number, name: string): boolean {
  if (to - from !== name.length) return false
  for (let i = 0; i < name.length; i++) {
    const byte = bytes[from + i]!
    const lower = byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte
    if (lower !== name.charCodeAt(i)) return false
  }
  return true
}

const decoder = new TextDecoder()

/** What is not printable ASCII becomes %XX. */
function readPrintable(bytes: Uint8Array, from: number, to: number): string {
  const stop = Math.min(to, from + textBytesMax)
  for (let i = from; i < stop; i++) if (!isPrintable(bytes[i]!)) return escapeBytes(bytes, from, stop)
  return from === stop ? '' : decoder.decode(bytes.subarray(from, stop))
}

function escapeBytes(bytes: Uint8Array, from: number, to: number): string {
  let text = ''
  for (const byte of bytes.subarray(from, to)) {
    text += isPrintable(byte) ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
  }
  return text
}

function isPrintable(byte: number): boolean {
  return byte > space && byte < 0x7f
}

// Bodies

/** RFC 9112, section 6.3. */
function endHead(reader: HttpReader, timeMs: number): void {
  if (!isFramed(reader)) {
    refuse(reader, 'transfer_encoding', timeMs)
    return
  }
  const answered = tellHead(reader, true)
  if (reader.requests === undefined) endResponseHead(reader, answered, timeMs)
  else {
    reader.isSwitching = reader.upgrade !== undefined || reader.method === 'CONNECT'
    beginBody(reader, inStartLine, timeMs)
  }
}

/** Not by a length and by chunks, nor by chunks in HTTP/1.0, nor a request by a coding that has no end. */
function isFramed({ coding, contentLength, minorVersion, requests }: HttpReader): boolean {
  if (coding === noCoding) return true
  return contentLength === noLength && minorVersion === 1 && (coding === chunkedLast || requests === undefined)
}

function tellHead(reader: HttpReader, isWhole: boolean): HttpMethod | undefined {
  reader.isWhole = isWhole
  reader.isHttp = true
  reader.requests?.onHead(reader.of, reader)
  const answered = reader.responses?.onHead(reader.of, reader)
  reader.isFound = false
  return answered
}

function endResponseHead(reader: HttpReader, answered: HttpMethod | undefined, timeMs: number): void {
  const { status, contentLength } = reader
  const isTunnel = answered === 'CONNECT' && status >= 200 && status < 300
  if (status === 101 || isTunnel) leaveUnread(reader, (status === 101 && reader.upgrade) || 'upgraded', timeMs)
  else if (status < 200 || status === 204 || status === 304 || answered === 'HEAD') endMessage(reader, timeMs)
  else if (answered === undefined && contentLength !== 0) lose(reader, timeMs)
  else beginBody(reader, inBodyToEnd, timeMs)
}

/** `otherwise`: what follows a head that tells nothing of a body. */
function beginBody(reader: HttpReader, otherwise: number, timeMs: number): void {
  if (reader.coding === chunkedLast) awaitChunk(reader)
  else if (reader.coding === noCoding && reader.contentLength > 0) {
    reader.phase = inBody
    reader.remaining = reader.contentLength
  } else if (reader.contentLength === 0 || otherwise === inStartLine) endMessage(reader, timeMs)
  else reader.phase = otherwise
}

function endMessage(reader: HttpReader, timeMs: number): void {
  const { bodyBytes } = reader
  awaitHead(reader)
  reader.all.onEnd?.(reader.of, bodyBytes, timeMs)
}

function passBody(reader: HttpReader, count: number, timeMs: number): void {
  reader.remaining -= count
  reader.bodyBytes += count
  if (reader.remaining > 0) return
  if (reader.phase === inBody) endMessage(reader, timeMs)
  else {
    reader.phase = inChunkEnd
    reader.headBytes = 0
  }
}

function awaitChunk(reader: HttpReader): void {
  reader.phase = inChunkSize
  reader.remaining = 0
  reader.chunkDigits = 0
  reader.headBytes = 0
}

/** RFC 9112, section 7.1: `5;extension` CRLF, five bytes, CRLF. No blanks and no single LF: not all read those in one way. */
function takeChunkByte(reader: HttpReader, byte: number, timeMs: number): void {
  switch (reader.phase) {
    case inChunkSize: {
      const digit = hexDigit(byte)
      if (digit >= 0) {
        reader.remaining = reader.remaining * 16 + digit
        // Zeros in front are digits too.
        if (++reader.chunkDigits > chunkDigitsMax) refuse(reader, 'chunk', timeMs)
        return
      }
      if (reader.chunkDigits > 0 && byte === carriageReturn) reader.phase = inChunkSizeEnd
      else if (reader.chunkDigits > 0 && byte === semicolon) reader.phase = inChunkExtension
      else refuse(reader, 'chunk', timeMs)
      return
    }
    case inChunkExtension:
      if (byte === carriageReturn) reader.phase = inChunkSizeEnd
      else if (byteKinds[byte] === control || byte === lineFeed || ++reader.headBytes > headBytesMax)
        refuse(reader, 'chunk', timeMs)
      return
    case inChunkSizeEnd:
      reader.headBytes = 0
      if (byte !== lineFeed) refuse(reader, 'chunk', timeMs)
      else reader.phase = reader.remaining > 0 ? inChunk : inTrailers
      return
    default:
      // CR and LF behind the chunk.
      if (byte !== (reader.headBytes++ === 0 ? carriageReturn : lineFeed)) refuse(reader, 'chunk', timeMs)
      else if (byte === lineFeed) awaitChunk(reader)
  }
}
