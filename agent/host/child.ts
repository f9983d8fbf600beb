import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import type { Writable } from 'node:stream'
import { parseProcPidStat } from '../../parsers/proc-pid-stat.ts'
import { limits } from '../limits.ts'
import type { Log } from '../log.ts'
import { describeErrno } from './libc.ts'
import { createLineIntake, createNotices, type LineSource, type LineSourceOptions, type LineSourceStatus, pour } from './lines.ts'
import { readPageSizeBytes } from './machine.ts'

export interface ChildOptions extends LineSourceOptions {
  /** The program, looked up in PATH if it is without a slash, and its parameters. No shell reads them. */
  readonly command: readonly [string, ...string[]]
  /** All of it: the child inherits nothing. */
  readonly environment?: Readonly<Record<string, string>>
  /** It is written to. */
  readonly hears?: true
  /** What the log calls it; the program's name unless told. */
  readonly name?: string
}

export interface ChildStatus extends LineSourceStatus {
  readonly pid: number | undefined
  /** The last lines of its standard error, of the start that last wrote any; printable. */
  readonly stderr: string
}

/**
 * What it took over all its starts, with its own children that have ended. The seconds never go back. The last look at a
 * start is when it closes its output; where that is not read before its end is noticed, it is the one before.
 */
export interface ChildUsage {
  readonly cpuSeconds: number
  /** 0 while it does not run. */
  readonly residentBytes: number
}

export interface Child extends LineSource {
  /** To its standard input; without its newline. Lost unless it runs; after `onStart` it does. */
  send(line: string): void
  status(): ChildStatus
  /** Undefined: it never ran, or /proc does not say. */
  readUsage(): ChildUsage | undefined
}

/** Beside the usual folders the one of bcc. Tools in Python would otherwise keep their lines until they have 8 KiB of them. */
export const minimalEnvironment: Readonly<Record<string, string>> = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/share/bcc/tools',
  LANG: 'C',
  LC_ALL: 'C',
  PYTHONUNBUFFERED: '1',
}

/**
 * Keeps a program running that never ends by itself, and takes its lines.
 *
 * It leads a process group, which ends with it. If the agent is killed, the kernel sends it SIGTERM where setpriv of
 * util-linux is there to ask for that; where not, it ends at the next line it writes, because nobody reads any more. Call
 * it on the main thread: the kernel means the end of the thread.
 */
export function superviseChild(options: ChildOptions): Child {
  const { command, environment = minimalEnvironment, onStart, onEnd, log } = options
  const [program, ...parameters] = command
  const name = toPrintable(path.basename(program))
  const intake = createLineIntake(options.onLine, options.lineBytesMax)
  const notice = createNotices(log, { tool: options.name ?? name })
  const stops: (() => void)[] = []
  let wanted = false
  let running: Run | undefined
  let input: Writable | undefined
  let timer: NodeJS.Timeout | undefined
  let nextStartAtMs: number | undefined
  let restartMs: number = limits.toolRestartMs
  let attempts = 0
  let starts = 0
  let lastEnd: string | undefined
  let stderr: Stderr | undefined
  /** Of all starts that have ended. */
  let cpuTicks: number | undefined

  function launch(): void {
    clearTimeout(timer)
    timer = undefined
    nextStartAtMs = undefined
    const { file, why } = findProgram(program, environment.PATH ?? '')
    if (file === undefined) {
      schedule(`${name}: ${why}`)
      return
    }
    const attempt = ++attempts
    const fail = (error: unknown): void => {
      if (attempt === attempts) schedule(`${name}: ${describeFailure(error)}`)
    }
    let child: ChildProcess
    try {
      const [first, ...rest] = [...askForDeathSignal(log), file, ...parameters]
      child = spawn(first ?? file, rest, {
        env: environment,
        detached: true,
        stdio: [options.hears ? 'pipe' : 'ignore', 'pipe', 'pipe'],
      })
    } catch (error) {
      fail(error)
      return
    }
    if (child.pid === undefined) child.once('error', fail)
    else run(child, child.pid)
  }

  function run(child: ChildProcess, pid: number): void {
    starts++
    const startedAtMs = performance.now()
    const ownStderr = createStderr(() => {
      stderr = ownStderr
    })
    running = watch(child, pid, intake.push, ownStderr.push, (how) => {
      cpuTicks = (cpuTicks ?? 0) + (running?.cpuTicks() ?? 0)
      running = undefined
      input = undefined
      intake.end()
      if (performance.now() - startedAtMs >= limits.toolSteadyMs) restartMs = limits.toolRestartMs
      schedule(/^exit status 12[67]$/.test(how) ? (ownStderr.explainExec(name) ?? how) : how)
      onEnd?.()
      for (const resolve of stops.splice(0)) resolve()
    })
    notice('started')
    input = child.stdin ?? undefined
    input?.on('error', () => {}) // it has ended: that is told elsewhere
    onStart?.()
  }

  function schedule(why: string): void {
    lastEnd = why
    notice('ended', why)
    if (!wanted) return
    nextStartAtMs = performance.now() + restartMs
    timer = setTimeout(launch, restartMs)
    restartMs = Math.min(2 * restartMs, limits.toolRestartMsMax)
  }

  return {
    send: (line) => void input?.write(`${line}\n`),
    start() {
      if (wanted) return
      wanted = true
      restartMs = limits.toolRestartMs
      if (running === undefined) launch()
    },
    status() {
      const state = running !== undefined ? 'running' : wanted ? 'waiting' : 'stopped'
      const pid = running?.pid
      return { state, pid, starts, lastEnd, stderr: stderr?.text() ?? '', ...intake.counts(), nextStartAtMs }
    },
    async stop() {
      wanted = false
      clearTimeout(timer)
      nextStartAtMs = undefined
      if (running === undefined) return
      running.end()
      await new Promise<void>((resolve) => stops.push(resolve))
    },
    readUsage() {
      const residentBytes = running === undefined ? 0 : running.sample()
      const ownTicks = running?.cpuTicks()
      if (residentBytes === undefined || (ownTicks === undefined && cpuTicks === undefined)) return undefined
      return { cpuSeconds: ((cpuTicks ?? 0) + (ownTicks ?? 0)) / ticksPerSecond, residentBytes }
    },
  }
}

