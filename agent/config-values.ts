import net from 'node:net'
import { z } from 'zod/v3' // a seventh of the memory of v4, which loads every language's messages
import { dnsRcodeName, dnsTypeName } from '../parsers/dns-message.ts'
import { httpMethods } from '../parsers/http-message.ts'
import { limits } from './limits.ts'
import { dropCategories } from './metrics/drop-category.ts'
import { connectOutcomes, type EventType, eventTypes, labels, retransmitKinds, tcpStates } from './metrics/labels.ts'
import { userMetricTypes } from './metrics/user-metrics.ts'

/** What the value of a setting may be, from text or from YAML. The messages begin with "expected". */
export const expected = (what: string): { errorMap: () => { message: string } } => ({
  errorMap: () => ({ message: `expected ${what}` }),
})

/** From one text; undefined: it is not of these forms. */
function fromText<T>(forms: string, read: (text: string) => T | undefined): z.ZodType<T, z.ZodTypeDef, unknown> {
  return z.union([z.string(), z.number()], expected(forms)).transform((given, context): T => {
    const value = read(String(given))
    if (value !== undefined) return value
    context.addIssue({ code: 'custom', message: `expected ${forms}` })
    return z.NEVER
  })
}

/** From one or several texts with commas between them; each gives one value or more. */
const fromTexts = <T>(forms: string, read: (text: string) => readonly T[] | undefined): z.ZodType<T[], z.ZodTypeDef, unknown> =>
  fromText(forms, (given) => {
    const values = given.split(',').map((text) => read(text.trim()))
    return values.includes(undefined) ? undefined : values.flatMap((value) => value ?? [])
  })

const oneOf = <W extends string>(words: readonly W[]) => {
  const read = (text: string): W[] | undefined => words.filter((word) => word === text.toLowerCase())
  return fromTexts(`${words.join(', ')}, with commas between them`, (text) => nonEmpty(read(text)))
}
const nonEmpty = <T>(values: T[] | undefined): T[] | undefined => (values?.length === 0 ? undefined : values)

// ------------------------------------------------------------------------------------------------------------------ agent

export interface ListenAddress {
  /** Undefined: every address of the machine. */
  readonly host: string | undefined
  readonly port: number
}

export const listenAddress = fromText(
  'HOST:PORT, [IPv6]:PORT or :PORT for every address, such as 127.0.0.1:10477',
  (text): ListenAddress | undefined => {
    const match = /^(?:\[([0-9a-f:.]+(?:%\w+)?)\]|([\w.-]*)):(\d{1,5})$/i.exec(text)
    const port = Number(match?.[3])
    return match !== null && port <= 65535 ? { host: match[1] ?? (match[2] || undefined), port } : undefined
  },
)

export const zeroWindow = fromText('auto, or seconds such as 65, or 0 for never', (text): number | 'auto' | undefined => {
  if (text === 'auto') return text
  return /^\d+(\.\d+)?$/.test(text) ? Number(text) : undefined
})

export const fileName = z.string(expected('the name of a file'))

/** `a,b` in a flag or a variable; a list too in a file. */
export const names = z
  .union([z.array(z.string()), z.string()], expected('names with commas between them'))
  .transform((given) => (typeof given === 'string' ? given.split(',') : given).map((name) => name.trim()).filter(Boolean))

const portsMax = 16
const isPort = (text: string): boolean => /^\d{1,5}$/.test(text) && Number(text) > 0 && Number(text) <= 65535

/** `53,5353` in a flag or a variable; a list too in a file; none of them is a choice. Each costs the filter of a capture some instructions. */
export const capturePorts = z
  .union([z.array(z.number()), z.number(), z.string()], expected('ports with commas between them'))
  .transform((given) =>
    String(given)
      .split(',')
      .map((text) => text.trim())
      .filter(Boolean),
  )
  .refine((list) => list.length <= portsMax && list.every(isPort), `expected at most ${portsMax} ports from 1 to 65535`)
  .transform((list) => list.map(Number))

/** Program and parameters, as text with blanks between them; a list in a file, where parameters may hold blanks. No shell reads it. */
export const commandLine = z
  .union([z.array(z.string()), z.string()], expected('a program and its parameters, with blanks between them'))
  .transform((given) => (typeof given === 'string' ? given.split(/\s+/) : given).filter((word) => word !== ''))

/** Their CIDRs are read where they are used. */
export const networkNames = z.union(
  [
    z.literal('').transform(() => []),
    z.array(z.object({ name: z.string(), cidrs: z.array(z.string()) }, expected('a mapping with name and cidrs')).strict()),
  ],
  expected('a list of name and cidrs'),
)

