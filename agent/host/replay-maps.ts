import { type BpftraceMap, type BpftraceMessage, type BpftraceValue, parseBpftraceJson } from '../../parsers/bpftrace-json.ts'
import { createBpftraceTextReader } from '../../parsers/bpftrace-text.ts'
import type { ParseError } from '../../parsers/text.ts'
import { limits } from '../limits.ts'
import { idle } from './lines.ts'
import type { OnScriptMap, Scripts } from './scripts.ts'

/** A stack has 127 frames at most. */
const keyLinesMax = 130

export interface ReplayMapsOptions {
  /** The maps that are declared, script by script. */
  readonly declared: readonly ReadonlySet<string>[]
  readonly onError: (error: ParseError) => void
}

/** What bpftrace printed of maps, as JSON or as text. */
export interface ReplayMaps {
  /** True: the line was bpftrace's. */
  takeLine(where: string, number: number, line: string): boolean
  end(): void
  /** As if the scripts whose maps are declared ran here. Each print is new: that of a script that prints and clears. */
  readonly scripts: Scripts
  /** All others, as they were printed last. */
  undeclared(): ReadonlyMap<string, ReadonlyMap<string, BpftraceValue>>
  readonly maps: number
  /** Entries of maps that found no place. */
  readonly dropped: number
  readonly lost: number
}

export function createReplayMaps({ declared, onError }: ReplayMapsOptions): ReplayMaps {
  const undeclared = new Map<string, BpftraceMap['entries']>()
  let listener: OnScriptMap = () => {}
  let maps = 0
  let lost = 0
  let dropped = 0
  let isInText = false
  let keyLines = 0

  function take(message: BpftraceMessage): void {
    if (message.type === 'lost') lost += message.events
    if (message.type !== 'map' || message.entries.size === 0) return
    maps++
    const script = declared.findIndex((names) => names.has(message.map))
    if (script !== -1) listener(script, message.map, message.entries)
    else if (undeclared.size < limits.replayMaps || undeclared.has(message.map)) undeclared.set(message.map, message.entries)
    else dropped += message.entries.size
  }
  const createReader = (where: string) => createBpftraceTextReader({ where, onMessage: take, onError })
  let text = { where: '', reader: createReader('') }

  return {
    takeLine(where, number, line) {
      if (line.startsWith('{"type": "')) {
        take(parseBpftraceJson({ where, number, text: line }))
        return true
      }
      if (text.where !== where) {
        text.reader.end()
        text = { where, reader: createReader(where) }
      }
      const isStart = line.startsWith('@')
      isInText = isStart || keyLines > 0 || (isInText && (line === '' || /^[[(]/.test(line)))
      // A stack as a key goes over several lines, up to the one that closes it.
      const isKey = isStart ? /^@\w*\[/.test(line) : keyLines > 0
      keyLines = isKey && !line.includes(']:') && keyLines < keyLinesMax ? keyLines + 1 : 0
      if (!isInText) {
        text.reader.end()
        return false
      }
      text.reader.push(line)
      return true
    },
    end: () => text.reader.end(),
    scripts: {
      files: declared.map(() => 'a recording'),
      onMap: (given) => {
        listener = given
      },
      start() {},
      async stop() {},
      status: () => idle,
      usage: () => undefined,
      problem: () => undefined,
      lastReadingAtMs: () => undefined,
      lost: () => ({ events: 0, recursion: 0 }),
      gaps: () => ({ count: 0, lastEnd: undefined }),
      unreadable: () => ({ lines: 0, last: undefined }),
      full: () => [],
    },
    undeclared: () => undeclared,
    get maps() {
      return maps
    },
    get dropped() {
      return dropped
    },
    get lost() {
      return lost
    },
  }
}
