import type { Host } from '../host/host.ts'
import { histogramBoundsSeconds, type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import { connectOutcomes } from '../metrics/labels.ts'
import type { Source } from './source.ts'
import { createTracedCounters, tracerNeeds } from './traced-counters.ts'

type Metric = MetricsOf<'trace-connects'>

const microsecondsPerSecond = 1e6

/** TCP connects by how they ended, how long they took, and the round-trip time of connections at their end; counted in the kernel. */
export function createTraceConnects(host: Host): Source<Metric> {
  const counters = createTracedCounters<Metric>(host)
  return {
    name: 'trace-connects',
    writes: metricsOf('trace-connects'),
    needs: [...tracerNeeds, { tracepoint: 'sock:inet_sock_set_state' }],
    async collect(sink, signal) {
      await counters.collect(sink, signal, [
        {
          map: 'tcp_connects_total',
          zero: (netns) => {
            for (const outcome of connectOutcomes)
              sink.emit('netvitals_tcp_connects_total', { of: { netns }, labels: { outcome }, value: 0 })
          },
          emit(netns, key, [value = 0]) {
            const outcome = connectOutcomes[key.getUint32(0, true)]!
            sink.emit('netvitals_tcp_connects_total', { of: { netns }, labels: { outcome }, value })
          },
        },
        {
          map: 'tcp_connect_duration_seconds',
          zero(netns) {
            const value = { counts: Array(histogramBoundsSeconds.length + 1).fill(0), sum: 0 }
            sink.emit('netvitals_tcp_connect_duration_seconds', { of: { netns }, labels: {}, value })
          },
          emit(netns, _key, values) {
            const buckets = histogramBoundsSeconds.length + 1
            const value = { counts: [...values.subarray(0, buckets)], sum: (values[buckets] ?? 0) / microsecondsPerSecond }
            sink.emit('netvitals_tcp_connect_duration_seconds', { of: { netns }, labels: {}, value })
          },
        },
        {
          map: 'tcp_rtt_seconds',
          zero: (netns) => sink.emit('netvitals_tcp_rtt_seconds', { of: { netns }, labels: {}, value: { sum: 0, count: 0 } }),
          emit(netns, _key, [microseconds = 0, count = 0]) {
            const value = { sum: microseconds / microsecondsPerSecond, count }
            sink.emit('netvitals_tcp_rtt_seconds', { of: { netns }, labels: {}, value })
          },
        },
      ])
    },
  }
}
