import type { HttpUnreadable } from '../../parsers/http-message.ts'
import type { PacketFault } from '../../parsers/packet-headers.ts'
import type { CountKind } from './places.ts'

/** What packets are looked into. */
export interface CapturePorts {
  /** UDP and TCP. */
  readonly dnsPorts: readonly number[]
  /** TCP. */
  readonly httpPorts: readonly number[]
}

/** What a capture is to look at. */
export interface CaptureSettings extends CapturePorts {
  /** `any`: all of them. */
  readonly device: string
}

/** Of the machine as a whole, as totals since the start. */
export interface CaptureTotals {
  /** That were captured and read. */
  packets: number
  /** That the kernel had no room for; over loopback each counts twice. */
  ringDrops: number
  /** That a device dropped. */
  interfaceDrops: number
  /** Of which a part was not captured that was needed. */
  cut: number
  unreadable: { [F in PacketFault]?: number }
  dnsMalformed: number
  dnsUnmatched: number
  dnsNotFollowed: number
  /** Connections. */
  httpUnreadable: { [U in HttpUnreadable]?: number }
  /** Times that the framing of messages was lost. */
  httpLosses: number
  /** Requests and answers of which it cannot be told which belong to each other. */
  httpUnpaired: number
  /** TCP connections that were no longer followed, because there are too many. */
  tcpEvicted: number
}

interface TransactionReport {
  readonly subject: number
  /** Wall clock, of the answer, or of the question if there is none. */
  readonly timeMs: number
  readonly family: 'ipv4' | 'ipv6'
  readonly client: { readonly address: string; readonly port: number }
  readonly server: { readonly address: string; readonly port: number }
  /** Undefined: unanswered. */
  readonly durationMs?: number
}

/** A DNS query with its answer, or without, as text. */
export interface DnsReport extends TransactionReport {
  readonly type: 'dns'
  readonly protocol: 'udp' | 'tcp'
  readonly id: number
  readonly name: string
  readonly queryType: string
  /** Undefined: unanswered. */
  readonly responseCode?: string
  /** A and AAAA records in the answer; undefined: not known. */
  readonly addressCount?: number | undefined
}

/** An HTTP request with its answer, or without, as text. */
export interface HttpReport extends TransactionReport {
  readonly type: 'http'
  /** The subject asked; otherwise it was asked. */
  readonly isClient: boolean
  readonly method: string
  /** Without what follows a `?`; printable. */
  readonly path: string
  /** Printable; empty: not told. */
  readonly host: string
  /** Undefined: unanswered. */
  readonly status?: number
}

/** What the process that captures tells, a line of JSON each. Counts are totals since its start. */
export type CaptureReport =
  | { readonly type: 'ready' }
  /** It ends now, and trying again is of no use. */
  | { readonly type: 'absent'; readonly reason: string }
  | { readonly type: 'counts'; readonly of: CountKind; readonly subject: number; readonly values: readonly number[] }
  | { readonly type: 'totals'; readonly totals: CaptureTotals }
  | DnsReport
  | HttpReport
  | { readonly type: 'not_shown'; readonly of: 'dns' | 'http'; readonly count: number; readonly isTrouble: boolean }

/** What it is told. Addresses are the hexadecimal digits of 4 or 16 bytes. */
export type CaptureOrder =
  | { readonly type: 'own'; readonly subject: number; readonly isHost: boolean; readonly addresses: readonly string[] }
  | { readonly type: 'disown'; readonly addresses: readonly string[] }
  /** Nothing is kept of the subject any longer. */
  | { readonly type: 'forget'; readonly subject: number }
