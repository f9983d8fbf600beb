import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Bounds } from '../../../agent/identity/kubernetes-api.ts'
import { readPod } from '../../../agent/identity/kubernetes-pods.ts'
import { watchResource } from '../../../agent/identity/kubernetes-watch.ts'
import { type PeersOptions, peerResource, serviceResource, watchPeers } from '../../../agent/identity/peers.ts'
import { limits } from '../../../agent/limits.ts'
import { createFakeLog } from '../http/fake-parts.ts'
import {
  type ApiServer,
  certificate,
  type Handler,
  type OtherObject,
  type Pod,
  podOf,
  sendStatus,
  startApiServer,
  statusOf,
} from './api-server.ts'

const slicesPath = '/apis/discovery.k8s.io/v1/endpointslices'
const servicesPath = '/api/v1/services'
const quick: Partial<Bounds> = { kubernetesRetryMs: 1, kubernetesRetryMsMax: 4 }

let server: ApiServer
const ends: (() => Promise<void>)[] = []
beforeEach(async () => {
  server = await startApiServer({ pageSize: 2, ofAllNodes: true })
})
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
  await server.close()
})

const options = () => {
  const files = new Map([['/token', 'secret\n']]).set('/ca', certificate('authority.crt'))
  const log = createFakeLog()
  const read = (file: string): string => files.get(file) ?? ''
  return { host: '127.0.0.1', port: server.port, tokenFile: '/token', caFile: '/ca', read, log: log.log, lines: log.lines }
}

function run(one: { start(signal: AbortSignal): Promise<void> }): void {
  const controller = new AbortController()
  const done = one.start(controller.signal)
  ends.push(() => {
    controller.abort()
    return done
  })
}
const until = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 10_000, interval: 2 })

async function open(from: PeersOptions['from'], more: Partial<Bounds> = {}, ownPods?: PeersOptions['ownPods']) {
  const peers = watchPeers({ ...options(), from, ownPods }, { ...limits, ...quick, ...more })
  run(peers)
  await until(() => {
    expect(peers.status()).toMatchObject({ state: 'watching', listedOnce: true, lastError: undefined })
    expect(server.watchers.size).toBe(2)
  })
  return peers
}

const sliceOf = (number: number, endpoints: object[], more: object = {}): OtherObject => ({
  metadata: { uid: `slice-${number}`, namespace: 'shop', name: `web-${number}`, labels: { 'kubernetes.io/service-name': 'web' } },
  addressType: 'IPv4',
  endpoints,
  ...more,
})
const podRef = (name: string, namespace = 'shop') => ({ targetRef: { kind: 'Pod', name, namespace } })
const serviceOf = (number: number, spec: object): OtherObject => ({
  metadata: { uid: `service-${number}`, namespace: 'shop', name: `front-${number}` },
  spec,
})
const add = (...slices: OtherObject[]): void => {
  for (const slice of slices) server.change('ADDED', slice, slicesPath)
}

