import fs from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type ControlGroup, parseProcPidCgroup } from '../../parsers/proc-pid-cgroup.ts'
import { expectOnlyParseErrors, parseErrorOf, placeOf } from './proc-recorded.ts'

const folder = path.resolve(import.meta.dirname, '../fixtures/cgroups')
const recorded = Object.fromEntries(
  fs
    .readdirSync(folder)
    .filter((file) => file.endsWith('.txt'))
    .map((file) => [path.basename(file, '.txt'), fs.readFileSync(path.join(folder, file), 'latin1')]),
)
const parse = (text: string): ControlGroup | undefined => parseProcPidCgroup(text, '/proc/7/cgroup')
const parsePath = (path: string): ControlGroup | undefined => parse(`0::${path}\n`)

const uid = '3f0c5a7e-1b2d-4c6f-9e80-a1b2c3d4e5f6'
const uidOfSlice = uid.replaceAll('-', '_')
const otherUid = '00000000-1111-2222-3333-444444444444'
const fileUid = '5d1c2f3b4a596877868594a3b2c1d0e9' // of a static pod
const id = '0123456789abcdef'.repeat(4)
const otherId = 'fedcba9876543210'.repeat(4)
const burstable = `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${uidOfSlice}.slice`
const ofKubelet = `/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod${uidOfSlice}.slice`

describe('recorded and handmade texts', () => {
  it.each([
    ['hybrid-cgroupfs', undefined],
    ['hybrid-systemd', 'containerd'],
    ['hybrid-other-cgroup-namespace', 'containerd'],
    ['hybrid-zombie', undefined],
    ['v1-containerd-colons', 'containerd'],
    ['v1-kind', undefined],
  ])('%s', (name, runtime) => {
    expect(parse(recorded[name]!)).toEqual({ podUid: uid, containerId: id, runtime, unit: undefined })
  })
})

describe('pods', () => {
  it.each([
    ["systemd's driver, containerd", `${burstable}/cri-containerd-${id}.scope`, uid, 'containerd'],
    ["systemd's driver, CRI-O", `${burstable}/crio-${id}.scope`, uid, 'crio'],
    ["systemd's driver, CRI-O with crun", `${burstable}/crio-${id}.scope/container`, uid, 'crio'],
    ["systemd's driver, Docker", `${burstable}/docker-${id}.scope`, uid, 'docker'],
    ["systemd's driver, guaranteed", `/kubepods.slice/kubepods-pod${uidOfSlice}.slice/crio-${id}.scope`, uid, 'crio'],
    ["systemd's driver, static", `/kubepods.slice/kubepods-pod${fileUid}.slice/crio-${id}.scope`, fileUid, 'crio'],
    ['cgroupfs', `/kubepods/burstable/pod${uid}/${id}`, uid, undefined],
    ['cgroupfs, guaranteed', `/kubepods/pod${uid}/${id}`, uid, undefined],
    ['cgroupfs, static', `/kubepods/besteffort/pod${fileUid}/${id}`, fileUid, undefined],
    ['cgroupfs, static with a uid of its own', `/kubepods/besteffort/podMy_own-1/${id}`, 'My_own-1', undefined],
    ['cgroupfs, CRI-O', `/kubepods/burstable/pod${uid}/crio-${id}`, uid, 'crio'],
    ['Kata Containers', `/kubepods/burstable/pod${uid}/kata_${id}`, uid, 'kata'],
    ['a group of the container inside', `${burstable}/cri-containerd-${id}.scope/system.slice/sshd.service`, uid, 'containerd'],
    ['kind, cgroupfs', `/docker/${otherId}/kubelet/kubepods/besteffort/pod${uid}/${id}`, uid, undefined],
    ["kind, systemd's driver", `/docker/${otherId}${ofKubelet}/cri-containerd-${id}.scope`, uid, 'containerd'],
    ['kind as its node sees it', `${ofKubelet}/cri-containerd-${id}.scope`, uid, 'containerd'],
    ['kind on Podman', `/machine.slice/libpod-${otherId}.scope/container${ofKubelet}/crio-${id}.scope`, uid, 'crio'],
    ['k3s as a service', `/system.slice/k3s.service${burstable}/cri-containerd-${id}.scope`, uid, 'containerd'],
    ['microk8s', `/kubepods/besteffort/pod${uid}/${id}`, uid, undefined],
    [
      'of another cgroup namespace, systemd',
      `/../../kubepods-besteffort-pod${uidOfSlice}.slice/docker-${id}.scope`,
      uid,
      'docker',
    ],
    ['of another cgroup namespace, cgroupfs', `/../../pod${uid}/${id}`, uid, undefined],
    ['of another cgroup namespace, cgroupfs, static', `/../../../besteffort/pod${fileUid}/${id}`, fileUid, undefined],
  ])('%s', (_, path, podUid, runtime) => {
    expect(parsePath(path)).toEqual({ podUid, containerId: id, runtime, unit: undefined })
    expect(parse(`12:devices:/\n4:memory:${path}\n0::/system.slice/containerd.service\n`)).toMatchObject({ podUid })
  })

  it.each([
    ['the pod itself', burstable],
    ['conmon', `${burstable}/crio-conmon-${id}.scope`],
    ['conmon, cgroupfs', `/kubepods/besteffort/pod${uid}/crio-conmon-${id}`],
    ['a shim', `/kubepods/besteffort/pod${uid}/shim`],
  ])('without a container: %s', (_, path) => {
    expect(parsePath(path)).toEqual({ podUid: uid, containerId: undefined, runtime: undefined, unit: undefined })
  })
  it('believes the outermost name, which no container can choose', () => {
    const inner = `kubepods/burstable/pod${otherUid}/${otherId}`
    expect(parsePath(`/kubepods/burstable/pod${uid}/${id}/${inner}`)).toMatchObject({ podUid: uid, containerId: id })
    expect(parsePath(`/../../pod${uid}/${id}/${inner}`)).toMatchObject({ podUid: uid, containerId: id })
  })
  it('takes other groups for pods neither here nor in another cgroup namespace', () => {
    expect(parsePath(`/pod${uid}/${id}`)).toMatchObject({ podUid: undefined, containerId: id })
    expect(parsePath('/kubepods.slice/kubepods-burstable.slice')).toBeUndefined()
    expect(parsePath('/../../system.slice/podman.service')).toMatchObject({ podUid: undefined, unit: 'podman.service' })
    expect(parsePath(`/../cri-containerd-${id}.scope`)).toMatchObject({ podUid: undefined, containerId: id })
  })
})

