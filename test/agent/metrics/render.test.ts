import fc from 'fast-check'
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { describe, expect, it } from 'vitest'
import type { MetricDefinition } from '../../../agent/metrics/catalogue.ts'
import { histogramBoundsSeconds } from '../../../agent/metrics/catalogue.ts'
import { formatLabels } from '../../../agent/metrics/label-text.ts'
import { negotiateFormat, renderExposition } from '../../../agent/metrics/render.ts'
import type { Family, Series, SeriesValue } from '../../../agent/metrics/snapshot.ts'

const define = (type: MetricDefinition['type'], more: Partial<MetricDefinition> = {}): MetricDefinition => ({
  type,
  scope: 'node',
  birth: 'subject',
  source: 'agent',
  labels: [],
  help: 'Some "help" with a \\ and a\nsecond line.',
  origin: 'test',
  ...more,
})
const series = (labels: string, value: SeriesValue, bornFromZero = false): Series => ({
  labels,
  value,
  bornAtMs: 0,
  bornFromZero,
  slot: undefined,
})

describe('negotiateFormat', () => {
  const prometheus =
    'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,/;q=0.1'
  it.each([
    [undefined, 'text'],
    ['', 'text'],
    ['*/*', 'text'],
    ['text/html,application/xhtml+xml,*/*;q=0.8', 'text'],
    [prometheus, 'openmetrics'],
    ['text/plain;version=0.0.4;q=0.9,application/openmetrics-text;q=0.5', 'text'],
    ['application/openmetrics-text;version=2.0.0', 'text'],
    ['application/openmetrics-text;q=0', 'text'],
    ['application/openmetrics-text; Version=1.0.0', 'openmetrics'],
    [';;;,,q=;', 'text'],
  ] as const)('%s → %s', (accept, format) => expect(negotiateFormat(accept)).toBe(format))
})

describe('text 0.0.4', () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 12 })
  const value = fc.oneof(fc.nat(), fc.double({ noNaN: true }), fc.constant(Number.POSITIVE_INFINITY))

  it('is what prom-client writes, line for line', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.tuple(text, text, fc.nat(), value, fc.array(fc.nat(100), { minLength: 11, maxLength: 11 })), {
          selector: ([a, b]) => `${a}\u0001${b}`,
          maxLength: 5,
        }),
        async (rows) => {
          const registry = new Registry()
          const common = { labelNames: ['device', 'reason'], registers: [registry], help: define('gauge').help }
          const counter = new Counter({ ...common, name: 'a_total' })
          const gauge = new Gauge({ ...common, name: 'b' })
          const histogram = new Histogram({ ...common, name: 'c_seconds', buckets: histogramBoundsSeconds })
          const families: { definition: MetricDefinition; name: string; series: Series[] }[] = [
            { name: 'a_total', definition: define('counter'), series: [] },
            { name: 'b', definition: define('gauge'), series: [] },
            { name: 'c_seconds', definition: define('histogram', { unit: 'seconds' }), series: [] },
          ]
          for (const [device, reason, count, number, counts] of rows) {
            counter.inc({ device, reason }, count)
            gauge.set({ device, reason }, number)
            const labels = formatLabels(['device', 'reason'], [device, reason])
            let sum = 0
            counts.forEach((n, i) => {
              const at = i < histogramBoundsSeconds.length ? (histogramBoundsSeconds[i] ?? 0) : 32
              for (let k = 0; k < n; k++) {
                histogram.observe({ device, reason }, at)
                sum += at
              }
            })
            families[0]?.series.push(series(labels, count))
            families[1]?.series.push(series(labels, number))
            if (counts.some((n) => n > 0)) families[2]?.series.push(series(labels, { counts, sum }))
          }
          const lines = (exposition: string): string[] =>
            exposition
              .split('\n')
              .filter((line) => line !== '')
              .sort()
          expect(lines(renderExposition(families as Family[], 'text'))).toEqual(lines(await registry.metrics()))
        },
      ),
      { numRuns: 60 },
    )
  })
})

describe('OpenMetrics', () => {
  it('names counter families without _total, says units, and ends with EOF', () => {
    const families: Family[] = [
      {
        name: 'x_bytes_total',
        definition: define('counter', { unit: 'bytes', help: 'Bytes "x".' }),
        series: [series('a="1"', 3)],
      },
      { name: 'y', definition: define('gauge', { help: 'Y.' }), series: [series('', 1.5)] },
      {
        name: 'z_seconds',
        definition: define('summary', { unit: 'seconds', help: 'Z.' }),
        series: [series('', { sum: 2.5, count: 4 })],
      },
    ]
    expect(renderExposition(families, 'openmetrics')).toBe(`# HELP x_bytes Bytes \\"x\\".
# TYPE x_bytes counter
# UNIT x_bytes bytes
x_bytes_total{a="1"} 3
# HELP y Y.
# TYPE y gauge
y 1.5
# HELP z_seconds Z.
# TYPE z_seconds summary
# UNIT z_seconds seconds
z_seconds_sum 2.5
z_seconds_count 4
# EOF
`)
  })
})

describe('a series shown as zero', () => {
  it('is one that was born from zero, of a type that counts', () => {
    const definition = define('counter', { help: 'H.' })
    const families: Family[] = [
      { name: 'a_total', definition, series: [series('x="1"', 5, true), series('x="2"', 6, false)] },
      { name: 'b', definition: define('gauge', { help: 'H.' }), series: [series('', 7, true)] },
      { name: 'c', definition: define('summary', { help: 'H.' }), series: [series('', { sum: 3, count: 1 }, true)] },
    ]
    const lines = renderExposition(families, 'text', () => true)
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
    expect(lines).toEqual(['a_total{x="1"} 0', 'a_total{x="2"} 6', 'b 7', 'c_sum 0', 'c_count 0'])
  })
})
