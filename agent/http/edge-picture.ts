import { createEdgeGraph, type Edge, type GraphEdge, type GraphNode, gatherOthers } from '../edge-graph.ts'
import { limits } from '../limits.ts'
import { layOut, nodeSize, type Point, type Route } from './edge-layout.ts'
import { type Html, html } from './html.ts'

const margin = 4
/** Of a loop's curve, which comes three quarters of that far. */
const bulge = 56
/** So far from each other its two ends seem to be. */
const roundness = 40
const arrow = { length: 9, width: 4 }
const levels: Readonly<Record<string, string>> = { red: 'bad', orange: 'odd', green: 'fine' }

/** A picture of who connects to whom, of the worst edges if there are too many workloads. */
export function drawEdges(edges: readonly Edge[]): Html {
  const graph = createEdgeGraph(gatherOthers(edges, limits.pictureNodes), '')
  const { width, height, nodes, routes } = layOut(graph.edges)
  const box = [-margin, -margin, width + 2 * margin, height + 2 * margin].map(Math.ceil)
  const calmFirst = routes.toSorted((a, b) => rankOf(a.link) - rankOf(b.link))
  return html`<svg role="img" aria-label="Who connects to whom" width="${box[2]}" height="${box[3]}" viewBox="${box.join(' ')}">
${calmFirst.map(drawEdge)}${graph.nodes.map((node) => drawNode(node, nodes.get(node.id)))}</svg>`
}

/** What is bad is drawn above what is not. */
const rankOf = ({ color }: GraphEdge): number => ['green', 'orange', 'red'].indexOf(color)

function drawEdge({ link, points, isLoop }: Route<GraphEdge>): Html {
  const tip = points.at(-1) ?? { x: 0, y: 0 }
  const isLeftward = isLoop || (points[0]?.x ?? 0) > tip.x
  const back = isLeftward ? arrow.length : -arrow.length
  const line = [...points.slice(0, -1), { x: tip.x + back, y: tip.y }]
  return html`<g class="edge ${levels[link.color]}"><title>${link.id}: ${link.mainstat}; ${link.secondarystat}</title>
<path class="line" stroke-width="${link.thickness}" d="${isLoop ? drawLoop(line) : drawLine(line)}"/>
<path class="tip" d="M${round(tip.x)} ${round(tip.y)}l${back} ${-arrow.width}v${2 * arrow.width}z"/></g>
`
}

const round = (pixels: number): string => pixels.toFixed(1)
const write = ({ x, y }: Point): string => `${round(x)} ${round(y)}`

function drawLine([first, ...others]: readonly Point[]): string {
  let path = first === undefined ? '' : `M${write(first)}`
  let before = first
  for (const point of others) {
    const x = ((before?.x ?? 0) + point.x) / 2
    path +=
      before?.y === point.y
        ? `H${round(point.x)}`
        : `C${write({ x, y: before?.y ?? 0 })} ${write({ x, y: point.y })} ${write(point)}`
    before = point
  }
  return path
}

function drawLoop(points: readonly Point[]): string {
  const [from, to] = points
  if (from === undefined || to === undefined) return ''
  const x = from.x + bulge
  const [upper, lower] = from.y < to.y ? [-1, 1] : [1, -1]
  const spread = Math.max(0, roundness - Math.abs(to.y - from.y)) / 2
  return `M${write(from)}C${write({ x, y: from.y + upper * spread })} ${write({ x, y: to.y + lower * spread })} ${write(to)}`
}

function drawNode({ id, title, subtitle, mainstat, secondarystat }: GraphNode, at: Point | undefined): Html | undefined {
  if (at === undefined) return undefined
  const { width, height } = nodeSize
  const hasNamespace = subtitle !== ''
  return html`<svg class="node${secondarystat !== '' && ' bad'}" x="${round(at.x)}" y="${round(at.y)}" width="${width}" height="${height}"><title>${id}: ${mainstat}${secondarystat !== '' && `; ${secondarystat}`}</title>
<rect x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="6"/>
<text x="10" y="${hasNamespace ? 16 : 24}">${shorten(title)}</text>${hasNamespace && html`<text class="namespace" x="10" y="30">${shorten(subtitle)}</text>`}</svg>
`
}

const nameCharacters = 23

/** Both ends of a name tell it from its like. */
function shorten(name: string): string {
  const characters = [...name]
  if (characters.length <= nameCharacters) return name
  const half = (nameCharacters - 1) / 2
  return `${characters.slice(0, half).join('')}…${characters.slice(-half).join('')}`
}
