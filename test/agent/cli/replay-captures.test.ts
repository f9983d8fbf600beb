import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { replay } from '../../../agent/cli/replay.ts'
import { type Config, readConfig } from '../../../agent/config.ts'
import { limits } from '../../../agent/limits.ts'
import { createPcapReader, encodePcapHeader, encodePcapPacket } from '../../../parsers/pcap-file.ts'
import { ipv4, links, tcp, udp } from '../../parsers/built-packets.ts'
import { encodeWithDnsPacket } from '../../parsers/dns-packet.ts'
import { createFakeTerminal } from './fake-terminal.ts'

const main = path.resolve(import.meta.dirname, '../../../dist/agent/main.js')
const recorded = (name: string): string => path.resolve(import.meta.dirname, '../../fixtures/dns', name)

let folder: string
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-captures-'))
})
afterEach(() => fs.rmSync(folder, { recursive: true }))

async function run(...argv: string[]) {
  const terminal = createFakeTerminal()
  const config = readConfig(['replay', ...argv], {}) as Config
  const status = await replay(config, terminal)
  /** Of DNS and ICMP, without labels but the metric's own; what is 0 is left out. */
  const counts = Object.fromEntries(
    [...terminal.printed.matchAll(/^netvitals_(\w+?)(?:_total)?(?:\{(?:namespace="",pod="",?)?(?:\w+="(\w+)")?\})? (\d+)$/gm)]
      .map(([, metric, label, value]) => [[metric, label].filter(Boolean).join(' '), Number(value)] as const)
      .filter(([name, value]) => value !== 0 && !name.includes('bucket')),
  )
  return { status, counts, printed: terminal.printed, warned: terminal.warned }
}
function write(name: string, ...parts: readonly Uint8Array[]): string {
  const file = path.join(folder, name)
  fs.writeFileSync(file, Buffer.concat(parts))
  return file
}

const [client, server] = [[10, 0, 0, 7], [10, 0, 0, 53]] // biome-ignore format: one line
const startMs = 1_700_000_000_000
const { linkType, wrap } = links.ethernet
const header = (link = linkType) => encodePcapHeader(link, 65_535, 'microseconds')
function packet(afterMs: number, bytes: readonly number[], capturedLength = bytes.length): Uint8Array {
  return encodePcapPacket(Uint8Array.from(bytes), 0, capturedLength, bytes.length, startMs + afterMs, 'microseconds')
}
const questions = [{ name: 'api.example.com', type: 'A' as const }]
const queryBytes = (id: number): number[] =>
  wrap(ipv4({ source: client, destination: server, protocol: 17 }, udp(40_000, 53, [...encodeWithDnsPacket({ type: 'query', id, questions })]))) // biome-ignore format: one line
function answerBytes(id: number, rcode: number, port = 53): number[] {
  const message = encodeWithDnsPacket({ type: 'response', id, flags: rcode, questions })
  return wrap(ipv4({ source: server, destination: client, protocol: 17 }, udp(port, 40_000, [...message])))
}
const query = (afterMs: number, id: number) => packet(afterMs, queryBytes(id))
const answer = (afterMs: number, id: number, rcode = 0) => packet(afterMs, answerBytes(id, rcode))
/** Three queries, of which two are answered and one is given up. */
const whole = [query(0, 1), answer(2, 1), query(100, 2), answer(103, 2, 3), query(200, 3), query(6000, 4), answer(6001, 4)]

/** The same packets as a pcapng file, times in nanoseconds. */
function toPcapng(pcap: Uint8Array): Uint8Array {
  const blocks: Buffer[] = []
  const addBlock = (type: number, body: Buffer): void => {
    const padding = Buffer.alloc(-body.length & 3)
    const length = 12 + body.length + padding.length
    const [head, tail] = [Buffer.alloc(8), Buffer.alloc(4)]
    head.writeUInt32LE(type)
    head.writeUInt32LE(length, 4)
    tail.writeUInt32LE(length)
    blocks.push(head, body, padding, tail)
  }
  addBlock(0x0a0d0d0a, Buffer.from('4d3c2b1a01000000ffffffffffffffff', 'hex'))
  const reader = createPcapReader({
    onPacket(bytes, from, capturedLength, wireLength, timeMs, link) {
      if (blocks.length === 4) addBlock(1, Buffer.from([link & 255, link >> 8, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 9, 0, 0, 0]))
      const head = Buffer.alloc(20)
      const nanoseconds = BigInt(Math.round(timeMs! * 1000)) * 1000n
      head.writeUInt32LE(Number(nanoseconds >> 32n), 4)
      head.writeUInt32LE(Number(nanoseconds & 0xffff_ffffn), 8)
      head.writeUInt32LE(capturedLength, 12)
      head.writeUInt32LE(wireLength, 16)
      addBlock(6, Buffer.concat([head, bytes.subarray(from, from + capturedLength)]))
    },
  })
  reader.push(pcap)
  return Buffer.concat(blocks)
}

