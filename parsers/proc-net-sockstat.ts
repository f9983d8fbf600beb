import { eachColumn, parseError, readName, readSignedDecimal, splitLines } from './text.ts'

/**
 * /proc/net/sockstat and sockstat6 (net/ipv4/proc.c, net/ipv6/proc.c): `TCP: inuse 5 orphan 0 tw 2 alloc 7 mem 1`.
 * Keys are protocol and name: `sockets.used`, `TCP.inuse`, `TCP6.inuse`. `mem` is in pages, FRAG's `memory` in bytes.
 */
export function parseProcNetSockstat(text: string, where: string): ReadonlyMap<string, number> {
  const found = new Map<string, number>()
  for (const line of splitLines(text, where)) {
    const colon = line.text.indexOf(':')
    if (colon < 1) throw parseError(line, 0, 'a protocol and a colon')
    const protocol = readName(line, 0, colon)
    let name: string | undefined
    eachColumn(line, colon + 1, (from, to) => {
      if (name === undefined) {
        name = readName(line, from, to)
      } else {
        found.set(`${protocol}.${name}`, readSignedDecimal(line, from, to)) // the kernel prints %d: sums over CPUs may dip below 0
        name = undefined
      }
    })
    if (name !== undefined) throw parseError(line, line.text.length, `the value of ${protocol} ${name}`)
  }
  return found
}
