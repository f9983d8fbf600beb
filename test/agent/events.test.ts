import { describe, expect, it, vi } from 'vitest'
import { createEvents, type EventMessage } from '../../agent/events.ts'
import type { End, Row } from '../../agent/identity/identity.ts'
import { limits } from '../../agent/limits.ts'
import type { EventReport, Subject } from '../../agent/sources/source.ts'
import { netnsOf } from './sources/fake-host.ts'

const shop = netnsOf('shop')
const row: Row = {
  id: 1,
  namespace: '@netns',
  pod: 'shop',
  isHost: false,
  isPod: false,
  seenFromBirth: true,
  departedAtMs: undefined,
  replaced: false,
}
const report: EventReport = {
  type: 'drop',
  of: { netns: shop },
  timeMs: Date.UTC(2026, 10, 26, 18, 20, 1) + 0.25,
  source: { isSubject: false, address: '10.0.0.1', port: 1234 },
  destination: { isSubject: true, address: '10.0.0.2', port: 80 },
  family: 'ipv4',
  protocol: 'tcp',
  reason: 'netfilter_drop',
}
const query: EventReport = {
  ...report,
  type: 'dns',
  protocol: 'udp',
  source: { isSubject: true, address: '10.0.0.2', port: 40000 },
  destination: { isSubject: false, address: '10.96.0.10', port: 53 },
  dns: { id: 1, name: 'example.com', queryType: 'A', responseCode: 'NOERROR', durationMs: 1, addressCount: 1 },
}
const queryWith = (dns: Partial<EventReport['dns']>, timeMs = query.timeMs): EventReport => ({
  ...query,
  timeMs,
  dns: { ...query.dns!, ...dns },
})
const request: EventReport = {
  ...report,
  type: 'http',
  http: { method: 'GET', path: '/cart', host: 'shop', status: 200, durationMs: 1 },
}
const peer: End = { namespace: 'bank', workload: 'ledger', pod: 'ledger-0' }
const names = {
  resolve: ({ netns }: Subject) => (netns === shop ? row : undefined),
  endOf: ({ address }: Subject): End | undefined =>
    address === '10.0.9.9' ? peer : address === '10.96.0.10' ? { namespace: 'kube-system', workload: 'kube-dns' } : undefined,
}
const createNamed = (lookForUnknown: (nowMs: number) => void = () => undefined) => createEvents({ ...names, lookForUnknown })

