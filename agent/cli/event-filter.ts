import type { Choice, Config } from '../config.ts'
import type { EventEnd, EventMessage, NetworkEvent } from '../events.ts'
import { hasPort, isLetThrough, isNamed, isWithin } from '../filter.ts'

/** Whether an event fits one value of a filter. */
type Fits<T> = (value: T, event: NetworkEvent) => boolean

const ofEitherEnd =
  <T>(fits: (value: T, end: EventEnd) => boolean): Fits<T> =>
  (value, { source, destination }) =>
    fits(value, source) || fits(value, destination)
const ofSource =
  <T>(fits: (value: T, end: EventEnd) => boolean): Fits<T> =>
  (value, { source }) =>
    fits(value, source)
const ofDestination =
  <T>(fits: (value: T, end: EventEnd) => boolean): Fits<T> =>
  (value, { destination }) =>
    fits(value, destination)
const ofWord =
  (field: 'type' | 'protocol' | 'category' | 'kind' | 'outcome'): Fits<string> =>
  (word, event) =>
    event[field] === word

/** Each filter of the command line, by its setting. */
const fits = {
  type: ofWord('type'),
  pod: ofEitherEnd(isNamed),
  'from-pod': ofSource(isNamed),
  'to-pod': ofDestination(isNamed),
  namespace: ofEitherEnd(isNamed),
  ip: ofEitherEnd(isWithin),
  'from-ip': ofSource(isWithin),
  'to-ip': ofDestination(isWithin),
  port: ofEitherEnd(hasPort),
  protocol: ofWord('protocol'),
  reason: ((pattern: RegExp, { reason }) => reason !== undefined && pattern.test(reason)) satisfies Fits<RegExp>,
  category: ofWord('category'),
  kind: ofWord('kind'),
  outcome: ofWord('outcome'),
} as const
export type FilterName = keyof typeof fits
export type Filters = Pick<Config, FilterName | 'since'>

/**
 * What the command line lets through. Of events that are not shown only the type is known: they are told unless
 * that is filtered out, for any of them might have fitted.
 */
export function createFilter(filters: Filters): (message: EventMessage) => boolean {
  const names = Object.keys(fits) as FilterName[]
  return (message) => {
    if (filters.since !== Number.NEGATIVE_INFINITY && Date.parse(message.time) < filters.since) return false
    if (message.type === 'not_shown')
      return message.of === 'slow_reader' || isLetThrough(filters.type, (type) => type === message.of)
    return names.every((name) =>
      isLetThrough(filters[name] as Choice<never>, (value) => (fits[name] as Fits<never>)(value, message)),
    )
  }
}
