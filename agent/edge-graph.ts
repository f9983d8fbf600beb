import type { History } from './history.ts'
import { parseLabels } from './metrics/label-text.ts'
import type { Series, Snapshot } from './metrics/snapshot.ts'

/** A workload, as labels name it: both texts of the host's own and of what is outside are words of netvitals. */
export interface EdgeEnd {
  readonly namespace: string
  readonly workload: string
}

/** Of one side, which alone knows it. Numbers of the time looked back. */
export interface EdgeLoss {
  /** Segments it sent again. */
  readonly retransmits: number
  /** Packets dropped, but for clean-up that harms nobody. */
  readonly drops: number
}

/** What goes on between two workloads: by the client's numbers, where it is of this node, else by the server's. */
export interface Edge {
  readonly client: EdgeEnd
  readonly server: EdgeEnd
  /** Established now. */
  readonly connections: number
  /** Undefined: not known yet. */
  readonly sentBytesPerSecond?: number
  readonly receivedBytesPerSecond?: number
  /** Of the time looked back. */
  readonly connects: number
  /** By how they failed. */
  readonly failedConnects: Readonly<Record<string, number>>
  readonly resets: number
  /** By who saw it. */
  readonly loss: { readonly client?: EdgeLoss; readonly server?: EdgeLoss }
  /** Mean of the connections that ended since the agent started, and the worst that lives. */
  readonly rttSeconds?: number
  readonly rttMaxSeconds?: number
}

/** Fields as Grafana's node graph panel wants them. */
export interface GraphNode {
  readonly id: string
  readonly title: string
  readonly subtitle: string
  readonly mainstat: string
  readonly secondarystat: string
  /** Of the connects to it; the two add up to 1. */
  readonly arc__connected: number
  readonly arc__failed: number
}

export interface GraphEdge extends Edge {
  readonly id: string
  readonly source: string
  readonly target: string
  readonly mainstat: string
  readonly secondarystat: string
  readonly thickness: number
  readonly color: string
}

/** Answered at /api/v1/edges; a field may be added within a version, never changed. */
export interface EdgeGraph {
  readonly schemaVersion: 1
  readonly node: string
  /** How far the numbers look back, at most. */
  readonly seconds: number
  readonly nodes: readonly GraphNode[]
  /** The worst first. */
  readonly edges: readonly GraphEdge[]
}

/** The time that rates are of. */
export const edgeSeconds = 300

type Reporter = 'client' | 'server'
type Labels = Readonly<Record<string, string>>
/** The series of one reporter, by the metric's name without its beginning. */
type Report = Map<string, { readonly labels: Labels; readonly series: Series }[]>

/** Sums of edges in the newest snapshot. Both reporters of an edge are one. */
export function readEdges(snapshot: Snapshot, history: Pick<History, 'increase'>): Edge[] {
  const reports = new Map<string, { client: EdgeEnd; server: EdgeEnd; by: Partial<Record<Reporter, Report>> }>()
  for (const { name, series: all } of snapshot.families) {
    const what = /^netvitals_edge_(\w+)$/.exec(name)?.[1]
    if (what === undefined) continue
    for (const series of all) {
      const labels = parseLabels(series.labels)
      const client = { namespace: labels.client_namespace ?? '', workload: labels.client_workload ?? '' }
      const server = { namespace: labels.server_namespace ?? '', workload: labels.server_workload ?? '' }
      const key = JSON.stringify([client, server])
      const edge = reports.get(key) ?? { client, server, by: {} }
      reports.set(key, edge)
      const report = (edge.by[labels.reporter === 'server' ? 'server' : 'client'] ??= new Map())
      report.set(what, [...(report.get(what) ?? []), { labels, series }])
    }
  }
  return [...reports.values()].map(({ client, server, by }) => toEdge(client, server, by, history)).sort(byTrouble)
}

