import { describe, expect, it } from 'vitest'
import { createSightings, isSeenAgain, type Point, passageMs } from '../../../agent/capture/sighting.ts'

const veth: Point = { packetType: 3, ttl: 64 }
const bridgeOut: Point = { packetType: 4, ttl: 63 }
const untold: Point = { packetType: undefined, ttl: 64 }

describe('a packet seen with the same content', () => {
  it.each([
    ['where it was first seen, at once', veth, veth, 0.01, true],
    ['elsewhere', veth, bridgeOut, 0.01, false],
    ['where a bridge tells twice of what it sends, at once', bridgeOut, bridgeOut, 0.01, false],
    ['there, when that passage is over', bridgeOut, bridgeOut, passageMs + 1, true],
    ['on a link that does not tell, at once', untold, untold, 0.01, false],
    ['elsewhere, but far too late', veth, bridgeOut, 501, true],
    ['with another hop limit', veth, { packetType: 3, ttl: 63 }, 100, false],
  ])('%s', (_where, first, point, sinceMs, expected) => expect(isSeenAgain(first, point, 1000, 1000 + sinceMs)).toBe(expected))
})

it('remembers so many contents', () => {
  const { isNew } = createSightings(2)
  expect([isNew('a', veth, 0), isNew('a', bridgeOut, 0.1), isNew('a', veth, 0.2)]).toEqual([true, false, true])
  expect([isNew('b', veth, 1), isNew('c', veth, 1)]).toEqual([true, true])
  expect([isNew('a', bridgeOut, 2), isNew('c', bridgeOut, 2)]).toEqual([true, false]) // a was forgotten
})
