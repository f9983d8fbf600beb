import http from 'node:http'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createHttpExchanges, type HttpCounts, type HttpExchange, type HttpSide } from '../../parsers/http-exchange.ts'
import type { HttpReaderOptions } from '../../parsers/http-message.ts'
import { ask, record, type Segment, send, split, splitEverywhere, toBytes } from './http-streams.ts'

interface Seen {
  readonly counts: HttpCounts
  /** Each as one line: `GET /a 200`, `GET /a unanswered`. */
  readonly lines: string[]
  readonly all: HttpExchange[]
  take(side: HttpSide, bytes: Uint8Array, timeMs?: number): void
  client(text: string, timeMs?: number): void
  server(text: string, timeMs?: number): void
  skip(side: HttpSide, count: number): void
  expire(beforeMs: number): void
  end(): void
}

/** One connection. */
function see(options: HttpReaderOptions = {}): Seen {
  const lines: string[] = []
  const all: HttpExchange[] = []
  const exchanges = createHttpExchanges<string>({
    onExchange: (of, exchange) => {
      expect(of).toBe('the connection')
      all.push(exchange)
      lines.push(`${exchange.method} ${exchange.path} ${exchange.status}`)
    },
    onUnanswered: (of, { method, path }) => {
      expect(of).toBe('the connection')
      lines.push(`${method} ${path} unanswered`)
    },
  })
  const connection = exchanges.open('the connection', options)
  const take = (side: HttpSide, bytes: Uint8Array, timeMs = 0): void =>
    exchanges.take(connection, side, bytes, 0, bytes.length, timeMs)
  return {
    counts: exchanges.counts,
    lines,
    all,
    take,
    client: (text, timeMs) => take('client', toBytes(text), timeMs),
    server: (text, timeMs) => take('server', toBytes(text), timeMs),
    skip: (side, count) => exchanges.skip(connection, side, count, 0),
    expire: (beforeMs) => exchanges.expire(connection, beforeMs),
    end: () => exchanges.end(connection, 0),
  }
}

const request = (path: string, method = 'GET'): string => `${method} ${path} HTTP/1.1\r\nHost: h\r\n\r\n`
const response = (status: number, body = ''): string => `HTTP/1.1 ${status} x\r\nContent-Length: ${body.length}\r\n\r\n${body}`
/** Each request is told once, and nothing that never came. */
function expectBalanced({ counts, all }: Seen, waiting = 0): void {
  expect(counts.exchanges).toBe(all.length)
  expect(counts.exchanges + counts.unanswered + counts.unpairedRequests + waiting).toBe(counts.requests)
  expect(counts.exchanges + counts.unpairedResponses + counts.lateResponses).toBe(counts.responses)
}

