import { closeSync, readFileSync, readSync } from 'node:fs'
import { limits } from '../limits.ts'
import { type BpfObject, loadBpfObject } from './bpf-object.ts'
import { type CountingMap, createCountingMap } from './counting-map.ts'
import { numberedReason, readDropReasons } from './drop-reasons.ts'
import { KernelBtf } from './kernel-btf.ts'
import { errorName, type Libbpf, loadLibbpf } from './libbpf.ts'

/** The programs of agent/bpf/netvitals.bpf.c and the tracepoints they hang on. */
const programs = {
  dropped_packets: { tracepoint: 'kfree_skb' },
  tasks: { tracepoint: undefined },
} as const
export type ProgramName = keyof typeof programs
export const programNames = Object.keys(programs) as readonly ProgramName[]

/** Each counting map and the program that fills it. */
const maps = {
  /**
   * Key, in native byte order: u32 inode and u32 low half of the cookie of the network namespace (both 0: could not be
   * told), u32 reason, u8 protocol (index in tracedProtocols), u8 direction (index in tracedDirections), u16 zero.
   * Values: packets (as many as segments in one not yet segmented), bytes (from the network header on; its headers once).
   */
  dropped_packets_total: 'dropped_packets',
} as const satisfies Record<string, ProgramName>
export type MapName = keyof typeof maps
export const mapNames = Object.keys(maps) as readonly MapName[]

export const tracedProtocols = ['other', 'tcp', 'udp', 'icmp'] as const
export const tracedDirections = ['in', 'out', 'forward'] as const

export interface TracedTask {
  /** Of the process, in this process's numbering. */
  readonly pid: number
  /** Of its network namespace. */
  readonly inode: number
  /** Of its network namespace; 0 on kernels that do not give each one a cookie (before 5.12). */
  readonly cookie: number
}

export interface Tracer {
  /** Takes the programs this kernel can run. Never throws: `missing` tells what it cannot. */
  start(): Promise<void>
  /** undefined: the program runs. Otherwise why it does not, in words, with what would help. */
  missing(program: ProgramName): string | undefined
  /** Every entry of a map, cumulative since start, summed over the CPUs. The arguments are valid during the call only. */
  read(map: MapName, onEntry: (key: DataView, values: Float64Array) => void): void
  /** Removes a key whose namespace is gone and returns its last values. undefined: there was no such key. */
  take(map: MapName, key: Uint8Array): Float64Array | undefined
  /**
   * The running kernel's name of a drop reason, without prefix, in lower case: 12 → 'netfilter_drop'. A subsystem's own,
   * such as 'ovs_drop_flow', if the kernel tells; else 'subsys_2:5'. 'unknown' before 5.17, which gives no reasons.
   */
  reasonName(reason: number): string
  /** Every process and its network namespace, by the program `tasks`. */
  tasks(): readonly TracedTask[]
  /** Events not counted, exactly: refused by a full map; or the program was at work on that CPU when they came. */
  lost(): { readonly mapFull: number; readonly recursion: number }
  stop(): Promise<void>
}

export interface TracerOptions {
  /** Programs to do without, because something else provides their metrics. */
  readonly off?: readonly ProgramName[]
}

const objectFile = new URL('../bpf/netvitals.bpf.o', import.meta.url)
/** struct task_record: u32 pid, u32 netns_inode, u64 netns_cookie. */
const taskRecordBytes = 16
const reasonUnknown = 0xffff_ffff

interface Running {
  readonly libbpf: Libbpf
  readonly object: BpfObject
  readonly maps: ReadonlyMap<MapName, CountingMap>
  /** A slot for each of mapNames. */
  readonly lost: CountingMap
}

