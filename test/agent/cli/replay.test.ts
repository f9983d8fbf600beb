import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { replay } from '../../../agent/cli/replay.ts'
import { type Config, readConfig } from '../../../agent/config.ts'
import { limits } from '../../../agent/limits.ts'
import { createRecorder } from '../../../agent/recording.ts'
import { series, snapshotOf } from '../http/fake-parts.ts'
import { createFakeTerminal } from './fake-terminal.ts'

const main = path.resolve(import.meta.dirname, '../../../dist/agent/main.js')
const promtool = [path.resolve(import.meta.dirname, '../../../.cache/prometheus/usr/bin/promtool'), '/usr/bin/promtool'].find(
  fs.existsSync,
)

let folder: string
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-replay-'))
})
afterEach(() => fs.rmSync(folder, { recursive: true }))

function configOf(...argv: string[]): Config {
  const config = readConfig(argv, {})
  if ('print' in config) throw new Error('help')
  return config
}
function write(name: string, content: string | Uint8Array): string {
  const file = path.join(folder, name)
  fs.writeFileSync(file, content)
  return file
}
/** What it prints for these words behind `replay`: metrics without comments, and what it says besides. */
async function run(...argv: string[]) {
  const terminal = createFakeTerminal()
  const status = await replay(configOf('replay', ...argv), terminal)
  const lines = terminal.printed.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return { status, printed: terminal.printed, lines, warned: terminal.warned }
}

const retransHeader = 'TIME     PID     IP LADDR:LPORT          T> RADDR:RPORT          STATE'
const retransRow = '01:55:05 0       4  10.153.223.157:22    R> 69.53.245.40:34619   ESTABLISHED'
const synRow = '01:55:05 0       4  10.0.0.7:22    R> 69.53.245.40:34619   SYN_SENT'
const dropHeader = 'TIME     PID     IP SADDR:SPORT          > DADDR:DPORT          STATE (FLAGS)        REASON (CODE)'
const dropRow = ['14:46:49 0 4 10.9.0.2:80 > 10.9.0.1:33280 SYN_SENT (SYN|ACK) NETFILTER_DROP (12)', "\tb'nf_hook_slow+0xa9'", '']
const text = (...lines: readonly string[]): string => lines.map((line) => `${line}\n`).join('')
const retransmits = (kind: string, n: number): string =>
  `netvitals_tcp_retransmitted_segments_by_kind_total{namespace="",pod="",kind="${kind}"} ${n}`
const rowsOf = (format: string, n: number): string => `netvitals_tool_rows_total{format="${format}"} ${n}`
const drops = (n: number): string =>
  `netvitals_dropped_packets_total{namespace="",pod="",reason="netfilter_drop",category="netfilter",protocol="tcp",direction="in"} ${n}`

