import { describe, expect, it } from 'vitest'
import { createHttpRequests, type HttpTransaction, isHttpFailure } from '../../../agent/capture/http-requests.ts'
import { httpPlaces } from '../../../agent/capture/places.ts'
import type { TcpConnection } from '../../../agent/capture/tcp-streams.ts'
import { limits } from '../../../agent/limits.ts'
import { httpDirections, httpMethods, httpStatuses } from '../../../agent/metrics/labels.ts'

const host = Uint8Array.of(192, 168, 0, 1)
const podA = Uint8Array.of(10, 0, 0, 1)
const podB = Uint8Array.of(10, 0, 0, 2)
const service = Uint8Array.of(10, 96, 0, 1)
const world = Uint8Array.of(203, 0, 113, 9)
const subjects = new Map([host, podA, podB].map((address, i) => [address.join('.'), i + 1]))
const [ofHost, a, b] = [1, 2, 3]

function start() {
  const told: HttpTransaction[] = []
  const http = createHttpRequests({
    subjectOf: (address) => subjects.get(address.join('.')),
    isHost: (subject) => subject === ofHost,
    onTransaction: (transaction) => told.push(transaction),
  })
  let timeMs = 1000
  return {
    http,
    told,
    pass: (ms: number) => void (timeMs += ms),
    open(
      clientAddress: Uint8Array,
      serverAddress: Uint8Array,
      { clientPort = 40_000, sequence = 77 as number | undefined, isAsked = true } = {},
    ) {
      const isSeenFromStart = sequence !== undefined
      const connection: TcpConnection = { family: 4, clientAddress, serverAddress, clientPort, serverPort: 80, isSeenFromStart }
      const handlers = http.open(connection, sequence, isAsked, timeMs)
      const say = (side: 'client' | 'server', text: string): void => {
        const bytes = Buffer.from(text, 'latin1')
        timeMs += 1
        handlers.onBytes(side, bytes, 0, bytes.length, timeMs)
      }
      return {
        say,
        exchange(path = '/', status = 200, method = 'GET') {
          say('client', `${method} ${path} HTTP/1.1\r\nHost: shop\r\n\r\n`)
          say('server', `HTTP/1.1 ${status} X\r\nContent-Length: 0\r\n\r\n`)
        },
        end: () => handlers.onEnd(timeMs, 'closed'),
      }
    },
    counts(subject: number): Readonly<Record<string, number>> {
      const values = http.counts.get(subject) ?? new Float64Array(httpPlaces.size)
      const words = httpDirections.flatMap((direction, i) => {
        const block = values.subarray(i * httpPlaces.direction, (i + 1) * httpPlaces.direction)
        const answered = httpMethods.flatMap((method, row) =>
          httpStatuses.map((status, j): [string, number] => [
            `${direction} ${method} ${status}`,
            block[httpPlaces.answered + row * httpStatuses.length + j]!,
          ]),
        )
        const durations = block.subarray(httpPlaces.durations).reduce((sum, count) => sum + count, 0)
        return [
          ...answered,
          [`${direction} unanswered`, block[httpPlaces.unanswered]!],
          [`${direction} durations`, durations],
        ] as [string, number][]
      })
      return Object.fromEntries(words.filter(([, value]) => value !== 0))
    },
  }
}

