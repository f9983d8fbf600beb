import fs from 'node:fs'
import path from 'node:path'

const folder = path.resolve(import.meta.dirname, '../fixtures/dns')
const readHex = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.trim(), 'hex'))

/** What dig asked and named answered: `[name, question, answer]`, as it.each takes it. */
export const recordedDns: readonly [name: string, question: Uint8Array, answer: Uint8Array][] = fs
  .readFileSync(path.join(folder, 'messages.txt'), 'latin1')
  .trimEnd()
  .split('\n')
  .map((line) => {
    const [name = '', question = '', answer = ''] = line.split(' | ')
    return [name, readHex(question), readHex(answer)]
  })

export function recordedDnsAnswer(name: string): Uint8Array {
  const found = recordedDns.find(([of]) => of === name)
  if (found === undefined) throw new Error(`no recorded message ${name}`)
  return found[2]
}

/** What named sent on one TCP connection: the answers to "a" and "truncated". */
export const recordedDnsStream = readHex(fs.readFileSync(path.join(folder, 'tcp-answers.txt'), 'latin1'))
