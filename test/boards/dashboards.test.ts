import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { targetsOf } from '../../helm/dashboards/board.ts'
import { boards } from '../../helm/dashboards/index.ts'
import { variables } from '../../helm/dashboards/variables.ts'
import { prometheusMissing, type Result } from '../e2e/prometheus-server.ts'
import { requireRoot } from '../truth/topology.ts'
import { createScene, recorded, type Scene } from './scene.ts'

/** As Grafana writes it, with everything chosen. */
function fill(expression: string): string {
  const names = Object.keys(variables).join('|')
  return expression
    .replaceAll('$__rate_interval', '5m')
    .replaceAll('$__range', '5m')
    .replaceAll(new RegExp(`\\$(${names})\\b`, 'g'), '.*')
}

const queriesOf = boards.flatMap(({ title, rows }) =>
  rows
    .flatMap(({ panels }) => panels)
    .flatMap((panel) => targetsOf(panel).map(({ query }) => ({ board: title, panel: panel.title, text: fill(query.text) }))),
)

/** `BOARDS=folder npx vitest run test/boards/dashboards.test.ts` also draws them. */
requireRoot('dashboards, while everything goes wrong', () => {
  if (prometheusMissing !== undefined) return void it.skip(prometheusMissing)
  let scene: Scene
  const results = new Map<string, Result | string>()
  beforeAll(async () => {
    scene = await createScene({ name: 'nve-boards', network: 87, port: 9497, recorded })
    await sleep(10_000) // a healthy beginning
    await scene.misbehave()
    await sleep(5000)
    const texts = queriesOf.map(({ text }) => text)
    scene.prometheus.queries(texts).forEach((result, i) => results.set(texts[i]!, result))
  }, 240_000)
  afterAll(async () => {
    if (scene && process.env.BOARDS) draw(scene, process.env.BOARDS)
    await scene?.dispose()
  }, 240_000)

  it('nothing that was to go wrong failed to', () => expect(scene.failures).toEqual([]))

  describe.each(boards.map(({ title }) => title))('%s', (board) => {
    it.each(queriesOf.filter((query) => query.board === board))('$panel: $text', ({ text }) => {
      const result = results.get(text)
      expect(result).toBeTypeOf('object')
      const values = (result as Result).map(({ value }) => Number(value?.[1]))
      expect(values.length).toBeGreaterThan(0)
      expect(values.filter(Number.isNaN)).toEqual([])
    })
  })
})

function draw({ host, prometheusUrl }: Scene, folder: string): void {
  const program = path.resolve(import.meta.dirname, 'draw.mjs')
  const flags = ['--prometheus', prometheusUrl, '--out', folder, '--from', '-3m']
  spawnSync('ip', ['netns', 'exec', host.name, process.execPath, program, ...flags], { stdio: 'inherit' })
}
