import fs from 'node:fs'
import { createRequire } from 'node:module'
import { createAnalysis, describeDns, describeHttp } from '../capture/analysis.ts'
import { isFailure } from '../capture/dns-transactions.ts'
import { isHttpFailure } from '../capture/http-requests.ts'
import { type CaptureOrder, type CaptureReport, type CaptureSettings, type CountKind, countKinds } from '../capture/report.ts'
import { limits } from '../limits.ts'
import { loadLibc } from './libc.ts'
import { createLineSplitter } from './lines.ts'

// The process that captures. npm pcap hands out packets for as long as there are any, and nothing else of its process gets
// a turn meanwhile: so this one reads what it is told and writes what it tells between two packets.

/** What npm pcap gives, as far as it is used here. */
interface PcapSession {
  readonly link_type: string
  on(event: 'packet', listener: (packet: { readonly buf: Buffer; readonly header: Buffer }) => void): void
  stats(): { readonly ps_drop: number; readonly ps_ifdrop: number }
}
interface Pcap {
  createSession(device: string, options: Readonly<Record<string, unknown>>): PcapSession
}

const [orders, reports] = [0, 1]
const settings = JSON.parse(process.argv[2] ?? '{}') as CaptureSettings

function report(what: CaptureReport): void {
  const line = Buffer.from(`${JSON.stringify(what)}\n`)
  for (let at = 0; at < line.length; ) at += writeSome(line, at)
}

/** Waits for a reader that is slow: meanwhile the kernel keeps packets, and counts those it has no room for. */
function writeSome(line: Buffer, at: number): number {
  try {
    return fs.writeSync(reports, line, at)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') process.exit(0) // nobody reads any more
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
    return 0
  }
}

function giveUp(reason: string): never {
  report({ type: 'absent', reason })
  process.exit(0)
}

function loadPcap(): Pcap {
  try {
    return createRequire(import.meta.url)('pcap') as Pcap
  } catch (error) {
    const [why = ''] = (error as Error).message.split('\n')
    giveUp(`npm pcap is not here: ${why}; it is built at npm install, with libpcap-dev, g++, make and python3`)
  }
}

function openSession(pcap: Pcap): PcapSession {
  const ports = [...settings.dnsPorts.map((port) => `port ${port}`), ...settings.httpPorts.map((port) => `tcp port ${port}`)]
  try {
    return pcap.createSession(settings.device, {
      filter: [...ports, '(icmp[icmptype] == 3 and icmp[icmpcode] == 4)'].join(' or '),
      promiscuous: false,
      snap_length: limits.captureSnapBytes,
      buffer_size: limits.captureRingBytes,
      buffer_timeout: limits.captureTimeoutMs,
    })
  } catch (error) {
    const { message } = error as Error
    const help = /permit/i.test(message) ? '; it needs CAP_NET_RAW' : ''
    giveUp(`cannot capture on ${settings.device}: ${message}${help}`)
  }
}

/** LINKTYPE_ numbers by the names of npm pcap. */
function linkTypeOf({ link_type: name }: PcapSession): number {
  const known = { LINKTYPE_NULL: 0, LINKTYPE_ETHERNET: 1, LINKTYPE_RAW: 101, LINKTYPE_LINUX_SLL: 113 }
  return known[name as keyof typeof known] ?? Number(/\d+$/.exec(name)?.[0] ?? -1)
}

/** How many have been shown in this second, and how many not since that was last told. */
const shown = { dns: 0, http: 0 }
const notShown = { dns: { routine: 0, trouble: 0 }, http: { routine: 0, trouble: 0 } }
let shownSinceMs = 0
/** What went well leaves room for what did not. */
function show(of: keyof typeof shown, isTrouble: boolean, describe: () => CaptureReport): void {
  if (shown[of] >= (isTrouble ? limits.eventsPerSecond : limits.routineEventsPerSecond))
    notShown[of][isTrouble ? 'trouble' : 'routine']++
  else {
    shown[of]++
    report(describe())
  }
}
const analysis = createAnalysis(settings, {
  onDns: (transaction) => show('dns', isFailure(transaction), () => ({ type: 'dns', ...describeDns(transaction) })),
  onHttp: (transaction) => show('http', isHttpFailure(transaction), () => ({ type: 'http', ...describeHttp(transaction) })),
})

