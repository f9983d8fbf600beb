import { createHash, timingSafeEqual } from 'node:crypto'
import http from 'node:http'
import https from 'node:https'
import type tls from 'node:tls'
import { ConfigError, readConfigFile } from '../config-file.ts'
import { limits } from '../limits.ts'
import type { Log } from '../log.ts'
import { acceptsClient } from './client-certificate.ts'
import { createPasswords } from './passwords.ts'
import { noWebConfig, readWebConfig, type WebConfig } from './web-config.ts'

/** `busy`: too many unknown passwords are being checked; try again. */
export type Verdict = 'allowed' | 'refused' | 'busy'

/** TLS and authentication of the address that others can reach. Its files are read again when they change; broken ones change nothing. */
export interface Security {
  readonly isTls: boolean
  /** Whether all who are let in have shown who they are, by a password, a token or a certificate that was verified. */
  knowsClients(): boolean
  /** A server, not yet listening, that follows the TLS settings. */
  createServer(options: http.ServerOptions, listener: http.RequestListener): http.Server
  /** Of a request's Authorization header. */
  judge(authorization: string | undefined): Promise<Verdict>
  /** For WWW-Authenticate. */
  challenges(): readonly string[]
  /** False if the request is one too many for rate_limit. */
  admits(): boolean
  /** For every answer. */
  headers(): Readonly<Record<string, string>>
}

/** @throws ConfigError if the file, or one that it names, is not good */
export function createSecurity(file: string, log: Log, now: () => number = () => performance.now()): Security {
  let config = file === '' ? noWebConfig : readWebConfig(file)
  let lookedAtMs = now()
  let complaint: string | undefined
  let bucket = { tokens: config.rateLimit?.burst ?? 0, atMs: now() }
  let server: https.Server | undefined
  const passwords = createPasswords()
  const asksForCertificate = asksClient(config)
  for (const note of config.notes) log.info({ file }, note)

  function readAgain(): WebConfig {
    const next = readWebConfig(file)
    if ((next.tls === undefined) !== (config.tls === undefined))
      throw new ConfigError(`${file}: to switch TLS on or off, restart the agent`)
    if (asksClient(next) !== asksForCertificate)
      throw new ConfigError(`${file}: to change client_auth_type from or to NoClientCert, restart the agent`)
    if (next.tls !== undefined) server?.setSecureContext(next.tls.context)
    return next
  }

  function refresh(): void {
    if (file === '' || now() - lookedAtMs < limits.fileCheckMs) return
    lookedAtMs = now()
    if (complaint === undefined && !hasChanged(config.files)) return
    try {
      config = readAgain()
      complaint = undefined
      log.info({ file }, 'TLS and authentication were read again')
    } catch (error) {
      const { message } = error as Error
      if (message !== complaint) log.error({ file, reason: message }, 'TLS and authentication stay as they were')
      complaint = message
    }
  }

  return {
    isTls: config.tls !== undefined,
    knowsClients: () => asksForPassword(config) || config.tls?.clientAuth === 'RequireAndVerifyClientCert',
    createServer(options, listener) {
      if (config.tls === undefined) return http.createServer(options, listener)
      const certificates = { requestCert: asksForCertificate, rejectUnauthorized: false } // acceptsClient decides
      server = https.createServer(
        { ...options, ...config.tls.context, ...certificates, handshakeTimeout: limits.requestMs },
        listener,
      )
      server.prependListener('connection', refresh)
      server.prependListener('secureConnection', (socket: tls.TLSSocket) => {
        if (config.tls !== undefined && !acceptsClient(socket, config.tls)) socket.destroy()
      })
      return server
    },
    async judge(authorization) {
      refresh()
      const { users, bearerToken } = config
      if (!asksForPassword(config)) return 'allowed'
      const [, scheme = '', credentials = ''] = /^(\S+) +(\S+) *$/.exec(authorization ?? '') ?? []
      if (/^bearer$/i.test(scheme) && bearerToken !== undefined)
        return isSameSecret(credentials, bearerToken) ? 'allowed' : 'refused'
      const [, user, password] = /^([^:]*):(.*)$/s.exec(Buffer.from(credentials, 'base64').toString('utf8')) ?? []
      if (!/^basic$/i.test(scheme) || users.size === 0 || user === undefined || password === undefined) return 'refused'
      const isRight = await passwords.check(users, user, password)
      if (isRight === 'busy') return 'busy'
      return isRight ? 'allowed' : 'refused'
    },
    challenges: () => [
      ...(config.users.size > 0 ? ['Basic realm="netvitals", charset="UTF-8"'] : []),
      ...(config.bearerToken !== undefined ? ['Bearer realm="netvitals"'] : []),
    ],
    admits() {
      refresh()
      if (config.rateLimit === undefined) return true
      const { intervalMs, burst } = config.rateLimit
      const atMs = now()
      const tokens = Math.min(burst, bucket.tokens + (atMs - bucket.atMs) / intervalMs)
      bucket = { tokens: tokens < 1 ? tokens : tokens - 1, atMs }
      return tokens >= 1
    },
    headers: () => config.headers,
  }
}

const asksForPassword = ({ users, bearerToken }: WebConfig): boolean => users.size > 0 || bearerToken !== undefined
const asksClient = (config: WebConfig): boolean => config.tls !== undefined && config.tls.clientAuth !== 'NoClientCert'

/** Contents are compared, not times: a rotation within one tick of the file system's clock is seen too. */
function hasChanged(files: ReadonlyMap<string, string>): boolean {
  try {
    return [...files].some(([name, content]) => readConfigFile(name) !== content)
  } catch {
    return true
  }
}

function isSameSecret(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(a), digest(b))
}
