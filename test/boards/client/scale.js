// Where an axis of values ends, and its ticks.
import { format, isBinary } from '../units.js'

const pixelsOfTick = 28
const decimal = [1, 2, 2.5, 5, 10]
const binary = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]

/** The smallest increment that leaves a tick enough room. */
function increment(least, unit) {
  const base = isBinary(unit) ? 1024 : 10
  const power = base ** Math.floor(Math.log(least) / Math.log(base))
  return (isBinary(unit) ? binary : decimal).find((one) => one * power >= least * (1 - 1e-9)) * power
}

/** The least and the most of all values. */
export function extentOf(rows) {
  const extents = rows.map((values) => values.filter((value) => value !== null)).filter(({ length }) => length > 0)
  const of = (function_) => function_(...extents.map((values) => function_(...values)))
  return [of(Math.min), of(Math.max)]
}

/** `min` and `max` as a panel sets them; what it leaves open is taken from the values, with some air above. */
export function scaleOf({ lowest, highest, unit, height, min, max }) {
  const bottom = min ?? Math.min(0, lowest)
  const span = highest - bottom
  const top = max ?? (span > 0 ? bottom + roundUp(span * 1.1) : bottom + 1)
  const step = increment(((top - bottom) * pixelsOfTick) / height, unit)
  const first = Math.ceil(bottom / step) * step
  const ticks = Array.from({ length: Math.floor((top - first) / step + 1e-9) + 1 }, (_, i) => first + i * step)
  return { min: bottom, max: top, ticks, text: (value) => format(Number(value.toPrecision(12)), unit) }
}

/** To two digits. */
function roundUp(value) {
  const power = 10 ** (Math.floor(Math.log10(value)) - 1)
  return Math.ceil(value / power) * power
}
