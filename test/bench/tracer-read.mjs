// How long the agent is busy with reading a map of the tracer, by its number of keys: beside the kernel's part of that,
// and beside reading key by key. Then the memory of all maps: as this kernel accounts for it, empty and full, and
// computed for 128 CPUs. Medians, in turn. The tracer's programs go on counting what happens on the machine meanwhile.
import { mapNames } from '../../dist/agent/host/traced-maps.js'
import { createTracer } from '../../dist/agent/host/tracer.js'
import { limits } from '../../dist/agent/limits.js'
import { libbpf, readBpfObjects, readNextKey } from './bpf-objects.mjs'
import { median, printRow } from './process.mjs'

const rounds = 31
const warmUpRounds = 5
const cpus = libbpf.possibleCpus()
const cpusOfLargeMachine = 128
const largeMap = 65_536 // of keys; more than the agent's own limits allow
const ownLimit = limits.tracerKeys
const E2BIG = -7 // the map is full
const ENOMEM = -12 // the kernel keeps some dozens of elements ready, and makes new ones a little later

for (const keys of [4096, ownLimit, largeMap]) {
  limits.tracerKeys = keys
  await withTracer((tracer) => compareReads(tracer, 'dropped_packets_total', keys))
}
await withTracer((tracer) => compareReads(tracer, 'tcp_connect_duration_seconds', limits.tracerNamespaces))
limits.tracerKeys = ownLimit
await withTracer(printMemory)

async function withTracer(use) {
  const tracer = createTracer({ tasks: false })
  await tracer.start()
  try {
    for (const name of mapNames) {
      const missing = tracer.missing(name)
      if (missing !== undefined) throw new Error(`the tracer does not give ${name}: ${missing}`)
    }
    use(tracer)
  } finally {
    await tracer.stop()
  }
}

function compareReads(tracer, name, keys) {
  const map = readBpfObjects().map.find((one) => name.startsWith(one.name))
  fill(map, keys)
  let seen
  const take = () => seen++
  const ways = {
    'as the agent does': () => tracer.read(name, take),
    "the kernel's part of that": createBatchReader(map, (entries) => (seen += entries)),
    'key by key (get_next_key, lookup)': createPlainReader(map, take),
  }
  const times = new Map(Object.keys(ways).map((way) => [way, []]))
  for (let round = -warmUpRounds; round < rounds; round++) {
    for (const [way, run] of Object.entries(ways)) {
      seen = 0
      const startedAtMs = performance.now()
      run()
      if (round >= 0) times.get(way).push(performance.now() - startedAtMs)
      if (seen < keys) throw new Error(`${way}: ${seen} of ${keys} keys were read`)
    }
  }
  const cells = [...times].map(
    ([way, all]) => `${way} ${median(all).toFixed(2)} ms (${Math.min(...all).toFixed(2)} to ${Math.max(...all).toFixed(2)})`,
  )
  printRow(`Reading ${keys.toLocaleString('en')} keys of ${name}, ${cpus} CPUs`, cells.join('; '))
}

/** Each CPU has a value of its own; one in 64 is longer than 32 bits. Those of the machine's own events come on top. */
function fill({ name, fd, keyBytes, valueBytes }, keys) {
  const key = new Uint32Array(keyBytes / 4)
  const values = new BigUint64Array((valueBytes / 8) * cpus)
  const namespaceInode = 0xf000_0000
  const labels = key.length > 2 ? 16 : 1 // of each namespace
  for (let i = 0; i < keys; i++) {
    const ordinal = Math.floor(i / labels)
    key.set([namespaceInode + ordinal, ordinal])
    if (labels > 1) key[2] = i % labels
    for (let at = 0; at < values.length; at++) values[at] = BigInt(i * 7919 + at) * (i % 64 === 0 ? 1_000_000n : 1n)
    let result = libbpf.updateElem(fd, new Uint8Array(key.buffer), values, 0)
    for (let tries = 0; result === ENOMEM && tries < 100; tries++) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
      result = libbpf.updateElem(fd, new Uint8Array(key.buffer), values, 0)
    }
    if (result === E2BIG) return
    if (result < 0) throw new Error(`key ${i} of ${name}: error ${result}`)
  }
}

