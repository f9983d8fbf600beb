/**
 * From where on a value is worth a look, or a fault: what alerts fire at, what dashboards colour, and what findings say.
 * Counts are of one network namespace; ratios are of 1.
 */
export const thresholds = {
  /** Entries of the table's limit. */
  conntrackRatio: { warning: 0.8, fault: 0.95 },
  /** By the growth of the last hour the table is full in less than so long. */
  conntrackForecastSeconds: { warning: 4 * 3600 },
  /** Packets dropped because they could not be tracked; those whose entry was taken are among them. */
  conntrackDropsPerSecond: { warning: 0.2, fault: 1 },
  conntrackInsertFailuresPerSecond: { warning: 0.1 },
  closeWaitSockets: { warning: 100, fault: 1000 },
  /** More than an hour before, and never fewer since. */
  closeWaitGrowth: { warning: 20 },
  synRecvSockets: { warning: 500 },
  synSentSockets: { warning: 200 },
  timeWaitSockets: { warning: 10_000 },
  finWait2Sockets: { warning: 500 },
  /** Ports towards the busiest destination, of all that there are. */
  ephemeralPortsRatio: { warning: 0.8, fault: 0.95 },
  /** Connects that found no port. */
  portlessConnectsPerSecond: { warning: 0.01, fault: 0.1 },
  /** Connections that wait to be accepted, of the listener's limit. */
  listenQueueRatio: { warning: 0.8 },
  /** Connections refused because too many waited. */
  listenOverflowsPerSecond: { warning: 0.1, fault: 10 },
  /** Segments sent again, of all that were sent. */
  retransmittedRatio: { warning: 0.02, fault: 0.1 },
  /** Connects that failed, of those begun. */
  failedConnectRatio: { warning: 0.05, fault: 0.2 },
  connectSeconds: { warning: 0.5, fault: 1 },
  roundTripSeconds: { warning: 0.2, fault: 1 },
  resetsPerSecond: { warning: 10 },
  dropsPerSecond: { warning: 10, fault: 100 },
  /** Of drops for lack of memory, which a healthy machine has none of. */
  memoryDropsPerSecond: { warning: 1 },
  /** Times the rate of an hour before: it began suddenly. */
  suddenTimes: { warning: 3 },
  /** Too large for the next link: refused here, or elsewhere and told here. */
  tooLargePacketsPerSecond: { warning: 1 },
  /** The busiest pod of a workload, of their mean. */
  imbalanceRatio: { warning: 2, fault: 5 },
  /** Answers with an error, of all answers; names that are not there are none. */
  dnsErrorRatio: { warning: 0.05, fault: 0.2 },
  /** Queries without an answer, of all queries. */
  dnsUnansweredRatio: { warning: 0.01, fault: 0.05 },
  /** Queries that failed only because of the search list, of all queries. */
  dnsSearchFailureRatio: { warning: 0.5 },
  dnsSeconds: { warning: 0.5, fault: 2 },
  /** Answers of the 5xx, of all requests. */
  httpErrorRatio: { warning: 0.01, fault: 0.05 },
  httpSeconds: { warning: 1, fault: 5 },
  /** Entries of the table's limit. */
  neighbourRatio: { warning: 0.8, fault: 0.95 },
  /** Neighbours that did not fit into the table. */
  neighbourRefusalsPerSecond: { warning: 0.01, fault: 0.1 },
  tcpMemoryRatio: { warning: 0.8, fault: 0.95 },
  /** Sockets without a process, of tcp_max_orphans: from half of it on the kernel resets those whose peers have fallen silent. */
  orphansRatio: { warning: 0.5, fault: 0.95 },
  /** Of a sweep; what takes longer than 10 s is too late for a scrape, unless its timeout is longer. */
  sweepSeconds: { warning: 5, fault: 10 },
  /** Times that TCP ran short of memory, in a quarter of an hour. */
  tcpMemoryPressures: { warning: 3 },
  /** Packets dropped because a CPU's backlog was full. */
  softnetDropsPerSecond: { warning: 1 },
  /** Of packets received and sent. */
  deviceDropRatio: { warning: 0.001 },
  deviceErrorRatio: { warning: 0.001 },
  /** Of packets sent; TCP fills a queue until it drops some. */
  qdiscDropRatio: { warning: 0.01 },
  /** Events that the agent could not count. */
  lostEventsPerSecond: { warning: 0.1 },
} as const satisfies Record<string, { readonly warning: number; readonly fault?: number }>
