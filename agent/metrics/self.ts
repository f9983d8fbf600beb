import fs from 'node:fs'
import { Counter, Gauge, Registry } from 'prom-client'
import { catalogue, definitionOf, type MetricName, type MetricsOf, metricsOf } from './catalogue.ts'
import { cleanLabelValue, formatLabels } from './label-text.ts'
import type { LabelName } from './labels.ts'
import type { Family } from './snapshot.ts'

type SelfMetric = MetricsOf<'agent'>
type SelfLabels<M extends SelfMetric> = { readonly [L in (typeof catalogue)[M]['labels'][number]]: string }

/** The agent's metrics about itself: few, so prom-client holds them, and who embeds netvitals gets its Registry. */
export interface Self {
  readonly registry: Registry
  set<M extends SelfMetric>(name: M, labels: SelfLabels<M>, value: number): void
  add<M extends SelfMetric>(name: M, labels: SelfLabels<M>, amount: number): void
  /** Forgets the values of a metric whose labels changed. */
  clear(name: SelfMetric): void
  /** As families of the exposition, `process_*` read anew. */
  families(): Promise<readonly Family[]>
}

function readProcess(set: (name: SelfMetric, value: number) => void, startedAtSeconds: number): void {
  const { user, system } = process.cpuUsage()
  set('process_cpu_seconds_total', (user + system) / 1e6)
  set('process_start_time_seconds', startedAtSeconds)
  set('process_resident_memory_bytes', process.memoryUsage.rss())
  try {
    set('process_open_fds', fs.readdirSync('/proc/self/fd').length - 1) // the listing holds one itself
    const limit = /^Max open files\s+(\d+|unlimited)/m.exec(fs.readFileSync('/proc/self/limits', 'latin1'))?.[1]
    if (limit !== undefined) set('process_max_fds', limit === 'unlimited' ? Number.POSITIVE_INFINITY : Number(limit))
    const virtualKiB = /^VmSize:\s+(\d+) kB/m.exec(fs.readFileSync('/proc/self/status', 'latin1'))?.[1]
    if (virtualKiB !== undefined) set('process_virtual_memory_bytes', Number(virtualKiB) * 1024)
  } catch {
    // no /proc: these three stay unsaid
  }
}

export function createSelf(): Self {
  const registry = new Registry()
  const metrics = new Map<SelfMetric, Counter | Gauge>()
  for (const name of metricsOf('agent')) {
    const { type, help, labels } = definitionOf(name)
    const configuration = { name, help, labelNames: [...labels], registers: [registry] }
    metrics.set(name, type === 'counter' ? new Counter(configuration) : new Gauge(configuration))
  }
  const startedAtSeconds = Date.now() / 1000 - process.uptime()

  function set<M extends SelfMetric>(name: M, labels: SelfLabels<M>, value: number): void {
    const metric = metrics.get(name)
    const clean = Object.fromEntries(Object.entries<string>(labels).map(([label, text]) => [label, cleanLabelValue(text)]))
    if (metric instanceof Gauge) metric.set(clean, value)
    else if (metric instanceof Counter) {
      metric.remove(clean)
      metric.inc(clean, value) // prom-client counters cannot be set to a total
    }
  }

  return {
    registry,
    set,
    add: (name, labels, amount) => metrics.get(name)?.inc({ ...labels }, amount),
    clear: (name) => metrics.get(name)?.reset(),
    async families() {
      readProcess((name, value) => set(name, {} as never, value), startedAtSeconds)
      const families: Family[] = []
      for (const { name, values } of await registry.getMetricsAsJSON()) {
        if (!(name in catalogue) || values.length === 0) continue
        const definition = definitionOf(name as MetricName)
        const series = values.map((one) => {
          const names = definition.labels as readonly LabelName[]
          return {
            labels: formatLabels(
              names,
              names.map((label) => String(one.labels[label] ?? '')),
            ),
            value: one.value,
            bornAtMs: 0,
            bornFromZero: false,
            slot: undefined,
          }
        })
        families.push({ name, definition, series })
      }
      return families
    },
  }
}
