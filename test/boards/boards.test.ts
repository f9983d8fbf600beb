import { once } from 'node:events'
import fs from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scaleOf } from './client/scale.js'
import { intervalsOf, parseDuration, parseTime } from './intervals.mjs'
import { pageOf } from './page.mjs'
import { createPrometheus } from './prometheus.mjs'
import { evaluate, merge, organise, rowsOf, separate } from './query.mjs'
import { format } from './units.js'
import { interpolate, variablesOf } from './variables.mjs'

const hourMs = 3_600_000
const folder = path.resolve(import.meta.dirname, '../../helm/netvitals/dashboards')

describe('times', () => {
  it('are durations before now, or dates', () => {
    const now = Date.parse('2026-11-27T12:00:00Z')
    expect(
      ['now', '-15m', 'now-1h30m', '2026-11-27T04:00:00Z', '-15', 'yesterday', ''].map((text) => parseTime(text, now)),
    ).toEqual([now, now - 900_000, now - 5_400_000, Date.parse('2026-11-27T04:00:00Z'), undefined, undefined, undefined])
    expect(['2s', '500ms', '1h', '1.5h', 's'].map(parseDuration)).toEqual([2000, 500, hourMs, undefined, undefined])
  })
})

describe('intervals', () => {
  it('are those of Grafana for a panel, a range and the scrapes', () => {
    // 3600 s over 760 pixels are 4.7 s, rounded 5 s; the scrapes are farther apart.
    expect(intervalsOf({ rangeMs: hourMs, points: 760, scrapeMs: 15_000 })).toEqual({
      rangeMs: hourMs,
      stepMs: 15_000,
      rateMs: 60_000,
    })
    expect(intervalsOf({ rangeMs: hourMs, points: 760, scrapeMs: 2000 })).toMatchObject({ stepMs: 5000, rateMs: 8000 })
    // A day over 760 pixels are 113.7 s, rounded 2 minutes; the rate looks back a step and a scrape.
    expect(intervalsOf({ rangeMs: 24 * hourMs, points: 760, scrapeMs: 30_000 })).toMatchObject({
      stepMs: 120_000,
      rateMs: 150_000,
    })
  })

  it('never ask for more points than Prometheus gives', () => {
    const { stepMs } = intervalsOf({ rangeMs: 7 * 24 * hourMs, points: 1_000_000, scrapeMs: 1000 })
    expect((7 * 24 * hourMs) / stepMs).toBeLessThanOrEqual(11_000)
  })
})

describe('variables', () => {
  const list = [
    { type: 'datasource', name: 'datasource' },
    { type: 'query', name: 'cluster', label: 'Cluster', allValue: '.*', hide: 2 },
    { type: 'query', name: 'job', label: 'Job', allValue: '.+', hide: 0 },
  ]
  const intervals = { stepMs: 15_000, rateMs: 60_000, rangeMs: hourMs }
  const text = (query: string, chosen: [string, string[]][] = []): string =>
    interpolate(query, variablesOf({ templating: { list } }, new Map(chosen)), intervals)

  it('stand for all there is, or for what is chosen', () => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the variable is Grafana's
    expect(text('up{cluster=~"$cluster", job=~"${job}"}')).toBe('up{cluster=~".*", job=~".+"}')
    expect(text('up{job=~"$job"}', [['job', ['one']]])).toBe('up{job=~"one"}')
    expect(text('up{job=~"$job"}', [['job', ['one', 'two']]])).toBe('up{job=~"(one|two)"}')
  })

  it('are no regular expressions of their own', () => {
    expect(text('up{job=~"$job"}', [['job', ['a.b+c']]])).toBe('up{job=~"a\\\\.b\\\\+c"}')
    expect(text('up{job=~"$job"}', [['job', ['$1\\']]])).toBe('up{job=~"\\\\$1\\\\\\\\"}')
  })

  it('are durations too', () => {
    expect(text('rate(a[$__rate_interval]) increase(a[$__range]) $__range_s $__interval $__interval_ms')).toBe(
      'rate(a[60s]) increase(a[3600s]) 3600 15s 15000',
    )
  })

  it('have to be known; groups of a regular expression are none', () => {
    expect(text('label_replace(up, "a", "$1/$2", "b", "(.*)(.*)")')).toBe('label_replace(up, "a", "$1/$2", "b", "(.*)(.*)")')
    expect(() => text('up{node=~"$node"}')).toThrow('$node is no variable of this board')
  })

  it.each(fs.readdirSync(folder))('of %s are all known', (file) => {
    const board = JSON.parse(fs.readFileSync(path.join(folder, file), 'utf8'))
    const targets = rowsOf(board).flatMap(({ panels }) =>
      panels.flatMap(({ targets }: { targets: { expr: string }[] }) => targets),
    )
    expect(targets.length).toBeGreaterThan(0)
    for (const { expr } of targets) expect(() => interpolate(expr, variablesOf(board), intervals)).not.toThrow()
  })
})

