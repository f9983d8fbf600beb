import fs from 'node:fs'
import path from 'node:path'
import type { ParseError } from '../../parsers/text.ts'
import {
  createToolReader,
  type ToolEvent,
  type ToolEventType,
  type ToolFormatName,
  type ToolReader,
} from '../../parsers/tool-table.ts'
import { limits } from '../limits.ts'
import type { Log } from '../log.ts'
import { type Child, type ChildUsage, superviseChild } from './child.ts'
import { followFile } from './follow.ts'
import { createLineSplitter, type LineSource, type LineSourceStatus } from './lines.ts'

/** What a trace tool of the user may tell instead of the built-in programs, and by which of its rows. */
export const toolSignals = {
  retransmits: ['retransmit'],
  drops: ['drop'],
  connects: ['state_change', 'connect_latency'],
  opens: ['connect', 'accept'],
} as const satisfies Record<string, readonly ToolEventType[]>
export type ToolSignal = keyof typeof toolSignals

/** One of the two. */
export interface ToolSetting {
  /** Program and parameters; no shell. */
  readonly command?: readonly string[]
  /** A file or FIFO that the tool writes; `-`: standard input. */
  readonly file?: string
}
export type ToolSettings = { readonly [S in ToolSignal]?: ToolSetting }

export interface Tool {
  readonly signal: ToolSignal
  /** The program's name or the file. */
  readonly name: string
  /** Of the last header; undefined: none yet. */
  format(): ToolFormatName | undefined
  status(): LineSourceStatus
  /** Of a program only: the last lines it wrote to its standard error. */
  stderr(): string
  usage(): ChildUsage | undefined
  /** Lines that are no rows, and the last of them. */
  unreadable(): { readonly lines: number; readonly last: ParseError | undefined }
  /** Events that the tool says it lost. */
  lost(): number
}

export type OnToolEvent = (event: ToolEvent, format: ToolFormatName) => void

export interface Tools {
  /** Undefined: the built-in programs tell it. */
  of(signal: ToolSignal): Tool | undefined
  all(): readonly Tool[]
  /** How many each format has told. */
  rows(): ReadonlyMap<ToolFormatName, number>
  /** To be called before `start`. */
  subscribe(signal: ToolSignal, onEvent: OnToolEvent): void
  start(): void
  stop(): Promise<void>
}

export function createTools(settings: ToolSettings, log: Log): Tools {
  const listeners = new Map<ToolSignal, OnToolEvent>()
  const rows = new Map<ToolFormatName, number>()
  function take(signal: ToolSignal, event: ToolEvent, format: ToolFormatName): void {
    rows.set(format, (rows.get(format) ?? 0) + 1)
    const types: readonly ToolEventType[] = toolSignals[signal]
    if (types.includes(event.type)) listeners.get(signal)?.(event, format)
  }
  const tools = (Object.keys(toolSignals) as ToolSignal[]).flatMap((signal) => {
    const setting = settings[signal]
    return setting === undefined ? [] : [createTool(signal, setting, log, take)]
  })
  return {
    of: (signal) => tools.find((tool) => tool.signal === signal),
    all: () => tools,
    rows: () => rows,
    subscribe: (signal, onEvent) => void listeners.set(signal, onEvent),
    start() {
      for (const { signal, source } of tools) if (listeners.has(signal)) source.start()
    },
    async stop() {
      await Promise.all(tools.map(({ source }) => source.stop()))
    },
  }
}

function createTool(
  signal: ToolSignal,
  { command, file = '' }: ToolSetting,
  log: Log,
  onEvent: (signal: ToolSignal, event: ToolEvent, format: ToolFormatName) => void,
): Tool & { readonly source: LineSource } {
  const [program] = command ?? []
  const name = program === undefined ? (file === '-' ? 'standard input' : file) : path.basename(program)
  let format: ToolFormatName | undefined
  let unreadable = 0
  let last: ParseError | undefined
  let lost = 0
  /** What is read is only to find the header. */
  let isMuted = false

  const createReader = (): ToolReader =>
    createToolReader({
      where: name,
      onEvent: (event) => {
        if (format !== undefined && !isMuted) onEvent(signal, event, format)
      },
      onFormat: (found) => {
        format = found
      },
      onError: (error) => {
        if (isMuted) return
        unreadable++
        last = error
      },
      onLost: (events) => {
        if (!isMuted) lost += events
      },
    })
  let reader = createReader()
  const handlers = {
    onLine: (line: string) => reader.push(line),
    onStart: () => {
      if (command !== undefined) reader = createReader()
      else if (format !== undefined)
        reader.end() // a file that was cut or renamed goes on with the same columns, until another header
      else {
        reader = createReader()
        isMuted = true
        readHead(file, reader)
        isMuted = false
      }
    },
    onEnd: () => reader.end(),
    log,
  }
  const child: Child | undefined =
    program === undefined ? undefined : superviseChild({ command: [program, ...(command ?? []).slice(1)], ...handlers })
  const source = child ?? followFile({ file, ...handlers })
  return {
    source,
    signal,
    name,
    format: () => format,
    status: () => source.status(),
    stderr: () => child?.status().stderr ?? '',
    usage: () => child?.readUsage(),
    unreadable: () => ({ lines: unreadable, last }),
    lost: () => lost,
  }
}

/** A file is followed from its end, but what its columns are stands at its beginning. */
function readHead(file: string, reader: ToolReader): void {
  try {
    if (file === '-' || !fs.statSync(file).isFile()) return
    const head = Buffer.alloc(limits.toolHeadBytes)
    const fd = fs.openSync(file, 'r')
    try {
      const splitter = createLineSplitter({
        onLine: (line) => reader.push(line),
        onLong: () => {},
        bytesMax: limits.toolLineBytes,
      })
      splitter.push(head.subarray(0, fs.readSync(fd, head, 0, head.length, 0)))
      reader.end()
    } finally {
      fs.closeSync(fd)
    }
  } catch {
    // what cannot be read here cannot be followed either, and that is told
  }
}
