import { type ChildProcess, spawn } from 'node:child_process'
import type { Namespace } from '../truth/topology.ts'
import { backend } from './scene.ts'

export const recordedPort = 10_478
const ofBackend = `namespace="shop",pod="${backend.name}"`
const dropped = (reason: string, category: string, direction: string, row = 'namespace="",pod=""'): string =>
  `netvitals_dropped_packets_total{${row},reason="${reason}",category="${category}",protocol="udp",direction="${direction}"}`
/** What this machine cannot be made to count: its devices have no errors, and the node's own limits are not for a test to reach. */
const recorded = {
  /** Which grow by 20 each second. */
  counters: [
    'netvitals_dropped_packets_unattributed_total{reason="not_specified"}',
    dropped('netfilter_drop', 'netfilter', 'forward'),
    dropped('netfilter_drop', 'netfilter', 'forward', ofBackend),
    dropped('nomem', 'memory', 'in'),
    ...['received_packets', 'transmitted_packets', 'receive_drops', 'transmit_drops', 'receive_errors', 'transmit_errors'].map(
      (what) => `netvitals_device_${what}_total{device="eth9"}`,
    ),
    ...[
      'time_wait_overflows',
      'spurious_rtos',
      'memory_pressures',
      'challenge_acks',
      'retransmit_failures',
      'checksum_errors',
    ].map((what) => `netvitals_tcp_${what}_total{${ofBackend}}`),
    ...['receive_queue_drops', 'zero_window_wanted'].map((what) => `netvitals_tcp_${what}_total{${ofBackend}}`),
    ...['drop', 'insert_failed'].map((what) => `netvitals_conntrack_${what}_total{${ofBackend}}`),
    ...['cut', 'unreadable'].map((what) => `netvitals_captured_packets_${what}_total`),
    ...['capture_ring', 'map_full'].map((kind) => `netvitals_lost_events_total{kind="${kind}"}`),
    'netvitals_softnet_drops_total',
    'netvitals_neighbour_table_full_total{family="ipv4"}',
    'netvitals_series_dropped_total',
    'netvitals_child_cpu_seconds_total{child="drops"}',
  ],
  gauges: {
    netvitals_tcp_memory_bytes: 99e6,
    netvitals_tcp_memory_limit_bytes: 100e6,
    netvitals_tcp_orphans: 10,
    netvitals_tcp_orphans_limit: 1000,
    'netvitals_neighbour_entries{family="ipv4"}': 900,
    'netvitals_neighbour_entries_limit{family="ipv4"}': 1000,
    'netvitals_child_resident_memory_bytes{child="drops"}': 50e6,
    'netvitals_source_success{source="trace-drops"}': 0,
    'netvitals_names_up{provider="pods"}': 0,
  },
}

/** An exporter of what is recorded. */
export function startRecording({ name }: Namespace): ChildProcess {
  const { counters, gauges } = recorded
  const info = `netvitals_pod_info{namespace="shop",pod="${backend.name}",workload="backend",workload_type="statefulset",host_network="false"}`
  const program = `const since = Date.now(); require('node:http').createServer((_, response) => {
    const seconds = Math.round((Date.now() - since) / 1000)
    const counters = ${JSON.stringify(counters)}.map((series) => [series, 20 * seconds])
    const all = [...counters, ...Object.entries(${JSON.stringify({ ...gauges, [info]: 1 })})]
    response.setHeader('Content-Type', 'text/plain; version=0.0.4; charset=utf-8')
    response.end(all.map(([series, value]) => series + ' ' + value + '\\n').join(''))
  }).listen(${recordedPort}, '127.0.0.1')`
  return spawn('ip', ['netns', 'exec', name, process.execPath, '-e', program], { stdio: 'ignore' })
}