describe('without Kubernetes', () => {
  it.each([
    [`/docker/${id}`, id, 'docker'],
    [`/system.slice/docker-${id}.scope`, id, 'docker'],
    [`/system.slice/docker-${id}.scope/init.scope`, id, 'docker'],
    [`/docker/${id}/docker/${otherId}`, id, 'docker'],
    [`/machine.slice/libpod-${id}.scope/container`, id, 'podman'],
    [`/libpod_parent/libpod-${id}`, id, 'podman'],
    [`/machine.slice/machine-libpod_pod_${otherId}.slice/libpod-${id}.scope`, id, 'podman'],
    [`/user.slice/user-1000.slice/user@1000.service/app.slice/redis.service/libpod-payload-${id}`, id, 'podman'],
    [`/ecs/my-cluster/my-task/${id}`, id, undefined],
    ['/lxc/web', 'web', 'lxc'],
    ['/lxc.payload.web/system.slice/ssh.service', 'web', 'lxc'],
    ['/machine.slice/systemd-nspawn@web.service/payload', 'web', 'nspawn'],
    ['/machine.slice/machine-my\\x2dweb.scope', 'my-web', 'nspawn'],
  ])('%s', (path, containerId, runtime) => {
    expect(parsePath(path)).toEqual({ podUid: undefined, containerId, runtime, unit: undefined })
  })

  it.each([
    ['/system.slice/nginx.service', 'nginx.service'],
    ['/user.slice/user-1000.slice/user@1000.service/app.slice/redis.service', 'user@1000.service'],
    ['/user.slice/user-1000.slice/session-3.scope', 'session-3.scope'],
    ['/init.scope', 'init.scope'],
    ['/system.slice/_cpu.service', 'cpu.service'],
    [`/machine.slice/libpod-conmon-${id}.scope`, `libpod-conmon-${id}.scope`],
    ['/machine.slice/machine-qemu\\x2d1\\x2dweb.scope/libvirt', 'machine-qemu\\x2d1\\x2dweb.scope'],
  ])('%s', (path, unit) => {
    expect(parsePath(path)).toEqual({ podUid: undefined, containerId: undefined, runtime: undefined, unit })
  })

  it.each(['/', '/..', '/lxc', '/lxc.monitor.web', '/kata_overhead', '/docker', '/docker/web', '/a.slice', '//', '/:', '/::'])(
    'nobody: %s',
    (path) => expect(parsePath(path)).toBeUndefined(),
  )
})