describe('an exchange', () => {
  it('lasts from the first byte of the request to the first byte of the answer', () => {
    const seen = see()
    const [begin, rest] = split(toBytes(request('/a?secret')), 3)
    seen.take('client', begin!, 1000)
    seen.take('client', rest!, 1010)
    seen.server('HTTP/1.1 100 Continue\r\n\r\n', 1020)
    seen.server('HTTP/1.1 200 O', 1250.5)
    seen.server('K\r\nContent-Length: 2\r\n\r\n', 1300)
    seen.server('ok', 2000)
    expect(seen.all).toEqual([{ method: 'GET', path: '/a', host: 'h', status: 200, startMs: 1000, durationMs: 250.5 }])
    expect(seen.counts).toMatchObject({ requests: 1, responses: 1, interimResponses: 1, exchanges: 1, losses: 0 })
    expectBalanced(seen)
  })
  it('is found in its order where requests are sent ahead', () => {
    const seen = see()
    seen.client(request('/1') + request('/2', 'HEAD') + request('/3', 'POST'))
    seen.server(`${response(200, 'x')}HTTP/1.1 404 x\r\nContent-Length: 9\r\n\r\n`)
    seen.client(request('/4'))
    seen.server(response(201) + response(500))
    expect(seen.lines).toEqual(['GET /1 200', 'HEAD /2 404', 'POST /3 201', 'GET /4 500'])
    expectBalanced(seen)
  })
  it('is told to be unanswered at the end', () => {
    const seen = see()
    seen.client(request('/1') + request('/2'))
    seen.server(response(200))
    seen.end()
    seen.end()
    seen.server(response(200))
    expect(seen.lines).toEqual(['GET /1 200', 'GET /2 unanswered'])
    expectBalanced(seen)
  })
  it('is told to be unanswered when the caller has waited long enough, and its late answer is no other one', () => {
    const seen = see()
    seen.client(request('/1'), 100)
    seen.client(request('/2'), 200)
    seen.expire(200)
    seen.expire(200)
    seen.server(response(200) + response(202))
    expect(seen.lines).toEqual(['GET /1 unanswered', 'GET /2 202'])
    expect(seen.counts.lateResponses).toBe(1)
    expectBalanced(seen)
  })
  it('that is one too many to wait is counted, and all that come after it', () => {
    const seen = see()
    for (let i = 0; i < 66; i++) seen.client(request(`/${i}`))
    for (let i = 0; i < 60; i++) seen.server(response(200 + i))
    seen.client(request('/late'))
    for (let i = 60; i < 67; i++) seen.server(response(200 + i))
    expect(seen.lines).toEqual(Array.from({ length: 64 }, (_, i) => `GET /${i} ${200 + i}`))
    expect(seen.counts).toMatchObject({ unpairedRequests: 3, unpairedResponses: 3 })
    expectBalanced(seen)
  })
  it('of a request in which something is wrong has the answer that says so', () => {
    const seen = see()
    seen.client('POST /a HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n')
    seen.server(response(400))
    seen.end()
    expect(seen.lines).toEqual(['POST /a 400'])
    expect(seen.counts).toMatchObject({ losses: 1, faults: { transfer_encoding: 1 } })
  })
  it('an answer without a request is not that to the next', () => {
    const seen = see()
    seen.server(response(408))
    seen.client(request('/1'))
    seen.client(request('/2'))
    seen.server(response(200))
    expect(seen.lines).toEqual([])
    seen.end()
    expectBalanced(seen)
  })
})

describe('what is no HTTP/1', () => {
  it('is counted once a connection, and neither side is looked at again', () => {
    const seen = see()
    seen.client('\x16\x03\x01\0\x05hello')
    seen.server('\x16\x03\x03\0\x05hello')
    seen.client(request('/'))
    seen.end()
    expect(seen.counts).toEqual({ ...see().counts, unreadable: { tls: 1, h2: 0, upgraded: 0, other: 0 } })
  })
  it.each([
    ['websocket', 'upgraded'],
    ['h2c', 'h2'],
  ])('begins with the answer to a request for %s', (protocol, what) => {
    const seen = see()
    seen.client(`GET /up HTTP/1.1\r\nUpgrade: ${protocol}\r\n\r\n`)
    seen.server(`HTTP/1.1 101 Switching\r\nUpgrade: ${protocol}\r\n\r\n\x81\x01x`)
    seen.client(`PRI * HTTP/2.0\r\n\r\n${request('/')}`)
    expect(seen.lines).toEqual(['GET /up 101'])
    expect(seen.counts).toMatchObject({ requests: 1, losses: 0, unreadable: { [what]: 1 } })
  })
  it('begins with the answer to CONNECT, if that is granted', () => {
    const seen = see()
    seen.client(request('b:1', 'CONNECT'))
    seen.server('HTTP/1.1 407 x\r\nContent-Length: 2\r\n\r\nno')
    seen.client(request('b:2', 'CONNECT'))
    seen.server('HTTP/1.1 200 x\r\n\r\n\x16\x03\x01')
    seen.client('\x16\x03\x01')
    expect(seen.all.map(({ method, host, status }) => [method, host, status])).toEqual([
      ['CONNECT', 'b:1', 407],
      ['CONNECT', 'b:2', 200],
    ])
    expect(seen.counts).toMatchObject({ losses: 0, unreadable: { upgraded: 1 } })
  })
  it('of a server that answers otherwise leaves its requests unpaired', () => {
    const seen = see()
    seen.client(request('/'))
    seen.server('220 mail.example ESMTP\r\n')
    expect(seen.counts).toMatchObject({ unpairedRequests: 1, unreadable: { other: 1 } })
  })
})

