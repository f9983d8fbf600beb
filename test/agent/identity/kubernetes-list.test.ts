import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createListReader } from '../../../agent/identity/kubernetes-list.ts'

const tooLong = (): Error => new Error('too long')

function read(text: string, cuts: readonly number[] = [], objectBytesMax = 1e6): { items: unknown[]; frame: unknown } {
  const items: unknown[] = []
  const reader = createListReader({ onItem: (item) => items.push(item), objectBytesMax, tooLong })
  const bytes = Buffer.from(text)
  let from = 0
  for (const to of [...cuts].sort((a, b) => a - b).concat(bytes.length)) {
    const end = Math.min(to, bytes.length)
    reader.push(bytes.subarray(from, end))
    from = end
  }
  return { items, frame: reader.end() }
}

const object = fc.dictionary(fc.string({ unit: 'grapheme' }), fc.jsonValue())

describe('a list', () => {
  it('is the same wherever it is cut', () => {
    const frame = fc.record({ kind: fc.string(), metadata: object })
    const cuts = fc.array(fc.nat(400), { maxLength: 20 })
    fc.assert(
      fc.property(frame, fc.array(object), cuts, fc.constantFrom(undefined, 2), (around, items, at, indent) => {
        const text = JSON.stringify({ ...around, items }, undefined, indent)
        expect(read(text, at)).toEqual({
          items: JSON.parse(JSON.stringify(items)),
          frame: JSON.parse(JSON.stringify({ ...around, items: [] })),
        })
      }),
    )
  })
  it('that is not whole is refused, wherever it ends', () => {
    const text = JSON.stringify({ kind: 'PodList', items: [{ a: '"{[\\' }, { b: [1, { c: 2 }] }] })
    for (let end = 0; end < text.length; end++) expect(() => read(text.slice(0, end)), text.slice(0, end)).toThrow(SyntaxError)
    expect(read(text).items).toHaveLength(2)
  })
  it.each([
    'x',
    '{"items":[1]}',
    '{"items":[{}x]}',
    '{"items":[{"a"}]}',
    '{"items":[{}]}]',
    '{"items":[{]]}',
    '<html>',
    '{"items":[{}',
  ])('%s is none', (text) => expect(() => read(text)).toThrow(SyntaxError))
  it('takes garbage for garbage', () => {
    const noise = fc.stringMatching(/^[{}[\]",:\\a1 ]*$/)
    fc.assert(
      fc.property(
        fc.oneof(
          noise,
          noise.map((text) => `{"items":[${text}`),
        ),
        (text) => {
          try {
            read(text)
          } catch (error) {
            expect(error).toBeInstanceOf(SyntaxError)
          }
        },
      ),
    )
  })
  it('with an object that is too long is refused before all of it is there', () => {
    const long = 'x'.repeat(100)
    expect(() => read(`{"items":[{"a":"${long}`, [30, 60, 90], 80)).toThrow('too long')
    expect(() => read(`{"a":"${long}`, [], 80)).toThrow('too long')
    const many = JSON.stringify({ items: Array(100).fill({ a: long }) })
    expect(read(many, [50], 200).items).toHaveLength(100)
  })
})
