import type { Host } from '../host/host.ts'
import type { NetworkNamespace } from '../host/namespaces.ts'
import { tracedEdgeValues } from '../host/traced-maps.ts'
import { isTurnOver, nextTurn } from '../host/turn.ts'
import { limits } from '../limits.ts'
import { type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import { categoryOfDropReason } from '../metrics/drop-category.ts'
import { connectOutcomes } from '../metrics/labels.ts'
import { createEdgeDrops, type EdgeDrop } from './edge-drops.ts'
import { createEdgePeers } from './edge-peers.ts'
import { createEdgeRecords, type EdgeRecord } from './edge-records.ts'
import type { EdgeEnds, Sink, Source } from './source.ts'
import { createTracedCounters, tracerNeeds } from './traced-counters.ts'

type Metric = MetricsOf<'trace-edges'>
const map = 'edge_connects_total'
const dropMap = 'edge_dropped_packets_total'

const microsecondsPerSecond = 1e6
const { outcomes, closed, resets, sentBytes, receivedBytes, retransmittedSegments, rttMicroseconds, rttConnections } =
  tracedEdgeValues

const dropMetric = 'netvitals_edge_dropped_packets_total'
/** What lives is told without the tracer too. */
const liveMetrics: readonly Metric[] = ['netvitals_edge_connections', 'netvitals_edge_rtt_max_seconds']

/**
 * What goes on between workloads. Of TCP connections what has ended the kernel counts as it ends, and of what lives it is asked
 * in every sweep; packets it counts as it drops them.
 */
export function createTraceEdges(host: Host, now: () => number = () => performance.now()): Source<Metric> {
  const { tracer, tcpSockets } = host
  const counters = createTracedCounters<Metric>(host)
  const writes = metricsOf('trace-edges')
  const isTraced = (): boolean => tracer.missing(map) === undefined
  const records = createEdgeRecords({
    isTraced,
    hasCookies: host.namespaces.host.cookie !== undefined,
    findConnection: (key) => tracer.findConnection(key),
  })

  const peers = createEdgePeers(host)
  const drops = createEdgeDrops()

  /** Before the sockets are listed: a connection that ends in between is in neither, and none is in both. */
  async function readKernel(sink: Sink<Metric>, signal: AbortSignal): Promise<void> {
    records.beginSweep()
    drops.beginSweep()
    await counters.collect(sink, signal, [
      {
        map,
        metrics: writes.filter((metric) => !liveMetrics.includes(metric) && metric !== dropMetric),
        emit: (netns, _, values, key) => records.ended(netns, key, values),
      },
      { map: dropMap, emit: (netns, _, [packets = 0], key) => drops.dropped(netns, key, packets) },
    ])
    if (!isTraced()) return
    if (isTurnOver()) await nextTurn(signal)
    tracer.read('live_connections', (key, values) => records.connection(key, values))
  }

  /** All at once: what was added stays, so nothing may come between. */
  function tell(sink: Sink<Metric>): void {
    const live = createLiveEdges()
    const inKernel = records.all().filter(({ isInKernel }) => isInKernel).length
    for (const record of records.all()) {
      if (!peers.isKnown(record)) continue
      live.add(record, peers.addressOf(record))
      if (!isTraced() || !tellGrowth(sink, record) || !isOver(record, inKernel)) continue
      const last = counters.take(map, new Uint8Array(record.key.buffer))
      if (last === undefined) continue
      record.ended = last // another connection between the same ports may have been counted meanwhile
      tellGrowth(sink, record)
      records.taken(record)
    }
    records.endSweep()
    tellDrops(sink)
    for (const { of, connections, rttMaxUs } of live.all()) {
      sink.emit('netvitals_edge_connections', { of, labels: {}, value: connections })
      const value = rttMaxUs / microsecondsPerSecond
      if (value > 0) sink.emit('netvitals_edge_rtt_max_seconds', { of, labels: {}, value })
    }
    if (isTraced()) sink.lost('map_full', tracer.lost([map, dropMap]).mapFull + records.refused)
  }

  /** False: nobody knows the namespace; it is to be told again. */
  function tellGrowth(sink: Sink<Metric>, record: EdgeRecord): boolean {
    const growth = records.growth(record)
    if (growth === undefined) return true
    const isKnown = addGrowth(sink, endsOf(record, peers.addressOf(record)), growth)
    if (isKnown) records.count(record, growth, now())
    return isKnown
  }

  function tellDrops(sink: Sink<Metric>): void {
    const inKernel = drops.all().filter(({ isInKernel }) => isInKernel).length
    for (const drop of drops.all()) {
      if (!tellDrop(sink, drop) || inKernel <= limits.tracerKeys / 2) continue
      if (now() - drop.changedAtMs <= limits.edgeRecordIdleMs) continue
      drop.packets = counters.take(dropMap, drop.key)?.[0] ?? drop.packets
      tellDrop(sink, drop)
      drop.isInKernel = false
    }
    drops.endSweep()
  }

  /** False: nobody knows the namespace; it is to be told again. What a namespace dropped that is neither end is on no edge. */
  function tellDrop(sink: Sink<Metric>, drop: EdgeDrop): boolean {
    const { netns, role, local, remote, reason, packets, counted } = drop
    if (packets <= counted) return true
    if (!sink.knows({ netns })) {
      sink.unresolved({ netns })
      return false
    }
    const address = role === 'client' ? peers.answererOf(remote) : remote
    if (sink.owns({ netns }, local) && sink.names({ address })) {
      const category = categoryOfDropReason(tracer.reasonName(reason))
      sink.add(dropMetric, { of: endsOf(drop, address), labels: { category }, value: packets - counted })
    }
    drop.counted = packets
    drop.changedAtMs = now()
    return true
  }

  /** No program touches its key any more, or will hardly do so while there is little room. */
  function isOver({ isSingle, isInKernel, ended, live, changedAtMs }: EdgeRecord, inKernel: number): boolean {
    if (!isInKernel || live !== undefined) return false
    const failed = ended.subarray(1, outcomes).some((count) => count > 0)
    if (isSingle) return ended[closed]! > 0 || failed
    return inKernel > limits.tracerKeys / 2 && changedAtMs > 0 && now() - changedAtMs > limits.edgeRecordIdleMs
  }

  return {
    name: 'trace-edges',
    writes,
    needs: [
      ...tracerNeeds,
      { tracepoint: 'sock:inet_sock_set_state' },
      { tracepoint: 'skb:kfree_skb' },
      { capability: 'CAP_SYS_ADMIN' },
    ],
    async collect(sink, signal) {
      await tcpSockets.walk(
        {
          start: () => readKernel(sink, signal),
          begin: (netns) => records.begin(netns),
          socket: (row) => records.socket(row),
          end(netns, byNetlink) {
            records.end()
            if (!byNetlink && netns === host.namespaces.host)
              missLive(sink, '/proc/net/tcp does not tell it; sock_diag would, through koffi')
          },
          failed(netns, error) {
            records.begin(netns)
            if (netns === host.namespaces.host) missLive(sink, error instanceof Error ? error.message : String(error))
            else sink.skip({ netns }, error instanceof Error ? error : String(error))
          },
        },
        signal,
      )
      if (isTraced()) await peers.ask(records.all(), signal)
      signal.throwIfAborted()
      tell(sink)
    },
  }
}

function missLive(sink: Sink<Metric>, reason: string): void {
  for (const metric of liveMetrics) sink.absent(metric, reason)
}

function endsOf({ netns, role }: Pick<EdgeRecord, 'netns' | 'role'>, address: string): EdgeEnds {
  return role === 'client'
    ? { client: { netns }, server: { address }, reporter: role }
    : { client: { address }, server: { netns }, reporter: role }
}

/** False: nobody knows the namespace. */
function addGrowth(sink: Sink<Metric>, of: EdgeEnds, growth: Float64Array): boolean {
  let isKnown = true
  const add = (metric: Parameters<Sink<Metric>['add']>[0], value: number): void => {
    if (value > 0 && isKnown) isKnown = sink.add(metric, { of, labels: {}, value } as never)
  }
  connectOutcomes.forEach((outcome, i) => {
    const value = growth[i]!
    if (value > 0 && isKnown) isKnown = sink.add('netvitals_edge_connects_total', { of, labels: { outcome }, value })
  })
  const [there, back] = of.reporter === 'client' ? [sentBytes, receivedBytes] : [receivedBytes, sentBytes]
  add('netvitals_edge_sent_bytes_total', growth[there]!)
  add('netvitals_edge_received_bytes_total', growth[back]!)
  add('netvitals_edge_retransmitted_segments_total', growth[retransmittedSegments]!)
  add('netvitals_edge_resets_total', growth[resets]!)
  const rtt = { sum: growth[rttMicroseconds]! / microsecondsPerSecond, count: growth[rttConnections]! }
  if (rtt.count > 0 && isKnown) isKnown = sink.add('netvitals_edge_rtt_seconds', { of, labels: {}, value: rtt })
  return isKnown
}

interface LiveEdge {
  readonly of: EdgeEnds
  connections: number
  rttMaxUs: number
}

/** Many records may be of the same two ends: what lives is summed before it is named. */
function createLiveEdges() {
  const byNamespace = new Map<NetworkNamespace, Map<string, LiveEdge>>()
  return {
    add(record: EdgeRecord, address: string): void {
      const { netns, role, live } = record
      if (live === undefined) return
      let edges = byNamespace.get(netns)
      if (edges === undefined) byNamespace.set(netns, (edges = new Map()))
      const key = `${role} ${address}`
      let edge = edges.get(key)
      if (edge === undefined) edges.set(key, (edge = { of: endsOf(record, address), connections: 0, rttMaxUs: 0 }))
      edge.connections += live.connections
      edge.rttMaxUs = Math.max(edge.rttMaxUs, live.rttMaxUs)
    },
    all: (): readonly LiveEdge[] => [...byNamespace.values()].flatMap((edges) => [...edges.values()]),
  }
}
