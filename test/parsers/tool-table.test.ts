import fs from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ParseError } from '../../parsers/text.ts'
import { createToolReader, type ToolEvent, type ToolFormatName, toolFormats } from '../../parsers/tool-table.ts'

const where = 'tool'

interface Found {
  events: ToolEvent[]
  errors: ParseError[]
  formats: ToolFormatName[]
  lost: number
}
function readLines(lines: readonly string[]): Found {
  const found: Found = { events: [], errors: [], formats: [], lost: 0 }
  const reader = createToolReader({
    where,
    onEvent: (event) => found.events.push(event),
    onFormat: (format) => found.formats.push(format),
    onError: (error) => found.errors.push(error),
    onLost: (events) => {
      found.lost += events
    },
  })
  for (const line of lines) reader.push(line)
  reader.end()
  return found
}
const read = (text: string): Found => readLines(text.split('\n'))
/** The only event of a header and a row. */
function readRow(header: string, row: string): Partial<ToolEvent> {
  const { events, errors } = readLines([header, row])
  expect(errors).toEqual([])
  expect(events).toHaveLength(1)
  const { type, line, count, ...rest } = events[0]!
  expect([line, count]).toEqual([2, 1])
  return rest
}
/** Where the only error is, and what was expected. */
function errorOf(...lines: string[]): [line: number, column: number, expected: string] {
  const { errors } = readLines(lines)
  expect(errors).toHaveLength(1)
  return [errors[0]!.line, errors[0]!.column, errors[0]!.expected]
}

const retransHeader = 'TIME     PID     IP LADDR:LPORT          T> RADDR:RPORT          STATE'
const retransRow = '01:55:05 0       4  10.153.223.157:22    R> 69.53.245.40:34619   ESTABLISHED'
const retransEvent = {
  type: 'retransmit',
  count: 1,
  time: '01:55:05',
  pid: 0,
  family: 'ipv4',
  local: { address: '10.153.223.157', port: 22 },
  remote: { address: '69.53.245.40', port: 34619 },
  retransmit: 'segment',
  state: 'established',
}
const bpftraceDropHeader = 'TIME     PID      COMM             SADDR:SPORT           DADDR:DPORT           STATE   '
const dropHeader = 'TIME     PID     IP SADDR:SPORT          > DADDR:DPORT          STATE (FLAGS)'
const dropRow = '14:46:49 0       4  10.9.0.2:80          > 10.9.0.1:33280       CLOSE (ACK)'

