import type { CheckReport } from '../check.ts'
import type { History } from '../history.ts'
import type { MetricName } from '../metrics/catalogue.ts'
import { tcpStates } from '../metrics/labels.ts'
import type { Snapshot } from '../metrics/snapshot.ts'
import { createReader, type Reading, sumGrowth, sumValues } from './readings.ts'

/** `bad` and `odd` are for a person to look at. */
export type Level = 'bad' | 'odd' | 'fine'

export type Cell =
  | string
  | number
  /** Not known yet. */
  | undefined
  | { readonly text: string; readonly level: Level }
  | { readonly part: number; readonly of: number }

/** A table of the page, or the sentence that stands for an empty one. */
export interface Section {
  readonly id: string
  readonly title: string
  readonly columns: readonly string[]
  readonly rows: readonly (readonly Cell[])[]
  /** What an empty table means. */
  readonly good: string
  /** Why parts of it are not known on this machine. */
  readonly unknown: readonly string[]
  readonly note?: string
  /** For the top of the page. */
  readonly sign?: { readonly level: 'bad' | 'odd'; readonly text: string }
}

export interface PageInput {
  readonly report: CheckReport
  readonly snapshot: Snapshot
  readonly history: Pick<History, 'increase'>
}

type Read = (name: MetricName) => readonly Reading[]

/** Where a person should begin to look; the alerts have thresholds of their own. */
const thresholds = { fill: 0.8, retransmittedRatio: 0.03, retransmittedSegments: 20, closeWait: 100 }

const count = (n: number, one?: string): string =>
  n.toLocaleString('en') + (one === undefined ? '' : n === 1 ? ` ${one}` : ` ${one}s`)
const percent = (ratio: number): string => `${(ratio * 100).toFixed(1)} %`
const byLast = (a: readonly Cell[], b: readonly Cell[]): number => Number(b.at(-1)) - Number(a.at(-1))

export function createSections({ report, snapshot, history }: PageInput): readonly Section[] {
  const read = createReader(snapshot, history)
  /** Sentences about the metrics that this machine does not give. */
  const unknown = (...names: MetricName[]): readonly string[] => {
    const reasons = report.sources.flatMap((source) =>
      source.metrics
        .filter((metric) => names.includes(metric.name as MetricName) && metric.outcome !== 'ok')
        .map((metric) => `${source.name} is ${metric.outcome}: ${metric.reason ?? 'no reason given'}`),
    )
    return [...new Set(reasons)]
  }
  return [
    drops(read, unknown('netvitals_dropped_packets_total')),
    tcp(read, unknown('netvitals_tcp_sockets', 'netvitals_tcp_retransmitted_segments_total')),
    listenQueues(read, unknown('netvitals_tcp_listen_queue_limit', 'netvitals_tcp_listen_overflows_total')),
    conntrack(
      read,
      unknown('netvitals_conntrack_entries', 'netvitals_conntrack_entries_limit', 'netvitals_conntrack_drop_total'),
    ),
    devices(
      read,
      unknown('netvitals_device_receive_drops_total', 'netvitals_qdisc_drops_total', 'netvitals_softnet_drops_total'),
    ),
  ]
}

function drops(read: Read, unknown: readonly string[]): Section {
  const all = read('netvitals_dropped_packets_total').filter(({ grown }) => grown !== undefined && grown > 0)
  const harmful = all.filter(({ labels }) => labels.category !== 'normal')
  const rows = harmful
    .map(({ row, labels, grown }): Cell[] => [
      row,
      labels.reason ?? '',
      labels.category ?? '',
      `${labels.protocol} ${labels.direction}`,
      grown ?? 0,
    ])
    .sort(byLast)
  const total = rows.reduce((sum, row) => sum + Number(row.at(-1)), 0)
  const normal = all.filter(({ labels }) => labels.category === 'normal').reduce((sum, { grown }) => sum + (grown ?? 0), 0)
  const [most] = rows
  return {
    id: 'drops',
    title: 'Dropped packets',
    columns: ['where', 'reason', 'category', 'what', 'packets'],
    rows,
    good: 'The kernel dropped no packet in the last 5 minutes.',
    unknown,
    ...(normal > 0 && { note: `Not shown: ${count(normal, 'packet')} of normal clean-up, which harms nobody.` }),
    ...(most && {
      sign: {
        level: 'odd',
        text: `${count(total, 'packet')} dropped in the last 5 minutes, most of them in ${most[0]}: ${most[1]}`,
      },
    }),
  }
}

