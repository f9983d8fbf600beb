import fs from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, it, test } from 'vitest'
import {
  type BpftraceReading,
  type BpftraceScript,
  BpftraceScriptError,
  type CombinedScripts,
  combineScripts,
  createReadingCollector,
  parseBpftraceError,
} from '../../parsers/bpftrace-script.ts'
import { damaged } from './proc-recorded.ts'

const recordings = path.resolve(import.meta.dirname, '../fixtures/recordings')

function script(text: string, maps: Record<string, BpftraceReading> = {}, name = 'a.bt'): BpftraceScript {
  return { name, text, maps: Object.entries(maps).map(([map, reads]) => ({ name: map, reads })) }
}
const combine = (...scripts: BpftraceScript[]): CombinedScripts => combineScripts(scripts, { intervalMs: 1000 })
/** What is there before the block that reads. */
const written = (...scripts: BpftraceScript[]): string => {
  const { text } = combine(...scripts)
  return text.slice(0, text.indexOf('interval:ms:500 {'))
}
function errorOf(run: () => unknown): BpftraceScriptError {
  try {
    run()
  } catch (error) {
    if (error instanceof BpftraceScriptError) return error
    throw error
  }
  throw new Error('combined without complaint')
}

const drops = `#!/usr/bin/env bpftrace
// counts @drops, says "@drops"
#include <linux/skbuff.h>
struct pair {
  int a;
};
BEGIN { printf("@drops {\\n"); $x = 1 }

tracepoint:skb:kfree_skb
/ args->reason > 1 /
{
  @start[tid] = nsecs; // {
  @drops[args->reason, "}@drops"] = count();
  if (@start[tid]) {
    @last = /* a
      comment */ args->reason;
  }
}
interval:s:1 { @seconds++ }
`

