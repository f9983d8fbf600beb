// What is asked of a Prometheus, by its HTTP API.
import { parseDuration } from './intervals.mjs'

const patienceMs = 60_000
/** Questions at once. */
const most = 6
/** Grafana's own, of a data source that says nothing else. */
const defaultScrapeMs = 15_000

export function createPrometheus(address) {
  const waiting = []
  let asking = 0

  async function ask(path, parameters) {
    if (asking >= most) await new Promise((resolve) => waiting.push(resolve))
    asking++
    try {
      return await answer(path, parameters)
    } finally {
      asking--
      waiting.shift()?.()
    }
  }

  async function answer(path, parameters) {
    const url = `${address.replace(/\/$/, '')}/api/v1/${path}`
    const question = parameters === undefined ? {} : { method: 'POST', body: new URLSearchParams(parameters) }
    const response = await fetch(url, { ...question, signal: AbortSignal.timeout(patienceMs) }).catch((error) => {
      throw new Error(`no Prometheus answers at ${address}: ${error.cause?.message || error.cause?.code || error.message}`)
    })
    const body = await response.text()
    let parsed
    try {
      parsed = JSON.parse(body)
    } catch {
      throw new Error(`${url} answers ${response.status}, and not as Prometheus does: ${body.slice(0, 200).trim()}`)
    }
    if (parsed.status !== 'success') throw new Error(`${parsed.errorType}: ${parsed.error}`)
    return parsed.data
  }

  return {
    /** The longest interval at which it scrapes anything. */
    async readScrapeMs() {
      const { activeTargets } = await ask('targets?state=active')
      const intervals = activeTargets.map(({ scrapeInterval }) => parseDuration(scrapeInterval) ?? 0)
      return intervals.length === 0 ? defaultScrapeMs : Math.max(...intervals)
    },

    /** Series with their values at each step; null where they have none. */
    async queryRange(query, { fromMs, toMs, stepMs }) {
      const start = Math.floor(fromMs / stepMs) * stepMs
      const end = Math.floor(toMs / stepMs) * stepMs
      const parameters = { query, start: start / 1000, end: end / 1000, step: stepMs / 1000 }
      const { result } = await ask('query_range', parameters)
      const count = Math.round((end - start) / stepMs) + 1
      return result.map(({ metric, values }) => {
        const filled = Array.from({ length: count }, () => null)
        for (const [seconds, value] of values) filled[Math.round((seconds * 1000 - start) / stepMs)] = parseValue(value)
        return { labels: metric, values: filled }
      })
    },

    /** Series with their value at a time. */
    async query(query, timeMs) {
      const { resultType, result } = await ask('query', { query, time: timeMs / 1000 })
      if (resultType === 'scalar') return [{ labels: {}, value: parseValue(result[1]) }]
      return result.map(({ metric, value }) => ({ labels: metric, value: parseValue(value[1]) }))
    },
  }
}

/** What is no number stays text: JSON has no NaN. */
function parseValue(text) {
  const value = Number(text)
  return Number.isFinite(value) ? value : text
}
