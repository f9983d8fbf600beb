import { limits } from '../limits.ts'
import { type Address, errorName, type Libbpf } from './libbpf.ts'

const EPERM = -1

/** Programs in the kernel, attached; they are gone with `close` or with this process. */
export interface BpfObject {
  readonly programs: ReadonlyMap<string, { readonly fd: number; readonly linkFd: number }>
  findMap(name: string): Address
  close(): void
}

export interface BpfObjectOptions {
  /** What the compiler made. */
  readonly bytes: Uint8Array
  /** The programs to take out of it. */
  readonly programs: readonly string[]
  /** Sizes the maps before they are made; may be called several times. */
  prepare(findMap: (name: string) => Address): void
  /** Told of each program that cannot be had, and why; the others go on without it. */
  onRefused(program: string, reason: string): void
}

/** undefined: no program is left. Throws if the bytes are not a BPF object, or not one with these maps. */
export function loadBpfObject(libbpf: Libbpf, options: BpfObjectOptions): BpfObject | undefined {
  const { programs, onRefused } = options
  let wanted = programs
  let loaded = tryToLoad(libbpf, options, wanted)
  if (loaded.refusal !== undefined && wanted.length > 1) {
    // One bad program fails them all. Which one is found by loading each alone, not by reading libbpf's words.
    wanted = wanted.filter((name) => {
      const alone = tryToLoad(libbpf, options, [name])
      if (alone.refusal === undefined) libbpf.close(alone.object)
      else onRefused(name, alone.refusal)
      return alone.refusal === undefined
    })
    if (wanted.length === 0) return undefined
    loaded = tryToLoad(libbpf, options, wanted)
  }
  if (loaded.refusal !== undefined) {
    for (const name of wanted) onRefused(name, loaded.refusal)
    return undefined
  }
  return attach(libbpf, loaded.object, wanted, onRefused)
}

type Attempt = { readonly object: Address; readonly refusal?: never } | { readonly refusal: string; readonly object?: never }

function tryToLoad(libbpf: Libbpf, { bytes, prepare }: BpfObjectOptions, programs: readonly string[]): Attempt {
  libbpf.takeLog()
  const object = libbpf.openMem(bytes, bytes.length, null)
  if (object === null) throw new Error(`not a BPF object: ${lastLine(libbpf.takeLog()) || errorName(-libbpf.errno())}`)
  prepare((name) => findMap(libbpf, object, name))
  for (const [name, program] of programsOf(libbpf, object)) libbpf.setAutoload(program, programs.includes(name))
  const result = libbpf.load(object)
  if (result === 0) return { object }
  libbpf.close(object)
  return { refusal: describeRefusal(result, libbpf.takeLog()) }
}

function attach(
  libbpf: Libbpf,
  object: Address,
  programs: readonly string[],
  onRefused: BpfObjectOptions['onRefused'],
): BpfObject | undefined {
  const links: Address[] = []
  const attached = new Map<string, { fd: number; linkFd: number }>()
  const handles = new Map(programsOf(libbpf, object))
  for (const name of programs) {
    const program = handles.get(name)
    const link = program === undefined ? null : libbpf.attach(program)
    if (program === undefined) onRefused(name, 'the BPF object does not have it')
    else if (link === null) onRefused(name, `cannot be attached: ${errorName(-libbpf.errno())}`)
    else {
      links.push(link)
      attached.set(name, { fd: libbpf.programFd(program), linkFd: libbpf.linkFd(link) })
    }
  }
  const close = () => {
    for (const link of links) libbpf.destroyLink(link)
    libbpf.close(object)
  }
  if (links.length > 0) return { programs: attached, findMap: (name) => findMap(libbpf, object, name), close }
  close()
  return undefined
}

function findMap(libbpf: Libbpf, object: Address, name: string): Address {
  const map = libbpf.findMap(object, name)
  if (map === null) throw new Error(`the BPF object has no map ${name}`)
  return map
}

function* programsOf(libbpf: Libbpf, object: Address): Generator<readonly [name: string, program: Address]> {
  for (let program = libbpf.nextProgram(object, null); program !== null; program = libbpf.nextProgram(object, program)) {
    yield [libbpf.programName(program), program]
  }
}

/** The verifier tells all it did; its verdict is the last line before its statistics. */
function describeRefusal(result: number, log: string): string {
  if (result === EPERM) return 'needs CAP_BPF and CAP_PERFMON (also refused by kernel lockdown, seccomp and user namespaces)'
  const [, verifier] = /-- BEGIN PROG LOAD LOG --\n(.*?)(?:processed \d+ insns.*)?-- END PROG LOAD LOG --/s.exec(log) ?? []
  return `refused by the kernel, ${errorName(result)}: ${lastLine(verifier ?? log)}`
}

function lastLine(text: string): string {
  return (text.trimEnd().split('\n').at(-1) ?? '').slice(-limits.tracerReasonCharacters)
}