it('believes what knows more, then version 2', () => {
  const pod = `/kubepods/burstable/pod${uid}/${id}`
  expect(parse(`2:cpu:/system.slice/a.service\n1:memory:${pod}\n0::/docker/${otherId}\n`)).toMatchObject({ podUid: uid })
  expect(parse(`1:memory:/kubepods/burstable/pod${otherUid}/${id}\n0::${pod}\n`)).toMatchObject({ podUid: uid })
  expect(parse(`2:cpu:${pod}\n1:memory:/kubepods/burstable/pod${otherUid}/${id}\n0::/\n`)).toMatchObject({ podUid: uid })
})

it('says what is wrong, and where', () => {
  expect(parseErrorOf(() => parse('0\n')).message).toBe(
    '/proc/7/cgroup: line 1, column 1: expected hierarchy:controllers:path, got "0"',
  )
  expect(placeOf(() => parse(''))).toEqual([1, 1])
  expect(placeOf(() => parse('0::/a'))).toEqual([1, 6])
  expect(placeOf(() => parse('1:cpu:/\nx::/a\n'))).toEqual([2, 1])
  expect(placeOf(() => parse('1:cpu\n'))).toEqual([1, 3])
  expect(placeOf(() => parse('1:c p:/\n'))).toEqual([1, 3])
  expect(placeOf(() => parse('1:cpu:a\n'))).toEqual([1, 7])
  expect(placeOf(() => parse('1:cpu:\n'))).toEqual([1, 7])
})

const hex = (length: number) => fc.array(fc.constantFrom(...'0123456789abcdef'), { minLength: length, maxLength: length })
const aContainer = hex(64).map((digits) => digits.join(''))
const aPod = fc.oneof(
  fc.uuid(),
  hex(32).map((digits) => digits.join('')),
)

it('reads what kubelets and runtimes write, wherever their tree begins', () => {
  const prefix = fc.constantFrom('', '/..', '/../..', `/docker/${otherId}/kubelet`, '/system.slice/k3s.service', '/my-root')
  const kind = fc.constantFrom('', 'burstable', 'besteffort')
  const suffix = fc.constantFrom('', '/container', '/init.scope', ` (deleted)`, `/kubepods/pod${otherUid}/${otherId}`)
  fc.assert(
    fc.property(aPod, aContainer, prefix, kind, suffix, fc.boolean(), (podUid, containerId, prefix, kind, suffix, bySystemd) => {
      const escaped = podUid.replaceAll('-', '_')
      const path = bySystemd
        ? `/kubepods.slice${kind && `/kubepods-${kind}.slice`}/kubepods-${kind && `${kind}-`}pod${escaped}.slice/crio-${containerId}.scope`
        : `/kubepods${kind && `/${kind}`}/pod${podUid}/${containerId}`
      expect(parsePath(`${prefix}${path}${suffix}`)).toMatchObject({ podUid, containerId })
    }),
  )
})
it('takes any path', () => {
  const word = fc.oneof(
    fc.constantFrom(
      'kubepods',
      'kubepods-pod',
      '.slice',
      'pod',
      '-',
      ':',
      '_',
      '..',
      'lxc',
      'docker',
      id,
      uid,
      '.scope',
      '\\x2d',
    ),
    fc.string({ maxLength: 5 }),
  )
  const segment = fc.array(word, { maxLength: 5 }).map((words) => words.join('').replaceAll('\n', ''))
  fc.assert(
    fc.property(fc.array(segment, { minLength: 1, maxLength: 8 }), (segments) => {
      const group = parsePath(`/${segments.join('/')}`)
      if (group !== undefined) expect(group.podUid ?? group.containerId ?? group.unit).toMatch(/./s)
    }),
  )
})
it('takes long names in time', () => {
  for (const name of ['kubepods-pod', 'kubepods-', 'a-', '0123', '\\x2d', 'lxc.payload.', '../', 'pod/', 'machine-']) {
    const startMs = performance.now()
    parsePath(`/${name.repeat(50_000)}`)
    expect(performance.now() - startMs).toBeLessThan(1000)
  }
})
it('throws nothing but ParseErrors', () => expectOnlyParseErrors(parseProcPidCgroup, Object.values(recorded)))
