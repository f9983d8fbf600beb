import fs from 'node:fs'
import { parseArgs } from 'node:util'
import { z } from 'zod/v3' // a seventh of the memory of v4, which loads every language's messages
import { ConfigError, parseYamlMapping, readConfigFile } from './config-file.ts'
import {
  byteCount,
  capturePorts,
  categories,
  commandLine,
  dnsNames,
  durationOrAuto,
  eventTypeNames,
  expected,
  fileName,
  httpStatuses,
  kinds,
  last,
  listenAddress,
  names,
  namespaces,
  networkNames,
  networks,
  onOff,
  outcomes,
  packetCount,
  packetFilter,
  pods,
  ports,
  processes,
  protocols,
  queryTypes,
  reasons,
  requestMethods,
  requestPaths,
  responseCodes,
  scripts,
  seconds,
  since,
  snapLength,
  states,
  top,
  zeroWindow,
} from './config-values.ts'
import { limits } from './limits.ts'
import { logLevels } from './log.ts'
import { dropCategories } from './metrics/drop-category.ts'
import { connectOutcomes, eventTypes, httpMethods, labels, retransmitKinds, tcpStates } from './metrics/labels.ts'

export const commands = {
  serve: 'measure and answer HTTP until stopped (this is the default)',
  sweep: 'measure once and print the metrics',
  check: 'say what this machine can give, what it cannot, and why',
  prove: 'cause faults in throw-away network namespaces and compare what is counted',
  observe: 'show single drops, resets, retransmits, failed connects, DNS and HTTP requests',
  record: 'write what is counted, sweep by sweep, and single events, for replay',
  replay: 'print the metrics that recordings of trace tools and of packets would have made',
  'show sockets': 'which TCP sockets there are, whose they are, and what they wait for',
  'show edges': 'which workloads talk to which, how much, and what fails, of the last five minutes',
} as const
export type Command = keyof typeof commands
const everyCommand = Object.keys(commands) as Command[]
const wordsOf = (command: Command): number => command.split(' ').length
/** Those with names of files behind them. */
const takingFiles: readonly Command[] = ['replay']

interface Setting {
  /** From text, as flags and variables give it, and from what a YAML file may hold. Its errors begin with "expected". */
  readonly schema: z.ZodType
  /** As text; of each command if they differ; false where the flag has no value. */
  readonly default: string | false | Readonly<Record<Command, string>>
  /** What stands for the value in the help; empty where the flag has none. */
  readonly value: string
  readonly help: string
  readonly commands: readonly Command[]
  readonly short?: string
  /** The flag, where another command has a flag of this name with other values. */
  readonly flag?: string
  /** It is no flag. */
  readonly isFileOnly?: true
  /** May be repeated, and negated with --not before it. The schema gives a list. */
  readonly isFilter?: true
  /** Where it may stand beside the flag. */
  readonly alsoIn: readonly ('environment' | 'file')[]
}

const anywhere = ['environment', 'file'] as const
const measuring = ['serve', 'sweep', 'check', 'observe', 'record'] as const
const naming = [...measuring, 'show sockets'] as const
const podNameSources = ['auto', 'api', 'kubelet', 'logs', 'file', 'off'] as const
const peerSources = ['off', 'endpointslices', 'pods'] as const
const ofObserve = { commands: ['observe'], alsoIn: [] } as const
const asFilter = { ...ofObserve, default: '', isFilter: true } as const
const ofPcap = { commands: ['record'], alsoIn: [] } as const
const ofSockets = { commands: ['show sockets'], alsoIn: [] } as const
const asSocketFilter = { ...ofSockets, default: '', isFilter: true } as const
/** Of `replay` they choose from the single queries in captures. */
const asEventFilter = { ...asFilter, commands: ['observe', 'replay'] } as const
const asAnyFilter = { ...asFilter, commands: ['observe', 'replay', 'show sockets'] } as const

/** A trace tool of the user instead of the built-in programs, which are then off. */
function ofTool<S extends string>(signal: S, tools: string) {
  const common = { default: '', commands: ['serve', 'check', 'observe', 'record'], alsoIn: anywhere } as const
  return {
    [`tools.${signal}.command`]: {
      ...common,
      schema: commandLine,
      value: 'COMMAND',
      help: `take ${signal} from what this command prints, ${tools} of bcc, bpftrace or perf-tools; it is kept running`,
    },
    [`tools.${signal}.file`]: {
      ...common,
      schema: fileName,
      value: 'FILE',
      help: `take ${signal} from a file or FIFO that ${tools} writes, from now on; - is standard input`,
    },
  } as { [K in `tools.${S}.command`]: Setting & { schema: typeof commandLine } } & {
    [K in `tools.${S}.file`]: Setting & { schema: typeof fileName }
  }
}

