import https from 'node:https'
import type { Files } from '../host/files.ts'
import { pour } from '../host/lines.ts'
import type { limits } from '../limits.ts'
import { cleanLabelValue } from '../metrics/label-text.ts'
import { field } from './kubernetes-fields.ts'
import { createListReader } from './kubernetes-list.ts'

export type Bounds = {
  readonly [L in keyof typeof limits as L extends `kube${string}` | `peer${string}` ? L : never]: number
}

/** Who is asked for what: the words about faults depend on it. */
export interface Question {
  readonly server: 'the API server' | 'the kubelet'
  /** `pods`. */
  readonly what: string
  /** `list and watch pods`, and the rule of a ClusterRole that allows it. */
  readonly right: string
  readonly rule: string
  /** What to look at. */
  readonly hints: { readonly answer: string; readonly names: string; authority(caFile: string): string; readonly refused: string }
}

export interface ApiOptions {
  /** KUBERNETES_SERVICE_HOST and _PORT: a name or an address. */
  readonly host: string
  readonly port: number
  /** Of the service account. Both files are read for every request, because kubelet renews them. */
  readonly tokenFile: string
  /** Undefined: whoever answers is trusted, and given the token. */
  readonly caFile: string | undefined
  readonly read: Files['read']
}

/** Why the API server did not give what it was asked for, in words, with what to do about it. The token is never in them. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  /** Of HTTP, or of an event in a watch; undefined: there was no answer. */
  readonly status: number | undefined
  /** It asks for so long a wait. */
  readonly retryAfterMs: number

  constructor(message: string, { status, retryAfterMs = 0 }: { status?: number; retryAfterMs?: number } = {}) {
    super(message)
    this.status = status
    this.retryAfterMs = retryAfterMs
  }
}

export type Answer = Parameters<NonNullable<Parameters<typeof https.get>[2]>>[0]

export interface Api {
  /** A good answer, its body not yet read. @throws ApiError */
  get(path: string, signal: AbortSignal): Promise<Answer>
  /** The whole of an answer, as it comes. What `onChunk` throws ends it. @throws ApiError if it breaks off */
  read(answer: Answer, onChunk: (chunk: Buffer) => void, signal: AbortSignal): Promise<void>
  /** Of a status, with what the server says about it. */
  describe(status: number, message: string, retryAfterMs?: number): ApiError
  /** Of anything that went wrong with what it sent. */
  describeFault(error: unknown): string
  /** Resolves when nothing is open. */
  close(): Promise<void>
}

