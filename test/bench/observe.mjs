// What it costs to look at single drops while there is a storm of them: the CPU time of `netvitals observe`, and of
// bpftrace that prints each; and whether what is shown and what is said not to be shown are all there were.
// observe.mjs PACKETS
import { execFileSync, spawn } from 'node:child_process'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { hasBpftrace } from './observers.mjs'
import { netvitals, own, printRow, project, readCpuMs, sleep, stop, withNamespace } from './process.mjs'

const namespace = `nvbench-observe-${process.pid}`
const packets = Number(process.argv[2] ?? 2_000_000)
const settleMs = 2500

await withNamespace(namespace, async () => {
  execFileSync('ip', ['netns', 'exec', namespace, 'iptables', '-w', '-t', 'raw', '-A', 'PREROUTING', '-p', 'udp', '-j', 'DROP'])
  await watch('netvitals observe -o json', [netvitals.command, 'observe', '-f', '-t', 'drop', '-o', 'json', '--web.socket='], {
    shown: (line) => (line.includes('"type":"drop"') ? 1 : 0),
    notShown: (line) => Number(/"type":"not_shown","of":"drop","count":(\d+)/.exec(line)?.[1] ?? 0),
  })
  if (!hasBpftrace()) return
  const program = 'tracepoint:skb:kfree_skb { printf("drop %d %d\\n", args->reason, args->protocol); }'
  await watch('bpftrace, printf of each', ['bpftrace', '-e', program], {
    shown: (line) => (line.startsWith('drop ') ? 1 : 0),
    notShown: (line) => Number(/^Lost (\d+) events/.exec(line)?.[1] ?? 0),
  })
})

async function watch(name, [command, ...args], { shown, notShown }) {
  const child = own(spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] }))
  let [seen, said] = [0, 0]
  for (const stream of [child.stdout, child.stderr])
    createInterface({ input: stream }).on('line', (line) => {
      seen += shown(line)
      said += notShown(line)
    })
  await sleep(settleMs) // until it watches
  const [startedAt, cpuBefore] = [performance.now(), readCpuMs(child.pid)]
  const order = { address: '127.0.0.1', port: 9000, count: packets, bytes: 36, cpu: 1 }
  const sender = [process.execPath, path.join(project, 'test/truth/faults.mjs'), 'udp-send', JSON.stringify(order)]
  execFileSync('ip', ['netns', 'exec', namespace, ...sender])
  const seconds = (performance.now() - startedAt) / 1000
  await sleep(settleMs) // what is still on its way
  const cpuMs = readCpuMs(child.pid) - cpuBefore
  await stop(child)
  printRow(
    `${packets.toLocaleString('en')} drops in ${seconds.toFixed(1)} s, looked at by ${name}`,
    `${((packets / seconds) | 0).toLocaleString('en')} drops/s; CPU ${cpuMs.toFixed(0)} ms, ${((cpuMs / 1e3 / seconds) * 100).toFixed(1)} % of one; ${seen.toLocaleString('en')} shown, ${said.toLocaleString('en')} said not to be`,
  )
}
