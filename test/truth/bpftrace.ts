import { execFileSync, spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll } from 'vitest'
import { type BpftraceValue, parseBpftraceJson } from '../../parsers/bpftrace-json.ts'
import { type BpftraceScript, combineScripts, createReadingCollector, parseBpftraceError } from '../../parsers/bpftrace-script.ts'
import { describeUnless, requireRoot, slowness } from './topology.ts'

/** Set it to try another version: a command that is given bpftrace's arguments. */
const command = process.env.BPFTRACE ?? 'bpftrace'
const startMs = 30_000 * slowness
const tracefs = '/sys/kernel/tracing'

export interface RunningBpftrace {
  /** After so many more readings from now on, two of them at least begun later. */
  readings(count: number): Promise<void>
  /** What is read until now: of maps that flip the sum, of others the last. By script and map, `0 drops`, then by key. */
  readonly read: ReadonlyMap<string, ReadonlyMap<string, BpftraceValue>>
  /** How many of a flip's prints were not empty. */
  prints(map: string): number
  /** Stops and continues the process, as if its reader were slow; its programs go on counting. */
  pause(ms: number): Promise<void>
  /** How often the kernel left out a program, because another was at work on the same CPU or a map was being changed there. */
  missed(): number
  /** Ends it by SIGINT or another signal, after which what is read is whole. */
  stop(signal?: 'SIGINT' | 'SIGTERM'): Promise<void>
}

/** As requireRoot, where bpftrace is needed too. */
export function requireBpftrace(title: string, body: () => void): void {
  let missing: string | undefined
  try {
    execFileSync(command, ['--version'], { stdio: 'ignore' })
  } catch {
    missing = 'bpftrace is not installed'
  }
  if (missing !== undefined) return void describeUnless(missing, title, body)
  requireRoot(title, () => {
    let isOurs = false
    beforeAll(() => {
      // systemd mounts it where people look; a bare machine has it not.
      isOurs = !existsSync(`${tracefs}/events`)
      if (isOurs) execFileSync('mount', ['-t', 'tracefs', 'tracefs', tracefs])
    })
    afterAll(() => {
      if (isOurs) execFileSync('umount', ['--lazy', tracefs])
    })
    body()
  })
}

/** Runs the scripts as one program, and reads what it prints. They are at work when this returns. */
export async function startBpftrace(scripts: readonly BpftraceScript[], intervalMs = 500): Promise<RunningBpftrace> {
  const combined = combineScripts(scripts, { intervalMs })
  const child = spawn(command, ['-f', 'json', '-'], {
    stdio: ['pipe', 'pipe', 'pipe'],
    // The first is what 0.17 understands, the other what new versions do.
    env: { ...process.env, BPFTRACE_MAP_KEYS_MAX: '16384', BPFTRACE_MAX_MAP_KEYS: '16384' },
  })
  child.stdin.end(combined.text)
  let stderr = ''
  child.stderr.on('data', (chunk) => {
    stderr = (stderr + chunk).slice(-20_000)
  })
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const read = new Map<string, Map<string, BpftraceValue>>()
  const prints = new Map<string, number>()
  let heartbeats = 0
  let broken: Error | undefined
  let number = 0
  const readings = createReadingCollector(combined, (of, entries) => {
    const name = `${of.script} ${of.map}`
    const into = read.get(name) ?? new Map<string, BpftraceValue>()
    read.set(name, into)
    for (const [key, value] of entries) {
      const before = into.get(key)
      into.set(key, before === undefined || of.reads === 'keep' ? value : add(before, value))
    }
    if (entries.size > 0) prints.set(name, (prints.get(name) ?? 0) + 1)
  })
  createInterface({ input: child.stdout }).on('line', (text) => {
    number++
    if (text === '') return
    try {
      const message = parseBpftraceJson({ where: 'bpftrace', number, text })
      if (message.type === 'lost') throw new Error(`bpftrace lost ${message.events} events`)
      if (message.type !== 'map') return
      if (readings.push(message)) heartbeats++
    } catch (error) {
      broken ??= error as Error
    }
  })
  const running = () => {
    if (broken) throw broken
    if (child.exitCode === null && child.signalCode === null) return
    const errors = parseBpftraceError(stderr).map(({ line, message }) => {
      const place = line === undefined ? undefined : combined.place(line)
      return `${place ? `${place.file}:${place.line}` : (line ?? '')} ${message}`
    })
    throw new Error(`bpftrace ended: ${errors.join('\n') || stderr}\n${combined.text}`)
  }
  const waitFor = async (count: number) => {
    const deadline = Date.now() + startMs
    while (heartbeats < count) {
      running()
      if (Date.now() > deadline) throw new Error(`no heartbeat of bpftrace: ${stderr}`)
      await sleep(10)
    }
  }
  await waitFor(1)
  return {
    read,
    readings: (count) => waitFor(heartbeats + count),
    prints: (map) => prints.get(map) ?? 0,
    async pause(ms) {
      child.kill('SIGSTOP')
      await sleep(ms)
      child.kill('SIGCONT')
    },
    missed() {
      let missed = 0
      for (const fd of readdirSync(`/proc/${child.pid}/fdinfo`)) {
        const info = readFileSync(`/proc/${child.pid}/fdinfo/${fd}`, 'utf8')
        missed += Number(/^recursion_misses:\s*(\d+)/m.exec(info)?.[1] ?? 0)
      }
      return missed
    },
    async stop(signal = 'SIGINT') {
      running()
      child.kill(signal)
      const timer = setTimeout(() => child.kill('SIGKILL'), startMs)
      await ended
      clearTimeout(timer)
      readings.end()
      if (broken) throw broken
      if (child.signalCode === 'SIGKILL') throw new Error('bpftrace does not end')
    },
  }
}

function add(one: BpftraceValue, other: BpftraceValue): BpftraceValue {
  if (typeof one === 'number' && typeof other === 'number') return one + other
  if (typeof one === 'number' || typeof other === 'number') throw new Error('a number and no number')
  if ('buckets' in one && 'buckets' in other) {
    const counts = new Map<string, { min?: number; max?: number; count: number }>()
    for (const { count, ...bounds } of [...one.buckets, ...other.buckets]) {
      const key = JSON.stringify(bounds)
      counts.set(key, { ...bounds, count: count + (counts.get(key)?.count ?? 0) })
    }
    return { buckets: [...counts.values()] }
  }
  if ('buckets' in one || 'buckets' in other) throw new Error('a histogram and none')
  const [count, total] = [one.count + other.count, one.total + other.total]
  return { count, total, average: Math.trunc(total / count) }
}
