import { afterEach, describe, expect, it, vi } from 'vitest'
import { NotFound } from '../../../agent/host/errors.ts'
import { pollPodLogs } from '../../../agent/identity/pod-logs.ts'
import { limits } from '../../../agent/limits.ts'
import { createFakeLog } from '../http/fake-parts.ts'

const uid = '11111111-2222-3333-4444-555555555555'
const hash = '0123456789abcdef0123456789abcdef'
const ends: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
  vi.useRealTimers()
})

function open(list: () => string[]) {
  vi.useFakeTimers()
  const log = createFakeLog()
  const pods = pollPodLogs({ folder: '/var/log/pods', list, log: log.log })
  const changes: string[] = []
  pods.onChange((uid, pod) => changes.push(`${pod === undefined ? '-' : '+'}${uid}`))
  const controller = new AbortController()
  const done = pods.start(controller.signal)
  ends.push(() => {
    controller.abort()
    return done
  })
  return { ...pods, log, changes, next: () => vi.advanceTimersByTimeAsync(limits.podLogsIntervalMs) }
}

describe('the folders of the logs', () => {
  it('bear the names of the pods', async () => {
    let names = [`shop_web-5d78c9869d-x2x4z_${uid}`, `kube-system_etcd-node-1_${hash}`]
    const logs = open(() => names)
    await logs.next()
    expect(logs.status()).toMatchObject({ state: 'watching', listedOnce: true, lastError: undefined })
    expect([...logs.pods().values()]).toMatchObject([
      {
        uid,
        cgroupUid: uid,
        namespace: 'shop',
        name: 'web-5d78c9869d-x2x4z',
        phase: 'Unknown',
        hostNetwork: undefined,
        addresses: [],
        workload: { name: 'web', type: 'deployment' },
      },
      { cgroupUid: hash, namespace: 'kube-system', name: 'etcd-node-1', workload: { name: 'etcd-node-1', type: 'staticpod' } },
    ])
    names = names.slice(1)
    await logs.next()
    expect(logs.changes).toEqual([`+${uid}`, `+${hash}`, `-${uid}`])
  })

  it('of a pod and of its predecessor of the same name may both be there', async () => {
    const logs = open(() => ['shop_db-0_old', 'shop_db-0_new'])
    await logs.next()
    await logs.next()
    expect(logs.changes).toEqual(['+old', '+new'])
    expect([...logs.pods().keys()]).toEqual(['old', 'new'])
  })

  it('with any other name are counted', async () => {
    const hostile = [
      '',
      'a',
      'a_b',
      'a_b_c_d',
      '__',
      'a.b_c_d',
      '@netns_x_y',
      'a_b"} 1\n_c',
      'a_\u001b[2J_c',
      `a_${'b'.repeat(254)}_c`,
    ]
    const logs = open(() => [...hostile, 'shop_web_uid-1', 'shop_web_uid-1'])
    await logs.next()
    expect([...logs.pods().keys()]).toEqual(['uid-1'])
    expect(logs.status().leftOut).toMatchObject({ invalidObjects: 2 * hostile.length, duplicates: 2, tooMany: 0 })
  })

  it('that cannot be read take away nothing', async () => {
    let isThere = true
    const logs = open(() => {
      if (isThere) return ['shop_web_uid-1']
      throw new NotFound('/var/log/pods')
    })
    await logs.next()
    isThere = false
    await logs.next()
    await logs.next()
    expect(logs.status()).toMatchObject({
      state: 'retrying',
      lastError: "the folders of the pods' logs cannot be read: /var/log/pods: no such file; is it mounted?",
    })
    expect([...logs.pods().keys()]).toEqual(['uid-1'])
    isThere = true
    await logs.next()
    expect(logs.status()).toMatchObject({ state: 'watching', lastError: undefined, restarts: 2 })
    expect(logs.log.lines.map(({ level, message }) => [level, message])).toEqual([
      ['warn', 'pods cannot be listed; those that are known stay'],
      ['debug', 'pods cannot be listed; those that are known stay'],
      ['info', 'pods are listed again'],
    ])
    await ends.pop()!()
    expect(logs.status().state).toBe('stopped')
  })
})
