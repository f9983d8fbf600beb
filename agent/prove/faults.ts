import {
  IPPROTO_TCP,
  POLLIN,
  SO_RCVBUF,
  SO_REUSEADDR,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_SOCKET,
  TCP_INFO,
  TCP_NODELAY,
  TCP_SYNCNT,
  TCP_USER_TIMEOUT,
} from '../host/sockets.ts'
import type { Catalogue, MetricName } from '../metrics/catalogue.ts'
import { type Connections, listenPort, type Stage } from './stage.ts'

type SignalOf<M extends MetricName> = {
  readonly metric: M
  /** All values that bear these are added. */
  readonly labels: { readonly [L in Catalogue[M]['labels'][number]]?: string }
}
/** A number that must come out of the agent. */
export type Signal = { [M in MetricName]: SignalOf<M> }[MetricName] & {
  readonly text: string
  /**
   * How many there must be: what the fault says it did, under this name; or, where timing decides, the kernel's own
   * counter of that namespace, less another.
   */
  readonly caused: string | { readonly kernel: string; readonly less?: string }
}

/** Something that goes wrong, caused a known number of times. */
export interface Fault {
  readonly title: string
  readonly signals: readonly Signal[]
  /** Returns what was done, by name. Sockets stay open until all is counted. */
  cause(stage: Stage): Promise<Readonly<Record<string, number>>>
}

const closedPort = 9
const localPort = 40_000
const udpHeaderBytes = 8
const payloadBytes = 32
/** Enough to fill the smallest receive buffer there is. */
const fillerBytes = 4000
/** From so many acknowledged segments behind a lost one, or fewer, TCP concludes that it is lost. What is sent after that is acknowledged late, and probed for. */
const segmentsBehindMax = 6
const oneByte = Uint8Array.of(0x78)
/** Ends a connect soon, after one more SYN. */
const connectTimeoutMs = 1500
const totalRetransmitsAt = 100
const tcpInfoBytes = 104
const retransmitsOfSockets = 'retransmissions of each socket (TCP_INFO)'

