import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type NetworkDevice, parseProcNetDev } from '../../parsers/proc-net-dev.ts'
import { expectOnlyParseErrors, parseErrorOf, placeOf, recorded } from './proc-recorded.ts'

const header = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
`
const parse = (rows: string): NetworkDevice[] => parseProcNetDev(header + rows, '/proc/net/dev')
const eth0 = {
  name: 'eth0',
  receiveBytes: 1,
  receivePackets: 2,
  receiveErrors: 3,
  receiveDrops: 4,
  transmitBytes: 9,
  transmitPackets: 10,
  transmitErrors: 11,
  transmitDrops: 12,
}
const numbers = '1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16'

describe('parseProcNetDev', () => {
  it.each(recorded('net/dev'))('reads %s', (_, text) => {
    const devices = parseProcNetDev(text, '/proc/net/dev')
    expect(devices.map(({ name }) => name)).toEqual(expect.arrayContaining(['lo', 'eth0', 'cali0123456789a']))
    for (const row of text.trimEnd().split('\n').slice(2)) {
      const [name, ...values] = row.trim().split(/[:\s]+/)
      expect(Object.values(devices.find((device) => device.name === name) ?? {})).toEqual([
        name,
        ...[0, 1, 2, 3, 8, 9, 10, 11].map((column) => Number(values[column])),
      ])
    }
  })

  it('reads each column as what its name says', () => expect(parse(`  eth0: ${numbers}\n`)).toEqual([eth0]))
  it('reads a value that follows the colon at once', () => expect(parse(`  eth0:${numbers}\n`)).toEqual([eth0]))
  it('ends a name at the last colon', () => expect(parse(`eth0:1: ${numbers}\n`)).toEqual([{ ...eth0, name: 'eth0:1' }]))
  it('knows a namespace without devices', () => expect(parse('')).toEqual([]))
  it('is not shifted by a column that appears', () => {
    const text = `Inter-| Receive | Transmit\n face |new bytes packets errs drop|bytes packets errs new drop\n eth0: 0 1 2 3 4 9 10 11 0 12\n`
    expect(parseProcNetDev(text, 'f')).toEqual([eth0])
  })

  it('says what is wrong, and where', () => {
    expect(parseErrorOf(() => parse('  eth0: 1 x1\u001b[2J 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n')).message).toBe(
      '/proc/net/dev: line 3, column 11: expected a decimal number, got "x1\\x1b[2J"',
    )
    expect(placeOf(() => parse(`  eth0: ${numbers} 17\n`))).toEqual([3, 48])
    expect(placeOf(() => parse(`  eth0: ${numbers}\n  eth1: 1 2\n`))).toEqual([4, 12])
    expect(placeOf(() => parse('  eth0\n'))).toEqual([3, 1])
    expect(placeOf(() => parse(': 1 2 3\n'))).toEqual([3, 1])
    expect(placeOf(() => parse(`  eth0: ${numbers}`))).toEqual([3, 47])
  })
  it('wants a header with the columns it reads', () => {
    expect(placeOf(() => parseProcNetDev('', 'f'))).toEqual([1, 1])
    expect(placeOf(() => parseProcNetDev('Inter-|\n', 'f'))).toEqual([2, 1])
    expect(parseErrorOf(() => parseProcNetDev(header.replace('errs', 'oops'), 'f')).expected).toBe('a column Receive errs')
  })

  it('reads what the kernel writes, whatever the numbers and names', () => {
    const value = fc.nat({ max: Number.MAX_SAFE_INTEGER })
    const name = fc.string({ unit: fc.constantFrom(...'az09.-_@|é:'), minLength: 1, maxLength: 15 })
    fc.assert(
      fc.property(fc.array(fc.tuple(name, fc.array(value, { minLength: 16, maxLength: 16 }))), (devices) => {
        const rows = devices.map(([name, v]) => {
          const [receive, transmit] = [v.slice(0, 8), v.slice(8)]
          const widths = [7, 7, 4, 4, 4, 5, 10, 9]
          const column = (value: number, i: number): string => String(value).padStart(widths[i]!)
          return `${name.padStart(6)}: ${receive.map(column).join(' ')} ${transmit.map(column).join(' ')}\n`
        })
        expect(parse(rows.join('')).map((device) => Object.values(device))).toEqual(
          devices.map(([name, v]) => [name, ...v.slice(0, 4), ...v.slice(8, 12)]),
        )
      }),
    )
  })
  it('throws nothing but ParseErrors', () =>
    expectOnlyParseErrors(
      parseProcNetDev,
      recorded('net/dev').map(([, text]) => text),
    ))
})
