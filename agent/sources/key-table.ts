/** Numbers keys of so many words, from 0 on, as they come. A hash table with open addressing in typed arrays: a text per key would cost more than all else. */
export interface KeyTable {
  /** The key that is meant; the caller writes it. */
  readonly key: Uint32Array
  /** Its number; -1: it has none. */
  find(): number
  /** Its number, which may be a new one. */
  add(): number
  readonly size: number
  clear(): void
}

const fewestSlots = 64

export function createKeyTable(words: number): KeyTable {
  const key = new Uint32Array(words)
  let slots = fewestSlots
  let keys = new Uint32Array(slots * words)
  /** 1 + the number; 0: the slot is free. */
  let numbers = new Uint32Array(slots)
  let size = 0

  /** Of the key, or the free one where it belongs. */
  function findSlot(): number {
    let hash = 0
    for (let word = 0; word < words; word++) {
      hash = Math.imul(hash ^ key[word]!, 0x9e3779b1)
      hash ^= hash >>> 15
    }
    for (let slot = hash & (slots - 1); ; slot = (slot + 1) & (slots - 1)) {
      if (numbers[slot] === 0) return slot
      let word = 0
      while (word < words && keys[slot * words + word] === key[word]) word++
      if (word === words) return slot
    }
  }

  function grow(): void {
    const wanted = key.slice()
    const [oldKeys, oldNumbers] = [keys, numbers]
    slots *= 2
    keys = new Uint32Array(slots * words)
    numbers = new Uint32Array(slots)
    oldNumbers.forEach((number, oldSlot) => {
      if (number === 0) return
      key.set(oldKeys.subarray(oldSlot * words, (oldSlot + 1) * words))
      const slot = findSlot()
      keys.set(key, slot * words)
      numbers[slot] = number
    })
    key.set(wanted)
  }

  return {
    key,
    find: () => numbers[findSlot()]! - 1,
    add() {
      let slot = findSlot()
      if (numbers[slot] === 0) {
        if ((size + 1) * 2 > slots) {
          grow()
          slot = findSlot()
        }
        keys.set(key, slot * words)
        numbers[slot] = ++size
      }
      return numbers[slot]! - 1
    },
    get size() {
      return size
    },
    clear() {
      numbers.fill(0)
      size = 0
    },
  }
}
