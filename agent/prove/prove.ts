import { setTimeout as sleep } from 'node:timers/promises'
import { parseProcNetSnmp } from '../../parsers/proc-net-snmp.ts'
import type { Node } from '../check.ts'
import { Unreadable } from '../host/errors.ts'
import type { Host } from '../host/host.ts'
import type { NetworkNamespace } from '../host/namespaces.ts'
import { loadSockets, SOCK_DGRAM, SocketError, type Sockets } from '../host/sockets.ts'
import { addToHost, createThrowAwayNamespace, type ThrowAwayNamespace } from '../host/throw-away-namespace.ts'
import { mapNames } from '../host/traced-maps.ts'
import { limits } from '../limits.ts'
import { definitionOf, type MetricName } from '../metrics/catalogue.ts'
import type { Sink, Source } from '../sources/source.ts'
import { type Fault, faults, type Signal, unproven } from './faults.ts'
import { createStage, type End } from './stage.ts'

/** `absent`: this kernel cannot give it. `failed`: it could not be caused, or not be counted at all. */
export type ProofOutcome = 'exact' | 'mismatch' | 'absent' | 'failed'

export interface ProvenSignal {
  readonly fault: string
  readonly signal: string
  readonly metric: MetricName
  readonly labels: Readonly<Record<string, string>>
  /** Where in the kernel the number comes from. */
  readonly mechanism: string
  readonly outcome: ProofOutcome
  readonly reason?: string
  readonly caused?: number
  /** Who says how many were caused: what this program did, or a counter of the kernel's own. */
  readonly causedAccordingTo: { readonly by: 'program' | 'kernel'; readonly what: string }
  readonly counted?: number
}

/** Whether this node counts right what is known to have happened. Printed by `netvitals prove`. */
export interface ProveReport {
  readonly schemaVersion: 1
  readonly version: string
  readonly node: Node
  readonly outcome: Exclude<ProofOutcome, 'absent'>
  /** Without which nothing could be proven, and what would help. */
  readonly missing: readonly string[]
  readonly durationSeconds: number
  readonly families: readonly ('ipv4' | 'ipv6')[]
  readonly signals: readonly ProvenSignal[]
  /** Events of the whole machine that the tracer could not keep meanwhile. */
  readonly lostEvents: number
  readonly unproven: typeof unproven
}

export interface ProveParts {
  readonly version: string
  readonly node: Node
  /** Not yet started; the caller stops it. */
  readonly host: Host
  readonly createSources: (host: Host) => readonly Source[]
  readonly onProgress?: (done: number, of: number) => void
}

/** What the sources emitted for a namespace. */
interface Emitted {
  readonly metric: MetricName
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}
interface Collected {
  readonly of: ReadonlyMap<NetworkNamespace, readonly Emitted[]>
  /** Metrics that did not come, and why. */
  readonly without: ReadonlyMap<MetricName, { readonly outcome: 'absent' | 'failed'; readonly reason: string }>
  readonly lostEvents: number
}

/** A fault in its namespace. */
interface Scene {
  readonly fault: Fault
  readonly namespace: ThrowAwayNamespace
  readonly netns: NetworkNamespace
  readonly kernel: (field: string) => number
  done: Readonly<Record<string, number>>
  failure?: string
}

const causedOfEach = 100
const settleMs = 2000
const settleStepMs = 100
/** Numbers of include/uapi/linux/capability.h. The first two are asked for by network namespaces, the others by the tracer; the second can do the work of the last two. */
const capabilities = { CAP_NET_ADMIN: 12, CAP_SYS_ADMIN: 21, CAP_BPF: 39, CAP_PERFMON: 38 } as const

/** Causes every fault, each in a network namespace that is gone afterwards, and compares with what the sources emit. */
export async function prove(parts: ProveParts): Promise<ProveReport> {
  const startedAtMs = performance.now()
  const namespaces: ThrowAwayNamespace[] = []
  const { version, node, host } = parts
  const finish = (found: Partial<ProveReport>): ProveReport => ({
    schemaVersion: 1,
    version,
    node,
    outcome: 'failed',
    missing: [],
    families: [],
    signals: [],
    lostEvents: 0,
    unproven,
    ...found,
    durationSeconds: (performance.now() - startedAtMs) / 1000,
  })
  try {
    const withoutRights = findMissingRights(host)
    if (withoutRights !== undefined) return finish({ missing: [withoutRights] })
    const { sockets, missing } = await loadSockets()
    if (sockets === undefined) return finish({ missing: [missing] })
    for (const _ of faults) namespaces.push(await createThrowAwayNamespace())
    await host.start()
    const untraced = mapNames.map((map) => host.tracer.missing(map))
    if (untraced.every((reason) => reason !== undefined)) return finish({ missing: [...new Set(untraced)] })
    return finish(await proveWith(parts, sockets, namespaces))
  } catch (error) {
    if (error instanceof Unreadable) return finish({ missing: [error.message] })
    throw error
  } finally {
    for (const namespace of namespaces) namespace.close()
  }
}

