// Lines over time, with the legend below.
import { LineChart } from 'echarts/charts'
import { GridComponent, MarkLineComponent, TooltipComponent } from 'echarts/components'
import { init, use } from 'echarts/core'
import { CanvasRenderer } from 'echarts/renderers'
import { format } from '../units.js'
import { calculations, compare } from './calculations.js'
import { extentOf, scaleOf } from './scale.js'
import { colourNamed, colours, element, font, fontSize, palette, stepsOf, widthOf } from './theme.js'
import { tickStepMs, timeText } from './time.js'

use([LineChart, GridComponent, MarkLineComponent, TooltipComponent, CanvasRenderer])

/** Up to so many pixels of the plot for each of its points, they are marked. */
const pixelsOfPoint = 10
const bottom = 24
const top = 10

export function drawGraph(body, panel, { series, startMs, stepMs }, { fromMs, toMs }) {
  const { defaults } = panel.fieldConfig
  const { unit, custom = {} } = defaults
  const isStacked = custom.stacking?.mode === 'normal'
  const plot = element('div', { class: 'plot' })
  body.append(plot, legend(series, unit, panel.options.legend))

  const [lowest, highest] = extentOf(isStacked ? [sums(series)] : series.map(({ values }) => values))
  const scale = scaleOf({ lowest, highest, unit, height: plot.clientHeight - top - bottom, min: defaults.min, max: defaults.max })
  const left = 12 + Math.max(...scale.ticks.map((tick) => widthOf(scale.text(tick))))
  const width = plot.clientWidth - left
  const tickMs = tickStepMs(toMs - fromMs, width)
  const isMarked = (toMs - fromMs) / stepMs <= width / pixelsOfPoint
  const times = ticksBetween(fromMs, toMs, tickMs)
  const axis = { type: 'value', axisLine: { show: false } }
  const label = { color: colours.text, fontFamily: font, fontSize }

  init(plot).setOption({
    animation: false,
    textStyle: { fontFamily: font },
    grid: { left, right: 10, top, bottom, outerBoundsMode: 'none' },
    tooltip: {
      trigger: 'axis',
      backgroundColor: colours.elevated,
      borderWidth: 0,
      textStyle: label,
      valueFormatter: (value) => (value === null ? '' : format(value, unit)),
    },
    xAxis: {
      ...axis,
      min: fromMs,
      max: toMs,
      splitLine: { show: false },
      axisTick: { show: false },
      axisLabel: { ...label, customValues: times, formatter: (ms) => timeText(ms, tickMs), hideOverlap: false },
      axisPointer: { label: { formatter: ({ value }) => timeText(value, 1000) } },
    },
    yAxis: {
      ...axis,
      min: scale.min,
      max: scale.max,
      splitLine: { show: false },
      axisTick: { show: false },
      axisLabel: { ...label, customValues: scale.ticks, formatter: scale.text },
    },
    series: [
      lines([...times.map((xAxis) => ({ xAxis })), ...scale.ticks.map((yAxis) => ({ yAxis }))], gridLine, 0),
      ...series.map(({ name, values }, i) => ({
        name,
        type: 'line',
        data: values.map((_, at) => point(values, startMs + at * stepMs, at, isMarked)),
        color: palette[i % palette.length],
        symbol: 'circle',
        showAllSymbol: true,
        lineStyle: { width: custom.lineWidth ?? 1 },
        areaStyle: { opacity: (custom.fillOpacity ?? 0) / 100 },
        stack: isStacked ? 'all' : undefined,
        emphasis: { disabled: true },
      })),
      lines(thresholdsOf(panel), thresholdLine, 3),
    ],
  })
}

const gridLine = { color: colours.grid, width: 1, type: 'solid' }
const thresholdLine = { opacity: 0.7, width: 2, type: [10, 10] }

/** Straight lines, below or above the others; unless told echarts would round where they are. */
const lines = (data, lineStyle, z) => ({
  type: 'line',
  data: [],
  markLine: { silent: true, symbol: 'none', label: { show: false }, precision: 20, lineStyle, data, z },
})

/** One that stands alone is marked always, for no line leads to it. */
function point(values, ms, at, isMarked) {
  const isAlone = (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null
  return { value: [ms, values[at]], symbolSize: values[at] !== null && (isMarked || isAlone) ? 5 : 0 }
}

function ticksBetween(fromMs, toMs, stepMs) {
  const offset = new Date(fromMs).getTimezoneOffset() * 60_000
  const first = Math.ceil((fromMs - offset) / stepMs) * stepMs + offset
  return Array.from({ length: Math.max(0, Math.floor((toMs - first) / stepMs) + 1) }, (_, i) => first + i * stepMs)
}

/** What laid on each other they reach. */
const sums = (series) =>
  series[0].values.map((_, at) => series.reduce((sum, { values }) => sum + Math.max(0, values[at] ?? 0), 0))

function thresholdsOf({ fieldConfig: { defaults } }) {
  if (!defaults.custom?.thresholdsStyle?.mode?.startsWith('dashed')) return []
  const steps = stepsOf(defaults).filter(({ value }) => value !== null)
  return steps.map(({ color, value }) => ({ yAxis: value, lineStyle: { color: colourNamed(color) } }))
}

function legend(series, unit, { calcs, sortBy, sortDesc }) {
  const columns = calcs.map((calc) => calculations[calc])
  const rows = series.map(({ name, values }, i) => ({
    name,
    colour: palette[i % palette.length],
    numbers: columns.map(({ of }) => of(values)),
  }))
  const by = columns.findIndex(({ heading }) => heading === sortBy)
  if (by >= 0) rows.sort((a, b) => (sortDesc ? -1 : 1) * compare(a.numbers[by], b.numbers[by]))
  const heading = ({ heading }, i) => element('th', {}, heading, ...(i === by ? [sortDesc ? ' ⌄' : ' ⌃'] : []))
  const row = ({ name, colour, numbers }) =>
    element(
      'tr',
      {},
      element('td', {}, element('i', { style: `background: ${colour}` }), name),
      ...numbers.map((value) => element('td', {}, value === undefined ? '' : format(value, unit))),
    )
  const head = element('tr', {}, element('th', {}, 'Name'), ...columns.map(heading))
  return element('div', { class: 'legend' }, element('table', {}, head, ...rows.map(row)))
}
