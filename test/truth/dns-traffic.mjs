// DNS servers and clients in the network namespace they are started in: they send exactly what they are told. A process of
// its own, because a namespace belongs to a process; messages are put together here by hand, so that what is counted does
// not rest on the parser that is tested.
//
//   node dns-traffic.mjs <verb> '<json arguments>'
//
// A verb prints its result as a line of JSON; `serve` prints {"ready": …} and serves until its standard input ends.
import { randomInt } from 'node:crypto'
import dgram from 'node:dgram'
import { createConnection, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

const codes = { noerror: 0, formerr: 1, servfail: 2, nxdomain: 3, notimp: 4, refused: 5, badvers: 16 }
const types = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  DS: 43,
  SVCB: 64,
  HTTPS: 65,
  ANY: 255,
}
const [isResponse, isTruncated, wantsRecursion] = [0x8000, 0x200, 0x100]

const verbs = { serve, ask, stream, send }

/**
 * What is asked for says how it is answered, by the first label of its name: a response code, with so many addresses
 * (`noerror3`); `silent`: not; `late5500`: after so many milliseconds; `once1500`: so, and of one socket and id only the
 * first; `truncated2`: over UDP without addresses and with TC.
 */
async function serve({ addresses, port = 53 }) {
  for (const address of addresses) {
    const socket = dgram.createSocket({ type: address.includes(':') ? 'udp6' : 'udp4', recvBufferSize: 4 << 20 })
    const answered = new Set()
    socket.on('message', (query, from) => {
      if (!isQuery(query)) return
      const [, order, number] = orderOf(query)
      const sender = `${from.address} ${from.port} ${query.readUInt16BE(0)}`
      if (order === 'silent' || (order === 'once' && answered.has(sender))) return
      answered.add(sender)
      const reply = () => socket.send(answerTo(query, 'udp'), from.port, from.address)
      if (order === 'late' || order === 'once') setTimeout(reply, number)
      else reply()
    })
    await new Promise((resolve) => socket.bind(port, address, resolve))
    const server = createServer((connection) => {
      connection.setNoDelay(true)
      onMessages(connection, (query) => connection.write(framed(answerTo(query, 'tcp'))))
      connection.on('error', () => connection.destroy())
    })
    await new Promise((resolve) => server.listen(port, address, resolve))
  }
  print({ ready: {} })
  process.stdin.on('end', () => process.exit()).resume()
}

/**
 * Each question from a socket of its own, all at once. `again`: the same datagram from the same socket after so many
 * milliseconds each. `id`, `fromPort`: not by chance. Says how many answers came.
 */
async function ask({ server, port = 53, questions, again = [], waitMs = 2000, id, fromPort }) {
  const askOne = async (question) => {
    const socket = dgram.createSocket(server.includes(':') ? 'udp6' : 'udp4')
    await new Promise((resolve) => socket.bind(fromPort, resolve))
    const query = queryFor({ id, ...question })
    const sendQuery = () => socket.send(query, port, server)
    let answers = 0
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, waitMs)
      socket.on('message', () => {
        if (++answers < 1 + again.length) return
        clearTimeout(timer)
        resolve()
      })
      sendQuery()
      for (const ms of again) setTimeout(sendQuery, ms)
    })
    socket.close()
    return answers
  }
  const asked = await Promise.all(each(questions).map(askOne))
  print({ answers: asked.reduce((sum, answers) => sum + answers, 0) })
}

/** All questions over one connection, without waiting for answers; `pieces`: so many bytes in a segment of its own. */
async function stream({ server, port = 53, questions, pieces }) {
  const queries = each(questions).map((question) => framed(queryFor(question)))
  const bytes = Buffer.concat(queries)
  const connection = createConnection({ host: server, port, noDelay: true })
  let answers = 0
  const all = new Promise((resolve, reject) => {
    onMessages(connection, () => void (++answers === queries.length && resolve()))
    connection.on('error', reject)
  })
  await new Promise((resolve) => connection.once('connect', resolve))
  for (let at = 0; at < bytes.length; at += pieces ?? bytes.length) {
    connection.write(bytes.subarray(at, at + (pieces ?? bytes.length)))
    if (pieces !== undefined) await sleep(1)
  }
  await all
  connection.end()
  print({ answers })
}

