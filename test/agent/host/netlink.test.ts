import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Unreadable } from '../../../agent/host/errors.ts'
import { type Libc, type LoadedLibc, loadLibc } from '../../../agent/host/libc.ts'
import { createNamespaces, type NetworkNamespace } from '../../../agent/host/namespaces.ts'
import { createNetlink, isNetlinkUnavailable, NetlinkError, NetlinkUnavailable } from '../../../agent/host/netlink.ts'
import { limits } from '../../../agent/limits.ts'
import {
  conntrackStatsCpuRequest,
  conntrackStatsRequest,
  readConntrackStats,
  readConntrackStatsCpu,
} from '../../../parsers/ctnetlink.ts'
import { askAll, type NetlinkRequest } from '../../../parsers/netlink.ts'
import { linksRequest, qdiscsRequest, readLink, readQdisc } from '../../../parsers/rtnetlink.ts'
import type { SocketRow } from '../../../parsers/socket-row.ts'
import { ParseError } from '../../../parsers/text.ts'
import { kernels, recordedAnswer } from '../../parsers/recorded-answers.ts'
import { requireRoot } from '../../truth/topology.ts'

const missing: LoadedLibc = { missing: 'koffi is not installed: npm install koffi' }
const signal = new AbortController().signal
const nothing = { restart: () => undefined, message: () => undefined }

function createReader(root: string, libc: LoadedLibc) {
  const namespaces = createNamespaces({ root, libc })
  return { namespaces, host: namespaces.host, netlink: createNetlink({ root, namespaces, libc }) }
}

async function readAll<T>(
  { netlink }: ReturnType<typeof createReader>,
  netns: NetworkNamespace,
  request: NetlinkRequest,
  read: (bytes: Uint8Array, from: number, to: number) => T,
): Promise<T[]> {
  const found: T[] = []
  await netlink.dump(
    netns,
    request,
    { restart: () => void found.splice(0), message: (...message) => void found.push(read(...message)) },
    signal,
  )
  return found
}

