import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'

const crashers = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-fuzz-'))
afterAll(() => fs.rmSync(crashers, { recursive: true }))

function fuzz(...args: readonly string[]): { status: number | null; lines: string[] } {
  const command = [path.join(import.meta.dirname, 'run.mjs'), `--crashers=${crashers}`, ...args]
  const { status, stdout, stderr } = spawnSync(process.execPath, command, { encoding: 'utf8', timeout: 120_000 })
  return { status, lines: `${stdout}${stderr}`.trimEnd().split('\n') }
}

describe('the parsers', () => {
  // The same inputs each time; `make fuzz` has new ones.
  it('keep their promises with 20,000 damaged inputs each', { timeout: 120_000 }, () => {
    const { status, lines: all } = fuzz('--count=20000', '--seed=1')
    expect(status, all.join('\n')).toBe(0)
    // On a slow machine there is more to say.
    const lines = all.filter((line) => !/: \d+ of \d+, seed 1$/.test(line))
    expect(lines.map((line) => line.replace(/:.*/, ''))).toEqual([
      'dns-message',
      'dns-stream',
      'packet-headers',
      'pcap-file',
      'tcp-streams',
      'http-message',
      'analysis',
    ])
    expect(lines.filter((line) => !/^[\w-]+: (?:20000|1000) inputs of seed 1, \d+ a second: \w/.test(line))).toEqual([])
  })
})

describe('planted faults', () => {
  const planted = (...args: readonly string[]) =>
    fuzz(`--targets=${path.join(import.meta.dirname, 'planted.mjs')}`, '--stalled-seconds=2', ...args)
  const withoutSpeed = ({ lines }: { lines: string[] }): string => lines.join('\n').replace(/\d+ a second/, '')

  it.each([
    ['throws', /TypeError: planted/],
    ['never ends', /more than 3 reads a byte/],
    ['never ends and reads nothing', /no end in 2 seconds/],
    ['reads too often', /more than 3 reads a byte/],
    ['reads behind the end', /read \d+ of \d+ bytes/],
    ['reads before the begin', /taken, but odd among bytes of/],
    ['takes all memory', /memory/],
  ])('%s: is found, kept, and found again in what was kept', { timeout: 120_000 }, (name, fault) => {
    const first = planted('--count=20000', '--seed=7', name)
    expect(first.lines.join('\n')).toMatch(fault)
    expect(first.status).toBe(1)
    const [, file = ''] = /^again: node test\/fuzz\/run\.mjs --file=(.*\.bin) /.exec(first.lines.at(-1) ?? '') ?? []
    expect(file.startsWith(path.join(crashers, `${name}-7-`))).toBe(true)
    const again = planted(`--file=${file}`, name)
    expect(again.lines.join('\n')).toMatch(fault)
    expect(again.status).toBe(1)
  })
  it('are not seen where there are none', () => {
    const { status, lines } = planted('--count=5000', '--seed=7', 'sound')
    expect([status, lines.length]).toEqual([0, 1])
    expect(lines[0]).toMatch(/^sound: 5000 inputs of seed 7, .*: (even|odd) \d+, (even|odd) \d+$/)
  })
  it('come with the same inputs for the same seed, and others for another', () => {
    const [one, same, other] = [3, 3, 4].map((seed) => withoutSpeed(planted('--count=5000', `--seed=${seed}`, 'sound')))
    expect(same).toBe(one)
    expect(other?.replace('seed 4', 'seed 3')).not.toBe(one)
  })
  it('are not looked for in a parser that is not there', () => {
    const { status, lines } = planted('--count=1', 'sound', 'missing')
    expect(status).toBe(1)
    expect(lines.join('\n')).toMatch(/no missing among sound, throws/)
  })
})
