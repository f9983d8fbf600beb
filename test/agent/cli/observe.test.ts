import fs from 'node:fs'
import http from 'node:http'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createAgent } from '../../../agent/agent.ts'
import type { CheckReport } from '../../../agent/check.ts'
import { observe } from '../../../agent/cli/observe.ts'
import { type Config, readConfig } from '../../../agent/config.ts'
import { ConfigError } from '../../../agent/config-file.ts'
import type { EventMessage, NetworkEvent } from '../../../agent/events.ts'
import { createSecurity } from '../../../agent/http/security.ts'
import { createHttpServer, type HttpServer } from '../../../agent/http/server.ts'
import { metricsOf } from '../../../agent/metrics/catalogue.ts'
import { eventTypes } from '../../../agent/metrics/labels.ts'
import type { SourceReport } from '../../../agent/metrics/snapshot.ts'
import type { Source } from '../../../agent/sources/source.ts'
import { createFakeEvents, createFakeParts, type FakeEvents, okReport, reportOf, snapshotOf } from '../http/fake-parts.ts'
import { createFakeTerminal, type FakeTerminal } from './fake-terminal.ts'
import { everything, failedQueries, oneOfEach } from './one-of-each.ts'

vi.mock('../../../agent/agent.ts', () => ({ createAgent: vi.fn() }))
process.env.TZ = 'UTC'

let directory: string
let file: string
let terminal: FakeTerminal
const stops: (() => unknown)[] = []
beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-observe-'))
  file = path.join(directory, 'agent.sock')
  terminal = createFakeTerminal()
})
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
  vi.mocked(createAgent).mockReset()
  fs.rmSync(directory, { recursive: true })
})

function configOf(...argv: string[]): Config {
  const config = readConfig(['observe', '--web.socket', file, ...argv], {})
  if ('print' in config) throw new Error('help')
  return config
}

const sources = (['trace-events', 'pcap-dns', 'pcap-http'] as const).map(
  (name): Source => ({ name, writes: metricsOf(name), needs: [], collect: () => Promise.resolve() }),
)
const reportWith = (ofEvents: Partial<SourceReport> = {}, ofPackets: Partial<SourceReport> = ofEvents): CheckReport =>
  reportOf(
    snapshotOf(
      {},
      { sources: [okReport('trace-events', ofEvents), okReport('pcap-dns', ofPackets), okReport('pcap-http', ofPackets)] },
    ),
    sources,
  )

/** A running agent. */
async function runAgent(events: FakeEvents, report: CheckReport = reportWith()): Promise<HttpServer> {
  const parts = createFakeParts({ events, report: () => report })
  const server = createHttpServer(parts, createSecurity('', parts.log))
  stops.push(() => server.stop())
  await server.listenOnSocket(file)
  return server
}

const withPorts = (...ports: number[]): EventMessage[] =>
  ports.map((port) => ({ ...oneOfEach.connect, destination: { address: '10.0.0.7', port } }))
const printedPorts = (): number[] => [...terminal.printed.matchAll(/10\.0\.0\.7:(\d+)/g)].map(([, port]) => Number(port))
const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i)

