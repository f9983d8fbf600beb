/** 4 bytes → 10.0.0.1; 16 → 2001:db8::1 as RFC 5952 has it, an IPv4 address in IPv6's clothes (::ffff:10.0.0.1) as 10.0.0.1. */
export function formatAddress(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.')
  if (isMapped(bytes)) return bytes.subarray(12).join('.')
  const words = Array.from({ length: 8 }, (_, i) => (bytes[2 * i]! << 8) | bytes[2 * i + 1]!)
  const zeros = longestZeros(words)
  const text = (part: readonly number[]): string => part.map((word) => word.toString(16)).join(':')
  return zeros.length < 2 ? text(words) : `${text(words.slice(0, zeros.from))}::${text(words.slice(zeros.from + zeros.length))}`
}

/** The other way round, of what formatAddress wrote: 16 bytes, IPv4 as ::ffff:10.0.0.1. */
export function parseAddress(address: string): Uint8Array {
  const bytes = new Uint8Array(16)
  if (!address.includes(':')) {
    bytes.set([0xff, 0xff, ...address.split('.').map(Number)], 10)
    return bytes
  }
  const [before = [], after = []] = address.split('::').map((part) => (part === '' ? [] : part.split(':')))
  const words = [...before, ...Array<string>(8 - before.length - after.length).fill('0'), ...after]
  words.forEach((word, i) => bytes.set([Number.parseInt(word, 16) >> 8, Number.parseInt(word, 16) & 0xff], 2 * i))
  return bytes
}

const v4Syntax = /^(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!$)|$)){4}$/

/** Of text that anybody wrote, in the one way of formatAddress. Undefined: no address, such as one with a zone, a port or a prefix. */
export function readAddress(text: string): string | undefined {
  if (text.length > 45) return undefined
  if (v4Syntax.test(text)) return text
  if (!/^[0-9a-fA-F:.]+$/.test(text) || !URL.canParse(`http://[${text}]`)) return undefined
  const address = new URL(`http://[${text}]`).hostname.slice(1, -1)
  const [, high, low] = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(address) ?? []
  if (high === undefined || low === undefined) return address
  return [high, low].flatMap((word) => [Number.parseInt(word, 16) >> 8, Number.parseInt(word, 16) & 0xff]).join('.')
}

/** Of text: ::ffff:10.0.0.1 → 10.0.0.1. */
export function unmapAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice('::ffff:'.length) : address
}

/** 127.0.0.0/8 or ::1; of 4 or 16 bytes. */
export function isLoopback(bytes: Uint8Array): boolean {
  return bytes.length === 4 ? bytes[0] === 127 : bytes[15] === 1 && bytes.subarray(0, 15).every((byte) => byte === 0)
}

export function isMapped(bytes: Uint8Array): boolean {
  return bytes[10] === 0xff && bytes[11] === 0xff && bytes.subarray(0, 10).every((byte) => byte === 0)
}

/** The first of the longest runs. */
function longestZeros(words: readonly number[]): { from: number; length: number } {
  let longest = { from: 0, length: 0 }
  for (let from = 0; from < words.length; from++) {
    let length = 0
    while (words[from + length] === 0) length++
    if (length > longest.length) longest = { from, length }
  }
  return longest
}

/** 10/8, 172.16/12, 192.168/16, 100.64/10, 169.254/16; fc00::/7, fe80::/10; and loopback. Of 4 or 16 bytes. */
export function isPrivate(bytes: Uint8Array): boolean {
  if (isLoopback(bytes)) return true
  const [first = 0, second = 0] = isMapped(bytes) ? bytes.subarray(12) : bytes
  if (bytes.length === 16 && !isMapped(bytes)) return first >> 1 === 0x7e || (first === 0xfe && second >> 6 === 2)
  if (first === 172) return second >> 4 === 1
  if (first === 100) return second >> 6 === 1
  return first === 10 || first === 127 || (first === 192 && second === 168) || (first === 169 && second === 254)
}
