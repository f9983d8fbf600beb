import { getSystemErrorMap } from 'node:util'
import { type Koffi, loadKoffi } from './koffi.ts'

/** System calls that Node does not offer. Each returns what the kernel does: a result, or the negative errno. */
export interface Libc {
  socket(domain: number, type: number, protocol: number): number
  connect(fd: number, address: Uint8Array): number
  send(fd: number, bytes: Uint8Array): number
  receive(fd: number, buffer: Uint8Array, flags: number): number
  /** Returns the length of what is now in `value`. */
  getsockopt(fd: number, level: number, option: number, value: Uint8Array): number
  setsockopt(fd: number, level: number, option: number, value: Uint8Array): number
  /** Takes the calling thread, and no other, into the namespace of `fd`. */
  setns(fd: number, type: number): number
}

export type LoadedLibc = { readonly libc: Libc; readonly missing?: never } | { readonly missing: string; readonly libc?: never }

let loading: Promise<LoadedLibc> | undefined

/** Loaded at the first call, once; never throws. */
export function loadLibc(): Promise<LoadedLibc> {
  loading ??= loadKoffi().then(({ koffi, missing }) => (koffi === undefined ? { missing } : bind(koffi)))
  return loading
}

function bind(koffi: Koffi): LoadedLibc {
  try {
    const library = koffi.load(null) // the C library this process runs on, glibc or musl
    const socket = library.func('int socket(int, int, int)')
    const connect = library.func('int connect(int, const void *, uint32_t)')
    const send = library.func('intptr_t send(int, const void *, size_t, int)')
    const recv = library.func('intptr_t recv(int, void *, size_t, int)')
    const getsockopt = library.func('int getsockopt(int, int, int, void *, void *)')
    const setsockopt = library.func('int setsockopt(int, int, int, const void *, uint32_t)')
    const setns = library.func('int setns(int, int)')
    const result = (returned: number | bigint): number => (returned < 0 ? -koffi.errno() : Number(returned))
    const length = new Uint32Array(1)
    return {
      libc: {
        socket: (domain, type, protocol) => result(socket(domain, type, protocol)),
        connect: (fd, address) => result(connect(fd, address, address.length)),
        send: (fd, bytes) => result(send(fd, bytes, bytes.length, 0)),
        receive: (fd, buffer, flags) => result(recv(fd, buffer, buffer.length, flags)),
        getsockopt(fd, level, option, value) {
          length[0] = value.length
          const returned = result(getsockopt(fd, level, option, value, length))
          return returned < 0 ? returned : length[0]
        },
        setsockopt: (fd, level, option, value) => result(setsockopt(fd, level, option, value, value.length)),
        setns: (fd, type) => result(setns(fd, type)),
      },
    }
  } catch (error) {
    return { missing: `the C library cannot be used: ${error instanceof Error ? error.message : String(error)}` }
  }
}

/** 1 → EPERM and 'operation not permitted'. */
export function describeErrno(errno: number): { readonly code: string; readonly words: string } {
  const [code, words] = getSystemErrorMap().get(-errno) ?? [`errno ${errno}`, 'unknown error']
  return { code, words }
}
