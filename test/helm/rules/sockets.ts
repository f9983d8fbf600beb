import { counter, gauge, pod, type Scene, type Stretch, scaled, throughout, toScene } from './story.ts'

const sockets =
  (state: string) =>
  (subject: string, ...stretches: readonly Stretch[]) => [
    gauge('netvitals_tcp_sockets', { ...pod(subject), state }, ...stretches),
    // A listener is in another state.
    gauge('netvitals_tcp_sockets', { ...pod(subject), state: 'listen' }, throughout(stretches, 1_000_000)),
  ]
const rising = (first: number, perHour: number, minutes: number): readonly Stretch[] =>
  Array.from({ length: minutes }, (_, at) => [1, first + (perHour * (at + 1)) / 60])
const closeWait = { state: 'close_wait' } as const

export const socketScenes: readonly Scene[] = [
  toScene({
    alert: 'NetvitalsCloseWait',
    series: sockets('close_wait'),
    normal: 5,
    below: 90,
    fault: 110,
    burst: [12, 1000],
    lag: 0,
    pending: 15,
    labels: { ...pod('fault'), ...closeWait },
    description:
      'On node-1 shop/fault has 110 TCP sockets in CLOSE_WAIT: the other end has closed, the application has not. `netvitals show sockets --state close-wait` on the node names the process.',
  }),
  // The host has neither namespace nor pod, and a scrape may have no label `node`.
  toScene({
    alert: 'NetvitalsCloseWait',
    series: (subject, ...stretches) => [
      gauge('netvitals_tcp_sockets', { job: 'nodes', instance: subject, namespace: '', pod: '', ...closeWait }, ...stretches),
    ],
    normal: 5,
    below: 90,
    fault: 110,
    burst: [12, 1000],
    lag: 0,
    pending: 15,
    labels: { job: 'nodes', instance: 'fault', ...closeWait },
    description:
      'On fault the host has 110 TCP sockets in CLOSE_WAIT: the other end has closed, the application has not. `netvitals show sockets --state close-wait` on the node names the process.',
  }),
  {
    alert: 'NetvitalsCloseWaitGrowing',
    // 20 more than an hour before are there from minute 185 on: the fewest of half an hour count.
    series: [
      ...sockets('close_wait')('fault', [100, 5], ...rising(5, 22, 120), [30, 5]),
      ...sockets('close_wait')('below', [100, 5], ...rising(5, 18, 150)),
      ...sockets('close_wait')('burst', [100, 5], [25, 80], [5, 5], [25, 80], [95, 5]),
      ...sockets('close_wait')('level', [250, 80]),
      // Younger than an hour and a half.
      ...sockets('close_wait')('new', [150, 'none'], ...rising(0, 100, 80)),
    ],
    checks: [
      { minute: 100, fires: [] },
      { minute: 124, fires: [] },
      { minute: 154, fires: [] },
      { minute: 198, fires: [] },
      {
        minute: 201,
        fires: [
          {
            labels: { ...pod('fault'), ...closeWait },
            description:
              'On node-1 shop/fault has 22 TCP sockets in CLOSE_WAIT more than an hour before, and none of them goes: the application leaks connections. `netvitals show sockets --state close-wait` on the node names the process.',
          },
        ],
      },
      { minute: 222, fires: [] },
      { minute: 250, fires: [] },
    ],
  },
  toScene({
    alert: 'NetvitalsSynRecvFlood',
    series: sockets('syn_recv'),
    normal: 3,
    below: 450,
    fault: 550,
    burst: [4, 5000],
    lag: 0,
    pending: 5,
    labels: { ...pod('fault'), state: 'syn_recv' },
    description:
      'On node-1 shop/fault has 550 TCP sockets in SYN_RECV: the last step of their handshake does not come. It is a SYN flood, or the answers do not reach the clients. `netvitals show sockets --state syn-recv` on the node shows who calls.',
  }),
  toScene({
    alert: 'NetvitalsSynSentStuck',
    series: sockets('syn_sent'),
    normal: 3,
    below: 180,
    fault: 220,
    burst: [4, 2000],
    lag: 0,
    pending: 5,
    labels: { ...pod('fault'), state: 'syn_sent' },
    description:
      'On node-1 shop/fault has 220 TCP sockets in SYN_SENT: whom it calls does not answer. `netvitals show sockets --state syn-sent` on the node shows whom.',
  }),
  toScene({
    alert: 'NetvitalsTimeWait',
    series: sockets('time_wait'),
    normal: 300,
    below: 9000,
    fault: 11_000,
    burst: [12, 30_000],
    lag: 0,
    pending: 15,
    labels: { ...pod('fault'), state: 'time_wait' },
    description:
      'On node-1 shop/fault has 11000 TCP sockets in TIME_WAIT: it opens and closes connections very often. That costs ports, and latency of each connect; keeping connections open avoids it.',
  }),
  toScene({
    alert: 'NetvitalsFinWait2',
    series: sockets('fin_wait2'),
    normal: 3,
    below: 450,
    fault: 550,
    burst: [12, 5000],
    lag: 0,
    pending: 15,
    labels: { ...pod('fault'), state: 'fin_wait2' },
    description:
      'On node-1 shop/fault has 550 TCP sockets in FIN_WAIT2: it has closed, the other ends have not. `netvitals show sockets --state fin-wait2` on the node shows who they are; they leak connections.',
  }),
  toScene({
    alert: 'NetvitalsEphemeralPortsNearlyExhausted',
    series: (subject, ...stretches) => [
      gauge('netvitals_tcp_ephemeral_ports_in_use', pod(subject), ...stretches),
      gauge('netvitals_tcp_ephemeral_ports', pod(subject), throughout(stretches, 28_000)),
    ],
    normal: 900,
    below: 20_160,
    fault: 24_640,
    burst: [4, 28_000],
    lag: 0,
    pending: 5,
    // All ports are reserved.
    also: [
      gauge('netvitals_tcp_ephemeral_ports_in_use', pod('reserved'), [100, 3]),
      gauge('netvitals_tcp_ephemeral_ports', pod('reserved'), [100, 0]),
    ],
    labels: pod('fault'),
    description:
      'On node-1 shop/fault uses 88% of its ephemeral ports towards one destination. When there are no more, connects to it fail at once. `netvitals show sockets` on the node shows where they lead.',
  }),
  toScene({
    alert: 'NetvitalsConnectsWithoutPort',
    series: (subject, ...stretches) => [
      counter('netvitals_tcp_connects_total', { ...pod(subject), outcome: 'no_port' }, ...stretches),
      counter('netvitals_tcp_connects_total', { ...pod(subject), outcome: 'connected' }, throughout(stretches, 100)),
    ],
    normal: 0,
    below: 0.09,
    fault: 0.11,
    burst: [1, 5],
    lag: 5,
    pending: 5,
    labels: { ...pod('fault'), outcome: 'no_port' },
    description:
      'On node-1 110m connects a second of shop/fault find no free local port and fail at once (EADDRNOTAVAIL). `netvitals observe --outcome no_port` on the node shows where to.',
  }),
  toScene({
    alert: 'NetvitalsAcceptQueueOverflow',
    series: (subject, ...stretches) => [counter('netvitals_tcp_listen_overflows_total', pod(subject), ...stretches)],
    normal: 0,
    below: 0.09,
    fault: 0.11,
    burst: [4, 20],
    lag: 5,
    pending: 10,
    keeps: 10,
    labels: pod('fault'),
    description:
      'On node-1 a listener of shop/fault drops 110m connections a second, because too many wait to be accepted. Their clients try again after a second or more. `netvitals show sockets --state listen` on the node shows which port.',
  }),
  toScene({
    alert: 'NetvitalsAcceptQueueNearlyFull',
    series: (subject, ...stretches) => [
      gauge('netvitals_tcp_listen_queue_fullest_ratio', pod(subject), ...scaled(stretches, (level) => level / 100)),
    ],
    normal: 0,
    below: 72,
    fault: 88,
    burst: [4, 101],
    lag: 0,
    pending: 5,
    labels: pod('fault'),
    description:
      'On node-1 the accept queue of a listener of shop/fault is 88% full: the application takes new connections too slowly. `netvitals show sockets --state listen` on the node shows which port.',
  }),
]
