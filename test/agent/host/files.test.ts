import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { NotFound, Unreadable } from '../../../agent/host/errors.ts'
import { createFiles } from '../../../agent/host/files.ts'
import { type LoadedLibc, loadLibc } from '../../../agent/host/libc.ts'
import { createNamespaces } from '../../../agent/host/namespaces.ts'
import { limits } from '../../../agent/limits.ts'
import { requireRoot } from '../../truth/topology.ts'

const missing: LoadedLibc = { missing: 'koffi is not installed: npm install koffi' }
const signal = new AbortController().signal

function createReader(root: string, libc: LoadedLibc) {
  const namespaces = createNamespaces({ root, libc })
  return { namespaces, host: namespaces.host, files: createFiles({ root, namespaces }) }
}

function errorOf(read: () => unknown): unknown {
  try {
    return read()
  } catch (error) {
    return error
  }
}

describe('of a recorded tree', () => {
  let root = ''
  beforeAll(() => {
    root = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-files-'))
    fs.mkdirSync(path.join(root, 'proc/net'), { recursive: true })
    fs.mkdirSync(path.join(root, 'proc/sys/net/ipv4'), { recursive: true })
    fs.writeFileSync(path.join(root, 'proc/net/snmp'), 'recorded\n')
    fs.writeFileSync(path.join(root, 'proc/net/tcp'), 'x'.repeat(200_000))
    fs.writeFileSync(path.join(root, 'proc/sys/net/ipv4/ip_local_port_range'), '1\t2\n')
    fs.writeFileSync(path.join(root, 'proc/large'), Buffer.alloc(limits.fileBytes, 'a'))
    fs.writeFileSync(path.join(root, 'proc/larger'), Buffer.alloc(limits.fileBytes + 1, 'a'))
  })
  afterAll(() => fs.rmSync(root, { recursive: true }))

  it('reads its files as those of the machine', () => {
    const { files, host } = createReader(root, missing)
    expect(files.read('/proc/net/snmp')).toBe('recorded\n')
    expect(files.readNet(host, 'snmp')).toBe('recorded\n')
    expect(files.readSys(host, 'net/ipv4/ip_local_port_range')).toBe('1\t2\n')
  })
  it('tells absent from failed', () => {
    const { files, host } = createReader(root, missing)
    const absent = errorOf(() => files.readNet(host, 'snmp6'))
    expect(absent).toBeInstanceOf(NotFound)
    expect(absent).toMatchObject({ code: 'ENOENT', path: path.join(root, 'proc/net/snmp6') })
    expect(errorOf(() => files.read('/proc/net/snmp/below'))).toBeInstanceOf(NotFound)
    const failed = errorOf(() => files.read('/proc/net'))
    expect(failed).toBeInstanceOf(Unreadable)
    expect(failed).toMatchObject({
      code: 'EISDIR',
      message: `${path.join(root, 'proc/net')}: EISDIR: illegal operation on a directory`,
    })
  })
  it('is bounded', () => {
    const { files } = createReader(root, missing)
    expect(files.read('/proc/large').length).toBe(limits.fileBytes)
    expect(errorOf(() => files.read('/proc/larger'))).toBeInstanceOf(Unreadable)
  })
  it('lists a folder', () => {
    const { files } = createReader(root, missing)
    expect(files.list('/proc', 4).sort()).toEqual(['large', 'larger', 'net', 'sys'])
    expect(errorOf(() => files.list('/proc', 3))).toMatchObject({ message: '/proc: more than 3 entries' })
    expect(errorOf(() => files.list('/none', 3))).toBeInstanceOf(NotFound)
    expect(errorOf(() => files.list('/proc/large', 3))).toBeInstanceOf(NotFound)
  })
  it('streams in pieces', async () => {
    const { files, host } = createReader(root, missing)
    const lengths: number[] = []
    await files.stream(host, 'tcp', (chunk) => lengths.push(chunk.length), signal)
    expect(lengths.length).toBeGreaterThan(1)
    expect(lengths.reduce((sum, length) => sum + length)).toBe(200_000)
  })
  it('stops streaming when told to', async () => {
    const { files, host } = createReader(root, missing)
    const controller = new AbortController()
    let pieces = 0
    const streaming = files.stream(
      host,
      'tcp',
      () => {
        pieces++
        controller.abort(new Error('enough'))
        for (const untilMs = performance.now() + limits.yieldMs + 1; performance.now() < untilMs; );
      },
      controller.signal,
    )
    await expect(streaming).rejects.toThrow('enough')
    expect(pieces).toBe(1)
  })
  it('gives the event loop back', async () => {
    const { files, host } = createReader(root, missing)
    let turns = 0
    const timer = setInterval(() => turns++, 1)
    await files.stream(
      host,
      'tcp',
      () => {
        for (const untilMs = performance.now() + limits.yieldMs + 5; performance.now() < untilMs; );
      },
      signal,
    )
    clearInterval(timer)
    expect(turns).toBeGreaterThan(1)
  })
})

