import type { Host } from '../host/host.ts'
import { type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import { retransmitKinds } from '../metrics/labels.ts'
import type { Source } from './source.ts'
import { createTracedCounters, tracerNeeds } from './traced-counters.ts'

type Metric = MetricsOf<'trace-retransmits'>

/** Segments that TCP sent again, counted in the kernel by what made it do so. */
export function createTraceRetransmits(host: Host): Source<Metric> {
  const counters = createTracedCounters<Metric>(host)
  return {
    name: 'trace-retransmits',
    writes: metricsOf('trace-retransmits'),
    needs: [...tracerNeeds, { tracepoint: 'tcp:tcp_retransmit_skb' }, { tracepoint: 'tcp:tcp_retransmit_synack' }],
    async collect(sink, signal) {
      await counters.collect(sink, signal, [
        {
          map: 'tcp_retransmitted_segments_by_kind_total',
          zero: (netns) => {
            for (const kind of retransmitKinds)
              sink.emit('netvitals_tcp_retransmitted_segments_by_kind_total', { of: { netns }, labels: { kind }, value: 0 })
          },
          emit(netns, key, [value = 0]) {
            const kind = retransmitKinds[key.getUint32(0, true)]!
            sink.emit('netvitals_tcp_retransmitted_segments_by_kind_total', { of: { netns }, labels: { kind }, value })
          },
        },
        {
          map: 'tcp_retransmit_failures_total',
          zero: (netns) => sink.emit('netvitals_tcp_retransmit_failures_total', { of: { netns }, labels: {}, value: 0 }),
          emit: (netns, _key, [value = 0]) =>
            sink.emit('netvitals_tcp_retransmit_failures_total', { of: { netns }, labels: {}, value }),
        },
      ])
    },
  }
}
