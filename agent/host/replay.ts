import fs from 'node:fs'
import { isPcapFile } from '../../parsers/pcap-file.ts'
import { ParseError } from '../../parsers/text.ts'
import { createToolReader, type ToolEvent, type ToolEventType, type ToolFormatName } from '../../parsers/tool-table.ts'
import { limits } from '../limits.ts'
import { createLineSplitter, idle } from './lines.ts'
import type { ReplayPackets } from './replay-packets.ts'
import { type OnToolEvent, type Tool, type ToolSignal, type Tools, toolSignals } from './tools.ts'

/** What a recording held. */
export interface ReplayTotals {
  readonly bytes: number
  readonly lines: number
  /** Rows of each format. */
  readonly rows: ReadonlyMap<ToolFormatName, number>
  readonly unreadable: number
  readonly firstUnreadable: ParseError | undefined
  readonly longLines: number
  /** A last line without its end: its last number may be cut, so it is left out. */
  readonly partialLines: number
  readonly lost: number
  /** Captures of packets. */
  readonly captures: number
  /** Of those that are damaged or cut off: where, in words. */
  readonly damaged: readonly string[]
}

export interface Replay {
  /** As if the tools of the recordings ran here. */
  readonly tools: Tools
  /** Reads a whole file, `-` standard input, and hands out its rows. A file that cannot be read is an error of the system. */
  read(file: string, onProgress: (readBytes: number, ofBytes: number | undefined) => void | Promise<void>): Promise<void>
  /** Of a line that somebody else reads. */
  complain(error: ParseError): void
  totals(): ReplayTotals
}

export interface ReplayOptions {
  /** Each line is offered here first. True: it was taken, it is no tool's. Throws an Error in words if it ought to have been, and is damaged. */
  readonly takeLine?: (line: string, where: string, number: number) => boolean
  /** Takes files of packets; without it they are lines like any other. */
  readonly packets?: Pick<ReplayPackets, 'open'>
}

/** What a file is given to. */
interface Intake {
  /** False: it takes no more. */
  push(chunk: Buffer): boolean
  end(): void
}

/** To tell what kind of file it is. */
const magicBytes = 4

export function createReplay({ takeLine = () => false, packets }: ReplayOptions = {}): Replay {
  const listeners = new Map<ToolSignal, OnToolEvent>()
  const tools = new Map<ToolSignal, Tool>()
  const rows = new Map<ToolFormatName, number>()
  const signalOf = new Map(
    Object.entries(toolSignals).flatMap(([signal, types]) => types.map((type) => [type as ToolEventType, signal as ToolSignal])),
  )
  let bytes = 0
  let lines = 0
  let unreadable = 0
  let firstUnreadable: ParseError | undefined
  let longLines = 0
  let partialLines = 0
  let lost = 0
  let captures = 0
  const damaged: string[] = []

  function take(event: ToolEvent, format: ToolFormatName): void {
    rows.set(format, (rows.get(format) ?? 0) + 1)
    const signal = signalOf.get(event.type)
    if (signal === undefined) return
    if (!tools.has(signal)) tools.set(signal, toolOf(signal, format))
    listeners.get(signal)?.(event, format)
  }

  function complain(error: ParseError): void {
    unreadable++
    firstUnreadable ??= error
  }

  function readLines(where: string): Intake {
    let format: ToolFormatName | undefined
    let number = 0
    const reader = createToolReader({
      where,
      onEvent: (event) => format !== undefined && take(event, format),
      onFormat: (found) => {
        format = found
      },
      onError: complain,
      onLost: (events) => {
        lost += events
      },
    })
    function isTaken(line: string): boolean {
      try {
        return takeLine(line, where, number)
      } catch (error) {
        complain(error instanceof ParseError ? error : new ParseError(where, number, 1, (error as Error).message, line))
        return true
      }
    }
    const splitter = createLineSplitter({
      onLine(line) {
        lines++
        number++
        reader.push(isTaken(line) ? '' : line)
      },
      onLong() {
        number++
        longLines++
        reader.push('')
      },
      onPartial: () => partialLines++,
      bytesMax: limits.recordingLineBytes,
    })
    return {
      push(chunk) {
        splitter.push(chunk)
        return true
      },
      end() {
        splitter.end()
        reader.end()
      },
    }
  }

  async function readPackets(where: string, { open }: Pick<ReplayPackets, 'open'>): Promise<Intake> {
    const reader = await open()
    let isWhole = true
    captures++
    function attempt(act: () => void): void {
      try {
        if (isWhole) act()
      } catch (error) {
        if (!(error instanceof ParseError)) throw error
        isWhole = false
        const { column, expected, got } = error
        damaged.push(`${where}: byte ${column}: expected ${expected}${got === '' ? '' : `, got ${got}`}`)
      }
    }
    return {
      push(chunk) {
        attempt(() => reader.push(chunk))
        return isWhole
      },
      end: () => attempt(() => reader.end()),
    }
  }

  async function read(file: string, onProgress: Parameters<Replay['read']>[1]): Promise<void> {
    const where = file === '-' ? 'standard input' : file
    const size = file === '-' ? undefined : sizeOf(file)
    const stream = file === '-' ? process.stdin : fs.createReadStream(file, { highWaterMark: limits.followReadBytes })
    let intake: Intake | undefined
    let start: Buffer = Buffer.alloc(0)
    const begin = async (): Promise<Intake> =>
      packets !== undefined && isPcapFile(start) ? readPackets(where, packets) : readLines(where)
    let done = 0
    for await (const chunk of stream) {
      let part = chunk as Buffer
      bytes += part.length
      done += part.length
      if (intake === undefined) {
        start = Buffer.concat([start, part])
        if (start.length < magicBytes) continue
        intake = await begin()
        part = start
      }
      const takesMore = intake.push(part)
      await onProgress(done, size)
      if (!takesMore) break
    }
    if (intake === undefined) {
      intake = await begin()
      intake.push(start)
    }
    intake.end()
  }

  return {
    read,
    complain,
    tools: {
      of: (signal) => tools.get(signal),
      all: () => [],
      rows: () => rows,
      subscribe: (signal, onEvent) => void listeners.set(signal, onEvent),
      start() {},
      async stop() {},
    },
    totals: () => ({ bytes, lines, rows, unreadable, firstUnreadable, longLines, partialLines, lost, captures, damaged }),
  }
}

function sizeOf(file: string): number | undefined {
  const { size } = fs.statSync(file)
  return size > 0 ? size : undefined
}

/** It has said all it had to say; how it was read is in the totals. */
function toolOf(signal: ToolSignal, format: ToolFormatName): Tool {
  return {
    signal,
    name: 'a recording',
    format: () => format,
    status: () => ({ ...idle, starts: 1 }),
    stderr: () => '',
    usage: () => undefined,
    unreadable: () => ({ lines: 0, last: undefined }),
    lost: () => 0,
  }
}
