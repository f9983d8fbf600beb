import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { commands, readConfig } from '../agent/config.ts'
import { catalogue } from '../agent/metrics/catalogue.ts'

const root = path.resolve(import.meta.dirname, '..')
const read = (file: string): string => fs.readFileSync(path.join(root, file), 'utf8')
const readme = read('README.md')
const all = (pattern: RegExp): string[] => [...new Set([...readme.matchAll(pattern)].map((match) => match[1] ?? ''))]

describe('README', () => {
  it('names only metrics there are', () => {
    const names = all(/^(netvitals_[a-z_]+)\{/gm)
    expect(names.length).toBeGreaterThan(2)
    expect(names.filter((name) => !(name in catalogue))).toEqual([])
  })

  it('names every command, and no other', () => {
    expect(all(/^\| `netvitals ([\w ]+)`/gm).sort()).toEqual(Object.keys(commands).sort())
  })

  it('names only flags that some command has', () => {
    const helps = Object.keys(commands).map((command) => readConfig([...command.split(' '), '--help'], {}))
    const known = helps.map((help) => ('print' in help ? help.print : '')).join('\n')
    const flags = all(/`(--[a-z.-]+)/g)
    expect(flags.length).toBeGreaterThan(2)
    expect(flags.filter((flag) => flag !== '--help' && !new RegExp(`[ ,] ${flag}[ \\n]`).test(known))).toEqual([])
  })

  it('shows the screen as the agent prints it: every source with its number of metrics', () => {
    const sources = new Set(Object.values(catalogue).map(({ source }) => source))
    sources.delete('agent')
    sources.delete('tool-health') // there when the user has tools
    for (const source of sources) {
      const { length } = Object.values(catalogue).filter((metric) => metric.source === source)
      const given = `✔ ${source} +${length} metric${length === 1 ? '' : 's'}\\n`
      expect(readme).toMatch(new RegExp(source === 'pcap-http' ? `– ${source} +absent: no port is set` : given))
    }
  })

  it('names only make targets there are', () => {
    const makefile = read('Makefile')
    expect(all(/`?make ([a-z-]+)\b/g).filter((target) => !new RegExp(`^${target}:`, 'm').test(makefile))).toEqual([])
  })

  it('links only to files there are', () => {
    const links = all(/\]\(([^)#:]+)\)/g)
    expect(links.filter((file) => !fs.existsSync(path.join(root, file)))).toEqual([])
  })
})
