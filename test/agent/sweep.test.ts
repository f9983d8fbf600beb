import { pino } from 'pino'
import { describe, expect, it, vi } from 'vitest'
import { createHistory } from '../../agent/history.ts'
import { NotFound } from '../../agent/host/errors.ts'
import type { Identity, Row } from '../../agent/identity/identity.ts'
import { limits } from '../../agent/limits.ts'
import type { MetricName } from '../../agent/metrics/catalogue.ts'
import { renderExposition } from '../../agent/metrics/render.ts'
import { createSelf } from '../../agent/metrics/self.ts'
import { createSeriesStore } from '../../agent/series.ts'
import type { Sink, Source } from '../../agent/sources/source.ts'
import { createSweep } from '../../agent/sweep.ts'
import { ParseError } from '../../parsers/text.ts'

const born = { seenFromBirth: false, departedAtMs: undefined, replaced: false }
const host: Row = { id: 0, namespace: '', pod: '', isHost: true, isPod: false, ...born }
const ownIdentity: Identity = {
  refresh: async () => undefined,
  lookForUnknown: () => undefined,
  hostPods: () => [],
  providers: () => new Map(),
  nested: () => 0,
  addresses: () => [],
  resolve: (subject) => (subject.address === 'unknown' ? undefined : host),
  endOf: ({ address }) => (address === undefined ? undefined : { namespace: '', workload: address }),
  rows: () => [host],
  unlisted: () => 0,
}
const of = { address: 'host' }

const makeSource = (
  name: string,
  writes: MetricName[],
  collect: (sink: Sink<MetricName>, signal: AbortSignal) => Promise<void> | void,
): Source =>
  ({ name, writes, needs: [], collect: async (sink: Sink<MetricName>, signal: AbortSignal) => collect(sink, signal) }) as Source

