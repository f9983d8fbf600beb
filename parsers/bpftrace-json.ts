import { type Line, parseError } from './text.ts'

export interface BpftraceBucket {
  /** Inclusive; absent where the bucket has no lower bound. */
  readonly min?: number
  /** Inclusive; absent where the bucket has no upper bound. */
  readonly max?: number
  readonly count: number
}

/**
 * A number (count, sum, min, max, avg and plain integers), a histogram (hist, lhist) or statistics (stats). Integers
 * beyond 2^53 become the nearest float, silently, whether bpftrace prints them raw (to 0.23) or as strings (since 0.24):
 * so do all numbers on /metrics, and no count gets there.
 */
export type BpftraceValue =
  | number
  | { readonly buckets: readonly BpftraceBucket[] }
  | { readonly count: number; readonly total: number; readonly average: number }

export interface BpftraceMap {
  readonly type: 'map'
  /** Without its @. */
  readonly map: string
  /** By key, its columns joined with commas; '' in a map without keys. Of an empty map there is at most the message. */
  readonly entries: ReadonlyMap<string, BpftraceValue>
  /** How many entries are left out because their values are no numbers: strings, tuples, time series. */
  readonly skipped: number
}

/** What bpftrace says. Its output of a script's own printf() and the like is text. */
export type BpftraceMessage =
  | BpftraceMap
  | { readonly type: 'attached'; readonly probes: number }
  | { readonly type: 'lost'; readonly events: number }
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'helper_error'; readonly helper: string; readonly code: number }
  | { readonly type: 'other'; readonly name: string }

/**
 * A line of `bpftrace -f json`, of 0.17 to 0.27 (src/output/json.cpp). Blank lines, which old versions print before the
 * last maps, are the caller's to skip.
 *
 * Versions differ in what is mended here: numbers as strings; characters beyond ASCII as `\uffffffc3`; in 0.17 one bucket
 * for all from 2^31 up, printed as -2^31 to 0. What is not: new versions take the blanks out of keys (`a b,4` becomes
 * `ab,4`) and say the names of enumerations in them (`SKB_DROP_REASON_NO_SOCKET` for 3), 0.23 escapes what is in keys
 * twice (a newline becomes `\n`, two characters).
 */
export function parseBpftraceJson(line: Line): BpftraceMessage {
  const message = parseJson(line)
  const fail = (expected: string) => parseError(line, 0, expected)
  if (!isObject(message)) throw fail('an object')
  const { type, data } = message
  if (typeof type !== 'string') throw fail('an object with a type')
  switch (type) {
    case 'attached_probes':
      return { type: 'attached', probes: readCount(message, data, 'probes') ?? raise(fail('a number of probes')) }
    case 'lost_events':
      return { type: 'lost', events: readCount(message, data, 'events') ?? raise(fail('a number of events')) }
    case 'map':
    case 'stats':
    case 'hist':
    case 'tseries':
      return readMap(data) ?? raise(fail('the name and the value of a map'))
    case 'printf':
    case 'time':
    case 'cat':
    case 'join':
    case 'syscall':
    case 'value':
      if (data === undefined) throw fail('data')
      return { type: 'text', text: typeof data === 'string' ? data : JSON.stringify(data) }
    case 'helper_error': {
      const code = toNumber(message.retcode)
      if (typeof message.helper !== 'string' || code === undefined) throw fail('a helper and its return code')
      return { type: 'helper_error', helper: message.helper, code }
    }
    default:
      return { type: 'other', name: type }
  }
}

/**
 * The columns of a key, or undefined if it has less than `count`. bpftrace joins them with commas and escapes none, so
 * that a comma within a column, as in the name of a process, cannot be told from one between two: all that are too many
 * stay in the last column. A column of free text belongs last.
 */
export function splitKey(key: string, count: number): readonly string[] | undefined {
  if (count === 0) return key === '' ? [] : undefined
  const columns: string[] = []
  let from = 0
  while (columns.length < count - 1) {
    const to = key.indexOf(',', from)
    if (to === -1) return undefined
    columns.push(key.slice(from, to))
    from = to + 1
  }
  columns.push(key.slice(from))
  return columns
}

interface JsonObject {
  readonly [name: string]: unknown
}

