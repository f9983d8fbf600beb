// Draws a board's panels into the places that the page has for them.
import { drawGraph } from './graph.js'
import { drawHeatMap } from './heat-map.js'
import { drawNodeGraph } from './node-graph.js'
import { drawStat } from './stat.js'
import { drawTable } from './table.js'
import { element } from './theme.js'

const kinds = {
  timeseries: drawGraph,
  stat: drawStat,
  table: drawTable,
  heatmap: drawHeatMap,
  nodeGraph: drawNodeGraph,
}

const { panels, time } = JSON.parse(document.getElementById('data').textContent)
const failures = []

function draw({ panel, data }) {
  const body = document.getElementById(`panel-${panel.id}`)
  const say = (kind, text) => body.replaceChildren(element('div', { class: kind }, text))
  if (data.error !== undefined) say('failed', data.error)
  else if (data.isEmpty && panel.type !== 'stat') say('empty', panel.fieldConfig?.defaults.noValue ?? 'No data')
  else {
    try {
      kinds[panel.type](body, panel, data, time)
    } catch (error) {
      failures.push(`${panel.title}: ${error.message}`)
      say('failed', error.message)
    }
  }
}

document.fonts.ready.then(() => {
  for (const one of panels) draw(one)
  Object.assign(document.documentElement.dataset, { failures: JSON.stringify(failures), isDrawn: 'true' })
})
