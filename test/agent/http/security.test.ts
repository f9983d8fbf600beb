import fs from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import tls from 'node:tls'
import bcrypt from 'bcryptjs'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { ConfigError } from '../../../agent/config-file.ts'
import { readSubjectAltNames } from '../../../agent/http/client-certificate.ts'
import { createPasswords } from '../../../agent/http/passwords.ts'
import { createSecurity } from '../../../agent/http/security.ts'
import { limits } from '../../../agent/limits.ts'
import { createFakeLog } from './fake-parts.ts'

const fixtures = new URL('../../fixtures/tls/', import.meta.url)
const readPem = (name: string): string => fs.readFileSync(new URL(name, fixtures), 'utf8')

let directory: string
let file: string
const stops: (() => void)[] = []

beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-security-'))
  file = path.join(directory, 'web.yaml')
  for (const name of fs.readdirSync(fixtures)) fs.copyFileSync(new URL(name, fixtures), path.join(directory, name))
})
afterEach(() => {
  vi.restoreAllMocks()
  for (const stop of stops.splice(0)) stop()
  fs.rmSync(directory, { recursive: true })
})

const writeFile = (...lines: string[]): void => fs.writeFileSync(file, `${lines.join('\n')}\n`)
const writeTls = (...lines: string[]): void =>
  writeFile('tls_server_config:', '  cert_file: server.crt', '  key_file: server.key', ...lines.map((line) => `  ${line}`))

function open(): ReturnType<typeof createSecurity> & {
  wait: (ms: number) => void
  lines: ReturnType<typeof createFakeLog>['lines']
} {
  const { log, lines } = createFakeLog()
  let clockMs = 0
  const security = createSecurity(file, log, () => clockMs)
  return {
    ...security,
    lines,
    wait: (ms) => {
      clockMs += ms
    },
  }
}

function complaint(): string {
  try {
    createSecurity(file, createFakeLog().log)
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError)
    return (error as Error).message.replaceAll(directory, '')
  }
  throw new Error('no complaint')
}

const hashOf = (password: string): string => bcrypt.hashSync(password, 4)
const basic = (user: string, password: string): string => `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`

