/** Every bound of the agent in one place. What did not fit is counted exactly and shown in a metric, never silently lost. */
export const limits = {
  // parsers and files
  /** A /proc or /sys file other than a socket table; the largest seen (netstat of 7.2) is under 16 KiB. */
  fileBytes: 1 << 20,
  /** Asked for in one read: a sysctl costs the kernel as much memory, zeroed, as it is asked for. */
  readBytes: 1 << 14,
  /** A line of a socket table is 150 bytes (tcp) to 190 (tcp6). */
  lineBytes: 4096,
  // netlink
  netlinkReceiveBytes: 1 << 18,
  /** A dump that another change interrupted (NLM_F_DUMP_INTR) is asked for again this many times. */
  netlinkRetries: 3,
  /** Long kernel dumps give the event loop back this often. */
  yieldMs: 10,
  /** The kernel answers at once; an answer that has not come by then is lost. */
  netlinkAnswerMs: 2000,
  /** A recorded answer; 50,000 sockets take 18 MB. */
  netlinkRecordingBytes: 64 << 20,
  /** Of a socket table in /proc, read at a time. */
  streamBytes: 1 << 16,
  // network namespaces
  /** Named ones, and as many that only the tracer has seen; the departed are remembered up to this number too. */
  namespaces: 1024,
  // pods by their processes
  /** Network namespaces with processes that are told apart, so that those a pod makes for itself keep out no other pod. */
  podNamespaces: 4096,
  /** Files of /proc read in one refresh, 40 us each at first, and as many for pods in doubt; what is left is read in the next. */
  podReads: 1024,
  /** Processes of containers looked at in each namespace. */
  podVoters: 16,
  /** So many of them, in turn, are made sure of when others come or go: a pid may be another process's by now. */
  podRechecks: 4,
  /** All processes looked at in each, and of the host's when a pod might have its network. */
  podMembers: 256,
  podHostProcesses: 4096,
  /** A process of no container is looked at so often: its runtime may not be done with it. */
  podLooks: 3,
  /** Processes found in /proc where no tracer lists them. */
  podProcesses: 1 << 16,
  // who has which socket
  /** TCP sockets that fit one question and are looked at one by one; 400 bytes each meanwhile. What is more is counted. */
  socketsRead: 1 << 16,
  /** Sockets, or groups of them, in one answer: 2 KB each at most. */
  socketsShown: 4096,
  /** Questions answered at once; further ones get 503. */
  socketQuestions: 2,
  /** Processes looked into, and files of them in all, 3 us each. */
  socketOwnerProcesses: 1 << 16,
  socketOwnerFiles: 1 << 20,
  /** Read of what a process was started with. */
  commandLineBytes: 512,
  // tracer
  /** Keys of each table in the kernel that counts by namespace and by something else: namespaces × reasons, states, … in use. */
  tracerKeys: 8192,
  /** Keys of each that counts by namespace alone. */
  tracerNamespaces: 2048,
  /** Before Linux 6.1 the memory of all keys is taken at once, for every CPU there may be: tables are that much smaller. */
  tracerPreallocatedShare: 4,
  /** Connects under way whose duration is being measured; 80 bytes each, taken at once. */
  tracerConnects: 16_384,
  /** Addresses of this machine that are not the host's own. */
  tracerAddresses: 4096,
  /** Connections that live, seen from their beginning; 130 bytes each. */
  tracerConnections: 65_536,
  /** Networks whose addresses edges tell apart, beside private ones. */
  tracerNetworks: 1024,
  /** Public addresses of this machine, host and pods, that edges tell apart too. */
  tracerOwnAddresses: 4096,
  /** Addresses behind which a connection's peer is another's: those of Services, and what connections have shown. */
  tracerServiceAddresses: 12_288,
  tracerTranslatedAddresses: 4096,
  /** Keys read with one call; each takes 16 bytes and 16 more per CPU. Doubled when one bucket of the hash holds more. */
  tracerBatchKeys: 1024,
  /** What libbpf and the verifier say about a program that cannot be loaded; the longest message seen is 300 KiB. */
  tracerLogBytes: 1 << 20,
  /** Of the list of all processes, read at a time. */
  tracerTaskBytes: 1 << 14,
  /** Of a refused program's message, in the reason that people read. */
  tracerReasonCharacters: 300,

  // sources
  /** Destinations told apart per namespace to find the busiest; 40 bytes each. */
  destinations: 1 << 18,
  /** Of the host's conntrack table, read in one sweep: they take 50 to 100 ms of CPU; a larger table is estimated from so many. */
  conntrackEntries: 20_000,
  /** They are read again when that takes no more than this share of a CPU. */
  conntrackTimeShare: 0.02,
  /** Listening ports with a row of their own per namespace; the rest is `other`. */
  listenPorts: 64,

  // edges
  /** Rows by the two workloads and who has seen it, some 15 series each; what is more is in one, `other`. */
  edges: 2048,
  /** A row that nothing was told of for so long goes. */
  edgeIdleMs: 3_600_000,
  /** Told apart by namespace, remote address and role, and connections that were there before the agent; some 600 bytes each. */
  edgeRecords: 32_768,
  /** One that nothing was counted for in so long is taken out of the kernel's map, when that is more than half full. */
  edgeRecordIdleMs: 180_000,
  /** Connections to translated addresses that conntrack is asked for in a sweep, 10 us each; the rest has to wait. */
  edgeQuestions: 2000,
  /** Of an address that is translated, told apart between two sweeps; one with more is counted as a whole from then on. */
  edgeSingles: 1024,
  /** Of a live connection that has heard from its peer within this time the last byte is held back: it may be a FIN. */
  edgeQuietMs: 1000,

  // packet capture
  /** TCP connections put together from packets; 800 bytes each. The one that was silent longest makes room. */
  captureConnections: 16_384,
  /** Of one direction, waiting for what is before it; of all together. */
  captureOutOfOrderBytes: 1 << 17,
  captureOutOfOrderBytesTotal: 16 << 20,
  /** A connection that is silent for so long is taken for ended. */
  captureIdleMs: 300_000,
  /** What waits for so long is handed out without what is before it; the first retransmissions come within seconds. */
  captureHoleMs: 5000,
  /** A connection that has ended is known for so long: packets of it still come. */
  captureLingerMs: 5000,
  /** DNS queries that wait for their answer, or had it just now; 500 bytes each. What is more is counted, but not followed. */
  dnsTransactions: 65_536,
  /** A query without an answer by then is unanswered. */
  dnsAnswerMs: 5000,
  /** The same answer may still be seen at other devices for so long. */
  dnsAnsweredMs: 250,
  /** Of one query, sent again by the same socket under the same id. */
  dnsTries: 8,
  /** A response without a question: of the last that its client asked with its id. */
  dnsUnnamed: 8,
  /** A slower answer is shown before others. */
  dnsSlowMs: 100,
  /** An HTTP request without an answer by then is unanswered; what waits for news may take half a minute. */
  httpAnswerMs: 60_000,
  /** A slower answer is shown before others. */
  httpSlowMs: 1000,
  /** Of each packet; EDNS makes most messages end below 1,232 bytes. */
  captureSnapBytes: 1600,
  /** In the kernel, of packets that wait to be read. */
  captureRingBytes: 16 << 20,
  /** They wait at most so long. */
  captureTimeoutMs: 100,
  /** The process that captures tells what it has counted so often. */
  captureTellMs: 250,
  /** The agent begins without packets if the first have not come by then. */
  captureStartMs: 3000,
  /** Addresses told it in one line. */
  captureAddressesInOrder: 512,
  /** A line between it and the agent. */
  captureLineBytes: 1 << 18,
  /** Contents of packets remembered to tell further sightings of them. */
  captureSightings: 4096,
  /** Addresses of this machine. */
  captureAddresses: 16_384,
  /** Of each client: beginnings of names that were not found, remembered to see it go on in its search list at once; names of each. */
  dnsSearches: 256,
  dnsSearchNames: 16,
  dnsSearchMs: 1000,
  /** Written into a file of packets at a time. */
  recordPcapBufferBytes: 1 << 16,
  /** Seconds of `record --pcap`, unless told. */
  recordPcapSeconds: 30,
  /** Addresses of pods whose packets are recorded: the kernel takes 4,096 instructions of a filter. */
  recordPcapAddresses: 64,

  // sweep and series
  /** With no scrape for so long the agent sweeps by itself. */
  sweepIntervalMs: 15_000,
  /** A scrape takes the newest sweep if it is younger. */
  sweepAgeMs: 1000,
  /** A source that takes longer has failed this sweep. */
  sourceDeadlineMs: 8000,
  /** Series of a subject that is gone stay with their last values for so long. */
  departureMs: 180_000,
  /** Series in all. 110 pods take about 10,000. */
  series: 100_000,
  /** Subjects whose reason of being skipped is remembered for `check`, per source. */
  skippedReasons: 20,
  /** A pod's name may be so long. */
  labelCharacters: 253,
  /** The same failure of a source is logged once in this time. */
  failureLogMs: 300_000,

  // what a scraper is shown of a new series
  /** Of a scraper whose interval is not known yet. */
  zeroMs: 65_000,
  /** Intervals remembered per connection; the longest counts. */
  scrapesRemembered: 16,
  /** Responses per connection whose new series may still be shown as 0; beyond, the oldest show their true values. */
  zeroWindows: 256,

  // history
  /** 46 frames cover 15 minutes; 20,000 series take 46 × 20,000 × 8 bytes = 7.4 MB. */
  historyFrames: 46,
  historyFrameMs: 20_000,

  // single events
  /** Of each type in a second, or at once after a quiet one; what is more is counted. */
  eventsPerSecond: 200,
  /** Of these, what went well: the rest is for what did not. */
  routineEventsPerSecond: 100,
  /** The kernel is given a share of them so often, and asked for what it has. */
  eventsIntervalMs: 100,
  /** Events in the kernel not yet read; 88 bytes each. */
  eventRingBytes: 1 << 18,
  /** The newest, for `observe --last`; some 500 bytes each. */
  eventsKept: 4096,
  /** Beside them, of what went well. */
  routineEventsKept: 1024,
  /** Events waiting for one reader that is slow; the rest it is told the number of. */
  eventsQueued: 8192,
  /** Readers at once. */
  eventReaders: 16,
  /** Given to a reader at a time. */
  eventsPerWrite: 64,
  /** Of a name that was asked for, in a line for people; it has up to 1,003. */
  shownNameCharacters: 100,
  /** Addresses in the kernel whose function is remembered. */
  kernelSymbols: 512,

  /** Maps of bpftrace that are not declared, in what is replayed. */
  replayMaps: 1000,
  /** Series in one line of a recording; with the longest labels one takes 1.8 KB. */
  recordingSeries: 64,
  /** Of a recording, one line. */
  recordingLineBytes: 4 << 20,

  // HTTP
  /** Open connections, over all clients of a listener. */
  connections: 256,
  requestHeaderBytes: 8192,
  /** Nothing is ever sent to the agent but a request line and headers. */
  requestBodyBytes: 1024,
  /** A request that is not whole by then is answered 408. Idle connections do not count. */
  requestMs: 10_000,
  /** A connection that takes nothing of an answer for so long is closed. */
  stalledMs: 30_000,
  /** Longer than the usual scrape intervals: a scraper stays known on its connection. */
  keepAliveMs: 340_000,
  /** Expositions being made at once; further requests get 503. */
  metricsInFlight: 8,
  gzipLevel: 1,
  /** Ready means that the newest sweep is not older than so many sweep intervals. */
  readyIntervals: 3,
  /** Answers under way get so long when the agent stops. */
  stopMs: 5000,
  /** What another process of this machine waits for the agent on its socket, and takes from it. */
  askMs: 15_000,
  askBytes: 8 << 20,
  /** Of a stream, one line. */
  askLineBytes: 1 << 16,
  /** Rows of one table of the page. */
  pageRows: 20,
  /** Workloads in its picture of edges; the rest is one of them. */
  pictureNodes: 24,

  // configuration and security files
  configFileBytes: 1 << 20,
  /** TLS, authentication and token files are looked at once in this time. */
  fileCheckMs: 1000,
  /** bcrypt 2^16 takes seconds in JavaScript; more is refused. */
  bcryptCost: 16,
  /** Passwords being checked at once (each takes 50 ms of CPU at cost 10); further requests with an unknown one get 503. */
  passwordChecks: 4,
  /** Successful checks remembered. */
  passwordsRemembered: 64,

  // scripts of the user
  /** All of them, as one program. */
  scriptBytes: 100_000,
  scriptIntervalMs: 1000,
  /** The most one map may be declared to have. */
  scriptSeries: 10_000,
  /** Keys of a map between two readings. */
  scriptKeys: 4096,
  /** A map as bpftrace prints it, all in one line. */
  scriptLineBytes: 4 << 20,

  // Kubernetes
  /** Pods asked for at a time. */
  kubernetesPagePods: 500,
  /** Pods kept; kubelet runs 110 unless told, and some let it run 500. */
  kubernetesPods: 2048,
  /** The kubelet is asked so often: it answers with all that it knows of its pods, 5 MB of 500. */
  kubeletIntervalMs: 5000,
  /** The folder of the pods' logs is looked at so often. */
  podLogsIntervalMs: 2000,
  /** More are not read. */
  podLogsFolders: 8192,
  /** One answer to a list; the pods in it are read one by one. */
  kubernetesListBytes: 64 << 20,
  /** One pod: in a list, or the line of a watch. etcd keeps at most 1.5 MB of one. */
  kubernetesObjectBytes: 4 << 20,
  /** Read of an answer that is an error. */
  kubernetesErrorBytes: 1 << 14,
  /** Of what the API server says of an error, in the reason that people read. */
  kubernetesErrorCharacters: 300,
  kubernetesPodContainers: 256,
  kubernetesPodAddresses: 64,
  /** Connections to the API server at once: a list or a watch, and the one that is being left. */
  kubernetesSockets: 2,
  /** The head of an answer, and the whole of a list. */
  kubernetesAnswerMs: 30_000,
  kubernetesListMs: 60_000,
  /** The API server is asked to end a watch after a time between the two. */
  kubernetesWatchMs: 300_000,
  kubernetesWatchMsMax: 600_000,
  /** A watch with no event in so long is asked for anew; the API server sends a bookmark about every minute. */
  kubernetesSilenceMs: 180_000,
  /** A watch that lasted so long has gone well, even if nothing happened. */
  kubernetesSteadyMs: 10_000,
  /** After a failure it waits a random part of this, of twice as much each time, up to the maximum. */
  kubernetesRetryMs: 1000,
  kubernetesRetryMsMax: 60_000,
  /** When the API server asks for a longer wait, it gets that, up to this. */
  kubernetesRetryAfterMs: 300_000,
  /** After so many failures in a row the pods are listed, not watched from where it ended. */
  kubernetesWatchFailures: 3,

  // names of peers
  /** Addresses of pods of the whole cluster. 10,000 of EndpointSlices take 4 MB and let the process grow by 17 MB; of pods 8 and 35. */
  peerAddresses: 65_536,
  /** Addresses of Services, each with a port. */
  peerServices: 16_384,
  /** A list of all pods or EndpointSlices; the objects in it are read one by one. */
  peerListBytes: 1 << 30,
  peerListMs: 300_000,
  /** Networks with a name. */
  networks: 1024,

  // tools
  /** Of a followed file: where its header is looked for. */
  toolHeadBytes: 1 << 16,
  /** Sums of what a tool tells, by namespace and key. */
  toolKeys: 8192,
  /** So often what a tool told is given to the namespaces that have the addresses. */
  toolSettleMs: 250,
  /** Who has which address is looked at again after so long. */
  addressesAgeMs: 1000,
  addressesPerNamespace: 1024,
  /** A subject without a name is looked for at most so often. */
  unknownMs: 1000,
  /** The agent begins without names that have not come by then. */
  firstNamesMs: 3000,
  /** What changes together is looked at together. */
  namesSettleMs: 500,
  /** A longer line is left out. */
  toolLineBytes: 4096,
  /** Kept of a tool's standard error. */
  toolStderrBytes: 4096,
  /** A tool that ended starts again after so long, and after twice as long each time, up to the maximum. */
  toolRestartMs: 500,
  toolRestartMsMax: 60_000,
  /** A tool that ran for so long starts again as if for the first time. */
  toolSteadyMs: 60_000,
  /** A tool is asked to end with SIGINT; after so long with SIGTERM, then SIGKILL; then it is left to itself. */
  toolTermMs: 2000,
  toolKillMs: 5000,
  toolLeaveMs: 6000,
  /** What another process still writes for a tool that has ended is read for so many times so long. */
  toolDrainMs: 200,
  toolDrainRounds: 5,
  /** A followed file is looked at this often. */
  followPollMs: 250,
  /** Read of it at a time, and before it is looked at again. */
  followReadBytes: 1 << 16,
  followPollBytes: 4 << 20,
  /** A file that was renamed or removed is read until it is silent, or for so long after the next one is there. */
  followRotationMs: 5000,
} as const
