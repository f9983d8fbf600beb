import { type CheckReport, createReport } from '../../../agent/check.ts'
import type { EventMessage, Events, NetworkEvent } from '../../../agent/events.ts'
import type { HttpParts } from '../../../agent/http/routes.ts'
import type { Log } from '../../../agent/log.ts'
import { definitionOf, type MetricName, metricsOf } from '../../../agent/metrics/catalogue.ts'
import { createSelf } from '../../../agent/metrics/self.ts'
import type { Series, Snapshot, SourceReport } from '../../../agent/metrics/snapshot.ts'
import type { SocketAnswer } from '../../../agent/socket-list.ts'
import type { Source } from '../../../agent/sources/source.ts'

export interface LogLine {
  readonly level: string
  readonly message: string
  readonly [field: string]: unknown
}

/** A log that is only remembered. */
export function createFakeLog(): { readonly log: Log; readonly lines: LogLine[] } {
  const lines: LogLine[] = []
  const write =
    (level: string) =>
    (fields: object | string, message?: string): void =>
      void lines.push(typeof fields === 'string' ? { level, message: fields } : { ...fields, level, message: message ?? '' })
  const log = { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') }
  return { log: log as unknown as Log, lines }
}

export const series = (labels: string, value: Series['value'], more: Partial<Series> = {}): Series => ({
  labels,
  value,
  bornAtMs: 0,
  bornFromZero: false,
  slot: undefined,
  ...more,
})

export const okReport = (name: string, more: Partial<SourceReport> = {}): SourceReport => ({
  name,
  outcome: 'ok',
  reason: undefined,
  durationMs: 1.25,
  absent: new Map(),
  caveats: [],
  skipped: new Map(),
  ...more,
})

export function snapshotOf(
  families: Partial<Record<MetricName, readonly Series[]>>,
  more: Partial<Omit<Snapshot, 'families'>> = {},
): Snapshot {
  return {
    takenAtMs: 1000,
    durationMs: 3,
    sources: [],
    families: Object.entries(families).map(([name, all]) => ({
      name,
      definition: definitionOf(name as MetricName),
      series: all,
    })),
    ...more,
  }
}

export const sourceOf = (name: 'trace-drops' | 'netlink-sockets' | 'proc-snmp' | 'netlink-conntrack'): Source => ({
  name,
  writes: metricsOf(name),
  needs: [{ capability: 'CAP_BPF' }, { tracepoint: 'skb:kfree_skb' }],
  collect: () => Promise.resolve(),
})

export const node = { name: 'node-1', kernel: '6.18.5', machine: 'x86_64', os: 'Debian GNU/Linux 12', cgroup: 'v2' } as const

export function reportOf(
  snapshot: Snapshot,
  sources: readonly Source[] = [sourceOf('trace-drops'), sourceOf('proc-snmp')],
): CheckReport {
  return createReport({ version: '1.2.3', node, sources, off: [] }, snapshot)
}

export interface FakeEvents extends Events {
  /** What is kept, and told to everybody who listens. */
  tell(...messages: readonly EventMessage[]): void
  /** Who listens. */
  readonly listeners: ReadonlySet<(message: EventMessage) => void>
}

/** Events that the test makes up. */
export function createFakeEvents(kept: EventMessage[] = []): FakeEvents {
  const listeners = new Set<(message: EventMessage) => void>()
  return {
    event: () => undefined,
    notShown: () => undefined,
    recent: () => kept,
    subscribe(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    listeners,
    tell(...messages) {
      for (const message of messages) {
        kept.push(message)
        for (const listener of listeners) listener(message)
      }
    },
  }
}

export const dropOf = (more: Partial<NetworkEvent> = {}): NetworkEvent => ({
  time: '2026-11-26T18:20:01.123456Z',
  type: 'drop',
  source: { namespace: 'shop', pod: 'frontend-1', address: '10.0.0.4', port: 40312 },
  destination: { address: '10.0.0.7', port: 443 },
  family: 'ipv4',
  protocol: 'tcp',
  direction: 'out',
  reason: 'netfilter_drop',
  category: 'netfilter',
  flags: ['SYN'],
  bytes: 60,
  ...more,
})

export const noSockets: SocketAnswer = {
  schemaVersion: 1,
  node: 'node-1',
  sockets: 0,
  groups: [],
  notShown: { groups: 0, sockets: 0 },
  notes: [],
}

export interface FakeParts extends HttpParts {
  snapshot: Snapshot
  clockMs: number
  readonly lines: readonly LogLine[]
}

/** Parts of a server over one snapshot that the test may replace, with a clock of its own. */
export function createFakeParts(more: Partial<HttpParts> = {}): FakeParts {
  const { log, lines } = createFakeLog()
  const parts: FakeParts = {
    snapshot: snapshotOf({ netvitals_softnet_drops_total: [series('', 4)] }),
    clockMs: 1000,
    lines,
    sweep: { take: () => Promise.resolve(parts.snapshot), latest: () => parts.snapshot },
    history: { increase: () => undefined },
    events: createFakeEvents(),
    sockets: { ask: () => Promise.resolve(noSockets) },
    node,
    self: createSelf(),
    report: (snapshot: Snapshot) => reportOf(snapshot),
    zeroWindow: 'auto',
    log,
    now: () => parts.clockMs,
    ...more,
  }
  return parts
}
