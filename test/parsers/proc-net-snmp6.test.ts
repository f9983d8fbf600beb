import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseProcNetSnmp6 } from '../../parsers/proc-net-snmp6.ts'
import { expectOnlyParseErrors, parseErrorOf, placeOf, recorded } from './proc-recorded.ts'

const parse = (text: string): ReadonlyMap<string, number> => parseProcNetSnmp6(text, '/proc/net/snmp6')

describe('parseProcNetSnmp6', () => {
  it.each(recorded('net/snmp6'))('reads every line of %s', (_, text) => {
    const values = parse(text)
    const lines = text.trimEnd().split('\n')
    expect(values.size).toBe(lines.length)
    for (const line of lines) {
      const [, protocol, name, value] = /^([A-Za-z]+6)(\w+)\s+(\d+)$/.exec(line) ?? []
      expect(values.get(`${protocol}.${name}`), line).toBe(Number(value))
    }
    expect(values.get('Ip6.InReceives')).toBeGreaterThan(0)
  })

  it('splits names behind the 6', () => {
    const text =
      'Ip6InReceives                   \t75\nIcmp6InType136                  \t6\nUdpLite6InErrors                \t0\n'
    expect([...parse(text)]).toEqual([
      ['Ip6.InReceives', 75],
      ['Icmp6.InType136', 6],
      ['UdpLite6.InErrors', 0],
    ])
  })
  it('remembers a bounded number of names, and reads right beyond it', () => {
    for (let i = 0; i < 3000; i++) expect(parse(`Icmp6InType${i} ${i}\n`)).toEqual(new Map([[`Icmp6.InType${i}`, i]]))
  })

  it('says what is wrong, and where', () => {
    expect(parseErrorOf(() => parse('Ip6InReceives \t75\nIp6InDelivers \t-\n')).message).toBe(
      '/proc/net/snmp6: line 2, column 16: expected a decimal number, got "-"',
    )
    expect(placeOf(() => parse('Ip6InReceives\n'))).toEqual([1, 1])
    expect(placeOf(() => parse('Ip6InReceives \t\n'))).toEqual([1, 16])
    expect(placeOf(() => parse('\n'))).toEqual([1, 1])
    expect(placeOf(() => parse(' 75\n'))).toEqual([1, 1])
    expect(placeOf(() => parse('Ip6InReceives \t75 76\n'))).toEqual([1, 19])
    expect(placeOf(() => parse('Ip6InReceives \t75'))).toEqual([1, 18])
    expect(placeOf(() => parse(''))).toEqual([1, 1])
  })

  it('reads what the kernel writes', () => {
    const name = fc.tuple(fc.constantFrom('Ip6', 'Icmp6', 'Udp6', 'UdpLite6'), fc.stringMatching(/^[A-Z][A-Za-z0-9]{0,40}$/))
    const fields = fc.uniqueArray(fc.tuple(name, fc.nat()), { selector: ([name]) => name.join(''), minLength: 1 })
    fc.assert(
      fc.property(fields, (fields) => {
        const text = fields.map(([name, value]) => `${name.join('').padEnd(32)}\t${value}\n`).join('')
        expect(parse(text)).toEqual(new Map(fields.map(([name, value]) => [name.join('.'), value])))
      }),
    )
  })
  it('throws nothing but ParseErrors', () =>
    expectOnlyParseErrors(
      parseProcNetSnmp6,
      recorded('net/snmp6').map(([, text]) => text),
    ))
})