describe('peers by EndpointSlices', () => {
  it('are pods, else go by their Service', async () => {
    add(
      sliceOf(1, [{ addresses: ['10.0.0.1'], ...podRef('web-5d78c9869d-x2x4z') }, { addresses: ['10.9.0.1'] }]),
      sliceOf(2, [{ addresses: ['FD00::0001'], ...podRef('db-0') }], { addressType: 'IPv6' }),
      sliceOf(3, [{ addresses: ['example.com'] }], { addressType: 'FQDN' }),
    )
    const peers = await open('endpointslices')
    expect(peers.find('10.0.0.1')).toEqual({ namespace: 'shop', workload: 'web', pod: 'web-5d78c9869d-x2x4z' })
    expect(peers.find('fd00::1')).toEqual({ namespace: 'shop', workload: 'db', pod: 'db-0' })
    expect(peers.find('10.9.0.1')).toEqual({ namespace: 'shop', workload: 'web' })
    expect(peers.find('10.0.0.2')).toBeUndefined()
    let changes = 0
    const leave = peers.onChange(() => changes++)
    server.change('MODIFIED', sliceOf(1, [{ addresses: ['10.0.0.2'], ...podRef('web-5d78c9869d-x2x4z') }]), slicesPath)
    await until(() => expect(peers.find('10.0.0.2')).toMatchObject({ workload: 'web' }))
    expect(peers.find('10.0.0.1')).toBeUndefined()
    expect(changes).toBe(1)
    leave()
    server.change('DELETED', sliceOf(1, []), slicesPath)
    await until(() => expect(peers.find('10.0.0.2')).toBeUndefined())
    expect(changes).toBe(1)
    expect(peers.status().leftOut).toMatchObject({ invalidObjects: 0, invalidFields: 0 })
  })

  it('that several slices name are one, as long as they agree', async () => {
    const first = sliceOf(1, [{ addresses: ['10.0.0.1'], ...podRef('db-0') }])
    add(first, sliceOf(2, [{ addresses: ['10.0.0.1'], ...podRef('db-0') }]), sliceOf(3, [{ addresses: ['10.0.0.1'] }]))
    const peers = await open('endpointslices')
    expect(peers.find('10.0.0.1')).toMatchObject({ pod: 'db-0' })
    server.change('DELETED', first, slicesPath)
    add(sliceOf(4, [{ addresses: ['10.0.0.9'] }]))
    await until(() => expect(peers.find('10.0.0.9')).toBeDefined())
    expect(peers.find('10.0.0.1')).toMatchObject({ pod: 'db-0' })
    add(sliceOf(5, [{ addresses: ['10.0.0.1'], ...podRef('db-1') }]))
    await until(() => expect(peers.find('10.0.0.1')).toBeUndefined())
  })

  it('are never nodes', async () => {
    const hostPod = readPod(
      podOf(1, {
        metadata: { name: 'exporter-x2x4z', ownerReferences: [{ kind: 'DaemonSet', name: 'exporter', controller: true }] },
        spec: { hostNetwork: true },
      }),
    )!.pod
    let own: ReadonlyMap<string, typeof hostPod> = new Map()
    let tell = (): void => {}
    const ownPods: PeersOptions['ownPods'] = {
      pods: () => own,
      onChange(listener) {
        tell = () => listener(hostPod.uid, hostPod)
        return () => {}
      },
    }
    add(
      sliceOf(1, [{ addresses: ['192.168.0.1'], targetRef: { kind: 'Node', name: 'node-1' } }]),
      sliceOf(2, [{ addresses: ['192.168.0.1'], ...podRef('db-0') }]),
      sliceOf(3, [{ addresses: ['192.168.0.2'], ...podRef('exporter-k8s2v') }]),
    )
    const peers = await open('endpointslices', {}, ownPods)
    expect(peers.find('192.168.0.1')).toBeUndefined()
    expect(peers.find('192.168.0.2')).toMatchObject({ workload: 'exporter' })
    own = new Map([[hostPod.uid, hostPod]])
    tell()
    expect(peers.find('192.168.0.2')).toBeUndefined()
  })

  it('are not what others say of them, which is counted', async () => {
    add(
      sliceOf(1, [{ addresses: ['10.0.0.1', '10.0.0.256', 7, null], ...podRef('db-0', 'bank') }]),
      sliceOf(2, [{ addresses: ['10.0.0.2'], ...podRef('x"} 1\n') }]),
      sliceOf(3, 'none' as never),
      { ...sliceOf(4, []), metadata: { uid: 'slice-4', namespace: 'shop', name: '../x' } },
      sliceOf(5, [{ addresses: ['10.0.0.3'] }], {
        metadata: { uid: 'slice-5', namespace: 'shop', name: 'x', labels: { 'kubernetes.io/service-name': '\u001b[2J' } },
      }),
    )
    const peers = await open('endpointslices')
    for (const address of ['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.256', '']) expect(peers.find(address)).toBeUndefined()
    expect(peers.status().leftOut).toMatchObject({ invalidObjects: 1, invalidFields: 5 })
  })

  it('beyond the limit are left out and counted', async () => {
    const four = [1, 2, 3, 4].map((number) => ({ addresses: [`10.0.0.${number}`] }))
    add(sliceOf(1, four), sliceOf(2, four), sliceOf(3, four.slice(0, 2)))
    const peers = await open('endpointslices', { peerAddresses: 7 })
    expect(peers.find('10.0.0.1')).toBeDefined()
    expect(peers.status().leftOut.tooMany).toBe(4)
    server.change('MODIFIED', sliceOf(3, four), slicesPath)
    await until(() => expect(peers.status().leftOut.tooMany).toBe(8))
    server.change('MODIFIED', sliceOf(1, four.slice(0, 1)), slicesPath)
    await until(() => expect(peers.find('10.0.0.2')).toBeUndefined())
    server.change('MODIFIED', sliceOf(3, four), slicesPath)
    await until(() => expect(peers.find('10.0.0.2')).toBeDefined())
  })
})

describe('peers by pods', () => {
  it('are those of all nodes, but not those with the host’s network', async () => {
    const owned = { ownerReferences: [{ kind: 'StatefulSet', name: 'store', controller: true }] }
    for (const pod of [
      podOf(1, { spec: { nodeName: 'node-1' }, metadata: owned }),
      podOf(2, { spec: { nodeName: 'node-2' } }),
      podOf(3, { spec: { hostNetwork: true } }),
      podOf(4, { spec: { nodeName: undefined }, status: { podIPs: undefined } }),
    ])
      server.change('ADDED', pod)
    const peers = await open('pods')
    expect(peers.find('10.0.0.1')).toEqual({ namespace: 'shop', workload: 'store', pod: 'web-1' })
    expect(peers.find('10.0.0.2')).toEqual({ namespace: 'shop', workload: 'web-2', pod: 'web-2' })
    expect(peers.find('10.0.0.3')).toBeUndefined()
    expect(peers.status().leftOut).toMatchObject({ invalidObjects: 0, otherNodes: 0 })
    server.change('MODIFIED', podOf(2, { status: { phase: 'Succeeded' } }))
    await until(() => expect(peers.find('10.0.0.2')).toBeUndefined())
  })
})

