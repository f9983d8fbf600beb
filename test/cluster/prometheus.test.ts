import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import https from 'node:https'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type parse, parseAllDocuments } from 'yaml'
import {
  agentNamespace,
  agentPod,
  apply,
  createPods,
  droppedLabels,
  expectUninstalled,
  kubectl,
  type Pod,
  podField,
  remove,
  removeAgent,
  root,
  runningPod,
  sendToNobody,
  upgrade,
} from './cluster.ts'

const namespace = 'nvh-prometheus'
const monitoring = 'nvh-monitoring'
const chart = 'helm/netvitals'
const example = (name: string): string => path.join(root, 'helm/examples', `${name}.yaml`)

/** What run.mjs has built, where there is Go: the operator's manifest, and images. */
const operator: { manifest: string; images: { repository: string; tag: string }[] } | undefined =
  JSON.parse(process.env.OPERATOR || 'null') ?? undefined
/** By the program in it. */
const image = (program: string): string => {
  const { repository, tag } = operator!.images.find((one) => one.repository.endsWith(`/${program}`))!
  return `${repository}:${tag}`
}
if (operator === undefined) console.warn('SKIPPED, no Go to build them with: Prometheus and its operator in the cluster')

type Resource = ReturnType<typeof parse>

interface Series {
  readonly metric: Readonly<Record<string, string>>
  readonly value: readonly [timestamp: number, value: string]
}

/** A Prometheus in a pod. */
class Prometheus {
  readonly #url: string
  constructor(ip: string) {
    this.#url = `http://${ip}:9090/api/v1`
  }
  async ask<Data>(what: string): Promise<Data> {
    const answer = (await (await fetch(`${this.#url}/${what}`)).json()) as { data: Data }
    return answer.data
  }
  async query(expression: string): Promise<readonly Series[]> {
    const { result } = await this.ask<{ result: Series[] }>(`query?query=${encodeURIComponent(expression)}`)
    return result
  }
}

