// The BPF objects of a process as the kernel tells them, and calls of libbpf that the agent has no use for.
import fs from 'node:fs'
import koffi from 'koffi'
import { createCountingMap } from '../../dist/agent/host/counting-map.js'
import { loadLibbpf } from '../../dist/agent/host/libbpf.js'

const { libbpf: loaded, missing } = await loadLibbpf()
if (!loaded) throw new Error(missing)
export const libbpf = loaded

const library = koffi.load('libbpf.so.1')
const nextKey = library.func('int bpf_map_get_next_key(int, const void *, void *)')
const enableStats = library.func('int bpf_enable_stats(int)')
const mapFdById = library.func('int bpf_map_get_fd_by_id(uint32_t)')
const nextIds = {
  map: library.func('int bpf_map_get_next_id(uint32_t, void *)'),
  program: library.func('int bpf_prog_get_next_id(uint32_t, void *)'),
  link: library.func('int bpf_link_get_next_id(uint32_t, void *)'),
}

const runTimeStats = 0 // BPF_STATS_RUN_TIME
const mapNameAt = 24 // in struct bpf_map_info
const programNameAt = 64 // in struct bpf_prog_info

/** Maps, programs and links that a process holds: of each its fd, its id and what else the kernel says. */
export function readBpfObjects(pid = 'self') {
  const objects = { map: [], program: [], link: [] }
  for (const fd of fs.readdirSync(`/proc/${pid}/fdinfo`)) {
    const lines = readOrNothing(`/proc/${pid}/fdinfo/${fd}`).matchAll(/^(\w+):\t(.*)$/gm)
    const { link_id, map_id, prog_id, ...rest } = Object.fromEntries([...lines].map(([, name, value]) => [name, value]))
    if (link_id) objects.link.push({ fd: Number(fd), id: Number(link_id), programId: Number(prog_id), tracepoint: rest.tp_name })
    else if (map_id)
      objects.map.push({
        fd: Number(fd),
        id: Number(map_id),
        name: readName(pid, fd, mapNameAt),
        isHash: rest.map_type === '1' || rest.map_type === '5',
        isPerCpu: rest.map_type === '5' || rest.map_type === '6',
        isPreallocated: (Number(rest.map_flags) & 1) === 0, // BPF_F_NO_PREALLOC
        keyBytes: Number(rest.key_size),
        valueBytes: Number(rest.value_size),
        keysMax: Number(rest.max_entries),
        memoryBytes: Number(rest.memlock),
      })
    else if (prog_id)
      objects.program.push({
        fd: Number(fd),
        id: Number(prog_id),
        name: readName(pid, fd, programNameAt),
        runs: Number(rest.run_cnt),
        runTimeNs: Number(rest.run_time_ns),
      })
  }
  return objects
}

/** Of 15 characters at most, and of this process's own objects only. */
function readName(pid, fd, at) {
  if (pid !== 'self') return undefined
  const info = Buffer.alloc(at + 16)
  const result = libbpf.getInfo(Number(fd), info, Uint32Array.of(info.length))
  return result < 0 ? undefined : info.toString('latin1', at).replace(/\0.*$/s, '')
}

function readOrNothing(file) {
  try {
    return fs.readFileSync(file, 'latin1')
  } catch {
    return '' // closed meanwhile
  }
}

/** Whether a map, program or link with this id is in the kernel. */
export function isInKernel(kind, id) {
  const next = new Uint32Array(1)
  return nextIds[kind](id - 1, next) === 0 && next[0] === id
}

/** From now on, and until the file is closed, the kernel times every BPF program; which costs some time itself. */
export function timePrograms() {
  const fd = enableStats(runTimeStats)
  if (fd < 0) throw new Error(`the kernel does not time BPF programs: error ${koffi.errno()}`)
  return () => fs.closeSync(fd)
}

/** A map of any process: its name, and how many keys it has. It stays in the kernel until it is closed here too. */
export function openMap({ id, keyBytes, valueBytes }) {
  const fd = mapFdById(id)
  if (fd < 0) throw new Error(`no map ${id}: error ${koffi.errno()}`)
  const bound = { ...libbpf, mapFd: () => fd, keySize: () => keyBytes, valueSize: () => valueBytes }
  const { read } = createCountingMap(bound, null, String(id))
  const countKeys = () => {
    let keys = 0
    read(() => keys++)
    return keys
  }
  return { name: readName('self', fd, mapNameAt), countKeys, close: () => fs.closeSync(fd) }
}

/** False: that was the last key. */
export function readNextKey(fd, key, next) {
  return nextKey(fd, key, next) === 0
}
