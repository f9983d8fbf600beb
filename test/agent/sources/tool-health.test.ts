import { beforeEach, expect, it } from 'vitest'
import type { Host } from '../../../agent/host/host.ts'
import { createSources } from '../../../agent/sources/index.ts'
import { createToolHealth } from '../../../agent/sources/tool-health.ts'
import { type Collected, collectFrom } from '../../source-contract.ts'
import { createFakeHost } from './fake-host.ts'
import { addFakeTools, type FakeTools } from './fake-tools.ts'
import { createFakeTracer } from './fake-tracer.ts'

let host: Host
let fake: FakeTools
beforeEach(() => {
  ;({ host } = createFakeHost([], createFakeTracer().tracer))
  fake = addFakeTools(host, 'drops')
})
const told = ({ emitted }: Collected): unknown[] =>
  emitted.map(({ of, metric, labels, value }) => [of, metric.slice('netvitals_'.length), labels, value])

it('says how a tool fares, what it told, and what it takes', async () => {
  const source = createToolHealth(host)
  fake.print('TIME     PID     IP SADDR:SPORT          > DADDR:DPORT          STATE (FLAGS)')
  for (let i = 0; i < 3; i++) fake.print('14:46:49 0       4  198.51.100.7:80 > 10.0.0.1:33280 ESTABLISHED (ACK)', '')
  fake.status.starts = 2
  fake.usage = { cpuSeconds: 1.25, residentBytes: 1e6 }
  const collected = await collectFrom(source)
  expect(told(collected)).toEqual([
    ['node', 'tool_rows_total', { format: 'bcc tcpdrop' }, 3],
    ['node', 'tool_running', { tool: 'drops' }, 1],
    ['node', 'tool_starts_total', { tool: 'drops' }, 2],
    ['node', 'tool_lines_total', { tool: 'drops' }, 7],
    ['node', 'tool_last_line_timestamp_seconds', { tool: 'drops' }, expect.closeTo(Date.now() / 1000, 0)],
    ['node', 'child_cpu_seconds_total', { child: 'drops' }, 1.25],
    ['node', 'child_resident_memory_bytes', { child: 'drops' }, 1e6],
  ])
  expect(collected.absent.size).toBe(0)
})

it('leaves nothing unsaid of one that has said nothing, or that the agent did not start', async () => {
  const source = createToolHealth(host)
  fake.status.state = 'waiting'
  const { emitted, absent } = await collectFrom(source)
  expect(emitted.map(({ value }) => value)).toEqual([0, 1, 0])
  expect(new Set([...emitted.map(({ metric }) => metric), ...absent.keys()])).toEqual(new Set(source.writes))
  expect(absent.get('netvitals_child_cpu_seconds_total')).toBe('the agent has started no tool')
})

it('is a source only where there are tools', () => {
  const names = (): string[] => createSources(host).map(({ name }) => name)
  expect(names()).toContain('tool-health')
  Object.assign(host.tools, { all: () => [] })
  expect(names()).not.toContain('tool-health')
})
