import type { RecordListener } from './record-store.ts'
import type { Workload } from './workload.ts'

/** Where the names of a node's pods come from: the API server, the kubelet, the folder of logs, or a file. */
export interface PodDirectory {
  /** Once. Goes on until the signal; resolves when nothing of it is open any more, and never rejects. */
  start(signal: AbortSignal): Promise<void>
  /** By UID, as last known: an error takes none of them away. */
  pods(): ReadonlyMap<string, PodRecord>
  status(): DirectoryStatus
  /** Returns how to leave. */
  onChange(listener: PodListener): () => void
}

export type PodListener = RecordListener<PodRecord>

export interface DirectoryStatus {
  readonly state: 'starting' | 'watching' | 'retrying' | 'stopped'
  readonly listedOnce: boolean
  /** By performance.now(): the last list or event. A quiet watch has one about every minute. Undefined: none yet. */
  readonly lastSuccessAtMs: number | undefined
  /** In words, with what to do; undefined: nothing is wrong. */
  readonly lastError: string | undefined
  /** How often it began anew after a failure or a silence. */
  readonly restarts: number
  readonly leftOut: Readonly<LeftOut>
}

/** How often something was not taken. */
export interface LeftOut {
  /** Objects, such as pods, whose names are not as Kubernetes demands. */
  invalidObjects: number
  /** Other parts of them. */
  invalidFields: number
  /** Pods of other nodes, which were not asked for. */
  otherNodes: number
  /** Twice in one list. */
  duplicates: number
  /** More than the limit. */
  tooMany: number
}

export type PodPhase = 'Pending' | 'Running' | 'Succeeded' | 'Failed' | 'Unknown'

/** What is kept of a pod. */
export interface PodRecord {
  readonly uid: string
  /** As it stands in the paths of cgroups: of a static pod the hash of its configuration, else its UID. */
  readonly cgroupUid: string
  readonly namespace: string
  readonly name: string
  readonly phase: PodPhase
  /** Undefined: it is not told. */
  readonly hostNetwork: boolean | undefined
  /**
   * Its own, with those of additional networks: `10.0.0.1` or `2001:db8::1`, as parsers/address.ts writes them. None where the
   * address is not the pod's alone: host-network pods bear the node's, and that of a pod that has ended may be another's by now.
   */
  readonly addresses: readonly string[]
  /** Without `containerd://`; init and ephemeral containers too. */
  readonly containerIds: readonly string[]
  /** Undefined: something owns it, but what cannot be told. */
  readonly workload: Workload | undefined
  readonly createdAtMs: number | undefined
  readonly startedAtMs: number | undefined
  /** It is being deleted, and has until then to end. */
  readonly deletionAtMs: number | undefined
}
