// Every bench in turn, as one Markdown table. Root; about 25 minutes, ten of them for the memory. The order is that of
// the questions people ask; nothing here passes or fails by the clock.
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { describeMachine, printRow } from './process.mjs'

const benches = [
  'sweep',
  'pods',
  'memory',
  'drops',
  'connections',
  'observe',
  'tracer-read',
  'render',
  'tool-lines',
  'dns-message',
  'dns',
  'http-message',
]

console.log(`${new Date().toISOString().slice(0, 10)}, ${describeMachine()}\n`)
printRow('what', 'measured')
printRow('---', '---')
for (const name of benches) {
  const { status } = spawnSync(process.execPath, [path.join(import.meta.dirname, `${name}.mjs`)], { stdio: 'inherit' })
  if (status === 0) continue
  process.exitCode = 1
  printRow(name, 'failed: see above')
}
