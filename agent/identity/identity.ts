import type { Host } from '../host/host.ts'
import type { NetworkNamespace } from '../host/namespaces.ts'
import type { PodOfNamespace } from '../host/pods.ts'
import { limits } from '../limits.ts'
import { cleanLabelValue } from '../metrics/label-text.ts'
import type { Subject } from '../sources/source.ts'
import { createLocalAddresses } from './local-addresses.ts'
import type { Networks } from './networks.ts'
import type { DirectoryStatus, PodRecord } from './pod-directory.ts'
import type { Workload } from './workload.ts'

/** What a subject is called on /metrics: one row. A new subject under an old name gets a row of its own and ends the old one. */
export interface Row {
  readonly id: number
  readonly namespace: string
  readonly pod: string
  /** Undefined: it is no pod of Kubernetes, or what it belongs to cannot be told. */
  readonly workload?: Workload | undefined
  readonly isHost: boolean
  /** Of Kubernetes. */
  readonly isPod: boolean
  /** False if it was there before the agent could have seen it come: its counters may have begun above 0. */
  readonly seenFromBirth: boolean
  readonly departedAtMs: number | undefined
  /** Another subject has its name now. */
  readonly replaced: boolean
}

/** One end of a connection. What is not known is left out. */
export interface End {
  readonly namespace: string
  readonly workload: string
  readonly pod?: string | undefined
}

/** Where the names of pods come from. */
export interface PodNames {
  pods(): ReadonlyMap<string, PodRecord>
  status(): DirectoryStatus
}

/** A place where names come from, and how that fares. */
export interface NameProvider extends DirectoryStatus {
  /** How many pods. */
  readonly known?: number
}

/** Names for addresses that are not of this machine. */
export interface PeerNames {
  find(address: string): End | undefined
  status(): DirectoryStatus
}

export interface Identity {
  /** Looks for subjects that came and went. Those who come while it looks wait for the same look. */
  refresh(nowMs: number): Promise<void>
  /** Somebody met a subject without a name: it may be new, and is looked for unless that was done within a second. */
  lookForUnknown(nowMs: number): void
  /** The row of a subject; undefined: nobody known. */
  resolve(subject: Subject): Row | undefined
  /** What a subject is called as the end of a connection; addresses elsewhere have names too. Undefined: nobody known. */
  endOf(subject: Subject): End | undefined
  /** Of this machine, those that one row alone has. */
  addresses(): Iterable<readonly [address: string, row: Row]>
  /** Present ones and those that left within the departure time. */
  rows(): readonly Row[]
  /** Pods of this node that have the host's network: they are in the host's row. */
  hostPods(): readonly PodRecord[]
  /** Subjects that have no name yet, or found no place within the limits, and addresses that found none. */
  unlisted(): number
  /** Where names come from, and how that fares. */
  providers(): ReadonlyMap<'pods' | 'peers', NameProvider>
  /** Network namespaces that processes of pods made for themselves: nobody's. */
  nested(): number
}

export interface IdentityOptions {
  readonly host: Pick<Host, 'namespaces' | 'refresh' | 'pods' | 'addresses' | 'dropOwners' | 'edgeAddresses' | 'capture'>
  /** Undefined: pods go by their UID. */
  readonly pods?: PodNames | undefined
  readonly peers?: PeerNames | undefined
  /** Names that people give to networks, for what no peer has. */
  readonly networks?: Networks | undefined
}

interface MutableRow extends Row {
  workload: Workload | undefined
  departedAtMs: number | undefined
  replaced: boolean
  /** What it was named after: another owner of the same namespace is another subject. */
  readonly owner: string
}

interface Name {
  readonly namespace: string
  readonly pod: string
  readonly isPod?: true
  readonly workload?: Workload | undefined
}

/**
 * Names network namespaces. The agent's own is the host; a pod's goes by the pod that its processes belong to; a container's
 * without a pod by its ID; others by their file under /run/netns.
 */
