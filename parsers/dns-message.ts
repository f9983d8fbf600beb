import { formatAddress } from './address.ts'
import { readNetworkU16 } from './netlink.ts'

/**
 * Why bytes are no DNS message. Words instead of errors: whoever can send packets can cause these as fast as he likes, and
 * making an Error costs many times what reading a message does.
 */
export const dnsFaults = [
  'short_header', // fewer than 12 bytes were sent
  'cut_header', // fewer than 12 bytes were captured of what was sent: nobody knows whether it was a message
  'early_end', // a name or a record goes on behind the end
  'label_type', // a length of 64 to 191
  'pointer', // not to what stands before it
  'long_name', // over 255 bytes
  'address_length', // an A record of other than 4 bytes, or AAAA of 16
] as const
export type DnsFault = (typeof dnsFaults)[number]

/** RFC 1035 section 4; EDNS, RFC 6891. */
export interface DnsMessage {
  readonly id: number
  readonly isResponse: boolean
  readonly opcode: number
  /** TC: the sender left something out, and may have stopped in the middle of a record. */
  readonly isTruncated: boolean
  /** With the upper 8 bits of EDNS, unless what holds them was cut off. */
  readonly rcode: number
  /**
   * The first question's name in lower case without the last dot; the root is ''. Bytes outside [!-~], and `\` and `.` inside
   * a label, are \DDD (RFC 1035 section 5.1): printable, at most 1,003 characters. The three are undefined without a question
   * and where it was cut off.
   */
  readonly name: string | undefined
  readonly queryType: number | undefined
  readonly queryClass: number | undefined
  /** As the header says. */
  readonly answerCount: number
  /** A and AAAA records among the answers. Undefined: not all answers are there. */
  readonly addressCount: number | undefined
  /** Fewer bytes were captured than sent. */
  readonly isCut: boolean
}

const headerBytes = 12
/** Of a record, behind its name: type, class, time to live, length of its data. */
const recordBytes = 10
const nameBytesMax = 255
/** Pointers have 14 bits; a name may end behind where the last of them can lead. */
const followedMax = (1 << 14) + nameBytesMax
const internet = 1
const typeA = 1
const typeAaaa = 28
const typeOpt = 41

/** Steps return the offset behind what they stepped over, or one of these. */
const earlyEnd = -1
const wrongLabel = -2
const wrongPointer = -3
const longName = -4
const wrongAddress = -5
const stepFaults = ['early_end', 'label_type', 'pointer', 'long_name', 'address_length'] as const
const isFault = (step: number): boolean => step < 0
const faultOf = (step: number): DnsFault => stepFaults[-1 - step]!

/**
 * The message in bytes[from] up to bytes[to - 1], of which `sentLength` bytes were sent: a payload of UDP, or of TCP without
 * its length. Bytes behind the last record are passed over. Names of records are looked at only for their form.
 */
export function readDnsMessage(bytes: Uint8Array, from: number, to: number, sentLength = to - from): DnsMessage | DnsFault {
  const isCut = sentLength > to - from
  if (to - from < headerBytes) return isCut ? 'cut_header' : 'short_header'
  const flags = readNetworkU16(bytes, from + 2)
  const message: Written = {
    id: readNetworkU16(bytes, from),
    isResponse: flags >> 15 === 1,
    opcode: (flags >> 11) & 0xf,
    isTruncated: (flags & 0x200) !== 0,
    rcode: flags & 0xf,
    name: undefined,
    queryType: undefined,
    queryClass: undefined,
    answerCount: readNetworkU16(bytes, from + 6),
    addressCount: undefined,
    isCut,
  }
  forgetNames()
  const end = readSections(bytes, from, to, message)
  if (!isFault(end)) return message
  // What was cut off, or left out by the sender behind the question, is no fault of the message.
  const mayEnd = isCut || (message.isTruncated && message.name !== undefined)
  return end === earlyEnd && mayEnd ? message : faultOf(end)
}

