import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { stringify } from 'yaml'
import { runbookOf, toRuleFile } from '../../../helm/rules/prometheus.ts'
import type { Alert } from '../../../helm/rules/rule.ts'
import type { Scene, Series } from './story.ts'

const selector = ({ name, labels }: Series): string =>
  `${name}{${Object.entries(labels)
    .map(([label, text]) => `${label}=${JSON.stringify(text)}`)
    .join(', ')}}`
/** What is not there any more is stale: Prometheus would go on with its last value for five minutes. */
const notation = ({ values }: Series): string =>
  values.map((value, at) => value ?? (values[at - 1] === undefined ? '_' : 'stale')).join(' ')

const annotationsOf = ({ name, summary, threshold }: Alert, description: string): object => ({
  summary,
  description,
  runbook_url: runbookOf(name),
  ...(threshold === undefined ? {} : { threshold: String(threshold) }),
})

const inputOf = (series: readonly Series[]): object[] => series.map((one) => ({ series: selector(one), values: notation(one) }))

const toTest = (alert: Alert, { series, checks }: Scene): object => ({
  interval: '1m',
  input_series: inputOf(series),
  alert_rule_test: checks.map(({ minute, fires }) => ({
    eval_time: `${minute}m`,
    alertname: alert.name,
    exp_alerts: fires.map(({ labels, description }) => ({
      exp_labels: { ...labels, severity: alert.severity },
      exp_annotations: annotationsOf(alert, description),
    })),
  })),
})

interface Suite {
  readonly name: string
  readonly alerts: readonly Alert[]
  readonly tests: readonly object[]
}

/** What promtool says of each alert that does not do as it should. */
function run(promtool: string, suites: readonly Suite[]): ReadonlyMap<string, string> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-rules-'))
  try {
    const files = suites.map(({ name, alerts, tests }) => {
      const rules = `${name}.yaml`
      fs.writeFileSync(path.join(folder, rules), toRuleFile({ topic: name, alerts }))
      const file = `${name}.test.yaml`
      fs.writeFileSync(path.join(folder, file), stringify({ rule_files: [rules], evaluation_interval: '1m', tests }))
      return file
    })
    const options = { cwd: folder, encoding: 'utf8', maxBuffer: 1 << 26 } as const
    const { stdout, stderr, status } = spawnSync(promtool, ['test', 'rules', ...files], options)
    const said = stdout + stderr
    const failures = new Map<string, string>()
    for (const part of said.split(/^(?= +alertname: )/m).slice(1)) {
      const name = /alertname: (\w+)/.exec(part)![1]!
      failures.set(name, (failures.get(name) ?? '') + part)
    }
    if ((status === 0) !== (failures.size === 0)) throw new Error(`promtool: ${said}`)
    return failures
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

/** Each alert by itself with its scenes: promtool evaluates all rules of a file in every minute of every test. */
export const play = (promtool: string, alerts: readonly Alert[], scenes: readonly Scene[]): ReadonlyMap<string, string> =>
  run(
    promtool,
    alerts.map((alert) => {
      const own = scenes.filter((scene) => scene.alert === alert.name)
      return { name: alert.name, alerts: [alert], tests: own.map((scene) => toTest(alert, scene)) }
    }),
  )

/** All alerts at once, none of which may fire in these minutes. */
export const playQuietly = (
  promtool: string,
  alerts: readonly Alert[],
  series: readonly Series[],
  minutes: readonly number[],
): ReadonlyMap<string, string> => {
  const checks = minutes.flatMap((minute) =>
    alerts.map(({ name }) => ({ eval_time: `${minute}m`, alertname: name, exp_alerts: [] })),
  )
  const test = { interval: '1m', input_series: inputOf(series), alert_rule_test: checks }
  return run(promtool, [{ name: 'quiet', alerts, tests: [test] }])
}
