import { randomBytes } from 'node:crypto'
import type { CheckedSource } from '../check.ts'
import { limits } from '../limits.ts'
import { type Html, html } from './html.ts'
import { type Cell, createSections, type PageInput, type Section } from './page-sections.ts'

const refreshSeconds = 15

/** One page for a person: is it the network, and where? Rendered here, of the newest sweep, without scripts. */
export function renderPage(input: PageInput & { readonly uptimeSeconds: number }): {
  readonly html: string
  readonly headers: Readonly<Record<string, string>>
} {
  const { report, uptimeSeconds } = input
  const nonce = randomBytes(16).toString('base64')
  const sections = createSections(input)
  const { node } = report
  const about = [
    node.os,
    `Linux ${node.kernel}`,
    node.machine,
    `up ${describeTime(uptimeSeconds)}`,
    `netvitals ${report.version}`,
  ]
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="refresh" content="${refreshSeconds}">
<title>${node.name} · netvitals</title>
<link rel="icon" href="data:,">
<style nonce="${nonce}">${{ markup: style }}</style>
</head>
<body>
<header>
<h1>${node.name}</h1>
<p>${about.filter((text) => !text.endsWith('unknown')).join(' · ')}</p>
</header>
<main>
${headline(sections, report.sources)}
${sections.map(renderSection)}
${renderSources(report.sources, report.off)}
</main>
<footer>
<nav><a href="metrics">metrics</a> <a href="api/v1/check">check as JSON</a> <a href="api/v1/edges">edges as JSON</a></nav>
<p>Read ${new Date().toISOString().slice(0, 19).replace('T', ' ')} UTC, again every ${refreshSeconds} s.</p>
</footer>
</body>
</html>
`
  return {
    html: page.markup,
    headers: {
      'Content-Type': 'text/html; charset=utf-8',
      'Content-Security-Policy': `default-src 'none'; style-src 'nonce-${nonce}'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
      'Referrer-Policy': 'no-referrer',
    },
  }
}

function headline(sections: readonly Section[], sources: readonly CheckedSource[]): Html {
  const signs = sections.flatMap(({ id, sign }) => (sign === undefined ? [] : [{ id, ...sign }]))
  const failed = sources.filter(({ outcome }) => outcome === 'failed').map(({ name }) => name)
  if (failed.length > 0) signs.push({ id: 'sources', level: 'bad', text: `could not be read: ${failed.join(', ')}` })
  signs.sort((a, b) => Number(a.level === 'odd') - Number(b.level === 'odd'))
  const level = signs[0]?.level ?? 'fine'
  const absent = sources.filter(({ outcome }) => outcome === 'absent').map(({ name }) => name)
  const verdict = { bad: 'Look here.', odd: 'Worth a look.', fine: 'Nothing here points to the network.' }[level]
  return html`<section class="headline ${level}">
<h2>${verdict}</h2>
${signs.length > 0 && html`<ul>${signs.map(({ id, text }) => html`<li><a href="#${id}">${text}</a></li>`)}</ul>`}
${absent.length > 0 && html`<p>As far as this machine can tell: ${absent.join(', ')} ${absent.length === 1 ? 'is' : 'are'} <a href="#sources">absent</a>.</p>`}
</section>
`
}

function renderSection({ id, title, columns, rows, good, unknown, note, picture, rest = 'metrics', sign }: Section): Html {
  const shown = rows.slice(0, limits.pageRows)
  const table = html`<div class="scroll"><table>
<thead><tr>${columns.map((column, i) => html`<th class="${columnClass(rows, i)}">${column}</th>`)}</tr></thead>
<tbody>${shown.map((row) => html`<tr>${row.map((cell, i) => html`<td class="${columnClass(rows, i)}">${renderCell(cell)}</td>`)}</tr>\n`)}</tbody>
</table></div>`
  return html`<section id="${id}" class="${sign?.level ?? 'fine'}">
<h2>${title}</h2>
${rows.length > 0 ? table : unknown.length === 0 && html`<p class="good">${good}</p>`}
${rows.length > shown.length && html`<p class="note">… ${rows.length - shown.length} more in <a href="${rest}">${rest}</a>.</p>`}
${picture !== undefined && html`<div class="scroll picture">${picture}</div>`}
${note !== undefined && html`<p class="note">${note}</p>`}
${unknown.map((reason) => html`<p class="note">Not known: ${reason}</p>`)}
</section>
`
}

/** Numbers are set to the right. */
function columnClass(rows: readonly (readonly Cell[])[], i: number): string {
  const isNumber = (cell: Cell): boolean =>
    cell === undefined || typeof cell === 'number' || (typeof cell === 'object' && 'level' in cell)
  return rows.some((row) => isNumber(row[i])) ? 'number' : ''
}

function renderCell(cell: Cell): Html {
  if (typeof cell === 'number') return html`<span class="${cell === 0 ? 'quiet' : ''}">${cell.toLocaleString('en')}</span>`
  if (typeof cell === 'string') return html`${cell}`
  if (cell === undefined) return html`<span class="quiet" title="not known yet">–</span>`
  if ('text' in cell) return html`<span class="${cell.level}">${cell.text}</span>`
  const { part, of } = cell
  if (!(of > 0 && Number.isFinite(of))) return html`${part.toLocaleString('en')}`
  return html`<meter min="0" max="${of}" low="${of * 0.6}" high="${of * 0.8}" optimum="0" value="${part}"></meter> ${part.toLocaleString('en')} of ${of.toLocaleString('en')}`
}