/** Addresses as text of the A and AAAA records among the answers of a message that readDnsMessage took: the first `max`. */
export function readDnsAddresses(bytes: Uint8Array, from: number, to: number, max: number): string[] {
  const addresses: string[] = []
  forgetNames()
  let at = from + headerBytes
  for (let left = readNetworkU16(bytes, from + 4); left > 0 && !isFault(at); left--) at = stepOverQuestion(bytes, from, at, to)
  for (let left = readNetworkU16(bytes, from + 6); left > 0 && !isFault(at) && addresses.length < max; left--) {
    const dataAt = stepToData(bytes, from, at, to)
    if (isFault(dataAt)) break
    at = dataAt + readNetworkU16(bytes, dataAt - 2)
    if (addressBytes(bytes, dataAt) !== 0) addresses.push(formatAddress(bytes.subarray(dataAt, at)))
  }
  return addresses
}

type Written = { -readonly [K in keyof DnsMessage]: DnsMessage[K] }

/** Fills in what stands behind the header. Returns the end, or the step's fault; what was whole until then is filled in. */
function readSections(bytes: Uint8Array, from: number, to: number, message: Written): number {
  const questionCount = readNetworkU16(bytes, from + 4)
  const authorityCount = readNetworkU16(bytes, from + 8)
  const additionalCount = readNetworkU16(bytes, from + 10)
  let at = from + headerBytes
  for (let i = 0; i < questionCount; i++) {
    at = stepOverQuestion(bytes, from, at, to)
    if (isFault(at)) return at
    if (i > 0) continue
    message.name = formatName(bytes, from + headerBytes)
    message.queryType = readNetworkU16(bytes, at - 4)
    message.queryClass = readNetworkU16(bytes, at - 2)
  }

  let addressCount = 0
  for (let i = 0; i < message.answerCount; i++) {
    const dataAt = stepToData(bytes, from, at, to)
    if (isFault(dataAt)) return dataAt
    const length = readNetworkU16(bytes, dataAt - 2)
    const expected = addressBytes(bytes, dataAt)
    if (expected !== 0) {
      if (length !== expected) return wrongAddress
      addressCount++
    }
    at = dataAt + length
  }
  message.addressCount = addressCount

  for (let i = 0; i < authorityCount; i++) {
    const dataAt = stepToData(bytes, from, at, to)
    if (isFault(dataAt)) return dataAt
    at = dataAt + readNetworkU16(bytes, dataAt - 2)
  }

  let hasOpt = false
  for (let i = 0; i < additionalCount; i++) {
    const dataAt = stepToData(bytes, from, at, to)
    if (isFault(dataAt)) return dataAt
    if (!hasOpt && readNetworkU16(bytes, dataAt - recordBytes) === typeOpt) {
      hasOpt = true
      message.rcode |= bytes[dataAt - 6]! << 4 // the first byte of what is the time to live of others
    }
    at = dataAt + readNetworkU16(bytes, dataAt - 2)
  }
  return at
}

function stepOverQuestion(bytes: Uint8Array, from: number, at: number, to: number): number {
  const end = stepOverName(bytes, from, at, to)
  if (isFault(end)) return end
  return end + 4 > to ? earlyEnd : end + 4
}

/** Over a record's name and fixed part, to its data, which is there as a whole. */
function stepToData(bytes: Uint8Array, from: number, at: number, to: number): number {
  const end = stepOverName(bytes, from, at, to)
  if (isFault(end)) return end
  const dataAt = end + recordBytes
  return dataAt > to || dataAt + readNetworkU16(bytes, dataAt - 2) > to ? earlyEnd : dataAt
}

/** What the data of an internet address takes; 0 of all other records. */
function addressBytes(bytes: Uint8Array, dataAt: number): number {
  if (readNetworkU16(bytes, dataAt - 8) !== internet) return 0
  const type = readNetworkU16(bytes, dataAt - recordBytes)
  if (type === typeA) return 4
  return type === typeAaaa ? 16 : 0
}

