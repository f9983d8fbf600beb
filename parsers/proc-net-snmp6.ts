import { parseError, readDecimal, readExactly, splitLines } from './text.ts'

/** Names already split, because every namespace has the same: some 90, and up to 512 of Icmp6's InType… and OutType…. */
const keys = new Map<string, string>()
const keysMax = 1024

/**
 * /proc/net/snmp6 (net/ipv6/proc.c): a name and a value a line.
 * Keys are protocol and name: `Ip6InReceives` becomes `Ip6.InReceives`, `UdpLite6InErrors` becomes `UdpLite6.InErrors`.
 */
export function parseProcNetSnmp6(text: string, where: string): ReadonlyMap<string, number> {
  const found = new Map<string, number>()
  for (const line of splitLines(text, where)) {
    const end = line.text.search(/\s/)
    if (end < 1) throw parseError(line, 0, 'a name and a value')
    const [value] = readExactly(line, end, 1, readDecimal)
    found.set(readKey(line.text.slice(0, end)), value!)
  }
  return found
}

function readKey(name: string): string {
  let key = keys.get(name)
  if (key === undefined) {
    key = name.replace('6', '6.')
    if (keys.size === keysMax) keys.clear()
    keys.set(name, key)
  }
  return key
}
