import type { Bounds } from './kubernetes-api.ts'
import { field, type PodRecord, readPod } from './kubernetes-pods.ts'

/** Undefined: it is no more. Must not throw. */
export type PodListener = (uid: string, pod: PodRecord | undefined) => void

/** How often something was not taken. */
export interface LeftOut {
  /** Pods whose names are not as Kubernetes demands. */
  invalidPods: number
  /** Other parts of pods. */
  invalidFields: number
  /** Pods of other nodes, which were not asked for. */
  otherNodes: number
  /** Twice in one list. */
  duplicates: number
  /** More than limits.kubernetesPods. */
  tooMany: number
}

export interface PodStore {
  readonly pods: ReadonlyMap<string, PodRecord>
  readonly leftOut: LeftOut
  /** A list, which changes nothing until it is whole. */
  begin(): { add(object: unknown): void; commit(): void }
  put(object: unknown): void
  remove(object: unknown): void
  onChange(listener: PodListener): () => void
}

export function createPodStore(nodeName: string, bounds: Bounds): PodStore {
  const pods = new Map<string, PodRecord>()
  /** A name is one pod's at a time: when another bears it the first is gone, whether or not that was told. */
  const uidOf = new Map<string, string>()
  const listeners = new Set<PodListener>()
  const leftOut: LeftOut = { invalidPods: 0, invalidFields: 0, otherNodes: 0, duplicates: 0, tooMany: 0 }

  const nameOf = ({ namespace, name }: PodRecord): string => `${namespace}/${name}`

  function read(object: unknown): PodRecord | undefined {
    const reading = readPod(object)
    if (reading === undefined) {
      leftOut.invalidPods++
      return undefined
    }
    leftOut.invalidFields += reading.invalidFields
    if (reading.pod.nodeName === nodeName) return reading.pod
    leftOut.otherNodes++
    return undefined
  }

  function set(pod: PodRecord): void {
    const name = nameOf(pod)
    const before = pods.get(pod.uid)
    const other = uidOf.get(name)
    if (other !== undefined && other !== pod.uid) drop(other)
    if (before === undefined && pods.size >= bounds.kubernetesPods) {
      leftOut.tooMany++
      return
    }
    if (before !== undefined && JSON.stringify(before) === JSON.stringify(pod)) return
    if (before !== undefined) uidOf.delete(nameOf(before))
    pods.set(pod.uid, pod)
    uidOf.set(name, pod.uid)
    for (const listener of listeners) listener(pod.uid, pod)
  }

  function drop(uid: string): void {
    const pod = pods.get(uid)
    if (pod === undefined) return
    pods.delete(uid)
    uidOf.delete(nameOf(pod))
    for (const listener of listeners) listener(uid, undefined)
  }

  return {
    pods,
    leftOut,
    begin() {
      const found = new Map<string, PodRecord>()
      return {
        add(object) {
          const pod = read(object)
          if (pod === undefined) return
          if (found.has(pod.uid)) leftOut.duplicates++
          else if (found.size >= bounds.kubernetesPods) leftOut.tooMany++
          else found.set(pod.uid, pod)
        },
        commit() {
          for (const uid of [...pods.keys()]) if (!found.has(uid)) drop(uid)
          for (const pod of found.values()) set(pod)
        },
      }
    },
    put(object) {
      const pod = read(object)
      if (pod !== undefined) set(pod)
    },
    remove(object) {
      const uid = field(field(object, 'metadata'), 'uid')
      if (typeof uid === 'string') drop(uid)
    },
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}
