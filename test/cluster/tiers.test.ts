import fs from 'node:fs'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { CheckReport } from '../../agent/check.ts'
import {
  agentNamespace,
  ask,
  createPods,
  installAgent,
  kubectl,
  type Pod,
  readMetrics,
  remove,
  removeAgent,
  tiers,
} from './cluster.ts'

const namespace = 'nvh-tiers'
/** Of CoreDNS. */
const webPort = 8080

/** As linux/capability.h numbers them. */
const bitOf: Readonly<Record<string, bigint>> = {
  DAC_READ_SEARCH: 2n,
  NET_ADMIN: 12n,
  NET_RAW: 13n,
  SYS_PTRACE: 19n,
  SYS_ADMIN: 21n,
  PERFMON: 38n,
  BPF: 39n,
}

const traced = ['trace-drops', 'trace-resets', 'trace-retransmits', 'trace-connects', 'trace-icmp', 'trace-events']
const captured = ['pcap-dns', 'pcap-http', 'pcap-icmp', 'pcap-capture']
const absent: Readonly<Record<string, readonly string[]>> = {
  basic: [...traced, 'netlink-conntrack-entries', ...captured],
  sockets: [...traced, ...captured],
  events: captured,
}
/** What the reason says of each that is absent. */
const neededBy = (name: string): string => {
  if (traced.includes(name)) return 'needs CAP_BPF and CAP_PERFMON'
  return captured.includes(name) ? 'needs CAP_NET_RAW' : 'CAP_NET_ADMIN'
}

/** Which metrics of a pod a tier has that those before it have not, of a pod that was refused, dropped, connected, and asked by DNS and HTTP. */
const gains: Readonly<Record<string, readonly string[]>> = {
  sockets: ['conntrack_host_entries'],
  events: [
    'dropped_bytes_total',
    'dropped_packets_total',
    'tcp_connect_duration_seconds',
    'tcp_connects_total',
    'tcp_received_resets_total',
    'tcp_rtt_seconds',
    'tcp_sent_resets_by_reason_total',
  ],
  capture: [
    'dns_duration_seconds',
    'dns_queries_total',
    'dns_response_addresses_total',
    'dns_responses_total',
    'dns_search_failures_total',
    'http_duration_seconds',
    'http_requests_total',
  ],
  full: [
    'tcp_ephemeral_ports',
    'tcp_ephemeral_ports_in_use',
    'tcp_listen_queue_fullest_ratio',
    'tcp_listen_queue_limit',
    'tcp_rtt_max_seconds',
  ],
}

/** What a tier and those before it promise beyond the basic one. */
const promised = (index: number): string[] => tiers.slice(1, index + 1).flatMap(({ name }) => gains[name] ?? [])

/** Pods go by a process of theirs; other network namespaces of this machine have names, and may need more to be entered. */
function isOfPod({ subject }: CheckReport['sources'][number]['skipped'][number]): boolean {
  const [, pid] = /^pid (\d+)$/.exec(subject) ?? []
  const file = `/proc/${pid}/cgroup`
  return pid !== undefined && fs.existsSync(file) && fs.readFileSync(file, 'utf8').includes('/kubepods/')
}

