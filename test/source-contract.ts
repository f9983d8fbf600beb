import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { NotFound } from '../agent/host/errors.ts'
import { createHost, type Host } from '../agent/host/host.ts'
import type { NetworkNamespace } from '../agent/host/namespaces.ts'
import { catalogue, definitionOf, type MetricName } from '../agent/metrics/catalogue.ts'
import { type LabelName, type LossKind, labels as labelDefinitions, lossKinds } from '../agent/metrics/labels.ts'
import type { SeriesValue } from '../agent/metrics/snapshot.ts'
import { createSources } from '../agent/sources/index.ts'
import type { Sink, Source, Subject } from '../agent/sources/source.ts'
import { createTopology, requireRoot, type Topology } from './truth/topology.ts'

const fixtures = path.resolve(import.meta.dirname, 'fixtures/hosts')
const folder = path.resolve(import.meta.dirname, '../agent/sources')
/** Collected so often, a descriptor forgotten each time shows. */
const rounds = 20
/** Namespaces that take longer to read than a turn of the event loop. */
const crowd = 2000

export interface Emitted {
  readonly metric: MetricName
  readonly of: 'node' | Subject
  readonly labels: Readonly<Record<string, string>>
  readonly value: SeriesValue
}

/** Everything a source said in one collect. */
export interface Collected {
  readonly emitted: Emitted[]
  readonly absent: Map<MetricName, string>
  readonly skipped: [of: Subject, reason: string | Error][]
  readonly unresolved: Subject[]
  readonly unreadable: [lines: number, last: string][]
  readonly lost: Map<LossKind, number>
  readonly caveats: string[]
  /** What it threw. */
  error: unknown
}

export async function collectFrom(source: Source, signal = new AbortController().signal): Promise<Collected> {
  const collected: Collected = {
    emitted: [],
    absent: new Map(),
    skipped: [],
    unresolved: [],
    unreadable: [],
    lost: new Map(),
    caveats: [],
    error: undefined,
  }
  const sink = {
    emit: (metric: MetricName, sample: Omit<Emitted, 'metric'>) => void collected.emitted.push({ metric, ...sample }),
    add: (metric: MetricName, sample: Omit<Emitted, 'metric'>) => collected.emitted.push({ metric, ...sample }) > 0,
    absent: (metric: MetricName, reason: string) => void collected.absent.set(metric, reason),
    skip: (of: Subject, reason: string | Error) => void collected.skipped.push([of, reason]),
    knows: (of: Subject) => of.netns !== undefined,
    owns: () => true,
    names: () => true,
    unresolved: (of: Subject) => void collected.unresolved.push(of),
    unreadable: (lines: number, last: Error) => void collected.unreadable.push([lines, last.message]),
    caveat: (text: string) => void collected.caveats.push(text),
    lost: (kind: LossKind, total: number) => void collected.lost.set(kind, total),
  }
  try {
    await source.collect(sink as Sink<MetricName>, signal)
  } catch (error) {
    collected.error = error
    if (error instanceof NotFound) for (const metric of source.writes) collected.absent.set(metric, error.message)
  }
  return collected
}

/** The values of a metric, by its labels as they would be read: `port=8081`, or nothing for a metric without. */
export function valuesOf({ emitted }: Collected, metric: MetricName): Record<string, SeriesValue> {
  const mine = emitted.filter((one) => one.metric === metric)
  const textOf = (one: Emitted): string =>
    Object.entries(one.labels)
      .map((pair) => pair.join('='))
      .join(',')
  return Object.fromEntries(mine.map((one) => [textOf(one), one.value]))
}

const numbersOf = (value: SeriesValue): readonly number[] => {
  if (typeof value === 'number') return [value]
  return 'counts' in value ? [...value.counts, value.sum] : [value.count, value.sum]
}

/** Free text that names a thing: there may be no such thing now. */
const isOpen = (metric: MetricName): boolean =>
  definitionOf(metric).labels.some(
    (label) => !('values' in labelDefinitions[label]) && definitionOf(metric).only?.[label] === undefined,
  )

