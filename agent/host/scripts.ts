import fs from 'node:fs'
import { type BpftraceMap, parseBpftraceJson } from '../../parsers/bpftrace-json.ts'
import {
  type BpftraceReading,
  BpftraceScriptError,
  type CombinedScripts,
  combineScripts,
  createReadingCollector,
  parseBpftraceError,
  type ReadingCollector,
} from '../../parsers/bpftrace-script.ts'
import { ParseError } from '../../parsers/text.ts'
import { limits } from '../limits.ts'
import type { Log } from '../log.ts'
import { type Child, type ChildUsage, minimalEnvironment, superviseChild } from './child.ts'
import { idle, type LineSourceStatus } from './lines.ts'

/** A bpftrace script of the user, and the maps in it that are to be read. */
export interface ScriptSetting {
  readonly file: string
  readonly maps: readonly { readonly name: string; readonly reads: BpftraceReading }[]
}

export type OnScriptMap = (script: number, map: string, entries: BpftraceMap['entries']) => void

/** All scripts of the user, run by one bpftrace. */
export interface Scripts {
  readonly files: readonly string[]
  /** To be called before `start`. Of maps that flip it is told what is new, of others how they are. */
  onMap(listener: OnScriptMap): void
  start(): void
  stop(): Promise<void>
  status(): LineSourceStatus
  usage(): ChildUsage | undefined
  /** Why a script does not run; undefined: it does, or will. */
  problem(script: number): string | undefined
  /** When the last reading was complete, by performance.now(); undefined: none was. */
  lastReadingAtMs(): number | undefined
  /** Events that bpftrace could not keep, and programs that the kernel left out because one was at work on that CPU. */
  lost(): { readonly events: number; readonly recursion: number }
  /** Starts whose end was not an orderly one: what was counted since their last reading is unknown. */
  gaps(): { readonly count: number; readonly lastEnd: string | undefined }
  unreadable(): { readonly lines: number; readonly last: ParseError | undefined }
  /** Maps that once held all the keys they can: others were refused, and nobody counted them. */
  full(): readonly string[]
}