describe('the stream of single events', () => {
  it('names the end it is about, and the time to the microsecond', () => {
    const events = createNamed()
    events.event(report)
    expect(events.recent()).toEqual([
      {
        time: '2026-11-26T18:20:01.000250Z',
        type: 'drop',
        family: 'ipv4',
        protocol: 'tcp',
        reason: 'netfilter_drop',
        source: { address: '10.0.0.1', port: 1234 },
        destination: { namespace: '@netns', pod: 'shop', address: '10.0.0.2', port: 80 },
      },
    ])
  })

  it('names ends elsewhere, with what they belong to', () => {
    const events = createNamed()
    events.event({ ...report, source: { isSubject: false, address: '10.0.9.9', port: 1 } })
    expect(events.recent()[0]).toMatchObject({ source: { ...peer, address: '10.0.9.9', port: 1 } })
  })

  it('leaves out what nobody knows, and has it looked for', () => {
    const lookForUnknown = vi.fn()
    const events = createNamed(lookForUnknown)
    const end = { isSubject: false, address: undefined, port: undefined }
    events.event({ ...report, of: { netns: netnsOf('nobody') }, source: end, destination: { ...end, isSubject: true } })
    expect(events.recent()[0]).toMatchObject({ source: {}, destination: {} })
    expect(Object.keys((events.recent()[0] as { source: object }).source)).toEqual([])
    expect(lookForUnknown).toHaveBeenCalledOnce()
  })

  it('tells everybody who listens, until they do not', () => {
    const events = createNamed()
    const heard: EventMessage[] = []
    const stop = events.subscribe((message) => heard.push(message))
    events.event(report)
    events.notShown('drop', 7, report.timeMs)
    stop()
    events.event(report)
    expect(heard.map(({ type }) => type)).toEqual(['drop', 'not_shown'])
    expect(heard[1]).toEqual({ time: '2026-11-26T18:20:01.000250Z', type: 'not_shown', of: 'drop', count: 7 })
  })

  it('keeps the newest, and no more', () => {
    const events = createNamed()
    for (let i = 0; i < 3 * limits.eventsKept; i++) events.event({ ...report, bytes: i })
    const kept = events.recent()
    expect(kept).toHaveLength(limits.eventsKept)
    expect(kept.at(-1)).toMatchObject({ bytes: 3 * limits.eventsKept - 1 })
    expect(kept[0]).toMatchObject({ bytes: 2 * limits.eventsKept })
  })

  it('names a Service that was asked', () => {
    const events = createNamed()
    events.event(query)
    expect(events.recent()[0]).toMatchObject({
      source: { namespace: '@netns', pod: 'shop', port: 40000 },
      destination: { namespace: 'kube-system', workload: 'kube-dns', address: '10.96.0.10', port: 53 },
      dns: query.dns,
    })
  })

  it.each<[Partial<EventReport['dns']>, true | undefined]>([
    [{}, true],
    [{ durationMs: limits.dnsSlowMs }, true],
    [{ durationMs: limits.dnsSlowMs + 0.1 }, undefined],
    [{ responseCode: 'NXDOMAIN' }, undefined],
    [{ responseCode: 'SERVFAIL' }, undefined],
  ])('knows what went well: %j %s', (dns, routine) => {
    const events = createNamed()
    events.event(queryWith(dns))
    expect((events.recent()[0] as { routine?: true }).routine).toBe(routine)
  })

  it.each<[Partial<EventReport['http']>, true | undefined]>([
    [{}, true],
    [{ status: 399, durationMs: limits.httpSlowMs }, true],
    [{ durationMs: limits.httpSlowMs + 0.1 }, undefined],
    [{ status: 400 }, undefined],
    [{ status: 503 }, undefined],
  ])('knows which requests went well: %j %s', (http, routine) => {
    const events = createNamed()
    events.event({ ...request, http: { ...request.http!, ...http } })
    expect((events.recent()[0] as { routine?: true }).routine).toBe(routine)
  })

  it('does not take the unanswered for well answered', () => {
    const events = createNamed()
    const { responseCode: _, durationMs: __, ...dns } = query.dns!
    events.event({ ...query, dns })
    const { status: ___, durationMs: ____, ...http } = request.http!
    events.event({ ...request, http })
    for (const event of events.recent()) expect(event).not.toHaveProperty('routine')
  })

  it('keeps what went well apart: it takes the place of nothing else, nor that of it', () => {
    const events = createNamed()
    events.event({ ...report, timeMs: report.timeMs - 1 })
    for (let i = 0; i < 5 * limits.routineEventsKept; i++) events.event(queryWith({ id: i }))
    events.notShown('dns', 3, report.timeMs + 1, true)
    const kept = events.recent()
    expect(kept.length).toBe(1 + limits.routineEventsKept)
    expect(kept[0]).toMatchObject({ type: 'drop' })
    expect(kept.at(-2)).toMatchObject({ dns: { id: 5 * limits.routineEventsKept - 1 } })
    expect(kept.at(-1)).toMatchObject({ type: 'not_shown', of: 'dns', count: 3, routine: true })
    for (let i = 0; i < 3 * limits.eventsKept; i++) events.event({ ...report, timeMs: report.timeMs + 2 })
    expect(events.recent().filter((message) => message.routine).length).toBe(limits.routineEventsKept)
  })

  it('gives what it keeps by time, also what is told late', () => {
    const events = createNamed()
    for (const [afterMs, dns] of [
      [6, { id: 1 }],
      [7, { id: 2, responseCode: 'SERVFAIL' }],
      [8, { id: 3 }],
      [2, { id: 4, responseCode: 'NXDOMAIN' }],
    ] as const)
      events.event(queryWith(dns, query.timeMs + afterMs))
    expect(events.recent().map((message) => 'dns' in message && message.dns?.id)).toEqual([4, 1, 2, 3])
  })
})
