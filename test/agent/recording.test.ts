import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { limits } from '../../agent/limits.ts'
import { definitionOf, histogramBoundsSeconds, type MetricName } from '../../agent/metrics/catalogue.ts'
import { cleanLabelValue, formatLabels } from '../../agent/metrics/label-text.ts'
import { renderExposition } from '../../agent/metrics/render.ts'
import type { Family, SeriesValue } from '../../agent/metrics/snapshot.ts'
import { defineUserMetric } from '../../agent/metrics/user-metrics.ts'
import { createRecorder, createRecordingReader, mergeFamilies, type RecordingLine } from '../../agent/recording.ts'
import { series, snapshotOf } from './http/fake-parts.ts'

/** One of each type; of the node, and of pods. */
const metrics = {
  counter: 'netvitals_dropped_packets_total',
  node: 'netvitals_tool_rows_total',
  gauge: 'netvitals_sockets_used',
  histogram: 'netvitals_tcp_connect_duration_seconds',
  summary: 'netvitals_tcp_rtt_seconds',
} as const satisfies Record<string, MetricName>
const time = '2026-11-26T18:20:01.000Z'
const header: RecordingLine = { type: 'recording', schemaVersion: 1, version: '1', node: 'n', time }

type Values = ReadonlyMap<string, SeriesValue>
type Sweep = Partial<Record<MetricName, Values>>
const familiesOf = (sweep: Sweep): readonly Family[] =>
  snapshotOf(
    Object.fromEntries(
      Object.entries(sweep).map(([name, values]) => [name, [...values].map(([labels, value]) => series(labels, value))]),
    ),
  ).families
const plain = (families: readonly Family[]): Record<string, Record<string, SeriesValue>> =>
  Object.fromEntries(
    families
      .filter((family) => family.series.length > 0)
      .map(({ name, series }) => [name, Object.fromEntries(series.map(({ labels, value }) => [labels, value]))]),
  )
const textOf = (lines: readonly RecordingLine[]): string[] => lines.map((line) => JSON.stringify(line))
const readAll = (lines: readonly string[]) => {
  const reader = createRecordingReader()
  for (const line of lines) reader.push(line)
  return reader
}

/** What people, kernels and attackers call things, as the agent shows it. */
const labelValue = fc
  .oneof(
    fc.string({ unit: 'binary', maxLength: 20 }),
    fc.constantFrom('', '"', '\\', '\n', ',a="b"', '…', '\\n'),
    fc.string({ minLength: 125, maxLength: 140 }),
  )
  .map(cleanLabelValue)
const number = fc.oneof(fc.nat(), fc.double({ min: 0, noNaN: true, noDefaultInfinity: true }), fc.constant(0))
function seriesOf(name: MetricName): fc.Arbitrary<Values> {
  const { type, scope, labels } = definitionOf(name)
  const names = scope === 'pod' ? ['namespace', 'pod', ...labels] : labels
  const key = fc.tuple(...names.map(() => labelValue)).map((values) => formatLabels(names, values))
  const value: fc.Arbitrary<SeriesValue> =
    type === 'histogram'
      ? fc.record({ counts: fc.array(fc.nat(), { minLength: 11, maxLength: 11 }), sum: number })
      : type === 'summary'
        ? fc.record({ sum: number, count: fc.nat() })
        : number
  return fc.array(fc.tuple(key, value), { maxLength: 6 }).map((pairs) => new Map(pairs))
}
/** Of sweep after sweep some series change, some come, some go. */
const sweeps = fc.array(
  fc.record(Object.fromEntries(Object.values(metrics).map((name) => [name, seriesOf(name)])), { requiredKeys: [] }),
  { maxLength: 6 },
) as fc.Arbitrary<Sweep[]>
/** Few labels, so that a series is met again. */
const fewSeries = fc.array(
  fc.dictionary(fc.constantFrom('a', 'b', 'c'), fc.nat(3), { maxKeys: 3 }).map(
    (values): Sweep => ({
      [metrics.gauge]: new Map(Object.entries(values).map(([pod, value]) => [`namespace="",pod="${pod}"`, value])),
    }),
  ),
  { maxLength: 8 },
)

