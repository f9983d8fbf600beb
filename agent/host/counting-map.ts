import { limits } from '../limits.ts'
import { type Address, errorName, type Libbpf } from './libbpf.ts'

const ENOENT = -2
const EINVAL = -22
const ENOSPC = -28
const ENOTSUPP = -524

/** Counters that each CPU keeps for itself, or, unless `perCpu`, that all have in common. They are read without ever taking anything out, so nothing is lost or counted twice. */
export interface CountingMap {
  /** Every entry, summed over the CPUs; exact below 2^53. Both arguments are valid during the call only. */
  read(onEntry: (key: DataView, values: Float64Array) => void): void
  /** One entry. undefined: there is none. */
  get(key: Uint8Array): Float64Array | undefined
  /** Removes an entry that no program can touch any more and returns its last values. undefined: there was none. */
  take(key: Uint8Array): Float64Array | undefined
}

export function createCountingMap(libbpf: Libbpf, map: Address, name: string, { perCpu = true } = {}): CountingMap {
  const fd = libbpf.mapFd(map)
  const keyWords = libbpf.keySize(map) / 4
  const counters = libbpf.valueSize(map) / 8
  const cpus = perCpu ? libbpf.possibleCpus() : 1
  const wordsOfCpu = counters * 2
  const wordsOfEntry = wordsOfCpu * cpus
  const sums = new Float64Array(counters)
  const single = new Uint32Array(wordsOfEntry)

  const fail = (result: number): never => {
    throw new Error(`cannot read the kernel's map ${name}: ${errorName(result)}`)
  }

  /** The halves of 64 bits are added apart: no bigint, and no rounding below 2^53. */
  const sumEntry = (values: Uint32Array, entry: number) => {
    for (let counter = 0; counter < counters; counter++) {
      let low = 0
      let high = 0
      let at = entry * wordsOfEntry + counter * 2
      for (let cpu = 0; cpu < cpus; cpu++, at += wordsOfCpu) {
        low += values[at]!
        high += values[at + 1]!
      }
      sums[counter] = high * 0x1_0000_0000 + low
    }
  }

  /** Buffers of a batch, reused from read to read. */
  const createBatch = (size: number) => ({
    size,
    keys: new Uint32Array(size * keyWords),
    values: new Uint32Array(size * wordsOfEntry),
  })
  let batch: ReturnType<typeof createBatch> | undefined
  const count = new Uint32Array(1)
  const positions = [new Uint8Array(4), new Uint8Array(4)] as const

  const read: CountingMap['read'] = (onEntry) => {
    batch ??= createBatch(limits.tracerBatchKeys)
    const key = new Uint32Array(keyWords)
    const keyView = new DataView(key.buffer)
    let from: Uint8Array | null = null
    let to: Uint8Array = positions[0]
    for (;;) {
      count[0] = batch.size
      const result = libbpf.lookupBatch(fd, from, to, batch.keys, batch.values, count, null)
      if (result === ENOSPC) {
        // One bucket of the hash holds more keys than a batch. Nothing was read.
        batch = createBatch(batch.size * 2)
        continue
      }
      if (result < 0 && result !== ENOENT) fail(result)
      for (let entry = 0; entry < count[0]; entry++) {
        for (let word = 0; word < keyWords; word++) key[word] = batch.keys[entry * keyWords + word]!
        sumEntry(batch.values, entry)
        onEntry(keyView, sums)
      }
      if (result === ENOENT) return
      from = to
      to = to === positions[0] ? positions[1] : positions[0]
    }
  }

  const look = (key: Uint8Array, call: (fd: number, key: Uint8Array, values: Uint32Array) => number) => {
    const result = call(fd, key, single)
    if (result === ENOENT) return undefined
    if (result < 0) fail(result)
    sumEntry(single, 0)
    return sums.slice()
  }
  return {
    read,
    get: (key) => look(key, libbpf.lookupElem),
    take: (key) =>
      look(key, () => {
        const result = libbpf.lookupAndDeleteElem(fd, key, single)
        if (result !== EINVAL && result !== ENOTSUPP) return result
        // Before 5.14 in two steps. As good, because nobody writes in between.
        return libbpf.lookupElem(fd, key, single) || libbpf.deleteElem(fd, key)
      }),
  }
}
