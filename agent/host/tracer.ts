import { closeSync, readFileSync, readSync } from 'node:fs'
import { limits } from '../limits.ts'
import { type BpfObject, loadBpfObject } from './bpf-object.ts'
import { type CountingMap, createCountingMap } from './counting-map.ts'
import { KernelBtf } from './kernel-btf.ts'
import { numberedReason, readDropReasons, readResetReasons } from './kernel-reasons.ts'
import { errorName, type Libbpf, loadLibbpf } from './libbpf.ts'
import { createTracedEvents, eventMaps, type TracedEvents, type TracedEventType } from './traced-events.ts'
import {
  type ConnectionsMap,
  lostSlots,
  type MapName,
  mapDefinition,
  mapNames,
  mapsOfEdges,
  ownMaps,
  type ProgramDefinition,
  type ProgramName,
  programNames,
  programs,
  programsOfOwnMaps,
  type Told,
  tellsErrors,
  tellsTwins,
} from './traced-maps.ts'

export interface TracedTask {
  /** Of the process, in this process's numbering. */
  readonly pid: number
  /** Of its network namespace. */
  readonly inode: number
  /** Of its network namespace; 0 on kernels that do not give each one a cookie (before 5.12). */
  readonly cookie: number
}

/** A network namespace as the keys of the maps have it; the cookie in full or its low 32 bits. */
export interface TracedNamespace {
  readonly inode: number
  readonly cookie: number
}

export interface Tracer {
  /** Takes the programs this kernel can run. Never throws: `missing` tells what it cannot. */
  start(): Promise<void>
  /** undefined: the numbers of the map are whole, or the program `tasks` runs. Otherwise why not, in words, with what would help. */
  missing(what: MapName | 'tasks'): string | undefined
  /** What the numbers of the map do not tell on this kernel, in sentences. */
  caveats(map: MapName): readonly string[]
  /** Every entry of a map, cumulative since start, summed over the CPUs. The arguments are valid during the call only. */
  read(map: MapName | ConnectionsMap, onEntry: (key: DataView, values: Float64Array) => void): void
  /** One connection that lives. undefined: there is no such. */
  findConnection(key: Uint8Array): Float64Array | undefined
  /** Removes a key whose namespace is gone and returns its last values. undefined: there was no such key. */
  take(map: MapName, key: Uint8Array): Float64Array | undefined
  /**
   * The running kernel's name of a drop reason, without prefix, in lower case: 12 → 'netfilter_drop'. A subsystem's own,
   * such as 'ovs_drop_flow', if the kernel tells; else 'subsys_2:5'.
   */
  reasonName(reason: number): string
  /** The same of a reason to send a reset: 1 → 'no_socket'. */
  resetReasonName(reason: number): string
  /** Single events, as an option. Undefined: nobody asked for them, or no program runs. */
  readonly events: Omit<TracedEvents, 'close'> | undefined
  /** undefined: such events come. Otherwise why not, in words. */
  missingEvents(type: TracedEventType): string | undefined
  /** Every process and its network namespace, by the program `tasks`. */
  tasks(): readonly TracedTask[]
  /**
   * From now on drops in the host's namespace (an option) of packets from or to this address are counted as the owner's.
   * Undefined: no more. Of 16 bytes, IPv4 as ::ffff:a.b.c.d. Throws if there is no room.
   */
  setOwner(address: Uint8Array, owner: TracedNamespace | undefined): void
  /** From now on, or no more, edges tell the addresses of this network apart, beside those of private ones. Of 16 bytes and up to 128 bits. Throws if there is no room. */
  setNetwork(address: Uint8Array, prefixBits: number, isTold: boolean): void
  /** From now on, or no more, edges keep connections to this address apart, because their peer is elsewhere. Of 16 bytes. Throws if there is no room. */
  setTranslated(address: Uint8Array, isTranslated: boolean): void
  /**
   * Events these maps lack, exactly: refused by a full map; or the program was at work on that CPU when they came, which
   * counts for the first of all maps that it fills.
   */
  lost(of?: readonly MapName[]): { readonly mapFull: number; readonly recursion: number }
  stop(): Promise<void>
}

