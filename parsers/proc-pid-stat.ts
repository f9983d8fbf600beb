import { ParseError } from './text.ts'

export interface ProcessStat {
  /** What it calls itself: any bytes, 15 at most. */
  readonly name: string
  /** R running, S sleeping, Z zombie … */
  readonly state: string
  /** PF_… of include/linux/sched.h. */
  readonly flags: number
  /** In user space and in the kernel, with its own children that it has waited for; in clock ticks. */
  readonly cpuTicks: number
  /** In clock ticks after boot: with the pid it names a process for good. */
  readonly startedAtTicks: number
  readonly residentPages: number
}

/** Numbers of the fields as proc(5) counts them. */
const first = 3
const fields = { flags: 9, utime: 14, stime: 15, cutime: 16, cstime: 17, starttime: 22, rss: 24 } as const

/** /proc/<pid>/stat (fs/proc/array.c, do_task_stat): one line, in which the name, in parentheses, may hold anything. */
export function parseProcPidStat(text: string, where: string): ProcessStat {
  const open = text.indexOf('(')
  const close = text.lastIndexOf(')')
  const complain = (at: number, expected: string, got: string): ParseError => {
    const lines = text.slice(0, at).split('\n')
    return new ParseError(where, lines.length, lines.at(-1)!.length + 1, expected, got)
  }
  if (open === -1 || close < open) throw complain(Math.max(open, 0), 'a name in parentheses', text)
  const columns = text
    .slice(close + 2)
    .trimEnd()
    .split(' ', fields.rss - first + 1)
  const read = (field: number): number => {
    const column = columns[field - first] ?? ''
    if (/^-?\d+$/.test(column)) return Number(column)
    const at = columns.slice(0, field - first).reduce((sum, { length }) => sum + length + 1, close + 2)
    throw complain(at, `a number as field ${field}`, column)
  }
  return {
    name: text.slice(open + 1, close),
    state: columns[0] ?? '',
    flags: read(fields.flags),
    cpuTicks: read(fields.utime) + read(fields.stime) + read(fields.cutime) + read(fields.cstime),
    startedAtTicks: read(fields.starttime),
    residentPages: read(fields.rss),
  }
}
