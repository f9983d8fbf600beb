import { setImmediate } from 'node:timers/promises'
import { limits } from '../limits.ts'

let begunAtMs = Number.NEGATIVE_INFINITY
let beginning: Promise<void> | undefined

/** True if what reads the kernel has had its share of this turn of the event loop. Readers share it: ten that each kept to it would stop the loop ten times as long. */
export function isTurnOver(): boolean {
  return performance.now() - begunAtMs >= limits.yieldMs
}

/** Gives the event loop back and waits for a turn with time left. Throws the signal's reason. */
export async function nextTurn(signal: AbortSignal): Promise<void> {
  while (isTurnOver()) await (beginning ??= begin())
  signal.throwIfAborted()
}

async function begin(): Promise<void> {
  await setImmediate()
  begunAtMs = performance.now()
  beginning = undefined
}