export function createIdentity({ host, pods, peers, networks }: IdentityOptions): Identity {
  const { namespaces } = host
  const rowOf = new Map<NetworkNamespace, MutableRow>()
  /** Were there when the agent came. */
  const seenAtStart = new WeakSet<NetworkNamespace>()
  const local = createLocalAddresses(host)
  /** By the UID that stands in the paths of cgroups. */
  let recordOf: ReadonlyMap<string, PodRecord> = new Map()
  let unnamed = 0
  let unowned = 0
  let nextId = 0
  let isComplete = false
  let lookedAtMs = Number.NEGATIVE_INFINITY
  let refreshing: Promise<void> | undefined

  function nameOf(netns: NetworkNamespace): Name | undefined {
    if (netns === namespaces.host) return { namespace: '', pod: '' }
    const owner = namespaces.ownerOf(netns)
    if (owner?.podUid !== undefined) return nameOfPod(owner.podUid)
    // A name that somebody gave it says more than a container's ID.
    if (netns.name !== undefined) return { namespace: '@netns', pod: cleanLabelValue(netns.name) }
    const [containerId] = owner?.containerIds ?? []
    return containerId === undefined ? undefined : { namespace: '@container', pod: containerId.slice(0, 12) }
  }

  function nameOfPod(uid: string): Name | undefined {
    if (pods === undefined) return { namespace: '@pod', pod: cleanLabelValue(uid) }
    const record = recordOf.get(uid)
    // One with the host's network has no namespace of its own: this is one that it made.
    if (record === undefined || record.hostNetwork) return undefined
    return { namespace: record.namespace, pod: record.name, isPod: true, workload: record.workload }
  }

  function admit(netns: NetworkNamespace, name: Name, present: ReadonlySet<NetworkNamespace>): void {
    for (const [other, row] of rowOf) {
      if (row.namespace !== name.namespace || row.pod !== name.pod) continue
      if (present.has(other) && nameOf(other) !== undefined) {
        unnamed++ // two hostile names that look alike when cleaned, or a sandbox that takes another's place: the first keeps the row
        return
      }
      end(other, row)
    }
    rowOf.set(netns, {
      id: nextId++,
      namespace: name.namespace,
      pod: name.pod,
      workload: name.workload,
      owner: ownerKey(namespaces.ownerOf(netns)),
      isHost: netns === namespaces.host,
      isPod: name.isPod === true,
      seenFromBirth: !seenAtStart.has(netns),
      departedAtMs: undefined,
      replaced: false,
    })
  }

  function end(netns: NetworkNamespace, row: MutableRow): void {
    row.replaced = true
    rowOf.delete(netns)
  }

  function updateRows(nowMs: number): void {
    const present = new Set([namespaces.host, ...namespaces.list()])
    if (!isComplete) for (const netns of present) seenAtStart.add(netns)
    isComplete = true
    unnamed = 0
    for (const [netns, row] of rowOf) {
      if (!present.has(netns)) row.departedAtMs ??= nowMs
      else if (row.owner !== ownerKey(namespaces.ownerOf(netns))) end(netns, row)
      else row.departedAtMs = undefined
      if (row.departedAtMs !== undefined && nowMs - row.departedAtMs > limits.departureMs) rowOf.delete(netns)
    }
    for (const netns of present) {
      const name = nameOf(netns)
      const row = rowOf.get(netns)
      if (name === undefined) {
        // What is known stays although the pod's record is gone before its processes are.
        if (row === undefined) unnamed++
      } else if (row === undefined) admit(netns, name, present)
      else if (row.namespace === name.namespace && row.pod === name.pod) row.workload = name.workload
      else {
        end(netns, row)
        admit(netns, name, present)
      }
    }
  }

  async function look(nowMs: number): Promise<void> {
    lookedAtMs = nowMs
    host.refresh()
    recordOf = new Map([...(pods?.pods().values() ?? [])].map((record) => [record.cgroupUid, record]))
    updateRows(nowMs)
    unowned = await local.refresh(nowMs, addressesOfPods())
  }

  /** As Kubernetes knows them. */
  function* addressesOfPods(): Generator<readonly [string, NetworkNamespace]> {
    for (const netns of namespaces.list()) {
      const uid = rowOf.has(netns) ? namespaces.ownerOf(netns)?.podUid : undefined
      for (const address of (uid === undefined ? undefined : recordOf.get(uid))?.addresses ?? []) yield [address, netns]
    }
  }

  const identity: Identity = {
    refresh(nowMs) {
      refreshing ??= look(nowMs).finally(() => {
        refreshing = undefined
      })
      return refreshing
    },
    lookForUnknown(nowMs) {
      if (nowMs - lookedAtMs >= limits.unknownMs) identity.refresh(nowMs).catch(() => undefined) // the next sweep says why
    },
    resolve({ netns, address }) {
      const found = netns ?? local.find(address)
      return found === undefined ? undefined : rowOf.get(found)
    },
    endOf(subject) {
      const row = identity.resolve(subject)
      if (row !== undefined) return endOfRow(row)
      const { address } = subject
      if (address === undefined) return undefined
      const peer = peers?.find(address)
      if (peer !== undefined) return peer
      const network = networks?.find(address)
      return network === undefined ? undefined : { namespace: '', workload: network }
    },
    *addresses() {
      for (const [address, netns] of local.all()) {
        const row = rowOf.get(netns)
        if (row !== undefined) yield [address, row]
      }
    },
    rows: () => [...rowOf.values()],
    hostPods: () => [...recordOf.values()].filter(({ hostNetwork }) => hostNetwork),
    unlisted: () => unnamed + unowned + namespaces.unlisted() + host.pods.unlisted(),
    providers: () =>
      new Map<'pods' | 'peers', NameProvider>([
        ...(pods === undefined ? [] : [['pods', { ...pods.status(), known: pods.pods().size }] as const]),
        ...(peers === undefined ? [] : [['peers', peers.status()] as const]),
      ]),
    nested: () => host.pods.nested(),
  }
  return identity
}

/** The host itself, as a workload. */
const hostWorkload = 'host'

function endOfRow({ isHost, namespace, pod, workload }: Row): End {
  if (isHost) return { namespace: '', workload: hostWorkload, pod: '' }
  return { namespace, workload: workload?.name ?? pod, pod }
}

function ownerKey(owner: PodOfNamespace | undefined): string {
  return owner?.podUid ?? owner?.containerIds[0] ?? ''
}
