import { linksRequest, qdiscsRequest, readLink, readQdisc } from '../../parsers/rtnetlink.ts'
import type { Host } from '../host/host.ts'
import { isNetlinkUnavailable } from '../host/netlink.ts'
import { type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import type { Source } from './source.ts'
import { createUnwrapper } from './unwrap.ts'

type Metric = MetricsOf<'netlink-qdisc'>

/** TC_H_ROOT of linux/pkt_sched.h. The root's counters include its classes' and queues'. */
const root = 0xffffffff

/** Root queueing disciplines of the host's devices. A device without a queue (noqueue) cannot drop here. */
export function createNetlinkQdisc(host: Host): Source<Metric> {
  const unwrapper = createUnwrapper()
  return {
    name: 'netlink-qdisc',
    writes: metricsOf('netlink-qdisc'),
    needs: [{ library: 'koffi' }],
    async collect(sink, signal) {
      const names = new Map<number, string>()
      const qdiscs: ReturnType<typeof readQdisc>[] = []
      try {
        await host.netlink.dump(
          host.namespaces.host,
          linksRequest(),
          {
            restart: () => names.clear(),
            message: (bytes, from, to) => {
              const { index, name } = readLink(bytes, from, to)
              names.set(index, name)
            },
          },
          signal,
        )
        await host.netlink.dump(
          host.namespaces.host,
          qdiscsRequest(),
          { restart: () => void qdiscs.splice(0), message: (bytes, from, to) => void qdiscs.push(readQdisc(bytes, from, to)) },
          signal,
        )
      } catch (error) {
        if (!isNetlinkUnavailable(error)) throw error
        for (const metric of metricsOf('netlink-qdisc')) sink.absent(metric, 'only rtnetlink tells it, through koffi')
        return
      }
      for (const { index, parent, kind, handle, drops, backlogBytes } of qdiscs) {
        const device = names.get(index)
        if (parent !== root || kind === 'noqueue' || device === undefined) continue
        if (drops !== undefined)
          sink.emit('netvitals_qdisc_drops_total', {
            of: 'node',
            labels: { device },
            value: unwrapper.unwrap(`${index} ${handle}`, drops),
          })
        if (backlogBytes !== undefined)
          sink.emit('netvitals_qdisc_backlog_bytes', { of: 'node', labels: { device }, value: backlogBytes })
      }
      unwrapper.forgetUnread()
    },
  }
}
