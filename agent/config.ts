import fs from 'node:fs'
import { parseArgs } from 'node:util'
import { z } from 'zod/v3' // a seventh of the memory of v4, which loads every language's messages
import { ConfigError, parseYamlMapping, readConfigFile } from './config-file.ts'
import { logLevels } from './log.ts'

export const commands = {
  serve: 'measure and answer HTTP until stopped (this is the default)',
  sweep: 'measure once and print the metrics',
  check: 'say what this machine can give, what it cannot, and why',
  prove: 'cause faults in throw-away network namespaces and compare what is counted',
} as const
export type Command = keyof typeof commands
const everyCommand = Object.keys(commands) as Command[]

interface Setting {
  /** From text, as flags and variables give it, and from what a YAML file may hold. Its errors begin with "expected". */
  readonly schema: z.ZodType
  /** As text; of each command if they differ. */
  readonly default: string | Readonly<Record<Command, string>>
  /** What stands for the value in the help. */
  readonly value: string
  readonly help: string
  readonly commands: readonly Command[]
  readonly short?: string
  /** Where it may stand beside the flag. */
  readonly alsoIn: readonly ('environment' | 'file')[]
}

const expected = (what: string): { errorMap: () => { message: string } } => ({
  errorMap: () => ({ message: `expected ${what}` }),
})

export interface ListenAddress {
  /** Undefined: every address of the machine. */
  readonly host: string | undefined
  readonly port: number
}

const addressForms = 'HOST:PORT, [IPv6]:PORT or :PORT for every address, such as 127.0.0.1:10477'
const listenAddress = z.string(expected(addressForms)).transform((text, context): ListenAddress => {
  const match = /^(?:\[([0-9a-f:.]+(?:%\w+)?)\]|([\w.-]*)):(\d{1,5})$/i.exec(text)
  const port = Number(match?.[3])
  if (match !== null && port <= 65535) return { host: match[1] ?? (match[2] || undefined), port }
  context.addIssue({ code: 'custom', message: `expected ${addressForms}` })
  return z.NEVER
})

const zeroWindowForms = 'auto, or seconds such as 65, or 0 for never'
const zeroWindow = z.union([z.number(), z.string()], expected(zeroWindowForms)).transform((given, context): number | 'auto' => {
  if (given === 'auto') return given
  if (/^\d+(\.\d+)?$/.test(String(given))) return Number(given)
  context.addIssue({ code: 'custom', message: `expected ${zeroWindowForms}` })
  return z.NEVER
})

const file = z.string(expected('the name of a file'))

/** `a,b` in a flag or a variable; a list too in a file. */
const names = z
  .union([z.array(z.string()), z.string()], expected('names with commas between them'))
  .transform((given) => (typeof given === 'string' ? given.split(',') : given).map((name) => name.trim()).filter(Boolean))

const anywhere = ['environment', 'file'] as const

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
    schema: file,
    default: '',
    value: 'FILE',
    help: "TLS and authentication, in the format of Prometheus' exporters; read again when it changes",
    commands: ['serve'],
    alsoIn: anywhere,
  },
  'web.socket': {
    schema: file,
    default: '/run/netvitals/agent.sock',
    value: 'FILE',
    help: 'Unix socket through which commands on this machine ask the agent; empty for none',
    commands: ['serve', 'check'],
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
    commands: ['serve', 'sweep', 'check'],
    alsoIn: anywhere,
  },
  'log.level': {
    schema: z.enum(logLevels, expected(`one of ${logLevels.join(', ')}`)),
    default: { serve: 'info', sweep: 'error', check: 'silent', prove: 'silent' },
    value: 'LEVEL',
    help: `what to log on standard error: ${logLevels.join(', ')}`,
    commands: everyCommand,
    alsoIn: anywhere,
  },
  'config.file': {
    schema: file,
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
    commands: ['sweep'],
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
  require: {
    schema: names,
    default: '',
    value: 'NAMES',
    help: 'sources or metrics whose absence makes the exit status 1, with commas between them',
    commands: ['check'],
    alsoIn: [],
  },
} as const satisfies Record<string, Setting>

/** Where commands look for the agent. Alone of all places it may be missing: without privileges nobody can make it. */
export const defaultSocket = settings['web.socket'].default

type SettingName = keyof typeof settings
const rows = Object.entries(settings) as [SettingName, Setting][]

export type Config = { readonly [S in SettingName]: z.output<(typeof settings)[S]['schema']> } & {
  readonly command: Command
  /** Whether the person's terminal takes colour and characters beyond ASCII. */
  readonly terminal: { readonly colour: boolean; readonly unicode: boolean }
}

type Environment = Readonly<Record<string, string | undefined>>

/** A value as given, and where: what an error message begins with. */
interface Given {
  readonly where: string
  readonly value: unknown
}

const variableOf = (name: SettingName): string => `NETVITALS_${name.toUpperCase().replaceAll(/[.-]/g, '_')}`
const defaultOf = (setting: Setting, command: Command): string =>
  typeof setting.default === 'string' ? setting.default : setting.default[command]

