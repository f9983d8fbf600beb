// What the benches share: processes, their CPU time, medians, a namespace of their own.
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

export const project = path.resolve(import.meta.dirname, '../..')
/** How the agent is started, and where it is scraped. */
export const netvitals = {
  name: 'netvitals',
  command: path.join(project, 'dist/agent/main.js'), // with the flags of its first line
  args: ['serve', '--web.listen-address=127.0.0.1:10477', '--web.socket='],
  ready: /10477/,
  url: 'http://127.0.0.1:10477/metrics',
}
const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))

/** User and system time in milliseconds of a process, finer than ticks where the scheduler tells. */
export function readCpuMs(pid) {
  const tasks = fs.readdirSync(`/proc/${pid}/task`)
  let nanoseconds = 0
  for (const task of tasks) nanoseconds += Number(fs.readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0])
  if (nanoseconds > 0) return nanoseconds / 1e6
  const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / ticksPerSecond
}

/** Megabytes of 10^6 bytes: in all, and without the pages of programs and libraries, which processes share. */
export function readResidentMb(pid) {
  const status = fs.readFileSync(`/proc/${pid}/status`, 'utf8')
  const [total, own] = ['VmRSS', 'RssAnon'].map(
    (name) => (Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)[1]) * 1024) / 1e6,
  )
  return { total, own }
}

export const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

const running = new Set()
const namespaces = new Set()
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
  for (const name of namespaces) spawnSync('ip', ['netns', 'del', name])
})

/** Sees to it that a process does not outlive the bench. */
export function own(child) {
  running.add(child)
  child.on('exit', () => running.delete(child))
  return child
}

/**
 * Starts a process in a network namespace and waits for `ready` in its output. Its standard input ends with the bench.
 * `onError` is given all it writes to standard error.
 */
export async function start(namespace, command, args, ready, onError = () => undefined) {
  const child = own(spawn('ip', ['netns', 'exec', namespace, command, ...args]))
  child.stderr.on('data', onError)
  await new Promise((resolve, reject) => {
    let text = ''
    const look = (chunk) => {
      text = (text + chunk).slice(-10_000)
      if (ready.test(text)) resolve()
    }
    child.stdout.on('data', look)
    child.stderr.on('data', look)
    child.on('exit', (code) => reject(new Error(`${command} ended with ${code}: ${text}`)))
  })
  return child // ip execs the command: the pid is the command's
}

export function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve()
  return new Promise((resolve) => {
    child.on('exit', resolve)
    child.kill('SIGTERM')
    setTimeout(() => child.kill('SIGKILL'), 3000).unref()
  })
}

export async function withNamespace(name, use) {
  execFileSync('ip', ['netns', 'add', name])
  namespaces.add(name)
  try {
    execFileSync('ip', ['-n', name, 'link', 'set', 'lo', 'up'])
    return await use(name)
  } finally {
    namespaces.delete(name)
    execFileSync('ip', ['netns', 'del', name])
  }
}

/** A GET from inside a namespace; the cost of curl is its own. */
export function get(namespace, url) {
  return execFileSync('ip', ['netns', 'exec', namespace, 'curl', '-sf', '--max-time', '20', url], { maxBuffer: 1 << 26 })
}

export function findNodeExporter() {
  for (const folder of [process.env.GOBIN, path.join(os.homedir(), 'go/bin'), '/usr/bin'].filter(Boolean)) {
    for (const name of ['node_exporter', 'prometheus-node-exporter']) {
      const file = path.join(folder, name)
      if (fs.existsSync(file)) return file
    }
  }
  throw new Error(
    'no node_exporter: go install github.com/prometheus/node_exporter@v1.12.1, or apt-get install prometheus-node-exporter',
  )
}

export const describeMachine = () => `Linux ${os.release()}, ${os.cpus().length} CPUs, Node ${process.version}`

/** One row of the table that run.mjs prints. */
export const printRow = (...cells) => console.log(`| ${cells.join(' | ')} |`)
