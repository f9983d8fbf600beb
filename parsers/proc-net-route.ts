import { eachColumn, type Line, parseError, readColumns, readName, splitLines } from './text.ts'

/** /proc/net/route (net/ipv4/fib_trie.c, fib_route_seq_show): the devices with an IPv4 default route. */
export function parseProcNetRouteDefaults(text: string, where: string): string[] {
  if (text === '') return [] // a namespace that never had an IPv4 address: not even a header
  const [header, ...rows] = splitLines(text, where)
  const columns = readColumns(header, 0, readName)
  const find = (name: string): number => {
    const index = columns.indexOf(name)
    if (index === -1) throw parseError(header, 0, `a column ${name}`)
    return index
  }
  const [device, destination, mask] = [find('Iface'), find('Destination'), find('Mask')]
  return rows
    .map((row) => readRow(row, [destination, mask], Math.max(device, destination, mask)))
    .filter((row) => row[destination] === '00000000' && row[mask] === '00000000')
    .map((row) => row[device] ?? '')
}

/** /proc/net/ipv6_route (net/ipv6/ip6_fib.c): the devices with an IPv6 default route. No header; destination, its prefix length, source, its prefix length, next hop, metric, references, uses, flags, device. */
export function parseProcNetIpv6RouteDefaults(text: string, where: string): string[] {
  if (text === '') return []
  const isDefault = (row: string[]): boolean => row[0] === '0'.repeat(32) && row[1] === '00'
  // The kernel's own rejecting route is a default on lo.
  return splitLines(text, where)
    .map((row) => readRow(row, [0, 1], 9))
    .filter(isDefault)
    .map((row) => row[9] ?? '')
    .filter((device) => device !== 'lo')
}

/** The columns as they stand; those that say where the route leads are hexadecimal digits. */
function readRow(line: Line, hexadecimal: readonly number[], last: number): string[] {
  const columns: string[] = []
  eachColumn(line, 0, (from, to) => {
    const text = line.text.slice(from, to)
    if (hexadecimal.includes(columns.length) && !/^[0-9A-Fa-f]+$/.test(text))
      throw parseError(line, from, 'a hexadecimal number', to)
    columns.push(text)
  })
  if (columns.length <= last) throw parseError(line, line.text.length, `at least ${last + 1} columns`)
  return columns
}
