import fs from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createSecurity } from '../../../agent/http/security.ts'
import { createHttpServer, type HttpServer } from '../../../agent/http/server.ts'
import { askAgent, ListenError } from '../../../agent/http/socket.ts'
import type { Snapshot } from '../../../agent/metrics/snapshot.ts'
import { createFakeParts, type FakeParts } from './fake-parts.ts'

let directory: string
let file: string
const stops: (() => unknown)[] = []
beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-server-'))
  file = path.join(directory, 'run', 'agent.sock')
})
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
  fs.rmSync(directory, { recursive: true })
})

function open(parts: FakeParts = createFakeParts(), webConfig = ''): HttpServer {
  const server = createHttpServer(parts, createSecurity(webConfig, parts.log))
  stops.push(() => server.stop())
  return server
}
const loopback = { host: '127.0.0.1', port: 0 }

async function complaint(attempt: Promise<unknown>): Promise<string> {
  const error = await attempt.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(ListenError)
  return (error as Error).message
}

describe('listening', () => {
  it('says where, with the port that was taken', async () => {
    const url = await open().listen(loopback)
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/$/)
    expect(await (await fetch(`${url}healthz`)).text()).toBe('ok\n')
  })

  it('can be on every address', async () => {
    const url = await open().listen({ host: undefined, port: 0 })
    expect(url).toMatch(/^http:\/\/localhost:\d+\/$/)
    expect((await fetch(`${url.replace('localhost', '127.0.0.1')}healthz`)).status).toBe(200)
  })

  it('on a port that is taken says so, and what to do', async () => {
    const port = Number(new URL(await open().listen(loopback)).port)
    expect(await complaint(open().listen({ host: '127.0.0.1', port }))).toBe(
      `127.0.0.1:${port}: the port is taken, perhaps by another agent; stop that, or choose another with --web.listen-address`,
    )
  })

  it('on an address of another machine says so', async () => {
    expect(await complaint(open().listen({ host: '192.0.2.1', port: 0 }))).toContain('this machine has no such address')
  })
})

describe('the local socket', () => {
  it('answers its owner without a password', async () => {
    const webConfig = path.join(directory, 'web.yaml')
    fs.writeFileSync(path.join(directory, 'token'), 'secret')
    fs.writeFileSync(webConfig, 'bearer_token_file: token\n')
    const server = open(createFakeParts(), webConfig)
    const url = await server.listen(loopback)
    await server.listenOnSocket(file)
    expect((await fetch(`${url}api/v1/check`)).status).toBe(401)
    expect((await fetch(`${url}api/v1/check`, { headers: { authorization: 'Bearer secret' } })).status).toBe(200)
    expect(await askAgent(file, '/api/v1/check')).toMatchObject({ schemaVersion: 1, version: '1.2.3' })
    expect((fs.statSync(file).mode & 0o777).toString(8)).toBe('600')
    expect((fs.statSync(path.dirname(file)).mode & 0o777).toString(8)).toBe('700')
  })

  it('goes when the agent goes', async () => {
    const server = open()
    await server.listenOnSocket(file)
    await server.stop()
    expect(fs.existsSync(file)).toBe(false)
    expect(await askAgent(file, '/api/v1/check')).toBeUndefined()
  })

  it('replaces what a dead agent left behind', async () => {
    fs.mkdirSync(path.dirname(file))
    const dead = net.createServer().listen(file)
    await new Promise((resolve) => dead.once('listening', resolve))
    fs.linkSync(file, `${file}.kept`)
    await new Promise((resolve) => dead.close(resolve))
    fs.renameSync(`${file}.kept`, file)
    expect(await askAgent(file, '/api/v1/check')).toBeUndefined()
    await open().listenOnSocket(file)
    expect(await askAgent(file, '/api/v1/check')).toBeDefined()
  })

  it('never takes the place of a live agent, or of something else', async () => {
    await open().listenOnSocket(file)
    expect(await complaint(open().listenOnSocket(file))).toBe(
      `${file}: another agent listens there; stop it, or choose another with --web.socket FILE, or none with --web.socket=`,
    )
    expect(await askAgent(file, '/api/v1/check')).toBeDefined()
    const other = path.join(directory, 'precious')
    fs.writeFileSync(other, 'text')
    expect(await complaint(open().listenOnSocket(other))).toContain('there is something that is no socket')
    expect(fs.readFileSync(other, 'utf8')).toBe('text')
  })

  it('that cannot be made says why, with the cause', async () => {
    fs.writeFileSync(path.join(directory, 'file'), '')
    const error = await open()
      .listenOnSocket(path.join(directory, 'file', 'agent.sock'))
      .catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(ListenError)
    expect((error as Error).message).toContain('cannot be made: something else has its name')
    expect((error as Error).cause).toBeDefined()
  })
})

