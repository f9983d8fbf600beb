import { unmapAddress } from '../../parsers/address.ts'
import type { ToolEnd, ToolEvent, ToolFormatName } from '../../parsers/tool-table.ts'
import type { Host } from '../host/host.ts'
import type { NetworkNamespace } from '../host/namespaces.ts'
import type { Tool, ToolSignal } from '../host/tools.ts'
import { limits } from '../limits.ts'
import type { MetricName } from '../metrics/catalogue.ts'
import type { EventReport, Out, Sink } from './source.ts'

/** Whom a row may be about: the first of them that is on this machine. `key` says what is counted. */
export interface Candidate {
  readonly address: string | undefined
  readonly key: string
}
/** A row's meaning. */
export interface Telling {
  readonly candidates: readonly Candidate[]
  /** How many events. */
  readonly count: number
  /** Added, each to its own sum. */
  readonly values: readonly number[]
  /** The single event, but for whose it is, and which of the candidates that was. */
  readonly event?: (candidate: number) => Omit<EventReport, 'of' | 'timeMs'>
}

export interface ToolCounters<M extends MetricName> {
  /** Undefined: no tool is to tell it. */
  tool(): Tool | undefined
  start(signal: AbortSignal, out: Out): void
  /** Hands out the sums of every namespace and key, says what is missing, and throws if the tool cannot run at all. */
  collect(
    sink: Sink<M>,
    signal: AbortSignal,
    emit: (netns: NetworkNamespace, key: string, sums: readonly number[]) => void,
  ): Promise<void>
}

interface Sum {
  readonly candidates: readonly Candidate[]
  count: number
  readonly values: number[]
}

/** Counts what a trace tool of the user tells, row by row, by the namespace that has the row's address. */
export function createToolCounters<M extends MetricName>(
  host: Host,
  signal: ToolSignal,
  translate: (event: ToolEvent, format: ToolFormatName) => Telling | undefined,
): ToolCounters<M> {
  const { tools, addresses, namespaces } = host
  /** Rows whose namespace is still to be found, added up. */
  let waiting = new Map<string, Sum>()
  const sums = new Map<NetworkNamespace, Map<string, number[]>>()
  let keys = 0
  let full = 0
  /** Since the last sweep. */
  const strangers = new Set<string>()
  let strangerEvents = 0
  let unreadableTold = 0
  let out: Out | undefined
  let events: { readonly telling: Telling; readonly timeMs: number }[] = []
  let notShown = 0

  tools.subscribe(signal, (event, format) => {
    const telling = translate(unmap(event), format)
    if (telling === undefined) return
    const id = telling.candidates.map(({ address, key }) => `${address} ${key}`).join('\u0001')
    const sum = waiting.get(id)
    if (sum !== undefined) {
      sum.count += telling.count
      addTo(sum.values, telling.values)
    } else {
      if (waiting.size === limits.toolKeys) settleSums()
      waiting.set(id, { candidates: telling.candidates, count: telling.count, values: [...telling.values] })
    }
    if (out === undefined || telling.event === undefined) return
    if (events.length < (limits.eventsPerSecond * limits.toolSettleMs) / 1000) events.push({ telling, timeMs: Date.now() })
    else notShown += telling.count
  })

  function findOwner(candidates: readonly Candidate[]): { netns: NetworkNamespace; index: number } | undefined {
    for (const [index, { address }] of candidates.entries()) {
      const netns = addresses.find(address)
      if (netns !== undefined) return { netns, index }
    }
    return undefined
  }

  function settleSum({ candidates, count, values }: Sum): void {
    const owner = findOwner(candidates)
    if (owner === undefined) {
      strangerEvents += count
      for (const { address } of candidates)
        if (address !== undefined && strangers.size < limits.namespaces) strangers.add(address)
      return
    }
    const { netns, index } = owner
    const ofNamespace = sums.get(netns) ?? new Map<string, number[]>()
    sums.set(netns, ofNamespace)
    const key = candidates[index]!.key
    const before = ofNamespace.get(key)
    if (before !== undefined) addTo(before, values)
    else if (keys < limits.toolKeys) {
      keys++
      ofNamespace.set(key, [...values])
    } else full += count
  }

  /** By what is known now of who has which address. */
  function settleSums(): void {
    const taken = waiting
    waiting = new Map()
    for (const sum of taken.values()) settleSum(sum)
  }

  /** Names come and go: rows are given to whoever has their address now, not when the metrics are asked for. */
  async function settle(abort: AbortSignal): Promise<void> {
    if (waiting.size === 0 && events.length === 0) return
    await addresses.refresh(abort)
    settleSums()
    const shown = events
    events = []
    for (const { telling, timeMs } of shown) {
      const { netns, index = 0 } = findOwner(telling.candidates) ?? {}
      const of = netns === undefined ? { address: telling.candidates[0]?.address ?? '' } : { netns }
      out?.event({ ...telling.event!(index), of, timeMs })
    }
    const { type } = shown[0]?.telling.event?.(0) ?? {}
    if (notShown > 0 && type !== undefined) out?.notShown(type, notShown, Date.now())
    notShown = 0
  }

  return {
    tool: () => tools.of(signal),
    start(abort, to) {
      if (tools.of(signal) === undefined) return
      out = to
      const timer = setInterval(() => settle(abort).catch(() => undefined), limits.toolSettleMs)
      timer.unref()
      abort.addEventListener('abort', () => clearInterval(timer), { once: true })
    },
    async collect(sink, abort, emit) {
      const tool = tools.of(signal)
      if (tool === undefined) return
      await settle(abort)
      demandRunnable(tool)
      const present = new Set([namespaces.host, ...namespaces.list()])
      for (const [netns, ofNamespace] of sums) {
        if (present.has(netns)) for (const [key, values] of ofNamespace) emit(netns, key, values)
        else {
          keys -= ofNamespace.size
          sums.delete(netns) // its series keep their last values
        }
      }
      for (const address of strangers) sink.unresolved({ address })
      strangers.clear()
      for (const caveat of describeTool(tool, strangerEvents)) sink.caveat(caveat)
      const { lines, last } = tool.unreadable()
      if (last !== undefined) sink.unreadable(lines - unreadableTold, last)
      unreadableTold = lines
      sink.lost('map_full', full)
      sink.lost('long_line', tool.status().longLines + tool.status().partialLines)
      sink.lost('tool', tool.lost())
    },
  }
}

