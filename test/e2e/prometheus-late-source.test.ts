import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { createSecurity } from '../../agent/http/security.ts'
import { createHttpServer, type HttpServer } from '../../agent/http/server.ts'
import type { Source } from '../../agent/sources/source.ts'
import { startWiring, type Wiring } from '../wiring.ts'
import { type Prometheus, prometheusMissing, scrapes, startPrometheus } from './prometheus-server.ts'

/** A source that cannot be read in the first sweep, as one whose kernel table is busy at boot. */
function failFirst(source: Source): Source {
  let sweeps = 0
  return {
    ...source,
    collect: async (sink, signal) => {
      if (sweeps++ === 0) throw new Error('not in the first sweep')
      await source.collect(sink, signal)
    },
  }
}

describe('a source that fails in the first sweep only', () => {
  if (prometheusMissing !== undefined) return void it.skip(prometheusMissing)
  let wiring: Wiring
  let server: HttpServer
  let prometheus: Prometheus

  beforeAll(async () => {
    wiring = await startWiring({
      tracer: false,
      wrap: (source) => (source.name === 'proc-snmp' ? failFirst(source) : source),
    })
    const log = pino({ level: 'silent' })
    const more = {
      node: { name: 'node-1' },
      sockets: { ask: () => Promise.reject() },
      log,
      zeroWindow: 'auto' as const,
      report: () => ({}) as never,
    }
    const parts = { ...wiring, ...more, now: wiring.now }
    server = createHttpServer({ ...parts, sweep: wiring.sweeper }, createSecurity('', log))
    const url = await server.listen({ host: '127.0.0.1', port: 0 })
    prometheus = startPrometheus(9493, new URL(url).host)
    await vi.waitFor(() => expect(prometheus.query('up{job="netvitals"} == 1')).toHaveLength(1), {
      timeout: 20_000,
      interval: 500,
    })
    await scrapes(4)
  }, 60_000)

  afterAll(async () => {
    await prometheus?.stop()
    await server?.stop()
    await wiring?.stop()
  })

  it('fakes no increase: its counters begin with what they are', () => {
    const selector = 'netvitals_tcp_sent_segments_total{pod=""}'
    const [first = 0, ...rest] = prometheus.samples(selector)
    expect(first).toBeGreaterThan(0)
    expect(rest.length).toBeGreaterThan(0)
    expect(rest.every((value, i) => value >= (i === 0 ? first : rest[i - 1]!))).toBe(true)
    const success = prometheus.samples('netvitals_source_success{source="proc-snmp"}')
    expect(success[0]).toBe(0) // it did fail, and Prometheus saw it
    expect(success.at(-1)).toBe(1)
  })
})
