import type { Readable } from 'node:stream'
import { limits } from '../limits.ts'
import type { Log } from '../log.ts'
import { nextTurn } from './turn.ts'

/** What gives lines of text as they come: a tool that the agent runs, or what another one writes. */
export interface LineSource {
  /** Nothing if it runs. After `stop` it begins again. */
  start(): void
  status(): LineSourceStatus
  /** Resolves when nothing of it is left; no line comes after that. */
  stop(): Promise<void>
}

export interface LineSourceOptions {
  /** Without its newline. Must not throw, nor take long: the source waits for it. */
  readonly onLine: (line: string) => void
  /** Before the first line of each start: what was read before does not go on. */
  readonly onStart?: () => void
  /** Once for each start, after its last line. */
  readonly onEnd?: () => void
  /** A longer line is left out; limits.toolLineBytes unless told. */
  readonly lineBytesMax?: number
  readonly log: Log
}

export interface LineSourceStatus {
  /** `waiting`: for its next start. */
  readonly state: 'running' | 'waiting' | 'stopped'
  readonly starts: number
  /** How it last ended, or why it cannot start, in words; undefined: neither yet. */
  readonly lastEnd: string | undefined
  /** Whole ones. */
  readonly lines: number
  /** Longer than the limit: left out. */
  readonly longLines: number
  /** Without their beginning or their end: left out, because a number in them may be cut. */
  readonly partialLines: number
  /** All that was read. */
  readonly bytes: number
  /** By performance.now(); undefined: none yet. */
  readonly lastLineAtMs: number | undefined
  /** By performance.now(): when it next tries; undefined: not waiting, or for another's doing. */
  readonly nextStartAtMs: number | undefined
}

/** Of a source that was not started, or never will be. */
export const idle: LineSourceStatus = {
  state: 'stopped',
  starts: 0,
  lastEnd: undefined,
  lines: 0,
  longLines: 0,
  partialLines: 0,
  bytes: 0,
  lastLineAtMs: undefined,
  nextStartAtMs: undefined,
}

export interface LineSplitterOptions {
  /** Without its newline, and without a carriage return before that. What is not UTF-8 is replaced by U+FFFD. */
  readonly onLine: (line: string) => void
  /** A line that was left out, with its true length, when it has ended. */
  readonly onLong: (bytes: number) => void
  /** A line of which a part is missing: left out too. `text` is what there is of its beginning. */
  readonly onPartial?: (text: string) => void
  readonly bytesMax: number
}

export interface LineSplitter {
  /** Bytes cut anywhere. They are valid during the call only. */
  push(chunk: Uint8Array): void
  /** What comes next is in the middle of a line: the rest of it is a partial one. */
  skip(): void
  /** No more will come of what is unfinished; the next push begins a line. */
  end(): void
}

const newline = 0x0a
const carriageReturn = 0x0d