describe('captures of packets', () => {
  const expected = {
    'dns_queries A': 4,
    'dns_responses NOERROR': 2,
    'dns_responses NXDOMAIN': 1,
    'dns_served NOERROR': 2,
    'dns_served NXDOMAIN': 1,
    dns_duration_seconds_count: 3,
    dns_unanswered: 1,
  }

  it('count as on the node, at their own time, whatever the name', async () => {
    const { status, counts, printed, warned } = await run(write('no-suffix', header(), ...whole))
    expect([status, counts]).toEqual([0, expected])
    expect(printed).toContain('netvitals_dns_duration_seconds_sum{namespace="",pod=""} 0.006\n')
    expect(warned).toEqual(['7 packets read: 4 queries of DNS, 3 responses, 1 unanswered'])
  })

  it('pcapng too', async () => {
    const { status, counts } = await run(write('file.pcap', toPcapng(Buffer.concat([header(), ...whole]))))
    expect([status, counts]).toEqual([0, expected])
  })

  it('from standard input, whose first bytes may come one by one', () => {
    const input = Buffer.concat([header(), ...whole])
    const script = `
      const { spawn } = require('node:child_process')
      const child = spawn(process.execPath, [${JSON.stringify(main)}, 'replay', '-o', 'json', '-'], { stdio: ['pipe', 'inherit', 'inherit'] })
      const bytes = Buffer.from(${JSON.stringify(input.toString('hex'))}, 'hex')
      let at = 0
      const next = () => at < 30 ? child.stdin.write(bytes.subarray(at, ++at), () => setTimeout(next, 2)) : child.stdin.end(bytes.subarray(at))
      next()`
    const { stdout, stderr } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' })
    expect(stderr).toBe('netvitals: 7 packets read: 4 queries of DNS, 3 responses, 1 unanswered\n')
    expect(JSON.parse(stdout)).toMatchObject({
      bytes: input.length,
      lines: 0,
      captures: 1,
      damaged: [],
      packets: { packets: 7, dnsQueries: 4, dnsResponses: 3, dnsUnanswered: 1, dnsWaiting: 0, unreadable: {} },
    })
  })

  it('of several files each counts; one that goes on where another ended is one with it', async () => {
    const first = write('1', header(), query(0, 1), query(10, 2))
    const second = write('2', header(), answer(1000, 1), answer(1001, 2), query(1002, 3))
    const elsewhere = write('3', header(), query(500, 3), answer(501, 3))
    const { counts, warned } = await run(first, second, elsewhere)
    expect(counts).toMatchObject({ 'dns_queries A': 4, 'dns_responses NOERROR': 3 })
    expect(counts).not.toHaveProperty('dns_unmatched_responses')
    expect(warned).toEqual([
      '7 packets read: 4 queries of DNS, 3 responses, 0 unanswered',
      '1 query had no answer yet when the capture ended',
    ])
    const { warned: turned } = await run(second, first)
    expect(turned).toContain('2 responses to queries that were not captured, or given up')
  })

  it('together with recordings of tools and of netvitals', async () => {
    const tool = write('tcpretrans', Buffer.from('TIME     PID     IP LADDR:LPORT          T> RADDR:RPORT          STATE\n01:55:05 0       4  10.153.223.157:22    R> 69.53.245.40:34619   ESTABLISHED\n')) // biome-ignore format: one line
    const time = new Date(0).toISOString()
    const recording = [
      { type: 'recording', schemaVersion: 1, version: '0', node: 'n', time },
      { type: 'sweep', time },
      { type: 'family', name: 'netvitals_dns_unanswered_total', series: [['namespace="",pod=""', 5]] },
    ]
    const lines = write('recording', Buffer.from(recording.map((line) => `${JSON.stringify(line)}\n`).join('')))
    const { status, counts, warned } = await run(tool, write('capture', header(), ...whole), lines)
    expect(status).toBe(0)
    expect(counts).toMatchObject({ dns_unanswered: 6, 'tcp_retransmitted_segments_by_kind data': 1 })
    expect(warned).toEqual([
      '5 lines read: 1 sweep and 0 events of netvitals, 1 row of bcc tcpretrans',
      '7 packets read: 4 queries of DNS, 3 responses, 1 unanswered',
    ])
  })

  it('cut in its last packet: told, and what is before it counts', async () => {
    const file = Buffer.concat([header(), query(0, 1), answer(2, 1), query(100, 2)])
    const { status, counts, warned } = await run(write('cut', file.subarray(0, -1)))
    expect([status, counts['dns_queries A']]).toEqual([0, 1])
    expect(warned).toEqual([
      '2 packets read: 1 query of DNS, 1 response, 0 unanswered',
      `${folder}/cut: byte ${file.length}: expected the rest: the file is cut off; what is before it counts`,
    ])
  })

  it('damaged in the middle, and garbage behind the first bytes', async () => {
    const broken = packet(3, queryBytes(9))
    new DataView(broken.buffer).setUint32(8, 1 << 30, true)
    const file = write('broken', header(), query(0, 1), answer(2, 1), broken, query(100, 2))
    const { status, warned, counts } = await run(file)
    expect([status, counts['dns_queries A']]).toEqual([0, 1])
    expect(warned[1]).toMatch(
      /^.*\/broken: byte \d+: expected at most 262144 bytes of a packet, got 1073741824; what is before it counts$/,
    )
    const garbage = Buffer.from(Array.from({ length: 5000 }, (_, i) => (i * 7919) & 255))
    const { status: garbled, warned: said } = await run(write('garbage', header().subarray(0, 4), garbage))
    expect(garbled).toBe(1)
    expect(said).toEqual([
      '0 packets read: none on the ports of --capture.dns-ports and --capture.http-ports',
      expect.stringContaining('expected version 2.4'),
    ])
    expect((await run(write('empty', header()))).status).toBe(1)
  })

  it('says what was not read, and what was cut off by the capture itself', async () => {
    const arp = wrap([]).slice(0, 12).concat([8, 6], Array(28).fill(0))
    const file = write(
      'file',
      header(),
      ...whole.slice(0, 2),
      packet(3, arp),
      packet(4, queryBytes(5), 50),
      packet(5, answerBytes(77, 0)),
    )
    const { warned } = await run(file)
    expect(warned).toEqual([
      '5 packets read: 1 query of DNS, 1 response, 0 unanswered',
      '1 packet not read: 1 not IP',
      '1 packet captured without a part that is needed: the snap length was too short',
      '1 response to queries that were not captured, or given up',
    ])
  })

  it('other ports of DNS', async () => {
    const message = [...encodeWithDnsPacket({ type: 'query', id: 1, questions })]
    const bytes = wrap(ipv4({ source: client, destination: server, protocol: 17 }, udp(40_000, 5300, message)))
    const file = write('file', header(), packet(0, bytes), packet(1, answerBytes(1, 0, 5300)))
    const { status, warned } = await run(file)
    expect([status, warned]).toEqual([1, ['2 packets read: none on the ports of --capture.dns-ports and --capture.http-ports']])
    expect((await run('--capture.dns-ports', '53,5300', file)).counts).toMatchObject({ 'dns_responses NOERROR': 1 })
  })

  it('has room for more clients and queries than are waited for', async () => {
    const many = limits.dnsTransactions + 10
    const parts: Uint8Array[] = [header()]
    for (let i = 0; i < many; i++) {
      const source = [10, 1 + (i >> 16), (i >> 8) & 255, i & 255]
      const message = [...encodeWithDnsPacket({ type: 'query', id: 1, questions })]
      parts.push(packet(0, wrap(ipv4({ source, destination: server, protocol: 17 }, udp(40_000, 53, message)))))
    }
    const { counts, warned } = await run(write('file', ...parts))
    expect(counts).toEqual({ 'dns_queries A': many })
    const followed = limits.dnsTransactions / 2
    expect(warned.slice(1)).toEqual([
      `${followed.toLocaleString('en')} queries had no answer yet when the capture ended`,
      `${(many - followed).toLocaleString('en')} queries whose answers were not looked for: there are too many at once`,
    ])
  })
})

