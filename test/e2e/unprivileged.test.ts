import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { CheckReport } from '../../agent/check.ts'
import { metricsOf } from '../../agent/metrics/catalogue.ts'
import { createTopology, requireRoot, type Topology } from '../truth/topology.ts'
import { asNobody, findReadable } from './nobody.ts'

const port = 10478
const count = 50

const hasSetpriv = spawnSync('setpriv', ['--version']).status === 0
if (!hasSetpriv && process.env.CI === 'true') throw new Error('no setpriv: it is in util-linux')

requireRoot('an agent without privileges', () => {
  if (!hasSetpriv) return void it.skip('no setpriv: it is in util-linux')
  let topology: Topology
  let main: string
  let remove: () => void
  beforeAll(async () => {
    ;({ main, remove } = findReadable())
    topology = await createTopology('nvf-unprivileged')
  })
  afterAll(async () => {
    await topology?.dispose()
    remove?.()
  })

  const commandOf = (capabilities: readonly string[], words: readonly string[]): string[] => [
    ...['netns', 'exec', topology.a.name, ...asNobody(...capabilities), process.execPath, main],
    ...words,
  ]

  function check(
    capabilities: readonly string[],
    ...flags: string[]
  ): { status: number | null; stderr: string; report: CheckReport } {
    const words = ['check', '-o', 'json', '--web.socket=', ...flags]
    const { status, stdout, stderr } = spawnSync('ip', commandOf(capabilities, words), { encoding: 'utf8' })
    return { status, stderr, report: JSON.parse(stdout) }
  }

  /** In the namespace, as root. */
  function ask(url: string): { status: number; text: string } {
    const script = `fetch('http://127.0.0.1:${port}${url}').then(async (answer) => console.log(JSON.stringify({ status: answer.status, text: await answer.text() })))`
    return JSON.parse(topology.exec(topology.a, process.execPath, '-e', script))
  }

  async function whileServing(capabilities: readonly string[], act: (screen: string) => Promise<void> | void): Promise<void> {
    const child = spawn('ip', commandOf(capabilities, ['serve', `--web.listen-address=127.0.0.1:${port}`]))
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
    let screen = ''
    child.stdout.on('data', (chunk) => {
      screen += chunk
    })
    child.stderr.resume()
    try {
      await vi.waitFor(() => expect(screen).toContain('shows this again'), { timeout: 10_000, interval: 50 })
      await act(screen)
      child.kill('SIGTERM')
      expect(await ended).toBe(0)
    } finally {
      child.kill('SIGKILL')
      await ended
    }
  }

  const outcomes = ({ sources }: CheckReport): Record<string, string> =>
    Object.fromEntries(sources.map(({ name, outcome }) => [name, outcome]))
  const traced = ['trace-drops', 'trace-resets', 'trace-retransmits', 'trace-connects', 'trace-icmp', 'trace-events']
  const captured = ['pcap-dns', 'pcap-icmp', 'pcap-capture']
  /** All but the tracer and the capture read what everybody may read. */
  const everyone = {
    'trace-edges': 'ok', // how many there are, of which the kernel is asked
    'netlink-sockets': 'ok',
    'proc-snmp': 'ok',
    'proc-sockstat': 'ok',
    'netlink-conntrack': 'ok',
    'netlink-devices': 'ok',
    'netlink-qdisc': 'ok',
    'netlink-neighbours': 'ok',
    'proc-softnet': 'ok',
  }
  /** Settings that exist in the machine's first network namespace only, whoever asks. */
  const ofTheFirstNamespace = ['netvitals_tcp_memory_limit_bytes', 'netvitals_tcp_orphans_limit']
  const ofEndedConnections = metricsOf('trace-edges').filter((name) => !/connections$|rtt_max_seconds$/.test(name))
  const readsEveryNamespace = [
    'trace-edges',
    'netlink-sockets',
    'proc-snmp',
    'proc-sockstat',
    'netlink-conntrack',
    'netlink-devices',
  ]

  const variants = [
    { capabilities: [], events: 'absent' },
    { capabilities: ['net_admin'], events: 'absent' },
    { capabilities: ['bpf'], events: 'absent' },
    { capabilities: ['net_raw'], events: 'absent' },
    { capabilities: ['bpf', 'perfmon'], events: 'ok' },
  ] as const
  describe.each(variants)('with $capabilities', ({ capabilities, events }) => {
    it('says of each source what is missing, and that this is no fault', () => {
      const { status, stderr, report } = check(capabilities)
      expect(stderr).toBe('')
      expect(status).toBe(0)
      expect(report.outcome).not.toBe('failed')
      const entries = capabilities.includes('net_admin' as never) ? 'ok' : 'absent'
      const packets = capabilities.includes('net_raw' as never) ? 'ok' : 'absent'
      expect(outcomes(report)).toEqual({
        ...Object.fromEntries(traced.map((name) => [name, events])),
        ...everyone,
        ...Object.fromEntries(captured.map((name) => [name, packets])),
        'pcap-http': 'absent', // unless ports are set
        'netlink-conntrack-entries': entries,
      })
      for (const { name, reason, metrics, skipped } of report.sources) {
        if (traced.includes(name) && events === 'absent') {
          expect(reason).toMatch(/^needs CAP_BPF and CAP_PERFMON/)
          for (const metric of metrics) expect(metric).toMatchObject({ outcome: 'absent', reason })
        } else if (name === 'pcap-http') {
          expect(reason).toMatch(/--capture.http-ports/)
        } else if (captured.includes(name) && packets === 'absent') {
          expect(reason).toMatch(/^cannot capture on any: .*CAP_NET_RAW$/)
        } else if (name === 'netlink-conntrack-entries' && entries === 'absent') {
          expect(reason).toMatch(/CAP_NET_ADMIN/)
        } else {
          const absent = metrics.filter(({ outcome }) => outcome !== 'ok').map((metric) => metric.name)
          const withoutTracer = events === 'absent' ? ofEndedConnections : []
          expect(absent).toEqual(name === 'proc-sockstat' ? ofTheFirstNamespace : name === 'trace-edges' ? withoutTracer : [])
        }
        const other = skipped.find(({ subject }) => subject === topology.b.name)
        expect(other?.reason).toBe(
          readsEveryNamespace.includes(name)
            ? `network namespace ${topology.b.name}: entering it needs CAP_SYS_ADMIN`
            : undefined,
        )
      }
    })

    it('ends with 1 if what it lacks is required', () => {
      const { status, stderr } = check(capabilities, '--require', 'trace-drops')
      expect(status).toBe(events === 'ok' ? 0 : 1)
      if (events === 'absent') expect(stderr).toMatch(/^netvitals: trace-drops is required: needs CAP_BPF and CAP_PERFMON/)
      expect(check(capabilities, '--require', 'netlink-sockets,netvitals_tcp_sockets').status).toBe(0)
    })
  })

  it('serves, and says on its screen what it does without', async () => {
    await whileServing([], (screen) => {
      expect(screen).toContain(`http://127.0.0.1:${port}/metrics`)
      for (const name of traced) expect(screen).toMatch(new RegExp(`${name} +absent: needs CAP_BPF and CAP_PERFMON`))
      // On most machines /run is root's alone.
      const isRunOpen = (fs.statSync('/run').mode & 0o002) !== 0
      expect(screen).toMatch(isRunOpen ? /socket +\/run\/netvitals\/agent\.sock/ : /socket +none: .*permission denied/)
      expect(screen).toMatch(/9 ok, 11 absent, 0 failed/)
      expect(ask('/healthz').status).toBe(200)
      expect(ask('/readyz').status).toBe(200)
      expect(ask('/').status).toBe(200)
      const { status, text } = ask('/metrics')
      expect(status).toBe(200)
      expect(text).toContain('netvitals_source_available{source="trace-drops"} 0\n')
      expect(text).toMatch(/^netvitals_tcp_sockets\{namespace="",pod="",state="listen"\} 1$/m) // its own
      expect(text).not.toContain('netvitals_dropped_packets_total')
      expect(text).not.toMatch(/^netvitals_source_success\{.*\} 0$/m)
    })
  })

  it('counts drops exactly with CAP_BPF and CAP_PERFMON alone', async () => {
    topology.exec(topology.a, 'iptables', '-w', '-A', 'OUTPUT', '-p', 'udp', '--dport', '9', '-j', 'DROP')
    await whileServing(['bpf', 'perfmon'], async () => {
      await topology.run(topology.a, 'udp-send', { address: topology.a.ipv4, port: 9, count })
      await topology.run(topology.a, 'udp-send', { address: topology.a.ipv4, port: 9999, count })
      const dropsOf = (labels: string): string | undefined =>
        new RegExp(`^netvitals_dropped_packets_total\\{namespace="",pod="",${labels}\\} (.*)$`, 'm').exec(
          ask('/metrics').text,
        )?.[1]
      await vi.waitFor(
        () => {
          expect(dropsOf('reason="netfilter_drop",category="netfilter",protocol="udp",direction="out"')).toBe(String(count))
          expect(dropsOf('reason="no_socket",category="no_socket",protocol="udp",direction="in"')).toBe(String(count))
        },
        { timeout: 5000, interval: 500 },
      )
    })
  })

  it('reads connection tracking from /proc without CAP_NET_ADMIN, the same as with it', async () => {
    topology.exec(topology.a, 'iptables', '-w', '-A', 'OUTPUT', '-m', 'conntrack', '--ctstate', 'INVALID', '-j', 'ACCEPT')
    await topology.run(topology.a, 'udp-send', { address: topology.b.ipv4, port: 9000, count: 3 })
    const linesWith = (capabilities: readonly string[]): string[] => {
      const { stdout } = spawnSync('ip', commandOf(capabilities, ['sweep']), { encoding: 'utf8' })
      return stdout.split('\n').filter((line) => /^netvitals_conntrack_(?!host_)/.test(line))
    }
    const byProc = linesWith([])
    expect(byProc).toContain('netvitals_conntrack_entries{namespace="",pod=""} 1')
    expect(byProc).toHaveLength(13)
    expect(linesWith(['net_admin'])).toEqual(byProc)
  })
})
