import { describe, expect, it } from 'vitest'
import { createEventText } from '../../../agent/cli/event-text.ts'
import type { NetworkEvent } from '../../../agent/events.ts'
import { everything, oneOfEach } from './one-of-each.ts'

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
        '11-26 18:20:01.123456 drop           shop/frontend-1:40312 → 10.0.0.7:443        tcp SYN,ACK      not_specified in tcp_v4_rcv+0x9c7 (out) 3 packets',
        '11-26 18:20:02.123456 reset_sent     host:22 → shop/frontend-1:40312             tcp close        no_socket',
        '11-26 18:20:03.123456 reset_received 10.0.0.7:443 → shop/frontend-1:40312        tcp established',
        '11-26 18:20:04.123456 retransmit     shop/frontend-1:40312 → 10.0.0.7:443        tcp established  timeout 2 segments',
        '11-26 18:20:05.123456 connect        shop/frontend-1:40312 → host:22             tcp              timed_out',
        '11-26 18:20:06.123456 drop           fe80::1 → @netns/blue                       icmp             queue_purge (in)',
        '11-26 18:20:07.123456 drop           ? → ?                                       not IP           tc_egress (forward)',
        '11-26 18:20:08.123456 not shown      1,234 dropped packets (more than 200 a second)',
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
    const event = { ...oneOfEach.connect, type: 'dns' as 'connect', outcome: 'nxdomain' }
    expect(createEventText('compact', { colour: true, unicode: true }).linesOf([event])).toContain('\u001b[1mdns ')
    const notShown = { time: 'never', type: 'not_shown', of: 'dns' as 'drop', count: 2 } as const
    expect(createEventText('compact', bare).linesOf([notShown])).toMatch(/^\? +not shown +2 events \(/)
  })
})

describe('the table', () => {
  it('has titles once, and addresses beside names', () => {
    const text = createEventText('table', bare)
    expect(text.linesOf(everything)).toBe(
      [
        'TIME                  TYPE           SOURCE                          DESTINATION                     PROTOCOL  TCP          WHY             DETAILS',
        '11-26 18:20:01.123456 drop           shop/frontend-1 10.0.0.4:40312  10.0.0.7:443                    tcp       SYN,ACK      not_specified   out, other, tcp_v4_rcv+0x9c7, 3 packets, 4,344 bytes',
        '11-26 18:20:02.123456 reset_sent     host [2001:db8::5]:22           shop/frontend-1 10.0.0.4:40312  tcp       close        no_socket',
        '11-26 18:20:03.123456 reset_received 10.0.0.7:443                    shop/frontend-1 10.0.0.4:40312  tcp       established',
        '11-26 18:20:04.123456 retransmit     shop/frontend-1 10.0.0.4:40312  10.0.0.7:443                    tcp       established  timeout         2 segments',
        '11-26 18:20:05.123456 connect        shop/frontend-1 10.0.0.4:40312  host [2001:db8::5]:22           tcp                    timed_out',
        '11-26 18:20:06.123456 drop           fe80::1                         @netns/blue ff02::1             icmp                   queue_purge     in, normal, 1 byte',
        '11-26 18:20:07.123456 drop           ?                               ?                               not IP                 tc_egress       forward, netfilter',
        '11-26 18:20:08.123456 not shown      1,234 dropped packets (more than 200 a second)',
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
