import { getSystemErrorName } from 'node:util'
import { limits } from '../limits.ts'
import { type Koffi, loadKoffi } from './koffi.ts'

/** An address in this process: of a struct of libbpf, or null. */
export type Address = bigint | null

/** libbpf's own functions, camelCased, without the pointer types. Those that return a number return a negative errno on failure. */
interface LibbpfFunctions {
  openMem(object: Uint8Array, sizeBytes: number, options: null): Address
  load(object: Address): number
  close(object: Address): void
  nextProgram(object: Address, previous: Address): Address
  programName(program: Address): string
  setAutoload(program: Address, autoload: boolean): number
  attach(program: Address): Address
  programFd(program: Address): number
  linkFd(link: Address): number
  destroyLink(link: Address): number
  createIterator(linkFd: number): number
  findMap(object: Address, name: string): Address
  mapFd(map: Address): number
  keySize(map: Address): number
  valueSize(map: Address): number
  setMaxEntries(map: Address, entries: number): number
  setMapFlags(map: Address, flags: number): number
  setAutocreate(map: Address, autocreate: boolean): number
  setInitialValue(map: Address, value: Uint8Array, sizeBytes: number): number
  lookupElem(mapFd: number, key: Uint8Array, value: ArrayBufferView): number
  updateElem(mapFd: number, key: Uint8Array, value: ArrayBufferView, flags: number): number
  lookupAndDeleteElem(mapFd: number, key: Uint8Array, value: ArrayBufferView): number
  deleteElem(mapFd: number, key: Uint8Array): number
  lookupBatch(
    mapFd: number,
    inBatch: Uint8Array | null,
    outBatch: Uint8Array,
    keys: ArrayBufferView,
    values: ArrayBufferView,
    count: Uint32Array,
    options: null,
  ): number
  getInfo(fd: number, info: Uint8Array, sizeBytes: Uint32Array): number
  possibleCpus(): number
  loadVmlinuxBtf(): Address
  loadModuleBtf(module: string, vmlinux: Address): Address
  freeBtf(btf: Address): void
  findByNameKind(btf: Address, name: string, kind: number): number
  typeById(btf: Address, id: number): Address
  /** The type behind typedefs and the like. */
  resolveType(btf: Address, id: number): number
  stringByOffset(btf: Address, offset: number): string
}

export interface Libbpf extends LibbpfFunctions {
  /** Bytes of C memory, valid as long as libbpf keeps them. */
  view(address: Address, sizeBytes: number): DataView
  /** errno of a function that returned null. */
  errno(): number
  /** What libbpf said since the last call: warnings and what the verifier had to say. The end, if it was too much. */
  takeLog(): string
  /** The reader of a ring buffer. What it is given is valid during the call only. @throws Error */
  openRing(mapFd: number, onRecord: (record: DataView) => void): Ring
}

export interface Ring {
  /** Gives out what is there. The number of records, or a negative errno. */
  consume(): number
  close(): void
}

export type LoadedLibbpf =
  | { readonly libbpf: Libbpf; readonly missing?: never }
  | { readonly missing: string; readonly libbpf?: never }

/** Only what libbpf 1.0 has, the first with this ABI. */
const prototypes: { readonly [F in keyof LibbpfFunctions]: readonly [name: string, result: string, ...parameters: string[]] } = {
  openMem: ['bpf_object__open_mem', 'void *', 'void *', 'size_t', 'void *'],
  load: ['bpf_object__load', 'int', 'void *'],
  close: ['bpf_object__close', 'void', 'void *'],
  nextProgram: ['bpf_object__next_program', 'void *', 'void *', 'void *'],
  programName: ['bpf_program__name', 'str', 'void *'],
  setAutoload: ['bpf_program__set_autoload', 'int', 'void *', 'bool'],
  attach: ['bpf_program__attach', 'void *', 'void *'],
  programFd: ['bpf_program__fd', 'int', 'void *'],
  linkFd: ['bpf_link__fd', 'int', 'void *'],
  destroyLink: ['bpf_link__destroy', 'int', 'void *'],
  createIterator: ['bpf_iter_create', 'int', 'int'],
  findMap: ['bpf_object__find_map_by_name', 'void *', 'void *', 'str'],
  mapFd: ['bpf_map__fd', 'int', 'void *'],
  keySize: ['bpf_map__key_size', 'uint32_t', 'void *'],
  valueSize: ['bpf_map__value_size', 'uint32_t', 'void *'],
  setMaxEntries: ['bpf_map__set_max_entries', 'int', 'void *', 'uint32_t'],
  setMapFlags: ['bpf_map__set_map_flags', 'int', 'void *', 'uint32_t'],
  setAutocreate: ['bpf_map__set_autocreate', 'int', 'void *', 'bool'],
  setInitialValue: ['bpf_map__set_initial_value', 'int', 'void *', 'void *', 'size_t'],
  updateElem: ['bpf_map_update_elem', 'int', 'int', 'void *', 'void *', 'uint64_t'],
  lookupElem: ['bpf_map_lookup_elem', 'int', 'int', 'void *', 'void *'],
  lookupAndDeleteElem: ['bpf_map_lookup_and_delete_elem', 'int', 'int', 'void *', 'void *'],
  deleteElem: ['bpf_map_delete_elem', 'int', 'int', 'void *'],
  lookupBatch: ['bpf_map_lookup_batch', 'int', 'int', 'void *', 'void *', 'void *', 'void *', 'void *', 'void *'],
  getInfo: ['bpf_obj_get_info_by_fd', 'int', 'int', 'void *', 'void *'],
  possibleCpus: ['libbpf_num_possible_cpus', 'int'],
  loadVmlinuxBtf: ['btf__load_vmlinux_btf', 'void *'],
  loadModuleBtf: ['btf__load_module_btf', 'void *', 'str', 'void *'],
  freeBtf: ['btf__free', 'void', 'void *'],
  findByNameKind: ['btf__find_by_name_kind', 'int32_t', 'void *', 'str', 'uint32_t'],
  typeById: ['btf__type_by_id', 'void *', 'void *', 'uint32_t'],
  resolveType: ['btf__resolve_type', 'int', 'void *', 'uint32_t'],
  stringByOffset: ['btf__name_by_offset', 'str', 'void *', 'uint32_t'],
}

