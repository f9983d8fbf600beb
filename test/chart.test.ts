import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { pino } from 'pino'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { readConfig } from '../agent/config.ts'
import { createHost } from '../agent/host/host.ts'
import { webConfigFile } from '../agent/http/web-config.ts'
import { createSources } from '../agent/sources/index.ts'
import { prometheusMissing, promtool } from './e2e/prometheus-server.ts'
import { chart, helms, operator, type Resource, resourcesOf, template, toFlags } from './helm/chart.ts'

const root = path.resolve(import.meta.dirname, '..')
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

it.skipIf(prometheusMissing)('a Prometheus without operator takes its example, with every rule file', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-example-'))
  try {
    const text = fs.readFileSync(path.join(root, 'helm/examples/prometheus.yaml'), 'utf8')
    const file = path.join(folder, 'prometheus.yaml')
    // Debian's promtool is built without Kubernetes.
    const known = text.replace(/kubernetes_sd_configs:\n.*role: pod\n/, 'static_configs: []\n')
    fs.writeFileSync(file, known.replace('/etc/prometheus/netvitals/', `${chart}/rules/`))
    const said = execFileSync(promtool!, ['check', 'config', file], { encoding: 'utf8', stdio: 'pipe' })
    const { length } = fs.readdirSync(path.join(chart, 'rules'))
    expect(said).toContain(`SUCCESS: ${length} rule files found`)
    expect(said.match(/SUCCESS: \d+ rules found/g)).toHaveLength(length)
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
})

const [helm] = helms

/** What the chart makes of the values, in a cluster with the Prometheus operator. */
const renderAll = (...values: readonly string[]): readonly Resource[] => renderFor(operator, ...toFlags(values))
function renderFor(...flags: readonly string[]): readonly Resource[] {
  const options = { encoding: 'utf8', stdio: 'pipe', maxBuffer: 1 << 26 } as const
  return resourcesOf(execFileSync(helm!.file, [...template, ...flags], options))
}
/** The same by kind. */
const render = (...set: readonly string[]): Map<string, Resource> =>
  new Map(renderAll(...set).map((resource) => [resource.kind, resource]))
const toWatch = (group: string, resource: string) => ({ apiGroups: [group], resources: [resource], verbs: ['list', 'watch'] })
const podOf = (resources: Map<string, Resource>) => resources.get('DaemonSet').spec.template.spec

