import { describe, expect, it } from 'vitest'
import { createEdgeGraph, type Edge, formatBytes, formatRtt, gatherOthers, readEdges } from '../../agent/edge-graph.ts'
import { createHistory, type History } from '../../agent/history.ts'
import type { MetricDefinition } from '../../agent/metrics/catalogue.ts'
import { formatLabels } from '../../agent/metrics/label-text.ts'
import type { Family, Series, Snapshot } from '../../agent/metrics/snapshot.ts'

type Value = Series['value']
const api = { namespace: 'shop', workload: 'api' }
const db = { namespace: 'shop', workload: 'db' }
const external = { namespace: '', workload: 'external' }

interface Row {
  readonly what: string
  readonly value: Value
  readonly ends?: readonly [typeof api, typeof api]
  readonly reporter?: 'client' | 'server'
  /** Of the metric itself. */
  readonly labels?: Readonly<Record<string, string>>
}
const names = ['client_namespace', 'client_workload', 'server_namespace', 'server_workload', 'reporter']

let slots: Map<string, number>
function snapshotOf(takenAtMs: number, rows: readonly Row[]): Snapshot {
  const families = new Map<string, Series[]>()
  for (const { what, value, ends: [client, server] = [api, db], reporter = 'client', labels = {} } of rows) {
    const values = [client.namespace, client.workload, server.namespace, server.workload, reporter, ...Object.values(labels)]
    const text = formatLabels([...names, ...Object.keys(labels)], values)
    const slot = slots.get(what + text) ?? slots.size
    slots.set(what + text, slot)
    const series: Series = { labels: text, value, bornAtMs: 0, bornFromZero: false, slot }
    families.set(what, [...(families.get(what) ?? []), series])
  }
  const definition = { history: true } as MetricDefinition
  return {
    takenAtMs,
    durationMs: 1,
    sources: [],
    families: [...families].map(([what, series]): Family => ({ name: `netvitals_edge_${what}`, definition, series })),
  }
}

/** Two snapshots, 20 s apart. */
function edgesAfter(before: readonly Row[], after: readonly Row[]): Edge[] {
  slots = new Map()
  const history = createHistory()
  for (const _ of [...before, ...after]) history.take()
  history.remember(snapshotOf(0, before))
  const newest = snapshotOf(20_000, after)
  history.remember(newest)
  return readEdges(newest, history)
}
const noHistory: Pick<History, 'increase'> = { increase: () => undefined }

