import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const folder = fileURLToPath(new URL('../../agent/bpf/', import.meta.url))
const committed = readFileSync(join(folder, 'netvitals.bpf.o'))

function hasCompiler(): boolean {
  try {
    execFileSync('clang-14', ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

const compiler = hasCompiler()
if (!compiler && process.env.CI !== 'true') console.warn('SKIPPED, no clang-14: is the committed object built from its source?')

test.skipIf(!compiler && process.env.CI !== 'true')(
  'the committed object is what clang 14 makes of its source, in any directory',
  () => {
    const copy = mkdtempSync(join(tmpdir(), 'nvc-bpf-'))
    try {
      for (const file of ['Makefile', 'netvitals.bpf.c']) copyFileSync(join(folder, file), join(copy, file))
      execFileSync('make', ['-s', '-C', copy], { stdio: ['ignore', 'ignore', 'inherit'] })
      expect(readFileSync(join(copy, 'netvitals.bpf.o')).equals(committed)).toBe(true)
    } finally {
      rmSync(copy, { recursive: true })
    }
  },
)

test('the object tells the kernel its licence, and nobody where it was built', () => {
  const text = committed.toString('latin1')
  expect(text).toContain('Dual BSD/GPL\0')
  expect(text.match(/[^\0]*netvitals\.bpf\.c/g)).toEqual(['./netvitals.bpf.c'])
})

test('it is a little-endian BPF object without data of its own, but for its settings', () => {
  expect([...committed.subarray(0, 6)]).toEqual([0x7f, 0x45, 0x4c, 0x46, 2, 1])
  expect(committed.readUInt16LE(18)).toBe(247) // EM_BPF
  // A constant that the compiler sets aside would become a map that nobody asked for.
  const sections = committed.toString('latin1').match(/\.(data|bss|rodata)[\w.]*/g)
  expect([...new Set(sections)]).toEqual(['.rodata.settings'])
})
