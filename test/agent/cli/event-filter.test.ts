import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createFilter, isRoutineAskedFor, typesOf } from '../../../agent/cli/event-filter.ts'
import { type Config, readConfig } from '../../../agent/config.ts'
import type { EventEnd, EventMessage, NetworkEvent } from '../../../agent/events.ts'
import { everything, failedQueries, failedRequests, oneOfEach } from './one-of-each.ts'

function configOf(...argv: string[]): Config {
  const config = readConfig(['observe', ...argv], {})
  if ('print' in config) throw new Error('help')
  return config
}
const filterOf = (...argv: string[]): ((message: EventMessage) => boolean) => createFilter(configOf(...argv))
const shop: EventEnd = { namespace: 'shop', pod: 'frontend-1', address: '10.0.0.4', port: 40312 }
const host: EventEnd = { namespace: '', pod: '', address: '2001:db8::5', port: 22 }
const blue: EventEnd = { namespace: '@netns', pod: 'blue', address: '10.0.0.9', port: 53 }
const stranger: EventEnd = { address: '192.0.2.7', port: 443 }
const service: EventEnd = { namespace: 'kube-system', workload: 'kube-dns', address: '10.96.0.10', port: 53 }
const network: EventEnd = { namespace: '', workload: 'office', address: '198.51.100.1', port: 443 }
const between = (source: EventEnd, destination: EventEnd, more: Partial<NetworkEvent> = {}): NetworkEvent => ({
  ...oneOfEach.drop,
  source,
  destination,
  ...more,
})

describe('without filters', () => {
  it('everything is shown', () => expect(everything.filter(filterOf())).toEqual(everything))
})

describe('who', () => {
  it.each<[string[], EventEnd, EventEnd, boolean]>([
    [['--pod', 'shop/frontend-1'], shop, stranger, true],
    [['--pod', 'shop/frontend-1'], stranger, shop, true],
    [['--pod', 'shop/frontend'], shop, stranger, false],
    [['--pod', 'shop/frontend*'], shop, stranger, true],
    [['--pod', 'frontend*'], shop, stranger, true],
    [['--pod', '*-1'], shop, stranger, true],
    [['--pod', 'shop/'], shop, stranger, true],
    [['--pod', 'sho/'], shop, stranger, false],
    [['--pod', 'other/frontend-1'], shop, stranger, false],
    [['--pod', 's*/f*'], shop, stranger, true],
    [['--pod', 'SHOP/frontend-1'], shop, stranger, false],
    [['--pod', 'blue'], stranger, blue, true],
    [['--pod', '@netns/blue'], stranger, blue, true],
    [['--pod', '@netns/'], stranger, blue, true],
    [['--pod', 'host'], host, stranger, true],
    [['--pod', 'host'], { namespace: 'shop', pod: 'host' }, stranger, false],
    [['--pod', 'shop/host'], { namespace: 'shop', pod: 'host' }, stranger, true],
    [['--pod', '*'], shop, stranger, true],
    [['--pod', '*'], host, stranger, false],
    [['--pod', '*/*'], host, stranger, false],
    [['--pod', 'f.ontend-1'], shop, stranger, false],
    [['--pod', 'other,shop/frontend-1'], shop, stranger, true],
    [['--pod', 'other', '--pod', 'shop/'], shop, stranger, true],
    [['--from-pod', 'shop/'], shop, stranger, true],
    [['--from-pod', 'shop/'], stranger, shop, false],
    [['--to-pod', 'shop/'], stranger, shop, true],
    [['--to-pod', 'shop/'], shop, stranger, false],
    [['--from-pod', 'shop/', '--to-pod', 'host'], shop, host, true],
    [['--from-pod', 'shop/', '--to-pod', 'host'], shop, blue, false],
    [['-n', 'shop'], stranger, shop, true],
    [['-n', 'sh*,@netns'], stranger, blue, true],
    [['-n', 'shop'], stranger, blue, false],
    [['-n', '*'], host, stranger, false],
    [['--to-pod', 'kube-system/kube-dns'], shop, service, true],
    [['--pod', 'kube-system/'], shop, service, true],
    [['-n', 'kube-system'], shop, service, true],
    [['--pod', 'kube-system/coredns*'], shop, service, false],
    [['--pod', 'office'], shop, network, true],
    [['--pod', 'host'], network, stranger, false],
  ])('%j: %j → %j %s', (argv, source, destination, isShown) => {
    expect(filterOf(...argv)(between(source, destination))).toBe(isShown)
  })
})

