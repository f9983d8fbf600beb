// A million rows as bcc's tcpretrans prints them: how fast they are taken live from a tool, how fast `replay` counts them,
// and awk as the least that anybody would do. In turn, median and extremes. Needs no privileges.
import { execFileSync, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { createTools } from '../../dist/agent/host/tools.js'
import { createLog } from '../../dist/agent/log.js'
import { median, netvitals, printRow, readCpuMs, readResidentMb } from './process.mjs'

const rowCount = 1_000_000
const rounds = 5
const states = ['ESTABLISHED', 'SYN_SENT', 'CLOSE_WAIT', 'LAST_ACK']

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-bench-'))
process.on('exit', () => fs.rmSync(folder, { recursive: true }))
const file = path.join(folder, 'rows')
writeRows()
const bytes = fs.statSync(file).size

/** Each counts the rows and returns by state how many there were, with the CPU time it took. */
const counters = {
  [`${path.basename(fs.realpathSync('/usr/bin/awk'))} by the last word`]: () => {
    const program = '{c[$NF]++} END{for(k in c) print k,c[k]}'
    const output = execFileSync('awk', [program, file], { encoding: 'utf8' })
    return Object.fromEntries(states.map((state) => [state, Number(new RegExp(`^${state} (\\d+)$`, 'm').exec(output)?.[1])]))
  },
  'live, from a child to a listener': async () => {
    const tools = createTools({ retransmits: { command: ['sh', '-c', `cat ${file}; exec sleep 3600`] } }, createLog('silent'))
    const counts = {}
    let seen = 0
    await new Promise((resolve) => {
      tools.subscribe('retransmits', ({ state }) => {
        counts[state] = (counts[state] ?? 0) + 1
        if (++seen === rowCount) resolve()
      })
      tools.start()
    })
    await tools.stop()
    return Object.fromEntries(states.map((state) => [state, counts[state.toLowerCase()]]))
  },
  'netvitals replay, a process with its start': () => {
    const { stdout } = spawnSync(netvitals.command, ['replay', file], { encoding: 'utf8' })
    const count = (kind) => Number(new RegExp(`kind="${kind}"\\} (\\d+)$`, 'm').exec(stdout)?.[1])
    return { SYN_SENT: count('syn'), others: count('data') }
  },
}

const measured = new Map(Object.keys(counters).map((name) => [name, []]))
const before = readResidentMb(process.pid)
for (let round = 0; round < rounds; round++) {
  for (const [name, count] of Object.entries(counters)) {
    const cpuMs = readCpuMs(process.pid)
    const startedAtMs = performance.now()
    const counts = await count()
    measured.get(name).push({ ms: performance.now() - startedAtMs, ownCpuMs: readCpuMs(process.pid) - cpuMs })
    const total = Object.values(counts).reduce((sum, n) => sum + n, 0)
    if (total !== rowCount || counts.SYN_SENT !== rowCount / states.length)
      throw new Error(`${name} counted ${JSON.stringify(counts)} of ${rowCount}`)
  }
}
globalThis.gc?.()
const after = readResidentMb(process.pid)

const ofAwk = measured.get(Object.keys(counters)[0]).map(({ ms }) => ms)
for (const [name, all] of measured) {
  const rates = all.map(({ ms }) => rowCount / ms)
  const thousands = (rate) => rate.toFixed(0)
  const ratio = median(all.map(({ ms }, round) => ms / ofAwk[round]))
  printRow(
    `${(rowCount / 1e6).toFixed(0)} million rows (${(bytes / 1e6).toFixed(0)} MB) of tcpretrans, ${name}`,
    `${thousands(median(rates))} thousand rows a second (${thousands(Math.min(...rates))} to ${thousands(Math.max(...rates))}); ${ratio.toFixed(1)} times awk's time`,
  )
}
printRow(
  'memory of the process that took them live',
  `${before.total.toFixed(0)} MB before, ${after.total.toFixed(0)} MB after ${rounds} million rows (RssAnon ${before.own.toFixed(0)} and ${after.own.toFixed(0)} MB)`,
)

function writeRows() {
  const rows = Array.from({ length: 10_000 }, (_, i) => {
    const local = `10.${i % 200}.${i % 251}.${i % 249}:${30_000 + i}`
    return `01:55:05 ${String(i).padEnd(7)} 4  ${local.padEnd(20)} R> ${'69.53.245.40:443'.padEnd(20)} ${states[i % states.length]}\n`
  }).join('')
  fs.writeFileSync(file, 'TIME     PID     IP LADDR:LPORT          T> RADDR:RPORT          STATE\n')
  for (let written = 0; written < rowCount; written += 10_000) fs.appendFileSync(file, rows)
}
