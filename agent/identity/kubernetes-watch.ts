import { createLineSplitter, type LineSplitter } from '../host/lines.ts'
import { limits } from '../limits.ts'
import type { Log } from '../log.ts'
import { type Deadline, sleep, within } from './deadline.ts'
import { createFaultLog } from './fault-log.ts'
import {
  ApiError,
  type ApiOptions,
  apiServerHints,
  type Bounds,
  createApi,
  readList,
  retryMs,
  tooLarge,
} from './kubernetes-api.ts'
import { field } from './kubernetes-fields.ts'
import type { DirectoryStatus } from './pod-directory.ts'
import { createRecordStore, type NamedRecord, type RecordListener, type RecordStoreOptions } from './record-store.ts'

/** What can be listed and watched, and what is kept of it. */
export interface Resource<R> extends RecordStoreOptions<R> {
  readonly path: string
  /** Of a list: `PodList`. */
  readonly kind: string
  /** `pods`. */
  readonly what: string
  /** Empty, or `fieldSelector=…&`. */
  readonly selector: string
  /** Of the ClusterRole that allows it. */
  readonly rule: string
  /** Of a whole list: its size, and the time it may take. */
  readonly bounds: { readonly bytes: keyof Bounds; readonly ms: keyof Bounds }
  /** Of log lines. */
  readonly fields: Readonly<Record<string, string>>
}

export interface WatchOptions extends ApiOptions {
  readonly log: Log
}

export interface Watch<R> {
  /** Once. Goes on until the signal; resolves when nothing of it is open any more, and never rejects. */
  start(signal: AbortSignal): Promise<void>
  /** By UID, as last known: an error takes none of them away. */
  records(): ReadonlyMap<string, R>
  status(): DirectoryStatus
  /** Returns how to leave. */
  onChange(listener: RecordListener<R>): () => void
}

/** Lists and watches what the API server has of a resource. */
export function watchResource<R extends NamedRecord>(
  resource: Resource<R>,
  options: WatchOptions,
  bounds: Bounds = limits,
): Watch<R> {
  const { what, kind } = resource
  const right = `list and watch ${what}`
  const api = createApi({ server: 'the API server', what, right, rule: resource.rule, hints: apiServerHints }, options, bounds)
  const store = createRecordStore(resource)
  const words = { fault: `${what} cannot be watched; those that are known stay`, over: `${what} are watched again` }
  const { fault, over } = createFaultLog(options.log, resource.fields, words)
  let state: DirectoryStatus['state'] = 'starting'
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

  /** A watch has gone well for a while. */
  function prove(): void {
    failures = 0
    expiries = 0
    over()
  }

  async function list(signal: AbortSignal): Promise<void> {
    const found = store.begin()
    const limit = resource.bounds.bytes
    const page = { kind, what, onItem: found.add, limit, left: { bytes: bounds[limit] } }
    // From the API server's memory, where pods are found by node; only if that is too old, from etcd, where all are gone through.
    let from = expiries > 1 ? '' : '&resourceVersion=0'
    for (let isWhole = false; !isWhole; ) {
      const path = `${resource.path}?${resource.selector}limit=${bounds.kubernetesPagePods}${from}`
      const metadata = field(await readList(api, path, page, bounds, signal), 'metadata')
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
    const answer = await api.get(`${resource.path}?${resource.selector}${how}`, deadline.signal)
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
      await api.read(answer, (chunk) => lines.push(chunk), deadline.signal)
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
      throw api.describe(status, String(field(object, 'message') ?? ''))
    }
    const next = readVersion(field(object, 'metadata'))
    if (type === 'ADDED' || type === 'MODIFIED') store.put(object)
    else if (type === 'DELETED') store.remove(String(field(field(object, 'metadata'), 'uid')))
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
    lastError = api.describeFault(error)
    fault(lastError, waitMs === 0)
    return waitMs
  }

  async function listAndWatch(signal: AbortSignal): Promise<void> {
    if (version === undefined) {
      const ms = bounds[resource.bounds.ms]
      const slow = new ApiError(`the API server took longer than ${ms} ms for the list of ${what}; is it overloaded?`)
      await within(signal, ms, slow, (deadline) => list(deadline.signal))
    }
    const from = version
    if (from === undefined) return
    const silence = new ApiError('nothing came from the API server')
    try {
      await within(signal, bounds.kubernetesSilenceMs, silence, (deadline) => watch(from, deadline))
    } catch (error) {
      if (error !== silence) throw error
      restarts++
      options.log.debug({ ...resource.fields, what }, 'a silent watch begins anew')
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
    records: () => store.records,
    status: () => ({ state, listedOnce, lastSuccessAtMs, lastError, restarts, leftOut: { ...store.leftOut } }),
    onChange: store.onChange,
  }
}

/** Opaque, but a string. */
function readVersion(metadata: unknown): string {
  const version = field(metadata, 'resourceVersion')
  if (typeof version !== 'string' || !/^[\x21-\x7e]{1,64}$/.test(version)) throw new SyntaxError('there is no resourceVersion')
  return version
}
