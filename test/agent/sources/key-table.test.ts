import fc from 'fast-check'
import { expect, it } from 'vitest'
import { createKeyTable } from '../../../agent/sources/key-table.ts'

const word = fc.oneof(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 0xffff_ffff }))
const keys = fc.array(fc.tuple(word, word, word), { maxLength: 400 })

it('numbers keys as they come, and knows them again, as a Map of texts would', () => {
  fc.assert(
    fc.property(keys, keys, (added, asked) => {
      const table = createKeyTable(3)
      const model = new Map<string, number>()
      for (const key of added) {
        if (!model.has(key.join())) model.set(key.join(), model.size)
        table.key.set(key)
        expect(table.add()).toBe(model.get(key.join()))
        expect([...table.key]).toEqual(key)
      }
      expect(table.size).toBe(model.size)
      for (const key of [...added, ...asked]) {
        table.key.set(key)
        expect(table.find()).toBe(model.get(key.join()) ?? -1)
      }
    }),
  )
})

it('begins anew when it is cleared', () => {
  const table = createKeyTable(1)
  for (let i = 0; i < 1000; i++) {
    table.key[0] = i
    table.add()
  }
  table.clear()
  expect(table.size).toBe(0)
  table.key[0] = 999
  expect(table.find()).toBe(-1)
  expect(table.add()).toBe(0)
})
