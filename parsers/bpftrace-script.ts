import type { BpftraceMap } from './bpftrace-json.ts'

/** What a script does that it must not, with its place. */
export class BpftraceScriptError extends Error {
  readonly file: string
  /** From 1. */
  readonly line: number
  /** What is wrong and what to do. */
  readonly problem: string

  constructor(file: string, line: number, problem: string) {
    super(`${file}: line ${line}: ${problem}`)
    this.name = 'BpftraceScriptError'
    this.file = file
    this.line = line
    this.problem = problem
  }
}

/** flip: counts that add up, taken and cleared every interval. keep: a last value, a minimum or maximum, only looked at. */
export type BpftraceReading = 'flip' | 'keep'

export interface BpftraceScript {
  /** Its file, for errors. */
  readonly name: string
  readonly text: string
  /** The maps to be read, without @. All others are the script's own. */
  readonly maps: readonly { readonly name: string; readonly reads: BpftraceReading }[]
}

export interface CombinedScripts {
  /** For `bpftrace -f json -`. */
  readonly text: string
  /** Whence a line of the text is, from 1; undefined for a line that no script has. */
  place(line: number): { readonly file: string; readonly line: number } | undefined
  /** Where a probe begins that bpftrace names without its line: `tracepoint:udp:udp_fail_queue_rcv_skb`; of several the first. */
  placeOfProbe(probe: string): { readonly file: string; readonly line: number } | undefined
  /** Which script's declared map a printed map is (its name without @); undefined for those that are not to be read. */
  mapOf(printed: string): ScriptMap | undefined
}

/** The map that is printed after all others at the end of each reading; it counts them. */
export const bpftraceHeartbeat = 'nv_tick'
/** It is only printed at bpftrace's end, before the scripts' maps, which the heartbeat then precedes too. */
const endMark = 'nv_half'

/**
 * One program of many scripts, so that one bpftrace (100 MB) runs them all, in which no count is lost between reading a
 * map and clearing it.
 *
 * The maps of script 0 become @s0_…, so that no two scripts share one. A map that flips becomes two, @s0_0_… and
 * @s0_1_…, and the body of a probe that writes to it is there twice: for the half that is being written, and for the
 * other. Every half interval one step is done: the halves are swapped; then, when nothing can be at work any more in the
 * half that was put aside, it is printed and cleared, then the maps that are kept are printed, and last the heartbeat.
 * Printing and clearing are done by the process, later: the next swap waits until it is there, for else it would print
 * and clear the half that is being written. A process that cannot print, its reader being slow, so loses nothing but
 * time; one whose heartbeat does not come for several intervals does not work any more.
 *
 * A reader adds what it sees of a map that flips, of both halves, and takes the last it sees of one that is kept. At
 * SIGINT and SIGTERM (tried with 0.17, 0.23 and 0.27) bpftrace takes off its probes, forgets what it had still to print
 * and clear, runs END and prints every map once more, by name: ours first, then the halves with what was never cleared,
 * then the scripts' own. One that was printed just before and not cleared any more is so printed twice:
 * createReadingCollector sees to it that it counts once. A count() without keys is printed as 0 when it was cleared; other
 * cleared maps are not printed, or as empty. After SIGKILL nothing is printed: the last interval is lost. Its
 * output must be read on while it ends: a signal that comes while it waits for room in a full pipe tears a line.
 *
 * What a BEGIN or END does is moved into one BEGIN and one END, of which old versions allow no more, under variables of
 * its own. Types, preprocessor lines and config blocks are moved to the top, where bpftrace wants them. What is written
 * by us is understood by 0.17 to 0.27.
 */
