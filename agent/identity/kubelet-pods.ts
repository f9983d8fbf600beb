import type { Files } from '../host/files.ts'
import { limits } from '../limits.ts'
import type { Log } from '../log.ts'
import { within } from './deadline.ts'
import { ApiError, type Bounds, createApi, type Question, readList, retryMs } from './kubernetes-api.ts'
import { readPodOf } from './kubernetes-pods.ts'
import type { PodDirectory } from './pod-directory.ts'
import { pollDirectory } from './polled-directory.ts'
import { createRecordStore } from './record-store.ts'

export interface KubeletOptions {
  /** Of the node: a name or an address. */
  readonly host: string
  /** 10250; the one without authentication, 10255, is not for this. */
  readonly port: number
  /** Of the service account; read for every request, because the kubelet renews it. */
  readonly tokenFile: string
  /** Who signs the kubelet's certificate. */
  readonly caFile: string
  /** False: whoever answers is trusted, and given the token. */
  readonly verify: boolean
  readonly read: Files['read']
  readonly log: Log
}

const question: Question = {
  server: 'the kubelet',
  what: 'pods',
  right: 'get nodes/pods',
  rule:
    '{apiGroups: [""], resources: [nodes/pods], verbs: [get]}; this is enough from Kubernetes 1.33 on, where kubelets before ask for nodes/proxy, ' +
    'which would let it run anything on the node: never give that, but let it list and watch pods at the API server instead',
  hints: {
    answer: 'is this the port of a kubelet?',
    names: 'is this the kubelet of this node?',
    authority: (caFile) =>
      `it is often signed by the kubelet itself, not by ${caFile}: give the CA of the kubelets, set serverTLSBootstrap in their configuration, or do not verify`,
    refused: 'is the kubelet up, and the address right?',
  },
}

/** Asks the kubelet of this node for its pods: no API server is needed, and static pods are among them. */
export function pollKubelet(options: KubeletOptions, bounds: Bounds = limits): PodDirectory {
  const { host, caFile, verify, log } = options
  const api = createApi(question, { ...options, caFile: verify ? caFile : undefined }, bounds)
  const store = createRecordStore({ read: readPodOf(undefined), weightMax: bounds.kubernetesPods })
  const slow = new ApiError(`the kubelet took longer than ${bounds.kubernetesListMs} ms for its pods; is the node overloaded?`)

  async function list(signal: AbortSignal): Promise<void> {
    const found = store.begin()
    const page = {
      kind: 'PodList',
      what: 'pods',
      onItem: found.add,
      limit: 'kubernetesListBytes',
      left: { bytes: bounds.kubernetesListBytes },
    } as const
    await readList(api, '/pods', page, bounds, signal)
    found.commit()
  }

  return pollDirectory({
    store,
    poll: (signal) => within(signal, bounds.kubernetesListMs, slow, (deadline) => list(deadline.signal)),
    waitMs(failures, error) {
      if (failures === 0) return bounds.kubeletIntervalMs
      const askedForMs = error instanceof ApiError ? error.retryAfterMs : 0
      return Math.max(bounds.kubeletIntervalMs, askedForMs, retryMs(failures, bounds))
    },
    describe: api.describeFault,
    close: api.close,
    log,
    fields: { kubelet: host },
  })
}