function toEdge(
  client: EdgeEnd,
  server: EdgeEnd,
  by: Partial<Record<Reporter, Report>>,
  history: Pick<History, 'increase'>,
): Edge {
  const main = by.client ?? by.server ?? new Map()
  const rows = (report: Report, what: string) => report.get(what) ?? []
  const grown = (series: Series): number => history.increase(series, edgeSeconds)?.amount ?? 0
  const sumOf = (counted: readonly { readonly series: Series }[]): number =>
    counted.reduce((total, { series }) => total + grown(series), 0)
  const sum = (report: Report, what: string): number => sumOf(rows(report, what))
  const value = (what: string): number | undefined => numberOf(rows(main, what)[0]?.series)
  const rate = (what: string): number | undefined => {
    const [row] = rows(main, what)
    if (row === undefined) return 0 // it is born with its first byte
    const increase = history.increase(row.series, edgeSeconds)
    return increase === undefined || increase.seconds === 0 ? undefined : increase.amount / increase.seconds
  }
  const lossOf = (report: Report): EdgeLoss => ({
    retransmits: sum(report, 'retransmitted_segments_total'),
    drops: sumOf(rows(report, 'dropped_packets_total').filter(({ labels }) => labels.category !== 'normal')),
  })
  const failed = rows(main, 'connects_total').filter(({ labels }) => labels.outcome !== 'connected')
  const [sent, received] = [rate('sent_bytes_total'), rate('received_bytes_total')]
  const [rtt, rttMax] = [meanOf(rows(main, 'rtt_seconds')[0]?.series), value('rtt_max_seconds')]
  return {
    client,
    server,
    connections: value('connections') ?? 0,
    ...(sent !== undefined && { sentBytesPerSecond: sent }),
    ...(received !== undefined && { receivedBytesPerSecond: received }),
    connects: sum(main, 'connects_total'),
    failedConnects: Object.fromEntries(
      failed.map(({ labels, series }) => [labels.outcome ?? '', grown(series)] as const).filter(([, amount]) => amount > 0),
    ),
    resets: sum(main, 'resets_total'),
    loss: { ...(by.client && { client: lossOf(by.client) }), ...(by.server && { server: lossOf(by.server) }) },
    ...(rtt !== undefined && { rttSeconds: rtt }),
    ...(rttMax !== undefined && { rttMaxSeconds: rttMax }),
  }
}

const numberOf = (series: Series | undefined): number | undefined =>
  typeof series?.value === 'number' ? series.value : undefined

function meanOf(series: Series | undefined): number | undefined {
  const value = series?.value
  return typeof value === 'object' && 'count' in value && value.count > 0 ? value.sum / value.count : undefined
}

export const failuresOf = ({ failedConnects }: Edge): number => Object.values(failedConnects).reduce((a, b) => a + b, 0)
export const retransmitsOf = ({ loss }: Edge): number => (loss.client?.retransmits ?? 0) + (loss.server?.retransmits ?? 0)
export const dropsOf = ({ loss }: Edge): number => (loss.client?.drops ?? 0) + (loss.server?.drops ?? 0)
const bytesOf = ({ sentBytesPerSecond = 0, receivedBytesPerSecond = 0 }: Edge): number =>
  sentBytesPerSecond + receivedBytesPerSecond

const lostOf = (edge: Edge): number => retransmitsOf(edge) + dropsOf(edge) + edge.resets

/** Failed connects first, then what was lost or cut off, then the busiest. */
function byTrouble(a: Edge, b: Edge): number {
  return failuresOf(b) - failuresOf(a) || lostOf(b) - lostOf(a) || bytesOf(b) - bytesOf(a) || b.connections - a.connections
}

export const edgeEndId = ({ namespace, workload }: EdgeEnd): string => (namespace === '' ? workload : `${namespace}/${workload}`)

/** The end of all that have no place of their own: the same word as beyond the limit of edges. */
const other: EdgeEnd = { namespace: '', workload: 'other' }

/** By ID, those of the first edges first. */
export const endsOf = (edges: readonly Edge[]): ReadonlySet<string> =>
  new Set(edges.flatMap(({ client, server }) => [edgeEndId(client), edgeEndId(server)]))

/** With at most so many ends, of the first edges; what the others do is added up, as one. */
export function gatherOthers(edges: readonly Edge[], mostEnds: number): readonly Edge[] {
  const ends = endsOf(edges)
  if (ends.size <= mostEnds) return edges
  const shown = new Set([...ends].slice(0, mostEnds - 1))
  const gather = (end: EdgeEnd): EdgeEnd => (shown.has(edgeEndId(end)) ? end : other)
  const gathered = new Map<string, Edge>()
  for (const edge of edges) {
    const [client, server] = [gather(edge.client), gather(edge.server)]
    const key = JSON.stringify([client, server])
    const before = gathered.get(key)
    gathered.set(key, before === undefined ? { ...edge, client, server } : addEdges(before, edge))
  }
  return [...gathered.values()]
}

/** Without a mean of times: connections may weigh differently. */
function addEdges({ rttSeconds: _, ...a }: Edge, b: Edge): Edge {
  const sent = addKnown(a.sentBytesPerSecond, b.sentBytesPerSecond)
  const received = addKnown(a.receivedBytesPerSecond, b.receivedBytesPerSecond)
  const [client, server] = [addLosses(a.loss.client, b.loss.client), addLosses(a.loss.server, b.loss.server)]
  const rttMax = Math.max(a.rttMaxSeconds ?? 0, b.rttMaxSeconds ?? 0)
  const failedConnects = { ...a.failedConnects }
  for (const [outcome, number] of Object.entries(b.failedConnects))
    failedConnects[outcome] = (failedConnects[outcome] ?? 0) + number
  return {
    ...a,
    connections: a.connections + b.connections,
    ...(sent !== undefined && { sentBytesPerSecond: sent }),
    ...(received !== undefined && { receivedBytesPerSecond: received }),
    connects: a.connects + b.connects,
    failedConnects,
    resets: a.resets + b.resets,
    loss: { ...(client && { client }), ...(server && { server }) },
    ...(rttMax > 0 && { rttMaxSeconds: rttMax }),
  }
}

