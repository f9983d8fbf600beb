import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createDnsTransactions, type DnsTransaction, isFailure, isSearchedOn } from '../../../agent/capture/dns-transactions.ts'
import { dnsPlaces } from '../../../agent/capture/places.ts'
import type { Point, Sighting } from '../../../agent/capture/sighting.ts'
import { limits } from '../../../agent/limits.ts'
import { queryTypes, responseCodes } from '../../../agent/metrics/labels.ts'
import type { DnsMessage } from '../../../parsers/dns-message.ts'

const host = 1
const [a, b, dnsPod] = [2, 3, 4]
const addresses: Readonly<Record<string, number>> = { HOST: host, 'HOST-B': host, 'POD-A': a, 'POD-B': b, 'POD-D': dnsPod }
const service = 'SVC.'
const world = 'WRLD'

type Place = Omit<Point, 'identification'>

// Where a packet is seen: from a pod at its veth, at the bridge, leaving by the bridge, leaving by a veth.
const atVeth: Place = { packetType: 3, ttl: 64 }
const atBridge: Place = { packetType: 0, ttl: 64 }
const onward: Place = { packetType: 4, ttl: 63 }
const ownSent: Place = { packetType: 4, ttl: 64 }

type Ends = Pick<Sighting, 'source' | 'sourcePort' | 'destination' | 'destinationPort'>

interface Leg {
  readonly from: string
  readonly to: string
  readonly point: Place
  readonly port?: number
}

/** Each call of `query` and `answer` is one packet, seen at each leg; without numbers it is as with IPv6. */
function start({ isNumbered = true } = {}) {
  const told: DnsTransaction[] = []
  const dns = createDnsTransactions({
    subjectOf: (address) => addresses[address],
    isHost: (subject) => subject === host,
    onTransaction: (transaction) => told.push(transaction),
  })
  const message = (options: Partial<DnsMessage>): DnsMessage => ({
    id: 7,
    isResponse: false,
    opcode: 0,
    isTruncated: false,
    rcode: 0,
    name: 'example.com',
    queryType: 1,
    queryClass: 1,
    answerCount: 0,
    addressCount: 0,
    isCut: false,
    ...options,
  })
  let timeMs = 1_000_000
  let packets = 0
  const takeAll = (legs: readonly Leg[], toSighting: (leg: Required<Leg>) => Ends, about: DnsMessage): void => {
    const identification = isNumbered ? ++packets & 0xffff : 0
    for (const leg of legs) {
      timeMs += 0.01
      const ends = toSighting({ port: 40_000, ...leg })
      dns.take(about, { isTcp: false, ...ends, point: { ...leg.point, identification }, timeMs })
    }
  }
  return {
    dns,
    told,
    pass: (ms: number) => void (timeMs += ms),
    now: () => timeMs,
    query(legs: readonly Leg[], options: Partial<DnsMessage> = {}) {
      const ends = ({ from, to, port }: Required<Leg>) => ({
        source: from,
        sourcePort: port,
        destination: to,
        destinationPort: 53,
      })
      takeAll(legs, ends, message(options))
    },
    answer(legs: readonly Leg[], options: Partial<DnsMessage> = {}) {
      const ends = ({ from, to, port }: Required<Leg>) => ({
        source: from,
        sourcePort: 53,
        destination: to,
        destinationPort: port,
      })
      takeAll(legs, ends, message({ isResponse: true, ...options }))
    },
    expire(ms = 0) {
      timeMs += ms
      dns.expire(timeMs)
    },
    /** What is not 0, in words. */
    counts(subject: number): Readonly<Record<string, number>> {
      const values = dns.counts.get(subject) ?? new Float64Array(dnsPlaces.size)
      const blocks = { queries: queryTypes, responses: responseCodes, served: responseCodes } as const
      const words: [string, number | undefined][] = Object.entries(blocks).flatMap(([block, names]) =>
        names.map((name, i): [string, number | undefined] => [
          `${block} ${name}`,
          values[dnsPlaces[block as keyof typeof blocks] + i],
        ]),
      )
      for (const single of ['unanswered', 'truncated', 'addresses', 'searches'] as const)
        words.push([single, values[dnsPlaces[single]]])
      const durations = values.subarray(dnsPlaces.durations, dnsPlaces.size)
      words.push(['durations', durations.reduce((sum, count) => sum + count, 0)])
      return Object.fromEntries(words.filter(([, value]) => value !== 0)) as Record<string, number>
    },
  }
}