describe('the whole', () => {
  const a = script(drops, { drops: 'flip', last: 'keep' })
  const b = script(
    'tracepoint:skb:kfree_skb { @drops = count() }\nBEGIN { $x = "s"; @d = $x; }\nEND { clear(@d) }',
    { drops: 'flip' },
    'b.bt',
  )

  it('doubles what is written to maps that flip, under names of their own', () => {
    expect(combine(a, b).text).toBe(`#include <linux/skbuff.h>
struct pair {
  int a;
};
tracepoint:skb:kfree_skb
/ args->reason > 1 /
{ if (@nv_half == 0) {
  @s0_start[tid] = nsecs; // {
  @s0_0_drops[args->reason, "}@drops"] = count();
  if (@s0_start[tid]) {
    @s0_last = /* a
      comment */ args->reason;
  }
} else { @s0_start[tid] = nsecs; @s0_1_drops[args->reason, "}@drops"] = count(); if (@s0_start[tid]) { @s0_last = args->reason; } }}
interval:s:1 { @s0_seconds++ }
tracepoint:skb:kfree_skb { if (@nv_half == 0) { @s1_0_drops = count() } else { @s1_1_drops = count() }}
BEGIN {
 printf("@drops {\\n"); $s0_x = 1 ;
 $s1_x = "s"; @s1_d = $s1_x; 
}
END {
 clear(@s1_d) ;
}
interval:ms:500 {
  if (@nv_step[0] == 0) {
    @nv_step[0] = 1;
    if (@nv_half == 0) { @nv_half = 1; } else { @nv_half = 0; }
  } else { if (@nv_step[0] == 1) {
    @nv_step[0] = 2;
    if (@nv_half == 1) {
      print(@s0_0_drops); clear(@s0_0_drops);
      print(@s1_0_drops); clear(@s1_0_drops);
    } else {
      print(@s0_1_drops); clear(@s0_1_drops);
      print(@s1_1_drops); clear(@s1_1_drops);
    }
    print(@s0_last);
    @nv_tick = count(); print(@nv_tick); clear(@nv_step);
  } }
}
`)
  })
  it('has a place for every line', () => {
    const { text, place } = combine(a, b)
    const lines = text.split('\n')
    const placeOf = (part: string) => place(lines.findIndex((line) => line.includes(part)) + 1)
    expect(placeOf('#include')).toEqual({ file: 'a.bt', line: 3 })
    expect(placeOf('int a')).toEqual({ file: 'a.bt', line: 5 })
    expect(placeOf('tracepoint:skb')).toEqual({ file: 'a.bt', line: 9 })
    expect(placeOf('args->reason > 1')).toEqual({ file: 'a.bt', line: 10 })
    expect(placeOf('@s0_0_drops[')).toEqual({ file: 'a.bt', line: 13 })
    expect(placeOf('comment */')).toEqual({ file: 'a.bt', line: 16 })
    expect(placeOf('} else {')).toEqual({ file: 'a.bt', line: 18 })
    expect(placeOf('@s0_seconds++')).toEqual({ file: 'a.bt', line: 19 })
    expect(placeOf('$s0_x = 1')).toEqual({ file: 'a.bt', line: 7 })
    expect(placeOf('@s1_0_drops = count()')).toEqual({ file: 'b.bt', line: 1 })
    expect(placeOf('$s1_x')).toEqual({ file: 'b.bt', line: 2 })
    expect(placeOf('interval:ms:500')).toBeUndefined()
    expect([place(0), place(-1), place(10_000), place(1.5)]).toEqual([undefined, undefined, undefined, undefined])
  })
  it('has a place for every probe', () => {
    const { placeOfProbe } = combine(b, a)
    expect(placeOfProbe('tracepoint:skb:kfree_skb')).toEqual({ file: 'b.bt', line: 1 })
    expect(placeOfProbe('tracepoint_skb_kfree_skb_1')).toEqual({ file: 'b.bt', line: 1 })
    expect(placeOfProbe('interval:s:1')).toEqual({ file: 'a.bt', line: 19 })
    expect(placeOfProbe('kprobe:x')).toBeUndefined()
    const two = combine(script('kprobe:a,\nkprobe:b / pid == 1 / { @x = 1; }'))
    expect(two.placeOfProbe('kprobe:b')).toEqual({ file: 'a.bt', line: 1 })
  })
  it('knows its maps by what is printed', () => {
    const { mapOf } = combine(a, b)
    expect(mapOf('s0_0_drops')).toEqual({ script: 0, map: 'drops', reads: 'flip' })
    expect(mapOf('s1_1_drops')).toEqual({ script: 1, map: 'drops', reads: 'flip' })
    expect(mapOf('s0_last')).toEqual({ script: 0, map: 'last', reads: 'keep' })
    for (const other of ['s0_start', 's0_drops', 's0_0_last', 's0_2_drops', 's2_0_drops', 'nv_tick', 'nv_half', '', 'drops']) {
      expect(mapOf(other), other).toBeUndefined()
    }
  })
})