/** Datagrams as they are, in base64. */
async function send({ server, port = 53, datagrams, fromPort }) {
  const socket = dgram.createSocket(server.includes(':') ? 'udp6' : 'udp4')
  await new Promise((resolve) => socket.bind(fromPort, resolve))
  for (const datagram of datagrams) {
    await new Promise((resolve, reject) =>
      socket.send(Buffer.from(datagram, 'base64'), port, server, (error) => (error ? reject(error) : resolve())),
    )
  }
  socket.close()
  print({ sent: datagrams.length })
}

/** As often as it is to be asked. */
const each = (questions) => questions.flatMap(({ count = 1, ...question }) => Array(count).fill(question))

/** No two queries of a process have the same. */
let nextId = randomInt(1 << 16)

/** `name`: a character a byte. `edns`: with an OPT record. */
function queryFor({ name, type = 'A', id = nextId++ & 0xffff, edns = false }) {
  const labels = name.split('.').map((label) => Buffer.concat([Buffer.of(label.length), Buffer.from(label, 'latin1')]))
  const opt = edns ? optRecord(0) : Buffer.alloc(0)
  return Buffer.concat([header(id, wantsRecursion, 0, edns ? 1 : 0), ...labels, Buffer.of(0), words(types[type], 1), opt])
}

function answerTo(query, transport) {
  const [question, order, number] = orderOf(query)
  const type = question.readUInt16BE(question.length - 4)
  const truncated = order === 'truncated' && transport === 'udp'
  const code = codes[order] ?? 0
  const count = truncated || (type !== types.A && type !== types.AAAA) || order === 'late' || order === 'once' ? 0 : number
  const address = type === types.A ? Buffer.of(192, 0, 2, 80) : Buffer.from(`20010db8${'0'.repeat(23)}1`, 'hex')
  const record = Buffer.concat([words(0xc00c, type, 1, 0, 60, address.length), address])
  const flags = isResponse | wantsRecursion | (truncated ? isTruncated : 0) | (code & 0xf)
  const head = header(query.readUInt16BE(0), flags, count, code > 0xf ? 1 : 0)
  return Buffer.concat([head, question, ...Array(count).fill(record), ...(code > 0xf ? [optRecord(code >> 4)] : [])])
}

/** As they are sent here, not something else. */
const isQuery = (message) => message.length > 16 && message.readUInt16BE(2) === wantsRecursion

/** The bytes of the question, and what its first label orders. */
function orderOf(query) {
  let at = 12
  while (query[at] > 0) at += 1 + query[at]
  const label = query.toString('latin1', 13, 13 + query[12]).toLowerCase()
  const [, order, number = '0'] = /^([a-z]+)(\d*)/.exec(label) ?? [undefined, 'noerror']
  return [query.subarray(12, at + 5), order, Number(number)]
}

function header(id, flags, answerCount, additionalCount) {
  return words(id, flags, 1, answerCount, 0, additionalCount)
}

function optRecord(upperCode) {
  return Buffer.concat([Buffer.of(0), words(41, 1232, upperCode << 8, 0, 0)])
}

function words(...values) {
  const bytes = Buffer.alloc(values.length * 2)
  values.forEach((value, i) => bytes.writeUInt16BE(value & 0xffff, i * 2))
  return bytes
}

function framed(message) {
  return Buffer.concat([words(message.length), message])
}

function onMessages(connection, listener) {
  let rest = Buffer.alloc(0)
  connection.on('data', (chunk) => {
    rest = Buffer.concat([rest, chunk])
    while (rest.length >= 2 && rest.length >= 2 + rest.readUInt16BE(0)) {
      const end = 2 + rest.readUInt16BE(0)
      listener(rest.subarray(2, end))
      rest = rest.subarray(end)
    }
  })
}

function print(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`)
}

const [verb, argumentsText = '{}'] = process.argv.slice(2)
await verbs[verb](JSON.parse(argumentsText))
