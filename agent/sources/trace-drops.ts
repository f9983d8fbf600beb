import type { Host } from '../host/host.ts'
import type { NetworkNamespace } from '../host/namespaces.ts'
import { tracedDirections, tracedProtocols } from '../host/tracer.ts'
import { limits } from '../limits.ts'
import { type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import { categoryOfDropReason } from '../metrics/drop-category.ts'
import type { Sink, Source } from './source.ts'

type Metric = MetricsOf<'trace-drops'>

const map = 'dropped_packets_total'

/** Packets the kernel dropped, counted in the kernel by namespace, reason, protocol and direction. */
export function createTraceDrops(host: Host, now: () => number = () => performance.now()): Source<Metric> {
  const writes = metricsOf('trace-drops')
  /** Namespaces of keys that have neither a process nor a name, and since when. */
  let strangers = new Map<string, number>()

  function emit(sink: Sink<Metric>, netns: NetworkNamespace, key: DataView, [packets = 0, bytes = 0]: Float64Array): void {
    const reason = host.tracer.reasonName(key.getUint32(8, true))
    const category = categoryOfDropReason(reason)
    const protocol = tracedProtocols[key.getUint8(12)] ?? 'other'
    const direction = tracedDirections[key.getUint8(13)] ?? 'in'
    sink.emit('netvitals_dropped_packets_total', {
      of: { netns },
      labels: { reason, category, protocol, direction },
      value: packets,
    })
    sink.emit('netvitals_dropped_bytes_total', { of: { netns }, labels: { category, direction }, value: bytes })
  }

  /** Keys of namespaces long gone would fill the map. They are taken out one by one: no program can touch them any more. */
  function takeDead(dead: readonly Uint8Array[]): void {
    for (const key of dead) host.tracer.take(map, key)
  }

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
      const knowsProcesses = host.tracer.missing('tasks') === undefined
      const owners = new Map<string, NetworkNamespace | undefined>()
      const strangersNow = new Map<string, number>()
      const dead: Uint8Array[] = []
      host.tracer.read(map, (key, values) => {
        const inode = key.getUint32(0, true)
        const cookie32 = key.getUint32(4, true)
        if (inode === 0) {
          const reason = host.tracer.reasonName(key.getUint32(8, true))
          sink.emit('netvitals_dropped_packets_unattributed_total', { of: 'node', labels: { reason }, value: values[0] ?? 0 })
          return
        }
        const id = `${inode} ${cookie32}`
        if (!owners.has(id)) owners.set(id, host.namespaces.find(inode, cookie32))
        const owner = owners.get(id)
        if (owner === undefined) {
          const since = strangers.get(id) ?? now()
          strangersNow.set(id, since)
          if (knowsProcesses && now() - since > limits.departureMs)
            dead.push(new Uint8Array(key.buffer.slice(key.byteOffset, key.byteOffset + key.byteLength)))
        }
        emit(sink, owner ?? host.namespaces.stranger(inode, cookie32), key, values)
      })
      takeDead(dead)
      strangers = strangersNow
      const { mapFull, recursion } = host.tracer.lost()
      sink.lost('map_full', mapFull)
      sink.lost('recursion', recursion)
    },
  }
}
