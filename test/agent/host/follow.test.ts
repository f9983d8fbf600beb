import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { type FollowOptions, followFile } from '../../../agent/host/follow.ts'
import type { LineSource } from '../../../agent/host/lines.ts'
import { limits } from '../../../agent/limits.ts'
import { createLog } from '../../../agent/log.ts'
import { build } from './built.ts'

const patience = { timeout: 20_000, interval: 20 }
const silent = createLog('silent')
let sources: LineSource[] = []
let processes: ChildProcess[] = []
let folder = ''
let file = ''
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-follow-'))
  file = path.join(folder, 'tool.log')
})
afterEach(async () => {
  vi.restoreAllMocks()
  for (const one of processes) one.kill('SIGKILL')
  await Promise.all(sources.map((source) => source.stop()))
  processes = []
  sources = []
  fs.rmSync(folder, { recursive: true })
})

function follow(options: Partial<FollowOptions> = {}) {
  const happened: string[] = []
  const source = followFile({
    file,
    onLine: (line) => happened.push(line),
    onStart: () => happened.push('<start>'),
    onEnd: () => happened.push('<end>'),
    log: silent,
    ...options,
  })
  sources.push(source)
  source.start()
  return { source, happened, until: (wanted: string[]) => expect.poll(() => happened, patience).toEqual(wanted) }
}
const running = async (source: LineSource): Promise<void> => {
  await expect.poll(() => source.status().state, patience).toBe('running')
}
/** Some looks at the file later. */
const later = (looks = 3): Promise<void> => new Promise((resolve) => setTimeout(resolve, looks * limits.followPollMs))
const countFds = (): number => fs.readdirSync('/proc/self/fd').length

