/** An argument that a tracepoint got some time after it came, and what it means not to have it. */
export interface Told {
  readonly struct: string
  readonly member: string
  readonly otherwise: string
}
export interface ProgramDefinition {
  readonly tracepoint?: string
  readonly told?: Told
}

/** The programs of agent/bpf/netvitals.bpf.c, the tracepoints they hang on, and what else the kernel must tell. */
export const programs = {
  dropped_packets: {
    tracepoint: 'kfree_skb',
    told: {
      struct: 'trace_event_raw_kfree_skb',
      member: 'reason',
      otherwise: 'this kernel does not say why it frees a packet, nor whether it was dropped (Linux 5.17 does)',
    },
  },
  sent_resets: {
    tracepoint: 'tcp_send_reset',
    told: {
      struct: 'trace_event_raw_tcp_send_reset',
      member: 'reason',
      otherwise: 'this kernel does not say why it resets, and tells only of some resets (Linux 6.10 does)',
    },
  },
  received_resets: { tracepoint: 'tcp_receive_reset' },
  retransmitted_segments: { tracepoint: 'tcp_retransmit_skb' },
  retransmitted_synacks: { tracepoint: 'tcp_retransmit_synack' },
  state_changes: { tracepoint: 'inet_sock_set_state' },
  sent_icmp: { tracepoint: 'icmp_send' },
  tasks: {},
} as const satisfies Record<string, ProgramDefinition>
export type ProgramName = keyof typeof programs
export const programNames = Object.keys(programs) as readonly ProgramName[]

export interface MapDefinition {
  /** All of those that fill it; without one of them its numbers would be wrong. */
  readonly programs: readonly ProgramName[]
  /** Counted by the namespace alone: the key is its 8 bytes. */
  readonly byNamespace?: true
  /** Not counted without that one, whose events it tells more of. */
  readonly beside?: string
  readonly told?: Told
  /** What its numbers do not tell without. */
  readonly caveat?: Told
}

export const tellsErrors = { struct: 'trace_event_raw_tcp_retransmit_skb', member: 'err' }
const tellsReceivers: Told = {
  struct: 'trace_event_raw_kfree_skb',
  member: 'rx_sk',
  otherwise:
    'acknowledgements and FINs that a TCP socket has taken note of are among the drops of reason not_specified, one or two of each connection (Linux 6.11 tells them apart)',
}
export const tellsTwins: Told = {
  struct: 'net',
  member: 'net_cookie',
  otherwise:
    'of two network namespaces with one inode, one after the other, the second is given what the first counted since the sweep before (Linux 5.12 tells them apart)',
}

/**
 * The counting maps. Each key begins with u32 inode and u32 low half of the cookie of the network namespace (both 0: could
 * not be told), in native byte order; then, unless `byNamespace`, a u32, of which values are the sums of events.
 */
