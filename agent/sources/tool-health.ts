import type { Host } from '../host/host.ts'
import { type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import type { Source } from './source.ts'

type Metric = MetricsOf<'tool-health'>

const ofChildren = ['netvitals_child_cpu_seconds_total', 'netvitals_child_resident_memory_bytes'] as const

/** Whether the user's tools run, what they take, and when they last said something. */
export function createToolHealth(host: Host): Source<Metric> {
  return {
    name: 'tool-health',
    writes: metricsOf('tool-health'),
    needs: [{ file: '/proc/<pid>/stat' }],
    async collect(sink) {
      const of = 'node'
      const rows = host.tools.rows()
      if (rows.size === 0) sink.absent('netvitals_tool_rows_total', 'no tool has told a row yet')
      for (const [format, value] of rows) sink.emit('netvitals_tool_rows_total', { of, labels: { format }, value })
      const scripts = host.scripts.files.length > 0 ? [{ ...host.scripts, signal: 'scripts' as const }] : []
      const all = [...host.tools.all(), ...scripts]
      if (all.every((one) => one.status().lastLineAtMs === undefined))
        sink.absent('netvitals_tool_last_line_timestamp_seconds', 'no tool has printed a line yet')
      if (all.every((one) => one.usage() === undefined))
        for (const metric of ofChildren) sink.absent(metric, 'the agent has started no tool')
      for (const one of all) {
        const labels = { tool: one.signal }
        const { state, starts, lines, lastLineAtMs } = one.status()
        sink.emit('netvitals_tool_running', { of, labels, value: state === 'running' ? 1 : 0 })
        sink.emit('netvitals_tool_starts_total', { of, labels, value: starts })
        sink.emit('netvitals_tool_lines_total', { of, labels, value: lines })
        if (lastLineAtMs !== undefined) {
          const value = (Date.now() - (performance.now() - lastLineAtMs)) / 1000
          sink.emit('netvitals_tool_last_line_timestamp_seconds', { of, labels, value })
        }
        const usage = one.usage()
        if (usage === undefined) continue
        sink.emit('netvitals_child_cpu_seconds_total', { of, labels: { child: one.signal }, value: usage.cpuSeconds })
        sink.emit('netvitals_child_resident_memory_bytes', { of, labels: { child: one.signal }, value: usage.residentBytes })
      }
    },
  }
}
