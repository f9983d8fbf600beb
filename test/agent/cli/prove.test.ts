import { describe, expect, it } from 'vitest'
import { textOf } from '../../../agent/cli/prove.ts'
import type { ProvenSignal, ProveReport } from '../../../agent/prove/prove.ts'

const signalOf = (more: Partial<ProvenSignal>): ProvenSignal => ({
  fault: 'TCP connects to a closed port',
  signal: 'connects refused',
  metric: 'netvitals_tcp_connects_total',
  labels: { outcome: 'refused' },
  mechanism: 'tracepoint sock:inet_sock_set_state',
  outcome: 'exact',
  caused: 100,
  causedAccordingTo: { by: 'program', what: 'calls refused' },
  counted: 100,
  ...more,
})
const { counted: _, ...uncounted } = signalOf({
  signal: 'resets sent',
  metric: 'netvitals_tcp_sent_resets_total',
  labels: {},
  mechanism: 'Tcp.OutRsts',
  outcome: 'absent',
  reason: 'Linux 6.10 \u001b[31mdoes',
})
const report: ProveReport = {
  schemaVersion: 1,
  version: '1.2.3',
  node: { name: 'node-1', kernel: '6.18.5', machine: 'x86_64', os: 'Debian GNU/Linux 12', cgroup: 'v2' },
  outcome: 'mismatch',
  missing: [],
  durationSeconds: 1.84,
  families: ['ipv4', 'ipv6'],
  signals: [
    signalOf({}),
    uncounted,
    signalOf({
      fault: 'UDP',
      signal: 'bytes',
      caused: 7000,
      counted: 6999,
      outcome: 'mismatch',
      reason: '6999 counted instead of 7000',
      causedAccordingTo: { by: 'kernel', what: 'Udp.NoPorts' },
    }),
  ],
  lostEvents: 0,
  unproven: [{ what: 'devices', why: 'there are none' }],
}

describe('the screen', () => {
  it('has a line for each signal, below it what is wrong', () => {
    expect(textOf(report, { colour: false, unicode: true })).toBe(
      [
        'node-1  Debian GNU/Linux 12, Linux 6.18.5, x86_64, cgroup v2, netvitals 1.2.3',
        '',
        'Caused with IPv4 and IPv6:',
        '',
        'TCP connects to a closed port',
        '  ✔ caused 100, counted 100      connects refused  tracepoint sock:inet_sock_set_state',
        '  – caused 100, counted ?        resets sent       Tcp.OutRsts',
        '    netvitals_tcp_sent_resets_total: absent: Linux 6.10 \ufffd[31mdoes',
        '',
        'UDP',
        '  ✖ caused 7,000, counted 6,999  bytes             tracepoint sock:inet_sock_set_state; caused: Udp.NoPorts',
        '    netvitals_tcp_connects_total{outcome="refused"}: mismatch: 6999 counted instead of 7000',
        '',
        '1 exact, 1 mismatch, 1 absent, 0 failed; 0 events lost; 1.8 s',
        '',
        'Not proven here:',
        '  devices: there are none',
        '',
      ].join('\n'),
    )
  })

  it('is ASCII where the terminal knows no more, and dims what is beside the point', () => {
    expect(textOf(report, { colour: false, unicode: false })).toMatch(/^[\n\x20-\x7e]*$/)
    expect(textOf(report, { colour: true, unicode: true })).toContain('\u001b[32m✔\u001b[0m caused 100')
  })
})
