import { constants } from 'node:crypto'
import tls from 'node:tls'
import { z } from 'zod/v3'
import { besideFile, ConfigError, parseYamlMapping, readConfigFile } from '../config-file.ts'
import { limits } from '../limits.ts'

const clientAuths = [
  'NoClientCert',
  'RequestClientCert',
  'RequireAnyClientCert',
  'VerifyClientCertIfGiven',
  'RequireAndVerifyClientCert',
] as const
/** How a client's certificate is treated, in Go's words, as in the file. */
export type ClientAuth = (typeof clientAuths)[number]

export interface TlsConfig {
  /** Known to be good: certificate and key belong together. */
  readonly context: tls.SecureContextOptions
  readonly clientAuth: ClientAuth
  readonly clientAllowedSans: readonly string[] | undefined
}

/** What --web.config.file says, with the files it names read. */
export interface WebConfig {
  readonly tls: TlsConfig | undefined
  /** bcrypt hashes by user. */
  readonly users: ReadonlyMap<string, string>
  readonly bearerToken: string | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly rateLimit: { readonly intervalMs: number; readonly burst: number } | undefined
  /** What the file asks for and this server does otherwise. */
  readonly notes: readonly string[]
  /** Every file that was read, with its text. */
  readonly files: ReadonlyMap<string, string>
}

export const noWebConfig: WebConfig = {
  tls: undefined,
  users: new Map(),
  bearerToken: undefined,
  headers: {},
  rateLimit: undefined,
  notes: [],
  files: new Map(),
}

/** For TLS 1.2 and below: Go's names and OpenSSL's. */
const cipherSuites = {
  TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: 'ECDHE-ECDSA-AES128-GCM-SHA256',
  TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384: 'ECDHE-ECDSA-AES256-GCM-SHA384',
  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: 'ECDHE-ECDSA-CHACHA20-POLY1305',
  TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA: 'ECDHE-ECDSA-AES128-SHA',
  TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA: 'ECDHE-ECDSA-AES256-SHA',
  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: 'ECDHE-RSA-AES128-GCM-SHA256',
  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384: 'ECDHE-RSA-AES256-GCM-SHA384',
  TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256: 'ECDHE-RSA-CHACHA20-POLY1305',
  TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA: 'ECDHE-RSA-AES128-SHA',
  TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA: 'ECDHE-RSA-AES256-SHA',
  TLS_RSA_WITH_AES_128_GCM_SHA256: 'AES128-GCM-SHA256',
  TLS_RSA_WITH_AES_256_GCM_SHA384: 'AES256-GCM-SHA384',
  TLS_RSA_WITH_AES_128_CBC_SHA: 'AES128-SHA',
  TLS_RSA_WITH_AES_256_CBC_SHA: 'AES256-SHA',
  // Those of TLS 1.3 have one name, and are always on offer where TLS 1.3 is, as in Go.
  TLS_AES_128_GCM_SHA256: 'TLS_AES_128_GCM_SHA256',
  TLS_AES_256_GCM_SHA384: 'TLS_AES_256_GCM_SHA384',
  TLS_CHACHA20_POLY1305_SHA256: 'TLS_CHACHA20_POLY1305_SHA256',
} as const
const alwaysOffered = Object.values(cipherSuites).filter((name) => name.startsWith('TLS_'))

const curves = { CurveP256: 'P-256', CurveP384: 'P-384', CurveP521: 'P-521', X25519: 'X25519' } as const
const tlsVersions = { TLS10: 'TLSv1', TLS11: 'TLSv1.1', TLS12: 'TLSv1.2', TLS13: 'TLSv1.3' } as const

const expected = (what: string): { errorMap: () => { message: string } } => ({
  errorMap: () => ({ message: `expected ${what}` }),
})
const oneOf = <Name extends string>(names: readonly Name[]) =>
  z.enum(names as [Name, ...Name[]], expected(`one of ${names.filter(Boolean).join(', ')}`))
const keyOf = <T extends object>(table: T) => oneOf(Object.keys(table) as (keyof T & string)[])
const text = z.string(expected('text'))
const yesOrNo = z.boolean(expected('true or false'))

const unitMs: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 }
/** As Go writes them: 1s, 500ms, 1m30s. */
const duration = z.union([z.literal(0), z.string()], expected('a duration such as 1s or 500ms')).transform((given, context) => {
  const parts = [...String(given).matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s)/g)]
  if (given === 0 || given === '0') return 0
  if (parts.length > 0 && parts.map(([part]) => part).join('') === given)
    return parts.reduce((sum, [, amount, unit]) => sum + Number(amount) * (unitMs[unit ?? ''] ?? 0), 0)
  context.addIssue({ code: 'custom', message: 'expected a duration such as 1s or 500ms' })
  return z.NEVER
})

const bcryptHash = text.refine((hash) => {
  const cost = Number(/^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/.exec(hash)?.[1])
  return cost >= 4 && cost <= limits.bcryptCost
}, `expected a bcrypt hash of cost 4 to ${limits.bcryptCost}, as \`htpasswd -nBC 10 ""\` prints it`)

const tlsSection = z.strictObject({
  cert: text.optional(),
  key: text.optional(),
  client_ca: text.optional(),
  cert_file: text.optional(),
  key_file: text.optional(),
  client_ca_file: text.optional(),
  /** RequireClientCert is an old name that exporters still take. */
  client_auth_type: oneOf(['', 'RequireClientCert', ...clientAuths]).default('NoClientCert'),
  client_allowed_sans: z.array(text).optional(),
  min_version: keyOf(tlsVersions).default('TLS12'),
  max_version: keyOf(tlsVersions).default('TLS13'),
  cipher_suites: z.array(keyOf(cipherSuites)).default([]),
  prefer_server_cipher_suites: yesOrNo.default(true),
  curve_preferences: z.array(keyOf(curves)).default([]),
})

