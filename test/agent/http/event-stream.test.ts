import fs from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { EventMessage, NotShown } from '../../../agent/events.ts'
import { createEventStreams, type EventStreamHeader } from '../../../agent/http/event-stream.ts'
import { createRoutes } from '../../../agent/http/routes.ts'
import { createSecurity } from '../../../agent/http/security.ts'
import { createHttpServer, type HttpServer } from '../../../agent/http/server.ts'
import { AgentError, followAgent, listenOnSocket } from '../../../agent/http/socket.ts'
import { limits } from '../../../agent/limits.ts'
import { createFakeEvents, createFakeParts, dropOf, type FakeEvents } from './fake-parts.ts'

let directory: string
let file: string
const stops: (() => unknown)[] = []
beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-events-'))
  file = path.join(directory, 'agent.sock')
})
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
  fs.rmSync(directory, { recursive: true })
})

/** The n-th event of a test: its number is its port. */
const event = (port: number): EventMessage => dropOf({ destination: { address: '10.0.0.7', port } })
const eventsOf = (...ports: number[]): EventMessage[] => ports.map(event)
const notShown = (of: NotShown['of'], count: number): NotShown => ({
  time: '2026-11-26T18:20:01.123456Z',
  type: 'not_shown',
  of,
  count,
})
const nodeHeader = (recent: number): EventStreamHeader => ({ schemaVersion: 1, node: 'node-1', recent, routine: false })

async function serve(events: FakeEvents): Promise<HttpServer> {
  const parts = createFakeParts({ events })
  const server = createHttpServer(parts, createSecurity('', parts.log))
  stops.push(() => server.stop())
  await server.listenOnSocket(file)
  return server
}

interface Reader {
  readonly status: number | undefined
  readonly headers: http.IncomingHttpHeaders
  /** All whole lines so far. */
  readonly lines: unknown[]
  /** What is no whole line yet. */
  readonly rest: string
  readonly ended: Promise<void>
  readonly isComplete: boolean
  pause(): void
  resume(): void
  go(): void
}

/** Another program that reads. */
function open(url: string, options: http.RequestOptions = {}): Promise<Reader> {
  return new Promise((resolve, reject) => {
    const request = http.get({ socketPath: file, path: url, ...options }, (response) => {
      const lines: unknown[] = []
      let rest = ''
      response.setEncoding('utf8').on('data', (chunk: string) => {
        const parts = (rest + chunk).split('\n')
        rest = parts.pop() ?? ''
        for (const line of parts) if (response.statusCode === 200) lines.push(JSON.parse(line))
        if (response.statusCode !== 200) rest = chunk
      })
      response.on('error', () => undefined)
      resolve({
        status: response.statusCode,
        headers: response.headers,
        lines,
        get rest() {
          return rest
        },
        ended: new Promise((done) => response.once('close', done)),
        get isComplete() {
          return response.complete
        },
        pause: () => response.pause(),
        resume: () => response.resume(),
        go: () => request.destroy(),
      })
    })
    request.on('error', reject)
    stops.push(() => request.destroy())
  })
}

