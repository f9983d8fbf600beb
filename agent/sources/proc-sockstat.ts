import { parseProcNetSockstat } from '../../parsers/proc-net-sockstat.ts'
import type { Host } from '../host/host.ts'
import { type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import { eachNamespace } from './each-namespace.ts'
import { readSysctl } from './read-sysctl.ts'
import type { Sink, Source } from './source.ts'

type Metric = MetricsOf<'proc-sockstat'>

/** Sockets in use by namespace; TCP memory and orphans once, because the kernel keeps one account for the machine, whichever namespace asks. */
export function createProcSockstat(host: Host): Source<Metric> {
  function emitHostWide(sink: Sink<Metric>, sockstat: ReadonlyMap<string, number>): void {
    const pages = (count: number | undefined): number | undefined =>
      count === undefined ? undefined : count * host.pageSizeBytes
    const values: [Exclude<Metric, 'netvitals_sockets_used'>, number | undefined, string][] = [
      ['netvitals_tcp_memory_bytes', pages(sockstat.get('TCP.mem')), '/proc/net/sockstat has no TCP mem'],
      ['netvitals_tcp_orphans', sockstat.get('TCP.orphan'), '/proc/net/sockstat has no TCP orphan'],
      [
        'netvitals_tcp_memory_limit_bytes',
        pages(readSysctl(host, 'net/ipv4/tcp_mem')[2]),
        'no /proc/sys/net/ipv4/tcp_mem: it is in the first network namespace of the machine only',
      ],
      [
        'netvitals_tcp_orphans_limit',
        readSysctl(host, 'net/ipv4/tcp_max_orphans')[0],
        'no /proc/sys/net/ipv4/tcp_max_orphans: it is in the first network namespace of the machine only',
      ],
      [
        'netvitals_tcp_time_wait_sockets_limit',
        readSysctl(host, 'net/ipv4/tcp_max_tw_buckets')[0],
        'no /proc/sys/net/ipv4/tcp_max_tw_buckets',
      ],
    ]
    for (const [metric, value, reason] of values) {
      if (value === undefined) sink.absent(metric, reason)
      else sink.emit(metric, { of: 'node', labels: {}, value })
    }
  }

  return {
    name: 'proc-sockstat',
    writes: metricsOf('proc-sockstat'),
    needs: [{ file: '/proc/net/sockstat' }],
    async collect(sink, signal) {
      await eachNamespace(host, sink, signal, (netns, isHost) => {
        const sockstat = parseProcNetSockstat(host.files.readNet(netns, 'sockstat'), '/proc/net/sockstat')
        if (isHost) emitHostWide(sink, sockstat)
        const used = sockstat.get('sockets.used')
        if (used !== undefined) sink.emit('netvitals_sockets_used', { of: { netns }, labels: {}, value: used })
      })
    },
  }
}
