import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { type EventEnd, type EventMessage, eventSchemaVersion, type NetworkEvent, type NotShown } from '../agent/events.ts'
import { limits } from '../agent/limits.ts'
import { dropCategories } from '../agent/metrics/drop-category.ts'
import { connectOutcomes, type EventType, eventTypes, labels, retransmitKinds } from '../agent/metrics/labels.ts'
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
const [ofEvent, ofEnd, ofNotShown] = ['## An event', 'An end, which', '## Events that'].map(rowsBelow) as [Row[], Row[], Row[]]
const wordsOf = (rows: Row[], name: string): string[] =>
  [...(rows.find((row) => row.name === name)?.line ?? '').matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? '').slice(1)

/** A field that the type has and this list has not, or the other way round, does not compile. */
const fields = {
  event: {
    ...{ time: 1, type: 1, source: 1, destination: 1, family: 1, protocol: 1, direction: 1, reason: 1, category: 1 },
    ...{ function: 1, flags: 1, state: 1, kind: 1, outcome: 1, packets: 1, bytes: 1 },
  } satisfies Record<keyof NetworkEvent, 1>,
  end: { namespace: 1, pod: 1, workload: 1, address: 1, port: 1 } satisfies Record<keyof EventEnd, 1>,
  notShown: { time: 1, type: 1, of: 1, count: 1 } satisfies Record<keyof NotShown, 1>,
}

describe('docs/events.md', () => {
  it('has the fields of the types, and no others', () => {
    expect(ofEvent.map(({ name }) => name)).toEqual(Object.keys(fields.event))
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
      if (message.type !== 'not_shown') for (const end of [message.source, message.destination]) check(ofEnd, end)
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
    const { eventsKept, eventsPerSecond, eventsQueued, eventReaders } = limits
    const number = (value: number): string => value.toLocaleString('en')
    expect(text).toContain(`at most ${number(eventsPerSecond)} of each type a second`)
    expect(text).toContain(`the newest ${number(eventsKept)} messages`)
    expect(text).toContain(`has ${number(eventsQueued)} messages waiting`)
    expect(text).toContain(`At most ${number(eventReaders)} readers`)
  })
})
