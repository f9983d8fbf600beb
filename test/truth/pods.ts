import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { PodNames } from '../../agent/identity/identity.ts'
import type { PodRecord } from '../../agent/identity/pod-directory.ts'
import type { Workload } from '../../agent/identity/workload.ts'
import type { Namespace } from './topology.ts'

/** Where control groups can be made: version 2, else a hierarchy of version 1 that limits nothing. */
const mount = ['/sys/fs/cgroup/unified', '/sys/fs/cgroup', '/sys/fs/cgroup/pids'].find((folder) =>
  existsSync(path.join(folder, 'cgroup.procs')),
)

export interface PodOptions {
  readonly uid: string
  readonly namespace: string
  readonly name: string
  readonly workload?: Workload
  readonly addresses?: readonly string[]
}

/** Pods without Kubernetes: processes in control groups as kubelet makes them, and names as the API server gives them. */
export interface Node {
  readonly names: PodNames & { set(uid: string, record: PodRecord | undefined): void }
  /** Makes a network namespace a pod's: a process in it is in the pod's control group. */
  run(namespace: Pick<Namespace, 'name'>, options: PodOptions): Promise<Pod>
  /** In a network namespace of its own, where it has connected to a closed port so many times. */
  runAlone(options: PodOptions, refusedConnects: number): Promise<Pod>
  dispose(): Promise<void>
}
export interface Pod {
  readonly pid: number
  /** Another process of the pod, in a network namespace that it makes for itself. */
  nest(): Promise<void>
  /** Ends its processes; its name stays. */
  stop(): Promise<void>
}

export const recordOf = ({ uid, namespace, name, workload, addresses = [] }: PodOptions): PodRecord => ({
  uid,
  cgroupUid: uid,
  namespace,
  name,
  phase: 'Running',
  hostNetwork: false,
  addresses,
  containerIds: [],
  workload,
  createdAtMs: undefined,
  startedAtMs: undefined,
  deletionAtMs: undefined,
})

/** `folder` is the test file's own in the hierarchy. */
export function createNode(folder: string): Node {
  if (mount === undefined) throw new Error('no hierarchy of control groups at /sys/fs/cgroup')
  const root = path.join(mount, folder)
  const records = new Map<string, PodRecord>()
  const pods = new Set<Pod>()
  const folders = new Set<string>()

  const makeFolder = (...names: string[]): string => {
    let made = root
    for (const name of ['', ...names]) {
      made = path.join(made, name)
      mkdirSync(made, { recursive: true })
      folders.add(made)
    }
    return made
  }

  async function runPod(options: PodOptions, entering: readonly string[]): Promise<Pod> {
    records.set(options.uid, recordOf(options))
    const group = makeFolder('kubepods', 'besteffort', `pod${options.uid}`, options.uid.replaceAll('-', '').padEnd(64, '0'))
    const processes = [await start(group, [...entering, 'sleep', 'infinity'])]
    const pod: Pod = {
      pid: processes[0]!.pid!,
      async nest() {
        processes.push(await start(group, [...entering, 'unshare', '-n', 'sleep', 'infinity']))
      },
      async stop() {
        pods.delete(pod)
        await Promise.all(processes.map(end))
      },
    }
    pods.add(pod)
    return pod
  }

  return {
    names: {
      pods: () => records,
      status: () => ({
        state: 'watching',
        listedOnce: true,
        lastSuccessAtMs: performance.now(),
        lastError: undefined,
        restarts: 0,
        leftOut: { invalidObjects: 0, invalidFields: 0, otherNodes: 0, duplicates: 0, tooMany: 0 },
      }),
      set: (uid, record) => void (record === undefined ? records.delete(uid) : records.set(uid, record)),
    },
    run: (namespace, options) => runPod(options, ['ip', 'netns', 'exec', namespace.name]),
    runAlone(options, refusedConnects) {
      const connect = `for ((i = 0; i < ${refusedConnects}; i++)); do : < /dev/tcp/127.0.0.1/9; done`
      return runPod(options, ['unshare', '-n', 'bash', '-c', `ip link set lo up; ${connect}; exec "$@"`, 'pod'])
    },
    async dispose() {
      await Promise.all([...pods].map((pod) => pod.stop()))
      for (const made of [...folders].reverse()) if (existsSync(made)) rmdirSync(made)
    },
  }
}

/** A process in the control group, that has become `sleep`. */
async function start(group: string, [program = '', ...parameters]: readonly string[]): Promise<ChildProcess> {
  const child = spawn(program, parameters, { stdio: 'ignore' })
  for (let tries = 0; tries < 500; tries++) {
    if (readFileSync(`/proc/${child.pid}/comm`, 'utf8').trim() === 'sleep') {
      writeFileSync(path.join(group, 'cgroup.procs'), String(child.pid))
      return child
    }
    await sleep(10)
  }
  throw new Error('a process does not enter its network namespace')
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGKILL')
  await ended
}
