import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { record } from '../../../agent/cli/record.ts'
import { replay } from '../../../agent/cli/replay.ts'
import { type Config, readConfig } from '../../../agent/config.ts'
import type { RecordingLine } from '../../../agent/recording.ts'
import { createFakeTerminal } from './fake-terminal.ts'

const main = path.resolve(import.meta.dirname, '../../../dist/agent/main.js')
const patience = { timeout: 20_000, interval: 20 }
/** What does not need the tracer. */
const off = '--sources.off=trace-drops,trace-resets,trace-retransmits,trace-connects,trace-icmp,trace-events,netlink-conntrack'

let folder: string
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-record-'))
})
afterEach(() => fs.rmSync(folder, { recursive: true }))

function configOf(...argv: string[]): Config {
  const config = readConfig(argv, {})
  if ('print' in config) throw new Error('help')
  return config
}
const parse = (text: string): RecordingLine[] => {
  expect(text.endsWith('\n')).toBe(true)
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as RecordingLine)
}
const countOf = (lines: readonly RecordingLine[], type: string): number => lines.filter((line) => line.type === type).length
async function replayed(text: string): Promise<{ status: number; printed: string; warned: readonly string[] }> {
  const file = path.join(folder, 'recording')
  fs.writeFileSync(file, text)
  const terminal = createFakeTerminal()
  return { status: await replay(configOf('replay', file), terminal), ...terminal }
}

describe('netvitals record', () => {
  it('says what it is, sweeps from the start to the end, and replay takes every line', async () => {
    const terminal = createFakeTerminal()
    expect(await record(configOf('record', '--for', '2s', '--interval', '1', off), terminal)).toBe(0)
    const lines = parse(terminal.printed)
    expect(lines[0]).toEqual({
      type: 'recording',
      schemaVersion: 1,
      version: expect.stringMatching(/^\d+\.\d+\.\d+/),
      node: os.hostname(),
      time: expect.stringMatching(/Z$/),
    })
    expect(countOf(lines, 'recording')).toBe(1)
    const sweeps = countOf(lines, 'sweep')
    expect(sweeps).toBeGreaterThanOrEqual(2)
    const { status, printed, warned } = await replayed(terminal.printed)
    expect(status).toBe(0)
    expect(warned).toEqual([`${lines.length} lines read: ${sweeps} sweeps and 0 events of netvitals`])
    expect(printed).toMatch(/^netvitals_tcp_received_segments_total\{namespace="",pod=""\} \d+$/m)
  })

  it('writes later sweeps as what has changed', async () => {
    const terminal = createFakeTerminal()
    await record(configOf('record', '--for', '1s', '--interval', '1', off), terminal)
    const lines = parse(terminal.printed)
    const second = lines.findIndex((line, i) => i > 1 && line.type === 'sweep')
    const seriesIn = (part: readonly RecordingLine[]): number =>
      part.reduce((sum, line) => sum + (line.type === 'family' ? line.series.length : 0), 0)
    expect(seriesIn(lines.slice(second))).toBeLessThan(seriesIn(lines.slice(0, second)) / 2)
  })

  it('refuses a signal that is told twice', async () => {
    const config = configOf('record', '--tools.drops.command', 'tcpdrop', '--tools.drops.file', '/tmp/tcpdrop.txt')
    await expect(record(config, createFakeTerminal())).rejects.toThrow(
      'tools.drops: there are both command and file; drops can be told by one of them',
    )
  })
})

describe('netvitals record, as a process', () => {
  function start(...argv: string[]) {
    const child = spawn(main, ['record', ...argv], { stdio: ['ignore', 'pipe', 'pipe'] })
    const state = { output: '', error: '' }
    child.stdout.on('data', (chunk) => (state.output += chunk))
    child.stderr.on('data', (chunk) => (state.error += chunk))
    return { child, state, ended: once(child, 'close') as Promise<[status: number | null, signal: string | null]> }
  }

  it.each(['SIGINT', 'SIGTERM'] as const)('ends with %s, after a last sweep, with whole lines', async (signal) => {
    const { child, state, ended } = start('--interval', '3600', off)
    await expect.poll(() => state.output.includes('netvitals_tcp_received_segments_total'), patience).toBe(true)
    child.kill(signal)
    expect(await ended).toEqual([0, null])
    expect(state.error).toBe('')
    expect(countOf(parse(state.output), 'sweep')).toBeGreaterThanOrEqual(1)
  })

  it('ends quietly when nobody reads any more', async () => {
    const { child, state, ended } = start('--interval', '1', off)
    await expect.poll(() => state.output.includes('"sweep"'), patience).toBe(true)
    child.stdout.destroy()
    expect(await ended).toEqual([0, null])
    expect(state.error).toBe('')
  })

  it('says what it was asked wrongly', async () => {
    for (const [argv, words] of [
      [['--tools.drops.command', 'tcpdrop', '--tools.drops.file', '-'], 'there are both command and file'],
      [['--interval', '0.5'], 'expected seconds, 1 or more'],
      [['--for', 'soon'], 'expected how long, such as 30s'],
      [['file'], 'is one argument too many'],
      [['--pod', 'shop/web'], '--pod and --filter choose packets; they need --pcap FILE'],
      [['--filter', 'port 53'], '--pod and --filter choose packets; they need --pcap FILE'],
    ] as const) {
      const { state, ended } = start(...argv)
      expect(await ended).toEqual([2, null])
      expect([state.output, state.error]).toEqual(['', expect.stringContaining(words)])
    }
  })
})