const shownStates = ['established', 'syn_sent', 'syn_recv', 'close_wait', 'time_wait'] as const
const closingStates = tcpStates.filter((state) => state !== 'listen' && !(shownStates as readonly string[]).includes(state))

function tcp(read: Read, unknown: readonly string[]): Section {
  const sockets = read('netvitals_tcp_sockets')
  const byState = sumValues(sockets, ({ row, labels }) => `${row}\n${labels.state}`)
  const retransmitted = read('netvitals_tcp_retransmitted_segments_total')
  const sent = sumGrowth(read('netvitals_tcp_sent_segments_total'))
  const sentAgain = sumGrowth(retransmitted)
  const resets = sumGrowth(read('netvitals_tcp_sent_resets_total'))
  const failed = sumGrowth(read('netvitals_tcp_attempt_fails_total'))

  const facts = [...new Set([...sockets, ...retransmitted].map(({ row }) => row))].map((row) => {
    const inState = (state: string): number => byState.get(`${row}\n${state}`) ?? 0
    const again = sentAgain(row)
    const ratio = again === undefined ? undefined : again / Math.max(1, again, sent(row) ?? 0)
    const isLossy = (again ?? 0) >= thresholds.retransmittedSegments && (ratio ?? 0) >= thresholds.retransmittedRatio
    return { row, inState, ratio, isLossy, closeWait: inState('close_wait') }
  })
  const [lossiest] = facts.filter(({ isLossy }) => isLossy).sort((a, b) => (b.ratio ?? 0) - (a.ratio ?? 0))
  const [leakiest] = facts.filter(({ closeWait }) => closeWait >= thresholds.closeWait).sort((a, b) => b.closeWait - a.closeWait)
  const sign: Section['sign'] = lossiest
    ? { level: 'bad', text: `${percent(lossiest.ratio ?? 0)} of the TCP segments of ${lossiest.row} had to be sent again` }
    : leakiest && {
        level: 'odd',
        text: `${leakiest.row} has ${count(leakiest.closeWait, 'socket')} in close_wait: an application does not close them`,
      }
  return {
    id: 'tcp',
    title: 'TCP',
    columns: ['where', ...shownStates, 'closing', 'sent again', 'resets sent', 'failed connects'],
    rows: facts.map(({ row, inState, ratio, isLossy, closeWait }) => [
      row,
      ...shownStates.map(
        (state): Cell =>
          state === 'close_wait' && closeWait >= thresholds.closeWait ? { text: count(closeWait), level: 'odd' } : inState(state),
      ),
      closingStates.reduce((sum, state) => sum + inState(state), 0),
      ratio === undefined ? undefined : ratio === 0 ? 0 : { text: percent(ratio), level: isLossy ? 'bad' : 'fine' },
      resets(row),
      failed(row),
    ]),
    good: 'No TCP socket is open.',
    unknown,
    note: 'Sockets now; segments sent again, resets and failed connects in the last 5 minutes.',
    ...(sign && { sign }),
  }
}

