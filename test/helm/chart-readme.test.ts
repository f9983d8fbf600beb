import fs from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { parse } from 'yaml'
import { renderChartReadme, type Schema } from '../../helm/chart-readme.ts'

const folder = path.resolve(import.meta.dirname, '../../helm')
const read = (file: string): string => fs.readFileSync(path.join(folder, file), 'utf8')
const values: Record<string, unknown> = parse(read('netvitals/values.yaml'))
const schema: Schema = JSON.parse(read('netvitals/values.schema.json'))
const text = renderChartReadme({
  chart: read('netvitals/Chart.yaml'),
  values: read('netvitals/values.yaml'),
  schema,
  tiers: parse(read('netvitals/tiers.yaml')),
  examples: {
    prometheus: read('examples/prometheus.yaml'),
    'kube-prometheus-stack': read('examples/kube-prometheus-stack.yaml'),
    tls: read('examples/tls.yaml'),
  },
})

it("the chart's README is what its files say", async () => {
  await expect(text).toMatchFileSnapshot(path.join(folder, 'netvitals/README.md'))
})

it('has a row for every value that the schema knows, with its default', () => {
  const leaves = (of: Schema, value: unknown, at: string): [string, unknown][] =>
    of.properties === undefined || Object.keys(value as object).length === 0
      ? [[at, value]]
      : Object.entries(of.properties).flatMap(([name, inner]) => {
          const own = (value as Record<string, unknown>)[name]
          return own === undefined ? [] : leaves(inner, own, at === '' ? name : `${at}.${name}`)
        })
  const all = leaves(schema, values, '')
  expect(all.length).toBeGreaterThan(50)
  for (const [name, value] of all) {
    const given = JSON.stringify(value)
    expect(text).toContain(`| \`${name}\` | ${given.length > 60 ? 'see values.yaml' : `\`${given}\``} |`)
  }
})