describe('each request once for who asked and once for who was asked', () => {
  it('through a Service: two flows of one connection', () => {
    const { open, counts, told } = start()
    const flows = [open(podA, service), open(podA, podB)]
    for (const flow of flows) flow.exchange('/cart?token=secret', 503)
    for (const flow of flows) flow.end()
    expect(counts(a)).toEqual({ 'out GET 503': 1, 'out durations': 1 })
    expect(counts(b)).toEqual({ 'in GET 503': 1, 'in durations': 1 })
    expect(told.map(({ subject, isClient, path, status }) => [subject, isClient, path, status])).toEqual([
      [a, true, '/cart', 503],
    ])
  })

  it('through a Service, with nothing to be read: one connection', () => {
    const { open, http } = start()
    const flows = [open(podA, service), open(podA, podB)]
    for (const flow of flows) flow.say('client', '\x16\x03\x01\x00\x05hello')
    for (const flow of flows) flow.end()
    open(podA, world, { clientPort: 1 }).say('client', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
    expect(http.unreadable).toEqual({ tls: 1, h2: 1, upgraded: 0, other: 0 })
  })

  it('masqueraded: the host is not the client', () => {
    const { open, counts } = start()
    for (const flow of [open(podA, world), open(host, world, { clientPort: 61_000 })]) flow.exchange()
    expect(counts(a)).toEqual({ 'out GET 200': 1, 'out durations': 1 })
    expect(counts(ofHost)).toEqual({})
  })

  it('through a Service, masqueraded: what is seen in part between the two translations misses nothing', () => {
    const { open, counts, http } = start()
    const flows = [open(podA, service), open(podA, podB), open(host, podB), open(podA, podB, { isAsked: false })]
    for (const flow of [flows[0]!, flows[2]!]) flow.say('client', 'GET / HTTP/1.1\r\n\r\n')
    for (const flow of flows) flow.say('server', 'HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n')
    for (const flow of flows) flow.end()
    expect([a, b, ofHost].map(counts)).toEqual([
      { 'out GET 404': 1, 'out durations': 1 },
      { 'in GET 404': 1, 'in durations': 1 },
      {},
    ])
    expect(http.parsed).toMatchObject({ losses: 0, unpairedResponses: 0 })
  })

  it('two connections that began with the same number by chance are two', () => {
    const { open, counts, pass } = start()
    open(podA, world).exchange()
    open(podB, world).exchange()
    pass(1000)
    open(host, world).exchange()
    expect([a, b, ofHost].map((subject) => counts(subject)['out GET 200'])).toEqual([1, 1, 1])
  })

  it('one that was there before, by the address and port of its client', () => {
    const { open, counts } = start()
    for (const flow of [open(podA, service, { sequence: undefined }), open(podA, podB, { sequence: undefined })]) flow.exchange()
    expect([counts(a)['out GET 200'], counts(b)['in GET 200']]).toEqual([1, 1])
  })

  it('of a pod with itself, in and out', () => {
    const { open, counts } = start()
    open(podA, podA).exchange('/', 204, 'DELETE')
    expect(counts(a)).toMatchObject({ 'out DELETE 204': 1, 'in DELETE 204': 1 })
  })

  it('from elsewhere: who was asked', () => {
    const { open, counts, told } = start()
    open(world, podB).exchange('/', 418, 'BREW')
    expect(counts(b)).toEqual({ 'in other other': 1, 'in durations': 1 })
    expect(told.map(({ subject, isClient }) => [subject, isClient])).toEqual([[b, false]])
  })

  it('of others is not looked at', () => {
    const { open, http } = start()
    open(world, service).exchange()
    expect([...http.counts.keys(), http.parsed.requests]).toEqual([0])
  })

  it('the same ports again, after the connection has ended', () => {
    const { open, counts } = start()
    for (let i = 0; i < 3; i++) {
      const flow = open(podA, world)
      flow.exchange()
      flow.end()
    }
    expect(counts(a)).toMatchObject({ 'out GET 200': 3 })
  })
})

it('unanswered: the connection ended, or too long ago', () => {
  const { open, counts, http, pass, told } = start()
  const flow = open(podA, world)
  flow.say('client', 'GET /slow HTTP/1.1\r\n\r\n')
  http.expire(1000 + limits.httpAnswerMs)
  expect(counts(a)).toEqual({})
  pass(limits.httpAnswerMs + 10)
  http.expire(1020 + limits.httpAnswerMs)
  expect(counts(a)).toEqual({ 'out unanswered': 1 })
  const other = open(podB, world, { sequence: 5 })
  other.say('client', 'GET / HTTP/1.1\r\n\r\n')
  other.end()
  expect(counts(b)).toEqual({ 'out unanswered': 1 })
  expect(told.map(isHttpFailure)).toEqual([true, true])
  http.forget(a)
  expect(counts(a)).toEqual({})
})
