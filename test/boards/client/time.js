// Times on axes.

const secondMs = 1000
const minuteMs = 60 * secondMs
const hourMs = 60 * minuteMs
const dayMs = 24 * hourMs
const steps = [1, 2, 5, 10, 15, 30].flatMap((count) => [count * secondMs, count * minuteMs])
const longSteps = [1, 2, 3, 6, 12].map((count) => count * hourMs)
const stepsMs = [...steps, ...longSteps, ...[1, 2, 7, 14, 30].map((count) => count * dayMs)].sort((a, b) => a - b)
/** What a label takes with some air around it. */
const labelWidth = 70

const two = (number) => String(number).padStart(2, '0')

/** How far apart ticks are, on an axis of so many pixels. */
export const tickStepMs = (rangeMs, width) => stepsMs.find((step) => step >= (rangeMs * labelWidth) / width) ?? stepsMs.at(-1)

/** Round times in the reader's own zone. */
export function isTick(ms, stepMs) {
  return (ms - new Date(ms).getTimezoneOffset() * minuteMs) % stepMs === 0
}

export function timeText(ms, stepMs) {
  const date = new Date(ms)
  if (stepMs >= dayMs) return `${two(date.getMonth() + 1)}/${two(date.getDate())}`
  const text = `${two(date.getHours())}:${two(date.getMinutes())}`
  return stepMs < minuteMs ? `${text}:${two(date.getSeconds())}` : text
}