/** Cuts bytes into lines. Keeps no more than `bytesMax` bytes, however long a line is. */
export function createLineSplitter({ onLine, onLong, onPartial, bytesMax }: LineSplitterOptions): LineSplitter {
  /** The beginning of a line whose end has not come; with room for its carriage return. */
  const kept = Buffer.allocUnsafeSlow(bytesMax + 1)
  let keptBytes = 0
  /** Of a line too long to be kept, so far; its last byte may be the carriage return. */
  let longBytes = 0
  let endsInReturn = false
  let skipping = false

  function keep(bytes: Buffer, from: number, to: number): void {
    const more = to - from
    if (skipping || more === 0) return
    if (longBytes === 0 && keptBytes + more <= kept.length) {
      keptBytes += bytes.copy(kept, keptBytes, from, to)
      return
    }
    longBytes += keptBytes + more
    keptBytes = 0
    endsInReturn = bytes[to - 1] === carriageReturn
  }

  function finish(): void {
    if (skipping) onPartial?.('')
    else if (longBytes > 0) onLong(longBytes - (endsInReturn ? 1 : 0))
    else take(kept, 0, keptBytes)
    forget()
  }

  function take(bytes: Buffer, from: number, end: number): void {
    const to = end > from && bytes[end - 1] === carriageReturn ? end - 1 : end
    if (to - from > bytesMax) onLong(to - from)
    // A string of its own: a piece of one large string would keep all of that in memory for as long as it lives.
    else onLine(bytes.toString('utf8', from, to))
  }

  function forget(): void {
    keptBytes = 0
    longBytes = 0
    endsInReturn = false
    skipping = false
  }

  return {
    push(chunk) {
      const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
      let from = 0
      for (let to = bytes.indexOf(newline); to >= 0; to = bytes.indexOf(newline, from)) {
        if (keptBytes > 0 || longBytes > 0 || skipping) {
          keep(bytes, from, to)
          finish()
        } else {
          take(bytes, from, to)
        }
        from = to + 1
      }
      keep(bytes, from, bytes.length)
    },
    skip() {
      forget()
      skipping = true
    },
    end() {
      if (longBytes > 0) onLong(longBytes)
      else if (skipping || keptBytes > 0) onPartial?.(kept.toString('utf8', 0, keptBytes))
      forget()
    },
  }
}

/** A splitter that counts, for the status of a source. */
export interface LineIntake extends LineSplitter {
  counts(): Pick<LineSourceStatus, 'lines' | 'longLines' | 'partialLines' | 'bytes' | 'lastLineAtMs'>
}

export function createLineIntake(onLine: (line: string) => void, bytesMax: number = limits.toolLineBytes): LineIntake {
  let lines = 0
  let longLines = 0
  let partialLines = 0
  let bytes = 0
  let lastLineAtMs: number | undefined
  const splitter = createLineSplitter({
    onLine(line) {
      lines++
      onLine(line)
    },
    onLong: () => longLines++,
    onPartial: () => partialLines++,
    bytesMax,
  })
  return {
    ...splitter,
    push(chunk) {
      const before = lines
      bytes += chunk.length
      splitter.push(chunk)
      if (lines > before) lastLineAtMs = performance.now()
    },
    counts: () => ({ lines, longLines, partialLines, bytes, lastLineAtMs }),
  }
}

const { signal: never } = new AbortController()
/** When streams were first read in this turn of the loop; undefined: not yet. */
let readSinceMs: number | undefined

/**
 * Hands on what a stream reads, and gives the event loop back in time: all streams together have one share of each turn,
 * and what writes to them waits meanwhile. Returns how to leave the stream.
 */
export function pour(stream: Readable, onChunk: (chunk: Buffer) => void): () => void {
  let left = false
  const take = (chunk: Buffer): void => {
    if (readSinceMs === undefined) {
      readSinceMs = performance.now()
      setImmediate(() => {
        readSinceMs = undefined
      })
    }
    onChunk(chunk)
    if (left || performance.now() - readSinceMs < limits.yieldMs) return
    stream.pause()
    void nextTurn(never).then(() => {
      if (!left) stream.resume()
    })
  }
  stream.on('data', take)
  return () => {
    left = true
    stream.off('data', take)
    stream.pause()
  }
}

/** Writes what happens to a source to the log; the same again only after a while, because a tool may end every second. */
export function createNotices(log: Log, fields: Readonly<Record<string, string>>) {
  const told = new Map<string, { readonly why: string | undefined; readonly atMs: number }>()
  return (what: 'started' | 'ended' | 'waiting', why?: string): void => {
    const last = told.get(what)
    const nowMs = performance.now()
    const repeats = last !== undefined && last.why === why && nowMs - last.atMs < limits.failureLogMs
    if (!repeats) told.set(what, { why, atMs: nowMs })
    log[repeats ? 'debug' : 'info']({ ...fields, ...(why !== undefined && { why }) }, `line source ${what}`)
  }
}
