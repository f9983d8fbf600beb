import type { Host } from '../host/host.ts'
import type { NetworkNamespace } from '../host/namespaces.ts'
import { limits } from '../limits.ts'
import { cleanLabelValue } from '../metrics/label-text.ts'
import type { Subject } from '../sources/source.ts'

/** What a subject is called on /metrics: one row. A new subject under an old name gets a row of its own and ends the old one. */
export interface Row {
  readonly id: number
  readonly namespace: string
  readonly pod: string
  readonly isHost: boolean
  /** False if it was there before the agent could have seen it come: its counters may have begun above 0. */
  readonly seenFromBirth: boolean
  readonly departedAtMs: number | undefined
  /** Another subject has its name now. */
  readonly replaced: boolean
}

export interface Identity {
  /** Looks for subjects that came and went. */
  refresh(nowMs: number): void
  /** The row of a subject; undefined: nobody known. */
  resolve(subject: Subject): Row | undefined
  /** Present ones and those that left within the departure time. */
  rows(): readonly Row[]
  /** Subjects that have a name but found no place within the limits. */
  unlisted(): number
}

interface MutableRow extends Row {
  departedAtMs: number | undefined
  replaced: boolean
}

/** Names network namespaces on a host without Kubernetes: the agent's own is the host, files under /run/netns go by their name. */
export function createIdentity(host: Pick<Host, 'namespaces' | 'refresh'>): Identity {
  const { namespaces } = host
  const rowOf = new Map<NetworkNamespace, MutableRow>()
  let nextId = 0
  let complete = false

  function admit(netns: NetworkNamespace, present: ReadonlySet<NetworkNamespace>): void {
    const isHost = netns === namespaces.host
    const namespace = isHost ? '' : '@netns'
    const pod = isHost ? '' : cleanLabelValue(netns.name ?? '')
    for (const [other, row] of rowOf) {
      if (row.namespace !== namespace || row.pod !== pod) continue
      if (present.has(other)) return // two hostile names that look alike when cleaned: the first keeps the row
      row.replaced = true
      rowOf.delete(other)
    }
    rowOf.set(netns, { id: nextId++, namespace, pod, isHost, seenFromBirth: complete, departedAtMs: undefined, replaced: false })
  }

  return {
    refresh(nowMs) {
      host.refresh()
      const present = new Set([namespaces.host, ...namespaces.list()])
      for (const [netns, row] of rowOf) {
        if (present.has(netns)) row.departedAtMs = undefined
        else row.departedAtMs ??= nowMs
        if (row.departedAtMs !== undefined && nowMs - row.departedAtMs > limits.departureMs) rowOf.delete(netns)
      }
      for (const netns of present) if (!rowOf.has(netns)) admit(netns, present)
      complete = true
    },
    resolve(subject) {
      return subject.netns === undefined ? undefined : rowOf.get(subject.netns)
    },
    rows: () => [...rowOf.values()],
    unlisted: () => namespaces.unlisted(),
  }
}
