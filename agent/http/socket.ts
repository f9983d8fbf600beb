import fs from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import path from 'node:path'
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

/** The JSON answer of the agent that listens on the socket; undefined if there is none. @throws Error in words if there is one that does not answer well */
export function askAgent(file: string, url: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const headers = { [schemaHeader]: String(schemaVersion) }
    const request = http.get({ socketPath: file, path: url, headers, signal: AbortSignal.timeout(limits.askMs) })
    request.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') resolve(undefined)
      else if (error.name === 'AbortError') reject(new Error(`the agent at ${file} does not answer`))
      else reject(new Error(`the agent at ${file} cannot be asked: ${describeSystemError(error)}`))
    })
    request.once('response', (response) => {
      readAnswer(response, file).then(resolve, reject)
    })
  })
}

async function readAnswer(response: http.IncomingMessage, file: string): Promise<unknown> {
  let text = ''
  let answer: unknown
  try {
    for await (const chunk of response.setEncoding('utf8')) {
      text += chunk
      if (text.length > limits.askBytes) throw new Error('it answers too much')
    }
    answer = response.statusCode === 200 ? JSON.parse(text) : undefined
  } catch (error) {
    throw new Error(`the agent at ${file} does not answer well: ${(error as Error).message}`)
  }
  if (response.statusCode !== 200) throw new Error(`the agent at ${file} says: ${text.trim().slice(0, 200)}`)
  if ((answer as { schemaVersion?: unknown } | null)?.schemaVersion !== schemaVersion)
    throw new Error(`the agent at ${file} is of another version; use the netvitals of the same one`)
  return answer
}