describe('netvitals replay', () => {
  it('counts what recordings of tools tell, over all files, whatever the addresses', async () => {
    const first = write('first', text(retransHeader, retransRow, synRow, retransRow))
    const second = write('second', text(dropHeader, ...dropRow, ...dropRow, retransHeader, retransRow))
    const { status, lines, warned } = await run(first, second)
    expect(status).toBe(0)
    expect(lines).toEqual([
      drops(2),
      retransmits('data', 3),
      retransmits('syn', 1),
      rowsOf('bcc tcpdrop', 2),
      rowsOf('bcc tcpretrans', 4),
    ])
    expect(warned).toEqual(['13 lines read: 4 rows of bcc tcpretrans, 2 rows of bcc tcpdrop'])
  })

  it('counts rows of sockets that are gone too', async () => {
    const header = 'TIME     PID    LADDR:LPORT          -- RADDR:RPORT          STATE'
    const { lines } = await run(write('file', text(header, '05:16:45        -:-                  R> -:-                  -')))
    expect(lines).toEqual([retransmits('data', 1), rowsOf('perf-tools tcpretrans', 1)])
  })

  it('has room for any number of addresses', async () => {
    const addresses = Array.from({ length: 2 * limits.toolKeys + 1 }, (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`)
    const rows = addresses.map((address) => retransRow.replace('10.153.223.157', address))
    const { lines, warned } = await run(write('file', text(retransHeader, ...rows)))
    expect(lines).toEqual([retransmits('data', addresses.length), rowsOf('bcc tcpretrans', addresses.length)])
    expect(warned).toHaveLength(1)
  })

  it('says what found no place', async () => {
    const rows = Array.from({ length: limits.toolKeys + 5 }, (_, i) =>
      dropRow.map((line) => line.replace('NETFILTER', `NEW_${i}`)),
    )
    const { warned } = await run(write('file', text(dropHeader, ...rows.flat())))
    expect(warned).toContain('5 events not counted: there are too many reasons or kinds')
    expect(warned.join('\n')).toMatch(/^[\d,]+ values left out: there are too many series$/m)
  })

  it('goes on after a file that cannot be read, with exit status 1', async () => {
    const good = write('good', text(retransHeader, retransRow))
    const { status, lines, warned } = await run(path.join(folder, 'none'), folder, good)
    expect(status).toBe(1)
    expect(lines).toContain(retransmits('data', 1))
    expect(warned).toEqual([
      `${folder}/none: cannot be read: it does not exist`,
      expect.stringMatching(new RegExp(`^${folder}: cannot be read: .*directory`)),
      '2 lines read: 1 row of bcc tcpretrans',
    ])
  })

  it('fails if nothing of it is known', async () => {
    const { status, lines, warned } = await run(write('file', 'Hello\n\nworld\n'))
    expect([status, lines]).toEqual([1, []])
    expect(warned).toEqual([
      '3 lines read: none of a known format',
      expect.stringMatching(
        /^2 lines could not be read, the first: .*\/file: line 1, column 1: expected the header of a tool, got "Hello"$/,
      ),
    ])
    expect((await run(write('empty', ''))).status).toBe(1)
  })

  it('loses nothing around garbage, an endless line, and a last line cut in half', async () => {
    const garbage = Buffer.from(Array.from({ length: 5000 }, (_, i) => 128 + ((i * 7919) % 128)))
    const newline = Buffer.from('\n')
    const file = write(
      'file',
      Buffer.concat([
        Buffer.from(text(retransHeader, retransRow, retransRow)),
        ...[garbage, newline, Buffer.from('\0\u001b[2J'), newline],
        Buffer.from(text(retransRow)),
        ...[Buffer.alloc(10e6, 'x'), newline],
        Buffer.from(text(retransRow, `${retransRow} more than it should be`, retransRow)),
        Buffer.from(retransRow.slice(0, -3)),
      ]),
    )
    const { status, lines, warned } = await run(file)
    expect([status, lines]).toEqual([0, [retransmits('data', 5), rowsOf('bcc tcpretrans', 5)]])
    expect(warned).toEqual([
      '9 lines read: 5 rows of bcc tcpretrans',
      expect.stringMatching(/^3 lines could not be read, the first: .*: line 4, column 1: /),
      '1 line too long, left out',
      'the last line has no end: left out, because its last number may be cut',
    ])
    expect(warned.join('')).toMatch(/^[ -~]*$/)
  })

  it('says it for programs too', async () => {
    const file = write('file', text(retransHeader, retransRow, 'what?', 'Possibly lost 7 samples'))
    const { status, printed } = await run('-o', 'json', file)
    const report = JSON.parse(printed) as Record<string, unknown>
    expect(status).toBe(0)
    expect(report).toMatchObject({
      schemaVersion: 1,
      bytes: fs.statSync(file).size,
      lines: 4,
      rows: { 'bcc tcpretrans': 1 },
      unreadable: 1,
      firstUnreadable: expect.stringContaining('got "what?"'),
      longLines: 0,
      partialLines: 0,
      lost: 7,
      sweeps: 0,
      events: 0,
      dropped: 0,
      notCounted: 0,
    })
    expect(report.families).toContainEqual({
      name: 'netvitals_tcp_retransmitted_segments_by_kind_total',
      type: 'counter',
      series: [{ labels: { namespace: '', pod: '', kind: 'data' }, value: 1 }],
    })
  })

  it('prints OpenMetrics if told', async () => {
    const { printed } = await run('--format', 'openmetrics', write('file', text(retransHeader, retransRow)))
    expect(printed.endsWith('# EOF\n')).toBe(true)
  })

  describe('of a recording of netvitals', () => {
    const time = '2026-11-26T18:20:01.000Z'
    const record = createRecorder()
    const recording = text(
      ...[
        { type: 'recording', schemaVersion: 1, version: '1', node: 'n', time },
        ...record(
          snapshotOf({
            netvitals_sockets_used: [series('namespace="@netns",pod="a b"', 7)],
            netvitals_tcp_retransmitted_segments_by_kind_total: [
              series('namespace="",pod="",kind="data"', 40),
              series('namespace="",pod="",kind="fast"', 2),
            ],
          }),
          time,
        ),
        { type: 'event', event: { type: 'not_shown', of: 'drop', count: 1, time } },
      ].map((line) => JSON.stringify(line)),
    )

    it('gives what the last sweep had', async () => {
      const { status, lines, warned } = await run(write('file', recording))
      expect([status, lines]).toEqual([
        0,
        ['netvitals_sockets_used{namespace="@netns",pod="a b"} 7', retransmits('data', 40), retransmits('fast', 2)],
      ])
      expect(warned).toEqual(['5 lines read: 1 sweep and 1 event of netvitals'])
    })

    it('together with recordings of tools has each series once, with the sum', async () => {
      const files = [write('one', recording), write('other', text(retransHeader, retransRow, synRow))]
      const { lines, printed } = await run(...files)
      expect(lines).toContain(retransmits('data', 41))
      const names = lines.map((line) => line.slice(0, line.lastIndexOf(' ')))
      expect(names).toEqual([...new Set(names)])
      const comments = printed.split('\n').filter((line) => line.startsWith('# HELP'))
      expect(comments).toEqual([...new Set(comments)])
      if (promtool === undefined) return console.warn('SKIPPED, no promtool (make .cache/prometheus): promtool check metrics')
      expect(execFileSync(promtool, ['check', 'metrics'], { input: printed, encoding: 'utf8', stdio: 'pipe' })).toBe('')
    })

    it('that was damaged loses what was damaged, says where, and nothing else', async () => {
      const [first = '', sweep = '', ...rest] = recording.trimEnd().split('\n')
      const hostile = '{"type":"family","name":"netvitals_sockets_used","series":[["namespace=\\"\\",pod=\\"x\\"} 1\\n",1]]}'
      const { lines, warned } = await run(write('file', text(first, sweep, hostile, '{"type":"family"', ...rest)))
      expect(lines).toHaveLength(3)
      expect(warned[1]).toMatch(
        /^2 lines could not be read, the first: .*: line 3, column 1: expected no series of netvitals_sockets_used/,
      )
    })
  })
})

/** As a process of its own, whose input is written to by `feed`. */
async function runProcess(
  argv: readonly string[],
  feed: (write: (chunk: string | Uint8Array) => Promise<void>) => Promise<void>,
) {
  const rss = path.join(folder, 'rss')
  const hook = write(
    'hook.mjs',
    `import fs from 'node:fs'; process.on('exit', () => fs.writeFileSync(${JSON.stringify(rss)}, String(process.resourceUsage().maxRSS)))`,
  )
  const child = spawn(main, ['replay', ...argv], { env: { ...process.env, NODE_OPTIONS: `--import=${hook}` } })
  const exit = once(child, 'close')
  let [output, error] = ['', '']
  child.stdout.on('data', (chunk) => (output += chunk))
  child.stderr.on('data', (chunk) => (error += chunk))
  await feed(async (chunk) => void (child.stdin.write(chunk) || (await once(child.stdin, 'drain'))))
  child.stdin.end()
  const [status] = await exit
  return { status, output, error, maxResidentBytes: Number(fs.readFileSync(rss, 'utf8')) * 1024 }
}

describe('netvitals replay, from a pipe', () => {
  it('reads standard input when no file is named, or -', async () => {
    for (const argv of [[], ['-']]) {
      const { status, output, error } = await runProcess(argv, (write) => write(text(retransHeader, retransRow)))
      expect(status).toBe(0)
      expect(output).toContain(`${retransmits('data', 1)}\n`)
      expect(error).toBe('netvitals: 2 lines read: 1 row of bcc tcpretrans\n')
    }
  })

  it('takes no more memory for 200 MB than for little, and counts every row', { timeout: 240_000 }, async () => {
    const chunkRows = 10_000
    const chunk = Buffer.from(
      text(
        ...Array.from({ length: chunkRows }, (_, i) =>
          retransRow.replace('10.153.223.157', `10.${i % 200}.${i % 251}.${i % 249}`),
        ),
      ),
    )
    const chunks = Math.ceil(200e6 / chunk.length)
    const { status, output, error, maxResidentBytes } = await runProcess([], async (write) => {
      await write(text(retransHeader))
      for (let i = 0; i < chunks; i++) await write(chunk)
    })
    expect([status, error]).toEqual([
      0,
      `netvitals: ${(chunks * chunkRows + 1).toLocaleString('en')} lines read: ${(chunks * chunkRows).toLocaleString('en')} rows of bcc tcpretrans\n`,
    ])
    expect(output).toContain(`${retransmits('data', chunks * chunkRows)}\n`)
    expect(maxResidentBytes).toBeLessThan(160e6)
    console.info(`replay of 200 MB: at most ${(maxResidentBytes / 1e6).toFixed(0)} MB resident`)
  })
})
