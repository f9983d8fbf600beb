import { describe, expect, it } from 'vitest'
import { html } from '../../../agent/http/html.ts'
import { renderPage } from '../../../agent/http/page.ts'
import { createSections, type PageInput, type Section } from '../../../agent/http/page-sections.ts'
import { limits } from '../../../agent/limits.ts'
import { formatLabels } from '../../../agent/metrics/label-text.ts'
import type { Series } from '../../../agent/metrics/snapshot.ts'
import { okReport, reportOf, series, snapshotOf, sourceOf } from './fake-parts.ts'

const growth = new Map<Series, { amount: number; sum?: number }>()
const history = { increase: (one: Series) => (growth.has(one) ? { ...growth.get(one)!, seconds: 300 } : undefined) }

/** A series whose value grew in the history. */
function grown(labels: string, amount: number, value = 1000): Series {
  const one = series(labels, value)
  growth.set(one, { amount })
  return one
}

/** A histogram that so many values came into, with this sum. */
function observed(labels: string, amount: number, sum: number): Series {
  const one = series(labels, { counts: [amount], sum })
  growth.set(one, { amount, sum })
  return one
}

const row = (namespace: string, pod: string, rest = ''): string =>
  `namespace="${namespace}",pod="${pod}"${rest === '' ? '' : `,${rest}`}`
const drop = (reason: string, category: string): string =>
  `reason="${reason}",category="${category}",protocol="tcp",direction="in"`

const sources = [sourceOf('trace-drops'), sourceOf('netlink-sockets'), sourceOf('proc-snmp'), sourceOf('netlink-conntrack')]
const allOk = sources.map(({ name }) => okReport(name))

function inputOf(families: Parameters<typeof snapshotOf>[0], more: Partial<PageInput> = {}, reports = allOk): PageInput {
  const snapshot = snapshotOf(families, { takenAtMs: 1_000_000, sources: reports })
  return { report: reportOf(snapshot, sources), snapshot, history, watchedSeconds: 3600, ...more }
}
const pageOf = (input: PageInput): string => renderPage({ ...input, uptimeSeconds: 90_000 }).html
const section = (id: string, input: PageInput): Section => createSections(input).find((one) => one.id === id)!

describe('the page of a healthy machine', () => {
  const page = pageOf(inputOf({}))

  it('says so first', () => {
    expect(page).toContain('Nothing here points to the network.')
    expect(page).not.toContain('As far as this machine can tell')
  })

  it('has for every empty table a sentence of what is good', () => {
    for (const text of [
      'The kernel dropped no packet in the last 5 minutes.',
      'Every listener accepts its connections in time.',
      'Nobody asked DNS anything in the last 5 minutes.',
      'No device, queue or CPU lost anything in the last 5 minutes.',
      'No connection is being tracked.',
    ])
      expect(page).toContain(text)
  })

  it('names the machine, and links to the metrics', () => {
    expect(page).toContain('<h1>node-1</h1>')
    expect(page).toContain('Debian GNU/Linux 12 · Linux 6.18.5 · x86_64 · up 25 h · netvitals 1.2.3')
    expect(page).toContain('<a href="metrics">')
  })

  it('claims no more than the agent has watched', () => {
    expect(pageOf(inputOf({}, { watchedSeconds: 40 }))).toContain('dropped no packet since the agent started 40 s ago.')
  })
})

describe('drops', () => {
  it('are listed by row and reason, the most first, normal ones apart', () => {
    const input = inputOf({
      netvitals_dropped_packets_total: [
        grown(row('', '', drop('no_socket', 'no_socket')), 3),
        grown(row('shop', 'frontend', drop('netfilter_drop', 'netfilter')), 1200),
        grown(row('@netns', 'blue', drop('queue_purge', 'normal')), 7),
        grown(row('shop', 'quiet', drop('netfilter_drop', 'netfilter')), 0),
      ],
    })
    expect(section('drops', input)).toMatchObject({
      rows: [
        ['shop/frontend', 'netfilter_drop', 1200, 'tcp in', 'netfilter'],
        ['host', 'no_socket', 3, 'tcp in', 'no_socket'],
      ],
      note: 'Not shown: 7 packets of normal clean-up, which harms nobody.',
      sign: { level: 'odd', text: '1,203 packets dropped in the last 5 minutes, most of them in shop/frontend: netfilter_drop' },
    })
    expect(pageOf(input)).toContain('Worth a look.')
  })

  it('are not said to be none where they are not known', () => {
    const absent = new Map(sourceOf('trace-drops').writes.map((name) => [name, 'needs CAP_BPF']))
    const reports = allOk.map((one) =>
      one.name === 'trace-drops' ? okReport('trace-drops', { outcome: 'absent', reason: 'needs CAP_BPF', absent }) : one,
    )
    const page = pageOf(inputOf({}, {}, reports))
    expect(page).not.toContain('dropped no packet')
    expect(page).toContain('Not known: trace-drops is absent: needs CAP_BPF')
    expect(page).toContain('As far as this machine can tell: trace-drops is')

    const input = inputOf({})
    const off = {
      ...input.report,
      sources: input.report.sources.filter(({ name }) => name !== 'trace-drops'),
      off: ['trace-drops'],
    }
    expect(section('drops', { ...input, report: off }).unknown).toEqual(['trace-drops is switched off'])
  })
})

