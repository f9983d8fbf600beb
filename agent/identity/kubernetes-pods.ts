import { limits } from '../limits.ts'
import { type Owner, type Workload, workloadOf } from './workload.ts'

export type PodPhase = 'Pending' | 'Running' | 'Succeeded' | 'Failed' | 'Unknown'

/** What is kept of a pod. */
export interface PodRecord {
  readonly uid: string
  /** As it stands in the paths of cgroups: of a static pod the hash of its configuration, else its UID. */
  readonly cgroupUid: string
  readonly namespace: string
  readonly name: string
  readonly nodeName: string
  readonly phase: PodPhase
  readonly hostNetwork: boolean
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

export interface PodReading {
  readonly pod: PodRecord
  /** Parts of it that are not as Kubernetes writes them: left out. */
  readonly invalidFields: number
}

/** A pod of the API, whose names can be trusted to be names: undefined if one of them is not as Kubernetes demands. */
export function readPod(object: unknown): PodReading | undefined {
  const metadata = field(object, 'metadata')
  const spec = field(object, 'spec')
  const status = field(object, 'status')
  const uid = match(field(metadata, 'uid'), uidSyntax)
  const namespace = match(field(metadata, 'namespace'), labelSyntax)
  const name = readSubdomain(field(metadata, 'name'))
  const nodeName = readSubdomain(field(spec, 'nodeName'))
  if (uid === undefined || namespace === undefined || name === undefined || nodeName === undefined) return undefined

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
        readAddress,
        limits.kubernetesPodAddresses,
      )
    : []
  const containerIds = readAll(
    ['containerStatuses', 'initContainerStatuses', 'ephemeralContainerStatuses']
      .flatMap((kind) => asArray(field(status, kind)) ?? [])
      .map((container) => field(container, 'containerID'))
      .filter((id) => id !== ''), // it is not running yet
    (id) => match(id, containerIdSyntax, 1),
    limits.kubernetesPodContainers,
  )

  const labels = field(metadata, 'labels')
  const createdAtMs = read(field(metadata, 'creationTimestamp'), readTime)
  const reference = read(field(metadata, 'ownerReferences'), asArray)?.find((one) => field(one, 'controller') === true)
  const owner = read(reference, readOwner)
  const clues = {
    podName: name,
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
    nodeName,
    phase,
    hostNetwork,
    addresses,
    containerIds,
    workload: reference !== undefined && owner === undefined ? undefined : workloadOf(clues),
    createdAtMs,
    startedAtMs: read(field(status, 'startTime'), readTime),
    deletionAtMs: read(field(metadata, 'deletionTimestamp'), readTime),
  }
  return { pod, invalidFields }
}

/** Of what is a JSON object; undefined of anything else. */
export function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? (value as Readonly<Record<string, unknown>>)[name]
    : undefined
}

const labelSyntax = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/
const subdomainSyntax = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/
const labelValueSyntax = /^[A-Za-z0-9](?:[-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?$/
const kindSyntax = /^[A-Za-z][A-Za-z0-9]{0,62}$/
const uidSyntax = /^[A-Za-z0-9][-A-Za-z0-9]{0,63}$/
const containerIdSyntax = /^[a-z][-+.a-z0-9]{0,31}:\/\/([A-Za-z0-9][-_A-Za-z0-9]{0,127})$/
const timeSyntax = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,18}(?:Z|[-+][0-9]{2}:[0-9]{2})$/
const phases: readonly PodPhase[] = ['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown']

const match = (value: unknown, syntax: RegExp, group = 0): string | undefined =>
  typeof value === 'string' ? syntax.exec(value)?.[group] : undefined
const asArray = (value: unknown): readonly unknown[] | undefined => (Array.isArray(value) ? value : undefined)
const asPhase = (value: unknown): PodPhase | undefined => phases.find((phase) => phase === value)
const readLabelValue = (value: unknown): string | undefined => match(value, labelValueSyntax)
const readUid = (value: unknown): string | undefined => match(value, uidSyntax)
const readSubdomain = (value: unknown): string | undefined =>
  typeof value === 'string' && value.length <= 253 ? match(value, subdomainSyntax) : undefined

function readOwner(reference: unknown): Owner | undefined {
  const kind = match(field(reference, 'kind'), kindSyntax)
  const name = readSubdomain(field(reference, 'name'))
  return kind === undefined || name === undefined ? undefined : { kind, name }
}

function readTime(value: unknown): number | undefined {
  const timeMs = Date.parse(match(value, timeSyntax) ?? '')
  return Number.isNaN(timeMs) ? undefined : timeMs
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

const v4Syntax = /^(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!$)|$)){4}$/

/** In the one way that the agent writes an address. */
export function readAddress(value: unknown): string | undefined {
  if (typeof value !== 'string' || value.length > 45) return undefined
  if (v4Syntax.test(value)) return value
  if (!/^[0-9a-fA-F:.]+$/.test(value) || !URL.canParse(`http://[${value}]`)) return undefined
  const address = new URL(`http://[${value}]`).hostname.slice(1, -1)
  const [, high, low] = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(address) ?? []
  if (high === undefined || low === undefined) return address
  return [high, low].flatMap((word) => [Number.parseInt(word, 16) >> 8, Number.parseInt(word, 16) & 0xff]).join('.')
}
