import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { prometheusMissing, promtool } from '../e2e/prometheus-server.ts'

export { prometheusMissing }

/** A series in Prometheus' own words, and its first value and growth, a minute each. */
type Given = Readonly<Record<string, string>>
/** By a query, the labels and values that it answers with. */
type Expected = Readonly<Record<string, readonly (readonly [labels: string, value: number])[]>>

/** Throws with promtool's words where an answer after ten minutes is another. */
export function checkQueries(given: Given, expected: Expected): void {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-promtool-'))
  const file = path.join(folder, 'queries.json')
  const test = {
    evaluation_interval: '1m',
    tests: [
      {
        interval: '1m',
        input_series: Object.entries(given).map(([series, values]) => ({ series, values })),
        promql_expr_test: Object.entries(expected).map(([expr, samples]) => ({
          expr,
          eval_time: '10m',
          exp_samples: samples.map(([labels, value]) => ({ labels, value })),
        })),
      },
    ],
  }
  fs.writeFileSync(file, JSON.stringify(test))
  try {
    execFileSync(promtool ?? '', ['test', 'rules', file], { encoding: 'utf8', stdio: 'pipe' })
  } catch (failure) {
    throw new Error((failure as { stderr?: string }).stderr ?? String(failure))
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
}