describe('units', () => {
  it.each([
    ['pps', 0, '0 p/s'],
    ['pps', 0.14, '140 mp/s'],
    ['pps', 240.4, '240 p/s'],
    ['pps', 1234, '1.2 kp/s'],
    ['Bps', 723_456, '723 kB/s'],
    ['Bps', 2_330_000, '2.33 MB/s'],
    ['bytes', 1023, '1023 B'],
    ['bytes', 1536, '1.5 KiB'],
    ['bytes', 26_948_403, '25.7 MiB'],
    ['s', 0, '0 s'],
    ['s', 0.0449, '44.9 ms'],
    ['s', 0.000064, '64 µs'],
    ['s', 90, '1.5 mins'],
    ['s', 14_400, '4 hours'],
    ['percentunit', 0.934, '93.4%'],
    ['percentunit', 1, '100%'],
    ['short', 262_144, '262 K'],
    ['short', 1_500_000, '1.5 Mil'],
    ['none', 12, '12'],
    ['reqps', 1500, '1.5K req/s'],
    ['ops', 0.25, '0.25 ops/s'],
    ['cps', -3, '-3 c/s'],
    ['short', 'NaN', 'NaN'],
  ])('%s %s is %s', (unit, value, text) => expect(format(value, unit)).toBe(text))

  it('that are not known are refused', () => expect(() => format(1, 'furlongs')).toThrow('furlongs'))

  it.each(fs.readdirSync(folder))('of %s are all known', (file) => {
    const units = [...fs.readFileSync(path.join(folder, file), 'utf8').matchAll(/"(?:unit|mainStatUnit)": "(\w+)"/g)].map(
      ([, unit]) => unit,
    )
    expect(units.length).toBeGreaterThan(0)
    for (const unit of new Set(units)) expect(() => format(1, unit)).not.toThrow()
  })
})

describe('axes', () => {
  it('end above the values, with ticks at round numbers', () => {
    const { max, ticks, text } = scaleOf({ lowest: 0, highest: 87, unit: 'pps', height: 130, min: 0, max: undefined })
    expect(max).toBe(96)
    expect(ticks.map(text)).toEqual(['0 p/s', '25 p/s', '50 p/s', '75 p/s'])
  })

  it('of bytes go by powers of two', () => {
    const { ticks, text } = scaleOf({ lowest: 0, highest: 34e6, unit: 'bytes', height: 130, min: 0, max: undefined })
    expect(ticks.map(text)).toEqual(['0 B', '8 MiB', '16 MiB', '24 MiB', '32 MiB'])
  })

  it('keep what the panel says, and have a span where all is 0', () => {
    expect(scaleOf({ lowest: 0.1, highest: 0.5, unit: 'percentunit', height: 130, min: 0, max: 1 })).toMatchObject({
      min: 0,
      max: 1,
    })
    expect(scaleOf({ lowest: 0, highest: 0, unit: 'pps', height: 130, min: 0, max: undefined })).toMatchObject({ min: 0, max: 1 })
  })
})

describe('a board', () => {
  it('has its panels by row, those of folded rows too', () => {
    const panel = (id: number, y: number): object => ({ id, type: 'stat', gridPos: { x: 0, y, w: 4, h: 4 } })
    const panels = [
      { type: 'row', title: 'one', collapsed: false, panels: [] },
      panel(1, 1),
      panel(2, 5),
      { type: 'row', title: 'two', collapsed: true, panels: [panel(3, 10)] },
    ]
    expect(rowsOf({ panels })).toEqual([
      { title: 'one', isCollapsed: false, panels: [panel(1, 0), panel(2, 4)] },
      { title: 'two', isCollapsed: true, panels: [panel(3, 0)] },
    ])
  })
})

