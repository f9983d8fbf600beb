import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Host } from '../../../agent/host/host.ts'
import type { NetworkNamespace } from '../../../agent/host/namespaces.ts'
import type { ToolSignal } from '../../../agent/host/tools.ts'
import { limits } from '../../../agent/limits.ts'
import type { MetricName } from '../../../agent/metrics/catalogue.ts'
import type { EventReport, Out, Source } from '../../../agent/sources/source.ts'
import { createToolCounters } from '../../../agent/sources/tool-counters.ts'
import { createToolOpens } from '../../../agent/sources/tool-opens.ts'
import { createTraceConnects } from '../../../agent/sources/trace-connects.ts'
import { createTraceDrops } from '../../../agent/sources/trace-drops.ts'
import { createTraceRetransmits } from '../../../agent/sources/trace-retransmits.ts'
import { type Collected, collectFrom } from '../../source-contract.ts'
import { createFakeHost, netnsOf } from './fake-host.ts'
import { addFakeTools, type FakeTools } from './fake-tools.ts'

const [shop, bank] = [netnsOf('shop'), netnsOf('bank')]
let listed: NetworkNamespace[]
let host: Host
let fake: FakeTools
beforeEach(() => {
  listed = [shop, bank]
  ;({ host } = createFakeHost(listed))
  Object.assign(host.namespaces, { list: () => listed })
})
afterEach(() => void vi.useRealTimers())

function use<T>(signal: ToolSignal, create: (host: Host) => T): T {
  fake = addFakeTools(host, signal)
  fake.owners.set('10.0.0.1', shop).set('10.0.0.2', bank).set('2001:db8::1', shop).set('192.0.2.1', host.namespaces.host)
  return create(host)
}
/** What a source says: whose, metric without its prefix, label values, value. */
function toldOf({ emitted }: Collected): unknown[] {
  const nameOf = (of: Collected['emitted'][number]['of']): string | undefined =>
    of === 'node' ? of : of.netns === host.namespaces.host ? 'host' : of.netns?.name
  return emitted.map(({ metric, of, labels, value }) => [
    nameOf(of),
    metric.slice('netvitals_'.length),
    ...Object.values(labels),
    value,
  ])
}

const retransHeader = 'TIME     PID     IP LADDR:LPORT          T> RADDR:RPORT          STATE'
const retransRow = (local: string, state = 'ESTABLISHED', kind = 'R', ip = 4): string =>
  `01:55:05 0       ${ip}  ${local}:22    ${kind}> 198.51.100.7:34619   ${state}`

