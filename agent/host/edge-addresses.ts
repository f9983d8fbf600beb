import { formatAddress, isPrivate, parseAddress } from '../../parsers/address.ts'
import { limits } from '../limits.ts'
import type { Tracer } from './tracer.ts'

/** What the tracer tells apart among the other ends of connections, beside private networks. */
export interface EdgeAddresses {
  /** These networks too; `10.0.0.0/8`, or one address. */
  addNetworks(cidrs: Iterable<string>): void
  /** Those of this machine too, and no other public ones but of networks. */
  setOwn(addresses: Iterable<string>): void
  /** Behind these addresses others answer: each connection to one is kept apart, from its beginning. */
  setServices(addresses: Iterable<string>): void
}

const map = 'edge_connects_total'

export function createEdgeAddresses(tracer: Tracer): EdgeAddresses {
  let services: ReadonlySet<string> = new Set()
  let own: ReadonlySet<string> = new Set()
  /** Networks of one address. */
  const single = new Set<string>()

  return {
    addNetworks(cidrs) {
      if (tracer.missing(map) !== undefined) return
      for (const cidr of [...cidrs].slice(0, limits.tracerNetworks)) {
        const [address = '', bits] = cidr.split('/')
        const bytes = parseAddress(address)
        const ownBits = address.includes(':') ? 128 : 32
        tracer.setNetwork(bytes, 128 - ownBits + (bits === undefined ? ownBits : Number(bits)), true)
        if (bits === undefined || Number(bits) === ownBits) single.add(formatAddress(bytes))
      }
    },
    setOwn(addresses) {
      if (tracer.missing(map) !== undefined) return
      const fitting = take(addresses, limits.tracerOwnAddresses, (address) => !isPrivate(parseAddress(address)))
      own = replace(own, fitting, (address, isNew) => {
        if (isNew || !single.has(address)) tracer.setNetwork(parseAddress(address), 128, isNew)
      })
    },
    setServices(addresses) {
      if (tracer.missing(map) !== undefined) return
      services = replace(services, take(addresses, limits.tracerServiceAddresses), (address, isNew) =>
        tracer.setTranslated(parseAddress(address), isNew),
      )
    },
  }
}

/** The first of those that are meant. */
function take(addresses: Iterable<string>, max: number, isMeant = (_address: string): boolean => true): Set<string> {
  const taken = new Set<string>()
  for (const address of addresses) if (taken.size < max && isMeant(address)) taken.add(address)
  return taken
}

/** Tells what is no more, then what is new. */
function replace(
  before: ReadonlySet<string>,
  next: ReadonlySet<string>,
  tell: (address: string, isNew: boolean) => void,
): ReadonlySet<string> {
  for (const address of before) if (!next.has(address)) tell(address, false)
  for (const address of next) if (!before.has(address)) tell(address, true)
  return next
}
