import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createSocketTableReader } from '../../parsers/proc-net-tcp.ts'
import type { SocketRow } from '../../parsers/socket-row.ts'
import { damaged, expectOnlyParseErrors, parseErrorOf, placeOf, recorded } from './proc-recorded.ts'

const header = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n'
const header6 =
  '  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n'
const where = '/proc/net/tcp'

interface Socket extends Omit<SocketRow, 'addresses' | 'localAt' | 'remoteAt'> {
  local: number[]
  remote: number[]
}
const copy = ({ addresses, localAt, remoteAt, ...rest }: SocketRow): Socket => ({
  ...rest,
  local: [...addresses.subarray(localAt, localAt + 16)],
  remote: [...addresses.subarray(remoteAt, remoteAt + 16)],
})

/** The sockets of a table that arrives cut at the given places. */
function read(text: string, family: 4 | 6, cuts: readonly number[] = [], lineBytesMax?: number): Socket[] {
  const sockets: Socket[] = []
  const reader = createSocketTableReader(where, family, (socket) => sockets.push(copy(socket)), lineBytesMax)
  const bytes = Buffer.from(text, 'latin1')
  let from = 0
  for (const to of [...[...cuts].sort((a, b) => a - b), bytes.length]) {
    const chunk = bytes.subarray(from, to)
    const sent = Uint8Array.from(chunk)
    reader.feed(sent)
    sent.fill(0x7f) // the reader keeps nothing of a chunk
    from = to
  }
  reader.end()
  return sockets
}
const address4 = (...bytes: number[]): number[] => [...bytes, ...Array.from({ length: 12 }, () => 0)]
const localhost = address4(127, 0, 0, 1)
const mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1]
const localhost6 = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]

const tables = (
  [
    ['tcp', 4],
    ['tcp6', 6],
    ['udp', 4],
    ['udp6', 6],
  ] as const
).flatMap(([file, family]) => recorded(`net/${file}`).map(([kernel, text]) => [file, kernel, family, text] as const))

describe('createSocketTableReader on recorded tables', () => {
  it.each(tables)('reads every row of %s of %s', (_file, _kernel, family, text) => {
    const word = (hex: string): number[] => [...Buffer.from(hex, 'hex')].reverse()
    const address = (hex: string): number[] => [...hex.match(/.{8}/g)!.flatMap(word), ...address4().slice(family === 4 ? 0 : 12)]
    const expected = text
      .trimEnd()
      .split('\n')
      .slice(1)
      .map((line) => {
        const [, local, localPort, remote, remotePort, st, tx, rx, uid, inode] =
          /^ *\d+: (\w+):(\w+) (\w+):(\w+) (\w+) (\w+):(\w+) \S+ \S+ +(\d+) +\d+ (\d+) /.exec(line)!
        const state = Number.parseInt(st!, 16)
        return {
          family,
          state,
          localPort: Number.parseInt(localPort!, 16),
          remotePort: Number.parseInt(remotePort!, 16),
          local: address(local!).slice(0, 16),
          remote: address(remote!).slice(0, 16),
          receiveQueue: Number.parseInt(rx!, 16),
          sendQueue: state === 10 ? undefined : Number.parseInt(tx!, 16),
          rttUs: undefined,
          traffic: undefined,
          inode: Number(inode),
          uid: Number(uid),
        }
      })
    expect(expected.length).toBeGreaterThan(3)
    expect(read(text, family)).toEqual(expected)
  })

  it.each(tables.filter(([file]) => file.startsWith('tcp')))(
    'finds in %s of %s what make-state did',
    (file, _kernel, family, text) => {
      const sockets = read(text, family)
      const states = (port: number, side: 'localPort' | 'remotePort'): number[] =>
        sockets
          .filter((socket) => socket[side] === port)
          .map(({ state }) => state)
          .sort((a, b) => a - b)
      expect(sockets.find(({ localPort, state }) => localPort === 8081 && state === 10)).toMatchObject({
        receiveQueue: 3,
        sendQueue: undefined,
        uid: 0,
      })
      expect(states(8081, 'localPort')).toEqual([1, 1, 1, 10]) // three wait to be accepted
      expect(sockets.filter(({ localPort, state }) => localPort === 8081 && state === 1).map(({ inode }) => inode)).toEqual([
        0, 0, 0,
      ])
      expect(states(8081, 'remotePort')).toEqual([1, 1, 1, 2, 2]) // two still try
      expect(states(8080, 'localPort')).toEqual([1, 1, 8, 10])
      expect(states(8080, 'remotePort').filter((state) => state !== 2)).toEqual([1, 1, 5])
      expect(states(8082, 'remotePort')).toEqual([6, 6])
      expect(states(8084, 'localPort')).toEqual([3, 10])
      expect(sockets.filter(({ localPort, receiveQueue }) => localPort === 8080 && receiveQueue === 300)).toHaveLength(1)
      const own = file === 'tcp' ? localhost : localhost6
      expect(sockets.filter(({ remotePort }) => remotePort === 8082).map(({ local, remote }) => [local, remote])).toEqual([
        [own, own],
        [own, own],
      ])
      if (file === 'tcp6')
        expect(sockets.find(({ localPort, state }) => localPort === 8085 && state === 1)).toMatchObject({
          local: mapped,
          remote: mapped,
          family: 6,
        })
    },
  )
})

