import type { SocketRow } from '../../parsers/socket-row.ts'
import { limits } from '../limits.ts'

/** How many sockets go from one local address to one remote address and port, for the busiest such destination. Each of them holds a local port of its own, because the kernel admits a four-tuple once. */
export interface Destinations {
  count(socket: SocketRow): void
  readonly busiest: number
  /** Sockets whose destination did not fit. */
  readonly lost: number
}

/** Words of a key: local address, remote address, remote port. */
const keyWords = 9

/** A hash table with open addressing in two typed arrays: 50,000 destinations as objects in a Map would cost ten times the memory and time. */
export function createDestinations(): Destinations {
  let slots = 64
  let keys = new Uint32Array(slots * keyWords)
  let counts = new Uint32Array(slots)
  let used = 0
  let busiest = 0
  let lost = 0
  const key = new Uint32Array(keyWords)

  function readWord(bytes: Uint8Array, at: number): number {
    return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!
  }

  function readKey({ family, addresses, localAt, remoteAt, remotePort }: SocketRow): void {
    for (let word = 0; word < 4; word++) {
      const isThere = word === 0 || family === 6 // behind an IPv4 address are zeros
      key[word] = isThere ? readWord(addresses, localAt + word * 4) : 0
      key[word + 4] = isThere ? readWord(addresses, remoteAt + word * 4) : 0
    }
    key[8] = remotePort
  }

  /** The slot of `key` or the free one where it belongs. */
  function findSlot(): number {
    let hash = 0
    for (let word = 0; word < keyWords; word++) {
      hash = Math.imul(hash ^ key[word]!, 0x9e3779b1)
      hash ^= hash >>> 15
    }
    for (let slot = hash & (slots - 1); ; slot = (slot + 1) & (slots - 1)) {
      if (counts[slot] === 0) return slot
      let word = 0
      while (word < keyWords && keys[slot * keyWords + word] === key[word]) word++
      if (word === keyWords) return slot
    }
  }

  function grow(): void {
    const [oldKeys, oldCounts] = [keys, counts]
    slots *= 2
    keys = new Uint32Array(slots * keyWords)
    counts = new Uint32Array(slots)
    oldCounts.forEach((count, oldSlot) => {
      if (count === 0) return
      key.set(oldKeys.subarray(oldSlot * keyWords, (oldSlot + 1) * keyWords))
      const slot = findSlot()
      keys.set(key, slot * keyWords)
      counts[slot] = count
    })
  }

  return {
    count(socket) {
      readKey(socket)
      let slot = findSlot()
      if (counts[slot] === 0) {
        if (used >= limits.destinations) {
          lost++
          return
        }
        if (++used * 2 > slots) {
          grow()
          readKey(socket)
          slot = findSlot()
        }
        keys.set(key, slot * keyWords)
      }
      const count = counts[slot]! + 1
      counts[slot] = count
      if (count > busiest) busiest = count
    },
    get busiest() {
      return busiest
    },
    get lost() {
      return lost
    },
  }
}
