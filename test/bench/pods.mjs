// A scrape of a node with 100 pods of 200 TCP sockets each: CPU time and memory of the agent, side by side in one run with
// what a user would do instead: read the same files of /proc/<pid>/net as node_exporter does, or run ss in each network
// namespace. Medians of rounds in turn. pods.mjs PODS SOCKETS
import { execFileSync, spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { get, median, netvitals, printRow, readCpuMs, readResidentMb, sleep, start, stop, withNamespace } from './process.mjs'

const [pods = 100, socketsPerPod = 200] = process.argv.slice(2).map(Number)
const rounds = 9
const startedTogether = 8
const nodeNamespace = `nvbench-pods-${process.pid}`
const mount = ['/sys/fs/cgroup/unified', '/sys/fs/cgroup', '/sys/fs/cgroup/pids'].find((folder) =>
  fs.existsSync(path.join(folder, 'cgroup.procs')),
)
const group = path.join(mount, nodeNamespace)

const held = []
const undo = []
process.on('exit', () => {
  for (const step of undo.reverse()) step()
})

/** A network namespace with a process in a pod's control group, that holds sockets. */
async function startPod(index) {
  const name = `cni-nvbench-${process.pid}-${index}`
  execFileSync('ip', ['netns', 'add', name])
  undo.push(() => spawnSync('ip', ['netns', 'del', name]))
  execFileSync('ip', ['-n', name, 'link', 'set', 'lo', 'up'])
  const holder = path.join(import.meta.dirname, 'hold-sockets.mjs')
  const child = await start(name, process.execPath, [holder, String(socketsPerPod / 2), '0', '0'], /ready/)
  const folder = path.join(group, 'kubepods', `pod${randomUUID()}`, randomUUID().replaceAll('-', '').padEnd(64, '0'))
  fs.mkdirSync(folder, { recursive: true })
  undo.push(() => {
    for (const made of [folder, path.dirname(folder)]) fs.rmdirSync(made)
  })
  fs.writeFileSync(path.join(folder, 'cgroup.procs'), String(child.pid))
  held.push(child)
}

const ownCpuMs = () => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}
const childrenCpuMs = () => {
  const fields = fs.readFileSync('/proc/self/stat', 'utf8').split(') ')[1].split(' ')
  return (Number(fields[13]) + Number(fields[14])) * 10 // ticks of 10 ms
}

const files = ['snmp', 'netstat', 'snmp6', 'sockstat', 'sockstat6', 'dev', 'tcp', 'tcp6']
/** What an exporter does with text: lines and columns. */
function readAsText() {
  const before = ownCpuMs()
  let columns = 0
  for (const { pid } of held)
    for (const file of files)
      for (const line of fs.readFileSync(`/proc/${pid}/net/${file}`, 'utf8').split('\n')) columns += line.split(/\s+/).length
  if (columns === 0) throw new Error('nothing was read')
  return ownCpuMs() - before
}

function runSs() {
  const before = childrenCpuMs()
  for (const { pid } of held) spawnSync('nsenter', ['-t', String(pid), '-n', 'ss', '-tanio'])
  return childrenCpuMs() - before
}

fs.mkdirSync(path.join(group, 'kubepods'), { recursive: true })
undo.push(() => {
  for (const made of [path.join(group, 'kubepods'), group]) fs.rmdirSync(made)
})
try {
  for (let index = 0; index < pods; index += startedTogether)
    await Promise.all(Array.from({ length: Math.min(startedTogether, pods - index) }, (_, i) => startPod(index + i)))
  await withNamespace(nodeNamespace, async () => {
    const agent = await start(nodeNamespace, netvitals.command, [...netvitals.args, '--identity.pods=off'], netvitals.ready)
    const costs = { netvitals: [], text: [], ss: [] }
    let text = ''
    for (let round = -2; round < rounds; round++) {
      await sleep(1100) // a sweep younger than a second would be shown again
      const before = readCpuMs(agent.pid)
      text = String(get(nodeNamespace, netvitals.url))
      await sleep(50)
      if (round < 0) continue
      costs.netvitals.push(readCpuMs(agent.pid) - before)
      costs.text.push(readAsText())
      if (round < 3) costs.ss.push(runSs())
    }
    const ofPods = text.split('\n').filter((line) => line.includes('namespace="@pod"')).length
    const durations = text.split('\n').filter((line) => line.startsWith('netvitals_source_duration_seconds'))
    const { total } = readResidentMb(agent.pid)
    const [own, asText, ss] = [costs.netvitals, costs.text, costs.ss].map(median)
    printRow(
      `CPU of a scrape with ${pods} pods of ${socketsPerPod} TCP sockets`,
      `netvitals ${own.toFixed(0)} ms (${(ofPods / pods).toFixed(0)} series a pod, ${total.toFixed(0)} MB resident); the same files as text ${asText.toFixed(0)} ms, ratio ${(own / asText).toFixed(2)}; ss in each namespace ${ss.toFixed(0)} ms, ratio ${(own / ss).toFixed(2)}`,
    )
    if (process.env.VERBOSE) console.log(durations.join('\n'))
    await stop(agent)
  })
} finally {
  await Promise.all(held.map(stop))
}
