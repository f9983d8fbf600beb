import { readNetworkU16 } from './netlink.ts'

/** Finds the messages in one direction of a TCP connection (RFC 1035 section 4.2.2: each behind its length, two bytes). */
export interface DnsFramer {
  /** The bytes that come next. */
  take(bytes: Uint8Array, from: number, to: number): void
  /** So many bytes that come next were not captured. What was there of the message they are in is handed out, cut. */
  skip(count: number): void
  /** A new connection, or a place where a message is known to begin. */
  reset(): void
  /** Kept of a message that is not whole yet: at most 65,537, and no more than twice what came of it, or 64. */
  readonly keptBytes: number
  /** False where a length was among the bytes skipped: then nothing is found until `reset`. */
  readonly isInStep: boolean
}

const lengthBytes = 2
const keptBytesMin = 64

/** `onMessage` gets a message as bytes[from] up to bytes[to - 1], valid during the call; `sentLength` is more where it is cut. */
export function createDnsFramer(onMessage: (bytes: Uint8Array, from: number, to: number, sentLength: number) => void): DnsFramer {
  const nothing = new Uint8Array()
  /** The begin of a message with its length, or of the length. */
  let kept = nothing
  let keptLength = 0
  /** What is still to come of a message that was handed out cut. */
  let unwanted = 0
  let isInStep = true

  const wantedLength = (): number => lengthBytes + (keptLength < lengthBytes ? 0 : readNetworkU16(kept, 0))

  function keep(bytes: Uint8Array, from: number, to: number): void {
    if (keptLength + to - from > kept.length) {
      const larger = new Uint8Array(Math.max(keptBytesMin, Math.min(wantedLength(), 2 * kept.length), keptLength + to - from))
      larger.set(kept.subarray(0, keptLength))
      kept = larger
    }
    kept.set(bytes.subarray(from, to), keptLength)
    keptLength += to - from
  }

  function handOut(): void {
    const [bytes, length, sentLength] = [kept, keptLength, wantedLength() - lengthBytes]
    kept = nothing
    keptLength = 0
    onMessage(bytes, lengthBytes, length, sentLength)
  }

  return {
    take(bytes, from, to) {
      if (!isInStep) return
      const passed = Math.min(unwanted, to - from)
      unwanted -= passed
      for (let at = from + passed; at < to; ) {
        if (keptLength === 0 && to - at >= lengthBytes) {
          const length = readNetworkU16(bytes, at)
          const messageAt = at + lengthBytes
          if (length <= to - messageAt) {
            at = messageAt + length
            onMessage(bytes, messageAt, at, length)
            continue
          }
        }
        const end = Math.min(to, at + wantedLength() - keptLength)
        keep(bytes, at, end)
        at = end
        if (keptLength >= lengthBytes && keptLength === wantedLength()) handOut()
      }
    },
    skip(count) {
      if (!isInStep || count === 0) return
      if (keptLength >= lengthBytes) {
        unwanted = wantedLength() - keptLength
        handOut()
      }
      isInStep = keptLength === 0 && count <= unwanted
      unwanted = isInStep ? unwanted - count : 0
      if (!isInStep) {
        kept = nothing
        keptLength = 0
      }
    },
    reset() {
      kept = nothing
      keptLength = 0
      unwanted = 0
      isInStep = true
    },
    get keptBytes() {
      return kept.length
    },
    get isInStep() {
      return isInStep
    },
  }
}
