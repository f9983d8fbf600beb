import { afterEach, beforeEach, expect, it } from 'vitest'
import { type Agent, startAgent } from '../e2e/agent.ts'
import { findExpectedAbsence } from './expected-absences.ts'
import { createTopology, requireRoot, slowness, type Topology } from './topology.ts'

requireRoot('metrics of the node, read by an agent that runs inside the namespace', () => {
  let topology: Topology
  let agent: Agent
  beforeEach(async () => {
    topology = await createTopology('nve-node')
    agent = await startAgent(topology.a.name)
  })
  afterEach(async () => {
    await agent?.stop()
    await topology?.dispose()
  })

  /** A fresh sweep's value; the sweep of a second ago would be shown again. */
  async function read(series: string): Promise<number> {
    await new Promise((resolve) => setTimeout(resolve, 1100))
    const line = agent
      .get('/metrics')
      .split('\n')
      .find((text) => text.startsWith(`${series} `))
    return Number(line?.slice(series.length + 1))
  }

  /** Dropped packets, where this kernel tells; else there is no such series. */
  async function expectDropped(reason: string, count: number, row = 'namespace="",pod=""', direction = 'out'): Promise<void> {
    const isTold = findExpectedAbsence('dropped_packets_total') === undefined
    const dropped = await read(`netvitals_dropped_packets_total{${row},${reason},protocol="udp",direction="${direction}"}`)
    expect(dropped).toBe(isTold ? count : Number.NaN)
  }

  it('a queueing discipline that drops', async () => {
    const { a, b } = topology
    topology.exec(a, 'tc', 'qdisc', 'add', 'dev', 'eth0', 'root', 'tbf', 'rate', '1mbit', 'burst', '3000', 'limit', '5000')
    await topology.run(a, 'udp-send', { address: b.ipv4, port: 9000, count: 1 }) // finds the neighbour first
    await topology.run(a, 'udp-send', { address: b.ipv4, port: 9000, count: 200, bytes: 100 })
    const [{ drops }] = JSON.parse(topology.exec(a, 'tc', '-s', '-j', 'qdisc', 'show', 'dev', 'eth0')) as [{ drops: number }]
    expect(drops).toBeGreaterThan(0)
    expect(await read('netvitals_qdisc_drops_total{device="eth0"}')).toBe(drops)
    // On their way into a namespace of this machine: they count there.
    await expectDropped('reason="qdisc_drop",category="queue"', drops, `namespace="@netns",pod="${b.name}"`, 'in')
    expect(await read('netvitals_udp_send_buffer_errors_total{namespace="",pod=""}')).toBe(drops)
  })

  it.each([
    ['ipv4', '10.77.0.77', 'reason="neigh_failed",category="neighbour"'],
    ['ipv6', 'fd77::77', 'reason="not_specified",category="other"'], // ndisc_error_report() gives no reason
  ] as const)(
    '%s: a neighbour that does not answer',
    async (family, silent, reason) => {
      const before = await read(`netvitals_neighbour_resolution_failures_total{family="${family}"}`)
      await topology.run(topology.a, 'udp-send', { address: silent, port: 9, count: 3 })
      await new Promise((resolve) => setTimeout(resolve, 3500)) // three probes, a second apart
      expect(await read(`netvitals_neighbour_resolution_failures_total{family="${family}"}`)).toBe(before + 1)
      await expectDropped(reason, 3)
    },
    20_000 * slowness,
  )

  it(
    'traffic of a device, and of the namespace',
    async () => {
      const { a, b } = topology
      const series = [
        'netvitals_device_transmitted_packets_total{device="eth0"}',
        'netvitals_transmitted_packets_total{namespace="",pod=""}',
      ] as const
      // Nothing is to be sent that this test does not send: a neighbour is asked for again after some seconds.
      const [{ address }] = JSON.parse(topology.exec(b, 'ip', '-j', 'link', 'show', 'eth0')) as [{ address: string }]
      topology.exec(a, 'ip', 'neighbour', 'replace', b.ipv4, 'lladdr', address, 'dev', 'eth0', 'nud', 'permanent')
      for (const namespace of [a, b]) topology.exec(namespace, 'sysctl', '-qw', 'net.ipv6.conf.eth0.disable_ipv6=1')
      topology.exec(b, 'iptables', '-A', 'INPUT', '-j', 'DROP')
      const before = await Promise.all(series.map(read))
      await topology.run(a, 'udp-send', { address: b.ipv4, port: 9000, count: 400 })
      const after = await Promise.all(series.map(read))
      expect(after.map((value, i) => value - (before[i] ?? 0))).toEqual([400, 400])
    },
    20_000 * slowness,
  )
})
