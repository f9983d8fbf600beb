import type { Host } from '../host/host.ts'
import { catalogue, type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import { tcpStateByNumber } from '../metrics/labels.ts'
import type { Source } from './source.ts'
import { createTracedCounters, tracerNeeds } from './traced-counters.ts'

type Metric = MetricsOf<'trace-resets'>
type State = (typeof states)[number]

const states = catalogue.netvitals_tcp_received_resets_total.only.state

/** Resets sent and received, counted in the kernel. */
export function createTraceResets(host: Host): Source<Metric> {
  const counters = createTracedCounters<Metric>(host)
  return {
    name: 'trace-resets',
    writes: metricsOf('trace-resets'),
    needs: [...tracerNeeds, { tracepoint: 'tcp:tcp_send_reset' }, { tracepoint: 'tcp:tcp_receive_reset' }],
    async collect(sink, signal) {
      await counters.collect(sink, signal, [
        {
          map: 'tcp_sent_resets_by_reason_total',
          emit(netns, key, [value = 0]) {
            const reason = host.tracer.resetReasonName(key.getUint32(0, true))
            sink.emit('netvitals_tcp_sent_resets_by_reason_total', { of: { netns }, labels: { reason }, value })
          },
        },
        {
          map: 'tcp_received_resets_total',
          zero: (netns) => {
            for (const state of states)
              sink.emit('netvitals_tcp_received_resets_total', { of: { netns }, labels: { state }, value: 0 })
          },
          emit(netns, key, [value = 0]) {
            const state = tcpStateByNumber[key.getUint32(0, true)] as State
            sink.emit('netvitals_tcp_received_resets_total', { of: { netns }, labels: { state }, value })
          },
        },
      ])
    },
  }
}
