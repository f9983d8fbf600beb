import { asArray, field, readIp, readNamespace, readSubdomain, readUid } from './kubernetes-fields.ts'
import { readPod } from './kubernetes-pods.ts'
import type { Peer } from './peers.ts'
import type { NamedRecord, Reading } from './record-store.ts'
import { workloadOfPodName } from './workload.ts'

/** An address, and who has it. Undefined: a node, which goes by no name. */
export interface Claim {
  readonly address: string
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
    record: { uid, namespace, name, claims: addresses.map((address) => ({ address, peer })) },
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
    for (const text of asArray(field(endpoint, 'addresses')) ?? []) {
      const address = readIp(text)
      if (address === undefined || target === 'invalid') invalidFields++
      else if (peer !== undefined || target === 'node') claims.push({ address, peer })
    }
  }
  return { record: { ...named, claims }, invalidFields }
}

/** Of core/v1: its own addresses. Those that anybody may give it, external ones, are not believed. */
export function readService(object: unknown): Reading<ClaimRecord> | undefined {
  const named = readNames(object)
  if (named === undefined) return undefined
  const spec = field(object, 'spec')
  const peer = { namespace: named.namespace, workload: named.name }
  const addresses = new Set<string>()
  let invalidFields = 0
  for (const one of [field(spec, 'clusterIP'), ...(asArray(field(spec, 'clusterIPs')) ?? [])]) {
    if (one === undefined || one === '' || one === 'None') continue
    const address = readIp(one)
    if (address === undefined) invalidFields++
    else addresses.add(address)
  }
  return { record: { ...named, claims: [...addresses].map((address) => ({ address, peer })) }, invalidFields }
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
