import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { renderEach, resourcesOf, valueSets } from '../helm/chart.ts'
import { findFaults, fixtures, kinds, kubeconformMissing, readFixtures } from '../helm/kubeconform.ts'
import { type CustomResourceDefinition, cutOpenApi, cutResourceDefinition, type OpenApi } from '../helm/openapi.ts'
import { apply, kubectl } from './cluster.ts'

const asText = (value: unknown): string => `${JSON.stringify(value, null, 1)}\n`
const kubernetesFile = path.join(fixtures, 'kubernetes.json')
const operatorFile = path.join(fixtures, 'prometheus-operator.json')
const operatorVersion = 'v0.85.0'
const api = cutOpenApi(JSON.parse(kubectl('get', '--raw', '/openapi/v2')), kinds.kubernetes)

it("the fixture is the API server's, where it is of the same version", async ({ skip }) => {
  if (fs.existsSync(kubernetesFile)) {
    const { info }: OpenApi = JSON.parse(fs.readFileSync(kubernetesFile, 'utf8'))
    skip(info.version !== api.info.version, `the fixture is of ${info.version}, the API server of ${api.info.version}`)
  }
  await expect(asText(api)).toMatchFileSnapshot(kubernetesFile)
})

it("the fixture is the Prometheus operator's", async ({ skip }) => {
  const module = `github.com/prometheus-operator/prometheus-operator@${operatorVersion}`
  const download = spawnSync('go', ['mod', 'download', '-json', module], { encoding: 'utf8' })
  skip(download.status !== 0, `go mod download ${module} failed`)
  const folder = path.join(JSON.parse(download.stdout).Dir, 'example/prometheus-operator-crd')
  const read = (kind: string): CustomResourceDefinition =>
    parse(fs.readFileSync(path.join(folder, `monitoring.coreos.com_${kind}.yaml`), 'utf8'))
  await expect(asText(kinds.operator.map((kind) => cutResourceDefinition(read(kind))))).toMatchFileSnapshot(operatorFile)
})

describe('what the chart makes of values', () => {
  let texts: readonly string[] = []
  beforeAll(async () => {
    const renderings = await renderEach({ version: '', file: process.env.HELM! }, [...valueSets.values()])
    texts = renderings.map(({ yaml }) => yaml)
  })

  it.skipIf(kubeconformMissing)('fits the definitions of this API server', () => {
    const [, operator] = readFixtures()
    expect(findFaults(api, operator, texts)).toEqual(new Map())
  })

  it('is what it would take', () => {
    const own = texts.flatMap(resourcesOf).filter(({ apiVersion }) => !apiVersion.startsWith('monitoring.coreos.com/'))
    // In a namespace there is, each once; nothing is made.
    for (const { metadata } of own) if (metadata.namespace !== undefined) metadata.namespace = 'default'
    const items = [...new Set(own.map((resource) => JSON.stringify(resource)))].map((text) => JSON.parse(text))
    const said = apply(items, '--dry-run=server', '--validate=strict')
    expect(said.match(/ \(server dry run\)$/gm)).toHaveLength(items.length)
  })
})
