import type { Config } from '../config.ts'
import type { EventEnd, EventMessage, NetworkEvent, NotShown } from '../events.ts'
import { limits } from '../limits.ts'
import type { DnsEvent, HttpEvent } from '../sources/source.ts'
import { toJsonLine } from './check.ts'
import { findName, nameOf, socketOf } from './end-text.ts'
import type { Looks } from './report-text.ts'
import { paint, plain } from './terminal.ts'

export interface EventText {
  /** A line for each, with its newline; before the first of a table its titles. What comes at once is aligned at once. */
  linesOf(messages: readonly EventMessage[]): string
}

/** Of a column: as wide as what it had so far, within these. */
interface Column {
  readonly title: string
  width: number
  readonly most: number
}
type Colour = Parameters<typeof paint>[1]

interface Row {
  readonly time: string
  readonly type: string
  readonly colour: Colour
  readonly cells: readonly string[]
  /** Which cell has the colour too. */
  readonly colouredCell?: number | undefined
}

interface Layout {
  readonly columns: readonly Column[]
  /** Where it says how a DNS query or an HTTP request was answered. */
  readonly outcomeCell: number
  cellsOf(event: NetworkEvent, unicode: boolean): readonly string[]
}

const column = (title: string, width: number, most: number): Column => ({ title, width, most })

const layouts: Readonly<Record<'compact' | 'table', () => Layout>> = {
  compact: () => ({
    columns: [column('', 42, 76), column('', 7, 16), column('', 0, 0)],
    outcomeCell: 3,
    cellsOf: (event, unicode) => [
      `${nameOf(event.source)} ${unicode ? '→' : '->'} ${nameOf(event.destination)}`,
      `${protocolOf(event)} ${tcpOf(event)}`.trimEnd(),
      ...answeredCellsOf(event, unicode),
    ],
  }),
  table: () => ({
    columns: [
      column('SOURCE', 24, 60),
      column('DESTINATION', 24, 60),
      column('PROTOCOL', 8, 8),
      column('TCP', 7, 12),
      column('WHY', 14, 30),
      column('DETAILS', 0, 0),
    ],
    outcomeCell: 4,
    cellsOf: (event, unicode) => [
      fullNameOf(event.source),
      fullNameOf(event.destination),
      protocolOf(event),
      tcpOf(event),
      whyOf(event),
      detailsOf(event, unicode).filter(Boolean).join(', '),
    ],
  }),
}

const colours: Readonly<Partial<Record<string, Colour>>> = {
  drop: 'red',
  reset_sent: 'red',
  reset_received: 'red',
  connect: 'red',
  retransmit: 'yellow',
}

/** Events as people or programs read them. */
export function createEventText(output: Config['observe.output'], { colour, unicode }: Looks): EventText {
  if (output === 'json') return { linesOf: (messages) => messages.map((message) => `${toJsonLine(message)}\n`).join('') }
  const { columns, outcomeCell, cellsOf } = layouts[output]()
  let isFirst = output === 'table'

  function rowOf(message: EventMessage): Row {
    const time = formatTime(message.time)
    if (message.type === 'not_shown') return { time, type: 'not shown', colour: 'bold', cells: [describeNotShown(message)] }
    const { type, category } = message
    const isAnswer = message.dns !== undefined || message.http !== undefined
    return {
      time,
      type,
      colour: isAnswer ? colourOf(message) : category === 'normal' ? 'dim' : (colours[type] ?? 'bold'),
      cells: cellsOf(message, unicode).map((cell) => plain(cell, unicode)),
      ...(isAnswer && { colouredCell: outcomeCell }),
    }
  }

  function widen({ cells }: Row): void {
    if (cells.length < columns.length) return
    for (const [i, each] of columns.entries()) each.width = Math.max(each.width, Math.min(each.most, cells[i]!.length))
  }

  function lineOf({ time, type, colour: ofType, cells, colouredCell }: Row): string {
    const padded = cells.map((cell, i) => {
      const wide = i === cells.length - 1 ? cell : cell.padEnd(columns[i]?.width ?? 0)
      return i === colouredCell ? paint(wide, ofType, colour) : wide
    })
    return `${paint(time, 'dim', colour)} ${paint(type.padEnd(14), ofType, colour)} ${padded.join('  ').trimEnd()}\n`
  }

  return {
    linesOf(messages) {
      const rows = messages.map(rowOf)
      for (const row of rows) widen(row)
      const titles = columns.map(({ title, width }) => title.padEnd(width)).join('  ')
      const head = isFirst ? `${paint(`${'TIME'.padEnd(21)} ${'TYPE'.padEnd(14)} ${titles.trimEnd()}`, 'bold', colour)}\n` : ''
      isFirst = false
      return head + rows.map(lineOf).join('')
    },
  }
}

/** Month, day and time of day where the person is; a quiet node shows what is weeks old. */
function formatTime(time: string): string {
  const date = new Date(time)
  if (Number.isNaN(date.getTime())) return '?'.padEnd(21)
  const two = (number: number): string => String(number).padStart(2, '0')
  const day = `${two(date.getMonth() + 1)}-${two(date.getDate())}`
  const clock = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':')
  return `${day} ${clock}.${/\.(\d{6})Z$/.exec(time)?.[1] ?? '000000'}`
}

