import { httpMethods, httpUnreadables } from '../../parsers/http-message.ts'
import { dropCategories } from './drop-category.ts'

/** A label's values: a closed list, or free text with the most values one metric may show for one subject. */
type LabelDefinition =
  | { readonly values: readonly string[]; readonly help: string }
  | { readonly max: number; readonly help: string }

/** The states the kernel lists (include/net/tcp_states.h); CLOSE is never listed, NEW_SYN_RECV is shown as syn_recv. */
export const tcpStates = [
  'established',
  'syn_sent',
  'syn_recv',
  'fin_wait1',
  'fin_wait2',
  'time_wait',
  'close_wait',
  'last_ack',
  'listen',
  'closing',
] as const

/** The same by the kernel's numbers. CLOSE (7) and BOUND_INACTIVE (13) are not connections; a request not yet accepted (12, NEW_SYN_RECV) is a SYN_RECV to everybody else. */
export const tcpStateByNumber: readonly ((typeof tcpStates)[number] | undefined)[] = [
  undefined,
  'established',
  'syn_sent',
  'syn_recv',
  'fin_wait1',
  'fin_wait2',
  'time_wait',
  undefined,
  'close_wait',
  'last_ack',
  'listen',
  'closing',
  'syn_recv',
]

/** What connection tracking takes a TCP connection for, by enum tcp_conntrack; `none` of all that is not TCP, too. */
export const conntrackStates = [
  'none',
  'syn_sent',
  'syn_recv',
  'established',
  'fin_wait',
  'close_wait',
  'last_ack',
  'time_wait',
  'close',
  'syn_sent2',
] as const

export const retransmitKinds = ['fast', 'timeout', 'probe', 'syn', 'synack', 'data'] as const

export const connectOutcomes = [
  'connected',
  'refused',
  'timed_out',
  'unreachable',
  'reset',
  'no_port',
  'abandoned',
  'other',
] as const

/** Of DNS queries, as IANA names them. */
export const queryTypes = ['A', 'AAAA', 'CNAME', 'HTTPS', 'MX', 'NS', 'PTR', 'SOA', 'SRV', 'SVCB', 'TXT', 'ANY', 'other'] as const

/** Of DNS responses, by IANA's numbers. */
export const responseCodes = [
  'NOERROR',
  'FORMERR',
  'SERVFAIL',
  'NXDOMAIN',
  'NOTIMP',
  'REFUSED',
  'YXDOMAIN',
  'YXRRSET',
  'NXRRSET',
  'NOTAUTH',
  'NOTZONE',
  'other',
] as const

export { httpMethods }

/** Of the request, relative to the row: who asked sends it out, who was asked takes it in. */
export const httpDirections = ['out', 'in'] as const

/** Of HTTP responses, as the registry of IANA has them; what people set alerts on, and one for all others. */
export const httpStatuses = [
  ...['101', '200', '201', '202', '204', '206', '301', '302', '303', '304', '307', '308'],
  ...['400', '401', '403', '404', '405', '408', '409', '410', '412', '413', '415', '422', '429', '431', '499'],
  ...['500', '501', '502', '503', '504'],
  'other',
] as const

/** What single events are of; also those of `observe`. */
export const eventTypes = ['drop', 'reset_sent', 'reset_received', 'retransmit', 'connect', 'dns', 'http'] as const
export type EventType = (typeof eventTypes)[number]

export const lossKinds = [
  'map_full',
  'recursion',
  'destinations_full',
  'long_line',
  'tool',
  'slow_client',
  'capture_ring',
  'capture_interface',
  'dns_full',
  'tcp_full',
] as const
export type LossKind = (typeof lossKinds)[number]

/** What tools and scripts of the user tell. */
export const toolNames = ['retransmits', 'drops', 'connects', 'opens', 'scripts'] as const

/** What names are given to, each from its own place. */
const nameProviders = ['pods', 'peers'] as const