describe('single queries of captures', () => {
  const lines = (text: string): Record<string, unknown>[] =>
    text
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Record<string, unknown>)

  it('each with its answer, or without, instead of metrics', async () => {
    const { status, printed, warned } = await run('--type', 'dns', '-o', 'json', write('file', header(), ...whole))
    expect(status).toBe(0)
    expect(warned).toHaveLength(1)
    const dns = { name: 'api.example.com', queryType: 'A' }
    expect(lines(printed).map((line) => line.dns)).toEqual([
      { ...dns, id: 1, responseCode: 'NOERROR', durationMs: 2, addressCount: 0 },
      { ...dns, id: 2, responseCode: 'NXDOMAIN', durationMs: 3, addressCount: 0 },
      { ...dns, id: 3 },
      { ...dns, id: 4, responseCode: 'NOERROR', durationMs: 1, addressCount: 0 },
    ])
    expect(lines(printed)[2]).toEqual({
      time: new Date(startMs + 200).toISOString().replace('Z', '000Z'),
      type: 'dns',
      family: 'ipv4',
      protocol: 'udp',
      source: { address: '10.0.0.7', port: 40_000 },
      destination: { address: '10.0.0.53', port: 53 },
      dns: { ...dns, id: 3 },
    })
  })

  it('as a table, with addresses for names, and chosen by filters', async () => {
    const file = write('file', header(), ...whole)
    const { printed } = await run('--type', 'dns', file)
    expect(printed.split('\n')).toHaveLength(6)
    expect(printed).toMatch(/ dns +10\.0\.0\.7:40000 +10\.0\.0\.53:53 +udp/)
    expect(printed).not.toContain('host')
    expect(printed).toContain('NXDOMAIN')
    expect((await run('--dns', '--rcode', 'unanswered', file)).printed).toMatch(/^TIME .*\n.* unanswered .*\n$/)
    expect((await run('--type', 'dns', '--ip', '10.9.9.9', file)).printed).toBe('')
  })
})

