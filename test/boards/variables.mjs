// What stands for a dashboard's variables in its queries.
import { durationText } from './intervals.mjs'

/** A value in a regular expression that stands between PromQL's double quotes. */
const quote = (value) => value.replaceAll('\\', '\\\\\\\\').replace(/[$^*{}[\]+?.()|]/g, '\\\\$&')
const anyOf = (values) => (values.length === 1 ? quote(values[0]) : `(${values.map(quote).join('|')})`)

/** Of each variable its label, what is chosen, and the expression of that. `chosen` has a list of values by name. */
export function variablesOf(board, chosen = new Map()) {
  const variables = board.templating.list.filter(({ type }) => type !== 'datasource')
  return variables.map(({ name, label, hide, allValue = '.*' }) => {
    const values = chosen.get(name)
    return {
      name,
      label: label ?? name,
      isHidden: hide === 2 && values === undefined,
      shown: values === undefined ? 'All' : values.join(' + '),
      pattern: values === undefined ? allValue : anyOf(values),
    }
  })
}

/** A query as Prometheus gets it. Throws if a variable is unknown, which Grafana would leave in it; `$1` is PromQL's own. */
export function interpolate(text, variables, { stepMs, rateMs, rangeMs }) {
  const seconds = Math.round(rangeMs / 1000)
  const values = new Map([
    ['__interval', durationText(stepMs)],
    ['__interval_ms', String(stepMs)],
    ['__rate_interval', durationText(rateMs)],
    ['__rate_interval_ms', String(rateMs)],
    ['__range', `${seconds}s`],
    ['__range_s', String(seconds)],
    ['__range_ms', String(rangeMs)],
    ...variables.map(({ name, pattern }) => [name, pattern]),
  ])
  return text.replace(/\$([a-z_]\w*)|\$\{([a-z_]\w*)\}/gi, (whole, plain, braced) => {
    const value = values.get(plain ?? braced)
    if (value === undefined) throw new Error(`${whole} is no variable of this board`)
    return value
  })
}