describe('createSocketTableReader', () => {
  const listener =
    '   0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 12345 1 000000000cc376b9 100 0 0 10 0\n'
  const timeWait =
    '   1: 0100007F:A816 0204A8C0:01BB 06 00000000:00000000 03:00000E2F 00000000     0        0 0 3 000000004370b5aa                   \n'

  it('reads a listener and its queue', () => {
    expect(read(header + listener, 4)).toEqual([
      {
        family: 4,
        state: 10,
        localPort: 8080,
        remotePort: 0,
        local: localhost,
        remote: address4(0, 0, 0, 0),
        receiveQueue: 3,
        sendQueue: undefined,
        rttUs: undefined,
        traffic: undefined,
        inode: 12345,
        uid: 0,
      },
    ])
  })
  it('reads a short row of TIME_WAIT', () => {
    expect(read(header + timeWait, 4)).toMatchObject([
      { state: 6, localPort: 43030, remotePort: 443, local: localhost, remote: address4(192, 168, 4, 2), inode: 0, sendQueue: 0 },
    ])
  })
  it('reads an IPv6 address, whose words are little-endian each', () => {
    const row = `   0: B80D0120000000000000000001000000:0050 ${'0'.repeat(32)}:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 100\n`
    expect(read(header6 + row, 6)).toMatchObject([
      { local: [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], localPort: 80, uid: 1000 },
    ])
  })
  it('hands out one row again and again', () => {
    const rows = new Set<SocketRow>()
    const reader = createSocketTableReader(where, 4, (socket) => rows.add(socket))
    reader.feed(Buffer.from(header + listener + timeWait))
    expect(rows.size).toBe(1)
  })
  it('reads a table without sockets', () => expect(read(header, 4)).toEqual([]))
  it('reads names padded to the width of the rows, and further columns', () => {
    expect(read(`${header.trimEnd().padEnd(149)}\n`, 4)).toEqual([])
    expect(read(`${header.trimEnd()} ref pointer drops             \n`, 4)).toEqual([])
  })

  it('says what is wrong, and where', () => {
    const wrong = (from: string, to: string): [number, number] =>
      placeOf(() => read(header + timeWait + listener.replace(from, to), 4))
    expect(parseErrorOf(() => read(header + listener.replace('0100007F', '0100x1\u001b[2J'), 4)).message).toBe(
      '/proc/net/tcp: line 2, column 7: expected a local address and port, got "0100x1\\x1b[2J:1F90"',
    )
    expect(wrong('0100007F', '0100007')).toEqual([3, 7])
    expect(wrong('0100007F:1F90', '0100007F:1F901')).toEqual([3, 7])
    expect(wrong('00000000:0000 0A', '00000000-0000 0A')).toEqual([3, 21])
    expect(wrong(' 0A ', ' 0x ')).toEqual([3, 35])
    expect(wrong(' 0A ', ' 0A')).toEqual([3, 35])
    expect(wrong('00000003', '0000003 ')).toEqual([3, 38])
    expect(wrong('     0        0 12345', '    -1        0 12345')).toEqual([3, 80])
    expect(wrong('12345', '12a45')).toEqual([3, 92])
    expect(placeOf(() => read(header + listener.replace('12345', '1'.repeat(21)), 4))).toEqual([2, 92])
    expect(placeOf(() => read(`${header}\n`, 4))).toEqual([2, 1])
  })
  it('refuses a row that ends too early, even on the last digit of a column', () => {
    for (let length = 0; length <= 96; length++) {
      expect(() => read(`${header}${listener.slice(0, length)}\n`, 4), `${length} bytes`).toThrow(
        '/proc/net/tcp: line 2, column ',
      )
    }
  })
  it('refuses a table that was cut off', () => {
    expect(parseErrorOf(() => read(header + listener.trimEnd(), 4)).message).toBe(
      `/proc/net/tcp: line 2, column ${listener.length}: expected the end of the line, got ""`,
    )
    expect(placeOf(() => read('', 4))).toEqual([1, 1])
    expect(placeOf(() => read('  sl', 4))).toEqual([1, 5])
  })
  it('refuses a header with other columns', () => {
    expect(parseErrorOf(() => read(listener, 4)).expected).toBe('the header of a socket table')
    expect(placeOf(() => read(header.replace('tx_queue rx_queue', 'new tx_queue rx_queue') + listener, 4))).toEqual([1, 1])
  })
  it('refuses an IPv6 table where IPv4 was expected', () => {
    const [, text] = recorded('net/tcp6')[0]!
    expect(placeOf(() => read(text, 4))).toEqual([2, 7])
  })
  it('refuses a line longer than allowed, without keeping it', () => {
    const long = header + listener.trimEnd().padEnd(201)
    for (const cuts of [[], [100], [150, 250], [299, 300, 301]]) {
      expect(placeOf(() => read(`${long}\n`, 4, cuts, 200))).toEqual([2, 201])
      expect(placeOf(() => read(long, 4, cuts, 200))).toEqual([2, 201])
    }
    expect(read(`${header}${listener.trimEnd().padEnd(200)}\n`, 4, [], 200)).toHaveLength(1)
    const reader = createSocketTableReader(where, 4, () => {})
    reader.feed(Buffer.from(header))
    expect(placeOf(() => reader.feed(new Uint8Array(1 << 20).fill(0x20)))).toEqual([2, 4097])
  })

  it('reads what the kernel writes, cut anywhere', () => {
    const u32 = fc.nat({ max: 0xffffffff })
    const socket = fc.record({
      local: fc.uint8Array({ minLength: 16, maxLength: 16 }),
      remote: fc.uint8Array({ minLength: 16, maxLength: 16 }),
      localPort: fc.nat(65535),
      remotePort: fc.nat(65535),
      state: fc.integer({ min: 1, max: 12 }),
      sendQueue: u32,
      receiveQueue: u32,
      uid: u32,
      inode: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
    })
    const hex = (value: number, digits: number): string => value.toString(16).toUpperCase().padStart(digits, '0')
    const words = (bytes: Uint8Array): string => Buffer.from(bytes).swap32().toString('hex').toUpperCase()
    const table = fc.tuple(
      fc.constantFrom(4 as const, 6 as const),
      fc.array(socket, { maxLength: 30 }),
      fc.array(fc.nat(6000), { maxLength: 30 }),
    )
    fc.assert(
      fc.property(table, ([family, sockets, cuts]) => {
        const used = family === 4 ? 4 : 16
        const rows = sockets.map((s, i) => {
          const ends = [s.local, s.remote].map((address) => words(address.subarray(0, used)))
          const row = `${String(i).padStart(4)}: ${ends[0]}:${hex(s.localPort, 4)} ${ends[1]}:${hex(s.remotePort, 4)} ${hex(s.state, 2)} ${hex(s.sendQueue, 8)}:${hex(s.receiveQueue, 8)} 02:000000C8 00000000 ${String(s.uid).padStart(5)} ${'0'.padStart(8)} ${s.inode} 2 000000004370b5aa`
          return `${s.state === 6 ? row : `${row} 20 4 30 10 -1`}`.padEnd(149)
        })
        const text = [family === 4 ? header.trimEnd() : header6.trimEnd(), ...rows].map((line) => `${line}\n`).join('')
        const fill = (address: Uint8Array): number[] => [
          ...address.subarray(0, used),
          ...Array.from({ length: 16 - used }, () => 0),
        ]
        const expected = sockets.map((s) => ({
          ...s,
          family,
          local: fill(s.local),
          remote: fill(s.remote),
          sendQueue: s.state === 10 ? undefined : s.sendQueue,
          rttUs: undefined,
          traffic: undefined,
        }))
        expect(
          read(
            text,
            family,
            cuts.filter((cut) => cut <= text.length),
          ),
        ).toEqual(expected)
      }),
    )
  })
  it('throws nothing but ParseErrors', () => {
    for (const family of [4, 6] as const) {
      const texts = tables.filter((table) => table[2] === family).map(([, , , text]) => text)
      expectOnlyParseErrors((text) => read(text, family), texts, where)
    }
  })
  it('finds the same sockets and the same fault wherever the chunks of a damaged table are cut', () => {
    const outcome = (text: string, cuts: readonly number[]): unknown => {
      const sockets: Socket[] = []
      try {
        return { sockets: read(text, 4, cuts, 256) }
      } catch (error) {
        return { sockets, error: String(error) }
      }
    }
    const texts = tables.filter((table) => table[2] === 4).map(([, , , text]) => text)
    fc.assert(
      fc.property(damaged(texts), fc.array(fc.nat(4000), { maxLength: 40 }), (text, cuts) => {
        expect(
          outcome(
            text,
            cuts.filter((cut) => cut <= text.length),
          ),
        ).toEqual(outcome(text, []))
      }),
      { numRuns: 300 },
    )
  })
})
