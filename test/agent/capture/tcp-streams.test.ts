import { readFileSync } from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createTcpStreams, type Side, type TcpStreamOptions } from '../../../agent/capture/tcp-streams.ts'
import { createPacketHeaders, readPacketHeaders } from '../../../parsers/packet-headers.ts'
import { createPcapReader } from '../../../parsers/pcap-file.ts'
import { ipv4, ipv6, tcp } from '../../parsers/built-packets.ts'

const [fin, syn, rst, ack] = [1, 2, 4, 16]
const addresses = { client: [10, 0, 0, 1], server: [10, 0, 0, 2] }
const other = { client: 'server', server: 'client' } as const

interface Sent {
  sequence: number
  acknowledgement?: number
  flags?: number
  payload?: readonly number[]
  /** Not captured, at the end of the payload. */
  cut?: number
  timeMs?: number
  clientPort?: number
  serverPort?: number
  isIpv6?: boolean
}

/** What one connection was told: of each side the bytes, with undefined for each that is missing; and how it ended. */
interface Seen {
  client: (number | undefined)[]
  server: (number | undefined)[]
  /** The same as calls: `client "abc"`, `server gap 5`. */
  calls: string[]
  times: { client: number[]; server: number[] }
  ends: [string, number][]
  isSeenFromStart: boolean
  clientAddress: string
  clientPort: number
  serverPort: number
}

function watch(options: Partial<TcpStreamOptions> = {}) {
  const seen: Seen[] = []
  const streams = createTcpStreams({
    isServerPort: (port) => port === 80 || port === 8080,
    onOpen(connection) {
      const one: Seen = {
        client: [],
        server: [],
        calls: [],
        times: { client: [], server: [] },
        ends: [],
        isSeenFromStart: connection.isSeenFromStart,
        clientAddress: connection.clientAddress.join('.'),
        clientPort: connection.clientPort,
        serverPort: connection.serverPort,
      }
      seen.push(one)
      const expectLive = () => {
        if (one.ends.length > 0) throw new Error('told after its end')
      }
      return {
        onBytes(side, bytes, from, to, timeMs) {
          expectLive()
          if (to <= from) throw new Error('told of nothing')
          one[side].push(...bytes.subarray(from, to))
          one.times[side].push(timeMs)
          one.calls.push(`${side} "${Buffer.from(bytes.subarray(from, to)).toString('latin1')}"`)
        },
        onGap(side, count, timeMs) {
          expectLive()
          if (count <= 0) throw new Error('a gap of nothing')
          for (let i = 0; i < Math.min(count, 10_000); i++) one[side].push(undefined)
          one.times[side].push(timeMs)
          one.calls.push(`${side} gap ${count}`)
        },
        onEnd(timeMs, how) {
          expectLive()
          one.ends.push([how, timeMs])
        },
      }
    },
    ...options,
  })
  const headers = createPacketHeaders()
  let nowMs = 1000
  function send(from: Side, sent: Sent): void {
    const {
      sequence,
      acknowledgement = 0,
      flags = ack,
      payload = [],
      cut = 0,
      clientPort = 40_000,
      serverPort = 80,
      isIpv6,
    } = sent
    nowMs = sent.timeMs ?? nowMs + 1
    const ports = { client: clientPort, server: serverPort }
    const fields = { sourcePort: ports[from], destinationPort: ports[other[from]], flags }
    const segment = tcp({ ...fields, sequence: sequence >>> 0, acknowledgement: acknowledgement >>> 0 }, payload)
    const long = (address: readonly number[]) => [0xfd, ...Array(11).fill(0), ...address]
    const [source, destination] = [addresses[from], addresses[other[from]]]
    const packet = isIpv6
      ? ipv6({ source: long(source), destination: long(destination), protocol: 6 }, segment)
      : ipv4({ source, destination, protocol: 6 }, segment)
    // A Buffer, as a capture hands them out: it is used again for the next packet.
    const bytes = Buffer.from(packet)
    const fault = readPacketHeaders(bytes, 0, packet.length - cut, packet.length, 101, headers)
    if (fault !== undefined) throw new Error(fault)
    streams.take(bytes, headers, nowMs)
    bytes.fill(0xee)
  }
  return { seen, streams, send, now: () => nowMs }
}

const text = (value: string): number[] => [...Buffer.from(value, 'latin1')]

