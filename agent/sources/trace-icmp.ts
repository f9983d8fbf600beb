import type { Host } from '../host/host.ts'
import type { NetworkNamespace } from '../host/namespaces.ts'
import { type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import type { Source } from './source.ts'
import { createTracedCounters, tracerNeeds } from './traced-counters.ts'

type Metric = MetricsOf<'trace-icmp'>

/** ICMP messages that /proc does not tell apart, counted in the kernel. */
export function createTraceIcmp(host: Host): Source<Metric> {
  const counters = createTracedCounters<Metric>(host)
  return {
    name: 'trace-icmp',
    writes: metricsOf('trace-icmp'),
    needs: [...tracerNeeds, { tracepoint: 'icmp:icmp_send' }],
    async collect(sink, signal) {
      const emit = (netns: NetworkNamespace, value: number): void =>
        sink.emit('netvitals_icmp_sent_fragmentation_needed_total', { of: { netns }, labels: {}, value })
      await counters.collect(sink, signal, [
        {
          map: 'icmp_sent_fragmentation_needed_total',
          zero: (netns) => emit(netns, 0),
          emit: (netns, _key, [value = 0]) => emit(netns, value),
        },
      ])
    },
  }
}
