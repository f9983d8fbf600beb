import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { watchPods } from '../../../agent/identity/api-server-pods.ts'
import type { Bounds } from '../../../agent/identity/kubernetes-api.ts'
import { watchPeers } from '../../../agent/identity/peers.ts'
import type { DirectoryStatus } from '../../../agent/identity/pod-directory.ts'
import { limits } from '../../../agent/limits.ts'
import { parseLabels } from '../../../agent/metrics/label-text.ts'
import { startWiring, type Wiring } from '../../wiring.ts'
import { createFakeLog } from '../http/fake-parts.ts'
import { type ApiServer, certificate, type Handler, node, podOf, sendStatus, startApiServer } from './api-server.ts'

const quick: Partial<Bounds> = { kubernetesRetryMs: 1, kubernetesRetryMsMax: 4 }
const root = path.resolve(import.meta.dirname, '../../fixtures/hosts/6.1-debian')

/** Both watch pods; peers watch Services beside them. */
const providers = [
  { provider: 'pods', watches: 1 },
  { provider: 'peers', watches: 2 },
] as const

describe.each(providers)('what /metrics says of names of $provider, when the API server', ({ provider, watches }) => {
  let server: ApiServer
  let wiring: Wiring
  let status: () => DirectoryStatus
  const stopped = new Set<() => Promise<void>>()
  beforeEach(async () => {
    server = await startApiServer({ ofAllNodes: provider === 'peers' })
    server.change('ADDED', podOf(1, { spec: { hostNetwork: true } }))
  })
  afterEach(async () => {
    for (const stop of stopped) await stop()
    stopped.clear()
    await server.close()
  })

  async function start(): Promise<void> {
    const files = new Map([['/token', 'secret\n']]).set('/ca', certificate('authority.crt'))
    const read = (file: string): string => files.get(file) ?? ''
    const where = { host: '127.0.0.1', port: server.port, tokenFile: '/token', caFile: '/ca', read, log: createFakeLog().log }
    const bounds = { ...limits, ...quick }
    const pods = provider === 'pods' ? watchPods({ ...where, nodeName: node }, bounds) : undefined
    const peers = provider === 'peers' ? watchPeers({ ...where, from: 'pods' }, bounds) : undefined
    const names = pods ?? peers!
    status = names.status
    wiring = await startWiring({ root, tracer: false, ...(pods && { pods }), ...(peers && { peers }) })
    const controller = new AbortController()
    const done = names.start(controller.signal)
    stopped.add(async () => {
      controller.abort()
      await done
      await wiring.stop()
    })
  }

  /** As a sweep writes them; those without a value are left out. */
  async function readNames(): Promise<Record<string, number>> {
    await wiring.sweep()
    const values: Record<string, number> = {}
    for (const { name, series } of await wiring.self.families())
      for (const { labels, value } of series)
        if (name.startsWith('netvitals_names_')) {
          expect(parseLabels(labels)).toEqual({ provider })
          values[name.slice('netvitals_names_'.length)] = Number(value)
        }
    return values
  }
  /** The same, with an age that is right to the time that the sweep took instead of its value. */
  async function readExactly(): Promise<Record<string, number | string>> {
    const earliestMs = performance.now()
    const { last_success_age_seconds: age, ...values } = await readNames()
    const { lastSuccessAtMs } = status()
    if (age === undefined || lastSuccessAtMs === undefined) return { ...values, ...(age !== undefined && { age }) }
    expect(age * 1000).toBeGreaterThanOrEqual(earliestMs - lastSuccessAtMs - 0.001)
    expect(age * 1000).toBeLessThanOrEqual(performance.now() - lastSuccessAtMs + 0.001)
    return { ...values, age: 'exact' }
  }
  const until = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 10_000, interval: 2 })
  const untilWatched = (): Promise<void> =>
    until(() => {
      expect(status()).toMatchObject({ state: 'watching', listedOnce: true, lastError: undefined })
      expect(server.watchers.size).toBe(watches)
    })
  /** Until it is let go, each request is refused. */
  function refuse(): { readonly times: () => number; letGo(): void } {
    let times = 0
    const handler: Handler = (_, response) => {
      times++
      server.faults.push(handler)
      sendStatus(response, 401, 'Unauthorized')
    }
    server.faults.push(handler)
    return { times: () => times, letGo: () => void server.faults.splice(0) }
  }
  async function endWatches(): Promise<void> {
    const before = status().lastSuccessAtMs
    server.send({ type: 'BOOKMARK', object: { metadata: { resourceVersion: '101' } } }) // without an event it were a failure
    await until(() => expect(status().lastSuccessAtMs).toBeGreaterThan(before!))
    for (const watcher of server.watchers) watcher.end()
  }

  it('refuses the token for a while, then is good again', async () => {
    await start()
    await untilWatched()
    expect(await readExactly()).toEqual({ up: 1, restarts_total: 0, invalid_total: 0, age: 'exact' })

    const refusal = refuse()
    await endWatches()
    await until(() => expect(refusal.times()).toBeGreaterThan(4 * watches))
    const [first, second] = [await readNames(), await readNames()]
    expect([first.up, second.up]).toEqual([0, 0])
    expect(second.last_success_age_seconds).toBeGreaterThan(first.last_success_age_seconds!)
    expect(second.restarts_total).toBeGreaterThanOrEqual(first.restarts_total!)
    expect(await readExactly()).toMatchObject({ age: 'exact' })

    refusal.letGo()
    await untilWatched()
    expect(await readExactly()).toEqual({ up: 1, restarts_total: refusal.times(), invalid_total: 0, age: 'exact' })
  })

  it('sends objects, or parts of them, that are not as Kubernetes writes them', async () => {
    await start()
    await untilWatched()
    server.change('ADDED', podOf(2, { metadata: { name: '../x' } }))
    await until(() => expect(status().leftOut.invalidObjects).toBe(1))
    expect(await readExactly()).toEqual({ up: 1, restarts_total: 0, invalid_total: 1, age: 'exact' })
    server.change('ADDED', podOf(3, { status: { startTime: 7 } }))
    server.change('ADDED', podOf(4, { metadata: { name: 'x"} 1\n' } }))
    await until(() => expect(status().leftOut.invalidObjects).toBe(2))
    expect(await readExactly()).toEqual({ up: 1, restarts_total: 0, invalid_total: 3, age: 'exact' })
  })

  it('refuses from the start: there is no age of what never was', async () => {
    const refusal = refuse()
    await start()
    await until(() => expect(refusal.times()).toBeGreaterThan(0))
    await until(() => expect(status().lastError).toContain('401'))
    const values = await readNames()
    expect(values).toEqual({ up: 0, restarts_total: expect.any(Number), invalid_total: 0 })
    refusal.letGo()
    await untilWatched()
    expect(await readExactly()).toEqual({ up: 1, restarts_total: refusal.times(), invalid_total: 0, age: 'exact' })
  })

  it('does not answer: nothing is wrong yet, but nothing came either', async () => {
    server.faults.push(...Array<Handler>(watches).fill(() => {}))
    await start()
    await until(() => expect(server.faults).toEqual([]))
    expect(await readExactly()).toEqual({ up: 0, restarts_total: 0, invalid_total: 0 })
  })
})
