import { httpUnreadables } from '../../parsers/http-message.ts'
import { httpPlaces } from '../capture/places.ts'
import type { HttpReport } from '../capture/report.ts'
import type { Host } from '../host/host.ts'
import type { NetworkNamespace } from '../host/namespaces.ts'
import { type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import { httpDirections, httpMethods, httpStatuses } from '../metrics/labels.ts'
import { captureNeeds, isWithoutPackets, tellNotShown } from './captured.ts'
import type { EventReport, Sink, Source } from './source.ts'

type Metric = MetricsOf<'pcap-http'>

const durationBuckets = httpPlaces.direction - httpPlaces.durations

/** Plaintext HTTP/1, read from packets of the ports that are set. */
export function createPcapHttp({ capture }: Host): Source<Metric> {
  return {
    name: 'pcap-http',
    writes: metricsOf('pcap-http'),
    needs: captureNeeds,
    async start(signal, out) {
      capture.onHttp((report, netns) => void (signal.aborted || out.event(toEvent(report, netns))))
      tellNotShown(capture, 'http', signal, out)
    },
    async collect(sink) {
      const isOff = capture.settings?.httpPorts.length === 0
      const missing = isOff ? { reason: 'no port is set: --capture.http-ports', isFault: false } : capture.missing()
      if (isWithoutPackets(missing, sink, metricsOf('pcap-http'))) return
      for (const [netns, values] of capture.counts('http'))
        httpDirections.forEach((direction, i) => {
          emitDirection(sink, netns, direction, values.subarray(i * httpPlaces.direction, (i + 1) * httpPlaces.direction))
        })
      const { httpUnreadable, httpLosses, httpUnpaired } = capture.totals()
      for (const kind of httpUnreadables) {
        const value = httpUnreadable[kind] ?? 0
        sink.emit('netvitals_http_unreadable_connections_total', { of: 'node', labels: { kind }, value })
      }
      sink.emit('netvitals_http_losses_total', { of: 'node', labels: {}, value: httpLosses })
      sink.emit('netvitals_http_unpaired_total', { of: 'node', labels: {}, value: httpUnpaired })
    },
  }
}

function emitDirection(
  sink: Sink<Metric>,
  netns: NetworkNamespace,
  direction: (typeof httpDirections)[number],
  values: Float64Array,
): void {
  const of = { netns }
  httpMethods.forEach((method, i) => {
    httpStatuses.forEach((status, j) => {
      const value = values[httpPlaces.answered + i * httpStatuses.length + j]!
      if (value > 0) sink.emit('netvitals_http_requests_total', { of, labels: { method, status, direction }, value })
    })
  })
  const unanswered = values[httpPlaces.unanswered]!
  if (unanswered > 0) sink.emit('netvitals_http_unanswered_total', { of, labels: { direction }, value: unanswered })
  const counts = [...values.subarray(httpPlaces.durations, httpPlaces.durations + durationBuckets)]
  if (counts.every((count) => count === 0)) return
  const value = { counts, sum: values[httpPlaces.microseconds]! / 1e6 }
  sink.emit('netvitals_http_duration_seconds', { of, labels: { direction }, value })
}

function toEvent({ type, timeMs, family, isClient, client, server, ...about }: HttpReport, netns: NetworkNamespace): EventReport {
  const { method, path, host, status, durationMs } = about
  return {
    type,
    of: { netns },
    timeMs,
    family,
    protocol: 'tcp',
    source: { ...client, isSubject: isClient },
    destination: { ...server, isSubject: !isClient },
    http: {
      method,
      path,
      host,
      ...(status !== undefined && { status }),
      ...(durationMs !== undefined && { durationMs }),
    },
  }
}