function expectDeclared(source: Source, { emitted, lost }: Collected): void {
  for (const one of emitted) {
    const { metric, of, labels, value } = one
    const what = `${metric} ${JSON.stringify(labels)}`
    expect(source.writes, what).toContain(metric)
    const definition = definitionOf(metric)
    expect(of === 'node' ? 'node' : 'reporter' in (of as object) ? 'edge' : 'pod', what).toBe(definition.scope)
    expect(Object.keys(labels).sort(), what).toEqual([...definition.labels].sort())
    for (const [label, text] of Object.entries(labels)) {
      const closed = definition.only?.[label as LabelName] ?? allowedOf(label as LabelName)
      if (closed !== undefined) expect(closed, what).toContain(text)
      else expect(text, what).not.toBe('')
    }
    for (const number of numbersOf(value)) {
      expect(Number.isFinite(number), `${what} ${number}`).toBe(true)
      expect(number, what).toBeGreaterThanOrEqual(0)
      if (definition.type === 'counter') expect(Number.isInteger(number), `${what} ${number}`).toBe(true)
    }
  }
  for (const [kind, total] of lost) {
    expect(lossKinds).toContain(kind)
    expect(total).toBeGreaterThanOrEqual(0)
  }
}

function allowedOf(label: LabelName): readonly string[] | undefined {
  const definition = labelDefinitions[label]
  return 'values' in definition ? definition.values : undefined
}

const isEdge = (metric: MetricName): boolean => definitionOf(metric).scope === 'edge'

/** Of the host's row or the node: each metric has a value or the reason why not, and not both. There may be no edge. */
function expectNothingUnsaid(
  source: Source,
  { emitted, absent }: Collected,
  host: Host,
  mayLack = (_: MetricName) => false,
): void {
  const given = new Set(
    emitted.filter(({ of }) => of === 'node' || of.netns === host.namespaces.host).map(({ metric }) => metric),
  )
  expect(
    source.writes.filter((metric) => !given.has(metric) && !absent.has(metric) && !isEdge(metric) && !mayLack(metric)),
  ).toEqual([])
  expect(source.writes.filter((metric) => given.has(metric) && absent.has(metric))).toEqual([])
  for (const [metric, reason] of absent) expect(reason, metric).not.toBe('')
}

/** Counters by series, several values of one added. A namespace is known by its object. */
function countersOf({ emitted }: Collected, ids: Map<unknown, number>): Map<string, number> {
  const totals = new Map<string, number>()
  for (const { metric, of, labels, value } of emitted) {
    if (catalogue[metric].type !== 'counter' || isEdge(metric)) continue // of an edge it is what was added
    const subject = of === 'node' ? of : (of.netns ?? of.address ?? of.hostDevice)
    if (!ids.has(subject)) ids.set(subject, ids.size)
    const key = `${metric} ${ids.get(subject)} ${JSON.stringify(labels)}`
    totals.set(key, (totals.get(key) ?? 0) + Number(value))
  }
  return totals
}

const openDescriptors = (): string[] => fs.readdirSync('/proc/self/fd')
const ownNamespace = (): string => fs.readlinkSync('/proc/thread-self/ns/net')

function sourceOf(name: string, host: Host): Source {
  const source = createSources(host).find((one) => one.name === name)
  if (source === undefined) throw new Error(`there is no source ${name}`)
  return source
}

/** As it is built: a process of its own. */
const captureProgram = path.resolve(import.meta.dirname, '../dist/agent/host/capture-process.js')

async function makeHost(name: string, root: string): Promise<{ host: Host; source: Source }> {
  const host = await createHost({
    root,
    tracer: name.startsWith('trace-'),
    ...(name.startsWith('pcap-') && { capture: { device: 'any', dnsPorts: [53], httpPorts: [80] }, captureProgram }),
    log: pino({ level: 'silent' }),
  })
  await host.start()
  const source = sourceOf(name, host)
  await source.start?.(new AbortController().signal, { event() {}, notShown() {} })
  host.refresh()
  return { host, source }
}

