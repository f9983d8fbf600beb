export interface Deadline {
  readonly signal: AbortSignal
  /** The time begins anew. */
  renew(): void
}

/** Ends the work, with `late`, when its time is over; or when the signal says so. */
export async function within<T>(
  signal: AbortSignal,
  ms: number,
  late: Error,
  work: (deadline: Deadline) => Promise<T>,
): Promise<T> {
  const controller = new AbortController()
  const end = (): void => controller.abort(signal.reason)
  const timer = setTimeout(() => controller.abort(late), ms)
  signal.addEventListener('abort', end, { once: true })
  try {
    signal.throwIfAborted()
    return await work({ signal: controller.signal, renew: () => void timer.refresh() })
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', end)
  }
}

/** Or until the signal. */
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    signal.addEventListener('abort', end)
    if (signal.aborted) end()
  })
}
