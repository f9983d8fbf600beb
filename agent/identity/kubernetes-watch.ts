import { createLineSplitter, type LineSplitter } from '../host/lines.ts'
import { limits } from '../limits.ts'
import type { Log } from '../log.ts'
import { type Deadline, sleep, within } from './deadline.ts'
import { ApiError, type ApiOptions, type Bounds, createApi, readAnswer } from './kubernetes-api.ts'
import { createListReader } from './kubernetes-list.ts'
import { field, type PodRecord } from './kubernetes-pods.ts'
import { createPodStore, type LeftOut, type PodListener } from './kubernetes-store.ts'

export interface PodWatchOptions extends ApiOptions {
  readonly nodeName: string
  readonly log: Log
}

export interface PodWatch {
  /** Once. Goes on until the signal; resolves when nothing of it is open any more, and never rejects. */
  start(signal: AbortSignal): Promise<void>
  /** By UID, as last known: an error takes none of them away. */
  pods(): ReadonlyMap<string, PodRecord>
  status(): PodWatchStatus
  /** Returns how to leave. */
  onChange(listener: PodListener): () => void
}

export interface PodWatchStatus {
  readonly state: 'starting' | 'watching' | 'retrying' | 'stopped'
  readonly listedOnce: boolean
  /** By performance.now(): the last list or event. A quiet watch has one about every minute. Undefined: none yet. */
  readonly lastSuccessAtMs: number | undefined
  /** In words, with what to do; undefined: nothing is wrong. */
  readonly lastError: string | undefined
  /** How often it began anew after a failure or a silence. */
  readonly restarts: number
  readonly leftOut: Readonly<LeftOut>
}

