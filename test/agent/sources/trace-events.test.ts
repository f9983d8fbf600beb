import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import type { Host } from '../../../agent/host/host.ts'
import { type TracedEvent, type TracedEventType, tracedEventTypes } from '../../../agent/host/traced-events.ts'
import { limits } from '../../../agent/limits.ts'
import type { EventReport } from '../../../agent/sources/source.ts'
import { createTraceEvents } from '../../../agent/sources/trace-events.ts'
import { collectFrom, valuesOf } from '../../source-contract.ts'
import { createFakeHost, netnsOf } from './fake-host.ts'
import { createFakeTracer } from './fake-tracer.ts'

const [pod, stranger] = [netnsOf('pod'), netnsOf()]
const [shownTotal, notShownTotal] = ['netvitals_events_shown_total', 'netvitals_events_not_shown_total'] as const
const notSpecified = 99

let host: Host
let waiting: TracedEvent[]
let notShown: Partial<Record<TracedEventType, number>>
let missing: Partial<Record<TracedEventType, string>>
let grants: number[]
let sought: bigint[][]
/** How the table of the kernel's functions answers. */
let findSymbols: (addresses: readonly bigint[]) => Promise<ReadonlyMap<bigint, string>>
let nowMs: number
let heard: EventReport[]
let toldNotShown: [type: string, count: number][]
let stopped: AbortController

beforeEach(() => {
  ;[waiting, grants, sought, heard, toldNotShown, notShown, missing, nowMs] = [[], [], [], [], [], {}, {}, 0]
  stopped = new AbortController()
  findSymbols = async (addresses) => new Map(addresses.map((address) => [address, `function_${address}`]))
  const { tracer } = createFakeTracer()
  Object.assign(tracer, {
    reasonName: (reason: number) => (reason === notSpecified ? 'not_specified' : 'netfilter_drop'),
    missingEvents: (type: TracedEventType) => missing[type],
    events: {
      take: () => waiting.splice(0),
      grant: (count: number) => grants.push(count),
      notShown: (type: TracedEventType) => notShown[type] ?? 0,
    },
  })
  ;({ host } = createFakeHost([pod], tracer))
  Object.assign(host, {
    symbols: {
      missing: undefined,
      find: (addresses: readonly bigint[]) => {
        sought.push([...addresses])
        return findSymbols(addresses)
      },
    },
  })
  Object.assign(host.namespaces, { find: (inode: number) => (inode === 2 ? pod : undefined), stranger: () => stranger })
})
afterEach(() => void vi.useRealTimers())

const eventOf = (change: Partial<TracedEvent> = {}): TracedEvent => ({
  type: 'drop',
  monotonicMs: 1000,
  inode: 2,
  cookie32: 2,
  reason: 1,
  location: 0n,
  bytes: 60,
  packets: 1,
  family: 'ipv4',
  protocol: 'tcp',
  direction: 'in',
  state: 0,
  flags: [],
  source: { address: '10.0.0.1', port: 40000 },
  destination: { address: '10.0.0.2', port: 80 },
  ...change,
})

async function startSource() {
  const source = createTraceEvents(host, () => nowMs)
  await source.start?.(stopped.signal, {
    event: (report) => heard.push(report),
    notShown: (type, count) => toldNotShown.push([type, count]),
  })
  return { source, collect: () => collectFrom(source) }
}

it('each type says what it is about', async () => {
  waiting = [
    eventOf({ flags: ['SYN'], packets: 3, state: 1 }),
    eventOf({ direction: 'out' }),
    eventOf({ direction: 'forward' }),
    eventOf({ type: 'reset_sent', reason: 1, state: 7 }),
    eventOf({ type: 'reset_received', state: 2 }),
    eventOf({ type: 'retransmit', reason: 3, state: 12, packets: 2 }),
    eventOf({ type: 'connect', reason: 1 }),
    eventOf({ type: 'connect', reason: 77, inode: 9 }),
  ]
  await startSource()
  const ends = (source: boolean, destination: boolean) => ({
    source: { address: '10.0.0.1', port: 40000, isSubject: source },
    destination: { address: '10.0.0.2', port: 80, isSubject: destination },
  })
  const what = { of: { netns: pod }, timeMs: expect.any(Number), family: 'ipv4', protocol: 'tcp' }
  const drop = { ...what, type: 'drop', reason: 'netfilter_drop', category: 'netfilter', bytes: 60 }
  expect(heard).toEqual([
    { ...drop, ...ends(false, true), direction: 'in', flags: ['SYN'], packets: 3 },
    { ...drop, ...ends(true, false), direction: 'out' },
    { ...drop, ...ends(false, false), direction: 'forward' },
    { ...what, ...ends(true, false), type: 'reset_sent', reason: 'no_socket', state: 'close' },
    { ...what, ...ends(false, true), type: 'reset_received', state: 'syn_sent' },
    { ...what, ...ends(true, false), type: 'retransmit', kind: 'syn', state: 'syn_recv', packets: 2 },
    { ...what, ...ends(true, false), type: 'connect', outcome: 'refused' },
    { ...what, ...ends(true, false), type: 'connect', outcome: 'other', of: { netns: stranger } },
  ])
})

