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

/** What the sightings of one packet differ in, except that a bridge tells twice of what it sends. */
export interface Point {
  /** As in packet(7); undefined: the link does not tell. */
  readonly packetType: number | undefined
  readonly ttl: number
}

/** PACKET_OUTGOING */
export const outgoing = 4
/** One packet may be on its way through the devices of the machine for so long, and surely not for the second. */
export const passageMs = 20
const surelyOverMs = 500

/** Another packet of the same content, not the same at another device: it is where the first was seen, or too late. */
export function isSeenAgain(first: Point, point: Point, lastMs: number, timeMs: number): boolean {
  const sinceMs = timeMs - lastMs
  if (sinceMs > surelyOverMs) return true
  if (first.packetType !== point.packetType || first.ttl !== point.ttl) return false
  const isToldOnce = point.packetType !== undefined && point.packetType !== outgoing
  return isToldOnce || sinceMs > passageMs
}

/** Tells packets from further sightings of them, by what they hold. */
export interface Sightings {
  /** Whether the packet was not seen before, elsewhere. */
  isNew(content: string, point: Point, timeMs: number): boolean
}

/** Remembers the last `most`. */
export function createSightings(most: number): Sightings {
  const seen = new Map<string, { readonly point: Point; lastMs: number }>()
  return {
    isNew(content, point, timeMs) {
      const before = seen.get(content)
      if (before !== undefined) {
        if (!isSeenAgain(before.point, point, before.lastMs, timeMs)) return false
        before.lastMs = timeMs
        return true
      }
      seen.set(content, { point, lastMs: timeMs })
      if (seen.size > most) seen.delete(seen.keys().next().value!)
      return true
    },
  }
}