/** A connection with both SYNs seen; numbers are counted from the byte behind them. */
function connect(options: Partial<TcpStreamOptions> = {}, isn = { client: 1000, server: 5000 }) {
  const watched = watch(options)
  const send = (from: Side, at: number, payload: string, more: Omit<Partial<Sent>, 'payload'> = {}) =>
    watched.send(from, {
      ...more,
      sequence: isn[from] + 1 + at,
      acknowledgement: isn[other[from]] + 1 + (more.acknowledgement ?? 0),
      payload: text(payload),
    })
  watched.send('client', { sequence: isn.client, flags: syn })
  watched.send('server', { sequence: isn.server, acknowledgement: isn.client + 1, flags: syn | ack })
  return { ...watched, send, raw: watched.send, one: watched.seen[0]! }
}

describe('a connection', () => {
  it('is told with its ends, and what each side sent', () => {
    const { send, seen, one, streams } = connect()
    send('client', 0, '')
    send('client', 0, 'GET')
    send('server', 0, 'OK', { acknowledgement: 3 })
    send('client', 3, 'more', { acknowledgement: 2 })
    expect(one).toMatchObject({
      calls: ['client "GET"', 'server "OK"', 'client "more"'],
      isSeenFromStart: true,
      clientAddress: '10.0.0.1',
      clientPort: 40_000,
      serverPort: 80,
      ends: [],
    })
    expect([seen.length, streams.size]).toEqual([1, 1])
    expect(streams.counts).toMatchObject({ connections: 1, midstream: 0, duplicates: 0, reordered: 0, gaps: 0, strays: 0 })
  })
  it('is told of IPv6 too, apart from IPv4 and other ports', () => {
    const { send, seen } = watch()
    for (const more of [{}, { isIpv6: true }, { clientPort: 40_001 }, { serverPort: 8080 }, { isIpv6: true, serverPort: 8080 }])
      for (const sequence of [7, 8]) send('client', { sequence, payload: [sequence], ...more })
    expect(seen.map(({ client }) => client)).toEqual(Array(5).fill([7, 8]))
  })
  it('ends when both sides have sent all, and its last packets, seen once more, open no new one', () => {
    const { send, one, seen, streams } = connect()
    const last = () => {
      send('client', 0, 'GET', { flags: ack | fin })
      send('server', 0, 'OK', { acknowledgement: 4, flags: ack | fin })
      send('client', 4, '', { acknowledgement: 3 })
    }
    last()
    last()
    expect(one).toMatchObject({ calls: ['client "GET"', 'server "OK"'], ends: [['closed', 1004]] })
    expect([seen.length, streams.size]).toEqual([1, 0])
  })
  it('lasts while one side has not sent all', () => {
    const { send, one } = connect()
    send('client', 0, 'GET', { flags: ack | fin })
    send('server', 0, 'a long ', { acknowledgement: 4 })
    send('server', 7, 'answer', { acknowledgement: 4 })
    expect(one).toMatchObject({ calls: ['client "GET"', 'server "a long "', 'server "answer"'], ends: [] })
  })
  it('ends with RST, unless that is of another connection with the same ports', () => {
    const { send, one } = connect()
    send('client', 0, 'GET')
    send('server', 0x2000_0000, '', { flags: rst })
    expect(one.ends).toEqual([])
    send('server', 0, '', { flags: rst | ack })
    expect(one.ends).toEqual([['reset', 1005]])
  })
  it('is refused: an end, with RST in answer to SYN', () => {
    const { send, seen } = watch()
    send('client', { sequence: 1000, flags: syn })
    send('server', { sequence: 0, acknowledgement: 1001, flags: rst | ack })
    expect(seen.map(({ ends }) => ends)).toEqual([[['reset', 1002]]])
  })
  it('is another with another SYN on the same ports', () => {
    const { send, raw, seen } = connect()
    send('client', 0, 'GET')
    raw('client', { sequence: 77_000, flags: syn })
    raw('server', { sequence: 99_000, acknowledgement: 77_001, flags: syn | ack })
    raw('client', { sequence: 77_001, acknowledgement: 99_001, payload: text('PUT') })
    expect(seen.map(({ calls, ends }) => [calls, ends])).toEqual([
      [['client "GET"'], [['reused', 1004]]],
      [['client "PUT"'], []],
    ])
  })
  it('is another with another SYN in answer, whose question was not captured', () => {
    const { send, raw, seen } = connect()
    send('client', 0, 'GET')
    raw('server', { sequence: 99_000, acknowledgement: 77_001, flags: syn | ack })
    raw('client', { sequence: 77_001, acknowledgement: 99_001, payload: text('PUT') })
    expect(seen.map(({ calls }) => calls)).toEqual([['client "GET"'], ['client "PUT"']])
  })
  it('is another after its end, at once', () => {
    const { send, raw, seen } = connect()
    send('client', 0, '', { flags: rst })
    raw('server', { sequence: 3, flags: syn })
    expect(seen).toHaveLength(2)
    expect(seen[1]).toMatchObject({ clientAddress: '10.0.0.2', clientPort: 80, serverPort: 40_000 })
  })
  it('is the same when its SYNs are seen again, also after its data', () => {
    const { send, raw, seen, one } = connect()
    send('client', 0, 'GET')
    raw('client', { sequence: 1000, flags: syn })
    raw('server', { sequence: 5000, acknowledgement: 1001, flags: syn | ack })
    send('client', 3, '!')
    expect([seen.length, one.calls]).toEqual([1, ['client "GET"', 'client "!"']])
  })
  it('is the same when the server answers SYN once more with another number', () => {
    const { raw, seen, one } = connect()
    raw('server', { sequence: 8000, acknowledgement: 1001, flags: syn | ack })
    raw('server', { sequence: 8001, acknowledgement: 1001, payload: text('OK') })
    expect([seen.length, one.calls]).toEqual([1, ['server "OK"']])
  })
  it('is the same when its SYN is seen after the answer to it', () => {
    const { send, seen } = watch()
    send('server', { sequence: 5000, acknowledgement: 1001, flags: syn | ack })
    send('client', { sequence: 1000, flags: syn })
    send('client', { sequence: 1001, acknowledgement: 5001, payload: text('GET') })
    expect(seen).toHaveLength(1)
    expect(seen[0]).toMatchObject({ calls: ['client "GET"'], isSeenFromStart: true, clientPort: 40_000 })
  })
  it('may have the same port at both ends', () => {
    const { send, seen } = watch()
    const ports = { clientPort: 179, serverPort: 179 }
    send('client', { sequence: 1000, flags: syn, ...ports })
    send('server', { sequence: 5000, acknowledgement: 1001, flags: syn | ack, ...ports })
    send('server', { sequence: 5001, acknowledgement: 1001, payload: text('OPEN'), ...ports })
    send('client', { sequence: 1001, acknowledgement: 5005, payload: text('open'), ...ports })
    expect(seen.map(({ calls }) => calls)).toEqual([['server "OPEN"', 'client "open"']])
  })
  it('may carry data in its SYN (RFC 7413), which come again if the server did not take them', () => {
    const { send, seen } = watch()
    send('client', { sequence: 1000, flags: syn, payload: text('GET') })
    send('server', { sequence: 5000, acknowledgement: 1001, flags: syn | ack })
    send('client', { sequence: 1001, acknowledgement: 5001, payload: text('GET /') })
    expect(seen[0]?.calls).toEqual(['client "GET"', 'client " /"'])
  })
})

