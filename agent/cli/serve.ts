import { once } from 'node:events'
import { type Agent, createAgent } from '../agent.ts'
import type { Config } from '../config.ts'
import { createLog } from '../log.ts'
import { sourcesOf, titleOf, totalsOf } from './report-text.ts'
import type { Terminal } from './terminal.ts'

/** Runs until SIGTERM or SIGINT; a second one ends it at once. */
export async function serve(config: Config, terminal: Terminal): Promise<number> {
  const heard = new AbortController() // after one of them, Node's own way with signals is back
  const signals = ['SIGTERM', 'SIGINT'].map((name) => once(process, name, { signal: heard.signal }))
  const told = Promise.race(signals).finally(() => heard.abort())
  const log = createLog(config['log.level'])
  const agent = await createAgent(config, log)
  try {
    await Promise.race([start(agent, terminal), told])
    await told
    log.info('stopping')
    return 0
  } finally {
    await agent.stop()
  }
}

async function start(agent: Agent, terminal: Terminal): Promise<void> {
  const { url, socket } = await agent.serve()
  const report = await agent.check()
  await terminal.print(
    [
      titleOf(report, terminal),
      '',
      `  page     ${url}`,
      `  metrics  ${url}metrics`,
      `  socket   ${'file' in socket ? socket.file : `none: ${socket.missing}`}`,
      '',
      `${sourcesOf(report, terminal)}`,
      `${totalsOf(report)}. \`netvitals check\` shows this again.`,
      '',
    ].join('\n'),
  )
}
