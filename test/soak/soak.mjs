// The agent for ten minutes in bad weather: storms in three namespaces at once, and namespaces that come and go all the
// time with traffic in them. It must count exactly, lose nothing but what programs miss while they are interrupted, log
// no error, not grow, and leave nothing in the kernel when it is killed. Root, and alone on the machine: what others cause
// fills the same maps, and a tracer that comes or goes beside the agent can cost it events. soak.mjs SECONDS: 600 unless told.
import fs from 'node:fs'
import { limits } from '../../dist/agent/limits.js'
import { isInKernel, openMap, readBpfObjects } from '../bench/bpf-objects.mjs'
import {
  describeMachine,
  get,
  median,
  netvitals,
  readCpuMs,
  readResidentMb,
  sleep,
  start,
  withNamespace,
} from '../bench/process.mjs'
import { drizzle, equal, lossyStorms, prepare, readDropped, storms } from './storms.mjs'

const seconds = Number(process.argv[2] ?? 600)
const prefix = `nvsoak-${process.pid}`
const scrapeMs = 5000
const scrapesPerLine = 3
/** One namespace in so many lives so long that it must be shown; the others are gone before anybody may have looked. */
const lastingEvery = 5
const lastingMs = 2.5 * scrapeMs
const pauseMs = 300
/** From then on as many of the departed are forgotten as come. */
const settledMs = limits.departureMs + 60_000
/** What may be more in the last quarter than in the third, and by which share. */
const bounded = {
  'resident memory (MB)': { of: ({ residentMb }) => residentMb, share: 0.05 },
  'open files': { of: ({ files }) => files, share: 0 },
  'keys in maps': { of: ({ keys }) => keys, share: 0.1 },
  series: { of: ({ series }) => series, share: 0.1 },
}
const recursion = 'netvitals_lost_events_total kind="recursion"'
const recursionShare = 1e-4
const connectsUnderWay = 'connect_starts'
const forgottenMs = 10_000
const killedMs = 2000
/** Of a connection whose last packets were lost. */
const timersMs = 20_000

const startedAtMs = performance.now()
const now = () => performance.now() - startedAtMs
const failures = new Set()
const readings = []
/** Namespaces that came and went: what was caused in each, and by when. */
const visitors = new Map()
const shown = new Set()
let isOver = false
let logged = ''
let stormed = 0
let lostToRecursion = 0

await withNamespace(`${prefix}-agent`, async (home) => {
  const args = [...netvitals.args, '--web.new-series-zero-seconds=0']
  const agent = await start(home, netvitals.command, args, netvitals.ready, (chunk) => (logged += chunk))
  const objects = readBpfObjects(agent.pid)
  if (objects.program.length === 0) throw new Error(`the tracer does not run: ${logged}`)
  console.log(`${describeMachine()}; the agent is process ${agent.pid} with ${sizeOf(objects)}; ${seconds} s of storms`)
  const maps = objects.map.filter(({ isHash }) => isHash).map(openMap)
  const watching = watch(home, agent, sizeOf(objects), maps).finally(() => {
    isOver = true
  })
  await Promise.all([
    watching,
    stormIn(`${prefix}-one`, storms, home),
    stormIn(`${prefix}-two`, storms, home),
    stormIn(`${prefix}-lossy`, lossyStorms, home),
    comeAndGo(),
  ])
  await judgeConnectsUnderWay(maps)
  for (const { name, countKeys, close } of maps) {
    console.log(`keys of ${name}: ${countKeys()}`)
    close()
  }
  await kill(agent, objects)
})
judgeVisitors()
judgeRecursion()
judgeGrowth()
judgeLog()
const left = fs.readdirSync('/run/netns').filter((name) => name.startsWith(prefix))
if (left.length > 0) failures.add(`namespaces are left: ${left.join(', ')}`)
console.log(failures.size === 0 ? 'passed' : `FAILED:\n${[...failures].join('\n')}`)
process.exitCode = failures.size === 0 ? 0 : 1

