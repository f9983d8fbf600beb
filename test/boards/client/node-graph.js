// Who talks to whom: circles with the sum of what comes in, and arrows.
import { layOut } from '../../../agent/http/edge-layout.ts'
import { colours, element, shorten } from './theme.js'

const radius = 40
const rowGap = 118
const widestGap = 420
/** A column with more nodes than there is room for is up to so many, side by side. */
const lanesMax = 3
const laneWidth = 130
const margin = 70
const letters = 10
const titleWidth = 100
const statWidth = 70
const reverseBend = 30
const aroundBend = 90

export function drawNodeGraph(body, panel, { table: { columns, rows } }) {
  const fields = Object.fromEntries(columns.map(({ field, heading }) => [heading.toLowerCase(), field]))
  const missing = ['id', 'source', 'target'].filter((field) => fields[field] === undefined)
  if (missing.length > 0) throw new Error(`the query's result has no ${missing.join(', ')}`)
  const unit = panel.options.edges?.mainStatUnit
  const edges = rows.map((row) => ({
    source: row[fields.source],
    target: row[fields.target],
    value: row[fields.mainstat],
  }))
  const { places, viewBox } = placesOf(edges, body)
  const svg = element('svg', { viewBox, width: '100%', height: '100%', class: 'nodes' })
  const arrow = { id: 'arrow', viewBox: '0 0 10 10', refX: 8, refY: 5, markerWidth: 8, markerHeight: 8, orient: 'auto' }
  svg.append(element('defs', {}, element('marker', arrow, element('path', { d: 'M0 0L10 5L0 10z', fill: '#999' }))))
  const isReverse = (a, b) => a.source === b.target && a.target === b.source
  for (const edge of edges)
    svg.append(
      edgeOf(
        edge,
        places,
        edges.some((other) => isReverse(other, edge)),
        unit,
      ),
    )
  for (const [id, place] of places) svg.append(nodeOf(id, place, edges, unit))
  body.append(svg)
}

/** In the columns and the order in which the agent's own page puts them; as wide as there is room. */
function placesOf(edges, { clientWidth, clientHeight }) {
  const columns = [...Map.groupBy(layOut(edges).nodes, ([, { x }]) => x).entries()]
    .toSorted(([a], [b]) => a - b)
    .map(([, nodes]) => nodes.toSorted(([, a], [, b]) => a.y - b.y))
  const lanesOf = ({ length }) => Math.min(lanesMax, Math.max(1, Math.ceil((length * rowGap) / clientHeight)))
  const heightOf = (nodes) => ((nodes.length - 1) * rowGap) / lanesOf(nodes)
  const lanes = columns.reduce((sum, nodes) => sum + lanesOf(nodes) - 1, 0)
  const height = Math.max(clientHeight, ...columns.map((nodes) => heightOf(nodes) + 2 * margin))
  const width = (clientWidth * height) / clientHeight
  const gap = Math.min(widestGap, (width - 2 * margin - lanes * laneWidth) / Math.max(1, columns.length - 1))
  let x = (width - gap * (columns.length - 1) - lanes * laneWidth) / 2
  const placed = columns.flatMap((nodes) => {
    const left = x
    x += gap + (lanesOf(nodes) - 1) * laneWidth
    const top = (height - heightOf(nodes)) / 2
    return nodes.map(([id], row) => [
      id,
      { x: left + (row % lanesOf(nodes)) * laneWidth, y: top + (row * rowGap) / lanesOf(nodes) },
    ])
  })
  return { places: new Map(placed), viewBox: `0 0 ${width} ${height}` }
}

function edgeOf({ source, target, value }, places, hasReverse, unit) {
  const [from, to] = [places.get(source), places.get(target)]
  const attributes = { class: 'edge', fill: 'none', stroke: '#999', 'marker-end': 'url(#arrow)' }
  const title = element('title', {}, `${source} → ${target}: ${statText(value, unit)}`)
  if (source === target) {
    const [x, y] = [from.x, from.y - radius - 4]
    return element(
      'path',
      { ...attributes, d: `M${x - 20} ${y + 8}C${x - 60} ${y - 60} ${x + 60} ${y - 60} ${x + 20} ${y + 8}` },
      title,
    )
  }
  // Past what stands between them in their column; away from an edge that goes the other way.
  const bend = from.x === to.x ? Math.sign(to.y - from.y) * aroundBend : hasReverse ? reverseBend : 0
  const length = Math.hypot(to.x - from.x, to.y - from.y)
  const middle = {
    x: (from.x + to.x) / 2 + (bend * (to.y - from.y)) / length,
    y: (from.y + to.y) / 2 - (bend * (to.x - from.x)) / length,
  }
  const [start, end] = [towards(from, middle, radius + 5), towards(to, middle, radius + 8)]
  return element('path', { ...attributes, d: `M${start}Q${middle.x} ${middle.y} ${end}` }, title)
}

function towards(from, to, distance) {
  const share = distance / Math.hypot(to.x - from.x, to.y - from.y)
  return `${from.x + (to.x - from.x) * share} ${from.y + (to.y - from.y) * share}`
}

function nodeOf(id, { x, y }, edges, unit) {
  const coming = edges.filter(({ target }) => target === id)
  const stat =
    coming.length === 0
      ? ''
      : statText(
          coming.reduce((sum, { value }) => sum + value, 0),
          unit,
        )
  const words = { x, 'text-anchor': 'middle', fill: colours.text, 'font-size': letters }
  return element(
    'g',
    {},
    element('title', {}, id),
    element('circle', { cx: x, cy: y, r: radius, fill: '#181b1f', stroke: 'gray', 'stroke-width': 2 }),
    element('text', { ...words, y: y + 3 }, shorten(stat, statWidth, letters)),
    element('text', { ...words, y: y + radius + 14 }, shorten(id, titleWidth, letters)),
  )
}

/** Grafana's node graph gives numbers two decimals and puts the unit's name behind, without any prefix. */
const statText = (value, unit) => `${value.toFixed(2)}${unit === undefined ? '' : ` ${unit}`}`
