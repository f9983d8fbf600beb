// Values with their units, written as Grafana writes them.

const prefixes = ['f', 'p', 'n', 'µ', 'm', '', 'k', 'M', 'G', 'T', 'P']
const noPrefix = prefixes.indexOf('')
const counts = ['', 'K', 'M', 'B', 'T']

const scaled =
  (base, endings, none = 0) =>
  (value) => {
    const power = value === 0 ? 0 : Math.floor(Math.log10(Math.abs(value)) / Math.log10(base))
    const place = Math.min(Math.max(none + power, 0), endings.length - 1)
    return [value / base ** (place - none), endings[place]]
  }
const metric = (unit) =>
  scaled(
    1000,
    prefixes.map((prefix) => ` ${prefix}${unit}`),
    noPrefix,
  )
const counted = (unit) =>
  scaled(
    1000,
    counts.map((count) => `${count} ${unit}`),
  )

/** From so many seconds on, divided by, written as. */
const durations = [
  [31_536_000, 31_556_900, ' years'],
  [604_800, 604_800, ' weeks'],
  [86_400, 86_400, ' days'],
  [3600, 3600, ' hours'],
  [60, 60, ' mins'],
  [1, 1, ' s'],
  [1e-3, 1e-3, ' ms'],
  [1e-6, 1e-6, ' µs'],
  [0, 1e-9, ' ns'],
]
function duration(value) {
  if (value === 0) return [0, ' s']
  const [, by, ending] = durations.find(([from]) => Math.abs(value) >= from)
  return [value / by, ending]
}

const formats = {
  none: (value) => [value, ''],
  short: scaled(1000, ['', ' K', ' Mil', ' Bil', ' Tri']),
  percentunit: (value) => [value * 100, '%'],
  pps: metric('p/s'),
  Bps: metric('B/s'),
  bytes: scaled(
    1024,
    ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'].map((unit) => ` ${unit}`),
  ),
  s: duration,
  reqps: counted('req/s'),
  ops: counted('ops/s'),
  cps: counted('c/s'),
}

/** Two or three digits, as many as the value is worth. */
function decimalsOf(value) {
  if (Number.isInteger(value)) return 0
  const power = Math.floor(Math.log10(Math.abs(value)))
  return Math.max(0, 1 - power + (Math.abs(value) / 10 ** power > 2.25 ? 1 : 0))
}

/** `decimals` of what stands before the unit, unless the value tells how many it is worth. */
export function format(value, unit = 'short', decimals) {
  if (typeof value !== 'number') return String(value)
  const formatOf = formats[unit]
  if (formatOf === undefined) throw new Error(`unit ${unit} cannot be written`)
  const [size, ending] = formatOf(value)
  return `${Number(size.toFixed(decimals ?? decimalsOf(size)))}${ending}`
}

/** Whether an axis of this unit goes by powers of two. */
export const isBinary = (unit) => unit === 'bytes'
