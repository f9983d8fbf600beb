import type { NetworkNamespace } from '../host/namespaces.ts'
import { tracedRoles } from '../host/traced-maps.ts'
import { dropWords, readDropKey } from './edge-keys.ts'
import { createKeyTable } from './key-table.ts'
import type { EdgeEnds } from './source.ts'

/** Packets dropped between a namespace and an address, for one reason. */
export interface EdgeDrop {
  readonly netns: NetworkNamespace
  readonly role: EdgeEnds['reporter']
  /** What the packets called the namespace. */
  readonly local: string
  readonly remote: string
  readonly reason: number
  /** As in the kernel's map. */
  readonly key: Uint8Array
  /** The kernel's counter. */
  packets: number
  /** What has been handed on of it. */
  counted: number
  changedAtMs: number
  isInKernel: boolean
}

export interface EdgeDrops {
  /** What the kernel has counted follows. */
  beginSweep(): void
  /** An entry of the kernel's map. */
  dropped(netns: NetworkNamespace, key: DataView, packets: number): void
  all(): readonly EdgeDrop[]
  /** Lets go of those that the kernel has no longer. */
  endSweep(): void
}

/** As many as the kernel's map has entries. */
export function createEdgeDrops(): EdgeDrops {
  const table = createKeyTable(dropWords)
  let drops: EdgeDrop[] = []

  function createDrop(netns: NetworkNamespace): EdgeDrop {
    const { reason, role, local, remote } = readDropKey(table.key)
    const key = new Uint8Array(table.key.slice().buffer)
    const name = tracedRoles[role] === 'server' ? 'server' : 'client'
    return { netns, role: name, local, remote, reason, key, packets: 0, counted: 0, changedAtMs: 0, isInKernel: true }
  }

  return {
    beginSweep() {
      for (const drop of drops) drop.isInKernel = false
    },
    dropped(netns, key, packets) {
      for (let word = 0; word < dropWords; word++) table.key[word] = key.getUint32(word * 4, true)
      const number = table.add()
      let drop = drops[number]
      if (drop?.netns !== netns) drops[number] = drop = { ...createDrop(netns), counted: drop?.counted ?? 0 }
      drop.packets = packets
      drop.isInKernel = true
    },
    all: () => drops,
    endSweep() {
      const kept = drops.filter(({ isInKernel }) => isInKernel)
      if (kept.length === drops.length) return
      drops = kept
      table.clear()
      for (const { key } of drops) {
        table.key.set(new Uint32Array(key.buffer))
        table.add()
      }
    },
  }
}