describe('retransmissions', () => {
  const metric = 'tcp_retransmitted_segments_by_kind_total'

  it('are counted by the namespace of the local address and by kind', async () => {
    const source = use('retransmits', createTraceRetransmits)
    fake.print(
      retransHeader,
      ...Array(3).fill(retransRow('10.0.0.1')),
      retransRow('10.0.0.1', 'SYN_SENT'),
      retransRow('10.0.0.2', 'NEW_SYN_RECV'),
      retransRow('10.0.0.2', 'SYN_RECV'),
      retransRow('10.0.0.2', 'ESTABLISHED', 'L'), // a probe, which may send nothing again
      retransRow('192.0.2.1', 'CLOSE_WAIT'),
      retransRow('2001:db8::1', 'ESTABLISHED', 'R', 6),
    )
    const collected = await collectFrom(source)
    expect(toldOf(collected)).toEqual([
      ['shop', metric, 'data', 4],
      ['shop', metric, 'syn', 1],
      ['bank', metric, 'synack', 2],
      ['host', metric, 'data', 1],
    ])
    expect([...collected.absent.keys()]).toEqual(['netvitals_tcp_retransmit_failures_total'])
    expect(collected.unresolved).toEqual([])
  })

  it('go on from sweep to sweep', async () => {
    const source = use('retransmits', createTraceRetransmits)
    fake.print(retransHeader, retransRow('10.0.0.1'))
    await collectFrom(source)
    expect(toldOf(await collectFrom(source))).toEqual([['shop', metric, 'data', 1]])
    fake.print(retransRow('10.0.0.1'))
    expect(toldOf(await collectFrom(source))).toEqual([['shop', metric, 'data', 2]])
  })

  it('of a table of counts are as many as it says', async () => {
    const source = use('retransmits', createTraceRetransmits)
    fake.print('LADDR:LPORT              RADDR:RPORT             RETRANSMITS', '10.0.0.1:22 <-> 198.51.100.7:5 17')
    expect(toldOf(await collectFrom(source))).toEqual([['shop', metric, 'data', 17]])
  })

  it('of IPv4 through a socket of IPv6 are of the IPv4 address', async () => {
    const source = use('retransmits', createTraceRetransmits)
    fake.print(retransHeader, '01:55:05 0 6  ::ffff:10.0.0.1:22 R> ::ffff:198.51.100.7:34619 ESTABLISHED')
    expect(toldOf(await collectFrom(source))).toEqual([['shop', metric, 'data', 1]])
  })

  it('of addresses that nobody has, or that are not told, are counted as that', async () => {
    const source = use('retransmits', createTraceRetransmits)
    fake.print(
      'TIME     PID    LADDR:LPORT          -- RADDR:RPORT          STATE',
      ...Array(4).fill('05:16:44 3375   203.0.113.1:53874  R> 10.105.152.3:6001    ESTABLISHED'),
      '05:16:45        -:-                  R> -:-                  -',
    )
    const first = await collectFrom(source)
    expect([first.emitted, first.unresolved]).toEqual([[], [{ address: '203.0.113.1' }]])
    const caveat = '5 events of addresses that no known network namespace has, or several have'
    expect(first.caveats).toContain(caveat)
    const second = await collectFrom(source)
    expect([second.unresolved, second.caveats.includes(caveat)]).toEqual([[], true])
  })

  it('belong to whoever has the address when they are told, not when metrics are asked for', async () => {
    vi.useFakeTimers()
    const source = use('retransmits', createTraceRetransmits)
    await source.start?.(new AbortController().signal, { event() {}, notShown() {} })
    fake.print(retransHeader, retransRow('10.0.0.1'))
    await vi.advanceTimersByTimeAsync(limits.toolSettleMs)
    fake.owners.set('10.0.0.1', bank)
    fake.print(retransRow('10.0.0.1'), retransRow('10.0.0.1'))
    expect(toldOf(await collectFrom(source))).toEqual([
      ['shop', metric, 'data', 1],
      ['bank', metric, 'data', 2],
    ])
  })

  it('of a namespace that is gone are told no more, and begin at 0 for the next', async () => {
    const source = use('retransmits', createTraceRetransmits)
    fake.print(retransHeader, retransRow('10.0.0.1'), retransRow('10.0.0.2'))
    await collectFrom(source)
    const successor = netnsOf('shop')
    listed = [bank, successor]
    expect(toldOf(await collectFrom(source))).toEqual([['bank', metric, 'data', 1]])
    fake.owners.set('10.0.0.1', successor)
    fake.print(retransRow('10.0.0.1'))
    expect(toldOf(await collectFrom(source))).toEqual([
      ['bank', metric, 'data', 1],
      ['shop', metric, 'data', 1],
    ])
  })

  it('are not lost when a sweep is told to stop', async () => {
    const source = use('retransmits', createTraceRetransmits)
    fake.print(retransHeader, retransRow('10.0.0.1'))
    const reason = new Error('told to stop')
    expect((await collectFrom(source, AbortSignal.abort(reason))).error).toBe(reason)
    expect(toldOf(await collectFrom(source))).toEqual([['shop', metric, 'data', 1]])
  })
})

