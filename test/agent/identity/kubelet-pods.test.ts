import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { pollKubelet } from '../../../agent/identity/kubelet-pods.ts'
import type { Bounds } from '../../../agent/identity/kubernetes-api.ts'
import type { PodDirectory } from '../../../agent/identity/pod-directory.ts'
import { limits } from '../../../agent/limits.ts'
import { createFakeLog } from '../http/fake-parts.ts'
import { type ApiServer, certificate, type Handler, podOf, sendJson, startApiServer } from './api-server.ts'

let server: ApiServer
const ends: (() => Promise<void>)[] = []
beforeEach(async () => {
  server = await startApiServer({ kubelet: true })
})
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
  await server.close()
})

const quick: Partial<Bounds> = { kubeletIntervalMs: 2, kubernetesRetryMs: 1, kubernetesRetryMsMax: 4 }

function open(more: Partial<Bounds> = {}, ca = 'authority.crt', verify = true) {
  const files = new Map([['/token', 'secret\n']]).set('/ca', certificate(ca))
  const log = createFakeLog()
  const options = {
    host: '127.0.0.1',
    port: server.port,
    tokenFile: '/token',
    caFile: '/ca',
    verify,
    read: (file: string) => files.get(file) ?? '',
    log: log.log,
  }
  const kubelet = pollKubelet(options, { ...limits, ...quick, ...more })
  const changes: string[] = []
  kubelet.onChange((uid, pod) => changes.push(`${pod === undefined ? '-' : '+'}${uid}`))
  const controller = new AbortController()
  const done = kubelet.start(controller.signal)
  ends.push(() => {
    controller.abort()
    return done
  })
  const until = (check: (status: ReturnType<PodDirectory['status']>) => void): Promise<void> =>
    vi.waitFor(() => check(kubelet.status()), { timeout: 10_000, interval: 2 })
  return { ...kubelet, log, changes, until }
}

const settled = (status: ReturnType<PodDirectory['status']>): void =>
  expect(status).toMatchObject({ state: 'watching', listedOnce: true, lastError: undefined })
const text =
  (status: number, body: string): Handler =>
  (_, response) =>
    void response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(body)

