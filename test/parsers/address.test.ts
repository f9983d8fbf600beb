import { isIPv6 } from 'node:net'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatAddress, unmapAddress } from '../../parsers/address.ts'

const bytesOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'))

describe('formatAddress', () => {
  it.each([
    ['0a000001', '10.0.0.1'],
    ['20010db8 00000000 00000000 00000001', '2001:db8::1'],
    ['00000000 00000000 00000000 00000000', '::'],
    ['00000000 00000000 00000000 00000001', '::1'],
    ['fe800000 00000000 00000000 00000000', 'fe80::'],
    ['20010db8 00000001 00000000 00000001', '2001:db8:0:1::1'],
    ['20010db8 00000001 00010001 00010001', '2001:db8:0:1:1:1:1:1'],
    ['20010000 00000001 00000000 00000001', '2001:0:0:1::1'],
    ['00000000 00000000 0000ffff 0a000001', '10.0.0.1'],
  ])('%s is %s', (hex, text) => expect(formatAddress(bytesOf(hex))).toBe(text))

  it('every IPv6 address is one, and the shortest form of the same', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
        bytes[10] = 0 // not an IPv4 address in disguise
        const text = formatAddress(bytes)
        expect(isIPv6(text)).toBe(true)
        expect(new URL(`http://[${text}]/`).hostname).toBe(`[${text}]`)
      }),
    )
  })
})

describe('unmapAddress', () => {
  it.each([
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['10.0.0.1', '10.0.0.1'],
    ['2001:db8::1', '2001:db8::1'],
    ['::ffff:1', '::ffff:1'],
    ['::10.0.0.1', '::10.0.0.1'],
  ])('%s is %s', (text, plain) => expect(unmapAddress(text)).toBe(plain))
})
