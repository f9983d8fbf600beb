import { stringify } from 'yaml'
import type { Alert, AlertGroup } from './rule.ts'

/** Where each alert has its runbook; the chart can put another place here. */
export const runbooks = 'https://github.com/netvitals/netvitals/blob/main/docs/runbooks/'
export const runbookOf = (name: Alert['name']): string => `${runbooks}${name}.md`

/** The rules of a topic as Prometheus reads them, from `rule_files`. */
export function toRuleFile({ topic, alerts }: AlertGroup): string {
  const heading = `# Written from helm/rules/${topic}.ts; \`npx vitest -u test/helm\` writes it again.\n`
  const groups = [{ name: `netvitals-${topic}`, rules: alerts.map(toRule) }]
  return heading + stringify({ groups }, { lineWidth: 0, blockQuote: 'literal' })
}

function toRule({ name, query, severity, for: pending, keepFiringFor, ...told }: Alert): object {
  return {
    alert: name,
    expr: query.text,
    for: pending,
    ...(keepFiringFor === undefined ? {} : { keep_firing_for: keepFiringFor }),
    labels: { severity },
    annotations: {
      summary: told.summary,
      description: told.description,
      runbook_url: runbookOf(name),
      ...(told.threshold === undefined ? {} : { threshold: String(told.threshold) }),
    },
  }
}
