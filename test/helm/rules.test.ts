import fs from 'node:fs'
import path from 'node:path'
import { parser } from '@prometheus-io/lezer-promql'
import { describe, expect, it } from 'vitest'
import { catalogue } from '../../agent/metrics/catalogue.ts'
import { alertGroups } from '../../helm/rules/index.ts'
import { toRuleFile } from '../../helm/rules/prometheus.ts'

const root = path.resolve(import.meta.dirname, '../..')
const folder = path.join(root, 'helm/netvitals/rules')
const alerts = alertGroups.flatMap((group) => group.alerts)

describe('helm/netvitals/rules', () => {
  it.each(alertGroups.map((group) => ({ topic: group.topic, group })))(
    '$topic.yaml is what its alerts say',
    async ({ topic, group }) => {
      await expect(toRuleFile(group)).toMatchFileSnapshot(path.join(folder, `${topic}.yaml`))
    },
  )

  it('holds no other file', () => {
    const files = new Set(alertGroups.map(({ topic }) => `${topic}.yaml`))
    expect(fs.readdirSync(folder).filter((file) => !files.has(file))).toEqual([])
  })
})

it('each alert has its own name', () => {
  expect(new Set(alerts.map(({ name }) => name)).size).toBe(alerts.length)
})

describe.each(alerts.map((alert) => ({ name: alert.name, alert })))('$name', ({ alert }) => {
  const { query, threshold, summary, description, severity } = alert

  it('has a query that Prometheus can read, of metrics there are', () => {
    const errors: string[] = []
    const metrics = new Set<string>()
    parser.parse(query.text).iterate({
      enter({ type, name, from, to }) {
        if (type.isError) errors.push(`at ${from}: ${query.text.slice(Math.max(0, from - 20), to + 20)}`)
        if (name === 'VectorSelector') metrics.add(query.text.slice(from, to).split('{', 1)[0]!.trim())
      },
    })
    expect(errors).toEqual([])
    expect(metrics.size).toBeGreaterThan(0)
    for (const metric of metrics) expect(metric === 'up' || metric.replace(/_(bucket|count)$/, '') in catalogue).toBe(true)
  })

  if (threshold !== undefined)
    it('has its threshold once, where the chart can replace it', () => {
      const places = [...query.text.matchAll(/[<>] [\d.]+/g)].filter(([text]) => text.slice(2).startsWith(String(threshold)))
      expect(places.map(([text]) => Number(text.slice(2)))).toEqual([threshold])
    })

  it('tells what is the matter: briefly the same for all, then who, where and how much', () => {
    expect(summary).toMatch(/^[A-Z][^.{}]{10,80}$/)
    expect(description).toMatch(/^[A-Z{].*\.$/)
    if (alert.name !== 'NetvitalsAgentsAbsent') expect(description).toContain('$labels.')
    if (threshold !== undefined && threshold !== 0) expect(description).toContain('$value')
  })

  it('wakes nobody before something lasts', () => {
    const minutes = Number(alert.for.replace('m', ''))
    if (severity === 'critical') expect(minutes).toBeGreaterThanOrEqual(2)
    else expect(minutes).toBeGreaterThanOrEqual(5)
    expect(minutes).toBeLessThanOrEqual(15)
  })
})
