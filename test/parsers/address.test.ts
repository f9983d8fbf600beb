import { isIPv6 } from 'node:net'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatAddress, isPrivate, parseAddress, readAddress, unmapAddress } from '../../parsers/address.ts'

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

describe('readAddress', () => {
  it('writes an address in one way', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.uint8Array({ minLength: 16, maxLength: 16 })),
        (bytes) => {
          const long =
            bytes.length === 4
              ? bytes.join('.')
              : Array.from({ length: 8 }, (_, i) => Buffer.from(bytes).toString('hex', 2 * i, 2 * i + 2)).join(':')
          expect(readAddress(long)).toBe(formatAddress(bytes))
        },
      ),
    )
    expect(readAddress('::ffff:10.0.0.1')).toBe('10.0.0.1')
    expect(readAddress('::')).toBe('::')
    expect(readAddress('1:0:0:2:0:0:0:3')).toBe('1:0:0:2::3')
  })
  it.each([
    '',
    '1',
    '0x7f.1',
    '10.0.0',
    '10.0.0.1.',
    '010.0.0.1',
    '10.0.0.1/24',
    'fe80::1%eth0',
    '::1]:80',
    'a',
    'localhost',
    'a'.repeat(1000),
  ])('finds none in %j', (text) => expect(readAddress(text)).toBeUndefined())
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

describe('isPrivate', () => {
  const inside = ['10.0.0.0', '10.255.255.255', '172.16.0.0', '172.31.255.255', '192.168.1.1', '100.64.0.0', '100.127.255.255']
  const outside = ['9.255.255.255', '11.0.0.0', '172.15.255.255', '172.32.0.0', '192.169.0.0', '100.63.255.255', '100.128.0.0']
  it.each([...inside, '169.254.1.1', '127.0.0.1', '::1', 'fc00::1', 'fdff::1', 'fe80::1', 'febf::1'])('%s', (address) => {
    expect(isPrivate(parseAddress(address))).toBe(true)
  })
  it.each([...outside, '169.253.255.255', '192.0.2.2', '2001:db8::1', 'fbff::1', 'fe00::1', 'fec0::1', '::'])(
    'not %s',
    (address) => {
      expect(isPrivate(parseAddress(address))).toBe(false)
    },
  )
  it('IPv4 as 4 bytes too', () => expect([bytesOf('0a000001'), bytesOf('c0000202')].map(isPrivate)).toEqual([true, false]))
})
