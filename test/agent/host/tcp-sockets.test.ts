import { describe, expect, it } from 'vitest'
import type { NetworkNamespace } from '../../../agent/host/namespaces.ts'
import { createTcpSockets, type SocketVisitor } from '../../../agent/host/tcp-sockets.ts'
import type { SocketRow } from '../../../parsers/socket-row.ts'
import { createFakeHost, netnsOf } from '../sources/fake-host.ts'

const { signal } = new AbortController()
const other = netnsOf('other')

interface Handlers {
  restart(): void
  socket(row: SocketRow): void
}

function build(dump: (netns: NetworkNamespace, handlers: Handlers) => void = () => undefined) {
  const { host, files } = createFakeHost([other])
  for (const prefix of ['', 'other ']) files[`${prefix}/proc/net/sockstat`] = 'TCP: inuse 1 orphan 0 tw 0 alloc 1 mem 0\n'
  const dumped: (string | undefined)[] = []
  const dumpSockets = async (netns: NetworkNamespace, handlers: Handlers): Promise<void> => {
    dumped.push(netns.name)
    dump(netns, handlers)
  }
  const netlink = { ...host.netlink, dumpSockets } as unknown as typeof host.netlink
  return { tcpSockets: createTcpSockets(host.namespaces, netlink, host.files), dumped, files }
}

function createVisitor(own: Partial<SocketVisitor> = {}): SocketVisitor & { readonly log: string[] } {
  const log: string[] = []
  const name = (netns: NetworkNamespace): string => netns.name ?? 'host'
  return {
    log,
    begin: (netns) => void log.push(`begin ${name(netns)}`),
    socket: ({ localPort }) => void log.push(`socket ${localPort}`),
    end: (netns, byNetlink) => void log.push(`end ${name(netns)} ${byNetlink}`),
    failed: (netns, error) => void log.push(`failed ${name(netns)} ${(error as Error).message}`),
    ...own,
  }
}

const row = (localPort: number): SocketRow => ({ localPort }) as SocketRow

describe('a walk', () => {
  it('is one for all who ask in the same turn, and another for those who come later', async () => {
    const { tcpSockets, dumped } = build((_, { socket }) => socket(row(80)))
    const [one, two, late] = [createVisitor(), createVisitor(), createVisitor()]
    const walks = [tcpSockets.walk(one, signal), tcpSockets.walk(two, signal)]
    await Promise.all(walks)
    expect(dumped).toEqual([undefined, 'other'])
    expect(one.log).toEqual(['begin host', 'socket 80', 'end host true', 'begin other', 'socket 80', 'end other true'])
    expect(two.log).toEqual(one.log)
    await tcpSockets.walk(late, signal)
    expect(late.log).toEqual(one.log)
    expect(dumped).toHaveLength(4)
  })

  it('begins a namespace anew when its answer does', async () => {
    const { tcpSockets } = build((_, { socket, restart }) => {
      socket(row(1))
      restart()
      socket(row(2))
    })
    const visitor = createVisitor()
    await tcpSockets.walk(visitor, signal)
    expect(visitor.log.slice(0, 5)).toEqual(['begin host', 'socket 1', 'begin host', 'socket 2', 'end host true'])
  })

  it('does not ask for the sockets of a namespace that has none', async () => {
    const { tcpSockets, dumped, files } = build()
    files['other /proc/net/sockstat'] = 'TCP: inuse 0 orphan 0 tw 0 alloc 9 mem 9\n'
    const visitor = createVisitor()
    await tcpSockets.walk(visitor, signal)
    expect(dumped).toEqual([undefined])
    expect(visitor.log).toEqual(['begin host', 'end host true', 'begin other', 'end other true'])
  })

  it('goes on after a namespace that cannot be read', async () => {
    const { tcpSockets } = build((netns) => {
      if (netns !== other) throw new Error('no luck')
    })
    const visitor = createVisitor()
    await tcpSockets.walk(visitor, signal)
    expect(visitor.log).toEqual(['begin host', 'failed host no luck', 'begin other', 'end other true'])
  })

  it('goes on for the others when one of them throws', async () => {
    const { tcpSockets } = build((_, { socket }) => socket(row(80)))
    const bad = createVisitor({
      socket: () => {
        throw new Error('mine')
      },
    })
    const good = createVisitor()
    await Promise.all([tcpSockets.walk(bad, signal), tcpSockets.walk(good, signal)])
    expect(bad.log).toEqual(['begin host', 'failed host mine', 'begin other', 'failed other mine'])
    expect(good.log).toHaveLength(6)
  })

  it('fails for whom it cannot start, alone', async () => {
    const { tcpSockets } = build()
    const bad = createVisitor({ start: () => Promise.reject(new Error('no map')) })
    const good = createVisitor()
    const [failed] = await Promise.allSettled([tcpSockets.walk(bad, signal), tcpSockets.walk(good, signal)])
    expect(failed).toMatchObject({ status: 'rejected', reason: { message: 'no map' } })
    expect(bad.log).toEqual([])
    expect(good.log).toHaveLength(4)
  })

  it('ends with the signal', async () => {
    const stop = new AbortController()
    const { tcpSockets } = build(() => {
      stop.abort(new Error('enough'))
      throw new Error('aborted')
    })
    await expect(tcpSockets.walk(createVisitor(), stop.signal)).rejects.toThrow('enough')
  })
})
