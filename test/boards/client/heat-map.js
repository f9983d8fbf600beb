// Colours over time: a row for each series, or for each bucket.
import { HeatmapChart } from 'echarts/charts'
import { VisualMapContinuousComponent } from 'echarts/components'
import { init, use } from 'echarts/core'
import { format } from '../units.js'
import { extentOf } from './scale.js'
import { colours, element, font, fontSize, heat, shorten, widthOf } from './theme.js'
import { isTick, tickStepMs, timeText } from './time.js'

use([HeatmapChart, VisualMapContinuousComponent])

/** What is not more than that is no colour. */
const least = 1e-9
const bottom = 24
const top = 10
/** Of the width, what names of rows may take. */
const namesShare = 0.35
const leastRow = 14

export function drawHeatMap(body, panel, { rows, startMs, stepMs }, { fromMs, toMs }) {
  const { options, fieldConfig, targets } = panel
  const isHistogram = targets.some(({ format }) => format === 'heatmap')
  const nameOf = ({ name }) => (isHistogram && name !== '+Inf' ? format(Number(name), options.yAxis?.unit) : name)
  const plot = element('div', { class: 'plot' })
  const visible = rows.map(({ values }) => values.map((value) => (value !== null && value > least ? value : null)))
  const shown = visible.flatMap((values, y) => values.map((value, x) => [x, y, value])).filter(([, , value]) => value !== null)
  const [lowest, highest] = shown.length === 0 ? [0, 1] : extentOf(visible)
  const unit = options.cellValues?.unit ?? fieldConfig.defaults.unit
  body.append(plot, colourScale(lowest, highest, unit))

  const names = rows.map((row) => shorten(nameOf(row), body.clientWidth * namesShare))
  const left = 12 + Math.max(...names.map((name) => widthOf(name)))
  const rowHeight = (plot.clientHeight - top - bottom) / rows.length
  const every = Math.ceil(leastRow / rowHeight)
  const times = rows[0].values.map((_, i) => startMs + i * stepMs)
  const tickMs = Math.max(stepMs, tickStepMs(toMs - fromMs, plot.clientWidth - left))
  const label = { color: colours.text, fontFamily: font, fontSize }
  const axis = { type: 'category', axisLine: { show: false }, axisTick: { show: false }, splitArea: { show: false } }

  init(plot).setOption({
    animation: false,
    grid: { left, right: 10, top, bottom, outerBoundsMode: 'none' },
    tooltip: {
      backgroundColor: colours.elevated,
      borderWidth: 0,
      textStyle: label,
      formatter: ({ value: [x, y, value] }) => `${timeText(times[x], 1000)}<br>${nameOf(rows[y])}: ${format(value, unit)}`,
    },
    xAxis: {
      ...axis,
      data: times,
      axisLabel: {
        ...label,
        interval: (_, ms) => isTick(Number(ms), tickMs),
        formatter: (ms) => timeText(Number(ms), tickMs),
        hideOverlap: true,
      },
    },
    yAxis: {
      ...axis,
      data: names,
      // A bucket is named by its upper bound, which is where it ends.
      axisLabel: { ...label, interval: (i) => i % every === 0, ...(isHistogram ? atTop(rowHeight) : {}) },
    },
    visualMap: { show: false, min: lowest, max: highest, inRange: { color: heat } },
    series: {
      type: 'heatmap',
      data: shown,
      itemStyle: { borderColor: '#181b1f', borderWidth: options.cellGap ?? 1 },
      emphasis: { disabled: true },
      progressive: 0,
    },
  })
}

const atTop = (rowHeight) => ({ verticalAlign: 'bottom', padding: [0, 0, (rowHeight - fontSize) / 2, 0] })

function colourScale(lowest, highest, unit) {
  const bar = element('div', { class: 'bar', style: `background: linear-gradient(to right, ${heat.join(', ')})` })
  const ends = [lowest, highest].map((value) => element('span', {}, format(value, unit)))
  return element('div', { class: 'colours' }, bar, element('div', { class: 'ends' }, ...ends))
}
