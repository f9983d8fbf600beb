import { setTimeout as sleep } from 'node:timers/promises'
import { createAgent } from '../agent.ts'
import { type Config, readVersion } from '../config.ts'
import { ConfigError } from '../config-file.ts'
import { readNodeName } from '../host/machine.ts'
import { createLog } from '../log.ts'
import { createRecorder, type RecordingLine, recordingSchemaVersion } from '../recording.ts'
import { recordPackets } from './record-packets.ts'
import type { Terminal } from './terminal.ts'

/** Writes what this machine counts, sweep by sweep, and single events between, until it is told to end. `replay` reads it. */
export async function record(config: Config, terminal: Terminal): Promise<number> {
  if (config.pcap !== '') return recordPackets(config, terminal)
  const { only, not } = config['pcap.pod']
  if (only.length + not.length > 0 || config['pcap.filter'] !== '')
    throw new ConfigError('--pod and --filter choose packets; they need --pcap FILE')
  const ended = new AbortController()
  for (const name of ['SIGTERM', 'SIGINT']) process.once(name, () => ended.abort())
  const agent = await createAgent(config, createLog(config['log.level']))
  const toLines = createRecorder()
  const endAtMs = performance.now() + (config.for === 'auto' ? Number.POSITIVE_INFINITY : config.for * 1000)
  let [sweeps, events, bytes] = [0, 0, 0]

  async function write(lines: readonly RecordingLine[]): Promise<void> {
    const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('')
    bytes += text.length
    await terminal.print(text)
    if (process.stderr.isTTY)
      process.stderr.write(`\r\u001b[K${sweeps} sweeps, ${events} events, ${(bytes / 1000).toFixed(0)} kB`)
  }

  try {
    await agent.start()
    await write([
      {
        type: 'recording',
        schemaVersion: recordingSchemaVersion,
        version: readVersion(),
        node: readNodeName(config),
        time: now(),
      },
    ])
    const stop = agent.events.subscribe((event) => {
      if (event.routine) return // metrics tell it as well
      events++
      void write([{ type: 'event', event }])
    })
    for (;;) {
      const snapshot = await agent.sweep.take()
      sweeps++
      await write(toLines(snapshot, now()))
      const leftMs = endAtMs - performance.now()
      if (ended.signal.aborted || leftMs <= 0) break
      await sleep(Math.min(config.interval * 1000, leftMs), undefined, { signal: ended.signal }).catch(() => undefined)
    }
    stop()
    return 0
  } finally {
    if (process.stderr.isTTY) process.stderr.write('\n')
    await agent.stop()
  }
}

const now = (): string => new Date().toISOString()
