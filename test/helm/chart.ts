import { execFile, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { parseAllDocuments } from 'yaml'

const root = path.resolve(import.meta.dirname, '../..')
export const chart = path.join(root, 'helm/netvitals')
const examples = path.join(root, 'helm/examples')

export interface Helm {
  readonly version: string
  readonly file: string
}
const versionOf = (file: string): string | undefined =>
  /v(\d+)\./.exec(spawnSync(file, ['version', '--short'], { encoding: 'utf8' }).stdout ?? '')?.[1]

/** A helm 3 and a helm 4, as far as there are any: those that make has built, or what is installed. */
export const helms: readonly Helm[] = ['3', '4'].flatMap((version) => {
  const files = ['.cache/helm', '.cache/helm4'].map((file) => path.join(root, file))
  const file = [...files, 'helm'].find((each) => versionOf(each) === version)
  return file === undefined ? [] : [{ version, file }]
})
for (const version of ['3', '4'])
  if (!helms.some((helm) => helm.version === version))
    console.warn(`SKIPPED, no helm ${version} (make test builds it where there is Go): the chart by helm ${version}`)

/** Without what a cluster knows and without values. Helm that was built by `go install` takes the cluster for an old one. */
export const template = ['template', 'nv', chart, '--namespace=monitoring', '--kube-version=1.34.0']
export const operator = '--api-versions=monitoring.coreos.com/v1'

/** Values as flags: lists, maps and null are as in JSON; what begins with -- is a flag already. */
export const toFlags = (values: readonly string[]): string[] =>
  values.map((one) => (one.startsWith('--') ? one : `${/([\]}]|=null)$/.test(one) ? '--set-json' : '--set'}=${one}`))

export interface Rendering {
  /** Of resources, or empty if helm refuses the values. */
  readonly yaml: string
  /** Why it refuses them. */
  readonly refusal: string
}

/** What helm makes of each set of values, or says to it, in a cluster with the Prometheus operator. */
export async function renderEach(helm: Helm, sets: readonly (readonly string[])[]): Promise<readonly Rendering[]> {
  const renderings: Rendering[] = []
  const rest = sets.entries()
  async function renderRest(): Promise<void> {
    for (const [index, values] of rest)
      renderings[index] = await new Promise((resolve) => {
        const flags = [...template, operator, ...toFlags(values)]
        execFile(helm.file, flags, { maxBuffer: 1 << 26 }, (error, yaml, refusal) =>
          resolve(error === null ? { yaml, refusal: '' } : { yaml: '', refusal }),
        )
      })
  }
  await Promise.all([renderRest(), renderRest()])
  return renderings
}

// biome-ignore lint/suspicious/noExplicitAny: what a test looks for is what it says of its type
export type Resource = any

export const resourcesOf = (yaml: string): readonly Resource[] =>
  parseAllDocuments(yaml).flatMap((document) => document.toJS() ?? [])

const schema = JSON.parse(fs.readFileSync(path.join(chart, 'values.schema.json'), 'utf8')).properties
const each = (value: string, choices: readonly string[], ...more: readonly string[]): [string, string[]][] =>
  choices.map((choice) => [`${value}=${choice}`, [`${value}=${choice}`, ...more]])
const tls = 'web.config={"tls_server_config":{"cert_file":"a","key_file":"b","client_auth_type":"RequireAndVerifyClientCert"}}'
const auth = '{"authorization":{"credentials":{"name":"t","key":"token"}},"tlsConfig":{"ca":{"secret":{"name":"t","key":"ca"}}}}'
const overrides = '{"NetvitalsTimeWait":{"enabled":false},"NetvitalsCloseWait":{"threshold":500,"for":"30m","severity":"page"}}'

/** Values that people give, by what they are: each has to be rendered, and taken by Kubernetes. */
export const valueSets: ReadonlyMap<string, readonly string[]> = new Map<string, readonly string[]>([
  ['the defaults', []],
  ...each('tier', schema.tier.enum),
  ...schema.identity.properties.pods.enum.flatMap((pods: string) =>
    each('identity.peers', schema.identity.properties.peers.enum, `identity.pods=${pods}`).map(
      ([name, values]) => [`identity.pods=${pods} ${name}`, values] as const,
    ),
  ),
  ...each(
    'monitor.kind',
    schema.monitor.properties.kind.enum,
    `monitor.auth=${auth}`,
    'monitor.interval=15s',
    'monitor.labels.release=m',
  ),
  ...['PodMonitor', 'ServiceMonitor'].map(
    (kind) =>
      [
        `relabelings of a ${kind}`,
        [
          `monitor.kind=${kind}`,
          'monitor.scrapeTimeout=5s',
          'monitor.relabelings=[{"targetLabel":"cluster","replacement":"east"}]',
          'monitor.metricRelabelings=[{"sourceLabels":["__name__"],"action":"drop","regex":"x"}]',
        ],
      ] as const,
  ),
  ...fs
    .readdirSync(examples)
    .filter((file) => file !== 'prometheus.yaml')
    .map((file) => [`the example ${file}`, [`--values=${path.join(examples, file)}`]] as const),
  ['a client certificate is asked for', [tls, 'web.secrets=["a","b"]']],
  ['passwords', ['web.config={"basic_auth_users":{"a":"$2y$10$x"}}']],
  ['one address', ['listenAddress=127.0.0.1', 'port=9999']],
  ['settings', ['config={"identity":{"networks":[{"name":"office","cidrs":["10.0.0.0/8"]}]}}']],
  ['scripts', ['scripts={"mine.bt":"BEGIN { }\\n"}', 'tier=full']],
  ['no ports to capture', ['capture.dnsPorts=[]']],
  ['ports to capture', ['capture.dnsPorts=[53,5353]', 'capture.httpPorts=[80]', 'tier=capture']],
  [
    'more of everything',
    [
      'extraEnv=[{"name":"A","value":"b"}]',
      'extraVolumes=[{"name":"v","emptyDir":{}}]',
      'extraVolumeMounts=[{"name":"v","mountPath":"/v"}]',
      'extraArgs=["--sources.off=proc-softnet"]',
      'podLabels.team=net',
      'podAnnotations.note=x',
      'imagePullSecrets=[{"name":"pull"}]',
      'service.annotations={"a":"b"}',
      'serviceAccount.annotations={"eks.amazonaws.com/role-arn":"arn:aws:iam::1:role/x"}',
      'priorityClassName=',
    ],
  ],
  ['another name', ['fullnameOverride=vitals', 'dashboards.enabled=true', 'prometheusRule.enabled=true']],
  ['an image by digest', [`image.digest=sha256:${'0'.repeat(64)}`, 'image.pullPolicy=Always']],
  ['no service account', ['serviceAccount.create=false', 'serviceAccount.name=mine', 'rbac.create=false']],
  ['no test', ['tests.enabled=false']],
  ['dashboards', ['dashboards.enabled=true', 'dashboards.multiCluster=true', 'dashboards.namespace=grafana']],
  ['alerts', ['prometheusRule.enabled=true', 'prometheusRule.labels.release=m']],
  ['other alerts', ['prometheusRule.enabled=true', `prometheusRule.alerts=${overrides}`]],
  ['updates by hand', ['updateStrategy={"type":"OnDelete","rollingUpdate":null}']],
  ['updates of a tenth', ['updateStrategy.rollingUpdate.maxUnavailable=10%']],
  ['other resources', ['resources={"requests":{"cpu":0.1,"memory":"1Gi"},"limits":{"memory":2147483648}}']],
  ['other nodes', ['nodeSelector={"kubernetes.io/os":null,"pool":"a"}', 'tolerations=[]', 'affinity=null']],
  ['part of another chart', ['global.imageRegistry=x']],
])
