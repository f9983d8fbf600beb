import { parseAddress, readAddress } from '../../parsers/address.ts'
import { ConfigError } from '../config-file.ts'
import { limits } from '../limits.ts'
import { cleanLabelValue } from '../metrics/label-text.ts'

export interface NetworkSetting {
  readonly name: string
  /** `10.0.0.0/8`, `2001:db8::/32`, or one address. */
  readonly cidrs: readonly string[]
}

export interface Networks {
  /** Of an address as parsers/address.ts writes it: the name of the smallest network that has it. */
  find(address: string): string | undefined
}

/** Names that people give to networks. @throws ConfigError, in which `where` is the place of the setting */
export function createNetworks(settings: readonly NetworkSetting[], where: string): Networks {
  const nameOf = new Map<string, string>()
  for (const [at, { name, cidrs }] of settings.entries()) {
    const place = `${where}.${at}`
    if (name === '' || name !== cleanLabelValue(name))
      throw new ConfigError(`${place}.name: expected 1 to ${limits.labelCharacters} printable characters`)
    for (const [nth, cidr] of cidrs.entries()) {
      const key = readCidr(cidr, `${place}.cidrs.${nth}`)
      const other = nameOf.get(key)
      if (other !== undefined) throw new ConfigError(`${place}.cidrs.${nth}: ${other} has the same network`)
      if (nameOf.size === limits.networks)
        throw new ConfigError(`${place}.cidrs.${nth}: expected no more than limits.networks, ${limits.networks}`)
      nameOf.set(key, name)
    }
  }
  /** Longest first. */
  const lengths = [...new Set([...nameOf.keys()].map((key) => Number(key.split('/')[1])))].sort((a, b) => b - a)

  return {
    find(address) {
      const bytes = parseAddress(address)
      const isV6 = address.includes(':')
      for (const length of lengths) {
        const name = nameOf.get(networkKey(bytes, isV6, length))
        if (name !== undefined) return name
      }
      return undefined
    },
  }
}

function readCidr(cidr: string, where: string): string {
  const [, text = '', digits] = /^([^/]*)(?:\/(0|[1-9][0-9]{0,2}))?$/.exec(cidr) ?? []
  const address = readAddress(text)
  const isV6 = address?.includes(':') === true
  const bits = isV6 ? 128 : 32
  const length = digits === undefined ? bits : Number(digits)
  if (address === undefined || length > bits)
    throw new ConfigError(`${where}: expected a network such as 10.0.0.0/8 or 2001:db8::/32`)
  const bytes = parseAddress(address)
  const inBytes = length + 128 - bits
  if (networkKey(bytes, isV6, inBytes) !== `${keyOf(bytes, isV6)}/${inBytes}`)
    throw new ConfigError(`${where}: ${address} is not the first address of a network with /${length}`)
  return networkKey(bytes, isV6, inBytes)
}

const keyOf = (bytes: Uint8Array, isV6: boolean): string => `${isV6 ? 6 : 4} ${Buffer.from(bytes).toString('hex')}`

/** Of 16 bytes, the first `length` bits. IPv4 and IPv6 are never in the same network. */
function networkKey(bytes: Uint8Array, isV6: boolean, length: number): string {
  const masked = bytes.map((byte, at) => byte & (0xff00 >> Math.min(8, Math.max(0, length - 8 * at))))
  return `${keyOf(masked, isV6)}/${length}`
}