describe('tiers', () => {
  let server: Pod
  let client: Pod
  let coredns: string
  const given = new Map<string, ReadonlySet<string>>()
  const table: string[] = []

  beforeAll(async () => {
    ;({ server, client } = await createPods(namespace, { server: 'Pod', client: 'Pod' }))
    coredns = kubectl('-n', 'kube-system', 'get', 'pods', '-l', 'k8s-app=kube-dns', '-o', 'jsonpath={.items[0].status.podIP}')
  })
  afterAll(() => {
    console.log(['tier      sources  metrics  of pods  absent', ...table].join('\n'))
    remove('namespace', namespace)
    removeAgent()
  })

  /** One connection is closed, one lives; one is refused; a datagram finds nobody; a name and a page are found. */
  async function cause(port: number): Promise<() => Promise<void>> {
    const listener = await server.hold('tcp-listen', { address: server.ip, port })
    const connect = { address: server.ip, port, count: 1 }
    const [closed, alive] = [await client.hold('tcp-connect', connect), await client.hold('tcp-connect', connect)]
    await listener.act('accept', { count: 2 })
    await closed.act('close')
    await closed.stop()
    await listener.act('shutdown')
    await (await client.hold('tcp-connect', { ...connect, port: 5999 })).stop()
    await client.run('udp-send', { address: server.ip, port: 5999, count: 1 })
    client.exec('node', '-e', 'dns.lookup("kubernetes.default", { all: true }, () => {})')
    client.exec('node', '-e', `fetch('http://${coredns}:${webPort}/health').then((response) => response.text())`)
    return async () => {
      await alive.stop()
      await listener.stop()
    }
  }

  async function readGiven(): Promise<ReadonlySet<string>> {
    const lines = await readMetrics()
    const ours = lines.filter((line) => line.namespace === namespace && line.metric !== 'pod_info')
    return new Set(ours.map(({ metric }) => metric.replace(/_seconds_(bucket|sum|count)$/, '_seconds')))
  }

  describe.each(tiers.map(({ name }, index) => ({ tier: name, index })))('$tier', ({ tier, index }) => {
    let report: CheckReport
    beforeAll(async () => {
      installAgent({ tier, 'capture.httpPorts': [webPort] })
      const letGo = await cause(5001 + index)
      // The tests say what is missing.
      const isGiven = async (): Promise<void> => expect([...(await readGiven())]).toEqual(expect.arrayContaining(promised(index)))
      await vi.waitFor(isGiven, { timeout: 5000, interval: 500 }).catch(() => undefined)
      given.set(tier, await readGiven())
      report = JSON.parse(await ask('/api/v1/check'))
      await letGo()
      const lines = new Set((await readMetrics()).map(({ metric }) => metric.replace(/_seconds_(bucket|sum|count)$/, '_seconds')))
      const missing = report.sources.filter(({ outcome }) => outcome !== 'ok').map(({ name }) => name)
      table.push(
        `${tier.padEnd(8)} ${String(report.sources.length - missing.length).padStart(8)} ${String(lines.size).padStart(8)} ${String(given.get(tier)?.size).padStart(8)}  ${missing.join(' ') || '–'}`,
      )
    })

    it('the agent has these capabilities and no others, can get no more, and is uid 0 only to have them', () => {
      const exec = [
        '-n',
        agentNamespace,
        'exec',
        'daemonset/netvitals',
        '--',
        'node',
        '-p',
        'fs.readFileSync("/proc/self/status", "utf8")',
      ]
      const status = kubectl(...exec)
      const expected = tiers.slice(0, index + 1).flatMap(({ adds }) => Object.keys(adds).map((name) => 1n << bitOf[name]!))
      const mask = expected.reduce((all, one) => all | one, 0n)
      const uid = mask === 0n ? 65_534 : 0
      expect(status).toContain(`Uid:\t${uid}\t${uid}\t${uid}\t${uid}\n`)
      for (const set of ['CapEff', 'CapPrm', 'CapBnd'])
        expect(status).toContain(`${set}:\t${mask.toString(16).padStart(16, '0')}\n`)
      expect(status).toMatch(/^NoNewPrivs:\t1$/m)
      expect(status).toMatch(/^Seccomp:\t2$/m)
    })

    it('every source is there but those it promises not', () => {
      const missing = report.sources.filter(({ outcome }) => outcome !== 'ok')
      expect(missing.map(({ name }) => name)).toEqual(absent[tier] ?? [])
      for (const { name, reason } of missing) expect(reason).toContain(neededBy(name))
      expect(report.sources.flatMap(({ metrics }) => metrics.filter(({ outcome }) => outcome === 'failed'))).toEqual([])
    })

    it('no pod is skipped', () => {
      expect(report.sources.flatMap(({ skipped }) => skipped).filter(isOfPod)).toEqual([])
    })

    it.runIf(index > 0)('gains of each pod just what it promises', () => {
      const before = given.get(tiers[index - 1]!.name)!
      expect([...given.get(tier)!].filter((name) => !before.has(name)).sort()).toEqual(gains[tier])
      expect([...before].filter((name) => !given.get(tier)!.has(name))).toEqual([])
    })
  })
})