export interface TracerOptions {
  /** Maps to do without, because something else provides their metrics. */
  readonly off?: readonly MapName[]
  /** Whether to show single events too. */
  readonly events?: boolean
  /** Whether to have the program `tasks`. */
  readonly tasks?: boolean
  /** The namespace whose drops are looked up by address; none, unless given. */
  readonly host?: TracedNamespace
}

const objectFile = new URL('../bpf/netvitals.bpf.o', import.meta.url)
/** struct task_record: u32 pid, u32 netns_inode, u64 netns_cookie. */
const taskRecordBytes = 16
const ENOENT = -2

interface Running {
  readonly libbpf: Libbpf
  readonly object: BpfObject
  readonly maps: ReadonlyMap<MapName, CountingMap>
  readonly connections: CountingMap | undefined
  /** A slot for each of lostSlots. */
  readonly lost: CountingMap
  readonly caveats: ReadonlyMap<MapName, readonly string[]>
  readonly events: TracedEvents | undefined
}

/** Which program tells of an event. */
const programOfEvents = {
  drop: 'dropped_packets',
  reset_sent: 'sent_resets',
  reset_received: 'received_resets',
  retransmit: 'retransmitted_segments',
  connect: 'state_changes',
} as const satisfies Record<TracedEventType, ProgramName>