it('has the time of the wall clock, and keeps the distance of two events', async () => {
  const monotonicMs = Number(process.hrtime.bigint()) / 1e6
  waiting = [eventOf({ monotonicMs }), eventOf({ monotonicMs: monotonicMs + 0.25 })]
  const before = Date.now()
  await startSource()
  const [first = 0, second = 0] = heard.map(({ timeMs }) => timeMs)
  expect(first).toBeGreaterThan(before - 10)
  expect(first).toBeLessThan(Date.now() + 10)
  expect(second - first).toBeCloseTo(0.25, 3)
})

it('what is shown and what is not are together all there were', async () => {
  const { collect } = await startSource()
  waiting = [eventOf({ packets: 5 }), eventOf(), eventOf({ type: 'retransmit' })]
  notShown = { drop: 40, connect: 2 }
  const collected = await collect()
  expect(valuesOf(collected, shownTotal)).toEqual({
    'kind=drop': 6,
    'kind=reset_sent': 0,
    'kind=reset_received': 0,
    'kind=retransmit': 1,
    'kind=connect': 0,
  })
  expect(valuesOf(collected, notShownTotal)).toMatchObject({ 'kind=drop': 40, 'kind=connect': 2, 'kind=retransmit': 0 })
  const share = (limits.eventsPerSecond * limits.eventsIntervalMs) / 1000
  expect(grants).toEqual([share, limits.eventsPerSecond, share]) // all of it once, then little by little
})

it('what is not shown is told to readers once a second, as what came since', async () => {
  const { collect } = await startSource()
  notShown = { drop: 40 }
  await collect()
  expect(toldNotShown).toEqual([])
  nowMs = 1000
  await collect()
  notShown = { drop: 45, connect: 1 }
  await collect()
  nowMs = 2000
  await collect()
  expect(toldNotShown).toEqual([
    ['drop', 40],
    ['drop', 5],
    ['connect', 1],
  ])
})

it('of a drop without a reason the function is looked for, and of no other', async () => {
  const { collect } = await startSource()
  waiting = [
    eventOf({ reason: notSpecified, location: 7n }),
    eventOf({ location: 8n }),
    eventOf({ type: 'connect', reason: notSpecified, location: 9n }),
  ]
  await collect()
  expect(heard.map((event) => event.function)).toEqual(['function_7', undefined, undefined])
  expect(sought).toEqual([[7n]])
  await collect()
  expect(sought).toHaveLength(1)
})

it('one is drained at a time, and events stay in their order while functions are looked for', async () => {
  const { collect } = await startSource()
  let resolve = (_: ReadonlyMap<bigint, string>): void => undefined
  findSymbols = () =>
    new Promise((done) => {
      resolve = done
    })
  waiting = [eventOf({ reason: notSpecified, monotonicMs: 1 })]
  const first = collect()
  waiting = [eventOf({ monotonicMs: 2 })]
  const second = collect()
  expect(heard).toEqual([])
  resolve(new Map())
  await Promise.all([first, second])
  await collect()
  const [one = 0, two = 0] = heard.map(({ timeMs }) => timeMs)
  expect([heard.length, two > one]).toEqual([2, true])
  expect(grants).toHaveLength(4)
})

it('takes them all the time, until the agent stops', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  const { source } = await startSource()
  waiting = [eventOf()]
  await vi.advanceTimersByTimeAsync(limits.eventsIntervalMs)
  expect(heard).toHaveLength(1)
  stopped.abort()
  waiting = [eventOf()]
  await vi.advanceTimersByTimeAsync(10 * limits.eventsIntervalMs)
  expect([heard.length, vi.getTimerCount()]).toEqual([1, 0])
  await source.stop?.()
})

it('has failed when the kernel’s events cannot be read, and goes on when they can', async () => {
  const { source } = await startSource()
  const { events } = host.tracer
  const take = vi.spyOn(events!, 'take').mockImplementation(() => {
    throw new Error('EBADF')
  })
  expect((await collectFrom(source)).error).toEqual(new Error('EBADF'))
  take.mockRestore()
  waiting = [eventOf()]
  expect(valuesOf(await collectFrom(source), shownTotal)['kind=drop']).toBe(1)
})

it('a type that this kernel does not give is left out, and why', async () => {
  missing = { reset_sent: 'this kernel does not say why it resets' }
  Object.assign(host.symbols, { missing: 'needs CAP_SYSLOG' })
  const { collect } = await startSource()
  const { emitted, absent, caveats } = await collect()
  expect([...new Set(emitted.map(({ labels }) => labels.kind))]).toEqual(tracedEventTypes.filter((type) => type !== 'reset_sent'))
  expect(absent.size).toBe(0)
  expect(caveats).toEqual([
    'no single events of type reset_sent: this kernel does not say why it resets',
    'drops without a reason are shown without the function: needs CAP_SYSLOG',
  ])
})

it('is absent without events, with each reason once', async () => {
  for (const type of tracedEventTypes) missing[type] = type === 'drop' ? 'Linux 5.17' : 'no ring buffer'
  Object.assign(host.tracer, { events: undefined })
  const { collect } = await startSource()
  const { emitted, absent } = await collect()
  expect(emitted).toEqual([])
  expect([...absent]).toEqual([
    [shownTotal, 'Linux 5.17; no ring buffer'],
    [notShownTotal, 'Linux 5.17; no ring buffer'],
  ])
})
