import { parseProcNetSnmp } from '../../parsers/proc-net-snmp.ts'
import { parseProcNetSnmp6 } from '../../parsers/proc-net-snmp6.ts'
import { NotFound } from '../host/errors.ts'
import type { Host } from '../host/host.ts'
import type { NetworkNamespace } from '../host/namespaces.ts'
import { catalogue, type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import { eachNamespace } from './each-namespace.ts'
import type { Source } from './source.ts'

type Metric = MetricsOf<'proc-snmp'>
type Plain = Exclude<Metric, 'netvitals_tcp_aborts_total'>

/** The counters of the TCP/IP stack that the catalogue's `origin` names, added where it names several. */
export function createProcSnmp(host: Host): Source<Metric> {
  const writes = metricsOf('proc-snmp')
  const plain = writes
    .filter((metric): metric is Plain => metric !== 'netvitals_tcp_aborts_total')
    .map((metric) => ({ metric, fields: catalogue[metric].origin.split(' ') }))
  const aborts = catalogue.netvitals_tcp_aborts_total
  const abortFields = aborts.origin.split(' ')

  function read(netns: NetworkNamespace): readonly ReadonlyMap<string, number>[] {
    const tables = [
      parseProcNetSnmp(host.files.readNet(netns, 'snmp'), '/proc/net/snmp'),
      parseProcNetSnmp(host.files.readNet(netns, 'netstat'), '/proc/net/netstat'),
    ]
    try {
      tables.push(parseProcNetSnmp6(host.files.readNet(netns, 'snmp6'), '/proc/net/snmp6'))
    } catch (error) {
      if (!(error instanceof NotFound)) throw error // without IPv6 there is no such file, and IPv4 is all there is
    }
    return tables
  }

  return {
    name: 'proc-snmp',
    writes,
    needs: [{ file: '/proc/net/snmp' }, { file: '/proc/net/netstat' }, { file: '/proc/net/snmp6' }],
    async collect(sink, signal) {
      await eachNamespace(host, sink, signal, (netns, isHost) => {
        const tables = read(netns)
        const find = (field: string): number | undefined => {
          for (const table of tables) {
            const value = table.get(field)
            if (value !== undefined) return value
          }
          return undefined
        }
        for (const { metric, fields } of plain) {
          let sum: number | undefined
          for (const field of fields) {
            const value = find(field)
            if (value !== undefined) sum = (sum ?? 0) + value
          }
          if (sum !== undefined) sink.emit(metric, { of: { netns }, labels: {}, value: sum })
          else if (isHost) sink.absent(metric, `this kernel does not count ${fields.join(', ')}`)
        }
        let known = false
        aborts.only.reason.forEach((reason, i) => {
          const value = find(abortFields[i] ?? '')
          if (value === undefined) return
          known = true
          sink.emit('netvitals_tcp_aborts_total', { of: { netns }, labels: { reason }, value })
        })
        if (!known && isHost) sink.absent('netvitals_tcp_aborts_total', `this kernel does not count ${abortFields.join(', ')}`)
      })
    },
  }
}
