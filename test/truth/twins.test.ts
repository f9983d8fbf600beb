import { execFileSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { startWiring } from '../wiring.ts'
import { expectEvents } from './events.ts'
import { isBefore } from './expected-absences.ts'
import { createTopology, type Namespace, requireTracer } from './topology.ts'

const connects = 'netvitals_tcp_connects_total'
const names = ['nvg-twins-one', 'nvg-twins-two'] as const

requireTracer('two network namespaces with one inode, one after the other', () => {
  it('have their own; without cookies the second is given what the first counted since the sweep before', async () => {
    const topology = await createTopology('nvg-twins')
    const wiring = await startWiring()
    const make = (name: string): Namespace => {
      execFileSync('ip', ['netns', 'add', name])
      const made = { name, ipv4: '127.0.0.1', ipv6: '::1', inode: 0 }
      topology.exec(made, 'ip', 'link', 'set', 'lo', 'up')
      return { ...made, inode: Number(topology.exec(made, 'stat', '-Lc', '%i', '/proc/self/ns/net')) }
    }
    const remove = ({ name }: Namespace) => execFileSync('ip', ['netns', 'del', name])
    const refuse = (namespace: Namespace, count: number) =>
      topology.run(namespace, 'tcp-storm', { address: '127.0.0.1', port: 5001, end: 'refused', count })
    try {
      const one = make(names[0])
      await refuse(one, 10)
      await expectEvents(wiring, one, connects, { refused: 10 })
      await refuse(one, 5)
      remove(one)
      // The kernel lets go of it some time after, and others may take the inode first.
      let two = make(names[1])
      for (let tries = 0; two.inode !== one.inode && tries < 200; tries++) {
        await sleep(50)
        remove(two)
        two = make(names[1])
      }
      expect(two.inode).toBe(one.inode)
      await refuse(two, 20)
      const unseen = isBefore('5.12') ? 5 : 0
      await expectEvents(wiring, two, connects, { refused: 20 + unseen })
      await expectEvents(wiring, one, connects, { refused: 15 - unseen })
    } finally {
      await wiring.stop()
      await topology.dispose()
    }
  })
})