const askedAndAnswered = { 'queries A': 1, 'responses NOERROR': 1, durations: 1 }

describe('each transaction once', () => {
  it('a pod asks a Service: its packets cross veths and a bridge, and are translated', () => {
    const { query, answer, counts, told, expire, dns } = start()
    query([
      { from: 'POD-A', to: service, point: atVeth },
      { from: 'POD-A', to: service, point: atBridge },
      { from: 'POD-A', to: 'POD-D', point: onward },
      { from: 'POD-A', to: 'POD-D', point: onward },
    ])
    answer([
      { from: 'POD-D', to: 'POD-A', point: atVeth },
      { from: 'POD-D', to: 'POD-A', point: atBridge },
      { from: service, to: 'POD-A', point: onward },
      { from: service, to: 'POD-A', point: onward },
    ])
    expire(10_000)
    expect(counts(a)).toEqual(askedAndAnswered)
    expect(counts(dnsPod)).toEqual({ 'served NOERROR': 1 })
    expect(dns.unmatched).toBe(0)
    expect(told).toHaveLength(1)
    expect(told[0]).toMatchObject({ subject: a, client: 'POD-A', server: service, id: 7, name: 'example.com' })
  })

  it.each([true, false])(
    'host to pod under the address of its bridge, which takes that out of the answer; numbered: %s',
    (isNumbered) => {
      const { query, answer, counts, dns } = start({ isNumbered })
      for (const id of [1, 2]) {
        const asked = { from: 'HOST-B', to: 'POD-D', point: ownSent }
        query([asked, asked], { id })
        answer(
          [
            { from: 'POD-D', to: 'HOST-B', point: atVeth },
            { from: 'POD-D', to: 'HOST', point: atBridge, port: 50_000 },
          ],
          { id },
        )
      }
      expect(counts(host)).toEqual({ 'queries A': 2, 'responses NOERROR': 2, durations: 2 })
      expect(counts(dnsPod)).toEqual({ 'served NOERROR': 2 })
      expect(dns.unmatched).toBe(0)
    },
  )

  it('a pod asks the world, and the host puts its own address in', () => {
    const { query, answer, counts, expire, dns } = start()
    query([
      { from: 'POD-A', to: world, point: atVeth },
      { from: 'POD-A', to: world, point: atBridge },
      { from: 'HOST', to: world, point: onward, port: 61_000 },
    ])
    answer([
      { from: world, to: 'HOST', point: { packetType: 0, ttl: 55 }, port: 61_000 },
      { from: world, to: 'POD-A', point: { packetType: 4, ttl: 54 } },
      { from: world, to: 'POD-A', point: { packetType: 4, ttl: 54 } },
    ])
    expire(10_000)
    expect(counts(a)).toEqual(askedAndAnswered)
    expect(counts(host)).toEqual({})
    expect(dns.unmatched).toBe(0)
  })

  it.each([true, false])('the host asks the same at the same time: its packet says so (numbered: %s)', (isNumbered) => {
    const { query, answer, counts } = start({ isNumbered })
    query([{ from: 'POD-A', to: 'HOST', point: atVeth }])
    query([{ from: 'HOST', to: world, point: ownSent, port: 50_000 }])
    answer([{ from: world, to: 'HOST', point: { packetType: 0, ttl: 55 }, port: 50_000 }])
    expect(counts(host)).toEqual(askedAndAnswered)
    expect(counts(a)).toEqual({ 'queries A': 1 })
  })

  it.each([true, false])(
    'a pod asks a Service that leads to its own bridge, which takes no hop away (numbered: %s)',
    (isNumbered) => {
      const { query, answer, counts, expire } = start({ isNumbered })
      query([
        { from: 'POD-A', to: service, point: atVeth },
        { from: 'POD-A', to: 'POD-D', point: ownSent },
        { from: 'HOST', to: 'POD-D', point: ownSent },
      ])
      answer([
        { from: 'POD-D', to: 'HOST', point: atVeth },
        { from: 'POD-D', to: 'POD-A', point: ownSent },
        { from: service, to: 'POD-A', point: ownSent },
      ])
      expire(10_000)
      expect([counts(a), counts(host)]).toEqual([askedAndAnswered, {}])
      expect(counts(dnsPod)).toEqual({ 'served NOERROR': 1 })
    },
  )

  it('somebody elsewhere asks a pod of this machine: only that it was served is told', () => {
    const { query, answer, counts } = start()
    query([
      { from: world, to: 'POD-D', point: { packetType: 0, ttl: 60 } },
      { from: world, to: 'POD-D', point: { packetType: 4, ttl: 59 } },
    ])
    answer([
      { from: 'POD-D', to: world, point: atVeth },
      { from: 'POD-D', to: world, point: onward },
    ])
    expect(counts(dnsPod)).toEqual({ 'served NOERROR': 1 })
  })

  it('an answer by way of a cache on the host, which asks on', () => {
    const { query, answer, counts } = start()
    query([{ from: 'POD-A', to: 'HOST', point: atVeth }])
    query([{ from: 'HOST', to: 'POD-D', point: ownSent, port: 50_000 }], { id: 99 })
    answer([{ from: 'POD-D', to: 'HOST', point: atVeth, port: 50_000 }], { id: 99 })
    answer([{ from: 'HOST', to: 'POD-A', point: ownSent }])
    expect(counts(a)).toEqual(askedAndAnswered)
    expect(counts(host)).toEqual({ ...askedAndAnswered, 'served NOERROR': 1 })
    expect(counts(dnsPod)).toEqual({ 'served NOERROR': 1 })
  })

  it('whatever order and number of sightings: one', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(atVeth, atBridge, onward), { minLength: 0, maxLength: 6 }),
        fc.array(fc.constantFrom(atVeth, atBridge, onward), { minLength: 1, maxLength: 6 }),
        fc.boolean(),
        (more, answers, isNumbered) => {
          const { query, answer, counts } = start({ isNumbered })
          query([atVeth, ...more].map((point) => ({ from: 'POD-A', to: service, point })))
          answer(answers.map((point) => ({ from: 'POD-D', to: 'POD-A', point })))
          expect(counts(a)).toEqual(askedAndAnswered)
          expect(counts(dnsPod)).toEqual({ 'served NOERROR': 1 })
        },
      ),
    )
  })
})

