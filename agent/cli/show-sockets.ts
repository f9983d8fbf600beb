import { createAgent } from '../agent.ts'
import type { Config } from '../config.ts'
import { AgentError, askAgent } from '../http/socket.ts'
import { createLog } from '../log.ts'
import type { SocketAnswer } from '../socket-list.ts'
import { toJson } from './check.ts'
import { restOf, socketTableOf } from './socket-text.ts'
import type { Terminal } from './terminal.ts'

/** Without --top, in a table. */
const topOfTable = 20

/** Shows TCP sockets and whose they are: as the running agent sees them, or else with the privileges of this command. Exit status 1 if the agent refuses. */
export async function showSockets(config: Config, terminal: Terminal): Promise<number> {
  const { 'sockets.output': output } = config
  const isJson = output === 'json'
  const top = config.top === 'auto' ? (isJson ? Number.POSITIVE_INFINITY : topOfTable) : config.top
  const answer = await ask(config, top, terminal)
  if (isJson) {
    await terminal.print(`${toJson(answer)}\n`)
    return 0
  }
  if (answer.sockets > 0)
    await terminal.print(`${socketTableOf(answer, { ...terminal, isWide: output === 'wide' })}${restOf(answer, terminal)}`)
  for (const note of answer.notes) terminal.warn(note)
  if (answer.sockets === 0) terminal.warn('there is no such socket')
  return 0
}

/** Of the running agent, or without one of this process. */
async function ask(config: Config, top: number, terminal: Terminal): Promise<SocketAnswer> {
  const socket = config['web.socket']
  if (socket !== '') {
    try {
      const answer = await askAgent(socket, urlOf(config, top))
      if (isAnswer(answer)) return answer
      if (answer !== undefined) throw new AgentError(`the agent at ${socket} tells sockets in another form`)
    } catch (error) {
      if (!(error instanceof AgentError)) throw error
      terminal.warn(`${error.message}; this command looks by itself`)
    }
  }
  const agent = await createAgent(config, createLog(config['log.level']))
  try {
    await agent.start()
    await agent.sweep.take() // finds and names the network namespaces
    return await agent.sockets.ask({ filters: config, each: config.each, top }, new AbortController().signal)
  } finally {
    await agent.stop()
  }
}

function urlOf({ each, filters }: Config, top: number): string {
  const query = new URLSearchParams(
    filters.map(({ flag, text, isNot }): [string, string] => [`${isNot ? 'not-' : ''}${flag}`, text]),
  )
  if (each) query.set('each', '1')
  if (top < Number.POSITIVE_INFINITY) query.set('top', String(top))
  return `/api/v1/sockets?${query}`
}

function isAnswer(answer: unknown): answer is SocketAnswer {
  const { sockets, groups, each, notShown, notes } = Object(answer) as Partial<SocketAnswer>
  const isList = Array.isArray(groups ?? each)
  return typeof sockets === 'number' && isList && notShown instanceof Object && Array.isArray(notes)
}