describe('createToolReader on rows', () => {
  it('reads tcpretrans, with IPv6 without brackets and columns pushed to the right', () => {
    expect(read(`Tracing retransmits ... Hit Ctrl-C to end\n${retransHeader}\n${retransRow}\n`).events).toEqual([
      { ...retransEvent, line: 3 },
    ])
    expect(readRow(retransHeader, '01:55:05 1938    6  2001:db8::a:22       L> 2001:db8:ffff:1:2:3:4:5:443 SYN_SENT')).toEqual({
      time: '01:55:05',
      pid: 1938,
      family: 'ipv6',
      local: { address: '2001:db8::a', port: 22 },
      remote: { address: '2001:db8:ffff:1:2:3:4:5', port: 443 },
      retransmit: 'probe',
      state: 'syn_sent',
    })
    expect(readRow(retransHeader, '01:55:05 0       6  ::ffff:10.0.0.1:22   R> ::ffff:10.0.0.2:443  12')).toMatchObject({
      family: 'ipv6',
      local: { address: '::ffff:10.0.0.1', port: 22 },
      state: 'new_syn_recv',
    })
  })
  it('reads tcpretrans -s, and an old one without a state', () => {
    expect(readRow(`${retransHeader}        SEQ       `, `${retransRow}  2879306108`)).toMatchObject({ state: 'established' })
    expect(readRow(retransHeader.slice(0, -6), retransRow.slice(0, -12))).not.toHaveProperty('state')
  })
  it('reads the counts of tcpretrans -c and tcpconnect -c', () => {
    const retrans = 'LADDR:LPORT               RADDR:RPORT               RETRANSMITS'
    const local = { address: '192.168.10.50', port: 60366 }
    const rows = [
      '[192.168.10.50]#60366 <-> [172.217.21.194]#443        700',
      '192.168.10.50:60366  <-> 172.217.21.194:443        70', // as the tool's documentation has it
      '[2001:db8::1]#60366  <-> [::]#443                   7',
    ]
    expect(readLines([retrans, ...rows]).events).toEqual([
      { type: 'retransmit', line: 2, count: 700, family: 'ipv4', local, remote: { address: '172.217.21.194', port: 443 } },
      { type: 'retransmit', line: 3, count: 70, family: 'ipv4', local, remote: { address: '172.217.21.194', port: 443 } },
      {
        type: 'retransmit',
        line: 4,
        count: 7,
        family: 'ipv6',
        local: { address: '2001:db8::1', port: 60366 },
        remote: { address: '::', port: 443 },
      },
    ])
    const connects = 'LADDR                     RADDR                     RPORT                CONNECTS  '
    expect(
      readLines([connects, '192.168.10.50             192.168.10.99             8888                 12        ']).events,
    ).toEqual([
      {
        type: 'connect',
        line: 2,
        count: 12,
        family: 'ipv4',
        local: { address: '192.168.10.50' },
        remote: { address: '192.168.10.99', port: 8888 },
      },
    ])
  })

  const ends = { family: 'ipv4', local: { address: '10.0.0.1' }, remote: { address: '10.0.0.2', port: 443 } }
  const connect = { ...ends, pid: 1234, comm: 'Web Content' }
  it.each([
    [
      'PID     COMM         IP SADDR            DADDR            DPORT ',
      '1234    Web Content  4  10.0.0.1         10.0.0.2         443    ',
      connect,
    ],
    [
      'TIME(s)  UID   PID     COMM         IP SADDR            LPORT  DADDR            DPORT ',
      '0.012    1000  1234    Web Content  4  10.0.0.1         40000  10.0.0.2         443    ',
      { ...connect, time: '0.012', local: { address: '10.0.0.1', port: 40000 } },
    ],
    [
      'PID     COMM         IP SADDR            DADDR            DPORT  QUERY',
      '1234    4 b          4  10.0.0.1         10.0.0.2         443    No DNS Query',
      { ...connect, comm: '4 b' },
    ],
    [
      'PID     COMM         IP SADDR            DADDR            DPORT  QUERY',
      '1234    curl         4  10.0.0.1         10.0.0.2         443    www.example.org (123.456ms)',
      { ...connect, comm: 'curl' },
    ],
    [
      'PID     COMM         IP SADDR            DADDR            DPORT ',
      '1234                 4  10.0.0.1         10.0.0.2         443    ',
      { ...connect, comm: '' },
    ],
  ])('reads tcpconnect: %s', (header, row, expected) => expect(readRow(header, row)).toEqual(expected))
  it('takes columns apart that touch each other', () => {
    const header = 'TIME(s)  UID   PID     COMM         IP SADDR            DADDR            DPORT '
    const rest = ' Web Content  4  10.0.0.1         10.0.0.2         443    '
    for (const [touching, pid] of [
      ['10000.0000     1234   ', 1234],
      ['9999.999 1000001234   ', 1234],
      ['10000.0001000001234   ', 1234],
      ['123456.78942949672954194304', 4194304],
    ] as const) {
      const { events, errors } = readLines([header, touching + rest])
      expect([events[0]?.pid, events[0]?.comm, errors]).toEqual([pid, 'Web Content', []])
    }
    expect(
      readRow(
        'TIME     TIME(s)  PID     COMM         IP RADDR            RPORT LADDR            LPORT',
        '01:02:03 10000.0001234    sshd         4  10.0.0.2         443   10.0.0.1         22   ',
      ),
    ).toMatchObject({ time: '01:02:03', pid: 1234, comm: 'sshd', local: { port: 22 } })
  })
  it('reads tcpaccept, and an old one without the remote port', () => {
    const local = { address: '::', port: 22 }
    expect(
      readRow(
        'PID     COMM         IP RADDR            RPORT LADDR            LPORT',
        '907     sshd         6  ::1              40000 ::               22   ',
      ),
    ).toEqual({ pid: 907, comm: 'sshd', family: 'ipv6', local, remote: { address: '::1', port: 40000 } })
    expect(
      readRow(
        'PID    COMM         IP RADDR            LADDR            LPORT',
        '907    sshd         6  ::1              ::               22',
      ),
    ).toEqual({ pid: 907, comm: 'sshd', family: 'ipv6', local, remote: { address: '::1' } })
  })
  const life = {
    pid: 22597,
    comm: 'Web Conten',
    family: 'ipv4',
    local: { address: '127.0.0.1', port: 46644 },
    remote: { address: '127.0.0.1', port: 28527 },
    sentBytes: 1024,
    receivedBytes: 2048,
    durationSeconds: 0.00023,
  }
  it.each([
    [
      'PID   COMM       LADDR           LPORT RADDR           RPORT TX_KB RX_KB MS',
      '22597 Web Conten 127.0.0.1       46644 127.0.0.1       28527     1     2 0.23',
      life,
    ],
    [
      'TIME     TIME(s)   PID   COMM             IP LADDR                      LPORT RADDR                      RPORT  TX_KB  RX_KB MS',
      '01:02:03 10000.000000 22597 Web Conten       4  127.0.0.1                  46644 127.0.0.1                  28527      1      2 0.23',
      { ...life, time: '01:02:03' },
    ],
    [
      'PID,COMM,IP,LADDR,LPORT,RADDR,RPORT,TX_KB,RX_KB,MS',
      '22597,a, b,4,127.0.0.1,46644,127.0.0.1,28527,1,2,0.23',
      { ...life, comm: 'a, b' },
    ],
    [
      'TIME(s),PID,COMM,IP,LADDR,LPORT,RADDR,RPORT,TX_KB,RX_KB,MS',
      '0.000000,22597,,4,127.0.0.1,46644,127.0.0.1,28527,1,2,0.23',
      { ...life, comm: '', time: '0.000000' },
    ],
    // libbpf-tools
    [
      'TIME(s)  PID     COMM             LADDR           LPORT RADDR           RPORT TX_KB  RX_KB  MS',
      '1.5      22597   Web Conten       127.0.0.1       46644 127.0.0.1       28527 1.00   2.00   0.23',
      { ...life, time: '1.5' },
    ],
  ])('reads tcplife: %s', (header, row, expected) => expect(readRow(header, row)).toEqual(expected))
  it('tells tcplife.bt by what bpftrace says before', () => {
    const header = 'PID   COMM       LADDR           LPORT RADDR           RPORT TX_KB RX_KB MS'
    expect(readLines(['Attaching 3 probes...', header, '', header]).formats).toEqual(['bpftrace tcplife', 'bcc tcplife'])
    expect(readLines(['Attached 3 probes', header]).formats).toEqual(['bpftrace tcplife'])
  })
  it('reads tcpconnlat', () => {
    expect(
      readRow(
        'PID     COMM         IP SADDR            DADDR            DPORT LAT(ms)',
        '1234    Web Content  4  10.0.0.1         10.0.0.2         443   5.25',
      ),
    ).toEqual({ ...connect, durationSeconds: 0.00525 })
    expect(
      readRow(
        'TIME(s)  PID     COMM         IP SADDR            LPORT  DADDR            DPORT LAT(ms)',
        '12345.6781234    Web Content  4  10.0.0.1         40000  10.0.0.2         443   5.25',
      ),
    ).toMatchObject({ time: '12345.678', pid: 1234, local: { port: 40000 } })
  })
  it('reads tcpstates', () => {
    const change = {
      pid: 0,
      comm: 'swapper/1',
      family: 'ipv6',
      local: { address: '::1', port: 80 },
      remote: { address: '::', port: 0 },
      state: 'syn_recv',
      newState: 'established',
      durationSeconds: 0.0005,
    }
    expect(
      readRow(
        'SKADDR           C-PID C-COMM     LADDR           LPORT RADDR           RPORT OLDSTATE    -> NEWSTATE    MS',
        'ffff9fd7e8192000 0     swapper/1  ::1             80    ::              0     SYN_RECV    -> ESTABLISHED 0.500',
      ),
    ).toEqual(change)
    expect(
      readRow(
        'TIME,SKADDR,C-PID,C-COMM,IP,LADDR,LPORT,RADDR,RPORT,OLDSTATE,NEWSTATE,MS',
        '01:02:03,ffff9fd7e8192000,0,swapper/1,6,::1,80,::,0,SYN_RECV,ESTABLISHED,0.500',
      ),
    ).toEqual({ ...change, time: '01:02:03' })
    expect(
      readRow(
        'SKADDR           PID     COMM       LADDR           LPORT RADDR           RPORT OLDSTATE    -> NEWSTATE    MS',
        'ffff9fd7e8192000 0       swapper/1  ::1             80    ::              0     SYN_RECV    -> ESTABLISHED 0.500',
      ),
    ).toEqual(change)
  })
  it('reads the tools of bpftrace', () => {
    const header = 'TIME     PID               LADDR:LPORT           RADDR:RPORT  STATE'
    expect(readRow(header, '15:20:32 0              10.0.0.1:22        2001:db8::1:443    ESTABLISHED')).toEqual({
      time: '15:20:32',
      pid: 0,
      family: 'ipv6',
      local: { address: '10.0.0.1', port: 22 },
      remote: { address: '2001:db8::1', port: 443 },
      state: 'established',
    })
    expect(readRow(header, '15:20:32 0              10.0.0.1:22           10.0.0.2:443          ')).not.toHaveProperty('state')
    expect(
      readRow(
        bpftraceDropHeader,
        '15:23:47 0        Web Content                                10.231.244.31:3306    10.0.0.2:50552  ESTABLISHE',
      ),
    ).toMatchObject({ comm: 'Web Content', local: { address: '10.231.244.31', port: 3306 }, state: 'established' })
    expect(
      readRow(
        'TIME     PID      COMM             SADDR                                   SPORT  DADDR                                   DPORT ',
        '00:36:45 1798396  agetty           127.0.0.1                               5001   10.229.20.82                            56603 ',
      ),
    ).toMatchObject({ comm: 'agetty', local: { address: '127.0.0.1', port: 5001 }, remote: { port: 56603 } })
    expect(
      readRow(
        'TIME     PID    COMM           RADDR                                   RPORT LADDR                                   LPORT BL',
        '00:34:19 3949061 nginx          10.228.22.228                           44226 10.229.20.169                           8080  0/128',
      ),
    ).toMatchObject({ comm: 'nginx', remote: { address: '10.228.22.228', port: 44226 }, local: { port: 8080 } })
  })
  it('reads a socket of perf-tools that is gone, and a task whose id it did not find', () => {
    const header = 'TIME     PID    LADDR:LPORT          -- RADDR:RPORT          STATE'
    expect(readRow(header, '05:16:44 3375   -:-                  R> -:-                  -')).toEqual({
      time: '05:16:44',
      pid: 3375,
      family: 'ipv4',
      retransmit: 'segment',
    })
    expect(readRow(header, '05:16:44        10.0.0.1:1           R> 10.0.0.2:2           CLOSE_WAIT')).toEqual({
      time: '05:16:44',
      family: 'ipv4',
      retransmit: 'segment',
      local: { address: '10.0.0.1', port: 1 },
      remote: { address: '10.0.0.2', port: 2 },
      state: 'close_wait',
    })
  })
  it('has a different name for each format, and knows each column', () => {
    expect(new Set(toolFormats.map(({ name }) => name)).size).toBe(toolFormats.length)
    for (const { header, name } of toolFormats) {
      const full = header.replaceAll('?', '')
      expect(readLines(name.startsWith('bpftrace') ? ['Attaching 1 probe...', full] : [full]).formats).toEqual([name])
      expect(readLines([full, 'x']).errors).toHaveLength(1)
    }
  })
})

