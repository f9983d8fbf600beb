import { describe, expect, it } from 'vitest'
import { createAnalysis, describeDns } from '../../../agent/capture/analysis.ts'
import type { DnsTransaction } from '../../../agent/capture/dns-transactions.ts'
import { dnsPlaces } from '../../../agent/capture/places.ts'
import { responseCodes } from '../../../agent/metrics/labels.ts'
import { icmp, ipv4, ipv6, links, tcp, u16, udp } from '../../parsers/built-packets.ts'
import { encodeWithDnsPacket } from '../../parsers/dns-packet.ts'

const [host, pod] = [1, 2]
const podAddress = [10, 0, 0, 7]
const serverAddress = [10, 96, 0, 10]
const hostAddress = [192, 168, 0, 1]
const latin1 = (bytes: readonly number[]): string => Buffer.from(bytes).toString('latin1')
const toPort = 53
const toHttp = 80

function start() {
  const told: DnsTransaction[] = []
  const analysis = createAnalysis({ dnsPorts: [toPort], httpPorts: [toHttp] }, { onDns: (transaction) => told.push(transaction) })
  analysis.own(host, true, [latin1(hostAddress)])
  analysis.own(pod, false, [latin1(podAddress)])
  let timeMs = 1_700_000_000_000
  return {
    analysis,
    told,
    see(packet: readonly number[], { outgoing = false, wireBytes = 0, cut = 0 } = {}) {
      timeMs += 0.25
      const bytes = Buffer.from(links.sll.wrap(packet, outgoing))
      analysis.take(bytes, 0, bytes.length - cut, Math.max(bytes.length, wireBytes), links.sll.linkType, timeMs)
    },
    later: (ms: number) => analysis.expire((timeMs += ms)),
    of(subject: number, place: number): number | undefined {
      return analysis.counts.dns.get(subject)?.[place]
    },
  }
}

const question = { name: 'api.example.com', type: 'A' } as const
const query = (id = 5): number[] => [...encodeWithDnsPacket({ type: 'query', id, questions: [question] })]
const answer = (id = 5): number[] => [
  ...encodeWithDnsPacket({
    type: 'response',
    id,
    questions: [question],
    answers: [{ ...question, ttl: 5, data: '192.0.2.1' }, { ...question, ttl: 5, data: '192.0.2.2' }], // biome-ignore format: a list
  }),
]
const there = (protocol: number) => ({ source: podAddress, destination: serverAddress, protocol })
const back = (protocol: number) => ({ source: serverAddress, destination: podAddress, protocol })
const answered = dnsPlaces.responses + responseCodes.indexOf('NOERROR')