interface Run {
  readonly pid: number
  /** Asks it to end, ever more firmly. */
  end(): void
  /** Looks at what it takes: the bytes in memory. */
  sample(): number | undefined
  /** At the last look. */
  cpuTicks(): number | undefined
}

/** `onEnded` comes once, after the last byte. */
function watch(
  child: ChildProcess,
  pid: number,
  onOutput: (chunk: Buffer) => void,
  onStderr: (chunk: Buffer) => void,
  onEnded: (how: string) => void,
): Run {
  const timers = new Set<NodeJS.Timeout>()
  let cpuTicks: number | undefined
  let isEnding = false
  let isOver = false
  /** Its number is its own until Node has taken note of its end. */
  let isAlive = true

  const after = (delayMs: number, call: () => void): void => {
    timers.add(setTimeout(call, delayMs))
  }
  function sample(): number | undefined {
    const usage = isAlive ? readProcessUsage(pid) : undefined
    // A program that the kernel is taking down shows nothing of its memory any more, but its time.
    if (usage !== undefined) cpuTicks = Math.max(cpuTicks ?? 0, usage.cpuTicks)
    return usage?.residentBytes
  }
  function leave(): void {
    child.stdout?.destroy()
    child.stderr?.destroy()
  }
  function finish(how: string): void {
    if (isOver) return
    isOver = true
    for (const timer of timers) clearTimeout(timer)
    forgetGroup(pid)
    onEnded(how)
  }
  /** A process that left the group may hold the other end for ever. */
  function drain(rounds: number): void {
    if (rounds === 0) leave()
    else after(limits.toolDrainMs, () => drain(rounds - 1))
  }

  rememberGroup(pid)
  for (const [stream, onChunk] of [
    [child.stdout, onOutput],
    [child.stderr, onStderr],
  ] as const) {
    if (stream === null) continue
    pour(stream, onChunk)
    stream.on('error', () => stream.destroy())
    stream.once('end', sample) // it closes them before it is gone
  }
  child.on('error', () => {}) // of its start alone, and that went well
  child.once('exit', () => {
    // Now, because later the number may be another's.
    signalGroup(pid, 'SIGKILL')
    isAlive = false
    drain(limits.toolDrainRounds)
  })
  child.once('close', (code, signal) => finish(signal === null ? `exit status ${code}` : `killed by ${signal}`))

  return {
    pid,
    sample,
    cpuTicks: () => cpuTicks,
    end() {
      if (isEnding || !isAlive) return
      isEnding = true
      const send = (signal: NodeJS.Signals): void => {
        sample()
        if (isAlive) signalGroup(pid, signal)
      }
      send('SIGINT')
      after(limits.toolTermMs, () => send('SIGTERM'))
      after(limits.toolKillMs, () => send('SIGKILL'))
      after(limits.toolLeaveMs, () => {
        if (!isAlive) return // being drained
        leave()
        child.unref()
        finish('does not end: it was left to itself')
      })
    },
  }
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal)
  } catch {
    // none of it is left, or it runs as somebody else
  }
}