describe('a connection that was there before', () => {
  it.each([
    ['client', { clientPort: 40_000, serverPort: 80 }, 'client'],
    ['server', { clientPort: 40_000, serverPort: 80 }, 'server'],
    // Of two served ports the lower one.
    ['client', { clientPort: 8080, serverPort: 80 }, 'client'],
    ['client', { clientPort: 80, serverPort: 8080 }, 'server'],
  ] as const)('has a client by the served port: %s, %o', (from, ports, side) => {
    const { send, seen } = watch()
    send(from, { sequence: 7, payload: text('abc'), ...ports })
    expect(seen).toHaveLength(1)
    expect(seen[0]).toMatchObject({ calls: [`${side} "abc"`], isSeenFromStart: false })
  })
  it('is none without a served port, and not opened by what carries nothing', () => {
    const { send, seen, streams } = watch()
    send('client', { sequence: 7, payload: [1], serverPort: 81 })
    for (const flags of [ack, ack | fin, rst, rst | ack]) send('client', { sequence: 7, flags })
    send('client', { sequence: 7, flags: rst, payload: [1] })
    expect([seen.length, streams.counts.strays]).toEqual([0, 1])
  })
  it('knows by what the client has acknowledged that an answer was lost', () => {
    const { send, seen } = watch()
    send('client', { sequence: 7, acknowledgement: 100, payload: text('GET') })
    send('client', { sequence: 10, acknowledgement: 150, payload: text('GET') })
    send('server', { sequence: 150, acknowledgement: 13, payload: text('OK') })
    expect(seen[0]?.calls).toEqual(['client "GET"', 'server gap 50', 'client "GET"', 'server "OK"'])
  })
})

