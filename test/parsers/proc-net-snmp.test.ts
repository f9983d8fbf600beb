import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseProcNetSnmp } from '../../parsers/proc-net-snmp.ts'
import { expectOnlyParseErrors, parseErrorOf, placeOf, recorded } from './proc-recorded.ts'

const parse = (text: string): ReadonlyMap<string, number> => parseProcNetSnmp(text, '/proc/net/snmp')

describe('parseProcNetSnmp', () => {
  it.each([...recorded('net/snmp'), ...recorded('net/netstat')])('reads every pair of %s', (_, text) => {
    const values = parse(text)
    const lines = text.trimEnd().split('\n')
    let count = 0
    for (let i = 0; i < lines.length; i += 2) {
      const [protocol, ...names] = lines[i]!.split(' ')
      const numbers = lines[i + 1]!.split(' ').slice(1)
      names.forEach((name, column) => {
        expect(values.get(`${protocol!.slice(0, -1)}.${name}`)).toBe(Number(numbers[column]))
        count++
      })
    }
    expect(values.size).toBe(count)
    expect(count).toBeGreaterThan(70)
  })

  it('knows MaxConn, the one that is -1', () => {
    expect(parse('Tcp: RtoMax MaxConn ActiveOpens\nTcp: 120000 -1 7\n')).toEqual(
      new Map([
        ['Tcp.RtoMax', 120000],
        ['Tcp.MaxConn', -1],
        ['Tcp.ActiveOpens', 7],
      ]),
    )
    expect(placeOf(() => parse('Udp: NoPorts\nUdp: -1\n'))).toEqual([2, 6])
  })
  it('follows the names of each file, though it remembers those of others', () => {
    expect(parse('IcmpMsg: InType3 OutType3\nIcmpMsg: 1 2\n').get('IcmpMsg.OutType3')).toBe(2)
    expect(parse('IcmpMsg: InType3 InType8 OutType3\nIcmpMsg: 1 2 3\n').get('IcmpMsg.OutType3')).toBe(3)
    expect(parse('IcmpMsg: InType3 OutType3\nIcmpMsg: 4 5\n').get('IcmpMsg.OutType3')).toBe(5)
  })
  it('remembers a bounded number of headers, and reads right beyond it', () => {
    for (let i = 0; i < 1000; i++)
      expect(parse(`IcmpMsg: InType${i}\nIcmpMsg: ${i}\n`)).toEqual(new Map([[`IcmpMsg.InType${i}`, i]]))
  })
  it('takes protocols it has never heard of', () => expect(parse('New: A\nNew: 1\n').get('New.A')).toBe(1))
  it('takes a protocol without fields', () => expect(parse('New:\nNew:\n').size).toBe(0))

  it('says what is wrong, and where', () => {
    expect(parseErrorOf(() => parse('Tcp: A B\nTcp: 1\n')).message).toBe(
      '/proc/net/snmp: line 2, column 7: expected 2 columns instead of 1, got ""',
    )
    expect(placeOf(() => parse('Tcp: A B\nTcp: 1 2 3\n'))).toEqual([2, 10])
    expect(placeOf(() => parse('Tcp: A B\nTcp: 1 2x\n'))).toEqual([2, 8])
    expect(parseErrorOf(() => parse('Ip: A\nIp: 1\nTcp: A\n')).message).toBe(
      '/proc/net/snmp: line 4, column 1: expected the values of Tcp:, got ""',
    )
    expect(placeOf(() => parse('Tcp: A\nUdp: 1\n'))).toEqual([2, 1])
    expect(placeOf(() => parse('Tcp: 1 2\nUdp: A\nUdp: 1\n'))).toEqual([1, 6])
    expect(placeOf(() => parse('Tcp A\nTcp 1\n'))).toEqual([1, 1])
    expect(placeOf(() => parse('Tcp: A\nTcp: 12'))).toEqual([2, 8])
  })

  it('reads what the kernel writes', () => {
    const name = fc.stringMatching(/^[A-Z][A-Za-z0-9]{0,20}$/)
    const fields = fc.uniqueArray(fc.tuple(name, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })), { selector: ([name]) => name })
    const protocols = fc.uniqueArray(fc.tuple(name, fields), { selector: ([name]) => name, minLength: 1 })
    fc.assert(
      fc.property(protocols, (protocols) => {
        const text = protocols
          .map(([protocol, fields]) =>
            [
              `${protocol}:${fields.map(([name]) => ` ${name}`).join('')}\n`,
              `${protocol}:${fields.map(([, value]) => ` ${value}`).join('')}\n`,
            ].join(''),
          )
          .join('')
        const expected = protocols.flatMap(([protocol, fields]) =>
          fields.map(([name, value]) => [`${protocol}.${name}`, Number(value)] as const),
        )
        expect(parse(text)).toEqual(new Map(expected))
      }),
    )
  })
  it('throws nothing but ParseErrors', () => {
    expectOnlyParseErrors(
      parseProcNetSnmp,
      [...recorded('net/snmp'), ...recorded('net/netstat')].map(([, text]) => text),
    )
  })
})
