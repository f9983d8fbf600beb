import { execFileSync, spawn } from 'node:child_process'
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { mapNames } from '../../../agent/host/traced-maps.ts'
import { createTracer, type Tracer } from '../../../agent/host/tracer.ts'
import { limits } from '../../../agent/limits.ts'
import { findExpectedAbsence } from '../../truth/expected-absences.ts'
import { createTopology, type Namespace, requireRoot, requireTracer, type Topology } from '../../truth/topology.ts'

const root = fileURLToPath(new URL('../../..', import.meta.url))

const everything = [...mapNames, 'tasks'] as const

test('a tracer that was not started says so', () => {
  const tracer = createTracer()
  for (const what of everything) expect(tracer.missing(what)).toBe('not started')
  expect(() => tracer.read('dropped_packets_total', () => {})).toThrow(
    'the tracer does not give dropped_packets_total: not started',
  )
  expect(() => [...tracer.tasks()]).toThrow('not started')
  expect(tracer.lost()).toEqual({ mapFull: 0, recursion: 0 })
})

requireTracer('the tracer on this kernel', () => {
  let net: Topology
  beforeAll(async () => {
    net = await createTopology('nvc-tracer')
  })
  afterAll(() => net?.dispose())

  /** Something that every kernel tells: so many resets received, in syn_sent. */
  const refuse = async (namespace: Namespace, count: number) => {
    const storm = { address: '127.0.0.1', port: 9999, end: 'refused', count }
    expect(await net.run(namespace, 'tcp-storm', storm)).toEqual({ ECONNREFUSED: count })
  }
  /** Keys of the namespace's received resets, and how many. */
  const ours = (tracer: Tracer) => {
    const entries: { key: Uint8Array; count: number }[] = []
    tracer.read('tcp_received_resets_total', (key, [count]) => {
      if (key.getUint32(0, true) === net.a.inode) entries.push({ key: new Uint8Array(key.buffer.slice(0)), count: count! })
    })
    return entries
  }

  describe('running', () => {
    let tracer: Tracer
    beforeEach(async () => {
      tracer = createTracer()
      await tracer.start()
    })
    afterEach(() => tracer.stop())

    test('has its programs', () => {
      for (const what of everything) expect(tracer.missing(what)).toBe(findExpectedAbsence(what))
    })

    test('names reasons', () => {
      const names = Array.from({ length: 60 }, (_, reason) => tracer.reasonName(reason))
      const isNamed = findExpectedAbsence('dropped_packets_total') === undefined
      expect(names.filter((name) => name === 'netfilter_drop' || name === 'no_socket')).toHaveLength(isNamed ? 2 : 0)
      expect(names.filter((name) => !/^[a-z0-9_]+$/.test(name))).toEqual([])
      expect(tracer.reasonName(60_000)).toBe('reason_60000')
      expect(tracer.reasonName((9 << 16) | 5)).toBe('subsys_9:5')
    })

    test('names reasons of resets', () => {
      const isNamed = findExpectedAbsence('tcp_sent_resets_by_reason_total') === undefined
      expect(tracer.resetReasonName(1)).toBe(isNamed ? 'no_socket' : 'reason_1')
      const names = Array.from({ length: 20 }, (_, reason) => tracer.resetReasonName(reason))
      expect(new Set(names).size).toBe(20)
      expect(names.filter((name) => !/^[a-z0-9_]+$/.test(name))).toEqual([])
      expect(tracer.resetReasonName(60_000)).toBe('reason_60000')
    })

    test('lists processes with their namespaces', async () => {
      const { cookie = 0 } = await net.run<{ cookie?: number }>(net.a, 'namespace')
      const child = spawn('ip', ['netns', 'exec', net.a.name, 'sleep', '600'])
      await expect.poll(() => statSync(`/proc/${child.pid}/ns/net`).ino).toBe(net.a.inode)
      const tasks = [...tracer.tasks()]
      child.kill()
      expect(tasks.find(({ pid }) => pid === child.pid)).toEqual({ pid: child.pid, inode: net.a.inode, cookie })
      expect(tasks.find(({ pid }) => pid === process.pid)?.inode).toBe(statSync('/proc/self/ns/net').ino)
      expect(new Set(tasks.map(({ pid }) => pid)).size).toBe(tasks.length)
    })

    test('takes a key out with its last values', async () => {
      await refuse(net.a, 10)
      const [entry] = ours(tracer)
      expect(entry!.count).toBe(10)
      expect(tracer.take('tcp_received_resets_total', entry!.key)).toEqual(Float64Array.of(10))
      expect(tracer.take('tcp_received_resets_total', entry!.key)).toBeUndefined()
      expect(ours(tracer)).toEqual([])
    })

    test('stops: nothing is counted any more', async () => {
      await tracer.stop()
      for (const what of everything) expect(tracer.missing(what)).toBe('stopped')
      expect(() => ours(tracer)).toThrow('stopped')
      await tracer.stop()
    })
  })

  test('what a full map refuses is counted, and what it holds goes on', async () => {
    const tracer = createTracer()
    vi.spyOn(limits as { tracerKeys: number }, 'tracerKeys', 'get').mockReturnValue(1)
    try {
      // A reset of the machine's own may be first.
      for (let held = 0; held !== 5; held = ours(tracer)[0]?.count ?? 0) {
        await tracer.stop()
        await tracer.start()
        await refuse(net.a, 5)
      }
    } finally {
      vi.restoreAllMocks()
    }
    const before = tracer.lost().mapFull
    await refuse(net.b, 300)
    await refuse(net.a, 7)
    expect(ours(tracer).map(({ count }) => count)).toEqual([12])
    expect(tracer.lost().mapFull - before).toBeGreaterThanOrEqual(300)
    await tracer.stop()
  })

  test('maps can be switched off, and a program with the last of them', async () => {
    const tracer = createTracer({ off: ['tcp_received_resets_total', 'tcp_rtt_seconds'] })
    await tracer.start()
    expect(tracer.missing('tcp_received_resets_total')).toBe('switched off')
    expect(tracer.missing('tcp_rtt_seconds')).toBe('switched off')
    expect(tracer.missing('tcp_connects_total')).toBeUndefined()
    expect(tracer.missing('tasks')).toBeUndefined()
    expect([...tracer.tasks()].length).toBeGreaterThan(0)
    expect(() => ours(tracer)).toThrow('switched off')
    await tracer.stop()
    const idle = createTracer({ off: mapNames, tasks: false })
    await idle.start()
    for (const what of everything) expect(idle.missing(what)).toBe('switched off')
    await idle.stop()
  })
})

