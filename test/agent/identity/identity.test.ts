import { describe, expect, it, vi } from 'vitest'
import type { NetworkNamespace } from '../../../agent/host/namespaces.ts'
import type { PodOfNamespace } from '../../../agent/host/pods.ts'
import { createIdentity, type PeerNames } from '../../../agent/identity/identity.ts'
import { createNetworks } from '../../../agent/identity/networks.ts'
import { limits } from '../../../agent/limits.ts'
import { createNode, recordOf } from '../../truth/pods.ts'
import { netnsOf } from '../sources/fake-host.ts'

const hostNetns = netnsOf()
const [web, cart] = ['11111111-1111-4111-8111-111111111111', '22222222-2222-4222-8222-222222222222'] as const
const ownerOfPod = (podUid: string | undefined, ...containerIds: string[]): PodOfNamespace => ({
  netns: { inode: 1, cookie: 1 },
  podUid,
  containerIds,
  pid: 1,
})

interface Present {
  readonly owner?: PodOfNamespace
  readonly addresses?: readonly string[]
}

function build({ hasNames = true, peers }: { hasNames?: boolean; peers?: Pick<PeerNames, 'find'> } = {}) {
  const present = new Map<NetworkNamespace, Present>()
  const { names } = createNode('unused')
  const setOwners = vi.fn((_owners: ReadonlyMap<string, NetworkNamespace>) => 0)
  const host = {
    refresh: vi.fn(),
    namespaces: {
      host: hostNetns,
      list: () => [...present.keys()],
      ownerOf: (netns: NetworkNamespace) => present.get(netns)?.owner,
      unlisted: () => 0,
    },
    pods: { unlisted: () => 0, nested: () => 0 },
    addresses: {
      refresh: async () => undefined,
      all: () => {
        const all = new Map<string, NetworkNamespace | undefined>([['192.0.2.1', hostNetns]])
        for (const [netns, { addresses = [] }] of present) for (const address of addresses) all.set(address, netns)
        return all
      },
    },
    dropOwners: { set: setOwners },
    edgeAddresses: { setOwn: () => undefined, setServices: () => undefined, addNetworks: () => undefined },
    capture: { setOwners: () => 0 },
  }
  type Options = Parameters<typeof createIdentity>[0]
  const identity = createIdentity({
    host: host as unknown as Options['host'],
    pods: hasNames ? names : undefined,
    peers: peers && { ...peers, status: names.status },
    networks: createNetworks([{ name: 'office', cidrs: ['10.9.0.0/16'] }], 'networks'),
  })
  return { identity, present, names, setOwners, host }
}
const nameOf = (identity: ReturnType<typeof build>['identity'], netns: NetworkNamespace): string | undefined => {
  const row = identity.resolve({ netns })
  return row && `${row.namespace}/${row.pod}`
}

describe('names of network namespaces', () => {
  it('the host, a pod, a container without one, a file in /run/netns', async () => {
    const { identity, present, names } = build()
    const [pod, container, named, nobody] = [netnsOf(), netnsOf(), netnsOf('blue'), netnsOf()]
    present.set(pod, { owner: ownerOfPod(web, 'c1') })
    present.set(container, { owner: ownerOfPod(undefined, '0123456789abcdef0123') })
    present.set(named, {})
    present.set(nobody, {})
    names.set(web, recordOf({ uid: web, namespace: 'shop', name: 'web', workload: { name: 'web', type: 'barepod' } }))
    await identity.refresh(0)
    expect([hostNetns, pod, container, named, nobody].map((netns) => nameOf(identity, netns))).toEqual([
      '/',
      'shop/web',
      '@container/0123456789ab',
      '@netns/blue',
      undefined,
    ])
    expect(identity.unlisted()).toBe(1)
    expect(identity.endOf({ netns: pod })).toEqual({ namespace: 'shop', workload: 'web', pod: 'web' })
    expect(identity.endOf({ netns: hostNetns })).toEqual({ namespace: '', workload: 'host', pod: '' })
    expect(identity.endOf({ netns: named })).toMatchObject({ namespace: '@netns', workload: 'blue' })
  })

  it('pods go by their UID where nobody tells names', async () => {
    const { identity, present } = build({ hasNames: false })
    const pod = netnsOf()
    present.set(pod, { owner: ownerOfPod(web) })
    await identity.refresh(0)
    expect(nameOf(identity, pod)).toBe(`@pod/${web}`)
  })

  it('a namespace that a pod with the host’s network made is nobody’s', async () => {
    const { identity, present, names } = build()
    const pod = netnsOf()
    present.set(pod, { owner: ownerOfPod(web) })
    names.set(web, { ...recordOf({ uid: web, namespace: 'kube-system', name: 'proxy' }), hostNetwork: true })
    await identity.refresh(0)
    expect(nameOf(identity, pod)).toBeUndefined()
    expect(identity.hostPods().map(({ name }) => name)).toEqual(['proxy'])
  })

  it('stays although the record of a pod is gone before its processes are', async () => {
    const { identity, present, names } = build()
    const pod = netnsOf()
    present.set(pod, { owner: ownerOfPod(web) })
    names.set(web, recordOf({ uid: web, namespace: 'shop', name: 'web' }))
    await identity.refresh(0)
    names.set(web, undefined)
    await identity.refresh(1)
    expect(nameOf(identity, pod)).toBe('shop/web')
  })
})