describe('createToolReader on stacks', () => {
  it('gives them to their event, without the b of Python', () => {
    const { events, errors } = readLines([
      dropHeader,
      dropRow,
      "\tb'tcp_v4_rcv+0x9c7'",
      '\ttcp_drop+0x1',
      '',
      dropRow,
      '',
      dropRow,
    ])
    expect(errors).toEqual([])
    expect(events.map(({ line, stack }) => [line, stack])).toEqual([
      [2, ['tcp_v4_rcv+0x9c7', 'tcp_drop+0x1']],
      [6, undefined],
      [8, undefined],
    ])
  })
  it('hands an event out when its stack ends, and at once where there are none', () => {
    const seen: number[] = []
    const reader = createToolReader({ where, onEvent: ({ line }) => seen.push(line), onError: () => {} })
    const push = (...lines: string[]): number[] => {
      for (const line of lines) reader.push(line)
      return seen.splice(0)
    }
    const functions = ['    tcp_v4_rcv+2503', '    ip_rcv+1']
    const bpftraceRow = '15:23:47 0        a b     10.0.0.1:3306    10.0.0.2:50552  ESTABLISHED'
    expect(push(retransHeader, retransRow)).toEqual([2])
    expect(push(dropHeader, dropRow, '\ta')).toEqual([])
    expect(push('')).toEqual([4])
    expect(push(dropRow, '\ta', retransHeader)).toEqual([7]) // the next header
    expect(push(bpftraceDropHeader, bpftraceRow, '', ...functions)).toEqual([])
    expect(push('')).toEqual([11])
    expect(push(bpftraceRow, '', '')).toEqual([16])
    expect(push(bpftraceRow, bpftraceRow)).toEqual([19])
    reader.end()
    expect(push()).toEqual([20])
  })
  it('finds out whether tcpretrans of perf-tools prints them', () => {
    const header = 'TIME     PID    LADDR:LPORT          -- RADDR:RPORT          STATE'
    const row = '05:16:44 0      10.0.0.1:1           R> 10.0.0.2:2           CLOSE_WAIT'
    const stack = [' => tcp_retransmit_skb', ' => tcp_write_timer']
    const stacksOf = (...lines: string[]): (number | undefined)[] => {
      const { events, errors } = readLines([header, ...lines])
      expect(errors).toEqual([])
      return events.map((event) => event.stack?.length)
    }
    expect(stacksOf(row, ...stack, row, ...stack)).toEqual([2, 2])
    expect(stacksOf(row, row, row)).toEqual([undefined, undefined, undefined])
    expect(stacksOf(row, row, ...stack, row, ...stack)).toEqual([undefined, undefined, 2])
    const seen: number[] = []
    const reader = createToolReader({ where, onEvent: ({ line }) => seen.push(line), onError: () => {} })
    for (const line of [header, row, row]) reader.push(line)
    expect(seen).toEqual([2, 3])
    reader.push(row)
    expect(seen).toEqual([2, 3, 4])
  })
  it('keeps 64 functions at most', () => {
    const { events } = readLines([dropHeader, dropRow, ...Array.from({ length: 100_000 }, (_, i) => `\tf${i}+0x1`)])
    expect(events[0]!.stack).toHaveLength(64)
    expect(events[0]!.stack!.at(-1)).toBe('f63+0x1')
  })
  it('complains once about a stack whose row is missing or damaged', () => {
    expect(errorOf(dropHeader, '\tb+0x1', '\tc+0x1', '', dropRow)).toEqual([2, 2, 'a row of bcc tcpdrop'])
    expect(errorOf(dropHeader, dropRow.replace('10.9.0.2', '10.9.0.256'), '\tb+0x1', '\tc+0x1', '', dropRow)[1]).toBe(21)
  })
})

