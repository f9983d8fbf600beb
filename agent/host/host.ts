import type { Log } from '../log.ts'
import { createFiles, type Files } from './files.ts'
import { loadLibc } from './libc.ts'
import { type Machine, readMachine, readPageSizeBytes } from './machine.ts'
import { createNamespaces, type Namespaces } from './namespaces.ts'
import { createNetlink, type Netlink } from './netlink.ts'
import { createTracer, type MapName, mapNames, type Tracer } from './tracer.ts'

/** All that reads the kernel. Sources are given this and nothing else. */
export interface Host {
  readonly files: Files
  readonly netlink: Netlink
  readonly namespaces: Namespaces
  readonly tracer: Tracer
  readonly pageSizeBytes: number
  machine(): Promise<Machine>
  /** Looks for namespaces and processes that came and went. */
  refresh(): void
  start(): Promise<void>
  stop(): Promise<void>
}

export interface HostOptions {
  /** Another tree than `/` is read as recorded: no tracer, no namespaces but the host's. */
  readonly root: string
  readonly tracer: boolean
  /** What the tracer is not to count. */
  readonly untraced?: readonly MapName[]
  readonly log: Log
}

export async function createHost({ root, tracer: traced, untraced = [], log }: HostOptions): Promise<Host> {
  const libc = await loadLibc()
  const namespaces = createNamespaces({ root, libc })
  const tracer = createTracer(traced && root === '/' ? { off: untraced } : { off: mapNames, tasks: false })
  return {
    files: createFiles({ root, namespaces }),
    netlink: createNetlink({ root, namespaces, libc }),
    namespaces,
    tracer,
    pageSizeBytes: readPageSizeBytes(),
    machine: () => readMachine(root),
    refresh() {
      namespaces.refresh()
      namespaces.adoptTasks(tracer.missing('tasks') === undefined ? tracer.tasks() : [])
    },
    async start() {
      await tracer.start()
      const missing = tracer.missing('tasks')
      if (missing !== undefined) log.debug({ missing }, 'tracer')
    },
    stop: () => tracer.stop(),
  }
}