describe('edges', () => {
  it('are by the client, with the losses of both sides', () => {
    const rows = (reporter: 'client' | 'server', factor: number): Row[] =>
      [
        { what: 'sent_bytes_total', value: 20_000 * factor },
        { what: 'received_bytes_total', value: 400_000 * factor },
        { what: 'connects_total', value: 100 * factor, labels: { outcome: 'connected' } },
        { what: 'connects_total', value: 7 * factor, labels: { outcome: 'timed_out' } },
        { what: 'connects_total', value: 0, labels: { outcome: 'refused' } },
        { what: 'retransmitted_segments_total', value: 5 * factor },
        { what: 'resets_total', value: 3 * factor },
        { what: 'dropped_packets_total', value: 2 * factor, labels: { category: 'netfilter' } },
        { what: 'dropped_packets_total', value: factor, labels: { category: 'queue' } },
        { what: 'dropped_packets_total', value: 50 * factor, labels: { category: 'normal' } },
        { what: 'rtt_seconds', value: { sum: 0.4 * factor, count: 2 * factor } },
        { what: 'rtt_max_seconds', value: 0.5 * factor },
        { what: 'connections', value: 12 * factor },
      ].map((row) => ({ ...row, reporter }))
    const before = [...rows('client', 1), ...rows('server', 10)]
    const after = [...rows('client', 2), ...rows('server', 30)]
    expect(edgesAfter(before, after)).toEqual([
      {
        client: api,
        server: db,
        connections: 24,
        sentBytesPerSecond: 1000,
        receivedBytesPerSecond: 20_000,
        connects: 107,
        failedConnects: { timed_out: 7 },
        resets: 3,
        loss: { client: { retransmits: 5, drops: 3 }, server: { retransmits: 100, drops: 60 } },
        rttSeconds: 0.2,
        rttMaxSeconds: 1,
      },
    ])
  })

  it('of a client elsewhere are by the server', () => {
    const rows = (value: number): Row[] => [
      { what: 'sent_bytes_total', value, reporter: 'server', ends: [external, api] },
      { what: 'connections', value, reporter: 'server', ends: [external, api] },
    ]
    expect(edgesAfter(rows(0), rows(40))).toMatchObject([
      { client: external, server: api, sentBytesPerSecond: 2, connections: 40, loss: { server: { retransmits: 0, drops: 0 } } },
    ])
  })

  it('that never carried a byte say so', () => {
    const [edge] = edgesAfter([], [{ what: 'connects_total', value: 1, labels: { outcome: 'refused' } }])
    expect(edge).toMatchObject({ sentBytesPerSecond: 0, receivedBytesPerSecond: 0 })
  })

  it('have no rates while nothing is known but the values', () => {
    slots = new Map()
    const [edge] = readEdges(snapshotOf(0, [{ what: 'sent_bytes_total', value: 5 }]), noHistory)
    expect(edge).not.toHaveProperty('sentBytesPerSecond')
    expect(edge).not.toHaveProperty('rttSeconds')
    expect(edge).toMatchObject({ connects: 0, failedConnects: {}, connections: 0 })
  })

  it('come with the worst first: failed connects, losses, traffic', () => {
    const end = (workload: string) => ({ namespace: 'shop', workload })
    const before: Row[] = []
    const after: Row[] = []
    const add = (workload: string, what: string, value: number, labels = {}): void => {
      const row = { what, labels, ends: [api, end(workload)] as const }
      before.push({ ...row, value: 0 })
      after.push({ ...row, value })
    }
    add('quiet', 'sent_bytes_total', 1)
    add('busy', 'sent_bytes_total', 1000)
    add('lossy', 'retransmitted_segments_total', 1)
    add('broken', 'connects_total', 1, { outcome: 'refused' })
    expect(edgesAfter(before, after).map(({ server }) => server.workload)).toEqual(['broken', 'lossy', 'busy', 'quiet'])
  })

  it('do not mix names that only look alike', () => {
    const one = { namespace: 'a","b', workload: 'c' }
    const two = { namespace: 'a', workload: 'b","c' }
    const rows: Row[] = [one, two].map((end) => ({ what: 'connections', value: 1, ends: [end, db] as const }))
    expect(edgesAfter([], rows).map(({ client }) => client)).toEqual([one, two])
  })

  it('leave other metrics alone', () => {
    const family: Family = { name: 'netvitals_tcp_sockets', definition: {} as MetricDefinition, series: [] }
    expect(readEdges({ ...snapshotOf(0, []), families: [family] }, noHistory)).toEqual([])
  })
})

