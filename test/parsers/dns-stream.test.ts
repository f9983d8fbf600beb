import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readDnsMessage } from '../../parsers/dns-message.ts'
import { createDnsFramer, type DnsFramer } from '../../parsers/dns-stream.ts'
import { recordedDnsAnswer, recordedDnsStream } from './recorded-dns.ts'

interface Found {
  readonly hex: string
  readonly sentLength: number
}
function follow(): { framer: DnsFramer; found: Found[] } {
  const found: Found[] = []
  const framer = createDnsFramer((bytes, from, to, sentLength) =>
    found.push({ hex: Buffer.from(bytes.subarray(from, to)).toString('hex'), sentLength }),
  )
  return { framer, found }
}

const u16 = (value: number): number[] => [value >> 8, value & 255]
const framed = (messages: readonly Uint8Array[]): Uint8Array =>
  Uint8Array.from(messages.flatMap((message) => [...u16(message.length), ...message]))
const whole = (message: Uint8Array): Found => ({ hex: Buffer.from(message).toString('hex'), sentLength: message.length })

/** In pieces that end where `ends` say, each in a buffer of its own that is overwritten after the call. */
function feed(framer: DnsFramer, stream: Uint8Array, ends: readonly number[]): void {
  let from = 0
  for (const end of [...ends, stream.length]) {
    const piece = new Uint8Array(end - from + 6).fill(0xee)
    piece.set(stream.subarray(from, end), 3)
    framer.take(piece, 3, 3 + end - from)
    piece.fill(0xdd)
    from = end
  }
}

describe('what named sent on a connection', () => {
  const answers = (found: readonly Found[]): unknown[] =>
    found.map(({ hex }) => {
      const bytes = Buffer.from(hex, 'hex')
      const message = readDnsMessage(bytes, 0, bytes.length)
      return typeof message === 'string' ? message : [message.name, message.addressCount, message.isTruncated]
    })
  const expected = [
    ['www.example.org', 2, false],
    ['many.example.org', 59, false],
  ]
  it('are two messages, the second whole where UDP had no room', () => {
    const { framer, found } = follow()
    feed(framer, recordedDnsStream, [])
    expect(answers(found)).toEqual(expected)
  })
  it('are the same two wherever it is split, and byte by byte', () => {
    const everywhere = Array.from(recordedDnsStream, (_, i) => i)
    for (const ends of [...everywhere.map((end) => [end]), everywhere]) {
      const { framer, found } = follow()
      feed(framer, recordedDnsStream, ends)
      expect(answers(found)).toEqual(expected)
      expect(framer.keptBytes).toBe(0)
    }
  })
})

const anyMessage = fc.uint8Array({ maxLength: 300 })
const anyMessages = fc.array(anyMessage, { maxLength: 6 })
const sorted = (ends: readonly number[], length: number): number[] => ends.map((end) => end % (length + 1)).sort((a, b) => a - b)

describe('any stream', () => {
  it('has the same messages however it is split', () => {
    fc.assert(
      fc.property(anyMessages, fc.array(fc.nat()), (messages, ends) => {
        const { framer, found } = follow()
        const stream = framed(messages)
        feed(framer, stream, sorted(ends, stream.length))
        expect(found).toEqual(messages.map(whole))
        expect([framer.keptBytes, framer.isInStep]).toEqual([0, true])
      }),
    )
  })
  it('tells what a gap took: cut messages are so far as they go, and those that are whole are right', () => {
    fc.assert(
      fc.property(anyMessages, fc.nat(), fc.nat(400), fc.array(fc.nat()), (messages, at, size, ends) => {
        const stream = framed(messages)
        const from = at % (stream.length + 1)
        const count = Math.min(size, stream.length - from)
        const { framer, found } = follow()
        feed(framer, stream.subarray(0, from), sorted(ends, from))
        framer.skip(count)
        feed(framer, stream.subarray(from + count), [])

        const expected: Found[] = []
        let isInStep = true
        let start = 0
        for (const message of messages) {
          const bodyAt = start + 2
          const end = bodyAt + message.length
          const isUntouched = count === 0 || from >= end || from + count <= start
          if (isUntouched) {
            if (isInStep) expected.push(whole(message))
          } else if (from < bodyAt) {
            isInStep = false // the gap took a length
          } else {
            expected.push({ hex: whole(message.subarray(0, from - bodyAt)).hex, sentLength: message.length })
            isInStep = from + count <= end
          }
          start = end
        }
        expect(found).toEqual(expected)
        expect(framer.isInStep).toBe(isInStep)
      }),
      { numRuns: 1000 },
    )
  })
})

describe('a framer', () => {
  it('has a message without bytes at once', () => {
    const { framer, found } = follow()
    framer.take(Uint8Array.of(0), 0, 1)
    expect(found).toEqual([])
    framer.take(Uint8Array.of(0), 0, 1)
    expect(found).toEqual([whole(new Uint8Array())])
  })
  it('keeps little of a length that is only claimed, and at most one message', () => {
    const { framer, found } = follow()
    framer.take(Uint8Array.of(0xff, 0xff, 1), 0, 3)
    expect(framer.keptBytes).toBeLessThanOrEqual(64)
    let most = 0
    for (let i = 1; i < 65_535; i++) {
      framer.take(Uint8Array.of(i & 255), 0, 1)
      most = Math.max(most, framer.keptBytes)
    }
    expect(most).toBeLessThanOrEqual(65_537)
    expect(found.map(({ sentLength, hex }) => [sentLength, hex.length])).toEqual([[65_535, 131_070]])
    expect(framer.keptBytes).toBe(0)
  })
  it('goes on behind a cut message, which may be cut more than once', () => {
    const { framer, found } = follow()
    framer.take(Uint8Array.of(0, 20, 1, 2), 0, 4)
    framer.skip(5)
    framer.take(Uint8Array.of(9, 9, 9), 0, 3)
    framer.skip(10)
    framer.take(Uint8Array.of(0, 1, 7), 0, 3)
    expect(found).toEqual([
      { hex: '0102', sentLength: 20 },
      { hex: '07', sentLength: 1 },
    ])
  })
  it('finds nothing once it is out of step, until it is told where a message begins', () => {
    const { framer, found } = follow()
    framer.skip(1)
    expect(framer.isInStep).toBe(false)
    const answer = framed([recordedDnsAnswer('a')])
    framer.take(answer, 0, answer.length)
    framer.skip(3)
    expect([found.length, framer.keptBytes]).toEqual([0, 0])
    framer.reset()
    framer.take(answer, 0, answer.length)
    expect(found.length).toBe(1)
  })
  it('forgets the old connection at a reset', () => {
    const { framer, found } = follow()
    framer.take(Uint8Array.of(0, 9, 1, 2), 0, 4)
    framer.reset()
    expect(framer.keptBytes).toBe(0)
    framer.take(Uint8Array.of(0, 1, 7), 0, 3)
    framer.take(Uint8Array.of(0, 9, 1, 2), 0, 4)
    framer.skip(1)
    framer.reset()
    framer.take(Uint8Array.of(0, 1, 8), 0, 3)
    expect(found.map(({ hex }) => hex)).toEqual(['07', '0102', '08'])
  })
})
