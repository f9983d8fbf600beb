import path from 'node:path'
import type { CaptureSettings } from '../capture/report.ts'
import type { Log } from '../log.ts'
import { type Addresses, createAddresses } from './addresses.ts'
import { type Capture, createCapture } from './capture.ts'
import { createDropOwners, type DropOwners } from './drop-owners.ts'
import { createEdgeAddresses, type EdgeAddresses } from './edge-addresses.ts'
import { createFiles, type Files } from './files.ts'
import { createKernelSymbols, type KernelSymbols } from './kernel-symbols.ts'
import { loadLibc } from './libc.ts'
import { type Machine, readMachine, readPageSizeBytes } from './machine.ts'
import { createNamespaces, type Namespaces } from './namespaces.ts'
import { createNetlink, type Netlink } from './netlink.ts'
import { createPods, type Pods } from './pods.ts'
import { createScripts, type ScriptSetting, type Scripts } from './scripts.ts'
import { createTcpSockets, type TcpSockets } from './tcp-sockets.ts'
import { createTools, type ToolSettings, type Tools } from './tools.ts'
import { type MapName, mapNames } from './traced-maps.ts'
import { createTracer, type Tracer } from './tracer.ts'
import { createTranslations, type Translations } from './translations.ts'

/** All that reads the kernel. Sources are given this and nothing else. */
export interface Host {
  readonly files: Files
  readonly netlink: Netlink
  readonly tcpSockets: TcpSockets
  readonly namespaces: Namespaces
  readonly pods: Pods
  readonly tracer: Tracer
  readonly symbols: KernelSymbols
  readonly addresses: Addresses
  readonly dropOwners: DropOwners
  readonly edgeAddresses: EdgeAddresses
  readonly translations: Translations
  readonly capture: Capture
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
  /** What packets are captured for; none, unless given. */
  readonly capture?: CaptureSettings | undefined
  /** The program of the process that captures, where it is not beside this one. */
  readonly captureProgram?: string
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
  capture: captured,
  captureProgram,
  tools: toolSettings = {},
  scripts: scriptSettings = [],
  log,
}: HostOptions): Promise<Host> {
  const libc = await loadLibc()
  const namespaces = createNamespaces({ root, libc })
  const isLive = path.resolve(root) === '/'
  const { inode = 0, cookie = 0 } = namespaces.host
  const tracer = createTracer(
    traced && isLive ? { off: untraced, events, host: { inode, cookie } } : { off: mapNames, tasks: false },
  )
  const netlink = createNetlink({ root, namespaces, libc })
  const files = createFiles({ root, namespaces })
  const pods = createPods({ root, files, host: namespaces.host })
  const tools = createTools(toolSettings, log)
  const scripts = createScripts(scriptSettings, log)
  const capture = createCapture({
    settings: isLive ? captured : undefined,
    host: namespaces.host,
    log,
    ...(captureProgram !== undefined && { program: captureProgram }),
  })
  return {
    files,
    netlink,
    tcpSockets: createTcpSockets(namespaces, netlink, files),
    namespaces,
    pods,
    tracer,
    symbols: createKernelSymbols(),
    addresses: createAddresses(namespaces, netlink),
    dropOwners: createDropOwners(tracer),
    edgeAddresses: createEdgeAddresses(tracer),
    translations: createTranslations({ namespaces, netlink, files, libc }),
    capture,
    tools,
    scripts,
    pageSizeBytes: readPageSizeBytes(),
    machine: () => readMachine(root),
    refresh() {
      namespaces.refresh()
      if (!isLive) return
      const tasks = tracer.missing('tasks') === undefined ? tracer.tasks() : undefined
      pods.refresh(tasks)
      namespaces.adoptTasks(tasks ?? [], pods.list())
    },
    async start() {
      await Promise.all([tracer.start(), capture.start()])
      tools.start()
      scripts.start()
      const missing = tracer.missing('tasks')
      if (missing !== undefined) log.debug({ missing }, 'tracer')
    },
    async stop() {
      await Promise.all([tracer.stop(), capture.stop(), tools.stop(), scripts.stop()])
    },
  }
}
