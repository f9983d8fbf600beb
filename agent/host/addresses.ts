import { formatAddress } from '../../parsers/address.ts'
import { addressesRequest, readAddress } from '../../parsers/rtnetlink.ts'
import { limits } from '../limits.ts'
import type { Namespaces, NetworkNamespace } from './namespaces.ts'
import type { Netlink } from './netlink.ts'

/** Which network namespace of this machine has an address. */
export interface Addresses {
  /** Looks again, unless it has within a second and no namespace has come since. */
  refresh(signal: AbortSignal): Promise<void>
  /** As of the last look; `10.0.0.1` or `2001:db8::1`. Undefined: none that can be looked into, or several, as with loopback. */
  find(address: string | undefined): NetworkNamespace | undefined
  /** All that `find` knows. Undefined: several have it. */
  all(): ReadonlyMap<string, NetworkNamespace | undefined>
}

export function createAddresses(namespaces: Namespaces, netlink: Netlink, now = () => performance.now()): Addresses {
  let owners = new Map<string, NetworkNamespace | undefined>()
  let refreshedAtMs = Number.NEGATIVE_INFINITY
  let looked: ReadonlySet<NetworkNamespace> = new Set()
  let refreshing: Promise<void> | undefined

  async function look(signal: AbortSignal): Promise<void> {
    const found = new Map<string, NetworkNamespace | undefined>()
    namespaces.refresh() // one that came since the last sweep may be told of already
    const present = new Set([namespaces.host, ...namespaces.list()])
    for (const netns of present) {
      let addresses: string[] = []
      const restart = (): void => {
        addresses = []
      }
      const message = (bytes: Uint8Array, from: number, to: number): void => {
        if (addresses.length < limits.addressesPerNamespace) addresses.push(formatAddress(readAddress(bytes, from, to)))
      }
      try {
        await netlink.dump(netns, addressesRequest(), { restart, message }, signal)
      } catch {
        signal.throwIfAborted() // else all of them would be nobody's
        continue // it is gone, or cannot be entered: what concerns it stays nobody's
      }
      // Two of its devices may have the same one.
      for (const address of addresses) found.set(address, found.has(address) && found.get(address) !== netns ? undefined : netns)
    }
    owners = found
    looked = present
    refreshedAtMs = now()
  }

  return {
    refresh(signal) {
      const isNew = now() - refreshedAtMs < limits.addressesAgeMs && namespaces.list().every((netns) => looked.has(netns))
      if (refreshing === undefined && isNew) return Promise.resolve()
      refreshing ??= look(signal).finally(() => {
        refreshing = undefined
      })
      return refreshing
    },
    all: () => owners,
    find: (address) => (address === undefined ? undefined : owners.get(address)),
  }
}
