import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { parser } from '@prometheus-io/lezer-promql'
import { describe, expect, it } from 'vitest'
import { readConfig } from '../../agent/config.ts'
import { catalogue } from '../../agent/metrics/catalogue.ts'
import { boards } from '../../helm/dashboards/index.ts'
import { alertGroups } from '../../helm/rules/index.ts'
import { toRuleFile } from '../../helm/rules/prometheus.ts'
import type { Alert } from '../../helm/rules/rule.ts'
import { prometheusMissing, promtool } from '../e2e/prometheus-server.ts'
import { calm, calmMinutes } from './rules/calm.ts'
import { scenes } from './rules/index.ts'
import { play, playQuietly } from './rules/promtool.ts'

const root = path.resolve(import.meta.dirname, '../..')
const folder = path.join(root, 'helm/netvitals/rules')
const alerts = alertGroups.flatMap((group) => group.alerts)

function take(text: string) {
  const found = { errors: [] as string[], metrics: new Set<string>() }
  parser.parse(text).iterate({
    enter({ type, name, from, to }) {
      if (type.isError) found.errors.push(`at ${from}: ${text.slice(Math.max(0, from - 20), to + 20)}`)
      if (name === 'VectorSelector') found.metrics.add(text.slice(from, to).split('{', 1)[0]!.trim())
    },
  })
  return found
}

describe('helm/netvitals/rules', () => {
  it.each(alertGroups.map((group) => ({ topic: group.topic, group })))(
    '$topic is what its alerts say',
    async ({ topic, group }) => {
      await expect(toRuleFile(group)).toMatchFileSnapshot(path.join(folder, `${topic}.yaml`))
    },
  )

  it('holds no other file', () => {
    const files = new Set(alertGroups.map(({ topic }) => `${topic}.yaml`))
    expect(fs.readdirSync(folder).filter((file) => !files.has(file))).toEqual([])
  })
})

it('each alert has its own name', () => {
  expect(new Set(alerts.map(({ name }) => name)).size).toBe(alerts.length)
})

