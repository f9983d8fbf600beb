import { execFileSync, spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, vi } from 'vitest'
import { parse } from 'yaml'
import { FaultProcess, type Holder, holdFault, runFault } from '../truth/topology.ts'

export const root = path.resolve(import.meta.dirname, '../..')
const { CLUSTER = '', HELM = '', IMAGE = '', IMAGE_TAG = '' } = process.env
if (CLUSTER === '') throw new Error('there is no cluster: make cluster-test')

/** Where the agent is installed, and the release's name. */
export const agentNamespace = 'netvitals'
/** faults.mjs in the pods that tests make. */
export const faultsFile = '/opt/netvitals/test/truth/faults.mjs'
/** What those pods are made of. */
export const faultsContainer = {
  name: 'faults',
  image: `${IMAGE}:${IMAGE_TAG}`,
  command: ['node', '-e', 'setInterval(() => {}, 1e9)'],
  volumeMounts: [{ name: 'faults', mountPath: faultsFile, subPath: 'faults.mjs' }],
}

/** Throws with what it printed if it fails. */
export function kubectl(...parameters: readonly string[]): string {
  return kubectlWith('', ...parameters)
}

function kubectlWith(input: string, ...parameters: readonly string[]): string {
  return execFileSync(CLUSTER, ['kubectl', ...parameters], { input, encoding: 'utf8', stdio: 'pipe', maxBuffer: 1 << 26 })
}

/** Returns what kubectl printed. */
export function apply(resources: readonly object[], ...options: readonly string[]): string {
  const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items: resources })
  return kubectlWith(list, 'apply', ...options, '-f', '-')
}

export function remove(...what: readonly string[]): void {
  kubectl('delete', '--ignore-not-found', '--wait', '--timeout=60s', ...what)
}

const tiersFile = path.join(root, 'helm/netvitals/tiers.yaml')
export const tiers: readonly { readonly name: string; readonly adds: Readonly<Record<string, string>> }[] = parse(
  fs.readFileSync(tiersFile, 'utf8'),
)

/** The values that make the chart take the image built here. */
export const imageValues: readonly string[] = [`--set=image.repository=${IMAGE}`, `--set-string=image.tag=${IMAGE_TAG}`]

/** Throws with what it printed if it fails. */
export function helm(...parameters: readonly string[]): string {
  const { status, output } = tryHelm(...parameters)
  if (status !== 0) throw new Error(`helm ${parameters.join(' ')}: ${output}`)
  return output
}

export function tryHelm(...parameters: readonly string[]): { readonly status: number | null; readonly output: string } {
  const { status, stdout, stderr } = spawnSync(HELM, parameters, { cwd: root, encoding: 'utf8' })
  return { status, output: stdout + stderr }
}

export const inAgents = ['--namespace', agentNamespace]
export const waiting = ['--wait', '--timeout=120s']

/** Gives the release these values, and no others but the image; installs it if there is none. */
export function upgrade(...settings: readonly string[]): void {
  const install = ['upgrade', '--install', agentNamespace, 'helm/netvitals', ...inAgents, '--create-namespace']
  helm(...install, '--reset-values', ...imageValues, ...settings, ...waiting)
  waitForAgent()
}

/** Helm does not wait for a DaemonSet of one pod, of which one may be missing. */
export function waitForAgent(): void {
  kubectl('-n', agentNamespace, 'rollout', 'status', 'daemonset/netvitals', '--timeout=90s')
}

/** Installs the chart, or changes its values, and waits until the agent of these values answers. */
export function installAgent(values: Readonly<Record<string, string | readonly number[]>>): void {
  upgrade(...Object.entries(values).map(([name, value]) => `--set-json=${name}=${JSON.stringify(value)}`))
}

/** What the cluster has of the agent, but for events, which end by themselves. */
function listOwn(): readonly string[] {
  const kinds = kubectl('api-resources', '--verbs=list', '-o', 'name').trim().split('\n')
  const asked = kinds.filter((kind) => !kind.startsWith('events') && kind !== 'componentstatuses').join(',')
  const lines = 'jsonpath={range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name}{"\\n"}{end}'
  const all = kubectl('get', asked, '--all-namespaces', '-o', lines).trim().split('\n')
  return all.filter((resource) => resource.includes('netvitals')).sort()
}

/** What the installation leaves is what every namespace has. */
export async function expectUninstalled(): Promise<void> {
  helm('uninstall', agentNamespace, ...inAgents, ...waiting)
  const left = ['ConfigMap netvitals/kube-root-ca.crt', 'Namespace /netvitals', 'ServiceAccount netvitals/default']
  await expect.poll(listOwn, { timeout: 30_000, interval: 1000 }).toEqual(left)
}

export function removeAgent(): void {
  remove('namespace', agentNamespace)
  remove('clusterrole,clusterrolebinding', '-l', 'app.kubernetes.io/name=netvitals')
}

