import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

const root = path.resolve(import.meta.dirname, '../..')
const findProgram = (name: string): string | undefined =>
  [path.join(root, '.cache/prometheus/usr/bin', name), `/usr/bin/${name}`].find((file) => fs.existsSync(file))
const program = findProgram('prometheus')
export const promtool = findProgram('promtool')

/** Why the tests with a real Prometheus cannot run here. In CI that is an error. */
export const prometheusMissing =
  program === undefined || promtool === undefined ? 'no prometheus and promtool: make test unpacks them' : undefined
if (prometheusMissing !== undefined && process.env.CI === 'true') throw new Error(prometheusMissing)
if (prometheusMissing !== undefined) console.warn(`SKIPPED, ${prometheusMissing}`)

export const scrapeSeconds = 2
export const scrapes = (count: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, count * scrapeSeconds * 1000 + 500))

export type Result = { metric: Record<string, string>; value?: [number, string]; values?: [number, string][] }[]

export interface Prometheus {
  /** Of its HTTP API: `/api/v1/…`. */
  ask(url: string): unknown
  query(expression: string): Result
  /** The same of many at once; of one that fails what Prometheus says. */
  queries(expressions: readonly string[]): readonly (Result | string)[]
  /** The values of the one series, in the order they were scraped. */
  samples(selector: string): number[]
  stop(): Promise<void>
}

export interface PrometheusOptions {
  /** The network namespace it runs in. */
  readonly namespace?: string
  /** What the scrape adds to each series. */
  readonly labels?: Readonly<Record<string, string>>
  readonly ruleFiles?: readonly string[]
}

/** Debian's Prometheus, scraping agents on loopback every two seconds. */
export function startPrometheus(
  port: number,
  targets: string | readonly string[],
  { namespace, labels = {}, ruleFiles = [] }: PrometheusOptions = {},
): Prometheus {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-prometheus-'))
  const configuration = path.join(folder, 'prometheus.yml')
  fs.writeFileSync(
    configuration,
    // YAML takes JSON as it is.
    JSON.stringify({
      global: {
        scrape_interval: `${scrapeSeconds}s`,
        scrape_timeout: `${scrapeSeconds}s`,
        evaluation_interval: `${scrapeSeconds}s`,
      },
      rule_files: ruleFiles,
      scrape_configs: [{ job_name: 'netvitals', honor_labels: true, static_configs: [{ targets: [targets].flat(), labels }] }],
    }),
  )
  const inside = namespace === undefined ? [] : ['ip', 'netns', 'exec', namespace]
  const run = (...command: string[]): [string, string[]] => {
    const [first = '', ...rest] = [...inside, ...command]
    return [first, rest]
  }
  const server = spawn(
    ...run(
      program ?? '',
      `--config.file=${configuration}`,
      `--storage.tsdb.path=${path.join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=error',
    ),
    { stdio: 'ignore' },
  )
  const askAll = (urls: readonly string[]): readonly unknown[] => {
    const script = `const ask = (url) => fetch('http://127.0.0.1:${port}' + url).then((answer) => answer.json())
      let urls = ''
      process.stdin.on('data', (text) => (urls += text)).on('end', async () => {
        const answers = []
        for (const url of JSON.parse(urls)) answers.push(await ask(url))
        process.stdout.write(JSON.stringify(answers))
      })`
    const [program, parameters] = run(process.execPath, '-e', script)
    return JSON.parse(execFileSync(program, parameters, { input: JSON.stringify(urls), encoding: 'utf8', maxBuffer: 1 << 28 }))
  }
  const ask = (url: string): unknown => askAll([url])[0]
  const queries: Prometheus['queries'] = (expressions) =>
    askAll(expressions.map((expression) => `/api/v1/query?query=${encodeURIComponent(expression)}`)).map((answer) => {
      const { data, error } = answer as { data?: { result: Result }; error?: string }
      return data?.result ?? error ?? 'no answer'
    })
  const query: Prometheus['query'] = (expression) => {
    const [result] = queries([expression])
    if (typeof result !== 'object') throw new Error(`${expression}: ${result}`)
    return result
  }
  return {
    ask,
    query,
    queries,
    samples: (selector) => query(`${selector}[5m]`)[0]?.values?.map(([, value]) => Number(value)) ?? [],
    async stop() {
      const isRunning = server.exitCode === null && server.signalCode === null
      const gone = isRunning ? once(server, 'exit') : undefined
      server.kill('SIGKILL')
      await gone
      fs.rmSync(folder, { recursive: true, force: true })
    },
  }
}
