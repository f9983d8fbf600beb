import { parseProcNetStat } from './proc-net-stat.ts'

/** The machine's one neighbour table of a family, whichever namespace its entries are of. */
export interface NeighbourStat {
  readonly entries: number | undefined
  /** Times an entry was refused because the table was full (gc_thresh3). */
  readonly tableFulls: number | undefined
  /** Addresses that nobody answered for. */
  readonly resolutionFailures: number | undefined
}

/** /proc/net/stat/arp_cache and ndisc_cache (net/core/neighbour.c, neigh_stat_seq_show); they are there in the initial network namespace only. */
export function parseProcNetStatArpCache(text: string, where: string): NeighbourStat {
  const { names, rows } = parseProcNetStat(text, where)
  const sum = (name: string): number | undefined => {
    const column = names.indexOf(name)
    return column === -1 ? undefined : rows.reduce((total, row) => total + row[column]!, 0)
  }
  return {
    entries: rows[0]?.[names.indexOf('entries')], // every row repeats the same total
    tableFulls: sum('table_fulls'),
    resolutionFailures: sum('res_failed'),
  }
}
