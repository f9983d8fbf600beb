import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { type EventEnd, type EventMessage, eventSchemaVersion, type NetworkEvent, type NotShown } from '../agent/events.ts'
import { limits } from '../agent/limits.ts'
import { dropCategories } from '../agent/metrics/drop-category.ts'
import { connectOutcomes, type EventType, eventTypes, labels, retransmitKinds } from '../agent/metrics/labels.ts'
import type { DnsEvent, HttpEvent } from '../agent/sources/source.ts'
import { tcpFlagNames } from '../parsers/tcp-flags.ts'
import { everything, oneOfEach } from './agent/cli/one-of-each.ts'

const text = fs.readFileSync(path.resolve(import.meta.dirname, '../docs/events.md'), 'utf8')

interface Row {
  readonly name: string
  readonly type: string
  readonly of: string
  readonly line: string
}

/** The rows of the table below a line that begins so. */
function rowsBelow(start: string): Row[] {
  const after = text.slice(text.indexOf(`\n${start}`))
  const table = /\n\| field .*\n\|[-|]+\n((?:\|.*\n)+)/.exec(after)?.[1] ?? ''
  return table
    .trimEnd()
    .split('\n')
    .map((line) => {
      const [name = '', type = '', of = ''] = line
        .split('|')
        .slice(1)
        .map((cell) => cell.trim())
      return { name: name.replaceAll('`', ''), type, of, line }
    })
}
const [ofEvent = [], ofDns = [], ofHttp = [], ofEnd = [], ofNotShown = []] = [
  '## An event',
  '`dns` has',
  '`http` has',
  'An end, which',
  '## Events that',
].map(rowsBelow)
const wordsOf = (rows: Row[], name: string): string[] =>
  [...(rows.find((row) => row.name === name)?.line ?? '').matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? '').slice(1)

/** A field that the type has and this list has not, or the other way round, does not compile. */
const fields = {
  event: {
    ...{ time: 1, type: 1, source: 1, destination: 1, family: 1, protocol: 1, direction: 1, reason: 1, category: 1 },
    ...{ function: 1, flags: 1, state: 1, kind: 1, outcome: 1, packets: 1, bytes: 1, dns: 1, http: 1, routine: 1 },
  } satisfies Record<keyof NetworkEvent, 1>,
  end: { namespace: 1, pod: 1, workload: 1, address: 1, port: 1 } satisfies Record<keyof EventEnd, 1>,
  dns: { id: 1, name: 1, queryType: 1, responseCode: 1, durationMs: 1, addressCount: 1 } satisfies Record<keyof DnsEvent, 1>,
  http: { method: 1, path: 1, host: 1, status: 1, durationMs: 1 } satisfies Record<keyof HttpEvent, 1>,
  notShown: { time: 1, type: 1, of: 1, count: 1, routine: 1 } satisfies Record<keyof NotShown, 1>,
}

describe('docs/events.md', () => {
  it('has the fields of the types, and no others', () => {
    expect(ofEvent.map(({ name }) => name)).toEqual(Object.keys(fields.event))
    expect(ofDns.map(({ name }) => name)).toEqual(Object.keys(fields.dns))
    expect(ofHttp.map(({ name }) => name)).toEqual(Object.keys(fields.http))
    expect(ofEnd.map(({ name }) => name)).toEqual(Object.keys(fields.end))
    expect(ofNotShown.map(({ name }) => name)).toEqual(Object.keys(fields.notShown))
  })

  it.each(eventTypes)('says which fields %s has', (type) => {
    const described = ofEvent.filter(
      ({ of }) =>
        of === 'all' ||
        of
          .split(/,? where/)[0]
          ?.split(', ')
          .includes(type),
    )
    expect(described.map(({ name }) => name).sort()).toEqual(Object.keys(oneOfEach[type]).sort())
  })

  it('says of what type the values are', () => {
    const typeOf = (value: unknown): string => (Array.isArray(value) ? 'array of strings' : typeof value)
    const check = (rows: Row[], values: object): void => {
      for (const [name, value] of Object.entries(values))
        expect([name, rows.find((row) => row.name === name)?.type]).toEqual([name, typeOf(value)])
    }
    for (const message of everything as readonly EventMessage[]) {
      check(message.type === 'not_shown' ? ofNotShown : ofEvent, message)
      if (message.type === 'not_shown') continue
      for (const end of [message.source, message.destination]) check(ofEnd, end)
      check(ofDns, message.dns ?? {})
      check(ofHttp, message.http ?? {})
    }
  })

  it('has the words there are', () => {
    expect(wordsOf(ofEvent, 'type')).toEqual([...eventTypes] satisfies EventType[])
    expect(wordsOf(ofEvent, 'protocol')).toEqual([...labels.protocol.values])
    expect(wordsOf(ofEvent, 'direction')).toEqual([...labels.direction.values])
    expect(wordsOf(ofEvent, 'category')).toEqual([...dropCategories])
    expect(wordsOf(ofEvent, 'kind')).toEqual(retransmitKinds)
    expect(wordsOf(ofEvent, 'outcome')).toEqual(connectOutcomes.filter((outcome) => outcome !== 'connected'))
    expect(wordsOf(ofEvent, 'flags')).toEqual(tcpFlagNames(0xff))
    expect(text).toContain(`\`schemaVersion\` (${eventSchemaVersion})`)
  })

  it('has the numbers there are', () => {
    const { eventsKept, routineEventsKept, eventsPerSecond, routineEventsPerSecond, eventsQueued, eventReaders } = limits
    const number = (value: number): string => value.toLocaleString('en')
    expect(text).toContain(
      `at most ${number(eventsPerSecond)} of each type a second are shown, ${number(routineEventsPerSecond)} of what`,
    )
    expect(text).toContain(`the newest ${number(eventsKept)} messages`)
    expect(text).toContain(`the newest ${number(routineEventsKept)} of what went well`)
    expect(text.split(`NOERROR within ${number(limits.dnsSlowMs)} ms`)).toHaveLength(3)
    expect(text).toContain(`within ${number(limits.dnsAnswerMs / 1000)} seconds`)
    expect(text.split(`a status below 400 within ${number(limits.httpSlowMs)} ms`)).toHaveLength(3)
    expect(text).toContain(`within ${number(limits.httpAnswerMs / 1000)} seconds`)
    expect(text).toContain(`has ${number(eventsQueued)} messages waiting`)
    expect(text).toContain(`At most ${number(eventReaders)} readers`)
  })
})
