import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { catalogue, metricNames } from '../agent/metrics/catalogue.ts'
import { sweepTree } from './sweep-tree.ts'

const hosts = path.resolve(import.meta.dirname, 'fixtures/hosts')
const trees = fs.readdirSync(hosts).sort()

/** Metrics of the agent itself differ from run to run. */
const isSteady = (line: string): boolean =>
  !/^(# \w+ )?(process_|netvitals_(build_info|source_duration_seconds|sweep_duration_seconds))/.test(line)
/** What the machine runs, who asked by HTTP, and names of pods are told by agent.ts, http/ and identity/; of those a tree has nothing. */
const ofTheWholeAgent: readonly string[] = [
  'netvitals_node_info',
  'netvitals_web_requests_total',
  'netvitals_pod_info',
  'netvitals_names_up',
  'netvitals_names_last_success_age_seconds',
  'netvitals_names_restarts_total',
  'netvitals_names_invalid_total',
]
const familyOf = (line: string): string => /^[a-z_0-9]+/.exec(line)?.[0] ?? ''

describe.each(trees)('the whole exposition of %s', (tree) => {
  it('both ways of reading: recorded netlink where the tree has it, else /proc', async () => {
    const { text } = await sweepTree(path.join(hosts, tree))
    await expect(text.split('\n').filter(isSteady).join('\n')).toMatchFileSnapshot(
      path.resolve(import.meta.dirname, `golden/${tree}.txt`),
    )
  })
})

describe('golden files and catalogue', () => {
  const golden = fs
    .readdirSync(path.resolve(import.meta.dirname, 'golden'))
    .flatMap((file) => fs.readFileSync(path.resolve(import.meta.dirname, 'golden', file), 'utf8').split('\n'))
  const shown = new Set(golden.filter((line) => line !== '' && !line.startsWith('#')).map(familyOf))
  it('every metric shown is in the catalogue', () => expect([...shown].filter((name) => !(name in catalogue))).toEqual([]))
  it('every metric of /proc and netlink is shown by some tree', () => {
    const expected = metricNames.filter((name) => !/^(trace|tool|pcap)-/.test(catalogue[name].source) && isSteady(name))
    expect(expected.filter((name) => !shown.has(name) && !ofTheWholeAgent.includes(name))).toEqual([])
  })
})
