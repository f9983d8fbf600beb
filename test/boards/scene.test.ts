import { type ChildProcess, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { targetsOf } from '../../helm/dashboards/board.ts'
import { boards } from '../../helm/dashboards/index.ts'
import { variables } from '../../helm/dashboards/variables.ts'
import { alertGroups } from '../../helm/rules/index.ts'
import { prometheusMissing, type Result, scrapes } from '../e2e/prometheus-server.ts'
import { addNamespace, removeNamespaces, requireRoot } from '../truth/topology.ts'
import { misbehave } from './misbehave.ts'
import { recordedPort, startRecording } from './recorded.ts'
import { agentInstance, createScene, type Scene } from './scene.ts'

/** As Grafana writes it, with everything chosen. */
function fill(expression: string): string {
  const names = Object.keys(variables).join('|')
  return expression
    .replaceAll('$__rate_interval', '5m')
    .replaceAll('$__range', '5m')
    .replaceAll(new RegExp(`\\$(${names})\\b`, 'g'), '.*')
}

const queries = boards.flatMap(({ title, rows }) =>
  rows
    .flatMap(({ panels }) => panels)
    .flatMap((panel) => targetsOf(panel).map(({ query }) => ({ board: title, panel: panel.title, text: fill(query.text) }))),
)

const rulesFolder = path.resolve(import.meta.dirname, '../../helm/netvitals/rules')
/** The scene takes a minute instead of hours: what is looked back over and waited for is shorter, all else is as it is shipped. */
const fasterClock: Readonly<Record<string, string>> = {
  '5m': '20s',
  '15m': '15s',
  '30m': '10s',
  '90m': '20s',
  '1h': '30s',
  '3h': '3h',
}
function speedUp(rules: string): string {
  return rules
    .replaceAll(/\[(\w+)\]/g, (_, window: string) => `[${fasterClock[window]}]`)
    .replaceAll(/offset (\w+)/g, (_, ago: string) => `offset ${fasterClock[ago]}`)
    .replaceAll(/^( +for: ).+$/gm, '$12s')
    .replaceAll(/^ +keep_firing_for: .+\n/gm, '')
}

const alerts = alertGroups.flatMap(({ alerts }) => alerts.map(({ name }) => name))
/** Of series that this machine cannot be made to count: what the alert says of recorded ones. */
const ofRecorded = [
  'NetvitalsSourceFailing',
  'NetvitalsEventsLost',
  'NetvitalsSeriesDropped',
  'NetvitalsNamesNotComing',
  'NetvitalsConntrackInsertFailures',
  'NetvitalsSoftnetDrops',
  'NetvitalsDeviceErrors',
  'NetvitalsDeviceDrops',
  'NetvitalsNeighbourTableNearlyFull',
  'NetvitalsNeighbourTableFull',
  'NetvitalsMemoryDrops',
  'NetvitalsTcpMemoryNearLimit',
  'NetvitalsTcpMemoryFull',
  'NetvitalsTcpMemoryPressure',
]

const name = 'nve-boards'

/** `BOARDS=folder npx vitest run test/boards/scene.test.ts` also draws the dashboards. */
requireRoot('while everything goes wrong', () => {
  if (prometheusMissing !== undefined) return void it.skip(prometheusMissing)
  let scene: Scene
  let recording: ChildProcess
  let failures: readonly string[]
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-rules-'))
  const results = new Map<string, Result | string>()
  const firing = (window: string): Result => scene.prometheus.query(`max_over_time(ALERTS{alertstate="firing"}[${window}])`)
  let before: Result
  let during: Result
  beforeAll(async () => {
    const ruleFiles = fs.readdirSync(rulesFolder).map((file) => {
      const copy = path.join(folder, file)
      fs.writeFileSync(copy, speedUp(fs.readFileSync(path.join(rulesFolder, file), 'utf8')))
      return copy
    })
    scene = await createScene({ name, network: 87, port: 9497, ruleFiles, otherPorts: [recordedPort] })
    recording = startRecording(scene.host)
    removeNamespaces(name)
    const lonely = addNamespace(`${name}-lonely`, ['127.0.0.1', '::1']) // nobody's but its own
    await sleep(35_000) // what was is compared with what is
    before = firing('10s')
    failures = await misbehave(scene, lonely)
    await scrapes(3)
    const texts = queries.map(({ text }) => text)
    scene.prometheus.queries(texts).forEach((result, i) => results.set(texts[i]!, result))
    if (process.env.BOARDS) draw(scene, process.env.BOARDS)
    await scene.stopAgent()
    await scrapes(4)
    during = firing('5m')
  }, 300_000)
  afterAll(async () => {
    recording?.kill('SIGKILL')
    await scene?.dispose()
    removeNamespaces(name)
    fs.rmSync(folder, { recursive: true })
  })

  it('nothing that was to go wrong failed to', () => expect(failures).toEqual([]))

  describe.each(boards.map(({ title }) => title))('%s', (board) => {
    it.each(queries.filter((query) => query.board === board))('$panel: $text', ({ text }) => {
      const result = results.get(text)
      expect(result).toBeTypeOf('object')
      const values = (result as Result).map(({ value }) => Number(value?.[1]))
      expect(values.length).toBeGreaterThan(0)
      expect(values.filter(Number.isNaN)).toEqual([])
    })
  })

  const namesOf = (alerts: Result): readonly string[] => alerts.map(({ metric }) => metric.alertname!)
  const isOwn = ({ metric: { alertname = '', instance } }: Result[number]): boolean =>
    !ofRecorded.includes(alertname) && (instance === undefined || instance === agentInstance)
  it('no alert fires before', () => {
    expect(namesOf(before.filter(isOwn))).toEqual([])
  })
  it.each(alerts.filter((name) => !ofRecorded.includes(name)))('%s fires', (name) => {
    expect(namesOf(during.filter(isOwn))).toContain(name)
  })
  it.each(ofRecorded)('%s fires, of recorded series', (name) => expect(namesOf(during)).toContain(name))
})

function draw({ host, prometheusUrl }: Scene, folder: string): void {
  const program = path.resolve(import.meta.dirname, 'draw.mjs')
  const flags = ['--prometheus', prometheusUrl, '--out', folder, '--from', '-3m', '--set', 'node=node-1']
  spawnSync('ip', ['netns', 'exec', host.name, process.execPath, program, ...flags], { stdio: 'inherit' })
}
