import type { Host } from '../host/host.ts'
import { type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import { captureNeeds, isWithoutPackets } from './captured.ts'
import type { Source } from './source.ts'

type Metric = MetricsOf<'pcap-capture'>

/** What the capture of packets took in, and what it lost. */
export function createPcapCapture({ capture }: Host): Source<Metric> {
  return {
    name: 'pcap-capture',
    writes: metricsOf('pcap-capture'),
    needs: captureNeeds,
    async collect(sink) {
      const missing = capture.missing()
      // What it has counted stands, whatever has become of it.
      if (!missing?.isFault && isWithoutPackets(missing, sink, metricsOf('pcap-capture'))) return
      const of = 'node'
      const { packets, cut, unreadable, ringDrops, interfaceDrops, dnsNotFollowed, tcpEvicted } = capture.totals()
      sink.emit('netvitals_captured_packets_total', { of, labels: {}, value: packets })
      sink.emit('netvitals_captured_packets_cut_total', { of, labels: {}, value: cut })
      const faults = Object.values(unreadable).reduce((sum, count) => sum + count, 0)
      sink.emit('netvitals_captured_packets_unreadable_total', { of, labels: {}, value: faults })
      sink.emit('netvitals_capture_starts_total', { of, labels: {}, value: capture.starts() })
      sink.lost('capture_ring', ringDrops)
      sink.lost('capture_interface', interfaceDrops)
      sink.lost('dns_full', dnsNotFollowed)
      sink.lost('tcp_full', tcpEvicted)
    },
  }
}
