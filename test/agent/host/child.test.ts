import { spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { type Child, type ChildOptions, minimalEnvironment, superviseChild } from '../../../agent/host/child.ts'
import { limits } from '../../../agent/limits.ts'
import { createLog } from '../../../agent/log.ts'
import { build } from './built.ts'

const patience = { timeout: 20_000, interval: 20 }
const silent = createLog('silent')
let children: Child[] = []
let folder = ''
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-child-'))
})
afterAll(() => fs.rmSync(folder, { recursive: true }))
afterEach(async () => {
  await Promise.all(children.map((child) => child.stop()))
  children = []
})

function supervise(command: readonly [string, ...string[]], options: Partial<ChildOptions> = {}) {
  const happened: string[] = []
  const child = superviseChild({
    command,
    onLine: (line) => happened.push(line),
    onStart: () => happened.push('<start>'),
    onEnd: () => happened.push('<end>'),
    log: silent,
    ...options,
  })
  children.push(child)
  return { child, happened }
}
const shell = (script: string, options?: Partial<ChildOptions>) => supervise(['sh', '-c', script], options)

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0) // a zombie is there too
    return true
  } catch {
    return false
  }
}
/** Neither gone nor waiting for whoever adopted it to take note. */
function isRunning(pid: number): boolean {
  try {
    return !fs.readFileSync(`/proc/${pid}/stat`, 'latin1').includes(') Z ')
  } catch {
    return false
  }
}
const countFds = (): number => fs.readdirSync('/proc/self/fd').length