describe('drops', () => {
  const metric = 'dropped_packets_total'
  const header = 'TIME     PID     IP SADDR:SPORT          > DADDR:DPORT          STATE (FLAGS)        REASON (CODE)'
  const row = (from: string, to: string, reason = 'NETFILTER_DROP', flags = 'SYN'): string[] => [
    `14:46:49 0       4  ${from}:40000          > ${to}:80       SYN_SENT (${flags})   ${reason} (12)`,
    "\tb'nf_hook_slow+0xa9'",
    '',
  ]

  it('of bcc are the receiver’s, or else the sender’s', async () => {
    const source = use('drops', createTraceDrops)
    fake.print(
      header,
      ...row('198.51.100.7', '10.0.0.1'),
      ...row('10.0.0.1', '198.51.100.7', 'NEIGH_FAILED'),
      ...row('10.0.0.1', '10.0.0.2', 'NO_SOCKET'),
      ...row('198.51.100.7', '198.51.100.8'),
    )
    const collected = await collectFrom(source)
    expect(toldOf(collected)).toEqual([
      ['shop', metric, 'netfilter_drop', 'netfilter', 'tcp', 'in', 1],
      ['shop', metric, 'neigh_failed', 'neighbour', 'tcp', 'out', 1],
      ['bank', metric, 'no_socket', 'no_socket', 'tcp', 'in', 1],
    ])
    expect(collected.unresolved).toEqual([{ address: '198.51.100.8' }, { address: '198.51.100.7' }])
    expect([...collected.absent.keys()]).toEqual([
      'netvitals_dropped_bytes_total',
      'netvitals_dropped_packets_unattributed_total',
    ])
  })

  const netfilterOut = [
    "\tb'nf_hook_slow+0xa9'",
    "\tb'__ip_local_out+0xcf'",
    "\tb'__tcp_transmit_skb+0x1'",
    "\tb'tcp_v4_rcv+0x1'",
  ]
  it('have the direction that the innermost function of their stack tells, whoever’s both addresses are', async () => {
    const source = use('drops', createTraceDrops)
    const [first = ''] = row('10.0.0.1', '10.0.0.2')
    fake.print(header, first, ...netfilterOut, '', first, "\tb'nf_hook_slow+0xa9'", "\tb'ip_local_deliver+0xcf'", '')
    expect(toldOf(await collectFrom(source))).toEqual([
      ['shop', metric, 'netfilter_drop', 'netfilter', 'tcp', 'out', 1],
      ['bank', metric, 'netfilter_drop', 'netfilter', 'tcp', 'in', 1],
    ])
  })

  it('of bpftrace on the way out are those of the socket too, which it prints first', async () => {
    const source = use('drops', createTraceDrops)
    fake.print('TIME     PID      COMM             SADDR:SPORT             DADDR:DPORT             STATE')
    const first = '01:55:05 0        swapper/0        10.0.0.2:22             10.0.0.1:34619          ESTABLISHED'
    fake.print(
      first,
      '',
      '  kfree_skb_reason+1',
      '  __ip_queue_xmit+1',
      '',
      first,
      '',
      '  kfree_skb_reason+1',
      '  tcp_v4_rcv+1',
      '',
    )
    expect(toldOf(await collectFrom(source))).toEqual([
      ['bank', metric, 'not_told', 'other', 'tcp', 'out', 1],
      ['bank', metric, 'not_told', 'other', 'tcp', 'in', 1],
    ])
  })

  it('of older bcc and of bpftrace have no reason; bpftrace prints the receiver first', async () => {
    const source = use('drops', createTraceDrops)
    fake.print('TIME     PID     IP SADDR:SPORT          > DADDR:DPORT          STATE (FLAGS)')
    fake.print('14:46:49 0       4  198.51.100.7:80 > 10.0.0.1:33280 ESTABLISHED (ACK)', '')
    fake.print('TIME     PID      COMM             SADDR:SPORT             DADDR:DPORT             STATE')
    fake.print(
      '01:55:05 0        swapper/0        10.0.0.2:22             10.0.0.1:34619          ESTABLISHED',
      '',
      '  tcp_drop+1',
      '',
    )
    expect(toldOf(await collectFrom(source))).toEqual([
      ['shop', metric, 'not_told', 'other', 'tcp', 'in', 1],
      ['bank', metric, 'not_told', 'other', 'tcp', 'in', 1],
    ])
  })

  describe('as single events', () => {
    let heard: EventReport[]
    let notShown: unknown[]
    let out: Out
    let stopped: AbortController
    beforeEach(() => {
      vi.useFakeTimers()
      heard = []
      notShown = []
      stopped = new AbortController()
      out = { event: (report) => heard.push(report), notShown: (of, count) => notShown.push([of, count]) }
    })
    const settle = () => vi.advanceTimersByTimeAsync(limits.toolSettleMs)

    it('tell both ends, and which of them it is about', async () => {
      const source = use('drops', createTraceDrops)
      await source.start?.(stopped.signal, out)
      fake.print(
        header,
        ...row('198.51.100.7', '10.0.0.1', 'NETFILTER_DROP', 'SYN|ACK'),
        ...row('10.0.0.1', '198.51.100.7', 'IP_OUTNOROUTES', ''),
      )
      expect(heard).toEqual([])
      await settle()
      const what = { type: 'drop', family: 'ipv4', protocol: 'tcp', timeMs: expect.any(Number) }
      expect(heard).toEqual([
        {
          ...what,
          of: { netns: shop },
          direction: 'in',
          reason: 'netfilter_drop',
          category: 'netfilter',
          flags: ['SYN', 'ACK'],
          source: { isSubject: false, address: '198.51.100.7', port: 40000 },
          destination: { isSubject: true, address: '10.0.0.1', port: 80 },
        },
        {
          ...what,
          of: { netns: shop },
          direction: 'out',
          reason: 'ip_outnoroutes',
          category: 'routing',
          source: { isSubject: true, address: '10.0.0.1', port: 40000 },
          destination: { isSubject: false, address: '198.51.100.7', port: 80 },
        },
      ])
      expect(heard[0]?.timeMs).toBeLessThanOrEqual(Date.now())
    })

    it('have the function where there is no reason, and are shown though nobody has the address', async () => {
      const source = use('drops', createTraceDrops)
      await source.start?.(stopped.signal, out)
      fake.print('TIME     PID     IP SADDR:SPORT          > DADDR:DPORT          STATE (FLAGS)')
      fake.print(
        '14:46:49 0       4  198.51.100.7:80 > 203.0.113.1:33280 ESTABLISHED (ACK)',
        "\tb'tcp_drop+0x1'",
        "\tb'tcp_rcv+0x2'",
        '',
      )
      await settle()
      expect(heard).toMatchObject([{ of: { address: '203.0.113.1' }, reason: 'not_told', function: 'tcp_rcv+0x2' }])
    })

    it('are no more than the limit in a time; the others are told as a number, exactly', async () => {
      const source = use('drops', createTraceDrops)
      await source.start?.(stopped.signal, out)
      const perTurn = (limits.eventsPerSecond * limits.toolSettleMs) / 1000
      fake.print(header)
      for (let i = 0; i < perTurn + 7; i++) fake.print(...row('198.51.100.7', '10.0.0.1'))
      await settle()
      expect([heard.length, notShown]).toEqual([perTurn, [['drop', 7]]])
      fake.print(...row('198.51.100.7', '10.0.0.1'))
      await settle()
      expect([heard.length, notShown.length]).toEqual([perTurn + 1, 1])
      expect(toldOf(await collectFrom(source))).toMatchObject([{ 6: perTurn + 8 }])
    })

    it('come no more when the agent stops', async () => {
      const source = use('drops', createTraceDrops)
      await source.start?.(stopped.signal, out)
      stopped.abort()
      fake.print(header, ...row('198.51.100.7', '10.0.0.1'))
      await settle()
      expect([heard, vi.getTimerCount()]).toEqual([[], 0])
    })
  })

  it('without a tool are not waited for', async () => {
    vi.useFakeTimers()
    const source = use('connects', createTraceDrops)
    await source.start?.(new AbortController().signal, { event() {}, notShown() {} })
    expect(vi.getTimerCount()).toBe(0)
  })
})

