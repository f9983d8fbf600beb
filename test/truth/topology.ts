import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { createInterface, type Interface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { describe, expect, type TestOptions, test } from 'vitest'
import type { MapName } from '../../agent/host/traced-maps.ts'
import { createTracer } from '../../agent/host/tracer.ts'
import { findExpectedAbsence } from './expected-absences.ts'
import { retry, retryIfShort } from './left-out.ts'

const faults = fileURLToPath(new URL('faults.mjs', import.meta.url))
const startMs = 10_000
/** Where the kernel runs in an emulator everything takes so many times longer; no test is about time, but some wait. */
export const slowness = Number(process.env.TEST_SLOWNESS ?? 1)

export interface Namespace {
  /** As in `ip netns`. */
  readonly name: string
  readonly ipv4: string
  readonly ipv6: string
  readonly inode: number
}

/** A process of faults.mjs that holds something in its namespace. */
export interface Holder {
  /** What it said when it was ready. */
  readonly ready: Record<string, number>
  act(action: string, args?: object): Promise<Record<string, number>>
  stop(): Promise<void>
}

/** Two network namespaces joined by a veth pair, or by a router between them; the device in each is eth0 (router: eth0 to a, eth1 to b). */
export interface Topology {
  readonly a: Namespace
  readonly b: Namespace
  /** Its addresses are those towards a. */
  readonly router: Namespace | undefined
  /** Does a verb of faults.mjs and returns what it printed. */
  run<Result = Record<string, unknown>>(namespace: Namespace, verb: string, args?: object): Promise<Result>
  /** Starts a verb that holds something and waits until it does. */
  hold(namespace: Namespace, verb: string, args?: object): Promise<Holder>
  /** Runs a command in a namespace: exec(a, 'iptables', '-A', …). Throws if it fails. Returns its output. */
  exec(namespace: Namespace, ...command: readonly string[]): string
  /** Ends every process and removes every namespace. */
  dispose(): Promise<void>
}

/** What truth tests need, and this machine does not have. */
function missingForTruth(programs: readonly string[]): string | undefined {
  if (process.getuid?.() !== 0) return 'not root'
  const capabilities = BigInt(`0x${/^CapEff:\s*(\w+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`)
  const [netAdmin, sysAdmin] = [12n, 21n]
  if (!(capabilities & (1n << netAdmin)) || !(capabilities & (1n << sysAdmin))) return 'no CAP_NET_ADMIN and CAP_SYS_ADMIN'
  if (!existsSync('/sys/kernel/btf/vmlinux')) return 'kernel has no BTF (/sys/kernel/btf/vmlinux)'
  const tools = ['ip', 'iptables', 'ip6tables', ...programs]
  const without = tools.filter((tool) => !(process.env.PATH ?? '').split(':').some((folder) => existsSync(`${folder}/${tool}`)))
  return without.length > 0 ? `not installed: ${without.join(', ')}` : undefined
}

/** `describe` for tests on the real kernel. Where they cannot run they are skipped, loudly; in CI they fail. */
export const requireRoot = (title: string, body: () => void, programs: readonly string[] = []): void =>
  describeUnless(missingForTruth(programs), title, body)

/** The same for tests of what the tracer counts, whichever maps this kernel lets it fill. */
export function requireTracer(title: string, body: () => void): void {
  describeUnless(missingForTruth([]), title, body, retryIfShort)
}

/** The same for whatever is missing; undefined: nothing is. */
export function describeUnless(
  missing: string | undefined,
  title: string,
  body: () => void,
  again: TestOptions['retry'] = retry,
): void {
  if (missing === undefined) return void describe(title, { retry: again }, body)
  if (process.env.CI === 'true') {
    describe(title, () => {
      test('can run here', () => {
        throw new Error(missing)
      })
    })
    return
  }
  console.warn(`SKIPPED, ${missing}: ${title}`)
  describe.skip(`${title} (${missing})`, body)
}

/**
 * `requireRoot` for tests of one of the tracer's maps. On a kernel that cannot give it the tracer has to say just that,
 * and nothing else is to be tested.
 */
export function requireTraced(map: MapName, title: string, body: () => void): void {
  const absence = findExpectedAbsence(map)
  if (absence === undefined) return void requireTracer(title, body)
  requireRoot(title, () => {
    test(`${map} is absent on this kernel, with its reason`, async () => {
      const tracer = createTracer()
      await tracer.start()
      try {
        expect(tracer.missing(map)).toBe(absence)
        expect(() => tracer.read(map, () => undefined)).toThrow(absence)
      } finally {
        await tracer.stop()
      }
    })
  })
}

/**
 * `name` begins the namespaces' names and is used by one test file only: what an earlier run left behind is removed.
 * `network`: of their addresses, for tests that have to find out whose an address is.
 */
export async function createTopology(name: string, { router: routed = false, network = 77 } = {}): Promise<Topology> {
  removeNamespaces(name)
  const processes = new Set<ChildProcess>()
  const dispose = async () => {
    await Promise.all([...processes].map(endProcess))
    removeNamespaces(name)
  }
  try {
    const a = addNamespace(
      `${name}-a`,
      routed ? [`10.${network}.1.1`, `fd${network}:1::1`] : [`10.${network}.0.1`, `fd${network}::1`],
    )
    const b = addNamespace(
      `${name}-b`,
      routed ? [`10.${network}.2.1`, `fd${network}:2::1`] : [`10.${network}.0.2`, `fd${network}::2`],
    )
    const router = routed ? addNamespace(`${name}-r`, [`10.${network}.1.254`, `fd${network}:1::fe`]) : undefined
    if (router) {
      const farSide = { ...router, ipv4: `10.${network}.2.254`, ipv6: `fd${network}:2::fe` }
      join([a, 'eth0'], [router, 'eth0'])
      join([b, 'eth0'], [farSide, 'eth1'])
      for (const [end, gateway] of [[a, router] as const, [b, farSide] as const]) {
        ip('-n', end.name, 'route', 'add', 'default', 'via', gateway.ipv4)
        ip('-n', end.name, 'route', 'add', 'default', 'via', gateway.ipv6)
      }
      execIn(router, 'sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1')
    } else join([a, 'eth0'], [b, 'eth0'])
    for (const namespace of [a, b, ...(router ? [router] : [])]) await linksUp(namespace)

    const start = (namespace: Namespace, verb: string, args: object) => {
      const command = ['netns', 'exec', namespace.name, process.execPath, faults, verb, JSON.stringify(args)]
      const child = spawn('ip', command, { stdio: ['pipe', 'pipe', 'pipe'] })
      processes.add(child)
      child.once('close', () => processes.delete(child))
      return new FaultProcess(child, `${verb} in ${namespace.name}`)
    }
    const held = new Set<Holder>()
    if (slowness > 1) {
      // A process would take seconds to start.
      return {
        a,
        b,
        router,
        run: runByWorker,
        async hold(namespace, verb, args) {
          const holder = await holdByWorker(namespace, verb, args)
          held.add(holder)
          return holder
        },
        exec: execIn,
        async dispose() {
          for (const holder of held) await holder.stop()
          await dispose()
        },
      }
    }
    return {
      a,
      b,
      router,
      run<Result>(namespace: Namespace, verb: string, args: object = {}) {
        return runFault<Result>(start(namespace, verb, args))
      },
      hold(namespace, verb, args = {}) {
        return holdFault(start(namespace, verb, args))
      },
      exec: execIn,
      dispose,
    }
  } catch (error) {
    await dispose()
    throw error
  }
}

/** Processes that do many verbs: those that run one and are free again, and by namespace those that hold something. */
const idleRunners: FaultProcess[] = []
const keepers = new Map<string, FaultProcess>()
let lastId = 0

function startWorker(): FaultProcess {
  const child = spawn(process.execPath, [faults], { stdio: ['pipe', 'pipe', 'pipe'] })
  child.unref()
  return new FaultProcess(child, 'a worker')
}

async function runByWorker<Result>({ name }: Namespace, verb: string, args: object = {}): Promise<Result> {
  const worker = idleRunners.pop() ?? startWorker()
  try {
    return (await worker.ask({ id: ++lastId, namespace: name, verb, arguments: args })) as Result
  } finally {
    if (worker.child.exitCode === null) idleRunners.push(worker)
  }
}

async function holdByWorker({ name }: Namespace, verb: string, args: object = {}): Promise<Holder> {
  const keeper = keepers.get(name) ?? startWorker()
  keepers.set(name, keeper)
  const id = ++lastId
  const { ready } = (await keeper.ask({ id, namespace: name, verb, arguments: args })) as unknown as Pick<Holder, 'ready'>
  return {
    ready,
    act: (action, actionArguments = {}) => keeper.ask({ id, action, arguments: actionArguments }),
    stop: async () => void (await keeper.ask({ id, verb: 'stop' })),
  }
}

/** What the verb of a process of faults.mjs printed. */
export async function runFault<Result>(process: FaultProcess): Promise<Result> {
  const result = await process.readLine()
  await process.stop()
  return result as Result
}

/** Waits until the verb of a process of faults.mjs holds what it holds. */
export async function holdFault(process: FaultProcess): Promise<Holder> {
  const { ready } = (await process.readLine()) as Pick<Holder, 'ready'>
  return {
    ready,
    act: (action, actionArguments = {}) => process.ask({ action, arguments: actionArguments }),
    stop: () => process.stop(),
  }
}

/** faults.mjs, wherever it runs; what it prints is read as lines of JSON. */
export class FaultProcess {
  readonly child: ChildProcess
  readonly #lines: AsyncIterator<string>
  readonly #interface: Interface
  readonly #what: string
  #stderr = ''

  constructor(child: ChildProcess, what: string) {
    this.child = child
    this.#what = what
    this.#interface = createInterface({ input: child.stdout! })
    this.#lines = this.#interface[Symbol.asyncIterator]()
    child.stderr!.on('data', (chunk) => {
      this.#stderr = (this.#stderr + chunk).slice(-10_000)
    })
    child.stdin!.on('error', () => {})
  }

  async readLine(): Promise<unknown> {
    const { value, done } = await this.#lines.next()
    const answer = done ? undefined : JSON.parse(value)
    if (typeof answer?.error === 'string') throw new Error(`${this.#what} failed: ${answer.error}`)
    if (answer !== undefined) return answer
    await this.stop()
    throw new Error(`${this.#what} failed: ${this.#stderr}`)
  }

  ask(request: object): Promise<Record<string, number>> {
    this.child.stdin!.write(`${JSON.stringify(request)}\n`)
    return this.readLine() as Promise<Record<string, number>>
  }

  stop(): Promise<void> {
    return endProcess(this.child)
  }
}

/** It ends by itself when its input ends; killed if not. */
async function endProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  child.stdin?.end()
  const timer = setTimeout(() => child.kill('SIGKILL'), 2000)
  await ended
  clearTimeout(timer)
}