/** Over a name (RFC 1035 section 4.1.4) whose pointers lead to a name that ends. */
function stepOverName(bytes: Uint8Array, from: number, nameAt: number, to: number): number {
  for (let at = nameAt; at < to; ) {
    const byte = bytes[at]!
    if (byte === 0) return at + 1
    if (byte >= 0xc0) {
      if (at + 2 > to) return earlyEnd
      const target = from + (readNetworkU16(bytes, at) & 0x3fff)
      // The first name was stepped over before: nothing to see where it is the whole of this one, as usual.
      if (at === nameAt && target === from + headerBytes && target < nameAt) return at + 2
      const rest = followName(bytes, from, target, nameAt, to)
      if (isFault(rest)) return rest
      return at - nameAt + rest > nameBytesMax ? longName : at + 2
    }
    if (byte >= 0x40) return wrongLabel
    at += byte + 1
    if (at - nameAt >= nameBytesMax) return longName // without the byte 0 at its end
  }
  return earlyEnd
}

/**
 * What is known of names that were followed, by their offset in the message: `messageNumber` in the upper 24 bits and their
 * length, and where their first pointer leads, 0 without one. Each byte is followed once a message, however many names
 * lead to it, so that the work is never more than linear.
 */
const followed = new Uint32Array(followedMax)
const followedTo = new Uint16Array(followedMax)
let messageNumber = 0

/** Before another message. */
function forgetNames(): void {
  messageNumber++
  if (messageNumber < 1 << 24) return
  messageNumber = 1
  followed.fill(0)
}

/** Labels and pointers on the way, by their offset in the message, and the length of what came before each. */
const wayAt = new Uint16Array(followedMax)
const wayLength = new Uint8Array(followedMax)

/**
 * The length of the name that a pointer leads to, or a fault. A pointer must lead to before the part of the name at whose end
 * it is, here from `partAt` on, and behind the header: so there are no loops.
 */
function followName(bytes: Uint8Array, from: number, target: number, partAt: number, to: number): number {
  let length = 0
  let steps = 0
  if (target >= partAt || target < from + headerBytes) return wrongPointer
  let partFrom = target
  for (let at = target; at < to; ) {
    const known = followed[at - from]!
    const byte = bytes[at]!
    if (byte === 0 || known >>> 8 === messageNumber) {
      if (byte !== 0 && from + followedTo[at - from]! >= partFrom) return wrongPointer
      length += byte === 0 ? 1 : known & 0xff
      if (length > nameBytesMax) return longName
      rememberWay(bytes, from, steps, length, byte === 0 ? 0 : followedTo[at - from]!)
      return length
    }
    wayAt[steps] = at - from
    wayLength[steps] = length
    steps++
    if (byte >= 0xc0) {
      if (at + 2 > to) return earlyEnd
      at = from + (readNetworkU16(bytes, at) & 0x3fff)
      if (at >= partFrom || at < from + headerBytes) return wrongPointer
      partFrom = at
    } else if (byte >= 0x40) {
      return wrongLabel
    } else {
      at += byte + 1
      length += byte + 1
      if (length >= nameBytesMax) return longName
    }
  }
  return earlyEnd
}

/** Of a name of `length` that was followed in `steps`, and whose first pointer behind them leads to `followingTo`. */
function rememberWay(bytes: Uint8Array, from: number, steps: number, length: number, followingTo: number): void {
  let leadsTo = followingTo
  for (let i = steps - 1; i >= 0; i--) {
    const at = wayAt[i]!
    if (bytes[from + at]! >= 0xc0) leadsTo = readNetworkU16(bytes, from + at) & 0x3fff
    followed[at] = (messageNumber << 8) | (length - wayLength[i]!)
    followedTo[at] = leadsTo
  }
}