const ownLabels = /^(namespace|pod|node|job|instance|cluster|le|quantile|__.*)$/
const userMap = z
  .object({
    type: z.enum(userMetricTypes, expected(`one of ${userMetricTypes.join(', ')}`)),
    help: z.string(expected('a text')).min(1, 'expected a text'),
    labels: z
      .array(z.string().regex(/^[a-z_][a-z0-9_]*$/, 'expected a name of lower-case letters, digits and _'))
      .refine((labels) => !labels.some((label) => ownLabels.test(label)), 'expected no label that Prometheus or netvitals give')
      .refine((labels) => new Set(labels).size === labels.length, 'expected each label once')
      .default([]),
    limit: z.number(expected('a number of series')).int('expected a whole number').min(1).max(limits.scriptSeries).default(100),
    bounds: z
      .array(z.number())
      .refine(
        (bounds) => bounds.length > 0 && bounds.every((bound, i) => i === 0 || bound > bounds[i - 1]!),
        'expected rising numbers',
      )
      .optional(),
  })
  .strict()
const userScripts = z
  .array(
    z
      .object({
        file: z.string(expected('the name of a file')).min(1, 'expected the name of a file'),
        maps: z.record(
          z
            .string()
            .regex(/^[a-z_][a-z0-9_]*$/, 'expected the name of a map, without its @, of lower-case letters, digits and _'),
          userMap,
          expected('maps, each with type, help and the like'),
        ),
      })
      .strict(),
    expected('a list of scripts, each with file and maps'),
  )
  .refine((scripts) => new Set(scripts.map(({ file }) => file)).size === scripts.length, 'expected each file once')
  .refine((scripts) => {
    const maps = scripts.flatMap((script) => Object.keys(script.maps))
    return new Set(maps).size === maps.length
  }, 'expected each map in one script only: they are metrics of the same names')

/** Bpftrace scripts and what their maps mean; in a file only. */
export const scripts = z.unknown().transform((given, context) => {
  const result = userScripts.safeParse(given === '' || given === null ? [] : given)
  if (result.success) return result.data
  const [issue] = result.error.issues
  const place = (issue?.path ?? []).join('.')
  context.addIssue({ code: 'custom', message: `${issue?.message ?? ''}${place === '' ? '' : ` at ${place}`}` })
  return z.NEVER
})

/** A flag without a value. */
export const onOff = z.boolean()

// ---------------------------------------------------------------------------------------------------------- single events

export const eventTypeNames = fromTexts(
  `${eventTypes.join(', ')}, or reset for both kinds, with commas between them`,
  (text): EventType[] | undefined =>
    text === 'reset' ? ['reset_sent', 'reset_received'] : nonEmpty(eventTypes.filter((type) => type === text)),
)
export const categories = oneOf(dropCategories)
export const outcomes = oneOf(connectOutcomes.filter((outcome) => outcome !== 'connected'))
export const kinds = oneOf(retransmitKinds)
export const protocols = oneOf(labels.protocol.values)

/**
 * Of the whole text; `*` stands for any characters. What stands between two is looked for once, from the left: others give the
 * names, and could have all ways tried.
 */
function toPattern(text: string, flags = 's'): RegExp {
  const [first = '', ...others] = text.replaceAll(/[.\\+?^${}()|[\]]/g, '\\$&').split(/\*+/)
  const last = others.pop()
  const between = others.map((part, i) => `(?=(.*?${part}))\\${i + 1}`).join('')
  return new RegExp(`^${first}${between}${last === undefined ? '' : `.*${last}`}$`, flags)
}

export const reasons = fromTexts("the kernel's names, such as netfilter_drop or tcp_*, with commas between them", (text) =>
  /^[\w*]+$/.test(text) ? [toPattern(text, 'i')] : undefined,
)

/** IANA's words, and for numbers without one those that events have. */
const dnsWords = (prefix: string, most: number, nameOf: (number: number) => string | undefined) => (text: string) => {
  const wanted = text.toUpperCase()
  for (let number = 0; number <= most; number++) {
    const name = nameOf(number)?.toUpperCase()
    if (wanted === name || wanted === `${prefix}${number}`) return name ?? wanted
  }
  return undefined
}
const readQueryType = dnsWords('TYPE', 0xffff, dnsTypeName)
const readResponseCode = dnsWords('RCODE', 0xfff, dnsRcodeName)