export function combineScripts(
  scripts: readonly BpftraceScript[],
  { intervalMs }: { readonly intervalMs: number },
): CombinedScripts {
  const parts = scripts.map((script, index) => new Rewriter(script, index))
  for (const part of parts) part.check()

  const out = new Output()
  const seen = new Set<string>()
  for (const part of parts) {
    for (const item of part.items) {
      if (item.kind !== 'preprocessor' && item.kind !== 'type') continue
      const text = toOneLine(item.tokens, asIs)
      if (item.kind === 'type' && seen.has(text)) continue // two scripts may define the same
      seen.add(text)
      part.write(out, item.tokens, asIs)
      out.endLine()
    }
  }
  writeMerged(out, parts, 'config', 'config = ')
  for (const part of parts) {
    for (const item of part.items) {
      if (item.kind === 'other') part.write(out, item.tokens, asIs)
      else if (item.kind === 'declaration') part.writeDeclaration(out, item.tokens)
      else if (item.kind === 'function') part.write(out, item.tokens, part.rename(0))
      else if (item.kind === 'probe') part.writeProbe(out, item)
      else continue
      out.endLine()
    }
  }
  writeMerged(out, parts, 'BEGIN', 'BEGIN ')
  writeMerged(out, parts, 'END', 'END ')
  out.write(readingProbe(parts, intervalMs))

  return {
    text: out.text,
    place: (line) => out.places[line - 1],
    placeOfProbe(probe) {
      for (const part of parts) {
        const item = part.items.find((one) => one.kind === 'probe' && listProbes(one).some((other) => isProbe(other, probe)))
        if (item) return { file: part.script.name, line: item.tokens[0]!.line }
      }
      return undefined
    },
    mapOf(printed) {
      const [, index, half, map = ''] = /^s(\d{1,6})_(?:([01])_)?(\w*)$/.exec(printed) ?? []
      const reads = index === undefined ? undefined : parts[Number(index)]?.declared.get(map)
      return reads === (half === undefined ? 'keep' : 'flip') ? { script: Number(index), map, reads } : undefined
    },
  }
}

export interface ScriptMap {
  readonly script: number
  readonly map: string
  readonly reads: BpftraceReading
}

export interface ReadingCollector {
  /** The next map that bpftrace printed. Returns whether it was the heartbeat that completes a reading. */
  push(message: BpftraceMap): boolean
  /** bpftrace has ended, in whatever way: gives what is left. */
  end(): void
}

/**
 * Gives the maps of each reading once it is complete, and the rest at the end: of maps that flip what is to be added, each
 * count once, of maps that are kept how they are. One collector for one run of bpftrace.
 */
export function createReadingCollector(
  { mapOf }: Pick<CombinedScripts, 'mapOf'>,
  onMap: (of: ScriptMap, entries: BpftraceMap['entries']) => void,
): ReadingCollector {
  /** What was printed since the last heartbeat, by the printed name. */
  const printed = new Map<string, { of: ScriptMap; entries: BpftraceMap['entries'] }>()
  let ending = false

  function give(): void {
    const all = [...printed.values()]
    printed.clear()
    for (const { of, entries } of all) onMap(of, entries)
  }

  return {
    push(message) {
      if (message.map === endMark) ending = true
      if (message.map === bpftraceHeartbeat) {
        if (!ending) give()
        return !ending
      }
      const of = mapOf(message.map)
      if (!of) return false
      // A half that is printed again before the heartbeat was put aside all the while: it is the same, or it is cleared.
      const before = of.reads === 'flip' ? printed.get(message.map)?.entries : undefined
      printed.set(message.map, { of, entries: before ? new Map([...message.entries, ...before]) : message.entries })
      return false
    },
    end: give,
  }
}

export interface BpftraceError {
  /** Of the program, from 1; undefined where bpftrace tells none. */
  readonly line: number | undefined
  /** The probe that it tells of instead. */
  readonly probe: string | undefined
  readonly message: string
}

/**
 * What bpftrace complains about on standard error: `stdin:3:8-9: ERROR: syntax error`, `ERROR: Error attaching probe:
 * 'kprobe:x'`. Where it names two lines (`stdin:1-3:`) the second is meant. Neither warnings nor the memory limit, which
 * 0.17 calls an error and goes on. It may work in spite of one: whether it does, its exit and its heartbeat say.
 */
