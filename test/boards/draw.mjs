// Draws the dashboards as Grafana would show them, without Grafana: asks a Prometheus, makes a page of each board and takes
// a picture of it. What it takes for Grafana's ways is in query.mjs, intervals.mjs and units.js.
import fs from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { startChromium } from './chromium.mjs'
import { parseDuration, parseTime } from './intervals.mjs'
import { bundle, pageOf, plotWidth } from './page.mjs'
import { createPrometheus } from './prometheus.mjs'
import { evaluate, rowsOf } from './query.mjs'
import { variablesOf } from './variables.mjs'

const shipped = path.resolve(import.meta.dirname, '../../helm/netvitals/dashboards')
const help = `draw.mjs: draw the dashboards without Grafana

Usage: node test/boards/draw.mjs --prometheus URL --out FOLDER [FLAGS]

For each board FOLDER has a page (.html) and a picture of it (.png). What is printed says of each panel how many series
its queries gave, and whether nothing is to be seen in it. The status is 1 if a query failed.

  --prometheus URL       the Prometheus that is asked, such as http://127.0.0.1:9090
  --out FOLDER           where pages and pictures go; made if it is not there
  --board NAME           only this board, by the name of its file; may be given again
  --boards FOLDER        where the boards are (default helm/netvitals/dashboards)
  --from TIME            -15m, now-2h or a date such as 2026-11-27T04:00:00Z (default -1h)
  --to TIME              the same (default now)
  --set NAME=VALUE       of a variable, instead of all; again with the same name for several
  --scrape-interval TIME how often things are scraped (default: the longest interval of the Prometheus' targets)
  --width PIXELS         of the page (default 1600)
  --scale NUMBER         pixels of the picture for each of the page (default 1)
  --folded               leave folded rows folded, as Grafana opens a board
  --chromium COMMAND     the browser (default chromium)
  --help                 print this
`

class UsageError extends Error {}

