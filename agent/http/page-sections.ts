import type { CheckReport } from '../check.ts'
import {
  describeFailures,
  dropsOf,
  type Edge,
  type EdgeEnd,
  endsOf,
  failuresOf,
  formatBytes,
  formatRtt,
  readEdges,
  retransmitsOf,
  rttOf,
} from '../edge-graph.ts'
import type { History } from '../history.ts'
import { limits } from '../limits.ts'
import { definitionOf, type MetricName } from '../metrics/catalogue.ts'
import { type responseCodes, tcpStates } from '../metrics/labels.ts'
import type { Snapshot } from '../metrics/snapshot.ts'
import { drawEdges } from './edge-picture.ts'
import type { Html } from './html.ts'
import { createReader, grownSeconds, nameRow, type Reading, sumGrowth, sumValues } from './readings.ts'

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
  readonly picture?: Html
  /** The path that has all rows; metrics unless told. */
  readonly rest?: 'metrics' | 'api/v1/edges'
  /** For the top of the page. */
  readonly sign?: { readonly level: 'bad' | 'odd'; readonly text: string }
}

export interface PageInput {
  readonly report: CheckReport
  readonly snapshot: Snapshot
  readonly history: Pick<History, 'increase'>
  /** Since the agent started. */
  readonly watchedSeconds: number
}

interface Page {
  readonly read: (name: MetricName) => readonly Reading[]
  /** Sentences about the metrics that this machine does not give. */
  readonly explain: (...names: MetricName[]) => readonly string[]
  /** The time that growth is about: `in the last 5 minutes`. */
  readonly lately: string
}

/** Where a person should begin to look; the alerts have thresholds of their own. */
const thresholds = {
  fill: 0.8,
  retransmittedRatio: 0.03,
  retransmittedSegments: 20,
  closeWait: 100,
  dnsUnansweredRatio: 0.01,
  dnsFailedRatio: 0.05,
  dnsFailures: 5,
}

const count = (n: number, one?: string): string =>
  n.toLocaleString('en') + (one === undefined ? '' : n === 1 ? ` ${one}` : ` ${one}s`)
const percent = (ratio: number): string => `${(ratio * 100).toFixed(1)} %`
const byPackets = (a: { packets: number }, b: { packets: number }): number => b.packets - a.packets
const sum = (all: readonly { packets: number }[]): number => all.reduce((total, { packets }) => total + packets, 0)

export function createSections({ report, snapshot, history, watchedSeconds }: PageInput): readonly Section[] {
  const metrics = report.sources.flatMap((source) => source.metrics.map((metric) => ({ ...metric, source: source.name })))
  function explain(...names: MetricName[]): readonly string[] {
    const reasons = names.flatMap((name) => {
      const { source } = definitionOf(name)
      if (report.off.includes(source)) return [`${source} is switched off`]
      const metric = metrics.find((one) => one.name === name)
      return metric === undefined || metric.outcome === 'ok' ? [] : [`${source} is ${metric.outcome}: ${metric.reason ?? '?'}`]
    })
    return [...new Set(reasons)]
  }
  const lately =
    watchedSeconds >= grownSeconds
      ? `in the last ${grownSeconds / 60} minutes`
      : `since the agent started ${Math.round(watchedSeconds)} s ago`
  const page = { read: createReader(snapshot, history), explain, lately }
  return [
    drops(page),
    tcp(page),
    connections(page),
    dns(page),
    edges(page, readEdges(snapshot, history)),
    listenQueues(page),
    conntrack(page),
    devices(page),
  ]
}

function drops({ read, explain, lately }: Page): Section {
  const all = read('netvitals_dropped_packets_total').map((reading) => ({ ...reading, packets: reading.grown ?? 0 }))
  const normal = all.filter(({ labels }) => labels.category === 'normal')
  const harmful = all.filter(({ labels, packets }) => labels.category !== 'normal' && packets > 0).sort(byPackets)
  const [most] = harmful
  return {
    id: 'drops',
    title: 'Dropped packets',
    columns: ['where', 'reason', 'packets', 'what', 'category'],
    rows: harmful.map(({ row, labels, packets }) => [
      row,
      labels.reason ?? '',
      packets,
      `${labels.protocol} ${labels.direction}`,
      labels.category ?? '',
    ]),
    good: `The kernel dropped no packet ${lately}.`,
    unknown: explain('netvitals_dropped_packets_total'),
    ...(sum(normal) > 0 && { note: `Not shown: ${count(sum(normal), 'packet')} of normal clean-up, which harms nobody.` }),
    ...(most && {
      sign: {
        level: 'odd',
        text: `${count(sum(harmful), 'packet')} dropped ${lately}, most of them in ${most.row}: ${most.labels.reason}`,
      },
    }),
  }
}

