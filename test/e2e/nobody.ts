import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

const project = path.resolve(import.meta.dirname, '../..')

/** setpriv for nobody, who has these capabilities and can get no others. */
export function asNobody(...capabilities: readonly string[]): readonly string[] {
  const set = ['-all', ...capabilities.map((name) => `+${name}`)].join(',')
  const sets = [`--inh-caps=${set}`, `--ambient-caps=${set}`, `--bounding-set=${set}`]
  return ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', ...sets, '--no-new-privs']
}

/** The built agent where nobody can read it: the project's own, or a copy of it to be removed at the end. */
export function findReadable(): { readonly main: string; remove(): void } {
  const main = 'dist/agent/main.js'
  const [setpriv = '', ...flags] = asNobody()
  if (spawnSync(setpriv, [...flags, 'cat', path.join(project, main)]).status === 0)
    return { main: path.join(project, main), remove() {} }
  const copy = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-nobody-'))
  for (const name of ['dist', 'node_modules', 'package.json'])
    fs.cpSync(path.join(project, name), path.join(copy, name), { recursive: true })
  fs.chmodSync(copy, 0o755)
  return { main: path.join(copy, main), remove: () => fs.rmSync(copy, { recursive: true }) }
}
