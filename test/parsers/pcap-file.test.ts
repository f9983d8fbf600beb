import { execFileSync, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createPcapReader, encodePcapHeader, encodePcapPacket, isPcapFile, type PcapResolution } from '../../parsers/pcap-file.ts'
import { ParseError } from '../../parsers/text.ts'
import { ipv4, udp } from './built-packets.ts'
import { parseErrorOf } from './proc-recorded.ts'

interface Packet {
  bytes: number[]
  wireLength: number
  timeMs: number | undefined
  linkType: number
}

/** Everything the reader hands out of these pieces, and where it complains, as a byte from 0. */
function readAll(...chunks: readonly Uint8Array[]): {
  packets: Packet[]
  errorAt: number | undefined
  expected: string | undefined
} {
  const packets: Packet[] = []
  const reader = createPcapReader({
    onPacket(bytes, from, capturedLength, wireLength, timeMs, linkType) {
      packets.push({ bytes: [...bytes.subarray(from, from + capturedLength)], wireLength, timeMs, linkType })
    },
  })
  try {
    for (const chunk of chunks) reader.push(chunk)
    reader.end()
    return { packets, errorAt: undefined, expected: undefined }
  } catch (error) {
    if (!(error instanceof ParseError)) throw error
    return { packets, errorAt: error.column - 1, expected: error.expected }
  }
}

/** Numbers in one byte order. */
function numbers(isLittleEndian: boolean) {
  const write = (bytes: number, value: bigint): number[] => {
    const all = Array.from({ length: bytes }, (_, i) => Number((value >> BigInt(8 * i)) & 255n))
    return isLittleEndian ? all : all.reverse()
  }
  const [n16, n32, n64] = [2, 4, 8].map((bytes) => (value: number | bigint) => write(bytes, BigInt(value)))
  return { n16: n16!, n32: n32!, n64: n64! }
}
type Numbers = ReturnType<typeof numbers>

function pcap(
  isLittleEndian: boolean,
  magic: number,
  linkType: number,
  packets: readonly number[][] = [],
  version = [2, 4],
): number[] {
  const { n16, n32 } = numbers(isLittleEndian)
  const header = [...n32(magic), ...version.flatMap(n16), ...n32(0), ...n32(0), ...n32(65_535), ...n32(linkType)]
  return [...header, ...packets.flat()]
}
const pcapPacket = (
  { n32 }: Numbers,
  seconds: number,
  units: number,
  bytes: readonly number[],
  wire = bytes.length,
  captured = bytes.length,
) => [...n32(seconds), ...n32(units), ...n32(captured), ...n32(wire), ...bytes]

const padded = (bytes: readonly number[]): number[] => [...bytes, ...Array(-bytes.length & 3).fill(0)]
function block(
  { n32 }: Numbers,
  type: number,
  body: readonly number[],
  length = 12 + padded(body).length,
  again = length,
): number[] {
  return [...n32(type), ...n32(length), ...padded(body), ...n32(again)]
}
const option = ({ n16 }: Numbers, code: number, value: readonly number[]) => [
  ...n16(code),
  ...n16(value.length),
  ...padded(value),
]
const section = (n: Numbers, options: readonly number[] = [], version = 1) =>
  block(n, 0x0a0d0d0a, [...n.n32(0x1a2b3c4d), ...n.n16(version), ...n.n16(0), ...n.n64((1n << 64n) - 1n), ...options])
const device = (n: Numbers, linkType: number, options: readonly number[] = [], snapLength = 0) =>
  block(n, 1, [...n.n16(linkType), ...n.n16(0), ...n.n32(snapLength), ...options])
const time = ({ n32 }: Numbers, value: bigint) => [...n32(value >> 32n), ...n32(value & 0xffff_ffffn)]
const enhanced = (
  n: Numbers,
  of: number,
  at: bigint,
  bytes: readonly number[],
  wire = bytes.length,
  options: readonly number[] = [],
) => block(n, 6, [...n.n32(of), ...time(n, at), ...n.n32(bytes.length), ...n.n32(wire), ...padded(bytes), ...options])

const orders = [
  ['little-endian', true],
  ['big-endian', false],
] as const