describe('of a recorded tree', () => {
  let root = ''
  const record = (name: string, bytes: Uint8Array): void => fs.writeFileSync(path.join(root, 'netlink', `${name}.bin`), bytes)
  const create = () => createReader(root, missing)
  const links = recordedAnswer(kernels[0]!, 'links')
  beforeAll(() => {
    root = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-netlink-'))
    fs.mkdirSync(path.join(root, 'netlink'))
  })
  afterAll(() => fs.rmSync(root, { recursive: true }))

  it('answers as recorded', async () => {
    record('links', links)
    const reader = create()
    expect((await readAll(reader, reader.host, linksRequest(), readLink)).map(({ name }) => name)).toContain('nvb0')
  })
  it('is without what was not recorded', async () => {
    const { netlink, host } = create()
    const error = await netlink.dump(host, qdiscsRequest(), nothing, signal).catch((error) => error)
    expect(error).toBeInstanceOf(NetlinkUnavailable)
    expect(isNetlinkUnavailable(error)).toBe(true)
  })
  it('refuses a recording that was cut off', async () => {
    record('links', links.subarray(0, links.length - 20))
    const { netlink, host } = create()
    await expect(netlink.dump(host, linksRequest(), nothing, signal)).rejects.toMatchObject({ code: 'ENODATA' })
    record('links', links.subarray(0, links.length - 3))
    await expect(netlink.dump(host, linksRequest(), nothing, signal)).rejects.toThrow(ParseError)
  })
  it('does not ask for the end of an answer of which it has enough', async () => {
    record('links', links.subarray(0, Buffer.from(links).readUInt32LE(0)))
    const { netlink, host } = create()
    let seen = 0
    const handlers = { restart: () => undefined, message: () => void seen++, isEnough: () => seen > 0 }
    await netlink.dump(host, linksRequest(), handlers, signal)
    expect(seen).toBe(1)
  })
  it('finds nothing single, of which nothing is recorded', async () => {
    const { netlink, host } = create()
    await expect(netlink.find(host, [linksRequest()], () => undefined, signal)).rejects.toThrow(NetlinkUnavailable)
    await expect(netlink.find(host, [], () => undefined, signal)).resolves.toBeUndefined()
  })
  it('asks again when the table changed, a few times', async () => {
    const interrupted = Uint8Array.from(links)
    interrupted[6]! |= 0x10
    record('links', interrupted)
    const { netlink, host } = create()
    let restarts = 0
    const dump = netlink.dump(host, linksRequest(), { ...nothing, restart: () => void restarts++ }, signal)
    await expect(dump).rejects.toMatchObject({ name: 'NetlinkError', code: 'EAGAIN' })
    expect(restarts).toBe(limits.netlinkRetries)
    expect(isNetlinkUnavailable(await dump.catch((error) => error))).toBe(false)
  })
  it('reads sockets by family where the kernel does not know the question for both', async () => {
    const refusal = Uint8Array.of(36, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 234, 255, 255, 255, ...new Uint8Array(16))
    record('tcp-sockets', refusal)
    for (const name of ['tcp-sockets-ipv4', 'tcp-sockets-ipv6']) record(name, recordedAnswer(kernels[0]!, name))
    const { netlink, host } = create()
    const families: number[] = []
    await netlink.dumpSockets(host, { restart: () => undefined, socket: ({ family }) => families.push(family) }, signal)
    expect([families.includes(4), families.includes(6)]).toEqual([true, true])
    fs.rmSync(path.join(root, 'netlink/tcp-sockets-ipv4.bin'))
    await expect(netlink.dumpSockets(host, { restart: () => undefined, socket: () => undefined }, signal)).rejects.toThrow(
      NetlinkUnavailable,
    )
  })
  it('has one answer for what has one', async () => {
    record('conntrack-stats', recordedAnswer(kernels[0]!, 'conntrack-stats'))
    const { netlink, host } = create()
    expect(await netlink.get(host, conntrackStatsRequest(), readConntrackStats, signal)).toMatchObject({
      entries: expect.any(Number),
    })
    record('conntrack-stats', recordedAnswer(kernels[0]!, 'conntrack-stats-cpu'))
    await expect(netlink.get(host, conntrackStatsRequest(), readConntrackStats, signal)).rejects.toMatchObject({ code: 'EPROTO' })
  })
})

describe('without koffi', () => {
  it('is not available, and says why', async () => {
    const { netlink, host } = createReader('/', missing)
    await expect(netlink.dump(host, linksRequest(), nothing, signal)).rejects.toThrow(
      'netlink links: koffi is not installed: npm install koffi',
    )
  })
})

