import { once } from 'node:events'
import { createAgent } from '../agent.ts'
import { type CheckReport, findMissing } from '../check.ts'
import type { Config } from '../config.ts'
import { type EventMessage, eventSchemaVersion } from '../events.ts'
import { readNodeName } from '../host/machine.ts'
import { createEventStreams, type EventStreamHeader } from '../http/event-stream.ts'
import { AgentError, askAgent, followAgent, linesOf } from '../http/socket.ts'
import { createLog } from '../log.ts'
import type { EventType } from '../metrics/labels.ts'
import { createFilter, isRoutineAskedFor, typesOf } from './event-filter.ts'
import { createEventText } from './event-text.ts'
import type { Terminal } from './terminal.ts'

/** Where single events come from. */
const sourceOf = (type: EventType): string => (type === 'dns' || type === 'http' ? `pcap-${type}` : 'trace-events')
/** Where nothing else is asked for. */
const lastShown = 20
const all = Number.POSITIVE_INFINITY

/** Shows single events: those of the running agent, or else its own until SIGTERM or SIGINT. Exit status 1 if there can be none, or the agent ended. */
export async function observe(config: Config, terminal: Terminal): Promise<number> {
  const stopped = new AbortController()
  const heard = new AbortController() // after one of them, Node's own way with signals is back
  for (const name of ['SIGTERM', 'SIGINT'])
    once(process, name, { signal: heard.signal }).then(
      () => {
        heard.abort()
        stopped.abort()
      },
      () => undefined,
    )
  try {
    return await watch(config, terminal, stopped.signal)
  } catch (error) {
    if (!(error instanceof AgentError)) throw error
    terminal.warn(error.message)
    return 1
  } finally {
    heard.abort()
  }
}

async function watch(config: Config, terminal: Terminal, signal: AbortSignal): Promise<number> {
  const socket = config['web.socket']
  const asked = socket === '' ? 'no agent was asked' : await ask(socket)
  if (typeof asked !== 'string') return watchAgent(asked, config, terminal, signal)
  terminal.warn(`${asked}; this command watches by itself, from now on`)
  return watchAlone(config, terminal, signal)
}

/** What the agent gives, or why there is none. */
async function ask(socket: string): Promise<CheckReport | string> {
  try {
    const report = await askAgent(socket, '/api/v1/check')
    return report === undefined ? `no agent runs at ${socket}` : (report as CheckReport)
  } catch (error) {
    if (!(error instanceof AgentError)) throw error
    return error.message
  }
}

async function watchAgent(report: CheckReport, config: Config, terminal: Terminal, signal: AbortSignal): Promise<number> {
  if (!isGiven(report, config, terminal)) return 1
  const { follow } = config
  const socket = config['web.socket']
  const shown = countRecent(config)
  const url = `/api/v1/events?follow=${follow ? 1 : 0}&routine=${isRoutineAskedFor(config) ? 1 : 0}${shown === 0 ? '&last=0' : ''}`
  const { kept, printed } = await showLines(followAgent(socket, url, signal), shown, config, terminal)
  if (signal.aborted) return 0
  if (follow) {
    terminal.warn(`the agent at ${socket} has stopped`)
    return 1
  }
  if (printed === 0 && shown > 0)
    terminal.warn(kept === 0 ? 'there was no event yet' : `of the ${kept} events that are kept none is to be shown`)
  return 0
}

async function watchAlone(config: Config, terminal: Terminal, signal: AbortSignal): Promise<number> {
  const agent = await createAgent(config, createLog(config['log.level']))
  const streams = createEventStreams(agent.events, readNodeName(config))
  let stayAwake: NodeJS.Timeout | undefined // nothing else that waits keeps a process from ending
  signal.addEventListener('abort', () => streams.stop(), { once: true })
  try {
    await agent.start()
    if (!isGiven(await agent.check(), config, terminal)) return 1
    if (signal.aborted) return 0
    agent.sweep.start() // finds namespaces that come
    stayAwake = setInterval(() => undefined, 60_000)
    const stream = streams.open({ last: all, follow: true, routine: isRoutineAskedFor(config) })
    if (stream !== undefined) await showLines(linesOf(stream, 'this command'), all, config, terminal)
    return 0
  } finally {
    clearInterval(stayAwake)
    await agent.stop()
  }
}

/** Says what of the single events asked for this machine does not give. False: none of them. */
function isGiven(report: CheckReport, config: Config, terminal: Terminal): boolean {
  const types = typesOf(config)
  const sources = [...new Set(types.map(sourceOf))]
  const missing = findMissing(report, sources)
  for (const { name, reason } of missing) {
    const isOptional = report.off.includes(name) || name === sourceOf('http') // which has no port of its own
    const isUnasked = isOptional && config.type.only.length === 0 && missing.length < sources.length
    if (isUnasked) continue
    const ofIt = types.filter((type) => sourceOf(type) === name)
    const which = ofIt.length < types.length ? ` of type ${ofIt.join(', ')}` : ''
    terminal.warn(`no single events${which} here: ${reason}; see netvitals check`)
  }
  for (const { name, caveats } of report.sources) if (sources.includes(name)) caveats.forEach(terminal.warn)
  return missing.length < sources.length || sources.length === 0
}

function countRecent({ last, since, follow }: Config): number {
  if (last !== 'auto') return last
  if (since !== Number.NEGATIVE_INFINITY) return all
  return follow ? 0 : lastShown
}

/** Prints the newest so many of what was before, and all that follows, of what is not filtered out. */
async function showLines(
  lines: AsyncIterable<string>,
  recentShown: number,
  config: Config,
  terminal: Terminal,
): Promise<{ readonly kept: number; readonly printed: number }> {
  const isShown = createFilter(config)
  const text = createEventText(config['observe.output'], terminal)
  const recent: EventMessage[] = []
  let header: EventStreamHeader | undefined
  let printed = 0

  async function print(messages: readonly EventMessage[]): Promise<void> {
    printed += messages.length
    await terminal.print(text.linesOf(messages))
  }

  for await (const line of lines) {
    if (header === undefined) {
      header = readHeader(line)
      if (header.recent === 0) await print([])
    } else if (recent.length < header.recent) {
      recent.push(readMessage(line))
      if (recent.length === header.recent) await print(takeNewest(recent.filter(isShown), recentShown))
    } else {
      const message = readMessage(line)
      if (isShown(message)) await print([message])
    }
  }
  return { kept: recent.length, printed }
}

/** So many events, and what was not shown among them. */
function takeNewest(messages: readonly EventMessage[], most: number): readonly EventMessage[] {
  let events = 0
  for (let i = messages.length - 1; i >= 0; i--)
    if (messages[i]?.type !== 'not_shown' && ++events > most) return messages.slice(i + 1)
  return messages
}

function readHeader(line: string): EventStreamHeader {
  const header = parse(line) as Partial<EventStreamHeader>
  if (header.schemaVersion !== eventSchemaVersion || typeof header.recent !== 'number')
    throw new AgentError('the agent tells events in another form; use the netvitals of the same version')
  return header as EventStreamHeader
}

function readMessage(line: string): EventMessage {
  const message = parse(line) as { readonly [field: string]: unknown }
  const { time, type, source, destination } = message
  const isWhole = type === 'not_shown' || (source instanceof Object && destination instanceof Object)
  if (typeof time === 'string' && typeof type === 'string' && isWhole) return message as unknown as EventMessage
  throw new AgentError('the agent tells something that is no event')
}

function parse(line: string): object {
  try {
    return Object(JSON.parse(line))
  } catch {
    throw new AgentError('the agent tells something that is no JSON')
  }
}
