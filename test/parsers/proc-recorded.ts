import fs from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { expect } from 'vitest'
import { ParseError } from '../../parsers/text.ts'

const hosts = path.resolve(import.meta.dirname, '../fixtures/hosts')

/** A file of /proc as each recorded kernel printed it: `[kernel, text]`, as describe.each takes it. */
export function recorded(file: string): [kernel: string, text: string][] {
  return fs
    .readdirSync(hosts)
    .sort()
    .filter((host) => fs.existsSync(path.join(hosts, host, 'proc', file)))
    .map((host) => [host, fs.readFileSync(path.join(hosts, host, 'proc', file), 'latin1')])
}

/** The error that parsing must end with. */
export function parseErrorOf(parse: () => unknown): ParseError {
  try {
    parse()
  } catch (error) {
    if (error instanceof ParseError) return error
    throw error
  }
  throw new Error('parsed without complaint')
}

/** Where it says the text is wrong. */
export function placeOf(parse: () => unknown): [line: number, column: number] {
  const { line, column } = parseErrorOf(parse)
  return [line, column]
}

const edit = fc.record({
  /** Where, as a share of the text. */
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  remove: fc.nat(20),
  insert: fc.oneof(
    fc.string({ maxLength: 12 }),
    fc.constantFrom('\n', ':', ' ', '-', '\t', '\0', 'é', '99999999999999999999999', 'x1\u001b[2J'),
  ),
})
function mutate(text: string, edits: readonly { at: number; remove: number; insert: string }[], cut: number | undefined): string {
  let mutated = cut === undefined ? text : text.slice(0, Math.floor(cut * text.length))
  for (const { at, remove, insert } of edits) {
    const from = Math.floor(at * mutated.length)
    mutated = mutated.slice(0, from) + insert + mutated.slice(from + remove)
  }
  return mutated
}

/** A recorded text that was damaged in a few places, or cut off. */
export function damaged(texts: readonly string[]): fc.Arbitrary<string> {
  const share = fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { nil: undefined })
  return fc
    .tuple(fc.constantFrom(...texts), fc.array(edit, { maxLength: 4 }), share)
    .map(([text, edits, cut]) => mutate(text, edits, cut))
}

/** Whatever happens to the files, a parser returns or throws a ParseError that points into them. */
export function expectOnlyParseErrors(
  parse: (text: string, where: string) => unknown,
  texts: readonly string[],
  where = 'the file',
): void {
  expect(texts.length).toBeGreaterThan(2)
  fc.assert(
    fc.property(damaged(texts), (text) => {
      try {
        parse(text, where)
      } catch (error) {
        if (!(error instanceof ParseError)) throw error
        const line = text.split('\n')[error.line - 1]
        expect(line, error.message).toBeDefined()
        expect(error.column, error.message).toBeLessThanOrEqual((line ?? '').length + 1)
        expect(error.where).toBe(where)
        expect(error.message).toMatch(/^[ -~]*$/)
      }
    }),
    { numRuns: 300 },
  )
}