/** Flag over variable over file over default. A text instead is what `--help` or `--version` asks to be printed. */
export function readConfig(argv: readonly string[], environment: Environment = process.env): Config | { readonly print: string } {
  const { command, flags, print } = readFlags(argv)
  if (print !== undefined) return { print: print === 'version' ? `netvitals ${readVersion()}\n` : helpText(command) }
  const chosen = command ?? 'serve'
  const variables = readVariables(environment)
  const configFile = String((flags.get('config.file') ?? variables.get('config.file'))?.value ?? '')
  const inFile = configFile === '' ? new Map<SettingName, Given>() : readFile(configFile)
  const values = rows.map(([name, setting]) => {
    const byDefault = { where: `default of ${name}`, value: defaultOf(setting, chosen) }
    const { where, value } = flags.get(name) ?? variables.get(name) ?? inFile.get(name) ?? byDefault
    const result = setting.schema.safeParse(value)
    if (result.success) return [name, Object.freeze(result.data)]
    throw new ConfigError(`${where}: ${result.error.issues[0]?.message}; it is ${JSON.stringify(value)}`)
  })
  return Object.freeze({ ...Object.fromEntries(values), command: chosen, terminal: readTerminal(environment) }) as Config
}

function readFlags(argv: readonly string[]): {
  command: Command | undefined
  flags: Map<SettingName, Given>
  print: 'help' | 'version' | undefined
} {
  const { tokens } = parseArgs({
    args: [...argv],
    options: {
      ...Object.fromEntries(rows.map(([name, { short }]) => [name, { type: 'string', ...(short && { short }) } as const])),
      help: { type: 'boolean', short: 'h' },
      version: { type: 'boolean' },
    },
    strict: false,
    allowPositionals: true,
    tokens: true,
  })
  const words = tokens.filter((token) => token.kind === 'positional').map(({ value }) => value)
  const command = everyCommand.find((name) => name === words[0])
  if (words.length > 0 && command === undefined)
    throw new ConfigError(`${JSON.stringify(words[0])} is no command; there are ${everyCommand.join(', ')}`)
  const seeHelp = `see netvitals ${command === undefined ? '' : `${command} `}--help`
  if (words[1] !== undefined) throw new ConfigError(`${JSON.stringify(words[1])} is one argument too many; ${seeHelp}`)

  const flags = new Map<SettingName, Given>()
  let print: 'help' | 'version' | undefined
  for (const token of tokens) {
    if (token.kind !== 'option') continue
    const { name, rawName, value, inlineValue } = token
    if (name === 'help' || name === 'version') {
      print ??= name
      continue
    }
    const setting: Setting | undefined = rows.find(([known]) => known === name)?.[1]
    if (setting === undefined) throw new ConfigError(`${rawName} is no flag; ${seeHelp}`)
    if (!setting.commands.includes(command ?? 'serve'))
      throw new ConfigError(`${rawName} is a flag of ${setting.commands.join(', ')}, not of ${command ?? 'serve'}; ${seeHelp}`)
    if (value === undefined || (!inlineValue && value.startsWith('-')))
      throw new ConfigError(`${rawName} needs a value: ${rawName} ${setting.value}`)
    if (flags.has(name as SettingName)) throw new ConfigError(`${rawName} is given twice; give it once`)
    flags.set(name as SettingName, { where: rawName, value })
  }
  return { command, flags, print }
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
    ...(byDefault === '' ? [] : [`default ${byDefault}`]),
    ...(alsoIn.includes('environment') ? [`variable ${variableOf(name)}`] : []),
  ]
  const flag = `  ${short === undefined ? '' : `-${short}, `}--${name} ${value}`
  return [flag, wrap(help, 6), ...(notes.length === 0 ? [] : [wrap(`(${notes.join(', ')})`, 6)])].join('\n')
}

function helpText(command: Command | undefined): string {
  const shown = command ?? 'serve'
  const flags = rows.filter(([, setting]) => setting.commands.includes(shown))
  const usage =
    command === undefined
      ? [
          "netvitals: the health of this machine's network, as metrics",
          '',
          'Usage: netvitals [COMMAND] [FLAGS]',
          '',
          'Commands:',
          ...everyCommand.map((name) => `  ${name.padEnd(8)}${commands[name]}`),
          '',
          'netvitals COMMAND --help shows the flags of a command. Those of serve:',
        ]
      : [`netvitals ${command}: ${commands[command]}`, '', `Usage: netvitals ${command} [FLAGS]`, '', 'Flags:']
  return [
    ...usage,
    ...flags.map(([name, setting]) => describeSetting(name, setting, shown)),
    '  -h, --help',
    '  --version',
    '',
    wrap('A flag goes before its NETVITALS_ variable, that before the file of --config.file, that before the default.', 0),
    '',
  ].join('\n')
}
