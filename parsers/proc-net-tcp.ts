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
const header = /^\s*sl\s+local_address\s+rem(ote)?_address\s+st\s+tx_queue\s+rx_queue\s+tr\s+tm->when\s+retrnsmt\s+uid\s+timeout\s+inode(\s|$)/

const newline = 0x0a
const space = 0x20
const colon = 0x3a
const listen = 10

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
    inode: 0,
    uid: 0,
  }
  /** The beginning of a line whose end has not come yet; one byte more, for its newline. */
  const begun = new Uint8Array(lineBytesMax + 1)
  let begunBytes = 0
  let lineNumber = 0
  // The line being read, and how far it is read. A newline stands at lineTo, so that nothing reads past it.
  let bytes = begun
  let lineFrom = 0
  let lineTo = 0
  let at = 0

  function readLine(from: Uint8Array, start: number, end: number): void {
    bytes = from
    lineFrom = at = start
    lineTo = end
    lineNumber++
    if (end - start > lineBytesMax) throw lineTooLong(start + lineBytesMax)
    if (lineNumber > 1) readRow()
    else if (!header.test(latin1(bytes, start, end))) throw fail('the names of the columns of a socket table')
  }

  function lineTooLong(index: number): ParseError {
    return new ParseError(where, lineNumber, lineBytesMax + 1, `a line of at most ${lineBytesMax} bytes`, latin1(bytes, index, index + 1))
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
    skipColumn('the number of the row')
    readAddress(socket.localAt, 'a local address and port')
    readAddress(socket.remoteAt, 'a remote address and port')
    skipBlanks()
    socket.state = readHex(2, 'a state of two hexadecimal digits')
    skipBlanks()
    const sendQueue = readHex(8, 'two queue lengths in hexadecimal')
    skipByte(colon, 'two queue lengths in hexadecimal')
    socket.receiveQueue = readHex(8, 'two queue lengths in hexadecimal')
    socket.sendQueue = socket.state === listen ? undefined : sendQueue
    skipColumn('a timer')
    skipColumn('a number of retransmits')
    socket.uid = readDecimal('a user')
    skipColumn('a timeout')
    socket.inode = readDecimal('an inode')
    if (bytes[at] !== space) throw fail('a number of references') // else the inode may lack digits
    onSocket(socket)
  }
}

function latin1(bytes: Uint8Array, from: number, to: number): string {
  return String.fromCharCode(...bytes.subarray(from, to))
}
