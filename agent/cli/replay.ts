import { createAgent } from '../agent.ts'
import type { Config } from '../config.ts'
import { describeSystemError } from '../config-file.ts'
import { createHost } from '../host/host.ts'
import { createReplay, type ReplayTotals } from '../host/replay.ts'
import { schemaVersion } from '../http/socket.ts'
import { createLog } from '../log.ts'
import type { MetricName } from '../metrics/catalogue.ts'
import { parseLabels } from '../metrics/label-text.ts'
import { renderExposition } from '../metrics/render.ts'
import type { Family } from '../metrics/snapshot.ts'
import { createRecordingReader, mergeFamilies } from '../recording.ts'
import { createSources, sourcesOfTools } from '../sources/index.ts'
import { createToolHealth } from '../sources/tool-health.ts'
import { toJson } from './check.ts'
import { plain, type Terminal } from './terminal.ts'

/** Prints what an agent would have counted from recordings of trace tools. Exit status 1 if one cannot be read, or none holds anything known. */
export async function replay(config: Config, terminal: Terminal): Promise<number> {
  const log = createLog(config['log.level'])
  const recording = createRecordingReader()
  const { tools, read, totals } = createReplay({
    takeLine(line) {
      if (!line.startsWith('{"type":')) return false
      recording.push(line)
      return true
    },
  })
  const real = await createHost({ root: '/', tracer: false, log })
  // Whatever the addresses: it is all of the machine where it was recorded.
  const addresses = { refresh: async () => {}, find: () => real.namespaces.host }
  const host = { ...real, tools, addresses }
  const toldByTools = createSources(host).filter(({ name }) => Object.values(sourcesOfTools).includes(name))
  const agent = await createAgent(config, log, { host, sources: [...toldByTools, createToolHealth(host)] })
  let status = 0
  try {
    await agent.start()
    for (const file of config.files.length > 0 ? config.files : ['-']) {
      const progress = createProgress(file)
      try {
        await read(file, progress.show)
      } catch (error) {
        terminal.warn(`${file}: cannot be read: ${describeSystemError(error)}`)
        status = 1
      }
      progress.clear()
    }
    const { families: told } = await agent.sweep.take()
    const families = mergeFamilies(recording.families(), told)
    const ofAgent = await agent.self.families()
    const dropped = recording.dropped + sumOf(ofAgent, 'netvitals_series_dropped_total')
    const notCounted = sumOf(ofAgent, 'netvitals_lost_events_total', 'kind="map_full"')
    const found = { ...totals(), sweeps: recording.sweeps, events: recording.events, dropped, notCounted }
    if (config['replay.output'] === 'json')
      await terminal.print(`${toJson({ ...toReport(found), families: families.map(toPlain) })}\n`)
    else await terminal.print(renderExposition(families, config.format))
    for (const line of describe(found)) terminal.warn(line)
    return found.rows.size === 0 && found.sweeps === 0 ? 1 : status
  } finally {
    await agent.stop()
  }
}

const progressMs = 200

/** On a terminal, while it takes long: how much of the file is read. */
function createProgress(file: string): { show(readBytes: number, ofBytes: number | undefined): void; clear(): void } {
  const startedAtMs = performance.now()
  let shownAtMs = startedAtMs
  let isShown = false
  return {
    show(readBytes, ofBytes) {
      const nowMs = performance.now()
      if (!process.stderr.isTTY || nowMs - shownAtMs < progressMs) return
      shownAtMs = nowMs
      isShown = true
      const share = ofBytes === undefined ? '' : ` of ${toMegabytes(ofBytes)} (${Math.floor((100 * readBytes) / ofBytes)} %)`
      const rate = toMegabytes(readBytes / ((nowMs - startedAtMs) / 1000))
      process.stderr.write(`\r\u001b[K${plain(file, true)}: ${toMegabytes(readBytes)}${share}, ${rate}/s`)
    },
    clear() {
      if (isShown) process.stderr.write('\r\u001b[K')
    },
  }
}

const toMegabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`
const count = (n: number, what: string): string => `${n.toLocaleString('en')} ${what}${n === 1 ? '' : 's'}`

interface Found extends ReplayTotals {
  /** Of recordings of netvitals. */
  readonly sweeps: number
  readonly events: number
  /** Values of series that found no place. */
  readonly dropped: number
  /** Events of rows that found no place. */
  readonly notCounted: number
}

/** Of a metric of the agent's own. */
function sumOf(families: readonly Family[], metric: MetricName, labels?: string): number {
  const series = families.find(({ name }) => name === metric)?.series ?? []
  return series.filter((one) => labels === undefined || one.labels === labels).reduce((sum, { value }) => sum + Number(value), 0)
}

function describe(found: Found): string[] {
  const { lines, rows, sweeps, events, unreadable, firstUnreadable, longLines, partialLines, lost, dropped, notCounted } = found
  const read = [
    ...(sweeps > 0 ? [`${count(sweeps, 'sweep')} and ${count(events, 'event')} of netvitals`] : []),
    ...[...rows].map(([format, n]) => `${count(n, 'row')} of ${format}`),
  ]
  return [
    `${count(lines, 'line')} read: ${read.length === 0 ? 'none of a known format' : read.join(', ')}`,
    ...(unreadable > 0 ? [`${count(unreadable, 'line')} could not be read, the first: ${firstUnreadable?.message}`] : []),
    ...(longLines > 0 ? [`${count(longLines, 'line')} too long, left out`] : []),
    ...(partialLines > 0 ? ['the last line has no end: left out, because its last number may be cut'] : []),
    ...(lost > 0 ? [`${count(lost, 'event')} lost by the tool itself, as it says`] : []),
    ...(notCounted > 0 ? [`${count(notCounted, 'event')} not counted: there are too many reasons or kinds`] : []),
    ...(dropped > 0 ? [`${count(dropped, 'value')} left out: there are too many series`] : []),
  ]
}

function toReport({ rows, firstUnreadable, ...rest }: Found): object {
  return { schemaVersion, ...rest, rows: Object.fromEntries(rows), firstUnreadable: firstUnreadable?.message }
}

/** A metric with its series, whose labels are taken apart again. */
function toPlain({ name, definition, series }: Family): object {
  return { name, type: definition.type, series: series.map(({ labels, value }) => ({ labels: parseLabels(labels), value })) }
}
