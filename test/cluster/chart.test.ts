import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { CheckReport } from '../../agent/check.ts'
import { expectProven } from '../truth/events.ts'
import { retry } from '../truth/left-out.ts'
import {
  agentNamespace,
  agentPids,
  agentPod,
  ask,
  createPods,
  expectCounted,
  expectUninstalled,
  helm,
  imageValues,
  inAgents,
  kubectl,
  type Pod,
  readMetrics,
  remove,
  removeAgent,
  root,
  tryHelm,
  upgrade,
  waitForAgent,
  waiting,
} from './cluster.ts'

const namespace = 'nvh-chart'
const chart = 'helm/netvitals'
/** What a user types, by the chart's README: `helm install` and `helm test`. */
const readme = fs.readFileSync(path.join(root, chart, 'README.md'), 'utf8')
const typed = [...readme.matchAll(/^ {4}helm (.*)$/gm)].map(([, words = '']) => words.split(' '))

describe('the chart', () => {
  let a: Pod
  let b: Pod

  beforeAll(async () => {
    removeAgent()
    ;({ a, b } = await createPods(namespace, { a: 'Deployment', b: 'Deployment' }))
  })
  afterAll(() => {
    removeAgent()
    remove('namespace', namespace)
  })

  it('installs by the command of its README where there is no Prometheus operator, and counts in pods', async () => {
    expect(typed.map(([verb]) => verb)).toEqual(['install', 'test'])
    const notes = helm(...typed[0]!, ...imageValues, ...waiting)
    waitForAgent()
    expect(notes).toContain('this cluster does not know the Prometheus operator: PodMonitor.')
    const lines = await readMetrics()
    for (const { name } of [a, b])
      expect(lines).toContainEqual(expect.objectContaining({ metric: 'tcp_sockets', namespace, pod: name }))
    await expectCounted(a, b, 25)
  })

  it('helm test proves that its numbers are true', { retry }, () => {
    const { status, output } = tryHelm(...typed[1]!)
    expectProven(output)
    expect(output).toMatch(/Phase:\s+Succeeded/)
    expect(status).toBe(0)
    remove('-n', agentNamespace, 'pod', 'netvitals-prove') // which Helm before 4.1 leaves, as the README says
  })

  it('other machines get metrics and whether it is well, and nothing else', async () => {
    const { ip } = agentPod()
    const statusOf = (url: string): string =>
      a.exec('node', '-e', `fetch('http://${ip}:10477${url}').then(({ status }) => console.log(status))`).trim()
    for (const url of ['/metrics', '/healthz', '/readyz']) expect(`${url} ${statusOf(url)}`).toBe(`${url} 200`)
    for (const url of ['/', '/api/v1/check', '/api/v1/edges']) expect(`${url} ${statusOf(url)}`).toBe(`${url} 403`)
    expect(await ask('/')).toContain('<html')
  })

  it('starts the agent again for other settings, and only for them', async () => {
    const isOff = async (): Promise<boolean> => {
      const { sources }: CheckReport = JSON.parse(await ask('/api/v1/check'))
      return sources.find(({ name }) => name === 'proc-softnet')?.outcome !== 'ok'
    }
    const first = agentPod()
    expect(await isOff()).toBe(false)
    upgrade('--set=config.sources.off=proc-softnet')
    const second = agentPod()
    expect(second.uid).not.toBe(first.uid)
    expect(await isOff()).toBe(true)
    upgrade('--set=config.sources.off=proc-softnet', '--set=dashboards.enabled=true')
    expect(agentPod()).toEqual(second)
  })

  it('an agent that is killed comes again and counts on', async () => {
    const { name } = agentPod()
    const pids = agentPids()
    expect(pids).toHaveLength(1)
    process.kill(pids[0]!, 'SIGKILL')
    await expect.poll(() => agentPod().restarts, { timeout: 60_000, interval: 200 }).toBe('1')
    kubectl('-n', agentNamespace, 'wait', '--for=condition=Ready', `pod/${name}`, '--timeout=60s')
    await expectCounted(a, b, 11)
  })

  it('an agent that is asked to stop ends at once, and the next one counts on', async () => {
    const { name, uid } = agentPod()
    const startMs = Date.now()
    kubectl('-n', agentNamespace, 'delete', 'pod', name, '--wait')
    expect(Date.now() - startMs).toBeLessThan(15_000) // after which it would be killed
    waitForAgent()
    expect(agentPod().uid).not.toBe(uid)
    await expectCounted(a, b, 12)
  })

  it('takes the place of the version before, and leaves nothing either', async () => {
    const git = (...parameters: readonly string[]): Buffer => execFileSync('git', parameters, { cwd: root, maxBuffer: 1 << 28 })
    const [commit] = git('log', '-1', '--format=%H', '-G^version:', '--', `${chart}/Chart.yaml`).toString().split('\n')
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'nvh-chart-'))
    try {
      execFileSync('tar', ['-x', '-C', folder], { input: git('archive', `${commit}^`, chart) })
      helm('uninstall', agentNamespace, ...inAgents, '--ignore-not-found', ...waiting)
      helm('install', agentNamespace, `${folder}/${chart}`, ...inAgents, ...imageValues, ...waiting)
      waitForAgent()
      const { uid } = agentPod()
      upgrade()
      expect(agentPod().uid).not.toBe(uid)
      await expectCounted(a, b, 13)
      await expectUninstalled()
    } finally {
      fs.rmSync(folder, { recursive: true })
    }
  })
})
