import type { ToolEvent, ToolFormatName } from '../../parsers/tool-table.ts'
import type { Host } from '../host/host.ts'
import { tracedDirections, tracedProtocols } from '../host/traced-maps.ts'
import { type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import { categoryOfDropReason } from '../metrics/drop-category.ts'
import type { Source } from './source.ts'
import { createToolCounters, type Telling } from './tool-counters.ts'
import { createTracedCounters, tracerNeeds } from './traced-counters.ts'

type Metric = MetricsOf<'trace-drops'>

/** Packets the kernel dropped, counted in the kernel by namespace, reason, protocol and direction. */
export function createTraceDrops(host: Host): Source<Metric> {
  const writes = metricsOf('trace-drops')
  const counters = createTracedCounters<Metric>(host)
  const told = createToolCounters<Metric>(host, 'drops', translate)
  return {
    name: 'trace-drops',
    writes,
    needs: [...tracerNeeds, { tracepoint: 'skb:kfree_skb' }],
    start: async (signal, out) => told.start(signal, out),
    async collect(sink, signal) {
      if (told.tool() !== undefined) {
        const notTold = ['netvitals_dropped_bytes_total', 'netvitals_dropped_packets_unattributed_total'] as const
        for (const metric of notTold) sink.absent(metric, 'the tool that tells of drops does not tell this')
        await told.collect(sink, signal, (netns, key, [value = 0]) => {
          const [reason = '', direction] = key.split(' ') as [string, 'in' | 'out']
          const labels = { reason, category: categoryOfDropReason(reason), protocol: 'tcp', direction } as const
          sink.emit('netvitals_dropped_packets_total', { of: { netns }, labels, value })
        })
        return
      }
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

/** What a tool that does not say why calls it. */
const reasonNotTold = 'not_told'
/** Frames that only free the packet; the next one is where it was dropped. */
const frees = /^(__)?(kfree_skb|sk_skb_reason_drop|tcp_drop)/
const [receives, sends] = [/rcv|receive|input|deliver|backlog/, /xmit|output|local_out|transmit/]

/** The innermost function that tells: a packet may be received within the call that sent it. */
function directionOf(stack: readonly string[]): 'in' | 'out' | undefined {
  for (const frame of stack) {
    if (receives.test(frame)) return 'in'
    if (sends.test(frame)) return 'out'
  }
  return undefined
}

/** bcc's tcpdrop prints the segment's source and destination; bpftrace's the socket's own end first, whoever sent. */
function translate(event: ToolEvent, format: ToolFormatName): Telling {
  const { local, remote, count, family, reason = reasonNotTold, flags, stack = [] } = event
  const direction = directionOf(stack)
  const isSocketFirst = format !== 'bcc tcpdrop'
  const [source, destination] = isSocketFirst && direction !== 'out' ? [remote, local] : [local, remote]
  const whoseIn = { address: destination?.address, key: `${reason} ${direction ?? 'in'}` }
  const whoseOut = { address: source?.address, key: `${reason} ${direction ?? 'out'}` }
  const candidates = direction === 'out' ? [whoseOut, whoseIn] : [whoseIn, whoseOut]
  const own = isSocketFirst ? candidates.slice(0, 1) : candidates
  const name = reason === reasonNotTold ? stack.find((frame) => !frees.test(frame)) : undefined
  return {
    candidates: own,
    count,
    values: [count],
    event: (candidate) => {
      const isOfDestination = own[candidate] === whoseIn
      return {
        type: 'drop',
        family,
        protocol: 'tcp',
        source: { isSubject: !isOfDestination, address: source?.address, port: source?.port },
        destination: { isSubject: isOfDestination, address: destination?.address, port: destination?.port },
        direction: direction ?? (isOfDestination ? 'in' : 'out'),
        reason,
        category: categoryOfDropReason(reason),
        ...(flags && { flags: flags.split('|') }),
        ...(name !== undefined && { function: name }),
        ...(count > 1 && { packets: count }),
      }
    },
  }
}