const session = openSession(loadPcap())
const linkType = linkTypeOf(session)
const { libc } = await loadLibc()
libc?.dropCapabilities() // the socket is open, and what comes through it is written by anybody
report({ type: 'ready' })

const toLatin1 = (addresses: readonly string[]): string[] =>
  addresses.map((digits) => Buffer.from(digits, 'hex').toString('latin1'))
const splitter = createLineSplitter({
  onLine(line) {
    const order = JSON.parse(line) as CaptureOrder
    if (order.type === 'own') analysis.own(order.subject, order.isHost, toLatin1(order.addresses))
    else if (order.type === 'disown') analysis.disown(toLatin1(order.addresses))
    else {
      analysis.forget(order.subject)
      for (const kind of countKinds) told[kind].delete(order.subject)
    }
  },
  onLong: () => process.exit(1), // the agent writes none
  bytesMax: limits.captureLineBytes,
})
const chunk = Buffer.alloc(1 << 16)
process.stdin.pause() // to have it opened makes reading it not wait; reading through it would have no turn
function readOrders(): void {
  for (;;) {
    let length = 0
    try {
      length = fs.readSync(orders, chunk)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return
      process.exit(0)
    }
    if (length === 0) process.exit(0) // the agent has gone
    splitter.push(chunk.subarray(0, length))
  }
}

/** What was last told of each subject. */
const told = Object.fromEntries(countKinds.map((kind) => [kind, new Map<number, Float64Array>()])) as Record<
  CountKind,
  Map<number, Float64Array>
>
let totalsTold = ''
function tellCounts(): void {
  for (const of of countKinds)
    for (const [subject, values] of analysis.counts[of]) {
      const before = told[of].get(subject)
      if (before !== undefined && values.every((value, place) => value === before[place])) continue
      told[of].set(subject, values.slice())
      report({ type: 'counts', of, subject, values: [...values] })
    }
  for (const of of ['dns', 'http'] as const)
    for (const kind of ['routine', 'trouble'] as const) {
      const count = notShown[of][kind]
      if (count > 0) report({ type: 'not_shown', of, count, isTrouble: kind === 'trouble' })
      notShown[of][kind] = 0
    }
  const { ps_drop: ringDrops, ps_ifdrop: interfaceDrops } = session.stats()
  const totals = { ...analysis.totals(), ringDrops, interfaceDrops }
  const text = JSON.stringify(totals)
  if (text !== totalsTold) report({ type: 'totals', totals })
  totalsTold = text
}

let lastTurnMs = 0
/** Packets up to this time have been read. */
function turn(readToMs: number): void {
  const nowMs = performance.now()
  if (nowMs - lastTurnMs < limits.captureTellMs) return
  lastTurnMs = nowMs
  readOrders()
  analysis.expire(readToMs)
  tellCounts()
  if (nowMs - shownSinceMs < 1000) return
  shownSinceMs = nowMs
  shown.dns = 0
  shown.http = 0
}

let packets = 0
session.on('packet', ({ buf, header }) => {
  const timeMs = header.readUInt32LE(0) * 1000 + header.readUInt32LE(4) / 1000
  analysis.take(buf, 0, Math.min(header.readUInt32LE(8), buf.length), header.readUInt32LE(12), linkType, timeMs)
  if ((++packets & 63) === 0) turn(timeMs)
})
// What has come and was not handed out yet is at most so old.
setInterval(() => turn(Date.now() - 5 * limits.captureTimeoutMs), limits.captureTellMs)
