import { describe, expect, it } from 'vitest'
import { createReplayMaps } from '../../../agent/host/replay-maps.ts'
import { limits } from '../../../agent/limits.ts'
import type { ParseError } from '../../../parsers/text.ts'

function createRead(declared: readonly string[][] = []) {
  const errors: ParseError[] = []
  const told: [number, string, Record<string, unknown>][] = []
  const maps = createReplayMaps({ declared: declared.map((names) => new Set(names)), onError: (error) => errors.push(error) })
  maps.scripts.onMap((script, map, entries) => told.push([script, map, Object.fromEntries(entries)]))
  let number = 0
  const taken = (...lines: string[]): boolean[] => lines.map((line) => maps.takeLine('a file', ++number, line))
  const undeclared = (): Record<string, unknown> =>
    Object.fromEntries([...maps.undeclared()].map(([map, entries]) => [map, Object.fromEntries(entries)]))
  return { maps, errors, told, taken, undeclared }
}

describe('what bpftrace printed of maps', () => {
  it('as JSON: a declared map is told print by print, another is kept as it was last', () => {
    const { taken, told, undeclared } = createRead([['other'], ['drops']])
    const print = (map: string, value: number): string => `{"type": "map", "data": {"@${map}": {"3,80": ${value}}}}`
    expect(taken(print('drops', 1), print('drops', 2), print('seen', 1), print('seen', 5))).toEqual([true, true, true, true])
    expect(told).toEqual([
      [1, 'drops', { '3,80': 1 }],
      [1, 'drops', { '3,80': 2 }],
    ])
    expect(undeclared()).toEqual({ seen: { '3,80': 5 } })
  })

  it('as text, between the rows of a tool, which are not taken', () => {
    const { maps, taken, undeclared } = createRead()
    expect(taken('15:20:32 0 10.0.0.1:22 10.0.0.2:443', '@drops[3, 80]: 7', '@drops[3, 81]: 8', '', 'a row')).toEqual([
      false,
      true,
      true,
      true,
      false,
    ])
    expect(taken('@sizes:', '[4, 8)        3 |@@@|', '')).toEqual([true, true, true])
    maps.end()
    expect(undeclared()).toEqual({ drops: { '3,80': 7, '3,81': 8 }, sizes: { '': { buckets: [{ min: 4, max: 7, count: 3 }] } } })
    expect(maps.maps).toBe(2)
  })

  it('counts what bpftrace lost, and what found no place', () => {
    const { maps, taken } = createRead()
    taken('{"type": "lost_events", "data": {"events": 5}}')
    for (let i = 0; i <= limits.replayMaps; i++) taken(`{"type": "map", "data": {"@m${i}": {"a": 1, "b": 2}}}`)
    expect([maps.lost, maps.dropped, maps.undeclared().size]).toEqual([5, 2, limits.replayMaps])
  })

  it('tells of damaged lines with their place', () => {
    const { taken, errors } = createRead()
    expect(() => taken('{"type": "map", "data": {"@x"')).toThrow(/^a file: line 1, column \d+: expected JSON/)
    taken('@stack[', '    a+1', ']: 3')
    expect(errors.map(({ where }) => where)).toEqual(['a file'])
  })
})