function build(sources: Source[], identity: Identity = ownIdentity) {
  let nowMs = 0
  const lines: { level: number; source?: string; reason?: string; msg: string }[] = []
  const log = pino({ level: 'debug', base: null }, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const self = createSelf()
  const history = createHistory()
  const sweep = createSweep({ sources, identity, store: createSeriesStore(history), history, self, log, now: () => nowMs })
  const selfText = async (): Promise<string> => renderExposition(await self.families(), 'text')
  return { sweep, lines, selfText, wait: (ms: number) => void (nowMs += ms) }
}
const sockets = makeSource('proc-sockstat', ['netvitals_sockets_used'], (sink) =>
  sink.emit('netvitals_sockets_used', { of, labels: {}, value: 5 }),
)
const softnet = (collect: (sink: Sink<MetricName>, signal: AbortSignal) => Promise<void> | void) =>
  makeSource('proc-softnet', ['netvitals_softnet_drops_total'], collect)

describe('outcomes', () => {
  it('a source that fails shows nothing, is logged once, counted, and leaves the others intact', async () => {
    const broken = softnet((sink) => {
      sink.emit('netvitals_softnet_drops_total', { of: 'node', labels: {}, value: 1 })
      throw new ParseError('/proc/net/softnet_stat', 2, 1, 'a hexadecimal number', 'x\u001b[2J')
    })
    const { sweep, lines, selfText, wait } = build([broken, sockets])
    const snapshot = await sweep.take()
    expect(snapshot.families.map(({ name }) => name)).toEqual(['netvitals_sockets_used'])
    expect(snapshot.sources[0]).toMatchObject({ name: 'proc-softnet', outcome: 'failed' })
    expect(snapshot.sources[0]?.reason).toContain('/proc/net/softnet_stat: line 2')
    expect(snapshot.sources[0]?.reason).not.toContain('\u001b')
    wait(limits.sweepAgeMs)
    await sweep.take()
    expect(lines).toHaveLength(1)
    const text = await selfText()
    expect(text).toContain('netvitals_source_success{source="proc-softnet"} 0\n')
    expect(text).toContain('netvitals_source_success{source="proc-sockstat"} 1\n')
    expect(text).toContain('netvitals_parse_errors_total{source="proc-softnet"} 2\n')
    wait(limits.failureLogMs)
    await sweep.take()
    expect(lines).toHaveLength(2)
  })

  it('a file this kernel lacks makes its source absent, which is no failure', async () => {
    const { sweep, lines, selfText } = build([
      softnet(() => {
        throw new NotFound('/proc/net/softnet_stat')
      }),
    ])
    expect((await sweep.take()).sources[0]).toMatchObject({ outcome: 'absent' })
    const text = await selfText()
    expect(text).toContain('netvitals_source_success{source="proc-softnet"} 1\n')
    expect(text).toContain('netvitals_source_available{source="proc-softnet"} 0\n')
    expect(lines).toMatchObject([{ level: 30, msg: 'source absent' }])
  })

  it('one absent metric of several leaves its source available', async () => {
    const source = makeSource(
      'proc-softnet',
      ['netvitals_softnet_drops_total', 'netvitals_softnet_time_squeezes_total'],
      (sink) => {
        sink.emit('netvitals_softnet_drops_total', { of: 'node', labels: {}, value: 1 })
        sink.absent('netvitals_softnet_time_squeezes_total', 'no such column')
      },
    )
    const { sweep } = build([source])
    const [report] = (await sweep.take()).sources
    expect(report).toMatchObject({ outcome: 'ok' })
    expect([...(report?.absent ?? [])]).toEqual([['netvitals_softnet_time_squeezes_total', 'no such column']])
  })

  it('a source that emits what it does not declare fails', async () => {
    const { sweep } = build([softnet((sink) => sink.emit('netvitals_sockets_used', { of, labels: {}, value: 1 }))])
    expect((await sweep.take()).sources[0]).toMatchObject({ outcome: 'failed' })
  })

  it('a source past its deadline fails, what it emits later is ignored, and it is not begun twice', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout'] })
    const timeout = vi.spyOn(AbortSignal, 'timeout').mockImplementation((ms) => {
      const controller = new AbortController()
      setTimeout(() => controller.abort(new DOMException('late', 'TimeoutError')), ms)
      return controller.signal
    })
    try {
      let finish = (): void => undefined
      let begun = 0
      const slow = softnet(async (sink) => {
        begun++
        await new Promise<void>((resolve) => {
          finish = resolve
        })
        sink.emit('netvitals_softnet_drops_total', { of: 'node', labels: {}, value: 1 })
      })
      const { sweep, wait } = build([slow])
      const first = sweep.take()
      await vi.advanceTimersByTimeAsync(limits.sourceDeadlineMs)
      expect((await first).sources[0]).toMatchObject({ outcome: 'failed', reason: 'took longer than 8000 ms' })
      wait(limits.sweepAgeMs)
      expect((await sweep.take()).sources[0]).toMatchObject({ outcome: 'failed', reason: 'still busy with the sweep before' })
      expect(begun).toBe(1)
      finish()
      await vi.advanceTimersByTimeAsync(0)
      wait(limits.sweepAgeMs)
      const third = sweep.take()
      finish()
      await vi.advanceTimersByTimeAsync(0)
      finish()
      expect((await third).families.map(({ name }) => name)).toEqual(['netvitals_softnet_drops_total'])
    } finally {
      timeout.mockRestore()
      vi.useRealTimers()
    }
  })
})

describe('subjects', () => {
  it('leaves out and counts values of a subject nobody knows', async () => {
    const source = makeSource('trace-drops', ['netvitals_dropped_bytes_total'], (sink) => {
      for (const category of ['queue', 'mtu'] as const)
        sink.emit('netvitals_dropped_bytes_total', {
          of: { address: 'unknown' },
          labels: { category, direction: 'in' },
          value: 1,
        })
    })
    const { sweep, selfText } = build([source])
    expect((await sweep.take()).families).toEqual([])
    expect(await selfText()).toContain('netvitals_subjects_unresolved 1\n')
  })

  it('counts one that was skipped, with its reason in the report', async () => {
    const source = makeSource('proc-sockstat', ['netvitals_sockets_used'], (sink) => sink.skip(of, new Error('gone \u001b[31m')))
    const { sweep, selfText } = build([source])
    const [report] = (await sweep.take()).sources
    expect([...(report?.skipped ?? [])]).toEqual([['host', 'gone \ufffd[31m']])
    expect(await selfText()).toContain('netvitals_subjects_skipped{source="proc-sockstat"} 1\n')
  })
})