export function createTracer(options: TracerOptions = {}): Tracer {
  const { off: asked = [], tasks: listsTasks = true, events: showsEvents = false } = options
  const off = mapNames.filter((name) => [name, mapDefinition(name).beside].some((one) => asked.includes(one as MapName)))
  let running: Running | undefined
  let missing = new Map<string, string>()
  let dropReasons = new Map<number, string>()
  let resetReasons = new Map<number, string>()
  const missAll = (reason: string) => {
    missing = new Map([...programNames, ...off, ...missing.keys()].map((name) => [name, missing.get(name) ?? reason]))
  }
  missAll('not started')

  const findMissing = (what: MapName | 'tasks'): string | undefined => {
    if (what === 'tasks') return missing.get(what)
    return [what, ...mapDefinition(what).programs].map((name) => missing.get(name)).find((reason) => reason !== undefined)
  }
  const demand = (what: MapName | 'tasks'): Running => {
    const reason = findMissing(what)
    if (running === undefined || reason !== undefined) throw new Error(`the tracer does not give ${what}: ${reason}`)
    return running
  }
  const mapOf = (name: MapName | ConnectionsMap): CountingMap =>
    name === 'live_connections' ? demand('edge_connects_total').connections! : demand(name).maps.get(name)!
  const fdOf = (owner: MapName, name: string): number => {
    const { libbpf, object } = demand(owner)
    return libbpf.mapFd(object.findMap(name))
  }
  const taskRecords = new DataView(new ArrayBuffer(limits.tracerTaskBytes))

  return {
    async start() {
      missing = new Map(off.map((name) => [name, 'switched off']))
      for (const name of programNames) if (!isWanted(name)) missing.set(name, 'switched off')
      const { libbpf, missing: reason } = await loadLibbpf()
      if (!libbpf) return missAll(reason)
      const btf = KernelBtf.open(libbpf)
      if (!btf) return missAll('kernel has no BTF (/sys/kernel/btf/vmlinux)')
      try {
        dropReasons = readDropReasons(btf)
        resetReasons = readResetReasons(btf)
        running = load(libbpf, btf, missing, { ...options, off })
      } catch (error) {
        missAll((error as Error).message)
      } finally {
        btf.close()
        libbpf.takeLog()
      }
    },

    missing: findMissing,
    caveats: (map) => demand(map).caveats.get(map) ?? [],
    read: (map, onEntry) => mapOf(map).read(onEntry),
    take: (map, key) => mapOf(map).take(key),
    findConnection: (key) => mapOf('live_connections').get(key),
    reasonName: (reason) => dropReasons.get(reason) ?? numberedReason(reason),
    resetReasonName: (reason) => resetReasons.get(reason) ?? numberedReason(reason),

    get events() {
      return running?.events
    },
    missingEvents: (type) => (showsEvents ? missing.get(programOfEvents[type]) : 'switched off'),

    tasks() {
      const { libbpf, object } = demand('tasks')
      const file = libbpf.createIterator(object.programs.get('tasks')!.linkFd)
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

    setOwner(address, owner) {
      const fd = fdOf('dropped_packets_total', 'address_owners')
      const { libbpf } = running!
      const result =
        owner === undefined ? libbpf.deleteElem(fd, address) : libbpf.updateElem(fd, address, encodeNamespace(owner), 0)
      if (result < 0 && result !== ENOENT) throw new Error(`cannot set the owner of an address: ${errorName(result)}`)
    },

    setNetwork(address, prefixBits, isTold) {
      const fd = fdOf('edge_connects_total', 'known_networks')
      const key = new Uint8Array([...words([prefixBits]), ...address])
      const { libbpf } = running!
      const result = isTold ? libbpf.updateElem(fd, key, words([1]), 0) : libbpf.deleteElem(fd, key)
      if (result < 0 && result !== ENOENT) throw new Error(`cannot tell the addresses of a network apart: ${errorName(result)}`)
    },

    setTranslated(address, isTranslated) {
      const fd = fdOf('edge_connects_total', 'translated_addresses')
      const { libbpf } = running!
      const result = isTranslated ? libbpf.updateElem(fd, address, words([1]), 0) : libbpf.deleteElem(fd, address)
      if (result < 0 && result !== ENOENT)
        throw new Error(`cannot tell of an address that it is translated: ${errorName(result)}`)
    },

    lost(of = mapNames) {
      let mapFull = 0
      let recursion = 0
      if (running === undefined) return { mapFull, recursion }
      const { object, libbpf, lost, maps } = running
      const isOurs = (name: string): boolean =>
        of.some((map) => map === name || map === (ownMaps as Record<string, MapName>)[name])
      lostSlots.forEach((name, slot) => {
        if (isOurs(name)) mapFull += lost.get(Uint8Array.of(slot, 0, 0, 0))?.[0] ?? 0
      })
      for (const [program, { fd }] of object.programs) {
        const first = [...maps.keys()].find((map) => (mapDefinition(map).programs as readonly string[]).includes(program))
        if (first !== undefined && of.includes(first)) recursion += readRecursionMisses(libbpf, fd)
      }
      return { mapFull, recursion }
    },

    async stop() {
      running?.events?.close()
      running?.object.close()
      running = undefined
      missing = new Map()
      missAll('stopped')
    },
  }

  function isWanted(program: ProgramName): boolean {
    if (program === 'tasks') return listsTasks
    return mapNames.some((name) => !off.includes(name) && mapDefinition(name).programs.includes(program))
  }
}

function load(
  libbpf: Libbpf,
  btf: KernelBtf,
  missing: Map<string, string>,
  { host, events: showsEvents = false, off = [] }: TracerOptions,
): Running | undefined {
  const isTold = ({ struct, member }: Pick<Told, 'struct' | 'member'>): boolean => btf.hasScalar(struct, member)
  for (const name of programNames) {
    const { tracepoint, told }: ProgramDefinition = programs[name]
    if (missing.has(name)) continue
    if (tracepoint && !btf.hasTracepoint(tracepoint)) missing.set(name, `kernel has no tracepoint ${tracepoint}`)
    else if (told && !isTold(told)) missing.set(name, told.otherwise)
  }
  for (const name of mapNames) {
    const { told } = mapDefinition(name)
    if (told && !isTold(told) && !missing.has(name)) missing.set(name, told.otherwise)
  }
  const caveats = new Map(
    mapNames.map((name) => {
      const { caveat } = mapDefinition(name)
      const missed = [tellsTwins, ...(caveat ? [caveat] : [])].filter((told) => !isTold(told))
      return [name, missed.map(({ otherwise }) => otherwise)]
    }),
  )
  const wanted = programNames.filter((name) => !missing.has(name))
  if (wanted.length === 0) return undefined
  // The allocator that gives BPF memory for one key in any context came with 6.1; before, all of it is taken at once.
  const preallocate = !btf.hasStruct('bpf_mem_alloc')
  const isNeeded = (users: readonly ProgramName[]): boolean => users.some((program) => wanted.includes(program))
  const hasEdges = !off.includes('edge_connects_total')
  const needed = mapNames.filter((name) => isNeeded(mapDefinition(name).programs) && (hasEdges || !mapsOfEdges.includes(name)))
  const hasEvents = showsEvents && needed.length > 0
  const object = loadBpfObject(libbpf, {
    bytes: readFileSync(objectFile),
    programs: wanted,
    prepare(findMap) {
      const leaveOut = (name: string) => libbpf.setAutocreate(findMap(name), false)
      for (const name of mapNames) if (!needed.includes(name)) leaveOut(name)
      for (const [name, users] of Object.entries(programsOfOwnMaps))
        if (!isNeeded(users) || (!hasEdges && mapsOfEdges.includes(name))) leaveOut(name)
      if (!hasEvents) for (const name of eventMaps) leaveOut(name)
      for (const name of needed) {
        const keys = mapDefinition(name).byNamespace ? limits.tracerNamespaces : limits.tracerKeys
        libbpf.setMaxEntries(findMap(name), preallocate ? Math.ceil(keys / limits.tracerPreallocatedShare) : keys)
        if (preallocate) libbpf.setMapFlags(findMap(name), 0)
      }
      libbpf.setMaxEntries(findMap('connect_starts'), limits.tracerConnects)
      libbpf.setMaxEntries(findMap('address_owners'), limits.tracerAddresses)
      const { tracerConnections, tracerPreallocatedShare } = limits
      libbpf.setMaxEntries(findMap('live_connections'), tracerConnections / (preallocate ? tracerPreallocatedShare : 1))
      if (preallocate) libbpf.setMapFlags(findMap('live_connections'), 0)
      libbpf.setMaxEntries(findMap('known_networks'), limits.tracerNetworks + limits.tracerOwnAddresses)
      libbpf.setMaxEntries(findMap('translated_addresses'), limits.tracerServiceAddresses + limits.tracerTranslatedAddresses)
      libbpf.setMaxEntries(findMap('events'), limits.eventRingBytes)
      const flags = [isTold(tellsErrors), hasEvents, hasEdges].map(Number)
      const settings = new Uint8Array([...encodeNamespace(host ?? { inode: 0, cookie: 0 }), ...words(flags)])
      const result = libbpf.setInitialValue(findMap('.rodata.settings'), settings, settings.length)
      if (result < 0) throw new Error(`the BPF object has other settings: ${errorName(result)}`)
    },
    onRefused: (program, reason) => missing.set(program, reason),
  })
  if (!object) return undefined
  const counting = (name: string, perCpu = true) => createCountingMap(libbpf, object.findMap(name), name, { perCpu })
  const connections = hasEdges && needed.includes('edge_connects_total') ? counting('live_connections', false) : undefined
  const counters = new Map(needed.map((name) => [name, counting(name)]))
  const events = hasEvents ? createTracedEvents(libbpf, object) : undefined
  return { libbpf, object, maps: counters, connections, lost: counting('lost'), caveats, events }
}

function words(values: readonly number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer)
}

/** struct netns: u32 inode, u32 low half of the cookie. */
function encodeNamespace({ inode, cookie }: TracedNamespace): Uint8Array {
  return words([inode, cookie % 0x1_0000_0000])
}

/** struct bpf_prog_info in include/uapi/linux/bpf.h. 0 before 5.12, where nothing is skipped. */
function readRecursionMisses(libbpf: Libbpf, programFd: number): number {
  const info = new Uint8Array(216)
  const result = libbpf.getInfo(programFd, info, Uint32Array.of(info.length))
  return result < 0 ? 0 : Number(new DataView(info.buffer).getBigUint64(208, true))
}