/** The only place where a setting exists. `a.b-c` is the flag --a.b-c, the variable NETVITALS_A_B_C, and `b-c` below `a` in the file. */
const settings = {
  'web.listen-address': {
    schema: listenAddress,
    default: '127.0.0.1:10477',
    value: 'HOST:PORT',
    help: 'where to answer HTTP; :10477 means every address',
    commands: ['serve'],
    alsoIn: anywhere,
  },
  'web.config.file': {
    schema: fileName,
    default: '',
    value: 'FILE',
    help: "TLS and authentication, in the format of Prometheus' exporters; read again when it changes",
    commands: ['serve'],
    alsoIn: anywhere,
  },
  'web.socket': {
    schema: fileName,
    default: '/run/netvitals/agent.sock',
    value: 'FILE',
    help: 'Unix socket through which commands on this machine ask the agent; empty for none',
    commands: ['serve', 'check', 'observe', 'show sockets', 'show edges'],
    alsoIn: anywhere,
  },
  'web.new-series-zero-seconds': {
    schema: zeroWindow,
    default: 'auto',
    value: 'SECONDS',
    help: "how long Prometheus is shown 0 of a new counter, so that it sees the increase; auto follows each scraper's interval, 0 is never",
    commands: ['serve'],
    alsoIn: anywhere,
  },
  'sources.off': {
    schema: names,
    default: '',
    value: 'NAMES',
    help: 'sources to leave out, with commas between them; `netvitals check` lists them all',
    commands: measuring,
    alsoIn: anywhere,
  },
  'capture.dns-ports': {
    schema: capturePorts,
    default: '53',
    value: 'PORTS',
    help: 'ports whose packets are captured to read DNS from them, with commas between; empty for none. An open capture costs every packet of the machine some 0.2 to 0.4 us',
    commands: [...measuring, 'replay'],
    alsoIn: anywhere,
  },
  'capture.http-ports': {
    schema: capturePorts,
    default: '',
    value: 'PORTS',
    help: 'ports whose packets are captured to read plaintext HTTP/1 from them, such as 80,8080; empty for none. Every packet of these ports is looked at',
    commands: [...measuring, 'replay'],
    alsoIn: anywhere,
  },
  ...ofTool('retransmits', 'tcpretrans'),
  ...ofTool('drops', 'tcpdrop'),
  ...ofTool('connects', 'tcpstates or tcpconnlat'),
  scripts: {
    schema: scripts,
    default: '',
    value: 'LIST',
    help: "bpftrace scripts, each with `file` and `maps`: a map's type (counter, gauge, histogram, summary), help, labels for the columns of its key, limit of series (100), bounds of a histogram; it becomes netvitals_user_<map>",
    commands: ['serve', 'check', 'record', 'replay'],
    alsoIn: ['file'],
    isFileOnly: true,
  },
  'identity.pods': {
    schema: z.enum(podNameSources, expected(`one of ${podNameSources.join(', ')}`)),
    default: 'auto',
    value: 'WHERE',
    help: 'where the names of pods come from: api (the API server), kubelet, logs (the names of the folders in /var/log/pods), file, off (pods go by their UID); auto is api in a pod of Kubernetes, else logs where there are any',
    commands: naming,
    alsoIn: anywhere,
  },
  'identity.pods-file': {
    schema: fileName,
    default: '',
    value: 'FILE',
    help: 'YAML file for --identity.pods=file: a list of pods with namespace, name, uid, and if you like workload, workload_type, addresses, host_network; read again when it changes',
    commands: naming,
    alsoIn: anywhere,
  },
  'kubernetes.kubelet': {
    schema: listenAddress,
    default: '127.0.0.1:10250',
    value: 'HOST:PORT',
    help: "this node's kubelet, for --identity.pods=kubelet",
    commands: measuring,
    alsoIn: anywhere,
  },
  'kubernetes.kubelet-verify': {
    schema: z.enum(['on', 'off'], expected('on or off')),
    default: 'on',
    value: 'ON|OFF',
    help: "whether the kubelet's certificate must be for its address and signed by the cluster's CA; off gives the token to whoever answers there",
    commands: measuring,
    alsoIn: anywhere,
  },
  'identity.peers': {
    schema: z.enum(peerSources, expected(`one of ${peerSources.join(', ')}`)),
    default: 'off',
    value: 'WHERE',
    help: "how pods of other nodes get names: endpointslices (those that Services have), pods (all of the cluster's; more memory), off",
    commands: naming,
    alsoIn: anywhere,
  },
  'identity.networks': {
    schema: networkNames,
    default: '',
    value: 'LIST',
    help: 'names of networks, each with `name` and `cidrs`, for addresses that nobody else has a name for; the smallest network counts',
    commands: measuring,
    alsoIn: ['file'],
    isFileOnly: true,
  },
  'kubernetes.node': {
    schema: z.string(expected('the name of a node')),
    default: '',
    value: 'NAME',
    help: 'name of this node in Kubernetes; else the name of the host',
    commands: naming,
    alsoIn: anywhere,
  },
  'log.level': {
    schema: z.enum(logLevels, expected(`one of ${logLevels.join(', ')}`)),
    default: {
      serve: 'info',
      sweep: 'error',
      check: 'silent',
      prove: 'silent',
      observe: 'silent',
      record: 'error',
      replay: 'silent',
      'show sockets': 'silent',
      'show edges': 'silent',
    },
    value: 'LEVEL',
    help: `what to log on standard error: ${logLevels.join(', ')}`,
    commands: everyCommand,
    alsoIn: anywhere,
  },
  'config.file': {
    schema: fileName,
    default: '',
    value: 'FILE',
    help: 'YAML file with any of the settings that have a variable; read once at the start',
    commands: everyCommand,
    alsoIn: ['environment'],
  },
  root: {
    schema: z.string(expected('a directory')).min(1, 'expected a directory'),
    default: '/',
    value: 'DIR',
    help: 'read /proc and /sys below this directory, such as a saved host; without events',
    commands: ['sweep', 'check'],
    alsoIn: [],
  },
  format: {
    schema: z.enum(['text', 'openmetrics'], expected('text or openmetrics')),
    default: 'text',
    value: 'FORMAT',
    help: 'text (Prometheus 0.0.4) or openmetrics (1.0)',
    commands: ['sweep', 'replay'],
    alsoIn: [],
  },
  output: {
    schema: z.enum(['text', 'json'], expected('text or json')),
    default: 'text',
    value: 'FORMAT',
    help: 'text or json',
    commands: ['check', 'prove'],
    short: 'o',
    alsoIn: [],
  },
  interval: {
    schema: seconds,
    default: '15',
    value: 'SECONDS',
    help: 'between two sweeps, 1 or more',
    commands: ['record'],
    alsoIn: [],
  },
  for: {
    schema: durationOrAuto,
    default: 'auto',
    value: 'TIME',
    help: `how long, such as 30s, 5m, 2h or 1d; ever is until Ctrl-C; auto is ever, with --pcap ${limits.recordPcapSeconds}s`,
    commands: ['record'],
    alsoIn: [],
  },
  pcap: {
    schema: fileName,
    default: '',
    value: 'FILE',
    help: 'write packets into this file instead, for Wireshark, tcpdump or replay. They hold what people send each other, passwords too: only you can read the file, and of each packet it has the first bytes only',
    ...ofPcap,
  },
  'pcap.pod': {
    schema: pods,
    value: 'PODS',
    help: 'whose packets: POD or NAMESPACE/POD, NAMESPACE/ for all pods of it, @netns/NAME for a named network namespace, host for the host itself; * stands for any characters. By the addresses that they have when it begins, as seen on the devices of the host; without this flag, all packets there',
    ...ofPcap,
    default: '',
    isFilter: true,
    flag: 'pod',
  },
  'pcap.filter': {
    schema: packetFilter,
    default: '',
    value: 'FILTER',
    help: "which of them, as tcpdump takes it: 'port 53', 'tcp[tcpflags] & tcp-rst != 0'",
    ...ofPcap,
    flag: 'filter',
  },
  'pcap.snap': {
    schema: snapLength,
    default: '256',
    value: 'BYTES',
    help: 'of each packet, with 16 bytes of link header; 0 is all of it, and what it holds',
    ...ofPcap,
    flag: 'snap',
  },
  'pcap.bytes': { schema: byteCount, default: '100MB', value: 'BYTES', help: 'the file becomes no larger', ...ofPcap },
  'pcap.packets': { schema: packetCount, default: '1000000', value: 'NUMBER', help: 'no more packets', ...ofPcap },
  'pcap.force': {
    schema: onOff,
    default: false,
    value: '',
    help: 'replace a file of this name',
    ...ofPcap,
    flag: 'force',
  },
  'replay.output': {
    schema: z.enum(['metrics', 'json'], expected('metrics or json')),
    default: 'metrics',
    value: 'FORMAT',
    help: 'metrics (as on /metrics) or json (with what was read); with a filter, such as --dns or --http, a table of single queries, or json as observe has them',
    commands: ['replay'],
    flag: 'output',
    short: 'o',
    alsoIn: [],
  },
  require: {
    schema: names,
    default: '',
    value: 'NAMES',
    help: 'sources or metrics whose absence makes the exit status 1, with commas between them',
    commands: ['check'],
    alsoIn: [],
  },
  'observe.output': {
    schema: z.enum(['compact', 'table', 'json'], expected('compact, table or json')),
    default: 'compact',
    value: 'FORMAT',
    help: 'compact (a line an event), table (with addresses and sizes) or json (an object a line, docs/events.md)',
    ...ofObserve,
    flag: 'output',
    short: 'o',
  },
  follow: {
    schema: onOff,
    default: false,
    value: '',
    help: 'go on and show what happens until Ctrl-C',
    ...ofObserve,
    short: 'f',
  },
  last: {
    schema: last,
    default: 'auto',
    value: 'NUMBER',
    help: 'the newest so many that the filters let through; auto is 20, with --since all, with --follow none',
    ...ofObserve,
  },
  since: {
    schema: since,
    default: '',
    value: 'TIME',
    help: 'how long ago (30s, 5m, 2h, 1d) or when (2026-11-26T18:20, local time unless it ends in Z or +01:00)',
    ...ofObserve,
  },
  type: {
    schema: eventTypeNames,
    value: 'TYPES',
    help: `what happened: ${eventTypes.join(', ')}; reset is both kinds. DNS queries and HTTP requests that were answered well and in time are shown only if dns or http, or a filter that only they have, is asked for. Of replay: each of a capture instead of metrics`,
    ...asEventFilter,
    short: 't',
  },
  pod: {
    schema: pods,
    value: 'PODS',
    help: 'either end: POD or NAMESPACE/POD, NAMESPACE/ for all pods of it, @netns/NAME for a named network namespace, host for the host itself; a Service, where its address is asked, as a pod of its name; * stands for any characters',
    ...asFilter,
  },
  'from-pod': { schema: pods, value: 'PODS', help: 'who sent the packet, the reset, the segment or the SYN', ...asFilter },
  'to-pod': { schema: pods, value: 'PODS', help: 'whom it was sent to', ...asFilter },
  namespace: {
    schema: namespaces,
    value: 'NAMESPACES',
    help: 'Kubernetes namespace of either end; @netns for all named network namespaces',
    ...asFilter,
    commands: ['observe', 'show edges'],
    short: 'n',
  },
  ip: {
    schema: networks,
    value: 'NETWORKS',
    help: 'address or network of either end, such as 10.0.0.7 or 2001:db8::/32',
    ...asAnyFilter,
  },
  'from-ip': { schema: networks, value: 'NETWORKS', help: 'address or network of who sent it', ...asEventFilter },
  'to-ip': { schema: networks, value: 'NETWORKS', help: 'address or network it was sent to', ...asEventFilter },
  port: { schema: ports, value: 'PORTS', help: 'port of either end, such as 443 or 30000-32767', ...asAnyFilter },
  protocol: { schema: protocols, value: 'PROTOCOLS', help: labels.protocol.values.join(', '), ...asEventFilter },
  reason: {
    schema: reasons,
    value: 'REASONS',
    help: "of drops and of resets sent: the kernel's name for why, such as netfilter_drop or tcp_*",
    ...asFilter,
  },
  category: {
    schema: categories,
    value: 'CATEGORIES',
    help: `of drops, what kind the reason is: ${dropCategories.join(', ')}`,
    ...asFilter,
  },
  kind: {
    schema: kinds,
    value: 'KINDS',
    help: `of retransmissions, what made TCP send again: ${retransmitKinds.join(', ')}`,
    ...asFilter,
  },
  outcome: {
    schema: outcomes,
    value: 'OUTCOMES',
    help: `of connects, how they failed: ${connectOutcomes.filter((outcome) => outcome !== 'connected').join(', ')}`,
    ...asFilter,
  },
  rcode: {
    schema: responseCodes,
    value: 'CODES',
    help: 'of DNS queries, how they were answered: NOERROR, NXDOMAIN, SERVFAIL, REFUSED and others of IANA, or unanswered',
    ...asEventFilter,
  },
  qtype: {
    schema: queryTypes,
    value: 'TYPES',
    help: 'of DNS queries, what they ask for, such as A, AAAA or SRV',
    ...asEventFilter,
  },
  name: {
    schema: dnsNames,
    value: 'NAMES',
    help: 'of DNS queries, the name they ask for; * stands for any characters, also dots',
    ...asEventFilter,
  },
  status: {
    schema: httpStatuses,
    value: 'CODES',
    help: 'of HTTP requests, how they were answered, such as 503 or 5xx; or unanswered',
    ...asEventFilter,
  },
  method: {
    schema: requestMethods,
    value: 'METHODS',
    help: `of HTTP requests: ${httpMethods.join(', ')}`,
    ...asEventFilter,
  },
  path: {
    schema: requestPaths,
    value: 'PATHS',
    help: 'of HTTP requests, without what follows a ?, which is never kept; * stands for any characters, also slashes',
    ...asEventFilter,
  },
  'sockets.output': {
    schema: z.enum(['table', 'wide', 'json'], expected('table, wide or json')),
    default: 'table',
    value: 'FORMAT',
    help: 'table, wide (with containers and command lines) or json (docs/show.md)',
    ...ofSockets,
    flag: 'output',
    short: 'o',
  },
  each: {
    schema: onOff,
    default: false,
    value: '',
    help: 'a line for each socket, those with the most in their queues first; without it, one for those of a process in the same state, the most first',
    ...ofSockets,
  },
  top: {
    schema: top,
    default: 'auto',
    value: 'NUMBER',
    help: `so many lines, or all, which is at most ${limits.socketsShown} sockets; auto is 20, in json all`,
    commands: ['show sockets', 'show edges'],
    alsoIn: [],
  },
  'edges.output': {
    schema: z.enum(['table', 'json'], expected('table or json')),
    default: 'table',
    value: 'FORMAT',
    help: "table, or json (docs/show.md) as Grafana's node graph takes it",
    commands: ['show edges'],
    alsoIn: [],
    flag: 'output',
    short: 'o',
  },
  workload: {
    schema: pods,
    value: 'WORKLOADS',
    help: 'either end: WORKLOAD or NAMESPACE/WORKLOAD, NAMESPACE/ for all of it, host for the host itself, external for what is elsewhere; * stands for any characters',
    ...asFilter,
    commands: ['show edges'],
  },
  'sockets.pod': {
    schema: pods,
    value: 'PODS',
    help: 'whose sockets: POD or NAMESPACE/POD, NAMESPACE/ for all pods of it, @netns/NAME for a named network namespace, host for the host itself; * stands for any characters',
    ...asSocketFilter,
    flag: 'pod',
  },
  'sockets.namespace': {
    schema: namespaces,
    value: 'NAMESPACES',
    help: 'Kubernetes namespace whose sockets; @netns for all named network namespaces',
    ...asSocketFilter,
    flag: 'namespace',
    short: 'n',
  },
  state: {
    schema: states,
    value: 'STATES',
    help: `of TCP, also with dashes: ${tcpStates.join(', ')}`,
    ...asSocketFilter,
    short: 's',
  },
  process: {
    schema: processes,
    value: 'PROCESSES',
    help: 'name or number of the process that has it open; * stands for any characters',
    ...asSocketFilter,
  },
  peer: { schema: networks, value: 'NETWORKS', help: 'address or network of the other end', ...asSocketFilter },
} as const satisfies Record<string, Setting>

