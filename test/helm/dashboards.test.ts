import fs from 'node:fs'
import path from 'node:path'
import type { SyntaxNodeRef } from '@lezer/common'
import { parser } from '@prometheus-io/lezer-promql'
import { describe, expect, it } from 'vitest'
import { catalogue, type MetricDefinition, type MetricName } from '../../agent/metrics/catalogue.ts'
import { type LabelName, labels } from '../../agent/metrics/labels.ts'
import { toGrafana } from '../../helm/dashboards/grafana.ts'
import { boards } from '../../helm/dashboards/index.ts'

const folder = path.resolve(import.meta.dirname, '../../helm/netvitals/dashboards')

interface Target {
  readonly expr: string
  readonly legendFormat?: string
  readonly datasource: object
}
interface Panel {
  readonly id: number
  readonly type: string
  readonly title: string
  readonly description?: string
  readonly datasource?: object
  readonly panels?: readonly Panel[]
  readonly targets?: readonly Target[]
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string; readonly noValue?: string } }
}
interface Variable {
  readonly name: string
  readonly type: string
  readonly label: string
  readonly definition?: string
  readonly datasource?: object
  readonly allValue?: string
  readonly refresh?: number
}

/** What stands for Grafana's intervals. */
const rateInterval = '4m'
const range = '9m'
/** An expression with Grafana's variables filled in, taken apart by the grammar of Prometheus. */
function parse(expression: string) {
  const text = expression
    .replaceAll('$__rate_interval', rateInterval)
    .replaceAll('$__range', range)
    .replaceAll(/\$[a-z_]+/g, 'x')
  const calls: { name: string; text: string }[] = []
  const found = { errors: [] as string[], selectors: [] as string[], ranges: [] as string[], calls }
  const textOf = ({ from, to }: SyntaxNodeRef): string => text.slice(from, to)
  parser.parse(text).iterate({
    enter(node) {
      if (node.type.isError) found.errors.push(`at ${node.from}: ${text.slice(Math.max(0, node.from - 20), node.to + 20)}`)
      if (node.name === 'VectorSelector') found.selectors.push(textOf(node))
      if (node.name === 'MatrixSelector') found.ranges.push(/\[([^\]]*)\]$/.exec(textOf(node))?.[1] ?? '')
      if (node.name === 'FunctionCall') found.calls.push({ name: textOf(node).split('(', 1)[0]!.trim(), text: textOf(node) })
    },
  })
  return found
}
const metricOf = (selector: string): string => selector.split('{', 1)[0]!.trim()
const catalogued = (metric: string): string => (metric in catalogue ? metric : metric.replace(/_(bucket|sum|count)$/, ''))
const isCounted = (metric: string): boolean => metric !== catalogued(metric) || catalogue[metric as MetricName].type === 'counter'

describe('helm/netvitals/dashboards', () => {
  it.each(boards.map((board) => ({ uid: board.uid, board })))('$uid: its file is what its board says', async ({ uid, board }) => {
    await expect(`${JSON.stringify(toGrafana(board), undefined, 2)}\n`).toMatchFileSnapshot(path.join(folder, `${uid}.json`))
  })

  it('holds no other file', () => {
    const files = new Set(boards.map(({ uid }) => `${uid}.json`))
    expect(fs.readdirSync(folder).filter((file) => !files.has(file))).toEqual([])
  })
})

it('each board has its own uid, and a title by which it is found', () => {
  for (const of of [boards.map(({ uid }) => uid), boards.map(({ title }) => title)]) expect(new Set(of).size).toBe(of.length)
  for (const { uid } of boards) expect(uid).toMatch(/^netvitals-[a-z-]{3,30}$/)
})

