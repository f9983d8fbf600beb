// What is fed damaged bytes. A new parser is one entry more:
//   name             the parser's file
//   seeds            inputs that are whole, as Uint8Arrays; the better they cover the format, the more is found
//   readsPerByteMax  how often a byte may be read by index, on average: a parser whose work is not linear goes over it
//   run              reads bytes[from] up to bytes[to - 1], and nothing around them. Returns a word for how that ended, such
//                    as `taken` or the fault, the fewer the better; throws where something is not as promised.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { isIP } from 'node:net'
import path from 'node:path'
import { dnsFaults, readDnsAddresses, readDnsMessage } from '../../dist/parsers/dns-message.js'
import { createDnsFramer } from '../../dist/parsers/dns-stream.js'

const readFixture = (name) => fs.readFileSync(path.join(import.meta.dirname, '../fixtures', name), 'latin1').trimEnd()
const readHex = (hex) => Uint8Array.from(Buffer.from(hex, 'hex'))

const dnsMessages = readFixture('dns/messages.txt')
  .split('\n')
  .flatMap((line) => line.split(' | ').slice(1).map(readHex))
const withLength = (message) => Uint8Array.of(message.length >> 8, message.length & 0xff, ...message)

const addressesMax = 8
const nameCharactersMax = 1003

function runDnsMessage(bytes, from, to) {
  const isCut = to > from && (bytes[to - 1] & 1) === 1
  const message = readDnsMessage(bytes, from, to, to - from + (isCut ? 1 : 0))
  const addresses = to - from < 12 ? [] : readDnsAddresses(bytes, from, to, addressesMax)
  assert.ok(addresses.length <= addressesMax && addresses.every((address) => isIP(address) !== 0))
  if (typeof message === 'string') {
    assert.ok(dnsFaults.includes(message))
    assert.ok(isCut ? message !== 'early_end' && message !== 'short_header' : message !== 'cut_header')
    return message
  }
  const { name, queryType, queryClass, addressCount, answerCount, rcode, opcode, id, isTruncated } = message
  assert.equal(message.isCut, isCut)
  assert.ok(rcode >= 0 && rcode <= 0xfff && opcode >= 0 && opcode <= 0xf && id >= 0 && id <= 0xffff)
  assert.equal(name === undefined, queryType === undefined)
  assert.equal(name === undefined, queryClass === undefined)
  if (name !== undefined) assert.ok(name.length <= nameCharactersMax && /^(?:[!-@[\]-~]|\\\d{3})*$/.test(name))
  if (addressCount === undefined) assert.ok(isCut || isTruncated)
  else assert.equal(addresses.length, Math.min(addressCount, addressesMax))
  assert.ok(addressCount === undefined || addressCount <= answerCount)
  return addressCount === undefined ? 'taken in part' : 'taken'
}

/** The messages of the stream at once, and again in pieces; and what is found where some of the pieces are skipped. */
function runDnsStream(bytes, from, to) {
  const follow = () => {
    const found = []
    const framer = createDnsFramer((message, messageFrom, messageTo, sentLength) => {
      assert.ok(messageFrom >= 0 && messageFrom <= messageTo && messageTo <= message.length)
      assert.ok(messageTo - messageFrom <= sentLength && sentLength <= 0xffff)
      found.push(messageTo - messageFrom)
    })
    return { framer, found }
  }
  const whole = follow()
  const pieces = follow()
  const gaps = follow()
  whole.framer.take(bytes, from, to)
  for (let at = from; at < to; ) {
    const end = Math.min(to, at + 1 + (bytes[at] & 0x3f))
    pieces.framer.take(bytes, at, end)
    if (bytes[at] >> 4 === 0xf) gaps.framer.skip(end - at)
    else gaps.framer.take(bytes, at, end)
    assert.ok(pieces.framer.keptBytes <= Math.max(64, 2 * (to - from)))
    at = end
  }
  assert.equal(pieces.found.join(), whole.found.join())
  assert.equal(pieces.framer.isInStep, true)
  assert.ok(whole.found.reduce((sum, length) => sum + length + 2, 0) <= to - from)
  return gaps.framer.isInStep ? 'in step' : 'out of step'
}

export const targets = [
  { name: 'dns-message', seeds: dnsMessages, readsPerByteMax: 8, run: runDnsMessage },
  {
    name: 'dns-stream',
    seeds: [readHex(readFixture('dns/tcp-answers.txt')), ...dnsMessages.map(withLength)],
    readsPerByteMax: 10,
    run: runDnsStream,
  },
]