describe('a file', () => {
  it('is followed from its end', async () => {
    fs.writeFileSync(file, 'old\n')
    const { source, happened, until } = follow()
    await running(source)
    fs.appendFileSync(file, 'one\ntw')
    await until(['<start>', 'one'])
    fs.appendFileSync(file, 'o\nhalf')
    await until(['<start>', 'one', 'two'])
    expect(source.status()).toMatchObject({ state: 'running', starts: 1, lastEnd: undefined, lines: 2, nextStartAtMs: undefined })
    await source.stop()
    fs.appendFileSync(file, ' of it\nmore\n')
    await later()
    expect(happened).toEqual(['<start>', 'one', 'two', '<end>'])
    expect(source.status()).toMatchObject({ state: 'stopped', lastEnd: 'stopped', lines: 2, partialLines: 1, bytes: 12 })
    source.start()
    await running(source)
    fs.appendFileSync(file, 'again\n')
    await until(['<start>', 'one', 'two', '<end>', '<start>', 'again'])
  })
  it('whose end is in the middle of a line begins with the next', async () => {
    fs.writeFileSync(file, 'old\nha')
    const { source, until } = follow()
    await running(source)
    fs.appendFileSync(file, 'lf\nwhole\n')
    await until(['<start>', 'whole'])
    expect(source.status()).toMatchObject({ lines: 1, partialLines: 1 })
  })
  it('is read from its start where that is wanted, through a link', async () => {
    fs.writeFileSync(file, 'one\n')
    const link = path.join(folder, 'link')
    fs.symlinkSync(file, link)
    const { until } = follow({ file: link, from: 'start' })
    await until(['<start>', 'one'])
  })
  it('may come later, and is read whole then', async () => {
    const { source, until } = follow()
    await expect.poll(() => source.status().lastEnd, patience).toBe(`${file}: no such file`)
    expect(source.status()).toMatchObject({ state: 'waiting', starts: 0, nextStartAtMs: expect.any(Number) })
    fs.writeFileSync(file, 'one\n')
    await until(['<start>', 'one'])
  })
  it('is read to its end when another takes its place', async () => {
    fs.writeFileSync(file, '')
    const { source, until } = follow()
    await running(source)
    fs.appendFileSync(file, 'one\n')
    const writer = fs.openSync(file, 'a')
    fs.renameSync(file, `${file}.1`)
    fs.writeSync(writer, 'two\n')
    fs.writeFileSync(file, 'three\n')
    fs.writeSync(writer, 'late\nhalf')
    fs.closeSync(writer)
    await until(['<start>', 'one', 'two', 'late', '<end>', '<start>', 'three'])
    expect(source.status()).toMatchObject({ starts: 2, lastEnd: 'another file took its place', lines: 4, partialLines: 1 })
  })
  it('is followed under its new name until there is another', async () => {
    fs.writeFileSync(file, '')
    const { source, until } = follow()
    await running(source)
    fs.renameSync(file, `${file}.1`)
    await later()
    fs.appendFileSync(`${file}.1`, 'one\n')
    await until(['<start>', 'one'])
    expect(source.status().state).toBe('running')
    fs.writeFileSync(file, 'two\n')
    await until(['<start>', 'one', '<end>', '<start>', 'two'])
  })
  it('is left, in the end, when its writer goes on though another took its place', async () => {
    fs.writeFileSync(file, '')
    const { source, happened } = follow()
    await running(source)
    fs.renameSync(file, `${file}.1`)
    fs.writeFileSync(file, 'new\n')
    const timer = setInterval(() => fs.appendFileSync(`${file}.1`, 'old\n'), 20)
    await expect.poll(() => happened.at(-1), patience).toBe('new')
    clearInterval(timer)
    expect(happened).toContain('old')
  })
  it('is not kept on the disk when it was removed', async () => {
    fs.writeFileSync(file, 'x\n')
    const { source } = follow()
    await running(source)
    fs.rmSync(file)
    await expect.poll(() => source.status(), patience).toMatchObject({ state: 'waiting', lastEnd: `${file}: no such file` })
    const open = fs.readdirSync('/proc/self/fd').map((fd) => {
      try {
        return fs.readlinkSync(`/proc/self/fd/${fd}`)
      } catch {
        return ''
      }
    })
    expect(open.filter((name) => name.startsWith(file))).toEqual([])
  })
  it('is read from its start when it was made shorter', async () => {
    fs.writeFileSync(file, 'old\n')
    const { source, until } = follow()
    await running(source)
    fs.appendFileSync(file, 'one\nha')
    await until(['<start>', 'one'])
    fs.truncateSync(file)
    await expect.poll(() => source.status().starts, patience).toBe(2)
    fs.appendFileSync(file, 'two\n')
    await until(['<start>', 'one', '<end>', '<start>', 'two'])
    expect(source.status()).toMatchObject({ lastEnd: 'the file was made shorter', partialLines: 1 })
  })
  it('may be large and hold anything, and the event loop turns', async () => {
    fs.writeFileSync(file, Buffer.concat([Buffer.alloc(10_000_000, 'x'), Buffer.from([10, 0, 255, 10])]))
    fs.appendFileSync(file, `${'y'.repeat(79)}\n`.repeat(100_000))
    let lines = 0
    let turns = 0
    const timer = setInterval(() => turns++, 1)
    const { source } = follow({
      from: 'start',
      onLine() {
        lines++
        for (const untilMs = performance.now() + 0.005; performance.now() < untilMs; );
      },
    })
    await expect.poll(() => lines, patience).toBe(100_001)
    clearInterval(timer)
    expect(turns).toBeGreaterThan(20)
    expect(source.status()).toMatchObject({ lines: 100_001, longLines: 1, partialLines: 0, bytes: 18_000_004 })
  })
  it('can stop in the midst of it', async () => {
    fs.writeFileSync(file, `${'y'.repeat(79)}\n`.repeat(100_000))
    const { source } = follow({
      from: 'start',
      onLine() {
        for (const untilMs = performance.now() + 0.005; performance.now() < untilMs; );
      },
    })
    await expect.poll(() => source.status().lines, patience).toBeGreaterThan(0)
    await source.stop()
    const { lines } = source.status()
    expect(lines).toBeLessThan(100_000)
    await later(1)
    expect(source.status()).toMatchObject({ state: 'stopped', lines })
  })
})

describe('what cannot be followed', () => {
  it.each([
    ['a directory', () => folder, 'is a directory'],
    ['a device', () => '/dev/null', 'is a device'],
    ['a file of the kernel', () => '/proc/uptime', 'is made by the kernel as it is read, and cannot be followed'],
    ['a name that leads nowhere', () => '/dev/null/below', 'ENOTDIR: not a directory'],
  ])('%s', async (_, makeFile, why) => {
    const { source, happened } = follow({ file: makeFile() })
    await expect.poll(() => source.status().lastEnd, patience).toBe(`${makeFile()}: ${why}`)
    expect(source.status()).toMatchObject({ state: 'waiting', starts: 0 })
    expect(happened).toEqual([])
  })
  it('a socket, until there is a file', async () => {
    const server = net.createServer().listen(file)
    await new Promise((resolve) => server.once('listening', resolve))
    const { source, until } = follow()
    await expect.poll(() => source.status().lastEnd, patience).toBe(`${file}: is a socket`)
    await new Promise((resolve) => server.close(resolve)) // removes it too
    fs.writeFileSync(file, 'one\n')
    await until(['<start>', 'one'])
  })
})

