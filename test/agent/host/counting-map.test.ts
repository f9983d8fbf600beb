import { describe, expect, test } from 'vitest'
import { createCountingMap } from '../../../agent/host/counting-map.ts'
import type { Libbpf } from '../../../agent/host/libbpf.ts'
import { limits } from '../../../agent/limits.ts'

const ENOENT = -2
const ENOSPC = -28
const cpus = 3

/** A map of u32 keys and two u64 counters on each of three CPUs, in buckets that a batch takes whole or not at all. */
function fakeLibbpf(buckets: number[][], valuesOf: (key: number, cpu: number) => readonly bigint[]) {
  const calls: string[] = []
  const fill = (values: ArrayBufferView, entry: number, key: number) => {
    const all = new BigUint64Array(values.buffer, values.byteOffset)
    for (let cpu = 0; cpu < cpus; cpu++) all.set(valuesOf(key, cpu), (entry * cpus + cpu) * 2)
  }
  const keyOf = (key: Uint8Array) => new DataView(key.buffer, key.byteOffset).getUint32(0, true)
  const find = (key: Uint8Array) => buckets.find((bucket) => bucket.includes(keyOf(key)))
  const fake = {
    mapFd: () => 7,
    keySize: () => 4,
    valueSize: () => 16,
    possibleCpus: () => cpus,
    lookupBatch(
      _fd: number,
      from: Uint8Array | null,
      to: Uint8Array,
      keys: Uint8Array,
      values: Uint32Array,
      count: Uint32Array,
    ): number {
      calls.push('batch')
      const size = count[0]!
      let bucket = from ? from[0]! : 0
      let entry = 0
      for (; bucket < buckets.length && entry + buckets[bucket]!.length <= size; bucket++) {
        for (const key of buckets[bucket]!) {
          new DataView(keys.buffer).setUint32(entry * 4, key, true)
          fill(values, entry++, key)
        }
      }
      count[0] = entry
      to[0] = bucket
      if (bucket === buckets.length) return ENOENT
      return entry === 0 ? ENOSPC : 0
    },
    lookupElem(_fd: number, key: Uint8Array, values: ArrayBufferView) {
      calls.push('lookup')
      if (!find(key)) return ENOENT
      fill(values, 0, keyOf(key))
      return 0
    },
    lookupAndDeleteElem(_fd: number, key: Uint8Array, values: ArrayBufferView): number {
      const result = fake.lookupElem(7, key, values)
      return result === 0 ? fake.deleteElem(7, key) : result
    },
    deleteElem(_fd: number, key: Uint8Array) {
      calls.push('delete')
      const bucket = find(key)
      if (!bucket) return ENOENT
      bucket.splice(bucket.indexOf(keyOf(key)), 1)
      return 0
    },
  }
  return { libbpf: fake as unknown as Libbpf, fake, calls }
}

const readAll = (map: ReturnType<typeof createCountingMap>) => {
  const entries: [number, number[]][] = []
  map.read((key, values) => entries.push([key.getUint32(0, true), [...values]]))
  return entries
}
const keyBytes = (key: number) => new Uint8Array(Uint32Array.of(key).buffer)

describe('a counting map', () => {
  test('adds the CPUs, exactly up to 2^53', () => {
    const high = [2n ** 52n, 2n ** 31n, 2n ** 33n - 1n]
    const { libbpf } = fakeLibbpf([[5]], (_key, cpu) => [high[cpu]!, 0xffff_ffffn])
    expect(readAll(createCountingMap(libbpf, 1n, 'm'))).toEqual([[5, [2 ** 52 + 2 ** 31 + 2 ** 33 - 1, 3 * 0xffff_ffff]]])
  })

  test('is read in batches, every key once', () => {
    const keys = Array.from({ length: 3 * limits.tracerBatchKeys }, (_, key) => key)
    const buckets = keys.map((key) => [key])
    // The position is one byte in this fake: few buckets, many keys.
    const few = [0, 1, 2].map((third) =>
      buckets.slice(third * limits.tracerBatchKeys, (third + 1) * limits.tracerBatchKeys).flat(),
    )
    const { libbpf, calls } = fakeLibbpf(few, (key) => [BigInt(key), 1n])
    expect(readAll(createCountingMap(libbpf, 1n, 'm'))).toEqual(keys.map((key) => [key, [key * cpus, cpus]]))
    expect(calls).toEqual(['batch', 'batch', 'batch'])
  })

  test('has a bucket larger than a batch: the batch grows', () => {
    const keys = Array.from({ length: 3 * limits.tracerBatchKeys }, (_, key) => key)
    const { libbpf } = fakeLibbpf([[9999], keys], () => [1n, 1n])
    const map = createCountingMap(libbpf, 1n, 'm')
    expect(readAll(map).map(([key]) => key)).toEqual([9999, ...keys])
    expect(readAll(map)).toHaveLength(keys.length + 1)
  })

  test('is empty', () => {
    expect(readAll(createCountingMap(fakeLibbpf([], () => []).libbpf, 1n, 'm'))).toEqual([])
  })

  test('gives one key up, with its last values', () => {
    const { libbpf } = fakeLibbpf([[1], [2]], (key) => [BigInt(key), 10n])
    const map = createCountingMap(libbpf, 1n, 'm')
    expect(map.get(keyBytes(2))).toEqual(Float64Array.of(6, 30))
    expect(map.take(keyBytes(2))).toEqual(Float64Array.of(6, 30))
    expect(map.take(keyBytes(2))).toBeUndefined()
    expect(map.get(keyBytes(2))).toBeUndefined()
    expect(readAll(map)).toEqual([[1, [3, 30]]])
  })

  test.each([-22, -524])('gives one key up on a kernel that cannot do it in one step (%i)', (errno) => {
    const { libbpf, fake, calls } = fakeLibbpf([[1]], () => [1n, 2n])
    fake.lookupAndDeleteElem = () => errno
    const map = createCountingMap(libbpf, 1n, 'm')
    expect(map.take(keyBytes(1))).toEqual(Float64Array.of(3, 6))
    expect(calls).toEqual(['lookup', 'delete'])
    expect(map.take(keyBytes(1))).toBeUndefined()
  })

  test('cannot be read: says which and why', () => {
    const { libbpf, fake } = fakeLibbpf([[1]], () => [1n, 2n])
    fake.lookupBatch = () => -1
    expect(() => readAll(createCountingMap(libbpf, 1n, 'dropped'))).toThrow("cannot read the kernel's map dropped: EPERM")
  })
})
