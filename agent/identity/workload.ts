/** What a pod belongs to. The types are kubernetes-mixin's words; a kind that it has no word for keeps its own, as there. */
export interface Workload {
  readonly name: string
  /** Undefined: a guess from the pod's name, which does not tell. */
  readonly type: string | undefined
}

/** The owner that controls a pod. */
export interface Owner {
  readonly kind: string
  readonly name: string
}

export interface WorkloadClues {
  readonly podName: string
  /** It comes from a file on the node. */
  readonly isStatic: boolean
  /** Undefined: nobody controls the pod. */
  readonly owner: Owner | undefined
  /** Label pod-template-hash: a Deployment's ReplicaSet has it at the end of its name. */
  readonly templateHash: string | undefined
  /** Label rollouts-pod-template-hash: the same for a Rollout of Argo. */
  readonly rolloutHash: string | undefined
  readonly createdAtMs: number | undefined
}

const types: Readonly<Record<string, string>> = { DaemonSet: 'daemonset', StatefulSet: 'statefulset' }

/** Of a static pod, as the kubelet itself has it, the UID is a hash; the API server gives every pod a UUID. */
export const isConfigHash = (uid: string): boolean => /^[0-9a-f]{32}$/.test(uid)

export function workloadOf({ podName, isStatic, owner, templateHash, rolloutHash, createdAtMs }: WorkloadClues): Workload {
  if (owner === undefined) return { name: podName, type: isStatic ? 'staticpod' : 'barepod' }
  const { kind, name } = owner
  if (kind === 'Node') return { name: podName, type: 'staticpod' }
  if (kind === 'ReplicaSet') {
    const deployment = withoutEnd(name, templateHash)
    if (deployment !== undefined) return { name: deployment, type: 'deployment' }
    const rollout = withoutEnd(name, rolloutHash)
    return rollout === undefined ? { name, type: 'replicaset' } : { name: rollout, type: 'Rollout' }
  }
  if (kind === 'Job') {
    const cronJob = cronJobOf(name, createdAtMs)
    return cronJob === undefined ? { name, type: 'job' } : { name: cronJob, type: 'CronJob' }
  }
  return { name, type: Object.hasOwn(types, kind) ? types[kind]! : kind }
}

/** `web-7d4b9c` less `7d4b9c`. */
function withoutEnd(name: string, end: string | undefined): string | undefined {
  return end !== undefined && end !== '' && name.endsWith(`-${end}`) && name.length > end.length + 1
    ? name.slice(0, -end.length - 1)
    : undefined
}

const yearMs = 366 * 24 * 3600 * 1000

/**
 * A CronJob names its Jobs after the time they were due: in minutes since 1970, before Kubernetes 1.21 in seconds.
 * A number that is no such time near the pod's birth, as the date in `report-20261126`, is a part of the Job's own name.
 */
function cronJobOf(job: string, createdAtMs: number | undefined): string | undefined {
  const [, name, digits] = /^(.+)-([1-9][0-9]{7,9})$/.exec(job) ?? []
  if (name === undefined || createdAtMs === undefined) return undefined
  const dueMs = Number(digits) * (digits!.length === 10 ? 1000 : 60_000)
  return Math.abs(createdAtMs - dueMs) < yearMs ? name : undefined
}

/** The letters of Kubernetes' random names; of a pod-template-hash, which is a number of 32 bits with others for digits, these ten. */
const random = '[bcdfghjklmnpqrstvwxz2456789]{5}'
const templateHash = '[4-9bcdf]{7,10}'
const guesses: readonly { readonly syntax: RegExp; readonly type: string | undefined }[] = [
  // minutes since 1970, from 2020 to 2049, and the number of a pod in an indexed Job
  { syntax: new RegExp(`^(.+)-(?:2[6-9]|3[0-9]|4[01])[0-9]{6}(?:-[0-9]{1,5})?-${random}$`), type: 'CronJob' },
  { syntax: new RegExp(`^(.+)-${templateHash}-${random}$`), type: 'deployment' },
  { syntax: new RegExp(`^(.+)-${random}$`), type: undefined },
  { syntax: /^(.+)-(?:0|[1-9][0-9]{0,4})$/, type: 'statefulset' },
]

/**
 * A guess, where nothing but a pod's name is known. It is wrong of a pod that somebody named so by hand (`web-1` without a
 * StatefulSet), and of names so long that Kubernetes cuts them (more than 57 characters before the random ones). A DaemonSet,
 * a ReplicaSet and a Job name their pods in the same way: then the type is undefined, as it is where there is nothing to guess.
 */
export function workloadOfPodName(podName: string): Workload {
  for (const { syntax, type } of guesses) {
    const name = syntax.exec(podName)?.[1]
    if (name !== undefined) return { name, type }
  }
  return { name: podName, type: undefined }
}
