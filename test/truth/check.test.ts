import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Agent, createAgent } from '../../agent/agent.ts'
import type { CheckReport } from '../../agent/check.ts'
import { readConfig } from '../../agent/config.ts'
import { mapNames } from '../../agent/host/traced-maps.ts'
import { createLog } from '../../agent/log.ts'
import { catalogue, type MetricName } from '../../agent/metrics/catalogue.ts'
import { mapsReadBy } from '../../agent/sources/index.ts'
import { findExpectedAbsence, findExpectedCaveats } from './expected-absences.ts'
import { requireRoot } from './topology.ts'

requireRoot('what `check` says of this kernel', () => {
  let agent: Agent
  let report: CheckReport
  beforeAll(async () => {
    const config = readConfig(['check'], {})
    if ('print' in config) throw new Error(config.print)
    agent = await createAgent(config, createLog('silent'))
    await agent.start()
    report = await agent.check()
  })
  afterAll(() => agent?.stop())

  const sources = [...new Set(Object.values(catalogue).map(({ source }) => source))].filter((name) => name.startsWith('trace-'))
  /** A map bears its metric's name; what else a source writes comes from its first map. */
  const mapOf = (metric: MetricName) =>
    mapNames.find((map) => metric === `netvitals_${map}`) ?? mapsReadBy([catalogue[metric].source])[0]!
  const reportOf = (source: string) => report.sources.find(({ name }) => name === source)!

  it.each(sources)('%s: absent is exactly what this kernel cannot tell, with that reason; the rest is there', (source) => {
    for (const { name, outcome, reason } of reportOf(source).metrics) {
      const absence = findExpectedAbsence(mapOf(name as MetricName))
      expect({ name, outcome, reason }).toEqual({ name, outcome: absence === undefined ? 'ok' : 'absent', reason: absence })
    }
  })

  it('of what is absent there is no series', async () => {
    const { families } = await agent.sweep.take()
    const absent = report.sources.flatMap(({ metrics }) =>
      metrics.filter(({ outcome }) => outcome === 'absent').map(({ name }) => name),
    )
    expect(families.filter(({ name, series }) => absent.includes(name) && series.length > 0)).toEqual([])
  })

  it.each(sources.filter((name) => name !== 'trace-events'))(
    '%s: notes are exactly what the numbers do not tell on this kernel',
    (source) => {
      const given = mapsReadBy([source]).filter((map) => findExpectedAbsence(map) === undefined)
      const expected = [...new Set(given.flatMap((map) => findExpectedCaveats(map)))]
      const { caveats } = reportOf(source)
      expect(caveats).toEqual(expected.map((text) => expect.stringMatching(text)))
    },
  )

  it('trace-events: what there are no single events of, and why', () => {
    const mapsOfEvents = { drop: 'dropped_packets_total', reset_sent: 'tcp_sent_resets_by_reason_total' } as const
    const expected = Object.entries(mapsOfEvents).flatMap(([type, map]) => {
      const absence = findExpectedAbsence(map)
      return absence === undefined ? [] : [`no single events of type ${type}: ${absence}`]
    })
    expect(reportOf('trace-events').caveats).toEqual(expected)
  })
})