describe('again, late, never', () => {
  const ask: readonly Leg[] = [
    { from: 'POD-A', to: service, point: atVeth },
    { from: 'POD-A', to: 'POD-D', point: onward },
  ]
  const reply: readonly Leg[] = [
    { from: 'POD-D', to: 'POD-A', point: atVeth },
    { from: service, to: 'POD-A', point: onward },
  ]

  it('the same query after its answer is another', () => {
    const { query, answer, counts } = start()
    for (let i = 0; i < 3; i++) {
      query(ask)
      answer(reply)
    }
    expect(counts(a)).toEqual({ 'queries A': 3, 'responses NOERROR': 3, durations: 3 })
    expect(counts(dnsPod)).toEqual({ 'served NOERROR': 3 })
  })

  it('sent again a second later and answered once: two queries, one of them unanswered, and the time the client waited', () => {
    const { query, answer, counts, pass, expire, told } = start()
    query(ask)
    pass(1000)
    query(ask)
    answer(reply)
    expire(6000)
    expect(counts(a)).toEqual({ 'queries A': 2, 'responses NOERROR': 1, durations: 1, unanswered: 1 })
    expect(told[0]!.durationMs).toBeCloseTo(1000, 0)
    expect(told[1]!.durationMs).toBeUndefined()
  })

  it('sent again, and both answered by a server that was slow', () => {
    const { query, answer, counts, pass, expire } = start()
    query(ask)
    pass(1000)
    query(ask)
    answer(reply)
    answer(reply)
    expire(6000)
    expect(counts(a)).toEqual({ 'queries A': 2, 'responses NOERROR': 2, durations: 2 })
    expect(counts(dnsPod)).toEqual({ 'served NOERROR': 2 })
  })

  it('unanswered after five seconds; what comes then answers nobody', () => {
    const { query, answer, counts, expire, dns } = start()
    query(ask)
    expire(limits.dnsAnswerMs - 10)
    expect(counts(a)).toEqual({ 'queries A': 1 })
    expire(20)
    expect(counts(a)).toEqual({ 'queries A': 1, unanswered: 1 })
    expire(1)
    answer(reply)
    expect(counts(a)).toEqual({ 'queries A': 1, unanswered: 1 })
    expect(counts(dnsPod)).toEqual({ 'served NOERROR': 1 })
    expect(dns.unmatched).toBe(1)
  })

  it('an answer tells itself that it is too late, whenever it is looked who waits', () => {
    const { query, answer, counts, pass, expire, dns } = start()
    query(ask)
    pass(limits.dnsAnswerMs + 1)
    answer(reply)
    expire()
    expect(counts(a)).toEqual({ 'queries A': 1, unanswered: 1 })
    expect(dns.unmatched).toBe(1)
  })

  it('one that asks on and on keeps nobody from being given up', () => {
    const { query, counts, pass, expire } = start()
    query([{ from: 'POD-B', to: service, point: atVeth }])
    for (let i = 0; i < 8; i++) {
      query([{ from: 'POD-A', to: service, point: atVeth }])
      pass(900)
      expire()
    }
    expect(counts(b)).toEqual({ 'queries A': 1, unanswered: 1 })
    expire(10_000)
    expect(counts(a)).toEqual({ 'queries A': 8, unanswered: 8 })
  })

  it('two questions under one id and port are two', () => {
    const { query, answer, counts } = start()
    query(ask)
    query(ask, { queryType: 28 })
    answer(reply, { queryType: 28, rcode: 3 })
    answer(reply)
    expect(counts(a)).toEqual({
      'queries A': 1,
      'queries AAAA': 1,
      'responses NOERROR': 1,
      'responses NXDOMAIN': 1,
      durations: 2,
    })
  })

  it('many questions under one id and port, whichever is answered and forgotten first', () => {
    const { query, answer, expire, counts } = start()
    const names = Array.from({ length: 20 }, (_, i) => `n${i}.example.com`)
    for (const name of names) query(ask, { name })
    for (const i of [0, 19, 10]) answer(reply, { name: names[i] })
    expire(1000) // these three are forgotten, the last, the first and one between
    for (const i of [18, 1, 9, 11]) answer(reply, { name: names[i], rcode: 3 })
    answer(reply.slice(0, 1), { name: undefined, queryType: undefined, rcode: 1 })
    expire(10_000)
    expect(counts(a)).toMatchObject({
      'queries A': 20,
      'responses NOERROR': 3,
      'responses NXDOMAIN': 4,
      'responses FORMERR': 1,
      unanswered: 12,
    })
  })

  it('an answer without a question is of the query that waits', () => {
    const { query, answer, counts } = start()
    query(ask)
    answer(reply, { name: undefined, queryType: undefined, rcode: 1 })
    expect(counts(a)).toMatchObject({ 'responses FORMERR': 1 })
  })

  it('another name, id or port answers nothing', () => {
    const { query, answer, counts, dns } = start()
    query(ask)
    answer(reply.slice(0, 1), { name: 'example.org' })
    answer(reply.slice(0, 1), { id: 8 })
    answer([{ from: 'POD-D', to: 'POD-A', point: atVeth, port: 40_001 }])
    expect(counts(a)).toEqual({ 'queries A': 1 })
    expect(dns.unmatched).toBe(3)
  })

  it('notifications and updates are no queries', () => {
    const { query, counts } = start()
    query(ask, { opcode: 4 })
    query(ask, { opcode: 5 })
    expect(counts(a)).toEqual({})
  })
})

