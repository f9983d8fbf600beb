import { getSystemErrorMap } from 'node:util'
import { type Koffi, loadKoffi } from './koffi.ts'

/**
 * System calls that Node does not offer. Each returns what the kernel does: a result, or the negative errno.
 *
 * errno is read by a second call, and something in between may have set it; what does is not known. Of some 300,000 connects
 * that the kernel's own trace had as EINPROGRESS, one was ENOMEM here. So where an errno decides what is done, ENOMEM may be
 * another one.
 */
export interface Libc {
  socket(domain: number, type: number, protocol: number): number
  bind(fd: number, address: Uint8Array): number
  listen(fd: number, backlog: number): number
  /** The new socket; `flags` are SOCK_NONBLOCK, SOCK_CLOEXEC. */
  accept(fd: number, flags: number): number
  connect(fd: number, address: Uint8Array): number
  send(fd: number, bytes: Uint8Array, flags?: number): number
  sendTo(fd: number, bytes: Uint8Array, address: Uint8Array): number
  /** `messages` is an array of struct mmsghdr, of which the first `count` are sent. Returns how many were. */
  sendMessages(fd: number, messages: Uint8Array, count: number): number
  receive(fd: number, buffer: Uint8Array, flags: number): number
  shutdown(fd: number, how: number): number
  /** `fds` is an array of struct pollfd. */
  poll(fds: Uint8Array, timeoutMs: number): number
  /** Returns the length of what is now in `value`. */
  getsockopt(fd: number, level: number, option: number, value: Uint8Array): number
  setsockopt(fd: number, level: number, option: number, value: Uint8Array): number
  /** inet_pton: fills `bytes`; 0 if the text is no address of the family. */
  parseAddress(family: number, text: string, bytes: Uint8Array): number
  /** `argument` is what the request reads and writes. */
  ioctl(fd: number, request: number, argument: Uint8Array): number
  /** Takes the calling thread, and no other, into the namespace of `fd`. */
  setns(fd: number, type: number): number
  /** Takes the calling thread, and no other, into a new namespace. */
  unshare(flags: number): number
  /** Of the calling thread, all of them, for good. */
  dropCapabilities(): number
}

export type LoadedLibc = { readonly libc: Libc; readonly missing?: never } | { readonly missing: string; readonly libc?: never }

const pollfdBytes = 8
/** _LINUX_CAPABILITY_VERSION_3 of include/uapi/linux/capability.h: 64 bits each of effective, permitted, inheritable. */
const capabilityVersion = 0x20080522

let loading: Promise<LoadedLibc> | undefined

/** Loaded at the first call, once; never throws. */
export function loadLibc(): Promise<LoadedLibc> {
  loading ??= loadKoffi().then(({ koffi, missing }) => (koffi === undefined ? { missing } : bindAll(koffi)))
  return loading
}

function bindAll(koffi: Koffi): LoadedLibc {
  try {
    const library = koffi.load(null) // the C library this process runs on, glibc or musl
    const socket = library.func('int socket(int, int, int)')
    const bind = library.func('int bind(int, const void *, uint32_t)')
    const listen = library.func('int listen(int, int)')
    const accept4 = library.func('int accept4(int, void *, void *, int)')
    const connect = library.func('int connect(int, const void *, uint32_t)')
    const send = library.func('intptr_t send(int, const void *, size_t, int)')
    const sendto = library.func('intptr_t sendto(int, const void *, size_t, int, const void *, uint32_t)')
    const sendmmsg = library.func('int sendmmsg(int, void *, unsigned int, int)')
    const recv = library.func('intptr_t recv(int, void *, size_t, int)')
    const shutdown = library.func('int shutdown(int, int)')
    const poll = library.func('int poll(void *, unsigned long, int)')
    const getsockopt = library.func('int getsockopt(int, int, int, void *, void *)')
    const setsockopt = library.func('int setsockopt(int, int, int, const void *, uint32_t)')
    const inetPton = library.func('int inet_pton(int, const char *, void *)')
    const ioctl = library.func('int ioctl(int, unsigned long, void *)')
    const setns = library.func('int setns(int, int)')
    const unshare = library.func('int unshare(int)')
    const capset = library.func('int capset(const void *, const void *)')
    const result = (returned: number | bigint): number => (returned < 0 ? -koffi.errno() : Number(returned))
    const length = new Uint32Array(1)
    return {
      libc: {
        socket: (domain, type, protocol) => result(socket(domain, type, protocol)),
        bind: (fd, address) => result(bind(fd, address, address.length)),
        listen: (fd, backlog) => result(listen(fd, backlog)),
        accept: (fd, flags) => result(accept4(fd, null, null, flags)),
        connect: (fd, address) => result(connect(fd, address, address.length)),
        send: (fd, bytes, flags = 0) => result(send(fd, bytes, bytes.length, flags)),
        sendTo: (fd, bytes, address) => result(sendto(fd, bytes, bytes.length, 0, address, address.length)),
        sendMessages: (fd, messages, count) => result(sendmmsg(fd, messages, count, 0)),
        receive: (fd, buffer, flags) => result(recv(fd, buffer, buffer.length, flags)),
        shutdown: (fd, how) => result(shutdown(fd, how)),
        poll: (fds, timeoutMs) => result(poll(fds, fds.length / pollfdBytes, timeoutMs)),
        getsockopt(fd, level, option, value) {
          length[0] = value.length
          const returned = result(getsockopt(fd, level, option, value, length))
          return returned < 0 ? returned : length[0]
        },
        setsockopt: (fd, level, option, value) => result(setsockopt(fd, level, option, value, value.length)),
        parseAddress: (family, text, bytes) => result(inetPton(family, text, bytes)),
        ioctl: (fd, request, argument) => result(ioctl(fd, request, argument)),
        setns: (fd, type) => result(setns(fd, type)),
        unshare: (flags) => result(unshare(flags)),
        dropCapabilities: () => result(capset(Uint32Array.of(capabilityVersion, 0), new Uint32Array(6))),
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
