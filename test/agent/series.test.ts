import { describe, expect, it } from 'vitest'
import type { Row } from '../../agent/identity/identity.ts'
import { limits } from '../../agent/limits.ts'
import type { Family, Outcome, Series } from '../../agent/metrics/snapshot.ts'
import { createSeriesStore, type SeriesStore, type SourceState } from '../../agent/series.ts'

let nextRowId = 0
const makeRow = (pod: string, options: Partial<Row> = {}): Row => ({
  id: nextRowId++,
  namespace: pod === '' ? '' : '@netns',
  pod,
  isHost: pod === '',
  isPod: false,
  seenFromBirth: true,
  departedAtMs: undefined,
  replaced: false,
  ...options,
})
const noSlots = { take: () => 0, free: () => undefined }

/** One source's sweep: values to add, and how the source fared. */
function sweep(
  store: SeriesStore,
  nowMs: number,
  source: string,
  values: () => (Row | undefined)[],
  options: { outcome?: Outcome; skipped?: Row[] } = {},
): readonly Family[] {
  const rows = new Set(values())
  const state: SourceState = { outcome: options.outcome ?? 'ok', rows, skipped: new Set(options.skipped) }
  return store.commit(nowMs, new Map([[source, state]]))
}
const find = (families: readonly Family[], name: string): readonly Series[] =>
  families.find((family) => family.name === name)?.series ?? []
const shown = (families: readonly Family[], name: string): Record<string, unknown> =>
  Object.fromEntries(find(families, name).map(({ labels, value }) => [labels, value]))

const addSegments = (store: SeriesStore, row: Row, value: number) => () => {
  store.add('netvitals_tcp_sent_segments_total', row, {}, value)
  return [row]
}
const addDrops = (store: SeriesStore, row: Row, value: number) => () => {
  store.add(
    'netvitals_dropped_packets_total',
    row,
    { reason: 'no_socket', category: 'no_socket', protocol: 'udp', direction: 'in' },
    value,
  )
  return [row]
}
const addOnDevice = (store: SeriesStore, values: Record<string, number>) => () => {
  for (const [device, value] of Object.entries(values))
    store.add('netvitals_device_receive_drops_total', undefined, { device }, value)
  return Object.keys(values).length > 0 ? [undefined] : []
}
const sent = 'netvitals_tcp_sent_segments_total'
const dropped = 'netvitals_dropped_packets_total'
const deviceDrops = 'netvitals_device_receive_drops_total'

describe('values', () => {
  it('adds what several emissions of one series give', () => {
    const store = createSeriesStore(noSlots)
    const host = makeRow('')
    const families = sweep(store, 0, 'trace-drops', () => [...addDrops(store, host, 3)(), ...addDrops(store, host, 4)()])
    expect(Object.values(shown(families, dropped))).toEqual([7])
  })

  it('takes the largest where the catalogue says so', () => {
    const store = createSeriesStore(noSlots)
    const host = makeRow('')
    const families = sweep(store, 0, 'netlink-sockets', () => {
      for (const value of [0.5, 0.9, 0.1]) store.add('netvitals_tcp_listen_queue_fullest_ratio', host, {}, value)
      return [host]
    })
    expect(Object.values(shown(families, 'netvitals_tcp_listen_queue_fullest_ratio'))).toEqual([0.9])
  })

  it('shows nothing of a sweep in which its source failed, and the same series again when it works', () => {
    const store = createSeriesStore(noSlots)
    const host = makeRow('')
    const first = find(sweep(store, 0, 'proc-snmp', addSegments(store, host, 10)), sent)[0]
    expect(find(sweep(store, 1000, 'proc-snmp', addSegments(store, host, 999), { outcome: 'failed' }), sent)).toEqual([])
    const again = find(sweep(store, 2000, 'proc-snmp', addSegments(store, host, 12)), sent)[0]
    expect(again).toMatchObject({ value: 12, bornAtMs: first?.bornAtMs })
  })

  it('keeps nothing of a new series whose source failed after it emitted', () => {
    const store = createSeriesStore(noSlots)
    const host = makeRow('')
    sweep(store, 0, 'proc-snmp', addSegments(store, host, 10), { outcome: 'failed' })
    expect(
      find(
        sweep(store, 1000, 'proc-snmp', () => []),
        sent,
      ),
    ).toEqual([])
  })

  it('holds the last values of a subject that was skipped', () => {
    const store = createSeriesStore(noSlots)
    const pod = makeRow('a')
    sweep(store, 0, 'proc-snmp', addSegments(store, pod, 10))
    const families = sweep(store, 1000, 'proc-snmp', addSegments(store, pod, 5), { skipped: [pod] })
    expect(Object.values(shown(families, sent))).toEqual([10])
  })

  it('ends a series its source no longer emits', () => {
    const store = createSeriesStore(noSlots)
    sweep(store, 0, 'netlink-devices', addOnDevice(store, { eth0: 1, eth1: 2 }))
    expect(shown(sweep(store, 1000, 'netlink-devices', addOnDevice(store, { eth0: 1 })), deviceDrops)).toEqual({
      'device="eth0"': 1,
    })
  })
})

