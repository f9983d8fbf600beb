import { createRequire } from 'node:module'
import { limits } from '../limits.ts'

/** What npm pcap gives, as far as it is used here. */
interface Session {
  readonly link_type: string
  on(event: 'packet', listener: (packet: { readonly buf: Buffer; readonly header: Buffer }) => void): void
  stats(): { readonly ps_drop: number; readonly ps_ifdrop: number }
}
interface Pcap {
  createSession(device: string, options: Readonly<Record<string, unknown>>): Session
}

/** A packet begins `bytes`, which are valid during the call only. `timeMs`: wall clock, by the kernel. */
export type OnPacket = (bytes: Buffer, capturedLength: number, wireLength: number, timeMs: number) => void

/**
 * Packets as the kernel hands them out, for as long as there are any; nothing else of this process gets a turn meanwhile. So
 * it has to be a process of its own, which does what else it has to do between two packets.
 */
export interface PcapSession {
  /** LINKTYPE_ number. */
  readonly linkType: number
  onPacket(listener: OnPacket): void
  /** Packets that the kernel had no room for, and that a device dropped, since the beginning. */
  drops(): { readonly ring: number; readonly device: number }
}

export interface PcapSessionOptions {
  /** `any`: all of them. */
  readonly device: string
  /** As tcpdump takes it; empty: all packets. */
  readonly filter: string
  /** Of each packet, from its beginning. */
  readonly snapBytes: number
}

/** @throws Error with a reason in words */
export function openPcapSession({ device, filter, snapBytes }: PcapSessionOptions): PcapSession {
  const pcap = loadPcap()
  let session: Session
  try {
    session = pcap.createSession(device, {
      filter,
      promiscuous: false,
      snap_length: snapBytes,
      buffer_size: limits.captureRingBytes,
      buffer_timeout: limits.captureTimeoutMs,
    })
  } catch (error) {
    const { message } = error as Error
    throw new Error(`cannot capture on ${device}: ${message}${/permit/i.test(message) ? '; it needs CAP_NET_RAW' : ''}`)
  }
  return {
    linkType: linkTypeOf(session),
    onPacket(listener) {
      session.on('packet', ({ buf, header }) => {
        const timeMs = header.readUInt32LE(0) * 1000 + header.readUInt32LE(4) / 1000
        listener(buf, Math.min(header.readUInt32LE(8), buf.length), header.readUInt32LE(12), timeMs)
      })
    },
    drops() {
      const { ps_drop: ring, ps_ifdrop: device } = session.stats()
      return { ring, device }
    },
  }
}

function loadPcap(): Pcap {
  try {
    return createRequire(import.meta.url)('pcap') as Pcap
  } catch (error) {
    const [why = ''] = (error as Error).message.split('\n')
    throw new Error(`npm pcap is not here: ${why}; it is built at npm install, with libpcap-dev, g++, make and python3`)
  }
}

/** By the names of npm pcap. */
function linkTypeOf({ link_type: name }: Session): number {
  const known = { LINKTYPE_NULL: 0, LINKTYPE_ETHERNET: 1, LINKTYPE_RAW: 101, LINKTYPE_LINUX_SLL: 113 }
  return known[name as keyof typeof known] ?? Number(/\d+$/.exec(name)?.[0] ?? -1)
}