describe('TCP', () => {
  const states = (namespace: string, pod: string, counts: Record<string, number>): Series[] =>
    Object.entries(counts).map(([state, n]) => series(row(namespace, pod, `state="${state}"`), n))

  it('has a row for each subject, the troubled first', () => {
    const input = inputOf({
      netvitals_tcp_sockets: [
        ...states('', '', { established: 10, listen: 5, fin_wait1: 1, closing: 2 }),
        ...states('shop', 'leaky', { close_wait: 130 }),
        ...states('shop', 'lossy', { established: 1 }),
      ],
      netvitals_tcp_sent_segments_total: [
        grown(row('', ''), 1000),
        grown(row('shop', 'leaky'), 10),
        grown(row('shop', 'lossy'), 1000),
      ],
      netvitals_tcp_retransmitted_segments_total: [
        grown(row('', ''), 1),
        grown(row('shop', 'leaky'), 9),
        grown(row('shop', 'lossy'), 85),
      ],
      netvitals_tcp_sent_resets_total: [grown(row('', ''), 4)],
    })
    const { rows, sign } = section('tcp', input)
    expect(rows).toEqual([
      ['shop/lossy', { text: '8.5 %', level: 'bad' }, 0, undefined, 1, 0, 0, 0, 0, 0],
      ['shop/leaky', { text: '90.0 %', level: 'fine' }, 0, undefined, 0, 0, 0, { text: '130', level: 'odd' }, 0, 0],
      ['host', { text: '0.1 %', level: 'fine' }, 4, undefined, 10, 0, 0, 0, 0, 3],
    ])
    expect(sign).toEqual({ level: 'bad', text: '8.5 % of the TCP segments of shop/lossy had to be sent again' })
    expect(pageOf(input)).toContain('Look here.')
  })

  it('shows what is not known yet as such, and not as 0', () => {
    const { rows } = section('tcp', inputOf({ netvitals_tcp_sockets: states('', '', { established: 1 }) }))
    expect(rows).toEqual([['host', undefined, undefined, undefined, 1, 0, 0, 0, 0, 0]])
  })
})

describe('connects and resets', () => {
  const outcome = (pod: string, name: string, times: number) => grown(row('shop', pod, `outcome="${name}"`), times)

  it('lists what failed, the most first, and not what went well', () => {
    const input = inputOf({
      netvitals_tcp_connects_total: [
        outcome('web', 'connected', 900),
        outcome('web', 'timed_out', 3),
        outcome('web', 'reset', 0),
      ],
      netvitals_tcp_sent_resets_by_reason_total: [grown(row('shop', 'db', 'reason="no_socket"'), 7)],
      netvitals_tcp_received_resets_total: [grown(row('shop', 'web', 'state="syn_sent"'), 5)],
    })
    expect(section('connections', input)).toMatchObject({
      rows: [
        ['shop/db', 'resets sent: no_socket', 7],
        ['shop/web', 'resets received in syn_sent', 5],
        ['shop/web', 'connects without any answer', 3],
      ],
      sign: { level: 'odd', text: 'shop/web: 3 connects without any answer in the last 5 minutes' },
    })
  })

  it('says first who has no port left', () => {
    const input = inputOf({ netvitals_tcp_connects_total: [outcome('a', 'timed_out', 50), outcome('b', 'no_port', 2)] })
    expect(section('connections', input).sign).toEqual({
      level: 'bad',
      text: 'shop/b had no local port left for 2 connects in the last 5 minutes',
    })
  })
})

