import { limits } from '../limits.ts'
import {
  asArray,
  field,
  readContainerId,
  readIp,
  readKind,
  readLabelValue,
  readNamespace,
  readSubdomain,
  readTime,
  readUid,
} from './kubernetes-fields.ts'
import type { PodPhase, PodRecord } from './pod-directory.ts'
import type { Reading } from './record-store.ts'
import { isConfigHash, type Owner, workloadOf } from './workload.ts'

export interface PodReading {
  readonly pod: PodRecord
  /** Undefined: it has not been given one yet. */
  readonly nodeName: string | undefined
  /** Parts of it that are not as Kubernetes writes them: left out. */
  readonly invalidFields: number
}

/** A pod of the API or of the kubelet, whose names can be trusted to be names: undefined if one of them is not as Kubernetes demands. */
export function readPod(object: unknown): PodReading | undefined {
  const metadata = field(object, 'metadata')
  const spec = field(object, 'spec')
  const status = field(object, 'status')
  const uid = readUid(field(metadata, 'uid'))
  const namespace = readNamespace(field(metadata, 'namespace'))
  const name = readSubdomain(field(metadata, 'name'))
  if (uid === undefined || namespace === undefined || name === undefined) return undefined

  let invalidFields = 0
  /** What is there but not valid is counted. */
  function read<T>(value: unknown, reader: (value: unknown) => T | undefined): T | undefined {
    if (value === undefined || value === null) return undefined
    const result = reader(value)
    if (result === undefined) invalidFields++
    return result
  }
  function readAll(values: unknown, reader: (value: unknown) => string | undefined, max: number): string[] {
    const found = new Set<string>()
    for (const value of read(values, asArray) ?? []) {
      const one = read(value, reader)
      if (one !== undefined && found.size < max) found.add(one)
      else if (one !== undefined && !found.has(one)) invalidFields++
    }
    return [...found]
  }

  const phase = read(field(status, 'phase'), asPhase) ?? 'Unknown'
  const hostNetwork = field(spec, 'hostNetwork') === true
  const hasOwnAddress = !hostNetwork && phase !== 'Succeeded' && phase !== 'Failed'
  const annotations = field(metadata, 'annotations')
  const networkStatus = hasOwnAddress
    ? read(field(annotations, 'k8s.v1.cni.cncf.io/network-status'), readNetworkStatus)
    : undefined
  const addresses = hasOwnAddress
    ? readAll(
        [
          ...(asArray(field(status, 'podIPs')) ?? []).map((one) => field(one, 'ip')),
          field(status, 'podIP'),
          ...(networkStatus ?? []),
        ],
        readIp,
        limits.kubernetesPodAddresses,
      )
    : []
  const containerIds = readAll(
    ['containerStatuses', 'initContainerStatuses', 'ephemeralContainerStatuses']
      .flatMap((kind) => asArray(field(status, kind)) ?? [])
      .map((container) => field(container, 'containerID'))
      .filter((id) => id !== ''), // it is not running yet
    readContainerId,
    limits.kubernetesPodContainers,
  )

  const labels = field(metadata, 'labels')
  const createdAtMs = read(field(metadata, 'creationTimestamp'), readTime)
  const reference = read(field(metadata, 'ownerReferences'), asArray)?.find((one) => field(one, 'controller') === true)
  const owner = read(reference, readOwner)
  const clues = {
    podName: name,
    isStatic: isConfigHash(uid),
    owner,
    templateHash: read(field(labels, 'pod-template-hash'), readLabelValue),
    rolloutHash: read(field(labels, 'rollouts-pod-template-hash'), readLabelValue),
    createdAtMs,
  }
  const configHash = owner?.kind === 'Node' ? read(field(annotations, 'kubernetes.io/config.hash'), readUid) : undefined
  const pod: PodRecord = {
    uid,
    cgroupUid: configHash ?? uid,
    namespace,
    name,
    phase,
    hostNetwork,
    addresses,
    containerIds,
    workload: reference !== undefined && owner === undefined ? undefined : workloadOf(clues),
    createdAtMs,
    startedAtMs: read(field(status, 'startTime'), readTime),
    deletionAtMs: read(field(metadata, 'deletionTimestamp'), readTime),
  }
  const nodeName = read(field(spec, 'nodeName'), readSubdomain)
  return { pod, nodeName, invalidFields }
}

/** For a store of the pods of one node, or of all. */
export function readPodOf(nodeName: string | undefined): (object: unknown) => Reading<PodRecord> | undefined {
  return (object) => {
    const reading = readPod(object)
    return (
      reading && {
        record: nodeName === undefined || reading.nodeName === nodeName ? reading.pod : undefined,
        invalidFields: reading.invalidFields,
      }
    )
  }
}

const phases: readonly PodPhase[] = ['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown']
const asPhase = (value: unknown): PodPhase | undefined => phases.find((phase) => phase === value)

function readOwner(reference: unknown): Owner | undefined {
  const kind = readKind(field(reference, 'kind'))
  const name = readSubdomain(field(reference, 'name'))
  return kind === undefined || name === undefined ? undefined : { kind, name }
}

/** As Multus writes it: JSON in text. The addresses of all networks, as yet unread. */
function readNetworkStatus(value: unknown): unknown[] | undefined {
  try {
    const networks = asArray(JSON.parse(String(value)))
    return networks?.flatMap((network) => asArray(field(network, 'ips')) ?? [])
  } catch {
    return undefined
  }
}
