import { describe, expect, it } from 'vitest'
import { createSightings, isSeenAgain, type Point, passageMs } from '../../../agent/capture/sighting.ts'

const veth: Point = { packetType: 3, ttl: 64, identification: 7 }
const bridgeOut: Point = { packetType: 4, ttl: 63, identification: 7 }
const untold: Point = { packetType: undefined, ttl: 64, identification: 0 }
const next = (point: Point): Point => ({ ...point, identification: 8 })
const unnumbered = (point: Point): Point => ({ ...point, identification: 0 })

describe('a packet seen with the same content', () => {
  it.each([
    ['where it was first seen, at once', veth, veth, 0.01, false],
    ['the next one there, at once', veth, next(veth), 0.01, true],
    ['elsewhere', veth, bridgeOut, 0.01, false],
    ['the next one, elsewhere', veth, next(bridgeOut), 0.01, false],
    ['where a bridge tells twice of what it sends, late', bridgeOut, bridgeOut, passageMs + 1, false],
    ['without a number where it was first seen, at once', unnumbered(veth), unnumbered(veth), 0.01, false],
    ['there, when its passage is over', unnumbered(veth), unnumbered(veth), passageMs + 1, true],
    ['the next one without a number, at once', veth, unnumbered(veth), 0.01, false],
    ['on a link that does not tell, at once', untold, untold, 0.01, false],
    ['elsewhere, but far too late', veth, bridgeOut, 501, true],
    ['with another hop limit', unnumbered(veth), { ...unnumbered(veth), ttl: 63 }, 100, false],
  ])('%s', (_where, before, point, sinceMs, expected) => expect(isSeenAgain(before, point, 1000, 1000 + sinceMs)).toBe(expected))
})

it('remembers so many contents', () => {
  const { isNew } = createSightings(2)
  const sightings = [veth, bridgeOut, next(veth), next(bridgeOut), next(veth)]
  expect(sightings.map((point, i) => isNew('a', point, i / 10))).toEqual([true, false, true, false, false])
  expect([isNew('b', veth, 1), isNew('c', veth, 1)]).toEqual([true, true])
  expect([isNew('a', bridgeOut, 2), isNew('c', bridgeOut, 2)]).toEqual([true, false]) // a was forgotten
})

it('remembers and knows apart', () => {
  const { isKnown, remember } = createSightings(2)
  expect(isKnown('a', veth, 0)).toBe(false)
  remember('a', veth, 0)
  expect([isKnown('a', bridgeOut, 1), isKnown('a', next(veth), 1), isKnown('b', veth, 1)]).toEqual([true, false, false])
})
