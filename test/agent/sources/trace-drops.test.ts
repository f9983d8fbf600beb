import { expect, it } from 'vitest'
import type { NetworkNamespace } from '../../../agent/host/namespaces.ts'
import { createTraceDrops } from '../../../agent/sources/trace-drops.ts'
import { collectFrom, valuesOf } from '../../source-contract.ts'
import { createFakeHost, netnsOf } from './fake-host.ts'
import { createFakeTracer } from './fake-tracer.ts'

interface Drop {
  readonly inode: number
  readonly reason: number
  readonly protocol?: number
  readonly direction?: number
  readonly packets: number
}
const known = netnsOf('known')

/** A tracer that holds these; the key has a word more than those of other maps. */
function sourceWith(drops: readonly Drop[]) {
  const fake = createFakeTracer()
  fake.tracer.read = (_, onEntry) => {
    for (const { inode, reason, protocol = 2, direction = 0, packets } of drops) {
      const key = new DataView(new ArrayBuffer(16))
      for (const at of [0, 4]) key.setUint32(at, inode, true)
      key.setUint32(8, reason, true)
      key.setUint8(12, protocol)
      key.setUint8(13, direction)
      onEntry(key, Float64Array.of(packets, packets * 100))
    }
  }
  const { host } = createFakeHost([known], fake.tracer)
  const find = (inode: number): NetworkNamespace | undefined => [undefined, host.namespaces.host, known][inode]
  Object.assign(host.namespaces, { find })
  return { source: createTraceDrops(host), host }
}

it('tells whose packets, why and where', async () => {
  const { source, host } = sourceWith([
    { inode: 1, reason: 0, direction: 0, packets: 5 },
    { inode: 2, reason: 1, protocol: 1, direction: 2, packets: 6 },
    { inode: 2, reason: 2, protocol: 0, direction: 1, packets: 7 },
  ])
  const { emitted } = await collectFrom(source)
  const packets = emitted.filter(({ metric }) => metric === 'netvitals_dropped_packets_total')
  expect(packets.map(({ of, labels, value }) => [of === 'node' ? of : of.netns, labels, value])).toEqual([
    [host.namespaces.host, { reason: 'no_socket', category: 'no_socket', protocol: 'udp', direction: 'in' }, 5],
    [known, { reason: 'netfilter_drop', category: 'netfilter', protocol: 'tcp', direction: 'forward' }, 6],
    [known, { reason: 'brand_new', category: 'other', protocol: 'other', direction: 'out' }, 7],
  ])
  const bytes = emitted.filter(({ metric }) => metric === 'netvitals_dropped_bytes_total')
  expect(bytes.map(({ labels, value }) => [labels, value])).toEqual([
    [{ category: 'no_socket', direction: 'in' }, 500],
    [{ category: 'netfilter', direction: 'forward' }, 600],
    [{ category: 'other', direction: 'out' }, 700],
  ])
})

it('counts what the kernel does not attribute apart', async () => {
  const collected = await collectFrom(sourceWith([{ inode: 0, reason: 1, packets: 9 }]).source)
  expect(valuesOf(collected, 'netvitals_dropped_packets_unattributed_total')).toEqual({ 'reason=netfilter_drop': 9 })
  expect(collected.emitted).toHaveLength(1)
})
