import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'

const root = path.resolve(import.meta.dirname, '..')
const listFiles = (folder: string): string[] =>
  fs
    .readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => path.posix.join(folder, file))
const files = [...listFiles('parsers'), ...listFiles('agent'), ...listFiles('helm')]

/** What a file imports: paths inside the project, or package names. */
function importsOf(file: string): string[] {
  const text = fs.readFileSync(path.join(root, file), 'utf8')
  return [
    ...text.matchAll(
      /^(?:import|export)\b[^'"]*?from\s+['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)|^import\s+['"]([^'"]+)['"]/gm,
    ),
  ].map((match) => {
    const target = match[1] ?? match[2] ?? match[3] ?? ''
    return target.startsWith('.') ? path.posix.normalize(path.posix.join(path.posix.dirname(file), target)) : target
  })
}

/** Who may import whom. The first rule that fits a file is its rule; `may` are prefixes. */
const rules: { files: RegExp; may: RegExp; sentence: string }[] = [
  { files: /^parsers\//, may: /^parsers\//, sentence: 'parsers/ imports nothing but itself' },
  { files: /^agent\/limits\.ts$/, may: /^$/, sentence: 'limits.ts imports nothing' },
  {
    files: /^agent\/metrics\/(labels|catalogue|drop-category)\.ts$/,
    may: /^(agent\/metrics\/(labels|catalogue|drop-category)|parsers\/http-message)\.ts$/,
    sentence: 'labels and catalogue import only each other, and words that parsers tell',
  },
  {
    files: /^agent\/metrics\//,
    may: /^(agent\/metrics\/|agent\/limits\.ts|prom-client$|node:fs$)/,
    sentence: 'metrics/ imports the catalogue, labels, itself and limits',
  },
  {
    files: /^agent\/capture\//,
    may: /^(parsers\/|agent\/capture\/|agent\/limits\.ts|agent\/metrics\/labels\.ts)/,
    sentence: 'capture/ imports parsers, limits and the words of labels',
  },
  {
    files: /^agent\/host\//,
    may: /^(node:|agent\/(host|capture)\/|agent\/limits\.ts|agent\/log\.ts|parsers\/|koffi$|pcap$|systeminformation$)/,
    sentence: 'host/ imports node:, capture, limits, log and parsers; it alone imports koffi, pcap, systeminformation',
  },
  {
    files: /^agent\/sources\/source\.ts$/,
    may: /^(parsers\/text|agent\/host\/namespaces|agent\/metrics\/(catalogue|labels))\.ts$/,
    sentence: 'source.ts imports types only',
  },
  {
    files: /^agent\/sources\/index\.ts$/,
    may: /^agent\/(sources\/|host\/|metrics\/catalogue\.ts)/,
    sentence: 'index.ts lists the sources',
  },
  {
    files: /^agent\/sources\//,
    may: /^(parsers\/|agent\/(host|capture)\/|agent\/sources\/(source|captured|each-namespace|read-sysctl|unwrap|destinations|traced-counters|tool-counters|edge-drops|edge-keys|edge-peers|edge-records|key-table)\.ts|agent\/metrics\/(catalogue|labels|drop-category|user-metrics)\.ts|agent\/limits\.ts)/,
    sentence: 'a source imports parsers, host, capture, source.ts, the catalogue and limits; never another source',
  },
  {
    files: /^agent\/identity\//,
    may: /^(parsers\/|agent\/(host|identity)\/|agent\/(limits|log|config-file)\.ts|agent\/metrics\/label-text\.ts|agent\/sources\/source\.ts|node:https$)/,
    sentence: 'identity/ imports parsers, host, limits, log, the reader of files of people, node:https',
  },
  {
    files: /^agent\/(sweep|series|history)\.ts$/,
    may: /^(parsers\/text\.ts|agent\/(sweep|series|history|edges|limits|log)\.ts|agent\/host\/errors\.ts|agent\/identity\/|agent\/metrics\/|agent\/sources\/source\.ts)/,
    sentence: 'the sweep imports source and identity types, the catalogue, snapshot, self, limits, log',
  },
  {
    files: /^agent\/edges\.ts$/,
    may: /^(agent\/(identity\/|metrics\/)|agent\/(limits|series|sources\/source)\.ts)/,
    sentence: 'edges imports identity and source types, the catalogue, series and limits',
  },
  {
    files: /^agent\/recording\.ts$/,
    may: /^agent\/(events|limits|series|metrics\/(catalogue|snapshot|label-text|user-metrics))\.ts$/,
    sentence: 'a recording imports events, the catalogue, snapshots and limits',
  },
  {
    files: /^agent\/events\.ts$/,
    may: /^agent\/(identity\/|(metrics\/labels|sources\/source|limits)\.ts)/,
    sentence: 'the stream of events imports identity and source types, labels and limits',
  },
  {
    files: /^agent\/edge-graph\.ts$/,
    may: /^agent\/(history|metrics\/(label-text|snapshot))\.ts$/,
    sentence: 'the graph of edges imports snapshots and the history',
  },
  {
    files: /^agent\/(filter|socket-filter|socket-groups|socket-list)\.ts$/,
    may: /^(node:net$|parsers\/|agent\/(host|identity)\/|agent\/(filter|socket-filter|socket-groups|socket-list|events|config|config-values|limits)\.ts|agent\/metrics\/(labels|label-text)\.ts|agent\/sources\/source\.ts)/,
    sentence: 'the list of sockets imports parsers, host, identity, the values of filters, labels and limits',
  },
  {
    files: /^agent\/(config|config-file|config-values|log)\.ts$/,
    may: /^(parsers\/(dns|http)-message\.ts|agent\/(limits|log|config|config-file|config-values)\.ts|agent\/metrics\/(label-text|labels|drop-category|user-metrics)\.ts|node:(fs|module|net|util|path)$|zod\/v3$|yaml$|pino$)/,
    sentence:
      'config.ts and log.ts import limits, the words of labels, DNS and HTTP, and node:; they alone import zod, yaml, pino',
  },
  {
    files: /^agent\/http\//,
    may: /^(node:|fastify$|bcryptjs$|yaml$|zod\/v3$|agent\/http\/|agent\/metrics\/|agent\/(sweep|history|events|edge-graph|socket-list|limits|config|config-file|config-values|log|check)\.ts)/,
    sentence: 'http/ imports sweep, history, events, edges, the list of sockets, render, self, limits, config, log',
  },
  {
    files: /^agent\/prove\//,
    may: /^(node:timers\/promises$|parsers\/|agent\/(host|prove)\/|agent\/metrics\/catalogue\.ts|agent\/sources\/source\.ts|agent\/(limits|check)\.ts)/,
    sentence: 'prove/ imports parsers, host, the catalogue, source types, the type of a node and limits',
  },
  { files: /^agent\/main\.ts$/, may: /^(agent\/cli\/|node:)/, sentence: 'main.ts imports cli/ only' },
  {
    files: /^agent\/(agent|check)\.ts$|^agent\/cli\//,
    may: /^(node:|parsers\/|agent\/)/,
    sentence: 'agent.ts and cli/ import everything but packages',
  },
  {
    files: /^helm\/promql\.ts$/,
    may: /^agent\/metrics\/(catalogue|labels)\.ts$/,
    sentence: 'promql.ts imports the catalogue and labels',
  },
  {
    files: /^helm\/dashboards\//,
    may: /^(helm\/(promql\.ts|dashboards\/)|agent\/metrics\/(catalogue|labels|thresholds|drop-category)\.ts$|@grafana\/)/,
    sentence: 'a dashboard imports PromQL, the catalogue and thresholds',
  },
  {
    sentence: "helm/chart-readme.ts is the chart's files as text, and imports nothing of the agent",
    files: /^helm\/chart-readme\.ts$/,
    may: /^yaml$/,
  },
  {
    files: /^helm\/rules\//,
    may: /^(helm\/(promql\.ts|rules\/)|agent\/metrics\/(catalogue|labels|thresholds|drop-category)\.ts$|yaml$)/,
    sentence: 'an alert imports PromQL, the catalogue and thresholds',
  },
]
/** The only place for a thing. */
const places: { thing: RegExp; place: RegExp }[] = [
  { thing: /^(koffi|pcap|systeminformation|node:child_process)$/, place: /^agent\/host\// },
  { thing: /^fastify$/, place: /^agent\/http\// },
  { thing: /^prom-client$/, place: /^agent\/metrics\/self\.ts$/ },
  { thing: /^pino$/, place: /^agent\/log\.ts$/ },
  { thing: /^@grafana\//, place: /^helm\/dashboards\/grafana\.ts$/ },
  { thing: /^agent\/main\.ts$/, place: /^$/ },
]

const ruleOf = (file: string) => rules.find((one) => one.files.test(file))

describe('imports', () => {
  it('every file has a rule', () => expect(files.filter((file) => ruleOf(file) === undefined)).toEqual([]))
  it.each(rules)('$sentence', (rule) => {
    const wrong = files
      .filter((file) => ruleOf(file) === rule)
      .flatMap((file) =>
        importsOf(file)
          .filter((target) => !rule.may.test(target))
          .map((target) => `${file} imports ${target}`),
      )
    expect(wrong).toEqual([])
  })
  it.each(places)('$thing has one place: $place', ({ thing, place }) => {
    expect(files.filter((file) => !place.test(file) && importsOf(file).some((target) => thing.test(target)))).toEqual([])
  })
})

describe('the tree', () => {
  it('has no utils, helpers, common, types or index barrels', () => {
    expect(
      files.filter(
        (file) =>
          /(utils?|helpers?|common|types|index)\.ts$/.test(file) &&
          !/^(agent\/sources|helm\/(dashboards|rules))\/index\.ts$/.test(file),
      ),
    ).toEqual([])
  })
  it('reads the environment in config.ts only', () => {
    expect(
      files.filter((file) => file !== 'agent/config.ts' && /process\.env\b/.test(fs.readFileSync(path.join(root, file), 'utf8'))),
    ).toEqual([])
  })
  it('has a test for every parser, of the same name', () => {
    const tests = new Set(listFiles('test/parsers').map((file) => path.basename(file, '.test.ts')))
    expect(
      listFiles('parsers')
        .map((file) => path.basename(file, '.ts'))
        .filter((name) => !tests.has(name) && name !== 'socket-row'),
    ).toEqual([])
  })
})