export const queryTypes = fromTexts('types of DNS records, such as A, AAAA or TYPE64, with commas between them', (text) => {
  const type = readQueryType(text)
  return type === undefined ? undefined : [type]
})
/** Undefined: unanswered. */
export const responseCodes = fromTexts(
  'DNS response codes, such as NXDOMAIN or SERVFAIL, or unanswered, with commas between them',
  (text): (string | undefined)[] | undefined => {
    if (text.toLowerCase() === 'unanswered') return [undefined]
    const code = readResponseCode(text)
    return code === undefined ? undefined : [code]
  },
)
/** With or without the dot at the end; the root is '.'. */
export const dnsNames = fromTexts(
  'DNS names, such as db.shop.svc.cluster.local or *.example.com, with commas between them',
  (text): RegExp[] | undefined => (/^\S+$/.test(text) ? [toPattern(text.replace(/\.$/, ''), 'is')] : undefined),
)

export interface StatusRange {
  readonly from: number
  readonly to: number
}
/** Undefined: unanswered. */
export const httpStatuses = fromTexts(
  'HTTP status codes, such as 503 or 4xx, or unanswered, with commas between them',
  (text): (StatusRange | undefined)[] | undefined => {
    const wanted = text.toLowerCase()
    if (wanted === 'unanswered') return [undefined]
    if (/^[1-5]\d\d$/.test(wanted)) return [{ from: Number(wanted), to: Number(wanted) }]
    return /^[1-5]xx$/.test(wanted) ? [{ from: Number(wanted[0]) * 100, to: Number(wanted[0]) * 100 + 99 }] : undefined
  },
)
export const requestMethods = fromTexts(`${httpMethods.join(', ')}, with commas between them`, (text): string[] | undefined => {
  const method = httpMethods.find((one) => one.toUpperCase() === text.toUpperCase())
  return method === undefined ? undefined : [method]
})
/** What follows a `?` is not known of any request. */
export const requestPaths = fromTexts(
  'paths without a query, such as /cart or /api/*, with commas between them',
  (text): RegExp[] | undefined => (/^[^\s?]+$/.test(text) ? [toPattern(text)] : undefined),
)

/** One end of an event. */
export type EndPattern = 'host' | { /** Undefined: any. */ readonly namespace?: RegExp; readonly pod: RegExp }

/** What may be in a name: a named network namespace may be called almost anything. */
const name = /^[^/\s]+$/

export const pods = fromTexts(
  'POD, NAMESPACE/POD, NAMESPACE/, @netns/NAME, or host, * standing for any characters, with commas between them',
  (text): EndPattern[] | undefined => {
    if (text === 'host') return [text]
    const [first = '', pod, ...more] = text.split('/')
    if (more.length > 0 || !name.test(first)) return undefined
    if (pod === undefined) return [{ pod: toPattern(first) }]
    if (pod === '') return [{ namespace: toPattern(first), pod: toPattern('*') }]
    return name.test(pod) ? [{ namespace: toPattern(first), pod: toPattern(pod) }] : undefined
  },
)

export const namespaces = fromTexts(
  'namespaces, or @netns for named network namespaces, * standing for any characters, with commas between them',
  (text): EndPattern[] | undefined => (name.test(text) ? [{ namespace: toPattern(text), pod: toPattern('*') }] : undefined),
)

export interface PortRange {
  readonly first: number
  readonly last: number
}

export const ports = fromTexts('ports or ranges, such as 80,443,30000-32767', (text): PortRange[] | undefined => {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text)
  if (match === null) return undefined
  const [first, last] = [Number(match[1]), Number(match[2] ?? match[1])]
  return first <= last && last <= 65535 ? [{ first, last }] : undefined
})

/** As tcpdump takes it. It is put into brackets, which it may not end. */
export const packetFilter = z.string(expected('a filter as tcpdump takes it')).superRefine((text, context) => {
  let depth = 0
  for (const character of text) {
    depth += character === '(' ? 1 : character === ')' ? -1 : 0
    if (depth < 0) break
  }
  if (depth !== 0) context.addIssue({ code: 'custom', message: 'expected as many ( as ), each ) after its (' })
})

const bytesOf = { '': 1, kB: 1e3, MB: 1e6, GB: 1e9 } as const

export const byteCount = fromText('a number of bytes, such as 500kB, 100MB or 2GB', (text): number | undefined => {
  const match = /^([1-9]\d{0,11})(kB|MB|GB|)$/.exec(text)
  return match === null ? undefined : Number(match[1]) * bytesOf[match[2] as keyof typeof bytesOf]
})

