import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createTools, type ToolSettings, type ToolSignal, type Tools, toolSignals } from '../../../agent/host/tools.ts'
import { limits } from '../../../agent/limits.ts'
import { createLog } from '../../../agent/log.ts'
import type { ToolEvent, ToolFormatName } from '../../../parsers/tool-table.ts'

const patience = { timeout: 20_000, interval: 20 }
const retransmits = [
  'TIME     PID     IP LADDR:LPORT          T> RADDR:RPORT          STATE',
  '01:55:05 0       4  10.153.223.157:22    R> 69.53.245.40:34619   ESTABLISHED',
  '01:55:17 0       4  10.153.223.157:22    L> 69.53.245.40:34619   ESTABLISHED',
]
const drops = [
  'TIME     PID     IP SADDR:SPORT          > DADDR:DPORT          STATE (FLAGS)        REASON (CODE)',
  '14:46:49 0       4  10.9.0.2:80          > 10.9.0.1:33280       SYN_SENT (SYN|ACK)   NETFILTER_DROP (12)',
  "\tb'nf_hook_slow+0xa9'",
  '',
]
const text = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join('')

let folder = ''
let file = ''
const created: Tools[] = []
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-tools-'))
  file = path.join(folder, 'tool.txt')
})
afterEach(async () => {
  await Promise.all(created.splice(0).map((tools) => tools.stop()))
  fs.rmSync(folder, { recursive: true })
})

function listen(settings: ToolSettings, signals = Object.keys(toolSignals) as readonly ToolSignal[]) {
  const tools = createTools(settings, createLog('silent'))
  created.push(tools)
  const heard: [signal: ToolSignal, format: ToolFormatName, address: string | undefined][] = []
  const events: ToolEvent[] = []
  for (const signal of signals)
    tools.subscribe(signal, (event, format) => {
      heard.push([signal, format, event.local?.address])
      events.push(event)
    })
  tools.start()
  return { tools, heard, events }
}
/** A tool that prints this once, and then is silent. */
function commandOf(lines: readonly string[], then = 'exec sleep 60'): readonly string[] {
  fs.writeFileSync(file, text(lines))
  return ['sh', '-c', `cat "$0"; ${then}`, file]
}
const isRunning = async ({ tools }: { tools: Tools }, signal: ToolSignal): Promise<void> => {
  await expect.poll(() => tools.of(signal)?.status().state, patience).toBe('running')
}
/** Some looks at the file later. */
const later = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 3 * limits.followPollMs))

it('without settings there are none, and nothing is started', async () => {
  const { tools, heard } = listen({})
  expect([tools.all(), tools.of('drops'), [...tools.rows()]]).toEqual([[], undefined, []])
  expect(heard).toEqual([])
})

describe('a program', () => {
  it('gives its rows with the format that its header names', async () => {
    const { tools, heard, events } = listen({ retransmits: { command: commandOf(retransmits) } })
    expect(tools.of('retransmits')?.format()).toBeUndefined()
    await expect.poll(() => heard, patience).toEqual(Array(2).fill(['retransmits', 'bcc tcpretrans', '10.153.223.157']))
    expect(events.map(({ retransmit }) => retransmit)).toEqual(['segment', 'probe'])
    const tool = tools.of('retransmits')
    expect([tool?.name, tool?.format(), tool?.unreadable()]).toEqual(['sh', 'bcc tcpretrans', { lines: 0, last: undefined }])
    expect([...tools.rows()]).toEqual([['bcc tcpretrans', 2]])
    expect(tools.all().map(({ signal }) => signal)).toEqual(['retransmits'])
    expect(tool?.usage()).toMatchObject({ residentBytes: expect.any(Number) })
  })

  it('whose rows are of another kind is no teller of the signal, but its rows are counted', async () => {
    const { tools, heard } = listen({ retransmits: { command: commandOf([...drops, ...retransmits]) } })
    await expect.poll(() => heard.length, patience).toBe(2)
    expect(heard.every(([, format]) => format === 'bcc tcpretrans')).toBe(true)
    expect([...tools.rows()]).toEqual([
      ['bcc tcpdrop', 1],
      ['bcc tcpretrans', 2],
    ])
  })

  it('may print what nobody can read: the lines around it count', async () => {
    const [header = '', first = '', second = ''] = retransmits
    const { tools, heard } = listen({
      retransmits: {
        command: commandOf([header, first, '01:55:05 0 4 10.0.0.1:x R> 10.0.0.2:1 ESTABLISHED', second, '\u001b[31m?']),
      },
    })
    await expect.poll(() => tools.of('retransmits')?.unreadable().lines, patience).toBe(2)
    expect(heard).toHaveLength(2)
    expect(tools.of('retransmits')?.unreadable().last?.message).toMatch(/^sh: line 5, column 1: .*got "\\x1b\[31m\?"$/)
  })

  it('says what it lost, and that is counted', async () => {
    const { tools } = listen({ drops: { command: commandOf([...drops, 'Possibly lost 7 samples', 'Possibly lost 5 samples']) } })
    await expect.poll(() => tools.of('drops')?.lost(), patience).toBe(12)
  })

  it('that was killed goes on, with the row that waited for its stack', async () => {
    const { tools, heard } = listen({ drops: { command: [...commandOf(drops.slice(0, 3), 'echo $$ >&2; exec sleep 60')] } })
    const tool = tools.of('drops')
    await expect.poll(() => tool?.stderr(), patience).toMatch(/^\d+\n$/)
    await expect.poll(() => tool?.status().lines, patience).toBe(3)
    expect(heard).toEqual([])
    process.kill(Number(tool?.stderr()), 'SIGKILL')
    await expect.poll(() => heard, patience).toEqual([['drops', 'bcc tcpdrop', '10.9.0.2']])
    await expect
      .poll(() => tool?.status(), patience)
      .toMatchObject({ state: 'running', starts: 2, lastEnd: 'killed by SIGKILL', lines: 6 })
    await tools.stop()
    expect(heard).toHaveLength(2)
    expect([...tools.rows()]).toEqual([['bcc tcpdrop', 2]])
  })

  it('is not started if nobody wants its signal', async () => {
    const { tools } = listen({ drops: { command: ['sh', '-c', `touch ${folder}/started; sleep 60`] }, connects: { file } }, [])
    await later()
    expect(fs.existsSync(path.join(folder, 'started'))).toBe(false)
    expect(tools.all().map((tool) => tool.status().state)).toEqual(['stopped', 'stopped'])
  })

  it('leaves no process when it is stopped', async () => {
    const command = ['sh', '-c', 'sleep 4242 & echo $$ >&2; wait']
    const { tools } = listen({ drops: { command } })
    await expect.poll(() => tools.of('drops')?.stderr(), patience).toMatch(/^\d+\n$/)
    const group = tools.of('drops')?.stderr().trim() ?? ''
    await tools.stop()
    const processes = execFileSync('ps', ['-eo', 'pgid=,stat='], { encoding: 'utf8' })
    expect(processes.split('\n').filter((line) => new RegExp(`^ *${group} +[^Z]`).test(line))).toEqual([])
    expect(tools.of('drops')?.status().state).toBe('stopped')
  })
})