function findMissingRights({ files }: Host): string | undefined {
  const held = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(files.read('/proc/self/status'))?.[1] ?? '0'}`)
  const lacking = Object.entries(capabilities).filter(([, number]) => (held & (1n << BigInt(number))) === 0n)
  const names = lacking.map(([name]) => name)
  if (!names.includes('CAP_NET_ADMIN') && !names.includes('CAP_SYS_ADMIN')) return undefined
  return `needs ${Object.keys(capabilities).join(', ')}; this process is without ${names.join(', ')}: run it as root, or in a pod of the chart with tier full`
}

async function proveWith(
  { host: real, createSources, onProgress = () => undefined }: ProveParts,
  sockets: Sockets,
  namespaces: readonly ThrowAwayNamespace[],
): Promise<Pick<ProveReport, 'outcome' | 'families' | 'signals' | 'lostEvents'>> {
  const { host, netnsOf } = await addToHost(real, namespaces)
  const ends = findEnds(sockets, namespaces[0]!)
  const scenes = faults.map((fault, i): Scene => {
    const netns = netnsOf.get(namespaces[i]!)!
    return { fault, namespace: namespaces[i]!, netns, kernel: (field) => readKernel(host, netns, field), done: {} }
  })
  const wanted = new Set(faults.flatMap(({ signals }) => signals.map(({ metric }) => metric)))
  const sources = createSources(host).filter(({ writes }) => writes.some((metric) => wanted.has(metric)))
  const stages = scenes.map(({ namespace, kernel }) => createStage({ sockets, namespace, ends, kernel }))
  const ended = new AbortController()
  try {
    for (const source of sources) await source.start?.(ended.signal, { event() {}, notShown() {} })
    let done = 0
    onProgress(done, faults.length)
    await Promise.all(
      scenes.map(async (scene, i) => {
        try {
          scene.done = await scene.fault.cause(stages[i]!)
        } catch (error) {
          scene.failure = `could not be caused: ${(error as Error).message}`
        }
        onProgress(++done, faults.length)
      }),
    )
    const { signals, lostEvents } = await settle(scenes, sources)
    return { outcome: worst(signals), families: ends.map(({ family }) => family), signals, lostEvents }
  } finally {
    ended.abort(new Error('all is counted'))
    for (const source of sources) await source.stop?.()
    for (const stage of stages) stage.closeAll()
  }
}

/** IPv4, and IPv6 where the machine has it; the faults are shared among them. */
function findEnds(sockets: Sockets, { inside }: ThrowAwayNamespace): readonly (End & { family: 'ipv4' | 'ipv6' })[] {
  const ipv4 = { family: 'ipv4', address: '127.0.0.1', headerBytes: 20 } as const
  const ipv6 = { family: 'ipv6', address: '::1', headerBytes: 40 } as const
  const there = hasAddress(sockets, inside, ipv6.address) ? [ipv4, ipv6] : [ipv4]
  return there.map((end) => ({ ...end, share: causedOfEach / there.length }))
}

function hasAddress(sockets: Sockets, inside: ThrowAwayNamespace['inside'], address: string): boolean {
  try {
    const fd = inside(() => sockets.open(address, SOCK_DGRAM))
    try {
      sockets.bind(fd, address, 0)
      return true
    } finally {
      sockets.close(fd)
    }
  } catch (error) {
    if (error instanceof SocketError) return false
    throw error
  }
}

function readKernel({ files }: Host, netns: NetworkNamespace, field: string): number {
  for (const file of ['snmp', 'netstat']) {
    const value = parseProcNetSnmp(files.readNet(netns, file), `/proc/net/${file}`).get(field)
    if (value !== undefined) return value
  }
  return 0
}

/** Counts until nothing changes any more, and on a busy machine, whose softirqs are late, some time longer. */
async function settle(
  scenes: readonly Scene[],
  sources: readonly Source[],
): Promise<{ signals: readonly ProvenSignal[]; lostEvents: number }> {
  const giveUpAtMs = performance.now() + settleMs
  for (let last = ''; ; await sleep(settleStepMs)) {
    const collected = await collect(scenes, sources)
    const signals = scenes.flatMap((scene) => scene.fault.signals.map((signal) => compare(scene, signal, collected)))
    const text = JSON.stringify(signals)
    const isSettled = text === last && !signals.some(({ outcome }) => outcome === 'mismatch')
    if (isSettled || performance.now() > giveUpAtMs) return { signals, lostEvents: collected.lostEvents }
    last = text
  }
}

/** As a sweep does it, but for namespaces that are nobody's. */
async function collect(scenes: readonly Scene[], sources: readonly Source[]): Promise<Collected> {
  const of = new Map<unknown, Emitted[]>(scenes.map(({ netns }) => [netns, []]))
  const without = new Map<MetricName, { outcome: 'absent' | 'failed'; reason: string }>()
  let lostEvents = 0
  for (const source of sources) {
    const fail = (reason: string): void => {
      for (const metric of source.writes) without.set(metric, { outcome: 'failed', reason })
    }
    const emit = (metric: MetricName, { of: subject, labels, value }: { of: unknown; labels: object; value: unknown }): void => {
      const netns = typeof subject === 'object' && subject !== null && 'netns' in subject ? subject.netns : undefined
      of.get(netns)?.push({ metric, labels: labels as Record<string, string>, value: countOf(value as Value) })
    }
    const sink: Sink<MetricName> = {
      emit: emit as Sink<MetricName>['emit'],
      add: () => true,
      absent: (metric, reason) => void without.set(metric, { outcome: 'absent', reason }),
      skip: ({ netns }, reason) => {
        if (of.has(netns)) fail(reason instanceof Error ? reason.message : reason)
      },
      knows: () => true,
      owns: () => true,
      names: () => true,
      unresolved: () => undefined,
      unreadable: () => undefined,
      caveat: () => undefined,
      lost: (_, total) => {
        lostEvents += total
      },
    }
    try {
      await source.collect(sink, AbortSignal.timeout(limits.sourceDeadlineMs))
    } catch (error) {
      fail((error as Error).message)
    }
  }
  return { of: of as Map<NetworkNamespace, Emitted[]>, without, lostEvents }
}

type Value = number | { readonly counts: readonly number[] } | { readonly count: number }

function countOf(value: Value): number {
  if (typeof value === 'number') return value
  return 'count' in value ? value.count : value.counts.reduce((total, count) => total + count, 0)
}

function compare({ fault, netns, kernel, done, failure }: Scene, signal: Signal, { of, without }: Collected): ProvenSignal {
  const { metric, text, caused: told } = signal
  const labels = signal.labels as Readonly<Record<string, string>>
  const about = {
    fault: fault.title,
    signal: text,
    metric,
    labels,
    mechanism: definitionOf(metric).origin,
    causedAccordingTo:
      typeof told === 'string' ? ({ by: 'program', what: told } as const) : ({ by: 'kernel', what: nameOf(told) } as const),
  }
  if (failure !== undefined) return { ...about, outcome: 'failed', reason: failure }
  const caused =
    typeof told === 'string' ? (done[told] ?? 0) : kernel(told.kernel) - (told.less === undefined ? 0 : kernel(told.less))
  const missed = without.get(metric)
  if (missed !== undefined) return { ...about, ...missed, caused }
  const emitted = (of.get(netns) ?? []).filter((one) => one.metric === metric)
  const bears = (one: Emitted, wanted: object): boolean =>
    Object.entries(wanted).every(([label, value]) => one.labels[label] === value)
  const counted = emitted.filter((one) => bears(one, labels)).reduce((total, { value }) => total + value, 0)
  const numbers = { ...about, caused, counted }
  const isExpected = (one: Emitted): boolean => fault.signals.some((each) => each.metric === metric && bears(one, each.labels))
  const others = emitted.filter((one) => one.value > 0 && !isExpected(one))
  const also = others.map((one) => `, ${one.value} as ${JSON.stringify(one.labels)}`).join('')
  if (caused !== counted) return { ...numbers, outcome: 'mismatch', reason: `${counted} counted instead of ${caused}${also}` }
  if (isClosed(metric) && also !== '') return { ...numbers, outcome: 'mismatch', reason: `${counted} counted${also}` }
  if (caused > 0) return { ...numbers, outcome: 'exact' }
  if (typeof told === 'string') return { ...numbers, outcome: 'failed', reason: 'nothing could be caused' }
  return { ...numbers, outcome: 'absent', reason: `this kernel did without: ${nameOf(told)} is 0` }
}

function nameOf({ kernel, less }: Exclude<Signal['caused'], string>): string {
  return less === undefined ? kernel : `${kernel} less ${less}`
}

/** An event counter whose labels are all this program's own words: with nothing else happening, nothing else is counted. */
function isClosed(metric: MetricName): boolean {
  const { type, labels } = definitionOf(metric)
  return type === 'counter' && !labels.includes('reason')
}

function worst(signals: readonly ProvenSignal[]): ProveReport['outcome'] {
  const has = (wanted: ProofOutcome): boolean => signals.some(({ outcome }) => outcome === wanted)
  return has('mismatch') ? 'mismatch' : has('failed') || !has('exact') ? 'failed' : 'exact'
}
