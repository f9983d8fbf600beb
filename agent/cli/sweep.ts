import { createAgent } from '../agent.ts'
import type { Config } from '../config.ts'
import { createLog } from '../log.ts'
import { renderExposition } from '../metrics/render.ts'
import type { Terminal } from './terminal.ts'

/** One sweep to standard output, with true values. Exit status 1 if nothing at all could be read. */
export async function sweep(config: Config, terminal: Terminal): Promise<number> {
  const agent = await createAgent(config, createLog(config['log.level']))
  try {
    await agent.start()
    const snapshot = await agent.sweep.take()
    await terminal.print(renderExposition([...snapshot.families, ...(await agent.self.families())], config.format))
    return snapshot.sources.some(({ outcome }) => outcome === 'ok') ? 0 : 1
  } finally {
    await agent.stop()
  }
}