describe('the top level', () => {
  it('moves types, preprocessor lines and one config to the top, the same type once', () => {
    const types = '#ifdef A\n#define LONG 1 + \\\n  2\n#endif\nenum e { A, B };\nunion u { int a; };\nstruct s;\n'
    expect(
      written(
        script(`config = { a = 1 }\n${types}kprobe:a { @x = LONG; }`),
        script(`config = { b = 2; // two\n};\n${types}kprobe:b { @x = 1; }`, {}, 'b.bt'),
      ),
    ).toBe(
      `${types}#ifdef A\n#define LONG 1 + \\\n  2\n#endif\nconfig = {\n a = 1 ;\n b = 2; // two\n}\nkprobe:a { @s0_x = LONG; }\nkprobe:b { @s1_x = 1; }\n`,
    )
  })
  it('leaves macros alone, and gives functions the script’s maps', () => {
    expect(written(script('macro add(@m, $x) { @m[$x] = count(); }\nfn f(): int64 { @own = 1; return 1; }'))).toBe(
      'macro add(@m, $x) { @m[$x] = count(); }\nfn f(): int64 { @s0_own = 1; return 1; }\n',
    )
  })
  it('declares both halves', () => {
    expect(written(script('let @x = lruhash(10);\nlet @own = hash(5);\nkprobe:a { @x[1] = count(); }', { x: 'flip' }))).toBe(
      'let @s0_0_x = lruhash(10); let @s0_1_x = lruhash(10);\nlet @s0_own = hash(5);\nkprobe:a { if (@nv_half == 0) { @s0_0_x[1] = count(); } else { @s0_1_x[1] = count(); }}\n',
    )
  })
  it('does not take symbols for maps', () => {
    expect(
      written(
        script('uprobe:/lib/libc.so.6:"malloc@@G{" { @x = 1; }\nuprobe:/lib/libc.so.6:free@GLIBC_2.2.5 /@x == 1/ { @x = 2; }'),
      ),
    ).toBe(
      'uprobe:/lib/libc.so.6:"malloc@@G{" { @s0_x = 1; }\nuprobe:/lib/libc.so.6:free@GLIBC_2.2.5 /@s0_x == 1/ { @s0_x = 2; }\n',
    )
  })
  it('has a map without a name', () => {
    const { text, mapOf } = combine(script('kprobe:a { @[pid] = count(); @own = 1; }', { '': 'flip' }))
    expect(text).toContain('@s0_0_[pid] = count(); @s0_own = 1;')
    expect(mapOf('s0_1_')).toEqual({ script: 0, map: '', reads: 'flip' })
  })
  it('keeps a comment from swallowing what follows', () => {
    expect(written(script('BEGIN { @a = 1 // one\n}'), script('BEGIN { @b = 1 /* two */}'))).toBe(
      'BEGIN {\n @s0_a = 1 // one\n;\n @s1_b = 1 /* two */\n;\n}\n',
    )
  })
  it('is empty without scripts but for the heartbeat', () => {
    expect(combine().text).toContain('print(@nv_tick)')
    expect(combine().text).not.toContain('@nv_half == 1')
  })
})

describe('a map that flips may be written to', () => {
  it.each([
    '@x = count()',
    '@x[1, (2, 3)] = sum(@own[4])',
    '@x[@own[1]] = hist(5)',
    '@x = lhist(5, 0, 10, 1)',
    '@x = stats(5)',
    '@x++',
    '++@x',
    '@x[1] += 5',
  ])('%s', (text) => {
    expect(written(script(`kprobe:a { ${text}; }`, { x: 'flip' }))).toContain('@s0_1_x')
  })
})

