import { describe, expect, it, vi } from 'vitest'
import type { NetworkNamespace } from '../../../agent/host/namespaces.ts'
import { tracedEdgeValues } from '../../../agent/host/traced-maps.ts'
import { limits } from '../../../agent/limits.ts'
import { createEdgeRecords, type EdgeRecord } from '../../../agent/sources/edge-records.ts'
import type { SocketRow, SocketTraffic } from '../../../parsers/socket-row.ts'

const [established, synSent, finWait1, finWait2, closeWait, listen] = [1, 2, 4, 5, 8, 10]
const [unknown, client, server] = [0, 1, 2]
const [known, single] = [1, 2]
const { sentBytes, receivedBytes, retransmittedSegments, size } = tracedEdgeValues
const inode = 0xf000_0001
const netns = { inode, cookie: 0x1_0000_0007 } as NetworkNamespace
const cookie32 = 7
const quiet: SocketTraffic = { bytesAcknowledged: 0, bytesReceived: 0, retransmittedSegments: 0, silentMs: 5000 }
const here = [10, 0, 0, 1]
const there = [10, 0, 0, 2]

function rowOf(traffic: Partial<SocketTraffic>, own: Partial<SocketRow> = {}): SocketRow {
  const addresses = new Uint8Array(32)
  addresses.set(here, 0)
  addresses.set(there, 16)
  const ports = { localPort: 40_000, remotePort: 80 }
  return {
    family: 4,
    state: established,
    ...ports,
    addresses,
    localAt: 0,
    remoteAt: 16,
    traffic: { ...quiet, ...traffic },
    ...own,
  } as SocketRow
}

/** As the kernel has it: the ports 0 of what is not kept apart. */
function keyOf(role: number, { isSingle = false, local = here, remote = there } = {}): DataView {
  const bytes = Buffer.alloc(48)
  bytes.writeUInt32LE(inode, 0)
  bytes.writeUInt32LE(cookie32, 4)
  const mapped = (address: readonly number[]): number[] => [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...address]
  if (isSingle) bytes.set(mapped(local), 8)
  bytes.set(mapped(remote), 24)
  if (isSingle) {
    bytes.writeUInt16BE(40_000, 40)
    bytes.writeUInt16BE(80, 42)
  }
  bytes.writeUInt32LE(role, 44)
  return new DataView(bytes.buffer, bytes.byteOffset, 48)
}
const connectionKey = (): DataView =>
  new DataView(keyOf(0, { isSingle: true }).buffer, keyOf(0, { isSingle: true }).byteOffset, 44)

function ended(values: Record<number, number>): Float64Array {
  const all = new Float64Array(size)
  for (const [i, value] of Object.entries(values)) all[Number(i)] = value
  return all
}

interface Kernel {
  readonly ended?: readonly (readonly [key: DataView, values: Float64Array])[]
  /** Of the one connection there is: role and peer. */
  readonly nature?: readonly [role: number, peer: number]
  readonly rows?: readonly SocketRow[]
}

function build({ isTraced = true, hasCookies = true, found = undefined as readonly [number, number] | undefined } = {}) {
  const toNature = ([role, peer]: readonly [number, number]): number => role + peer * 2 ** 32
  const records = createEdgeRecords({
    isTraced: () => isTraced,
    hasCookies,
    findConnection: () => (found ? Float64Array.of(1, toNature(found)) : undefined),
  })
  const sweep = (kernel: Kernel, owner = netns): void => {
    records.beginSweep()
    for (const [key, values] of kernel.ended ?? []) records.ended(owner, key, values)
    if (kernel.nature) records.connection(connectionKey(), Float64Array.of(1, toNature(kernel.nature)))
    records.begin(owner)
    for (const row of kernel.rows ?? []) records.socket(row)
    records.end()
  }
  /** Hands on what is new: sent, received and retransmitted. */
  const take = (): number[] => {
    const sum = [0, 0, 0]
    for (const record of records.all()) {
      const growth = records.growth(record)
      if (growth === undefined) continue
      for (const [place, i] of [sentBytes, receivedBytes, retransmittedSegments].entries()) sum[place]! += growth[i]!
      records.count(record, growth, 1)
    }
    records.endSweep()
    return sum
  }
  const only = (): EdgeRecord => {
    expect(records.all()).toHaveLength(1)
    return records.all()[0]!
  }
  return { records, sweep, take, only }
}

