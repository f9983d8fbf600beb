// What watching costs a packet that the kernel drops. Bursts of 300,000 UDP packets of 64 bytes, dropped by a rule in raw
// PREROUTING; the time of the sender, on one CPU and before ordinary processes, per packet. They go over loopback, but to
// an address that edges tell apart. drops.mjs ROUNDS
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { mapNames } from '../../dist/agent/host/traced-maps.js'
import { bpftraceWith, compareObservers, countIn, hasBpftrace, netvitalsWith, nobody, printKernelClock } from './observers.mjs'
import { project, withNamespace } from './process.mjs'

const address = '10.77.0.1'
const namespace = `nvbench-drops-${process.pid}`
const rounds = Number(process.argv[2] ?? 9)
const burstsPerTurn = 3
const packets = 300_000
const warmUpPackets = 30_000
const bytesOfHeaders = 28
const cpu = 1

const count = countIn(namespace, 'dropped_packets_total')
const observers = {
  nobody,
  'netvitals, drops only': netvitalsWith(['dropped_packets_total'], count),
  'netvitals, all programs but edges': netvitalsWith(
    mapNames.filter((name) => !name.startsWith('edge_')),
    count,
  ),
  'netvitals, all programs': netvitalsWith(mapNames, count),
  'netvitals, all programs and single events': netvitalsWith(mapNames, count, { events: true }),
  ...(hasBpftrace() && {
    'bpftrace, count by reason': bpftraceWith('tracepoint:skb:kfree_skb { @[args->reason] = count(); }', {
      counts: { name: '' },
    }),
    'bpftrace, printf of each event': bpftraceWith(
      'tracepoint:skb:kfree_skb { printf("%d %d\\n", args->reason, args->protocol); }',
    ),
  }),
}

await withNamespace(namespace, async () => {
  execFileSync('ip', ['-n', namespace, 'address', 'add', address, 'dev', 'lo'])
  execFileSync('ip', ['netns', 'exec', namespace, 'iptables', '-w', '-t', 'raw', '-A', 'PREROUTING', '-p', 'udp', '-j', 'DROP'])
  const what = { what: 'A dropped packet', cause, causedPerTurn: warmUpPackets + burstsPerTurn * packets }
  await compareObservers({ ...what, observers, rounds })
  await printKernelClock(what)
})

/** The fastest of some bursts: what disturbs one only ever makes it longer. */
async function cause() {
  send(warmUpPackets)
  return Math.min(...Array.from({ length: burstsPerTurn }, () => send(packets)))
}

/** Nanoseconds per packet. */
function send(packetCount) {
  const order = { address, port: 9000, count: packetCount, bytes: 64 - bytesOfHeaders, cpu, timed: true }
  const sender = [process.execPath, path.join(project, 'test/truth/faults.mjs'), 'udp-send', JSON.stringify(order)]
  const { sent, elapsedNs } = JSON.parse(
    execFileSync('ip', ['netns', 'exec', namespace, 'chrt', '--fifo', '1', ...sender], { encoding: 'utf8' }),
  )
  if (sent !== packetCount) throw new Error(`only ${sent} of ${packetCount} packets could be sent`)
  return elapsedNs / sent
}
