import { createAnalysis, describeDns, describeHttp } from '../capture/analysis.ts'
import { isFailure } from '../capture/dns-transactions.ts'
import { isHttpFailure } from '../capture/http-requests.ts'
import { type CountKind, countKinds } from '../capture/places.ts'
import type { CaptureOrder, CaptureReport, CaptureSettings } from '../capture/report.ts'
import { limits } from '../limits.ts'
import { loadLibc } from './libc.ts'
import { listenToParent, tellParent } from './parent.ts'
import { openPcapSession, type PcapSession } from './pcap-session.ts'

// The process that captures: it reads what it is told and writes what it tells between two packets.

const settings = JSON.parse(process.argv[2] ?? '{}') as CaptureSettings

const report = (what: CaptureReport): void => tellParent(what)

function openSession(): PcapSession {
  const ports = [...settings.dnsPorts.map((port) => `port ${port}`), ...settings.httpPorts.map((port) => `tcp port ${port}`)]
  const filter = [...ports, '(icmp[icmptype] == 3 and icmp[icmpcode] == 4)'].join(' or ')
  try {
    return openPcapSession({ device: settings.device, filter, snapBytes: limits.captureSnapBytes })
  } catch (error) {
    report({ type: 'absent', reason: (error as Error).message })
    process.exit(0)
  }
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

const session = openSession()
const { libc } = await loadLibc()
libc?.dropCapabilities() // the socket is open, and what comes through it is written by anybody
report({ type: 'ready' })

const toLatin1 = (addresses: readonly string[]): string[] =>
  addresses.map((digits) => Buffer.from(digits, 'hex').toString('latin1'))
const readOrders = listenToParent((what) => {
  const order = what as CaptureOrder
  if (order.type === 'own') analysis.own(order.subject, order.isHost, toLatin1(order.addresses))
  else if (order.type === 'disown') analysis.disown(toLatin1(order.addresses))
  else {
    analysis.forget(order.subject)
    for (const kind of countKinds) told[kind].delete(order.subject)
  }
})

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
  const { ring: ringDrops, device: interfaceDrops } = session.drops()
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
session.onPacket((bytes, capturedLength, wireLength, timeMs) => {
  analysis.take(bytes, 0, capturedLength, wireLength, session.linkType, timeMs)
  if ((++packets & 63) === 0) turn(timeMs)
})
// What has come and was not handed out yet is at most so old.
setInterval(() => turn(Date.now() - 5 * limits.captureTimeoutMs), limits.captureTellMs)
