import { NotFound } from '../../../agent/host/errors.ts'
import type { Host } from '../../../agent/host/host.ts'
import type { NetworkNamespace } from '../../../agent/host/namespaces.ts'
import { NetlinkUnavailable } from '../../../agent/host/netlink.ts'
import { createTcpSockets } from '../../../agent/host/tcp-sockets.ts'
import type { Tracer } from '../../../agent/host/tracer.ts'

/** A namespace that no kernel has. */
export const netnsOf = (name?: string): NetworkNamespace => ({ ...(name !== undefined && { name }) }) as NetworkNamespace

export interface FakeHost {
  /** By path: `/proc/net/snmp` of the host, `other /proc/net/snmp` of the namespace `other`. An error is thrown. */
  readonly files: Record<string, string | Error>
  /** By the question's name: payloads of the messages that answer it, or why not. Without: there is no netlink. */
  readonly answers: Record<string, readonly Uint8Array[] | Error>
  readonly host: Host
}

/** A host whose files and answers the test writes, and may change between two collects. */
export function createFakeHost(others: readonly NetworkNamespace[] = [], tracer?: Partial<Tracer>): FakeHost {
  const files: FakeHost['files'] = {}
  const answers: FakeHost['answers'] = {}
  const hostNetns = netnsOf()
  const read = (file: string): string => {
    const text = files[file]
    if (text === undefined) throw new NotFound(file)
    if (typeof text === 'string') return text
    throw text
  }
  const pathIn = (netns: NetworkNamespace, file: string): string => (netns === hostNetns ? file : `${netns.name} ${file}`)
  const payloadsOf = (name: string): readonly Uint8Array[] => {
    const answer = answers[name] ?? new NetlinkUnavailable(name, 'no koffi')
    if (answer instanceof Error) throw answer
    return answer
  }
  const host = {
    pageSizeBytes: 4096,
    tracer,
    scripts: { files: [] },
    tools: { of: () => undefined, all: () => [], rows: () => new Map(), subscribe: () => undefined },
    namespaces: { host: hostNetns, list: () => others },
    addresses: { refresh: async () => undefined, find: () => undefined },
    files: {
      read,
      readNet: (netns: NetworkNamespace, file: string) => read(pathIn(netns, `/proc/net/${file}`)),
      readSys: (netns: NetworkNamespace, file: string) => read(pathIn(netns, `/proc/sys/${file}`)),
      stream: async (netns: NetworkNamespace, file: string, onChunk: (chunk: Uint8Array) => void) =>
        onChunk(Buffer.from(read(pathIn(netns, `/proc/net/${file}`)))),
    },
    netlink: {
      dump: async (
        _: unknown,
        { name }: { name: string },
        handlers: { message(bytes: Uint8Array, from: number, to: number): void; isEnough?(): boolean },
      ) => {
        for (const bytes of payloadsOf(name)) {
          handlers.message(bytes, 0, bytes.length)
          if (handlers.isEnough?.()) break
        }
      },
      get: async (_: unknown, { name }: { name: string }, readOne: (bytes: Uint8Array, from: number, to: number) => unknown) => {
        const [bytes] = payloadsOf(name)
        return readOne(bytes!, 0, bytes!.length)
      },
    },
  }
  const complete = host as unknown as Host
  Object.assign(host, { tcpSockets: createTcpSockets(complete.namespaces, complete.netlink, complete.files) })
  return { files, answers, host: complete }
}

const align = (bytes: Uint8Array): Uint8Array => Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)])
/** struct nlattr and its value. */
export function attribute(type: number, value: Uint8Array | string): Uint8Array {
  const bytes = typeof value === 'string' ? Buffer.from(`${value}\0`) : value
  const header = Buffer.alloc(4)
  header.writeUInt16LE(4 + bytes.length, 0)
  header.writeUInt16LE(type, 2)
  return align(Buffer.concat([header, bytes]))
}

export function u32(...values: readonly number[]): Uint8Array {
  const bytes = Buffer.alloc(values.length * 4)
  values.forEach((value, i) => bytes.writeUInt32LE(value, i * 4))
  return bytes
}

/** As nfnetlink has all numbers. */
export function networkU32(value: number): Uint8Array {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

export const message = (header: Uint8Array, ...attributes: readonly Uint8Array[]): Uint8Array =>
  Buffer.concat([header, ...attributes])
