import { describe, expect, it } from 'vitest'
import { sourcesOf, titleOf, totalsOf } from '../../../agent/cli/report-text.ts'
import { paint, plain } from '../../../agent/cli/terminal.ts'
import { metricsOf } from '../../../agent/metrics/catalogue.ts'
import { okReport, reportOf, snapshotOf, sourceOf } from '../http/fake-parts.ts'

const [one, two] = metricsOf('proc-snmp')
const sources = [sourceOf('trace-drops'), sourceOf('proc-snmp'), sourceOf('netlink-sockets'), sourceOf('netlink-conntrack')]
const report = {
  ...reportOf(
    snapshotOf(
      {},
      {
        sources: [
          okReport('trace-drops', { outcome: 'absent', reason: 'no permission' }),
          okReport('proc-snmp', {
            absent: new Map([
              [one!, 'old'],
              [two!, 'old'],
            ]),
            skipped: new Map([
              ['blue', 'gone'],
              ['red', 'gone'],
            ]),
          }),
          okReport('netlink-sockets', { outcome: 'failed', reason: 'line 3 \u001b[31mof it\n' }),
          okReport('netlink-conntrack', { caveats: ['twins are one'] }),
        ],
      },
    ),
    sources,
  ),
  off: ['proc-softnet'],
}
const snmp = metricsOf('proc-snmp').length

describe('the screen', () => {
  it('says where names come from', () => {
    const names = [
      { of: 'pods', outcome: 'ok', known: 12 },
      { of: 'peers', outcome: 'failed', known: 3, reason: 'HTTP 403 \u001b[31m' },
    ] as const
    const lines = sourcesOf({ ...report, names }, { colour: false, unicode: true })
      .trimEnd()
      .split('\n')
    expect(lines.slice(-2)).toEqual([
      '  ✔ names of pods      12 known',
      expect.stringMatching(/^ {2}✖ names of peers {5}failed: HTTP 403 [^\u001b]*; 3 known$/),
    ])
  })

  it('is aligned, and says why, what it takes and what would be gained', () => {
    expect(sourcesOf(report, { colour: false, unicode: true })).toBe(
      [
        '  – trace-drops        absent: no permission',
        '                       needs CAP_BPF, tracepoint skb:kfree_skb',
        '                       would give netvitals_dropped_packets_total, netvitals_dropped_bytes_total, netvitals_dropped_packets_unattributed_total',
        `  ✔ proc-snmp          ${snmp - 2} of ${snmp} metrics`,
        `                       without ${one}, ${two}: old`,
        '                       not readable this time: 2, first blue: gone',
        '  ✖ netlink-sockets    failed: line 3 \ufffd[31mof it\ufffd',
        `                       would give ${metricsOf('netlink-sockets').slice(0, 3).join(', ')} and ${metricsOf('netlink-sockets').length - 3} more`,
        `  ✔ netlink-conntrack  ${metricsOf('netlink-conntrack').length} metrics`,
        '                       note: twins are one',
        '  – proc-softnet       switched off',
        '',
      ].join('\n'),
    )
    expect(totalsOf(report)).toBe('2 ok, 1 absent, 1 failed')
    expect(titleOf(report, { colour: false, unicode: true })).toBe(
      'node-1  Debian GNU/Linux 12, Linux 6.18.5, x86_64, cgroup v2, netvitals 1.2.3',
    )
  })

  it('is ASCII where the terminal knows no more', () => {
    const text = sourcesOf(report, { colour: false, unicode: false })
    expect(text).toMatch(/^[\n\x20-\x7e]*$/)
    expect(text).toContain('  - trace-drops ')
    expect(text).toContain('  + proc-snmp ')
    expect(text).toContain('  x netlink-sockets    failed: line 3 ?[31mof it?\n')
  })

  it('has colours only of its own', () => {
    const text = sourcesOf(report, { colour: true, unicode: true })
    expect(text).toContain('\u001b[32m✔\u001b[0m proc-snmp')
    expect(text).not.toContain('\u001b[31mof it')
  })
})

describe('text from outside', () => {
  it('cannot steer the terminal', () => {
    expect(plain('a\u001b]0;x\u0007\u009b2J\u202eb\u2028\ud800c\r', true)).toBe(
      'a\ufffd]0;x\ufffd\ufffd2J\ufffdb\ufffd\ufffdc\ufffd',
    )
    expect(plain('grün ✔', true)).toBe('grün ✔')
    expect(plain('grün 😀', false)).toBe('gr?n ?')
    expect(paint('x', 'red', false)).toBe('x')
  })
})
