import { hexDigit, type Line, ParseError, parseError, readDecimal } from './text.ts'

/** Address and port as the tool prints them: IPv6 without brackets, a mapped address as ::ffff:192.0.2.1. */
export interface ToolEnd {
  readonly address: string
  /** Absent where the tool prints none: the local end of tcpconnect without -L. */
  readonly port?: number
}

export type ToolEventType = 'retransmit' | 'drop' | 'connect' | 'accept' | 'life' | 'connect_latency' | 'state_change'

/** One row of a table. What a tool or an older version of it does not print is absent. */
export interface ToolEvent {
  readonly type: ToolEventType
  /** Of its first line, from 1. */
  readonly line: number
  /** 1, or what the row of a table of counts says. */
  readonly count: number
  /** As printed: 12:34:56 of an unnamed day and zone, or seconds since the first event. */
  readonly time?: string
  /** The task on the CPU, which for what softirqs do (retransmits, drops) is a bystander, mostly 0. */
  readonly pid?: number
  /** What the process calls itself, cut by some tools to 10 or 12 characters. Any byte may stand there. */
  readonly comm?: string
  /** ipv6 unless both ends are IPv4. */
  readonly family: 'ipv4' | 'ipv6'
  /**
   * Of a format with `ends: 'source and destination'`, the source of the segment, whichever side that is. Of IPv6, bcc's
   * tcpdrop takes every segment for one that came in: of one that was going out, the addresses, not the ports, are swapped.
   */
  readonly local?: ToolEnd
  readonly remote?: ToolEnd
  /** The kernel's word in lower case: syn_sent, established, close, … Of a state change, the old state. */
  readonly state?: string
  readonly newState?: string
  /** R> or L>. A probe (TLP) is an attempt, which may send new data or nothing. */
  readonly retransmit?: 'segment' | 'probe'
  /** Of the dropped segment: SYN|ACK. Empty if it bears none. */
  readonly flags?: string
  /** Lower case, without SKB_DROP_REASON_. */
  readonly reason?: string
  /** Whole KiB of the tool, as bytes. */
  readonly sentBytes?: number
  readonly receivedBytes?: number
  /** Of a life, all of it; of a connect, until the answer; of a state change, in the old state (0 if the tool does not know). */
  readonly durationSeconds?: number
  /** Functions as printed, the innermost first, at most 64. */
  readonly stack?: readonly string[]
}

export interface ToolFormat {
  readonly name: string
  readonly project: 'bcc' | 'bpftrace' | 'perf-tools'
  readonly tool: string
  readonly type: ToolEventType
  /** The words of its header. Those with a question mark are missing in some versions or without some option. */
  readonly header: string
  /** The words of a row where they differ from the header's. */
  readonly row?: string
  /** The column that the tool leaves blank when it does not know. */
  readonly mayBeBlank?: string
  readonly ends?: 'source and destination'
  /** Lines with kernel functions follow a row. What ends them: the first blank line, the one after them, or the next row. */
  readonly stack?: 'to blank' | 'between blanks' | 'with option'
  /** No blank after TIME(s) and UID: from 10000 seconds, or with a user id of six digits, they touch the next column. */
  readonly tight?: true
}

/**
 * Formats as data. A header names its columns, so that one entry reads every version and option of a tool; what a column
 * holds stands in `columns`. The bcc names hold for libbpf-tools too, whose headers have the same words.
 */
