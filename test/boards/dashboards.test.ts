import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { targetsOf } from '../../helm/dashboards/board.ts'
import { boards } from '../../helm/dashboards/index.ts'
import { variables } from '../../helm/dashboards/variables.ts'
import { prometheusMissing } from '../e2e/prometheus-server.ts'
import { requireRoot } from '../truth/topology.ts'
import { createScene, type Scene } from './scene.ts'

/** What this machine cannot be made to count: as recorded elsewhere. */
const recorded = [
  'netvitals_dropped_packets_unattributed_total{reason="not_specified"}',
  ...['receive_drops', 'transmit_drops', 'receive_errors', 'transmit_errors'].map(
    (what) => `netvitals_device_${what}_total{device="eth0"}`,
  ),
]

/** As Grafana writes it, with everything chosen. */
function fill(expression: string): string {
  const names = Object.keys(variables).join('|')
  return expression
    .replaceAll('$__rate_interval', '1m')
    .replaceAll('$__range', '3m')
    .replaceAll(new RegExp(`\\$(${names})\\b`, 'g'), '.*')
}

requireRoot('dashboards, while everything goes wrong', () => {
  if (prometheusMissing !== undefined) return void it.skip(prometheusMissing)
  let scene: Scene
  beforeAll(async () => {
    scene = await createScene({ name: 'nve-boards', network: 87, port: 9497, recorded })
    await sleep(10_000) // a healthy beginning
    await scene.misbehave()
    await sleep(5000)
  }, 180_000)
  afterAll(() => scene?.dispose())

  describe.each(boards.map((board) => ({ title: board.title, board })))('$title', ({ board }) => {
    const queries = board.rows
      .flatMap(({ panels }) => panels)
      .flatMap((panel) => targetsOf(panel).map(({ query }) => ({ title: panel.title, text: query.text })))
    it.each(queries)('$title: $text', ({ text }) => {
      const values = scene.prometheus.query(fill(text)).map(({ value }) => Number(value?.[1]))
      expect(values.length).toBeGreaterThan(0)
      expect(values.filter(Number.isNaN)).toEqual([])
    })
  })
})
