import { execFileSync } from 'node:child_process'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  agentNamespace,
  createNamespace,
  createWorkload,
  expectChanges,
  expose,
  faultsContainer,
  installAgent,
  kubectl,
  type Line,
  type Pod,
  readMetrics,
  remove,
  removeAgent,
  runningPod,
  type Values,
  waitForWay,
} from './cluster.ts'

const namespace = 'nvh-dns'
const webPort = 8080

/** Of each path its status; /silent is not answered, /long in many chunks. */
const webProgram = `
  const statuses = { '/': 200, '/missing': 404, '/broken': 500, '/long': 200 }
  require('node:http').createServer((request, response) => {
    const status = statuses[request.url]
    if (status === undefined) return request.socket.destroy()
    response.writeHead(status, { 'x-long': 'x'.repeat(request.url === '/long' ? 6000 : 10) })
    if (request.url === '/long') for (let i = 0; i < 200; i++) response.write('x'.repeat(1000 + i))
    response.end('x'.repeat(5000))
  }).listen(${webPort})`

/** Asks so many times, waits for each answer, sends nothing twice, and prints how often it was told what. */
const resolveProgram = `
  const { server, type, name, count, timeoutMs } = JSON.parse(process.argv[1])
  const resolver = new (require('node:dns').promises.Resolver)({ tries: 1, timeout: timeoutMs })
  resolver.setServers([server])
  ;(async () => {
    const told = {}
    for (let i = 0; i < count; i++) {
      const what = await resolver.resolve(name, type).then(() => 'answered', ({ code }) => code)
      told[what] = (told[what] ?? 0) + 1
    }
    console.log(JSON.stringify(told))
  })()`

/** Asks getaddrinfo for a name so many times, and prints the addresses. */
const lookUpProgram = `
  const [name, times] = process.argv.slice(1)
  ;(async () => {
    const found = new Set()
    for (let i = 0; i < times; i++) {
      const addresses = await require('node:dns').promises.lookup(name, { all: true }).catch(() => [])
      for (const { address } of addresses) found.add(address)
    }
    console.log([...found].join(' '))
  })()`

/** So many requests for each URL, by one connection for all or by one for each, and prints how often it was told what. */
const requestProgram = `
  const { urls, method, count, keepAlive, headers } = JSON.parse(process.argv[1])
  const http = require('node:http')
  const agent = new http.Agent({ keepAlive, maxSockets: 1 })
  const ask = (url) => new Promise((resolve) => {
    const request = http.request(url, { agent, method, headers }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode))
    })
    request.on('error', ({ code }) => resolve(code)).end()
  })
  ;(async () => {
    const told = {}
    for (let i = 0; i < count; i++)
      for (const url of urls) {
        const what = await ask(url)
        told[what] = (told[what] ?? 0) + 1
      }
    console.log(JSON.stringify(told))
    agent.destroy()
  })()`

/** Prints the status of the container's process that captures. */
const findProgram = `
  const fs = require('node:fs')
  const read = (pid, file) => {
    try {
      return fs.readFileSync('/proc/' + pid + '/' + file, 'utf8')
    } catch {}
  }
  const isIt = (pid) =>
    read(pid, 'cgroup') === read('self', 'cgroup') && read(pid, 'cmdline')?.includes('/capture-process.js')
  console.log(fs.readdirSync('/proc').filter(isIt).map((pid) => read(pid, 'status')).join(''))`

interface Question {
  readonly type: string
  readonly name: string
  readonly count: number
}

