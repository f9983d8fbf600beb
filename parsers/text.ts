/** Text that is not what its format promises, with the place where that shows. */
export class ParseError extends Error {
  /** Path or name of what was read. */
  readonly where: string
  /** From 1. */
  readonly line: number
  /** From 1, in characters (bytes where the reader takes bytes). */
  readonly column: number
  readonly expected: string
  /** What is there instead: its first 40 characters, made safe to print in a terminal or a log. Empty at the end of a line or file. */
  readonly got: string

  constructor(where: string, line: number, column: number, expected: string, got: string) {
    const printable = toPrintable(got)
    super(`${where}: line ${line}, column ${column}: expected ${expected}, got "${printable}"`)
    this.name = 'ParseError'
    this.where = where
    this.line = line
    this.column = column
    this.expected = expected
    this.got = printable
  }
}

function toPrintable(text: string): string {
  return text.slice(0, 40).replace(/[^ -~]|["\\]/g, (character) => {
    if (character === '"' || character === '\\') return `\\${character}`
    const code = character.charCodeAt(0)
    return code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`
  })
}

/** A line without its newline, and where it stands. */
export interface Line {
  readonly where: string
  /** From 1. */
  readonly number: number
  readonly text: string
}

/** The ParseError for what stands at `from` (an index into the line, from 0) up to `to`. */
export function parseError(line: Line, from: number, expected: string, to = line.text.length): ParseError {
  return new ParseError(line.where, line.number, from + 1, expected, line.text.slice(from, to))
}

/**
 * The lines of a file, at least one.
 *
 * The kernel ends every line of /proc with a newline. A last line without one was cut off, and its last number may be
 * the first digits of another: that is an error, not a value.
 */
export function splitLines(text: string, where: string): [Line, ...Line[]] {
  if (text === '') throw new ParseError(where, 1, 1, 'a line', '')
  const lines: Line[] = []
  for (let from = 0; from < text.length; ) {
    const to = text.indexOf('\n', from)
    if (to === -1) throw new ParseError(where, lines.length + 1, text.length - from + 1, 'the end of the line', '')
    lines.push({ where, number: lines.length + 1, text: text.slice(from, to) })
    from = to + 1
  }
  return lines as [Line, ...Line[]]
}

const tab = 0x09
const space = 0x20
const minus = 0x2d
const zero = 0x30

/** Visits the columns between blanks, from index `at` on: the column is `line.text.slice(from, to)`. */
export function eachColumn(line: Line, at: number, visit: (from: number, to: number) => void): void {
  const { text } = line
  const end = text.length
  for (let from = at; ; ) {
    while (from < end && isBlank(text.charCodeAt(from))) from++
    if (from >= end) return
    let to = from + 1
    while (to < end && !isBlank(text.charCodeAt(to))) to++
    visit(from, to)
    from = to
  }
}

function isBlank(code: number): boolean {
  return code === space || code === tab
}

/** Each column read as one thing: `readColumns(line, 0, readHex)`. */
export function readColumns<T>(line: Line, at: number, read: (line: Line, from: number, to: number) => T): T[] {
  const values: T[] = []
  eachColumn(line, at, (from, to) => {
    values.push(read(line, from, to))
  })
  return values
}

/** As readColumns, where the line must have `count` columns from `at` on, neither more nor less. */
export function readExactly<T>(line: Line, at: number, count: number, read: (line: Line, from: number, to: number) => T): T[] {
  const values: T[] = []
  eachColumn(line, at, (from, to) => {
    if (values.length === count) throw parseError(line, from, `the end of the line after ${count} columns`)
    values.push(read(line, from, to))
  })
  if (values.length < count) throw parseError(line, line.text.length, `${count} columns instead of ${values.length}`)
  return values
}

/** A name: a letter, then letters, digits and underscores, 64 in all, twice as many as the kernel's longest. */
export function readName(line: Line, from: number, to: number): string {
  const name = line.text.slice(from, to)
  if (!/^[A-Za-z]\w{0,63}$/.test(name)) throw parseError(line, from, 'a name', to)
  return name
}

/** The largest unsigned long has 20 digits, 16 in hexadecimal. */
const decimalDigitsMax = 20
const hexDigitsMax = 16
/** With more digits than these, adding digit by digit would round more than once. */
const decimalDigitsExact = 15
const hexDigitsExact = 13

/** Digits only, at most 20. A value beyond 2^53 becomes the nearest float, silently: so do all numbers on /metrics. */
export function readDecimal(line: Line, from: number, to: number): number {
  const { text } = line
  const digits = to - from
  if (digits < 1 || digits > decimalDigitsMax) throw parseError(line, from, 'a decimal number', to)
  let value = 0
  for (let at = from; at < to; at++) {
    const digit = text.charCodeAt(at) - zero
    if (digit < 0 || digit > 9) throw parseError(line, from, 'a decimal number', to)
    value = value * 10 + digit
  }
  return digits > decimalDigitsExact ? Number(text.slice(from, to)) : value
}

/** As readDecimal, for what the kernel prints with %d and %ld. */
export function readSignedDecimal(line: Line, from: number, to: number): number {
  if (line.text.charCodeAt(from) !== minus || to - from < 2) return readDecimal(line, from, to)
  const value = readDecimal(line, from + 1, to)
  return value === 0 ? 0 : -value
}

/** Hexadecimal digits only, no 0x, at most 16. A value beyond 2^53 becomes the nearest float, silently. */
export function readHex(line: Line, from: number, to: number): number {
  const { text } = line
  const digits = to - from
  if (digits < 1 || digits > hexDigitsMax) throw parseError(line, from, 'a hexadecimal number', to)
  let value = 0
  for (let at = from; at < to; at++) {
    const digit = hexDigit(text.charCodeAt(at))
    if (digit === -1) throw parseError(line, from, 'a hexadecimal number', to)
    value = value * 16 + digit
  }
  return digits > hexDigitsExact ? Number(`0x${text.slice(from, to)}`) : value
}

/** What an ASCII character is worth as a hexadecimal digit, or -1. */
export function hexDigit(code: number): number {
  return hexDigits[code] ?? -1
}

const hexDigits = new Int8Array(128).fill(-1)
for (let value = 0; value < 16; value++) {
  const digit = value.toString(16)
  hexDigits[digit.charCodeAt(0)] = value
  hexDigits[digit.toUpperCase().charCodeAt(0)] = value
}