describe('errors', () => {
  const flips = { x: 'flip' } as const
  it.each([
    [
      'kprobe:a\n/ @x > 5 /\n{ @x = count(); }',
      2,
      '@x in a filter has only what was counted since it was last read: use a second map for that',
    ],
    ['kprobe:a { @x = count(); }\ninterval:s:1 { print(@x); }', 2, '@x is read and cleared by netvitals: take print() out'],
    ['kprobe:a { @x = count();\nclear(@x); }', 2, '@x is read and cleared by netvitals: take clear() out'],
    ['kprobe:a { @x = count();\n\nzero(@x); }', 3, '@x is read and cleared by netvitals: take zero() out'],
    ['kprobe:a { @x[1] = count(); delete(@x[1]); }', 1, '@x is read and cleared by netvitals: take delete() out'],
    [
      'kprobe:a { @x = count(); @y = @x; }',
      1,
      '@x as a value has only what was counted since it was last read: use a second map for that',
    ],
    [
      'kprobe:a { @x = count(); if (@x == 5) { } }',
      1,
      '@x as a value has only what was counted since it was last read: use a second map for that',
    ],
    ['kprobe:a { @x = avg(5); }', 1, 'avg() of @x cannot be added to the next one: use stats()'],
    [
      'kprobe:a { @x = max(5); }',
      1,
      '@x does not add up: use count(), sum(), hist(), lhist(), stats(), ++ or +=, or declare it as a gauge',
    ],
    [
      'kprobe:a { @x = 5; }',
      1,
      '@x does not add up: use count(), sum(), hist(), lhist(), stats(), ++ or +=, or declare it as a gauge',
    ],
    [
      'kprobe:a { @x--; }',
      1,
      '@x does not add up: use count(), sum(), hist(), lhist(), stats(), ++ or +=, or declare it as a gauge',
    ],
    ['fn f() { @x = count(); }', 1, 'write to @x in a probe, not in a function'],
    ['kprobe:a { @y = count(); }', 1, 'nothing writes to @x, which is declared as a metric'],
    ['// @x = count();\nkprobe:a { printf("@x = count()"); }', 1, 'nothing writes to @x, which is declared as a metric'],
    ['kprobe:a { @x = count();\nexit(); }', 2, 'exit() would end all scripts: take it out'],
    ['BEGIN { return; }\nkprobe:a { @x = count(); }', 1, 'return would leave out what other scripts do in BEGIN: use if'],
    ['kprobe:a {\n@x = count();', 1, 'a block without the } at its end'],
    ['kprobe:a { @x = count(); }\nkprobe:b', 2, 'a probe without its block'],
    ['kprobe:a { @x = count(); }\n/* ', 2, 'a comment without its end'],
    ['kprobe:a { @x = count();\nprintf("a); }', 2, 'a string without its end'],
    ['kprobe:a { @x = count();\n#define A 1\n}', 2, 'a preprocessor line inside a block: put it outside'],
    ['struct s { int a; }\nkprobe:a { @x = count(); }', 1, 'a struct without the ; at its end'],
  ])('%j', (text, line, problem) => {
    expect(errorOf(() => combine(script('kprobe:z { @z = 1; }', {}, 'z.bt'), script(text, flips, 'a.bt')))).toMatchObject({
      name: 'BpftraceScriptError',
      file: 'a.bt',
      line,
      problem,
      message: `a.bt: line ${line}: ${problem}`,
    })
  })
  it('a map that is only looked at, but never written to, with where it is', () => {
    expect(errorOf(() => combine(script('kprobe:a {\n  printf("%d", @g); }', { g: 'keep' })))).toMatchObject({
      line: 2,
      problem: 'nothing writes to @g, which is declared as a metric',
    })
  })
  it('a map that is kept may be used in any way', () => {
    expect(written(script('kprobe:a / @g > 1 / { @g = max(5); print(@g); clear(@g); @h = @g; }', { g: 'keep' }))).toBe(
      'kprobe:a / @s0_g > 1 / { @s0_g = max(5); print(@s0_g); clear(@s0_g); @s0_h = @s0_g; }\n',
    )
  })
  it('are all that damaged scripts end with', () => {
    const text = fs.readFileSync(path.join(recordings, 'bpftrace-packets.bt'), 'utf8')
    fc.assert(
      fc.property(damaged([text, drops]), (broken) => {
        try {
          const { text: combined, place } = combine(script(broken, { packets: 'flip', lengths: 'flip' }))
          for (let line = 1; line <= combined.split('\n').length; line++) {
            expect(place(line)?.line ?? 1).toBeLessThanOrEqual(broken.split('\n').length)
          }
        } catch (error) {
          expect(error).toBeInstanceOf(BpftraceScriptError)
        }
      }),
    )
  })
})