describe('DNS and HTTP', () => {
  let client: Pod
  let web: Pod
  let wget: Pod
  let ofHost: Pod
  let coredns: Pod
  let nameServer: string
  let webService: string

  beforeAll(async () => {
    createNamespace(namespace)
    createWorkload(namespace, 'Deployment', 'client')
    createWorkload(namespace, 'Deployment', 'web', {
      containers: [{ ...faultsContainer, command: ['node', '-e', webProgram], readinessProbe: { tcpSocket: { port: webPort } } }],
    })
    const busybox = { name: 'busybox', image: 'docker.io/local/busybox:1', command: ['sleep', 'infinity'] }
    createWorkload(namespace, 'Pod', 'wget', { containers: [busybox] })
    createWorkload(namespace, 'Pod', 'of-host', { hostNetwork: true, dnsPolicy: 'ClusterFirstWithHostNet' })
    client = await runningPod(namespace, 'client')
    web = await runningPod(namespace, 'web')
    wget = await runningPod(namespace, 'wget')
    ofHost = await runningPod(namespace, 'of-host')
    coredns = await findNameServer()
    nameServer = kubectl('-n', 'kube-system', 'get', 'service', 'kube-dns', '-o', 'jsonpath={.spec.clusterIP}')
    webService = await expose('web', 'app=web', webPort, [web])
    installAgent({ tier: 'capture', 'capture.httpPorts': [80, webPort] })
  })
  afterAll(() => {
    remove('namespace', namespace)
    removeAgent()
  })

  const findNameServer = async (): Promise<Pod> => {
    const jsonpath = 'jsonpath={.items[0].metadata.name} {.items[0].status.podIP}'
    const running = ['-l', 'k8s-app=kube-dns', '--field-selector=status.phase=Running']
    const [name = '', ip = ''] = kubectl('-n', 'kube-system', 'get', 'pods', ...running, '-o', jsonpath).split(' ')
    return { ...client, namespace: 'kube-system', name, ip }
  }

  /** The machine asks and is asked of its own accord; not so with these words. */
  const isHostsOwn = ({ metric, labels }: Line): boolean =>
    !/qtype="SRV"|method="DELETE"/.test(labels) && metric !== 'dns_served_total'

  /** What is counted of DNS and HTTP, of every pod there is, and of answers that are nobody's; of times how many. */
  async function readCounts(): Promise<Values> {
    const lines = (await readMetrics()).filter(
      (line) =>
        /^(dns|http)_/.test(line.metric) &&
        !/_seconds_(bucket|sum)$/.test(line.metric) &&
        (line.pod !== undefined || /^dns_(unmatched_responses|malformed)_total$/.test(line.metric)) &&
        !(line.pod === '' && isHostsOwn(line)),
    )
    const names = Object.entries({ client, web, wget, coredns }).map(([app, { name }]) => [name, app] as const)
    const nameOf = ({ pod = 'node', namespace: of = '' }: Line): string =>
      new Map(names).get(pod) ?? (pod === '' ? 'host' : `${of}/${pod}`)
    return Object.fromEntries(lines.map((line) => [`${nameOf(line)} ${line.metric} ${line.labels}`.trim(), line.value]))
  }

  function resolve(from: Pod, { type, name, count }: Question, timeoutMs = 5000): Values {
    const question = { server: nameServer, type, name, count, timeoutMs }
    return JSON.parse(from.exec('node', '-e', resolveProgram, JSON.stringify(question)))
  }

  const request = (from: Pod, what: object): Values =>
    JSON.parse(from.exec('node', '-e', requestProgram, JSON.stringify({ method: 'GET', keepAlive: false, headers: {}, ...what })))

  /** By getaddrinfo, with these RES_OPTIONS of the resolver. Returns the addresses. */
  const lookUp = (name: string, times: number, options = ''): string =>
    client.exec('env', `RES_OPTIONS=${options}`, 'node', '-e', lookUpProgram, name, String(times)).trim()

  /** Each answered, of which the client was told so much, and CoreDNS sent it. */
  const answers = (of: string, rcode: string, count: number): Values => ({
    [`${of} dns_responses_total rcode="${rcode}"`]: count,
    [`coredns dns_served_total rcode="${rcode}"`]: count,
  })

  it('a name that is complete, by getaddrinfo', async () => {
    await expectChanges(readCounts, async () => {
      expect(lookUp(`web.${namespace}.svc.cluster.local.`, 10)).toContain(webService)
      return {
        'client dns_queries_total qtype="A"': 10,
        'client dns_queries_total qtype="AAAA"': 10,
        'client dns_response_addresses_total': 10,
        'client dns_duration_seconds_count': 20,
        ...answers('client', 'NOERROR', 20),
      }
    })
  })

  it('a name of the cluster that is tried with every suffix before it is taken as it is', async () => {
    const config = client.exec('node', '-p', 'fs.readFileSync("/etc/resolv.conf", "utf8")')
    const suffixes = /^search (.*)$/m.exec(config)![1]!.split(' ').length
    expect(config).toMatch(/^options ndots:5$/m)
    await expectChanges(readCounts, async () => {
      expect(lookUp(`web.${namespace}.svc.cluster.local`, 5)).toContain(webService)
      return {
        'client dns_queries_total qtype="A"': 5 * (suffixes + 1),
        'client dns_queries_total qtype="AAAA"': 5 * (suffixes + 1),
        'client dns_response_addresses_total': 5,
        'client dns_search_failures_total': 10 * suffixes,
        'client dns_duration_seconds_count': 10 * (suffixes + 1),
        ...answers('client', 'NOERROR', 10),
        ...answers('client', 'NXDOMAIN', 10 * suffixes),
      }
    })
  })

  it('names that are none', async () => {
    await expectChanges(readCounts, async () => {
      expect(lookUp('nothing.example.', 7)).toBe('')
      return {
        'client dns_queries_total qtype="A"': 7,
        'client dns_queries_total qtype="AAAA"': 7,
        'client dns_duration_seconds_count': 14,
        ...answers('client', 'NXDOMAIN', 14),
      }
    })
  })

  it('over TCP', async () => {
    await expectChanges(readCounts, async () => {
      expect(lookUp(`web.${namespace}.svc.cluster.local.`, 6, 'use-vc')).toContain(webService)
      return {
        'client dns_queries_total qtype="A"': 6,
        'client dns_queries_total qtype="AAAA"': 6,
        'client dns_response_addresses_total': 6,
        'client dns_duration_seconds_count': 12,
        ...answers('client', 'NOERROR', 12),
      }
    })
  })

  it('from the network of the host', async () => {
    await expectChanges(readCounts, async () => {
      const question = { type: 'SRV', name: `_http._tcp.nothing.${namespace}.svc.cluster.local`, count: 9 }
      expect(resolve(ofHost, question)).toEqual({ ENOTFOUND: 9 })
      return { 'host dns_queries_total qtype="SRV"': 9, 'coredns dns_served_total rcode="NXDOMAIN"': 9 }
    })
  })

  it('queries that a rule drops', async () => {
    const rule = ['FORWARD', '-s', client.ip, '-p', 'udp', '--dport', '53', '-j', 'DROP']
    const iptables = (...parameters: readonly string[]): unknown => execFileSync('iptables', ['-w', ...parameters])
    await expectChanges(readCounts, async () => {
      iptables('-I', ...rule)
      try {
        const question = { type: 'SRV', name: `nothing.${namespace}.svc.cluster.local`, count: 6 }
        expect(resolve(client, question, 300)).toEqual({ ETIMEOUT: 6 })
      } finally {
        iptables('-D', ...rule)
      }
      return { 'client dns_queries_total qtype="SRV"': 6, 'client dns_unanswered_total': 6 }
    })
  })

  it('HTTP through a Service, a connection for each request', async () => {
    await expectChanges(readCounts, async () => {
      const urls = ['/', '/missing', '/broken'].map((path) => `http://${webService}${path}`)
      expect(request(client, { urls, count: 5 })).toEqual({ 200: 5, 404: 5, 500: 5 })
      return byBoth('client', 'GET', { 200: 5, 404: 5, 500: 5 })
    })
  })

  it('HTTP through a Service, all requests by one connection', async () => {
    await expectChanges(readCounts, async () => {
      const urls = ['/', '/missing'].map((path) => `http://${webService}${path}`)
      expect(request(client, { urls, method: 'DELETE', count: 20, keepAlive: true })).toEqual({ 200: 20, 404: 20 })
      return byBoth('client', 'DELETE', { 200: 20, 404: 20 })
    })
  })

  it('HTTP with heads and answers of which only the first bytes of each packet are captured', async () => {
    await expectChanges(readCounts, async () => {
      const urls = ['/', '/long', '/missing'].map((path) => `http://${webService}${path}`)
      const asked = { urls, count: 6, keepAlive: true, headers: { cookie: 'c'.repeat(6000) } }
      expect(request(client, asked)).toEqual({ 200: 12, 404: 6 })
      return byBoth('client', 'GET', { 200: 12, 404: 6 })
    })
  })

  it('HTTP from pod to pod, and requests that are not answered', async () => {
    await expectChanges(readCounts, async () => {
      const urls = ['/', '/silent'].map((path) => `http://${web.ip}:${webPort}${path}`)
      expect(request(client, { urls, count: 4 })).toEqual({ 200: 4, ECONNRESET: 4 })
      return {
        ...byBoth('client', 'GET', { 200: 4 }),
        'client http_unanswered_total direction="out"': 4,
        'web http_unanswered_total direction="in"': 4,
      }
    })
  })

  it('HTTP from the network of the host', async () => {
    await expectChanges(readCounts, async () => {
      const urls = [`http://${webService}/`]
      expect(request(ofHost, { urls, method: 'DELETE', count: 3 })).toEqual({ 200: 3 })
      const { 'host http_duration_seconds_count direction="out"': _, ...changes } = byBoth('host', 'DELETE', { 200: 3 })
      return changes
    })
  })

  it('HTTP of a pod with itself, through its Service', async () => {
    await expectChanges(readCounts, async () => {
      expect(request(web, { urls: [`http://${webService}/`], count: 4 })).toEqual({ 200: 4 })
      return byBoth('web', 'GET', { 200: 4 })
    })
  })

  it("busybox's wget and nslookup", async () => {
    await expectChanges(readCounts, async () => {
      const loop = `for i in 1 2 3 4 5; do wget -q -O /dev/null http://${webService}/; wget -q -O /dev/null http://${webService}/missing; done; true`
      wget.exec('sh', '-c', loop)
      expect(wget.exec('nslookup', `web.${namespace}.svc.cluster.local.`)).toContain(webService)
      return {
        ...byBoth('wget', 'GET', { 200: 5, 404: 5 }),
        'wget dns_queries_total qtype="A"': 1,
        'wget dns_queries_total qtype="AAAA"': 1,
        'wget dns_response_addresses_total': 1,
        'wget dns_duration_seconds_count': 2,
        ...answers('wget', 'NOERROR', 2),
      }
    })
  })

  /** What is counted of these requests, answered with these statuses. */
  const byBoth = (from: string, method: string, statuses: Values): Values =>
    Object.fromEntries(
      [[from, 'out'] as const, ['web', 'in'] as const].flatMap(([of, direction]) => [
        ...Object.entries(statuses).map(
          ([status, count]) =>
            [`${of} http_requests_total method="${method}",status="${status}",direction="${direction}"`, count] as const,
        ),
        [
          `${of} http_duration_seconds_count direction="${direction}"`,
          Object.values(statuses).reduce((sum, count) => sum + count),
        ] as const,
      ]),
    )

  it('the process that captures can do nothing but that', () => {
    const inAgent = ['-n', agentNamespace, 'exec', 'daemonset/netvitals', '--', 'node', '-e', findProgram]
    const status = kubectl(...inAgent)
    for (const set of ['CapEff', 'CapPrm', 'CapInh', 'CapAmb']) expect(status).toContain(`${set}:\t0000000000000000`)
    expect(status).toMatch(/^NoNewPrivs:\t1$/m)
    expect(status).toMatch(/^Seccomp:\t2$/m)
  })

  it('every row has a pod that pod_info knows', async () => {
    const lines = await readMetrics()
    const infoOf = ({ namespace: of, pod }: Line): string | undefined =>
      lines.find((line) => line.metric === 'pod_info' && line.namespace === of && line.pod === pod)?.labels
    const counted = lines.filter(({ metric, pod }) => /^(dns|http)_/.test(metric) && pod)
    expect(counted.filter((line) => infoOf(line) === undefined)).toEqual([])
    const workloads = new Set(counted.map((line) => /workload="([^"]*)"/.exec(infoOf(line)!)![1]))
    expect([...workloads].sort()).toEqual(['client', 'coredns', 'web', 'wget'])
  })

  it('nobody is there to answer, then another', async () => {
    const scale = (replicas: number): string =>
      kubectl('-n', 'kube-system', 'scale', 'deployment/coredns', `--replicas=${replicas}`)
    const question = { type: 'SRV', name: `nothing.${namespace}.svc.cluster.local`, count: 6 }
    try {
      scale(0)
      kubectl('-n', 'kube-system', 'wait', '--for=delete', `pod/${coredns.name}`, '--timeout=60s')
      await expectChanges(readCounts, async () => {
        const { answered = 0, ...failed } = resolve(client, question, 300)
        expect([answered, Object.values(failed)]).toEqual([0, [6]])
        return { 'client dns_queries_total qtype="SRV"': 6, 'client dns_unanswered_total': 6 }
      })
    } finally {
      scale(1)
      kubectl('-n', 'kube-system', 'rollout', 'status', 'deployment/coredns', '--timeout=60s')
    }
    coredns = await findNameServer()
    await waitForWay(coredns, 53)
    await expectChanges(readCounts, async () => {
      expect(resolve(client, question)).toEqual({ ENOTFOUND: 6 })
      return {
        'client dns_queries_total qtype="SRV"': 6,
        'client dns_duration_seconds_count': 6,
        ...answers('client', 'NXDOMAIN', 6),
      }
    })
  })
})
