import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { askAll, askOne, eachAttribute, eachMessage, readText, readU32, readU64 } from '../../parsers/netlink.ts'
import { ParseError } from '../../parsers/text.ts'
import { parseErrorOf } from './proc-recorded.ts'

/** struct nlmsghdr and a payload, padded. */
function message(type: number, flags: number, payload: readonly number[], length = 16 + payload.length): number[] {
  const header = [length & 255, length >> 8, 0, 0, type & 255, type >> 8, flags & 255, flags >> 8, 1, 0, 0, 0, 0, 0, 0, 0]
  return [...header, ...payload, ...Array((4 - (payload.length % 4)) % 4).fill(0)]
}

function attribute(type: number, value: readonly number[], length = 4 + value.length): number[] {
  return [length & 255, length >> 8, type & 255, type >> 8, ...value, ...Array((4 - (value.length % 4)) % 4).fill(0)]
}

const ascii = (text: string): number[] => [...new TextEncoder().encode(text)]
const done = (errno = 0): number[] =>
  message(3, 2, [-errno & 255, errno === 0 ? 0 : 255, errno === 0 ? 0 : 255, errno === 0 ? 0 : 255])

function walk(bytes: readonly number[]) {
  const payloads: number[][] = []
  const state = eachMessage('test', Uint8Array.from(bytes), bytes.length, (whole, from, to) =>
    payloads.push([...whole.subarray(from, to)]),
  )
  return { state, payloads }
}

describe('requests', () => {
  it('is one message that asks for a table', () => {
    const { bytes, name, protocol } = askAll('links', 0, 18, Uint8Array.of(7, 8))
    expect([name, protocol]).toEqual(['links', 0])
    expect([...bytes]).toEqual([18, 0, 0, 0, 18, 0, 0x01, 0x03, 1, 0, 0, 0, 0, 0, 0, 0, 7, 8])
  })
  it('asks for an end of a single answer too', () => {
    expect(askOne('stats', 12, 0x105, new Uint8Array(4)).bytes[6]).toBe(0x1 | 0x4)
  })
})

describe('messages', () => {
  const none = { done: false, interrupted: false, errno: 0, text: undefined }

  it('hands out the payloads of all messages', () => {
    expect(walk([...message(20, 2, [1, 2, 3]), ...message(20, 2, [4])])).toEqual({ state: none, payloads: [[1, 2, 3], [4]] })
  })
  it('takes the last message without its padding', () => {
    expect(walk(message(20, 2, [1, 2, 3]).slice(0, 19)).payloads).toEqual([[1, 2, 3]])
  })
  it('ends at NLMSG_DONE and reads nothing behind it', () => {
    expect(walk([...message(20, 2, [1]), ...done(), 0xff])).toEqual({ state: { ...none, done: true }, payloads: [[1]] })
  })
  it('has the status of NLMSG_DONE', () => {
    expect(walk(done(13)).state).toEqual({ ...none, done: true, errno: 13 })
  })
  it('takes an error of 0 for the end of a single answer', () => {
    expect(walk(message(2, 0, [0, 0, 0, 0, ...message(0x105, 5, [])])).state).toEqual({ ...none, done: true })
  })
  const eperm = [255, 255, 255, 255]
  const words = attribute(1, [...ascii('not for you'), 0])
  it.each([
    ['without words', 0, [...eperm, ...message(26, 1, [9, 9])], undefined],
    ['behind the header of the question', 0x100 | 0x200, [...eperm, ...message(26, 1, [], 18), ...words], 'not for you'],
    ['behind the whole question', 0x200, [...eperm, ...message(26, 1, [9, 9]), ...words], 'not for you'],
  ])('reads an error %s', (_, flags, payload, text) => {
    expect(walk(message(2, flags, payload)).state).toEqual({ done: true, interrupted: false, errno: 1, text })
  })
  it('reads the words of NLMSG_DONE', () => {
    expect(walk(message(3, 0x202, [...eperm, ...words])).state).toEqual({
      done: true,
      interrupted: false,
      errno: 1,
      text: 'not for you',
    })
  })
  it('tells that a dump was interrupted', () => {
    expect(walk([...message(20, 0x12, [1]), ...done()]).state).toEqual({ ...none, done: true, interrupted: true })
    expect(walk(message(4, 0, [])).state).toEqual({ ...none, interrupted: true })
  })
  it('passes over NLMSG_NOOP', () => {
    expect(walk([...message(1, 0, [5]), ...message(20, 2, [1])]).payloads).toEqual([[1]])
  })
  it.each([
    ['a header cut off', message(20, 2, [1]).slice(0, 15), 1],
    ['a length of 0', message(20, 2, [1], 0), 1],
    ['a length below the header', message(20, 2, [1], 15), 1],
    ['a length beyond what was received', [...message(20, 2, [1]), ...message(20, 2, [1], 21)], 21],
    ['an error without the question it is about', message(2, 0x200, eperm), 21],
    ['error attributes that run out of the message', message(3, 0x200, [...eperm, ...attribute(1, [], 9)]), 21],
  ])('refuses %s', (_, bytes, column) => {
    expect(parseErrorOf(() => walk(bytes)).column).toBe(column)
  })
  it('reads whatever bytes there are, or throws a ParseError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          walk([...bytes])
        } catch (error) {
          expect(error).toBeInstanceOf(ParseError)
        }
      }),
    )
  })
})

describe('attributes', () => {
  const list = (bytes: readonly number[], from = 0, to = bytes.length): [number, number[]][] => {
    const found: [number, number[]][] = []
    eachAttribute('test', Uint8Array.from(bytes), from, to, (type, valueFrom, valueTo) => {
      found.push([type, bytes.slice(valueFrom, valueTo)])
    })
    return found
  }

  it('hands out types and values, without flags and padding', () => {
    expect(list([...attribute(0x8001, [1, 2]), ...attribute(2, []), ...attribute(0x4003, [3])])).toEqual([
      [1, [1, 2]],
      [2, []],
      [3, [3]],
    ])
  })
  it('starts and ends where it is told', () => {
    const bytes = [9, 9, 9, 9, ...attribute(1, [1]), ...attribute(2, [2])]
    expect(list(bytes, 4, 12)).toEqual([[1, [1]]])
  })
  it.each([
    ['a length of 0', attribute(1, [1, 2, 3, 4], 0), 1],
    ['a length below the header', attribute(1, [1, 2, 3, 4], 3), 1],
    ['a length beyond the message', [...attribute(1, [1]), ...attribute(2, [1], 9)], 9],
    ['three bytes left over', [...attribute(1, [1]), 0, 0, 0], 9],
  ])('refuses %s', (_, bytes, column) => {
    expect(parseErrorOf(() => list(bytes)).column).toBe(column)
  })
})

describe('values', () => {
  it('reads numbers', () => {
    const bytes = Uint8Array.of(255, 255, 255, 255, 1, 0, 0, 0)
    expect(readU32(bytes, 0)).toBe(4294967295)
    expect(readU64(bytes, 0)).toBe(2 ** 33 - 1)
  })
  it('reads a text up to its NUL, or its end', () => {
    expect(readText(Uint8Array.from(ascii('eth0\0\0')), 0, 6)).toBe('eth0')
    expect(readText(Uint8Array.from(ascii('eth0x')), 0, 4)).toBe('eth0')
    expect(readText(Uint8Array.from(ascii('x\0')), 0, 1)).toBe('x')
  })
})
