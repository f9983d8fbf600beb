// DNS messages read a second: ours, and npm's dns-packet, which also reads what records hold. In turn, median and extremes;
// then what the worst a stranger can send costs. Needs no privileges.
import fs from 'node:fs'
import path from 'node:path'
import dnsPacket from 'dns-packet'
import { readDnsAddresses, readDnsMessage } from '../../dist/parsers/dns-message.js'
import { median, printRow } from './process.mjs'

const rounds = 9
const roundMs = 150

const recorded = new Map(
  fs
    .readFileSync(path.join(import.meta.dirname, '../fixtures/dns/messages.txt'), 'latin1')
    .trimEnd()
    .split('\n')
    .map((line) => {
      const [name, question, answer] = line.split(' | ')
      return [name, { question: Buffer.from(question, 'hex'), answer: Buffer.from(answer, 'hex') }]
    }),
)

/** Until the time is over; returns nanoseconds a call. */
function time(call) {
  const startedAtMs = performance.now()
  let calls = 0
  while (performance.now() - startedAtMs < roundMs) {
    for (let i = 0; i < 200; i++) call()
    calls += 200
  }
  return (1e6 * (performance.now() - startedAtMs)) / calls
}

/** Nanoseconds of each, the rounds in turn, the first not counted. */
function compare(calls) {
  const measured = calls.map(() => [])
  for (let round = 0; round <= rounds; round++) {
    calls.forEach((call, i) => {
      const nanoseconds = time(call)
      if (round > 0) measured[i].push(nanoseconds)
    })
  }
  return measured
}

const thousands = (nanoseconds) => (1e6 / nanoseconds).toFixed(0)
const range = (all) =>
  `${thousands(median(all))} thousand a second (${thousands(Math.max(...all))} to ${thousands(Math.min(...all))}), ${median(all).toFixed(0)} ns`

const usual = [
  ['a question', recorded.get('a').question],
  ['an answer of two addresses', recorded.get('a').answer],
  ['a chain of three names, no EDNS', recorded.get('cname chain').answer],
  ['an answer with EDNS and a cookie', recorded.get('edns with cookies').answer],
  ['a truncated answer of 29 addresses', recorded.get('truncated').answer],
]
for (const [what, bytes] of usual) {
  const [ours, theirs, addresses] = compare([
    () => readDnsMessage(bytes, 0, bytes.length),
    () => dnsPacket.decode(bytes),
    () => readDnsAddresses(bytes, 0, bytes.length, 8),
  ])
  const ratio = median(theirs.map((nanoseconds, i) => nanoseconds / ours[i]))
  printRow(`${what} (${bytes.length} bytes)`, `${range(ours)}; dns-packet ${range(theirs)}: ratio ${ratio.toFixed(1)}`)
  if (bytes[2] >> 7 === 1) printRow('… its first eight addresses as text', range(addresses))
}

const partOfLongest = (i) => [0xc0, 14 + 2 * (i % 120)]
const hostile = [
  ['a pointer to itself', makeMessage(40, () => [0xc0, 17])],
  ['a message cut off in the middle', recorded.get('a').answer.subarray(0, 80)],
  ['1,472 bytes of records that lead to parts of the longest name', makeMessage(1472, partOfLongest)],
  ['65,535 bytes of the same', makeMessage(65_535, partOfLongest)],
]
for (const [what, bytes] of hostile) {
  const message = readDnsMessage(bytes, 0, bytes.length)
  const [ours] = compare([() => readDnsMessage(bytes, 0, bytes.length)])
  printRow(what, `${range(ours)}: ${typeof message === 'string' ? message : `${message.answerCount} answers taken`}`)
}
const [thrown] = compare([throwAndCatch])
printRow('an Error thrown and caught, what a fault would cost otherwise', range(thrown))

/** A question of 126 labels, or of none where there is no room; then records without data. */
function makeMessage(size, owner) {
  const labels = size < 300 ? [0] : [...Array.from({ length: 126 }, () => [1, 97]).flat(), 0]
  const rest = [...labels, 0, 1, 0, 1]
  let count = 0
  for (; rest.length < size - 24; count++) rest.push(...owner(count), 0, 16, 0, 1, 0, 0, 0, 0, 0, 0)
  return Uint8Array.from([0, 1, 0x81, 0x80, 0, 1, count >> 8, count & 255, 0, 0, 0, 0, ...rest])
}

function throwAndCatch() {
  try {
    throw new Error('dns: line 1, column 13: expected a name')
  } catch {
    return undefined
  }
}