/** Name, address and port. */
function fullNameOf(end: EventEnd): string {
  const name = findName(end)
  return name === undefined ? socketOf(end) : end.address === undefined ? name : `${name} ${socketOf(end)}`
}

const protocolOf = ({ family, protocol }: NetworkEvent): string => (family === 'other' ? 'not IP' : protocol)
const tcpOf = ({ flags, state }: NetworkEvent): string => flags?.join(',') ?? state ?? ''
function whyOf({ reason, kind, outcome, dns, http }: NetworkEvent): string {
  if (dns !== undefined) return dns.responseCode ?? 'unanswered'
  if (http !== undefined) return String(http.status ?? 'unanswered')
  return reason ?? kind ?? outcome ?? ''
}
const bracket = (text: string | undefined): string => (text === undefined ? '' : `(${text})`)
const count = (number: number | undefined, what: string): string =>
  number === undefined ? '' : `${number.toLocaleString('en')} ${number === 1 ? what : pluralOf(what)}`
const pluralOf = (what: string): string =>
  what.endsWith('y') ? `${what.slice(0, -1)}ies` : `${what}${what.endsWith('s') ? 'es' : 's'}`
const packetsOf = ({ type, packets }: NetworkEvent): string => count(packets, type === 'retransmit' ? 'segment' : 'packet')

/** Of all but DNS and HTTP, in a compact line. */
const circumstancesOf = (event: NetworkEvent): string =>
  [whyOf(event), event.function === undefined ? '' : `in ${event.function}`, bracket(event.direction), packetsOf(event)]
    .filter(Boolean)
    .join(' ')
function answeredCellsOf(event: NetworkEvent, unicode: boolean): readonly string[] {
  const { dns, http } = event
  if (dns !== undefined)
    return [questionOf(dns, unicode), whyOf(event), ...answerOf(dns), bracket(`id ${dns.id}`)].filter(Boolean)
  if (http !== undefined) return [requestOf(http, unicode), whyOf(event), durationOf(http)].filter(Boolean)
  return [circumstancesOf(event)]
}
function detailsOf(event: NetworkEvent, unicode: boolean): readonly string[] {
  const { dns, http } = event
  if (dns !== undefined) return [questionOf(dns, unicode), ...answerOf(dns), `id ${dns.id}`]
  if (http !== undefined) return [requestOf(http, unicode), durationOf(http)]
  return [event.direction ?? '', event.category ?? '', event.function ?? '', packetsOf(event), count(event.bytes, 'byte')]
}

/** What was asked for. */
const questionOf = ({ name, queryType }: DnsEvent, unicode: boolean): string => `${queryType} ${shorten(name, unicode) || '.'}`
/** `GET shop/cart`; `OPTIONS shop *`. */
const requestOf = ({ method, host, path }: HttpEvent, unicode: boolean): string =>
  `${method} ${shorten(path.startsWith('/') ? `${host}${path}` : `${host} ${path}`.trim(), unicode)}`.trim()
/** A long name keeps its two ends: whose it is stands at the second, of a path at the first. */
function shorten(name: string, unicode: boolean): string {
  const most = limits.shownNameCharacters
  return name.length <= most ? name : `${name.slice(0, most / 2)}${unicode ? '…' : '...'}${name.slice(-most / 2)}`
}
const formatMs = (ms: number): string => (ms < 100 ? ms.toFixed(1) : Math.round(ms).toLocaleString('en'))
/** Without its code. */
const answerOf = (dns: DnsEvent): readonly string[] => [durationOf(dns), count(dns.addressCount || undefined, 'address')]
const durationOf = ({ durationMs }: DnsEvent | HttpEvent): string =>
  durationMs === undefined ? '' : `${formatMs(durationMs)} ms`

/** Of DNS and HTTP. A name that does not exist may be what was to be known, and what the client did wrong too. */
function colourOf({ routine, dns, http }: NetworkEvent): Colour {
  if (routine) return 'green'
  if (http !== undefined) return http.status !== undefined && http.status < 500 ? 'yellow' : 'red'
  return dns?.responseCode === 'NOERROR' || dns?.responseCode === 'NXDOMAIN' ? 'yellow' : 'red'
}

const counted: Readonly<Record<NotShown['of'], string>> = {
  drop: 'dropped packet',
  reset_sent: 'sent reset',
  reset_received: 'received reset',
  retransmit: 'retransmitted segment',
  connect: 'failed connect',
  dns: 'DNS query',
  http: 'HTTP request',
  slow_reader: 'event',
}

function describeNotShown({ of, count: number, routine }: NotShown): string {
  const most = routine ? limits.routineEventsPerSecond : limits.eventsPerSecond
  const why = of === 'slow_reader' ? 'not taken in time by this command' : `more than ${most} a second`
  return `${count(number, `${routine ? 'well answered ' : ''}${counted[of] ?? 'event'}`)} (${why})`
}
