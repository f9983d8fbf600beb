/** What somebody comes with, and where the answer is. */
export interface Story {
  /** In their words. */
  readonly says: string
  /** Where to look, one after the other. */
  readonly boards: readonly {
    readonly uid: string
    /** Their titles. */
    readonly panels: readonly string[]
    /** What there is to see if this is it, and what it means. */
    readonly sees: string
  }[]
}

/** The most urgent first: what does not work at all, then what works badly, then what will not work for much longer. */
export const stories: readonly Story[] = [
  {
    says: 'The shop does not load, the browser says that it timed out. All pods are running. What is in the way?',
    boards: [
      {
        uid: 'netvitals-edges',
        panels: ['Node graph of edges', 'Failed connects by edge and outcome'],
        sees: 'A red arrow between two workloads, and how connects between them fail. Timed out: something swallows the packets. Refused: it gets there, and nobody listens.',
      },
      {
        uid: 'netvitals-drops',
        panels: ['Dropped packets by reason'],
        sees: 'If it timed out and netfilter_drop rises with it, a rule or a policy on one of the nodes is in the way. If nothing is dropped on them, it is between the nodes, or beyond.',
      },
      {
        uid: 'netvitals-tcp-health',
        panels: ['Failed connects by pod and outcome', 'SYN retransmits'],
        sees: 'Whether one pod fails or all that call this server; SYNs sent again that get no answer.',
      },
    ],
  },
  {
    says: 'Since the new network policy the frontend does not reach the backend.',
    boards: [
      {
        uid: 'netvitals-drops',
        panels: ['Dropped packets by reason'],
        sees: 'netfilter_drop from the minute on in which the policy came. Nothing: the policy is not what drops.',
      },
      {
        uid: 'netvitals-edges',
        panels: ['Dropped packets by edge', 'Connect timeouts by edge', 'Failed connects by edge and outcome'],
        sees: 'The one edge on which packets of category netfilter are dropped and connects time out, or are refused where the policy rejects. Other edges of the same two workloads go on.',
      },
    ],
  },
  {
    says: 'Orders have fallen since two in the morning, and nobody has deployed anything. Is it the network?',
    boards: [
      {
        uid: 'netvitals-edges',
        panels: ['Volume by server', 'Max round-trip time by server', 'Connect timeouts by server', 'Retransmissions by server'],
        sees: 'Four graphs side by side. It is the network where volume to a server falls while round-trip times, timeouts or retransmissions rise. Where volume falls alone, nobody asks: look at who calls.',
      },
      {
        uid: 'netvitals-edges',
        panels: ['Retransmissions by edge and side', 'Max round-trip time by edge', 'Edges that hurt'],
        sees: 'The edges that have it, and those beside them that do not: all of one server, all of one client, or all there are. Which side sends again says in which direction packets are lost.',
      },
      {
        uid: 'netvitals-tcp-health',
        panels: ['Retransmission ratio by pod', 'Retransmitted segments by kind'],
        sees: 'How much of what is sent is lost, in per cent, and whether by single packets (fast) or for whole moments (timeout).',
      },
    ],
  },
  {
    says: 'The service runs, its port is open, and still connections hang or are refused. Does it listen at all?',
    boards: [
      {
        uid: 'netvitals-tcp-health',
        panels: [
          'Fullest listen queue by pod',
          'Waiting connections by port',
          'Listen queue overflows by pod',
          'Listen drops by pod',
        ],
        sees: 'A queue at its limit and overflows: the application does not accept. Clients believe they are connected and wait.',
      },
      {
        uid: 'netvitals-tcp-health',
        panels: ['Resets sent by reason', 'Connect outcomes'],
        sees: 'Resets for no_socket, and refused connects at the callers: nobody listens on that port.',
      },
      {
        uid: 'netvitals-tcp-health',
        panels: ['SYN cookies', 'Request queue full by pod', 'SYN_RECV by pod'],
        sees: 'Half-open connections up to the limit, and cookies: more SYNs than the backlog holds, or a flood.',
      },
    ],
  },
  {
    says: 'Every afternoon at two the batch job fails with EADDRNOTAVAIL.',
    boards: [
      {
        uid: 'netvitals-tcp-health',
        panels: ['Ephemeral ports in use by pod', 'Connects without a free port by pod', 'TIME_WAIT by pod'],
        sees: 'The share of ports towards one destination climbs to 100 %, most of them in TIME_WAIT, and connects without a port begin: the job opens a connection for each piece of work instead of keeping some.',
      },
    ],
  },
  {
    says: 'Checkout is slow, and sometimes it answers with an error. Is it us or is it the network?',
    boards: [
      {
        uid: 'netvitals-edges',
        panels: ['Max round-trip time by server', 'Retransmissions by server', 'Edges that hurt'],
        sees: 'Round-trip times and retransmissions of the servers that checkout calls. If they are as ever, the network is not what is slow.',
      },
      {
        uid: 'netvitals-tcp-health',
        panels: ['Connect latency percentiles', 'Connect latency heat map', 'Retransmission timeouts'],
        sees: 'A band at one second and above in the heat map: SYNs are lost and sent again. Timeouts: connections stand still for 200 ms and more at a time.',
      },
      {
        uid: 'netvitals-tcp-health',
        panels: ['Receive queue by pod', 'Zero windows entered by pod', 'Fullest listen queue by pod'],
        sees: 'Data that nobody reads, closed windows and connections that wait to be accepted: the application is what is slow, and the network waits for it.',
      },
    ],
  },
  {
    says: 'Small requests work, large ones hang.',
    boards: [
      {
        uid: 'netvitals-tcp-health',
        panels: ['Fragmentation needed (path MTU)', 'Retransmission timeouts', 'Send queue by pod'],
        sees: 'Messages that packets are too large for a link, without end: their sender does not get them or does not heed them. Where there are none, but timeouts and a send queue that stays, something swallows both the packets and the messages.',
      },
      {
        uid: 'netvitals-drops',
        panels: ['Dropped packets by reason'],
        sees: 'pkt_too_big, where it is one of these nodes that cannot pass them on.',
      },
    ],
  },
  {
    says: 'A server crashed, and its clients still hang, hours later.',
    boards: [
      {
        uid: 'netvitals-tcp-health',
        panels: ['Send queue by pod', 'Aborted connections by reason', 'Retransmission timeouts'],
        sees: 'A send queue that is flat and never acknowledged; aborts by timeout once the kernel gives up, which takes a quarter of an hour. Connections that only wait to receive give up never, if nobody has set keepalive.',
      },
      {
        uid: 'netvitals-edges',
        panels: ['Connections open by edge', 'Volume by edge'],
        sees: 'Connections to the server that are still there, and on which nothing goes on any more.',
      },
    ],
  },
  {
    says: 'An application runs out of file descriptors. Does it leak sockets?',
    boards: [
      {
        uid: 'netvitals-tcp-health',
        panels: ['CLOSE_WAIT by pod', 'TCP sockets by state', 'FIN_WAIT2 by pod'],
        sees: 'A number in CLOSE_WAIT that only grows is the pod that leaks; its peers have as many in FIN_WAIT2 and are not to blame.',
      },
      {
        uid: 'netvitals-tcp-health',
        panels: ['SYN_SENT by pod', 'TIME_WAIT by pod'],
        sees: 'Many in SYN_SENT: what it calls is silent. Many in TIME_WAIT: connections that are too short, not a leak.',
      },
    ],
  },
]
