import { parseProcNetStatArpCache } from '../../parsers/proc-net-stat-arp-cache.ts'
import { parseNumbers } from '../../parsers/proc-sys.ts'
import { neighbourTablesRequest, readNeighbourTable } from '../../parsers/rtnetlink.ts'
import { NotFound } from '../host/errors.ts'
import type { Host } from '../host/host.ts'
import { isNetlinkUnavailable } from '../host/netlink.ts'
import { type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import type { Source } from './source.ts'

type Metric = MetricsOf<'netlink-neighbours'>

interface Table {
  readonly family: 'ipv4' | 'ipv6'
  readonly entries: number | undefined
  readonly entriesLimit: number | undefined
  readonly tableFulls: number | undefined
  readonly resolutionFailures: number | undefined
}

const tables = [
  { family: 'ipv4', name: 'arp_cache' },
  { family: 'ipv6', name: 'ndisc_cache' },
] as const

/** The ARP and NDP tables. The kernel has one of each, whichever namespace asks. */
export function createNetlinkNeighbours(host: Host): Source<Metric> {
  async function readByNetlink(signal: AbortSignal): Promise<Table[]> {
    const found: Table[] = []
    await host.netlink.dump(
      host.namespaces.host,
      neighbourTablesRequest(),
      {
        restart: () => void found.splice(0),
        message: (bytes, from, to) => {
          const table = readNeighbourTable(bytes, from, to)
          const family = tables.find(({ name }) => name === table?.name)?.family
          if (table === undefined || family === undefined) return
          found.push({
            family,
            entries: table.entries,
            entriesLimit: table.gcThreshold3,
            tableFulls: table.tableFulls,
            resolutionFailures: table.resolutionFailures,
          })
        },
      },
      signal,
    )
    return found
  }

  function readFromProc({ family, name }: (typeof tables)[number]): Table[] {
    const limitPath = `/proc/sys/net/${family}/neigh/default/gc_thresh3`
    try {
      const { entries, tableFulls, resolutionFailures } = parseProcNetStatArpCache(
        host.files.readNet(host.namespaces.host, `stat/${name}`),
        `/proc/net/stat/${name}`,
      )
      return [
        { family, entries, entriesLimit: parseNumbers(host.files.read(limitPath), limitPath)[0], tableFulls, resolutionFailures },
      ]
    } catch (error) {
      if (error instanceof NotFound) return [] // exists in the initial namespace only, and for IPv6 only where IPv6 is
      throw error
    }
  }

  return {
    name: 'netlink-neighbours',
    writes: metricsOf('netlink-neighbours'),
    needs: [{ library: 'koffi' }],
    async collect(sink, signal) {
      let found: Table[]
      try {
        found = await readByNetlink(signal)
      } catch (error) {
        if (!isNetlinkUnavailable(error)) throw error
        found = tables.flatMap(readFromProc)
      }
      const emit = (metric: Metric, value: (table: Table) => number | undefined): void => {
        let known = false
        for (const table of found) {
          const number = value(table)
          if (number === undefined) continue
          known = true
          sink.emit(metric, { of: 'node', labels: { family: table.family }, value: number })
        }
        if (!known) sink.absent(metric, 'neither rtnetlink nor /proc/net/stat/arp_cache tells it here')
      }
      emit('netvitals_neighbour_entries', (table) => table.entries)
      emit('netvitals_neighbour_entries_limit', (table) => table.entriesLimit)
      emit('netvitals_neighbour_table_full_total', (table) => table.tableFulls)
      emit('netvitals_neighbour_resolution_failures_total', (table) => table.resolutionFailures)
    },
  }
}