describe('Services', () => {
  it('are found by their own addresses', async () => {
    for (const service of [
      serviceOf(1, { clusterIP: '10.96.0.1', clusterIPs: ['10.96.0.1', 'FD00::A', '10.96.0'] }),
      serviceOf(2, { clusterIP: 'None', clusterIPs: ['None'], externalIPs: ['10.0.0.1'] }),
      serviceOf(3, { type: 'ExternalName', externalName: 'x' }),
    ])
      server.change('ADDED', service, servicesPath)
    const peers = await open('endpointslices')
    const front = { namespace: 'shop', workload: 'front-1' }
    expect(['10.96.0.1', 'fd00::a', '10.0.0.1'].map(peers.find)).toEqual([front, front, undefined])
    expect([...peers.serviceAddresses()]).toEqual(['10.96.0.1', 'fd00::a'])
    expect(peers.status().leftOut.invalidFields).toBe(1)
  })
})

const bounds: Bounds = { ...limits, ...quick, kubernetesRetryMs: 0 }
describe.each([
  {
    resource: peerResource('endpointslices', bounds),
    object: sliceOf(1, [{ addresses: ['10.0.0.1'] }]) as OtherObject | Pod,
    rule: '{apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}',
  },
  {
    resource: peerResource('pods', bounds),
    object: podOf(1),
    rule: '{apiGroups: [""], resources: [pods], verbs: [list, watch]}',
  },
  {
    resource: serviceResource(bounds),
    object: serviceOf(1, { clusterIP: '10.96.0.1' }),
    rule: '{apiGroups: [""], resources: [services], verbs: [list, watch]}',
  },
])('an API server at fault with $resource.what', ({ resource, object, rule }) => {
  async function watchThrough(more: Partial<Bounds>, ...faults: Handler[]) {
    server.change('ADDED', object, resource.path)
    server.faults.push(...faults)
    const { lines, ...given } = options()
    const watch = watchResource(resource, given, { ...bounds, ...more })
    const changes: string[] = []
    watch.onChange((uid, record) => changes.push(`${record === undefined ? '-' : '+'}${uid}`))
    run(watch)
    await until(() => {
      expect(watch.status()).toMatchObject({ state: 'watching', lastError: undefined, restarts: faults.length })
      expect(server.watchers.size).toBe(1)
    })
    expect(changes).toEqual([`+${object.metadata.uid}`])
    return { watch, lines }
  }
  const what = resource.what
  const reason = async (fault: Handler, more: Partial<Bounds> = {}): Promise<unknown> =>
    (await watchThrough(more, fault)).lines[0]?.reason

  it('prints the rule to add', async () => {
    expect(await reason((_, response) => sendStatus(response, 403, 'forbidden'))).toBe(
      `403: the service account may not list and watch ${what} (forbidden); add to a ClusterRole that is bound to it: ${rule}`,
    )
  })
  it('says of garbage, of silence, of another list and of too large a list what it is', async () => {
    const list = { kind: 'NodeList', metadata: { resourceVersion: '1' }, items: [object] }
    expect(await reason((_, response) => void response.end('garbage'))).toContain('this is no JSON')
    await ends.pop()!()
    expect(await reason((_, response) => void response.end(JSON.stringify(list)))).toContain(`this is no list of ${what}`)
    await ends.pop()!()
    expect(await reason((_, response) => void response.write('{'), { peerListMs: 200 })).toBe(
      `the API server took longer than 200 ms for the list of ${what}; is it overloaded?`,
    )
    await ends.pop()!()
    expect(await reason((_, response) => void response.end(' '.repeat(20_000)), { peerListBytes: 10_000 })).toBe(
      `the list of ${what} is larger than limits.peerListBytes, 10000 bytes; what is known stays`,
    )
  })
  it('lists anew what is too old', async () => {
    const { watch } = await watchThrough({})
    server.send({ type: 'ERROR', object: statusOf(410, 'too old') })
    await until(() => expect(watch.status()).toMatchObject({ state: 'watching', restarts: 1 }))
    expect(server.requests.filter(({ url }) => !url.searchParams.has('watch'))).toHaveLength(2)
  })
  it('may cut a list at every byte', async () => {
    const list = JSON.stringify({ kind: resource.kind, metadata: { resourceVersion: '102' }, items: [object] })
    const { watch } = await watchThrough(
      {},
      ...Array.from(
        { length: list.length },
        (_, bytes): Handler =>
          (_, response) =>
            void response.end(list.slice(0, bytes)),
      ),
    )
    expect(watch.records().size).toBe(1)
  })
})
