/** In the message of an error: the kernel itself has left events out. */
export const leftOut = 'the kernel has not run the programs for each event'

/**
 * When a test is tried again. A kernel may be built to run no BPF program on top of a task that is not to be looked into:
 * on one 6.18, a guest, those events are never seen by ours nor by bpftrace that softirqs cause while a thread of its init
 * is on the CPU, whole bursts of timers, and no miss is counted. ftrace shows each of them there, but no stack of that
 * thread, into which root may not look either. And any kernel leaves out an event of a softirq that interrupts the same
 * program; the agent tells of these. So a test that saw fewer than there were, and nothing else, is tried again, twice at
 * most; each try asks for exactly as many.
 */
export const retry = {
  count: 2,
  condition: ({ message = '', actual, expected }: { message?: string; actual?: unknown; expected?: unknown }): boolean =>
    message.includes(leftOut) || isShort(String(actual ?? ''), String(expected ?? '')),
}

const number = /(?<![\w.:-])\d+(?![\w.:-])/g

/**
 * Of values as vitest writes them, on lines: each number is as expected or smaller, lines may be missing, one of both is
 * so; all else is the same.
 */
export function isShort(actual: string, expected: string): boolean {
  const lines = expected.split('\n')
  let isLess = false
  let at = 0
  for (const line of actual.split('\n')) {
    while (at < lines.length && shapeOf(lines[at]!) !== shapeOf(line)) {
      at++
      isLess = true
    }
    if (at === lines.length) return false
    const [had, wanted] = [numbersOf(line), numbersOf(lines[at]!)]
    if (had.some((one, i) => one > wanted[i]!)) return false
    isLess ||= had.some((one, i) => one < wanted[i]!)
    at++
  }
  return actual !== '' && (isLess || at < lines.length)
}

const shapeOf = (line: string): string => line.replaceAll(number, '0').replace(/,$/, '')
const numbersOf = (line: string): number[] => (line.match(number) ?? []).map(Number)
