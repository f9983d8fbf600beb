import type { CheckedSource, CheckReport } from '../check.ts'
import type { Outcome } from '../metrics/snapshot.ts'
import type { Need } from '../sources/source.ts'
import { paint, plain, type Terminal } from './terminal.ts'

export type Looks = Pick<Terminal, 'colour' | 'unicode'>

const marks: Readonly<
  Record<Outcome, { readonly unicode: string; readonly ascii: string; readonly colour: 'green' | 'dim' | 'red' }>
> = {
  ok: { unicode: '✔', ascii: '+', colour: 'green' },
  absent: { unicode: '–', ascii: '-', colour: 'dim' },
  failed: { unicode: '✖', ascii: 'x', colour: 'red' },
}
const indent = ' '.repeat(4)
/** Names of metrics in one line; JSON has them all. */
const namesShown = 3

/** The machine in one line. */
export function titleOf({ version, node }: Pick<CheckReport, 'version' | 'node'>, { colour, unicode }: Looks): string {
  const about = [node.os, `Linux ${node.kernel}`, node.machine, `cgroup ${node.cgroup}`].filter((text) => !/unknown$/.test(text))
  return `${paint(plain(node.name, unicode), 'bold', colour)}  ${plain(about.join(', '), unicode)}, netvitals ${version}`
}

/** Each source in a line, below it what is missing. */
export function sourcesOf(report: CheckReport, looks: Looks): string {
  const width = Math.max(0, ...report.sources.map(({ name }) => name.length), ...report.off.map((name) => name.length))
  const lines = report.sources.flatMap((source) => linesOf(source, width, looks))
  for (const name of report.off)
    lines.push(`  ${markOf('absent', looks)} ${plain(name, looks.unicode).padEnd(width)}  switched off`)
  for (const { of, outcome, known, reason } of report.names) {
    const summary = [
      ...(reason === undefined ? [] : [`${outcome}: ${reason}`]),
      ...(known === undefined ? [] : [`${known} known`]),
    ]
    lines.push(`  ${markOf(outcome, looks)} ${`names of ${of}`.padEnd(width)}  ${plain(summary.join('; '), looks.unicode)}`)
  }
  return `${lines.join('\n')}\n`
}

/** `8 ok, 1 absent, 0 failed`. */
export function totalsOf({ sources }: CheckReport): string {
  const count = (wanted: Outcome): string => `${sources.filter(({ outcome }) => outcome === wanted).length} ${wanted}`
  return `${count('ok')}, ${count('absent')}, ${count('failed')}`
}

export function markOf(outcome: Outcome, { colour, unicode }: Looks): string {
  const mark = marks[outcome]
  return paint(unicode ? mark.unicode : mark.ascii, mark.colour, colour)
}

function linesOf(source: CheckedSource, width: number, looks: Looks): string[] {
  const { name, outcome, reason, metrics, needs, caveats, skipped } = source
  const missing = metrics.filter((metric) => metric.outcome === 'absent')
  const given = metrics.length - missing.length
  const summary =
    outcome !== 'ok'
      ? `${outcome}: ${reason ?? 'no reason given'}`
      : missing.length > 0
        ? `${given} of ${metrics.length} metrics`
        : `${given} metric${given === 1 ? '' : 's'}`
  const details: string[] = []
  if (outcome === 'ok') for (const [why, names] of groupByReason(missing)) details.push(`without ${listNames(names)}: ${why}`)
  else {
    if (outcome === 'absent' && needs.length > 0) details.push(`needs ${needs.map(describeNeed).join(', ')}`)
    details.push(`would give ${listNames(metrics.map((metric) => metric.name))}`)
  }
  for (const caveat of caveats) details.push(`note: ${caveat}`)
  if (skipped.length > 0) {
    const [first] = skipped
    details.push(`not readable this time: ${skipped.length}, first ${first?.subject}: ${first?.reason}`)
  }
  const head = `  ${markOf(outcome, looks)} ${plain(name, looks.unicode).padEnd(width)}  ${plain(summary, looks.unicode)}`
  return [
    head,
    ...details.map((detail) => `${indent}${' '.repeat(width)}  ${paint(plain(detail, looks.unicode), 'dim', looks.colour)}`),
  ]
}

function groupByReason(missing: CheckedSource['metrics']): Map<string, string[]> {
  const groups = new Map<string, string[]>()
  for (const { name, reason = 'no reason given' } of missing) groups.set(reason, [...(groups.get(reason) ?? []), name])
  return groups
}

function listNames(names: readonly string[]): string {
  const shown = names.slice(0, namesShown).join(', ')
  return names.length > namesShown ? `${shown} and ${names.length - namesShown} more` : shown
}

function describeNeed(need: Need): string {
  const [[kind, what] = ['', '']] = Object.entries(need)
  return kind === 'kernel' || kind === 'tracepoint' ? `${kind} ${what}` : String(what)
}
