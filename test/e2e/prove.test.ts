import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { ProveReport } from '../../agent/prove/prove.ts'
import { expectAllExact, expectProven } from '../truth/events.ts'
import { requireRoot } from '../truth/topology.ts'
import { asNobody, findReadable } from './nobody.ts'

/** Inodes of those that a process, a file or a mount keeps. */
const listNamespaces = (): string[] =>
  spawnSync('lsns', ['-t', 'net', '-n', '-o', 'NS'], { encoding: 'utf8' }).stdout.trim().split(/\s+/)
const countNamespaces = (): number => listNamespaces().length

requireRoot('netvitals prove', () => {
  let main: string
  let remove: () => void
  beforeAll(() => {
    ;({ main, remove } = findReadable())
  })
  afterAll(() => remove?.())

  const run = (...[command = '', ...words]: readonly string[]) => {
    const { status, stdout, stderr } = spawnSync(command, words, { encoding: 'utf8', env: { PATH: process.env.PATH } })
    return { status, stdout, stderr }
  }
  const withCapabilities = (capabilities: readonly string[], ...words: readonly string[]) =>
    run(...asNobody(...capabilities), process.execPath, main, 'prove', ...words)

  it('counts exactly what it causes, and nothing is left behind', () => {
    const before = countNamespaces()
    const { status, stdout, stderr } = run(process.execPath, main, 'prove')
    expect(stderr).toBe('')
    expect(stdout).toMatch(/caused 100, counted 100 +connects refused +tracepoint sock:inet_sock_set_state/)
    expectProven(stdout)
    expect(stdout).toContain(`Linux ${os.release()}`)
    expect(status).toBe(0)
    expect(countNamespaces()).toBe(before)
  })

  it('needs the rights of the tier full, a root that cannot be written to, and nothing else', () => {
    const rights = ['sys_admin', 'net_admin', 'bpf', 'perfmon']
    const readOnly = 'mount --rbind / /mnt && mount -o remount,bind,ro /mnt && mount -t proc -o ro proc /mnt/proc'
    const inside = ['/usr/bin/env', '-i', ...asNobody(...rights), process.execPath, main, 'prove', '-o', 'json']
    const script = `${readOnly} && exec chroot /mnt ${inside.join(' ')}`
    const { status, stdout, stderr } = run('unshare', '--mount', 'sh', '-c', script)
    expect(stderr).toBe('')
    const report: ProveReport = JSON.parse(stdout)
    expectAllExact(report)
    expect(report).toMatchObject({ outcome: 'exact', missing: [], families: ['ipv4', 'ipv6'] })
    expect(status).toBe(0)
  })

  it.each([
    { rights: [], lacks: 'CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_BPF, CAP_PERFMON' },
    { rights: ['net_admin', 'bpf', 'perfmon'], lacks: 'CAP_SYS_ADMIN' },
    { rights: ['sys_admin'], lacks: 'CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON' },
  ])('says with $rights what is missing', ({ rights, lacks }) => {
    const { status, stdout, stderr } = withCapabilities(rights)
    expect(stderr).toBe(
      `netvitals: nothing was proven: needs CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_BPF, CAP_PERFMON; this process is without ${lacks}: run it as root, or in a pod of the chart with tier full\n`,
    )
    expect(stdout).toBe('')
    expect(status).toBe(1)
    const json = withCapabilities(rights, '-o', 'json')
    expect(JSON.parse(json.stdout)).toMatchObject({ schemaVersion: 1, outcome: 'failed', signals: [] })
    expect(json.status).toBe(1)
  })

  it('leaves nothing behind when it is ended in the midst of it', async () => {
    const child = spawn(process.execPath, [main, 'prove'])
    const ended = once(child, 'close')
    const own = listNamespaces()
    const findHeld = (): string[] => {
      const targets = fs.readdirSync(`/proc/${child.pid}/fd`).map((fd) => readLink(`/proc/${child.pid}/fd/${fd}`))
      return targets.flatMap((target) => /^net:\[(\d+)\]$/.exec(target)?.[1] ?? []).filter((inode) => !own.includes(inode))
    }
    let held: readonly string[] = []
    await expect.poll(() => (held = findHeld()).length, { timeout: 5000, interval: 20 }).toBeGreaterThan(5)
    child.kill('SIGINT')
    await ended
    expect(listNamespaces().filter((inode) => held.includes(inode))).toEqual([])
  })
})

function readLink(file: string): string {
  try {
    return fs.readlinkSync(file)
  } catch {
    return '' // closed meanwhile
  }
}
