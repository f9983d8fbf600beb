import { describe, expect, it } from 'vitest'
import { formatAddress } from '../../parsers/address.ts'
import {
  type ConntrackEntry,
  type ConntrackTuple,
  conntrackEntryRequest,
  createConntrackReader,
  readConntrackStats,
  readConntrackStatsCpu,
} from '../../parsers/ctnetlink.ts'
import { parseErrorOf } from './proc-recorded.ts'
import { expectBounded, kernels, kernelsWith, readAnswer, recordedAnswer, toolOutput } from './recorded-answers.ts'

/** A line of `conntrack -S`: `cpu=0 found=0 invalid=0 …`, whose word for chaintoolong has changed. */
function readTool(line: string): Record<string, number> {
  return Object.fromEntries([...line.matchAll(/(\w+)=(\d+)/g)].map(([, name, value]) => [name, Number(value)]))
}

const withoutUndefined = (record: object): object =>
  Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined))

describe.each(kernels)('of Linux %s', (kernel) => {
  it('has the entries and their limit', () => {
    expect(readAnswer(recordedAnswer(kernel, 'conntrack-stats'), readConntrackStats)).toEqual([
      { entries: Number(toolOutput(kernel, 'conntrack-C.txt')), maximum: Number(toolOutput(kernel, 'nf_conntrack_max.txt')) },
    ])
    expect(Number(toolOutput(kernel, 'conntrack-C.txt'))).toBeGreaterThan(5)
  })
  it('has the counters of each CPU as conntrack does', () => {
    const cpus = readAnswer(recordedAnswer(kernel, 'conntrack-stats-cpu'), readConntrackStatsCpu)
    expect(cpus.map(withoutUndefined)).toEqual(toolOutput(kernel, 'conntrack-S.txt').split('\n').map(readTool))
  })
})

const tcpStates = ['', 'SYN_SENT', 'SYN_RECV', 'ESTABLISHED', 'FIN_WAIT', 'CLOSE_WAIT', 'LAST_ACK', 'TIME_WAIT', 'CLOSE']

/** As `conntrack -L -o extended` writes it: without names, timeouts and what is behind the tuples. */
function format(entry: ConntrackEntry): string {
  const { family, protocol, original, reply, addresses, tcpState } = entry
  const address = (at: number): string => formatAddress(addresses.subarray(at, at + (family === 4 ? 4 : 16)))
  const tuple = ({ sourceAt, destinationAt, sourcePort, destinationPort }: ConntrackTuple): string =>
    `${address(sourceAt)}:${sourcePort} ${address(destinationAt)}:${destinationPort}`
  return `ipv${family} ${protocol} ${tcpStates[tcpState ?? 0]} ${tuple(original)} ${tuple(reply)}`
}

function formatTool(line: string): string {
  const [family, , , protocol, , state = ''] = line.split(/\s+/)
  const values = (key: string): string[] => [...line.matchAll(new RegExp(`\\b${key}=(\\S+)`, 'g'))].map(([, value]) => value!)
  const [sources, destinations, sourcePorts, destinationPorts] = ['src', 'dst', 'sport', 'dport'].map(values)
  const tuple = (i: number): string => `${sources![i]}:${sourcePorts![i] ?? 0} ${destinations![i]}:${destinationPorts![i] ?? 0}`
  return `${family} ${protocol} ${protocol === '6' ? state : ''} ${tuple(0)} ${tuple(1)}`
}

function readEntries(bytes: Uint8Array): string[] {
  const found: string[] = []
  readAnswer(
    bytes,
    createConntrackReader((entry) => found.push(format(entry))),
  )
  return found
}

describe.each(kernelsWith('conntrack-entries'))('entries of Linux %s', (kernel) => {
  it('are what conntrack lists: both families, translated or not, with and without ports', () => {
    const listed = toolOutput(kernel, 'conntrack-L.txt').split('\n').map(formatTool)
    expect(readEntries(recordedAnswer(kernel, 'conntrack-entries')).sort()).toEqual(listed.sort())
    expect(listed).toContain('ipv4 6 ESTABLISHED 10.9.8.1:44628 10.96.0.10:80 10.9.8.1:8001 10.9.8.1:44628')
    expect(new Set(listed.map((line) => line.split(' ')[1]))).toEqual(new Set(['1', '6', '17', '58']))
  })
})

