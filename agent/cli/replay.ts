import type { BpftraceValue } from '../../parsers/bpftrace-json.ts'
import { createAgent } from '../agent.ts'
import type { Config } from '../config.ts'
import { describeSystemError } from '../config-file.ts'
import type { EventEnd, EventMessage, Events, NetworkEvent } from '../events.ts'
import { createHost } from '../host/host.ts'
import { createReplay, type ReplayTotals } from '../host/replay.ts'
import { createReplayMaps } from '../host/replay-maps.ts'
import { createReplayPackets, type PacketTotals } from '../host/replay-packets.ts'
import { schemaVersion } from '../http/socket.ts'
import { createLog } from '../log.ts'
import type { MetricName } from '../metrics/catalogue.ts'
import { cleanLabelValue, formatLabels, parseLabels } from '../metrics/label-text.ts'
import { renderExposition } from '../metrics/render.ts'
import type { Family, SeriesValue } from '../metrics/snapshot.ts'
import { defineUserMetric, userMetricName } from '../metrics/user-metrics.ts'
import { createRecordingReader, mergeFamilies } from '../recording.ts'
import { createBpftraceScripts } from '../sources/bpftrace-scripts.ts'
import { createPcapDns } from '../sources/pcap-dns.ts'
import { createPcapHttp } from '../sources/pcap-http.ts'
import { createPcapIcmp } from '../sources/pcap-icmp.ts'
import { createToolHealth } from '../sources/tool-health.ts'
import { createToolOpens } from '../sources/tool-opens.ts'
import { createTraceConnects } from '../sources/trace-connects.ts'
import { createTraceDrops } from '../sources/trace-drops.ts'
import { createTraceRetransmits } from '../sources/trace-retransmits.ts'
import { toJson } from './check.ts'
import { createFilter } from './event-filter.ts'
import { createEventText } from './event-text.ts'
import { plain, type Terminal } from './terminal.ts'

/** Prints what an agent would have counted from recordings of trace tools and of packets. Exit status 1 if one cannot be read, or none holds anything known. */
export async function replay(config: Config, terminal: Terminal): Promise<number> {
  const log = createLog(config['log.level'])
  const recording = createRecordingReader()
  const real = await createHost({ root: '/', tracer: false, log })
  const isListing = config.filters.length > 0
  const packets = createReplayPackets({
    host: real.namespaces.host,
    ports: { dnsPorts: config['capture.dns-ports'], httpPorts: config['capture.http-ports'] },
    tellsEach: isListing,
  })
  const {
    tools,
    read: readFile,
    complain,
    totals,
  } = createReplay({
    packets,
    takeLine(line, where, number) {
      if (maps.takeLine(where, number, line)) return true
      if (!line.startsWith('{"type":')) return false
      recording.push(line)
      return true
    },
  })
  const declared = config.scripts.map((script) => new Set(Object.keys(script.maps)))
  const maps = createReplayMaps({ declared, onError: complain })
  // Whatever the addresses: it is all of the machine where it was recorded.
  const addresses = { refresh: async () => {}, find: () => real.namespaces.host, all: () => new Map() }
  const host = { ...real, tools, addresses, scripts: maps.scripts, capture: packets.capture }
  const sources = [
    createTraceDrops(host),
    createTraceRetransmits(host),
    createTraceConnects(host),
    createToolOpens(host),
    createPcapDns(host),
    createPcapHttp(host),
    createPcapIcmp(host),
    ...(config.scripts.length > 0 ? [createBpftraceScripts(host, config.scripts)] : []),
    createToolHealth(host),
  ]
  const agent = await createAgent(config, log, { host, sources })
  const listing = createListing(agent.events, config, terminal)
  let status = 0
  try {
    await agent.start()
    for (const file of config.files.length > 0 ? config.files : ['-']) {
      const progress = createProgress(file)
      try {
        await readFile(file, (readBytes, ofBytes) => {
          progress.show(readBytes, ofBytes)
          return listing.flush()
        })
      } catch (error) {
        terminal.warn(`${file}: cannot be read: ${describeSystemError(error)}`)
        status = 1
      }
      progress.clear()
    }
    maps.end()
    const { families: told } = await agent.sweep.take()
    const families = mergeFamilies(recording.families(), told, toFamilies(maps.undeclared()))
    const ofAgent = await agent.self.families()
    const dropped = recording.dropped + maps.dropped + sumOf(ofAgent, 'netvitals_series_dropped_total')
    const notCounted = sumOf(ofAgent, 'netvitals_lost_events_total', 'kind="map_full"')
    const read = totals()
    const { sweeps, events } = recording
    const found = {
      ...read,
      lost: read.lost + maps.lost,
      sweeps,
      events,
      maps: maps.maps,
      dropped,
      notCounted,
      packets: packets.totals(),
    }
    if (isListing) await listing.flush()
    else if (config['replay.output'] === 'json')
      await terminal.print(`${toJson({ ...toReport(found), families: families.map(toPlain) })}\n`)
    else await terminal.print(renderExposition(families, config.format))
    for (const line of describe(found)) terminal.warn(line)
    return isKnown(found) ? status : 1
  } finally {
    await agent.stop()
  }
}

