import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type ProcessStatus, parseProcPidStatus } from '../../parsers/proc-pid-status.ts'
import { expectOnlyParseErrors, parseErrorOf, placeOf, recorded } from './proc-recorded.ts'

const parse = (text: string): ProcessStatus => parseProcPidStatus(text, '/proc/self/status')

describe('parseProcPidStatus', () => {
  it.each(recorded('self/status'))('reads %s', (kernel, text) => {
    const { uid, capEff, vmRssBytes } = parse(text)
    expect(uid).toBe(0)
    expect(capEff).toBe(kernel.startsWith('4.18') ? 2n ** 38n - 1n : 2n ** 41n - 1n)
    expect(vmRssBytes).toBe(Number(/^VmRSS:\s+(\d+) kB$/m.exec(text)![1]) * 1024)
  })

  it('takes the effective user', () => expect(parse('Uid:\t1000\t0\t1000\t1000\nCapEff:\t0000000000000000\n').uid).toBe(0))
  it('knows processes without memory of their own', () => {
    expect(parse('Name:\tkthreadd\nUid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n').vmRssBytes).toBeUndefined()
  })
  it('keeps all 64 capabilities', () =>
    expect(parse('Uid:\t0\t0\t0\t0\nCapEff:\tffffffffffffffff\n').capEff).toBe(2n ** 64n - 1n))

  it('says what is wrong, and where', () => {
    const uid = 'Uid:\t0\t0\t0\t0\n'
    expect(parseErrorOf(() => parse('Name:\tnode\n')).message).toBe('/proc/self/status: line 2, column 1: expected Uid:, got ""')
    expect(placeOf(() => parse(uid))).toEqual([2, 1])
    expect(placeOf(() => parse('Uid:\t0\t0\t0\n'))).toEqual([1, 11])
    expect(placeOf(() => parse(`${uid}CapEff:\t0x1f\n`))).toEqual([2, 9])
    expect(placeOf(() => parse(`${uid}CapEff:\t1f\nVmRSS:\t  many kB\n`))).toEqual([3, 10])
    expect(placeOf(() => parse(`${uid}CapEff:\t1f\nVmRSS:\t 892 MB\n`))).toEqual([3, 15])
    expect(placeOf(() => parse(`${uid}CapEff:\t1f`))).toEqual([2, 11])
  })

  it('reads what the kernel writes', () => {
    const ids = fc.array(fc.nat({ max: 0xffffffff }), { minLength: 4, maxLength: 4 })
    fc.assert(
      fc.property(ids, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.nat(), (ids, capEff, vmRssKiB) => {
        const text = `Uid:\t${ids.join('\t')}\nVmRSS:\t${String(vmRssKiB).padStart(8)} kB\nCapEff:\t${capEff.toString(16).padStart(16, '0')}\n`
        expect(parse(text)).toEqual({ uid: ids[1], capEff, vmRssBytes: vmRssKiB * 1024 })
      }),
    )
  })
  it('throws nothing but ParseErrors', () =>
    expectOnlyParseErrors(
      parseProcPidStatus,
      recorded('self/status').map(([, text]) => text),
    ))
})
