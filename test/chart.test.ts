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
  const documents = parseAllDocuments(execFileSync(helm!, template, { encoding: 'utf8', stdio: 'pipe', maxBuffer: 1 << 26 }))
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

  describe('a PrometheusRule', () => {
    interface Rule {
      readonly alert: string
      readonly expr: string
      readonly for: string
      readonly labels: { readonly severity: string }
      readonly annotations: { readonly runbook_url: string; readonly threshold?: string }
    }
    const groupsOf = (...set: readonly string[]): { name: string; rules: readonly Rule[] }[] =>
      render('prometheusRule.enabled=true', ...set).get('PrometheusRule').spec.groups
    const rulesOf = (...set: readonly string[]) =>
      new Map(groupsOf(...set).flatMap(({ rules }) => rules.map((rule) => [rule.alert, rule])))
    const files = fs.readdirSync(path.join(chart, 'rules')).sort()
    const shipped = files.flatMap((file) => readYaml(`rules/${file}`).groups)

    it('is there when it is asked for, with the rules as they are in their files', () => {
      expect(render().has('PrometheusRule')).toBe(false)
      expect(groupsOf()).toEqual(shipped)
      const { metadata } = render('prometheusRule.enabled=true', 'prometheusRule.additionalLabels.release=monitor').get(
        'PrometheusRule',
      )
      expect(metadata).toMatchObject({ namespace: 'monitoring', labels: { release: 'monitor' } })
    })

    it('has of an alert another threshold, time or severity, or leaves it out', () => {
      const before = rulesOf()
      const alerts = 'prometheusRule.alerts'
      const after = rulesOf(
        `${alerts}.NetvitalsTimeWait.enabled=false`,
        `${alerts}.NetvitalsConntrackNearlyFull.threshold=0.65`,
        `${alerts}.NetvitalsConntrackFillingUp.threshold=7200`,
        `${alerts}.NetvitalsCloseWait.for=1h`,
        `${alerts}.NetvitalsCloseWait.severity=page`,
      )
      const changed = new Set(['NetvitalsConntrackNearlyFull', 'NetvitalsConntrackFillingUp', 'NetvitalsCloseWait'])
      for (const [name, rule] of before)
        if (!changed.has(name) && name !== 'NetvitalsTimeWait') expect(after.get(name)).toEqual(rule)
      expect([...before.keys()].filter((name) => !after.has(name))).toEqual(['NetvitalsTimeWait'])
      const replaced = (name: string, comparison: string, threshold: string): Partial<Rule> => {
        const { expr, annotations } = before.get(name)!
        const old = `${comparison} ${annotations.threshold}`
        return { expr: expr.replace(old, `${comparison} ${threshold}`), annotations: { ...annotations, threshold } }
      }
      const ratio = after.get('NetvitalsConntrackNearlyFull')!
      expect(ratio).toEqual({ ...before.get(ratio.alert)!, ...replaced(ratio.alert, '>', '0.65') })
      expect(ratio.expr).toContain('> 0.65')
      const forecast = after.get('NetvitalsConntrackFillingUp')!
      expect(forecast).toEqual({ ...before.get(forecast.alert)!, ...replaced(forecast.alert, '<', '7200') })
      expect(forecast.expr).toContain('< 7200')
      const { labels } = before.get('NetvitalsCloseWait')!
      expect(after.get('NetvitalsCloseWait')).toEqual({
        ...before.get('NetvitalsCloseWait')!,
        for: '1h',
        labels: { ...labels, severity: 'page' },
      })
    })

    it('takes a threshold of every alert that has one', () => {
      const numbered = [...rulesOf().values()].filter(({ annotations }) => annotations.threshold !== undefined)
      const after = rulesOf(...numbered.map(({ alert }) => `prometheusRule.alerts.${alert}.threshold=0.123456`))
      for (const { alert } of numbered) expect(after.get(alert)!.expr.match(/[<>] 0\.123456\b/g)).toHaveLength(1)
    })

    it('leaves a group out of which nothing is left', () => {
      const [first, ...others] = shipped
      const off = first.rules.map(({ alert }: Rule) => `prometheusRule.alerts.${alert}.enabled=false`)
      expect(groupsOf(...off)).toEqual(others)
    })

    it('has runbooks elsewhere', () => {
      for (const [name, { annotations }] of rulesOf('prometheusRule.runbookUrl=https://books.example/net/'))
        expect(annotations.runbook_url).toBe(`https://books.example/net/${name}.md`)
    })

    it('refuses what would change nothing', () => {
      const withAlert = (text: string) => () => rulesOf(`prometheusRule.alerts.${text}`)
      expect(withAlert('NetvitalsNonsense.enabled=false')).toThrow(/no such alert/)
      expect(withAlert('NetvitalsAgentDown.threshold=1')).toThrow(/this alert has none/)
      expect(withAlert('NetvitalsTimeWait.threshold=many')).toThrow(/threshold/)
      expect(withAlert('NetvitalsTimeWait.for=soon')).toThrow(/for/)
      expect(withAlert('NetvitalsTimeWait.level=1')).toThrow(/level/)
    })
  })

  it('every selector fits the pods', () => {
    const resources = render('serviceMonitor.enabled=true')
    const { template, selector } = resources.get('DaemonSet').spec
    expect(template.metadata.labels).toMatchObject(selector.matchLabels)
    expect(template.metadata.labels).toMatchObject(resources.get('Service').spec.selector)
  })
})
