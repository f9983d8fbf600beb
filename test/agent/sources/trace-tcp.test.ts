import { beforeEach, expect, it } from 'vitest'
import type { Host } from '../../../agent/host/host.ts'
import type { Source } from '../../../agent/sources/source.ts'
import { createTraceConnects } from '../../../agent/sources/trace-connects.ts'
import { createTraceIcmp } from '../../../agent/sources/trace-icmp.ts'
import { createTraceResets } from '../../../agent/sources/trace-resets.ts'
import { createTraceRetransmits } from '../../../agent/sources/trace-retransmits.ts'
import { collectFrom } from '../../source-contract.ts'
import { createFakeHost, netnsOf } from './fake-host.ts'
import { createFakeTracer, type FakeTracer } from './fake-tracer.ts'

const pod = netnsOf('pod')
let fake: FakeTracer
let host: Host
beforeEach(() => {
  fake = createFakeTracer()
  ;({ host } = createFakeHost([pod], fake.tracer))
  Object.assign(host.namespaces, { find: () => pod })
})

/** What a source says of the pod: metric without its prefix, label values, value. */
async function ofPod(create: (host: Host) => Source): Promise<unknown[]> {
  const { emitted } = await collectFrom(create(host))
  return emitted
    .filter(({ of }) => of !== 'node' && of.netns === pod)
    .map(({ metric, labels, value }) => [metric.slice('netvitals_'.length), ...Object.values(labels), value])
}

it('trace-resets: names of reasons and states', async () => {
  fake.entries.tcp_sent_resets_by_reason_total = [{ inode: 2, label: 1, values: [7] }]
  fake.entries.tcp_received_resets_total = [
    { inode: 2, label: 2, values: [5] },
    { inode: 2, label: 8, values: [6] },
  ]
  expect(await ofPod(createTraceResets)).toEqual([
    ['tcp_sent_resets_by_reason_total', 'no_socket', 7],
    ['tcp_received_resets_total', 'syn_sent', 5],
    ['tcp_received_resets_total', 'close_wait', 6],
  ])
})

it('trace-retransmits: names of kinds', async () => {
  fake.entries.tcp_retransmitted_segments_by_kind_total = [0, 1, 2, 3, 4].map((label) => ({ inode: 2, label, values: [label] }))
  fake.entries.tcp_retransmit_failures_total = [{ inode: 2, values: [9] }]
  expect(await ofPod(createTraceRetransmits)).toEqual([
    ['tcp_retransmitted_segments_by_kind_total', 'fast', 0],
    ['tcp_retransmitted_segments_by_kind_total', 'timeout', 1],
    ['tcp_retransmitted_segments_by_kind_total', 'probe', 2],
    ['tcp_retransmitted_segments_by_kind_total', 'syn', 3],
    ['tcp_retransmitted_segments_by_kind_total', 'synack', 4],
    ['tcp_retransmit_failures_total', 9],
  ])
})

it('trace-connects: names of outcomes; microseconds become seconds', async () => {
  fake.entries.tcp_connects_total = [0, 7].map((label) => ({ inode: 2, label, values: [label + 1] }))
  fake.entries.tcp_connect_duration_seconds = [{ inode: 2, values: [1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 3, 500_000] }]
  fake.entries.tcp_rtt_seconds = [{ inode: 2, values: [2500, 10] }]
  expect(await ofPod(createTraceConnects)).toEqual([
    ['tcp_connects_total', 'connected', 1],
    ['tcp_connects_total', 'other', 8],
    ['tcp_connect_duration_seconds', { counts: [1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 3], sum: 0.5 }],
    ['tcp_rtt_seconds', { sum: 0.0025, count: 10 }],
  ])
})

it('trace-icmp: fragmentation needed', async () => {
  fake.entries.icmp_sent_fragmentation_needed_total = [{ inode: 2, values: [4] }]
  expect(await ofPod(createTraceIcmp)).toEqual([['icmp_sent_fragmentation_needed_total', 4]])
})

it('the host’s row shows 0 of what has not happened', async () => {
  const zeros = await Promise.all(
    [createTraceResets, createTraceRetransmits, createTraceConnects, createTraceIcmp].map(async (create) => {
      const { emitted } = await collectFrom(create(host))
      return emitted.filter(({ of }) => of !== 'node' && of.netns === host.namespaces.host).length
    }),
  )
  expect(zeros).toEqual([8, 6, 10, 1])
})
