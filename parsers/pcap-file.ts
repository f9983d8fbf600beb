import { ParseError } from './text.ts'

/** A packet lies at `from` in `bytes`, valid only during the call. `timeMs`: of the epoch; undefined where the file does not tell. */
export type PacketListener = (
  bytes: Uint8Array,
  from: number,
  capturedLength: number,
  wireLength: number,
  timeMs: number | undefined,
  linkType: number,
) => void

/**
 * Reads a file as it comes, in pieces of any size. Errors are ParseErrors whose column is the byte in the file, from 1; the
 * packets before them have been handed out, and the reader reads no further.
 */
export interface PcapReader {
  push(chunk: Uint8Array): void
  /** An error when the file ends in the middle of something, or has not even a header. */
  end(): void
}

export type PcapResolution = 'microseconds' | 'nanoseconds'

const where = 'pcap'
/** MAXIMUM_SNAPLEN of libpcap. */
const packetBytesMax = 262_144
/** Of blocks that are read whole: a packet with its options, an interface, the beginning of a section. */
const readBlockBytesMax = packetBytesMax + 65_536
/** Of blocks that are passed over; as much as Wireshark takes. */
const skippedBlockBytesMax = 16 << 20
const interfacesMax = 4096

/** https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-05.html */
const fileHeaderBytes = 24
const packetHeaderBytes = 16
const magics: Record<PcapResolution, number> = { microseconds: 0xa1b2c3d4, nanoseconds: 0xa1b23c4d }
const unitsPerMs: Record<PcapResolution, number> = { microseconds: 1e3, nanoseconds: 1e6 }
const versionMajor = 2
const versionMinor = 4

/** https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html */
const blocks = { section: 0x0a0d0d0a, interface: 1, oldPacket: 2, simplePacket: 3, enhancedPacket: 6 } as const
const byteOrderMagic = 0x1a2b3c4d
/** Type and length before what a block holds, and the length again behind it. */
const blockHeaderBytes = 8
const blockTrailerBytes = 4
const sectionBlockBytesMin = 28
const options = { end: 0, timeResolution: 9, timeOffset: 14 } as const

/** Whether a file of either format begins with these bytes, of which the first four are enough. */
export function isPcapFile(bytes: Uint8Array): boolean {
  if (bytes.length < 4) return false
  const view = new DataView(bytes.buffer, bytes.byteOffset, 4)
  const isPcap = [true, false].some((order) => Object.values(magics).includes(view.getUint32(0, order)))
  return isPcap || view.getUint32(0) === blocks.section
}

interface CaptureInterface {
  readonly linkType: number
  /** 0: no limit. */
  readonly snapLength: number
  readonly unitsPerMs: number
  readonly offsetMs: number
}

