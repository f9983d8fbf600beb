import type { Log } from '../log.ts'
import { type Addresses, createAddresses } from './addresses.ts'
import { createFiles, type Files } from './files.ts'
import { createKernelSymbols, type KernelSymbols } from './kernel-symbols.ts'
import { loadLibc } from './libc.ts'
import { type Machine, readMachine, readPageSizeBytes } from './machine.ts'
import { createNamespaces, type Namespaces } from './namespaces.ts'
import { createNetlink, type Netlink } from './netlink.ts'
import { createScripts, type ScriptSetting, type Scripts } from './scripts.ts'
import { createTools, type ToolSettings, type Tools } from './tools.ts'
import { type MapName, mapNames } from './traced-maps.ts'
import { createTracer, type Tracer } from './tracer.ts'

/** All that reads the kernel. Sources are given this and nothing else. */
export interface Host {
  readonly files: Files
  readonly netlink: Netlink
  readonly namespaces: Namespaces
  readonly tracer: Tracer
  readonly symbols: KernelSymbols
  readonly addresses: Addresses
  readonly tools: Tools
  readonly scripts: Scripts
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
  /** Whether the tracer shows single events too. */
  readonly events?: boolean
  /** Trace tools of the user. */
  readonly tools?: ToolSettings
  /** Scripts of the user. */
  readonly scripts?: readonly ScriptSetting[]
  readonly log: Log
}

export async function createHost({
  root,
  tracer: traced,
  untraced = [],
  events = false,
  tools: toolSettings = {},
  scripts: scriptSettings = [],
  log,
}: HostOptions): Promise<Host> {
  const libc = await loadLibc()
  const namespaces = createNamespaces({ root, libc })
  const tracer = createTracer(traced && root === '/' ? { off: untraced, events } : { off: mapNames, tasks: false })
  const netlink = createNetlink({ root, namespaces, libc })
  const tools = createTools(toolSettings, log)
  const scripts = createScripts(scriptSettings, log)
  return {
    files: createFiles({ root, namespaces }),
    netlink,
    namespaces,
    tracer,
    symbols: createKernelSymbols(),
    addresses: createAddresses(namespaces, netlink),
    tools,
    scripts,
    pageSizeBytes: readPageSizeBytes(),
    machine: () => readMachine(root),
    refresh() {
      namespaces.refresh()
      namespaces.adoptTasks(tracer.missing('tasks') === undefined ? tracer.tasks() : [])
    },
    async start() {
      await tracer.start()
      tools.start()
      scripts.start()
      const missing = tracer.missing('tasks')
      if (missing !== undefined) log.debug({ missing }, 'tracer')
    },
    async stop() {
      await Promise.all([tracer.stop(), tools.stop(), scripts.stop()])
    },
  }
}
