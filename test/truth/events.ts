import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import type { MapName } from '../../agent/host/traced-maps.ts'
import type { ProveReport } from '../../agent/prove/prove.ts'
import { parseProcNetSnmp } from '../../parsers/proc-net-snmp.ts'
import type { Wiring } from '../wiring.ts'
import { findExpectedAbsence } from './expected-absences.ts'
import { leftOut } from './left-out.ts'
import { type Namespace, slowness, type Topology } from './topology.ts'

/** How many make a storm. */
export const stormSize = (count: number): number => Math.ceil(count / Math.max(1, slowness * 2))

type Traced = `netvitals_${MapName}`
type Counts = Readonly<Record<string, number>>

/** The namespace's rows that are not zero, by the value of the metric's label; without a label by ''. */
export function readEvents(wiring: Wiring, { name }: Pick<Namespace, 'name'>, metric: Traced): Counts {
  const counts: Record<string, number> = {}
  for (const { labels, value } of wiring.series(metric, { pod: name })) {
    const [, label = ''] = /^namespace="[^"]*",pod="[^"]*"(?:,\w+="(.*)")?$/.exec(labels) ?? []
    const count = typeof value === 'number' ? value : 'count' in value ? value.count : value.counts.reduce((a, b) => a + b)
    if (count !== 0) counts[label] = count
  }
  return counts
}

/**
 * The metric's rows of the namespace are these, and stay so; it may take a while until they are. Where this kernel is known
 * not to tell: the metric is absent, with that reason, and has no row at all.
 */
export async function expectEvents(wiring: Wiring, namespace: Namespace, metric: Traced, expected: Counts): Promise<void> {
  const absence = findExpectedAbsence(metric.slice('netvitals_'.length) as MapName)
  if (absence !== undefined) {
    const { sources } = await wiring.sweep()
    expect(sources.map(({ absent }) => absent.get(metric)).filter((reason) => reason !== undefined)).toEqual([absence])
    expect(wiring.series(metric)).toEqual([])
    return
  }
  await expectCounts(wiring, () => readEvents(wiring, namespace, metric), expected)
}

/** In a new sweep, sooner or later, these are read, and stay so. */
export async function expectCounts(wiring: Wiring, read: () => Counts, expected: Counts): Promise<void> {
  let last: Counts = {}
  const sweep = async (): Promise<Counts> => {
    await wiring.sweep()
    last = read()
    return last
  }
  try {
    await expect.poll(sweep, { timeout: 6000 * slowness, interval: 50 }).toEqual(expected)
    await sleep(100)
    expect(await sweep()).toEqual(expected)
  } catch (error) {
    const why = isShortOf(last, expected) && wiring.host.tracer.lost().mapFull === 0 ? `; ${leftOut}` : ''
    throw new Error(`${(error as Error).message}; ${await describeSweep(wiring)}${why}`, { cause: error })
  }
}

/** Not one event too many, of no kind. */
function isShortOf(counts: Counts, expected: Counts): boolean {
  const entries = Object.entries(counts)
  return entries.every(([kind, count]) => count <= (expected[kind] ?? 0)) && sum(counts) < sum(expected)
}

export const sum = (counts: Counts): number => Object.values(counts).reduce((total, count) => total + count, 0)

/** What the namespace's rows add up to is what the kernel's own counter says. */
export function expectSum(wiring: Wiring, namespace: Pick<Namespace, 'name'>, metric: Traced, expected: number): void {
  const counts = readEvents(wiring, namespace, metric)
  const { mapFull, recursion } = wiring.host.tracer.lost()
  const why = sum(counts) < expected && mapFull === 0 ? `; ${leftOut}` : ''
  expect(sum(counts), `${metric}: ${JSON.stringify({ counts, mapFull, recursion })}${why}`).toBe(expected)
}

/** What may have kept events from being seen. */
async function describeSweep(wiring: Wiring): Promise<string> {
  const { durationMs, sources } = await wiring.sweep()
  const faults = sources.filter(({ outcome }) => outcome !== 'ok').map(({ name, reason }) => `${name}: ${reason}`)
  return `lost ${JSON.stringify(wiring.host.tracer.lost())}, a sweep takes ${Math.round(durationMs)} ms, not read: ${faults.join(', ') || 'nothing'}`
}

/** The namespace's own counters of the TCP/IP stack, straight from the kernel: 'Tcp.RetransSegs', 'TcpExt.TCPFastRetrans', … */
export function readStack(topology: Topology, namespace: Namespace): (counter: string) => number {
  const tables = ['snmp', 'netstat'].map((file) => parseProcNetSnmp(topology.exec(namespace, 'cat', `/proc/net/${file}`), file))
  return (counter) => tables.map((table) => table.get(counter)).find((value) => value !== undefined) ?? Number.NaN
}

/** `prove` has found nothing but what it caused. */
export function expectAllExact({ signals, lostEvents }: Pick<ProveReport, 'signals' | 'lostEvents'>): void {
  const wrong = signals.filter(({ outcome }) => outcome !== 'exact')
  const isShort = lostEvents === 0 && wrong.every(({ caused = 0, counted = caused }) => counted < caused)
  expect(wrong, isShort ? leftOut : undefined).toEqual([])
}

/** The same, as it prints it. */
export function expectProven(text: string): void {
  const pairs = [...text.matchAll(/caused (\d+), counted (\d+)/g)].map(([, ...counts]) => counts.map(Number))
  const isShort = text.includes('; 0 events lost;') && pairs.every(([caused = 0, counted = 0]) => counted <= caused)
  expect(text, isShort ? leftOut : undefined).toMatch(
    /^[1-9]\d* exact, 0 mismatch, 0 absent, 0 failed; 0 events lost; \d\.\d s$/m,
  )
}

/** No event was lost by the tracer since it started. */
export async function expectNothingLost(wiring: Wiring): Promise<void> {
  const families = await wiring.self.families()
  const series = families.find(({ name }) => name === 'netvitals_lost_events_total')?.series ?? []
  const lost = Object.fromEntries(series.map(({ labels, value }) => [labels, value]))
  const why = lost['kind="map_full"'] === 0 ? leftOut : undefined
  expect(lost, why).toMatchObject({ 'kind="map_full"': 0, 'kind="recursion"': 0 })
}