describe('a recording', () => {
  it('put together again is what was recorded, after each sweep', () => {
    fc.assert(
      fc.property(fc.oneof(sweeps, fewSeries), (all) => {
        const record = createRecorder()
        const reader = createRecordingReader()
        reader.push(JSON.stringify(header))
        for (const sweep of all) {
          const families = familiesOf(sweep)
          for (const line of textOf(record({ families }, time))) reader.push(line)
          expect(plain(reader.families())).toEqual(JSON.parse(JSON.stringify(plain(families))))
        }
        expect([reader.sweeps, reader.dropped]).toEqual([all.length, 0])
      }),
      { numRuns: 300 },
    )
  })

  it('holds what has changed, and nothing else', () => {
    const record = createRecorder()
    const at = (values: Record<string, number>): RecordingLine[] => [
      ...record({ families: familiesOf({ [metrics.node]: new Map(Object.entries(values)) }) }, time),
    ]
    const family = { type: 'family', name: metrics.node }
    expect(at({ 'format="a"': 1, 'format="b"': 2 })).toEqual([
      { type: 'sweep', time },
      {
        ...family,
        series: [
          ['format="a"', 1],
          ['format="b"', 2],
        ],
      },
    ])
    expect(at({ 'format="a"': 1, 'format="b"': 2 })).toEqual([{ type: 'sweep', time }])
    expect(at({ 'format="b"': 3 })).toEqual([
      { type: 'sweep', time },
      { ...family, series: [], gone: ['format="a"'] },
      { ...family, series: [['format="b"', 3]] },
    ])
    expect(record({ families: [] }, time)).toEqual([
      { type: 'sweep', time },
      { ...family, series: [], gone: ['format="b"'] },
    ])
    expect(record({ families: [] }, time)).toEqual([{ type: 'sweep', time }])
  })

  it('has no line that is too long to be read, not even with the longest labels, nor when all go at once', () => {
    const longest = (i: number): string => cleanLabelValue(`${i}${'"\\🦆'.repeat(60)}`)
    const labels = (i: number): string => formatLabels(['namespace', 'pod'], [longest(i), longest(i)])
    const value = { counts: Array(11).fill(Number.MAX_SAFE_INTEGER), sum: Math.PI / 1e300 }
    const values = new Map(Array.from({ length: 3000 }, (_, i) => [labels(i), value]))
    const record = createRecorder()
    const lines = textOf([
      ...record({ families: familiesOf({ [metrics.histogram]: values }) }, time),
      ...record({ families: [] }, time),
    ])
    expect(Math.max(...lines.map((line) => Buffer.byteLength(line)))).toBeLessThan(limits.recordingLineBytes)
    expect(plain(readAll(lines).families())).toEqual({})
    expect(plain(readAll(lines.slice(0, lines.length / 2)).families())[metrics.histogram]).toEqual(Object.fromEntries(values))
  })

  it('may begin anew in the same stream: its agent counts from its own start', () => {
    const record = (value: number, labels: string): string[] =>
      textOf([header, ...createRecorder()({ families: familiesOf({ [metrics.node]: new Map([[labels, value]]) }) }, time)])
    const reader = readAll([...record(7, 'format="a"'), ...record(2, 'format="b"')])
    expect(plain(reader.families())).toEqual({ [metrics.node]: { 'format="b"': 2 } })
    expect(reader.sweeps).toBe(2)
  })

  it('counts events', () => {
    const event: RecordingLine = { type: 'event', event: { type: 'not_shown', of: 'drop', count: 1, time } }
    expect(readAll(textOf([header, event, event])).events).toBe(2)
  })
})

