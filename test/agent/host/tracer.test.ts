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
import { createTracer, type Tracer, tracedProtocols } from '../../../agent/host/tracer.ts'
import { limits } from '../../../agent/limits.ts'
import { createTopology, requireRoot, type Topology } from '../../truth/topology.ts'

const root = fileURLToPath(new URL('../../..', import.meta.url))

test('a tracer that was not started says so', () => {
  const tracer = createTracer()
  expect(tracer.missing('dropped_packets')).toBe('not started')
  expect(() => tracer.read('dropped_packets_total', () => {})).toThrow(
    "the tracer's program dropped_packets does not run: not started",
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
      expect(tracer.missing('dropped_packets')).toBeUndefined()
      expect(tracer.missing('tasks')).toBeUndefined()
    })

    test('names reasons', () => {
      const names = Array.from({ length: 60 }, (_, reason) => tracer.reasonName(reason))
      expect(names).toContain('netfilter_drop')
      expect(names).toContain('no_socket')
      expect(names.filter((name) => !/^[a-z0-9_]+$/.test(name))).toEqual([])
      expect(tracer.reasonName(60_000)).toBe('reason_60000')
      expect(tracer.reasonName((9 << 16) | 5)).toBe('subsys_9:5')
      expect(tracer.reasonName(0xffff_ffff)).toBe('unknown')
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
      expect(tracer.missing('dropped_packets')).toBe('stopped')
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

  test('programs can be switched off', async () => {
    const tracer = createTracer({ off: ['dropped_packets'] })
    await tracer.start()
    expect(tracer.missing('dropped_packets')).toBe('switched off')
    expect(tracer.missing('tasks')).toBeUndefined()
    expect([...tracer.tasks()].length).toBeGreaterThan(0)
    expect(() => ours(tracer)).toThrow('switched off')
    await tracer.stop()
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
      `import { createTracer, programNames } from './agent/host/tracer.js'
      const tracer = createTracer()
      await tracer.start()
      console.log(JSON.stringify(Object.fromEntries(programNames.map((name) => [name, tracer.missing(name) ?? 'runs']))))
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
  const both = (reason: unknown) => ({ dropped_packets: reason, tasks: reason })

  test('CAP_BPF and CAP_PERFMON are enough', () => {
    expect(check('setpriv', '--bounding-set=-all,+bpf,+perfmon')).toEqual(both('runs'))
  })

  test.each(['-all', '-all,+bpf', '-all,+net_admin,+perfmon'])('capabilities %s', (set) => {
    expect(check('setpriv', `--bounding-set=${set}`)).toEqual(both(expect.stringContaining('needs CAP_BPF and CAP_PERFMON')))
  })

  test('no BTF', () => {
    expect(check(...withMount('mount -t tmpfs none /sys/kernel/btf'))).toEqual(
      both('kernel has no BTF (/sys/kernel/btf/vmlinux)'),
    )
  })

  test('no libbpf', () => {
    const [, library] = /libbpf\.so\.1 .*=> (\S+)/.exec(execFileSync('ldconfig', ['-p'], { encoding: 'utf8' }))!
    expect(check(...withMount(`mount --bind /dev/null ${realpathSync(library!)}`))).toEqual(
      both(expect.stringMatching(/^libbpf\.so\.1 not found: apt-get install libbpf1 \(.+\)$/)),
    )
  })

  test('no koffi', () => {
    rmSync(join(built, 'node_modules'))
    mkdirSync(join(built, 'node_modules'))
    expect(check()).toEqual(both(expect.stringMatching(/^koffi is not installed: npm install koffi \(.+\)$/)))
    rmSync(join(built, 'node_modules'), { recursive: true })
    symlinkSync(join(root, 'node_modules'), join(built, 'node_modules'))
  })

  test('no object, or what is none', () => {
    rmSync(object())
    expect(check()).toEqual(both(expect.stringContaining('ENOENT')))
    writeFileSync(object(), 'hello')
    expect(check()).toEqual(both(expect.stringMatching(/^not a BPF object: .*ELF/)))
    writeFileSync(object(), readFileSync(join(root, 'agent/bpf/netvitals.bpf.o')).subarray(0, 5000))
    expect(check()).toEqual(both(expect.stringMatching(/^not a BPF object: .+/)))
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
    expect(check()).toEqual({
      dropped_packets: 'runs',
      tasks: expect.stringMatching(/^refused by the kernel, EACCES: R\d+ invalid mem access '.*or_null_'$/),
    })
  })

  test('an object of another version', () => {
    rebuild('int tasks(', 'int threads(')
    expect(check()).toEqual({ dropped_packets: 'runs', tasks: 'the BPF object does not have it' })
    rebuild('dropped_packets_total', 'dropped_total')
    expect(check()).toEqual(both('the BPF object has no map dropped_packets_total'))
  })
})