export const toolFormats = [
  {
    name: 'bcc tcpretrans',
    project: 'bcc',
    tool: 'tcpretrans',
    type: 'retransmit',
    header: 'TIME PID IP LADDR:LPORT T> RADDR:RPORT STATE? SEQ?',
  },
  {
    name: 'bcc tcpretrans -c',
    project: 'bcc',
    tool: 'tcpretrans',
    type: 'retransmit',
    header: 'LADDR:LPORT RADDR:RPORT RETRANSMITS',
    row: 'LADDR:LPORT <-> RADDR:RPORT RETRANSMITS',
  },
  {
    name: 'bcc tcpdrop',
    project: 'bcc',
    tool: 'tcpdrop',
    type: 'drop',
    header: 'TIME PID IP SADDR:SPORT > DADDR:DPORT STATE (FLAGS) REASON? (CODE)?',
    ends: 'source and destination',
    stack: 'to blank',
  },
  {
    name: 'bcc tcpconnect',
    project: 'bcc',
    tool: 'tcpconnect',
    type: 'connect',
    header: 'TIME(s)? UID? PID COMM IP SADDR LPORT? SPORT? DADDR DPORT QUERY?',
    tight: true,
  },
  {
    name: 'bcc tcpconnect -c',
    project: 'bcc',
    tool: 'tcpconnect',
    type: 'connect',
    header: 'LADDR RADDR RPORT CONNECTS',
  },
  {
    name: 'bcc tcpaccept',
    project: 'bcc',
    tool: 'tcpaccept',
    type: 'accept',
    header: 'TIME? TIME(s)? PID COMM IP RADDR RPORT? LADDR LPORT',
    tight: true,
  },
  {
    name: 'bcc tcplife',
    project: 'bcc',
    tool: 'tcplife',
    type: 'life',
    header: 'TIME? TIME(s)? PID COMM IP? LADDR LPORT RADDR RPORT TX_KB RX_KB MS',
  },
  {
    name: 'bcc tcpconnlat',
    project: 'bcc',
    tool: 'tcpconnlat',
    type: 'connect_latency',
    header: 'TIME(s)? PID COMM IP SADDR LPORT? DADDR DPORT LAT(ms)',
    tight: true,
  },
  {
    name: 'bcc tcpstates',
    project: 'bcc',
    tool: 'tcpstates',
    type: 'state_change',
    header: 'TIME? TIME(s)? SKADDR C-PID? PID? C-COMM? COMM? IP? LADDR LPORT RADDR RPORT OLDSTATE ->? NEWSTATE MS',
  },
  {
    name: 'bpftrace tcpretrans',
    project: 'bpftrace',
    tool: 'tcpretrans.bt',
    type: 'retransmit',
    header: 'TIME PID LADDR:LPORT RADDR:RPORT STATE',
    mayBeBlank: 'STATE',
  },
  {
    name: 'bpftrace tcpdrop',
    project: 'bpftrace',
    tool: 'tcpdrop.bt',
    type: 'drop',
    header: 'TIME PID COMM SADDR:SPORT DADDR:DPORT STATE',
    stack: 'between blanks',
  },
  {
    name: 'bpftrace tcpconnect',
    project: 'bpftrace',
    tool: 'tcpconnect.bt',
    type: 'connect',
    header: 'TIME PID COMM SADDR SPORT DADDR DPORT',
  },
  {
    name: 'bpftrace tcpaccept',
    project: 'bpftrace',
    tool: 'tcpaccept.bt',
    type: 'accept',
    header: 'TIME PID COMM RADDR RPORT LADDR LPORT BL',
  },
  {
    // The same header as bcc's: told apart by the probes that bpftrace says it attached, if that stands before.
    name: 'bpftrace tcplife',
    project: 'bpftrace',
    tool: 'tcplife.bt',
    type: 'life',
    header: 'PID COMM LADDR LPORT RADDR RPORT TX_KB RX_KB MS',
  },
  {
    name: 'perf-tools tcpretrans',
    project: 'perf-tools',
    tool: 'tcpretrans',
    type: 'retransmit',
    header: 'TIME PID LADDR:LPORT -- RADDR:RPORT STATE',
    mayBeBlank: 'PID',
    stack: 'with option',
  },
] as const satisfies readonly ToolFormat[]

export type ToolFormatName = (typeof toolFormats)[number]['name']

export interface ToolReaderParts {
  /** File or tool, for errors. */
  readonly where: string
  readonly onEvent: (event: ToolEvent) => void
  /** A header was recognised; also later, where the tool was started again. */
  readonly onFormat?: (format: ToolFormatName) => void
  /** A line that is unknown or damaged. The lines around it are read all the same. */
  readonly onError: (error: ParseError) => void
  /** The tool says that it lost so many events. */
  readonly onLost?: (events: number) => void
}

