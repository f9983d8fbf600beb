// A resolver on 127.0.0.1:53 and who asks it: for each name on standard input one query for A. The first label says how it goes.
import dgram from 'node:dgram'
import { createInterface } from 'node:readline'
import dnsPacket from 'dns-packet'

const NXDOMAIN = 3
const server = dgram.createSocket('udp4')
server.on('message', (bytes, { address, port }) => {
  const { id, questions } = dnsPacket.decode(bytes)
  const [label] = questions[0].name.split('.')
  if (label === 'silent') return
  const answers = label === 'gone' ? [] : [{ name: questions[0].name, type: 'A', data: '192.0.2.1' }]
  const flags = label === 'gone' ? NXDOMAIN : 0
  server.send(dnsPacket.encode({ type: 'response', id, flags, questions, answers }), port, address)
})
server.bind(53, '127.0.0.1', () => process.stdout.write('ready\n'))

const client = dgram.createSocket('udp4')
let lastId = 0
for await (const name of createInterface({ input: process.stdin }))
  client.send(dnsPacket.encode({ type: 'query', id: ++lastId, questions: [{ type: 'A', name }] }), 53, '127.0.0.1')
client.close()
server.close()