/** Flags without a value, each for a filter with one. */
const shorthands: Readonly<Record<string, { readonly of: SettingName; readonly value: string }>> = {
  dns: { of: 'type', value: 'dns' },
  http: { of: 'type', value: 'http' },
}

/** Where commands look for the agent. Alone of all places it may be missing: without privileges nobody can make it. */
export const defaultSocket = settings['web.socket'].default

type SettingName = keyof typeof settings
const rows = Object.entries(settings) as [SettingName, Setting][]
const filterRows = rows.filter(([, { isFilter }]) => isFilter)

/** What a filter lets through: an event that fits one of `only`, or any if that is empty, and none of `not`. */
export interface Choice<T> {
  readonly only: readonly T[]
  readonly not: readonly T[]
}

type Value<S extends Setting> = S extends { readonly isFilter: true }
  ? Choice<z.output<S['schema']>[number]>
  : z.output<S['schema']>

export type Config = { readonly [S in SettingName]: Value<(typeof settings)[S]> } & {
  readonly command: Command
  /** Where the API server is, if this runs in a pod. */
  readonly apiServer: { readonly host: string; readonly port: number } | undefined
  /** Of a command that takes files. */
  readonly files: readonly string[]
  /** The filters as they were given, so that another process can be given the same. */
  readonly filters: readonly GivenFilter[]
  /** Whether the person's terminal takes colour and characters beyond ASCII. */
  readonly terminal: { readonly colour: boolean; readonly unicode: boolean }
}