describe('the graph', () => {
  const edge = (client: typeof api, server: typeof api, more: Partial<Edge> = {}): Edge => ({
    client,
    server,
    connections: 3,
    sentBytesPerSecond: 1500,
    receivedBytesPerSecond: 2_000_000,
    connects: 10,
    failedConnects: {},
    resets: 0,
    loss: {},
    ...more,
  })

  it("has the fields of Grafana's node graph", () => {
    const { nodes, edges } = createEdgeGraph(
      [edge(api, db, { connects: 4, failedConnects: { refused: 1 } }), edge(external, api)],
      'n',
    )
    expect(nodes).toEqual([
      {
        id: 'shop/api',
        title: 'api',
        subtitle: 'shop',
        mainstat: '4.00 MB/s',
        secondarystat: '',
        arc__connected: 1,
        arc__failed: 0,
      },
      {
        ...{ id: 'shop/db', title: 'db', subtitle: 'shop', mainstat: '2.00 MB/s', secondarystat: '1 failed connects' },
        ...{ arc__connected: 0.75, arc__failed: 0.25 },
      },
      {
        id: 'external',
        title: 'external',
        subtitle: '',
        mainstat: '2.00 MB/s',
        secondarystat: '',
        arc__connected: 1,
        arc__failed: 0,
      },
    ])
    expect(edges).toMatchObject([
      {
        ...{ id: 'shop/api → shop/db', source: 'shop/api', target: 'shop/db', color: 'red' },
        ...{ mainstat: '1.50 kB/s sent, 2.00 MB/s received', secondarystat: '1 failed connects', thickness: 4 },
      },
      { source: 'external', target: 'shop/api', color: 'green', secondarystat: '3 connections' },
    ])
    const ids = new Set(nodes.map(({ id }) => id))
    for (const { source, target } of edges) expect([ids.has(source), ids.has(target)]).toEqual([true, true])
  })

  it('counts what a workload says to itself once', () => {
    const { nodes } = createEdgeGraph([edge(api, api)], 'n')
    expect(nodes).toMatchObject([{ id: 'shop/api', mainstat: '2.00 MB/s' }])
  })

  it('tells losses, and colours them', () => {
    const loss = { client: { retransmits: 2, drops: 0 }, server: { retransmits: 3, drops: 0 } }
    const { edges } = createEdgeGraph([edge(api, db, { loss, resets: 1 })], 'n')
    expect(edges).toMatchObject([{ color: 'orange', secondarystat: '1 resets, 5 retransmits' }])
    const dropped = { ...loss, client: { retransmits: 0, drops: 1200 } }
    expect(createEdgeGraph([edge(api, db, { loss: dropped })], 'n').edges).toMatchObject([
      { color: 'orange', secondarystat: '3 retransmits, 1,200 drops' },
    ])
  })
})

it.each([
  [0, '0 B'],
  [999, '999 B'],
  [999.6, '1.00 kB'],
  [1234, '1.23 kB'],
  [12_345, '12.3 kB'],
  [123_456, '123 kB'],
  [999_600, '1.00 MB'],
  [5e15, '5000 TB'],
])('%d is %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text))

it.each([
  [0.000_051, '51 µs'],
  [0.0402, '40.2 ms'],
  [1.5, '1.50 s'],
])('%d s are %s', (seconds, text) => expect(formatRtt(seconds)).toBe(text))

describe('of too many workloads', () => {
  const end = (workload: string) => ({ namespace: 'shop', workload })
  const other = { namespace: '', workload: 'other' }
  const edge = (client: string, server: string, more: Partial<Edge> = {}): Edge => ({
    client: end(client),
    server: end(server),
    connections: 1,
    connects: 2,
    failedConnects: {},
    resets: 3,
    loss: {},
    ...more,
  })

  it('the first stay, the others are one', () => {
    const edges = [
      edge('a', 'b', { failedConnects: { refused: 9 } }),
      edge('a', 'c', {
        sentBytesPerSecond: 10,
        failedConnects: { refused: 1 },
        loss: { client: { retransmits: 1, drops: 2 } },
        rttSeconds: 1,
        rttMaxSeconds: 2,
      }),
      edge('a', 'd', {
        sentBytesPerSecond: 5,
        receivedBytesPerSecond: 7,
        failedConnects: { refused: 2, timed_out: 4 },
        loss: { client: { retransmits: 10, drops: 20 }, server: { retransmits: 5, drops: 0 } },
        rttSeconds: 1,
        rttMaxSeconds: 1.5,
      }),
      edge('c', 'd'),
    ]
    expect(gatherOthers(edges, 3)).toEqual([
      edges[0],
      {
        client: end('a'),
        server: other,
        connections: 2,
        sentBytesPerSecond: 15,
        receivedBytesPerSecond: 7,
        connects: 4,
        failedConnects: { refused: 3, timed_out: 4 },
        resets: 6,
        loss: { client: { retransmits: 11, drops: 22 }, server: { retransmits: 5, drops: 0 } },
        rttMaxSeconds: 2,
      },
      { ...edges[3], client: other, server: other },
    ])
  })

  it('and not of fewer', () => {
    const edges = [edge('a', 'b'), edge('b', 'c')]
    expect(gatherOthers(edges, 3)).toBe(edges)
  })
})
