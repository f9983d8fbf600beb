import { type ChildProcess, spawn } from 'node:child_process'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { EventMessage, NetworkEvent } from '../../agent/events.ts'
import { createTopology, type Namespace, requireTraced, slowness, type Topology } from '../truth/topology.ts'

const main = path.resolve(import.meta.dirname, '../../dist/agent/main.js')
const port = 5999

/** Between two sweeps of its own, 15 s apart, nothing but the events themselves tells that somebody new is there. */
requireTraced('tcp_connects_total', 'observe', () => {
  const topologies: Topology[] = []
  const messages: EventMessage[] = []
  let child: ChildProcess
  let ended: Promise<void>

  beforeAll(async () => {
    topologies.push(await createTopology('nve-observe-old', { network: 86 }))
    child = spawn(process.execPath, [main, 'observe', '--follow', '-o', 'json', '--web.socket='], {
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    ended = new Promise((resolve) => child.once('close', () => resolve()))
    createInterface({ input: child.stdout! }).on('line', (line) => messages.push(JSON.parse(line)))
  })
  afterAll(async () => {
    child?.kill('SIGTERM')
    await ended
    for (const topology of topologies) await topology.dispose()
  })

  /** A connect from a to b, where nobody listens. */
  async function beRefused({ a, b, hold }: Topology): Promise<void> {
    const holder = await hold(a, 'tcp-connect', { address: b.ipv4, port, count: 1 })
    await holder.stop()
  }
  const connectsTo = ({ ipv4 }: Namespace): NetworkEvent[] =>
    messages.filter((message): message is NetworkEvent => message.type === 'connect' && message.destination.address === ipv4)
  const named = ({ name }: Namespace) => ({ namespace: '@netns', pod: name })

  it('names both ends in a namespace that came a moment ago', async () => {
    const old = topologies[0]!
    const isWatching = async (): Promise<number> => {
      await beRefused(old)
      return connectsTo(old.b).length
    }
    await expect.poll(isWatching, { timeout: 20_000 * slowness, interval: 200 }).toBeGreaterThan(0)

    const young = await createTopology('nve-observe-new', { network: 87 })
    topologies.push(young)
    await beRefused(young)
    await expect.poll(() => connectsTo(young.b).length, { timeout: 5000 * slowness }).toBe(1)
    await sleep(2000 * slowness)
    await beRefused(young)
    await expect.poll(() => connectsTo(young.b).length, { timeout: 5000 * slowness }).toBe(2)
    expect(connectsTo(young.b)[1]).toMatchObject({
      outcome: 'refused',
      source: { ...named(young.a), address: young.a.ipv4 },
      destination: { ...named(young.b), address: young.b.ipv4, port },
    })
  })
})