export interface ToolReader {
  /** The last header's. */
  readonly format: ToolFormatName | undefined
  /** A line without its newline. */
  push(line: string): void
  /** There are no more lines: hands out an event whose stack was still growing. */
  end(): void
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }
interface Draft extends Mutable<Omit<ToolEvent, 'local' | 'remote' | 'stack'>> {
  local?: Mutable<ToolEnd>
  remote?: Mutable<ToolEnd>
  stack?: string[]
}
type ReadColumn = (event: Draft, line: Line, from: number, to: number) => void

const stackFramesMax = 64
/** Of a task: 15 characters and the zero in the kernel. */
const commCharactersMax = 16
const columnsMax = 64

const columns: Readonly<Record<string, ReadColumn>> = {
  TIME(event, line, from, to) {
    if (!isClock(line.text, from, to)) throw parseError(line, from, 'a time', to)
    event.time = line.text.slice(from, to)
  },
  'TIME(s)'(event, line, from, to) {
    readNumber(line, from, to)
    event.time ??= line.text.slice(from, to)
  },
  PID: readPid,
  'C-PID': readPid,
  COMM: readComm,
  'C-COMM': readComm,
  UID: readAside(/^\d{1,10}$/, 'a user id'),
  SKADDR: readAside(/^[0-9a-f]{1,16}$/, 'the address of a socket'),
  SEQ: readAside(/^\d{1,10}$/, 'a sequence number'),
  BL: readAside(/^\d+\/\d+$/, 'length and limit of a backlog'),
  '(CODE)': readAside(/^\(\d{1,10}\)$/, 'the number of a reason in parentheses'),
  '>': readAside(/^>$/, '>'),
  '->': readAside(/^->$/, '->'),
  '<->': readAside(/^<->$/, '<->'),
  IP(_event, line, from, to) {
    const digit = line.text.charCodeAt(from)
    if (to - from !== 1 || (digit !== 0x34 && digit !== 0x36)) throw parseError(line, from, '4 or 6', to)
  },
  'T>': readRetransmit,
  '--': readRetransmit,
  'LADDR:LPORT': readEnd('local'),
  'SADDR:SPORT': readEnd('local'),
  'RADDR:RPORT': readEnd('remote'),
  'DADDR:DPORT': readEnd('remote'),
  LADDR: readEndAddress('local'),
  SADDR: readEndAddress('local'),
  RADDR: readEndAddress('remote'),
  DADDR: readEndAddress('remote'),
  LPORT: readEndPort('local'),
  SPORT: readEndPort('local'),
  RPORT: readEndPort('remote'),
  DPORT: readEndPort('remote'),
  STATE(event, line, from, to) {
    if (to - from !== 1 || line.text[from] !== '-') event.state = readState(line, from, to)
  },
  OLDSTATE(event, line, from, to) {
    event.state = readState(line, from, to)
  },
  NEWSTATE(event, line, from, to) {
    event.newState = readState(line, from, to)
  },
  '(FLAGS)'(event, line, from, to) {
    const flags = line.text.slice(from, to)
    if (!/^\((?:[A-Z]{2,3}(?:\|[A-Z]{2,3}){0,8})?\)$/.test(flags)) throw parseError(line, from, 'TCP flags in parentheses', to)
    event.flags = flags.slice(1, -1)
  },
  REASON(event, line, from, to) {
    const reason = line.text.slice(from, to)
    if (!/^[A-Z][A-Z0-9_]{0,63}$/.test(reason)) throw parseError(line, from, 'the name of a reason', to)
    event.reason = reason.replace(/^SKB_DROP_REASON_/, '').toLowerCase()
  },
  TX_KB(event, line, from, to) {
    event.sentBytes = readNumber(line, from, to) * 1024
  },
  RX_KB(event, line, from, to) {
    event.receivedBytes = readNumber(line, from, to) * 1024
  },
  MS: readDuration,
  'LAT(ms)': readDuration,
  RETRANSMITS: readCount,
  CONNECTS: readCount,
}

/** A header taken apart: what to read before and after the only column that may hold blanks, or none at all. */
interface Layout {
  readonly format: ToolFormat & { readonly name: ToolFormatName }
  readonly commas: boolean
  readonly words: readonly string[]
  readonly before: readonly ReadColumn[]
  readonly comm: ReadColumn | undefined
  readonly after: readonly ReadColumn[]
  /** Text of any length follows, which is not read. */
  readonly query: boolean
  /** The row of a tool that left its column blank. */
  readonly withoutBlank: Layout | undefined
}