/** All that can be caused with nothing but a loopback device, each in a network namespace of its own. */
export const faults: readonly Fault[] = [
  {
    title: 'UDP datagrams to a closed port',
    signals: [
      {
        text: 'packets dropped, no_socket',
        metric: 'netvitals_dropped_packets_total',
        labels: { reason: 'no_socket', category: 'no_socket', protocol: 'udp', direction: 'in' },
        caused: 'datagrams sent',
      },
      {
        text: 'bytes dropped, no_socket',
        metric: 'netvitals_dropped_bytes_total',
        labels: { category: 'no_socket', direction: 'in' },
        caused: 'bytes sent',
      },
      { text: 'UDP without a port', metric: 'netvitals_udp_no_port_total', labels: {}, caused: 'datagrams sent' },
      { text: 'ICMP unreachable sent', metric: 'netvitals_icmp_sent_unreachable_total', labels: {}, caused: 'datagrams sent' },
      {
        text: 'ICMP unreachable received',
        metric: 'netvitals_icmp_received_unreachable_total',
        labels: {},
        caused: 'datagrams sent',
      },
    ],
    cause: async (stage) => sendDatagrams(stage, closedPort),
  },
  {
    title: 'UDP datagrams that a socket filter refuses',
    signals: [
      {
        text: 'packets dropped, socket_filter',
        metric: 'netvitals_dropped_packets_total',
        labels: { reason: 'socket_filter', category: 'netfilter', protocol: 'udp', direction: 'in' },
        caused: 'datagrams sent',
      },
      {
        text: 'bytes dropped, netfilter',
        metric: 'netvitals_dropped_bytes_total',
        labels: { category: 'netfilter', direction: 'in' },
        caused: 'bytes sent',
      },
      { text: 'UDP receive errors', metric: 'netvitals_udp_receive_errors_total', labels: {}, caused: 'datagrams sent' },
    ],
    async cause(stage) {
      for (const { address } of stage.ends) {
        const receiver = stage.open(address, SOCK_DGRAM)
        stage.sockets.bind(receiver, address, listenPort)
        stage.sockets.refuseAll(receiver, true)
      }
      return sendDatagrams(stage, listenPort)
    },
  },
  {
    title: 'UDP datagrams into a full receive buffer',
    signals: [
      {
        text: 'packets dropped, socket_rcvbuff',
        metric: 'netvitals_dropped_packets_total',
        labels: { reason: 'socket_rcvbuff', category: 'socket_buffer', protocol: 'udp', direction: 'in' },
        caused: 'datagrams sent less those that could be read',
      },
      {
        text: 'UDP receive buffer errors',
        metric: 'netvitals_udp_receive_buffer_errors_total',
        labels: {},
        caused: 'datagrams sent less those that could be read',
      },
    ],
    async cause(stage) {
      const { sockets } = stage
      const receivers = stage.ends.map(({ address }) => {
        const receiver = stage.open(address, SOCK_DGRAM)
        sockets.setOption(receiver, SOL_SOCKET, SO_RCVBUF, 0)
        sockets.bind(receiver, address, listenPort)
        const filler = stage.open(address, SOCK_DGRAM)
        sockets.sendTo(filler, new Uint8Array(fillerBytes), address, listenPort)
        return receiver
      })
      const sent = sendDatagrams(stage, listenPort)['datagrams sent']
      await stage.delivered()
      let unread = sent + receivers.length
      for (const receiver of receivers) while (sockets.receive(receiver) !== undefined) unread--
      return { 'datagrams sent less those that could be read': unread }
    },
  },
  {
    title: 'UDP datagrams that no route leads anywhere',
    signals: [{ text: 'packets without a route', metric: 'netvitals_ip_no_routes_total', labels: {}, caused: 'calls refused' }],
    async cause(stage) {
      let refused = 0
      for (const { address, share } of stage.ends) {
        const sender = stage.open(address, SOCK_DGRAM)
        const nowhere = address.includes(':') ? '2001:db8::1' : '192.0.2.1' // RFC 3849, RFC 5737
        for (let i = 0; i < share; i++)
          if (stage.sockets.sendTo(sender, oneByte, nowhere, closedPort) === 'ENETUNREACH') refused++
      }
      return { 'calls refused': refused }
    },
  },
  {
    title: 'TCP connects to a closed port',
    signals: [
      {
        text: 'connects refused',
        metric: 'netvitals_tcp_connects_total',
        labels: { outcome: 'refused' },
        caused: 'calls refused',
      },
      {
        text: 'resets sent, no_socket',
        metric: 'netvitals_tcp_sent_resets_by_reason_total',
        labels: { reason: 'no_socket' },
        caused: 'calls refused',
      },
      {
        text: 'resets received in syn_sent',
        metric: 'netvitals_tcp_received_resets_total',
        labels: { state: 'syn_sent' },
        caused: 'calls refused',
      },
      {
        text: 'packets dropped, no_socket',
        metric: 'netvitals_dropped_packets_total',
        labels: { reason: 'no_socket', category: 'no_socket', protocol: 'tcp', direction: 'in' },
        caused: 'calls refused',
      },
      { text: 'resets sent', metric: 'netvitals_tcp_sent_resets_total', labels: {}, caused: 'calls refused' },
      { text: 'attempts failed', metric: 'netvitals_tcp_attempt_fails_total', labels: {}, caused: 'calls refused' },
    ],
    async cause(stage) {
      const clients = stage.ends.flatMap(({ address, share }) => repeat(share, () => stage.connect(address, closedPort)))
      return { 'calls refused': await stage.outcomes(clients, 'ECONNREFUSED') }
    },
  },
  {
    title: 'TCP connections, reset by one end',
    signals: [
      {
        text: 'connects that succeeded',
        metric: 'netvitals_tcp_connects_total',
        labels: { outcome: 'connected' },
        caused: 'connections made',
      },
      {
        text: 'connect durations measured',
        metric: 'netvitals_tcp_connect_duration_seconds',
        labels: {},
        caused: 'connections made',
      },
      {
        text: 'round-trip times at their ends',
        metric: 'netvitals_tcp_rtt_seconds',
        labels: {},
        caused: 'ends of connections made',
      },
      { text: 'resets sent', metric: 'netvitals_tcp_sent_resets_by_reason_total', labels: {}, caused: 'connections made' },
      {
        text: 'resets received in established',
        metric: 'netvitals_tcp_received_resets_total',
        labels: { state: 'established' },
        caused: 'connections made',
      },
      {
        text: 'ends reset while established',
        metric: 'netvitals_tcp_established_resets_total',
        labels: {},
        caused: 'ends of connections made',
      },
    ],
    async cause(stage) {
      const all = await connectAll(stage)
      for (const { clients } of all) for (const client of clients) stage.reset(client)
      const connections = count(all)
      return { 'connections made': connections, 'ends of connections made': 2 * connections }
    },
  },
  {
    title: 'TCP connections, reset by the end that had said it was done',
    signals: [
      {
        text: 'resets received in close_wait',
        metric: 'netvitals_tcp_received_resets_total',
        labels: { state: 'close_wait' },
        caused: 'connections made',
      },
    ],
    async cause(stage) {
      const all = await connectAll(stage)
      for (const { servers } of all) for (const server of servers) stage.sockets.shutdown(server)
      await stage.delivered()
      for (const { servers } of all) for (const server of servers) stage.reset(server)
      return { 'connections made': count(all) }
    },
  },
  {
    title: 'TCP connections that one end does not close, and a queue that nobody accepts from',
    signals: [
      {
        text: 'sockets in close_wait',
        metric: 'netvitals_tcp_sockets',
        labels: { state: 'close_wait' },
        caused: 'connections half closed',
      },
      {
        text: 'sockets in fin_wait2',
        metric: 'netvitals_tcp_sockets',
        labels: { state: 'fin_wait2' },
        caused: 'connections half closed',
      },
      {
        text: 'connections in the listen queue',
        metric: 'netvitals_tcp_listen_queue_length',
        labels: { port: String(listenPort) },
        caused: 'connections not accepted',
      },
      { text: 'bytes that nobody reads', metric: 'netvitals_tcp_receive_queue_bytes', labels: {}, caused: 'bytes not read' },
    ],
    async cause(stage) {
      const all = await connectAll(stage)
      for (const { servers } of all) for (const server of servers) stage.sockets.shutdown(server)
      const waiting = stage.ends.flatMap(({ address, share }) => repeat(share, () => stage.connect(address, listenPort)))
      const connected = await stage.outcomes(waiting, 'connected')
      let sent = 0
      for (const client of waiting) sent += stage.sockets.send(client, oneByte)
      await stage.delivered()
      return { 'connections half closed': count(all), 'connections not accepted': connected, 'bytes not read': sent }
    },
  },
  {
    title: 'TCP connects that nobody answers',
    signals: [
      {
        text: 'connects timed out',
        metric: 'netvitals_tcp_connects_total',
        labels: { outcome: 'timed_out' },
        caused: 'connects timed out',
      },
      {
        text: 'SYNs sent again',
        metric: 'netvitals_tcp_retransmitted_segments_by_kind_total',
        labels: { kind: 'syn' },
        caused: { kernel: 'Tcp.RetransSegs' },
      },
      {
        text: 'SYNs and SYN-ACKs sent again',
        metric: 'netvitals_tcp_syn_retransmits_total',
        labels: {},
        caused: retransmitsOfSockets,
      },
    ],
    async cause(stage) {
      const { sockets } = stage
      const clients = stage.ends.flatMap(({ address, share }) => {
        sockets.refuseAll(stage.listen(address), true)
        return repeat(share, () =>
          stage.connect(address, listenPort, (client) => {
            sockets.setOption(client, IPPROTO_TCP, TCP_SYNCNT, 1)
            sockets.setOption(client, IPPROTO_TCP, TCP_USER_TIMEOUT, connectTimeoutMs)
          }),
        )
      })
      const timedOut = await stage.outcomes(clients, 'ETIMEDOUT')
      return { 'connects timed out': timedOut, [retransmitsOfSockets]: sum(clients, (client) => countRetransmits(stage, client)) }
    },
  },
  {
    title: 'TCP connects given up before the answer came',
    signals: [
      {
        text: 'connects abandoned',
        metric: 'netvitals_tcp_connects_total',
        labels: { outcome: 'abandoned' },
        caused: 'sockets closed',
      },
      {
        text: 'SYN-ACKs sent again',
        metric: 'netvitals_tcp_retransmitted_segments_by_kind_total',
        labels: { kind: 'synack' },
        caused: { kernel: 'Tcp.RetransSegs' },
      },
    ],
    async cause(stage) {
      let abandoned = 0
      for (const { address, share } of stage.ends) {
        stage.listen(address)
        for (let i = 0; i < share; i++) {
          stage.close(stage.connect(address, listenPort, (client) => stage.sockets.refuseAll(client, true)))
          abandoned++
        }
      }
      await stage.until('SYN-ACKs to be sent again', () => stage.kernel('Tcp.RetransSegs') >= abandoned)
      return { 'sockets closed': abandoned }
    },
  },
  {
    title: 'TCP connects from a local port that is taken',
    signals: [
      {
        text: 'connects without a port',
        metric: 'netvitals_tcp_connects_total',
        labels: { outcome: 'no_port' },
        caused: 'calls refused',
      },
    ],
    async cause(stage) {
      const { sockets } = stage
      let refused = 0
      for (const { address, share } of stage.ends) {
        sockets.refuseAll(stage.listen(address), true)
        const prepare = (client: number): void => {
          sockets.setOption(client, SOL_SOCKET, SO_REUSEADDR, 1)
          sockets.bind(client, address, localPort)
        }
        stage.connect(address, listenPort, prepare)
        for (let i = 0; i < share; i++) {
          const client = stage.open(address, SOCK_STREAM)
          prepare(client)
          if (sockets.connect(client, address, listenPort) === 'EADDRNOTAVAIL') refused++
          stage.close(client)
        }
      }
      return { 'calls refused': refused }
    },
  },
  {
    title: 'TCP connects to a listener whose accept queue is full',
    signals: [
      { text: 'listen queue overflows', metric: 'netvitals_tcp_listen_overflows_total', labels: {}, caused: 'calls refused' },
      { text: 'drops by listeners', metric: 'netvitals_tcp_listen_drops_total', labels: {}, caused: 'calls refused' },
    ],
    async cause(stage) {
      let refused = 0
      for (const { address, share } of stage.ends) {
        stage.listen(address, 1)
        const waiting = repeat(2, () => stage.connect(address, listenPort)) // the kernel takes one more than it is told
        await stage.outcomes(waiting, 'connected')
        await stage.delivered()
        for (let i = 0; i < share; i++) {
          stage.close(stage.connect(address, listenPort))
          refused++
        }
      }
      return { 'calls refused': refused }
    },
  },
  {
    title: 'TCP segments lost at the end of what was sent, twice',
    signals: [
      {
        text: 'sent again as a probe',
        metric: 'netvitals_tcp_retransmitted_segments_by_kind_total',
        labels: { kind: 'probe' },
        caused: { kernel: 'TcpExt.TCPLossProbes' },
      },
      {
        text: 'sent again after a timeout',
        metric: 'netvitals_tcp_retransmitted_segments_by_kind_total',
        labels: { kind: 'timeout' },
        caused: { kernel: 'Tcp.RetransSegs', less: 'TcpExt.TCPLossProbes' },
      },
      {
        text: 'segments sent again',
        metric: 'netvitals_tcp_retransmitted_segments_total',
        labels: {},
        caused: retransmitsOfSockets,
      },
    ],
    async cause(stage) {
      const all = await connectAll(stage)
      const [clients, servers] = [all.flatMap((one) => one.clients), all.flatMap((one) => one.servers)]
      for (const server of servers) stage.sockets.refuseAll(server, true)
      for (const client of clients) stage.sockets.send(client, oneByte)
      await stage.until('a probe and a timeout of each', () => clients.every((client) => countRetransmits(stage, client) >= 2))
      for (const server of servers) stage.sockets.refuseAll(server, false)
      await stage.until('what was lost', () => servers.every((server) => stage.sockets.waitFor(server, POLLIN, 0)))
      return { [retransmitsOfSockets]: sum(clients, (client) => countRetransmits(stage, client)) }
    },
  },
  {
    title: 'TCP segments lost among others',
    signals: [
      {
        text: 'sent again because others arrived',
        metric: 'netvitals_tcp_retransmitted_segments_by_kind_total',
        labels: { kind: 'fast' },
        caused: { kernel: 'TcpExt.TCPFastRetrans' },
      },
      {
        text: 'sent again, of every kind',
        metric: 'netvitals_tcp_retransmitted_segments_by_kind_total',
        labels: {},
        caused: { kernel: 'Tcp.RetransSegs' },
      },
      {
        text: 'segments sent again',
        metric: 'netvitals_tcp_retransmitted_segments_total',
        labels: {},
        caused: retransmitsOfSockets,
      },
    ],
    async cause(stage) {
      const { sockets } = stage
      const all = await connectAll(stage)
      for (const { clients, servers } of all) {
        for (const [i, client] of clients.entries()) {
          sockets.setOption(client, IPPROTO_TCP, TCP_NODELAY, 1)
          sockets.refuseAll(servers[i]!, true)
          sockets.send(client, oneByte)
          sockets.refuseAll(servers[i]!, false)
          for (let behind = 0; behind < segmentsBehindMax && countRetransmits(stage, client) === 0; behind++)
            sockets.send(client, oneByte)
        }
      }
      const clients = all.flatMap((one) => one.clients)
      await stage.until('a retransmission of each', () => clients.every((client) => countRetransmits(stage, client) >= 1))
      await stage.delivered()
      return { [retransmitsOfSockets]: sum(clients, (client) => countRetransmits(stage, client)) }
    },
  },
]

