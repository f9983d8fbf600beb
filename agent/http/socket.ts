import fs from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { describeSystemError } from '../config-file.ts'
import { limits } from '../limits.ts'

/** The commands on this machine may be of another version than the agent that runs: both sides say what they speak. */
export const schemaVersion = 1
export const schemaHeader = 'netvitals-schema-version'
export const isSchemaKnown = (header: string | string[] | undefined): boolean =>
  header === undefined || header === String(schemaVersion)

/** Why the agent cannot listen somewhere, with what to do about it; its cause is the error of the system, if that refused. */
export class ListenError extends Error {
  override readonly name = 'ListenError'
}

const change = 'choose another with --web.socket FILE, or none with --web.socket='

/** Only its owner may connect. A socket left behind by a dead agent is replaced. @throws ListenError */
export async function listenOnSocket(server: net.Server, file: string): Promise<void> {
  try {
    fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 })
    const found = fs.lstatSync(file, { throwIfNoEntry: false })
    if (found !== undefined) {
      if (!found.isSocket()) throw new ListenError(`${file}: there is something that is no socket; ${change}`)
      if (await isAlive(file)) throw new ListenError(`${file}: another agent listens there; stop it, or ${change}`)
      fs.unlinkSync(file)
    }
    await listen(server, file)
  } catch (error) {
    if (error instanceof ListenError) throw error
    throw new ListenError(`${file}: cannot be made: ${describeSystemError(error)}; ${change}`, { cause: error })
  }
}

function listen(server: net.Server, file: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    const mask = process.umask(0o177) // the socket is made within this turn, and never was open to others
    try {
      server.listen(file, () => {
        server.off('error', reject)
        resolve()
      })
    } finally {
      process.umask(mask)
    }
  })
}

function isAlive(file: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(file)
    const settle = (alive: boolean): void => {
      socket.destroy()
      resolve(alive)
    }
    socket.once('connect', () => settle(true))
    socket.once('error', (error: NodeJS.ErrnoException) => settle(error.code !== 'ECONNREFUSED'))
  })
}

/** Why an agent cannot be asked, or how it does not answer well, in words. */
export class AgentError extends Error {
  override readonly name = 'AgentError'
}

/** The JSON answer of the agent that listens on the socket; undefined if there is none. @throws AgentError if there is one that does not answer well */
export async function askAgent(file: string, url: string): Promise<unknown> {
  const response = await ask(file, url, AbortSignal.timeout(limits.askMs))
  if (response === undefined) return undefined
  let text = ''
  let answer: unknown
  try {
    for await (const chunk of response.setEncoding('utf8')) {
      text += chunk
      if (text.length > limits.askBytes) throw new Error('it answers too much')
    }
    answer = response.statusCode === 200 ? JSON.parse(text) : undefined
  } catch (error) {
    throw new AgentError(`the agent at ${file} does not answer well: ${(error as Error).message}`)
  }
  if (response.statusCode !== 200) throw new AgentError(`the agent at ${file} says: ${text.trim().slice(0, 200)}`)
  if ((answer as { schemaVersion?: unknown } | null)?.schemaVersion !== schemaVersion)
    throw new AgentError(`the agent at ${file} is of another version; use the netvitals of the same one`)
  return answer
}

/** The lines of the agent's answer as they come, until it ends them or `signal` does. The agent is held back while a line is worked on. @throws AgentError */
export async function* followAgent(file: string, url: string, signal: AbortSignal): AsyncGenerator<string, void, undefined> {
  try {
    const response = await ask(file, url, signal)
    if (response === undefined) throw new AgentError(`there is no agent at ${file} any more`)
    if (response.statusCode !== 200) throw new AgentError(`the agent at ${file} says: ${await readStart(response)}`)
    yield* linesOf(response, `the agent at ${file}`)
  } catch (error) {
    if (!signal.aborted) throw error
  }
}

/** Without their newlines. @throws AgentError if one is too long, or the stream breaks off */
export async function* linesOf(stream: Readable, who: string): AsyncGenerator<string, void, undefined> {
  let rest = ''
  try {
    for await (const chunk of stream.setEncoding('utf8')) {
      const lines = `${rest}${chunk}`.split('\n')
      rest = lines.pop() ?? ''
      if (rest.length > limits.askLineBytes) throw new Error('a line is too long')
      yield* lines
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw new AgentError(code === 'ECONNRESET' ? `${who} is gone` : `${who} does not answer well: ${message}`)
  }
}

async function readStart(response: http.IncomingMessage): Promise<string> {
  for await (const chunk of response.setEncoding('utf8')) return String(chunk).trim().slice(0, 200)
  return `status ${response.statusCode}`
}

/** Undefined: nobody listens on the socket. @throws AgentError */
function ask(file: string, url: string, signal: AbortSignal): Promise<http.IncomingMessage | undefined> {
  return new Promise((resolve, reject) => {
    const headers = { [schemaHeader]: String(schemaVersion) }
    const request = http.get({ socketPath: file, path: url, headers, signal }, resolve)
    request.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') resolve(undefined)
      else if (error.name === 'AbortError') reject(new AgentError(`the agent at ${file} does not answer`))
      else reject(new AgentError(`the agent at ${file} cannot be asked: ${describeSystemError(error)}`))
    })
  })
}
