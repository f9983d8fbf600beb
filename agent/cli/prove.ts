import { type Config, readVersion } from '../config.ts'
import { createHost } from '../host/host.ts'
import { readNodeName } from '../host/machine.ts'
import { createLog } from '../log.ts'
import type { Outcome } from '../metrics/snapshot.ts'
import { type ProofOutcome, type ProvenSignal, type ProveReport, prove as proveAll } from '../prove/prove.ts'
import { createSources } from '../sources/index.ts'
import { toJson } from './check.ts'
import { type Looks, markOf, titleOf } from './report-text.ts'
import { paint, plain, type Terminal } from './terminal.ts'

const marks: Readonly<Record<ProofOutcome, Outcome>> = { exact: 'ok', absent: 'absent', mismatch: 'failed', failed: 'failed' }
const familyNames = { ipv4: 'IPv4', ipv6: 'IPv6' } as const

/** Causes faults and says whether they were counted. Exit status 1 if one was not counted exactly, or none could be caused. */
export async function prove(config: Config, terminal: Terminal): Promise<number> {
  const host = await createHost({ root: '/', tracer: true, log: createLog(config['log.level']) })
  try {
    const node = { name: readNodeName(config), ...(await host.machine()) }
    const report = await proveAll({ version: readVersion(), node, host, createSources, onProgress: showProgress })
    clearProgress()
    if (config.output === 'json') await terminal.print(`${toJson(report)}\n`)
    else if (report.missing.length === 0) await terminal.print(textOf(report, terminal))
    for (const reason of report.missing) terminal.warn(`nothing was proven: ${reason}`)
    return report.outcome === 'exact' ? 0 : 1
  } finally {
    await host.stop()
  }
}

function showProgress(done: number, of: number): void {
  if (process.stderr.isTTY) process.stderr.write(`\r${done} of ${of} faults caused`)
}

function clearProgress(): void {
  if (process.stderr.isTTY) process.stderr.write('\r\u001b[K')
}

/** Each fault, below it in a line each what it must be counted as. */
export function textOf(report: ProveReport, looks: Looks): string {
  const { signals, families, lostEvents, durationSeconds, unproven } = report
  const columns = [amountsOf, ({ signal }: ProvenSignal) => signal]
  const widths = columns.map((column) => Math.max(0, ...signals.map((signal) => column(signal).length)))
  const dim = (text: string): string => paint(plain(text, looks.unicode), 'dim', looks.colour)
  const lineOf = (signal: ProvenSignal): string => {
    const [amounts, text] = columns.map((column, i) => column(signal).padEnd(widths[i]!))
    return `  ${markOf(marks[signal.outcome], looks)} ${amounts}  ${text}  ${dim(originOf(signal))}`
  }
  const lines = [titleOf(report, looks), '', `Caused with ${families.map((family) => familyNames[family]).join(' and ')}:`]
  for (const fault of new Set(signals.map((signal) => signal.fault))) {
    lines.push('', fault)
    for (const signal of signals.filter((one) => one.fault === fault)) {
      lines.push(lineOf(signal))
      if (signal.outcome !== 'exact') lines.push(`    ${dim(`${nameOf(signal)}: ${signal.outcome}: ${signal.reason}`)}`)
    }
  }
  const count = (wanted: ProofOutcome): string => `${signals.filter(({ outcome }) => outcome === wanted).length} ${wanted}`
  const totals = (['exact', 'mismatch', 'absent', 'failed'] as const).map(count).join(', ')
  lines.push('', `${totals}; ${lostEvents} events lost; ${durationSeconds.toFixed(1)} s`, '', 'Not proven here:')
  for (const { what, why } of unproven) lines.push(`  ${dim(`${what}: ${why}`)}`)
  return `${lines.join('\n')}\n`
}

function amountsOf({ caused, counted }: ProvenSignal): string {
  const [was, is] = [caused, counted].map((amount) => amount?.toLocaleString('en') ?? '?')
  return `caused ${was}, counted ${is}`
}

/** What a program did needs no words. */
function originOf({ mechanism, causedAccordingTo: { by, what } }: ProvenSignal): string {
  return by === 'kernel' ? `${mechanism}; caused: ${what}` : mechanism
}

function nameOf({ metric, labels }: ProvenSignal): string {
  const named = Object.entries(labels).map(([label, value]) => `${label}="${value}"`)
  return named.length === 0 ? metric : `${metric}{${named.join(',')}}`
}
