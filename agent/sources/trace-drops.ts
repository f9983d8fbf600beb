import type { Host } from '../host/host.ts'
import { tracedDirections, tracedProtocols } from '../host/tracer.ts'
import { type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import { categoryOfDropReason } from '../metrics/drop-category.ts'
import type { Source } from './source.ts'
import { createTracedCounters, tracerNeeds } from './traced-counters.ts'

type Metric = MetricsOf<'trace-drops'>

/** Packets the kernel dropped, counted in the kernel by namespace, reason, protocol and direction. */
export function createTraceDrops(host: Host): Source<Metric> {
  const writes = metricsOf('trace-drops')
  const counters = createTracedCounters<Metric>(host)
  return {
    name: 'trace-drops',
    writes,
    needs: [...tracerNeeds, { tracepoint: 'skb:kfree_skb' }],
    async collect(sink, signal) {
      await counters.collect(sink, signal, [
        {
          map: 'dropped_packets_total',
          metrics: writes,
          emit(netns, key, [packets = 0, bytes = 0]) {
            const reason = host.tracer.reasonName(key.getUint32(0, true))
            const category = categoryOfDropReason(reason)
            const protocol = tracedProtocols[key.getUint8(4)] ?? 'other'
            const direction = tracedDirections[key.getUint8(5)] ?? 'in'
            const labels = { reason, category, protocol, direction }
            sink.emit('netvitals_dropped_packets_total', { of: { netns }, labels, value: packets })
            sink.emit('netvitals_dropped_bytes_total', { of: { netns }, labels: { category, direction }, value: bytes })
          },
          emitUnattributed(key, [packets = 0]) {
            const reason = host.tracer.reasonName(key.getUint32(0, true))
            sink.emit('netvitals_dropped_packets_unattributed_total', { of: 'node', labels: { reason }, value: packets })
          },
        },
      ])
    },
  }
}