export type Filters = {
  readonly [S in SettingName as (typeof settings)[S] extends { readonly isFilter: true } ? S : never]: Config[S]
}

export interface GivenFilter {
  /** The name of its flag, without dashes. */
  readonly flag: string
  readonly text: string
  readonly isNot: boolean
}

type Environment = Readonly<Record<string, string | undefined>>

/** A value as given, and where: what an error message begins with. */
interface Given {
  readonly where: string
  readonly value: unknown
}

const variableOf = (name: SettingName): string => `NETVITALS_${name.toUpperCase().replaceAll(/[.-]/g, '_')}`
const defaultOf = ({ default: byDefault }: Setting, command: Command): string | false =>
  typeof byDefault === 'object' ? byDefault[command] : byDefault
const flagOf = (name: SettingName): string => (settings[name] as Setting).flag ?? name

/** Flag over variable over file over default. A text instead is what `--help` or `--version` asks to be printed. */
export function readConfig(argv: readonly string[], environment: Environment = process.env): Config | { readonly print: string } {
  const { command, files, flags, print } = readFlags(argv)
  if (print !== undefined) return { print: print === 'version' ? `netvitals ${readVersion()}\n` : helpText(command) }
  const chosen = command ?? 'serve'
  const variables = readVariables(environment)
  const configFile = String((flags.get('config.file')?.[0] ?? variables.get('config.file'))?.value ?? '')
  const inFile = configFile === '' ? new Map<SettingName, Given>() : readFile(configFile)
  const values = rows.map(([name, setting]) => {
    if (setting.isFilter) return [name, readChoice(setting, flags.get(name) ?? [])]
    const byDefault = { where: `default of ${name}`, value: defaultOf(setting, chosen) }
    const given = flags.get(name)?.[0] ?? variables.get(name) ?? inFile.get(name) ?? byDefault
    return [name, Object.freeze(readValue(setting, given))]
  })
  const filters = Object.freeze(
    filterRows.flatMap(([name]) =>
      (flags.get(name) ?? []).map(({ value, isNot }) => ({ flag: flagOf(name), text: String(value), isNot })),
    ),
  )
  const [apiServer, terminal] = [readApiServer(environment), readTerminal(environment)]
  return Object.freeze({ ...Object.fromEntries(values), command: chosen, files, filters, apiServer, terminal }) as Config
}

