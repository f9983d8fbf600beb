import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import type { Node } from 'yaml'
import { limits } from './limits.ts'

/** What a person has to change in a flag, a variable or a file: the message says where, what was expected and what to do. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

const systemErrors: Readonly<Record<string, string>> = {
  ENOENT: 'it does not exist',
  EACCES: 'permission denied',
  EPERM: 'operation not permitted',
  EEXIST: 'something else has its name',
  ENOTDIR: 'a part of its path is not a directory',
  EROFS: 'the file system is read-only',
  ENAMETOOLONG: 'the path is too long',
}

/** Why a system call failed, in words, without the path and the call that Node puts in. */
export function describeSystemError(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  return systemErrors[code ?? ''] ?? message
}

/** @throws ConfigError if the file cannot be read, is no regular file or is too large */
export function readConfigFile(file: string): string {
  try {
    const stat = fs.statSync(file)
    if (!stat.isFile()) throw new Error('it is not a regular file')
    if (stat.size > limits.configFileBytes) throw new Error(`it is larger than ${limits.configFileBytes} bytes`)
    return fs.readFileSync(file, 'utf8')
  } catch (error) {
    throw new ConfigError(`${file}: cannot be read: ${describeSystemError(error)}`)
  }
}

/** A file that another file names: relative to that one. */
export const besideFile = (file: string, named: string): string => path.resolve(path.dirname(file), named)

export interface YamlMapping {
  readonly value: Readonly<Record<string, unknown>>
  /** `file:line` of a key, or of the nearest one above it that is there. */
  where(keys: readonly PropertyKey[]): string
}

/** @throws ConfigError with file and line if the text is no YAML mapping */
export function parseYamlMapping(text: string, file: string): YamlMapping {
  // Most agents have no file: they are spared the 4 MB.
  const { isMap, isScalar, isSeq, LineCounter, parseDocument } = createRequire(import.meta.url)('yaml') as typeof import('yaml')
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const lineOf = (offset: number | undefined): string => `${file}:${lines.linePos(offset ?? 0).line}`
  const broken = document.errors[0]
  if (broken !== undefined) throw new ConfigError(`${lineOf(broken.pos[0])}: not valid YAML: ${broken.message}`)
  const root = document.contents
  if (root !== null && !isMap(root)) throw new ConfigError(`${lineOf(root.range?.[0])}: expected a mapping (key: value)`)

  function where(keys: readonly PropertyKey[]): string {
    let node: unknown = root
    let offset: number | undefined
    for (const key of keys) {
      if (isMap(node)) {
        const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(key))
        if (pair === undefined) break
        offset = (pair.key as Node).range?.[0]
        node = pair.value
      } else if (isSeq(node)) {
        node = node.items[Number(key)]
        offset = (node as Node | undefined)?.range?.[0] ?? offset
      }
    }
    return lineOf(offset)
  }

  try {
    return { value: document.toJS({ maxAliasCount: 10 }) ?? {}, where }
  } catch (error) {
    throw new ConfigError(`${file}: not valid YAML: ${(error as Error).message}`)
  }
}