describe('asking the running agent', () => {
  it('shows the last 20 events and ends', async () => {
    await runAgent(createFakeEvents(withPorts(...range(1, 50))))
    expect(await observe(configOf(), terminal)).toBe(0)
    expect(printedPorts()).toEqual(range(31, 50))
    expect(terminal.warned).toEqual([])
  })

  it('shows everything in every form', async () => {
    await runAgent(createFakeEvents([...everything]))
    const types = eventTypes.join(',')
    expect(await observe(configOf('-o', 'json', '-t', types), terminal)).toBe(0)
    const lines = terminal.printed.trimEnd().split('\n')
    expect(lines.map((line) => JSON.parse(line))).toEqual(everything)
  })

  it.each<[string[], number[]]>([
    [['--last', '3'], range(48, 50)],
    [['--last', '99'], range(1, 50)],
    [['--last', '0'], []],
    [['--last', '3', '--port', '1-10'], range(8, 10)],
    [['--since', '2026-11-01'], range(1, 50)],
    [
      ['--since', '2026-11-01', '--last', '2'],
      [49, 50],
    ],
    [
      ['--port', '1-30', '--not', '--port', '5-25'],
      [1, 2, 3, 4, 26, 27, 28, 29, 30],
    ],
  ])('%j', async (argv, ports) => {
    await runAgent(createFakeEvents(withPorts(...range(1, 50))))
    expect(await observe(configOf(...argv), terminal)).toBe(0)
    expect(printedPorts()).toEqual(ports)
  })

  it('shows what was not shown among the last', async () => {
    const notShown = (count: number): EventMessage => ({ time: 'x', type: 'not_shown', of: 'connect', count })
    await runAgent(createFakeEvents([notShown(1), ...withPorts(1), notShown(2), ...withPorts(2), notShown(3)]))
    await observe(configOf('--last', '1'), terminal)
    expect(printedPorts()).toEqual([2])
    expect([...terminal.printed.matchAll(/not shown +(\d)/g)].map(([, count]) => count)).toEqual(['2', '3'])
  })

  it('says so if there is nothing to show', async () => {
    const events = createFakeEvents()
    await runAgent(events)
    expect(await observe(configOf(), terminal)).toBe(0)
    events.tell(...withPorts(1, 2))
    expect(await observe(configOf('--port', '3'), terminal)).toBe(0)
    expect(terminal.printed).toBe('')
    expect(terminal.warned).toEqual(['there was no event yet', 'of the 2 events that are kept none is to be shown'])
  })

  it.each<[string[], number[]]>([
    [['-f'], [3, 4]],
    [
      ['-f', '--last', '1'],
      [2, 3, 4],
    ],
    [
      ['-f', '--since', '2026-11-01', '--not', '--port', '3'],
      [1, 2, 4],
    ],
  ])('%j goes on until Ctrl-C', async (argv, ports) => {
    const events = createFakeEvents(withPorts(1, 2))
    await runAgent(events)
    const status = observe(configOf(...argv), terminal)
    await expect.poll(() => events.listeners.size).toBe(1)
    events.tell(...withPorts(3))
    events.tell(...withPorts(4))
    await expect.poll(printedPorts).toEqual(ports)
    process.emit('SIGINT', 'SIGINT')
    expect(await status).toBe(0)
    expect(terminal.warned).toEqual([])
    expect(process.listenerCount('SIGINT')).toBe(0)
    await expect.poll(() => events.listeners.size).toBe(0)
  })

  it('says that the agent has stopped', async () => {
    const events = createFakeEvents()
    const server = await runAgent(events)
    const status = observe(configOf('-f'), terminal)
    await expect.poll(() => events.listeners.size).toBe(1)
    await server.stop()
    expect(await status).toBe(1)
    expect(terminal.warned).toEqual([`the agent at ${file} has stopped`])
    expect(process.listenerCount('SIGTERM')).toBe(0)
  })

  it('says what single events are missing', async () => {
    await runAgent(createFakeEvents(withPorts(1)), reportWith({ caveats: ['no single events of type drop: old'] }, {}))
    expect(await observe(configOf(), terminal)).toBe(0)
    expect(terminal.warned).toEqual(['no single events of type drop: old'])
    expect(printedPorts()).toEqual([1])
  })

  const [noTracer, noPcap] = ['needs CAP_BPF', 'needs CAP_NET_RAW'].map((reason) => ({ outcome: 'absent', reason }) as const)
  const others = 'drop, reset_sent, reset_received, retransmit, connect'
  const see = '; see netvitals check'
  it.each<[string[], Partial<SourceReport>, Partial<SourceReport>, number, string[]]>([
    [
      [],
      noTracer!,
      noPcap!,
      1,
      [
        `no single events of type ${others} here: needs CAP_BPF${see}`,
        `no single events of type dns here: needs CAP_NET_RAW${see}`,
        `no single events of type http here: needs CAP_NET_RAW${see}`,
      ],
    ],
    [[], noTracer!, {}, 0, [`no single events of type ${others} here: needs CAP_BPF${see}`]],
    [[], {}, noPcap!, 0, [`no single events of type dns here: needs CAP_NET_RAW${see}`]],
    [['-t', 'drop'], noTracer!, {}, 1, [`no single events here: needs CAP_BPF${see}`]],
    [['-t', 'drop'], {}, noPcap!, 0, []],
    [['--dns'], {}, noPcap!, 1, [`no single events here: needs CAP_NET_RAW${see}`]],
    [['--qtype', 'A'], {}, { outcome: 'failed', reason: 'broken' }, 1, [`no single events here: broken${see}`]],
    [['--dns'], noTracer!, {}, 0, []],
    [['--not', '--dns'], {}, noPcap!, 0, []],
    [['--http'], {}, noPcap!, 1, [`no single events here: needs CAP_NET_RAW${see}`]],
    [['-t', 'drop,http'], {}, noPcap!, 0, [`no single events of type http here: needs CAP_NET_RAW${see}`]],
    [['--dns'], {}, { name: 'other' }, 1, [`no single events here: not asked yet${see}`]],
  ])('%j with %j and %j has status %d', async (argv, ofEvents, ofDns, status, messages) => {
    await runAgent(createFakeEvents([...withPorts(1), oneOfEach.drop, ...failedQueries]), reportWith(ofEvents, ofDns))
    expect(await observe(configOf(...argv, '-o', 'json'), terminal)).toBe(status)
    expect(terminal.warned.filter((line) => line.startsWith('no single'))).toEqual(messages)
    expect(terminal.printed !== '').toBe(status === 0 && argv[0] !== '--qtype')
  })

  it('does not say that what is switched off is missing, unless that is asked for', async () => {
    const report = { ...reportWith(), off: ['pcap-dns'] }
    await runAgent(createFakeEvents(withPorts(1)), report)
    expect(await observe(configOf(), terminal)).toBe(0)
    expect(terminal.warned).toEqual([])
    expect(await observe(configOf('-t', 'dns,connect'), terminal)).toBe(0)
    expect(await observe(configOf('--dns'), terminal)).toBe(1)
    expect(terminal.warned).toEqual([
      'no single events of type dns here: switched off; see netvitals check',
      'no single events here: switched off; see netvitals check',
    ])
  })

  it.each<[string[], number[]]>([
    [[], [1, 3]],
    [
      ['--pod', 'shop/'],
      [1, 3],
    ],
    [['--dns'], [2, 3]],
    [['--dns', '--last', '1'], [3]],
    [
      ['-t', 'dns,connect'],
      [1, 2, 3],
    ],
    [['--rcode', 'NOERROR'], [2]],
    [['--name', '*.example.com', '--not', '--rcode', 'NXDOMAIN'], [2]],
  ])('%j shows what went well only to who asks for DNS', async (argv, ports) => {
    const [failed] = failedQueries as [NetworkEvent]
    const at = (event: NetworkEvent, port: number): NetworkEvent => ({ ...event, destination: { address: '10.0.0.7', port } })
    await runAgent(createFakeEvents([at(oneOfEach.connect, 1), at(oneOfEach.dns, 2), at(failed, 3)]))
    expect(await observe(configOf(...argv), terminal)).toBe(0)
    expect(printedPorts()).toEqual(ports)
  })

  it.each([
    ['{"schemaVersion":2,"recent":0}\n', 'the agent tells events in another form; use the netvitals of the same version'],
    ['null\n', 'the agent tells events in another form; use the netvitals of the same version'],
    ['{"schemaVersion":1,"node":"a","recent":1}\nx\n', 'the agent tells something that is no JSON'],
    ['{"schemaVersion":1,"node":"a","recent":1}\n{"type":"drop"}\n', 'the agent tells something that is no event'],
    [
      '{"schemaVersion":1,"node":"a","recent":1}\n{"time":"","type":"drop","source":null,"destination":{}}\n',
      'the agent tells something that is no event',
    ],
  ])('does not believe everything: %j', async (answer, message) => {
    const server = http.createServer((request, response) => {
      response.end(request.url === '/api/v1/check' ? JSON.stringify(reportWith()) : answer)
    })
    server.listen(file)
    stops.push(() => {
      server.closeAllConnections()
      server.close()
    })
    expect(await observe(configOf(), terminal)).toBe(1)
    expect(terminal.warned).toEqual([message])
  })
})

