import { expect, it } from 'vitest'
import { formatLabels, parseLabels } from '../../../agent/metrics/label-text.ts'

it('labels are read back as they were written', () => {
  const values = ['a"b', 'a\\b', 'a\nb', '\\n', '', 'ü,="}']
  const names = ['a', 'b', 'c', 'd', 'e', 'f']
  expect(Object.values(parseLabels(formatLabels(names, values)))).toEqual(values)
})
