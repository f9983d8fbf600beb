import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseAddress } from '../../parsers/address.ts'
import { type CountKind, countKinds, countPlaces } from '../capture/places.ts'
import type { CaptureOrder, CaptureReport, CaptureSettings, CaptureTotals, DnsReport, HttpReport } from '../capture/report.ts'
import { limits } from '../limits.ts'
import type { Log } from '../log.ts'
import { type Child, superviseChild } from './child.ts'
import type { NetworkNamespace } from './namespaces.ts'

/** Packets, captured and analysed by a process of their own. */
export interface Capture {
  readonly settings: CaptureSettings | undefined
  /** Resolves when packets are captured, or it is known why not, or after a while. */
  start(): Promise<void>
  /** undefined: packets are being captured. Otherwise why not, in words; a fault, unless this machine or its settings cannot give any. */
  missing(): { readonly reason: string; readonly isFault: boolean } | undefined
  /** From now on what comes from or goes to these addresses is the namespaces', and of no other address anybody's. Returns how many found no room. */
  setOwners(owners: ReadonlyMap<string, NetworkNamespace>): number
  /** Of each namespace, in as many places as countPlaces tells; totals since the agent's start. */
  counts(kind: CountKind): Iterable<readonly [NetworkNamespace, Float64Array]>
  totals(): CaptureTotals
  /** How often the process has begun. */
  starts(): number
  onDns(listener: (report: DnsReport, netns: NetworkNamespace) => void): void
  onHttp(listener: (report: HttpReport, netns: NetworkNamespace) => void): void
  onNotShown(listener: (of: 'dns' | 'http', count: number, isTrouble: boolean) => void): void
  stop(): Promise<void>
}

type Values = Readonly<Record<CountKind, Float64Array>>
const createValues = (): Values =>
  Object.fromEntries(countKinds.map((kind) => [kind, new Float64Array(countPlaces[kind])])) as Values

interface Counted {
  readonly netns: NetworkNamespace
  /** Of the starts before this one. */
  readonly before: Values
  now: Values
  /** Since when it has no address. */
  goneAtMs: number | undefined
}

export interface CaptureOptions {
  readonly settings: CaptureSettings | undefined
  readonly host: NetworkNamespace
  readonly log: Log
  /** The process's program. */
  readonly program?: string
  readonly now?: () => number
}

