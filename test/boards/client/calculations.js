// What becomes of a series as one number, by Grafana's names.

const there = (values) => values.filter((value) => value !== null)

export const calculations = {
  lastNotNull: { heading: 'Last *', of: (values) => there(values).at(-1) },
  max: { heading: 'Max', of: (values) => (there(values).length === 0 ? undefined : Math.max(...there(values))) },
}

/** What is not there comes first, as the least. */
export function compare(a, b) {
  if (typeof a === 'string' && typeof b === 'string') return a.localeCompare(b)
  return (a ?? Number.NEGATIVE_INFINITY) - (b ?? Number.NEGATIVE_INFINITY) || 0
}