export function createTracer({ off = [] }: TracerOptions = {}): Tracer {
  let running: Running | undefined
  let missing = new Map<ProgramName, string>()
  let reasons = new Map<number, string>()
  const missAll = (reason: string) => {
    missing = new Map(programNames.map((name) => [name, missing.get(name) ?? reason]))
  }
  missAll('not started')

  const programOf = (name: ProgramName) => {
    const program = running?.object.programs.get(name)
    if (!running || !program) throw new Error(`the tracer's program ${name} does not run: ${missing.get(name)}`)
    return { ...running, ...program }
  }
  const mapOf = (name: MapName) => programOf(maps[name]).maps.get(name)!
  const taskRecords = new DataView(new ArrayBuffer(limits.tracerTaskBytes))

  return {
    async start() {
      missing = new Map(off.map((name) => [name, 'switched off']))
      const { libbpf, missing: reason } = await loadLibbpf()
      if (!libbpf) return missAll(reason)
      const btf = KernelBtf.open(libbpf)
      if (!btf) return missAll('kernel has no BTF (/sys/kernel/btf/vmlinux)')
      try {
        reasons = readDropReasons(btf)
        running = load(libbpf, btf, missing)
      } catch (error) {
        missAll((error as Error).message)
      } finally {
        btf.close()
        libbpf.takeLog()
      }
    },

    missing: (program) => missing.get(program),
    read: (map, onEntry) => mapOf(map).read(onEntry),
    take: (map, key) => mapOf(map).take(key),

    reasonName: (reason) => (reason === reasonUnknown ? 'unknown' : (reasons.get(reason) ?? numberedReason(reason))),

    tasks() {
      const { libbpf, linkFd } = programOf('tasks')
      const file = libbpf.createIterator(linkFd)
      if (file < 0) throw new Error(`cannot list the tasks: ${errorName(file)}`)
      const tasks: TracedTask[] = []
      try {
        for (let read = readSync(file, taskRecords); read > 0; read = readSync(file, taskRecords)) {
          for (let at = 0; at + taskRecordBytes <= read; at += taskRecordBytes) {
            tasks.push({
              pid: taskRecords.getUint32(at, true),
              inode: taskRecords.getUint32(at + 4, true),
              cookie: Number(taskRecords.getBigUint64(at + 8, true)),
            })
          }
        }
      } finally {
        closeSync(file)
      }
      return tasks
    },

    lost() {
      let mapFull = 0
      let recursion = 0
      if (running) {
        for (const slot of mapNames.keys()) mapFull += running.lost.get(Uint8Array.of(slot, 0, 0, 0))?.[0] ?? 0
        for (const { fd } of running.object.programs.values()) recursion += readRecursionMisses(running.libbpf, fd)
      }
      return { mapFull, recursion }
    },

    async stop() {
      running?.object.close()
      running = undefined
      missing = new Map()
      missAll('stopped')
    },
  }
}

function load(libbpf: Libbpf, btf: KernelBtf, missing: Map<ProgramName, string>): Running | undefined {
  for (const name of programNames) {
    const { tracepoint } = programs[name]
    if (tracepoint && !btf.hasTracepoint(tracepoint)) missing.set(name, `kernel has no tracepoint ${tracepoint}`)
  }
  // The allocator that gives BPF memory for one key in any context came with 6.1; before, all of it is taken at once.
  const preallocate = !btf.hasStruct('bpf_mem_alloc')
  const object = loadBpfObject(libbpf, {
    bytes: readFileSync(objectFile),
    programs: programNames.filter((name) => !missing.has(name)),
    prepare(findMap) {
      for (const name of mapNames) {
        libbpf.setMaxEntries(findMap(name), limits.tracerKeys)
        if (preallocate) libbpf.setMapFlags(findMap(name), 0)
      }
    },
    onRefused: (program, reason) => missing.set(program as ProgramName, reason),
  })
  if (!object) return undefined
  const counting = (name: string) => createCountingMap(libbpf, object.findMap(name), name)
  return { libbpf, object, maps: new Map(mapNames.map((name) => [name, counting(name)])), lost: counting('lost') }
}

/** struct bpf_prog_info in include/uapi/linux/bpf.h. 0 before 5.12, where nothing is skipped. */
function readRecursionMisses(libbpf: Libbpf, programFd: number): number {
  const info = new Uint8Array(216)
  const result = libbpf.getInfo(programFd, info, Uint32Array.of(info.length))
  return result < 0 ? 0 : Number(new DataView(info.buffer).getBigUint64(208, true))
}