/** Reads pcap and pcapng, of either byte order, with times in micro- or nanoseconds or as pcapng's interfaces have them. */
export function createPcapReader({ onPacket }: { onPacket: PacketListener }): PcapReader {
  /** What has come of a record that is not whole yet. */
  let held = new Uint8Array(256)
  let heldLength = 0
  /** Where in the file `held` begins, or else the next byte. */
  let offset = 0
  let skipped = 0
  /** So many bytes must be there for the next step. */
  let wanted = 4
  /** Given as many; true: they are dealt with. False: the step, or the number, is another now, and they are needed again. */
  let step: (view: DataView, bytes: Uint8Array, from: number) => boolean = readMagic
  let isLittleEndian = true
  let resolution: PcapResolution = 'microseconds'
  let linkType = 0
  let interfaces: CaptureInterface[] = []
  let blockLength = 0
  /** Nothing is read after an error, the listener's included. */
  let fault: unknown

  function failure(at: number, expected: string, got = ''): ParseError {
    return new ParseError(where, 1, offset + at + 1, expected, got)
  }

  function next(bytes: number, then: typeof step): false {
    wanted = bytes
    step = then
    return false
  }

  function readMagic(view: DataView): boolean {
    if (view.getUint32(0) === blocks.section) return next(blockHeaderBytes, readBlock)
    for (const order of [true, false])
      for (const [name, magic] of Object.entries(magics) as [PcapResolution, number][])
        if (view.getUint32(0, order) === magic) {
          isLittleEndian = order
          resolution = name
          return next(fileHeaderBytes, readFileHeader)
        }
    throw failure(0, 'a pcap or pcapng file', hex(view.getUint32(0)))
  }

  function readFileHeader(view: DataView): boolean {
    const major = view.getUint16(4, isLittleEndian)
    const minor = view.getUint16(6, isLittleEndian)
    if (major !== versionMajor || minor !== versionMinor) throw failure(4, 'version 2.4', `${major}.${minor}`)
    // The upper bits tell of frame check sequences.
    linkType = view.getUint32(20, isLittleEndian) & 0xffff
    next(packetHeaderBytes, readPacket)
    return true
  }

  function readPacket(view: DataView, bytes: Uint8Array, from: number): boolean {
    const capturedLength = view.getUint32(8, isLittleEndian)
    const wireLength = view.getUint32(12, isLittleEndian)
    expectLengths(capturedLength, wireLength, 8)
    if (wanted < packetHeaderBytes + capturedLength) return next(packetHeaderBytes + capturedLength, readPacket)
    const timeMs = view.getUint32(0, isLittleEndian) * 1000 + view.getUint32(4, isLittleEndian) / unitsPerMs[resolution]
    next(packetHeaderBytes, readPacket)
    onPacket(bytes, from + packetHeaderBytes, capturedLength, wireLength, timeMs, linkType)
    return true
  }

  function expectLengths(capturedLength: number, wireLength: number, at: number): void {
    if (capturedLength > packetBytesMax) throw failure(at, `at most ${packetBytesMax} bytes of a packet`, String(capturedLength))
    if (capturedLength > wireLength) throw failure(at, `at most the ${wireLength} bytes that were sent`, String(capturedLength))
  }

  function readBlock(view: DataView): boolean {
    const type = view.getUint32(0, isLittleEndian)
    // Says the same in either order; which one holds stands behind its length.
    if (type === blocks.section) return next(blockHeaderBytes + 4, readSectionStart)
    blockLength = view.getUint32(4, isLittleEndian)
    const read = blockReaders.get(type)
    expectBlockLength(read === undefined ? skippedBlockBytesMax : readBlockBytesMax)
    if (read !== undefined) return next(blockLength, read)
    next(blockTrailerBytes, readTrailer)
    skipped = blockLength - blockHeaderBytes - blockTrailerBytes
    return true
  }

  function expectBlockLength(max: number): void {
    const min = blockHeaderBytes + blockTrailerBytes
    if (blockLength < min || blockLength > max || blockLength % 4 !== 0)
      throw failure(4, `a block of ${min} to ${max} bytes, a multiple of 4`, String(blockLength))
  }

  function readTrailer(view: DataView): boolean {
    expectTrailer(view, 0)
    next(blockHeaderBytes, readBlock)
    return true
  }

  function expectTrailer(view: DataView, at: number): void {
    const again = view.getUint32(at, isLittleEndian)
    if (again !== blockLength) throw failure(at, `the length of the block again, ${blockLength}`, String(again))
  }

  function readSectionStart(view: DataView): boolean {
    const magic = view.getUint32(blockHeaderBytes)
    isLittleEndian = magic !== byteOrderMagic
    if (view.getUint32(blockHeaderBytes, isLittleEndian) !== byteOrderMagic)
      throw failure(blockHeaderBytes, 'the byte order of a section', hex(magic))
    blockLength = view.getUint32(4, isLittleEndian)
    expectBlockLength(readBlockBytesMax)
    if (blockLength < sectionBlockBytesMin) throw failure(4, `at least ${sectionBlockBytesMin} bytes`, String(blockLength))
    return next(blockLength, readSection)
  }

  /** A block that is whole; `readBody` is given where what it holds ends. */
  function wholeBlock(
    bodyBytesMin: number,
    readBody: (view: DataView, end: number, bytes: Uint8Array, from: number) => void,
  ): typeof step {
    return (view, bytes, from) => {
      const end = blockLength - blockTrailerBytes
      expectTrailer(view, end)
      if (end - blockHeaderBytes < bodyBytesMin) throw failure(4, `a block with ${bodyBytesMin} bytes in it`, String(blockLength))
      next(blockHeaderBytes, readBlock)
      readBody(view, end, bytes, from)
      return true
    }
  }

  const readSection = wholeBlock(16, (view) => {
    const major = view.getUint16(12, isLittleEndian)
    if (major !== 1) throw failure(12, 'version 1 of a section', String(major))
    interfaces = []
  })

  const readInterface = wholeBlock(8, (view, end) => {
    if (interfaces.length === interfacesMax) throw failure(0, `at most ${interfacesMax} interfaces in a section`)
    let units = unitsPerMs.microseconds
    let offsetMs = 0
    eachOption(view, 16, end, (code, at, length) => {
      if (code === options.timeResolution) {
        if (length !== 1) throw failure(at, 'one byte of if_tsresol', String(length))
        const exponent = view.getUint8(at)
        units = (exponent & 0x80 ? 2 ** (exponent & 0x7f) : 10 ** exponent) / 1000
      } else if (code === options.timeOffset) {
        if (length !== 8) throw failure(at, 'eight bytes of if_tsoffset', String(length))
        offsetMs = Number(view.getBigInt64(at, isLittleEndian)) * 1000
      }
    })
    interfaces.push({
      linkType: view.getUint16(8, isLittleEndian),
      snapLength: view.getUint32(12, isLittleEndian),
      unitsPerMs: units,
      offsetMs,
    })
  })

  function eachOption(
    view: DataView,
    from: number,
    end: number,
    visit: (code: number, at: number, length: number) => void,
  ): void {
    for (let at = from; end - at >= 4; ) {
      const code = view.getUint16(at, isLittleEndian)
      const length = view.getUint16(at + 2, isLittleEndian)
      if (code === options.end) return
      if (length > end - at - 4) throw failure(at + 2, `an option of at most ${end - at - 4} bytes`, String(length))
      visit(code, at + 4, length)
      at += 4 + length + (-length & 3)
    }
  }

  function interfaceAt(number: number, at: number): CaptureInterface {
    const found = interfaces[number]
    if (found === undefined) throw failure(at, `one of ${interfaces.length} interfaces`, String(number))
    return found
  }

  /** The two kinds of packet blocks with a time differ in their first four bytes only. */
  const readPacketBlock = (readInterfaceNumber: (view: DataView) => number): typeof step =>
    wholeBlock(20, (view, end, bytes, from) => {
      const of = interfaceAt(readInterfaceNumber(view), 8)
      const time = view.getUint32(12, isLittleEndian) * 2 ** 32 + view.getUint32(16, isLittleEndian)
      const capturedLength = view.getUint32(20, isLittleEndian)
      const wireLength = view.getUint32(24, isLittleEndian)
      expectLengths(capturedLength, wireLength, 20)
      if (capturedLength > end - 28) throw failure(20, `at most ${end - 28} bytes in this block`, String(capturedLength))
      onPacket(bytes, from + 28, capturedLength, wireLength, time / of.unitsPerMs + of.offsetMs, of.linkType)
    })

  const readSimplePacket = wholeBlock(4, (view, end, bytes, from) => {
    const of = interfaceAt(0, 0)
    const wireLength = view.getUint32(8, isLittleEndian)
    const capturedLength = Math.min(wireLength, end - 12, of.snapLength || packetBytesMax, packetBytesMax)
    onPacket(bytes, from + 12, capturedLength, wireLength, undefined, of.linkType)
  })

  const blockReaders = new Map<number, typeof step>([
    [blocks.interface, readInterface],
    [blocks.enhancedPacket, readPacketBlock((view) => view.getUint32(8, isLittleEndian))],
    [blocks.oldPacket, readPacketBlock((view) => view.getUint16(8, isLittleEndian))],
    [blocks.simplePacket, readSimplePacket],
  ])

  function hold(chunk: Uint8Array, from: number): number {
    const count = Math.min(wanted - heldLength, chunk.length - from)
    if (held.length < heldLength + count) {
      const larger = new Uint8Array(Math.max(2 * held.length, heldLength + count))
      larger.set(held)
      held = larger
    }
    held.set(chunk.subarray(from, from + count), heldLength)
    heldLength += count
    return count
  }

  /** Where in the chunk the next step begins; the length of the chunk when there is too little for it. */
  function advance(chunk: Uint8Array, from: number): number {
    if (skipped > 0) {
      const count = Math.min(skipped, chunk.length - from)
      skipped -= count
      offset += count
      return from + count
    }
    if (heldLength === 0 && chunk.length - from >= wanted) {
      const length = wanted
      if (!step(new DataView(chunk.buffer, chunk.byteOffset + from, length), chunk, from)) return from
      offset += length
      return from + length
    }
    const at = from + hold(chunk, from)
    while (heldLength === wanted)
      if (step(new DataView(held.buffer, 0, heldLength), held, 0)) {
        offset += heldLength
        heldLength = 0
        break
      }
    return at
  }

  return {
    push(chunk) {
      if (fault !== undefined) throw fault
      try {
        for (let at = 0; at < chunk.length; ) at = advance(chunk, at)
      } catch (error) {
        fault = error
        throw error
      }
    },
    end() {
      if (fault !== undefined) throw fault
      const isBetween = heldLength === 0 && skipped === 0 && step !== readMagic && step !== readTrailer
      if (!isBetween) throw failure(heldLength, step === readMagic ? 'a pcap or pcapng file' : 'the rest: the file is cut off')
    },
  }
}

