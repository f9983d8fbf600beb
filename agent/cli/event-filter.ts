import type { Choice, Config } from '../config.ts'
import type { StatusRange } from '../config-values.ts'
import type { EventEnd, EventMessage, NetworkEvent } from '../events.ts'
import { hasPort, isLetThrough, isNamed, isWithin } from '../filter.ts'
import { type EventType, eventTypes } from '../metrics/labels.ts'
import type { DnsEvent, HttpEvent } from '../sources/source.ts'

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
const ofDns =
  <T>(fits: (value: T, dns: DnsEvent) => boolean): Fits<T> =>
  (value, { dns }) =>
    dns !== undefined && fits(value, dns)
const ofHttp =
  <T>(fits: (value: T, http: HttpEvent) => boolean): Fits<T> =>
  (value, { http }) =>
    http !== undefined && fits(value, http)
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
  rcode: ofDns((code: string | undefined, { responseCode }) => responseCode === code),
  qtype: ofDns((type: string, { queryType }) => queryType === type),
  name: ofDns((pattern: RegExp, { name }) => pattern.test(name)),
  status: ofHttp((wanted: StatusRange | undefined, { status }) =>
    wanted === undefined || status === undefined ? wanted === status : wanted.from <= status && status <= wanted.to,
  ),
  method: ofHttp((wanted: string, { method }) => method === wanted),
  path: ofHttp((pattern: RegExp, { path }) => pattern.test(path)),
} as const
export type FilterName = keyof typeof fits
export type Filters = Pick<Config, FilterName | 'since'>

/** Filters that nothing but events of one type fits. */
const filtersOf = { dns: ['rcode', 'qtype', 'name'], http: ['status', 'method', 'path'] } as const
type Answered = keyof typeof filtersOf
const answeredTypes = Object.keys(filtersOf) as Answered[]
const hasFilterOf = (filters: Filters, type: Answered): boolean => filtersOf[type].some((name) => filters[name].only.length > 0)

/** Of which there may be something to show. */
export const typesOf = (filters: Filters): readonly EventType[] =>
  eventTypes.filter(
    (one) =>
      isLetThrough(filters.type, (type) => type === one) &&
      answeredTypes.every((type) => type === one || !hasFilterOf(filters, type)),
  )

/** Whether what went well is to be shown too: only who asks for DNS or HTTP wants it. */
export const isRoutineAskedFor = (filters: Filters): boolean =>
  answeredTypes.some((type) => filters.type.only.includes(type) || hasFilterOf(filters, type))

/**
 * What the command line lets through. Of events that are not shown only the type is known: they are told unless
 * that is filtered out, for any of them might have fitted.
 */
export function createFilter(filters: Filters): (message: EventMessage) => boolean {
  const names = Object.keys(fits) as FilterName[]
  const types = typesOf(filters)
  return (message) => {
    if (filters.since !== Number.NEGATIVE_INFINITY && Date.parse(message.time) < filters.since) return false
    if (message.type === 'not_shown') return message.of === 'slow_reader' || types.includes(message.of)
    return names.every((name) =>
      isLetThrough(filters[name] as Choice<never>, (value) => (fits[name] as Fits<never>)(value, message)),
    )
  }
}