let loading: Promise<LoadedLibbpf> | undefined

/** The system's libbpf.so.1, loaded at the first call, once; never throws. */
export function loadLibbpf(): Promise<LoadedLibbpf> {
  loading ??= loadKoffi().then(({ koffi, missing }) => (koffi ? bind(koffi) : { missing }))
  return loading
}

function bind(koffi: Koffi): LoadedLibbpf {
  try {
    const library = koffi.load('libbpf.so.1')
    const functions = Object.fromEntries(
      Object.entries(prototypes).map(([key, [name, result, ...parameters]]) => [key, library.func(name, result, parameters)]),
    ) as unknown as LibbpfFunctions
    const takeLog = divertLog(koffi, library.func('libbpf_set_print', 'void *', ['void *']))
    const view = (address: Address, sizeBytes: number) => new DataView(koffi.view(address, sizeBytes))
    const openRing = bindRings(koffi, library)
    return { libbpf: { ...functions, view, errno: () => koffi.errno(), takeLog, openRing } }
  } catch (error) {
    const [reason = ''] = String((error as Error).message).split('\n', 1)
    return { missing: `libbpf.so.1 not found: apt-get install libbpf1 (${reason})` }
  }
}

/**
 * Without a print function libbpf writes to standard error. Ours is given a format and a va_list, which arrives as one
 * word (an array that decayed to a pointer on x86-64, a struct passed by reference on arm64) and goes on as it came.
 */
function divertLog(koffi: Koffi, setPrint: (print: bigint) => unknown): () => string {
  const levelDebug = 2
  const print = koffi.proto('int', ['int', 'void *', 'void *'])
  const vsnprintf = koffi.load(null).func('vsnprintf', 'int', ['void *', 'size_t', 'void *', 'void *'])
  // The whole log of a refused program is one message. Memory that was never written to costs nothing.
  const message = Buffer.alloc(limits.tracerLogBytes)
  let log = ''
  const callback = koffi.register((level: number, format: Address, parameters: Address) => {
    if (level >= levelDebug) return 0
    try {
      const length: number = vsnprintf(message, message.length, format, parameters)
      const text = message.toString('latin1', 0, Math.min(length, message.length - 1))
      log = (log + text).slice(-limits.tracerLogBytes)
    } catch {
      // Nothing may be thrown into C: what libbpf had to say is lost.
    }
    return 0
  }, koffi.pointer(print))
  setPrint(callback)
  return () => {
    const taken = log
    log = ''
    return taken
  }
}

function bindRings(koffi: Koffi, library: ReturnType<Koffi['load']>): Libbpf['openRing'] {
  const onSample = koffi.pointer(koffi.proto('int', ['void *', 'void *', 'size_t']))
  const create = library.func('ring_buffer__new', 'void *', ['int', 'void *', 'void *', 'void *'])
  const consume = library.func('ring_buffer__consume', 'int', ['void *'])
  const free = library.func('ring_buffer__free', 'void', ['void *'])
  return (mapFd, onRecord) => {
    let failure: unknown
    const callback = koffi.register((_context: Address, data: Address, sizeBytes: number) => {
      try {
        onRecord(new DataView(koffi.view(data, Number(sizeBytes))))
      } catch (error) {
        failure ??= error // nothing may be thrown into C, where the rest of the records would be lost
      }
      return 0
    }, onSample)
    const ring: Address = create(mapFd, callback, null, null)
    if (ring === null) {
      koffi.unregister(callback)
      throw new Error(`cannot open the ring of events: ${errorName(-koffi.errno())}`)
    }
    return {
      consume() {
        failure = undefined
        const result: number = consume(ring)
        if (failure !== undefined) throw failure
        return result
      },
      close() {
        free(ring)
        koffi.unregister(callback)
      },
    }
  }
}

/** -1 → 'EPERM'. libbpf's own errors start at 4000; 524 is the kernel's ENOTSUPP. */
export function errorName(negativeErrno: number): string {
  if (negativeErrno === -524) return 'ENOTSUPP'
  return negativeErrno <= -4000 ? `libbpf error ${-negativeErrno}` : getSystemErrorName(negativeErrno)
}