describe('a recording that somebody has edited', () => {
  const family = (name: string, ...series: unknown[]): string => JSON.stringify({ type: 'family', name, series })
  const { counter, node, gauge, histogram, summary } = metrics
  const pod = 'namespace="",pod=""'
  const drop = (reason: string): string => `${pod},reason="${reason}",category="other",protocol="tcp",direction="in"`
  const counts = histogramBoundsSeconds.map(() => 1)

  it.each<[what: string, line: string]>([
    ['no JSON', '{"type":"sweep"'],
    ['no object', '7'],
    ['null', 'null'],
    ['no type', '{}'],
    ['another type', '{"type":"exec"}'],
    ['another version', '{"type":"recording","schemaVersion":2}'],
    ['no such metric', family('netvitals_made_up_total', [pod, 1])],
    ['a metric of every object', family('constructor', [pod, 1])],
    ['no series', '{"type":"family","name":"netvitals_sockets_used"}'],
    ['series that is no list', '{"type":"family","name":"netvitals_sockets_used","series":[{}]}'],
    ['gone that is no list', '{"type":"family","name":"netvitals_sockets_used","series":[],"gone":5}'],
    ['a series without a value', family(gauge, [pod])],
    ['labels that are no text', family(gauge, [{ pod: '' }, 1])],
    ['a label too few', family(gauge, ['namespace=""', 1])],
    ['a label too many', family(gauge, [`${pod},zone="a"`, 1])],
    ['other labels', family(gauge, ['namespace="",node=""', 1])],
    ['labels in another order', family(gauge, ['pod="",namespace=""', 1])],
    ['a label twice', family(gauge, [`${pod},pod="a"`, 1])],
    ['no labels', family(gauge, ['', 1])],
    ['a line of its own', family(counter, [`${drop('a"} 1\nnetvitals_sockets_used{b="')}`, 1])],
    ['a brace', family(counter, [`${drop('a')}} 1 {`, 1])],
    ['an unknown escape', family(counter, [drop('\\x'), 1])],
    ['a lone backslash at the end', family(counter, [drop('\\'), 1])],
    ['colours', family(counter, [drop('\u001b[31m'), 1])],
    ['a carriage return', family(counter, [drop('a\rb'), 1])],
    ['a direction mark', family(counter, [drop('\u202e'), 1])],
    ['half a character', family(counter, [drop('\ud800'), 1])],
    ['a label too long', family(counter, [drop('x'.repeat(limits.labelCharacters + 2)), 1])],
    ['text for a number', family(gauge, [pod, '1 2'])],
    ['null for a number', family(gauge, [pod, null])],
    ['a negative count', family(node, ['format=""', -1])],
    ['infinity', '{"type":"family","name":"netvitals_sockets_used","series":[["namespace=\\"\\",pod=\\"\\"",1e999]]}'],
    ['a number for a histogram', family(histogram, [pod, 5])],
    ['a bucket too few', family(histogram, [pod, { counts, sum: 1 }])],
    ['a bucket too many', family(histogram, [pod, { counts: [...counts, 1, 1], sum: 1 }])],
    ['a bucket of text', family(histogram, [pod, { counts: [...counts, '1'], sum: 1 }])],
    ['no sum', family(histogram, [pod, { counts: [...counts, 1] }])],
    ['no count', family(summary, [pod, { sum: 1 }])],
    ['a histogram for a number', family(gauge, [pod, { counts: [...counts, 1], sum: 1 }])],
  ])('%s is refused, and nothing of the line is taken', (_, line) => {
    const good = family(gauge, [pod, 3])
    const reader = readAll([good])
    expect(() => reader.push(line)).toThrow(Error)
    const mixed = JSON.parse(line.startsWith('{"type":"family"') ? line : '{}') as { name?: string; series?: unknown[] }
    if (mixed.name === gauge && Array.isArray(mixed.series?.[0])) {
      mixed.series.unshift([pod, 99])
      expect(() => reader.push(JSON.stringify(mixed))).toThrow(Error)
    }
    expect(plain(reader.families())).toEqual({ [gauge]: { [pod]: 3 } })
  })

  it('says what is wrong in a few words', () => {
    const reader = createRecordingReader()
    expect(() => reader.push(family(gauge, [pod, 'x'.repeat(10_000)]))).toThrow(/^no series of netvitals_sockets_used: .{100}$/)
    expect(() => reader.push(family('netvitals_new_total'))).toThrow('no metric of this version: "netvitals_new_total"')
  })

  it('may hold too many series: the first are kept, the others counted', () => {
    const reader = createRecordingReader()
    const lines = Math.ceil(limits.series / 1000)
    for (let line = 0; line <= lines; line++)
      reader.push(family(gauge, ...Array.from({ length: 1000 }, (_, i) => [`namespace="",pod="${line * 1000 + i}"`, 1])))
    expect([reader.families()[0]?.series.length, reader.dropped]).toEqual([limits.series, (lines + 1) * 1000 - limits.series])
    reader.push(
      JSON.stringify({ type: 'family', name: gauge, series: [['namespace="",pod="new"', 1]], gone: ['namespace="",pod="0"'] }),
    )
    expect(reader.families()[0]?.series.length).toBe(limits.series)
    reader.push(JSON.stringify(header))
    reader.push(family(gauge, [pod, 1]))
    expect(plain(reader.families())).toEqual({ [gauge]: { [pod]: 1 } })
  })

  it('whatever stands in it, the reader takes it or throws an Error', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.json(),
          fc.string(),
          fc.object().map((object) => JSON.stringify({ type: 'family', name: gauge, ...object })),
        ),
        (line) => {
          const reader = createRecordingReader()
          try {
            reader.push(line)
          } catch (error) {
            expect(error).toBeInstanceOf(Error)
            expect((error as Error).name).toBe('Error')
          }
          renderExposition(reader.families(), 'text')
        },
      ),
    )
  })
})