/** A connection of IPv4 through a socket of IPv6 is one of IPv4, as addresses of devices are, and as the built-in programs have it. */
function unmap(event: ToolEvent): ToolEvent {
  if (event.family === 'ipv4') return event
  const plain = (end: ToolEnd | undefined): ToolEnd | undefined => end && { ...end, address: unmapAddress(end.address) }
  const [local, remote] = [plain(event.local), plain(event.remote)]
  const isIpv6 = [local, remote].some((end) => end?.address.includes(':'))
  return { ...event, ...(local && { local }), ...(remote && { remote }), family: isIpv6 ? 'ipv6' : 'ipv4' }
}

function addTo(sums: number[], values: readonly number[]): void {
  for (const [i, value] of values.entries()) sums[i] = (sums[i] ?? 0) + value
}

/** A tool that has told something goes on counting after its end; one that never could is a failure. */
function demandRunnable(tool: Tool): void {
  const { state, lastEnd, lines } = tool.status()
  if (state === 'running' || lastEnd === undefined || tool.format() !== undefined) return
  const why = lastEnd.startsWith(`${tool.name}: `) ? lastEnd : `${tool.name}: ${lastEnd}` // that it cannot start names it
  const words = tool.stderr().trim().split('\n').at(-1) ?? ''
  throw new Error(`${why}${words === '' ? '' : `, ${words}`}${lines === 0 ? '' : '; none of its lines is known'}`)
}

function describeTool(tool: Tool, strangerEvents: number): string[] {
  const { state, starts, lastEnd, lines, lastLineAtMs } = tool.status()
  const format = tool.format()
  const silence = lastLineAtMs === undefined ? '' : `, the last ${Math.round((performance.now() - lastLineAtMs) / 1000)} s ago`
  const how = `told by ${tool.name}, not by the built-in program: ${format === undefined ? 'no header yet' : `format ${format}`}, ${lines} lines${silence}`
  const again = starts > 1 ? `; ${starts} starts` : ''
  const gap =
    lastEnd === undefined ? '' : `; it ended (${lastEnd})${again}: what happened until it ran again is not counted, and unknown`
  const off = state === 'running' ? '' : `; it does not run now`
  const strangers =
    strangerEvents === 0 ? [] : [`${strangerEvents} events of addresses that no known network namespace has, or several have`]
  return [`${how}${gap}${off}`, ...strangers]
}