function createBatchReader({ fd, keyBytes, valueBytes }, take) {
  const size = limits.tracerBatchKeys
  const keys = new Uint8Array(size * keyBytes)
  const values = new Uint8Array(size * valueBytes * cpus)
  return () => {
    let from = null
    for (let to = new Uint8Array(4); ; from = to, to = new Uint8Array(4)) {
      const count = Uint32Array.of(size)
      const result = libbpf.lookupBatch(fd, from, to, keys, values, count, null)
      take(count[0])
      if (result < 0) return
    }
  }
}

function createPlainReader({ fd, keyBytes, valueBytes }, take) {
  const counters = valueBytes / 8
  const values = new BigUint64Array(counters * cpus)
  return () => {
    let key = null
    for (let next = new Uint8Array(keyBytes); readNextKey(fd, key, next); key = next, next = new Uint8Array(keyBytes)) {
      if (libbpf.lookupElem(fd, next, values) < 0) continue
      const sums = Array(counters).fill(0n)
      for (let at = 0; at < values.length; at++) sums[at % counters] += values[at]
      take(next, sums.map(Number))
    }
  }
}

function printMemory() {
  const before = readBpfObjects().map
  for (const map of before) if (map.isHash) fill(map, map.keysMax)
  const full = readBpfObjects().map
  const sum = (maps, bytesOf) => `${(maps.reduce((bytes, map) => bytes + bytesOf(map), 0) / 1e6).toFixed(1)} MB`
  const accounted = ({ memoryBytes }) => memoryBytes
  const computed = (cpuCount, keysOf) => (map) => (map.isHash ? computeBytes(map, cpuCount, keysOf(map)) : map.memoryBytes)
  const none = () => 0
  const all = ({ keysMax }) => keysMax
  printRow(
    `Memory of the tracer's ${full.length} maps, ${cpus} CPUs`,
    `empty ${sum(before, accounted)}, full ${sum(full, accounted)}; computed in the same way ${sum(full, computed(cpus, none))} and ${sum(full, computed(cpus, all))}`,
  )
  printRow(
    `… computed for ${cpusOfLargeMachine} CPUs`,
    `empty ${sum(full, computed(cpusOfLargeMachine, none))}, full ${sum(full, computed(cpusOfLargeMachine, all))}`,
  )
  const preallocated = full.map((map) =>
    map.isPerCpu ? { ...map, isPreallocated: true, keysMax: Math.ceil(map.keysMax / limits.tracerPreallocatedShare) } : map,
  )
  printRow(
    '… before Linux 6.1, all of it from the start',
    [cpus, cpusOfLargeMachine].map((count) => `${count} CPUs ${sum(preallocated, computed(count, none))}`).join(', '),
  )
}

/**
 * As kernel/bpf/hashtab.c does (htab_map_mem_usage): a bucket of 16 bytes for each key, to the next power of two; for each
 * key that is there, or may be if memory is taken at once: an element's 48 bytes, the key, a pointer to the values or the
 * value; the values of every CPU there may be. What is allocated key by key is in lists: 8 bytes more, and per-CPU ones 16.
 */
function computeBytes({ keyBytes, valueBytes, keysMax, isPerCpu, isPreallocated }, cpuCount, keys) {
  const word = 8
  const roundUp = (bytes) => Math.ceil(bytes / word) * word
  const buckets = 2 ** Math.ceil(Math.log2(keysMax)) * 16
  const element = 48 + roundUp(keyBytes) + (isPerCpu ? word : roundUp(valueBytes))
  const values = isPerCpu ? roundUp(valueBytes) * cpuCount : 0
  const links = isPreallocated ? 0 : isPerCpu ? 3 * word : word
  return buckets + (isPreallocated ? keysMax : keys) * (element + values + links)
}
