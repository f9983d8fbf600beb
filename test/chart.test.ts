import { execFileSync, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { pino } from 'pino'
import { describe, expect, it } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { readConfig } from '../agent/config.ts'
import { createHost } from '../agent/host/host.ts'
import { createSources } from '../agent/sources/index.ts'

const root = path.resolve(import.meta.dirname, '..')
const chart = path.join(root, 'helm/netvitals')
const readYaml = (file: string) => parse(fs.readFileSync(path.join(chart, file), 'utf8'))
const tiers: readonly { name: string; adds: Record<string, string> }[] = readYaml('tiers.yaml')
const values = readYaml('values.yaml')
const schema = readYaml('values.schema.json').properties

/** What is no source's: `netvitals show sockets`. */
const besides = ['DAC_READ_SEARCH', 'SYS_PTRACE']

describe('tiers', () => {
  it('are basic, sockets, events, capture, full; the schema knows them, and the default is one', () => {
    const names = tiers.map(({ name }) => name)
    expect(names).toEqual(['basic', 'sockets', 'events', 'capture', 'full'])
    expect(schema.tier.enum).toEqual(names)
    expect(names).toContain(values.tier)
  })

  it('have every capability that a source needs, each once, and none that nothing needs', async () => {
    const sources = createSources(await createHost({ root: '/', tracer: false, log: pino({ level: 'silent' }) }))
    const needed = sources.flatMap(({ needs }) => needs.flatMap((need) => ('capability' in need ? [need.capability] : [])))
    const all = [...new Set([...needed.map((name) => name.replace('CAP_', '')), ...besides])]
    expect(tiers.flatMap(({ adds }) => Object.keys(adds)).sort()).toEqual(all.sort())
  })

  it('say what each capability is for', () => {
    for (const reason of tiers.flatMap(({ adds }) => Object.values(adds))) expect(reason).toMatch(/^[a-z]\w+.{8,}/)
  })
})

type Resource = ReturnType<typeof parse>
const helm = [path.join(root, '.cache/helm'), 'helm'].find((file) => spawnSync(file, ['version']).status === 0)

/** What the chart makes of the values. Lists are as in JSON. */
function renderAll(...set: readonly string[]): readonly Resource[] {
  const settings = set.map((one) => `${one.endsWith(']') ? '--set-json' : '--set'}=${one}`)
  // Helm that was built by `go install` takes the cluster for an old one.
  const template = ['template', 'nv', chart, '--namespace=monitoring', '--kube-version=1.34.0', ...settings]
  const documents = parseAllDocuments(execFileSync(helm!, template, { encoding: 'utf8', stdio: 'pipe' }))
  return documents.map((document) => document.toJS()).filter((resource) => resource !== null)
}
/** The same by kind. */
const render = (...set: readonly string[]): Map<string, Resource> =>
  new Map(renderAll(...set).map((resource) => [resource.kind, resource]))
const toWatch = (group: string, resource: string) => ({ apiGroups: [group], resources: [resource], verbs: ['list', 'watch'] })
const podOf = (resources: Map<string, Resource>) => resources.get('DaemonSet').spec.template.spec

if (helm === undefined) console.warn('SKIPPED, no helm (make cluster-test builds one): the chart rendered')
describe.skipIf(helm === undefined)('rendered by helm', () => {
  it.each(tiers.map(({ name }, index) => ({ name, index })))(
    '$name: drops all capabilities and adds its own',
    ({ name, index }) => {
      const [container] = podOf(render(`tier=${name}`)).containers
      const { capabilities, ...rest } = container.securityContext
      expect(capabilities.drop).toEqual(['ALL'])
      expect(capabilities.add?.sort() ?? []).toEqual(
        tiers
          .slice(0, index + 1)
          .flatMap(({ adds }) => Object.keys(adds))
          .sort(),
      )
      expect(rest).toEqual({
        runAsUser: 0,
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        seccompProfile: { type: 'RuntimeDefault' },
      })
    },
  )

  it('refuses values that are none', () => {
    expect(() => render('tier=most')).toThrow(/tier/)
    expect(() => render('identity.pods=guess')).toThrow(/pods/)
    expect(() => render('identity.node=x')).toThrow(/node/)
    expect(() => render('capture.httpPorts=["http"]')).toThrow(/httpPorts/)
    expect(() => render('capture.dnsPorts=[65536]')).toThrow(/dnsPorts/)
    expect(() => render('capture.dnsPorts=53')).toThrow(/dnsPorts/)
  })

  it.each<string>(schema.identity.properties.pods.enum)(
    'the agent takes the arguments and variables: identity.pods=%s',
    (pods) => {
      for (const peers of schema.identity.properties.peers.enum) {
        const resources = render(`identity.pods=${pods}`, `identity.peers=${peers}`, 'extraArgs={--sources.off=proc-softnet}')
        const [{ args, env }] = podOf(resources).containers
        const environment = Object.fromEntries(
          env.map(({ name, value = 'node-1' }: { name: string; value?: string }) => [
            name,
            value.replace('$(NODE_ADDRESS)', '10.0.0.1'),
          ]),
        )
        const config = readConfig(args, environment)
        expect(config).toMatchObject({ 'identity.pods': pods, 'identity.peers': peers, 'kubernetes.node': 'node-1' })
      }
    },
  )

  it.each([
    { set: [], dns: values.capture.dnsPorts, http: values.capture.httpPorts },
    { set: ['capture.dnsPorts=[53,5353]', 'capture.httpPorts=[80,8080]'], dns: [53, 5353], http: [80, 8080] },
    { set: ['capture.dnsPorts=[]'], dns: [], http: values.capture.httpPorts },
  ])('the agent takes the ports to capture: $set', ({ set, dns, http }) => {
    const [{ args }] = podOf(render(...set)).containers
    expect(readConfig(args, {})).toMatchObject({ 'capture.dns-ports': dns, 'capture.http-ports': http })
  })

  it.each([
    { pods: 'api', peers: 'off', rules: [toWatch('', 'pods')] },
    { pods: 'logs', peers: 'pods', rules: [toWatch('', 'pods'), toWatch('', 'services')] },
    { pods: 'off', peers: 'endpointslices', rules: [toWatch('discovery.k8s.io', 'endpointslices'), toWatch('', 'services')] },
    { pods: 'kubelet', peers: 'off', rules: [{ apiGroups: [''], resources: ['nodes/pods'], verbs: ['get'] }] },
    { pods: 'logs', peers: 'off', rules: undefined },
    { pods: 'off', peers: 'off', rules: undefined },
  ])('pods from $pods, peers from $peers: the least rights, and a token only with rights', ({ pods, peers, rules }) => {
    const resources = render(`identity.pods=${pods}`, `identity.peers=${peers}`)
    expect(resources.get('ClusterRole')?.rules).toEqual(rules)
    expect(resources.has('ClusterRoleBinding')).toBe(rules !== undefined)
    expect(podOf(resources).automountServiceAccountToken).toBe(rules !== undefined)
    expect(podOf(resources).volumes.some(({ name }: { name: string }) => name === 'logs')).toBe(pods === 'logs')
  })

  it('a ServiceMonitor finds the Service, believes the agent and drops what is of its own pod', () => {
    expect(render().has('ServiceMonitor')).toBe(false)
    const resources = render('serviceMonitor.enabled=true')
    const { selector, endpoints } = resources.get('ServiceMonitor').spec
    expect(resources.get('Service').metadata.labels).toMatchObject(selector.matchLabels)
    expect(resources.get('Service').spec).toMatchObject({ clusterIP: 'None', ports: [{ name: endpoints[0].port }] })
    expect(endpoints[0]).toMatchObject({
      honorLabels: true,
      relabelings: [
        { sourceLabels: ['__meta_kubernetes_pod_node_name'], targetLabel: 'node' },
        { action: 'labeldrop', regex: 'pod|namespace|container|endpoint' },
      ],
    })
  })

  it('dashboards are ConfigMaps for the sidecar, each with its file as it is', () => {
    const folder = path.join(chart, 'dashboards')
    const files = fs.readdirSync(folder).sort()
    expect(renderAll().filter(({ kind }) => kind === 'ConfigMap')).toEqual([])
    const maps = renderAll('dashboards.enabled=true').filter(({ kind }) => kind === 'ConfigMap')
    expect(maps.flatMap(({ data }) => Object.keys(data)).sort()).toEqual(files)
    for (const { data, metadata } of maps) {
      expect(metadata).toMatchObject({ namespace: 'monitoring', labels: { grafana_dashboard: '1' } })
      for (const [file, text] of Object.entries<string>(data)) {
        expect(text).toBe(fs.readFileSync(path.join(folder, file), 'utf8'))
        expect(text.length).toBeLessThan(1 << 20)
      }
    }
    const [one] = renderAll('dashboards.enabled=true', 'dashboards.multiCluster=true', 'dashboards.namespace=grafana').filter(
      ({ kind }) => kind === 'ConfigMap',
    )
    expect(one.metadata.namespace).toBe('grafana')
    const isHidden = (text: string): boolean[] =>
      JSON.parse(text).templating.list.flatMap(({ name, hide }: { name: string; hide: number }) =>
        name === 'cluster' ? [hide === 2] : [],
      )
    expect(isHidden(fs.readFileSync(path.join(folder, files[0]!), 'utf8'))).toEqual([true])
    expect(isHidden(Object.values<string>(one.data)[0]!)).toEqual([false])
  })

  it('every selector fits the pods', () => {
    const resources = render('serviceMonitor.enabled=true')
    const { template, selector } = resources.get('DaemonSet').spec
    expect(template.metadata.labels).toMatchObject(selector.matchLabels)
    expect(template.metadata.labels).toMatchObject(resources.get('Service').spec.selector)
  })
})
