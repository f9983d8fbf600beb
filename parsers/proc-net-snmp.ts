import { type Line, parseError, readColumns, readDecimal, readExactly, readName, readSignedDecimal, splitLines } from './text.ts'

interface Header {
  /** With its colon: `Tcp:`. */
  readonly protocol: string
  /** `Tcp.RtoAlgorithm`, `Tcp.RtoMin`, … in the order of the values. */
  readonly keys: readonly string[]
}

/** Headers already read, because every namespace has the same. There are ten, and IcmpMsg's many, which name the ICMP types seen. */
const headers = new Map<string, Header>()
const headersMax = 256

/**
 * /proc/net/snmp and /proc/net/netstat (net/ipv4/proc.c): for each protocol a line of names, then a line of values.
 * Keys are protocol and name, such as `Tcp.RetransSegs`, `TcpExt.ListenOverflows`, `IcmpMsg.InType3`.
 */
export function parseProcNetSnmp(text: string, where: string): ReadonlyMap<string, number> {
  const found = new Map<string, number>()
  const lines = splitLines(text, where)
  for (let i = 0; i < lines.length; i += 2) {
    const { protocol, keys } = readHeader(lines[i]!)
    const line = lines[i + 1] ?? { where, number: i + 2, text: '' }
    if (!line.text.startsWith(protocol)) throw parseError(line, 0, `the values of ${protocol}`)
    const read = protocol === 'Tcp:' ? readSignedDecimal : readDecimal // Tcp's MaxConn is -1
    const values = readExactly(line, protocol.length, keys.length, read)
    for (let k = 0; k < keys.length; k++) found.set(keys[k]!, values[k]!)
  }
  return found
}

function readHeader(line: Line): Header {
  const known = headers.get(line.text)
  if (known !== undefined) return known
  const colon = line.text.indexOf(':')
  if (colon < 1) throw parseError(line, 0, 'a protocol and a colon')
  const protocol = readName(line, 0, colon)
  const keys = readColumns(line, colon + 1, readName).map((name) => `${protocol}.${name}`)
  const header = { protocol: `${protocol}:`, keys }
  if (headers.size === headersMax) headers.clear()
  headers.set(line.text, header)
  return header
}
