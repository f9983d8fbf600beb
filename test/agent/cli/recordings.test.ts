import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { replay } from '../../../agent/cli/replay.ts'
import { type Config, readConfig } from '../../../agent/config.ts'

const folder = path.resolve(import.meta.dirname, '../../fixtures/recordings')

/** The lines of the exposition, without HELP and TYPE, of buckets and rows; `_count` of a histogram is enough. */
async function replayed(...files: string[]): Promise<Record<string, number>> {
  let text = ''
  const terminal = { print: async (part: string) => void (text += part), warn: () => undefined, colour: false, unicode: true }
  const config = readConfig(['replay', ...files.map((file) => path.join(folder, file))], {}) as Config
  expect(await replay(config, terminal)).toBe(0)
  const lines = text.split('\n').filter((line) => /^\w/.test(line) && !/_bucket\{|_sum\{|^netvitals_tool_rows/.test(line))
  return Object.fromEntries(
    lines.map((line) => {
      const [, name = '', labels = '', value] =
        /^netvitals_(\w+)(?:\{namespace="",pod="",?(.*)\}|\{.*\})? (\S+)$/.exec(line) ?? []
      return [labels === '' ? name : `${name} ${labels.replaceAll(/\w+="(\w+)",?/g, '$1 ').trim()}`, Number(value)]
    }),
  )
}

// What was caused is in ORIGIN, what the kernel counted of it in truth.txt.
const truth = new Map(
  fs
    .readFileSync(path.join(folder, 'truth.txt'), 'utf8')
    .split('\n')
    .map((line) => line.match(/^(?:client|server) (\w+) ([1-9]\d*)$/))
    .flatMap((match) => (match === null ? [] : [[match[1] ?? '', Number(match[2])]])),
)
const counted = (field: string): number => truth.get(field) ?? Number.NaN

describe('recordings made with the real tools replay to the right numbers', () => {
  it.each(['bcc-tcpconnect.txt', 'bcc-tcpconnect-tUL.txt', 'bcc-tcpconnect-c.txt', 'bpftrace-tcpconnect.txt'])(
    '%s: each active open',
    async (file) => {
      expect(await replayed(file)).toEqual({ tcp_active_opens_total: counted('TcpActiveOpens') })
    },
  )

  it.each(['bcc-tcpaccept-tT.txt', 'bpftrace-tcpaccept.txt'])('%s: each passive open', async (file) => {
    expect(await replayed(file)).toEqual({ tcp_passive_opens_total: counted('TcpPassiveOpens') })
  })

  it.each(['bcc-tcpstates.txt', 'bcc-tcpstates-Ttw.txt'])(
    '%s: each connect by whether it came about, with its time',
    async (file) => {
      expect(await replayed(file)).toEqual({
        'tcp_connects_total connected': counted('TcpPassiveOpens'),
        'tcp_connects_total other': counted('TcpAttemptFails'),
        tcp_connect_duration_seconds_count: counted('TcpPassiveOpens'),
      })
    },
  )

  it('bcc-tcpconnlat-tL.txt: the time of each answer, three of them refusals', async () => {
    expect(await replayed('bcc-tcpconnlat-tL.txt')).toEqual({
      tcp_connect_duration_seconds_count: counted('TcpPassiveOpens') + 3,
    })
  })

  // 4 of the SYN and no data failed to be sent, which only the kernel's own counter and kprobes have; a row may be several segments.
  it.each([
    ['bcc-tcpretrans.txt', { syn: 4, data: 11 }],
    ['bcc-tcpretrans-ls.txt', { syn: 4, data: 11 }], // its 3 probes are attempts, not segments
    ['bcc-tcpretrans-c.txt', { data: 15 }], // which has no states
    ['bpftrace-tcpretrans.txt', { syn: counted('TcpExtTCPSynRetrans'), data: 9 }],
    ['perf-tools-tcpretrans-s.txt', { data: 16 }],
  ])('%s: retransmissions by kind', async (file, kinds) => {
    const expected = Object.entries(kinds).map(([kind, n]) => [`tcp_retransmitted_segments_by_kind_total ${kind}`, n])
    expect(await replayed(file)).toEqual(Object.fromEntries(expected))
  })

  it.each(['bcc-tcpdrop.txt', 'bpftrace-tcpdrop.txt'])('%s: drops by the way the segment went', async (file) => {
    const drops = 'dropped_packets_total not_told other tcp'
    expect(await replayed(file)).toEqual({ [`${drops} in`]: 7, [`${drops} out`]: 6 })
  })

  it('bcc-tcplife: lives have no metric yet, but their rows are counted', async () => {
    for (const file of ['bcc-tcplife.txt', 'bcc-tcplife-Ttw.txt', 'bcc-tcplife-sT.txt', 'bpftrace-tcplife.txt'])
      expect(await replayed(file)).toEqual({})
  })

  it('several, one after the other, are added', async () => {
    const all = await replayed('bcc-tcpconnect.txt', 'bpftrace-tcpconnect.txt', 'bcc-tcpdrop.txt')
    expect(all.tcp_active_opens_total).toBe(2 * counted('TcpActiveOpens'))
    expect(all['dropped_packets_total not_told other tcp out']).toBe(6)
  })

  it.each(['0.17.0', '0.23.2', '0.27.1'])('bpftrace %s: maps, as text and as JSON', async (version) => {
    // As bpftrace-values.bt sets them.
    const expected = {
      user_avg: 8,
      user_hist_count: 6,
      user_lhist_count: 4,
      user_max: 5,
      user_min: 5,
      user_negative: -7,
      user_stats_count: 1,
      user_sum: 5,
    }
    expect(await replayed(`bpftrace-${version}-values.txt`)).toMatchObject(expected)
    expect(await replayed(`bpftrace-${version}-values.json`)).toMatchObject(expected)
  })
})