describe('a FIFO', () => {
  beforeEach(() => {
    execFileSync('mkfifo', [file])
  })
  /** A process that writes as long as we write to it. */
  function openWriter(): ChildProcess {
    const writer = spawn('sh', ['-c', `exec cat > ${file}`], { stdio: ['pipe', 'ignore', 'ignore'] })
    processes.push(writer)
    return writer
  }

  it('is read while it has writers, each time anew', async () => {
    const { source, until } = follow()
    await expect.poll(() => source.status().lastEnd, patience).toBe('it has no writer')
    expect(source.status()).toMatchObject({ state: 'waiting', starts: 0 })
    const first = openWriter()
    await running(source) // though it has said nothing yet
    expect(source.status()).toMatchObject({ starts: 1, lines: 0 })
    first.stdin?.write('one\n')
    await until(['<start>', 'one'])
    const second = openWriter()
    second.stdin?.write('two\n')
    await until(['<start>', 'one', 'two'])
    first.stdin?.end('three\n')
    await until(['<start>', 'one', 'two', 'three'])
    second.stdin?.end('four\nhalf')
    await until(['<start>', 'one', 'two', 'three', 'four', '<end>'])
    expect(source.status()).toMatchObject({ state: 'waiting', lastEnd: 'it has no writer', lines: 4, partialLines: 1 })
    fs.writeFileSync(file, 'five\n')
    await until(['<start>', 'one', 'two', 'three', 'four', '<end>', '<start>', 'five', '<end>'])
  })
  it('takes what was written before the agent looks', async () => {
    const writer = openWriter()
    writer.stdin?.end('one\n')
    const { until } = follow()
    await until(['<start>', 'one', '<end>'])
  })
  it('loses nothing of writers that come and go', async () => {
    let lines = 0
    const { source } = follow({
      onLine() {
        lines++
      },
    })
    await expect.poll(() => source.status().lastEnd, patience).toBe('it has no writer')
    execFileSync('sh', ['-c', `i=0; while [ $i -lt 500 ]; do echo $i > ${file}; i=$((i+1)); done`], { timeout: 10_000 })
    await expect.poll(() => lines, patience).toBe(500)
    await Promise.all(
      ['a', 'b', 'c'].map(
        (word) =>
          new Promise((resolve) =>
            spawn('sh', ['-c', `seq -f '${word} %.0f' 1 100000 > ${file}`], { stdio: 'ignore' }).once('exit', resolve),
          ),
      ),
    )
    await expect.poll(() => lines, patience).toBeGreaterThanOrEqual(300_000)
    await expect.poll(() => source.status().state, patience).toBe('waiting')
    // seq writes pieces that may end within a line, and pieces of several writers mix: none of the bytes is lost.
    const bytes = Number(execFileSync('sh', ['-c', `(seq 0 499; for w in a b c; do seq -f "$w %.0f" 1 100000; done) | wc -c`]))
    expect(source.status().bytes).toBe(bytes)
  })
  it('may flood, and the event loop turns', async () => {
    processes.push(spawn('sh', ['-c', `exec yes ${'x'.repeat(79)} > ${file}`], { stdio: 'ignore' }))
    let turns = 0
    const timer = setInterval(() => turns++, 1)
    const { source } = follow({
      onLine() {
        for (const untilMs = performance.now() + 0.01; performance.now() < untilMs; );
      },
    })
    await expect.poll(() => source.status().lines, patience).toBeGreaterThan(50_000)
    clearInterval(timer)
    expect(turns).toBeGreaterThan(10)
    await source.stop()
    expect(source.status().state).toBe('stopped')
  })
  it('takes no thread: files are read meanwhile', async () => {
    const fifos = Array.from({ length: 8 }, (_, i) => `${file}.${i}`)
    execFileSync('mkfifo', fifos)
    const writers = fifos.map((one) => fs.openSync(one, fs.constants.O_RDWR))
    const followed = fifos.map((one) => follow({ file: one }))
    for (const { source } of followed) await running(source)
    expect(await fs.promises.readFile('/proc/version', 'utf8')).toContain('Linux')
    await Promise.all(followed.map(({ source }) => source.stop()))
    for (const writer of writers) fs.closeSync(writer)
  })
  it('may be replaced, by a file too', async () => {
    const { source, until } = follow()
    await expect.poll(() => source.status().lastEnd, patience).toBe('it has no writer')
    fs.rmSync(file)
    execFileSync('mkfifo', [file])
    openWriter().stdin?.end('one\n')
    await until(['<start>', 'one', '<end>'])
    fs.rmSync(file)
    fs.writeFileSync(file, 'two\n')
    await until(['<start>', 'one', '<end>', '<start>', 'two'])
  })
})