/** The rules of Grafana's dashboard-linter, by its names; those that are left out are told at the end. */
describe.each(boards.map((board) => ({ title: board.title, board })))('$title', ({ board }) => {
  const dashboard = JSON.parse(JSON.stringify(toGrafana(board)))
  const variables: readonly Variable[] = dashboard.templating.list
  const panels: readonly Panel[] = dashboard.panels.flatMap((panel: Panel) => [panel, ...(panel.panels ?? [])])
  const charts = panels.filter(({ type }) => type !== 'row')
  const targets = charts.flatMap(({ title, targets = [] }) => targets.map((target) => ({ title, ...target })))
  const source = { type: 'prometheus', uid: `\${datasource}` }

  it('template-datasource, template-job, template-on-time-change-reload, template-label-promql', () => {
    const [first, ...rest] = variables
    expect(first).toMatchObject({ name: 'datasource', type: 'datasource', label: 'Data source', query: 'prometheus' })
    expect(rest.map(({ type }) => type).filter((type) => type !== 'query')).toEqual([])
    expect(rest.find(({ name }) => name === 'job')).toMatchObject({ label: 'Job', multi: true, allValue: '.+' })
    for (const { name, datasource, refresh, definition = '' } of rest) {
      expect({ name, datasource, refresh }).toEqual({ name, datasource: source, refresh: 2 })
      const [, selector = ''] = /^label_values\((.+), \w+\)$/.exec(definition) ?? []
      expect(parse(selector).errors).toEqual([])
      expect(Object.keys(catalogue)).toContain(metricOf(selector))
    }
  })

  it('panel-datasource, panel-title-description, panel-units, panel-no-targets; and what it means that there is nothing', () => {
    for (const { title, description = '', datasource, targets: own = [], fieldConfig, type } of charts) {
      expect(title).toMatch(/^\S.{2,60}\S$/)
      expect(description.length, title).toBeGreaterThan(60)
      expect(description, title).toMatch(/\.$/)
      expect(datasource, title).toEqual(source)
      expect(own.length, title).toBeGreaterThan(0)
      for (const target of own) expect(target.datasource, title).toEqual(source)
      expect(fieldConfig?.defaults.noValue, title).toMatch(/^\S.{3,}/)
      if (type !== 'table') expect(fieldConfig?.defaults.unit, title).toMatch(/./)
    }
    const titles = charts.map(({ title }) => title)
    expect(new Set(titles).size, titles.join(', ')).toBe(titles.length)
  })

  it('target-promql, target-rate-interval, target-job, target-counter-agg', () => {
    for (const { expr, title } of targets) {
      const { errors, selectors, calls, ranges } = parse(expr)
      expect(errors, `${title}: ${expr}`).toEqual([])
      expect(selectors.length, title).toBeGreaterThan(0)
      for (const one of ranges) expect([rateInterval, range, '1h'], `${title}: ${expr}`).toContain(one)
      for (const selector of selectors) {
        expect(Object.keys(catalogue), title).toContain(catalogued(metricOf(selector)))
        expect(selector, title).toContain('job=~"x"')
        if (!isCounted(metricOf(selector))) continue
        const rates = calls.filter(({ name, text }) => ['rate', 'increase', 'irate'].includes(name) && text.includes(selector))
        expect(rates.length, `${title}: ${selector} is a counter, and not rated`).toBeGreaterThan(0)
      }
    }
  })

  it('uneditable; found by the others; numbered', () => {
    expect(dashboard).toMatchObject({ editable: false, tags: ['netvitals'] })
    expect(dashboard.links).toMatchObject([
      { type: 'dashboards', tags: ['netvitals'], includeVars: true, keepTime: true, asDropdown: true },
    ])
    expect(panels.map(({ id }) => id)).toEqual(panels.map((_, index) => index + 1))
  })

  it('no two panels lie upon each other, none is beyond the 24 columns', () => {
    const taken = new Map<string, string>()
    for (const { title, gridPos } of panels.filter(({ type }) => type !== 'row')) {
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24)
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++)
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(taken.get(`${x} ${y}`), `${title} at ${x} ${y}`).toBeUndefined()
          taken.set(`${x} ${y}`, title)
        }
    }
  })

  it('a legend has at most 20 entries', () => {
    /** Whether the label may have more values than that. */
    const isOpen = (label: string, metric: string): boolean => {
      const { only = {} }: MetricDefinition = catalogue[catalogued(metric) as MetricName]
      return label in labels && !(label in only) && 'max' in labels[label as LabelName] && !['node', 'cluster'].includes(label)
    }
    for (const { title, expr, legendFormat = '' } of charts
      .filter(({ type }) => type === 'timeseries')
      .flatMap(({ title, targets = [] }) => targets.map((target) => ({ title, ...target })))) {
      const named = [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label]) => label!)
      const [metric = ''] = parse(expr).selectors.map(metricOf)
      if (!named.some((label) => isOpen(label, metric))) continue
      const [, most = '999'] = /topk\((\d+),/.exec(expr) ?? []
      expect(Number(most), `${title}: ${expr}`).toBeLessThanOrEqual(20)
    }
  })
})

// Left out of dashboard-linter's rules: template-instance and target-instance, because `node` is in its place; of
// target-rate-interval that totals are of all the time shown ($__range), and forecasts of an hour.
