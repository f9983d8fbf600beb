import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  createPods,
  createWorkload,
  expectChanges,
  installAgent,
  kubectl,
  type Line,
  type Pod,
  podField,
  readMetrics,
  remove,
  removeAgent,
  runningPod,
  sweepMs,
  type Values,
} from './cluster.ts'

const namespace = 'nvh-pods'

/** What the tests look at in all pods of their namespace; whatever is not expected to change must not. */
const watched = [
  'dropped_packets_total',
  'tcp_active_opens_total',
  'tcp_attempt_fails_total',
  'tcp_connects_total',
  'tcp_established_resets_total',
  'tcp_listen_overflows_total',
  'tcp_passive_opens_total',
  'tcp_received_resets_total',
  'tcp_retransmitted_segments_by_kind_total',
  'tcp_sent_resets_by_reason_total',
  'tcp_sent_resets_total',
  'tcp_sockets',
  'udp_no_port_total',
  'udp_received_datagrams_total',
  'udp_sent_datagrams_total',
]

/** What comes at any time: neighbour discovery, much of which is dropped, and what the bridge gives to all, having forgotten whose it is. */
const isPassing = ({ labels }: Line): boolean => /protocol="(icmp|other)"|reason="otherhost"/.test(labels)

const ofPod = ({ namespace: of }: Line): boolean => of === namespace