/** Scrapes and looks at the agent until the time is up. */
async function watch(home, agent, sizeAtStart, maps) {
  let counters = new Map()
  let cpuMs = readCpuMs(agent.pid)
  for (let i = 1; i * scrapeMs <= seconds * 1000; i++) {
    await sleep(i * scrapeMs - now())
    const size = sizeOf(readBpfObjects(agent.pid))
    if (size !== sizeAtStart) failures.add(`the agent has ${size}, at the start ${sizeAtStart}`)
    const residentMb = readResidentMb(agent.pid).total
    const files = fs.readdirSync(`/proc/${agent.pid}/fd`).length
    const keysOf = new Map(maps.map(({ name, countKeys }) => [name, countKeys()]))
    const connecting = keysOf.get(connectsUnderWay)
    const keys = [...keysOf.values()].reduce((a, b) => a + b) - connecting
    const askedAtMs = now()
    const metrics = scrape(home)
    const answeredMs = now() - askedAtMs
    counters = judgeCounters(counters, metrics)
    for (const [name, { counts, doneAtMs }] of visitors) {
      if (!metrics.byPod.has(name)) continue
      shown.add(name)
      if (doneAtMs > askedAtMs - limits.sweepAgeMs) continue
      for (const difference of compare(metrics, name, counts)) failures.add(difference)
    }
    judgeLost(metrics)
    const series = metrics.sum(undefined, 'netvitals_series')
    const sweepMs = 1000 * metrics.sum(undefined, 'netvitals_sweep_duration_seconds')
    readings.push({ residentMb, files, keys, series, sweepMs, answeredMs })
    if (i % scrapesPerLine === 0) {
      const cpuBeforeMs = cpuMs
      cpuMs = readCpuMs(agent.pid)
      const cpuShare = (cpuMs - cpuBeforeMs) / (scrapesPerLine * scrapeMs)
      console.log(
        [
          `${String(Math.round(now() / 1000)).padStart(4)} s`,
          `resident ${residentMb.toFixed(1)} MB`,
          `${files} files`,
          `${keys} keys`,
          `${connecting} connects under way`,
          `${series} series`,
          `sweep ${sweepMs.toFixed(0)} ms`,
          `answer ${answeredMs.toFixed(0)} ms`,
          `CPU ${(100 * cpuShare).toFixed(1)} %`,
          `${visitors.size} namespaces came and went, ${shown.size} were shown`,
          `${metrics.sum(undefined, 'netvitals_lost_events_total')} lost`,
          ...(failures.size > 0 ? [`${failures.size} FAILURES`] : []),
        ].join(', '),
      )
    }
  }
}

/** Storms in turn until it is over; then what the agent says must be what was caused, as soon as the last timer has run out. */
async function stormIn(name, storms, home) {
  await withNamespace(name, async () => {
    prepare(name)
    const counts = {}
    for (let turn = 0; !isOver; turn++) {
      for (const [what, count] of Object.entries(await storms[turn % storms.length](name, turn)))
        counts[what] = (counts[what] ?? 0) + count
    }
    const deadlineMs = now() + timersMs
    let metrics
    let differences
    do {
      await sleep(limits.sweepAgeMs + 500)
      metrics = scrape(home)
      for (const [one, other] of equal) counts[one] = metrics.sum(name, other)
      Object.assign(counts, readDropped(name))
      differences = compare(metrics, name, counts)
    } while (differences.length > 0 && now() < deadlineMs)
    for (const difference of differences) failures.add(difference)
    judgeLost(metrics)
    stormed += Object.values(counts).reduce((a, b) => a + b, 0)
    console.log(`${name}: ${JSON.stringify(counts, undefined, 2)}`)
  })
}

/** Namespaces one after the other, and some of them beside the others for a while. */
async function comeAndGo() {
  const present = new Set()
  for (let turn = 0; !isOver; turn++) {
    const visit = withNamespace(`${prefix}-visitor-${turn}`, async (name) => {
      const counts = await drizzle(name, turn)
      const isLasting = turn % lastingEvery === 0
      const visitor = { counts, doneAtMs: now(), isLasting }
      visitors.set(name, visitor)
      while (isLasting && !isOver && now() < visitor.doneAtMs + lastingMs) await sleep(pauseMs)
      visitor.leftAtMs = now()
    }).finally(() => present.delete(visit))
    present.add(visit)
    await Promise.race([visit, sleep(pauseMs)])
    await sleep(pauseMs)
  }
  await Promise.all(present)
}

/** A connect that has ended has no start any more. Those of the rest of the machine come and go. */
async function judgeConnectsUnderWay(maps) {
  const { countKeys } = maps.find(({ name }) => name === connectsUnderWay)
  const deadlineMs = now() + forgottenMs
  while (countKeys() > 0 && now() < deadlineMs) await sleep(100)
  if (countKeys() > 0) failures.add(`${countKeys()} connects are still thought to be under way, after the last storm`)
}

async function kill(agent, objects) {
  const ids = Object.entries(objects).flatMap(([kind, all]) => all.map(({ id }) => ({ kind, id })))
  const findLeft = () => ids.filter(({ kind, id }) => isInKernel(kind, id))
  if (findLeft().length !== ids.length) failures.add('not all that the agent held at the start was there at the end')
  const killedAtMs = now()
  agent.kill('SIGKILL')
  while (findLeft().length > 0 && now() < killedAtMs + killedMs) await sleep(20)
  const objectsLeft = findLeft().map(({ kind, id }) => `${kind} ${id}`)
  if (objectsLeft.length > 0) failures.add(`the killed agent left in the kernel: ${objectsLeft.join(', ')}`)
  else console.log(`killed: ${ids.length} BPF objects were gone after ${(now() - killedAtMs).toFixed(0)} ms`)
}