requireRoot('a tracer that cannot run says what is missing', () => {
  /** The tracer as JavaScript, because what a machine lacks can be shown to another process only. */
  let built: string
  const object = () => join(built, 'agent/bpf/netvitals.bpf.o')
  beforeAll(() => {
    built = mkdtempSync(join(tmpdir(), 'nvc-tracer-'))
    const options =
      '--ignoreConfig --module nodenext --target es2023 --types node --skipLibCheck --rewriteRelativeImportExtensions'
    const sources = ['agent/host/tracer.ts', '--rootDir', '.', '--outDir', built]
    execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', ...options.split(' '), ...sources], { cwd: root })
    mkdirSync(join(built, 'agent/bpf'))
    writeFileSync(
      join(built, 'check.mjs'),
      `import { mapNames } from './agent/host/traced-maps.js'
      import { createTracer } from './agent/host/tracer.js'
      const tracer = createTracer()
      await tracer.start()
      const everything = [...mapNames, 'tasks']
      console.log(JSON.stringify(Object.fromEntries(everything.map((name) => [name, tracer.missing(name) ?? 'runs']))))
      await tracer.stop()`,
    )
    writeFileSync(join(built, 'package.json'), '{ "type": "module" }')
  })
  beforeEach(() => {
    copyFileSync(join(root, 'agent/bpf/netvitals.bpf.o'), object())
    symlinkSync(join(root, 'node_modules'), join(built, 'node_modules'))
  })
  afterEach(() => rmSync(join(built, 'node_modules')))
  afterAll(() => rmSync(built, { recursive: true }))

  /** What it said, run by a command such as setpriv; nothing may be on standard error. */
  const check = (...command: string[]) => {
    const [file, ...parameters] = [...command, process.execPath, join(built, 'check.mjs')]
    const output = execFileSync('sh', ['-c', 'exec "$@" 2>&1', 'sh', file!, ...parameters], { encoding: 'utf8' })
    return JSON.parse(output)
  }
  const withMount = (mount: string) => ['unshare', '-m', 'sh', '-c', `${mount} && exec "$@"`, 'sh']
  /** What this kernel gives, but for these. */
  const except = (differences: Record<string, unknown>) => ({
    ...Object.fromEntries(everything.map((what) => [what, findExpectedAbsence(what) ?? 'runs'])),
    ...differences,
  })
  /** Everything, with this reason. */
  const all = (reason: unknown) => Object.fromEntries(everything.map((what) => [what, reason]))
  /** What this kernel gives, with this reason. */
  const given = (reason: unknown) => Object.fromEntries(everything.map((what) => [what, findExpectedAbsence(what) ?? reason]))

  test('CAP_BPF and CAP_PERFMON are enough', () => {
    expect(check('setpriv', '--bounding-set=-all,+bpf,+perfmon')).toEqual(except({}))
  })

  test.each(['-all', '-all,+bpf', '-all,+net_admin,+perfmon'])('capabilities %s', (set) => {
    expect(check('setpriv', `--bounding-set=${set}`)).toEqual(given(expect.stringContaining('needs CAP_BPF and CAP_PERFMON')))
  })

  test('no BTF', () => {
    expect(check(...withMount('mount -t tmpfs none /sys/kernel/btf'))).toEqual(all('kernel has no BTF (/sys/kernel/btf/vmlinux)'))
  })

  test('no libbpf', () => {
    const [, library] = /libbpf\.so\.1 .*=> (\S+)/.exec(execFileSync('ldconfig', ['-p'], { encoding: 'utf8' }))!
    expect(check(...withMount(`mount --bind /dev/null ${realpathSync(library!)}`))).toEqual(
      all(expect.stringMatching(/^libbpf\.so\.1 not found: apt-get install libbpf1 \(.+\)$/)),
    )
  })

  test('no koffi', () => {
    rmSync(join(built, 'node_modules'))
    mkdirSync(join(built, 'node_modules'))
    expect(check()).toEqual(all(expect.stringMatching(/^koffi is not installed: npm install koffi \(.+\)$/)))
    rmSync(join(built, 'node_modules'), { recursive: true })
    symlinkSync(join(root, 'node_modules'), join(built, 'node_modules'))
  })

  test('no object, or what is none', () => {
    rmSync(object())
    expect(check()).toEqual(given(expect.stringContaining('ENOENT')))
    writeFileSync(object(), 'hello')
    expect(check()).toEqual(given(expect.stringMatching(/^not a BPF object: .*ELF/)))
    writeFileSync(object(), readFileSync(join(root, 'agent/bpf/netvitals.bpf.o')).subarray(0, 5000))
    expect(check()).toEqual(given(expect.stringMatching(/^not a BPF object: .+/)))
  })

  /** Puts an object in place that is made of the source with something replaced. */
  const rebuild = (what: string, by: string) => {
    const source = join(built, 'other.bpf.c')
    const text = readFileSync(join(root, 'agent/bpf/netvitals.bpf.c'), 'utf8')
    expect(text).toContain(what)
    writeFileSync(source, text.replaceAll(what, by))
    const headers = `/usr/include/${execFileSync('uname', ['-m'], { encoding: 'utf8' }).trim()}-linux-gnu`
    execFileSync('clang-14', ['-target', 'bpf', '-mcpu=v2', '-O2', '-g', `-I${headers}`, '-c', source, '-o', object()])
  }

  test('a program that the verifier refuses is left out alone, with its verdict', () => {
    rebuild('if (!task || task->pid != task->tgid)', 'if (task->pid != task->tgid)')
    expect(check()).toEqual(
      except({ tasks: expect.stringMatching(/^refused by the kernel, EACCES: R\d+ invalid mem access '.*or_null_'$/) }),
    )
  })

  /** A map is missing if any of the programs that fill it is. */
  const mapsOf = {
    dropped_packets: ['dropped_packets_total', 'edge_dropped_packets_total'],
    sent_resets: ['tcp_sent_resets_by_reason_total'],
    received_resets: ['tcp_received_resets_total'],
    retransmitted_segments: ['tcp_retransmitted_segments_by_kind_total', 'tcp_retransmit_failures_total'],
    retransmitted_synacks: ['tcp_retransmitted_segments_by_kind_total'],
    state_changes: ['tcp_connects_total', 'tcp_connect_duration_seconds', 'tcp_rtt_seconds', 'edge_connects_total'],
    sent_icmp: ['icmp_sent_fragmentation_needed_total'],
  } as const
  const tracepoints = {
    dropped_packets: 'kfree_skb',
    sent_resets: 'tcp_send_reset',
    received_resets: 'tcp_receive_reset',
    retransmitted_segments: 'tcp_retransmit_skb',
    retransmitted_synacks: 'tcp_retransmit_synack',
    state_changes: 'inet_sock_set_state',
    sent_icmp: 'icmp_send',
  } as const
  const each = Object.entries(mapsOf) as [keyof typeof mapsOf, readonly string[]][]

  test.each(each)('%s that the verifier refuses takes %j with it, and nothing else', (program, maps) => {
    const head = `int ${program}(__u64 *ctx)\n{\n`
    rebuild(head, `${head}\tif (((volatile __u64 *)ctx)[11] == 4711)\n\t\treturn 0;\n`) // no tracepoint has so many arguments
    const refused = expect.stringMatching(/^refused by the kernel, EACCES: /)
    expect(check()).toEqual(except(Object.fromEntries(maps.map((map) => [map, refused]))))
  })

  test.each(each)('a kernel without the tracepoint of %s lacks %j', (program, maps) => {
    const tables = join(built, 'agent/host/traced-maps.js')
    const text = readFileSync(tables, 'utf8')
    try {
      writeFileSync(tables, text.replace(`'${tracepoints[program]}'`, "'no_such_tracepoint'"))
      const reason = 'kernel has no tracepoint no_such_tracepoint'
      // What a map lacks by itself is said first.
      const failures = findExpectedAbsence('tcp_retransmit_failures_total')
      const reasonOf = (map: string) => (map === 'tcp_retransmit_failures_total' ? (failures ?? reason) : reason)
      expect(check()).toEqual(except(Object.fromEntries(maps.map((map) => [map, reasonOf(map)]))))
    } finally {
      writeFileSync(tables, text)
    }
  })

  test.each([
    [
      ['dropped_packets_total', 'edge_dropped_packets_total'],
      'trace_event_raw_kfree_skb',
      /^this kernel does not say why it frees a packet/,
    ],
    [['tcp_sent_resets_by_reason_total'], 'trace_event_raw_tcp_send_reset', /^this kernel does not say why it resets/],
    [['tcp_retransmit_failures_total'], 'trace_event_raw_tcp_retransmit_skb', /^this kernel does not tell of retransmissions/],
  ])('an older kernel lacks %j, and nothing else', (maps, struct, reason) => {
    const tables = join(built, 'agent/host/traced-maps.js')
    const text = readFileSync(tables, 'utf8')
    try {
      writeFileSync(tables, text.replaceAll(`'${struct}'`, "'no_such_struct'"))
      expect(check()).toEqual(except(Object.fromEntries(maps.map((map) => [map, expect.stringMatching(reason)]))))
    } finally {
      writeFileSync(tables, text)
    }
  })

  test('an object of another version', () => {
    rebuild('int tasks(', 'int threads(')
    expect(check()).toEqual(except({ tasks: 'the BPF object does not have it' }))
    rebuild('dropped_packets_total', 'dropped_total')
    expect(check()).toEqual(given('the BPF object has no map dropped_packets_total'))
  })
})