describe.each(orders)('what a file is, by its first bytes, %s', (_, isLittleEndian) => {
  const n = numbers(isLittleEndian)
  it.each([
    ['microseconds', pcap(isLittleEndian, 0xa1b2c3d4, 1)],
    ['nanoseconds', pcap(isLittleEndian, 0xa1b23c4d, 1)],
    ['pcapng', section(n)],
  ])('%s', (_name, file) => {
    expect(isPcapFile(Uint8Array.from(file))).toBe(true)
    expect(isPcapFile(Uint8Array.from(file.slice(0, 4)))).toBe(true)
    expect(isPcapFile(Uint8Array.from([0, ...file]).subarray(1))).toBe(true)
    for (let cut = 0; cut < 4; cut++) expect(isPcapFile(Uint8Array.from(file.slice(0, cut)))).toBe(false)
  })
  it('text is none', () => {
    for (const text of ['TIME     PID', '{"type":"recording"', '\n\r\r', '\n\r\r\r', ''])
      expect(isPcapFile(Buffer.from(text))).toBe(false)
  })
})

describe.each(orders)('pcap, %s', (_, isLittleEndian) => {
  const n = numbers(isLittleEndian)

  it.each([
    ['microseconds', 0xa1b2c3d4, 123_456, 1_700_000_000_123.456],
    ['nanoseconds', 0xa1b23c4d, 123_456_000, 1_700_000_000_123.456],
  ])('reads packets with %s', (_, magic, units, timeMs) => {
    const packets = [pcapPacket(n, 1_700_000_000, units, [1, 2, 3], 1500), pcapPacket(n, 0, 0, [])]
    expect(readAll(Uint8Array.from(pcap(isLittleEndian, magic, 113, packets)))).toEqual({
      packets: [
        { bytes: [1, 2, 3], wireLength: 1500, timeMs, linkType: 113 },
        { bytes: [], wireLength: 0, timeMs: 0, linkType: 113 },
      ],
      errorAt: undefined,
      expected: undefined,
    })
  })
  it('takes no frame check sequence for a kind of link', () => {
    const file = pcap(isLittleEndian, 0xa1b2c3d4, 0x5400_0001, [pcapPacket(n, 0, 0, [1])])
    expect(readAll(Uint8Array.from(file)).packets[0]?.linkType).toBe(1)
  })
  const whole = pcapPacket(n, 1, 1, [1, 2, 3, 4])
  it.each([
    ['another version', pcap(isLittleEndian, 0xa1b2c3d4, 1, [], [2, 3]), 4, 0],
    ['a packet longer than any', pcap(isLittleEndian, 0xa1b2c3d4, 1, [whole, pcapPacket(n, 1, 1, [], 262_145, 262_145)]), 52, 1],
    ['a packet longer than it was', pcap(isLittleEndian, 0xa1b2c3d4, 1, [whole, pcapPacket(n, 1, 1, [1, 2], 1)]), 52, 1],
    ['a last packet cut off', pcap(isLittleEndian, 0xa1b2c3d4, 1, [whole, whole.slice(0, -1)]), 63, 1],
    ['a header of a packet cut off', pcap(isLittleEndian, 0xa1b2c3d4, 1, [whole, whole.slice(0, 15)]), 59, 1],
    ['the header cut off', pcap(isLittleEndian, 0xa1b2c3d4, 1).slice(0, 23), 23, 0],
  ])('refuses %s, and has read what is before it', (_, file, errorAt, count) => {
    const read = readAll(Uint8Array.from(file))
    expect([read.errorAt, read.packets.length]).toEqual([errorAt, count])
  })
})

