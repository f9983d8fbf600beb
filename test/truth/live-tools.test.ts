import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { MetricName } from '../../agent/metrics/catalogue.ts'
import { startWiring, type Wiring } from '../wiring.ts'
import { requireBpftrace } from './bpftrace.ts'
import { readStack } from './events.ts'
import { isBefore } from './expected-absences.ts'
import { createTopology, type Namespace, slowness, type Topology } from './topology.ts'

/** Of the kernel whose tracepoint tells why a packet was dropped. */
const tellsReasons = !isBefore('5.17')
const patience = { timeout: 60_000 * slowness, interval: 200 }
const retransmits = 'netvitals_tcp_retransmitted_segments_by_kind_total'
const drops = 'netvitals_dropped_packets_total'

/** Set it to try the real one where it compiles: TCPRETRANS=tcpretrans-bpfcc, with `-t 'they run|sent again'`. */
const tcpretrans = process.env.TCPRETRANS?.split(' ')
/** Like bcc's tcpretrans and tcpdrop, whose columns they print: those need a compiler of their own and kprobes. */
const likeTcpretrans = `
BEGIN { printf("TIME     PID     IP LADDR:LPORT          T> RADDR:RPORT          STATE\\n"); }
tracepoint:tcp:tcp_retransmit_skb {
  if (args->family == 2) {
    printf("%s %-7d 4  %s:%d R> %s:%d %d\\n", strftime("%H:%M:%S", nsecs), pid,
      ntop(args->saddr), args->sport, ntop(args->daddr), args->dport, args->state);
  } else {
    printf("%s %-7d 6  %s:%d R> %s:%d %d\\n", strftime("%H:%M:%S", nsecs), pid,
      ntop(args->saddr_v6), args->sport, ntop(args->daddr_v6), args->dport, args->state);
  }
}`
const likeTcpdrop = (reasons: Readonly<Record<string, number>>): string => `
BEGIN { printf("TIME     PID     IP SADDR:SPORT          > DADDR:DPORT          STATE (FLAGS)        REASON (CODE)\\n"); }
tracepoint:skb:kfree_skb /args->protocol == 2048 || args->protocol == 34525/ {
  $skb = (struct sk_buff *)args->skbaddr;
  $ip = (struct iphdr *)($skb->head + $skb->network_header);
  $ip6 = (struct ipv6hdr *)($skb->head + $skb->network_header);
  $ports = (uint16 *)($skb->head + $skb->transport_header);
  $protocol = args->protocol == 2048 ? $ip->protocol : $ip6->nexthdr;
  if ($protocol == 6) {
    $from = ($ports[0] >> 8) | (($ports[0] & 255) << 8);
    $to = ($ports[1] >> 8) | (($ports[1] & 255) << 8);
    if (args->protocol == 2048) {
      printf("%s %-7d 4  %s:%d > %s:%d CLOSE () ", strftime("%H:%M:%S", nsecs), pid, ntop($ip->saddr), $from, ntop($ip->daddr), $to);
    } else {
      printf("%s %-7d 6  %s:%d > %s:%d CLOSE () ", strftime("%H:%M:%S", nsecs), pid,
        ntop($ip6->saddr.in6_u.u6_addr8), $from, ntop($ip6->daddr.in6_u.u6_addr8), $to);
    }
    ${Object.entries(reasons)
      .map(([name, number]) => `if (args->reason == ${number}) { printf("${name.toUpperCase()} (%d)\\n", args->reason); } else`)
      .join(' ')} { printf("REASON_%d (%d)\\n", args->reason, args->reason); }
    printf("\\tb'%s'\\n\\n", ksym(args->location));
  }
}`

/** The kernel's numbers of reasons, from its own list. */
function readReasons(...names: readonly string[]): Record<string, number> {
  const folder = ['/sys/kernel/tracing', '/sys/kernel/debug/tracing'].find((one) => readdirSync(one).includes('events'))
  const format = readFileSync(`${folder}/events/skb/kfree_skb/format`, 'utf8')
  return Object.fromEntries(
    names.map((name) => [name, Number(new RegExp(`\\{ (\\d+), "${name.toUpperCase()}" \\}`).exec(format)?.[1])]),
  )
}

/** Processes whose command line has this word. */
function findProcesses(word: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(word)
      } catch {
        return false // it has ended, or is no process
      }
    })
}

