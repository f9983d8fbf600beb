import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { queryTypes } from '../../agent/metrics/labels.ts'
import { type Agent, startAgent } from '../e2e/agent.ts'
import {
  type CaptureNode,
  type Counts,
  createAddresses,
  createCaptureNode,
  createReadings,
  findCapture,
  type Place,
  type Readings,
} from './capture-node.ts'
import { requireRoot, slowness } from './topology.ts'

const addresses = createAddresses(93)
const families = ['ipv4', 'ipv6'] as const
const question = (name: string, count = 1, type = 'A') => ({ name: `${name}.truth.test`, count, type })
/** What the metrics say of so many questions that were each answered at once, without addresses. */
const answered = (client: string, count: number, rcode = 'NOERROR'): Counts => ({
  [`${client} queries A`]: count,
  [`${client} responses ${rcode}`]: count,
})

/** The agent runs in a network namespace that plays the node: the machine itself gets no bridge and no rule. */
requireRoot('DNS', () => {
  let node: CaptureNode
  let agent: Agent
  let readings: Readings

  beforeAll(async () => {
    const service = { protocols: ['udp', 'tcp'], port: 53, targetPort: 53 } as const
    node = await createCaptureNode({ name: 'nvd', addresses, traffic: 'dns-traffic.mjs', service })
    agent = await startAgent(node.namespaces.node)
    readings = createReadings(agent, keyOf)
    await node.hold('server', 'serve', { addresses: [addresses.ipv4.server, addresses.ipv6.server] })
    await node.hold('world', 'serve', { addresses: [addresses.ipv4.world, addresses.ipv6.world] })
    await node.hold('node', 'serve', { addresses: [addresses.ipv4.localCache, '127.0.0.1', '::1'] })
  })
  afterAll(async () => {
    await agent?.stop()
    await node?.dispose()
  })

  const read = (): Counts => readings.read()
  /** A duration for each answer goes without saying. */
  const expectNew = (...expected: readonly Counts[]): Promise<void> => {
    const durations = expected
      .flatMap((counts) => Object.entries(counts))
      .filter(([name]) => / responses /.test(name))
      .map(([name, count]) => ({ [`${name.split(' ', 1)[0]} durations`]: count }))
    return readings.expectNew(...expected, ...durations)
  }

  it('nobody has asked yet', async () => {
    await expectNew({ up: 1, starts: 1 })
  })

  it('answers by response code, with their addresses, of the client and of the server', async () => {
    const codes = { NOERROR: 3, FORMERR: 7, SERVFAIL: 5, NXDOMAIN: 4, NOTIMP: 2, REFUSED: 6, other: 1 }
    const orders = Object.entries(codes).map(([code, count]) =>
      question(code === 'other' ? 'badvers' : code === 'NOERROR' ? 'noerror2' : code.toLowerCase(), count),
    )
    expect(await node.run('a', 'ask', { server: addresses.ipv4.server, questions: orders })).toEqual({ answers: 28 })
    const byCode = Object.entries(codes).flatMap(([code, count]) => [
      [`a responses ${code}`, count],
      [`server served ${code}`, count],
    ])
    await expectNew({ 'a queries A': 28, 'a addresses': 6, ...Object.fromEntries(byCode) })
  })

  it('queries by type', async () => {
    const types = queryTypes.map((type, i) => [type, i + 1] as const)
    const questions = types.map(([type, count]) => question('noerror3', count, type === 'other' ? 'DS' : type))
    await node.run('a', 'ask', { server: addresses.ipv4.server, questions })
    const total = types.reduce((sum, [, count]) => sum + count, 0)
    await expectNew(Object.fromEntries(types.map(([type, count]) => [`a queries ${type}`, count])), {
      'a responses NOERROR': total,
      'server served NOERROR': total,
      'a addresses': 3 * (1 + 2),
    })
  })

  /** From where to where, who is seen to serve, and by which way. */
  const ways: readonly (readonly [
    way: string,
    from: Place,
    to: (family: 'ipv4' | 'ipv6') => string,
    server: string | undefined,
  ])[] = [
    ['pod to pod over the bridge', 'a', (family) => addresses[family].server, 'server'],
    ['a routed pod to one on the bridge', 'b', (family) => addresses[family].server, 'server'],
    ['through the address of a Service', 'a', (family) => addresses[family].translated, 'server'],
    ['a routed pod through the address of a Service', 'b', (family) => addresses[family].translated, 'server'],
    ['a Service, masqueraded', 'a', (family) => addresses[family].masqueraded, 'server'],
    ['a routed pod through a Service, masqueraded', 'b', (family) => addresses[family].masqueraded, 'server'],
    ['a Service that leads to who asks', 'server', (family) => addresses[family].masqueraded, 'server'],
    ['to the world, masqueraded', 'a', (family) => addresses[family].world, undefined],
    ['a routed pod to the world, masqueraded', 'b', (family) => addresses[family].world, undefined],
    ['the node to a pod', 'node', (family) => addresses[family].server, 'server'],
    ['the node through the address of a Service', 'node', (family) => addresses[family].translated, 'server'],
    ['the node to the world', 'node', (family) => addresses[family].world, undefined],
    ['the node to itself', 'node', (family) => (family === 'ipv4' ? '127.0.0.1' : '::1'), 'host'],
  ]
  it.each(ways)('each exactly once, UDP and TCP, IPv4 and IPv6: %s', async (_way, from, to, server) => {
    const client = from === 'node' ? 'host' : from
    const answers = await Promise.all(
      families.flatMap((family) => [
        node.run(from, 'ask', {
          server: to(family),
          questions: [question(`noerror1-${family}`, 4), question(`nxdomain-${family}`, 2)],
        }),
        node.run(from, 'stream', { server: to(family), questions: [question(`servfail-${family}`, 3)] }),
      ]),
    )
    expect(answers.map((one) => one.answers)).toEqual([6, 3, 6, 3])
    const codes = { NOERROR: 8, NXDOMAIN: 4, SERVFAIL: 6 }
    const all = Object.entries(codes)
    await expectNew(
      { [`${client} queries A`]: 18, [`${client} addresses`]: 8 },
      Object.fromEntries(all.map(([code, count]) => [`${client} responses ${code}`, count])),
      server === undefined ? {} : Object.fromEntries(all.map(([code, count]) => [`${server} served ${code}`, count])),
    )
  })

  it('each exactly once: to the cache on the node, from the node and from pods', async () => {
    for (const [from, count] of [
      ['node', 5],
      ['a', 6],
      ['b', 7],
    ] as const)
      await node.run(from, 'ask', { server: addresses.ipv4.localCache, questions: [question('noerror', count)] })
    await expectNew(answered('host', 5), answered('a', 6), answered('b', 7), { 'host served NOERROR': 18 })
  })

  it('many queries in one segment, and in many', async () => {
    const questions = [question('noerror1', 20), question('nxdomain', 10)]
    for (const pieces of [undefined, 1 + 2 * 15, 7])
      expect(await node.run('b', 'stream', { server: addresses.ipv4.server, questions, pieces })).toEqual({ answers: 30 })
    await expectNew(
      { 'b queries A': 90, 'b responses NOERROR': 60, 'b responses NXDOMAIN': 30, 'b addresses': 60 },
      { 'server served NOERROR': 60, 'server served NXDOMAIN': 30 },
    )
  })

  it('without an answer, answered too late, and asked again', async () => {
    const server = addresses.ipv4.server
    const askOf = (from: Place, name: string, again: readonly number[], waitMs: number, to: string = server) =>
      node.run(from, 'ask', { server: to, questions: [question(name)], again, waitMs })
    const answers = await Promise.all([
      node.run('a', 'ask', { server, questions: [question('silent', 11)], waitMs: 100 }),
      node.run('a', 'ask', { server: addresses.ipv4.world, questions: [question('silent', 3)], waitMs: 100 }),
      askOf('b', 'silent', [1000, 2000], 2500),
      askOf('b', 'noerror', [0, 0, 1000], 2500),
      askOf('b', 'late1500', [1000], 3500),
      askOf('b', 'once1500', [1000], 2500),
      askOf('node', 'once1500', [1000], 2500),
      askOf('a', 'late5500', [], 6500),
      askOf('b', 'late5500', [], 6500, addresses.ipv4.masqueraded),
      askOf('a', 'late5500', [], 6500, addresses.ipv4.world),
    ])
    expect(answers.map((one) => one.answers)).toEqual([0, 0, 0, 4, 2, 1, 1, 1, 1, 1])
    await expectNew(
      { 'a queries A': 14 + 2, 'a unanswered': 14 + 2 },
      { 'b queries A': 3 + 4 + 2 + 2 + 1, 'b responses NOERROR': 4 + 2 + 1, 'b unanswered': 3 + 1 + 1 },
      { ...answered('host', 1), 'host queries A': 2, 'host unanswered': 1 },
      { 'server served NOERROR': 4 + 2 + 1 + 1 + 2 },
      { unmatched: 3 },
    )
    const text = agent.get('/metrics')
    const numbers = text.matchAll(/^netvitals_dns_duration_seconds_(?:count|bucket){(.*)} (\d+)$/gm)
    const ofB = [...numbers].filter(([, labels]) => labels!.includes('pod="nvd-b"'))
    const fast = ofB.filter(([, labels]) => labels!.includes('le="1.048576"'))
    const all = ofB.filter(([, labels]) => !labels!.includes('le='))
    expect(Number(all[0]![2]) - Number(fast[0]![2])).toBeGreaterThanOrEqual(3) // late1500 twice, once1500
  })

  it('the spelling of a name, EDNS, and names of any bytes', async () => {
    const server = addresses.ipv4.server
    const label = (bytes: string): string => bytes.padEnd(63, bytes)
    const longest = ['noerror', label('l'), label('\x00'), label('"'), 'x'.repeat(53)].join('.')
    const names = ['nOeRrOr.TrUtH.tEsT', longest, 'noerror.\x01\x07\x1b[31m\r\n', 'noerror.\xff\xfe\xc3\x28', 'noerror."} 1\n\\']
    expect(longest.length + 2).toBe(255)
    const questions = names.map((name) => ({ name, type: 'A', count: 1 }))
    expect(await node.run('a', 'ask', { server, questions: questions.map((one) => ({ ...one, edns: true })) })).toEqual({
      answers: names.length,
    })
    expect(await node.run('a', 'stream', { server, questions })).toEqual({ answers: names.length })
    await expectNew(answered('a', 2 * names.length), { 'server served NOERROR': 2 * names.length })
    const text = agent.get('/metrics')
    expect(text).not.toMatch(/\x1b|\x00|\r|�/)
    expect(text).not.toContain('truth')
  })

  it('what is no DNS on the DNS port is malformed, and what is cut off is nothing', async () => {
    const server = addresses.ipv4.server
    const header = (...counts: number[]): Buffer => Buffer.from([1, 2, 0, 0, ...counts.flatMap((count) => [0, count])])
    const broken = [
      Buffer.alloc(0),
      Buffer.from('x'),
      Buffer.alloc(11),
      header(1, 0, 0, 0),
      Buffer.concat([header(1, 0, 0, 0), Buffer.from([0xc0, 0x0c, 0, 1, 0, 1])]),
      Buffer.concat([header(1, 0, 0, 0), Buffer.from([0x80, 0, 0, 1, 0, 1])]),
      Buffer.concat([header(1, 0, 0, 0), Buffer.from([5, 97, 98])]),
      Buffer.from('GET / HTTP/1.1\r\nHost: example.org\r\n\r\n'),
    ]
    const datagrams = Array.from({ length: 5 }, () => broken.map((bytes) => bytes.toString('base64'))).flat()
    await node.run('a', 'send', { server, datagrams })
    await node.run('node', 'send', { server: addresses.ipv4.localCache, datagrams: datagrams.slice(0, broken.length) })
    await node.run('a', 'send', { server: addresses.ipv4.world, datagrams: datagrams.slice(0, broken.length) })
    await expectNew({ malformed: 7 * broken.length })
  })

  it('a real server and real clients: dig, Node, and glibc', async () => {
    const big = Array.from({ length: 8 }, (_, i) => `--txt-record=big.real.test,${String(i).repeat(250)}`)
    const zone = ['--address=/web.real.test/192.0.2.80', '--address=/web.real.test/2001:db8::80', '--local=/test/', ...big]
    const listen = ['--no-resolv', '--no-hosts', '--conf-file=/dev/null', '--pid-file=', '--bind-interfaces']
    node.start('server', [
      'dnsmasq',
      '--keep-in-foreground',
      '--user=root',
      ...listen,
      `--listen-address=${addresses.ipv4.secondServer}`,
      ...zone,
    ])
    const isListening = (): boolean => node.exec('server', 'ss', '-Hlun').includes(`${addresses.ipv4.secondServer}:53`)
    await expect.poll(isListening, { timeout: 5000 * slowness }).toBe(true)

    const dig = (...query: readonly string[]): string =>
      node.exec('a', 'dig', `@${addresses.ipv4.secondServer}`, '+tries=1', ...query)
    expect(dig('web.real.test')).toContain('192.0.2.80')
    expect(dig('web.real.test', 'AAAA')).toContain('2001:db8::80')
    expect(dig('none.real.test', 'A')).toContain('NXDOMAIN')
    expect(dig('example.org', 'A')).toContain('REFUSED')
    expect(dig('big.real.test', 'TXT')).toContain('7777')
    await expectNew(
      { 'a queries A': 3, 'a queries AAAA': 1, 'a queries TXT': 2, 'a truncated': 1, 'a addresses': 2 },
      { 'a responses NOERROR': 4, 'a responses NXDOMAIN': 1, 'a responses REFUSED': 1 },
      { 'server served NOERROR': 4, 'server served NXDOMAIN': 1, 'server served REFUSED': 1 },
    )

    const program = `
      const resolver = new (require('node:dns').promises.Resolver)()
      resolver.setServers(['${addresses.ipv4.secondServer}'])
      const count = (n, ask) => Promise.allSettled(Array.from({ length: n }, ask))
      count(30, () => resolver.resolve4('web.real.test')).then(() => count(20, () => resolver.resolve6('none.real.test')))`
    node.exec('b', process.execPath, '-e', program)
    await expectNew(
      { 'b queries A': 30, 'b queries AAAA': 20, 'b addresses': 30, 'b responses NOERROR': 30, 'b responses NXDOMAIN': 20 },
      { 'server served NOERROR': 30, 'server served NXDOMAIN': 20 },
    )

    // Of a name with fewer than ndots dots glibc tries every suffix first, A and AAAA of each.
    node.configureResolver('a', [`nameserver ${addresses.ipv4.secondServer}`, 'search a.test b.test', 'options ndots:5'])
    expect(node.exec('a', 'getent', 'ahosts', 'web.real.test')).toMatch(/^192\.0\.2\.80|2001:db8::80/m)
    await expectNew(
      { 'a queries A': 3, 'a queries AAAA': 3, 'a responses NXDOMAIN': 4, 'a responses NOERROR': 2, 'a addresses': 2 },
      { 'a search_failures': 4, 'server served NXDOMAIN': 4, 'server served NOERROR': 2 },
    )
    node.configureResolver('a', [
      `nameserver ${addresses.ipv4.secondServer}`,
      'search ns.svc.real.test svc.real.test real.test',
      'options ndots:5',
    ])
    expect(node.exec('a', 'getent', 'ahosts', 'web')).toMatch(/^192\.0\.2\.80|2001:db8::80/m)
    await expectNew(
      { 'a queries A': 3, 'a queries AAAA': 3, 'a responses NXDOMAIN': 4, 'a responses NOERROR': 2, 'a addresses': 2 },
      { 'a search_failures': 4, 'server served NXDOMAIN': 4, 'server served NOERROR': 2 },
    )
  })

  it('many names at once through a search list', async () => {
    node.configureResolver('a', [`nameserver ${addresses.ipv4.secondServer}`, 'search a.test b.test', 'options ndots:5'])
    const program = `
      const { lookup } = require('node:dns').promises
      Promise.all(Array.from({ length: 40 }, (_, i) => lookup('name' + i + '.web.real.test')))`
    node.exec('a', 'env', 'UV_THREADPOOL_SIZE=32', process.execPath, '-e', program)
    await expectNew(
      { 'a queries A': 120, 'a queries AAAA': 120, 'a responses NXDOMAIN': 160, 'a responses NOERROR': 80, 'a addresses': 80 },
      { 'a search_failures': 160, 'server served NXDOMAIN': 160, 'server served NOERROR': 80 },
    )
  })

  it('another pod with the address of one that has gone begins at 0', async () => {
    await node.run('a', 'ask', { server: addresses.ipv4.server, questions: [question('noerror', 9)] })
    await expectNew(answered('a', 9), { 'server served NOERROR': 9 })
    await node.replaceA()
    read()
    await sleep(1500) // addresses are looked at again after a second
    read()
    await node.run('a', 'ask', { server: addresses.ipv4.server, questions: [question('nxdomain', 2)] })
    const ofA = (): Counts => Object.fromEntries(Object.entries(read()).filter(([name]) => name.startsWith('a ')))
    await expect.poll(ofA, { timeout: 4000 * slowness }).toEqual({ ...answered('a', 2, 'NXDOMAIN'), 'a durations': 2 })
    readings.skip()
  })

  it('the process that captures is killed: it is there again within seconds, and no total goes back', async () => {
    const totals = read()
    process.kill(findCapture(agent), 'SIGKILL')
    await expect.poll(read, { timeout: 10_000 * slowness }).toMatchObject({ starts: 2, up: 1 })
    const now = read()
    for (const [name, total] of Object.entries(totals)) expect(now[name] ?? 0, name).toBeGreaterThanOrEqual(total)
    readings.skip()
    await node.run('a', 'ask', { server: addresses.ipv4.server, questions: [question('noerror', 5)] })
    await expectNew(answered('a', 5), { 'server served NOERROR': 5 })
  })
}, ['dig', 'dnsmasq'])