describe('where', () => {
  it.each<[string[], boolean]>([
    [['--ip', '10.0.0.4'], true],
    [['--ip', '10.0.0.0/8'], true],
    [['--ip', '10.0.0.99/24'], true],
    [['--ip', '10.0.1.0/24'], false],
    [['--ip', '2001:db8::/32'], true],
    [['--ip', '2001:0db8:0::5'], true],
    [['--ip', '::/0', '--not', '--ip', '2000::/3'], false],
    [['--from-ip', '10.0.0.0/8'], true],
    [['--to-ip', '10.0.0.0/8'], false],
    [['--to-ip', '0.0.0.0/0'], false],
    [['--from-ip', '::/0'], false],
    [['--from-ip', '192.0.2.1,10.0.0.4'], true],
    [['--port', '22'], true],
    [['--port', '23'], false],
    [['--port', '1,20-25,7'], true],
    [['--port', '40312'], true],
    [['--port', '0-65535'], true],
  ])('%j: %s', (argv, isShown) => {
    expect(filterOf(...argv)(between(shop, host))).toBe(isShown)
  })

  it('knows what has no address or port', () => {
    const nowhere = between({}, { address: 'somewhere' })
    expect(filterOf('--ip', '0.0.0.0/0')(nowhere)).toBe(false)
    expect(filterOf('--ip', '::/0')(nowhere)).toBe(false)
    expect(filterOf('--port', '0-65535')(nowhere)).toBe(false)
    expect(filterOf('--not', '--port', '22')(nowhere)).toBe(true)
    expect(filterOf('--ip', '10.0.0.4')(between({ address: '::ffff:10.0.0.4' }, {}))).toBe(true)
  })
})

describe('what', () => {
  const shown = (...argv: string[]): string[] =>
    Object.values(oneOfEach)
      .filter(filterOf(...argv))
      .map(({ type }) => type)

  it.each<[string[], string[]]>([
    [['-t', 'drop'], ['drop']],
    [
      ['--type', 'reset'],
      ['reset_sent', 'reset_received'],
    ],
    [
      ['-t', 'reset,connect'],
      ['reset_sent', 'reset_received', 'connect'],
    ],
    [
      ['-t', 'drop', '-t', 'retransmit'],
      ['drop', 'retransmit'],
    ],
    [
      ['--not', '-t', 'drop,reset'],
      ['retransmit', 'connect', 'dns', 'http'],
    ],
    [['--dns'], ['dns']],
    [
      ['--dns', '-t', 'drop'],
      ['drop', 'dns'],
    ],
    [['--not', '--dns'], Object.keys(oneOfEach).filter((type) => type !== 'dns')],
    [['--rcode', 'noerror,SERVFAIL'], ['dns']],
    [['--rcode', 'NXDOMAIN'], []],
    [['--not', '--rcode', 'NOERROR'], Object.keys(oneOfEach).filter((type) => type !== 'dns')],
    [['--qtype', 'aaaa'], ['dns']],
    [['--name', '*.example.com'], ['dns']],
    [['--name', 'API.example.*.'], ['dns']],
    [['--name', 'example.com'], []],
    [['--reason', 'no_socket'], ['reset_sent']],
    [
      ['--reason', 'NO_*,not_specified'],
      ['drop', 'reset_sent'],
    ],
    [['--category', 'other'], ['drop']],
    [['--kind', 'timeout,fast'], ['retransmit']],
    [['--outcome', 'timed_out'], ['connect']],
    [['--outcome', 'refused'], []],
    [['--protocol', 'TCP'], Object.keys(oneOfEach).filter((type) => type !== 'dns')],
    [['--protocol', 'udp,icmp'], ['dns']],
    [
      ['--protocol', 'tcp', '--not', '--kind', 'timeout'],
      ['drop', 'reset_sent', 'reset_received', 'connect', 'http'],
    ],
    [['--http'], ['http']],
    [
      ['--http', '--dns'],
      ['dns', 'http'],
    ],
    [['--status', '2xx'], ['http']],
    [['--not', '--method', 'get'], Object.keys(oneOfEach).filter((type) => type !== 'http')],
  ])('%j: %j', (argv, types) => expect(shown(...argv)).toEqual(types))

  it('says of what is not shown if its type is', () => {
    const drops = { time: '2026-11-26T18:20:01.123456Z', type: 'not_shown', of: 'drop', count: 3 } as const
    expect(filterOf('-t', 'drop', '--pod', 'shop/')(drops)).toBe(true)
    expect(filterOf('--not', '--pod', 'shop/')(drops)).toBe(true)
    expect(filterOf('-t', 'connect')(drops)).toBe(false)
    expect(filterOf('--not', '-t', 'drop')(drops)).toBe(false)
    expect(filterOf('--rcode', 'SERVFAIL')(drops)).toBe(false)
    expect(filterOf('--rcode', 'SERVFAIL')({ ...drops, of: 'dns' })).toBe(true)
    expect(filterOf('--not', '--rcode', 'SERVFAIL')(drops)).toBe(true)
    expect(filterOf('-t', 'connect')({ ...drops, of: 'slow_reader' })).toBe(true)
  })
})