describe('createToolReader on what else tools print', () => {
  it('passes over their notices', () => {
    const notices = [
      'Tracing retransmits ... Hit Ctrl-C to end',
      'Tracing tcp drops. Hit Ctrl-C to end.',
      'Attaching 3 probes...',
      'Attached 3 probes',
      'WARNING: tcp_drop() kernel function not found or traceable. Use tracpoint:skb:kfree_skb instead.',
      '^C',
      '^CEnding tracing...',
      'Ending tracing...',
      '',
      '\r',
    ]
    expect(readLines([...notices, retransHeader, ...notices, `${retransRow}\r`])).toMatchObject({
      errors: [],
      events: [retransEvent],
    })
  })
  it('says how many events a tool lost', () => {
    expect(readLines(['Possibly lost 12 samples', 'Lost 3 events', 'lost 4 events on CPU #1!'])).toMatchObject({
      lost: 19,
      errors: [],
    })
  })
  it('follows a tool that was started again, or another one', () => {
    const { formats, events } = readLines([retransHeader, retransRow, dropHeader, dropRow, retransHeader, retransRow])
    expect(formats).toEqual(['bcc tcpretrans', 'bcc tcpdrop', 'bcc tcpretrans'])
    expect(events.map(({ type }) => type)).toEqual(['retransmit', 'drop', 'retransmit'])
  })
  it('finds the header behind a row that was cut', () => {
    const { formats, events, errors } = readLines([retransHeader, `01:55:05 0       4  10.1${dropHeader}`, dropRow])
    expect(formats).toEqual(['bcc tcpretrans', 'bcc tcpdrop'])
    expect(events).toHaveLength(1)
    expect(errors.map(({ line, column }) => [line, column])).toEqual([[2, 21]])
  })
  it('knows its format', () => {
    const reader = createToolReader({ where, onEvent: () => {}, onError: () => {} })
    expect(reader.format).toBeUndefined()
    reader.push(retransHeader)
    expect(reader.format).toBe('bcc tcpretrans')
  })
  it('lets the errors of its callbacks through', () => {
    const reader = createToolReader({
      where,
      onError: () => {},
      onEvent: () => {
        throw new Error('full')
      },
    })
    reader.push(retransHeader)
    expect(() => reader.push(retransRow)).toThrow('full')
  })

  it('says what is wrong, and where', () => {
    const wrong = (from: string, to: string): [number, string] => {
      const [line, column, expected] = errorOf(retransHeader, retransRow.replace(from, to), retransRow)
      expect(line).toBe(2)
      return [column, expected]
    }
    expect(errorOf(retransRow)).toEqual([1, 1, 'the header of a tool'])
    expect(readLines([retransHeader, 'bash: x\u001b[2J']).errors[0]!.message).toBe(
      'tool: line 2, column 1: expected a time, got "bash:"',
    )
    expect(wrong('01:55', '31:55')).toEqual([1, 'a time'])
    expect(wrong(' 0  ', ' -1 ')).toEqual([10, 'a decimal number'])
    expect(wrong(' 4 ', ' 5 ')).toEqual([18, '4 or 6'])
    expect(wrong('10.153.223.157:22', '10.153.223:22')).toEqual([21, 'an IPv4 or IPv6 address'])
    expect(wrong('10.153.223.157:22', '10.153.223.157')).toEqual([21, 'an address and a port'])
    expect(wrong(':22 ', ':65536 ')).toEqual([36, 'a port'])
    expect(wrong('R>', 'X>')).toEqual([42, 'R> or L>'])
    expect(wrong('ESTABLISHED', 'ESTABLISH')).toEqual([66, 'a TCP state'])
    expect(wrong('ESTABLISHED', '14')).toEqual([66, 'a TCP state'])
    expect(wrong('ESTABLISHED', '')).toEqual([63, 'the column STATE of bcc tcpretrans'])
    expect(wrong('ESTABLISHED', 'ESTABLISHED 1')).toEqual([78, 'the end of the line after 7 columns'])
    const life = 'PID   COMM       LADDR           LPORT RADDR           RPORT TX_KB RX_KB MS'
    expect(errorOf(life, '1 comm 10.0.0.1 1 10.0.0.2 2 0 0')).toEqual([2, 3, 'an IPv4 or IPv6 address'])
    expect(errorOf(life, '1 10.0.0.1 1 10.0.0.2')).toEqual([2, 22, '9 columns instead of 4'])
    expect(errorOf(life, '1 comm 10.0.0.1 1 10.0.0.2 2 0 0 1.2.3')).toEqual([2, 34, 'a number'])
    expect(errorOf(life, `1 ${'x'.repeat(17)} 10.0.0.1 1 10.0.0.2 2 0 0 1`)).toEqual([2, 3, 'a command of at most 16 characters'])
  })

  it.each([
    '::',
    '::1',
    '1::',
    'fe80::1',
    '1:2:3:4:5:6:7:8',
    '1:2:3:4:5:6:7::',
    '::2:3:4:5:6:7:8',
    '::ffff:1.2.3.4',
    '64:ff9b::1.2.3.4',
    '1:2:3:4:5:6:1.2.3.4',
    '0.0.0.0',
    '255.255.255.255',
  ])('knows the address %s', (address) =>
    expect(readRow(retransHeader, retransRow.replace('10.153.223.157', address)).local).toEqual({ address, port: 22 }),
  )
  it.each([
    ':',
    ':::',
    '1',
    '1:',
    ':1',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7:8::',
    '12345::',
    'g::',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.256',
    '01.2.3.4',
    '1..2.3',
    '.1.2.3',
    '1.2.3.',
    '::1.2.3',
    '::1.2.3.4:5',
    '1:2:3:4:5:6:7:1.2.3.4',
    'fe80::1%eth0',
    '-',
  ])('refuses the address %s', (address) =>
    expect(errorOf(retransHeader, retransRow.replace('10.153.223.157', address))[1]).toBe(21),
  )
})

