import { above, add, divide, type Query, rate, share, sum, type TargetLabel, value } from '../promql.ts'
import { here } from './variables.ts'

/** The host's own connection tracking table, through which its pods' connections go too. */
export const hostTable = { ...here, namespace: '', pod: '' } as const

// How full it is, one by one.
export const conntrackRatio = divide(
  value('netvitals_conntrack_entries', hostTable),
  above(value('netvitals_conntrack_entries_limit', hostTable), 0),
)
export const portsRatio = divide(
  value('netvitals_tcp_ephemeral_ports_in_use', here),
  above(value('netvitals_tcp_ephemeral_ports', here), 0),
)
export const neighbourRatio = divide(
  value('netvitals_neighbour_entries', here),
  above(value('netvitals_neighbour_entries_limit', here), 0),
)
export const tcpMemoryRatio = divide(
  value('netvitals_tcp_memory_bytes', here),
  above(value('netvitals_tcp_memory_limit_bytes', here), 0),
)

/** TCP segments sent again, of all; the kernel's number of those sent leaves them out. */
export const sentAgain = <L extends string>(again: Query<L>, first: Query<L>): Query<L> => share(again, add(first, again))
export const retransmittedRatio = <L extends TargetLabel = never>(window?: string, ...by: readonly L[]): Query<L> =>
  sentAgain(
    sum(rate('netvitals_tcp_retransmitted_segments_total', here, window), ...by),
    sum(rate('netvitals_tcp_sent_segments_total', here, window), ...by),
  )
/** TCP connects that failed, of those that ended. */
export const failedConnectRatio = <L extends TargetLabel = never>(window?: string, ...by: readonly L[]): Query<L> =>
  share(
    sum(rate('netvitals_tcp_connects_total', { ...here, outcome: { noneOf: ['connected'] } }, window), ...by),
    sum(rate('netvitals_tcp_connects_total', here, window), ...by),
  )
/** DNS answers with an error, of all answers; that a name does not exist is none. */
export const dnsErrorRatio = <L extends TargetLabel = never>(window?: string, ...by: readonly L[]): Query<L> =>
  share(
    sum(rate('netvitals_dns_responses_total', { ...here, rcode: { noneOf: ['NOERROR', 'NXDOMAIN'] } }, window), ...by),
    sum(rate('netvitals_dns_responses_total', here, window), ...by),
  )
