import { createPcapReader, type PcapReader } from '../../parsers/pcap-file.ts'
import type { Analysis } from '../capture/analysis.ts'
import { type CountKind, countKinds, countPlaces, dnsPlaces, httpPlaces } from '../capture/places.ts'
import type { CapturePorts, CaptureTotals, DnsReport, HttpReport } from '../capture/report.ts'
import { limits } from '../limits.ts'
import { addCounts, addTotals, type Capture, createTotals } from './capture.ts'
import type { NetworkNamespace } from './namespaces.ts'

/** What captures held. */
export interface PacketTotals extends Omit<CaptureTotals, 'ringDrops' | 'interfaceDrops'> {
  /** Nothing can be said of when these were: left out, and not among the packets. */
  readonly withoutTime: number
  readonly dnsQueries: number
  readonly dnsResponses: number
  readonly dnsUnanswered: number
  /** Queries whose answer may have come after the end of the capture. */
  readonly dnsWaiting: number
  /** With an answer, or given up. */
  readonly httpRequests: number
  readonly fragmentationNeeded: number
}

/** Files of packets, pcap or pcapng, as if they were captured here. Their time is the packets'. */
export interface ReplayPackets {
  /** Every address is the host's: whose they were where it was captured is not known. */
  readonly capture: Capture
  /** Of the next file. The reader's errors are ParseErrors; what is before them counts. */
  open(): Promise<PcapReader>
  totals(): PacketTotals
}

export interface ReplayPacketsOptions {
  readonly host: NetworkNamespace
  readonly ports: CapturePorts
  /** Single queries and requests are told to those who listen; it takes longer. */
  readonly tellsEach: boolean
}

type AnalysisModule = typeof import('../capture/analysis.ts')

const everybody = 1

export function createReplayPackets({ host, ports, tellsEach }: ReplayPacketsOptions): ReplayPackets {
  const onDns: ((report: DnsReport, netns: NetworkNamespace) => void)[] = []
  const onHttp: ((report: HttpReport, netns: NetworkNamespace) => void)[] = []
  /** Of captures that do not go on. */
  let countsBefore: readonly (readonly [CountKind, Float64Array])[] = countKinds.map((kind) => [
    kind,
    new Float64Array(countPlaces[kind]),
  ])
  let before = createTotals()
  let files = 0
  let withoutTime = 0
  let analysis: Analysis | undefined
  let lastMs = 0
  let expiredMs = 0

  /** A file that goes on where the one before it ended, as tcpdump -G makes them, is one with it. */
  function goOn(timeMs: number, { createAnalysis, describeDns, describeHttp }: AnalysisModule): Analysis {
    if (analysis !== undefined && timeMs >= lastMs && timeMs - lastMs < limits.dnsAnswerMs) return analysis
    before = totalsSoFar()
    countsBefore = countsSoFar()
    expiredMs = timeMs
    analysis = createAnalysis(ports, {
      onDns: (transaction) => onDns.forEach((listen) => listen({ type: 'dns', ...describeDns(transaction) }, host)),
      onHttp: (transaction) => onHttp.forEach((listen) => listen({ type: 'http', ...describeHttp(transaction) }, host)),
    })
    analysis.ownAll(everybody)
    return analysis
  }

  function totalsSoFar(): CaptureTotals {
    return analysis === undefined ? before : addTotals(before, { ...createTotals(), ...analysis.totals() })
  }
  function countsSoFar(): typeof countsBefore {
    return countsBefore.map(([kind, values]) => {
      const now = analysis?.counts[kind].get(everybody)
      return [kind, now === undefined ? values : addCounts(values, now)] as const
    })
  }
  const countsOf = (kind: CountKind): Float64Array => countsSoFar().find(([of]) => of === kind)![1]

  async function open(): Promise<PcapReader> {
    // Much code, which most recordings do without.
    const [analyse, { passageMs }] = await Promise.all([import('../capture/analysis.ts'), import('../capture/sighting.ts')])
    let current: Analysis | undefined
    files++
    const reader = createPcapReader({
      onPacket(bytes, from, capturedLength, wireLength, timeMs, linkType) {
        if (timeMs === undefined) {
          withoutTime++
          return
        }
        current ??= goOn(timeMs, analyse)
        lastMs = Math.max(lastMs, timeMs)
        if (lastMs - expiredMs >= limits.captureTellMs) {
          expiredMs = lastMs
          current.expire(lastMs)
        }
        current.take(toBuffer(bytes), from, capturedLength, wireLength, linkType, timeMs)
      },
    })
    return {
      push: reader.push,
      end() {
        current?.expire(lastMs + passageMs)
        reader.end()
      },
    }
  }

  return {
    open,
    totals() {
      const { ringDrops, interfaceDrops, ...totals } = totalsSoFar()
      const dns = countsOf('dns')
      const dnsQueries = sum(dns, dnsPlaces.queries, dnsPlaces.responses)
      const dnsResponses = sum(dns, dnsPlaces.responses, dnsPlaces.served)
      // All are both clients and servers: the first direction has each.
      const httpRequests = sum(countsOf('http'), httpPlaces.answered, httpPlaces.microseconds)
      const [fragmentationNeeded = 0] = countsOf('fragmentationNeeded')
      const dnsUnanswered = dns[dnsPlaces.unanswered]!
      const dnsWaiting = dnsQueries - dnsResponses - dnsUnanswered - totals.dnsNotFollowed
      return { ...totals, withoutTime, dnsQueries, dnsResponses, dnsUnanswered, dnsWaiting, httpRequests, fragmentationNeeded }
    },
    capture: {
      settings: { device: 'a recording', ...ports },
      async start() {},
      missing: () => (files === 0 ? { reason: 'none of the recordings is a capture of packets', isFault: false } : undefined),
      setOwners: () => 0,
      counts: (kind) => [[host, countsOf(kind)]],
      totals: totalsSoFar,
      starts: () => files,
      onDns: (listener) => void (tellsEach && onDns.push(listener)),
      onHttp: (listener) => void (tellsEach && onHttp.push(listener)),
      onNotShown() {},
      async stop() {},
    },
  }
}

const sum = (values: Float64Array, from: number, to: number): number =>
  values.subarray(from, to).reduce((total, value) => total + value, 0)
const toBuffer = (bytes: Uint8Array): Buffer =>
  bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
