// Resident memory (VmRSS) of the agent with its tracer, in a namespace with 1,000 TCP sockets, scraped every 15 s; beside
// node_exporter scraped as often. memory.mjs MINUTES: 10 unless told. Node's options may be tried with NODE_OPTIONS.
import path from 'node:path'
import { findNodeExporter, get, netvitals, printRow, readResidentMb, sleep, start, stop, withNamespace } from './process.mjs'

const minutes = Number(process.argv[2] ?? 10)
const scrapeMs = 15_000
const sockets = 1000
const scraped = [
  netvitals,
  {
    name: 'node_exporter',
    command: findNodeExporter(),
    args: ['--web.listen-address=127.0.0.1:9100'],
    ready: /[Ll]istening on/,
    url: 'http://127.0.0.1:9100/metrics',
  },
]

await withNamespace(`nvbench-memory-${process.pid}`, async (namespace) => {
  const holder = await start(
    namespace,
    process.execPath,
    [path.join(import.meta.dirname, 'hold-sockets.mjs'), String(sockets / 2), '0', '0'],
    /ready/,
  )
  const running = await Promise.all(scraped.map(({ command, args, ready }) => start(namespace, command, args, ready)))
  const readings = scraped.map(() => [])
  try {
    const startedAtMs = performance.now()
    for (let i = 0; performance.now() - startedAtMs < minutes * 60_000; i++) {
      const texts = scraped.map(({ url }) => String(get(namespace, url)))
      if (!texts[0].includes('netvitals_source_available{source="trace-drops"} 1')) throw new Error('the tracer does not run')
      await sleep(startedAtMs + (i + 1) * scrapeMs - performance.now()) // between two scrapes at rest
      for (const [side, child] of running.entries()) readings[side].push(readResidentMb(child.pid))
    }
  } finally {
    for (const child of [...running, holder]) await stop(child)
  }
  for (const [side, { name }] of scraped.entries()) {
    const { total, own } = readings[side].at(-1)
    const half = readings[side].slice(Math.floor(readings[side].length / 2)).map((reading) => reading.total)
    const range = `${Math.min(...half).toFixed(1)} to ${Math.max(...half).toFixed(1)} MB in the last half`
    printRow(
      `Resident memory of ${name} after ${minutes} minutes`,
      `${total.toFixed(1)} MB, ${own.toFixed(1)} MB of it not backed by files; ${range}`,
    )
  }
})