export const packetCount = fromText('a number of packets', (text): number | undefined =>
  /^[1-9]\d{0,11}$/.test(text) ? Number(text) : undefined,
)

/** Of each packet; 0 is all. The most that a file of packets may hold. */
export const snapLength = fromText('64 to 262144 bytes, or 0 for whole packets', (text): number | undefined => {
  const bytes = /^\d{1,6}$/.test(text) ? Number(text) : Number.NaN
  return bytes === 0 ? 262_144 : bytes >= 64 && bytes <= 262_144 ? bytes : undefined
})

export interface Network {
  readonly family: 'ipv4' | 'ipv6'
  readonly addresses: net.BlockList
}

export const networks = fromTexts(
  'addresses or networks, such as 10.0.0.7 or 2001:db8::/32, with commas between them',
  (text): Network[] | undefined => {
    const [address = '', prefix, ...more] = text.split('/')
    const version = net.isIP(address)
    const bits = version === 4 ? 32 : 128
    const length = prefix === undefined ? bits : /^\d{1,3}$/.test(prefix) ? Number(prefix) : Number.NaN
    if (version === 0 || address.includes('%') || more.length > 0 || !(length <= bits)) return undefined
    const family = version === 4 ? 'ipv4' : 'ipv6'
    const addresses = new net.BlockList()
    addresses.addSubnet(address, length, family)
    return [{ family, addresses }]
  },
)

// ---------------------------------------------------------------------------------------------------------------- sockets

/** With _ or, as ss has them, with -. */
export const states = fromTexts(
  `${tcpStates.join(', ')}, with commas between them`,
  (text): (typeof tcpStates)[number][] | undefined =>
    nonEmpty(tcpStates.filter((state) => state === text.toLowerCase().replaceAll('-', '_'))),
)

/** One process by its number, or those by their name. */
export type ProcessPattern = number | RegExp

export const processes = fromTexts(
  'names of processes, * standing for any characters, or their numbers, with commas between them',
  (text): ProcessPattern[] | undefined => {
    if (text === '') return undefined
    return /^\d{1,9}$/.test(text) ? [Number(text)] : [toPattern(text)]
  },
)

/** Infinity is all. */
export const top = fromText('auto, all, or a number such as 50', (text): number | 'auto' | undefined => {
  if (text === 'auto') return text
  if (text === 'all') return Number.POSITIVE_INFINITY
  return /^[1-9]\d{0,8}$/.test(text) ? Number(text) : undefined
})

// ---------------------------------------------------------------------------------------------------------------- observe

export const last = fromText('auto, or a number such as 50', (text): number | 'auto' | undefined => {
  if (text === 'auto') return text
  return /^\d{1,9}$/.test(text) ? Number(text) : undefined
})

const secondsOf = { s: 1, m: 60, h: 3600, d: 86_400 } as const

/** At least one. */
export const seconds = fromText('seconds, 1 or more', (text): number | undefined => {
  return /^\d{1,6}(\.\d+)?$/.test(text) && Number(text) >= 1 ? Number(text) : undefined
})

/** In seconds. */
export const duration = fromText('how long, such as 30s, 5m, 2h or 1d, or ever', (text): number | undefined => {
  if (text === 'ever') return Number.POSITIVE_INFINITY
  const match = /^(\d{1,9})([smhd])$/.exec(text)
  return match === null ? undefined : Number(match[1]) * secondsOf[match[2] as keyof typeof secondsOf]
})

/** Like `duration`; what is meant by auto the command knows. */
export const durationOrAuto = fromText(
  'how long, such as 30s, 5m, 2h or 1d, ever, or auto',
  (text): number | 'auto' | undefined => {
    if (text === 'auto') return text
    const result = duration.safeParse(text)
    return result.success ? result.data : undefined
  },
)

/** In milliseconds since 1970; a time without a zone is the local one. Empty: since ever. */
export const since = fromText(
  'how long ago, such as 30s, 5m, 2h or 1d, or a time, such as 2026-11-26 or 2026-11-26T18:20:01Z',
  (text): number | undefined => {
    if (text === '') return Number.NEGATIVE_INFINITY
    const ago = /^(\d{1,9})([smhd])$/.exec(text)
    if (ago !== null) return Date.now() - Number(ago[1]) * 1000 * secondsOf[ago[2] as keyof typeof secondsOf]
    if (!/^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?$/.test(text)) return undefined
    const timeMs = Date.parse(text.includes('T') ? text : `${text}T00:00`) // a date alone would be of UTC
    return Number.isNaN(timeMs) ? undefined : timeMs
  },
)
