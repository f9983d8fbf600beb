import os from 'node:os'
import type { MapName } from '../../agent/host/traced-maps.ts'

/** What a kernel cannot tell: up to which version, what of the tracer's, and what the agent says of it. Nothing else may be absent. */
const absences: readonly { readonly before: string; readonly what: readonly (MapName | 'tasks')[]; readonly reason: string }[] = [
  {
    before: '5.17',
    what: ['dropped_packets_total', 'edge_dropped_packets_total'],
    reason: 'this kernel does not say why it frees a packet, nor whether it was dropped (Linux 5.17 does)',
  },
  {
    before: '6.10',
    what: ['tcp_sent_resets_by_reason_total'],
    reason: 'this kernel does not say why it resets, and tells only of some resets (Linux 6.10 does)',
  },
  {
    before: '6.17',
    what: ['tcp_retransmit_failures_total'],
    reason: 'this kernel does not tell of retransmissions that failed (Linux 6.17 does)',
  },
  { before: '5.18', what: ['icmp_sent_fragmentation_needed_total'], reason: 'kernel has no tracepoint icmp_send' },
]

/** Notes that `check` shows, because the numbers are not all that they are on newer kernels. */
const caveats: readonly { readonly before: string; readonly of: RegExp; readonly text: RegExp }[] = [
  { before: '5.12', of: /./, text: /^of two network namespaces with one inode, one after the other, the second is given/ },
  {
    before: '6.11',
    of: /^(edge_)?dropped_packets_total$/,
    text: /^acknowledgements and FINs that a TCP socket has taken note of are among the drops/,
  },
  {
    before: '6.17',
    of: /^tcp_retransmitted_segments_by_kind_total$/,
    text: /^retransmitted segments that this machine itself drops/,
  },
]

const toNumber = (version: string): number => {
  const [major = 0, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10))
  return major * 1000 + minor
}

/** True on kernels older than `version`, such as '6.10'. */
export const isBefore = (version: string, release = os.release()): boolean => toNumber(release) < toNumber(version)

/** Why this kernel cannot give it; undefined: it can. */
export function findExpectedAbsence(what: MapName | 'tasks', release = os.release()): string | undefined {
  return absences.find((absence) => absence.what.includes(what) && isBefore(absence.before, release))?.reason
}

/** What `check` has to say about it on this kernel. */
export function findExpectedCaveats(map: MapName, release = os.release()): readonly RegExp[] {
  return caveats.filter(({ before, of }) => isBefore(before, release) && of.test(map)).map(({ text }) => text)
}
