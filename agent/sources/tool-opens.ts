import type { ToolEvent } from '../../parsers/tool-table.ts'
import type { Host } from '../host/host.ts'
import type { Source } from './source.ts'
import { createToolCounters, type Telling } from './tool-counters.ts'

type Metric = 'netvitals_tcp_active_opens_total' | 'netvitals_tcp_passive_opens_total'

/** In the place of proc-snmp where there is no kernel to ask: what recordings of tcpconnect and tcpaccept tell. */
export function createToolOpens(host: Host): Source<Metric> {
  const told = createToolCounters<Metric>(host, 'opens', translate)
  const writes = ['netvitals_tcp_active_opens_total', 'netvitals_tcp_passive_opens_total'] as const
  return {
    name: 'proc-snmp',
    writes,
    needs: [],
    start: async (signal, out) => told.start(signal, out),
    async collect(sink, signal) {
      await told.collect(sink, signal, (netns, metric, [value = 0]) =>
        sink.emit(metric as Metric, { of: { netns }, labels: {}, value }),
      )
    },
  }
}

function translate({ type, local, count }: ToolEvent): Telling {
  const metric: Metric = type === 'accept' ? 'netvitals_tcp_passive_opens_total' : 'netvitals_tcp_active_opens_total'
  return { candidates: [{ address: local?.address, key: metric }], count, values: [count] }
}
