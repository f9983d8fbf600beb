import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readPod } from '../../../agent/identity/kubernetes-pods.ts'
import { podOf } from './api-server.ts'

const id = 'a'.repeat(64)

describe('a pod', () => {
  it('keeps what names it', () => {
    const reading = readPod({
      metadata: {
        uid: '11111111-2222-3333-4444-555555555555',
        namespace: 'shop',
        name: 'web-7d4b9c-x2x4z',
        creationTimestamp: '2026-11-26T12:00:00Z',
        deletionTimestamp: '2026-11-26T13:00:30Z',
        labels: { app: 'web', 'pod-template-hash': '7d4b9c' },
        annotations: {
          'k8s.v1.cni.cncf.io/network-status': JSON.stringify([
            { name: 'cbr0', default: true, ips: ['10.0.0.1'] },
            { name: 'storage', interface: 'net1', ips: ['192.168.7.1', 'FD00::0007'] },
          ]),
        },
        ownerReferences: [
          { kind: 'ConfigMap', name: 'other' },
          { kind: 'ReplicaSet', name: 'web-7d4b9c', controller: true },
        ],
        managedFields: [{ manager: 'kubelet' }],
      },
      spec: { nodeName: 'node-1.example', containers: [{ name: 'web' }] },
      status: {
        phase: 'Running',
        startTime: '2026-11-26T12:00:01Z',
        podIP: '10.0.0.1',
        podIPs: [{ ip: '10.0.0.1' }, { ip: '2001:DB8:0::1' }],
        containerStatuses: [{ containerID: `containerd://${id}` }],
        initContainerStatuses: [{ containerID: 'cri-o://b1' }, { containerID: '' }, {}],
        ephemeralContainerStatuses: [{ containerID: 'docker://c1' }],
      },
    })
    expect(reading).toEqual({
      invalidFields: 0,
      nodeName: 'node-1.example',
      pod: {
        uid: '11111111-2222-3333-4444-555555555555',
        cgroupUid: '11111111-2222-3333-4444-555555555555',
        namespace: 'shop',
        name: 'web-7d4b9c-x2x4z',
        phase: 'Running',
        hostNetwork: false,
        addresses: ['10.0.0.1', '2001:db8::1', '192.168.7.1', 'fd00::7'],
        containerIds: [id, 'b1', 'c1'],
        workload: { name: 'web', type: 'deployment' },
        createdAtMs: Date.UTC(2026, 10, 26, 12),
        startedAtMs: Date.UTC(2026, 10, 26, 12, 0, 1),
        deletionAtMs: Date.UTC(2026, 10, 26, 13, 0, 30),
      },
    })
  })

  it('of the host network has no address of its own, nor has one that has ended', () => {
    expect(readPod(podOf(1, { spec: { hostNetwork: true } }))?.pod).toMatchObject({ hostNetwork: true, addresses: [] })
    expect(readPod(podOf(1, { status: { phase: 'Succeeded' } }))?.pod.addresses).toEqual([])
    expect(readPod(podOf(1, { status: { phase: 'Failed' } }))?.pod.addresses).toEqual([])
  })

  it('of a file on the node has another UID in its cgroups', () => {
    const hash = '0123456789abcdef0123456789abcdef'
    const metadata = {
      annotations: { 'kubernetes.io/config.hash': hash },
      ownerReferences: [{ kind: 'Node', name: 'node-1', controller: true }],
    }
    expect(readPod(podOf(1, { metadata }))?.pod).toMatchObject({
      uid: 'uid-1',
      cgroupUid: hash,
      workload: { name: 'web-1', type: 'staticpod' },
    })
    // anybody may write an annotation
    expect(readPod(podOf(1, { metadata: { annotations: metadata.annotations } }))?.pod.cgroupUid).toBe('uid-1')
  })

  it('of a file on the node, as the kubelet itself has it, is known by its UID', () => {
    const uid = '0123456789abcdef0123456789abcdef'
    expect(readPod(podOf(1, { metadata: { uid } }))?.pod).toMatchObject({ cgroupUid: uid, workload: { type: 'staticpod' } })
  })

  it.each<[string, object]>([
    ['name', { name: 'Web' }],
    ['name', { name: 'a/b' }],
    ['name', { name: '' }],
    ['name', { name: 'a..b' }],
    ['name', { name: 'a\n' }],
    ['name', { name: '\u001b[2Jx' }],
    ['name', { name: 'a'.repeat(254) }],
    ['name', { name: 7 }],
    ['namespace', { namespace: 'a.b' }],
    ['namespace', { namespace: 'a'.repeat(64) }],
    ['namespace', { namespace: '@netns' }],
    ['uid', { uid: '../x' }],
    ['uid', { uid: undefined }],
  ])('is no pod with a wrong %s: %j', (_, metadata) => expect(readPod(podOf(1, { metadata }))).toBeUndefined())

  it('takes names as long as they may be', () => {
    const names = { name: Array(127).fill('a').join('.'), namespace: 'a'.repeat(63) }
    expect(readPod(podOf(1, { metadata: names }))?.pod).toMatchObject(names)
  })

  it.each<[string, Parameters<typeof podOf>[1], object]>([
    ['address', { status: { podIPs: [{ ip: '10.0.0.256' }, { ip: '10.0.0.2' }] } }, { addresses: ['10.0.0.2'] }],
    ['phase', { status: { phase: 'Running\n' } }, { phase: 'Unknown' }],
    ['start', { status: { startTime: 'yesterday' } }, { startedAtMs: undefined }],
    ['container', { status: { containerStatuses: [{ containerID: 'containerd://../x' }] } }, { containerIds: [] }],
    ['owner', { metadata: { ownerReferences: [{ kind: 'Job', name: 'a"b', controller: true }] } }, { workload: undefined }],
    ['owner', { metadata: { ownerReferences: [{ kind: 'a b', name: 'a', controller: true }] } }, { workload: undefined }],
    ['label', { metadata: { labels: { 'pod-template-hash': '{}' } } }, { workload: { name: 'web-1', type: 'barepod' } }],
    ['annotation', { metadata: { annotations: { 'k8s.v1.cni.cncf.io/network-status': '{' } } }, { addresses: ['10.0.0.1'] }],
  ])('leaves a wrong %s out and counts it', (_, more, expected) => {
    const reading = readPod(podOf(1, more))
    expect(reading?.pod).toMatchObject(expected)
    expect(reading?.invalidFields).toBe(1)
  })

  it('takes anything for what it is', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), fc.jsonValue(), (metadata, spec, status) => {
        expect(readPod({ metadata, spec, status })).toBeUndefined()
        const more = { ...podOf(1), status: status as object }
        expect(readPod(more)?.pod.name).toBe('web-1')
        const labelled = podOf(1, { metadata: { labels: metadata, annotations: spec, ownerReferences: status } })
        expect(readPod(labelled)?.pod.uid).toBe('uid-1')
      }),
    )
  })
})
