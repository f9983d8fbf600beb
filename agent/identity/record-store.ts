import type { LeftOut } from './pod-directory.ts'

/** What is kept of an object of Kubernetes. */
export interface NamedRecord {
  readonly uid: string
  readonly namespace: string
  readonly name: string
}

export interface Reading<R> {
  /** Undefined: it is another node's. */
  readonly record: R | undefined
  readonly invalidFields: number
}

export interface RecordStoreOptions<R> {
  /** Undefined: it cannot be trusted to be what it should be. */
  readonly read: (object: unknown) => Reading<R> | undefined
  readonly recordsMax: number
  /** False: what is no more may still be told with its name. */
  readonly isNameUnique?: boolean
}

export interface RecordStore<R> {
  readonly records: ReadonlyMap<string, R>
  readonly leftOut: LeftOut
  /** A list, which changes nothing until it is whole. */
  begin(): { add(object: unknown): void; commit(): void }
  put(object: unknown): void
  remove(uid: string): void
  onChange(listener: RecordListener<R>): () => void
}

/** Undefined: it is no more. Must not throw. */
export type RecordListener<R> = (uid: string, record: R | undefined) => void

export function createRecordStore<R extends NamedRecord>({
  read,
  recordsMax,
  isNameUnique = true,
}: RecordStoreOptions<R>): RecordStore<R> {
  const records = new Map<string, R>()
  /** A name is one object's at a time: when another bears it the first is gone, whether or not that was told. */
  const uidOf = new Map<string, string>()
  const listeners = new Set<RecordListener<R>>()
  const leftOut: LeftOut = { invalidObjects: 0, invalidFields: 0, otherNodes: 0, duplicates: 0, tooMany: 0 }

  const nameOf = ({ namespace, name, uid }: R): string => (isNameUnique ? `${namespace}/${name}` : uid)

  function take(object: unknown): R | undefined {
    const reading = read(object)
    if (reading === undefined) {
      leftOut.invalidObjects++
      return undefined
    }
    leftOut.invalidFields += reading.invalidFields
    if (reading.record === undefined) leftOut.otherNodes++
    return reading.record
  }

  function set(record: R): void {
    const name = nameOf(record)
    const before = records.get(record.uid)
    const other = uidOf.get(name)
    if (other !== undefined && other !== record.uid) drop(other)
    if (before === undefined && records.size >= recordsMax) {
      leftOut.tooMany++
      return
    }
    if (before !== undefined && JSON.stringify(before) === JSON.stringify(record)) return
    if (before !== undefined) uidOf.delete(nameOf(before))
    records.set(record.uid, record)
    uidOf.set(name, record.uid)
    for (const listener of listeners) listener(record.uid, record)
  }

  function drop(uid: string): void {
    const record = records.get(uid)
    if (record === undefined) return
    records.delete(uid)
    uidOf.delete(nameOf(record))
    for (const listener of listeners) listener(uid, undefined)
  }

  return {
    records,
    leftOut,
    begin() {
      const found = new Map<string, R>()
      return {
        add(object) {
          const record = take(object)
          if (record === undefined) return
          if (found.has(record.uid)) leftOut.duplicates++
          else if (found.size >= recordsMax) leftOut.tooMany++
          else found.set(record.uid, record)
        },
        commit() {
          for (const uid of [...records.keys()]) if (!found.has(uid)) drop(uid)
          for (const record of found.values()) set(record)
        },
      }
    },
    put(object) {
      const record = take(object)
      if (record !== undefined) set(record)
    },
    remove: drop,
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}