describe('edges', () => {
  const sent = 'netvitals_edge_sent_bytes_total'
  const connections = 'netvitals_edge_connections'
  const known = { client: { address: 'web' }, server: { address: 'db' }, reporter: 'client' } as const
  const unknown = { client: {}, server: { address: 'db' }, reporter: 'client' } as unknown as typeof known
  const labels = 'client_namespace="",client_workload="web",server_namespace="",server_workload="db",reporter="client"'

  it('keep the sum of what was added, also while their source fails; what lives is of the sweep', async () => {
    let isBroken = false
    const source = makeSource('trace-edges', [sent, connections], (sink) => {
      if (isBroken) throw new Error('no luck')
      expect(sink.add(sent, { of: known, labels: {}, value: 10 })).toBe(true)
      sink.emit(connections, { of: known, labels: {}, value: 3 })
    })
    const { sweep, wait } = build([source])
    const read = async (): Promise<unknown> => {
      wait(2000)
      const { families } = await sweep.take()
      return Object.fromEntries(families.map(({ name, series }) => [name, series.map((one) => [one.labels, one.value])]))
    }
    expect(await read()).toEqual({ [sent]: [[labels, 10]], [connections]: [[labels, 3]] })
    expect(await read()).toEqual({ [sent]: [[labels, 20]], [connections]: [[labels, 3]] })
    isBroken = true
    expect(await read()).toEqual({})
    isBroken = false
    expect(await read()).toEqual({ [sent]: [[labels, 30]], [connections]: [[labels, 3]] })
  })

  it('of an end that nobody knows are not taken, and counted as unresolved', async () => {
    const taken: boolean[] = []
    const source = makeSource('trace-edges', [sent], (sink) => {
      taken.push(sink.add(sent, { of: unknown, labels: {}, value: 10 }))
    })
    const { sweep, selfText } = build([source])
    expect((await sweep.take()).families).toEqual([])
    expect(taken).toEqual([false])
    expect(await selfText()).toContain('netvitals_subjects_unresolved 1')
  })

  it('a source may ask whose an address is, and whether an end has a name', async () => {
    const pod = { ...host, id: 1 }
    const rows: Readonly<Record<string, Row>> = { host, pod, alias: pod }
    const identity: Identity = {
      ...ownIdentity,
      resolve: ({ address = '' }) => rows[address],
      endOf: ({ address = '' }) => (address === 'nobody' ? undefined : { namespace: '', workload: address }),
    }
    const answers: boolean[] = []
    const source = makeSource('trace-edges', [sent], (sink) => {
      for (const address of ['pod', 'alias', 'host', 'elsewhere']) answers.push(sink.owns({ address: 'pod' }, address))
      answers.push(sink.owns({ address: 'nobody' }, 'nobody'))
      for (const address of ['pod', 'elsewhere', 'nobody']) answers.push(sink.names({ address }))
    })
    await build([source], identity).sweep.take()
    expect(answers).toEqual([true, true, false, false, false, true, true, false])
  })
})

describe('looking for subjects', () => {
  it('that fails leaves those known before measured', async () => {
    const refresh = (): never => {
      throw new Error('too many open files')
    }
    const { sweep, lines } = build([sockets], { ...ownIdentity, refresh })
    expect((await sweep.take()).families.map(({ name }) => name)).toEqual(['netvitals_sockets_used'])
    expect(lines).toMatchObject([{ level: 50, reason: 'too many open files' }])
  })
})

describe('sharing', () => {
  it('concurrent scrapes share a sweep; one younger than a second is taken again', async () => {
    let count = 0
    const { sweep, wait } = build([softnet(() => void count++)])
    const [a, b] = await Promise.all([sweep.take(), sweep.take()])
    expect(a).toBe(b)
    wait(limits.sweepAgeMs - 1)
    expect(await sweep.take()).toBe(a)
    wait(1)
    expect(await sweep.take()).not.toBe(a)
    expect(count).toBe(2)
  })

  it('says what was lost, as totals', async () => {
    const { sweep, selfText } = build([softnet((sink) => sink.lost('map_full', 7))])
    await sweep.take()
    expect(await selfText()).toContain('netvitals_lost_events_total{kind="map_full"} 7\n')
    expect(await selfText()).toContain('netvitals_lost_events_total{kind="recursion"} 0\n')
  })
})