describe('the pods of a kubelet', () => {
  it('are asked for again and again, with the token', async () => {
    const hash = '0123456789abcdef0123456789abcdef'
    server.pods.set('uid-1', podOf(1))
    server.pods.set(hash, podOf(2, { metadata: { uid: hash } }))
    const kubelet = open()
    await kubelet.until(settled)
    expect([...kubelet.pods().values()]).toMatchObject([
      { uid: 'uid-1', addresses: ['10.0.0.1'] },
      { uid: hash, cgroupUid: hash, workload: { name: 'web-2', type: 'staticpod' } },
    ])
    server.pods.delete('uid-1')
    server.pods.set('uid-4', podOf(4))
    await kubelet.until(() => expect(kubelet.changes).toEqual(['+uid-1', `+${hash}`, '-uid-1', '+uid-4']))
    expect(
      new Set(server.requests.map(({ method, url, authorization }) => `${method} ${url.pathname} ${authorization}`)),
    ).toEqual(new Set(['GET /pods Bearer secret']))
    expect(kubelet.log.lines).toEqual([])
  })

  it('may be none', async () => {
    server.faults.push((_, response) => sendJson(response, 200, { kind: 'PodList', metadata: {}, items: null }))
    const kubelet = open({ kubeletIntervalMs: 1e6 })
    await kubelet.until(settled)
    expect(kubelet.pods().size).toBe(0)
  })

  it.each<[string, Handler, string]>([
    ['401', text(401, 'Unauthorized'), '401: the kubelet refuses the token in /token'],
    [
      '403',
      text(
        403,
        'Forbidden (user=system:serviceaccount:x:secret, verb=get, resource=nodes, subresource(s)=[pods proxy])\u001b[2J\n',
      ),
      '403: the service account may not get nodes/pods (Forbidden (user=system:serviceaccount:x:…, verb=get, resource=nodes, subresource(s)=[pods proxy])\ufffd[2J); add to a ClusterRole that is bound to it: {apiGroups: [""], resources: [nodes/pods], verbs: [get]}; this is enough from Kubernetes 1.33 on, where kubelets before ask for nodes/proxy, which would let it run anything on the node: never give that, but let it list and watch pods at the API server instead',
    ],
    [
      '404',
      text(404, '404 page not found'),
      'the kubelet does not answer as Kubernetes does (404 page not found); is this the port of a kubelet?',
    ],
    ['garbage', text(200, 'garbage'), 'the kubelet does not send what Kubernetes does: this is no JSON'],
    [
      'another list',
      (_, response) => sendJson(response, 200, { kind: 'NodeList', items: [podOf(9)] }),
      'this is no list of pods',
    ],
    ['nothing', ({ socket }) => socket.destroy(), 'closed the connection before it answered'],
    ['silence', () => {}, 'did not answer within 50 ms'],
    [
      'a beginning',
      (_, response) => void response.write('{"kind":"PodList","items":['),
      'the kubelet took longer than 100 ms for its pods',
    ],
    [
      'too much',
      (_, response) => sendJson(response, 200, { kind: 'PodList', items: Array(2000).fill(podOf(9)) }),
      'the list of pods is larger than limits.kubernetesListBytes, 100000 bytes; what is known stays',
    ],
  ])('stay when it answers with %s, which is said', async (_, fault, words) => {
    server.pods.set('uid-1', podOf(1))
    const kubelet = open({ kubernetesAnswerMs: 50, kubernetesListMs: 100, kubernetesListBytes: 100_000 })
    await kubelet.until(settled)
    server.faults.push(fault)
    await kubelet.until(({ restarts, lastError }) => {
      expect(restarts).toBe(1)
      expect(lastError).toBeUndefined()
    })
    expect(kubelet.log.lines[0]!.reason).toContain(words)
    expect(kubelet.changes).toEqual(['+uid-1'])
    expect(JSON.stringify(kubelet.log.lines)).not.toContain('secret')
  })

  it('stay when nobody listens', async () => {
    server.pods.set('uid-1', podOf(1))
    const kubelet = open()
    await kubelet.until(settled)
    await server.pause()
    const words = `nothing listens at 127.0.0.1:${server.port}; is the kubelet up, and the address right?`
    await kubelet.until(({ lastError }) => expect(lastError).toBe(words))
    expect(kubelet.pods().size).toBe(1)
    await server.resume()
    await kubelet.until(settled)
  })

  it('may be cut at every byte', async () => {
    server.pods.set('uid-1', podOf(1))
    const list = JSON.stringify({ kind: 'PodList', metadata: {}, items: [podOf(1)] })
    const kubelet = open({ kubeletIntervalMs: 0, kubernetesRetryMs: 0 })
    await kubelet.until(settled)
    for (let bytes = 0; bytes < list.length; bytes++) server.faults.push((_, response) => void response.end(list.slice(0, bytes)))
    await kubelet.until(({ lastError, restarts }) => {
      expect(restarts).toBe(list.length)
      expect(lastError).toBeUndefined()
    })
    expect(kubelet.changes).toEqual(['+uid-1'])
  })
})

describe('the certificate of a kubelet', () => {
  it('of a stranger is not trusted, and gets no token', async () => {
    const kubelet = open({}, 'stranger.crt')
    await kubelet.until(({ lastError }) =>
      expect(lastError).toMatch(/is not trusted \(\w+\); it is often signed by the kubelet itself, not by \/ca: give the CA/),
    )
    expect(server.requests).toEqual([])
  })
  it('is whoever’s where nobody is to verify it', async () => {
    server.pods.set('uid-1', podOf(1))
    const kubelet = open({}, 'stranger.crt', false)
    await kubelet.until(settled)
    expect(kubelet.pods().size).toBe(1)
  })
})