const maps = {
  /**
   * Key: u32 reason, u8 protocol (index in tracedProtocols), u8 direction (index in tracedDirections), u16 zero.
   * Values: packets (as many as segments in one not yet segmented), bytes (from the network header on; its headers once).
   */
  dropped_packets_total: { programs: ['dropped_packets'], caveat: tellsReceivers },
  /** By reason, as resetReasonName tells. */
  tcp_sent_resets_by_reason_total: { programs: ['sent_resets'] },
  /** By the state of the socket that was hit (include/net/tcp_states.h). */
  tcp_received_resets_total: { programs: ['received_resets'] },
  /** By the kind's index in the program's list, which is retransmitKinds of metrics/labels.ts. */
  tcp_retransmitted_segments_by_kind_total: {
    programs: ['retransmitted_segments', 'retransmitted_synacks'],
    caveat: {
      ...tellsErrors,
      otherwise: 'retransmitted segments that this machine itself drops on their way out are of no kind (Linux 6.17 tells)',
    },
  },
  tcp_retransmit_failures_total: {
    programs: ['retransmitted_segments'],
    byNamespace: true,
    told: { ...tellsErrors, otherwise: 'this kernel does not tell of retransmissions that failed (Linux 6.17 does)' },
  },
  /** By the outcome's index in the program's list, which is connectOutcomes of metrics/labels.ts. */
  tcp_connects_total: { programs: ['state_changes'] },
  /** Values: connects that took up to 2^6, 2^8 … 2^24 µs, and longer; the sum in µs. */
  tcp_connect_duration_seconds: { programs: ['state_changes'], byNamespace: true },
  /** Values: the sum in µs; connections. */
  tcp_rtt_seconds: { programs: ['state_changes'], byNamespace: true },
  icmp_sent_fragmentation_needed_total: { programs: ['sent_icmp'], byNamespace: true },
  /**
   * TCP connections as one of their ends saw them. Key: local and remote address (16 bytes each, IPv4 as ::ffff:a.b.c.d),
   * local and remote port (u16, network order), u32 role (index in tracedRoles). Of them only what the connection's peer
   * (tracedPeers) tells apart: nothing for `external`, the remote address for `known`, all for `single`; the rest is 0.
   * Values: as in tracedEdgeValues.
   */
  edge_connects_total: { programs: ['state_changes'] },
  /**
   * Dropped packets by their two ends, of which the namespace is one. Key: u32 reason, u32 role of the namespace (index in
   * tracedRoles), its address and the other end's (16 bytes each).
   */
  edge_dropped_packets_total: { programs: ['dropped_packets'], beside: 'dropped_packets_total', caveat: tellsReceivers },
} as const satisfies Record<string, MapDefinition>
export type MapName = keyof typeof maps
export const mapNames = Object.keys(maps) as readonly MapName[]
export const mapDefinition = (name: MapName): MapDefinition => maps[name]

/** Maps of the programs' own that may be full too, and whose numbers are then missing. */
export const ownMaps = {
  connect_starts: 'tcp_connect_duration_seconds',
  live_connections: 'edge_connects_total',
} as const satisfies Record<string, MapName>
/**
 * Connections whose beginning was seen and whose end was not. Key: the namespace, local and remote address, local and remote
 * port, all as in edge_connects_total. Values: the socket's address in the kernel; role + 2^32 × peer.
 */
export type ConnectionsMap = 'live_connections'
/** All of the programs' own, and who needs them. */
export const programsOfOwnMaps = {
  connect_starts: ['state_changes'],
  address_owners: ['dropped_packets'],
  live_connections: ['state_changes', 'dropped_packets'],
  known_networks: ['state_changes', 'dropped_packets'],
  translated_addresses: ['state_changes', 'dropped_packets'],
} as const satisfies Record<string, readonly ProgramName[]>
/** Those that only edges need. */
export const mapsOfEdges: readonly string[] = [
  'edge_connects_total',
  'edge_dropped_packets_total',
  'live_connections',
  'known_networks',
  'translated_addresses',
]
/** The places of the map `lost`. */
export const lostSlots: readonly string[] = [...mapNames, ...Object.keys(ownMaps)]

export const tracedProtocols = ['other', 'tcp', 'udp', 'icmp'] as const
export const tracedDirections = ['in', 'out', 'forward'] as const
export const tracedRoles = ['unknown', 'client', 'server'] as const
/** How the other end of a connection is told apart: not at all; by its address; or each connection is by itself. */
export const tracedPeers = ['external', 'known', 'single'] as const
/** The places of what an edge's map counts. The first are connects by outcome: connectOutcomes of metrics/labels.ts. */
export const tracedEdgeValues = {
  connected: 0,
  outcomes: 8,
  closed: 8,
  resets: 9,
  sentBytes: 10,
  receivedBytes: 11,
  retransmittedSegments: 12,
  rttMicroseconds: 13,
  rttConnections: 14,
  size: 15,
} as const