describe('DNS', () => {
  const shown = (...argv: string[]): (number | undefined)[] =>
    [oneOfEach.dns, ...failedQueries].flatMap((event, i) => (filterOf(...argv)(event) ? [i] : []))

  it.each<[string[], number[]]>([
    [[], [0, 1, 2, 3, 4]],
    [['--rcode', 'unanswered'], [4]],
    [
      ['--rcode', 'NXDOMAIN,SERVFAIL,unanswered'],
      [1, 2, 4],
    ],
    [
      ['--not', '--rcode', 'NOERROR,Unanswered'],
      [1, 2],
    ],
    [['--rcode', 'RCODE2'], [2]],
    [
      ['--qtype', 'NS,TYPE65400'],
      [3, 4],
    ],
    [['--qtype', 'type2'], [3]],
    [['--name', '.'], [3]],
    [['--not', '--name', '*'], []],
    [['--name', '*.example.com', '--not', '--name', 'api.*'], [4]],
    [
      ['--name', 'a*p*i*.*e*m'],
      [0, 1, 2],
    ],
  ])('%j: %j', (argv, numbers) => {
    expect(shown(...argv)).toEqual(numbers)
  })

  it.each<[string[], string[], boolean]>([
    [[], Object.keys(oneOfEach), false],
    [['--pod', 'shop/'], Object.keys(oneOfEach), false],
    [['--dns'], ['dns'], true],
    [['-t', 'dns,drop'], ['drop', 'dns'], true],
    [['-t', 'drop'], ['drop'], false],
    [['--not', '--dns'], Object.keys(oneOfEach).filter((type) => type !== 'dns'), false],
    [['--rcode', 'NOERROR'], ['dns'], true],
    [['--qtype', 'A'], ['dns'], true],
    [['--name', '*.com'], ['dns'], true],
    [['--not', '--name', '*.com'], Object.keys(oneOfEach), false],
    [['-t', 'drop', '--name', '*.com'], [], true],
  ])('%j asks for %j, and for what went well: %s', (argv, types, isRoutine) => {
    expect(typesOf(configOf(...argv))).toEqual(types)
    expect(isRoutineAskedFor(configOf(...argv))).toBe(isRoutine)
  })

  it('takes patterns for what they are, whatever the name', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '.', '\\', '-'), maxLength: 12 })
    const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '.', '\\', '*'), minLength: 1, maxLength: 8 })
    fc.assert(
      fc.property(pattern, text, (given, name) => {
        const event = { ...oneOfEach.dns, dns: { ...oneOfEach.dns.dns!, name } }
        expect(filterOf('--name', given)(event)).toBe(isLike(given.replace(/\.$/, ''), name))
      }),
      { numRuns: 2000 },
    )
  })

  /** Slowly and surely. */
  function isLike(pattern: string, name: string): boolean {
    if (pattern === '') return name === ''
    const [first, rest] = [pattern[0], pattern.slice(1)]
    if (first === '*') return isLike(rest, name) || (name !== '' && isLike(pattern, name.slice(1)))
    return name !== '' && name[0] === first && isLike(rest, name.slice(1))
  }

  it('does not try all ways', () => {
    const name = 'a'.repeat(1003)
    const event = { ...oneOfEach.dns, dns: { ...oneOfEach.dns.dns!, name } }
    expect(filterOf('--name', `${'*a'.repeat(50)}*b`)(event)).toBe(false) // or it would not end
    expect(filterOf('--name', `${'*a'.repeat(50)}*`)(event)).toBe(true)
  })
})

