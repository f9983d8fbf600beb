// Damaged inputs. Each follows from the seeds, the number of the run and its own index alone, so that any can be made again.

const bytesMax = 4096
const damagesMax = 6
/** Lengths, counts and codes that formats end at, or nearly. */
const interesting = [
  0, 1, 2, 3, 4, 11, 12, 16, 20, 28, 41, 63, 64, 127, 128, 192, 253, 254, 255, 256, 511, 512, 1023, 4096, 16383,
]
interesting.push(32767, 32768, 49152, 65534, 65535, 0x10000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff)

const scratch = new Uint8Array(2 * bytesMax)
const view = new DataView(scratch.buffer)

/** Numbers from 0 up to `below` - 1: mulberry32, begun anew for each input. */
function createRandom(run, index) {
  let state = Math.imul(run ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(index + 1, 0xc2b2ae35)
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

/** Makes room for `count` bytes at `at`. Returns the new length. */
function open(length, at, count) {
  scratch.copyWithin(at + count, at, length)
  return length + count
}

/** Each damages the first `length` bytes of `scratch`, at least one, and returns the new length, at most twice as long. */
const damages = [
  function flipBit(length, random) {
    scratch[random(length)] ^= 1 << random(8)
    return length
  },
  function setByte(length, random) {
    scratch[random(length)] = random(256)
    return length
  },
  function addLittle(length, random) {
    scratch[random(length)] += random(2) === 0 ? 1 + random(8) : -1 - random(8)
    return length
  },
  function setInteresting(length, random) {
    const value = interesting[random(interesting.length)]
    const size = [1, 2, 2, 4][random(4)]
    if (size > length) return length
    const at = random(length - size + 1)
    const isLittleEndian = random(4) === 0
    if (size === 1) scratch[at] = value
    else if (size === 2) view.setUint16(at, value, isLittleEndian)
    else view.setUint32(at, value, isLittleEndian)
    return length
  },
  /** Two bytes that point into the input, as names of DNS do. */
  function setPointer(length, random) {
    if (length < 2) return length
    view.setUint16(random(length - 1), 0xc000 | (random(length) & 0x3fff))
    return length
  },
  function insertPointer(length, random) {
    const at = random(length)
    const target = random(length)
    const longer = open(length, at, 2)
    view.setUint16(at, 0xc000 | (target & 0x3fff))
    return longer
  },
  function truncate(length, random) {
    return random(length) + 1
  },
  function remove(length, random) {
    const at = random(length)
    const count = Math.min(1 + random(32), length - at)
    scratch.copyWithin(at, at + count, length)
    return length - count
  },
  function duplicate(length, random) {
    const at = random(length)
    const count = Math.min(1 + random(64), length - at)
    return open(length, at, count) // what was there stands there still, and again behind
  },
  function insertBytes(length, random) {
    const at = random(length)
    const count = Math.min(1 + random(16), length)
    const longer = open(length, at, count)
    const same = random(3) === 0 ? random(256) : undefined
    for (let i = 0; i < count; i++) scratch[at + i] = same ?? random(256)
    return longer
  },
  function copyWithin(length, random) {
    const from = random(length)
    const to = random(length)
    scratch.copyWithin(to, from, Math.min(from + 1 + random(32), from + length - to, length))
    return length
  },
  function splice(length, random, seeds) {
    const other = seeds[random(seeds.length)]
    const keep = random(length) + 1
    const from = random(other.length + 1)
    const tail = other.subarray(from, from + bytesMax)
    scratch.set(tail, keep)
    return keep + tail.length
  },
]

/** The input `index` of the run: one of the seeds, damaged in one to six places. */
export function createInput(seeds, run, index) {
  const random = createRandom(run, index)
  const seed = seeds[random(seeds.length)].subarray(0, bytesMax)
  scratch.set(seed)
  let length = seed.length
  for (let left = 1 + random(damagesMax); left > 0 && length > 0; left--) {
    length = Math.min(bytesMax, damages[random(damages.length)](length, random, seeds))
  }
  return scratch.slice(0, length)
}