it('truncated answers, addresses, unknown types and codes', () => {
  const { query, answer, counts } = start()
  const leg = { from: 'POD-A', to: service, point: atVeth }
  query([leg], { queryType: 65_400 })
  answer([{ from: service, to: 'POD-A', point: onward }], { queryType: 65_400, rcode: 23, isTruncated: true, addressCount: 5 })
  expect(counts(a)).toEqual({ 'queries other': 1, 'responses other': 1, truncated: 1, addresses: 5, durations: 1 })
})

it('tells failures and slow answers from the others', () => {
  const { query, answer, told, pass, expire } = start()
  const leg = { from: 'POD-A', to: service, point: atVeth }
  const reply = { from: service, to: 'POD-A', point: onward }
  query([leg])
  answer([reply])
  query([leg])
  pass(limits.dnsSlowMs + 1)
  answer([reply])
  query([leg])
  answer([reply], { rcode: 2 })
  query([leg])
  expire(6000)
  expect(told.map(isFailure)).toEqual([false, true, true, true])
})

describe('search lists', () => {
  it.each([
    ['api.web.svc.cluster.local', 'api.svc.cluster.local', true],
    ['api.svc.cluster.local', 'api.cluster.local', true],
    ['api.cluster.local', 'api', true],
    ['www.example.com.web.svc.cluster.local', 'www.example.com.svc.cluster.local', true],
    ['www.example.com.a.test', 'www.example.com', true],
    ['www.example.com', 'www.example.com', false],
    ['api.web.svc.cluster.local', 'web.svc.cluster.local', false],
    ['api.web.svc.cluster.local', 'db.svc.cluster.local', false],
    ['api', 'api.cluster.local', false],
    ['a.b', '', false],
  ])('%s, then %s: %s', (failed, next, expected) => expect(isSearchedOn(failed, next)).toBe(expected))

  it.each([
    [['.web.svc.cluster.local', '.svc.cluster.local', '.cluster.local', '']],
    [['.a.test', '.b.test', '.longer.test', '']],
  ])('counts the queries that only the list has made, of each type: %j', (suffixes) => {
    const { query, answer, counts } = start()
    suffixes.forEach((suffix, i) => {
      for (const queryType of [1, 28]) {
        const about = { name: `www.example.com${suffix}`, queryType, id: 10 * i + queryType }
        query([{ from: 'POD-A', to: service, point: atVeth }], about)
        answer([{ from: service, to: 'POD-A', point: onward }], { ...about, rcode: suffix === '' ? 0 : 3 })
      }
    })
    expect(counts(a)).toMatchObject({ 'queries A': 4, 'queries AAAA': 4, 'responses NXDOMAIN': 6, searches: 6 })
  })

  it('of many names at once', () => {
    const { query, answer, counts } = start()
    const names = Array.from({ length: 100 }, (_, id) => [`name${id}.example.com`, id] as const)
    for (const suffix of ['.a.test', '.b.test', '']) {
      for (const [name, id] of names) query([{ from: 'POD-A', to: service, point: atVeth }], { name: name + suffix, id })
      for (const [name, id] of names)
        answer([{ from: service, to: 'POD-A', point: onward }], { name: name + suffix, id, rcode: suffix === '' ? 0 : 3 })
    }
    expect(counts(a)).toMatchObject({ 'queries A': 300, searches: 200 })
  })

  it('who asks for another name a while later does not go on in a list', () => {
    const { query, answer, counts, pass } = start()
    query([{ from: 'POD-A', to: service, point: atVeth }], { name: 'www.old.example.com', id: 1 })
    answer([{ from: service, to: 'POD-A', point: onward }], { name: 'www.old.example.com', id: 1, rcode: 3 })
    pass(limits.dnsSearchMs + 1)
    query([{ from: 'POD-A', to: service, point: atVeth }], { name: 'www.example.com', id: 2 })
    expect(counts(a)).not.toHaveProperty('searches')
  })

  it('a name that is nowhere is not one', () => {
    const { query, answer, counts } = start()
    for (let i = 0; i < 3; i++) {
      query([{ from: 'POD-A', to: service, point: atVeth }], { name: 'nowhere.example.com', id: i })
      answer([{ from: service, to: 'POD-A', point: onward }], { name: 'nowhere.example.com', id: i, rcode: 3 })
    }
    expect(counts(a)).toMatchObject({ 'responses NXDOMAIN': 3 })
    expect(counts(a)).not.toHaveProperty('searches')
  })
})

