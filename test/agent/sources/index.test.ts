import fs from 'node:fs'
import path from 'node:path'
import { pino } from 'pino'
import { describe, expect, it } from 'vitest'
import { createHost } from '../../../agent/host/host.ts'
import { mapNames } from '../../../agent/host/traced-maps.ts'
import { catalogue, metricNames } from '../../../agent/metrics/catalogue.ts'
import { createSources, mapsReadBy } from '../../../agent/sources/index.ts'
import { describeContract } from '../../source-contract.ts'

const tools = { drops: { file: '/nowhere' } }
const host = await createHost({ root: '/', tracer: false, tools, log: pino({ level: 'silent' }) })
const sources = createSources(host)
const folder = path.resolve(import.meta.dirname, '../../../agent/sources')
/** What several sources share, and what they are. */
const others = [
  'bpftrace-scripts', // there if the user has some; its metrics are the user's
  'captured',
  'destinations',
  'each-namespace',
  'edge-drops',
  'edge-keys',
  'edge-peers',
  'edge-records',
  'index',
  'key-table',
  'read-sysctl',
  'source',
  'tool-counters',
  'tool-opens', // of replay: it stands in for proc-snmp
  'traced-counters',
  'unwrap',
]
/** It reads nothing of the kernel, and there is none without tools. */
const withoutContract = ['tool-health']

describe('the list of sources', () => {
  it('has every file of the folder once', () => {
    const files = fs.readdirSync(folder).map((file) => path.basename(file, '.ts'))
    expect(files.filter((name) => !others.includes(name)).sort()).toEqual(sources.map(({ name }) => name).sort())
  })

  it('writes every metric of the catalogue but the agent’s own, each once', () => {
    const written = sources.flatMap(({ writes }) => writes)
    expect([...written].sort()).toEqual(metricNames.filter((name) => catalogue[name].source !== 'agent').sort())
  })
})

it('knows which of the tracer’s maps a source reads', () => {
  expect(mapsReadBy(['trace-drops', 'proc-snmp'])).toEqual(['dropped_packets_total'])
  expect([...mapsReadBy(sources.map(({ name }) => name))].sort()).toEqual([...mapNames].sort())
})

describe.each(sources.map(({ name }) => name).filter((name) => !withoutContract.includes(name)))('%s', describeContract)