/** Lists and watches the pods of one node. */
export function watchPods(options: PodWatchOptions, bounds: Bounds = limits): PodWatch {
  const { nodeName, log } = options
  const selector = `fieldSelector=${encodeURIComponent(`spec.nodeName=${nodeName}`)}`
  const api = createApi(options, bounds)
  const store = createPodStore(nodeName, bounds)
  let state: PodWatchStatus['state'] = 'starting'
  let listedOnce = false
  let lastSuccessAtMs: number | undefined
  let lastError: string | undefined
  let restarts = 0
  /** Where the next watch goes on from; undefined: list first. */
  let version: string | undefined
  /** In a row. A list or an event does not end the row, because each watch may fail after it: only time does. */
  let failures = 0
  let expiries = 0
  let splitter: LineSplitter | undefined
  let onEvent: (line: string) => void = () => {}
  let logged: { readonly why: string; readonly atMs: number } | undefined

  /** A watch has gone well for a while. */
  function prove(): void {
    failures = 0
    expiries = 0
    if (logged !== undefined) log.info({ node: nodeName }, 'pods are watched again')
    logged = undefined
  }

  async function list(signal: AbortSignal): Promise<void> {
    const found = store.begin()
    let bytesLeft = bounds.kubernetesListBytes
    // From the API server's memory, where pods are found by node; only if that is too old, from etcd, where all are gone through.
    let from = expiries > 1 ? '' : '&resourceVersion=0'
    for (let isWhole = false; !isWhole; ) {
      const reader = createListReader({
        onItem: (item) => found.add(item),
        objectBytesMax: bounds.kubernetesObjectBytes,
        tooLong: () => tooLarge('a pod', 'kubernetesObjectBytes', bounds),
      })
      const answer = await api.get(`/api/v1/pods?${selector}&limit=${bounds.kubernetesPagePods}${from}`, signal)
      const take = (chunk: Buffer): void => {
        bytesLeft -= chunk.length
        if (bytesLeft < 0) throw tooLarge('the list of pods', 'kubernetesListBytes', bounds)
        reader.push(chunk)
      }
      await readAnswer(answer, take, signal)
      const frame = reader.end()
      const metadata = field(frame, 'metadata')
      if (field(frame, 'kind') !== 'PodList') throw new SyntaxError('this is no list of pods')
      const next = field(metadata, 'continue')
      if (typeof next === 'string' && next !== '') {
        from = `&continue=${encodeURIComponent(next)}`
      } else {
        version = readVersion(metadata)
        isWhole = true
      }
    }
    found.commit()
    listedOnce = true
    lastSuccessAtMs = performance.now()
  }

  /** The same one for all watches, because it takes as much memory as the longest line. */
  function openSplitter(onLine: (line: string) => void): LineSplitter {
    onEvent = onLine
    splitter ??= createLineSplitter({
      onLine: (line) => onEvent(line),
      onLong() {
        version = undefined
        throw tooLarge('an event', 'kubernetesObjectBytes', bounds)
      },
      bytesMax: bounds.kubernetesObjectBytes,
    })
    splitter.skip() // what the last watch left unfinished is forgotten
    splitter.end()
    return splitter
  }

  async function watch(from: string, deadline: Deadline): Promise<void> {
    const { kubernetesWatchMs: min, kubernetesWatchMsMax: max } = bounds
    const seconds = Math.max(1, Math.round((min + Math.random() * (max - min)) / 1000))
    const how = `watch=true&allowWatchBookmarks=true&timeoutSeconds=${seconds}&resourceVersion=${encodeURIComponent(from)}`
    const answer = await api.get(`/api/v1/pods?${selector}&${how}`, deadline.signal)
    const openedAtMs = performance.now()
    const isSteady = (): boolean => performance.now() - openedAtMs >= bounds.kubernetesSteadyMs
    let events = 0
    state = 'watching'
    lastError = undefined
    const lines = openSplitter((line) => {
      takeEvent(line)
      deadline.renew()
      events++
      lastSuccessAtMs = performance.now()
      if (isSteady()) prove()
    })
    try {
      await readAnswer(answer, (chunk) => lines.push(chunk), deadline.signal)
    } finally {
      if (isSteady()) prove()
    }
    // Some API servers answer so what is too old; they are not to be asked in circles.
    if (events === 0 && !isSteady()) throw new ApiError('the API server ended the watch at once; it is asked again')
  }

  /** What is not as it should be may hide an event: what follows is not to be trusted without a list. */
  function takeEvent(line: string): void {
    const from = version
    version = undefined
    const event: unknown = JSON.parse(line)
    const type = field(event, 'type')
    const object = field(event, 'object')
    if (type === 'ERROR') {
      const code = field(object, 'code')
      const status = typeof code === 'number' && Number.isInteger(code) ? code : 0
      if (status >= 429) version = from
      throw api.describe(status, JSON.stringify(object))
    }
    const next = readVersion(field(object, 'metadata'))
    if (type === 'ADDED' || type === 'MODIFIED') store.put(object)
    else if (type === 'DELETED') store.remove(object)
    else if (type !== 'BOOKMARK') throw new SyntaxError('an event of an unknown type')
    version = next
  }

  /** Returns how long to wait now. */
  function fail(error: unknown): number {
    const { status, retryAfterMs } = error instanceof ApiError ? error : { status: undefined, retryAfterMs: 0 }
    const waitMs = status === 410 && failures === 0 ? 0 : Math.max(retryMs(failures, bounds), retryAfterMs)
    failures++
    restarts++
    if (status === 410) expiries++
    if (status === 410 || failures % bounds.kubernetesWatchFailures === 0) version = undefined
    state = 'retrying'
    lastError =
      error instanceof ApiError ? error.message : `the API server does not send what Kubernetes does: ${reasonOf(error)}`
    const nowMs = performance.now()
    const repeats = logged !== undefined && logged.why === lastError && nowMs - logged.atMs < limits.failureLogMs
    const level = waitMs === 0 ? 'debug' : repeats ? 'debug' : 'warn'
    log[level]({ node: nodeName, reason: lastError }, 'pods cannot be watched; those that are known stay')
    if (level === 'warn') logged = { why: lastError, atMs: nowMs }
    return waitMs
  }

  async function listAndWatch(signal: AbortSignal): Promise<void> {
    if (version === undefined) {
      const words = `the API server took longer than ${bounds.kubernetesListMs} ms for the list of pods; is it overloaded?`
      await within(signal, bounds.kubernetesListMs, new ApiError(words), (deadline) => list(deadline.signal))
    }
    const from = version
    if (from === undefined) return
    const silence = new ApiError('nothing came from the API server')
    try {
      await within(signal, bounds.kubernetesSilenceMs, silence, (deadline) => watch(from, deadline))
    } catch (error) {
      if (error !== silence) throw error
      restarts++
      log.debug({ node: nodeName }, 'a silent watch begins anew')
    }
  }

  return {
    async start(signal) {
      while (!signal.aborted) {
        try {
          await listAndWatch(signal)
        } catch (error) {
          if (!signal.aborted) await sleep(fail(error), signal)
        }
      }
      await api.close()
      state = 'stopped'
    },
    pods: () => store.pods,
    status: () => ({ state, listedOnce, lastSuccessAtMs, lastError, restarts, leftOut: { ...store.leftOut } }),
    onChange: (listener) => store.onChange(listener),
  }
}

/** A random part of a time that doubles, so that the agents of a thousand nodes do not ask together. */
export function retryMs(failures: number, bounds: Bounds, random = Math.random): number {
  return random() * Math.min(bounds.kubernetesRetryMsMax, bounds.kubernetesRetryMs * 2 ** failures)
}

const tooLarge = (what: string, limit: keyof Bounds, bounds: Bounds): ApiError =>
  new ApiError(`${what} is larger than limits.${limit}, ${bounds[limit]} bytes; what is known stays`)

/** Opaque, but a string. */
function readVersion(metadata: unknown): string {
  const version = field(metadata, 'resourceVersion')
  if (typeof version !== 'string' || !/^[\x21-\x7e]{1,64}$/.test(version)) throw new SyntaxError('there is no resourceVersion')
  return version
}

/** Parts of what cannot be parsed are not repeated: they may be anything. */
const reasonOf = (error: unknown): string =>
  error instanceof SyntaxError && !/JSON/.test(error.message)
    ? error.message
    : error instanceof SyntaxError
      ? 'this is no JSON'
      : String(error)
