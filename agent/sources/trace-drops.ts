import type { Host } from '../host/host.ts'
import { tracedDirections, tracedProtocols } from '../host/tracer.ts'
import { type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import { categoryOfDropReason } from '../metrics/drop-category.ts'
import type { Source } from './source.ts'

type Metric = MetricsOf<'trace-drops'>

/** Packets the kernel dropped, counted in the kernel by namespace, reason, protocol and direction. */
export function createTraceDrops(host: Host): Source<Metric> {
  const writes = metricsOf('trace-drops')
  return {
    name: 'trace-drops',
    writes,
    needs: [
      { library: 'libbpf.so.1' },
      { file: '/sys/kernel/btf/vmlinux' },
      { capability: 'CAP_BPF' },
      { capability: 'CAP_PERFMON' },
      { tracepoint: 'skb:kfree_skb' },
    ],
    async collect(sink) {
      const missing = host.tracer.missing('dropped_packets')
      if (missing !== undefined) {
        for (const metric of writes) sink.absent(metric, missing)
        return
      }
      host.tracer.read('dropped_packets_total', (key, values) => {
        const inode = key.getUint32(0, true)
        const reason = host.tracer.reasonName(key.getUint32(8, true))
        const [packets = 0, bytes = 0] = values
        if (inode === 0) {
          sink.emit('netvitals_dropped_packets_unattributed_total', { of: 'node', labels: { reason }, value: packets })
          return
        }
        const netns = host.namespaces.find(inode, key.getUint32(4, true))
        if (netns === undefined) return
        const of = { netns }
        const category = categoryOfDropReason(reason)
        const protocol = tracedProtocols[key.getUint8(12)] ?? 'other'
        const direction = tracedDirections[key.getUint8(13)] ?? 'in'
        sink.emit('netvitals_dropped_packets_total', { of, labels: { reason, category, protocol, direction }, value: packets })
        sink.emit('netvitals_dropped_bytes_total', { of, labels: { category, direction }, value: bytes })
      })
      const { mapFull, recursion } = host.tracer.lost()
      sink.lost('map_full', mapFull)
      sink.lost('recursion', recursion)
    },
  }
}
