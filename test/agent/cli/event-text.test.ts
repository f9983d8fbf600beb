import { describe, expect, it } from 'vitest'
import { createAnalysis, describeDns, describeHttp } from '../../../agent/capture/analysis.ts'
import type { DnsReport, HttpReport } from '../../../agent/capture/report.ts'
import { createEventText } from '../../../agent/cli/event-text.ts'
import type { NetworkEvent } from '../../../agent/events.ts'
import { createEvents } from '../../../agent/events.ts'
import type { Host } from '../../../agent/host/host.ts'
import type { NetworkNamespace } from '../../../agent/host/namespaces.ts'
import { limits } from '../../../agent/limits.ts'
import { createPcapDns } from '../../../agent/sources/pcap-dns.ts'
import { createPcapHttp } from '../../../agent/sources/pcap-http.ts'
import { netnsOf } from '../sources/fake-host.ts'
import { everything, failedQueries, oneOfEach } from './one-of-each.ts'

process.env.TZ = 'UTC'
const bare = { colour: false, unicode: true }
const hostile = 'a\u001b[2Jb\u202ec\u009b'
const hostileEvent: NetworkEvent = {
  ...oneOfEach.drop,
  source: { namespace: '@netns', pod: `${hostile} → host:1` },
  destination: { address: hostile },
  reason: hostile,
  function: hostile,
  flags: [hostile],
}

