import { limits } from '../limits.ts'
import type { Bounds } from './kubernetes-api.ts'
import { type Claim, type ClaimRecord, readEndpointSlice, readPeerPod, readService } from './kubernetes-peers.ts'
import { type Resource, type Watch, type WatchOptions, watchResource } from './kubernetes-watch.ts'
import type { DirectoryStatus, LeftOut, PodDirectory } from './pod-directory.ts'

export interface Peer {
  readonly namespace: string
  readonly workload: string
  /** Undefined: a Service, or something behind it that is not known to be a pod. */
  readonly pod?: string
}

/** Names for addresses of the whole cluster. */
export interface Peers {
  /** Once. Goes on until the signal; resolves when nothing of it is open any more, and never rejects. */
  start(signal: AbortSignal): Promise<void>
  /** Of an address as parsers/address.ts writes it. Undefined: nobody known, a node, or more than one. */
  find(address: string): Peer | undefined
  /** Addresses of Services, behind which others answer. */
  serviceAddresses(): Iterable<string>
  /** Of all that is watched, together. */
  status(): DirectoryStatus
  /** After names have changed. The listener must not throw. Returns how to leave. */
  onChange(listener: () => void): () => void
}

export interface PeersOptions extends WatchOptions {
  readonly from: 'endpointslices' | 'pods'
  /** The pods of this node: EndpointSlices do not tell which pods have the host's network, but they are often on every node. */
  readonly ownPods?: Pick<PodDirectory, 'pods' | 'onChange'> | undefined
}

/** Names of pods and Services as the API server has them. */
export function watchPeers({ from, ownPods, ...options }: PeersOptions, bounds: Bounds = limits): Peers {
  const addresses = watchClaims(peerResource(from, bounds), options, bounds)
  const services = watchClaims(serviceResource(bounds), options, bounds)
  const all = [addresses, services]
  let ofHosts: ReadonlySet<string> | undefined
  ownPods?.onChange(() => {
    ofHosts = undefined
  })

  function isOfHost({ namespace, workload }: Peer): boolean {
    ofHosts ??= new Set(
      [...(ownPods?.pods().values() ?? [])]
        .filter(({ hostNetwork }) => hostNetwork === true)
        .map((pod) => `${pod.namespace}/${pod.workload?.name ?? pod.name}`),
    )
    return ofHosts.has(`${namespace}/${workload}`)
  }

  return {
    async start(signal) {
      await Promise.all(all.map((one) => one.start(signal)))
    },
    find(address) {
      const peer = addresses.find(address) ?? services.find(address)
      return peer === undefined || (peer.pod !== undefined && isOfHost(peer)) ? undefined : peer
    },
    serviceAddresses: services.addresses,
    status: () => joinStatus(all.map((one) => one.status())),
    onChange(listener) {
      const leave = all.map((one) => one.onChange(listener))
      return () => leave.forEach((one) => one())
    },
  }
}

const shared = {
  selector: '',
  bounds: { bytes: 'peerListBytes', ms: 'peerListMs' },
  fields: {},
  weightOf: ({ claims }: ClaimRecord): number => Math.max(1, claims.length),
} as const

export const peerResource = (from: PeersOptions['from'], bounds: Bounds): Resource<ClaimRecord> =>
  from === 'pods'
    ? {
        ...shared,
        path: '/api/v1/pods',
        kind: 'PodList',
        what: 'pods',
        rule: '{apiGroups: [""], resources: [pods], verbs: [list, watch]}',
        read: readPeerPod,
        weightMax: bounds.peerAddresses,
      }
    : {
        ...shared,
        path: '/apis/discovery.k8s.io/v1/endpointslices',
        kind: 'EndpointSliceList',
        what: 'endpointslices',
        rule: '{apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}',
        read: readEndpointSlice,
        weightMax: bounds.peerAddresses,
      }

export const serviceResource = (bounds: Bounds): Resource<ClaimRecord> => ({
  ...shared,
  path: '/api/v1/services',
  kind: 'ServiceList',
  what: 'services',
  rule: '{apiGroups: [""], resources: [services], verbs: [list, watch]}',
  read: readService,
  weightMax: bounds.peerServices,
})

interface ClaimWatch extends Pick<Watch<ClaimRecord>, 'start' | 'status'> {
  find(address: string): Peer | undefined
  addresses(): Iterable<string>
  onChange(listener: () => void): () => void
}

function watchClaims(resource: Resource<ClaimRecord>, options: WatchOptions, bounds: Bounds): ClaimWatch {
  const { start, status, onChange } = watchResource(resource, options, bounds)
  const claimsOf = new Map<string, Claim[]>()
  const taken = new Map<string, readonly Claim[]>()

  onChange((uid, record) => {
    for (const claim of taken.get(uid) ?? []) {
      const left = claimsOf.get(claim.address)?.filter((one) => one !== claim) ?? []
      if (left.length === 0) claimsOf.delete(claim.address)
      else claimsOf.set(claim.address, left)
    }
    if (record === undefined) taken.delete(uid)
    else taken.set(uid, record.claims)
    for (const claim of record?.claims ?? []) {
      const others = claimsOf.get(claim.address)
      if (others === undefined) claimsOf.set(claim.address, [claim])
      else others.push(claim)
    }
  })

  return {
    start,
    status,
    find: (address) => agree(claimsOf.get(address) ?? []),
    addresses: () => claimsOf.keys(),
    onChange: (listener) => onChange(() => listener()),
  }
}

/** Several slices may name the same pod. Who claims an address together with others may be lying, or be gone: then nobody has it. */
function agree(claims: readonly Claim[]): Peer | undefined {
  if (claims.some(({ peer }) => peer === undefined)) return undefined
  const [first, ...others] = claims.some(({ peer }) => peer?.pod !== undefined)
    ? claims.filter(({ peer }) => peer?.pod !== undefined)
    : claims
  const isSame = ({ peer }: Claim): boolean =>
    peer?.namespace === first?.peer?.namespace && peer?.workload === first?.peer?.workload && peer?.pod === first?.peer?.pod
  return others.every(isSame) ? first?.peer : undefined
}

const states: readonly DirectoryStatus['state'][] = ['retrying', 'starting', 'stopped', 'watching']

/** The worst of each. */
function joinStatus(all: readonly DirectoryStatus[]): DirectoryStatus {
  const leftOut: LeftOut = { invalidObjects: 0, invalidFields: 0, otherNodes: 0, duplicates: 0, tooMany: 0 }
  for (const one of all) for (const key of Object.keys(leftOut) as (keyof LeftOut)[]) leftOut[key] += one.leftOut[key]
  const times = all.map(({ lastSuccessAtMs }) => lastSuccessAtMs)
  return {
    state: states.find((state) => all.some((one) => one.state === state)) ?? 'stopped',
    listedOnce: all.every(({ listedOnce }) => listedOnce),
    lastSuccessAtMs: times.some((time) => time === undefined) ? undefined : Math.min(...times.map(Number)),
    lastError: all.find(({ lastError }) => lastError !== undefined)?.lastError,
    restarts: all.reduce((sum, { restarts }) => sum + restarts, 0),
    leftOut,
  }
}
