import { createPacketHeaders, readPacketHeaders } from '../../parsers/packet-headers.ts'
import { limits } from '../limits.ts'
import { createSightings, type Point } from './sighting.ts'

/** Packets of all devices together, each once. */
export interface SingleCopies {
  /** False: it is a packet that was seen at another device just now. With another address in it, it counts as another. */
  admits(bytes: Buffer, capturedLength: number, wireLength: number, linkType: number, timeMs: number): boolean
}

/** So many bytes tell packets apart; most are shorter. */
const toldApartBytes = 256
/** Before what a cooked or Ethernet header says of the kind of packet, it differs from device to device. */
const addressesOfLinkBytes = 12

export function createSingleCopies(): SingleCopies {
  const headers = createPacketHeaders()
  const sightings = createSightings(limits.captureSightings)
  return {
    admits(bytes, capturedLength, wireLength, linkType, timeMs) {
      const fault = readPacketHeaders(bytes, 0, capturedLength, wireLength, linkType, headers)
      const isIp = fault === undefined || fault === 'fragment'
      const { packetType } = headers
      const point: Point = isIp
        ? { packetType, ttl: headers.ttl, identification: headers.identification }
        : { packetType, ttl: 0, identification: 0 }
      const content = (from: number, to: number): string => bytes.toString('latin1', from, Math.min(to, capturedLength))
      if (!isIp) return sightings.isNew(content(addressesOfLinkBytes, toldApartBytes), point, timeMs)
      // What changes on the way is left out: the hop limit, and of IPv4 the checksum.
      const isIpv4 = headers.family === 4
      const start = headers.sourceAt - (isIpv4 ? 12 : 8)
      const fixed = isIpv4 ? content(start, start + 8) + bytes[start + 9] : content(start, start + 7)
      return sightings.isNew(fixed + content(headers.sourceAt, start + toldApartBytes), point, timeMs)
    },
  }
}
