import { PassThrough } from 'node:stream'
import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { createLineIntake, createLineSplitter, createNotices, pour } from '../../../agent/host/lines.ts'
import { limits } from '../../../agent/limits.ts'
import type { Log } from '../../../agent/log.ts'

function collect(bytesMax = 10) {
  const lines: string[] = []
  const long: number[] = []
  const partial: string[] = []
  const splitter = createLineSplitter({
    onLine: (line) => lines.push(line),
    onLong: (bytes) => long.push(bytes),
    onPartial: (text) => partial.push(text),
    bytesMax,
  })
  return { lines, long, partial, splitter, push: (text: string) => splitter.push(Buffer.from(text)) }
}

describe('the splitter', () => {
  it('gives lines as they end', () => {
    const { lines, push } = collect()
    push('one\ntw')
    expect(lines).toEqual(['one'])
    push('o')
    push('\n\nthree\n')
    expect(lines).toEqual(['one', 'two', '', 'three'])
  })
  it('takes a carriage return before the newline for a part of it, wherever it is cut', () => {
    const { lines, push } = collect()
    for (const piece of ['a\r\nb\r', '\nc\rd\n\r\n', '\r', '\n']) push(piece)
    expect(lines).toEqual(['a', 'b', 'c\rd', '', ''])
  })
  it('leaves long lines out, once and with their length', () => {
    const { lines, long, push } = collect()
    push('0123456789\n01234567890\n')
    push('0123456789\r\n')
    push('01234567890\r\n')
    push('01234')
    push('567890123')
    push('4\r')
    push('\nshort\n')
    expect(lines).toEqual(['0123456789', '0123456789', 'short'])
    expect(long).toEqual([11, 11, 15])
  })
  it('keeps nothing of a line without end', () => {
    const { lines, long, push, splitter } = collect(limits.toolLineBytes)
    const chunk = Buffer.alloc(1 << 16, 'x')
    const before = process.memoryUsage().arrayBuffers
    for (let i = 0; i < 160; i++) splitter.push(chunk)
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1 << 20)
    push('\nafter\n')
    expect(long).toEqual([160 * (1 << 16)])
    expect(lines).toEqual(['after'])
  })
  it('leaves out what is partial', () => {
    const { lines, long, partial, push, splitter } = collect()
    push('half')
    splitter.end()
    push('whole\n')
    splitter.end()
    push('much too long to keep')
    splitter.end()
    splitter.skip()
    push('the end of a long one')
    push('\nnext\n')
    splitter.skip()
    splitter.end()
    expect(lines).toEqual(['whole', 'next'])
    expect(partial).toEqual(['half', '', ''])
    expect(long).toEqual([21])
  })
  it('decodes UTF-8 over cuts, and replaces what is none', () => {
    const { lines, splitter } = collect(11)
    const bytes = Buffer.from('größe €\n')
    for (const byte of bytes) splitter.push(Uint8Array.of(byte))
    splitter.push(Uint8Array.of(0x61, 0xff, 0x00, 0x0a))
    expect(lines).toEqual(['größe €', 'a\ufffd\0'])
  })
  it('does not depend on where it is cut', () => {
    const alphabet = fc.constantFrom('a', 'é', '\n', '\r\n', '\r', 'longer than it may be')
    fc.assert(
      fc.property(fc.array(alphabet), fc.array(fc.integer({ min: 1, max: 20 })), (words, sizes) => {
        const bytes = Buffer.from(words.join(''))
        const whole = collect()
        whole.splitter.push(bytes)
        whole.splitter.end()
        const cut = collect()
        let from = 0
        for (const size of sizes) {
          cut.splitter.push(bytes.subarray(from, from + size))
          from += size
        }
        cut.splitter.push(bytes.subarray(from))
        cut.splitter.end()
        expect([cut.lines, cut.long, cut.partial]).toEqual([whole.lines, whole.long, whole.partial])
        const expected = bytes.toString().split('\n').slice(0, -1)
        expect(whole.lines).toEqual(
          expected.map((line) => line.replace(/\r$/, '')).filter((line) => Buffer.byteLength(line) <= 10),
        )
      }),
    )
  })
})

it('counts what it takes in', () => {
  const intake = createLineIntake(() => {})
  expect(intake.counts()).toEqual({ lines: 0, longLines: 0, partialLines: 0, bytes: 0, lastLineAtMs: undefined })
  intake.push(Buffer.from('half'))
  expect(intake.counts().lastLineAtMs).toBeUndefined()
  intake.push(Buffer.from(`\n${'x'.repeat(limits.toolLineBytes + 1)}\n`))
  intake.push(Buffer.from('rest'))
  intake.end()
  expect(intake.counts()).toEqual({
    lines: 1,
    longLines: 1,
    partialLines: 1,
    bytes: limits.toolLineBytes + 11,
    lastLineAtMs: expect.any(Number),
  })
})

describe('a stream', () => {
  it('gives the event loop back', async () => {
    const stream = new PassThrough()
    let turns = 0
    const timer = setInterval(() => turns++, 1)
    let pieces = 0
    pour(stream, () => {
      pieces++
      for (const untilMs = performance.now() + limits.yieldMs + 5; performance.now() < untilMs; );
    })
    for (let i = 0; i < 10; i++) stream.write(`${i}`)
    await expect.poll(() => pieces).toBe(10)
    clearInterval(timer)
    expect(turns).toBeGreaterThan(5)
  })
  it('gives nothing more once it is left', async () => {
    const stream = new PassThrough()
    const pieces: string[] = []
    const leave = pour(stream, (chunk) => {
      pieces.push(chunk.toString())
      leave()
    })
    stream.write('one')
    await expect.poll(() => pieces).toEqual(['one'])
    stream.write('two')
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(pieces).toEqual(['one'])
  })
})

it('tells the log the same only once in a while', () => {
  const log = { info: vi.fn(), debug: vi.fn() }
  const notice = createNotices(log as unknown as Log, { tool: 'tcpdrop' })
  notice('started')
  notice('ended', 'exit status 1')
  notice('started')
  notice('ended', 'exit status 1')
  notice('ended', 'killed by SIGKILL')
  expect(log.info.mock.calls).toEqual([
    [{ tool: 'tcpdrop' }, 'line source started'],
    [{ tool: 'tcpdrop', why: 'exit status 1' }, 'line source ended'],
    [{ tool: 'tcpdrop', why: 'killed by SIGKILL' }, 'line source ended'],
  ])
  expect(log.debug).toHaveBeenCalledTimes(2)
})
