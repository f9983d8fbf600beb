import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { parse } from 'yaml'
import { renderEach, valueSets } from '../helm/chart.ts'
import { findFaults, fixtures, kinds, kubeconformMissing, readFixtures } from '../helm/kubeconform.ts'
import { type CustomResourceDefinition, cutOpenApi, cutResourceDefinition, type OpenApi } from '../helm/openapi.ts'
import { kubectl } from './cluster.ts'

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

it.skipIf(kubeconformMissing)('the chart is what this API server takes', async () => {
  const renderings = await renderEach({ version: '', file: process.env.HELM! }, [...valueSets.values()])
  const [, operator] = readFixtures()
  const texts = renderings.map(({ yaml }) => yaml)
  expect(findFaults(api, operator, texts)).toEqual(new Map())
})