/** Filters of a command that do not come from its own command line. @throws ConfigError */
export function readFilters(command: Command, given: readonly GivenFilter[]): Filters {
  const known = filterRows.filter(([, { commands }]) => commands.includes(command))
  const unknown = given.find(({ flag }) => !known.some(([name]) => flagOf(name) === flag))
  if (unknown !== undefined) throw new ConfigError(`${JSON.stringify(unknown.flag)} is no filter of ${command}`)
  const choices = filterRows.map((row) => {
    const ofThis = known.includes(row) ? given.filter(({ flag }) => flag === flagOf(row[0])) : []
    return [
      row[0],
      readChoice(
        row[1],
        ofThis.map(({ flag, text, isNot }) => ({ where: flag, value: text, isNot })),
      ),
    ]
  })
  return Object.freeze(Object.fromEntries(choices)) as Filters
}

function readValue({ schema }: Setting, { where, value }: Given): unknown {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw new ConfigError(`${where}: ${result.error.issues[0]?.message}; it is ${JSON.stringify(value)}`)
}

function readChoice(setting: Setting, flags: readonly GivenFlag[]): Choice<unknown> {
  const read = (wanted: boolean): readonly unknown[] =>
    Object.freeze(flags.filter(({ isNot }) => isNot === wanted).flatMap((flag) => readValue(setting, flag)))
  return Object.freeze({ only: read(false), not: read(true) })
}

