import { describe, expect, it } from 'vitest'
import { readAddress, readLink, readNeighbourTable, readQdisc } from '../../parsers/rtnetlink.ts'
import { parseErrorOf } from './proc-recorded.ts'
import { expectBounded, kernels, readAnswer, recordedAnswer, toolOutput } from './recorded-answers.ts'

interface ToolLink {
  readonly ifindex: number
  readonly ifname: string
  readonly mtu: number
  readonly operstate: string
  readonly linkinfo?: { readonly info_kind: string }
  readonly link_netnsid?: number
  readonly stats64: Record<'rx' | 'tx', Record<string, number>>
}

interface ToolQdisc {
  readonly kind: string
  readonly handle: string
  readonly dev: string
  readonly root?: boolean
  readonly bytes: number
  readonly packets: number
  readonly drops: number
  readonly overlimits: number
  readonly requeues: number
  readonly backlog: number
  readonly qlen: number
}

const operstates = ['UNKNOWN', 'NOTPRESENT', 'DOWN', 'LOWERLAYERDOWN', 'TESTING', 'DORMANT', 'UP']

describe.each(kernels)('of Linux %s', (kernel) => {
  const links = readAnswer(recordedAnswer(kernel, 'links'), readLink)

  it('has the links as ip does', () => {
    const tool = JSON.parse(toolOutput(kernel, 'ip-s-d-j-link.json')) as ToolLink[]
    expect(
      links.map(({ index, name, kind, linkNetnsId, mtu, operstate, carrierChanges, stats }) => ({
        index,
        name,
        kind,
        linkNetnsId,
        mtu,
        operstate: operstates[operstate ?? -1],
        received: [stats?.rxBytes, stats?.rxPackets, stats?.rxErrors, stats?.rxDropped, stats?.rxMissedErrors, stats?.multicast],
        sent: [stats?.txBytes, stats?.txPackets, stats?.txErrors, stats?.txDropped, stats?.txCarrierErrors, stats?.collisions],
        carrierChanges,
      })),
    ).toEqual(
      tool.map(({ ifindex, ifname, mtu, operstate, linkinfo, link_netnsid, stats64: { rx, tx } }) => ({
        index: ifindex,
        name: ifname,
        kind: linkinfo?.info_kind,
        linkNetnsId: link_netnsid,
        mtu,
        operstate,
        received: [rx.bytes, rx.packets, rx.errors, rx.dropped, rx.missed_errors, rx.multicast],
        sent: [tx.bytes, tx.packets, tx.errors, tx.dropped, tx.carrier_errors, tx.collisions],
        carrierChanges: tx.carrier_changes,
      })),
    )
  })
  it('knows a pod end from a device of the host', () => {
    expect(links.find(({ name }) => name === 'nvb0')).toMatchObject({ kind: 'veth', linkNetnsId: 0, mtu: 1400 })
    expect(links.find(({ name }) => name === 'lo')).toMatchObject({ kind: undefined, linkNetnsId: undefined })
  })
  it('leaves out what the kernel does not send', () => {
    const [major, minor] = kernel.split('.').map(Number) as [number, number]
    const hasOtherhost = major > 5 || (major === 5 && minor >= 19)
    for (const { stats } of links) expect(stats?.rxOtherhostDropped).toBe(hasOtherhost ? 0 : undefined)
  })

  it('has the qdiscs as tc does', () => {
    const names = new Map(links.map(({ index, name }) => [index, name]))
    const tool = JSON.parse(toolOutput(kernel, 'tc-s-j-qdisc.json')) as ToolQdisc[]
    const qdiscs = readAnswer(recordedAnswer(kernel, 'qdiscs'), readQdisc)
    expect(
      qdiscs.map(({ index, handle, parent, backlogBytes, queueLength, ...rest }) => ({
        ...rest,
        dev: names.get(index),
        handle: `${(handle >>> 16).toString(16)}:`,
        root: parent === 0xffffffff,
        backlog: backlogBytes,
        qlen: queueLength,
      })),
    ).toEqual(
      tool.map(({ kind, handle, dev, root, bytes, packets, drops, overlimits, requeues, backlog, qlen }) => {
        return { kind, handle, dev, root: root ?? false, bytes, packets, drops, overlimits, requeues, backlog, qlen }
      }),
    )
    expect(qdiscs.find(({ kind }) => kind === 'tbf')?.drops).toBeGreaterThan(5)
  })

  it('has the neighbour tables as ip does, without the devices', () => {
    const tables = readAnswer(recordedAnswer(kernel, 'neighbour-tables'), readNeighbourTable).filter(
      (table) => table !== undefined,
    )
    // A table's paragraph begins with its thresholds; those of devices follow.
    const tool = [
      ...toolOutput(kernel, 'ip-s-ntable.txt').matchAll(
        /^inet6? (\w+) \n +thresh1 (\d+) thresh2 (\d+) thresh3 (\d+).*\n.* entries (\d+) [\s\S]*?res_failed (\d+)[\s\S]*?forced_gc_runs (\d+)/gm,
      ),
    ]
    expect(tables.map(({ tableFulls, ...table }) => ({ ...table, tableFulls: Number(tableFulls) }))).toEqual(
      tool.map(([, name, ...numbers]) => {
        const [gcThreshold1, gcThreshold2, gcThreshold3, entries, resolutionFailures, forcedGcRuns] = numbers.map(Number)
        return { name, gcThreshold1, gcThreshold2, gcThreshold3, entries, resolutionFailures, forcedGcRuns, tableFulls: 0 }
      }),
    )
    expect(tables.map(({ name }) => name)).toEqual(['arp_cache', 'ndisc_cache'])
  })
})