describe.each(orders)('pcapng, %s', (_, isLittleEndian) => {
  const n = numbers(isLittleEndian)
  const at = 1_700_000_000_123_456n

  it('reads packets of several interfaces, each with its times, and passes over what it does not know', () => {
    const file = [
      ...section(n, option(n, 4, [65, 66, 67])),
      ...device(n, 1),
      ...device(n, 113, [...option(n, 2, [108, 111]), ...option(n, 9, [9]), ...option(n, 0, [])]),
      ...device(n, 101, [...option(n, 9, [0x8a]), ...option(n, 14, n.n64(-100n))]),
      ...device(n, 276, option(n, 9, [0])),
      ...block(n, 5, [1, 2, 3, 4, 5, 6, 7, 8]),
      ...enhanced(n, 0, at, [1, 2, 3], 60, option(n, 1, [1, 2, 3, 4])),
      ...block(n, 0x0000_0bad, []),
      ...enhanced(n, 1, at * 1000n, []),
      ...enhanced(n, 2, 1024n * 1000n + 512n, [4, 5, 6, 7]),
      ...enhanced(n, 3, 1_700_000_000n, [9]),
      ...block(n, 2, [...n.n16(2), ...n.n16(7), ...time(n, 1024n * 200n), ...n.n32(1), ...n.n32(2), ...padded([8])]),
      ...block(n, 3, [...n.n32(5), ...padded([1, 2, 3, 4, 5])]),
    ]
    expect(readAll(Uint8Array.from(file))).toEqual({
      packets: [
        { bytes: [1, 2, 3], wireLength: 60, timeMs: 1_700_000_000_123.456, linkType: 1 },
        { bytes: [], wireLength: 0, timeMs: 1_700_000_000_123.456, linkType: 113 },
        { bytes: [4, 5, 6, 7], wireLength: 4, timeMs: 900_500, linkType: 101 },
        { bytes: [9], wireLength: 1, timeMs: 1_700_000_000_000, linkType: 276 },
        { bytes: [8], wireLength: 2, timeMs: 100_000, linkType: 101 },
        { bytes: [1, 2, 3, 4, 5], wireLength: 5, timeMs: undefined, linkType: 1 },
      ],
      errorAt: undefined,
      expected: undefined,
    })
  })
  it('begins anew with each section, in its own byte order', () => {
    const m = numbers(!isLittleEndian)
    const file = [
      ...section(n),
      ...device(n, 1),
      ...enhanced(n, 0, 0n, [1]),
      ...section(m),
      ...device(m, 113),
      ...enhanced(m, 0, 0n, [2]),
    ]
    expect(readAll(Uint8Array.from(file)).packets.map(({ linkType, bytes }) => [linkType, ...bytes])).toEqual([
      [1, 1],
      [113, 2],
    ])
    expect(readAll(Uint8Array.from([...section(n), ...device(n, 1), ...section(m), ...enhanced(m, 0, 0n, [2])]))).toMatchObject({
      errorAt: 28 + 20 + 28 + 8,
    })
  })
  it('has of a simple packet what the snap length left', () => {
    const file = [...section(n), ...device(n, 1, [], 2), ...block(n, 3, [...n.n32(1500), ...padded([1, 2])])]
    expect(readAll(Uint8Array.from(file)).packets).toEqual([{ bytes: [1, 2], wireLength: 1500, timeMs: undefined, linkType: 1 }])
  })
  it('has no more of a packet than the longest may have', () => {
    const bytes = Array(300_000).fill(1)
    const file = [...section(n), ...device(n, 1, [], 400_000), ...block(n, 3, [...n.n32(bytes.length), ...bytes])]
    expect(readAll(Uint8Array.from(file)).packets[0]?.bytes.length).toBe(262_144)
  })
  it('reads no options behind their end', () => {
    const options = [...option(n, 0, []), ...option(n, 9, [9])]
    const file = [...section(n), ...device(n, 1, options), ...enhanced(n, 0, 5_000_000n, [1])]
    expect(readAll(Uint8Array.from(file)).packets[0]?.timeMs).toBe(5000)
  })
  it('passes over a large block without keeping it', () => {
    const length = 16 << 20
    const reader = createPcapReader({ onPacket: () => undefined })
    reader.push(Uint8Array.from([...section(n), ...n.n32(0xbad), ...n.n32(length)]))
    const piece = new Uint8Array(1 << 16)
    for (let left = length - 12; left > 0; left -= piece.length) reader.push(piece.subarray(0, Math.min(left, piece.length)))
    expect(() => reader.end()).toThrow(ParseError)
    reader.push(Uint8Array.from(n.n32(length)))
    reader.end()
  })
  const start = [...section(n), ...device(n, 1)]
  const size = start.length
  it.each([
    ['no byte order', [...section(n).slice(0, 8), 1, 2, 3, 4, ...section(n).slice(12)], 8, 0],
    ['another version', section(n, [], 2), 12, 0],
    ['a section shorter than itself', block(n, 0x0a0d0d0a, [...n.n32(0x1a2b3c4d), 0, 0, 0, 0]), 4, 0],
    ['a length of 0', [...start, ...block(n, 6, [], 0)], size + 4, 0],
    ['a length that is no multiple of 4', [...start, ...block(n, 0xbad, [1, 2], 14)], size + 4, 0],
    ['a block larger than any', [...start, ...block(n, 0xbad, [], (16 << 20) + 4)], size + 4, 0],
    ['a packet block larger than any', [...start, ...block(n, 6, [], 1 << 20)], size + 4, 0],
    ['a length that is another behind the block', [...start, ...block(n, 6, Array(20).fill(0), 32, 36)], size + 28, 0],
    ['the same of what is passed over', [...start, ...block(n, 0xbad, [], 12, 16)], size + 8, 0],
    ['a packet of no interface', [...start, ...enhanced(n, 0, 0n, [1]), ...enhanced(n, 1, 0n, [1])], size + 36 + 8, 1],
    ['a simple packet without an interface', [...section(n), ...block(n, 3, [...n.n32(1), 1, 0, 0, 0])], 28, 0],
    ['a packet block without room for its header', [...start, ...block(n, 6, Array(16).fill(0))], size + 4, 0],
    [
      'more captured than the block holds',
      [...start, ...block(n, 6, [...n.n32(0), ...time(n, 0n), ...n.n32(5), ...n.n32(5), 1, 2, 3, 4])],
      size + 20,
      0,
    ],
    ['more captured than sent', [...start, ...enhanced(n, 0, 0n, [1, 2], 1)], size + 20, 0],
    ['an option that runs out of its block', [...section(n), ...device(n, 1, [...n.n16(2), ...n.n16(9)])], 28 + 18, 0],
    ['a resolution of two bytes', [...section(n), ...device(n, 1, option(n, 9, [6, 6]))], 28 + 20, 0],
    ['an offset of four bytes', [...section(n), ...device(n, 1, option(n, 14, [0, 0, 0, 1]))], 28 + 20, 0],
    ['a packet cut off', [...start, ...enhanced(n, 0, 0n, [1]), ...enhanced(n, 0, 0n, [1]).slice(0, -1)], size + 36 + 35, 1],
    ['what is passed over cut off', [...start, ...block(n, 0xbad, [1, 2, 3, 4]).slice(0, 10)], size + 10, 0],
    ['its last length cut off', [...start, ...block(n, 0xbad, [1, 2, 3, 4]).slice(0, 12)], size + 12, 0],
    ['too many interfaces', [...section(n), ...Array(4097).fill(device(n, 1)).flat()], 28 + 4096 * 20, 0],
  ])('refuses %s', (_, file, errorAt, count) => {
    const read = readAll(Uint8Array.from(file))
    expect([read.errorAt, read.packets.length]).toEqual([errorAt, count])
  })
})

