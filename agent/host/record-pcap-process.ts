import fs from 'node:fs'
import { encodePcapHeader, encodePcapPacket } from '../../parsers/pcap-file.ts'
import { createSingleCopies } from '../capture/single-copies.ts'
import { limits } from '../limits.ts'
import { describeErrno, loadLibc } from './libc.ts'
import { listenToParent, tellParent } from './parent.ts'
import { openPcapSession, type PcapSession } from './pcap-session.ts'
import type { PcapFileEnd, RecordPcapReport, RecordPcapSettings } from './record-pcap.ts'

// The process that writes packets into a file.

const settings = JSON.parse(process.argv[2] ?? '{}') as RecordPcapSettings
const resolution = 'microseconds' // npm pcap gives no more

const report = (what: RecordPcapReport): void => tellParent(what)
function fail(reason: string): never {
  report({ type: 'failed', reason })
  process.exit(1)
}

function openSession(): PcapSession {
  const { device, ownerFilter, filter, snapBytes } = settings
  const filters = [ownerFilter, filter].filter((one) => one !== '')
  try {
    return openPcapSession({ device, filter: filters.map((one) => `(${one})`).join(' and '), snapBytes })
  } catch (error) {
    fail((error as Error).message)
  }
}

function openFile(): number {
  const { file, isForced } = settings
  try {
    // Replaced, not written into: a link is not followed, and who has the old one open does not see the new one.
    if (isForced && fs.lstatSync(file, { throwIfNoEntry: false })?.isFile() === true) fs.unlinkSync(file)
    return fs.openSync(file, 'wx', 0o600)
  } catch (error) {
    const { errno = 0, code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') fail(`${file} is there already${isForced ? ', and is no file' : '; --force replaces it'}`)
    fail(`${file} cannot be written: ${describeErrno(-errno).words}`)
  }
}

const session = openSession()
const file = openFile()
const copies = createSingleCopies()
const { libc } = await loadLibc()
libc?.dropCapabilities() // the socket and the file are open, and what comes through the one is written by anybody

const parts: Uint8Array[] = []
let partBytes = 0
let [packets, bytes, cut, sightings] = [0, 0, 0, 0]
let endsAtMs = performance.now() + (settings.durationMs ?? Number.POSITIVE_INFINITY)
let endOnTime: PcapFileEnd = 'duration'

function totals() {
  const { ring, device } = session.drops()
  return { packets, bytes, cut, sightings, lost: ring + device }
}

function append(part: Uint8Array): void {
  parts.push(part)
  partBytes += part.length
  bytes += part.length
  if (partBytes >= limits.recordPcapBufferBytes) flush()
}

function flush(): void {
  const all = Buffer.concat(parts.splice(0))
  partBytes = 0
  try {
    for (let at = 0; at < all.length; ) at += fs.writeSync(file, all, at)
  } catch (error) {
    fail(`${settings.file} cannot be written: ${describeErrno(-((error as NodeJS.ErrnoException).errno ?? 0)).words}`)
  }
}

function finish(end: PcapFileEnd): never {
  flush()
  report({ type: 'ended', end, totals: totals() })
  process.exit(0)
}

const readOrders = listenToParent(
  () => {
    endOnTime = 'stopped'
    endsAtMs = performance.now() + 2 * limits.captureTimeoutMs // what was seen has been handed out by then
  },
  () => flush(),
)

let lastTurnMs = 0
function turn(): void {
  const nowMs = performance.now()
  if (nowMs >= endsAtMs) finish(endOnTime)
  if (nowMs - lastTurnMs < limits.captureTellMs) return
  lastTurnMs = nowMs
  readOrders()
  flush()
  report({ type: 'totals', totals: totals() })
}

append(encodePcapHeader(session.linkType, settings.snapBytes, resolution))
report({ type: 'ready' })
let seen = 0
session.onPacket((packet, capturedLength, wireLength, timeMs) => {
  if ((++seen & 63) === 0) turn()
  if (!copies.admits(packet, capturedLength, wireLength, session.linkType, timeMs)) {
    sightings++
    return
  }
  const record = encodePcapPacket(packet, 0, capturedLength, wireLength, timeMs, resolution)
  if (bytes + record.length > settings.bytesMax) finish('bytes')
  append(record)
  packets++
  if (capturedLength < wireLength) cut++
  if (packets >= settings.packetsMax) finish('packets')
})
setInterval(turn, limits.captureTimeoutMs)
