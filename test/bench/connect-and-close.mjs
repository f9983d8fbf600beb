// Makes TCP connections and closes them, one after the other, and prints how many nanoseconds all of them took:
// connect-and-close.mjs COUNT CPU [NAMESPACE]. On loopback; or from the network namespace that it is in to the named one,
// which has 10.77.1.1 and those that follow. Straight libc calls, six a connection, which cost some tenths of a microsecond
// each.
import fs from 'node:fs'
import koffi from 'koffi'

const [count, cpu] = process.argv.slice(2, 4).map(Number)
const serverNamespace = process.argv[4]
const network = serverNamespace === undefined ? [127, 0, 0] : [10, 77, 1]
const CLONE_NEWNET = 0x40000000
const AF_INET = 2
const SOCK_STREAM = 1
const port = 7000
const addresses = 16 // called in turn, so that none has so few free ports left that they are searched for
const backlog = 16

const libraryOfNode = koffi.load(null)
const socket = libraryOfNode.func('int socket(int, int, int)')
const bind = libraryOfNode.func('int bind(int, const void *, uint32_t)')
const listen = libraryOfNode.func('int listen(int, int)')
const connect = libraryOfNode.func('int connect(int, const void *, uint32_t)')
const accept = libraryOfNode.func('int accept(int, void *, void *)')
const receive = libraryOfNode.func('long recv(int, void *, size_t, int)')
const close = libraryOfNode.func('int close(int)')
const enter = libraryOfNode.func('int setns(int, int)')
const setAffinity = libraryOfNode.func('int sched_setaffinity(int, size_t, const void *)')

function check(what, result) {
  if (result < 0) throw new Error(`${what}: errno ${koffi.errno()}`)
  return result
}

/** struct sockaddr_in of the network's address with this end; 0: of any address. */
function socketAddress(last) {
  const bytes = Buffer.alloc(16)
  bytes.writeUInt16LE(AF_INET)
  bytes.writeUInt16BE(port, 2)
  if (last > 0) bytes.set([...network, last], 4)
  return bytes
}

const mask = Buffer.alloc(128)
mask[cpu >> 3] = 1 << (cpu & 7)
check('sched_setaffinity', setAffinity(0, mask.length, mask))

/** A socket stays in the namespace that it was made in. */
function openListener() {
  if (serverNamespace === undefined) return socket(AF_INET, SOCK_STREAM, 0)
  const [here, there] = ['/proc/thread-self/ns/net', `/run/netns/${serverNamespace}`].map((file) => fs.openSync(file))
  check('setns', enter(there, CLONE_NEWNET))
  const opened = socket(AF_INET, SOCK_STREAM, 0)
  check('setns', enter(here, CLONE_NEWNET))
  return opened
}

const listener = check('socket', openListener())
const any = socketAddress(0)
check('bind', bind(listener, any, any.length))
check('listen', listen(listener, backlog))
const called = Array.from({ length: addresses }, (_, i) => socketAddress(i + 1))

const end = Buffer.alloc(1)

const startedNs = process.hrtime.bigint()
for (let i = 0; i < count; i++) {
  const address = called[i % addresses]
  const client = check('socket', socket(AF_INET, SOCK_STREAM, 0))
  check('connect', connect(client, address, address.length))
  const server = check('accept', accept(listener, null, null))
  close(client)
  check('recv', Number(receive(server, end, end.length, 0))) // of an end that nobody read the kernel says it was dropped
  close(server)
}
process.stdout.write(`${process.hrtime.bigint() - startedNs}\n`)