it('asks for an entry by its addresses and ports in network order', () => {
  const ipv4 = conntrackEntryRequest(Uint8Array.of(10, 0, 0, 1), Uint8Array.of(10, 96, 0, 10), 0x1234, 80)
  // As nft and libnetfilter_conntrack send it: nested attributes are marked, values padded.
  const expected = [
    ['48000000', '0101', '0500', '01000000', '00000000', '02000000'],
    ['34000180', '14000180', '08000100', '0a000001', '08000200', '0a60000a'],
    ['1c000280', '05000100', '06000000', '06000200', '12340000', '06000300', '00500000'],
  ]
  expect(Buffer.from(ipv4.bytes).toString('hex')).toBe(expected.flat().join(''))
  const address = Uint8Array.from({ length: 16 }, (_, i) => i)
  const ipv6 = Buffer.from(conntrackEntryRequest(address, address.toReversed(), 1, 65535).bytes).toString('hex')
  expect(ipv6).toContain('14000300000102030405060708090a0b0c0d0e0f140004000f0e0d0c0b0a09080706050403020100')
  expect(ipv6).toMatch(/0600020000010000060003\w{2}ffff0000$/)
})

it('refuses an entry without both tuples or their addresses, with its place', () => {
  const whole = recordedAnswer(kernelsWith('conntrack-entries')[0]!, 'conntrack-entries')
  const read = createConntrackReader(() => expect.unreachable())
  const cut = whole.slice(16, 16 + 4 + 52) // its original tuple
  expect(parseErrorOf(() => read(cut, 0, cut.length))).toMatchObject({ column: 1, expected: 'both tuples' })
  const tuple = Uint8Array.of(2, 0, 0, 0, 8, 0, 1, 0x80, 4, 0, 1, 0x80)
  expect(parseErrorOf(() => read(tuple, 0, tuple.length))).toMatchObject({ column: 9, expected: 'the addresses of a tuple' })
  // IPv4 addresses in an entry that says it is IPv6.
  const mixed = Uint8Array.from(cut)
  mixed[0] = 10
  expect(parseErrorOf(() => read(mixed, 0, mixed.length)).expected).toContain('16 bytes')
})

/** struct nfgenmsg and attributes of 32 bits, big-endian. */
function message(cpu: number, values: readonly (readonly [type: number, value: number])[]): Uint8Array {
  const bytes = new Uint8Array(4 + 8 * values.length)
  const view = new DataView(bytes.buffer)
  view.setUint16(2, cpu)
  values.forEach(([type, value], i) => {
    view.setUint16(4 + 8 * i, 8, true)
    view.setUint16(6 + 8 * i, type, true)
    view.setUint32(8 + 8 * i, value)
  })
  return bytes
}

it('takes each counter from its own attribute, and undefined where there is none', () => {
  const all = message(
    258,
    Array.from({ length: 15 }, (_, i) => [i + 1, 0x80000000 + i + 1] as const),
  )
  expect(readConntrackStatsCpu(all, 0, all.length)).toEqual({
    cpu: 258,
    found: 0x80000002,
    invalid: 0x80000004,
    insert: 0x80000008,
    insert_failed: 0x80000009,
    drop: 0x8000000a,
    early_drop: 0x8000000b,
    error: 0x8000000c,
    search_restart: 0x8000000d,
    clash_resolve: 0x8000000e,
    chaintoolong: 0x8000000f,
  })
  const none = readConntrackStatsCpu(message(0, []), 0, 4)
  expect(Object.entries(none).filter(([, value]) => value !== undefined)).toEqual([['cpu', 0]])
})

it('does not take an absent limit for 0', () => {
  const bytes = message(0, [[1, 500]])
  expect(readConntrackStats(bytes, 0, bytes.length)).toEqual({ entries: 500, maximum: undefined })
})

it('refuses a counter of too few bytes, with its place', () => {
  const bytes = Uint8Array.of(0, 0, 0, 0, 6, 0, 2, 0, 1, 1)
  expect(parseErrorOf(() => readConntrackStatsCpu(bytes, 0, bytes.length)).column).toBe(9)
  const short = Uint8Array.of(0, 0, 0, 0, 6, 0, 1, 0, 1, 1)
  expect(parseErrorOf(() => readConntrackStats(short, 0, short.length)).column).toBe(9)
  expect(parseErrorOf(() => readConntrackStats(short, 1, 3)).column).toBe(2)
})

it('reads hostile bytes inside their bounds', () => {
  expectBounded('conntrack-stats', readConntrackStats)
  expectBounded('conntrack-entries', (bytes, from, to) => {
    let text = ''
    createConntrackReader((entry) => {
      text = format(entry)
    })(bytes, from, to)
    return text
  })
  expectBounded('conntrack-stats-cpu', readConntrackStatsCpu)
})
