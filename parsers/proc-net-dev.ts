import { type Line, ParseError, parseError, readDecimal, readExactly, splitLines } from './text.ts'

/** A network device's counters since it was made, or since its driver reset them. */
export interface NetworkDevice {
  readonly name: string
  readonly receiveBytes: number
  readonly receivePackets: number
  readonly receiveErrors: number
  /** Includes rx_missed_errors: packets the device had no room for. */
  readonly receiveDrops: number
  readonly transmitBytes: number
  readonly transmitPackets: number
  readonly transmitErrors: number
  readonly transmitDrops: number
}

const needed = [
  'Receive bytes',
  'Receive packets',
  'Receive errs',
  'Receive drop',
  'Transmit bytes',
  'Transmit packets',
  'Transmit errs',
  'Transmit drop',
] as const

/** /proc/net/dev (net/core/net-procfs.c, dev_seq_printf_stats): the devices of a network namespace. */
export function parseProcNetDev(text: string, where: string): NetworkDevice[] {
  const [sides, names, ...rows] = splitLines(text, where)
  if (names === undefined) throw new ParseError(where, 2, 1, 'the names of the columns', '')
  const columns = readHeader(sides, names)
  return rows.map((row) => {
    const colon = row.text.lastIndexOf(':') // a name may hold colons (eth0:1), and a value may follow with no blank
    const name = row.text.slice(0, Math.max(colon, 0)).replace(/^ +/, '')
    if (name === '') throw parseError(row, 0, 'the name of a device and a colon')
    const values = readExactly(row, colon + 1, columns.length, readDecimal)
    const value = (column: (typeof needed)[number]): number => values[columns.indexOf(column)]!
    return {
      name,
      receiveBytes: value('Receive bytes'),
      receivePackets: value('Receive packets'),
      receiveErrors: value('Receive errs'),
      receiveDrops: value('Receive drop'),
      transmitBytes: value('Transmit bytes'),
      transmitPackets: value('Transmit packets'),
      transmitErrors: value('Transmit errs'),
      transmitDrops: value('Transmit drop'),
    }
  })
}

/** `Inter-|   Receive   |  Transmit` over ` face |bytes packets …|bytes packets …`: `Receive bytes` and so on, for all columns after the name. */
function readHeader(sides: Line, names: Line): string[] {
  const [, ...sideNames] = sides.text.split('|')
  const [, ...parts] = names.text.split('|')
  const words = (part: string): string[] => part.match(/\S+/g) ?? []
  const columns = parts.flatMap((part, i) => words(part).map((name) => `${sideNames[i]?.trim()} ${name}`))
  for (const column of needed) if (!columns.includes(column)) throw parseError(names, 0, `a column ${column}`)
  return columns
}
