import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseProcNetIpv6RouteDefaults, parseProcNetRouteDefaults } from '../../parsers/proc-net-route.ts'
import { ParseError } from '../../parsers/text.ts'

const route = `Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0
`
const ipv6 = `fd770000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001    vxa
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
`

describe('devices with a default route', () => {
  it('IPv4: destination and mask are zero', () => expect(parseProcNetRouteDefaults(route, 'route')).toEqual(['eth0']))
  it('IPv6: not the rejecting one on lo', () => expect(parseProcNetIpv6RouteDefaults(ipv6, 'ipv6_route')).toEqual(['eth0']))
  it('none without routes', () => {
    expect(parseProcNetRouteDefaults(`${route.split('\n')[0]}\n`, 'route')).toEqual([])
    expect(parseProcNetIpv6RouteDefaults('', 'ipv6_route')).toEqual([])
  })
  it('a row that is cut off is an error with its place', () => {
    expect(() => parseProcNetRouteDefaults(`${route}eth1\t0000\n`, 'route')).toThrow(
      'route: line 5, column 10: expected at least 8 columns',
    )
    expect(() => parseProcNetIpv6RouteDefaults('00 00\n', 'ipv6_route')).toThrow(ParseError)
  })
  it('throws nothing but ParseError', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('\n', '\t', '0', 'I', ' ', 'x') }), (garbage) => {
        for (const parse of [parseProcNetRouteDefaults, parseProcNetIpv6RouteDefaults]) {
          try {
            parse(garbage, 'route')
          } catch (error) {
            expect(error).toBeInstanceOf(ParseError)
          }
        }
      }),
    )
  })
})
