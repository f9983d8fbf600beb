import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Holder, Namespace } from '../truth/topology.ts'
import type { Scene } from './scene.ts'

/** Causes every fault that dashboards show and alerts tell of. Returns those that could not be caused, in words. */
export async function misbehave(
  { topology: { a, b, exec, hold, run }, host, traffic }: Scene,
  lonely: Namespace,
): Promise<string[]> {
  const failures: string[] = []
  const to = b.ipv4
  const firewall = (namespace: Namespace, ...rule: string[]): string => exec(namespace, 'iptables', '-w', ...rule)
  const drop = (namespace: Namespace, chain: string, ...match: string[]): string =>
    firewall(namespace, '-A', chain, ...match, '-j', 'DROP')
  const send = (from: Namespace, address: string, port: number, count: number, options: object = {}): Promise<unknown> =>
    run(from, 'udp-send', { address, port, count, ...options })
  const connect = (port: number, count: number, options: object = {}): Promise<Holder> =>
    hold(a, 'tcp-connect', { address: to, port, count, ...options })
  const listen = (port: number, options: object = {}): Promise<Holder> => hold(b, 'tcp-listen', { address: to, port, ...options })

  async function trackConnections(): Promise<void> {
    for (const namespace of [host, b])
      firewall(namespace, '-A', namespace === host ? 'FORWARD' : 'INPUT', '-m', 'conntrack', '--ctstate', 'INVALID', '-j', 'DROP')
    for (const namespace of [host, b]) exec(namespace, 'sysctl', '-qw', 'net.netfilter.nf_conntrack_tcp_loose=0')
    exec(host, 'sysctl', '-qw', 'net.netfilter.nf_conntrack_udp_timeout=300')
    await send(a, to, 9000, 100, { ports: 100 })
    // A segment out of nowhere, to a pod that tracks connections too.
    const addresses = [a.ipv4, b.ipv4].flatMap((address) => address.split('.').map(Number))
    const ip = [0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, ...addresses]
    const tcp = [0x9c, 0x40, 0x13, 0x89, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]
    for (const from of [a, host])
      await run(from, 'raw-send', { address: to, hex: Buffer.from([...ip, ...tcp]).toString('hex'), count: 25 })
  }

  async function dropPackets(): Promise<void> {
    drop(host, 'FORWARD', '-p', 'udp', '--dport', '7001')
    drop(b, 'INPUT', '-p', 'udp', '--dport', '7002')
    drop(a, 'OUTPUT', '-p', 'udp', '--dport', '7003')
    drop(host, 'INPUT', '-p', 'udp', '--dport', '7004')
    for (const port of [7001, 7002, 7003]) await send(a, to, port, 2000)
    await send(a, host.ipv4, 7004, 50)
    await send(a, to, 7009, 100) // nobody listens
    const reader = await hold(b, 'udp-listen', { address: to, port: 7010, receiveBufferBytes: 2000 })
    await send(a, to, 7010, 2000)
    await reader.stop()
    await send(a, to, 7009, 10, { ttl: 1 })
    await send(a, '198.51.100.1', 7005, 1000) // the node has no way there
    exec(host, 'ip', 'route', 'add', 'blackhole', '203.0.113.0/24')
    await send(host, '203.0.113.1', 7005, 50)
    exec(host, 'ip', 'link', 'add', 'uplink', 'type', 'bridge')
    exec(host, 'ip', 'link', 'add', 'near', 'type', 'veth', 'peer', 'name', 'far')
    exec(host, 'ip', 'link', 'set', 'near', 'master', 'uplink')
    exec(host, 'ip', 'address', 'add', '192.0.2.1/24', 'dev', 'uplink')
    for (const end of ['uplink', 'near', 'far']) exec(host, 'ip', 'link', 'set', end, 'up')
    exec(host, 'ip', 'neighbour', 'add', '192.0.2.2', 'lladdr', '02:00:00:00:00:02', 'dev', 'uplink')
    exec(host, 'tc', 'qdisc', 'add', 'dev', 'uplink', 'root', 'tbf', 'rate', '100kbit', 'burst', '3000', 'limit', '5000')
    await send(host, '192.0.2.2', 9, 2000, { bytes: 100 })
    await send(lonely, '127.0.0.1', 9, 20)
    await send(host, `${host.ipv4.slice(0, host.ipv4.lastIndexOf('.'))}.99`, 9, 3) // no such neighbour
  }

  async function failConnects(): Promise<void> {
    await connect(5009, 100) // refused
    drop(b, 'INPUT', '-p', 'tcp', '--dport', '5008')
    const unanswered = await connect(5008, 60, { wait: false, synRetries: 1 })
    await connect(5008, 250, { wait: false, synRetries: 6 }) // SYN_SENT for a minute
    const given = await connect(5008, 60, { wait: false })
    await given.act('close') // abandoned
    drop(a, 'INPUT', '-p', 'tcp', '--sport', '5015')
    await listen(5015)
    await connect(5015, 600, { wait: false, synRetries: 6 }) // SYN_RECV there
    await sleep(4000)
    await unanswered.stop()
  }

  async function leak(): Promise<void> {
    const server = await listen(5016)
    const client = await connect(5016, 600)
    await server.act('accept', { count: 600 })
    await client.act('shutdown') // FIN_WAIT2 here, CLOSE_WAIT there
    const serve = await hold(b, 'tcp-serve', { address: to, port: 5017 })
    const served = serve.act('serve', { count: 11_000, bytes: 1000 })
    await run(host, 'tcp-exchange', { address: to, port: 5017, count: 11_000, bytes: 1000, resetEvery: 50 })
    await served
    const resetting = await listen(5018)
    await connect(5018, 600)
    await resetting.act('accept', { count: 600 })
    await resetting.act('reset')
    const unread = await listen(5019)
    const writer = await connect(5019, 10)
    await unread.act('accept', { count: 10 })
    await writer.act('send', { bytes: 500 })
    await unread.act('close') // with bytes unread
  }

  async function loseSegments(): Promise<void> {
    exec(a, 'ip', 'link', 'set', 'eth0', 'gso_max_segs', '4')
    drop(b, 'INPUT', '-p', 'tcp', '--dport', '5010', '-m', 'statistic', '--mode', 'nth', '--packet', '19', '--every', '20')
    const sink = await hold(b, 'tcp-sink', { address: to, port: 5010 })
    const read = sink.act('read')
    await run(a, 'tcp-bulk', { address: to, port: 5010, bytes: 8_000_000 })
    await read
    const server = await listen(5011)
    const client = await connect(5011, 10)
    await server.act('accept', { count: 10 })
    const silence = ['INPUT', '-p', 'tcp', '--dport', '5011']
    drop(b, ...(silence as [string, ...string[]]))
    await client.act('send', { bytes: 100 })
    await sleep(1500)
    firewall(b, '-D', ...silence, '-j', 'DROP')
  }

  async function fillQueues(): Promise<void> {
    await listen(5013, { backlog: 4 })
    await connect(5013, 5)
    await connect(5013, 20, { wait: false, synRetries: 6 })
    const slow = await listen(5012)
    const fast = await connect(5012, 3)
    await slow.act('accept', { count: 3 })
    for (let i = 0; i < 20; i++) {
      await fast.act('send', { bytes: 1_000_000 }) // until the window is zero
      await sleep(100)
    }
    exec(b, 'sysctl', '-qw', 'net.ipv4.tcp_syncookies=2')
    const server = await listen(5014)
    await connect(5014, 5)
    await server.act('accept', { count: 5 })
    exec(b, 'sysctl', '-qw', 'net.ipv4.tcp_syncookies=1')
  }

  /** Of the pods each other, and of the node and a pod. */
  const pairs = [
    [a, b],
    [host, b],
    [a, host],
  ] as const

  const askNames = (): Promise<unknown> =>
    Promise.all([b, host].map((server) => traffic.hold(server, 'dns-traffic.mjs', 'serve', { addresses: [server.ipv4] }))).then(
      () => Promise.all(pairs.map(([client, server]) => askNamesOf(client, server.ipv4))),
    )
  async function askNamesOf(client: Namespace, server: string): Promise<void> {
    const ask = (...names: string[]): Promise<unknown> =>
      traffic.run(client, 'dns-traffic.mjs', 'ask', {
        server,
        questions: names.flatMap((one) => ['A', 'AAAA'].map((type) => ({ name: one, type, count: 10 }))),
        waitMs: 1500,
      })
    await ask('noerror2.shop.test', 'nxdomain.shop.test', 'servfail.shop.test', 'refused.shop.test', 'silent.shop.test')
    await ask('truncated2.shop.test', 'late700.shop.test', 'late900.shop.test')
    await ask('nxdomain.api.shop.svc.cluster.local')
    await ask('nxdomain.api') // what the search list was for
    const datagrams = [Buffer.from('no DNS'), Buffer.from('beef81800001000000000000046e616d650000010001', 'hex')]
    await traffic.run(client, 'dns-traffic.mjs', 'send', { server, datagrams: datagrams.map((one) => one.toString('base64')) })
  }

  const askPages = (): Promise<unknown> =>
    Promise.all(
      [b, host].map((server) => traffic.hold(server, 'http-traffic.mjs', 'serve', { addresses: [server.ipv4], ports: [8080] })),
    ).then(() => Promise.all(pairs.map(([client, server]) => askPagesOf(client, server.ipv4))))
  async function askPagesOf(client: Namespace, server: string): Promise<void> {
    const get = (address: string, count: number): object => ({ method: 'GET', path: address, count })
    const requests = [
      get('/', 100),
      get('/status/404', 20),
      get('/status/503', 30),
      get('/after/50', 5),
      { method: 'POST', path: '/status/201', count: 10, body: 100 },
    ]
    await traffic.run(client, 'http-traffic.mjs', 'ask', { host: server, port: 8080, requests })
    await traffic.run(client, 'http-traffic.mjs', 'ask', { host: server, port: 8080, requests: [get('/never', 5)], close: true })
    await traffic.run(client, 'http-traffic.mjs', 'speakHttp2', { host: server, port: 8080 }).catch(() => undefined)
  }

  async function exhaustPorts(): Promise<void> {
    await listen(5020)
    exec(a, 'sysctl', '-qw', 'net.ipv4.ip_local_port_range=61000 61009')
    await connect(5020, 20)
  }

  /** The one limit of all namespaces: lowered for some seconds only. */
  async function fillTable(): Promise<void> {
    const file = '/proc/sys/net/netfilter/nf_conntrack_max'
    const before = fs.readFileSync(file, 'utf8')
    const entries = Number(exec(host, 'conntrack', '-C'))
    try {
      fs.writeFileSync(file, String(Math.ceil(entries * 1.3) + 500))
      for (let i = 0; i < 20; i++) {
        await send(a, to, 10_000 + 40 * i, 40, { ports: 40 })
        await sleep(500)
      }
      const leave = (room: number): void =>
        fs.writeFileSync(file, String(Math.ceil(Number(exec(host, 'conntrack', '-C')) * (1 + room))))
      leave(0.1)
      await sleep(5000)
      leave(0.02) // so that it is still scraped
      await sleep(7000)
      leave(0)
      for (let i = 0; i < 7; i++) {
        await send(a, to, 20_000 + 200 * i, 200, { ports: 200, atOnce: 1 })
        await sleep(1000)
      }
    } finally {
      fs.writeFileSync(file, before)
    }
  }

  async function shrinkPath(): Promise<void> {
    exec(host, 'sysctl', '-qw', 'net.ipv4.icmp_ratelimit=0')
    exec(host, 'ip', 'link', 'set', 'eth1', 'mtu', '1300')
    await send(a, to, 9000, 50, { bytes: 1400, unfragmented: true })
  }

  const attempt = (act: () => Promise<unknown>): Promise<unknown> =>
    act().catch((error: Error) => failures.push(`${act.name}: ${error.message}`))
  await attempt(trackConnections)
  await Promise.all([dropPackets, failConnects, loseSegments, fillQueues, askNames, askPages].map(attempt))
  for (const act of [leak, fillTable, shrinkPath, exhaustPorts]) await attempt(act)
  return failures
}