describe('a panel', () => {
  const asked: string[] = []
  const answering = (series: object[]): object => {
    const answer = async (query: string): Promise<object[]> => {
      asked.push(query)
      return series
    }
    return { query: answer, queryRange: answer }
  }
  const about = { fromMs: 0, toMs: hourMs, points: 760, scrapeMs: 15_000, variables: [] }
  const graph = {
    type: 'timeseries',
    targets: [{ refId: 'A', expr: 'a[$__rate_interval]', legendFormat: '{{namespace}}/{{ pod }}' }],
  }

  it('asks what stands for its variables, and names its series', async () => {
    const series = [
      { labels: { namespace: 'shop', pod: 'db' }, values: [0, null, 'NaN'] },
      { labels: {}, values: [0, 0, 0] },
    ]
    const data = await evaluate(graph, { ...about, prometheus: answering(series) })
    expect(asked).toEqual(['a[60s]'])
    expect(data).toMatchObject({
      seriesCount: 2,
      isEmpty: false,
      marks: ['values that are no numbers', 'series without a name'],
      series: [
        { name: 'shop/db', values: [0, null, null] },
        { name: '/', values: [0, 0, 0] },
      ],
    })
  })

  it('says that it is empty, that all is 0, or why it failed', async () => {
    expect(await evaluate(graph, { ...about, prometheus: answering([]) })).toMatchObject({ isEmpty: true, marks: ['EMPTY'] })
    const zero = [{ labels: { pod: 'db' }, values: [0, 0] }]
    expect(await evaluate(graph, { ...about, prometheus: answering(zero) })).toMatchObject({ isEmpty: false, marks: ['all 0'] })
    const unknown = { ...graph, targets: [{ refId: 'A', expr: '$nonsense' }] }
    expect((await evaluate(unknown, { ...about, prometheus: answering([]) })).error).toBe(
      '$nonsense is no variable of this board',
    )
  })

  it('with a histogram has what each bucket holds by itself', () => {
    const rows = [
      { name: '+Inf', values: [9, null] },
      { name: '0.25', values: [7, null] },
      { name: '0.064', values: [4, null] },
    ]
    expect(separate(rows)).toEqual([
      { name: '0.064', values: [4, null] },
      { name: '0.25', values: [3, null] },
      { name: '+Inf', values: [2, null] },
    ])
  })

  it('with a table has a row for equal labels, and its columns in order under their headings', () => {
    const answers = [
      { refId: 'A', series: [{ labels: { pod: 'db', namespace: 'shop' }, value: 3 }] },
      {
        refId: 'B',
        series: [
          { labels: { namespace: 'shop', pod: 'web' }, value: 5 },
          { labels: { namespace: 'shop', pod: 'db' }, value: 4 },
        ],
      },
    ]
    const options = {
      excludeByName: { Time: true },
      indexByName: { pod: 0, namespace: 1, 'Value #B': 2, 'Value #A': 3 },
      renameByName: { namespace: 'Namespace', pod: 'Pod', 'Value #A': 'Drops' },
    }
    expect(
      organise(merge(answers), [
        { id: 'merge', options: {} },
        { id: 'organize', options },
      ]),
    ).toEqual({
      columns: [
        { field: 'pod', heading: 'Pod' },
        { field: 'namespace', heading: 'Namespace' },
        { field: 'Value #B', heading: 'Value #B' },
        { field: 'Value #A', heading: 'Drops' },
      ],
      rows: [
        { namespace: 'shop', pod: 'db', 'Value #A': 3, 'Value #B': 4 },
        { namespace: 'shop', pod: 'web', 'Value #B': 5 },
      ],
    })
  })
})

