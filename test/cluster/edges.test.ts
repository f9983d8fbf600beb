import { execFileSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { EdgeGraph } from '../../agent/edge-graph.ts'
import { parseLabels } from '../../agent/metrics/label-text.ts'
import type { Holder } from '../truth/topology.ts'
import {
  agentNamespace,
  ask,
  changesOf,
  createPods,
  createWorkload,
  expectChanges,
  expose,
  faultsContainer,
  faultsFile,
  installAgent,
  kubectl,
  type Pod,
  readMetrics,
  remove,
  removeAgent,
  runningPod,
  sweepMs,
  type Values,
} from './cluster.ts'

const namespace = 'nvh-edges'

/** What is counted of edges that begin or end in the namespace, whichever other end they have. */
const counted = ['sent_bytes_total', 'received_bytes_total', 'connects_total', 'resets_total', 'connections']

async function readEdges(): Promise<Values> {
  const values: Record<string, number> = {}
  for (const { metric, labels: text, value } of await readMetrics()) {
    const what = /^edge_(.*)/.exec(metric)?.[1] ?? ''
    if (!counted.includes(what)) continue
    const labels = parseLabels(text)
    if (labels.client_namespace !== namespace && labels.server_namespace !== namespace) continue
    const [client, server] = [
      nameOf(labels.client_namespace, labels.client_workload),
      nameOf(labels.server_namespace, labels.server_workload),
    ]
    const key = [client, '→', server, labels.reporter, what, labels.outcome ?? ''].join(' ').trim()
    if (key in values) throw new Error(`twice: ${key}`)
    values[key] = value
  }
  return values
}

const nameOf = (of = '', workload = ''): string => (of === namespace ? workload : `${of}/${workload}`)

/** As both have seen it. */
const byBoth = (edge: string, values: Values): Values =>
  Object.fromEntries(
    Object.entries(values).flatMap(([what, value]) =>
      ['client', 'server'].map((reporter) => [`${edge} ${reporter} ${what}`, value]),
    ),
  )

async function readPodValues(metric: string, isMeant: (labels: string) => boolean): Promise<Values> {
  const lines = (await readMetrics()).filter((line) => line.metric === metric && isMeant(line.labels))
  return Object.fromEntries(lines.map(({ namespace: of, pod, labels, value }) => [`${of}/${pod} ${labels}`.trim(), value]))
}

describe('edges', () => {
  let a: Pod
  let b: Pod
  let c: Pod

  beforeAll(async () => {
    ;({ a, b, c } = await createPods(namespace, { a: 'Deployment', b: 'StatefulSet', c: 'Deployment' }))
    for (const { name } of [b, c]) kubectl('-n', namespace, 'label', 'pod', name, 'shared=yes')
    installAgent({ tier: 'full' })
  })
  afterAll(() => {
    remove('namespace', namespace)
    removeAgent()
  })

  describe('through a Service of one workload', () => {
    const port = 7080
    let address: string
    beforeAll(async () => {
      address = await expose('b', 'app=b', port, [b])
    })

    it('payload of connections that come and go', async () => {
      await expectChanges(readEdges, async () => {
        const server = await b.hold('tcp-serve', { address: b.ip, port })
        const serving = server.act('serve', { count: 50, bytes: 700 })
        const { sent, received } = await a.run<{ sent: number; received: number }>('tcp-exchange', {
          address,
          port: 80,
          count: 50,
          bytes: 1000,
        })
        await serving
        await server.stop()
        expect([sent, received]).toEqual([1275, 35_000])
        return byBoth('a → b', { 'connects_total connected': 50, sent_bytes_total: sent, received_bytes_total: received })
      })
    })

    it('payload of connections that are held, as it comes', async () => {
      const server = await b.hold('tcp-listen', { address: b.ip, port })
      let client: Holder | undefined
      await expectChanges(readEdges, async () => {
        client = await a.hold('tcp-connect', { address, port: 80, count: 3 })
        await server.act('accept', { count: 3 })
        return byBoth('a → b', { 'connects_total connected': 3, connections: 3 })
      })
      await expectChanges(readEdges, async () => {
        await client!.act('send', { bytes: 1000 })
        await server.act('send', { bytes: 300 })
        return byBoth('a → b', { sent_bytes_total: 3000, received_bytes_total: 900 })
      })
      await client!.act('read')
      await server.act('read')
      await expectChanges(readEdges, async () => {
        await client!.act('send', { bytes: 24 })
        await server.act('read')
        await client!.act('close')
        await server.act('close')
        return byBoth('a → b', { sent_bytes_total: 72, connections: -3 })
      })
      await client!.stop()
      await server.stop()
    })

    it('connects that are refused are seen by who asked', async () => {
      await expectChanges(readEdges, async () => {
        const client = await a.hold('tcp-connect', { address, port: 80, count: 7 })
        expect(client.ready).toEqual({ ECONNREFUSED: 7 })
        await client.stop()
        return { 'a → b client connects_total refused': 7 }
      })
    })

    it('resets', async () => {
      await expectChanges(readEdges, async () => {
        const server = await b.hold('tcp-listen', { address: b.ip, port })
        const client = await a.hold('tcp-connect', { address, port: 80, count: 4 })
        await server.act('accept', { count: 4 })
        await client.act('send', { bytes: 11 })
        await server.act('read')
        await client.act('reset')
        await client.stop()
        await server.act('close')
        await server.stop()
        return byBoth('a → b', { 'connects_total connected': 4, resets_total: 4, sent_bytes_total: 44 })
      })
    })
  })

  describe('through a Service of two workloads', () => {
    const port = 7081
    const count = 40
    let address: string
    let servers: readonly (readonly [edge: string, server: Holder])[]
    beforeAll(async () => {
      address = await expose('shared', 'shared=yes', port, [b, c])
    })
    beforeEach(async () => {
      servers = [
        ['a → b', await b.hold('tcp-listen', { address: b.ip, port })],
        ['a → c', await c.hold('tcp-listen', { address: c.ip, port })],
      ]
    })
    afterEach(async () => {
      for (const [, server] of servers) await server.stop()
    })

    /** Of each workload that answered, by how many connections it has. */
    async function ofServers(act: (server: Holder) => Promise<unknown>, toValues: (accepted: number) => Values): Promise<Values> {
      const values: Record<string, number> = {}
      for (const [edge, server] of servers) {
        const { accepted = 0 } = await server.act('accept', { count, timeoutMs: 300 })
        expect(accepted).toBeGreaterThan(0)
        await act(server)
        Object.assign(values, byBoth(edge, toValues(accepted)))
      }
      return values
    }

    it('connections that come and go are of who answered', async () => {
      await expectChanges(readEdges, async () => {
        const client = await a.hold('tcp-connect', { address, port: 80, count })
        await client.act('send', { bytes: 100 })
        const expected = await ofServers(
          async (server) => {
            await server.act('read')
            await server.act('send', { bytes: 30 })
          },
          (accepted) => ({
            'connects_total connected': accepted,
            sent_bytes_total: accepted * 100,
            received_bytes_total: accepted * 30,
          }),
        )
        await client.act('read')
        await client.act('close')
        await client.stop()
        for (const [, server] of servers) await server.act('close')
        return expected
      })
    })

    it('so are those that are held', async () => {
      let client: Holder | undefined
      await expectChanges(readEdges, async () => {
        client = await a.hold('tcp-connect', { address, port: 80, count })
        return ofServers(
          async () => undefined,
          (accepted) => ({ 'connects_total connected': accepted, connections: accepted }),
        )
      })
      await expectChanges(readEdges, async () => {
        await client!.act('send', { bytes: 200 })
        return ofServers(
          (server) => server.act('read'),
          (accepted) => ({ sent_bytes_total: accepted * 200 }),
        )
      })
      await expectChanges(readEdges, async () => {
        await client!.act('close')
        return ofServers(
          (server) => server.act('shutdown'),
          (accepted) => ({ connections: -accepted }),
        )
      })
      await client!.stop()
    })
  })

  it('/api/v1/edges has each edge once, between workloads', async () => {
    const { node, nodes, edges }: EdgeGraph = JSON.parse(await ask('/api/v1/edges'))
    expect(node).toBe(kubectl('get', 'nodes', '-o', 'jsonpath={.items[0].metadata.name}'))
    const own = edges.filter((edge) => [edge.client, edge.server].some((end) => end.namespace === namespace))
    expect(own.map(({ id }) => id).sort()).toEqual([`${namespace}/a → ${namespace}/b`, `${namespace}/a → ${namespace}/c`])
    expect(own[0]).toMatchObject({
      client: { namespace, workload: 'a' },
      server: { namespace, workload: 'b' },
      failedConnects: { refused: 7 },
      resets: 4,
      loss: { client: { drops: 0 }, server: { drops: 7 } }, // what it refused
    })
    const titles = nodes.filter(({ subtitle }) => subtitle === namespace).map(({ title }) => title)
    expect(titles.sort()).toEqual(['a', 'b', 'c'])
  })

  it("what the node's firewall drops between two pods is of who would have got it", async () => {
    const rule = [
      'FORWARD',
      '-s',
      a.ip,
      '-d',
      b.ip,
      '-p',
      'udp',
      '--dport',
      '7002',
      '-m',
      'comment',
      '--comment',
      namespace,
      '-j',
      'DROP',
    ]
    const iptables = (...parameters: readonly string[]): unknown => execFileSync('iptables', ['-w', ...parameters])
    iptables('-I', ...rule)
    try {
      const readDrops = (): Promise<Values> =>
        readPodValues('dropped_packets_total', (labels) => labels.includes('protocol="udp"'))
      await expectChanges(readDrops, async () => {
        await a.run('udp-send', { address: b.ip, port: 7002, count: 40 })
        const labels = 'reason="netfilter_drop",category="netfilter",protocol="udp",direction="in"'
        return { [`${namespace}/${b.name} ${labels}`]: 40 }
      })
    } finally {
      iptables('-D', ...rule)
    }
  })

  it("entries of the node's connection tracking are of the pod that asked", async () => {
    const port = 7082
    createWorkload(namespace, 'Pod', 'asking') // that nobody has talked to, so that no entry is there before
    const asking = await runningPod(namespace, 'asking')
    const countByTool = (): number =>
      execFileSync('conntrack', ['-L', '-s', asking.ip], { encoding: 'utf8', stdio: 'pipe' }).split('\n').filter(Boolean).length
    expect(countByTool()).toBe(0)
    const address = await expose('tracked', 'app=b', port, [b])
    const udpAddress = await expose('tracked-udp', 'app=b', port, [b], 'UDP')
    const server = await b.hold('tcp-listen', { address: b.ip, port })
    const udpServer = await b.hold('udp-listen', { address: b.ip, port })
    const readEntries = async (): Promise<Values> => {
      const all = await readPodValues('conntrack_host_entries', () => true)
      return Object.fromEntries(
        Object.entries(all).filter(([pod]) => [asking.name, b.name].some((name) => pod.endsWith(`/${name}`))),
      )
    }
    let client: Holder | undefined
    await sleep(sweepMs)
    const { [`${namespace}/${asking.name}`]: before = 0, ...others } = await readEntries()
    expect(before).toBe(0)
    client = await asking.hold('tcp-connect', { address, port: 80, count: 12 })
    for (let i = 0; i < 3; i++) await asking.run('udp-send', { address: udpAddress, port: 80, count: 1 }) // a port each
    await server.act('accept', { count: 12 })
    expect(countByTool()).toBe(15)
    const read = async (): Promise<number | undefined> => (await readEntries())[`${namespace}/${asking.name}`]
    await expect.poll(read, { timeout: 5000, interval: 500 }).toBe(15)
    const after = (await readEntries())[`${namespace}/${b.name}`]
    expect(after ?? 0).toBeLessThanOrEqual(others[`${namespace}/${b.name}`] ?? 0) // its old ones may run out
    for (const holder of [client, server, udpServer]) await holder.stop()
  })

  it('many pods that come and go twice', { timeout: 240_000 }, async () => {
    const [pods, connects] = [20, 6]
    const readFds = async (): Promise<number> => Number(/^process_open_fds (\d+)$/m.exec(await ask('/metrics'))?.[1])
    const fdsBefore = await readFds()
    await sleep(sweepMs)
    const edgesBefore = await readEdges()
    const storm = JSON.stringify({ address: b.ip, port: 7009, count: connects, end: 'refused' })
    const program = "child_process.execFileSync('node', process.argv.slice(1)); setInterval(() => {}, 1e9)"
    const command = ['node', '-e', program, faultsFile, 'tcp-storm', storm]
    createWorkload(namespace, 'Deployment', 'many', { containers: [{ ...faultsContainer, command }] })
    const scale = (replicas: number): unknown => kubectl('-n', namespace, 'scale', 'deployment/many', `--replicas=${replicas}`)
    for (const round of [1, 2]) {
      scale(pods)
      kubectl('-n', namespace, 'rollout', 'status', 'deployment/many', '--timeout=90s')
      const names = kubectl('-n', namespace, 'get', 'pods', '-l', 'app=many', '-o', 'jsonpath={.items[*].metadata.name}').split(
        ' ',
      )
      expect(names).toHaveLength(pods)
      const readOwn = async (): Promise<number[]> => {
        const all = await readPodValues('tcp_connects_total', (labels) => labels.includes('refused'))
        return names.map((name) => all[`${namespace}/${name} outcome="refused"`] ?? 0)
      }
      await expect.poll(readOwn, { timeout: 20_000, interval: 500 }).toEqual(names.map(() => connects))
      const readEdgeChanges = async (): Promise<Values> => changesOf(edgesBefore, await readEdges())
      const expected = { 'many → b client connects_total refused': round * pods * connects }
      await expect.poll(readEdgeChanges, { timeout: 10_000, interval: 500 }).toEqual(expected)
      scale(0)
      kubectl('-n', namespace, 'wait', '--for=delete', 'pods', '-l', 'app=many', '--timeout=60s')
    }
    const lines = (await readMetrics()).map(({ metric, namespace: of, pod, labels }) => `${metric} ${of}/${pod} ${labels}`)
    expect(lines.filter((line, i) => lines.indexOf(line) !== i)).toEqual([])
    await expect.poll(readFds, { timeout: 20_000, interval: 1000 }).toBeLessThanOrEqual(fdsBefore)
  })

  it('the agent had nothing to warn of', () => {
    const lines = kubectl('-n', agentNamespace, 'logs', 'daemonset/netvitals').split('\n')
    const warnings = lines.filter((line) => line.startsWith('{') && JSON.parse(line).level !== 'info')
    expect(warnings).toEqual([])
  })
})