describe('missing bytes', () => {
  it('in bodies of known length lose nothing', () => {
    const seen = see()
    seen.client('PUT /1 HTTP/1.1\r\nContent-Length: 900\r\n\r\n')
    seen.skip('client', 900)
    seen.server(`HTTP/1.1 200 x\r\nContent-Length: 900\r\n\r\n`)
    seen.skip('server', 900)
    seen.client(request('/2'))
    seen.server(response(404))
    expect(seen.lines).toEqual(['PUT /1 200', 'GET /2 404'])
    expect(seen.counts.losses).toBe(0)
  })
  it('as a snap length of 512 leaves them, in heads on both sides and in chunks, lose no exchange of a client that waits', () => {
    const seen = see()
    const take = (side: 'client' | 'server', text: string): void => {
      for (let from = 0; from < text.length; from += 1448) {
        const sent = text.slice(from, from + 1448)
        const captured = sent.slice(0, 446)
        seen.take(side, toBytes(captured))
        if (captured.length < sent.length) seen.skip(side, sent.length - captured.length)
      }
    }
    const chunks = `${`400\r\n${'x'.repeat(1024)}\r\n`.repeat(10)}0\r\n\r\n`
    for (let i = 0; i < 20; i++) {
      take('client', `POST /${i} HTTP/1.1\r\nCookie: ${'x'.repeat(700)}\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}`)
      take('server', `HTTP/1.1 ${200 + i} x\r\nTransfer-Encoding: chunked\r\nSet-Cookie: ${'x'.repeat(700)}\r\n\r\n${chunks}`)
    }
    expect(seen.lines).toEqual(Array.from({ length: 20 }, (_, i) => `POST /${i} ${200 + i}`))
    expect(seen.counts).toMatchObject({ losses: 40, foundHeads: 38, unpairedRequests: 0, unpairedResponses: 0 })
    expectBalanced(seen)
  })
  it('end the pairing of a client that sends ahead', () => {
    const seen = see()
    seen.client(request('/1') + request('/2') + request('/3'))
    seen.server(response(201))
    seen.skip('server', 100)
    seen.server(response(203))
    seen.client(request('/4'))
    seen.server(response(204))
    expect(seen.lines).toEqual(['GET /1 201'])
    expectBalanced(seen)
  })
  it('of its requests leave those that came before', () => {
    const seen = see()
    seen.client(request('/1') + request('/2'))
    seen.skip('client', 100)
    seen.client(request('/4'))
    seen.server(response(201) + response(202))
    seen.server(response(203))
    seen.server(response(204))
    expect(seen.lines).toEqual(['GET /1 201', 'GET /2 202'])
    expectBalanced(seen)
  })
  it('with the answer leave the request unpaired, not unanswered', () => {
    const seen = see()
    seen.client(request('/1'))
    seen.skip('server', 100)
    seen.end()
    expect(seen.lines).toEqual([])
    expect(seen.counts.unpairedRequests).toBe(1)
  })
  it('that seem to be an answer, and are none, hide the one to what waits', () => {
    const seen = see({ isMidstream: true })
    seen.client(request('/1'))
    seen.server('HTTP/1.1 200 x\r\nno field')
    seen.server(response(299))
    expect(seen.lines).toEqual([])
    expectBalanced(seen)
  })
  it('before the capture began: the first request that is seen is paired', () => {
    const seen = see({ isMidstream: true })
    seen.server('rest of a body')
    seen.server(response(299))
    seen.client(request('/1'))
    seen.server(response(201, 'x'))
    expect(seen.lines).toEqual(['GET /1 201'])
    expectBalanced(seen)
  })
})