const shownStates = ['established', 'syn_sent', 'syn_recv', 'close_wait', 'time_wait'] as const
const closingStates = tcpStates.filter((state) => state !== 'listen' && !(shownStates as readonly string[]).includes(state))

function tcp({ read, explain, lately }: Page): Section {
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
    const closeWait = inState('close_wait')
    const isLeaking = closeWait >= thresholds.closeWait
    const closing = closingStates.reduce((total, state) => total + inState(state), 0)
    const open = shownStates.reduce((total, state) => total + inState(state), closing)
    return { row, inState, ratio, isLossy, closeWait, isLeaking, closing, open }
  })
  facts.sort((a, b) => Number(b.isLossy) - Number(a.isLossy) || Number(b.isLeaking) - Number(a.isLeaking) || b.open - a.open)
  const [first] = facts
  const [leaking] = facts.filter(({ isLeaking }) => isLeaking)
  const sign: Section['sign'] = first?.isLossy
    ? { level: 'bad', text: `${percent(first.ratio ?? 0)} of the TCP segments of ${first.row} had to be sent again` }
    : leaking && {
        level: 'odd',
        text: `${leaking.row} has ${count(leaking.closeWait, 'socket')} in close_wait: an application does not close them`,
      }
  return {
    id: 'tcp',
    title: 'TCP',
    columns: ['where', 'sent again', 'resets sent', 'failed connects', ...shownStates, 'closing'],
    rows: facts.map(({ row, inState, ratio, isLossy, closeWait, isLeaking, closing }) => [
      row,
      ratio === undefined || ratio === 0 ? ratio : { text: percent(ratio), level: isLossy ? 'bad' : 'fine' },
      resets(row),
      failed(row),
      ...shownStates.map(
        (state): Cell => (state === 'close_wait' && isLeaking ? { text: count(closeWait), level: 'odd' } : inState(state)),
      ),
      closing,
    ]),
    good: 'No TCP socket is open.',
    unknown: explain('netvitals_tcp_sockets', 'netvitals_tcp_retransmitted_segments_total'),
    note: `Segments sent again, resets and failed connects ${lately}; sockets now, by state.`,
    ...(sign && { sign }),
  }
}

const failedConnects: Readonly<Record<string, string>> = {
  refused: 'refused',
  timed_out: 'without any answer',
  unreachable: 'to what cannot be reached',
  reset: 'reset before they were established',
  no_port: 'without a local port left',
  abandoned: 'given up by the application',
  other: 'failed otherwise',
}

function connections({ read, explain, lately }: Page): Section {
  const grownIn = (name: MetricName, toWords: (labels: Reading['labels']) => string | undefined) =>
    read(name).flatMap(({ row, labels, grown: times = 0 }) => {
      const what = toWords(labels)
      return what === undefined || times === 0 ? [] : [{ row, what, times, labels }]
    })
  const byTimes = (a: { times: number }, b: { times: number }): number => b.times - a.times
  const connects = grownIn('netvitals_tcp_connects_total', ({ outcome = '' }) => {
    const words = failedConnects[outcome]
    return words === undefined ? undefined : `connects ${words}`
  })
  const sent = grownIn('netvitals_tcp_sent_resets_by_reason_total', ({ reason }) => `resets sent: ${reason}`)
  const received = grownIn('netvitals_tcp_received_resets_total', ({ state }) => `resets received in ${state}`)
  const rows = [...connects, ...sent, ...received].sort(byTimes)
  const most = (...outcomes: string[]) =>
    connects.sort(byTimes).find(({ labels: { outcome = '' } }) => outcomes.includes(outcome))
  const noPort = most('no_port')
  const unanswered = most('timed_out', 'unreachable')
  const sign: Section['sign'] = noPort
    ? { level: 'bad', text: `${noPort.row} had no local port left for ${count(noPort.times, 'connect')} ${lately}` }
    : unanswered && { level: 'odd', text: `${unanswered.row}: ${count(unanswered.times)} ${unanswered.what} ${lately}` }
  return {
    id: 'connections',
    title: 'Connects that failed, resets',
    columns: ['where', 'what', 'times'],
    rows: rows.map(({ row, what, times }) => [row, what, times]),
    good: `No connect failed and none was reset ${lately}.`,
    unknown: explain(
      'netvitals_tcp_connects_total',
      'netvitals_tcp_sent_resets_by_reason_total',
      'netvitals_tcp_received_resets_total',
    ),
    ...(sign && { sign }),
  }
}

/** Not the fault of who answers: that the name does not exist is an answer. */
const dnsAnswers: readonly string[] = ['NOERROR', 'NXDOMAIN'] satisfies (typeof responseCodes)[number][]