describe('a connection seen from its beginning', () => {
  it('counts while it lives, and the rest when it has ended, once', () => {
    const { sweep, take, only } = build()
    const nature = [client, known] as const
    const connected = [keyOf(client), ended({ 0: 1 })] as const
    sweep({ ended: [connected], nature, rows: [rowOf({ bytesAcknowledged: 101, bytesReceived: 50, retransmittedSegments: 2 })] })
    expect(only()).toMatchObject({ role: 'client', remote: { address: '10.0.0.2', port: 0 }, isSingle: false })
    expect(take()).toEqual([100, 50, 2])
    sweep({ ended: [connected], nature, rows: [rowOf({ bytesAcknowledged: 101, bytesReceived: 50, retransmittedSegments: 2 })] })
    expect(take()).toEqual([0, 0, 0])
    sweep({ ended: [connected] }) // it ended after the map was read and before the sockets were
    expect(take()).toEqual([0, 0, 0])
    sweep({ ended: [[keyOf(client), ended({ 0: 1, 8: 1, [sentBytes]: 120, [receivedBytes]: 60, [retransmittedSegments]: 2 })]] })
    expect(take()).toEqual([20, 10, 0])
  })

  it.each([
    ['at rest', established, quiet.silentMs, [99, 100]],
    ['that has just heard something, which may be a FIN', established, 0, [98, 99]],
    ['whose FIN is acknowledged', finWait2, 0, [98, 99]],
    ['whose FIN is under way', finWait1, quiet.silentMs, [99, 100]],
    ['whose peer has sent its FIN', closeWait, quiet.silentMs, [99, 99]],
  ])('%s', (_, state, silentMs, expected) => {
    const { sweep, take } = build()
    sweep({ nature: [client, known], rows: [rowOf({ bytesAcknowledged: 100, bytesReceived: 100, silentMs }, { state })] })
    expect(take().slice(0, 2)).toEqual(expected)
  })

  it('of a server has no SYN among its bytes', () => {
    const { sweep, take, only } = build()
    sweep({ nature: [server, known], rows: [rowOf({ bytesAcknowledged: 100 })] })
    expect(only().role).toBe('server')
    expect(take()[0]).toBe(100)
  })

  it('is looked for alone if it began after the kernel was read', () => {
    const { sweep, take, only } = build({ found: [client, known] })
    sweep({ rows: [rowOf({ bytesAcknowledged: 11 })] })
    expect(only()).toMatchObject({ isSingle: false })
    expect(take()[0]).toBe(10)
  })

  it('that is kept apart has both its ends, and is over with it', () => {
    const { records, sweep, take, only } = build()
    const key = keyOf(client, { isSingle: true })
    sweep({ ended: [[key, ended({ 0: 1 })]], nature: [client, single], rows: [rowOf({ bytesAcknowledged: 11 })] })
    expect(only()).toMatchObject({
      isSingle: true,
      local: { address: '10.0.0.1', port: 40_000 },
      remote: { address: '10.0.0.2', port: 80 },
    })
    expect(take()[0]).toBe(10)
    sweep({ ended: [[key, ended({ 0: 1, 8: 1, [sentBytes]: 15 })]] })
    const growth = records.growth(only())!
    expect(growth[sentBytes]).toBe(5)
    records.count(only(), growth, 1)
    records.taken(only())
    records.endSweep()
    expect(records.all()).toEqual([])
  })
})

describe('a connection whose beginning was not seen', () => {
  it('counts what comes from now on, alive and in the end', () => {
    const { sweep, take } = build()
    sweep({ rows: [rowOf({ bytesAcknowledged: 1001, bytesReceived: 500, retransmittedSegments: 9 })] })
    expect(take()).toEqual([0, 0, 0])
    sweep({ rows: [rowOf({ bytesAcknowledged: 1011, bytesReceived: 505, retransmittedSegments: 9 })] })
    expect(take()).toEqual([10, 5, 0])
    const values = ended({ 8: 1, [sentBytes]: 1021, [receivedBytes]: 505, [retransmittedSegments]: 10 })
    sweep({ ended: [[keyOf(unknown, { isSingle: true }), values]] })
    expect(take()).toEqual([10, 0, 1])
  })

  it('and that ended before it was seen at all counts nothing', () => {
    const { sweep, take } = build()
    sweep({ ended: [[keyOf(unknown, { isSingle: true }), ended({ 8: 1, [sentBytes]: 5000 })]] })
    expect(take()).toEqual([0, 0, 0])
  })

  it.each([
    ['who listens is the server', [rowOf({}, { state: listen, localPort: 40_000, traffic: undefined })], 'server'],
    ['else who has the smaller port', [], 'client'],
  ] as const)('%s', (_, rows, role) => {
    const { sweep, only } = build()
    sweep({ rows: [...rows, rowOf({})] })
    expect(only().role).toBe(role)
  })
})

describe('rows', () => {
  it('that are no connection yet, or none between two, are left out', () => {
    const { records, sweep } = build()
    const loopback = rowOf({})
    loopback.addresses.set([127, 0, 0, 1], 16)
    const ipv6 = rowOf({}, { family: 6, addresses: new Uint8Array([...Array(31).fill(0), 1]) })
    sweep({ rows: [rowOf({}, { state: synSent }), rowOf({}, { traffic: undefined }), loopback, ipv6] })
    expect(records.all()).toEqual([])
  })

  it('of an answer that begins anew count once', () => {
    const { records, take } = build({ found: [client, known] })
    records.beginSweep()
    records.begin(netns)
    records.socket(rowOf({ bytesAcknowledged: 11 }))
    records.begin(netns)
    records.socket(rowOf({ bytesAcknowledged: 12 }))
    records.end()
    expect(take()[0]).toBe(11)
    records.beginSweep()
    records.begin(netns)
    records.socket(rowOf({ bytesAcknowledged: 500 }))
    records.begin(netns) // as if it could not be read
    expect(take()).toEqual([0, 0, 0])
  })

  it('wait while it is not known which of two twins the namespace is', () => {
    const { records, sweep } = build()
    sweep({ nature: [client, known], rows: [rowOf({})] }, { inode } as NetworkNamespace)
    expect(records.all()).toEqual([])
  })

  it('beyond the limit are refused, and counted', () => {
    vi.spyOn(limits as { edgeRecords: number }, 'edgeRecords', 'get').mockReturnValue(1)
    const { records, sweep } = build()
    sweep({ rows: [rowOf({}), rowOf({}, { localPort: 40_001 }), rowOf({}, { localPort: 40_002 }), rowOf({})] })
    vi.restoreAllMocks()
    expect(records.all()).toHaveLength(1)
    expect(records.refused).toBe(2)
  })

  it('without the tracer tell how many there are, of which role', () => {
    const { sweep, only } = build({ isTraced: false, hasCookies: false })
    sweep({ rows: [rowOf({}), rowOf({}, { localPort: 40_001, rttUs: 70 })] })
    expect(only()).toMatchObject({ role: 'client', live: { connections: 2, rttMaxUs: 70 } })
  })
})
