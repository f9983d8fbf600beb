import type { Log } from '../log.ts'
import { sleep } from './deadline.ts'
import { createFaultLog } from './fault-log.ts'
import type { DirectoryStatus, PodDirectory, PodRecord } from './pod-directory.ts'
import type { RecordStore } from './record-store.ts'

export interface PolledDirectoryOptions {
  readonly store: RecordStore<PodRecord>
  /** Brings the store up to date. */
  readonly poll: (signal: AbortSignal) => Promise<void> | void
  /** To the next poll, after so many failures in a row. */
  readonly waitMs: (failures: number, error: unknown) => number
  readonly describe: (error: unknown) => string
  readonly close?: () => Promise<void>
  readonly log: Log
  /** Of log lines. */
  readonly fields: Readonly<Record<string, string>>
}

/** What tells no changes is asked again and again. */
export function pollDirectory({ store, poll, waitMs, describe, close, log, fields }: PolledDirectoryOptions): PodDirectory {
  let state: DirectoryStatus['state'] = 'starting'
  let lastSuccessAtMs: number | undefined
  let lastError: string | undefined
  let restarts = 0
  let failures = 0
  const { fault, over } = createFaultLog(log, fields, {
    fault: 'pods cannot be listed; those that are known stay',
    over: 'pods are listed again',
  })

  /** Returns how long to wait now. */
  async function pollOnce(signal: AbortSignal): Promise<number> {
    try {
      await poll(signal)
      state = 'watching'
      lastSuccessAtMs = performance.now()
      lastError = undefined
      failures = 0
      over()
      return waitMs(0, undefined)
    } catch (error) {
      if (signal.aborted) return 0
      state = 'retrying'
      restarts++
      failures++
      lastError = describe(error)
      fault(lastError)
      return waitMs(failures, error)
    }
  }

  return {
    async start(signal) {
      while (!signal.aborted) await sleep(await pollOnce(signal), signal)
      await close?.()
      state = 'stopped'
    },
    pods: () => store.records,
    status: () => ({
      state,
      listedOnce: lastSuccessAtMs !== undefined,
      lastSuccessAtMs,
      lastError,
      restarts,
      leftOut: { ...store.leftOut },
    }),
    onChange: store.onChange,
  }
}
