import { formatAddress, isMapped } from '../../parsers/address.ts'
import { tcpFlagNames } from '../../parsers/tcp-flags.ts'
import type { BpfObject } from './bpf-object.ts'
import { createCountingMap } from './counting-map.ts'
import { errorName, type Libbpf } from './libbpf.ts'
import { tracedDirections, tracedProtocols } from './traced-maps.ts'

/** In the order of enum event_type. */
export const tracedEventTypes = ['drop', 'reset_sent', 'reset_received', 'retransmit', 'connect'] as const
export type TracedEventType = (typeof tracedEventTypes)[number]

/** What they need in the kernel. */
export const eventMaps = ['events', 'events_granted', 'events_not_shown'] as const

export interface TracedEnd {
  readonly address: string | undefined
  readonly port: number | undefined
}

/** A single event, in the kernel's numbers. `source` is who sent the packet, the reset, the segment or the SYN. */
export interface TracedEvent {
  readonly type: TracedEventType
  /** CLOCK_MONOTONIC, as process.hrtime has it. */
  readonly monotonicMs: number
  /** The namespace's inode and the low half of its cookie. */
  readonly inode: number
  readonly cookie32: number
  /** Of a drop or a sent reset its reason; of a retransmission the index of its kind, of a connect of its outcome. */
  readonly reason: number
  /** Of a drop: the address in the kernel from where the packet was freed. */
  readonly location: bigint
  /** Of a drop: from the network header on. */
  readonly bytes: number
  /** Packets of a GSO packet; segments of a retransmission. */
  readonly packets: number
  readonly family: 'ipv4' | 'ipv6' | 'other'
  readonly protocol: (typeof tracedProtocols)[number]
  readonly direction: (typeof tracedDirections)[number]
  /** Of the socket (include/net/tcp_states.h); 0: there is none. */
  readonly state: number
  /** Of a dropped TCP segment: SYN, ACK … */
  readonly flags: readonly string[]
  readonly source: TracedEnd
  readonly destination: TracedEnd
}

export interface TracedEvents {
  /** Those in the kernel, oldest first. */
  take(): readonly TracedEvent[]
  /** So many more of each type are let through, with what is left of the grants before; at most `most`. */
  grant(count: number, most: number): void
  /** Since the start, those not given out, exactly: packets of drops, segments of retransmissions. */
  notShown(type: TracedEventType): number
  close(): void
}

/** struct event in agent/bpf/netvitals.bpf.c, 80 bytes. */
export function decodeEvent(view: DataView): TracedEvent {
  const type = tracedEventTypes[view.getUint8(40)]!
  const family = view.getUint8(41)
  const protocol = tracedProtocols[view.getUint8(42)] ?? 'other'
  const hasPorts = protocol === 'tcp' || protocol === 'udp'
  const addressAt = (at: number): Uint8Array => new Uint8Array(view.buffer, view.byteOffset + at, family === 4 ? 4 : 16)
  const end = (addressFrom: number, portFrom: number): TracedEnd => ({
    address: family === 0 ? undefined : formatAddress(addressAt(addressFrom)),
    port: hasPorts && family !== 0 ? view.getUint16(portFrom) : undefined,
  })
  const isIpv4 = family === 4 || (family === 6 && isMapped(addressAt(48)) && isMapped(addressAt(64)))
  return {
    type,
    monotonicMs: Number(view.getBigUint64(0, true)) / 1e6,
    location: view.getBigUint64(8, true),
    inode: view.getUint32(16, true),
    cookie32: view.getUint32(20, true),
    reason: view.getUint32(24, true),
    bytes: view.getUint32(28, true),
    packets: view.getUint32(32, true),
    family: isIpv4 ? 'ipv4' : family === 6 ? 'ipv6' : 'other',
    protocol,
    direction: tracedDirections[view.getUint8(43)] ?? 'in',
    state: view.getUint8(44),
    flags: tcpFlagNames(view.getUint8(45)),
    source: end(48, 36),
    destination: end(64, 38),
  }
}

export function createTracedEvents(libbpf: Libbpf, object: BpfObject): TracedEvents {
  const granted = libbpf.mapFd(object.findMap('events_granted'))
  const notShown = createCountingMap(libbpf, object.findMap('events_not_shown'), 'events_not_shown')
  let taken: TracedEvent[] = []
  const ring = libbpf.openRing(libbpf.mapFd(object.findMap('events')), (view) => taken.push(decodeEvent(view)))
  const grantOf = new BigInt64Array(1)
  return {
    take() {
      taken = []
      const result = ring.consume()
      if (result < 0) throw new Error(`cannot read the kernel's events: ${errorName(result)}`)
      return taken
    },
    grant(count, most) {
      tracedEventTypes.forEach((_, slot) => {
        const key = Uint8Array.of(slot, 0, 0, 0)
        const left = libbpf.lookupElem(granted, key, grantOf) < 0 ? 0 : Math.max(0, Number(grantOf[0]))
        grantOf[0] = BigInt(Math.min(left + count, most))
        const result = libbpf.updateElem(granted, key, grantOf, 0)
        if (result < 0) throw new Error(`cannot grant the kernel events: ${errorName(result)}`)
      })
    },
    notShown: (type) => notShown.get(Uint8Array.of(tracedEventTypes.indexOf(type), 0, 0, 0))?.[0] ?? 0,
    close: () => ring.close(),
  }
}
