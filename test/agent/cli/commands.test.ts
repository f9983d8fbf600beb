import fs from 'node:fs'
import http from 'node:http'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { CheckReport } from '../../../agent/check.ts'
import { check } from '../../../agent/cli/check.ts'
import { run } from '../../../agent/cli/run.ts'
import { serve } from '../../../agent/cli/serve.ts'
import { sweep } from '../../../agent/cli/sweep.ts'
import { type Config, readConfig } from '../../../agent/config.ts'
import { okReport, reportOf, snapshotOf } from '../http/fake-parts.ts'
import { createFakeTerminal } from './fake-terminal.ts'

const host = new URL('../../fixtures/hosts/6.18-debian', import.meta.url).pathname

let directory: string
const stops: (() => unknown)[] = []
beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-cli-'))
})
afterEach(async () => {
  vi.restoreAllMocks()
  for (const stop of stops.splice(0)) await stop()
  fs.rmSync(directory, { recursive: true })
})

function configOf(...argv: string[]): Config {
  const config = readConfig(argv, {})
  if ('print' in config) throw new Error('help')
  return config
}

/** A running agent that answers with this. */
async function answerWith(answer: unknown): Promise<string> {
  const file = path.join(directory, 'agent.sock')
  const server = http.createServer((_request, response) => response.end(JSON.stringify(answer))).listen(file)
  stops.push(() => {
    server.closeAllConnections()
    server.close()
  })
  await new Promise((resolve) => server.once('listening', resolve))
  return file
}

describe('netvitals sweep', () => {
  it('prints the metrics of a saved host', async () => {
    const terminal = createFakeTerminal()
    expect(await sweep(configOf('sweep', '--root', host), terminal)).toBe(0)
    expect(terminal.printed).toMatch(/^netvitals_tcp_received_segments_total\{namespace="",pod=""\} \d+$/m)
    expect(terminal.printed).toContain('netvitals_source_available{source="trace-drops"} 0\n')
    expect(terminal.printed).not.toContain('# EOF')
  })

  it('prints OpenMetrics if told', async () => {
    const terminal = createFakeTerminal()
    await sweep(configOf('sweep', '--root', host, '--format', 'openmetrics'), terminal)
    expect(terminal.printed.endsWith('# EOF\n')).toBe(true)
  })

  it('leaves out sources that are switched off, and knows their names', async () => {
    const terminal = createFakeTerminal()
    await sweep(configOf('sweep', '--root', host, '--sources.off', 'proc-snmp'), terminal)
    expect(terminal.printed).not.toContain('netvitals_tcp_received_segments_total')
    await expect(sweep(configOf('sweep', '--root', host, '--sources.off', 'proc-snmb'), terminal)).rejects.toThrow(
      /^sources\.off: proc-snmb is no source; there are trace-drops, .*proc-snmp/,
    )
  })

  it('fails on a directory that is not there, and on an empty one', async () => {
    const terminal = createFakeTerminal()
    await expect(sweep(configOf('sweep', '--root', '/nowhere'), terminal)).rejects.toThrow(
      '--root /nowhere: there is no such directory',
    )
    expect(await sweep(configOf('sweep', '--root', directory, '--log.level', 'silent'), terminal)).toBe(1)
  })
})

describe('netvitals check', () => {
  it('measures by itself if there is no agent', async () => {
    const terminal = createFakeTerminal()
    const argv = ['check', '--web.socket', path.join(directory, 'none.sock'), '--root', host]
    expect(await check(configOf(...argv), terminal)).toBe(0)
    expect(terminal.printed).toContain('No agent was asked: this command measured once by itself.')
    expect(terminal.printed).toMatch(/ {2}– trace-drops +absent: /)
    expect(terminal.printed).toMatch(/ {2}✔ proc-snmp +/)
    expect(terminal.warned).toEqual([])
  })

  it('asks the running agent if there is one', async () => {
    const report = reportOf(snapshotOf({}, { sources: [okReport('trace-drops'), okReport('proc-snmp')] }))
    const socket = await answerWith(report)
    const terminal = createFakeTerminal()
    expect(await check(configOf('check', '--web.socket', socket), terminal)).toBe(0)
    expect(terminal.printed).toContain(`As the running agent sees it (${socket}).`)
    expect(terminal.printed).toContain('2 ok, 0 absent, 0 failed')
  })

  it('measures by itself, and says why, if the agent is of another version', async () => {
    const socket = await answerWith({ schemaVersion: 2 })
    const terminal = createFakeTerminal()
    expect(await check(configOf('check', '--web.socket', socket, '--sources.off', 'trace-drops'), terminal)).toBe(0)
    expect(terminal.warned).toEqual([
      `the agent at ${socket} is of another version; use the netvitals of the same one; this command measures by itself`,
    ])
    expect(terminal.printed).toContain('measured once by itself')
  })

  it('prints JSON that is safe to look at', async () => {
    const hostile = 'a\u009b2J\u202eb\u001b[31m\u{e0041}'
    const report = reportOf(
      snapshotOf({}, { sources: [okReport('trace-drops', { outcome: 'absent', reason: hostile }), okReport('proc-snmp')] }),
    )
    const socket = await answerWith(report)
    const terminal = createFakeTerminal()
    expect(await check(configOf('check', '-o', 'json', '--web.socket', socket), terminal)).toBe(0)
    expect(terminal.printed).toMatch(/^[\n\x20-\x7e]*$/)
    const printed = JSON.parse(terminal.printed) as CheckReport
    expect(printed.sources[0]!.reason).toBe(hostile)
    expect(printed).toEqual(report)
  })

  it('has status 1 if a source failed, or something required is absent', async () => {
    const failed = reportOf(
      snapshotOf({}, { sources: [okReport('trace-drops', { outcome: 'failed', reason: 'x' }), okReport('proc-snmp')] }),
    )
    expect(await check(configOf('check', '--web.socket', await answerWith(failed)), createFakeTerminal())).toBe(1)
    const terminal = createFakeTerminal()
    const argv = ['check', '--root', host, '--require', 'proc-snmp,trace-drops,netvitals_nothing']
    expect(await check(configOf(...argv), terminal)).toBe(1)
    expect(terminal.warned).toMatchObject([
      expect.stringMatching(/^trace-drops is required: /),
      'netvitals_nothing is required: there is no such source or metric',
    ])
  })
})

