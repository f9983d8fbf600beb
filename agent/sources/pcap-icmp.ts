import type { Host } from '../host/host.ts'
import { type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import { captureNeeds, isWithoutPackets } from './captured.ts'
import type { Source } from './source.ts'

type Metric = MetricsOf<'pcap-icmp'>

/** What routers told this machine of packets too large for them: IPv4's counters of the kernel do not tell it from other errors. */
export function createPcapIcmp({ capture, namespaces }: Host): Source<Metric> {
  return {
    name: 'pcap-icmp',
    writes: metricsOf('pcap-icmp'),
    needs: captureNeeds,
    async collect(sink) {
      if (isWithoutPackets(capture.missing(), sink, metricsOf('pcap-icmp'))) return
      for (const [netns, [value = 0]] of capture.counts('fragmentationNeeded'))
        if (value > 0 || netns === namespaces.host)
          sink.emit('netvitals_icmp_received_fragmentation_needed_total', { of: { netns }, labels: {}, value })
    },
  }
}