const directory = path.resolve(import.meta.dirname, '../fixtures/recordings')
/** By ORIGIN: the format, how many rows, and what their counts add up to. */
const expectedRows: Record<string, [format: ToolFormatName, rows: number, events?: number]> = {
  'bcc-tcpaccept-tT': ['bcc tcpaccept', 9],
  'bcc-tcpconnect': ['bcc tcpconnect', 16],
  'bcc-tcpconnect-c': ['bcc tcpconnect -c', 12, 16],
  'bcc-tcpconnect-tUL': ['bcc tcpconnect', 16],
  'bcc-tcpconnlat-tL': ['bcc tcpconnlat', 12],
  'bcc-tcpdrop': ['bcc tcpdrop', 13],
  'bcc-tcpdrop-reason-handmade': ['bcc tcpdrop', 3],
  'bcc-tcplife': ['bcc tcplife', 25],
  'bcc-tcplife-Ttw': ['bcc tcplife', 25],
  'bcc-tcplife-sT': ['bcc tcplife', 25],
  'bcc-tcpretrans': ['bcc tcpretrans', 15],
  'bcc-tcpretrans-c': ['bcc tcpretrans -c', 5, 15],
  'bcc-tcpretrans-ls': ['bcc tcpretrans', 18],
  'bcc-tcpstates': ['bcc tcpstates', 104],
  'bcc-tcpstates-Ttw': ['bcc tcpstates', 104],
  'bcc-tcpstates-sL': ['bcc tcpstates', 25],
  'bpftrace-tcpaccept': ['bpftrace tcpaccept', 9],
  'bpftrace-tcpconnect': ['bpftrace tcpconnect', 16],
  'bpftrace-tcpdrop': ['bpftrace tcpdrop', 13],
  'bpftrace-tcplife': ['bpftrace tcplife', 25],
  'bpftrace-tcpretrans': ['bpftrace tcpretrans', 17],
  'perf-tools-tcpretrans-handmade': ['perf-tools tcpretrans', 3],
  'perf-tools-tcpretrans-s': ['perf-tools tcpretrans', 16],
}
const recordings = Object.keys(expectedRows).map(
  (name) => [name, fs.readFileSync(path.join(directory, `${name}.txt`), 'utf8')] as const,
)