describe('pods', () => {
  let a: Pod
  let b: Pod
  let c: Pod

  beforeAll(async () => {
    installAgent({ tier: 'full' })
    ;({ a, b, c } = await createPods(namespace, { a: 'Deployment', b: 'StatefulSet', c: 'Pod' }))
    kubectl('-n', namespace, 'expose', 'pod', b.name, '--name=b', '--port=80', '--target-port=7080')
  })
  afterAll(() => {
    remove('namespace', namespace)
    removeAgent()
  })

  async function readWatched(): Promise<Values> {
    const lines = (await readMetrics()).filter((line) => ofPod(line) && watched.includes(line.metric) && !isPassing(line))
    const nameOf = (pod?: string): string | undefined => ({ [a.name]: 'a', [b.name]: 'b', [c.name]: 'c' })[pod ?? ''] ?? pod
    return Object.fromEntries(lines.map(({ metric, pod, labels, value }) => [`${nameOf(pod)} ${metric} ${labels}`.trim(), value]))
  }

  /** Does something and expects that these values rise, or fall, by just that, and no others of any pod of the namespace. */
  const expectCaused = (act: () => Promise<unknown>, expected: Values): Promise<void> =>
    expectChanges(readWatched, async () => {
      await act()
      return expected
    })

  it('names what every pod belongs to', async () => {
    createWorkload(namespace, 'DaemonSet', 'daemon')
    createWorkload(namespace, 'Job', 'job')
    createWorkload(namespace, 'Pod', 'of-host', { hostNetwork: true })
    const names = new Map<string, string>()
    for (const app of ['a', 'b', 'c', 'daemon', 'job', 'of-host']) names.set((await runningPod(namespace, app)).name, app)
    const readInfo = async (): Promise<readonly string[]> => {
      const lines = (await readMetrics()).filter((line) => ofPod(line) && line.metric === 'pod_info')
      return lines.map(({ pod = '', labels }) => `${names.get(pod) ?? pod} ${labels}`).sort()
    }
    await expect
      .poll(readInfo, { timeout: 5000 })
      .toEqual([
        'a workload="a",workload_type="deployment",host_network="false"',
        'b workload="b",workload_type="statefulset",host_network="false"',
        'c workload="c",workload_type="barepod",host_network="false"',
        'daemon workload="daemon",workload_type="daemonset",host_network="false"',
        'job workload="job",workload_type="job",host_network="false"',
        'of-host workload="of-host",workload_type="barepod",host_network="true"',
      ])
  })

  it("a pod with the host's network has no rows of its own", async () => {
    const lines = await readMetrics()
    expect(lines.filter(({ pod, metric }) => pod === 'of-host' && metric !== 'pod_info')).toEqual([])
    expect(lines.filter(({ metric, pod }) => metric === 'sockets_used' && pod === '')).toHaveLength(1)
  })

  it('refused connects: who asked, and who refused', async () => {
    await expectCaused(
      async () => {
        const client = await a.hold('tcp-connect', { address: b.ip, port: 7001, count: 7 })
        expect(client.ready).toEqual({ ECONNREFUSED: 7 })
        await client.stop()
      },
      {
        'a tcp_active_opens_total': 7,
        'a tcp_attempt_fails_total': 7,
        'a tcp_connects_total outcome="refused"': 7,
        'a tcp_received_resets_total state="syn_sent"': 7,
        'b dropped_packets_total reason="no_socket",category="no_socket",protocol="tcp",direction="in"': 7,
        'b tcp_sent_resets_by_reason_total reason="no_socket"': 7,
        'b tcp_sent_resets_total': 7,
      },
    )
  })

  it('refused connects within a pod are its own on both sides', async () => {
    await expectCaused(
      async () => {
        const client = await c.hold('tcp-connect', { address: '127.0.0.1', port: 7001, count: 4 })
        await client.stop()
      },
      {
        'c dropped_packets_total reason="no_socket",category="no_socket",protocol="tcp",direction="in"': 4,
        'c tcp_active_opens_total': 4,
        'c tcp_attempt_fails_total': 4,
        'c tcp_connects_total outcome="refused"': 4,
        'c tcp_received_resets_total state="syn_sent"': 4,
        'c tcp_sent_resets_by_reason_total reason="no_socket"': 4,
        'c tcp_sent_resets_total': 4,
      },
    )
  })

  it('connects through the address of a Service that its pod refuses', async () => {
    const address = kubectl('-n', namespace, 'get', 'service', 'b', '-o', 'jsonpath={.spec.clusterIP}')
    await expectCaused(
      async () => {
        const client = await a.hold('tcp-connect', { address, port: 80, count: 3 })
        expect(client.ready).toEqual({ ECONNREFUSED: 3 })
        await client.stop()
      },
      {
        'a tcp_active_opens_total': 3,
        'a tcp_attempt_fails_total': 3,
        'a tcp_connects_total outcome="refused"': 3,
        'a tcp_received_resets_total state="syn_sent"': 3,
        'b dropped_packets_total reason="no_socket",category="no_socket",protocol="tcp",direction="in"': 3,
        'b tcp_sent_resets_by_reason_total reason="no_socket"': 3,
        'b tcp_sent_resets_total': 3,
      },
    )
  })

  it('datagrams to a port that nobody listens on', async () => {
    await expectCaused(() => a.run('udp-send', { address: b.ip, port: 7002, count: 40 }), {
      'a udp_sent_datagrams_total': 40,
      'b dropped_packets_total reason="no_socket",category="no_socket",protocol="udp",direction="in"': 40,
      'b udp_no_port_total': 40,
    })
  })

  it('sockets that a pod does not close', async () => {
    const server = await b.hold('tcp-listen', { address: b.ip, port: 7003 })
    const client = await a.hold('tcp-connect', { address: b.ip, port: 7003, count: 5 })
    await server.act('accept', { count: 5 })
    await expectCaused(() => client.act('shutdown'), {
      'a tcp_sockets state="established"': -5,
      'a tcp_sockets state="fin_wait2"': 5,
      'b tcp_sockets state="established"': -5,
      'b tcp_sockets state="close_wait"': 5,
    })
    await expectCaused(() => server.act('close'), {
      'a tcp_sockets state="fin_wait2"': -5,
      'a tcp_sockets state="time_wait"': 5,
      'b tcp_sockets state="close_wait"': -5,
    })
    await client.stop()
    await server.stop()
  })

  it('a full listen queue', async () => {
    const server = await b.hold('tcp-listen', { address: b.ip, port: 7004, backlog: 4 })
    const filling = await a.hold('tcp-connect', { address: b.ip, port: 7004, count: 5 }) // one more than its limit
    await sleep(sweepMs)
    const before = await readWatched()
    const waiting = await c.hold('tcp-connect', { address: b.ip, port: 7004, count: 3, wait: false })
    await expect.poll(readWatched).toMatchObject({
      'b tcp_listen_overflows_total': expect.toSatisfy((value) => value >= (before['b tcp_listen_overflows_total'] ?? 0) + 3),
      'c tcp_sockets state="syn_sent"': 3,
    })
    await waiting.stop()
    await sleep(sweepMs)
    // Each of c's SYNs, the first and those it sent again, found the queue full; a had no part in it.
    const after = await readWatched()
    const increase = (key: string): number => (after[key] ?? 0) - (before[key] ?? 0)
    const resent = increase('c tcp_retransmitted_segments_by_kind_total kind="syn"')
    expect(increase('b tcp_listen_overflows_total')).toBe(3 + resent)
    expect(increase('c tcp_active_opens_total')).toBe(3)
    expect(Object.keys(after).filter((key) => key.startsWith('a ') && increase(key) !== 0)).toEqual([])
    await filling.stop()
    await server.stop()
  })

  it('a new pod is there within two seconds of its address', async () => {
    createWorkload(namespace, 'Pod', 'new')
    await podField(namespace, 'new', '.status.podIP')
    const isThere = async (): Promise<boolean> =>
      (await readMetrics()).some((line) => ofPod(line) && line.pod === 'new' && line.metric === 'sockets_used')
    await expect.poll(isThere, { timeout: 2000, interval: 100 }).toBe(true)
  })

  it("a pod that comes again under its name begins with its own numbers, and the other's end", async () => {
    const key = 'b udp_no_port_total'
    expect((await readWatched())[key]).toBe(40)
    kubectl('-n', namespace, 'delete', 'pod', b.name, '--wait')
    b = await runningPod(namespace, 'b')
    expect(b.name).toBe('b-0')
    await expect.poll(async () => (await readWatched())[key], { timeout: 5000 }).toBe(0)
    await a.run('udp-send', { address: b.ip, port: 7002, count: 3 })
    await expect.poll(async () => (await readWatched())[key], { timeout: 5000 }).toBe(3)
    const lines = (await readMetrics()).filter((line) => ofPod(line) && line.pod === b.name)
    const keys = lines.map(({ metric, labels }) => `${metric} ${labels}`)
    expect(new Set(keys).size).toBe(keys.length)
  })

  it('a pod that is gone keeps its last values for three minutes, then it has none', { timeout: 300_000 }, async () => {
    await c.run('udp-send', { address: '127.0.0.1', port: 7002, count: 11 })
    const key = 'c udp_no_port_total'
    await expect.poll(async () => (await readWatched())[key], { timeout: 5000 }).toBe(11)
    kubectl('-n', namespace, 'delete', 'pod', c.name, '--wait')
    const goneMs = Date.now()
    await sleep(2000)
    const last = (await readMetrics()).filter((line) => ofPod(line) && line.pod === c.name && line.metric !== 'pod_info')
    expect(last.length).toBeGreaterThan(20)
    await sleep(goneMs + 165_000 - Date.now())
    expect((await readWatched())[key]).toBe(11)
    // The API server forgets a pod before the kubelet has taken its network down.
    const readRest = async () => (await readMetrics()).filter((line) => ofPod(line) && line.pod === c.name)
    await expect.poll(readRest, { timeout: 40_000, interval: 5000 }).toEqual([])
  })
})