interface GivenFlag extends Given {
  /** There is --not before it. */
  readonly isNot: boolean
}

/** Neither settings nor commands. */
const otherFlags = { help: { type: 'boolean', short: 'h' }, version: { type: 'boolean' }, not: { type: 'boolean' } } as const

function readFlags(argv: readonly string[]): {
  command: Command | undefined
  files: readonly string[]
  flags: ReadonlyMap<SettingName, readonly GivenFlag[]>
  print: 'help' | 'version' | undefined
} {
  const { tokens } = parseArgs({
    args: [...argv],
    options: {
      ...Object.fromEntries(
        rows.map(([name, { short, value }]) => {
          const type = value === '' ? ('boolean' as const) : ('string' as const)
          return [flagOf(name), { type, ...(short && { short }) }]
        }),
      ),
      ...Object.fromEntries(Object.keys(shorthands).map((name) => [name, { type: 'boolean' as const }])),
      ...otherFlags,
    },
    strict: false,
    allowPositionals: true,
    tokens: true,
  })
  const words = tokens.filter((token) => token.kind === 'positional').map(({ value }) => value)
  const command = everyCommand.find((name) => name === words.slice(0, wordsOf(name)).join(' '))
  if (words.length > 0 && command === undefined) {
    const below = everyCommand.filter((name) => name.startsWith(`${words[0]} `))
    const asked = JSON.stringify(words.slice(0, below.length > 0 ? 2 : 1).join(' '))
    throw new ConfigError(`${asked} is no command; there are ${(below.length > 0 ? below : everyCommand).join(', ')}`)
  }
  const seeHelp = `see netvitals ${command === undefined ? '' : `${command} `}--help`

  const flags = new Map<SettingName, readonly GivenFlag[]>()
  let print: 'help' | 'version' | undefined
  let isNot = false
  const notBeforeFilter = `--not stands before a filter, such as --not --port 22; ${seeHelp}`
  for (const token of tokens) {
    if (token.kind !== 'option') continue
    const { name, rawName, value, inlineValue } = token
    if (name === 'help' || name === 'version') {
      print ??= name
      continue
    }
    if (name === 'not') {
      if (isNot || value !== undefined) throw new ConfigError(notBeforeFilter)
      isNot = true
      continue
    }
    const shorthand = shorthands[name]
    const { setting, settingName } = findSetting(shorthand?.of ?? name, command ?? 'serve', rawName, seeHelp)
    if (isNot && !setting.isFilter) throw new ConfigError(notBeforeFilter)
    const takesValue = setting.value !== '' && shorthand === undefined
    if (!takesValue && value !== undefined) throw new ConfigError(`${rawName} takes no value`)
    if (takesValue && (value === undefined || (!inlineValue && /^-./.test(value))))
      throw new ConfigError(`${rawName} needs a value: ${rawName} ${setting.value}`)
    const before = flags.get(settingName) ?? []
    if (before.length > 0 && !setting.isFilter) throw new ConfigError(`${rawName} is given twice; give it once`)
    flags.set(settingName, [...before, { where: rawName, value: shorthand?.value ?? value ?? true, isNot }])
    isNot = false
  }
  // The value of a flag that does not exist would look like one.
  const files = Object.freeze(words.slice(command === undefined ? 0 : wordsOf(command)))
  if (files[0] !== undefined && !takingFiles.includes(command ?? 'serve'))
    throw new ConfigError(`${JSON.stringify(files[0])} is one argument too many; ${seeHelp}`)
  if (isNot && print === undefined) throw new ConfigError(notBeforeFilter)
  return { command, files, flags, print }
}

