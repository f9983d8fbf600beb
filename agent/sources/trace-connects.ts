import type { ToolEvent } from '../../parsers/tool-table.ts'
import type { Host } from '../host/host.ts'
import { histogramBoundsSeconds, type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import { connectOutcomes } from '../metrics/labels.ts'
import type { Source } from './source.ts'
import { createToolCounters, type Telling } from './tool-counters.ts'
import { createTracedCounters, tracerNeeds } from './traced-counters.ts'

type Metric = MetricsOf<'trace-connects'>

const microsecondsPerSecond = 1e6
const durationBuckets = histogramBoundsSeconds.length + 1
type Outcome = (typeof connectOutcomes)[number]
/** Of tcpconnlat, which does not tell a refusal from a connection. */
const answered = 'answered'

/** TCP connects by how they ended, how long they took, and the round-trip time of connections at their end; counted in the kernel. */
export function createTraceConnects(host: Host): Source<Metric> {
  const counters = createTracedCounters<Metric>(host)
  const told = createToolCounters<Metric>(host, 'connects', translate)
  return {
    name: 'trace-connects',
    writes: metricsOf('trace-connects'),
    needs: [...tracerNeeds, { tracepoint: 'sock:inet_sock_set_state' }],
    start: async (signal, out) => told.start(signal, out),
    async collect(sink, signal) {
      const tool = told.tool()
      if (tool !== undefined) {
        const noTool = 'the tool that tells of connects does not tell this'
        sink.absent('netvitals_tcp_rtt_seconds', noTool)
        if (tool.format() === 'bcc tcpconnlat') sink.absent('netvitals_tcp_connects_total', noTool)
        await told.collect(sink, signal, (netns, outcome, values) => {
          const counts = values.slice(0, durationBuckets)
          const duration = { counts, sum: values[durationBuckets] ?? 0 }
          if (counts.some((count) => count > 0))
            sink.emit('netvitals_tcp_connect_duration_seconds', { of: { netns }, labels: {}, value: duration })
          if (outcome === answered) return
          const value = values[durationBuckets + 1] ?? 0
          sink.emit('netvitals_tcp_connects_total', { of: { netns }, labels: { outcome: outcome as Outcome }, value })
        })
        return
      }
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
            const value = { counts: Array(durationBuckets).fill(0), sum: 0 }
            sink.emit('netvitals_tcp_connect_duration_seconds', { of: { netns }, labels: {}, value })
          },
          emit(netns, _key, values) {
            const sum = (values[durationBuckets] ?? 0) / microsecondsPerSecond
            const value = { counts: [...values.subarray(0, durationBuckets)], sum }
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

/** tcpstates tells how a connect ended, but not why it failed; tcpconnlat only how long an answer took, whichever it was. */
function translate({ type, state, newState, local, count, durationSeconds }: ToolEvent): Telling | undefined {
  const isEnd = type === 'state_change' && state === 'syn_sent' && newState !== 'syn_recv'
  if (type !== 'connect_latency' && !isEnd) return undefined
  const key = type === 'connect_latency' ? answered : newState === 'established' ? 'connected' : 'other'
  const values = Array<number>(durationBuckets + 2).fill(0)
  if (key !== 'other' && durationSeconds !== undefined) {
    const above = histogramBoundsSeconds.findIndex((bound) => durationSeconds <= bound)
    values[above === -1 ? durationBuckets - 1 : above] = count
    values[durationBuckets] = durationSeconds * count
  }
  values[durationBuckets + 1] = count
  return { candidates: [{ address: local?.address, key }], count, values }
}