describe('single requests of captures', () => {
  const head = 'HTTP/1.1\r\nHost: shop\r\n\r\n'
  const texts = [`GET /cart?token=secret ${head}`, 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', `GET /slow ${head}`]

  function conversation(): Uint8Array[] {
    const next = [1000, 5000]
    return ['', '', ...texts, '', ''].map((text, i) => {
      const side = i === 5 ? 1 : i === 6 ? 0 : i % 2
      const [from, to] = side === 0 ? [client, server] : [server, client]
      const [sourcePort, destinationPort] = side === 0 ? [40_000, 80] : [80, 40_000]
      const flags = i === 0 ? 2 : i === 1 ? 18 : i > 4 ? 17 : 24
      const fields = {
        sourcePort: sourcePort!,
        destinationPort: destinationPort!,
        sequence: next[side]!,
        acknowledgement: next[1 - side]!,
        flags,
      }
      const segment = tcp(fields, [...Buffer.from(text)])
      next[side] = next[side]! + text.length + (flags & 3 ? 1 : 0)
      return packet(12 * i, wrap(ipv4({ source: from!, destination: to!, protocol: 6 }, segment)))
    })
  }

  it('each with its answer, or without, and never with what follows a question mark', async () => {
    const file = write('file', header(), ...conversation())
    const { printed } = await run('--http', '--capture.http-ports=80', '-o', 'json', file)
    const told = printed.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line)]))
    expect(told.map(({ type, http, routine }) => ({ type, ...http, routine }))).toEqual([
      { type: 'http', method: 'GET', path: '/cart', host: 'shop', status: 200, durationMs: 12, routine: true },
      { type: 'http', method: 'GET', path: '/slow', host: 'shop', routine: undefined },
    ])
    const unanswered = await run('--status', 'unanswered', '--path', '/s*', '--capture.http-ports=80', file)
    expect(unanswered.printed).toMatch(/^TIME .*\n.* unanswered +GET shop\/slow\n$/)
    expect((await run('--status', '5xx', '--capture.http-ports=80', file)).printed).toBe('')
  })
})

describe('what a node saw of DNS, recorded by tcpdump', () => {
  // What was asked stands in fixtures/dns/record-node.
  const truth = {
    'dns_queries A': 27,
    'dns_responses NOERROR': 17,
    'dns_responses NXDOMAIN': 6,
    'dns_served NOERROR': 17,
    'dns_served NXDOMAIN': 6,
    dns_response_addresses: 17,
    dns_duration_seconds_count: 23,
    dns_unanswered: 3,
  }
  it.each([
    ['node-veth.pcap', 58],
    ['node-sll.pcap', 153],
    ['node-sll2.pcap', 153],
  ])('%s: each query once, through a bridge, the translation of a Service, and masquerading', async (name, packets) => {
    const { status, counts, warned } = await run(recorded(name))
    expect([status, counts]).toEqual([0, truth])
    expect(warned).toEqual([
      `${packets} packets read: 27 queries of DNS, 23 responses, 3 unanswered`,
      '1 query had no answer yet when the capture ended',
    ])
  })

  it('as pcapng', async () => {
    const { counts } = await run(write('pcapng', toPcapng(fs.readFileSync(recorded('node-sll2.pcap')))))
    expect(counts).toEqual(truth)
  })
})
