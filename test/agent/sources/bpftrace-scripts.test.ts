import { describe, expect, it } from 'vitest'
import type { OnScriptMap } from '../../../agent/host/scripts.ts'
import type { UserMap } from '../../../agent/metrics/user-metrics.ts'
import { createBpftraceScripts } from '../../../agent/sources/bpftrace-scripts.ts'
import type { BpftraceValue } from '../../../parsers/bpftrace-json.ts'
import { createFakeHost } from './fake-host.ts'

interface Told {
  readonly emitted: Record<string, unknown>
  readonly absent: Record<string, string>
  readonly caveats: string[]
  readonly lost: Record<string, number>
}

/** Scripts of these maps; what bpftrace prints is given to `print`. */
function createSource(maps: Record<string, Partial<UserMap>>, process: object = {}) {
  let print: OnScriptMap = () => {}
  const scripts = {
    files: ['a.bt'],
    onMap: (listener: OnScriptMap) => {
      print = listener
    },
    status: () => ({ state: 'running', lastEnd: undefined, longLines: 0 }),
    problem: () => undefined,
    lastReadingAtMs: () => 1,
    lost: () => ({ events: 0, recursion: 0 }),
    gaps: () => ({ count: 0, lastEnd: undefined }),
    unreadable: () => ({ lines: 0, last: undefined }),
    full: () => [],
    ...process,
  }
  const declared = Object.fromEntries(
    Object.entries(maps).map(([name, map]) => [
      name,
      { type: 'counter', help: 'help', labels: [], limit: 100, ...map } as UserMap,
    ]),
  )
  const host = { ...createFakeHost().host, scripts } as never
  const source = createBpftraceScripts(host, [{ file: 'a.bt', maps: declared }])
  return {
    source,
    print: (map: string, entries: Record<string, BpftraceValue>) => print(0, map, new Map(Object.entries(entries))),
    async collect(): Promise<Told> {
      const told: Told = { emitted: {}, absent: {}, caveats: [], lost: {} }
      const sink = {
        emit: (metric: string, { labels, value }: { labels: object; value: unknown }) => {
          told.emitted[`${metric}${JSON.stringify(labels)}`] = value
        },
        absent: (metric: string, reason: string) => void (told.absent[metric] = reason),
        caveat: (text: string) => void told.caveats.push(text),
        lost: (kind: string, total: number) => void (told.lost[kind] = total),
        unreadable: () => undefined,
      }
      await source.collect(sink as never, new AbortController().signal)
      return told
    },
  }
}

