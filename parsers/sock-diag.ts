import {
  askAll,
  eachAttribute,
  expectBytes,
  type NetlinkRequest,
  netlinkSockDiag,
  readNetworkU16,
  readU32,
  readU64,
} from './netlink.ts'
import type { SocketRow, SocketTraffic } from './socket-row.ts'

const where = 'inet_diag'
const tcp = 6
const udp = 17
const ipv4 = 2
const ipv6 = 10
const synSent = 2
const listen = 10

/** States 1 to 11. A request not yet accepted is asked for, and answered, as SYN_RECV; BOUND_INACTIVE (13) is no connection. */
const everyState = 0xffe
const infoExtension = 1 << 1

const compatRequestBytes = 60
const requestBytes = 56
const compatType = 18 // TCPDIAG_GETSOCK
const byFamilyType = 20 // SOCK_DIAG_BY_FAMILY

const messageBytes = 72
const infoAttribute = 2
/** Where tcpi_rtt ends in struct tcp_info. */
const infoBytes = 72
const rttAt = 68
/** tcpi_last_data_sent, tcpi_last_data_recv: of a SYN_SENT they are since the machine started. */
const sentAgoAt = 44
const receivedAgoAt = 52
/** Where tcpi_bytes_received ends, which is there since Linux 4.1. */
const trafficBytes = 136
const lastAckReceivedAt = 56
const totalRetransAt = 100
const bytesAckedAt = 120
const bytesReceivedAt = 128

/**
 * All TCP sockets of a namespace. The oldest form of the question (struct inet_diag_req) is the only one that gets both
 * families in one walk of the kernel's hash table, which is most of the cost where there are few sockets.
 */
export function tcpSocketsRequest(): NetlinkRequest {
  const payload = new Uint8Array(compatRequestBytes)
  payload[3] = infoExtension
  new DataView(payload.buffer).setUint32(52, everyState, true)
  return askAll('tcp-sockets', netlinkSockDiag, compatType, payload)
}

/** The same with the present form of the question, for a kernel that no longer knows the oldest. */
export function tcpSocketsByFamilyRequests(): readonly NetlinkRequest[] {
  return [askFamily('tcp-sockets-ipv4', ipv4, tcp, infoExtension), askFamily('tcp-sockets-ipv6', ipv6, tcp, infoExtension)]
}

/** All UDP sockets of a namespace: their queues in bytes. */
export function udpSocketsRequests(): readonly NetlinkRequest[] {
  return [askFamily('udp-sockets-ipv4', ipv4, udp, 0), askFamily('udp-sockets-ipv6', ipv6, udp, 0)]
}

/** struct inet_diag_req_v2 */
function askFamily(name: string, family: number, protocol: number, extensions: number): NetlinkRequest {
  const payload = new Uint8Array(requestBytes)
  payload[0] = family
  payload[1] = protocol
  payload[2] = extensions
  // An unconnected UDP socket is in state CLOSE (7).
  new DataView(payload.buffer).setUint32(4, everyState, true)
  return askAll(name, netlinkSockDiag, byFamilyType, payload)
}

/**
 * Reads sock_diag messages (include/uapi/linux/inet_diag.h, struct inet_diag_msg and its attributes). `onSocket` gets one
 * row, used again for the next socket; its addresses lie in the received bytes. Errors are ParseErrors.
 *
 * A round-trip time is told for connections that have measured one, so never for LISTEN, SYN_SENT and TIME_WAIT.
 */
export function createSocketReader(onSocket: (socket: SocketRow) => void): (bytes: Uint8Array, from: number, to: number) => void {
  let message: Uint8Array = new Uint8Array()
  const traffic: SocketTraffic = { bytesAcknowledged: 0, bytesReceived: 0, retransmittedSegments: 0, silentMs: 0 }
  const socket: SocketRow = {
    family: 4,
    state: 0,
    localPort: 0,
    remotePort: 0,
    addresses: message,
    localAt: 0,
    remoteAt: 0,
    receiveQueue: 0,
    sendQueue: undefined,
    rttUs: undefined,
    traffic: undefined,
    inode: 0,
    uid: 0,
    sentAgoMs: undefined,
    receivedAgoMs: undefined,
  }

  function readAttribute(type: number, from: number, to: number): void {
    if (type !== infoAttribute || to - from < infoBytes || socket.state === listen) return
    if (socket.state !== synSent) {
      socket.sentAgoMs = readU32(message, from + sentAgoAt)
      socket.receivedAgoMs = readU32(message, from + receivedAgoAt)
    }
    const rttUs = readU32(message, from + rttAt)
    if (rttUs > 0) socket.rttUs = rttUs
    if (to - from < trafficBytes) return
    traffic.silentMs = readU32(message, from + lastAckReceivedAt)
    traffic.retransmittedSegments = readU32(message, from + totalRetransAt)
    traffic.bytesAcknowledged = readU64(message, from + bytesAckedAt)
    traffic.bytesReceived = readU64(message, from + bytesReceivedAt)
    socket.traffic = traffic
  }

  return (bytes, from, to) => {
    expectBytes(where, from, to, messageBytes, 'struct inet_diag_msg')
    message = bytes
    socket.family = bytes[from] === ipv6 ? 6 : 4
    socket.state = bytes[from + 1]!
    socket.localPort = readNetworkU16(bytes, from + 4)
    socket.remotePort = readNetworkU16(bytes, from + 6)
    socket.addresses = bytes
    socket.localAt = from + 8
    socket.remoteAt = from + 24
    socket.receiveQueue = readU32(bytes, from + 56)
    socket.sendQueue = readU32(bytes, from + 60)
    socket.uid = readU32(bytes, from + 64)
    socket.inode = readU32(bytes, from + 68)
    socket.sentAgoMs = undefined
    socket.receivedAgoMs = undefined
    socket.rttUs = undefined
    socket.traffic = undefined
    eachAttribute(where, bytes, from + messageBytes, to, readAttribute)
    onSocket(socket)
  }
}