test('the second copy of a body has all of it but comments and newlines', () => {
  const strip = (text: string) => text.replace(/\/\*[\s\S]*?\*\/|\/\/[^\n]*/g, '').replace(/\s+/g, '')
  const piece = fc.constantFrom(
    '@x = count();',
    '@own[1] = 2;',
    '// c "\n',
    '/* } */',
    '$a = 1;',
    '\n',
    ' ',
    'printf("a b // c");',
    'if (1) { @x++; }',
  )
  fc.assert(
    fc.property(fc.array(piece), (pieces) => {
      const body = `${pieces.join('')}\n@x = count();`
      const [, first = '', second = ''] = /^kprobe:a \{ if \(@nv_half == 0\) \{([\s\S]*)\n?\} else \{(.*) \}\}\n$/.exec(
        written(script(`kprobe:a {${body}\n}`, { x: 'flip' })),
      )!
      const strings = (text: string) => text.replaceAll('a b // c', 'string')
      expect(strip(strings(second)).replaceAll('@s0_1_', '@s0_0_')).toBe(strip(strings(first)))
    }),
  )
})

test('many long scripts are combined at once', () => {
  const body = `@x[1] = count(); // comment "\n@own[@x2["a"]] = 5;\n`.repeat(2000)
  const started = performance.now()
  combine(...Array.from({ length: 10 }, (_, i) => script(`kprobe:a {\n${body}}`, { x: 'flip' }, `${i}.bt`)))
  expect(performance.now() - started).toBeLessThan(3000)
})

describe('createReadingCollector', () => {
  const combined = combine(
    script('kprobe:a { @x[pid] = count(); @n = count(); @g = max(5); @own = 1; }', { x: 'flip', n: 'flip', g: 'keep' }),
  )
  type Given = [map: string, entries: Record<string, unknown>]
  function collect(...maps: [name: string, entries: Record<string, number>][]): { given: Given[]; beats: number } {
    const given: Given[] = []
    let beats = 0
    const collector = createReadingCollector(combined, ({ map }, entries) => given.push([map, Object.fromEntries(entries)]))
    for (const [map, entries] of maps) {
      if (collector.push({ type: 'map', map, entries: new Map(Object.entries(entries)), skipped: 0 })) beats++
    }
    collector.end()
    return { given, beats }
  }
  const tick = (count: number): [string, Record<string, number>] => ['nv_tick', { '': count }]

  it('gives each reading at its heartbeat, and the rest at the end', () => {
    const given: Given[] = []
    const collector = createReadingCollector(combined, ({ map, script: index, reads }, entries) => {
      expect([index, reads]).toEqual([0, map === 'g' ? 'keep' : 'flip'])
      given.push([map, Object.fromEntries(entries)])
    })
    const push = (map: string, entries: Record<string, number>) =>
      collector.push({ type: 'map', map, entries: new Map(Object.entries(entries)), skipped: 0 })
    expect(push('s0_0_x', { 1: 5 })).toBe(false)
    push('s0_g', { '': 3 })
    push('s0_own', { '': 1 })
    push('other', { '': 1 })
    expect(given).toEqual([])
    expect(push('nv_tick', { '': 1 })).toBe(true)
    expect(given.splice(0)).toEqual([
      ['x', { 1: 5 }],
      ['g', { '': 3 }],
    ])
    push('s0_1_x', { 1: 7 })
    collector.end()
    expect(given.splice(0)).toEqual([['x', { 1: 7 }]])
    collector.end()
    expect(given).toEqual([])
  })
  it('counts once what is printed again at the end because it was not cleared any more', () => {
    expect(
      collect(
        ['s0_0_x', { 1: 5, 2: 6 }],
        ['s0_0_n', { '': 11 }],
        ['nv_half', { '': 1 }],
        tick(1),
        ['s0_0_n', { '': 0 }], // this one was
        ['s0_0_x', { 1: 5, 2: 6 }],
        ['s0_1_n', { '': 2 }],
        ['s0_1_x', { 2: 2 }],
        ['s0_g', { '': 9 }],
      ),
    ).toEqual({
      beats: 0,
      given: [
        ['x', { 1: 5, 2: 6 }],
        ['n', { '': 11 }],
        ['n', { '': 2 }],
        ['x', { 2: 2 }],
        ['g', { '': 9 }],
      ],
    })
  })
  it('adds what is printed at the end for the first time, and takes the last of what is kept', () => {
    expect(
      collect(
        ['s0_g', { '': 1 }],
        ['s0_1_x', { 1: 5 }],
        tick(1),
        ['s0_g', { '': 2 }],
        ['nv_half', { '': 1 }],
        tick(1),
        ['s0_1_x', { 1: 6 }],
        ['s0_g', { '': 3 }],
      ),
    ).toEqual({
      beats: 1,
      given: [
        ['g', { '': 1 }],
        ['x', { 1: 5 }],
        ['g', { '': 3 }],
        ['x', { 1: 6 }],
      ],
    })
  })
})

