import http from 'node:http'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { endHttp, type HttpMethod, httpMethods, skipHttp, takeHttp } from '../../parsers/http-message.ts'
import {
  ask,
  feed,
  listen,
  readRequests,
  readResponses,
  record,
  type Segment,
  send,
  split,
  splitEverywhere,
  type Told,
  toBytes,
} from './http-streams.ts'

const requestsOf = (text: string, options = {}): readonly string[] => feed(readRequests(options), [toBytes(text)])
const responsesOf = (text: string, methods: readonly (HttpMethod | undefined)[] = []): readonly string[] =>
  feed(readResponses(methods), [toBytes(text)])

/** Up to where framing is lost: from there on it depends on where segments begin. */
const untilLost = (lines: readonly string[]): readonly string[] =>
  lines.includes('lost') ? lines.slice(0, lines.indexOf('lost') + 1) : lines

/** However the stream is cut into segments, the same is told. */
function expectSameSplit(create: () => Told, bytes: Uint8Array): readonly string[] {
  const whole = untilLost(feed(create(), [bytes]))
  expect(untilLost(feed(create(), splitEverywhere(bytes)))).toEqual(whole)
  for (let at = 1; at < Math.min(bytes.length, 2000); at++) {
    expect(untilLost(feed(create(), split(bytes, at))), `split at ${at}`).toEqual(whole)
  }
  return whole
}

