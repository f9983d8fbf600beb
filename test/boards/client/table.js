// Rows of labels and values.
import { format } from '../units.js'
import { compare } from './calculations.js'
import { colourOf, element, stepsOf } from './theme.js'

export function drawTable(body, panel, { table: { columns, rows } }) {
  const { defaults, overrides } = panel.fieldConfig
  const shown = columns.map(({ field, heading }) => {
    const properties = overrides
      .filter(({ matcher }) => matcher.id === 'byName' && matcher.options === heading)
      .flatMap((override) => override.properties.map(({ id, value }) => [id, value]))
    return { field, heading, isNumber: field.startsWith('Value'), settings: { ...defaults, ...Object.fromEntries(properties) } }
  })
  const [{ displayName, desc } = {}] = panel.options.sortBy ?? []
  const by = shown.find(({ heading }) => heading === displayName)?.field
  const sorted = by === undefined ? rows : rows.toSorted((a, b) => (desc ? -1 : 1) * compare(a[by], b[by]))

  const heading = ({ field, heading, isNumber }) =>
    element('th', { class: isNumber ? 'number' : 'text' }, heading, ...(field === by ? [desc ? ' ↓' : ' ↑'] : []))
  const head = element('tr', {}, ...shown.map(heading))
  const row = (one) => element('tr', {}, ...shown.map((column) => cell(one[column.field], column)))
  body.classList.add('table')
  body.append(element('table', {}, head, ...sorted.map(row)))
}

function cell(value, { isNumber, settings }) {
  if (!isNumber) return element('td', { class: 'text' }, value || settings.noValue || '')
  const text = value === undefined ? (settings.noValue ?? '') : format(value, settings.unit ?? 'none')
  const isColoured = settings['custom.cellOptions']?.type === 'color-text'
  const style = isColoured ? `color: ${colourOf(value ?? null, stepsOf(settings))}` : ''
  return element('td', { class: 'number', style }, text)
}
