import { type Line, parseError, readColumns, readName, splitLines } from './text.ts'

/** /proc/net/route (net/ipv4/fib_trie.c, fib_route_seq_show): the devices with an IPv4 default route. */
export function parseProcNetRouteDefaults(text: string, where: string): string[] {
  const [header, ...rows] = splitLines(text, where)
  if (header === undefined) return []
  const columns = readColumns(header, 0, readName)
  const find = (name: string): number => {
    const index = columns.indexOf(name)
    if (index === -1) throw parseError(header, 0, `a column ${name}`)
    return index
  }
  const [device, destination, mask] = [find('Iface'), find('Destination'), find('Mask')]
  const isDefault = (row: string[]): boolean => row[destination] === '00000000' && row[mask] === '00000000'
  return rows
    .map((row) => readRow(row, Math.max(device, destination, mask)))
    .filter(isDefault)
    .map((row) => row[device] ?? '')
}

/** /proc/net/ipv6_route (net/ipv6/ip6_fib.c): the devices with an IPv6 default route. No header; destination, its prefix length, source, its prefix length, next hop, metric, references, uses, flags, device. */
export function parseProcNetIpv6RouteDefaults(text: string, where: string): string[] {
  if (text === '') return []
  const isDefault = (row: string[]): boolean => row[0] === '0'.repeat(32) && row[1] === '00'
  // The kernel's own rejecting route is a default on lo.
  return splitLines(text, where)
    .map((row) => readRow(row, 9))
    .filter(isDefault)
    .map((row) => row[9] ?? '')
    .filter((device) => device !== 'lo')
}

function readRow(line: Line, last: number): string[] {
  const columns = line.text.trim().split(/\s+/)
  if (columns.length <= last) throw parseError(line, line.text.length, `at least ${last + 1} columns`)
  return columns
}
