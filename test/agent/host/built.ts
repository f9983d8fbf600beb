import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

/** A file of the agent compiled with what it imports, for a process of its own; `remove` it when done. */
export function build(file: string): { readonly module: string; remove(): void } {
  const root = path.resolve(import.meta.dirname, '../../..')
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-built-'))
  fs.writeFileSync(path.join(folder, 'package.json'), '{ "type": "module" }')
  execFileSync(path.join(root, 'node_modules/.bin/tsc'), [
    ...['--ignoreConfig', '--noCheck', '--outDir', folder, '--rootDir', root, '--module', 'nodenext', '--target', 'es2023'],
    ...['--rewriteRelativeImportExtensions', path.join(root, file)],
  ])
  return {
    module: path.join(folder, file.replace(/\.ts$/, '.js')),
    remove: () => fs.rmSync(folder, { recursive: true }),
  }
}
