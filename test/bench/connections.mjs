// What watching costs a TCP connection: connect, accept, close, read to the end, close; both ends on loopback, whoever
// called closes first and keeps the TIME_WAIT. Bursts of 20,000, one after the other, on one CPU and before ordinary
// processes; the time of connect-and-close.mjs per connection, which is 10 state changes (the last row tells). A new
// namespace for each turn begins without TIME_WAIT. connections.mjs ROUNDS
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { mapNames } from '../../dist/agent/host/traced-maps.js'
import { bpftraceWith, compareObservers, countIn, hasBpftrace, netvitalsWith, nobody, printKernelClock } from './observers.mjs'
import { withNamespace } from './process.mjs'

const namespace = `nvbench-connections-${process.pid}`
const rounds = Number(process.argv[2] ?? 9)
const burstsPerTurn = 3
const connections = 20_000
const warmUpConnections = 2000
const cpu = 1
const durationBuckets = 11

/** What somebody would write who wants to know how connects end and how long they take. */
const script = `
tracepoint:sock:inet_sock_set_state /args->protocol == 6/ {
  if (args->newstate == 2) { @start[args->skaddr] = nsecs; }
  else if (args->oldstate == 2) {
    @connects[args->newstate] = count();
    @us = hist((nsecs - @start[args->skaddr]) / 1000);
    delete(@start[args->skaddr]);
  }
}`
const connectMaps = ['tcp_connects_total', 'tcp_connect_duration_seconds', 'tcp_rtt_seconds']

/** Of its two counts of the same the lower. */
function count(tracer) {
  const connects = countIn(namespace, 'tcp_connects_total')(tracer)
  return Math.min(connects, countIn(namespace, 'tcp_connect_duration_seconds', durationBuckets)(tracer))
}

const observers = {
  nobody,
  'netvitals, connects only': netvitalsWith(connectMaps, count),
  'netvitals, all programs': netvitalsWith(mapNames, count),
  ...(hasBpftrace() && { 'bpftrace, outcomes and latency': bpftraceWith(script, { counts: { name: 'connects' } }) }),
}

const what = { what: 'A TCP connection', causedPerTurn: warmUpConnections + burstsPerTurn * connections }
await compareObservers({ ...what, observers, rounds, cause, around: (turn) => withNamespace(namespace, turn) })
await withNamespace(namespace, () => printKernelClock({ ...what, cause }))

async function cause() {
  // So that all of them find room in TIME_WAIT.
  execFileSync('ip', ['netns', 'exec', namespace, 'sysctl', '-qw', `net.ipv4.tcp_max_tw_buckets=${2 * what.causedPerTurn}`])
  make(warmUpConnections)
  return Math.min(...Array.from({ length: burstsPerTurn }, () => make(connections)))
}

/** Nanoseconds per connection. */
function make(connectionCount) {
  const maker = [process.execPath, path.join(import.meta.dirname, 'connect-and-close.mjs'), String(connectionCount), String(cpu)]
  const elapsedNs = execFileSync('ip', ['netns', 'exec', namespace, 'chrt', '--fifo', '1', ...maker], { encoding: 'utf8' })
  return Number(elapsedNs) / connectionCount
}