describe('what Node says to Node', () => {
  const feed = (
    seen: Seen,
    segments: readonly Segment[],
    cut: (bytes: Uint8Array) => Uint8Array[] = (bytes) => [bytes],
  ): Seen => {
    segments.forEach(({ side, bytes }, timeMs) => {
      for (const part of cut(bytes)) seen.take(side, part, timeMs)
    })
    seen.end()
    return seen
  }
  const serve: http.RequestListener = (incoming, outgoing) => {
    incoming.resume()
    incoming.on('end', () => {
      outgoing.statusCode = Number(incoming.url?.slice(1))
      if (incoming.method === 'PUT') outgoing.write('in chunks')
      outgoing.end(incoming.method === 'DELETE' ? undefined : 'body')
    })
  }
  it('is paired, on as many connections as it takes', async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 3 })
    const asked = Array.from({ length: 60 }, (_, i) => [['GET', 'HEAD', 'PUT', 'DELETE', 'POST'][i % 5]!, 200 + i] as const)
    const connections = await record(serve, async (port) => {
      await Promise.all(
        asked.map(([method, status]) => ask({ port, agent, method, path: `/${status}` }, method === 'POST' ? 'x' : undefined)),
      )
      agent.destroy()
    })
    expect(connections.length).toBeLessThan(asked.length / 3)
    for (const cut of [(bytes: Uint8Array) => [bytes], splitEverywhere]) {
      const all = connections.map((segments) => feed(see(), segments, cut))
      expect(all.flatMap(({ lines }) => lines).sort()).toEqual(
        asked.map(([method, status]) => `${method} /${status} ${status}`).sort(),
      )
      for (const seen of all) expectBalanced(seen)
      expect(all.every(({ counts }) => counts.losses === 0)).toBe(true)
    }
  })
  it('is paired when it is sent ahead', async () => {
    const text = Array.from({ length: 30 }, (_, i) => request(`/${200 + i}`, i % 3 === 0 ? 'HEAD' : 'GET')).join('')
    const [segments = []] = await record(serve, (port) =>
      send(port, text, false, (received) => received.split('HTTP/1.1 ').length === 31),
    )
    const { lines } = feed(see(), segments)
    expect(lines).toEqual(Array.from({ length: 30 }, (_, i) => `${i % 3 === 0 ? 'HEAD' : 'GET'} /${200 + i} ${200 + i}`))
    expect(feed(see(), segments, splitEverywhere).lines).toEqual(lines)
  })
  it('ends where the connection is upgraded', async () => {
    const upgrade = 'GET /up HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'
    const [segments = []] = await record(
      serve,
      (port) => send(port, upgrade, false, (received) => received.includes('after')),
      (server) =>
        server.on('upgrade', (_, socket) => {
          socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nafter')
          socket.on('end', () => socket.end())
        }),
    )
    const seen = feed(see(), segments)
    expect(seen.lines).toEqual(['GET /up 101'])
    expect(seen.counts.unreadable.upgraded).toBe(1)
  })
})

