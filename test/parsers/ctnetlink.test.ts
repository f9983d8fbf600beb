import { describe, expect, it } from 'vitest'
import { readConntrackStats, readConntrackStatsCpu } from '../../parsers/ctnetlink.ts'
import { parseErrorOf } from './proc-recorded.ts'
import { expectBounded, kernels, readAnswer, recordedAnswer, toolOutput } from './recorded-answers.ts'

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
  expectBounded('conntrack-stats-cpu', readConntrackStatsCpu)
})
