import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { limits } from '../../agent/limits.ts'
import type { SocketGroup } from '../../agent/socket-groups.ts'
import type { ListedSocket, SocketAnswer } from '../../agent/socket-list.ts'
import { asNobody, findReadable } from '../e2e/nobody.ts'
import { createTopology, type Holder, type Namespace, requireRoot, type Topology } from './topology.ts'

const main = path.resolve(import.meta.dirname, '../../dist/agent/main.js')
const name = 'nve-sockets'

requireRoot('netvitals show sockets', () => {
  let topology: Topology
  let socket: string
  let agent: ChildProcess
  const processes = new Set<ChildProcess>()

  beforeAll(async () => {
    topology = await createTopology(name)
    socket = `/run/netvitals-${process.pid}.sock`
    const flags = ['--web.listen-address=127.0.0.1:10479', `--web.socket=${socket}`, '--log.level=error']
    agent = spawn(process.execPath, [main, 'serve', ...flags], { stdio: ['ignore', 'pipe', 'inherit'] })
    processes.add(agent)
    for await (const line of createInterface({ input: agent.stdout! })) if (line.includes('shows this again')) break
  })
  afterAll(async () => {
    for (const child of processes) {
      if (child.exitCode !== null || child.signalCode !== null) continue
      const closed = once(child, 'close')
      child.kill('SIGTERM')
      await closed
    }
    await topology?.dispose()
  })

  function show(...flags: string[]): string {
    const argv = [main, 'show', 'sockets', '--web.socket', socket, ...flags]
    return execFileSync(process.execPath, argv, { encoding: 'utf8', maxBuffer: 1 << 26, env: { LANG: 'C.UTF-8' } })
  }
  const ask = (...flags: string[]): SocketAnswer => JSON.parse(show('-o', 'json', ...flags))
  const groupsOf = (...flags: string[]): readonly SocketGroup[] => ask(...flags).groups ?? []
  const pidsIn = ({ name }: Namespace): number[] =>
    execFileSync('ip', ['netns', 'pids', name], { encoding: 'utf8' }).trim().split('\n').map(Number)

  async function connect(family: 'ipv4' | 'ipv6', port: number, count: number): Promise<{ server: Holder; client: Holder }> {
    const { a, b } = topology
    const server = await topology.hold(b, 'tcp-listen', { address: b[family], port })
    const client = await topology.hold(a, 'tcp-connect', { address: b[family], port, count })
    await server.act('accept', { count })
    return { server, client }
  }

  it.each(['ipv4', 'ipv6'] as const)('%s: who leaks CLOSE_WAIT sockets, who does not read', async (family) => {
    const { a, b } = topology
    const leak = await connect(family, 5001, 37)
    const [clientPid] = pidsIn(a)
    const [serverPid] = pidsIn(b)
    await leak.client.act('send', { bytes: 100 })
    await leak.client.act('shutdown')
    const unread = await connect(family, 5002, 11)
    await unread.client.act('send', { bytes: 1460 })
    const unreadPid = pidsIn(b).find((pid) => pid !== serverPid)

    await expect.poll(() => groupsOf('--pod', b.name, '--state', 'close-wait')).toHaveLength(1)
    const shared = { direction: 'in', sendQueue: 0, peerCount: 1 }
    // The FIN takes a place in the queue.
    expect(groupsOf('--pod', b.name, '--state', 'close-wait')).toMatchObject([
      {
        ...{ ...shared, state: 'close_wait', sockets: 37, receiveQueue: 37 * 101 },
        local: { namespace: '@netns', pod: b.name, port: 5001 },
        process: { pid: serverPid, command: 'node', commandLine: expect.stringContaining('tcp-listen') },
        peers: [{ address: a[family], sockets: 37 }],
      },
    ])
    expect(groupsOf('--pod', b.name, '--port', '5002', '--not', '--state', 'listen')).toMatchObject([
      {
        ...{ ...shared, state: 'established', sockets: 11, receiveQueue: 11 * 1460 },
        local: { port: 5002 },
        process: { pid: unreadPid },
        peers: [{ address: a[family], sockets: 11 }],
      },
    ])
    expect(groupsOf('--pod', a.name, '--process', String(clientPid))).toMatchObject([
      { state: 'fin_wait2', direction: 'out', sockets: 37, peers: [{ address: b[family], port: 5001, sockets: 37 }] },
    ])

    const table = show('--pod', `${name}-*`, '--not', '--state', 'listen')
    const inB = (pid: number | undefined): string => `@netns/${b.name} +node ${pid}`
    expect(table).toMatch(new RegExp(` 37 +close_wait +${inB(serverPid)} +3,737 +0 .* :5001 +← +@netns/${a.name}$`, 'm'))
    expect(table).toMatch(new RegExp(` 11 +established +${inB(unreadPid)} +16,060 +0 .* :5002 +← `, 'm'))
    expect(table).toMatch(new RegExp(` 37 +fin_wait2 +@netns/${a.name} .* →  @netns/${b.name}:5001$`, 'm'))

    for (const { server, client } of [leak, unread]) {
      await client.stop()
      await server.stop()
    }
  })

  it('each: the same one by one', async () => {
    const { server, client } = await connect('ipv4', 5003, 5)
    await client.act('send', { bytes: 7 })
    const each = (): readonly ListedSocket[] => ask('--each', '--port', '5003', '--state', 'established').each ?? []
    await expect.poll(() => each().filter(({ receiveQueue }) => receiveQueue === 7)).toHaveLength(5)
    const [first, ...others] = each()
    expect(first).toMatchObject({ direction: 'in', local: { address: topology.b.ipv4, port: 5003 } })
    expect(others).toHaveLength(9)
    const ports = (end: 'local' | 'peer', wanted: 'in' | 'out'): unknown[] =>
      each()
        .flatMap(({ direction, [end]: is }) => (direction === wanted ? [is?.port] : []))
        .sort()
    expect(ports('peer', 'in')).toEqual(ports('local', 'out'))
    expect(first?.sentAgoSeconds).toBeLessThan(600)
    expect(first?.receivedAgoSeconds).toBeLessThan(600)
    await client.stop()
    await server.stop()
  })

  it('has sockets that no process has, and those that several have', async () => {
    const script = `
      const { spawn } = require('node:child_process')
      const server = require('node:net').createServer().listen(5004, '127.0.0.1', () => {
        for (const _ of [1, 2]) spawn('sleep', ['600'], { stdio: ['ignore', 'ignore', 'ignore', server._handle.fd] })
        console.log('ready')
      })`
    const child = spawn('ip', ['netns', 'exec', topology.a.name, process.execPath, '-e', script])
    processes.add(child)
    await once(child.stdout, 'data')
    await expect.poll(() => groupsOf('--port', '5004')[0]?.process?.others).toBe(2)
    const pids = pidsIn(topology.a)
    expect(groupsOf('--port', '5004')).toMatchObject([{ state: 'listen', sockets: 1, process: { pid: child.pid } }])
    for (const pid of pids) process.kill(pid, 'SIGKILL')
    await once(child, 'close')

    const { server, client } = await connect('ipv4', 5005, 3)
    await client.act('shutdown')
    await server.act('close')
    await expect.poll(() => groupsOf('--port', '5005', '--state', 'time-wait')).toMatchObject([{ sockets: 3 }])
    expect(groupsOf('--port', '5005', '--state', 'time-wait')[0]).not.toHaveProperty('process')
    expect(show('--port', '5005', '--state', 'time-wait')).toMatch(new RegExp(`time_wait +@netns/${topology.a.name} +- +0 `))
    await client.stop()
    await server.stop()
  })

  it('is not steered by what a process calls itself', async () => {
    const script = `process.title = 'a\\u001b[2J\\nb\\u009b'; require('node:net').createServer().listen(5006, '127.0.0.1', () => console.log('ready'))`
    const child = spawn('ip', ['netns', 'exec', topology.a.name, process.execPath, '-e', script, 'x'.repeat(100_000)])
    processes.add(child)
    await once(child.stdout, 'data')
    for (const output of ['table', 'wide', 'json']) {
      const text = show('--port', '5006', '-o', output)
      expect(text.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u)
      expect(text.length).toBeLessThan(2000)
    }
    expect(groupsOf('--port', '5006')[0]?.process).toMatchObject({ pid: child.pid, command: 'a\ufffd[2J\ufffdb\ufffd' })
    const closed = once(child, 'close')
    child.kill('SIGKILL')
    await closed
  })

  it('says how many of ten thousand are not shown, exactly', async () => {
    const all = [await connect('ipv4', 5007, 2500), await connect('ipv4', 5008, 2500)]
    const filter = ['--port', '5007,5008', '--state', 'established']
    const answer = ask('--each', ...filter)
    expect(answer.sockets).toBe(10_000)
    expect(answer.each).toHaveLength(limits.socketsShown)
    expect(answer.notShown).toEqual({ sockets: 10_000 - limits.socketsShown })
    expect(show('--each', '--top', '2000', ...filter)).toMatch(/^… 8,000 more: /m)
    expect(groupsOf(...filter).map(({ sockets }) => sockets)).toEqual([2500, 2500, 2500, 2500])
    for (const { server, client } of all) {
      await client.stop()
      await server.stop()
    }
  })

  it('without privileges says what is missing', async () => {
    const { main: readable, remove } = findReadable()
    const { server, client } = await connect('ipv4', 5009, 2)
    try {
      const argv = [...asNobody(), process.execPath, readable, 'show', 'sockets', '--web.socket=', '--port=5009', '-o', 'json']
      const inside = spawnSync('ip', ['netns', 'exec', topology.b.name, ...argv], { encoding: 'utf8' })
      const answer: SocketAnswer = JSON.parse(inside.stdout)
      expect(inside.status).toBe(0)
      expect(answer.groups).toMatchObject([{ sockets: 2 }, { state: 'listen', sockets: 1 }])
      for (const group of answer.groups ?? []) expect(group).not.toHaveProperty('process')
      expect(answer.notes).toEqual([
        expect.stringMatching(/^\d+ network namespaces? not looked into: .*: entering it needs CAP_SYS_ADMIN$/),
        expect.stringMatching(
          /^no process is shown for 3 sockets: the files of \d+ processes cannot be seen without CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH$/,
        ),
      ])
    } finally {
      remove()
      await client.stop()
      await server.stop()
    }
  })
})
