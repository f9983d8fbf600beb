import fs from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, it, test } from 'vitest'
import { type BpftraceMap, type BpftraceMessage, parseBpftraceJson, splitKey } from '../../parsers/bpftrace-json.ts'
import { damaged, parseErrorOf } from './proc-recorded.ts'

const recordings = path.resolve(import.meta.dirname, '../fixtures/recordings')
const versions = ['0.17.0', '0.23.2', '0.27.1'] as const
const linesOf = (file: string): string[] =>
  fs
    .readFileSync(path.join(recordings, file), 'utf8')
    .split('\n')
    .filter((text) => text !== '')
const parse = (text: string): BpftraceMessage => parseBpftraceJson({ where: 'bpftrace', number: 7, text })
const map = (text: string): Omit<BpftraceMap, 'type' | 'entries'> & { entries: Record<string, unknown> } => {
  const message = parse(text)
  if (message.type !== 'map') throw new Error(`${message.type} is no map`)
  return { map: message.map, entries: Object.fromEntries(message.entries), skipped: message.skipped }
}
/** The last message of each map. */
const readMaps = (file: string): Record<string, Record<string, unknown>> => {
  const maps: Record<string, Record<string, unknown>> = {}
  for (const line of linesOf(file)) {
    const message = parse(line)
    if (message.type === 'map') maps[message.map] = Object.fromEntries(message.entries)
  }
  return maps
}

describe.each(versions)('what bpftrace %s prints', (version) => {
  const messages = linesOf(`bpftrace-${version}-values.json`).map(parse)
  const maps = readMaps(`bpftrace-${version}-values.json`)

  it('is one message a line', () => {
    expect(messages[0]).toEqual({ type: 'attached', probes: 1 })
    expect(messages.slice(1, 4)).toEqual([
      { type: 'text', text: 'hello 1\n' },
      { type: 'text', text: '[1,2,"x"]' },
      { type: 'text', text: '3' },
    ])
    expect(messages[4]).toEqual({ type: 'text', text: expect.stringMatching(/^\d\d:\d\d:\d\d\n$/) })
    expect(messages.slice(5).every(({ type }) => type === 'map')).toBe(true)
  })
  it('has numbers, with and without keys', () => {
    expect(maps).toMatchObject({
      count: { '': 0 },
      sum: { '': 5 },
      max: { '': 5 },
      min: { '': 5 },
      negative: { '': -7 },
      avg: { '': 8 },
      avg_keyed: { 'bpftrace,2': 5 },
      address: { '127.0.0.1': 1 },
      big: { '': 9007199254740992 },
    })
  })
  it('has statistics', () => {
    expect(maps.stats).toEqual({ '': { count: 1, average: -3, total: -3 } })
  })
  it('has histograms', () => {
    const { hist, hist_keyed, lhist, lhist_keyed, lhist_plain } = maps as Record<
      string,
      Record<string, { buckets: { count: number }[] }>
    >
    expect(hist!['']!.buckets.filter(({ count }) => count > 0)).toEqual([
      { max: -1, count: 1 },
      { min: 0, max: 0, count: 1 },
      { min: 1, max: 1, count: 1 },
      { min: 2, max: 3, count: 1 },
      { min: 512, max: 1023, count: 1 },
      { min: 2048, max: 4095, count: 1 },
    ])
    expect(hist_keyed).toEqual({
      'sshd,4': { buckets: [{ min: 64, max: 127, count: 1 }] },
      'sshd,5': {
        buckets: [
          { min: 1, max: 1, count: 1 },
          { min: 2, max: 3, count: 1 },
        ],
      },
    })
    expect(lhist!['']!.buckets.filter(({ count }) => count > 0)).toEqual([
      { max: -1, count: 1 },
      { min: 0, max: 9, count: 1 },
      { min: 20, max: 29, count: 1 },
      { min: 50, count: 1 },
    ])
    expect(lhist_keyed).toEqual({ 1: { buckets: [{ min: 2048, max: 3071, count: 1 }] } })
    expect(lhist_plain).toEqual({ 2: { buckets: [{ min: 30000, max: 39999, count: 1 }] } })
  })
  it('has, in 0.17, one bucket for all from 2^31 up', () => {
    expect(maps.hist_big).toEqual({
      '': { buckets: [version === '0.17.0' ? { min: 2 ** 31, count: 1 } : { min: 2 ** 42, max: 2 ** 43 - 1, count: 1 }] },
    })
  })
  it('has keys of all kinds', () => {
    expect(maps.latin).toEqual({ naïve: 1 })
    expect(maps.comma).toEqual({ [version === '0.27.1' ? 'a,b,c]:d,3' : 'a, b,c]: d,3']: 5 })
    expect(maps.lines).toEqual({ [version === '0.23.2' ? 'x\\ny' : 'x\ny']: 1 })
    expect(Object.keys(maps.stack!)[0]).toContain('__bpf_prog_test_run_raw_tp+106')
  })
  it('has values that are no numbers, which are left out and counted', () => {
    for (const name of ['string', 'empty', 'tuple', 'tuples']) {
      expect(messages.find((one) => one.type === 'map' && one.map === name)).toMatchObject({ entries: new Map(), skipped: 1 })
    }
  })
})

