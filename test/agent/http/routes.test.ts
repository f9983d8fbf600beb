import http from 'node:http'
import net from 'node:net'
import zlib from 'node:zlib'
import { afterEach, describe, expect, it } from 'vitest'
import { createRoutes, type Guard, type HttpParts } from '../../../agent/http/routes.ts'
import { limits } from '../../../agent/limits.ts'
import type { MetricDefinition } from '../../../agent/metrics/catalogue.ts'
import type { SocketAnswer, SocketList, SocketQuestion } from '../../../agent/socket-list.ts'
import { createFakeParts, noSockets, series, snapshotOf } from './fake-parts.ts'

const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

function appOf(parts: HttpParts = createFakeParts(), guard?: Guard) {
  const routes = createRoutes(parts, http.createServer, guard)
  stops.push(async () => {
    routes.app.server.closeAllConnections()
    await new Promise((resolve) => routes.app.server.close(resolve))
    await routes.app.close()
  })
  return routes
}

async function listen(parts: HttpParts, guard?: Guard): Promise<{ port: number; stop: () => void }> {
  const { app, stop } = appOf(parts, guard)
  await app.ready()
  await new Promise<void>((resolve) => app.server.listen(0, '127.0.0.1', resolve))
  return { port: (app.server.address() as net.AddressInfo).port, stop }
}

function get(
  port: number,
  path: string,
  options: http.RequestOptions = {},
): Promise<{ status: number; headers: http.IncomingHttpHeaders; text: string }> {
  return new Promise((resolve, reject) => {
    const request = http.request({ port, host: '127.0.0.1', path, ...options }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk) => {
        text += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text }))
    })
    request.on('error', reject)
    request.end()
  })
}

const guardOf = (more: Partial<Guard>): Guard => ({
  judge: () => Promise.resolve('allowed'),
  knowsClients: () => false,
  challenges: () => ['Basic realm="netvitals"', 'Bearer realm="netvitals"'],
  admits: () => true,
  headers: () => ({}),
  ...more,
})

