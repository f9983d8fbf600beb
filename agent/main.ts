#!/usr/bin/env node
import { run } from './cli/run.ts'

process.stdout.on('error', () => process.exit(0)) // whoever read our output has gone, as `head` does
process.exit(await run(process.argv.slice(2)))
