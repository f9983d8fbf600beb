import { execFileSync } from 'node:child_process'
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
import { createTracer, mapNames, type Tracer, tracedProtocols } from '../../../agent/host/tracer.ts'
import { limits } from '../../../agent/limits.ts'
import { findExpectedAbsence } from '../../truth/expected-absences.ts'
import { createTopology, requireRoot, type Topology } from '../../truth/topology.ts'

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

requireRoot('the tracer on this kernel', () => {
  let net: Topology
  beforeAll(async () => {
    net = await createTopology('nvc-tracer')
  })
  afterAll(() => net?.dispose())

  const drop = (port: number, count: number) => net.run(net.a, 'udp-send', { address: '127.0.0.1', port, count })
  /** Keys and packets of the namespace's UDP drops; IPv6 sends and drops multicast by itself. */
  const ours = (tracer: Tracer) => {
    const entries: { key: Uint8Array; packets: number }[] = []
    tracer.read('dropped_packets_total', (key, [packets]) => {
      if (key.getUint32(0, true) === net.a.inode && tracedProtocols[key.getUint8(12)] === 'udp')
        entries.push({ key: new Uint8Array(key.buffer.slice(0)), packets: packets! })
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
      expect(names).toContain('netfilter_drop')
      expect(names).toContain('no_socket')
      expect(names.filter((name) => !/^[a-z0-9_]+$/.test(name))).toEqual([])
      expect(tracer.reasonName(60_000)).toBe('reason_60000')
      expect(tracer.reasonName((9 << 16) | 5)).toBe('subsys_9:5')
    })

    test('names reasons of resets', () => {
      expect(tracer.resetReasonName(1)).toBe('no_socket')
      const names = Array.from({ length: 20 }, (_, reason) => tracer.resetReasonName(reason))
      expect(new Set(names).size).toBe(20)
      expect(names.filter((name) => !/^[a-z0-9_]+$/.test(name))).toEqual([])
      expect(tracer.resetReasonName(60_000)).toBe('reason_60000')
    })

    test('lists processes with their namespaces', async () => {
      const { cookie } = await net.run<{ cookie: number }>(net.a, 'namespace')
      const holder = await net.hold(net.a, 'udp-listen', { address: net.a.ipv4, port: 9000 })
      const tasks = [...tracer.tasks()]
      await holder.stop()
      expect(tasks.find(({ pid }) => pid === holder.pid)).toEqual({ pid: holder.pid, inode: net.a.inode, cookie })
      expect(tasks.find(({ pid }) => pid === process.pid)?.inode).toBe(statSync('/proc/self/ns/net').ino)
      expect(new Set(tasks.map(({ pid }) => pid)).size).toBe(tasks.length)
    })

    test('takes a key out with its last values', async () => {
      await drop(9999, 10)
      const [entry] = ours(tracer)
      expect(entry!.packets).toBe(10)
      expect(tracer.take('dropped_packets_total', entry!.key)).toEqual(Float64Array.of(10, 600))
      expect(tracer.take('dropped_packets_total', entry!.key)).toBeUndefined()
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
      // The machine's own drops may be first.
      for (let held = 0; held !== 5; held = ours(tracer)[0]?.packets ?? 0) {
        await tracer.stop()
        await tracer.start()
        await drop(9999, 5)
      }
    } finally {
      vi.restoreAllMocks()
    }
    const before = tracer.lost().mapFull
    net.exec(net.a, 'iptables', '-w', '-A', 'OUTPUT', '-p', 'udp', '--dport', '9001', '-j', 'DROP')
    await drop(9001, 300)
    await drop(9999, 7)
    expect(ours(tracer).map(({ packets }) => packets)).toEqual([12])
    expect(tracer.lost().mapFull - before).toBeGreaterThanOrEqual(300)
    await tracer.stop()
  })

  test('maps can be switched off, and a program with the last of them', async () => {
    const tracer = createTracer({ off: ['dropped_packets_total', 'tcp_rtt_seconds'] })
    await tracer.start()
    expect(tracer.missing('dropped_packets_total')).toBe('switched off')
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
      `import { createTracer, mapNames } from './agent/host/tracer.js'
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
  /** Everything, with this reason; what the kernel lacks may be said instead. */
  const all = (reason: unknown) => Object.fromEntries(everything.map((what) => [what, reason]))

  test('CAP_BPF and CAP_PERFMON are enough', () => {
    expect(check('setpriv', '--bounding-set=-all,+bpf,+perfmon')).toEqual(except({}))
  })

  test.each(['-all', '-all,+bpf', '-all,+net_admin,+perfmon'])('capabilities %s', (set) => {
    expect(check('setpriv', `--bounding-set=${set}`)).toEqual(all(expect.stringContaining('needs CAP_BPF and CAP_PERFMON')))
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
    expect(check()).toEqual(all(expect.stringContaining('ENOENT')))
    writeFileSync(object(), 'hello')
    expect(check()).toEqual(all(expect.stringMatching(/^not a BPF object: .*ELF/)))
    writeFileSync(object(), readFileSync(join(root, 'agent/bpf/netvitals.bpf.o')).subarray(0, 5000))
    expect(check()).toEqual(all(expect.stringMatching(/^not a BPF object: .+/)))
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
    dropped_packets: ['dropped_packets_total'],
    sent_resets: ['tcp_sent_resets_by_reason_total'],
    received_resets: ['tcp_received_resets_total'],
    retransmitted_segments: ['tcp_retransmitted_segments_by_kind_total', 'tcp_retransmit_failures_total'],
    retransmitted_synacks: ['tcp_retransmitted_segments_by_kind_total'],
    state_changes: ['tcp_connects_total', 'tcp_connect_duration_seconds', 'tcp_rtt_seconds'],
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
    const tracer = join(built, 'agent/host/tracer.js')
    const text = readFileSync(tracer, 'utf8')
    try {
      writeFileSync(tracer, text.replace(`'${tracepoints[program]}'`, "'no_such_tracepoint'"))
      const reason = 'kernel has no tracepoint no_such_tracepoint'
      expect(check()).toEqual(except(Object.fromEntries(maps.map((map) => [map, reason]))))
    } finally {
      writeFileSync(tracer, text)
    }
  })

  test.each([
    ['dropped_packets_total', 'trace_event_raw_kfree_skb', /^this kernel does not say why it frees a packet/],
    ['tcp_sent_resets_by_reason_total', 'trace_event_raw_tcp_send_reset', /^this kernel does not say why it resets/],
    ['tcp_retransmit_failures_total', 'trace_event_raw_tcp_retransmit_skb', /^this kernel does not tell of retransmissions/],
  ])('an older kernel lacks %s, and nothing else', (map, struct, reason) => {
    const tracer = join(built, 'agent/host/tracer.js')
    const text = readFileSync(tracer, 'utf8')
    try {
      writeFileSync(tracer, text.replaceAll(`'${struct}'`, "'no_such_struct'"))
      expect(check()).toEqual(except({ [map]: expect.stringMatching(reason) }))
    } finally {
      writeFileSync(tracer, text)
    }
  })

  test('an object of another version', () => {
    rebuild('int tasks(', 'int threads(')
    expect(check()).toEqual(except({ tasks: 'the BPF object does not have it' }))
    rebuild('dropped_packets_total', 'dropped_total')
    expect(check()).toEqual(all('the BPF object has no map dropped_packets_total'))
  })
})
