import { afterEach, beforeEach, expect, it } from 'vitest'
import type { MetricName } from '../../agent/metrics/catalogue.ts'
import { startWiring, type Wiring } from '../wiring.ts'
import { createNode, type Node, recordOf } from './pods.ts'
import { createTopology, requireTraced, slowness, type Topology } from './topology.ts'

const cart = { uid: '11111111-1111-4111-8111-111111111111', namespace: 'shop', name: 'cart-0' }
const web = { uid: '22222222-2222-4222-8222-222222222222', namespace: 'shop', name: 'web-6d4cf56db6-x7k2p' }
const connects = 'netvitals_tcp_connects_total'
const refused = { outcome: 'refused' }

requireTraced('tcp_connects_total', 'pods', () => {
  let topology: Topology
  let node: Node
  let wiring: Wiring
  beforeEach(async () => {
    node = createNode('nvp-pods')
    topology = await createTopology('cni-nvp-pods')
    wiring = await startWiring({ pods: node.names })
    await wiring.sweep()
  })
  afterEach(async () => {
    await wiring?.stop()
    await node?.dispose()
    await topology?.dispose()
  })

  const ofPod = (metric: MetricName, name: string, labels = {}) =>
    wiring.value(metric, { namespace: 'shop', pod: name, ...labels })
  const refuse = (count: number, address = topology.b.ipv4) =>
    topology.run(topology.a, 'tcp-connect', { address, port: 5001, count })

  it('a pod has the numbers of its network namespace, and no other pod', async () => {
    const { a, b } = topology
    await node.run(a, { ...cart, workload: { name: 'cart', type: 'statefulset' } })
    await node.run(b, web)
    await wiring.sweep()
    expect(ofPod('netvitals_tcp_active_opens_total', cart.name)).toBe(0)
    await refuse(7)
    await wiring.sweep()
    expect(ofPod(connects, cart.name, refused)).toBe(7)
    expect(ofPod('netvitals_tcp_active_opens_total', cart.name)).toBe(7)
    expect(ofPod('netvitals_tcp_received_resets_total', cart.name)).toBe(7)
    expect(ofPod('netvitals_tcp_sent_resets_total', web.name)).toBe(7)
    expect(ofPod(connects, web.name, refused)).toBeUndefined()
    const families = await wiring.self.families()
    expect(families.find(({ name }) => name === 'netvitals_pod_info')?.series.map(({ labels }) => labels)).toEqual([
      'namespace="shop",pod="cart-0",workload="cart",workload_type="statefulset",host_network="false"',
      `namespace="shop",pod="${web.name}",workload="",workload_type="",host_network="false"`,
    ])
  })

  it('a pod that is not known by name yet is nobody, and is counted; what it did is there when the name comes', async () => {
    const pod = await node.run(topology.a, cart)
    node.names.set(cart.uid, undefined)
    const unresolved = async () => {
      await wiring.sweep()
      const families = await wiring.self.families()
      return Number(families.find(({ name }) => name === 'netvitals_subjects_unresolved')?.series[0]?.value)
    }
    // Those of the test before go when the kernel gets round to it.
    let before = await unresolved()
    await expect.poll(async () => before === (before = await unresolved()), { interval: 300 }).toBe(true)
    await refuse(3)
    expect(wiring.value(connects, { pod: cart.name })).toBeUndefined()
    node.names.set(cart.uid, recordOf(cart))
    expect(await unresolved()).toBe(before - 1)
    expect(ofPod(connects, cart.name, refused)).toBe(3)
    await pod.stop()
  })

  it('a pod that has gone keeps its last values for a while; another of its name begins anew at once', async () => {
    const pod = await node.run(topology.a, cart)
    await wiring.sweep()
    await refuse(5)
    await wiring.sweep()
    await pod.stop()
    node.names.set(cart.uid, undefined)
    await wiring.sweep()
    expect(ofPod(connects, cart.name, refused)).toBe(5)

    const again = { ...cart, uid: '33333333-3333-4333-8333-333333333333' }
    await node.run(topology.b, again)
    await wiring.sweep()
    expect(ofPod(connects, cart.name, refused)).toBeUndefined()
    await topology.run(topology.b, 'tcp-connect', { address: topology.a.ipv4, port: 5001, count: 2 })
    await wiring.sweep()
    expect(ofPod(connects, cart.name, refused)).toBe(2)
  })

  it('a network namespace that a pod makes for itself is nobody’s, and is counted', async () => {
    const pod = await node.run(topology.a, cart)
    await wiring.sweep()
    const nested = async () => {
      await wiring.sweep()
      const families = await wiring.self.families()
      return families.find(({ name }) => name === 'netvitals_subjects_nested')?.series[0]?.value
    }
    expect(await nested()).toBe(0)
    await pod.nest()
    expect(await nested()).toBe(1)
    await refuse(4)
    await wiring.sweep()
    expect(ofPod(connects, cart.name, refused)).toBe(4)
    expect(wiring.series('netvitals_tcp_active_opens_total', { namespace: 'shop' })).toHaveLength(1)
  })

  it('a hostile pod is harmless: the longest names, 10,000 sockets, many network namespaces of its own', async () => {
    const { a, b } = topology
    const hostile = { uid: cart.uid, namespace: 'n'.repeat(63), name: 'p'.repeat(253) }
    const pod = await node.run(a, hostile)
    await node.run(b, web)
    for (let made = 0; made < 30; made++) await pod.nest()
    const sockets = 10_000 / slowness
    topology.exec(b, 'sysctl', '-qw', `net.core.somaxconn=${sockets}`)
    const server = await topology.hold(b, 'tcp-listen', { address: b.ipv4, port: 5001, backlog: sockets })
    const client = await topology.hold(a, 'tcp-connect', { address: b.ipv4, port: 5001, count: sockets })
    await wiring.sweep()
    const established = { state: 'established' }
    const ofHostile = { namespace: hostile.namespace, pod: hostile.name }
    expect(wiring.value('netvitals_tcp_sockets', { ...ofHostile, ...established })).toBe(sockets)
    expect(ofPod('netvitals_tcp_sockets', web.name, established)).toBe(sockets)
    const families = await wiring.self.families()
    expect(families.find(({ name }) => name === 'netvitals_subjects_nested')?.series[0]?.value).toBe(30)
    await client.stop()
    await server.stop()
  })
})