/** What a loopback device alone cannot cause. */
export const unproven: readonly { readonly what: string; readonly why: string }[] = [
  {
    what: 'netvitals_tcp_connects_total{outcome="unreachable"}, neighbour tables',
    why: 'need a device with neighbours that do not answer',
  },
  { what: 'netvitals_tcp_connects_total{outcome="reset"}', why: 'needs two ends that call each other at the same time' },
  { what: 'netvitals_tcp_retransmit_failures_total', why: 'needs a queue that holds packets back' },
  { what: 'netvitals_icmp_sent_fragmentation_needed_total', why: 'needs a route over a link with a smaller MTU' },
  { what: 'drops of forwarded packets, by netfilter rules, qdiscs and devices', why: 'need rules and more devices' },
  { what: 'netvitals_conntrack_*', why: 'need rules that ask for connection tracking' },
  { what: 'device, qdisc, softnet and host-wide metrics', why: 'are of the node as a whole, where nothing is caused' },
]

const repeat = <T>(times: number, make: () => T): T[] => Array.from({ length: times }, make)
const sum = <T>(of: readonly T[], value: (one: T) => number): number => of.reduce((total, one) => total + value(one), 0)
const count = (all: readonly Connections[]): number => sum(all, ({ clients }) => clients.length)

function sendDatagrams({ sockets, ends, open }: Stage, port: number): { 'datagrams sent': number; 'bytes sent': number } {
  let [datagrams, bytes] = [0, 0]
  for (const { address, share, headerBytes } of ends) {
    const batch = sockets.datagrams(share, () => sockets.encode(address, port), payloadBytes)
    const sent = sockets.sendDatagrams(open(address, SOCK_DGRAM), batch, 0, share)
    if (typeof sent === 'string') throw new Error(`send to ${address}: ${sent}`)
    datagrams += sent
    bytes += sent * (headerBytes + udpHeaderBytes + payloadBytes)
  }
  return { 'datagrams sent': datagrams, 'bytes sent': bytes }
}

function connectAll(stage: Stage): Promise<readonly Connections[]> {
  return Promise.all(stage.ends.map(({ address, share }) => stage.connections(address, share)))
}

/** What the kernel says of this socket alone: tcpi_total_retrans of struct tcp_info. */
function countRetransmits({ sockets }: Stage, fd: number): number {
  return sockets.getOption(fd, IPPROTO_TCP, TCP_INFO, tcpInfoBytes)?.getUint32(totalRetransmitsAt, true) ?? 0
}