it('reads of pcapng as mergecap has written it what is in the two files it was made of', () => {
  const folder = path.resolve(import.meta.dirname, '../fixtures/packets')
  const [merged, ...parts] = ['merged.pcapng', 'ethernet.pcap', 'any-sll2.pcap'].map((name) =>
    readAll(fs.readFileSync(path.join(folder, name))),
  )
  const byTime = (packets: readonly Packet[]) => packets.toSorted((a, b) => a.timeMs! - b.timeMs! || a.linkType - b.linkType)
  expect(merged!.errorAt).toBeUndefined()
  expect(byTime(merged!.packets)).toEqual(byTime(parts.flatMap(({ packets }) => packets)))
  expect(new Set(merged!.packets.map(({ linkType }) => linkType))).toEqual(new Set([1, 276]))
})

describe('a reader', () => {
  const n = numbers(true)
  const files = [
    pcap(true, 0xa1b2c3d4, 1, [pcapPacket(n, 1, 2, [1, 2, 3]), pcapPacket(n, 3, 4, Array(300).fill(7)), pcapPacket(n, 5, 6, [])]),
    [
      ...section(n),
      ...device(n, 1),
      ...block(n, 0xbad, Array(40).fill(1)),
      ...enhanced(n, 0, 5n, [1, 2, 3]),
      ...block(n, 0xbad, []),
      ...enhanced(n, 0, 6n, Array(600).fill(3)),
    ],
  ].map((file) => Uint8Array.from(file))

  it.each(files.map((file) => [file.length, file] as const))(
    'reads %d bytes alike, cut in two at every place and in pieces of every size',
    (_, file) => {
      const whole = readAll(file)
      expect(whole.packets.length).toBeGreaterThan(1)
      for (let at = 0; at <= file.length; at++) expect(readAll(file.subarray(0, at), file.subarray(at))).toEqual(whole)
      for (let size = 1; size < 40; size++)
        expect(
          readAll(...Array.from({ length: Math.ceil(file.length / size) }, (_, i) => file.subarray(i * size, (i + 1) * size))),
        ).toEqual(whole)
    },
  )
  it('says that a file is cut off, at its end, wherever that is', () => {
    for (const file of files) {
      const whole = readAll(file)
      for (let length = 0; length < file.length; length++) {
        const read = readAll(file.subarray(0, length))
        expect(whole.packets.slice(0, read.packets.length)).toEqual(read.packets)
        if (read.errorAt !== undefined) expect(read.errorAt).toBe(length)
        else expect(readAll(file.subarray(0, length), file.subarray(length))).toEqual(whole)
      }
    }
  })
  it.each([
    ['an empty file', [], 0],
    ['something else', [...Array(30).fill(0x41)], 0],
    ['less than a magic number', [0xa1, 0xb2], 2],
  ])('refuses %s', (_, bytes, errorAt) => expect(readAll(Uint8Array.from(bytes)).errorAt).toBe(errorAt))
  it('says what it has found instead, and reads nothing after that', () => {
    const reader = createPcapReader({ onPacket: () => undefined })
    const error = parseErrorOf(() => reader.push(Uint8Array.from([0x1f, 0x8b, 8, 0])))
    expect(error.message).toBe('pcap: line 1, column 1: expected a pcap or pcapng file, got "0x1f8b0800"')
    expect(parseErrorOf(() => reader.push(files[0]!))).toBe(error)
    expect(parseErrorOf(() => reader.end())).toBe(error)
  })
  it('reads whatever bytes there are, or throws a ParseError within them', () => {
    const edit = fc.record({ at: fc.nat(700), bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }) })
    fc.assert(
      fc.property(
        fc.constantFrom(...files),
        fc.array(edit, { maxLength: 4 }),
        fc.nat(800),
        fc.nat(800),
        (file, edits, length, cut) => {
          const changed = file.slice(0, length)
          for (const { at, bytes } of edits) if (at + bytes.length <= changed.length) changed.set(bytes, at)
          const read = readAll(changed)
          if (read.errorAt !== undefined) expect(read.errorAt).toBeLessThanOrEqual(changed.length)
          expect(readAll(changed.subarray(0, cut), changed.subarray(cut))).toEqual(read)
        },
      ),
      { numRuns: 2000 },
    )
  })
})