test('a map that was cleared is 0, empty or not there', () => {
  const stats = (version: string) => linesOf(`bpftrace-${version}-values.json`).filter((text) => text.includes('stats_keyed'))
  expect(versions.map((version) => stats(version).map(map))).toEqual([
    [],
    [],
    [
      { map: 'stats_keyed', entries: {}, skipped: 0 },
      { map: 'stats_keyed', entries: {}, skipped: 0 },
    ],
  ])
})

test.each(['0.17.0', '0.27.1'])('what %s could not keep', (version) => {
  const [error, lost] = linesOf(`bpftrace-${version}-limits.json`).map(parse)
  expect(error).toEqual({ type: 'helper_error', helper: 'map_update_elem', code: -7 })
  expect(lost).toEqual({ type: 'lost', events: version === '0.17.0' ? 1572 : 385092 })
})

test.each(['0.17.0', '0.27.1'])('what %s prints at its end is what was not printed before', (version) => {
  let packets = 0
  let inBuckets = 0
  for (const line of linesOf(`bpftrace-${version}-exit.json`)) {
    const message = parse(line)
    if (message.type !== 'map') continue
    for (const value of message.entries.values()) {
      if (/^s0_[01]_packets$/.test(message.map)) packets += value as number
      if (typeof value === 'object' && 'buckets' in value) for (const { count } of value.buckets) inBuckets += count
    }
  }
  expect([packets, inBuckets]).toEqual([16, 16])
})

describe('shapes seen in other versions', () => {
  it('attached and lost, counted outside of data', () => {
    expect(parse('{"type":"attached_probes", "count":3}')).toEqual({ type: 'attached', probes: 3 })
    expect(parse('{"type":"lost_events", "count":5}')).toEqual({ type: 'lost', events: 5 })
  })
  it('unknown types', () => {
    expect(parse('{"type": "runtime_error", "msg": "x", "line": 1, "col": 2}')).toEqual({ type: 'other', name: 'runtime_error' })
  })
  it('time series, which are no metric', () => {
    expect(map('{"type": "tseries", "data": {"@t": [{"interval_start":"1","value":5}]}}')).toEqual({
      map: 't',
      entries: {},
      skipped: 1,
    })
  })
  it('numbers as strings', () => {
    expect(map('{"type": "map", "data": {"@x": {"1": "9007199254740993", "2": "12345"}}}')).toEqual({
      map: 'x',
      entries: { 1: 9007199254740992 },
      skipped: 1,
    })
  })
  it('the anonymous map, and keys with names of their own', () => {
    expect(map('{"type": "map", "data": {"@": {"__proto__": 1, "constructor": 2, "": 3}}}')).toMatchObject({
      map: '',
      skipped: 0,
    })
    const message = parse('{"type": "map", "data": {"@": {"__proto__": 1, "constructor": 2, "": 3}}}') as BpftraceMap
    expect([...message.entries]).toEqual([
      ['__proto__', 1],
      ['constructor', 2],
      ['', 3],
    ])
  })
  it('a key whose characters were cut off', () => {
    expect(map(String.raw`{"type": "map", "data": {"@x": {"a\uffffffc3": 1}}}`).entries).toEqual({ 'a\ufffd': 1 })
  })
})

