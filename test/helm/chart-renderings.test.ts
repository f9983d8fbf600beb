import { execFileSync, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { chart, helms, type Rendering, type Resource, renderEach, resourcesOf, valueSets } from './chart.ts'
import { allVersions, findFaults, kinds, kubeconformMissing, readDefinitions } from './kubeconform.ts'

const names = [...valueSets.keys()]
const renderings = new Map<string, readonly Rendering[]>()
beforeAll(async () => {
  for (const helm of helms) renderings.set(helm.version, await renderEach(helm, [...valueSets.values()]))
})
const textsOf = (version: string): string[] => renderings.get(version)!.map(({ yaml }) => yaml)

describe.each(helms)('helm $version', (helm) => {
  it('passes helm lint', () => {
    const lint = spawnSync(helm.file, ['lint', '--strict', chart], { encoding: 'utf8' })
    expect(lint.stdout + lint.stderr).toContain('0 chart(s) failed')
    expect(lint.status).toBe(0)
  })

  it('packs the files of the chart and no others', () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-package-'))
    try {
      execFileSync(helm.file, ['package', chart, `--destination=${folder}`], { stdio: 'pipe' })
      const file = path.join(folder, fs.readdirSync(folder)[0]!)
      const packed = execFileSync('tar', ['--list', `--file=${file}`], { encoding: 'utf8' })
        .trim()
        .split('\n')
      const listed = fs.readdirSync(chart, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
      const files = listed.map(({ parentPath, name }) => path.relative(path.dirname(chart), path.join(parentPath, name)))
      expect(packed.sort()).toEqual(files.sort())
      for (const [what, shown] of [
        ['readme', 'README.md'],
        ['values', 'values.yaml'],
      ] as const) {
        const text = execFileSync(helm.file, ['show', what, file], { encoding: 'utf8' })
        expect(text.trim()).toBe(fs.readFileSync(path.join(chart, shown), 'utf8').trim())
      }
    } finally {
      fs.rmSync(folder, { recursive: true })
    }
  })

  it('takes values that people give', () => {
    const refused = renderings.get(helm.version)!.map(({ refusal }, index) => [names[index], refusal])
    expect(refused.filter(([, refusal]) => refusal !== '')).toEqual([])
  })
})

/** The one difference: only Helm 4 can show what a test has said and then take its pod away. */
const asHelm3 = (text: string): string => text.replace(': before-hook-creation,hook-succeeded', ': before-hook-creation')

it.skipIf(helms.length < 2)('helm 4 makes of values what helm 3 does', () => {
  const byHelm4 = textsOf('4')
  for (const [index, text] of textsOf('3').entries())
    expect(resourcesOf(asHelm3(byHelm4[index]!)), names[index]).toEqual(resourcesOf(text))
})

describe.skipIf(helms.length === 0 || kubeconformMissing)('Kubernetes', () => {
  const texts = (): string[] => textsOf(helms[0]!.version)

  it.each(allVersions)('$kubernetes, with operator $operator, takes what the chart makes of values', (versions) => {
    const faults = findFaults(...readDefinitions(versions), texts())
    expect([...faults].map(([index, fault]) => [names[Number(index)], fault])).toEqual([])
  })

  it('has schemas of every kind that the chart makes, and no more', () => {
    const made = new Set(texts().flatMap((text) => resourcesOf(text).map(({ apiVersion, kind }) => `${apiVersion}/${kind}`)))
    const operator = ['PodMonitor', 'PrometheusRule', 'ServiceMonitor'].map((kind) => `monitoring.coreos.com/v1/${kind}`)
    expect([...made].sort()).toEqual([...kinds.kubernetes, ...operator].sort())
  })

  interface Mistake {
    readonly name: string
    readonly kind: string
    readonly make: (resource: Resource) => unknown
  }
  const container = (resource: Resource): Resource => resource.spec.template.spec.containers[0]
  const mistakes: readonly Mistake[] = [
    { name: 'a misspelt field', kind: 'DaemonSet', make: (it) => (container(it).readyProbe = container(it).readinessProbe) },
    { name: 'a field in the wrong place', kind: 'DaemonSet', make: (it) => (it.spec.hostNetwork = true) },
    { name: 'no selector', kind: 'DaemonSet', make: (it) => delete it.spec.selector },
    { name: 'a number for text', kind: 'DaemonSet', make: (it) => (it.metadata.labels.x = 1) },
    { name: 'text for a number', kind: 'DaemonSet', make: (it) => (container(it).ports[0].hostPort = '1') },
    { name: 'text for a switch', kind: 'DaemonSet', make: (it) => (it.spec.template.spec.hostPID = 'true') },
    { name: 'a map for a list', kind: 'DaemonSet', make: (it) => (it.spec.template.spec.tolerations = {}) },
    { name: 'a null in a list', kind: 'DaemonSet', make: (it) => container(it).args.push(null) },
    { name: 'no quantity', kind: 'DaemonSet', make: (it) => (container(it).resources.limits.memory = '300 MB') },
    { name: 'half a surge', kind: 'DaemonSet', make: (it) => (it.spec.updateStrategy.rollingUpdate.maxSurge = 0.5) },
    { name: 'a misspelt field', kind: 'Pod', make: (it) => (it.spec.containers[0].arg = []) },
    { name: 'a map for text', kind: 'Pod', make: (it) => (it.metadata.annotations.x = {}) },
    { name: 'a port without its number', kind: 'Service', make: (it) => delete it.spec.ports[0].port },
    { name: 'text for a switch', kind: 'ServiceAccount', make: (it) => (it.automountServiceAccountToken = 'false') },
    { name: 'a rule without verbs', kind: 'ClusterRole', make: (it) => delete it.rules[0].verbs },
    { name: 'no role', kind: 'ClusterRoleBinding', make: (it) => delete it.roleRef },
    { name: 'a misspelt field', kind: 'PodMonitor', make: (it) => (it.spec.podMetricsEndpoints[0].honorLabel = true) },
    { name: 'another case', kind: 'PodMonitor', make: (it) => (it.spec.podMetricsEndpoints[0].scheme = 'ftp') },
    { name: 'no duration', kind: 'PodMonitor', make: (it) => (it.spec.podMetricsEndpoints[0].interval = 'soon') },
    { name: 'a misspelt field of metadata', kind: 'PodMonitor', make: (it) => (it.metadata.label = {}) },
    { name: 'a null', kind: 'PodMonitor', make: (it) => (it.spec.jobLabel = null) },
    { name: 'a rule without a query', kind: 'PrometheusRule', make: (it) => delete it.spec.groups[0].rules[0].expr },
    { name: 'a number for text', kind: 'PrometheusRule', make: (it) => (it.spec.groups[0].rules[0].annotations.x = 1) },
    { name: 'a version that is not there', kind: 'PrometheusRule', make: (it) => (it.apiVersion = 'monitoring.coreos.com/v2') },
  ]

  it.each(allVersions)('$kubernetes, with operator $operator, would refuse mistakes in templates', (versions) => {
    const all = resourcesOf(texts()[names.indexOf('another name')]!)
    const made = mistakes.map(({ kind, make }) => {
      const resource = structuredClone(all.find((each) => each.kind === kind))
      make(resource)
      return stringify(resource)
    })
    const faults = findFaults(...readDefinitions(versions), made)
    expect(mistakes.filter((_, index) => !faults.has(String(index))).map(({ name, kind }) => `${kind}: ${name}`)).toEqual([])
  })
})
