// 20,000 series of a node with many pods: what rendering them for a scraper costs, beside prom-client with the same
// series; and what the sweep spends on keeping them. Medians and extremes, in turn, after a few rounds to warm up. CPU is that
// of the whole process: on a busy machine it tells what wall time would be on a quiet one. Needs no privileges.
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { Counter, Gauge, Registry } from 'prom-client'
import { limits } from '../../dist/agent/limits.js'
import { definitionOf, metricNames } from '../../dist/agent/metrics/catalogue.js'
import { labels as labelDefinitions } from '../../dist/agent/metrics/labels.js'
import { renderExposition } from '../../dist/agent/metrics/render.js'
import { createSeriesStore } from '../../dist/agent/series.js'
import { median, printRow, sleep } from './process.mjs'

const seriesWanted = 20_000
const seriesPerMetricAndPod = 12
const warmUpRounds = 5
const rounds = 31

const samples = makeSamples()
const sources = new Set(samples.map(({ metric }) => definitionOf(metric).source))
const states = new Map(
  [...sources].map((source) => [source, { outcome: 'ok', rows: new Set(samples.map(({ row }) => row)), skipped: new Set() }]),
)
let slots = 0
const store = createSeriesStore({ take: () => slots++, free: () => undefined })
const registry = new Registry()
const promMetrics = createPromMetrics()
let families = []

const work = {
  'the sweep takes them (add, commit)': () => {
    for (const { metric, row, labels, value } of samples) store.add(metric, row, labels, value)
    families = store.commit(performance.now(), states)
  },
  'rendered by netvitals': () => renderExposition(families, 'text'),
  'rendered by prom-client': () => registry.metrics(),
  'rendered by netvitals, gzip': () => compress(renderExposition(families, 'text')),
  'rendered by prom-client, gzip': async () => compress(await registry.metrics()),
}
const compress = (text) => promisify(gzip)(text, { level: limits.gzipLevel })

const measured = new Map(Object.keys(work).map((name) => [name, []]))
for (let round = 0; round < warmUpRounds + rounds; round++) {
  changeValues(round)
  for (const [name, run] of Object.entries(work)) measured.get(name).push(await measure(run))
}
await compareTexts()
for (const [name, all] of measured) {
  const list = (key) => {
    const values = all.slice(warmUpRounds).map((one) => one[key])
    return `${median(values).toFixed(1)} ms (${Math.min(...values).toFixed(1)} to ${Math.max(...values).toFixed(1)})`
  }
  const first = `the very first time ${all[0].cpuMs.toFixed(0)} ms of CPU`
  printRow(
    `${seriesWanted.toLocaleString('en')} series ${name}`,
    `CPU ${list('cpuMs')}, wall ${list('wallMs')}, longest stall of the event loop ${list('stallMs')}; ${first}`,
  )
}

/** What one sweep emits: metrics about pods, in the order of the sources, until there are enough. */
function makeSamples() {
  const metrics = metricNames.filter((name) => definitionOf(name).scope === 'pod' && definitionOf(name).source !== 'agent')
  const made = []
  for (let id = 0; made.length < seriesWanted; id++) {
    const row = {
      id,
      namespace: `team-${id % 12}`,
      pod: `frontend-5d8c7b9f4-${id.toString(36).padStart(5, 'x')}`,
      isHost: false,
      seenFromBirth: true,
      departedAtMs: undefined,
      replaced: false,
    }
    for (const metric of metrics) for (const labels of combineLabels(metric)) made.push({ metric, row, labels, value: 0 })
  }
  return made.slice(0, seriesWanted)
}

function combineLabels(metric) {
  const { labels, only } = definitionOf(metric)
  let combinations = [{}]
  for (const label of labels) {
    const values =
      only?.[label] ?? labelDefinitions[label].values ?? ['first', 'second', 'third'].map((word) => `${word}_${label}`)
    combinations = combinations.flatMap((rest) => values.map((value) => ({ ...rest, [label]: value })))
  }
  return combinations.slice(0, seriesPerMetricAndPod)
}

function createPromMetrics() {
  const metrics = new Map()
  for (const name of new Set(samples.map(({ metric }) => metric))) {
    const { type, help, labels } = definitionOf(name)
    if (type !== 'counter' && type !== 'gauge') throw new Error(`${name}: this bench knows counters and gauges only`)
    const Metric = type === 'counter' ? Counter : Gauge
    metrics.set(name, new Metric({ name, help, labelNames: ['namespace', 'pod', ...labels], registers: [registry] }))
  }
  return metrics
}

/** Most counters of a real node are long numbers, some are 0 and some have a fraction. Never smaller than before. */
function changeValues(round) {
  for (const metric of promMetrics.values()) metric.reset()
  samples.forEach((sample, i) => {
    const { metric, row, labels } = sample
    sample.value = i % 5 === 0 ? 1 + (i % 3) : i * 7919 * (1 + round) + (i % 11 === 0 ? 0.25 : 0)
    promMetrics.get(metric).inc({ namespace: row.namespace, pod: row.pod, ...labels }, sample.value)
  })
}

/** A stall is how much later than after its millisecond a timer came. */
async function measure(run) {
  let stallMs = 0
  let last = performance.now()
  function look() {
    const now = performance.now()
    stallMs = Math.max(stallMs, now - last - 1)
    last = now
  }
  const timer = setInterval(look, 1)
  await sleep(2)
  const cpuBefore = process.cpuUsage()
  const startedAtMs = performance.now()
  await run()
  const wallMs = performance.now() - startedAtMs
  const { user, system } = process.cpuUsage(cpuBefore)
  clearInterval(timer)
  look()
  return { wallMs, cpuMs: (user + system) / 1000, stallMs }
}

/** Both sides wrote the same: otherwise the comparison means nothing. */
async function compareTexts() {
  const lines = (text) => text.split('\n').filter(Boolean).sort().join('\n')
  const [own, other] = [lines(renderExposition(families, 'text')), lines(await registry.metrics())]
  if (own !== other) throw new Error('netvitals and prom-client rendered different texts')
}
