import type { NetworkNamespace } from '../agent/host/namespaces.ts'
import type { MetricName } from '../agent/metrics/catalogue.ts'
import type { Sink } from '../agent/sources/source.ts'

// The types of emit. Each of these must not compile; `tsc -p test` fails if one does.
export function refusedByTheCompiler(
  sink: Sink<MetricName>,
  drops: Sink<'netvitals_dropped_packets_total'>,
  netns: NetworkNamespace,
): void {
  sink.emit('netvitals_tcp_sent_segments_total', { of: { netns }, labels: {}, value: 1 })
  sink.emit('netvitals_tcp_sockets', { of: { netns }, labels: { state: 'listen' }, value: 1 })
  const edge = { client: { netns }, server: { address: '10.0.0.1' }, reporter: 'client' } as const
  sink.add('netvitals_edge_sent_bytes_total', { of: edge, labels: {}, value: 1 })
  sink.emit('netvitals_edge_connections', { of: edge, labels: {}, value: 1 })
  // @ts-expect-error a subject on a metric of edges
  sink.emit('netvitals_edge_connections', { of: { netns }, labels: {}, value: 1 })
  // @ts-expect-error a gauge is no sum
  sink.add('netvitals_edge_connections', { of: edge, labels: {}, value: 1 })
  // @ts-expect-error a total of a subject is no sum of several
  sink.add('netvitals_tcp_sent_segments_total', { of: { netns }, labels: {}, value: 1 })
  sink.emit('netvitals_tcp_aborts_total', { of: { netns }, labels: { reason: 'linger' }, value: 1 })
  // @ts-expect-error a metric that is not in the catalogue
  sink.emit('netvitals_no_such_total', { of: { netns }, labels: {}, value: 1 })
  // @ts-expect-error a metric this source does not declare
  drops.emit('netvitals_tcp_sockets', { of: { netns }, labels: { state: 'listen' }, value: 1 })
  // @ts-expect-error a label is missing
  sink.emit('netvitals_tcp_sockets', { of: { netns }, labels: {}, value: 1 })
  // @ts-expect-error a label too many
  sink.emit('netvitals_tcp_sockets', { of: { netns }, labels: { state: 'listen', port: '80' }, value: 1 })
  const tooMany = { state: 'listen', port: '80' } as const
  // @ts-expect-error a label too many, from a variable
  sink.emit('netvitals_tcp_sockets', { of: { netns }, labels: tooMany, value: 1 })
  // @ts-expect-error a value that is not in the closed list
  sink.emit('netvitals_tcp_sockets', { of: { netns }, labels: { state: 'close' }, value: 1 })
  // @ts-expect-error a value that is not in the metric's own list
  sink.emit('netvitals_tcp_aborts_total', { of: { netns }, labels: { reason: 'no_socket' }, value: 1 })
  // @ts-expect-error a subject on a metric of the node
  sink.emit('netvitals_tcp_orphans', { of: { netns }, labels: {}, value: 1 })
  // @ts-expect-error the node on a metric of a subject
  sink.emit('netvitals_sockets_used', { of: 'node', labels: {}, value: 1 })
  // @ts-expect-error a namespace that host/namespaces.ts did not mint
  sink.emit('netvitals_sockets_used', { of: { netns: { inode: 4026531840 } }, labels: {}, value: 1 })
  // @ts-expect-error two subjects at once
  sink.emit('netvitals_sockets_used', { of: { netns, address: '10.0.0.1' }, labels: {}, value: 1 })
  // @ts-expect-error a histogram's value on a counter
  sink.emit('netvitals_tcp_sent_segments_total', { of: { netns }, labels: {}, value: { counts: [1], sum: 1 } })
  const either = 'netvitals_tcp_sockets' as 'netvitals_tcp_sockets' | 'netvitals_sockets_used'
  // @ts-expect-error a union of names accepts only what each of them accepts
  sink.emit(either, { of: { netns }, labels: { state: 'listen' }, value: 1 })
  const plain = 'netvitals_sockets_used' as 'netvitals_sockets_used' | 'netvitals_tcp_sent_segments_total'
  sink.emit(plain, { of: { netns }, labels: {}, value: 1 })
}
