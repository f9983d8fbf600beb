import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { type CustomResourceDefinition, type OpenApi, toJsonSchemas } from './openapi.ts'

const root = path.resolve(import.meta.dirname, '../..')
const kubeconform = [path.join(root, '.cache/kubeconform'), 'kubeconform'].find((file) => spawnSync(file, ['-v']).status === 0)
export const kubeconformMissing = kubeconform === undefined
if (kubeconformMissing) console.warn('SKIPPED, no kubeconform (make test builds it where there is Go): what Kubernetes takes')

const fixtures = path.join(root, 'test/fixtures/openapi')
export const fixtureOf = (program: 'kubernetes' | 'prometheus-operator', version: string): string =>
  path.join(fixtures, `${program}-${version}.json`)

export interface Versions {
  readonly kubernetes: string
  readonly operator: string
}
/** The oldest that the chart takes, those of an API server, which knows more than is published, and the newest there was. */
export const allVersions: readonly [Versions, Versions, Versions] = [
  { kubernetes: '1.26', operator: '0.66' },
  { kubernetes: '1.34', operator: '0.93' },
  { kubernetes: '1.37', operator: '0.93' },
]
/** What they know of the chart's kinds. */
export function readDefinitions({ kubernetes, operator }: Versions): [OpenApi, readonly CustomResourceDefinition[]] {
  const read = (file: string) => JSON.parse(fs.readFileSync(file, 'utf8'))
  return [read(fixtureOf('kubernetes', kubernetes)), read(fixtureOf('prometheus-operator', operator))]
}

/** What the chart has of Kubernetes' own, and of the Prometheus operator. */
export const kinds = {
  kubernetes: [
    ...['ConfigMap', 'Pod', 'Secret', 'Service', 'ServiceAccount'].map((kind) => `v1/${kind}`),
    'apps/v1/DaemonSet',
    ...['ClusterRole', 'ClusterRoleBinding'].map((kind) => `rbac.authorization.k8s.io/v1/${kind}`),
  ],
  operator: ['podmonitors', 'prometheusrules', 'servicemonitors'],
}

interface Answer {
  readonly resources: readonly {
    readonly filename: string
    readonly kind: string
    readonly status: string
    readonly msg: string
  }[]
}

/** Why Kubernetes would not take each of the texts of resources; one that it would take is left out. */
export function findFaults(
  api: OpenApi,
  resourceDefinitions: readonly CustomResourceDefinition[],
  texts: readonly string[],
): Map<string, string> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-kubeconform-'))
  try {
    for (const [file, schema] of toJsonSchemas(api, resourceDefinitions))
      fs.writeFileSync(path.join(folder, file), JSON.stringify(schema))
    fs.mkdirSync(path.join(folder, 'resources'))
    for (const [index, text] of texts.entries()) fs.writeFileSync(path.join(folder, `resources/${index}.yaml`), text)
    const location = `${folder}/{{ .ResourceKind }}{{ .KindSuffix }}.json`
    const flags = ['-strict', '-verbose', '-output=json', `-schema-location=${location}`, path.join(folder, 'resources')]
    const { stdout, stderr } = spawnSync(kubeconform!, flags, { encoding: 'utf8', maxBuffer: 1 << 26 })
    if (stderr !== '') throw new Error(stderr)
    const { resources }: Answer = JSON.parse(stdout)
    const faults = new Map<string, string>()
    for (const { filename, kind, status, msg } of resources)
      if (status !== 'statusValid') faults.set(path.basename(filename, '.yaml'), `${kind}: ${msg}`)
    return faults
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
}
