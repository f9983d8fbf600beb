/** A message where it was seen. A packet that crosses several devices of the machine is seen at each. */
export interface Sighting {
  readonly isTcp: boolean
  /** Latin1 of an address's 4 or 16 bytes. */
  readonly source: string
  readonly sourcePort: number
  readonly destination: string
  readonly destinationPort: number
  readonly point: Point
  /** Wall clock, by the kernel. */
  readonly timeMs: number
}

/**
 * Where a packet was seen: what its sightings differ in, except that a bridge tells twice of what it sends, and also of what
 * comes to the machine by a port whose hardware address it has taken for its own.
 */
export interface Point {
  /** As in packet(7); undefined: the link does not tell. */
  readonly packetType: number | undefined
  readonly ttl: number
  /** Of the packet itself, the same wherever it is seen. 0: it has none, as with IPv6. */
  readonly identification: number
}

/** PACKET_OUTGOING */
export const outgoing = 4
/** One packet may be on its way through the devices of the machine for so long, and surely not for the second. */
export const passageMs = 100
const surelyOverMs = 500

/** Another packet of the same content, not the same at another device: it is where the one before was seen, or too late. */
export function isSeenAgain(before: Point, point: Point, lastMs: number, timeMs: number): boolean {
  const sinceMs = timeMs - lastMs
  if (sinceMs > surelyOverMs) return true
  if (before.packetType !== point.packetType || before.ttl !== point.ttl) return false
  if (before.identification !== 0 && point.identification !== 0) return before.identification !== point.identification
  return sinceMs > passageMs
}

/** Tells packets from further sightings of them, by what they hold. */
export interface Sightings {
  /** Whether the packet was seen before, elsewhere. */
  isKnown(content: string, point: Point, timeMs: number): boolean
  remember(content: string, point: Point, timeMs: number): void
  /** Whether it was not known; from now on it is. */
  isNew(content: string, point: Point, timeMs: number): boolean
}

/** Remembers the last `most`. */
export function createSightings(most: number): Sightings {
  const seen = new Map<string, { readonly point: Point; readonly lastMs: number }>()
  const sightings: Sightings = {
    isKnown(content, point, timeMs) {
      const before = seen.get(content)
      return before !== undefined && !isSeenAgain(before.point, point, before.lastMs, timeMs)
    },
    remember(content, point, timeMs) {
      seen.delete(content) // what has come last is to be last
      seen.set(content, { point, lastMs: timeMs })
      if (seen.size > most) seen.delete(seen.keys().next().value!)
    },
    isNew(content, point, timeMs) {
      if (sightings.isKnown(content, point, timeMs)) return false
      sightings.remember(content, point, timeMs)
      return true
    },
  }
  return sightings
}
