import { catalogue, countLinesMax, definitionOf, type MetricName, metricNames } from './catalogue.ts'
import { type LabelName, labels } from './labels.ts'

const groups: readonly (readonly [title: string, prefix: RegExp])[] = [
  ['Drops', /^netvitals_dropped/],
  ['Devices, softnet, queueing disciplines', /^netvitals_(device|softnet|qdisc)/],
  ['TCP', /^netvitals_tcp/],
  ['Edges', /^netvitals_edge/],
  ['Connection tracking', /^netvitals_conntrack/],
  ['UDP, IP, ICMP, traffic', /^netvitals_(udp|ip|icmp|sockets_used|received|transmitted)/],
  ['Neighbour tables', /^netvitals_neighbour/],
  ['Single events', /^netvitals_events/],
  ['Tools of the user', /^netvitals_(tool|child)/],
  ["The agent's own", /./],
]

const escapeCell = (text: string): string => text.replaceAll('|', '\\|')

function renderMetric(name: MetricName): string {
  const { type, scope, birth, source, labels: names, help, origin } = definitionOf(name)
  const own = names.map((label) => `\`${label}\``).join(', ')
  const ofRow = { node: '', pod: '`namespace`, `pod`', edge: 'those of an edge' }[scope]
  const all = [ofRow, own].filter((text) => text !== '').join(', ')
  const series = `${countLinesMax(definitionOf(name))}${{ node: '', pod: ' per row', edge: ' per edge' }[scope]}`
  return `| \`${name}\` | ${type} | ${all} | ${escapeCell(help)} | ${escapeCell(origin)} | ${source} | ${scope === 'node' ? '' : birth} | ${series} |`
}

function renderLabel(name: LabelName): string {
  const label = labels[name]
  const values = 'values' in label ? label.values.map((value) => `\`${value}\``).join(', ') : `at most ${label.max}`
  return `| \`${name}\` | ${escapeCell(label.help)} | ${values} |`
}

/** docs/reference.md: every metric with its worst-case number of series, every label with its values. */
export function renderReference(): string {
  const left = new Set(metricNames)
  const sections = groups.map(([title, prefix]) => {
    const names = [...left].filter((name) => prefix.test(name))
    for (const name of names) left.delete(name)
    return `## ${title}

| metric | type | labels | meaning | origin | source | birth | most series |
|---|---|---|---|---|---|---|---|
${names.map(renderMetric).join('\n')}
`
  })
  const rowNames = metricNames.filter((name) => catalogue[name].scope === 'pod')
  const bornWithRow = rowNames.filter((name) => catalogue[name].birth === 'subject')
  return `# Metrics

Written from agent/metrics/catalogue.ts and labels.ts by \`make build\`; a test compares.

Metrics with the labels \`namespace\` and \`pod\` have one row for the host (both empty) and one for each named network namespace (\`@netns\` and its name). Counters read from /proc or netlink count since boot; those of the tracer count since the agent's start. \`birth\` says when a row that is not the host's gets the series: \`subject\`, with the row and 0 (${bornWithRow.reduce((sum, name) => sum + countLinesMax(definitionOf(name)), 0)} series); \`first\`, at its first change.

${sections.join('\n')}
## Labels

| label | meaning | values |
|---|---|---|
${(Object.keys(labels) as LabelName[]).map(renderLabel).join('\n')}
`
}
