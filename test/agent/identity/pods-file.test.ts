import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { readPodsFile, watchPodsFile } from '../../../agent/identity/pods-file.ts'
import { limits } from '../../../agent/limits.ts'
import { createFakeLog } from '../http/fake-parts.ts'

const read = (text: string) => readPodsFile(text, 'pods.yaml')

describe('a file of pods', () => {
  it('says what they are called', () => {
    const text = `# by hand
pods:
  - namespace: shop
    name: web-5d78c9869d-x2x4z
    uid: uid-1
    addresses: [10.0.0.1, 'FD00::1']
    container_ids: [containerd://aa, bb]
  - {namespace: shop, name: db-0, uid: uid-2, workload: orders, workload_type: PostgresCluster, host_network: true}
`
    const nothing = { phase: 'Unknown', createdAtMs: undefined, startedAtMs: undefined, deletionAtMs: undefined }
    expect(read(text)).toEqual([
      {
        uid: 'uid-1',
        cgroupUid: 'uid-1',
        namespace: 'shop',
        name: 'web-5d78c9869d-x2x4z',
        hostNetwork: undefined,
        addresses: ['10.0.0.1', 'fd00::1'],
        containerIds: ['aa', 'bb'],
        workload: { name: 'web', type: 'deployment' },
        ...nothing,
      },
      {
        uid: 'uid-2',
        cgroupUid: 'uid-2',
        namespace: 'shop',
        name: 'db-0',
        hostNetwork: true,
        addresses: [],
        containerIds: [],
        workload: { name: 'orders', type: 'PostgresCluster' },
        ...nothing,
      },
    ])
  })
  it('may be JSON, or empty', () => {
    expect(read(JSON.stringify({ pods: [{ namespace: 'a', name: 'b', uid: 'c' }] }))).toHaveLength(1)
    expect(read('')).toEqual([])
    expect(read('pods:\n')).toEqual([])
  })
  const pod = '- namespace: a\n  name: b\n  uid: c\n'
  it.each<[string, string]>([
    ['- a', 'pods.yaml:1: expected a mapping (key: value)'],
    ['pods: [', 'pods.yaml:1: not valid YAML'],
    ['pots: []', 'pods.yaml:1: pots: no such setting'],
    ['pods: {}', 'pods.yaml:1: pods: expected a list of pods'],
    ['pods:\n- 7', 'pods.yaml:2: pods.0: expected namespace: …, name: …'],
    ['pods:\n- namespace: a\n  name: b', 'pods.yaml:2: pods.0: uid is missing: a UID'],
    ['pods:\n- namespace: a\n  name: B_1\n  uid: c', 'pods.yaml:3: pods.0.name: expected a name of a pod'],
    ['pods:\n- namespace: "\\e[2J"\n  name: b\n  uid: c', 'pods.yaml:2: pods.0.namespace: expected a name of a namespace'],
    [`pods:\n${pod}  adresses: []`, 'pods.yaml:5: pods.0.adresses: no such setting'],
    [`pods:\n${pod}  addresses:\n  - 10.0.0.1\n  - 10.0.0.256`, 'pods.yaml:7: pods.0.addresses.1: expected an IP address'],
    [`pods:\n${pod}  addresses: 10.0.0.1`, 'pods.yaml:5: pods.0.addresses: expected an IP address'],
    [`pods:\n${pod}  host_network: "yes"`, 'pods.yaml:5: pods.0.host_network: expected true or false'],
    [`pods:\n${pod}  host_network: true\n  addresses: [10.0.0.1]`, 'pods.yaml:6: pods.0.addresses: expected none'],
    [`pods:\n${pod}${pod}`, 'pods.yaml:7: pods.1.uid: another pod has it'],
    [`pods:\n${pod}${pod.replace('uid: c', 'uid: d')}`, 'pods.yaml:6: pods.1.name: another pod of the namespace has it'],
    [`pods: [${'1,'.repeat(limits.kubernetesPods)}1]`, 'pods.yaml:1: pods: expected no more than limits.kubernetesPods'],
    [
      `pods:\n${pod}  addresses: [${'10.0.0.1,'.repeat(65)}]`,
      `pods.yaml:5: pods.0.addresses: expected no more than ${limits.kubernetesPodAddresses}`,
    ],
  ])('%j is refused with its place', (text, words) => expect(() => read(text)).toThrow(words))
})

describe('a file of pods that is watched', () => {
  let folder = ''
  let file = ''
  const ends: (() => Promise<void>)[] = []
  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-pods-'))
    file = path.join(folder, 'pods.yaml')
    vi.useFakeTimers()
  })
  afterEach(async () => {
    for (const end of ends.splice(0)) await end()
    vi.useRealTimers()
    fs.rmSync(folder, { recursive: true })
  })

  it('is read again when it changes; when it is broken or gone, what was known stays', async () => {
    const write = (...uids: string[]): void =>
      fs.writeFileSync(file, JSON.stringify({ pods: uids.map((uid) => ({ namespace: 'shop', name: `web-${uid}`, uid })) }))
    const log = createFakeLog()
    const pods = watchPodsFile({ file, log: log.log })
    const changes: string[] = []
    pods.onChange((uid, pod) => changes.push(`${pod === undefined ? '-' : '+'}${uid}`))
    const controller = new AbortController()
    const done = pods.start(controller.signal)
    ends.push(() => {
      controller.abort()
      return done
    })
    const next = () => vi.advanceTimersByTimeAsync(limits.fileCheckMs)
    await next()
    expect(pods.status()).toMatchObject({ state: 'retrying', lastError: `${file}: cannot be read: it does not exist` })
    write('1', '2')
    await next()
    expect(pods.status()).toMatchObject({ state: 'watching', lastError: undefined, listedOnce: true })
    fs.writeFileSync(file, 'pods:\n- name: a\n')
    await next()
    expect(pods.status().lastError).toContain(`${file}:2: pods.0: uid is missing`)
    fs.rmSync(file)
    await next()
    expect([...pods.pods().keys()]).toEqual(['1', '2'])
    write('1', '2')
    await next()
    expect(pods.status().lastError).toBeUndefined()
    write('2', '3')
    await next()
    expect(changes).toEqual(['+1', '+2', '-1', '+3'])
  })
})