const headers = z.strictObject({
  'Content-Security-Policy': text.optional(),
  'X-Frame-Options': oneOf(['', 'deny', 'sameorigin']).optional(),
  'X-Content-Type-Options': oneOf(['', 'nosniff']).optional(),
  'X-XSS-Protection': text.optional(),
  'Strict-Transport-Security': text.optional(),
})

/** The format of exporter-toolkit's web configuration, and bearer_token_file. */
export const webConfigFile = z.strictObject({
  tls_server_config: tlsSection.nullish(),
  http_server_config: z.strictObject({ http2: yesOrNo.optional(), headers: headers.nullish() }).nullish(),
  basic_auth_users: z.record(z.string(), bcryptHash).nullish(),
  rate_limit: z
    .strictObject({
      interval: duration.default(0),
      burst: z.number(expected('a whole number')).int('expected a whole number').min(0, 'expected 0 or more').default(0),
    })
    .nullish(),
  bearer_token_file: text.nullish(),
})

/** @throws ConfigError that names file, line and what was expected, and never a secret */
export function readWebConfig(file: string): WebConfig {
  const files = new Map<string, string>()
  const read = (name: string): string => {
    const content = readConfigFile(name)
    files.set(name, content)
    return content
  }
  const readNamed = (name: string): string => read(besideFile(file, name))
  const { value, where } = parseYamlMapping(read(file), file)
  const result = webConfigFile.safeParse(value)
  if (!result.success) {
    const issue = result.error.issues[0]!
    const path = [...issue.path, ...(issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [])]
    const message = issue.code === 'unrecognized_keys' ? 'no such setting' : issue.message
    throw new ConfigError(`${where(path)}: ${path.join('.')}: ${message}`)
  }
  const { tls_server_config, http_server_config, basic_auth_users, rate_limit, bearer_token_file } = result.data
  const { http2, headers } = http_server_config ?? {}
  return {
    tls: tls_server_config
      ? readTls(tls_server_config, `${where(['tls_server_config'])}: tls_server_config`, readNamed)
      : undefined,
    users: new Map(Object.entries(basic_auth_users ?? {})),
    bearerToken: bearer_token_file ? readToken(bearer_token_file, readNamed) : undefined,
    headers: Object.fromEntries(Object.entries(headers ?? {}).flatMap(([name, value]) => (value ? [[name, value]] : []))),
    rateLimit: rate_limit && rate_limit.interval > 0 ? { intervalMs: rate_limit.interval, burst: rate_limit.burst } : undefined,
    notes: http2 ? ['HTTP/2 is not offered: connections use HTTP/1.1'] : [],
    files,
  }
}

function readToken(named: string, readNamed: (named: string) => string): string {
  const token = readNamed(named).trim()
  if (!/^[\x21-\x7e]+$/.test(token)) throw new ConfigError(`bearer_token_file ${named}: expected one token without spaces`)
  return token
}

function readTls(section: z.output<typeof tlsSection>, where: string, readNamed: (named: string) => string): TlsConfig {
  const pem = (inline: string | undefined, named: string | undefined): string | undefined =>
    named ? readNamed(named) : inline || undefined
  const cert = pem(section.cert, section.cert_file)
  const key = pem(section.key, section.key_file)
  const ca = pem(section.client_ca, section.client_ca_file)
  const clientAuth: ClientAuth =
    section.client_auth_type === 'RequireClientCert' ? 'RequireAnyClientCert' : section.client_auth_type || 'NoClientCert'

  const fail = (message: string): never => {
    throw new ConfigError(`${where}: ${message}`)
  }
  if (cert === undefined) fail('cert_file is missing')
  if (key === undefined) fail('key_file is missing')
  if (ca !== undefined && clientAuth === 'NoClientCert')
    fail('client_ca_file needs client_auth_type, such as RequireAndVerifyClientCert')
  // Go falls back to the system's authorities here: any certificate that anybody bought would do.
  if (ca === undefined && clientAuth.includes('Verify')) fail(`client_auth_type ${clientAuth} needs client_ca_file`)
  if (section.client_allowed_sans !== undefined && !clientAuth.startsWith('Require'))
    fail('client_allowed_sans needs client_auth_type RequireAnyClientCert or RequireAndVerifyClientCert')

  const suites = section.cipher_suites.map((name) => cipherSuites[name])
  const context: tls.SecureContextOptions = {
    cert,
    key,
    ca,
    minVersion: tlsVersions[section.min_version],
    maxVersion: tlsVersions[section.max_version],
    honorCipherOrder: section.prefer_server_cipher_suites,
    ...(suites.length > 0 && { ciphers: [...new Set([...alwaysOffered, ...suites])].join(':') }),
    ...(section.curve_preferences.length > 0 && {
      ecdhCurve: section.curve_preferences.map((name) => curves[name]).join(':'),
    }),
    // A resumed session would bring along what was verified under a client_ca_file of before.
    ...(clientAuth !== 'NoClientCert' && { secureOptions: constants.SSL_OP_NO_TICKET }),
  }
  try {
    tls.createSecureContext(context)
  } catch (error) {
    fail((error as Error).message)
  }
  return { context, clientAuth, clientAllowedSans: section.client_allowed_sans }
}
