import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { renderEach, resourcesOf, valueSets } from '../helm/chart.ts'
import { allVersions, findFaults, fixtureOf, kinds, kubeconformMissing, readDefinitions } from '../helm/kubeconform.ts'
import { type CustomResourceDefinition, cutOpenApi, cutResourceDefinition, type OpenApi } from '../helm/openapi.ts'
import { apply, kubectl } from './cluster.ts'

const asText = (value: unknown): string => `${JSON.stringify(value, null, 1)}\n`
const [, ofOneServer] = allVersions
const minorOf = (version: string): string => version.replace(/\.\d+$/, '')
const api: OpenApi & { readonly info: { readonly version: string } } = JSON.parse(kubectl('get', '--raw', '/openapi/v2'))
const ofApiServer = cutOpenApi(api, kinds.kubernetes)

/** The directory of a Go module, or undefined where there is none to be had. */
function download(module: string): string | undefined {
  const { status, stdout } = spawnSync('go', ['mod', 'download', '-json', module], { encoding: 'utf8' })
  return status === 0 ? JSON.parse(stdout).Dir : undefined
}

it("the fixture is the API server's, where it is of the same version", async ({ skip }) => {
  const { version } = api.info
  skip(version !== ofOneServer.kubernetes, `the API server is of ${version}`)
  await expect(asText(ofApiServer)).toMatchFileSnapshot(fixtureOf('kubernetes', version))
})

it.for(['1.26.15', '1.37.2'])('the fixture is that of Kubernetes %s', async (version, { skip }) => {
  const folder = download(`k8s.io/kubernetes@v${version}`)
  if (folder === undefined) return skip('no Go module of it')
  const published: OpenApi = JSON.parse(fs.readFileSync(path.join(folder, 'api/openapi-spec/swagger.json'), 'utf8'))
  await expect(asText(cutOpenApi(published, kinds.kubernetes))).toMatchFileSnapshot(fixtureOf('kubernetes', minorOf(version)))
})

it.for(['0.66.0', '0.93.0'])('the fixture is that of Prometheus operator %s', async (version, { skip }) => {
  const folder = download(`github.com/prometheus-operator/prometheus-operator@v${version}`)
  if (folder === undefined) return skip('no Go module of it')
  const read = (kind: string): CustomResourceDefinition =>
    parse(fs.readFileSync(path.join(folder, `example/prometheus-operator-crd/monitoring.coreos.com_${kind}.yaml`), 'utf8'))
  const all = kinds.operator.map((kind) => cutResourceDefinition(read(kind)))
  await expect(asText(all)).toMatchFileSnapshot(fixtureOf('prometheus-operator', minorOf(version)))
})

describe('what the chart makes of values', () => {
  let texts: readonly string[] = []
  beforeAll(async () => {
    const renderings = await renderEach({ version: '', file: process.env.HELM! }, [...valueSets.values()])
    texts = renderings.map(({ yaml }) => yaml)
  })

  it.skipIf(kubeconformMissing)('fits the definitions of this API server', () => {
    const [, operator] = readDefinitions(ofOneServer)
    expect(findFaults(ofApiServer, operator, texts)).toEqual(new Map())
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
