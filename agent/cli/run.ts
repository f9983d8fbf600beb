import { type Command, type Config, readConfig } from '../config.ts'
import { ConfigError } from '../config-file.ts'
import { ListenError } from '../http/socket.ts'
import { check } from './check.ts'
import { observe } from './observe.ts'
import { prove } from './prove.ts'
import { record } from './record.ts'
import { replay } from './replay.ts'
import { serve } from './serve.ts'
import { showEdges } from './show-edges.ts'
import { showSockets } from './show-sockets.ts'
import { sweep } from './sweep.ts'
import { createTerminal, type Terminal } from './terminal.ts'

const commands: Readonly<Record<Command, (config: Config, terminal: Terminal) => Promise<number>>> = {
  serve,
  sweep,
  check,
  prove,
  observe,
  record,
  replay,
  'show sockets': showSockets,
  'show edges': showEdges,
}

/** Returns the exit status: 0, or 1 if it did not go well, or 2 if it was not asked well. */
export async function run(argv: readonly string[]): Promise<number> {
  const inCaseOfError = createTerminal({ terminal: { colour: false, unicode: true } })
  try {
    const config = readConfig(argv)
    if ('print' in config) {
      await inCaseOfError.print(config.print)
      return 0
    }
    return await commands[config.command](config, createTerminal(config))
  } catch (error) {
    if (error instanceof ConfigError || error instanceof ListenError) {
      inCaseOfError.warn(error.message)
      return error instanceof ConfigError ? 2 : 1
    }
    process.stderr.write(`netvitals: this is a fault of netvitals itself: ${error instanceof Error ? error.stack : error}\n`)
    return 1
  }
}
