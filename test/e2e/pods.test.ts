import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createNode, type Node } from '../truth/pods.ts'
import { createTopology, requireTraced, type Topology } from '../truth/topology.ts'
import { type Agent, startAgent } from './agent.ts'

const cart = { uid: '11111111-1111-4111-8111-111111111111', namespace: 'shop', name: 'cart-0' }
const web = { uid: '22222222-2222-4222-8222-222222222222', namespace: 'shop', name: 'web-6d4cf56db6-x7k2p' }

/** The router stands for the host, and a and b are two of its pods. */
requireTraced('dropped_packets_total', 'an agent on a node with pods, whose names are in a file', () => {
  let topology: Topology
  let node: Node
  let agent: Agent
  const folder = mkdtempSync(path.join(tmpdir(), 'netvitals-pods-'))
  const file = path.join(folder, 'pods.yaml')
  const writeNames = (pods: readonly object[]): void => writeFileSync(file, JSON.stringify({ pods }))

  beforeAll(async () => {
    node = createNode('nvp-e2e')
    topology = await createTopology('cni-nvp-e2e', { router: true })
    await node.run(topology.a, cart)
    await node.run(topology.b, web)
    writeNames([
      { ...cart, workload: 'cart', workload_type: 'statefulset' },
      { ...web, workload: 'web', workload_type: 'deployment' },
    ])
    agent = await startAgent(topology.router!.name, ['--identity.pods=file', `--identity.pods-file=${file}`])
  })
  afterAll(async () => {
    await agent?.stop()
    await node?.dispose()
    await topology?.dispose()
    rmSync(folder, { recursive: true })
  })

  /** Series of a fresh sweep that begin so. */
  async function read(start: string): Promise<string[]> {
    await sleep(1100)
    const lines = agent.get('/metrics').split('\n')
    return lines.filter((line) => line.startsWith(start) && !line.endsWith(' 0'))
  }

  it('a packet that the host drops counts for the pod it was for, and one the host has no way for for who sent it', async () => {
    const { a, b, router } = topology
    topology.exec(router!, 'iptables', '-w', '-A', 'FORWARD', '-p', 'udp', '-d', b.ipv4, '-j', 'DROP')
    await topology.run(a, 'udp-send', { address: b.ipv4, port: 9000, count: 30 })
    topology.exec(router!, 'ip', 'route', 'add', 'blackhole', '198.51.100.0/24')
    await topology.run(a, 'udp-send', { address: '198.51.100.1', port: 9000, count: 20 })
    const labels = ({ name }: { name: string }): string => `netvitals_dropped_packets_total{namespace="shop",pod="${name}"`
    const readUdp = async (start: string): Promise<string[]> =>
      (await read(start)).filter((line) => line.includes('protocol="udp"')) // beside what IPv6 says when a device comes up
    expect(await readUdp(labels(web))).toEqual([
      `${labels(web)},reason="netfilter_drop",category="netfilter",protocol="udp",direction="in"} 30`,
    ])
    const ofCart = await readUdp(labels(cart))
    expect(ofCart).toHaveLength(1)
    expect(ofCart[0]).toMatch(/direction="out"} 20$/)
    expect(await readUdp('netvitals_dropped_packets_total{namespace="",pod=""')).toEqual([])
  })

  it('pod_info tells the workload; a name that is written down later is there within a few seconds', async () => {
    expect(await read('netvitals_pod_info')).toEqual([
      'netvitals_pod_info{namespace="shop",pod="cart-0",workload="cart",workload_type="statefulset",host_network="false"} 1',
      `netvitals_pod_info{namespace="shop",pod="${web.name}",workload="web",workload_type="deployment",host_network="false"} 1`,
    ])
    writeNames([cart, web, { ...cart, uid: '33333333-3333-4333-8333-333333333333', name: 'cart-1' }])
    await node.runAlone({ ...cart, uid: '33333333-3333-4333-8333-333333333333', name: 'cart-1' }, 6)
    await expect
      .poll(() => read('netvitals_tcp_connects_total{namespace="shop",pod="cart-1",outcome="refused"'), { timeout: 15_000 })
      .toEqual(['netvitals_tcp_connects_total{namespace="shop",pod="cart-1",outcome="refused"} 6'])
  })
})
