import type { EventMessage, NetworkEvent } from '../../../agent/events.ts'
import type { EventType } from '../../../agent/metrics/labels.ts'
import type { DnsEvent, HttpEvent } from '../../../agent/sources/source.ts'

const client = { namespace: 'shop', pod: 'frontend-1', address: '10.0.0.4', port: 40312 } as const
const stranger = { address: '10.0.0.7', port: 443 } as const
const host = { namespace: '', pod: '', address: '2001:db8::5', port: 22 } as const
const base = { family: 'ipv4', protocol: 'tcp' } as const
const time = (second: number): string => `2026-11-26T18:20:0${second}.123456Z`

/** An event of each type, with every field that it may have. */
export const oneOfEach: Readonly<Record<EventType, NetworkEvent>> = {
  drop: {
    ...base,
    time: time(1),
    type: 'drop',
    source: { ...client, workload: 'frontend' },
    destination: stranger,
    direction: 'out',
    reason: 'not_specified',
    category: 'other',
    function: 'tcp_v4_rcv+0x9c7',
    flags: ['SYN', 'ACK'],
    packets: 3,
    bytes: 4344,
  },
  reset_sent: {
    ...base,
    time: time(2),
    type: 'reset_sent',
    source: host,
    destination: client,
    reason: 'no_socket',
    state: 'close',
  },
  reset_received: { ...base, time: time(3), type: 'reset_received', source: stranger, destination: client, state: 'established' },
  retransmit: {
    ...base,
    time: time(4),
    type: 'retransmit',
    source: client,
    destination: stranger,
    state: 'established',
    kind: 'timeout',
    packets: 2,
  },
  connect: { ...base, time: time(5), type: 'connect', source: client, destination: host, outcome: 'timed_out' },
  dns: {
    family: 'ipv4',
    protocol: 'udp',
    time: time(5),
    type: 'dns',
    source: client,
    destination: { namespace: 'kube-system', workload: 'kube-dns', address: '10.96.0.10', port: 53 },
    dns: {
      id: 4711,
      name: 'api.example.com',
      queryType: 'AAAA',
      responseCode: 'NOERROR',
      durationMs: 1.234,
      addressCount: 2,
    },
    routine: true,
  },
  http: {
    ...base,
    time: time(5),
    type: 'http',
    source: client,
    destination: { namespace: 'shop', workload: 'cart', address: '10.96.0.20', port: 80 },
    http: { method: 'GET', path: '/cart', host: 'shop', status: 200, durationMs: 12.34 },
    routine: true,
  },
}

/** How else DNS queries end. */
export const failedQueries: readonly NetworkEvent[] = [
  queryOf({ responseCode: 'NXDOMAIN', durationMs: 1.234, addressCount: 0 }),
  { ...queryOf({ responseCode: 'SERVFAIL', durationMs: 4100.7 }), protocol: 'tcp' },
  queryOf({ name: '', queryType: 'NS', responseCode: 'NOERROR', durationMs: 250, addressCount: 1 }),
  queryOf({ id: 1, name: 'gone.example.com', queryType: 'TYPE65400' }),
]

function queryOf(dns: Partial<DnsEvent>): NetworkEvent {
  const { routine: _, ...event } = oneOfEach.dns
  return { ...event, dns: { id: 4711, name: 'api.example.com', queryType: 'AAAA', ...dns } }
}

/** How else HTTP requests end. */
export const failedRequests: readonly NetworkEvent[] = [
  requestOf({ status: 503, durationMs: 12.34 }),
  requestOf({ method: 'POST', path: '/api/orders/17', host: '', status: 404, durationMs: 3 }),
  requestOf({ method: 'OPTIONS', path: '*', status: 204, durationMs: 4100.7 }),
  requestOf({ method: 'CONNECT', path: '', host: 'db:443' }),
]

function requestOf(http: Partial<HttpEvent>): NetworkEvent {
  const { routine: _, ...event } = oneOfEach.http
  return { ...event, http: { method: 'GET', path: '/cart', host: 'shop', ...http } }
}

/** What else there is to show. */
export const oddOnes: readonly EventMessage[] = [
  {
    time: time(6),
    type: 'drop',
    source: { address: 'fe80::1' },
    destination: { namespace: '@netns', pod: 'blue', address: 'ff02::1' },
    family: 'ipv6',
    protocol: 'icmp',
    direction: 'in',
    reason: 'queue_purge',
    category: 'normal',
    bytes: 1,
  },
  {
    time: time(7),
    type: 'drop',
    source: {},
    destination: {},
    family: 'other',
    protocol: 'other',
    direction: 'forward',
    reason: 'tc_egress',
    category: 'netfilter',
  },
  { time: time(8), type: 'not_shown', of: 'drop', count: 1234 },
  { time: time(8), type: 'not_shown', of: 'dns', count: 1, routine: true },
  { time: time(8), type: 'not_shown', of: 'http', count: 2, routine: true },
  { time: time(9), type: 'not_shown', of: 'slow_reader', count: 1 },
]
export const everything: readonly EventMessage[] = [...Object.values(oneOfEach), ...failedQueries, ...failedRequests, ...oddOnes]