/** What the agent of the node, which is this machine, answers. */
export async function ask(url: string): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:10477${url}`, { headers: { connection: 'close' } })
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${await answer.text()}`)
  return answer.text()
}

/** The agent's pod, the only one. */
export function agentPod(): Readonly<Record<'name' | 'uid' | 'ip' | 'restarts', string>> {
  const fields = '{.metadata.name} {.metadata.uid} {.status.hostIP} {.status.containerStatuses[0].restartCount}'
  const lines = `jsonpath={range .items[*]}${fields}{"\\n"}{end}`
  const pods = kubectl('-n', agentNamespace, 'get', 'pods', '-l', 'app.kubernetes.io/name=netvitals', '-o', lines)
  const [[name = '', uid = '', ip = '', restarts = ''] = [], ...others] = pods
    .trim()
    .split('\n')
    .map((line) => line.split(' '))
  expect(others).toEqual([])
  return { name, uid, ip, restarts }
}

/** The processes of this machine that are agents; not those that read packets for them. */
export function agentPids(): readonly number[] {
  const isAgent = (pid: string): boolean => {
    try {
      return /\/agent\/main\.js\0serve\0/.test(fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8'))
    } catch {
      return false // it has ended
    }
  }
  const pids = fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  return pids.filter(isAgent).map(Number)
}

/** A line of /metrics; histograms and summaries have one for each of their parts. */
export interface Line {
  /** Without `netvitals_`. */
  readonly metric: string
  readonly namespace: string | undefined
  readonly pod: string | undefined
  /** The others, as they are written. */
  readonly labels: string
  readonly value: number
}

export async function readMetrics(): Promise<readonly Line[]> {
  const text = await ask('/metrics')
  return [...text.matchAll(/^netvitals_(\w+?)(?:\{(.*)\})? (\S+)$/gm)].map(([, metric = '', all = '', value]) => {
    const [, namespace, pod, labels = all] = /^namespace="([^"]*)",pod="([^"]*)",?(.*)$/.exec(all) ?? []
    return { metric, namespace, pod, labels, value: Number(value) }
  })
}

/** After this long the agent sweeps again for whoever asks. */
export const sweepMs = 1500

export type Values = Readonly<Record<string, number>>

/** What has come since, of whatever has changed. */
export function changesOf(before: Values, after: Values): Values {
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])]
  return Object.fromEntries(keys.map((key) => [key, (after[key] ?? 0) - (before[key] ?? 0)]).filter(([, by]) => by !== 0))
}

/** Does something that returns what has to rise by how much, and expects that this does, and nothing else. */
export async function expectChanges(read: () => Promise<Values>, act: () => Promise<Values>): Promise<void> {
  await sleep(sweepMs) // what was done before is in it
  const before = await read()
  const expected = await act()
  const readChanges = async (): Promise<Values> => changesOf(before, await read())
  await expect.poll(readChanges, { timeout: 15_000, interval: 500 }).toEqual(expected)
  await sleep(sweepMs)
  expect(await readChanges()).toEqual(expected)
}

/** Of the drops that `sendToNobody` causes. */
export const droppedLabels = { reason: 'no_socket', category: 'no_socket', protocol: 'udp', direction: 'in' }
/** Sends datagrams to a port where nobody listens; the pod that gets them drops them. */
export const sendToNobody = (from: Pod, to: Pod, count: number): Promise<unknown> =>
  from.run('udp-send', { address: to.ip, port: 7000, count })

/** Expects that what `sendToNobody` causes is counted, and nothing else of UDP in that pod. */
export async function expectCounted(from: Pod, to: Pod, count: number): Promise<void> {
  const readDrops = async (): Promise<Values> => {
    const lines = (await readMetrics()).filter(({ metric, pod }) => metric === 'dropped_packets_total' && pod === to.name)
    const ofUdp = lines.filter(({ labels }) => labels.includes('protocol="udp"'))
    return Object.fromEntries(ofUdp.map(({ labels, value }) => [labels, value]))
  }
  await expectChanges(readDrops, async () => {
    await sendToNobody(from, to, count)
    const labels = Object.entries(droppedLabels).map(([name, value]) => `${name}="${value}"`)
    return { [labels.join(',')]: count }
  })
}

export interface Pod {
  readonly namespace: string
  readonly name: string
  readonly ip: string
  /** Runs a command inside. Throws if it fails. Returns its output. */
  exec(...command: readonly string[]): string
  /** Does a verb of faults.mjs inside, by `kubectl exec`, and returns what it printed. */
  run<Result = Record<string, unknown>>(verb: string, args?: object): Promise<Result>
  /** Starts a verb that holds something inside and waits until it does. */
  hold(verb: string, args?: object): Promise<Holder>
}

type Kind = 'Pod' | 'Deployment' | 'StatefulSet' | 'DaemonSet' | 'Job' | 'CronJob'