export function createCapture({
  settings,
  host,
  log,
  program = ownProgram(),
  now = () => performance.now(),
}: CaptureOptions): Capture {
  const subjects = new Map<NetworkNamespace, number>()
  const counted = new Map<number, Counted>()
  const owners = new Map<string, number>()
  const onDns: ((report: DnsReport, netns: NetworkNamespace) => void)[] = []
  const onHttp: ((report: HttpReport, netns: NetworkNamespace) => void)[] = []
  const onNotShown: ((of: 'dns' | 'http', count: number, isTrouble: boolean) => void)[] = []
  let lastSubject = 0
  let before = createTotals()
  let current = createTotals()
  let missing: ReturnType<Capture['missing']> = { reason: 'not started', isFault: false }
  let settle: (() => void) | undefined

  const child: Child | undefined =
    settings &&
    superviseChild({
      command: [process.execPath, ...memoryFlags, program, JSON.stringify(settings)],
      hears: true,
      name: 'capture',
      lineBytesMax: limits.captureLineBytes,
      onStart: introduce,
      onLine: (line) => take(JSON.parse(line) as CaptureReport),
      onEnd: settleAccounts,
      log,
    })

  function order(what: CaptureOrder): void {
    child?.send(JSON.stringify(what))
  }

  function subjectOf(netns: NetworkNamespace): number {
    let subject = subjects.get(netns)
    if (subject === undefined) {
      subject = ++lastSubject
      subjects.set(netns, subject)
      counted.set(subject, { netns, before: createValues(), now: createValues(), goneAtMs: undefined })
    }
    return subject
  }

  /** Tells a new process all that it has to know. */
  function introduce(): void {
    const bySubject = new Map<number, string[]>([[subjectOf(host), []]])
    for (const [address, subject] of owners) {
      const addresses = bySubject.get(subject)
      if (addresses === undefined) bySubject.set(subject, [address])
      else addresses.push(address)
    }
    for (const [subject, addresses] of bySubject) own(subject, addresses)
  }

  function own(subject: number, addresses: readonly string[]): void {
    const isHost = counted.get(subject)?.netns === host
    for (let at = 0; at === 0 || at < addresses.length; at += limits.captureAddressesInOrder)
      order({ type: 'own', subject, isHost, addresses: addresses.slice(at, at + limits.captureAddressesInOrder).map(toDigits) })
  }

  function take(report: CaptureReport): void {
    switch (report.type) {
      case 'ready':
        missing = undefined
        settle?.()
        break
      case 'absent':
        missing = { reason: report.reason, isFault: false }
        void child?.stop() // it would fail again
        settle?.()
        break
      case 'counts':
        counted.get(report.subject)?.now[report.of].set(report.values)
        break
      case 'totals':
        current = report.totals
        break
      case 'dns': {
        const netns = counted.get(report.subject)?.netns
        if (netns !== undefined) for (const listener of onDns) listener(report, netns)
        break
      }
      case 'http': {
        const netns = counted.get(report.subject)?.netns
        if (netns !== undefined) for (const listener of onHttp) listener(report, netns)
        break
      }
      case 'not_shown':
        for (const listener of onNotShown) listener(report.of, report.count, report.isTrouble)
    }
  }

  /** What a process has told stays when it ends; the next begins at 0. */
  function settleAccounts(): void {
    for (const of of counted.values()) {
      for (const kind of countKinds) of.before[kind].set(addCounts(of.before[kind], of.now[kind]))
      of.now = createValues()
    }
    before = addTotals(before, current)
    current = createTotals()
    missing ??= { reason: `the process that captures has ended: ${child?.status().lastEnd ?? '?'}`, isFault: true }
    settle?.()
  }

  /** Counts of a namespace without an address are kept as long as its series. */
  function forget(): void {
    const withAddress = new Set(owners.values())
    for (const [subject, of] of counted) {
      if (of.netns === host || withAddress.has(subject)) of.goneAtMs = undefined
      else of.goneAtMs ??= now()
      if (of.goneAtMs === undefined || now() - of.goneAtMs < limits.departureMs) continue
      counted.delete(subject)
      subjects.delete(of.netns)
      order({ type: 'forget', subject })
    }
  }

  return {
    settings,
    async start() {
      if (child === undefined) {
        missing = { reason: 'switched off', isFault: false }
        return
      }
      if (!existsSync(program)) {
        missing = { reason: `there is no ${program}`, isFault: false }
        return
      }
      const settled = new Promise<void>((resolve) => {
        settle = resolve
        setTimeout(resolve, limits.captureStartMs).unref()
      })
      child.start()
      await settled
    },
    missing: () => missing,
    setOwners(next) {
      if (child === undefined) return 0
      const gone: string[] = []
      const added = new Map<number, string[]>()
      let left = 0
      for (const address of owners.keys()) if (!next.has(address)) gone.push(address)
      for (const address of gone) owners.delete(address)
      for (const [address, netns] of next) {
        const subject = subjectOf(netns)
        if (owners.get(address) === subject) continue
        if (owners.size >= limits.captureAddresses && !owners.has(address)) left++
        else {
          owners.set(address, subject)
          added.set(subject, added.get(subject) ?? [])
          added.get(subject)!.push(address)
        }
      }
      for (let at = 0; at < gone.length; at += limits.captureAddressesInOrder)
        order({ type: 'disown', addresses: gone.slice(at, at + limits.captureAddressesInOrder).map(toDigits) })
      for (const [subject, addresses] of added) own(subject, addresses)
      forget()
      return left
    },
    *counts(kind) {
      for (const { netns, before, now } of counted.values()) yield [netns, addCounts(before[kind], now[kind])] as const
    },
    totals: () => addTotals(before, current),
    starts: () => child?.status().starts ?? 0,
    onDns: (listener) => void onDns.push(listener),
    onHttp: (listener) => void onHttp.push(listener),
    onNotShown: (listener) => void onNotShown.push(listener),
    async stop() {
      await child?.stop()
      missing = { reason: 'stopped', isFault: false }
    },
  }
}

/** It keeps little, and there is one on every node. */
const memoryFlags = ['--max-old-space-size=128', '--max-semi-space-size=4']

function ownProgram(): string {
  return fileURLToPath(new URL('./capture-process.js', import.meta.url))
}

function toDigits(address: string): string {
  const bytes = parseAddress(address)
  return Buffer.from(address.includes(':') ? bytes : bytes.subarray(12)).toString('hex')
}

export function createTotals(): CaptureTotals {
  return {
    packets: 0,
    ringDrops: 0,
    interfaceDrops: 0,
    cut: 0,
    unreadable: {},
    dnsMalformed: 0,
    dnsUnmatched: 0,
    dnsNotFollowed: 0,
    httpUnreadable: {},
    httpLosses: 0,
    httpUnpaired: 0,
    tcpEvicted: 0,
  }
}

export function addCounts(some: Float64Array, others: Float64Array): Float64Array {
  return some.map((value, place) => value + others[place]!)
}

export function addTotals(some: CaptureTotals, others: CaptureTotals): CaptureTotals {
  const add = <N extends object>(first: N, second: N): N =>
    Object.fromEntries(
      Object.entries({ ...second, ...first }).map(([name]) => {
        const [one = 0, other = 0] = [first, second].map((from) => from[name as keyof N] as number | object | undefined)
        if (typeof one === 'number' && typeof other === 'number') return [name, one + other]
        return [name, add(Object(one), Object(other))]
      }),
    ) as N
  return add(some, others)
}