describe('GET /metrics', () => {
  it('gives the sweep and the agent itself as text 0.0.4', async () => {
    const { app } = appOf()
    const { statusCode, headers, payload } = await app.inject('/metrics')
    expect(statusCode).toBe(200)
    expect(headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8')
    expect(headers.vary).toBe('Accept, Accept-Encoding')
    expect(payload).toContain('\nnetvitals_softnet_drops_total 4\n')
    expect(payload).toContain('\nprocess_resident_memory_bytes ')
  })

  it('gives OpenMetrics to who asks for it', async () => {
    const { app } = appOf()
    const accept = 'application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1'
    const { headers, payload } = await app.inject({ url: '/metrics', headers: { accept } })
    expect(headers['content-type']).toBe('application/openmetrics-text; version=1.0.0; charset=utf-8')
    expect(payload.endsWith('# EOF\n')).toBe(true)
  })

  it.each([
    ['gzip', true],
    ['deflate, GZIP;q=0.5', true],
    ['*', true],
    ['*;q=0, gzip;q=1', true],
    ['gzip;q=0', false],
    ['gzip;q=0, *', false],
    ['identity', false],
    ['br', false],
    ['', false],
  ])('with Accept-Encoding "%s": gzip %s', async (encoding, isGzip) => {
    const { app } = appOf()
    const { headers, rawPayload } = await app.inject({ url: '/metrics', headers: { 'accept-encoding': encoding } })
    expect(headers['content-encoding']).toBe(isGzip ? 'gzip' : undefined)
    const text = (isGzip ? zlib.gunzipSync(rawPayload) : rawPayload).toString()
    expect(text).toContain('\nnetvitals_softnet_drops_total 4\n')
    expect(headers['content-length']).toBe(String(rawPayload.length))
  })

  it('answers HEAD with the headers alone', async () => {
    const { port } = await listen(createFakeParts())
    const { status, headers, text } = await get(port, '/metrics', { method: 'HEAD' })
    expect(status).toBe(200)
    expect(headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8')
    expect(text).toBe('')
  })

  it('counts the answers by code', async () => {
    const { app } = appOf()
    for (const url of ['/metrics', '/nothing', '/nothing']) await app.inject(url)
    const { payload } = await app.inject('/metrics')
    expect(payload).toContain('netvitals_web_requests_total{code="200"} 1\n')
    expect(payload).toContain('netvitals_web_requests_total{code="404"} 2\n')
  })

  it('says 500 and why in the log if the sweep breaks', async () => {
    const parts = createFakeParts({ sweep: { take: () => Promise.reject(new Error('broken')), latest: () => undefined } })
    const { statusCode, payload } = await appOf(parts).app.inject('/metrics')
    expect(statusCode).toBe(500)
    expect(payload).not.toContain('broken')
    expect(parts.lines).toEqual([{ level: 'error', message: 'request failed', path: '/metrics', reason: 'broken' }])
  })

  it('answers 503 beyond so many at once, and all again when they are through', async () => {
    let release: () => void = () => undefined
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    const parts = createFakeParts()
    const { port } = await listen({
      ...parts,
      sweep: { take: () => held.then(() => parts.snapshot), latest: () => parts.snapshot },
    })
    const held503 = Array.from({ length: limits.metricsInFlight }, () => get(port, '/metrics'))
    await expect.poll(async () => (await get(port, '/metrics')).status).toBe(503)
    const { headers } = await get(port, '/metrics')
    expect(headers['retry-after']).toBe('1')
    expect((await get(port, '/healthz')).status).toBe(200)
    release()
    for (const { status } of await Promise.all(held503)) expect(status).toBe(200)
    await expect.poll(async () => (await get(port, '/metrics')).status).toBe(200)
  })

  it('frees its place when a client goes away before its answer', async () => {
    let release: () => void = () => undefined
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    let taken = 0
    const parts = createFakeParts()
    const take = (): Promise<typeof parts.snapshot> => {
      taken++
      return held.then(() => parts.snapshot)
    }
    const { port } = await listen({ ...parts, sweep: { take, latest: () => parts.snapshot } })
    const clients = Array.from({ length: limits.metricsInFlight }, () => net.connect(port, '127.0.0.1'))
    for (const client of clients) client.write('GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n')
    await expect.poll(() => taken).toBe(limits.metricsInFlight)
    for (const client of clients) client.destroy()
    await expect
      .poll(async () =>
        Promise.race([
          get(port, '/metrics').then(({ status }) => status),
          new Promise((resolve) => setTimeout(resolve, 100, 'waits')),
        ]),
      )
      .toBe('waits')
    release()
  })
})

describe('the birth rule', () => {
  const births = 'netvitals_dropped_packets_total'
  const scrape = { headers: { 'x-prometheus-scrape-timeout-seconds': '10' } }
  const valueIn = (text: string): string | undefined => new RegExp(`^${births}\\S* (.*)$`, 'm').exec(text)?.[1]

  it('shows a scraper 0 first, on its own connection, and everybody else the value', async () => {
    const parts = createFakeParts()
    const { port } = await listen(parts)
    const keepAlive = (): http.Agent => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
      stops.push(async () => agent.destroy())
      return agent
    }
    const [prometheus, other] = [keepAlive(), keepAlive()]
    const at = (takenAtMs: number): void => {
      const born = takenAtMs >= 130_000 ? [series('reason="x"', 7, { bornAtMs: 130_000, bornFromZero: true })] : []
      parts.snapshot = snapshotOf({ [births]: born }, { takenAtMs })
    }
    const seenBy = async (agent: http.Agent, options: object = scrape): Promise<string | undefined> =>
      valueIn((await get(port, '/metrics', { agent, ...options })).text)

    at(100_000)
    expect(await seenBy(prometheus)).toBeUndefined()
    at(115_000)
    expect(await seenBy(prometheus)).toBeUndefined()
    at(130_000)
    expect(await seenBy(prometheus)).toBe('0')
    expect(await seenBy(keepAlive(), {})).toBe('7')
    at(137_000)
    expect(await seenBy(other)).toBe('0') // its first answer: the series is young
    at(145_000)
    expect(await seenBy(prometheus)).toBe('0')
    at(160_000)
    expect(await seenBy(prometheus)).toBe('7')
    expect(await seenBy(other)).toBe('0')
    at(210_000)
    expect(await seenBy(other)).toBe('7')
    expect(await seenBy(keepAlive())).toBe('7') // new, but the series is older than 65 s
  })
})

describe('health', () => {
  it('is alive at once, and ready with a fresh sweep', async () => {
    const parts = createFakeParts()
    let newest: typeof parts.snapshot | undefined
    const { app, stop } = appOf({ ...parts, sweep: { take: parts.sweep.take, latest: () => newest }, now: () => parts.clockMs })
    const ask = async (url: string): Promise<string> => {
      const { statusCode, payload } = await app.inject(url)
      return `${statusCode} ${payload.trim()}`
    }
    expect(await ask('/healthz')).toBe('200 ok')
    expect(await ask('/readyz')).toBe('503 no sweep has finished yet')
    newest = parts.snapshot
    expect(await ask('/readyz')).toBe('200 ready')
    parts.clockMs += 3 * limits.sweepIntervalMs
    expect(await ask('/readyz')).toBe('200 ready')
    parts.clockMs += 1
    expect(await ask('/readyz')).toBe('503 the newest sweep is 45 s old')
    parts.clockMs = 1000
    stop()
    expect(await ask('/readyz')).toBe('503 the agent stops')
    expect(await ask('/healthz')).toBe('200 ok')
  })
})

describe('other requests', () => {
  it.each(['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'TRACE', 'PROPFIND'])('%s is not allowed', async (method) => {
    const { port } = await listen(createFakeParts())
    const { status, headers, text } = await get(port, '/metrics?x=1', { method })
    expect([status, headers.allow, text]).toEqual([405, 'GET, HEAD', 'only GET and HEAD\n'])
    expect((await get(port, '/nothing', { method })).status).toBe(404)
  })

  it('reads no body', async () => {
    const { port } = await listen(createFakeParts())
    const socket = net.connect(port, '127.0.0.1')
    const closed = new Promise((resolve) => socket.on('error', resolve).on('close', resolve))
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk
    })
    socket.write('POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100000000\r\n\r\n{')
    await expect.poll(() => text).toMatch(/^HTTP\/1\.1 405 [\s\S]*Connection: close/i)
    await closed
  })

  it('refuses headers that are too long', async () => {
    const { port } = await listen(createFakeParts())
    expect((await get(port, '/metrics', { headers: { a: 'x'.repeat(limits.requestHeaderBytes) } })).status).toBe(431)
  })

  it('answers 404 with a short text', async () => {
    const { statusCode, payload } = await appOf().app.inject('/api/v2/<script>')
    expect([statusCode, payload]).toEqual([404, 'not found\n'])
  })

  it('survives requests that are no HTTP', async () => {
    const { port } = await listen(createFakeParts())
    for (const junk of [
      '\x16\x03\x01\x02\x00',
      'GET /%E0%A4%A HTTP/1.1\r\nHost: a\r\n\r\n',
      'GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n',
      '\r\n\r\n\r\n',
    ]) {
      const socket = net.connect(port, '127.0.0.1')
      socket.end(junk)
      socket.resume()
      await new Promise((resolve) => socket.on('error', resolve).on('close', resolve))
    }
    expect((await get(port, '/healthz')).status).toBe(200)
  })

  it('keeps an idle connection longer than a long scrape interval', () => {
    const { server } = appOf().app
    expect(server.keepAliveTimeout).toBeGreaterThanOrEqual(330_000)
    expect(server.headersTimeout).toBeLessThanOrEqual(server.requestTimeout)
    expect(server.maxConnections).toBe(limits.connections)
  })
})