/** A printable character in lower case as its code; 0: is escaped. */
const plainCodes = new Uint8Array(256)
for (let code = 0x21; code <= 0x7e; code++) plainCodes[code] = String.fromCharCode(code).toLowerCase().charCodeAt(0)
const dot = 0x2e
const backslash = 0x5c
const zero = 0x30
plainCodes[dot] = 0
plainCodes[backslash] = 0

/** The codes of one name at a time. An array that is used again is the fastest way to a string. */
const codes: number[] = []

/** Of a first question's name that was stepped over: it has no pointers, for nothing stands before it. */
function formatName(bytes: Uint8Array, nameAt: number): string {
  let length = 0
  for (let at = nameAt; bytes[at] !== 0; ) {
    if (length > 0) codes[length++] = dot
    const end = at + 1 + bytes[at]!
    for (at++; at < end; at++) {
      const byte = bytes[at]!
      const plain = plainCodes[byte]!
      if (plain !== 0) {
        codes[length++] = plain
        continue
      }
      codes[length++] = backslash
      codes[length++] = zero + Math.floor(byte / 100)
      codes[length++] = zero + (Math.floor(byte / 10) % 10)
      codes[length++] = zero + (byte % 10)
    }
  }
  codes.length = length
  return String.fromCharCode.apply(undefined, codes)
}

/** The words of IANA's registry of record types, in lower case; left out: what was never used or is long gone. */
const typeNames = new Map<number, string>([
  [typeA, 'a'],
  [2, 'ns'],
  [5, 'cname'],
  [6, 'soa'],
  [10, 'null'],
  [12, 'ptr'],
  [13, 'hinfo'],
  [15, 'mx'],
  [16, 'txt'],
  [17, 'rp'],
  [18, 'afsdb'],
  [24, 'sig'],
  [25, 'key'],
  [typeAaaa, 'aaaa'],
  [29, 'loc'],
  [33, 'srv'],
  [35, 'naptr'],
  [36, 'kx'],
  [37, 'cert'],
  [39, 'dname'],
  [typeOpt, 'opt'],
  [42, 'apl'],
  [43, 'ds'],
  [44, 'sshfp'],
  [45, 'ipseckey'],
  [46, 'rrsig'],
  [47, 'nsec'],
  [48, 'dnskey'],
  [49, 'dhcid'],
  [50, 'nsec3'],
  [51, 'nsec3param'],
  [52, 'tlsa'],
  [53, 'smimea'],
  [55, 'hip'],
  [59, 'cds'],
  [60, 'cdnskey'],
  [61, 'openpgpkey'],
  [62, 'csync'],
  [63, 'zonemd'],
  [64, 'svcb'],
  [65, 'https'],
  [99, 'spf'],
  [108, 'eui48'],
  [109, 'eui64'],
  [249, 'tkey'],
  [250, 'tsig'],
  [251, 'ixfr'],
  [252, 'axfr'],
  [255, 'any'],
  [256, 'uri'],
  [257, 'caa'],
  [32768, 'ta'],
  [32769, 'dlv'],
])

/** 28 → aaaa. */
export function dnsTypeName(type: number): string | undefined {
  return typeNames.get(type)
}

/** The words of IANA's registry of response codes, in lower case. 12 to 15 are nobody's; 16 is badsig where TSIG says it. */
const rcodeNames: readonly (string | undefined)[] = [
  ...['noerror', 'formerr', 'servfail', 'nxdomain', 'notimp', 'refused', 'yxdomain', 'yxrrset', 'nxrrset', 'notauth', 'notzone'],
  ...['dsotypeni', undefined, undefined, undefined, undefined],
  ...['badvers', 'badkey', 'badtime', 'badmode', 'badname', 'badalg', 'badtrunc', 'badcookie'],
]

/** 3 → nxdomain. */
export function dnsRcodeName(rcode: number): string | undefined {
  return rcodeNames[rcode]
}