describe('whatever is missing', () => {
  interface Turn {
    readonly method: string
    readonly isChunked: boolean
    readonly isInterim: boolean
    readonly requestBody: string
    readonly responseBody: string
  }
  const body = fc.oneof(
    { weight: 4, arbitrary: fc.string({ maxLength: 200, unit: 'grapheme-ascii' }) },
    fc.constantFrom(`xx${request('/wrong')}`, `xx${response(599)}`, 'x'.repeat(2000)),
  )
  const turn: fc.Arbitrary<Turn> = fc.record({
    method: fc.constantFrom('GET', 'HEAD', 'POST', 'PUT'),
    isChunked: fc.boolean(),
    isInterim: fc.boolean(),
    requestBody: body,
    responseBody: body,
  })
  /** What a head ends with, and the body behind it. */
  const frame = (text: string, isChunked: boolean): readonly [string, string] =>
    isChunked
      ? ['Transfer-Encoding: chunked\r\n\r\n', `${text === '' ? '' : `${text.length.toString(16)}\r\n${text}\r\n`}0\r\n\r\n`]
      : [`Content-Length: ${text.length}\r\n\r\n`, text]
  const requestOf = ({ method, isChunked, requestBody }: Turn, id: number): readonly [head: string, body: string] => {
    if (method === 'GET' || method === 'HEAD') return [request(`/${id}`, method), '']
    const [end, framed] = frame(requestBody, isChunked)
    return [`${method} /${id} HTTP/1.1\r\n${end}`, framed]
  }
  const responseOf = (
    { method, isChunked, isInterim, responseBody }: Turn,
    id: number,
  ): readonly [head: string, body: string] => {
    const [end, framed] = method === 'HEAD' ? ['Content-Length: 3\r\n\r\n', ''] : frame(responseBody, isChunked)
    return [`${isInterim ? 'HTTP/1.1 103 Early\r\nLink: x\r\n\r\n' : ''}HTTP/1.1 ${200 + id} x\r\n${end}`, framed]
  }
  /** How a segment is captured: all of it, only its beginning, or not at all. */
  const capture = fc.record({ segmentBytes: fc.integer({ min: 30, max: 1448 }), kept: fc.constantFrom(1, 1, 1, 0.5, 0) })

  it.each([0, 1])('no exchange of a client that waits is wrong (beginning of the connection missing: %s)', (isMidstream) => {
    let [paired, requests, lost] = [0, 0, 0]
    fc.assert(
      fc.property(fc.array(turn, { minLength: 1, maxLength: 12 }), fc.infiniteStream(capture), (turns, captures) => {
        const seen = see({ isMidstream: isMidstream === 1 })
        const take = (side: 'client' | 'server', [head, rest]: readonly [head: string, body: string]): void => {
          const text = head + rest
          for (let from = 0; from < text.length; ) {
            const { segmentBytes, kept } = captures.next().value!
            const sent = text.slice(from, from + segmentBytes)
            const captured = sent.slice(0, Math.round(kept * sent.length))
            // A segment of a body that begins with a head would be taken for one.
            const bytes = toBytes(from > head.length && /^(HTTP|[A-Z]+ \/)/.test(captured) ? '' : captured)
            seen.take(side, bytes)
            seen.skip(side, sent.length - bytes.length)
            from += sent.length
          }
        }
        turns.forEach((one, id) => {
          take('client', requestOf(one, id))
          take('server', responseOf(one, id))
        })
        seen.end()
        for (const { path, status, method } of seen.all) {
          expect(`/${status - 200}`).toBe(path)
          expect(method).toBe(turns[status - 200]?.method)
        }
        expectBalanced(seen)
        paired += seen.all.length
        lost += seen.counts.losses
        requests += turns.length
      }),
      { numRuns: 1500 },
    )
    expect(lost).toBeGreaterThan(1000)
    expect(paired / requests).toBeGreaterThan(0.4)
  })

  it('no exchange is wrong of a client that has sent ahead before', () => {
    const gap = fc.record({
      side: fc.constantFrom('client' as const, 'server' as const),
      at: fc.nat(30),
      count: fc.integer({ min: 1, max: 5 }),
    })
    fc.assert(
      fc.property(
        fc.array(turn, { minLength: 4, maxLength: 20 }),
        gap,
        fc.integer({ min: 2, max: 5 }),
        (turns, missing, ahead) => {
          const seen = see()
          let messages = 0
          const take = (side: 'client' | 'server', message: readonly string[]): void => {
            const text = message.join('')
            const number = side === missing.side ? messages++ : -1
            if (number >= missing.at && number < missing.at + missing.count) seen.skip(side, text.length)
            else seen.take(side, toBytes(text))
          }
          seen.client([...requestOf(turns[0]!, 0), ...requestOf(turns[1]!, 1)].join(''))
          seen.server([...responseOf(turns[0]!, 0), ...responseOf(turns[1]!, 1)].join(''))
          for (let from = 2; from < turns.length; from += ahead) {
            const batch = turns.slice(from, from + ahead)
            batch.forEach((one, i) => take('client', requestOf(one, from + i)))
            batch.forEach((one, i) => take('server', responseOf(one, from + i)))
          }
          seen.end()
          for (const { path, status } of seen.all) expect(`/${status - 200}`).toBe(path)
          expectBalanced(seen)
        },
      ),
      { numRuns: 1500 },
    )
  })
})