/** It only asks: no other method than GET is ever sent. */
export function createApi(question: Question, { host, port, tokenFile, caFile, read }: ApiOptions, bounds: Bounds): Api {
  const where = `${host.includes(':') ? `[${host}]` : host}:${port}`
  let ca: string | undefined = ''
  /** The last one. */
  let token = ''
  let agent: https.Agent | undefined
  const sockets = new Set<Answer['socket']>()

  function agentFor(newCa: string | undefined): https.Agent {
    if (agent !== undefined && newCa === ca) return agent
    agent?.destroy()
    ca = newCa
    const trust = ca === undefined ? { rejectUnauthorized: false } : { ca }
    agent = new https.Agent({ keepAlive: true, maxSockets: bounds.kubernetesSockets, maxFreeSockets: 1, ...trust })
    return agent
  }

  function readFile(file: string, what: string): string {
    try {
      return read(file)
    } catch (error) {
      throw new ApiError(`the ${what} cannot be read: ${(error as Error).message}; does the pod mount its service account?`)
    }
  }

  function readToken(): string {
    const token = readFile(tokenFile, 'token of the service account').trim()
    if (!/^[\x21-\x7e]+$/.test(token)) throw new ApiError(`${tokenFile}: there is no token in it`)
    return token
  }

  function readCa(): string | undefined {
    if (caFile === undefined) return undefined
    const text = readFile(caFile, 'CA certificate of the cluster')
    // without any, all that the world trusts would be trusted
    if (!text.includes('-----BEGIN CERTIFICATE-----')) throw new ApiError(`${caFile}: there is no certificate in it`)
    return text
  }

  function request(path: string, signal: AbortSignal): Promise<Answer> {
    const headers = { authorization: `Bearer ${token}`, accept: 'application/json' }
    const options = { host, port, path, signal, agent: agentFor(readCa()), headers }
    return new Promise((resolve, reject) => {
      const sent = https.get(options)
      const timer = setTimeout(() => sent.destroy(new ApiError(describeSilence(where, bounds))), bounds.kubernetesAnswerMs)
      sent.once('response', (answer) => {
        clearTimeout(timer)
        resolve(answer)
      })
      sent.once('close', () => clearTimeout(timer))
      sent.on('error', reject)
      sent.once('socket', (socket) => {
        if (sockets.has(socket)) return
        sockets.add(socket)
        socket.once('close', () => sockets.delete(socket))
      })
    })
  }

  async function ask(path: string, signal: AbortSignal): Promise<Answer> {
    try {
      return await request(path, signal)
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof ApiError) throw error
      throw new ApiError(describeFailure(error, where, question, caFile))
    }
  }

  function describe(status: number, message: string, retryAfterMs = 0): ApiError {
    const words = cleanWords(token === '' ? message : message.replaceAll(token, '…'), bounds.kubernetesErrorCharacters)
    const said = words === '' ? '' : ` (${words})`
    return new ApiError(describeStatus(status, said, question, tokenFile), { status, retryAfterMs })
  }

  return {
    async get(path, signal) {
      token = readToken()
      let answer = await ask(path, signal)
      if (answer.statusCode === 401) {
        answer.destroy()
        const newToken = readToken()
        if (newToken === token) throw describe(401, '')
        token = newToken // it was renewed just now
        answer = await ask(path, signal)
      }
      const status = answer.statusCode ?? 0
      if (status === 200) return answer
      const body = await readStart(answer, bounds.kubernetesErrorBytes)
      throw describe(status, messageOf(body, answer), readRetryAfter(answer.headers['retry-after'], bounds))
    },
    read(answer, onChunk, signal) {
      return readAnswer(answer, onChunk, new ApiError(`${question.server} broke off its answer`), signal)
    },
    describe,
    describeFault: (error) =>
      error instanceof ApiError ? error.message : `${question.server} does not send what Kubernetes does: ${reasonOf(error)}`,
    async close() {
      agent?.destroy()
      await Promise.all([...sockets].map((socket) => new Promise((resolve) => socket.once('close', resolve).destroy())))
    },
  }
}

export interface ListOptions {
  /** `PodList`. */
  readonly kind: string
  readonly what: string
  readonly onItem: (item: unknown) => void
  /** That all pages together may still have, and the limit that this was at first. */
  readonly limit: keyof Bounds
  readonly left: { bytes: number }
}

/** One page. Returns what is around its objects. @throws ApiError or SyntaxError */
export async function readList(
  api: Api,
  path: string,
  { kind, what, onItem, limit, left }: ListOptions,
  bounds: Bounds,
  signal: AbortSignal,
): Promise<unknown> {
  const tooLong = (): ApiError => tooLarge(`one of the ${what}`, 'kubernetesObjectBytes', bounds)
  const reader = createListReader({ onItem, objectBytesMax: bounds.kubernetesObjectBytes, tooLong })
  const take = (chunk: Buffer): void => {
    left.bytes -= chunk.length
    if (left.bytes < 0) throw tooLarge(`the list of ${what}`, limit, bounds)
    reader.push(chunk)
  }
  await api.read(await api.get(path, signal), take, signal)
  const frame = reader.end()
  if (field(frame, 'kind') !== kind) throw new SyntaxError(`this is no list of ${what}`)
  return frame
}

export const tooLarge = (what: string, limit: keyof Bounds, bounds: Bounds): ApiError =>
  new ApiError(`${what} is larger than limits.${limit}, ${bounds[limit]} bytes; what is known stays`)

/** A random part of a time that doubles, so that the agents of a thousand nodes do not ask together. */
export function retryMs(failures: number, bounds: Bounds, random = Math.random): number {
  return random() * Math.min(bounds.kubernetesRetryMsMax, bounds.kubernetesRetryMs * 2 ** failures)
}

/** Parts of what cannot be parsed are not repeated: they may be anything. */
const reasonOf = (error: unknown): string =>
  error instanceof SyntaxError && !/JSON/.test(error.message)
    ? error.message
    : error instanceof SyntaxError
      ? 'this is no JSON'
      : String(error)

