import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseProcNetStat } from '../../parsers/proc-net-stat.ts'
import { expectOnlyParseErrors, parseErrorOf, placeOf, recorded } from './proc-recorded.ts'

const files = ['nf_conntrack', 'arp_cache', 'ndisc_cache'].flatMap((file) => recorded(`net/stat/${file}`))
const parse = (text: string): ReturnType<typeof parseProcNetStat> => parseProcNetStat(text, '/proc/net/stat/new')

describe('parseProcNetStat', () => {
  it.each(files)('reads %s', (_, text) => {
    const { names, rows } = parse(text)
    const [header, ...lines] = text.trimEnd().split('\n')
    expect(names).toEqual(header!.trim().split(/\s+/))
    expect(rows).toEqual(
      lines.map((line) =>
        line
          .trim()
          .split(/\s+/)
          .map((word) => Number.parseInt(word, 16)),
      ),
    )
    expect(rows).toHaveLength(2)
  })

  it('says what is wrong, and where', () => {
    expect(parseErrorOf(() => parse('entries  found\n0000001f  00000000\n0000001f\n')).message).toBe(
      '/proc/net/stat/new: line 3, column 9: expected 2 columns instead of 1, got ""',
    )
    expect(placeOf(() => parse('entries  found\n0000001f  00000000 00000000\n'))).toEqual([2, 20])
    expect(placeOf(() => parse('entries  found\n0000001f  0000000-\n'))).toEqual([2, 11])
    expect(placeOf(() => parse('0000001f  00000000\n'))).toEqual([1, 1])
    expect(placeOf(() => parse('entries  found\n0000001f  00000000'))).toEqual([2, 19])
    expect(placeOf(() => parse(''))).toEqual([1, 1])
  })

  it('reads what the kernel writes', () => {
    const table = fc
      .uniqueArray(fc.stringMatching(/^[a-z][a-z_]{0,12}$/), { minLength: 1 })
      .chain((names) =>
        fc.tuple(
          fc.constant(names),
          fc.array(fc.array(fc.nat({ max: 0xffffffff }), { minLength: names.length, maxLength: names.length })),
        ),
      )
    fc.assert(
      fc.property(table, ([names, rows]) => {
        const lines = rows.map((row) => row.map((value) => value.toString(16).padStart(8, '0')).join('  '))
        expect(parse(`${[names.join(' '), ...lines].join('\n')}\n`)).toEqual({ names, rows })
      }),
    )
  })
  it('throws nothing but ParseErrors', () =>
    expectOnlyParseErrors(
      parseProcNetStat,
      files.map(([, text]) => text),
    ))
})