describe('DNS', () => {
  it('by UDP', () => {
    const { see, of, told } = start()
    see(ipv4(there(17), udp(40_000, toPort, query())))
    see(ipv4(back(17), udp(toPort, 40_000, answer())), { outgoing: true })
    expect([of(pod, dnsPlaces.queries), of(pod, answered), of(pod, dnsPlaces.addresses)]).toEqual([1, 1, 2])
    expect(describeDns(told[0]!)).toEqual({
      subject: pod,
      timeMs: 1_700_000_000_000.5,
      family: 'ipv4',
      protocol: 'udp',
      client: { address: '10.0.0.7', port: 40_000 },
      server: { address: '10.96.0.10', port: 53 },
      id: 5,
      name: 'api.example.com',
      queryType: 'A',
      responseCode: 'NOERROR',
      addressCount: 2,
      durationMs: 0.25,
    })
  })

  it('over loopback it is the host, which asks and answers', () => {
    const { see, of } = start()
    const v6 = { source: [...Array(15).fill(0), 1], destination: [...Array(15).fill(0), 1], protocol: 17 }
    see(ipv6(v6, udp(40_000, toPort, query())))
    see(ipv6(v6, udp(toPort, 40_000, answer())))
    const v4 = { source: [127, 0, 0, 1], destination: [127, 0, 0, 53], protocol: 17 }
    see(ipv4(v4, udp(40_000, toPort, query())))
    see(ipv4({ ...v4, source: v4.destination, destination: v4.source }, udp(toPort, 40_000, answer())))
    expect([of(host, dnsPlaces.queries), of(host, answered), of(host, dnsPlaces.served)]).toEqual([2, 2, 2])
  })

  it('by TCP, in segments cut anywhere, several on one connection, seen twice', () => {
    const { see, of } = start()
    const framed = (message: readonly number[]): number[] => [...u16(message.length), ...message]
    const requests = [...framed(query(1)), ...framed(query(2))]
    const replies = [...framed(answer(1)), ...framed(answer(2))]
    const ports = { sourcePort: 40_000, destinationPort: toPort }
    const turned = { sourcePort: toPort, destinationPort: 40_000 }
    see(ipv4(there(6), tcp({ ...ports, sequence: 99, flags: 2 }, [])))
    see(ipv4(back(6), tcp({ ...turned, sequence: 499, acknowledgement: 100, flags: 0x12 }, [])))
    for (let at = 0; at < requests.length; at += 7)
      for (const outgoing of [false, true])
        see(ipv4(there(6), tcp({ ...ports, sequence: 100 + at, acknowledgement: 500 }, requests.slice(at, at + 7))), { outgoing })
    for (let at = 0; at < replies.length; at += 50)
      see(ipv4(back(6), tcp({ ...turned, sequence: 500 + at, acknowledgement: 100 + requests.length }, replies.slice(at, at + 50)))) // biome-ignore format: one line
    expect([of(pod, dnsPlaces.queries), of(pod, answered)]).toEqual([2, 2])
  })

  it('of a pod whose address became another one’s, each has its own', () => {
    const { see, of, analysis } = start()
    see(ipv4(there(17), udp(40_000, toPort, query())))
    analysis.disown([latin1(podAddress)])
    see(ipv4(there(17), udp(40_000, toPort, query(6))))
    analysis.own(3, false, [latin1(podAddress)])
    see(ipv4(there(17), udp(40_000, toPort, query(7))))
    expect([of(pod, dnsPlaces.queries), of(3, dnsPlaces.queries)]).toEqual([1, 1])
    analysis.forget(pod)
    expect(of(pod, dnsPlaces.queries)).toBeUndefined()
  })

  it('unanswered', () => {
    const { see, of, later } = start()
    see(ipv4(there(17), udp(40_000, toPort, query())))
    later(6000)
    expect(of(pod, dnsPlaces.unanswered)).toBe(1)
  })

  it('garbage is malformed, once however often it is seen; cut packets are told apart', () => {
    const { see, analysis, of } = start()
    const garbage = [1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xff]
    for (let i = 0; i < 3; i++)
      for (const outgoing of [false, true]) see(ipv4(there(17), udp(40_000 + i, toPort, garbage)), { outgoing })
    expect(analysis.totals()).toMatchObject({ packets: 6, dnsMalformed: 3, cut: 0, unreadable: {} })
    const whole = ipv4(there(17), udp(40_000, toPort, query()))
    see(whole, { cut: query().length - 4 }) // not even its header
    see(whole, { cut: query().length - 16 }) // in the middle of its name
    see(whole, { cut: query().length + 4 }) // in the header of UDP
    expect(analysis.totals()).toMatchObject({ packets: 9, dnsMalformed: 3, cut: 3 })
    see(whole, { cut: 0 })
    see(ipv4({ ...there(17), length: 10 }, []))
    expect(analysis.totals()).toMatchObject({ packets: 11, unreadable: { 'bad length': 1 } })
    expect(of(pod, dnsPlaces.queries)).toBe(1)
  })

  it('garbage is known by its identification where its addresses are translated, and from the same garbage sent again', () => {
    const { see, analysis } = start()
    const translated = { source: hostAddress, destination: [10, 0, 0, 9], protocol: 17, ttl: 63 }
    for (const identification of [7, 8]) {
      see(ipv4({ ...there(17), identification }, udp(40_000, toPort, [1, 2, 3])))
      see(ipv4({ ...translated, identification }, udp(61_000, toPort, [1, 2, 3])), { outgoing: true })
    }
    expect(analysis.totals()).toMatchObject({ packets: 4, dnsMalformed: 2 })
  })

  it('other ports and mDNS are passed over', () => {
    const { see, of } = start()
    see(ipv4(there(17), udp(40_000, 5353, query())))
    see(ipv4(there(17), udp(40_000, 80, query())))
    expect(of(pod, dnsPlaces.queries)).toBeUndefined()
  })
})