const places: Readonly<Record<string, string>> = { 'nvd-a': 'a', 'nvd-b': 'b', 'nvd-server': 'server', 'cni-nvd-world': 'world' }
const ofNode: Readonly<Record<string, string>> = {
  dns_malformed_total: 'malformed',
  dns_unmatched_responses_total: 'unmatched',
  captured_packets_cut_total: 'cut',
  captured_packets_unreadable_total: 'unreadable',
  capture_starts_total: 'starts',
}

/** What a series is called in the tests; undefined: it is none of theirs. */
function keyOf(metric: string, labels: Readonly<Record<string, string>>): string | undefined {
  if (ofNode[metric] !== undefined) return ofNode[metric]
  if (metric === 'lost_events_total' && /^capture|^dns/.test(labels.kind ?? '')) return `lost ${labels.kind}`
  if (metric === 'source_success' && labels.source === 'pcap-dns') return 'up'
  const { pod = '', qtype, rcode } = labels
  const place = pod === '' ? 'host' : places[pod]
  const [, what] = /^dns_(\w+?)(?:_total|_seconds_count)$/.exec(metric) ?? []
  if (place === undefined || what === undefined || !('pod' in labels)) return undefined
  const name = what === 'duration' ? 'durations' : what === 'response_addresses' ? 'addresses' : what
  return [place, name, qtype ?? rcode].filter((word) => word !== undefined).join(' ')
}