describe('standard input', () => {
  function feed(script: string): Readable {
    const writer = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'ignore'] })
    processes.push(writer)
    vi.spyOn(process, 'stdin', 'get').mockReturnValue(writer.stdout as unknown as typeof process.stdin)
    return writer.stdout
  }
  it('ends once', async () => {
    feed('echo one; sleep 0.05; echo two; printf half')
    const { source, happened, until } = follow({ file: '-' })
    expect(source.status()).toMatchObject({ state: 'running', starts: 1 })
    await until(['<start>', 'one', 'two', '<end>'])
    expect(source.status()).toMatchObject({ state: 'stopped', lastEnd: 'end of input', lines: 2, partialLines: 1 })
    await source.stop()
    expect(source.status().lastEnd).toBe('end of input')
    source.start()
    await expect.poll(() => happened.slice(4), patience).toEqual(['<start>', '<end>'])
  })
  it('can be left', async () => {
    const input = feed('yes')
    const { source } = follow({ file: '-' })
    await expect.poll(() => source.status().lines, patience).toBeGreaterThan(0)
    await source.stop()
    const { lines } = source.status()
    await later(1)
    expect(source.status()).toMatchObject({ state: 'stopped', lastEnd: 'stopped', lines })
    expect(input.isPaused()).toBe(true)
    expect(input.listenerCount('data') + input.listenerCount('error')).toBe(0)
  })
})

describe('standard input of a process', () => {
  let built: ReturnType<typeof build>
  beforeAll(() => {
    built = build('agent/host/follow.ts')
  })
  afterAll(() => built.remove())

  it.each([
    ['a pipe', 'printf "one\\ntwo\\nha" | { RUN; }', 'one two | stopped end of input 2 1'],
    ['a file', 'printf "one\\n" > $0/input; { RUN; } < $0/input', 'one | stopped end of input 1 0'],
    [
      'a FIFO',
      'mkfifo $0/fifo; (echo one; sleep 0.1; echo two) > $0/fifo & { RUN; } < $0/fifo',
      'one two | stopped end of input 2 0',
    ],
    ['nothing', '{ RUN; } < /dev/null', ' | stopped end of input 0 0'],
    ['closed', '{ RUN; } <&-', ' | stopped end of input 0 0'],
  ])('is %s', (_, script, expected) => {
    const program = `
      import { followFile } from ${JSON.stringify(built.module)}
      const lines = []
      const source = followFile({
        file: '-',
        onLine: (line) => lines.push(line),
        onEnd: () => {
          const { state, lastEnd, lines: count, partialLines } = source.status()
          console.log(lines.join(' '), '|', state, lastEnd, count, partialLines)
        },
        log: { info() {}, debug() {} },
      })
      source.start()`
    const run = `'${process.execPath}' --input-type=module -e "$1"`
    const output = execFileSync('sh', ['-c', script.replace('RUN', run), folder, program], { encoding: 'utf8', timeout: 20_000 })
    expect(output).toBe(`${expected}\n`)
  })
})

it('leaves nothing open', async () => {
  const fifo = path.join(folder, 'fifo')
  execFileSync('mkfifo', [fifo])
  const once = async (): Promise<void> => {
    fs.writeFileSync(file, 'one\n')
    const regular = follow({ from: 'start' })
    const other = follow({ file: fifo })
    await regular.until(['<start>', 'one'])
    fs.renameSync(file, `${file}.1`)
    fs.writeFileSync(file, 'two\n')
    const writer = fs.openSync(fifo, fs.constants.O_RDWR)
    fs.writeSync(writer, 'three\n')
    await other.until(['<start>', 'three'])
    await Promise.all([regular.source.stop(), other.source.stop()])
    fs.closeSync(writer)
  }
  await once()
  const before = countFds()
  for (let i = 0; i < 3; i++) await once()
  await expect.poll(countFds, patience).toBeLessThanOrEqual(before)
})