it('fragmentation needed, to a pod through the host', () => {
  const { see, analysis, later } = start()
  const router = [192, 168, 0, 254]
  const quoteOf = (source: readonly number[], sourcePort: number) =>
    ipv4({ source, destination: [203, 0, 113, 5], protocol: 6, length: 1500 }, tcp({ sourcePort, destinationPort: 443, sequence: 77 }, []).slice(0, 8)) // biome-ignore format: one line
  const message = (destination: readonly number[], quote: readonly number[], ttl: number) =>
    ipv4({ source: router, destination, protocol: 1, ttl }, icmp(3, 4, [0, 0, ...u16(1400)], quote))
  see(message(hostAddress, quoteOf(hostAddress, 61_000), 64))
  see(message(podAddress, quoteOf(podAddress, 40_000), 63), { outgoing: true })
  see(ipv4({ source: router, destination: podAddress, protocol: 1 }, icmp(3, 1, [0, 0, 0, 0], quoteOf(podAddress, 1))))
  see(message([172, 16, 0, 1], quoteOf([172, 16, 0, 1], 1), 64)) // to nobody of this machine
  later(100)
  expect([...analysis.counts.fragmentationNeeded]).toEqual([[pod, Float64Array.of(1)]])
})

describe('nobody knows whose the addresses are: all are one subject’s', () => {
  const everybody = 9
  const world = [203, 0, 113, 53]
  const at = (source: readonly number[], destination: readonly number[], ttl: number) => ({
    source,
    destination,
    protocol: 17,
    ttl,
  })
  function startWithAll() {
    const started = start()
    started.analysis.ownAll(everybody)
    return { ...started, count: (place: number) => started.of(everybody, place) }
  }

  it('whoever asks, and whoever answers', () => {
    const { see, count, of } = startWithAll()
    for (const [i, client] of [podAddress, hostAddress, world].entries()) {
      see(ipv4(at(client, serverAddress, 64), udp(40_000, toPort, query(i))))
      see(ipv4(at(serverAddress, client, 64), udp(toPort, 40_000, answer(i))))
    }
    expect([count(dnsPlaces.queries), count(answered), count(dnsPlaces.served)]).toEqual([3, 3, 3])
    expect([of(pod, dnsPlaces.queries), of(host, dnsPlaces.queries)]).toEqual([undefined, undefined])
  })

  it('what leaves under another address is one still: its address translated, its hop limit lower', () => {
    const { see, count, analysis } = startWithAll()
    see(ipv4(at(podAddress, serverAddress, 64), udp(40_000, toPort, query())))
    see(ipv4(at(podAddress, world, 63), udp(40_000, toPort, query())), { outgoing: true })
    see(ipv4(at(hostAddress, world, 63), udp(61_000, toPort, query())), { outgoing: true })
    see(ipv4(at(world, hostAddress, 55), udp(toPort, 61_000, answer())))
    see(ipv4(at(world, podAddress, 54), udp(toPort, 40_000, answer())), { outgoing: true })
    see(ipv4(at(serverAddress, podAddress, 54), udp(toPort, 40_000, answer())), { outgoing: true })
    expect([count(dnsPlaces.queries), count(answered), count(dnsPlaces.served)]).toEqual([1, 1, 1])
    expect(analysis.totals().dnsUnmatched).toBe(0)
  })

  it('a link that does not tell what leaves: the hop limit does', () => {
    const { analysis, count } = startWithAll()
    const see = (packet: readonly number[], timeMs: number): void => {
      const bytes = Buffer.from(links.ethernet.wrap(packet))
      analysis.take(bytes, 0, bytes.length, bytes.length, links.ethernet.linkType, timeMs)
    }
    see(ipv4(at(podAddress, world, 64), udp(40_000, toPort, query())), 1000)
    see(ipv4(at(hostAddress, world, 63), udp(61_000, toPort, query())), 1000.1)
    see(ipv4(at(world, hostAddress, 55), udp(toPort, 61_000, answer())), 1002)
    see(ipv4(at(world, podAddress, 54), udp(toPort, 40_000, answer())), 1002.1)
    expect([count(dnsPlaces.queries), count(answered)]).toEqual([1, 1])
  })

  it('each client goes on in its own search list', () => {
    const { see, count } = startWithAll()
    const ask = (client: readonly number[], id: number, name: string, rcode: number): void => {
      const questions = [{ name, type: 'A' as const }]
      see(ipv4(at(client, serverAddress, 64), udp(40_000, toPort, [...encodeWithDnsPacket({ type: 'query', id, questions })])))
      const reply = encodeWithDnsPacket({ type: 'response', id, flags: rcode, questions })
      see(ipv4(at(serverAddress, client, 64), udp(toPort, 40_000, [...reply])))
    }
    const clients = Array.from({ length: 20 }, (_, i) => [10, 0, 1, i])
    for (const [i, client] of clients.entries()) ask(client, i, 'api.web.svc.cluster.local', 3)
    ask([10, 0, 2, 1], 77, 'api', 0) // another client, that asks for it at once
    for (const [i, client] of clients.entries()) ask(client, 100 + i, 'api', 0)
    expect(count(dnsPlaces.searches)).toBe(20)
  })
})
