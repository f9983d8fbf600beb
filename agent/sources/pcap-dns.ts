import { dnsPlaces } from '../capture/places.ts'
import type { DnsReport } from '../capture/report.ts'
import type { Host } from '../host/host.ts'
import type { NetworkNamespace } from '../host/namespaces.ts'
import { type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import { queryTypes, responseCodes } from '../metrics/labels.ts'
import { captureNeeds, isWithoutPackets, tellNotShown } from './captured.ts'
import type { EventReport, Sink, Source } from './source.ts'

type Metric = MetricsOf<'pcap-dns'>

const durationBuckets = dnsPlaces.size - dnsPlaces.durations

/** DNS queries and their answers, read from packets, each transaction once. */
export function createPcapDns(host: Host): Source<Metric> {
  const { capture } = host
  return {
    name: 'pcap-dns',
    writes: metricsOf('pcap-dns'),
    needs: captureNeeds,
    async start(signal, out) {
      capture.onDns((report, netns) => void (signal.aborted || out.event(toEvent(report, netns))))
      tellNotShown(capture, 'dns', signal, out)
    },
    async collect(sink) {
      if (isWithoutPackets(capture.missing(), sink, metricsOf('pcap-dns'))) return
      for (const [netns, values] of capture.counts('dns')) emitCounts(sink, netns, values, netns === host.namespaces.host)
      const { dnsMalformed, dnsUnmatched } = capture.totals()
      sink.emit('netvitals_dns_malformed_total', { of: 'node', labels: {}, value: dnsMalformed })
      sink.emit('netvitals_dns_unmatched_responses_total', { of: 'node', labels: {}, value: dnsUnmatched })
    },
  }
}

/** The host's row shows 0 of what has not happened yet. */
function emitCounts(sink: Sink<Metric>, netns: NetworkNamespace, values: Float64Array, withZeros: boolean): void {
  const of = { netns }
  const at = (place: number): number => values[place] ?? 0
  const isShown = (value: number): boolean => withZeros || value > 0
  queryTypes.forEach((qtype, i) => {
    const value = at(dnsPlaces.queries + i)
    if (isShown(value)) sink.emit('netvitals_dns_queries_total', { of, labels: { qtype }, value })
  })
  responseCodes.forEach((rcode, i) => {
    const [received, served] = [at(dnsPlaces.responses + i), at(dnsPlaces.served + i)]
    if (isShown(received)) sink.emit('netvitals_dns_responses_total', { of, labels: { rcode }, value: received })
    if (isShown(served)) sink.emit('netvitals_dns_served_total', { of, labels: { rcode }, value: served })
  })
  const singles = [
    ['netvitals_dns_unanswered_total', dnsPlaces.unanswered],
    ['netvitals_dns_truncated_total', dnsPlaces.truncated],
    ['netvitals_dns_response_addresses_total', dnsPlaces.addresses],
    ['netvitals_dns_search_failures_total', dnsPlaces.searches],
  ] as const
  for (const [metric, place] of singles) if (isShown(at(place))) sink.emit(metric, { of, labels: {}, value: at(place) })
  const counts = [...values.subarray(dnsPlaces.durations, dnsPlaces.durations + durationBuckets)]
  if (withZeros || counts.some((count) => count > 0)) {
    const value = { counts, sum: at(dnsPlaces.microseconds) / 1e6 }
    sink.emit('netvitals_dns_duration_seconds', { of, labels: {}, value })
  }
}

function toEvent({ type, timeMs, family, protocol, client, server, ...about }: DnsReport, netns: NetworkNamespace): EventReport {
  const { id, name, queryType, responseCode, durationMs, addressCount } = about
  return {
    type,
    of: { netns },
    timeMs,
    family,
    protocol,
    source: { ...client, isSubject: true },
    destination: { ...server, isSubject: false },
    dns: {
      id,
      name,
      queryType,
      ...(responseCode !== undefined && { responseCode }),
      ...(durationMs !== undefined && { durationMs }),
      ...(addressCount !== undefined && { addressCount }),
    },
  }
}
