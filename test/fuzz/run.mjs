// Feeds the parsers in targets.mjs damaged bytes, by the million: `run.mjs [--count=N] [--seed=N] [PARSER…]`. A parser must
// return or tell a fault that it knows, keep the promises that its target checks, read nothing outside its bytes and none
// too often, not take all memory, and come to an end. The bytes that broke one are kept in .cache/fuzz/;
// `run.mjs --file=FILE PARSER` tries them again. The same seed makes the same inputs.
import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { createInput } from './mutate.mjs'

/** Every so many inputs, and each of a short run, is read once more with its reads counted and among other bytes. */
const checkEvery = 64
const shortRun = 100_000
const readsFree = 2000
const margin = 32
const memoryMb = 256
const progressMs = 10_000

const project = path.resolve(import.meta.dirname, '../..')

if (isMainThread) await main()
else feed(workerData)

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      count: { type: 'string', default: '10000000' },
      seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
      file: { type: 'string' },
      // For the test of this file.
      targets: { type: 'string', default: path.join(import.meta.dirname, 'targets.mjs') },
      crashers: { type: 'string', default: path.join(project, '.cache/fuzz') },
      'stalled-seconds': { type: 'string', default: '60' },
    },
  })
  const [countOfAll, run, stalledSeconds] = [values.count, values.seed, values['stalled-seconds']].map(readCount)
  const all = await readTargets(values.targets)
  const unknown = positionals.filter((name) => !all.some((target) => target.name === name))
  if (unknown.length > 0) throw new Error(`no ${unknown.join(', ')} among ${all.map(({ name }) => name).join(', ')}`)
  for (const { name, seeds, cost = 1 } of all.filter((target) => positionals.length === 0 || positionals.includes(target.name))) {
    const count = Math.ceil(countOfAll / cost)
    const job = { targets: values.targets, name, run, count, file: values.file }
    const startedAtMs = performance.now()
    const { outcomes, fault, index } = await watch(job, stalledSeconds * 1000)
    if (fault === undefined) {
      const perSecond = Math.round((1000 * count) / (performance.now() - startedAtMs))
      const shares = [...outcomes].sort(([, a], [, b]) => b - a).map(([outcome, n]) => `${outcome} ${n}`)
      console.log(`${name}: ${values.file ?? `${count} inputs of seed ${run}, ${perSecond} a second`}: ${shares.join(', ')}`)
      continue
    }
    process.exitCode = 1
    console.log(`${name}: ${values.file ?? `input ${index} of seed ${run}`}: ${fault}`)
    if (values.file !== undefined) continue
    fs.mkdirSync(values.crashers, { recursive: true })
    const file = path.join(values.crashers, `${name}-${run}-${index}.bin`)
    fs.writeFileSync(file, createInput(seeds, run, index))
    console.log(`again: node test/fuzz/run.mjs --file=${file} ${name}`)
  }
}

function readCount(text) {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** 31) throw new Error(`not a number from 0 to 2^31 - 1: ${text}`)
  return value
}

async function readTargets(file) {
  return (await import(pathToFileURL(path.resolve(file)).href)).targets
}

/** Runs the job in a thread, which can be ended in an endless loop and has memory of its own. */
function watch(job, stalledMs) {
  const shared = new Int32Array(new SharedArrayBuffer(4))
  const worker = new Worker(import.meta.filename, {
    workerData: { ...job, shared },
    resourceLimits: { maxOldGenerationSizeMb: memoryMb },
  })
  return new Promise((resolve) => {
    const startedAtMs = performance.now()
    let [seen, seenAtMs, toldAtMs] = [-1, startedAtMs, startedAtMs]
    const timer = setInterval(() => {
      const index = Atomics.load(shared, 0)
      const nowMs = performance.now()
      if (index !== seen) [seen, seenAtMs] = [index, nowMs]
      if (nowMs - seenAtMs > stalledMs) end({ fault: `no end in ${stalledMs / 1000} seconds`, index })
      if (nowMs - toldAtMs < progressMs) return
      toldAtMs = nowMs
      console.log(`${job.name}: ${index} of ${job.count}, seed ${job.run}`)
    }, 200)
    const end = (result) => {
      clearInterval(timer)
      worker.terminate()
      resolve(result)
    }
    worker.on('message', end)
    worker.on('error', (error) => end({ fault: error.stack ?? String(error), index: Atomics.load(shared, 0) }))
  })
}

/** In the thread. */
async function feed({ targets, name, run, count, file, shared }) {
  const target = (await readTargets(targets)).find((one) => one.name === name)
  const outcomes = new Map()
  const isCheckedAlways = count <= shortRun || file !== undefined
  const inputs = file === undefined ? count : 1
  for (let index = 0; index < inputs; index++) {
    Atomics.store(shared, 0, index)
    const input = file === undefined ? createInput(target.seeds, run, index) : new Uint8Array(fs.readFileSync(file))
    try {
      if (isCheckedAlways || index % checkEvery === 0) checkReads(target, input)
      const outcome = target.run(input, 0, input.length)
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
      if (isCheckedAlways || index % checkEvery === 0) checkSurroundings(target, input, outcome)
    } catch (error) {
      parentPort.postMessage({ fault: error.stack ?? String(error), index })
      return
    }
  }
  parentPort.postMessage({ outcomes })
}

/** Before anything else, as it ends most endless loops. What is read by way of subarray, DataView or Buffer is not counted. */
function checkReads({ run, readsPerByteMax }, input) {
  let left = readsFree + readsPerByteMax * input.length
  const counting = new Proxy(input, {
    get(bytes, key) {
      if (typeof key === 'string' && /^-?\d/.test(key)) {
        if (!(key in bytes)) throw new Error(`read ${key} of ${bytes.length} bytes`)
        if (left-- === 0) throw new Error(`more than ${readsPerByteMax} reads a byte`)
      }
      const value = Reflect.get(bytes, key, bytes)
      return typeof value === 'function' ? value.bind(bytes) : value
    },
  })
  run(counting, 0, input.length)
}

function checkSurroundings({ run }, input, expected) {
  for (const filler of [0, 0xff]) {
    const whole = new Uint8Array(input.length + 2 * margin).fill(filler)
    whole.set(input, margin)
    const outcome = run(whole, margin, margin + input.length)
    if (outcome !== expected) throw new Error(`${expected}, but ${outcome} among bytes of ${filler}`)
  }
}
