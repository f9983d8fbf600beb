import { describe, expect, it } from 'vitest'
import { eachMessage } from '../../parsers/netlink.ts'
import { createSocketReader, tcpSocketsByFamilyRequests, tcpSocketsRequest, udpSocketsRequests } from '../../parsers/sock-diag.ts'
import type { SocketRow } from '../../parsers/socket-row.ts'
import { parseErrorOf } from './proc-recorded.ts'
import { expectBounded, kernels, readAnswer, recordedAnswer, toolOutput } from './recorded-answers.ts'

const stateNames = [
  '',
  'ESTAB',
  'SYN-SENT',
  'SYN-RECV',
  'FIN-WAIT-1',
  'FIN-WAIT-2',
  'TIME-WAIT',
  'UNCONN',
  'CLOSE-WAIT',
  'LAST-ACK',
  'LISTEN',
  'CLOSING',
]

function formatAddress({ family, addresses }: SocketRow, at: number): string {
  const bytes = [...addresses.subarray(at, at + (family === 4 ? 4 : 16))]
  if (family === 4) return bytes.join('.')
  if (bytes.slice(0, 12).join() === '0,0,0,0,0,0,0,0,0,0,255,255') return `[::ffff:${bytes.slice(12).join('.')}]`
  const last = bytes[15]
  return bytes.slice(0, 15).every((byte) => byte === 0) ? `[::${last === 0 ? '' : last}]` : `[${bytes.join(',')}]`
}

/** As `ss -tan` writes it: state, queues, local, remote. */
function format(socket: SocketRow): string {
  const { localPort, remotePort, state, receiveQueue, sendQueue } = socket
  const end = (at: number, port: number): string => `${formatAddress(socket, at)}:${port === 0 ? '*' : port}`
  return [stateNames[state], receiveQueue, sendQueue, end(socket.localAt, localPort), end(socket.remoteAt, remotePort)].join(' ')
}

/** A socket open to both families is `*` to ss. */
const readSs = (text: string): string[] =>
  text
    .split('\n')
    .map((line) => line.trim().split(/\s+/).join(' ').replace(/ \*:/g, ' [::]:'))
    .sort()

function read<T>(answer: Uint8Array, pick: (socket: SocketRow) => T): T[] {
  const found: T[] = []
  const reader = createSocketReader((socket) => found.push(pick(socket)))
  readAnswer(answer, reader)
  return found
}

describe.each(kernels)('of Linux %s', (kernel) => {
  const tcp = recordedAnswer(kernel, 'tcp-sockets')

  it('has the TCP sockets of both families as ss does', () => {
    expect(read(tcp, format).sort()).toEqual(readSs(toolOutput(kernel, 'ss-tanH.txt')))
  })
  it('has the same sockets by one question as by one per family', () => {
    const byFamily = tcpSocketsByFamilyRequests().flatMap(({ name }) => read(recordedAnswer(kernel, name), format))
    expect(read(tcp, format).sort()).toEqual(byFamily.sort())
  })
  it('has the UDP sockets with their queues', () => {
    const udp = udpSocketsRequests().flatMap(({ name }) => read(recordedAnswer(kernel, name), format))
    expect(udp.sort()).toEqual(readSs(toolOutput(kernel, 'ss-uanH.txt')))
  })
  it('tells a round-trip time of connections only', () => {
    const rows = read(tcp, ({ state, rttUs }) => ({ state, rttUs }))
    const established = rows.filter(({ state }) => state === 1)
    expect(established.length).toBeGreaterThan(10)
    for (const { rttUs } of established) expect(rttUs).toBeGreaterThan(0)
    for (const { state, rttUs } of rows) {
      if (state === 10) expect(rttUs).toBeUndefined()
      else expect(rttUs ?? 0).toBeLessThan(10_000_000)
    }
  })
  it('tells of connections since when there was no data', () => {
    const rows = read(tcp, ({ state, sentAgoMs, receivedAgoMs }) => ({ state, agoMs: [sentAgoMs, receivedAgoMs] }))
    for (const { state, agoMs } of rows) {
      if ([1, 8].includes(state)) for (const ms of agoMs) expect(ms).toBeLessThan(600_000)
      if ([6, 10].includes(state)) expect(agoMs).toEqual([undefined, undefined])
    }
    expect(rows.filter(({ state }) => [1, 8].includes(state)).length).toBeGreaterThan(10)
  })
  it('tells of connections what they have carried, and of nothing else', () => {
    for (const { state, traffic } of read(tcp, ({ state, traffic }) => ({ state, traffic: traffic && { ...traffic } }))) {
      if (state === 10 || state === 6) expect(traffic).toBeUndefined()
      if (state !== 1) continue
      expect(traffic!.bytesAcknowledged + traffic!.bytesReceived).toBeLessThan(1_000_000)
      expect(traffic!.retransmittedSegments).toBeLessThan(1000)
      expect(traffic!.silentMs).toBeLessThan(1e9)
    }
  })
  it('tells inodes', () => {
    const inodes = read(tcp, ({ state, inode }) => (state === 10 ? inode : 0)).filter((inode) => inode > 0)
    expect(new Set(inodes).size).toBe(3)
  })
})

it('hands out one row, used again', () => {
  const rows = new Set(read(recordedAnswer(kernels[0]!, 'tcp-sockets'), (socket) => socket))
  expect(rows.size).toBe(1)
})

it('forgets what it told of the socket before', () => {
  const answer = recordedAnswer(kernels[0]!, 'tcp-sockets')
  let ofEstablished: Uint8Array | undefined
  eachMessage('test', answer, answer.length, (bytes, from, to) => {
    if (bytes[from + 1] === 1) ofEstablished ??= bytes.slice(from, to)
  })
  const told: (number | undefined)[] = []
  const reader = createSocketReader(({ rttUs, sentAgoMs, receivedAgoMs, traffic }) =>
    told.push(rttUs, sentAgoMs, receivedAgoMs, traffic?.bytesReceived),
  )
  reader(ofEstablished!, 0, ofEstablished!.length)
  reader(ofEstablished!, 0, 72)
  const number = expect.any(Number)
  const ofSynSent = ofEstablished!.slice()
  ofSynSent[1] = 2
  reader(ofSynSent, 0, ofSynSent.length)
  const [all, none] = [Array(4).fill(number), Array(4).fill(undefined)]
  expect(told).toEqual([...all, ...none, number, undefined, undefined, number])
})

it('refuses a message that is too short', () => {
  expect(parseErrorOf(() => createSocketReader(() => undefined)(new Uint8Array(200), 100, 171)).column).toBe(101)
})

it('asks in the layout of the kernel', () => {
  const { bytes } = tcpSocketsRequest()
  expect(bytes.length).toBe(16 + 60)
  expect([...bytes.subarray(4, 6)]).toEqual([18, 0])
  expect(bytes[16 + 3]).toBe(2)
  expect([...bytes.subarray(16 + 52, 16 + 56)]).toEqual([0xfe, 0x0f, 0, 0])
  const [ipv4, ipv6] = tcpSocketsByFamilyRequests()
  expect([...ipv4!.bytes.subarray(16, 24)]).toEqual([2, 6, 2, 0, 0xfe, 0x0f, 0, 0])
  expect(ipv6!.bytes[16]).toBe(10)
})

it('reads hostile bytes inside their bounds', () => {
  expectBounded('tcp-sockets', (bytes, from, to) => {
    let row: unknown
    createSocketReader(({ addresses, localAt, remoteAt, ...rest }) => {
      row = [rest, addresses.slice(localAt, remoteAt + 16)]
    })(bytes, from, to)
    return row
  })
})