export function parseBpftraceError(stderr: string): readonly BpftraceError[] {
  const errors: BpftraceError[] = []
  const seen = new Set<string>()
  for (const text of stderr.split('\n')) {
    const [, first, last, message = ''] = /^(?:[^\s:]+:(\d+)(?:-(\d+))?:(?:[-\d]+:)? )?(?:FATAL|ERROR): (.*)$/.exec(text) ?? []
    // clang names lines of headers, and of what bpftrace makes of the types, which are no lines of the program
    const [clang] = /^\S+\.h:\d+:\d+: (?:fatal )?error: .*$/.exec(text) ?? []
    if ((message === '' && clang === undefined) || message.includes('RLIMIT_MEMLOCK') || seen.has(text)) continue
    seen.add(text)
    const [, probe] =
      /^Error (?:attaching probe|loading program|loading BPF program for):? '?([\w:./*@+-]*\w)/.exec(message) ?? []
    const line = last ?? first
    errors.push({ line: line === undefined ? undefined : Number(line), probe, message: clang ?? message })
  }
  return errors
}

type TokenKind = 'blank' | 'newline' | 'comment' | 'preprocessor' | 'string' | 'map' | 'variable' | 'word' | 'operator'

interface Token {
  readonly kind: TokenKind
  readonly text: string
  /** From 1, of its first character. */
  readonly line: number
  /** Whether nothing stands between it and the token before. */
  readonly joined: boolean
}

/** A thing at the top level, with all its tokens. `body`: the index of the { that begins a probe's. */
interface Item {
  readonly kind: 'preprocessor' | 'type' | 'config' | 'function' | 'other' | 'declaration' | 'BEGIN' | 'END' | 'probe'
  readonly tokens: readonly Token[]
  readonly body: number
}

type Rename = (token: Token) => string
const asIs: Rename = (token) => token.text

const tokenPatterns: readonly (readonly [TokenKind, string])[] = [
  ['newline', '\\n'],
  ['blank', '[^\\S\\n]+'],
  ['comment', '//[^\\n]*|/\\*[^]*?\\*/'],
  ['string', '"(?:[^"\\\\]|\\\\[^])*"'],
  ['map', '@[A-Za-z_]\\w*|@'],
  ['variable', '\\$\\w+|\\$#'],
  ['word', '\\w+'],
  ['operator', '\\+\\+|--|->|<<=|>>=|[-+*/%&|^=!<>]=|&&|\\|\\||<<|>>|[^]'],
]
const tokenPattern = new RegExp(tokenPatterns.map(([, pattern]) => `(${pattern})`).join('|'), 'y')
const preprocessorPattern = /#(?:[^\n\\]|\\[\s\S])*/y

function tokenize({ name, text }: BpftraceScript): Token[] {
  const tokens: Token[] = []
  let line = 1
  let lineIsBlank = true
  for (let at = 0; at < text.length; ) {
    preprocessorPattern.lastIndex = tokenPattern.lastIndex = at
    let kind: TokenKind = 'preprocessor'
    let found = lineIsBlank ? preprocessorPattern.exec(text)?.[0] : undefined
    if (found === undefined) {
      const match = tokenPattern.exec(text)!
      found = match[0]
      kind = tokenPatterns[match.findIndex((group, i) => i > 0 && group !== undefined) - 1]![0]
    }
    if (found === '"') throw new BpftraceScriptError(name, line, 'a string without its end')
    if (text.startsWith('/*', at) && kind !== 'comment') throw new BpftraceScriptError(name, line, 'a comment without its end')
    const before = tokens.at(-1)?.kind
    const joined = before !== undefined && !isSpace(before)
    tokens.push({ kind, text: found, line, joined })
    line += countNewlines(found)
    lineIsBlank = kind === 'newline' || (lineIsBlank && kind === 'blank')
    at += found.length
  }
  return tokens
}

function isSpace(kind: TokenKind): boolean {
  return kind === 'blank' || kind === 'newline' || kind === 'comment'
}

function countNewlines(text: string): number {
  let count = 0
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) count++
  return count
}

/** Without comments and newlines; newlines within strings stay. */
function toOneLine(tokens: readonly Token[], rename: Rename): string {
  const parts: string[] = []
  for (const token of tokens) {
    if (!isSpace(token.kind)) parts.push(rename(token))
    else if (parts.at(-1) !== ' ') parts.push(' ')
  }
  return parts.join('').trim()
}

/** The text as it grows, and whence each of its lines is. */
class Output {
  text = ''
  readonly places: ({ readonly file: string; readonly line: number } | undefined)[] = [undefined]