describe('GET /api/v1/events', () => {
  it('gives what is kept, and ends', async () => {
    await serve(createFakeEvents(eventsOf(1, 2, 3)))
    const reader = await open('/api/v1/events')
    await reader.ended
    expect(reader.headers).toMatchObject({
      'content-type': 'application/x-ndjson',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    })
    expect(reader.lines).toEqual([nodeHeader(3), ...eventsOf(1, 2, 3)])
    expect(reader.rest).toBe('')
  })

  it.each([
    [0, []],
    [2, [2, 3]],
    [9, [1, 2, 3]],
  ])('gives the last %d', async (last, ports) => {
    await serve(createFakeEvents(eventsOf(1, 2, 3)))
    const reader = await open(`/api/v1/events?last=${last}`)
    await reader.ended
    expect(reader.lines).toEqual([nodeHeader(ports.length), ...eventsOf(...ports)])
  })

  it('goes on with what happens until the reader goes', async () => {
    const events = createFakeEvents(eventsOf(1))
    await serve(events)
    const reader = await open('/api/v1/events?follow=1')
    await expect.poll(() => reader.lines).toEqual([nodeHeader(1), event(1)])
    events.tell(event(2), notShown('drop', 5))
    events.tell(event(3))
    await expect.poll(() => reader.lines.slice(2)).toEqual([event(2), notShown('drop', 5), event(3)])
    expect(events.listeners.size).toBe(1)
    reader.go()
    await expect.poll(() => events.listeners.size).toBe(0)
  })

  it('gives what went well to who asks for it', async () => {
    const well = { ...event(2), routine: true } as EventMessage
    const events = createFakeEvents([event(1), well])
    await serve(events)
    const plain = await open('/api/v1/events?follow=1')
    const curious = await open('/api/v1/events?follow=1&routine=1')
    await expect.poll(() => events.listeners.size).toBe(2)
    const unseen: NotShown = { ...notShown('dns', 9), routine: true }
    events.tell(well, unseen, event(3))
    await expect.poll(() => plain.lines).toEqual([nodeHeader(1), event(1), event(3)])
    const all = [{ ...nodeHeader(2), routine: true }, event(1), well, well, unseen, event(3)]
    await expect.poll(() => curious.lines).toEqual(all)
  })

  it('of what went well takes the last after the rest is left out', async () => {
    const well = (port: number): EventMessage => ({ ...event(port), routine: true }) as EventMessage
    await serve(createFakeEvents([event(1), event(2), well(3), well(4)]))
    const reader = await open('/api/v1/events?last=1')
    await reader.ended
    expect(reader.lines).toEqual([nodeHeader(1), event(2)])
  })

  it('gives large amounts whole', async () => {
    const ports = Array.from({ length: limits.eventsKept }, (_, i) => i)
    await serve(createFakeEvents(eventsOf(...ports)))
    const reader = await open('/api/v1/events')
    await reader.ended
    expect(reader.lines).toEqual([nodeHeader(ports.length), ...eventsOf(...ports)])
  })

  it('leaves the connection to the next question', async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
    stops.push(() => agent.destroy())
    await serve(createFakeEvents(eventsOf(1)))
    for (const _ of [1, 2, 3]) {
      const reader = await open('/api/v1/events', { agent })
      await reader.ended
      expect([reader.lines.length, reader.headers.connection]).toEqual([2, 'keep-alive'])
    }
  })

  it.each(['last=x', 'last=-1', 'last=1&last=2', 'follow=yes', 'routine=2', 'last=9999999999'])(
    'does not take %s',
    async (query) => {
      await serve(createFakeEvents())
      const reader = await open(`/api/v1/events?${query}`)
      await reader.ended
      expect([reader.status, reader.rest]).toEqual([400, 'last takes a number, follow and routine 0 or 1\n'])
    },
  )

  it('does not take another version of netvitals', async () => {
    await serve(createFakeEvents())
    expect((await open('/api/v1/events', { headers: { 'netvitals-schema-version': '2' } })).status).toBe(400)
  })

  it('answers HEAD without listening', async () => {
    const events = createFakeEvents(eventsOf(1))
    await serve(events)
    const reader = await open('/api/v1/events?follow=1', { method: 'HEAD' })
    await reader.ended
    expect([reader.status, reader.headers['content-type']]).toEqual([200, 'application/x-ndjson'])
    expect(events.listeners.size).toBe(0)
  })

  it('is not there over TCP', async () => {
    const server = await serve(createFakeEvents(eventsOf(1)))
    const url = await server.listen({ host: '127.0.0.1', port: 0 })
    expect((await fetch(`${url}api/v1/events`)).status).toBe(404)
    expect((await fetch(`${url}api/v1/events`, { method: 'POST' })).status).toBe(404)
  })
})

