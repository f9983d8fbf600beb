import { histogramBoundsSeconds } from './catalogue.ts'
import { escapeLabelValue } from './label-text.ts'
import type { Family, Series, SeriesValue } from './snapshot.ts'

/** Text exposition format 0.0.4, or OpenMetrics 1.0. */
export type Format = 'text' | 'openmetrics'

export const contentTypes: Record<Format, string> = {
  text: 'text/plain; version=0.0.4; charset=utf-8',
  openmetrics: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
}

/** The format a scraper asks for in its Accept header: the acceptable one with the highest q; text if it does not say. */
export function negotiateFormat(accept: string | undefined): Format {
  let best: { format: Format; q: number } = { format: 'text', q: 0 }
  for (const part of (accept ?? '').split(',')) {
    const [type, ...parameters] = part.split(';').map((text) => text.trim().toLowerCase())
    const value = (name: string): string | undefined =>
      parameters.find((text) => text.startsWith(`${name}=`))?.slice(name.length + 1)
    const version = value('version')
    const q = Number(value('q') ?? 1)
    if (
      type === 'application/openmetrics-text' &&
      (version === undefined || version === '1.0.0' || version === '0.0.1') &&
      q > best.q
    )
      best = { format: 'openmetrics', q }
    if (
      (type === 'text/plain' || type === 'text/*' || type === '*/*') &&
      (version === undefined || version === '0.0.4') &&
      q > best.q
    )
      best = { format: 'text', q }
  }
  return best.format
}

function formatNumber(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return '+Inf'
  if (value === Number.NEGATIVE_INFINITY) return '-Inf'
  return String(value)
}

const withBraces = (labels: string): string => (labels === '' ? '' : `{${labels}}`)

function renderBuckets(
  name: string,
  labels: string,
  value: { readonly counts: readonly number[]; readonly sum: number },
  bounds: readonly number[],
): string {
  const rest = labels === '' ? '' : `,${labels}`
  let text = ''
  let cumulative = 0
  value.counts.forEach((count, i) => {
    cumulative += count
    text += `${name}_bucket{le="${i < bounds.length ? formatNumber(bounds[i] ?? 0) : '+Inf'}"${rest}} ${cumulative}\n`
  })
  const sum = Number.isNaN(value.sum) ? '' : `${name}_sum${withBraces(labels)} ${formatNumber(value.sum)}\n`
  return `${text}${sum}${name}_count${withBraces(labels)} ${cumulative}\n`
}

function renderValue(name: string, labels: string, value: SeriesValue, bounds: readonly number[]): string {
  if (typeof value === 'number') return `${name}${withBraces(labels)} ${formatNumber(value)}\n`
  if ('counts' in value) return renderBuckets(name, labels, value, bounds)
  return `${name}_sum${withBraces(labels)} ${formatNumber(value.sum)}\n${name}_count${withBraces(labels)} ${value.count}\n`
}

function zeroOf(value: SeriesValue): SeriesValue {
  if (typeof value === 'number') return 0
  return 'counts' in value ? { counts: value.counts.map(() => 0), sum: 0 } : { sum: 0, count: 0 }
}

const escapeHelp = (help: string): string => help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')

/** The whole exposition. `isShownAsZero` is the birth rule's view of one scraper; it is asked only for counters, histograms and summaries. */
export function renderExposition(
  families: readonly Family[],
  format: Format,
  isShownAsZero: (series: Series) => boolean = () => false,
): string {
  const parts: string[] = []
  for (const { name, definition, series } of families) {
    const { type, unit, bounds = histogramBoundsSeconds } = definition
    const familyName = format === 'openmetrics' && type === 'counter' ? name.replace(/_total$/, '') : name
    parts.push(
      `# HELP ${familyName} ${format === 'openmetrics' ? escapeLabelValue(definition.help) : escapeHelp(definition.help)}\n# TYPE ${familyName} ${type}\n`,
    )
    if (format === 'openmetrics' && unit !== undefined && familyName.endsWith(`_${unit}`))
      parts.push(`# UNIT ${familyName} ${unit}\n`)
    const bornFromZeroMatters = type !== 'gauge'
    for (const one of series) {
      const value = bornFromZeroMatters && one.bornFromZero && isShownAsZero(one) ? zeroOf(one.value) : one.value
      parts.push(renderValue(name, one.labels, value, bounds))
    }
  }
  if (format === 'openmetrics') parts.push('# EOF\n')
  return parts.join('')
}
