import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { NetworkEvent } from '../../agent/events.ts'
import { limits } from '../../agent/limits.ts'
import { histogramBoundsSeconds } from '../../agent/metrics/catalogue.ts'
import { httpMethods, httpStatuses } from '../../agent/metrics/labels.ts'
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

const addresses = createAddresses(91)
const faults = fileURLToPath(new URL('faults.mjs', import.meta.url))
const main = fileURLToPath(new URL('../../dist/agent/main.js', import.meta.url))
const families = ['ipv4', 'ipv6'] as const

/** What the metrics say of so many requests that were answered: of who asked and who was asked, `undefined`: nobody here. */
const answered = (client: string | undefined, server: string | undefined, of: Counts): Counts => {
  const counts: Record<string, number> = {}
  for (const [name, count] of Object.entries(of))
    for (const [who, direction] of [
      [client, 'out'],
      [server, 'in'],
    ] as const) {
      if (who === undefined) continue
      counts[`${who} ${direction} ${name}`] = count
      counts[`${who} ${direction} durations`] = (counts[`${who} ${direction} durations`] ?? 0) + count
    }
  return counts
}

/** The agents run in a network namespace that plays the node: the machine itself gets no bridge and no rule. */
requireRoot('HTTP from packets', () => {
  let node: CaptureNode
  let agent: Agent
  let readings: Readings
  const expectNew = (...expected: readonly Counts[]): Promise<void> => readings.expectNew(...expected)
  const ask = (from: Place, host: string, requests: readonly object[], more: object = {}): Promise<Record<string, number>> =>
    node.run(from, 'ask', { host, requests, ...more })

  beforeAll(async () => {
    node = await createCaptureNode({
      name: 'nvh',
      addresses,
      traffic: 'http-traffic.mjs',
      service: { protocols: ['tcp'], port: 80, targetPort: 8080 },
    })
    agent = await startAgent(node.namespaces.node, ['--capture.http-ports=80,8080'])
    readings = createReadings(agent, keyOf)
    const [certificate, key] = ['crt', 'key'].map((kind) =>
      readFileSync(new URL(`../fixtures/tls/server.${kind}`, import.meta.url), 'utf8'),
    )
    const serve = (place: Place, served: readonly string[]) =>
      node.hold(place, 'serve', { addresses: served, ports: [80, 8080], certificate, key })
    await serve('server', [addresses.ipv4.server, addresses.ipv6.server, '127.0.0.1'])
    await serve('world', [addresses.ipv4.world, addresses.ipv6.world])
    await serve('node', [addresses.ipv4.node, '127.0.0.1', '::1'])
  }, 60_000 * slowness)
  afterAll(async () => {
    await agent?.stop()
    await node?.dispose()
  })

  it('nobody has asked yet', async () => {
    await expectNew({ up: 1 })
  })

  it('each method and status, of the client and of the server', async () => {
    // CONNECT and 101 are of another test.
    const methods = httpMethods.filter((method) => method !== 'CONNECT' && method !== 'other')
    const requests = [
      ...methods.map((method, i) => ({ method, path: '/', count: i + 1 })),
      ...['PROPFIND', 'SEARCH'].map((method) => ({ method, path: '/' })),
      ...httpStatuses
        .filter((status) => status !== 'other' && status !== '101')
        .map((status, i) => ({ path: `/status/${status}`, count: i + 1 })),
      ...[418, 505, 599].map((status) => ({ path: `/status/${status}` })),
    ]
    await ask('a', addresses.ipv4.server, requests)
    const expected: Record<string, number> = { 'other 200': 2, 'GET other': 3 }
    methods.forEach((method, i) => {
      expected[`${method} 200`] = i + 1
    })
    httpStatuses
      .filter((status) => status !== 'other' && status !== '101')
      .forEach((status, i) => {
        expected[`GET ${status}`] = (expected[`GET ${status}`] ?? 0) + i + 1
      })
    await expectNew(answered('a', 'server', expected))
  })

  /** From where to where, who is seen to ask and to serve, and by which way. */
  const ways: readonly (readonly [
    way: string,
    from: Place,
    to: (family: 'ipv4' | 'ipv6') => string,
    client: string | undefined,
    server: string | undefined,
  ])[] = [
    ['pod to pod over the bridge', 'a', (family) => addresses[family].server, 'a', 'server'],
    ['a routed pod to one on the bridge', 'b', (family) => addresses[family].server, 'b', 'server'],
    ['through the address of a Service', 'a', (family) => addresses[family].translated, 'a', 'server'],
    ['a routed pod through the address of a Service', 'b', (family) => addresses[family].translated, 'b', 'server'],
    ['a Service, masqueraded', 'a', (family) => addresses[family].masqueraded, 'a', 'server'],
    ['a routed pod through a Service, masqueraded', 'b', (family) => addresses[family].masqueraded, 'b', 'server'],
    ['a Service that leads to who asks', 'server', (family) => addresses[family].masqueraded, 'server', 'server'],
    ['to the world, masqueraded', 'a', (family) => addresses[family].world, 'a', undefined],
    ['a routed pod to the world, masqueraded', 'b', (family) => addresses[family].world, 'b', undefined],
    ['the node to a pod', 'node', (family) => addresses[family].server, 'host', 'server'],
    ['the node through the address of a Service', 'node', (family) => addresses[family].translated, 'host', 'server'],
    ['the node to the world', 'node', (family) => addresses[family].world, 'host', undefined],
    ['the node to itself', 'node', (family) => (family === 'ipv4' ? '127.0.0.1' : '::1'), 'host', 'host'],
    ['a pod to the node', 'a', () => addresses.ipv4.node, 'a', 'host'],
    ['a pod to itself: no device of the node sees it', 'server', () => addresses.ipv4.server, undefined, undefined],
    ['a pod to its own loopback: the same', 'server', () => '127.0.0.1', undefined, undefined],
  ]
  it.each(ways)('each exactly once, kept alive and not, IPv4 and IPv6: %s', async (_way, from, to, client, server) => {
    const requests = [
      { path: '/', count: 4 },
      { method: 'POST', path: '/', body: 5000, count: 3 },
      { path: '/status/503', count: 2 },
    ]
    for (const family of families) {
      expect(await ask(from, to(family), requests, { connections: 3 })).toEqual({ 200: 21, 503: 6 })
      expect(await ask(from, to(family), requests, { close: true })).toEqual({ 200: 7, 503: 2 })
    }
    await expectNew(answered(client, server, { 'GET 200': 32, 'POST 200': 24, 'GET 503': 16 }))
  })

  it.each([
    [80, 'the client alone', undefined],
    [8080, 'both, but who is masqueraded seems to be the node', 'server'],
  ] as const)('with only one of the two ports of a Service, %d: %s', async (port, _what, server) => {
    const other = await startAgent(node.namespaces.node, [`--capture.http-ports=${port}`], 10478)
    try {
      const its = createReadings(other, keyOf)
      its.skip()
      await ask('a', addresses.ipv4.translated, [{ count: 5 }])
      await ask('a', addresses.ipv4.masqueraded, [{ path: '/status/404', count: 2 }], { close: true })
      await ask('node', addresses.ipv4.translated, [{ path: '/status/500' }])
      await its.expectNew(
        answered('a', server, { 'GET 200': 5 }),
        answered(server === undefined ? 'a' : 'host', server, { 'GET 404': 2 }),
        // What the node sends to a Service is translated before any device sees it.
        server === undefined ? {} : answered('host', server, { 'GET 500': 1 }),
      )
    } finally {
      await other.stop()
    }
    await expectNew(answered('a', 'server', { 'GET 200': 5, 'GET 404': 2 }), answered('host', 'server', { 'GET 500': 1 }))
  })

  it('bodies: without, with a length, in chunks with trailers, after 100 Continue', async () => {
    const requests = [
      { method: 'HEAD', path: '/bytes/100000', count: 3 },
      { method: 'HEAD', path: '/chunks/100', count: 3 },
      { path: '/status/304', count: 3 },
      { path: '/status/204', count: 3 },
      { path: '/bytes/300000', count: 3 },
      { path: '/chunks/800', count: 3 },
      { method: 'POST', path: '/', body: 200_000, count: 3 },
      { method: 'PUT', path: '/', body: 1000, chunked: true, count: 3 },
      { method: 'POST', path: '/status/201', body: 3000, expect: true, count: 3 },
      { method: 'DELETE', path: '/', body: 0, count: 3 },
    ]
    expect(await ask('a', addresses.ipv4.translated, requests, { connections: 2 })).toEqual({ 200: 42, 201: 6, 204: 6, 304: 6 })
    const counts = {
      'HEAD 200': 12,
      'GET 304': 6,
      'GET 204': 6,
      'GET 200': 12,
      'POST 200': 6,
      'PUT 200': 6,
      'POST 201': 6,
      'DELETE 200': 6,
    }
    await expectNew(answered('a', 'server', counts))
  })

  it('requests sent ahead, in one segment and byte by byte', async () => {
    const request = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: shop\r\n\r\n`
    const many = Array.from({ length: 20 }, (_, i) => request(i % 4 === 0 ? '/status/404' : '/')).join('')
    const post = 'POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 12\r\n\r\nGET / HTTP/1'
    const host = addresses.ipv4.server
    expect(await node.run('a', 'send', { host, pieces: [many], answers: 20 })).toEqual({ answers: 20 })
    expect(await node.run('b', 'send', { host, pieces: [post + many + post], answers: 22 })).toEqual({ answers: 22 })
    expect(await node.run('a', 'send', { host, pieces: [...post, ...request('/')], answers: 2 })).toEqual({ answers: 2 })
    await expectNew(
      answered('a', 'server', { 'GET 200': 15, 'GET 404': 5 }),
      answered('b', 'server', { 'GET 200': 15, 'GET 404': 5, 'POST 200': 2 }),
      answered('a', 'server', { 'GET 200': 1, 'POST 200': 1 }),
    )
  })

  it('a body of 1 GB, of which hardly anything is captured', async () => {
    const requests = [{ path: '/bytes/1000000000' }, { path: '/status/202' }]
    expect(await ask('a', addresses.ipv4.translated, requests)).toEqual({ 200: 1, 202: 1 })
    await expect.poll(() => readings.readNew()['a out GET 202'], { timeout: 10_000 * slowness }).toBeDefined()
    const { 'lost capture_ring': _, ...counts } = readings.skip()
    expect(counts).toEqual({ ...answered('a', 'server', { 'GET 200': 1, 'GET 202': 1 }) })
  })

  it('chunks whose lengths are not captured: what comes after is found again', async () => {
    const requests = [{ path: '/chunks/20000000' }, { path: '/status/202' }]
    expect(await ask('a', addresses.ipv4.server, requests)).toEqual({ 200: 1, 202: 1 })
    await expect.poll(() => readings.readNew()['a out GET 202'], { timeout: 10_000 * slowness }).toBeDefined()
    const { losses, unpaired: _, ...counts } = readings.skip()
    expect(losses).toBeGreaterThan(0)
    expect(counts).toEqual(answered('a', 'server', { 'GET 200': 1, 'GET 202': 1 }))
  })

  it('without an answer: the server closes, and the client may try again', async () => {
    const host = addresses.ipv4.masqueraded
    expect(await ask('a', host, [{ path: '/never', count: 4 }], { close: true })).toEqual({ none: 4 })
    expect(await ask('b', host, [{ count: 2 }, { method: 'POST', path: '/never', body: 10 }])).toEqual({ 200: 2, none: 1 })
    await expectNew(
      { 'a out unanswered': 4, 'b out unanswered': 1, 'server in unanswered': 5 },
      answered('b', 'server', { 'GET 200': 2 }),
    )
  })

  it('durations as long as the server takes, whatever the body takes', async () => {
    const bucketOf = (seconds: number): number => histogramBoundsSeconds.find((bound) => seconds <= bound)!
    const read = (pod: Place): string[] =>
      agent
        .get('/metrics')
        .split('\n')
        .filter((line) => line.startsWith('netvitals_http_duration_seconds') && line.includes(`pod="${node.namespaces[pod]}"`))
    const countOf = (pod: Place, direction: string, le: number): number =>
      Number(
        read(pod)
          .find((line) => line.includes(`direction="${direction}"`) && line.includes(`le="${le}"`))
          ?.split(' ')[1] ?? 0,
      )
    const [below, within] = [bucketOf(0.3) / 4, bucketOf(0.3)]
    const before = (['b', 'server'] as const).map((pod, i) => [below, within].map((le) => countOf(pod, ['out', 'in'][i]!, le)))
    await ask('b', addresses.ipv4.translated, [{ path: '/after/300', count: 3 }])
    await expectNew(answered('b', 'server', { 'GET 200': 3 }))
    const after = (['b', 'server'] as const).map((pod, i) => [below, within].map((le) => countOf(pod, ['out', 'in'][i]!, le)))
    expect(after).toEqual(before.map(([short, long]) => [short, long! + 3]))
  })

  it('what is no HTTP/1 or no longer: once a connection, by what it is', async () => {
    for (const host of [addresses.ipv4.server, addresses.ipv4.translated, addresses.ipv4.masqueraded, addresses.ipv4.world]) {
      await node.run('a', 'speakTls', { host, count: 4 })
      await node.run('a', 'speakHttp2', { host, count: 3 })
      await node.run('a', 'speakWebSocket', { host, count: 2 })
      await ask('a', host, [{ method: 'CONNECT', path: 'shop:443' }], { close: true })
      await node.run('a', 'send', { host, pieces: ['\x05\x01\x00 no HTTP\r\n\r\n'], answers: 2 })
    }
    const upgraded = { 'GET 101': 2, 'CONNECT 200': 1 }
    await expectNew(
      { 'unreadable tls': 16, 'unreadable h2': 12, 'unreadable upgraded': 12, 'unreadable other': 4 },
      answered('a', 'server', { 'GET 101': 6, 'CONNECT 200': 3 }),
      answered('a', undefined, upgraded),
    )
  })

  it('real clients: curl', async () => {
    const curl = (...parameters: readonly string[]): string =>
      node.exec('a', 'curl', '-sS', '-o', '/dev/null', '-w', '%{http_code} ', ...parameters)
    const url = `http://${addresses.ipv4.translated}`
    expect(curl(`${url}/`, '-o', '/dev/null', `${url}/status/404`)).toBe('200 404 ')
    expect(curl('-I', `${url}/bytes/100`)).toBe('200 ')
    expect(curl('-d', 'x'.repeat(3000), `${url}/`)).toBe('200 ')
    expect(curl('-T', '/etc/hostname', '-H', 'Expect: 100-continue', `${url}/status/201`)).toBe('201 ')
    expect(curl('--http1.0', `${url}/chunks/5000`)).toBe('200 ')
    expect(curl('-X', 'PATCH', `http://[${addresses.ipv6.translated}]/status/504`)).toBe('504 ')
    await expectNew(
      answered('a', 'server', { 'GET 200': 2, 'GET 404': 1, 'HEAD 200': 1, 'POST 200': 1, 'PUT 201': 1, 'PATCH 504': 1 }),
    )
  })

  it('observe --http: each once, as who asked saw it; queries, which are often secret, are nowhere', async () => {
    const observe = (...flags: readonly string[]): { text: string } => {
      const told = { text: '' }
      const flagsOfAll = ['--follow', '--web.socket=', '--capture.http-ports=80,8080', ...flags]
      const { stdout, stderr } = node.start('node', [process.execPath, main, 'observe', ...flagsOfAll], 'pipe')
      for (const stream of [stdout, stderr]) stream?.on('data', (chunk) => (told.text += chunk))
      return told
    }
    const eventsOf = ({ text }: { text: string }): NetworkEvent[] =>
      text.split('\n').flatMap((line) => (line.startsWith('{"time"') ? [JSON.parse(line)] : []))
    const [all, failed, plain] = [
      observe('-o', 'json', '--http'),
      observe('-o', 'json', '--status', '4xx,5xx,unanswered'),
      observe(),
    ]
    let asked = 0
    const isWatching = async (): Promise<boolean> => {
      asked++
      await ask('a', addresses.ipv4.server, [{ path: '/status/410' }])
      return [all, failed, plain].every(({ text }) => text.includes('/status/410'))
    }
    await expect.poll(isWatching, { timeout: 20_000 * slowness, interval: 500 }).toBe(true)
    await expectNew(answered('a', 'server', { 'GET 410': asked }))

    const paths = ['/', '/status/500', '/never', '/after/1200'].map((path) => ({ path: `${path}?token=geheimnis&a=b` }))
    await ask('a', addresses.ipv4.translated, paths, { close: true })
    await ask('b', addresses.ipv4.masqueraded, [
      { path: '/status/404?geheimnis', headers: { Host: 'user:geheimnis@shop', Cookie: 'geheimnis' } },
    ])
    await ask('a', addresses.ipv4.node, [{ path: '/status/503', method: 'POST', body: 3 }])
    const isDone = (): boolean => [all, failed].every((told) => eventsOf(told).some(({ http }) => http?.status === 503))
    await expect.poll(isDone, { timeout: 10_000 * slowness }).toBe(true)

    const shown = (told: { text: string }): string[] =>
      eventsOf(told)
        .filter(({ http }) => http?.path !== '/status/410')
        .map(({ http, source, destination, routine }) => {
          const ends = [source, destination].map(({ pod, address }) => (pod === undefined ? address : places[pod]))
          return `${http?.method} ${http?.path} ${http?.status} ${ends.join(' ')} ${routine === true}`
        })
    const { translated, masqueraded } = addresses.ipv4
    expect(shown(all)).toEqual([
      `GET / 200 a ${translated} true`,
      `GET /status/500 500 a ${translated} false`,
      `GET /never undefined a ${translated} false`,
      `GET /after/1200 200 a ${translated} false`,
      `GET /status/404 404 b ${masqueraded} false`,
      `POST /status/503 503 a host false`,
    ])
    expect(shown(failed)).toEqual(shown(all).filter((line) => !line.includes(' 200 ')))
    await expect.poll(() => plain.text, { timeout: 10_000 * slowness }).toMatch(/POST \S+\/status\/503 {2}503 {2}/)
    expect(plain.text).toMatch(/ http .* GET \S+\/never {2}unanswered\n/)
    expect(plain.text).toMatch(/ http .* GET \S+\/after\/1200 {2}200 {2}1,2\d\d ms\n/)
    const told = ['/metrics', '/api/v1/diagnose', '/'].map((path) => agent.get(path)).join('') + agent.output()
    for (const text of [told, all.text, failed.text, plain.text]) expect(/geheimnis.*/.exec(text)?.[0]).toBeUndefined()
    await expectNew(
      answered('a', 'server', { 'GET 200': 2, 'GET 500': 1 }),
      answered('a', 'host', { 'POST 503': 1 }),
      answered('b', 'server', { 'GET 404': 1 }),
      { 'a out unanswered': 1, 'server in unanswered': 1 },
    )
  })

  it('packets lost in the capture are told, and what comes after is right', async () => {
    const host = addresses.ipv4.server
    const kept = await node.hold('b', 'hold', { host })
    const get = (count: number): Promise<Record<string, number>> => kept.act('get', { path: '/', count })
    await expectNew(answered('b', 'server', { 'GET 200': 1 }))
    const pid = findCapture(agent)
    process.kill(pid, 'SIGSTOP')
    try {
      expect(await get(2)).toEqual({ answers: 2 })
      // The kernel keeps what has come first, and here it has no room any longer.
      expect(await ask('a', host, [{ path: '/bytes/500000000' }])).toEqual({ 200: 1 })
      expect(await get(20)).toEqual({ answers: 20 })
      expect(await ask('a', host, [{ path: '/status/202', count: 50 }], { connections: 4 })).toEqual({ 202: 200 })
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    await expect.poll(() => readings.readNew()['lost capture_ring'] ?? 0, { timeout: 10_000 * slowness }).toBeGreaterThan(0)
    await expect.poll(() => readings.readNew()['a out GET 200'], { timeout: 10_000 * slowness }).toBeDefined()
    expect(await get(3)).toEqual({ answers: 3 })
    await ask('a', addresses.ipv4.translated, [{ path: '/status/404', count: 6 }])
    await expect.poll(() => readings.readNew()['a out GET 404'], { timeout: 10_000 * slowness }).toBeDefined()
    const { 'lost capture_ring': lost, ...counts } = readings.skip()
    expect(lost).toBeGreaterThan(1000)
    // The kept connection has lost its place, in each direction, and finds it again.
    expect(counts).toEqual({
      ...answered('a', undefined, { 'GET 200': 1, 'GET 404': 6 }),
      ...answered('b', undefined, { 'GET 200': 2 + 3 }),
      ...answered(undefined, 'server', { 'GET 200': 1 + 2 + 3, 'GET 404': 6 }),
      losses: 2,
    })
    await kept.stop()
    await ask('b', addresses.ipv4.masqueraded, [{ count: 7 }])
    await expectNew(answered('b', 'server', { 'GET 200': 7 }))
  })

  it('a flood of SYNs: who had to make room is told, who talks is not hit', async () => {
    const host = addresses.ipv4.server
    const other = await startAgent(node.namespaces.node, ['--capture.http-ports=80'], 10478) // that has followed nobody yet
    try {
      const its = createReadings(other, keyOf)
      its.skip()
      const kept = await node.hold('b', 'hold', { host })
      const count = limits.captureConnections + 40 - 1
      const flood = { address: host, hex: synTo80(addresses.ipv4.a, host), count, firstPort: 1024 }
      node.exec('a', process.execPath, faults, 'raw-send', JSON.stringify(flood))
      expect(await kept.act('get', { path: '/', count: 3 })).toEqual({ answers: 3 })
      await its.expectNew({ ...answered('b', 'server', { 'GET 200': 1 + 3 }), 'lost tcp_full': 40 })
      await kept.stop()
    } finally {
      await other.stop()
    }
  })
}, ['curl'])

/** From the IP header on, without TCP's checksum, so that nobody answers. All begin with the same sequence number. */
function synTo80(from: string, to: string): string {
  const addressesOf = [from, to].flatMap((address) => address.split('.').map(Number))
  const ip = [0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, ...addressesOf]
  const tcp = [0, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]
  return Buffer.from([...ip, ...tcp]).toString('hex')
}

const places: Readonly<Record<string, string>> = { 'nvh-a': 'a', 'nvh-b': 'b', 'nvh-server': 'server', '': 'host' }
const ofNode: Readonly<Record<string, string>> = { http_losses_total: 'losses', http_unpaired_total: 'unpaired' }

function keyOf(
  metric: string,
  { pod = '', direction, method, status, kind, source }: Readonly<Record<string, string>>,
): string | undefined {
  if (ofNode[metric] !== undefined) return ofNode[metric]
  if (metric === 'http_unreadable_connections_total') return `unreadable ${kind}`
  if (metric === 'lost_events_total' && /^capture_|^tcp_full$/.test(kind ?? '')) return `lost ${kind}`
  if (metric === 'source_success' && source === 'pcap-http') return 'up'
  const place = places[pod] ?? pod
  if (metric === 'http_requests_total') return `${place} ${direction} ${method} ${status}`
  if (metric === 'http_unanswered_total') return `${place} ${direction} unanswered`
  return metric === 'http_duration_seconds_count' ? `${place} ${direction} durations` : undefined
}
