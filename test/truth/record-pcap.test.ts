import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createPacketHeaders, readPacketHeaders } from '../../parsers/packet-headers.ts'
import { createPcapReader } from '../../parsers/pcap-file.ts'
import { requireRoot } from './topology.ts'

const main = path.resolve(import.meta.dirname, '../../dist/agent/main.js')
const [node, podA, podB] = ['nvr-node', 'nvr-a', 'nvr-b']
const patience = { timeout: 20_000, interval: 50 }

const ip = (...words: string[]): string => execFileSync('ip', words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
const inNamespace = (namespace: string, ...command: string[]): string => ip('netns', 'exec', namespace, ...command)
function removeAll(): void {
  for (const name of [podA, podB, node]) spawnSync('ip', ['netns', 'del', name], { stdio: 'ignore' })
}

/** Two pods on the bridge of a node, which is a namespace too: `record` runs there. */
function addAll(): void {
  removeAll()
  for (const name of [node, podA, podB]) {
    ip('netns', 'add', name)
    inNamespace(name, 'sysctl', '-qw', 'net.ipv6.conf.default.accept_dad=0', 'net.ipv6.conf.default.router_solicitations=0')
    ip('-n', name, 'link', 'set', 'lo', 'up')
  }
  ip('-n', node, 'link', 'add', 'cni0', 'type', 'bridge')
  ip('-n', node, 'address', 'add', '10.79.0.254/24', 'dev', 'cni0')
  ip('-n', node, 'address', 'add', 'fd79::fe/64', 'dev', 'cni0', 'nodad')
  ip('-n', node, 'link', 'set', 'cni0', 'up')
  for (const [i, name] of [podA, podB].entries()) {
    ip('link', 'add', 'eth0', 'netns', name, 'type', 'veth', 'peer', 'name', `veth${i}`, 'netns', node)
    ip('-n', node, 'link', 'set', `veth${i}`, 'master', 'cni0', 'up')
    ip('-n', name, 'address', 'add', `10.79.0.${i + 1}/24`, 'dev', 'eth0')
    ip('-n', name, 'address', 'add', `fd79::${i + 1}/64`, 'dev', 'eth0', 'nodad')
    ip('-n', name, 'link', 'set', 'eth0', 'up')
    ip('-n', name, 'route', 'add', 'default', 'via', '10.79.0.254')
  }
}

/** Datagrams of 500 bytes to port 9 of an address. */
function send(from: string, to: string, count: number): void {
  const script = `
    const socket = require('node:dgram').createSocket(${JSON.stringify(to.includes(':') ? 'udp6' : 'udp4')})
    let left = ${count}
    const next = () => left-- > 0 ? socket.send(Buffer.alloc(500, left), 9, ${JSON.stringify(to)}, next) : socket.close()
    next()`
  inNamespace(from, process.execPath, '-e', script)
}

interface Written {
  readonly packets: number
  /** From which address, UDP to port 9. */
  readonly datagrams: Record<string, number>
  /** Addresses of all packets that have one. */
  readonly addresses: ReadonlySet<string>
  readonly longestBytes: number
}
function read(file: string): Written {
  const headers = createPacketHeaders()
  const datagrams: Record<string, number> = {}
  const addresses = new Set<string>()
  let packets = 0
  let longestBytes = 0
  const reader = createPcapReader({
    onPacket(bytes, from, capturedLength, wireLength, _timeMs, linkType) {
      packets++
      longestBytes = Math.max(longestBytes, capturedLength)
      if (readPacketHeaders(bytes, from, capturedLength, wireLength, linkType, headers) !== undefined) return
      const length = headers.family === 4 ? 4 : 16
      const at = (start: number): string => Buffer.from(bytes.subarray(start, start + length)).toString('hex')
      addresses.add(at(headers.sourceAt)).add(at(headers.destinationAt))
      if (headers.protocol === 17 && headers.destinationPort === 9)
        datagrams[at(headers.sourceAt)] = (datagrams[at(headers.sourceAt)] ?? 0) + 1
    },
  })
  reader.push(fs.readFileSync(file))
  reader.end()
  return { packets, datagrams, addresses, longestBytes }
}

const [a4, b4, node4, a6] = ['0a4f0001', '0a4f0002', '0a4f00fe', `fd79${'0'.repeat(27)}1`]

requireRoot('netvitals record --pcap', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-record-pcap-'))
  const running = new Set<ChildProcess>()
  beforeAll(addAll)
  afterAll(async () => {
    for (const child of running) {
      const closed = once(child, 'close')
      child.kill('SIGKILL')
      await closed
    }
    removeAll()
    fs.rmSync(folder, { recursive: true })
  })

  /** Resolves when the file is there: then it is capturing. */
  async function start(name: string, ...flags: string[]) {
    const file = path.join(folder, name)
    const child = spawn('ip', ['netns', 'exec', node, process.execPath, main, 'record', '--pcap', file, ...flags])
    running.add(child)
    let said = ''
    child.stderr.on('data', (chunk) => (said += chunk))
    const ended = once(child, 'close').then(([status]) => {
      running.delete(child)
      return status as number
    })
    await expect.poll(() => fs.existsSync(file) || child.exitCode !== null, patience).toBe(true)
    return { file, child, ended, said: () => said }
  }
  /** Ends it, and says what it wrote and said. */
  async function stop({ file, child, ended, said }: Awaited<ReturnType<typeof start>>) {
    child.kill('SIGINT')
    expect(await ended).toBe(0)
    return { ...read(file), said: said() }
  }

  it('has every packet of a pod once, and none of another pod', { timeout: 60_000 }, async () => {
    const recording = await start('pod', '--pod', `@netns/${podA}`, '--for', 'ever')
    for (const [from, to, count] of [
      [podA, '10.79.0.254', 40], // to the node
      [podA, '10.79.0.2', 30], // to a pod of the same bridge
      [podB, '10.79.0.1', 20],
      [node, '10.79.0.1', 10],
      [podA, 'fd79::fe', 25],
      [podB, '10.79.0.254', 50], // not its business
      [podB, 'fd79::fe', 50],
    ] as const)
      send(from, to, count)
    expect(fs.statSync(recording.file).mode & 0o777).toBe(0o600)
    const { datagrams, addresses, packets, longestBytes, said } = await stop(recording)
    expect(datagrams).toEqual({ [a4]: 70, [b4]: 20, [node4]: 10, [a6]: 25 })
    expect(addresses).not.toContain(`fd79${'0'.repeat(27)}2`)
    expect(longestBytes).toBe(256)
    expect(said).toMatch(new RegExp(`^netvitals: ${packets} packets in .*/pod, [\\d,]+ bytes: it was told to end\n`))
    expect(said).toMatch(/\d+ packets cut off at 256 bytes; --snap 0 keeps them whole\n/)
    expect(said).not.toContain('lost')
    const tcpdump = spawnSync('tcpdump', ['-nr', recording.file], { encoding: 'utf8' })
    if (tcpdump.error !== undefined) return console.warn('SKIPPED, no tcpdump: that it reads the file')
    expect([tcpdump.status, tcpdump.stdout.trim().split('\n')]).toEqual([0, expect.objectContaining({ length: packets })])
    expect(tcpdump.stdout).toContain('IP 10.79.0.1.')
  })

  it('the host: what it sends and receives itself, with what it says to itself', { timeout: 60_000 }, async () => {
    const recording = await start('host', '--pod', 'host', '--filter', 'udp port 9', '--snap', '0')
    send(node, '127.0.0.1', 15)
    send(node, '10.79.0.2', 5)
    send(podA, '10.79.0.2', 30) // not its business
    const { datagrams, longestBytes } = await stop(recording)
    expect(datagrams).toEqual({ '7f000001': 15, [node4]: 5 })
    expect(longestBytes).toBe(16 + 20 + 8 + 500)
  })

  it('ends by itself at so many packets, so many bytes, and after some time', { timeout: 60_000 }, async () => {
    const [packets, bytes, time] = await Promise.all([
      start('packets', '--pcap.packets', '50', '--filter', 'udp', '--for', 'ever'),
      start('bytes', '--pcap.bytes', '10kB', '--filter', 'udp', '--for', 'ever'),
      start('time', '--for', '1s'),
    ])
    send(podA, '10.79.0.2', 200)
    expect(await Promise.all([packets, bytes, time].map(({ ended }) => ended))).toEqual([0, 0, 0])
    expect(read(packets.file).packets).toBe(50)
    expect(packets.said()).toContain('50 packets in ')
    expect(packets.said()).toContain(': there are as many as --pcap.packets')
    const { size } = fs.statSync(bytes.file)
    expect(size).toBe(24 + (16 + 256) * 36) // one more would be too many
    expect(bytes.said()).toContain(
      `36 packets in ${bytes.file}, ${size.toLocaleString('en')} bytes: more would exceed --pcap.bytes`,
    )
    expect(time.said()).toContain(': the time of --for is over')
  })

  it('replaces no file unless told, and leaves none behind where it cannot capture', { timeout: 60_000 }, async () => {
    const there = path.join(folder, 'there')
    fs.writeFileSync(there, 'precious')
    const refused = await start('there')
    expect([await refused.ended, refused.said(), fs.readFileSync(there, 'utf8')]).toEqual([
      1,
      `netvitals: ${there} is there already; --force replaces it\n`,
      'precious',
    ])
    const link = path.join(folder, 'link')
    fs.symlinkSync(there, link)
    const linked = await start('link', '--force')
    expect([await linked.ended, fs.readFileSync(there, 'utf8')]).toEqual([1, 'precious'])
    const forced = await start('there', '--force', '--for', '1s', '--filter', 'udp port 7') // nobody uses it
    expect([await forced.ended, fs.statSync(there).mode & 0o777]).toEqual([0, 0o600])
    expect(read(there).packets).toBe(0)
    const wrong = await start('wrong', '--filter', 'prot 53')
    expect([await wrong.ended, wrong.said()]).toEqual([1, expect.stringContaining("can't parse filter expression")])
    const nobody = await start('nobody', '--pod', 'shop/nobody')
    expect([await nobody.ended, nobody.said()]).toEqual([
      2,
      expect.stringMatching(/^netvitals: --pod: there is nobody of this name; there are .*@netns\//),
    ])
    expect(fs.readdirSync(folder).filter((name) => ['wrong', 'nobody'].includes(name))).toEqual([])
  })

  it('what it has written replay reads', { timeout: 60_000 }, async () => {
    const recording = await start('dns', '--pod', `@netns/${podA}`, '--filter', 'port 53', '--snap', '0')
    const server = spawn('ip', [
      ...['netns', 'exec', node, process.execPath, '-e'],
      `const socket = require('node:dgram').createSocket('udp4').bind(53, '10.79.0.254', () => console.log('ready'))
      socket.on('message', (message, { address, port }) => { message[2] |= 0x80; message[3] |= 3; socket.send(message, port, address) })`,
    ])
    running.add(server)
    await once(server.stdout, 'data')
    const script = `
      const resolver = new (require('node:dns').promises.Resolver)()
      resolver.setServers(['10.79.0.254'])
      Promise.allSettled(Array.from({ length: 7 }, (_, i) => resolver.resolve4('host-' + i + '.example.com')))`
    inNamespace(podA, process.execPath, '-e', script)
    inNamespace(podB, process.execPath, '-e', script)
    await stop(recording)
    const output = execFileSync(process.execPath, [main, 'replay', recording.file], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    expect(output).toContain('netvitals_dns_queries_total{namespace="",pod="",qtype="A"} 7\n')
    expect(output).toContain('netvitals_dns_responses_total{namespace="",pod="",rcode="NXDOMAIN"} 7\n')
    expect(output).toContain('netvitals_dns_unanswered_total{namespace="",pod=""} 0\n')
  })
})
