import { parseAddress } from '../../parsers/address.ts'
import { limits } from '../limits.ts'
import type { Tracer } from './tracer.ts'

/** What the tracer tells apart among the other ends of connections, beside private networks. */
export interface EdgeAddresses {
  /** These networks too; `10.0.0.0/8`, or one address. */
  addNetworks(cidrs: Iterable<string>): void
  /** Behind these addresses others answer: each connection to one is kept apart, from its beginning. */
  setServices(addresses: Iterable<string>): void
}

const map = 'edge_connects_total'

export function createEdgeAddresses(tracer: Tracer): EdgeAddresses {
  let services: ReadonlySet<string> = new Set()

  return {
    addNetworks(cidrs) {
      if (tracer.missing(map) !== undefined) return
      for (const cidr of [...cidrs].slice(0, limits.tracerNetworks)) {
        const [address = '', bits] = cidr.split('/')
        const bytes = parseAddress(address)
        const ownBits = address.includes(':') ? 128 : 32
        tracer.addNetwork(bytes, 128 - ownBits + (bits === undefined ? ownBits : Number(bits)))
      }
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