export function ip(...parameters: string[]): string {
  return execFileSync('ip', parameters, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

export function execIn(namespace: Pick<Namespace, 'name'>, ...command: readonly string[]): string {
  return ip('netns', 'exec', namespace.name, ...command)
}

export function addNamespace(name: string, [ipv4, ipv6]: readonly [string, string]): Namespace {
  ip('netns', 'add', name)
  // An address can be used at once, and nothing is sent that no test sends.
  execIn({ name }, 'sysctl', '-qw', 'net.ipv6.conf.default.accept_dad=0', 'net.ipv6.conf.default.router_solicitations=0')
  ip('-n', name, 'link', 'set', 'lo', 'up')
  return { name, ipv4, ipv6, inode: statSync(`/run/netns/${name}`).ino }
}

function join(...ends: readonly [end: readonly [Namespace, device: string], other: readonly [Namespace, device: string]]): void {
  const [[one, device], [other, otherDevice]] = ends
  ip('link', 'add', device, 'netns', one.name, 'type', 'veth', 'peer', 'name', otherDevice, 'netns', other.name)
  for (const [namespace, name] of ends) {
    ip('-n', namespace.name, 'address', 'add', `${namespace.ipv4}/24`, 'dev', name)
    ip('-n', namespace.name, 'address', 'add', `${namespace.ipv6}/64`, 'dev', name, 'nodad')
    ip('-n', namespace.name, 'link', 'set', name, 'up')
  }
}

export async function linksUp(namespace: Pick<Namespace, 'name'>): Promise<void> {
  const deadline = Date.now() + startMs
  while (ip('-n', namespace.name, '-o', 'link', 'show', 'type', 'veth').includes('state DOWN')) {
    if (Date.now() > deadline) throw new Error(`the links of ${namespace.name} do not come up`)
    await sleep(10)
  }
}

export function removeNamespaces(prefix: string): void {
  for (const line of ip('netns', 'list').split('\n')) {
    const [name = ''] = line.split(' ', 1)
    if (name.startsWith(`${prefix}-`)) ip('netns', 'del', name)
  }
}