/** An empty namespace that pods with faults.mjs can be made in. */
export function createNamespace(namespace: string): void {
  remove('namespace', namespace)
  const faults = fs.readFileSync(path.join(root, 'test/truth/faults.mjs'), 'utf8')
  apply([
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } },
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'faults', namespace }, data: { 'faults.mjs': faults } },
  ])
}

/** Makes a workload of one pod, without waiting for it. The pod has the label `app` with the workload's name. */
export function createWorkload(namespace: string, kind: Kind, name: string, spec: object = {}): void {
  const metadata = { name, namespace, labels: { app: name } }
  const podSpec = {
    terminationGracePeriodSeconds: 0,
    enableServiceLinks: false,
    automountServiceAccountToken: false,
    containers: [faultsContainer],
    volumes: [{ name: 'faults', configMap: { name: 'faults' } }],
    ...spec,
  }
  const template = { metadata: { labels: { app: name } }, spec: podSpec }
  const selector = { matchLabels: { app: name } }
  const job = { template: { ...template, spec: { ...podSpec, restartPolicy: 'Never' } } }
  const specs: Readonly<Record<Kind, object>> = {
    Pod: podSpec,
    Deployment: { selector, template },
    StatefulSet: { selector, template, serviceName: name },
    DaemonSet: { selector, template },
    Job: job,
    CronJob: { schedule: '* * * * *', jobTemplate: { spec: job } },
  }
  const apiVersion = kind === 'Pod' ? 'v1' : kind.endsWith('Job') ? 'batch/v1' : 'apps/v1'
  apply([{ apiVersion, kind, metadata, spec: specs[kind] }])
}

/** Waits until the workload's pod has the named field, such as `.status.podIP`, and returns it with the pod's name. */
export async function podField(namespace: string, app: string, field: string): Promise<readonly [name: string, value: string]> {
  const jsonpath = `jsonpath={range .items[*]}{.metadata.name} {${field}}{"\\n"}{end}`
  for (const endsMs = Date.now() + 60_000; Date.now() < endsMs; await sleep(50)) {
    const [name, value] = kubectl('-n', namespace, 'get', 'pods', '-l', `app=${app}`, '-o', jsonpath).split('\n')[0]!.split(' ')
    if (name !== undefined && value) return [name, value]
  }
  throw new Error(`no pod of ${namespace}/${app} had ${field} after a minute`)
}

/** Waits until the workload's pod runs. */
export async function runningPod(namespace: string, app: string): Promise<Pod> {
  const [name, ip] = await podField(namespace, app, '.status.podIP')
  kubectl('-n', namespace, 'wait', '--for=condition=Ready', `pod/${name}`, '--timeout=60s')
  const start = (verb: string, args: object): FaultProcess => {
    const command = ['kubectl', '-n', namespace, 'exec', '-i', name, '--', 'node', faultsFile, verb, JSON.stringify(args)]
    return new FaultProcess(spawn(CLUSTER, command, { stdio: ['pipe', 'pipe', 'pipe'] }), `${verb} in ${namespace}/${name}`)
  }
  return {
    namespace,
    name,
    ip,
    exec: (...command) => kubectl('-n', namespace, 'exec', name, '--', ...command),
    run: (verb, args = {}) => runFault(start(verb, args)),
    hold: (verb, args = {}) => holdFault(start(verb, args)),
  }
}

/** A namespace with these workloads of one pod each, which run. */
export async function createPods<Name extends string>(
  namespace: string,
  workloads: Readonly<Record<Name, Kind>>,
): Promise<Readonly<Record<Name, Pod>>> {
  createNamespace(namespace)
  const all = Object.entries<Kind>(workloads)
  for (const [name, kind] of all) createWorkload(namespace, kind, name)
  const pods = await Promise.all(all.map(async ([name]) => [name, await runningPod(namespace, name)]))
  return Object.fromEntries(pods)
}

/** Makes a Service of port 80 and waits until packets to it find these pods. Returns its address. */
export async function expose(
  name: string,
  selector: string,
  port: number,
  pods: readonly Pod[],
  protocol = 'TCP',
): Promise<string> {
  const { namespace, name: first } = pods[0]!
  const ports = [`--protocol=${protocol}`, '--port=80', `--target-port=${port}`]
  kubectl('-n', namespace, 'expose', 'pod', first, `--name=${name}`, `--selector=${selector}`, ...ports)
  for (const pod of pods) await waitForWay(pod, port)
  return kubectl('-n', namespace, 'get', 'service', name, '-o', 'jsonpath={.spec.clusterIP}')
}

/** Waits until packets to a Service of the pod find it. */
export async function waitForWay({ ip }: Pick<Pod, 'ip'>, port: number): Promise<void> {
  const readRules = (): string => execFileSync('iptables', ['-w', '-t', 'nat', '-S'], { encoding: 'utf8', maxBuffer: 1 << 26 })
  const isThere = (): void => expect(readRules()).toContain(`--to-destination ${ip}:${port}`)
  await vi.waitFor(isThere, { timeout: 20_000, interval: 200 })
}
