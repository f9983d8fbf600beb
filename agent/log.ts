import { type Logger, pino } from 'pino'

export type Log = Logger

export const logLevels = ['debug', 'info', 'warn', 'error', 'silent'] as const

/** JSON lines on standard error, so that standard output stays for what a person asked for. */
export function createLog(level: (typeof logLevels)[number]): Log {
  return pino(
    { level, base: null, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: (label) => ({ level: label }) } },
    pino.destination({ dest: 2, sync: true }),
  )
}
