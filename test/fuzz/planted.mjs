// Parsers with a fault each, for the test of run.mjs: all must be found, and only `sound` be let through.
const seeds = [Uint8Array.from({ length: 100 }, (_, i) => i)]
/** A sum over the bytes as they are, wherever they stand. */
const sum = (bytes, from, to) => {
  let total = 0
  for (let at = from; at < to; at++) total += bytes[at]
  return total
}
const isRare = (bytes, from, to) => sum(bytes, from, to) % 1000 === 999
const target = (name, run) => ({ name, seeds, readsPerByteMax: 3, run })

export const targets = [
  target('sound', (bytes, from, to) => (sum(bytes, from, to) % 2 === 0 ? 'even' : 'odd')),
  target('throws', (bytes, from, to) => {
    if (isRare(bytes, from, to)) throw new TypeError('planted')
    return 'taken'
  }),
  target('never ends', (bytes, from, to) => {
    while (isRare(bytes, from, to) && to > 0);
    return 'taken'
  }),
  target('never ends and reads nothing', (bytes, from, to) => {
    for (const isEndless = isRare(bytes, from, to); isEndless; );
    return 'taken'
  }),
  target('reads too often', (bytes, from, to) => {
    for (let at = from; at < to && to - from > 150; at++) sum(bytes, from, to)
    return 'taken'
  }),
  target('reads behind the end', (bytes, _, to) => (bytes[to] === undefined ? 'taken' : 'more')),
  target('reads before the begin', (bytes, from, to) => (from === 0 || sum(bytes, from - 1, to) % 2 === 0 ? 'taken' : 'odd')),
  target('takes all memory', (bytes, from, to) => {
    for (const taken = []; isRare(bytes, from, to); ) taken.push({ taken })
    return 'taken'
  }),
]