function attribute(type: number, value: Uint8Array): number[] {
  return [4 + value.length, 0, type, 0, ...value, ...Array((4 - (value.length % 4)) % 4).fill(0)]
}
const name = attribute(3, new TextEncoder().encode('eth0\0'))

it('takes each statistic from its own place, and undefined behind the end', () => {
  const numbers = new BigUint64Array(8).map((_, i) => BigInt(i + 1) << 32n)
  const bytes = Uint8Array.from([...new Uint8Array(16), ...name, ...attribute(23, new Uint8Array(numbers.buffer).slice(0, 60))])
  const { stats } = readLink(bytes, 0, bytes.length)
  const known = Object.entries(stats ?? {}).filter(([, value]) => value !== undefined)
  expect(known).toEqual(
    ['rxPackets', 'txPackets', 'rxBytes', 'txBytes', 'rxErrors', 'txErrors', 'rxDropped'].map((field, i) => [
      field,
      (i + 1) * 2 ** 32,
    ]),
  )
})

it('knows a namespace that has no number yet', () => {
  const bytes = Uint8Array.from([...new Uint8Array(16), ...name, ...attribute(37, Uint8Array.of(255, 255, 255, 255))])
  expect(readLink(bytes, 0, bytes.length).linkNetnsId).toBe(-1)
})

describe('an address', () => {
  /** struct ifaddrmsg, then attributes. */
  const addressOf = (...attributes: readonly number[][]): string => {
    const bytes = Uint8Array.from([...new Uint8Array(8), ...attributes.flat()])
    return Buffer.from(readAddress(bytes, 0, bytes.length)).toString('hex')
  }
  const [ours, theirs] = [Uint8Array.of(10, 0, 0, 1), Uint8Array.of(10, 0, 0, 2)]
  const ipv6 = Uint8Array.from(Buffer.from('20010db8000000000000000000000001', 'hex'))
  const [ifaAddress, ifaLocal, ifaLabel] = [1, 2, 3]

  it('is IFA_LOCAL, wherever it stands, because IFA_ADDRESS of a tunnel is the other end', () => {
    expect(addressOf(attribute(ifaAddress, theirs), attribute(ifaLocal, ours))).toBe('0a000001')
    expect(addressOf(attribute(ifaLocal, ours), attribute(ifaAddress, theirs))).toBe('0a000001')
  })
  it('is IFA_ADDRESS where there is no IFA_LOCAL, as for most of IPv6', () => {
    expect(addressOf(attribute(ifaLabel, Uint8Array.of(1, 2, 3)), attribute(ifaAddress, ours))).toBe('0a000001')
    expect(addressOf(attribute(ifaAddress, ipv6))).toBe('20010db8000000000000000000000001')
  })
  it('must be there, and whole', () => {
    const errorOf = (...attributes: readonly number[][]) => parseErrorOf(() => addressOf(...attributes))
    expect(errorOf()).toMatchObject({ where: 'RTM_GETADDR', expected: 'IFA_ADDRESS', column: 9 })
    expect(errorOf(attribute(ifaAddress, ours.subarray(0, 3)))).toMatchObject({ where: 'RTM_GETADDR', column: 13 })
    expect(errorOf(attribute(ifaAddress, ours).slice(0, 6))).toMatchObject({ where: 'RTM_GETADDR' })
    expect(parseErrorOf(() => readAddress(new Uint8Array(8), 0, 7))).toMatchObject({ where: 'RTM_GETADDR', column: 1 })
  })
  it('of five bytes is none', () => {
    const five = Uint8Array.of(10, 0, 0, 1, 7)
    expect(parseErrorOf(() => addressOf(attribute(ifaAddress, five)))).toMatchObject({ where: 'RTM_GETADDR', column: 13 })
  })
})

it('says what it misses, and where', () => {
  const bytes = new Uint8Array(40)
  expect(parseErrorOf(() => readLink(bytes, 8, 24))).toMatchObject({ expected: 'IFLA_IFNAME', column: 25 })
  expect(parseErrorOf(() => readQdisc(bytes, 8, 28))).toMatchObject({ expected: 'TCA_KIND', column: 29 })
  expect(parseErrorOf(() => readNeighbourTable(bytes, 8, 12))).toMatchObject({ expected: 'NDTA_NAME', column: 13 })
  expect(parseErrorOf(() => readLink(bytes, 8, 23))).toMatchObject({ column: 9 })
})

it('reads hostile bytes inside their bounds', () => {
  expectBounded('links', readLink)
  expectBounded('qdiscs', readQdisc)
  expectBounded('neighbour-tables', readNeighbourTable)
  expectBounded('links', readAddress)
})