describe('the file', () => {
  it('may say nothing', async () => {
    writeFile('')
    const security = open()
    expect(security.isTls).toBe(false)
    expect(await security.judge(undefined)).toBe('allowed')
    expect(security.challenges()).toEqual([])
    expect(security.knowsClients()).toBe(false)
  })

  it.each<[string, string]>([
    ['tls_server_confg: {}', '/web.yaml:1: tls_server_confg: no such setting'],
    ['tls_server_config:\n  cert_fil: x', '/web.yaml:2: tls_server_config.cert_fil: no such setting'],
    ['tls_server_config:\n  key_file: server.key', '/web.yaml:1: tls_server_config: cert_file is missing'],
    ['tls_server_config:\n  cert_file: server.crt', '/web.yaml:1: tls_server_config: key_file is missing'],
    ['tls_server_config:\n  cert_file: none.crt\n  key_file: server.key', '/none.crt: cannot be read: it does not exist'],
    [
      'tls_server_config:\n  cert_file: server.crt\n  key_file: client.key',
      'tls_server_config: error:05800074:x509 certificate routines::key values mismatch',
    ],
    [
      'tls_server_config:\n  cert_file: make.sh\n  key_file: server.key',
      'tls_server_config: error:0480006C:PEM routines::no start line',
    ],
    [
      'tls_server_config:\n  client_auth_type: Whatever',
      '/web.yaml:2: tls_server_config.client_auth_type: expected one of RequireClientCert, NoClientCert, RequestClientCert',
    ],
    [
      'tls_server_config:\n  min_version: SSL3',
      '/web.yaml:2: tls_server_config.min_version: expected one of TLS10, TLS11, TLS12, TLS13',
    ],
    [
      'tls_server_config:\n  cipher_suites:\n  - TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\n  - RC4',
      '/web.yaml:4: tls_server_config.cipher_suites.1: expected one of TLS_ECDHE_',
    ],
    [
      'tls_server_config:\n  curve_preferences: [P256]',
      '/web.yaml:2: tls_server_config.curve_preferences.0: expected one of CurveP256, CurveP384, CurveP521, X25519',
    ],
    ['tls_server_config:\n  prefer_server_cipher_suites: 1', 'prefer_server_cipher_suites: expected true or false'],
    ['http_server_config:\n  headers:\n    Server: x', '/web.yaml:3: http_server_config.headers.Server: no such setting'],
    [
      'http_server_config:\n  headers:\n    X-Frame-Options: maybe',
      '/web.yaml:3: http_server_config.headers.X-Frame-Options: expected one of deny, sameorigin',
    ],
    ['bearer_token_file: none', '/none: cannot be read: it does not exist'],
    ['bearer_token_file: make.sh', 'bearer_token_file make.sh: expected one token without spaces'],
    ['rate_limit:\n  interval: soon', '/web.yaml:2: rate_limit.interval: expected a duration such as 1s or 500ms'],
    ['rate_limit:\n  interval: 1s\n  burst: 1.5', '/web.yaml:3: rate_limit.burst: expected a whole number'],
    ['- x', '/web.yaml:1: expected a mapping'],
    ['{', 'not valid YAML'],
  ])('%j is not good', (text, message) => {
    writeFile(text)
    expect(complaint()).toContain(message)
  })

  it.each([
    ['client_ca_file: authority.crt', 'client_ca_file needs client_auth_type'],
    ['client_auth_type: RequireAndVerifyClientCert', 'client_auth_type RequireAndVerifyClientCert needs client_ca_file'],
    ['client_auth_type: VerifyClientCertIfGiven', 'client_auth_type VerifyClientCertIfGiven needs client_ca_file'],
    ['client_auth_type: RequestClientCert\n  client_allowed_sans: [a]', 'client_allowed_sans needs client_auth_type'],
  ])('refuses %j, which would not do what it seems to', (line, message) => {
    writeTls(line)
    expect(complaint()).toContain(message)
  })

  it('never shows a secret in an error', () => {
    const secret = 'correct-horse-battery'
    for (const text of [
      `basic_auth_users:\n  alice: ${secret}`,
      `basic_auth_users: ${secret}`,
      `basic_auth_users:\n  alice: [${secret}]`,
      `tls_server_config:\n  key: [${secret}]`,
      `tls_server_config:\n  cert_file: server.crt\n  key: ${secret}`,
    ]) {
      writeFile(text)
      expect(complaint()).not.toContain(secret)
    }
    writeFile(`basic_auth_users:\n  alice: ${secret}`)
    expect(complaint()).toBe(
      '/web.yaml:2: basic_auth_users.alice: expected a bcrypt hash of cost 4 to 16, as `htpasswd -nBC 10 ""` prints it',
    )
  })

  it('refuses a bcrypt cost that would take for ever', () => {
    writeFile(`basic_auth_users:\n  alice: ${hashOf('x').replace('$04$', '$31$')}`)
    expect(complaint()).toContain('of cost 4 to 16')
  })

  it('says that HTTP/2 is not offered', () => {
    writeFile('http_server_config:', '  http2: true')
    expect(open().lines).toMatchObject([{ level: 'info', message: 'HTTP/2 is not offered: connections use HTTP/1.1' }])
  })

  it('gives its headers, but empty ones', () => {
    writeFile(
      'http_server_config:',
      '  headers:',
      '    X-Frame-Options: deny',
      '    X-Content-Type-Options: ""',
      '    Strict-Transport-Security: max-age=1',
    )
    expect(open().headers()).toEqual({ 'X-Frame-Options': 'deny', 'Strict-Transport-Security': 'max-age=1' })
  })
})