describe('DNS', () => {
  const queries = (pod: string, times: number) => grown(row('shop', pod, 'qtype="A"'), times)
  const answers = (pod: string, rcode: string, times: number) => grown(row('shop', pod, `rcode="${rcode}"`), times)

  it('has a row for each that asked, the troubled first', () => {
    const input = inputOf({
      netvitals_dns_queries_total: [
        queries('quiet', 0),
        queries('search', 6000),
        grown(row('shop', 'search', 'qtype="AAAA"'), 6000),
        queries('few', 30),
        queries('failing', 100),
        queries('silent', 1000),
      ],
      netvitals_dns_responses_total: [
        answers('search', 'NXDOMAIN', 9000),
        answers('search', 'NOERROR', 3000),
        answers('few', 'NOERROR', 26),
        answers('few', 'SERVFAIL', 0),
        answers('failing', 'NOERROR', 70),
        answers('failing', 'REFUSED', 10),
        answers('failing', 'SERVFAIL', 20),
        answers('silent', 'NOERROR', 980),
      ],
      netvitals_dns_unanswered_total: [grown(row('shop', 'silent'), 20), grown(row('shop', 'few'), 4)],
      netvitals_dns_duration_seconds: [
        observed(row('shop', 'search'), 12_000, 6),
        observed(row('shop', 'failing'), 100, 25),
        observed(row('shop', 'quiet'), 0, 0),
      ],
    })
    const fine = (text: string) => ({ text, level: 'fine' })
    const { rows, sign, note } = section('dns', input)
    expect(rows).toEqual([
      ['shop/silent', fine('3.3/s'), 0, { text: '20 (2.0 %)', level: 'bad' }, undefined],
      [
        'shop/failing',
        fine('0.33/s'),
        { text: '20.0 % SERVFAIL, 10.0 % REFUSED', level: 'bad' },
        0,
        { text: '250 ms', level: 'odd' },
      ],
      ['shop/few', fine('0.10/s'), 0, { text: '4 (13.3 %)', level: 'odd' }, undefined],
      ['shop/search', fine('40/s'), fine('75.0 % NXDOMAIN'), 0, fine('500 µs')],
    ])
    expect(sign).toEqual({ level: 'bad', text: '2.0 % of the DNS queries of shop/silent got no answer in the last 5 minutes' })
    expect(note).toContain('in the last 5 minutes')
  })

  it('says what errors most of the answers were', () => {
    const input = inputOf({
      netvitals_dns_queries_total: [queries('a', 100)],
      netvitals_dns_responses_total: [answers('a', 'NXDOMAIN', 40), answers('a', 'SERVFAIL', 5), answers('a', 'NOERROR', 55)],
    })
    expect(section('dns', input).sign).toEqual({
      level: 'bad',
      text: '5.0 % of the DNS answers to shop/a were errors in the last 5 minutes, most of them SERVFAIL',
    })
  })

  it('does not take names that do not exist, or little, for trouble', () => {
    const input = inputOf({
      netvitals_dns_queries_total: [queries('a', 1000), queries('b', 4)],
      netvitals_dns_responses_total: [answers('a', 'NXDOMAIN', 1000), answers('b', 'SERVFAIL', 4)],
      netvitals_dns_unanswered_total: [grown(row('shop', 'a'), 9)],
    })
    expect(section('dns', input).sign).toBeUndefined()
    expect(pageOf(input)).toContain('Nothing here points to the network.')
  })

  it('knows nothing of who is not known yet', () => {
    const input = inputOf({ netvitals_dns_queries_total: [series(row('', '', 'qtype="A"'), 7)] })
    expect(section('dns', input).rows).toEqual([])
  })
})

