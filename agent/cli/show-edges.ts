import type { Config } from '../config.ts'
import { createEdgeGraph, type Edge, type EdgeEnd, type EdgeGraph, type GraphEdge } from '../edge-graph.ts'
import type { EventEnd } from '../events.ts'
import { isLetThrough, isNamed } from '../filter.ts'
import { AgentError, askAgent } from '../http/socket.ts'
import { toJson } from './check.ts'
import { edgeTableOf } from './edge-text.ts'
import type { Terminal } from './terminal.ts'

/** Without --top, in a table. */
const topOfTable = 20

/** Shows which workloads talk to which, as the running agent has counted it. Exit status 1 without one: what it shows takes time to count. */
export async function showEdges(config: Config, terminal: Terminal): Promise<number> {
  try {
    await show(await ask(config['web.socket']), config, terminal)
    return 0
  } catch (error) {
    if (!(error instanceof AgentError)) throw error
    terminal.warn(error.message)
    return 1
  }
}

async function ask(socket: string): Promise<EdgeGraph> {
  const answer = socket === '' ? undefined : ((await askAgent(socket, '/api/v1/edges')) as Partial<EdgeGraph> | undefined)
  if (answer === undefined)
    throw new AgentError(`no agent runs at ${socket || 'a socket that is switched off'}; edges are counted while it runs`)
  if (!Array.isArray(answer.edges) || typeof answer.seconds !== 'number')
    throw new AgentError(`the agent at ${socket} tells edges in another form`)
  return answer as EdgeGraph
}

async function show({ edges, node, seconds }: EdgeGraph, config: Config, terminal: Terminal): Promise<void> {
  const fitting = edges.filter((edge) => fits(edge, config))
  const isJson = config['edges.output'] === 'json'
  const top = config.top === 'auto' ? (isJson ? Number.POSITIVE_INFINITY : topOfTable) : config.top
  const shown: readonly GraphEdge[] = fitting.slice(0, top)
  if (isJson) return terminal.print(`${toJson({ ...createEdgeGraph(shown, node), seconds })}\n`)
  if (shown.length > 0) await terminal.print(edgeTableOf(shown, terminal))
  const rest = fitting.length - shown.length
  if (rest > 0)
    await terminal.print(`${terminal.unicode ? '…' : '...'} ${rest.toLocaleString('en')} more: --top all shows more\n`)
  if (shown.length === 0) terminal.warn(edges.length === 0 ? 'there was no connection yet' : 'there is no such edge')
}

function fits({ client, server }: Edge, { namespace, workload }: Config): boolean {
  const ends = [client, server].map(toNamed)
  return [namespace, workload].every((choice) => isLetThrough(choice, (pattern) => ends.some((end) => isNamed(pattern, end))))
}

/** As filters know the host: without a name. */
const toNamed = ({ namespace, workload }: EdgeEnd): EventEnd => ({
  namespace,
  pod: namespace === '' && workload === 'host' ? '' : workload,
})
