import {
  askAll,
  askOne,
  eachAttribute,
  expectBytes,
  type NetlinkRequest,
  netlinkNetfilter,
  readNetworkU16,
  readNetworkU32,
} from './netlink.ts'
import type { ConntrackCounter, ConntrackCounters } from './proc-net-stat-nf-conntrack.ts'

const where = 'ctnetlink'
/** struct nfgenmsg: family, version, and for GET_STATS_CPU the CPU, big-endian like everything of nfnetlink. */
const headerBytes = 4
const subsystem = 1 << 8
const getStatsCpu = 4
const getStats = 5

/** A namespace's connection tracking table. Undefined: this kernel does not say. */
export interface ConntrackStats {
  readonly entries: number | undefined
  /** The setting nf_conntrack_max (Linux 4.18 and later). */
  readonly maximum: number | undefined
}

export type { ConntrackCounters } from './proc-net-stat-nf-conntrack.ts'

/** One CPU's share of a namespace's counters. */
export interface ConntrackCpuStats extends ConntrackCounters {
  readonly cpu: number
}

/** By enum ctattr_stats_global. */
const statNames = new Map<number, keyof ConntrackStats>([
  [1, 'entries'],
  [2, 'maximum'],
])

/** By enum ctattr_stats_cpu. Left out: what newer kernels no longer count (searched, new, ignore, delete, delete_list). */
const counterNames = new Map<number, ConntrackCounter>([
  [2, 'found'],
  [4, 'invalid'],
  [8, 'insert'],
  [9, 'insert_failed'],
  [10, 'drop'],
  [11, 'early_drop'],
  [12, 'error'],
  [13, 'search_restart'],
  [14, 'clash_resolve'],
  [15, 'chaintoolong'],
])

/** IPCTNL_MSG_CT_GET_STATS: needs CAP_NET_ADMIN, and loads the module nf_conntrack_netlink if it is not there. */
export function conntrackStatsRequest(): NetlinkRequest {
  return askOne('conntrack-stats', netlinkNetfilter, subsystem | getStats, new Uint8Array(headerBytes))
}

/** IPCTNL_MSG_CT_GET_STATS_CPU: as above. */
export function conntrackStatsCpuRequest(): NetlinkRequest {
  return askAll('conntrack-stats-cpu', netlinkNetfilter, subsystem | getStatsCpu, new Uint8Array(headerBytes))
}

/** Of a message that answers conntrackStatsRequest (net/netfilter/nf_conntrack_netlink.c, ctnetlink_stat_ct_fill_info). */
export function readConntrackStats(bytes: Uint8Array, from: number, to: number): ConntrackStats {
  const stats: { -readonly [K in keyof ConntrackStats]: ConntrackStats[K] } = { entries: undefined, maximum: undefined }
  expectBytes(where, from, to, headerBytes, 'struct nfgenmsg')
  eachAttribute(where, bytes, from + headerBytes, to, (type, valueFrom, valueTo) => {
    const name = statNames.get(type)
    if (name === undefined) return
    expectBytes(where, valueFrom, valueTo, 4, `the number of ${name}`)
    stats[name] = readNetworkU32(bytes, valueFrom)
  })
  return stats
}

/** Of a message that answers conntrackStatsCpuRequest (ctnetlink_ct_stat_cpu_fill_info). */
export function readConntrackStatsCpu(bytes: Uint8Array, from: number, to: number): ConntrackCpuStats {
  expectBytes(where, from, to, headerBytes, 'struct nfgenmsg')
  const counters: { -readonly [K in keyof ConntrackCpuStats]: ConntrackCpuStats[K] } = {
    cpu: readNetworkU16(bytes, from + 2),
    found: undefined,
    invalid: undefined,
    insert: undefined,
    insert_failed: undefined,
    drop: undefined,
    early_drop: undefined,
    error: undefined,
    search_restart: undefined,
    clash_resolve: undefined,
    chaintoolong: undefined,
  }
  eachAttribute(where, bytes, from + headerBytes, to, (type, valueFrom, valueTo) => {
    const name = counterNames.get(type)
    if (name === undefined) return
    expectBytes(where, valueFrom, valueTo, 4, `the counter ${name}`)
    counters[name] = readNetworkU32(bytes, valueFrom)
  })
  return counters
}