describe('createToolReader on recordings', () => {
  const eventsOf = (name: string): ToolEvent[] => read(recordings.find(([file]) => file === name)![1]).events
  /** How many events have each value. */
  const tally = (events: readonly ToolEvent[], value: (event: ToolEvent) => unknown): Record<string, number> => {
    const found: Record<string, number> = {}
    for (const event of events) {
      const key = String(value(event))
      found[key] = (found[key] ?? 0) + event.count
    }
    return found
  }
  const remotePort = ({ remote }: ToolEvent): unknown => remote?.port

  it.each(recordings)('reads every row of %s', (name, text) => {
    const { events, errors, formats, lost } = read(text)
    const [format, rows, sum = rows] = expectedRows[name]!
    expect({ errors, formats, lost }).toEqual({ errors: [], formats: [format], lost: 0 })
    expect(events).toHaveLength(rows)
    expect(events.reduce((total, { count }) => total + count, 0)).toBe(sum)
    const { type } = toolFormats.find((one) => one.name === format)!
    expect(new Set(events.map((event) => event.type))).toEqual(new Set([type]))
  })
  it('counts by port what was caused', () => {
    const connects = { 7: 2, 9: 2, 81: 3, 8080: 5, 8081: 2, 8082: 1, 8083: 1 }
    for (const name of ['bcc-tcpconnect', 'bcc-tcpconnect-tUL', 'bcc-tcpconnect-c', 'bpftrace-tcpconnect'])
      expect(tally(eventsOf(name), remotePort), name).toEqual(connects)
    for (const name of ['bcc-tcpaccept-tT', 'bpftrace-tcpaccept'])
      expect(
        tally(eventsOf(name), ({ local }) => local?.port),
        name,
      ).toEqual({ 8080: 5, 8081: 2, 8082: 1, 8083: 1 })
    expect(tally(eventsOf('bcc-tcpconnlat-tL'), remotePort)).toEqual({ 81: 3, 8080: 5, 8081: 2, 8082: 1, 8083: 1 })
    for (const name of ['bcc-tcpretrans', 'bcc-tcpretrans-c'])
      expect(tally(eventsOf(name), remotePort), name).toEqual({ 9: 4, 8081: 2, 8082: 9 })
    expect(tally(eventsOf('bpftrace-tcpretrans'), remotePort)).toEqual({ 7: 4, 9: 4, 8082: 9 })
    expect(tally(eventsOf('bcc-tcpretrans-ls'), ({ retransmit }) => retransmit)).toEqual({ segment: 15, probe: 3 })
    for (const name of ['bcc-tcplife', 'bcc-tcplife-Ttw', 'bcc-tcplife-sT', 'bpftrace-tcplife'])
      expect(
        tally(eventsOf(name), ({ local, remote }) => Math.min(local!.port!, remote!.port!)),
        name,
      ).toEqual({
        7: 2,
        9: 2,
        81: 3,
        8080: 10,
        8081: 4,
        8082: 2,
        8083: 2,
      })
  })
  it('has families, commands, bytes and durations', () => {
    for (const name of ['bcc-tcplife-Ttw', 'bcc-tcplife-sT']) {
      const lives = eventsOf(name)
      expect(
        tally(lives, ({ family }) => family),
        name,
      ).toEqual({ ipv4: 15, ipv6: 10 })
      expect(
        tally(lives, ({ comm }) => comm),
        name,
      ).toEqual({ 'Web Content': 25 })
      const good = lives.filter(({ remote }) => remote?.port === 8080)
      expect(tally(good, ({ sentBytes, receivedBytes }) => `${sentBytes} ${receivedBytes}`)).toEqual({ '4096 2048': 5 }) // of 5000, 3000
      for (const { durationSeconds, time } of lives) {
        expect(durationSeconds).toBeGreaterThan(0)
        expect(time).toMatch(/^18:35:\d\d$/)
      }
    }
    expect(tally(eventsOf('bcc-tcplife'), ({ comm }) => comm)).toEqual({ 'Web Conten': 25 })
    expect(eventsOf('bcc-tcpaccept-tT').filter(({ local }) => local?.port === 8083)).toMatchObject([
      { family: 'ipv6', comm: 'tool server', remote: { address: '::ffff:10.9.0.1' }, local: { address: '::ffff:10.9.0.2' } },
    ])
    for (const { durationSeconds } of eventsOf('bcc-tcpconnlat-tL')) expect(durationSeconds).toBeLessThan(0.1)
  })
  it('has the states', () => {
    const steps = {
      'close syn_sent': 16,
      'syn_sent established': 9,
      'syn_sent close': 7,
      'listen syn_recv': 9,
      'syn_recv established': 9,
      'established fin_wait1': 9,
      'fin_wait1 fin_wait2': 9,
      'fin_wait2 close': 9,
      'established close_wait': 9,
      'close_wait last_ack': 9,
      'last_ack close': 9,
    }
    for (const name of ['bcc-tcpstates', 'bcc-tcpstates-Ttw'])
      expect(
        tally(eventsOf(name), ({ state, newState }) => `${state} ${newState}`),
        name,
      ).toEqual(steps)
    expect(tally(eventsOf('bcc-tcpstates-sL'), ({ newState }) => newState)).toEqual({
      syn_recv: 5,
      established: 5,
      fin_wait1: 5,
      fin_wait2: 5,
      close: 5,
    })
    expect(tally(eventsOf('bcc-tcpretrans'), ({ state }) => state)).toEqual({ established: 11, syn_sent: 4 })
  })
  it('has flags, reasons and stacks of drops', () => {
    const drops = eventsOf('bcc-tcpdrop')
    expect(tally(drops, ({ state, flags }) => `${state} ${flags}`)).toEqual({
      'syn_sent SYN': 6,
      'established PSH|ACK': 4,
      'established ACK': 3,
    })
    for (const name of ['bcc-tcpdrop', 'bpftrace-tcpdrop'])
      for (const { stack } of eventsOf(name)) {
        expect(stack!.length).toBeGreaterThan(10)
        expect(stack![0]).toMatch(/^kfree_skb_reason\+(?:0x7b|123)$/)
        expect(stack![1]).toMatch(/^nf_hook_slow\+/)
      }
    expect(tally(eventsOf('bpftrace-tcpdrop'), ({ comm }) => comm)).toEqual({
      'Web Content': 7,
      'ksoftirqd/1': 2,
      node: 2,
      'swapper/0': 2,
    })
    expect(eventsOf('bcc-tcpdrop-reason-handmade')).toMatchObject([
      {
        reason: 'netfilter_drop',
        flags: 'SYN|ACK',
        stack: ['nf_hook_slow+0xa9', 'ip_local_deliver+0xce', 'ip_rcv+0x59', 'process_backlog+0x81'],
      },
      { reason: 'unknown', flags: 'FIN|PSH|ACK', pid: 4194304, family: 'ipv6', stack: ['sk_skb_reason_drop+0x11', '[unknown]'] },
      { reason: 'tcp_invalid_sequence', flags: '', state: 'bound_inactive' },
    ])
    expect(new Set(eventsOf('perf-tools-tcpretrans-s').map(({ stack }) => stack![0]))).toEqual(new Set(['tcp_retransmit_skb']))
    expect(tally(eventsOf('perf-tools-tcpretrans-handmade'), ({ retransmit, local }) => `${retransmit} ${local?.port}`)).toEqual({
      'segment 53874': 1,
      'probe 53874': 1,
      'segment undefined': 1,
    })
  })
})