describe('HTTP', () => {
  it.each<[string[], number[]]>([
    [[], [0, 1, 2, 3, 4]],
    [['--status', 'unanswered'], [4]],
    [
      ['--status', '5xx,404'],
      [1, 2],
    ],
    [
      ['--not', '--status', '2XX,Unanswered'],
      [1, 2],
    ],
    [['--status', '204'], [3]],
    [
      ['--method', 'post,CONNECT'],
      [2, 4],
    ],
    [['--path', '/api/*'], [2]],
    [['--path', '*/17'], [2]],
    [['--path', '/API/*'], []],
    [
      ['--path', '/*', '--not', '--status', '200'],
      [1, 2],
    ],
    [['--status', '503', '--rcode', 'NOERROR'], []],
  ])('%j: %j', (argv, numbers) => {
    const shown = [oneOfEach.http, ...failedRequests].flatMap((event, i) => (filterOf(...argv)(event) ? [i] : []))
    expect(shown).toEqual(numbers)
  })

  it.each<[string[], string[], boolean]>([
    [['--http'], ['http'], true],
    [['--http', '--dns'], ['dns', 'http'], true],
    [['--status', '5xx'], ['http'], true],
    [['--path', '/a', '-t', 'dns'], [], true],
    [['--status', '5xx', '--rcode', 'NOERROR'], [], true],
    [['--not', '--path', '/healthz'], Object.keys(oneOfEach), false],
  ])('%j asks for %j, and for what went well: %s', (argv, types, isRoutine) => {
    expect(typesOf(configOf(...argv))).toEqual(types)
    expect(isRoutineAskedFor(configOf(...argv))).toBe(isRoutine)
  })
})

describe('when', () => {
  it('is from then on', () => {
    const since = (time: string): number => everything.filter(filterOf('--since', time)).length
    expect(since('2026-11-26T18:20:03Z')).toBe(everything.length - 2)
    expect(since('2026-11-26T19:20:03.2+01:00')).toBe(everything.length - 3)
    expect(since('2026-11-25')).toBe(everything.length)
    expect(since('2026-11-28')).toBe(0)
  })
})

describe('--not', () => {
  const end = fc.oneof(
    fc.constantFrom<EventEnd>(shop, host, blue, stranger, {}),
    fc.record({ address: fc.oneof(fc.ipV4(), fc.ipV6()), port: fc.nat(65535) }),
  )
  const event = fc.record({
    base: fc.constantFrom(...Object.values(oneOfEach), ...failedQueries),
    source: end,
    destination: end,
    protocol: fc.constantFrom('tcp', 'udp', 'icmp', 'other'),
  })
  const filter = fc.oneof(
    fc.tuple(
      fc.constantFrom('--pod', '--from-pod', '--to-pod'),
      fc.constantFrom('host', 'shop/', '@netns/b*', 'blue,frontend-1', '*'),
    ),
    fc.tuple(fc.constant('-n'), fc.constantFrom('shop', '@netns', 's*')),
    fc.tuple(fc.constantFrom('--ip', '--from-ip', '--to-ip'), fc.oneof(fc.ipV4(), fc.constantFrom('10.0.0.0/8', '::/1'))),
    fc.tuple(fc.constant('--port'), fc.constantFrom('22', '1-1024', '0-40000,40312')),
    fc.tuple(fc.constant('-t'), fc.constantFrom('drop', 'reset', 'connect,drop')),
    fc.tuple(fc.constant('--protocol'), fc.constantFrom('tcp', 'udp,icmp')),
    fc.tuple(fc.constant('--rcode'), fc.constantFrom('noerror', 'unanswered,SERVFAIL')),
    fc.tuple(fc.constant('--qtype'), fc.constantFrom('A', 'AAAA,MX')),
    fc.tuple(fc.constant('--name'), fc.constantFrom('*.example.com', 'api.*', 'x')),
    fc.tuple(fc.constant('--reason'), fc.constantFrom('no_*', 'not_specified')),
  )

  it('is the complement of a filter', () => {
    fc.assert(
      fc.property(event, filter, ({ base, ...more }, argv) => {
        const one: NetworkEvent = { ...base, ...more }
        expect(filterOf('--not', ...argv)(one)).toBe(!filterOf(...argv)(one))
      }),
    )
  })

  it('of several filters: none of them fits', () => {
    fc.assert(
      fc.property(event, filter, filter, ({ base, ...more }, first, second) => {
        const one: NetworkEvent = { ...base, ...more }
        const isShown = filterOf('--not', ...first, '--not', ...second)(one)
        expect(isShown).toBe(!filterOf(...first)(one) && !filterOf(...second)(one))
      }),
    )
  })

  it('concerns the next filter only', () => {
    const filter = filterOf('--not', '--port', '22', '--pod', 'shop/')
    expect(filter(between(shop, stranger))).toBe(true)
    expect(filter(between(shop, host))).toBe(false)
    expect(filter(between(blue, stranger))).toBe(false)
  })
})
