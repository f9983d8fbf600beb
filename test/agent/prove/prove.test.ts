import fs from 'node:fs'
import { pino } from 'pino'
import { expect, it } from 'vitest'
import { NotFound } from '../../../agent/host/errors.ts'
import { createHost, type Host } from '../../../agent/host/host.ts'
import { definitionOf, type MetricName } from '../../../agent/metrics/catalogue.ts'
import { faults } from '../../../agent/prove/faults.ts'
import { type ProveReport, prove } from '../../../agent/prove/prove.ts'
import { createSources } from '../../../agent/sources/index.ts'
import type { Sink, Source } from '../../../agent/sources/source.ts'
import { expectAllExact } from '../../truth/events.ts'
import { requireRoot } from '../../truth/topology.ts'

const node = { name: 'node-1', kernel: '6.18', machine: 'x86_64', os: 'Debian', cgroup: 'v2' } as const
const openFiles = (): number => fs.readdirSync('/proc/self/fd').length

async function run(
  wrap: (source: Source) => Source = (source) => source,
  change: (host: Host) => Host = (host) => host,
): Promise<ProveReport> {
  const host = change(await createHost({ root: '/', tracer: true, log: pino({ level: 'silent' }) }))
  try {
    const parts = { version: '1.2.3', node, host }
    return await prove({ ...parts, createSources: (inner) => createSources(inner).map(wrap) })
  } finally {
    await host.stop()
  }
}

/** Puts something between a source and whom it emits to. */
const intercept =
  (name: string, change: (sink: Sink<MetricName>) => Partial<Sink<MetricName>>) =>
  (source: Source): Source =>
    source.name !== name ? source : { ...source, collect: (sink, signal) => source.collect({ ...sink, ...change(sink) }, signal) }

const outcomesOf = ({ signals }: ProveReport, metric: MetricName): (string | undefined)[] =>
  signals.filter((signal) => signal.metric === metric).flatMap(({ outcome, reason }) => [outcome, reason])

it('asks only for metrics and labels there are', () => {
  for (const { metric, labels } of faults.flatMap(({ signals }) => signals))
    for (const label of Object.keys(labels)) expect(definitionOf(metric).labels).toContain(label)
})

it('says which rights are missing, and touches nothing', async () => {
  const files = { read: () => 'CapEff:\t0000000000001000\n' } as unknown as Host['files']
  const report = await run(undefined, (host) => ({ ...host, files }))
  expect(report).toMatchObject({
    outcome: 'failed',
    missing: [
      'needs CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_BPF, CAP_PERFMON; this process is without CAP_SYS_ADMIN, CAP_BPF, CAP_PERFMON: run it as root, or in a pod of the chart with tier full',
    ],
    signals: [],
  })
})

requireRoot('proving', () => {
  it('finds every signal exact on this kernel, and leaves nothing open', async () => {
    const report = await run()
    const before = openFiles()
    expectAllExact(report)
    expect(report).toMatchObject({ schemaVersion: 1, version: '1.2.3', node, outcome: 'exact', missing: [], lostEvents: 0 })
    expect(report.families).toEqual(['ipv4', 'ipv6'])
    expect(report.signals).toHaveLength(faults.flatMap(({ signals }) => signals).length)
    for (const { caused, counted } of report.signals) {
      expect(counted).toBe(caused)
      expect(caused).toBeGreaterThanOrEqual(100)
    }
    await run()
    expect(openFiles()).toBe(before)
  })

  it('finds what is counted twice, and what is counted under another name', async () => {
    const report = await run(
      intercept('trace-connects', (sink) => ({
        emit: ((metric: MetricName, sample: { labels: { outcome?: string }; value: unknown }) => {
          const { outcome } = sample.labels
          const value = outcome === 'refused' ? Number(sample.value) * 2 : sample.value
          const labels = outcome === 'abandoned' ? { outcome: 'other' } : sample.labels
          sink.emit(metric, { ...sample, labels, value } as never)
        }) as Sink<MetricName>['emit'],
      })),
    )
    const asked = ['connects refused', 'connects abandoned']
    expectAllExact({ ...report, signals: report.signals.filter(({ signal }) => !asked.includes(signal)) })
    expect(report.outcome).toBe('mismatch')
    const wrong = report.signals.filter(({ outcome }) => outcome === 'mismatch')
    expect(wrong.map(({ signal, caused, counted, reason }) => ({ signal, caused, counted, reason }))).toEqual([
      { signal: 'connects refused', caused: 100, counted: 200, reason: '200 counted instead of 100' },
      { signal: 'connects abandoned', caused: 100, counted: 0, reason: '0 counted instead of 100, 100 as {"outcome":"other"}' },
    ])
  })

  it('names what this kernel does not give, and what could not be counted', async () => {
    const absent = 'netvitals_tcp_sent_resets_by_reason_total'
    const withoutReasons = intercept('trace-resets', (sink) => ({
      emit: ((metric: MetricName, sample: never) =>
        metric === absent ? sink.absent(metric, 'Linux 6.10 does') : sink.emit(metric, sample)) as Sink<MetricName>['emit'],
    }))
    const report = await run((source) => {
      if (source.name === 'netlink-sockets') return { ...source, collect: () => Promise.reject(new NotFound('/proc/net/tcp')) }
      return withoutReasons(source)
    })
    expect(outcomesOf(report, absent)).toEqual(['absent', 'Linux 6.10 does', 'absent', 'Linux 6.10 does'])
    const sockets = outcomesOf(report, 'netvitals_tcp_receive_queue_bytes')
    expect(sockets).toEqual(['failed', '/proc/net/tcp: no such file'])
    expectAllExact({ ...report, signals: report.signals.filter(({ outcome }) => outcome === 'exact' || outcome === 'mismatch') })
    expect(report.outcome).toBe('failed')
  })

  it('says why nothing can be proven without the tracer', async () => {
    const report = await run(undefined, (host) => ({ ...host, tracer: { ...host.tracer, missing: () => 'kernel has no BTF' } }))
    expect(report).toMatchObject({ outcome: 'failed', missing: ['kernel has no BTF'], signals: [] })
  })
})