describe('maps of scripts', () => {
  it('that count add up from print to print, by the columns of their keys', async () => {
    const { print, collect } = createSource({ drops: { labels: ['port', 'program'] } })
    print('drops', { '80,a,b': 3, '443,c': 1 })
    print('drops', { '80,a,b': 4 })
    expect((await collect()).emitted).toEqual({
      'netvitals_user_drops_total{"port":"80","program":"a,b"}': 7,
      'netvitals_user_drops_total{"port":"443","program":"c"}': 1,
    })
  })

  it('that hold a last value show that alone', async () => {
    const { print, collect } = createSource({ depth: { type: 'gauge', labels: ['queue'] } })
    print('depth', { 0: 7, 1: 9 })
    print('depth', { 1: 2 })
    expect((await collect()).emitted).toEqual({ 'netvitals_user_depth{"queue":"1"}': 2 })
  })

  it('that are histograms: buckets go to the bounds, and there is no sum', async () => {
    const { print, collect } = createSource({ sizes: { type: 'histogram', bounds: [3, 15] } })
    const buckets = [
      { max: -1, count: 1 },
      { min: 0, max: 0, count: 2 },
      { min: 2, max: 3, count: 4 },
      { min: 8, max: 15, count: 8 },
      { min: 16, max: 31, count: 16 },
      { min: 64, count: 32 },
    ]
    print('sizes', { '': { buckets } })
    print('sizes', { '': { buckets: [{ min: 4, max: 7, count: 64 }] } })
    expect((await collect()).emitted).toEqual({ 'netvitals_user_sizes{}': { counts: [7, 72, 48], sum: Number.NaN } })
  })

  it('a bucket on both sides of a bound is left out, and it is said', async () => {
    const { print, collect } = createSource({ sizes: { type: 'histogram', bounds: [10] } })
    print('sizes', { '': { buckets: [{ min: 8, max: 15, count: 8 }] } })
    const { emitted, caveats } = await collect()
    expect(emitted).toEqual({})
    expect(caveats).toEqual(['netvitals_user_sizes: its bucket from 8 to 15 lies on both sides of the declared bound 10'])
  })

  it('that are statistics are summaries', async () => {
    const { print, collect } = createSource({ lengths: { type: 'summary' } })
    print('lengths', { '': { count: 2, total: 10, average: 5 } })
    print('lengths', { '': { count: 1, total: 7, average: 7 } })
    expect((await collect()).emitted).toEqual({ 'netvitals_user_lengths{}': { sum: 17, count: 3 } })
  })

  it('beyond the limit all are in one series, none is lost', async () => {
    const { print, collect } = createSource({ drops: { labels: ['port'], limit: 2 } })
    print('drops', { 1: 1, 2: 2, 3: 4, 4: 8 })
    print('drops', { 4: 16, 1: 32 })
    const { emitted, caveats } = await collect()
    expect(emitted).toEqual({
      'netvitals_user_drops_total{"port":"1"}': 33,
      'netvitals_user_drops_total{"port":"2"}': 2,
      'netvitals_user_drops_total{"port":"other"}': 28,
    })
    expect(caveats).toEqual(['netvitals_user_drops_total: 3 values of keys beyond the limit of 2 are in the series other'])
  })

  it.each<[string, Partial<UserMap>, Record<string, BpftraceValue>, string]>([
    ['another type', { type: 'counter' }, { '': { buckets: [] } }, 'it is declared as a counter, but the map holds a histogram'],
    ['fewer columns', { labels: ['a', 'b'] }, { 7: 1 }, 'its keys have 1 columns or less, and 2 labels are declared'],
    ['a key where no label is declared', {}, { 7: 1 }, 'its keys have 1 columns or less, and 0 labels are declared'],
    ['a count below 0', {}, { '': -1 }, 'a counter that goes back: -1'],
  ])('say what is wrong with the declaration: %s', async (_, map, entries, problem) => {
    const { print, collect } = createSource({ x: map })
    print('x', entries)
    const { emitted, caveats } = await collect()
    expect(emitted).toEqual({})
    expect(caveats[0]).toContain(problem)
  })
})

describe('the process', () => {
  it('that cannot run is a failure', async () => {
    const status = () => ({ state: 'waiting', lastEnd: 'bpftrace: not found in PATH', longLines: 0 })
    const { collect } = createSource({ x: {} }, { status, lastReadingAtMs: () => undefined })
    await expect(collect()).rejects.toThrow('bpftrace: not found in PATH')
  })

  it('goes on without a script that has a problem, which is absent', async () => {
    const { collect } = createSource({ x: {} }, { problem: () => 'a.bt: line 3: syntax error' })
    expect((await collect()).absent).toEqual({ netvitals_user_x_total: 'a.bt: line 3: syntax error' })
  })

  it('that ended, lost or found no place says so', async () => {
    const { collect } = createSource(
      { x: {} },
      {
        gaps: () => ({ count: 2, lastEnd: 'killed by SIGKILL' }),
        lost: () => ({ events: 3, recursion: 4 }),
        full: () => ['x'],
        status: () => ({ state: 'running', lastEnd: undefined, longLines: 5 }),
      },
    )
    const { caveats, lost } = await collect()
    expect(lost).toEqual({ tool: 3, recursion: 4, long_line: 5 })
    expect(caveats).toEqual([
      'bpftrace ended 2 times by itself (killed by SIGKILL): what was counted since its last reading, and until it ran again, is unknown',
      '@x was full in an interval: keys it had no place for are not counted, and nobody knows how many',
    ])
  })
})