describe.skipIf(helm === undefined)('rendered by helm', () => {
  it.each(tiers.map(({ name }, index) => ({ name, index })))(
    '$name: drops all capabilities and adds its own',
    ({ name, index }) => {
      const pod = podOf(render(`tier=${name}`))
      const { capabilities, ...rest } = pod.containers[0].securityContext
      expect(capabilities.drop).toEqual(['ALL'])
      expect(capabilities.add?.sort() ?? []).toEqual(
        tiers
          .slice(0, index + 1)
          .flatMap(({ adds }) => Object.keys(adds))
          .sort(),
      )
      const nobody = { runAsNonRoot: true, runAsUser: 65_534, runAsGroup: 65_534 }
      expect(pod.securityContext).toEqual(index > 0 ? undefined : { fsGroup: 65_534 })
      expect(rest).toEqual({
        ...(index > 0 ? { runAsUser: 0 } : nobody),
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        seccompProfile: { type: 'RuntimeDefault' },
      })
    },
  )

  it('is root without capabilities where the folders in /var/log/pods tell names', () => {
    const { containers } = podOf(render('tier=basic', 'identity.pods=logs'))
    expect(containers[0].securityContext).toMatchObject({ runAsUser: 0, capabilities: { drop: ['ALL'] } })
  })

  it('refuses values that are none', () => {
    expect(() => render('tier=most')).toThrow(/tier/)
    expect(() => render('identity.pods=guess')).toThrow(/pods/)
    expect(() => render('identity.node=x')).toThrow(/node/)
    expect(() => render('capture.httpPorts=["http"]')).toThrow(/httpPorts/)
    expect(() => render('capture.dnsPorts=[65536]')).toThrow(/dnsPorts/)
    expect(() => render('capture.dnsPorts=53')).toThrow(/dnsPorts/)
    expect(() => render('capure.dnsPorts=[53]')).toThrow(/capure/)
    expect(() => render('monitor.kind=Probe')).toThrow(/kind/)
    expect(() => render('web.config={"basic_auth_user":{}}')).toThrow(/basic_auth_user/)
    expect(() => render('updateStrategy.rollingUpdate.maxSurge=1')).toThrow(/maxSurge/)
    expect(() => render('image.digest=sha256:abc')).toThrow(/digest/)
  })

  it.each<string>(schema.identity.properties.pods.enum)(
    'the agent takes the arguments and variables: identity.pods=%s',
    (pods) => {
      for (const peers of schema.identity.properties.peers.enum) {
        const resources = render(`identity.pods=${pods}`, `identity.peers=${peers}`, 'extraArgs=["--sources.off=proc-softnet"]')
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

  it.each([
    { kind: 'PodMonitor', other: 'ServiceMonitor', endpoints: 'podMetricsEndpoints', set: [] },
    { kind: 'ServiceMonitor', other: 'PodMonitor', endpoints: 'endpoints', set: ['monitor.kind=ServiceMonitor'] },
  ])('a $kind finds the agents, believes them and drops what is of their own pods', ({ kind, other, endpoints, set }) => {
    const resources = render(...set)
    expect(resources.has(other)).toBe(false)
    const { selector, jobLabel, [endpoints]: ends } = resources.get(kind).spec
    const { metadata, spec } = resources.get('DaemonSet').spec.template
    expect([metadata.labels, resources.get('Service').metadata.labels]).toMatchObject([
      selector.matchLabels,
      selector.matchLabels,
    ])
    expect(metadata.labels[jobLabel]).toBe('netvitals')
    expect(spec.containers[0].ports).toMatchObject([{ name: ends[0].port }])
    expect(resources.get('Service').spec).toMatchObject({ clusterIP: 'None', ports: [{ name: ends[0].port }] })
    expect(ends).toEqual([
      {
        port: 'metrics',
        scheme: 'http',
        honorLabels: true,
        relabelings: [
          { sourceLabels: ['__meta_kubernetes_pod_node_name'], targetLabel: 'node' },
          { action: 'labeldrop', regex: 'pod|namespace|container|endpoint' },
        ],
      },
    ])
    const { metadata: labelled, spec: more } = render(
      ...set,
      'monitor.labels.release=monitor',
      'monitor.interval=15s',
      'monitor.scrapeTimeout=5s',
      'monitor.auth={"authorization":{"credentials":{"name":"t","key":"token"}}}',
      'monitor.relabelings=[{"targetLabel":"cluster","replacement":"east"}]',
      'monitor.metricRelabelings=[{"action":"drop","regex":"x"}]',
    ).get(kind)
    expect(labelled.labels.release).toBe('monitor')
    expect(more[endpoints][0]).toMatchObject({
      interval: '15s',
      scrapeTimeout: '5s',
      authorization: { credentials: { name: 't', key: 'token' } },
      relabelings: [{}, {}, { targetLabel: 'cluster', replacement: 'east' }],
      metricRelabelings: [{ action: 'drop', regex: 'x' }],
    })
  })

  it('is without what a cluster does not know, and installs all the same', () => {
    const all = ['--set=prometheusRule.enabled=true', '--set=dashboards.enabled=true']
    const kinds = (...flags: readonly string[]): Set<string> => new Set(renderFor(...all, ...flags).map(({ kind }) => kind))
    const without = kinds()
    expect([...kinds(operator)].filter((kind) => !without.has(kind)).sort()).toEqual(['PodMonitor', 'PrometheusRule'])
    expect(without).toContain('DaemonSet')
    expect([...kinds(operator, '--set=monitor.kind=none')].some((kind) => kind.endsWith('Monitor'))).toBe(false)
  })

  describe('TLS and authentication', () => {
    const webOf = (config: object, ...more: readonly string[]) => {
      const all = renderAll(`web.config=${JSON.stringify(config)}`, ...more)
      const resources = new Map(all.map((resource) => [resource.kind, resource]))
      const pod = podOf(resources)
      return { resources, pod, container: pod.containers[0] }
    }
    const tls = { cert_file: '/etc/netvitals/secrets/tls/tls.crt', key_file: '/etc/netvitals/secrets/tls/tls.key' }

    it('there are none unless asked for', () => {
      const [container] = podOf(render()).containers
      expect(render().has('Secret')).toBe(false)
      expect(container.args.join(' ')).not.toContain('web.config')
      expect(container.livenessProbe.httpGet).toEqual({ port: 'metrics', path: '/healthz', scheme: 'HTTP' })
      expect(container.readinessProbe.httpGet).toEqual({ port: 'metrics', path: '/readyz', scheme: 'HTTP' })
    })

    it('are what the agent takes, in a Secret, with the files of other Secrets', () => {
      const config = { tls_server_config: tls, bearer_token_file: '/etc/netvitals/secrets/token/token' }
      const { resources, pod, container } = webOf(config, 'web.secrets=["tls","token"]')
      expect(container.args).toContain('--web.config.file=/etc/netvitals/web/web.yaml')
      const mounted = new Map(container.volumeMounts.map(({ name, mountPath }: Resource) => [mountPath, name]))
      const volumes = new Map(pod.volumes.map(({ name, secret }: Resource) => [name, secret]))
      const secretAt = (mountPath: string) => volumes.get(mounted.get(mountPath))
      const { metadata, stringData } = resources.get('Secret')
      expect(secretAt('/etc/netvitals/web')).toEqual({ secretName: metadata.name, defaultMode: 0o400 })
      for (const name of ['tls', 'token'])
        expect(secretAt(`/etc/netvitals/secrets/${name}`)).toEqual({ secretName: name, defaultMode: 0o400 })
      expect(Object.keys(stringData)).toEqual(['web.yaml'])
      expect(parse(stringData['web.yaml'])).toEqual(config)
      expect(resources.get('PodMonitor').spec.podMetricsEndpoints[0].scheme).toBe('https')
    })

    it.each([
      { type: undefined, action: 'httpGet' },
      { type: 'VerifyClientCertIfGiven', action: 'httpGet' },
      { type: 'RequireAnyClientCert', action: 'tcpSocket' },
      { type: 'RequireAndVerifyClientCert', action: 'tcpSocket' },
    ])('the kubelet, which has no certificate, asks by $action with client_auth_type $type', ({ type, action }) => {
      const { container } = webOf({ tls_server_config: { ...tls, ...(type && { client_auth_type: type }) } })
      for (const { httpGet, tcpSocket } of [container.livenessProbe, container.readinessProbe]) {
        expect(httpGet?.scheme ?? tcpSocket.port).toBe(action === 'httpGet' ? 'HTTPS' : 'metrics')
        expect([httpGet, tcpSocket].filter((one) => one !== undefined)).toHaveLength(1)
      }
    })

    it('the kubelet asks where the agent listens', () => {
      const hostOf = (...set: string[]) => podOf(render(...set)).containers[0].readinessProbe.httpGet.host
      expect(hostOf()).toBeUndefined()
      expect(hostOf('listenAddress=0.0.0.0')).toBeUndefined()
      expect(hostOf('listenAddress=127.0.0.1')).toBe('127.0.0.1')
      expect(
        renderFor('--set-json=listenAddress="[fd00::1]"').find(({ kind }) => kind === 'DaemonSet').spec.template.spec
          .containers[0].readinessProbe.httpGet.host,
      ).toBe('fd00::1')
    })

    it('the schema knows the settings that the agent takes', () => {
      expect(Object.keys(schema.web.properties.config.properties).sort()).toEqual(Object.keys(webConfigFile.shape).sort())
    })
  })

  it('settings are a file that the agent takes; it starts again when they change, and only then', () => {
    const config = { identity: { networks: [{ name: 'office', cidrs: ['10.0.0.0/8'] }] }, sources: { off: 'proc-softnet' } }
    const resources = render(`config=${JSON.stringify(config)}`)
    const { template } = resources.get('DaemonSet').spec
    const [{ args, volumeMounts }] = template.spec.containers
    expect(args).toContain('--config.file=/etc/netvitals/config/netvitals.yaml')
    expect(volumeMounts).toContainEqual({ name: 'config', mountPath: '/etc/netvitals/config', readOnly: true })
    const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-chart-')), 'netvitals.yaml')
    try {
      fs.writeFileSync(file, resources.get('ConfigMap').data['netvitals.yaml'])
      const read = readConfig(['serve', `--config.file=${file}`], {})
      expect(read).toMatchObject({ 'sources.off': ['proc-softnet'], 'identity.networks': config.identity.networks })
    } finally {
      fs.rmSync(path.dirname(file), { recursive: true })
    }
    const checksumOf = (...set: string[]): string =>
      render(...set).get('DaemonSet').spec.template.metadata.annotations['checksum/config']
    const web = 'web.config={"basic_auth_users":{"a":"b"}}'
    const checksums = [checksumOf(), checksumOf('config={"sources":{"off":"proc-softnet"}}'), checksumOf('scripts={"a.bt":"x"}')]
    checksums.push(checksumOf('web.config={"tls_server_config":{"cert_file":"x"}}'))
    expect(new Set(checksums).size).toBe(4)
    expect(checksumOf('dashboards.enabled=true', web)).toBe(checksums[0])
  })

  it('scripts are files of the agent, which can see what they trace', () => {
    const resources = render('scripts={"mine.bt":"BEGIN { }\\n"}')
    expect(resources.get('ConfigMap').data).toEqual({ 'mine.bt': 'BEGIN { }\n' })
    const pod = podOf(resources)
    expect(pod.volumes).toContainEqual({ name: 'tracing', hostPath: { path: '/sys/kernel/tracing' } })
    expect(pod.containers[0].volumeMounts).toContainEqual({
      name: 'scripts',
      mountPath: '/etc/netvitals/scripts',
      readOnly: true,
    })
  })

  it('takes more of everything', () => {
    const resources = render(
      'extraEnv=[{"name":"A","value":"b"}]',
      'extraVolumes=[{"name":"v","emptyDir":{}}]',
      'extraVolumeMounts=[{"name":"v","mountPath":"/v"}]',
      'extraArgs=["--sources.off=proc-softnet"]',
      'podLabels.team=net',
      'podAnnotations.note=x',
      'imagePullSecrets=[{"name":"pull"}]',
      'fullnameOverride=vitals',
      `image.digest=sha256:${'0'.repeat(64)}`,
    )
    const { metadata, spec } = resources.get('DaemonSet').spec.template
    const [container] = spec.containers
    expect(resources.get('DaemonSet').metadata.name).toBe('vitals')
    expect(metadata).toMatchObject({ labels: { team: 'net' }, annotations: { note: 'x' } })
    expect(spec.imagePullSecrets).toEqual([{ name: 'pull' }])
    expect(spec.volumes).toContainEqual({ name: 'v', emptyDir: {} })
    expect(container.volumeMounts).toContainEqual({ name: 'v', mountPath: '/v' })
    expect(container.env).toContainEqual({ name: 'A', value: 'b' })
    expect(container.args.at(-1)).toBe('--sources.off=proc-softnet')
    expect(container.image).toBe(`netvitals@sha256:${'0'.repeat(64)}`)
  })

  it('helm test proves with all that proving takes, and no monitor takes its pod for an agent', () => {
    const resources = render()
    const { metadata, spec } = resources.get('Pod')
    expect(metadata.annotations['helm.sh/hook']).toBe('test')
    expect(readConfig(spec.containers[0].args, {})).toMatchObject({ command: 'prove' })
    expect(spec.containers[0].securityContext.capabilities.add.sort()).toEqual(['BPF', 'NET_ADMIN', 'PERFMON', 'SYS_ADMIN'])
    const { matchLabels } = resources.get('PodMonitor').spec.selector
    expect(metadata.labels).not.toMatchObject(matchLabels)
    expect(render('tests.enabled=false').has('Pod')).toBe(false)
  })

  it('runs where there is a Linux node to look at, beside whatever else', () => {
    const { nodeSelector, affinity, tolerations } = podOf(render())
    expect(nodeSelector).toEqual({ 'kubernetes.io/os': 'linux' })
    const [{ matchExpressions }] = affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms
    expect(matchExpressions).toContainEqual({ key: 'eks.amazonaws.com/compute-type', operator: 'NotIn', values: ['fargate'] })
    expect(tolerations).toEqual([{ operator: 'Exists' }])
  })

  it('the values of the examples are taken', () => {
    const examples = path.join(root, 'helm/examples')
    const stack = renderAll(`--values=${examples}/kube-prometheus-stack.yaml`)
    for (const kind of ['PodMonitor', 'PrometheusRule'])
      expect(stack.find((resource) => resource.kind === kind).metadata.labels.release).toBe('monitoring')
    const [dashboard] = stack.filter(({ kind }) => kind === 'ConfigMap')
    expect(dashboard.metadata).toMatchObject({ labels: { grafana_dashboard: '1' }, annotations: { grafana_folder: 'netvitals' } })
    const secure = new Map(renderAll(`--values=${examples}/tls.yaml`).map((resource) => [resource.kind, resource]))
    expect(secure.get('PodMonitor').spec.podMetricsEndpoints[0]).toMatchObject({
      scheme: 'https',
      authorization: { credentials: { name: 'netvitals-token' } },
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
      const { metadata } = render('prometheusRule.enabled=true', 'prometheusRule.labels.release=monitor').get('PrometheusRule')
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

  it('the job of a Prometheus without operator keeps the pods', () => {
    const { relabel_configs: rules } = parse(fs.readFileSync(path.join(root, 'helm/examples/prometheus.yaml'), 'utf8'))
      .scrape_configs[0]
    const { metadata, spec } = render().get('DaemonSet').spec.template
    expect(rules[0]).toMatchObject({
      action: 'keep',
      regex: `${metadata.labels['app.kubernetes.io/name']};${spec.containers[0].ports[0].name}`,
    })
  })

  it('every selector fits the pods', () => {
    const resources = render()
    const { template, selector } = resources.get('DaemonSet').spec
    expect(template.metadata.labels).toMatchObject(selector.matchLabels)
    expect(template.metadata.labels).toMatchObject(resources.get('Service').spec.selector)
  })
})
