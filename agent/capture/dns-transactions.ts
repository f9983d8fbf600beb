import { type DnsMessage, dnsTypeName } from '../../parsers/dns-message.ts'
import { limits } from '../limits.ts'
import { queryTypes, responseCodes } from '../metrics/labels.ts'
import { durationPlace } from './durations.ts'
import { dnsPlaces } from './places.ts'
import { createSightings, isSeenAgain, outgoing, type Point, passageMs, type Sighting } from './sighting.ts'

/** A query with its answer, or without. */
export interface DnsTransaction {
  /** When the query was first seen. */
  readonly startMs: number
  /** undefined: unanswered. */
  readonly durationMs: number | undefined
  readonly subject: number
  readonly isTcp: boolean
  /** Addresses are latin1 of their bytes. */
  readonly client: string
  readonly clientPort: number
  /** Whom the client asked: of a Service its own address. */
  readonly server: string
  readonly serverPort: number
  readonly id: number
  readonly name: string
  readonly queryType: number
  readonly answer: DnsMessage | undefined
}

export interface DnsOptions {
  /** Whose address it is, given as latin1 of its bytes. undefined: nobody's of this machine. */
  subjectOf(address: string): number | undefined
  /** Whether packets of others may leave under its addresses: it is the machine itself. */
  isHost(subject: number): boolean
  /** Of subjects of this machine that asked. */
  onTransaction?(transaction: DnsTransaction): void
}

export interface DnsTransactions {
  take(message: DnsMessage, sighting: Sighting): void
  /** Gives up waiting. To be called a few times a second. */
  expire(nowMs: number): void
  /** By subject, as dnsPlaces tells. */
  readonly counts: ReadonlyMap<number, Float64Array>
  /** What was counted of it, which it is not kept any longer. */
  forget(subject: number): void
  /** Answers to what nobody was seen to ask. */
  readonly unmatched: number
  /** Queries counted whose answers could not be waited for, because there are too many. */
  readonly notFollowed: number
}

/** A query sent once or, by the same socket with the same id, again; under the address and port it came from. */
interface Pending {
  readonly client: string
  readonly clientPort: number
  readonly subject: number | undefined
  readonly isTcp: boolean
  readonly server: string
  readonly serverPort: number
  readonly id: number
  readonly name: string
  readonly queryType: number
  /** Where it was first seen; of one that was sent again, the last. */
  query: Point
  /** When those were sent that have no answer yet. */
  waiting: number[]
  readonly insertedMs: number
  lastQueryMs: number
  answer: Point | undefined
  lastAnswerMs: number
  /** Who has been counted to serve it. */
  servers: number[]
  /** With the same address, port and id: asked before and after it. */
  older: Pending | undefined
  newer: Pending | undefined
}

interface NotFound {
  readonly name: string
  readonly timeMs: number
}

/**
 * Each query with its answer exactly once, wherever it is seen.
 *
 * A transaction goes by the client's address, port and id, and by the question: neither the translation of a Service's
 * address nor the way through bridges changes these. A query seen again before its answer is the same packet elsewhere,
 * unless it is where it was first seen: then the client has sent it again. After an answer, it is a new one. What the
 * machine sends on for a pod under its own address (masquerading) is known by its question and by what it says of itself.
 */
