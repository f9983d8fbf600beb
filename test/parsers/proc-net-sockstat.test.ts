import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseProcNetSockstat } from '../../parsers/proc-net-sockstat.ts'
import { expectOnlyParseErrors, parseErrorOf, placeOf, recorded } from './proc-recorded.ts'

const parse = (text: string): ReadonlyMap<string, number> => parseProcNetSockstat(text, '/proc/net/sockstat')

describe('parseProcNetSockstat', () => {
  it.each([...recorded('net/sockstat'), ...recorded('net/sockstat6')])('reads every line of %s', (_, text) => {
    const values = parse(text)
    for (const [, protocol, rest] of text.matchAll(/^(\w+):(.*)$/gm)) {
      for (const [, name, value] of rest!.matchAll(/(\w+) (\d+)/g)) expect(values.get(`${protocol}.${name}`)).toBe(Number(value))
    }
    expect(values.get('sockets.used') ?? values.get('TCP6.inuse')).toBeGreaterThan(5)
  })

  it('reads IPv4 and IPv6', () => {
    const text = 'sockets: used 40\nTCP: inuse 17 orphan 0 tw 4 alloc 34 mem 1\nFRAG: inuse 0 memory 8\n'
    expect(Object.fromEntries(parse(text))).toEqual({
      'sockets.used': 40,
      'TCP.inuse': 17,
      'TCP.orphan': 0,
      'TCP.tw': 4,
      'TCP.alloc': 34,
      'TCP.mem': 1,
      'FRAG.inuse': 0,
      'FRAG.memory': 8,
    })
    expect(Object.fromEntries(parse('TCP6: inuse 19\nUDPLITE6: inuse 0\n'))).toEqual({ 'TCP6.inuse': 19, 'UDPLITE6.inuse': 0 })
  })
  it('reads a sum that dips below 0', () => expect(parse('TCP: inuse 0 orphan -2\n').get('TCP.orphan')).toBe(-2))

  it('says what is wrong, and where', () => {
    expect(parseErrorOf(() => parse('sockets: used 40\nTCP: inuse 17 orphan\n')).message).toBe(
      '/proc/net/sockstat: line 2, column 21: expected the value of TCP orphan, got ""',
    )
    expect(placeOf(() => parse('sockets: used 4O\n'))).toEqual([1, 15])
    expect(placeOf(() => parse('TCP: 17 inuse\n'))).toEqual([1, 6])
    expect(placeOf(() => parse('sockets used 40\n'))).toEqual([1, 1])
    expect(placeOf(() => parse(': used 40\n'))).toEqual([1, 1])
    expect(placeOf(() => parse('sockets: used 4'))).toEqual([1, 16])
    expect(placeOf(() => parse(''))).toEqual([1, 1])
  })

  it('reads what the kernel writes', () => {
    const word = fc.stringMatching(/^[A-Za-z]{1,8}6?$/)
    const fields = fc.uniqueArray(fc.tuple(word, fc.integer()), { selector: ([name]) => name })
    const protocols = fc.uniqueArray(fc.tuple(word, fields), { selector: ([name]) => name, minLength: 1 })
    fc.assert(
      fc.property(protocols, (protocols) => {
        const text = protocols.map(
          ([protocol, fields]) => `${protocol}:${fields.map(([name, value]) => ` ${name} ${value}`).join('')}\n`,
        )
        const expected = protocols.flatMap(([protocol, fields]) =>
          fields.map(([name, value]) => [`${protocol}.${name}`, value] as const),
        )
        expect(parse(text.join(''))).toEqual(new Map(expected))
      }),
    )
  })
  it('throws nothing but ParseErrors', () => {
    expectOnlyParseErrors(
      parseProcNetSockstat,
      [...recorded('net/sockstat'), ...recorded('net/sockstat6')].map(([, text]) => text),
    )
  })
})