describe('a request', () => {
  it.each([
    ['GET / HTTP/1.1\r\nHost: a\r\n\r\n', 'GET / a 1.1'],
    ['GET /x HTTP/1.0\r\n\r\n', 'GET /x  1.0'],
    ['GET /a?token=secret#f HTTP/1.1\r\nhost:\t A:80 \r\n\r\n', 'GET /a A:80 1.1'],
    ['GET http://user:pw@b.example:8080/p?q HTTP/1.1\r\nHost: other\r\n\r\n', 'GET /p b.example:8080 1.1'],
    ['GET http://b.example?q HTTP/1.1\r\n\r\n', 'GET  b.example 1.1'],
    ['OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n', 'OPTIONS * a 1.1'],
    ['CONNECT b.example:443 HTTP/1.1\r\nHost: a\r\n\r\n', 'CONNECT  b.example:443 1.1'],
    ['CONNECT me:secret@b:443?secret HTTP/1.1\r\n\r\n', 'CONNECT  b:443 1.1'],
    ['GET / HTTP/1.1\r\nHost: me:secret@a:80/x?secret\r\n\r\n', 'GET / a:80 1.1'],
    ['M-SEARCH * HTTP/1.1\r\n\r\n', 'other *  1.1'],
    ['get / HTTP/1.1\r\n\r\n', 'other /  1.1'],
    ['GET /\xe9\x7e HTTP/1.1\r\nHost: a\x80b\r\n\r\n', 'GET /%E9~ a%80b 1.1'],
    ['GET / HTTP/1.1\nHost: a\n\n', 'GET / a 1.1'],
    ['\r\n\nGET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', 'GET / a 1.1'],
    [`GET /${'x'.repeat(300)} HTTP/1.1\r\n\r\n`, `GET /${'x'.repeat(255)}  1.1`],
    ['GET / HTTP/1.1\r\nA:\r\nB: \xff\t"\r\n\r\n', 'GET /  1.1'],
  ])('%j', (text, head) => {
    expect(expectSameSplit(readRequests, toBytes(text))).toEqual([head, 'end 0'])
  })
  it('keeps the query if that is asked for, and never the fragment', () => {
    expect(requestsOf('GET /a?b=c#d HTTP/1.1\r\n\r\n', { keepsQuery: true })).toEqual(['GET /a?b=c  1.1', 'end 0'])
  })
  it.each([
    ['Content-Length: 5\r\n\r\nhello', 5],
    ['Content-Length: 0\r\n\r\n', 0],
    ['content-LENGTH:\t0005 \r\n\r\nhello', 5],
    ['Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n', 5],
    ['Transfer-Encoding: gzip , Chunked \r\n\r\n5;a="b;c"\r\nhello\r\nA\r\n0123456789\r\n000\r\nTrailer: t\r\nB:\r\n\r\n', 15],
    ['Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 0],
  ])('has a body %j', (rest, bodyBytes) => {
    const text = `POST /a HTTP/1.1\r\n${rest}\r\nGET /b HTTP/1.1\r\n\r\n`
    expect(expectSameSplit(readRequests, toBytes(text))).toEqual(['POST /a  1.1', `end ${bodyBytes}`, 'GET /b  1.1', 'end 0'])
  })
  const chunked = 'Transfer-Encoding: chunked\r\n'
  it.each([
    ['field_line', 'Bad Name: x\r\n\r\n'],
    ['field_line', 'Content-Length : 5\r\n\r\nhello'],
    ['field_line', ': x\r\n\r\n'],
    ['field_line', 'none\r\n\r\n'],
    ['field_line', 'A: b\r\n c: d\r\n\r\n'],
    ['field_line', 'A: b\rc\r\n\r\n'],
    ['field_line', 'A: b\0c\r\n\r\n'],
    ['field_line', 'A: b\r\r\n\r\n'],
    ['field_line', ' A: b\r\n\r\n'],
    ['content_length', 'Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello'],
    ['content_length', 'Content-Length: 5, 5\r\n\r\nhello'],
    ['content_length', 'Content-Length: +5\r\n\r\nhello'],
    ['content_length', 'Content-Length: -5\r\n\r\nhello'],
    ['content_length', 'Content-Length: 0x5\r\n\r\nhello'],
    ['content_length', 'Content-Length: 5 5\r\n\r\nhello'],
    ['content_length', 'Content-Length:\r\n\r\n'],
    ['content_length', 'Content-Length: 9007199254740993\r\n\r\n'],
    ['transfer_encoding', `Content-Length: 5\r\n${chunked}\r\n0\r\n\r\n`],
    ['transfer_encoding', `${chunked}Content-Length: 5\r\n\r\n0\r\n\r\n`],
    ['transfer_encoding', 'Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n'],
    ['transfer_encoding', `${chunked}${chunked}\r\n0\r\n\r\n`],
    ['transfer_encoding', 'Transfer-Encoding: gzip\r\n\r\n'],
    ['transfer_encoding', 'Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n'],
    ['transfer_encoding', 'Transfer-Encoding:\r\n\r\n'],
    ['transfer_encoding', 'Transfer-Encoding: chunked\t\r\n\r\n0\r\n\r\n'],
    ['transfer_encoding', 'Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n'],
    ['transfer_encoding', 'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n'],
    ['head_too_long', `A: ${'x'.repeat(17_000)}\r\n\r\n`],
    ['head_too_long', `${'A: x\r\n'.repeat(3000)}\r\n`],
  ])('is told with its %s', (fault, rest) => {
    const whole = untilLost(requestsOf(`POST /a HTTP/1.1\r\n${rest}`))
    expect(whole).toEqual([`fault ${fault}`, 'POST /a  1.1 broken', 'lost'])
    expect(untilLost(feed(readRequests(), splitEverywhere(toBytes(`POST /a HTTP/1.1\r\n${rest}`))))).toEqual(whole)
  })
  it('by chunks in HTTP/1.0 is told with its fault', () => {
    expect(requestsOf(`POST /a HTTP/1.0\r\n${chunked}\r\n0\r\n\r\n`)).toContain('fault transfer_encoding')
  })
  it.each([
    '5\nhello\r\n0\r\n\r\n',
    '5 \r\nhello\r\n0\r\n\r\n',
    '5;a\nhello\r\n0\r\n\r\n',
    '5;a\rb\r\nhello\r\n0\r\n\r\n',
    '5\r\nhello\n0\r\n\r\n',
    '5\r\nhello!\r\n0\r\n\r\n',
    '5\r\nhellx0\r\n\r\n',
    '\r\nhello\r\n0\r\n\r\n',
    'g\r\nhello\r\n0\r\n\r\n',
    '-5\r\nhello\r\n0\r\n\r\n',
    '0x5\r\nhello\r\n0\r\n\r\n',
    '1000000000005\r\nhello\r\n0\r\n\r\n',
    '0000000000005\r\nhello\r\n0\r\n\r\n',
    '0\r\nno field\r\n\r\n',
    '0\r\nContent-Length: 5\r\n\r\n',
    '0\r\ntransfer-encoding: chunked\r\n\r\n',
    `0\r\n${'A: x\r\n'.repeat(3000)}\r\n`,
    `5;${'x'.repeat(17_000)}\r\nhello\r\n0\r\n\r\n`,
  ])('with bad chunks %j is told and they are a fault', (body) => {
    const text = `POST /a HTTP/1.1\r\n${chunked}\r\n${body}`
    expect(untilLost(requestsOf(text))).toEqual(['POST /a  1.1', 'fault chunk', 'lost'])
    expect(untilLost(feed(readRequests(), splitEverywhere(toBytes(text))))).toEqual(['POST /a  1.1', 'fault chunk', 'lost'])
  })
  it.each([
    'GET /',
    'GET / ',
    'GET  / HTTP/1.1',
    'GET / HTTP/1.1 ',
    'GET / x HTTP/1.1',
    'GET /\tx HTTP/1.1',
    'GET HTTP/1.1',
    'GET x/y HTTP/1.1',
    'GET http:/y HTTP/1.1',
    'GET *x HTTP/1.1',
    'GET / HTTP/1.2',
    'GET / HTTP/2.0',
    'GET / http/1.1',
    'GET / HTTP/1.1\r',
    'GET /\0 HTTP/1.1',
    'G(T / HTTP/1.1',
    ` GET / HTTP/1.1`,
    `${'G'.repeat(33)} / HTTP/1.1`,
    `GET /${'x'.repeat(17_000)} HTTP/1.1`,
    'HTTP/1.1 200 OK',
  ])('that begins %j is a fault behind another, and no HTTP at first', (startLine) => {
    expect(expectSameSplit(readRequests, toBytes(`${startLine}\r\nHost: a\r\n\r\n`))).toEqual(['unreadable other'])
    const second = untilLost(requestsOf(`GET / HTTP/1.1\r\n\r\n${startLine}\r\nHost: a\r\n\r\n`))
    expect(second).toEqual([
      'GET /  1.1',
      'end 0',
      startLine.length > 17_000 ? 'fault head_too_long' : 'fault start_line',
      'lost',
    ])
  })
})

describe('a response', () => {
  it.each([
    ['HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello', ['200 1.1', 'end 5']],
    ['HTTP/1.0 404\r\nContent-Length: 0\r\n\r\n', ['404 1.0', 'end 0']],
    ['HTTP/1.1 599 \xfc\r\nContent-Length: 0\r\n\r\n', ['599 1.1', 'end 0']],
    ['HTTP/1.1 204 No Content\r\n\r\n', ['204 1.1', 'end 0']],
    ['HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n', ['304 1.1', 'end 0']],
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: x\r\n\r\n', ['200 1.1', 'end 3']],
    ['HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n', ['100 1.1', 'end 0', '201 1.1', 'end 0']],
  ])('%j', (text, lines) => {
    const next = 'HTTP/1.1 500 Oh\r\nContent-Length: 1\r\n\r\nx'
    expect(expectSameSplit(() => readResponses(), toBytes(text + next))).toEqual([...lines, '500 1.1', 'end 1'])
  })
  it('to HEAD has no body, whatever it says', () => {
    const text = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello'
    expect(expectSameSplit(() => readResponses(['HEAD', 'GET']), toBytes(text))).toEqual(['200 1.1', 'end 0', '200 1.1', 'end 5'])
  })
  it.each(['', 'Transfer-Encoding: gzip\r\n', 'Transfer-Encoding: chunked, gzip\r\n'])(
    'without a length (%j) lasts to the end of the connection',
    (field) => {
      const told = readResponses()
      const lines = feed(told, [toBytes(`HTTP/1.1 200 OK\r\n${field}\r\nHTTP/1.1 404 in the body`)])
      if (field.includes('chunked')) return expect(lines).toContain('fault transfer_encoding')
      skipHttp(told.reader, 1000, 2)
      endHttp(told.reader, 3)
      return expect(lines).toEqual(['200 1.1', 'end 1024'])
    },
  )
  it.each(['099', '600', '2000', '20', '2x0', ''])('with the status %j is a fault', (status) => {
    expect(responsesOf(`HTTP/1.1 ${status} OK\r\n\r\n`)).toEqual(['unreadable other'])
    const behind = responsesOf(`HTTP/1.1 204 OK\r\n\r\nHTTP/1.1 ${status} OK\r\n\r\n`)
    expect(behind).toEqual(['204 1.1', 'end 0', 'fault start_line', 'lost'])
  })
  it('that is not known what it answers loses the framing, unless it can have no body', () => {
    const text = 'HTTP/1.1 204 x\r\n\r\nHTTP/1.1 200 x\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 x\r\nContent-Length: 1\r\n\r\nx'
    expect(responsesOf(text, [undefined, undefined, undefined])).toEqual([
      '204 1.1',
      'end 0',
      '200 1.1',
      'end 0',
      '200 1.1',
      'lost',
    ])
  })
})

describe('what is no HTTP/1', () => {
  const tls = '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'
  it.each([
    ['tls', tls],
    ['h2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0'],
    ['other', 'SSH-2.0-OpenSSH_9.2\r\n'],
    ['other', '\x16\x04\x01'],
    ['other', '\0\0\0\x12\x04'],
    ['other', `${'\x80'.repeat(20_000)}`],
    ['other', `${'A'.repeat(20_000)}`],
  ])('is told once: %s', (what, text) => {
    const told = readRequests()
    expect(feed(told, splitEverywhere(toBytes(text)))).toEqual([`unreadable ${what}`])
    expect(feed(told, [toBytes('GET / HTTP/1.1\r\n\r\n')])).toEqual([`unreadable ${what}`])
    endHttp(told.reader, 1)
    expect(requestsOf(text)).toEqual([`unreadable ${what}`])
  })
  it('of a server too', () => {
    expect(responsesOf('\x15\x03\x01\x00\x02\x02\x28')).toEqual(['unreadable tls'])
    expect(responsesOf('220 mail.example ESMTP\r\n')).toEqual(['unreadable other'])
  })
  it('is seen in the middle of a connection by its records', () => {
    const told = readRequests({ isMidstream: true })
    expect(feed(told, [toBytes('\x99\x98'), toBytes('\x17\x03\x03\x40\x00secret')])).toEqual(['unreadable tls'])
  })
  it.each([
    ['Upgrade: websocket', 'upgraded'],
    ['Upgrade: h2c', 'h2'],
    ['A: b', 'upgraded'],
  ])('begins after 101 with %s', (field, what) => {
    const text = `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n${field}\r\n\r\n\x81\x05hello`
    expect(expectSameSplit(readResponses, toBytes(text))).toEqual(['101 1.1', `unreadable ${what}`])
  })
  it('begins after a CONNECT that is granted, and not after one that is refused', () => {
    expect(responsesOf('HTTP/1.1 200 OK\r\n\r\n\x16\x03', ['CONNECT'])).toEqual(['200 1.1', 'unreadable upgraded'])
    expect(responsesOf('HTTP/1.1 407 No\r\nContent-Length: 1\r\n\r\nx', ['CONNECT'])).toEqual(['407 1.1', 'end 1'])
  })
  it('is no fault where a request has asked for it', () => {
    const [first, second] = ['GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n', 'CONNECT a:1 HTTP/1.1\r\n\r\n']
    expect(feed(readRequests(), [toBytes(first), toBytes('\x81\x05hello')])).toEqual(['GET /ws  1.1', 'end 0', 'lost'])
    expect(feed(readRequests(), [toBytes(second), toBytes('\x16\x03\x01')])).toEqual(['CONNECT  a:1 1.1', 'end 0', 'lost'])
  })
})

describe('missing bytes', () => {
  const get = (path: string, fields = ''): Uint8Array => toBytes(`GET ${path} HTTP/1.1\r\n${fields}\r\n`)
  it('within a body of known length lose nothing', () => {
    const told = readRequests()
    feed(told, [toBytes('PUT /a HTTP/1.1\r\nContent-Length: 1000\r\n\r\nxx')])
    skipHttp(told.reader, 990, 1)
    feed(told, [toBytes('12345678GET /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n')])
    skipHttp(told.reader, 1000, 2)
    skipHttp(told.reader, 0, 2)
    expect(feed(told, [toBytes('\r\n0\r\n\r\n'), get('/c')])).toEqual([
      'PUT /a  1.1',
      'end 1000',
      'GET /b  1.1',
      'end 1000',
      'GET /c  1.1',
      'end 0',
    ])
  })
  it('that begin in one and end behind it lose the framing', () => {
    const told = readRequests()
    feed(told, [toBytes('PUT /a HTTP/1.1\r\nContent-Length: 1000\r\n\r\nxx')])
    skipHttp(told.reader, 999, 1)
    expect(feed(told, [get('/b')])).toEqual(['PUT /a  1.1', 'lost', 'found GET /b  1.1', 'end 0'])
  })
  it('cut a head: its first line is told, and the next head found', () => {
    const told = readRequests()
    feed(told, [toBytes('GET /a HTTP/1.1\r\nHost: a\r\nCookie: xxxxx')])
    skipHttp(told.reader, 1000, 1)
    expect(feed(told, [toBytes('yyyy\r\n\r\n'), get('/b')])).toEqual([
      'GET /a a 1.1 broken',
      'lost',
      'found GET /b  1.1',
      'end 0',
    ])
    const server = readResponses()
    feed(server, [toBytes('HTTP/1.1 200 OK\r\nSet-Cookie: x')])
    skipHttp(server.reader, 1000, 1)
    expect(server.lines).toEqual(['200 1.1 broken', 'lost'])
    const switching = readResponses()
    feed(switching, [toBytes('HTTP/1.1 101 Switching\r\nA: x')])
    skipHttp(switching.reader, 1000, 1)
    expect(switching.lines).toEqual(['101 1.1 broken', 'unreadable upgraded'])
  })
  it('are followed by a head at the start of a segment alone', () => {
    const told = readRequests({ isMidstream: true })
    expect(feed(told, [toBytes('body GET /no HTTP/1.1\r\n\r\n')])).toEqual([])
    expect(feed(told, [toBytes('FOO /no HTTP/1.1\r\n\r\n')])).toEqual([])
    expect(feed(told, [toBytes('GET up to here it is text\r\n'), toBytes('GET /no HTTP/1.1\r\nno field\r\n\r\n')])).toEqual([
      'lost',
      'lost',
    ])
    expect(feed(told, [get('/a')])).toEqual(['lost', 'lost', 'found GET /a  1.1', 'end 0'])
  })
  it('are followed by a head that is split', () => {
    for (let at = 1; at < get('/a', 'Host: h\r\n').length; at++) {
      const told = readRequests({ isMidstream: true })
      expect(feed(told, split(get('/a', 'Host: h\r\n'), at)), `split at ${at}`).toEqual(['found GET /a h 1.1', 'end 0'])
    }
    const behindBody = readRequests({ isMidstream: true })
    expect(feed(behindBody, [toBytes('C'), get('/a')])).toEqual(['lost', 'found GET /a  1.1', 'end 0'])
    const server = readResponses([], { isMidstream: true })
    const head = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'
    expect(feed(server, [toBytes('HT'), toBytes(head)])).toEqual(['lost', 'found 200 1.1', 'end 0'])
  })
  it('before what has ended the connection', () => {
    const ends = (text: string): readonly string[] => {
      const told = readRequests()
      feed(told, [toBytes(text)])
      endHttp(told.reader, 1)
      return told.lines
    }
    expect(ends('')).toEqual([])
    expect(ends('GET / HTTP/1.1\r\n\r\n\r\n')).toEqual(['GET /  1.1', 'end 0'])
    expect(ends('GET / HTTP/1.1\r\nHost')).toEqual(['fault ended_early'])
    expect(ends('GET / HT')).toEqual(['fault ended_early'])
    expect(ends('PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\nx')).toEqual(['PUT /  1.1', 'fault ended_early'])
  })
})

it('passes over a gigabyte by arithmetic, with chunks as with a length', () => {
  const chunk = new Uint8Array(1 << 16).fill(0x58)
  const length = 1 << 30
  const told = readResponses()
  feed(told, [toBytes(`HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`)])
  for (let passed = 0; passed < length; passed += chunk.length) takeHttp(told.reader, chunk, 0, chunk.length, 1)
  feed(told, [toBytes(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n`)])
  const framed = toBytes(`10000\r\n${'X'.repeat(1 << 16)}\r\n`)
  for (let passed = 0; passed < length; passed += chunk.length) takeHttp(told.reader, framed, 0, framed.length, 1)
  expect(feed(told, [toBytes('0\r\n\r\n')])).toEqual(['200 1.1', `end ${length}`, '200 1.1', `end ${length}`])
})

describe('what Node says to Node', () => {
  const bytesOf = (segments: readonly Segment[], side: Segment['side']): Uint8Array =>
    Uint8Array.from(segments.filter((one) => one.side === side).flatMap(({ bytes }) => [...bytes]))

  it('is read as it was meant, however it is split', async () => {
    const serve: http.RequestListener = (request, response) => {
      request.resume()
      request.on('end', () => {
        if (request.url === '/chunks') {
          response.writeHead(200, { Trailer: 'Sum' })
          for (const part of ['one', 'two', 'three']) response.write(part)
          response.addTrailers({ Sum: '11' })
          response.end()
        } else if (request.url === '/same') response.writeHead(304, { ETag: '"x"' }).end()
        else if (request.url === '/nothing') response.writeHead(204).end()
        else response.writeHead(200, { 'Content-Length': 12 }).end(request.method === 'HEAD' ? undefined : 'Hello, world')
      })
    }
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
    const [segments = []] = await record(serve, async (port) => {
      await ask({ port, agent, path: '/a?secret' })
      await ask({ port, agent, path: '/chunks' })
      await ask({ port, agent, path: '/head', method: 'HEAD' })
      await ask({ port, agent, path: '/same' })
      await ask({ port, agent, path: '/nothing', method: 'DELETE' })
      await ask({ port, agent, path: '/put', method: 'PUT' }, ['some ', 'parts ', 'in chunks'])
      await ask({ port, agent, path: '/post', method: 'POST', headers: { 'Content-Length': 4, Expect: '100-continue' } }, 'body')
      agent.destroy()
    })
    const told = expectSameSplit(readRequests, bytesOf(segments, 'client'))
    expect(told.map((line) => line.replace(/ 127\S+ 1\.1/, ''))).toEqual(
      ['GET /a', 'GET /chunks', 'HEAD /head', 'GET /same', 'DELETE /nothing', 'PUT /put', 'POST /post'].flatMap((head, i) => [
        head,
        `end ${[0, 0, 0, 0, 0, 20, 4][i]}`,
      ]),
    )
    const methods: HttpMethod[] = ['GET', 'GET', 'HEAD', 'GET', 'DELETE', 'PUT', 'POST']
    expect(expectSameSplit(() => readResponses(methods), bytesOf(segments, 'server'))).toEqual(
      ['200 12', '200 11', '200 0', '304 0', '204 0', '200 12', '100 0', '200 12'].flatMap((line) => {
        const [status, bodyBytes] = line.split(' ')
        return [`${status} 1.1`, `end ${bodyBytes}`]
      }),
    )
  })

  it('is read when it is big, in the segments it came in', async () => {
    const size = 5_000_000
    const serve: http.RequestListener = (request, response) => {
      request.resume()
      request.on('end', () => response.end(Buffer.alloc(size, 'HTTP/1.1 200 OK\r\n\r\n')))
    }
    const [segments = []] = await record(serve, async (port) => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
      for (let i = 0; i < 3; i++)
        await ask({ port, agent, method: 'POST', path: `/${i}` }, 'GET / HTTP/1.1\r\n\r\n'.repeat(size / 100))
      agent.destroy()
    })
    expect(segments.length).toBeGreaterThan(100)
    const [client, server] = [readRequests(), readResponses(['POST', 'POST', 'POST'])]
    for (const { side, bytes } of segments) feed(side === 'client' ? client : server, [bytes])
    expect(client.lines.filter((line) => line.startsWith('end'))).toEqual(Array(3).fill(`end ${(18 * size) / 100}`))
    expect(server.lines).toEqual(
      Array(3)
        .fill(['200 1.1', `end ${size}`])
        .flat(),
    )
  })
})

describe('beside the parser of Node', () => {
  /** How many requests Node's server takes from a connection, and whether it refuses what comes. */
  async function countByNode(streams: readonly string[]): Promise<{ requests: number; isRefused: boolean }[]> {
    let requests = 0
    let isRefused = false
    const server = http.createServer({ requireHostHeader: false }, (request, response) => {
      requests++
      request.resume()
      request.on('end', () => response.end())
      request.on('error', () => undefined)
    })
    server.on('checkContinue', (_, response) => response.end())
    server.on('clientError', (_, socket) => {
      isRefused = true
      socket.destroy()
    })
    const port = await listen(server)
    const counts = []
    for (const stream of streams) {
      requests = 0
      isRefused = false
      await send(port, stream, true, () => false).catch(() => '')
      counts.push({ requests, isRefused })
    }
    server.close()
    return counts
  }
  const mine = (stream: string): { heads: number; faults: number; hasOtherMethod: boolean } => {
    const told = readRequests()
    const lines = feed(told, [toBytes(stream)])
    endHttp(told.reader, 1)
    return {
      heads: lines.filter((line) => /^(found )?[A-Z]+ .*1\.[01]$/.test(line)).length,
      hasOtherMethod: lines.some((line) => line.startsWith('other')),
      faults: lines.filter((line) => line.startsWith('fault') || line === 'unreadable other').length,
    }
  }

  const fragment = fc.constantFrom(
    ...['GET / HTTP/1.1\r\n', 'POST /a HTTP/1.1\r\n', 'HEAD / HTTP/1.1\r\n', 'OPTIONS * HTTP/1.1\r\n'],
    ...[
      'Host: a\r\n',
      'A: b\r\n',
      'Content-Length: 5\r\n',
      'Content-Length: 0\r\n',
      'Content-Length: 05\r\n',
      'content-length:5\r\n',
    ],
    ...['Transfer-Encoding: chunked\r\n', 'Transfer-Encoding: gzip, chunked\r\n', 'Transfer-Encoding: chunked, gzip\r\n'],
    ...[
      'Transfer-Encoding:\tchunked\r\n',
      'Transfer-Encoding: Chunked\r\n',
      'Transfer-Encoding: identity\r\n',
      'Transfer-Encoding : chunked\r\n',
    ],
    ...[
      'Content-Length: 5, 5\r\n',
      'Content-Length: +5\r\n',
      'Content-Length: 5 \r\n',
      'Content-Length : 5\r\n',
      'Content_Length: 5\r\n',
    ],
    ...[
      '\r\n',
      'hello',
      '5\r\nhello\r\n',
      '0\r\n\r\n',
      '5;x=y\r\nhello\r\n',
      '5 \r\nhello\r\n',
      '0\r\nT: x\r\n\r\n',
      '05\r\nhello\r\n',
    ],
    ...['\n', '\r', ' ', '\t', '\0', ':', ' folded\r\n', '5\nhello\n', '\x0b', 'GET / HTTP/1.2\r\n', 'GET  / HTTP/1.1\r\n', 'x'],
  )
  const usual = fc
    .tuple(
      fc.constantFrom('GET', 'POST', 'HEAD', 'PUT', 'PATCH', 'DELETE'),
      fc.nat(3),
      fc.string({ maxLength: 40, unit: 'grapheme-ascii' }),
    )
    .map(([method, kind, body]) => {
      const head = `${method} /x HTTP/1.1\r\nHost: a\r\n`
      if (kind === 0 || method === 'HEAD') return `${head}\r\n`
      if (kind === 1) return `${head}Content-Length: ${body.length}\r\n\r\n${body}`
      const chunks = body === '' ? '' : `${body.length.toString(16)}\r\n${body}\r\n`
      return `${head}Transfer-Encoding: chunked\r\n\r\n${chunks}0\r\n${kind === 2 ? '' : 'T: t\r\n'}\r\n`
    })
  const whole = fc.array(usual, { minLength: 1, maxLength: 6 }).map((parts) => parts.join(''))
  const oddHead = fc
    .tuple(fc.constantFrom('GET /', 'POST /a'), fc.array(fragment, { maxLength: 6 }), fc.array(fragment, { maxLength: 6 }))
    .map(([start, fields, rest]) => `${start} HTTP/1.1\r\n${fields.join('')}\r\n${rest.join('')}GET /next HTTP/1.1\r\n\r\n`)
  const mutated = fc
    .tuple(whole, fc.nat(), fc.nat(4), fc.oneof(fragment, fc.string({ maxLength: 2 })))
    .map(([text, at, removed, inserted]) => {
      const from = at % text.length
      return text.slice(0, from) + inserted + text.slice(from + removed)
    })

  it('it frames all usual requests as Node does', async () => {
    const streams = fc.sample(whole, { numRuns: 300, seed: 1 })
    const counts = await countByNode(streams)
    streams.forEach((stream, i) => expect(mine(stream).heads, JSON.stringify(stream)).toBe(counts[i]?.requests))
    expect(counts.reduce((sum, { requests }) => sum + requests, 0)).toBeGreaterThan(600)
  })

  it('it frames odd ones as Node does, or says that they are a fault where Node may go on', async () => {
    const streams = [
      ...fc.sample(oddHead, { numRuns: 1500, seed: 2 }),
      ...fc.sample(mutated, { numRuns: 1500, seed: 3 }),
      ...fc.sample(
        fc.array(fragment, { maxLength: 12 }).map((parts) => parts.join('')),
        { numRuns: 500, seed: 4 },
      ),
    ]
    const counts = await countByNode(streams)
    const wrong: string[] = []
    let [compared, refused] = [0, 0]
    streams.forEach((stream, i) => {
      const { requests = 0, isRefused = false } = counts[i] ?? {}
      const { heads, faults, hasOtherMethod } = mine(stream)
      // Node refuses methods that it does not know and lines that end with a single LF; other servers do not.
      if (hasOtherMethod || /(?<!\r)\n/.test(stream)) return
      compared++
      if (isRefused) refused++
      const isRight = faults === 0 ? heads === requests : faults === 1 && heads <= requests
      if (!isRight) wrong.push(`${heads} heads, ${faults} faults, Node ${requests}: ${JSON.stringify(stream)}`)
    })
    expect(wrong).toEqual([])
    expect([compared > 2000, refused > 1000]).toEqual([true, true])
  }, 120_000)
})

describe('whatever comes', () => {
  const field = fc
    .tuple(fc.stringMatching(/^[a-z-]{1,10}$/), fc.string({ maxLength: 20, unit: 'grapheme-ascii' }))
    .map(([name, value]) => `x${name}: ${value}\r\n`)
  interface Message {
    readonly head: string
    readonly body: string
    readonly line: string
    readonly isChunked: boolean
  }
  const body = fc
    .oneof(
      fc.string({ maxLength: 100 }),
      fc.constantFrom('GET /wrong HTTP/1.1\r\n\r\n', '\r\n\r\n0\r\n\r\n', 'HTTP/1.1 500 wrong\r\n\r\n'),
    )
    .map((text) => Buffer.from(text).toString('latin1'))
  const message: fc.Arbitrary<Message> = fc
    .tuple(fc.constantFrom(...httpMethods), fc.nat(999), fc.array(field, { maxLength: 4 }), body, fc.boolean())
    .map(([method, id, fields, text, isChunked]) => ({
      head: `${method} ${method === 'CONNECT' ? `a:${id}` : `/${id}?q`} HTTP/1.1\r\n${fields.join('')}${isChunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${text.length}`}\r\n\r\n`,
      body: text,
      line: method === 'CONNECT' ? `CONNECT  a:${id} 1.1` : `${method} /${id}  1.1`,
      isChunked,
    }))

  it('messages are the same for any segments, and for gaps in bodies', () => {
    fc.assert(
      fc.property(
        fc.array(message, { minLength: 1, maxLength: 6 }),
        fc.infiniteStream(fc.nat(60)),
        fc.boolean(),
        (messages, sizes, hasGaps) => {
          const told = readRequests()
          const take = (text: string): void => {
            const bytes = toBytes(text)
            for (let from = 0; from < bytes.length; ) {
              const to = Math.min(bytes.length, from + 1 + (sizes.next().value ?? 0))
              feed(told, [bytes.slice(from, to)])
              from = to
            }
          }
          const takeBody = (text: string): void => {
            const from = (sizes.next().value ?? 0) % (text.length + 1)
            const to = hasGaps ? Math.min(text.length, from + (sizes.next().value ?? 0)) : from
            take(text.slice(0, from))
            skipHttp(told.reader, to - from, 1)
            take(text.slice(to))
          }
          for (const { head, body: text, isChunked } of messages) {
            take(head)
            if (isChunked && text !== '') take(`${text.length.toString(16)}\r\n`)
            takeBody(text)
            if (isChunked) take(text === '' ? '0\r\n\r\n' : '\r\n0\r\n\r\n')
          }
          expect(told.lines).toEqual(messages.flatMap(({ line, body: text }) => [line, `end ${text.length}`]))
        },
      ),
      { numRuns: 500 },
    )
  })

  it('it stays inside its bytes, and tells one thing for one way of cutting', () => {
    const noise = fc.oneof(
      fc.string({ maxLength: 80 }).map((text) => Buffer.from(text).toString('latin1')),
      message.map(({ head, body: text }) => head + text),
      fc.constantFrom(
        'HTTP/1.1 200 OK\r\n',
        'GET / HTTP/1.1\r\n',
        '\r\n',
        '5\r\n',
        'a: b\r\n',
        'Transfer-Encoding: chunked\r\n\r\n',
        '\x16\x03\x01',
      ),
    )
    const step = fc.oneof({ weight: 5, arbitrary: noise }, { weight: 1, arbitrary: fc.nat(200) })
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 20 }),
        fc.boolean(),
        fc.constantFrom(0x00, 0x0a, 0x20, 0x41),
        (steps, isMidstream, filler) => {
          const run = (create: () => Told, around: number): readonly string[] => {
            const told = create()
            for (const one of steps) {
              if (typeof one === 'number') skipHttp(told.reader, one, 0)
              else {
                const bytes = new Uint8Array(one.length + 40).fill(around)
                bytes.set(toBytes(one), 20)
                takeHttp(told.reader, bytes, 20, 20 + one.length, 0)
              }
            }
            endHttp(told.reader, 0)
            const { length } = told.lines
            takeHttp(told.reader, toBytes('GET / HTTP/1.1\r\n\r\n'), 0, 18, 0)
            expect(told.lines).toHaveLength(length)
            expect(told.lines.filter((line) => line.startsWith('unreadable')).length).toBeLessThan(2)
            return told.lines
          }
          for (const create of [() => readRequests({ isMidstream }), () => readResponses([], { isMidstream })]) {
            expect(run(create, filler)).toEqual(run(create, 0xff))
          }
        },
      ),
      { numRuns: 1000 },
    )
  })
})
