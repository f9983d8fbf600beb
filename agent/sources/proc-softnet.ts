import { parseProcNetSoftnetStat } from '../../parsers/proc-net-softnet-stat.ts'
import type { Host } from '../host/host.ts'
import { type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import type { Source } from './source.ts'
import { createPerCpuTotals } from './unwrap.ts'

type Metric = MetricsOf<'proc-softnet'>

/** The CPUs' backlog queues, which all namespaces share. */
export function createProcSoftnet(host: Host): Source<Metric> {
  const totals = createPerCpuTotals()
  return {
    name: 'proc-softnet',
    writes: metricsOf('proc-softnet'),
    needs: [{ file: '/proc/net/softnet_stat' }],
    async collect(sink) {
      const rows = parseProcNetSoftnetStat(host.files.readNet(host.namespaces.host, 'softnet_stat'), '/proc/net/softnet_stat')
      rows.forEach((row, i) => {
        const cpu = row.cpu ?? i // the file says which CPU a row is since 5.14
        totals.set(cpu, 'dropped', row.dropped)
        totals.set(cpu, 'timeSqueezed', row.timeSqueezed)
      })
      sink.emit('netvitals_softnet_drops_total', { of: 'node', labels: {}, value: totals.total('dropped') })
      sink.emit('netvitals_softnet_time_squeezes_total', { of: 'node', labels: {}, value: totals.total('timeSqueezed') })
    },
  }
}
