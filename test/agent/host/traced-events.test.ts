import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { decodeEvent, tracedEventTypes } from '../../../agent/host/traced-events.ts'
import { tracedDirections, tracedProtocols } from '../../../agent/host/traced-maps.ts'
import { eventTypes } from '../../../agent/metrics/labels.ts'

const program = fs.readFileSync(path.resolve(import.meta.dirname, '../../../agent/bpf/netvitals.bpf.c'), 'utf8')
/** The names of an enum, without its prefix and the number of them at its end. */
const enumOf = (name: string, prefix: string): string[] =>
  (new RegExp(`enum ${name} \\{([^}]*)\\}`).exec(program)?.[1] ?? '')
    .split(',')
    .map((one) => one.trim().slice(prefix.length).toLowerCase())
    .filter((one) => one !== 'types')

describe('the words for the numbers', () => {
  it('are in the order of the program', () => {
    expect(enumOf('event_type', 'EVENT_')).toEqual([...tracedEventTypes])
    expect(enumOf('protocol', 'PROTOCOL_')).toEqual([...tracedProtocols])
    expect(enumOf('direction', 'DIRECTION_')).toEqual([...tracedDirections])
  })
  it('are those of the metrics, before those of packets', () =>
    expect(eventTypes.slice(0, tracedEventTypes.length)).toEqual(tracedEventTypes))
})

/** struct event, field by field as the program has them. */
const sizes: Readonly<Record<string, number>> = { __u64: 8, __u32: 4, __u16: 2, __be16: 2, __u8: 1, 'struct netns': 8 }
const fields = [
  ...(/^struct event \{\n([^}]*)\};/m.exec(program)?.[1] ?? '').matchAll(/^\t(struct \w+|\w+) (\w+)(?:\[(\d+)\])?;/gm),
].map(([, type = '', name = '', count = '1']) => ({ type, name, bytes: sizes[type]! * Number(count) }))

type Value = number | bigint | readonly number[]
/** Their bytes; what is not given is 0. */
function eventOf(values: Readonly<Record<string, Value>>): DataView {
  const view = new DataView(new ArrayBuffer(8 + fields.reduce((sum, { bytes }) => sum + bytes, 0)), 8)
  let at = 0
  for (const { type, name, bytes } of fields) {
    const value = values[name] ?? 0
    if (typeof value === 'object') {
      if (type === 'struct netns') value.forEach((number, i) => view.setUint32(at + 4 * i, number, true))
      else new Uint8Array(view.buffer, view.byteOffset + at, bytes).set(value)
    } else if (bytes === 8) view.setBigUint64(at, BigInt(value), true)
    else if (bytes === 4) view.setUint32(at, Number(value), true)
    else if (bytes === 2) view.setUint16(at, Number(value), type !== '__be16')
    else view.setUint8(at, Number(value))
    at += bytes
  }
  return view
}
const decode = (values: Readonly<Record<string, Value>>) => decodeEvent(eventOf(values))
const ipv6 = (last: number): number[] => [0x20, 1, 0xd, 0xb8, ...Array(11).fill(0), last]
const mapped = (last: number): number[] => [...Array(10).fill(0), 0xff, 0xff, 10, 0, 0, last]

describe('an event of the kernel', () => {
  it('of IPv4 is read whole', () => {
    const view = eventOf({
      nanoseconds: 1_500_000n,
      location: 0xffffffff81234567n,
      netns: [4026531840, 0xfffffffe],
      reason: 7,
      bytes: 1500,
      packets: 3,
      source_port: 40000,
      destination_port: 443,
      type: 0,
      family: 4,
      protocol: 1,
      direction: 2,
      state: 1,
      flags: 0x12,
      source: [10, 0, 0, 1],
      destination: [10, 0, 0, 2],
    })
    expect(view.byteLength).toBe(80)
    expect(decodeEvent(view)).toEqual({
      type: 'drop',
      monotonicMs: 1.5,
      location: 0xffffffff81234567n,
      inode: 4026531840,
      cookie32: 0xfffffffe,
      reason: 7,
      bytes: 1500,
      packets: 3,
      family: 'ipv4',
      protocol: 'tcp',
      direction: 'forward',
      state: 1,
      flags: ['SYN', 'ACK'],
      source: { address: '10.0.0.1', port: 40000 },
      destination: { address: '10.0.0.2', port: 443 },
    })
  })

  it('of IPv6', () => {
    const event = decode({
      type: 4,
      family: 6,
      protocol: 1,
      source: ipv6(1),
      destination: ipv6(2),
      source_port: 1,
      destination_port: 2,
    })
    expect(event).toMatchObject({
      type: 'connect',
      family: 'ipv6',
      source: { address: '2001:db8::1', port: 1 },
      destination: { address: '2001:db8::2', port: 2 },
    })
  })

  it('of IPv4 through a socket of IPv6 is one of IPv4, if both ends are', () => {
    expect(decode({ family: 6, source: mapped(1), destination: mapped(2) })).toMatchObject({
      family: 'ipv4',
      source: { address: '10.0.0.1' },
      destination: { address: '10.0.0.2' },
    })
    expect(decode({ family: 6, source: mapped(1), destination: ipv6(2) }).family).toBe('ipv6')
  })

  it('of a protocol without ports has none, whatever stands there', () => {
    for (const protocol of [0, 3]) {
      const { source, destination } = decode({ family: 4, protocol, source_port: 5, destination_port: 6 })
      expect([source, destination]).toEqual([
        { address: '0.0.0.0', port: undefined },
        { address: '0.0.0.0', port: undefined },
      ])
    }
    expect(decode({ family: 4, protocol: 2, source_port: 5 }).source.port).toBe(5)
  })

  it('of another family has no ends', () => {
    const { family, source, destination } = decode({ family: 0, protocol: 1, source: ipv6(1), source_port: 5 })
    const nobody = { address: undefined, port: undefined }
    expect([family, source, destination]).toEqual(['other', nobody, nobody])
  })

  it('of numbers that this version does not know is shown all the same', () => {
    expect(decode({ protocol: 200, direction: 200 })).toMatchObject({ protocol: 'other', direction: 'in' })
  })
})