function readOptions(given) {
  const string = { type: 'string' }
  const list = { type: 'string', multiple: true }
  const { values } = parseArgs({
    // What begins with a dash may stand behind these all the same.
    args: given.flatMap((one, i) => {
      if (['--from', '--to'].includes(given[i - 1])) return []
      return ['--from', '--to'].includes(one) && given[i + 1] !== undefined ? [`${one}=${given[i + 1]}`] : [one]
    }),
    options: {
      prometheus: string,
      out: string,
      board: { ...list, default: [] },
      boards: { ...string, default: shipped },
      from: { ...string, default: '-1h' },
      to: { ...string, default: 'now' },
      set: { ...list, default: [] },
      'scrape-interval': string,
      width: { ...string, default: '1600' },
      scale: { ...string, default: '1' },
      folded: { type: 'boolean', default: false },
      chromium: { ...string, default: 'chromium' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return undefined
  const { prometheus, out } = values
  if (prometheus === undefined || !URL.canParse(prometheus))
    throw new UsageError('--prometheus needs an address, such as http://127.0.0.1:9090')
  if (out === undefined) throw new UsageError('--out needs a folder')
  const now = Date.now()
  const [fromMs, toMs] = ['from', 'to'].map((name) => parseTime(values[name], now) ?? refuse(name, values[name], 'a time'))
  if (fromMs >= toMs) throw new UsageError('--from has to be before --to')
  const scrape = values['scrape-interval']
  return {
    ...values,
    fromMs,
    toMs,
    width: positive('width', values.width),
    scale: positive('scale', values.scale),
    scrapeMs:
      scrape === undefined ? undefined : (parseDuration(scrape) ?? refuse('scrape-interval', scrape, 'a time such as 15s')),
    chosen: readChosen(values.set),
  }
}

function refuse(name, value, what) {
  throw new UsageError(`--${name} ${value} is not ${what}`)
}

const positive = (name, text) => (Number(text) > 0 ? Number(text) : refuse(name, text, 'a number above 0'))

function readChosen(settings) {
  const chosen = new Map()
  for (const setting of settings) {
    const [, name, value] = /^(\w+)=(.*)$/.exec(setting) ?? refuse('set', setting, 'NAME=VALUE')
    chosen.set(name, [...(chosen.get(name) ?? []), value])
  }
  return chosen
}

function readBoards({ boards: folder, board: names, chosen }) {
  const there = fs
    .readdirSync(folder)
    .filter((file) => file.endsWith('.json'))
    .map((file) => file.slice(0, -'.json'.length))
  const missing = names.filter((name) => !there.includes(name))
  if (missing.length > 0) throw new UsageError(`there is no board ${missing.join(', ')}; there are ${there.join(', ')}`)
  const read = (name) => ({ name, ...JSON.parse(fs.readFileSync(path.join(folder, `${name}.json`), 'utf8')) })
  const boards = (names.length > 0 ? names : there).map(read)
  const known = new Set(boards.flatMap((board) => variablesOf(board).map(({ name }) => name)))
  const unknown = [...chosen.keys()].filter((name) => !known.has(name))
  if (unknown.length > 0)
    throw new UsageError(`no board has a variable ${unknown.join(', ')}; there are ${[...known].join(', ')}`)
  return boards
}

/** The rows of a board, whose panels have their data. */
async function fill(board, variables, { prometheus, fromMs, toMs, scrapeMs, width, folded }) {
  const rows = rowsOf(board)
  return Promise.all(
    rows.map(async (row) => ({
      ...row,
      isFolded: folded && row.isCollapsed,
      panels: await Promise.all(
        row.panels.map(async (panel) => {
          const points = panel.maxDataPoints ?? plotWidth(panel, width)
          return { panel, data: await evaluate(panel, { prometheus, fromMs, toMs, points, scrapeMs, variables }) }
        }),
      ),
    })),
  )
}

function report(board, rows) {
  console.log(`${board.name}: ${board.title}`)
  for (const { title, panels } of rows) {
    console.log(`  ${title ?? ''}`)
    for (const { panel, data } of panels) {
      const count = `${String(data.seriesCount).padStart(4)} series`
      console.log(`    ${panel.type.padEnd(10)} ${panel.title.padEnd(50)} ${count}  ${data.marks.join(', ')}`.trimEnd())
    }
  }
}

async function main() {
  const options = readOptions(process.argv.slice(2))
  if (options === undefined) return console.log(help.trimEnd())
  const boards = readBoards(options)
  const prometheus = createPrometheus(options.prometheus)
  const scrapeMs = options.scrapeMs ?? (await prometheus.readScrapeMs())
  const script = await bundle()
  fs.mkdirSync(options.out, { recursive: true })
  const time = { fromMs: options.fromMs, toMs: options.toMs }

  const pages = []
  for (const board of boards) {
    const variables = variablesOf(board, options.chosen)
    const rows = await fill(board, variables, { ...options, prometheus, scrapeMs })
    report(board, rows)
    if (rows.some(({ panels }) => panels.some(({ data }) => data.error !== undefined))) process.exitCode = 1
    const page = path.resolve(options.out, `${board.name}.html`)
    fs.writeFileSync(page, pageOf({ board, rows, variables, time, script }))
    pages.push(page)
  }

  const browser = await startChromium(options.chromium).catch((error) => {
    throw new Error(`there are pages in ${options.out}, but no pictures: ${error.message}`)
  })
  try {
    for (const page of pages) {
      const picture = page.replace(/html$/, 'png')
      const { height, failures } = await browser.photograph(page, picture, options)
      console.log(`${picture}: ${options.width} × ${height}`)
      for (const failure of failures) console.log(`  FAILED: ${failure}`)
      if (failures.length > 0) process.exitCode = 1
    }
  } finally {
    await browser.stop()
  }
}

try {
  await main()
} catch (error) {
  const isUsage = error instanceof UsageError || error.code?.startsWith('ERR_PARSE_ARGS')
  console.error(`draw.mjs: ${error.message}${isUsage ? '\nSee --help.' : ''}`)
  process.exitCode = isUsage ? 2 : 1
}
