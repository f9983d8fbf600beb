import { describe, expect, it } from 'vitest'
import { createReport, findMissing } from '../../agent/check.ts'
import { metricsOf } from '../../agent/metrics/catalogue.ts'
import type { Snapshot } from '../../agent/metrics/snapshot.ts'
import { node, okReport, snapshotOf, sourceOf } from './http/fake-parts.ts'

const sources = [sourceOf('trace-drops'), sourceOf('proc-snmp')]
const subject = { version: '1.2.3', node, sources, off: ['netlink-sockets'] }
const reportOf = (...reports: Snapshot['sources']) => createReport(subject, snapshotOf({}, { sources: reports }))

const absentDrops = okReport('trace-drops', {
  outcome: 'absent',
  reason: 'needs CAP_BPF',
  absent: new Map(metricsOf('trace-drops').map((name) => [name, 'needs CAP_BPF'])),
})
const [oneMetric, otherMetric] = metricsOf('proc-snmp')

describe('a report', () => {
  it('is ok if everything is', () => {
    const report = reportOf(okReport('trace-drops'), okReport('proc-snmp'))
    expect(report).toMatchObject({ schemaVersion: 1, version: '1.2.3', node, outcome: 'ok', off: ['netlink-sockets'] })
    expect(report.sources.map(({ name, outcome, durationSeconds }) => [name, outcome, durationSeconds])).toEqual([
      ['trace-drops', 'ok', 0.00125],
      ['proc-snmp', 'ok', 0.00125],
    ])
    expect(report.sources[1]!.metrics.map(({ name }) => name)).toEqual(metricsOf('proc-snmp'))
    expect(report.sources[1]!.metrics[0]).toEqual({ name: oneMetric, help: expect.any(String), outcome: 'ok' })
  })

  it('says of what is absent why, what it takes, and what it would give', () => {
    const report = reportOf(absentDrops, okReport('proc-snmp'))
    expect(report.outcome).toBe('absent')
    expect(report.sources[0]).toMatchObject({
      outcome: 'absent',
      reason: 'needs CAP_BPF',
      needs: [{ capability: 'CAP_BPF' }, { tracepoint: 'skb:kfree_skb' }],
      metrics: metricsOf('trace-drops').map((name) => ({ name, outcome: 'absent', reason: 'needs CAP_BPF' })),
    })
  })

  it('is absent if one metric is', () => {
    const report = reportOf(okReport('trace-drops'), okReport('proc-snmp', { absent: new Map([[oneMetric!, 'old kernel']]) }))
    expect([report.outcome, report.sources[1]!.outcome]).toEqual(['absent', 'ok'])
    expect(report.sources[1]!.metrics.slice(0, 2)).toMatchObject([
      { name: oneMetric, outcome: 'absent', reason: 'old kernel' },
      { name: otherMetric, outcome: 'ok' },
    ])
  })

  it('is failed if one source is, with all its metrics', () => {
    const report = reportOf(absentDrops, okReport('proc-snmp', { outcome: 'failed', reason: 'line 3' }))
    expect(report.outcome).toBe('failed')
    expect(new Set(report.sources[1]!.metrics.map(({ outcome, reason }) => `${outcome} ${reason}`))).toEqual(
      new Set(['failed line 3']),
    )
  })

  it('names the subjects that could not be read', () => {
    const report = reportOf(okReport('trace-drops'), okReport('proc-snmp', { skipped: new Map([['blue', 'gone']]) }))
    expect(report.sources[1]!.skipped).toEqual([{ subject: 'blue', reason: 'gone' }])
    expect(report.sources[1]!.caveats).toEqual([])
  })

  it('tells what numbers do not tell', () => {
    const report = reportOf(okReport('trace-drops', { caveats: ['twins are one'] }), okReport('proc-snmp'))
    expect(report.sources.map(({ caveats }) => caveats)).toEqual([['twins are one'], []])
    expect(report.outcome).toBe('ok')
  })

  it('says where names come from, and why there are none', () => {
    const status = {
      state: 'watching',
      listedOnce: true,
      lastSuccessAtMs: 1,
      lastError: undefined,
      restarts: 0,
      known: 7,
    } as const
    const leftOut = { invalidObjects: 0, invalidFields: 0, otherNodes: 0, duplicates: 0, tooMany: 0 }
    const namesOf = (change: object) => {
      const names = new Map([['pods', { ...status, leftOut, ...change }]] as const)
      const snapshot = snapshotOf({}, { sources: [okReport('trace-drops'), okReport('proc-snmp')] })
      const { outcome, names: checked } = createReport({ ...subject, names }, snapshot)
      return [outcome, ...checked]
    }
    expect(namesOf({})).toEqual(['ok', { of: 'pods', outcome: 'ok', known: 7 }])
    expect(namesOf({ lastError: 'HTTP 403' })).toEqual([
      'failed',
      { of: 'pods', outcome: 'failed', known: 7, reason: 'HTTP 403' },
    ])
    expect(namesOf({ listedOnce: false })).toMatchObject(['ok', { outcome: 'absent' }])
  })

  it('survives JSON', () => {
    const report = reportOf(absentDrops, okReport('proc-snmp'))
    expect(JSON.parse(JSON.stringify(report))).toEqual(report)
  })
})

describe('what is required', () => {
  const report = reportOf(absentDrops, okReport('proc-snmp', { absent: new Map([[oneMetric!, 'old kernel']]) }))

  it('may be sources and metrics', () => {
    expect(findMissing(report, ['proc-snmp', otherMetric!])).toEqual([])
    expect(findMissing(report, ['trace-drops', oneMetric!, 'netlink-sockets', 'proc-snmb'])).toEqual([
      { name: 'trace-drops', reason: 'needs CAP_BPF' },
      { name: oneMetric, reason: 'old kernel' },
      { name: 'netlink-sockets', reason: 'switched off' },
      { name: 'proc-snmb', reason: 'there is no such source or metric' },
    ])
  })
})