function listenQueues(read: Read, unknown: readonly string[]): Section {
  const keyOf = ({ row, labels }: Reading): string => `${row}\n${labels.port}`
  const limitOf = sumValues(read('netvitals_tcp_listen_queue_limit'), keyOf)
  const full = read('netvitals_tcp_listen_queue_length')
    .map((reading) => ({ ...reading, limit: limitOf.get(keyOf(reading)) ?? Number.POSITIVE_INFINITY }))
    .filter(({ value, limit }) => value > 0 && value >= limit * thresholds.fill)
  const overflows = read('netvitals_tcp_listen_overflows_total').filter(({ grown }) => grown !== undefined && grown > 0)
  const rows = [
    ...full.map(({ row, labels, value, limit }): Cell[] => [row, `port ${labels.port}`, { part: value, of: limit }]),
    ...overflows.map(({ row, grown }): Cell[] => [
      row,
      'overflows in 5 minutes',
      { text: count(grown ?? 0, 'connection'), level: 'bad' },
    ]),
  ]
  const [first] = rows
  return {
    id: 'listen',
    title: 'Listen queues',
    columns: ['where', 'which', 'waiting'],
    rows,
    good: 'Every listener accepts its connections in time.',
    unknown,
    ...(first && {
      sign: {
        level: 'bad',
        text: `connections wait to be accepted in ${first[0]}: the application is too slow, not the network`,
      },
    }),
  }
}

function conntrack(read: Read, unknown: readonly string[]): Section {
  const limitOf = sumValues(read('netvitals_conntrack_entries_limit'))
  const dropped = sumGrowth(read('netvitals_conntrack_drop_total'))
  const failed = sumGrowth(read('netvitals_conntrack_insert_failed_total'))
  const tables = read('netvitals_conntrack_entries').map(({ row, value }) => {
    const limit = limitOf.get(row) ?? 0
    return { row, value, limit, fill: limit > 0 ? value / limit : 0, dropped: dropped(row) }
  })
  const [losing] = tables.filter((table) => (table.dropped ?? 0) > 0)
  const [fullest] = tables.filter(({ fill }) => fill >= thresholds.fill).sort((a, b) => b.fill - a.fill)
  const sign: Section['sign'] = losing
    ? {
        level: 'bad',
        text: `connection tracking of ${losing.row} dropped ${count(losing.dropped ?? 0, 'packet')} in the last 5 minutes`,
      }
    : fullest && {
        level: 'bad',
        text: `the connection tracking table of ${fullest.row} is ${Math.round(fullest.fill * 100)} % full`,
      }
  return {
    id: 'conntrack',
    title: 'Connection tracking',
    columns: ['where', 'entries', 'packets dropped', 'inserts failed'],
    rows: tables.map(({ row, value, limit, ...table }) => [row, { part: value, of: limit }, table.dropped, failed(row)]),
    good: 'No connection is being tracked.',
    unknown,
    ...(sign && { sign }),
  }
}

const deviceCounters = [
  ['netvitals_device_receive_drops_total', 'receive drops'],
  ['netvitals_device_transmit_drops_total', 'transmit drops'],
  ['netvitals_device_receive_errors_total', 'receive errors'],
  ['netvitals_device_transmit_errors_total', 'transmit errors'],
  ['netvitals_qdisc_drops_total', 'queueing discipline drops'],
] as const satisfies readonly (readonly [MetricName, string])[]
const machineCounters = [
  ['netvitals_softnet_drops_total', 'backlog of a CPU full'],
  ['netvitals_softnet_time_squeezes_total', 'CPU out of time (softnet squeeze)'],
] as const satisfies readonly (readonly [MetricName, string])[]

function devices(read: Read, unknown: readonly string[]): Section {
  const grown = (name: MetricName, what: string, where: (reading: Reading) => string): Cell[][] =>
    read(name)
      .filter((reading) => reading.grown !== undefined && reading.grown > 0)
      .map((reading) => [where(reading), what, reading.grown ?? 0])
  const rows = [
    ...deviceCounters.flatMap(([name, what]) => grown(name, what, ({ labels }) => labels.device ?? '')),
    ...machineCounters.flatMap(([name, what]) => grown(name, what, () => 'all CPUs')),
  ].sort(byLast)
  const [most] = rows
  return {
    id: 'devices',
    title: 'Devices and queues',
    columns: ['where', 'what', 'packets or times'],
    rows,
    good: 'No device, queue or CPU lost anything in the last 5 minutes.',
    unknown,
    ...(most && {
      sign: { level: 'odd', text: `${most[0]}: ${most[1]}, ${Number(most[2]).toLocaleString('en')} in the last 5 minutes` },
    }),
  }
}
