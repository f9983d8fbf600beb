import https from 'node:https'
import type { Files } from '../host/files.ts'
import { pour } from '../host/lines.ts'
import type { limits } from '../limits.ts'
import { cleanLabelValue } from '../metrics/label-text.ts'
import { field } from './kubernetes-pods.ts'

export type Bounds = { readonly [L in keyof typeof limits as L extends `kubernetes${string}` ? L : never]: number }

export interface ApiOptions {
  /** KUBERNETES_SERVICE_HOST and _PORT: a name or an address. */
  readonly host: string
  readonly port: number
  /** Of the service account. Both files are read for every request, because kubelet renews them. */
  readonly tokenFile: string
  readonly caFile: string
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
  /** Of an answer's body, or of what an ERROR event bears: both are a Status. */
  describe(status: number, body: string, retryAfterMs?: number): ApiError
  /** Resolves when nothing is open. */
  close(): Promise<void>
}

/** It only asks: no other method than GET is ever sent. */
export function createApi({ host, port, tokenFile, caFile, read }: ApiOptions, bounds: Bounds): Api {
  const where = `${host.includes(':') ? `[${host}]` : host}:${port}`
  let ca = ''
  /** The last one. */
  let token = ''
  let agent: https.Agent | undefined
  const sockets = new Set<Answer['socket']>()

  function agentFor(newCa: string): https.Agent {
    if (agent !== undefined && newCa === ca) return agent
    agent?.destroy()
    ca = newCa
    agent = new https.Agent({ keepAlive: true, maxSockets: bounds.kubernetesSockets, maxFreeSockets: 1, ca })
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

  function readCa(): string {
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
      throw new ApiError(describeFailure(error, where, caFile))
    }
  }

  function describe(status: number, body: string, retryAfterMs = 0): ApiError {
    let message = ''
    try {
      message = String(field(JSON.parse(body), 'message') ?? '')
    } catch {
      // no Status: what else it may be is not for people
    }
    message = cleanWords(token === '' ? message : message.replaceAll(token, '…'), bounds.kubernetesErrorCharacters)
    const said = message === '' ? '' : ` (${message})`
    return new ApiError(describeStatus(status, said, tokenFile), { status, retryAfterMs })
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
      throw describe(status, body, readRetryAfter(answer.headers['retry-after'], bounds))
    },
    describe,
    async close() {
      agent?.destroy()
      await Promise.all([...sockets].map((socket) => new Promise((resolve) => socket.once('close', resolve).destroy())))
    },
  }
}

/** The whole of it, as it comes. What `onChunk` throws ends it. @throws ApiError if it breaks off */
export function readAnswer(answer: Answer, onChunk: (chunk: Buffer) => void, signal: AbortSignal): Promise<void> {
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
    const breakOff = (): void => fail(signal.aborted ? signal.reason : new ApiError('the API server broke off its answer'))
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

function readRetryAfter(header: string | undefined, bounds: Bounds): number {
  return header !== undefined && /^[0-9]{1,9}$/.test(header) ? Math.min(Number(header) * 1000, bounds.kubernetesRetryAfterMs) : 0
}

/** As a label's value, but longer. */
function cleanWords(text: string, characters: number): string {
  const cut = Array.from(text.slice(0, 2 * characters)).slice(0, characters)
  return cut.map(cleanLabelValue).join('') + (text.length > cut.join('').length ? '…' : '')
}

export const rbacRule = '{apiGroups: [""], resources: [pods], verbs: [list, watch]}'

function describeStatus(status: number, said: string, tokenFile: string): string {
  if (status === 401) return describeRefused(tokenFile)
  if (status === 403)
    return `403: the service account may not list and watch pods${said}; add to a ClusterRole that is bound to it: ${rbacRule}`
  if (status === 410) return `410: what it was asked to go on from is too old${said}; the pods are listed anew`
  if (status === 429) return `429: the API server has too much to do${said}; it is asked again later`
  if (status >= 500) return `${status}: the API server has a fault${said}; see its log`
  return `${status || 'no status'}: the API server does not answer as Kubernetes does${said}; are KUBERNETES_SERVICE_HOST and _PORT right?`
}

const describeRefused = (tokenFile: string): string =>
  `401: the API server refuses the token in ${tokenFile}; it may have expired, or be of another cluster: start the pod anew`

const letThrough = 'do routes, kube-proxy and network policies let the agent through?'

const describeSilence = (where: string, bounds: Bounds): string =>
  `${where} did not answer within ${bounds.kubernetesAnswerMs} ms; ${letThrough}`

const certificateCodes =
  /^(CERT_|ERR_TLS_CERT|ERR_OSSL_PEM|ERR_OSSL_X509|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_|INVALID_CA|HOSTNAME_MISMATCH|PATH_LENGTH)/

function describeFailure(error: unknown, where: string, caFile: string): string {
  const { code = '', message } = error as Error & { code?: string }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return `the certificate of ${where} is for other names; is KUBERNETES_SERVICE_HOST right?`
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID')
    return `the certificate of ${where} has expired or is not yet valid; is the clock of this node right?`
  if (certificateCodes.test(code))
    return `the certificate of ${where} is not trusted (${code}); is ${caFile} the CA of this cluster?`
  if (code === 'EPROTO' || code.startsWith('ERR_SSL_'))
    return `${where} does not speak TLS as expected (${code}); is the port right?`
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return `the name of ${where} cannot be resolved; a host-network pod needs dnsPolicy ClusterFirstWithHostNet, or give an address`
  if (code === 'ECONNREFUSED') return `nothing listens at ${where}; is the API server up, and the address right?`
  if (code === 'ECONNRESET' || code === 'EPIPE') return `${where} closed the connection before it answered`
  if (['ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH'].includes(code)) return `${where} cannot be reached (${code}); ${letThrough}`
  if (code.startsWith('HPE_')) return `${where} does not speak HTTP as expected (${code}); is the port right?`
  return `${where} cannot be asked: ${code === '' ? message : code}`
}