describe('compact', () => {
  it('is a line an event, aligned', () => {
    expect(createEventText('compact', bare).linesOf(everything)).toBe(
      [
        '11-26 18:20:01.123456 drop           shop/frontend-1:40312 → 10.0.0.7:443             tcp SYN,ACK      not_specified in tcp_v4_rcv+0x9c7 (out) 3 packets',
        '11-26 18:20:02.123456 reset_sent     host:22 → shop/frontend-1:40312                  tcp close        no_socket',
        '11-26 18:20:03.123456 reset_received 10.0.0.7:443 → shop/frontend-1:40312             tcp established',
        '11-26 18:20:04.123456 retransmit     shop/frontend-1:40312 → 10.0.0.7:443             tcp established  timeout 2 segments',
        '11-26 18:20:05.123456 connect        shop/frontend-1:40312 → host:22                  tcp              timed_out',
        '11-26 18:20:05.123456 dns            shop/frontend-1:40312 → kube-system/kube-dns:53  udp              AAAA api.example.com  NOERROR  1.2 ms  2 addresses  (id 4711)',
        '11-26 18:20:05.123456 http           shop/frontend-1:40312 → shop/cart:80             tcp              GET shop/cart  200  12.3 ms',
        '11-26 18:20:05.123456 dns            shop/frontend-1:40312 → kube-system/kube-dns:53  udp              AAAA api.example.com  NXDOMAIN  1.2 ms  (id 4711)',
        '11-26 18:20:05.123456 dns            shop/frontend-1:40312 → kube-system/kube-dns:53  tcp              AAAA api.example.com  SERVFAIL  4,101 ms  (id 4711)',
        '11-26 18:20:05.123456 dns            shop/frontend-1:40312 → kube-system/kube-dns:53  udp              NS .  NOERROR  250 ms  1 address  (id 4711)',
        '11-26 18:20:05.123456 dns            shop/frontend-1:40312 → kube-system/kube-dns:53  udp              TYPE65400 gone.example.com  unanswered  (id 1)',
        '11-26 18:20:05.123456 http           shop/frontend-1:40312 → shop/cart:80             tcp              GET shop/cart  503  12.3 ms',
        '11-26 18:20:05.123456 http           shop/frontend-1:40312 → shop/cart:80             tcp              POST /api/orders/17  404  3.0 ms',
        '11-26 18:20:05.123456 http           shop/frontend-1:40312 → shop/cart:80             tcp              OPTIONS shop *  204  4,101 ms',
        '11-26 18:20:05.123456 http           shop/frontend-1:40312 → shop/cart:80             tcp              CONNECT db:443  unanswered',
        '11-26 18:20:06.123456 drop           fe80::1 → @netns/blue                            icmp             queue_purge (in)',
        '11-26 18:20:07.123456 drop           ? → ?                                            not IP           tc_egress (forward)',
        '11-26 18:20:08.123456 not shown      1,234 dropped packets (more than 200 a second)',
        '11-26 18:20:08.123456 not shown      1 well answered DNS query (more than 100 a second)',
        '11-26 18:20:08.123456 not shown      2 well answered HTTP requests (more than 100 a second)',
        '11-26 18:20:09.123456 not shown      1 event (not taken in time by this command)',
        '',
      ].join('\n'),
    )
  })

  it('grows its columns with what comes, up to a limit', () => {
    const text = createEventText('compact', bare)
    const whyAt = (event: NetworkEvent): number => text.linesOf([event]).indexOf('timed_out')
    const withPod = (pod: string): NetworkEvent => ({ ...oneOfEach.connect, source: { namespace: 'shop', pod } })
    const narrow = whyAt(oneOfEach.connect)
    const wide = whyAt(withPod('x'.repeat(40)))
    expect(wide).toBeGreaterThan(narrow)
    expect(whyAt(oneOfEach.connect)).toBe(wide)
    whyAt(withPod('x'.repeat(200)))
    expect(whyAt(oneOfEach.connect)).toBe(21 + 1 + 14 + 1 + 76 + 2 + 7 + 2)
  })

  it('is of the time where the person is', () => {
    process.env.TZ = 'Asia/Kolkata'
    try {
      expect(createEventText('compact', bare).linesOf([oneOfEach.connect])).toMatch(/^11-26 23:50:05\.123456 /)
    } finally {
      process.env.TZ = 'UTC'
    }
  })

  it('has brackets around IPv6 addresses with ports', () => {
    const event = { ...oneOfEach.connect, destination: { address: '2001:db8::5', port: 80 } }
    expect(createEventText('compact', bare).linesOf([event])).toContain(' → [2001:db8::5]:80 ')
  })

  it('knows no more than it is told, of what a newer agent tells too', () => {
    const event = { ...oneOfEach.connect, type: 'quic' as 'connect', outcome: 'nxdomain' }
    expect(createEventText('compact', { colour: true, unicode: true }).linesOf([event])).toContain('\u001b[1mquic ')
    const notShown = { time: 'never', type: 'not_shown', of: 'quic' as 'drop', count: 2 } as const
    expect(createEventText('compact', bare).linesOf([notShown])).toMatch(/^\? +not shown +2 events \(/)
  })
})

describe('the table', () => {
  it('has titles once, and addresses beside names', () => {
    const text = createEventText('table', bare)
    expect(text.linesOf(everything)).toBe(
      [
        'TIME                  TYPE           SOURCE                          DESTINATION                         PROTOCOL  TCP          WHY             DETAILS',
        '11-26 18:20:01.123456 drop           shop/frontend-1 10.0.0.4:40312  10.0.0.7:443                        tcp       SYN,ACK      not_specified   out, other, tcp_v4_rcv+0x9c7, 3 packets, 4,344 bytes',
        '11-26 18:20:02.123456 reset_sent     host [2001:db8::5]:22           shop/frontend-1 10.0.0.4:40312      tcp       close        no_socket',
        '11-26 18:20:03.123456 reset_received 10.0.0.7:443                    shop/frontend-1 10.0.0.4:40312      tcp       established',
        '11-26 18:20:04.123456 retransmit     shop/frontend-1 10.0.0.4:40312  10.0.0.7:443                        tcp       established  timeout         2 segments',
        '11-26 18:20:05.123456 connect        shop/frontend-1 10.0.0.4:40312  host [2001:db8::5]:22               tcp                    timed_out',
        '11-26 18:20:05.123456 dns            shop/frontend-1 10.0.0.4:40312  kube-system/kube-dns 10.96.0.10:53  udp                    NOERROR         AAAA api.example.com, 1.2 ms, 2 addresses, id 4711',
        '11-26 18:20:05.123456 http           shop/frontend-1 10.0.0.4:40312  shop/cart 10.96.0.20:80             tcp                    200             GET shop/cart, 12.3 ms',
        '11-26 18:20:05.123456 dns            shop/frontend-1 10.0.0.4:40312  kube-system/kube-dns 10.96.0.10:53  udp                    NXDOMAIN        AAAA api.example.com, 1.2 ms, id 4711',
        '11-26 18:20:05.123456 dns            shop/frontend-1 10.0.0.4:40312  kube-system/kube-dns 10.96.0.10:53  tcp                    SERVFAIL        AAAA api.example.com, 4,101 ms, id 4711',
        '11-26 18:20:05.123456 dns            shop/frontend-1 10.0.0.4:40312  kube-system/kube-dns 10.96.0.10:53  udp                    NOERROR         NS ., 250 ms, 1 address, id 4711',
        '11-26 18:20:05.123456 dns            shop/frontend-1 10.0.0.4:40312  kube-system/kube-dns 10.96.0.10:53  udp                    unanswered      TYPE65400 gone.example.com, id 1',
        '11-26 18:20:05.123456 http           shop/frontend-1 10.0.0.4:40312  shop/cart 10.96.0.20:80             tcp                    503             GET shop/cart, 12.3 ms',
        '11-26 18:20:05.123456 http           shop/frontend-1 10.0.0.4:40312  shop/cart 10.96.0.20:80             tcp                    404             POST /api/orders/17, 3.0 ms',
        '11-26 18:20:05.123456 http           shop/frontend-1 10.0.0.4:40312  shop/cart 10.96.0.20:80             tcp                    204             OPTIONS shop *, 4,101 ms',
        '11-26 18:20:05.123456 http           shop/frontend-1 10.0.0.4:40312  shop/cart 10.96.0.20:80             tcp                    unanswered      CONNECT db:443',
        '11-26 18:20:06.123456 drop           fe80::1                         @netns/blue ff02::1                 icmp                   queue_purge     in, normal, 1 byte',
        '11-26 18:20:07.123456 drop           ?                               ?                                   not IP                 tc_egress       forward, netfilter',
        '11-26 18:20:08.123456 not shown      1,234 dropped packets (more than 200 a second)',
        '11-26 18:20:08.123456 not shown      1 well answered DNS query (more than 100 a second)',
        '11-26 18:20:08.123456 not shown      2 well answered HTTP requests (more than 100 a second)',
        '11-26 18:20:09.123456 not shown      1 event (not taken in time by this command)',
        '',
      ].join('\n'),
    )
    expect(text.linesOf([oneOfEach.connect])).not.toContain('TIME')
  })

  it('has titles even if there is nothing', () => {
    expect(createEventText('table', bare).linesOf([])).toMatch(/^TIME .*DETAILS\n$/)
    expect(createEventText('compact', bare).linesOf([])).toBe('')
  })
})

describe('JSON', () => {
  it('is an object a line, as it came', () => {
    const lines = createEventText('json', bare).linesOf(everything).trimEnd().split('\n')
    expect(lines.map((line) => JSON.parse(line))).toEqual(everything)
  })

  it('is safe to look at', () => {
    const text = createEventText('json', bare).linesOf([hostileEvent])
    expect(text.slice(0, -1)).toMatch(/^[\x20-\x7e→]*$/)
    expect(JSON.parse(text)).toEqual(hostileEvent)
  })
})

describe('colours', () => {
  it.each([
    ['drop', 31],
    ['reset_sent', 31],
    ['reset_received', 31],
    ['connect', 31],
    ['retransmit', 33],
  ] as const)('%s: %d', (type, code) => {
    const text = createEventText('compact', { colour: true, unicode: true }).linesOf([oneOfEach[type]])
    expect(text).toContain(`\u001b[2m11-26 18:20:0`)
    expect(text).toContain(`\u001b[${code}m${type.padEnd(14)}\u001b[0m `)
  })

  it('leave alone what harms nobody', () => {
    const text = createEventText('compact', { colour: true, unicode: true })
    expect(text.linesOf([{ ...oneOfEach.drop, category: 'normal' }])).toContain(`\u001b[2m${'drop'.padEnd(14)}`)
  })
})

describe('DNS', () => {
  const coloured = createEventText('compact', { colour: true, unicode: true })
  const [nxdomain, servfail, slow, unanswered] = failedQueries as [NetworkEvent, NetworkEvent, NetworkEvent, NetworkEvent]

  it.each([
    [oneOfEach.dns, 'NOERROR', 32],
    [nxdomain, 'NXDOMAIN', 33],
    [servfail, 'SERVFAIL', 31],
    [slow, 'NOERROR', 33],
    [unanswered, 'unanswered', 31],
  ])('is coloured by its end: %#', (event, word, code) => {
    const line = coloured.linesOf([event])
    expect(line).toContain(`\u001b[${code}mdns           \u001b[0m `)
    expect(line).toContain(`  \u001b[${code}m${word}\u001b[0m  `)
    expect(createEventText('table', { colour: true, unicode: true }).linesOf([event])).toContain(
      `\u001b[${code}m${word.padEnd(14)}`,
    )
  })

  it('has the two ends of a long name', () => {
    const name = `first.${'x'.repeat(990)}.example`
    const line = createEventText('compact', bare).linesOf([{ ...unanswered, dns: { ...unanswered.dns!, name } }])
    const shown = / (first\S+) {2}unanswered/.exec(line)?.[1] ?? ''
    expect(shown).toMatch(/^first\.x+…x+\.example$/)
    expect(shown.length).toBe(limits.shownNameCharacters + 1)
    const ascii = createEventText('compact', { colour: false, unicode: false })
    expect(ascii.linesOf([{ ...unanswered, dns: { ...unanswered.dns!, name } }])).toMatch(/ first\.x+\.\.\.x+\.example {2}/)
  })
})

/** What an agent tells of a query for these labels that nobody answers, from the packet on. */
async function askFor(...labels: Uint8Array[]): Promise<NetworkEvent> {
  const events = createEvents({ resolve: () => undefined, endOf: () => undefined, lookForUnknown: () => undefined })
  const listeners: ((report: DnsReport, netns: NetworkNamespace) => void)[] = []
  const capture: Partial<Host['capture']> = { onDns: (listener) => void listeners.push(listener), onNotShown: () => undefined }
  await createPcapDns({ capture } as Host).start?.(new AbortController().signal, events)
  const analysis = createAnalysis(
    { dnsPorts: [53], httpPorts: [] },
    { onDns: (transaction) => listeners.forEach((tell) => tell({ type: 'dns', ...describeDns(transaction) }, netnsOf('shop'))) },
  )
  const client = [10, 0, 0, 4]
  analysis.own(1, false, [Buffer.from(client).toString('latin1')])
  const name = labels.flatMap((label) => [label.length, ...label])
  const message = [0x12, 0x67, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...name, 0, 0, 1, 0, 1]
  const length = 28 + message.length
  const ip = [0x45, 0, length >> 8, length & 0xff, 0, 1, 0x40, 0, 64, 17, 0, 0, ...client, 10, 96, 0, 10]
  const udp = [0x9c, 0x40, 0, 53, (length - 20) >> 8, (length - 20) & 0xff, 0, 0]
  const packet = Buffer.from([...ip, ...udp, ...message])
  const linkTypeRaw = 101
  analysis.take(packet, 0, packet.length, packet.length, linkTypeRaw, Date.UTC(2026, 10, 26, 18, 20, 1))
  analysis.expire(Date.UTC(2026, 10, 26, 18, 20, 11))
  return events.recent()[0] as NetworkEvent
}

describe('names of DNS that somebody makes up', () => {
  const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1')
  const longest = [63, 63, 63, 61].map((length) => new Uint8Array(length).fill(0xff))

  it.each([
    ['an escape sequence', [bytes('\u001b[2J\u009b31m'), bytes('x')], '\\027[2j\\15531m.x'],
    ['a line of its own', [bytes('a\r\n11-26 drop'), bytes('b')], 'a\\013\\01011-26\\032drop.b'],
    ['no UTF-8', [Uint8Array.of(0xc3, 0x28, 0xff, 0xfe), bytes('y')], '\\195(\\255\\254.y'],
    ['the direction turned', [Buffer.from('a\u202eb'), bytes('z')], 'a\\226\\128\\174b.z'],
    ['dots and backslashes', [bytes('a.b\\c')], 'a\\046b\\092c'],
    ['what looks like an answer', [bytes('a  NOERROR  1.0 ms')], 'a\\032\\032noerror\\032\\0321\\0460\\032ms'],
    ['a NUL', [bytes('\0')], '\\000'],
  ])('%s', async (_what, labels, name) => {
    const event = await askFor(...labels)
    expect(event.dns?.name).toBe(name)
    const line = createEventText('compact', bare).linesOf([event])
    expect(line).toMatch(/^[\x20-\x7e→]+\n$/)
    expect(line).toContain(`A ${name}  unanswered  (id ${0x1267})`)
    expect(JSON.parse(createEventText('json', bare).linesOf([event]))).toEqual(event)
  })

  it('255 bytes of which none can be printed', async () => {
    const event = await askFor(...longest)
    expect(event.dns?.name).toHaveLength(4 * (63 + 63 + 63 + 61) + 3)
    const line = createEventText('compact', bare).linesOf([event])
    expect(line.length).toBeLessThan(250)
    expect(line).toContain('…')
    expect(createEventText('json', bare).linesOf([event])).toContain(JSON.stringify(event.dns?.name))
  })
})

/** What an agent tells of a request with this head that nobody answers, from the packet on; of who asks, or of who is asked. */
async function request(head: string, isClient = true): Promise<NetworkEvent> {
  const events = createEvents({
    resolve: () => undefined,
    endOf: ({ netns }) => (netns === undefined ? undefined : { namespace: 'shop', pod: 'cart-0', workload: 'cart' }),
    lookForUnknown: () => undefined,
  })
  const listeners: ((report: HttpReport, netns: NetworkNamespace) => void)[] = []
  const capture: Partial<Host['capture']> = { onHttp: (listener) => void listeners.push(listener), onNotShown: () => undefined }
  await createPcapHttp({ capture } as Host).start?.(new AbortController().signal, events)
  const analysis = createAnalysis(
    { dnsPorts: [], httpPorts: [80] },
    {
      onHttp: (transaction) => listeners.forEach((tell) => tell({ type: 'http', ...describeHttp(transaction) }, netnsOf('shop'))),
    },
  )
  const [client, server] = [
    [10, 0, 0, 4],
    [10, 96, 0, 20],
  ]
  analysis.own(1, false, [Buffer.from(isClient ? client! : server!).toString('latin1')])
  const payload = Buffer.from(head, 'latin1')
  const length = 40 + payload.length
  const ip = [0x45, 0, length >> 8, length & 0xff, 0, 1, 0x40, 0, 64, 6, 0, 0, ...client!, ...server!]
  const see = (flags: number, sequence: number, bytes: Uint8Array): void => {
    const tcp = [0x9c, 0x40, 0, 80, 0, 0, 0, sequence, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]
    const packet = Buffer.from([...ip, ...tcp, ...bytes])
    packet.writeUInt16BE(packet.length, 2)
    const linkTypeRaw = 101
    analysis.take(packet, 0, packet.length, packet.length, linkTypeRaw, Date.UTC(2026, 10, 26, 18, 20, 1))
  }
  see(2, 0, Buffer.alloc(0))
  see(24, 1, payload)
  see(4, 1 + payload.length, Buffer.alloc(0))
  return events.recent()[0] as NetworkEvent
}

describe('requests that somebody makes up', () => {
  it.each([
    ['GET /cart?token=secret HTTP/1.1\r\nHost: shop\r\n\r\n', 'GET shop/cart  unanswered'],
    ['GET http://user:secret@shop:80/a?secret#b HTTP/1.1\r\nHost: x\r\n\r\n', 'GET shop:80/a  unanswered'],
    ['GET /\x9b31m\xe2\x80\xae HTTP/1.1\r\nHost: a\xff\x9b1m\r\n\r\n', undefined],
    ['GET /a HTTP/1.1\r\nHost: user:secret@shop:80?secret\r\n\r\n', 'GET shop:80/a  unanswered'],
    ['CONNECT user:secret@db:443 HTTP/1.1\r\n\r\n', 'CONNECT db:443  unanswered'],
    [`GET /${'x'.repeat(300)}?secret HTTP/1.1\r\n\r\n`, undefined],
  ])('%j: %s', async (head, end) => {
    const event = await request(head)
    expect(event).toMatchObject({ type: 'http', source: { pod: 'cart-0', address: '10.0.0.4' }, destination: { port: 80 } })
    for (const output of ['compact', 'table', 'json'] as const) {
      const text = createEventText(output, bare).linesOf([event])
      expect(text).not.toMatch(/secret|[^\x20-\x7e→…\n]/)
      if (end !== undefined && output === 'compact') expect(text.trimEnd().endsWith(end)).toBe(true)
    }
  })

  it('are of who was asked, where the client is not here', async () => {
    const event = await request('GET / HTTP/1.1\r\n\r\n', false)
    expect(event).toMatchObject({ destination: { namespace: 'shop', pod: 'cart-0', address: '10.96.0.20' } })
  })
})

describe.each(['compact', 'table'] as const)('%s', (output) => {
  it('is ASCII where the terminal knows no more', () => {
    const text = createEventText(output, { colour: false, unicode: false })
    expect(text.linesOf([...everything, hostileEvent])).toMatch(/^[\n\x20-\x7e]*$/)
  })

  it('cannot be steered from outside, nor do names look like what they are not', () => {
    const text = createEventText(output, bare).linesOf([hostileEvent])
    expect(text.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}]/u)
    expect(text).toContain('"@netns/a')
    expect(text).toContain('\ufffd')
  })
})
