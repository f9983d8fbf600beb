// What a panel has to show: its queries answered, and made into what its kind draws, as Grafana does.
import { intervalsOf } from './intervals.mjs'
import { interpolate } from './variables.mjs'

/** The panels of a board by row, in order; `y` counts from the row's top. */
export function rowsOf(board) {
  const rows = []
  for (const { panels = [], ...item } of board.panels) {
    if (item.type === 'row') rows.push({ title: item.title, isCollapsed: item.collapsed === true, panels })
    else {
      if (rows.length === 0) rows.push({ title: undefined, isCollapsed: false, panels: [] })
      rows.at(-1).panels.push(item)
    }
  }
  return rows.map((row) => {
    const top = Math.min(...row.panels.map(({ gridPos }) => gridPos.y))
    const panels = row.panels.map((panel) => ({ ...panel, gridPos: { ...panel.gridPos, y: panel.gridPos.y - top } }))
    return { ...row, panels }
  })
}

/** `points` is how many a panel has room for. The result has `error` if a query failed, and else what its kind needs. */
export async function evaluate(panel, { prometheus, fromMs, toMs, points, scrapeMs, variables }) {
  const intervals = intervalsOf({ rangeMs: toMs - fromMs, points, scrapeMs })
  const { stepMs } = intervals
  try {
    const answers = await Promise.all(
      panel.targets.map(async ({ expr, refId, instant, legendFormat }) => {
        const text = interpolate(expr, variables, intervals)
        const series = instant ? await prometheus.query(text, toMs) : await prometheus.queryRange(text, { fromMs, toMs, stepMs })
        return { refId, series: series.map((one) => ({ ...one, name: nameOf(one.labels, legendFormat) })) }
      }),
    )
    return { ...prepare(panel, answers), ...summarise(panel, answers), startMs: Math.floor(fromMs / stepMs) * stepMs, stepMs }
  } catch (error) {
    return { error: error.message, seriesCount: 0, marks: [`FAILED: ${error.message}`] }
  }
}

function nameOf(labels, legend) {
  if (legend) return legend.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? '')
  const { __name__: name = '', ...others } = labels
  const text = Object.entries(others).map(([label, value]) => `${label}="${value}"`)
  return text.length === 0 ? name || 'Value' : `${name}{${text.join(', ')}}`
}

/** What draw.mjs prints of a panel. */
function summarise(panel, answers) {
  const series = answers.flatMap((answer) => answer.series)
  const values = series.flatMap((one) => one.values ?? [one.value]).filter((value) => value !== null)
  const names = panel.targets.some(({ legendFormat }) => legendFormat) ? series.map(({ name }) => name) : []
  const marks = {
    EMPTY: values.every((value) => typeof value !== 'number'),
    'all 0': values.length > 0 && values.every((value) => value === 0),
    'values that are no numbers': values.some((value) => typeof value === 'string'),
    'series without a name': names.some((name) => !/\w/.test(name)),
    'series of the same name': new Set(names).size < names.length,
  }
  return {
    seriesCount: series.length,
    isEmpty: marks.EMPTY,
    marks: Object.keys(marks).filter((mark) => marks[mark]),
  }
}

function prepare(panel, answers) {
  switch (panel.type) {
    case 'timeseries':
    case 'stat':
      return { series: answers.flatMap(({ series }) => series.map(({ name, values }) => ({ name, values: values.map(number) }))) }
    case 'heatmap':
      return { rows: heatMapRows(panel, answers) }
    case 'table':
    case 'nodeGraph':
      return { table: organise(merge(answers), panel.transformations) }
    default:
      throw new Error(`panels of type ${panel.type} cannot be drawn`)
  }
}

const number = (value) => (typeof value === 'number' ? value : null)

function heatMapRows(panel, answers) {
  const rows = answers.flatMap(({ series }) => series.map(({ name, values }) => ({ name, values: values.map(number) })))
  return panel.targets.some(({ format }) => format === 'heatmap') ? separate(rows) : rows
}

/** Of cumulative buckets what each of them has by itself. */
export function separate(rows) {
  const bound = ({ name }) => (name === '+Inf' ? Number.POSITIVE_INFINITY : Number(name))
  const sorted = rows.toSorted((a, b) => bound(a) - bound(b))
  return sorted.map(({ name, values }, i) => ({
    name,
    values: values.map((value, at) => (value === null ? null : value - (sorted[i - 1]?.values[at] ?? 0))),
  }))
}

/**
 * The answers side by side. Rows become one if they agree in the labels that all answers have, and in no other field differ;
 * a label that only some rows of an answer have is empty in the others.
 */
export function merge(answers) {
  const tables = answers
    .filter(({ series }) => series.length > 0)
    .map(({ refId, series }) => {
      const field = answers.length === 1 ? 'Value' : `Value #${refId}`
      const labels = [...new Set(series.flatMap((one) => Object.keys(one.labels)))].sort()
      const labelsOf = (one) => labels.map((label) => [label, one.labels[label] ?? ''])
      return { labels, field, rows: series.map((one) => Object.fromEntries([...labelsOf(one), [field, one.value]])) }
    })
  const shared = (tables[0]?.labels ?? []).filter((label) => tables.every(({ labels }) => labels.includes(label)))
  const groups = new Map()
  const merged = []
  for (const row of tables.flatMap(({ rows }) => rows)) {
    const key = JSON.stringify(shared.map((label) => row[label]))
    const group = groups.get(key) ?? []
    groups.set(key, group)
    const fields = Object.entries(row)
    const fitting = group.filter((one) => fields.every(([field, value]) => one[field] === undefined || one[field] === value))
    for (const one of fitting) Object.assign(one, row)
    if (fitting.length > 0) continue
    group.push(row)
    merged.push(row)
  }
  const fields = new Set(['Time', ...tables.flatMap(({ labels, field }) => [...labels, field])])
  return { columns: [...fields].map((field) => ({ field, heading: field })), rows: merged }
}

/** Columns left out, put in order and named. */
export function organise({ columns, rows }, transformations = []) {
  const unknown = transformations.find(({ id }) => !['merge', 'organize'].includes(id))
  if (unknown !== undefined) throw new Error(`the transformation ${unknown.id} cannot be drawn`)
  const { options } = transformations.find(({ id }) => id === 'organize') ?? {}
  if (options === undefined) return { columns, rows }
  const { excludeByName = {}, indexByName = {}, renameByName = {} } = options
  const placeOf = ({ field }) => indexByName[field] ?? Number.POSITIVE_INFINITY
  return {
    columns: columns
      .filter(({ field }) => !excludeByName[field])
      .map(({ field }) => ({ field, heading: renameByName[field] ?? field }))
      .toSorted((a, b) => (placeOf(a) === placeOf(b) ? 0 : placeOf(a) - placeOf(b))),
    rows,
  }
}