describe('the birth rule', () => {
  it('does not claim a zero for what the first sweep finds in /proc', () => {
    const store = createSeriesStore(noSlots)
    const families = sweep(store, 0, 'proc-snmp', addSegments(store, makeRow('', { seenFromBirth: false }), 1_000_000))
    expect(find(families, sent)[0]).toMatchObject({ value: 1_000_000, bornFromZero: false })
  })

  it('claims it for a device that came while its source worked', () => {
    const store = createSeriesStore(noSlots)
    sweep(store, 0, 'netlink-devices', addOnDevice(store, { eth0: 5 }))
    const families = sweep(store, 1000, 'netlink-devices', addOnDevice(store, { eth0: 5, eth1: 7 }))
    expect(find(families, deviceDrops).map(({ bornFromZero }) => bornFromZero)).toEqual([false, true])
  })

  it('claims it for the first device, whose source had none to tell of before', () => {
    const store = createSeriesStore(noSlots)
    sweep(store, 0, 'netlink-devices', addOnDevice(store, {}))
    const families = sweep(store, 1000, 'netlink-devices', addOnDevice(store, { eth0: 5 }))
    expect(find(families, deviceDrops)).toMatchObject([{ value: 5, bornFromZero: true }])
  })

  it('does not claim it after a sweep in which the source failed', () => {
    const store = createSeriesStore(noSlots)
    const host = makeRow('', { seenFromBirth: false })
    sweep(store, 0, 'proc-snmp', addSegments(store, host, 1), { outcome: 'failed' })
    expect(find(sweep(store, 1000, 'proc-snmp', addSegments(store, host, 9)), sent)[0]).toMatchObject({ bornFromZero: false })
  })

  it('does not claim it for a subject that was skipped before', () => {
    const store = createSeriesStore(noSlots)
    const [host, pod] = [makeRow(''), makeRow('a')]
    sweep(store, 0, 'proc-snmp', addSegments(store, host, 1), { skipped: [pod] })
    const families = sweep(store, 1000, 'proc-snmp', () => [...addSegments(store, host, 1)(), ...addSegments(store, pod, 8)()])
    expect(find(families, sent).map(({ labels, bornFromZero }) => [labels, bornFromZero])).toContainEqual([
      'namespace="@netns",pod="a"',
      false,
    ])
  })

  it('claims it for a subject that was not there in an earlier complete listing', () => {
    const store = createSeriesStore(noSlots)
    sweep(store, 0, 'proc-snmp', addSegments(store, makeRow('', { seenFromBirth: false }), 1))
    expect(find(sweep(store, 1000, 'proc-snmp', addSegments(store, makeRow('new'), 8)), sent)).toMatchObject([
      { bornFromZero: true },
    ])
  })

  it('always claims it for what the tracer counts, which begins with the agent', () => {
    const store = createSeriesStore(noSlots)
    expect(
      find(sweep(store, 0, 'trace-drops', addDrops(store, makeRow('', { seenFromBirth: false }), 3)), dropped),
    ).toMatchObject([{ bornFromZero: true }])
  })

  it('gives a pod a series of birth `first` at its first change, the host at once', () => {
    const store = createSeriesStore(noSlots)
    const [host, pod] = [makeRow(''), makeRow('a')]
    const add = (value: number) => () => {
      for (const row of [host, pod]) store.add('netvitals_ip_forwarded_total', row, {}, value)
      return [host, pod]
    }
    expect(Object.keys(shown(sweep(store, 0, 'proc-snmp', add(0)), 'netvitals_ip_forwarded_total'))).toEqual([
      'namespace="",pod=""',
    ])
    const families = sweep(store, 1000, 'proc-snmp', add(4))
    expect(shown(families, 'netvitals_ip_forwarded_total')).toEqual({ 'namespace="",pod=""': 4, 'namespace="@netns",pod="a"': 4 })
    expect(find(families, 'netvitals_ip_forwarded_total')[1]).toMatchObject({ bornFromZero: true, bornAtMs: 1000 })
    expect(Object.keys(shown(sweep(store, 2000, 'proc-snmp', add(0)), 'netvitals_ip_forwarded_total'))).toHaveLength(2) // once born it stays
  })
})