describe('parseBpftraceError', () => {
  const errorsOf = (version: string) =>
    fs
      .readFileSync(path.join(recordings, `bpftrace-${version}-errors.txt`), 'utf8')
      .split('\n----\n')
      .map((stderr) => parseBpftraceError(stderr).map(({ line, probe, message }) => [line ?? probe, message]))

  it('knows the compiler’s complaints, and a location in a file', () => {
    const stderr = `/usr/include/linux/sched.h:93:2: error: unknown type name '__aligned_u64'
definitions.h:4:10: fatal error: 'net/sock.h' file not found
/tmp/a.bt:12:1-3: ERROR: no
stdin:7:3: FATAL: no
a.bt:8:3-4: WARNING: no
bpftrace: x: ERROR: no`
    expect(parseBpftraceError(stderr)).toEqual([
      { line: undefined, probe: undefined, message: "/usr/include/linux/sched.h:93:2: error: unknown type name '__aligned_u64'" },
      { line: undefined, probe: undefined, message: "definitions.h:4:10: fatal error: 'net/sock.h' file not found" },
      { line: 12, probe: undefined, message: 'no' },
      { line: 7, probe: undefined, message: 'no' },
    ])
    expect(parseBpftraceError('')).toEqual([])
  })
  it('reads 0.17', () => {
    expect(errorsOf('0.17.0')).toEqual([
      [[3, 'tracepoint not found: skb:nope']],
      [[3, 'syntax error, unexpected =']],
      [[4, 'Unknown function: foo']],
      [
        [undefined, "definitions.h:2:14: error: unknown type name 'nosuch'"],
        [undefined, 'Include headers with missing type definitions or install BTF information to your system.'],
      ],
      [['kprobe:nosuch', "Error attaching probe: 'kprobe:nosuch'"]],
      [],
      [['tracepoint:skb:kfree_skb', 'Error loading program: tracepoint:skb:kfree_skb (try -v)']],
    ])
  })
  it('reads 0.23', () => {
    expect(errorsOf('0.23.2')).toEqual([
      [[3, 'tracepoint not found: skb:nope']],
      [[3, 'syntax error, unexpected =']],
      [[4, 'Unknown function: foo']],
      [['kprobe:nosuch', 'Error attaching probe: kprobe:nosuch']],
    ])
  })
  it('reads 0.27', () => {
    expect(errorsOf('0.27.1')).toEqual([
      [[3, 'No matches for tracepoint skb:nope.']],
      [
        [3, 'syntax: expected expression'],
        [3, "syntax: expected ';'"],
      ],
      [[4, "Unknown function: 'foo'"]],
      [
        [undefined, "definitions.h:2:14: error: unknown type name 'nosuch'"],
        [undefined, 'Include headers with missing type definitions or install BTF information to your system.'],
      ],
      [[1, 'No matches for kprobe nosuch.']],
      [[1, 'Cannot cast from "uint8[28]" to "struct sockaddr_in *"']],
      [],
      [
        [
          'tracepoint_skb_kfree_skb_1',
          'Error loading BPF program for tracepoint_skb_kfree_skb_1. Error code: -7 (Argument list too long). Use -v for full kernel error log.',
        ],
      ],
    ])
  })
})