/** What every source promises, whatever it reads. */
export function describeContract(name: string): void {
  it('bears the name of its file and says what it needs', async () => {
    const { host, source } = await makeHost(name, fixtures)
    expect(fs.existsSync(path.join(folder, `${name}.ts`))).toBe(true)
    expect(source.needs).not.toEqual([])
    expect(source.writes).not.toEqual([])
    for (const metric of source.writes) expect(catalogue[metric].source).toBe(name)
    await host.stop()
  })

  describe.each(fs.readdirSync(fixtures).sort())('on %s', (tree) => {
    it('emits what it declares, and leaves nothing unsaid', async () => {
      const { host, source } = await makeHost(name, path.join(fixtures, tree))
      const collected = await collectFrom(source)
      expect(collected.error).toBeUndefined()
      expect(collected.skipped).toEqual([])
      expectDeclared(source, collected)
      expectNothingUnsaid(source, collected, host)
      expect(collected.emitted.length + collected.absent.size).toBeGreaterThan(0)
      await host.stop()
    })

    it('gives the same values again', async () => {
      const { host, source } = await makeHost(name, path.join(fixtures, tree))
      const [first, second] = [await collectFrom(source), await collectFrom(source)]
      expect(second.emitted).toEqual(first.emitted)
      expect(second.absent).toEqual(first.absent)
      await host.stop()
    })
  })

  it('is absent where there is nothing at all, and has not failed', async () => {
    const root = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-contract-'))
    try {
      const { host, source } = await makeHost(name, root)
      const collected = await collectFrom(source)
      if (collected.error !== undefined) expect(collected.error).toBeInstanceOf(NotFound)
      expect(collected.emitted).toEqual([])
      expectNothingUnsaid(source, collected, host)
      expect(collected.absent.size).toBe(source.writes.length)
      await host.stop()
    } finally {
      fs.rmSync(root, { recursive: true })
    }
  })

  requireRoot('on this machine', () => {
    let topology: Topology
    let host: Host
    let source: Source
    beforeAll(async () => {
      topology = await createTopology('nvf-contract')
      await topology.run(topology.a, 'udp-send', { address: topology.b.ipv4, port: 9000, count: 3 })
      ;({ host, source } = await makeHost(name, '/'))
    })
    afterAll(async () => {
      await source?.stop?.()
      await host?.stop()
      await topology?.dispose()
    })

    it('emits what it declares, and leaves nothing unsaid', async () => {
      const collected = await collectFrom(source)
      expect(collected.error).toBeUndefined()
      expectDeclared(source, collected)
      // No listener, no queue, no drop is no fault; a metric without such names has a value or a reason.
      expectNothingUnsaid(source, collected, host, (metric) => /^(trace-|pcap-http$)/.test(name) || isOpen(metric))
    })

    it('never goes back', async () => {
      const ids = new Map<unknown, number>()
      const before = countersOf(await collectFrom(source), ids)
      await topology.run(topology.a, 'udp-send', { address: topology.b.ipv4, port: 9000, count: 3 })
      const after = countersOf(await collectFrom(source), ids)
      expect([...before].filter(([series, value]) => (after.get(series) ?? -1) < value)).toEqual([])
    })

    it('leaves nothing open and stays in its namespace', async () => {
      await collectFrom(source)
      const [before, own] = [openDescriptors(), ownNamespace()]
      let isOver = false
      let seenElsewhere = 0
      const watch = (async () => {
        while (!isOver) {
          if (ownNamespace() !== own) seenElsewhere++
          await setImmediate()
        }
      })()
      for (let round = 0; round < rounds; round++) await collectFrom(source)
      isOver = true
      await watch
      expect(seenElsewhere).toBe(0)
      expect(ownNamespace()).toBe(own)
      expect(openDescriptors()).toHaveLength(before.length)
    })

    it('ends soon once it is told to stop, however many namespaces there are', async () => {
      const reason = new Error('told to stop')
      const stopped = new AbortController()
      stopped.abort(reason)
      const [netns] = host.namespaces.list()
      let wasListed = false
      const list = (): NetworkNamespace[] => {
        wasListed = true
        return Array(crowd).fill(netns)
      }
      const crowded = { ...host, namespaces: { ...host.namespaces, list } }
      const before = openDescriptors()
      const { skipped, error } = await collectFrom(sourceOf(name, crowded), stopped.signal)
      expect(wasListed ? [reason] : [reason, undefined]).toContain(error)
      expect(skipped).toEqual([])
      expect(openDescriptors()).toHaveLength(before.length)
    })
  })
}