describe('a reader', () => {
  it('that does not read is told exactly how many it missed, and where', async () => {
    const events = createFakeEvents()
    const server = await serve(events)
    const reader = await open('/api/v1/events?follow=1')
    const quick = await open('/api/v1/events?follow=1')
    await expect.poll(() => reader.lines.length).toBe(1)
    reader.pause()
    const total = 3 * limits.eventsQueued
    for (let i = 0; i < total; i++) {
      events.tell(event(i % 65536))
      if (i % 100 === 0) await new Promise(setImmediate)
    }
    events.tell(notShown('drop', 7), notShown('connect', 2), notShown('drop', 30))
    await expect.poll(() => server.lostEvents()).toBeGreaterThan(0)
    const lost = server.lostEvents()
    expect(lost).toBeGreaterThan(limits.eventsQueued)
    expect(lost).toBeLessThan(total)
    reader.resume()
    await expect.poll(() => reader.lines.length, { timeout: 10_000 }).toBe(1 + (total - lost) + 3)
    events.tell(event(1), event(2))
    await expect.poll(() => reader.lines.length).toBe(1 + (total - lost) + 3 + 2)
    expect(reader.lines.slice(1, 1 + total - lost)).toEqual(
      Array.from({ length: total - lost }, (_, i) => event(i % 65536)), // the oldest, whole
    )
    expect(reader.lines.slice(1 + total - lost)).toEqual([
      notShown('slow_reader', lost),
      notShown('drop', 37),
      notShown('connect', 2),
      event(1),
      event(2),
    ])
    await expect.poll(() => quick.lines.length, { timeout: 10_000 }).toBe(1 + total + 3 + 2)
    expect(server.lostEvents()).toBe(lost)
  }, 60_000)

  it('that is one too many is refused, and welcome when another has gone', async () => {
    const events = createFakeEvents(eventsOf(1))
    await serve(events)
    const readers = await Promise.all(Array.from({ length: limits.eventReaders }, () => open('/api/v1/events?follow=1')))
    const refused = await open('/api/v1/events')
    await refused.ended
    expect([refused.status, refused.headers['retry-after'], refused.rest]).toEqual([
      503,
      '1',
      `${limits.eventReaders} readers of events are there already\n`,
    ])
    readers[0]!.go()
    await expect.poll(async () => (await open('/api/v1/events?follow=1')).status).toBe(200)
    expect(readers.slice(1).every(({ status }) => status === 200)).toBe(true)
  })

  it('is not cut off for being quiet, as others are', async () => {
    const events = createFakeEvents()
    const { app } = createRoutes(createFakeParts({ events }), http.createServer)
    stops.push(() => {
      app.server.closeAllConnections()
      return app.close()
    })
    await app.ready()
    app.server.timeout = 100
    await listenOnSocket(app.server, file)
    const silent = net.connect(file)
    const reader = await open('/api/v1/events?follow=1')
    await new Promise((resolve) => silent.once('close', resolve))
    await delay(300)
    events.tell(event(1))
    await expect.poll(() => reader.lines).toEqual([nodeHeader(0), event(1)])
  })
})

describe('when the agent stops', () => {
  it('each reader gets what waits for it and an orderly end, at once', async () => {
    const events = createFakeEvents(eventsOf(1))
    const server = await serve(events)
    const reader = await open('/api/v1/events?follow=1')
    const paused = await open('/api/v1/events?follow=1')
    await expect.poll(() => reader.lines.length).toBe(2)
    paused.pause()
    events.tell(event(2))
    const startedAt = performance.now()
    const stopped = server.stop()
    events.tell(event(3))
    paused.resume()
    await stopped
    await Promise.all([reader.ended, paused.ended])
    expect(performance.now() - startedAt).toBeLessThan(limits.stopMs / 2)
    for (const one of [reader, paused]) {
      expect(one.lines).toEqual([nodeHeader(1), event(1), event(2)])
      expect(one.isComplete).toBe(true)
    }
    expect(events.listeners.size).toBe(0)
  })

  it('one that does not read is cut off in time', async () => {
    const events = createFakeEvents()
    const server = await serve(events)
    const reader = await open('/api/v1/events?follow=1')
    reader.pause()
    for (let i = 0; i < 8000; i++) events.tell(event(i))
    const startedAt = performance.now()
    await server.stop()
    expect(performance.now() - startedAt).toBeLessThan(limits.stopMs + 1000)
    expect(events.listeners.size).toBe(0)
  })
})

