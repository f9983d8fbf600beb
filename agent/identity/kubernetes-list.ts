/** Takes the JSON of a list apart while it comes, so that one object of it is in memory at a time. */
export interface ListReader {
  /** Bytes cut anywhere. Throws at what cannot be a list. */
  push(chunk: Buffer): void
  /** The list without its objects. Throws if it is not whole. */
  end(): unknown
}

export interface ListReaderOptions {
  readonly onItem: (item: unknown) => void
  /** Of one object, and of what is around them. */
  readonly objectBytesMax: number
  /** What is thrown. */
  readonly tooLong: () => Error
}

const [quote, backslash, comma, openBrace, closeBrace, openBracket, closeBracket] = Buffer.from('"\\,{}[]')
const spaces = new Set(Buffer.from(' \t\r\n'))

/** The objects are those of an array that is a member of the outermost object; in a list of Kubernetes only `items` is one. */
export function createListReader({ onItem, objectBytesMax, tooLong }: ListReaderOptions): ListReader {
  const frame = createPieces(objectBytesMax, tooLong)
  const item = createPieces(objectBytesMax, tooLong)
  let into = frame
  let depth = 0
  let inString = false
  let isEscaped = false
  /** Inside the array, outside its objects. */
  let isBetween = false

  return {
    push(chunk) {
      let from = 0
      for (let i = 0; i < chunk.length; i++) {
        const byte = chunk[i]
        if (inString) {
          if (isEscaped) isEscaped = false
          else if (byte === backslash) isEscaped = true
          else if (byte === quote) inString = false
        } else if (isBetween) {
          if (byte === openBrace || byte === closeBracket) {
            isBetween = false
            into = byte === openBrace ? item : frame
            depth += byte === openBrace ? 1 : -1
            from = i
          } else if (byte !== comma && !spaces.has(byte!)) throw new SyntaxError('something else between the objects of a list')
        } else if (byte === quote) {
          inString = true
        } else if (byte === openBrace || byte === openBracket) {
          depth++
          if (into === frame && depth === 2 && byte === openBracket) {
            frame.add(chunk, from, i + 1)
            isBetween = true
          }
        } else if (byte === closeBrace || byte === closeBracket) {
          depth--
          if (into === item && depth === 2) {
            item.add(chunk, from, i + 1)
            onItem(JSON.parse(item.take()))
            isBetween = true
          }
        }
      }
      if (!isBetween) into.add(chunk, from, chunk.length)
    },
    end() {
      if (depth !== 0 || inString) throw new SyntaxError('it ends too early')
      return JSON.parse(frame.take())
    },
  }
}

function createPieces(bytesMax: number, tooLong: () => Error) {
  let pieces: Buffer[] = []
  let bytes = 0
  return {
    add(chunk: Buffer, from: number, to: number): void {
      bytes += to - from
      if (bytes > bytesMax) throw tooLong()
      pieces.push(Buffer.from(chunk.subarray(from, to)))
    },
    take(): string {
      const text = Buffer.concat(pieces, bytes).toString('utf8')
      pieces = []
      bytes = 0
      return text
    },
  }
}