function raise(error: Error): never {
  throw error
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function parseJson(line: Line): unknown {
  try {
    return JSON.parse(line.text.includes('\\uffffff') ? mendText(line.text) : line.text)
  } catch {
    throw parseError(line, findFault(line.text), 'JSON')
  }
}

/** A byte beyond ASCII is printed as the negative number that it is as a signed char: `\uffffffc3\uffffffa9` is é. */
function mendText(text: string): string {
  return text.replace(/(?:\\{1,2}uffffff[89a-f][0-9a-f])+/g, (escapes) => {
    try {
      return decodeURIComponent(escapes.replace(/\\+uffffff/g, '%'))
    } catch {
      return '\ufffd' // not UTF-8, perhaps cut off
    }
  })
}

/** `{"count": 3, "data": {"probes": 3}}`, or only one of the two. */
function readCount(message: JsonObject, data: unknown, name: string): number | undefined {
  return (isObject(data) ? toNumber(data[name]) : undefined) ?? toNumber(message.count)
}

function readMap(data: unknown): BpftraceMap | undefined {
  if (!isObject(data)) return undefined
  const [[name, value] = ['', undefined], ...more] = Object.entries(data)
  if (!name.startsWith('@') || more.length > 0) return undefined
  const entries = new Map<string, BpftraceValue>()
  let skipped = 0
  const add = (key: string, of: unknown) => {
    const read = readValue(of)
    if (read === undefined) skipped++
    else entries.set(key, read)
  }
  if (!isObject(value) || readStatistics(value) !== undefined) add('', value)
  else for (const key in value) add(key, value[key])
  return { type: 'map', map: name.slice(1), entries, skipped }
}

function readValue(value: unknown): BpftraceValue | undefined {
  if (Array.isArray(value)) return readBuckets(value)
  return isObject(value) ? readStatistics(value) : toNumber(value)
}

/** A map with just these three keys looks the same as statistics, and is taken for them. */
function readStatistics(value: JsonObject): BpftraceValue | undefined {
  const [count, total, average] = [toNumber(value.count), toNumber(value.total), toNumber(value.average)]
  if (count === undefined || total === undefined || average === undefined) return undefined
  return Object.keys(value).length === 3 ? { count, total, average } : undefined
}

function readBuckets(value: readonly unknown[]): BpftraceValue | undefined {
  const buckets: BpftraceBucket[] = []
  for (const bucket of value) {
    if (!isObject(bucket)) return undefined
    const [min, max, count] = [toNumber(bucket.min), toNumber(bucket.max), toNumber(bucket.count)]
    if (count === undefined) return undefined
    if (min === -(2 ** 31) && max === 0) buckets.push({ min: 2 ** 31, count })
    else buckets.push({ ...(min !== undefined && { min }), ...(max !== undefined && { max }), count })
  }
  return { buckets }
}

/** Integers that a double cannot hold are strings in new versions; they have at least 16 digits. */
function toNumber(value: unknown): number | undefined {
  if (typeof value === 'number') return value
  return typeof value === 'string' && /^-?\d{16,20}$/.test(value) ? Number(value) : undefined
}

/** Nothing bpftrace prints is deeper: a list of buckets in a map of keys in a map of names. */
const depthMax = 32

/** Where the text stops being JSON. JSON.parse knows, but how it says so depends on the version of Node. */
function findFault(text: string): number {
  const token =
    /"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null|[[\]{},:]/y
  let at = 0
  const next = (): string | undefined => {
    while (at < text.length && ' \t\r\n'.includes(text[at]!)) at++
    token.lastIndex = at
    return token.exec(text)?.[0]
  }
  /** Whether what stands here is one of these, which then is passed. */
  const pass = (...tokens: readonly string[]): boolean => {
    const found = next()
    if (found === undefined || !tokens.includes(found)) return false
    at += found.length
    return true
  }
  const passString = (): boolean => {
    const found = next()
    if (found?.[0] !== '"') return false
    at += found.length
    return true
  }
  const passValue = (depth: number): boolean => {
    if (depth > depthMax) return false
    if (pass('{')) return pass('}') || passList(() => passString() && pass(':') && passValue(depth + 1), '}')
    if (pass('[')) return pass(']') || passList(() => passValue(depth + 1), ']')
    const found = next()
    if (found === undefined || '[]{},:'.includes(found)) return false
    at += found.length
    return true
  }
  const passList = (passOne: () => boolean, end: string): boolean => {
    do {
      if (!passOne()) return false
    } while (pass(','))
    return pass(end)
  }
  if (passValue(0)) next() // to what is too much
  return at
}