describe('what is written', () => {
  const resolutions: PcapResolution[] = ['microseconds', 'nanoseconds']
  const microsecond = fc.integer({ min: 0, max: 4_000_000_000_000_000 }).map((value) => value / 1000)

  it('is read again as it was', () => {
    const packet = fc.record({
      bytes: fc.uint8Array({ maxLength: 50 }),
      cut: fc.nat(2000),
      timeMs: microsecond,
      before: fc.nat(5),
    })
    fc.assert(
      fc.property(
        fc.constantFrom(...resolutions),
        fc.nat(0xffff),
        fc.array(packet, { maxLength: 5 }),
        (resolution, linkType, packets) => {
          const records = packets.map(({ bytes, cut, timeMs, before }) => {
            const larger = Uint8Array.from([...Array(before).fill(1), ...bytes, 1])
            return encodePcapPacket(larger, before, bytes.length, bytes.length + cut, timeMs, resolution)
          })
          expect(readAll(encodePcapHeader(linkType, 1600, resolution), ...records).packets).toEqual(
            packets.map(({ bytes, cut, timeMs }) => ({ bytes: [...bytes], wireLength: bytes.length + cut, timeMs, linkType })),
          )
        },
      ),
    )
  })
  it('carries to the next second', () => {
    const [file, packet] = [
      encodePcapHeader(1, 64, 'microseconds'),
      encodePcapPacket(Uint8Array.of(), 0, 0, 0, 1999.9999, 'microseconds'),
    ]
    expect(readAll(file, packet).packets[0]?.timeMs).toBe(2000)
  })
  const tcpdump = spawnSync('tcpdump', ['--version']).status === 0
  it.skipIf(!tcpdump).each(resolutions)(
    `is read by tcpdump, with %s${tcpdump ? '' : ' (tcpdump is not installed)'}`,
    (resolution) => {
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-pcap-'))
      try {
        const ends = { source: [10, 0, 0, 1], destination: [10, 0, 0, 2], protocol: 17 }
        const packets = [3, 900].map((size) => Uint8Array.from(ipv4(ends, udp(1000, 2000, Array(size).fill(65)))))
        const records = packets.map((bytes, i) =>
          encodePcapPacket(bytes, 0, Math.min(bytes.length, 100), bytes.length, 1_700_000_000_000 + i + 0.25, resolution),
        )
        const file = path.join(folder, 'written.pcap')
        fs.writeFileSync(
          file,
          [encodePcapHeader(101, 100, resolution), ...records]
            .map((bytes) => Buffer.from(bytes))
            .reduce((all, one) => Buffer.concat([all, one])),
        )
        const zeros = resolution === 'microseconds' ? '' : '000'
        const precision = resolution === 'microseconds' ? [] : ['--time-stamp-precision=nano']
        expect(execFileSync('tcpdump', ['-nn', '-tt', ...precision, '-r', file], { encoding: 'utf8', stdio: 'pipe' })).toBe(
          `1700000000.000250${zeros} IP 10.0.0.1.1000 > 10.0.0.2.2000: UDP, length 3\n` +
            `1700000000.001250${zeros} IP 10.0.0.1.1000 > 10.0.0.2.2000: UDP, length 900\n`,
        )
      } finally {
        fs.rmSync(folder, { recursive: true })
      }
    },
  )
})