  write(text: string, file?: string, line = 0): void {
    const lines = text.split('\n')
    for (const [i, part] of lines.entries()) {
      if (i > 0) this.places.push(undefined)
      if (file !== undefined && part.trim() !== '') this.places[this.places.length - 1] ??= { file, line: line + i }
    }
    this.text += text
  }

  endLine(): void {
    if (this.text !== '' && !this.text.endsWith('\n')) this.write('\n')
  }
}

const additive = ['count', 'sum', 'hist', 'lhist', 'stats']

class Rewriter {
  readonly script: BpftraceScript
  readonly index: number
  readonly items: readonly Item[]
  readonly declared: ReadonlyMap<string, BpftraceReading>

  constructor(script: BpftraceScript, index: number) {
    this.script = script
    this.index = index
    this.declared = new Map(script.maps.map(({ name, reads }) => [name, reads]))
    this.items = this.#split(tokenize(script))
  }

  #error(token: Token | undefined, problem: string): BpftraceScriptError {
    return new BpftraceScriptError(this.script.name, token?.line ?? 1, problem)
  }

  #split(tokens: readonly Token[]): Item[] {
    const items: Item[] = []
    for (let at = 0; at < tokens.length; ) {
      const first = tokens[at]!
      if (isSpace(first.kind) || first.text === ';') {
        at++
        continue
      }
      if (first.kind === 'preprocessor') {
        if (!first.text.startsWith('#!')) items.push({ kind: 'preprocessor', tokens: [first], body: 0 })
        at++
        continue
      }
      let open = at
      while (open < tokens.length && tokens[open]!.text !== '{' && tokens[open]!.text !== ';') open++
      if (open === tokens.length) throw this.#error(first, 'a probe without its block')
      const word = first.text
      if (tokens[open]!.text === ';') {
        const kind = /^(struct|union|enum|import)$/.test(word) ? 'type' : word === 'let' ? 'declaration' : 'other'
        items.push({ kind, tokens: tokens.slice(at, open + 1), body: 0 })
        at = open + 1
        continue
      }
      let end = this.#findEnd(tokens, open) + 1
      const header = tokens.slice(at, open).filter(({ kind }) => !isSpace(kind))
      let kind: Item['kind'] = 'probe'
      if (/^(struct|union|enum)$/.test(word)) {
        kind = 'type'
        while (end < tokens.length && tokens[end]!.text !== ';' && tokens[end]!.text !== '{') end++
        if (tokens[end]?.text !== ';') throw this.#error(first, `a ${word} without the ; at its end`)
        end++
      } else if (word === 'config' && header[1]?.text === '=') kind = 'config'
      else if (word === 'macro') kind = 'other'
      else if (word === 'fn') kind = 'function'
      else if (header.length === 1 && /^(BEGIN|begin)$/.test(word)) kind = 'BEGIN'
      else if (header.length === 1 && /^(END|end)$/.test(word)) kind = 'END'
      items.push({ kind, tokens: tokens.slice(at, end), body: open - at })
      at = end
    }
    return items
  }

  /** The } that belongs to the { at `open`. */
  #findEnd(tokens: readonly Token[], open: number): number {
    let depth = 0
    for (let at = open; at < tokens.length; at++) {
      const { kind, text } = tokens[at]!
      if (kind === 'preprocessor') throw this.#error(tokens[at], 'a preprocessor line inside a block: put it outside')
      if (text === '{') depth++
      else if (text === '}' && --depth === 0) return at
    }
    throw this.#error(tokens[open], 'a block without the } at its end')
  }

  /** The map's name if the token is a map. In a probe's name an @ may be part of a symbol: `malloc@GLIBC_2.2.5`. */
  #mapName(tokens: readonly Token[], at: number): string | undefined {
    const token = tokens[at]!
    if (token.kind !== 'map') return undefined
    const before = tokens[at - 1]
    if (token.joined && (before?.kind === 'word' || before?.kind === 'map')) return undefined
    return token.text.slice(1)
  }

  check(): void {
    const written = new Set<string>()
    const mentioned = new Map<string, Token>()
    for (const item of this.items) {
      if (['preprocessor', 'type', 'config', 'other', 'declaration'].includes(item.kind)) continue
      const tokens = item.tokens.filter(({ kind }) => !isSpace(kind))
      const body = tokens.findIndex(({ text }) => text === '{')
      for (const [at, token] of tokens.entries()) {
        if (at > body && token.text === 'exit' && tokens[at + 1]?.text === '(') {
          throw this.#error(token, 'exit() would end all scripts: take it out')
        }
        if (token.text === 'return' && (item.kind === 'BEGIN' || item.kind === 'END')) {
          throw this.#error(token, `return would leave out what other scripts do in ${item.kind}: use if`)
        }
        const name = this.#mapName(tokens, at)
        const reads = name === undefined ? undefined : this.declared.get(name)
        if (name === undefined || reads === undefined) continue
        if (!mentioned.has(name)) mentioned.set(name, token)
        const writes = this.#isWrite(tokens, at)
        if (writes) written.add(name)
        if (reads === 'keep') continue
        if (at < body) throw this.#error(token, this.#useOther(name, 'in a filter'))
        if (item.kind === 'function') throw this.#error(token, `write to @${name} in a probe, not in a function`)
        this.#checkFlip(tokens, at, name, writes)
      }
    }
    for (const name of this.declared.keys()) {
      if (written.has(name)) continue
      throw this.#error(mentioned.get(name), `nothing writes to @${name}, which is declared as a metric`)
    }
  }

  #useOther(name: string, where: string): string {
    return `@${name} ${where} has only what was counted since it was last read: use a second map for that`
  }

  /** The index behind the map at `at` and its key. */
  #afterKey(tokens: readonly Token[], at: number): number {
    let next = at + 1
    if (tokens[next]?.text !== '[') return next
    for (let depth = 0; next < tokens.length; next++) {
      if (tokens[next]!.text === '[') depth++
      else if (tokens[next]!.text === ']' && --depth === 0) return next + 1
    }
    return next
  }

  #isWrite(tokens: readonly Token[], at: number): boolean {
    if (/^(\+\+|--)$/.test(tokens[at - 1]?.text ?? '')) return true
    return /^(=|\+\+|--|([-+*/%&|^]|<<|>>)=)$/.test(tokens[this.#afterKey(tokens, at)]?.text ?? '')
  }

  #checkFlip(tokens: readonly Token[], at: number, name: string, writes: boolean): void {
    const token = tokens[at]!
    const before = tokens[at - 1]?.text
    const call = before === '(' ? tokens[at - 2]?.text : undefined
    if (call !== undefined && ['print', 'clear', 'zero', 'delete'].includes(call)) {
      throw this.#error(token, `@${name} is read and cleared by netvitals: take ${call}() out`)
    }
    if (!writes) throw this.#error(token, this.#useOther(name, 'as a value'))
    const next = this.#afterKey(tokens, at)
    const operator = tokens[next]?.text
    if (before === '++' || operator === '++' || operator === '+=') return
    const assigned = operator === '=' && tokens[next + 2]?.text === '(' ? (tokens[next + 1]?.text ?? '') : ''
    if (additive.includes(assigned)) return
    if (assigned === 'avg') {
      throw this.#error(token, `avg() of @${name} cannot be added to the next one: use stats()`)
    }
    throw this.#error(
      token,
      `@${name} does not add up: use ${additive.map((one) => `${one}()`).join(', ')}, ++ or +=, or declare it as a gauge`,
    )
  }

  /** Maps and, in what is merged, variables, under this script's names. */
  rename(half: 0 | 1, merged = false): Rename {
    return ({ kind, text }) => {
      if (merged && kind === 'variable' && /^\$[A-Za-z_]/.test(text)) return `$s${this.index}_${text.slice(1)}`
      if (kind !== 'map') return text
      return this.mapName(text.slice(1), half)
    }
  }

  mapName(name: string, half: 0 | 1): string {
    return this.declared.get(name) === 'flip' ? `@s${this.index}_${half}_${name}` : `@s${this.index}_${name}`
  }

  /** With comments and newlines. */
  write(out: Output, tokens: readonly Token[], rename: Rename): void {
    for (const token of tokens) out.write(rename(token), this.script.name, token.line)
  }

  /** `let @x = lruhash(100);` */
  writeDeclaration(out: Output, tokens: readonly Token[]): void {
    this.write(out, tokens, this.rename(0))
    const flips = tokens.some(({ kind, text }) => kind === 'map' && this.declared.get(text.slice(1)) === 'flip')
    if (flips) out.write(` ${toOneLine(tokens, this.rename(1))}`)
  }

  writeProbe(out: Output, { tokens, body }: Item): void {
    for (const [at, token] of tokens.slice(0, body + 1).entries()) {
      const text = this.#mapName(tokens, at) === undefined ? token.text : this.rename(0)(token)
      out.write(text, this.script.name, token.line)
    }
    const inside = tokens.slice(body + 1, -1)
    const flips = inside.some(({ kind, text }) => kind === 'map' && this.declared.get(text.slice(1)) === 'flip')
    if (flips) out.write(' if (@nv_half == 0) {')
    this.write(out, inside, this.rename(0))
    if (flips) out.write(`} else { ${toOneLine(inside, this.rename(1))} }`, this.script.name, tokens.at(-1)!.line)
    this.write(out, tokens.slice(-1), asIs)
  }

  /** What is inside the block. */
  writeInside(out: Output, { kind, tokens, body }: Item): void {
    const inside = tokens.slice(body + 1, -1)
    this.write(out, inside, kind === 'config' ? asIs : this.rename(0, true))
    const last = inside.findLast((token) => !isSpace(token.kind))
    if (last && last.text !== ';' && last.text !== '}') {
      if (inside.at(-1)!.kind === 'comment') out.endLine()
      out.write(';')
    }
  }
}