describe('segments', () => {
  it('are put in order, at the time when what was missing came', () => {
    const { send, one, streams } = connect()
    send('client', 3, 'def', { timeMs: 2000 })
    send('client', 9, 'j', { timeMs: 2001 })
    send('client', 6, 'ghi', { timeMs: 2002 })
    expect([one.calls, streams.heldBytes > 0]).toEqual([[], true])
    send('client', 0, 'abc', { timeMs: 2003 })
    expect(one.calls).toEqual(['client "abc"', 'client "def"', 'client "ghi"', 'client "j"'])
    expect(one.times.client).toEqual([2003, 2003, 2003, 2003])
    expect([streams.heldBytes, streams.counts.reordered, streams.counts.gaps]).toEqual([0, 3, 0])
  })
  it('have nothing new when they are seen again, whole, in part or with more', () => {
    const { send, one, streams } = connect()
    send('client', 0, 'abcd')
    send('client', 0, 'abcd')
    send('client', 1, 'bc')
    expect(streams.counts.duplicates).toBe(2)
    send('client', 2, 'cdef')
    send('client', 8, 'ij')
    send('client', 8, 'ij')
    send('client', 7, 'hijk')
    send('client', 6, 'gh')
    expect(Buffer.from(one.client as number[]).toString()).toBe('abcdefghijk')
    expect(streams.counts).toMatchObject({ duplicates: 3, reordered: 2, gapBytes: 0 })
  })
  it('are what was captured of them, then a gap', () => {
    const { send, one, streams } = connect()
    send('client', 0, 'abcdef', { cut: 2 })
    send('client', 6, 'g')
    send('client', 10, 'klmn', { cut: 4 })
    send('client', 7, 'hij')
    send('client', 14, 'o')
    expect(one.calls).toEqual(['client "abcd"', 'client gap 2', 'client "g"', 'client "hij"', 'client gap 4', 'client "o"'])
    expect(streams.counts).toMatchObject({ gaps: 0, gapBytes: 0, cutBytes: 6 })
  })
  it('are cut where they overlap with what was handed out', () => {
    const { send, one } = connect()
    send('client', 0, 'abcd')
    send('client', 2, 'cdefgh', { cut: 5 })
    send('client', 8, 'i')
    expect(one.calls).toEqual(['client "abcd"', 'client gap 4', 'client "i"'])
  })
  it('that keep a connection alive, or probe a closed window, are no data', () => {
    const { send, one } = connect()
    send('client', 0, 'abc')
    send('client', 2, '', { acknowledgement: 0 })
    send('client', 2, '\0')
    send('server', 0, '', { acknowledgement: 3 })
    // A probe of a closed window may carry the next byte, which comes again with those behind it.
    send('client', 3, 'd')
    send('client', 3, 'd')
    send('client', 3, 'def')
    expect(one.calls).toEqual(['client "abc"', 'client "d"', 'client "ef"'])
  })
})

describe('a hole', () => {
  it('that the receiver has acknowledged is a gap, at the time of what is behind it', () => {
    const { send, one, streams } = connect()
    send('client', 3, 'def', { timeMs: 2000 })
    send('server', 0, '', { acknowledgement: 6, timeMs: 2040 })
    expect(one.calls).toEqual(['client gap 3', 'client "def"'])
    expect([one.times.client, streams.counts.gaps, streams.counts.gapBytes]).toEqual([[2000, 2000], 1, 3])
  })
  it('is told before the answer to what is missing', () => {
    const { send, one } = connect()
    send('server', 0, 'OK', { acknowledgement: 20 })
    send('client', 10, 'too late')
    expect(one.calls).toEqual(['client gap 20', 'server "OK"'])
  })
  it('is a gap as far as it is acknowledged', () => {
    const { send, one } = connect()
    send('client', 10, 'k')
    send('server', 0, '', { acknowledgement: 4 })
    send('client', 2, 'cdefghij')
    expect(one.calls).toEqual(['client gap 4', 'client "efghij"', 'client "k"'])
  })
  it('of one byte may be a FIN that was not captured: it is a gap when there is more', () => {
    const { send, one } = connect()
    send('client', 0, 'abc')
    send('server', 0, 'OK', { acknowledgement: 4 })
    expect(one.calls).toEqual(['client "abc"', 'server "OK"'])
    send('client', 4, 'e')
    send('server', 2, '', { acknowledgement: 5 })
    expect(one.calls).toEqual(['client "abc"', 'server "OK"', 'client gap 1', 'client "e"'])
  })
  it('is none where the acknowledged byte is a FIN', () => {
    const { send, one } = connect()
    send('client', 1, 'bc', { flags: ack | fin })
    send('server', 0, '', { acknowledgement: 4, flags: ack | fin })
    expect(one).toMatchObject({ calls: ['client gap 1', 'client "bc"'], ends: [['closed', 1004]] })
  })
  it('is not closed by a FIN from before what was handed out', () => {
    const { send, one } = connect()
    send('client', 0, 'abcdef')
    send('client', 2, '', { flags: ack | fin })
    send('server', 0, '', { acknowledgement: 9 })
    expect(one.calls).toEqual(['client "abcdef"', 'client gap 3'])
  })
  it('is not what no window can hold', () => {
    const { send, one } = connect()
    send('server', 0, '', { acknowledgement: 0x4000_0001 })
    send('client', 0, 'abc')
    expect(one.calls).toEqual(['client "abc"'])
  })
  it('that nothing fills is a gap after a while', () => {
    const { send, one, streams } = connect({ holeMs: 100 })
    send('client', 3, 'def', { timeMs: 2000 })
    streams.expire(2100)
    expect(one.calls).toEqual([])
    streams.expire(2101)
    expect([one.calls, one.times.client, streams.heldBytes]).toEqual([['client gap 3', 'client "def"'], [2000, 2000], 0])
  })
  it('is a gap at the end of the connection', () => {
    const { send, one } = connect()
    send('client', 3, 'def')
    send('server', 5, 'x')
    send('server', 6, '', { flags: rst })
    expect(one).toMatchObject({ calls: ['client gap 3', 'client "def"', 'server gap 5', 'server "x"'], ends: [['reset', 1005]] })
  })
  it('is a gap when too much waits behind it', () => {
    const { send, one, streams } = connect({ outOfOrderBytesMax: 600 })
    send('client', 10, 'k')
    send('client', 20, 'u')
    send('client', 30, 'E')
    expect(one.calls).toEqual(['client gap 10', 'client "k"'])
    // What fits between two holes goes there, what is larger than all that may wait is handed out.
    send('client', 12, 'm'.repeat(500))
    expect(one.calls.slice(2)).toEqual(['client gap 1', `client "${'m'.repeat(500)}"`])
    expect(streams.heldBytes).toBe(0)
  })
  it('longer than any window is a gap too, not a segment that is old', () => {
    const { send, one, streams, now } = connect({ holeMs: 100 })
    send('client', 0, 'a')
    send('client', 0x9000_0000, 'z')
    streams.expire(now() + 101)
    expect(one.calls).toEqual(['client "a"', `client gap ${0x9000_0000 - 1}`, 'client "z"'])
  })
})

