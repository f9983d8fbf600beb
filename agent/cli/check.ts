import { createAgent } from '../agent.ts'
import { type CheckReport, findMissing } from '../check.ts'
import type { Config } from '../config.ts'
import { askAgent } from '../http/socket.ts'
import { createLog } from '../log.ts'
import { sourcesOf, titleOf, totalsOf } from './report-text.ts'
import type { Terminal } from './terminal.ts'

/** Says what this machine can give. Exit status 1 if a source failed, or if something that is required is absent. */
export async function check(config: Config, terminal: Terminal): Promise<number> {
  const { report, origin } = await findReport(config, terminal)
  const missing = findMissing(report, config.require)
  if (config.output === 'json') await terminal.print(`${toJson(report)}\n`)
  else await terminal.print(`${titleOf(report, terminal)}\n${origin}\n\n${sourcesOf(report, terminal)}\n${totalsOf(report)}\n`)
  for (const { name, reason } of missing) terminal.warn(`${name} is required: ${reason}`)
  return report.outcome === 'failed' || missing.length > 0 ? 1 : 0
}

async function findReport(config: Config, terminal: Terminal): Promise<{ report: CheckReport; origin: string }> {
  const socket = config['web.socket']
  if (config.root === '/' && socket !== '') {
    try {
      const answer = await askAgent(socket, '/api/v1/check')
      if (answer !== undefined) return { report: answer as CheckReport, origin: `As the running agent sees it (${socket}).` }
    } catch (error) {
      terminal.warn(`${(error as Error).message}; this command measures by itself`)
    }
  }
  const agent = await createAgent(config, createLog(config['log.level']))
  try {
    await agent.start()
    return { report: await agent.check(), origin: 'No agent was asked: this command measured once by itself.' }
  } finally {
    await agent.stop()
  }
}

/** JSON that is safe to look at on a terminal too. */
export const toJson = (report: object): string => neutralise(JSON.stringify(report, undefined, 2))

/** The same in one line. */
export const toJsonLine = (value: object): string => neutralise(JSON.stringify(value))

function neutralise(json: string): string {
  const asUnits = (text: string): string =>
    text
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join('')
  return json.replaceAll(/[\u007f-\u009f\p{Cf}\p{Zl}\p{Zp}]/gu, asUnits)
}