const headers = toolFormats.map((format: Layout['format']) => {
  const words = format.header.split(' ').map((word) => {
    const text = word.replace(/\?$/, '').replace(/[()]/g, '\\$&')
    return word.endsWith('?') ? `(?:${text} )?` : `${text} `
  })
  return { format, pattern: new RegExp(`^${words.join('')}$`) }
})
/** The longest header has 130 characters. */
const headerCharactersMax = 256

function layoutOf(text: string, isBpftrace: boolean): Layout | undefined {
  if (text.length > headerCharactersMax) return undefined
  const commas = text.includes(',')
  const header = `${text.replace(commas ? /,/g : /[ \t]+/g, ' ')} `
  const found = headers.filter(({ pattern }) => pattern.test(header))
  const { format } = found.find((one) => (one.format.project === 'bpftrace') === isBpftrace) ?? found[0] ?? {}
  return format && layoutOfRow(format, (format.row ?? header).trimEnd().split(' '), commas)
}

function layoutOfRow(format: Layout['format'], allWords: readonly string[], commas: boolean): Layout {
  const query = allWords.at(-1) === 'QUERY'
  const words = query ? allWords.slice(0, -1) : allWords
  const readers = words.map((word) => columns[word]!)
  const at = readers.indexOf(readComm)
  const rest = words.filter((word) => word !== format.mayBeBlank)
  return {
    format,
    commas,
    words,
    before: at === -1 ? readers : readers.slice(0, at),
    comm: readers[at],
    after: at === -1 ? [] : readers.slice(at + 1),
    query,
    withoutBlank: rest.length < words.length ? layoutOfRow(format, rest, commas) : undefined,
  }
}

const notice =
  /^(?:\^C)?(?:$|Tracing .*(?:\.\.\.|Ctrl-C)|Attach(?:ing|ed) \d+ probes?|(?:\S+: )?WARNING: |Ending tracing\.\.\.|Monitoring )/
const probes = /^Attach(?:ing|ed) \d+ probes?/
const lost = /^(?:Possibly lost|[Ll]ost) (\d{1,15}) (?:samples|events)/
const frame = /^[ \t]+(?:=> )?(?:b'([^']{1,256})'|([\w.$<[][\w.$<>[\]:+ /()-]{0,255}))$/

/**
 * Reads what bcc's, bpftrace's and perf-tools' TCP tools print, whichever it is: the header says. Nothing is kept but the
 * layout of the table and, of a tool with stacks, one event.
 */