describe('a kernel that misbehaves', () => {
  const closed: number[] = []
  /** Answers with `receive`; the socket is a file that the agent must close. */
  const create = (changes: Partial<Libc>) => {
    const libc: Partial<Libc> = {
      socket: () => fs.openSync('/dev/null', 'r'),
      connect: () => 0,
      send: (_, bytes) => bytes.length,
      receive: () => -11,
      getsockopt: () => -92,
      setsockopt: () => 0,
      setns: () => -1,
      ...changes,
    }
    return createReader('/', { libc: libc as Libc })
  }
  const openFiles = (): number => fs.readdirSync('/proc/self/fd').length

  it.each<[string, Partial<Libc>, object]>([
    ['never answers', {}, { name: 'NetlinkError', code: 'ETIMEDOUT' }],
    ['never answers, and errno is not what it was', { receive: () => -12 }, { name: 'NetlinkError', code: 'ETIMEDOUT' }],
    ['refuses the question', { send: () => -1 }, { name: 'NetlinkError', code: 'EPERM' }],
    ['breaks off', { receive: () => -105 }, { name: 'NetlinkError', code: 'ENOBUFS' }],
    ['sends more than fits', { receive: (_, buffer) => buffer.length + 1 }, { name: 'NetlinkError', code: 'EMSGSIZE' }],
    ['has no netlink', { socket: () => -93 }, { name: 'NetlinkUnavailable' }],
    ['has no such family', { connect: () => -1 }, { name: 'NetlinkUnavailable' }],
    ['sends nonsense', { receive: () => 3 }, { name: 'ParseError' }],
  ])('%s', async (_, changes, expected) => {
    const { netlink, host } = create(changes)
    const before = openFiles()
    await expect(netlink.dump(host, linksRequest(), nothing, signal)).rejects.toMatchObject(expected)
    expect(openFiles()).toBe(before)
    expect(closed).toEqual([])
  })
  it('knows some things and not others, and refuses', async () => {
    /** NLMSG_ERROR with an errno. */
    const refusal = (errno: number): Uint8Array =>
      Uint8Array.of(
        20,
        0,
        0,
        0,
        2,
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        ...(errno === 0 ? [0, 0, 0, 0] : [256 - errno, 255, 255, 255]),
      )
    const thing = Uint8Array.of(20, 0, 0, 0, 99, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7)
    const answers = [refusal(2), thing, refusal(0), refusal(2), refusal(1)]
    const receive: Libc['receive'] = (_, buffer) => {
      const answer = answers.shift()!
      buffer.set(answer)
      return answer.length
    }
    const { netlink, host } = create({ receive })
    const before = openFiles()
    let asked = 0
    const foundAt: number[] = []
    function* questions(): Generator<NetlinkRequest> {
      for (; asked < 5; asked++) yield linksRequest()
    }
    const finding = netlink.find(host, questions(), () => void foundAt.push(asked), signal)
    await expect(finding).rejects.toMatchObject({ code: 'EPERM' })
    expect([foundAt, asked]).toEqual([[1], 3])
    expect(openFiles()).toBe(before)
  })
  it('does not hold up the loop, and stops when told to', async () => {
    const { netlink, host } = create({})
    const before = openFiles()
    await expect(netlink.dump(host, linksRequest(), nothing, AbortSignal.timeout(50))).rejects.toMatchObject({
      name: 'TimeoutError',
    })
    expect(openFiles()).toBe(before)
    const aborted = AbortSignal.abort(new Error('too late'))
    await expect(netlink.dump(host, linksRequest(), nothing, aborted)).rejects.toThrow('too late')
  })
})

