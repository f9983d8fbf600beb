// What watching costs a packet that the kernel drops. Bursts of 300,000 UDP packets of 64 bytes on loopback, dropped by a
// rule in raw PREROUTING; the time of the sender, on one CPU and before ordinary processes, per packet. In each round the
// observers come in another order. Every observer that counts must have seen every packet.
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { createTracer } from '../../dist/agent/host/tracer.js'
import { median, own, printRow, project, sleep, stop, withNamespace } from './process.mjs'

const namespace = 'nvbench-drops'
const rounds = Number(process.argv[2] ?? 9)
const burstsPerRound = 3
const packets = 300_000
const warmUpPackets = 30_000
const bytesOfHeaders = 28
const cpu = 1

/** Each begins to observe and returns how to end it; the end returns how many drops it saw, if it counts. */
const observers = { nobody: observeNothing, netvitals: observeWithNetvitals }
if (spawnSync('bpftrace', ['--version']).status === 0) {
  observers['bpftrace, count by reason'] = () =>
    observeWithBpftrace('tracepoint:skb:kfree_skb { @[args->reason] = count(); }', true)
  observers['bpftrace, printf of each event'] = () =>
    observeWithBpftrace('tracepoint:skb:kfree_skb { printf("%d %d\\n", args->reason, args->protocol); }', false)
} else console.error('bpftrace is not installed: compared with nobody only')

const names = Object.keys(observers)
const nsPerPacket = new Map(names.map((name) => [name, []])) // the fastest burst of each round
await withNamespace(namespace, async () => {
  execFileSync('ip', ['netns', 'exec', namespace, 'iptables', '-w', '-t', 'raw', '-A', 'PREROUTING', '-p', 'udp', '-j', 'DROP'])
  for (let round = 0; round < rounds; round++) {
    for (const [i] of names.entries()) {
      const name = names[(i + round) % names.length]
      const end = await observers[name]()
      const bursts = []
      let seen
      try {
        send(warmUpPackets)
        for (let burst = 0; burst < burstsPerRound; burst++) bursts.push(send(packets))
      } finally {
        seen = await end()
      }
      const sent = warmUpPackets + burstsPerRound * packets
      if (seen !== undefined && seen < sent) throw new Error(`${name} saw ${seen} of ${sent} drops`)
      nsPerPacket.get(name).push(Math.min(...bursts)) // what disturbs a burst only ever makes it longer
    }
  }
})

const alone = nsPerPacket.get('nobody')
for (const [name, all] of nsPerPacket) {
  const range = (values) =>
    `median ${median(values).toFixed(0)} ns (${Math.min(...values).toFixed(0)} to ${Math.max(...values).toFixed(0)} over ${rounds} rounds)`
  const added = all.map((ns, round) => ns - alone[round])
  const addedToFastest = Math.min(...all) - Math.min(...alone)
  printRow(
    `A dropped packet, observed by ${name}`,
    name === 'nobody' ? range(all) : `+ ${range(added)}; between the fastest bursts + ${addedToFastest.toFixed(0)} ns`,
  )
}

/** Nanoseconds per packet. */
function send(count) {
  const order = { address: '127.0.0.1', port: 9000, count, bytes: 64 - bytesOfHeaders, cpu, timed: true }
  const sender = [process.execPath, path.join(project, 'test/truth/faults.mjs'), 'udp-send', JSON.stringify(order)]
  const { sent, elapsedNs } = JSON.parse(
    execFileSync('ip', ['netns', 'exec', namespace, 'chrt', '--fifo', '1', ...sender], { encoding: 'utf8' }),
  )
  if (sent !== count) throw new Error(`only ${sent} of ${count} packets could be sent`)
  return elapsedNs / sent
}

async function observeNothing() {
  return async () => undefined
}

async function observeWithNetvitals() {
  const tracer = createTracer({ off: ['tasks'] })
  await tracer.start()
  const missing = tracer.missing('dropped_packets')
  if (missing !== undefined) throw new Error(`the tracer does not run: ${missing}`)
  return async () => {
    let seen = 0
    tracer.read('dropped_packets_total', (_key, [count]) => (seen += count))
    await tracer.stop()
    return seen
  }
}

async function observeWithBpftrace(program, isCounting) {
  const withTracefs = 'mount -t tracefs none /sys/kernel/tracing && exec bpftrace -e "$0"' // not every machine has it mounted
  const stdio = ['ignore', isCounting ? 'pipe' : 'ignore', 'pipe'] // ignored is /dev/null
  const child = own(spawn('unshare', ['--mount', 'sh', '-c', withTracefs, program], { stdio }))
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (output += chunk))
  const exit = once(child, 'exit')
  await sleep(2500) // it does not say when it is attached
  return async () => {
    child.kill('SIGINT')
    await Promise.race([exit, sleep(10_000)])
    await stop(child)
    const counts = [...output.matchAll(/^@\[.*\]: (\d+)$/gm)].map(([, count]) => Number(count))
    return isCounting ? counts.reduce((a, b) => a + b, 0) : undefined
  }
}