export function createToolReader({ where, onEvent, onFormat, onError, onLost }: ToolReaderParts): ToolReader {
  let number = 0
  let layout: Layout | undefined
  let isBpftrace = false
  /** Waits for the end of its stack. */
  let pending: Draft | undefined
  /** Stack lines belong to a row that could not be read: that was reported. */
  let isOrphaned = false
  let hasSeenBlank = false
  /** Of a tool that prints stacks only with an option: whether it does. Until a second row shows, the first has to wait. */
  let hasStacks: boolean | undefined
  const row = createRowReader()

  function finish(): void {
    const event = pending
    pending = undefined
    if (event !== undefined) onEvent(event)
  }

  function startTable(next: Layout): void {
    finish()
    layout = next
    isBpftrace = false
    isOrphaned = false
    hasStacks = next.format.stack === undefined ? false : next.format.stack === 'with option' ? undefined : true
    onFormat?.(next.format.name)
  }

  function readBlank(): void {
    isOrphaned = false
    if (pending === undefined) return
    const opens = layout?.format.stack === 'between blanks' && pending.stack === undefined && !hasSeenBlank
    if (opens) hasSeenBlank = true
    else finish()
  }

  /** Whether the line is one of a stack, damaged or not. */
  function readFrame(text: string): boolean {
    if (layout?.format.stack === undefined) return false
    const found = frame.exec(text)
    if (found === null) return false
    if (pending !== undefined) {
      hasStacks = true
      pending.stack ??= []
      if (pending.stack.length < stackFramesMax) pending.stack.push(found[1] ?? found[2]!)
    } else if (hasStacks === false) {
      hasStacks = true // of the next rows: this one's event is out already
      isOrphaned = true
    } else if (!isOrphaned) {
      isOrphaned = true
      onError(parseError({ where, number, text }, text.search(/[^ \t]/), `a row of ${layout.format.name}`))
    }
    return true
  }

  function readRow(text: string): void {
    const line = { where, number, text }
    if (layout === undefined) {
      onError(parseError(line, 0, 'the header of a tool'))
      return
    }
    if (pending !== undefined && hasStacks === undefined) hasStacks = false
    finish()
    let event: Draft
    try {
      event = row.read(line, layout)
    } catch (error) {
      if (!(error instanceof ParseError)) throw error
      isOrphaned = true
      onError(error)
      const next = headerIn(text)
      if (next !== undefined) startTable(next)
      return
    }
    isOrphaned = false
    hasSeenBlank = false
    if (hasStacks === false) onEvent(event)
    else pending = event
  }

  /** A row that was cut when the tool was killed, and on the same line the header of the next. */
  function headerIn(text: string): Layout | undefined {
    const end = text.slice(-headerCharactersMax)
    for (const { index } of [...end.matchAll(/TIME|UID|PID|SKADDR|LADDR/g)].slice(0, 4)) {
      const next = layoutOf(end.slice(index), isBpftrace)
      if (next !== undefined) return next
    }
    return undefined
  }

  return {
    get format() {
      return layout?.format.name
    },
    push(line) {
      number++
      const text = isBlank(line.charCodeAt(line.length - 1)) ? line.trimEnd() : line
      const first = text.charCodeAt(0)
      if (isDigit(first) || (first >= 0x61 && first <= 0x66))
        readRow(text) // a time, a process or the address of a socket
      else if (text === '') readBlank()
      else if (isBlank(first)) {
        if (!readFrame(text)) readRow(text)
      } else {
        const next = layoutOf(text, isBpftrace)
        if (next !== undefined) startTable(next)
        else if (notice.test(text)) isBpftrace ||= probes.test(text)
        else {
          const count = lost.exec(text)?.[1]
          if (count === undefined) readRow(text)
          else onLost?.(Number(count))
        }
      }
    },
    end: finish,
  }
}

function createRowReader(): { read: (line: Line, layout: Layout) => Draft } {
  const starts = new Int32Array(columnsMax + 1)
  const ends = new Int32Array(columnsMax + 1)
  let count = 0

  function splitAtBlanks(text: string): void {
    const end = text.length
    count = 0
    for (let at = 0; ; ) {
      while (at < end && isBlank(text.charCodeAt(at))) at++
      if (at >= end || count === columnsMax) return
      starts[count] = at
      while (at < end && !isBlank(text.charCodeAt(at))) at++
      ends[count++] = at
    }
  }

  function splitAtCommas(text: string): void {
    count = 0
    for (let from = 0; count < columnsMax; ) {
      const comma = text.indexOf(',', from)
      starts[count] = from
      ends[count++] = comma === -1 ? text.length : comma
      if (comma === -1) return
      from = comma + 1
    }
  }

  /** Makes two columns of one. */
  function splitColumn(i: number, at: number): void {
    if (count === columnsMax || at <= starts[i]! || at >= ends[i]!) return
    starts.copyWithin(i + 1, i, count)
    ends.copyWithin(i + 1, i, count)
    starts[i + 1] = at
    ends[i] = at
    count++
  }

  /** Where `%-9.3f` and `%-6d` have no room for a blank. */
  function splitTouching(text: string, words: readonly string[]): void {
    let i = 0
    if (words[i] === 'TIME') i++
    if (words[i] === 'TIME(s)' && i < count) {
      if (ends[i]! - starts[i]! > 9) splitColumn(i, text.indexOf('.', starts[i]!) + 4)
      i++
    }
    // The process id after it is padded to 7, so that the command begins 8 behind the end of the user id.
    if (words[i] === 'UID' && i + 1 < count && ends[i]! - starts[i]! > 6) splitColumn(i, starts[i + 1]! - 8)
  }

  function readColumns(event: Draft, line: Line, layout: Layout, readers: readonly ReadColumn[], first: number): void {
    for (let i = 0; i < readers.length; i++) {
      const at = first + i
      if (at >= count) {
        const word = layout.words[layout.words.length - readers.length + i]
        throw parseError(line, line.text.length, `the column ${word} of ${layout.format.name}`)
      }
      readers[i]!(event, line, starts[at]!, ends[at]!)
    }
  }

  /** With a command of so many words. */
  function readAll(line: Line, layout: Layout, commWords: number): Draft {
    const { type } = layout.format
    const event: Draft = { type, line: line.number, count: 1, family: 'ipv4' }
    const { before, comm, after } = layout
    if (comm === undefined) {
      readColumns(event, line, layout, before, 0)
      if (count > before.length)
        throw parseError(line, starts[before.length]!, `the end of the line after ${before.length} columns`)
      return event
    }
    for (let i = 0; i < before.length && i < count; i++) before[i]!(event, line, starts[i]!, ends[i]!)
    const at = before.length
    if (commWords < 0) throw parseError(line, line.text.length, `${layout.words.length} columns instead of ${count}`)
    if (commWords === 0) event.comm = ''
    else comm(event, line, starts[at]!, ends[at + commWords - 1]!)
    readColumns(event, line, layout, after, at + commWords)
    return event
  }

  function readWithQuery(line: Line, layout: Layout): Draft {
    let firstError: unknown
    for (let words = 1; words <= commCharactersMax / 2; words++) {
      try {
        return readAll(line, layout, words)
      } catch (error) {
        firstError ??= error
      }
    }
    throw firstError
  }

  return {
    read(line, layout) {
      if (layout.commas) splitAtCommas(line.text)
      else splitAtBlanks(line.text)
      if (layout.format.tight) splitTouching(line.text, layout.words)
      if (layout.query) return readWithQuery(line, layout)
      const fitting = count === layout.words.length - 1 ? (layout.withoutBlank ?? layout) : layout
      return readAll(line, fitting, count - layout.before.length - layout.after.length)
    },
  }
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09 || code === 0x0d || code === 0x0a
}

