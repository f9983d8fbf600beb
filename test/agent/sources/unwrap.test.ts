import { describe, expect, it } from 'vitest'
import { createPerCpuTotals, createUnwrapper } from '../../../agent/sources/unwrap.ts'

const top = 2 ** 32 - 1

describe('createUnwrapper', () => {
  it('carries on over every wrap', () => {
    const { unwrap } = createUnwrapper()
    expect([7, top, 5, top, 0].map((low) => unwrap('a', low))).toEqual([7, top, 2 ** 32 + 5, 2 ** 33 - 1, 2 ** 33])
  })

  it('begins anew where the counter did', () => {
    const { unwrap } = createUnwrapper()
    expect([top, 1, 1000, 3].map((low) => unwrap('a', low))).toEqual([top, 2 ** 32 + 1, 2 ** 32 + 1000, 3])
  })

  it('keeps counters apart and forgets those not read for a whole round', () => {
    const { unwrap, forgetUnread } = createUnwrapper()
    unwrap('gone', top)
    unwrap('read', top)
    forgetUnread()
    expect(unwrap('read', 0)).toBe(2 ** 32)
    forgetUnread()
    expect(unwrap('gone', 0)).toBe(0)
    expect(unwrap('read', 1)).toBe(2 ** 32 + 1)
  })
})

describe('createPerCpuTotals', () => {
  it('adds what each CPU counted, wraps of one included', () => {
    const totals = createPerCpuTotals()
    totals.set(0, 'dropped', top)
    totals.set(1, 'dropped', 10)
    totals.set(1, 'other', 1)
    expect(totals.total('dropped')).toBe(top + 10)
    totals.set(0, 'dropped', 2)
    expect(totals.total('dropped')).toBe(2 ** 32 + 12)
    expect(totals.total('other')).toBe(1)
  })

  it('keeps the share of a CPU that went offline', () => {
    const totals = createPerCpuTotals()
    totals.set(0, 'dropped', 3)
    totals.set(1, 'dropped', 4)
    totals.set(0, 'dropped', 5)
    expect(totals.total('dropped')).toBe(9)
  })

  it('is 0 for what nobody set', () => expect(createPerCpuTotals().total('dropped')).toBe(0))
})