describe('rows of several answers', () => {
  const answer = (refId: string, ...series: [Record<string, string>, number][]): object => ({
    refId,
    series: series.map(([labels, value]) => ({ labels, value })),
  })

  it('are one if they agree in the labels that all have, and do not differ in others', () => {
    const traffic = answer('A', [{ node: 'one' }, 1], [{ node: 'two' }, 2])
    const kernel = answer('B', [{ node: 'one', kernel: '6.12' }, 1], [{ node: 'two', kernel: '6.1' }, 1])
    const version = answer('C', [{ node: 'one', version: '0.1' }, 1], [{ node: 'two', version: '0.2' }, 1])
    expect(merge([traffic, kernel, version]).rows).toEqual([
      { node: 'one', 'Value #A': 1, kernel: '6.12', 'Value #B': 1, version: '0.1', 'Value #C': 1 },
      { node: 'two', 'Value #A': 2, kernel: '6.1', 'Value #B': 1, version: '0.2', 'Value #C': 1 },
    ])
  })

  it('stay apart if they differ, and are alone where others have none', () => {
    const sockets = answer('A', [{ node: 'one', pod: 'db' }, 1], [{ node: 'one' }, 2])
    const drops = answer('B', [{ node: 'one', pod: 'web' }, 3], [{ node: 'one' }, 4])
    expect(merge([sockets, drops]).rows).toEqual([
      { node: 'one', pod: 'db', 'Value #A': 1 },
      { node: 'one', pod: '', 'Value #A': 2, 'Value #B': 4 },
      { node: 'one', pod: 'web', 'Value #B': 3 },
    ])
    expect(merge([sockets, answer('B')]).columns.map(({ field }) => field)).toEqual(['Time', 'node', 'pod', 'Value #A'])
  })
})

describe('a Prometheus', () => {
  const success = (data: object): string => JSON.stringify({ status: 'success', data })
  const metric = { pod: 'db' }
  const answers: Record<string, [number, string]> = {
    '/api/v1/query_range': [
      200,
      success({
        result: [
          {
            metric,
            values: [
              [30, '1'],
              [60, 'NaN'],
            ],
          },
        ],
      }),
    ],
    '/api/v1/targets?state=active': [200, success({ activeTargets: [{ scrapeInterval: '15s' }, { scrapeInterval: '1m' }] })],
    '/api/v1/query': [400, JSON.stringify({ status: 'error', errorType: 'bad_data', error: 'no expression' })],
  }
  const server = http.createServer((request, response) => {
    const [status, body] = answers[request.url ?? ''] ?? [404, 'not found']
    asked.push(request.url ?? '')
    request.on('data', (chunk) => asked.push(String(chunk)))
    request.on('end', () => response.writeHead(status).end(body))
  })
  const asked: string[] = []
  let prometheus: ReturnType<typeof createPrometheus>
  beforeAll(async () => {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    prometheus = createPrometheus(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
  })
  afterAll(() => server.close())

  it('is asked at whole steps, and what it leaves out is null', async () => {
    const series = await prometheus.queryRange('up', { fromMs: 20_000, toMs: 79_000, stepMs: 15_000 })
    expect(series).toEqual([{ labels: metric, values: [null, 1, null, 'NaN', null] }])
    expect(asked).toEqual(['/api/v1/query_range', 'query=up&start=15&end=75&step=15'])
  })

  it('tells how often it scrapes at least', async () => expect(await prometheus.readScrapeMs()).toBe(60_000))

  it('says what is wrong', async () => {
    await expect(prometheus.query('', 0)).rejects.toThrow('bad_data: no expression')
    const other = createPrometheus(`http://127.0.0.1:${(server.address() as AddressInfo).port}/other`)
    await expect(other.query('up', 0)).rejects.toThrow('404, and not as Prometheus does: not found')
  })
})

describe('a page', () => {
  it('holds nothing that its data could end or begin', () => {
    const panel = { id: 1, type: 'stat', title: '<b>', description: '"</script>"', gridPos: { x: 0, y: 0, w: 4, h: 4 } }
    const rows = [{ title: '</h2>', isCollapsed: false, panels: [{ panel, data: { series: [{ name: '</script><b>' }] } }] }]
    const page = pageOf({
      board: { title: '<i>' },
      rows,
      variables: [],
      time: { fromMs: 0, toMs: 1 },
      script: 'draw("</script>")',
    })
    expect(page.match(/<\/script>/g)).toHaveLength(2)
    expect(page.match(/<\/h2>/g)).toHaveLength(1)
    expect(page).not.toMatch(/<[bi]>/)
  })
})
