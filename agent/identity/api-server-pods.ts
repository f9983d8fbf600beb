import { limits } from '../limits.ts'
import type { Bounds } from './kubernetes-api.ts'
import { readPodOf } from './kubernetes-pods.ts'
import { type WatchOptions, watchResource } from './kubernetes-watch.ts'
import type { PodDirectory } from './pod-directory.ts'

export interface PodWatchOptions extends WatchOptions {
  readonly nodeName: string
}

/** Lists and watches the pods of one node. */
export function watchPods({ nodeName, ...options }: PodWatchOptions, bounds: Bounds = limits): PodDirectory {
  const resource = {
    path: '/api/v1/pods',
    kind: 'PodList',
    what: 'pods',
    selector: `fieldSelector=${encodeURIComponent(`spec.nodeName=${nodeName}`)}&`,
    rule: '{apiGroups: [""], resources: [pods], verbs: [list, watch]}',
    fields: { node: nodeName },
    bounds: { bytes: 'kubernetesListBytes', ms: 'kubernetesListMs' } as const,
    read: readPodOf(nodeName),
    weightMax: bounds.kubernetesPods,
  }
  const { records, ...watch } = watchResource(resource, options, bounds)
  return { ...watch, pods: records }
}