function readAnswer(answer: Answer, onChunk: (chunk: Buffer) => void, brokenOff: ApiError, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    function fail(error: unknown): void {
      leave()
      answer.destroy()
      reject(error)
    }
    const leave = pour(answer, (chunk) => {
      try {
        onChunk(chunk)
      } catch (error) {
        fail(error)
      }
    })
    const breakOff = (): void => fail(signal.aborted ? signal.reason : brokenOff)
    answer.once('end', resolve)
    answer.on('error', breakOff)
    answer.once('close', breakOff)
  })
}

/** Only for words: what cannot be read is left out. */
async function readStart(answer: Answer, bytesMax: number): Promise<string> {
  let text = ''
  try {
    for await (const chunk of answer.setEncoding('utf8')) {
      text += chunk
      if (text.length > bytesMax) break
    }
  } catch {
    // it broke off
  }
  return text.slice(0, bytesMax)
}

/** Of a Status; the kubelet sends plain text. What else it may be is not for people. */
function messageOf(body: string, { headers }: Answer): string {
  if (headers['content-type']?.startsWith('text/plain')) return body.trim()
  try {
    return String(field(JSON.parse(body), 'message') ?? '')
  } catch {
    return ''
  }
}

function readRetryAfter(header: string | undefined, bounds: Bounds): number {
  return header !== undefined && /^[0-9]{1,9}$/.test(header) ? Math.min(Number(header) * 1000, bounds.kubernetesRetryAfterMs) : 0
}

/** As a label's value, but longer. */
function cleanWords(text: string, characters: number): string {
  const cut = Array.from(text.slice(0, 2 * characters)).slice(0, characters)
  return cut.map(cleanLabelValue).join('') + (text.length > cut.join('').length ? '…' : '')
}

/** The hints of whoever asks the API server. */
export const apiServerHints: Question['hints'] = {
  answer: 'are KUBERNETES_SERVICE_HOST and _PORT right?',
  names: 'is KUBERNETES_SERVICE_HOST right?',
  authority: (caFile) => `is ${caFile} the CA of this cluster?`,
  refused: 'is the API server up, and the address right?',
}

function describeStatus(status: number, said: string, { server, what, right, rule, hints }: Question, tokenFile: string): string {
  if (status === 401)
    return `401: ${server} refuses the token in ${tokenFile}${said}; it may have expired, or be of another cluster: start the pod anew`
  if (status === 403) return `403: the service account may not ${right}${said}; add to a ClusterRole that is bound to it: ${rule}`
  if (status === 410) return `410: what it was asked to go on from is too old${said}; the ${what} are listed anew`
  if (status === 429) return `429: ${server} has too much to do${said}; it is asked again later`
  if (status >= 500) return `${status}: ${server} has a fault${said}; see its log`
  return `${status || 'no status'}: ${server} does not answer as Kubernetes does${said}; ${hints.answer}`
}

const letThrough = 'do routes, kube-proxy and network policies let the agent through?'

const describeSilence = (where: string, bounds: Bounds): string =>
  `${where} did not answer within ${bounds.kubernetesAnswerMs} ms; ${letThrough}`

const certificateCodes =
  /^(CERT_|ERR_TLS_CERT|ERR_OSSL_PEM|ERR_OSSL_X509|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_|INVALID_CA|HOSTNAME_MISMATCH|PATH_LENGTH)/

function describeFailure(error: unknown, where: string, { hints }: Question, caFile = ''): string {
  const { code = '', message } = error as Error & { code?: string }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') return `the certificate of ${where} is for other names; ${hints.names}`
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID')
    return `the certificate of ${where} has expired or is not yet valid; is the clock of this node right?`
  if (certificateCodes.test(code)) return `the certificate of ${where} is not trusted (${code}); ${hints.authority(caFile)}`
  if (code === 'EPROTO' || code.startsWith('ERR_SSL_'))
    return `${where} does not speak TLS as expected (${code}); is the port right?`
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return `the name of ${where} cannot be resolved; a host-network pod needs dnsPolicy ClusterFirstWithHostNet, or give an address`
  if (code === 'ECONNREFUSED') return `nothing listens at ${where}; ${hints.refused}`
  if (code === 'ECONNRESET' || code === 'EPIPE') return `${where} closed the connection before it answered`
  if (['ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH'].includes(code)) return `${where} cannot be reached (${code}); ${letThrough}`
  if (code.startsWith('HPE_')) return `${where} does not speak HTTP as expected (${code}); is the port right?`
  return `${where} cannot be asked: ${code === '' ? message : code}`
}
