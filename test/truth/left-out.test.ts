import { expect, it } from 'vitest'
import { isShort, leftOut, retry, retryIfShort } from './left-out.ts'

/** As a failed expectation has them. */
function written(actual: unknown, expected: unknown): readonly [string, string] {
  try {
    expect(actual).toEqual(expected)
  } catch (error) {
    const { actual: had, expected: wanted } = error as { actual: unknown; expected: unknown }
    return [had, wanted].map((value) => JSON.stringify(value, undefined, 2)) as [string, string]
  }
  throw new Error('they are equal')
}

it.each([
  [29, 30],
  [
    { in: 100, out: 5 },
    { in: 100, out: 6 },
  ],
  [{ in: 100 }, { in: 100, out: 6 }],
  [
    ['x{pod="a-1",port="5001"} 29', 'y 7'],
    ['x{pod="a-1",port="5001"} 30', 'y 7'],
  ],
  [
    [20, 19],
    [20, 20],
  ],
  [{}, { in: 1 }],
])('%j is too few of %j', (actual, expected) => expect(isShort(...written(actual, expected))).toBe(!isEmpty(actual)))
/** Nothing at all is no sign of a kernel that leaves out some. */
const isEmpty = (value: unknown): boolean => JSON.stringify(value) === '{}'

it.each([
  [31, 30],
  [
    { in: 100, out: 7 },
    { in: 101, out: 6 },
  ],
  [{ in: 99, forward: 1 }, { in: 100 }],
  [['x{pod="a-1"} 29'], ['x{pod="a-2"} 30']],
  [
    { reason: 'a', n: 1 },
    { reason: 'b', n: 2 },
  ],
])('%j is not too few of %j', (actual, expected) => expect(isShort(...written(actual, expected))).toBe(false))

it('asks again where a number was short, or the agent has told of it', () => {
  expect(retryIfShort.condition({ message: 'x', actual: '29', expected: '30' })).toBe(true)
  expect(retryIfShort.condition({ message: `x; ${leftOut}` })).toBe(true)
  expect(retryIfShort.condition({ message: 'timed out' })).toBe(false)
  expect(retry.condition.test(`x; ${leftOut}`)).toBe(true)
  expect(retry.condition.test('timed out')).toBe(false)
})

let tries = 0
it('vitest gives it what it looks at', { retry: retryIfShort }, () => {
  expect(++tries).toBeGreaterThan(0)
  expect({ packets: tries }).toEqual({ packets: 2 })
})

let polls = 0
it('also of what was waited for', { retry: retryIfShort }, async () => {
  polls++
  const read = () => ({ packets: polls })
  await expect.poll(read, { timeout: 100, interval: 20 }).toEqual({ packets: 2 })
})