describe('a file', () => {
  it('that has a header and rows already: those are not counted, and the new ones are read by that header', async () => {
    fs.writeFileSync(file, text([...retransmits, 'Possibly lost 3 samples', 'what is this']))
    const started = listen({ retransmits: { file } })
    const { tools, heard } = started
    await isRunning(started, 'retransmits')
    expect(tools.of('retransmits')).toMatchObject({ name: file })
    expect(tools.of('retransmits')?.format()).toBe('bcc tcpretrans')
    fs.appendFileSync(file, text(retransmits.slice(1, 2)))
    await expect.poll(() => heard, patience).toEqual([['retransmits', 'bcc tcpretrans', '10.153.223.157']])
    expect([...tools.rows()]).toEqual([['bcc tcpretrans', 1]])
    expect([tools.of('retransmits')?.lost(), tools.of('retransmits')?.unreadable().lines]).toEqual([0, 0])
    expect(tools.of('retransmits')?.usage()).toBeUndefined()
    expect(tools.of('retransmits')?.stderr()).toBe('')
  })

  it('whose last row before is still without its stack: that row is not counted either', async () => {
    fs.writeFileSync(file, text(drops.slice(0, 2)))
    const started = listen({ drops: { file } })
    await isRunning(started, 'drops')
    fs.appendFileSync(file, text(drops.slice(1)))
    await expect.poll(() => started.heard.length, patience).toBe(1)
    await started.tools.stop()
    expect(started.heard).toHaveLength(1)
  })

  it('that is written anew has its own header', async () => {
    fs.writeFileSync(file, text(retransmits))
    const started = listen({ retransmits: { file } })
    await isRunning(started, 'retransmits')
    fs.writeFileSync(file, text(['LADDR:LPORT              RADDR:RPORT             RETRANSMITS', '10.0.0.9:22 <-> 10.0.0.8:5 3']))
    await expect.poll(() => started.heard, patience).toEqual([['retransmits', 'bcc tcpretrans -c', '10.0.0.9']])
  })

  it('that comes later is read whole, once', async () => {
    const started = listen({ retransmits: { file } })
    await later()
    fs.writeFileSync(file, text(retransmits))
    await expect.poll(() => started.heard.length, patience).toBe(2)
    await later()
    expect([...started.tools.rows()]).toEqual([['bcc tcpretrans', 2]])
  })

  it('without a header tells nothing, and that shows', async () => {
    fs.writeFileSync(file, '')
    const started = listen({ retransmits: { file } })
    await isRunning(started, 'retransmits')
    fs.appendFileSync(file, text(retransmits.slice(1)))
    await expect.poll(() => started.tools.of('retransmits')?.unreadable().lines, patience).toBe(2)
    expect(started.tools.of('retransmits')?.unreadable().last?.message).toContain('expected the header of a tool')
    expect(started.tools.of('retransmits')?.format()).toBeUndefined()
  })

  it('that is no file has no header, and harms nothing', async () => {
    execFileSync('mkfifo', [file])
    const started = listen({ drops: { file } })
    await expect.poll(() => started.tools.of('drops')?.status().lastEnd, patience).toBe('it has no writer')
    execFileSync('sh', ['-c', 'cat > "$0"', file], { input: text(drops) })
    await expect.poll(() => started.heard.length, patience).toBe(1)
  })

  it('leaves nothing open when it is stopped', async () => {
    fs.writeFileSync(file, text(retransmits))
    const before = fs.readdirSync('/proc/self/fd').length
    const started = listen({ retransmits: { file }, drops: { file } })
    await isRunning(started, 'retransmits')
    await isRunning(started, 'drops')
    await started.tools.stop()
    expect(fs.readdirSync('/proc/self/fd')).toHaveLength(before)
  })
})
