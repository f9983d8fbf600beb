import type { Address, Libbpf } from './libbpf.ts'

const kinds = { int: 1, pointer: 2, struct: 4, enum: 6, typedef: 8, enum64: 19 } as const
/** struct btf_type: name_off, info, size or type. The members of a struct follow it, or an enum's values. */
const typeSizeBytes = 12
/** struct btf_member; struct btf_enum, struct btf_enum64. */
const memberBytes = 12
const enumBytes = { enum: 8, enum64: 12 } as const

/** The running kernel's own description of its types: what it has, and what it calls its numbers. Takes 7 MB until closed. */
export class KernelBtf {
  readonly #libbpf: Libbpf
  readonly #btf: Address

  private constructor(libbpf: Libbpf, btf: Address) {
    this.#libbpf = libbpf
    this.#btf = btf
  }

  /** undefined: this kernel has none. */
  static open(libbpf: Libbpf): KernelBtf | undefined {
    const btf = libbpf.loadVmlinuxBtf()
    return btf === null ? undefined : new KernelBtf(libbpf, btf)
  }

  /** undefined: the module is not loaded, or built in, or has no BTF. To be closed before this one. */
  openModule(module: string): KernelBtf | undefined {
    const btf = this.#libbpf.loadModuleBtf(module, this.#btf)
    return btf === null ? undefined : new KernelBtf(this.#libbpf, btf)
  }

  hasTracepoint(name: string): boolean {
    return this.#find(`btf_trace_${name}`, kinds.typedef) !== null
  }

  hasStruct(name: string): boolean {
    return this.#find(name, kinds.struct) !== null
  }

  /** A member that is a plain number or a pointer, as CO-RE finds it by: before 5.12 a namespace's cookie was an atomic64_t, and 0. */
  hasScalar(struct: string, member: string): boolean {
    const type = this.#find(struct, kinds.struct)
    if (type === null) return false
    const view = this.#viewFollowing(type, memberBytes)
    for (let at = typeSizeBytes; at < view.byteLength; at += memberBytes) {
      if (this.#libbpf.stringByOffset(this.#btf, view.getUint32(at, true)) === member)
        return this.#isScalar(view.getUint32(at + 4, true))
    }
    return false
  }

  /** Values as unsigned 32-bit numbers. Empty: this kernel has no such enum. */
  readEnum(name: string): Map<number, string> {
    const names = new Map<number, string>()
    const small = this.#find(name, kinds.enum)
    const type = small ?? this.#find(name, kinds.enum64)
    if (type === null) return names
    const stride = small === null ? enumBytes.enum64 : enumBytes.enum
    const view = this.#viewFollowing(type, stride)
    for (let at = typeSizeBytes; at < view.byteLength; at += stride) {
      names.set(view.getUint32(at + 4, true), this.#libbpf.stringByOffset(this.#btf, view.getUint32(at, true)))
    }
    return names
  }

  close(): void {
    this.#libbpf.freeBtf(this.#btf)
  }

  /** A type and all that follows it. */
  #viewFollowing(type: Address, stride: number): DataView {
    const count = this.#libbpf.view(type, typeSizeBytes).getUint32(4, true) & 0xffff
    return this.#libbpf.view(type, typeSizeBytes + count * stride)
  }

  #isScalar(id: number): boolean {
    const type = this.#libbpf.typeById(this.#btf, this.#libbpf.resolveType(this.#btf, id))
    const kind = (this.#libbpf.view(type, typeSizeBytes).getUint32(4, true) >>> 24) & 0x1f
    return [kinds.int, kinds.pointer, kinds.enum, kinds.enum64].some((one) => one === kind)
  }

  #find(name: string, kind: number): Address {
    const id = this.#libbpf.findByNameKind(this.#btf, name, kind)
    return id > 0 ? this.#libbpf.typeById(this.#btf, id) : null
  }
}