describe('pods that come and go', () => {
  it('a new one under an old name ends the old one’s row, also while its sandbox is still there', async () => {
    const { identity, present, names } = build()
    const [before, after] = [netnsOf(), netnsOf()]
    present.set(before, { owner: ownerOfPod(web) })
    names.set(web, recordOf({ uid: web, namespace: 'shop', name: 'web-0' }))
    await identity.refresh(0)
    const old = identity.resolve({ netns: before })!
    names.set(web, undefined)
    names.set(cart, recordOf({ uid: cart, namespace: 'shop', name: 'web-0' }))
    present.set(after, { owner: ownerOfPod(cart) })
    await identity.refresh(1)
    expect(old.replaced).toBe(true)
    expect(identity.resolve({ netns: before })).toBeUndefined()
    expect(nameOf(identity, after)).toBe('shop/web-0')
    expect(identity.resolve({ netns: after })).toMatchObject({ seenFromBirth: true, replaced: false })
  })

  it('a namespace that has another pod now, for want of cookies, is another row', async () => {
    const { identity, present, names } = build()
    const netns = netnsOf()
    for (const [uid, name] of [[web, 'web'] as const, [cart, 'cart'] as const])
      names.set(uid, recordOf({ uid, namespace: 'shop', name }))
    present.set(netns, { owner: ownerOfPod(web) })
    await identity.refresh(0)
    const old = identity.resolve({ netns })!
    present.set(netns, { owner: ownerOfPod(cart) })
    await identity.refresh(1)
    expect(old.replaced).toBe(true)
    expect(nameOf(identity, netns)).toBe('shop/cart')
  })

  it('a row is kept for a while, and one that was there at the start has not been seen from its birth', async () => {
    const { identity, present, names } = build()
    const netns = netnsOf()
    present.set(netns, { owner: ownerOfPod(web) })
    await identity.refresh(0)
    names.set(web, recordOf({ uid: web, namespace: 'shop', name: 'web' })) // the API server came late
    await identity.refresh(1)
    expect(identity.resolve({ netns })).toMatchObject({ seenFromBirth: false })
    present.delete(netns)
    await identity.refresh(2)
    expect(identity.resolve({ netns })).toMatchObject({ departedAtMs: 2 })
    await identity.refresh(3 + limits.departureMs)
    expect(identity.resolve({ netns })).toBeUndefined()
  })

  it('who is unknown is looked for, but not all the time', async () => {
    const { identity, host } = build()
    await identity.refresh(0)
    identity.lookForUnknown(limits.unknownMs - 1)
    expect(host.refresh).toHaveBeenCalledTimes(1)
    identity.lookForUnknown(limits.unknownMs)
    identity.lookForUnknown(limits.unknownMs + 1)
    expect(host.refresh).toHaveBeenCalledTimes(2)
  })
})

describe('addresses', () => {
  const records = ({ names }: ReturnType<typeof build>): void => {
    names.set(web, recordOf({ uid: web, namespace: 'shop', name: 'web', addresses: ['10.0.0.7'] }))
    names.set(cart, recordOf({ uid: cart, namespace: 'shop', name: 'cart', addresses: ['10.0.0.8'] }))
  }
  const podAt = ({ identity }: ReturnType<typeof build>, address: string): string | undefined =>
    identity.resolve({ address })?.pod

  it('are what Kubernetes says, and else what the namespace itself says: a pod cannot take another’s', async () => {
    const built = build()
    records(built)
    const [pod, thief] = [netnsOf(), netnsOf()]
    built.present.set(pod, { owner: ownerOfPod(web), addresses: ['10.0.0.7', '192.168.3.4'] })
    built.present.set(thief, { owner: ownerOfPod(cart), addresses: ['10.0.0.8', '10.0.0.7'] })
    await built.identity.refresh(0)
    expect(['10.0.0.7', '10.0.0.8', '192.168.3.4', '192.0.2.1', '8.8.8.8'].map((address) => podAt(built, address))).toEqual([
      'web',
      'cart',
      'web',
      '',
      undefined,
    ])
    // The host's own drops stay the host's.
    const owners = built.setOwners.mock.lastCall![0]
    expect([...owners.keys()].sort()).toEqual(['10.0.0.7', '10.0.0.8', '192.168.3.4'])
  })

  it('of one that has gone stay its own until another has them; its drops at once are nobody’s', async () => {
    const built = build()
    records(built)
    const [pod, next] = [netnsOf(), netnsOf()]
    built.present.set(pod, { owner: ownerOfPod(web) })
    await built.identity.refresh(0)
    built.present.delete(pod)
    await built.identity.refresh(1)
    expect(podAt(built, '10.0.0.7')).toBe('web')
    expect(built.setOwners.mock.lastCall![0].size).toBe(0)
    built.present.set(next, { owner: ownerOfPod(cart), addresses: ['10.0.0.7'] })
    await built.identity.refresh(2)
    expect(podAt(built, '10.0.0.7')).toBe('cart')
  })

  it('elsewhere have the names of peers, else of networks', async () => {
    const peer = { namespace: 'bank', workload: 'ledger', pod: 'ledger-0' }
    const { identity } = build({ peers: { find: (address) => (address === '10.9.9.9' ? peer : undefined) } })
    await identity.refresh(0)
    expect(identity.endOf({ address: '10.9.9.9' })).toEqual(peer)
    expect(identity.endOf({ address: '10.9.9.8' })).toEqual({ namespace: '', workload: 'office' })
    expect(identity.endOf({ address: '10.8.9.8' })).toBeUndefined()
    expect([...identity.providers().keys()]).toEqual(['pods', 'peers'])
  })
})