function readPid(event: Draft, line: Line, from: number, to: number): void {
  if (to - from > 10) throw parseError(line, from, 'a process id', to)
  event.pid = readDecimal(line, from, to)
}

function readComm(event: Draft, line: Line, from: number, to: number): void {
  if (to - from > commCharactersMax) throw parseError(line, from, `a command of at most ${commCharactersMax} characters`, to)
  event.comm = line.text.slice(from, to)
}

/** A column that is checked, so that damage shows, and not kept. */
function readAside(pattern: RegExp, expected: string): ReadColumn {
  return (_event, line, from, to) => {
    if (!pattern.test(line.text.slice(from, to))) throw parseError(line, from, expected, to)
  }
}

function readRetransmit(event: Draft, line: Line, from: number, to: number): void {
  const { text } = line
  if (to - from === 2 && text[from + 1] === '>') {
    if (text[from] === 'R') {
      event.retransmit = 'segment'
      return
    }
    if (text[from] === 'L') {
      event.retransmit = 'probe'
      return
    }
  }
  throw parseError(line, from, 'R> or L>', to)
}

function readCount(event: Draft, line: Line, from: number, to: number): void {
  event.count = readDecimal(line, from, to)
}

function readDuration(event: Draft, line: Line, from: number, to: number): void {
  event.durationSeconds = readNumber(line, from, to) / 1000
}

/** Digits, perhaps a point and more digits. */
function readNumber(line: Line, from: number, to: number): number {
  const { text } = line
  let points = 0
  for (let at = from; at < to; at++) {
    const code = text.charCodeAt(at)
    if (code === 0x2e && at > from && at < to - 1) points++
    else if (!isDigit(code)) points = 2
  }
  if (points > 1 || to === from || to - from > 24) throw parseError(line, from, 'a number', to)
  return Number(text.slice(from, to))
}

/** `192.0.2.1:80`, `2001:db8::1:80`, `[2001:db8::1]#80`, or `-:-` of a socket that is gone. */
function readEnd(side: 'local' | 'remote'): ReadColumn {
  return (event, line, from, to) => {
    const { text } = line
    if (to - from === 3 && text.startsWith('-:-', from)) return
    const isBracketed = text[from] === '['
    const mark = text.lastIndexOf(isBracketed ? '#' : ':', to - 1)
    if (mark <= from || (isBracketed && text[mark - 1] !== ']')) throw parseError(line, from, 'an address and a port', to)
    const address = isBracketed ? readAddress(event, line, from + 1, mark - 1) : readAddress(event, line, from, mark)
    event[side] = { address, port: readPort(line, mark + 1, to) }
  }
}

