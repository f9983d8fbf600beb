import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { dnsPlaces } from '../../../agent/capture/places.ts'
import type { DnsReport } from '../../../agent/capture/report.ts'
import { loadLibc } from '../../../agent/host/libc.ts'
import { createNamespaces } from '../../../agent/host/namespaces.ts'
import { createReplay } from '../../../agent/host/replay.ts'
import { createReplayPackets } from '../../../agent/host/replay-packets.ts'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-replay-packets-'))
afterAll(() => fs.rmSync(folder, { recursive: true }))
const { host } = createNamespaces({ root: '/', libc: await loadLibc() })
const recorded = fs.readFileSync(path.resolve(import.meta.dirname, '../../fixtures/dns/node-veth.pcap'))

async function read(bytes: Uint8Array, { tellsEach = false } = {}) {
  const packets = createReplayPackets({ host, ports: { dnsPorts: [53], httpPorts: [] }, tellsEach })
  const told: DnsReport[] = []
  packets.capture.onDns((report) => told.push(report))
  const replay = createReplay({ packets })
  const file = path.join(folder, 'file')
  fs.writeFileSync(file, bytes)
  await replay.read(file, () => {})
  return { packets: packets.totals(), totals: replay.totals(), capture: packets.capture, told }
}

/** Where in a file of the classic form each packet ends. */
function endsOf(file: Buffer): number[] {
  const ends = [24]
  while (ends.at(-1)! < file.length) ends.push(ends.at(-1)! + 16 + file.readUInt32LE(ends.at(-1)! + 8))
  return ends
}

it('cut at any byte: told where, and what is before it counts', async () => {
  const ends = endsOf(recorded).slice(0, 9)
  const file = recorded.subarray(0, ends.at(-1))
  for (let cut = 4; cut < file.length; cut++) {
    const { packets, totals } = await read(file.subarray(0, cut))
    const before = ends.filter((end) => end <= cut).length
    expect(packets.packets).toBe(Math.max(0, before - 1))
    expect(totals.captures).toBe(1)
    if (ends.includes(cut)) expect(totals.damaged).toEqual([])
    else expect(totals.damaged).toEqual([`${folder}/file: byte ${cut + 1}: expected the rest: the file is cut off`])
  }
})

it('any byte damaged: it is read, or told', async () => {
  const file = recorded.subarray(0, endsOf(recorded)[4])
  for (let at = 4; at < file.length; at++) {
    const broken = Buffer.from(file)
    broken[at] = broken[at]! ^ 0xff
    const { packets, totals } = await read(broken)
    expect(totals.damaged.length + packets.packets).toBeGreaterThan(0)
    expect(packets.packets).toBeLessThanOrEqual(4)
  }
})

it('is text where it does not begin like a capture', async () => {
  for (const text of [Buffer.alloc(0), recorded.subarray(0, 3), Buffer.from('TIME     PID')])
    expect((await read(text)).totals.captures).toBe(0)
})

it('counts for the host, and tells each query to who wants it', async () => {
  const { packets, capture, told } = await read(recorded, { tellsEach: true })
  expect(packets).toMatchObject({ packets: 58, dnsQueries: 27, dnsResponses: 23, dnsUnanswered: 3, dnsWaiting: 1, cut: 0 })
  const [[netns, counts] = []] = [...capture.counts('dns')]
  expect([netns, counts?.[dnsPlaces.unanswered]]).toEqual([host, 3])
  expect([capture.missing(), capture.starts()]).toEqual([undefined, 1])
  expect(told).toHaveLength(26)
  expect(told.filter(({ protocol }) => protocol === 'tcp')).toMatchObject([
    { name: 'yes.example.net', id: 600, server: { address: '10.96.0.10', port: 53 } },
  ])
  expect((await read(recorded)).told).toEqual([])
})

it('has nothing to tell where there was no capture', () => {
  const { capture } = createReplayPackets({ host, ports: { dnsPorts: [53], httpPorts: [] }, tellsEach: false })
  expect(capture.missing()).toEqual({ reason: 'none of the recordings is a capture of packets', isFault: false })
  expect(capture.starts()).toBe(0)
})
