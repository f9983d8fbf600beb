import type { Host } from '../../../agent/host/host.ts'
import { idle, type LineSourceStatus } from '../../../agent/host/lines.ts'
import type { NetworkNamespace } from '../../../agent/host/namespaces.ts'
import type { OnToolEvent, Tool, ToolSignal, Tools } from '../../../agent/host/tools.ts'
import type { ParseError } from '../../../parsers/text.ts'
import { createToolReader, type ToolFormatName } from '../../../parsers/tool-table.ts'

export interface FakeTools {
  /** The user's tool prints this. */
  print(...lines: readonly string[]): void
  /** Whose an address is; may be changed. */
  readonly owners: Map<string, NetworkNamespace>
  /** What the tool says of itself; may be changed. */
  readonly status: { -readonly [K in keyof LineSourceStatus]: LineSourceStatus[K] }
  stderr: string
  usage: { cpuSeconds: number; residentBytes: number } | undefined
}

/** A host with a tool for this signal, whose rows are those of real text. */
export function addFakeTools(host: Host, signal: ToolSignal): FakeTools {
  const listeners = new Map<ToolSignal, OnToolEvent>()
  const rows = new Map<ToolFormatName, number>()
  const owners = new Map<string, NetworkNamespace>()
  let unreadable = 0
  let last: ParseError | undefined
  let lost = 0
  const fake: FakeTools = {
    print(...lines) {
      fake.status.lines += lines.length
      fake.status.lastLineAtMs = performance.now()
      for (const line of lines) reader.push(line)
    },
    owners,
    status: { ...idle, state: 'running', starts: 1 },
    stderr: '',
    usage: undefined,
  }
  const reader = createToolReader({
    where: 'tool',
    onEvent: (event) => {
      const { format } = reader
      if (format === undefined) return
      rows.set(format, (rows.get(format) ?? 0) + 1)
      listeners.get(signal)?.(event, format)
    },
    onError: (error) => {
      unreadable++
      last = error
    },
    onLost: (events) => {
      lost += events
    },
  })
  const tool: Tool = {
    signal,
    name: 'tool',
    format: () => reader.format,
    status: () => fake.status,
    stderr: () => fake.stderr,
    usage: () => fake.usage,
    unreadable: () => ({ lines: unreadable, last }),
    lost: () => lost,
  }
  const tools: Tools = {
    of: (one) => (one === signal ? tool : undefined),
    all: () => [tool],
    rows: () => rows,
    subscribe: (one, onEvent) => void listeners.set(one, onEvent),
    start() {},
    async stop() {},
  }
  const addresses = {
    refresh: async (abort: AbortSignal) => abort.throwIfAborted(),
    find: (address?: string) => owners.get(address ?? ''),
  }
  Object.assign(host, { tools, addresses })
  return fake
}