it('a retransmission as a single event', async () => {
  vi.useFakeTimers()
  const source = use('retransmits', createTraceRetransmits)
  const heard: EventReport[] = []
  await source.start?.(new AbortController().signal, { event: (report) => heard.push(report), notShown() {} })
  fake.print(retransHeader, '01:55:05 0 6  ::ffff:10.0.0.1:22 R> ::ffff:198.51.100.7:34619 NEW_SYN_RECV')
  await vi.advanceTimersByTimeAsync(limits.toolSettleMs)
  expect(heard).toEqual([
    {
      type: 'retransmit',
      of: { netns: shop },
      timeMs: expect.any(Number),
      family: 'ipv4',
      protocol: 'tcp',
      kind: 'synack',
      state: 'syn_recv',
      source: { isSubject: true, address: '10.0.0.1', port: 22 },
      destination: { isSubject: false, address: '198.51.100.7', port: 34619 },
    },
  ])
})

describe('connects', () => {
  const [total, duration] = ['tcp_connects_total', 'tcp_connect_duration_seconds']
  const counts = (...at: readonly [bucket: number, count: number][]): number[] =>
    Array.from({ length: 11 }, (_, i) => at.find(([bucket]) => bucket === i)?.[1] ?? 0)

  it('of tcpstates are told by how they ended, and how long those that succeeded took', async () => {
    const source = use('connects', createTraceConnects)
    const row = (change: string, ms: string): string => `ffff9fd7e8192000 22384 curl 10.0.0.1 0 198.51.100.7 80 ${change} ${ms}`
    fake.print(
      'SKADDR           C-PID C-COMM     LADDR           LPORT RADDR           RPORT OLDSTATE    -> NEWSTATE    MS',
      row('CLOSE -> SYN_SENT', '0.000'),
      row('SYN_SENT -> ESTABLISHED', '0.064'), // 2^6 µs, the bound itself
      row('SYN_SENT -> ESTABLISHED', '99999.000'),
      row('SYN_SENT -> CLOSE', '3000.000'),
      row('SYN_SENT -> SYN_RECV', '1.000'), // both called: its end is still to come
      row('ESTABLISHED -> FIN_WAIT1', '176.042'),
    )
    const collected = await collectFrom(source)
    expect(toldOf(collected)).toEqual([
      ['shop', duration, { counts: counts([0, 1], [10, 1]), sum: expect.closeTo(99.999064, 9) }],
      ['shop', total, 'connected', 2],
      ['shop', total, 'other', 1],
    ])
    expect([...collected.absent.keys()]).toEqual(['netvitals_tcp_rtt_seconds'])
  })

  it('of tcpconnlat are durations alone, because it does not tell a refusal from a connection', async () => {
    const source = use('connects', createTraceConnects)
    fake.print(
      'PID    COMM         IP SADDR            DADDR            DPORT LAT(ms)',
      '1201   wget         4  10.0.0.1         198.51.100.7     80    1.65',
      '1201   wget         4  10.0.0.1         198.51.100.7     80    1.65',
    )
    const collected = await collectFrom(source)
    expect(toldOf(collected)).toEqual([['shop', duration, { counts: counts([3, 2]), sum: expect.closeTo(0.0033, 9) }]])
    expect([...collected.absent.keys()]).toEqual(['netvitals_tcp_rtt_seconds', 'netvitals_tcp_connects_total'])
  })

  it('of addresses that nobody has are all counted as that, however long they took', async () => {
    const source = use('connects', createTraceConnects)
    fake.print('PID    COMM         IP SADDR            DADDR            DPORT LAT(ms)')
    for (const ms of ['0.01', '1.65', '5000.00'])
      fake.print(`1201   wget         4  203.0.113.1      198.51.100.7     80    ${ms}`)
    expect((await collectFrom(source)).caveats.join()).toContain('3 events of addresses that no known')
  })
})