describe('errors', () => {
  it.each([
    ['', 1],
    ['x', 1],
    ['{"type": "map", "data": {"@x": 1}', 34],
    ['{"type": "map", "data": {"@x": 1}}}', 35],
    ['{"type": "map", "data": {"@x": 01}}', 33],
    ['{"type": "map", "data": {"@x: 1}}', 26],
    ['{"type": "map", "data": {"@x": }}', 32],
    ['{"type": "map" "data": 1}', 16],
    ['{"type": "map", "data": [1, 2,]}', 31],
    [`${'['.repeat(40)}`, 34],
  ])('broken JSON, with its place: %s', (text, column) => {
    const error = parseErrorOf(() => parse(text))
    expect(error).toMatchObject({ where: 'bpftrace', line: 7, column, expected: 'JSON' })
  })
  it.each([
    '[]',
    'null',
    '5',
    '{}',
    '{"type": 5}',
    '{"type": "map"}',
    '{"type": "map", "data": 5}',
    '{"type": "map", "data": {}}',
    '{"type": "map", "data": {"x": 1}}',
    '{"type": "map", "data": {"@x": 1, "@y": 2}}',
    '{"type": "printf"}',
    '{"type": "attached_probes", "data": {}}',
    '{"type": "lost_events", "data": {"events": "many"}}',
    '{"type": "helper_error", "helper": 5, "retcode": -7}',
  ])('JSON that is something else: %s', (text) => {
    expect(parseErrorOf(() => parse(text))).toMatchObject({ line: 7, column: 1 })
  })
  it('are all that damaged lines end with', () => {
    const lines = versions.flatMap((version) => linesOf(`bpftrace-${version}-values.json`))
    fc.assert(
      fc.property(damaged(lines), (text) => {
        try {
          parse(text)
        } catch (error) {
          expect(error).toMatchObject({ name: 'ParseError', line: 7 })
        }
      }),
    )
  })
  it('come at once for long lines', () => {
    const text = `{"type": "map", "data": {"@x": {${Array.from({ length: 50_000 }, (_, i) => `"${i},tcp": ${i}`).join(', ')}}`
    const started = performance.now()
    expect(parseErrorOf(() => parse(text)).column).toBe(text.length + 1)
    expect(performance.now() - started).toBeLessThan(2000)
    expect(Object.keys(map(`${text}}}`).entries)).toHaveLength(50_000)
  })
})

describe('splitKey', () => {
  it('splits at commas', () => {
    expect(splitKey('3,2048', 2)).toEqual(['3', '2048'])
    expect(splitKey('sshd', 1)).toEqual(['sshd'])
    expect(splitKey('', 0)).toEqual([])
    expect(splitKey(',', 2)).toEqual(['', ''])
  })
  it('leaves surplus commas in the last column', () => {
    expect(splitKey('3,a,b', 2)).toEqual(['3', 'a,b'])
    expect(splitKey('a,b', 1)).toEqual(['a,b'])
  })
  it('says when there are too few', () => {
    expect(splitKey('3', 2)).toBeUndefined()
    expect(splitKey('x', 0)).toBeUndefined()
  })
  it('gives back what was joined where only the last column has commas', () => {
    const column = fc.string().filter((text) => !text.includes(','))
    fc.assert(
      fc.property(fc.array(column), fc.string(), (columns, last) => {
        expect(splitKey([...columns, last].join(','), columns.length + 1)).toEqual([...columns, last])
      }),
    )
  })
})
