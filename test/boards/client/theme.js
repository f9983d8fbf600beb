// The colours of Grafana's dark theme, and what panels of several kinds need.

export const colours = {
  text: 'rgb(204, 204, 220)',
  muted: 'rgba(204, 204, 220, 0.65)',
  grid: 'rgba(240, 250, 255, 0.09)',
  elevated: '#22252b',
}
export const font = 'Inter, Helvetica, Arial, sans-serif'
export const fontSize = 12

const named = {
  green: '#73BF69',
  yellow: '#FADE2A',
  blue: '#5794F2',
  orange: '#FF9830',
  red: '#F2495C',
  purple: '#B877D9',
}
/** Of series, one after the other. */
export const palette = [
  ...Object.values(named),
  '#37872D',
  '#E0B400',
  '#1F60C4',
  '#FA6400',
  '#C4162A',
  '#8F3BB8',
  '#C8F2C2',
  '#FFF899',
  '#C0D8FF',
  '#FFCB7D',
  '#FFA6B0',
  '#DEB6F2',
  '#447EBC',
  '#C15C17',
]
/** Orange, from little to much on a dark ground. */
export const heat = ['#7f2704', '#a63603', '#d94801', '#f16913', '#fd8d3c', '#fdae6b', '#fdd0a2', '#fee6ce', '#fff5eb']

/** What Grafana takes for a panel that says nothing. */
const standardSteps = [
  { color: 'green', value: null },
  { color: 'red', value: 80 },
]
export const stepsOf = ({ thresholds } = {}) => thresholds?.steps ?? standardSteps
export const colourNamed = (name) => named[name] ?? name
/** By the highest step that it reaches. */
export function colourOf(value, steps) {
  const reached = steps.filter((step) => step.value === null || (value !== null && value >= step.value))
  return colourNamed(reached.at(-1)?.color ?? 'green')
}

/** An element with attributes and children; SVG's have their namespace. */
export function element(name, attributes = {}, ...children) {
  const isSvg = ['svg', 'path', 'line', 'circle', 'text', 'g', 'defs', 'marker', 'title'].includes(name)
  const made = isSvg ? document.createElementNS('http://www.w3.org/2000/svg', name) : document.createElement(name)
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value)
  made.append(...children)
  return made
}

const canvas = document.createElement('canvas').getContext('2d')
/** In pixels. */
export function widthOf(text, size = fontSize, weight = 400) {
  canvas.font = `${weight} ${size}px ${font}`
  return canvas.measureText(text).width
}

/** As much of it as there is room for. */
export function shorten(text, width, size = fontSize) {
  if (widthOf(text, size) <= width) return text
  let end = text.length
  while (end > 1 && widthOf(`${text.slice(0, end)}…`, size) > width) end--
  return `${text.slice(0, end)}…`
}
