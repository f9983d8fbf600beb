// Holds pairs of TCP sockets on loopback until it or its standard input is ended, some of them in TIME_WAIT:
// hold-sockets.mjs PAIRS TIME_WAIT_PAIRS GROUP
import { once } from 'node:events'
import net from 'node:net'

const [pairs, timeWaitPairs, group] = process.argv.slice(2).map(Number)
const server = net.createServer({ allowHalfOpen: false }, (socket) => socket.on('error', () => undefined))
server.listen(6000 + group, '127.0.0.1', 4096)
await once(server, 'listening')
const held = []
for (let i = 0; i < pairs + timeWaitPairs; i++) {
  const localAddress = `127.${1 + (group % 200)}.${Math.floor(i / 200) % 250}.${1 + (i % 200)}`
  const socket = net.connect({ port: 6000 + group, host: '127.0.0.1', localAddress })
  socket.on('error', (error) => {
    process.stderr.write(`${error.message}\n`)
    process.exit(1)
  })
  await once(socket, 'connect')
  if (i < pairs) held.push(socket)
  else {
    socket.end() // whoever closes first keeps the TIME_WAIT
    socket.resume()
  }
}
process.stdout.write('ready\n')
process.on('SIGTERM', () => process.exit(0))
process.stdin.resume().on('end', () => process.exit(0)) // whoever started it is gone
