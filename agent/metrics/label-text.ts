import { limits } from '../limits.ts'

const unsafe = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]/

/** A label value as it may be shown: no control characters, no direction marks, no lone surrogates, bounded in length. What comes from devices, pods and the kernel is not trusted. */
export function cleanLabelValue(value: string): string {
  if (value.length <= limits.labelCharacters && !unsafe.test(value)) return value
  let clean = ''
  let count = 0
  for (const character of value) {
    if (count++ === limits.labelCharacters) return `${clean}…`
    clean += character.length === 1 && unsafe.test(character) ? '\ufffd' : character
  }
  return clean
}

export function escapeLabelValue(value: string): string {
  return /[\\"\n]/.test(value) ? value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n') : value
}

/** `a="b",c="d"`, of cleaned values. */
export function formatLabels(names: readonly string[], values: readonly string[]): string {
  return names.map((name, i) => `${name}="${escapeLabelValue(values[i] ?? '')}"`).join(',')
}

/** The other way round, of what formatLabels made. */
export function parseLabels(text: string): Readonly<Record<string, string>> {
  const pairs = text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)
  const plainOf = (value: string): string => value.replaceAll(/\\(.)/g, (_, character) => (character === 'n' ? '\n' : character))
  return Object.fromEntries([...pairs].map(([, name = '', value = '']) => [name, plainOf(value)]))
}
