import fs from 'node:fs'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { NotFound } from '../../../agent/host/errors.ts'
import { watchPods } from '../../../agent/identity/api-server-pods.ts'
import { type Bounds, retryMs } from '../../../agent/identity/kubernetes-api.ts'
import type { PodDirectory } from '../../../agent/identity/pod-directory.ts'
import { limits } from '../../../agent/limits.ts'
import { createFakeLog } from '../http/fake-parts.ts'
import {
  type ApiServer,
  certificate,
  type Handler,
  node,
  podOf,
  sendJson,
  sendStatus,
  startApiServer,
  statusOf,
} from './api-server.ts'

const quick: Partial<Bounds> = { kubernetesRetryMs: 1, kubernetesRetryMsMax: 4 }

let server: ApiServer
const ends: (() => Promise<void>)[] = []

beforeEach(async () => {
  server = await startApiServer({ pageSize: 2 })
})
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
  await server.close()
})

interface Opened extends PodDirectory {
  readonly files: Map<string, string>
  readonly log: ReturnType<typeof createFakeLog>
  readonly changes: string[]
  names(): string[]
  end(): Promise<void>
  until(check: (status: ReturnType<PodDirectory['status']>) => void): Promise<void>
}

function open(
  more: Partial<Bounds> = {},
  where: { host?: string; port?: number } = {},
  spoil: (files: Map<string, string>) => void = () => {},
): Opened {
  const files = new Map([
    ['/token', 'secret\n'],
    ['/ca', certificate('authority.crt')],
  ])
  spoil(files)
  const read = (file: string): string => {
    const text = files.get(file)
    if (text === undefined) throw new NotFound(file)
    return text
  }
  const log = createFakeLog()
  const options = {
    host: '127.0.0.1',
    port: server.port,
    tokenFile: '/token',
    caFile: '/ca',
    nodeName: node,
    read,
    log: log.log,
    ...where,
  }
  const watch = watchPods(options, { ...limits, ...quick, ...more })
  const changes: string[] = []
  watch.onChange((uid, pod) => changes.push(`${pod === undefined ? '-' : '+'}${uid}`))
  const controller = new AbortController()
  const done = watch.start(controller.signal)
  const end = (): Promise<void> => {
    controller.abort()
    return done
  }
  ends.push(end)
  return {
    ...watch,
    files,
    log,
    changes,
    names: () => [...watch.pods().values()].map(({ name }) => name).sort(),
    end,
    until: (check) => vi.waitFor(() => check(watch.status()), { timeout: 10_000, interval: 2 }),
  }
}

const fill = (count: number): void => {
  for (let i = 1; i <= count; i++) server.change('ADDED', podOf(i))
}
const settled = (status: ReturnType<PodDirectory['status']>): void => {
  expect(status).toMatchObject({ state: 'watching', lastError: undefined })
  expect(server.watchers.size).toBe(1)
}
const isWatch = ({ url }: ApiServer['requests'][number]): boolean => url.searchParams.has('watch')
const openFiles = (): number => fs.readdirSync('/proc/self/fd').length

