import { thresholds } from '../../agent/metrics/thresholds.ts'
import {
  above,
  add,
  buckets,
  type Counter,
  countRate,
  divide,
  labelReplace,
  max,
  multiply,
  or,
  type Query,
  quantile,
  rate,
  sum,
  sumRate,
  topk,
  value,
} from '../promql.ts'
import type { Board, Target } from './board.ts'
import { byRow, nameNodes, nameRows, type RowLabel } from './names.ts'
import { here, inPods } from './variables.ts'

const shown = 20

/** The largest by name; of zeros none, for which of them would be chance. */
const worst = (of: Query<RowLabel>): Target => ({ query: nameRows(topk(shown, above(of, 0))), legend: '{{whose}}' })
/** The same of several values in each, told apart by a label. */
const worstBy = <L extends string>(of: Query<RowLabel | L>, label: L, separator = ' '): Target => ({
  query: nameRows(topk(shown, above(of, 0))),
  legend: `{{whose}}${separator}{{${label}}}`,
})

const connects = rate('netvitals_tcp_connects_total', inPods)
const failed = rate('netvitals_tcp_connects_total', { ...inPods, outcome: { noneOf: ['connected'] } })
const again = rate('netvitals_tcp_retransmitted_segments_total', inPods)
const first = rate('netvitals_tcp_sent_segments_total', inPods)
const resetsSent = rate('netvitals_tcp_sent_resets_total', inPods)
const resetsReceived = rate('netvitals_tcp_received_resets_total', inPods)
const aborts = rate('netvitals_tcp_aborts_total', inPods)
const portsRatio = divide(value('netvitals_tcp_ephemeral_ports_in_use', inPods), value('netvitals_tcp_ephemeral_ports', inPods))
const memoryRatio = divide(value('netvitals_tcp_memory_bytes', here), value('netvitals_tcp_memory_limit_bytes', here))
const slowest = value('netvitals_tcp_rtt_max_seconds', inPods)
const fullest = value('netvitals_tcp_listen_queue_fullest_ratio', inPods)
const closeWait = byRow(value('netvitals_tcp_sockets', { ...inPods, state: 'close_wait' }))

/** Nothing instead of NaN where nothing was counted. */
const latency = (share: number) => above(quantile(share, sum(buckets('netvitals_tcp_connect_duration_seconds', inPods), 'le')), 0)

/** A single number shows the last there was: 0 now, not what it was before it became quiet. */
const shareNow = <L extends string>(part: Query<L>, whole: Query<L>): Query<L> =>
  or(divide(part, above(whole, 0)), multiply(whole, 0))

type PodCounter = Extract<Counter, `netvitals_${'tcp' | 'icmp'}_${string}`>
/** Several counters in one graph, each by a name of its own. */
const named = (counters: readonly (readonly [PodCounter, string])[]): Query<RowLabel | 'what'> =>
  counters
    .map(([counter, what]) => labelReplace(byRow(rate(counter, inPods)), 'what', what, 'pod', '.*'))
    .reduce((all, one) => or(all, one))

/** What a full socket loses. */
const receiveDrops = [
  ['netvitals_tcp_receive_queue_drops_total', 'receive queue full'],
  ['netvitals_tcp_backlog_drops_total', 'backlog full'],
  ['netvitals_tcp_zero_window_drops_total', 'window closed'],
  ['netvitals_tcp_out_of_order_drops_total', 'out of order'],
  ['netvitals_tcp_pruned_segments_total', 'pruned'],
] as const

const sockets = (state: 'syn_sent' | 'syn_recv' | 'fin_wait2' | 'time_wait'): Target =>
  worst(byRow(value('netvitals_tcp_sockets', { ...inPods, state })))

