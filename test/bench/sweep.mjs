// CPU time of a scrape, side by side in one run: netvitals against node_exporter with tcpstat and qdisc, in a namespace
// with 100, 10,000 and 50,000 TCP sockets. User + system time, medians of 15 rounds in turn, a fifth of the
// sockets in TIME_WAIT. netvitals reads every named network namespace of the machine, node_exporter its own only: to
// compare like with like there must be no others, so their number is told.
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { findNodeExporter, get, median, netvitals, printRow, readCpuMs, sleep, start, stop, withNamespace } from './process.mjs'

const namespace = 'nvbench-sweep'
const rounds = 15
const pairsPerProcess = 8000
const timeWaitShare = 0.2
const sizes = process.argv.slice(2).map(Number)
if (sizes.length === 0) sizes.push(100, 10_000, 50_000)

const exporter = findNodeExporter()
const networkOnly = ['conntrack', 'netdev', 'netstat', 'qdisc', 'sockstat', 'softnet', 'tcpstat', 'arp'].map(
  (name) => `--collector.${name}`,
)
const scraped = [
  netvitals,
  {
    name: 'node_exporter, default collectors + tcpstat + qdisc',
    command: exporter,
    args: ['--web.listen-address=127.0.0.1:9100', '--collector.tcpstat', '--collector.qdisc'],
    ready: /[Ll]istening on/,
    url: 'http://127.0.0.1:9100/metrics',
  },
  {
    name: 'node_exporter, the same subjects only',
    command: exporter,
    args: ['--web.listen-address=127.0.0.1:9101', '--collector.disable-defaults', ...networkOnly],
    ready: /[Ll]istening on/,
    url: 'http://127.0.0.1:9101/metrics',
  },
]

for (const size of sizes) {
  await withNamespace(namespace, async () => {
    const timeWait = Math.round(size * timeWaitShare) // one socket each: its peer is gone
    const pairs = Math.round((size - timeWait) / 2)
    const groups = Math.ceil((pairs + timeWait) / pairsPerProcess)
    const holders = await Promise.all(
      Array.from({ length: groups }, (_, group) =>
        start(
          namespace,
          process.execPath,
          [
            path.join(import.meta.dirname, 'hold-sockets.mjs'),
            String(Math.round(pairs / groups)),
            String(Math.round(timeWait / groups)),
            String(group),
          ],
          /ready/,
        ),
      ),
    )
    const running = await Promise.all(scraped.map(({ command, args, ready }) => start(namespace, command, args, ready)))
    try {
      const costs = scraped.map(() => [])
      for (let round = -3; round < rounds; round++) {
        for (const [i, { url }] of scraped.entries()) {
          const before = readCpuMs(running[i].pid)
          get(namespace, url)
          await sleep(30)
          if (round >= 0) costs[i].push(readCpuMs(running[i].pid) - before)
          if (i === 0) await sleep(1000) // a sweep younger than a second would be shown again
        }
      }
      const states = String(get(namespace, scraped[0].url))
        .split('\n')
        .filter((line) => line.startsWith('netvitals_tcp_sockets{namespace="",pod=""'))
      const count = (state) =>
        states.filter((line) => state.test(line)).reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
      const sockets = `${count(/./).toLocaleString('en')} TCP sockets (${count(/time_wait/).toLocaleString('en')} TIME_WAIT)`
      const namespaces = execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' }).trim().split('\n').length - 1
      const [own, ...others] = costs.map(median)
      const beside = others.map((cost, i) => `${scraped[i + 1].name} ${cost.toFixed(1)} ms, ratio ${(own / cost).toFixed(2)}`)
      const range = `${Math.min(...costs[0]).toFixed(1)} to ${Math.max(...costs[0]).toFixed(1)}`
      printRow(
        `CPU of a scrape with ${sockets}${namespaces > 0 ? `, and ${namespaces} other namespaces` : ''}`,
        `netvitals ${own.toFixed(1)} ms (${range}); ${beside.join('; ')}`,
      )
    } finally {
      for (const child of [...running, ...holders]) await stop(child)
    }
  })
}