const marks = { ok: '✔', absent: '–', failed: '✖' } as const
const levels = { ok: 'fine', absent: 'quiet', failed: 'bad' } as const

function renderSources(sources: readonly CheckedSource[], off: readonly string[]): Html {
  return html`<section id="sources">
<h2>What is measured</h2>
<div class="scroll"><table class="sources">
<tbody>${sources.map(renderSource)}${off.map((name) => html`<tr><td class="quiet">–</td><td>${name}</td><td>switched off</td><td></td></tr>\n`)}</tbody>
</table></div>
</section>
`
}

function renderSource({ name, outcome, reason, metrics, skipped, durationSeconds }: CheckedSource): Html {
  const missing = metrics.filter((metric) => metric.outcome === 'absent')
  const given = metrics.length - missing.length
  const sentences =
    outcome === 'ok'
      ? [
          `${given}${given < metrics.length ? ` of ${metrics.length}` : ''} metrics`,
          ...new Set(missing.map((metric) => metric.reason)),
        ]
      : [`${outcome}: ${reason ?? 'no reason given'}`]
  const [unread] = skipped
  if (unread !== undefined) sentences.push(`${skipped.length} could not be read, first ${unread.subject}: ${unread.reason}`)
  return html`<tr><td class="${levels[outcome]}">${marks[outcome]}</td><td>${name}</td><td>${sentences.join('; ')}</td><td class="number quiet">${(durationSeconds * 1000).toFixed(1)} ms</td></tr>\n`
}

function describeTime(seconds: number): string {
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`
  return seconds < 172_800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86_400)} days`
}

const style = `
:root { --text: #1c2430; --quiet: #66707d; --line: #e2e6ea; --paper: #fff; --back: #f4f6f8; --fine: #1a7f4b; --odd: #a15c00; --bad: #c02b2b; --link: #1458b8 }
@media (prefers-color-scheme: dark) { :root { --text: #e4e8ed; --quiet: #939daa; --line: #2c343e; --paper: #1a2028; --back: #11161c; --fine: #4cc38a; --odd: #f0a848; --bad: #ff7b72; --link: #7db4ff } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 70rem; padding: 1.5rem 1rem 2rem; background: var(--back); color: var(--text); font: 16px/1.45 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { margin: 0; font-size: 1.5rem } h2 { margin: 0 0 .5rem; font-size: 1.05rem }
header p, footer, .note { color: var(--quiet); font-size: .875rem } header p { margin: .15rem 0 1rem } .note { margin: .5rem 0 0 }
a { color: var(--link) }
section { margin: 0 0 1rem; padding: 1rem; background: var(--paper); border: 1px solid var(--line); border-radius: .5rem; scroll-margin-top: 1rem }
section.bad { box-shadow: inset 4px 0 var(--bad) } section.odd { box-shadow: inset 4px 0 var(--odd) }
.headline h2 { font-size: 1.25rem; margin: 0 } .headline.fine { box-shadow: inset 4px 0 var(--fine) }
.headline.bad h2, span.bad, td.bad { color: var(--bad) } .headline.odd h2, span.odd { color: var(--odd) } .headline.fine h2, td.fine { color: var(--fine) }
.headline ul { margin: .5rem 0 0; padding-left: 1.2rem } .headline p { margin: .5rem 0 0; color: var(--quiet); font-size: .875rem }
.good { margin: 0; color: var(--fine) } .quiet { color: var(--quiet) }
.scroll { overflow-x: auto } table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums }
th { text-align: left; font-weight: 500; color: var(--quiet); white-space: nowrap } th, td { padding: .3rem .75rem .3rem 0; vertical-align: top }
td { border-top: 1px solid var(--line); overflow-wrap: normal } thead + tbody tr:first-child td { border-top: 1px solid var(--line) }
.sources td:first-child { width: 1.5rem } .sources td:nth-child(2) { width: 1%; white-space: nowrap } .number + :not(.number) { padding-left: .75rem }
.number { text-align: right; white-space: nowrap } th:last-child, td:last-child { padding-right: 0 }
.picture { margin: 1rem 0 0 } .picture > svg { display: block; margin: 0 auto; max-width: 100%; min-width: 40rem; height: auto }
.line { fill: none; stroke: currentcolor; stroke-opacity: .55 } .tip { fill: currentcolor } .edge.fine { color: var(--fine) } .edge.odd { color: var(--odd) } .edge.bad { color: var(--bad) } .edge.bad .line { stroke-dasharray: 6 3; stroke-opacity: 1 } .edge:hover .line { stroke-opacity: 1 }
.node rect { fill: var(--back); stroke: var(--line) } .node text { fill: var(--text); font-size: 13px } .node .namespace { fill: var(--quiet); font-size: 11px } .node.bad rect { stroke: var(--bad) }
meter { width: 6rem; vertical-align: middle }
footer { display: flex; flex-wrap: wrap; gap: 0 1.5rem; align-items: baseline } footer p { margin: 0 } nav a { margin-right: 1rem }
`