requireBpftrace('tools of the user, live', () => {
  let topology: Topology
  let wiring: Wiring
  let folder: string
  let scripts: Record<'retransmits' | 'drops', string>
  /** Addresses of its own: where several have one, its rows are nobody's. */
  let a: Namespace
  let b: Namespace
  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), 'netvitals-live-tools-'))
    scripts = { retransmits: path.join(folder, 'tcpretrans.bt'), drops: path.join(folder, 'tcpdrop.bt') }
    writeFileSync(scripts.retransmits, likeTcpretrans)
    if (tellsReasons) writeFileSync(scripts.drops, likeTcpdrop(readReasons('no_socket', 'netfilter_drop')))
    topology = await createTopology('nvt-tools')
    ;[a, b] = [topology.a, topology.b].map((namespace, i) => {
      const own = { ...namespace, ipv4: `198.18.78.${i + 1}`, ipv6: `2001:db8:78::${i + 1}` }
      topology.exec(own, 'ip', 'address', 'add', `${own.ipv4}/24`, 'dev', 'eth0')
      topology.exec(own, 'ip', 'address', 'add', `${own.ipv6}/64`, 'dev', 'eth0', 'nodad')
      topology.exec(own, 'sysctl', '-qew', 'net.ipv4.tcp_syn_linear_timeouts=0', 'net.ipv4.tcp_early_retrans=0')
      return own
    }) as [Namespace, Namespace]
    wiring = await startWiring({
      tools: {
        retransmits: { command: tcpretrans ?? ['bpftrace', scripts.retransmits] },
        ...(tellsReasons && { drops: { command: ['bpftrace', scripts.drops] } }),
      },
    })
    await wiring.sweep()
  })
  afterAll(async () => {
    await wiring?.stop()
    await topology?.dispose()
    rmSync(folder, { recursive: true })
    for (const script of Object.values(scripts)) expect(findProcesses(script)).toEqual([])
  })

  const rule = (to: 'A' | 'D', family: 'ipv4' | 'ipv6', port: number): string =>
    topology.exec(
      b,
      family === 'ipv4' ? 'iptables' : 'ip6tables',
      '-w',
      `-${to}`,
      'INPUT',
      '-p',
      'tcp',
      '--dport',
      `${port}`,
      '-j',
      'DROP',
    )
  const count = (metric: MetricName, { name }: Namespace, labels: Readonly<Record<string, string>> = {}): number =>
    wiring.value(metric, { namespace: '@netns', pod: name, ...labels }) ?? 0
  const segments = (namespace: Namespace): number => readStack(topology, namespace)('Tcp.RetransSegs')

  /** They do not say when they are at work: once they tell of something, they tell of all that follows. */
  async function untilTold(): Promise<void> {
    const before = { retransmits: count(retransmits, a), drops: count(drops, b) }
    const isTold = () => count(retransmits, a) > before.retransmits && (!tellsReasons || count(drops, b) > before.drops)
    rule('A', 'ipv4', 5990)
    for (const deadline = Date.now() + patience.timeout; !isTold(); ) {
      if (Date.now() > deadline)
        throw new Error(JSON.stringify(wiring.host.tools.all().map((tool) => [tool.status(), tool.stderr()])))
      const client = await topology.hold(a, 'tcp-connect', {
        address: b.ipv4,
        port: 5990,
        count: 1,
        timeoutMs: 1200,
        synRetries: 1,
      })
      await client.stop()
      await wiring.sweep()
    }
    rule('D', 'ipv4', 5990)
    await atRest()
  }
  /** Until nothing more is told, nor done. */
  async function atRest(): Promise<void> {
    let last: unknown
    await expect
      .poll(
        async () => {
          const before = JSON.stringify(last)
          await wiring.sweep()
          last = [segments(a), segments(b), count(retransmits, a), count(retransmits, b), count(drops, a), count(drops, b)]
          return JSON.stringify(last) === before
        },
        { ...patience, interval: 1000 * slowness },
      )
      .toBe(true)
  }
  /** What is told of each namespace while something happens, and what the kernel's own counter says. */
  async function during(metric: MetricName, labels: Readonly<Record<string, string>>, cause: () => Promise<unknown>) {
    const read = () => [a, b].map((one) => [count(metric, one, labels), segments(one)] as const)
    const before = read()
    await cause()
    await atRest()
    const [ofA, ofB] = read().map(([told, kernel], i) => ({ told: told - before[i]![0], kernel: kernel - before[i]![1] }))
    return { a: ofA!, b: ofB! }
  }

  const long = { timeout: 180_000 * slowness }
  it('they run, and are understood', long, async () => {
    await untilTold()
    const formats = wiring.host.tools.all().map((tool) => [tool.signal, tool.format()])
    expect(formats).toEqual([['retransmits', 'bcc tcpretrans'], ...(tellsReasons ? [['drops', 'bcc tcpdrop']] : [])])
  })

  describe.each(['ipv4', 'ipv6'] as const)('%s', long, (family) => {
    it('20 SYNs sent again', async () => {
      rule('A', family, 5001)
      const told = await during(retransmits, { kind: 'syn' }, async () => {
        const connect = { address: b[family], port: 5001, count: 20, wait: false, synRetries: 1 }
        const client = await topology.hold(a, 'tcp-connect', connect)
        await expect.poll(() => client.act('outcomes'), patience).toEqual({ ETIMEDOUT: 20 })
      })
      rule('D', family, 5001)
      expect(told).toEqual({ a: { told: 20, kernel: 20 }, b: { told: 0, kernel: 0 } })
    })

    it('data sent again on 20 connections, as often as the kernel says', async () => {
      const server = await topology.hold(b, 'tcp-listen', { address: b[family], port: 5002 })
      const client = await topology.hold(a, 'tcp-connect', { address: b[family], port: 5002, count: 20 })
      await server.act('accept', { count: 20 })
      const told = await during(retransmits, { kind: 'data' }, async () => {
        const before = segments(a)
        rule('A', family, 5002)
        await client.act('send', { bytes: 100 })
        await expect.poll(() => segments(a) - before, patience).toBeGreaterThanOrEqual(20)
        rule('D', family, 5002)
      })
      expect(told.a.told).toBeGreaterThanOrEqual(20)
      expect(told).toEqual({ a: { told: told.a.kernel, kernel: told.a.kernel }, b: { told: 0, kernel: 0 } })
      await client.stop()
      await server.stop()
    })

    it.runIf(tellsReasons)('30 SYNs to a closed port are 30 drops of the receiver, and single events of it', async () => {
      const of = { reason: 'no_socket', category: 'no_socket', protocol: 'tcp', direction: 'in' }
      const told = await during(drops, of, () => topology.hold(a, 'tcp-connect', { address: b[family], port: 5999, count: 30 }))
      expect([told.a.told, told.b.told]).toEqual([0, 30])
      const events = wiring.events.recent().filter((one) => one.type === 'drop' && one.destination.port === 5999)
      expect(events.slice(-30)).toEqual(
        Array(30).fill(
          expect.objectContaining({
            family,
            reason: 'no_socket',
            source: { namespace: '@netns', pod: a.name, address: a[family], port: expect.any(Number) },
            destination: { namespace: '@netns', pod: b.name, address: b[family], port: 5999 },
          }),
        ),
      )
    })
  })

  it('the built-in programs for it are off, the others are not', () => {
    const { tracer } = wiring.host
    expect(tracer.missing('tcp_retransmitted_segments_by_kind_total')).toBe('switched off')
    if (tellsReasons) expect(tracer.missing('dropped_packets_total')).toBe('switched off')
    expect(tracer.missing('tcp_received_resets_total')).toBeUndefined()
  })

  it('killed and started again: counters go on, and `check` says what is unknown', long, async () => {
    const before = count(retransmits, a)
    const [pid = 0, ...others] = findProcesses(scripts.retransmits)
    expect(others).toEqual([])
    process.kill(pid, 'SIGKILL')
    const tool = wiring.host.tools.of('retransmits')
    await expect.poll(() => tool?.status().starts, patience).toBe(2)
    const { sources } = await wiring.sweep()
    const report = sources.find(({ name }) => name === 'trace-retransmits')
    expect(report?.outcome).toBe('ok')
    expect(report?.caveats[0]).toMatch(
      /^told by bpftrace, not by the built-in program: format bcc tcpretrans, .*; it ended \(killed by SIGKILL\); 2 starts: what happened until it ran again is not counted, and unknown/,
    )
    expect(count(retransmits, a)).toBe(before)
    expect(wiring.value('netvitals_tool_starts_total', { tool: 'retransmits' })).toBe(2)
    await untilTold()
    const told = await during(retransmits, { kind: 'syn' }, async () => {
      rule('A', 'ipv4', 5003)
      const client = await topology.hold(a, 'tcp-connect', { address: b.ipv4, port: 5003, count: 5, wait: false, synRetries: 1 })
      await expect.poll(() => client.act('outcomes'), patience).toEqual({ ETIMEDOUT: 5 })
    })
    expect(told.a).toEqual({ told: 5, kernel: 5 })
    expect(count(retransmits, a)).toBeGreaterThan(before + 5)
    expect(findProcesses(scripts.retransmits)).toHaveLength(1)
  })

  it('nothing was lost, nor unreadable, and the tools’ own cost is known', async () => {
    const families = await wiring.self.families()
    const self = (name: MetricName): Record<string, unknown> =>
      Object.fromEntries(families.find((one) => one.name === name)?.series.map(({ labels, value }) => [labels, value]) ?? [])
    expect(self('netvitals_lost_events_total')).toMatchObject({ 'kind="map_full"': 0, 'kind="tool"': 0 })
    expect(self('netvitals_parse_errors_total')).toMatchObject({ 'source="trace-retransmits"': 0, 'source="trace-drops"': 0 })
    for (const tool of wiring.host.tools.all()) {
      expect(wiring.value('netvitals_tool_running', { tool: tool.signal })).toBe(1)
      expect(wiring.value('netvitals_child_resident_memory_bytes', { child: tool.signal })).toBeGreaterThan(1e6)
    }
  })
})