/** Every label once. Never an address, an ephemeral port, a process, a user or a raw message. */
export const labels = {
  namespace: { max: 512, help: 'Kubernetes namespace; empty for the host, `@netns` for a named network namespace' },
  pod: { max: 512, help: 'pod, or the name of a named network namespace; empty for the host' },
  client_namespace: { max: 512, help: 'Kubernetes namespace of who called; `@netns` for a named network namespace; else empty' },
  client_workload: {
    max: 2048,
    help: 'workload of who called, or the name of a named network namespace; `host`; `external` an address nobody knows; `other` beyond the limit',
  },
  server_namespace: { max: 512, help: 'the same of who was called' },
  server_workload: { max: 2048, help: 'the same of who was called' },
  reporter: {
    values: ['client', 'server'],
    help: 'which of the two ends has seen it: of two that are both on nodes with an agent each connection is told twice, so a sum takes one of them',
  },
  device: { max: 64, help: 'network device' },
  reason: { max: 200, help: "why, in the running kernel's own words" },
  category: { values: dropCategories, help: 'what kind of drop the reason is' },
  protocol: { values: ['tcp', 'udp', 'icmp', 'other'], help: 'transport protocol; icmp includes ICMPv6' },
  direction: { values: ['in', 'out', 'forward'], help: 'relative to the namespace of the row' },
  family: { values: ['ipv4', 'ipv6'], help: 'address family' },
  state: { values: tcpStates, help: 'TCP state' },
  port: { max: 65, help: 'local port of a listener; `other` beyond the limit' },
  source: { max: 32, help: 'source of the agent, named as its file' },
  kind: {
    values: [...lossKinds, ...retransmitKinds, ...eventTypes, ...httpUnreadables],
    help: 'what was lost: `map_full` event whose key did not fit, `recursion` event inside an event, `destinations_full` socket whose destination did not fit, `long_line` line of a tool too long or cut, `tool` event the tool itself says it lost, `slow_client` single event that a reader was too slow for, `capture_ring` packet that waited in the kernel for too long, `capture_interface` packet that a device had no room for, `dns_full` DNS query whose answer could not be waited for, `tcp_full` TCP connection with DNS or HTTP that was no longer followed, to make room for another. What made TCP retransmit: `fast` duplicate or selective acknowledgements, `timeout` the retransmission timer (all that is sent again in the loss state), `probe` a tail loss probe, `syn` and `synack` no answer in the handshake, `data` what a tool does not tell apart. Of single events: `drop`, `reset_sent`, `reset_received`, `retransmit`, `connect` one that failed, `dns` a query and `http` a request with its answer or without. Of connections: `tls`, `h2` HTTP/2, `upgraded` to WebSocket and the like, `other` no HTTP',
  },
  outcome: {
    values: connectOutcomes,
    help: 'how a TCP connect ended: `connected`; `refused` by a reset or ICMP port unreachable; `timed_out`; `unreachable` by ICMP or because no neighbour answered; `reset` after both ends had called; `no_port` no local port was free, and no SYN was sent; `abandoned` by the application while it waited; `other`',
  },
  qtype: { values: queryTypes, help: 'what a DNS query asks for, as IANA names it' },
  rcode: { values: responseCodes, help: 'response code of a DNS answer, as IANA names it' },
  method: { values: httpMethods, help: 'HTTP method' },
  status: { values: httpStatuses, help: 'HTTP status code' },
  workload: { max: 512, help: 'what the pod belongs to; empty if that cannot be told' },
  workload_type: {
    max: 64,
    help: "kind of the workload in kubernetes-mixin's words: deployment, daemonset, statefulset, job, replicaset, barepod, staticpod; any other kind as Kubernetes spells it",
  },
  host_network: {
    values: ['true', 'false'],
    help: 'whether the pod has the network of the host: its numbers are in the row of the host',
  },
  provider: { values: nameProviders, help: 'whose names come from there: `pods` of this node, `peers` elsewhere' },
  code: { max: 16, help: 'HTTP status code' },
  tool: { values: toolNames, help: 'what the tool tells' },
  format: { max: 20, help: 'project and tool whose table the rows are of' },
  child: { values: toolNames, help: 'what the process is for' },
  version: { max: 1, help: 'version of netvitals' },
  runtime: { max: 1, help: 'version of Node.js' },
  kernel: { max: 1, help: 'kernel release' },
  machine: { max: 1, help: 'architecture of the machine' },
  os: { max: 1, help: 'operating system of the host' },
  cgroup: { values: ['v1', 'v2', 'hybrid', 'unknown'], help: 'control group hierarchy' },
} as const satisfies Record<string, LabelDefinition>

export type LabelName = keyof typeof labels
export type LabelValue<L extends LabelName> = (typeof labels)[L] extends { readonly values: readonly (infer V extends string)[] }
  ? V
  : string

/** The most values a label can have in one metric and one subject. */
export function countLabelValues(name: LabelName): number {
  const label = labels[name]
  return 'values' in label ? label.values.length : label.max
}
