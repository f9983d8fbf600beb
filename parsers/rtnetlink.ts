import { askAll, eachAttribute, expectBytes, type NetlinkRequest, netlinkRoute, readText, readU32, readU64 } from './netlink.ts'
import { ParseError } from './text.ts'

/** The fields of struct rtnl_link_stats64, in its order. */
const linkStatsFields = [
  'rxPackets',
  'txPackets',
  'rxBytes',
  'txBytes',
  'rxErrors',
  'txErrors',
  'rxDropped',
  'txDropped',
  'multicast',
  'collisions',
  'rxLengthErrors',
  'rxOverErrors',
  'rxCrcErrors',
  'rxFrameErrors',
  'rxFifoErrors',
  'rxMissedErrors',
  'txAbortedErrors',
  'txCarrierErrors',
  'txFifoErrors',
  'txHeartbeatErrors',
  'txWindowErrors',
  'rxCompressed',
  'txCompressed',
  'rxNohandler',
  'rxOtherhostDropped',
] as const

/** Undefined: this kernel's struct ends before the field. */
export type LinkStats = { readonly [Field in (typeof linkStatsFields)[number]]: number | undefined }

/** A network device. Undefined: the kernel does not say, or does not have it. */
export interface Link {
  readonly index: number
  readonly name: string
  /** 'veth', 'bridge', …; undefined for hardware and lo. */
  readonly kind: string | undefined
  /** The other end's namespace, by this namespace's number for it; undefined: the other end is here, or there is none. */
  readonly linkNetnsId: number | undefined
  readonly mtu: number | undefined
  /** RFC 2863 (linux/if.h): 2 down, 3 not present, 5 dormant, 6 up, and so on. */
  readonly operstate: number | undefined
  readonly carrierChanges: number | undefined
  readonly stats: LinkStats | undefined
}

/** A queueing discipline. The counters are of 32 bits but for the bytes, and wrap. */
export interface Qdisc {
  /** Of its device. */
  readonly index: number
  /** 32 bits: major number, minor number. */
  readonly handle: number
  /** The class it hangs in; 0xffffffff: the device's root. */
  readonly parent: number
  readonly kind: string
  readonly bytes: number | undefined
  readonly packets: number | undefined
  readonly drops: number | undefined
  readonly overlimits: number | undefined
  readonly requeues: number | undefined
  readonly backlogBytes: number | undefined
  readonly queueLength: number | undefined
}

/** One of the kernel's neighbour tables, which all namespaces share. */
export interface NeighbourTable {
  /** arp_cache or ndisc_cache. */
  readonly name: string
  readonly entries: number | undefined
  readonly gcThreshold1: number | undefined
  readonly gcThreshold2: number | undefined
  readonly gcThreshold3: number
  /** Look-ups that found nobody. */
  readonly resolutionFailures: number | undefined
  readonly forcedGcRuns: number | undefined
  /** Neighbours that found no place. */
  readonly tableFulls: number | undefined
}

const getLink = 18
const getAddress = 22
const getQdisc = 38
const getNeighbourTable = 66

// The attributes read, of enums that only ever grow.
const ifla = { ifname: 3, mtu: 4, operstate: 16, linkinfo: 18, stats64: 23, carrierChanges: 35, linkNetnsid: 37 } as const
const iflaInfoKind = 1
const ifa = { address: 1, local: 2 } as const
const tca = { kind: 1, stats2: 7 } as const
const tcaStats = { basic: 1, queue: 3 } as const
const ndta = { name: 1, thresh1: 2, thresh3: 4, config: 5, stats: 7 } as const

const linkHeaderBytes = 16 // struct ifinfomsg
const addressHeaderBytes = 8 // struct ifaddrmsg
const qdiscHeaderBytes = 20 // struct tcmsg
const neighbourTableHeaderBytes = 4 // struct ndtmsg

/** RTM_GETLINK: the devices of a namespace. */
export function linksRequest(): NetlinkRequest {
  return askAll('links', netlinkRoute, getLink, new Uint8Array(linkHeaderBytes))
}

/** RTM_GETADDR: the addresses of a namespace, of both families. */
export function addressesRequest(): NetlinkRequest {
  return askAll('addresses', netlinkRoute, getAddress, new Uint8Array(addressHeaderBytes))
}