/** By pod, undefined for what is of none: the series as [metric, labels, value]. */
function scrape(home) {
  const byPod = new Map()
  const counterTypes = new Map()
  for (const line of String(get(home, netvitals.url)).split('\n')) {
    const [, typed, type] = /^# TYPE (\w+) (\w+)$/.exec(line) ?? []
    if (typed) counterTypes.set(typed, type)
    const [, metric, labels = '', value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
    if (metric === undefined) continue
    const [, pod] = /\bpod="([^"]*)"/.exec(labels) ?? []
    if (!byPod.has(pod)) byPod.set(pod, [])
    const isCounter = /^(counter|histogram|summary)$/.test(counterTypes.get(metric.replace(/_(bucket|sum|count)$/, '')) ?? '')
    byPod.get(pod).push({ metric, labels, value: Number(value), isCounter: isCounter || counterTypes.get(metric) === 'counter' })
  }
  /** `what`: a metric and maybe, after a blank, labels with commas between them. */
  const sum = (pod, what) => {
    const [wanted, labels = ''] = what.split(' ')
    const pairs = labels.split(',')
    const series = (byPod.get(pod) ?? []).filter(
      (one) => one.metric === wanted && pairs.every((pair) => one.labels.includes(pair)),
    )
    return series.reduce((total, { value }) => total + value, 0)
  }
  return { byPod, sum }
}

/** No counter is ever less than it was. Namespaces of others may have one name after the other. */
function judgeCounters(before, { byPod }) {
  const counters = new Map()
  for (const [pod, series] of byPod) {
    if (pod && !pod.startsWith(prefix)) continue
    for (const { metric, labels, value, isCounter } of series) {
      if (!isCounter) continue
      const name = `${metric}{${labels}}`
      if (value < (before.get(name) ?? 0)) failures.add(`${name} went from ${before.get(name)} to ${value}`)
      counters.set(name, value)
    }
  }
  return counters
}

/** What differs by more than the agent itself says it lost. */
function compare(metrics, name, counts) {
  const lost = metrics.sum(undefined, recursion)
  const told = Object.entries(counts).map(([what, count]) => ({ what, count, told: metrics.sum(name, what) }))
  return told
    .filter((one) => one.told > one.count || one.told < one.count - lost)
    .map((one) => `${name}: ${one.what} is ${one.told} and should be ${one.count}`)
}

/**
 * A program that is interrupted in its work misses what happens within the interrupt: the timers of a few hundred sockets,
 * at the worst. Nothing can be done about it, so it must be rare. Nothing else may be lost.
 */
function judgeLost(metrics) {
  const full = metrics.sum(undefined, 'netvitals_lost_events_total kind="map_full"')
  if (full > 0) failures.add(`maps were full: ${full} events are lost`)
  lostToRecursion = metrics.sum(undefined, recursion)
}

function judgeRecursion() {
  console.log(`lost to recursion: ${lostToRecursion} of more than ${stormed} events`)
  if (lostToRecursion > stormed * recursionShare) failures.add(`${lostToRecursion} events are lost to recursion`)
}

function judgeVisitors() {
  for (const [name, { isLasting, doneAtMs, leftAtMs }] of visitors) {
    if (isLasting && leftAtMs - doneAtMs >= lastingMs && !shown.has(name)) failures.add(`${name} was there and never shown`)
  }
}

function judgeGrowth() {
  const isJudged = readings.length * scrapeMs >= 2 * settledMs
  if (!isJudged) console.log(`not judged: growth, which takes ${(2 * settledMs) / 1000} s to see`)
  for (const [what, { of, share }] of Object.entries(bounded)) {
    const values = readings.map(of)
    const quarter = Math.floor(values.length / 4)
    const [third, last] = [median(values.slice(-2 * quarter, -quarter)), median(values.slice(-quarter))]
    console.log(`${what}: median of the third quarter ${third.toFixed(1)}, of the last ${last.toFixed(1)}`)
    if (isJudged && last > third * (1 + share)) failures.add(`${what}: grows from ${third.toFixed(1)} to ${last.toFixed(1)}`)
  }
  const sweeps = readings.map(({ sweepMs }) => sweepMs)
  console.log(`sweeps: median ${median(sweeps).toFixed(0)} ms, longest ${Math.max(...sweeps).toFixed(0)} ms`)
}

/** JSON lines of at most level warn; anything else is an error. */
function judgeLog() {
  for (const line of logged.split('\n').filter(Boolean)) {
    const level = /^\{"level":"(\w+)"/.exec(line)?.[1] ?? 'error'
    if (level === 'warn') console.log(line)
    if (level === 'error') failures.add(`the agent said: ${line}`)
  }
}

function sizeOf({ program, map, link }) {
  return `${program.length} BPF programs, ${link.length} links and ${map.length} maps`
}