describe('createToolReader on damaged text', () => {
  const good = recordings.flatMap(([, text]) => text.split('\n').slice(0, 60)).filter((line) => !/^\^?C?Ending/.test(line))
  const garbage = fc.oneof(
    fc.string({ maxLength: 80 }),
    fc.string({ unit: 'binary', maxLength: 80 }),
    fc.constantFrom(
      '\u001b[2J',
      '\0'.repeat(4096),
      'x '.repeat(2048),
      '\t',
      ' => ',
      '[',
      '^',
      'TIME',
      'TIME PID',
      'PID'.repeat(1000),
    ),
    fc.tuple(fc.constantFrom(...good), fc.nat(200)).map(([line, at]) => line.slice(at)),
  )

  it.each([
    [retransHeader, retransRow],
    [dropHeader, dropRow],
    [
      'PID   COMM       LADDR           LPORT RADDR           RPORT TX_KB RX_KB MS',
      '22597 Web Conten 127.0.0.1 46644 127.0.0.1 28527 1 2 0.23',
    ],
  ])('loses no row of %s for what stands between', (header, row) => {
    // Not what by chance is a header, a row or a notice itself.
    const harmless = garbage.filter((line) => {
      const { events, formats } = readLines([header, line])
      return events.length === 0 && formats.length === 1 && !/[\n]/.test(line)
    })
    fc.assert(
      fc.property(fc.array(fc.oneof(harmless, fc.constant(row)), { maxLength: 40 }), (lines) => {
        const { events, errors } = readLines([header, ...lines])
        const rows = lines.flatMap((line, i) => (line === row ? [i + 2] : []))
        expect(events.map(({ line }) => line)).toEqual(rows)
        for (const error of errors) {
          const text = lines[error.line - 2]!
          expect(error.column).toBeGreaterThan(0)
          expect(error.column).toBeLessThanOrEqual(text.length + 1)
          expect(error.message).toMatch(/^[ -~]*$/)
        }
      }),
      { numRuns: 300 },
    )
  })
  it.each(recordings)('never throws on %s cut at any byte', (_name, text) => {
    const lines = text.split('\n')
    lines.forEach((line, i) => {
      const reader = createToolReader({ where, onEvent: () => {}, onError: (error) => expect(error).toBeInstanceOf(ParseError) })
      for (const before of lines.slice(0, 3)) reader.push(before)
      for (let length = 0; length <= line.length; length++) reader.push(line.slice(0, length))
      for (const after of lines.slice(i + 1, i + 3)) reader.push(after)
      reader.end()
    })
  })
})
