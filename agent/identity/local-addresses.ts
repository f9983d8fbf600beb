import type { Host } from '../host/host.ts'
import type { NetworkNamespace } from '../host/namespaces.ts'
import { limits } from '../limits.ts'

/** Whose the addresses of this machine are. */
export interface LocalAddresses {
  /** `ofPods` as Kubernetes knows them: they come before what a namespace says of itself, for a pod may give itself any address. Returns how many the tracer has no room for. */
  refresh(nowMs: number, ofPods: Iterable<readonly [string, NetworkNamespace]>): Promise<number>
  /** Also of one that has gone, within the departure time, as long as nobody else has the address. */
  find(address: string | undefined): NetworkNamespace | undefined
  /** Without those who have gone. */
  all(): ReadonlyMap<string, NetworkNamespace>
}

export function createLocalAddresses({
  namespaces,
  addresses,
  dropOwners,
  edgeAddresses,
  capture,
}: Pick<Host, 'namespaces' | 'addresses' | 'dropOwners' | 'edgeAddresses' | 'capture'>): LocalAddresses {
  let owners: ReadonlyMap<string, NetworkNamespace> = new Map()
  const former = new Map<string, { readonly netns: NetworkNamespace; readonly untilMs: number }>()

  function remember(next: ReadonlyMap<string, NetworkNamespace>, nowMs: number): void {
    for (const [address, netns] of owners)
      if (!next.has(address)) former.set(address, { netns, untilMs: nowMs + limits.departureMs })
    for (const [address, { untilMs }] of former) if (next.has(address) || nowMs > untilMs) former.delete(address)
    while (former.size > limits.tracerAddresses) former.delete(former.keys().next().value!)
  }

  return {
    async refresh(nowMs, ofPods) {
      const told = [...ofPods]
      await addresses.refresh(AbortSignal.timeout(limits.sourceDeadlineMs))
      const next = new Map<string, NetworkNamespace>()
      for (const [address, netns] of addresses.all()) if (netns !== undefined) next.set(address, netns)
      for (const [address, netns] of told) next.set(address, netns)
      remember(next, nowMs)
      owners = next
      edgeAddresses.setOwn(next.keys())
      capture.setOwners(next)
      return dropOwners.set(new Map([...next].filter(([, netns]) => netns !== namespaces.host)))
    },
    all: () => owners,
    find: (address) => (address === undefined ? undefined : (owners.get(address) ?? former.get(address)?.netns)),
  }
}