function writeMerged(out: Output, parts: readonly Rewriter[], kind: Item['kind'], header: string): void {
  let any = false
  for (const part of parts) {
    for (const item of part.items) {
      if (item.kind !== kind) continue
      if (!any) out.write(`${header}{\n`)
      any = true
      part.writeInside(out, item)
      out.endLine()
    }
  }
  if (any) out.write('}\n')
}

/** Swaps, prints and clears; and prints the heartbeat. */
function readingProbe(parts: readonly Rewriter[], intervalMs: number): string {
  const halves: [string[], string[]] = [[], []]
  const kept: string[] = []
  for (const part of parts) {
    for (const [name, reads] of part.declared) {
      if (reads === 'keep') kept.push(`print(${part.mapName(name, 0)});`)
      else for (const half of [0, 1] as const) halves[half].push(readAndClear(part.mapName(name, half)))
    }
  }
  const stepMs = Math.max(1, Math.round(intervalMs / 2))
  // @nv_step: 0 to swap, 1 to print, 2 while the process prints; it clears it when it has.
  return [
    `interval:ms:${stepMs} {`,
    '  if (@nv_step[0] == 0) {',
    '    @nv_step[0] = 1;',
    '    if (@nv_half == 0) { @nv_half = 1; } else { @nv_half = 0; }',
    '  } else { if (@nv_step[0] == 1) {',
    '    @nv_step[0] = 2;',
    ...(halves[0].length === 0
      ? []
      : ['    if (@nv_half == 1) {', ...indent(halves[0]), '    } else {', ...indent(halves[1]), '    }']),
    ...kept.map((line) => `    ${line}`),
    `    @${bpftraceHeartbeat} = count(); print(@${bpftraceHeartbeat}); clear(@nv_step);`,
    '  } }',
    '}',
    '',
  ].join('\n')
}

function readAndClear(map: string): string {
  return `print(${map}); clear(${map});`
}

function indent(lines: readonly string[]): string[] {
  return lines.map((line) => `      ${line}`)
}

/** New versions name the program: `tracepoint_skb_kfree_skb_1`. */
function isProbe(probe: string, named: string): boolean {
  return named === probe || named.replace(/_\d+$/, '') === probe.replace(/\W/g, '_')
}

/** The probes in an item's header, without its filter. */
function listProbes({ tokens, body }: Item): string[] {
  const header = toOneLine(tokens.slice(0, body), asIs)
  return header
    .replace(/\s+\/.*$/, '')
    .split(',')
    .map((probe) => probe.trim())
}