describe('edges', () => {
  const ends = (client: string, server: string, rest = ''): string =>
    `client_namespace="shop",client_workload="${client}",server_namespace="",server_workload="${server}",reporter="client"${rest}`
  const connects = (client: string, outcome: string, times: number): Series =>
    grown(ends(client, 'external', `,outcome="${outcome}"`), times)

  it('lists who talks to whom, the troubled first, and draws it', () => {
    const input = inputOf({
      netvitals_edge_connects_total: [
        connects('fine', 'connected', 900),
        connects('bad', 'timed_out', 3),
        connects('bad', 'refused', 5),
      ],
      netvitals_edge_sent_bytes_total: [grown(ends('fine', 'external'), 600_000)],
      netvitals_edge_received_bytes_total: [series(ends('fine', 'external'), 7)],
      netvitals_edge_retransmitted_segments_total: [grown(ends('fine', 'external'), 4)],
      netvitals_edge_resets_total: [grown(ends('fine', 'external'), 2)],
      netvitals_edge_rtt_max_seconds: [series(ends('fine', 'external'), 0.0402)],
      netvitals_edge_connections: [series(ends('fine', 'external'), 12)],
    })
    const fine = (text: string) => ({ text, level: 'fine' })
    const odd = (text: string) => ({ text, level: 'odd' })
    const { rows, picture } = section('edges', input)
    expect(rows).toEqual([
      ['shop/bad', '→ external', 0, 8, { text: '5 refused, 3 timed_out', level: 'bad' }, 0, 0, 0, 0, 0, undefined],
      ['shop/fine', '→ external', 12, 900, 0, fine('2.00 kB/s'), undefined, odd('4'), odd('2'), 0, fine('40.2 ms')],
    ])
    expect(picture?.markup).toContain('>external</text>')
    expect(pageOf(input)).toContain(picture?.markup)
  })

  it('says what is not shown, in the table and in the picture', () => {
    const many = Array.from({ length: limits.pictureNodes + 5 }, (_, i) => connects(`client-${i}`, 'connected', 1))
    const page = pageOf(inputOf({ netvitals_edge_connects_total: many }))
    expect(page).toContain(`… ${many.length - limits.pageRows} more in <a href="api/v1/edges">api/v1/edges</a>.`)
    expect(page).toContain('7 workloads without a place of their own in the picture are other.')
  })

  it('are not said to be none where they are not known', () => {
    expect(pageOf(inputOf({}))).toContain('Nobody on this machine has connected to anybody yet.')
    const input = inputOf({})
    const off = { ...input.report, off: ['trace-edges'] }
    const page = pageOf({ ...input, report: off })
    expect(page).not.toContain('Nobody on this machine has connected')
    expect(page).toContain('Not known: trace-edges is switched off')
  })
})

describe('queues and tables', () => {
  it('shows listen queues at their limit, and overflows', () => {
    const input = inputOf({
      netvitals_tcp_listen_queue_length: [
        series(row('shop', 'slow', 'port="8080"'), 4),
        series(row('shop', 'slow', 'port="9090"'), 1),
        series(row('', '', 'port="22"'), 0),
      ],
      netvitals_tcp_listen_queue_limit: [
        series(row('shop', 'slow', 'port="8080"'), 3),
        series(row('shop', 'slow', 'port="9090"'), 128),
        series(row('', '', 'port="22"'), 0),
      ],
      netvitals_tcp_listen_overflows_total: [grown(row('shop', 'slow'), 80)],
    })
    expect(section('listen', input)).toMatchObject({
      rows: [
        ['shop/slow', 'port 8080', { part: 4, of: 3 }],
        ['shop/slow', 'overflows in the last 5 minutes', { text: '80 connections', level: 'bad' }],
      ],
      sign: { level: 'bad' },
    })
  })

  it('shows how full connection tracking is', () => {
    const input = inputOf({
      netvitals_conntrack_entries: [series(row('', ''), 50), series(row('shop', 'proxy'), 90)],
      netvitals_conntrack_entries_limit: [series(row('', ''), 100), series(row('shop', 'proxy'), 100)],
      netvitals_conntrack_drop_total: [grown(row('', ''), 0)],
    })
    expect(section('conntrack', input)).toMatchObject({
      rows: [
        ['shop/proxy', { part: 90, of: 100 }, 0, undefined],
        ['host', { part: 50, of: 100 }, 0, undefined],
      ],
      sign: { level: 'bad', text: 'the connection tracking table of shop/proxy is 90 % full' },
    })
    expect(pageOf(input)).toContain('<meter min="0" max="100" low="60" high="80" optimum="0" value="90"></meter> 90 of 100')
  })

  it('shows what devices lost', () => {
    const input = inputOf({
      netvitals_device_receive_drops_total: [grown('device="eth0"', 7), grown('device="eth1"', 0)],
      netvitals_softnet_drops_total: [grown('', 9)],
      netvitals_softnet_time_squeezes_total: [grown('', 1)],
    })
    expect(section('devices', input)).toMatchObject({
      rows: [
        ['all CPUs', 'drops from a full backlog', 9],
        ['eth0', 'receive drops', 7],
      ],
      note: 'CPUs ran out of time 1 time with packets waiting (softnet squeeze).',
      sign: { text: 'all CPUs: 9 drops from a full backlog in the last 5 minutes' },
    })
  })

  it('are cut to so many rows, with a link to the rest', () => {
    const many = Array.from({ length: limits.pageRows + 5 }, (_, i) => grown(row('shop', `pod-${i}`, drop('x', 'other')), 1))
    const page = pageOf(inputOf({ netvitals_dropped_packets_total: many }))
    expect(page.match(/shop\/pod-\d+<\/td>/g)).toHaveLength(limits.pageRows)
    expect(page).toContain('5 more in <a href="metrics">metrics</a>')
  })
})

