/** What a connection has carried, as TCP counts. */
export interface SocketTraffic {
  /** A SYN that began the connection here, and a FIN, count as a byte. */
  bytesAcknowledged: number
  /** A FIN counts as a byte. */
  bytesReceived: number
  retransmittedSegments: number
  /** Since the peer last said anything, in milliseconds. */
  silentMs: number
}

/** One socket as a reader hands it out: a view the reader reuses, valid only during the callback. */
export interface SocketRow {
  family: 4 | 6
  /** The kernel's TCP state number (include/net/tcp_states.h): 1 ESTABLISHED … 12 NEW_SYN_RECV. */
  state: number
  localPort: number
  remotePort: number
  /** Local address at localAt, remote at remoteAt: 16 bytes each in network order; IPv4 uses the first four, the rest are zero. */
  addresses: Uint8Array
  localAt: number
  remoteAt: number
  /** Bytes not yet read by the application; for a listener: connections waiting to be accepted. */
  receiveQueue: number
  /** Bytes not yet acknowledged by the peer; for a listener: the limit of its accept queue (netlink only, else undefined). */
  sendQueue: number | undefined
  /** Smoothed round-trip time in microseconds; undefined: not told (procfs, TIME_WAIT, listeners). */
  rttUs: number | undefined
  /** Not told by procfs, nor of TIME_WAIT, of requests and of listeners. */
  traffic: SocketTraffic | undefined
  inode: number
  uid: number
  /** Since data was last sent, since the connection began if there was none; undefined: not told, as for rttUs. */
  sentAgoMs: number | undefined
  /** The same of data that came. */
  receivedAgoMs: number | undefined
}