function findSetting(
  flag: string,
  command: Command,
  rawName: string,
  seeHelp: string,
): { setting: Setting; settingName: SettingName } {
  const ofThisFlag = rows.filter(([name, { isFileOnly }]) => flagOf(name) === flag && !isFileOnly)
  if (ofThisFlag.length === 0) throw new ConfigError(`${rawName} is no flag; ${seeHelp}`)
  const found = ofThisFlag.find(([, { commands }]) => commands.includes(command))
  if (found !== undefined) return { settingName: found[0], setting: found[1] }
  const owners = ofThisFlag.flatMap(([, { commands }]) => commands)
  throw new ConfigError(`${rawName} is a flag of ${owners.join(', ')}, not of ${command}; ${seeHelp}`)
}

/** Kubernetes puts these into every container for a Service that is called netvitals or netvitals-something. */
const ofKubernetes = /^NETVITALS_(.*_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$/

function readVariables(environment: Environment): Map<SettingName, Given> {
  const given = new Map<SettingName, Given>()
  const known = new Map(rows.filter(([, { alsoIn }]) => alsoIn.includes('environment')).map(([name]) => [variableOf(name), name]))
  for (const [variable, value] of Object.entries(environment)) {
    if (!variable.startsWith('NETVITALS_')) continue
    const name = known.get(variable)
    if (name !== undefined) given.set(name, { where: variable, value })
    else if (!ofKubernetes.test(variable))
      throw new ConfigError(`${variable} is no variable of netvitals; there are ${[...known.keys()].join(', ')}`)
  }
  return given
}

function readFile(file: string): Map<SettingName, Given> {
  const { value: root, where } = parseYamlMapping(readConfigFile(file), file)
  const known = rows.filter(([, { alsoIn }]) => alsoIn.includes('file')).map(([name]) => ({ name, words: name.split('.') }))
  const given = new Map<SettingName, Given>()

  function readMapping(mapping: object, above: readonly string[]): void {
    for (const [word, value] of Object.entries(mapping)) {
      const path = [...above, word]
      const below = known.filter(({ words }) => path.every((each, i) => each === words[i]))
      const exact = below.find(({ words }) => words.length === path.length)
      if (exact !== undefined) given.set(exact.name, { where: `${where(path)}: ${exact.name}`, value })
      else if (below.length > 0 && (value === null || (typeof value === 'object' && !Array.isArray(value))))
        readMapping(value ?? {}, path)
      else {
        const here = known.filter(({ words }) => above.every((each, i) => each === words[i]))
        const possible = below.length > 0 ? below : here
        throw new ConfigError(
          `${where(path)}: ${path.join('.')} is no setting; there are ${possible.map(({ name }) => name).join(', ')}`,
        )
      }
    }
  }

  readMapping(root, [])
  return given
}

/** As kubelet tells every container. */
function readApiServer({ KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port }: Environment): Config['apiServer'] {
  return host ? Object.freeze({ host, port: Number(port) || 443 }) : undefined
}

function readTerminal(environment: Environment): Config['terminal'] {
  const locale = environment.LC_ALL || environment.LC_CTYPE || environment.LANG || ''
  return Object.freeze({
    colour: !environment.NO_COLOR && environment.TERM !== 'dumb',
    unicode: /utf-?8/i.test(locale),
  })
}

/** Of package.json, which is one directory further up once the code is built. */
export function readVersion(): string {
  const file = ['../package.json', '../../package.json'].map((name) => new URL(name, import.meta.url)).find(fs.existsSync)
  return file === undefined ? 'unknown' : String(JSON.parse(fs.readFileSync(file, 'utf8')).version)
}

// ------------------------------------------------------------------------------------------------------------------ help

const width = 100

function wrap(text: string, indent: number): string {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line.length + word.length + 1 > width - indent) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line].map((text) => `${' '.repeat(indent)}${text}`).join('\n')
}