describe('bounds', () => {
  it('lets those that wait longest give way when all together hold too much', () => {
    const { send, seen, streams } = watch({ outOfOrderBytesTotalMax: 1000 })
    for (let i = 0; i < 4; i++) {
      send('client', { sequence: 1, payload: [i], clientPort: 1000 + i })
      send('client', { sequence: 3, payload: [i], clientPort: 1000 + i })
      expect(streams.heldBytes).toBeLessThanOrEqual(1000)
    }
    expect(seen.map(({ client }) => client)).toEqual([[0, undefined, 0], [1], [2], [3]])
  })
  it('knows who no longer waits', () => {
    const { send, seen } = watch({ outOfOrderBytesTotalMax: 500 })
    const [first, second] = [{ clientPort: 1 }, { clientPort: 2 }]
    for (const port of [first, second]) send('client', { sequence: 1, payload: [1], ...port })
    send('client', { sequence: 3, payload: [3], ...first })
    send('client', { sequence: 2, payload: [2], ...first })
    send('client', { sequence: 3, payload: [3], ...second })
    send('client', { sequence: 5, payload: [5], ...first })
    send('client', { sequence: 4, payload: [4], ...first })
    expect(seen.map(({ client }) => client)).toEqual([
      [1, 2, 3, 4, 5],
      [1, undefined, 3],
    ])
  })
  it('evicts who was silent longest, the ended first', () => {
    const { send, seen, streams } = watch({ connectionsMax: 3 })
    const open = (clientPort: number) => send('client', { sequence: 1, payload: [1], clientPort })
    const ended = () => seen.filter(({ ends }) => ends.length > 0).map(({ clientPort, ends }) => [clientPort, ends[0]![0]])
    for (const port of [1, 2, 3]) open(port)
    send('client', { sequence: 2, payload: [2], clientPort: 1 })
    send('client', { sequence: 2, flags: rst, clientPort: 3 })
    open(4)
    expect(ended()).toEqual([[3, 'reset']])
    open(5)
    open(6)
    expect(ended()).toEqual([
      [1, 'evicted'],
      [2, 'evicted'],
      [3, 'reset'],
    ])
    expect([streams.size, streams.counts.evicted, streams.counts.connections]).toEqual([3, 2, 6])
  })
  it('keeps who talks through a flood of SYNs', () => {
    const { send, seen, streams } = watch({ connectionsMax: 8 })
    const talk = (sequence: number) => {
      for (let clientPort = 1; clientPort <= 4; clientPort++) send('client', { sequence, payload: [sequence], clientPort })
    }
    talk(1)
    for (let clientPort = 100; clientPort < 200; clientPort++) {
      send('client', { sequence: 500, flags: syn, clientPort })
      send('server', { sequence: 900, acknowledgement: 501, flags: syn | ack, clientPort })
    }
    talk(2)
    expect(seen.slice(0, 4).map(({ client, ends }) => [client, ends])).toEqual(Array(4).fill([[1, 2], []]))
    expect([streams.size, streams.counts.evicted]).toEqual([8, 96])
  })
  it('lets a new connection in when all others are silent', () => {
    const { send, seen } = watch({ connectionsMax: 4 })
    for (let clientPort = 1; clientPort <= 4; clientPort++) send('client', { sequence: 1, payload: [1], clientPort })
    send('client', { sequence: 500, flags: syn, clientPort: 5 })
    send('client', { sequence: 500, flags: syn, clientPort: 6 })
    send('client', { sequence: 501, payload: [5], clientPort: 5 })
    expect(seen.filter(({ ends }) => ends.length > 0).map(({ clientPort }) => clientPort)).toEqual([1, 2])
    expect(seen[4]!.client).toEqual([5])
  })
  it('ends what is idle, and forgets the ended', () => {
    const { send, seen, streams } = watch({ idleMs: 100, lingerMs: 50 })
    send('client', { sequence: 1, payload: [1], timeMs: 1000 })
    send('client', { sequence: 1, payload: [1], timeMs: 1010, clientPort: 2 })
    streams.expire(1100)
    expect(streams.size).toBe(2)
    streams.expire(1101)
    expect([streams.size, seen[0]?.ends]).toEqual([1, [['idle', 1101]]])
    send('client', { sequence: 2, payload: [2], timeMs: 1102 })
    expect(seen).toHaveLength(2)
    streams.expire(1152)
    send('client', { sequence: 3, payload: [3], timeMs: 1153 })
    expect(seen.map(({ client }) => client)).toEqual([[1], [1], [3]])
  })
  it('finds each of many connections again, whatever comes and goes', () => {
    const step = fc.tuple(fc.integer({ min: 1, max: 200 }), fc.boolean())
    fc.assert(
      fc.property(fc.array(step, { minLength: 300, maxLength: 500 }), (steps) => {
        const { send, seen, streams } = watch({ connectionsMax: 64 })
        /** By port the next sequence number, the longest silent first. */
        const live = new Map<number, number>()
        steps.forEach(([clientPort, isReset], i) => {
          const known = live.get(clientPort)
          const sequence = known ?? i * 100_000
          live.delete(clientPort)
          if (isReset) send('client', { sequence, flags: rst, clientPort })
          else {
            const isNew = known === undefined
            if (isNew) send('client', { sequence, clientPort, flags: syn })
            send('client', { sequence: isNew ? sequence + 1 : sequence, payload: [clientPort], clientPort })
            live.set(clientPort, sequence + (known === undefined ? 2 : 1))
          }
          if (live.size > 64) live.delete(live.keys().next().value!)
        })
        const [open, closed] = [true, false].map((isOpen) => seen.filter(({ ends }) => (ends.length === 0) === isOpen))
        expect(open!.map(({ clientPort }) => clientPort).sort()).toEqual([...live.keys()].sort())
        expect(streams.size).toBe(live.size)
        expect(streams.counts.connections).toBe(open!.length + closed!.length)
        expect(seen.flatMap(({ client }) => client)).toHaveLength(steps.filter(([, isReset]) => !isReset).length)
      }),
      { numRuns: 15 },
    )
  })
})

