import type { Looks } from './report-text.ts'
import { paint, plain } from './terminal.ts'

export interface TableColumn<T> {
  readonly title: string
  /** Numbers stand below each other at the right. */
  readonly align?: 'right'
  /** At most so many characters; what is longer is cut. */
  readonly most?: number
  readonly colourOf?: (row: T) => Parameters<typeof paint>[1] | undefined
  cellOf(row: T): string
}

/** Titles and a line for each row, two blanks between the columns; each with its newline. A column without a cell is left out. */
export function tableOf<T>(rows: readonly T[], columns: readonly TableColumn<T>[], { colour, unicode }: Looks): string {
  const cells = columns.map((column) => rows.map((row) => shorten(plain(column.cellOf(row), unicode), column.most, unicode)))
  const shown = columns.flatMap((column, i) => {
    const texts = cells[i]!
    if (texts.every((text) => text === '')) return []
    return [{ column, texts, width: Math.max(column.title.length, ...texts.map(({ length }) => length)) }]
  })
  const pad = (text: string, width: number, { align }: TableColumn<T>): string =>
    align === 'right' ? text.padStart(width) : text.padEnd(width)
  const titles = shown.map(({ column, width }) => pad(column.title, width, column)).join('  ')
  const lines = rows.map((row, at) =>
    shown
      .map(({ column, texts, width }, i) => {
        const padded = pad(texts[at]!, width, column)
        const text = i === shown.length - 1 ? padded.trimEnd() : padded
        const painted = column.colourOf?.(row)
        return painted === undefined ? text : paint(text, painted, colour)
      })
      .join('  '),
  )
  return [paint(titles.trimEnd(), 'bold', colour), ...lines].map((line) => `${line.trimEnd()}\n`).join('')
}

function shorten(text: string, most = Number.POSITIVE_INFINITY, unicode: boolean): string {
  if (text.length <= most) return text
  return unicode ? `${text.slice(0, most - 1)}…` : `${text.slice(0, most - 3)}...`
}

/** 5s, 12m, 3h, 9d: as much as one wants to know at a glance. */
export function formatAge(seconds: number): string {
  if (seconds < 100) return `${Math.floor(seconds)}s`
  if (seconds < 100 * 60) return `${Math.floor(seconds / 60)}m`
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)}h`
  return `${Math.floor(seconds / 86_400)}d`
}
