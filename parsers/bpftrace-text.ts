import type { BpftraceBucket, BpftraceMap, BpftraceMessage, BpftraceValue } from './bpftrace-json.ts'
import { type Line, ParseError, parseError } from './text.ts'

/** Reads what bpftrace prints, line by line. It never throws. */
export interface BpftraceTextReader {
  /** The next line, without its newline. */
  push(text: string): void
  /** No more lines: gives the map that was being read. */
  end(): void
}

export interface BpftraceTextOptions {
  readonly where: string
  onMessage(message: BpftraceMessage): void
  /** What is wrong with a line. The entry it belongs to is left out. */
  onError(error: ParseError): void
  /** A map with more entries is given in parts. */
  readonly entriesMax?: number
}

/** hist() has 65 buckets, lhist() 1002 at most. */
const bucketsMax = 1002
/** A stack has 127 frames at most. */
const keyLinesMax = 130

const entry = /^@([A-Za-z_]\w*)?(?:\[(.*)\])?: ?(.*)$/
const beginning = /^@(?:[A-Za-z_]\w*)?\[/
const statistics = /^(?:\{ \.)?count (?:= )?(-?\d+), \.?average (?:= )?(-?\d+), \.?total (?:= )?(-?\d+)(?: \})?$/
const bucket = /^(?:\(\.\.\., (\S+)\)|\[(\S+), \.\.\.\)|\[(\S+), (\S+)\)|\[(\S+)\]) +(\d+) \|[@ ]*\|$/
const suffixes = ' KMGTPE'

/**
 * The text that bpftrace prints without -f json, of maps above all: `@drops[3, 2048]: 10`, `@x: count 2, average 15,
 * total 31` (in new versions `{ .count = 2, .average = 15, .total = 31 }`), `@h[1]:` with lines `[4, 8)  1 |@@@|` below it (src/output.cpp; since 0.24 src/output/text.cpp).
 *
 * The message of a map comes when the next thing begins, because nothing marks the end of a map: entries in a row under
 * one name are one map until a key comes again. Keys are as in JSON, `3,2048`; a column that holds a comma and a blank
 * loses the blank. The bucket `[2G, 4G)` of 0.17 holds all from 2^31 up, which the text does not say. A key over several
 * lines, as a stack is, is an error at its first line.
 */
export function createBpftraceTextReader({
  where,
  onMessage,
  onError,
  entriesMax = 65_536,
}: BpftraceTextOptions): BpftraceTextReader {
  let number = 0
  let map: { name: string; entries: Map<string, BpftraceValue>; skipped: number } | undefined
  /** The histogram being read. Without a list of buckets it is skipped. */
  let histogram: { key: string; buckets: BpftraceBucket[] | undefined } | undefined
  /** How many lines of a key over several lines have come. */
  let keyLines = 0

  function endMap(): void {
    endHistogram()
    if (!map) return
    const message: BpftraceMap = { type: 'map', map: map.name, entries: map.entries, skipped: map.skipped }
    map = undefined
    onMessage(message)
  }

  function endHistogram(): void {
    const buckets = histogram?.buckets
    if (histogram && buckets && map) {
      if (buckets.length > 0) map.entries.set(histogram.key, { buckets })
      else map.skipped++ // an empty string
    }
    histogram = undefined
  }

  function add(name: string, key: string): NonNullable<typeof map> {
    endHistogram()
    if (map && (map.name !== name || map.entries.has(key) || map.entries.size >= entriesMax)) endMap()
    map ??= { name, entries: new Map(), skipped: 0 }
    return map
  }

  function readEntry(name: string, key: string, text: string): void {
    const into = add(name, key)
    if (text === '') {
      histogram = { key, buckets: [] }
      return
    }
    const [, count, average, total] = statistics.exec(text) ?? []
    if (count !== undefined) into.entries.set(key, { count: Number(count), total: Number(total), average: Number(average) })
    else if (/^-?\d{1,20}$/.test(text)) into.entries.set(key, Number(text))
    else into.skipped++
  }

  /** Whether the line belongs to the histogram. */
  function readBucket(line: Line, { buckets }: NonNullable<typeof histogram>): boolean {
    if (line.text === '') endHistogram()
    if (!/^[[(]/.test(line.text)) return false
    const [, below, from, min, end, single, count] = bucket.exec(line.text) ?? []
    const lowest = toNumber(from ?? min ?? single)
    const highest = single === undefined ? toNumber(below ?? end) : lowest! + 1
    if (count === undefined || Number.isNaN(lowest) || Number.isNaN(highest)) {
      onError(parseError(line, 0, 'a bucket of a histogram'))
      histogram = { key: '', buckets: undefined }
    } else if (buckets && buckets.length >= bucketsMax) {
      onError(parseError(line, 0, `the end of a histogram, ${bucketsMax} buckets at most`))
      histogram = { key: '', buckets: undefined }
    } else {
      buckets?.push({
        ...(lowest !== undefined && { min: lowest }),
        ...(highest !== undefined && { max: highest - 1 }),
        count: Number(count),
      })
    }
    return true
  }

  /** Whether the line belongs to a key over several lines, of which an error was told. */
  function skipKey(text: string): boolean {
    if (keyLines === 0) return false
    if (entry.test(text) || ++keyLines > keyLinesMax) {
      keyLines = 0 // it never ended
      return false
    }
    const end = /\]:(?: (.*))?$/.exec(text)
    if (end) {
      keyLines = 0
      if (!end[1]) histogram = { key: '', buckets: undefined }
    }
    return true
  }

  return {
    push(text) {
      number++
      if (skipKey(text)) return
      const line = { where, number, text }
      if (histogram && readBucket(line, histogram)) return
      const [, name = '', key = '', value] = entry.exec(text) ?? []
      if (value !== undefined) {
        readEntry(name, key.replaceAll(', ', ','), value)
        return
      }
      if (text === '') return
      endMap()
      if (beginning.test(text)) {
        onError(parseError(line, 0, 'a key on one line and its value'))
        keyLines = 1
        return
      }
      const [, , probes] = /^Attach(ing|ed) (\d+) probes?(?:\.\.\.)?$/.exec(text) ?? []
      const [, events] = /^Lost (\d+) events$/.exec(text) ?? []
      if (probes !== undefined) onMessage({ type: 'attached', probes: Number(probes) })
      else if (events !== undefined) onMessage({ type: 'lost', events: Number(events) })
      else onMessage({ type: 'text', text })
    },
    end() {
      endMap()
      if (keyLines > 0) onError(new ParseError(where, number, 1, 'the end of a key', ''))
      keyLines = 0
    },
  }
}

/** `512`, `1K`, `2G`; NaN if it is no number. */
function toNumber(text: string): number
function toNumber(text: string | undefined): number | undefined
function toNumber(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const [, digits, suffix = ' '] = /^(-?\d{1,20})([KMGTPE])?$/.exec(text) ?? []
  return digits === undefined ? Number.NaN : Number(digits) * 1024 ** suffixes.indexOf(suffix)
}
