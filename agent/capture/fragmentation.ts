import { isSeenAgain, type Point, passageMs } from './sighting.ts'

/** ICMP "fragmentation needed": a router's word that a packet was too large for the next link. */
export interface FragmentationNeeded {
  /** One sighting of a message to `subject`; `quote` is of the packet that was too large, what address translation leaves as it is. */
  take(subject: number, isHost: boolean, quote: string, point: Point, timeMs: number): void
  /** Counts those that have arrived. */
  expire(nowMs: number): void
  /** By subject; one place. */
  readonly counts: ReadonlyMap<number, Float64Array>
  forget(subject: number): void
}

interface Arriving {
  subject: number
  isHost: boolean
  readonly point: Point
  readonly firstMs: number
}

/**
 * Each message once, and for whom it was meant: of a packet that was sent on under the host's address (masquerading), the
 * message comes to the host, which translates it and sends it on to the pod. So it is counted when it has arrived.
 */
export function createFragmentationNeeded(most: number): FragmentationNeeded {
  const arriving = new Map<string, Arriving>()
  const counts = new Map<number, Float64Array>()
  function count({ subject }: Arriving): void {
    counts.set(subject, Float64Array.of((counts.get(subject)?.[0] ?? 0) + 1))
  }
  function expire(nowMs: number): void {
    for (const [quote, message] of arriving) {
      if (message.firstMs > nowMs - passageMs) break
      arriving.delete(quote)
      count(message)
    }
  }
  return {
    counts,
    expire,
    take(subject, isHost, quote, point, timeMs) {
      expire(timeMs)
      const known = arriving.get(quote)
      const isAnother = known !== undefined && isSeenAgain(known.point, point, known.firstMs, timeMs)
      if (isAnother) count(known)
      if (known === undefined || isAnother) {
        arriving.delete(quote)
        arriving.set(quote, { subject, isHost, point, firstMs: timeMs })
        if (arriving.size <= most) return
        const [first, oldest] = arriving.entries().next().value!
        arriving.delete(first)
        count(oldest)
      } else if (known.isHost && !isHost) {
        known.subject = subject
        known.isHost = false
      }
    },
    forget: (subject) => void counts.delete(subject),
  }
}
