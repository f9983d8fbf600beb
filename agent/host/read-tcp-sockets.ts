import { createSocketTableReader } from '../../parsers/proc-net-tcp.ts'
import type { SocketRow } from '../../parsers/socket-row.ts'
import { NotFound } from './errors.ts'
import type { Files } from './files.ts'
import type { NetworkNamespace } from './namespaces.ts'
import { isNetlinkUnavailable, type Netlink } from './netlink.ts'

export interface SocketHandlers {
  /** What was handed out is void. */
  restart(): void
  /** One row, used again for the next socket. */
  socket(row: SocketRow): void
}

/** All TCP sockets of a namespace: by sock_diag, or from /proc/net/tcp and tcp6 where netlink cannot be had. Returns which. */
export async function readTcpSockets(
  { netlink, files }: { readonly netlink: Pick<Netlink, 'dumpSockets'>; readonly files: Pick<Files, 'stream'> },
  netns: NetworkNamespace,
  handlers: SocketHandlers,
  signal: AbortSignal,
): Promise<'netlink' | 'proc'> {
  try {
    await netlink.dumpSockets(netns, handlers, signal)
    return 'netlink'
  } catch (error) {
    if (!isNetlinkUnavailable(error)) throw error
  }
  handlers.restart()
  for (const [file, family] of [
    ['tcp', 4],
    ['tcp6', 6],
  ] as const) {
    const reader = createSocketTableReader(`/proc/net/${file}`, family, handlers.socket)
    try {
      await files.stream(netns, file, (chunk) => reader.feed(chunk), signal)
      reader.end()
    } catch (error) {
      if (!(error instanceof NotFound && family === 6)) throw error
    }
  }
  return 'proc'
}
