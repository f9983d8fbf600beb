import type { SocketRow } from './socket-row.ts'
import { hexDigit, ParseError } from './text.ts'

/** Reads a socket table as it arrives. After a ParseError it is of no further use. */
export interface SocketTableReader {
  /** The next bytes of the file, cut anywhere. They may be overwritten afterwards. */
  feed(chunk: Uint8Array): void
  /** The file is at its end. */
  end(): void
}

/** tcp and udp say rem_address, tcp6 and udp6 remote_address; udp has further columns behind. */
const header =
  /^\s*sl\s+local_address\s+rem(ote)?_address\s+st\s+tx_queue\s+rx_queue\s+tr\s+tm->when\s+retrnsmt\s+uid\s+timeout\s+inode(\s|$)/

const newline = 0x0a
const space = 0x20
const zero = 0x30
const colon = 0x3a
const listen = 10
/** The largest unsigned long has as many. */
const digitsMax = 20

/**
 * /proc/net/tcp, tcp6, udp and udp6 (net/ipv4/tcp_ipv4.c, tcp4_seq_show, and its like). `onSocket` gets one row, used
 * again for the next socket. With a large table the kernel's walk is not atomic: a socket may be there twice or not at all.
 *
 * Errors are ParseErrors; their column counts bytes. A line longer than `lineBytesMax` is one (the kernel's have 149 in
 * tcp, at most 200 in tcp6). Addresses are words in the byte order of the machine; here that is little-endian.
 */
export function createSocketTableReader(
  where: string,
  family: 4 | 6,
  onSocket: (socket: SocketRow) => void,
  lineBytesMax = 4096,
): SocketTableReader {
  const addressBytes = family === 4 ? 4 : 16
  const socket: SocketRow = {
    family,
    state: 0,
    localPort: 0,
    remotePort: 0,
    addresses: new Uint8Array(32),
    localAt: 0,
    remoteAt: 16,
    receiveQueue: 0,
    sendQueue: undefined,
    rttUs: undefined,
    traffic: undefined,
    inode: 0,
    uid: 0,
    sentAgoMs: undefined,
    receivedAgoMs: undefined,
  }
  /** The beginning of a line whose end has not come yet; one byte more, for its newline. */
  const begun = new Uint8Array(lineBytesMax + 1)
  let begunBytes = 0
  let lineNumber = 1
  // The line being read, and how far it is read. A newline stands at lineTo, so that nothing reads past it.
  let bytes: Uint8Array = begun
  let lineFrom = 0
  let lineTo = 0
  let at = 0

  function readLine(from: Uint8Array, start: number, end: number): void {
    bytes = from
    lineFrom = at = start
    lineTo = end
    if (lineNumber > 1) readRow()
    else if (!header.test(latin1(bytes, start, end))) throw fail('the header of a socket table')
    lineNumber++
  }

  /** Refuses a line that has `length` bytes so far, of which `chunk` has the last, up to `end`. */
  function checkLength(length: number, chunk: Uint8Array, end: number): void {
    if (length <= lineBytesMax) return
    const first = end - length + lineBytesMax // the first byte too many
    throw new ParseError(
      where,
      lineNumber,
      lineBytesMax + 1,
      `the end of the line, ${lineBytesMax} bytes at most`,
      latin1(chunk, first, first + 1),
    )
  }

  /** The ParseError for the column that `at` stands in. */
  function fail(expected: string): ParseError {
    let start = at
    while (start > lineFrom && bytes[start - 1] !== space) start--
    let end = start
    while (end < lineTo && bytes[end] !== space) end++
    return new ParseError(where, lineNumber, start - lineFrom + 1, expected, latin1(bytes, start, end))
  }

  /** `   0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 12345 1 …` */
  function readRow(): void {
    while (bytes[at] === space) at++
    skipColumn('the number of the row')
    socket.localPort = readAddress(socket.localAt, 'a local address and port')
    socket.remotePort = readAddress(socket.remoteAt, 'a remote address and port')
    socket.state = readHex(2, 'a state')
    endColumn('a state')
    const sendQueue = readHex(8, 'the lengths of two queues')
    skipByte(colon, 'the lengths of two queues')
    socket.receiveQueue = readHex(8, 'the lengths of two queues')
    socket.sendQueue = socket.state === listen ? undefined : sendQueue
    endColumn('the lengths of two queues')
    skipColumn('a timer')
    skipColumn('the number of retransmits')
    socket.uid = readDecimal('a user')
    skipColumn('a timeout')
    socket.inode = readDecimal('an inode')
    onSocket(socket)
  }

  function readAddress(into: number, expected: string): number {
    for (let word = into; word < into + addressBytes; word += 4) {
      for (let byte = word + 3; byte >= word; byte--) socket.addresses[byte] = readHex(2, expected)
    }
    skipByte(colon, expected)
    const port = readHex(4, expected)
    endColumn(expected)
    return port
  }

  function readHex(digits: number, expected: string): number {
    let value = 0
    for (let left = digits; left > 0; left--) {
      const digit = hexDigit(bytes[at]!)
      if (digit === -1) throw fail(expected)
      value = value * 16 + digit
      at++
    }
    return value
  }

  function readDecimal(expected: string): number {
    const start = at
    let value = 0
    for (let digit = bytes[at]! - zero; digit >= 0 && digit <= 9; digit = bytes[at]! - zero) {
      value = value * 10 + digit
      at++
    }
    if (at === start || at - start > digitsMax) throw fail(expected)
    endColumn(expected)
    return value
  }

  function skipColumn(expected: string): void {
    const start = at
    while (bytes[at] !== space && bytes[at] !== newline) at++
    if (at === start) throw fail(expected)
    endColumn(expected)
  }

  function skipByte(byte: number, expected: string): void {
    if (bytes[at] !== byte) throw fail(expected)
    at++
  }

  /** To the next column. There always is one, so a line that ends here was cut, perhaps in the middle of a number. */
  function endColumn(expected: string): void {
    skipByte(space, expected)
    while (bytes[at] === space) at++
  }

  /** Keeps the part of a line that ends with the chunk, or the rest of one that began before it. */
  function keep(chunk: Uint8Array, from: number, to: number): void {
    checkLength(begunBytes + to - from, chunk, to)
    begun.set(chunk.subarray(from, to), begunBytes)
    begunBytes += to - from
  }

  return {
    feed(chunk) {
      let from = 0
      for (let to = chunk.indexOf(newline); to !== -1; to = chunk.indexOf(newline, from)) {
        if (begunBytes === 0) {
          checkLength(to - from, chunk, to)
          readLine(chunk, from, to)
        } else {
          keep(chunk, from, to)
          begun[begunBytes] = newline
          readLine(begun, 0, begunBytes)
          begunBytes = 0
        }
        from = to + 1
      }
      keep(chunk, from, chunk.length)
    },
    end() {
      if (begunBytes > 0) throw new ParseError(where, lineNumber, begunBytes + 1, 'the end of the line', '')
      if (lineNumber === 1) throw new ParseError(where, 1, 1, 'the header of a socket table', '')
    },
  }
}

function latin1(bytes: Uint8Array, from: number, to: number): string {
  return String.fromCharCode(...bytes.subarray(from, to))
}
