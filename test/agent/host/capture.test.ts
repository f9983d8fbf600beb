import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { pino } from 'pino'
import { afterAll, afterEach, expect, it } from 'vitest'
import { dnsPlaces } from '../../../agent/capture/places.ts'
import type { CaptureReport, DnsReport } from '../../../agent/capture/report.ts'
import { type Capture, createCapture } from '../../../agent/host/capture.ts'
import { loadLibc } from '../../../agent/host/libc.ts'
import { createNamespaces, type NetworkNamespace } from '../../../agent/host/namespaces.ts'
import { limits } from '../../../agent/limits.ts'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-capture-'))
const heard = path.join(folder, 'heard')
const log = pino({ level: 'silent' })
const namespaces = createNamespaces({ root: '/', libc: await loadLibc() })
const { host } = namespaces
const pods = [1, 2].map((i) => namespaces.stranger(4_026_000_000 + i, i))
const [podA, podB] = pods as [NetworkNamespace, NetworkNamespace]
const settings = { device: 'any', dnsPorts: [53], httpPorts: [] }
let capture: Capture | undefined
afterEach(async () => {
  await capture?.stop()
  fs.rmSync(heard, { force: true })
})
afterAll(() => fs.rmSync(folder, { recursive: true }))

/** In place of the process that captures: writes down what it is told, and tells what it finds in a file, when that changes. */
function program(first: readonly CaptureReport[]): { file: string; tell(...reports: CaptureReport[]): void; end(): void } {
  const file = path.join(folder, `capture-${Math.random()}.mjs`)
  const says = `${file}.says`
  fs.writeFileSync(says, '')
  fs.writeFileSync(
    file,
    `import fs from 'node:fs'
    for (const report of ${JSON.stringify(first)}) console.log(JSON.stringify(report))
    process.stdin.on('data', (data) => fs.appendFileSync(${JSON.stringify(heard)}, data)).on('end', () => process.exit())
    let said = 0
    setInterval(() => {
      const text = fs.readFileSync(${JSON.stringify(says)}, 'utf8').slice(said)
      said += text.length
      if (text === 'end') process.exit(3)
      process.stdout.write(text)
    }, 10)`,
  )
  return {
    file,
    tell: (...reports) => fs.appendFileSync(says, reports.map((report) => `${JSON.stringify(report)}\n`).join('')),
    end: () => fs.writeFileSync(says, `${fs.readFileSync(says, 'utf8')}end`),
  }
}

const readOrders = (): object[] =>
  fs.existsSync(heard)
    ? fs
        .readFileSync(heard, 'utf8')
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line) as object)
    : []
const counts = (subject: number, places: Partial<Record<number, number>>): CaptureReport => ({
  type: 'counts',
  of: 'dns',
  subject,
  values: Array.from({ length: dnsPlaces.size }, (_, place) => places[place] ?? 0),
})
const unansweredOf = (netns: NetworkNamespace): number | undefined =>
  [...capture!.counts('dns')].find(([of]) => of === netns)?.[1][dnsPlaces.unanswered]

it('tells why nothing is captured, and does not try again', async () => {
  const lines: string[] = []
  const written = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) })
  capture = createCapture({ settings, host, log: written, program: program([{ type: 'absent', reason: 'no pcap' }]).file })
  expect(capture.missing()).toEqual({ reason: 'not started', isFault: false })
  await capture.start()
  expect(capture.missing()).toEqual({ reason: 'no pcap', isFault: false })
  await capture.stop()
  expect(capture.starts()).toBe(1)
  expect(lines.map((line) => JSON.parse(line).tool)).toContain('capture')
})

it('switched off: no process', async () => {
  capture = createCapture({ settings: undefined, host, log })
  await capture.start()
  expect([capture.missing()?.reason, capture.starts(), capture.setOwners(new Map([['10.0.0.1', podA]]))]).toEqual([
    'switched off',
    0,
    0,
  ])
})

it('the program is not there', async () => {
  capture = createCapture({ settings, host, log, program: '/nowhere/capture.js' })
  await capture.start()
  expect(capture.missing()).toEqual({ reason: 'there is no /nowhere/capture.js', isFault: false })
})