it('opens: of connects and accepts, from recordings alone', async () => {
  const source = use('opens', createToolOpens)
  fake.print(
    'PID    COMM         IP SADDR            DADDR            DPORT',
    ...Array(2).fill('1479   telnet       4  10.0.0.1         198.51.100.7     23'),
    'PID     COMM         IP RADDR            RPORT LADDR            LPORT',
    '907     sshd         4  198.51.100.7     32324 10.0.0.1         22',
  )
  expect(toldOf(await collectFrom(source))).toEqual([
    ['shop', 'tcp_active_opens_total', 2],
    ['shop', 'tcp_passive_opens_total', 1],
  ])
})

describe('limits', () => {
  const countBy = (keyOf: (address: string, port: number) => string) => (host: Host) => {
    const counters = createToolCounters<MetricName>(host, 'retransmits', ({ local, count }) => ({
      candidates: [{ address: local?.address, key: keyOf(local?.address ?? '', local?.port ?? 0) }],
      count,
      values: [count, 1],
    }))
    const counted: [string | undefined, string, readonly number[]][] = []
    const source: Source = {
      name: 'test',
      writes: [],
      needs: [],
      async collect(sink, signal) {
        counted.length = 0
        await counters.collect(sink, signal, (netns, key, sums) => counted.push([netns.name, key, [...sums]]))
      },
    }
    return { source, counted }
  }
  const header = 'LADDR:LPORT              RADDR:RPORT             RETRANSMITS'

  it('keys that found no place are counted exactly, and those of the departed make room', async () => {
    const { source, counted } = use(
      'retransmits',
      countBy((_, port) => `${port}`),
    )
    fake.print(header)
    for (let port = 0; port < limits.toolKeys; port++) fake.print(`10.0.0.1:${port} <-> 198.51.100.7:5 2`)
    fake.print('10.0.0.2:1 <-> 198.51.100.7:5 30', '10.0.0.2:2 <-> 198.51.100.7:5 4', '10.0.0.1:7 <-> 198.51.100.7:5 100')
    const first = await collectFrom(source)
    expect([counted.length, first.lost.get('map_full')]).toEqual([limits.toolKeys, 34])
    expect(counted).toContainEqual(['shop', '7', [102, 2]])
    listed = [bank]
    await collectFrom(source)
    fake.print('10.0.0.2:1 <-> 198.51.100.7:5 30')
    const third = await collectFrom(source)
    expect([counted, third.lost.get('map_full')]).toEqual([[['bank', '1', [30, 1]]], 34])
  })

  it('however many addresses are told of at once, none is lost', async () => {
    const { source, counted } = use(
      'retransmits',
      countBy(() => 'all'),
    )
    const addresses = Array.from(
      { length: 3 * limits.toolKeys + 5 },
      (_, i) => `10.${9 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`,
    )
    for (const address of addresses) fake.owners.set(address, shop)
    fake.print(header)
    for (const address of addresses) fake.print(`${address}:1 <-> 198.51.100.7:5 2`)
    const { lost } = await collectFrom(source)
    expect([counted, lost.get('map_full')]).toEqual([[['shop', 'all', [2 * addresses.length, addresses.length]]], 0])
  })

  it('addresses that nobody has are counted as so many subjects, up to the limit', async () => {
    const { source } = use(
      'retransmits',
      countBy(() => 'all'),
    )
    fake.print(header)
    for (let i = 0; i < limits.namespaces + 9; i++) fake.print(`203.0.${i >> 8}.${i & 255}:1 <-> 198.51.100.7:5 1`)
    const { unresolved, caveats } = await collectFrom(source)
    expect(unresolved).toHaveLength(limits.namespaces)
    expect(caveats.join()).toContain(`${limits.namespaces + 9} events of addresses`)
  })
})