/** RTM_GETQDISC: the queueing disciplines of a namespace's devices. */
export function qdiscsRequest(): NetlinkRequest {
  return askAll('qdiscs', netlinkRoute, getQdisc, new Uint8Array(qdiscHeaderBytes))
}

/** RTM_GETNEIGHTBL: the ARP and NDP tables. */
export function neighbourTablesRequest(): NetlinkRequest {
  return askAll('neighbour-tables', netlinkRoute, getNeighbourTable, new Uint8Array(neighbourTableHeaderBytes))
}

/** Of a message that answers linksRequest (net/core/rtnetlink.c, rtnl_fill_ifinfo). */
export function readLink(bytes: Uint8Array, from: number, to: number): Link {
  const where = 'RTM_GETLINK'
  let name: string | undefined
  let kind: string | undefined
  let linkNetnsId: number | undefined
  let mtu: number | undefined
  let operstate: number | undefined
  let carrierChanges: number | undefined
  let stats: LinkStats | undefined
  expectBytes(where, from, to, linkHeaderBytes, 'struct ifinfomsg')
  eachAttribute(where, bytes, from + linkHeaderBytes, to, (type, valueFrom, valueTo) => {
    const number = (): number => readNumber(where, bytes, valueFrom, valueTo)
    if (type === ifla.ifname) name = readText(bytes, valueFrom, valueTo)
    else if (type === ifla.mtu) mtu = number()
    else if (type === ifla.operstate) operstate = valueFrom < valueTo ? bytes[valueFrom] : undefined
    else if (type === ifla.linkinfo) kind = readKind(where, bytes, valueFrom, valueTo)
    else if (type === ifla.stats64) stats = readLinkStats(bytes, valueFrom, valueTo)
    else if (type === ifla.carrierChanges) carrierChanges = number()
    else if (type === ifla.linkNetnsid) linkNetnsId = number() | 0 // signed; −1: it has none yet
  })
  if (name === undefined) throw missing(where, to, 'IFLA_IFNAME')
  return { index: readU32(bytes, from + 4), name, kind, linkNetnsId, mtu, operstate, carrierChanges, stats }
}

/** IFLA_LINKINFO holds IFLA_INFO_KIND. */
function readKind(where: string, bytes: Uint8Array, from: number, to: number): string | undefined {
  let kind: string | undefined
  eachAttribute(where, bytes, from, to, (type, valueFrom, valueTo) => {
    if (type === iflaInfoKind) kind = readText(bytes, valueFrom, valueTo)
  })
  return kind
}

function readLinkStats(bytes: Uint8Array, from: number, to: number): LinkStats {
  const values = linkStatsFields.map((field, i) => [field, readCounter(bytes, from, to, i)])
  return Object.fromEntries(values) as LinkStats
}

/** The i-th of a struct of 64-bit numbers, which grows from one kernel to the next. */
function readCounter(bytes: Uint8Array, from: number, to: number, i: number): number | undefined {
  return from + 8 * (i + 1) <= to ? readU64(bytes, from + 8 * i) : undefined
}

/**
 * Of a message that answers addressesRequest (net/ipv4/devinet.c, inet_fill_ifaddr; net/ipv6/addrconf.c): 4 or 16 bytes.
 * Of a point-to-point link IFA_ADDRESS is the other end's, and IFA_LOCAL is ours.
 */
export function readAddress(bytes: Uint8Array, from: number, to: number): Uint8Array {
  const where = 'RTM_GETADDR'
  let address: Uint8Array | undefined
  expectBytes(where, from, to, addressHeaderBytes, 'struct ifaddrmsg')
  eachAttribute(where, bytes, from + addressHeaderBytes, to, (type, valueFrom, valueTo) => {
    const isOurs = type === ifa.local || (type === ifa.address && address === undefined)
    if (!isOurs) return
    if (![4, 16].includes(valueTo - valueFrom)) throw new ParseError(where, 1, valueFrom + 1, '4 or 16 bytes of an address', '')
    address = bytes.slice(valueFrom, valueTo)
  })
  if (address === undefined) throw missing(where, to, 'IFA_ADDRESS')
  return address
}