describe('the pods of a node', () => {
  it('are listed in pages, then watched', async () => {
    fill(5)
    const watch = open()
    expect(watch.status()).toMatchObject({ state: 'starting', listedOnce: false, lastSuccessAtMs: undefined })
    await watch.until(settled)
    expect(watch.names()).toEqual(['web-1', 'web-2', 'web-3', 'web-4', 'web-5'])
    expect(watch.status()).toMatchObject({ listedOnce: true, restarts: 0, lastSuccessAtMs: expect.any(Number) })
    expect(server.requests.map(({ url }) => url.searchParams.get('continue'))).toEqual([null, '2', '4', null])
    const [list, , page, last] = server.requests
    expect(Object.fromEntries(list!.url.searchParams)).toEqual({
      fieldSelector: 'spec.nodeName=node-1',
      limit: '500',
      resourceVersion: '0',
    })
    expect(page!.url.searchParams.has('resourceVersion')).toBe(false)
    const asked = Object.fromEntries(last!.url.searchParams)
    expect(asked).toMatchObject({ watch: 'true', allowWatchBookmarks: 'true', resourceVersion: '105' })
    expect(Number(asked.timeoutSeconds)).toBeGreaterThanOrEqual(300)
    expect(Number(asked.timeoutSeconds)).toBeLessThanOrEqual(600)
    expect(server.requests.every(({ method }) => method === 'GET')).toBe(true)

    server.change('ADDED', podOf(6))
    server.change('DELETED', podOf(1))
    server.change('MODIFIED', podOf(2, { status: { phase: 'Failed' } }))
    server.change('MODIFIED', podOf(3, { metadata: { annotations: { nothing: 'kept' } } }))
    server.send({ type: 'BOOKMARK', object: { metadata: { resourceVersion: '777' } } })
    await watch.until(() => expect(watch.changes.slice(5)).toEqual(['+uid-6', '-uid-1', '+uid-2']))
    expect(watch.pods().get('uid-2')).toMatchObject({ phase: 'Failed', addresses: [] })

    for (const watcher of server.watchers) watcher.end()
    await watch.until(() => expect(server.requests).toHaveLength(5))
    expect(server.requests[4]!.url.searchParams.get('resourceVersion')).toBe('777')
    expect(watch.status()).toMatchObject({ restarts: 0 })
    expect(watch.log.lines).toEqual([])
  })

  it('go on when the API server is away, and are right when it is back', async () => {
    fill(3)
    const watch = open({ kubernetesSteadyMs: 0 })
    await watch.until(settled)
    await server.pause()
    await watch.until(({ state, lastError }) => {
      expect(state).toBe('retrying')
      expect(lastError).toBe(`nothing listens at 127.0.0.1:${server.port}; is the API server up, and the address right?`)
    })
    expect(watch.names()).toHaveLength(3)
    expect(watch.changes).toHaveLength(3)
    server.change('DELETED', podOf(1))
    server.change('ADDED', podOf(4))
    await server.resume()
    await watch.until(settled)
    await watch.until(() => expect(watch.names()).toEqual(['web-2', 'web-3', 'web-4']))
    expect(watch.status().restarts).toBeGreaterThan(0)
    server.send({ type: 'BOOKMARK', object: { metadata: { resourceVersion: '900' } } })
    await watch.until(() => expect(watch.log.lines.at(-1)).toMatchObject({ level: 'info', message: 'pods are watched again' }))
  })

  it('are listed anew when what was watched is too old, at once the first time', async () => {
    fill(1)
    const watch = open({ kubernetesRetryMs: 1e6, kubernetesRetryMsMax: 1e6 })
    await watch.until(settled)
    server.pods.set('uid-2', podOf(2))
    server.send({ type: 'BOOKMARK', object: { metadata: { resourceVersion: '101' } } })
    server.send({ type: 'ERROR', object: statusOf(410, 'too old resource version') })
    await watch.until(() => expect(watch.names()).toEqual(['web-1', 'web-2']))
    await watch.until(settled)
    expect(server.requests.slice(2).map(isWatch)).toEqual([false, true])
  })

  it('are not listed in circles when each watch is too old after an event', async () => {
    fill(1)
    const lines = [
      { type: 'BOOKMARK', object: { metadata: { resourceVersion: '101' } } },
      { type: 'ERROR', object: statusOf(410, '') },
    ]
    const gone: Handler = (_, response) => void response.end(lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
    server.watchFaults.push(gone, gone)
    const watch = open({ kubernetesRetryMs: 1e9, kubernetesRetryMsMax: 1e9 })
    await watch.until(({ restarts }) => expect(restarts).toBe(2))
    expect(watch.log.lines.map(({ level }) => level)).toEqual(['debug', 'warn'])
    expect(server.requests.map(isWatch)).toEqual([false, true, false, true])
  })

  it('are asked of etcd when the memory of the API server is too old again', async () => {
    fill(1)
    const gone: Handler = (_, response) => sendStatus(response, 410, 'Expired')
    server.watchFaults.push(gone, gone)
    const watch = open()
    await watch.until(settled)
    expect(server.requests.filter((one) => !isWatch(one)).map(({ url }) => url.searchParams.get('resourceVersion'))).toEqual([
      '0',
      '0',
      null,
    ])
    expect(watch.status().restarts).toBe(2)
  })

  it('are listed from the start when a page is too old', async () => {
    fill(3)
    const watch = open()
    await watch.until(settled)
    server.faults.push(
      (_, response) => sendJson(response, 200, { kind: 'PodList', metadata: { continue: 'x' }, items: [podOf(9)] }),
      (_, response) => sendStatus(response, 410, 'The provided continue parameter is too old'),
    )
    server.send({ type: 'ERROR', object: statusOf(410, 'too old') })
    await watch.until(() => expect(server.requests.length).toBeGreaterThanOrEqual(8))
    await watch.until(settled)
    expect(watch.changes).toHaveLength(3) // half a list changes nothing
  })

  it('of which one takes the name of another are not mixed up', async () => {
    fill(1)
    const watch = open()
    await watch.until(settled)
    server.send({ type: 'ADDED', object: podOf(1, { metadata: { uid: 'twin', resourceVersion: '200' } }) })
    await watch.until(() => expect([...watch.pods().keys()]).toEqual(['twin']))
    server.send({ type: 'DELETED', object: podOf(1, { metadata: { resourceVersion: '201' } }) })
    server.send({ type: 'MODIFIED', object: podOf(1, { metadata: { uid: 'twin', name: 'renamed', resourceVersion: '202' } }) })
    server.send({ type: 'ADDED', object: podOf(1, { metadata: { uid: 'third', resourceVersion: '203' } }) })
    await watch.until(() => expect([...watch.pods().keys()]).toEqual(['twin', 'third']))
  })

  it('leaves out and counts what is not theirs', async () => {
    server.pods.set('a', podOf(1))
    server.pods.set('b', podOf(1, { metadata: { name: 'impostor' } }))
    server.pods.set('c', podOf(2, { spec: { nodeName: 'node-2' } }))
    server.pods.set('d', podOf(3, { metadata: { name: 'x"} 1\n' } }))
    server.pods.set('e', podOf(4))
    server.pods.set('f', podOf(5))
    const watch = open({ kubernetesPods: 2 })
    await watch.until(settled)
    expect(watch.names()).toEqual(['web-1', 'web-4'])
    expect(watch.status().leftOut).toEqual({ duplicates: 1, otherNodes: 1, invalidObjects: 1, invalidFields: 0, tooMany: 1 })
    const version = { resourceVersion: '300' }
    server.send({ type: 'ADDED', object: podOf(7, { metadata: version }) })
    server.send({ type: 'ADDED', object: podOf(8, { metadata: version, spec: { nodeName: 'node-2' } }) })
    server.send({ type: 'MODIFIED', object: podOf(1, { metadata: { ...version, name: '../x' } }) })
    server.send({ type: 'DELETED', object: podOf(99, { metadata: version }) })
    server.send({ type: 'MODIFIED', object: podOf(4, { metadata: version, status: { startTime: 7 } }) })
    await watch.until(({ leftOut }) =>
      expect(leftOut).toEqual({ duplicates: 1, otherNodes: 2, invalidObjects: 2, invalidFields: 1, tooMany: 2 }),
    )
    expect(watch.names()).toEqual(['web-1', 'web-4'])
  })
})

describe('an API server that refuses', () => {
  it('a token that was renewed meanwhile gets the new one at once', async () => {
    fill(1)
    const watch = open({ kubernetesRetryMs: 1e6, kubernetesRetryMsMax: 1e6 })
    await watch.until(settled)
    server.tokens.clear()
    server.tokens.add('Bearer newer')
    server.faults.push((_, response) => {
      watch.files.set('/token', 'newer')
      sendStatus(response, 401, 'Unauthorized')
    })
    server.send({ type: 'BOOKMARK', object: { metadata: { resourceVersion: '101' } } })
    await watch.until(({ lastSuccessAtMs }) => expect(lastSuccessAtMs).toBeDefined())
    for (const watcher of server.watchers) watcher.end()
    await watch.until(() => expect(server.requests).toHaveLength(4))
    await watch.until(settled)
    expect(server.requests.slice(2).map(({ authorization }) => authorization)).toEqual(['Bearer secret', 'Bearer newer'])
    expect(watch.status().restarts).toBe(0)
  })

  it('the token says so, never the token itself', async () => {
    fill(1)
    server.tokens.clear()
    const watch = open()
    await watch.until(({ lastError }) =>
      expect(lastError).toBe(
        '401: the API server refuses the token in /token; it may have expired, or be of another cluster: start the pod anew',
      ),
    )
    server.tokens.add('Bearer newer')
    watch.files.set('/token', 'newer\n')
    await watch.until(settled)
    expect(JSON.stringify(watch.log.lines)).not.toContain('secret')
  })

  it('the right prints the rule to add', async () => {
    fill(1)
    server.faults.push(
      ...Array<Handler>(2).fill((_, response) =>
        sendStatus(response, 403, 'pods is forbidden: User "x" with secret cannot list\u001b[2J'),
      ),
    )
    server.watchFaults.push((_, response) => sendStatus(response, 403, 'x'.repeat(1e5)))
    const watch = open()
    await watch.until(settled)
    const { lines } = watch.log
    expect(lines.map(({ level }) => level)).toEqual(['warn', 'debug', 'warn'])
    expect(lines[0]).toMatchObject({
      message: 'pods cannot be watched; those that are known stay',
      reason:
        '403: the service account may not list and watch pods (pods is forbidden: User "x" with … cannot list\ufffd[2J); add to a ClusterRole that is bound to it: {apiGroups: [""], resources: [pods], verbs: [list, watch]}',
    })
    expect(String(lines[2]!.reason).length).toBeLessThan(600)
    expect(watch.names()).toEqual(['web-1'])
  })

  it('the watch alone is listed again now and then', async () => {
    fill(1)
    server.watchFaults.push(...Array<Handler>(1000).fill((_, response) => sendStatus(response, 403, 'cannot watch')))
    const watch = open()
    await watch.until(({ listedOnce }) => expect(listedOnce).toBe(true))
    server.pods.set('uid-2', podOf(2))
    await watch.until(() => expect(watch.names()).toEqual(['web-1', 'web-2']))
    expect(watch.status().state).toBe('retrying')
  })

  it.each<[string, Handler, string]>([
    [
      '429',
      (_, response) => sendStatus(response, 429, 'too many'),
      '429: the API server has too much to do (too many); it is asked again later',
    ],
    ['500', (_, response) => sendStatus(response, 500, 'etcd'), '500: the API server has a fault (etcd); see its log'],
    ['503 in HTML', (_, response) => void response.writeHead(503).end('<html>'), '503: the API server has a fault; see its log'],
    [
      '302',
      (_, response) => void response.writeHead(302, { location: 'https://elsewhere/' }).end(),
      '302: the API server does not answer as Kubernetes does; are KUBERNETES_SERVICE_HOST and _PORT right?',
    ],
    [
      'garbage',
      (_, response) => void response.end('garbage'),
      'the API server does not send what Kubernetes does: this is no JSON',
    ],
    [
      'another kind',
      (_, response) => sendJson(response, 200, { kind: 'NodeList', metadata: { resourceVersion: '1' }, items: [podOf(9)] }),
      'the API server does not send what Kubernetes does: this is no list of pods',
    ],
    [
      'no version',
      (_, response) => sendJson(response, 200, { kind: 'PodList', items: [podOf(9)] }),
      'the API server does not send what Kubernetes does: there is no resourceVersion',
    ],
    [
      'no HTTP',
      ({ socket }) => void socket.end('SSH-2.0-x\r\n\r\n'),
      'does not speak HTTP as expected (HPE_INVALID_CONSTANT); is the port right?',
    ],
    ['nothing', ({ socket }) => socket.destroy(), 'closed the connection before it answered'],
  ])('with %s is asked again', async (_, fault, words) => {
    fill(1)
    server.faults.push(fault)
    const watch = open()
    await watch.until(settled)
    expect(watch.log.lines).toHaveLength(1)
    expect(watch.log.lines[0]!.reason).toContain(words)
    expect(watch.changes).toEqual(['+uid-1'])
  })

  it('says when to come again', async () => {
    fill(1)
    server.faults.push((_, response) => sendStatus(response, 429, 'too many', { 'retry-after': '99999999' }))
    const watch = open({ kubernetesRetryAfterMs: 30 })
    const waits = vi.spyOn(globalThis, 'setTimeout')
    await watch.until(settled)
    expect(waits.mock.calls.filter(([, ms]) => ms === 30)).toHaveLength(1)
    waits.mockRestore()
  })
})

describe('what cannot be reached or trusted', () => {
  it.each<[string, { host?: string; port?: number }, (files: Map<string, string>) => void, string | RegExp]>([
    [
      'a stranger',
      {},
      (files) => files.set('/ca', certificate('stranger.crt')),
      /^the certificate of 127.0.0.1:\d+ is not trusted \(\w+\); is \/ca the CA of this cluster\?$/,
    ],
    ['no CA', {}, (files) => files.set('/ca', ''), '/ca: there is no certificate in it'],
    ['a broken CA', {}, (files) => files.set('/ca', '-----BEGIN CERTIFICATE-----\nx'), /is not trusted|cannot be asked/],
    [
      'no CA file',
      {},
      (files) => files.delete('/ca'),
      'the CA certificate of the cluster cannot be read: /ca: no such file; does the pod mount its service account?',
    ],
    [
      'no token file',
      {},
      (files) => files.delete('/token'),
      'the token of the service account cannot be read: /token: no such file; does the pod mount its service account?',
    ],
    ['an empty token file', {}, (files) => files.set('/token', '\n'), '/token: there is no token in it'],
    ['two lines for a token', {}, (files) => files.set('/token', 'secret\r\nx: y'), '/token: there is no token in it'],
    ['another name', { host: '127.0.0.2' }, () => {}, /nothing listens at 127.0.0.2|is for other names/],
    ['no name', { host: 'api.invalid' }, () => {}, /^the name of api.invalid:\d+ cannot be resolved; a host-network pod needs/],
  ])('%s', async (_, where, spoil, words) => {
    const watch = open({ kubernetesRetryMs: 20, kubernetesRetryMsMax: 20 }, where, spoil)
    await watch.until(({ lastError }) => expect(lastError).toMatch(words))
    expect(server.requests).toEqual([])
    expect(watch.status().state).toBe('retrying')
    expect(JSON.stringify(watch.log.lines)).not.toContain('secret')
  })

  it('is trusted again with the right CA, without a new start', async () => {
    fill(1)
    const watch = open({}, {}, (files) => files.set('/ca', certificate('stranger.crt')))
    await watch.until(({ lastError }) => expect(lastError).toContain('is not trusted'))
    expect(server.requests).toEqual([])
    watch.files.set('/ca', certificate('authority.crt'))
    await watch.until(settled)
  })
})

describe('a slow or broken stream', () => {
  it('without the head of an answer is left', async () => {
    fill(1)
    server.faults.push(() => {})
    const watch = open({ kubernetesAnswerMs: 20 })
    await watch.until(settled)
    expect(watch.log.lines[0]!.reason).toContain('did not answer within 20 ms; do routes,')
  })

  it('of a list in drops is left', async () => {
    fill(1)
    let drops: NodeJS.Timeout | undefined
    server.faults.push((_, response) => {
      response.write('{"kind":"PodList","items":[')
      drops = setInterval(() => response.write(' '), 2)
    })
    const watch = open({ kubernetesListMs: 40 })
    await watch.until(settled)
    clearInterval(drops)
    expect(watch.log.lines[0]!.reason).toBe('the API server took longer than 40 ms for the list of pods; is it overloaded?')
  })

  it('of a watch that is silent, or drips but never ends a line, begins anew', async () => {
    fill(1)
    let drops: NodeJS.Timeout | undefined
    server.watchFaults.push((_, response) => {
      response.write('{"type":')
      drops = setInterval(() => response.write(' '), 2)
    })
    const watch = open({ kubernetesSilenceMs: 40 })
    await watch.until(({ restarts }) => expect(restarts).toBeGreaterThanOrEqual(2))
    clearInterval(drops)
    expect(watch.status().lastError).toBeUndefined()
    expect(watch.log.lines.every(({ level }) => level === 'debug')).toBe(true)
    expect(server.requests.slice(1).every(isWatch)).toBe(true)
    await watch.until(settled)
  })

  it.each<[string, string, string]>([
    ['garbage', 'garbage\n', 'this is no JSON'],
    ['no object', '{"type":"ADDED"}\n', 'there is no resourceVersion'],
    ['no event', '[]\n', 'there is no resourceVersion'],
    ['an unknown event', '{"type":"X","object":{"metadata":{"resourceVersion":"1"}}}\n', 'an event of an unknown type'],
    [
      'an error without a code',
      '{"type":"ERROR","object":null}\n',
      'no status: the API server does not answer as Kubernetes does',
    ],
    [
      'an error of the server',
      `${JSON.stringify({ type: 'ERROR', object: statusOf(500, 'x secret') })}\n`,
      '500: the API server has a fault (x …); see its log',
    ],
    [
      'too long a line',
      `{"type":"${'x'.repeat(5000)}"}\n`,
      'an event is larger than limits.kubernetesObjectBytes, 4000 bytes; what is known stays',
    ],
    ['nothing at all', '', 'the API server ended the watch at once; it is asked again'],
  ])('of a watch with %s begins anew', async (_, text, words) => {
    fill(1)
    server.watchFaults.push((_request, response) => void response.end(text))
    const watch = open({ kubernetesObjectBytes: 4000 })
    await watch.until(settled)
    expect(watch.status().restarts).toBe(1)
    expect(watch.log.lines[0]!.reason).toContain(words)
    expect(watch.changes).toEqual(['+uid-1'])
  })

  it('larger than its limits names them, and changes nothing', async () => {
    fill(2)
    const watch = open()
    await watch.until(settled)
    const huge = podOf(3, { metadata: { annotations: { x: 'x'.repeat(limits.kubernetesObjectBytes) } } })
    server.faults.push((_, response) =>
      sendJson(response, 200, { kind: 'PodList', metadata: { resourceVersion: '1' }, items: [huge] }),
    )
    server.send({ type: 'ERROR', object: statusOf(410, '') })
    await watch.until(({ restarts }) => expect(restarts).toBe(2))
    expect(watch.log.lines.map(({ reason }) => reason)).toContain(
      'one of the pods is larger than limits.kubernetesObjectBytes, 4194304 bytes; what is known stays',
    )
    await watch.until(settled)
    expect(watch.changes).toHaveLength(2)
    const other = open({ kubernetesListBytes: 100 })
    await other.until(({ lastError }) =>
      expect(lastError).toBe('the list of pods is larger than limits.kubernetesListBytes, 100 bytes; what is known stays'),
    )
  })

  const names = new Set(['+uid-1', '+uid-2'])
  const list = JSON.stringify({ kind: 'PodList', metadata: { resourceVersion: '102' }, items: [podOf(1), podOf(2)] })
  const cutAt =
    (text: string, bytes: number, isPolite: boolean): Handler =>
    (_, response) => {
      response.writeHead(200, isPolite ? {} : { 'content-length': Buffer.byteLength(text) })
      if (isPolite) response.end(text.slice(0, bytes))
      else response.write(`${text.slice(0, bytes)}`, () => response.socket?.destroySoon())
      if (!isPolite && bytes === 0) response.socket?.destroy()
    }

  it.each([true, false])('of a list may be cut at every byte (politely: %s)', async (isPolite) => {
    fill(2)
    for (let bytes = 0; bytes < list.length; bytes++) server.faults.push(cutAt(list, bytes, isPolite))
    const watch = open({ kubernetesRetryMs: 0 })
    await watch.until(settled)
    expect(server.faults).toEqual([])
    expect(watch.status().restarts).toBe(list.length)
    expect(watch.changes).toEqual([...names])
  })

  it.each([true, false])('of a watch may be cut at every byte (politely: %s)', async (isPolite) => {
    fill(2)
    const version = { resourceVersion: '101' }
    const events = [
      { type: 'ADDED', object: podOf(1, { metadata: version }) },
      { type: 'BOOKMARK', object: { metadata: version } },
    ]
    const stream = events.map((event) => `${JSON.stringify(event)}\n`).join('')
    for (let bytes = 0; bytes <= stream.length; bytes++) server.watchFaults.push(cutAt(stream, bytes, isPolite))
    const watch = open({ kubernetesRetryMs: 0 })
    await watch.until(() => expect(server.watchFaults).toEqual([]))
    await watch.until(settled)
    expect(watch.names()).toEqual(['web-1', 'web-2'])
    expect(watch.changes).toEqual([...names])
  })

  it('of a watch may bring anything', async () => {
    fill(2)
    const watch = open({ kubernetesRetryMs: 0 })
    await watch.until(settled)
    const event = fc.oneof(
      fc.jsonValue(),
      fc.record({ type: fc.constantFrom('ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK', 'ERROR', 'x'), object: fc.jsonValue() }),
      fc.record({
        type: fc.constantFrom('ADDED', 'MODIFIED'),
        object: fc.record({
          metadata: fc.dictionary(fc.constantFrom('uid', 'name', 'namespace', 'resourceVersion'), fc.jsonValue()),
          spec: fc.jsonValue(),
        }),
      }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(event, { minLength: 1, maxLength: 5 }), async (events) => {
        for (const one of events) server.send(one)
        await watch.until(settled)
      }),
      { numRuns: 100 },
    )
    expect(watch.names()).toEqual(['web-1', 'web-2'])
  })
})

describe('the end', () => {
  it('leaves nothing open', async () => {
    fill(2)
    const warm = open()
    await warm.until(settled)
    await warm.end()
    await expect.poll(() => server.watchers.size).toBe(0)
    const before = openFiles()
    const watching = open()
    await watching.until(settled)
    expect(openFiles()).toBeGreaterThan(before)
    await watching.end()
    expect(watching.status().state).toBe('stopped')
    server.faults.push(() => {})
    const asking = open()
    await expect.poll(() => server.faults).toEqual([])
    await asking.end()
    const connecting = open()
    await connecting.end()
    server.faults.push((_, response) => sendStatus(response, 503, ''))
    const waiting = open({ kubernetesRetryMs: 1e7, kubernetesRetryMsMax: 1e7 })
    await waiting.until(({ state }) => expect(state).toBe('retrying'))
    await waiting.end()
    await expect.poll(openFiles).toBe(before)
  })
})

describe('the wait after a failure', () => {
  it('doubles, has a maximum, and is a random part of that', () => {
    expect([0, 1, 2, 5, 6, 100, 5000].map((failures) => retryMs(failures, limits, () => 1))).toEqual([
      1000, 2000, 4000, 32_000, 60_000, 60_000, 60_000,
    ])
    expect(retryMs(3, limits, () => 0.25)).toBe(2000)
  })
})
