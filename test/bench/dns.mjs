// What it costs to read DNS from packets, beside tcpdump on the same traffic: queries with their answers over loopback, where
// each packet is seen once; how long the agent's main loop is held up meanwhile, what was lost, and what memory it takes.
// Then what an open capture costs a packet that it does not want. dns.mjs QUERIES_PER_SECOND SECONDS ROUNDS
import { execFileSync, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { compareObservers, nobody } from './observers.mjs'
import {
  get,
  median,
  netvitals,
  own,
  printRow,
  project,
  readCpuMs,
  readResidentMb,
  sleep,
  start,
  stop,
  withNamespace,
} from './process.mjs'

const namespace = `nvbench-dns-${process.pid}`
const [perSecond = 50_000, seconds = 8, rounds = 3] = process.argv.slice(2).map(Number)
const settleMs = 1500
const inNamespace = ['netns', 'exec', namespace]

await withNamespace(namespace, async () => {
  const measured = new Map([
    ['netvitals', []],
    ['tcpdump -w', []],
    ['tcpdump, as text', []],
  ])
  for (let round = 0; round < rounds; round++) {
    measured.get('netvitals').push(await watchWithNetvitals())
    measured.get('tcpdump -w').push(await watchWithTcpdump('-w', '/dev/null'))
    measured.get('tcpdump, as text').push(await watchWithTcpdump())
  }
  const costOf = (name) => median(measured.get(name).map(({ nsPerPacket }) => nsPerPacket))
  for (const [name, all] of measured) {
    const ratio = name === 'netvitals' ? '' : `; netvitals takes ${(costOf('netvitals') / costOf(name)).toFixed(1)} times that`
    const rates = all.map(({ rate }) => Math.round(rate).toLocaleString('en')).join(', ')
    printRow(
      `DNS queries per second, each with its answer: ${rates}; ${name}`,
      `CPU per packet median ${costOf(name).toFixed(0)} ns${ratio}; ${all.map(({ text }) => text).join('; ')}`,
    )
  }
  execFileSync('ip', [...inNamespace, 'iptables', '-w', '-t', 'raw', '-A', 'PREROUTING', '-p', 'udp', '-j', 'DROP'])
  await compareObservers({
    what: 'A packet on loopback that is not DNS',
    observers: { nobody, 'an open capture': openCapture },
    rounds: 3 * rounds,
    cause: sendOthers,
  })
})

async function sendDns(forSeconds = seconds) {
  const sender = own(
    spawn('ip', [...inNamespace, process.execPath, path.join(import.meta.dirname, 'send-dns.mjs'), perSecond, forSeconds], {
      stdio: ['ignore', 'pipe', 'inherit'],
    }),
  )
  let output = ''
  sender.stdout.on('data', (chunk) => (output += chunk))
  const code = await new Promise((resolve) => sender.on('close', resolve))
  if (code !== 0) throw new Error(`send-dns.mjs ended with ${code}`)
  return JSON.parse(output)
}

async function watchWithNetvitals() {
  const probe = path.join(import.meta.dirname, 'loop-delay.mjs')
  const agent = await start(
    namespace,
    process.execPath,
    [`--import=${probe}`, netvitals.command, ...netvitals.args],
    netvitals.ready,
  )
  try {
    const [capture] = readFileSync(`/proc/${agent.pid}/task/${agent.pid}/children`, 'utf8')
      .trim()
      .split(' ')
      .filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('capture-process'))
      .map(Number)
    await sendDns(3) // until its code is warm
    await sleep(settleMs)
    const [before, residentBefore] = [readCounts(), [agent.pid, capture].map((pid) => readResidentMb(pid).own)]
    await readLoopDelay(agent)
    await sleep(seconds * 1000)
    const quiet = await readLoopDelay(agent)
    const cpuBefore = [agent.pid, capture].map(readCpuMs)
    const { queries, seconds: took } = await sendDns()
    await sleep(settleMs)
    const [agentMs, captureMs] = [agent.pid, capture].map((pid, i) => readCpuMs(pid) - cpuBefore[i])
    const delay = await readLoopDelay(agent)
    const resident = [agent.pid, capture].map((pid) => readResidentMb(pid).own)
    const after = readCounts()
    const more = Object.fromEntries(Object.entries(after).map(([name, count]) => [name, count - before[name]]))
    const memory = resident.map((mb, i) => `${residentBefore[i].toFixed(0)} to ${mb.toFixed(0)} MB`)
    return {
      rate: queries / took,
      nsPerPacket: (captureMs * 1e6) / (2 * queries),
      text: `${(2 * queries).toLocaleString('en')} packets, ${more.packets.toLocaleString('en')} captured, ${more.lost.toLocaleString('en')} lost, ${(queries - more.queries).toLocaleString('en')} queries and ${(queries - more.answers).toLocaleString('en')} answers missing; agent's CPU ${agentMs.toFixed(0)} ms, capture's ${captureMs.toFixed(0)} ms; main loop held up ${delay} (with nothing to do ${quiet}); own memory ${memory.join(', capture ')}`,
    }
  } finally {
    await stop(agent)
  }
}