describe('netvitals serve', () => {
  it('prints where it answers and what it can, and ends well when told', async () => {
    const terminal = createFakeTerminal()
    const socket = path.join(directory, 'agent.sock')
    const argv = [
      '--web.listen-address',
      '127.0.0.1:0',
      '--web.socket',
      socket,
      '--sources.off',
      'trace-drops',
      '--log.level',
      'silent',
    ]
    const status = serve(configOf(...argv), terminal)
    await expect.poll(() => terminal.printed, { timeout: 10_000 }).toContain('`netvitals check` shows this again.')
    const url = /page +(\S+)/.exec(terminal.printed)?.[1] ?? ''
    expect((await fetch(`${url}readyz`)).status).toBe(200)
    expect(await (await fetch(`${url}metrics`)).text()).toContain('\nnetvitals_build_info{version="')
    expect(await (await fetch(url)).text()).toContain('<h1>')
    expect(terminal.printed).toContain(`metrics  ${url}metrics\n  socket   ${socket}\n`)
    expect(terminal.printed).toMatch(/ {2}– trace-drops +switched off/)
    process.emit('SIGTERM', 'SIGTERM')
    expect(await status).toBe(0)
    await expect(fetch(`${url}healthz`)).rejects.toThrow()
    expect(fs.existsSync(socket)).toBe(false)
  })

  it('cannot be started twice', async () => {
    const socket = path.join(directory, 'agent.sock')
    const holder = http.createServer().listen(0, '127.0.0.1')
    stops.push(() => holder.close())
    await new Promise((resolve) => holder.once('listening', resolve))
    const { port } = holder.address() as { port: number }
    const argv = [
      '--web.listen-address',
      `127.0.0.1:${port}`,
      '--web.socket',
      socket,
      '--sources.off',
      'trace-drops',
      '--log.level',
      'silent',
    ]
    await expect(serve(configOf(...argv), createFakeTerminal())).rejects.toThrow(`127.0.0.1:${port}: the port is taken`)
    expect(fs.existsSync(socket)).toBe(false)
  })
})

describe('the exit status', () => {
  async function runIt(...argv: string[]): Promise<{ status: number; out: string; error: string }> {
    let [out, error] = ['', '']
    vi.spyOn(process.stdout, 'write').mockImplementation((text: unknown, ...rest: unknown[]) => {
      out += text
      for (const done of rest) if (typeof done === 'function') done()
      return true
    })
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
      error += text
      return true
    })
    const status = await run(argv)
    vi.restoreAllMocks()
    return { status, out, error }
  }

  it('is 0 for help and version', async () => {
    expect(await runIt('--version')).toMatchObject({
      status: 0,
      out: expect.stringMatching(/^netvitals \d+\.\d+\.\d+\n$/),
      error: '',
    })
    expect(await runIt('check', '--help')).toMatchObject({
      status: 0,
      out: expect.stringContaining('netvitals check: '),
      error: '',
    })
  })

  it('is 2 if it was not asked well, with one line', async () => {
    expect(await runIt('--lisen')).toEqual({ status: 2, out: '', error: 'netvitals: --lisen is no flag; see netvitals --help\n' })
    expect(await runIt('sweep', '--root', '/nowhere')).toEqual({
      status: 2,
      out: '',
      error: 'netvitals: --root /nowhere: there is no such directory\n',
    })
    expect(
      await runIt(
        '--web.config.file',
        '/nowhere.yaml',
        '--web.listen-address',
        '127.0.0.1:0',
        '--web.socket=',
        '--sources.off',
        'trace-drops',
      ),
    ).toMatchObject({
      status: 2,
      error: expect.stringContaining('netvitals: /nowhere.yaml: cannot be read: it does not exist\n'),
    })
  })

  it('is 1 if it did not go well, with one line', async () => {
    const { status, error } = await runIt(
      '--web.listen-address',
      '192.0.2.1:80',
      '--web.socket=',
      '--log.level=silent',
      '--sources.off=trace-drops',
    )
    expect([status, error]).toEqual([
      1,
      'netvitals: 192.0.2.1:80: this machine has no such address; choose another with --web.listen-address\n',
    ])
  })
})