describe('whatever happens to the packets of two streams on their way to the capture', () => {
  /** Of a stream any five bytes in a row are found only where they are. */
  const byteAt = (side: Side, at: number) => ((at * 2_654_435_761 + (side === 'client' ? 0 : 99)) >>> 16) & 255
  const part = (side: Side, from: number, to: number) => Array.from({ length: to - from }, (_, i) => byteAt(side, from + i))

  const segment = fc.record({
    isClient: fc.boolean(),
    length: fc.integer({ min: 1, max: 12 }),
    /** How much later than it was sent each copy is captured; none: it is lost to the capture. */
    copies: fc.array(fc.nat(6), { maxLength: 3 }),
    cut: fc.oneof(fc.constant(0), fc.nat(12)),
    /** Bytes before it that are sent again, in one segment with it or without it. */
    again: fc.oneof(fc.constant(0), fc.nat(30)),
    isAcknowledged: fc.boolean(),
  })
  const plan = fc.record({
    isn: fc.record({
      client: fc.oneof(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.integer({ min: 2 ** 32 - 200, max: 2 ** 32 - 1 })),
      server: fc.oneof(fc.constantFrom(2 ** 31 - 1, 2 ** 31 - 90, 2 ** 32 - 1), fc.integer({ min: 2 ** 31 - 200, max: 2 ** 31 })),
    }),
    segments: fc.array(segment, { maxLength: 60 }),
    isSynCaptured: fc.boolean(),
    hasCuts: fc.boolean(),
    outOfOrderBytesMax: fc.constantFrom(300, 1000, 1 << 20),
    outOfOrderBytesTotalMax: fc.constantFrom(300, 1000, 1 << 20),
  })
  type Plan = typeof plan extends fc.Arbitrary<infer P> ? P : never
  interface Captured {
    from: Side
    at: number
    acknowledged: number
    to: number
    cut: number
    flags: number
    order: number
  }

  /** In the order of capture. The receiver of a segment has had it when the next one is sent, lost to the capture or not. */
  function capture({ segments, hasCuts }: Plan): { packets: Captured[]; sent: Record<Side, number> } {
    const sent = { client: 0, server: 0 }
    const packets: Captured[] = []
    segments.forEach(({ isClient, length, copies, cut, again, isAcknowledged }, i) => {
      const from = isClient ? 'client' : 'server'
      const end = sent[from] + length
      const packet = { from, acknowledged: sent[other[from]], cut: hasCuts ? Math.min(cut, length) : 0, flags: ack } as const
      for (const late of copies) packets.push({ ...packet, at: sent[from], to: end, order: i + late })
      const back = Math.max(sent[from] - again, 0)
      if (again > 0 && copies.length > 0)
        packets.push({ ...packet, at: back, to: again % 2 ? end : back + 1, order: i + copies[0]! })
      sent[from] = end
      if (isAcknowledged)
        packets.push({
          ...packet,
          from: other[from],
          at: sent[other[from]],
          to: sent[other[from]],
          cut: 0,
          acknowledged: end,
          order: i,
        })
    })
    for (const from of ['client', 'server'] as const)
      packets.push({
        from,
        at: sent[from],
        to: sent[from],
        acknowledged: sent[other[from]],
        cut: 0,
        flags: ack | fin,
        order: 1000,
      })
    packets.push({
      from: 'client',
      at: sent.client + 1,
      to: sent.client + 1,
      acknowledged: sent.server + 1,
      cut: 0,
      flags: ack,
      order: 1001,
    })
    return { packets: packets.sort((a, b) => a.order - b.order), sent }
  }

  function play(one: Plan) {
    const { packets, sent } = capture(one)
    const watched = watch(one)
    const { seen, streams, send } = watched
    const { isn } = one
    if (one.isSynCaptured) send('client', { sequence: isn.client, flags: syn })
    if (one.isSynCaptured) send('server', { sequence: isn.server, acknowledgement: isn.client + 1, flags: syn | ack })
    for (const { from, at, to, acknowledged, flags, cut } of packets) {
      send(from, {
        sequence: isn[from] + 1 + at,
        acknowledgement: isn[other[from]] + 1 + acknowledged,
        payload: part(from, at, to),
        cut: Math.min(cut, to - at),
        flags,
      })
      if (streams.heldBytes > one.outOfOrderBytesTotalMax) throw new Error(`${streams.heldBytes} bytes wait`)
    }
    return { seen, streams, packets, sent }
  }

  it('gives each byte once, in its place, or tells that it is missing', () => {
    fc.assert(
      fc.property(plan, (one) => {
        const { seen, streams, packets, sent } = play(one)
        if (!one.isSynCaptured && packets.every(({ at, to }) => at === to)) {
          expect(seen).toEqual([])
          return
        }
        expect(seen).toHaveLength(1)
        const [told] = seen
        expect(told!.ends.map(([how]) => how)).toEqual(['closed'])
        expect([streams.size, streams.heldBytes]).toEqual([0, 0])
        for (const side of ['client', 'server'] as const) {
          // All of it; where its beginning was not seen, all from some place on.
          const start = sent[side] - told![side].length
          if (one.isSynCaptured) expect(start).toBe(0)
          else expect(start).toBeGreaterThanOrEqual(0)
          told![side].forEach((byte, i) => {
            if (byte !== undefined && byte !== byteAt(side, start + i)) throw new Error(`byte ${start + i} of ${side} is another`)
          })
          expect(told!.times[side]).toEqual(told!.times[side].toSorted((a, b) => a - b))
        }
      }),
      { numRuns: 800 },
    )
  })
  it('misses nothing that was captured before its receiver acknowledged it, where there is room for it', () => {
    const roomy = plan.map((one) => ({
      ...one,
      isSynCaptured: true,
      hasCuts: false,
      outOfOrderBytesMax: 1 << 20,
      outOfOrderBytesTotalMax: 1 << 20,
    }))
    fc.assert(
      fc.property(roomy, (one) => {
        const { seen, packets, sent } = play(one)
        for (const side of ['client', 'server'] as const) {
          const expected = part(side, 0, sent[side]).map((byte, at) => {
            const first = packets.findIndex((packet) => packet.from === side && packet.at <= at && at < packet.to)
            const acknowledged = packets.findIndex((packet) => packet.from !== side && packet.acknowledged > at)
            return first !== -1 && first < acknowledged ? byte : undefined
          })
          seen[0]![side].forEach((byte, at) => {
            // The other way round may be: one byte waits longer, for it may be a FIN.
            if (byte === undefined) expect(expected[at]).toBeUndefined()
          })
        }
      }),
      { numRuns: 500 },
    )
  })
  it('holds no more than it may of packets that belong to nothing', () => {
    const number = fc.integer({ min: 0, max: 2 ** 32 - 1 })
    const near = fc.integer({ min: 0, max: 300 })
    const sequence = fc.oneof(number, near)
    const packet = fc.record({
      isClient: fc.boolean(),
      clientPort: fc.integer({ min: 1, max: 5 }),
      sequence,
      acknowledgement: sequence,
      flags: fc.integer({ min: 0, max: 31 }),
      length: fc.nat(40),
      cut: fc.nat(40),
      waitMs: fc.oneof(fc.nat(10), fc.nat(400)),
    })
    fc.assert(
      fc.property(fc.array(packet, { maxLength: 80 }), (packets) => {
        const { streams, send, seen, now } = watch({
          connectionsMax: 3,
          outOfOrderBytesMax: 700,
          outOfOrderBytesTotalMax: 1500,
          idleMs: 500,
          holeMs: 200,
          lingerMs: 100,
        })
        for (const { isClient, length, cut, waitMs, ...one } of packets) {
          const timeMs = now() + waitMs
          send(isClient ? 'client' : 'server', { ...one, payload: Array(length).fill(1), cut: Math.min(cut, length), timeMs })
          if (waitMs > 100) streams.expire(timeMs)
          expect(streams.size).toBeLessThanOrEqual(3)
          expect(streams.heldBytes).toBeLessThanOrEqual(1500)
        }
        expect(seen.length).toBe(streams.counts.connections)
        streams.expire(now() + 1000)
        expect([streams.size, streams.heldBytes]).toEqual([0, 0])
        for (const { ends } of seen) expect(ends).toHaveLength(1)
      }),
      { numRuns: 600 },
    )
  })
})