describe('of this machine', () => {
  it('reads the agent’s own namespace', () => {
    const { files, host } = createReader('/', missing)
    expect(files.readNet(host, 'snmp')).toMatch(/^Ip: Forwarding/)
    expect(files.readSys(host, 'net/ipv4/ip_local_port_range')).toMatch(/^\d+\t\d+\n$/)
    expect(files.read('/proc/version')).toBe(fs.readFileSync('/proc/version', 'utf8'))
  })
})

requireRoot('files of another namespace', () => {
  let child: ChildProcess | undefined
  const exec = (...command: string[]): string =>
    execFileSync('ip', ['netns', 'exec', 'nvb-files', ...command], { encoding: 'utf8' })
  beforeAll(() => {
    execFileSync('ip', ['netns', 'add', 'nvb-files'])
    exec('sysctl', '-qw', 'net.ipv4.ip_local_port_range=40000 40100')
  })
  afterAll(() => execFileSync('ip', ['netns', 'del', 'nvb-files']))
  afterEach(() => {
    child?.kill('SIGKILL')
    child = undefined
  })

  async function open(libc: LoadedLibc) {
    const reader = createReader('/', libc)
    reader.namespaces.refresh()
    return { ...reader, netns: reader.namespaces.list().find(({ name }) => name === 'nvb-files')! }
  }
  async function hold(): Promise<number> {
    child = spawn('ip', ['netns', 'exec', 'nvb-files', 'sleep', '60'])
    const inode = fs.statSync('/run/netns/nvb-files').ino
    await expect.poll(() => fs.statSync(`/proc/${child?.pid}/ns/net`).ino).toBe(inode)
    return child.pid!
  }

  it('reads from inside', async () => {
    const { files, netns } = await open(await loadLibc())
    expect(files.readNet(netns, 'dev')).toBe(exec('cat', '/proc/net/dev'))
    expect(files.readSys(netns, 'net/ipv4/ip_local_port_range')).toBe('40000\t40100\n')
    expect(errorOf(() => files.readNet(netns, 'no-such'))).toBeInstanceOf(NotFound)
    let text = ''
    await files.stream(
      netns,
      'tcp',
      (chunk) => {
        text += chunk.toString()
      },
      signal,
    )
    expect(text).toBe(exec('cat', '/proc/net/tcp'))
  })
  it('reads through a process where it cannot go inside', async () => {
    const { files, netns, namespaces } = await open(missing)
    expect(errorOf(() => files.readNet(netns, 'dev'))).toMatchObject({
      name: 'Unreadable',
      message: expect.stringContaining('npm install koffi'),
    })
    const pid = await hold()
    namespaces.adoptTasks([{ pid, inode: netns.inode!, cookie: 7 }])
    expect(files.readNet(netns, 'dev')).toBe(exec('cat', '/proc/net/dev'))
    expect(errorOf(() => files.readNet(netns, 'no-such'))).toBeInstanceOf(NotFound)
    expect(errorOf(() => files.readSys(netns, 'net/ipv4/ip_local_port_range'))).toBeInstanceOf(Unreadable)
  })
  it('goes inside when the process has ended', async () => {
    const { files, netns, namespaces } = await open(await loadLibc())
    const pid = await hold()
    namespaces.adoptTasks([{ pid, inode: netns.inode!, cookie: netns.cookie! }])
    expect(files.readNet(netns, 'dev')).toBe(exec('cat', '/proc/net/dev'))
    child?.kill('SIGKILL')
    await expect.poll(() => namespaces.processOf(netns)).toBeUndefined()
    expect(files.readNet(netns, 'dev')).toBe(exec('cat', '/proc/net/dev'))
  })
  it('does not read a process that is elsewhere', async () => {
    const { files, netns, namespaces } = await open(missing)
    namespaces.adoptTasks([{ pid: process.pid, inode: netns.inode!, cookie: 7 }])
    expect(errorOf(() => files.readNet(netns, 'dev'))).toBeInstanceOf(Unreadable)
  })
})
