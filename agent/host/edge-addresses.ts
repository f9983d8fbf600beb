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
      const next = new Set<string>()
      for (const address of addresses)
        if (next.size < limits.tracerOwnAddresses && !isPrivate(parseAddress(address))) next.add(address)
      for (const address of own)
        if (!next.has(address) && !single.has(address)) tracer.setNetwork(parseAddress(address), 128, false)
      for (const address of next) if (!own.has(address)) tracer.setNetwork(parseAddress(address), 128, true)
      own = next
    },
    setServices(addresses) {
      if (tracer.missing(map) !== undefined) return
      const next = new Set<string>()
      for (const address of addresses) if (next.size < limits.tracerServiceAddresses) next.add(address)
      for (const address of services) if (!next.has(address)) tracer.setTranslated(parseAddress(address), false)
      for (const address of next) if (!services.has(address)) tracer.setTranslated(parseAddress(address), true)
      services = next
    },
  }
}
