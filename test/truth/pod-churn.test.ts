import { randomUUID } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { expect, it } from 'vitest'
import { limits } from '../../agent/limits.ts'
import { startWiring } from '../wiring.ts'
import { createNode } from './pods.ts'
import { requireTraced, slowness } from './topology.ts'

const rounds = Math.ceil(20 / slowness)
const podsPerRound = 25

requireTraced('tcp_connects_total', 'pods that come and go', () => {
  it(
    '500 pods, some of one name: each has what it did itself, and nothing is left of them',
    async () => {
      const node = createNode('nvp-churn')
      const wiring = await startWiring({ pods: node.names })
      const countFiles = (): number => readdirSync('/proc/self/fd').length
      const countSeries = async (): Promise<number> => {
        const { families } = await wiring.sweep()
        return families.flatMap(({ series }) => series).filter(({ labels }) => labels.startsWith('namespace="churn"')).length
      }
      try {
        await wiring.sweep()
        let filesBefore = Number.NaN
        for (let round = 0; round < rounds; round++) {
          // Every other one is a StatefulSet's, whose pods have the same names again.
          const pods = Array.from({ length: podsPerRound }, (_, i) => ({
            name: i % 2 === 0 ? `db-${i}` : `web-${round}-${i}`,
            refused: 1 + ((round + i) % 7),
          }))
          const running = await Promise.all(
            pods.map(({ name, refused }) => node.runAlone({ uid: randomUUID(), namespace: 'churn', name }, refused)),
          )
          await wiring.sweep()
          for (const { name, refused } of pods) {
            const ofPod = { namespace: 'churn', pod: name }
            expect(wiring.value('netvitals_tcp_connects_total', ofPod), name).toBe(refused)
            expect(wiring.value('netvitals_tcp_attempt_fails_total', ofPod), name).toBe(refused)
          }
          await Promise.all(running.map((pod) => pod.stop()))
          for (const uid of [...node.names.pods().keys()]) node.names.set(uid, undefined)
          if (round === 0) filesBefore = countFiles()
        }
        expect(await countSeries()).toBeGreaterThan(podsPerRound) // their last values
        expect(countFiles()).toBeLessThanOrEqual(filesBefore)
        wiring.pass(2 * limits.departureMs)
        await wiring.sweep()
        expect(await countSeries()).toBe(0)
      } finally {
        await wiring.stop()
        await node.dispose()
      }
    },
    120_000 * slowness,
  )
})
