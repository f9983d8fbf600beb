import { formatAddress, isLoopback } from '../../parsers/address.ts'
import {
  type ConntrackEntry,
  conntrackEntriesRequest,
  conntrackStatsRequest,
  createConntrackReader,
  readConntrackStats,
} from '../../parsers/ctnetlink.ts'
import { readNetworkU32 } from '../../parsers/netlink.ts'
import { NotFound } from '../host/errors.ts'
import type { Host } from '../host/host.ts'
import { isNetlinkRefused, NetlinkError } from '../host/netlink.ts'
import { limits } from '../limits.ts'
import { type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import { conntrackStates } from '../metrics/labels.ts'
import { readSysctl } from './read-sysctl.ts'
import type { Sink, Source, Subject } from './source.ts'

type Metric = MetricsOf<'netlink-conntrack-entries'>

/** The rows of the metric by state: those of TCP by the kernel's number, then the protocols without. */
const stateRows = [
  ...conntrackStates.map((state) => ({ protocol: 'tcp', state }) as const),
  ...(['udp', 'icmp', 'other'] as const).map((protocol) => ({ protocol, state: 'none' }) as const),
]

function findStateRow({ protocol, tcpState = 0 }: ConntrackEntry): number {
  if (protocol === 6) return tcpState < conntrackStates.length ? tcpState : 0
  const word = protocol === 17 ? 'udp' : protocol === 1 || protocol === 58 ? 'icmp' : 'other'
  return stateRows.findIndex((row) => row.protocol === word)
}

/** Whose an address is. */
interface Owner {
  readonly subject: Subject
  readonly isHost: boolean
  entries: number
}

/** What was read of the table. */
interface Reading {
  /** Entries seen; fewer than there are if it is a sample. */
  read: number
  /** By IPv4 address as a number, or the bytes of an IPv6 address as characters; undefined: nobody known. */
  readonly owners: Map<number | string, Owner | undefined>
  /** Entries by number of stateRows. */
  readonly states: number[]
}

/** A reading, and how large the table was. */
interface Table extends Reading {
  readonly total: number
}

const createReading = (): Reading => ({ read: 0, owners: new Map(), states: stateRows.map(() => 0) })

/**
 * Who fills the host's conntrack table. A large one is not read to its end: the kernel lists its hash table from the first
 * bucket on, and where an entry is in it depends on a keyed hash of its addresses and ports (siphash, with a key drawn at
 * boot), so that the beginning is a random sample.
 */
export function createNetlinkConntrackEntries(
  host: Host,
  {
    entriesMax = limits.conntrackEntries,
    now = () => performance.now(),
    cpuMs = readCpuMs,
  }: { readonly entriesMax?: number; readonly now?: () => number; readonly cpuMs?: () => number } = {},
): Source<Metric> {
  let table: Table | undefined
  let readAgainAtMs = Number.NEGATIVE_INFINITY
  /** CPU time of the last reading, with what else the agent did meanwhile. */
  let tookMs = 0
  /** Subjects that have had entries: they have 0 when they have none left. */
  let shown = new Map<number | string, Subject>()

  function findSubject(bytes: Uint8Array, address: string): Subject {
    // Every namespace has loopback addresses; in this table they are the host's.
    const netns = isLoopback(bytes) ? host.namespaces.host : host.addresses.find(address)
    return netns === undefined ? { address } : { netns }
  }

  async function read(sink: Sink<Metric>, signal: AbortSignal): Promise<Table> {
    await host.addresses.refresh(signal)
    const { entries = 0 } = await host.netlink.get(host.namespaces.host, conntrackStatsRequest(), readConntrackStats, signal)
    let reading = createReading()

    function ownerOf({ addresses, family }: ConntrackEntry, at: number): Owner | undefined {
      const end = at + (family === 4 ? 4 : 16)
      const key = family === 4 ? readNetworkU32(addresses, at) : String.fromCharCode(...addresses.subarray(at, end))
      const known = reading.owners.get(key)
      if (known !== undefined || reading.owners.has(key)) return known
      const bytes = addresses.subarray(at, end)
      const subject = findSubject(bytes, formatAddress(bytes))
      const isHost = subject.netns === host.namespaces.host
      const owner = isHost || sink.knows(subject) ? { subject, isHost, entries: 0 } : undefined
      reading.owners.set(key, owner)
      return owner
    }

    function chooseOwner(entry: ConntrackEntry): Owner | undefined {
      const { original, reply } = entry
      const client = ownerOf(entry, original.sourceAt)
      if (client?.isHost === false) return client
      const server = ownerOf(entry, reply.sourceAt)
      if (server?.isHost === false) return server
      const isOfHost = (at: number): Owner | undefined => {
        const owner = ownerOf(entry, at)
        return owner?.isHost ? owner : undefined
      }
      return client ?? server ?? isOfHost(original.destinationAt) ?? isOfHost(reply.destinationAt)
    }

    function count(entry: ConntrackEntry): void {
      reading.read++
      const owner = chooseOwner(entry)
      if (owner !== undefined) owner.entries++
      reading.states[findStateRow(entry)]!++
    }

    const handlers = {
      restart: () => void (reading = createReading()),
      message: createConntrackReader(count),
      isEnough: () => reading.read >= entriesMax && reading.read < entries,
    }
    await host.netlink.dump(host.namespaces.host, conntrackEntriesRequest(), handlers, signal)
    const isWhole = reading.read < entriesMax || reading.read >= entries
    return { ...reading, total: isWhole ? reading.read : entries }
  }

  function emit(sink: Sink<Metric>, { total, read, owners, states }: Table): void {
    const scale = createScale(read, total)
    const metric = 'netvitals_conntrack_host_entries'
    const present = new Map<number | string, Subject>()
    let ofHost = 0
    for (const [key, owner] of owners) {
      if (owner === undefined || owner.entries === 0 || !(owner.isHost || sink.knows(owner.subject))) continue
      const value = scale(owner.entries)
      if (owner.isHost) ofHost += value
      else {
        sink.emit(metric, { of: owner.subject, labels: {}, value })
        present.set(key, owner.subject)
      }
    }
    sink.emit(metric, { of: { netns: host.namespaces.host }, labels: {}, value: ofHost })
    sink.emit('netvitals_conntrack_host_entries_unattributed', { of: 'node', labels: {}, value: total - scale.sum() })
    for (const [key, of] of shown) {
      if (present.has(key) || !sink.knows(of)) continue
      sink.emit(metric, { of, labels: {}, value: 0 })
      present.set(key, of)
    }
    shown = present

    const scaleState = createScale(read, total)
    stateRows.forEach((labels, row) => {
      sink.emit('netvitals_conntrack_host_entries_by_state', { of: 'node', labels, value: scaleState(states[row] ?? 0) })
    })
  }

  function explain(sink: Sink<Metric>, { total, read }: Table): void {
    if (read < total) sink.caveat(`sampled: ${read} of ${total} entries of the host's conntrack table were read`)
    const everyMs = tookMs / limits.conntrackTimeShare
    if (everyMs > limits.sweepAgeMs)
      sink.caveat(
        `reading the host's conntrack table takes ${Math.round(tookMs)} ms of CPU, so it is read every ${Math.ceil(everyMs / 1000)} s`,
      )
  }

  return {
    name: 'netlink-conntrack-entries',
    writes: metricsOf('netlink-conntrack-entries'),
    needs: [{ capability: 'CAP_NET_ADMIN' }, { library: 'koffi' }],
    async collect(sink, signal) {
      // Asking by netlink would load the module: whoever watches must not switch connection tracking on.
      if (readSysctl(host, 'net/netfilter/nf_conntrack_max').length === 0)
        throw new NotFound('/proc/sys/net/netfilter/nf_conntrack_max', 'connection tracking is not loaded')
      const startedAtMs = now()
      if (table === undefined || startedAtMs >= readAgainAtMs) {
        const before = cpuMs()
        try {
          table = await read(sink, signal)
        } catch (error) {
          if (!isNetlinkRefused(error)) throw error
          const reason = error instanceof NetlinkError ? 'needs CAP_NET_ADMIN' : error.message
          for (const metric of metricsOf('netlink-conntrack-entries')) sink.absent(metric, reason)
          return
        }
        tookMs = cpuMs() - before
        readAgainAtMs = startedAtMs + tookMs / limits.conntrackTimeShare
      }
      emit(sink, table)
      explain(sink, table)
    },
  }
}

function readCpuMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** Scales parts of what was read to the whole, in whole numbers whose sum is off by less than one. */
function createScale(read: number, total: number): { (part: number): number; sum(): number } {
  let parts = 0
  let sum = 0
  const scale = (part: number): number => {
    parts += part
    const before = sum
    sum = read === total ? parts : Math.round((parts / read) * total)
    return sum - before
  }
  return Object.assign(scale, { sum: () => sum })
}