describe('bounds', () => {
  it('a flood from elsewhere, or of one pod, leaves room for the others, and what is not followed is counted', () => {
    const { query, answer, counts, dns, expire } = start()
    for (let i = 0; i < limits.dnsTransactions; i++)
      query([{ from: world, to: 'POD-D', point: atBridge, port: i & 0xffff }], { id: i >> 4 })
    query([{ from: 'POD-A', to: service, point: atVeth }])
    answer([{ from: service, to: 'POD-A', point: onward }])
    expect(counts(a)).toEqual(askedAndAnswered)
    for (let i = 0; i < limits.dnsTransactions; i++)
      query([{ from: 'POD-B', to: service, point: atVeth, port: i & 0xffff }], { id: 1000 + (i >> 4) })
    expect(counts(b)).toEqual({ 'queries A': limits.dnsTransactions })
    query([{ from: 'HOST', to: service, point: ownSent }])
    answer([{ from: service, to: 'HOST', point: atVeth }])
    expect(counts(host)).toEqual(askedAndAnswered)
    expect(dns.notFollowed).toBe(limits.dnsTransactions / 2)
    expire(10_000)
    expect(counts(b).unanswered).toBe(limits.dnsTransactions - dns.notFollowed)
    query([{ from: 'POD-A', to: service, point: atVeth }])
    answer([{ from: service, to: 'POD-A', point: onward }])
    expect(counts(a)).toMatchObject({ 'queries A': 2, 'responses NOERROR': 2 })
  })

  it.each([true, false])('what is not followed counts once too, however many devices it crosses; numbered: %s', (isNumbered) => {
    const { query, counts, dns } = start({ isNumbered })
    const followed = limits.dnsTransactions / 2
    for (let i = 0; i < followed + 1000; i++) {
      const leg = { from: 'POD-A', to: world, port: i & 0xffff }
      const sentOn = { from: 'HOST', to: world, point: onward, port: 1 + (i & 0xffff) }
      query([{ ...leg, point: atVeth }, { ...leg, point: atBridge }, ...(isNumbered ? [sentOn] : [])], { id: i >> 4 })
    }
    expect(counts(a)).toEqual({ 'queries A': followed + 1000 })
    expect(counts(host)).toEqual({})
    expect(dns.notFollowed).toBe(1000)
  })

  it('more tries than are remembered are unanswered', () => {
    const { query, pass, counts, expire } = start()
    for (let i = 0; i < limits.dnsTries + 3; i++) {
      query([{ from: 'POD-A', to: service, point: atVeth }])
      pass(100)
    }
    expect(counts(a)).toEqual({ 'queries A': limits.dnsTries + 3, unanswered: 3 })
    expire(10_000)
    expect(counts(a)).toMatchObject({ unanswered: limits.dnsTries + 3 })
  })

  it('forgets a subject', () => {
    const { query, dns } = start()
    query([{ from: 'POD-A', to: service, point: atVeth }])
    dns.forget(a)
    expect(dns.counts.has(a)).toBe(false)
  })
})
