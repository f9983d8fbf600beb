import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createAgent } from '../../../agent/agent.ts'
import { showSockets } from '../../../agent/cli/show-sockets.ts'
import { type Config, readConfig } from '../../../agent/config.ts'
import { createSecurity } from '../../../agent/http/security.ts'
import { createHttpServer } from '../../../agent/http/server.ts'
import { limits } from '../../../agent/limits.ts'
import type { SocketGroup } from '../../../agent/socket-groups.ts'
import type { ListedSocket, SocketAnswer, SocketQuestion } from '../../../agent/socket-list.ts'
import { createFakeParts, noSockets } from '../http/fake-parts.ts'
import { createFakeTerminal, type FakeTerminal } from './fake-terminal.ts'

vi.mock('../../../agent/agent.ts', () => ({ createAgent: vi.fn() }))

let directory: string
let file: string
let terminal: FakeTerminal
const stops: (() => unknown)[] = []
beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-sockets-'))
  file = path.join(directory, 'agent.sock')
  terminal = createFakeTerminal()
})
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
  vi.mocked(createAgent).mockReset()
  fs.rmSync(directory, { recursive: true })
})

function configOf(...argv: string[]): Config {
  const config = readConfig(['show', 'sockets', '--web.socket', file, ...argv], {})
  if ('print' in config) throw new Error('help')
  return config
}

/** A running agent that answers so, and the questions it got. */
async function runAgent(answer: SocketAnswer): Promise<SocketQuestion[]> {
  const questions: SocketQuestion[] = []
  const ask = (question: SocketQuestion): Promise<SocketAnswer> => {
    questions.push(question)
    return Promise.resolve(answer)
  }
  const parts = createFakeParts({ sockets: { ask } })
  const server = createHttpServer(parts, createSecurity('', parts.log))
  stops.push(() => server.stop())
  await server.listenOnSocket(file)
  return questions
}

const api = { pid: 4211, command: 'api', commandLine: 'node api.js --port 80', containerId: '3f2a9c01d4e5f6a7', others: 2 }
const groups: readonly SocketGroup[] = [
  {
    state: 'close_wait',
    direction: 'in',
    local: { namespace: 'shop', pod: 'api-1', port: 80 },
    process: api,
    sockets: 1137,
    receiveQueue: 45_200,
    sendQueue: 0,
    idle: { least: 59, most: 7300 },
    peers: [{ address: '10.0.0.9', sockets: 1000 }],
    peerCount: 13,
  },
  {
    state: 'established',
    direction: 'out',
    local: { namespace: '', pod: '' },
    process: { pid: 9, command: 'a b\u001b[2J', commandLine: '', unit: 'a.service' },
    sockets: 2,
    receiveQueue: 0,
    sendQueue: 17,
    idle: { least: 5, most: 5 },
    peers: [{ namespace: 'shop', pod: 'db-0', address: '10.0.0.8', port: 5432, sockets: 2 }],
    peerCount: 1,
  },
  {
    state: 'listen',
    local: { namespace: '@netns', pod: 'blue', port: 80 },
    sockets: 1,
    receiveQueue: 3,
    peers: [],
    peerCount: 0,
  },
]
const each: readonly ListedSocket[] = [
  {
    state: 'close_wait',
    direction: 'in',
    local: { namespace: 'shop', pod: 'api-1', address: '10.0.0.4', port: 80 },
    peer: { address: '2001:db8::9', port: 41_000 },
    receiveQueue: 45_200,
    sendQueue: 0,
    sentAgoSeconds: 200_000,
    receivedAgoSeconds: 180_000,
    process: api,
  },
  { state: 'listen', local: { address: '::', port: 80 }, receiveQueue: 0, sendQueue: 128 },
]
const answerOf = (more: Partial<SocketAnswer>): SocketAnswer => ({ ...noSockets, sockets: 1140, groups, ...more })