describe('the queue', () => {
  it('tells of what was missed even if nothing comes after', async () => {
    const events = createFakeEvents()
    const streams = createEventStreams(events, 'node-1')
    const stream = streams.open({ last: 0, follow: true, routine: false })!
    for (let i = 0; i < limits.eventsQueued + 300; i++) events.tell(event(i))
    expect(streams.lost()).toBe(300)
    let text = ''
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
    await expect.poll(() => text.split('\n').length).toBe(1 + limits.eventsQueued + 1 + 1)
    expect(text).toMatch(/"type":"not_shown","of":"slow_reader","count":300\}\n$/)
    streams.stop()
    await new Promise((resolve) => stream.once('end', resolve))
    expect(streams.lost()).toBe(300)
  })

  it('tells of what was missed before what came later', async () => {
    const events = createFakeEvents()
    const streams = createEventStreams(events, 'node-1')
    const stream = streams.open({ last: 0, follow: true, routine: false })!
    for (let i = 0; i < limits.eventsQueued + 300; i++) events.tell(event(i))
    await new Promise((resolve) => stream.once('readable', resolve))
    let text = String(stream.read()) // now there is room
    events.tell(event(7))
    streams.stop()
    for await (const chunk of stream.setEncoding('utf8')) text += chunk
    const lines = text.trimEnd().split('\n')
    expect(lines.length).toBe(1 + limits.eventsQueued + 2)
    expect(lines.slice(-2).map((line) => JSON.parse(line))).toEqual([notShown('slow_reader', 300), event(7)])
  })

  it('keeps apart what went well among what was missed', async () => {
    const events = createFakeEvents()
    const streams = createEventStreams(events, 'node-1')
    const stream = streams.open({ last: 0, follow: true, routine: true })!
    for (let i = 0; i < limits.eventsQueued; i++) events.tell(event(i))
    const well: NotShown = { ...notShown('dns', 5), routine: true }
    events.tell(well, notShown('dns', 2), well)
    streams.stop()
    let text = ''
    for await (const chunk of stream.setEncoding('utf8')) text += chunk
    const lines = text.trimEnd().split('\n')
    expect(lines.slice(-2).map((line) => JSON.parse(line))).toEqual([{ ...well, count: 10 }, notShown('dns', 2)])
  })

  it('is let go with its reader', () => {
    const events = createFakeEvents()
    const streams = createEventStreams(events, 'node-1')
    const stream = streams.open({ last: 0, follow: true, routine: false })!
    stream.destroy()
    expect(events.listeners.size).toBe(0)
    for (let i = 0; i < 2 * limits.eventsQueued; i++) events.tell(event(i))
    expect(streams.lost()).toBe(0)
    streams.stop()
  })
})

describe('following an agent', () => {
  const followed = async (url: string, signal: AbortSignal = AbortSignal.timeout(20_000)): Promise<string[]> => {
    const lines: string[] = []
    for await (const line of followAgent(file, url, signal)) lines.push(line)
    return lines
  }
  async function answerWith(listener: http.RequestListener): Promise<void> {
    const server = http.createServer(listener).listen(file)
    stops.push(() => {
      server.closeAllConnections()
      server.close()
    })
    await new Promise((resolve) => server.once('listening', resolve))
  }

  it('gives its lines, and ends with them', async () => {
    await serve(createFakeEvents(eventsOf(1, 2)))
    expect((await followed('/api/v1/events')).map((line) => JSON.parse(line))).toEqual([nodeHeader(2), ...eventsOf(1, 2)])
  })

  it('puts lines together, however they come', async () => {
    await answerWith(async (_request, response) => {
      for (const part of ['{"a":', '1}\n{"b', '":"é', '"}\n\n{}\n', 'not whole']) {
        response.write(part)
        await new Promise(setImmediate)
      }
      response.end()
    })
    expect(await followed('/')).toEqual(['{"a":1}', '{"b":"é"}', '', '{}'])
  })

  it('ends when it is told to, and lets go of the agent', async () => {
    const events = createFakeEvents(eventsOf(1))
    await serve(events)
    const told = new AbortController()
    const lines: string[] = []
    for await (const line of followAgent(file, '/api/v1/events?follow=1', told.signal)) {
      lines.push(line)
      if (lines.length === 2) told.abort()
    }
    expect(lines.length).toBe(2)
    await expect.poll(() => events.listeners.size).toBe(0)
  })

  it('lets go of the agent when nobody wants more', async () => {
    const events = createFakeEvents(eventsOf(1))
    await serve(events)
    for await (const _ of followAgent(file, '/api/v1/events?follow=1', AbortSignal.timeout(20_000))) break
    await expect.poll(() => events.listeners.size).toBe(0)
  })

  it('says so if there is none', async () => {
    await expect(followed('/api/v1/events')).rejects.toThrow(new AgentError(`there is no agent at ${file} any more`))
  })

  it.each<[string, http.RequestListener, string]>([
    ['refuses', (_request, response) => response.writeHead(503).end('too many\n'), 'says: too many'],
    ['refuses without a word', (_request, response) => response.writeHead(503).end(), 'says: status 503'],
    ['hangs up', (request) => request.socket.destroy(), 'cannot be asked: socket hang up'],
    ['breaks off', (_request, response) => response.writeHead(200).write('{}\n', () => response.destroy()), 'is gone'],
    [
      'tells endlessly without a newline',
      (_request, response) => response.end('x'.repeat(2 * limits.askLineBytes)),
      'does not answer well: a line is too long',
    ],
  ])('that %s fails in words', async (_what, listener, message) => {
    await answerWith(listener)
    const failed = followed('/')
    await expect(failed).rejects.toBeInstanceOf(AgentError)
    await expect(failed).rejects.toThrow(`the agent at ${file} ${message}`)
  })
})