/** An agent that ends in a hurry takes its children along. */
const groups = new Set<number>()
const endGroups = (): void => {
  for (const pid of groups) signalGroup(pid, 'SIGTERM')
}

function rememberGroup(pid: number): void {
  if (groups.size === 0) process.on('exit', endGroups)
  groups.add(pid)
}

function forgetGroup(pid: number): void {
  groups.delete(pid)
  if (groups.size === 0) process.off('exit', endGroups)
}

let deathSignal: readonly string[] | undefined

/** What to put before a command so that the kernel ends it with the agent; nothing where setpriv cannot do that. */
function askForDeathSignal(log: Log): readonly string[] {
  if (deathSignal !== undefined) return deathSignal
  const { file = '' } = findProgram('setpriv', '/usr/bin:/bin')
  const prefix = [file, '--pdeathsig', 'TERM', '--']
  const trial = [...prefix.slice(1), file, '--version']
  const works = file !== '' && spawnSync(file, trial, { env: {}, stdio: 'ignore', timeout: limits.toolTermMs }).status === 0
  if (!works) log.info('setpriv --pdeathsig is not here: if the agent is killed, a tool ends only at its next line')
  deathSignal = works ? prefix : []
  return deathSignal
}

type Found = { readonly file: string; readonly why?: never } | { readonly file?: never; readonly why: string }

function findProgram(program: string, searched: string): Found {
  const isPath = program.includes('/')
  const folders = searched.split(':').filter((folder) => path.isAbsolute(folder))
  let why = isPath ? 'no such file' : 'not found in PATH'
  for (const file of isPath ? [path.resolve(program)] : folders.map((folder) => path.join(folder, program))) {
    try {
      if (!fs.statSync(file).isFile()) continue
      fs.accessSync(file, fs.constants.X_OK)
      return { file }
    } catch (error) {
      if (codeOf(error) === 'EACCES') why = 'not executable'
    }
  }
  return { why }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined
}

const noInterpreter = 'what its first line says should run it is not there'

function describeFailure(error: unknown): string {
  if (codeOf(error) === 'ENOENT') return noInterpreter
  const errno = error instanceof Error && 'errno' in error ? Number(error.errno) : Number.NaN
  if (Number.isNaN(errno)) return toPrintable(error instanceof Error ? error.message : String(error))
  const { code, words } = describeErrno(-errno)
  return `${code}: ${words}`
}

interface Stderr {
  push(chunk: Buffer): void
  text(): string
  /** If it was setpriv that could not start the program: why. */
  explainExec(name: string): string | undefined
}

function createStderr(onFirst: () => void): Stderr {
  let tail = Buffer.alloc(0)
  let isWhole = true
  function text(): string {
    const whole = toPrintable(tail.toString('utf8'))
    return isWhole ? whole : whole.slice(whole.indexOf('\n') + 1)
  }
  return {
    push(chunk) {
      if (tail.length === 0) onFirst()
      isWhole &&= tail.length + chunk.length <= limits.toolStderrBytes
      tail = Buffer.concat([tail, chunk.subarray(-limits.toolStderrBytes)]).subarray(-limits.toolStderrBytes)
    },
    text,
    explainExec(name) {
      const words = /^setpriv: failed to execute .*: (.*)$/m.exec(text())?.[1]
      if (words === undefined) return undefined
      return `${name}: ${words === 'No such file or directory' ? noInterpreter : words}`
    },
  }
}

/** Several lines; nothing else that a terminal would take for an order, nor what changes the direction of text. */
function toPrintable(text: string): string {
  return text
    .replaceAll(/\r\n/g, '\n')
    .replaceAll('\t', ' ')
    .replaceAll(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/g, '\ufffd')
}

/** In which /proc counts: 100 on every machine that Node runs on. */
const ticksPerSecond = 100
let pageSizeBytes: number | undefined

function readProcessUsage(pid: number): { readonly cpuTicks: number; readonly residentBytes: number } | undefined {
  const file = `/proc/${pid}/stat`
  try {
    const { cpuTicks, residentPages } = parseProcPidStat(fs.readFileSync(file, 'latin1'), file)
    pageSizeBytes ??= readPageSizeBytes()
    return { cpuTicks, residentBytes: residentPages * pageSizeBytes }
  } catch {
    return undefined // it has ended
  }
}