/** The beginning of a file for packets of one kind of link, cut off at `snapLength` bytes; little-endian. */
export function encodePcapHeader(linkType: number, snapLength: number, resolution: PcapResolution): Uint8Array {
  const bytes = new Uint8Array(fileHeaderBytes)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, magics[resolution], true)
  view.setUint16(4, versionMajor, true)
  view.setUint16(6, versionMinor, true)
  view.setUint32(16, snapLength, true)
  view.setUint32(20, linkType, true)
  return bytes
}

/** What follows it for each packet, with the resolution of its header. `timeMs`: of the epoch, up to the year 2106. */
export function encodePcapPacket(
  bytes: Uint8Array,
  from: number,
  capturedLength: number,
  wireLength: number,
  timeMs: number,
  resolution: PcapResolution,
): Uint8Array {
  const record = new Uint8Array(packetHeaderBytes + capturedLength)
  const view = new DataView(record.buffer)
  const unitsPerSecond = unitsPerMs[resolution] * 1000
  let seconds = Math.floor(timeMs / 1000)
  let units = Math.round((timeMs - seconds * 1000) * unitsPerMs[resolution])
  if (units === unitsPerSecond) {
    seconds++
    units = 0
  }
  view.setUint32(0, seconds, true)
  view.setUint32(4, units, true)
  view.setUint32(8, capturedLength, true)
  view.setUint32(12, wireLength, true)
  record.set(bytes.subarray(from, from + capturedLength), packetHeaderBytes)
  return record
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, '0')}`
}
