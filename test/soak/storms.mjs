// What the soak causes, and what /metrics must say of it. A storm happens within one namespace, on its loopback, and
// returns how many more of each there must be: of a metric, with some of its labels, summed over the others.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { own, project, sleep } from '../bench/process.mjs'

const address = '127.0.0.1'
const droppedPort = 9000
const silentPort = 9100 // nobody answers a SYN to it
const lossyPort = 9200
const openPort = 9300
const closedPort = 9400
/** The first timeout of a SYN is a second. */
const synTimeoutMs = 1000

const dropped = (reason, protocol) => `netvitals_dropped_packets_total reason="${reason}",protocol="${protocol}"`
const connects = (outcome) => `netvitals_tcp_connects_total outcome="${outcome}"`
const durations = 'netvitals_tcp_connect_duration_seconds_count'
const sentResets = 'netvitals_tcp_sent_resets_by_reason_total'
const receivedResets = (state) => `netvitals_tcp_received_resets_total state="${state}"`
const retransmitted = 'netvitals_tcp_retransmitted_segments_by_kind_total'

/** Two metrics of one number each, of which only the kernel knows how much it is when packets are lost. */
export const equal = [
  [retransmitted, 'netvitals_tcp_retransmitted_segments_total'],
  [`${retransmitted} kind="syn"`, 'netvitals_tcp_syn_retransmits_total'],
  [sentResets, 'netvitals_tcp_sent_resets_total'],
]

export function prepare(namespace) {
  const iptables = (...rule) => execFileSync('ip', ['netns', 'exec', namespace, 'iptables', '-w', ...rule, '-j', 'DROP'])
  iptables('-t', 'raw', '-A', 'PREROUTING', '-p', 'udp', '--dport', droppedPort)
  iptables('-A', 'INPUT', '-p', 'tcp', '--dport', silentPort)
  const oneIn20 = ['-m', 'statistic', '--mode', 'nth', '--every', 20, '--packet', 0]
  iptables('-A', 'INPUT', '-p', 'tcp', '!', '--syn', '--dport', lossyPort, ...oneIn20)
}

/** What the rules of `prepare` say they have dropped of TCP. */
export function readDropped(namespace) {
  const rules = execFileSync('ip', ['netns', 'exec', namespace, 'iptables', '-w', '-nvxL', 'INPUT'], { encoding: 'utf8' })
  const packets = [...rules.matchAll(/^\s*(\d+)\s+\d+\s+DROP\b/gm)].map(([, count]) => Number(count))
  return { [dropped('netfilter_drop', 'tcp')]: packets.reduce((a, b) => a + b, 0) }
}

export const storms = [dropDatagrams, sendToNobody, connectAndClose, connectToNobody, connectAndReset]
/** Of these what else happens is up to the kernel's timers. */
export const lossyStorms = [connectToSilence, transferWithLoss]

async function dropDatagrams(namespace) {
  const { sent } = await cause(namespace, 'udp-send', { address, port: droppedPort, count: 200_000 })
  return { [dropped('netfilter_drop', 'udp')]: sent }
}

async function sendToNobody(namespace, _turn, count = 5000) {
  const { sent } = await cause(namespace, 'udp-send', { address, port: closedPort, count })
  return { [dropped('no_socket', 'udp')]: sent }
}

/** To another address each time: its ports are not all in TIME_WAIT. */
async function connectAndClose(namespace, turn, count = 3000) {
  const order = { address: `127.0.0.${1 + (turn % 250)}`, port: openPort, count, end: 'close' }
  const { connected } = await cause(namespace, 'tcp-storm', order)
  return { [connects('connected')]: connected, [durations]: connected }
}

async function connectToNobody(namespace, _turn, count = 3000) {
  const { ECONNREFUSED } = await cause(namespace, 'tcp-storm', { address, port: closedPort, count, end: 'refused' })
  return {
    [connects('refused')]: ECONNREFUSED,
    [sentResets]: ECONNREFUSED,
    [receivedResets('syn_sent')]: ECONNREFUSED,
    [dropped('no_socket', 'tcp')]: ECONNREFUSED,
  }
}

async function connectAndReset(namespace, _turn, count = 3000) {
  const { connected } = await cause(namespace, 'tcp-storm', { address, port: openPort, count, end: 'reset' })
  return {
    [connects('connected')]: connected,
    [durations]: connected,
    [sentResets]: connected,
    [receivedResets('established')]: connected,
  }
}

async function connectToSilence(namespace, _turn, count = 200) {
  const connecting = start(namespace, 'tcp-connect', { address, port: silentPort, count, wait: false })
  const ended = once(connecting, 'close')
  await once(connecting.stdout, 'data')
  await sleep(1.3 * synTimeoutMs)
  connecting.stdin.end()
  await ended
  return { [connects('abandoned')]: count }
}

async function transferWithLoss(namespace) {
  const sink = start(namespace, 'tcp-sink', { address, port: lossyPort })
  const ended = once(sink, 'close')
  await once(sink.stdout, 'data')
  sink.stdin.end('{"action":"read"}\n')
  await cause(namespace, 'tcp-bulk', { address, port: lossyPort, bytes: 20_000_000 })
  await ended
  return { [connects('connected')]: 1, [durations]: 1 }
}

/** What happens in a namespace that is soon gone. */
export async function drizzle(namespace, turn) {
  const count = 5 + (turn % 20)
  const parts = await Promise.all([sendToNobody(namespace, turn, count), connectToNobody(namespace, turn, count)])
  return Object.assign({}, ...parts)
}

function start(namespace, verb, order) {
  const faults = path.join(project, 'test/truth/faults.mjs')
  return own(spawn('ip', ['netns', 'exec', namespace, process.execPath, faults, verb, JSON.stringify(order)]))
}

/** Does a verb of faults.mjs and returns what it printed. */
async function cause(namespace, verb, order) {
  const child = start(namespace, verb, order)
  let output = ''
  let errors = ''
  child.stdout.on('data', (chunk) => (output += chunk))
  child.stderr.on('data', (chunk) => (errors += chunk))
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`${verb} in ${namespace} failed: ${errors}`)
  return JSON.parse(output)
}