export const tcpHealthBoard: Board = {
  uid: 'netvitals-tcp-health',
  title: 'TCP health',
  description:
    'Whether TCP works, and if not, at which step: connects, losses, resets, listeners, full buffers, leaked sockets and used-up ports, by pod and host.',
  variables: ['cluster', 'job', 'node', 'namespace', 'pod'],
  rows: [
    {
      title: 'Overview',
      panels: [
        {
          kind: 'stat',
          title: 'Failed connects',
          description:
            'Share of TCP connects that did not come about. High means that clients cannot reach what they call. Connect outcomes, below, says how they fail, and `netvitals observe -t connect` whom they called.',
          unit: 'percentunit',
          empty: 'No connect',
          levels: thresholds.failedConnectRatio,
          targets: [{ query: shareNow(sum(failed), sum(connects)), legend: 'failed' }],
        },
        {
          kind: 'stat',
          title: 'Connect latency p95',
          description:
            'Nineteen of twenty connects were established within this time. About 1 s, 3 s or 7 s means that SYNs were lost and sent again. See the row Connects for whose, then SYN retransmits.',
          unit: 's',
          empty: 'No connect',
          levels: thresholds.connectSeconds,
          targets: [{ query: latency(0.95), legend: 'p95' }],
        },
        {
          kind: 'stat',
          title: 'Retransmitted',
          description:
            'Share of all segments sent that had been sent before. Above some per cent connections become slow, because packets are lost or answers come late. Look for the pod below, and at the board Drops for a loss on these nodes.',
          unit: 'percentunit',
          empty: 'Nothing was sent',
          levels: thresholds.retransmittedRatio,
          targets: [{ query: shareNow(sum(again), add(sum(first), sum(again))), legend: 'retransmitted' }],
        },
        {
          kind: 'stat',
          title: 'Worst round-trip time',
          description:
            'Smoothed round-trip time of the slowest connection that lives. High means a long way or a full queue on it. The row Round-trip time says whose, `netvitals show edges` to whom.',
          unit: 's',
          empty: 'No live connection, or the kernel does not tell',
          levels: thresholds.roundTripSeconds,
          targets: [{ query: max(slowest), legend: 'worst' }],
        },
        {
          kind: 'stat',
          title: 'Resets',
          description:
            'Resets sent, and connections ended by a reset received, per second. Many mean that nobody listens, that applications give up, or that a middlebox cuts connections. The row Resets and aborts has reasons and states.',
          unit: 'cps',
          empty: 'No reset',
          targets: [
            { query: sum(resetsSent), legend: 'sent' },
            { query: sum(resetsReceived), legend: 'received' },
          ],
        },
        {
          kind: 'stat',
          title: 'Aborted connections',
          description:
            'Connections that the kernel itself gave up, per second. By timeout means that the peer fell silent, by data or close that the application left before it had read all. The row Resets and aborts has the reasons.',
          unit: 'cps',
          empty: 'None was given up',
          targets: [{ query: sum(aborts), legend: 'aborted' }],
        },
        {
          kind: 'stat',
          title: 'Fullest listen queue',
          description:
            'Connections that wait to be accepted at the fullest listener, of its limit. Near 100 % the application does not accept fast enough, and the next are refused or ignored. See the row Listeners for the pod and its port.',
          unit: 'percentunit',
          empty: 'No listener, or the kernel does not tell',
          levels: thresholds.listenQueueRatio,
          targets: [{ query: max(fullest), legend: 'fullest' }],
        },
        {
          kind: 'stat',
          title: 'Listen queue overflows',
          description:
            'Connections refused because an accept queue was full, per second. Any at all means that clients wait or fail while the pod looks healthy. See the row Listeners.',
          unit: 'cps',
          empty: 'None overflowed',
          targets: [{ query: sum(rate('netvitals_tcp_listen_overflows_total', inPods)), legend: 'overflows' }],
        },
        {
          kind: 'stat',
          title: 'Most CLOSE_WAIT in a pod',
          description:
            'Connections whose peer has closed and whose application has not, where there are most. A number that only grows is a leak. `netvitals show sockets --state close_wait` names the process.',
          unit: 'short',
          empty: 'No socket',
          levels: thresholds.closeWaitSockets,
          targets: [{ query: max(closeWait), legend: 'most' }],
        },
        {
          kind: 'stat',
          title: 'Ephemeral ports in use',
          description:
            'Local ports taken towards the busiest destination, of those that there are, where the share is largest. At 100 % connects to it fail at once with EADDRNOTAVAIL. See the row Ephemeral ports.',
          unit: 'percentunit',
          empty: 'No socket',
          levels: thresholds.ephemeralPortsRatio,
          targets: [{ query: max(portsRatio), legend: 'in use' }],
        },
        {
          kind: 'stat',
          title: 'Zero windows',
          description:
            'How often a second a socket told its peer to stop sending. It means that an application does not read what it gets. See the row Queues and windows for whose.',
          unit: 'cps',
          empty: 'No window was closed',
          targets: [{ query: sum(rate('netvitals_tcp_zero_window_entered_total', inPods)), legend: 'entered' }],
        },
        {
          kind: 'stat',
          title: 'TCP memory in use',
          description:
            'Memory of all TCP sockets of a node, of the limit above which TCP allocates no more, where the share is largest. Near 100 % segments are dropped on the whole node. See the row Receive drops and memory.',
          unit: 'percentunit',
          empty: 'No agent',
          levels: thresholds.tcpMemoryRatio,
          targets: [{ query: max(memoryRatio), legend: 'in use' }],
        },
        {
          kind: 'graph',
          title: 'Connect outcomes',
          description:
            'TCP connects a second by how they ended. Refused: nobody listens. Timed out: nothing came back, as with a policy or a dead node. No port: the ports are used up. Abandoned: the application gave up waiting. `netvitals observe -t connect` shows single ones.',
          unit: 'cps',
          empty: 'No connect',
          isStacked: true,
          targets: [{ query: sum(connects, 'outcome'), legend: '{{outcome}}' }],
        },
        {
          kind: 'graph',
          title: 'Retransmission ratio by pod',
          description:
            'Share of segments sent that had been sent before. One pod alone points at its node, its peer or its limits; all pods of a node at the node or the network beyond it. `netvitals observe -t retransmit` shows to whom.',
          unit: 'percentunit',
          empty: 'Nothing was sent again',
          levels: thresholds.retransmittedRatio,
          targets: [worst(divide(byRow(again), above(add(byRow(first), byRow(again)), 0)))],
        },
      ],
    },
    {
      title: 'Connects',
      panels: [
        {
          kind: 'graph',
          title: 'Failed connects by pod and outcome',
          description:
            'Whose connects fail, and how. It is the caller that is shown. `netvitals observe -t connect --from-pod NAMESPACE/POD` has the address and port that it called, the board Edges the workload behind it.',
          unit: 'cps',
          empty: 'No connect failed',
          targets: [worstBy(byRow(failed, 'outcome'), 'outcome')],
        },
        {
          kind: 'graph',
          title: 'Failed connect ratio by pod',
          description:
            'Share of the connects of each pod that failed. 100 % means that it reaches nothing at all: look at its node and policies. A small share that stays means that one of several servers is gone.',
          unit: 'percentunit',
          empty: 'No connect failed',
          max: 1,
          levels: thresholds.failedConnectRatio,
          targets: [worst(divide(byRow(failed), above(byRow(connects), 0)))],
        },
        {
          kind: 'graph',
          title: 'Connect latency percentiles',
          description:
            'From connect to established, of connects that came about. Half, 95 % and 99 % took at most so long, as exactly as buckets of a factor of four allow. If only p99 is high, single SYNs are lost; if p50 is, the way is long or the server is slow to answer.',
          unit: 's',
          empty: 'No connect',
          width: 8,
          levels: thresholds.connectSeconds,
          targets: [
            { query: latency(0.5), legend: 'p50' },
            { query: latency(0.95), legend: 'p95' },
            { query: latency(0.99), legend: 'p99' },
          ],
        },
        {
          kind: 'heatmap',
          title: 'Connect latency heat map',
          description:
            'How many connects took how long. A second band at 1 s and above is SYNs that were lost once and sent again; see SYN retransmits.',
          unit: 's',
          empty: 'No connect',
          width: 8,
          rows: 'buckets',
          target: { query: sum(buckets('netvitals_tcp_connect_duration_seconds', inPods), 'le'), legend: '{{le}}' },
        },
        {
          kind: 'graph',
          title: 'Connect latency p95 by pod',
          description:
            'Which pods wait longest for their connections. One alone has a far or slow server, which the board Edges names; all of a node have a slow node.',
          unit: 's',
          empty: 'No connect',
          width: 8,
          levels: thresholds.connectSeconds,
          targets: [worst(above(quantile(0.95, byRow(buckets('netvitals_tcp_connect_duration_seconds', inPods), 'le')), 0))],
        },
      ],
    },
    {
      title: 'Loss and retransmissions',
      panels: [
        {
          kind: 'graph',
          title: 'Retransmitted segments by kind',
          description:
            'Segments sent again, by what made TCP do so. Fast: single packets are lost, and noticed at once. Timeout: nothing came back for a while. Probe: the end of what was sent is lost. SYN and SYN-ACK: no answer in the handshake, as with a policy, a dead server or a full accept queue.',
          unit: 'pps',
          empty: 'Nothing was sent again',
          isStacked: true,
          targets: [
            { query: sum(rate('netvitals_tcp_retransmitted_segments_by_kind_total', inPods), 'kind'), legend: '{{kind}}' },
          ],
        },
        {
          kind: 'graph',
          title: 'Retransmitted segments by pod and kind',
          description:
            'Who sends again, and why. The sender is shown: the loss is on the way from it. `netvitals observe -t retransmit --from-pod NAMESPACE/POD` has the peers, the board Edges the workloads.',
          unit: 'pps',
          empty: 'Nothing was sent again',
          targets: [worstBy(byRow(rate('netvitals_tcp_retransmitted_segments_by_kind_total', inPods), 'kind'), 'kind')],
        },
        {
          kind: 'graph',
          title: 'Retransmission timeouts',
          description:
            'How often a second the retransmission timer ran out. Each is at least 200 ms in which a connection stood still. Look for the peer with `netvitals observe -t retransmit --kind timeout`.',
          unit: 'cps',
          empty: 'No timeout',
          width: 8,
          targets: [worst(byRow(rate('netvitals_tcp_timeouts_total', inPods)))],
        },
        {
          kind: 'graph',
          title: 'SYN retransmits',
          description:
            'SYNs and SYN-ACKs sent again: the handshake gets no answer. At a client it means that the server, or something on the way, drops them; at a server that the client is gone or its answer is lost. See the board Drops for both.',
          unit: 'pps',
          empty: 'None was sent again',
          width: 8,
          targets: [worst(byRow(rate('netvitals_tcp_syn_retransmits_total', inPods)))],
        },
        {
          kind: 'graph',
          title: 'Lost retransmits',
          description:
            'Segments that were sent again and lost again. High means that the loss is heavy or lasts: a full queue, a policer, a broken link. Compare qdisc and device drops on the board Node.',
          unit: 'pps',
          empty: 'None was lost twice',
          width: 8,
          targets: [worst(byRow(rate('netvitals_tcp_lost_retransmits_total', inPods)))],
        },
        {
          kind: 'graph',
          title: 'Tail loss probes',
          description:
            'Probes sent because no acknowledgement came for the last segments. Some are normal after pauses; many mean that ends of answers are lost, or acknowledged late.',
          unit: 'pps',
          empty: 'No probe',
          width: 8,
          targets: [worst(byRow(rate('netvitals_tcp_loss_probes_total', inPods)))],
        },
        {
          kind: 'graph',
          title: 'Spurious RTOs',
          description:
            'Timeouts that turned out to be needless: the answer came, but late. High means delay and not loss, such as a throttled CPU, a paused process or a long queue. Look at round-trip times.',
          unit: 'cps',
          empty: 'No needless timeout',
          width: 8,
          targets: [worst(byRow(rate('netvitals_tcp_spurious_rtos_total', inPods)))],
        },
        {
          kind: 'graph',
          title: 'Fragmentation needed (path MTU)',
          description:
            'Messages that a packet was too large for the next link, IPv4 and IPv6: sent by the row shown, or received by it. A few are how TCP learns the size; a steady stream means that large packets never pass, while small ones do. Compare the MTUs of the devices and of the tunnel; the board Drops has category mtu.',
          unit: 'cps',
          empty: 'No packet was too large',
          width: 8,
          targets: [
            worstBy(
              named([
                ['netvitals_icmp_sent_fragmentation_needed_total', 'sent'],
                ['netvitals_icmp_received_fragmentation_needed_total', 'received'],
                ['netvitals_icmp_received_packet_too_big_total', 'received, IPv6'],
              ]),
              'what',
            ),
          ],
        },
      ],
    },
    {
      title: 'Round-trip time',
      panels: [
        {
          kind: 'graph',
          title: 'Mean round-trip time by pod',
          description:
            'Mean of the smoothed round-trip times of connections as they ended. A rise at many pods at once is the network; at one pod its peer, or its own CPU. The board Edges has it by peer.',
          unit: 's',
          empty: 'No connection ended',
          levels: thresholds.roundTripSeconds,
          targets: [
            worst(
              divide(
                byRow(sumRate('netvitals_tcp_rtt_seconds', inPods)),
                above(byRow(countRate('netvitals_tcp_rtt_seconds', inPods)), 0),
              ),
            ),
          ],
        },
        {
          kind: 'graph',
          title: 'Worst round-trip time by pod',
          description:
            'Smoothed round-trip time of the slowest connection that lives at the moment of the scrape. High while the mean is low means one far or stuck peer; `netvitals show edges` names it.',
          unit: 's',
          empty: 'No live connection, or the kernel does not tell',
          levels: thresholds.roundTripSeconds,
          targets: [worst(byRow(slowest))],
        },
      ],
    },
    {
      title: 'Resets and aborts',
      panels: [
        {
          kind: 'graph',
          title: 'Resets sent by reason',
          description:
            "Resets sent, by the kernel's own reason (Linux 6.10 and later). no_socket: somebody calls a port where nobody listens. tcp_abort_on_data, tcp_abort_on_close: an application closes before it has read all. `netvitals observe -t reset_sent` shows to whom.",
          unit: 'pps',
          empty: 'No reset was sent, or the kernel does not tell',
          isStacked: true,
          targets: [
            {
              query: topk(shown, sum(rate('netvitals_tcp_sent_resets_by_reason_total', inPods), 'reason')),
              legend: '{{reason}}',
            },
          ],
        },
        {
          kind: 'graph',
          title: 'Resets received by state',
          description:
            'Connections that a reset ended, by the state of the socket it hit. syn_sent: the connect was refused. established: the peer, or something between, cut a working connection. fin_wait and last_ack: it had been closed already.',
          unit: 'pps',
          empty: 'No reset was received',
          isStacked: true,
          targets: [{ query: sum(resetsReceived, 'state'), legend: '{{state}}' }],
        },
        {
          kind: 'graph',
          title: 'Resets sent by pod',
          description:
            'Who sends resets. A pod that is being stopped, or whose port nobody listens on any more, sends many. `netvitals observe -t reset_sent --from-pod NAMESPACE/POD` says why and to whom.',
          unit: 'pps',
          empty: 'No reset was sent',
          levels: thresholds.resetsPerSecond,
          targets: [worst(byRow(resetsSent))],
        },
        {
          kind: 'graph',
          title: 'Resets received by pod',
          description:
            'Whose connections are ended by resets. Many pods at once have a peer in common: the board Edges, or `netvitals observe -t reset_received`, names it.',
          unit: 'pps',
          empty: 'No reset was received',
          levels: thresholds.resetsPerSecond,
          targets: [worst(byRow(resetsReceived))],
        },
        {
          kind: 'graph',
          title: 'Aborted connections by reason',
          description:
            'Connections that the kernel gave up. timeout: the peer was silent for too long, as after a crash. data, close, linger: the application closed while data was there. memory: too many orphans or too little TCP memory. failed: not even the reset could be sent.',
          unit: 'cps',
          empty: 'None was given up',
          isStacked: true,
          targets: [{ query: sum(aborts, 'reason'), legend: '{{reason}}' }],
        },
        {
          kind: 'graph',
          title: 'Aborted connections by pod',
          description:
            'Whose connections the kernel gave up, and why. By timeout at many pods at once: a server or a node behind them is gone. The board Edges says which.',
          unit: 'cps',
          empty: 'None was given up',
          targets: [worstBy(byRow(aborts, 'reason'), 'reason')],
        },
      ],
    },
    {
      title: 'Listeners',
      panels: [
        {
          kind: 'graph',
          title: 'Fullest listen queue by pod',
          description:
            'Connections that wait to be accepted, of the limit, at the fullest listener of each pod. It is full above 100 %, as the kernel takes one more. Then the application is too slow or stuck, or its backlog is too small.',
          unit: 'percentunit',
          empty: 'Nothing waits, or the kernel does not tell',
          levels: thresholds.listenQueueRatio,
          targets: [worst(byRow(fullest))],
        },
        {
          kind: 'graph',
          title: 'Waiting connections by port',
          description:
            'Connections that wait to be accepted, by pod and port. What waits has been acknowledged: the client believes it is connected and gets no answer. `netvitals show sockets --state listen` has the process.',
          unit: 'short',
          empty: 'Nothing waits',
          targets: [worstBy(byRow(value('netvitals_tcp_listen_queue_length', inPods), 'port'), 'port', ':')],
        },
        {
          kind: 'graph',
          title: 'Listen queue overflows by pod',
          description:
            'Connections that an accept queue had no room for. The client is not told: it sends its SYN again after a second. Raise the backlog and net.core.somaxconn, or find out why the application does not accept.',
          unit: 'cps',
          empty: 'None overflowed',
          targets: [worst(byRow(rate('netvitals_tcp_listen_overflows_total', inPods)))],
        },
        {
          kind: 'graph',
          title: 'Listen drops by pod',
          description:
            'Connection requests that listeners dropped, for any reason; overflows are among them. If there are more than overflows, memory is short or a route is missing: `netvitals observe -t drop --to-pod NAMESPACE/POD` has the reason.',
          unit: 'cps',
          empty: 'None was dropped',
          targets: [worst(byRow(rate('netvitals_tcp_listen_drops_total', inPods)))],
        },
        {
          kind: 'graph',
          title: 'SYN cookies',
          description:
            'Cookies sent because a request queue was full, valid ones that came back, and invalid ones. Many sent and few received is a SYN flood, or clients whose answers are lost. Request queue full, beside, says whose listeners; raise their backlog if the load is real.',
          unit: 'pps',
          empty: 'No cookie',
          targets: [
            { query: sum(rate('netvitals_tcp_syn_cookies_sent_total', inPods)), legend: 'sent' },
            { query: sum(rate('netvitals_tcp_syn_cookies_received_total', inPods)), legend: 'received, valid' },
            { query: sum(rate('netvitals_tcp_syn_cookies_failed_total', inPods)), legend: 'received, invalid' },
          ],
        },
        {
          kind: 'graph',
          title: 'Request queue full by pod',
          description:
            'SYNs that found the queue of half-open connections full: answered with a cookie, or dropped where cookies are off. It is a flood of SYNs, or too small a backlog. Compare SYN_RECV below.',
          unit: 'pps',
          empty: 'No queue was full',
          targets: [
            worstBy(
              named([
                ['netvitals_tcp_request_queue_full_drops_total', 'dropped'],
                ['netvitals_tcp_request_queue_full_cookies_total', 'cookie'],
              ]),
              'what',
            ),
          ],
        },
      ],
    },
    {
      title: 'Queues and windows',
      panels: [
        {
          kind: 'graph',
          title: 'Receive queue by pod',
          description:
            'Bytes that came in and that applications have not read, over established connections. High and steady means that a process does not read: it is stuck, throttled or too slow. `netvitals show sockets --pod NAMESPACE/POD` names it.',
          unit: 'bytes',
          empty: 'All was read',
          targets: [worst(byRow(value('netvitals_tcp_receive_queue_bytes', inPods)))],
        },
        {
          kind: 'graph',
          title: 'Send queue by pod',
          description:
            'Bytes sent that peers have not acknowledged, over established connections. High and moving is traffic; high and flat means that peers do not read, or are gone without a word. `netvitals show sockets --pod NAMESPACE/POD` has the peers, and for how long they were silent.',
          unit: 'bytes',
          empty: 'All is acknowledged',
          targets: [worst(byRow(value('netvitals_tcp_send_queue_bytes', inPods)))],
        },
        {
          kind: 'graph',
          title: 'Zero windows entered by pod',
          description:
            'How often a second a socket began to tell its peer to stop, because its buffer is full. The application of this pod does not read fast enough; its peers wait. Compare the receive queue and the CPU limit.',
          unit: 'cps',
          empty: 'No window was closed',
          targets: [worst(byRow(rate('netvitals_tcp_zero_window_entered_total', inPods)))],
        },
        {
          kind: 'graph',
          title: 'Zero windows wanted by pod',
          description:
            'How often a second a socket was full but could not take back the window it had given. What comes in meanwhile may be dropped: see Receive drops.',
          unit: 'cps',
          empty: 'No socket was that full',
          targets: [worst(byRow(rate('netvitals_tcp_zero_window_wanted_total', inPods)))],
        },
      ],
    },
    {
      title: 'Leaking sockets',
      panels: [
        {
          kind: 'graph',
          title: 'TCP sockets by state',
          description:
            'All sockets by state; the host and all pods that are chosen. A state other than established and time_wait that grows without end is a leak or a peer that is gone. The graphs beside say whose.',
          unit: 'short',
          empty: 'No socket',
          width: 8,
          isStacked: true,
          targets: [{ query: sum(value('netvitals_tcp_sockets', inPods), 'state'), legend: '{{state}}' }],
        },
        {
          kind: 'graph',
          title: 'CLOSE_WAIT by pod',
          description:
            'Connections whose peer has closed and whose application has not. They stay until the process closes them or ends: a number that only grows is a leak in that process. `netvitals show sockets --state close_wait` names it, and its peers.',
          unit: 'short',
          empty: 'No socket in CLOSE_WAIT',
          width: 8,
          levels: thresholds.closeWaitSockets,
          targets: [worst(closeWait)],
        },
        {
          kind: 'graph',
          title: 'FIN_WAIT2 by pod',
          description:
            'Connections that this side has closed and the peer has not. Many mean that the peer leaks: it has the same number in CLOSE_WAIT. `netvitals show sockets --state fin_wait2` has the peers.',
          unit: 'short',
          empty: 'No socket in FIN_WAIT2',
          width: 8,
          levels: thresholds.finWait2Sockets,
          targets: [sockets('fin_wait2')],
        },
        {
          kind: 'graph',
          title: 'SYN_SENT by pod',
          description:
            'Connects that wait for an answer. Many mean that what they call is silent: dead, cut off, or behind a policy that drops. `netvitals show sockets --state syn_sent` has the addresses.',
          unit: 'short',
          empty: 'No socket in SYN_SENT',
          width: 8,
          levels: thresholds.synSentSockets,
          targets: [sockets('syn_sent')],
        },
        {
          kind: 'graph',
          title: 'SYN_RECV by pod',
          description:
            'Half-open connections: the SYN came, the client has not confirmed. Many are a flood, or answers that do not reach the clients. Compare SYN cookies.',
          unit: 'short',
          empty: 'No socket in SYN_RECV',
          width: 8,
          levels: thresholds.synRecvSockets,
          targets: [sockets('syn_recv')],
        },
        {
          kind: 'graph',
          title: 'TIME_WAIT by pod',
          description:
            'Closed connections that the kernel remembers for a minute. Many mean many short connections, each of which holds a port: look at Ephemeral ports, and let clients keep connections open.',
          unit: 'short',
          empty: 'No socket in TIME_WAIT',
          width: 8,
          levels: thresholds.timeWaitSockets,
          targets: [sockets('time_wait')],
        },
      ],
    },
    {
      title: 'Ephemeral ports',
      panels: [
        {
          kind: 'graph',
          title: 'Ephemeral ports in use by pod',
          description:
            'Local ports taken towards the busiest destination, TIME_WAIT included, of those that there are. Ports run out for one address and port of a server at a time. Keep connections open, widen net.ipv4.ip_local_port_range, or give the server more addresses.',
          unit: 'percentunit',
          empty: 'No port is in use',
          max: 1,
          levels: thresholds.ephemeralPortsRatio,
          targets: [worst(byRow(portsRatio))],
        },
        {
          kind: 'graph',
          title: 'Connects without a free port by pod',
          description:
            'Connects that failed because no local port was free (EADDRNOTAVAIL); no packet left the pod. `netvitals observe -t connect --outcome no_port` has the destination. Compare TIME_WAIT.',
          unit: 'cps',
          empty: 'There was always a port',
          targets: [worst(byRow(rate('netvitals_tcp_connects_total', { ...inPods, outcome: 'no_port' })))],
        },
      ],
    },
    {
      title: 'Receive drops and memory',
      panels: [
        {
          kind: 'graph',
          title: 'Receive drops',
          description:
            'Segments dropped because a socket was full: its receive queue, its backlog while the process held it, its closed window, its room for what came out of order, or what was left after pruning. Any of them means that the application does not keep up, or that net.ipv4.tcp_rmem is too small.',
          unit: 'pps',
          empty: 'No segment was dropped',
          isStacked: true,
          targets: receiveDrops.map(([counter, what]) => ({ query: sum(rate(counter, inPods)), legend: what })),
        },
        {
          kind: 'graph',
          title: 'Receive drops by pod',
          description:
            'Whose sockets are so full that segments are dropped, and which part of them. Look for its process in `netvitals show sockets --pod NAMESPACE/POD`, and at its CPU limit.',
          unit: 'pps',
          empty: 'No segment was dropped',
          targets: [worstBy(named(receiveDrops), 'what')],
        },
        {
          kind: 'graph',
          title: 'TCP memory in use by node',
          description:
            'Memory of all TCP sockets of a node, of the third number of net.ipv4.tcp_mem. Near 100 % every pod of the node loses segments and connections. Find the full queues above.',
          unit: 'percentunit',
          empty: 'No agent',
          max: 1,
          levels: thresholds.tcpMemoryRatio,
          targets: [{ query: nameNodes(topk(shown, memoryRatio)), legend: '{{whose}}' }],
        },
        {
          kind: 'graph',
          title: 'Memory pressure by pod',
          description:
            'How often a second TCP began to save memory, seen by the pod whose socket was the last straw; the whole node is under pressure. Windows shrink, and everything becomes slow. Compare TCP memory in use.',
          unit: 'cps',
          empty: 'No pressure',
          targets: [worst(byRow(rate('netvitals_tcp_memory_pressures_total', inPods)))],
        },
      ],
    },
    {
      title: 'Seldom needed',
      isCollapsed: true,
      panels: [
        {
          kind: 'graph',
          title: 'Connections opened',
          description:
            'Connections begun by connects, and taken by listeners, per second. A fall of the first is a client that no longer asks, of the second a server that nobody reaches.',
          unit: 'cps',
          empty: 'No connection',
          width: 8,
          targets: [
            { query: sum(rate('netvitals_tcp_active_opens_total', inPods)), legend: 'connects' },
            { query: sum(rate('netvitals_tcp_passive_opens_total', inPods)), legend: 'accepts' },
          ],
        },
        {
          kind: 'graph',
          title: 'Failed retransmits',
          description:
            'Attempts to send again that sent nothing: the earlier copy still waits in a queue of this machine, or there is no route, memory or window. High means that the node itself is the bottleneck: see qdisc backlog on the board Node.',
          unit: 'cps',
          empty: 'None failed',
          width: 8,
          targets: [worst(byRow(rate('netvitals_tcp_retransmit_failures_total', inPods)))],
        },
        {
          kind: 'graph',
          title: 'Bad segments received',
          description:
            'Segments that are malformed or have a wrong checksum. High means broken hardware, a broken offload or a broken tunnel. Compare device errors on the board Node.',
          unit: 'pps',
          empty: 'All were well',
          width: 8,
          targets: [
            worstBy(
              named([
                ['netvitals_tcp_receive_errors_total', 'bad'],
                ['netvitals_tcp_checksum_errors_total', 'of them checksum'],
              ]),
              'what',
            ),
          ],
        },
        {
          kind: 'graph',
          title: 'Challenge ACKs',
          description:
            'Answers to resets and SYNs that do not fit the connection. Many mean that somebody uses an old connection again, as after a crash or behind a load balancer that forgot, or that somebody forges packets.',
          unit: 'pps',
          empty: 'None was needed',
          width: 8,
          targets: [worst(byRow(rate('netvitals_tcp_challenge_acks_total', inPods)))],
        },
        {
          kind: 'graph',
          title: 'TIME_WAIT overflows',
          description:
            'Sockets that could not stay in TIME_WAIT because there were too many (net.ipv4.tcp_max_tw_buckets). Late packets of an old connection may then reach a new one. Let clients keep connections open.',
          unit: 'cps',
          empty: 'None overflowed',
          width: 8,
          targets: [worst(byRow(rate('netvitals_tcp_time_wait_overflows_total', inPods)))],
        },
        {
          kind: 'graph',
          title: 'Orphans by node',
          description:
            'Sockets that no process holds any more and that still have data to send, of the limit (net.ipv4.tcp_max_orphans). Near 100 % the kernel resets them: see aborted connections by memory.',
          unit: 'percentunit',
          empty: 'No agent',
          width: 8,
          max: 1,
          targets: [
            {
              query: nameNodes(
                topk(shown, divide(value('netvitals_tcp_orphans', here), value('netvitals_tcp_orphans_limit', here))),
              ),
              legend: '{{whose}}',
            },
          ],
        },
      ],
    },
  ],
}