describe('basic authentication', () => {
  it('knows its users by their bcrypt hash, of any of its kinds', async () => {
    const hash = hashOf('pass:wörd')
    writeFile(
      'basic_auth_users:',
      `  alice: ${hash}`,
      `  bob: ${hash.replace('$2b$', '$2y$')}`,
      `  carol: ${hash.replace('$2b$', '$2a$')}`,
    )
    const security = open()
    for (const user of ['alice', 'bob', 'carol']) expect(await security.judge(basic(user, 'pass:wörd'))).toBe('allowed')
    for (const wrong of [
      undefined,
      '',
      'Basic',
      'Basic !!!',
      basic('alice', 'wrong'),
      basic('alice', ''),
      basic('mallory', 'pass:wörd'),
      basic('__proto__', 'pass:wörd'),
      basic('', ''),
      `Basic ${Buffer.from('alice').toString('base64')}`,
      `Bearer ${hash}`,
      basic('alice', hash),
    ])
      expect([wrong, await security.judge(wrong)]).toEqual([wrong, 'refused'])
    expect(security.challenges()).toEqual(['Basic realm="netvitals", charset="UTF-8"'])
  })

  it('checks a password by bcrypt once, and remembers it only while the hash stays', async () => {
    const compare = vi.spyOn(bcrypt, 'compare')
    writeFile('basic_auth_users:', `  alice: ${hashOf('one')}`)
    const security = open()
    for (let i = 0; i < 5; i++) expect(await security.judge(basic('alice', 'one'))).toBe('allowed')
    expect(compare).toHaveBeenCalledTimes(1)
    writeFile('basic_auth_users:', `  alice: ${hashOf('two')}`)
    security.wait(limits.fileCheckMs)
    expect(await security.judge(basic('alice', 'one'))).toBe('refused')
    expect(await security.judge(basic('alice', 'two'))).toBe('allowed')
  })

  it('spends the same work on a user that does not exist', async () => {
    const compare = vi.spyOn(bcrypt, 'compare')
    const users = new Map([['alice', bcrypt.hashSync('one', 6)]])
    const passwords = createPasswords()
    expect(await passwords.check(users, 'nobody', 'one')).toBe(false)
    expect(compare.mock.calls[0]![1]).toMatch(/^\$2b\$06\$[./A-Za-z0-9]{53}$/)
  })

  it('checks only so many at once, but those it remembers always', async () => {
    const users = new Map([['alice', hashOf('one')]])
    const passwords = createPasswords()
    expect(await passwords.check(users, 'alice', 'one')).toBe(true)
    const guesses = Array.from({ length: limits.passwordChecks + 1 }, (_, i) => passwords.check(users, 'alice', `guess ${i}`))
    expect(await passwords.check(users, 'alice', 'one')).toBe(true)
    expect(await Promise.all(guesses)).toEqual([...Array(limits.passwordChecks).fill(false), 'busy'])
    expect(await passwords.check(users, 'alice', 'guess again')).toBe(false)
  })
})

describe('a bearer token', () => {
  it('is read from its file, and read again', async () => {
    fs.writeFileSync(path.join(directory, 'token'), 'first-token\n')
    writeFile('bearer_token_file: token')
    const security = open()
    expect(await security.judge('Bearer first-token')).toBe('allowed')
    expect(await security.judge('bearer first-token')).toBe('allowed')
    for (const wrong of ['Bearer first-toke', 'Bearer first-token2', 'Bearer', 'first-token', basic('x', 'first-token')])
      expect([wrong, await security.judge(wrong)]).toEqual([wrong, 'refused'])
    expect(security.challenges()).toEqual(['Bearer realm="netvitals"'])

    fs.writeFileSync(path.join(directory, 'token'), 'other-token\n') // of the same length, perhaps in the same tick of the clock
    expect(await security.judge('Bearer other-token')).toBe('refused') // files are looked at once a second
    security.wait(limits.fileCheckMs)
    expect(await security.judge('Bearer other-token')).toBe('allowed')
    expect(await security.judge('Bearer first-token')).toBe('refused')
  })

  it('or a password: either will do, and who has one is known', async () => {
    fs.writeFileSync(path.join(directory, 'token'), 'token')
    writeFile('bearer_token_file: token', 'basic_auth_users:', `  alice: ${hashOf('one')}`)
    const security = open()
    expect(await security.judge('Bearer token')).toBe('allowed')
    expect(await security.judge(basic('alice', 'one'))).toBe('allowed')
    expect(await security.judge(undefined)).toBe('refused')
    expect(security.challenges()).toHaveLength(2)
    expect(security.knowsClients()).toBe(true)
  })
})

