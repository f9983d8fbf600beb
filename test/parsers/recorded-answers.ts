import fs from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { expect } from 'vitest'
import { type AnswerState, eachMessage } from '../../parsers/netlink.ts'
import { ParseError } from '../../parsers/text.ts'

const folder = path.resolve(import.meta.dirname, '../fixtures/netlink')

type Read<T> = (bytes: Uint8Array, from: number, to: number) => T

/** What each recorded kernel answered, and what the usual tools said at that moment. */
export const kernels = fs.readdirSync(folder).filter((kernel) => kernel !== 'ORIGIN')

/** Those that were asked this. */
export function kernelsWith(request: string): readonly string[] {
  return kernels.filter((kernel) => fs.existsSync(path.join(folder, kernel, 'netlink', `${request}.bin`)))
}

export function recordedAnswer(kernel: string, request: string): Uint8Array {
  return fs.readFileSync(path.join(folder, kernel, 'netlink', `${request}.bin`))
}

export function toolOutput(kernel: string, file: string): string {
  return fs.readFileSync(path.join(folder, kernel, file), 'utf8').trim()
}

/** All messages of a whole answer. */
export function readAnswer<T>(bytes: Uint8Array, read: Read<T>): T[] {
  const values: T[] = []
  const state = eachMessage('test', bytes, bytes.length, (payload, from, to) => values.push(read(payload, from, to)))
  expect(state).toEqual<AnswerState>({ done: true, interrupted: false, errno: 0, text: undefined })
  return values
}

/** Bytes of each recorded kernel's answers, changed at random: bytes overwritten, cut off, or all random. */
export function hostileBytes(request: string): fc.Arbitrary<Uint8Array> {
  const answers = kernelsWith(request).map((kernel) => recordedAnswer(kernel, request))
  const overwrites = fc.array(fc.tuple(fc.nat(), fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 3, 4, 5, 255))), { maxLength: 8 })
  const mutated = fc.tuple(fc.constantFrom(...answers), overwrites, fc.nat(), fc.boolean()).map(([answer, changes, end, cut]) => {
    const bytes = Uint8Array.from(cut ? answer.subarray(0, end % answer.length) : answer)
    for (const [at, value] of changes) if (bytes.length > 0) bytes[at % bytes.length] = value
    return bytes
  })
  return fc.oneof({ weight: 4, arbitrary: mutated }, fc.uint8Array({ maxLength: 300 }))
}

/**
 * Whatever the bytes, `read` returns or throws a ParseError, and what it reads lies inside the message: with other bytes
 * around it the result is the same.
 */
export function expectBounded(request: string, read: Read<unknown>): void {
  const outcome = (bytes: Uint8Array, from: number, to: number): unknown => {
    try {
      return read(bytes, from, to)
    } catch (error) {
      if (!(error instanceof ParseError)) throw error
      return [error.expected, error.column - from, error.got]
    }
  }
  fc.assert(
    fc.property(hostileBytes(request), (bytes) => {
      const surrounded = (filler: number): Uint8Array => {
        const whole = new Uint8Array(bytes.length + 64).fill(filler)
        whole.set(bytes, 32)
        return whole
      }
      // As one message, and as the messages that its lengths promise.
      for (const skipped of [0, 16]) {
        if (bytes.length < skipped) continue
        const [zeros, ones] = [surrounded(0), surrounded(255)]
        expect(outcome(zeros, 32 + skipped, 32 + bytes.length)).toEqual(outcome(ones, 32 + skipped, 32 + bytes.length))
      }
      outcome(bytes, 0, 0)
      try {
        eachMessage('test', bytes, bytes.length, (payload, from, to) => {
          expect(from).toBeGreaterThanOrEqual(16)
          expect(to).toBeLessThanOrEqual(bytes.length)
          outcome(payload, from, to)
        })
      } catch (error) {
        expect(error).toBeInstanceOf(ParseError)
      }
    }),
    { numRuns: 500 },
  )
}
