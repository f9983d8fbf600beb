import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseNumbers, parsePortRanges } from '../../parsers/proc-sys.ts'
import { expectOnlyParseErrors, parseErrorOf, placeOf, recorded } from './proc-recorded.ts'

const ipv4 = (file: string): [string, string][] => recorded(`sys/net/ipv4/${file}`)

describe('parseNumbers', () => {
  it.each(ipv4('tcp_mem'))('reads tcp_mem of %s', (_, text) => {
    const [low, pressure, high, ...more] = parseNumbers(text, 'f')
    expect(more).toEqual([])
    expect([low < pressure!, pressure! < high!]).toEqual([true, true])
  })
  it.each(ipv4('ip_local_port_range'))('reads ip_local_port_range of %s', (_, text) =>
    expect(parseNumbers(text, 'f')).toEqual([32768, 60999]),
  )
  it.each(ipv4('neigh/default/gc_thresh3'))('reads gc_thresh3 of %s', (_, text) =>
    expect(parseNumbers(text, 'f')).toEqual([1024]),
  )

  it('says what is wrong, and where', () => {
    const parse = (text: string): unknown => parseNumbers(text, '/proc/sys/net/ipv4/tcp_mem')
    expect(parseErrorOf(() => parse('18834\tx25115\t37668\n')).message).toBe(
      '/proc/sys/net/ipv4/tcp_mem: line 1, column 7: expected a decimal number, got "x25115"',
    )
    expect(placeOf(() => parse('-1\n'))).toEqual([1, 1])
    expect(placeOf(() => parse('\n'))).toEqual([1, 1])
    expect(placeOf(() => parse('1\n2\n'))).toEqual([2, 1])
    expect(placeOf(() => parse('18834'))).toEqual([1, 6])
    expect(placeOf(() => parse(''))).toEqual([1, 1])
  })
  it('reads what the kernel writes', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(), { minLength: 1 }), (numbers) => {
        expect(parseNumbers(`${numbers.join('\t')}\n`, 'f')).toEqual(numbers)
      }),
    )
  })
  it('throws nothing but ParseErrors', () =>
    expectOnlyParseErrors(
      parseNumbers,
      ipv4('tcp_mem').map(([, text]) => text),
    ))
})

describe('parsePortRanges', () => {
  const parse = (text: string): unknown => parsePortRanges(text, '/proc/sys/net/ipv4/ip_local_reserved_ports')
  it.each(ipv4('ip_local_reserved_ports'))('reads ip_local_reserved_ports of %s', (kernel, text) => {
    const reserved = [
      { from: 8080, to: 8080 },
      { from: 9148, to: 9150 },
    ]
    expect(parse(text)).toEqual(kernel.startsWith('4.18') ? reserved : [])
  })

  it('says what is wrong, and where', () => {
    expect(parseErrorOf(() => parse('8080,9148-91x0\n')).message).toBe(
      '/proc/sys/net/ipv4/ip_local_reserved_ports: line 1, column 11: expected a decimal number, got "91x0"',
    )
    expect(placeOf(() => parse('8080,,1\n'))).toEqual([1, 6])
    expect(placeOf(() => parse('8080,\n'))).toEqual([1, 6])
    expect(placeOf(() => parse('-1\n'))).toEqual([1, 1])
    expect(placeOf(() => parse('1-\n'))).toEqual([1, 3])
    expect(placeOf(() => parse('1-2-3\n'))).toEqual([1, 3])
    expect(placeOf(() => parse('1,65536\n'))).toEqual([1, 3])
    expect(placeOf(() => parse('1,20-10\n'))).toEqual([1, 6])
    expect(placeOf(() => parse('8080'))).toEqual([1, 5])
  })
  it('reads what the kernel writes', () => {
    const range = fc.tuple(fc.nat(65535), fc.nat(65535)).map(([a, b]) => ({ from: Math.min(a, b), to: Math.max(a, b) }))
    fc.assert(
      fc.property(fc.array(range), (ranges) => {
        expect(parse(`${ranges.map(({ from, to }) => (from === to ? from : `${from}-${to}`)).join(',')}\n`)).toEqual(ranges)
      }),
    )
  })
  it('throws nothing but ParseErrors', () =>
    expectOnlyParseErrors(parsePortRanges, ['\n', '8080,9148-9150\n', '1-65535\n', '1,3,5\n']))
})
