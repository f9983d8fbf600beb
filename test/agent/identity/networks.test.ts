import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createNetworks, type NetworkSetting } from '../../../agent/identity/networks.ts'
import { limits } from '../../../agent/limits.ts'
import { formatAddress } from '../../../parsers/address.ts'

const networks = createNetworks(
  [
    { name: 'anything', cidrs: ['0.0.0.0/0'] },
    { name: 'office', cidrs: ['10.0.0.0/8', '2001:DB8::/32'] },
    { name: 'printers', cidrs: ['10.1.128.0/17', '2001:db8:0:1::/64'] },
    { name: 'printer', cidrs: ['10.1.128.7', '2001:db8:0:1::7'] },
  ],
  'networks',
)

describe('networks with names', () => {
  it.each([
    ['10.0.0.1', 'office'],
    ['10.255.255.255', 'office'],
    ['10.1.127.255', 'office'],
    ['10.1.128.0', 'printers'],
    ['10.1.255.255', 'printers'],
    ['10.1.128.7', 'printer'],
    ['11.0.0.0', 'anything'],
    ['2001:db8::1', 'office'],
    ['2001:db8:0:1::1', 'printers'],
    ['2001:db8:0:1::7', 'printer'],
    ['2001:db9::', undefined],
    ['::', undefined],
  ])('%s is of %s, the smallest', (address, name) => expect(networks.find(address)).toBe(name))

  it('have all their addresses, and no other', () => {
    const v4 = fc.uint8Array({ minLength: 4, maxLength: 4 })
    fc.assert(
      fc.property(v4, v4, fc.nat(32), (first, other, length) => {
        const bits = (bytes: Uint8Array): string => [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('')
        const start = Array.from({ length: 4 }, (_, at) =>
          Number.parseInt(
            bits(first)
              .slice(0, length)
              .padEnd(32, '0')
              .slice(8 * at, 8 * at + 8),
            2,
          ),
        )
        const found = createNetworks([{ name: 'it', cidrs: [`${start.join('.')}/${length}`] }], 'networks')
        expect(found.find(formatAddress(first))).toBe('it')
        expect(found.find(formatAddress(other))).toBe(
          bits(first).slice(0, length) === bits(other).slice(0, length) ? 'it' : undefined,
        )
      }),
    )
  })

  const of = (...cidrs: string[]): NetworkSetting[] => [{ name: 'a', cidrs }]
  const form = 'networks.0.cidrs.0: expected a network such as 10.0.0.0/8 or 2001:db8::/32'
  it.each<[NetworkSetting[], string]>([
    [of(''), form],
    [of('10.0.0.0/33'), form],
    [of('10.0.0.0/08'), form],
    [of('10.0.0.0/8/8'), form],
    [of('10.0.0/8'), form],
    [of('::/129'), form],
    [of('fe80::%eth0/64'), form],
    [of('10.0.0.1/8'), 'networks.0.cidrs.0: 10.0.0.1 is not the first address of a network with /8'],
    [of('2001:db8::1/32'), 'networks.0.cidrs.0: 2001:db8::1 is not the first address of a network with /32'],
    [of('10.0.0.0/8', '10.0.0.0/8'), 'networks.0.cidrs.1: a has the same network'],
    [[{ name: '', cidrs: [] }], 'networks.0.name: expected 1 to'],
    [[{ name: '\u001b[2J', cidrs: [] }], 'networks.0.name: expected 1 to'],
    [of(...Array.from({ length: limits.networks + 1 }, (_, at) => `10.${at >> 8}.${at & 255}.0/24`)), 'expected no more than'],
  ])('%j are refused with their place', (settings, words) => expect(() => createNetworks(settings, 'networks')).toThrow(words))
})
