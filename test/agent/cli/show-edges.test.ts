import fs from 'node:fs'
import http from 'node:http'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { showEdges } from '../../../agent/cli/show-edges.ts'
import { type Config, readConfig } from '../../../agent/config.ts'
import { createEdgeGraph, type Edge, type EdgeGraph } from '../../../agent/edge-graph.ts'
import { createFakeTerminal, type FakeTerminal } from './fake-terminal.ts'

let directory: string
let file: string
let terminal: FakeTerminal
let server: http.Server | undefined
beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-edges-'))
  file = path.join(directory, 'agent.sock')
  terminal = createFakeTerminal()
})
afterEach(() => {
  server?.closeAllConnections()
  server?.close()
  server = undefined
  fs.rmSync(directory, { recursive: true })
})

function configOf(...argv: string[]): Config {
  const config = readConfig(['show', 'edges', '--web.socket', file, ...argv], {})
  if ('print' in config) throw new Error('help')
  return config
}

async function runAgent(answer: object): Promise<void> {
  server = http.createServer((_request, response) => response.end(JSON.stringify(answer)))
  await new Promise<void>((resolve) => server?.listen(file, resolve))
}

const end = (namespace: string, workload: string) => ({ namespace, workload })
const none = { connections: 0, connects: 0, failedConnects: {}, resets: 0, loss: {} }
const edges: readonly Edge[] = [
  {
    ...none,
    client: end('shop', 'checkout'),
    server: end('shop', 'payments'),
    connections: 1240,
    sentBytesPerSecond: 1520,
    receivedBytesPerSecond: 48_200,
    connects: 900,
    failedConnects: { refused: 12, timed_out: 340 },
    resets: 4,
    loss: { client: { retransmits: 70, drops: 3 }, server: { retransmits: 5, drops: 0 } },
    rttMaxSeconds: 0.0402,
  },
  { ...none, client: end('', 'host'), server: end('', 'external'), connections: 2, rttSeconds: 0.000_051 },
  { ...none, client: end('@netns', 'a\u001b[2J'), server: end('shop', 'checkout'), sentBytesPerSecond: 0 },
]
const graph = createEdgeGraph(edges, 'node-1')

describe('netvitals show edges', () => {
  it('has the worst first, and leaves empty what is not', async () => {
    await runAgent(graph)
    expect(await showEdges(configOf(), terminal)).toBe(0)
    expect(terminal.printed).toBe(
      [
        'CLIENT                  SERVER         CONNECTIONS       SENT   RECEIVED  CONNECTS  RESETS  RETRANSMITS  DROPS      RTT  FAILED CONNECTS',
        'shop/checkout        →  shop/payments        1,240  1.52 kB/s  48.2 kB/s       900       4           75      3  40.2 ms  340 timed_out, 12 refused',
        'host                 →  external                 2                                                                51 µs',
        '"@netns/a\\u001b[2J"  →  shop/checkout            0      0 B/s',
        '',
      ].join('\n'),
    )
    expect(terminal.warned).toEqual([])
  })

  it.each<[string[], string[]]>([
    [
      ['--namespace', 'shop'],
      ['shop/payments', 'shop/checkout'],
    ],
    [['--workload', 'payments'], ['shop/payments']],
    [['--workload', 'host'], ['external']],
    [['--workload', 'external'], ['external']],
    [
      ['--not', '--workload', 'shop/pay*'],
      ['external', 'shop/checkout'],
    ],
    [['--top', '1'], ['shop/payments']],
  ])('%j', async (argv, servers) => {
    await runAgent(graph)
    await showEdges(configOf('-o', 'json', ...argv), terminal)
    const printed: EdgeGraph = JSON.parse(terminal.printed)
    expect(printed.edges.map(({ target }) => target)).toEqual(servers)
    const ids = new Set(printed.edges.flatMap(({ source, target }) => [source, target]))
    expect(new Set(printed.nodes.map(({ id }) => id))).toEqual(ids)
  })

  it('prints the graph as the agent gives it, safe to look at', async () => {
    await runAgent(graph)
    await showEdges(configOf('-o', 'json'), terminal)
    expect(JSON.parse(terminal.printed)).toEqual(JSON.parse(JSON.stringify(graph)))
    expect(terminal.printed).not.toContain('\u001b')
  })

  it('says how many there are besides', async () => {
    await runAgent(graph)
    await showEdges(configOf('--top', '1'), terminal)
    expect(terminal.printed.split('\n').slice(2)).toEqual(['… 2 more: --top all shows more', ''])
  })

  it('is ASCII where the terminal knows no more', async () => {
    await runAgent(graph)
    await showEdges(configOf(), { ...createFakeTerminal({ unicode: false }), print: terminal.print })
    expect(terminal.printed).toMatch(/^[\n\x20-\x7e]*$/)
  })

  it.each([
    [graph, 'there is no such edge'],
    [createEdgeGraph([], 'node-1'), 'there was no connection yet'],
  ])('says that there is nothing', async (answer, message) => {
    await runAgent(answer)
    expect(await showEdges(configOf('--workload', 'x'), terminal)).toBe(0)
    expect(terminal.printed).toBe('')
    expect(terminal.warned).toEqual([message])
  })

  it.each([
    [{ schemaVersion: 2 }, 'is of another version; use the netvitals of the same one'],
    [{ schemaVersion: 1, seconds: 300, edges: {} }, 'tells edges in another form'],
  ])('does not believe everything: %j', async (answer, message) => {
    await runAgent(answer)
    expect(await showEdges(configOf(), terminal)).toBe(1)
    expect(terminal.warned[0]).toContain(message)
  })

  it('has status 1 without an agent', async () => {
    expect(await showEdges(configOf(), terminal)).toBe(1)
    expect(terminal.warned).toEqual([`no agent runs at ${file}; edges are counted while it runs`])
  })
})