describe('a child', () => {
  it('gives its lines, and starts again when it has ended', async () => {
    const { child, happened } = shell('echo one; printf "tw"; sleep 0.05; printf "o\\r\\nhalf"; exit 3')
    expect(child.status()).toMatchObject({ state: 'stopped', starts: 0, pid: undefined, lastEnd: undefined, stderr: '' })
    expect(child.readUsage()).toBeUndefined()
    child.start()
    child.start()
    expect(child.status()).toMatchObject({ state: 'running', starts: 1, pid: expect.any(Number) })
    await expect.poll(() => child.status().state, patience).toBe('waiting')
    expect(child.status()).toMatchObject({ pid: undefined, lastEnd: 'exit status 3', lines: 2, partialLines: 1, bytes: 13 })
    expect(child.status().nextStartAtMs).toBeGreaterThan(performance.now() - 100)
    await expect.poll(() => child.status().starts, patience).toBe(2)
    await expect.poll(() => child.status().lines, patience).toBe(4)
    await child.stop()
    expect(happened).toEqual(['<start>', 'one', 'two', '<end>', '<start>', 'one', 'two', '<end>'])
    expect(child.status()).toMatchObject({ state: 'stopped', nextStartAtMs: undefined })
  })

  it('waits longer each time', async () => {
    const nextStartsAtMs: number[] = []
    const { child } = shell('exit 1', { onEnd: () => nextStartsAtMs.push(child.status().nextStartAtMs ?? 0) })
    child.start()
    await expect.poll(() => nextStartsAtMs.length, patience).toBe(3)
    const [first = 0, second = 0, third = 0] = nextStartsAtMs
    // A timer may come a millisecond early.
    expect(second - first).toBeGreaterThan(2 * limits.toolRestartMs - 10)
    expect(third - second).toBeGreaterThan(4 * limits.toolRestartMs - 10)
  })

  it('says how it was killed', async () => {
    const { child } = shell('echo ready; exec sleep 60')
    child.start()
    await expect.poll(() => child.status().lines, patience).toBe(1)
    const { pid = 0 } = child.status()
    process.kill(pid, 'SIGKILL')
    await expect.poll(() => child.status().state, patience).toBe('waiting')
    expect(child.status().lastEnd).toBe('killed by SIGKILL')
    expect(isThere(pid)).toBe(false)
    await expect.poll(() => child.status().lines, patience).toBe(2)
  })

  it('keeps the last lines of its standard error, fit to be shown', async () => {
    const { child } = shell(
      'i=0; while [ $i -lt 2000 ]; do echo "line $i" >&2; i=$((i+1)); done; printf "\\033[31mbad\\t\\377\\r\\n" >&2',
    )
    child.start()
    await expect.poll(() => child.status().state, patience).toBe('waiting')
    const { stderr } = child.status()
    expect(stderr.length).toBeLessThanOrEqual(limits.toolStderrBytes)
    expect(stderr).toMatch(/^line \d+\nline /)
    expect(stderr).toMatch(/line 1999\n\ufffd\[31mbad \ufffd\n$/)
  })

  it('shows the standard error of the start that last wrote any', async () => {
    const { child } = shell(
      `[ -e ${folder}/once ] || { touch ${folder}/once; echo broken >&2; exit 1; }; echo fine; exec sleep 60`,
    )
    child.start()
    await expect.poll(() => child.status().lines, patience).toBe(1)
    expect(child.status()).toMatchObject({ starts: 2, stderr: 'broken\n', lastEnd: 'exit status 1' })
  })

  it('has an empty standard input, and the environment it was given and no more', async () => {
    vi.stubEnv('SECRET', 'of the agent')
    const { child, happened } = shell('cat; env; exec sleep 60', { environment: { PATH: '/usr/bin:/bin', COLOUR: 'red' } })
    child.start()
    await expect.poll(() => happened, patience).toContain('COLOUR=red')
    expect(happened.join('\n')).not.toContain('SECRET')
    const other = shell('env; exec sleep 60')
    other.child.start()
    await expect.poll(() => other.happened, patience).toContain('LANG=C')
    expect(other.happened).toContain(`PATH=${minimalEnvironment.PATH}`)
    expect(other.happened.join('\n')).not.toContain('SECRET')
    vi.unstubAllEnvs()
  })

  it('gets its parameters as they are', async () => {
    const parameters = ['$HOME', '; echo no', '-x', '--', 'two words', '*', 'ü']
    const { child, happened } = supervise(['printf', '%s\\n', ...parameters])
    child.start()
    await expect.poll(() => happened, patience).toContain('<end>')
    expect(happened).toEqual(['<start>', ...parameters, '<end>'])
  })

  it('gives Python’s lines at once', async () => {
    const { child, happened } = supervise(['python3', '-c', 'import time; print("now"); time.sleep(60)'])
    child.start()
    await expect.poll(() => happened, patience).toContain('now')
  })

  it('may be silent', async () => {
    const { child } = supervise(['sleep', '60'])
    child.start()
    await new Promise((resolve) => setTimeout(resolve, 200))
    expect(child.status()).toMatchObject({ state: 'running', lines: 0, bytes: 0, lastLineAtMs: undefined })
  })

  it('may send anything', async () => {
    const script = `
      process.stdout.write('x'.repeat(10_000_000) + '\\nshort\\n' + 'y'.repeat(${limits.toolLineBytes}) + '\\n')
      process.stdout.write(Buffer.from([0, 255, 254, 10, 10, 13, 10, 27]))`
    const { child, happened } = supervise([process.execPath, '-e', script])
    child.start()
    await expect.poll(() => happened, patience).toContain('<end>')
    expect(happened).toEqual(['<start>', 'short', 'y'.repeat(limits.toolLineBytes), '\0\ufffd\ufffd', '', '', '<end>'])
    expect(child.status()).toMatchObject({ lines: 5, longLines: 1, partialLines: 1 })
  })

  it('loses nothing of what was written before it ended', async () => {
    const { child } = supervise(['seq', '1', '300000'], {
      onLine() {
        lines++
      },
    })
    let lines = 0
    child.start()
    await expect.poll(() => child.status().state, patience).toBe('waiting')
    expect(lines).toBe(300_000)
  })

  it('may flood, and the event loop turns', async () => {
    let turns = 0
    const timer = setInterval(() => turns++, 1)
    const { child } = supervise(['yes', 'x'.repeat(79)], {
      onLine() {
        for (const untilMs = performance.now() + 0.01; performance.now() < untilMs; ); // 100,000 a second and no more
      },
    })
    child.start()
    await expect.poll(() => child.status().lines, patience).toBeGreaterThan(50_000)
    clearInterval(timer)
    // 50,000 lines are some 60 chunks; a turn of the loop takes at most what is begun in 10 ms.
    expect(turns).toBeGreaterThan(10)
    await child.stop()
    expect(child.status()).toMatchObject({ state: 'stopped', lastEnd: 'killed by SIGINT' })
  })

  it('may flood its standard error', async () => {
    const { child } = shell('yes error >&2')
    child.start()
    await expect.poll(() => child.status().stderr.length, patience).toBeGreaterThan(4000)
    expect(child.status().stderr).toMatch(/^(error\n)+(error|erro|err|er|e)?$/)
  })

  it('says what it takes, and never less of the CPU than before', async () => {
    const script = 'while (process.cpuUsage().user < 2e5) for (let i = 0; i < 1e6; i++);'
    const { child } = shell(`${process.execPath} -e '${script}'; exit 1`)
    child.start()
    await expect.poll(() => child.readUsage()?.residentBytes, patience).toBeGreaterThan(0)
    // Without looking meanwhile: the last look is when it closes its output.
    await expect.poll(() => child.status().starts, patience).toBe(2)
    let last = 0
    const read = (): number => {
      const now = child.readUsage()?.cpuSeconds ?? Number.NaN
      expect(now).toBeGreaterThanOrEqual(last)
      last = now
      return now
    }
    expect(read()).toBeGreaterThan(0.15)
    await expect.poll(read, patience).toBeGreaterThan(0.35)
    await child.stop()
    read()
    expect(child.readUsage()).toEqual({ cpuSeconds: last, residentBytes: 0 })
  })
})

describe('a program that cannot be started', () => {
  const write = (name: string, text: string, mode: number): string => {
    const file = path.join(folder, name)
    fs.writeFileSync(file, text, { mode })
    return file
  }
  it.each([
    ['is nowhere', () => 'no-such-tool', 'no-such-tool: not found in PATH'],
    ['is not in its place', () => '/nowhere/tool', 'tool: no such file'],
    ['is a folder', () => folder, /^netvitals-child-\w+: no such file$/],
    ['is not executable', () => write('text', 'text', 0o644), 'text: not executable'],
    ['has no interpreter', () => write('script', '#!/nowhere/python3\n', 0o755), /^script: what its first line says/],
  ])('%s', async (_, makeProgram, why) => {
    const { child, happened } = supervise([makeProgram()])
    child.start()
    await expect.poll(() => child.status(), patience).toMatchObject({ state: 'waiting', pid: undefined })
    expect(child.status().lastEnd).toMatch(why)
    expect(child.status().nextStartAtMs).toBeGreaterThan(performance.now() - 100)
    await child.stop()
    expect(child.status().state).toBe('stopped')
    if (!String(why).includes('first line')) expect(happened).toEqual([])
  })
  it('is found only in the PATH it is given', async () => {
    write('own-tool', '#!/bin/sh\necho found\n', 0o755)
    const { child, happened } = supervise(['own-tool'], { environment: { PATH: `relative:/nowhere:${folder}` } })
    child.start()
    await expect.poll(() => happened, patience).toContain('found')
  })
  it('starts when it is there', async () => {
    const { child, happened } = supervise([path.join(folder, 'late')])
    child.start()
    expect(child.status()).toMatchObject({ state: 'waiting', starts: 0, lastEnd: 'late: no such file' })
    write('late', '#!/bin/sh\necho here\n', 0o755)
    await expect.poll(() => happened, patience).toContain('here')
  })
  it('has a parameter that no program can be given', async () => {
    const { child } = supervise(['echo', 'a\0b'])
    child.start()
    expect(child.status()).toMatchObject({ state: 'waiting', lastEnd: expect.stringContaining('null bytes') })
  })
})

describe('stopping', () => {
  it('asks with SIGINT and takes what the child still says', async () => {
    const { child, happened } = shell('trap "echo totals; exit 0" INT; echo ready; while :; do sleep 0.05; done')
    child.start()
    await expect.poll(() => happened, patience).toContain('ready')
    await Promise.all([child.stop(), child.stop()])
    expect(happened).toEqual(['<start>', 'ready', 'totals', '<end>'])
    expect(child.status()).toMatchObject({ state: 'stopped', lastEnd: 'exit status 0' })
    await child.stop()
  })
  it.each([
    ['SIGTERM', 'INT'],
    ['SIGKILL', 'INT TERM'],
  ])('goes on to %s', async (signal, ignored) => {
    const { child, happened } = shell(`trap "" ${ignored}; echo ready; exec sleep 60`)
    child.start()
    await expect.poll(() => happened, patience).toContain('ready')
    const { pid = 0 } = child.status()
    await child.stop()
    expect(child.status()).toMatchObject({ state: 'stopped', pid: undefined, lastEnd: `killed by ${signal}` })
    expect(isThere(pid)).toBe(false)
  })
  it('takes the whole group along', async () => {
    const { child, happened } = shell('sleep 60 & echo $!; sleep 60 & echo $!; wait')
    child.start()
    await expect.poll(() => happened.length, patience).toBe(3)
    const pids = happened.slice(1).map(Number)
    expect(pids.every(isThere)).toBe(true)
    await child.stop()
    await expect.poll(() => pids.some(isRunning), patience).toBe(false)
  })
  it('takes along what a child that ended by itself has left', async () => {
    const { child, happened } = shell('sleep 60 & echo $!; exit 1')
    child.start()
    await expect.poll(() => happened, patience).toContain('<end>')
    const pid = Number(happened[1])
    await expect.poll(() => isRunning(pid), patience).toBe(false)
  })
  it('does not wait for one that left the group with the pipe in its hand', async () => {
    const { child, happened } = shell('setsid sleep 60 & echo $!; exit 0')
    child.start()
    await expect.poll(() => happened, patience).toContain('<end>')
    await child.stop()
    process.kill(Number(happened[1]), 'SIGKILL')
  })
  it('is possible before the next start, and one may start anew', async () => {
    const { child, happened } = shell('echo hello; exit 1')
    child.start()
    await expect.poll(() => child.status().state, patience).toBe('waiting')
    await child.stop()
    const { starts } = child.status()
    await new Promise((resolve) => setTimeout(resolve, 3 * limits.toolRestartMs))
    expect(child.status()).toMatchObject({ state: 'stopped', starts })
    child.start()
    await expect.poll(() => happened.filter((line) => line === 'hello').length, patience).toBe(starts + 1)
  })
  it('leaves nothing open', async () => {
    const once = async (script: string): Promise<void> => {
      const { child } = shell(script)
      child.start()
      await expect.poll(() => child.status().bytes, patience).toBeGreaterThan(0)
      await child.stop()
    }
    await once('yes')
    const before = countFds()
    for (const script of ['yes', 'echo a; exit 1', 'echo a; kill -9 $$', 'echo a; exec sleep 60']) await once(script)
    await expect.poll(countFds, patience).toBeLessThanOrEqual(before)
  })
})

describe('an agent that is gone', () => {
  let built: ReturnType<typeof build>
  beforeAll(() => {
    built = build('agent/host/child.ts')
  })
  afterAll(() => built.remove())

  /** Runs an agent to its end, and returns the first words of the tool it ran. */
  async function runAgent(command: string, end: string): Promise<number> {
    const script = `
      import { superviseChild } from ${JSON.stringify(built.module)}
      let isFirst = true
      superviseChild({
        command: ['sh', '-c', ${JSON.stringify(command)}],
        onLine(line) {
          if (!isFirst) return
          isFirst = false
          console.log(line)
          setTimeout(() => { ${end} }, 50)
        },
        log: { info() {}, debug() {} },
      }).start()`
    const agent = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'ignore'] })
    let output = ''
    agent.stdout.on('data', (chunk) => {
      output += chunk
    })
    await new Promise((resolve) => agent.once('close', resolve))
    const pid = Number(output)
    expect(pid).toBeGreaterThan(1)
    return pid
  }

  it.each([
    ['killed', "process.kill(process.pid, 'SIGKILL')"],
    ['ended in a hurry', 'process.exit(1)'],
    ['ended by an error', "throw new Error('a fault of the agent')"],
  ])('%s, takes its tool along', async (_, end) => {
    const pid = await runAgent('echo $$; exec sleep 61', end)
    await expect.poll(() => isRunning(pid), patience).toBe(false)
  })
  it('killed, takes along at their next line those of whom the kernel does not know', async () => {
    const pid = await runAgent('(sh -c "echo \\$PPID"; exec yes) & wait', "process.kill(process.pid, 'SIGKILL')")
    await expect.poll(() => isRunning(pid), patience).toBe(false)
  })
})