describe('a broken new file', () => {
  it('changes nothing, is logged once, and heals', async () => {
    fs.writeFileSync(path.join(directory, 'token'), 'token')
    writeFile('bearer_token_file: token')
    const security = open()
    writeFile('bearer_token_file: missing')
    for (let i = 0; i < 5; i++) {
      security.wait(limits.fileCheckMs)
      expect(await security.judge('Bearer token')).toBe('allowed')
      expect(await security.judge(undefined)).toBe('refused')
    }
    expect(security.lines).toMatchObject([{ level: 'error', message: 'TLS and authentication stay as they were' }])
    fs.writeFileSync(path.join(directory, 'missing'), 'late') // a file that nobody had read yet
    security.wait(limits.fileCheckMs)
    expect(await security.judge('Bearer late')).toBe('allowed')
    expect(security.lines.at(-1)).toMatchObject({ level: 'info', message: 'TLS and authentication were read again' })
  })

  it('is one that vanishes too, and one that switches TLS', async () => {
    writeFile(`basic_auth_users:\n  alice: ${hashOf('one')}`)
    const security = open()
    fs.unlinkSync(file)
    security.wait(limits.fileCheckMs)
    expect(await security.judge(undefined)).toBe('refused')
    writeTls()
    security.wait(limits.fileCheckMs)
    expect(await security.judge(undefined)).toBe('refused')
    expect(security.lines.at(-1)!.reason).toContain('to switch TLS on or off, restart the agent')
  })
})

describe('rate_limit', () => {
  it('is a bucket of tokens', () => {
    writeFile('rate_limit:', '  interval: 1m30s', '  burst: 2')
    const security = open()
    const admitted = (): string => Array.from({ length: 4 }, () => (security.admits() ? 'y' : 'n')).join('')
    expect(admitted()).toBe('yynn')
    security.wait(90_000)
    expect(admitted()).toBe('ynnn')
    security.wait(900_000)
    expect(admitted()).toBe('yynn')
  })

  it('of 0 is none', () => {
    writeFile('rate_limit:', '  interval: 0', '  burst: 0')
    const security = open()
    for (let i = 0; i < 100; i++) expect(security.admits()).toBe(true)
  })
})