describe('departure', () => {
  it('keeps the last values of a subject that is gone for 180 s', () => {
    const store = createSeriesStore(noSlots)
    const pod = { ...makeRow('a') }
    sweep(store, 0, 'proc-snmp', addSegments(store, pod, 10))
    Object.assign(pod, { departedAtMs: 1000 })
    expect(
      Object.values(
        shown(
          sweep(store, 1000 + limits.departureMs - 1, 'proc-snmp', () => []),
          sent,
        ),
      ),
    ).toEqual([10])
    expect(
      find(
        sweep(store, 1000 + limits.departureMs, 'proc-snmp', () => []),
        sent,
      ),
    ).toEqual([])
  })

  it('takes what the tracer still learns of it', () => {
    const store = createSeriesStore(noSlots)
    const pod = { ...makeRow('a') }
    sweep(store, 0, 'trace-drops', addDrops(store, pod, 1))
    Object.assign(pod, { departedAtMs: 1000 })
    expect(Object.values(shown(sweep(store, 2000, 'trace-drops', addDrops(store, pod, 6)), dropped))).toEqual([6])
  })

  it('ends the series of a subject at once when a new one has its name', () => {
    const store = createSeriesStore(noSlots)
    const old = { ...makeRow('a') }
    sweep(store, 0, 'proc-snmp', addSegments(store, old, 10))
    Object.assign(old, { replaced: true })
    const families = sweep(store, 1000, 'proc-snmp', addSegments(store, makeRow('a'), 2))
    expect(find(families, sent)).toMatchObject([{ labels: 'namespace="@netns",pod="a"', value: 2, bornAtMs: 1000 }])
  })
})

describe('limits', () => {
  it('counts exactly what does not fit into the values a label may have', () => {
    const store = createSeriesStore(noSlots)
    const devices = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`eth${i}`, 1]))
    expect(find(sweep(store, 0, 'netlink-devices', addOnDevice(store, devices)), deviceDrops)).toHaveLength(64)
    expect(store.dropped()).toBe(36)
    expect(store.count()).toBe(64)
  })

  it('gives the place of an ended series to another', () => {
    const store = createSeriesStore(noSlots)
    const devices = (prefix: string) => Object.fromEntries(Array.from({ length: 64 }, (_, i) => [`${prefix}${i}`, 1]))
    sweep(store, 0, 'netlink-devices', addOnDevice(store, devices('a')))
    sweep(store, 1000, 'netlink-devices', () => [])
    expect(find(sweep(store, 2000, 'netlink-devices', addOnDevice(store, devices('b'))), deviceDrops)).toHaveLength(64)
    expect(store.dropped()).toBe(0)
  })

  it('neutralises hostile label values, and adds up those that look alike then', () => {
    const store = createSeriesStore(noSlots)
    const hostile = { 'a\u001b[2J': 1, 'a\u0007[2J': 2, 'x"} 1\nfake_metric 9': 3, ['y'.repeat(1000)]: 4 }
    expect(shown(sweep(store, 0, 'netlink-devices', addOnDevice(store, hostile)), deviceDrops)).toEqual({
      'device="a\ufffd[2J"': 3,
      'device="x\\"} 1\ufffdfake_metric 9"': 3,
      [`device="${'y'.repeat(limits.labelCharacters)}…"`]: 4,
    })
  })
})
