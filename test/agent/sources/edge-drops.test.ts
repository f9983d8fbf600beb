import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { NetworkNamespace } from '../../../agent/host/namespaces.ts'
import { createEdgeDrops } from '../../../agent/sources/edge-drops.ts'

const netns = {} as NetworkNamespace
const [client, server] = [1, 2]

/** Of the namespace 7: from or to 10.0.0.`other`. */
function keyOf(other: number, { reason = 6, role = client } = {}): DataView {
  const bytes = Buffer.alloc(48)
  for (const [word, value] of [7, 7, reason, role].entries()) bytes.writeUInt32LE(value, word * 4)
  for (const [at, last] of [
    [16, 1],
    [32, other],
  ] as const)
    bytes.set([0xff, 0xff, 10, 0, 0, last], at + 10)
  return new DataView(bytes.buffer, bytes.byteOffset, 48)
}

describe('drops of edges', () => {
  it('are apart by role, reason and address', () => {
    const drops = createEdgeDrops()
    drops.beginSweep()
    drops.dropped(netns, keyOf(2), 5)
    drops.dropped(netns, keyOf(2, { role: server }), 6)
    drops.dropped(netns, keyOf(2, { reason: 9 }), 7)
    drops.dropped(netns, keyOf(3), 8)
    const told = drops.all().map(({ role, local, remote, reason, packets }) => [role, local, remote, reason, packets])
    expect(told).toEqual([
      ['client', '10.0.0.1', '10.0.0.2', 6, 5],
      ['server', '10.0.0.1', '10.0.0.2', 6, 6],
      ['client', '10.0.0.1', '10.0.0.2', 9, 7],
      ['client', '10.0.0.1', '10.0.0.3', 6, 8],
    ])
  })

  it('bear the key that the kernel knows them by', () => {
    const drops = createEdgeDrops()
    const key = keyOf(2)
    drops.dropped(netns, key, 1)
    drops.dropped(netns, keyOf(3), 1)
    expect(drops.all()[0]!.key).toEqual(new Uint8Array(key.buffer, key.byteOffset, 48))
  })

  it('are handed on once, also when a namespace gets its name', () => {
    const drops = createEdgeDrops()
    const named = {} as NetworkNamespace
    drops.dropped(netns, keyOf(2), 5)
    drops.all()[0]!.counted = 3
    drops.dropped(named, keyOf(2), 9)
    expect(drops.all()).toHaveLength(1)
    expect(drops.all()[0]).toMatchObject({ packets: 9, counted: 3 })
    expect(drops.all()[0]!.netns).toBe(named)
  })

  it('add up to what the kernel has counted, whichever of them come and go', () => {
    const sweep = fc.array(fc.tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 0, max: 9 })))
    fc.assert(
      fc.property(fc.array(fc.record({ more: sweep, gone: fc.integer({ min: 1, max: 9 }) })), (sweeps) => {
        const drops = createEdgeDrops()
        const kernel = new Map<number, number>()
        let [caused, told] = [0, 0]
        for (const { more, gone } of sweeps) {
          for (const [other, packets] of more) {
            kernel.set(other, (kernel.get(other) ?? 0) + packets)
            caused += packets
          }
          drops.beginSweep()
          for (const [other, packets] of kernel) drops.dropped(netns, keyOf(other), packets)
          for (const drop of drops.all()) {
            told += drop.packets - drop.counted
            drop.counted = drop.packets
          }
          if (kernel.delete(gone)) for (const drop of drops.all()) if (drop.remote.endsWith(`.${gone}`)) drop.isInKernel = false
          drops.endSweep()
          expect(told).toBe(caused)
          expect(drops.all()).toHaveLength(kernel.size)
        }
      }),
    )
  })
})
