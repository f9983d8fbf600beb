import { limits } from '../limits.ts'
import type { Log } from '../log.ts'

/** Says once what is wrong and once that it is over; the same again only after a while, because a fault may come every second. */
export function createFaultLog(log: Log, fields: Readonly<Record<string, string>>, words: { fault: string; over: string }) {
  let logged: { readonly why: string; readonly atMs: number } | undefined
  return {
    /** What heals by itself at once is not worth a warning. */
    fault(why: string, isPassing = false): void {
      const nowMs = performance.now()
      const repeats = logged !== undefined && logged.why === why && nowMs - logged.atMs < limits.failureLogMs
      const level = isPassing || repeats ? 'debug' : 'warn'
      log[level]({ ...fields, reason: why }, words.fault)
      if (level === 'warn') logged = { why, atMs: nowMs }
    },
    over(): void {
      if (logged !== undefined) log.info(fields, words.over)
      logged = undefined
    },
  }
}
