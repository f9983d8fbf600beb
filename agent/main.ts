#!/usr/bin/env -S MALLOC_ARENA_MAX=1 node --max-semi-space-size=1 --v8-pool-size=1 --heap-growing-percent=100
// A small, steady process: these spare 20 MB of memory that would only be kept in reserve, and as much garbage again, at no CPU time that could be measured.
import { run } from './cli/run.ts'

process.stdout.on('error', () => process.exit(0)) // whoever read our output has gone, as `head` does
process.exit(await run(process.argv.slice(2)))