describe('without an agent', () => {
  function giveAgent(report: CheckReport = reportWith()) {
    const events = createFakeEvents(withPorts(1))
    const agent = {
      events,
      start: vi.fn(),
      check: vi.fn(() => Promise.resolve(report)),
      sweep: { start: vi.fn() },
      stop: vi.fn(),
    }
    vi.mocked(createAgent).mockResolvedValue(agent as never)
    return agent
  }

  it('watches by itself until Ctrl-C, with all that happened since it began', async () => {
    const agent = giveAgent()
    const status = observe(configOf('--last', '0'), terminal)
    await expect.poll(() => agent.events.listeners.size).toBe(1)
    agent.events.tell(...withPorts(2, 3))
    await expect.poll(printedPorts).toEqual([1, 2, 3])
    expect(terminal.warned).toEqual([`no agent runs at ${file}; this command watches by itself, from now on`])
    expect(agent.sweep.start).toHaveBeenCalledOnce()
    expect(agent.stop).not.toHaveBeenCalled()
    process.emit('SIGTERM', 'SIGTERM')
    expect(await status).toBe(0)
    expect(agent.stop).toHaveBeenCalledOnce()
    expect(agent.events.listeners.size).toBe(0)
  })

  it('does not even ask if told so', async () => {
    const agent = giveAgent()
    const status = observe({ ...configOf(), 'web.socket': '' }, terminal)
    await expect.poll(() => agent.events.listeners.size).toBe(1)
    process.emit('SIGINT', 'SIGINT')
    expect(await status).toBe(0)
    expect(terminal.warned).toEqual(['no agent was asked; this command watches by itself, from now on'])
  })

  it('says why the agent cannot be asked', async () => {
    const agent = giveAgent()
    const server = http.createServer((_request, response) => response.end('{"schemaVersion":2}')).listen(file)
    stops.push(() => {
      server.closeAllConnections()
      server.close()
    })
    const status = observe(configOf(), terminal)
    await expect.poll(() => agent.events.listeners.size).toBe(1)
    process.emit('SIGINT', 'SIGINT')
    expect(await status).toBe(0)
    expect(terminal.warned[0]).toContain(
      'is of another version; use the netvitals of the same one; this command watches by itself',
    )
  })

  it('has status 1 if it cannot', async () => {
    const agent = giveAgent(reportWith({ outcome: 'absent', reason: 'needs CAP_BPF and CAP_PERFMON' }))
    expect(await observe(configOf(), terminal)).toBe(1)
    expect(terminal.warned[2]).toBe('no single events of type dns here: needs CAP_BPF and CAP_PERFMON; see netvitals check')
    expect(agent.stop).toHaveBeenCalledOnce()
    expect(process.listenerCount('SIGINT')).toBe(0)
  })

  it('ends well if told while it begins', async () => {
    const agent = giveAgent()
    agent.start.mockImplementation(() => void process.emit('SIGINT', 'SIGINT'))
    expect(await observe(configOf(), terminal)).toBe(0)
    expect(terminal.printed).toBe('')
    expect(agent.stop).toHaveBeenCalledOnce()
  })

  it('leaves to others what it was asked wrongly', async () => {
    vi.mocked(createAgent).mockRejectedValue(new ConfigError('sources.off: x is no source'))
    await expect(observe(configOf(), terminal)).rejects.toBeInstanceOf(ConfigError)
  })
})
