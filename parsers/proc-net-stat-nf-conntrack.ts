import { parseProcNetStat } from './proc-net-stat.ts'

/** The kernel's words for the counters (enum ctattr_stats_cpu), and the headers they stand under here. */
const headers = {
  found: 'found',
  invalid: 'invalid',
  insert: 'insert',
  insert_failed: 'insert_failed',
  drop: 'drop',
  early_drop: 'early_drop',
  error: 'icmp_error',
  search_restart: 'search_restart',
  clash_resolve: 'clashres',
  chaintoolong: 'chainlength',
} as const

export type ConntrackCounter = keyof typeof headers
/** Of one CPU, 32 bits each: they wrap. Undefined: this kernel has no such column. */
export type ConntrackCounters = Readonly<Record<ConntrackCounter, number | undefined>>

export interface ConntrackStat {
  /** Connections that this namespace's table holds now. */
  readonly entries: number | undefined
  /** One for each possible CPU, in order. */
  readonly cpus: readonly ConntrackCounters[]
}

/** /proc/net/stat/nf_conntrack (net/netfilter/nf_conntrack_standalone.c, ct_cpu_seq_show). Many distributions leave it out (CONFIG_NF_CONNTRACK_PROCFS). */
export function parseProcNetStatNfConntrack(text: string, where: string): ConntrackStat {
  const { names, rows } = parseProcNetStat(text, where)
  const columns = Object.entries(headers).map(([counter, name]) => [counter, names.indexOf(name)] as const)
  const readRow = (row: readonly number[]): ConntrackCounters =>
    Object.fromEntries(columns.map(([counter, index]) => [counter, row[index]])) as ConntrackCounters
  return { entries: rows[0]?.[names.indexOf('entries')], cpus: rows.map(readRow) } // every row repeats the same total of entries
}