describe('TLS', () => {
  async function listen(security = open()): Promise<{ port: number; security: ReturnType<typeof open> }> {
    const server = security.createServer({}, (_request, response) => response.end('answer'))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    stops.push(() => {
      server.closeAllConnections()
      server.close()
    })
    return { port: (server.address() as AddressInfo).port, security }
  }

  /** The answer, or the error. */
  function ask(port: number, options: https.RequestOptions = {}): Promise<string> {
    return new Promise((resolve) => {
      const request = https.get(
        { port, host: '127.0.0.1', ca: readPem('authority.crt'), agent: false, ...options },
        (response) => {
          let text = ''
          response.on('data', (chunk) => {
            text += chunk
          })
          response.on('end', () => resolve(text))
        },
      )
      request.on('error', (error) => resolve(error.message))
    })
  }

  function serialOf(port: number): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = tls.connect({ port, host: '127.0.0.1', ca: readPem('authority.crt') }, () => {
        resolve(socket.getPeerCertificate().serialNumber)
        socket.destroy()
      })
      socket.on('error', reject)
    })
  }

  const client = { cert: readPem('client.crt'), key: readPem('client.key') }
  const stranger = { cert: readPem('client-of-stranger.crt'), key: readPem('client-of-stranger.key') }

  it('answers over TLS only', async () => {
    writeTls()
    const { port, security } = await listen()
    expect(security.isTls).toBe(true)
    expect(await ask(port)).toBe('answer')
    const plain = new Promise((resolve) =>
      http.get({ port, host: '127.0.0.1' }).on('error', (error: NodeJS.ErrnoException) => resolve(error.code)),
    )
    expect(await plain).toBe('ECONNRESET')
  })

  it('takes certificate and key in the file itself', async () => {
    const inline = (name: string): string => `|\n    ${readPem(name).trim().replaceAll('\n', '\n    ')}`
    writeFile('tls_server_config:', `  cert: ${inline('server.crt')}`, `  key: ${inline('server.key')}`)
    expect(await ask((await listen()).port)).toBe('answer')
  })

  it('offers a renewed certificate without a restart', async () => {
    writeTls()
    const { port, security } = await listen()
    const before = await serialOf(port)
    fs.copyFileSync(path.join(directory, 'server-renewed.crt'), path.join(directory, 'server.crt'))
    security.wait(limits.fileCheckMs)
    expect(await serialOf(port)).toBe(before) // its key has not come yet
    fs.copyFileSync(path.join(directory, 'server-renewed.key'), path.join(directory, 'server.key'))
    security.wait(limits.fileCheckMs)
    expect(await serialOf(port)).not.toBe(before)
    expect(security.lines.map(({ level }) => level)).toEqual(['error', 'info'])
  })

  it.each<[string, string[], string[]]>([
    ['NoClientCert', [], ['none', 'client', 'stranger']],
    ['RequestClientCert', [], ['none', 'client', 'stranger']],
    ['RequireAnyClientCert', [], ['client', 'stranger']],
    ['RequireClientCert', [], ['client', 'stranger']],
    ['VerifyClientCertIfGiven', ['client_ca_file: authority.crt'], ['none', 'client']],
    ['RequireAndVerifyClientCert', ['client_ca_file: authority.crt'], ['client']],
    ['RequireAndVerifyClientCert', ['client_ca_file: stranger.crt'], ['stranger']],
    ['RequireAndVerifyClientCert', ['client_ca_file: authority.crt', 'client_allowed_sans: [prometheus.test]'], ['client']],
    ['RequireAndVerifyClientCert', ['client_ca_file: authority.crt', 'client_allowed_sans: ["::1"]'], ['client']],
    [
      'RequireAndVerifyClientCert',
      ['client_ca_file: authority.crt', 'client_allowed_sans: ["spiffe://test/prometheus"]'],
      ['client'],
    ],
    ['RequireAndVerifyClientCert', ['client_ca_file: authority.crt', 'client_allowed_sans: [prometheus]'], []],
    ['RequireAnyClientCert', ['client_allowed_sans: [prometheus@netvitals.test]'], ['client']],
  ])('%s %j lets in %j', async (type, more, admitted) => {
    writeTls(`client_auth_type: ${type}`, ...more)
    const { port, security } = await listen()
    expect(security.knowsClients()).toBe(type === 'RequireAndVerifyClientCert')
    const answers = { none: await ask(port), client: await ask(port, client), stranger: await ask(port, stranger) }
    expect(Object.entries(answers).flatMap(([who, answer]) => (answer === 'answer' ? [who] : []))).toEqual(admitted)
  })

  it('follows a new client_ca_file', async () => {
    writeTls('client_auth_type: RequireAndVerifyClientCert', 'client_ca_file: authority.crt')
    const { port, security } = await listen()
    expect(await ask(port, client)).toBe('answer')
    writeTls('client_auth_type: RequireAndVerifyClientCert', 'client_ca_file: stranger.crt')
    security.wait(limits.fileCheckMs)
    expect(await ask(port, client)).not.toBe('answer')
    expect(await ask(port, stranger)).toBe('answer')
  })

  it('keeps to the versions, suites and curves it is told', async () => {
    writeTls('max_version: TLS12', 'cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]', 'curve_preferences: [CurveP384]')
    const { port } = await listen()
    expect(await ask(port)).toBe('answer')
    expect(await ask(port, { minVersion: 'TLSv1.3' })).toMatch(/alert protocol version/)
    expect(await ask(port, { ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' })).toMatch(/alert handshake failure/)
    expect(await ask(port, { ecdhCurve: 'X25519' })).toMatch(/alert handshake failure/)
  })

  it('offers TLS 1.3 whatever cipher_suites says of older versions', async () => {
    writeTls('cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]')
    const { port } = await listen()
    expect(await ask(port, { minVersion: 'TLSv1.3' })).toBe('answer')
    expect(await ask(port, { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' })).toMatch(
      /alert handshake failure/,
    )
  })
})

describe('subject alternative names', () => {
  it.each([
    [undefined, []],
    ['', []],
    ['DNS:a.test, DNS:b.test', ['a.test', 'b.test']],
    ['IP Address:10.0.0.1, IP Address:0:0:0:0:0:0:0:1, IP Address:2001:DB8:0:0:0:0:0:1', ['10.0.0.1', '::1', '2001:db8::1']],
    ['URI:spiffe://a/b, email:x@y.test', ['spiffe://a/b', 'x@y.test']],
    ['DNS:"evil, DNS:prometheus.test"', ['evil, DNS:prometheus.test']],
    ['DirName:"CN=prometheus.test", othername:<unsupported>', []],
  ])('%j', (text, names) => {
    expect(readSubjectAltNames(text)).toEqual(names)
  })
})
