import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { limits } from '../limits.ts'
import type { Log } from '../log.ts'
import { superviseChild } from './child.ts'

export interface RecordPcapSettings {
  readonly file: string
  /** A file of this name is replaced. */
  readonly isForced: boolean
  /** `any`: all of them. */
  readonly device: string
  /** Whose packets, in the words of pcap-filter(7); empty: everybody's. */
  readonly ownerFilter: string
  /** Of the user; empty: none. */
  readonly filter: string
  /** Of each packet, with its link header. */
  readonly snapBytes: number
  /** What ends the capture, whatever comes first. Infinity becomes null on the way to the process. */
  readonly bytesMax: number
  readonly packetsMax: number
  readonly durationMs: number | null
}

/** Of a file of packets. */
export interface PcapFileTotals {
  /** Written. */
  readonly packets: number
  readonly bytes: number
  /** Of which only the first bytes were. */
  readonly cut: number
  /** Not written: the same packets at other devices. */
  readonly sightings: number
  /** Not written: there was no room for them in the kernel, or a device dropped them. */
  readonly lost: number
}

/** What ended it. */
export type PcapFileEnd = 'stopped' | 'duration' | 'bytes' | 'packets'

/** What the process that records tells, a line of JSON each. */
export type RecordPcapReport =
  | { readonly type: 'ready' }
  /** It ends now. */
  | { readonly type: 'failed'; readonly reason: string }
  | { readonly type: 'totals'; readonly totals: PcapFileTotals }
  | { readonly type: 'ended'; readonly end: PcapFileEnd; readonly totals: PcapFileTotals }

/** It is told no more than this. */
export const stopOrder = { type: 'stop' } as const

export interface RecordPcapOptions {
  readonly settings: RecordPcapSettings
  /** Ends it well: what was seen until then is in the file. */
  readonly signal: AbortSignal
  readonly onTotals: (totals: PcapFileTotals) => void
  readonly log: Log
}

/** Writes packets into a file, by a process of its own. @throws Error in words */
export async function recordPcap({
  settings,
  signal,
  onTotals,
  log,
}: RecordPcapOptions): Promise<{ end: PcapFileEnd; totals: PcapFileTotals }> {
  const program = fileURLToPath(new URL('./record-pcap-process.js', import.meta.url))
  if (!existsSync(program)) throw new Error(`there is no ${program}`)
  let stop = (): void => {}
  const done = new Promise<{ end: PcapFileEnd; totals: PcapFileTotals }>((resolve, reject) => {
    const child = superviseChild({
      command: [process.execPath, program, JSON.stringify(settings)],
      hears: true,
      lineBytesMax: limits.captureLineBytes,
      onLine(line) {
        const report = JSON.parse(line) as RecordPcapReport
        if (report.type === 'totals') onTotals(report.totals)
        else if (report.type === 'failed') reject(new Error(report.reason))
        else if (report.type === 'ended') resolve(report)
      },
      onEnd() {
        void child.stop() // it is not to begin again
        reject(new Error(`the process that records has ended: ${child.status().lastEnd ?? 'nobody knows why'}`))
      },
      log,
    })
    stop = () => child.send(JSON.stringify(stopOrder))
    child.start()
    if (signal.aborted) stop()
  })
  signal.addEventListener('abort', stop, { once: true })
  try {
    return await done
  } finally {
    signal.removeEventListener('abort', stop)
  }
}
