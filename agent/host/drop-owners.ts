import { parseAddress } from '../../parsers/address.ts'
import { limits } from '../limits.ts'
import type { NetworkNamespace } from './namespaces.ts'
import type { Tracer } from './tracer.ts'

/** Whose the drops in the host's namespace are: the tracer looks the packet's addresses up where it counts. */
export interface DropOwners {
  /** From now on these, by address, and no others. Returns how many found no room. */
  set(owners: ReadonlyMap<string, NetworkNamespace>): number
}

export function createDropOwners(tracer: Tracer): DropOwners {
  const known = new Map<string, NetworkNamespace>()

  return {
    set(owners) {
      if (tracer.missing('dropped_packets_total') !== undefined) return 0
      for (const address of known.keys()) {
        if (owners.has(address)) continue
        tracer.setOwner(parseAddress(address), undefined)
        known.delete(address)
      }
      let left = 0
      for (const [address, netns] of owners) {
        const { inode, cookie = 0 } = netns
        if (inode === undefined || known.get(address) === netns) continue
        if (known.size >= limits.tracerAddresses && !known.has(address)) left++
        else {
          tracer.setOwner(parseAddress(address), { inode, cookie })
          known.set(address, netns)
        }
      }
      return left
    },
  }
}