export function createDnsTransactions(options: DnsOptions): DnsTransactions {
  const { subjectOf, isHost, onTransaction } = options
  const counts = new Map<number, Float64Array>()
  /** By who asks, as keyOf tells, and what. */
  const table = new Map<string, Pending>()
  /** By who asks: the last question. */
  const last = new Map<string, Pending>()
  /** Under another address: of masqueraded ones, the key of theirs. */
  const aliases = new Map<string, { readonly pending: Pending; readonly untilMs: number }>()
  /** Questions that were asked just now, for finding those that were masqueraded. */
  const asked = new Map<string, Pending>()
  /** Of each subject: names that were not found just now, by client, type and first label. */
  const searches = new Map<number, Map<string, NotFound[]>>()
  /** How many are followed of each subject, and of all others. */
  const followed = new Map<number | undefined, number>()
  /** Answers that are nobody's, and those to the host. */
  const answers = createSightings(limits.captureSightings)
  /** Queries that there was no room for. */
  const unfollowed = createSightings(limits.captureSightings)
  let size = 0
  let unmatched = 0
  let notFollowed = 0

  function countsOf(subject: number): Float64Array {
    let values = counts.get(subject)
    if (values === undefined) counts.set(subject, (values = new Float64Array(dnsPlaces.size)))
    return values
  }
  const add = (subject: number, place: number, amount = 1): void => {
    const values = countsOf(subject)
    values[place] = values[place]! + amount
  }

  function takeQuery(message: DnsMessage, sighting: Sighting): void {
    const { id, name, queryType } = message
    if (name === undefined || queryType === undefined) return
    const { source: client, sourcePort: clientPort, point, timeMs } = sighting
    const key = keyOf(client, clientPort, id)
    const own = find(key, name, queryType)
    const known = own ?? findAlias(key, name, queryType, timeMs)
    if (known !== undefined && known.waiting.length > 0) {
      if (!isSeenAgain(known.query, point, known.lastQueryMs, timeMs)) return
      known.waiting.push(timeMs)
      known.query = point
      known.lastQueryMs = timeMs
      countQuery(known.subject, client, name, queryType, timeMs)
      if (known.waiting.length > limits.dnsTries) giveUp(known)
      return
    }
    const packet = `${String.fromCharCode(point.identification)}${point.identification === 0 ? key : ''}${askedOf(id, name, queryType)}`
    if (unfollowed.isKnown(packet, point, timeMs)) return
    const subject = subjectOf(client)
    if (subject !== undefined && isHost(subject) && (point.packetType ?? outgoing) === outgoing) {
      const masqueraded = asked.get(askedOf(id, name, queryType))
      if (masqueraded !== undefined && isSentOn(masqueraded, point) && timeMs - masqueraded.lastQueryMs < passageMs) {
        if (aliases.size < limits.dnsTransactions)
          aliases.set(key, { pending: masqueraded, untilMs: timeMs + limits.dnsAnswerMs })
        return
      }
    }
    if (own !== undefined) remove(own)
    // Nobody floods the others out.
    const share = limits.dnsTransactions / (subject === undefined ? 4 : 2)
    if (size >= limits.dnsTransactions || (followed.get(subject) ?? 0) >= share) {
      if (subject === undefined) return
      unfollowed.remember(packet, point, timeMs)
      countQuery(subject, client, name, queryType, timeMs)
      notFollowed++
      return
    }
    countQuery(subject, client, name, queryType, timeMs)
    const pending: Pending = {
      client,
      clientPort,
      subject,
      isTcp: sighting.isTcp,
      server: sighting.destination,
      serverPort: sighting.destinationPort,
      id,
      name,
      queryType,
      query: point,
      waiting: [timeMs],
      insertedMs: timeMs,
      lastQueryMs: timeMs,
      answer: undefined,
      lastAnswerMs: 0,
      servers: [],
      older: undefined,
      newer: undefined,
    }
    insert(pending)
    if (subject !== undefined) asked.set(askedOf(id, name, queryType), pending)
  }

  /** The host's packet is the pod's, with the host's address in it. */
  function isSentOn({ query, server }: Pending, point: Point): boolean {
    if (query.identification !== 0 && point.identification !== 0) return query.identification === point.identification
    if (point.ttl === query.ttl - 1) return true
    // A bridge translates without taking a hop away; a cache on the host that asks on is asked under the host's address.
    const asked = subjectOf(server)
    return point.ttl === query.ttl && (asked === undefined || !isHost(asked))
  }

  function takeResponse(message: DnsMessage, sighting: Sighting): void {
    const { destination: client, point, timeMs } = sighting
    const key = keyOf(client, sighting.destinationPort, message.id)
    const { name, queryType } = message
    const found = find(key, name, queryType) ?? findAlias(key, name, queryType, timeMs)
    if (found !== undefined) giveUpLate(found, timeMs)
    if (found === undefined || (found.waiting.length === 0 && found.answer === undefined)) {
      takeStray(message, sighting)
      return
    }
    const code = codePlace(message.rcode)
    const isNew = found.answer === undefined || isSeenAgain(found.answer, point, found.lastAnswerMs, timeMs)
    // A bridge puts the address that the host asked from into what comes to its own.
    if (found.subject !== undefined && isHost(found.subject)) answers.remember(contentOf(message, point), point, timeMs)
    const server = subjectOf(sighting.source)
    if (server !== undefined && (isNew || !found.servers.includes(server))) {
      // Of a pod that answers under several addresses, or a Service's, only its own tells who it is.
      if (isNew) found.servers = []
      found.servers.push(server)
      add(server, dnsPlaces.served + code)
    }
    if (!isNew || found.waiting.length === 0) return
    const startMs = found.waiting.shift()!
    found.answer = point
    found.lastAnswerMs = timeMs
    if (found.subject === undefined) return
    const durationMs = Math.max(0, timeMs - startMs)
    add(found.subject, dnsPlaces.responses + code)
    add(found.subject, dnsPlaces.durations + durationPlace(durationMs))
    add(found.subject, dnsPlaces.microseconds, Math.round(durationMs * 1000))
    if (message.isTruncated) add(found.subject, dnsPlaces.truncated)
    if (message.addressCount !== undefined) add(found.subject, dnsPlaces.addresses, message.addressCount)
    if (message.rcode === NXDOMAIN) rememberSearch(found.subject, found, timeMs)
    onTransaction?.(tell(found, found.subject, startMs, durationMs, message))
  }

  function takeStray(message: DnsMessage, { source, destination, point, timeMs }: Sighting): void {
    if (!answers.isNew(contentOf(message, point), point, timeMs)) return
    const server = subjectOf(source)
    if (server !== undefined) add(server, dnsPlaces.served + codePlace(message.rcode))
    if (subjectOf(destination) !== undefined) unmatched++
  }

  function giveUpLate(pending: Pending, nowMs: number): void {
    while (pending.waiting.length > 0 && pending.waiting[0]! <= nowMs - limits.dnsAnswerMs) giveUp(pending)
  }

  function giveUp(pending: Pending): void {
    const startMs = pending.waiting.shift()!
    if (pending.subject === undefined) return
    add(pending.subject, dnsPlaces.unanswered)
    onTransaction?.(tell(pending, pending.subject, startMs, undefined, undefined))
  }

  function countQuery(subject: number | undefined, client: string, name: string, queryType: number, timeMs: number): void {
    if (subject === undefined) return
    add(subject, dnsPlaces.queries + typePlace(queryType))
    const beginning = beginningOf(client, name, queryType)
    const failed = searches.get(subject)?.get(beginning)
    if (failed === undefined) return
    const young = failed.filter((one) => timeMs - one.timeMs <= limits.dnsSearchMs)
    const left = young.filter((one) => !isSearchedOn(one.name, name))
    add(subject, dnsPlaces.searches, young.length - left.length)
    if (left.length === 0) searches.get(subject)!.delete(beginning)
    else searches.get(subject)!.set(beginning, left)
  }

  function rememberSearch(subject: number, { client, name, queryType }: Pending, timeMs: number): void {
    let failed = searches.get(subject)
    if (failed === undefined) searches.set(subject, (failed = new Map()))
    const beginning = beginningOf(client, name, queryType)
    const names = failed.get(beginning) ?? []
    names.push({ name, timeMs })
    if (names.length > limits.dnsSearchNames) names.shift()
    failed.delete(beginning) // what has come last is to be last
    failed.set(beginning, names)
    if (failed.size > limits.dnsSearches) failed.delete(failed.keys().next().value!)
  }

  /** A response without a question answers one of the last that wait. */
  function find(key: string, name: string | undefined, queryType: number | undefined): Pending | undefined {
    if (name !== undefined) return table.get(key + questionOf(name, queryType))
    let one = last.get(key)
    for (let tries = 0; one !== undefined && one.waiting.length === 0; one = one.older)
      if (++tries === limits.dnsUnnamed) return undefined
    return one
  }

  function findAlias(key: string, name: string | undefined, queryType: number | undefined, timeMs: number): Pending | undefined {
    const alias = aliases.get(key)
    if (alias === undefined || alias.untilMs < timeMs) return undefined
    const { pending } = alias
    const isIt = name === undefined ? pending.waiting.length > 0 : pending.name === name && pending.queryType === queryType
    return isIt ? pending : undefined
  }

  function insert(pending: Pending): void {
    const key = keyOf(pending.client, pending.clientPort, pending.id)
    pending.older = last.get(key)
    if (pending.older !== undefined) pending.older.newer = pending
    last.set(key, pending)
    table.set(key + questionOf(pending.name, pending.queryType), pending)
    size++
    followed.set(pending.subject, (followed.get(pending.subject) ?? 0) + 1)
  }

  function remove(gone: Pending): void {
    const key = keyOf(gone.client, gone.clientPort, gone.id)
    if (!table.delete(key + questionOf(gone.name, gone.queryType))) return
    if (gone.older !== undefined) gone.older.newer = gone.newer
    if (gone.newer !== undefined) gone.newer.older = gone.older
    else if (gone.older !== undefined) last.set(key, gone.older)
    else last.delete(key)
    size--
    followed.set(gone.subject, followed.get(gone.subject)! - 1)
    if (followed.get(gone.subject) === 0) followed.delete(gone.subject)
    const question = askedOf(gone.id, gone.name, gone.queryType)
    if (asked.get(question) === gone) asked.delete(question)
  }

  function tell(
    { isTcp, client, clientPort, server, serverPort, id, name, queryType }: Pending,
    subject: number,
    startMs: number,
    durationMs: number | undefined,
    answer: DnsTransaction['answer'],
  ): DnsTransaction {
    return { startMs, durationMs, subject, isTcp, client, clientPort, server, serverPort, id, name, queryType, answer }
  }

  return {
    counts,
    take(message, sighting) {
      if (message.opcode !== QUERY) return
      if (message.isResponse) takeResponse(message, sighting)
      else takeQuery(message, sighting)
    },
    expire(nowMs) {
      for (const one of table.values()) {
        if (one.insertedMs > nowMs - limits.dnsAnsweredMs) break // those behind it are younger
        giveUpLate(one, nowMs)
        if (one.waiting.length === 0 && Math.max(one.lastAnswerMs, one.lastQueryMs) <= nowMs - limits.dnsAnsweredMs) remove(one)
      }
      for (const [key, { untilMs }] of aliases) {
        if (untilMs > nowMs) break
        aliases.delete(key)
      }
    },
    forget(subject) {
      counts.delete(subject)
    },
    get unmatched() {
      return unmatched
    },
    get notFollowed() {
      return notFollowed
    },
  }
}