describe('asking an agent', () => {
  async function answerWith(listener: http.RequestListener): Promise<void> {
    file = path.join(directory, 'other.sock')
    const server = http.createServer(listener).listen(file)
    stops.push(() => {
      server.closeAllConnections()
      server.close()
    })
    await new Promise((resolve) => server.once('listening', resolve))
  }

  it('tells the version both ways', async () => {
    let asked: http.IncomingHttpHeaders = {}
    await answerWith((request, response) => {
      asked = request.headers
      response.end('{"schemaVersion":2}')
    })
    await expect(askAgent(file, '/api/v1/check')).rejects.toThrow(
      `the agent at ${file} is of another version; use the netvitals of the same one`,
    )
    expect(asked['netvitals-schema-version']).toBe('1')
  })

  it.each<[string, http.RequestListener, string]>([
    ['refuses', (_request, response) => response.writeHead(400).end('another version\n'), 'says: another version'],
    ['answers no JSON', (_request, response) => response.end('<html>'), 'does not answer well'],
    ['answers null', (_request, response) => response.end('null'), 'is of another version'],
    ['hangs up', (request) => request.socket.destroy(), 'cannot be asked: socket hang up'],
    [
      'breaks off',
      (_request, response) => response.writeHead(200, { 'Content-Length': 10 }).write('{', () => response.destroy()),
      'does not answer well',
    ],
  ])('that %s fails in words', async (_what, listener, message) => {
    await answerWith(listener)
    await expect(askAgent(file, '/api/v1/check')).rejects.toThrow(message)
  })
})

describe('stopping', () => {
  /** Parts whose sweep ends when the test says. */
  function heldParts(): { parts: FakeParts; release: () => void; asked: () => number } {
    const parts = createFakeParts()
    let release: () => void = () => undefined
    let asked = 0
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    const take = (): Promise<Snapshot> => {
      asked++
      return held.then(() => parts.snapshot)
    }
    const heldSweep = { take, latest: () => parts.snapshot }
    return { parts: { ...parts, sweep: heldSweep }, release, asked: () => asked }
  }

  it('lets an answer under way finish, takes nothing new, and does not wait for idle connections', async () => {
    const { parts, release, asked } = heldParts()
    const server = open(parts)
    const url = await server.listen(loopback)
    const agent = new http.Agent({ keepAlive: true })
    stops.push(() => agent.destroy())
    await new Promise((resolve) => http.get(`${url}healthz`, { agent }, (response) => response.resume().on('end', resolve)))
    const silent = net.connect(Number(new URL(url).port), '127.0.0.1')
    silent.on('error', () => undefined)
    await new Promise((resolve) => silent.once('connect', resolve))

    const answer = fetch(`${url}metrics`)
    await expect.poll(asked).toBe(1)
    const startedAt = performance.now()
    const stopped = server.stop()
    await expect(fetch(`${url}healthz`)).rejects.toThrow()
    release()
    const response = await answer
    expect([response.status, response.headers.get('connection')]).toEqual([200, 'close'])
    expect(await response.text()).toContain('netvitals_softnet_drops_total 4')
    await stopped
    expect(performance.now() - startedAt).toBeLessThan(2000)
  })

  it('is bounded', async () => {
    const { parts, release, asked } = heldParts()
    const server = open(parts)
    const answer = fetch(`${await server.listen(loopback)}metrics`)
    const failed = expect(answer).rejects.toThrow()
    await expect.poll(asked).toBe(1)
    const startedAt = performance.now()
    await server.stop()
    expect(performance.now() - startedAt).toBeGreaterThan(4000)
    expect(performance.now() - startedAt).toBeLessThan(8000)
    await failed
    release()
  })
})
