import fs from 'node:fs'
import { describe, expect, it } from 'vitest'
import { parseProcPidStat } from '../../parsers/proc-pid-stat.ts'
import { expectOnlyParseErrors, parseErrorOf } from './proc-recorded.ts'

const line = (name: string): string =>
  `42 (${name}) S 1 42 42 0 -1 4194560 100 200 0 0 7 5 3 2 20 0 1 0 123456 9999999 321 18446744073709551615 1 1 0 0 0\n`
const parse = (text: string) => parseProcPidStat(text, '/proc/42/stat')

describe('parseProcPidStat', () => {
  it('reads its fields', () => {
    expect(parse(line('pause'))).toEqual({
      name: 'pause',
      state: 'S',
      flags: 4194560,
      cpuTicks: 17,
      startedAtTicks: 123456,
      residentPages: 321,
    })
  })

  it.each(['', ') Z 1 (', 'a b', '((', 'x\ny', '\u001b[31m'])('takes any name: %j', (name) => {
    expect(parse(line(name))).toMatchObject({ name, state: 'S', residentPages: 321 })
  })

  it('reads this process', () => {
    const { state, residentPages, flags } = parse(fs.readFileSync('/proc/self/stat', 'latin1'))
    expect(state).toBe('R')
    expect(residentPages).toBeGreaterThan(1000)
    expect(flags & 0x200000).toBe(0) // PF_KTHREAD
  })

  it('says what is wrong', () => {
    expect(parseErrorOf(() => parse('42 pause S 1')).message).toBe(
      '/proc/42/stat: line 1, column 1: expected a name in parentheses, got "42 pause S 1"',
    )
    expect(parseErrorOf(() => parse('42 (pause) S 1 42')).message).toBe(
      '/proc/42/stat: line 1, column 18: expected a number as field 9, got ""',
    )
  })

  it('says where, whatever is missing before', () => {
    expect(parseErrorOf(() => parse('()'))).toMatchObject({ line: 1, column: 3 })
    expect(parseErrorOf(() => parse('42 (a\nb) S'))).toMatchObject({ line: 2, column: 5 })
  })

  it('throws nothing else', () => {
    expectOnlyParseErrors(parseProcPidStat, ['pause', 'a) (b', 'node'].map(line))
  })
})
