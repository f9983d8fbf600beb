import fs from 'node:fs'
import { describe, expect, it } from 'vitest'
import { countSeriesMax, definitionOf, type MetricName, metricNames, rowLabels } from '../agent/metrics/catalogue.ts'
import { labels } from '../agent/metrics/labels.ts'
import { renderReference } from '../agent/metrics/reference.ts'

describe('names', () => {
  it.each(metricNames)('%s follows the naming rules', (name) => {
    const { type, unit, labels: names, help } = definitionOf(name)
    expect(name).toMatch(/^(netvitals|process)_[a-z][a-z0-9_]*$/)
    expect(name.endsWith('_total')).toBe(type === 'counter')
    const base = name.replace(/_total$/, '')
    for (const suffix of ['seconds', 'bytes', 'ratio'] as const) expect(base.endsWith(`_${suffix}`)).toBe(unit === suffix)
    expect(help).toMatch(/^[A-Z0-9].*\.$/)
    for (const label of names) expect(name.split('_')).not.toContain(label === 'state' ? 'states' : `by_${label}`)
  })

  it('uses no label that clashes with target labels or stands for something unbounded', () => {
    const forbidden = ['type', 'service', 'cluster', 'zone', 'job', 'instance', 'node', 'address', 'pid', 'uid', 'le', 'quantile']
    expect(Object.keys(labels).filter((label) => forbidden.includes(label))).toEqual([])
  })

  it('uses every label it declares', () => {
    const used = new Set<string>(
      metricNames.flatMap((name) => [...rowLabels[definitionOf(name).scope], ...definitionOf(name).labels]),
    )
    expect(Object.keys(labels).filter((label) => !used.has(label))).toEqual([])
  })
})

describe('number of series', () => {
  const sum = (names: readonly MetricName[]): number => names.reduce((n, name) => n + countSeriesMax(definitionOf(name)), 0)
  it('is at most 90 for a healthy pod: those born with the row', () => {
    expect(
      sum(metricNames.filter((name) => definitionOf(name).scope === 'pod' && definitionOf(name).birth === 'subject')),
    ).toBeLessThanOrEqual(90)
  })
  it('is known for every metric', () => {
    for (const name of metricNames) expect(countSeriesMax(definitionOf(name))).toBeGreaterThan(0)
  })
})

it('docs/reference.md is what the catalogue says (make build writes it)', () => {
  expect(fs.readFileSync(new URL('../docs/reference.md', import.meta.url), 'utf8')).toBe(renderReference())
})