describe('the tool itself', () => {
  const failureOf = async (
    change: Partial<FakeTools['status']>,
    stderr = '',
    lines: readonly string[] = [],
  ): Promise<unknown> => {
    const source = use('retransmits', createTraceRetransmits)
    fake.print(...lines)
    Object.assign(fake.status, change)
    fake.stderr = stderr
    const { error } = await collectFrom(source)
    return error === undefined ? undefined : (error as Error).message
  }

  it('has failed if it never could run, and says why', async () => {
    expect(await failureOf({ state: 'waiting', lastEnd: 'tool: no such program' })).toBe('tool: no such program')
    expect(await failureOf({ state: 'waiting', lastEnd: 'exit status 1' }, 'Traceback\nmodprobe: not found\n')).toBe(
      'tool: exit status 1, modprobe: not found',
    )
    expect(await failureOf({ state: 'waiting', lastEnd: 'exit status 0' }, '', ['what', 'ever'])).toBe(
      'tool: exit status 0; none of its lines is known',
    )
  })

  it('has not if it has just been started, nor if it told something before it ended', async () => {
    expect(await failureOf({ state: 'waiting' })).toBeUndefined()
    expect(await failureOf({ state: 'waiting', lastEnd: 'exit status 0' }, '', [retransHeader])).toBeUndefined()
  })

  it('says in `check` what it is, and what is not known because of it', async () => {
    const source = use('retransmits', createTraceRetransmits)
    expect((await collectFrom(source)).caveats).toEqual([
      'told by tool, not by the built-in program: no header yet, 0 lines',
      'a row of the tool is a packet, which may be several segments',
    ])
    fake.print(retransHeader, retransRow('10.0.0.1'))
    Object.assign(fake.status, { state: 'waiting', starts: 3, lastEnd: 'killed by SIGKILL' })
    const { caveats, emitted } = await collectFrom(source)
    expect(caveats[0]).toMatch(
      /^told by tool, .*: format bcc tcpretrans, 2 lines, the last \d+ s ago; it ended \(killed by SIGKILL\); 3 starts: what happened until it ran again is not counted, and unknown; it does not run now$/,
    )
    expect(emitted).toHaveLength(1)
  })

  it('may print what nobody can read: told once, with the last', async () => {
    const source = use('retransmits', createTraceRetransmits)
    fake.print(retransHeader, 'what', 'ever')
    expect((await collectFrom(source)).unreadable).toEqual([[2, expect.stringContaining('got "ever"')]])
    fake.print('again')
    expect((await collectFrom(source)).unreadable).toEqual([[1, expect.stringContaining('got "again"')]])
  })

  it('says what was lost', async () => {
    const source = use('retransmits', createTraceRetransmits)
    fake.print(retransHeader, 'Possibly lost 7 samples')
    Object.assign(fake.status, { longLines: 2, partialLines: 1 })
    expect(Object.fromEntries((await collectFrom(source)).lost)).toEqual({ map_full: 0, long_line: 3, tool: 7 })
  })
})
