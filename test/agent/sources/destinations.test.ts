import fc from 'fast-check'
import { expect, it } from 'vitest'
import { createDestinations } from '../../../agent/sources/destinations.ts'
import type { SocketRow } from '../../../parsers/socket-row.ts'

/** An address of four bytes is IPv4, any other IPv6. */
const socket = (local: readonly number[], remote: readonly number[], remotePort: number): SocketRow => {
  const addresses = new Uint8Array(40)
  addresses.set(local, 3)
  addresses.set(remote, 20)
  return {
    family: local.length === 4 ? 4 : 6,
    state: 1,
    localPort: 0,
    remotePort,
    addresses,
    localAt: 3,
    remoteAt: 20,
    receiveQueue: 0,
    sendQueue: 0,
    rttUs: undefined,
    sentAgoMs: undefined,
    receivedAgoMs: undefined,
    traffic: undefined,
    inode: 0,
    uid: 0,
  }
}

it('finds the busiest destination among any, as a Map does', () => {
  const byte = fc.constantFrom(0, 1, 127, 255)
  const pair = fc
    .constantFrom(4, 16)
    .chain((size) =>
      fc.tuple(fc.array(byte, { minLength: size, maxLength: size }), fc.array(byte, { minLength: size, maxLength: size })),
    )
  fc.assert(
    fc.property(fc.array(fc.tuple(pair, fc.integer({ min: 0, max: 3 })), { maxLength: 300 }), (all) => {
      const destinations = createDestinations()
      const model = new Map<string, number>()
      for (const [[local, remote], port] of all) {
        const pad = (bytes: number[]): string => [...bytes, ...Array(16 - bytes.length).fill(0)].join('.')
        const key = `${pad(local)} ${pad(remote)} ${port}`
        model.set(key, (model.get(key) ?? 0) + 1)
        destinations.count(socket(local, remote, port))
      }
      expect(destinations.busiest).toBe(Math.max(0, ...model.values()))
      expect(destinations.lost).toBe(0)
    }),
  )
})

it('keeps 60,000 destinations apart while it grows', () => {
  const destinations = createDestinations()
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 20_000; i++) destinations.count(socket([10, 0, i >> 8, i & 255], [10, 1, 0, 1], 80 + round))
  }
  destinations.count(socket([10, 0, 5, 5], [10, 1, 0, 1], 81))
  expect(destinations.busiest).toBe(2)
})