/** Prints single queries as `observe` does, as far as they were read. */
function createListing({ subscribe }: Events, config: Config, terminal: Terminal): { flush(): Promise<void> } {
  const isShown = createFilter(config)
  const text = createEventText(config['replay.output'] === 'json' ? 'json' : 'table', terminal)
  let read: EventMessage[] = []
  subscribe((message) => {
    if (isShown(message)) read.push(message.type === 'not_shown' ? message : withoutNames(message))
  })
  return {
    async flush() {
      const messages = read
      read = []
      if (messages.length > 0) await terminal.print(text.linesOf(messages))
    },
  }
}

/** They would all be called the host. */
function withoutNames(event: NetworkEvent): NetworkEvent {
  const nameless = ({ namespace, pod, workload, ...rest }: EventEnd): EventEnd => rest
  return { ...event, source: nameless(event.source), destination: nameless(event.destination) }
}

const progressMs = 200

/** On a terminal, while it takes long: how much of the file is read. */
function createProgress(file: string): { show(readBytes: number, ofBytes: number | undefined): void; clear(): void } {
  const startedAtMs = performance.now()
  let shownAtMs = startedAtMs
  let isShown = false
  return {
    show(readBytes, ofBytes) {
      const nowMs = performance.now()
      if (!process.stderr.isTTY || nowMs - shownAtMs < progressMs) return
      shownAtMs = nowMs
      isShown = true
      const share = ofBytes === undefined ? '' : ` of ${toMegabytes(ofBytes)} (${Math.floor((100 * readBytes) / ofBytes)} %)`
      const rate = toMegabytes(readBytes / ((nowMs - startedAtMs) / 1000))
      process.stderr.write(`\r\u001b[K${plain(file, true)}: ${toMegabytes(readBytes)}${share}, ${rate}/s`)
    },
    clear() {
      if (isShown) process.stderr.write('\r\u001b[K')
    },
  }
}

const toMegabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`
const count = (n: number, what: string): string =>
  `${n.toLocaleString('en')} ${n === 1 ? what : what.endsWith('y') ? `${what.slice(0, -1)}ies` : `${what}s`}`

interface Found extends ReplayTotals {
  /** Of recordings of netvitals. */
  readonly sweeps: number
  readonly events: number
  /** Of bpftrace, as often as they were printed. */
  readonly maps: number
  /** Values of series that found no place. */
  readonly dropped: number
  /** Events of rows that found no place. */
  readonly notCounted: number
  readonly packets: PacketTotals
}

/** Whether anything in it was of a known format, and told something. */
function isKnown({ rows, sweeps, maps, packets }: Found): boolean {
  const { dnsQueries, dnsUnmatched, httpRequests, fragmentationNeeded } = packets
  return rows.size + sweeps + maps + dnsQueries + dnsUnmatched + httpRequests + fragmentationNeeded > 0
}

/** Of a metric of the agent's own. */
function sumOf(families: readonly Family[], metric: MetricName, labels?: string): number {
  const series = families.find(({ name }) => name === metric)?.series ?? []
  return series.filter((one) => labels === undefined || one.labels === labels).reduce((sum, { value }) => sum + Number(value), 0)
}

function describe(found: Found): string[] {
  const { lines, rows, sweeps, events, maps, unreadable, firstUnreadable, longLines, partialLines, lost, dropped, notCounted } =
    found
  const read = [
    ...(sweeps > 0 ? [`${count(sweeps, 'sweep')} and ${count(events, 'event')} of netvitals`] : []),
    ...(maps > 0 ? [`${count(maps, 'map')} of bpftrace`] : []),
    ...[...rows].map(([format, n]) => `${count(n, 'row')} of ${format}`),
  ]
  return [
    ...(lines > 0 || found.captures === 0
      ? [`${count(lines, 'line')} read: ${read.length === 0 ? 'none of a known format' : read.join(', ')}`]
      : []),
    ...(unreadable > 0 ? [`${count(unreadable, 'line')} could not be read, the first: ${firstUnreadable?.message}`] : []),
    ...(longLines > 0 ? [`${count(longLines, 'line')} too long, left out`] : []),
    ...(partialLines > 0 ? ['the last line has no end: left out, because its last number may be cut'] : []),
    ...(found.captures > 0 ? describePackets(found) : []),
    ...(lost > 0 ? [`${count(lost, 'event')} lost by the tool itself, as it says`] : []),
    ...(notCounted > 0 ? [`${count(notCounted, 'event')} not counted: there are too many reasons or kinds`] : []),
    ...(dropped > 0 ? [`${count(dropped, 'value')} left out: there are too many series`] : []),
  ]
}

function describePackets({ packets: read, damaged }: Found): string[] {
  const { packets, withoutTime, unreadable, cut, dnsQueries, dnsResponses, dnsUnanswered, dnsWaiting } = read
  const { dnsMalformed, dnsUnmatched, dnsNotFollowed, httpRequests } = read
  const faults = Object.entries(unreadable).map(([fault, number]) => `${number.toLocaleString('en')} ${fault}`)
  const notRead = Object.values(unreadable).reduce((sum, number) => sum + number, 0)
  const isEmpty = dnsQueries + dnsUnmatched + dnsMalformed + httpRequests === 0
  const held = [
    `${count(dnsQueries, 'query')} of DNS, ${count(dnsResponses, 'response')}, ${dnsUnanswered.toLocaleString('en')} unanswered`,
    ...(httpRequests > 0 ? [`${count(httpRequests, 'request')} of HTTP`] : []),
  ]
  return [
    `${count(packets, 'packet')} read: ${isEmpty ? 'none on the ports of --capture.dns-ports and --capture.http-ports' : held.join(', ')}`,
    ...damaged.map((where) => `${where}; what is before it counts`),
    ...(notRead > 0 ? [`${count(notRead, 'packet')} not read: ${faults.join(', ')}`] : []),
    ...(withoutTime > 0 ? [`${count(withoutTime, 'packet')} without a time, left out`] : []),
    ...(cut > 0 ? [`${count(cut, 'packet')} captured without a part that is needed: the snap length was too short`] : []),
    ...(dnsMalformed > 0 ? [`${count(dnsMalformed, 'packet')} on the ports of DNS that hold none`] : []),
    ...(dnsUnmatched > 0 ? [`${count(dnsUnmatched, 'response')} to queries that were not captured, or given up`] : []),
    ...(dnsWaiting > 0 ? [`${count(dnsWaiting, 'query')} had no answer yet when the capture ended`] : []),
    ...(dnsNotFollowed > 0
      ? [`${count(dnsNotFollowed, 'query')} whose answers were not looked for: there are too many at once`]
      : []),
  ]
}

function toReport({ rows, firstUnreadable, ...rest }: Found): object {
  return { schemaVersion, ...rest, rows: Object.fromEntries(rows), firstUnreadable: firstUnreadable?.message }
}

/** A metric with its series, whose labels are taken apart again. */
function toPlain({ name, definition, series }: Family): object {
  return { name, type: definition.type, series: series.map(({ labels, value }) => ({ labels: parseLabels(labels), value })) }
}

/** Maps that no script in the file of --config.file declares: what they held last, by the whole key. */
function toFamilies(maps: ReadonlyMap<string, ReadonlyMap<string, BpftraceValue>>): Family[] {
  return [...maps].map(([map, entries]): Family => {
    const labels = entries.size === 1 && entries.has('') ? [] : ['key']
    const [first] = entries.values()
    const type = typeof first === 'number' ? 'gauge' : first !== undefined && 'buckets' in first ? 'histogram' : 'summary'
    const tops = [...entries.values()].flatMap((value) => (typeof value !== 'number' && 'buckets' in value ? value.buckets : []))
    const bounds = [...new Set(tops.flatMap(({ max }) => (max === undefined ? [] : [max])))].sort((a, b) => a - b)
    const help = `The bpftrace map @${map}, as it was printed last.`
    const series = [...entries].map(([key, value]) => ({
      labels: formatLabels(labels, [cleanLabelValue(key)]),
      value: toSeriesValue(value, bounds),
      bornAtMs: 0,
      bornFromZero: false,
      slot: undefined,
    }))
    const definition = defineUserMetric({ type, help, labels, limit: entries.size, bounds }, 'bpftrace')
    return { name: userMetricName(map.toLowerCase(), type), definition, series }
  })
}

function toSeriesValue(value: BpftraceValue, bounds: readonly number[]): SeriesValue {
  if (typeof value === 'number') return value
  if ('total' in value) return { sum: value.total, count: value.count }
  const counts = bounds.map((bound) => value.buckets.find(({ max }) => max === bound)?.count ?? 0)
  const above = value.buckets.find(({ max }) => max === undefined)?.count ?? 0
  return { counts: [...counts, above], sum: Number.NaN }
}
