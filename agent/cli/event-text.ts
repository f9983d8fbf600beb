import type { Config } from '../config.ts'
import type { EventEnd, EventMessage, NetworkEvent, NotShown } from '../events.ts'
import { limits } from '../limits.ts'
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
}

interface Layout {
  readonly columns: readonly Column[]
  cellsOf(event: NetworkEvent, arrow: string): readonly string[]
}

const column = (title: string, width: number, most: number): Column => ({ title, width, most })

const layouts: Readonly<Record<'compact' | 'table', () => Layout>> = {
  compact: () => ({
    columns: [column('', 42, 76), column('', 7, 16), column('', 0, 0)],
    cellsOf: (event, arrow) => [
      `${nameOf(event.source)} ${arrow} ${nameOf(event.destination)}`,
      `${protocolOf(event)} ${tcpOf(event)}`.trimEnd(),
      [whyOf(event), event.function === undefined ? '' : `in ${event.function}`, bracket(event.direction), packetsOf(event)]
        .filter(Boolean)
        .join(' '),
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
    cellsOf: (event) => [
      fullNameOf(event.source),
      fullNameOf(event.destination),
      protocolOf(event),
      tcpOf(event),
      whyOf(event),
      [event.direction, event.category, event.function, packetsOf(event), count(event.bytes, 'byte')].filter(Boolean).join(', '),
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
  const { columns, cellsOf } = layouts[output]()
  let isFirst = output === 'table'

  function rowOf(message: EventMessage): Row {
    const time = formatTime(message.time)
    if (message.type === 'not_shown') return { time, type: 'not shown', colour: 'bold', cells: [describeNotShown(message)] }
    const { type, category } = message
    return {
      time,
      type,
      colour: category === 'normal' ? 'dim' : (colours[type] ?? 'bold'),
      cells: cellsOf(message, unicode ? '→' : '->').map((cell) => plain(cell, unicode)),
    }
  }

  function widen({ cells }: Row): void {
    if (cells.length < columns.length) return
    for (const [i, each] of columns.entries()) each.width = Math.max(each.width, Math.min(each.most, cells[i]!.length))
  }

  function lineOf({ time, type, colour: ofType, cells }: Row): string {
    const padded = cells.map((cell, i) => (i === cells.length - 1 ? cell : cell.padEnd(columns[i]!.width)))
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
const whyOf = ({ reason, kind, outcome }: NetworkEvent): string => reason ?? kind ?? outcome ?? ''
const bracket = (text: string | undefined): string => (text === undefined ? '' : `(${text})`)
const count = (number: number | undefined, what: string): string =>
  number === undefined ? '' : `${number.toLocaleString('en')} ${what}${number === 1 ? '' : 's'}`
const packetsOf = ({ type, packets }: NetworkEvent): string => count(packets, type === 'retransmit' ? 'segment' : 'packet')

const counted: Readonly<Record<NotShown['of'], string>> = {
  drop: 'dropped packet',
  reset_sent: 'sent reset',
  reset_received: 'received reset',
  retransmit: 'retransmitted segment',
  connect: 'failed connect',
  dns: 'DNS query',
  slow_reader: 'event',
}

function describeNotShown({ of, count: number }: NotShown): string {
  const why = of === 'slow_reader' ? 'not taken in time by this command' : `more than ${limits.eventsPerSecond} a second`
  return `${count(number, counted[of] ?? 'event')} (${why})`
}