describe('sources', () => {
  it('that failed are said at the top', () => {
    const reports = allOk.map((one) =>
      one.name === 'proc-snmp' ? okReport('proc-snmp', { outcome: 'failed', reason: 'line 3: bad' }) : one,
    )
    const page = pageOf(inputOf({}, {}, reports))
    expect(page).toContain('could not be read: proc-snmp')
    expect(page).toContain('✖</td><td>proc-snmp</td><td>failed: line 3: bad</td>')
  })

  it('say which metrics are missing, and which subjects', () => {
    const reports = allOk.map((one) =>
      one.name === 'proc-snmp'
        ? okReport('proc-snmp', {
            absent: new Map([['netvitals_tcp_timeouts_total', 'kernel too old']]),
            skipped: new Map([['blue', 'gone']]),
          })
        : one,
    )
    expect(pageOf(inputOf({}, {}, reports))).toMatch(
      /proc-snmp<\/td><td>\d+ of \d+ metrics; kernel too old; 1 could not be read, first blue: gone</,
    )
  })
})

describe('what others chose', () => {
  const hostile = `"><script>alert(1)</script><img src=x onerror='x'>\\n&amp;`

  it('stays text, wherever it stands', () => {
    const labels = formatLabels(
      ['namespace', 'pod', 'device', 'reason', 'category', 'port', 'state'],
      [hostile, hostile, hostile, hostile, hostile, hostile, 'established'],
    )
    const input = inputOf(
      {
        netvitals_dropped_packets_total: [grown(labels, 5)],
        netvitals_tcp_sockets: [series(labels, 5)],
        netvitals_tcp_listen_queue_length: [series(labels, 5)],
        netvitals_tcp_listen_queue_limit: [series(labels, 5)],
        netvitals_conntrack_entries: [series(labels, 5)],
        netvitals_device_receive_drops_total: [grown(labels, 5)],
        netvitals_edge_connects_total: [
          grown(
            formatLabels(
              ['client_namespace', 'client_workload', 'server_namespace', 'server_workload', 'reporter', 'outcome'],
              Array(6).fill(hostile),
            ),
            5,
          ),
        ],
      },
      {},
      allOk.map((one) => okReport(one.name, { outcome: 'failed', reason: hostile, skipped: new Map([[hostile, hostile]]) })),
    )
    const page = pageOf({
      ...input,
      report: { ...input.report, node: { ...input.report.node, name: hostile, os: hostile }, off: [hostile] },
    })
    expect(page).not.toContain('<script')
    expect(page).not.toContain('<img')
    expect(page).not.toMatch(/onerror='/)
    expect(page.split('&lt;script&gt;').length).toBeGreaterThan(20)
  })

  it('could run nothing if it were not', () => {
    const first = renderPage({ ...inputOf({}), uptimeSeconds: 0 })
    const second = renderPage({ ...inputOf({}), uptimeSeconds: 0 })
    const policy = first.headers['Content-Security-Policy']!
    expect(policy).toMatch(
      /^default-src 'none'; style-src 'nonce-[A-Za-z0-9+/=]{24}'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'$/,
    )
    expect(policy).not.toBe(second.headers['Content-Security-Policy'])
    expect(first.html).toContain(`<style nonce="${/nonce-([^']+)/.exec(policy)![1]}">`)
    expect(first.html).not.toMatch(/<script|https?:\/\/|style=/)
  })
})

describe('html', () => {
  it('escapes text and leaves html', () => {
    expect(html`<p title="${'"'}">${'<b>'}${html`<i>${"'&"}</i>`}${[html`<br>`, '>']}${undefined}${false}${0}</p>`.markup).toBe(
      '<p title="&quot;">&lt;b&gt;<i>&#39;&amp;</i><br>&gt;0</p>',
    )
  })
})
