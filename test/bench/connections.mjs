// What watching costs a TCP connection: connect, accept, close, read to the end, close; whoever called closes first and
// keeps the TIME_WAIT. Bursts of 20,000, one after the other, on one CPU and before ordinary processes; the time of
// connect-and-close.mjs per connection, which is 10 state changes (the kernel's clock tells). First on loopback, which is no
// edge, then between two namespaces, which is one. New namespaces for each turn begin without TIME_WAIT.
// connections.mjs ROUNDS
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { mapNames } from '../../dist/agent/host/traced-maps.js'
import { bpftraceWith, compareObservers, countIn, hasBpftrace, netvitalsWith, nobody, printKernelClock } from './observers.mjs'
import { withNamespace } from './process.mjs'

const namespace = `nvbench-connections-${process.pid}`
const peer = `${namespace}-peer`
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

const observersOfConnections = {
  nobody,
  'netvitals, connects only': netvitalsWith(connectMaps, count),
  'netvitals, all programs': netvitalsWith(mapNames, count),
  ...(hasBpftrace() && { 'bpftrace, outcomes and latency': bpftraceWith(script, { counts: { name: 'connects' } }) }),
}

const observersOfEdges = {
  nobody,
  'netvitals, all programs but edges': netvitalsWith(
    mapNames.filter((name) => !name.startsWith('edge_')),
    count,
  ),
  'netvitals, all programs': netvitalsWith(mapNames, count),
}

const causedPerTurn = warmUpConnections + burstsPerTurn * connections
for (const { what, to, observers, around } of [
  { what: 'A TCP connection', observers: observersOfConnections, around: (turn) => withNamespace(namespace, turn) },
  { what: 'A TCP connection between two namespaces', to: peer, observers: observersOfEdges, around: withTwoNamespaces },
]) {
  const cause = async () => makeBursts(to)
  await compareObservers({ what, causedPerTurn, observers, rounds, cause, around })
  await around(() => printKernelClock({ what, causedPerTurn, cause }))
}

function withTwoNamespaces(turn) {
  return withNamespace(namespace, () =>
    withNamespace(peer, async () => {
      const ip = (...command) => execFileSync('ip', command)
      ip('link', 'add', 'eth0', 'netns', namespace, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', peer)
      for (const [name, addresses] of [
        [namespace, ['10.77.0.1']],
        [peer, Array.from({ length: 16 }, (_, i) => `10.77.1.${i + 1}`)],
      ]) {
        for (const address of addresses) ip('-n', name, 'address', 'add', `${address}/16`, 'dev', 'eth0')
        ip('-n', name, 'link', 'set', 'eth0', 'up')
      }
      await turn()
    }),
  )
}

function makeBursts(to) {
  // So that all of them find room in TIME_WAIT.
  execFileSync('ip', ['netns', 'exec', namespace, 'sysctl', '-qw', `net.ipv4.tcp_max_tw_buckets=${2 * causedPerTurn}`])
  make(warmUpConnections, to)
  return Math.min(...Array.from({ length: burstsPerTurn }, () => make(connections, to)))
}

/** Nanoseconds per connection. */
function make(connectionCount, to) {
  const script = path.join(import.meta.dirname, 'connect-and-close.mjs')
  const maker = [process.execPath, script, String(connectionCount), String(cpu), ...(to ? [to] : [])]
  const elapsedNs = execFileSync('ip', ['netns', 'exec', namespace, 'chrt', '--fifo', '1', ...maker], { encoding: 'utf8' })
  return Number(elapsedNs) / connectionCount
}