/** Without an answer, with one that is an error, or slow. */
export function isFailure({ answer, durationMs }: DnsTransaction): boolean {
  return answer === undefined || answer.rcode !== 0 || (durationMs ?? 0) > limits.dnsSlowMs
}

const QUERY = 0
const NXDOMAIN = 3

const keyOf = (address: string, port: number, id: number): string => address + String.fromCharCode(port, id)
const beginningOf = (client: string, name: string, queryType: number): string =>
  client + String.fromCharCode(queryType) + name.split('.', 1)[0]
const contentOf = ({ id, name = '', queryType = 0 }: DnsMessage, { identification }: Point): string =>
  String.fromCharCode(identification) + askedOf(id, name, queryType)
const questionOf = (name: string, queryType = 0): string => String.fromCharCode(queryType) + name
const askedOf = (id: number, name: string, queryType: number): string => String.fromCharCode(id) + questionOf(name, queryType)

const otherType = queryTypes.indexOf('other')
const placesOfTypes = new Map<number, number>()
for (let type = 0; type < 256; type++) {
  const place = (queryTypes as readonly string[]).indexOf(dnsTypeName(type)?.toUpperCase() ?? '')
  if (place >= 0) placesOfTypes.set(type, place)
}
const typePlace = (type: number): number => placesOfTypes.get(type) ?? otherType
const otherCode = responseCodes.indexOf('other')
const codePlace = (rcode: number): number => Math.min(rcode, otherCode)

/** Whether the second name is the first one with another suffix of a search list, or with none: a.b.svc.cluster.local, a.b. */
export function isSearchedOn(failed: string, next: string): boolean {
  if (next.length >= failed.length || next === '') return false
  const [failedLabels, nextLabels] = [failed.split('.'), next.split('.')]
  let same = 0
  while (same < nextLabels.length && nextLabels[same] === failedLabels[same]) same++
  if (same === 0) return false
  let end = 0
  while (
    end < nextLabels.length - same &&
    nextLabels[nextLabels.length - 1 - end] === failedLabels[failedLabels.length - 1 - end]
  )
    end++
  return same + end === nextLabels.length
}