describe('recorded packets', () => {
  const folder = path.resolve(import.meta.dirname, '../../fixtures/packets')

  // The router sees each packet twice, and cuts of 96 bytes; what is too large for its second link it sees once, and then in parts.
  it.each(['ethernet.pcap', 'any-sll.pcap', 'any-sll2.pcap'])('are two exchanges and two refused connects, in %s', (name) => {
    const told: { client: number; server: number; bytes: Record<Side, string>; ends: string[] }[] = []
    const streams = createTcpStreams({
      isServerPort: () => false,
      onOpen() {
        const one = { client: 0, server: 0, bytes: { client: '', server: '' }, ends: [] as string[] }
        told.push(one)
        return {
          onBytes(side, bytes, from, to) {
            one[side] += to - from
            one.bytes[side] += Buffer.from(bytes.subarray(from, to)).toString('latin1')
          },
          onGap: (side, count) => (one[side] += count),
          onEnd: (_, how) => one.ends.push(how),
        }
      },
    })
    const headers = createPacketHeaders()
    const reader = createPcapReader({
      onPacket(bytes, from, capturedLength, wireLength, timeMs, linkType) {
        if (readPacketHeaders(bytes, from, capturedLength, wireLength, linkType, headers) === undefined)
          streams.take(bytes, headers, timeMs!)
      },
    })
    reader.push(readFileSync(path.join(folder, name)))
    reader.end()
    const exchange = { client: 4003, server: 3000, ends: ['closed'] }
    const refused = { client: 0, server: 0, ends: ['reset'] }
    expect(told.map(({ client, server, ends }) => ({ client, server, ends }))).toEqual([exchange, refused, exchange, refused])
    expect(told[0]!.bytes.client).toMatch(/^GETy+$/)
    expect(told[0]!.bytes.server).toMatch(/^x+$/)
    expect([streams.size, streams.heldBytes, streams.counts.gaps]).toEqual([0, 0, 0])
  })
})
