// A board as a page that needs nothing but itself.
import fs from 'node:fs'
import path from 'node:path'
import { rolldown } from 'rolldown'

const columns = 24
const gap = 8
const pageMargin = 16
/** Of a panel's width, what its border and padding take. */
const padding = 18

/** As wide as a panel draws, in pixels. */
export const plotWidth = ({ gridPos }, pageWidth) => {
  const column = (pageWidth - 2 * pageMargin - (columns - 1) * gap) / columns
  return Math.round(gridPos.w * column + (gridPos.w - 1) * gap - padding)
}

/** The script that draws in the page, with the chart library. */
export async function bundle() {
  const build = await rolldown({ input: path.join(import.meta.dirname, 'client/main.js'), platform: 'browser' })
  const { output } = await build.generate({ format: 'iife', minify: true })
  await build.close()
  return output[0].code
}

const style = fs.readFileSync(path.join(import.meta.dirname, 'client/style.css'), 'utf8')
const quote = (text) => text.replace(/[&<>"]/g, (one) => `&#${one.codePointAt(0)};`)
/** JSON and programs may hold the end of the element that they are in. */
const embed = (json) => JSON.stringify(json).replaceAll('<', '\\u003c')

/** `rows` have panels with their data; `isCollapsed` of a row only shows how Grafana opens it. */
export function pageOf({ board, rows, variables, time, script }) {
  const panels = rows.flatMap((row) => (row.isFolded ? [] : row.panels))
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>${quote(board.title)}</title>
<style>${style}</style>
<header>
  <h1><span>Dashboards ›</span> ${quote(board.title)}</h1>
  <span class="time">${timeText(time.fromMs)} to ${timeText(time.toMs)}</span>
</header>
<nav>${variables
    .filter(({ isHidden }) => !isHidden)
    .map(({ label, shown }) => `<label>${quote(label)}</label><output>${quote(shown)}</output>`)
    .join('')}</nav>
${rows.map(rowText).join('\n')}
<script type="application/json" id="data">${embed({ panels, time })}</script>
<script>${script.replaceAll('</script', '<\\/script')}</script>
</html>
`
}

function rowText({ title, isCollapsed, isFolded, panels }) {
  const count = `${panels.length} panel${panels.length === 1 ? '' : 's'}`
  const hint = isFolded ? `(${count})` : isCollapsed ? `(${count}, folded until opened)` : ''
  const heading = title === undefined ? '' : `<h2 class="${isFolded ? 'folded' : ''}">${quote(title)} <span>${hint}</span></h2>`
  return `${heading}<section>${isFolded ? '' : panels.map(({ panel }) => panelText(panel)).join('')}</section>`
}

function panelText({ id, title, description, gridPos: { x, y, w, h } }) {
  const area = `grid-area: ${y + 1} / ${x + 1} / span ${h} / span ${w}`
  const mark = description ? `<span class="about" title="${quote(description)}">i</span>` : ''
  return `<article style="${area}"><h3>${quote(title ?? '')} ${mark}</h3><div class="body" id="panel-${id}"></div></article>`
}

const timeText = (ms) => {
  const date = new Date(ms)
  const two = (number) => String(number).padStart(2, '0')
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
}
