import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type Line,
  ParseError,
  readColumns,
  readDecimal,
  readExactly,
  readHex,
  readName,
  readSignedDecimal,
  splitLines,
} from '../../parsers/text.ts'
import { parseErrorOf, placeOf } from './proc-recorded.ts'

const lineOf = (text: string): Line => ({ where: '/proc/net/dev', number: 3, text })
const whole = <T>(read: (line: Line, from: number, to: number) => T, text: string): T => read(lineOf(text), 0, text.length)

describe('ParseError', () => {
  it('says where, what was expected and what is there, safe to print', () => {
    const error = new ParseError('/proc/net/dev', 3, 12, 'a decimal number', 'x1\u001b[2J')
    expect(error.message).toBe('/proc/net/dev: line 3, column 12: expected a decimal number, got "x1\\x1b[2J"')
    expect(error).toMatchObject({ where: '/proc/net/dev', line: 3, column: 12, expected: 'a decimal number', got: 'x1\\x1b[2J' })
  })
  it('shows 40 characters and no more', () => {
    expect(new ParseError('f', 1, 1, 'a line', 'y'.repeat(1e6)).got).toBe('y'.repeat(40))
  })
  it('escapes quotes, backslashes and all beyond ASCII', () => {
    expect(new ParseError('f', 1, 1, 'a line', '"\\é€\u007f\n').got).toBe('\\"\\\\\\xe9\\u20ac\\x7f\\x0a')
  })
})

describe('splitLines', () => {
  it('numbers lines from 1', () => {
    expect(splitLines('a\n\nb\n', 'f')).toEqual([
      { where: 'f', number: 1, text: 'a' },
      { where: 'f', number: 2, text: '' },
      { where: 'f', number: 3, text: 'b' },
    ])
  })
  it('refuses a last line without its newline, because it may be cut in a number', () => {
    expect(parseErrorOf(() => splitLines('a 1\nb 2', 'f')).message).toBe(
      'f: line 2, column 4: expected the end of the line, got ""',
    )
  })
  it('refuses an empty file', () => {
    expect(placeOf(() => splitLines('', 'f'))).toEqual([1, 1])
  })
})

describe('columns', () => {
  it('lie between blanks and tabs', () => {
    expect(readColumns(lineOf('  a\tb  c '), 0, readName)).toEqual(['a', 'b', 'c'])
    expect(readColumns(lineOf('Tcp: a b'), 4, readName)).toEqual(['a', 'b'])
    expect(readColumns(lineOf('  '), 0, readName)).toEqual([])
  })
  it('are counted where their number is known', () => {
    expect(readExactly(lineOf('1 2 3'), 0, 3, readDecimal)).toEqual([1, 2, 3])
    expect(parseErrorOf(() => readExactly(lineOf('1 2'), 0, 3, readDecimal)).message).toBe(
      '/proc/net/dev: line 3, column 4: expected 3 columns instead of 2, got ""',
    )
    expect(parseErrorOf(() => readExactly(lineOf('1 2 3 44'), 0, 3, readDecimal)).message).toBe(
      '/proc/net/dev: line 3, column 7: expected the end of the line after 3 columns, got "44"',
    )
  })
  it('are named with letters, digits and underscores', () => {
    expect(placeOf(() => readColumns(lineOf('a 1b'), 0, readName))).toEqual([3, 3])
  })
})

describe('numbers', () => {
  it.each(['', '-', '-1', '+1', '1.5', '1e3', '0x1', ' 1', '1 ', '١', '1'.repeat(21)])('%j is no decimal', (text) => {
    expect(placeOf(() => whole(readDecimal, text))).toEqual([3, 1])
  })
  it.each(['', '-', '--1', '+1', '-x', '- 1'])('%j is no signed decimal', (text) => {
    expect(() => whole(readSignedDecimal, text)).toThrow(ParseError)
  })
  it.each(['', '-1', '0x1', 'g', ' 1', 'é', 'f'.repeat(17)])('%j is no hexadecimal', (text) => {
    expect(placeOf(() => whole(readHex, text))).toEqual([3, 1])
  })
  it('are read whatever they are', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (value) => {
        expect(whole(readDecimal, String(value))).toBe(Number(value))
        expect(whole(readSignedDecimal, String(-value))).toBe(value === 0n ? 0 : -Number(value))
        expect(whole(readHex, value.toString(16))).toBe(Number(value))
        expect(whole(readHex, value.toString(16).toUpperCase().padStart(16, '0'))).toBe(Number(value))
      }),
    )
  })
  it('beyond 2^53 are the nearest float', () => {
    expect(whole(readDecimal, '9007199254740993')).toBe(9007199254740992)
    expect(whole(readDecimal, '18446744073709551615')).toBe(2 ** 64)
  })
})