function describeSetting(name: SettingName, setting: Setting, command: Command): string {
  const { short, value, help, alsoIn } = setting
  const byDefault = defaultOf(setting, command)
  const notes = [
    ...(byDefault === '' || byDefault === false ? [] : [`default ${byDefault}`]),
    ...(setting.isFileOnly ? ['no flag: in the file of --config.file'] : []),
    ...(alsoIn.includes('environment') ? [`variable ${variableOf(name)}`] : []),
  ]
  const flag = setting.isFileOnly
    ? `  ${name}:`
    : `  ${short === undefined ? '' : `-${short}, `}--${flagOf(name)} ${value}`.trimEnd()
  return [flag, wrap(help, 6), ...(notes.length === 0 ? [] : [wrap(`(${notes.join(', ')})`, 6)])].join('\n')
}

const describeShorthands = (name: SettingName): readonly string[] =>
  Object.entries(shorthands)
    .filter(([, { of }]) => of === name)
    .map(([flag, { value }]) => `  --${flag}\n${wrap(`short for --${flagOf(name)} ${value}`, 6)}`)

const filterRules =
  'Filters. What fits every one of these flags is shown; the values of one, with commas between them or by repeating it, are alternatives:'

function helpText(command: Command | undefined): string {
  const shown = command ?? 'serve'
  const flags = rows.filter(([, setting]) => setting.commands.includes(shown))
  const describe = (wanted: boolean): string[] =>
    flags
      .filter(([, { isFilter = false }]) => isFilter === wanted)
      .flatMap(([name, setting]) => [describeSetting(name, setting, shown), ...describeShorthands(name)])
  const filters = describe(true)
  const usage =
    command === undefined
      ? [
          "netvitals: the health of this machine's network, as metrics",
          '',
          'Usage: netvitals [COMMAND] [FLAGS]',
          '',
          'Commands:',
          ...everyCommand.map((name) => `  ${name.padEnd(14)}${commands[name]}`),
          '',
          'netvitals COMMAND --help shows the flags of a command. Those of serve:',
        ]
      : [
          `netvitals ${command}: ${commands[command]}`,
          '',
          `Usage: netvitals ${command} [FLAGS]${takingFiles.includes(command) ? ' [FILE…]' : ''}`,
          '',
          'Flags:',
        ]
  return [
    ...usage,
    ...describe(false),
    '  -h, --help',
    '  --version',
    ...(filters.length === 0
      ? []
      : ['', wrap(filterRules, 0), '  --not', wrap('leaves out what fits the next flag', 6), ...filters]),
    '',
    wrap('A flag goes before its NETVITALS_ variable, that before the file of --config.file, that before the default.', 0),
    '',
  ].join('\n')
}
