import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type WorkloadClues, workloadOf, workloadOfPodName } from '../../../agent/identity/workload.ts'

const createdAtMs = Date.UTC(2026, 10, 26, 12)
const dueMinutes = createdAtMs / 60_000 - 1

const clues = (owner: WorkloadClues['owner'], more: Partial<WorkloadClues> = {}): WorkloadClues => ({
  podName: 'pod-1',
  isStatic: false,
  owner,
  templateHash: undefined,
  rolloutHash: undefined,
  createdAtMs,
  ...more,
})

describe('the workload of a pod', () => {
  it.each<[string, WorkloadClues, { name: string; type: string }]>([
    ['nobody', clues(undefined), { name: 'pod-1', type: 'barepod' }],
    ['a file on the node', clues(undefined, { isStatic: true }), { name: 'pod-1', type: 'staticpod' }],
    ['the kubelet', clues({ kind: 'Node', name: 'node-1' }), { name: 'pod-1', type: 'staticpod' }],
    [
      'a Deployment',
      clues({ kind: 'ReplicaSet', name: 'web-shop-7d4b9c' }, { templateHash: '7d4b9c' }),
      { name: 'web-shop', type: 'deployment' },
    ],
    ['a ReplicaSet of its own', clues({ kind: 'ReplicaSet', name: 'web-7d4b9c' }), { name: 'web-7d4b9c', type: 'replicaset' }],
    [
      'a ReplicaSet with another hash',
      clues({ kind: 'ReplicaSet', name: 'web-7d4b9c' }, { templateHash: 'd4b9c' }),
      { name: 'web-7d4b9c', type: 'replicaset' },
    ],
    [
      'a ReplicaSet that is nothing but a hash',
      clues({ kind: 'ReplicaSet', name: '-abc' }, { templateHash: 'abc' }),
      { name: '-abc', type: 'replicaset' },
    ],
    ['a Rollout', clues({ kind: 'ReplicaSet', name: 'web-5f6' }, { rolloutHash: '5f6' }), { name: 'web', type: 'Rollout' }],
    ['a StatefulSet', clues({ kind: 'StatefulSet', name: 'db' }), { name: 'db', type: 'statefulset' }],
    ['a DaemonSet', clues({ kind: 'DaemonSet', name: 'cni' }), { name: 'cni', type: 'daemonset' }],
    ['a Job', clues({ kind: 'Job', name: 'migrate-1' }), { name: 'migrate-1', type: 'job' }],
    ['a Job with a date', clues({ kind: 'Job', name: 'report-20261126' }), { name: 'report-20261126', type: 'job' }],
    ['a CronJob', clues({ kind: 'Job', name: `tidy-up-${dueMinutes}` }), { name: 'tidy-up', type: 'CronJob' }],
    ['an old CronJob', clues({ kind: 'Job', name: `tidy-${dueMinutes * 60}` }), { name: 'tidy', type: 'CronJob' }],
    [
      'a Job of unknown age',
      clues({ kind: 'Job', name: `tidy-${dueMinutes}` }, { createdAtMs: undefined }),
      { name: `tidy-${dueMinutes}`, type: 'job' },
    ],
    ['something else', clues({ kind: 'PostgresCluster', name: 'orders' }), { name: 'orders', type: 'PostgresCluster' }],
    ['a kind as hostile as it may be', clues({ kind: 'constructor', name: 'x' }), { name: 'x', type: 'constructor' }],
  ])('of %s', (_, given, expected) => expect(workloadOf(given)).toEqual(expected))

  it('always has a name', () => {
    const text = fc.string({ minLength: 1 })
    fc.assert(
      fc.property(
        text,
        fc.constantFrom('ReplicaSet', 'Job', 'Node', 'DaemonSet'),
        text,
        fc.option(fc.string(), { nil: undefined }),
        (podName, kind, name, hash) => {
          const workload = workloadOf(clues({ kind, name }, { podName, templateHash: hash, rolloutHash: hash }))
          expect(workload.name).not.toBe('')
          expect(kind === 'Node' ? podName : name).toContain(workload.name)
        },
      ),
    )
  })
})

describe('the workload guessed from a name', () => {
  it.each<[string, string, string | undefined]>([
    ['web-5d78c9869d-x2x4z', 'web', 'deployment'],
    ['web-shop-75c5d7c9b4-k8s2v', 'web-shop', 'deployment'],
    ['coredns.v2-6d4b75cb6d-9xkqz', 'coredns.v2', 'deployment'],
    ['db-0', 'db', 'statefulset'],
    ['db-12', 'db', 'statefulset'],
    ['node-exporter-x2x4z', 'node-exporter', undefined],
    ['tidy-up-29615040-x2x4z', 'tidy-up', 'CronJob'],
    ['tidy-29615040-3-x2x4z', 'tidy', 'CronJob'],
    ['report-20261126-x2x4z', 'report-20261126', undefined],
    ['web', 'web', undefined],
    ['kube-proxy', 'kube-proxy', undefined],
    ['kube-apiserver-node', 'kube-apiserver-node', undefined],
    ['web-nginx', 'web-nginx', undefined],
    ['web-5d78c9869a-x2x4z', 'web-5d78c9869a', undefined],
    ['web-5d78c9869d-x2x4', 'web-5d78c9869d-x2x4', undefined],
    ['web-5d78c9869d', 'web-5d78c9869d', undefined],
    ['web-00', 'web-00', undefined],
    ['-0', '-0', undefined],
    ['5d78c9869d-x2x4z', '5d78c9869d', undefined],
  ])('%s is that of %s (%s)', (podName, name, type) => expect(workloadOfPodName(podName)).toEqual({ name, type }))

  it('is never empty, and the beginning of the name', () => {
    const part = fc.stringMatching(/^[-0-9bcdf.]{1,15}$/)
    fc.assert(
      fc.property(fc.array(part, { minLength: 1 }), (parts) => {
        const podName = parts.join('-')
        const { name } = workloadOfPodName(podName)
        expect(name).not.toBe('')
        expect(podName.startsWith(name)).toBe(true)
      }),
    )
  })
})