requireRoot('netlink on the real kernel', () => {
  const names = ['nvb-nl', 'nvb-nl2']
  const exec = (...command: string[]): string => execFileSync('ip', ['netns', 'exec', 'nvb-nl', ...command], { encoding: 'utf8' })
  const children: ChildProcess[] = []
  const removeNamespaces = (): void => {
    for (const name of names) if (fs.existsSync(`/run/netns/${name}`)) execFileSync('ip', ['netns', 'del', name])
  }
  beforeAll(() => {
    removeNamespaces()
    execFileSync('ip', ['netns', 'add', 'nvb-nl'])
    exec('ip', 'link', 'set', 'lo', 'up')
  })
  afterAll(() => {
    for (const child of children) child.kill('SIGKILL')
    removeNamespaces()
  })
  async function open() {
    const reader = createReader('/', await loadLibc())
    reader.namespaces.refresh()
    return { ...reader, netns: reader.namespaces.list().find(({ name }) => name === 'nvb-nl')! }
  }
  /** A listener of both families, one of IPv4, five connections and one closed by the client. */
  const script = `
    const net = require('node:net')
    const server = net.createServer((socket) => socket.on('error', () => undefined).pause())
    server.listen({ port: 7000, host: '127.0.0.1', backlog: 33 }, () => {
      let left = 5
      for (let i = 0; i < 5; i++) {
        const client = net.connect(7000, '127.0.0.1', () => {
          client.write('x'.repeat(100))
          if (--left === 0) net.createServer().listen({ port: 7001, host: '::' }, () => setTimeout(() => console.log('ready'), 100))
        })
      }
    })`

  it('has the sockets that ss has', async () => {
    const child = spawn('ip', ['netns', 'exec', 'nvb-nl', process.execPath, '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    children.push(child)
    await new Promise((resolve) => child.stdout.once('data', resolve))
    const { netlink, netns, host } = await open()
    const found: Pick<SocketRow, 'family' | 'state' | 'localPort' | 'remotePort' | 'receiveQueue' | 'sendQueue' | 'rttUs'>[] = []
    await netlink.dumpSockets(
      netns,
      { restart: () => void found.splice(0), socket: (row) => void found.push({ ...row }) },
      signal,
    )
    const established = found.filter(({ state }) => state === 1)
    expect(established.filter(({ localPort }) => localPort === 7000)).toHaveLength(5)
    expect(established.filter(({ remotePort }) => remotePort === 7000)).toHaveLength(5)
    for (const { rttUs } of established) expect(rttUs).toBeGreaterThan(0)
    expect(found.find(({ state, localPort }) => state === 10 && localPort === 7000)).toMatchObject({
      family: 4,
      receiveQueue: 0,
      sendQueue: 33,
      rttUs: undefined,
      traffic: undefined,
    })
    expect(found.find(({ state, localPort }) => state === 10 && localPort === 7001)).toMatchObject({ family: 6 })
    const ss = exec('ss', '-tanH')
      .trim()
      .split('\n')
      .map((line) => line.trim().split(/\s+/).slice(1, 3).join())
    expect(found.map(({ receiveQueue, sendQueue }) => `${receiveQueue},${sendQueue}`).sort()).toEqual(ss.sort())

    let ofHost = 0
    await netlink.dumpSockets(
      host,
      { restart: () => undefined, socket: ({ localPort }) => void (ofHost += localPort === 7001 ? 1 : 0) },
      signal,
    )
    expect(ofHost).toBe(0)
  })

  it('has the numbers of conntrack', async () => {
    exec('iptables', '-A', 'INPUT', '-m', 'conntrack', '--ctstate', 'INVALID', '-j', 'ACCEPT')
    const send = `const socket = require('node:dgram').createSocket('udp4')
      let left = 7
      for (let port = 9000; port < 9007; port++) socket.send('x', port, '127.0.0.1', () => --left || socket.close())`
    exec(process.execPath, '-e', send)
    const { netlink, netns, ...reader } = await open()
    const stats = await netlink.get(netns, conntrackStatsRequest(), readConntrackStats, signal)
    expect(stats.entries).toBe(Number(exec('conntrack', '-C')))
    expect(stats.entries).toBeGreaterThanOrEqual(7)
    expect(stats.maximum).toBe(Number(fs.readFileSync('/proc/sys/net/netfilter/nf_conntrack_max', 'utf8')))
    const cpus = await readAll({ netlink, ...reader }, netns, conntrackStatsCpuRequest(), readConntrackStatsCpu)
    const tool = exec('conntrack', '-S')
      .trim()
      .split('\n')
      .map((line) => [...line.matchAll(/(\w+)=(\d+)/g)].map(([, name, value]) => [name, Number(value)]))
    expect(cpus.map((cpu) => Object.fromEntries(Object.entries(cpu).filter(([, value]) => value !== undefined)))).toEqual(
      tool.map((line) => Object.fromEntries(line)),
    )
  })

  it('has the numbers of tc', async () => {
    exec('ip', 'link', 'add', 'nvb-d', 'type', 'veth', 'peer', 'name', 'nvb-e')
    exec('ip', 'link', 'set', 'nvb-e', 'up')
    exec('ip', 'address', 'add', '10.66.0.1/24', 'dev', 'nvb-d')
    exec('tc', 'qdisc', 'add', 'dev', 'nvb-d', 'root', 'tbf', 'rate', '8kbit', 'burst', '1600', 'limit', '2000')
    exec('ip', 'link', 'set', 'nvb-d', 'up', 'arp', 'off')
    const send = `const socket = require('node:dgram').createSocket('udp4')
      let left = 20
      for (let i = 0; i < 20; i++) socket.send('x'.repeat(900), 9, '10.66.0.2', () => --left || socket.close())`
    exec(process.execPath, '-e', send)
    exec('ip', 'link', 'set', 'nvb-d', 'down')
    const reader = await open()
    const [qdisc] = (await readAll(reader, reader.netns, qdiscsRequest(), readQdisc)).filter(({ kind }) => kind === 'tbf')
    const [tool] = JSON.parse(exec('tc', '-s', '-j', 'qdisc', 'show', 'dev', 'nvb-d')) as Record<string, number>[]
    const { bytes, packets, drops, overlimits, requeues, backlog, qlen } = tool!
    expect(qdisc).toMatchObject({
      parent: 0xffffffff,
      bytes,
      packets,
      drops,
      overlimits,
      requeues,
      backlogBytes: backlog,
      queueLength: qlen,
    })
    expect(drops).toBeGreaterThan(10)
  })

  it('keeps nothing of a namespace open', async () => {
    execFileSync('ip', ['netns', 'add', 'nvb-nl2'])
    execFileSync('ip', ['link', 'add', 'nvb-nl0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', 'nvb-nl2'])
    const reader = createReader('/', await loadLibc())
    reader.namespaces.refresh()
    const netns = reader.namespaces.list().find(({ name }) => name === 'nvb-nl2')!
    expect((await readAll(reader, netns, linksRequest(), readLink)).map(({ name }) => name)).toEqual(['lo', 'eth0'])
    execFileSync('ip', ['netns', 'del', 'nvb-nl2'])
    await expect.poll(() => fs.existsSync('/sys/class/net/nvb-nl0'), { timeout: 10_000 }).toBe(false)
    const error = await readAll(reader, netns, linksRequest(), readLink).catch((error) => error)
    expect(error).toBeInstanceOf(Unreadable)
    expect(isNetlinkUnavailable(error)).toBe(true)
  })

  it('has the words of the kernel', async () => {
    const { netlink, host } = await open()
    const unknown = askAll('no-such', 4, 99, new Uint8Array(72))
    const error = await netlink.dump(host, unknown, nothing, signal).catch((error) => error)
    expect(error).toBeInstanceOf(NetlinkError)
    expect(error.message).toBe('netlink no-such: EINVAL: invalid argument')
    expect(isNetlinkUnavailable(error)).toBe(true)
    const badLink = askAll('bad-link', 0, 18, new Uint8Array(16).fill(255))
    await expect(netlink.dump(host, badLink, nothing, signal)).resolves.toBeUndefined()
  })

  it('records what it is answered', async () => {
    const { netlink, netns } = await open()
    const root = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-record-'))
    fs.mkdirSync(path.join(root, 'netlink'))
    fs.writeFileSync(path.join(root, 'netlink/links.bin'), await netlink.record(netns, linksRequest(), signal))
    const recorded = createReader(root, missing)
    const live = await open()
    expect(await readAll(recorded, recorded.host, linksRequest(), readLink)).toEqual(
      await readAll(live, live.netns, linksRequest(), readLink),
    )
    fs.rmSync(root, { recursive: true })
  })

  it('serves several at once', async () => {
    const reader = await open()
    const alone = await readAll(reader, reader.host, linksRequest(), readLink)
    const together = await Promise.all(
      Array.from({ length: 20 }, (_, i) => readAll(reader, i % 2 === 0 ? reader.host : reader.netns, linksRequest(), readLink)),
    )
    together.forEach((links, i) => {
      if (i % 2 === 0) expect(links.map(({ index }) => index)).toEqual(alone.map(({ index }) => index))
      else expect(links.map(({ name }) => name)).toEqual(['lo', 'nvb-e', 'nvb-d'])
    })
  })
})
