import { describe, expect, it } from 'vitest'
import { parseProcNetStatArpCache } from '../../parsers/proc-net-stat-arp-cache.ts'
import { expectOnlyParseErrors, placeOf, recorded } from './proc-recorded.ts'

const files = [...recorded('net/stat/arp_cache'), ...recorded('net/stat/ndisc_cache')]
const parse = (text: string): ReturnType<typeof parseProcNetStatArpCache> =>
  parseProcNetStatArpCache(text, '/proc/net/stat/arp_cache')

describe('parseProcNetStatArpCache', () => {
  it.each(files)('reads %s', (_, text) => {
    const { entries, tableFulls, resolutionFailures } = parse(text)
    expect(entries).toBeGreaterThan(2)
    expect(tableFulls).toBe(0)
    expect(resolutionFailures).toBeGreaterThan(0) // .99 was asked for and did not answer
  })

  it('adds what is counted per CPU, and takes the total of entries once', () => {
    const text =
      'entries  allocs res_failed  table_fulls\n00000004  00000003 00000002  fffffffff\n00000004  00000001 00000010  00000001\n'
    expect(parse(text)).toEqual({ entries: 4, tableFulls: 0x1000000000, resolutionFailures: 18 })
  })
  it('does not know what no column tells', () => {
    expect(parse('entries  allocs\n00000004  00000003\n')).toEqual({
      entries: 4,
      tableFulls: undefined,
      resolutionFailures: undefined,
    })
  })

  it('says where it is wrong', () =>
    expect(placeOf(() => parse('entries res_failed\n00000004 00000003\n0000000z 0\n'))).toEqual([3, 1]))
  it('throws nothing but ParseErrors', () =>
    expectOnlyParseErrors(
      parseProcNetStatArpCache,
      files.map(([, text]) => text),
    ))
})
