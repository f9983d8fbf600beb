import { describe, expect, it } from 'vitest'
import { type ConntrackStat, parseProcNetStatNfConntrack } from '../../parsers/proc-net-stat-nf-conntrack.ts'
import { expectOnlyParseErrors, placeOf, recorded } from './proc-recorded.ts'

const parse = (text: string): ConntrackStat => parseProcNetStatNfConntrack(text, '/proc/net/stat/nf_conntrack')
/** A row whose columns hold 0x10, 0x11, and so on. */
const table = (header: string): string =>
  `${header}\n${header
    .split(/\s+/)
    .map((_, i) => (0x10 + i).toString(16).padStart(8, '0'))
    .join(' ')}\n`

describe('parseProcNetStatNfConntrack', () => {
  it.each(recorded('net/stat/nf_conntrack'))('reads %s', (_, text) => {
    const { entries, cpus } = parse(text)
    expect(entries).toBe(Number.parseInt(/^[0-9a-f]+/m.exec(text.slice(text.indexOf('\n') + 1))![0], 16))
    expect(cpus).toHaveLength(2)
    const sum = (counter: 'invalid' | 'drop'): number => cpus.reduce((total, cpu) => total + cpu[counter]!, 0)
    expect([sum('invalid') > 50, sum('drop') > 5]).toEqual([true, true])
  })

  it('does not take what older kernels count under another name', () => {
    const [, text] = recorded('net/stat/nf_conntrack').find(([kernel]) => kernel === '4.18-handmade')!
    expect(parse(text).cpus).toEqual([
      {
        found: 7,
        invalid: 0x74,
        insert: 0,
        insert_failed: 5,
        drop: 0,
        early_drop: 0,
        error: 1,
        search_restart: 3,
        clash_resolve: undefined,
        chaintoolong: undefined,
      },
      {
        found: 9,
        invalid: 0x18,
        insert: 0,
        insert_failed: 0,
        drop: 10,
        early_drop: 2,
        error: 0,
        search_restart: 4,
        clash_resolve: undefined,
        chaintoolong: undefined,
      },
    ])
  })
  it('reads every generation of the header by its names', () => {
    const header = (first: string, sixth: string, eighth: string): string =>
      `entries  ${first} found new invalid ${sixth} delete ${eighth} insert insert_failed drop early_drop icmp_error  expect_new expect_create expect_delete`
    const common = { found: 0x12, invalid: 0x14, insert: 0x18, insert_failed: 0x19, drop: 0x1a, early_drop: 0x1b, error: 0x1c }
    const none = { search_restart: undefined, clash_resolve: undefined, chaintoolong: undefined }
    expect(parse(table(header('searched', 'ignore', 'delete_list')))).toEqual({ entries: 0x10, cpus: [{ ...common, ...none }] })
    expect(parse(table(`${header('searched', 'ignore', 'delete_list')} search_restart`)).cpus).toEqual([
      { ...common, ...none, search_restart: 0x20 },
    ])
    expect(parse(table(`${header('clashres', 'ignore', 'delete_list')} search_restart`)).cpus).toEqual([
      { ...common, clash_resolve: 0x11, chaintoolong: undefined, search_restart: 0x20 },
    ])
    expect(parse(table(`${header('clashres', 'ignore', 'chainlength')} search_restart`)).cpus).toEqual([
      { ...common, clash_resolve: 0x11, chaintoolong: 0x17, search_restart: 0x20 },
    ])
  })
  it('does not know what no column tells', () => {
    expect(parse('found\n00000001\n')).toMatchObject({ entries: undefined, cpus: [{ found: 1, drop: undefined }] })
    expect(parse('entries found\n')).toEqual({ entries: undefined, cpus: [] })
  })

  it('says where it is wrong', () => {
    expect(placeOf(() => parse('entries found\n00000001\n'))).toEqual([2, 9])
    expect(placeOf(() => parse('entries found\n00000001 0000000x\n'))).toEqual([2, 10])
  })
  it('throws nothing but ParseErrors', () => {
    expectOnlyParseErrors(
      parseProcNetStatNfConntrack,
      recorded('net/stat/nf_conntrack').map(([, text]) => text),
    )
  })
})