describe.each(alerts.map((alert) => ({ name: alert.name, alert })))('$name', ({ alert }) => {
  const { query, threshold, summary, description, severity } = alert

  it('has a query that Prometheus can read, of metrics there are', () => {
    const { errors, metrics } = take(query.text)
    expect(errors).toEqual([])
    expect(metrics.size).toBeGreaterThan(0)
    for (const metric of metrics) expect(metric === 'up' || metric.replace(/_(bucket|count)$/, '') in catalogue).toBe(true)
  })

  if (threshold !== undefined)
    it('has its threshold once, where the chart can replace it', () => {
      const places = [...query.text.matchAll(/[<>] [\d.]+/g)].filter(([text]) => text.slice(2).startsWith(String(threshold)))
      expect(places.map(([text]) => Number(text.slice(2)))).toEqual([threshold])
    })

  it('tells what is the matter: briefly the same for all, then who, where and how much', () => {
    expect(summary).toMatch(/^[A-Z][^.{}]{10,80}$/)
    expect(description).toMatch(/^[A-Z{].*\.$/)
    if (alert.name !== 'NetvitalsAgentsAbsent') expect(description).toContain('$labels.')
    if (threshold !== undefined && threshold !== 0) expect(description).toContain('$value')
  })

  it('wakes nobody before something lasts', () => {
    const minutes = Number(alert.for.replace('m', ''))
    if (severity === 'critical') expect(minutes).toBeGreaterThanOrEqual(2)
    else expect(minutes).toBeGreaterThanOrEqual(5)
    expect(minutes).toBeLessThanOrEqual(15)
  })
})

/** Of a text, what it says to type; what follows a pipe is another's. */
const commandsIn = (text: string): string[] =>
  [...text.matchAll(/(?:^\s*(?:sudo )?|`)netvitals ([a-z][^`\n|#>]*)/gm)].map((match) => match[1]!.trim())
const argumentsOf = (command: string): string[] =>
  [...command.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '')
/** The same as Grafana shows them. */
const boardTitles = [
  'Clusters',
  'Node',
  'Drops',
  'Pod Flows (Namespace)',
  'Pod Flows (Workload)',
  'DNS (Cluster)',
  'DNS (Workload)',
  'TCP health',
  'Conntrack',
  'Edges',
  'L7 (HTTP)',
]

describe('docs/runbooks', () => {
  const runbooks = path.join(root, 'docs/runbooks')
  const read = (name: string): string => fs.readFileSync(path.join(runbooks, `${name}.md`), 'utf8')

  it('has one for each alert, and none without', () => {
    const files = fs.readdirSync(runbooks).filter((file) => file !== 'README.md')
    expect(files.sort()).toEqual(alerts.map(({ name }) => `${name}.md`).sort())
  })

  it('lists the alerts as they are', () => {
    const rows = alerts.map(
      ({ name, summary, severity, threshold, for: pending }) =>
        `| [${name}](${name}.md) | ${severity} | ${threshold ?? ''} | ${pending} | ${summary} |`,
    )
    expect(read('README').match(/^\| \[.*$/gm)).toEqual(rows)
  })

  it.each(alerts.map((alert) => ({ name: alert.name, alert })))(
    '$name: what it means, whom it harms, where to look, what to do',
    ({ name, alert }) => {
      const text = read(name)
      const severity = `${alert.severity[0]!.toUpperCase()}${alert.severity.slice(1)}`
      expect(text.startsWith(`# ${name}\n\n${alert.summary}. ${severity}.`)).toBe(true)
      const parts = text.split(/^## /m).slice(1)
      expect(parts.map((part) => part.split('\n', 1)[0])).toEqual([
        'Meaning',
        'Impact',
        'Diagnosis',
        'Mitigation',
        'False positives',
      ])
      for (const part of parts) expect(part.length).toBeGreaterThan(60)
      const lines = text.trimEnd().split('\n').length
      expect(lines).toBeGreaterThanOrEqual(25)
      expect(lines).toBeLessThanOrEqual(60)
    },
  )

  const texts = [...alerts.map(({ name }) => ({ name, text: read(name) })), { name: 'README', text: read('README') }]

  it.each(texts)('$name names only metrics, commands, panels and files there are', ({ text }) => {
    const metrics = [...text.matchAll(/\bnetvitals_[a-z0-9_]+/g)].map(([metric]) => metric)
    expect(metrics.filter((metric) => !(metric.replace(/_(bucket|count|sum)$/, '') in catalogue))).toEqual([])
    for (const command of commandsIn(text)) expect(() => readConfig(argumentsOf(command), {}), command).not.toThrow()
    for (const [, title = '', panels = ''] of text.matchAll(/Board ([A-Z][^:*.,;\n]*?): ((?:\*\*[^*]+\*\*(?:, | and )?)+)/g)) {
      expect(boardTitles).toContain(title)
      const board = boards.find((one) => one.title === title)
      const shown = board?.rows.flatMap((row) => row.panels.map((panel) => panel.title))
      for (const [, panel] of panels.matchAll(/\*\*([^*]+)\*\*/g)) if (shown !== undefined) expect(shown).toContain(panel)
    }
    for (const [, file = ''] of text.matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g))
      expect(fs.existsSync(path.join(runbooks, file))).toBe(true)
  })

  it('has something to type in each, of ours and of Linux', () => {
    for (const { name, text } of texts) {
      expect(commandsIn(text).length, name).toBeGreaterThan(0)
      expect(text, name).toMatch(/\b(ss|conntrack|nstat|ethtool|ip|tc|sysctl|dmesg|dig|kubectl|cat|journalctl|promtool|curl) /)
    }
  })
})

it('descriptions say only what can be typed', () => {
  for (const { name, description } of alerts)
    for (const command of commandsIn(description)) expect(() => readConfig(argumentsOf(command), {}), name).not.toThrow()
})

describe.skipIf(prometheusMissing !== undefined)('by promtool', { timeout: 120_000 }, () => {
  const program = promtool ?? ''
  /** The same alerts, but otherwise. */
  const changed = (change: (alert: Alert) => Alert) => play(program, alerts.map(change), scenes)
  const withThreshold = (alert: Alert, of: (threshold: number) => number): Alert => {
    const { threshold, query } = alert
    if (threshold === undefined) return alert
    const text = query.text.replace(new RegExp(`([<>]) ${threshold}(?![\\d.])`), `$1 ${of(threshold)}`)
    expect(text).not.toBe(query.text)
    return { ...alert, threshold: of(threshold), query: { text } }
  }
  const numbered = alerts.filter(({ threshold }) => threshold !== undefined).map(({ name }) => name)
  const sorted = (names: Iterable<string>): string[] => [...names].sort()

  it('the rule files are as they should be', () => {
    const files = fs.readdirSync(folder).map((file) => path.join(folder, file))
    const { status, stdout, stderr } = spawnSync(program, ['check', 'rules', ...files], { encoding: 'utf8' })
    expect({ status, said: status === 0 ? '' : stdout + stderr }).toEqual({ status: 0, said: '' })
  })

  it('every alert fires at its fault, with its labels and words, not before, not for less, and no longer', () => {
    expect(sorted(new Set(scenes.map(({ alert }) => alert)))).toEqual(sorted(alerts.map(({ name }) => name)))
    expect(Object.fromEntries(play(program, alerts, scenes))).toEqual({})
  })

  // That the scenes are close enough to tell a rule that is a little wrong.
  it.each([
    { title: 'a higher threshold', factor: 1.2, instead: 1 },
    { title: 'a lower threshold', factor: 0.8, instead: -1 },
  ])('every scene tells $title', ({ factor, instead }) => {
    const failures = changed((alert) => withThreshold(alert, (threshold) => (threshold === 0 ? instead : threshold * factor)))
    expect(sorted(failures.keys())).toEqual(sorted(numbered))
  })
  it.each([
    { title: 'who does not wait', pending: () => 0 },
    { title: 'who waits longer', pending: (minutes: number) => minutes + 4 },
  ])('every scene tells $title', ({ pending }) => {
    const failures = changed((alert) => ({ ...alert, for: `${pending(Number(alert.for.slice(0, -1)))}m` }))
    expect(sorted(failures.keys())).toEqual(sorted(alerts.map(({ name }) => name)))
  })

  it('none fires where all is well: on restarts, with pods that come and go, where all is 0, or where metrics are absent', () => {
    const metrics = new Set(alerts.flatMap(({ query }) => [...take(query.text).metrics]))
    expect(sorted(metrics)).toEqual(sorted(new Set(calm.map(({ name }) => name).filter((name) => metrics.has(name)))))
    expect(Object.fromEntries(playQuietly(program, alerts, calm, calmMinutes))).toEqual({})
  })
})