/** Of a message that answers qdiscsRequest (net/sched/sch_api.c, tc_fill_qdisc). */
export function readQdisc(bytes: Uint8Array, from: number, to: number): Qdisc {
  const where = 'RTM_GETQDISC'
  let kind: string | undefined
  let statsFrom = to
  let statsTo = to
  expectBytes(where, from, to, qdiscHeaderBytes, 'struct tcmsg')
  eachAttribute(where, bytes, from + qdiscHeaderBytes, to, (type, valueFrom, valueTo) => {
    if (type === tca.kind) kind = readText(bytes, valueFrom, valueTo)
    if (type === tca.stats2) [statsFrom, statsTo] = [valueFrom, valueTo]
  })
  if (kind === undefined) throw missing(where, to, 'TCA_KIND')
  return {
    index: readU32(bytes, from + 4),
    handle: readU32(bytes, from + 8),
    parent: readU32(bytes, from + 12),
    kind,
    ...readQdiscStats(where, bytes, statsFrom, statsTo),
  }
}

type QdiscStats = Omit<Qdisc, 'index' | 'handle' | 'parent' | 'kind'>

/** TCA_STATS2 holds struct gnet_stats_basic and struct gnet_stats_queue. */
function readQdiscStats(where: string, bytes: Uint8Array, from: number, to: number): QdiscStats {
  let basic: Pick<QdiscStats, 'bytes' | 'packets'> = { bytes: undefined, packets: undefined }
  let queue: Omit<QdiscStats, 'bytes' | 'packets'> = {
    queueLength: undefined,
    backlogBytes: undefined,
    drops: undefined,
    requeues: undefined,
    overlimits: undefined,
  }
  eachAttribute(where, bytes, from, to, (type, at, valueTo) => {
    if (type === tcaStats.basic) {
      expectBytes(where, at, valueTo, 12, 'struct gnet_stats_basic')
      basic = { bytes: readU64(bytes, at), packets: readU32(bytes, at + 8) }
    } else if (type === tcaStats.queue) {
      expectBytes(where, at, valueTo, 20, 'struct gnet_stats_queue')
      queue = {
        queueLength: readU32(bytes, at),
        backlogBytes: readU32(bytes, at + 4),
        drops: readU32(bytes, at + 8),
        requeues: readU32(bytes, at + 12),
        overlimits: readU32(bytes, at + 16),
      }
    }
  })
  return { ...basic, ...queue }
}

/**
 * Of a message that answers neighbourTablesRequest (net/core/neighbour.c, neightbl_fill_info). Undefined: the message is
 * of one device's parameters and not of the table, which alone has thresholds.
 */
export function readNeighbourTable(bytes: Uint8Array, from: number, to: number): NeighbourTable | undefined {
  const where = 'RTM_GETNEIGHTBL'
  let name: string | undefined
  let entries: number | undefined
  const thresholds: number[] = []
  let statsFrom = to
  let statsTo = to
  expectBytes(where, from, to, neighbourTableHeaderBytes, 'struct ndtmsg')
  eachAttribute(where, bytes, from + neighbourTableHeaderBytes, to, (type, valueFrom, valueTo) => {
    if (type === ndta.name) name = readText(bytes, valueFrom, valueTo)
    else if (type >= ndta.thresh1 && type <= ndta.thresh3)
      thresholds[type - ndta.thresh1] = readNumber(where, bytes, valueFrom, valueTo)
    else if (type === ndta.config) entries = readTableEntries(where, bytes, valueFrom, valueTo)
    else if (type === ndta.stats) [statsFrom, statsTo] = [valueFrom, valueTo]
  })
  if (name === undefined) throw missing(where, to, 'NDTA_NAME')
  const [gcThreshold1, gcThreshold2, gcThreshold3] = thresholds
  if (gcThreshold3 === undefined) return undefined
  return {
    name,
    entries,
    gcThreshold1,
    gcThreshold2,
    gcThreshold3,
    // struct ndt_stats
    resolutionFailures: readCounter(bytes, statsFrom, statsTo, 3),
    forcedGcRuns: readCounter(bytes, statsFrom, statsTo, 9),
    tableFulls: readCounter(bytes, statsFrom, statsTo, 10),
  }
}

/** struct ndt_config: two numbers of 16 bits, then ndtc_entries. */
function readTableEntries(where: string, bytes: Uint8Array, from: number, to: number): number {
  expectBytes(where, from, to, 8, 'struct ndt_config')
  return readU32(bytes, from + 4)
}

function readNumber(where: string, bytes: Uint8Array, from: number, to: number): number {
  expectBytes(where, from, to, 4, 'a number')
  return readU32(bytes, from)
}

function missing(where: string, at: number, attribute: string): ParseError {
  return new ParseError(where, 1, at + 1, attribute, '')
}