function dns({ read, explain, lately }: Page): Section {
  const queries = read('netvitals_dns_queries_total')
  const responses = read('netvitals_dns_responses_total')
  const meanOf = new Map(read('netvitals_dns_duration_seconds').map(({ row, mean }) => [row, mean]))
  const rateOf = sumValues(queries.map((reading) => ({ ...reading, value: reading.perSecond ?? 0 })))
  const [askedIn, answeredIn] = [sumGrowth(queries), sumGrowth(responses)]
  const unansweredIn = sumGrowth(read('netvitals_dns_unanswered_total'))
  const errors = responses
    .map(({ row, labels, grown = 0 }) => ({ row, code: labels.rcode ?? '', times: grown }))
    .filter(({ code, times }) => code !== 'NOERROR' && times > 0)
    .sort((a, b) => b.times - a.times)

  const all = [...new Set(queries.map(({ row }) => row))].map((row) => {
    const [asked = 0, answered = 0, unanswered = 0] = [askedIn(row), answeredIn(row), unansweredIn(row)]
    const own = errors.filter((error) => error.row === row)
    const failures = own.filter(({ code }) => !dnsAnswers.includes(code))
    const failed = failures.reduce((total, { times }) => total + times, 0)
    const failedRatio = failed / Math.max(1, answered)
    const unansweredRatio = unanswered / Math.max(1, asked, unanswered)
    return {
      row,
      isSilent: asked + unanswered === 0,
      rate: rateOf.get(row) ?? 0,
      errors: own.map(({ code, times }) => `${percent(times / answered)} ${code}`).join(', '),
      mostly: failures[0]?.code,
      failedRatio,
      isFailing: failed >= thresholds.dnsFailures && failedRatio >= thresholds.dnsFailedRatio,
      unanswered,
      unansweredRatio,
      isUnanswered: unanswered >= thresholds.dnsFailures && unansweredRatio >= thresholds.dnsUnansweredRatio,
      mean: meanOf.get(row),
    }
  })
  const facts = all.filter(({ isSilent }) => !isSilent)
  const troubleOf = ({ failedRatio, unansweredRatio, isFailing, isUnanswered }: (typeof facts)[number]): number =>
    (isUnanswered ? 4 : 0) + (isFailing ? 2 : 0) + failedRatio + unansweredRatio
  facts.sort((a, b) => troubleOf(b) - troubleOf(a) || b.rate - a.rate)
  const unanswered = facts.find(({ isUnanswered }) => isUnanswered)
  const failing = facts.find(({ isFailing }) => isFailing)
  const sign: Section['sign'] = unanswered
    ? {
        level: 'bad',
        text: `${percent(unanswered.unansweredRatio)} of the DNS queries of ${unanswered.row} got no answer ${lately}`,
      }
    : failing && {
        level: 'bad',
        text: `${percent(failing.failedRatio)} of the DNS answers to ${failing.row} were errors ${lately}, most of them ${failing.mostly}`,
      }
  return {
    id: 'dns',
    title: 'DNS',
    columns: ['where', 'queries', 'failed', 'unanswered', 'mean time'],
    rows: facts.map(({ row, rate, isFailing, isUnanswered, mean, ...fact }): Cell[] => [
      row,
      { text: `${formatRate(rate)}/s`, level: 'fine' },
      fact.errors === '' ? 0 : { text: fact.errors, level: isFailing ? 'bad' : 'fine' },
      fact.unanswered === 0
        ? 0
        : { text: `${count(fact.unanswered)} (${percent(fact.unansweredRatio)})`, level: isUnanswered ? 'bad' : 'odd' },
      mean === undefined ? undefined : { text: formatRtt(mean), level: mean * 1000 > limits.dnsSlowMs ? 'odd' : 'fine' },
    ]),
    good: `Nobody asked DNS anything ${lately}.`,
    unknown: explain('netvitals_dns_queries_total'),
    ...(facts.length > 0 && { note: `By who asked, ${lately}. Search lists ask for many names that do not exist (NXDOMAIN).` }),
    ...(sign && { sign }),
  }
}

const formatRate = (perSecond: number): string => (perSecond < 10 ? perSecond.toPrecision(2) : count(Math.round(perSecond)))