const addKnown = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined ? b : b === undefined ? a : a + b

function addLosses(a: EdgeLoss | undefined, b: EdgeLoss | undefined): EdgeLoss | undefined {
  if (a === undefined || b === undefined) return a ?? b
  return { retransmits: a.retransmits + b.retransmits, drops: a.drops + b.drops }
}

/** Edges and the workloads at their ends. */
export function createEdgeGraph(edges: readonly Edge[], node: string): EdgeGraph {
  const totals = new Map<string, NodeTotal>()
  const totalOf = (end: EdgeEnd): NodeTotal => {
    const id = edgeEndId(end)
    const total = totals.get(id) ?? { end, bytesPerSecond: 0, connects: 0, failed: 0 }
    totals.set(id, total)
    return total
  }
  for (const edge of edges) {
    const [client, server] = [totalOf(edge.client), totalOf(edge.server)]
    for (const total of new Set([client, server])) total.bytesPerSecond += bytesOf(edge)
    server.connects += edge.connects
    server.failed += failuresOf(edge)
  }
  const nodes = [...totals].map(([id, total]) => toNode(id, total))
  return { schemaVersion: 1, node, seconds: edgeSeconds, nodes, edges: edges.map(toGraphEdge) }
}

/** Of all edges of a workload; connects are those to it. */
interface NodeTotal {
  readonly end: EdgeEnd
  bytesPerSecond: number
  connects: number
  failed: number
}

function toNode(id: string, { end, bytesPerSecond, connects, failed }: NodeTotal): GraphNode {
  const share = connects === 0 ? 0 : failed / connects
  return {
    id,
    title: end.workload,
    subtitle: end.namespace,
    mainstat: `${formatBytes(bytesPerSecond)}/s`,
    secondarystat: failed === 0 ? '' : `${formatCount(failed)} failed connects`,
    arc__connected: 1 - share,
    arc__failed: share,
  }
}

function toGraphEdge(edge: Edge): GraphEdge {
  const [source, target] = [edgeEndId(edge.client), edgeEndId(edge.server)]
  const [failed, retransmits] = [failuresOf(edge), retransmitsOf(edge)]
  const troubles = [
    ...(failed > 0 ? [`${formatCount(failed)} failed connects`] : []),
    ...(edge.resets > 0 ? [`${formatCount(edge.resets)} resets`] : []),
    ...(retransmits > 0 ? [`${formatCount(retransmits)} retransmits`] : []),
    ...(dropsOf(edge) > 0 ? [`${formatCount(dropsOf(edge))} drops`] : []),
  ]
  return {
    id: `${source} → ${target}`,
    source,
    target,
    mainstat: `${formatBytes(edge.sentBytesPerSecond ?? 0)}/s sent, ${formatBytes(edge.receivedBytesPerSecond ?? 0)}/s received`,
    secondarystat: troubles.length > 0 ? troubles.join(', ') : `${formatCount(edge.connections)} connections`,
    thickness: 1 + Math.floor(Math.log10(1 + bytesOf(edge)) / 2),
    color: failed > 0 ? 'red' : lostOf(edge) > 0 ? 'orange' : 'green',
    ...edge,
  }
}

/** `340 timed_out, 12 refused`: the most first. */
export function describeFailures({ failedConnects }: Edge): string {
  return Object.entries(failedConnects)
    .sort(([, a], [, b]) => b - a)
    .map(([outcome, number]) => `${formatCount(number)} ${outcome}`)
    .join(', ')
}

const formatCount = (number: number): string => Math.round(number).toLocaleString('en')

/** 0 B, 12.3 kB: three digits. */
export function formatBytes(bytes: number): string {
  let unit = 0
  let amount = bytes
  for (; amount >= 999.5 && unit < units.length - 1; unit++) amount /= 1000
  const digits = unit === 0 || amount >= 99.95 ? 0 : amount >= 9.995 ? 1 : 2
  return `${amount.toFixed(digits)} ${units[unit]}`
}

const units = ['B', 'kB', 'MB', 'GB', 'TB'] as const

/** Of the connection that lives and has the worst, else the mean of those that ended. */
export const rttOf = ({ rttSeconds, rttMaxSeconds }: Edge): number | undefined => rttMaxSeconds || rttSeconds

/** 51 µs, 40.2 ms, 1.50 s. */
export function formatRtt(seconds: number, micro = 'µ'): string {
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} ${micro}s`
  return seconds < 1 ? `${(seconds * 1000).toPrecision(3)} ms` : `${seconds.toPrecision(3)} s`
}
