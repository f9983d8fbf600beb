import {
  conntrackStatsCpuRequest,
  conntrackStatsRequest,
  readConntrackStats,
  readConntrackStatsCpu,
} from '../../parsers/ctnetlink.ts'
import { type ConntrackCounters, parseProcNetStatNfConntrack } from '../../parsers/proc-net-stat-nf-conntrack.ts'
import { NotFound } from '../host/errors.ts'
import type { Host } from '../host/host.ts'
import type { NetworkNamespace } from '../host/namespaces.ts'
import { isNetlinkRefused } from '../host/netlink.ts'
import { type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import { eachNamespace } from './each-namespace.ts'
import { readSysctl } from './read-sysctl.ts'
import type { Source } from './source.ts'
import { createPerCpuTotals, type PerCpuTotals } from './unwrap.ts'

type Metric = MetricsOf<'netlink-conntrack'>

const counterNames = [
  'found',
  'invalid',
  'insert',
  'insert_failed',
  'drop',
  'early_drop',
  'error',
  'search_restart',
  'clash_resolve',
  'chaintoolong',
] as const

/** A namespace's table as one of three ways tells it: netlink (needs CAP_NET_ADMIN), /proc/net/stat/nf_conntrack (left out by many distributions), sysctls (the host's numbers only). */
interface Table {
  readonly entries: number | undefined
  readonly cpus: readonly ConntrackCounters[]
}

export function createNetlinkConntrack(host: Host): Source<Metric> {
  const totals = new WeakMap<NetworkNamespace, PerCpuTotals>()
  /** Namespaces that have tracked anything: the others get no series. */
  const used = new WeakSet<NetworkNamespace>()

  async function readByNetlink(netns: NetworkNamespace, signal: AbortSignal): Promise<Table> {
    const { entries } = await host.netlink.get(netns, conntrackStatsRequest(), readConntrackStats, signal)
    const cpus: ConntrackCounters[] = []
    const read = {
      restart: () => void cpus.splice(0),
      message: (bytes: Uint8Array, from: number, to: number) => void cpus.push(readConntrackStatsCpu(bytes, from, to)),
    }
    await host.netlink.dump(netns, conntrackStatsCpuRequest(), read, signal)
    return { entries, cpus }
  }

  async function readTable(netns: NetworkNamespace, isHost: boolean, signal: AbortSignal): Promise<Table> {
    try {
      return await readByNetlink(netns, signal)
    } catch (error) {
      if (!isNetlinkRefused(error)) throw error
    }
    try {
      return parseProcNetStatNfConntrack(host.files.readNet(netns, 'stat/nf_conntrack'), '/proc/net/stat/nf_conntrack')
    } catch (error) {
      if (!(error instanceof NotFound)) throw error
    }
    return { entries: isHost ? readSysctl(host, 'net/netfilter/nf_conntrack_count')[0] : undefined, cpus: [] }
  }

  return {
    name: 'netlink-conntrack',
    writes: metricsOf('netlink-conntrack'),
    needs: [{ capability: 'CAP_NET_ADMIN' }, { library: 'koffi' }],
    async collect(sink, signal) {
      // Asking by netlink would load the module: whoever watches must not switch connection tracking on.
      const [limit] = readSysctl(host, 'net/netfilter/nf_conntrack_max')
      if (limit === undefined) throw new NotFound('/proc/sys/net/netfilter/nf_conntrack_max', 'connection tracking is not loaded')
      const [buckets] = readSysctl(host, 'net/netfilter/nf_conntrack_buckets')
      if (buckets === undefined) sink.absent('netvitals_conntrack_buckets', 'no /proc/sys/net/netfilter/nf_conntrack_buckets')
      else sink.emit('netvitals_conntrack_buckets', { of: 'node', labels: {}, value: buckets })

      await eachNamespace(host, sink, signal, async (netns, isHost) => {
        const of = { netns }
        const { entries, cpus } = await readTable(netns, isHost, signal)
        if (isHost || (entries ?? 0) > 0 || cpus.some((counters) => counterNames.some((name) => (counters[name] ?? 0) > 0)))
          used.add(netns)
        if (!used.has(netns)) return
        sink.emit('netvitals_conntrack_entries_limit', { of, labels: {}, value: limit })
        if (entries !== undefined) sink.emit('netvitals_conntrack_entries', { of, labels: {}, value: entries })
        else if (isHost)
          sink.absent('netvitals_conntrack_entries', 'needs CAP_NET_ADMIN, or a kernel with /proc/net/stat/nf_conntrack')

        let perCpu = totals.get(netns)
        if (perCpu === undefined) totals.set(netns, (perCpu = createPerCpuTotals()))
        for (const name of counterNames) {
          const metric = `netvitals_conntrack_${name}_total` as const
          let known = false
          cpus.forEach((counters, cpu) => {
            const low = counters[name]
            if (low === undefined) return
            known = true
            perCpu.set(cpu, name, low)
          })
          if (known) sink.emit(metric, { of, labels: {}, value: perCpu.total(name) })
          else if (isHost)
            sink.absent(
              metric,
              cpus.length > 0
                ? 'this kernel does not count it'
                : 'needs CAP_NET_ADMIN, or a kernel with /proc/net/stat/nf_conntrack',
            )
        }
      })
    },
  }
}
