import type { ToolEvent } from '../../parsers/tool-table.ts'
import type { Host } from '../host/host.ts'
import { type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import { retransmitKinds } from '../metrics/labels.ts'
import type { Source } from './source.ts'
import { createToolCounters, type Telling } from './tool-counters.ts'
import { createTracedCounters, tracerNeeds } from './traced-counters.ts'

type Metric = MetricsOf<'trace-retransmits'>
type Kind = (typeof retransmitKinds)[number]
/** The programs tell all of them apart. */
const tracedKinds = retransmitKinds.filter((kind) => kind !== 'data')

/** Segments that TCP sent again, counted in the kernel by what made it do so. */
export function createTraceRetransmits(host: Host): Source<Metric> {
  const counters = createTracedCounters<Metric>(host)
  const told = createToolCounters<Metric>(host, 'retransmits', translate)
  return {
    name: 'trace-retransmits',
    writes: metricsOf('trace-retransmits'),
    needs: [...tracerNeeds, { tracepoint: 'tcp:tcp_retransmit_skb' }, { tracepoint: 'tcp:tcp_retransmit_synack' }],
    start: async (signal, out) => told.start(signal, out),
    async collect(sink, signal) {
      if (told.tool() !== undefined) {
        sink.absent('netvitals_tcp_retransmit_failures_total', 'the tool that tells of retransmissions does not tell this')
        await told.collect(sink, signal, (netns, kind, [value = 0]) => {
          const labels = { kind: kind as Kind }
          sink.emit('netvitals_tcp_retransmitted_segments_by_kind_total', { of: { netns }, labels, value })
        })
        sink.caveat('a row of the tool is a packet, which may be several segments')
        return
      }
      await counters.collect(sink, signal, [
        {
          map: 'tcp_retransmitted_segments_by_kind_total',
          zero: (netns) => {
            for (const kind of tracedKinds)
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

const kindOfState: Readonly<Record<string, Kind>> = { syn_sent: 'syn', syn_recv: 'synack', new_syn_recv: 'synack' }

/** A probe is an attempt, with new data or none; if it sends a segment again, that has a row of its own. */
function translate({ local, remote, count, family, state, retransmit }: ToolEvent): Telling | undefined {
  if (retransmit === 'probe') return undefined
  const kind = kindOfState[state ?? ''] ?? 'data'
  const type = 'retransmit'
  return {
    candidates: [{ address: local?.address, key: kind }],
    count,
    values: [count],
    event: () => ({
      type,
      family,
      protocol: 'tcp',
      kind,
      source: { isSubject: true, address: local?.address, port: local?.port },
      destination: { isSubject: false, address: remote?.address, port: remote?.port },
      ...(state !== undefined && { state: state === 'new_syn_recv' ? 'syn_recv' : state }),
      ...(count > 1 && { packets: count }),
    }),
  }
}