describe('GET /api/v1/check', () => {
  it('is the report as JSON', async () => {
    const { headers, payload } = await appOf().app.inject('/api/v1/check')
    expect(headers['content-type']).toBe('application/json; charset=utf-8')
    expect(JSON.parse(payload)).toMatchObject({ schemaVersion: 1, version: '1.2.3', node: { name: 'node-1' } })
  })

  it('is refused to a command of another version', async () => {
    const { app } = appOf()
    expect((await app.inject({ url: '/api/v1/check', headers: { 'netvitals-schema-version': '1' } })).statusCode).toBe(200)
    expect((await app.inject({ url: '/api/v1/check', headers: { 'netvitals-schema-version': '2' } })).statusCode).toBe(400)
  })
})

describe('a guard', () => {
  it('stands before everything but health', async () => {
    const { app } = appOf(createFakeParts(), guardOf({ judge: () => Promise.resolve('refused') }))
    for (const url of ['/', '/metrics', '/api/v1/check', '/nothing', '/healthz/', '//healthz', '/healthz%2f', '/HEALTHZ']) {
      const { statusCode, headers } = await app.inject(url)
      expect([url, statusCode]).toEqual([url, 401])
      expect(headers['www-authenticate']).toEqual(['Basic realm="netvitals"', 'Bearer realm="netvitals"'])
    }
    expect((await app.inject('/healthz')).statusCode).toBe(200)
    expect((await app.inject('/readyz?verbose')).statusCode).toBe(200)
  })

  it('that knows nobody gives other machines metrics and health, and nothing else', async () => {
    const { app } = appOf(createFakeParts(), guardOf({}))
    const known = appOf(createFakeParts(), guardOf({ knowsClients: () => true })).app
    const ask = async (url: string, remoteAddress: string, of = app): Promise<number> =>
      (await of.inject({ url, remoteAddress })).statusCode
    for (const path of ['/', '/api/v1/check', '/api/v1/edges']) {
      for (const other of ['10.0.0.9', 'fd00::9', '::ffff:10.0.0.127', '::', '128.0.0.1']) {
        expect(await ask(path, other)).toBe(403)
        expect(await ask(path, other, known)).toBe(200)
      }
      for (const own of ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1']) expect(await ask(path, own)).toBe(200)
    }
    for (const path of ['/metrics', '/metrics?x=1', '/healthz', '/readyz']) expect(await ask(path, '10.0.0.9')).toBe(200)
    const { payload } = await app.inject({ url: '/', remoteAddress: '10.0.0.9' })
    expect(payload).toContain('--web.config.file asks for a password, a token or a client certificate')
  })

  it('may say that too many passwords are being checked, or too many requests come', async () => {
    const busy = appOf(createFakeParts(), guardOf({ judge: () => Promise.resolve('busy') })).app
    expect((await busy.inject('/metrics')).statusCode).toBe(503)
    const limited = appOf(createFakeParts(), guardOf({ admits: () => false })).app
    expect((await limited.inject('/metrics')).statusCode).toBe(429)
    expect((await limited.inject('/healthz')).statusCode).toBe(200)
  })

  it('adds its headers to every answer', async () => {
    const { app } = appOf(createFakeParts(), guardOf({ headers: () => ({ 'X-Frame-Options': 'deny' }) }))
    for (const url of ['/', '/metrics', '/healthz', '/nothing']) {
      const { headers } = await app.inject(url)
      expect([headers['x-frame-options'], headers['x-content-type-options']]).toEqual(['deny', 'nosniff'])
    }
  })
})

describe('GET /api/v1/sockets', () => {
  function askingFor(answer: (question: SocketQuestion, signal: AbortSignal) => Promise<SocketAnswer>) {
    const questions: SocketQuestion[] = []
    const ask: SocketList['ask'] = (question, signal) => {
      questions.push(question)
      return answer(question, signal)
    }
    return { parts: createFakeParts({ sockets: { ask } }), questions }
  }

  it('is there on the local socket only', async () => {
    expect((await appOf(createFakeParts(), guardOf({})).app.inject('/api/v1/sockets')).statusCode).toBe(404)
    const { statusCode, payload } = await appOf().app.inject('/api/v1/sockets')
    expect([statusCode, JSON.parse(payload)]).toEqual([200, noSockets])
  })

  it('takes the filters of the command', async () => {
    const { parts, questions } = askingFor(() => Promise.resolve(noSockets))
    await appOf(parts).app.inject('/api/v1/sockets?state=close-wait&not-port=22&not-port=80-90&process=7&each=1&top=5')
    expect(questions).toMatchObject([
      { each: true, top: 5, filters: { state: { only: ['close_wait'] }, process: { only: [7] } } },
    ])
    expect(questions[0]?.filters.port.not).toEqual([
      { first: 22, last: 22 },
      { first: 80, last: 90 },
    ])
  })

  it.each([
    ['state=open', 'state: expected established, '],
    ['type=drop', '"type" is no filter of show sockets'],
    ['config.file=/etc/passwd', '"config.file" is no filter of show sockets'],
    ['__proto__=1', '"__proto__" is no filter of show sockets'],
    ['top=-1', 'top takes a number, each 0 or 1'],
    ['each=yes', 'top takes a number, each 0 or 1'],
    ['each=1&each=1', 'top takes a number, each 0 or 1'],
  ])('refuses %s', async (query, message) => {
    const { statusCode, payload } = await appOf().app.inject(`/api/v1/sockets?${query}`)
    expect([statusCode, payload.slice(0, message.length)]).toEqual([400, message])
  })

  it('answers 503 beyond so many at once, and gives up when the reader goes', async () => {
    const signals: AbortSignal[] = []
    const { parts } = askingFor((_, signal) => {
      signals.push(signal)
      return new Promise(() => undefined)
    })
    const { port } = await listen(parts)
    const clients = Array.from({ length: limits.socketQuestions }, () => net.connect(port, '127.0.0.1'))
    for (const client of clients) client.write('GET /api/v1/sockets HTTP/1.1\r\nHost: a\r\n\r\n')
    await expect.poll(() => signals.length).toBe(limits.socketQuestions)
    expect(await get(port, '/api/v1/sockets')).toMatchObject({ status: 503, headers: { 'retry-after': '1' } })
    for (const client of clients) client.destroy()
    await expect.poll(() => signals.every(({ aborted }) => aborted)).toBe(true)
  })
})

describe('GET /api/v1/edges', () => {
  it('is a graph, for everybody who may see /metrics', async () => {
    const edge = 'client_namespace="shop",client_workload="api",server_namespace="",server_workload="external",reporter="client"'
    const parts = createFakeParts()
    const family = { name: 'netvitals_edge_connections', definition: {} as MetricDefinition, series: [series(edge, 3)] }
    parts.snapshot = { ...snapshotOf({}), families: [family] }
    const { statusCode, payload } = await appOf(parts, guardOf({})).app.inject('/api/v1/edges')
    expect(statusCode).toBe(200)
    expect(JSON.parse(payload)).toMatchObject({
      schemaVersion: 1,
      nodes: [{ id: 'shop/api' }, { id: 'external' }],
      edges: [{ source: 'shop/api', target: 'external', connections: 3 }],
    })
    const refusing = guardOf({ judge: async () => 'refused' })
    expect((await appOf(parts, refusing).app.inject('/api/v1/edges')).statusCode).toBe(401)
    const headers = { 'netvitals-schema-version': '2' }
    expect((await appOf(parts).app.inject({ url: '/api/v1/edges', headers })).statusCode).toBe(400)
  })
})