describe('asking the running agent', () => {
  it('shows a line for each process and state', async () => {
    await runAgent(answerOf({ notShown: { groups: 12, sockets: 3456 } }))
    expect(await showSockets(configOf(), terminal)).toBe(0)
    expect(terminal.printed).toBe(
      [
        'SOCKETS  STATE        POD          PROCESS           RECV-Q  SEND-Q    IDLE  PORT     PEER',
        '  1,137  close_wait   shop/api-1   api 4211 +2       45,200       0  59s–2h   :80  ←  10.0.0.9 (1,000) and 12 more',
        '      2  established  host         "a b\\u001b[2J" 9       0      17      5s        →  shop/db-0:5432',
        '      1  listen       @netns/blue  -                      3                   :80',
        '… 3,456 more in 12 lines: --top all shows more',
        '',
      ].join('\n'),
    )
    expect(terminal.warned).toEqual([])
  })

  it('one by one', async () => {
    const { groups: _, ...answer } = answerOf({ each, notShown: { sockets: 8000 } })
    const questions = await runAgent(answer)
    expect(await showSockets(configOf('--each'), terminal)).toBe(0)
    expect(terminal.printed).toBe(
      [
        'STATE       POD         PROCESS      RECV-Q  SEND-Q  IDLE  LOCAL           PEER',
        'close_wait  shop/api-1  api 4211 +2  45,200       0    2d  10.0.0.4:80  ←  [2001:db8::9]:41000',
        'listen      ?           -                 0     128        [::]:80',
        '… 8,000 more: --top all shows more',
        '',
      ].join('\n'),
    )
    expect(questions).toMatchObject([{ each: true, top: 20 }])
  })

  it('with containers and command lines', async () => {
    await runAgent(answerOf({}))
    await showSockets(configOf('-o', 'wide'), terminal)
    const lines = terminal.printed.split('\n')
    expect(lines[0]).toMatch(/PEER +CONTAINER +COMMAND LINE$/)
    expect(lines[1]).toMatch(/ 3f2a9c01d4e5 +node api.js --port 80$/)
    expect(lines[2]).toMatch(/ a\.service$/)
  })

  it('as JSON, that is safe to look at', async () => {
    const questions = await runAgent(answerOf({}))
    await showSockets(configOf('-o', 'json'), terminal)
    expect(JSON.parse(terminal.printed)).toEqual(answerOf({}))
    expect(terminal.printed).not.toContain('\u001b')
    expect(questions).toMatchObject([{ each: false, top: Number.POSITIVE_INFINITY }])
  })

  it('gives it the filters as they were given', async () => {
    const questions = await runAgent(answerOf({}))
    const config = configOf(
      '--state',
      'close-wait',
      '--not',
      '--port',
      '22,80',
      '--not',
      '--port',
      '1-9',
      '--pod',
      'a&b=c/',
      '--top',
      '5',
    )
    await showSockets(config, terminal)
    const [question] = questions
    expect(question?.top).toBe(5)
    expect(question?.filters.state).toEqual(config.state)
    expect(question?.filters.port).toEqual(config.port)
    expect(question?.filters['sockets.pod']).toEqual(config['sockets.pod'])
  })

  it('says what was not seen, and that there is nothing', async () => {
    await runAgent({ ...noSockets, notes: ['one was not looked into'] })
    expect(await showSockets(configOf(), terminal)).toBe(0)
    expect(terminal.printed).toBe('')
    expect(terminal.warned).toEqual(['one was not looked into', 'there is no such socket'])
  })

  it('does not promise more than there is in an answer', async () => {
    await runAgent(answerOf({ groups: Array(limits.socketsShown).fill(groups[0]), notShown: { groups: 1, sockets: 1 } }))
    await showSockets(configOf('--top', 'all'), terminal)
    expect(terminal.printed).toMatch(/\n… 1 more in 1 line: filters narrow it down\n$/)
  })

  it('is in colours, and ASCII where the terminal knows no more', async () => {
    await runAgent(answerOf({}))
    await showSockets(configOf(), { ...createFakeTerminal({ colour: true }), print: terminal.print })
    expect(terminal.printed).toContain('\u001b[31mclose_wait \u001b[0m')
    terminal.printed = ''
    await showSockets(configOf(), { ...createFakeTerminal({ unicode: false }), print: terminal.print })
    expect(terminal.printed).toMatch(/^[\n\x20-\x7e]*$/)
    expect(terminal.printed).toContain(':80  <-  10.0.0.9')
  })
})

describe('without an agent', () => {
  it('looks by itself', async () => {
    const ask = vi.fn(() => Promise.resolve(answerOf({})))
    const agent = { start: vi.fn(), sweep: { take: vi.fn() }, sockets: { ask }, stop: vi.fn() }
    vi.mocked(createAgent).mockResolvedValue(agent as never)
    expect(await showSockets(configOf(), terminal)).toBe(0)
    expect(terminal.printed).toContain('1,137')
    expect(terminal.warned).toEqual([])
    expect(agent.stop).toHaveBeenCalledOnce()
  })
})
