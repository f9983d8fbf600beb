import fs from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, it, test } from 'vitest'
import { type BpftraceMessage, parseBpftraceJson } from '../../parsers/bpftrace-json.ts'
import { createBpftraceTextReader } from '../../parsers/bpftrace-text.ts'
import type { ParseError } from '../../parsers/text.ts'
import { damaged } from './proc-recorded.ts'

const recordings = path.resolve(import.meta.dirname, '../fixtures/recordings')
const versions = ['0.17.0', '0.23.2', '0.27.1'] as const
const textOf = (file: string): string => fs.readFileSync(path.join(recordings, file), 'utf8')

function read(text: string, entriesMax?: number): { messages: BpftraceMessage[]; errors: ParseError[] } {
  const messages: BpftraceMessage[] = []
  const errors: ParseError[] = []
  const reader = createBpftraceTextReader({
    where: 'bpftrace',
    onMessage: (message) => messages.push(message),
    onError: (error) => errors.push(error),
    ...(entriesMax !== undefined && { entriesMax }),
  })
  for (const line of text.split('\n')) reader.push(line)
  reader.end()
  return { messages, errors }
}

/** Only what has entries, without what was cleared. */
function toMaps(messages: readonly BpftraceMessage[]): Record<string, Record<string, unknown>> {
  const maps: Record<string, Record<string, unknown>> = {}
  for (const message of messages) {
    if (message.type === 'map' && message.entries.size > 0) maps[message.map] = Object.fromEntries(message.entries)
  }
  return maps
}

describe.each(versions)('the text of bpftrace %s', (version) => {
  const { messages, errors } = read(textOf(`bpftrace-${version}-values.txt`))
  const maps = toMaps(messages)

  it('says the same as its JSON', () => {
    const lines = textOf(`bpftrace-${version}-values.json`).split('\n')
    const json = lines.filter((text) => text !== '').map((text, i) => parseBpftraceJson({ where: 'json', number: i + 1, text }))
    const expected = toMaps(json)
    for (const name of ['stack', 'lines']) delete expected[name] // keys over several lines
    // What differs: one loses blanks, the other says nothing of the limits of 0.17's last bucket.
    expected.comma = { 'a,b,c]: d,3': 5 }
    if (version === '0.17.0') expected.hist_big = { '': { buckets: [{ min: 2 ** 31, max: 2 ** 32 - 1, count: 1 }] } }
    expect(maps).toEqual(expected)
  })
  it('has keys over several lines, which are errors', () => {
    expect(errors.map(({ got, expected }) => [got, expected])).toEqual([
      ['@lines[x', 'a key on one line and its value'],
      ['@stack[', 'a key on one line and its value'],
    ])
  })
  it('has other things in between', () => {
    expect(messages.filter(({ type }) => type === 'text').map((one) => (one as { text: string }).text)).toEqual([
      'hello 1',
      '(1, 2, x)',
      '3',
      expect.stringMatching(/^\d\d:\d\d:\d\d$/),
      'rld', // the second line of a string
    ])
    // New versions say so on standard error.
    expect(messages.filter(({ type }) => type === 'attached')).toEqual(
      version === '0.27.1' ? [] : [{ type: 'attached', probes: 1 }],
    )
  })
})

const bar = `|${'@'.repeat(52)}|`

test('one message a map, when the next thing begins', () => {
  const { messages, errors } = read(
    ['Attaching 3 probes...', '@drops[3, 2048]: 10', '@drops[12, 2048]: 200241', '@x: 5', '@x: 6', 'Lost 5 events', '@: 7'].join(
      '\n',
    ),
  )
  expect(errors).toEqual([])
  const map = (name: string, ...entries: [string, number][]) => ({
    type: 'map',
    map: name,
    entries: new Map(entries),
    skipped: 0,
  })
  expect(messages).toEqual([
    { type: 'attached', probes: 3 },
    map('drops', ['3,2048', 10], ['12,2048', 200241]),
    map('x', ['', 5]),
    map('x', ['', 6]),
    { type: 'lost', events: 5 },
    map('', ['', 7]),
  ])
})

test('histograms in a row, by key', () => {
  const { messages, errors } = read(
    `@h[a, 1]: \n[4, 8)                 1 ${bar}\n\n@h[b, 2]:\n[1K, 2K)               3 ${bar}\n[2K, ...) 1 ${bar}\n\n`,
  )
  expect(errors).toEqual([])
  expect(messages).toEqual([
    {
      type: 'map',
      map: 'h',
      skipped: 0,
      entries: new Map([
        ['a,1', { buckets: [{ min: 4, max: 7, count: 1 }] }],
        [
          'b,2',
          {
            buckets: [
              { min: 1024, max: 2047, count: 3 },
              { min: 2048, count: 1 },
            ],
          },
        ],
      ]),
    },
  ])
})

describe('errors', () => {
  it('have their place and cost one entry', () => {
    const { messages, errors } = read(
      `@h[1]: \n[4, 8)  1 ${bar}\n[8, 1X)  1 ${bar}\n[16, 32) 1 ${bar}\n\n@h[2]: \n[4, 8) 2 ${bar}\n\n`,
    )
    expect(errors.map(({ message }) => message)).toEqual([
      `bpftrace: line 3, column 1: expected a bucket of a histogram, got "[8, 1X)  1 |${'@'.repeat(28)}"`,
    ])
    expect(toMaps(messages)).toEqual({ h: { 2: { buckets: [{ min: 4, max: 7, count: 2 }] } } })
  })
  it('a key that never ends', () => {
    const { messages, errors } = read('@x[\n  a\n  b\n@y: 1')
    expect(errors.map(({ line }) => line)).toEqual([1])
    expect(toMaps(messages)).toEqual({ y: { '': 1 } })
    expect(read('@x[\n  a').errors.map(({ line, expected }) => [line, expected])).toEqual([
      [1, 'a key on one line and its value'],
      [2, 'the end of a key'],
    ])
    expect(read(`@x[\n${'  a\n'.repeat(200)}`).messages.length).toBeGreaterThan(50)
  })
  it('the histogram below a key over several lines is left out', () => {
    const { messages, errors } = read(`@x[\n  a\n]:\n[4, 8) 1 ${bar}\n\n@y: 1`)
    expect(errors).toHaveLength(1)
    expect(messages).toHaveLength(1)
    expect(toMaps(messages)).toEqual({ y: { '': 1 } })
  })
  it('more buckets than there can be', () => {
    const { messages, errors } = read(`@x:\n${`[4, 8) 1 ${bar}\n`.repeat(2000)}`)
    expect(errors.map(({ line }) => line)).toEqual([1004])
    expect(messages).toEqual([{ type: 'map', map: 'x', entries: new Map(), skipped: 0 }])
  })
})

test('a large map comes in parts', () => {
  const { messages } = read(Array.from({ length: 25 }, (_, i) => `@x[${i}]: 1`).join('\n'), 10)
  expect(messages.map((one) => (one.type === 'map' ? one.entries.size : 0))).toEqual([10, 10, 5])
})

test('damaged text is read without complaint but through onError', () => {
  const texts = versions.map((version) => textOf(`bpftrace-${version}-values.txt`))
  fc.assert(
    fc.property(damaged(texts), (text) => {
      const lines = text.split('\n').length
      for (const { line } of read(text).errors) expect(line).toBeLessThanOrEqual(lines)
    }),
  )
})