describe('what several have counted', () => {
  it('is added, each series once', () => {
    const [a, b] = [
      familiesOf({
        [metrics.node]: new Map([
          ['format="a"', 1],
          ['format="c"', 5],
        ]),
        [metrics.histogram]: new Map([['namespace="",pod=""', { counts: [1, ...Array(10).fill(0)], sum: 0.5 }]]),
        [metrics.summary]: new Map([['namespace="",pod=""', { sum: 2, count: 4 }]]),
      }),
      familiesOf({
        [metrics.node]: new Map([
          ['format="a"', 10],
          ['format="b"', 20],
        ]),
        [metrics.histogram]: new Map([['namespace="",pod=""', { counts: [1, 2, ...Array(9).fill(0)], sum: 0.25 }]]),
        [metrics.summary]: new Map([['namespace="",pod=""', { sum: 1, count: 1 }]]),
        [metrics.gauge]: new Map([['namespace="",pod=""', 3]]),
      }),
    ]
    const merged = mergeFamilies(a, b)
    expect(plain(merged)).toEqual({
      [metrics.node]: { 'format="a"': 11, 'format="b"': 20, 'format="c"': 5 },
      [metrics.histogram]: { 'namespace="",pod=""': { counts: [2, 2, ...Array(9).fill(0)], sum: 0.75 } },
      [metrics.summary]: { 'namespace="",pod=""': { sum: 3, count: 5 } },
      [metrics.gauge]: { 'namespace="",pod=""': 3 },
    })
    expect(merged[0]?.series.map(({ labels }) => labels)).toEqual(['format="a"', 'format="b"', 'format="c"'])
  })

  it('of what is not to be added the largest is taken', () => {
    const name = 'netvitals_tcp_rtt_max_seconds'
    const of = (value: number) => familiesOf({ [name]: new Map([['namespace="",pod=""', value]]) })
    expect(plain(mergeFamilies(of(2), of(5), of(3)))).toEqual({ [name]: { 'namespace="",pod=""': 5 } })
  })

  it('is an exposition with each name and each series once', () => {
    fc.assert(
      fc.property(sweeps, (all) => {
        const lines = renderExposition(mergeFamilies(...all.map(familiesOf)), 'text')
          .trimEnd()
          .split('\n')
        const names = lines.map((line) =>
          line.startsWith('#') ? line.split(' ', 3).join(' ') : line.slice(0, line.lastIndexOf(' ')),
        )
        expect(names.length).toBe(new Set(names).size)
      }),
    )
  })
})

describe('metrics of the user', () => {
  const counter = { type: 'counter', help: 'Failed "calls"\nof connect().', labels: ['errno'], limit: 5 } as const
  const histogram = { type: 'histogram', help: 'Sizes.', labels: [], limit: 1, bounds: [1, 10] } as const
  const families: readonly Family[] = [
    {
      name: 'netvitals_user_errors_total',
      definition: defineUserMetric(counter, 'a.bt'),
      series: [series('errno="111"', 7)],
    },
    {
      name: 'netvitals_user_sizes',
      definition: defineUserMetric(histogram, 'a.bt'),
      series: [series('', { counts: [1, 2, 3], sum: Number.NaN })],
    },
  ]
  const lines = textOf([header, ...createRecorder()({ families }, time)])

  it('bring their declaration along', () => {
    expect(renderExposition(readAll(lines).families(), 'text')).toBe(renderExposition(families, 'text'))
  })

  it.each<[string, (line: Record<string, unknown>) => object]>([
    ['without a declaration', ({ declared, ...rest }) => rest],
    ['under a name of another kind', (line) => ({ ...line, name: 'netvitals_other' })],
    ['of no type', (line) => ({ ...line, declared: { ...counter, type: 'untyped' } })],
    ['with a label that is none', (line) => ({ ...line, declared: { ...counter, labels: ['a="b",c'] } })],
    ['with other labels', (line) => ({ ...line, series: [['program="x"', 1]] })],
    ['with a value that is none', (line) => ({ ...line, series: [['errno="1"', null]] })],
  ])('are refused %s', (_, change) => {
    const text = JSON.stringify(change(JSON.parse(lines[2]!)))
    expect(() => readAll([lines[0]!, text])).toThrow(/^no (metric|series) of/)
  })
})
