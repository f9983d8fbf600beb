import { asArray, field, readIp, readNamespace, readSubdomain, readUid } from './kubernetes-fields.ts'
import { readPod } from './kubernetes-pods.ts'
import type { Peer } from './peers.ts'
import type { NamedRecord, Reading } from './record-store.ts'
import { workloadOfPodName } from './workload.ts'

/** An address, or `<address> <port>`, and who has it. Undefined: a node, which goes by no name. */
export interface Claim {
  readonly key: string
  readonly peer: Peer | undefined
}

/** What an object says about addresses. */
export interface ClaimRecord extends NamedRecord {
  readonly claims: readonly Claim[]
}

/** With the host's network its addresses are the node's: it has none here. */
export function readPeerPod(object: unknown): Reading<ClaimRecord> | undefined {
  const reading = readPod(object)
  if (reading === undefined) return undefined
  const { uid, namespace, name, workload, addresses } = reading.pod
  const peer = { namespace, workload: workload?.name ?? name, pod: name }
  return {
    record: { uid, namespace, name, claims: addresses.map((key) => ({ key, peer })) },
    invalidFields: reading.invalidFields,
  }
}

/** Of discovery.k8s.io/v1. What is behind an address is a pod; where it is not told, it goes by the name of the Service. */
export function readEndpointSlice(object: unknown): Reading<ClaimRecord> | undefined {
  const named = readNames(object)
  if (named === undefined) return undefined
  const service = readSubdomain(field(field(field(object, 'metadata'), 'labels'), 'kubernetes.io/service-name'))
  const byService = service === undefined ? undefined : { namespace: named.namespace, workload: service }
  const claims: Claim[] = []
  let invalidFields = 0
  if (field(object, 'addressType') === 'FQDN') return { record: { ...named, claims }, invalidFields }
  for (const endpoint of asArray(field(object, 'endpoints')) ?? []) {
    const target = readTarget(field(endpoint, 'targetRef'), named.namespace)
    const peer = typeof target === 'object' ? target : target === 'other' ? byService : undefined
    for (const address of asArray(field(endpoint, 'addresses')) ?? []) {
      const key = readIp(address)
      if (key === undefined || target === 'invalid') invalidFields++
      else if (peer !== undefined || target === 'node') claims.push({ key, peer })
    }
  }
  return { record: { ...named, claims }, invalidFields }
}

/** Of core/v1: its own addresses, each with a port. Those that anybody may give it, external ones, are not believed. */
export function readService(object: unknown): Reading<ClaimRecord> | undefined {
  const named = readNames(object)
  if (named === undefined) return undefined
  const spec = field(object, 'spec')
  const peer = { namespace: named.namespace, workload: named.name }
  const keys = new Set<string>()
  let invalidFields = 0
  for (const one of [field(spec, 'clusterIP'), ...(asArray(field(spec, 'clusterIPs')) ?? [])]) {
    if (one === undefined || one === '' || one === 'None') continue
    const address = readIp(one)
    for (const port of asArray(field(spec, 'ports')) ?? []) {
      const number = field(port, 'port')
      if (address === undefined || !isPort(number)) invalidFields++
      else keys.add(`${address} ${number}`)
    }
  }
  return { record: { ...named, claims: [...keys].map((key) => ({ key, peer })) }, invalidFields }
}

function readNames(object: unknown): NamedRecord | undefined {
  const metadata = field(object, 'metadata')
  const uid = readUid(field(metadata, 'uid'))
  const namespace = readNamespace(field(metadata, 'namespace'))
  const name = readSubdomain(field(metadata, 'name'))
  return uid === undefined || namespace === undefined || name === undefined ? undefined : { uid, namespace, name }
}

/** A slice may only speak of pods of its own namespace: anybody who may write one could give another's pods any address. */
function readTarget(reference: unknown, namespace: string): Peer | 'node' | 'other' | 'invalid' {
  const kind = field(reference, 'kind')
  if (kind === 'Node') return 'node'
  if (kind !== 'Pod') return 'other'
  const pod = readSubdomain(field(reference, 'name'))
  if (pod === undefined || (field(reference, 'namespace') ?? namespace) !== namespace) return 'invalid'
  return { namespace, workload: workloadOfPodName(pod).name, pod }
}

const isPort = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value > 0 && value < 65_536
