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
        panels: ['Dropped packets by category', 'Packets dropped by netfilter, between workloads'],
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
        panels: ['Packets dropped by netfilter, by reason', 'Packets dropped by netfilter, by pod'],
        sees: 'netfilter_drop from the minute on in which the policy came. Nothing: the policy is not what drops.',
      },
      {
        uid: 'netvitals-edges',
        panels: ['Dropped packets by edge', 'Connect timeouts by edge', 'Failed connects by edge and outcome'],
        sees: 'The one edge on which packets of category netfilter are dropped and connects time out, or are refused where the policy rejects. Other edges of the same two workloads go on.',
      },
      {
        uid: 'netvitals-pod-flows-namespace',
        panels: ['Failed connects between workloads', 'Heat map of incoming drops, top pods'],
        sees: 'Whether the policy hits this pair alone, or other pods of the namespace that nobody thought of.',
      },
    ],
  },
  {
    says: 'The web app says DNS_PROBE_FINISHED_NXDOMAIN, its log says SERVFAIL. Which names, whose fault?',
    boards: [
      {
        uid: 'netvitals-dns-cluster',
        panels: [
          'DNS errors by type (NXDOMAIN, SERVFAIL …)',
          'DNS missing responses',
          'Top pods with DNS errors',
          'DNS servers by errors and NXDOMAIN',
        ],
        sees: 'Which error, for whom, and which server gives it. All pods alike: the server, or what it asks itself. One pod alone: what it asks for. Missing responses: packets are lost, or the server is down.',
      },
      {
        uid: 'netvitals-dns-workload',
        panels: [
          'DNS requests by type (A, AAAA …)',
          'Search-list failures (ndots)',
          'DNS latency percentiles',
          'DNS responses by code, in the time shown',
        ],
        sees: 'Whether one type fails and the other works, whether NXDOMAIN is only what the search list tries before the right name, and how long it takes. `netvitals observe --dns` shows the names.',
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
    says: 'Connections vanish under load, and nothing is in any log.',
    boards: [
      {
        uid: 'netvitals-conntrack',
        panels: [
          'Conntrack table by node',
          'Full in',
          'Who fills the tables',
          'Dropped packets (drop)',
          'Failed inserts (insert_failed)',
        ],
        sees: 'A table near its limit, or at it and dropping; who fills it; and how long it lasts if it goes on like that. Failed inserts without a full table: two packets of one new flow at the same moment, as DNS clients send them.',
      },
      {
        uid: 'netvitals-node',
        panels: ['Softnet drops', 'Qdisc drops by device', 'Device drops, receiving'],
        sees: 'Packets that are lost before or after the stack: a CPU that is late, a queue that is full, a device without room.',
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
        uid: 'netvitals-http',
        panels: [
          'HTTP requests by status class, as server',
          'Top workloads with HTTP 5xx, as server',
          'HTTP latency percentiles, as server',
          'HTTP unanswered',
        ],
        sees: 'Who answers with errors, and who is slow, where the traffic is plaintext and its ports are set. Connections that cannot be read are counted too.',
      },
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
        panels: ['Dropped packets by category and reason'],
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
  {
    says: 'Some pods of the search are on fire, others are idle.',
    boards: [
      {
        uid: 'netvitals-pod-flows-workload',
        panels: [
          'Imbalance of traffic',
          'Heat map of incoming traffic, top pods',
          'Fullest accept queue',
          'Each pod: traffic, resets, retransmissions, queues, drops',
        ],
        sees: 'How many times the mean the busiest pod has, in traffic and in connections, and what it costs it: a full accept queue, data nobody reads, resets. Long-lived connections that stay with the pods that were there first are the usual reason.',
      },
    ],
  },
  {
    says: "Is the cluster's network healthy?",
    boards: [
      {
        uid: 'netvitals-clusters',
        panels: ['Dropped packets by category', 'Nodes', 'TCP sockets by state', 'Failing sources'],
        sees: 'One row of green numbers, and a table with the node that is not like the others. Its name opens its own board.',
      },
      {
        uid: 'netvitals-node',
        panels: ['Dropped packets by category', 'Traffic of the node', 'Pods that drop most', 'Sources'],
        sees: 'What of the node it is, whose pods, and whether the agent sees everything there.',
      },
    ],
  },
]