describe.runIf(operator !== undefined)('Prometheus', () => {
  let a: Pod
  let b: Pod

  const manifest = (): readonly Resource[] => {
    const documents = parseAllDocuments(fs.readFileSync(operator!.manifest, 'utf8')).flatMap((document) => document.toJS() ?? [])
    for (const { kind, spec } of documents) {
      if (kind !== 'Deployment') continue
      const [container] = spec.template.spec.containers
      container.image = image('prometheus-operator')
      container.args.push(`--prometheus-config-reloader=${image('prometheus-config-reloader')}`)
    }
    return documents
  }

  /** With the rights that a Prometheus has to have to find pods. */
  const account = [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: monitoring } },
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'prometheus', namespace: monitoring } },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: { name: monitoring },
      rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['get', 'list', 'watch'] }],
    },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: monitoring },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: monitoring },
      subjects: [{ kind: 'ServiceAccount', name: 'prometheus', namespace: monitoring }],
    },
  ]

  beforeAll(async () => {
    removeAgent()
    ;({ a, b } = await createPods(namespace, { a: 'Deployment', b: 'Deployment' }))
    upgrade()
    apply(account)
  })
  afterAll(() => {
    removeAgent()
    remove('namespace', namespace)
    remove('namespace', monitoring)
    remove('clusterrole,clusterrolebinding', monitoring)
    const file = path.join(os.tmpdir(), 'nvh-operator.json')
    fs.writeFileSync(file, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: manifest() }))
    remove('-f', file)
    fs.rmSync(file)
  })

  /** What it scrapes of this pod's drops: the one series, whose labels are these, and how much it grows by. */
  async function expectScraped(prometheus: Prometheus, count: number): Promise<void> {
    const selector = `netvitals_dropped_packets_total{pod="${b.name}",protocol="udp",reason="no_socket"}`
    const read = async (): Promise<number> => Number((await prometheus.query(selector))[0]?.value[1] ?? 0)
    const startSeconds = Date.now() / 1000
    const isScraped = `up{job="netvitals"} == 1 and timestamp(up) > ${startSeconds}`
    await expect.poll(() => prometheus.query(isScraped), { timeout: 180_000, interval: 1000 }).toHaveLength(1)
    const valueBefore = await read()
    await sendToNobody(a, b, count)
    await expect.poll(read, { timeout: 60_000, interval: 1000 }).toBe(valueBefore + count)
    const series = await prometheus.query(selector)
    expect(series.map(({ metric }) => metric)).toEqual([
      {
        __name__: 'netvitals_dropped_packets_total',
        job: 'netvitals',
        node: kubectl('get', 'nodes', '-o', 'jsonpath={.items[0].metadata.name}'),
        instance: `${agentPod().ip}:10477`,
        namespace,
        pod: b.name,
        ...droppedLabels,
      },
    ])
  }

  it('a stock one scrapes by the job of the README', async () => {
    const config = `global: { scrape_interval: 2s }\n${fs.readFileSync(example('prometheus'), 'utf8')}`
    const metadata = { name: 'stock', namespace: monitoring, labels: { app: 'stock' } }
    apply([{ apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { 'prometheus.yml': config } }])
    const args = ['--config.file=/config/prometheus.yml', '--storage.tsdb.path=/data']
    const volumes = [
      { name: 'config', configMap: { name: 'stock' } },
      { name: 'data', emptyDir: {} },
    ]
    const volumeMounts = volumes.map(({ name }) => ({ name, mountPath: `/${name}` }))
    const container = { name: 'prometheus', image: image('prometheus'), args, volumeMounts }
    const securityContext = { runAsUser: 65_534, fsGroup: 65_534 }
    const spec = { serviceAccountName: 'prometheus', securityContext, containers: [container], volumes }
    apply([{ apiVersion: 'v1', kind: 'Pod', metadata, spec }])
    const { ip } = await runningPod(monitoring, 'stock')
    await expectScraped(new Prometheus(ip), 21)
  })

  describe('of an operator', () => {
    let prometheus: Prometheus

    beforeAll(async () => {
      const documents = manifest()
      apply(documents, '--server-side')
      for (const { metadata, kind } of documents)
        if (kind === 'CustomResourceDefinition') kubectl('wait', '--for=condition=Established', `crd/${metadata.name}`)
      // As kube-prometheus-stack makes one whose release is `monitoring`.
      const matchLabels = { release: 'monitoring' }
      const spec = {
        image: image('prometheus'),
        version: 'v3.5.0',
        serviceAccountName: 'prometheus',
        securityContext: { runAsUser: 65_534, fsGroup: 65_534 },
        scrapeInterval: '2s',
        evaluationInterval: '2s',
        podMetadata: { labels: { app: 'stack' } },
        podMonitorSelector: { matchLabels },
        podMonitorNamespaceSelector: {},
        serviceMonitorSelector: { matchLabels },
        serviceMonitorNamespaceSelector: {},
        ruleSelector: { matchLabels },
        ruleNamespaceSelector: {},
      }
      const metadata = { name: 'stack', namespace: monitoring }
      apply([{ apiVersion: 'monitoring.coreos.com/v1', kind: 'Prometheus', metadata, spec }])
      upgrade('--values', example('kube-prometheus-stack'))
      await podField(monitoring, 'stack', '.status.podIP')
      prometheus = new Prometheus((await runningPod(monitoring, 'stack')).ip)
    }, 240_000)

    it('scrapes by the PodMonitor that comes with the next upgrade', async () => {
      await expectScraped(prometheus, 31)
    })

    it('has the alerts, and the dashboards are there for the sidecar', async () => {
      const readHealth = async (): Promise<readonly string[]> => {
        const { groups } = await prometheus.ask<{ groups: { rules: { health: string }[] }[] }>('rules?type=alert')
        return groups.flatMap(({ rules }) => rules.map(({ health }) => health))
      }
      const folder = path.join(root, chart)
      const rules = fs.readdirSync(`${folder}/rules`).map((file) => fs.readFileSync(`${folder}/rules/${file}`, 'utf8'))
      const alerts = rules.join('').match(/ alert: /g)!
      await expect.poll(readHealth, { timeout: 60_000, interval: 1000 }).toEqual(alerts.map(() => 'ok'))
      const names = 'jsonpath={.items[*].metadata.name}'
      const boards = kubectl('get', 'configmaps', '-A', '-l', 'grafana_dashboard=1', '-o', names)
      expect(boards.split(' ')).toHaveLength(fs.readdirSync(`${folder}/dashboards`).length)
    })

    it('scrapes by the ServiceMonitor in its place', async () => {
      upgrade('--values', example('kube-prometheus-stack'), '--set=monitor.kind=ServiceMonitor')
      expect(kubectl('get', 'podmonitors', '-A', '-o', 'name')).toBe('')
      await expectScraped(prometheus, 32)
    })

    // It takes the kubelet a minute or two to bring what has changed in a Secret to who reads it.
    describe('with TLS', { timeout: 400_000 }, () => {
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'nvh-tls-'))
      const read = (file: string): string => fs.readFileSync(path.join(folder, file), 'utf8')
      const values = ['--values', example('kube-prometheus-stack'), '--values', example('tls')]
      const openssl = (...parameters: readonly string[]): unknown =>
        execFileSync('openssl', parameters, { cwd: folder, stdio: 'pipe' })
      const setToken = (token: string): string =>
        apply([
          {
            apiVersion: 'v1',
            kind: 'Secret',
            metadata: { name: 'netvitals-token', namespace: agentNamespace },
            stringData: { token },
          },
        ])
      beforeAll(() => {
        const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
        openssl('req', '-x509', ...key, '-subj', '/CN=nvh', '-keyout', 'ca.key', '-out', 'ca.crt', '-days', '2')
        openssl('req', ...key, '-subj', '/CN=netvitals', '-keyout', 'tls.key', '-out', 'tls.csr')
        fs.writeFileSync(`${folder}/names`, 'subjectAltName=DNS:netvitals\n')
        const sign = ['-req', '-in', 'tls.csr', '-CA', 'ca.crt', '-CAkey', 'ca.key', '-set_serial', '1', '-days', '2']
        openssl('x509', ...sign, '-extfile', 'names', '-out', 'tls.crt')
        const stringData = Object.fromEntries(['ca.crt', 'tls.crt', 'tls.key'].map((file) => [file, read(file)]))
        const metadata = { name: 'netvitals-tls', namespace: agentNamespace }
        apply([{ apiVersion: 'v1', kind: 'Secret', type: 'kubernetes.io/tls', metadata, stringData }])
        setToken('first')
        upgrade(...values)
      })
      afterAll(() => {
        fs.rmSync(folder, { recursive: true })
      })

      /** The status of the answer, or why there is none. */
      const ask = (url: string, token?: string, certificate = {}): Promise<number | string | undefined> =>
        new Promise((resolve) => {
          const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
          const options = { ca: read('ca.crt'), servername: 'netvitals', headers, agent: false, ...certificate }
          const request = https.get(`https://127.0.0.1:10477${url}`, options, (answer) => {
            answer.resume()
            resolve(answer.statusCode)
          })
          request.on('error', ({ code }: NodeJS.ErrnoException) => resolve(code))
        })

      it('the kubelet finds the agent ready, who shows a token gets all, others nothing', async () => {
        expect(await ask('/readyz')).toBe(200)
        expect([await ask('/metrics'), await ask('/', 'second')]).toEqual([401, 401])
        expect([await ask('/metrics', 'first'), await ask('/', 'first')]).toEqual([200, 200])
        await expectScraped(prometheus, 33)
      })

      it('another token is taken without a new start', async () => {
        const { restarts, uid } = agentPod()
        setToken('second')
        await expect.poll(() => ask('/metrics', 'second'), { timeout: 150_000, interval: 2000 }).toBe(200)
        expect(await ask('/metrics', 'first')).toBe(401)
        expect(agentPod()).toMatchObject({ restarts, uid })
        await expectScraped(prometheus, 34)
      })

      it('with client certificates the kubelet still finds it ready, and Prometheus shows its own', async () => {
        const secret = (key: string) => ({ secret: { name: 'netvitals-tls', key } })
        const tlsConfig = { cert: secret('tls.crt'), keySecret: { name: 'netvitals-tls', key: 'tls.key' } }
        upgrade(
          ...values,
          '--set=web.config.tls_server_config.client_auth_type=RequireAndVerifyClientCert',
          ...Object.entries(tlsConfig).map(
            ([name, value]) => `--set-json=monitor.auth.tlsConfig.${name}=${JSON.stringify(value)}`,
          ),
        )
        expect(await ask('/metrics', 'second')).toMatch(/^E/)
        expect(await ask('/metrics', 'second', { cert: read('tls.crt'), key: read('tls.key') })).toBe(200)
        await expectScraped(prometheus, 35)
      })
    })

    it('uninstalling leaves nothing', async () => {
      remove('-n', agentNamespace, 'secret', 'netvitals-tls', 'netvitals-token')
      await expectUninstalled()
    })
  })
})