function readCounts() {
  const text = String(get(namespace, netvitals.url))
  const read = (name, label = '') =>
    [...text.matchAll(new RegExp(`^netvitals_${name}(?:\\{[^}]*${label}[^}]*\\})? (\\d+)$`, 'gm'))].reduce(
      (sum, [, value]) => sum + Number(value),
      0,
    )
  return {
    packets: read('captured_packets_total'),
    lost: read('lost_events_total', 'kind="capture_') + read('lost_events_total', 'kind="dns_full"'),
    queries: read('dns_queries_total'),
    answers: read('dns_responses_total'),
  }
}

function readLoopDelay(agent) {
  return new Promise((resolve) => {
    const look = (chunk) => {
      const [, most, usual] = /loop-delay (\S+) (\S+)/.exec(chunk) ?? []
      if (most === undefined) return
      agent.stdout.off('data', look)
      resolve(`at most ${most} ms, 99 % below ${usual} ms`)
    }
    agent.stdout.on('data', look)
    agent.kill('SIGUSR2')
  })
}

async function watchWithTcpdump(...flags) {
  const out = openSync('/dev/null', 'w')
  const dump = own(
    spawn('ip', [...inNamespace, 'tcpdump', '-i', 'any', '-n', ...flags, 'port', '53'], { stdio: ['ignore', out, 'pipe'] }),
  )
  closeSync(out)
  let said = ''
  dump.stderr.on('data', (chunk) => (said += chunk))
  while (!said.includes('listening on')) await sleep(50)
  const cpuBefore = readCpuMs(dump.pid)
  const { queries, seconds: took } = await sendDns()
  await sleep(settleMs)
  const cpuMs = readCpuMs(dump.pid) - cpuBefore
  const ended = new Promise((resolve) => dump.on('close', resolve))
  dump.kill('SIGINT')
  await ended
  const [, captured] = /(\d+) packets captured/.exec(said)
  const [, lost] = /(\d+) packets dropped by kernel/.exec(said)
  return {
    rate: queries / took,
    nsPerPacket: (cpuMs * 1e6) / (2 * queries),
    text: `${(2 * queries).toLocaleString('en')} packets, ${Number(captured).toLocaleString('en')} captured, ${Number(lost).toLocaleString('en')} lost`,
  }
}

/** The agent's own process, without the agent. */
async function openCapture() {
  const program = path.join(project, 'dist/agent/host/capture-process.js')
  const settings = JSON.stringify({ device: 'any', dnsPorts: [53], httpPorts: [] })
  const capture = await start(namespace, process.execPath, [program, settings], /"ready"/)
  return async () => void (await stop(capture))
}

/** Nanoseconds per packet; the fastest of some bursts. */
function sendOthers() {
  const order = { address: '127.0.0.1', port: 9000, count: 300_000, bytes: 36, cpu: 1, timed: true }
  const sender = [
    'chrt',
    '--fifo',
    '1',
    process.execPath,
    path.join(project, 'test/truth/faults.mjs'),
    'udp-send',
    JSON.stringify(order),
  ]
  const bursts = Array.from({ length: 3 }, () => {
    const { sent, elapsedNs } = JSON.parse(execFileSync('ip', [...inNamespace, ...sender], { encoding: 'utf8' }))
    return elapsedNs / sent
  })
  return Math.min(...bursts)
}
