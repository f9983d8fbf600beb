/** What a pod belongs to. The types are kubernetes-mixin's words; a kind that it has no word for keeps its own, as there. */
export interface Workload {
  readonly name: string
  readonly type: string
}

/** The owner that controls a pod. */
export interface Owner {
  readonly kind: string
  readonly name: string
}

export interface WorkloadClues {
  readonly podName: string
  /** Undefined: nobody controls the pod. */
  readonly owner: Owner | undefined
  /** Label pod-template-hash: a Deployment's ReplicaSet has it at the end of its name. */
  readonly templateHash: string | undefined
  /** Label rollouts-pod-template-hash: the same for a Rollout of Argo. */
  readonly rolloutHash: string | undefined
  readonly createdAtMs: number | undefined
}

const types: Readonly<Record<string, string>> = { DaemonSet: 'daemonset', StatefulSet: 'statefulset' }

export function workloadOf({ podName, owner, templateHash, rolloutHash, createdAtMs }: WorkloadClues): Workload {
  if (owner === undefined) return { name: podName, type: 'barepod' }
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
