import { httpDirections, httpMethods, httpStatuses, queryTypes, responseCodes } from '../metrics/labels.ts'
import { durationPlaces } from './durations.ts'

const dnsBlocks = { queries: queryTypes.length, responses: responseCodes.length, served: responseCodes.length } as const
const afterDnsBlocks = dnsBlocks.queries + dnsBlocks.responses + dnsBlocks.served
/** What is counted of a subject: places in its Float64Array, where a block of several begins at its place. */
export const dnsPlaces = {
  /** By query type, as in queryTypes. */
  queries: 0,
  /** To the subject's queries, by response code, as in responseCodes. */
  responses: dnsBlocks.queries,
  /** By the subject, to anybody. */
  served: dnsBlocks.queries + dnsBlocks.responses,
  unanswered: afterDnsBlocks,
  truncated: afterDnsBlocks + 1,
  addresses: afterDnsBlocks + 2,
  searches: afterDnsBlocks + 3,
  microseconds: afterDnsBlocks + 4,
  durations: afterDnsBlocks + 5,
  size: afterDnsBlocks + 5 + durationPlaces,
} as const

const ofDirection = httpMethods.length * httpStatuses.length + 2 + durationPlaces
/** What is counted of a subject: places in its Float64Array, in a block for each of httpDirections. */
export const httpPlaces = {
  /** Answered, by method and status, as in httpMethods and httpStatuses: methods first. */
  answered: 0,
  unanswered: httpMethods.length * httpStatuses.length,
  microseconds: httpMethods.length * httpStatuses.length + 1,
  /** Not cumulative; the last is what took longer than all bounds. */
  durations: httpMethods.length * httpStatuses.length + 2,
  /** Of the block. */
  direction: ofDirection,
  size: ofDirection * httpDirections.length,
} as const

/** What is counted of each subject, in so many places. */
export const countPlaces = {
  /** As dnsPlaces tells. */
  dns: dnsPlaces.size,
  /** As httpPlaces tells. */
  http: httpPlaces.size,
  /** ICMP "fragmentation needed" received. */
  fragmentationNeeded: 1,
} as const
export type CountKind = keyof typeof countPlaces
export const countKinds = Object.keys(countPlaces) as readonly CountKind[]