/** Its troubles are signs of other sections already: here is whose they are. */
function edges({ explain, lately }: Page, all: readonly Edge[]): Section {
  const nameOf = ({ namespace, workload }: EdgeEnd): string =>
    namespace === '' ? workload : nameRow({ namespace, pod: workload })
  const rateOf = (bytes: number | undefined): Cell => (bytes ? { text: `${formatBytes(bytes)}/s`, level: 'fine' } : bytes)
  const oddOf = (number: number): Cell => (number > 0 ? { text: count(number), level: 'odd' } : 0)
  const badOf = (number: number, text: string): Cell => (number > 0 ? { text, level: 'bad' } : 0)
  const ends = endsOf(all).size
  const gathered = ends > limits.pictureNodes ? ends - limits.pictureNodes + 1 : 0
  return {
    id: 'edges',
    title: 'Who talks to whom',
    columns: ['client', 'server', 'open', 'connects', 'failed', 'sent', 'received', 'sent again', 'resets', 'dropped', 'RTT'],
    rows: all.map((edge): Cell[] => {
      const rtt = rttOf(edge)
      return [
        nameOf(edge.client),
        `→ ${nameOf(edge.server)}`,
        edge.connections,
        edge.connects,
        badOf(failuresOf(edge), describeFailures(edge)),
        rateOf(edge.sentBytesPerSecond),
        rateOf(edge.receivedBytesPerSecond),
        oddOf(retransmitsOf(edge)),
        oddOf(edge.resets),
        badOf(dropsOf(edge), count(dropsOf(edge))),
        rtt === undefined ? undefined : { text: formatRtt(rtt), level: 'fine' },
      ]
    }),
    good: 'Nobody on this machine has connected to anybody yet.',
    unknown: explain('netvitals_edge_connects_total'),
    rest: 'api/v1/edges',
    ...(all.length > 0 && {
      picture: drawEdges(all),
      note: [
        `Open connections now, the rest ${lately}.`,
        'Arrows go from who connects; thicker ones carry more.',
        'Orange: something was sent again or reset. Red and dashed: connects failed or packets were dropped.',
        ...(gathered > 0 ? [`${count(gathered, 'workload')} without a place of their own in the picture are other.`] : []),
      ].join(' '),
    }),
  }
}

function listenQueues({ read, explain, lately }: Page): Section {
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
      `overflows ${lately}`,
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
    unknown: explain('netvitals_tcp_listen_queue_limit', 'netvitals_tcp_listen_overflows_total'),
    ...(first && {
      sign: {
        level: 'bad',
        text: `connections wait to be accepted in ${first[0]}: the application is too slow, not the network`,
      },
    }),
  }
}

function conntrack({ read, explain, lately }: Page): Section {
  const limitOf = sumValues(read('netvitals_conntrack_entries_limit'))
  const dropped = sumGrowth(read('netvitals_conntrack_drop_total'))
  const failed = sumGrowth(read('netvitals_conntrack_insert_failed_total'))
  const tables = read('netvitals_conntrack_entries').map(({ row, value }) => {
    const limit = limitOf.get(row) ?? 0
    return { row, value, limit, fill: limit > 0 ? value / limit : 0, dropped: dropped(row) }
  })
  tables.sort((a, b) => b.fill - a.fill)
  const [losing] = tables.filter((table) => (table.dropped ?? 0) > 0)
  const [fullest] = tables.filter(({ fill }) => fill >= thresholds.fill)
  const sign: Section['sign'] = losing
    ? {
        level: 'bad',
        text: `connection tracking of ${losing.row} dropped ${count(losing.dropped ?? 0, 'packet')} ${lately}`,
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
    unknown: explain('netvitals_conntrack_entries', 'netvitals_conntrack_entries_limit', 'netvitals_conntrack_drop_total'),
    ...(sign && { sign }),
  }
}

const deviceCounters: readonly (readonly [MetricName, string])[] = [
  ['netvitals_device_receive_drops_total', 'receive drops'],
  ['netvitals_device_transmit_drops_total', 'transmit drops'],
  ['netvitals_device_receive_errors_total', 'receive errors'],
  ['netvitals_device_transmit_errors_total', 'transmit errors'],
  ['netvitals_qdisc_drops_total', 'drops of its queueing discipline'],
  ['netvitals_softnet_drops_total', 'drops from a full backlog'],
]

function devices({ read, explain, lately }: Page): Section {
  const grownIn = (name: MetricName, what: string) =>
    read(name).map(({ labels, grown }) => ({ where: labels.device ?? 'all CPUs', what, packets: grown ?? 0 }))
  const losses = deviceCounters.flatMap(([name, what]) => grownIn(name, what)).filter(({ packets }) => packets > 0)
  const squeezes = sum(grownIn('netvitals_softnet_time_squeezes_total', ''))
  const [most] = losses.sort(byPackets)
  return {
    id: 'devices',
    title: 'Devices and queues',
    columns: ['where', 'what', 'packets'],
    rows: losses.map(({ where, what, packets }) => [where, what, packets]),
    good: `No device, queue or CPU lost anything ${lately}.`,
    unknown: explain(...deviceCounters.map(([name]) => name)),
    ...(squeezes > 0 && { note: `CPUs ran out of time ${count(squeezes, 'time')} with packets waiting (softnet squeeze).` }),
    ...(most && { sign: { level: 'odd', text: `${most.where}: ${count(most.packets)} ${most.what} ${lately}` } }),
  }
}