export function createScripts(settings: readonly ScriptSetting[], log: Log, program = 'bpftrace'): Scripts {
  const problems = new Map<number, string>()
  const full = new Set<string>()
  let listener: OnScriptMap = () => {}
  let child: Child | undefined
  /** Of the children before, which were stopped to leave a script out. */
  let usedSeconds = 0
  let before = idle
  let combined: CombinedScripts | undefined
  /** Of the run of bpftrace that is now. */
  let collector: ReadingCollector | undefined
  /** The scripts that are in it, by its own numbers. */
  let included: readonly number[] = []
  let lastReadingAtMs: number | undefined
  let lostEvents = 0
  let recursion = 0
  let recursionOfRun = 0
  let gaps = 0
  let lastEnd: string | undefined
  let unreadable = 0
  let lastUnreadable: ParseError | undefined
  let stopping = false
  let changing: Promise<void> | undefined

  /** Puts the scripts together that have no problem; one that turns out to have one is left out. */
  function combine(): CombinedScripts | undefined {
    for (;;) {
      included = settings.map((_, i) => i).filter((i) => !problems.has(i))
      if (included.length === 0) return undefined
      const texts = included.flatMap((i) => {
        const { file, maps } = settings[i]!
        try {
          const text = fs.readFileSync(file, 'utf8')
          if (text.length > limits.scriptBytes) throw new Error(`more than ${limits.scriptBytes} bytes`)
          return [{ name: file, text, maps }]
        } catch (error) {
          problems.set(i, `${file}: cannot be read: ${(error as Error).message}`)
          return []
        }
      })
      if (texts.length < included.length) continue
      try {
        const result = combineScripts(texts, { intervalMs: limits.scriptIntervalMs })
        if (result.text.length <= limits.scriptBytes) return result
        problems.set(included.at(-1)!, `the scripts together are more than ${limits.scriptBytes} bytes`)
      } catch (error) {
        if (!(error instanceof BpftraceScriptError)) throw error
        blame(error.file, error.message)
      }
    }
  }

  function blame(file: string, problem: string): void {
    for (const i of included) if (settings[i]!.file === file) problems.set(i, problem)
  }

  function takeLine(text: string): void {
    if (text === '' || combined === undefined) return
    try {
      const message = parseBpftraceJson({ where: program, number: child?.status().lines ?? 0, text })
      if (message.type === 'lost') lostEvents += message.events
      if (message.type !== 'map' || !collector?.push(message)) return
      lastReadingAtMs = performance.now()
      recursionOfRun = Math.max(recursionOfRun, readRecursion(child?.status().pid))
    } catch (error) {
      if (!(error instanceof ParseError)) throw error
      unreadable++
      lastUnreadable = error
    }
  }

  function startCollecting(of: CombinedScripts): void {
    const scripts = included
    collector = createReadingCollector(of, ({ script, map }, entries) => {
      if (entries.size >= limits.scriptKeys) full.add(map)
      listener(scripts[script]!, map, entries)
    })
  }

  /** bpftrace ends at once when one script is wrong: that one is left out, the others go on. */
  function takeEnd(): void {
    collector?.end()
    recursion += recursionOfRun
    recursionOfRun = 0
    if (stopping || child === undefined || combined === undefined) return
    const { stderr, lastEnd: how } = child.status()
    const ofCombined = combined
    const blamed = parseBpftraceError(stderr).flatMap(({ line, probe, message }) => {
      const place = line !== undefined ? ofCombined.place(line) : probe !== undefined ? ofCombined.placeOfProbe(probe) : undefined
      return place === undefined ? [] : [{ file: place.file, problem: `${place.file}: line ${place.line}: ${message}` }]
    })
    if (blamed.length === 0 || lastReadingAtMs !== undefined) {
      gaps++
      lastEnd = how
      return
    }
    for (const { file, problem } of blamed) blame(file, problem)
    changing = restart()
  }

  async function restart(): Promise<void> {
    const old = child
    await old?.stop()
    usedSeconds += old?.readUsage()?.cpuSeconds ?? 0
    before = statusOfAll()
    child = undefined
    if (!stopping) launch()
  }

  function launch(): void {
    const started = combine()
    combined = started
    if (started === undefined) return
    child = superviseChild({
      command: [program, '-f', 'json', '-e', started.text],
      environment: {
        ...minimalEnvironment,
        // The first is what versions up to 0.18 understand, the second what later ones do.
        BPFTRACE_MAP_KEYS_MAX: String(limits.scriptKeys),
        BPFTRACE_MAX_MAP_KEYS: String(limits.scriptKeys),
      },
      lineBytesMax: limits.scriptLineBytes,
      onStart: () => startCollecting(started),
      onLine: takeLine,
      onEnd: takeEnd,
      log,
    })
    child.start()
  }

  function statusOfAll(): LineSourceStatus {
    const now = child?.status() ?? idle
    return {
      ...now,
      starts: before.starts + now.starts,
      lines: before.lines + now.lines,
      longLines: before.longLines + now.longLines,
      partialLines: before.partialLines + now.partialLines,
      bytes: before.bytes + now.bytes,
    }
  }

  return {
    files: settings.map(({ file }) => file),
    onMap: (given) => {
      listener = given
    },
    start() {
      stopping = false
      if (settings.length > 0 && child === undefined) launch()
    },
    async stop() {
      stopping = true
      await changing
      await child?.stop()
    },
    status: statusOfAll,
    usage() {
      const usage = child?.readUsage()
      return usage && { ...usage, cpuSeconds: usedSeconds + usage.cpuSeconds }
    },
    problem: (script) => problems.get(script),
    lastReadingAtMs: () => lastReadingAtMs,
    lost: () => ({ events: lostEvents, recursion: recursion + recursionOfRun }),
    gaps: () => ({ count: gaps, lastEnd }),
    unreadable: () => ({ lines: unreadable, last: lastUnreadable }),
    full: () => [...full],
  }
}

/** Of all programs that the process has loaded: how often the kernel left one out. */
function readRecursion(pid: number | undefined): number {
  if (pid === undefined) return 0
  let missed = 0
  try {
    for (const fd of fs.readdirSync(`/proc/${pid}/fdinfo`)) {
      const info = fs.readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'latin1')
      missed += Number(/^recursion_misses:\s*(\d+)/m.exec(info)?.[1] ?? 0)
    }
  } catch {
    // it has ended, or is somebody else's
  }
  return missed
}
