import { parseError, readColumns, readHex, splitLines } from './text.ts'

/** One CPU's backlog queue, which all network namespaces share. The counters are of 32 bits and wrap. */
export interface SoftnetStat {
  /** Undefined: an older kernel (5.10 tells it), which lists the online CPUs without their numbers. */
  readonly cpu: number | undefined
  readonly processed: number
  /** Packets that found the queue full (net.core.netdev_max_backlog). */
  readonly dropped: number
  /** Times the CPU ran out of budget with packets left to do. */
  readonly timeSqueezed: number
  readonly receivedRps: number | undefined
  /** Packets of large flows dropped early (net.core.flow_limit_cpu_bitmap). */
  readonly flowLimitCount: number | undefined
  /** Packets in the queue now. */
  readonly backlogLength: number | undefined
}

/** The columns of Linux 2.6.23; later ones were only ever added behind. */
const columnsMin = 9

/** /proc/net/softnet_stat (net/core/net-procfs.c, softnet_seq_show): a row of hexadecimal numbers, without names, for each online CPU. */
export function parseProcNetSoftnetStat(text: string, where: string): SoftnetStat[] {
  return splitLines(text, where).map((line) => {
    const values = readColumns(line, 0, readHex)
    if (values.length < columnsMin)
      throw parseError(line, line.text.length, `at least ${columnsMin} columns instead of ${values.length}`)
    const [processed, dropped, timeSqueezed, , , , , , , receivedRps, flowLimitCount, backlogLength, cpu] = values
    return {
      cpu,
      processed: processed!,
      dropped: dropped!,
      timeSqueezed: timeSqueezed!,
      receivedRps,
      flowLimitCount,
      backlogLength,
    }
  })
}