function readEndAddress(side: 'local' | 'remote'): ReadColumn {
  return (event, line, from, to) => {
    event[side] = { address: readAddress(event, line, from, to) }
  }
}

/** Every header has the address before its port. */
function readEndPort(side: 'local' | 'remote'): ReadColumn {
  return (event, line, from, to) => {
    event[side]!.port = readPort(line, from, to)
  }
}

function readAddress(event: Draft, line: Line, from: number, to: number): string {
  const { text } = line
  if (!isIpv4(text, from, to)) {
    if (!isIpv6(text, from, to)) throw parseError(line, from, 'an IPv4 or IPv6 address', to)
    event.family = 'ipv6'
  }
  return text.slice(from, to)
}

function readPort(line: Line, from: number, to: number): number {
  const { text } = line
  let port = to - from > 5 || to === from ? 65536 : 0
  for (let at = from; at < to && port <= 65535; at++) {
    const code = text.charCodeAt(at)
    port = isDigit(code) ? port * 10 + code - 0x30 : 65536
  }
  if (port > 65535) throw parseError(line, from, 'a port', to)
  return port
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39
}

function isClock(text: string, from: number, to: number): boolean {
  if (to - from !== 8) return false
  for (let i = 0; i < 8; i++) {
    const code = text.charCodeAt(from + i)
    if (i === 2 || i === 5 ? code !== 0x3a : !isDigit(code)) return false
  }
  return text.charCodeAt(from) <= 0x32 && text.charCodeAt(from + 3) <= 0x35 && text.charCodeAt(from + 6) <= 0x36
}

/** Four numbers up to 255, without leading zeros. */
function isIpv4(text: string, from: number, to: number): boolean {
  let dots = 0
  let value = -1
  for (let at = from; at < to; at++) {
    const code = text.charCodeAt(at)
    if (code === 0x2e) {
      if (value === -1 || ++dots > 3) return false
      value = -1
    } else {
      if (!isDigit(code) || value === 0) return false
      value = (value === -1 ? 0 : value * 10) + code - 0x30
      if (value > 255) return false
    }
  }
  return dots === 3 && value !== -1
}

/** Eight groups, or fewer with one `::`; the last two may be an IPv4 address. */
function isIpv6(text: string, from: number, to: number): boolean {
  let groups = 0
  let isShort = false
  let at = from
  if (text.charCodeAt(at) === 0x3a && text.charCodeAt(at + 1) !== 0x3a) return false
  while (at < to) {
    if (text.charCodeAt(at) === 0x3a) {
      // a second colon: the one before it ended a group, or the address begins with two
      if (at === from) at++
      if (isShort || at >= to) return false
      isShort = true
      at++
      continue
    }
    let digits = 0
    while (at + digits < to && hexDigit(text.charCodeAt(at + digits)) !== -1) digits++
    const end = at + digits
    if (end < to && text.charCodeAt(end) === 0x2e) {
      if (!isIpv4(text, at, to)) return false
      groups += 2
      at = to
      break
    }
    if (digits === 0 || digits > 4) return false
    groups++
    at = end
    if (at === to) break
    if (text.charCodeAt(at) !== 0x3a || at + 1 === to) return false
    at++
  }
  return isShort ? groups < 8 : groups === 8
}

/** include/net/tcp_states.h, in its order from 1. Newer tools print the number of a state that they do not know. */
const stateNames =
  'ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN CLOSING NEW_SYN_RECV BOUND_INACTIVE'
const states = new Map<string, string>()
for (const [i, name] of stateNames.split(' ').entries()) {
  states.set(name, name.toLowerCase())
  states.set(String(i + 1), name.toLowerCase())
}
states.set('ESTABLISHE', 'established') // bpftrace before it kept whole strings in maps

function readState(line: Line, from: number, to: number): string {
  const state = states.get(line.text.slice(from, to))
  if (state === undefined) throw parseError(line, from, 'a TCP state', to)
  return state
}
