import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseProcNetSoftnetStat } from '../../parsers/proc-net-softnet-stat.ts'
import { expectOnlyParseErrors, parseErrorOf, placeOf, recorded } from './proc-recorded.ts'

const parse = (text: string): ReturnType<typeof parseProcNetSoftnetStat> =>
  parseProcNetSoftnetStat(text, '/proc/net/softnet_stat')
/** A row of so many columns, which hold their own numbers from 10 on. */
const row = (columns: number): string =>
  `${Array.from({ length: columns }, (_, i) => (0x10 + i).toString(16).padStart(8, '0')).join(' ')}\n`
const old = {
  processed: 0x10,
  dropped: 0x11,
  timeSqueezed: 0x12,
  cpu: undefined,
  receivedRps: undefined,
  flowLimitCount: undefined,
  backlogLength: undefined,
}

describe('parseProcNetSoftnetStat', () => {
  it.each(recorded('net/softnet_stat'))('reads %s', (kernel, text) => {
    const rows = parse(text)
    expect(rows.map(({ cpu }) => cpu)).toEqual(kernel.startsWith('4.18') ? [undefined, undefined] : [0, 1])
    expect(rows.every(({ processed }) => processed > 0)).toBe(true)
    expect(rows.map(({ dropped }) => dropped)).toEqual([0, 0])
  })

  it.each([
    [9, old],
    [10, { ...old, receivedRps: 0x19 }],
    [11, { ...old, receivedRps: 0x19, flowLimitCount: 0x1a }],
    [13, { ...old, receivedRps: 0x19, flowLimitCount: 0x1a, backlogLength: 0x1b, cpu: 0x1c }],
    [15, { ...old, receivedRps: 0x19, flowLimitCount: 0x1a, backlogLength: 0x1b, cpu: 0x1c }],
    [20, { ...old, receivedRps: 0x19, flowLimitCount: 0x1a, backlogLength: 0x1b, cpu: 0x1c }],
  ])('reads %i columns', (columns, expected) => expect(parse(row(columns))).toEqual([expected]))

  it('reads hexadecimal', () =>
    expect(parse(`0000beef 000000FF 00000010 ${row(10)}`)[0]).toMatchObject({
      processed: 0xbeef,
      dropped: 255,
      timeSqueezed: 16,
    }))

  it('says what is wrong, and where', () => {
    expect(parseErrorOf(() => parse(row(8))).message).toBe(
      '/proc/net/softnet_stat: line 1, column 72: expected at least 9 columns instead of 8, got ""',
    )
    expect(placeOf(() => parse(`${row(15)}${row(15).replace('00000011', '0000g011')}`))).toEqual([2, 10])
    expect(placeOf(() => parse(`${row(15)}\n`))).toEqual([2, 1])
    expect(placeOf(() => parse(row(15).trimEnd()))).toEqual([1, 135])
    expect(placeOf(() => parse(''))).toEqual([1, 1])
  })

  it('reads what the kernel writes', () => {
    const word = fc.nat({ max: 0xffffffff })
    fc.assert(
      fc.property(fc.array(fc.array(word, { minLength: 15, maxLength: 15 }), { minLength: 1 }), (rows) => {
        const text = rows.map((row) => `${row.map((value) => value.toString(16).padStart(8, '0')).join(' ')}\n`).join('')
        expect(parse(text).map(({ cpu, processed, dropped, timeSqueezed }) => [cpu, processed, dropped, timeSqueezed])).toEqual(
          rows.map((row) => [row[12], row[0], row[1], row[2]]),
        )
      }),
    )
  })
  it('throws nothing but ParseErrors', () => {
    expectOnlyParseErrors(
      parseProcNetSoftnetStat,
      recorded('net/softnet_stat').map(([, text]) => text),
    )
  })
})
