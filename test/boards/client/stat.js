// One number, or a few, each over the line that it comes from.
import { format } from '../units.js'
import { calculations } from './calculations.js'
import { colourOf, colours, element, stepsOf, widthOf } from './theme.js'

const lineHeight = 1.2
const valueWeight = 500
const largestName = 30
const padding = 12
/** Of the height, what the line has for itself at least. */
const graphShare = 0.25
const nameShare = 0.15

export function drawStat(body, panel, { series: given, isEmpty }) {
  const series = isEmpty ? [{ name: '', values: [] }] : given
  const cells = series.map(() => element('div', { class: 'stat' }))
  body.classList.add('stats')
  body.append(...cells)
  for (const [i, cell] of cells.entries()) drawCell(cell, panel, series[i], series.length > 1)
}

function drawCell(cell, panel, { name, values }, isOneOfMany) {
  const { options, fieldConfig } = panel
  const { unit } = fieldConfig.defaults
  const last = calculations[options.reduceOptions.calcs[0]].of(values) ?? null
  const text = last === null ? (fieldConfig.defaults.noValue ?? 'No data') : format(last, unit)
  const colour = colourOf(last, stepsOf(fieldConfig.defaults))
  const isNamed = options.textMode === 'value_and_name' || (options.textMode === 'auto' && isOneOfMany)

  const [width, height] = [cell.clientWidth - 2 * padding, cell.clientHeight]
  const nameSize = isNamed ? Math.min(largestName, sizeFor(name, width, height * nameShare, 400)) : 0
  const hasGraph = options.graphMode === 'area' && values.filter((value) => value !== null).length > 1
  const valueHeight = height - 2 * padding - (hasGraph ? height * graphShare : 0) - nameSize * lineHeight
  const valueSize = sizeFor(text, width, valueHeight, valueWeight)
  if (hasGraph) cell.append(sparkline(values, colour, cell.clientWidth, height - (nameSize + valueSize) * lineHeight))
  if (isNamed) cell.append(element('div', { class: 'name', style: `font-size: ${nameSize}px` }, name))
  const shown = options.colorMode === 'none' ? colours.text : colour
  cell.append(element('div', { class: 'value', style: `font-size: ${valueSize}px; color: ${shown}` }, text))
}

/** The largest size in which it has room. */
const sizeFor = (text, width, height, weight) => Math.min(height / lineHeight, (100 * width) / widthOf(text, 100, weight))

function sparkline(values, colour, width, height) {
  const there = values.filter((value) => value !== null)
  const [lowest, highest] = [Math.min(0, ...there), Math.max(...there)]
  const x = (at) => (at / (values.length - 1)) * width
  const y = (value) => height - 1 - ((value - lowest) / (highest - lowest || 1)) * (height - 4)
  const lines = []
  for (const [at, value] of values.entries()) {
    if (value === null) continue
    if ((values[at - 1] ?? null) === null) lines.push([])
    lines.at(-1).push([x(at), y(value)])
  }
  const path = (points) => `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join('L')}`
  const svg = element('svg', { width, height, class: 'sparkline' })
  for (const points of lines) {
    const [[first], [last]] = [points[0], points.at(-1)]
    svg.append(element('path', { d: `${path(points)}L${last} ${height}L${first} ${height}Z`, fill: colour, opacity: 0.2 }))
    svg.append(element('path', { d: path(points), fill: 'none', stroke: colour }))
  }
  return svg
}
