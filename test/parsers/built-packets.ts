/** Packets as RFC 791, 8200, 9293, 768 and 792 lay them out; lengths are right unless told otherwise, checksums are 0. */
export const u16 = (value: number): number[] => [(value >> 8) & 255, value & 255]
export const u32 = (value: number): number[] => [...u16(value >>> 16), ...u16(value & 0xffff)]

export interface IpFields {
  source: readonly number[]
  destination: readonly number[]
  protocol: number
  ttl?: number
  /** IPv4's. */
  identification?: number
  /** Instead of the right one. */
  length?: number
}

export function ipv4(
  { source, destination, protocol, ttl = 64, identification = 0, length }: IpFields,
  payload: readonly number[],
  { options = [], fragment = 0 }: { options?: readonly number[]; fragment?: number } = {},
): number[] {
  const headerBytes = 20 + options.length
  const total = u16(length ?? headerBytes + payload.length)
  const start = [0x40 | (headerBytes / 4), 0, ...total, ...u16(identification), ...u16(fragment), ttl, protocol, 0, 0]
  return [...start, ...source, ...destination, ...options, ...payload]
}

/** `extensions`: each its protocol number and its bytes; the first byte becomes the number of what follows. */
export function ipv6(
  { source, destination, protocol, ttl = 64, length }: IpFields,
  payload: readonly number[],
  extensions: readonly (readonly [protocol: number, bytes: readonly number[]])[] = [],
): number[] {
  const body = extensions.flatMap(([, bytes], i) => [extensions[i + 1]?.[0] ?? protocol, ...bytes.slice(1)])
  const first = extensions[0]?.[0] ?? protocol
  const size = u16(length ?? body.length + payload.length)
  return [0x60, 0, 0, 0, ...size, first, ttl, ...source, ...destination, ...body, ...payload]
}

export interface TcpFields {
  sourcePort: number
  destinationPort: number
  sequence?: number
  acknowledgement?: number
  flags?: number
}

export function tcp(fields: TcpFields, payload: readonly number[], options: readonly number[] = []): number[] {
  const { sourcePort, destinationPort, sequence = 0, acknowledgement = 0, flags = 0x18 } = fields
  const numbers = [...u16(sourcePort), ...u16(destinationPort), ...u32(sequence), ...u32(acknowledgement)]
  return [...numbers, (5 + options.length / 4) << 4, flags, 0xff, 0xff, 0, 0, 0, 0, ...options, ...payload]
}

export function udp(
  sourcePort: number,
  destinationPort: number,
  payload: readonly number[],
  length = 8 + payload.length,
): number[] {
  return [...u16(sourcePort), ...u16(destinationPort), ...u16(length), 0, 0, ...payload]
}

export function icmp(type: number, code: number, rest: readonly number[], payload: readonly number[]): number[] {
  return [type, code, 0, 0, ...rest, ...payload]
}

const etherTypeOf = (packet: readonly number[]): number[] => u16(packet[0]! >> 4 === 6 ? 0x86dd : 0x0800)
const tagged = (tags: readonly number[], packet: readonly number[]): number[] => [
  ...tags.flatMap((tag) => [...u16(tag), 0, 7]),
  ...etherTypeOf(packet),
  ...packet,
]
const mac = [2, 0, 0, 0, 0, 1]

/** With its link layer, by the name of the link. `outgoing` where the link tells. */
export const links = {
  ethernet: { linkType: 1, tellsOutgoing: false, wrap: (packet) => [...mac, ...mac, ...tagged([], packet)] },
  vlan: { linkType: 1, tellsOutgoing: false, wrap: (packet) => [...mac, ...mac, ...tagged([0x8100], packet)] },
  qinq: { linkType: 1, tellsOutgoing: false, wrap: (packet) => [...mac, ...mac, ...tagged([0x88a8, 0x8100], packet)] },
  raw: { linkType: 101, tellsOutgoing: false, wrap: (packet) => [...packet] },
  rawLinux: { linkType: 12, tellsOutgoing: false, wrap: (packet) => [...packet] },
  sll: {
    linkType: 113,
    tellsOutgoing: true,
    wrap: (packet, outgoing) => [0, outgoing ? 4 : 0, 0, 1, 0, 6, ...mac, 0, 0, ...tagged([], packet)],
  },
  sllVlan: {
    linkType: 113,
    tellsOutgoing: true,
    wrap: (packet, outgoing) => [0, outgoing ? 4 : 0, 0, 1, 0, 6, ...mac, 0, 0, ...tagged([0x8100], packet)],
  },
  sll2: {
    linkType: 276,
    tellsOutgoing: true,
    wrap: (packet, outgoing) => [...etherTypeOf(packet), 0, 0, 0, 0, 0, 2, 0, 1, outgoing ? 4 : 0, 6, ...mac, 0, 0, ...packet],
  },
  nullLittleEndian: { linkType: 0, tellsOutgoing: false, wrap: (packet) => [packet[0]! >> 4 === 6 ? 30 : 2, 0, 0, 0, ...packet] },
  loop: { linkType: 108, tellsOutgoing: false, wrap: (packet) => [0, 0, 0, packet[0]! >> 4 === 6 ? 24 : 2, ...packet] },
} satisfies Record<
  string,
  { linkType: number; tellsOutgoing: boolean; wrap: (packet: readonly number[], outgoing: boolean) => number[] }
>
export type LinkName = keyof typeof links
