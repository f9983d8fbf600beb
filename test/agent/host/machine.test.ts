import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { readMachine, readNodeName } from '../../../agent/host/machine.ts'

describe('which cgroups there are', () => {
  let root: string
  beforeEach(() => {
    root = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-machine-'))
  })
  afterEach(() => fs.rmSync(root, { recursive: true }))

  const version1 = '11:memory:/kubepods/pod1/c1\n1:name=systemd:/kubepods/pod1/c1\n'
  const version2 = '0::/kubepods/pod1/c1\n'
  it.each([
    { where: 'version 2', mounted: 'cgroup.controllers', own: version2, cgroup: 'v2' },
    { where: 'version 1', mounted: 'memory/tasks', own: version1, cgroup: 'v1' },
    { where: 'both', mounted: 'unified/cgroup.controllers', own: version1 + version2, cgroup: 'hybrid' },
    { where: 'both, in a container', mounted: 'memory/tasks', own: version1 + version2, cgroup: 'hybrid' },
    { where: 'version 2, in a container without', mounted: 'other', own: version2, cgroup: 'v2' },
    { where: 'none', mounted: undefined, own: version1, cgroup: 'unknown' },
  ])('$where: $cgroup', async ({ mounted, own, cgroup }) => {
    const write = (file: string, text: string): void => {
      fs.mkdirSync(path.dirname(path.join(root, file)), { recursive: true })
      fs.writeFileSync(path.join(root, file), text)
    }
    write('proc/self/cgroup', own)
    if (mounted !== undefined) write(`sys/fs/cgroup/${mounted}`, '')
    expect(await readMachine(root)).toMatchObject({ cgroup })
  })
})

it.each([
  { what: 'as Kubernetes calls it', root: '/', name: 'node-1', expected: 'node-1' },
  { what: 'as the host is', root: '/', name: '', expected: os.hostname() },
  { what: 'a recorded tree as it is called', root: '/srv/tree', name: 'node-1', expected: '/srv/tree' },
])('a node is called $what', ({ root, name, expected }) => {
  expect(readNodeName({ root, 'kubernetes.node': name })).toBe(expected)
})
