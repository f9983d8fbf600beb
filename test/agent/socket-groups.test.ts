import { describe, expect, it } from 'vitest'
import { createSocketGroups, type SocketGroup, sortSockets } from '../../agent/socket-groups.ts'
import type { ListedSocket } from '../../agent/socket-list.ts'

const api = { pid: 7, command: 'api', commandLine: 'api --port 80' }
const socketOf = (more: Partial<ListedSocket> = {}): ListedSocket => ({
  state: 'established',
  direction: 'out',
  local: { namespace: 'shop', pod: 'api-1', address: '10.0.0.4', port: 40_000 },
  peer: { address: '10.0.0.9', port: 5432 },
  receiveQueue: 1,
  sendQueue: 2,
  sentAgoSeconds: 30,
  receivedAgoSeconds: 20,
  process: api,
  ...more,
})
function groupSockets(sockets: readonly ListedSocket[]): SocketGroup[] {
  const groups = createSocketGroups()
  for (const socket of sockets) groups.add(socket)
  return groups.list()
}
const peer = (address: string, port: number): Partial<ListedSocket> => ({ peer: { address, port } })

describe('groups', () => {
  it('add up what a process has in the same state', () => {
    const [group, ...others] = groupSockets([socketOf(), socketOf({ receiveQueue: 10, sentAgoSeconds: 5 }), socketOf()])
    expect(others).toEqual([])
    expect(group).toEqual({
      state: 'established',
      direction: 'out',
      local: { namespace: 'shop', pod: 'api-1' },
      process: api,
      sockets: 3,
      receiveQueue: 12,
      sendQueue: 6,
      idle: { least: 5, most: 20 },
      peers: [{ address: '10.0.0.9', port: 5432, sockets: 3 }],
      peerCount: 1,
    })
  })

  it.each<[string, Partial<ListedSocket>]>([
    ['state', { state: 'close_wait' }],
    ['process', { process: { ...api, pid: 8 } }],
    ['direction', { direction: 'in' }],
    ['pod', { local: { namespace: 'shop', pod: 'api-2', address: '10.0.0.4', port: 40_000 } }],
  ])('are apart by %s', (_, more) => {
    expect(groupSockets([socketOf(), socketOf(more)])).toHaveLength(2)
  })

  it('are those to one port of a listener, whoever called', () => {
    const to = (port: number, more: Partial<ListedSocket>): ListedSocket =>
      socketOf({ direction: 'in', local: { namespace: 'shop', pod: 'api-1', address: '10.0.0.4', port }, ...more })
    const groups = groupSockets([
      to(80, peer('10.0.0.7', 1)),
      to(80, peer('10.0.0.8', 2)),
      to(80, peer('10.0.0.8', 3)),
      to(81, peer('10.0.0.8', 4)),
    ])
    expect(groups.map(({ local, sockets, peers }) => [local.port, sockets, peers])).toEqual([
      [
        80,
        3,
        [
          { address: '10.0.0.8', sockets: 2 },
          { address: '10.0.0.7', sockets: 1 },
        ],
      ],
      [81, 1, [{ address: '10.0.0.8', sockets: 1 }]],
    ])
  })

  it('tell the peers with most, and how many there are', () => {
    const [group] = groupSockets([1, 2, 2, 3, 4, 5].map((port) => socketOf(peer('10.0.0.9', port))))
    expect(group).toMatchObject({ peerCount: 5, peers: [{ port: 2, sockets: 2 }, { sockets: 1 }, { sockets: 1 }] })
  })

  it('of listeners have no peers, no times and perhaps no limit', () => {
    const { local } = socketOf()
    expect(groupSockets([{ state: 'listen', local, receiveQueue: 1, process: api }])).toEqual([
      {
        state: 'listen',
        local: { namespace: 'shop', pod: 'api-1', port: 40_000 },
        process: api,
        sockets: 1,
        receiveQueue: 1,
        peers: [],
        peerCount: 0,
      },
    ])
  })

  it('come with the largest first, then the most in queues', () => {
    const states = groupSockets([
      socketOf(),
      socketOf({ state: 'close_wait' }),
      socketOf({ state: 'close_wait' }),
      socketOf({ state: 'last_ack', sendQueue: 100 }),
    ]).map(({ state }) => state)
    expect(states).toEqual(['close_wait', 'last_ack', 'established'])
  })
})

describe('single sockets', () => {
  it('come with the most in their queues first, then the idlest, listeners last', () => {
    const sockets = [
      socketOf({ state: 'listen', sendQueue: 4096 }),
      socketOf({ receiveQueue: 0, sendQueue: 0, state: 'time_wait' }),
      socketOf({ receivedAgoSeconds: 25 }),
      socketOf(),
      socketOf({ receiveQueue: 100 }),
    ]
    expect(sortSockets(sockets)).toEqual([4, 2, 3, 1, 0].map((at) => sockets[at]))
  })
})