it('tells the process whose the addresses are, as they change, and again when it begins anew', async () => {
  const { file, end } = program([{ type: 'ready' }])
  capture = createCapture({ settings, host, log, program: file })
  await capture.start()
  expect(capture.missing()).toBeUndefined()
  const own = (subject: number, isHost: boolean, addresses: readonly string[]) => ({ type: 'own', subject, isHost, addresses })
  capture.setOwners(new Map([['192.168.1.5', host], ['10.0.0.1', podA], ['2001:db8::1', podA]])) // biome-ignore format: a table
  const v6 = '20010db8000000000000000000000001'
  await expect.poll(readOrders).toEqual([own(1, true, []), own(1, true, ['c0a80105']), own(2, false, ['0a000001', v6])])
  capture.setOwners(new Map([['192.168.1.5', host], ['10.0.0.1', podB], ['2001:db8::1', podA]])) // biome-ignore format: a table
  await expect.poll(() => readOrders().slice(3)).toEqual([own(3, false, ['0a000001'])])
  capture.setOwners(new Map([['192.168.1.5', host], ['10.0.0.1', podB]])) // biome-ignore format: a table
  await expect.poll(() => readOrders().slice(4)).toEqual([{ type: 'disown', addresses: [v6] }])
  end()
  await expect
    .poll(() => readOrders().slice(5), { timeout: 5000 })
    .toEqual([own(1, true, ['c0a80105']), own(3, false, ['0a000001'])])
})

it('what was counted stays when the process ends, and the next adds to it', async () => {
  const { file, tell, end } = program([{ type: 'ready' }])
  capture = createCapture({ settings, host, log, program: file })
  await capture.start()
  capture.setOwners(new Map([['10.0.0.1', podA]]))
  const totals = { packets: 9, ringDrops: 2, interfaceDrops: 0, cut: 0, unreadable: { cut: 1 }, dnsMalformed: 4, dnsUnmatched: 0, dnsNotFollowed: 0, httpUnreadable: {}, httpLosses: 0, httpUnpaired: 0, tcpEvicted: 0 } // biome-ignore format: a table
  tell(counts(2, { [dnsPlaces.unanswered]: 5 }), { type: 'totals', totals })
  await expect.poll(() => unansweredOf(podA)).toBe(5)
  await expect.poll(() => capture!.totals()).toEqual(totals)
  end()
  const ended = { reason: 'the process that captures has ended: exit status 3', isFault: true }
  await expect.poll(() => capture!.missing()).toEqual(ended)
  expect([unansweredOf(podA), capture.totals()]).toEqual([5, totals])
  await expect.poll(() => capture!.starts(), { timeout: 5000 }).toBe(2)
  await expect.poll(() => capture!.missing(), { timeout: 5000 }).toBeUndefined()
  // The second one tells the same from its beginning.
  await expect.poll(() => unansweredOf(podA), { timeout: 5000 }).toBe(10)
  await expect.poll(() => capture!.totals()).toMatchObject({ packets: 18, ringDrops: 4, unreadable: { cut: 2 } })
})

it('counts of a namespace that lost its address stay as long as its series, and then the process is told', async () => {
  const { file, tell } = program([{ type: 'ready' }])
  let nowMs = 0
  capture = createCapture({ settings, host, log, program: file, now: () => nowMs })
  await capture.start()
  capture.setOwners(new Map([['10.0.0.1', podA]]))
  tell(counts(2, { [dnsPlaces.unanswered]: 5 }))
  await expect.poll(() => unansweredOf(podA)).toBe(5)
  capture.setOwners(new Map([['10.0.0.1', podB]]))
  expect([unansweredOf(podA), unansweredOf(podB)]).toEqual([5, 0])
  nowMs += limits.departureMs - 1
  capture.setOwners(new Map([['10.0.0.1', podB]]))
  expect(unansweredOf(podA)).toBe(5)
  nowMs += 2
  capture.setOwners(new Map([['10.0.0.1', podB]]))
  expect(unansweredOf(podA)).toBeUndefined()
  await expect.poll(() => readOrders().at(-1)).toEqual({ type: 'forget', subject: 2 })
})

it('hands on single queries with whose they are, and how many were not shown', async () => {
  const { file, tell } = program([{ type: 'ready' }])
  capture = createCapture({ settings, host, log, program: file })
  const events: unknown[] = []
  capture.onDns((report, netns) => events.push([report.name, netns]))
  capture.onNotShown((_, count) => events.push(count))
  await capture.start()
  capture.setOwners(new Map([['10.0.0.1', podA]]))
  const end = { address: '10.0.0.1', port: 40_000 }
  const query: DnsReport = { type: 'dns', subject: 2, timeMs: 1, family: 'ipv4', protocol: 'udp', client: end, server: end, id: 1, name: 'a', queryType: 'A' } // biome-ignore format: a table
  tell(query, { ...query, subject: 77, name: 'of nobody' }, { type: 'not_shown', of: 'dns', count: 12, isTrouble: true })
  await expect.poll(() => events).toEqual([['a', podA], 12]) // biome-ignore format: a table
})

it('refuses addresses beyond the limit, and says how many', async () => {
  const { file } = program([{ type: 'ready' }])
  capture = createCapture({ settings, host, log, program: file })
  await capture.start()
  const many = new Map(
    Array.from({ length: limits.captureAddresses + 3 }, (_, i) => [`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, podA] as const),
  )
  expect(capture.setOwners(many)).toBe(3)
})
